"""Statistics of many overlapping windows: counts of levels, sums and extremes.

A window is a range ``begin:end`` of events of one customer. It is put together of the
chunks that it contains and of single events at both ends (`Chunks`), so that a long
history costs little more than a short one, and overlapping windows share the chunks.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from sklearn_seqcrm._ragged._portions import SIZE, Chunks
from sklearn_seqcrm._ragged._runs import is_run_start
from sklearn_seqcrm._ragged._segments import first_at_or_after, segment_numbers


class LevelCounter:
    """Counts of the levels of one field within windows.

    `codes` (n_events,) are the levels of the events, -1 where they are missing;
    `offsets` (n_customers + 1,) are the segments of the customers, and `chunks` their
    chunks.

    Notes
    -----
    The number of different levels in a window is the number of its events whose level
    occurred last before the window begins::

        level            a  b  a  a  c  b
        last before it   -  -  0  2  -  1      `_before`, as positions
        window 2:6             0  2  -  1      3 are below 2: the levels a, c and b

    In each chunk these positions are sorted, so that a binary search counts them.
    """

    def __init__(self, codes: np.ndarray, offsets: np.ndarray, chunks: Chunks) -> None:
        self._chunks = chunks
        self._order, begins = _by_level(codes, offsets)
        # Place of each event in this order, and of the first event of its level.
        self._place = np.zeros(len(codes), dtype="int64")
        self._place[self._order] = np.arange(len(self._order))
        self._first = np.zeros(len(codes), dtype="int64")
        of_level = np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))
        self._first[self._order] = of_level
        # A missing level gets a position after all windows, so that none counts it.
        before = np.full(len(codes), len(codes))
        before[self._order[1:]] = self._order[:-1]
        before[self._order[begins]] = -1
        self._before = before
        self._sorted = []
        first, inner = 0, before[:, None]
        for own, parts in chunks.sizes:
            # (n_chunks, 16, size / 16) to (n_chunks, size)
            inner = np.sort(inner[parts - first].reshape(len(parts), -1), axis=1)
            first = own.start
            self._sorted.append(inner.ravel())

    def count_different(
        self, customers: np.ndarray, begin: np.ndarray, end: np.ndarray
    ) -> np.ndarray:
        """Count the different levels in windows of customers; all (n,), int64."""
        found = np.zeros(len(begin), dtype="int64")
        filled = np.flatnonzero(end > begin)
        if not len(filled):
            return found
        index, offsets = self._chunks.pieces(
            customers[filled], begin[filled], end[filled]
        )
        since = np.repeat(begin[filled], np.diff(offsets))
        new = self._count_pieces(index, since)  # (m,)
        found[filled] = np.add.reduceat(new, offsets[:-1])
        return found

    def count_same(
        self, events: np.ndarray, begin: np.ndarray, end: np.ndarray
    ) -> np.ndarray:
        """Count the events in windows that have the level of a later event; all (n,).

        `events` have a level; each is of the customer of its window and after it.
        """
        first, place = self._first[events], self._place[events]
        until, since = (
            first_at_or_after(self._order, first, place, when) for when in (end, begin)
        )
        return until - since

    def _count_pieces(self, index: np.ndarray, since: np.ndarray) -> np.ndarray:
        """Count the events of each piece whose level occurred last before `since`."""
        if not self._sorted:
            return (self._before[index] < since).astype("int64")
        new = np.zeros(len(index), dtype="int64")
        is_event = index < self._chunks.n_events
        new[is_event] = self._before[index[is_event]] < since[is_event]
        width = 1
        for (own, _), places in zip(self._chunks.sizes, self._sorted, strict=True):
            width *= SIZE
            here = np.flatnonzero((index >= own.start) & (index < own.stop))
            low = (index[here] - own.start) * width
            new[here] = first_at_or_after(places, low, low + width, since[here]) - low
        return new


def _by_level(codes: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort the events with a level by customer, level and time; mark new levels."""
    known = np.flatnonzero(codes >= 0)
    customer = segment_numbers(offsets)[known]
    levels = codes[known].astype("int64")
    key = customer * (int(levels.max(initial=0)) + 1) + levels
    order = np.argsort(key, kind="stable")
    return known[order], is_run_start(key[order])


class Summary(NamedTuple):
    """Moments and extremes of the recorded numbers of some sets of events."""

    n: np.ndarray  # (...), int64: count of the numbers
    total: np.ndarray  # (...): their sum
    squares: np.ndarray  # (...): sum of the squared distances from their mean
    low: np.ndarray  # (...): the smallest, infinite if there is none
    high: np.ndarray  # (...): the largest, infinite if there is none

    def at(self, place: int) -> Summary:
        """Return the summaries at one position of the first dimension."""
        return Summary(*(part[place] for part in self))

    def joined(self, other: Self) -> Summary:
        """Return the summary of the union of two disjoint sets.

        Notes
        -----
        ``squares = squares_a + squares_b + (mean_a - mean_b)^2 * n_a * n_b / n``. It
        subtracts means and never large sums, which would cancel.

        References
        ----------
        T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for Computing the Sample
        Variance", The American Statistician 37(3), 1983.
        https://doi.org/10.1080/00031305.1983.10483115
        """
        count = self.n + other.n
        both = np.multiply(self.n, other.n, dtype="float64")
        apart = self.mean(0.0) - other.mean(0.0)
        between = apart * apart * (both / np.maximum(count, 1))
        return Summary(
            count,
            self.total + other.total,
            self.squares + other.squares + between,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    def mean(self, of_none: float = np.nan) -> np.ndarray:
        """Return the means; `of_none` for an empty set."""
        # The mean of equal numbers is that number; their sum may have been rounded.
        mean = np.where(self._are_equal, self.low, self.total / np.maximum(self.n, 1))
        mean[self.n == 0] = of_none
        return mean

    def std(self) -> np.ndarray:
        """Return the sample standard deviations, NaN for fewer than two numbers."""
        std = np.sqrt(self.squares / np.maximum(self.n - 1, 1))
        std[self._are_equal] = 0.0
        std[self.n < 2] = np.nan
        return std

    @property
    def _are_equal(self) -> np.ndarray:
        """Whether all numbers of a set are equal; False for an empty set."""
        return self.low == self.high

    def extreme(self, which: str) -> np.ndarray:
        """Return the smallest ("min") or the largest number, NaN for an empty set."""
        values = self.low if which == "min" else self.high
        return np.where(self.n > 0, values, np.nan)


class Bands:
    """Stretches of events between successive cuts through the history of each row.

    `codes` (n,) are the customers of the rows. Band ``k`` of row ``i`` holds the events
    ``cuts[k + 1, i]:cuts[k, i]``; `cuts` are of shape (1 + n_bands, n).

    Notes
    -----
    Windows of several lengths before a cutoff are nested. Each band is summarized once,
    and `Summary.joined` makes the longer windows of the shorter ones::

        cuts     cuts[2]    cuts[1]    cuts[0]
        bands       [  band 1  )[  band 0  )
        windows                 [ window 0 )
                    [       window 1       )  = band 1 joined with window 0
    """

    def __init__(self, chunks: Chunks, codes: np.ndarray, cuts: np.ndarray) -> None:
        self._cuts = cuts
        end, begin = cuts[:-1].ravel(), cuts[1:].ravel()  # (n_bands * n,)
        self._filled = np.flatnonzero(end > begin)
        index, offsets = chunks.pieces(
            np.tile(codes, len(cuts) - 1)[self._filled],
            begin[self._filled],
            end[self._filled],
        )
        self._index, self._first = index, offsets[:-1]
        self._n_pieces = np.diff(offsets)

    def summary(self, numbers: Numbers) -> Summary:
        """Summarize the numbers of each band, shape (n_bands, n)."""
        n_before = numbers.n_before[self._cuts]
        count = n_before[:-1] - n_before[1:]
        # Total, squares, low and high of no numbers, (4, n_bands * n).
        parts = np.full((4, count.size), [[0.0], [0.0], [np.inf], [-np.inf]])
        if len(self._filled):
            parts[:, self._filled] = self._summarize(
                numbers, count.ravel()[self._filled]
            )
        return Summary(count, *parts.reshape(4, *count.shape))

    def _summarize(self, numbers: Numbers, count: np.ndarray) -> list[np.ndarray]:
        """Return sum, squared distances and extremes of the bands with events."""
        index, first = self._index, self._first
        totals = numbers.total[index]  # (m,), one for each piece
        total = np.add.reduceat(totals, first)  # (n_filled,)
        mean = np.repeat(total / np.maximum(count, 1), self._n_pieces)
        if numbers.is_plain:
            apart = totals - mean
            apart *= apart
            low = high = totals
        else:
            apart = _squares(totals, numbers.count[index], mean)
            apart += numbers.squares[index]
            low, high = numbers.low[index], numbers.high[index]
        of_pieces = ((np.add, apart), (np.minimum, low), (np.maximum, high))
        return [total, *(join.reduceat(part, first) for join, part in of_pieces)]


class Numbers:
    """One number of each event, summarized over the chunks.

    Of the `values` (n_events,), one that is not finite was not recorded.
    """

    n_before: np.ndarray  # (n_events + 1,), int64: numbers recorded before each event
    # Whether all pieces are single events with a recorded number. Then `total` is the
    # only summary.
    is_plain: bool
    # (n_pieces,): the summary of each piece.
    count: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __init__(self, values: np.ndarray, chunks: Chunks) -> None:
        recorded = np.isfinite(values)
        self.n_before = np.append(0, np.cumsum(recorded))
        numbers = np.where(recorded, values, 0.0)
        self.is_plain = not chunks.sizes and bool(recorded.all())
        self.total = chunks.of_pieces(numbers, np.add)
        if self.is_plain:
            return
        self.count = chunks.of_pieces(recorded.astype("float64"), np.add)
        self.low = chunks.of_pieces(np.where(recorded, numbers, np.inf), np.minimum)
        self.high = chunks.of_pieces(np.where(recorded, numbers, -np.inf), np.maximum)
        self.squares = np.zeros(chunks.n_pieces)
        for own, parts in chunks.sizes:
            mean = self.total[own] / np.maximum(self.count[own], 1)  # (n_chunks,)
            apart = _squares(self.total[parts], self.count[parts], mean[:, None])
            self.squares[own] = (self.squares[parts] + apart).sum(axis=1)


def _squares(total: np.ndarray, count: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return ``count * (total / count - mean)^2``, zero for an empty piece."""
    apart = total - count * mean
    # Divided before it is squared: the square of a long chunk's could overflow.
    found = apart / np.maximum(count, 1)
    found *= apart
    return found
