"""The store of events: a timeline, columns, and logs of them."""

from sklearn_seqcrm._store._clock import LONGEST, Clock, earlier, later, short_time
from sklearn_seqcrm._store._columns import Column, factorize, scatter
from sklearn_seqcrm._store._ids import (
    exact_ids,
    find_ids,
    join_ids,
    refuse_other_kind,
)
from sklearn_seqcrm._store._kinds import (
    Kinds,
    check_kinds,
    events_of_kinds,
    is_of_kinds,
    rows_of_kinds,
)
from sklearn_seqcrm._store._log import Log
from sklearn_seqcrm._store._names import refuse_taken, unlike
from sklearn_seqcrm._store._raw_log import RawLog
from sklearn_seqcrm._store._record import Record
from sklearn_seqcrm._store._replacing import replacing
from sklearn_seqcrm._store._rows import Rows, by_log, join_rows, missing_rows
from sklearn_seqcrm._store._series import ids_of, refuse_missing, to_series
from sklearn_seqcrm._store._timeline import Timeline, frozen

__all__ = [
    "LONGEST",
    "Clock",
    "Column",
    "Kinds",
    "Log",
    "RawLog",
    "Record",
    "Rows",
    "Timeline",
    "by_log",
    "check_kinds",
    "earlier",
    "events_of_kinds",
    "exact_ids",
    "factorize",
    "find_ids",
    "frozen",
    "ids_of",
    "is_of_kinds",
    "join_ids",
    "join_rows",
    "later",
    "missing_rows",
    "refuse_missing",
    "refuse_other_kind",
    "refuse_taken",
    "replacing",
    "rows_of_kinds",
    "scatter",
    "short_time",
    "to_series",
    "unlike",
]
