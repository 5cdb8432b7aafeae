"""What happens after the cutoff: the targets of the rows of a history column."""

from sklearn_seqcrm.targets._churned import churned
from sklearn_seqcrm.targets._future_count import future_count

__all__ = ["churned", "future_count"]
