"""Cut long logs: chunks for overlapping windows, portions of customers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._ragged._segments import (
    Views,
    blocks,
    groups,
    ranges,
    visible_segments,
)

SIZE = 16


class Chunks:
    """Full chunks of 16, 256, ... consecutive events of each customer.

    What a window holds is put together of the chunks that lie in it in full, and of
    single events at both ends: some dozens of pieces, however long it is. Windows of
    many rows overlap, and read the same chunks.

    Parameters
    ----------
    offsets : ndarray of shape (n_customers + 1,), int64
        Segments of the customers.

    Attributes
    ----------
    n_events, n_pieces : int
        Number of events, and of events and chunks. Chunks are numbered after events.
    sizes : list of (slice, ndarray of shape (n_chunks, 16))
        For each size, smallest first: the numbers of its chunks, and those of the
        events or smaller chunks that each consists of.

    Notes
    -----
    Chunks are counted from the first event of their customer, and a window is made of
    those that it holds in full. So the sum over a window is rounded alike whatever
    comes after it. Differences of one cumulative sum are not: one large amount
    anywhere before would take the digits of all smaller ones.

    Examples
    --------
    >>> import numpy as np
    >>> chunks = Chunks(np.array([0, 40]))
    >>> spend = chunks.extended(np.ones(40), lambda chunk: chunk.sum(axis=1))
    >>> index, _ = chunks.pieces(np.array([0]), np.array([15]), np.array([35]))
    >>> spend[index]
    array([ 1., 16.,  1.,  1.,  1.])
    """

    def __init__(self, offsets: np.ndarray) -> None:
        lengths = np.diff(offsets)
        self._offsets = offsets
        # Of each size, events first: where the pieces of each customer begin.
        self._begins = [offsets[:-1]]
        self.n_events = self.n_pieces = int(offsets[-1])
        self.sizes: list[tuple[slice, np.ndarray]] = []
        while (lengths := lengths // SIZE).any():
            smaller = self._begins[-1]
            parts, _ = ranges(smaller, smaller + SIZE * lengths)
            ends = self.n_pieces + np.cumsum(lengths)
            self._begins.append(ends - lengths)
            self.sizes.append(
                (slice(self.n_pieces, int(ends[-1])), parts.reshape(-1, SIZE))
            )
            self.n_pieces = int(ends[-1])

    def extended(
        self, values: np.ndarray, of_chunk: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Values of all pieces: those of the events, and behind them of the chunks.

        Parameters
        ----------
        values : ndarray of shape (n_events,)
            Values of the events.
        of_chunk : callable
            Makes one value of each row of an array of shape (n_chunks, 16).

        Returns
        -------
        ndarray of shape (n_pieces,)
            The values.
        """
        if not self.sizes:
            return values
        result = np.empty(self.n_pieces, dtype=values.dtype)
        result[: self.n_events] = values
        for own, parts in self.sizes:
            result[own] = of_chunk(result[parts])
        return result

    def pieces(
        self, codes: np.ndarray, begin: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Put windows together of pieces.

        Parameters
        ----------
        codes : ndarray of shape (n,), int64
            Customer of each window.
        begin, end : ndarray of shape (n,), int64
            The window holds the events ``begin:end``.

        Returns
        -------
        index : ndarray of shape (m,), int64
            Pieces of all windows, one after the other.
        offsets : ndarray of shape (n + 1,), int64
            Those of window ``i`` are ``index[offsets[i]:offsets[i + 1]]``.
        """
        if not self.sizes:
            return ranges(begin, end)
        starts, stops = self._stretches(codes, begin, end)
        index, offsets = ranges(starts.ravel(), stops.ravel())
        return index, offsets[:: starts.shape[1]]

    def _stretches(
        self, codes: np.ndarray, begin: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Stretches of pieces of one size each, shape (n, 1 + 2 * n_sizes).

        From single events to the largest chunks in the middle, and back.
        """
        n_sizes = len(self.sizes)
        shape = (len(codes), 1 + 2 * n_sizes)
        starts, stops = np.zeros(shape, "int64"), np.zeros(shape, "int64")
        low, high = begin - self._offsets[codes], end - self._offsets[codes]
        for size in range(n_sizes):
            base = self._begins[size][codes]
            inner, outer = -(-low // SIZE), high // SIZE
            # Without a full chunk all is head, and nothing is left for what follows.
            has_chunk = inner < outer
            starts[:, size] = base + low
            stops[:, size] = base + np.where(has_chunk, inner * SIZE, high)
            starts[:, -1 - size] = base + np.where(has_chunk, outer * SIZE, high)
            stops[:, -1 - size] = base + high
            low, high = np.where(has_chunk, inner, 0), np.where(has_chunk, outer, 0)
        base = self._begins[-1][codes]
        starts[:, n_sizes] = base + low
        stops[:, n_sizes] = base + high
        return starts, stops


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
