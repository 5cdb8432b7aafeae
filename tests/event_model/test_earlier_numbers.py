"""Numbers that customers have again: against loops, by every path, in simulations."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm._recurrent.data import HistorySource
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._earlier_numbers import (
    EarlierNumberGates,
    EarlierNumbers,
)
from sklearn_seqcrm.event_model._fields import TrainingEvents
from sklearn_seqcrm.event_model._number_codes import (
    NO_NUMBER,
    NO_UNITS,
    bits_of_codes,
    bits_of_numbers,
    codes_of_bits,
)
from sklearn_seqcrm.event_model._number_sources import (
    NumberSource,
    choose_sources,
)
from sklearn_seqcrm.event_model._number_state import ObservedNumbers
from sklearn_seqcrm.events import EventLog

NAN = float("nan")

# Numbers as codes ---------------------------------------------------------------------


def test_numbers_are_exact_as_codes():
    numbers = np.array([0.1, -0.0, 0.0, 5e-324, -1e308, 2.0**53 + 2, 1 / 3])
    numbers = np.append(numbers, [np.nan, np.inf, -np.inf])
    codes = codes_of_bits(bits_of_numbers(numbers))
    assert codes.dtype == "int32"
    bits = bits_of_codes(torch.from_numpy(codes)).numpy()
    assert_array_equal(bits[:7].view("float64"), numbers[:7])
    assert bits[1] == bits[2]  # -0.0 is 0.0
    assert (bits[7:] == NO_NUMBER).all()


# Sources ------------------------------------------------------------------------------


def sources_of(numbers, customer, **levels):
    numbers = np.asarray(numbers, "float64")
    levels = {name: np.asarray(level, "int64") for name, level in levels.items()}
    own = {None: bits(numbers).numpy()}
    units = np.full(len(numbers), NO_UNITS)
    events = TrainingEvents(customer, customer, customer, customer)
    return choose_sources(own, units, {}, events, levels)


def test_a_number_that_most_events_have_is_not_copied():
    rng = np.random.default_rng(0)
    customer = np.repeat(np.arange(500), 10)
    numbers = rng.choice([1, 2, 3], len(customer), p=[0.9, 0.07, 0.03])
    item = rng.integers(0, 3, len(customer))
    assert sources_of(numbers, customer, item=item) == ()


def test_sources_are_the_last_number_or_the_one_of_the_same_level():
    rng = np.random.default_rng(0)
    customer = np.repeat(np.arange(200), 10)
    own = rng.normal(size=200)[customer]
    item = rng.integers(0, 4, 2000)
    [source] = sources_of(own, customer, item=item)
    assert source == NumberSource(None, is_usual=False, base=None, share=1.0)
    by_item = rng.normal(size=(200, 4))[customer, item]
    found = sources_of(by_item, customer, shop=rng.integers(0, 9, 2000), item=item)
    assert [one.field for one in found] == ["item"]
    # Half of the events without an item have the customer's number.
    item[rng.random(2000) < 0.5] = -1
    mixed = np.where(item < 0, own, by_item)
    found = sources_of(mixed, customer, item=item)
    assert {one.field for one in found} == {None, "item"}
    assert not any(one.is_usual for one in found)


def test_a_source_is_the_usual_number_of_the_level():
    """Two thirds of the customers pay the price of the item, others a lower one."""
    rng = np.random.default_rng(0)
    customer = np.repeat(np.arange(200), 5)
    item = rng.integers(0, 40, 1000)
    price = rng.normal(size=40)[item] - (customer % 3 == 0)
    usual, *others = sources_of(price, customer, item=item)[::-1]
    assert (usual.field, usual.is_usual) == ("item", True)
    assert 0.6 < usual.share < 0.7
    # A customer's own price is known from an earlier order alone.
    assert [(one.field, one.share) for one in others] == [("item", 1.0)]


@pytest.mark.parametrize("numbers", [[], [NAN, NAN], [1.0]])
def test_few_numbers_have_no_source(numbers):
    customer = np.zeros(len(numbers), "int64")
    assert sources_of(numbers, customer, item=np.zeros(len(numbers))) == ()


# Numbers before events ----------------------------------------------------------------


def random_events(seed, n=120, n_rows=5):
    """Return rows, numbers (some missing) and levels in two sources (some missing)."""
    rng = np.random.default_rng(seed)
    row = np.sort(rng.integers(0, n_rows, n))
    numbers = rng.choice([1.5, 2.5, 3.5, NAN], n)
    levels = np.column_stack([np.zeros(n, "int64"), rng.integers(-1, 3, n)])
    return row, numbers, levels


def numbers_in_a_loop(row, numbers, levels):
    """Return the numbers of sources before each event, right ones and all trials."""
    n, n_sources = levels.shape
    found = np.full((n, n_sources), NAN)
    right, trials = np.zeros((2, n, n_sources))
    for i in range(n):
        for k in range(n_sources):
            own = [j for j in range(i) if row[j] == row[i]]
            same = [
                j
                for j in own
                if levels[j, k] == levels[i, k] >= 0 and not np.isnan(numbers[j])
            ]
            if same:
                found[i, k] = numbers[same[-1]]
            known = [j for j in own if not np.isnan(numbers[j] + found[j, k])]
            trials[i, k] = len(known)
            right[i, k] = sum(numbers[j] == found[j, k] for j in known)
    return found, right, trials


def bits(numbers):
    numbers = np.asarray(numbers)
    return torch.from_numpy(bits_of_numbers(numbers))


def assert_are(earlier, found, right, trials):
    assert_array_equal(earlier.bits.numpy().view("float64"), found)
    assert_array_equal(earlier.n_equal, right)
    assert_array_equal(earlier.n_trials, trials)


@pytest.mark.parametrize("seed", range(3))
def test_earlier_numbers_are_those_of_a_loop(seed):
    row, numbers, levels = random_events(seed)
    own = bits(numbers)[:, None].expand(-1, 2)
    earlier = EarlierNumbers.before(
        own, torch.from_numpy(levels), torch.from_numpy(row)
    )
    assert_are(earlier, *numbers_in_a_loop(row, numbers, levels))


@pytest.mark.parametrize("seed", range(3))
def test_paths_go_on_from_the_numbers_of_their_rows(seed, monkeypatch):
    """Some events are history, the others simulated; paths end and others join."""
    monkeypatch.setattr("sklearn_seqcrm.event_model._copy_state._EVENTS_AT_ONCE", 30)
    row, numbers, levels = random_events(seed)
    expected = numbers_in_a_loop(row, numbers, levels)
    begin = np.searchsorted(row, np.arange(5))
    end = np.searchsorted(row, np.arange(5), side="right")
    stop = begin + (end - begin) // 2
    source = HistorySource(
        np.zeros((len(row), 1), "float32"),
        np.zeros((len(row), 1), "int32"),
        np.arange(len(row)),
        begin,
        stop,
        stop,
    )
    own = bits(numbers)[:, None].expand(-1, 2), torch.from_numpy(levels)
    observed = ObservedNumbers.of(source, *own, torch.device("cpu"))
    state = observed.at_cutoff(torch.arange(4))
    at = stop[:4].copy()
    for step in range(6):
        assert_are(state.before(own[1][at]), *(one[at] for one in expected))
        state, at = state.append(own[0][at], own[1][at]), at + 1
        if step == 2:  # row 0 ends, and row 4 begins
            kept = np.array([3, 1, 2])
            begun = observed.at_cutoff(torch.tensor([4]))
            state = state.advance(torch.zeros(4) > 0).take(kept).concat(begun)
            at = np.append(at[kept], stop[4])


# Likelihood and draws -----------------------------------------------------------------


def test_probability_of_an_earlier_number_is_that_of_its_sources():
    """One event that two sources are right about, one that the second is, and none."""
    generator = torch.Generator().manual_seed(0)
    gates = EarlierNumberGates(3, [0.5, 0.25], 0.0, generator)
    earlier = EarlierNumbers(
        bits([[4.0, 4.0], [4.0, 5.0], [4.0, NAN], [NAN, NAN]]),
        torch.tensor([[3.0, 0], [3, 1], [0, 0], [0, 0]]),
        torch.tensor([[4.0, 0], [4, 2], [0, 0], [0, 0]]),
    )
    with torch.no_grad():
        gates.gates.weight[:, :3] = 0.0
        found = gates.log_prob(
            torch.tensor([0.1, 0.2, 0.3, 0.4]).log(),
            torch.ones(4, 3),
            earlier,
            bits([[4.0], [5.0], [6.0], [7.0]]).expand(-1, 2),
            torch.ones(4, dtype=torch.bool),
        ).exp()
    # Odds (h + 2 r) / (t - h + 2 (1 - r)) of each source against a new number.
    first, second = 4 / 2, np.array([0.5 / 1.5, 1.5 / 2.5])
    expected = [
        (0.1 + first + second[0]) / (1 + first + second[0]),
        (0.2 + second[1]) / (1 + first + second[1]),
        0.3 / (1 + 1),
        0.4,
    ]
    assert_allclose(found, expected, rtol=1e-5)


def test_a_source_that_is_always_right_has_finite_odds():
    gates = EarlierNumberGates(1, [1.0], 0.0, torch.Generator())
    always = torch.tensor([[50.0]])
    earlier = EarlierNumbers(bits([[4.0]]), always, always)
    with torch.no_grad():
        found = gates.log_gates(torch.zeros(1, 1), earlier).exp()
    assert 0.9 < found[0, 2] < 1


# Models -------------------------------------------------------------------------------


def subscribers(n=60, n_months=14, seed=0):
    """Each customer pays an amount of their own every month."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n), n_months)
    month = np.tile(np.arange(n_months), n)
    return pd.DataFrame(
        {
            "who": who,
            "day": 30 * month + rng.integers(0, 20, n)[who],
            "amount": np.exp(rng.normal(3, 1, n))[who],
        }
    )


SMALL = {"hidden_size": 8, "max_epochs": 4, "random_state": 0}


@pytest.fixture(scope="module")
def paying():
    events = subscribers()
    X = EventLog(events, "who", "day").snapshots([430])
    return events, X, LSTMEventModel(**SMALL).fit(X)


def test_subscribers_go_on_paying_their_amount(paying):
    events, X, model = paying
    own = events.groupby("who")["amount"].first()
    futures = model.sample(X, 120, n_paths=10, random_state=0)
    assert len(futures) > 1000
    # Exactly: the same bits, although the amounts have no resolution.
    assert (futures["amount"] == own[futures["who"]].to_numpy()).mean() > 0.95
    log_prob = model.score_events(X)
    first = log_prob["event"] == 0
    assert log_prob.loc[~first, "log_prob_amount"].mean() > -0.2
    assert log_prob.loc[first, "log_prob_amount"].mean() < -5


def test_without_copies_no_number_is_earlier(paying):
    events, X, _ = paying
    model = LSTMEventModel(**SMALL, copies=False).fit(X)
    own = events.groupby("who")["amount"].first()
    futures = model.sample(X, 120, n_paths=10, random_state=0)
    assert (futures["amount"] == own[futures["who"]].to_numpy()).mean() < 0.03


def test_a_customer_pays_the_price_of_the_product():
    """Prices differ by customer and product; a new price stays in a simulation."""
    rng = np.random.default_rng(0)
    events = subscribers(n_months=24).drop(columns="amount")
    events["item"] = rng.choice(["a", "b", "c"], len(events))
    price = np.round(np.exp(rng.normal(3, 1, (60, 3))), 2)
    events["price"] = price[events["who"], events["item"].map(ord) - ord("a")]
    X = EventLog(events[events["day"] < 500], "who", "day").snapshots([500])
    model = LSTMEventModel(**SMALL).fit(X)
    [source] = model._learned.number_fields["price"].sources
    assert source.field == "item"
    futures = model.sample(X, 400, n_paths=5, random_state=0)
    of_path = futures.groupby(["who", "path", "item"], observed=True)["price"]
    assert of_path.nunique().mean() < 1.1
    known = events[events["day"] < 500].groupby(["who", "item"])["price"].first()
    both = futures.join(known.rename("known"), on=["who", "item"]).dropna()
    assert (both["price"] == both["known"]).mean() > 0.9


def test_earlier_numbers_are_drawn_as_the_likelihood_says(paying):
    """Teacher forcing of simulated events, which have numbers again and new ones."""
    events, X, model = paying
    density = model.net_.module_.fields[0]
    gates, draw = density.gates, type(density).draw
    bias = gates.gates.bias.detach().clone()
    log_new = []

    def kept(self, context, draws, state, is_tie, codes):
        levels = self.columns.copied.own_levels(codes)
        earlier = state.before(levels)
        log_new.append(self.gates.log_gates(context, earlier)[:, 1].numpy())
        return draw(self, context, draws, state, is_tie, codes)

    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        gates.gates.bias[1] += 5
        patch.setattr(type(density), "draw", kept)
        futures = model.sample(X, 120, n_paths=1, random_state=0)
        ahead = futures[["who", "day", "amount"]]
        both = EventLog(pd.concat([events, ahead]), "who", "day").snapshots([550])
        seen = []
        log_gates = EarlierNumberGates.log_gates

        def noted(self, context, earlier):
            found = log_gates(self, context, earlier)
            seen.append(found[:, 1].numpy())
            return found

        patch.setattr(EarlierNumberGates, "log_gates", noted)
        scores = model.score_events(both)
        gates.gates.bias.copy_(bias)
    own = events.groupby("who")["amount"].first()
    is_new = futures["amount"] != own[futures["who"]].to_numpy()
    assert 0.1 < is_new.mean() < 0.9
    order = np.lexsort((futures["row"], futures.groupby("row").cumcount()))
    row = np.concatenate(seen)
    later = (scores["event"] >= 14).to_numpy()
    assert_allclose(np.concatenate(log_new), row[later][order], atol=1e-3)


def test_numbers_of_the_same_basket_are_earlier_ones():
    """The number of a line is known when the next line of its basket is drawn."""
    rng = np.random.default_rng(0)
    who, day = np.repeat(np.arange(80), 30), np.tile(np.arange(10).repeat(3), 80)
    events = pd.DataFrame({"who": who, "day": day})
    # All lines of a basket have one number.
    events["number"] = rng.normal(size=(80, 10))[who, day]
    events["item"] = rng.choice(["a", "b"], len(events))
    log = EventLog(events, "who", "day", fields=["number", "item"])
    X = log.snapshots([10])
    model = LSTMEventModel(**SMALL).fit(X)
    [source] = model._learned.number_fields["number"].sources
    assert source.field is None
    futures = model.sample(X, 3, n_paths=3, random_state=0)
    is_tie = futures.duplicated(["row", "path", "day"])
    again = futures["number"] == futures["number"].shift()
    assert again[is_tie].mean() > 0.8
    assert again[~is_tie].mean() < 0.5


def test_datetimes_missing_numbers_and_kinds():
    """Invoices are due after the customer's own term; visits have no due date."""
    rng = np.random.default_rng(0)
    n = 60
    who, month = np.repeat(np.arange(n), 12), np.tile(np.arange(12), n)
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(30 * month, unit="D")
    invoices = pd.DataFrame({"who": who, "at": at})
    term = rng.choice([7, 10, 14, 21, 28, 30, 45, 60], n)[who]
    invoices["due"] = invoices["at"] + pd.to_timedelta(term, unit="D")
    invoices.loc[rng.random(len(who)) < 0.1, "due"] = pd.NaT
    visits = pd.DataFrame({"who": who, "at": at + pd.Timedelta(days=3)})
    log = EventLog.concat(
        {
            "invoice": EventLog(invoices, "who", "at"),
            "visit": EventLog(visits.assign(page="a"), "who", "at"),
        },
        kind_field="event",
    )
    X = log.snapshots(["2025-01-01"])
    model = LSTMEventModel(**SMALL).fit(X)
    futures = model.sample(X, "120D", n_paths=5, random_state=0)
    is_invoice = futures["event"] == "invoice"
    assert futures.loc[~is_invoice, "due"].isna().all()
    known = futures[is_invoice & futures["due"].notna()]
    assert 0.02 < futures.loc[is_invoice, "due"].isna().mean() < 0.3
    days = (known["due"] - known["at"]).dt.days.to_numpy()
    own = pd.Series(term, who).groupby(level=0).first()
    assert (days == own[known["who"]].to_numpy()).mean() > 0.75


def test_rows_in_other_company_have_the_same_numbers(paying):
    _, X, model = paying
    some = X.iloc[[5, 17, 30]]
    alone = model.sample(some.iloc[[1]], 90, n_paths=4, random_state=0)
    beside = model.sample(some, 90, n_paths=4, random_state=0)
    own = beside[beside["row"] == 1].drop(columns="row").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.drop(columns="row"), own)
    scores = model.score_events(some)
    of_one = model.score_events(some.iloc[[1]])["log_prob_amount"]
    own = scores.loc[scores["row"] == 1, "log_prob_amount"]
    assert_allclose(of_one, own, atol=1e-5)


def test_due_dates_that_rounding_would_change_are_not_copied():
    """Event times in milliseconds: a due date at another time is rounded to seconds."""
    rng = np.random.default_rng(0)
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(
        rng.integers(0, 10**10, 400), unit="ms"
    )
    events = pd.DataFrame({"who": np.arange(400) % 40, "at": at})
    events["due"] = events["at"] + pd.to_timedelta(7 + events["who"], unit="D")
    X = EventLog(events, "who", "at").snapshots(["2024-04-25"])
    model = LSTMEventModel(**SMALL).fit(X)
    assert model._learned.number_fields["due"].sources == ()
    events["due"] = events["due"].dt.floor("s")
    events["at"] = events["at"].dt.floor("s")
    X = EventLog(events, "who", "at").snapshots(["2024-04-25"])
    model = LSTMEventModel(**SMALL).fit(X)
    assert len(model._learned.number_fields["due"].sources) == 1


def test_wider_numbers_are_compared_as_those_of_training(paying):
    """A model of float32 amounts simulates a log of float64 ones."""
    events, _, _ = paying
    narrow = events.assign(amount=events["amount"].astype("float32"))
    model = LSTMEventModel(**SMALL).fit(EventLog(narrow, "who", "day").snapshots([430]))
    wide = events.copy()
    wide.loc[wide["who"] == 0, "amount"] = 1e300
    X = EventLog(wide, "who", "day").snapshots([430])
    futures = model.sample(X, 60, n_paths=5, random_state=0)
    assert np.isfinite(futures["amount"]).all()
    own = narrow.groupby("who")["amount"].first()
    known = futures[futures["who"] > 0]
    assert (known["amount"] == own[known["who"]].to_numpy()).mean() > 0.9
