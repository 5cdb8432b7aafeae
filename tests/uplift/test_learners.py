"""Meta-learners on tables: formulas, simulated truths, and figures of econml."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor

from sklearn_seqcrm.uplift import UpliftClassifier
from tests.uplift.small_tables import (
    LEARNERS,
    PLAIN,
    POINTS,
    effect,
    linear,
    pseudo_outcomes,
    table,
    three_folds,
)


def test_econml_has_the_same_effects():
    """Those of DRLearner, NonParamDML (the R-learner), XLearner and TLearner.

    Of econml 0.17, with linear models, the known propensity and these folds. The data
    of a seed and least squares agree to about 12 digits everywhere. XLearner of econml
    is not cross-fitted: two thirds of the rows instead of all move its effects by .01.
    """
    X, y, treated, propensity = table()
    figures = {
        "dr": [1.12942909878, 2.28658317027, 0.11712028769, -2.05234259490],
        "r": [1.13001702106, 2.09269743042, 0.14510773595, -1.80248195852],
        "x": [1.12854898663, 2.18591627111, 0.14534118248, -1.89523390615],
        "t": [1.12854898663, 2.18591627111, 0.14534118248, -1.89523390615],
    }
    for learner, expected in figures.items():
        model = linear(learner, cv=three_folds(), **PLAIN)
        model.fit(X, y, treatment=treated, propensity=propensity)
        tolerance = 0.01 if learner == "x" else 1e-8
        np.testing.assert_allclose(model.predict(POINTS), expected, atol=tolerance)


@pytest.mark.parametrize("are_in_all_folds", [True, False])
def test_imputed_outcomes_of_two_treatments_by_a_loop(are_in_all_folds):
    """Control rows have other imputed outcomes for each treatment."""
    rng = np.random.default_rng(0)
    X, arm = rng.normal(size=(300, 2)), rng.integers(0, 3, 300)
    y = X[:, 0] + (arm == 1) * X[:, 1] + (arm == 2) * (3 - 2 * X[:, 0])
    y += rng.normal(size=300)
    folds = three_folds(300)
    if not are_in_all_folds:  # a third of the rows has no imputed outcome
        folds = [(train[train % 3 < 2], test) for train, test in folds[:2]]
    model = linear("x", cv=folds, propensity="constant", calibrate=False)
    found = model.set_params(control=0).fit(X, y, treatment=arm).predict(X)
    m = np.full((300, 3), np.nan)
    for train, test in folds:
        for k in range(3):
            own = train[arm[train] == k]
            m[test, k] = LinearRegression().fit(X[own], y[own]).predict(X[test])
    is_known, shares = ~np.isnan(m[:, 0]), np.bincount(arm)
    for k in (1, 2):
        control, treated = (is_known & (arm == one) for one in (0, k))
        zero = LinearRegression().fit(X[control], (m[:, k] - y)[control]).predict(X)
        one = LinearRegression().fit(X[treated], (y - m[:, 0])[treated]).predict(X)
        expected = (shares[k] * zero + shares[0] * one) / (shares[0] + shares[k])
        np.testing.assert_allclose(found[:, k - 1], expected, rtol=1e-9)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_doubly_robust_pseudo_outcomes_by_a_loop(is_weighted):
    X, y, treated, _ = table(60)
    propensity = np.random.default_rng(1).uniform(0.2, 0.8, 60)
    model = linear(
        cv=three_folds(60), calibrate=False, overlap_weights=is_weighted
    ).fit(X, y, treatment=treated, propensity=propensity)
    pseudo = pseudo_outcomes(X, y, treated, propensity)
    weight = propensity * (1 - propensity) if is_weighted else np.ones(60)
    expected = LinearRegression().fit(X, pseudo, weight).predict(POINTS)
    np.testing.assert_allclose(model.predict(POINTS), expected, rtol=1e-9)


def test_overlap_weights_of_an_experiment_change_nothing():
    X, y, treated, _ = table(90)
    half = np.full(90, 0.5)
    one, two = (
        linear(overlap_weights=value, random_state=0)
        .fit(X, y, treatment=treated, propensity=half)
        .predict(X)
        for value in (False, True)
    )
    np.testing.assert_array_equal(one, two)


def test_overlap_weights_need_an_estimator_that_takes_weights():
    X, y, treated, propensity = table(90)
    one, two = (
        linear(
            effect_estimator=KNeighborsRegressor(),
            overlap_weights=value,
            random_state=0,
        )
        .fit(X, y, treatment=treated, propensity=propensity)
        .predict(X)
        for value in (False, True)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("learner", LEARNERS[1:])
@pytest.mark.parametrize("propensity", ["learned", "constant"])
def test_true_effects_are_found(learner, propensity):
    """Standard errors of a coefficient are about 2 / sqrt(4000) = .03."""
    if propensity == "constant" and learner == "r":
        pytest.skip("With another propensity its effects are weighted averages.")
    X, y, treated, _ = table(4000)
    model = linear(learner, propensity=propensity, random_state=0)
    found = model.fit(X, y, treatment=treated).predict(POINTS)
    np.testing.assert_allclose(found, effect(POINTS), atol=0.25)


def test_one_linear_model_of_all_rows_has_one_effect():
    X, y, treated, _ = table(4000, confounded=False)
    found = linear("s").fit(X, y, treatment=treated).predict(POINTS)
    np.testing.assert_allclose(found, 1.0, atol=0.15)


@pytest.mark.parametrize("learner", LEARNERS)
def test_effects_are_differences_of_outcomes(learner):
    X, y, treated, _ = table(300)
    model = linear(learner, random_state=0).fit(X, y, treatment=treated)
    outcomes = model.predict_outcomes(X)
    assert outcomes.shape == (300, 2)
    np.testing.assert_allclose(np.diff(outcomes)[:, 0], model.predict(X), atol=1e-9)
    # Both arms are predicted near their means, not only their difference.
    for arm in (0, 1):
        own = treated == arm
        assert outcomes[own, arm].mean() == pytest.approx(y[own].mean(), abs=0.3)


@pytest.mark.parametrize("learner", LEARNERS)
def test_several_treatments(learner):
    """Each treatment has its own effect, in the order of treatments_."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 2))
    arm = rng.choice(["none", "mail", "call"], 3000, p=[0.5, 0.3, 0.2])
    y = X[:, 0] + np.select([arm == "mail", arm == "call"], [2.0, -1.0])
    y = y + rng.normal(size=3000)
    model = linear(learner, control="none", random_state=0)
    found = model.fit(X, y, treatment=arm).predict(POINTS)
    assert model.treatments_.tolist() == ["none", "call", "mail"]
    assert found.shape == (4, 2)
    np.testing.assert_allclose(found, np.tile([-1.0, 2.0], (4, 1)), atol=0.35)
    outcomes = model.predict_outcomes(POINTS)
    np.testing.assert_allclose(outcomes[:, 1:] - outcomes[:, :1], found, atol=1e-9)


@pytest.mark.parametrize("learner", LEARNERS)
def test_classes_have_differences_of_probabilities(learner):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 2))
    mailed = rng.random(4000) < 0.5
    chance = np.where(mailed & (X[:, 0] > 0), 0.7, 0.3)
    bought = np.where(rng.random(4000) < chance, "yes", "no")
    model = UpliftClassifier(
        LogisticRegression(),
        learner=learner,
        effect_estimator=LinearRegression(),
        random_state=0,
    ).fit(X, bought, treatment=mailed)
    assert model.classes_.tolist() == ["no", "yes"]
    found = model.predict(X)
    assert found.mean() == pytest.approx(0.2, abs=0.05)
    outcomes = model.predict_outcomes(X)
    assert ((outcomes >= 0) & (outcomes <= 1)).all()


@pytest.mark.parametrize("learner", ["x", "dr", "r"])
def test_effects_on_probabilities_are_at_most_one(learner):
    rng = np.random.default_rng(0)
    X, treatment = rng.normal(size=(400, 1)), rng.integers(0, 2, 400)
    bought = rng.random(400) < 0.4 + 0.2 * treatment * X[:, 0].clip(-1, 1)
    model = UpliftClassifier(
        LogisticRegression(),
        learner=learner,
        effect_estimator=LinearRegression(),
        calibrate=False,
        n_bootstraps=2,
        random_state=0,
    ).fit(X, bought, treatment=treatment)
    far = np.array([[-1000.0], [1000.0]])
    assert model.predict(far).tolist() == [-1, 1]
    assert np.abs(model.predict_interval(far)).max() == 1


def test_each_model_of_an_effect_on_a_probability_is_limited():
    """A model that predicts 5 counts as 1 in the weighted mean, not as 5."""

    class Wild(LinearRegression):
        def fit(self, X, y):
            self.level_ = 5.0 if len(X) > 75 else 0.0  # of control: 5
            return self

        def predict(self, X):
            return np.full(len(X), self.level_)

    X, bought = np.arange(150.0)[:, None], np.arange(150) % 2
    model = UpliftClassifier(
        LogisticRegression(),
        learner="x",
        effect_estimator=Wild(),
        propensity="constant",
        calibrate=False,
        random_state=0,
    ).fit(X, bought, treatment=(np.arange(150) % 3 == 0).astype(int))
    np.testing.assert_allclose(model.predict(X), 1 / 3)
