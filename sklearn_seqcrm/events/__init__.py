"""Event logs, and histories as a column of a DataFrame."""

# For other packages, as those below.
from sklearn_seqcrm.events._cut import read_rows as read_rows
from sklearn_seqcrm.events._event_log import EventLog
from sklearn_seqcrm.events._history import History
from sklearn_seqcrm.events._history_array import HistoryArray, HistoryDtype

# For other packages of the library; no part of its public interface.
from sklearn_seqcrm.events._read import read_column as read_column
from sklearn_seqcrm.events._read import read_table as read_table
from sklearn_seqcrm.events._read_vectors import read_vectors as read_vectors

__all__ = [
    "EventLog",
    "History",
    "HistoryArray",
    "HistoryDtype",
]
