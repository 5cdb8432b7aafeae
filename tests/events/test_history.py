"""A single history: only visible events, in every form."""

import copy
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer

from sklearn_seqcrm.events import EventLog, History, HistoryDtype
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.targets import churned


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


def test_properties_of_a_history(ann):
    assert isinstance(ann, History)
    assert len(ann) == 2
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


def test_the_customer_is_none_if_unknown(log, nobody):
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
        (DAYS[[0, 1, 1]], None, "3 events at 2 moments 2024-01-01..2024-01-05"),
        ([2, 2], None, "2 events at 1 moment 2..2"),
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
    assert copy.copy(ann) is ann
    assert copy.deepcopy({"a": [ann]}) == {"a": [ann]}
    back = pickle.loads(pickle.dumps(ann))
    pd.testing.assert_frame_equal(back.to_frame(), ann.to_frame())
    assert back.cutoff == ann.cutoff


# --- Nothing but what is visible ------------------------------------------------------

SECRETS = ("later", "mallory", "secret", "2031", "1925424000")


@pytest.fixture
def guarded():
    """Two histories before 2024-02-01 from a log with secrets elsewhere."""
    events = pd.DataFrame(
        {
            "who": ["ann", "ann", "mallory", "ann", "bob"],
            "day": pd.to_datetime(
                ["2024-01-01", "2024-01-05", "2024-01-03", "2031-01-06", "2024-01-02"]
            ),
            "item": ["hat", "shoe", "secret hat", "later", "hat"],
            "paid": [10.0, np.nan, 77.0, 7e77, 5.0],
            "due": pd.to_datetime(
                ["2024-01-02", None, "2031-01-06", "2031-01-06", None]
            ),
        }
    )
    log = EventLog(events, customer="who", time="day")
    return log.attach(pd.DataFrame({"who": ["ann", "bob", "x"]}), cutoff="2024-02-01")


def test_a_history_as_plain_values(guarded):
    ann, bob, nobody = (history.to_dict() for history in guarded["history"])
    moment = pd.Timestamp("2024-02-01")
    hat, shoe = ann.pop("events")
    assert ann == {"customer": "ann", "cutoff": moment}
    assert hat == {
        "day": pd.Timestamp("2024-01-01"),
        "item": "hat",
        "paid": 10.0,
        "due": pd.Timestamp("2024-01-02"),
    }
    assert shoe["day"] == pd.Timestamp("2024-01-05")
    assert pd.isna([shoe["paid"], shoe["due"]]).all()
    assert [event["item"] for event in bob["events"]] == ["hat"]
    assert nobody == {"customer": None, "cutoff": moment, "events": []}


@pytest.mark.parametrize("ids", [[5, 6], [2**63 + 1, 6], [0.5, 1.5], [True, False]])
def test_plain_values_are_those_that_json_knows(ids):
    events = pd.DataFrame(
        {"who": ids, "day": [1, 2], "item": pd.Categorical([7, 8]), "paid": [1, 2]}
    )
    events["small"] = events["paid"].astype("float32")
    X = EventLog(events, "who", "day").attach(events[["who"]], cutoff=3)
    assert json.loads(json.dumps(X["history"][0].to_dict())) == {
        "customer": ids[0],
        "cutoff": 3,
        "events": [{"day": 1, "item": 7, "paid": 1.0, "small": 1.0}],
    }


@pytest.mark.parametrize("orient", ["split", "records", "index", "columns", "values"])
def test_json_holds_the_visible_events(guarded, orient):
    text = guarded.to_json(orient=orient, date_format="iso")
    ann = (
        '{"customer":"ann","cutoff":"2024-02-01T00:00:00.000","events":['
        '{"day":"2024-01-01T00:00:00.000","item":"hat","paid":10.0,'
        '"due":"2024-01-02T00:00:00.000"},'
        '{"day":"2024-01-05T00:00:00.000","item":"shoe","paid":null,"due":null}]}'
    )
    nobody = '{"customer":null,"cutoff":"2024-02-01T00:00:00.000","events":[]}'
    assert ann in text
    assert nobody in text
    assert not any(secret in text for secret in SECRETS)


def test_json_of_encoded_histories_and_of_plain_times():
    events = pd.DataFrame({"who": list("aab"), "day": [1, 5, 7], "x": [1.0, 2.0, 9e9]})
    X = EventLog(events, "who", "day").attach(events[["who"]][:1], cutoff=4)
    assert X[["history"]].to_json(orient="values") == (
        '[[{"customer":"a","cutoff":4,"events":[{"day":1,"x":1.0}]}]]'
    )
    encoded = HistoryEncoder().fit_transform(X)[["history"]]
    [[history]] = json.loads(encoded.to_json(orient="values"))
    assert [set(event) for event in history["events"]] == [
        {"day", "x", "interarrival_time"}
    ]


def test_no_public_attribute_leads_beyond_the_cutoff(guarded):
    for history in guarded["history"]:
        for name in dir(history):
            if name.startswith("_"):
                continue
            value = getattr(history, name)
            value = value() if callable(value) else value
            if isinstance(value, pd.DataFrame):
                levels = value["item"].cat.categories.tolist()
                value = value.to_dict("list") | {"levels": levels}
            elif isinstance(value, pd.Index):
                value = value.tolist()
            # Anything else would have attributes of its own.
            assert isinstance(value, dict | list | str | pd.Timestamp | None), name
            assert not any(secret in repr(value) for secret in SECRETS), name


def test_a_pickled_history_holds_what_is_visible(guarded):
    # Small numbers and times are bytes in a pickle, which only the next lines find.
    for history, n_customers in zip(guarded["history"], [1, 1, 0], strict=True):
        pickled = pickle.dumps(history)
        assert not any(secret.encode() in pickled for secret in SECRETS)
        back = pickle.loads(pickled)
        assert back.to_dict() == history.to_dict() or len(back) == 2  # NaN differs
        pd.testing.assert_frame_equal(back.to_frame(), history.to_frame())
        assert repr(back) == repr(history)
        column = pd.Series([back], dtype="history")
        log = column.array.log
        assert log.n_customers == n_customers
        pd.testing.assert_frame_equal(log.to_frame(), history.to_frame())
        assert log.observed_until < history.cutoff
        with pytest.raises(ValueError, match="1 of 1 rows run past the end of the log"):
            churned(column, "1D")


def test_an_object_array_of_histories_survives_a_pickle(guarded):
    values = guarded["history"].to_numpy()
    back = pd.Series(pickle.loads(pickle.dumps(values)), dtype="history")
    pd.testing.assert_frame_equal(
        back.array.to_frame(), guarded["history"].array.to_frame()
    )
    assert back.array.customers[:2].tolist() == ["ann", "bob"]
    assert pd.isna(back.array.customers[2])


def test_a_frame_has_the_levels_that_occur_in_it(guarded):
    array = guarded["history"].array
    ann, bob, nobody = guarded["history"]
    found = [
        frame["item"].cat.categories.tolist()
        for frame in (ann.to_frame(), bob.to_frame(), nobody.to_frame())
    ]
    assert found == [["hat", "shoe"], ["hat"], []]
    assert array.to_frame()["item"].cat.codes.tolist() == [0, 1, 0]
    assert array.to_frame()["item"].cat.categories.tolist() == ["hat", "shoe"]
    assert array[1:].to_frame()["item"].cat.categories.tolist() == ["hat"]
    dummies = pd.get_dummies(array.to_frame()[["item"]])
    assert dummies.columns.tolist() == ["item_hat", "item_shoe"]
    both = array.log.to_frame()["item"].cat.categories.tolist()
    assert both == ["hat", "later", "secret hat", "shoe"]


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
