"""Survival or cumulative hazard of a row, as a function of time.

The cumulative hazard ``H`` runs straight from edge to edge, the survival is
``exp(-H)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm._recurrent.objectives._hazards import as_numbers


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


class SurvivalCurve:
    """Survival or cumulative hazard of one row as a function of time.

    What the step functions of scikit-survival are, and continuous: between the times
    `x` the hazard is constant, so that the cumulative hazard runs straight, and the
    logarithm of the survival with it.

    Parameters
    ----------
    x : ndarray of shape (n_times,)
        Ascending times, from 0 on.
    cumulative_hazard : ndarray of shape (n_times,)
        Cumulative hazard at those times.
    survival : bool, default=True
        Whether its value is ``exp(-H)``, the survival, and not ``H``.
    in_days : bool, default=False
        Whether times are days, so that it can be called with durations.

    Attributes
    ----------
    y : ndarray of shape (n_times,)
        Values at the times `x`.
    domain : tuple of float
        First and last time at which there is a value.

    See Also
    --------
    LSTMSurvival, LSTMEventModel : Predict them.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seqcrm._recurrent.objectives import SurvivalCurve
    >>> curve = SurvivalCurve(np.array([0.0, 2.0]), np.array([0.0, np.log(4)]))
    >>> curve.y.round(2).tolist()
    [1.0, 0.25]
    >>> round(float(curve(1.0)), 2)
    0.5

    Curves that a model predicts take durations, if its times are days:

    >>> curve = SurvivalCurve(curve.x, np.array([0.0, np.log(4)]), in_days=True)
    >>> curve(["24h", "2D"]).round(2).tolist()
    [0.5, 0.25]
    """

    def __init__(
        self,
        x: np.ndarray,
        cumulative_hazard: np.ndarray,
        survival: bool = True,
        in_days: bool = False,
    ) -> None:
        self.x = x
        self._hazard = cumulative_hazard
        self._survival = survival
        self._in_days = in_days

    @property
    def y(self) -> np.ndarray:
        """Values at the times `x`."""
        return np.exp(-self._hazard) if self._survival else self._hazard

    @property
    def domain(self) -> tuple[float, float]:
        """First and last time at which there is a value."""
        return float(self.x[0]), float(self.x[-1])

    def __call__(self, time: Any) -> Any:
        """Value at one time or several.

        Parameters
        ----------
        time : float, duration or array-like of these
            Times within the domain: numbers in the unit of `x` or, if that is a day,
            durations, such as ``"7D"``.

        Returns
        -------
        float or ndarray
            Of the shape of `time`.

        Raises
        ------
        TypeError
            If a time is a duration, and those of the model are plain numbers.
        ValueError
            If a time lies outside, where nothing is known, or is no time.
        """
        values = np.asarray(time)
        times = as_numbers(values.ravel(), "time", self._in_days)
        refuse_outside(times, self.x, "time")
        hazard = np.interp(times.reshape(values.shape), self.x, self._hazard)
        return np.exp(-hazard) if self._survival else hazard

    def __repr__(self) -> str:
        first, last = self.domain
        what = "survival" if self._survival else "cumulative hazard"
        return f"<SurvivalCurve: {what} from {first:g} to {last:g}>"
