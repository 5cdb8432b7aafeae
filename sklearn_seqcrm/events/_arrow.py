"""Histories as nested Arrow values, which is how they travel through parquet."""

from __future__ import annotations

import json
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import NO_ROW, ranges
from sklearn_seqcrm._store import (
    Clock,
    ObservationWindow,
    RawLog,
    Rows,
    Timeline,
    unlike,
)
from sklearn_seqcrm.events._parquet import arrow_of, as_arrow, restored, told_of
from sklearn_seqcrm.events._read import read_column

# Under this key, each field of the events tells the type that it had in the log.
_TOLD = b"sklearn_seqcrm"


def rows_to_arrow(rows: Rows) -> Any:
    """Write rows as structs of customer, cutoff and a list of the visible events.

    Parameters
    ----------
    rows : Rows
        Views of a raw log. Each row writes its own events, so that rows at several
        cutoffs of one customer repeat what they share.

    Returns
    -------
    pyarrow.StructArray of shape (n,)
        ``{customer, cutoff, events: [{time, field, ...}], unknown_customer}``, null
        where missing. The last field identifies customers that the log does not know,
        whose ``customer`` is null, see `Rows`.
    """
    import pyarrow as pa

    log = rows.log
    if not isinstance(log, RawLog):
        raise TypeError(
            "Only raw histories can be written; keep the X that went into the "
            "HistoryEncoder, and write that."
        )
    customer, time = log.names
    index, offsets = ranges(rows.start, rows.stop)
    clock = log.timeline.clock
    columns = {time: clock.as_index(log.timeline.times[index])}
    columns |= {name: log.column(name).stored(index) for name in log.fields}
    arrays = [as_arrow(values, name) for name, values in columns.items()]
    fields = [
        pa.field(str(name), array.type, metadata={_TOLD: json.dumps(told_of(values))})
        for (name, values), array in zip(columns.items(), arrays, strict=True)
    ]
    events = pa.StructArray.from_arrays(arrays, fields=fields)
    unknown = rows.identities < 0
    ids = arrow_of(log.customers, customer)
    customers = ids.take(pa.array(np.where(unknown, 0, rows.identities), mask=unknown))
    others = pa.array(rows.identities, mask=rows.identities >= -1)
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), events)
    return pa.StructArray.from_arrays(
        [customers, pa.array(clock.as_index(rows.cutoff)), lists, others],
        names=[
            customer,
            *unlike(["cutoff", "events", f"unknown_{customer}"], [customer]),
        ],
        mask=pa.array(rows.start == NO_ROW),
    )


def rows_from_arrow(array: Any) -> Rows:
    """Read what `rows_to_arrow` wrote.

    Parameters
    ----------
    array : pyarrow.Array or ChunkedArray of structs
        Rows with their events.

    Returns
    -------
    Rows
        Views of a new log in which every row has a segment of its own.
    """
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = (
            pa.concat_arrays(array.chunks)
            if array.num_chunks
            else (pa.array([], type=array.type))
        )
    import pyarrow.compute as pc

    missing = np.asarray(array.is_null())
    customer = array.type[0].name
    ids, cutoff, lists, *others = array.flatten()
    events = lists.flatten()
    time = events.type[0].name
    frame = _frame_of(events)
    clock, times = Clock.of(frame.pop(time), f"times {time!r}")
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    known = np.asarray(ids.is_valid())
    offsets = np.concatenate([[0], np.cumsum(lengths[known], dtype="int64")])
    cutoff = pc.fill_null(cutoff, pa.scalar(0, cutoff.type))
    ticks = clock.read(cutoff.to_pandas(), "cutoffs")
    # What came after the cutoffs was not written.
    record = ObservationWindow.before(ticks[known].min() if known.any() else 0, clock)
    timeline = Timeline(
        pd.Index(ids.filter(pa.array(known)).to_pandas()), offsets, times, clock, record
    )
    columns = {
        name: read_column(nw.from_native(frame[name], series_only=True), name)
        for name in frame
    }
    start = np.where(missing, NO_ROW, 0)
    start[known] = offsets[:-1]
    # Files of version 0.1 do not identify unknown customers.
    unknown = others[0] if others else pa.nulls(len(known), "int64")
    identities = unknown.fill_null(-1).to_numpy(zero_copy_only=False).copy()
    identities[known] = np.arange(len(offsets) - 1)
    return Rows(
        RawLog(timeline, columns, (customer, time)),
        identities,
        start,
        start + lengths,
        ticks,
    )


def _frame_of(events: Any) -> Any:
    """Events as a DataFrame, in the types that they had in the log."""
    import pyarrow as pa

    table = pa.Table.from_struct_array(events)
    columns = {}
    for field in table.schema:
        told = (field.metadata or {}).get(_TOLD)
        column = table[field.name]
        columns[field.name] = (
            column.to_pandas() if told is None else restored(column, json.loads(told))
        )
    return pd.DataFrame(columns)
