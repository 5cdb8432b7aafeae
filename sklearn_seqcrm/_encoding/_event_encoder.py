"""A fitted encoder of events, and the events that rows see, encoded by it.

Events of a log in memory are encoded at once; those of a log on a disk are encoded
whenever a batch indexes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np

from sklearn_seqcrm._encoding._encoded_log import EncodedLog, symexp
from sklearn_seqcrm._encoding._fields import FieldEncoder, fitting_columns
from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._encoding._level_vectors import LevelVectors
from sklearn_seqcrm._ragged import (
    NO_ROW,
    blocks,
    decayed_sums,
    groups,
    is_segment_start,
    ranges,
    starts_in_segments,
    starts_of_nonempty,
    visible_segments,
)
from sklearn_seqcrm._store import (
    Clock,
    Column,
    FieldSchema,
    Kinds,
    Log,
    RawLog,
    Rows,
    Timeline,
)

_WIDTH = 4  # numbers of an event that are processed at a time, see `blocks`
_PORTION = 1  # and for decayed sums: as many events as a block has numbers
# Factor on the channels of the calendar. Most calendars hold little signal, and a
# network of this size memorises their noise if they are as large as other channels: on
# simulated journeys a factor of 1 cost .02 in AUC.
CALENDAR_WEIGHT = 0.25


@dataclass(frozen=True, eq=False)
class EventEncoder:
    """A fitted encoder of the raw events of one history column.

    Made by `learn`, not by hand. Each event is encoded by itself, so that a single new
    event gets the numbers that it would have in any block of a log.

    Parameters
    ----------
    clock : Clock
        Unit of times and interarrival times.
    schema : dict of str to FieldSchema
        Schema of each field, to check whether another log fits.
    fields : dict of str to FieldEncoder
        Fitted encoder of each field.
    layout : Layout
        What channels and codes mean.
    interarrival_scale : tuple of (float, float)
        Center and scale of the logarithms of interarrival times.
    row_scale : ndarray of shape (2, n_row_features)
        Center and scale of the row features among the training rows.
    merged_from : Kinds or None, default=None
        Kinds of events with their fields, if the training log has kinds.
    level_vectors : dict of str to LevelVectors
        Vectors of the levels of fields that have more levels than codes, if steps are
        moments.
    """

    clock: Clock
    schema: dict[str, FieldSchema]
    fields: dict[str, FieldEncoder]
    layout: Layout
    interarrival_scale: tuple[float, float]
    row_scale: np.ndarray
    merged_from: Kinds | None = None
    level_vectors: dict[str, LevelVectors] = field(default_factory=dict)

    def encode(
        self,
        columns: Mapping[str, Column],
        times: np.ndarray,
        interarrival: np.ndarray,
        out: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Encode a block of events.

        Parameters
        ----------
        columns : mapping of str to Column
            The fields of these n events; further columns are ignored.
        times : ndarray of shape (n,)
            Their times, in ticks of `clock`.
        interarrival : ndarray of shape (n,)
            Ticks since the customer's previous event; NaN if there is none that the
            rows see.
        out : tuple of (ndarray, ndarray)
            Where to write channels, shape (n, n_channels), float32, in the order of
            ``layout.channels``, and codes, shape (n, n_codes), int32, in that of
            ``layout.codes``.
        """
        channels, codes = out
        self.encode_facts(columns, times, out=channels)
        times_begin = self.layout.interarrival_channel
        self.encode_times(times, interarrival, out=channels[:, times_begin:])
        self.encode_levels(columns, times, out=codes)

    def encode_facts(
        self, columns: Mapping[str, Column], times: np.ndarray, out: np.ndarray
    ) -> None:
        """Write the channels of fields, and the marks of missing values.

        Parameters
        ----------
        columns, times : object
            As in `encode`.
        out : ndarray of shape (n, interarrival_channel) or wider, float32
            Where to write them.
        """
        for name, own in self.layout.of_fields.items():
            # (n,) into a column, (n, n_components) into a slice of columns.
            encoder = self.encoder_of_channels(name)
            out[:, own.values], is_missing = encoder.encode(columns[name], times)
            if own.mark is not None:
                out[:, own.mark] = is_missing

    def encoder_of_channels(self, name: str) -> FieldEncoder:
        """Return the encoder that writes the channels of a field."""
        return self.level_vectors.get(name, self.fields[name])

    def encode_levels(
        self, columns: Mapping[str, Column], times: np.ndarray, out: np.ndarray
    ) -> None:
        """Write the codes of fields.

        Parameters
        ----------
        columns, times : object
            As in `encode`.
        out : ndarray of shape (n, n_codes), int32
            Where to write them.
        """
        for code, name in enumerate(self.layout.codes):
            out[:, code], _ = self.fields[name].encode(columns[name], times)

    def encode_times(
        self, times: np.ndarray, interarrival: np.ndarray, out: np.ndarray
    ) -> None:
        """Write the channels of times: the interarrival time and the calendar.

        Parameters
        ----------
        times, interarrival : ndarray of shape (n,)
            As in `encode`.
        out : ndarray of shape (n, n_channels - interarrival_channel), float32
            Where to write them.
        """
        center, spread = self.interarrival_scale
        scaled = (np.log1p(interarrival / self.layout.time_unit) - center) / spread
        # A first event has no interarrival time; 0 is the mean of those that have.
        scaled[np.isnan(scaled)] = 0
        out[:, 0] = scaled
        out[:, 1:] = CALENDAR_WEIGHT * self.layout.waves(times)

    def prepared_for(self, columns: Mapping[str, Column]) -> EventEncoder:
        """Return an equal encoder that encodes many blocks of one log faster.

        Parameters
        ----------
        columns : mapping of str to Column
            The columns that the blocks are taken from.

        Returns
        -------
        EventEncoder
            It has looked up the levels of the log, once instead of in every block.
        """
        fields = {n: one.prepared_for(columns[n]) for n, one in self.fields.items()}
        vectors = {
            name: one.prepared_for(columns[name])
            for name, one in self.level_vectors.items()
        }
        return replace(self, fields=fields, level_vectors=vectors)

    def with_digests(self) -> EventEncoder:
        """Return the encoder with digests of what it has learned in its layout."""
        fields = {name: one.learned() for name, one in self.fields.items()}
        layout = replace(self.layout, half_lives=(), digest="", of_events="")
        of_events = repr((layout, fields, self.interarrival_scale))
        if self.level_vectors:
            of_events += repr([one.learned() for one in self.level_vectors.values()])
        # Half-lives concern row features only, so that `of_events` leaves them out.
        whole = of_events + repr((self.layout.half_lives, self.row_scale.tolist()))
        digest, of_events = (
            hashlib.sha256(one.encode()).hexdigest()[:16] for one in (whole, of_events)
        )
        layout = replace(self.layout, digest=digest, of_events=of_events)
        return replace(self, layout=layout)


class LearnedEncoding(NamedTuple):
    """What a fitted encoder of all history columns of a table has learned.

    An encoder keeps it as ``_learned``; get it by `learned_encoding`.

    Parameters
    ----------
    encoders : dict of str to EventEncoder
        Fitted encoder of each history column.
    roles : ColumnRoles
        Roles of the columns of the table.
    cut_off : list of str
        History columns of which a lookback left out events in `fit`.
    """

    encoders: dict[Any, EventEncoder]
    roles: Any
    cut_off: list[Any]


def learned_encoding(transformer: Any) -> LearnedEncoding | None:
    """Return what a transformer has learned, if it is a fitted `HistoryEncoder`.

    Parameters
    ----------
    transformer : object
        Any step of a pipeline.
    """
    learned = getattr(transformer, "_learned", None)
    return learned if isinstance(learned, LearnedEncoding) else None


class OnDemandNumbers:
    """Numbers of all events of a log, which are encoded when they are indexed.

    A stand-in for an array of shape (n_events, width).

    Parameters
    ----------
    n_events, width : int
        Its shape.
    dtype : str
        NumPy type of the numbers.
    write : callable
        Takes positions of n events and an array of shape (n, width), and writes their
        numbers into it.
    """

    def __init__(
        self,
        n_events: int,
        width: int,
        dtype: str,
        write: Callable[[np.ndarray, np.ndarray], None],
    ) -> None:
        self.shape = n_events, width
        self.dtype = np.dtype(dtype)
        self._write = write

    def __len__(self) -> int:
        """Number of events."""
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return the numbers of events at positions of any shape, or of a slice."""
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)))
        flat = np.asarray(index).ravel()
        numbers = np.empty((len(flat), self.shape[1]), self.dtype)
        for some in blocks(len(flat), _WIDTH):
            self._write(flat[some], numbers[some])
        return numbers.reshape(*np.shape(index), self.shape[1])


class ViewedLog(EncodedLog):
    """A raw log seen through an encoder; events keep their positions.

    Parameters
    ----------
    raw : RawLog
        The log; its clock is that of the encoder.
    encoder : EventEncoder
        The fitted encoder.
    begins : ndarray of shape (n,), int64
        Events that are the first that a row sees, although their customer has earlier
        ones; ascending.
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

    @property
    def _facts_and_amounts(self) -> Any:
        return self._numbers(2 * self._layout.n_decayed, self._write_facts_and_amounts)

    def _numbers(self, width: int, write: Any, dtype: str = "float32") -> Any:
        return OnDemandNumbers(len(self), width, dtype, write)

    def _write_channels(self, index: np.ndarray, out: np.ndarray) -> None:
        columns, times = self._at(index, self._layout.of_fields)
        interarrival = (times - self._timeline.times[index - 1]).astype("float64")
        interarrival[is_segment_start(self._firsts, index)] = np.nan
        self._encoder.encode_facts(columns, times, out)
        times_begin = self._layout.interarrival_channel
        self._encoder.encode_times(times, interarrival, out[:, times_begin:])

    def _write_codes(self, index: np.ndarray, out: np.ndarray) -> None:
        self._encoder.encode_levels(*self._at(index, self._layout.codes), out)

    def _write_facts(self, index: np.ndarray, out: np.ndarray) -> None:
        numbers = np.empty((len(index), self._layout.interarrival_channel), "float32")
        self._encoder.encode_facts(*self._at(index, self._layout.of_fields), numbers)
        out[:] = numbers[:, : out.shape[1]]

    def _write_facts_and_amounts(self, index: np.ndarray, out: np.ndarray) -> None:
        facts, amounts = np.split(out, 2, axis=1)
        self._write_facts(index, facts)
        amounts[:] = symexp(facts, self._layout)

    def _at(
        self, index: np.ndarray, names: Iterable[str]
    ) -> tuple[dict[str, Column], np.ndarray]:
        """Return fields and times of some events."""
        columns = {name: self._raw.column(name).take(index) for name in names}
        return columns, self._timeline.times[index]

    def _decayed(self, rows: Rows, values: Any) -> np.ndarray:
        """Sums of all rows, those of some customers at a time."""
        half_lives = np.asarray(self._layout.half_lives)
        # (n, n_half_lives, 1 + n_values): a decayed count, then decayed sums
        result = np.zeros((len(rows.codes), len(half_lives), 1 + values.shape[1]))
        seen = visible_segments(rows)
        order = np.argsort(seen.of_row, kind="stable")
        ends = np.searchsorted(
            seen.of_row[order], np.arange(len(seen.codes) + 1), side="left"
        )
        for one, following in groups(np.cumsum(seen.last - seen.first), _PORTION):
            some = seen.rows[order[ends[one] : ends[following]]]
            own = rows.take(some)
            result[some] = decayed_sums(own, self._timeline.times, values, half_lives)
        return result

    def with_layout(self, layout: Layout, row_scale: np.ndarray) -> EncodedLog:
        encoder = replace(self._encoder, layout=layout, row_scale=row_scale)
        return ViewedLog(self._raw, encoder, self._begins)

    def stack(self, logs: Sequence[Log], timeline: Timeline) -> Self:
        return self.in_memory().stack(logs, timeline)  # type: ignore[return-value]

    def in_memory(self) -> EncodedLog:
        return self.take(self.timeline, np.arange(len(self)))

    def _with(self, timeline: Timeline, channels: np.ndarray, codes: np.ndarray) -> Any:
        layout, scale = self._layout, self._row_scale
        return EncodedLog(timeline, channels, codes, layout, scale, self._names)


def view_encoded(encoder: EventEncoder, rows: Rows, column: str) -> Rows:
    """View encoded events; those of a log on a disk are encoded when they are indexed.

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
        The same rows; their log is an `EncodedLog`. Their starts are equal or in order
        as those of `encode_rows` are.
    """
    log = rows.log
    if not log.is_on_disk or log.timeline.clock != encoder.clock:
        return encode_rows(encoder, rows, column)
    log = fitting_rows(encoder, rows, column).log
    assert isinstance(log, RawLog)
    seen = visible_segments(rows)
    filled = seen.last > seen.first
    begins = seen.first[filled]
    begins = begins[begins > log.timeline.offsets[seen.codes[filled]]]
    # A segment without events stands before the next one that has some:
    # first     3   7   7   9       (the second and the third are empty)
    # place     3   9   9   9
    place = np.append(np.where(filled, seen.first, len(log)), len(log))
    place = np.minimum.accumulate(place[::-1])[::-1]
    start = np.where(rows.start == NO_ROW, NO_ROW, place[0])
    start[seen.rows] = place[seen.of_row]
    has_event = rows.stop > rows.start
    start[has_event] = rows.start[has_event]
    stop = start + (rows.stop - rows.start)
    viewed = ViewedLog(log, encoder, begins)
    return Rows(viewed, rows.identities, start, stop, rows.cutoff)


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
    log, seen = fitting_rows(encoder, rows, column).log, visible_segments(rows)
    assert isinstance(log, RawLog)
    index, offsets = ranges(seen.first, seen.last)
    clock, old = encoder.clock, log.timeline.clock
    times, cutoff = log.timeline.times[index], rows.cutoff
    if old != clock:
        what = f"times of the histories in {column!r}"
        times = clock.read(old.as_index(times), what, up=False)
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


def fitting_rows(encoder: EventEncoder, rows: Rows, column: str) -> Rows:
    """Return the rows with fields of the types of training; see `fitting_columns`.

    The parameters are those of `encode_rows`.
    """
    log = rows.log
    assert isinstance(log, RawLog)
    columns = log.columns
    fitting = fitting_columns(columns, encoder.schema, column, encoder.merged_from)
    if fitting is columns:
        return rows
    return rows._replace(log=log.with_events(log.timeline, dict(fitting)))


def _encode_events(
    encoder: EventEncoder,
    log: RawLog,
    index: np.ndarray,
    offsets: np.ndarray,
    times: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return channels and codes of events, encoded block by block.

    Parameters
    ----------
    encoder : EventEncoder
        The fitted encoder.
    log : RawLog
        The log.
    index : ndarray of shape (n_events,)
        Positions of the events.
    offsets : ndarray of shape (n_segments + 1,)
        Segment ``i``, the events of one customer, is
        ``index[offsets[i]:offsets[i + 1]]``.
    times : ndarray of shape (n_events,)
        Times of the events on the clock of the encoder.
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
