"""Encode the events that rows see, all at once.

The log of the rows must have the fields that the encoder was fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._event_encoder import EventEncoder
from sklearn_seqcrm._ragged import (
    blocks,
    ranges,
    starts_in_segments,
    starts_of_nonempty,
    visible_segments,
)
from sklearn_seqcrm._store import Column, FieldSchema, Kinds, RawLog, Rows, Timeline

_WIDTH = 4  # numbers of an event that are processed at a time, see `blocks`


def encode_rows(encoder: EventEncoder, rows: Rows, column: str) -> Rows:
    """Encode the events that rows see, into a log that holds no others.

    `rows` are views of a raw log with the fields that `encoder` was fitted on, and
    `column` is the name of the history column, for errors. Returns the same rows, as
    views of an `EncodedLog`.
    """
    log, seen = rows_as_in_fit(encoder, rows, column).log, visible_segments(rows)
    assert isinstance(log, RawLog)
    index, offsets = ranges(seen.first, seen.last)
    clock, old = encoder.clock, log.timeline.clock
    times, cutoff = log.timeline.times[index], rows.cutoff
    if old != clock:
        what, whose = f"times of the histories in {column!r}", "the log seen in fit"
        times = clock.read(old.as_index(times), what, up=False, whose=whose)
        cutoff = clock.read(old.as_index(cutoff), what)
    channels, codes = _encode_events(encoder, log, index, offsets, times)
    # Survival models need the end of observation, to know which windows are complete.
    record = log.timeline.observation
    if old != clock:
        # A lower bound, which does not overflow in another unit.
        record = record._replace(until=times.max(initial=0), in_days=False)
    timeline = Timeline(log.customers[seen.codes], offsets, times, clock, record)
    encoded = EncodedLog(
        timeline, channels, codes, encoder.layout, encoder.row_scale, log.names
    )
    identities = rows.identities.copy()
    identities[seen.rows] = seen.of_row
    start = starts_in_segments(seen, rows, offsets)
    # A row sees as many events as before, whatever was left out before its first one.
    stop = start + (rows.stop - rows.start)
    return Rows(encoded, identities, start, stop, cutoff)


def _encode_events(
    encoder: EventEncoder,
    log: RawLog,
    index: np.ndarray,
    offsets: np.ndarray,
    times: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return channels and codes of events, encoded block by block.

    Segment ``i``, the events of one customer, is ``index[offsets[i]:offsets[i + 1]]``,
    positions in the log. `times` (n_events,) are on the clock of the encoder.
    """
    channels, codes = encoder.layout.empty(len(index))
    # No row sees the event before the first one of a segment.
    is_first = np.zeros(len(index), dtype=bool)
    is_first[starts_of_nonempty(offsets)] = True
    parts, columns = list(blocks(len(index), _WIDTH)), log.columns
    if len(parts) > 1:
        encoder = encoder.prepared_for(columns)
    old, new = log.timeline.clock, encoder.clock
    per_tick = new.ticks_of(old)
    for some in parts:
        events = index[some]
        # Differences on the log's own clock, whose ticks may be finer.
        interarrival = log.timeline.times[events] - log.timeline.times[events - 1]
        encoder.encode(
            {name: column.take(events) for name, column in columns.items()},
            times[some],
            np.where(is_first[some], np.nan, per_tick * interarrival),
            out=(channels[some], codes[some]),
        )
    return channels, codes


def rows_as_in_fit(encoder: EventEncoder, rows: Rows, column: str) -> Rows:
    """Return the rows with fields of the types of training; see `columns_as_in_fit`.

    The parameters are those of `encode_rows`.
    """
    log = rows.log
    assert isinstance(log, RawLog)
    columns = log.columns
    fitting = columns_as_in_fit(columns, encoder.schema, column, encoder.merged_from)
    if fitting is columns:
        return rows
    return rows._replace(log=log.with_events(log.timeline, dict(fitting)))


def columns_as_in_fit(
    columns: Mapping[str, Column],
    expected: Mapping[str, FieldSchema],
    history: str,
    kinds: Kinds | None = None,
) -> Mapping[str, Column]:
    """Return columns of the types of training; an empty column gets the type.

    A table of few events may lack all values of a field, and a column of nothing but
    None does not have the type that the field had in training. A log that was merged
    without a kind of events lacks the fields that only this kind has: they are missing.

    `columns` are the fields of a log, `expected` the schemas of training, `history` is
    the name of the history column, for errors, and `kinds` are those of training, if
    its log was merged. Returns `columns` themselves if all of them fit. A ValueError is
    raised if the fields are not those of training.
    """
    fitting = {
        name: expected[name].without_values(len(column.values))
        for name, column in columns.items()
        if name in expected
        and FieldSchema.of(column, expected[name]) != expected[name]
        and column.is_empty()
    }
    for name in expected:
        if kinds and name not in columns and kinds.all_lack(columns, name):
            n_events = len(columns[kinds.field].values)
            fitting[name] = expected[name].without_values(n_events)
    fitted = {**columns, **fitting} if fitting else columns
    _refuse_other_fields(fitted, expected, history, kinds)
    # In the order of training, which the hashes of rows depend on.
    return {name: fitted[name] for name in expected} if fitting else columns


def _refuse_other_fields(
    columns: Mapping[str, Column],
    expected: Mapping[str, FieldSchema],
    history: str,
    kinds: Kinds | None,
) -> None:
    """Raise a ValueError if the fields of a log are not those of training."""
    found = {
        name: FieldSchema.of(column, expected.get(name))
        for name, column in columns.items()
    }
    if found == expected:
        return
    lost = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    changed = [
        f"{name!r} is {found[name]} and was {expected[name]}"
        for name in expected
        if name in found and found[name] != expected[name]
    ]
    parts = [f"lacks the fields {lost}"] if lost else []
    parts += [f"has the unknown fields {extra}"] if extra else []
    parts += [f"has other types: {', '.join(changed)}"] if changed else []
    way = f"Build it from the same columns (EventLog(..., fields={list(expected)}))."
    if kinds is not None:
        own = {name: list(fields) for name, fields in kinds.fields.items()}
        way = (
            "Merge it by EventLog.concat from logs of the same kinds with the same "
            f"fields, {own}; only a kind without events may be left out."
        )
    raise ValueError(
        f"The log behind {history!r} does not fit the one seen in fit: it "
        f"{'; it '.join(parts)}. {way}"
    )
