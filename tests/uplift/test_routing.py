"""Treatments by metadata routing: cross-validation, searches, comparisons, scores."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_validate

from sklearn_seqcrm.metrics import get_scorer, policy_value, qini_auc_score
from sklearn_seqcrm.model_selection import compare_models
from sklearn_seqcrm.uplift import UpliftClassifier, UpliftRegressor


def table(n=300):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2))
    arm = rng.choice(["none", "mail"], n)
    y = np.where(arm == "mail", 3 * X[:, 0], 0) + rng.normal(size=n)
    return X, y, arm


def numbers(learner="dr"):
    return UpliftRegressor(
        LinearRegression(),
        learner=learner,
        propensity="constant",
        control="none",
        random_state=0,
    )


def classes():
    return UpliftClassifier(
        LogisticRegression(),
        effect_estimator=LinearRegression(),
        propensity="constant",
        control="none",
        random_state=0,
    )


@pytest.fixture(autouse=True)
def _routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_cross_validation_and_search():
    X, y, arm = table()
    params = {"treatment": arm}
    found = cross_validate(numbers(), X, y, params=params, error_score="raise")
    assert (found["test_score"] > 0.2).all()
    grid = {"learner": ["s", "r"]}
    search = GridSearchCV(numbers(), grid, error_score="raise").fit(X, y, **params)
    # One linear model of all rows has one effect for all.
    assert search.best_params_ == {"learner": "r"}
    assert search.score(X, y, **params) == search.best_estimator_.score(X, y, **params)


def test_scorers_by_name():
    X, y, arm = table()
    bought = np.where(y > 0, "yes", "no")
    scorer = get_scorer("qini_auc").set_score_request(treatment=True)
    found = cross_validate(
        classes(),
        X,
        bought,
        scoring=scorer,
        params={"treatment": arm},
        error_score="raise",
    )
    assert (found["test_score"] > 0.1).all()


def test_comparison():
    X, y, arm = table()
    found = compare_models(
        {"s": numbers("s"), "dr": numbers()},
        X,
        y,
        cv=3,
        scoring={"qini": get_scorer("qini_auc").set_score_request(treatment=True)},
        params={"treatment": arm},
        n_resamples=50,
    )
    assert found.differences["lower"].iloc[0] > 0


def test_comparison_by_the_value_of_a_policy():
    """The propensity is for the metric: fits that could take it get none."""
    X, y, arm = table()
    propensity = np.where(X[:, 1] > 0, 0.4, 0.6)
    models = {"t": numbers("t"), "dr": numbers()}
    given = {"treatment": arm, "propensity": propensity}
    options = {"cv": KFold(3), "scoring": "policy_value", "n_resamples": 10}
    found = compare_models(models, X, y, params=given, **options)
    for name, model in models.items():
        values = []
        for train, test in KFold(3).split(X):
            fitted = model.fit(X[train], y[train], treatment=arm[train])
            policy = np.where(fitted.predict(X[test]) > 0, "mail", "none")
            rows = {"control": "none", "propensity": propensity[test]}
            values.append(policy_value(y[test], policy, arm[test], **rows).value)
        scores = found.scores.set_index("model").loc[name, "score"]
        assert scores.tolist() == pytest.approx(values)
    forgotten = {"t": numbers("t").set_fit_request(treatment=None)}
    with pytest.raises(UnsetMetadataPassedError, match="treatment"):
        compare_models(forgotten, X, y, params={"treatment": arm}, **options)


@pytest.mark.parametrize("make", [numbers, classes])
def test_score_is_the_qini_coefficient(make):
    X, y, arm = table()
    weight = np.random.default_rng(1).uniform(size=len(y))
    target = y if make is numbers else np.where(y > 0, "yes", "no")
    model = make().fit(X, target, treatment=arm)
    expected = qini_auc_score(
        y if make is numbers else y > 0,
        model.predict(X),
        arm,
        control="none",
        sample_weight=weight,
    )
    found = model.score(X, target, treatment=arm, sample_weight=weight)
    assert found == pytest.approx(expected, rel=1e-12)


def test_errors_of_score():
    X, y, arm = table()
    with pytest.raises(NotFittedError):
        numbers().score(X, y, treatment=arm)
    model = numbers().fit(X, y, treatment=arm)
    with pytest.raises(ValueError, match=r"UpliftRegressor\.score needs treatment="):
        model.score(X, y)
    with pytest.raises(ValueError, match=r"5 rows with the labels \['call'\]"):
        model.score(X[:5], y[:5], treatment=["call"] * 5)


def test_pickles_predict_the_same():
    X, y, arm = table()
    model = numbers().fit(X, y, treatment=arm)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
