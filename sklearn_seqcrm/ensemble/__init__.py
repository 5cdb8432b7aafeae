"""Ensembles of a network and boosted trees that read the same X."""

from sklearn_seqcrm.ensemble._hybrid_classifier import HybridClassifier
from sklearn_seqcrm.ensemble._hybrid_regressor import HybridRegressor
from sklearn_seqcrm.ensemble._make_hybrid import make_hybrid

__all__ = [
    "HybridClassifier",
    "HybridRegressor",
    "make_hybrid",
]
