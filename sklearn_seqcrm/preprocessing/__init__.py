"""Encode histories and statics as inputs of estimators."""

from sklearn_seqcrm.preprocessing._history_encoder import HistoryEncoder
from sklearn_seqcrm.preprocessing._history_pipeline import make_history_pipeline

__all__ = [
    "HistoryEncoder",
    "make_history_pipeline",
]
