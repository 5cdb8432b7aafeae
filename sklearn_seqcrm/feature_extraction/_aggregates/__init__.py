"""Window aggregates of one history column."""

from sklearn_seqcrm.feature_extraction._aggregates._aggregates import Aggregates
from sklearn_seqcrm.feature_extraction._aggregates._lengths import SeenEvents, label_of

__all__ = ["Aggregates", "SeenEvents", "label_of"]
