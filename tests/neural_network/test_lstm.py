"""Targets of the LSTM estimators, and fits that fail."""

import copy

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklearn_seqcrm._recurrent.data import _batches
from sklearn_seqcrm._recurrent.objectives import Objective
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table, make_y
from tests.neural_network.small_fits import COUNTS, Spy, X, Y, make_frame
from tests.small_networks import EXACT, SMALL

# Targets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes",
    [[0, 1], [5, -1], [1.0, 2.0], ["yes", "no"], [True, False], [*"abcd"], [2, 0, 1]],
)
def test_labels_of_any_type(classes):
    y = make_y(X, np.array(classes))
    model = LSTMClassifier(**SMALL).fit(X, y)
    assert_array_equal(model.classes_, np.unique(y))
    assert model.classes_.dtype == y.dtype
    shares = model.predict_proba(X)
    assert shares.dtype == "float64"
    assert shares.shape == (len(X), len(classes))
    assert_allclose(shares.sum(axis=1), 1)
    assert_array_equal(model.predict(X), model.classes_[shares.argmax(axis=1)])


@pytest.mark.parametrize(
    "container",
    [
        list,
        pd.Series,
        lambda y: pd.Series(y, dtype="category"),
        lambda y: pd.Series(y, dtype="object"),
        lambda y: pd.array(y, "string"),
    ],
)
def test_containers_of_labels(container):
    y = make_y(X, ["yes", "no"])
    expected = LSTMClassifier(**SMALL).fit(X, y).predict_proba(X)
    model = LSTMClassifier(**SMALL).fit(X, container(y.tolist()))
    assert list(model.classes_) == ["no", "yes"]
    assert_array_equal(model.predict_proba(X), expected)


@pytest.mark.parametrize("dtype", ["int8", "float32", "Int64", "Float64", "boolean"])
def test_numbers_of_any_type(dtype):
    y = pd.Series(Y).astype(dtype)
    expected = LSTMRegressor(**SMALL).fit(X, Y).predict(X)
    assert_array_equal(LSTMRegressor(**SMALL).fit(X, y).predict(X), expected)


def test_it_learns_from_histories():
    table = make_table(n_customers=40, seed=2)
    y = np.array([len(h) > 3 for h in table["history"]])
    model = LSTMClassifier(
        hidden_size=8, learning_rate=0.02, max_epochs=50, random_state=0, n_networks=1
    )
    model = make_history_pipeline(model).fit(table[["history"]], y)
    assert model.score(table[["history"]], y) > 0.95


def test_it_learns_the_order_of_events():
    """Two groups of customers whose events differ only in their order."""
    n = 60
    kinds = np.tile(["p", "q"], (n, 2))
    kinds[n // 2 :] = ["q", "p", "p", "q"]
    events = pd.DataFrame(
        {"who": np.repeat(np.arange(n), 4), "time": np.tile(range(4), n)}
    ).assign(kind=kinds.ravel())
    table = EventLog(events, "who", "time").attach(
        pd.DataFrame({"who": range(n)}), cutoff=9
    )
    y = np.arange(n) >= n // 2
    model = LSTMClassifier(
        hidden_size=8, head_sizes=(), learning_rate=0.05, random_state=0, n_networks=1
    )
    model = make_history_pipeline(model).fit(table, y)
    assert model.score(table, y) == 1


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("squared_error", 4.0), ("absolute_error", 1.0), ("poisson", 4.0)],
)
def test_losses_predict_the_mean_or_the_median(loss, expected):
    y = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 24.0])
    model = LSTMRegressor(
        **{**EXACT, "max_epochs": 150, "learning_rate": 0.02}, loss=loss
    )
    predicted = model.fit(np.zeros((7, 1)), y).predict(np.zeros((2, 1)))
    assert predicted.dtype == "float64"
    assert_allclose(predicted, expected, rtol=0.1)


@pytest.mark.parametrize(
    ("loss", "zero"),
    [("squared_error", -5e6), ("absolute_error", -5e6), ("poisson", 0)],
)
def test_predictions_follow_the_unit_and_the_zero_of_the_target(loss, zero):
    model = LSTMRegressor(**EXACT, loss=loss)
    expected = clone(model).fit(X, COUNTS).predict(X)
    assert loss != "poisson" or (expected > 0).all()
    moved = clone(model).fit(X, 1e6 * COUNTS + zero).predict(X)
    assert_allclose(moved, 1e6 * expected + zero, rtol=1e-4, atol=abs(zero) / 5e4)


class Means(Objective):
    """Objective of the means of two columns."""

    name, n_outputs = "means", 2

    def read(self, y):
        return np.asarray(y, dtype="float32")

    def learn(self, y, weight):
        self.start = np.average(y, axis=0, weights=weight)

    def encode(self, y, weight):
        return y

    def start_bias(self, target, weight):
        return self.start

    def forward(self, outputs, target):
        return ((outputs - target) ** 2).sum(dim=1)

    def predict(self, outputs):
        return outputs


def test_targets_and_outputs_may_be_several(monkeypatch):
    monkeypatch.setattr(_batches, "_STATES_TO_TRAIN", 80)  # parts of batches
    seen, y = [], np.column_stack([COUNTS, 9 - COUNTS])
    model = LSTMRegressor(**SMALL, early_stopping=True, callbacks=[Spy(seen)])
    model._fit(X, y, 1 + X["number"], Means())
    assert_allclose(model.predict(X).mean(axis=0), [2, 7], atol=1)
    rows = seen[0][1]
    each = ((model.net_.outputs(rows) - rows.target) ** 2).sum(axis=1)
    valid_loss = min(model.net_.history[:, "valid_loss"])
    assert_allclose(valid_loss, np.average(each, weights=rows.weight), rtol=1e-5)


def test_a_network_starts_from_the_best_constant_prediction():
    rare = (np.arange(len(X)) < 3).astype(int)
    model = LSTMClassifier(
        **{**SMALL, "learning_rate": 1e-9, "head_sizes": ()}, weight_decay=0
    )
    model.fit(X, rare)
    bias = model.net_.module_.head[-1].bias.detach().numpy()
    assert_allclose(np.exp(bias) / np.exp(bias).sum(), [45 / 48, 3 / 48], rtol=1e-4)


# Fits that fail -----------------------------------------------------------------------


@pytest.mark.parametrize("before", [False, True])
def test_a_failed_fit_leaves_no_inconsistent_state(before):
    model = LSTMClassifier(**SMALL)
    if before:
        model.fit(X, Y)
        # Parameters are validated before anything changes.
        expected = model.predict_proba(X)
        for wrong in ({"pooling": "sum"}, {"device": "banana"}, {"dropout": 3}):
            with pytest.raises(ValueError, match=r"pooling|device|dropout"):
                clone(model).set_params(**wrong).fit(X, Y)
        assert_array_equal(model.predict_proba(X), expected)
    with pytest.raises(ValueError, match="2 classes"):
        model.fit(X.assign(more=1.0), 0 * Y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_a_diverging_fit_raises():
    frame = X.assign(number=X["number"] * 1e16)
    with pytest.raises(ValueError, match=r"Training diverged .* Lower learning_rate"):
        LSTMClassifier(**{**SMALL, "learning_rate": 1e30}).fit(frame, Y)


def test_another_encoder_of_the_same_shape_is_refused():
    model = LSTMClassifier(**SMALL).fit(X, Y)
    other = make_frame(seed=7)
    spec = X["history"].array.log.layout
    assert other["history"].array.log.layout.channels == spec.channels
    with pytest.raises(ValueError, match="Use the encoder that was fitted with it"):
        model.predict(other)
    with pytest.raises(ValueError, match="two different HistoryEncoders"):
        pd.concat([X, other])


def test_warm_start_of_a_pipeline_says_how_to_continue():
    # `fit` of the pipeline fits a new encoder, whose scales the network does not know.
    rows = make_table()
    y = make_y(rows)
    model = make_history_pipeline(LSTMClassifier(**SMALL, warm_start=True)).fit(rows, y)
    way_out = (
        r"in a pipeline, pipeline\[-1\]\.fit\(pipeline\[:-1\]\.transform\(X\), y\)\. "
        "If pipeline.fit has fitted the encoder again, first load or copy the pipeline"
    )
    with pytest.raises(ValueError, match=way_out):
        copy.deepcopy(model).fit(rows[::2], y[::2])
    model[-1].fit(model[:-1].transform(rows[::2]), y[::2])
    assert model[-1].n_iter_ == 4
