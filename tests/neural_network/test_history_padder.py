import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skorch.helper import SliceDict

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_events, make_table

EVENTS = pd.DataFrame(
    {
        "who": list("aaabb"),
        "time": [1, 2, 4, 2, 3],
        "x": [1.0, 2.0, 3.0, 4.0, 5.0],
        "kind": list("pqrpq"),
    }
)
ROWS = pd.DataFrame({"who": list("abz"), "age": [0.5, -1.0, 2.0]})
X = HistoryEncoder().fit_transform(
    EventLog(EVENTS, "who", "time").attach(ROWS, cutoff=5)
)
LOG = X["history"].array.log
P, Q, R = LOG.codes[:3, 0]


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ({}, [[P, Q, R], [P, Q, 0], [0, 0, 0]]),
        ({"padding": "pre"}, [[P, Q, R], [0, P, Q], [0, 0, 0]]),
        ({"max_length": 2}, [[Q, R], [P, Q], [0, 0]]),
        ({"max_length": 2, "truncation": "newest"}, [[P, Q], [P, Q], [0, 0]]),
        ({"max_length": 1}, [[R], [Q], [0]]),
        ({"max_length": 1, "truncation": "newest"}, [[P], [P], [0]]),
        ({"max_length": 4}, [[P, Q, R, 0], [P, Q, 0, 0], [0, 0, 0, 0]]),
        (
            {"max_length": 4, "padding": "pre"},
            [[0, P, Q, R], [0, 0, P, Q], [0, 0, 0, 0]],
        ),
    ],
)
def test_padding_and_truncation(options, codes):
    there = HistoryPadder(**options).fit_transform(X)
    assert_array_equal(there["codes"][:, :, 0], codes)
    length = options.get("max_length", 3)
    assert_array_equal(there["lengths"], np.minimum([3, 2, 0], length))
    # Zeros where there is no event, in every channel.
    assert_array_equal(there["values"].any(axis=2), np.array(codes) > 0)


def test_tensors():
    padder = HistoryPadder()
    there = padder.fit_transform(X)
    assert padder.max_length_ == 3
    assert isinstance(there, SliceDict)
    assert list(there) == ["values", "codes", "lengths", "static"]
    n_channels = len(LOG.layout.channels)
    shapes = {name: tensor.shape for name, tensor in there.items()}
    assert shapes["values"] == (3, 3, n_channels + 1)
    dtypes = {name: str(tensor.dtype) for name, tensor in there.items()}
    assert dtypes == {
        "values": "float32",
        "codes": "int64",
        "lengths": "int64",
        "static": "float32",
    }
    assert_array_equal(there["values"][0, :, :-1], LOG.channels[:3])
    ages = np.array([5 - 1, 5 - 2, 5 - 4]) / LOG.layout.time_unit
    assert_allclose(there["values"][0, :, -1], np.log1p(ages), rtol=1e-6)
    features = LOG.row_features(X["history"].array.rows)
    assert_array_equal(there["static"][:, :-1], features)
    assert_allclose(there["static"][:, -1], ROWS["age"])


def test_the_number_of_steps_is_learned():
    log = EventLog(EVENTS, "who", "time")
    encoder = HistoryEncoder().fit(log.attach(ROWS, cutoff=5))
    short = encoder.transform(log.attach(ROWS, cutoff=3))
    padder = HistoryPadder().fit(short)
    assert padder.max_length_ == 2
    assert padder.transform(X)["codes"].shape == (3, 2, 1)
    none = encoder.transform(log.attach(ROWS, cutoff=0))
    there = HistoryPadder().fit_transform(none)
    assert there["values"].shape[1] == 1
    assert not there["values"].any()


def test_several_histories_have_their_names_before_the_keys():
    visits = EventLog(EVENTS[["who", "time"]].assign(page="home"), "who", "time")
    both = visits.attach(
        EventLog(EVENTS, "who", "time").attach(ROWS, cutoff=5), cutoff=3, name="visits"
    )
    there = make_history_pipeline(HistoryPadder()).fit(both).transform(both)
    assert list(there) == [
        *("history_values", "history_codes", "history_lengths"),
        *("visits_values", "visits_codes", "visits_lengths"),
        "static",
    ]
    assert_array_equal(there["visits_lengths"], [2, 1, 0])
    assert there["visits_values"].shape[1] == 3


def rows_of(tensors):
    return {name: tensor.tolist() for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "rows",
    [
        slice(1, 3),
        np.array([2, 0]),
        [2, 0],
        np.array([True, False, True]),
        slice(None),
        slice(0, 0),
    ],
)
def test_selected_rows_keep_layout_and_customers(rows):
    there = HistoryPadder(padding="pre").fit_transform(X)
    some = there[rows]
    assert type(some) is type(there)
    for name in there:
        assert_array_equal(some[name], there[name][rows])
    assert some.layout is there.layout
    assert some.padding == "pre"
    assert_array_equal(some.customers, there.customers[rows])


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda t: pickle.loads(pickle.dumps(t)),
        lambda t: t.copy(),
    ],
    ids=["copy", "deepcopy", "pickle", "method"],
)
def test_copies_keep_layout_and_customers(copied):
    there = HistoryPadder(padding="pre").fit_transform(X)
    other = copied(there)
    assert rows_of(other) == rows_of(there)
    assert other.layout == there.layout
    assert other.padding == "pre"
    assert_array_equal(other.customers, there.customers)


def test_tensors_of_one_table_identify_customers():
    table = make_table()
    there = make_history_pipeline(HistoryPadder()).fit(table).transform(table)
    assert not table["who"].str.startswith("c").all()  # some are unknown to the log
    numbers = pd.factorize(table["who"])[0]
    assert_array_equal(pd.factorize(there.customers)[0], numbers)


def test_is_a_slice_of_every_history():
    table = HistoryEncoder().fit_transform(make_table())[["history"]]
    there = HistoryPadder().fit_transform(table)
    array = table["history"].array
    for row, (start, stop) in enumerate(zip(*array.rows[2:4], strict=True)):
        assert there["lengths"][row] == stop - start
        assert_array_equal(
            there["values"][row, : stop - start, :-1], array.log.channels[start:stop]
        )


@pytest.mark.parametrize(("lookback", "is_first"), [(None, False), (3, True)])
def test_the_interarrival_time_of_the_first_event(lookback, is_first):
    """An event before it may be cut off by the padder, and not by a lookback."""
    rows = pd.DataFrame({"who": "a", "at": [5, 4]})
    log = EventLog(EVENTS, "who", "time")
    encoder = HistoryEncoder().fit(log.attach(rows, cutoff="at"))
    table = encoder.transform(log.attach(rows, cutoff="at", lookback=lookback))
    place = LOG.layout.interarrival_channel
    expected = table["history"].array.log.channels[1:3, place]
    assert (expected != 0).all()
    there = HistoryPadder(max_length=2).fit_transform(table)
    found = there["values"][0, :, place]
    assert_allclose(found, expected * [not is_first, True])


def test_columns_are_checked():
    padder = HistoryPadder().fit(X)
    assert list(padder.feature_names_in_) == ["age", "history"]
    with pytest.raises(ValueError, match=r"saw in fit: \['age'\]"):
        padder.transform(X.rename(columns={"age": "years"}))
    with pytest.raises(ValueError, match="no history column"):
        HistoryPadder().fit(X[["age"]])


def test_events_are_not_touched():
    before = LOG.to_frame()
    HistoryPadder(max_length=2).fit_transform(X)
    assert LOG.to_frame().equals(before)
    assert len(make_events())
