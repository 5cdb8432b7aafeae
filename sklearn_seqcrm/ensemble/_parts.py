"""Pipelines for raw X of the parts of a hybrid, and their defaults."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone, is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.pipeline import Pipeline

from sklearn_seqcrm._meta_estimators import parameter_of, unwrapped
from sklearn_seqcrm._recurrent.objectives import LOSSES, LOSSES_OF_MEANS
from sklearn_seqcrm._small_trees import SmallTreesRegressor, default_trees, weighted
from sklearn_seqcrm.ensemble._discrete_time_survival import DiscreteTimeSurvival
from sklearn_seqcrm.ensemble._losses import loss_of, nearest_median
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor, LSTMSurvival
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline

_HIST_BOOSTING = HistGradientBoostingRegressor, HistGradientBoostingClassifier
# Boosting of scikit-learn raises an error for more categories in a column.
_MOST_CATEGORIES = 255
_UNLIMITED = {"lightgbm", "xgboost", "catboost"}  # packages without such a limit
_OF_HISTORIES = HistoryAggregator, RFMFeatures, HistoryEncoder
_NETWORKS = {
    "classification": LSTMClassifier,
    "regression": LSTMRegressor,
    "survival": LSTMSurvival,
}


def lstm_part(lstm: Any, task: str) -> Any:
    """Return a pipeline for raw X from a pipeline, a network, or None."""
    if reads_raw(lstm):
        return lstm
    if lstm is None:
        lstm = weighted(_NETWORKS[task]())
    return make_history_pipeline(lstm)


def boosting_part(boosting: Any, task: str, lstm: Any) -> Any:
    """Return a pipeline for raw X from a pipeline, an estimator of tables, or None.

    Survival models get the bins of the network, `lstm`, and default regressors its loss
    in `fit`; see `with_loss_of`.
    """
    if reads_raw(boosting):
        return boosting
    if boosting is None:
        boosting = default_trees(task)
        if task == "regression":
            boosting.set_params(loss="auto")
    if task == "survival" and is_classifier(boosting):
        boosting = DiscreteTimeSurvival(boosting, bins=bins_of(lstm))
    features = HistoryAggregator(max_categories=_category_limit(boosting))
    return Pipeline([("features", features), ("estimator", boosting)])


def with_loss_of(lstm: Any, boosting: Any) -> Any:
    """Return a part whose default trees have the loss of the network, if it is "auto".

    In `fit`, and not when the trees are made: a search may change the loss.

    `lstm` is the network, or what wraps one, and `boosting` the part that may have
    default trees.
    """
    losses = {
        f"{name}__{key}": value
        for name, one in boosting.get_params().items()
        if isinstance(one, SmallTreesRegressor) and one.loss == "auto"
        for key, value in _loss_as(lstm).items()
    }
    return clone(boosting).set_params(**losses) if losses else boosting


def _loss_as(lstm: Any) -> dict[str, Any]:
    """Return parameters of trees that predict the same quantity as a network."""
    name = loss_of(lstm)
    loss = LOSSES[name].boosting_loss if name in LOSSES else "squared_error"
    # With a transformed target, the loss is that of other numbers than y, of which only
    # quantiles are those of y, transformed.
    transforms = any(
        isinstance(one, TransformedTargetRegressor) for one in unwrapped(lstm)
    )
    if transforms and name in LOSSES_OF_MEANS:
        loss = "squared_error"
    params: dict[str, Any] = {"loss": loss}
    if loss == "quantile":
        params["quantile"] = nearest_median(parameter_of(lstm, "quantile"))
    return params


def bins_of(lstm: Any) -> Any:
    """Return the parameter `bins` of a network, the default if it is None or has none.

    `lstm` is a network of survival times, or what wraps one, or None.
    """
    bins = parameter_of(lstm, "bins")
    return LSTMSurvival().bins if bins is None else bins


def _category_limit(boosting: Any) -> int | None:
    """Return the largest number of categories of a column, None if unlimited.

    Searches, calibrations and ensembles have the limit of the estimators in them.
    """
    nested = [boosting, *boosting.get_params(deep=True).values()]
    # Also base classes, whose packages a subclass of a user does not have in its name.
    classes = [base for one in nested for base in type(one).__mro__]
    packages = {one.__module__.partition(".")[0] for one in classes}
    if packages & _UNLIMITED and not set(classes) & set(_HIST_BOOSTING):
        return None
    return _MOST_CATEGORIES


def reads_raw(part: Any) -> bool:
    """Return whether a part reads raw X.

    Pipelines do, and searches and calibrations around one. Survival models, rates,
    transformed targets, votes and stacks do if a pipeline in them takes histories.
    """
    # Otherwise that pipeline may be one of tables.
    inner = [one for one in unwrapped(part) if hasattr(one, "get_params")]
    nested = (value for one in inner for value in one.get_params().values())
    if any(isinstance(value, _OF_HISTORIES) for value in nested):
        return True
    # GridSearchCV, CalibratedClassifierCV and others wrap an `estimator`.
    while not isinstance(part, Pipeline) and hasattr(part, "estimator"):
        part = part.estimator
    return isinstance(part, Pipeline)
