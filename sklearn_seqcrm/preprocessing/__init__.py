"""Histories and statics to numbers."""

from sklearn_seqcrm.preprocessing._history_encoder import HistoryEncoder
from sklearn_seqcrm.preprocessing._history_pipeline import make_history_pipeline
from sklearn_seqcrm.preprocessing._predict_partition import predict_partition

__all__ = ["HistoryEncoder", "make_history_pipeline", "predict_partition"]
