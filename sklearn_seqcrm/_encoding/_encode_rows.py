"""Views of raw events to views of encoded ones."""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._event_encoder import EventEncoder
from sklearn_seqcrm._encoding._fields import fitting_columns
from sklearn_seqcrm._encoding._viewed_log import ViewedLog
from sklearn_seqcrm._ragged import (
    NO_ROW,
    blocks,
    first_of_filled,
    ranges,
    starts_among,
    visible_segments,
)
from sklearn_seqcrm._store import RawLog, Record, Rows, Timeline

_WIDTH = 4  # numbers of an event in work


def view_encoded(encoder: EventEncoder, rows: Rows, column: str) -> Rows:
    """View encoded events; those of a log on a disk are encoded when they are read.

    Parameters
    ----------
    encoder : EventEncoder
        What was learned of the training log.
    rows : Rows
        Views of a raw log with the same fields.
    column : str
        Name of the history column, for errors.

    Returns
    -------
    Rows
        The same rows; their log is an `EncodedLog`. Rows that start at the same event,
        and the order of their starts, are those of `encode_rows`.
    """
    log = rows.log
    if not log.is_on_disk or log.timeline.clock != encoder.clock:
        return encode_rows(encoder, rows, column)
    assert isinstance(log, RawLog)
    log = _fitting(log, encoder, column)
    seen = visible_segments(rows)
    filled = seen.last > seen.first
    begins = seen.first[filled]
    begins = begins[begins > log.timeline.offsets[seen.codes[filled]]]
    # Where segments without events would stand: before the next one that has some.
    place = np.append(np.where(filled, seen.first, len(log)), len(log))
    place = np.minimum.accumulate(place[::-1])[::-1]
    start = np.where(rows.start == NO_ROW, NO_ROW, place[0])
    start[seen.rows] = place[seen.of_row]
    has_event = rows.stop > rows.start
    start[has_event] = rows.start[has_event]
    viewed = ViewedLog(log, encoder, begins)
    return Rows(
        viewed, rows.identities, start, start + (rows.stop - rows.start), rows.cutoff
    )


def encode_rows(encoder: EventEncoder, rows: Rows, column: str) -> Rows:
    """View the same events in an encoded log that holds no more than they need.

    Parameters
    ----------
    encoder : EventEncoder
        What was learned of the training log.
    rows : Rows
        Views of a raw log with the same fields.
    column : str
        Name of the history column, for errors.

    Returns
    -------
    Rows
        The same rows; their log is an `EncodedLog`.
    """
    log, seen = rows.log, visible_segments(rows)
    assert isinstance(log, RawLog)
    log = _fitting(log, encoder, column)
    index, offsets = ranges(seen.first, seen.last)
    clock, old = encoder.clock, log.timeline.clock
    times, cutoff = log.timeline.times[index], rows.cutoff
    if old != clock:
        what = f"times of the histories in {column!r}"
        times = clock.read(old.as_index(times), what, up=False)
        cutoff = clock.read(old.as_index(cutoff), what)
    channels, codes = _encode_events(encoder, log, index, offsets, times)
    record = Record(times.max(initial=0), in_days=False)
    timeline = Timeline(log.customers[seen.codes], offsets, times, clock, record)
    encoded = EncodedLog(
        timeline, channels, codes, encoder.layout, encoder.row_scale, log.names
    )
    identities = rows.identities.copy()
    identities[seen.rows] = seen.of_row
    start = starts_among(seen, rows, offsets)
    # Whatever was left out before a row's first event, it sees as many as it did.
    stop = start + (rows.stop - rows.start)
    return Rows(encoded, identities, start, stop, cutoff)


def _fitting(log: RawLog, encoder: EventEncoder, column: str) -> RawLog:
    """The log with fields of the kinds of training."""
    columns = log.columns
    fitting = fitting_columns(columns, encoder.kinds, column)
    return log if fitting is columns else log.with_events(log.timeline, dict(fitting))


def _encode_events(
    encoder: EventEncoder,
    log: RawLog,
    index: np.ndarray,
    offsets: np.ndarray,
    times: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Channels and codes of the events at `index`, one cache block after another.

    Segment ``i`` is ``index[offsets[i]:offsets[i + 1]]``; `times` are those of the
    events on the clock of the encoder.
    """
    channels, codes = encoder.layout.empty(len(index))
    # No row sees what was before the first event of a segment.
    is_first = np.zeros(len(index), dtype=bool)
    is_first[first_of_filled(offsets)] = True
    parts, columns = list(blocks(len(index), _WIDTH)), log.columns
    if len(parts) > 1:
        encoder = encoder.knowing(columns)
    old, new = log.timeline.clock, encoder.clock
    per_tick = 1.0 if old == new else new.ticks_of(old)
    for some in parts:
        events = index[some]
        # Taken on the log's own clock, whose ticks may be finer.
        gaps = log.timeline.times[events] - log.timeline.times[events - 1]
        encoder.encode(
            {name: column.take(events) for name, column in columns.items()},
            times[some],
            np.where(is_first[some], np.nan, per_tick * gaps),
            out=(channels[some], codes[some]),
        )
    return channels, codes
