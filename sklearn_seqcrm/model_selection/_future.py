"""Counterfactual futures: the same rows over a log with other events after the cutoff.

customer  before the cutoff | at or after it
as it is  a  b  c           | d  e
deleted   a  b  c           |
rewritten a  b  c           |    d' e'          later, with other fields
added     a  b  c           | n1 d  n2 e  n3    n2 with unseen levels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import NO_ROW, look_up, ranges
from sklearn_seqcrm._store import Column, RawLog, Timeline
from sklearn_seqcrm.events import HistoryArray


class Future(NamedTuple):
    """Events of a log at or after one cutoff."""

    log: RawLog  # with at least one event
    cutoff: float  # the cutoff on the time axis of the log
    # (n_customers,), int64: the future of customer ``i`` is ``begin[i]:offsets[i +
    # 1]``.
    begin: np.ndarray
    # (n_customers,): earliest time of an event in that future: the cutoff, or the next
    # tick where events at the cutoff are visible in a row.
    since: np.ndarray

    @classmethod
    def of(cls, log: RawLog, cutoff: float, arrays: Sequence[HistoryArray]) -> Future:
        """Find the future of all customers at a cutoff, in a log that has events.

        `arrays` are views of the log by rows at the cutoff, whose visible events are no
        future.
        """
        timeline = log.timeline
        everyone = np.arange(log.n_customers)
        first = timeline.positions(everyone, np.full(len(everyone), cutoff))
        begin = first.copy()
        for array in arrays:
            known = array.rows.codes >= 0
            # Events at the cutoff that are visible in a row are known.
            np.maximum.at(begin, array.rows.codes[known], array.rows.stop[known])
        is_whole = timeline.clock.dtype == "int64"
        next_tick = cutoff + 1 if is_whole else np.nextafter(cutoff, np.inf)
        since = np.where(begin > first, next_tick, cutoff)
        return cls(log, cutoff, begin, since)

    def deleted(self) -> RawLog:
        """Return the log as it was at the cutoff.

        It has no later events, no customers without an earlier event, and no levels of
        categories that no earlier event has.
        """
        timeline = self.log.timeline
        index, offsets = ranges(timeline.offsets[:-1], self.begin)
        filled = np.diff(offsets) > 0
        # The end of the record is the future as well: at the cutoff it was the cutoff.
        until = min(timeline.observed_until, self.cutoff)
        record = timeline.observation._replace(until=until)
        offsets = np.append(offsets[:-1][filled], offsets[-1])
        kept = timeline.select(np.flatnonzero(filled), offsets, index)
        return self.log.take(replace(kept, observation=record), index).trimmed()

    def rewritten(self) -> RawLog | None:
        """Return the log with other times and fields in later events, if it has any."""
        timeline = self.log.timeline
        future, _ = ranges(self.begin, timeline.offsets[1:])
        if not len(future):
            return None
        times = timeline.times.copy()
        times[future] += self._step()  # all by one step, so that they stay sorted
        columns = {}
        for name in self.log.fields:
            column = self.log.column(name)
            values = column.values.copy()
            values[future] = column.type.changed(values[future], column.categories)
            columns[name] = Column(values, column.categories)
        changed = self._timeline(timeline.offsets, times)
        return self.log.with_events(changed, columns)

    def added(self, rng: np.random.RandomState) -> RawLog:
        """Return the log with three more later events of every customer.

        The first is at the earliest possible time, and the second has unseen levels of
        categories where such a level exists. `rng` chooses the events whose fields they
        get.
        """
        log, timeline, step = self.log, self.log.timeline, self._step()
        everyone = np.arange(log.n_customers)
        # Three blocks of one event for each customer, after the events of the log.
        more = [self.since + step * part // 2 for part in range(3)]
        times = np.concatenate([timeline.times, *more]).astype(timeline.times.dtype)
        codes = np.concatenate([log.customer_index(), np.tile(everyone, 3)])
        donors = rng.randint(len(log), size=3 * len(everyone))
        index = np.concatenate([np.arange(len(log)), donors])
        # Stable: visible events stay before all added ones, even at equal times.
        order = np.lexsort((times, codes))
        offsets = timeline.offsets + 3 * np.arange(len(timeline.offsets))
        n_before = len(log) + len(everyone)
        is_second = (order >= n_before) & (order < n_before + len(everyone))
        columns = {
            name: _with_new_level(log.column(name).take(index[order]), is_second)
            for name in log.fields
        }
        return log.with_events(self._timeline(offsets, times[order]), columns)

    def views_of(self, log: RawLog, array: HistoryArray) -> HistoryArray:
        """Return the same views of one of the logs above.

        In `array`, (n,), which views the log of this future, none of it is visible.
        """
        rows = array.rows
        old, new = self.log.timeline, log.timeline
        moved = np.arange(self.log.n_customers)
        # Customers without an earlier event are not in the log of `deleted`.
        if log.n_customers < self.log.n_customers:
            filled = self.begin > old.offsets[:-1]
            moved = np.where(filled, np.cumsum(filled) - 1, -1)
        known = rows.codes >= 0
        codes = np.where(known, moved[rows.codes], -1)
        # The events of a customer begin elsewhere, at new.offsets.
        shift = new.offsets[codes] - old.offsets[rows.codes]
        start, stop = (
            np.where(codes >= 0, one + shift, np.where(one == NO_ROW, NO_ROW, 0))
            for one in (rows.start, rows.stop)
        )
        identities = np.where(known, codes, rows.identities)
        return HistoryArray(log, identities, start, stop, rows.cutoff, array.dtype)

    def _step(self) -> Any:
        """Return a sixteenth of the time span of the log, at least one tick."""
        times = self.log.timeline.times
        return max((times.max() - times.min()) // 16, 1)

    def _timeline(self, offsets: np.ndarray, times: np.ndarray) -> Timeline:
        old = self.log.timeline
        # The observation window must not end before its last event.
        window = old.observation._replace(until=max(old.observed_until, times.max()))
        return replace(old, offsets=offsets, times=times, observation=window)


def _with_new_level(column: Column, where: np.ndarray) -> Column:
    """Return a column with an unseen level at some events, if there can be one.

    The level sorts before all others if possible, so that all codes change: an encoder
    that uses codes of the whole log is detected. Otherwise it sorts after them.
    """
    levels = column.categories
    if levels is None or not len(levels):
        return column
    for is_after, end, place in ((False, 0, 0), (True, -1, len(levels))):
        try:
            new = _neighbour(levels[[end]].tolist()[0], is_after)
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


def _neighbour(level: Any, is_after: bool) -> Any:
    """Return a value that sorts right before or after a level, or the level itself."""
    if isinstance(level, str):
        return level + " " if is_after else " " + level
    if isinstance(level, bytes):
        return level + b" " if is_after else level
    sign: Any = 1 if is_after else -1
    if isinstance(level, date):
        return level + sign * timedelta(days=1)
    return level + sign if isinstance(level, Number) else level
