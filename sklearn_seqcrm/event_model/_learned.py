"""Learned parameters of the training rows, and new rows encoded by them.

An encoded event is a line of channels and codes. Channels form named blocks, of
which only the first are inputs of the network; the others are targets of the
likelihood::

    |<------------ network ------------>| cell  | targets of each numeric field |
    | facts |<--------- time ---------->| u | w | u | w | atom |  u | w | atom  |

where ``u`` is the upper end of a cell and ``w`` its width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.compose import ColumnTransformer

from sklearn_seqcrm._columns import ColumnRoles, Table, static_parts
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
from sklearn_seqcrm._recurrent.data import HistorySource, HistorySpec, RowData
from sklearn_seqcrm._store import RawLog, Rows
from sklearn_seqcrm.event_model._fields import (
    FieldBlocks,
    LearnedField,
    TrainingEvents,
)
from sklearn_seqcrm.event_model._interarrival import InterarrivalGrid, OperationalTime
from sklearn_seqcrm.event_model._levels import LevelField
from sklearn_seqcrm.event_model._numbers import NumberField
from sklearn_seqcrm.events import HistoryArray

# Types of fields by their encoder.
FIELD_DENSITIES: dict[type, type[LearnedField]] = {
    Vocabulary: LevelField,
    NumericField: NumberField,
}


class StaticNumbers:
    """Encodes the statics of raw rows as `make_history_pipeline` does."""

    def fit(self, table: Table) -> StaticNumbers:
        """Learn from training rows."""
        # The numbers are internal: the user's choice of an output table does not apply.
        with config_context(transform_output="default"):
            self._columns = ColumnTransformer(static_parts()).fit(table.frame)
        return self

    def transform(self, table: Table) -> np.ndarray:
        """Return the numbers of rows, shape (n, n_columns), float32."""
        with config_context(transform_output="default"):
            numbers = np.asarray(self._columns.transform(table.frame), "float64")
        return numbers.reshape(len(table.frame), -1).clip(-1e6, 1e6).astype("float32")


_N_LENGTHS = 12
# A simulated customer may be busier than any in training, by this factor.
_BOUND_FACTOR = 2
_LEAST_BOUND = 20


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
        """Count in histories.

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
        """Return the most events of a simulated customer within `length` ticks."""
        at = int(np.searchsorted(self.lengths, length))
        if at < len(self.lengths):
            most: float = self.counts[at]
        else:  # longer than any history: at the pace of the longest length
            most = self.counts[-1] * length / self.lengths[-1]
        return max(_LEAST_BOUND, math.ceil(_BOUND_FACTOR * most))


class ChannelBlocks(NamedTuple):
    """Blocks of the channels of encoded events.

    Parameters
    ----------
    network : slice
        What the network takes in.
    time : slice
        The part of it that follows from the time of an event.
    cell : slice
        Upper end and width of the cell of the interarrival time.
    targets : dict of str to slice
        Targets of each field, see `LearnedField.targets`.
    """

    network: slice
    time: slice
    cell: slice
    targets: dict[str, slice]


def split_static(static: Any) -> tuple[Any, Any]:
    """Return statics of shape (n, S) and the log censoring time of shape (n,).

    They are the columns of `RowData.static` of event models.
    """
    return static[:, :-1], static[:, -1]


@dataclass(frozen=True, eq=False)
class LearnedEvents:
    """What was learned of the training rows and their events.

    Parameters
    ----------
    roles : ColumnRoles
        Roles of the columns of X.
    statics : StaticNumbers
        Encodes the statics.
    encoder : EventEncoder
        Encodes the events for the network.
    grid : InterarrivalGrid
        Unit and resolution of interarrival times.
    fields : dict of str to LearnedField
        The fields in the order in which they are predicted: the kind of an event first.
    applies : ndarray of shape (n_codes, n_fields), bool, or None
        For each code of the first field, the kind, which fields its events have. None:
        all events have all fields.
    most_events : MostEvents
        How many events training customers had in how long a time.
    names : tuple of (str, str)
        Names of the customer and the time column.
    """

    roles: ColumnRoles
    statics: StaticNumbers
    encoder: EventEncoder
    grid: InterarrivalGrid
    fields: dict[str, LearnedField]
    applies: np.ndarray | None
    most_events: MostEvents
    names: tuple[str, str]

    @property
    def spec(self) -> HistorySpec:
        """Shape of the events for a reader."""
        return HistorySpec.of(self.encoder.layout)

    @cached_property
    def blocks(self) -> ChannelBlocks:
        """Blocks of the channels of encoded events."""
        layout = self.encoder.layout
        n = len(layout.channels)
        ends = n + 2 + np.cumsum([one.n_targets for one in self.fields.values()])
        return ChannelBlocks(
            slice(0, n),
            slice(layout.interarrival_channel, n),
            slice(n, n + 2),
            {
                name: slice(int(end) - one.n_targets, int(end))
                for (name, one), end in zip(self.fields.items(), ends, strict=True)
            },
        )

    def blocks_of(self, field: str) -> FieldBlocks:
        """Return the channels and codes of a field in encoded events."""
        layout, targets = self.encoder.layout, self.blocks.targets[field]
        if field in layout.codes:
            return FieldBlocks(layout.codes.index(field), [], targets)
        channels = [at for at in layout.of_fields[field] if isinstance(at, int)]
        return FieldBlocks(None, channels, targets)

    def level_field(self, name: str) -> LevelField:
        """Return a categorical field; raise a ValueError if there is none."""
        own = {k: one for k, one in self.fields.items() if isinstance(one, LevelField)}
        if name not in own:
            raise ValueError(
                f"field must be one of the categorical fields {list(own)}; got "
                f"{name!r}."
            )
        return own[name]

    def read(self, X: Any, estimator: Any) -> tuple[RowData, HistoryArray]:
        """Return any rows encoded for the network, and their raw histories."""
        table = select_raw(self.roles, X, estimator)
        [array] = table.histories.values()
        return self.encode(table, array.rows, np.arange(len(array))), array

    def encode(self, table: Table, rows: Rows, row: np.ndarray) -> RowData:
        """Return rows encoded for the network.

        Parameters
        ----------
        table : Table
            Rows of X.
        rows : Rows of n
            Views of a raw log with the fields of training.
        row : ndarray of shape (n,), int64
            Position in the table of the row whose statics each has.

        Returns
        -------
        RowData of n
            The channels of its source are those of `blocks`; `split_static` takes
            statics and the censoring time apart.
        """
        [column] = table.histories
        encoded = encode_rows(self.encoder, rows, column)
        log, raw = encoded.log, rows.log
        assert isinstance(log, EncodedLog)
        assert isinstance(raw, RawLog)
        seen = visible_segments(rows)
        index, offsets = ranges(seen.first, seen.last)
        times = log.timeline.times
        interarrival = interarrival_times(times, offsets)
        parts = [log.channels, self.grid.cells(interarrival, times - interarrival)]
        parts += [
            one.targets(raw.columns[name].take(index), times)
            for name, one in self.fields.items()
        ]
        source = HistorySource(
            np.concatenate(parts, axis=1),
            log.codes,
            times,
            np.maximum(encoded.start, 0),
            np.maximum(encoded.stop, 0),
            encoded.cutoff,
            self.encoder.layout.time_unit,
            self.encoder.layout.interarrival_channel,
        )
        last, time_since_last = last_times(source)
        censored = self.grid.log_censoring_time(time_since_last, last)
        static = self.statics.transform(table)[row]
        static = np.column_stack([static, censored.astype("float32")])
        return RowData((source,), static)


def select_raw(roles: ColumnRoles, X: Any, estimator: Any) -> Table:
    """Return the columns of X that were learned, with one column of raw histories."""
    name, histories = type(estimator).__name__, roles.histories
    if len(histories) > 1:
        raise ValueError(
            f"X has {len(histories)} history columns, {list(histories)}, and {name} "
            "draws one sequence of events. EventLog.concat merges logs of different "
            "fields, so that it is known what came before what."
        )
    table = roles.select(X, estimator).refuse_no_rows(name)
    return table.refuse_encoded(name).refuse_missing()


def learn_events(
    table: Table,
    roles: ColumnRoles,
    rows: Rows,
    min_frequency: float | None,
    max_categories: int | None,
    n_components: int,
) -> LearnedEvents:
    """Learn from training rows.

    Parameters
    ----------
    table : Table
        All training rows.
    roles : ColumnRoles
        Roles of their columns.
    rows : Rows of n
        Views of their events, each with one event at least, each event in one view.
    min_frequency, max_categories, n_components
        As in `LSTMEventModel`.
    """
    statics = StaticNumbers().fit(table)
    raw = rows.log
    assert isinstance(raw, RawLog)
    _refuse_vectors(raw)
    # Each kind of event keeps a code of its own, however rare: it decides which fields
    # an event has.
    encoder, encoded = learn(
        rows, min_frequency, max_categories, "auto", keep_kinds=True
    )
    index, offsets = ranges(rows.start, rows.stop)
    own, _ = ranges(encoded.start, encoded.stop)
    times = encoded.log.timeline.times[own]
    interarrival = interarrival_times(times, offsets)
    is_first = np.zeros(len(times), dtype=bool)
    is_first[offsets[:-1]] = True
    last = times[offsets[1:] - 1]
    grid = InterarrivalGrid.of(
        interarrival[~is_first],
        (times - interarrival)[~is_first],
        encoded.cutoff - last,
        last,
        encoder.layout.time_unit,
        n_components,
        OperationalTime.of(times[interarrival > 0], encoder.clock),
    )
    events = TrainingEvents(
        times,
        np.cumsum(is_first | (grid.steps(interarrival) > 0)),
        np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)),
    )
    fields = _learn_fields(raw, encoder, index, events, n_components)
    return LearnedEvents(
        roles,
        statics,
        encoder,
        grid,
        fields,
        _fields_of_kinds(raw, fields),
        MostEvents.of(times, offsets),
        raw.names,
    )


def _learn_fields(
    raw: RawLog,
    encoder: EventEncoder,
    index: np.ndarray,
    events: TrainingEvents,
    n_components: int,
) -> dict[str, LearnedField]:
    """Return the learned parameters of each field, the kind of an event first.

    `index`, of shape (n,), are the positions of the events in the raw log.
    """
    fields: dict[str, LearnedField] = {}
    for name in sorted(encoder.fields, key=lambda name: name != raw.kind_field):
        one, having = encoder.fields[name], _events_having(raw, name, index)
        column = raw.columns[name].take(index[having])
        own = TrainingEvents(*(part[having] for part in events))
        if type(one) not in FIELD_DENSITIES:
            raise TypeError(
                f"Field {name!r} is {column.type}; the model has no density for fields "
                "of this type."
            )
        density = FIELD_DENSITIES[type(one)]
        fields[name] = density.learn(one, column, own, n_components)
    return fields


def _refuse_vectors(log: RawLog) -> None:
    """Raise a ValueError for fields that no event can be drawn with."""
    types = {name: column.type for name, column in log.columns.items()}
    vectors = [name for name, one in types.items() if one.encoding == "vectors"]
    if vectors:
        others = [name for name in log.fields if name not in vectors]
        raise ValueError(
            f"The events have vectors in {vectors}, and this model predicts the next "
            "event, which may have numbers, dates and levels alone. Build the log "
            f"without vectors, EventLog(..., fields={others}), or with levels, such as "
            "the number of the cluster that each vector is in."
        )


def _events_having(raw: RawLog, field: str, index: np.ndarray) -> np.ndarray:
    """Return which of the events at `index` are of a kind that has a field."""
    if raw.kind_field is None or field == raw.kind_field:
        return np.ones(len(index), dtype=bool)
    codes, kinds = raw.columns[raw.kind_field]
    assert kinds is not None
    lacking = [name for name, own in raw.kinds.items() if field not in own]
    return ~np.isin(codes[index], kinds.get_indexer(pd.Index(lacking)))


def _fields_of_kinds(raw: RawLog, fields: dict[str, LearnedField]) -> np.ndarray | None:
    """Return `LearnedEvents.applies`."""
    if raw.kind_field is None or raw.kind_field not in fields:
        return None
    kind = fields[raw.kind_field]
    assert isinstance(kind, LevelField)
    applies = np.ones((kind.n_codes, len(fields)), dtype=bool)
    for code, level in enumerate(kind.levels, start=FIRST_LEVEL):
        own = {raw.kind_field, *raw.kinds.get(level, fields)}
        applies[code] = [name in own for name in fields]
    return applies


def join_overlapping(rows: Rows) -> tuple[Rows, np.ndarray]:
    """Join rows whose views meet, so that each event is in one view.

    Parameters
    ----------
    rows : Rows of n
        Training rows, several of a customer among them::

            row 1     |---------|          cutoffs of a customer's rows
            row 2     |-------------|
            row 3                    |--|  with a lookback
            joined    |-------------||--|

    Returns
    -------
    joined : Rows
        A row for each maximal run of events that some row sees, up to the last of their
        cutoffs. Rows without events have none.
    first : ndarray of int64
        For each of them the row with the earliest cutoff: its statics cannot depend
        on later events.
    """
    filled = np.flatnonzero((rows.codes >= 0) & (rows.stop > rows.start))
    order = filled[np.lexsort((rows.cutoff[filled], rows.start[filled]))]
    start, stop, codes = rows.start[order], rows.stop[order], rows.codes[order]
    # Customers stand one after the other in the log: no events of a later one begin
    # before the last of an earlier one.
    until = np.maximum.accumulate(stop)
    new = np.ones(len(order), dtype=bool)
    new[1:] = (start[1:] > until[:-1]) | (codes[1:] != codes[:-1])
    at = np.flatnonzero(new)
    if not len(at):
        return rows.select(lambda column: column[:0]), at
    run = np.cumsum(new) - 1
    cutoff = rows.cutoff[order]
    by_cutoff = np.lexsort((cutoff, run))
    first = order[by_cutoff[np.searchsorted(run, np.arange(len(at)))]]
    joined = Rows(
        rows.log,
        codes[at],
        start[at],
        np.maximum.reduceat(stop, at),
        np.maximum.reduceat(cutoff, at),
    )
    return joined, first


def interarrival_times(times: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return ticks since the previous event; 0 for the first of a history."""
    interarrival = np.diff(times, prepend=times[:1])
    interarrival[offsets[:-1][np.diff(offsets) > 0]] = 0
    return interarrival


def event_counts(data: RowData) -> np.ndarray:
    """Return the number of events of rows, shape (n,), int64."""
    [source] = data.sources
    return source.stop - source.start


def last_times(source: HistorySource) -> tuple[np.ndarray, np.ndarray]:
    """Return the time of the last event of rows, and ticks from there to the cutoff.

    Without events, the time is that of the cutoff. Both have the shape (n,); ticks are
    float64.
    """
    filled = source.stop > source.start
    last = source.cutoff.copy()
    last[filled] = source.times[source.stop[filled] - 1]
    return last, (source.cutoff - last).astype("float64")
