"""What a hazard that is constant within bins says at times between their edges.

The cumulative hazard ``H`` runs straight from edge to edge, the survival is
``exp(-H)``.
"""

from __future__ import annotations

import numpy as np


def refuse_outside(times: np.ndarray, edges: np.ndarray, what: str) -> None:
    """Raise a ValueError for times at which nothing is known.

    Parameters
    ----------
    times : ndarray of shape (n,)
        Times.
    edges : ndarray of shape (n_bins + 1,)
        Edges of the bins.
    what : str
        How the error names the times.
    """
    outside = ~((times >= edges[0]) & (times <= edges[-1]))
    if outside.any():
        raise ValueError(
            f"{what} must lie between {edges[0]:g} and {edges[-1]:g}, where the last "
            f"bin of training ends and nothing more is known; {outside.sum()} of "
            f"{len(times)} do not, such as {times[outside][0]:g}."
        )


def place_of(times: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bin of each time, and the share of it that has passed by then, both (n,)."""
    at = np.searchsorted(edges, times, side="right") - 1
    at = np.minimum(at, len(edges) - 2)
    return at, (times - edges[at]) / (edges[at + 1] - edges[at])


def at_times(hazard: np.ndarray, edges: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Cumulative hazard of all rows at the same times.

    Parameters
    ----------
    hazard : ndarray of shape (n, n_bins + 1)
        Cumulative hazard at the edges.
    edges : ndarray of shape (n_bins + 1,)
        Edges of the bins.
    times : ndarray of shape (n_times,)
        Times between the first and the last edge.

    Returns
    -------
    ndarray of shape (n, n_times)
        Cumulative hazard.
    """
    at, share = place_of(times, edges)
    return hazard[:, at] * (1 - share) + hazard[:, at + 1] * share


def at_own_time(hazard: np.ndarray, edges: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Cumulative hazard of each row at its own time.

    Parameters
    ----------
    hazard : ndarray of shape (n, n_bins + 1)
        Cumulative hazard at the edges.
    edges : ndarray of shape (n_bins + 1,)
        Edges of the bins.
    times : ndarray of shape (n,)
        A time for each row, between the first and the last edge.

    Returns
    -------
    ndarray of shape (n,)
        Cumulative hazard.
    """
    at, share = place_of(times, edges)
    row = np.arange(len(times))
    return hazard[row, at] * (1 - share) + hazard[row, at + 1] * share


def time_of(hazard: np.ndarray, edges: np.ndarray, wanted: float) -> np.ndarray:
    """When the cumulative hazard of each row reaches what is wanted.

    Parameters
    ----------
    hazard : ndarray of shape (n, n_bins + 1)
        Cumulative hazard at the edges.
    edges : ndarray of shape (n_bins + 1,)
        Edges of the bins.
    wanted : float
        Cumulative hazard, more than 0.

    Returns
    -------
    ndarray of shape (n,)
        Times; infinity where it is not reached by the last edge.
    """
    # Row by row the number of edges before it is that of the bin in which it happens.
    after = (hazard < wanted).sum(axis=1)
    row = np.flatnonzero(after < len(edges))
    after = after[row]
    low, high = hazard[row, after - 1], hazard[row, after]
    width = edges[after] - edges[after - 1]
    times = np.full(len(hazard), np.inf)
    times[row] = edges[after - 1] + width * (wanted - low) / (high - low)
    return times


def incidence_of(
    hazard: np.ndarray, shares: np.ndarray, edges: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Chances of no event and of each kind up to the same times for all rows.

    Parameters
    ----------
    hazard : ndarray of shape (n, n_bins + 1)
        Cumulative hazard of any event at the edges.
    shares : ndarray of shape (n, n_kinds, n_bins)
        Chance that an event in a bin is of each kind.
    edges : ndarray of shape (n_bins + 1,)
        Edges of the bins.
    times : ndarray of shape (n_times,)
        Times between the first and the last edge.

    Returns
    -------
    ndarray of shape (n, 1 + n_kinds, n_times)
        The first is that of no event; they add up to 1.
    """
    at, _ = place_of(times, edges)
    survival = np.exp(-hazard)
    left = np.exp(-at_times(hazard, edges, times))
    before = np.cumsum(shares * -np.diff(survival)[:, None], axis=2)
    before = np.concatenate([np.zeros_like(before[:, :, :1]), before], axis=2)
    own = shares[:, :, at] * (survival[:, at] - left)[:, None]
    return np.concatenate([left[:, None], before[:, :, at] + own], axis=1)
