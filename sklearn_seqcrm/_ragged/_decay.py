"""Exponentially decayed counts and sums over ragged histories."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from sklearn_seqcrm._ragged._segments import (
    Views,
    blocks,
    groups,
    ranges,
    visible_segments,
)

_WIDTH = 8  # numbers of an event, or of a row, in work
# What is taken off may be so many times what is left: a thousand of the 4.5e15 that a
# float can tell apart are lost then.
_MOST_TAKEN_OFF = 2**10


def decayed_sums(
    rows: Views,
    times: np.ndarray,
    values: np.ndarray,
    half_lives: np.ndarray,
    *,
    any_size: bool = False,
) -> np.ndarray:
    """Counts and sums over each row's visible events, faded to its cutoff.

    Parameters
    ----------
    rows : Views of n
        Rows.
    times : ndarray of shape (n_events,)
        Times of the events, ascending for each customer.
    values : ndarray of shape (n_events, n_values)
        What to add up, for every event of the log; finite.
    half_lives : ndarray of shape (n_half_lives,)
        Ticks after which an event counts half.
    any_size : bool, default=False
        Whether values may be of any size, so that those before a row starts could take
        the digits of its own. To look for that takes a tenth more of the time.

    Returns
    -------
    ndarray of shape (n, n_half_lives, 1 + n_values)
        The count of events, then the sums; zero for an empty history.

    Notes
    -----
    With the rate ``r = ln 2 / half_life``, the sum over events up to the ``i``-th obeys
    ``S[i] = exp(-r * (t[i] - t[i - 1])) * S[i - 1] + v[i]``, whatever the cutoff is. A
    row reads ``exp(-r * (cutoff - t[stop - 1])) * S[stop - 1]``, less what had gone
    before `start`. So ``S`` is needed only where a row stops or starts, at a cut: the
    events between two cuts are added up as they are, and of a customer's cuts each
    hands its sum on to the next, one array operation for the ``k``-th of all customers.

    With `any_size`, where what had gone before `start` is far more than what is left,
    the difference is rounding, and the row's own events are added up instead.
    """
    result = np.zeros((len(rows.codes), len(half_lives), 1 + values.shape[1]))
    rates = np.log(2) / np.asarray(half_lives, dtype="float64")
    cuts = _Cuts(rows)
    sums = np.empty((len(cuts.end), *result.shape[1:]))
    for number, some in cuts.in_portions():
        begin, end = cuts.begin[some], cuts.end[some]
        sums[some] = _sums_between(times, values, rates, begin, end)
        _hand_on(sums[some], times[end - 1], rates, number)

    def read(row: np.ndarray, cut: np.ndarray) -> np.ndarray:
        fade = _fade(rates, rows.cutoff[row] - times[cuts.end[cut] - 1])
        return fade[:, :, None] * sums[cut]

    for some in blocks(len(cuts.rows), _WIDTH):
        result[cuts.rows[some]] += read(cuts.rows[some], cuts.of_stop[some])
    # What a row reads at its stop holds what was there before it started, which is
    # taken off, faded to the same cutoff.
    for some in blocks(len(cuts.late), _WIDTH):
        row = cuts.late[some]
        gone = read(row, cuts.of_start[some])
        left = result[row] - gone
        result[row] = left
        if any_size:
            lost = np.abs(gone) > _MOST_TAKEN_OFF * np.abs(left)
            row = row[np.unique(np.nonzero(lost)[0])]
            _add_up(result, row, rows, times, values, rates)
    return result


def _add_up(
    result: np.ndarray,
    some: np.ndarray,
    rows: Views,
    times: np.ndarray,
    values: np.ndarray,
    rates: np.ndarray,
) -> None:
    """Write the sums of some rows that see an event, from nothing but their events."""
    load = np.cumsum(rows.stop[some] - rows.start[some])
    for one, following in groups(load, _WIDTH):
        row = some[one:following]
        begin, end = rows.start[row], rows.stop[row]
        fade = _fade(rates, rows.cutoff[row] - times[end - 1])
        sums = _sums_between(times, values, rates, begin, end)
        result[row] = fade[:, :, None] * sums


class _Cuts:
    """Where rows stop, and where they start later than others of their customer.

    Parameters
    ----------
    rows : Views
        Rows.

    Attributes
    ----------
    begin, end : ndarray of shape (n_cuts,), int64
        Events of the customer from the cut before, or the first that a row sees, up to
        the cut: ``begin:end`` of the log. Those of customers with many come first.
    rows, of_stop : ndarray of shape (n_filled,), int64
        Rows that see an event, and the cut at which each stops.
    late, of_start : ndarray of shape (n_late,), int64
        Rows that start after another of their customer, and the cut at which they do.
    """

    def __init__(self, rows: Views) -> None:
        seen = visible_segments(rows)
        filled = (rows.stop > rows.start)[seen.rows]
        self.rows, owner = seen.rows[filled], seen.of_row[filled]
        # Positions among the events that some row sees, from here on.
        offsets = np.append(0, np.cumsum(seen.last - seen.first))
        shift = (offsets[:-1] - seen.first)[owner]
        start, stop = rows.start[self.rows] + shift, rows.stop[self.rows] + shift
        is_late = start > offsets[owner]
        self.late = self.rows[is_late]
        # A cut ends the events before it: between two customers it is of the first,
        # as no row that starts with the first visible event is late.
        is_cut = np.zeros(offsets[-1] + 1, dtype=bool)
        is_cut[stop] = is_cut[start[is_late]] = True
        place = np.cumsum(is_cut)  # number of cuts so far
        number = np.diff(place[offsets])
        cut = np.flatnonzero(is_cut)
        begin = np.append(0, cut[:-1])  # a customer's last visible event is cut off
        back = np.repeat(seen.first - offsets[:-1], number)
        # So that whoever has a k-th cut stands before those who do not.
        by_number = np.argsort(-number, kind="stable")
        first = place[offsets[:-1]][by_number]
        self._number = number[by_number]
        order, _ = ranges(first, first + self._number)
        self.begin, self.end = (begin + back)[order], (cut + back)[order]
        # Where the cut that was at `order[i]` is now: at `i`.
        turned = np.empty_like(order)
        turned[order] = np.arange(len(order))
        self.of_stop = turned[place[stop] - 1]
        self.of_start = turned[place[start[is_late]] - 1]

    def in_portions(self) -> Iterator[tuple[np.ndarray, slice]]:
        """The number of cuts of some customers, and where they are.

        Their events are about `BLOCK` over `_WIDTH`, or those of a single customer.
        """
        offsets = np.append(0, np.cumsum(self._number))
        n_events = np.append(0, np.cumsum(self.end - self.begin))[offsets]
        for one, following in groups(n_events[1:], _WIDTH):
            yield self._number[one:following], slice(offsets[one], offsets[following])


def _fade(rates: np.ndarray, age: np.ndarray) -> np.ndarray:
    """What is left at some ages, shape (n, n_half_lives)."""
    return np.exp(age[:, None] * -rates)


def _sums_between(
    times: np.ndarray,
    values: np.ndarray,
    rates: np.ndarray,
    begin: np.ndarray,
    end: np.ndarray,
) -> np.ndarray:
    """Counts and sums of the events ``begin:end``, faded to the last of them.

    Of shape (n_cuts, n_half_lives, 1 + n_values).
    """
    index, offsets = ranges(begin, end)
    fade = _fade(rates, np.repeat(times[end - 1], end - begin) - times[index])
    numbers = np.ones((len(index), 1 + values.shape[1]))
    numbers[:, 1:] = values[index]
    # One matrix for all half-lives, as making each takes as long as a small product:
    # below the rows of one half-life come those of the next, over the same events.
    n_half_lives, n_events = len(rates), len(index)
    weights = csr_array(
        (
            fade.T.ravel(),
            np.tile(np.arange(n_events), n_half_lives),
            np.append(0, offsets[1:] + n_events * np.arange(n_half_lives)[:, None]),
        ),
        shape=(n_half_lives * len(begin), n_events),
    )
    return np.moveaxis((weights @ numbers).reshape(n_half_lives, len(begin), -1), 0, 1)


def _hand_on(
    sums: np.ndarray, times: np.ndarray, rates: np.ndarray, number: np.ndarray
) -> None:
    """Add to the sums at the cuts of each customer those at the cuts before.

    Parameters
    ----------
    sums : ndarray of shape (n_cuts, n_half_lives, 1 + n_values)
        What `_sums_between` found; changed.
    times : ndarray of shape (n_cuts,)
        Times of the last events before the cuts.
    rates : ndarray of shape (n_half_lives,)
        Rates of fading.
    number : ndarray of shape (n_customers,), int64
        Number of cuts of each customer, descending.
    """
    first = np.cumsum(number) - number
    # How many customers have more than k cuts; these are the first ones.
    n_longer = np.searchsorted(-number, -np.arange(number[0]))
    for k in range(1, int(number[0])):
        here = first[: n_longer[k]] + k
        fade = _fade(rates, times[here] - times[here - 1])
        sums[here] += fade[:, :, None] * sums[here - 1]
