"""Rows and the events that they see, some customers at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._ragged._blocks import blocks, groups
from sklearn_seqcrm._ragged._ranges import ranges
from sklearn_seqcrm._ragged._segments import visible_segments
from sklearn_seqcrm._ragged._views import Views

_WIDTH = 8  # numbers of an event, or of a row, in work


class Portion(NamedTuple):
    """Rows of some customers, as views of the events that they see together.

    Parameters
    ----------
    rows : ndarray of shape (n,), int64
        Positions of the rows; each sees at least one event.
    codes : ndarray of shape (n,), int64
        Position of each row's customer in `offsets`.
    start, stop : ndarray of shape (n,), int64
        Row ``i`` sees the events ``events[start[i]:stop[i]]``.
    cutoff : ndarray of shape (n,)
        Cutoffs.
    events : ndarray of shape (n_events,), int64
        Positions of the events in the log, customer by customer.
    offsets : ndarray of shape (n_customers + 1,), int64
        The events of customer ``c`` are ``events[offsets[c]:offsets[c + 1]]``.
    """

    rows: np.ndarray
    codes: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    cutoff: np.ndarray
    events: np.ndarray
    offsets: np.ndarray

    def in_blocks(self, width: int) -> Iterator[tuple[slice, Portion]]:
        """Some rows at a time, with `width` numbers in work for each."""
        for some in blocks(len(self.rows), width):
            yield (
                some,
                self._replace(
                    rows=self.rows[some],
                    codes=self.codes[some],
                    start=self.start[some],
                    stop=self.stop[some],
                    cutoff=self.cutoff[some],
                ),
            )


def portions(rows: Views) -> Iterator[Portion]:
    """Yield all rows that see an event, those of some customers at a time.

    Parameters
    ----------
    rows : Views of n
        Rows.

    Yields
    ------
    Portion
        Of about ``BLOCK / 8`` rows and events together, or of a single customer; those
        of customers with few events come first.
    """
    seen = visible_segments(rows)
    filled = rows.stop[seen.rows] > rows.start[seen.rows]
    row, customer = seen.rows[filled], seen.of_row[filled]
    n_events = seen.last - seen.first
    by_length = np.argsort(n_events, kind="stable")
    place = np.empty_like(by_length)
    place[by_length] = np.arange(len(by_length))
    order = np.argsort(place[customer], kind="stable")
    row, customer = row[order], place[customer[order]]
    first, last = seen.first[by_length], seen.last[by_length]
    row_ends = np.searchsorted(customer, np.arange(len(first)), side="right")
    load = np.cumsum(last - first) + row_ends
    for one, following in groups(load, _WIDTH):
        here = slice(row_ends[one - 1] if one else 0, row_ends[following - 1])
        events, offsets = ranges(first[one:following], last[one:following])
        own, code = row[here], customer[here] - one
        shift = offsets[code] - first[customer[here]]
        start, stop = rows.start[own] + shift, rows.stop[own] + shift
        if len(own):
            yield Portion(own, code, start, stop, rows.cutoff[own], events, offsets)
