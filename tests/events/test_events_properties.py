"""Logs and views of small random tables, compared with obvious loops."""

import bisect
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_seqcrm._ragged import ranges, sort_events
from sklearn_seqcrm._store import Clock, Timeline
from sklearn_seqcrm.events import EventLog, HistoryArray
from tests.events.reference import histories, snapshot_rows, visible

# derandomize: the same examples in every run.
few = settings(max_examples=30)
many = settings(max_examples=100)

KINDS = ["seconds", "aware", "nanoseconds", "integer", "float"]
kinds = st.sampled_from(KINDS)
customers = st.sampled_from("abc")
ticks = st.integers(0, 6)  # few, so that events share them
half_ticks = st.integers(-2, 14)
lookbacks = st.none() | st.integers(0, 14)


def points(halves, kind):
    """Half ticks as points in time, on both sides of 1970."""
    halves = pd.Series(halves, dtype="int64")
    if kind in ("integer", "float"):
        return (halves - 5) / (2 if kind == "integer" else 16)
    times = pd.Timestamp("1969-12-31 23:59:57") + pd.to_timedelta(500 * halves, "ms")
    times = times.dt.as_unit("ns" if kind == "nanoseconds" else "ms")
    return times.dt.tz_localize("America/New_York") if kind == "aware" else times


def length(halves, kind):
    """Half ticks as a length of time."""
    if halves is None:
        return None
    if kind in ("integer", "float"):
        return halves / (2 if kind == "integer" else 16)
    return pd.Timedelta(milliseconds=500 * halves)


def table(events, kind):
    """Events at whole ticks, in the coarsest unit that holds them."""
    who, when = zip(*events, strict=True)
    times = points([2 * tick + kind.startswith("i") for tick in when], kind)
    if kind == "integer":
        times = times.astype("int64")
    elif kind in ("seconds", "aware"):
        times = times.dt.as_unit("s")
    x = np.arange(float(len(who)))
    return pd.DataFrame({"customer": who, "time": times, "x": x})


events_of = st.lists(st.tuples(customers, ticks), min_size=1, max_size=15)


@few
@given(
    events_of,
    st.lists(st.tuples(st.sampled_from("abcz"), half_ticks), max_size=8),
    kinds,
    lookbacks,
    st.booleans(),
)
def test_attach_sees_what_a_loop_sees(events, rows, kind, lookback, exact):
    events, lookback = table(events, kind), length(lookback, kind)
    rows = pd.DataFrame(
        {
            "customer": [who for who, _ in rows],
            "cutoff": points([half for _, half in rows], kind),
        }
    )
    log = EventLog(events, "customer", "time")
    X = log.attach(rows, cutoff="cutoff", lookback=lookback, allow_exact_matches=exact)
    expected = [
        visible(events, row.customer, row.cutoff, lookback, exact)
        for row in rows.itertuples()
    ]
    assert histories(X) == expected
    for row, one in zip(rows.itertuples(), expected, strict=True):
        alone = log.attach(
            pd.DataFrame({"customer": [row.customer]}),
            cutoff=row.cutoff,
            lookback=lookback,
            allow_exact_matches=exact,
        )
        assert histories(alone) == [one]


@few
@given(events_of, kinds, lookbacks)
def test_without_a_cutoff_everything_is_seen(events, kind, lookback):
    events, lookback = table(events, kind), length(lookback, kind)
    log = EventLog(events, "customer", "time")
    X = log.attach(pd.DataFrame({"customer": list("abcz")}), lookback=lookback)
    last = events["time"].max()
    assert histories(X) == [
        visible(events, who, last, lookback, True) for who in "abcz"
    ]


@pytest.mark.filterwarnings("ignore:No cutoff lies after the first event")
@few
@given(
    events_of,
    st.lists(ticks, min_size=1, max_size=4),
    kinds,
    st.integers(0, 3),
    lookbacks,
    lookbacks,
)
def test_snapshots_are_what_a_loop_finds(
    events, cutoffs, kind, min_events, active_within, lookback
):
    events = table(events, kind)
    cutoffs = table([("a", cutoff) for cutoff in cutoffs], kind)["time"].tolist()
    options = {
        "min_events": min_events,
        "active_within": length(active_within, kind),
        "lookback": length(lookback, kind),
    }
    X = EventLog(events, "customer", "time").snapshots(cutoffs, **options)
    rows = zip(X["customer"], X["cutoff"], histories(X), strict=True)
    assert list(rows) == snapshot_rows(events, cutoffs, **options)


@few
@given(events_of, st.integers(1, 14), kinds)
def test_append_equals_the_log_of_both_tables(events, n_first, kind):
    events = table(events, kind)
    first, more = events.iloc[:n_first], events.iloc[n_first:]
    log = EventLog(first, "customer", "time")
    before = log.attach(pd.DataFrame({"customer": list("abcz")}))
    seen = histories(before)
    expected = EventLog(events, "customer", "time")
    joint = log.append(more) if len(more) else log
    pd.testing.assert_frame_equal(joint.to_frame(), expected.to_frame())
    assert joint.observed_until == expected.observed_until
    assert histories(before) == seen


@few
@given(events_of, kinds)
def test_a_log_is_a_stable_sort(events, kind):
    events = table(events, kind)
    expected = sorted(events.itertuples(), key=lambda row: (row.customer, row.time))
    frame = EventLog(events, "customer", "time").to_frame()
    assert frame["x"].tolist() == [row.x for row in expected]


@few
@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.integers(-1, 3), max_size=4)),
        min_size=1,
        max_size=5,
    ),
    events_of,
    events_of,
    st.integers(0, 3),
)
def test_joined_parts_of_two_logs_see_what_they_saw(parts, first, second, lookback):
    arrays = [
        EventLog(table(events, "integer"), "customer", "time")
        .attach(pd.DataFrame({"customer": list("abcz")}), lookback=lookback)["history"]
        .array
        for events in (first, second)
    ]
    taken = [arrays[which].take(rows, allow_fill=True) for which, rows in parts]
    joint = HistoryArray._concat_same_type(taken)
    expected = [one for part in taken for one in histories({"history": part})]
    assert histories({"history": joint}) == expected
    back = pickle.loads(pickle.dumps(joint))
    assert histories({"history": back}) == expected
    customers = [who for part in taken for who in part.customers]
    assert [str(who) for who in joint.customers] == [str(who) for who in customers]
    cutoffs = [float(at) for part in taken for at in part.cutoffs]
    np.testing.assert_array_equal(joint.cutoffs.astype("float64"), cutoffs)


# --- Kernels ----------------------------------------------------------------------

small_times = st.integers(-3, 3)
far_times = st.integers(-(2**63), 2**63 - 1)  # whose differences overflow
float_times = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("times", "dtype"),
    [(small_times, "int64"), (far_times, "int64"), (float_times, "float64")],
)
@many
@given(data=st.data())
def test_sort_events_is_a_stable_sort(times, dtype, data):
    rows = st.tuples(st.integers(0, 4), times | st.sampled_from([0, 1]))
    rows = data.draw(st.lists(rows, min_size=1, max_size=20))
    codes = np.array([code for code, _ in rows])
    values = np.array([time for _, time in rows], dtype=dtype)
    given_codes, given_values = codes.copy(), values.copy()
    order, offsets, ordered = sort_events(codes, values, 5)
    expected = sorted(range(len(rows)), key=lambda i: (codes[i], values[i]))
    assert order.tolist() == expected
    assert ordered.tolist() == values[expected].tolist()
    assert np.diff(offsets).tolist() == np.bincount(codes, minlength=5).tolist()
    np.testing.assert_array_equal(codes, given_codes)
    np.testing.assert_array_equal(values, given_values)


@many
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=10))
def test_ranges_equal_a_loop(pairs):
    start = np.array([first for first, _ in pairs], dtype="int64")
    lengths = np.array([n for _, n in pairs], dtype="int64")
    index, offsets = ranges(start, start + lengths)
    assert index.tolist() == [i for first, n in pairs for i in range(first, first + n)]
    assert offsets.tolist() == np.cumsum([0, *lengths]).tolist()


@many
@given(
    st.lists(st.lists(small_times, max_size=9), min_size=1, max_size=4),
    st.data(),
    st.booleans(),
)
def test_positions_are_those_of_bisect(segments, data, after):
    segments = [sorted(times) for times in segments]
    offsets = np.cumsum([0, *map(len, segments)])
    timeline = Timeline(
        pd.RangeIndex(len(segments)),
        offsets,
        np.concatenate([[], *segments]).astype("int64"),
        Clock("int64"),
        0,
    )
    queries = st.tuples(st.integers(-1, len(segments) - 1), st.integers(-4, 4))
    queries = data.draw(st.lists(queries, max_size=10))
    codes = np.array([code for code, _ in queries], dtype="int64")
    times = np.array([time for _, time in queries], dtype="int64")
    find = bisect.bisect_right if after else bisect.bisect_left
    expected = [
        0 if code < 0 else offsets[code] + find(segments[code], time)
        for code, time in queries
    ]
    assert timeline.positions(codes, times, after=after).tolist() == expected
