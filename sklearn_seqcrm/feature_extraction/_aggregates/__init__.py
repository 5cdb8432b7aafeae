"""Window aggregates of one history column."""

from sklearn_seqcrm.feature_extraction._aggregates._aggregates import Aggregates
from sklearn_seqcrm.feature_extraction._aggregates._lengths import SeenEvents, label_of
from sklearn_seqcrm.feature_extraction._aggregates._sources import field_as_in_fit

__all__ = ["Aggregates", "SeenEvents", "field_as_in_fit", "label_of"]
