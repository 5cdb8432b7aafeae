"""A log of events as they happened: their fields are facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._store._clock import Clock, short_time
from sklearn_seqcrm._store._columns import Column, stack_columns
from sklearn_seqcrm._store._kinds import Kinds, joint_kinds
from sklearn_seqcrm._store._log import Log
from sklearn_seqcrm._store._record import Record
from sklearn_seqcrm._store._timeline import Timeline, frozen

# What is asked of a log that holds all events.
_OF_WHOLE_LOGS = (
    "append",
    "attach",
    "only",
    "resample",
    "snapshots",
    "snapshots_at_random",
    "snapshots_before_events",
    "snapshots_every",
    "to_disk",
    "to_parquet",
)
# How to get a log without sending its events: a function and its arguments.
Origin = tuple[Callable[..., Any], tuple[Any, ...]]


class RawLog(Log):
    """A log whose fields are numbers, datetimes and categories, as users know them.

    Parameters
    ----------
    timeline : Timeline
        Customers, offsets and times.
    columns : dict of str to Column
        Every field in the order of the timeline.
    names : tuple of (str, str)
        What the customer and the time column were called.
    kinds : Kinds or None, default=None
        The kinds of events that the log was merged from.
    origin : tuple of (callable, tuple) or None, default=None
        What gives the same log to whoever can reach its files; None: it has none.
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
        """Wrap columns that are sorted and checked already, whatever the class.

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
        """A log for a column of missing histories alone; it joins with any other."""
        nothing = np.zeros(0, dtype="int64")
        clock, record = Clock("int64", "us"), Record(0, in_days=False)
        timeline = Timeline(pd.Index([]), np.zeros(1, "int64"), nothing, clock, record)
        return cls.of(timeline, {}, ("customer", "time"))

    def __getattr__(self, name: str) -> Any:
        """Say why a log of some rows' events lacks what an EventLog has."""
        if name in _OF_WHOLE_LOGS:
            raise AttributeError(
                f"This log has no {name}: it was read back with histories, and holds "
                "the events that those rows see, and no others. Use the EventLog that "
                "they were attached from; to_frame() returns what is here."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Send where the events are, or the events."""
        if self._origin is not None:
            return self._origin
        # Arrays come writeable out of a pickle; wrapped anew, they are not.
        return self.of, (self._timeline, self._columns, self._names, self._kinds)

    def __repr__(self) -> str:
        """One line: sizes, time span and fields."""
        span = "..".join(map(short_time, self.time_span)) if len(self) else "no time"
        return (
            f"{type(self).__name__}({len(self):,} events, {self.n_customers:,} "
            f"customers, {span}, fields: {', '.join(self.fields) or 'none'})"
        )

    @property
    def is_on_disk(self) -> bool:
        """Whether the events are in files, and in memory as far as they are read."""
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
        """The fields of each kind of events that `concat` merged; else empty."""
        own = {} if self._kinds is None else self._kinds.fields
        return {name: list(fields) for name, fields in own.items()}

    @property
    def kind_field(self) -> str | None:
        """The field that tells the kinds apart, if `concat` merged some."""
        return None if self._kinds is None else self._kinds.field

    def with_events(self, timeline: Timeline, columns: dict[str, Column]) -> Self:
        """Return a log of the same kinds and names with other events.

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
            ``values`` of shape (n_events,) and, for categories, their levels.

        Raises
        ------
        KeyError
            If the log has no such field.
        """
        if field not in self._columns:
            raise KeyError(f"The log has no field {field!r}; it has {self.fields}.")
        return self._columns[field]

    def take(self, timeline: Timeline, index: np.ndarray) -> Self:
        """Return a log of some events.

        Parameters
        ----------
        timeline : Timeline
            The timeline of these events.
        index : ndarray of shape (n,), int64
            Their positions.

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
            Leave a field with so many levels, or fewer, as it is.

        Returns
        -------
        RawLog
            The same events.
        """
        columns = {
            name: column.trimmed(more_than) for name, column in self._columns.items()
        }
        kinds = self._kinds
        if kinds is not None:
            found = columns[kinds.field].categories
            kinds = kinds.only([] if found is None else list(found))
        return self.of(self._timeline, columns, self._names, kinds)

    def stack(self, logs: Sequence[Log], timeline: Timeline) -> Self:
        """Join the fields of several logs under a stacked timeline.

        Parameters
        ----------
        logs : sequence of RawLog
            Logs with the same fields, this one first.
        timeline : Timeline
            Theirs, one behind the other.

        Returns
        -------
        RawLog
            The events of all of them.
        """
        raw = [log for log in logs if isinstance(log, RawLog)]
        columns = stack_columns([log.columns for log in raw])
        kinds = joint_kinds([log._kinds for log in raw])
        # With events of some rows alone among them, it is no log to attach anything to.
        in_part = any(type(log) is RawLog for log in raw)
        of = RawLog.of if in_part else self.of
        return of(timeline, columns, self._names, kinds)  # type: ignore[return-value]

    def _columns_at(self, index: np.ndarray) -> dict[str, Any]:
        return {name: column.to_pandas(index) for name, column in self._columns.items()}
