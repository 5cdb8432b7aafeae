"""Weights and targets at the ends of what floats can hold."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_table, make_y
from tests.small_networks import EXACT, SMALL

X = HistoryEncoder().fit_transform(make_table())[["history"]]
Y = make_y(X)
COUNTS = np.random.default_rng(0).poisson(2, len(X)).astype(float)


def outputs(model, X):
    return getattr(model, "predict_proba", model.predict)(X)


# Sizes of weights ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classifier", "squared_error", "absolute_error"])
@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-46, 1e-44, 1e44, 1e300, 4e307])
def test_weights_of_any_size_are_relative(kind, size):
    """Outside the range of float32, or with a sum outside that of float64."""
    model, y = LSTMClassifier(**EXACT), Y
    if kind != "classifier":
        model, y = LSTMRegressor(**EXACT, loss=kind), COUNTS
    weight = np.random.default_rng(1).integers(0, 5, len(X)).astype(float)
    for early_stopping in (False, True):
        model.set_params(early_stopping=early_stopping)
        expected = outputs(clone(model).fit(X, y, weight), X)
        found = outputs(clone(model).fit(X, y, size * weight), X)
        # Products of subnormal numbers and small integers are exact.
        assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_weights_negligible_beside_others_have_no_effect():
    """Rows with a share below the range of float32 have no effect."""
    used = np.arange(len(X)) % 3 > 0
    for tiny in (1e-300, 1e-60):
        weight = np.where(used, 1.0, tiny)
        y = np.where(used, COUNTS, 1e200)
        model = LSTMRegressor(**SMALL).fit(X, y, weight)
        expected = LSTMRegressor(**SMALL).fit(X[used], COUNTS[used])
        assert_array_equal(model.predict(X), expected.predict(X))


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_class_weights_of_any_size(size):
    weight = 1.0 + np.arange(len(X)) % 3
    expected = LSTMClassifier(**EXACT, class_weight={0: 1.0, 1: 3.0}).fit(X, Y, weight)
    found = LSTMClassifier(**EXACT, class_weight={0: size, 1: 3 * size})
    found.fit(X, Y, size * weight)
    assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=1e-5)


@pytest.mark.parametrize("size", [1e-320, 1e-46, 1e46, 1e307])
def test_weights_of_calls_are_relative_to_the_first(size):
    def goes_on(size):
        model = LSTMClassifier(**EXACT)
        model.partial_fit(X, Y, classes=[0, 1], sample_weight=np.full(len(X), size))
        model.partial_fit(X, Y, sample_weight=np.linspace(0, 2, len(X)) * size)
        return model.predict_proba(X)

    # 1e-320 is 2,024 steps of a subnormal number, so that it has 3 digits.
    assert_allclose(goes_on(size), goes_on(1.0), atol=1e-3 if size < 1e-300 else 1e-5)


def test_weights_too_large_beside_those_of_the_first_call():
    model = LSTMClassifier(**EXACT)
    model.partial_fit(X, Y, classes=[0, 1], sample_weight=np.full(len(X), 1e-30))
    weight = np.where(np.arange(len(X)) < 5, 1e12, 1.0)
    with pytest.raises(ValueError, match=r"5 of 48 weights are more than 1e38 times"):
        model.partial_fit(X, Y, sample_weight=weight)
    model = LSTMClassifier(**EXACT).partial_fit(
        X, Y, classes=[0, 1], sample_weight=np.full(len(X), 1e-320)
    )
    with pytest.raises(ValueError, match=r"48 of 48 weights are more than 1e38 times"):
        model.partial_fit(X, Y)


# Sizes of targets ---------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "poisson"])
@pytest.mark.parametrize("size", [1e-320, 1e-310, 1e-160, 1e160, 1e300, 1e307])
def test_targets_of_any_size(loss, size):
    model = LSTMRegressor(**EXACT, loss=loss)
    weight = 1.0 + np.arange(len(X)) % 3
    expected = clone(model).fit(X, COUNTS, weight).predict(X)
    found = clone(model).fit(X, size * COUNTS, weight).predict(X)
    assert np.isfinite(found).all()
    # 1e-320 has 3 digits, and 1e-310 has 13.
    tolerance = 1e-3 if size < 1e-315 else 1e-5
    assert_allclose(found / size, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "poisson"])
@pytest.mark.parametrize("constant", [5e-324, 1e-310, 0.3, 3.0, 1e6, 1e308])
def test_constant_targets_of_any_size(loss, constant):
    """A fresh network is about a fifth of a scale off, which is 1 at most."""
    y = np.full(len(X), constant)
    if constant != 3.0:
        y[::2] *= 1 + 2.2e-16  # equal but for rounding
    found = LSTMRegressor(**EXACT, loss=loss).fit(X, y).predict(X)
    one = constant if loss == "poisson" else min(constant, 1.0)
    assert_allclose(found, constant, rtol=1e-15, atol=one)


def test_targets_at_both_ends():
    y = np.where(Y, 1.7e308, -1.7e308)
    found = LSTMRegressor(**EXACT).fit(X, y).predict(X)
    expected = LSTMRegressor(**EXACT).fit(X, np.where(Y, 1.7, -1.7)).predict(X)
    most = np.finfo("float64").max / 1e308  # of those beyond, nothing is larger
    assert_allclose(found / 1e308, expected.clip(-most, most), rtol=1e-5, atol=1e-5)


def test_targets_far_from_those_of_the_first_call():
    model = LSTMRegressor(**EXACT).partial_fit(X, 1e-30 * COUNTS)
    y = np.where(np.arange(len(X)) < 5, 1e30, 1e-30)
    with pytest.raises(ValueError, match=r"5 of 48 targets are more than 1e38 times"):
        model.partial_fit(X, y)
    expected = model.predict(X)
    # Rows of weight 0 have no effect.
    model.set_params(learning_rate=1e-12).partial_fit(X, y, (y < 1).astype(float))
    assert_allclose(model.predict(X), expected, rtol=1e-5)
