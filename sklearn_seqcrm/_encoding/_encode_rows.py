"""Encode the events that rows see, all at once."""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._encoding._check_fields import rows_as_in_fit
from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._event_encoder import EventEncoder
from sklearn_seqcrm._ragged import (
    blocks,
    ranges,
    starts_in_segments,
    starts_of_nonempty,
    visible_segments,
)
from sklearn_seqcrm._store import RawLog, Rows, Timeline

_WIDTH = 4  # numbers of an event that are processed at a time, see `blocks`


def encode_rows(encoder: EventEncoder, rows: Rows, column: str) -> Rows:
    """Encode the events that rows see, into a log that holds no others.

    Parameters
    ----------
    encoder : EventEncoder
        The fitted encoder.
    rows : Rows
        Views of a raw log with the same fields.
    column : str
        Name of the history column, for errors.

    Returns
    -------
    Rows
        The same rows; their log is an `EncodedLog`.
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
    per_tick = 1.0 if old == new else new.ticks_of(old)
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
