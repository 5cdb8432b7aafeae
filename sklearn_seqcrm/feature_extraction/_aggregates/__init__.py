"""Window aggregates of one history column."""

from sklearn_seqcrm.feature_extraction._aggregates._aggregates import (
    Aggregates,
    Settings,
)

__all__ = [
    "Aggregates",
    "Settings",
]
