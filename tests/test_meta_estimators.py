"""Parts of meta-estimators that fit other targets are refused."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm._meta_estimators import refuse_other_task
from sklearn_seqcrm.calibration import ConformalRegressor
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
    ],
)
def test_parts_of_another_task_are_refused(model, y, message):
    """Labels were taken for amounts, or a bare AttributeError came after training."""
    options = {"treatment": ARMS} if hasattr(model, "learner") else {}
    with pytest.raises(TypeError, match=message):
        model.fit(X, y, **options)


def test_estimators_without_tags_are_not_refused():
    class Plain:
        def fit(self, X, y):
            return self

        def predict(self, X):
            return np.zeros(len(X))

        def get_params(self, deep=True):
            return {}

    refuse_other_task(Plain(), "regression", "Owner", "part")
