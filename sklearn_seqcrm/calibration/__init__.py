"""Prediction sets and intervals with guaranteed coverage, around any estimator."""

from sklearn_seqcrm.calibration._conformal_classifier import ConformalClassifier
from sklearn_seqcrm.calibration._conformal_regressor import ConformalRegressor

__all__ = [
    "ConformalClassifier",
    "ConformalRegressor",
]
