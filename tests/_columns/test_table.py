import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm._columns import (
    Table,
    as_history_array,
    has_histories,
    holds_histories,
    one_history,
)
from sklearn_seqcrm._columns._table import as_frame
from sklearn_seqcrm.events import HistoryArray, HistoryDtype
from tests.logs import log_of_table

EVENTS = pd.DataFrame({"id": ["a", "a", "b"], "time": [1, 3, 2]})
LOG = log_of_table(EVENTS)
ROWS = pd.DataFrame({"id": ["b", "a"], "age": [30, 50], "at": [3, 3]}, index=[7, 8])
FRAME = LOG.attach(ROWS[["id", "age"]], cutoff=3)
OBJECTS = FRAME.to_numpy(dtype=object)


def names_in(X):
    return list(Table.of(X).histories)


def test_finds_every_history_column_in_order():
    X = LOG.attach(LOG.attach(ROWS, cutoff=2, name="old"), cutoff="at", name="new")
    assert names_in(X) == ["old", "new"]
    assert names_in(X[["new", "age", "old"]]) == ["new", "old"]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pd.Series([1, 2]), False),
        (pd.Series(["a", None]), False),
        (pd.Series([None, None], dtype=object), False),
        (pd.Series([], dtype=object), False),
    ],
)
def test_other_columns_hold_none(column, expected):
    assert holds_histories(column) is expected


def test_object_column_converts_back():
    column = LOG.attach(ROWS, cutoff="at")["history"]
    objects = column.astype(object)
    assert objects.dtype == object
    assert holds_histories(objects)
    assert holds_histories(pd.Series([None, objects.iloc[0]], dtype=object))
    back = as_history_array(objects)
    assert isinstance(back, HistoryArray)
    assert (back == column.array).all()


def test_no_history():
    with pytest.raises(ValueError, match=r"no history column; EventLog\.attach adds"):
        names_in(ROWS)


def test_repeated_names():
    X = LOG.attach(ROWS, cutoff="at")
    with pytest.raises(ValueError, match=r"several columns of the names \['age'\]"):
        names_in(pd.concat([X, X[["age"]]], axis=1))


def test_names_may_be_numbers():
    X = LOG.attach(LOG.attach(ROWS, cutoff=2, name="old"), cutoff="at", name="new")
    X.columns = [0, 1, 2, 3, 4]
    assert repr(names_in(X)) == "[3, 4]"
    with pytest.raises(ValueError, match=r"2 history columns, \[3, 4\].*history=3"):
        one_history(X)


def test_has_histories_whatever_the_names_are():
    X = LOG.attach(ROWS, cutoff="at")[["history"]].astype(object)
    ages = ROWS[["age"]].astype(object)
    assert has_histories(pd.concat([ages, ages, X], axis=1))
    assert not has_histories(pd.concat([ages, ages], axis=1))


def test_one_history_takes_frame_series_and_array():
    X = LOG.attach(ROWS, cutoff="at")
    for form in (X, X["history"], X["history"].array):
        assert one_history(form) is X["history"].array


def test_one_history_of_several():
    X = LOG.attach(LOG.attach(ROWS, cutoff=2, name="old"), cutoff="at", name="new")
    assert one_history(X, "new") is X["new"].array
    with pytest.raises(ValueError, match=r"2 history columns.*history='old'"):
        one_history(X)
    with pytest.raises(KeyError, match=r"no column 'newer'.*\['old', 'new'\]"):
        one_history(X, "newer")
    with pytest.raises(TypeError, match="Column 'age' must hold histories"):
        one_history(X, "age")


def test_other_columns_are_not_accessed():
    X = LOG.attach(ROWS, cutoff="at").assign(note=[LOG.attach(ROWS)["history"][7], "x"])
    assert one_history(X, "history") is X["history"].array


def test_missing_histories():
    X = LOG.attach(ROWS, cutoff="at").reindex([7, 8, 9])
    with pytest.raises(ValueError, match="has 1 missing histories in 3 rows"):
        one_history(X)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (FRAME, True),
        (FRAME.astype({"history": object}), True),
        (OBJECTS, True),
        (FRAME[["id", "age"]], False),
        (FRAME[["age"]].to_numpy(), False),
        (OBJECTS[:, :2], False),
        (OBJECTS[:, 2], False),
        ([[1, 2]], False),
        (None, False),
    ],
)
def test_has_histories(rows, expected):
    assert has_histories(rows) is expected


def test_a_frame_with_a_history_column_is_not_copied():
    assert as_frame(FRAME) is FRAME


def test_object_column_becomes_a_history_column():
    objects = FRAME.astype({"history": object})
    frame = as_frame(objects)
    assert isinstance(frame["history"].dtype, HistoryDtype)
    assert frame["history"].array.log is FRAME["history"].array.log
    assert list(frame.index) == [7, 8]
    assert objects["history"].dtype == object


def test_object_array_becomes_a_frame():
    frame = as_frame(OBJECTS)
    assert list(frame) == ["x0", "x1", "x2"]
    assert isinstance(frame["x2"].dtype, HistoryDtype)
    assert frame["x1"].dtype == np.int64
    assert frame["x2"].array.lengths.tolist() == FRAME["history"].array.lengths.tolist()


@pytest.mark.parametrize("wrong", [[[1]], np.zeros((2, 2)), OBJECTS[:, 0], None])
def test_anything_else_is_refused(wrong):
    with pytest.raises(TypeError, match="X must be a pandas DataFrame with a history"):
        as_frame(wrong)


@pytest.mark.parametrize("column", [FRAME["history"], FRAME["history"].array])
def test_a_column_alone_is_no_table(column):
    """As a ColumnTransformer passes it on if the column is not in a list."""
    with pytest.raises(TypeError, match=r"X\[\['history'\]\], also in a ColumnTransf"):
        Table.of(column)


def test_one_row_as_a_series_is_no_table():
    with pytest.raises(TypeError, match=r"and X.iloc\[\[0\]\] for one row"):
        Table.of(FRAME.iloc[0])
