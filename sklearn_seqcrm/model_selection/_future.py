"""Other futures: the same rows over a log in which what they cannot see is changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import NO_ROW, look_up, ranges
from sklearn_seqcrm._store import Column, RawLog, Timeline
from sklearn_seqcrm.events import HistoryArray


class Future(NamedTuple):
    """What lies at or after one cutoff in a log.

    Parameters
    ----------
    log : RawLog
        A log with at least one event.
    cutoff : int or float
        The cutoff on the time axis of the log.
    begin : ndarray of shape (n_customers,), int64
        The future of customer ``i`` are the events ``begin[i]:offsets[i + 1]``.
    since : ndarray of shape (n_customers,)
        Earliest time that an event of their future can have: the cutoff, or right
        after it where a row sees the events at the cutoff.
    """

    log: RawLog
    cutoff: float
    begin: np.ndarray
    since: np.ndarray

    @classmethod
    def of(cls, log: RawLog, cutoff: float, arrays: Sequence[HistoryArray]) -> Future:
        """Find the future of all customers at a cutoff.

        Parameters
        ----------
        log : RawLog
            A log with at least one event.
        cutoff : int or float
            The cutoff on the time axis of the log.
        arrays : sequence of HistoryArray
            Views of the log by rows at the cutoff. What they see is no future.
        """
        timeline = log.timeline
        everyone = np.arange(log.n_customers)
        first = timeline.positions(everyone, np.full(len(everyone), cutoff))
        begin = first.copy()
        for array in arrays:
            known = array.rows.codes >= 0
            np.maximum.at(begin, array.rows.codes[known], array.rows.stop[known])
        since = np.where(begin > first, _next(cutoff, timeline.clock), cutoff)
        return cls(log, cutoff, begin, since)

    def deleted(self) -> RawLog:
        """The log as it stood at the cutoff.

        Returns
        -------
        RawLog
            Without any later event, without customers who came later, and without
            levels of categories that nothing had by then.
        """
        timeline = self.log.timeline
        index, offsets = ranges(timeline.offsets[:-1], self.begin)
        filled = np.diff(offsets) > 0
        until = min(timeline.observed_until, self.cutoff)
        record = timeline.record._replace(until=until)
        kept = Timeline(
            timeline.customers[filled],
            np.append(offsets[:-1][filled], offsets[-1]),
            timeline.times[index],
            timeline.clock,
            record,
        )
        return self.log.take(kept, index).trimmed()

    def rewritten(self) -> RawLog | None:
        """The log with another time and other facts in every later event.

        Returns
        -------
        RawLog or None
            As many events of the same customers; None if there is no later event.
        """
        timeline = self.log.timeline
        future, _ = ranges(self.begin, timeline.offsets[1:])
        if not len(future):
            return None
        times = timeline.times.copy()
        times[future] += self._step()
        columns = {
            name: _rewrite(self.log.column(name), future) for name in self.log.fields
        }
        changed = self._timeline(timeline.offsets, times)
        return self.log.with_events(changed, columns)

    def added(self, rng: np.random.RandomState) -> RawLog:
        """The log with three more later events of every customer.

        Parameters
        ----------
        rng : RandomState
            Chooses the events whose facts they have.

        Returns
        -------
        RawLog
            The first of the three is as early as it can be; the second has levels of
            categories that are new, where we know how to make one.
        """
        timeline, step = self.log.timeline, self._step()
        everyone = np.arange(self.log.n_customers)
        more = [self.since + step * part // 2 for part in range(3)]
        times = np.concatenate([timeline.times, *more]).astype(timeline.times.dtype)
        codes = np.concatenate([self.log.customer_index(), np.tile(everyone, 3)])
        donors = rng.randint(len(self.log), size=3 * len(everyone))
        index = np.concatenate([np.arange(len(self.log)), donors])
        # Stable: what the rows see stays before whatever is added.
        order = np.lexsort((times, codes))
        offsets = timeline.offsets + 3 * np.arange(len(timeline.offsets))
        n_before = len(self.log) + len(everyone)
        is_second = (order >= n_before) & (order < n_before + len(everyone))
        columns = {
            name: _with_a_new_level(self.log.column(name).take(index[order]), is_second)
            for name in self.log.fields
        }
        joint = self._timeline(offsets, times[order])
        return self.log.with_events(joint, columns)

    def seen_from(self, log: RawLog, array: HistoryArray) -> HistoryArray:
        """The same views, of a log with another future.

        Parameters
        ----------
        log : RawLog
            One of the logs above.
        array : HistoryArray of shape (n,)
            Views of the log of this future, which see none of it.

        Returns
        -------
        HistoryArray of shape (n,)
            Rows that see the same events.
        """
        rows = array.rows
        old, new = self.log.timeline, log.timeline
        moved = np.arange(self.log.n_customers)
        if log.n_customers < self.log.n_customers:
            filled = self.begin > old.offsets[:-1]
            moved = np.where(filled, np.cumsum(filled) - 1, -1)
        known = rows.codes >= 0
        codes = np.where(known, moved[rows.codes], -1)
        shift = new.offsets[codes] - old.offsets[rows.codes]
        start, stop = (
            np.where(codes >= 0, one + shift, np.where(one == NO_ROW, NO_ROW, 0))
            for one in (rows.start, rows.stop)
        )
        identities = np.where(known, codes, rows.identities)
        return HistoryArray(log, identities, start, stop, rows.cutoff, array.dtype)

    def _step(self) -> Any:
        """A sixteenth of the time that the log spans, at least one tick."""
        times = self.log.timeline.times
        span = (times.max() - times.min()) // 16
        return max(span, 1)

    def _timeline(self, offsets: np.ndarray, times: np.ndarray) -> Timeline:
        old = self.log.timeline
        record = old.record._replace(until=max(old.observed_until, times.max()))
        return Timeline(old.customers, offsets, times, old.clock, record)


def _next(time: float, clock: Any) -> Any:
    """The next moment on an axis of time."""
    return time + 1 if clock.dtype == "int64" else np.nextafter(time, np.inf)


def _rewrite(column: Column, index: np.ndarray) -> Column:
    """The column with another value at every one of some events."""
    values = column.values.copy()
    values[index] = column.type.changed(values[index], column.categories)
    return Column(values, column.categories)


def _with_a_new_level(column: Column, where: np.ndarray) -> Column:
    """The column with a level at some events that it did not have, if it can have one.

    It comes before the others if anything does, so that the codes of all of them
    change, or else behind them.
    """
    levels = column.categories
    if levels is None or not len(levels):
        return column
    for make, end, place in ((_lower, 0, 0), (_upper, -1, len(levels))):
        try:
            new = make(levels[[end]].tolist()[0])
        except (OverflowError, pd.errors.OutOfBoundsDatetime):
            continue
        more = levels.insert(place, new)
        if (
            more.dtype == levels.dtype
            and more.is_unique
            and more.is_monotonic_increasing
        ):
            others = np.delete(np.arange(len(more), dtype="int32"), place)
            values = look_up(others, column.values)
            values[where] = place
            return Column(values, more)
    return column


def _lower(level: Any) -> Any:
    """What sorts before a level, mostly; the level itself where we know of nothing."""
    if isinstance(level, str):
        return " " + level
    if isinstance(level, date):
        return level - timedelta(days=1)
    is_number = isinstance(level, Number)
    return level - 1 if is_number else level


def _upper(level: Any) -> Any:
    """What sorts behind a level; the level itself where we know of nothing."""
    if isinstance(level, str):
        return level + " "
    if isinstance(level, bytes):
        return level + b" "
    if isinstance(level, date):
        return level + timedelta(days=1)
    is_number = isinstance(level, Number)
    return level + 1 if is_number else level
