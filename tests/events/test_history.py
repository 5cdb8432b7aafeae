import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer

from sklearn_seqcrm.events import EventLog, History, HistoryDtype


@pytest.fixture
def ann(log):
    return log.attach(pd.DataFrame({"customer": ["ann"]}), cutoff="2024-01-09")[
        "history"
    ][0]


@pytest.fixture
def nobody(log):
    return log.attach(pd.DataFrame({"customer": ["x"]}), cutoff="2024-01-09")[
        "history"
    ][0]


def test_what_a_history_says_about_itself(log, ann):
    assert isinstance(ann, History)
    assert len(ann) == 2
    assert ann.log is log
    assert ann.customer == "ann"
    assert ann.cutoff == pd.Timestamp("2024-01-09")
    assert ann.times.tolist() == [
        pd.Timestamp("2024-01-01"),
        pd.Timestamp("2024-01-05"),
    ]
    expected = pd.DataFrame(
        {"customer": ["ann", "ann"], "day": ann.times, "x": [2.0, 1.0]}
    )
    pd.testing.assert_frame_equal(ann.to_frame(), expected)


def test_an_unknown_customer_is_none(log, nobody):
    assert nobody.customer is None
    assert nobody.cutoff == pd.Timestamp("2024-01-09")
    assert len(nobody) == 0
    assert nobody.times.tolist() == []
    assert nobody.to_frame().columns.tolist() == ["customer", "day", "x"]
    assert len(nobody.to_frame()) == 0


DAYS = pd.to_datetime(["2024-01-01 07:00", "2024-01-05 00:00", "2024-02-01 00:00"])


@pytest.mark.parametrize(
    ("times", "cutoff", "expected"),
    [
        (DAYS, "2023-12-31", "0 events"),
        (DAYS, "2024-01-02", "1 event 2024-01-01"),
        (DAYS, "2024-01-31", "2 events 2024-01-01..2024-01-05"),
        (DAYS.tz_localize("UTC"), None, "3 events 2024-01-01..2024-02-01"),
        ([1, 20, 1_700_000_000], None, "3 events 1..1700000000"),
        ([0.5, 0.25, 1 / 3], None, "3 events 0.25..0.5"),
    ],
)
def test_repr_is_one_short_line(times, cutoff, expected):
    log = EventLog(
        pd.DataFrame({"customer": "a", "time": times}), customer="customer", time="time"
    )
    X = log.attach(pd.DataFrame({"customer": ["a"]}), cutoff=cutoff)
    assert repr(X["history"][0]) == str(X["history"][0]) == expected
    assert expected in repr(X)


def test_histories_are_equal_if_they_see_the_same_events_to_the_same_cutoff(log):
    customers = ["ann", "ann", "bob", "ann", "x", "x"]
    days = [9, 9, 9, 10, 9, 10]
    rows = pd.DataFrame(
        {"customer": customers, "day": [f"2024-01-{day:02}" for day in days]}
    )
    rows["day"] = pd.to_datetime(rows["day"])
    one = log.attach(rows, cutoff="day")["history"].tolist()
    same = [[a == b for b in one] for a in one]
    assert same == [
        [True, True, False, False, False, False],
        [True, True, False, False, False, False],
        [False, False, True, False, False, False],
        [False, False, False, True, False, False],
        [False, False, False, False, True, False],
        [False, False, False, False, False, True],
    ]
    assert [[hash(a) == hash(b) for b in one] for a in one] == same
    assert len(set(one)) == 5


def test_histories_of_two_logs_differ(events, ann):
    other = EventLog(events, "customer", "day").attach(
        pd.DataFrame({"customer": ["ann"]}), cutoff="2024-01-09"
    )
    assert other["history"][0] != ann
    assert ann != "ann"


def test_copies_and_pickles_of_a_history(ann):
    assert copy.copy(ann) == ann
    assert copy.deepcopy(ann) == ann
    back = pickle.loads(pickle.dumps(ann))
    pd.testing.assert_frame_equal(back.to_frame(), ann.to_frame())
    assert back.cutoff == ann.cutoff


# --- Object arrays of histories convert back ------------------------------------------

CONVERT = {
    "pd.array": lambda values: pd.Series(pd.array(values, dtype="history")),
    "pd.Series": lambda values: pd.Series(values, dtype="history"),
    "astype": lambda values: pd.Series(np.array(values, object)).astype("history"),
    "DataFrame.astype": lambda values: pd.DataFrame(
        {"history": np.array(values, object)}
    ).astype({"history": HistoryDtype()})["history"],
}


@pytest.mark.parametrize("convert", CONVERT)
@pytest.mark.parametrize("missing", [None, pd.NA, np.nan])
def test_an_object_array_converts_back(log, convert, missing):
    rows = pd.DataFrame({"customer": ["eve", "ann", "nobody"]})
    X = log.attach(rows, cutoff="2024-01-09")
    values = X["history"].tolist()
    column = CONVERT[convert]([values[1], missing, values[2], values[1]])
    assert column.dtype == "history"
    assert column.array.log is log
    assert column[[0, 2, 3]].tolist() == [values[1], values[2], values[1]]
    assert column.isna().tolist() == [False, True, False, False]


@pytest.mark.parametrize("convert", CONVERT)
def test_an_object_array_of_several_logs_converts_back(events, log, convert):
    other = EventLog(events.assign(x=-events["x"]), "customer", "day")
    rows = pd.DataFrame({"customer": ["ann", "nobody", "bob"]})
    a = log.attach(rows)["history"].tolist()
    b = other.attach(rows)["history"].tolist()
    column = CONVERT[convert]([b[0], a[2], None, a[0], b[1], a[1], b[0]])
    seen = [None if h is pd.NA else h.to_frame()["x"].tolist() for h in column]
    assert seen == [
        [-2.0, -1.0, -5.0],
        [4.0, 0.0],
        None,
        [2.0, 1.0, 5.0],
        [],
        [],
        [-2.0, -1.0, -5.0],
    ]
    customers = pd.Series(column.array.customers).fillna("?").tolist()
    assert customers == ["ann", "bob", "?", "ann", "?", "?", "ann"]


def test_what_a_column_transformer_returns_converts_back(log):
    rows = pd.DataFrame({"customer": ["eve", "ann"], "age": [30, 40]})
    X = log.attach(rows)
    transformer = ColumnTransformer([("keep", "passthrough", ["age", "history"])])
    values = transformer.fit_transform(X)
    assert values.dtype == object
    column = pd.Series(values[:, 1]).astype("history")
    assert column.tolist() == X["history"].tolist()


@pytest.mark.parametrize("value", [1, "ann", [1, 2], pd.NaT])
def test_other_values_are_refused(ann, value):
    text = "A history column takes histories only; got .*, one of 1 other values"
    with pytest.raises(TypeError, match=text):
        pd.array([ann, value], dtype="history")
