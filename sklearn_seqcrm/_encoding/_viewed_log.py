"""Logs on a disk, whose events are encoded whenever they are indexed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from sklearn_seqcrm._encoding._encode_rows import encode_rows, rows_as_in_fit
from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._event_encoder import EventEncoder
from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._ragged import (
    NO_ROW,
    Segments,
    groups,
    visible_segments,
)
from sklearn_seqcrm._store import Column, Log, RawLog, Rows, Timeline

_PORTION = 1  # width of `groups` of customers: as many events as a block has numbers


class ViewedLog(EncodedLog):
    """A raw log seen through an encoder; events keep their positions.

    The `raw` log has the clock of the `encoder`. `begins` (n,), int64, are events that
    are the first that a row sees, although their customer has earlier ones; ascending.
    """

    def __init__(self, raw: RawLog, encoder: EventEncoder, begins: np.ndarray) -> None:
        Log.__init__(self, raw.timeline, raw.names)
        self._raw = raw
        self._encoder = encoder.prepared_for(raw.columns)
        self._begins = begins
        self._layout = encoder.layout
        self._row_scale = encoder.row_scale
        self._firsts = raw.timeline.offsets
        if len(begins):
            self._firsts = np.union1d(self._firsts, begins)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the log in its own way, without the levels that were looked up."""
        return type(self), (self._raw, self._encoder, self._begins)

    @property
    def is_on_disk(self) -> bool:
        """Whether the events are in files; only those in use are in memory."""
        return self._raw.is_on_disk

    # The base class has arrays under these names.

    @property
    def _channels(self) -> Any:  # type: ignore[override]
        return self._numbers(len(self._layout.channels), self._write_channels)

    @property
    def _codes(self) -> Any:  # type: ignore[override]
        return self._numbers(len(self._layout.codes), self._write_codes, "int32")

    @property
    def _facts(self) -> Any:
        return self._numbers(self._layout.n_decayed, self._write_facts)

    def _write_channels(self, index: np.ndarray, out: np.ndarray) -> None:
        columns, times = self._at(index, self._layout.of_fields)
        self._encoder.encode_facts(columns, times, out)
        times_begin = self._layout.interarrival_channel
        interarrival = self._interarrival_times(index)
        self._encoder.encode_times(times, interarrival, out[:, times_begin:])

    def _write_codes(self, index: np.ndarray, out: np.ndarray) -> None:
        self._encoder.encode_levels(*self._at(index, self._layout.codes), out)

    def _write_facts(self, index: np.ndarray, out: np.ndarray) -> None:
        numbers = np.empty((len(index), self._layout.interarrival_channel), "float32")
        self._encoder.encode_facts(*self._at(index, self._layout.of_fields), numbers)
        out[:] = numbers[:, : out.shape[1]]

    def _at(
        self, index: np.ndarray, names: Iterable[str]
    ) -> tuple[dict[str, Column], np.ndarray]:
        """Return fields and times of some events."""
        columns = {name: self._raw.column(name).take(index) for name in names}
        return columns, self._timeline.times[index]

    def _decayed(self, rows: Rows, values: Any) -> np.ndarray:
        shape = len(self._layout.half_lives), 1 + values.shape[1]
        result = np.zeros((len(rows.codes), *shape))
        for some in _rows_by_customer(rows):
            result[some] = super()._decayed(rows.take(some), values)
        return result

    def _counts(self, rows: Rows) -> np.ndarray:
        result = np.zeros((len(rows.codes), self._layout.n_counts), int)
        for some in _rows_by_customer(rows):
            result[some] = super()._counts(rows.take(some))
        return result

    def with_layout(self, layout: Layout, row_scale: np.ndarray) -> EncodedLog:
        encoder = replace(self._encoder, layout=layout, row_scale=row_scale)
        return ViewedLog(self._raw, encoder, self._begins)

    def stack(self, logs: Sequence[Log], timeline: Timeline) -> Self:
        return self.in_memory().stack(logs, timeline)  # type: ignore[return-value]

    def in_memory(self) -> EncodedLog:
        return self.take(self.timeline, np.arange(len(self)))


def _rows_by_customer(rows: Rows) -> Iterator[np.ndarray]:
    """Yield positions of the rows of some customers, who see about 262,000 events.

    Customers come in the order of the log, so that it is read in the order of its
    files, and never as a whole. Rows without a known customer are left out.
    """
    seen = visible_segments(rows)
    order = np.argsort(seen.of_row, kind="stable")
    ends = np.searchsorted(seen.of_row[order], np.arange(len(seen.codes) + 1))
    for one, following in groups(np.cumsum(seen.last - seen.first), _PORTION):
        yield seen.rows[order[ends[one] : ends[following]]]


def view_encoded(encoder: EventEncoder, rows: Rows, column: str) -> Rows:
    """View encoded events; those of a log on a disk are encoded when they are indexed.

    The parameters are those of `encode_rows`. Returns the same rows, as views of an
    `EncodedLog`. Their starts are equal or in order as those of `encode_rows` are.
    """
    log = rows.log
    if not log.is_on_disk or log.timeline.clock != encoder.clock:
        return encode_rows(encoder, rows, column)
    log = rows_as_in_fit(encoder, rows, column).log
    assert isinstance(log, RawLog)
    seen = visible_segments(rows)
    filled = seen.last > seen.first
    begins, offsets = seen.first[filled], log.timeline.offsets[seen.codes[filled]]
    viewed = ViewedLog(log, encoder, begins[begins > offsets])
    start = _starts_in_log(rows, seen, len(log))
    stop = start + (rows.stop - rows.start)
    return Rows(viewed, rows.identities, start, stop, rows.cutoff)


def _starts_in_log(rows: Rows, seen: Segments, n_events: int) -> np.ndarray:
    """Return the start of each row in a log of `n_events`, shape (n,), int64.

    Rows keep their starts, but for those without events, which start where their
    segment of `seen` stands. A segment without events stands before the next one that
    has some::

        first     3   7   7   9       (the second and the third are empty)
        place     3   9   9   9
    """
    filled = seen.last > seen.first
    place = np.append(np.where(filled, seen.first, n_events), n_events)
    place = np.minimum.accumulate(place[::-1])[::-1]
    start = np.where(rows.start == NO_ROW, NO_ROW, place[0])
    start[seen.rows] = place[seen.of_row]
    has_event = rows.stop > rows.start
    start[has_event] = rows.start[has_event]
    return start
