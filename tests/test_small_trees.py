"""The default boosted trees: a leaf for each 1,500 rows, rare classes and counts."""

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


@pytest.mark.parametrize(
    ("counts", "weights", "l2"),
    [
        # 20 rows of a class of this share have a curvature of 20 * p * (1 - p).
        ([600, 2_400], None, 0),  # 3.2
        ([300, 2_700], None, 0.2),  # 1.8
        ([3, 2_997], None, 1.98002),
        ([3_000 - 3, 3], None, 1.98002),
        ([300, 2_400, 300], None, 0.2),
        ([600, 2_400], [1, 36], 29 * (2 - 20 * 600 * 86_400 / 87_000**2)),
        ([300, 2_700], [0.002, 0.002], 0.002 * 0.2),  # in units of the weights
    ],
)
def test_rare_classes_are_regularised(counts, weights, l2):
    y = RNG.permutation(np.repeat(np.arange(len(counts)), counts))
    trees = default_trees("classification")
    like = HistGradientBoostingClassifier(**LIKE_SCIKIT_LEARN, max_leaf_nodes=5)
    weight = None if weights is None else np.array(weights)[y]
    X = TABLE[:3_000]
    predicted = trees.fit(X, y, weight).predict_proba(X)
    expected = like.set_params(l2_regularization=l2).fit(X, y, weight)
    np.testing.assert_allclose(predicted, expected.predict_proba(X), rtol=1e-9)
    assert trees.l2_regularization == "auto"


@pytest.mark.parametrize(
    ("y", "weight", "l2"),
    [
        ([0] * 30, None, 0),
        ([0] * 9 + [1] * 21, [1] * 9 + [0] * 21, 0),  # one class has weight
        ([0] + [1] * 9 + [2] * 20, [0] + [1] * 29, 0),
        ([0] * 29 + [1], 0.5, 0.5 * (2 - 20 * 29 / 900)),
        ([0] * 29 + [1], np.ones(30, dtype=object), 2 - 20 * 29 / 900),
        ([0] * 29 + [1], [1] * 29 + [np.nan], 0),
        ([0] * 29 + [1], np.zeros(30), 0),
    ],
)
def test_regularisation_by_weights_of_any_kind(y, weight, l2):
    trees, X = default_trees("classification"), TABLE[:30]
    assert trees._automatic_l2(X, np.array(y), weight) == pytest.approx(l2)
    trees.set_params(min_samples_leaf=10)
    assert trees._automatic_l2(X, np.array(y), weight) >= l2


@pytest.mark.parametrize(
    ("y", "weight", "match"),
    [
        (np.ones((30, 2)), None, "1d array|shape"),
        ([0, 1] * 20, None, "inconsistent numbers of samples"),
        ([0, 1] * 15, np.ones(7), "sample_weight"),
        (np.linspace(0, 1, 30), None, "continuous"),
    ],
)
def test_targets_that_scikit_learn_refuses(y, weight, match):
    with pytest.raises(ValueError, match=match):
        default_trees("classification").fit(TABLE[:30], y, weight)


def poisson_trees():
    return default_trees("regression").set_params(loss="poisson")


@pytest.mark.parametrize(
    ("y", "weight", "first", "unit"),
    [
        ([0, 8] * 15, None, 3 * 16 / 4, 1),
        ([0, 8] * 15, [2, 6] * 15, 3 * 4 * 12 / 6, 4),  # in units of the weights
        ([0, 8] * 15, 0.5, 0.5 * 12, 0.5),
        ([0, 8, 100] * 10, [1, 1, 0] * 10, 12, 1),  # rows without weight do not count
        ([5] * 30, None, 0, 1),
    ],
)
def test_poisson_trees_are_regularised_by_what_they_do_not_tell(y, weight, first, unit):
    X, y = TABLE[:30], np.array(y, dtype="float64")
    weight = weight if np.ndim(weight) == 0 else np.array(weight, dtype="float64")
    trees = poisson_trees().set_params(min_samples_leaf=2)
    predicted = trees.fit(X, y, weight).predict(X)
    like = HistGradientBoostingRegressor(**LIKE_SCIKIT_LEARN, max_leaf_nodes=5)
    like.set_params(loss="poisson", min_samples_leaf=2, l2_regularization=first)
    residuals = y - like.fit(X, y, weight).predict(X)
    of_rows = np.broadcast_to(1 if weight is None else weight, 30)
    remains = np.average(residuals**2, weights=of_rows)
    l2 = 10 * unit * remains / np.average(y, weights=of_rows)
    like.set_params(l2_regularization=l2)
    expected = like.fit(X, y, weight).predict(X)
    np.testing.assert_allclose(predicted, expected, rtol=1e-9)
    assert trees.l2_regularization == "auto"
    if first:
        like.set_params(l2_regularization=0.9 * l2)
        assert np.abs(like.fit(X, y, weight).predict(X) - expected).max() > 1e-4


def test_small_counts_beside_large_ones():
    """Regularised by 3 times the dispersion of the target, they predict 1.12 for 1."""
    rng = np.random.default_rng(0)
    is_large = np.arange(2_000) % 10 == 0
    X = pd.DataFrame({"is_large": is_large, "noise": rng.random(2_000)})
    y = rng.poisson(np.where(is_large, 1_000, 1)).astype(float)
    trees = poisson_trees().set_params(max_iter=200, max_features=1.0)
    predicted = trees.fit(X, y).predict(X)
    assert predicted[~is_large].mean() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e6])
def test_poisson_trees_do_not_depend_on_the_unit(scale):
    y = RNG.poisson(np.exp(TABLE["a"])).astype(float)
    one, other = (poisson_trees().fit(TABLE, y * k).predict(TABLE) for k in (1, scale))
    np.testing.assert_allclose(other, scale * one, rtol=1e-6)


def test_counts_in_a_tiny_unit():
    """Predictions of scikit-learn are not so small, and their squares not finite."""
    y = 1e-300 * RNG.poisson(np.exp(TABLE["a"]))
    assert np.isfinite(poisson_trees().fit(TABLE, y).predict(TABLE)).all()


def test_other_losses_are_not_regularised():
    y = RNG.lognormal(size=3_000)
    for loss in ("squared_error", "gamma"):
        trees = default_trees("regression").set_params(loss=loss)
        like = HistGradientBoostingRegressor(**LIKE_SCIKIT_LEARN, max_leaf_nodes=5)
        expected = like.set_params(loss=loss).fit(TABLE[:3_000], y).predict(TABLE)
        assert_array_equal(trees.fit(TABLE[:3_000], y).predict(TABLE), expected)


def test_few_large_counts_do_not_multiply_predictions():
    """Without regularisation they predict up to 2 where 0.02 is expected."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(3_000, 2)), columns=["a", "b"])
    y = rng.poisson(0.02, 3_000).astype(float)
    y[0] = 100
    trees = poisson_trees().set_params(max_iter=100)
    assert trees.fit(X, y).predict(X[1:]).max() < 0.3


@pytest.mark.parametrize(
    ("y", "weight", "match"),
    [
        (np.ones((30, 2)), None, "1d array|shape"),
        (np.r_[np.nan, np.ones(29)], None, "NaN"),
        (np.r_[-1.0, np.ones(29)], None, "y_true|poisson|Poisson"),
        (["many"] * 30, None, "convert|could not|string"),
        (np.arange(30.0), np.ones(7), "sample_weight"),
    ],
)
def test_counts_that_scikit_learn_refuses(y, weight, match):
    with pytest.raises(ValueError, match=match):
        poisson_trees().fit(TABLE[:30], y, weight)


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
