"""Simulated demand, against loops over simulated events."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.event_model import LSTMEventModel, _demand
from sklearn_seqcrm.event_model._busiest_windows import BusiestWindows
from sklearn_seqcrm.event_model._demand import Periods
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.testing._small_data import make_table

SMALL = {"hidden_size": 4, "max_epochs": 1, "random_state": 0}
WEEK = pd.Timedelta(days=7)


@pytest.fixture(scope="module", name="X")
def rows():
    """Return rows at several cutoffs, one for each customer, with or without events."""
    return make_table(40).sample(frac=1, random_state=0).drop_duplicates("who")


@pytest.fixture(scope="module")
def model(X):
    return LSTMEventModel(**SMALL).fit(X)


def totals_of_paths(futures, starts, length, n_paths, field, level, value):
    """Return the total of each path and period, by a loop over events."""
    totals = np.zeros((n_paths, len(starts)))
    for event in futures.itertuples():
        if field is not None and getattr(event, field) != level:
            continue
        amount = 1 if value is None else np.nan_to_num(getattr(event, value))
        for k, start in enumerate(starts):
            if event.cutoff + start <= event.when < event.cutoff + start + length:
                totals[event.path, k] += amount
    return totals


@pytest.mark.parametrize(
    ("field", "value", "by"),
    [("kind", None, None), ("kind", "amount", "city"), (None, "amount", None)],
)
def test_demand_matches_a_loop(model, X, field, value, by):
    found = model.demand(
        X,
        field,
        12 * WEEK,
        every="21D",
        value=value,
        by=by,
        n_paths=8,
        interval=0.5,
        random_state=0,
    )
    futures = model.sample(X, 12 * WEEK, n_paths=8, random_state=0)
    futures["cutoff"] = X["at"].to_numpy()[futures["row"]]
    starts = [k * 3 * WEEK for k in range(4)]
    levels = [None] if field is None else ["order", "return", "visit"]
    groups = [None] if by is None else ["Oslo", "Rome", np.nan]
    expected = []
    for group in groups:
        own = futures
        if by is not None:
            city = X[by].to_numpy()[futures["row"]]
            own = futures[pd.isna(city) if pd.isna(group) else city == group]
        totals = [
            totals_of_paths(own, starts, 3 * WEEK, 8, field, level, value)
            for level in levels
        ]
        for k, start in enumerate(starts):
            for level, of_level in zip(levels, totals, strict=True):
                cell = of_level[:, k]
                low, middle, high = np.quantile(
                    cell, [0.25, 0.5, 0.75], method="weibull"
                )
                line = (group, start, level, cell.mean(), middle, low, high)
                expected.append(line)
    names = ["group", "start", "level", "mean", "median", "lower", "upper"]
    expected = pd.DataFrame(expected, columns=names)
    expected = expected[[name for name in names if name in found.columns]]
    assert len(found.columns) == 5 + (field is not None) + (by is not None)
    assert found["mean"].sum() > 0
    assert_frame_equal(found, expected, check_dtype=False, rtol=1e-9)


def test_paths_without_events_count():
    """The mean is over all paths, and each level and week has a row."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "who": rng.integers(0, 5, 60),
            "day": rng.integers(0, 200, 60),
            "item": [*"ab"] * 29 + ["c", "c"],
        }
    )
    X = EventLog(events, "who", "day").snapshots([200])
    model = LSTMEventModel(**SMALL).fit(X)
    found = model.demand(X, "item", 28, every=7, n_paths=10, random_state=0)
    futures = model.sample(X, 28, n_paths=10, random_state=0)
    keys = [(futures["day"] - 200) // 7, futures["item"], futures["path"]]
    sizes = futures.groupby(keys, observed=True).size()
    assert len(sizes) < 4 * 3 * 10 / 2, "most cells of most paths are to be empty"
    assert_allclose(found["mean"].sum(), len(futures) / 10)
    assert_array_equal(found["start"], np.repeat([0, 7, 14, 21], 3))
    assert found["level"].tolist() == [*"abc"] * 4
    assert (found["lower"] <= found["mean"]).all()
    one = model.demand(X, "item", 28, every=7, n_paths=1, random_state=0)
    assert_array_equal(one["lower"], one["mean"])
    assert_array_equal(one["upper"], one["mean"])


def test_customers_who_never_bought_have_no_demand(model, X):
    empty = X[X["history"].array.lengths == 0]
    found = model.demand(empty, "kind", "90D", every="30D", by="who", n_paths=3)
    assert len(found) == empty["who"].nunique() * 3 * 3
    assert (found[["mean", "median", "lower", "upper"]] == 0).all(axis=None)
    beside = model.demand(X, "kind", "90D", by="who", n_paths=3, random_state=0)
    never = X.groupby("who")["history"].apply(lambda h: h.array.lengths.sum() == 0)
    of_never = beside["group"].isin(never.index[never])
    assert 0 < of_never.sum() < len(beside)
    assert (beside.loc[of_never, "mean"] == 0).all()


@pytest.mark.parametrize("by", ["age", "joined", "member", "who"])
def test_groups_add_up_to_all(model, X, by):
    """Groups by numbers, dates and booleans, missing values included."""
    question = {"every": "45D", "n_paths": 2, "random_state": 0}
    whole = model.demand(X, None, "90D", **question)
    found = model.demand(X, None, "90D", by=by, **question)
    assert len(found) == 2 * X[by].nunique(dropna=False)
    assert_allclose(found.groupby("start")["mean"].sum(), whole["mean"], rtol=1e-12)


def test_levels_that_were_never_drawn_are_zero(X):
    """Frequent levels, and rare ones that share a code."""
    model = LSTMEventModel(**SMALL, max_categories=1).fit(X)
    rows = X[X["history"].array.lengths > 0][:2]
    found = model.demand(rows, "kind", "1D", n_paths=2, random_state=0)
    assert sorted(found["level"]) == ["order", "return", "visit"]
    assert (found["mean"] == 0).any()


def test_a_field_without_levels_has_no_demand():
    """Of a categorical field that is missing in all events."""
    events = pd.DataFrame({"who": np.repeat(range(9), 9), "when": np.tile(range(9), 9)})
    events["kind"] = pd.Categorical([None] * 81)
    X = EventLog(events, "who", "when").snapshots([9])
    model = LSTMEventModel(**SMALL).fit(X)
    assert len(model.sample(X, 9, n_paths=2, random_state=0))
    assert not len(model.demand(X, "kind", 9, n_paths=2, random_state=0))


def test_names_of_fields_and_columns_do_not_matter():
    """Even if they equal those of the table."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"group": rng.integers(0, 9, 99), "start": np.arange(99)})
    events["level"], events["mean"] = rng.choice([*"ab"], 99), 1.0
    log = EventLog(events, "group", "start")
    X = log.snapshots([99]).assign(lower=[*"xyz"] * 3)
    model = LSTMEventModel(**SMALL).fit(X)
    found = model.demand(X, "level", 20, value="mean", by="lower", n_paths=2)
    columns = ["group", "start", "level", "mean", "median", "lower", "upper"]
    assert found.columns.tolist() == columns
    assert found["group"].tolist() == ["x", "x", "y", "y", "z", "z"]


def test_totals_are_added_up_a_part_at_a_time(model, X, monkeypatch):
    question = {"every": "30D", "value": "amount", "n_paths": 5, "random_state": 0}
    whole = model.demand(X, "kind", "90D", **question)
    monkeypatch.setattr(_demand, "_FEWEST_WAITING", 3)
    monkeypatch.setattr(_demand, "_TOTALS_AT_ONCE", 10)
    assert_frame_equal(model.demand(X, "kind", "90D", **question), whole, rtol=1e-12)


def test_events_without_the_field_are_in_no_level():
    """Such as events of another kind, whose missing amounts count as 0."""
    days = np.arange(80.0)
    orders = pd.DataFrame({"who": days % 8, "t": days, "item": "a", "price": 2.0})
    visits = pd.DataFrame({"who": days % 8, "t": days + 0.5, "page": "p"})
    log = EventLog.concat(
        {
            "order": EventLog(orders, "who", "t"),
            "visit": EventLog(visits, "who", "t"),
        }
    )
    X = log.snapshots([80.0])
    model = LSTMEventModel(**SMALL).fit(X)

    def total(*args, **options):
        return model.demand(X, *args, 20.0, n_paths=4, random_state=0, **options)

    kinds = total("event").set_index("level")["mean"]
    assert (kinds > 0).all()
    assert_allclose(total(None)["mean"], kinds.sum())
    assert_allclose(total("item")["mean"], kinds["order"])
    assert_allclose(total(None, value="price")["mean"], 2 * kinds["order"])


def test_paths_that_explode_end_with_a_warning(model, X, monkeypatch):
    monkeypatch.setattr(BusiestWindows, "bound", lambda self, length: 3)
    with pytest.warns(UserWarning, match="simulated paths had 3 events within 900D"):
        found = model.demand(X, None, "900D", by="who", n_paths=4, random_state=0)
    assert found["upper"].max() <= 3 * X["who"].value_counts().max()


# Periods ------------------------------------------------------------------------------


def test_periods_begin_where_windows_of_targets_do():
    """At cutoff plus start, with the rounding of that sum."""
    periods = Periods.of(Clock("float64"), 1.0, 0.1)
    cutoff = np.repeat([0.1, 0.3, 7.7], 10)
    start = np.tile([k * 0.1 for k in range(10)], 3)
    number = np.tile(np.arange(10), 3)
    assert_array_equal(periods.find(cutoff + start, cutoff), number)
    just_before = np.nextafter(cutoff + start, 0)[number > 0]
    found = periods.find(just_before, cutoff[number > 0])
    assert_array_equal(found, number[number > 0] - 1)


def test_periods_between_the_ticks_of_a_log():
    """Starts at half a tick: an event belongs to the last period begun."""
    periods = Periods.of(Clock("int64", "s"), "3s", "1500ms")
    assert periods.labels.tolist() == [pd.Timedelta(0), pd.Timedelta("1500ms")]
    found = periods.find(np.array([10, 11, 12]), np.full(3, 10))
    assert_array_equal(found, [0, 0, 1])


@pytest.mark.parametrize("clock", [Clock("int64"), Clock("float64")])
def test_one_period_may_be_longer_than_the_axis(clock):
    periods = Periods.of(clock, 2**70, None)
    assert periods.starts.tolist() == periods.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("clock", "horizon", "every", "n_levels"),
    [
        (Clock("int64", "ns"), "1D", "1ms", 0),  # a field without a level in training
        (Clock("int64", "ns"), "1D", "1s", 150),
        (Clock("float64"), 1e308, 1e-10, 1),
    ],
)
def test_too_many_periods(clock, horizon, every, n_levels):
    with pytest.raises(ValueError, match="at most 10,000,000 are possible"):
        Periods.of(clock, horizon, every, 1, n_levels)


def test_starts_of_days_are_added_to_a_cutoff_with_a_zone():
    rng = np.random.default_rng(0)
    day = pd.Timestamp("2024-01-01", tz="UTC") + rng.integers(0, 90, 80) * WEEK / 7
    events = pd.DataFrame({"who": rng.integers(0, 8, 80), "day": day})
    today = pd.Timestamp("2024-04-01", tz="UTC")
    X = EventLog(events, "who", "day").snapshots([today])
    model = LSTMEventModel(**SMALL).fit(X)
    found = model.demand(X, None, "28D", every="7D", n_paths=3, random_state=0)
    futures = model.sample(X, "28D", n_paths=3, random_state=0)
    for start, mean in zip(today + found["start"], found["mean"], strict=True):
        own = futures["day"].between(start, start + WEEK, inclusive="left")
        assert_allclose(mean, own.sum() / 3)


def test_a_customer_counts_once_in_a_group(model, X):
    twice = pd.concat([X, X.iloc[[3]].rename({X.index[3]: "again"})])
    with pytest.raises(ValueError, match=r"X has 1 rows of customers .* row 'again'"):
        model.demand(twice, None, "30D", n_paths=2)
    with pytest.raises(ValueError, match="X has 1 rows of customers"):
        model.demand(twice, None, "30D", by="who", n_paths=2)
    twice = twice.assign(part=twice.index == "again")
    found = model.demand(twice, None, "30D", by="part", n_paths=2)
    assert found["group"].tolist() == [False, True]
