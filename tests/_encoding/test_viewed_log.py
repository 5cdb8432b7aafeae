"""Events of a log on a disk, which are encoded when they are read."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal

from sklearn_seqcrm._encoding import _viewed_log, learned_encoding
from sklearn_seqcrm._encoding._on_demand import OnDemandNumbers
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog, HistoryArray
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from sklearn_seqcrm.testing._small_data import make_table


def on_disk(X, path):
    """The same rows over the same log on a disk."""
    array = X["history"].array
    array.log.to_disk(path)
    rows = array.rows._replace(log=EventLog.open(path))
    return X.assign(history=HistoryArray.of(rows, array.dtype))


@pytest.fixture(scope="module", params=[None, "60D"])
def lookback(request):
    return request.param


@pytest.fixture(scope="module")
def tables(lookback, tmp_path_factory):
    X = make_table(30, lookback=lookback)
    return X, on_disk(X, tmp_path_factory.mktemp("disk") / "log")


def arrays(tables, **options):
    """Encoded histories of both tables, and their encoders."""
    encoders = HistoryEncoder(**options), HistoryEncoder(**options)
    pairs = zip(encoders, tables, strict=True)
    encoded = [encoder.fit_transform(X)["history"].array for encoder, X in pairs]
    return encoders, encoded


@pytest.mark.parametrize("portion", [1, 2**15])
def test_events_and_row_features_equal_those_in_memory(portion, tables, monkeypatch):
    """Also if every portion is one customer."""
    monkeypatch.setattr(_viewed_log, "_PORTION", portion)
    encoders, (expected, viewed) = arrays(tables)
    assert encoders[0].layouts_ == encoders[1].layouts_
    assert viewed.log.is_on_disk
    assert not expected.log.is_on_disk
    assert_frame_equal(viewed.to_frame(), expected.to_frame())
    features, sums = viewed.log.row_features_and_sums(viewed.rows)
    wanted = expected.log.row_features_and_sums(expected.rows)
    assert_array_equal(features, wanted[0])
    assert_array_equal(sums, wanted[1])
    assert_array_equal(viewed.log.row_features(viewed.rows), features)


def test_rows_that_start_together_do_so_in_both(tables):
    """Rows without events too, so that batches are of the same rows."""
    _, (expected, viewed) = arrays(tables)
    _, places = np.unique(viewed.rows.start, return_inverse=True)
    _, wanted = np.unique(expected.rows.start, return_inverse=True)
    assert_array_equal(places, wanted)


def test_nothing_is_encoded_before_it_is_indexed(tables, monkeypatch):
    encoder = HistoryEncoder().fit(tables[1])
    log = encoder.transform(tables[1])["history"].array.log
    read = []
    encode = log._encoder.__class__.encode_facts
    monkeypatch.setattr(
        log._encoder.__class__,
        "encode_facts",
        lambda self, columns, times, out: (
            read.append(len(times)),
            encode(self, columns, times, out),
        ),
    )
    assert log.channels[np.array([[3, 4], [0, 1]])].shape[:2] == (2, 2)
    assert read == [4]
    assert log.channels[2:5].shape[0] == 3
    assert read == [4, 3]


def test_two_columns_joined_are_encoded_in_memory(tables):
    _, (expected, viewed) = arrays(tables)
    for one, other in ((viewed, expected), (expected, viewed)):
        both = HistoryArray._concat_same_type([one, other])
        assert not both.log.is_on_disk
        twice = pd.concat([expected.to_frame()] * 2, ignore_index=True)
        assert_frame_equal(both.to_frame().reset_index(drop=True), twice)


def test_unpickled_rows_are_encoded_when_indexed(tables):
    _, (_, viewed) = arrays(tables)
    text = pickle.dumps(viewed)
    back = pickle.loads(text)
    assert back.log.is_on_disk
    assert_frame_equal(back.to_frame(), viewed.to_frame())


def test_a_log_on_another_clock_is_encoded_in_memory(tables, lookback, tmp_path):
    X, _ = tables
    frame = X["history"].array.log.to_frame()
    other = "ms" if frame["when"].dt.unit == "ns" else "ns"  # as pandas made the times
    frame["when"] = frame["when"].dt.as_unit(other)
    on_other_clock = EventLog(frame, "who", "when")
    on_other_clock.to_disk(tmp_path / "log")
    rows = X[["who", "at"]]
    there = [
        HistoryEncoder()
        .fit(X.drop(columns="at"))
        .transform(
            log.attach(rows, "who", "at", lookback=lookback).assign(
                **X.drop(columns=["who", "at", "history"])
            )
        )["history"]
        .array
        for log in (on_other_clock, EventLog.open(tmp_path / "log"))
    ]
    assert not there[1].log.is_on_disk
    assert_frame_equal(*(array.to_frame() for array in there))


@pytest.mark.parametrize(
    "estimator",
    [
        LSTMClassifier(max_epochs=2, random_state=0, hidden_size=4, n_networks=1),
        LSTMRegressor(
            max_epochs=2, random_state=0, hidden_size=4, loss="poisson", n_networks=1
        ),
    ],
)
def test_networks_are_the_same(estimator, tables):
    y = np.arange(len(tables[0])) % 2
    models = [make_history_pipeline(estimator).fit(X, y) for X in tables]
    expected, found = (m.predict(X) for m, X in zip(models, tables, strict=True))
    assert_array_equal(found, expected)
    # A model predicts for both logs, whichever it was fitted on.
    assert_array_equal(models[1].predict(tables[0]), expected)
    some = tables[1].iloc[5:6]
    assert_array_equal(models[0].predict(some), models[0].predict(tables[0].iloc[5:6]))


def test_padded_tensors_are_the_same(tables):
    padded = [
        HistoryPadder().fit_transform(HistoryEncoder().fit_transform(X)[["history"]])
        for X in tables
    ]
    assert padded[0].keys() == padded[1].keys()
    for name, tensor in padded[0].items():
        assert_array_equal(padded[1][name], tensor)


def test_event_models_are_the_same(tmp_path):
    X = make_table(20)[["history"]]
    both = X, on_disk(X, tmp_path / "log")
    models = [
        LSTMEventModel(max_epochs=1, random_state=0, hidden_size=4).fit(one)
        for one in both
    ]
    scores = [model.score_samples(one) for model, one in zip(models, both, strict=True)]
    assert_array_equal(*scores)


def test_a_stream_warms_up_from_a_disk(tables):
    if learned_encoding(HistoryEncoder().fit(tables[0])).cut_off:
        pytest.skip("StreamingScorer refuses histories that a lookback cuts off")
    y = np.arange(len(tables[0])) % 2
    model = make_history_pipeline(
        LSTMClassifier(max_epochs=1, random_state=0, hidden_size=4, n_networks=1)
    ).fit(tables[1], y)
    logs = [X["history"].array.log for X in tables]
    scorers = [StreamingScorer(model, "who", "when") for _ in logs]
    for scorer, log in zip(scorers, logs, strict=True):
        scorer.update(log)
    rows = tables[0].drop(columns="history").assign(at=pd.Timestamp("2025-01-01"))
    expected, found = (s.predict_proba(rows, cutoff="at") for s in scorers)
    assert_array_equal(found, expected)


def test_columns_in_memory_and_on_disk_concatenate(tables, monkeypatch):
    """In either order, and not event by event."""
    encoder = HistoryEncoder().fit(tables[0])
    parts = [encoder.transform(X)[["history"]] for X in tables]
    reads = []
    encoded = OnDemandNumbers.__getitem__
    monkeypatch.setattr(
        OnDemandNumbers,
        "__getitem__",
        lambda self, index: reads.append(1) or encoded(self, index),
    )
    for both in (parts, parts[::-1]):
        found = pd.concat(both, ignore_index=True)["history"].array.to_frame()
        expected = pd.concat([parts[0]] * 2, ignore_index=True)["history"].array
        assert_frame_equal(found, expected.to_frame())
    assert len(reads) < 20
