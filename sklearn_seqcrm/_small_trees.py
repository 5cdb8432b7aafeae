"""The default boosted trees of hybrids and of conformal estimators."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn import config_context
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

# Rows of a customer are alike, so that trees overfit customers: with the defaults of
# scikit-learn, the log loss of 300 customers was that of a constant or more.
_FEWEST_LEAVES, _MOST_LEAVES = 5, 15
_ROWS_PER_LEAF = 1_500
_SETTINGS: dict[str, Any] = {
    "learning_rate": 0.05,
    "max_features": 0.3,
    # Its validation rows are drawn at random, so that customers are on both sides.
    "early_stopping": False,
}


def default_trees(task: str) -> Any:
    """Return boosted trees that take weights.

    `task` is ``"classification"``, ``"regression"`` or ``"survival"``. Trees of
    survival models keep 5 leaves: their rows are person-periods, of which each row of X
    has many.
    """
    kind = SmallTreesRegressor if task == "regression" else SmallTreesClassifier
    leaves = _FEWEST_LEAVES if task == "survival" else "auto"
    return weighted(kind(**_SETTINGS, max_leaf_nodes=leaves))


def weighted(estimator: Any) -> Any:
    """Let an estimator request `sample_weight` where metadata are routed."""
    with config_context(enable_metadata_routing=True):
        return estimator.set_fit_request(sample_weight=True)


class _SmallTreesMixin:
    """Accept ``max_leaf_nodes="auto"``: a leaf for each 1,500 rows, 5 to 15.

    The validation rows that `fit` of newer versions accepts are not supported.
    """

    max_leaf_nodes: Any

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the trees, see the class of scikit-learn."""
        changed = self._changed_parameters(X, y)
        given = {name: getattr(self, name) for name in changed}
        try:
            vars(self).update(changed)
            return super().fit(X, y, sample_weight)  # type: ignore[misc]
        finally:
            vars(self).update(given)

    def _changed_parameters(self, X: Any, y: Any) -> dict[str, Any]:
        """Return parameters for these rows in place of those that were given."""
        given = self.max_leaf_nodes
        if given != "auto":
            if isinstance(given, str):  # scikit-learn's error does not know "auto"
                raise ValueError(
                    "The 'max_leaf_nodes' parameter must be 'auto', an int in the "
                    f"range [2, inf) or None. Got {given!r} instead."
                )
            return {}
        leaves = np.size(y) // _ROWS_PER_LEAF
        return {"max_leaf_nodes": int(np.clip(leaves, _FEWEST_LEAVES, _MOST_LEAVES))}


class SmallTreesClassifier(_SmallTreesMixin, HistGradientBoostingClassifier):
    """Boosted trees of scikit-learn whose size depends on the number of rows."""


class SmallTreesRegressor(_SmallTreesMixin, HistGradientBoostingRegressor):
    """Boosted trees of scikit-learn whose size depends on the number of rows.

    Hybrids replace ``loss="auto"`` by the loss of their network; without one, it is the
    squared error. The Poisson loss also accepts a target of zeros, as in networks: all
    predictions are 0 then.
    """

    def _changed_parameters(self, X: Any, y: Any) -> dict[str, Any]:
        changed = super()._changed_parameters(X, y)
        if self.loss == "auto":
            changed["loss"] = "squared_error"
        # scikit-learn refuses it, because the logarithm of the mean is infinite.
        if self.loss == "poisson" and not np.any(y):
            changed["loss"] = "squared_error"
        return changed
