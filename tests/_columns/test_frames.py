import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm._columns import has_histories
from sklearn_seqcrm._columns._table import as_frame
from sklearn_seqcrm.events import EventLog, HistoryDtype

EVENTS = pd.DataFrame({"who": ["a", "a", "b"], "time": [1, 3, 2]})
X = EventLog(EVENTS, "who", "time").attach(
    pd.DataFrame({"who": ["b", "a"], "age": [30, 50]}, index=[4, 2]), cutoff=3
)
OBJECTS = X.to_numpy(dtype=object)


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (X, True),
        (X.astype({"history": object}), True),
        (OBJECTS, True),
        (X[["who", "age"]], False),
        (X[["age"]].to_numpy(), False),
        (OBJECTS[:, :2], False),
        (OBJECTS[:, 2], False),
        ([[1, 2]], False),
        (None, False),
    ],
)
def test_has_histories(X, expected):
    assert has_histories(X) is expected


def test_a_frame_with_a_history_column_is_not_copied():
    assert as_frame(X) is X


def test_object_column_becomes_a_history_column():
    objects = X.astype({"history": object})
    frame = as_frame(objects)
    assert isinstance(frame["history"].dtype, HistoryDtype)
    assert frame["history"].array.log is X["history"].array.log
    assert list(frame.index) == [4, 2]
    assert objects["history"].dtype == object


def test_object_array_becomes_a_frame():
    frame = as_frame(OBJECTS)
    assert list(frame) == ["x0", "x1", "x2"]
    assert isinstance(frame["x2"].dtype, HistoryDtype)
    assert frame["x1"].dtype == np.int64
    assert frame["x2"].array.lengths.tolist() == X["history"].array.lengths.tolist()


@pytest.mark.parametrize("wrong", [[[1]], np.zeros((2, 2)), OBJECTS[:, 0], None])
def test_anything_else_is_refused(wrong):
    with pytest.raises(TypeError, match="X must be a pandas DataFrame with a history"):
        as_frame(wrong)
