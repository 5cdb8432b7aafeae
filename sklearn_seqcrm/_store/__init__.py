"""The store of events: a timeline, columns, and logs of them."""

from sklearn_seqcrm._store._clock import (
    LONGEST,
    TICKS_PER_SECOND,
    Clock,
    days_between,
    days_between_ticks,
    earlier,
    format_time,
    later,
    moments_after,
)
from sklearn_seqcrm._store._columns import (
    Column,
    FieldSchema,
    factorize,
    ids_of,
    refuse_missing,
    scatter,
    to_series,
)
from sklearn_seqcrm._store._field_types import (
    FIELD_TYPES,
    FieldType,
    ScalarType,
    scalar_values,
)
from sklearn_seqcrm._store._files import (
    SEALED_FORMAT,
    Writer,
    get_entry,
    read_sealed_json,
    read_sealed_table,
    replacing,
    sync_to_disk,
    temporary_sibling,
    write_sealed_json,
    write_sealed_table,
)
from sklearn_seqcrm._store._ids import (
    exact_ids,
    find_ids,
    hashed_ids,
    join_ids,
    kind_of_ids,
    refuse_other_kind,
)
from sklearn_seqcrm._store._log import (
    Log,
    Rows,
    join_rows,
    missing_rows,
    positions_by_log,
)
from sklearn_seqcrm._store._names import many, one_or_many, refuse_taken, unlike
from sklearn_seqcrm._store._raw_log import (
    Kinds,
    RawLog,
    check_kinds,
    events_of_kinds,
    is_of_kinds,
    rows_of_kinds,
)
from sklearn_seqcrm._store._timeline import ObservationWindow, Timeline, frozen
