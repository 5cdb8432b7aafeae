"""Parts of meta-estimators that fit other targets are refused."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm._meta_estimators import refuse_other_task
from sklearn_seqcrm.calibration import ConformalClassifier, ConformalRegressor
from sklearn_seqcrm.ensemble import (
    DiscreteTimeSurvival,
    HybridClassifier,
    HybridRegressor,
    RateRegressor,
)
from sklearn_seqcrm.uplift import UpliftClassifier, UpliftRegressor

X = pd.DataFrame({"x": np.arange(40.0)})
COUNTS, ARMS = np.arange(40) % 3, np.arange(40) % 2
TIMES = pd.DataFrame({"event": ARMS > 0, "time": np.arange(40.0)})
LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression())
LINEAR, FOREST = LinearRegression(), RandomForestRegressor(2)
HARD = VotingClassifier([("one", LogisticRegression())])
SURVIVAL = make_pipeline(StandardScaler(), DiscreteTimeSurvival(LogisticRegression()))
SEARCH = GridSearchCV(SURVIVAL, {})
# Without a final estimator, they have no predict before fit.
STACK = StackingClassifier([("one", LogisticRegression())], cv=2)
MEANS = StackingRegressor([("one", LINEAR)], cv=2)
NESTED = StackingClassifier([("one", LogisticRegression())], final_estimator=STACK)


@pytest.mark.parametrize(
    ("model", "y", "message"),
    [
        (
            UpliftRegressor(LOGISTIC, learner="t"),
            COUNTS,
            r"UpliftRegressor\(estimator=...\) needs a regressor; got the classifier "
            "LogisticRegression, whose labels would be taken for numbers",
        ),
        (ConformalRegressor(LOGISTIC), COUNTS, "got the classifier LogisticRegr"),
        (ConformalRegressor(SURVIVAL), COUNTS, "got the survival model DiscreteTime"),
        (UpliftRegressor(SEARCH, learner="t"), COUNTS, "the survival model GridSearch"),
        (RateRegressor(LOGISTIC), COUNTS, r"RateRegressor\(regressor=...\) needs a r"),
        (HybridRegressor(LOGISTIC, LINEAR), COUNTS, r"HybridRegressor\(lstm=...\) ne"),
        (HybridRegressor(LINEAR, LOGISTIC), COUNTS, r"Regressor\(boosting=...\) needs"),
        (
            UpliftClassifier(FOREST, learner="t"),
            ARMS,
            r"UpliftClassifier\(estimator=...\) needs a classifier with predict_proba; "
            "got RandomForestRegressor",
        ),
        (UpliftClassifier(HARD, learner="t"), ARMS, "got VotingClassifier"),
        (
            HybridClassifier(LOGISTIC, FOREST),
            ARMS,
            r"Classifier\(boosting=...\) needs ",
        ),
        (DiscreteTimeSurvival(FOREST), TIMES, r"Survival\(classifier=...\) needs a cl"),
        (ConformalRegressor(StandardScaler()), COUNTS, "Scaler, which has no pred"),
        (UpliftRegressor(LINEAR, effect_estimator=LOGISTIC), COUNTS, r"r\(effect_est"),
        (UpliftRegressor(LINEAR, propensity_estimator=LINEAR), COUNTS, r"r\(propensi"),
        (ConformalClassifier(MEANS), ARMS, "needs a classifier with predict_proba"),
        (HybridClassifier(STACK, MEANS), ARMS, r"\(boosting=...\) .* StackingRegress"),
    ],
)
def test_parts_of_another_task_are_refused(model, y, message):
    """Labels were taken for amounts, or a bare AttributeError came after training."""
    options = {"treatment": ARMS} if hasattr(model, "learner") else {}
    with pytest.raises(TypeError, match=message):
        model.fit(X, y, **options)


@pytest.mark.parametrize(
    ("model", "y"),
    [
        (ConformalClassifier(STACK, confidence_level=0.5), ARMS),
        (
            ConformalRegressor(GridSearchCV(MEANS, {}, cv=2), confidence_level=0.5),
            COUNTS,
        ),
        (UpliftClassifier(STACK, learner="t"), ARMS),
        (UpliftClassifier(NESTED, learner="t"), ARMS),
        (
            UpliftRegressor(MEANS, effect_estimator=MEANS, propensity_estimator=STACK),
            COUNTS,
        ),
        (HybridClassifier(STACK, STACK, lstm_weight=0.5), ARMS),
        (DiscreteTimeSurvival(make_pipeline(StandardScaler(), STACK)), TIMES),
    ],
)
def test_parts_may_be_stacks_with_the_default_final_estimator(model, y):
    """Errors said that they had no predict, or no predict_proba."""
    treatment = np.random.default_rng(0).integers(2, size=len(X))
    options = {"treatment": treatment} if hasattr(model, "learner") else {}
    assert len(model.fit(X, y, **options).predict(X)) == len(X)


def test_only_estimators_that_a_learner_uses_are_checked():
    parts = {"effect_estimator": LOGISTIC, "propensity_estimator": LINEAR}
    model = UpliftRegressor(LINEAR, learner="t", **parts)
    effects = model.fit(X, ARMS * 3, treatment=ARMS).predict(X)
    np.testing.assert_allclose(effects, 3, rtol=1e-9)


def test_estimators_without_tags_are_not_refused():
    class Plain:
        def fit(self, X, y):
            return self

        def predict(self, X):
            return np.zeros(len(X))

        def get_params(self, deep=True):
            return {}

    refuse_other_task(Plain(), "regression", "Owner", "part")
