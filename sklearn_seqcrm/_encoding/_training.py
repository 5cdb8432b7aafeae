"""Training events, which the encoders of fields learn from, and counts of levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import Moments, event_blocks, visible_runs
from sklearn_seqcrm._store import Clock, Column, RawLog, Rows, factorize, join_ids


class Training(NamedTuple):
    """Training events of a log or of one part."""

    # (n_events,): times of all events of the log, in ticks of `clock`.
    times: np.ndarray
    clock: Clock  # what the times mean
    # Begin and end of each run of training events, as `visible_runs` returns them.
    # None: all events.
    runs: tuple[np.ndarray, np.ndarray] | None = None
    # Fields of all events of the log.
    columns: Mapping[str, Column] = MappingProxyType({})

    @classmethod
    def of(cls, rows: Rows) -> Self:
        """Return the events that at least one of some rows sees."""
        log = rows.log
        assert isinstance(log, RawLog)
        timeline, runs = log.timeline, visible_runs(rows)
        return cls(timeline.times, timeline.clock, runs=runs, columns=log.columns)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield positions of training events, and where runs begin among them."""
        runs = self.runs or (np.zeros(1, "int64"), np.array([len(self.times)]))
        for _, index, first in event_blocks(*runs):
            yield index, first

    def numbers_of(self, name: str) -> Iterator[np.ndarray]:
        """Yield the numbers of a field at the training events, some at a time."""
        column = self.columns[name]
        for index, _ in self.blocks():
            yield column.take(index).as_numbers(self.times[index], self.clock)

    def count_levels(self, name: str) -> LevelCounts:
        """Count the training events of each level of a field that occurs.

        Categories may hold levels that occur only after all training cutoffs.
        """
        column = self.columns[name]
        assert column.categories is not None
        counts = np.zeros(len(column.categories), dtype="int64")
        for index, _ in self.blocks():
            codes = column.values[index]
            counts += np.bincount(codes[codes >= 0], minlength=len(counts))
        present = np.flatnonzero(counts)
        return LevelCounts(column.categories[present], counts[present])

    def interarrival_times(self) -> Iterator[np.ndarray]:
        """Yield the interarrival times of the training events, some at a time.

        Zeros, between events at the same time, are left out: they depend on the number
        of events of a moment, not on the frequency of moments.
        """
        for index, first in self.blocks():
            interarrival = np.diff(self.times[index], prepend=self.times[index[:1]])
            interarrival[first] = 0
            yield interarrival[interarrival > 0].astype("float64")


class LevelCounts(NamedTuple):
    """Levels that occur, and their numbers of events."""

    levels: pd.Index  # in ascending order
    # (n_levels,) or (n_levels, n_counts), int64: numbers of events, and perhaps of
    # other things.
    counts: np.ndarray

    def merge(self, other: LevelCounts) -> LevelCounts:
        """Return the counts of both."""
        if self.levels.equals(other.levels) and self.levels.dtype == other.levels.dtype:
            return LevelCounts(self.levels, self.counts + other.counts)
        joined = join_ids({"a": self.levels, "b": other.levels}, "levels of parts")
        codes, levels = factorize(pd.Series(joined), "level")
        counts = np.zeros((len(levels), *self.counts.shape[1:]), "int64")
        own, others = np.split(codes, [len(self.levels)])
        counts[own] += self.counts
        counts[others] += other.counts
        return LevelCounts(levels, counts)


def center_and_spread(moments: Moments) -> np.ndarray:
    """Return mean and standard deviation, shape (2, n_columns).

    Without any number, the mean is 0 and the deviation 1. A deviation that is only
    rounding becomes 1.
    """
    spread = moments.spread
    return np.array([moments.center, np.where(spread > 1e-6, spread, 1.0)])
