"""Histories as nested Arrow values, for parquet and other Arrow readers.

Each row is a struct with its own events, null where the history is missing::

    {
      <customer>:          id, null if the customer is not in the log
      cutoff:              datetime or number
      events:              [{<time>: ..., <field>: ..., ...}, ...]
      unknown_<customer>:  number of an unknown customer (see `Rows`), else null
    }

Arrow stores the events of all rows concatenated, and offsets into them. The metadata of
each field of the events, under the key ``sklearn_seqcrm``, hold the JSON of
`dtype_to_json`. If the log was merged from several kinds of events, those of the field
of kinds hold, under ``sklearn_seqcrm_kinds``, the fields of each kind.

When histories are read back, rows of a customer share a segment if their events agree.
"""

from __future__ import annotations

import json
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import NO_ROW, ranges
from sklearn_seqcrm._store import (
    Clock,
    Column,
    Kinds,
    ObservationWindow,
    RawLog,
    Rows,
    Timeline,
    unique_names,
)
from sklearn_seqcrm.events._arrow_columns import (
    dtype_to_json,
    restore_dtype,
    to_arrow,
    to_parquet_array,
    unchunked,
)
from sklearn_seqcrm.events._read import read_column
from sklearn_seqcrm.events._shared_segments import share_segments

_DTYPE_KEY = b"sklearn_seqcrm"
_KINDS_KEY = b"sklearn_seqcrm_kinds"


def rows_to_arrow(rows: Rows) -> Any:
    """Convert rows to structs of customer, cutoff and a list of the visible events.

    The pyarrow.StructArray, (n,), has the format above. Rows of one customer at several
    cutoffs repeat the events that they share.
    """
    import pyarrow as pa

    log = rows.log
    if not isinstance(log, RawLog):
        raise TypeError(
            "Only raw histories can be written; keep the X that went into the "
            "HistoryEncoder, and write that."
        )
    customer = log.names[0]
    # A missing history has start = stop = -1, and so no events.
    index, offsets = ranges(rows.start, rows.stop)
    events = _events_to_arrow(log, index)
    unknown = rows.identities < 0
    # The mask hides the customer at position 0, which replaces the unknown ones.
    ids = to_arrow(log.customers, customer)
    columns = [
        ids.take(pa.array(np.where(unknown, 0, rows.identities), mask=unknown)),
        pa.array(log.timeline.clock.as_index(rows.cutoff)),
        pa.LargeListArray.from_arrays(pa.array(offsets), events),
        pa.array(rows.identities, mask=rows.identities >= -1),
    ]
    others = unique_names(["cutoff", "events", f"unknown_{customer}"], [customer])
    missing = pa.array(rows.start == NO_ROW)
    return pa.StructArray.from_arrays(columns, names=[customer, *others], mask=missing)


def _events_to_arrow(log: RawLog, index: np.ndarray) -> Any:
    """Convert events to structs of time and fields, with their dtypes and the kinds."""
    import pyarrow as pa

    timeline = log.timeline
    columns = {log.names[1]: timeline.clock.as_index(timeline.times[index])}
    columns |= {name: log.column(name).stored(index) for name in log.fields}
    notes = {
        name: {_DTYPE_KEY: json.dumps(dtype_to_json(values))}
        for name, values in columns.items()
    }
    if log.kind_field is not None:
        notes[log.kind_field][_KINDS_KEY] = json.dumps(log.kinds)
    arrays = [to_parquet_array(values, name) for name, values in columns.items()]
    fields = [
        pa.field(str(name), array.type, metadata=notes[name])
        for name, array in zip(columns, arrays, strict=True)
    ]
    return pa.StructArray.from_arrays(arrays, fields=fields)


def rows_from_arrow(array: Any) -> Rows:
    """Read rows that `rows_to_arrow` converted, from an array or chunked array.

    The new log has the events that rows see, see `share_segments`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = unchunked(array)
    # The fields come in the order of the format; the user chose the names.
    customer = array.type[0].name
    ids, cutoff, lists, *others = array.flatten()
    events = lists.flatten()
    clock, times, columns = _read_events(events)
    cutoff = pc.fill_null(cutoff, pa.scalar(0, cutoff.type))
    ticks = clock.read(cutoff.to_pandas(), "cutoffs")
    # Each row of a known customer has a segment of its own and sees all of it.
    known = np.asarray(ids.is_valid())
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.append(0, np.cumsum(lengths[known], dtype="int64"))
    start = np.where(np.asarray(array.is_null()), NO_ROW, 0)
    start[known] = offsets[:-1]
    # Files of version 0.1 do not identify unknown customers.
    unknown = others[0] if others else pa.nulls(len(known), "int64")
    identities = unknown.fill_null(-1).to_numpy(zero_copy_only=False).copy()
    identities[known] = np.arange(len(offsets) - 1)
    customers = _index_of(ids.filter(pa.array(known)))
    observation = _observation_before(ticks[known], clock)
    timeline = Timeline(customers, offsets, times, clock, observation)
    names = customer, events.type[0].name
    log = RawLog(timeline, columns, names, _kinds_of(events.type))
    # Events that several rows see would count several times in each fit.
    return share_segments(Rows(log, identities, start, start + lengths, ticks))


def _read_events(events: Any) -> tuple[Clock, np.ndarray, dict[str, Column]]:
    """Return the clock, the times and the fields of events, in their former dtypes."""
    import pyarrow as pa

    table = pa.Table.from_struct_array(events)
    columns = {}
    for field in table.schema:
        note = (field.metadata or {}).get(_DTYPE_KEY)
        column = table[field.name]
        columns[field.name] = (
            column.to_pandas()
            if note is None
            else restore_dtype(column, json.loads(note))
        )
    time = events.type[0].name
    clock, times = Clock.of(columns.pop(time), f"times {time!r}")
    fields = {
        name: read_column(nw.from_native(values, series_only=True), name)
        for name, values in columns.items()
    }
    return clock, times, fields


def _observation_before(cutoffs: np.ndarray, clock: Clock) -> ObservationWindow:
    """Return the window of rows: events after their cutoffs were not written."""
    earliest = cutoffs.min() if len(cutoffs) else 0
    observation = ObservationWindow.before(earliest, clock)
    return observation._replace(is_lower_bound=True)


def _index_of(ids: Any) -> pd.Index:
    """Convert ids to an Index; Arrow stores tuples as lists, which have no hash."""
    import pyarrow as pa

    if pa.types.is_list(ids.type):
        return pd.Index([*map(tuple, ids.to_pylist())], tupleize_cols=False)
    return pd.Index(ids.to_pandas())


def _kinds_of(event: Any) -> Kinds | None:
    """Return the kinds that the type of events describes, None for a log of one."""
    fields = [event.field(place) for place in range(event.num_fields)]
    for field in fields:
        note = (field.metadata or {}).get(_KINDS_KEY)
        if note is not None:
            return Kinds.of(field.name, json.loads(note))
    return None
