"""Event logs, and histories as a column of a DataFrame."""

from sklearn_seqcrm.events._event_log import EventLog
from sklearn_seqcrm.events._history import History
from sklearn_seqcrm.events._history_array import HistoryArray, HistoryDtype

__all__ = ["EventLog", "History", "HistoryArray", "HistoryDtype"]
