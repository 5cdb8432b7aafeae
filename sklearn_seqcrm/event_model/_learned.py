"""What was learned of the events, and rows of them as a network reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.compose import ColumnTransformer

from sklearn_seqcrm._columns import Table, static_parts
from sklearn_seqcrm._encoding import (
    FIRST_LEVEL,
    EncodedLog,
    EventEncoder,
    NumericField,
    Vocabulary,
    encode_rows,
    learn,
)
from sklearn_seqcrm._ragged import ranges, visible_segments
from sklearn_seqcrm._recurrent.data import HistorySource, HistorySpec
from sklearn_seqcrm._store import Log, RawLog, Rows
from sklearn_seqcrm.event_model._interarrival import InterarrivalGrid, OperationalTime
from sklearn_seqcrm.event_model._levels import LevelField
from sklearn_seqcrm.event_model._numbers import NumberField


class StaticNumbers:
    """Encodes the statics of raw rows, as `make_history_pipeline` does."""

    def fit(self, table: Table) -> StaticNumbers:
        """Learn from training rows."""
        # What comes out is no output, whatever table the user wants for those.
        with config_context(transform_output="default"):
            self._columns = ColumnTransformer(static_parts()).fit(table.frame)
        self.n_columns = self.transform(table).shape[1]
        return self

    def transform(self, table: Table) -> np.ndarray:
        """Numbers of rows, shape (n, n_columns), float32."""
        with config_context(transform_output="default"):
            numbers = np.asarray(self._columns.transform(table.frame), "float64")
        return numbers.reshape(len(table.frame), -1).clip(-1e6, 1e6).astype("float32")


_N_LENGTHS = 12
# A simulated customer may be busier than any in training, by this factor.
_ROOM = 2
_FEWEST = 20


class MostEvents(NamedTuple):
    """Most events that one training customer had within times of some lengths.

    Parameters
    ----------
    lengths : tuple of float
        Lengths in ticks, ascending.
    counts : tuple of int
        Most events of one customer in a time of each length.
    """

    lengths: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, times: np.ndarray, offsets: np.ndarray) -> MostEvents:
        """Learn from histories.

        Parameters
        ----------
        times : ndarray of shape (n_events,)
            Times, ascending within a history.
        offsets : ndarray of shape (n + 1,), int64
            History ``i`` is ``times[offsets[i]:offsets[i + 1]]``.
        """
        since = (times - times[offsets[:-1]].repeat(np.diff(offsets))).astype("float64")
        longest = float(since.max(initial=1.0)) or 1.0
        # Histories one behind the other on one axis, so far apart that none meet.
        history = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        lengths = [longest / 2.0**k for k in reversed(range(_N_LENGTHS))]
        counts = []
        for length in lengths:
            place = since + history * (longest + 2 * length)
            until = np.searchsorted(place, place + length, side="right")
            counts.append(int((until - np.arange(len(place))).max(initial=1)))
        return cls(tuple(lengths), tuple(counts))

    def bound(self, length: float) -> int:
        """Most events that a simulated customer may have in so many ticks."""
        at = int(np.searchsorted(self.lengths, length))
        if at < len(self.lengths):
            most: float = self.counts[at]
        else:
            most = self.counts[-1] * length / self.lengths[-1]
        return max(_FEWEST, math.ceil(_ROOM * most))


@dataclass(frozen=True, eq=False)
class LearnedEvents:
    """What was learned of the training events.

    Parameters
    ----------
    encoder : EventEncoder
        Turns events into the numbers that the network reads.
    gaps : InterarrivalGrid
        Unit and resolution of times.
    fields : dict of str to LevelField or NumberField
        The fields in the order in which they are told: the kind of an event first.
    applies : ndarray of shape (n_codes, n_fields), bool, or None
        For each code of the first field, the kind, which fields its events have. None:
        all have all.
    most_events : MostEvents
        How many events training customers had in how long a time.
    names : tuple of (str, str)
        What the customer and the time column were called.
    """

    encoder: EventEncoder
    gaps: InterarrivalGrid
    fields: dict[str, LevelField | NumberField]
    applies: np.ndarray | None
    most_events: MostEvents
    names: tuple[str, str]

    @property
    def spec(self) -> HistorySpec:
        """Shape of the events for a reader."""
        return HistorySpec.of(self.encoder.layout)

    def channels_of(self, field: str) -> list[int]:
        """Channels that the encoder has of a numeric field."""
        own = self.encoder.layout.of_fields[field]
        return [at for at in own if isinstance(at, int)]

    def source(self, rows: Rows, column: str) -> tuple[HistorySource, np.ndarray]:
        """Rows as the network reads them.

        Parameters
        ----------
        rows : Rows of n
            Views of a raw log with the fields of training.
        column : str
            Name of the history column, for errors.

        Returns
        -------
        source : HistorySource
            Its channels are those of the encoder and behind them what a likelihood
            asks about: the cell of the gap before each event, and the targets of each
            numeric field.
        log_censoring_time : ndarray of shape (n,), float32
            How long there was no event before each row's cutoff.
        """
        encoded = encode_rows(self.encoder, rows, column)
        log, raw = encoded.log, rows.log
        assert isinstance(log, EncodedLog)
        assert isinstance(raw, RawLog)
        seen = visible_segments(rows)
        index, offsets = ranges(seen.first, seen.last)
        times = log.timeline.times
        gaps = gaps_before(times, offsets)
        parts = [log.channels, self.gaps.cells(gaps, times - gaps)]
        parts += [
            one.targets(raw.columns[name].take(index), times)
            for name, one in self.fields.items()
            if isinstance(one, NumberField)
        ]
        source = HistorySource(
            np.concatenate(parts, axis=1),
            log.codes,
            times,
            np.maximum(encoded.start, 0),
            np.maximum(encoded.stop, 0),
            encoded.cutoff,
            self.encoder.layout.time_unit,
            self.encoder.layout.gap_channel,
        )
        log_censoring_time = self.gaps.log_censoring_time(
            silence(source), last_times(source)
        )
        return source, log_censoring_time.astype("float32")


def learn_events(
    rows: Rows,
    min_frequency: float | None,
    max_categories: int | None,
    n_components: int,
) -> LearnedEvents:
    """Learn from the events of training rows, no two of which see the same event."""
    _refuse_vectors(rows.log)
    # A kind decides which fields an event has; rare kinds that share a code would have
    # the fields of all kinds.
    encoder, encoded = learn(
        rows, min_frequency, max_categories, "auto", keep_kinds=True
    )
    raw = rows.log
    assert isinstance(raw, RawLog)
    times = encoded.log.timeline.times
    index, offsets = ranges(rows.start, rows.stop)
    own, _ = ranges(encoded.start, encoded.stop)
    times = times[own]
    gaps = gaps_before(times, offsets)
    is_first = np.zeros(len(times), dtype=bool)
    is_first[offsets[:-1]] = True
    last = times[offsets[1:] - 1]
    scale = InterarrivalGrid.of(
        gaps[~is_first],
        (times - gaps)[~is_first],
        encoded.cutoff - last,
        last,
        encoder.layout.time_unit,
        n_components,
        OperationalTime.of(times[gaps > 0], encoder.clock),
    )
    customer = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    moment = np.cumsum(is_first | (scale.steps(gaps) > 0))
    names = list(encoder.fields)
    if raw.kind_field in names:
        names.remove(raw.kind_field)
        names.insert(0, raw.kind_field)
    fields: dict[str, LevelField | NumberField] = {}
    for name in names:
        one, having = encoder.fields[name], _events_having(raw, name, index)
        column = raw.columns[name].take(index[having])
        if isinstance(one, Vocabulary):
            fields[name] = LevelField.of(one, column, moment[having], customer[having])
        elif isinstance(one, NumericField):
            fields[name] = NumberField.of(one, column, times[having], n_components)
        else:
            raise TypeError(
                f"Field {name!r} is {column.type.name}; the model has no density for "
                "fields of this type."
            )
    return LearnedEvents(
        encoder,
        scale,
        fields,
        _applies(raw, fields),
        MostEvents.of(times, offsets),
        raw.names,
    )


def _refuse_vectors(log: Log) -> None:
    """Raise a ValueError for fields that no event can be drawn with."""
    assert isinstance(log, RawLog)
    types = {name: column.type for name, column in log.columns.items()}
    vectors = [name for name, one in types.items() if one.encoding == "vectors"]
    if vectors:
        others = [name for name in log.fields if name not in vectors]
        raise ValueError(
            f"The events have vectors in {vectors}, and this model says what the next "
            "event will be, which it can of numbers, dates and levels. Build the log "
            f"without them, EventLog(..., fields={others}), or with levels, such as "
            "the number of the cluster that each vector is in."
        )


def _events_having(raw: RawLog, field: str, index: np.ndarray) -> np.ndarray:
    """Which of the events at `index` are of a kind that has a field."""
    having = np.ones(len(index), dtype=bool)
    if raw.kind_field is None or field == raw.kind_field:
        return having
    codes, kinds = raw.columns[raw.kind_field]
    assert kinds is not None
    lacking = [name for name, own in raw.kinds.items() if field not in own]
    return ~np.isin(codes[index], kinds.get_indexer(pd.Index(lacking)))


def _applies(
    raw: RawLog, fields: dict[str, LevelField | NumberField]
) -> np.ndarray | None:
    """Which fields the events of each kind have."""
    if raw.kind_field is None or raw.kind_field not in fields:
        return None
    kind = fields[raw.kind_field]
    assert isinstance(kind, LevelField)
    applies = np.ones((kind.n_codes, len(fields)), dtype=bool)
    for code, level in enumerate(kind.levels, start=FIRST_LEVEL):
        own = {raw.kind_field, *raw.kinds.get(level, fields)}
        applies[code] = [name in own for name in fields]
    return applies


def one_row_per_stretch(rows: Rows) -> tuple[Rows, np.ndarray]:
    """Join rows that see events of one stretch, so that each event is seen once.

    Parameters
    ----------
    rows : Rows of n
        Training rows, several of a customer among them.

    Returns
    -------
    joined : Rows
        A row for each stretch of events that some row sees, up to the last of their
        cutoffs. Rows without events have none.
    first : ndarray of int64
        For each of them the row with the earliest cutoff, whose statics say nothing of
        what came after it.
    """
    filled = np.flatnonzero((rows.codes >= 0) & (rows.stop > rows.start))
    order = filled[np.lexsort((rows.cutoff[filled], rows.start[filled]))]
    start, stop, codes = rows.start[order], rows.stop[order], rows.codes[order]
    # Customers stand one after the other in the log, so that no later one's events
    # begin before the last of an earlier one.
    until = np.maximum.accumulate(stop)
    new = np.ones(len(order), dtype=bool)
    new[1:] = (start[1:] > until[:-1]) | (codes[1:] != codes[:-1])
    at = np.flatnonzero(new)
    if not len(at):
        return rows.select(lambda column: column[:0]), at
    stretch = np.cumsum(new) - 1
    cutoff = rows.cutoff[order]
    by_cutoff = np.lexsort((cutoff, stretch))
    first = order[by_cutoff[np.searchsorted(stretch, np.arange(len(at)))]]
    joined = Rows(
        rows.log,
        codes[at],
        start[at],
        np.maximum.reduceat(stop, at),
        np.maximum.reduceat(cutoff, at),
    )
    return joined, first


def gaps_before(times: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Ticks between each event and the one before; 0 for the first of a segment."""
    gaps = np.diff(times, prepend=times[:1])
    gaps[offsets[:-1][np.diff(offsets) > 0]] = 0
    return gaps


def last_times(source: HistorySource) -> np.ndarray:
    """Time of the last event of each row, or its cutoff if it has none, shape (n,)."""
    filled = source.stop > source.start
    last = source.cutoff.copy()
    last[filled] = source.times[source.stop[filled] - 1]
    return last


def silence(source: HistorySource) -> np.ndarray:
    """Ticks from the last event of each row to its cutoff, shape (n,), float64."""
    return (source.cutoff - last_times(source)).astype("float64")
