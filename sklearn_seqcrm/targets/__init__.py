"""Targets: what happens in a window after the cutoff of each row."""

from sklearn_seqcrm.targets._counts_and_sums import churned, future_count, future_sum
from sklearn_seqcrm.targets._horizons import stack_horizons
from sklearn_seqcrm.targets._next_event import next_value, time_to_next

__all__ = [
    "churned",
    "future_count",
    "future_sum",
    "next_value",
    "stack_horizons",
    "time_to_next",
]
