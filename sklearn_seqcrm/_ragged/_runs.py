"""Sort events, and summarize runs of adjacent equal values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from sklearn_seqcrm._ragged._segments import first_of_filled


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


def sort_events(
    codes: np.ndarray, times: np.ndarray, n_customers: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort events by customer and time; equal times keep their order.

    Parameters
    ----------
    codes : ndarray of shape (n_events,), int
        Customer codes below `n_customers`.
    times : ndarray of shape (n_events,), int64 or float64
        Times, finite.
    n_customers : int
        Number of customers.

    Returns
    -------
    order : ndarray of shape (n_events,)
        Positions of the sorted events in the input.
    offsets : ndarray of shape (n_customers + 1,), int64
        Segments of the customers.
    sorted_times : ndarray of shape (n_events,)
        ``times[order]``.

    Notes
    -----
    A comparison sort of 10 million (customer, time) pairs took 4.0 s with
    ``np.lexsort``. A counting sort by customer followed by small sorts within each
    customer took 0.6 s; SciPy has both as compiled routines on sparse matrices: the
    conversion of coordinates to rows, and the sorting of a row's column indices.
    """
    n_events = len(codes)
    small = n_events < np.iinfo("int32").max
    position = np.arange(n_events, dtype="int32" if small else "int64")
    marks = np.broadcast_to(np.int8(1), n_events)
    grouped = sparse.csr_array(
        (marks, (codes.astype(position.dtype, copy=False), position)),
        shape=(n_customers, max(n_events, 1)),
    )
    order, offsets = grouped.indices, grouped.indptr.astype("int64")
    del grouped, position
    by_customer = times[order]
    ends = offsets[1:-1]
    step_back = by_customer[1:] < by_customer[:-1]
    step_back[ends[(ends > 0) & (ends < n_events)] - 1] = False
    if not step_back.any():
        return order, offsets, by_customer
    del step_back
    if times.dtype != np.int64 or int(times.max()) - int(times.min()) >= 2**62:
        by_time = np.lexsort(
            (by_customer, np.repeat(np.arange(n_customers), np.diff(offsets)))
        )
        return order[by_time], offsets, by_customer[by_time]
    return _sort_within(order, offsets, by_customer)


def _sort_within(
    order: np.ndarray, offsets: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort each segment by its integer times, then each run of ties by input order."""
    first = times.min()
    times -= first
    rows = sparse.csr_array(
        (order, times, offsets), shape=(len(offsets) - 1, int(times.max()) + 1)
    )
    rows.sort_indices()
    order, times = rows.data, rows.indices.astype("int64", copy=False)
    starts_run = begins_run(times, first_of_filled(offsets))
    if not starts_run.all():
        runs = np.append(np.flatnonzero(starts_run), len(times)).astype(order.dtype)
        ties = sparse.csr_array(
            (np.broadcast_to(np.int8(1), len(order)).copy(), order, runs),
            shape=(len(runs) - 1, len(order)),
        )
        ties.sort_indices()
        order = ties.indices
    times += first
    return order, offsets, times
