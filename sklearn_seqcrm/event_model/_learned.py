"""What was learned from training rows before the network, and rows encoded by it.

An encoded event is a row of channels (floats) and codes (levels). The channels form
blocks: the network takes in only the first block, and the likelihood uses the others::

    |<------------ network ------------>| cell  | targets of each numeric field |
    | facts |<--------- time ---------->| u | w | u | w | atom |  u | w | atom  |

Numbers are interval-censored, because they are rounded: the likelihood of a number is
the probability of the interval (u - w, u], with the upper end ``u`` and the width
``w``. The cell is the interval of the interarrival time. ``atom`` is the index of a
point mass, or -1 for a number that is at none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer

from sklearn_seqcrm._columns import ColumnRoles, Table
from sklearn_seqcrm._encoding import (
    EncodedLog,
    EventEncoder,
    cycle_names,
    encode_rows,
    rows_as_in_fit,
)
from sklearn_seqcrm._ragged import (
    ranges,
    segment_numbers,
    starts_of_nonempty,
    visible_events,
    visible_segments,
)
from sklearn_seqcrm._recurrent.data import (
    HistorySource,
    HistorySpec,
    RowData,
    RowViews,
    join_moments,
)
from sklearn_seqcrm._store import Column, RawLog, Rows
from sklearn_seqcrm.event_model._busiest_windows import BusiestWindows
from sklearn_seqcrm.event_model._event_rate import EventRate
from sklearn_seqcrm.event_model._fields import FieldDensity
from sklearn_seqcrm.event_model._interarrival import TIE, InterarrivalGrid
from sklearn_seqcrm.event_model._levels import LevelDensity, LevelField
from sklearn_seqcrm.event_model._numbers import (
    N_TARGETS,
    NumberColumns,
    NumberDensity,
    NumberField,
)
from sklearn_seqcrm.event_model._source_columns import SourceColumns
from sklearn_seqcrm.event_model._usual_numbers import NO_CUSTOMER
from sklearn_seqcrm.events import HistoryArray


class ChannelBlocks(NamedTuple):
    """Blocks of the channels of encoded events."""

    network: slice  # inputs of the network
    time: slice  # the inputs that depend on the time of an event
    cell: slice  # upper end and width of the cell of the interarrival time
    targets: dict[str, slice]  # `NumberField.targets` of each numeric field

    @property
    def times(self) -> slice:
        """The blocks `time` and `cell`, which stand next to each other."""
        return slice(self.time.start, self.cell.stop)


class StaticColumns(NamedTuple):
    """Columns of `RowData.static` of event models."""

    statics: Any  # (n, S): the encoded statics
    rate: EventRate  # rate of the events up to the cutoff
    waited: Any  # (n,): weighted waiting time for the first event, in units
    log_censoring_time: Any  # (n,): as `InterarrivalGrid.log_censoring_time` returns it


def n_statics(static: Any) -> int:
    """Return S, given `RowData.static`, of which ranks may know only the shape."""
    return static.shape[1] - 4


def split_static(static: Any) -> StaticColumns:
    """Return the parts of `RowData.static`, of shape (n, S + 4)."""
    n_repeats, elapsed, waited, log_censoring_time = static[:, -4:].T
    rate = EventRate(n_repeats, elapsed)
    return StaticColumns(static[:, :-4], rate, waited, log_censoring_time)


@dataclass(frozen=True, eq=False)
class LearnedEvents:
    """Encoders, fields and resolution of times that were learned from training rows."""

    roles: ColumnRoles  # roles of the columns of X
    # Encodes the statics, as in `make_history_pipeline`.
    statics: ColumnTransformer
    encoder: EventEncoder  # encodes the events for the network
    grid: InterarrivalGrid  # unit and resolution of interarrival times
    # The fields in the order in which they are predicted: the kind of an event first.
    fields: dict[str, LevelField | NumberField]
    # (n_codes, n_fields), bool, or None: for each code of the first field, the kind,
    # which fields its events have. None: all events have all fields.
    applies: np.ndarray | None
    # Largest numbers of events of training customers, which bound simulations.
    most_events: BusiestWindows
    names: tuple[str, str]  # names of the customer and the time column
    # Whether training puts the lines of a moment in random order: it reads by moments,
    # and the order is random already.
    shuffles_lines: bool

    @property
    def spec(self) -> HistorySpec:
        """Shape of the events for a reader."""
        return HistorySpec.of(self.encoder.layout)

    @cached_property
    def blocks(self) -> ChannelBlocks:
        """Blocks of the channels of encoded events."""
        layout = self.encoder.layout
        n = len(layout.channels)
        starts = range(n + 2, n + 2 + N_TARGETS * len(self.number_fields), N_TARGETS)
        return ChannelBlocks(
            slice(0, n),
            slice(layout.interarrival_channel, n),
            slice(n, n + 2),
            {
                name: slice(start, start + N_TARGETS)
                for name, start in zip(self.number_fields, starts, strict=True)
            },
        )

    @cached_property
    def is_clock(self) -> np.ndarray:
        """Which channels of the block `time` are the hour or the weekday, bool."""
        waves = cycle_names(self.encoder.layout.calendar)
        return np.array([False, *(not name.startswith("year_") for name in waves)])

    @cached_property
    def level_columns(self) -> dict[str, int]:
        """Columns of the codes that have the levels of categorical fields."""
        first = len(self.encoder.layout.codes)
        return {name: first + i for i, name in enumerate(self.level_fields)}

    @cached_property
    def number_columns(self) -> dict[str, NumberColumns]:
        """Columns of the channels and codes that have the numbers of fields."""
        layout, levels = self.encoder.layout, self.level_columns
        first = len(layout.codes) + len(levels)
        found = {}
        for name, field in self.number_fields.items():
            channels = [at for at in layout.of_fields[name] if isinstance(at, int)]
            copied = SourceColumns.of(field.sources, levels, first)
            found[name] = NumberColumns(channels, self.blocks.targets[name], copied)
            first = copied.own.stop
        return found

    def densities(
        self, size: int, copies: bool, generator: torch.Generator
    ) -> Iterator[FieldDensity]:
        """Yield a new density of each field, given a context of length `size`."""
        layout = self.encoder.layout
        for name, field in self.fields.items():
            if isinstance(field, NumberField):
                columns = self.number_columns[name]
                yield NumberDensity(size, field, columns, copies, generator)
            else:
                code, level = layout.codes.index(name), self.level_columns[name]
                yield LevelDensity(size, field, code, level, copies, generator)

    @cached_property
    def level_fields(self) -> dict[str, LevelField]:
        """Categorical fields, in the order of the columns of their levels."""
        fields = self.fields.items()
        return {name: one for name, one in fields if isinstance(one, LevelField)}

    @cached_property
    def number_fields(self) -> dict[str, NumberField]:
        """Numeric fields, in the order of their targets."""
        fields = self.fields.items()
        return {name: one for name, one in fields if isinstance(one, NumberField)}

    def with_new_levels(self, rows: Rows) -> LearnedEvents:
        """Return a copy whose fields have the new levels of some rows.

        A new level is one of events that some of the rows see, and of no training
        event. It can be copied. Kinds of events cannot be new, because the fields of a
        new kind would be unknown.
        """
        raw, fields = rows.log, dict(self.fields)
        assert isinstance(raw, RawLog)
        index = visible_events(rows)
        for name, one in self.level_fields.items():
            if self.applies is None or name != next(iter(self.fields)):
                fields[name] = one.with_new(raw.columns[name].take(index))
        if all(one is self.fields[name] for name, one in fields.items()):
            return self
        return replace(self, fields=fields)

    def empty_events(self, n_events: int) -> tuple[np.ndarray, np.ndarray]:
        """Return empty arrays for the network's channels, and for all codes."""
        channels, codes = self.encoder.layout.empty(n_events)
        n_more = len(self.level_fields)
        for columns in self.number_columns.values():
            n_more += columns.copied.own.stop - columns.copied.before.start
        return channels, np.column_stack(
            [codes, np.empty((n_events, n_more), codes.dtype)]
        )

    def level_field(self, name: str) -> LevelField:
        """Return a categorical field; raise a ValueError if there is none."""
        own = self.level_fields
        if not pd.api.types.is_hashable(name) or name not in own:
            fields = f"one of the categorical fields {list(own)}"
            raise ValueError(
                f"field must be {fields}; got {name!r}."
                if own
                else f"field={name!r} is not categorical, and the log has no "
                "categorical field; declare one by EventLog(..., categorical=[name])."
            )
        return own[name]

    def read(self, X: Any, estimator: Any) -> tuple[LearnedEvents, Table, HistoryArray]:
        """Return a copy with the new levels of rows, the rows, and their histories."""
        table = select_raw(self.roles, X, estimator)
        array = self.histories_of(table)
        return self.with_new_levels(array.rows), table, array

    def histories_of(self, table: Table) -> HistoryArray:
        """Return the raw histories, with the fields of training in their types.

        Keys of random numbers are hashes of these histories: a field that the log lacks
        does not change them.
        """
        [(name, array)] = table.histories.items()
        rows = rows_as_in_fit(self.encoder, array.rows, name)
        return array if rows is array.rows else HistoryArray.of(rows, array.dtype)

    def encode(
        self,
        table: Table,
        rows: Rows,
        table_row: np.ndarray | slice = slice(None),
        is_training: bool = False,
    ) -> RowData:
        """Return rows encoded for the network.

        `rows` are n views of a raw log with the fields of training, see `histories_of`,
        and ``table_row[i]`` is the row of X, `table`, that gives row ``i`` its statics;
        by default its own. The source has the channels of `blocks`, and codes followed
        by the levels of categorical fields and the numbers of `number_columns`.
        `split_static` splits the statics into statics, rate, weighted waiting time and
        censoring time. If `is_training`, usual numbers are those of other customers.
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
        columns = {name: raw.columns[name].take(index) for name in self.number_fields}
        parts += [
            one.targets(columns[name], times)
            for name, one in self.number_fields.items()
        ]
        levels = [
            one.level_numbers(raw.columns[name].take(index))
            for name, one in self.level_fields.items()
        ]
        start, stop = np.maximum(encoded.start, 0), np.maximum(encoded.stop, 0)
        codes = np.column_stack([log.codes, *levels])
        all_codes = [codes]
        for name, field in self.number_fields.items():
            if field.sources:
                before = self.codes_before(name, columns, times, codes)
                own = field.codes(columns[name], times, before)
                all_codes += [before, own]
        codes = np.concatenate(all_codes, axis=1)
        if is_training:
            customer = np.full(len(times), NO_CUSTOMER)
            visible, _ = ranges(start, stop)
            customer[visible] = segment_numbers(offsets)[visible]
            for name, field in self.number_fields.items():
                copied = self.number_columns[name].copied
                copied.hide_own_numbers(codes, field.usual, customer)
        events = HistorySource(
            channels=np.concatenate(parts, axis=1),
            codes=codes,
            times=times,
            start=start,
            stop=stop,
            cutoff=encoded.cutoff,
            time_unit=self.encoder.layout.time_unit,
            interarrival_channel=self.encoder.layout.interarrival_channel,
        )
        source = self._steps(events, log, offsets)
        last, time_since_last = last_times(source)
        censored = self.grid.log_censoring_time(time_since_last, last)
        static = self._encode_statics(table)[table_row]  # (n, S)
        cells = torch.from_numpy(events.channels[:, self.blocks.cell])
        lengths = self.grid.lengths(cells).numpy()
        first = _times_or_cutoffs(events, events.start)
        prior = self.grid.rate_prior
        waited = prior.waited(first, are_truncated(rows), self.grid.unit)
        rate = EventRate.at_cutoffs(events, lengths, waited, prior)
        static = np.column_stack([static, *rate, waited, censored.astype("float32")])
        return RowData((source,), static)

    def codes_before(
        self,
        name: str,
        columns: Mapping[str, Column],
        times: np.ndarray,
        codes: np.ndarray,
    ) -> np.ndarray:
        """Return codes of `number_columns` that precede the number of a field, int32.

        They are the base and the usual numbers. `columns` and `codes`, (n, C), have the
        numbers and the levels of the n events, and `times` are their times.
        """
        field = self.number_fields[name]
        found = [np.zeros((len(codes), 0), "int32")]
        if field.base is not None:
            base = self.number_fields[field.base].units(columns[field.base], times)
            found.append(base[:, None].astype("int32"))
        sources = self.number_columns[name].copied.usual_sources
        levels = (source.levels(codes) for source in sources)
        for usual, level in zip(field.usual, levels, strict=True):
            found.append(usual.usual(level).codes())
        return np.concatenate(found, axis=1)

    def _encode_statics(self, table: Table) -> np.ndarray:
        """Return the statics of rows as numbers, shape (n, S), float32."""
        numbers = np.asarray(self.statics.transform(table.frame), "float64")
        # A static far outside the training range, or standardised by a tiny deviation,
        # would overflow in float32 and make the outputs of the network NaN.
        return numbers.reshape(len(table.frame), -1).clip(-1e6, 1e6).astype("float32")

    def _steps(
        self, events: HistorySource, log: EncodedLog, offsets: np.ndarray
    ) -> HistorySource:
        """Return the steps of the network over events, with the events as `events`.

        `events` have the channels of all blocks, `log` the inputs of the network alone.
        Customer ``i`` has the events ``offsets[i]:offsets[i + 1]``.
        """
        spec = self.spec
        own = replace(events, channels=log.channels, codes=log.codes)
        at = np.arange(len(log.channels))
        if spec.moments is None:
            none = np.full(len(events.start), -1)
            views = RowViews(none, none, events.start, events, at)
            return replace(own, views=views)
        # Ties are those of the likelihood: events within the resolution of the grid.
        is_new = events.channels[:, self.blocks.cell.stop - 1] != TIE
        is_new[starts_of_nonempty(offsets)] = True
        begin = at[is_new]
        end = np.append(begin, len(at))[1:]
        joined = join_moments(own, begin, end, spec)
        assert joined.views is not None
        return replace(joined, views=replace(joined.views, events=events))


def select_raw(roles: ColumnRoles, X: Any, estimator: Any) -> Table:
    """Return the columns of X that `fit` learned, with one column of raw histories."""
    name, histories = type(estimator).__name__, roles.histories
    if len(histories) > 1:
        raise ValueError(
            f"X has {len(histories)} history columns, {list(histories)}, and {name} "
            "draws one sequence of events. EventLog.concat merges logs of different "
            "fields into one log in the order of time."
        )
    table = roles.select(X, estimator).refuse_no_rows(name)
    return table.refuse_encoded(name).refuse_missing()


def interarrival_times(times: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return ticks since the previous event; 0 for the first of a history."""
    interarrival = np.diff(times, prepend=times[:1])
    interarrival[starts_of_nonempty(offsets)] = 0
    return interarrival


def event_counts(data: RowData) -> np.ndarray:
    """Return the number of events of rows, shape (n,), int64."""
    [source] = data.sources
    return source.events.lengths


def are_truncated(rows: Rows) -> np.ndarray:
    """Return which rows hide events before the first one that they see, (n,), bool."""
    offsets = rows.log.timeline.offsets
    return (rows.stop > rows.start) & (rows.start > offsets[rows.codes])


def last_times(source: HistorySource) -> tuple[np.ndarray, np.ndarray]:
    """Return the time of the last event of rows, and ticks from there to the cutoff.

    Without events, the time is that of the cutoff. Both have the shape (n,); ticks are
    float64.
    """
    events = source.events
    last = _times_or_cutoffs(events, events.stop - 1)
    return last, (events.cutoff - last).astype("float64")


def _times_or_cutoffs(events: HistorySource, at: np.ndarray) -> np.ndarray:
    """Return the times of one event of each row, and cutoffs of rows without, (n,)."""
    filled = events.stop > events.start
    times = events.cutoff.copy()
    times[filled] = events.times[at[filled]]
    return times
