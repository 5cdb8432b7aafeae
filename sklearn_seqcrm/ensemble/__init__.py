"""Ensembles of a network and boosted trees that read the same X."""

from sklearn_seqcrm.ensemble._discrete_time_survival import DiscreteTimeSurvival
from sklearn_seqcrm.ensemble._hybrid_classifier import HybridClassifier
from sklearn_seqcrm.ensemble._hybrid_regressor import HybridRegressor
from sklearn_seqcrm.ensemble._hybrid_survival import HybridSurvival
from sklearn_seqcrm.ensemble._make_hybrid import make_hybrid
from sklearn_seqcrm.ensemble._rate_regressor import RateRegressor

__all__ = [
    "DiscreteTimeSurvival",
    "HybridClassifier",
    "HybridRegressor",
    "HybridSurvival",
    "RateRegressor",
    "make_hybrid",
]
