"""Event logs, and histories as a column of a DataFrame."""

# Names that are not in `__all__` are for other packages of the library only.
from sklearn_seqcrm.events._cut import histories_of_rows, read_rows, rows_at_cutoffs
from sklearn_seqcrm.events._event_log import EventLog
from sklearn_seqcrm.events._history import History
from sklearn_seqcrm.events._history_array import HistoryArray, HistoryDtype
from sklearn_seqcrm.events._read import read_column, read_events, read_table
from sklearn_seqcrm.events._read_vectors import read_vectors
from sklearn_seqcrm.events._snapshots import parse_cutoffs
from sklearn_seqcrm.events._warnings import (
    are_date_like,
    count_copied_events,
    count_infinite,
    fields_of_other_zone,
    warn_copied_events,
    warn_date_like_times,
    warn_early_cutoffs,
    warn_far_beginning,
    warn_far_observation,
    warn_infinite,
    warn_isolated_times,
    warn_late_cutoffs,
    warn_numbers_as_text,
    warn_other_zone,
)

__all__ = [
    "EventLog",
    "History",
    "HistoryArray",
    "HistoryDtype",
]
