"""Window aggregates of one history column."""

from sklearn_seqcrm.feature_extraction._aggregates._aggregates import Aggregates
from sklearn_seqcrm.feature_extraction._aggregates._lengths import label_of

__all__ = ["Aggregates", "label_of"]
from sklearn_seqcrm.feature_extraction._aggregates._lengths import SeenEvents
