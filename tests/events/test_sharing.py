"""The part of a log that pickles and worker processes get."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import future_count

N_CUSTOMERS, N_EACH = 1000, 20


@pytest.fixture(scope="module")
def big_log():
    n_events = N_CUSTOMERS * N_EACH
    events = pd.DataFrame(
        {
            "customer": np.repeat(np.arange(N_CUSTOMERS), N_EACH),
            "time": np.arange(n_events),
            "x": np.arange(float(n_events)),
            "item": pd.Categorical(["hat", "shoe"] * (n_events // 2)),
        }
    )
    return EventLog(events, "customer", "time")


def attached(log, customers, **options):
    X = log.attach(pd.DataFrame({"customer": customers}), **options)
    return X.reindex([*X.index, -1])  # and one without a history


def arrays_of(log):
    """All stored arrays of a log."""
    timeline = log.timeline
    fields = [log.column(field).values for field in log.fields]
    return [timeline.times, timeline.offsets, *fields]


@pytest.mark.parametrize("options", [{}, {"cutoff": 9000, "lookback": 300}])
def test_a_few_rows_pickle_only_their_customers(big_log, options):
    X = attached(big_log, [700, 3, 5000, 3, 441], **options)
    pickled = pickle.dumps(X)
    assert len(pickled) < 10_000
    array, back = X["history"].array, pickle.loads(pickled)["history"].array
    assert back.log.customers.tolist() == [3, 441, 700]
    assert len(back.log) == 3 * N_EACH
    pd.testing.assert_frame_equal(back.to_frame(), array.to_frame())
    pd.testing.assert_index_equal(back.cutoffs, array.cutoffs)
    pd.testing.assert_index_equal(back.customers, array.customers)
    assert back.isna().tolist() == array.isna().tolist()
    assert back.dtype == array.dtype
    assert array.log is big_log


def test_rows_of_unknown_customers_pickle_no_events(big_log):
    back = pickle.loads(pickle.dumps(attached(big_log, [5000])))["history"].array
    assert len(back.log) == 0
    assert back.lengths.tolist() == [0, 0]
    assert back.isna().tolist() == [False, True]
    assert (
        repr(back.log)
        == "EventLog(0 events, 0 customers, no time, numeric: x; categorical: item)"
    )


def test_rows_of_all_customers_pickle_the_log(big_log):
    X = attached(big_log, np.arange(N_CUSTOMERS))
    one, other = pickle.loads(pickle.dumps([X, X[::-1]]))
    assert one["history"].array.log is other["history"].array.log
    assert len(one["history"].array.log) == len(big_log)


def test_rows_of_most_customers_do_not_pickle_the_others():
    n_events = 150
    events = pd.DataFrame(
        {
            "who": ["ann"] * (n_events - 1) + ["zoe"],
            "day": range(n_events),
            "basket": [f"basket {i}" for i in range(n_events - 1)] + ["secret"],
            "kind": ["order"] * (n_events - 1) + ["return"],
        }
    )
    X = EventLog(events, "who", "day").attach(events[["who"]][:1], cutoff=5)
    for part in (X, X["history"], X["history"].array, [X, X[:1]]):
        pickled = pickle.dumps(part)
        assert b"ann" in pickled
        assert b"zoe" not in pickled
        assert b"secret" not in pickled
    back = pickle.loads(pickle.dumps(X))
    # What ann did after the cutoff is there, because targets read it.
    log = back["history"].array.log
    expected = events[:-1].astype({"basket": "category", "kind": "category"})
    pd.testing.assert_frame_equal(log.to_frame(), expected)
    assert len(log.column("basket").categories) == n_events - 1
    # And what she might have done: kinds are checked against a slip of the pen.
    assert future_count(back, 9, kinds="order", kind_field="kind").tolist() == [9]
    assert future_count(back, 9, kinds="return", kind_field="kind").tolist() == [0]
    with pytest.raises(ValueError, match="no events of the kinds"):
        future_count(back, 9, kinds="retrun", kind_field="kind")


def test_a_search_copies_the_rows_of_most_customers_once(big_log):
    X = attached(big_log, np.arange(600))
    one, other = (X["history"].array.__getstate__()["_rows"] for _ in range(2))
    assert one.log is other.log
    assert one.log.n_customers == 600


def test_a_set_row_is_in_the_next_pickle(big_log):
    array = attached(big_log, [3, 4])["history"].array
    pickle.dumps(array)
    array[0] = array[1]
    back = pickle.loads(pickle.dumps(array))
    assert back.customers[:2].tolist() == [4, 4]


def test_a_log_from_a_pickle_is_read_only(big_log):
    back = pickle.loads(pickle.dumps(big_log))
    pd.testing.assert_frame_equal(back.to_frame(), big_log.to_frame())
    assert not any(array.flags.writeable for array in arrays_of(back))


def test_joblib_maps_a_dumped_table(big_log, tmp_path):
    X = attached(big_log, np.arange(N_CUSTOMERS))
    joblib.dump(X, tmp_path / "X.joblib")
    back = joblib.load(tmp_path / "X.joblib", mmap_mode="r")["history"].array
    assert all(isinstance(array, np.memmap) for array in arrays_of(back.log))
    pd.testing.assert_frame_equal(back.to_frame(), X["history"].array.to_frame())


@pytest.mark.parametrize("n_customers", [N_CUSTOMERS, 900])
def test_worker_processes_read_one_mapped_log(big_log, n_customers):
    X = attached(big_log, np.arange(n_customers))

    def look(part, rows):  # a local function travels by value
        log = part["history"].array.log
        arrays = [log.timeline.times, log.column("x").values, log.column("item").values]
        files = [getattr(array, "filename", None) for array in arrays]
        return files, int(part["history"].array[rows].lengths.sum())

    parallel = joblib.Parallel(n_jobs=2, max_nbytes="10K")
    # A search hands all rows to every task, and tells it which to take.
    (first, n_first), (second, n_second) = parallel(
        joblib.delayed(look)(X, rows) for rows in (slice(0, 500), slice(200, 560))
    )
    assert None not in first
    assert first == second
    assert (n_first, n_second) == (500 * N_EACH, 360 * N_EACH)


def changed(events, **new):
    """The same events with another last one."""
    return events.assign(
        **{name: [*events[name][:-1], value] for name, value in new.items()}
    )


EVENTS = pd.DataFrame(
    {"who": list("aabb"), "day": [1, 5, 2, 3], "x": [1.0, 2.0, 3.0, 4.0]}
)


def hashes(events, cutoff=4, rows=("a", "b", "c", "a")):
    """Hashes of rows by pandas, the keys of caches in other tools."""
    log = EventLog(events, "who", "day")
    X = log.attach(pd.DataFrame({"who": rows}), cutoff=cutoff)
    return pd.util.hash_pandas_object(X["history"], index=False).tolist()


def test_hashes_of_rows_follow_what_they_see():
    one = hashes(EVENTS)
    assert one == hashes(EVENTS[::-1])
    assert [one.count(value) for value in one] == [2, 1, 1, 2]
    # All of these print the same.
    others = {
        "x": hashes(changed(EVENTS, x=9.0)),
        "future": hashes(EVENTS.assign(day=[1, 6, 2, 3], x=[1.0, 7.0, 3.0, 4.0])),
        "cutoff": hashes(EVENTS, cutoff=5),
        "time": hashes(EVENTS.assign(day=[1, 5, 2, 2])),
        "order": hashes(EVENTS.assign(x=[1.0, 2.0, 4.0, 3.0])),
    }
    assert {
        name: [a == b for a, b in zip(one, other, strict=True)]
        for name, other in others.items()
    } == {
        "x": [True, False, True, True],
        "future": [True] * 4,
        "cutoff": [False] * 4,
        "time": [True, False, True, True],
        "order": [True, False, True, True],
    }


def test_hashes_of_rows_follow_vectors():
    one = hashes(EVENTS.assign(v=[[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0]]))
    assert [one.count(value) for value in one] == [2, 1, 1, 2]
    other = hashes(EVENTS.assign(v=[None, None, [3.0, 4.0], [5.0, 7.0]]))
    assert [a == b for a, b in zip(one, other, strict=True)] == [
        False,  # of "a", whose first vector is another
        False,  # of "b", whose last one is
        True,
        False,
    ]


def test_hashes_of_missing_histories():
    log = EventLog(EVENTS, "who", "day")
    X = log.attach(pd.DataFrame({"who": ["c"]}), cutoff=4).reindex([0, 1, 2])
    empty, missing, other = pd.util.hash_pandas_object(X["history"], index=False)
    assert missing == other != empty


def test_a_cache_sees_what_changed_in_a_log():
    rows = pd.DataFrame({"who": ["a", "b"]})

    def key(events, cutoff=4):
        return joblib.hash(EventLog(events, "who", "day").attach(rows, cutoff=cutoff))

    assert key(EVENTS) == key(EVENTS.copy())
    # The future of these customers as well, because a target would change with it.
    others = [
        key(changed(EVENTS, x=9.0)),
        key(EVENTS.assign(x=[1.0, 9.0, 3.0, 4.0])),
        key(EVENTS, cutoff=5),
    ]
    assert len({key(EVENTS), *others}) == 4
