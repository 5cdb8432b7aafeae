"""Runs of values that stand side by side, and one value for each of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def begins_run(values: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
    """Tell where a value differs from the one before it.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Values, equal ones side by side.
    first : ndarray of int, or None, default=None
        Where segments begin; no run goes on from one to the next.

    Returns
    -------
    ndarray of shape (n,), bool
        True where a run begins, at the first value among them.

    Examples
    --------
    >>> import numpy as np
    >>> begins_run(np.array([4, 4, 7, 7]), first=np.array([0, 3]))
    array([ True, False,  True,  True])
    """
    begins = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=begins[1:])
    if first is not None:
        begins[first] = True
    return begins


def starts_of_filled(
    first: np.ndarray, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where runs start after what is missing was left out.

    Parameters
    ----------
    first : ndarray of shape (n_runs,), int64
        Where each run starts, ascending; it ends where the next one starts.
    present : ndarray of shape (n,), bool
        Which values are not missing.

    Returns
    -------
    filled : ndarray of shape (n_runs,), bool
        Which runs have a value.
    starts : ndarray of shape (n_filled,), int64
        Where these start among the values that are present.

    Examples
    --------
    >>> import numpy as np
    >>> starts_of_filled(np.array([0, 1, 3]), np.array([False, True, True, True]))
    (array([False,  True,  True]), array([0, 2]))
    """
    n_before = np.zeros(len(present) + 1, dtype="int64")
    np.cumsum(present, out=n_before[1:])
    bounds = n_before[np.append(first, len(present))]
    filled = bounds[1:] > bounds[:-1]
    return filled, bounds[:-1][filled]


def _lengths(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.diff(starts, append=len(values))


def _sum(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    # Each run is added up by itself: differences of one long cumulative sum would
    # change with what stands before.
    with np.errstate(invalid="ignore", over="ignore"):
        return np.add.reduceat(values.astype("float64", copy=False), starts)


def _mean(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return (_sum(values, starts).T / _lengths(values, starts)).T


def _first(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return values[starts]


def _last(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return values[starts + _lengths(values, starts) - 1]


def _count_distinct(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    _, codes = np.unique(values, return_inverse=True)
    n_levels = codes.max(initial=0) + 1
    run = np.repeat(np.arange(len(starts)), _lengths(values, starts))
    pairs = np.unique(run * n_levels + codes)
    return np.bincount(pairs // n_levels, minlength=len(starts))


def _most_frequent(codes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Most frequent code of each run; of equally frequent ones the one seen first."""
    found = codes[starts]
    mixed = np.minimum.reduceat(codes, starts) < np.maximum.reduceat(codes, starts)
    if not mixed.any():
        return found
    # Only runs of several levels need to be sorted.
    lengths = _lengths(codes, starts)
    codes = codes[np.repeat(mixed, lengths)]
    run = np.repeat(np.arange(mixed.sum()), lengths[mixed])
    n_levels = int(codes.max()) + 1
    pairs, seen_first, counts = np.unique(
        run * n_levels + codes, return_index=True, return_counts=True
    )
    # The count, then how early: one number, of which the largest wins.
    rank = counts * len(codes) + (len(codes) - 1 - seen_first)
    of_run = np.searchsorted(pairs, np.arange(mixed.sum()) * n_levels)
    best = np.maximum.reduceat(rank, of_run)
    found[mixed] = codes[len(codes) - 1 - best % len(codes)]
    return found


# What takes values of shape (n,), none of them missing, and where the runs start, of
# shape (n_runs,), and returns a value for each run. Every run has a value. ``"mean"``,
# ``"first"`` and ``"last"`` take vectors as well, of shape (n, n_components).
RUN_SUMMARIES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "sum": _sum,
    "mean": _mean,
    "min": np.minimum.reduceat,
    "max": np.maximum.reduceat,
    "first": _first,
    "last": _last,
    "count_distinct": _count_distinct,
    "most_frequent": _most_frequent,
}
