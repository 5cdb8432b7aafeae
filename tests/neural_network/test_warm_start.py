"""Fits that continue: on the same data, on other data, with other options."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback

from sklearn_seqcrm._recurrent.network import _reader
from sklearn_seqcrm._recurrent.training import _parameters
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.testing._small_data import make_y
from tests.neural_network.small_fits import COUNTS, Spy, X, Y
from tests.small_networks import EXACT, SMALL


def test_errors_of_other_columns_of_labels_name_their_numbers():
    several = np.column_stack([Y[0] == Y, Y[0] != Y]).astype(int)
    weights = {Y[0]: 1.0, 0: 1.0, 1: 2.0}
    model = LSTMClassifier(**SMALL, class_weight=weights, warm_start=True)
    model.fit(X, several)
    with pytest.raises(ValueError, match="y has 1 column, and had 2 columns"):
        model.fit(X, Y)
    model = LSTMClassifier(**SMALL, warm_start=True).fit(X, Y)
    for other in (several, csr_matrix(several)):
        with pytest.raises(ValueError, match="y has 2 columns, and had 1 column"):
            model.fit(X, other)
    model = LSTMClassifier(**SMALL, warm_start=True).fit(X, several)
    for words in (np.where(Y[0] == Y, "yes", "no"), make_y(X, ["a", "b"])):
        with pytest.raises(ValueError, match="y has 1 column, and had 2 columns"):
            model.fit(X, words)


def test_warm_start_continues_training():
    model = LSTMClassifier(**EXACT, warm_start=True).fit(X, Y)
    net, first = model.net_, model.predict_proba(X)
    model.set_params(learning_rate=0.02, batch_size=5, max_epochs=3).fit(X, Y)
    assert model.net_ is net
    assert model.n_iter_ == 5
    assert np.abs(model.predict_proba(X) - first).max() > 1e-3
    assert net.optimizer_.param_groups[0]["lr"] == 0.02
    assert net.batch_size == 5
    cold = LSTMClassifier(**EXACT).fit(X, Y).fit(X, Y)
    assert cold.n_iter_ == 2
    assert_array_equal(cold.predict_proba(X), first)


def test_two_warm_starts_equal_one_fit():
    whole = LSTMRegressor(**{**EXACT, "max_epochs": 6}).fit(X, COUNTS)
    halves = LSTMRegressor(**{**EXACT, "max_epochs": 3}, warm_start=True)
    halves.fit(X, COUNTS).fit(X, COUNTS)
    assert_allclose(halves.predict(X), whole.predict(X), rtol=1e-5, atol=1e-5)


def test_validation_losses_have_no_shift_of_the_fit_before():
    model = LSTMClassifier(**SMALL, early_stopping=True, warm_start=True).fit(X, Y)
    other = copy.deepcopy(model)
    other.net_.module_.set_shift(np.array([0.5, -0.5]))
    for one in (model, other):
        one.fit(X, Y)
    assert model.net_.history[:, "valid_loss"] == other.net_.history[:, "valid_loss"]
    assert_array_equal(model.predict_proba(X), other.predict_proba(X))


def test_warm_start_on_other_data():
    model = LSTMClassifier(**SMALL, warm_start=True).fit(X, make_y(X, ["a", "b"]))
    with pytest.raises(ValueError, match=r"needs the classes of the last fit, \['a'"):
        model.fit(X, make_y(X, ["a", "c"]))
    with pytest.raises(ValueError, match=r"saw in fit: \['number'\]"):
        model.fit(X[["history"]], make_y(X, ["a", "b"]))


def test_warm_start_sets_the_same_customers_aside():
    """Other customers would have been training customers of the first fit."""
    seen = []
    model = LSTMClassifier(**SMALL, warm_start=True, early_stopping=True)
    model.set_params(callbacks=[Spy(seen)]).fit(X, Y).fit(X, Y).fit(X, Y)
    first, *others = (set(pair[1].static[:, -1]) for pair in seen[:: 1 + 2])
    assert others == [first, first]


def test_continued_training_refuses_other_losses_and_devices():
    model = LSTMRegressor(**SMALL, warm_start=True).fit(X, COUNTS)
    expected = model.predict(X)
    model.set_params(loss="poisson")
    assert_array_equal(model.predict(X), expected)
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="with loss='squared_error'; got 'poisson"):
            fit(X, COUNTS)
    model.set_params(loss="squared_error", device="meta")
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="its device, 'cpu'; got device='meta'"):
            fit(X, COUNTS)
    assert_array_equal(model.predict(X), expected)


@pytest.mark.parametrize(
    ("cell", "option"),
    # A GRU in bfloat16 is slow on processors without bfloat16.
    [("lstm", {"bptt_steps": 2}), ("gru", {"precision": "bfloat16"})],
)
def test_gradient_options_may_change_in_a_warm_start(cell, option, monkeypatch):
    monkeypatch.setattr(_parameters, "trains_in_bfloat16", lambda _: True)
    monkeypatch.setattr(_reader, "trains_in_bfloat16", lambda _: True)
    plain = LSTMClassifier(**EXACT, cell=cell).fit(X, Y)
    other = LSTMClassifier(**EXACT, cell=cell, **option).fit(X, Y)
    assert not np.array_equal(plain.predict_proba(X), other.predict_proba(X))
    assert_allclose(plain.predict_proba(X), other.predict_proba(X), atol=0.05)
    # A warm start applies the new option.
    [reader] = (
        plain.set_params(warm_start=True, **option).fit(X, Y).net_.module_.readers
    )
    for name, value in option.items():
        assert getattr(reader, name) == value


class Fail(Callback):
    """Raise an error after the first epoch."""

    def on_epoch_end(self, net, **kwargs):
        raise RuntimeError("after an epoch")


def test_a_refit_that_fails_before_training_leaves_no_networks():
    """Networks of the last fit must not predict classes of another one."""
    model = LSTMClassifier(**SMALL).fit(X, make_y(X, ["a", "b"]))
    with pytest.raises(ValueError, match="at least 2 classes"):
        model.fit(X, np.zeros(len(X)))
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert model.fit(X, Y).predict(X).shape == (len(X),)


def test_a_refit_that_fails_in_training_has_one_objective():
    labels = ["a", "b", "c"]
    model = LSTMClassifier(**SMALL).fit(X, Y).set_params(callbacks=[Fail()])
    with pytest.raises(RuntimeError, match="after an epoch"):
        model.fit(X, make_y(X, labels))
    # The new networks, after one epoch, with the new classes.
    assert model.classes_.tolist() == labels
    assert model.predict_proba(X).shape == (len(X), 3)
    assert len(model.net_.history) == 1
