"""The store of events: a timeline, columns, and logs of them."""

from sklearn_seqcrm._store._clock import (
    LONGEST,
    TICKS_PER_SECOND,
    Clock,
    earlier,
    later,
    short_time,
)
from sklearn_seqcrm._store._columns import Column, factorize, scatter
from sklearn_seqcrm._store._days import (
    days_between,
    days_between_ticks,
    moments_after,
)
from sklearn_seqcrm._store._ids import (
    exact_ids,
    find_ids,
    hashed_ids,
    join_ids,
    kind_of_ids,
    refuse_other_kind,
)
from sklearn_seqcrm._store._kinds import (
    Kinds,
    check_kinds,
    events_of_kinds,
    is_of_kinds,
    rows_of_kinds,
)
from sklearn_seqcrm._store._lists import many, one_or_many
from sklearn_seqcrm._store._log import Log
from sklearn_seqcrm._store._names import refuse_taken, unlike
from sklearn_seqcrm._store._raw_log import RawLog
from sklearn_seqcrm._store._record import Record
from sklearn_seqcrm._store._replacing import part_of, replacing, to_the_disk
from sklearn_seqcrm._store._rows import Rows, by_log, join_rows, missing_rows
from sklearn_seqcrm._store._sealed import (
    SEALED,
    Writer,
    entry_of,
    read_sealed_json,
    read_sealed_table,
    write_sealed_json,
    write_sealed_table,
)
from sklearn_seqcrm._store._series import ids_of, refuse_missing, to_series
from sklearn_seqcrm._store._timeline import Timeline, frozen

__all__ = [
    "LONGEST",
    "SEALED",
    "TICKS_PER_SECOND",
    "Clock",
    "Column",
    "Kinds",
    "Log",
    "RawLog",
    "Record",
    "Rows",
    "Timeline",
    "Writer",
    "by_log",
    "check_kinds",
    "days_between",
    "days_between_ticks",
    "earlier",
    "entry_of",
    "events_of_kinds",
    "exact_ids",
    "factorize",
    "find_ids",
    "frozen",
    "hashed_ids",
    "ids_of",
    "is_of_kinds",
    "join_ids",
    "join_rows",
    "kind_of_ids",
    "later",
    "many",
    "missing_rows",
    "moments_after",
    "one_or_many",
    "part_of",
    "read_sealed_json",
    "read_sealed_table",
    "refuse_missing",
    "refuse_other_kind",
    "refuse_taken",
    "replacing",
    "rows_of_kinds",
    "scatter",
    "short_time",
    "to_series",
    "to_the_disk",
    "unlike",
    "write_sealed_json",
    "write_sealed_table",
]
