"""Targets of small random tables, compared with loops over rows and events."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sklearn_seqcrm._ragged._segments import BLOCK, first_at_or_after
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import (
    churned,
    future_count,
    future_sum,
    next_value,
    stack_horizons,
    time_to_next,
)

# Cutoffs may lie some days after the end of observation.
pytestmark = pytest.mark.filterwarnings("ignore:.*cutoffs lie after")
many = settings(max_examples=40)
few = settings(max_examples=15)

# The first point and the unit of each axis, and the step from a moment to the next.
TICK = pd.Timedelta("1us")
AXES = {
    "days": (pd.Timestamp("2024-02-27"), pd.Timedelta("1D"), TICK),
    "nanoseconds": (
        pd.Timestamp("2024-02-27"),
        pd.Timedelta("1D"),
        pd.Timedelta(1, unit="ns"),
    ),
    "days of UTC": (pd.Timestamp("2024-02-27", tz="UTC"), pd.Timedelta("1D"), TICK),
    # On both sides of 1970; every fourth is a midnight.
    "moments": (pd.Timestamp("1969-12-30 18:00"), pd.Timedelta("6h"), TICK),
    # An hour of this night is skipped.
    "time zone": (
        pd.Timestamp("2024-03-09 22:00", tz="America/New_York"),
        pd.Timedelta("6h"),
        TICK,
    ),
    "integers": (-3, 1, 1),
    "whole floats": (0.0, 1.0, 0),
    "floats": (-1.25, 0.5, 0),
}
NUMBERS = ["integers", "whole floats", "floats"]
PRICES = [1.0, 2.5, -4.0, np.nan, np.inf]
SHOPS = ["north", "south", None]

small = st.integers(0, 6)  # few, so that events and cutoffs share them
events_of = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        small,
        st.sampled_from(PRICES),
        st.sampled_from(SHOPS),
        st.sampled_from(["order", "return", "click"]),
    ),
    min_size=1,
    max_size=14,
)
rows_of = st.lists(st.tuples(st.sampled_from("abz"), small), max_size=8)
KINDS = st.sampled_from([None, "order", ["order", "return"]])


def points(ticks, axis):
    start, unit, _ = AXES[axis]
    # The start is prepended and removed, for the dtype if there are no ticks.
    times = pd.Series([start + int(tick) * unit for tick in [0, *ticks]])
    if isinstance(unit, pd.Timedelta):
        times = times.dt.as_unit("ns" if axis == "nanoseconds" else "us")
    return times[1:].reset_index(drop=True)


@st.composite
def problems(draw):
    """Draw events, rows with cutoffs, and the parameters of a target."""
    axis = draw(st.sampled_from(sorted(AXES)))
    who, when, price, shop, event = zip(*draw(events_of), strict=True)
    events = pd.DataFrame({"id": who, "time": points(when, axis), "event": event})
    events["price"] = price
    events["shop"] = pd.Series(shop, dtype="category")
    zone = getattr(events["time"].dtype, "tz", None)
    first = pd.Timestamp("2024-01-01", tz=zone)
    events["known"] = pd.date_range(first, periods=len(events), freq="h")
    # `only` and the targets refuse kinds that the log has never seen.
    absent = sorted({"order", "return"} - set(event))
    if absent:
        more = events.iloc[[0] * len(absent)].assign(event=absent)
        events = pd.concat([events, more], ignore_index=True)
    until = points([max(when) + draw(st.integers(0, 5))], axis)[0]
    log = EventLog(events, "id", "time", observed_until=until)
    rows = draw(rows_of)
    rows = pd.DataFrame(
        {
            "id": pd.Series([who for who, _ in rows], dtype="str"),
            "at": points([k for _, k in rows], axis),
        }
    ).rename(index="row {}".format)
    exact, unit = draw(st.booleans()), AXES[axis][1]
    # A lookback changes no target.
    lookback = draw(st.sampled_from([None, 2 * unit]))
    X = log.attach(rows, cutoff="at", lookback=lookback, allow_exact_matches=exact)
    gap, horizon = draw(st.integers(0, 3)) * unit, draw(st.integers(1, 5)) * unit
    return axis, events, X, until, exact, horizon, gap, draw(KINDS)


def is_whole(moment):
    if not isinstance(moment, pd.Timestamp):
        return moment == round(moment)
    utc = moment if moment.tz is None else moment.tz_convert("UTC")
    return utc == utc.normalize()


def ahead(problem, ends=None):
    """Yield begin, events, events without an end, and completeness of each window.

    `ends` are the last times at which the customers of the rows were observed.
    """
    axis, events, X, until, exact, horizon, gap, kinds = problem
    kinds = [kinds] if isinstance(kinds, str) else kinds
    in_days = all(is_whole(moment) for moment in events["time"])

    def recorded_after(last):
        whole = 1 if axis in NUMBERS else pd.Timedelta("1D")
        return last + (whole if in_days and is_whole(last) else AXES[axis][2])

    for row, own in zip(X.itertuples(), ends or [None] * len(X), strict=True):
        recorded = recorded_after(until)
        if own is not None:
            recorded = min(recorded, recorded_after(own))
        begin, found, endless = row.at + gap, [], []
        for event in events.sort_values("time", kind="stable").itertuples():
            seen = event.time <= row.at if exact else event.time < row.at
            mine = event.id == row.id and (kinds is None or event.event in kinds)
            known = own is None or event.time <= own or event.time < recorded
            if mine and known and not seen and event.time >= begin:
                endless.append(event.Index)
                if event.time < begin + horizon:
                    found.append(event.Index)
        yield begin, found, endless, begin + horizon <= recorded


@many
@given(problems())
def test_churn_count_and_sum_equal_loops(problem):
    _, events, X, _, _, horizon, gap, kinds = problem
    counts, sums = [], []
    for _, found, _, complete in ahead(problem):
        total = sum(p for p in events["price"][found] if np.isfinite(p))
        counts.append(len(found) if complete else np.nan)
        sums.append(total if complete else np.nan)
    counts = np.array(counts)
    options = {"gap": gap, "kinds": kinds, "censored": "nan"}
    assert_array_equal(future_count(X, horizon, **options), counts)
    assert_array_equal(future_sum(X, "price", horizon, **options), sums)
    churn = np.where(np.isnan(counts), np.nan, counts == 0)
    assert_array_equal(churned(X, horizon, **options), churn)


@many
@given(problems(), st.booleans(), st.sampled_from(["price", "shop", "known"]))
def test_next_value_equals_a_loop(problem, endless, field):
    _, events, X, _, _, horizon, gap, kinds = problem
    expected, censored = [], []
    if field == "known" and events[field].dt.tz is not None:
        # Fields of datetimes are in UTC and have no zone.
        events = events.assign(known=events[field].dt.tz_convert(None))
    for _, found, later, complete in ahead(problem):
        after = later if endless else found
        censored.append(not later if endless else not complete)
        expected.append(events[field][after[0]] if after else None)
        if censored[-1]:
            expected[-1] = None
    horizon = None if endless else horizon
    y = next_value(X, field, horizon, gap=gap, kinds=kinds, censored="nan")
    log_dtype = X["history"].array.log.to_frame()[field].dtype
    assert y.dtype == log_dtype
    pd.testing.assert_series_equal(
        y, pd.Series(expected, X.index, dtype=log_dtype, name="next_value")
    )


@many
@given(problems(), st.booleans())
def test_time_to_next_equals_a_loop(problem, endless):
    axis, events, X, until, _, horizon, gap, kinds = problem
    event, time, censored = [], [], []
    zero = 0 * AXES[axis][1]
    for begin, found, later, complete in ahead(problem):
        after = later if endless else found
        censored.append(not later if endless else not complete)
        event.append(bool(after))
        if after:
            time.append(events["time"][after[0]] - begin)
        elif complete and not endless:
            time.append(horizon)
        else:
            time.append(max(until - begin, zero))
    horizon = None if endless else horizon
    options = {"horizon": horizon, "gap": gap, "kinds": kinds}
    y = time_to_next(X, **options, censored="keep")
    assert y.columns.tolist() == ["event", "time"]
    assert y["event"].dtype == "bool"
    assert y["event"].tolist() == event
    assert y["time"].tolist() == time
    known = ~np.array(censored, dtype=bool)
    dropped = time_to_next(X, **options, censored="drop")
    pd.testing.assert_frame_equal(dropped, y[known])
    missing = time_to_next(X, **options, censored="nan")
    assert missing["event"].dtype == "float64"
    pd.testing.assert_series_equal(
        missing["time"].dropna(), y["time"][known], check_dtype=False
    )
    assert_array_equal(missing["event"].dropna(), y["event"][known])
    if not known.all():
        with pytest.raises(ValueError, match="'drop', 'nan' or 'keep'"):
            time_to_next(X, **options)


@many
@given(problems(), st.data(), st.booleans())
def test_customers_who_were_observed_for_less_equal_a_loop(problem, data, endless):
    axis, events, X, until, _, horizon, gap, kinds = problem
    ticks = data.draw(st.lists(small, min_size=len(X), max_size=len(X)))
    is_missing = data.draw(st.lists(st.booleans(), min_size=len(X), max_size=len(X)))
    own = points(ticks, axis).mask(np.array(is_missing, dtype=bool))
    own = own.set_axis(X.index)
    ends = [None if pd.isna(one) else one for one in own]
    counts, event, time = [], [], []
    for (begin, found, later, complete), end in zip(
        ahead(problem, ends), ends, strict=True
    ):
        counts.append(len(found) if complete else np.nan)
        after = later if endless else found
        event.append(bool(after))
        observed = until if end is None else min(end, until)
        if after:
            time.append(events["time"][after[0]] - begin)
        elif complete and not endless:
            time.append(horizon)
        else:
            time.append(max(observed - begin, 0 * AXES[axis][1]))
    counts = np.array(counts, dtype=float)
    options = {"gap": gap, "kinds": kinds, "observed_until": own}
    assert_array_equal(future_count(X, horizon, censored="nan", **options), counts)
    churn = np.where(np.isnan(counts), np.nan, counts == 0)
    assert_array_equal(churned(X, horizon, censored="nan", **options), churn)
    y = time_to_next(X, None if endless else horizon, censored="keep", **options)
    assert y["event"].tolist() == event
    assert y["time"].tolist() == time
    if np.isnan(counts).any():
        with pytest.raises(ValueError, match=r"the log( or observed_until)?, the"):
            future_count(X, horizon, **options)


def begins_of_moments(problem, length):
    """Return the events that begin a moment, in a loop."""
    _, events, _, _, _, _, _, kinds = problem
    kinds = [kinds] if isinstance(kinds, str) else kinds
    moments, found = set(), set()
    for event in events.sort_values("time", kind="stable").itertuples():
        if kinds is not None and event.event not in kinds:
            continue
        moment = event.time
        if length is not None:
            is_date = isinstance(moment, pd.Timestamp)
            zero = pd.Timestamp(0, tz=moment.tz) if is_date else 0
            moment = (moment - zero) // length
        if (event.id, moment) not in moments:
            moments.add((event.id, moment))
            found.add(event.Index)
    return found


@many
@given(problems(), st.booleans())
def test_targets_by_moments_equal_a_loop(problem, at_once):
    axis, events, X, _, _, horizon, gap, kinds = problem
    length = None if at_once else 2 * AXES[axis][1]
    begins = begins_of_moments(problem, length)
    counts, times = [], []
    for begin, found, later, complete in ahead(problem):
        counts.append(sum(e in begins for e in found) if complete else np.nan)
        after = [e for e in later if e in begins]
        times.append(events["time"][after[0]] - begin if after else None)
    options = {"gap": gap, "kinds": kinds, "moments": True if at_once else length}
    count = future_count(X, horizon, censored="nan", **options)
    assert_array_equal(count, np.array(counts, dtype=float))
    y = time_to_next(X, censored="keep", **options)
    assert [t if e else None for e, t in y.itertuples(index=False)] == times
    if at_once:
        events_alone = options | {"moments": False}
        assert_same(y, time_to_next(X, censored="keep", **events_alone))


TARGETS = {
    "churned": lambda X, length, **options: churned(X, length, **options),
    "count": lambda X, length, **options: future_count(X, length, **options),
    "sum": lambda X, length, **options: future_sum(X, "price", length, **options),
    "price": lambda X, length, **options: next_value(X, "price", length, **options),
    "shop": lambda X, _, **options: next_value(X, "shop", **options),
    "time": lambda X, length, **options: time_to_next(X, length, **options),
    "endless": lambda X, _, **options: time_to_next(X, **options),
}


@pytest.mark.parametrize("name", TARGETS)
@few
@given(problem=problems(), data=st.data())
def test_labels_follow_the_rows(name, problem, data):
    _, _, X, _, _, horizon, gap, kinds = problem
    options = {"gap": gap, "kinds": kinds}
    y = TARGETS[name](X, horizon, **options, censored="nan")
    assert y.index.equals(X.index)
    # Shuffle, repeat and drop rows, with other labels.
    places = st.lists(st.integers(0, max(len(X) - 1, 0)), max_size=10 * len(X))
    take = data.draw(places)
    moved = X.iloc[take].set_axis(np.arange(len(take)) % 3)
    expected = y.iloc[take].set_axis(moved.index)
    got = TARGETS[name](moved, horizon, **options, censored="nan")
    assert_same(got, expected)
    # Dropped rows are the censored ones; the others do not change.
    dropped = TARGETS[name](X, horizon, **options, censored="drop")
    assert_same(dropped.astype(y.dtypes), y.loc[dropped.index])
    lost = y.drop(dropped.index)
    assert lost.isna().all(axis=None)
    # An error if and only if a row is censored.
    if len(lost):
        with pytest.raises(ValueError, match=f"{len(lost)} of {len(X)} rows"):
            TARGETS[name](X, horizon, **options)
    else:
        assert_same(TARGETS[name](X, horizon, **options), dropped)


def assert_same(got, expected):
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(got, expected)
    else:
        pd.testing.assert_series_equal(got, expected)


@many
@given(problems())
def test_kinds_are_a_log_of_these_kinds(problem):
    """A target of some kinds equals the target on a log of these kinds."""
    _, _, X, _, exact, horizon, gap, kinds = problem
    log = X["history"].array.log
    names = [kinds] if isinstance(kinds, str) else kinds or log.column("event")[1]
    rows = X.drop(columns="history")
    alone = log.only(*names).attach(rows, cutoff="at", allow_exact_matches=exact)
    options = {"gap": gap, "censored": "keep"}
    assert_same(
        time_to_next(X, horizon, kinds=list(names), **options),
        time_to_next(alone, horizon, **options),
    )


@many
@given(st.data())
def test_search_equals_numpy(data):
    segments = data.draw(st.lists(st.lists(small, max_size=9).map(sorted), max_size=6))
    times = np.array([time for segment in segments for time in segment], dtype="int64")
    ends = np.cumsum([0, *map(len, segments)])
    searches = [
        (data.draw(st.integers(low, high)), high, data.draw(small))
        for low, high in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
    ]
    low, high, when = np.array(searches, dtype="int64").reshape(-1, 3).T
    expected = [a + np.searchsorted(times[a:b], t) for a, b, t in searches]
    assert_array_equal(first_at_or_after(times, low, high, when), expected)


def test_search_over_several_blocks():
    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(0, 1000, 5000))
    low = rng.integers(0, 5000, 2 * BLOCK + 7)
    high = rng.integers(low, 5001)
    when = rng.integers(-1, 1002, len(low))
    expected = np.clip(np.searchsorted(times, when), low, high)
    assert_array_equal(first_at_or_after(times, low, high, when), expected)


@pytest.mark.parametrize("name", ["churned", "count", "sum"])
@few
@given(problem=problems())
def test_a_target_on_several_horizons_is_one_on_each(name, problem):
    _, _, X, _, _, horizon, gap, kinds = problem
    horizons, options = (
        [2 * horizon, horizon, 4 * horizon],
        {"gap": gap, "kinds": kinds},
    )
    y = TARGETS[name](X, horizons, **options, censored="nan")
    assert y.columns.name == "horizon"
    assert list(y.columns) == horizons
    for one in horizons:
        expected = TARGETS[name](X, one, **options, censored="nan")
        pd.testing.assert_series_equal(y[one], expected, check_names=False)
    complete = y.notna().all(axis=1)
    dropped = TARGETS[name](X, horizons, **options, censored="drop")
    pd.testing.assert_frame_equal(dropped.astype(y.dtypes), y[complete])
    if complete.all():
        whole = TARGETS[name](X, horizons, **options)
        pd.testing.assert_frame_equal(whole, dropped)
    else:
        with pytest.raises(ValueError, match=f"{(~complete).sum()} of {len(X)} rows"):
            TARGETS[name](X, horizons, **options)


@few
@given(problems())
def test_stacked_horizons_are_a_loop_over_rows_and_horizons(problem):
    _, _, X, _, _, horizon, _, _ = problem
    y = future_count(X, [3 * horizon, horizon], censored="nan")
    rows, target = stack_horizons(X, y, name="how long")
    expected = [
        (label, row.history, one, y.iloc[i][one])
        for i, (label, row) in enumerate(zip(X.index, X.itertuples(), strict=True))
        for one in y.columns
        if pd.notna(y.iloc[i][one])
    ]
    found = zip(rows.index, rows["history"], rows["how long"], target, strict=True)
    assert list(found) == expected
    assert target.index.equals(rows.index)
    assert rows.columns.tolist() == [*X.columns, "how long"]
    counts = y.astype("Int64")  # nullable: in an array of NumPy, they are objects
    integers = stack_horizons(X, counts, name="how long")[1]
    assert integers.dtype == "int64" or integers.empty
    assert integers.tolist() == target.tolist()
    by_level = y.set_axis(pd.CategoricalIndex(y.columns, ordered=True), axis=1)
    again, same = stack_horizons(X, by_level, name="how long")
    pd.testing.assert_frame_equal(again, rows)
    pd.testing.assert_series_equal(same, target)
