"""Harrell's concordance index in ``n log n`` steps."""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._ragged._runs import is_run_start
from sklearn_seqcrm._ragged._segments import inverse_permutation


def concordance(
    event: np.ndarray,
    time: np.ndarray,
    risk: np.ndarray,
    weight: np.ndarray | None = None,
) -> float:
    """Return the share of comparable pairs in which the earlier event has more risk.

    Two rows are comparable if the first has an event, and the second is known to have
    none up to that time: its own event is later, or it was censored no earlier. Equal
    risks count half.

    `event` (n,) is whether each `time` (n,) ended with an event; otherwise it was
    censored. A higher `risk` (n,) means an earlier event. A pair has the product of the
    weights (n,) of its rows. A ValueError is raised if no two rows are comparable.

    Notes
    -----
    ``C = sum_ij w_i w_j (1[r_i > r_j] + 1[r_i = r_j] / 2) / sum_ij w_i w_j`` over the
    pairs with ``event_i`` and ``t_i < t_j`` (or ``t_i = t_j`` with ``j`` censored).

    References
    ----------
    F. E. Harrell et al., "Evaluating the Yield of Medical Tests", JAMA 247(18), 1982.
    https://doi.org/10.1001/jama.1982.03320430047030
    """
    weight = np.ones(len(time)) if weight is None else weight
    lower, tied, later = _weights_of_later(_place_in_time(event, time), risk, weight)
    weight = np.where(event, weight, 0.0)
    pairs = weight @ later
    if not pairs > 0:
        raise ValueError(
            f"No two of the {len(time)} rows are comparable: a pair needs an event and "
            "a row without an event until then."
        )
    return float(weight @ (lower + tied / 2) / pairs)


def _place_in_time(event: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Rank rows by time from 0 on; at one time events precede censored rows."""
    order = np.lexsort((~event, time))
    new = is_run_start(time[order]) | is_run_start(event[order])
    place = np.empty(len(time), dtype="int64")
    place[order] = np.cumsum(new) - 1
    return place


def _weights_of_later(
    place: np.ndarray, risk: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum the weights of later rows of lower, of equal and of any risk, each (n,).

    Of two different places, the later has a 1 in the first bit in which they differ. So
    each pair is met exactly once: at this bit, within the group of rows that agree in
    all bits before::

        place      0    1    2    3        in binary 00 01 10 11
        first bit  [ 0    1 | 2    3 )     pairs (0,2) (0,3) (1,2) (1,3)
        second bit [ 0 | 1 )[ 2 | 3 )      pairs (0,1) (2,3)

    Within each group, rows stay in ascending order of risk, so that the later rows of
    lower risk are a prefix, whose weight is a difference of cumulative sums. The
    partition by the bit is stable, which keeps this order for the next bit.
    """
    order = np.argsort(risk, kind="stable")
    rank = np.cumsum(is_run_start(risk[order])) - 1
    lower, tied, later = np.zeros((3, len(risk)))
    place, weight = place[order], weight[order]
    for bit in reversed(range(int(place.max(initial=0)).bit_length())):
        group = place >> (bit + 1)
        is_later = (place >> bit & 1).astype(bool)
        # Weight of the later rows before each position, (n + 1,).
        total = np.append(0.0, np.cumsum(np.where(is_later, weight, 0.0)))
        first, end = _ends_of_runs(is_run_start(group))
        from_tie, to_tie = _ends_of_runs(is_run_start(group) | is_run_start(rank))
        rows = order[~is_later]
        for sums, start, stop in (
            (lower, first, from_tie),
            (tied, from_tie, to_tie),
            (later, first, end),
        ):
            sums[rows] += (total[stop] - total[start])[~is_later]
        moved = _partition(first, end, is_later)
        order, rank, place, weight = (
            one[moved] for one in (order, rank, place, weight)
        )
    return lower, tied, later


def _ends_of_runs(begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return start and stop of the run of each row, both (n,)."""
    starts = np.flatnonzero(begins)
    run = np.cumsum(begins) - 1
    return starts[run], np.append(starts[1:], len(begins))[run]


def _partition(first: np.ndarray, end: np.ndarray, is_later: np.ndarray) -> np.ndarray:
    """Return the order that moves the later rows of each group behind its others, (n,).

    The groups are ``first:end``; both are given for each row.
    """
    n_later = np.append(0, np.cumsum(is_later))
    n_early = np.arange(len(n_later)) - n_later
    early_of_group = n_early[end] - n_early[first]
    rows = np.arange(len(first))
    place = np.where(
        is_later,
        first + early_of_group + n_later[rows] - n_later[first],
        first + n_early[rows] - n_early[first],
    )
    return inverse_permutation(place)
