"""Event logs, and histories as a column of a DataFrame."""

# Names with `as` are for other packages; no part of the public interface.
from sklearn_seqcrm.events._cut import histories_of_rows as histories_of_rows
from sklearn_seqcrm.events._cut import parse_cutoffs as parse_cutoffs
from sklearn_seqcrm.events._cut import read_rows as read_rows
from sklearn_seqcrm.events._cut import rows_at_cutoffs as rows_at_cutoffs
from sklearn_seqcrm.events._event_log import EventLog
from sklearn_seqcrm.events._field_warnings import count_infinite as count_infinite
from sklearn_seqcrm.events._field_warnings import (
    fields_of_other_zone as fields_of_other_zone,
)
from sklearn_seqcrm.events._field_warnings import warn_infinite as warn_infinite
from sklearn_seqcrm.events._field_warnings import warn_other_zone as warn_other_zone
from sklearn_seqcrm.events._history import History
from sklearn_seqcrm.events._history_array import HistoryArray, HistoryDtype
from sklearn_seqcrm.events._numbers_as_text import (
    warn_numbers_as_text as warn_numbers_as_text,
)
from sklearn_seqcrm.events._read import read_column as read_column
from sklearn_seqcrm.events._read import read_events as read_events
from sklearn_seqcrm.events._read import read_table as read_table
from sklearn_seqcrm.events._read_vectors import read_vectors as read_vectors
from sklearn_seqcrm.events._time_range import warn_early_cutoffs as warn_early_cutoffs
from sklearn_seqcrm.events._time_range import warn_late_cutoffs as warn_late_cutoffs
from sklearn_seqcrm.events._wrong_dates import warn_far_beginning as warn_far_beginning
from sklearn_seqcrm.events._wrong_dates import (
    warn_far_observation as warn_far_observation,
)
from sklearn_seqcrm.events._wrong_dates import (
    warn_isolated_times as warn_isolated_times,
)

__all__ = [
    "EventLog",
    "History",
    "HistoryArray",
    "HistoryDtype",
]
