"""Simulations that begin within a basket: the next event is at the cutoff of its row.

Events at the cutoff are an open basket. They are appended to paths that begin before
it, as if they had been simulated, so that the next one is a further line::

    a  b b  c          |d e|          row, with two events at the cutoff
    |<- history ->|                   what a path begins with
                        d e  ?        appended, and the next event
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import reduce
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._columns import Table
from sklearn_seqcrm._ragged import ranges, segment_numbers
from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._store import Rows
from sklearn_seqcrm.event_model._distributions import PathDraws
from sklearn_seqcrm.event_model._learned import LearnedEvents, event_counts
from sklearn_seqcrm.event_model._paths import Paths
from sklearn_seqcrm.event_model._simulate import SimulationPlan, Simulator


class OpenBaskets(NamedTuple):
    """Encoded events at the cutoffs of rows.

    Parameters
    ----------
    offsets : ndarray of shape (n + 1,), int64
        Row ``i`` has the events ``offsets[i]:offsets[i + 1]``.
    values : ndarray of shape (n_events, F), float32
        Their channels in the block `network`.
    codes : ndarray of shape (n_events, C), int64
        Their codes and levels.
    """

    offsets: np.ndarray
    values: np.ndarray
    codes: np.ndarray

    def take(self, rows: np.ndarray) -> OpenBaskets:
        """Return those of some rows."""
        index, offsets = ranges(self.offsets[rows], self.offsets[rows + 1])
        return OpenBaskets(offsets, self.values[index], self.codes[index])


def split_open_baskets(
    learned: LearnedEvents, table: Table, rows: Rows
) -> tuple[RowData, OpenBaskets]:
    """Return rows without their events at the cutoff, and these events.

    Parameters
    ----------
    learned : LearnedEvents
        What was learned, with the new levels of the rows.
    table : Table
        The rows of X.
    rows : Rows
        Their histories, as `LearnedEvents.histories_of` returns them.
    """
    every = np.arange(len(rows.start))
    source = learned.encode(table, rows, every).sources[0].events
    index, offsets = ranges(source.start, source.stop)
    row = segment_numbers(offsets)
    # Up to rounding, as ties of the likelihood.
    is_open = learned.grid.steps(source.cutoff[row] - source.times[index]) == 0
    n_open = np.bincount(row[is_open], minlength=len(every))
    before = Rows(rows.log, rows.codes, rows.start, rows.stop - n_open, rows.cutoff)
    opened, begin = index[is_open], np.append(0, np.cumsum(n_open))
    values = source.channels[opened][:, learned.blocks.network]
    # The first event that a row may see has no predecessor: a lookback may hide some.
    is_first = (n_open > 0) & (before.start >= before.stop)
    values[begin[:-1][is_first], source.interarrival_channel] = 0
    baskets = OpenBaskets(begin, values, source.codes[opened].astype("int64"))
    return learned.encode(table, before, every), baskets


class AtCutoff(Simulator):
    """Draws events at the cutoff: a further line of an open basket, or the first one.

    Attributes
    ----------
    baskets : OpenBaskets of n
        Events at the cutoffs of the rows that are simulated.
    """

    baskets: OpenBaskets

    def with_baskets(self, baskets: OpenBaskets) -> AtCutoff:
        """Return a simulator of rows with these baskets."""
        found = copy(self)
        found.baskets = baskets
        return found

    def _at_next(
        self, data: RowData, keys: np.ndarray, n_draws: int
    ) -> tuple[Paths, np.ndarray]:
        """Return paths at their cutoffs, and ticks since the last event."""
        [source], n = data.sources, len(data)
        plan = SimulationPlan(data, keys, source.cutoff, 1, most_events=0)
        paths, *_ = self._begin(plan, np.arange(n), self._observed_levels(data))
        ticks = source.cutoff - paths.times
        paths = self._append_baskets(paths, ticks)
        number = np.arange(n * n_draws)
        row = number // n_draws
        paths = replace(
            paths.take(row),
            number=number,
            draws=PathDraws.of_paths(keys[row], number % n_draws, row),
        )
        has_basket = np.diff(self.baskets.offsets) > 0
        interarrival = np.where(has_basket, 0, ticks)[row]
        is_first = ((event_counts(data) == 0) & ~has_basket)[row]
        # The first event of an empty history has no interarrival time.
        paths = paths.advance(interarrival, self.learned.grid)
        return paths, np.where(is_first, np.nan, interarrival)

    def _append_baskets(self, paths: Paths, ticks: np.ndarray) -> Paths:
        """Append the events at the cutoff, `ticks` after the last event, to paths."""
        offsets, counts = self.baskets.offsets, np.diff(self.baskets.offsets)
        complete, k = [], 0
        while True:
            is_complete = counts[paths.number] == k
            if is_complete.any():
                complete.append(paths.take(np.flatnonzero(is_complete)))
            if is_complete.all():
                break
            paths = paths.take(np.flatnonzero(~is_complete))
            begins = ticks[paths.number] * (k == 0)
            paths = paths.advance(begins, self.learned.grid)
            event = offsets[paths.number] + k
            paths = self._append(
                paths,
                self._moved(self.baskets.values[event]),
                self._moved(self.baskets.codes[event]),
            )
            k += 1
        joined = reduce(Paths.concat, complete)
        return joined.take(np.argsort(joined.number))
