"""Read X: which columns hold histories, which are keys, and what the others are."""

from sklearn_seqcrm._reading._find import (
    as_history_array,
    check_raw,
    history_columns,
    holds_histories,
    one_history,
    refuse_missing_histories,
    refuse_repeated_columns,
)
from sklearn_seqcrm._reading._frames import as_frame, has_histories
from sklearn_seqcrm._reading._reading import Reading
from sklearn_seqcrm._reading._statics import (
    as_levels,
    as_numbers,
    coded_levels,
    days_before,
    kind_of,
    numbers_of,
    text_of,
)

__all__ = [
    "Reading",
    "as_frame",
    "as_history_array",
    "as_levels",
    "as_numbers",
    "check_raw",
    "coded_levels",
    "days_before",
    "has_histories",
    "history_columns",
    "holds_histories",
    "kind_of",
    "numbers_of",
    "one_history",
    "refuse_missing_histories",
    "refuse_repeated_columns",
    "text_of",
]
