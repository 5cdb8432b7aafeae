"""A log of raw events, and the kinds of events that it was merged from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._store._clock import Clock, format_time
from sklearn_seqcrm._store._columns import Column, stack_columns
from sklearn_seqcrm._store._log import Log
from sklearn_seqcrm._store._names import refuse_values
from sklearn_seqcrm._store._timeline import Timeline, frozen


class Kinds(NamedTuple):
    """The kinds of events that a log was merged from."""

    field: str  # the categorical field that holds the kind of each event
    # The fields of each kind, without `field`. All other fields are missing in its
    # events.
    fields: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, field: str, fields: Mapping[str, Iterable[str]]) -> Kinds:
        """Build kinds from the lists that JSON returns."""
        return cls(field, {name: tuple(own) for name, own in fields.items()})

    def only(self, names: Collection[str]) -> Kinds:
        """Return only the kinds with these names."""
        kept = {name: own for name, own in self.fields.items() if name in names}
        return self._replace(fields=kept)

    def joined(self, other: Kinds) -> Kinds:
        """Return the kinds of both, each with the fields that it has in either."""
        fields = dict(self.fields)
        for name, own in other.fields.items():
            fields[name] = tuple(dict.fromkeys((*fields.get(name, ()), *own)))
        return self._replace(fields=fields)

    def lacking(self, field: str) -> list[str]:
        """Return the names of the kinds without a field."""
        return [name for name, own in self.fields.items() if field not in own]

    def all_lack(self, columns: Mapping[str, Column], field: str) -> bool:
        """Return whether the events of another log are of kinds without a field.

        An event of an unknown kind, or of none, may have any field.
        """
        if self.field not in columns:
            return False
        kinds = columns[self.field]
        found = kinds.trimmed().categories
        if found is None or not kinds.is_present().all():
            return False
        return set(found) <= set(self.lacking(field))


def joint_kinds(all_kinds: Sequence[Kinds | None]) -> Kinds | None:
    """Return the kinds of joined logs; None if one of the logs has none."""
    joint = all_kinds[0]
    for kinds in all_kinds[1:]:
        joint = None if joint is None or kinds is None else joint.joined(kinds)
    return joint


# Methods of a log that holds all events.
_OF_WHOLE_LOGS = (
    "append",
    "attach",
    "for_customers",
    "only",
    "resample",
    "snapshots",
    "snapshots_at_random",
    "snapshots_before_events",
    "snapshots_every",
    "to_disk",
    "to_parquet",
)
# A function and its arguments that open a log again, so that a pickle holds no events.
Origin = tuple[Callable[..., Any], tuple[Any, ...]]


class RawLog(Log):
    """A log whose fields are numbers, datetimes, categories and vectors of the user.

    `columns` are all fields in the order of the `timeline`, `names` those of the
    customer and the time column, and `kinds` the kinds of events that the log was
    merged from, if any. `origin` is a function and its arguments that open the same log
    from its files; None: it is in memory alone.
    """

    is_raw = True

    def __init__(
        self,
        timeline: Timeline,
        columns: dict[str, Column],
        names: tuple[str, str],
        kinds: Kinds | None = None,
        origin: Origin | None = None,
    ) -> None:
        super().__init__(timeline, names)
        self._origin = origin
        self._columns = {
            name: Column(frozen(column.values), column.categories)
            for name, column in columns.items()
        }
        self._kinds = kinds

    @classmethod
    def of(
        cls,
        timeline: Timeline,
        columns: dict[str, Column],
        names: tuple[str, str],
        kinds: Kinds | None = None,
        origin: Origin | None = None,
    ) -> Self:
        """Build a log of any subclass from columns that are sorted and checked.

        Parameters
        ----------
        timeline, columns, names, kinds, origin : object
            As `RawLog` takes them.

        Returns
        -------
        RawLog
            A log of this class.
        """
        log = cls.__new__(cls)
        RawLog.__init__(log, timeline, columns, names, kinds, origin)
        return log

    @classmethod
    def without_events(cls) -> Self:
        """Return a log for a column of missing histories; it joins with any other."""
        timeline = Timeline.without_events(pd.Index([]), Clock("int64", "us"))
        return cls.of(timeline, {}, ("customer", "time"))

    def __getattr__(self, name: str) -> Any:
        """Explain why a log of the events of some rows lacks methods of an EventLog."""
        # Python calls it only for attributes that it did not find.
        if name in _OF_WHOLE_LOGS:
            raise AttributeError(
                f"This log has no {name}: it was read back with histories, and holds "
                "the events that those rows see, and no others. Use the EventLog that "
                "they were attached from; to_frame() returns what is here."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path of the files if there are any, otherwise the events."""
        if self._origin is not None:
            return self._origin
        # Arrays from a pickle are writeable; `of` makes them read-only again.
        return self.of, (self._timeline, self._columns, self._names, self._kinds)

    def __repr__(self) -> str:
        """Sizes, time span, fields by type, in lines of 88; moments if fewer."""
        n_events, n_moments = len(self), self.timeline.n_moments
        moments = f" at {n_moments:,} moments" if n_moments < n_events else ""
        span = "..".join(map(format_time, self.time_span)) if len(self) else "no time"
        name = type(self).__name__
        text = (
            f"{name}({n_events:,} events{moments}, {self.n_customers:,} customers, "
            f"{span}, {describe_fields(self._columns)})"
        )
        indent = " " * (len(name) + 1)
        return fill(
            text,
            88,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )

    @property
    def is_on_disk(self) -> bool:
        """Whether the events are in files, and only what is in use in memory."""
        return self._origin is not None

    @property
    def fields(self) -> list[str]:
        """Names of the stored columns, without customer and time."""
        return list(self._columns)

    @property
    def columns(self) -> dict[str, Column]:
        """The stored values of all fields."""
        return dict(self._columns)

    @property
    def kinds(self) -> dict[str, list[str]]:
        """Fields of each kind of events that `concat` merged; empty without kinds."""
        own = {} if self._kinds is None else self._kinds.fields
        return {name: list(fields) for name, fields in own.items()}

    @property
    def merged_from(self) -> Kinds | None:
        """The kinds that `concat` merged, and their field; None without kinds."""
        return self._kinds

    @property
    def kind_field(self) -> str | None:
        """The field that holds the kinds that `concat` merged; None without kinds."""
        return None if self._kinds is None else self._kinds.field

    def with_events(self, timeline: Timeline, columns: dict[str, Column]) -> Self:
        """Return a log with other events, but the same kinds and names.

        Parameters
        ----------
        timeline : Timeline
            Customers, offsets and times.
        columns : dict of str to Column
            Every field in the order of the timeline.

        Returns
        -------
        RawLog
            A log of this class.
        """
        return self.of(timeline, columns, self._names, self._kinds)

    def column(self, field: str) -> Column:
        """Return the stored values of a field.

        Parameters
        ----------
        field : str
            One of `fields`.

        Returns
        -------
        Column
            ``values`` of shape (n_events,) and the levels of a categorical field.

        Raises
        ------
        KeyError
            If the log has no such field.
        TypeError
            If `field` is an array of values.
        """
        refuse_values(field, "field", "the log")
        if field not in list(self._columns):  # a list, as it may be unhashable
            raise KeyError(f"The log has no field {field!r}; it has {self.fields}.")
        return self._columns[field]

    def take(self, timeline: Timeline, index: np.ndarray) -> Self:
        """Return a log of some events.

        Parameters
        ----------
        timeline : Timeline
            Timeline of these events.
        index : ndarray of shape (n,), int64
            Positions of these events in this log.

        Returns
        -------
        RawLog
            The events with all fields.
        """
        columns = {name: column.take(index) for name, column in self._columns.items()}
        return self.with_events(timeline, columns)

    def trimmed(self, more_than: int = 0) -> Self:
        """Return the log without levels that no event has.

        Parameters
        ----------
        more_than : int, default=0
            Leave a field with at most this many levels as it is.

        Returns
        -------
        RawLog
            The same events.
        """
        columns = {
            name: column.trimmed(more_than) for name, column in self._columns.items()
        }
        kinds = self._kinds
        # Kinds are the levels of their field: those that were trimmed go as well.
        if kinds is not None:
            found = columns[kinds.field].categories
            kinds = kinds.only([] if found is None else list(found))
        return self.of(self._timeline, columns, self._names, kinds)

    def stack(self, logs: Sequence[Log], timeline: Timeline) -> Self:
        """Concatenate the fields of several logs under a stacked timeline.

        Parameters
        ----------
        logs : sequence of RawLog
            Logs with the same fields, this one first.
        timeline : Timeline
            The concatenated timelines.

        Returns
        -------
        RawLog
            The events of all logs.
        """
        raw = [log for log in logs if isinstance(log, RawLog)]
        columns = stack_columns([log.columns for log in raw], list(map(len, raw)))
        kinds = joint_kinds([log._kinds for log in raw])
        # A log of the events of some rows is part of the result: nothing can be
        # attached to it.
        in_part = any(type(log) is RawLog for log in raw)
        of = RawLog.of if in_part else self.of
        return of(timeline, columns, self._names, kinds)  # type: ignore[return-value]

    def _columns_at(self, index: np.ndarray) -> dict[str, Any]:
        aware = self._timeline.clock.aware
        return {
            name: column.to_pandas(index, aware=aware)
            for name, column in self._columns.items()
        }


def describe_fields(columns: Mapping[str, Column]) -> str:
    """Return the names of the fields of each type, for the repr of a log."""
    by_type: dict[str, list[str]] = {}
    for field, column in columns.items():
        by_type.setdefault(column.type.name, []).append(field)
    fields = "; ".join(f"{one}: {', '.join(own)}" for one, own in by_type.items())
    return fields or "fields: none"
