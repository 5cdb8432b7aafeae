"""Cut long logs: chunks for overlapping windows, portions of customers.

Chunks of one customer with 40 events at the positions 0 to 39, and the window 15:35::

    event    0 ........... 15 16 ........... 31 32 33 34 ... 39
    chunk    [---- no. 40 ---)[---- no. 41 ---)
    window                [15][---- no. 41 ---)[32][33][34]        five pieces

Pieces are numbered through: the events first, then the chunks of 16, then those of 256.
A portion holds the positions of the visible events of some customers, concatenated, and
its rows as views of these positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._ragged._segments import (
    Views,
    blocks,
    groups,
    inverse_permutation,
    ranges,
    visible_segments,
)

SIZE = 16  # of a chunk: events, or chunks of the next smaller size
_WIDTH = 8  # temporary values of an event, or of a row


class Chunks:
    """Full chunks of 16, 256, ... consecutive events of each customer.

    A window is put together of the chunks that it contains and of single events at both
    ends: some dozens of pieces, however long it is. The windows of many rows overlap
    and share the chunks.

    `offsets`, (n_customers + 1,), int64, are the segments of the customers.

    Notes
    -----
    Chunks are counted from the first event of their customer, and a window uses only
    those that it contains. So a later event never changes how the sum over a window is
    rounded. Differences of one cumulative sum were rejected: one large amount anywhere
    before the window would take the digits of all smaller ones.

    Examples
    --------
    >>> import numpy as np
    >>> chunks = Chunks(np.array([0, 40]))
    >>> spend = chunks.of_pieces(np.ones(40), np.add)
    >>> index, _ = chunks.pieces(np.array([0]), np.array([15]), np.array([35]))
    >>> spend[index]
    array([ 1., 16.,  1.,  1.,  1.])
    """

    n_events: int
    n_pieces: int  # number of events and chunks together
    # For each size, smallest first: the piece numbers of its chunks, and those of the
    # 16 events or smaller chunks in each, (n_chunks, 16).
    sizes: list[tuple[slice, np.ndarray]]

    def __init__(self, offsets: np.ndarray) -> None:
        lengths = np.diff(offsets)
        self._offsets = offsets
        # For each size, events first: the first piece of each customer, (n_customers,).
        self._begins = [offsets[:-1]]
        self.n_events = self.n_pieces = int(offsets[-1])
        self.sizes = []
        while (lengths := lengths // SIZE).any():
            smaller = self._begins[-1]
            parts, _ = ranges(smaller, smaller + SIZE * lengths)
            ends = self.n_pieces + np.cumsum(lengths)
            self._begins.append(ends - lengths)
            self.sizes.append(
                (slice(self.n_pieces, int(ends[-1])), parts.reshape(-1, SIZE))
            )
            self.n_pieces = int(ends[-1])

    def of_pieces(self, values: np.ndarray, join: np.ufunc) -> np.ndarray:
        """Return the values of the events, then those of the chunks, shape (n_pieces,).

        `join` reduces the values of a chunk to one: `numpy.add`, `numpy.minimum`, ...
        """
        if not self.sizes:
            return values
        result = np.empty(self.n_pieces, dtype=values.dtype)
        result[: self.n_events] = values
        for own, parts in self.sizes:
            # (n_chunks, 16) to (n_chunks,)
            result[own] = join.reduce(result[parts], axis=1)
        return result

    def pieces(
        self, codes: np.ndarray, begin: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the pieces of which windows consist, one window after the other.

        Window ``i``, of the customer ``codes[i]``, holds the events
        ``begin[i]:end[i]``, and consists of the pieces
        ``index[offsets[i]:offsets[i + 1]]``. Returns `index` (m,), int64, and `offsets`
        (n + 1,), int64.
        """
        if not self.sizes:
            return ranges(begin, end)
        starts, stops = self._stretches(codes, begin, end)
        index, offsets = ranges(starts.ravel(), stops.ravel())
        return index, offsets[:: starts.shape[1]]

    def _stretches(
        self, codes: np.ndarray, begin: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ranges of pieces of one size each, shape (n, 1 + 2 * n_sizes).

        From single events to the largest chunks in the middle, and back::

            [events][chunks of 16][chunks of 256][chunks of 16][events]
        """
        n_sizes = len(self.sizes)
        shape = (len(codes), 1 + 2 * n_sizes)
        starts, stops = np.zeros(shape, "int64"), np.zeros(shape, "int64")
        low, high = begin - self._offsets[codes], end - self._offsets[codes]
        for size in range(n_sizes):
            base = self._begins[size][codes]
            inner, outer = -(-low // SIZE), high // SIZE
            # Without a full chunk everything is head, and larger sizes get nothing.
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


class Portion(NamedTuple):
    """Rows of some customers, as views of the positions of the events that they see."""

    rows: np.ndarray  # (n,), int64: positions of the rows; each sees at least one event
    codes: np.ndarray  # (n,), int64: position of each row's customer in `offsets`
    # (n,), int64: row ``i`` sees the events ``events[start[i]:stop[i]]``.
    start: np.ndarray
    stop: np.ndarray
    cutoff: np.ndarray  # (n,)
    # (n_events,), int64: positions of the events in the log, customer by customer.
    events: np.ndarray
    # (n_customers + 1,), int64: the events of customer ``c`` are
    # ``events[offsets[c]:offsets[c + 1]]``.
    offsets: np.ndarray

    def in_blocks(self, width: int) -> Iterator[tuple[slice, Portion]]:
        """Yield the rows in blocks, with `width` temporary values for each row."""
        for some in blocks(len(self.rows), width):
            of_rows = [column[some] for column in self[:5]]
            yield some, Portion._make([*of_rows, self.events, self.offsets])


def portions(rows: Views) -> Iterator[Portion]:
    """Yield all rows that see an event, a group of customers at a time.

    A portion has about ``BLOCK / 8`` rows and events together, or a single customer.
    Customers with few visible events come first.
    """
    seen = visible_segments(rows)
    filled = rows.stop[seen.rows] > rows.start[seen.rows]
    row, customer = seen.rows[filled], seen.of_row[filled]
    n_events = seen.last - seen.first
    # Sort customers by their number of events: those of a portion are then alike.
    by_length = np.argsort(n_events, kind="stable")
    place = inverse_permutation(by_length)
    order = np.argsort(place[customer], kind="stable")
    row, customer = row[order], place[customer[order]]
    first, last = seen.first[by_length], seen.last[by_length]
    row_ends = np.searchsorted(customer, np.arange(len(first)), side="right")
    load = np.cumsum(last - first) + row_ends  # events and rows up to each customer
    for one, following in groups(load, _WIDTH):
        here = slice(row_ends[one - 1] if one else 0, row_ends[following - 1])
        events, offsets = ranges(first[one:following], last[one:following])
        own, code = row[here], customer[here] - one
        shift = offsets[code] - first[customer[here]]  # from the log to `events`
        start, stop = rows.start[own] + shift, rows.stop[own] + shift
        if len(own):
            yield Portion(own, code, start, stop, rows.cutoff[own], events, offsets)
