"""An encoded log whose events are encoded when somebody reads them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np

from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._event_encoder import EventEncoder
from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._encoding._row_features import unfolded
from sklearn_seqcrm._ragged import (
    blocks,
    decayed_sums,
    groups,
    is_first_of,
    visible_segments,
)
from sklearn_seqcrm._store import Column, Log, RawLog, Rows, Timeline

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
        amounts[:] = unfolded(facts, self._encoder.layout)
