from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline, make_union

from sklearn_seqcrm._ragged import _segments
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.feature_extraction._aggregates import label_of
from sklearn_seqcrm.model_selection import check_no_leakage
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.testing._small_data import (
    make_events,
    make_rows,
    make_table,
    make_y,
)
from tests.logs import log_of, log_of_table

# With the default, small tables would lose most columns.
Aggregator = partial(HistoryAggregator, min_rows=0)
RARE = "infrequent_sklearn"

# By eye -------------------------------------------------------------------------------

ORDERS = pd.DataFrame(
    [
        ("ann", "2024-01-01", 10.0, "tea"),
        ("ann", "2024-03-01", 20.0, "tea"),
        ("ann", "2024-03-01", 30.0, None),
        ("ann", "2024-03-25", np.nan, "mug"),
        ("bob", "2024-03-30", 8.0, "mug"),
        ("bob", "2024-03-31", 8.0, "tea"),
        ("cleo", "2024-03-31", 7.0, "pot"),
    ],
    columns=["who", "day", "spend", "product"],
).astype({"day": "datetime64[s]"})
LOG = log_of_table(ORDERS)
PEOPLE = pd.DataFrame({"who": ["ann", "bob", "cleo", "dan"], "age": [40, 30, 20, 50]})


def aggregates(X, **options):
    """Return the aggregates of one history column, without its name."""
    model = Aggregator(remainder="drop", **options)
    table = model.fit_transform(X)
    return table.rename(columns=lambda name: name.removeprefix("history__"))


def test_by_eye():
    X = LOG.attach(PEOPLE, cutoff="2024-03-31")
    found = aggregates(X, lookbacks=["30D"], half_lives=["15D"]).astype(object)
    nan = np.nan
    # cleo has her first event at the cutoff, which is the future, and dan has none.
    expected = {
        "recency": [6, 1, nan, nan],
        "tenure": [90, 1, nan, nan],
        "n_events": [4, 1, 0, 0],
        "n_events_30D": [3, 1, 0, 0],
        "n_moments": [3, 1, 0, 0],
        "n_moments_30D": [2, 1, 0, 0],
        "active_days": [3, 1, 0, 0],
        "active_days_30D": [2, 1, 0, 0],
        # 3 in 30 days, and 1 in the 60 before: .1 and 1/60 a day
        "n_events_trend_30D": [5 / 7, nan, nan, nan],
        "n_moments_trend_30D": [3 / 5, nan, nan, nan],
        "n_events_decayed_15D": [
            2**-6 + 2 * 2**-2 + 2 ** (-6 / 15), 2 ** (-1 / 15), 0, 0
        ],
        "gap_mean": [42, nan, nan, nan],
        "gap_std": [18 * 2**0.5, nan, nan, nan],
        "gap_max": [60, nan, nan, nan],
        "gap_last": [24, nan, nan, nan],
        "gaps_since_last": [1 / 7, nan, nan, nan],
        "spend_sum": [60, 8, 0, 0],
        "spend_sum_30D": [50, 8, 0, 0],
        "spend_mean": [20, 8, nan, nan],
        "spend_mean_30D": [25, 8, nan, nan],
        "spend_std": [10, nan, nan, nan],
        "spend_std_30D": [50**0.5, nan, nan, nan],
        "spend_min": [10, 8, nan, nan],
        "spend_min_30D": [20, 8, nan, nan],
        "spend_max": [30, 8, nan, nan],
        "spend_max_30D": [30, 8, nan, nan],
        "spend_last": [30, 8, nan, nan],
        # 50 in 30 days and 10 in the 60 before
        "spend_trend_30D": [9 / 11, nan, nan, nan],
        # Two lines of 1 March are one order of 50; that of 25 March has no number.
        "spend_moment_mean": [30, 8, nan, nan],
        "spend_moment_last": [50, 8, nan, nan],
        "spend_decayed_sum_15D": [
            10 * 2**-6 + 50 * 2**-2, 8 * 2 ** (-1 / 15), 0, 0
        ],
        "product_n_levels": [2, 1, 0, 0],
        "product_n_levels_30D": [2, 1, 0, 0],
        "product=mug_share": [1 / 3, 1, nan, nan],
        "product=mug_share_30D": [1 / 2, 1, nan, nan],
        "product=mug_since_last": [6, 1, nan, nan],
        "product_last": ["mug", "mug", nan, nan],
    }  # fmt: skip
    # Two customers have bought a mug, only ann has bought tea, as far as rows see.
    assert found.columns.tolist() == list(expected)
    assert_frame_equal(
        found, pd.DataFrame(expected, dtype=object), check_dtype=False, rtol=1e-12
    )


def test_events_at_the_cutoff_against_those_before():
    X = LOG.attach(PEOPLE, cutoff="2024-03-31", allow_exact_matches=True)
    found = aggregates(X, lookbacks=None, half_lives=None)
    assert_array_equal(found["n_events_now"], [0, 1, 1, 0])
    assert_array_equal(found["recency"], [6, 0, 0, np.nan])
    assert_array_equal(found["recency_past"], [6, 1, np.nan, np.nan])
    assert_array_equal(found["spend_now_ratio"], [np.nan, 1, np.nan, np.nan])
    # One order in the past has no deviation, and an order of cleo has no past.
    assert found["spend_now_zscore"].isna().all()
    assert_array_equal(found["product_now_share"], [np.nan, 0, np.nan, np.nan])
    more = ORDERS.assign(who="bob", day=ORDERS["day"] - pd.Timedelta("400D"))
    log = EventLog(pd.concat([more, ORDERS]), "who", "day")
    X = log.attach(PEOPLE[1:2], cutoff="2024-03-31", allow_exact_matches=True)
    found = aggregates(X).iloc[0]
    past = [10, 20, 30, 8, 8, 7, 8]
    assert_allclose(found["spend_now_ratio"], 8 / np.mean(past))
    assert_allclose(
        found["spend_now_zscore"], (8 - np.mean(past)) / np.std(past, ddof=1)
    )
    assert found["product_now_share"] == 3 / 7


def test_constant_numbers_have_a_standard_deviation_of_0():
    """Rounding, of days since 1970 or of the mean of 0.1, must not show."""
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(79_191 * np.arange(60), "s")
    orders = pd.DataFrame({"who": list("abc") * 20, "day": day, "fee": 0.1})
    orders["sent"] = day + pd.Timedelta("36h 17min")
    X = log_of_table(orders).attach(
        orders[["who", "day"]], "who", "day", allow_exact_matches=True
    )
    found = HistoryAggregator(remainder="drop").fit_transform(X)
    for field, value in {"fee": 0.1, "sent": 36 / 24 + 17 / 1440}.items():
        several = found[f"history__{field}_std"].dropna()
        assert len(several) == 57
        assert_array_equal(several, 0)
        for statistic in ("mean", "min", "max", "last"):
            assert_array_equal(found[f"history__{field}_{statistic}"], value)
        assert f"history__{field}_now_zscore" not in found  # which no row has


# Against a loop -----------------------------------------------------------------------


def slow_aggregates(history, lookbacks, half_lives, unit, levels):
    """Compute the aggregates of one History, event by event."""
    events, cutoff = history.to_frame(), history.cutoff
    time = events.columns[1]
    ages = [(cutoff - t) / unit for t in events[time]]
    number = [t // unit for t in _since_zero(events[time])]
    new = [True] + [b != a for a, b in pairwise(number)]
    found = {
        "recency": min(ages, default=np.nan),
        "tenure": max(ages, default=np.nan),
        "recency_past": min([age for age in ages if age > 0], default=np.nan),
        "n_events_now": ages.count(0),
    }
    gaps = [
        a - b for (a, b), begins in zip(pairwise(ages), new[1:], strict=True) if begins
    ]
    found |= {f"gap_{name}": value for name, value in _summary(gaps).items()}
    found["gap_last"] = gaps[-1] if gaps else np.nan
    found["gaps_since_last"] = _divide(found["recency"], found["gap_mean"])
    windows = {"": np.inf, **{f"_{label_of(x)}": x / unit for x in lookbacks}}
    reach = [x / unit for x in lookbacks] + [np.inf]
    finite = events["amount"].where(np.isfinite(events["amount"]))
    sums = finite.groupby(events[time].to_numpy()).sum(min_count=1)
    recorded = sums.dropna().tolist()
    found["amount_moment_mean"] = _summary(recorded)["mean"]
    found["amount_moment_last"] = recorded[-1] if recorded else np.nan
    begins = pd.Series([1.0] + [float(a != b) for a, b in pairwise(ages)], dtype=float)
    begins = begins.iloc[: len(ages)].set_axis(events.index)
    for suffix, length in windows.items():
        inside = [i for i, age in enumerate(ages) if age <= length]
        found[f"n_moments{suffix}"] = len({ages[i] for i in inside})
        found[f"n_events{suffix}"] = len(inside)
        found[f"active{suffix}"] = len({number[i] for i in inside})
        amounts = [a for a in events["amount"].iloc[inside] if np.isfinite(a)]
        found |= {f"amount_{n}{suffix}": v for n, v in _summary(amounts).items()}
        known = events["kind"].iloc[inside].dropna().tolist()
        found[f"kind_n_levels{suffix}"] = len(set(known))
        for level in levels:
            share = known.count(level) / len(known) if known else np.nan
            found[f"kind={level}_share{suffix}"] = share
        if suffix:
            following = min(x for x in reach if x > length)
            before = [i for i, age in enumerate(ages) if length < age <= following]
            span = min(following, max(ages, default=0)) - length
            for name, values in (
                ("n_events", pd.Series(1.0, events.index)),
                ("n_moments", begins),
                ("amount", events["amount"].where(np.isfinite(events["amount"]), 0)),
            ):
                now = values.iloc[inside].sum() / length
                then = values.iloc[before].sum() / span if span > 0 else np.nan
                trend = _divide(now - then, abs(now) + abs(then))
                found[f"{name}_trend{suffix}"] = trend
    recorded = [a for a in events["amount"] if np.isfinite(a)]
    found["amount_last"] = recorded[-1] if recorded else np.nan
    for length in half_lives:
        fade = [0.5 ** (age * unit / length) for age in ages]
        amounts = [a if np.isfinite(a) else 0 for a in events["amount"]]
        found[f"n_events_decayed_{label_of(length)}"] = sum(fade)
        found[f"amount_decayed_sum_{label_of(length)}"] = np.dot(fade, amounts)
    for level in levels:
        own = [
            age for age, kind in zip(ages, events["kind"], strict=True) if kind == level
        ]
        found[f"kind={level}_since_last"] = min(own, default=np.nan)
    known = events["kind"].dropna().tolist()
    last = known[-1] if known else np.nan
    found["kind_last"] = last if last in [*levels, np.nan] else RARE
    now = np.array(ages, dtype=float) == 0
    return found | _slow_now(events[now], events[~now])


def _slow_now(now, past):
    amounts = [[a for a in x["amount"] if np.isfinite(a)] for x in (now, past)]
    mine, usual = map(_summary, amounts)
    past_kinds = past["kind"].dropna().tolist()
    shares = [
        past_kinds.count(kind) / len(past_kinds) if past_kinds else np.nan
        for kind in now["kind"].dropna()
    ]
    return {
        "amount_now_ratio": _divide(mine["mean"], usual["mean"]),
        "amount_now_zscore": _divide(mine["mean"] - usual["mean"], usual["std"]),
        "kind_now_share": np.mean(shares) if shares else np.nan,
    }


def _since_zero(times):
    if times.dtype.kind in "if":
        return times
    return times - pd.Timestamp(0, tz=times.dt.tz)


def _divide(one, other):
    return one / other if other != 0 else np.nan


def _summary(values):
    return {
        "sum": float(sum(values)),
        "mean": sum(values) / len(values) if values else np.nan,
        "std": np.std(values, ddof=1) if len(values) > 1 else np.nan,
        "min": min(values, default=np.nan),
        "max": max(values, default=np.nan),
    }


START = pd.Timestamp("2024-01-01")
AXES = {
    "hours": (lambda t: START + pd.to_timedelta(t, "h"), pd.Timedelta(1, "h")),
    "aware": (
        lambda t: START.tz_localize("Asia/Tokyo") + pd.to_timedelta(t, "h"),
        pd.Timedelta(1, "h"),
    ),
    "integers": (lambda t: np.asarray(t), 1),
    "floats": (lambda t: np.asarray(t) / 4, 0.25),
}


def compare(events, rows, axis, unit, lookbacks, half_lives, *, moments=True, **attach):
    """Compare all columns with the loop, and return them."""
    times, hour = AXES[axis]
    events = events.assign(time=times(events["time"]))
    log = log_of_table(events)
    if "lookback" in attach:
        attach["lookback"] = attach["lookback"] * hour
    X = log.attach(rows.assign(at=times(rows["at"])), cutoff="at", **attach)
    lookbacks, half_lives = ([x * hour for x in xs] for xs in (lookbacks, half_lives))
    unit = unit * hour
    model = Aggregator(
        lookbacks, half_lives=half_lives, time_unit=unit, moments=moments, max_levels=2
    ).fit(X[["history"]])
    found = model.transform(X).rename(columns=lambda n: n.removeprefix("history__"))
    found = found.rename(columns=lambda name: name.replace("active_days", "active"))
    found = found.rename(columns=lambda name: name.replace("active_periods", "active"))
    expected = pd.DataFrame(
        [
            slow_aggregates(
                h, lookbacks, half_lives, unit, model.levels_["history"]["kind"]
            )
            for h in X["history"]
        ],
        index=X.index,
    )
    expected = expected.drop(columns=["gap_sum", "gap_min"])
    if "n_events_now" not in found:
        expected = expected.drop(
            columns=expected.columns[expected.columns.str.contains("now|past")]
        )
    if not moments:
        expected = expected.drop(
            columns=expected.columns[expected.columns.str.contains("moment")]
        )
    if not model.levels_["history"]["kind"]:
        expected = expected.drop(columns="kind_last")
    assert set(found) == set(expected)
    for name in found.columns.drop("kind_last", errors="ignore"):
        assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)
    if "kind_last" in found:
        one, two = (table["kind_last"].astype(object) for table in (found, expected))
        assert one.fillna("none").tolist() == two.fillna("none").tolist()
    return found


def random_table(n_events, n_customers, n_rows, seed=0):
    rng = np.random.default_rng(seed)
    amount = rng.lognormal(size=n_events).round(2) * rng.choice([1, -1], n_events)
    amount[rng.random(n_events) < 0.2] = np.nan
    amount[rng.random(n_events) < 0.05] = np.inf
    kind = pd.Series(rng.choice(list("abc"), n_events, p=[0.6, 0.3, 0.1]))
    events = pd.DataFrame(
        {
            "id": rng.integers(0, n_customers, n_events),
            "time": rng.choice(300, n_events),
            "amount": amount,
            "kind": kind.mask(rng.random(n_events) < 0.1, None),
        }
    )
    rows = pd.DataFrame(
        {
            "id": rng.integers(0, n_customers + 2, n_rows),
            "at": np.append(rng.choice(320, n_rows - 1), events["time"][0]),
        }
    )
    rows.loc[n_rows - 1, "id"] = events["id"][0]
    return events, rows


@pytest.mark.parametrize("block", [16, 2**18])
@pytest.mark.parametrize(
    "attach", [{}, {"lookback": 90}, {"allow_exact_matches": True}], ids=str
)
@pytest.mark.parametrize("axis", AXES)
def test_equal_to_a_loop(axis, attach, block, monkeypatch):
    monkeypatch.setattr(_segments, "BLOCK", block)
    events, rows = random_table(150, 8, 45)
    found = compare(events, rows, axis, 24, [10, 70], [5, 50], **attach)
    assert found.notna().any().all()


@pytest.mark.parametrize("attach", [{}, {"lookback": 150, "allow_exact_matches": True}])
def test_long_histories_equal_a_loop(attach):
    """Windows that hold chunks of 16 and of 256 events."""
    events, rows = random_table(1500, 2, 25)
    found = compare(events, rows, "integers", 5, [40, 200], [30], **attach)
    assert found["n_events"].max() > 280


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 40),
            st.sampled_from([1.0, 2.5, -3.0, np.nan, np.inf]),
            st.sampled_from(["a", "b", "c", None]),
        ),
        min_size=1,
        max_size=60,
    ),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 45)), min_size=1, max_size=9),
    st.booleans(),
    st.sampled_from([{}, {"lookback": 12}]),
)
def test_any_events_and_rows(events, rows, exact, attach):
    events = pd.DataFrame(events, columns=["id", "time", "amount", "kind"])
    rows = pd.DataFrame(rows, columns=["id", "at"])
    events["kind"] = events["kind"].astype(pd.CategoricalDtype(list("abc")))
    compare(
        events, rows, "integers", 4, [3, 11], [6], allow_exact_matches=exact, **attach
    )


# Moments ------------------------------------------------------------------------------


def rows_of_lines(n_pairs):
    """Return rows of 40 lines, with two at one time in the first `n_pairs` pairs."""
    times = np.arange(40)
    times[1 : 2 * n_pairs : 2] -= 1  # pairs at the times 0, 2, ...
    who = list("a" * 20 + "b" * 20)
    return log_of(times, who, fields={"spend": 1.0, "sent": START}).snapshots([40])


@pytest.mark.parametrize(("n_pairs", "joined"), [(0, False), (5, False), (6, True)])
def test_columns_of_moments_where_three_tenths_of_the_events_stand_together(
    n_pairs, joined
):
    # 5 pairs are 10 of 40 events, 6 pairs are 12.
    X = rows_of_lines(n_pairs)
    names = Aggregator().fit(X).get_feature_names_out()
    moments = [name for name in names if "moment" in name]
    assert bool(moments) == joined
    chosen = Aggregator(moments=joined).fit_transform(X)
    assert_frame_equal(Aggregator().fit_transform(X), chosen)
    # Days after an event are not summed.
    assert not [name for name in moments if "sent" in name]


def test_moments_replace_no_column():
    X = rows_of_lines(10)
    without, every = (
        Aggregator(max_features=None, moments=moments).fit_transform(X)
        for moments in (False, True)
    )
    assert_frame_equal(every[without.columns], without)
    assert set(every) - set(without) >= {
        "history__n_moments", "history__spend_moment_mean"
    }  # fmt: skip


def test_moments_keep_the_number_of_columns_in_bounds():
    found = HistoryAggregator(max_features=12, remainder="drop").fit(rows_of_lines(10))
    assert len(found.get_feature_names_out()) <= 12


def test_the_order_of_lines_changes_no_column_of_moments():
    events = make_events().assign(amount=lambda e: e["amount"].round())
    tables = []
    for one in (events, events[::-1]):
        X = EventLog(one, "who", "when").attach(make_rows(), cutoff="at")
        tables.append(Aggregator(moments=True).fit_transform(X).filter(like="moment"))
    assert_frame_equal(*tables)


# Later events and large numbers change no digit ---------------------------------------


def test_later_events_change_no_digit():
    events = make_events(mean_events=60)
    rows = make_rows(n_cutoffs=3)
    moment = rows["at"].median()
    rows = rows[rows["at"] <= moment]
    huge = events.assign(amount=events["amount"].mask(events["when"] >= moment, 1e17))
    options = {"cutoff": "at", "allow_exact_matches": True}
    X, other = (
        EventLog(table, "who", "when").attach(rows, **options)
        for table in (events[events["when"] <= moment], huge)
    )
    model = Aggregator(moments=True).fit(X)
    assert_frame_equal(model.transform(X), model.transform(other), check_exact=True)
    alone = pd.concat([model.transform(X.iloc[[i]]) for i in range(len(X))])
    assert_allclose(
        alone.select_dtypes("number"),
        model.transform(X).select_dtypes("number"),
        rtol=1e-12,
    )


def test_a_large_amount_before_a_window_spoils_no_digit_in_it():
    events = pd.DataFrame({"id": "a", "time": range(40), "amount": [1e17] + 39 * [0.1]})
    X = log_of_table(events).snapshots([40])
    found = aggregates(X, lookbacks=[35], half_lives=None).iloc[0]
    assert found["amount_sum_35"] == pytest.approx(3.5, rel=1e-15)
    assert found["amount_std_35"] == pytest.approx(0, abs=1e-15)
    assert found["amount_std"] == pytest.approx(1e17 / 40**0.5, rel=1e-12)


@pytest.mark.parametrize("amounts", [[1e20, 0, 1, 2, 3], [1e20, -1, 0, 0, 0]])
def test_a_large_amount_before_a_row_starts_spoils_no_decayed_sum(amounts):
    events = pd.DataFrame({"id": "a", "time": [0, 1, 50, 51, 52], "amount": amounts})
    rows = pd.DataFrame({"id": "a", "at": [5, 60]})
    X = log_of_table(events).attach(rows, cutoff="at", lookback=20)
    options = {"lookbacks": None, "half_lives": [30]}
    found = aggregates(X, **options)["amount_decayed_sum_30"]
    expected = np.sum(np.array(amounts[2:]) * 2 ** (-np.array([10, 9, 8]) / 30))
    assert found[0] == pytest.approx(1e20 * 2 ** (-5 / 30), rel=1e-15)
    assert found[1] == pytest.approx(expected, rel=1e-14)


def test_huge_amounts_are_no_infinities():
    amounts = [1e300, -1e300, 1e-300, 1.7e308]
    events = pd.DataFrame({"id": "a", "time": range(4), "amount": amounts})
    log = log_of_table(events)
    X = log.attach(events[["id", "time"]], cutoff="time", allow_exact_matches=True)
    assert not np.isinf(aggregates(X).to_numpy(float)).any()


def test_huge_amounts_in_long_histories_are_no_infinities():
    """Sums of chunks of 65,536 events are 6.6e154, and the square of that none."""
    amounts = np.repeat([1e300, -1e300], 65536)
    events = pd.DataFrame({"id": "a", "time": range(len(amounts)), "amount": amounts})
    X = log_of_table(events).snapshots([len(amounts)])
    found = aggregates(X, lookbacks=None).iloc[0]
    assert found["amount_std"] == pytest.approx(1e150, rel=1e-5)


def test_no_leakage():
    events = make_events()
    X = EventLog(events, "who", "when").attach(
        make_rows(), cutoff="at", allow_exact_matches=True
    )
    check_no_leakage(Aggregator(moments=True).fit(X), X, n_cutoffs=3)


# What is learned ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "cutoff", "lookbacks", "unit"),
    [
        (pd.date_range("2020", periods=400, freq="3D"), "2023-04-14",
         ["7D", "30D", "365D", "1095D"], "1D"),
        (pd.date_range("2020", periods=60, freq="D"), "2020-03-01",
         ["1D", "7D", "30D"], "1D"),
        (pd.date_range("2020", periods=60, freq="5min"), "2020-01-01 05:00",
         ["10min", "1h"], "1min"),
        (pd.to_datetime(["2020-01-01"]), "2020-01-01 12:00", [], "1h"),
        (range(0, 100, 4), 100, [10, 30], 1),
        (range(0, 100000, 5), 100000, [10, 100, 3000, 30000], 1),
        (np.arange(100) / 1000, 0.1, [0.001, 0.003, 0.01, 0.03], 0.01),
        ([5.0], 5.5, [], 0.01),
    ],
)  # fmt: skip
def test_lengths_follow_the_events(times, cutoff, lookbacks, unit):
    X = log_of(times).snapshots([cutoff])
    model = Aggregator(half_lives="auto").fit(X)
    as_length = pd.Timedelta if isinstance(cutoff, str) else float
    assert list(map(as_length, model.lookbacks_["history"])) == list(
        map(as_length, lookbacks)
    )
    assert model.half_lives_ == model.lookbacks_
    assert as_length(model.time_units_["history"]) == as_length(unit)


def test_frequent_levels():
    ids = list("aabbccc")
    kind = list("xyxyzzz")  # z is frequent, but of a single customer
    log = log_of(
        range(7), ids, fields={"kind": kind, "basket": [f"b{i}" for i in range(7)]}
    )
    X = log.snapshots([7])
    model = Aggregator(max_levels=1).fit(X)
    assert model.levels_ == {"history": {"kind": ["x"], "basket": []}}
    table = model.transform(X)
    assert table["history__kind_last"].tolist() == [RARE] * 3
    assert table["history__basket_n_levels"].tolist() == [2, 2, 3]
    assert "history__basket_last" not in table
    assert Aggregator().fit(X).levels_["history"]["kind"] == ["x", "y"]
    # Only events that a row sees count.
    assert Aggregator().fit(log.snapshots([3])).levels_["history"]["kind"] == ["x"]
    no_levels = Aggregator(max_levels=0).fit(X)
    assert not any("=" in name for name in no_levels.get_feature_names_out())


def test_levels_not_seen_in_fit():
    X = log_of(range(4), list("abab"), fields={"kind": ["x", "x", "y", "y"]}).snapshots(
        [4]
    )
    model = Aggregator(None).fit(X)
    other = log_of(
        range(3), list("aab"), fields={"kind": ["new", "y", "new"]}
    ).snapshots([4])
    found = model.transform(other)
    assert found["history__kind_last"].tolist() == ["y", RARE]
    assert found["history__kind=y_share"].tolist() == [0.5, 0]
    assert found["history__kind_n_levels"].tolist() == [2, 1]
    assert found.dtypes.equals(model.transform(X).dtypes)


def test_a_field_of_several_kinds_is_aggregated_by_kind():
    orders = log_of(
        [1, 2, 5],
        list("aab"),
        fields={"spend": [10.0, 20.0, 30.0], "shop": list("xyx")},
    )
    returns = log_of([3, 5, 8], list("aba"), fields={"spend": [-4.0, -5.0, -9.0]})
    log = EventLog.concat({"order": orders, "return": returns})
    X = log.snapshots([6])
    model = Aggregator(None, half_lives=None).fit(X)
    found = model.transform(X)
    assert found["history__spend_of_order_sum"].tolist() == [30, 30]
    assert_array_equal(found["history__spend_of_return_mean"], [-4, -5])
    assert_array_equal(found["history__event=return_since_last"], [3, 1])
    assert "history__spend_sum" not in found
    assert found["history__n_events"].tolist() == [3, 2]
    # One that no row has seen yet is none.
    early = Aggregator().fit(log.snapshots([3])).get_feature_names_out()
    assert "history__spend_of_order_sum" in early
    assert not any("return" in name for name in early)
    plain = log_of(
        [1], list("a"), fields={"spend": [3.0], "shop": "x", "event": "order"}
    )
    table = model.transform(plain.snapshots([6], min_events=1))
    assert table["history__spend_of_order_sum"].tolist() == [3]


def test_a_kind_and_a_field_of_one_name_get_two_names():
    orders = log_of(
        [1, 2], fields={"amount": [1.0, 2.0], "amount_of_order": [7.0, 8.0]}
    )
    returns = log_of([3, 4], fields={"amount": [3.0, 4.0]})
    X = EventLog.concat({"order": orders, "return": returns}).snapshots([9])
    found = aggregates(X, lookbacks=None)
    sums = found.filter(regex="amount.*_sum").iloc[0]
    assert sums.to_dict() == {
        "amount_of_order__sum": 3.0,
        "amount_of_return_sum": 7.0,
        "amount_of_order_sum": 15.0,
    }


def test_levels_that_are_numbers_or_dates():
    numbers = pd.Categorical([1, 2, 1, 1])
    dates = pd.Categorical(pd.to_datetime(["2024-01-01", "2024-01-02"] * 2))
    X = log_of(
        range(4), list("aabb"), fields={"shop": numbers, "valid": dates}
    ).snapshots([4])
    model = Aggregator(None).fit(X)
    found = model.transform(X)
    assert model.levels_["history"]["shop"] == [1]
    assert found["history__shop=1_share"].tolist() == [0.5, 1]
    assert found["history__shop_last"].tolist() == [RARE, "1"]
    assert "history__valid=2024-01-02 00_00_00_share" in found
    # A missing value makes floats of whole numbers.
    floats = pd.Categorical([3.0, None, 1.0, 1.0])
    other = log_of(
        range(4), list("aabb"), fields={"shop": floats, "valid": dates}
    ).snapshots([4])
    assert model.transform(other)["history__shop=1_share"].tolist() == [0, 1]


# The limit ----------------------------------------------------------------------------


def test_max_features_keeps_the_first_by_priority():
    X = make_table()
    whole = Aggregator(max_features=None).fit(X)
    every = whole.transform(X)
    names = [n for n in every if n.startswith("history__")]
    assert whole.left_out_ == {"history": []}
    kept_before: set[str] = set()
    for most in range(1, len(names) + 1, 3):
        model = Aggregator(max_features=most).fit(X)
        found = model.transform(X)
        kept = [name for name in found if name in names]
        assert len(kept) == most
        assert sorted(kept + model.left_out_["history"]) == sorted(names)
        assert kept_before < set(kept)
        assert [name for name in names if name in kept] == kept
        kept_before = set(kept)
        if most in (1, 22, 40):
            assert_frame_equal(found, every[found.columns])
    few = Aggregator(max_features=22).fit(X).get_feature_names_out()
    # The sums of all fields precede the extremes of any.
    assert {"history__amount_sum", "history__due_sum"} < set(few)
    assert "history__amount_max" not in few


# Names and the other columns; tests/test_common.py has the contract ------------------


def test_names():
    log = EventLog(
        ORDERS.rename(columns={"spend": "n_events", "product": 'a,"b"'}), "who", "day"
    )
    X = log.attach(PEOPLE, cutoff="2024-04-30", name="orders")
    model = Aggregator(lookbacks=["720h", pd.Timedelta("36h")]).fit(X)
    names = model.get_feature_names_out().tolist()
    assert model.transform(X).columns.tolist() == names
    assert len(set(names)) == len(names)
    assert names[-1] == "age"
    # A field may be called like a statistic.
    assert {"orders__n_events_trend_30D", "orders__n_events_trend_30D_"} < set(names)
    assert {"orders__n_events_36h", 'orders__a,"b"=tea_share_30D'} < set(names)
    assert model.feature_names_in_.tolist() == X.columns.tolist()
    assert model.static_columns_ == ["age"]


def test_several_histories_and_statics():
    visits = log_of([1, 2, 3], list("abb"), fields={"page": list("xyx")})
    orders = log_of([1, 5], list("ab"), fields={"price": [3.0, 4.0]})
    rows = pd.DataFrame(
        {"who": list("ab"), "city": ["Rome", None], "vip": [True, False]}
    )
    X = orders.attach(
        visits.attach(rows, cutoff=4, name="visits"), cutoff=9, name="orders"
    )
    found = Aggregator(None, half_lives=None).fit_transform(X)
    assert found["visits__n_events"].tolist() == [1, 2]
    assert found["orders__price_sum"].tolist() == [3, 4]
    assert found.columns[-2:].tolist() == ["city", "vip"]
    assert_frame_equal(
        found[["city", "vip"]], RFMFeatures().fit_transform(X)[["city", "vip"]]
    )


@pytest.mark.parametrize("model", [HistoryAggregator(), RFMFeatures()])
def test_statics_without_a_value_are_left_out(model):
    """Boosting of scikit-learn 1.9, the default of a hybrid, fails on such columns."""
    X = make_table().assign(age=np.nan, joined=pd.NaT, city=None)
    X["member"] = pd.array([None] * len(X), dtype="boolean")
    table = model.fit_transform(X)
    assert model.static_columns_ == ["city"]
    HistGradientBoostingClassifier(max_iter=2).fit(table, np.arange(len(X)) % 2)
    assert list(model.transform(make_table())) == list(table)
    assert "age" in model.fit(X.iloc[:0]).static_columns_


def test_missing_histories_and_no_rows():
    X = LOG.attach(PEOPLE, cutoff="2024-04-30")
    model = Aggregator().fit(X)
    expected = model.transform(X)
    gap = model.transform(X.reindex([0, 9, 3]))
    assert_frame_equal(gap.loc[[0]], expected.loc[[0]])
    assert gap.loc[9].isna().all()
    assert_frame_equal(gap.loc[[3]], expected.loc[[3]])
    nothing = model.transform(X.iloc[:0])
    assert nothing.dtypes.equals(expected.dtypes)
    assert len(nothing) == 0
    assert len(Aggregator().fit(X.iloc[:0]).transform(X)) == 4


def test_rows_keep_their_index():
    X = make_table().set_axis(range(48, 0, -1))
    assert Aggregator().fit_transform(X).index.equals(X.index)


def test_logs_of_other_units():
    X = make_table()
    model = Aggregator(["30D"], half_lives=["1D"], max_levels=3)
    whole = model.fit(X).transform(X)
    events = make_events().assign(when=make_events()["when"].astype("datetime64[ns]"))
    finer = EventLog(events, "who", "when").attach(make_rows(), cutoff="at")
    assert_frame_equal(model.transform(finer), whole, rtol=1e-12)


def test_includes_the_features_of_rfm():
    X = make_table()
    found = Aggregator(moments=True).fit_transform(X)
    names = ["recency", "n_moments", "amount_moment_mean", "tenure"]
    rfm = RFMFeatures("amount", remainder="drop").fit_transform(X)
    expected = rfm.set_axis([f"history__{name}" for name in names], axis=1)
    assert_frame_equal(found[expected.columns], expected)


def test_beside_rfm_in_a_union():
    """The recipe of the documentation."""
    X = make_table()
    rfm = RFMFeatures("amount", dialect="btyd", remainder="drop")
    both = make_union(rfm, Aggregator())
    table = both.set_output(transform="pandas").fit_transform(X)
    assert table.columns.is_unique
    assert table["historyaggregator__city"].dtype == "category"
    boosting = HistGradientBoostingClassifier(categorical_features="from_dtype")
    model = make_pipeline(both, boosting).fit(X, np.arange(len(X)) % 2)
    assert model.predict(X).shape == (len(X),)


# Errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lookbacks": [30]}, TypeError, "lookbacks must be a length of time"),
        ({"lookbacks": ["0D"]}, ValueError, "lookbacks must be longer than 0"),
        (
            {"lookbacks": "30D"},
            ValueError,
            "'lookbacks' parameter of HistoryAggregator",
        ),
        ({"half_lives": ["soon"]}, ValueError, "half_lives must be a length of time"),
        ({"time_unit": 1}, TypeError, "time_unit must be a length of time"),
        ({"moments": "1D"}, ValueError, "'moments' parameter"),
        ({"max_features": 0}, ValueError, "'max_features' parameter"),
        ({"max_levels": -1}, ValueError, "'max_levels' parameter"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=message):
        Aggregator(**options).fit(make_table())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda e: e.drop(columns="amount"), ValueError,
         r"'history' lack the field 'amount' .*they have \['kind', 'due'\]"),
        (lambda e: e.assign(amount="much"), TypeError,
         r"'amount' .* is categorical, but was numeric in fit; give it that type"),
        (lambda e: e.assign(kind=1.0), TypeError, "'kind' .* is numeric, but was cat"),
    ],
)  # fmt: skip
def test_another_log(change, error, message):
    model = Aggregator().fit(make_table())
    log = EventLog(change(make_events()), "who", "when")
    with pytest.raises(error, match=message):
        model.transform(log.attach(make_rows(), cutoff="at"))


def test_a_field_without_values_has_any_type():
    model = Aggregator().fit(make_table())
    log = EventLog(make_events().assign(amount=None, kind=np.nan), "who", "when")
    found = model.transform(log.attach(make_rows(), cutoff="at"))
    assert found.filter(regex="amount_mean|kind_last|share").isna().all(axis=None)
    assert found["history__kind_n_levels"].eq(0).all()


def test_a_name_that_is_taken():
    X = make_table().assign(history__recency=1)
    with pytest.raises(
        ValueError, match=r"names of other columns of X: \['history__rec"
    ):
        Aggregator().fit(X)


def test_columns_that_few_rows_have_are_left_out():
    orders = pd.DataFrame({"who": range(40), "day": 0, "spend": 2.0})
    twice = orders[:9].assign(day=3)
    log = EventLog(pd.concat([orders, twice]), "who", "day")
    for n_more, is_known in ((0, False), (1, True)):
        more = orders[9 : 9 + n_more].assign(day=3)
        X = log.append(more).snapshots([5]) if n_more else log.snapshots([5])
        model = HistoryAggregator(None)
        table = model.fit_transform(X)
        assert ("history__spend_std" in table) is is_known
        assert ("history__spend_std" in model.left_out_["history"]) is not is_known
        assert_frame_equal(model.transform(X), table)
        HistGradientBoostingClassifier(max_iter=2).fit(table, X["who"] % 2)


def test_a_network_reads_histories_and_aggregates():
    X = make_table(n_customers=10)
    y = make_y(X)
    network = LSTMClassifier(hidden_size=2, max_epochs=1, random_state=0)
    model = make_pipeline(
        HistoryAggregator(keep_histories=True, max_features=5),
        make_history_pipeline(network),
    )
    table = model[0].fit_transform(X)
    assert table.columns[0] == "history"
    assert table["history"].array.equals(X["history"].array)
    plain = HistoryAggregator(max_features=5).fit_transform(X)
    assert_frame_equal(table.drop(columns="history"), plain)
    check_no_leakage(clone(model).fit(X, y), X, n_cutoffs=1)
    # The network reads the five aggregates as further statics.
    alone = make_history_pipeline(clone(network)).fit(X, y)
    assert model.fit(X, y)[-1][-1]._n_static >= alone[-1]._n_static + 5


def test_a_vector_is_no_amount():
    with pytest.raises(TypeError, match="is vector, but a monetary value"):
        RFMFeatures("vector").fit(make_table(n_components=3))
