"""The default boosted trees of hybrids and of conformal estimators."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

# Rows of a customer are alike, so that trees overfit customers: with the defaults of
# scikit-learn, the log loss of 300 customers was that of a constant or more.
_FEWEST_LEAVES, _MOST_LEAVES = 5, 15
_ROWS_PER_LEAF = 1_500
# A leaf adds up p * (1 - p) over its rows, the second derivatives of the log loss, and
# its value is divided by this sum.
_LEAST_CURVATURE = 2.0
# With the Poisson loss, the value of a leaf is the sum of differences from predicted
# means, divided by the sum of these means. To the divisor, a multiple of the dispersion
# is added: otherwise few large counts in a leaf of small means multiply its predictions
# by thousands. Differences between customers that can be predicted are no reason for
# it, so that of the target regularises trees that tell how much remains without them.
_OF_TARGET, _OF_RESIDUALS = 3.0, 10.0
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
    if task == "survival":
        trees = SmallTreesClassifier(**_SETTINGS, max_leaf_nodes=_FEWEST_LEAVES)
        return weighted(trees)
    small = SmallTreesRegressor if task == "regression" else SmallTreesClassifier
    return weighted(small(**_SETTINGS, max_leaf_nodes="auto", l2_regularization="auto"))


def weighted(estimator: Any) -> Any:
    """Let an estimator request `sample_weight` where metadata are routed."""
    with config_context(enable_metadata_routing=True):
        return estimator.set_fit_request(sample_weight=True)


class _SmallTreesMixin:
    """Accept ``max_leaf_nodes="auto"``: a leaf for each 1,500 rows, 5 to 15.

    ``l2_regularization="auto"`` is 0, except for rare classes and the Poisson loss. The
    validation rows that `fit` of newer versions accepts are not supported.
    """

    max_leaf_nodes: Any
    l2_regularization: Any

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the trees, see the class of scikit-learn."""
        changed = self._changed_parameters(X, y, sample_weight)
        given = {name: getattr(self, name) for name in changed}
        try:
            vars(self).update(changed)
            return super().fit(X, y, sample_weight)  # type: ignore[misc]
        finally:
            vars(self).update(given)

    def _changed_parameters(self, X: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
        """Return parameters for these rows in place of those that were given."""
        changed: dict[str, Any] = {}
        if _is_auto(self.l2_regularization):
            changed["l2_regularization"] = self._automatic_l2(X, y, sample_weight)
        given = self.max_leaf_nodes
        if _is_auto(given):
            leaves = np.size(y) // _ROWS_PER_LEAF
            leaves = int(np.clip(leaves, _FEWEST_LEAVES, _MOST_LEAVES))
            changed["max_leaf_nodes"] = leaves
        elif isinstance(given, str):  # scikit-learn's error does not know "auto"
            raise ValueError(
                "The 'max_leaf_nodes' parameter must be 'auto', an int in the "
                f"range [2, inf) or None. Got {given!r} instead."
            )
        return changed

    def _automatic_l2(self, X: Any, y: Any, sample_weight: Any) -> float:
        return 0.0


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


class SmallTreesClassifier(_SmallTreesMixin, HistGradientBoostingClassifier):
    """Boosted trees of scikit-learn whose size depends on the number of rows.

    ``l2_regularization="auto"`` is 0 if classes are frequent. If one is rare, a leaf of
    `min_samples_leaf` rows has hardly any curvature, so that its value would be huge:
    then it is what the curvature lacks to 2.
    """

    def _automatic_l2(self, X: Any, y: Any, sample_weight: Any) -> float:
        return _lacking_curvature(y, sample_weight, self.min_samples_leaf)


def _lacking_curvature(y: Any, sample_weight: Any, n_rows: int) -> float:
    """Return what the curvature of some rows of the rarest class lacks to 2.

    In units of the mean weight. 0 with one class, or for what `fit` is to refuse.
    """
    codes = pd.factorize(np.ravel(y))[0]
    weight = _weights(sample_weight, len(codes))
    if weight is None:
        return 0.0
    is_known = codes >= 0
    totals = np.bincount(codes[is_known], weight[is_known])
    totals = totals[totals > 0]
    if len(totals) < 2 or not np.isfinite(totals).all():
        return 0.0
    p = totals.min() / totals.sum()
    lacking = max(0.0, _LEAST_CURVATURE - n_rows * p * (1 - p))
    return float(lacking * weight.mean())


def _dispersion(y: Any, sample_weight: Any, mean: Any = None) -> float:
    """Return the mean squared distance of the target from `mean`, divided by its mean.

    `mean`, of shape (n,), are predictions; None: the mean of the target. It is 1 for
    Poisson counts, in units of the mean weight. 0 for what `fit` is to refuse.
    """
    weight = _weights(sample_weight, np.size(y))
    try:
        y = np.asarray(y, "float64").ravel()
    except (TypeError, ValueError):
        return 0.0
    if weight is None or not np.isfinite(y).all():
        return 0.0
    used = weight > 0
    y, weight = y[used], weight[used]
    total = weight @ y
    if not 0 < total < np.inf:
        return 0.0
    of_all = total / weight.sum()
    own = 1.0 if mean is None else mean[used] / of_all
    # Divided first, so that squares of large numbers are finite.
    return float(of_all * (weight @ (y / of_all - own) ** 2) / len(y))


def _weights(sample_weight: Any, n: int) -> np.ndarray | None:
    """Return weights of n rows, float64; None for what `fit` is to refuse."""
    try:
        weight = np.asarray(1 if sample_weight is None else sample_weight, "float64")
        return np.broadcast_to(weight, n)
    except (TypeError, ValueError):
        return None


class SmallTreesRegressor(_SmallTreesMixin, HistGradientBoostingRegressor):
    """Boosted trees of scikit-learn whose size depends on the number of rows.

    Hybrids replace ``loss="auto"`` by the loss of their network; without one, it is the
    squared error. The Poisson loss also accepts a target of zeros, as in networks: all
    predictions are 0 then.

    ``l2_regularization="auto"`` is 0, or with the Poisson loss 10 times the dispersion:
    the mean squared residual of the training rows, divided by the mean of the target.
    Residuals are those of the same trees, regularised by 3 times the variance of the
    target divided by its mean. So they are fitted twice.
    """

    def _changed_parameters(self, X: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
        changed = super()._changed_parameters(X, y, sample_weight)
        if self.loss == "auto":
            changed["loss"] = "squared_error"
        # scikit-learn refuses it, because the logarithm of the mean is infinite.
        if self.loss == "poisson" and not np.count_nonzero(y):
            changed["loss"] = "squared_error"
        return changed

    def _automatic_l2(self, X: Any, y: Any, sample_weight: Any) -> float:
        is_poisson = self.loss == "poisson"
        of_target = _dispersion(y, sample_weight) if is_poisson else 0.0
        if not of_target:
            return 0.0
        first = clone(self)
        first.set_params(l2_regularization=_OF_TARGET * of_target, verbose=0)
        mean = first.fit(X, y, sample_weight).predict(X)
        # Targets that are next to 0 are predicted too high, by any factor.
        with np.errstate(over="ignore"):
            of_residuals = _dispersion(y, sample_weight, mean)
        return _OF_RESIDUALS * min(of_residuals, of_target)
