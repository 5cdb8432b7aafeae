"""Encode the events that rows see: at once, or when they are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np

from sklearn_seqcrm._encoding._encoded_log import EncodedLog, symexp
from sklearn_seqcrm._encoding._event_encoder import EventEncoder
from sklearn_seqcrm._encoding._fields import fitting_columns
from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._ragged import (
    NO_ROW,
    blocks,
    decayed_sums,
    first_of_filled,
    groups,
    is_first_of,
    ranges,
    starts_among,
    visible_segments,
)
from sklearn_seqcrm._store import Column, Log, ObservationWindow, RawLog, Rows, Timeline

_WIDTH = 4  # numbers of an event in work
_PORTION = 1  # events of a portion of rows are as many as a block has numbers


class ViewedLog(EncodedLog):
    """A raw log, seen through an encoder; its events have the same places in both.

    Parameters
    ----------
    raw : RawLog
        The log, whose clock is that of the encoder.
    encoder : EventEncoder
        What was learned of the training log.
    begins : ndarray of shape (n,), int64
        Events that are the first that a row sees, although their customer has earlier
        ones; ascending.
    """

    def __init__(self, raw: RawLog, encoder: EventEncoder, begins: np.ndarray) -> None:
        Log.__init__(self, raw.timeline, raw.names)
        self._raw = raw
        self._encoder = encoder.knowing(raw.columns)
        self._begins = begins
        self._layout = encoder.layout
        self._row_scale = encoder.row_scale
        starts = raw.timeline.offsets
        if len(begins):
            starts = np.union1d(starts, begins)
        self._channels = _Channels(raw, self._encoder, starts)  # type: ignore[assignment]
        self._codes = _Codes(raw, self._encoder)  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the log as it sends itself, and not what was looked up in it."""
        return type(self), (self._raw, self._encoder, self._begins)

    @property
    def is_on_disk(self) -> bool:
        """Whether the events are in files, and in memory as far as they are read."""
        return self._raw.is_on_disk

    @property
    def _facts(self) -> Any:
        return _Facts(self._raw, self._encoder)

    @property
    def _facts_and_amounts(self) -> Any:
        return _FactsAndAmounts(self._raw, self._encoder)

    def _decayed(self, rows: Rows, values: Any) -> np.ndarray:
        """Sums of all rows, those of some customers at a time."""
        half_lives = np.asarray(self._layout.half_lives)
        result = np.zeros((len(rows.codes), len(half_lives), 1 + values.shape[1]))
        seen = visible_segments(rows)
        order = np.argsort(seen.of_row, kind="stable")
        ends = np.searchsorted(
            seen.of_row[order], np.arange(len(seen.codes) + 1), side="left"
        )
        for one, following in groups(np.cumsum(seen.last - seen.first), _PORTION):
            some = seen.rows[order[ends[one] : ends[following]]]
            own = rows.select(partial(np.take, indices=some))
            result[some] = decayed_sums(own, self._timeline.times, values, half_lives)
        return result

    def known_as(self, layout: Layout, row_scale: np.ndarray) -> EncodedLog:
        """The same events under another layout of as many channels and codes.

        Parameters
        ----------
        layout : Layout
            What they mean.
        row_scale : ndarray of shape (2, n_row_features)
            Center and scale of the row features.
        """
        encoder = replace(self._encoder, layout=layout, row_scale=row_scale)
        return ViewedLog(self._raw, encoder, self._begins)

    def stack(self, logs: Sequence[Log], timeline: Timeline) -> Self:
        return self.in_memory().stack(logs, timeline)  # type: ignore[return-value]

    def in_memory(self) -> EncodedLog:
        """The same events, encoded."""
        return self.take(self.timeline, np.arange(len(self)))

    def _with(self, timeline: Timeline, channels: np.ndarray, codes: np.ndarray) -> Any:
        layout, scale = self._layout, self._row_scale
        return EncodedLog(timeline, channels, codes, layout, scale, self._names)


class _Encoded(ABC):
    """Numbers of events, which are worked out when they are indexed.

    Parameters
    ----------
    raw : RawLog
        The log.
    encoder : EventEncoder
        What encodes it.
    """

    dtype: np.dtype[Any] = np.dtype("float32")

    def __init__(self, raw: RawLog, encoder: EventEncoder) -> None:
        self._raw = raw
        self._encoder = encoder
        self._columns = {
            name: raw.columns[name]
            for name, field in encoder.fields.items()
            if bool(field.n_codes) == (self.dtype.kind == "i")
        }

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of columns."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of events and of columns."""
        return len(self._raw), self.width

    def __len__(self) -> int:
        """Number of events."""
        return len(self._raw)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Numbers of the events at some places, of any shape; or of a slice."""
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)))
        flat = np.asarray(index).ravel()
        numbers = np.empty((len(flat), self.width), self.dtype)
        for some in blocks(len(flat), _WIDTH):
            self._write(flat[some], numbers[some])
        return numbers.reshape(*np.shape(index), self.width)

    def _read(self, index: np.ndarray) -> tuple[dict[str, Column], np.ndarray]:
        """Fields and times of some events."""
        columns = {name: column.take(index) for name, column in self._columns.items()}
        return columns, self._raw.timeline.times[index]

    @abstractmethod
    def _write(self, index: np.ndarray, out: np.ndarray) -> None:
        """Write the numbers of some events."""


class _Channels(_Encoded):
    """Channels of events; see `_Encoded`.

    Parameters
    ----------
    raw, encoder : object
        As `_Encoded` takes them.
    starts : ndarray of int64
        Events that have none before them, ascending.
    """

    def __init__(self, raw: RawLog, encoder: EventEncoder, starts: np.ndarray) -> None:
        super().__init__(raw, encoder)
        self._starts = starts

    @property
    def width(self) -> int:
        return len(self._encoder.layout.channels)

    def _write(self, index: np.ndarray, out: np.ndarray) -> None:
        columns, times = self._read(index)
        gaps = (times - self._raw.timeline.times[index - 1]).astype("float64")
        gaps[is_first_of(self._starts, index)] = np.nan
        self._encoder.encode_facts(columns, times, out)
        self._encoder.encode_times(
            times, gaps, out[:, self._encoder.layout.gap_channel :]
        )


class _Codes(_Encoded):
    """Codes of events; see `_Encoded`."""

    dtype = np.dtype("int32")

    @property
    def width(self) -> int:
        return len(self._encoder.layout.codes)

    def _write(self, index: np.ndarray, out: np.ndarray) -> None:
        if self.width:
            self._encoder.encode_levels(*self._read(index), out)


class _Facts(_Encoded):
    """Facts of events, which are the first of their channels; see `_Encoded`."""

    @property
    def width(self) -> int:
        return self._encoder.layout.n_decayed

    def _write(self, index: np.ndarray, out: np.ndarray) -> None:
        numbers = np.empty((len(index), self._encoder.layout.gap_channel), "float32")
        self._encoder.encode_facts(*self._read(index), numbers)
        out[:] = numbers[:, : out.shape[1]]


class _FactsAndAmounts(_Facts):
    """Facts, and the same before their tails were folded in; see `_Encoded`."""

    @property
    def width(self) -> int:
        return 2 * super().width

    def _write(self, index: np.ndarray, out: np.ndarray) -> None:
        facts, amounts = np.split(out, 2, axis=1)
        super()._write(index, facts)
        amounts[:] = symexp(facts, self._encoder.layout)


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
    record = ObservationWindow(times.max(initial=0), in_days=False)
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
