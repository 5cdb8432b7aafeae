"""Win rates from censored prices, and bids within a budget."""

import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_seqcrm.datasets import make_ad_auctions
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import BudgetPacer, StreamingScorer, WinRateCurve


def auctions(n, seed=0):
    """Draw bids and prices; return bids, prices as the bidder sees them, and prices."""
    rng = np.random.default_rng(seed)
    bids, prices = rng.uniform(0, 4, n), rng.uniform(0, 3, n)
    return bids, np.where(bids > prices, prices, np.nan), prices


def survival(bids, prices, x):
    """Compute the Kaplan-Meier estimate of P(price > x) price by price."""
    result = 1.0
    for price in sorted({p for p in prices if p <= x}):
        n_won = sum(p == price for p in prices)
        at_risk = sum(
            p >= price if not np.isnan(p) else b > price
            for b, p in zip(bids, prices, strict=True)
        )
        result *= 1 - n_won / at_risk
    return result


def test_win_rates_equal_a_loop():
    rng = np.random.default_rng(1)
    # Few different numbers, so that there are ties of bids and prices.
    bids, prices = rng.integers(1, 6, 40) / 2, rng.integers(0, 6, 40) / 2
    prices = np.where(bids > prices, prices, np.nan)
    curve = WinRateCurve(bids, prices)
    tested = np.arange(0, 3.5, 0.25)
    expected = [1 - survival(bids, prices, x - 0.01) for x in tested]
    assert_allclose(curve.win_rate(tested), expected, atol=1e-12)
    cost = 0.0
    for x in tested:
        assert curve.expected_cost(x) == pytest.approx(cost)
        mass = survival(bids, prices, x - 0.01) - survival(bids, prices, x)
        cost += x * mass


def test_censored_prices_have_their_distribution():
    """Uniform prices from 0 to 3; prices of won auctions alone are too low."""
    bids, seen, _ = auctions(20_000)
    curve, tested = WinRateCurve(bids, seen), np.array([0.5, 1.0, 2.0, 3.0])
    assert_allclose(curve.win_rate(tested), tested / 3, atol=0.02)
    assert_allclose(curve.expected_cost(tested), tested**2 / 6, atol=0.03)
    assert (seen[~np.isnan(seen)] < 2).mean() > 0.75


def test_curves_of_one_auction_and_of_lost_ones():
    won, lost = WinRateCurve([2], [1]), WinRateCurve([2, 1], [np.nan, np.nan])
    assert won.win_rate([1, 1.5, 9]).tolist() == [0, 1, 1]
    assert lost.win_rate([1, 3]).tolist() == [0, 0]
    assert lost.expected_cost(3) == 0
    free = WinRateCurve([1, 1], [0, np.nan])
    assert free.win_rate([0, 0.5]).tolist() == [0, 0.5]
    assert lost.prices.tolist() == lost.probabilities.tolist() == []


def test_bids_of_zero_underflow_without_an_error():
    # A lost bid of 0 is censored just below 0, at the largest number there is.
    with np.errstate(all="raise"):
        curve = WinRateCurve([0, 0, 2, 2], [0, np.nan, 1, np.nan])
    assert_allclose(curve.win_rate([0, 0.5, 2]), [0, 1 / 3, 2 / 3])


def test_steps_are_at_the_prices_paid():
    """A lost bid of 0 has no price below 0."""
    curve = WinRateCurve([0, 2, 2, 4, 4], [np.nan, 1, np.nan, 3, 1])
    assert curve.prices.tolist() == [1, 3]
    assert_allclose(curve.probabilities, [0.5, 1])


def test_tables_with_any_index():
    bids, seen, _ = auctions(50)
    table = pd.DataFrame({"bid": bids, "price": seen}, index=np.arange(50)[::-1])
    curve = WinRateCurve(table["bid"], table["price"])
    assert_allclose(curve.win_rate(bids), WinRateCurve(bids, seen).win_rate(bids))


@pytest.mark.parametrize(
    ("bids", "prices", "message"),
    [
        ([1, 2], [1], r"same length.*\(2,\) and \(1,\)"),
        ([], [], "same length, 1 or more"),
        ([[1, 2]], [[1, 1]], r"must be 1-D.*\(1, 2\) and \(1, 2\)"),
        (1, 1, r"must be 1-D.*\(\) and \(\)"),
        ([1, np.nan], [1, 1], "bids must be finite; 1 are missing"),
        ([-1, 2], [np.nan, 1], "1 bids and 0 prices are not"),
        ([1, 2, 2], [2, -1, np.inf], "0 bids and 3 prices are not"),
    ],
)
def test_bad_auctions(bids, prices, message):
    with pytest.raises(ValueError, match=message):
        WinRateCurve(bids, prices)
    with pytest.raises(ValueError, match="bids must be finite; 1"):
        WinRateCurve([1], [1]).win_rate([np.nan, 1])


# The pacer ----------------------------------------------------------------------------


def pacer_for(budget, n=1000, value=3.0, **options):
    bids, seen, _ = auctions(5000)
    times = np.linspace(0, 24, n, endpoint=False)
    return BudgetPacer(
        budget, times, np.full(n, value), WinRateCurve(bids, seen), **options
    )


def spend(pacer, times, values, prices):
    """Bid in all auctions; return the multipliers and which were won."""
    multipliers, won = np.empty(len(times)), np.zeros(len(times), dtype=bool)
    for i, time in enumerate(times):
        won[i] = pacer.bid(values[i], time) > prices[i]
        multipliers[i] = pacer.multiplier
        if won[i]:
            pacer.pay(prices[i])
    return multipliers, won


def test_the_first_multiplier_is_that_of_the_plan():
    """A bid b < 3 costs b**2 / 6 in the mean, so that 1,000 cost 60 with b = 0.6."""
    pacer = pacer_for(60)
    assert pacer.bid(3, 0) == pytest.approx(0.6, rel=0.05)
    assert pacer.multiplier == pytest.approx(0.2, rel=0.05)
    assert pacer.bid(1.5, 0) == pytest.approx(0.3, rel=0.05)
    # As many auctions, seen in ten periods, are a tenth of the traffic.
    assert pacer_for(6, n_periods=10).bid(3, 0) == pytest.approx(0.6, rel=0.05)


def test_past_auctions_in_any_order():
    rng, curve = np.random.default_rng(3), WinRateCurve(*auctions(500)[:2])
    times, values = rng.uniform(0, 24, 50), rng.uniform(0, 3, 50)
    order = np.argsort(times)
    table = pd.DataFrame({"time": times, "value": values})
    pacers = [
        BudgetPacer(5, times[order], values[order], curve),
        BudgetPacer(5, table["time"], table["value"], curve),
    ]
    for time in (0, 12, 20):
        first, second = (pacer.bid(2, time) for pacer in pacers)
        assert first == pytest.approx(second)


def test_a_sufficient_budget_gives_bids_of_the_value():
    pacer = pacer_for(10_000)
    assert pacer.bid(2.5, 3) == 2.5
    assert pacer.multiplier == 1


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_the_budget_lasts_for_the_day(factor):
    """Traffic may be half or twice that of the days before, and is learned."""
    n = int(1000 * factor)
    prices, times = auctions(n, seed=5)[2], np.linspace(0, 24, n, endpoint=False)
    pacer = pacer_for(60)
    multipliers, won = spend(pacer, times, np.full(n, 3.0), prices)
    assert 57 < pacer.spent <= 60
    assert pacer.spent == pytest.approx(prices[won].sum())
    assert won[-n // 20 :].any()
    # The bid b of all auctions that costs 60: n * b**2 / 6 = 60.
    assert multipliers[n // 4 : -n // 10].mean() == pytest.approx(
        np.sqrt(360 / n) / 3, rel=0.15
    )


def test_dearer_prices_do_not_exceed_the_budget():
    prices, times = auctions(1000, seed=5)[2], np.linspace(0, 24, 1000)
    for budget in (0.5, 60):
        pacer = pacer_for(budget)
        spend(pacer, times, np.full(1000, 3.0), 3 * prices)
        assert 0.5 * budget < pacer.spent <= budget


def test_bids_do_not_depend_on_later_auctions():
    prices, times = auctions(1000, seed=5)[2], np.linspace(0, 24, 1000)
    values = np.random.default_rng(0).uniform(0, 3, 1000)
    first, _ = spend(pacer_for(60), times, values, prices)
    values[500:], prices[500:] = 9, 0
    second, _ = spend(pacer_for(60), times, values, prices)
    assert_allclose(first[:501], second[:501], rtol=0)
    assert not np.allclose(first[501:], second[501:])


def test_after_a_pickle_and_at_the_end():
    pacer = pacer_for(60)
    pacer.bid(3, 12), pacer.pay(2)
    again = pickle.loads(pickle.dumps(pacer))
    assert again.bid(3, 13) == pacer.bid(3, 13)
    assert pacer.bid(3, 99) == 3  # there is nothing to save for
    pacer.pay(57.5)
    assert pacer.bid(3, 99) == 0.5  # what is left
    pacer.pay(0.5)
    assert pacer.bid(3, 23) == 0
    pacer.pay(1)  # of a bid before
    assert pacer.bid(3, 23) == 0


def test_a_new_pacer_continues_the_day():
    """It needs what was spent, and how many bids there were."""
    rng = np.random.default_rng(0)
    times, values = rng.uniform(0, 24, 700), rng.exponential(1, 700)
    curve = WinRateCurve(bids=[5, 5, 5, 5], prices=[1, 2, 3, 4])
    pacers = [BudgetPacer(25, times, values, curve, n_periods=7) for _ in range(3)]
    for time in np.linspace(0, 12, 60):
        pacers[0].bid(1.5, time)
        pacers[0].pay(0.3)
    for pacer in pacers[1:]:
        pacer.pay(pacers[0].spent)
    pacers[1].n_auctions = pacers[0].n_auctions
    expected, found, without = (pacer.bid(1.5, 12.5) for pacer in pacers)
    assert found == expected < without


def test_values_below_zero_do_not_win():
    assert pacer_for(60).bid(-0.5, 1) == pacer_for(60).bid(0, 1) == 0


@pytest.mark.parametrize("seven", [7.0, np.float64(7), np.float32(7), np.int64(7)])
def test_a_number_of_periods_may_be_a_whole_float(seven):
    """Such as hours divided by 24."""
    bids = [pacer_for(6, n_periods=n).bid(3, 0) for n in (7, seven)]
    assert bids[0] == bids[1]


def test_bad_input():
    curve = WinRateCurve([1], [1])
    for budget in (0, -1, np.inf, np.nan):
        with pytest.raises(ValueError, match="budget must be finite and above 0"):
            BudgetPacer(budget, [0], [1], curve)
    for times, values in (([0, 1], [1]), ([], []), ([[0]], [[1]])):
        with pytest.raises(ValueError, match="times and values must be 1-D and of the"):
            BudgetPacer(1, times, values, curve)
    with pytest.raises(ValueError, match="values must be finite; 1 are missing"):
        BudgetPacer(1, [0, 1], [1, np.nan], curve)
    for n_periods in (0, 0.0, -1.0, 1.5, np.nan, np.inf, np.float32(0.5), True, "2"):
        with pytest.raises(ValueError, match="n_periods must be a whole number, 1"):
            BudgetPacer(1, [0], [1], curve, n_periods=n_periods)
    pacer = BudgetPacer(1, [0], [1], curve)
    with pytest.raises(ValueError, match="value must be finite; got nan"):
        pacer.bid(np.nan, 0)
    with pytest.raises(ValueError, match="time must be finite; got inf"):
        pacer.bid(1, np.inf)
    for price in (-1, np.nan):
        with pytest.raises(ValueError, match="price must be finite and at least 0"):
            pacer.pay(price)


HOURS = pd.to_timedelta(np.arange(3), unit="h")
DATES = pd.Timestamp("2024-03-01") + HOURS


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (HOURS, r"times must hold numbers; got durations.* pd.Timedelta\(hours=1\)"),
        (HOURS.to_numpy(), "times must hold numbers; got durations"),
        (pd.Series(HOURS), "times must hold numbers; got durations"),
        (list(HOURS), "times must hold numbers; got durations"),
        (DATES, r"times must hold numbers; got values such as \[.*2024"),
        (
            ["9", "10", "11"],
            r"times must hold numbers; got values such as \['9', '10'\]",
        ),
    ],
)
def test_arrays_of_other_types_than_numbers(times, message):
    """Durations and datetimes were numbers of microseconds, or of another unit."""
    curve = WinRateCurve([1], [1])
    with pytest.raises(TypeError, match=message):
        BudgetPacer(1, times, [1, 1, 1], curve)
    with pytest.raises(TypeError, match=message.replace("times must", "prices must")):
        WinRateCurve([1, 1, 1], times)
    with pytest.raises(TypeError, match=message.replace("times must", "bids must")):
        curve.win_rate(times)
    with pytest.raises(TypeError, match=message.replace("times must", "bids must")):
        curve.expected_cost(times)


def test_missing_prices_of_any_type():
    expected = WinRateCurve([2, 2, 4], [1, np.nan, 3])
    for prices in ([1, None, 3], [1, pd.NA, 3], pd.Series([1, None, 3], dtype="Int64")):
        assert WinRateCurve([2, 2, 4], prices).prices.tolist() == [1, 3]
        found = WinRateCurve([2, 2, 4], prices).probabilities
        assert found.tolist() == expected.probabilities.tolist()


@pytest.mark.parametrize(
    "wrong",
    [
        *("1", None, pd.NA, [1], np.array([1.0]), 1j),
        *(pd.Timedelta("1h"), np.timedelta64(1, "ns"), np.array(1, "m8[ns]")),
    ],
)
def test_single_values_of_other_types_than_numbers(wrong):
    curve = WinRateCurve([1], [1])
    pacer = BudgetPacer(1, [0], [1], curve)
    for name, call in {
        "budget": lambda: BudgetPacer(wrong, [0], [1], curve),
        "value": lambda: pacer.bid(wrong, 0),
        "time": lambda: pacer.bid(1, wrong),
        "price": lambda: pacer.pay(wrong),
    }.items():
        with pytest.raises(TypeError, match=f"{name} must be a number; got .*"):
            call()
    assert (pacer.n_auctions, pacer.spent) == (0, 0)


def test_decimals_and_integers_of_any_size():
    curve = WinRateCurve([Decimal(4), Decimal(4)], [Decimal(1), None])
    pacer = BudgetPacer(Decimal(30), [Decimal(0)], [Decimal(5)], curve)
    assert pacer.bid(Decimal(5), Decimal(0)) == pacer.bid(5.0, 0.0) == 5
    assert pacer.bid(np.array(5), torch.tensor(0.0)) == 5
    pacer.pay(Decimal("0.5"))
    assert pacer.spent == 0.5
    with pytest.raises(ValueError, match="value must be finite"):
        pacer.bid(10**400, 0)


# Values -------------------------------------------------------------------------------


def test_values_of_a_stream_equal_those_of_a_batch():
    """Events and impressions one by one, each impression with and without the ad."""
    market, keys = make_ad_auctions(30, random_state=0), ["customer_id", "timestamp"]
    split, rows = pd.Timestamp("2024-01-29"), market.rows.iloc[::3].copy()
    # An event in the second of an impression is not before it.
    later = market.events[market.events["timestamp"] >= split]
    tied = later.iloc[:40:4]
    rows = pd.concat(
        [rows, rows.iloc[-len(tied) :].assign(**tied[keys].to_dict("list"))]
    )
    X = EventLog(market.events, *keys).attach(rows, cutoff="timestamp")
    is_live = (rows["timestamp"] >= split).to_numpy()
    model = make_history_pipeline(
        LSTMClassifier(hidden_size=4, max_epochs=2, random_state=0, n_networks=1)
    )
    ad = np.arange(len(rows)) % 2.0
    y = np.arange(len(rows)) % 3 == 0
    model.fit(X[~is_live].assign(ad=ad[~is_live]), y[~is_live])
    expected = {
        value: model.predict_proba(X[is_live].assign(ad=value))[:, 1]
        for value in (0.0, 1.0)
    }
    assert not np.allclose(expected[0.0], expected[1.0], atol=1e-4)

    scorer = StreamingScorer(model, *keys)
    scorer.update(market.events[market.events["timestamp"] < split])
    stream = [
        *enumerate(rows[is_live].to_dict("records")),
        *((None, event) for event in later.to_dict("records")),
    ]
    n_tied = 0
    for i, record in sorted(stream, key=lambda one: one[1]["timestamp"]):
        if i is None:
            scorer.update([record])
            continue
        n_tied += record["timestamp"] in set(tied["timestamp"])
        for value, batch in expected.items():
            found = scorer.score_one(
                record["customer_id"],
                None,
                {**record, "ad": value},
                record["timestamp"],
            )
            assert found[1] == pytest.approx(batch[i], abs=1e-6)
    assert n_tied >= len(tied)
