"""Work in blocks whose numbers stay in the cache of a processor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sklearn_seqcrm._ragged._ranges import ranges

# Numbers in work at a time, 2 MB. Of larger arrays each pass is read from memory, and
# malloc takes the pages from the system anew each time: both took longer than the
# arithmetic.
BLOCK = 2**18


def blocks(n: int, width: int) -> Iterator[slice]:
    """Yield slices of `n` things, of as many as stay in the cache.

    Parameters
    ----------
    n : int
        Number of things.
    width : int
        Numbers in work for each of them, in all arrays together.

    Yields
    ------
    slice
        Of ``BLOCK // width`` things, the last one of fewer.

    Examples
    --------
    >>> list(blocks(5, BLOCK // 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, BLOCK // width)
    for at in range(0, n, size):
        yield slice(at, min(at + size, n))


def groups(load: np.ndarray, width: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of things of unequal size, of as many as stay in the cache.

    Parameters
    ----------
    load : ndarray of shape (n,), int
        Size of each thing and of all before it.
    width : int
        Numbers in work for a size of 1.

    Yields
    ------
    start, stop : int
        Of about ``BLOCK // width`` in all, or a single thing. Things of no size that
        come first are in none.

    Examples
    --------
    >>> import numpy as np
    >>> list(groups(np.array([2, 3, 9, 10]), BLOCK // 4))
    [(0, 2), (2, 4)]
    """
    group = (load - 1) // max(1, BLOCK // width)
    start = 0
    for stop in (np.flatnonzero(np.diff(group, append=-1)) + 1).tolist():
        yield start, stop
        start = stop


def event_blocks(
    start: np.ndarray, stop: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the visible events of all rows, some rows at a time.

    Parameters
    ----------
    start, stop : ndarray of shape (n,), int64
        Row ``i`` sees the events ``start[i]:stop[i]``.

    Yields
    ------
    rows : ndarray of shape (k,), int64
        Positions of rows with at least one event; every such row comes once.
    index : ndarray of shape (m,), int64
        Positions of their events, row by row.
    first : ndarray of shape (k,), int64
        Where in `index` each row begins, as ``np.ufunc.reduceat`` takes it.

    Notes
    -----
    Differences of one cumulative sum over the log would cost less where rows overlap,
    but one large amount anywhere would take the digits of all smaller ones.

    Examples
    --------
    >>> import numpy as np
    >>> spend = np.array([1.0, 2.0, 4.0, 8.0])
    >>> for rows, index, first in event_blocks(
    ...     np.array([0, 2, 1]), np.array([3, 2, 4])
    ... ):
    ...     print(rows, np.add.reduceat(spend[index], first))
    [0 2] [ 7. 14.]
    """
    filled = np.flatnonzero(stop > start)
    ends = np.cumsum((stop - start)[filled])
    n_events = ends[-1] if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(BLOCK, n_events, BLOCK))
    for rows in np.split(filled, cuts):
        if len(rows):
            index, offsets = ranges(start[rows], stop[rows])
            yield rows, index, offsets[:-1]
