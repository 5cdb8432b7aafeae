"""What the rows of each customer see together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._ragged._ranges import ranges
from sklearn_seqcrm._ragged._views import NO_ROW, Views


class Segments(NamedTuple):
    """What the rows of each customer see together.

    Parameters
    ----------
    codes : ndarray of shape (n_seen,), int64
        Customers with a row, ascending.
    first, last : ndarray of shape (n_seen,), int64
        From the first to the last event that one of the customer's rows sees, as
        ``first:last`` of the log; empty if all the rows are.
    rows : ndarray of shape (n_known,), int64
        Rows whose customer the log knows.
    of_row : ndarray of shape (n_known,), int64
        Position in `codes` of the customer of each of `rows`.
    """

    codes: np.ndarray
    first: np.ndarray
    last: np.ndarray
    rows: np.ndarray
    of_row: np.ndarray


def visible_segments(rows: Views) -> Segments:
    """Find the stretch of the log that the rows of each customer see together."""
    known = np.flatnonzero(rows.codes >= 0)
    codes, of_row = np.unique(rows.codes[known], return_inverse=True)
    start, stop = rows.start[known], rows.stop[known]
    filled = stop > start
    last = np.zeros(len(codes), dtype="int64")
    np.maximum.at(last, of_row[filled], stop[filled])
    # No start is above it; and of a customer without any visible event it stays, so
    # that the segment is empty.
    first = last.copy()
    np.minimum.at(first, of_row[filled], start[filled])
    return Segments(codes, first, last, known, of_row)


def starts_among(seen: Segments, rows: Views, offsets: np.ndarray) -> np.ndarray:
    """Where rows start after their segments were put behind one another.

    Parameters
    ----------
    seen : Segments
        What `visible_segments` found for `rows`.
    rows : Views of n
        The rows.
    offsets : ndarray of shape (n_seen + 1,), int64
        Segment ``i`` became ``offsets[i]:offsets[i + 1]``.

    Returns
    -------
    ndarray of shape (n,), int64
        New `start` of each row; `NO_ROW` if it is missing, 0 if the log does not know
        its customer.
    """
    start = np.where(rows.start == NO_ROW, NO_ROW, 0)
    skipped = rows.start[seen.rows] - seen.first[seen.of_row]
    # A row without an event may stand anywhere, also outside its customer's segment.
    filled = (rows.stop > rows.start)[seen.rows]
    start[seen.rows] = offsets[seen.of_row] + np.where(filled, skipped, 0)
    return start


def visible_runs(rows: Views) -> tuple[np.ndarray, np.ndarray]:
    """Find the stretches of events of which at least one row sees each.

    Parameters
    ----------
    rows : Views
        Rows.

    Returns
    -------
    first, last : ndarray of shape (n_runs,), int64
        Stretches ``first:last`` of one customer each, apart from one another and
        ascending; none is empty.
    """
    filled = np.flatnonzero(rows.stop > rows.start)
    order = filled[np.argsort(rows.start[filled], kind="stable")]
    start, codes = rows.start[order], rows.codes[order]
    until = np.maximum.accumulate(rows.stop[order])
    new = np.ones(len(order), dtype=bool)
    new[1:] = (start[1:] > until[:-1]) | (codes[1:] != codes[:-1])
    at = np.flatnonzero(new)
    return start[at], until[np.append(at[1:], len(order)) - 1] if len(at) else start


def visible_events(rows: Views) -> np.ndarray:
    """Find the events that at least one row sees.

    Parameters
    ----------
    rows : Views
        Rows.

    Returns
    -------
    ndarray of shape (n_visible,), int64
        Positions, ascending.
    """
    return ranges(*visible_runs(rows))[0]


def visible_gaps(
    offsets: np.ndarray, index: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Find the gaps between successive events of a customer that are both visible.

    Parameters
    ----------
    offsets : ndarray of shape (n_customers + 1,), int64
        Segments of the customers in the log.
    index : ndarray of shape (n_visible,), int64
        What `visible_events` found. A lookback hides what came before.
    times : ndarray of shape (n_visible,)
        Times of these events.

    Returns
    -------
    ndarray of shape (n_gaps,)
        Lengths, 0 among them.
    """
    is_first = np.zeros(offsets[-1] + 1, dtype=bool)
    is_first[offsets] = True
    successive = (index[1:] == index[:-1] + 1) & ~is_first[index[1:]]
    return np.diff(times)[successive]
