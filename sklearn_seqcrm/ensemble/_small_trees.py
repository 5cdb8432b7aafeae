"""The boosted trees that hybrids have by default."""

from __future__ import annotations

from typing import Any

from sklearn import config_context
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

# Rows of a customer are alike, so that trees overfit customers: with the defaults of
# scikit-learn, the log loss of 300 customers was that of a constant or more.
SMALL_TREES = {
    "learning_rate": 0.05,
    "max_leaf_nodes": 5,
    "max_features": 0.3,
    # Its validation rows are drawn at random, so that customers are on both sides.
    "early_stopping": False,
}


def or_small_trees(estimator: Any, classify: bool) -> Any:
    """Return an estimator as it is, for None boosted trees that take weights."""
    if estimator is not None:
        return estimator
    kind = HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor
    return weighted(kind(**SMALL_TREES))


def weighted(estimator: Any) -> Any:
    """Let an estimator request `sample_weight` where metadata are routed."""
    with config_context(enable_metadata_routing=True):
        return estimator.set_fit_request(sample_weight=True)
