"""Simulated events: their rows, their times and their fields."""

import datetime

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import future_count, future_sum

SMALL = {"hidden_size": 6, "max_epochs": 2, "random_state": 0}


# Batches ------------------------------------------------------------------------------


def test_paths_do_not_depend_on_the_batch(model, X):
    whole = model.sample(X, "200D", n_paths=4, random_state=0)
    rows = np.flatnonzero(X["history"].array.lengths)[[20, 3, 11]]
    some = model.sample(X.iloc[rows], "200D", n_paths=4, random_state=0)
    for i, row in enumerate(rows):
        own, expected = (
            events[events["row"] == place].drop(columns="row").reset_index(drop=True)
            for events, place in ((some, i), (whole, row))
        )
        assert len(own)
        # Numbers come out of the network in float32.
        assert_frame_equal(own, expected, rtol=1e-4)

    def count(rows):
        return future_count(rows, "200D")

    options = {"n_paths": 4, "random_state": 0, "return_paths": True}
    targets = model.simulate_targets(X, count, "200D", **options)
    few = model.simulate_targets(X.iloc[rows], count, "200D", **options)
    assert_array_equal(few, targets[rows])


def test_a_target_with_other_keys_is_matched_by_position(model, X):
    """Pandas compares only indexes with the same number of levels."""

    def with_two_levels(rows):
        counts = future_count(rows, "200D")
        return counts.set_axis(pd.MultiIndex.from_arrays([rows.index, rows.index]))

    options = {"n_paths": 4, "random_state": 0, "return_paths": True}
    plain = model.simulate_targets(
        X, lambda rows: future_count(rows, "200D"), "200D", **options
    )
    found = model.simulate_targets(X, with_two_levels, "200D", **options)
    assert_array_equal(found, plain)


def test_repeated_rows_have_paths_of_their_own(model, X):
    row = np.flatnonzero(X["history"].array.lengths > 3)[0]
    futures = model.sample(X.iloc[[row] * 50], "200D", n_paths=1, random_state=0)
    first = futures.groupby("row")["when"].min()
    assert first.nunique() > 0.9 * len(first) > 10


# Times --------------------------------------------------------------------------------


def model_from(start, unit):
    """Return the first day after the events, their rows, and a model of them."""
    rng, start = np.random.default_rng(0), pd.Timestamp(start)
    days = pd.to_timedelta(rng.integers(0, 3000, 40), "D")
    events = pd.DataFrame({"who": rng.integers(0, 10, 40), "when": start + days})
    events["due"] = events["when"] + pd.to_timedelta(rng.integers(0, 400, 40), "D")
    events[["when", "due"]] = events[["when", "due"]].astype(f"M8[{unit}]")
    events["shop"] = rng.choice(["a", "b"], 40)
    cutoff = start + pd.Timedelta(3001, "D")
    X = EventLog(events, "who", "when").snapshots([cutoff])
    return cutoff, X, LSTMEventModel(**SMALL).fit(X)


@pytest.mark.parametrize(
    ("unit", "start"), [("ns", "1950-01-01"), ("us", "2250-01-01")]
)
def test_long_horizons(unit, start):
    """Over 290 years, the time of an event may lie beyond the axis before it is cut."""
    cutoff, X, model = model_from(start, unit)
    futures = model.sample(X, "106000D", n_paths=1, random_state=0)
    last = cutoff.as_unit("us") + pd.Timedelta(106000, "D").as_unit("us")
    assert cutoff <= futures["when"].min() <= futures["when"].max() < last
    assert last.year - 60 < futures["when"].max().year
    assert futures["due"].min() >= cutoff
    counts = model.simulate_targets(
        X, lambda rows: future_count(rows, "106000D"), "106000D", 1, random_state=0
    )
    assert counts["mean"].sum() == len(futures)


def test_simulated_datetimes_have_the_zone_of_the_times():
    rng = np.random.default_rng(0)
    time = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, 300), "D")
    events = pd.DataFrame({"who": rng.integers(0, 30, 300), "time": time, "due": time})
    for name in ("time", "due"):
        events[name] = events[name].dt.tz_localize("America/New_York")
    X = EventLog(events, "who", "time").snapshots([events["time"].max()])
    paths = LSTMEventModel(**SMALL).fit(X).sample(X, "30D", 2, random_state=0)
    assert len(paths)
    assert paths["due"].dt.tz == paths["time"].dt.tz == datetime.UTC
    assert (paths["due"] == paths["time"]).all()


def test_horizons_beyond_the_end_of_the_axis_are_an_error():
    """Paths ended in 2262, where nanoseconds end, and totals were too small."""
    cutoff, X, model = model_from("2250-01-01", "ns")
    futures = model.sample(X, pd.Timestamp.max - cutoff, n_paths=50, random_state=0)
    assert futures["due"].min() >= cutoff
    text = (
        r"horizon='3000D' from the cutoff 2258.* ends after .* in ns can .* in 2262\."
    )
    with pytest.raises(ValueError, match=text):
        model.sample(X, "3000D")
    with pytest.raises(ValueError, match=text):
        model.simulate_targets(X, lambda rows: future_count(rows, "9D"), "3000D")
    with pytest.raises(ValueError, match=text):
        model.demand(X, None, "3000D")
    with pytest.raises(ValueError, match=text.replace("horizon", "within")):
        model.predict_next(X, "shop", within="3000D")
    # One of the rows is enough.
    rows = pd.DataFrame({"who": [0, 1], "at": [cutoff - pd.Timedelta("2000D"), cutoff]})
    with pytest.raises(ValueError, match=text):
        model.sample(X["history"].array.log.attach(rows, cutoff="at"), "3000D")


def test_horizons_beyond_the_end_of_integers_are_an_error():
    events = pd.DataFrame({"who": np.arange(40) % 8, "when": np.arange(40) - 60})
    X = EventLog(events, "who", "when").snapshots([0])
    model = LSTMEventModel(**SMALL).fit(X)
    assert len(model.sample(X, 2**63 - 2, n_paths=1, random_state=0))
    for horizon in (2**63 - 1, 2**70):
        with pytest.raises(ValueError, match=r"integers can hold\. Choose a shorter"):
            model.sample(X, horizon)


@pytest.mark.parametrize("unit", ["s", "ns"])
def test_random_numbers_do_not_depend_on_the_unit_of_times(unit):
    rng, start = np.random.default_rng(0), pd.Timestamp("2024-01-01")
    events = pd.DataFrame(
        {
            "who": rng.integers(0, 20, 100),
            "when": start + pd.to_timedelta(rng.integers(0, 90 * 86400, 100), "s"),
            "page": rng.choice(list("abc"), 100),
        }
    )
    found = []
    for own in ("us", unit):
        table = events.assign(when=events["when"].dt.as_unit(own))
        X = EventLog(table, "who", "when").snapshots([start + pd.Timedelta("90D")])
        model = LSTMEventModel(**SMALL).fit(X)
        found.append(model.sample(X, "60D", n_paths=5, random_state=0))
    expected, futures = found
    assert_frame_equal(
        futures[["row", "path", "page"]], expected[["row", "path", "page"]]
    )
    # Times are rounded to the unit of the log.
    apart = (futures["when"] - expected["when"]).abs()
    assert len(apart) > 100
    assert apart.max() <= pd.Timedelta("1s")


# Fields -------------------------------------------------------------------------------


def make_events(rng, n, n_customers, n_days):
    who, day = rng.integers(0, n_customers, n), rng.integers(0, n_days, n)
    return pd.DataFrame({"who": who, "t": day})


def make_kinds():
    """Return visits, and three rare kinds, two of which have an amount."""
    rng = np.random.default_rng(0)
    logs = {}
    for kind, n in (("visit", 300), ("order", 60), ("call", 40), ("letter", 30)):
        table = make_events(rng, n, 30, 100)
        if kind == "order":
            table["spend"] = rng.integers(5, 50, n)
        elif kind == "call":
            table["minutes"] = rng.integers(1, 9, n)
        logs[kind] = EventLog(table, "who", "t", categorical=[])
    return EventLog.concat(logs, observed_until=99).snapshots([100])


@pytest.mark.parametrize(
    "rare", [{"max_categories": 1}, {"min_frequency": 0.5}], ids=["most", "share"]
)
def test_rare_kinds_have_the_fields_of_their_kind(rare):
    X = make_kinds()
    model = LSTMEventModel(**SMALL, **rare).fit(X)
    futures = model.sample(X, 30, n_paths=10, random_state=0)
    own = {"order": "spend", "call": "minutes"}
    assert set(futures["event"]) == {"visit", "order", "call", "letter"}
    for kind, events in futures.groupby("event", observed=True):
        for field in ("spend", "minutes"):
            there = events[field].notna()
            assert there.all() if own.get(kind) == field else not there.any()
    spend = (
        10
        * model.simulate_targets(
            X, lambda rows: future_sum(rows, "spend", 30), 30, 10, random_state=0
        )["mean"]
    )
    n_orders = (futures["event"] == "order").sum()
    assert_allclose(spend.sum(), futures["spend"].sum(), rtol=1e-9)
    assert 5 * n_orders <= spend.sum() <= 50 * n_orders
    scores = model.score_events(X)
    kinds = X["history"].array.to_frame()["event"].to_numpy()
    assert (scores.loc[kinds != "order", "log_prob_spend"] == 0).all()


@pytest.mark.parametrize("within", [None, 30])
def test_rare_values_in_the_history_are_left_out(within):
    rng = np.random.default_rng(0)
    events = make_events(rng, 120, 20, 50)
    events["item"] = rng.choice([*"aaaabcdefg"], 120)
    X = EventLog(events, "who", "t").snapshots([50])
    model = LSTMEventModel(**SMALL, max_categories=2).fit(X)
    found = model.predict_next(X, "item", exclude_seen=True, within=within)
    row = X["who"].reset_index().set_index("who")["index"]
    had = set(zip(events["who"].map(row), events["item"], strict=True))
    every = {(i, value) for i in range(len(X)) for value in "abcdefg"}
    listed = set(zip(found["row"], found["value"], strict=True))
    if within is None:
        assert listed == every - had
    else:  # simulated futures need not have all values
        assert listed <= every - had
        assert len(listed) > len(every - had) / 2
        assert (found["probability"] > 0).all()


def test_small_numbers_and_missing_ones():
    """Amounts below 1e-9 are resolved; an empty field stays empty."""
    rng = np.random.default_rng(0)
    events = make_events(rng, 200, 20, 90)
    events["tiny"] = 1e-10 * np.exp(rng.normal(size=200))
    events["nothing"] = np.nan
    events["three"] = rng.choice([10.0, 20.0, 50.0], 200)
    X = EventLog(events, "who", "t").snapshots([90])
    model = LSTMEventModel(**SMALL).fit(X)
    futures = model.sample(X, 90, n_paths=40, random_state=0)
    assert len(futures) > 1000
    assert futures["nothing"].isna().all()
    assert set(futures["three"]) == {10.0, 20.0, 50.0}
    assert futures["tiny"].nunique() > 0.5 * len(futures)
    assert futures["tiny"].between(events["tiny"].min(), events["tiny"].max()).all()
