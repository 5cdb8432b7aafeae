"""Rows of a customer share their events after files are read and logs are joined."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.targets import churned, time_to_next
from tests.events.reference import histories

DAYS = pd.to_datetime(["2024-01-01", "2024-01-05", "2024-01-05", "2024-01-09"])


def make_events():
    return pd.DataFrame(
        {
            "customer": ["ann", "ann", "ann", "ann", "bob"],
            "day": [*DAYS, DAYS[1]],
            "x": [0.0, 1.0, 2.0, 3.0, 4.0],
            "maybe": [np.nan, 1.0, np.nan, 3.0, np.nan],
            "order": ["a0", "a1", "a1", "a2", "b0"],
        }
    )


def make_log(events=None):
    return EventLog(make_events() if events is None else events, "customer", "day")


def read_back(X, tmp_path):
    X.to_parquet(tmp_path / "X.parquet")
    return pd.read_parquet(tmp_path / "X.parquet")


def log_of(X):
    return X["history"].array.log


def assert_all_events(log):
    pd.testing.assert_frame_equal(
        log.to_frame().astype({"order": str}), make_events().astype({"order": str})
    )


def test_an_event_of_several_rows_is_read_once(tmp_path):
    X = make_log().snapshots(["2024-01-02", "2024-01-06", "2024-01-10"])
    back = read_back(X, tmp_path)
    assert_all_events(log_of(back))
    assert histories(back) == histories(X)


def test_ids_that_are_tuples(tmp_path):
    """Arrow returns them as arrays, which have no hash."""
    events = make_events()
    events["customer"] = [("shop", name) for name in events["customer"]]
    X = make_log(events).snapshots(["2024-01-02", "2024-01-06"])
    back = read_back(X, tmp_path)
    assert log_of(back).customers.tolist() == [("shop", "ann"), ("shop", "bob")]
    assert log_of(back).customers.nlevels == 1
    assert histories(back) == histories(X)


@pytest.mark.parametrize("rows", [slice(None), slice(None, None, -1), [4, 0, 3, 1]])
def test_windows_that_overlap_are_joined(tmp_path, rows):
    X = make_log().snapshots(["2024-01-04", "2024-01-08", "2024-01-10"], lookback="6D")
    X = X.iloc[rows].reset_index(drop=True)
    back = read_back(X, tmp_path)
    assert histories(back) == histories(X)
    assert len(log_of(back)) == 5


def test_windows_with_unseen_events_between_them(tmp_path):
    X = make_log().snapshots(["2024-01-02", "2024-01-10"], lookback="2D")
    X = X[X["customer"] == "ann"]
    back = read_back(X, tmp_path)
    assert histories(back) == histories(X) == [[0], [3]]
    assert len(log_of(back)) == 2


def test_windows_without_a_common_event_stay_apart(tmp_path):
    """Models took the time between two windows for an interarrival time."""
    X = make_log().snapshots(["2024-01-02", "2024-01-06", "2024-01-10"], lookback="2D")
    back = read_back(X.iloc[::-1].reset_index(drop=True), tmp_path)
    assert log_of(back).customers.tolist() == ["ann", "ann", "ann", "bob"]
    assert log_of(back).timeline.counts.tolist() == [1, 2, 1, 1]
    assert histories(back) == histories(X.iloc[::-1])


def test_rows_of_several_logs_can_be_written(tmp_path):
    """Ids that pandas had joined were in chunks: a TypeError of pyarrow."""
    events = make_events()
    logs = [make_log(own) for _, own in events.groupby("customer")]
    X = pd.concat([log.snapshots(["2024-01-06"]) for log in logs], ignore_index=True)
    assert histories(read_back(X, tmp_path)) == histories(X)


def test_fits_on_rows_read_back_are_the_same(tmp_path):
    """An order number of one customer was a level of two, and quantiles differed."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "customer": rng.integers(20, size=200),
            "day": rng.integers(300, size=200),
            "x": rng.normal(size=200),
        }
    )
    events["order"] = "no. " + events["customer"].astype(str)
    X = EventLog(events, "customer", "day").snapshots([100, 200, 300], min_events=1)
    back = read_back(X, tmp_path)
    pd.testing.assert_frame_equal(
        HistoryAggregator().fit_transform(X), HistoryAggregator().fit_transform(back)
    )
    channels = [
        log_of(HistoryEncoder(moments=False).fit_transform(one)).channels
        for one in (X, back)
    ]
    np.testing.assert_array_equal(*channels)


def test_rows_of_a_log_and_its_continuation():
    events = make_events()
    before = make_log(events[events["day"] < "2024-01-06"])
    after = before.append(events[events["day"] >= "2024-01-06"])
    parts = [before.attach(pd.DataFrame({"customer": ["bob", "ann"]}))]
    parts += [after.attach(pd.DataFrame({"customer": ["ann", "eve"]}))]
    X = pd.concat([*parts, pd.DataFrame({"customer": ["?"]})], ignore_index=True)
    assert_all_events(log_of(X))
    assert histories(X) == [[4], [0, 1, 2], [0, 1, 2, 3], [], None]


@pytest.mark.parametrize(
    "change",
    [
        lambda events: events.assign(x=events["x"] + 1),  # another amount
        lambda events: events.iloc[[0, 1, 3]],  # an event that was recorded late
        lambda events: events.assign(order=events["order"].iloc[::-1].to_numpy()),
    ],
)
def test_events_that_differ_stay_apart(change):
    others = change(make_events())
    rows = pd.DataFrame({"customer": ["ann"]})
    parts = [make_log().attach(rows), make_log(others).attach(rows)]
    X = pd.concat(parts, ignore_index=True)
    assert histories(X) == [one for part in parts for one in histories(part)]
    assert len(log_of(X)) == sum(X["history"].array.lengths)


def test_only_customers_with_a_conflict_stay_apart():
    events, others = make_events(), make_events()
    others.loc[4, "x"] = 5.0  # bob's
    for one in (events, others):
        one["vector"] = [[x, 1.0] for x in one["x"]]
    rows = pd.DataFrame({"customer": ["bob", "ann"]})
    X = pd.concat([make_log(one).attach(rows) for one in (events, others)])
    assert log_of(X).customers.tolist() == ["ann", "bob", "bob"]
    assert histories(X) == [[4], [0, 1, 2, 3], [5], [0, 1, 2, 3]]


@pytest.mark.parametrize("n_cutoffs", [1, 2])
def test_labels_of_rows_read_back_are_refused(tmp_path, n_cutoffs):
    """With one row per customer, all times to the next event were 0."""
    X = make_log().snapshots(["2024-01-02", "2024-01-06"][:n_cutoffs])
    back = read_back(X, tmp_path)
    for target in (churned, time_to_next):
        with pytest.raises(ValueError, match="or read from a file, which has no event"):
            target(back, "1D", censored="nan")
    with pytest.raises(ValueError, match="write the target with X"):
        time_to_next(back, censored="keep")


def test_labels_of_rows_of_a_file_and_of_a_log_are_refused(tmp_path):
    """The log ended first: all times to the next event of the file's rows were 0."""
    events = make_events()
    of_ann = events["customer"] == "ann"
    X = make_log(events[of_ann]).snapshots(["2024-01-08"])
    of_log = make_log(events[~of_ann]).attach(pd.DataFrame({"customer": ["bob"]}))
    joined = pd.concat([read_back(X, tmp_path), of_log], ignore_index=True)
    with pytest.raises(ValueError, match="or read from a file"):
        time_to_next(joined, censored="keep")


@st.composite
def parts_of_logs(draw):
    """Events of a log, its beginnings, and rows of each."""
    times = sorted(draw(st.lists(st.integers(0, 4), min_size=1, max_size=8)))
    customers = draw(st.lists(st.sampled_from("ab"), min_size=len(times), max_size=8))
    x = draw(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=8, max_size=8))
    events = pd.DataFrame({"customer": customers[: len(times)], "day": times})
    events["x"] = np.array(x[: len(times)], dtype=float)
    rows = st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.booleans())
    parts = st.tuples(st.integers(1, len(times)), rows, st.sampled_from([None, 1, 2]))
    return events, draw(st.lists(parts, min_size=1, max_size=6))


@settings(deadline=None)
@given(parts_of_logs())
def test_rows_see_the_same_events(case):
    events, parts = case
    found = []
    for n_events, (customer, cutoff, exact), lookback in parts:
        log = make_log(events.iloc[:n_events])
        row = pd.DataFrame({"customer": [customer]})
        options = {"allow_exact_matches": exact, "lookback": lookback}
        found.append(log.attach(row, cutoff=cutoff, **options)["history"])
    expected = [part.iloc[0].to_frame() for part in found]
    joint = pd.concat(found, ignore_index=True)
    for one, frame in zip(joint, expected, strict=True):
        pd.testing.assert_frame_equal(one.to_frame(), frame)
    timeline, rows = joint.array.log.timeline, joint.array.rows
    for part, code, stop in zip(parts, rows.codes, rows.stop, strict=True):
        # After a history come the events from its cutoff on.
        later = timeline.times[stop : timeline.offsets[code + 1]]
        assert (later >= part[1][1]).all()


events_and_windows = st.tuples(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), min_size=1),
    st.lists(st.tuples(st.integers(0, 10), st.integers(1, 6)), min_size=1, max_size=6),
)


@settings(deadline=None)
@given(events_and_windows)
def test_events_of_a_file_follow_one_another_as_in_the_log(case):
    """Each event is there once, and after no event but its predecessor."""
    pairs, windows = case
    events = pd.DataFrame(pairs, columns=["customer", "day"])
    log = make_log(events.assign(x=np.arange(len(events))))
    ids = pd.DataFrame({"customer": ["a", "b", "c"]})
    parts = [log.attach(ids, cutoff=at, lookback=back) for at, back in windows]
    history = pd.concat(parts, ignore_index=True)["history"]
    found = history.dtype.__from_arrow__(pa.array(history.array))
    for one, other in zip(found, history, strict=True):
        pd.testing.assert_frame_equal(one.to_frame(), other.to_frame())
    numbers, offsets = found.log.column("x").values, found.log.timeline.offsets
    assert len(np.unique(numbers)) == len(numbers)
    successor = dict(pairwise(log.column("x").values))
    for start, stop in pairwise(offsets):
        for one, other in pairwise(numbers[start:stop]):
            assert successor[one] == other
