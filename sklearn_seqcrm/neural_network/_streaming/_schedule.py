"""In which order the events of many customers are read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Events of a customer that are read in one go, at most; a power of 2.
_LONGEST = 64
# States that are in work at once, as in prediction.
_STATES = 2**20
_PORTION = 2**18


def portions(offsets: np.ndarray) -> Iterator[slice]:
    """Customers whose events are encoded together, about 262,000 events.

    Parameters
    ----------
    offsets : ndarray of shape (n + 1,), int64
        Segments of the customers.

    Yields
    ------
    slice
        Customers, one at least, in order.
    """
    start, n = 0, len(offsets) - 1
    while start < n:
        stop = int(np.searchsorted(offsets, offsets[start] + _PORTION, side="right"))
        stop = min(max(stop - 1, start + 1), n)
        yield slice(start, stop)
        start = stop


def strides(
    counts: np.ndarray, n_states: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Events to read side by side: as many of each customer, so that none is padded.

    A history of 201 events is read 64 at a time, and what is left over 8 and 1.

    Parameters
    ----------
    counts : ndarray of shape (n,), int64
        Number of events of each customer.
    n_states : int
        Numbers in work for each event.

    Yields
    ------
    customers : ndarray of int64
        Positions of some customers.
    done : ndarray of int64
        How many of their events were read before.
    length : int
        How many of each are read now.

    Examples
    --------
    >>> import numpy as np
    >>> for customers, done, length in strides(np.array([3, 1, 2]), 8):
    ...     print(customers, done, length)
    [0 2] [0 0] 2
    [0 1] [2 0] 1
    """
    done = np.zeros_like(counts)
    length = _LONGEST
    while length:
        waiting = np.flatnonzero(counts - done >= length)
        at_once = max(1, _STATES // (n_states * length))
        for first in range(0, len(waiting), at_once):
            some = waiting[first : first + at_once]
            yield some, done[some].copy(), length
        done[waiting] += length
        if not len(waiting) or length < _LONGEST:
            length //= 2
