"""One schema for the logs of all partitions, whatever a partition holds.

Each partition is read by itself, so the same field may come out in several types::

    partition    amount        coupon                    time
    0            float64       categorical (text)        datetimes, us
    1            float64       numeric, all missing      datetimes, ns
    2            no events
    schema       float64       categorical (text)        datetimes, ns

`Schema.of` summarizes one partition, `merge` joins two, and `conform` converts the log
of a partition. The schema is a log without events, `template`, so that code
that needs the clock, fields and kinds of a log can use those of the schema.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, NamedTuple, Self

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import is_run_start, look_up
from sklearn_seqcrm._store import (
    Clock,
    Column,
    Kinds,
    ObservationWindow,
    Timeline,
    is_of_kinds,
    join_ids,
)
from sklearn_seqcrm.events import (
    EventLog,
    are_date_like,
    count_copied_events,
    count_infinite,
    fields_of_other_zone,
    read_events,
    read_rows,
    read_table,
)
from sklearn_seqcrm.partitions._engines import Part

# Levels that the schema holds of a field; of more, it holds one, which has their type.
MOST_LEVELS = 10_000
_SAMPLE = 400  # events of the sample


class TableOptions(NamedTuple):
    """How to read the events of a partition, see `PartitionedLog`."""

    customer: str
    time: str
    fields: list[str] | None
    categorical: list[str]
    kinds: Kinds | None

    def read(self, part: Part) -> EventLog | None:
        """Return the log of one partition; None without events."""
        return self.read_with_zones(part)[0]

    def read_with_zones(self, part: Part) -> tuple[EventLog | None, list[str]]:
        """Return the log as `read`, and the fields of a table to warn of their zone."""
        source = part.events
        if callable(source):
            source = source()
        if isinstance(source, str | PathLike):
            source = EventLog.open(source)
        if isinstance(source, EventLog):
            return self._selected(source, part.number), []
        if source is None:
            raise TypeError(
                f"The events of partition {part.number} are None; give a table without "
                "rows for a partition without events, and let functions return a table."
            )
        table = read_table(source, f"events of partition {part.number}")
        if not len(table):
            return None, []
        fields = self.fields
        if self.kinds is not None:
            table = self._by_kind(read_rows(table.to_native()), self.kinds)
            own = [name for one in self.kinds.fields.values() for name in one]
            fields = list(dict.fromkeys([self.kinds.field, *own]))
        # Not `EventLog(...)`: `PartitionedLog` warns once of all partitions.
        names = self.customer, self.time
        events = read_events(table, *names, fields, categorical=self.categorical)
        zones = fields_of_other_zone(table, events)
        log = EventLog.of(*events, names)
        if self.kinds is None:
            return log, zones
        kind = log.column(self.kinds.field)
        columns = log.columns
        for name in log.fields[1:]:
            lacking = is_of_kinds(kind, self.kinds.lacking(name) or [None])
            if lacking.any():
                columns[name] = columns[name].missing_where(lacking)
        return EventLog.of(log.timeline, columns, log.names, self.kinds), zones

    def _selected(self, log: EventLog, part: int) -> EventLog:
        """Return a log with the fields of the options, which must fit it."""
        where = f"partition {part}"
        if tuple(log.names) != (self.customer, self.time):
            raise ValueError(
                f"The log of {where} has the columns {list(log.names)} for customer "
                f"and time, not {[self.customer, self.time]}."
            )
        own = log.merged_from
        if self.kinds is not None and not _are_equal(self.kinds, own):
            raise ValueError(
                f"The log of {where} has the kinds {log.kinds}, not those of kinds=; "
                "build it by EventLog.concat, or give tables."
            )
        unknown = [
            n for n in (*(self.fields or ()), *self.categorical) if n not in log.fields
        ]
        if unknown:
            raise KeyError(
                f"The log of {where} has no fields {unknown}; it has {log.fields}."
            )
        other = [n for n in self.categorical if log.column(n).categories is None]
        if other:
            raise ValueError(
                f"The fields {other} of categorical= are not categories in the log of "
                f"{where}; build it by EventLog(..., categorical={other})."
            )
        if self.fields is None or self.kinds is not None or self.fields == log.fields:
            return log
        columns = {name: log.column(name) for name in self.fields}
        if own is not None:
            kept = {
                k: [n for n in names if n in columns] for k, names in own.fields.items()
            }
            own = Kinds.of(own.field, kept) if own.field in columns else None
        return EventLog.of(log.timeline, columns, log.names, own)

    def _by_kind(self, table: pd.DataFrame, kinds: Kinds) -> nw.DataFrame:
        """Order a table by kind: that is the order of events at the same time."""
        names = list(kinds.fields)
        if kinds.field not in table:
            raise KeyError(
                f"events has no column {kinds.field!r} for kind_field; it has "
                f"{list(table.columns)}."
            )
        rank = pd.Index(names).get_indexer(pd.Index(table[kinds.field].astype(object)))
        if (rank < 0).any():
            unknown = table[kinds.field][rank < 0].unique().tolist()[:5]
            raise ValueError(
                f"Column {kinds.field!r} of events holds {unknown}, which kinds does "
                f"not name; it has {names}."
            )
        return read_table(table.iloc[np.argsort(rank, kind="stable")])


class Schema(NamedTuple):
    """Types, sizes and the observed time of the logs of some partitions."""

    part: int  # the first partition with events, for errors
    # A log without events: clock, end of observation, names, kinds and fields.
    template: EventLog
    # Whether some event has a value of the field; if not, its type is open.
    has_values: dict[str, bool]
    n_events: int  # number of events
    # Up to one customer, which has the type of all; of numbers, the widest dtype.
    ids: pd.Index
    sample: EventLog  # some events of the first partition
    # Whether observation ends at another time than the last event, so that a user gave
    # it, or a kind of events limits it.
    is_given: bool
    is_date_like: bool  # whether all times are integers that are written like dates
    # Some times of events, with the number of events; among them the first and the last
    # time.
    times: TimeCounts
    # Fields of datetimes with a time zone if times have none, or vice versa.
    other_zone: tuple[str, ...]
    n_infinite: dict[str, int]  # number of infinite values of the fields that have some
    n_copied: int  # `count_copied_events`, the most of the partitions
    # Fields of which `template` holds one level, because they have too many.
    truncated: frozenset[str]

    @classmethod
    def of(
        cls, part: int, log: EventLog | None, other_zone: Sequence[str] = ()
    ) -> Schema | None:
        """Summarize the log of a partition; None without events."""
        if log is None or not len(log):
            return None
        nothing = np.empty(0, "int64")
        timeline = log.timeline.select(nothing, np.zeros(1, "int64"), nothing)
        truncated = frozenset(n for n, one in log.columns.items() if _has_too_many(one))
        columns = _without_events(log.columns, truncated)
        few = np.arange(min(_SAMPLE, len(log)))
        last = log.timeline.times.max()
        return cls(
            part,
            EventLog.of(timeline, columns, log.names, log.merged_from),
            {name: not one.is_empty() for name, one in log.columns.items()},
            len(log),
            log.customers[:1],
            log.take(log.timeline.at(few), few).trimmed(),
            bool(log.timeline.observation.until != last),
            are_date_like(log.timeline),
            TimeCounts.of(log.timeline.times),
            tuple(other_zone),
            count_infinite(log.columns),
            count_copied_events(log),
            truncated,
        )

    def merge(self, other: Schema) -> Schema:
        """Return the schema of both.

        Raises a TypeError if customers or levels are of different types, and a
        ValueError if the partitions have different fields or kinds, a field has
        different types, times are of different types, or logs are observed until
        different times.
        """
        pair = self, other
        parts = f"partition {self.part}", f"partition {other.part}"
        a, b = self.template, other.template
        join_ids(dict(zip(parts, (self.ids, other.ids), strict=True)), "customers")
        if set(a.fields) != set(b.fields):
            raise ValueError(
                f"Partitions have different fields: {parts[0]} {a.fields}, {parts[1]} "
                f"{b.fields}. Choose common ones with fields=[...]."
            )
        lines = a.timeline, b.timeline
        clock = _joint_clock(lines[0].clock, lines[1].clock, parts)
        must_agree = self.is_given or other.is_given
        window = _joint_observation(lines, clock, parts, must_agree)
        timeline = replace(lines[0].on(clock, "times"), observation=window)
        columns, truncated = self._joint_columns(other, parts)
        counts = [one.times.on(one.template.timeline.clock, clock) for one in pair]
        kinds = _joint_kinds(a.merged_from, b.merged_from, parts)
        return self._replace(
            template=EventLog.of(timeline, columns, a.names, kinds),
            has_values={
                name: any(one.has_values[name] for one in pair) for name in a.fields
            },
            n_events=self.n_events + other.n_events,
            ids=max(self.ids, other.ids, key=lambda ids: "iuf".find(ids.dtype.kind)),
            is_given=self.is_given or other.is_given,
            is_date_like=self.is_date_like and other.is_date_like,
            times=counts[0].merge(counts[1]),
            other_zone=tuple(dict.fromkeys((*self.other_zone, *other.other_zone))),
            n_infinite=dict(Counter(self.n_infinite) + Counter(other.n_infinite)),
            n_copied=max(self.n_copied, other.n_copied),
            truncated=truncated,
        )

    def _joint_columns(
        self, other: Schema, parts: tuple[str, str]
    ) -> tuple[dict[str, Column], frozenset[str]]:
        """Return columns of no events for both, and which of them are truncated."""
        columns = {
            name: _joint_column(
                name,
                (column, other.template.column(name)),
                (self.has_values[name], other.has_values[name]),
                parts,
            )
            for name, column in self.template.columns.items()
        }
        # What one partition has too many of, all have.
        truncated = self.truncated | other.truncated
        truncated |= {name for name, one in columns.items() if _has_too_many(one)}
        return _without_events(columns, truncated), truncated

    def observed_until(self, given: Any) -> Schema:
        """Return the schema with the end of observation that a user gave.

        As in `EventLog.concat`, the common end of several kinds may be early.
        """
        timeline = self.template.timeline
        last, early = self.times.times[-1:], self.template.merged_from is not None
        until = ObservationWindow.of(timeline.clock, last, given, early=early).until
        window = timeline.observation._replace(until=until, limited_by=None)
        template = self.template.with_events(
            replace(timeline, observation=window), self.template.columns
        )
        return self._replace(template=template)

    def outline(self) -> EventLog:
        """Return a log of one customer with the time span of all events.

        Its cutoffs are too early or too late where those of all partitions together
        are.
        """
        times = np.full(min(self.n_events, _SAMPLE), self.times.times[0])
        times[-1] = self.times.times[-1]
        timeline = replace(
            self.template.timeline,
            customers=self.ids,
            offsets=np.array([0, len(times)]),
            times=times,
        )
        return EventLog.of(timeline, {}, self.template.names, None)

    def conform(self, log: EventLog | None) -> EventLog:
        """Return the log of a partition with the types of all partitions."""
        if log is None or not len(log):
            return self.template
        wanted = self.template.timeline
        what = f"times in column {log.names[1]!r}"
        timeline, columns = log.timeline.on(wanted.clock, what), log.columns
        fitting = {
            name: _converted(name, columns[name], like, self.truncated)
            for name, like in self.template.columns.items()
        }
        same_fields = list(fitting) == list(columns) and all(
            fitting[name] is columns[name] for name in fitting
        )
        if (
            same_fields
            and timeline is log.timeline
            and timeline.observation == wanted.observation
            and log.merged_from == self.template.merged_from
        ):
            return log  # on the disk, perhaps: nothing is copied
        timeline = replace(timeline, observation=wanted.observation)
        return EventLog.of(timeline, fitting, log.names, self.template.merged_from)


def _are_equal(one: Kinds | None, other: Kinds | None) -> bool:
    """Return whether two logs have the same kinds, in any order."""
    if one is None or other is None:
        return one is other
    as_sets = [{n: set(f) for n, f in kinds.fields.items()} for kinds in (one, other)]
    return one.field == other.field and as_sets[0] == as_sets[1]


def _joint_kinds(
    one: Kinds | None, other: Kinds | None, parts: Sequence[str]
) -> Kinds | None:
    """Return the kinds of both partitions; a shared kind has the same fields."""
    if one is None or other is None or one.field != other.field:
        if one is other:
            return None
        fields = [None if kinds is None else kinds.field for kinds in (one, other)]
        raise ValueError(
            f"Kinds of events are in the field {fields[0]!r} in {parts[0]}, and in "
            f"{fields[1]!r} in {parts[1]} (None: one kind); build all logs alike."
        )
    for name in one.fields.keys() & other.fields.keys():
        own = [sorted(kinds.fields[name]) for kinds in (one, other)]
        if own[0] != own[1]:
            raise ValueError(
                f"Events of kind {name!r} have the fields {own[0]} in {parts[0]} and "
                f"{own[1]} in {parts[1]}; build all logs with the same fields."
            )
    return one.joined(other)


def _has_too_many(column: Column) -> bool:
    """Return whether a column has more levels than a schema holds."""
    return column.categories is not None and len(column.categories) > MOST_LEVELS


def _without_events(
    columns: Mapping[str, Column], truncated: Collection[str]
) -> dict[str, Column]:
    """Return columns of no events that keep their levels, or one of them."""
    empty = {}
    for name, (values, levels) in columns.items():
        if levels is not None and name in truncated:
            levels = levels[:1]
        empty[name] = Column(values[:0].copy(), levels)
    return empty


def _joint_observation(
    lines: tuple[Timeline, Timeline],
    clock: Clock,
    parts: tuple[str, str],
    must_agree: bool,
) -> ObservationWindow:
    """Return the observation window of two partitions, to the later of their ends.

    With `must_agree`, as a user gave an end, other ends are a ValueError.
    """
    windows = [line.observation.on(line.clock, clock) for line in lines]
    if must_agree and windows[0].until != windows[1].until:
        ends = [line.clock.as_scalar(line.observed_until) for line in lines]
        raise ValueError(
            f"The log of {parts[0]} is observed until {ends[0]}, that of {parts[1]} "
            f"until {ends[1]}. Pass their common end as observed_until=."
        )
    return windows[0]._replace(
        until=max(one.until for one in windows),
        in_days=all(one.in_days for one in windows),
    )


def _joint_clock(one: Clock, other: Clock, parts: Sequence[str]) -> Clock:
    """Return the finer one of two clocks of the same type of times."""
    if str(one) != str(other):
        raise ValueError(
            f"The times of {parts[0]} are {one}, those of {parts[1]} {other}; give "
            "them one type."
        )
    return max(one, other, key=lambda clock: clock.fineness)


def _joint_column(
    name: str,
    columns: tuple[Column, Column],
    has_values: tuple[bool, bool],
    parts: Sequence[str],
) -> Column:
    """Return a column of no events with the type of two others."""
    one, other = columns
    if one.type != other.type:
        if all(has_values):
            raise ValueError(
                f"Field {name!r} is {one.type} in {parts[0]} and {other.type} in "
                f"{parts[1]}; give it one type, for example by categorical=[{name!r}]."
            )
        return one if has_values[0] else other
    both = dict(zip(parts, (one.values, other.values), strict=True))
    arrays = one.type.unified(both, name)
    values = np.concatenate(list(arrays.values()))
    if one.categories is None or other.categories is None:
        return Column(values)
    levels = dict(zip(parts, (one.categories, other.categories), strict=True))
    joined = join_ids(levels, f"levels of field {name!r}").unique()
    return Column(values, joined.sort_values())


def _converted(
    name: str, column: Column, wanted: Column, truncated: frozenset[str]
) -> Column:
    """Return a column with the type of another one."""
    if column.type != wanted.type:
        if not column.is_empty():
            raise ValueError(
                f"Field {name!r} is {column.type} in a partition that was read again, "
                f"and was {wanted.type}; partitions must not change."
            )
        return wanted.without_values(len(column.values))
    if column.categories is not None and name in truncated:
        return column
    if column.categories is not None and wanted.categories is not None:
        return _with_levels(name, column, wanted.categories)
    if column.values.dtype == wanted.values.dtype:
        return column
    arrays = {"all": wanted.values, "own": column.values}
    values = column.type.unified(arrays, name)["own"]
    return Column(values.astype(wanted.values.dtype))


def _with_levels(name: str, column: Column, wanted: pd.Index) -> Column:
    """Return a column with the levels of all partitions that the schema holds.

    A kind of events without any event in a partition is still a kind there.
    """
    own = column.categories
    assert own is not None
    if wanted.isin(own).all():
        return column
    both = {"this partition": own, "others": wanted}
    levels = join_ids(both, f"levels of field {name!r}").unique().sort_values()
    place = levels.get_indexer(own).astype("int32")
    return Column(look_up(place, column.values, missing=-1), levels)


# Times of events, thinned to a few thousand, for warnings of dates --------------------

_CELLS = 2000  # at most two times are kept of each


class TimeCounts(NamedTuple):
    """Distinct times and the number of events at each.

    Many times are divided into cells of equal length; of each cell, the first and the
    last time remain. So all silences longer than a cell keep their ends::

        events     |  | ||    |  |                |
        cells    [        |        |        |        )
        kept       |    |     |  |                |
        counts     3    1     1  1                1
    """

    times: np.ndarray  # (n,): ascending times
    # (n,), int64: number of events from each time on, before the next one.
    counts: np.ndarray

    @classmethod
    def of(cls, times: np.ndarray) -> Self:
        """Count the times of the events of a partition, shape (n_events,)."""
        times = np.sort(times)
        kept = _kept(times)
        return cls(times[kept], np.diff(kept, append=len(times)))

    def on(self, old: Clock, new: Clock) -> TimeCounts:
        """Return the times on another clock."""
        return self._replace(times=new.read(old.as_index(self.times), "times"))

    def merge(self, other: TimeCounts) -> TimeCounts:
        """Return the times of both, which are on one clock."""
        pairs = zip(self, other, strict=True)
        times, counts = (np.concatenate(pair) for pair in pairs)
        order = np.argsort(times, kind="stable")
        kept = _kept(times[order])
        return TimeCounts(times[order][kept], np.add.reduceat(counts[order], kept))


def _kept(times: np.ndarray) -> np.ndarray:
    """Return the positions of the times that are kept of ascending, repeated times."""
    is_new = is_run_start(times)
    if np.count_nonzero(is_new) <= 2 * _CELLS:
        return np.flatnonzero(is_new)
    # As floats: a difference of int64 could overflow.
    edges = np.linspace(float(times[0]), float(times[-1]), _CELLS + 1)[1:-1]
    if times.dtype == "int64":
        edges = np.ceil(edges).astype("int64")
    begin = np.append(0, np.searchsorted(times, edges))
    end = np.searchsorted(times, times[np.append(begin[1:], len(times)) - 1])
    return np.unique(np.append(begin, end))
