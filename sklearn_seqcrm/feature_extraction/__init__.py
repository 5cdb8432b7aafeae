"""Features of histories as ordinary columns, for estimators of tables."""

from sklearn_seqcrm.feature_extraction._history_aggregator import HistoryAggregator
from sklearn_seqcrm.feature_extraction._rfm import RFMFeatures

__all__ = [
    "HistoryAggregator",
    "RFMFeatures",
]
