"""Logs of events, raw or encoded, and rows that view them.

Rows are four numbers each and one log that they share. Two columns of histories are
joined by joining their logs, where a customer of both then has two segments::

    log A    [ann   )[bob )           rows of A   ann 0:2, bob 3:4
    log B    [bob  )[eve    )         rows of B   bob 0:1, eve 2:5
    stacked  [ann   )[bob )[bob  )[eve    )
                           ^ rows of B move by the customers and the events of A
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from sklearn_seqcrm._ragged import NO_ROW
from sklearn_seqcrm._store._ids import join_ids
from sklearn_seqcrm._store._timeline import ObservationWindow, Timeline

_WHOSE = "customers of logs whose histories are to share a column"


class Log(ABC):
    """Events of many customers, sorted by customer and time; immutable.

    `names` are those of the customer and the time column.
    """

    # Raw and encoded histories cannot share a column; see `stack_logs`.
    is_raw = False

    def __init__(self, timeline: Timeline, names: tuple[str, str]) -> None:
        self._timeline = timeline
        self._names = names

    @property
    def timeline(self) -> Timeline:
        """Customers, offsets and times of the events."""
        return self._timeline

    @property
    def names(self) -> tuple[str, str]:
        """Names of the customer and the time column."""
        return self._names

    @property
    def n_customers(self) -> int:
        """Number of customers with at least one event."""
        return len(self._timeline.customers)

    @property
    def is_on_disk(self) -> bool:
        """Whether the events are in files, and only what is in use in memory."""
        return False

    @property
    def customers(self) -> pd.Index:
        """The customers' ids, in ascending order; shape (n_customers,)."""
        return self._timeline.customers

    @property
    def observed_until(self) -> Any:
        """The last time that was observed."""
        return self._timeline.clock.as_scalar(self._timeline.observed_until)

    @property
    def time_span(self) -> tuple[Any, Any]:
        """Times of the first and of the last event."""
        times, clock = self._timeline.times, self._timeline.clock
        return clock.as_scalar(times.min()), clock.as_scalar(times.max())

    def __len__(self) -> int:
        """Number of events."""
        return len(self._timeline.times)

    def __copy__(self) -> Self:
        """Return the log itself, which is immutable."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the log itself, which is immutable."""
        return self

    def subset(self, codes: np.ndarray) -> Self:
        """Return a log of some customers only.

        Parameters
        ----------
        codes : ndarray of shape (n,), int64
            Positions of different customers in `customers`, ascending.

        Returns
        -------
        EventLog or encoded log
            A log of these customers with all their events.
        """
        timeline, index = self._timeline.subset(codes)
        return self.take(timeline, index)

    def customer_index(self) -> np.ndarray:
        """Return the position of each event's customer in `customers`.

        Returns
        -------
        ndarray of shape (n_events,), int64
            Codes, ascending.
        """
        return np.repeat(np.arange(self.n_customers), self._timeline.counts)

    def to_frame(self) -> pd.DataFrame:
        """Return all events as a DataFrame, sorted by customer and time.

        Returns
        -------
        DataFrame of shape (n_events, 2 + n_fields)
            Customer, time and every field under its own name.
        """
        customers = self._timeline.customers[self.customer_index()]
        return self.frame_of(customers, np.arange(len(self)))

    def frame_of(self, customers: ArrayLike, index: np.ndarray) -> pd.DataFrame:
        """Return some events as a DataFrame.

        Parameters
        ----------
        customers : array-like of shape (n,)
            Customer of each event, for the first column.
        index : ndarray of shape (n,), int64
            Positions of the events in the log.

        Returns
        -------
        DataFrame of shape (n, 2 + n_fields)
            Customer, time and every field; categories with the levels that these
            events have.
        """
        customer, time = self._names
        times = self._timeline.clock.as_index(self._timeline.times[index])
        columns = {customer: customers, time: times, **self._columns_at(index)}
        return pd.DataFrame(columns)

    def seen_by(self, code: int, start: int, stop: int, cutoff: float) -> Self:
        """Return a log of only the events ``start:stop`` of one customer.

        Parameters
        ----------
        code : int
            Position of the customer in `customers`, -1 for an unknown one.
        start, stop : int
            The events.
        cutoff : int or float
            Right before it, observation ends; on the time axis of this log.

        Returns
        -------
        Log
            These events, with only the levels that they have.
        """
        index, clock = np.arange(start, stop), self._timeline.clock
        # The log of an unknown customer has no customer, and the offsets [0].
        timeline = Timeline(
            self.customers[[code] if code >= 0 else []],
            np.array([0, len(index)] if code >= 0 else [0]),
            self._timeline.times[index],
            clock,
            ObservationWindow.before(cutoff, clock),
        )
        return self.take(timeline, index).trimmed()

    def trimmed(self, more_than: int = 0) -> Self:
        """Return the log without levels that no event has; see `Column.trimmed`."""
        return self

    @abstractmethod
    def _columns_at(self, index: np.ndarray) -> dict[str, Any]:
        """Return all fields at some events, as columns of a DataFrame."""

    @abstractmethod
    def take(self, timeline: Timeline, index: np.ndarray) -> Self:
        """Return a log of the events at `index` under the timeline of these events."""

    @abstractmethod
    def stack(self, logs: Sequence[Log], timeline: Timeline) -> Self:
        """Join the fields of several logs under a stacked timeline."""


def stack_logs(logs: Sequence[Log]) -> tuple[Log, np.ndarray]:
    """Concatenate logs; a customer in two of them has two segments.

    Logs have the same fields and the same clock. Customer code 0 of ``logs[i]`` becomes
    ``shifts[i]``, which are returned too, (len(logs) + 1,), int64; the last is the
    number of all customers.
    """
    first = logs[0]
    if len(logs) == 1:
        return first, np.array([0, first.n_customers])
    for other in logs[1:]:
        _refuse_unlike(first, other)
    shifts = np.append(0, np.cumsum([log.n_customers for log in logs]))
    # A log without customers adds no event, so it need not have the others' fields.
    filled = [log for log in logs if log.n_customers] or [first]
    event_shifts = np.append(0, np.cumsum([len(log) for log in filled]))
    # Offsets of each log move by the number of events before it; the total is the last.
    offsets = [
        log.timeline.offsets[:-1] + shift
        for log, shift in zip(filled, event_shifts[:-1], strict=True)
    ]
    timeline = Timeline(
        join_ids({f"log {i}": log.customers for i, log in enumerate(filled)}, _WHOSE),
        np.concatenate([*offsets, event_shifts[-1:]]),
        np.concatenate([log.timeline.times for log in filled]),
        first.timeline.clock,
        _common_observation(logs),
    )
    return filled[0].stack(filled, timeline), shifts


def _refuse_unlike(one: Log, other: Log) -> None:
    """Raise a ValueError if histories of two logs cannot share a column."""
    if other.is_raw != one.is_raw:
        raise ValueError(
            "Raw and encoded histories cannot share a column; transform both with "
            "the same HistoryEncoder first."
        )
    clock, its_clock = one.timeline.clock, other.timeline.clock
    if its_clock != clock:
        raise ValueError(
            "Histories cannot share a column, because the times of one log are "
            f"{clock} of unit {clock.unit} and of another {its_clock} of unit "
            f"{its_clock.unit}; convert the times before building the logs."
        )


def _common_observation(logs: Sequence[Log]) -> ObservationWindow:
    """Return the earliest end: what one of the logs did not observe is never a zero."""
    earliest = min((log.timeline for log in logs), key=lambda one: one.end)
    is_lower_bound = any(log.timeline.observation.is_lower_bound for log in logs)
    return earliest.observation._replace(is_lower_bound=is_lower_bound)


class Rows(NamedTuple):
    """Views of a log: four numbers for each row, and the log."""

    log: Log
    # (n,), int64: positions of the customers in ``log.customers``. A customer that the
    # log does not know has a number below -1 (`hashed_ids`), the same in all its rows;
    # -1 stands for a customer who cannot be identified.
    identities: np.ndarray
    # (n,), int64: row ``i`` sees the events ``start[i]:stop[i]``; both are `NO_ROW` if
    # the history is missing.
    start: np.ndarray
    stop: np.ndarray
    cutoff: np.ndarray  # (n,): cutoffs on the time axis of the log

    @property
    def codes(self) -> np.ndarray:
        """Positions of the customers, -1 for unknown ones; shape (n,), int64."""
        return np.maximum(self.identities, -1)

    def take(self, index: Any) -> Rows:
        """Return some rows, by any index of NumPy."""
        return Rows(self.log, *(column[index] for column in self[1:]))

    def copied(self) -> Rows:
        """Return a copy of the rows over the same log."""
        return Rows(self.log, *(column.copy() for column in self[1:]))

    def compact(self) -> Rows:
        """Return the same views of a log without any other customer."""
        return _compact([self])[0]

    def within(self, log: Log, kept: np.ndarray) -> Rows:
        """Return the same views after their log became its subset of `kept`."""
        return self.moved(log, lambda codes: np.searchsorted(kept, codes))

    def moved(self, log: Log, new_codes: Callable[[np.ndarray], np.ndarray]) -> Rows:
        """Return the same views of a log that holds the segments of these customers.

        The `log` is a part of the log of the rows, or one of which that became a part,
        and `new_codes` maps codes of customers in the old log to those in the new one.
        """
        # A segment moves as a whole, and views keep their places in it. Unknown
        # customers have neither a code nor events that could move.
        known = self.identities >= 0
        old = self.identities[known]
        new = new_codes(old)
        identities, shift = self.identities.copy(), np.zeros(len(known), dtype="int64")
        identities[known] = new
        shift[known] = log.timeline.offsets[new] - self.log.timeline.offsets[old]
        return Rows(log, identities, self.start + shift, self.stop + shift, self.cutoff)


def missing_rows(log: Log, n_rows: int) -> Rows:
    """Return rows whose history is missing."""
    cutoff = np.zeros(n_rows, dtype=log.timeline.clock.dtype)
    none = np.full(n_rows, NO_ROW)
    return Rows(log, none, none, none, cutoff)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Concatenate rows; the events of different logs are copied once."""
    logs = _viewed_logs(parts)
    # Only the customers of these rows are copied from different logs.
    if len(logs) > 1:
        parts = _on_one_clock(_compact(parts))
        logs = _viewed_logs(parts)
    log, shifts = stack_logs(logs)
    # Parts of missing histories may view a log that is not among these: no code moves.
    first = dict(zip(logs, shifts[:-1].tolist(), strict=True))
    moved = [part.moved(log, partial(np.add, first.get(part.log, 0))) for part in parts]
    # One dtype for all cutoffs. The zeros of missing histories may come from a log of
    # floats, and NumPy would then convert large integers to floats.
    dtype = log.timeline.clock.dtype
    moved = [part._replace(cutoff=part.cutoff.astype(dtype)) for part in moved]
    columns = zip(*(part[1:] for part in moved), strict=True)
    return Rows(log, *(np.concatenate(column) for column in columns))


def positions_by_log(logs: Iterable[Log]) -> dict[Log, list[int]]:
    """Return the positions of each different log, in order of appearance."""
    places: dict[Log, list[int]] = {}
    for i, log in enumerate(logs):
        places.setdefault(log, []).append(i)
    return places


def _viewed_logs(parts: Sequence[Rows]) -> list[Log]:
    """Return the logs that rows view; missing histories view none and fit any log."""
    viewing = [part for part in parts if (part.start != NO_ROW).any()]
    # All missing: a log with the fields of the others before that of a fill value.
    filled = [part for part in parts if part.log.n_customers] or parts
    return list(positions_by_log(part.log for part in viewing or filled[:1]))


def _compact(parts: Sequence[Rows]) -> list[Rows]:
    """Return the same views of logs without the customers that no part needs."""
    compacted = list(parts)
    for log, own in positions_by_log(part.log for part in parts).items():
        codes = np.unique(np.concatenate([parts[i].codes for i in own]))
        kept = codes[codes >= 0]
        if len(kept) == log.n_customers:
            continue
        subset = log.subset(kept)
        for i in own:
            compacted[i] = parts[i].within(subset, kept)
    return compacted


def _on_one_clock(parts: Sequence[Rows]) -> list[Rows]:
    """Return the same views of raw logs on the finest clock among them.

    pandas 2 reads a table in nanoseconds of which pandas 3 reads microseconds. Other
    types of times are left for `_refuse_unlike`.
    """
    clocks = [log.timeline.clock for log in _viewed_logs(parts)]
    finest = max(clocks, key=lambda one: one.fineness)
    converted = list(parts)
    for log, own in positions_by_log(part.log for part in parts).items():
        clock = log.timeline.clock
        if clock == finest or str(clock) != str(finest) or not log.is_raw:
            continue
        same = log.take(log.timeline.on(finest, "times"), np.arange(len(log)))
        for i in own:
            cutoff = finest.read(clock.as_index(parts[i].cutoff), "cutoffs")
            converted[i] = parts[i]._replace(log=same, cutoff=cutoff)
    return converted
