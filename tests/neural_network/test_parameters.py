"""Parameters of more types than one."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_table, make_y

X = HistoryEncoder().fit_transform(make_table())[["history"]]
Y = make_y(X)
SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 2, "random_state": 0}


@pytest.mark.parametrize(
    "head_sizes",
    [[4], np.array([4]), np.array([4], "int8"), range(4, 5), (np.int64(4),)],
)
def test_head_sizes_of_any_type(head_sizes):
    expected = LSTMClassifier(**SMALL).fit(X, Y).predict_proba(X)
    model = LSTMClassifier(**{**SMALL, "head_sizes": head_sizes})
    assert_array_equal(clone(model).fit(X, Y).predict_proba(X), expected)
    assert "head_sizes" in repr(model)
    search = GridSearchCV(model, {"head_sizes": [np.array([]), head_sizes]}, cv=2)
    search.set_params(estimator__head_sizes=(2,), error_score="raise").fit(X, Y)


@pytest.mark.parametrize(
    "head_sizes", ["64", 4, [4.0], [0], np.array([[4]]), np.array([4.5]), [True, None]]
)
def test_head_sizes_that_are_none(head_sizes):
    with pytest.raises(ValueError, match="head_sizes"):
        LSTMClassifier(**{**SMALL, "head_sizes": head_sizes}).fit(X, Y)


def test_level_dropout_changes_training_alone():
    assert X["history"].array.log.layout.n_levels
    expected = LSTMClassifier(**SMALL).fit(X, Y).predict_proba(X)
    model = LSTMClassifier(**SMALL, level_dropout=0.5).fit(X, Y)
    proba = model.predict_proba(X)
    assert np.abs(proba - expected).max() > 1e-5
    assert_array_equal(model.predict_proba(X), proba)


def test_a_device_of_torch():
    expected = LSTMClassifier(**SMALL).fit(X, Y).predict_proba(X)
    model = LSTMClassifier(**SMALL, device=torch.device("cpu"), warm_start=True)
    model = clone(model).fit(X, Y)
    assert_array_equal(model.predict_proba(X), expected)
    assert model.set_params(device="cpu").fit(X, Y).n_iter_ == 4
    model.set_params(device=torch.device("meta"))
    with pytest.raises(ValueError, match="its device, 'cpu'; got device='meta'"):
        model.fit(X, Y)
