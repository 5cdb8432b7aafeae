"""The store of events: a timeline, columns, and logs of them."""

from sklearn_seqcrm._store._atomic_files import (
    replace_atomically,
    sync_to_disk,
    temporary_sibling,
)
from sklearn_seqcrm._store._clock import (
    TICKS_PER_SECOND,
    Clock,
    format_time,
    saturating_add,
    saturating_subtract,
)
from sklearn_seqcrm._store._columns import (
    Column,
    FieldSchema,
    factorize,
    joint_codes,
    scatter,
    stack_columns,
)
from sklearn_seqcrm._store._days import days_between, days_between_ticks
from sklearn_seqcrm._store._field_types import (
    FIELD_TYPES,
    NUMBER_OBJECTS,
    CategoricalType,
    FieldType,
    NumericType,
    ScalarType,
    are_numbers,
    is_real,
    scalar_values,
)
from sklearn_seqcrm._store._ids import (
    check_same_id_type,
    check_unicode,
    exact_ids,
    find_ids,
    hashed_ids,
    id_type,
    join_ids,
)
from sklearn_seqcrm._store._log import (
    Log,
    Rows,
    join_rows,
    missing_rows,
    positions_by_log,
)
from sklearn_seqcrm._store._names import (
    as_list,
    check_flag,
    check_list,
    check_name_free,
    plain_text,
    refuse_values,
    unique_names,
)
from sklearn_seqcrm._store._raw_log import Kinds, RawLog, describe_fields
from sklearn_seqcrm._store._sealed_files import (
    SEALED_FORMAT,
    Writer,
    get_entry,
    read_sealed_json,
    read_sealed_table,
    write_sealed_json,
    write_sealed_table,
)
from sklearn_seqcrm._store._select_kinds import (
    column_of_kinds,
    events_of_kinds,
    is_of_kinds,
    rows_of_kinds,
    warn_all_kinds,
)
from sklearn_seqcrm._store._series import check_none_missing, ids_of, to_series
from sklearn_seqcrm._store._time_values import (
    DATES_OF_NUMBERS,
    MAX_TICK,
    are_datetimes,
    datetimes_of_objects,
    parse_iso,
    parse_timedelta,
)
from sklearn_seqcrm._store._timeline import (
    ObservationWindow,
    Timeline,
    frozen,
    seconds_of_day,
)
