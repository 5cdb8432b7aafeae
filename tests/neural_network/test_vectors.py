"""Networks read vectors of events, in batches, tensors and streams alike."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from sklearn_seqcrm.serving._streaming._arrivals import Arrivals
from sklearn_seqcrm.testing._small_data import (
    make_events,
    make_rows,
    make_table,
    make_y,
)

EVENTS = make_events(n_components=3).sort_values(
    "when", kind="stable", ignore_index=True
)
PEOPLE = make_rows().drop_duplicates("who").drop(columns="at").reset_index(drop=True)
AFTER = EVENTS["when"].max() + pd.Timedelta("9D")
LATER = AFTER + pd.Timedelta("1D")
PERSON = {"age": 30.0, "city": "Rome", "joined": None, "member": True}
EXACT = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def model():
    X = make_table(n_components=3)
    network = LSTMClassifier(
        hidden_size=4, head_sizes=(4,), max_epochs=1, random_state=0, n_networks=1
    )
    return make_history_pipeline(network).fit(X, make_y(X))


def test_a_network_learns_from_vectors_only():
    """Whether the mean third component is large: the only informative one."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1200, 4))
    events = pd.DataFrame({"who": np.repeat(np.arange(300), 4), "day": 0.0})
    events["vector"] = list(vectors)
    X = EventLog(events, "who", "day").attach(pd.DataFrame({"who": range(300)}))
    y = vectors[:, 2].reshape(300, 4).sum(axis=1) > 0
    network = LSTMClassifier(
        hidden_size=8, max_epochs=10, learning_rate=0.02, random_state=0, n_networks=1
    )
    model = make_history_pipeline(network).fit(X.iloc[:200], y[:200])
    assert model.score(X.iloc[200:], y[200:]) > 0.85


def test_padded_tensors_predict_the_same(model):
    X = make_table(n_components=3)
    encoded = model[:-1].transform(X)
    tensors = HistoryPadder().fit_transform(encoded)
    channels = model[0].layouts_["history"].channels
    assert tensors["values"].shape[2] == len(channels) + 1
    assert_allclose(model[-1].predict_proba(tensors), model.predict_proba(X), **EXACT)


def as_event(row):
    """A row as a mapping, with None for what is missing."""
    vector = row.pop("vector")
    plain = {name: None if pd.isna(value) else value for name, value in row.items()}
    return {**plain, "vector": None if vector is None else vector.tolist()}


def expected_of(model, events):
    log = EventLog(events, "who", "when", observed_until=AFTER)
    return model.predict_proba(log.attach(PEOPLE, cutoff=AFTER))


def test_streams_equal_batches(model, monkeypatch):
    scorer = StreamingScorer(model, "who", "when")
    scorer.update(EVENTS.iloc[:40])
    assert_allclose(
        scorer.predict_proba(PEOPLE, AFTER), expected_of(model, EVENTS[:40]), **EXACT
    )
    # A column of missing values has no type to compare.
    scorer.update(EVENTS.iloc[40:43].assign(vector=None))
    monkeypatch.setattr(Arrivals, "of", None)  # no table is made of single events
    for row in EVENTS.iloc[43:].to_dict("records"):
        scorer.score_one(row["who"], as_event(row), PERSON, AFTER)
    monkeypatch.undo()
    events = EVENTS.copy()
    events.loc[40:42, "vector"] = None
    assert_allclose(
        scorer.predict_proba(PEOPLE, AFTER), expected_of(model, events), **EXACT
    )


def test_streams_refuse_other_vectors(model):
    scorer = StreamingScorer(model, "who", "when")
    scorer.update(EVENTS)
    event = {"when": AFTER, "amount": 1.0, "kind": "visit", "due": None}
    for vector, error, text in (
        ([1.0, 2.0], ValueError, "'vector' has a vector of length 2"),
        (
            [1.0, np.nan, 2.0],
            ValueError,
            "Column 'vector' of events holds numbers .* in 1 of its 1 vectors",
        ),
        (1.0, TypeError, "'vector'"),
    ):
        with pytest.raises(error, match=text):
            scorer.score_one("c1", {**event, "vector": vector}, PERSON, LATER)
    scorer.score_one("c1", {**event, "vector": np.ones(3)}, PERSON, LATER)


def test_event_models_refuse_vectors():
    X = make_table(n_components=3)
    text = r"vectors in \['vector'\].*fields=\['amount', 'kind', 'due'\]"
    with pytest.raises(ValueError, match=text):
        LSTMEventModel(max_epochs=1).fit(X)


def test_a_constant_vector_is_encoded_as_0():
    events = make_events()
    events["vector"] = [[1.0, 2.0]] * len(events)
    X = EventLog(events, "who", "when").attach(make_rows(), cutoff="at")
    frame = HistoryEncoder().fit_transform(X)["history"].array.to_frame()
    assert (frame[["vector_0", "vector_1"]] == 0).all(axis=None)
