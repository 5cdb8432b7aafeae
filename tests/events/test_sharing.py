"""What pickles and worker processes get of a log."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog

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


def rows_of(log, customers, **options):
    X = log.attach(pd.DataFrame({"customer": customers}), **options)
    return X.reindex([*X.index, -1])  # and one without a history


def arrays_of(log):
    """All stored arrays of a log."""
    timeline = log.timeline
    fields = [log.column(field).values for field in log.fields]
    return [timeline.times, timeline.offsets, *fields]


@pytest.mark.parametrize("options", [{}, {"cutoff": 9000, "lookback": 300}])
def test_a_few_rows_take_only_their_customers_along(big_log, options):
    X = rows_of(big_log, [700, 3, 5000, 3, 441], **options)
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


def test_rows_of_no_known_customer_take_nothing_along(big_log):
    back = pickle.loads(pickle.dumps(rows_of(big_log, [5000])))["history"].array
    assert len(back.log) == 0
    assert back.lengths.tolist() == [0, 0]
    assert back.isna().tolist() == [False, True]
    assert repr(back.log) == "EventLog(0 events, 0 customers, no time, fields: x, item)"


def test_most_of_a_log_goes_as_it_is(big_log):
    # joblib then maps one array into all workers, however X is split.
    X = rows_of(big_log, np.arange(N_CUSTOMERS))
    one, other = pickle.loads(pickle.dumps([X.iloc[:600], X.iloc[300:]]))
    assert one["history"].array.log is other["history"].array.log
    assert len(one["history"].array.log) == len(big_log)


def test_a_set_row_is_in_the_next_pickle(big_log):
    array = rows_of(big_log, [3, 4])["history"].array
    pickle.dumps(array)
    array[0] = array[1]
    back = pickle.loads(pickle.dumps(array))
    assert back.customers[:2].tolist() == [4, 4]


def test_a_log_out_of_a_pickle_cannot_be_written(big_log):
    back = pickle.loads(pickle.dumps(big_log))
    pd.testing.assert_frame_equal(back.to_frame(), big_log.to_frame())
    assert not any(array.flags.writeable for array in arrays_of(back))


def test_joblib_maps_a_dumped_table(big_log, tmp_path):
    X = rows_of(big_log, np.arange(N_CUSTOMERS))
    joblib.dump(X, tmp_path / "X.joblib")
    back = joblib.load(tmp_path / "X.joblib", mmap_mode="r")["history"].array
    assert all(isinstance(array, np.memmap) for array in arrays_of(back.log))
    pd.testing.assert_frame_equal(back.to_frame(), X["history"].array.to_frame())


def test_worker_processes_read_one_mapped_log(big_log):
    X = rows_of(big_log, np.arange(N_CUSTOMERS))

    def look(part):  # a local function travels by value
        log = part["history"].array.log
        arrays = [log.timeline.times, log.column("x").values, log.column("item").values]
        files = [getattr(array, "filename", None) for array in arrays]
        return files, int(part["history"].array.lengths.sum())

    parallel = joblib.Parallel(n_jobs=2, max_nbytes="10K")
    (first, n_first), (second, n_second) = parallel(
        joblib.delayed(look)(part) for part in (X.iloc[:600], X.iloc[300:])
    )
    assert None not in first
    assert first == second
    assert (n_first, n_second) == (600 * N_EACH, 700 * N_EACH)
