"""The parts of a hybrid: what they are by default, and what comes before them."""

from __future__ import annotations

from typing import Any

from sklearn import config_context
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.pipeline import Pipeline

from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline


def history_columns() -> Any:
    """What turns histories into columns of numbers for the boosting."""
    return HistoryAggregator()


def lstm_part(lstm: Any, classify: bool) -> Any:
    """A pipeline that reads raw X, from one, from a network, or from None."""
    if _reads_raw(lstm):
        return lstm
    if lstm is None:
        lstm = _weighted(LSTMClassifier() if classify else LSTMRegressor())
    return make_history_pipeline(lstm)


def boosting_part(boosting: Any, classify: bool) -> Any:
    """A pipeline that reads raw X, from one, from what reads tables, or from None."""
    if _reads_raw(boosting):
        return boosting
    if boosting is None:
        kinds = HistGradientBoostingRegressor, HistGradientBoostingClassifier
        boosting = _weighted(kinds[classify]())
    return Pipeline([("features", history_columns()), ("estimator", boosting)])


def _reads_raw(part: Any) -> bool:
    """Whether it is a pipeline, or a search, a calibration or the like around one."""
    while not isinstance(part, Pipeline) and hasattr(part, "estimator"):
        part = part.estimator
    return isinstance(part, Pipeline)


def _weighted(estimator: Any) -> Any:
    """The estimator, which wants weights also where metadata are routed."""
    with config_context(enable_metadata_routing=True):
        return estimator.set_fit_request(sample_weight=True)
