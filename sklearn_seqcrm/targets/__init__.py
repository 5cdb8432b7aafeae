"""What happens after the cutoff: the targets of the rows of a history column."""

from sklearn_seqcrm.targets._churned import churned
from sklearn_seqcrm.targets._future_count import future_count
from sklearn_seqcrm.targets._future_sum import future_sum
from sklearn_seqcrm.targets._horizons import stack_horizons
from sklearn_seqcrm.targets._next_value import next_value
from sklearn_seqcrm.targets._time_to_next import time_to_next

__all__ = [
    "churned",
    "future_count",
    "future_sum",
    "next_value",
    "stack_horizons",
    "time_to_next",
]
