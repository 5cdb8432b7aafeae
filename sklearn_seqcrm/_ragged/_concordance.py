"""How often the order of risks is that of events: Harrell's concordance."""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._ragged._runs import begins_run


def concordance(
    event: np.ndarray,
    time: np.ndarray,
    risk: np.ndarray,
    weight: np.ndarray | None = None,
) -> float:
    """Share of comparable pairs of rows in which the earlier event had the higher risk.

    Two rows are comparable if the first has an event, and the second has none up to
    that time: a later one, or a watch that ends no earlier. Equal risks count half. The
    number of steps grows like ``n log n``.

    Parameters
    ----------
    event : ndarray of shape (n,), bool
        Whether the time ended with an event.
    time : ndarray of shape (n,), float64
        Time to the event, or to the end of the watch.
    risk : ndarray of shape (n,), float64
        More of it stands for an earlier event.
    weight : ndarray of shape (n,) or None, default=None
        Weight of each row; a pair has the product. None: 1.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        If no two rows can be compared.

    References
    ----------
    F. E. Harrell et al., "Evaluating the Yield of Medical Tests", JAMA 247(18), 1982.
    https://doi.org/10.1001/jama.1982.03320430047030
    """
    weight = np.ones(len(time)) if weight is None else weight
    lower, tied, later = _of_later_rows(_place_in_time(event, time), risk, weight)
    weight = np.where(event, weight, 0.0)
    pairs = weight @ later
    if not pairs > 0:
        raise ValueError(
            f"No two of the {len(time)} rows can be compared, which takes an event and "
            "a row that had none by then."
        )
    return float(weight @ (lower + tied / 2) / pairs)


def _place_in_time(event: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Rank by time, from 0 on; at one time all events come before all other rows."""
    order = np.lexsort((~event, time))
    new = begins_run(time[order]) | begins_run(event[order])
    place = np.empty(len(time), dtype="int64")
    place[order] = np.cumsum(new) - 1
    return place


def _of_later_rows(
    place: np.ndarray, risk: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight of the later rows of lower, of equal and of any risk, each (n,).

    Of two places the later one has a 1 in the first bit in which they differ. So all
    pairs are met once, bit by bit, among rows that agree in all bits before. Rows stay
    in the order of their risks within each such group, which a stable partition by the
    bit keeps.
    """
    order = np.argsort(risk, kind="stable")
    rank = np.cumsum(begins_run(risk[order])) - 1
    lower, tied, later = np.zeros((3, len(risk)))
    place, weight = place[order], weight[order]
    for bit in reversed(range(int(place.max(initial=0)).bit_length())):
        group = place >> (bit + 1)
        is_later = (place >> bit & 1).astype(bool)
        total = np.append(0.0, np.cumsum(np.where(is_later, weight, 0.0)))
        first, end = _ends_of_runs(begins_run(group))
        from_tie, to_tie = _ends_of_runs(begins_run(group) | begins_run(rank))
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
    """Where the run of each row starts and stops, both (n,)."""
    starts = np.flatnonzero(begins)
    run = np.cumsum(begins) - 1
    return starts[run], np.append(starts[1:], len(begins))[run]


def _partition(first: np.ndarray, end: np.ndarray, is_later: np.ndarray) -> np.ndarray:
    """Order in which the later rows of each group come after its others, (n,)."""
    n_later = np.append(0, np.cumsum(is_later))
    n_early = np.arange(len(n_later)) - n_later
    early_of_group = n_early[end] - n_early[first]
    rows = np.arange(len(first))
    place = np.where(
        is_later,
        first + early_of_group + n_later[rows] - n_later[first],
        first + n_early[rows] - n_early[first],
    )
    order = np.empty_like(rows)
    order[place] = rows
    return order
