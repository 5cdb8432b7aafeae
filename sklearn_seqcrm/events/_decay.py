"""Exponentially decayed counts and sums over ragged histories."""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm.events._rows import Rows, visible_segments
from sklearn_seqcrm.events._timeline import ranges

_EVENTS_AT_ONCE = 2**17  # bounds the memory for states, whatever the number of rows


def decayed_sums(rows: Rows, values: np.ndarray, half_lives: np.ndarray) -> np.ndarray:
    """Counts and sums over each row's visible events, faded to its cutoff.

    Parameters
    ----------
    rows : Rows
        Views of a log.
    values : ndarray of shape (n_events, n_values)
        What to add up, for every event of the log; finite.
    half_lives : ndarray of shape (n_half_lives,)
        Ticks after which an event counts half.

    Returns
    -------
    ndarray of shape (n, n_half_lives, 1 + n_values)
        The count of events, then the sums; zero for an empty history.

    Notes
    -----
    With the rate ``r = ln 2 / half_life``, the sum over events up to the ``i``-th obeys
    ``S[i] = exp(-r * (t[i] - t[i - 1])) * S[i - 1] + v[i]``, whatever the cutoff is, so
    that all rows of a customer are read from one pass: ``exp(-r * (cutoff - t[stop -
    1])) * S[stop - 1]``, less what had gone before `start`. Customers of similar
    length are walked in step, one array operation for the ``k``-th event of all.
    """
    result = np.zeros((len(rows.codes), len(half_lives), 1 + values.shape[1]))
    seen = visible_segments(rows)
    filled = (rows.stop > rows.start)[seen.rows]
    row, of_row = seen.rows[filled], seen.of_row[filled]
    if not len(row):
        return result
    rates = np.log(2) / np.asarray(half_lives, dtype="float64")
    by_length = np.argsort(seen.first - seen.last, kind="stable")  # longest first
    lengths = (seen.last - seen.first)[by_length]
    chunk = np.empty(len(by_length), dtype="int64")
    chunk[by_length] = (np.cumsum(lengths) - 1) // _EVENTS_AT_ONCE
    chunk_of_row = chunk[of_row]
    rows_by_chunk = np.argsort(chunk_of_row, kind="stable")
    ends = np.flatnonzero(np.diff(chunk_of_row[rows_by_chunk])) + 1
    for some in np.split(rows_by_chunk, ends):
        own = by_length[chunk[by_length] == chunk_of_row[some[0]]]
        states, offsets = _states(rows, values, rates, seen.first[own], seen.last[own])
        # Event e of a customer has its state at e + shift.
        shift = np.empty(len(by_length), dtype="int64")
        shift[own] = offsets[:-1] - seen.first[own]
        late = rows.start[row[some]] > seen.first[of_row[some]]
        result[row[some]] = _read(
            rows, states, rates, row[some], shift[of_row[some]], late
        )
    return result


def _states(
    rows: Rows,
    values: np.ndarray,
    rates: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """``S`` after every event of some customers, who come longest first."""
    index, offsets = ranges(first, last)
    times = rows.log.timeline.times
    states = np.ones((len(index), len(rates), 1 + values.shape[1]))
    states[:, :, 1:] = values[index, None, :]
    lengths = np.diff(offsets)
    n_longer = np.searchsorted(-lengths, -np.arange(lengths[0]), side="left")
    for step in range(1, int(lengths[0])):
        here = offsets[: n_longer[step]] + step
        gap = (times[index[here]] - times[index[here - 1]])[:, None]
        states[here] += np.exp(-rates * gap)[:, :, None] * states[here - 1]
    return states, offsets


def _read(
    rows: Rows,
    states: np.ndarray,
    rates: np.ndarray,
    row: np.ndarray,
    shift: np.ndarray,
    late: np.ndarray,
) -> np.ndarray:
    """``S`` of some rows, faded to their cutoffs, less what came before their start."""
    times, cutoff = rows.log.timeline.times, rows.cutoff[row]

    def faded(some: np.ndarray | slice, event: np.ndarray) -> np.ndarray:
        age = (cutoff[some] - times[event])[:, None]
        return np.exp(-rates * age)[:, :, None] * states[event + shift[some]]

    sums = faded(slice(None), rows.stop[row] - 1)
    sums[late] -= faded(late, rows.start[row][late] - 1)
    return sums
