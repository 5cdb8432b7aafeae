"""Exponentially decayed counts and sums over ragged histories.

Every sum is needed only at a cut: where a row stops, and where a row starts later than
others of its customer. The events between two cuts are summed once, and each cut hands
its decayed sum on to the next one of the customer::

    position    0   1   2   3   4   5   6
    row 0       [----------)                 stop: a cut at 3
    row 1               [----------)         start: a cut at 2; stop: a cut at 5
    cuts                |   |       |
    summed      [------)[--)[------)         from event 5 on: no row sees them

    S(cut 2) = sum of 0:2
    S(cut 3) = sum of 2:3 + decayed S(cut 2)
    S(cut 5) = sum of 3:5 + decayed S(cut 3)
    row 0    = decayed S(cut 3)
    row 1    = decayed S(cut 5) - decayed S(cut 2)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from sklearn_seqcrm._ragged._segments import (
    Views,
    blocks,
    groups,
    inverse_permutation,
    ranges,
    visible_segments,
)

_WIDTH = 8  # temporary values of an event, or of a row
# Largest ratio of what is subtracted to what remains: 1,000 of the 4.5e15 numbers that
# a float can tell apart are lost then.
_MOST_SUBTRACTED = 2**10


def decayed_sums(
    rows: Views,
    times: np.ndarray,
    values: np.ndarray,
    half_lives: np.ndarray,
    *,
    any_size: bool = False,
) -> np.ndarray:
    """Return counts and sums over each row's visible events, decayed to its cutoff.

    `times` (n_events,) ascend for each customer, and `values` (n_events, n_values) are
    those of every event of the log, finite. With each of the `half_lives`
    (n_half_lives,), an event counts half after so many ticks. The result, of shape
    (n, n_half_lives, 1 + n_values), has the count of events, then the sums; zero for an
    empty history.

    `any_size`: values may be of any size, so that those before the start of a row could
    take the digits of its own. The check costs a tenth of the time.

    Notes
    -----
    With the rate ``r = ln 2 / half_life``, the sum over events up to the ``i``-th obeys
    ``S[i] = exp(-r * (t[i] - t[i - 1])) * S[i - 1] + v[i]``, whatever the cutoff is.
    The sum of a row is ``exp(-r * (cutoff - t[stop - 1])) * S[stop - 1]``, minus the
    same for `start`. So ``S`` is needed only at the cuts. One array operation hands on
    the sum at the ``k``-th cut of all customers.

    With `any_size`, where the subtracted part is far larger than the rest, the
    difference is rounding error, and the row's own events are summed directly instead.
    """
    result = np.zeros((len(rows.codes), len(half_lives), 1 + values.shape[1]))
    events = _Events(times, values, np.log(2) / np.asarray(half_lives, "float64"))
    with np.errstate(under="ignore"):  # the weights of old events become 0
        cuts = _Cuts(rows)
        sums = np.empty((len(cuts.end), *result.shape[1:]))
        for number, some in cuts.in_portions():
            begin, end = cuts.begin[some], cuts.end[some]
            sums[some] = events.sums(begin, end)
            _add_previous_cuts(sums[some], events, end - 1, number)

        def decayed_to_row(row: np.ndarray, cut: np.ndarray) -> np.ndarray:
            return events.decay(rows.cutoff[row], cuts.end[cut] - 1) * sums[cut]

        for some in blocks(len(cuts.rows), _WIDTH):
            result[cuts.rows[some]] += decayed_to_row(
                cuts.rows[some], cuts.of_stop[some]
            )
        # The sum at the stop of a row contains the events before its start: subtract
        # them, decayed to the same cutoff.
        for some in blocks(len(cuts.late), _WIDTH):
            row = cuts.late[some]
            before = decayed_to_row(row, cuts.of_start[some])
            left = result[row] - before
            result[row] = left
            if any_size:
                lost = np.abs(before) > _MOST_SUBTRACTED * np.abs(left)
                row = row[np.unique(np.nonzero(lost)[0])]
                _sum_directly(result, row, rows, events)
    return result


class _Events(NamedTuple):
    """Times and values of all events, and the rates of the decay, (n_half_lives,)."""

    times: np.ndarray
    values: np.ndarray
    rates: np.ndarray

    def decay(self, when: np.ndarray, event: np.ndarray) -> np.ndarray:
        """Return ``exp(-r * (when - t[event]))``, shape (n, n_half_lives, 1)."""
        age = when - self.times[event]
        return np.exp(age[:, None] * -self.rates)[:, :, None]

    def sums(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Count and sum the events ``begin:end``, decayed to the last of them.

        Of shape (n_cuts, n_half_lives, 1 + n_values).
        """
        index, offsets = ranges(begin, end)
        decay = self.decay(np.repeat(self.times[end - 1], end - begin), index)
        numbers = np.ones((len(index), 1 + self.values.shape[1]))
        numbers[:, 1:] = self.values[index]
        # One sparse matrix for all half-lives, as building each takes as long as a
        # small product. The rows of one half-life stand below those of the one before,
        # over the same events: (n_half_lives * n_cuts, n_events).
        n_half_lives, n_events = len(self.rates), len(index)
        weights = csr_array(
            (
                decay[:, :, 0].T.ravel(),
                np.tile(np.arange(n_events), n_half_lives),
                np.append(0, offsets[1:] + n_events * np.arange(n_half_lives)[:, None]),
            ),
            shape=(n_half_lives * len(begin), n_events),
        )
        # (n_half_lives * n_cuts, 1 + n_values) to (n_cuts, n_half_lives, 1 + n_values)
        sums = (weights @ numbers).reshape(n_half_lives, len(begin), -1)
        return np.moveaxis(sums, 0, 1)


def _sum_directly(
    result: np.ndarray, some: np.ndarray, rows: Views, events: _Events
) -> None:
    """Write the sums of some rows that see an event, from their own events alone."""
    load = np.cumsum(rows.stop[some] - rows.start[some])
    for one, following in groups(load, _WIDTH):
        row = some[one:following]
        sums = events.sums(rows.start[row], rows.stop[row])
        result[row] = events.decay(rows.cutoff[row], rows.stop[row] - 1) * sums


class _Cuts:
    """Where rows stop, and where they start later than others of their customer."""

    # (n_cuts,), int64: events ``begin:end`` of the log between the cut before, or the
    # first event that a row of the customer sees, and the cut. Customers with many cuts
    # come first.
    begin: np.ndarray
    end: np.ndarray
    # (n_filled,), int64: rows that see an event, and the cut at which each stops.
    rows: np.ndarray
    of_stop: np.ndarray
    # (n_late,), int64: rows that start after another of their customer, and the cut at
    # which they do.
    late: np.ndarray
    of_start: np.ndarray

    def __init__(self, rows: Views) -> None:
        seen = visible_segments(rows)
        filled = (rows.stop > rows.start)[seen.rows]
        self.rows, owner = seen.rows[filled], seen.of_row[filled]
        # From here on, positions count the events of the visible segments alone.
        offsets = np.append(0, np.cumsum(seen.last - seen.first))
        shift = (offsets[:-1] - seen.first)[owner]
        start, stop = rows.start[self.rows] + shift, rows.stop[self.rows] + shift
        is_late = start > offsets[owner]
        self.late = self.rows[is_late]
        # A cut ends the events before it. A position between two customers belongs to
        # the first: a row that starts with the first visible event is not late.
        is_cut = np.zeros(offsets[-1] + 1, dtype=bool)
        is_cut[stop] = is_cut[start[is_late]] = True
        place = np.cumsum(is_cut)  # number of cuts so far, (n_visible + 1,)
        number = np.diff(place[offsets])  # of each customer, (n_seen,)
        cut = np.flatnonzero(is_cut)  # (n_cuts,)
        begin = np.append(0, cut[:-1])  # a customer's last visible event is cut off
        back = np.repeat(seen.first - offsets[:-1], number)
        # Customers with a k-th cut stand before those without.
        by_number = np.argsort(-number, kind="stable")
        first = place[offsets[:-1]][by_number]
        self._number = number[by_number]
        order, _ = ranges(first, first + self._number)
        self.begin, self.end = (begin + back)[order], (cut + back)[order]
        # The cut that was at `order[i]` is now at `i`.
        moved_to = inverse_permutation(order)
        self.of_stop = moved_to[place[stop] - 1]
        self.of_start = moved_to[place[start[is_late]] - 1]

    def in_portions(self) -> Iterator[tuple[np.ndarray, slice]]:
        """Yield the numbers of cuts of some customers, and the slice of their cuts.

        They have about ``BLOCK / 8`` events, or are a single customer.
        """
        offsets = np.append(0, np.cumsum(self._number))
        n_events = np.append(0, np.cumsum(self.end - self.begin))[offsets]
        for one, following in groups(n_events[1:], _WIDTH):
            yield self._number[one:following], slice(offsets[one], offsets[following])


def _add_previous_cuts(
    sums: np.ndarray, events: _Events, last: np.ndarray, number: np.ndarray
) -> None:
    """Add to the sum at each cut the decayed sum at the customer's cut before.

    `sums`, the result of `_Events.sums`, are changed. `last` is the last event before
    each cut, (n_cuts,), and `number` the number of cuts of each customer, descending.
    """
    first = np.cumsum(number) - number
    # How many customers have more than k cuts; these are the first ones.
    n_longer = np.searchsorted(-number, -np.arange(number[0]))
    for k in range(1, int(number[0])):
        here = first[: n_longer[k]] + k
        decay = events.decay(events.times[last[here]], last[here - 1])
        sums[here] += decay * sums[here - 1]
