"""The default boosted trees: a leaf for each 1,500 rows, 5 to 15."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

from sklearn_seqcrm.ensemble import make_hybrid

N_ROWS = 30_000
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(RNG.normal(size=(N_ROWS, 4)), columns=list("abcd"))
NUMBER = TABLE["a"] * TABLE["b"] + RNG.normal(size=N_ROWS)
LIKE_SCIKIT_LEARN = {
    "learning_rate": 0.05,
    "max_features": 0.3,
    "early_stopping": False,
    "max_iter": 5,
    "random_state": 0,
}


def default_trees(task):
    trees = make_hybrid(task=task).boosting[-1]
    return trees.set_params(max_iter=5, random_state=0)


@pytest.mark.parametrize(
    ("n_rows", "leaves"), [(1, 5), (7_500, 5), (12_000, 8), (22_500, 15), (30_000, 15)]
)
def test_leaves_by_rows(n_rows, leaves):
    X, y = TABLE[:n_rows], NUMBER[:n_rows]
    trees = default_trees("regression")
    like = HistGradientBoostingRegressor(**LIKE_SCIKIT_LEARN, max_leaf_nodes=leaves)
    predicted = trees.fit(X, y).predict(TABLE)
    assert_array_equal(predicted, like.fit(X, y).predict(TABLE))
    if n_rows > 1:
        other = clone(like).set_params(max_leaf_nodes=leaves + 1)
        assert (predicted != other.fit(X, y).predict(TABLE)).any()


def test_classes_weights_and_pickles():
    y, weight = np.where(NUMBER > 0, "yes", "no"), RNG.uniform(size=N_ROWS)
    trees = pickle.loads(pickle.dumps(default_trees("classification")))
    like = HistGradientBoostingClassifier(**LIKE_SCIKIT_LEARN, max_leaf_nodes=15)
    trees.fit(TABLE, y, sample_weight=weight)
    expected = like.fit(TABLE, y, sample_weight=weight).predict_proba(TABLE)
    assert_array_equal(trees.predict_proba(TABLE), expected)


def test_parameters_stay_and_can_be_set():
    trees = default_trees("regression")
    trees.fit(TABLE, NUMBER)
    assert trees.max_leaf_nodes == "auto"
    with pytest.raises(ValueError, match="'max_features'"):
        clone(trees).set_params(max_features=2.0).fit(TABLE, NUMBER)
    with pytest.raises(
        ValueError, match="'max_leaf_nodes' parameter must be 'auto', an"
    ):
        clone(trees).set_params(max_leaf_nodes="many").fit(TABLE, NUMBER)
    given = clone(trees).set_params(max_leaf_nodes=3).fit(TABLE, NUMBER)
    like = HistGradientBoostingRegressor(**LIKE_SCIKIT_LEARN, max_leaf_nodes=3)
    assert_array_equal(given.predict(TABLE), like.fit(TABLE, NUMBER).predict(TABLE))


def test_parameters_stay_after_an_error():
    trees = default_trees("regression")
    with pytest.raises(ValueError, match="NaN"):
        trees.fit(TABLE, NUMBER.where(NUMBER > 0))
    assert trees.max_leaf_nodes == "auto"
