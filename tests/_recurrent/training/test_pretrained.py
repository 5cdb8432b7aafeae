"""Networks with pretrained weights of an event model."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import (
    HistoryPadder,
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.targets import time_to_next
from sklearn_seqcrm.testing._small_data import make_table, make_y

SIZES = {"hidden_size": 6, "random_state": 0}
SMALL = {**SIZES, "max_epochs": 2}
# Weights stay where they start.
STILL = {**SIZES, "max_epochs": 1, "learning_rate": 1e-12, "weight_decay": 0.0}


@pytest.fixture(scope="module", name="X")
def rows():
    return make_table(30)


@pytest.fixture(scope="module")
def event_model(X):
    return LSTMEventModel(**SMALL).fit(X)


def weights_of(reader):
    """All weights of the embeddings and recurrent layers."""
    tensors = [*reader.embeddings.parameters(), *reader.layers.parameters()]
    return np.concatenate([one.detach().numpy().ravel() for one in tensors])


@pytest.mark.parametrize("network", [LSTMClassifier, LSTMRegressor, LSTMSurvival])
def test_pretrained_weights_are_copied_and_trained(X, event_model, network):
    y = (
        time_to_next(X, censored="keep")
        if network is LSTMSurvival
        else make_y(X, [0, 1])
    )
    learned = weights_of(event_model.net_.module_.reader)
    still = make_history_pipeline(network(pretrained=event_model, **STILL)).fit(X, y)
    assert_allclose(weights_of(still[-1].net_.module_.readers[0]), learned, atol=1e-7)
    trained = make_history_pipeline(network(pretrained=event_model, **SMALL)).fit(X, y)
    assert not np.allclose(weights_of(trained[-1].net_.module_.readers[0]), learned)
    # The event model has not moved.
    assert_array_equal(weights_of(event_model.net_.module_.reader), learned)


def test_pooled_outputs_equal_the_states_of_the_event_model(X, event_model):
    """The pooled last output of a row is the result of `transform`."""
    network = LSTMClassifier(
        pretrained=event_model, pooling="last", **STILL, n_networks=1
    )
    model = make_history_pipeline(network).fit(X, make_y(X, [0, 1]))
    encoded = model[:-1].transform(X)
    net = model[-1].net_
    pooled = [
        net.module_.readers[0](part.histories[0]).detach().numpy()
        for batch, _ in net.get_iterator(model[-1]._read_to_predict(encoded).data)
        for part in batch
    ]
    order = net.rows_of_batches(model[-1]._read_to_predict(encoded).data)
    states = event_model.transform(X).to_numpy()[order]
    assert_allclose(np.concatenate(pooled), states, atol=1e-5)


def test_partial_fit_and_every_network_copy_the_weights(X, event_model):
    y = make_y(X, [0, 1])
    learned = weights_of(event_model.net_.module_.reader)
    encoded = HistoryEncoder(pretrained=event_model).fit_transform(X)[["history"]]
    model = LSTMClassifier(pretrained=event_model, n_networks=2, **STILL)
    model.partial_fit(encoded, y, classes=[0, 1])
    first, second = (net.module_ for net in model.nets_)
    for module in (first, second):
        assert_allclose(weights_of(module.readers[0]), learned, atol=1e-7)
    assert not np.allclose(
        first.head[0].weight.detach().numpy(), second.head[0].weight.detach().numpy()
    )
    # Continued training does not copy the weights again.
    trained = LSTMClassifier(pretrained=event_model, **SIZES, n_networks=1).partial_fit(
        encoded, y, [0, 1]
    )
    before = weights_of(trained.net_.module_.readers[0])
    trained.set_params(learning_rate=1e-12).partial_fit(encoded, y)
    assert_allclose(weights_of(trained.net_.module_.readers[0]), before, atol=1e-6)


def test_padded_tensors_use_pretrained_weights(X, event_model):
    encoded = HistoryEncoder(pretrained=event_model).fit_transform(X)[["history"]]
    padded = HistoryPadder().fit_transform(encoded)
    model = LSTMClassifier(pretrained=event_model, **STILL, n_networks=1).fit(
        padded, make_y(X, [0, 1])
    )
    assert_allclose(
        weights_of(model.net_.module_.readers[0]),
        weights_of(event_model.net_.module_.reader),
        atol=1e-7,
    )


def test_clones_and_searches_keep_the_pretrained_model_fitted(X, event_model):
    y = make_y(X, [0, 1])
    model = make_history_pipeline(
        LSTMClassifier(pretrained=event_model, **SMALL, n_networks=1)
    )
    cloned = clone(model)
    assert cloned[-1].pretrained is event_model
    assert cloned[0].pretrained is event_model
    assert not hasattr(cloned[-1], "nets_")
    found = GridSearchCV(model, {"estimator__dropout": [0.0, 0.2]}, cv=2).fit(X, y)
    assert found.best_estimator_[-1].pretrained is event_model
    grid = {"estimator__pretrained": [None, FrozenEstimator(event_model)]}
    for start in (model, make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1))):
        found = GridSearchCV(start, grid, cv=2).fit(X, y)
        assert np.isfinite(found.cv_results_["mean_test_score"]).all()
    assert model.set_params(estimator__pretrained=None)[0].pretrained is None
    model.set_params(encoder__pretrained=event_model, estimator__dropout=0.1)
    assert model[0].pretrained is event_model


def test_pickles_hold_the_pretrained_model_once(X, event_model):
    y = make_y(X, [0, 1])
    model = make_history_pipeline(
        LSTMClassifier(pretrained=event_model, **SMALL, n_networks=1)
    ).fit(X, y)
    without = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1)).fit(X, y)
    whole, alone, other = (
        len(pickle.dumps(one)) for one in (model, event_model, without)
    )
    assert whole < other + 1.2 * alone
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded[0].pretrained is loaded[-1].pretrained
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_other_history_columns_are_trained_from_scratch(X, event_model):
    """Of two history columns, only that of the event model is pretrained."""
    events = pd.DataFrame(
        {"who": [0, 0, 1, 2], "at": [1.0, 2, 5, 9], "n": [1.0, 2, 3, 4]}
    )
    who = pd.DataFrame({"who": np.arange(len(X)) % 4}, X.index)
    visits = EventLog(events, "who", "at").attach(who, cutoff=10, name="visits")
    both = X[["history"]].assign(visits=visits["visits"])
    network = LSTMClassifier(pretrained=event_model, **STILL, n_networks=1)
    model = make_history_pipeline(network).fit(both, make_y(X, [0, 1]))
    known, new = model[-1].net_.module_.readers
    learned = weights_of(event_model.net_.module_.reader)
    assert_allclose(weights_of(known), learned, atol=1e-7)
    assert weights_of(new).shape != learned.shape


# Refused pretrained models ------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_size": 7}, "has hidden_size=7 where it has 6. Give"),
        ({"cell": "gru"}, "has cell='gru' where it has 'lstm'. Give"),
        ({"num_layers": 2}, "has num_layers=2 where it has 1. Give"),
        ({"bidirectional": True}, "bidirectional=True where it reads forward alone"),
    ],
)
def test_other_sizes_are_refused(X, event_model, parameters, message):
    model = LSTMClassifier(
        **{"pretrained": event_model, **SMALL, **parameters}, n_networks=1
    )
    with pytest.raises(ValueError, match=message):
        make_history_pipeline(model).fit(X, make_y(X, [0, 1]))


def test_other_encodings_are_refused(X, event_model):
    y = make_y(X, [0, 1])
    model = LSTMClassifier(pretrained=event_model, **SMALL, n_networks=1)
    # Ten rows have other levels and scales.
    encoded = HistoryEncoder().fit_transform(X[:10])[["history"]]
    with pytest.raises(ValueError, match=r"HistoryEncoder\(pretrained=event_model\)"):
        model.fit(encoded, y[:10])
    with pytest.raises(ValueError, match=r"No history column of X \(of 0\) is encod"):
        model.fit(np.arange(20.0).reshape(10, 2), y[:10])


def test_unfitted_models_are_refused(X):
    pretrained = LSTMEventModel(hidden_size=6)
    with pytest.raises(
        NotFittedError, match=r"needs pretrained to be a fitted LSTMEventModel"
    ):
        make_history_pipeline(
            LSTMClassifier(pretrained=pretrained, **SMALL, n_networks=1)
        ).fit(X, make_y(X, [0, 1]))
    with pytest.raises(
        NotFittedError, match="pretrained=LSTMEventModel must have been fit"
    ):
        HistoryEncoder(pretrained=pretrained).fit(X)


def test_other_models_are_refused(X, event_model):
    y = make_y(X, [0, 1])
    encoder = HistoryEncoder().fit(X)
    with pytest.raises(TypeError, match="a fitted LSTMEventModel or None; got History"):
        make_history_pipeline(
            LSTMClassifier(pretrained=encoder, **SMALL, n_networks=1)
        ).fit(X, y)
    with pytest.raises(TypeError, match="or HistoryEncoder; got Pipeline"):
        HistoryEncoder(pretrained=make_pipeline(encoder)).fit(X)
    renamed = X.rename(columns={"history": "orders"})
    with pytest.raises(ValueError, match=r"in \['history'\], and X has them in \['ord"):
        HistoryEncoder(pretrained=event_model).fit(renamed)
