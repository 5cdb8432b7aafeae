"""How many different levels, and how often the same, in many overlapping windows."""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._ragged._chunks import SIZE, Chunks
from sklearn_seqcrm._ragged._runs import begins_run
from sklearn_seqcrm._ragged._search import first_at_or_after


class Levels:
    """The levels of one field, customer by customer.

    Parameters
    ----------
    codes : ndarray of shape (n_events,), int
        Level of each event, -1 where it is missing.
    offsets : ndarray of shape (n_customers + 1,), int64
        Segments of the customers.
    chunks : Chunks
        Their chunks.

    Notes
    -----
    A window has as many levels as events whose level was last seen before it begins.
    In a chunk whose places of that are sorted, a binary search counts them.
    """

    def __init__(self, codes: np.ndarray, offsets: np.ndarray, chunks: Chunks) -> None:
        self._chunks = chunks
        self._order, begins = _by_level(codes, offsets)
        # Where each event is in that order, and where those of its level begin.
        self._place = np.zeros(len(codes), dtype="int64")
        self._place[self._order] = np.arange(len(self._order))
        self._first = np.zeros(len(codes), dtype="int64")
        of_level = np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))
        self._first[self._order] = of_level
        # Never before any window, so that a missing level is never counted.
        before = np.full(len(codes), len(codes))
        before[self._order[1:]] = self._order[:-1]
        before[self._order[begins]] = -1
        self._before = before
        self._sorted = []
        first, inner = 0, before[:, None]
        for own, parts in chunks.sizes:
            inner = np.sort(inner[parts - first].reshape(len(parts), -1), axis=1)
            first = own.start
            self._sorted.append(inner.ravel())

    def count_different(
        self, customers: np.ndarray, begin: np.ndarray, end: np.ndarray
    ) -> np.ndarray:
        """Count the different levels of the events ``begin:end``.

        Parameters
        ----------
        customers : ndarray of shape (n,), int64
            Whose they are.
        begin, end : ndarray of shape (n,), int64
            Windows.

        Returns
        -------
        ndarray of shape (n,), int64
            Numbers of levels.
        """
        found = np.zeros(len(begin), dtype="int64")
        filled = np.flatnonzero(end > begin)
        if not len(filled):
            return found
        index, offsets = self._chunks.pieces(
            customers[filled], begin[filled], end[filled]
        )
        since = np.repeat(begin[filled], np.diff(offsets))
        new = self._count_pieces(index, since)
        found[filled] = np.add.reduceat(new, offsets[:-1])
        return found

    def count_same(
        self, events: np.ndarray, begin: np.ndarray, end: np.ndarray
    ) -> np.ndarray:
        """Count the events ``begin:end`` that have the level of a later one.

        Parameters
        ----------
        events : ndarray of shape (n,), int64
            Events with a level, each of the customer of its window and not in it.
        begin, end : ndarray of shape (n,), int64
            Windows.

        Returns
        -------
        ndarray of shape (n,), int64
            Numbers of events.
        """
        first, place = self._first[events], self._place[events]
        until, since = (
            first_at_or_after(self._order, first, place, when) for when in (end, begin)
        )
        return until - since

    def _count_pieces(self, index: np.ndarray, since: np.ndarray) -> np.ndarray:
        """Events of each piece whose level was last seen before `since`."""
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
    """Events that have a level, by customer, level and time; which begin a level."""
    known = np.flatnonzero(codes >= 0)
    customer = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[known]
    levels = codes[known].astype("int64")
    key = customer * (int(levels.max(initial=0)) + 1) + levels
    order = np.argsort(key, kind="stable")
    return known[order], begins_run(key[order])
