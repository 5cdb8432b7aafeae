"""Integer ranges joined into one index, and segments of it."""

from __future__ import annotations

import numpy as np


def first_of_filled(offsets: np.ndarray) -> np.ndarray:
    """Where the segments ``offsets[i]:offsets[i + 1]`` that are not empty begin."""
    return offsets[:-1][np.diff(offsets) > 0]


def is_first_of(starts: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Tell which events are the first of their segment.

    Parameters
    ----------
    starts : ndarray of shape (n_segments,), int64
        Where segments begin, ascending.
    index : ndarray of shape (n,), int64
        Positions of events. Where many follow one another, as those of sequences do,
        starts are looked for once a stretch, and not once an event.

    Returns
    -------
    ndarray of shape (n,), bool
        Whether each is one of `starts`.

    Examples
    --------
    >>> import numpy as np
    >>> is_first_of(np.array([0, 3, 4]), np.array([7, 2, 3, 4, 5]))
    array([False, False,  True,  True, False])
    """
    is_first = np.zeros(len(index), dtype=bool)
    if not len(index):
        return is_first
    begins = np.append(0, np.flatnonzero(index[1:] != index[:-1] + 1) + 1)
    low = index[begins]
    high = low + np.diff(begins, append=len(index))
    found, offsets = ranges(np.searchsorted(starts, low), np.searchsorted(starts, high))
    is_first[starts[found] + np.repeat(begins - low, np.diff(offsets))] = True
    return is_first


def ranges(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join the integer ranges ``start[i]:stop[i]``.

    Parameters
    ----------
    start, stop : ndarray of shape (n,), int64
        Ends of the ranges, ``start <= stop``.

    Returns
    -------
    index : ndarray of shape (sum(stop - start),), int64
        All ranges one after the other.
    offsets : ndarray of shape (n + 1,), int64
        Range ``i`` is ``index[offsets[i]:offsets[i + 1]]``.

    Examples
    --------
    >>> import numpy as np
    >>> ranges(np.array([5, 0]), np.array([7, 3]))
    (array([5, 6, 0, 1, 2]), array([0, 2, 5]))
    """
    lengths = stop - start
    offsets = np.zeros(len(lengths) + 1, dtype="int64")
    np.cumsum(lengths, out=offsets[1:])
    shift = np.repeat(start - offsets[:-1], lengths)
    shift += np.arange(offsets[-1])
    return shift, offsets
