"""Calibration of the effects of X-, DR- and R-learners."""

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from sklearn_seqcrm.uplift import UpliftRegressor
from sklearn_seqcrm.uplift._learners import (
    _calibration,
    _shrunken_slope,
    _slope_near_half,
)
from tests.uplift.small_tables import (
    POINTS,
    linear,
    pseudo_outcomes,
    table,
    three_folds,
)


def test_calibration_by_a_loop():
    """Models of two thirds of the customers, and a line on the others."""
    X, y, treated, propensity = table(300)
    model = linear(cv=three_folds(300)).fit(
        X, y, treatment=treated, propensity=propensity
    )
    pseudo = pseudo_outcomes(X, y, treated, propensity)
    weight = propensity * (1 - propensity)

    def mean(values):
        return np.average(values, weights=weight)

    def variance(values):
        return mean((values - mean(values)) ** 2)

    each, own = [], np.zeros(300)
    for train, test in three_folds(300):
        line = LinearRegression().fit(X[train], pseudo[train], weight[train])
        each.append(line)
        own[test] = line.predict(X[test]) - mean(line.predict(X))
    of_each = np.array([one.predict(X) for one in each])
    slope = mean(own * (pseudo - mean(pseudo))) / mean(own**2)
    slope *= np.mean([variance(one) for one in of_each])
    slope /= variance(of_each.mean(axis=0))
    intercept = mean(pseudo) - slope * mean(of_each.mean(axis=0))
    found = np.mean([one.predict(POINTS) for one in each], axis=0)
    np.testing.assert_allclose(
        model.predict(POINTS), intercept + slope * found, rtol=1e-9
    )


@pytest.mark.parametrize("is_weighted", [False, True])
def test_calibration_of_imputed_outcomes_by_a_loop(is_weighted):
    """Nothing that a group is to calibrate was fitted on its customers."""
    X, y, treated, propensity = table(300)
    model = linear("x", cv=three_folds(300), overlap_weights=is_weighted).fit(
        X, y, treatment=treated, propensity=propensity
    )
    weight = propensity * (1 - propensity) if is_weighted else np.ones(300)
    weight /= weight.sum()
    share, at_points = propensity, np.full(len(POINTS), treated.mean())
    each, found, own = [], [], np.zeros(300)
    for train, test in three_folds(300):
        arms = [train[treated[train] == arm] for arm in (0, 1)]
        m = [LinearRegression().fit(X[rows], y[rows]) for rows in arms]
        imputed = m[1].predict(X) - y, y - m[0].predict(X)
        zero, one = (
            LinearRegression().fit(X[rows], values[rows])
            for rows, values in zip(arms, imputed, strict=True)
        )
        each.append(share * zero.predict(X) + (1 - share) * one.predict(X))
        found.append(at_points * zero.predict(POINTS))
        found[-1] += (1 - at_points) * one.predict(POINTS)
        own[test] = each[-1][test] - weight @ each[-1]
    pseudo = pseudo_outcomes(X, y, treated, propensity)
    average, pseudo_mean = np.mean(each, axis=0), weight @ pseudo
    spread = weight @ own**2
    slope = weight @ (own * (pseudo - pseudo_mean)) / spread
    error = np.linalg.norm(weight * own * (pseudo - pseudo_mean - slope * own)) / spread
    factor = np.mean([weight @ (one - weight @ one) ** 2 for one in each])
    factor /= weight @ (average - weight @ average) ** 2
    slope = _slope_near_half(factor * slope, factor * error)
    assert 0.5 < slope < 1
    assert model.learner_.effect[0].slope == pytest.approx(slope)
    expected = pseudo_mean + slope * (np.mean(found, axis=0) - weight @ average)
    np.testing.assert_allclose(model.predict(POINTS), expected, rtol=1e-9)


def test_slopes_of_imputed_effects_are_shrunken_towards_one_half():
    assert _slope_near_half(0.8, 0.0) == 0.8
    assert _slope_near_half(0.8, 0.25) == pytest.approx(0.65)  # as known as the prior
    assert _slope_near_half(-1.0, 1e9) == pytest.approx(0.5)
    assert _slope_near_half(2.0, 0.1) == 1.0
    assert _slope_near_half(-2.0, 0.1) == 0.0
    assert _slope_near_half(np.nan, np.inf) == 0.5


def test_an_arm_in_one_group_is_not_calibrated():
    """Folds 0 and 3 are one group of customers, and have all who were treated."""
    X, y, _, _ = table(120)
    fold = np.arange(120) % 6
    folds = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(6)]
    treated = (fold % 3 == 0).astype(int)
    plain, model = (
        linear("x", cv=folds, propensity="constant", calibrate=value)
        for value in (False, True)
    )
    effects = model.fit(X, y, treatment=treated).predict(X)
    assert len(model.learner_.effect[0].models) == 1
    expected = plain.fit(X, y, treatment=treated).predict(X)
    np.testing.assert_array_equal(effects, expected)


@pytest.mark.parametrize(("learner", "least"), [("x", 0.4), ("dr", 0.5), ("r", 0.5)])
def test_calibration_shrinks_noise(learner, least):
    """Deep trees find effects that are not there; their slope is about 0."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(900, 3)), rng.normal(size=900)
    treated = rng.integers(0, 2, 900)
    trees = HistGradientBoostingRegressor(max_iter=50, random_state=0)
    plain, calibrated = (
        UpliftRegressor(trees, learner=learner, calibrate=value, random_state=0)
        .fit(X, y, treatment=treated)
        .predict(X)
        for value in (False, True)
    )
    assert plain.std() > least
    assert calibrated.std() < 0.2


@pytest.mark.parametrize("learner", ["dr", "r"])
def test_constant_effects_have_slope_zero(learner):
    X, y, treated, _ = table(300)
    model = linear(
        learner, effect_estimator=DummyRegressor(), propensity="constant"
    ).fit(X, y, treatment=treated)
    [found] = model.learner_.effect
    assert len(found.models) == 3
    assert found.slope == 0
    np.testing.assert_allclose(model.predict(X), found.intercept)


def test_slopes_above_one_are_shrunken_by_their_error():
    assert _shrunken_slope(0.7, 9.0) == 0.7
    assert _shrunken_slope(-1.0, 0.0) == 0.0
    assert _shrunken_slope(3.0, 0.0) == 3.0
    assert _shrunken_slope(3.0, 1.0) == 2.5  # 1 + 2 - 1 / 2
    assert _shrunken_slope(3.0, 5.0) == 1.0


def test_the_error_of_a_slope_is_over_customers_by_a_loop():
    """Models that halve the effect, and rows of a customer that err together."""
    rng = np.random.default_rng(0)
    customers = np.repeat(np.arange(40), 5)
    effects = rng.normal(size=200)
    pseudo = effects + rng.normal(size=40)[customers] * np.sign(effects)
    each, weight = np.tile(effects / 2, (3, 1)), rng.uniform(0.5, 1, 200)
    intercept, slope = _calibration(
        each, customers % 3, pseudo, weight, customers, _shrunken_slope
    )
    centre = np.average(effects / 2, weights=weight)
    moved, mean = effects / 2 - centre, np.average(pseudo, weights=weight)
    raw = np.sum(weight * moved * (pseudo - mean)) / np.sum(weight * moved**2)
    squares = 0.0
    for who in range(40):
        own = customers == who
        residual = pseudo[own] - mean - raw * moved[own]
        squares += np.sum(weight[own] * moved[own] * residual) ** 2
    error = np.sqrt(squares) / np.sum(weight * moved**2)
    assert 0 < error < raw - 1
    assert slope == pytest.approx(raw - error**2 / (raw - 1))
    assert intercept == pytest.approx(mean - slope * centre)


def test_models_that_cancel_have_a_bounded_slope():
    """Their mean hardly varies: the ratio of variances is 600 for three models."""
    pseudo = np.random.default_rng(0).normal(size=300)
    each = np.array([pseudo, -pseudo, 0.1 * pseudo])
    assert each.var(axis=1).mean() > 500 * each.mean(axis=0).var()
    own = np.zeros(300, dtype=int)  # the model that is right has not seen them
    _, slope = _calibration(
        each, own, pseudo, np.ones(300), np.arange(300), _shrunken_slope
    )
    assert slope == pytest.approx(3)
