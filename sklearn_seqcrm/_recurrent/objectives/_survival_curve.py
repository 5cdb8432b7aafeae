"""Survival and cumulative hazard as functions of time, and lengths of time.

Within a bin the hazard is constant: the cumulative hazard ``H`` is piecewise linear
with knots at the edges of the bins, and the survival is ``S = exp(-H)``::

    H |            .-'
      |        .-'
      |  __.-'
      +---+----+----+--> t
      0   edges[1]  edges[3]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._durations import DAY
from sklearn_seqcrm._recurrent.data import Array
from sklearn_seqcrm._store import as_list, parse_timedelta

_LAST_BIN = "last bin of training"


def durations_as_numbers(values: Any, what: str, in_days: bool) -> np.ndarray:
    """Return lengths of time in the unit of the targets, shape (n,).

    One length or several, in any form that ``pd.Timedelta`` takes if the unit is a day
    (`in_days`); errors name them `what`.
    """
    if isinstance(values, pd.Series | pd.Index | np.ndarray) and values.ndim:
        if values.dtype.kind == "m" and in_days:
            values = np.asarray(values) / DAY
        if values.dtype.kind in "iuf":
            return _finite(np.asarray(values, dtype="float64"), what)
        if values.dtype.kind == "U":
            values = values.tolist()  # an error shows text as text
    numbers = [
        duration_as_number(value, what, in_days) for value in as_list(values, what)
    ]
    return np.array(numbers, dtype="float64")


def duration_as_number(value: Any, what: str, in_days: bool) -> float:
    """Return one length of time in the unit of the targets."""
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    if isinstance(value, int | float | np.number) and not isinstance(
        value, bool | np.timedelta64
    ):
        return float(_finite(np.array([value], dtype="float64"), what)[0])
    length = parse_timedelta(value, what, "a number or a length of time")
    if not in_days:
        raise TypeError(
            f"{what} must be a number, because the times of y were plain numbers; got "
            f"{value!r}. time_to_next gives durations, if the log has datetimes."
        )
    return float(_finite(np.array([length / DAY]), what)[0])


def _finite(numbers: np.ndarray, what: str) -> np.ndarray:
    wrong = ~(np.isfinite(numbers) & (numbers >= 0))
    if wrong.any():
        raise ValueError(
            f"{what} must be finite and not negative; got {numbers[wrong][0]}."
        )
    return numbers


def refuse_outside(
    times: np.ndarray, edges: np.ndarray, what: str, last: str = _LAST_BIN
) -> None:
    """Raise a ValueError for times outside the bins.

    The error names the times (`what`), and what ends at the last edge (`last`).
    """
    outside = ~((times >= edges[0]) & (times <= edges[-1]))
    if outside.any():
        raise ValueError(
            f"{what} must lie between {edges[0]:g} and {edges[-1]:g}, where the {last} "
            f"ends and nothing more is known; {outside.sum()} of {len(times)} do not, "
            f"such as {times[outside][0]:g}."
        )


def bin_and_share(
    times: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bin of each time and its share before that time, both (n,)."""
    at = np.searchsorted(edges, times, side="right") - 1
    at = np.minimum(at, len(edges) - 2)
    return at, (times - edges[at]) / (edges[at + 1] - edges[at])


def hazard_at(
    hazard: np.ndarray,
    edges: np.ndarray,
    times: np.ndarray,
    rows: np.ndarray | slice = slice(None),
) -> np.ndarray:
    """Return the cumulative hazard of all rows at some times, or of a row at each.

    `hazard` (n, n_bins + 1) is the cumulative hazard at the edges. No time (n_times,)
    lies before the first edge or after the last one. The result has the shape
    (n, n_times), or (n_times,) if `rows` has the row of each time.
    """
    at, share = bin_and_share(times, edges)
    return hazard[rows, at] * (1 - share) + hazard[rows, at + 1] * share


def time_at_hazard(hazard: np.ndarray, edges: np.ndarray, value: float) -> np.ndarray:
    """Return the time at which the cumulative hazard of each row reaches `value`, (n,).

    `hazard`, of shape (n, n_bins + 1), is that at the edges, and `value` more than 0.
    Times are infinite where the value is not reached by the last edge.
    """
    # H ascends, so that the number of edges below the value is the bin that reaches it.
    after = (hazard < value).sum(axis=1)
    row = np.flatnonzero(after < len(edges))
    after = after[row]
    low, high = hazard[row, after - 1], hazard[row, after]
    width = edges[after] - edges[after - 1]
    times = np.full(len(hazard), np.inf)
    times[row] = edges[after - 1] + width * (value - low) / (high - low)
    return times


def incidence_at_edges(hazard: Array, shares: Array) -> Array:
    """Return the probabilities of no event and of each kind before each edge.

    From the cumulative hazard of any event at the edges, (n, n_bins + 1), and the share
    of each kind in the events of a bin, (n, n_kinds, n_bins). The result has the shape
    (n, 1 + n_kinds, n_bins + 1); probabilities at an edge add up to 1.
    """
    survival = np.exp(-hazard)[:, None]  # (n, 1, n_bins + 1)
    came = (shares * (survival[..., :-1] - survival[..., 1:])).cumsum(axis=2)
    came = np.concatenate([np.zeros_like(came[..., :1]), came], axis=2)
    return np.concatenate([survival, came], axis=1)


class SurvivalCurve:
    """Survival or cumulative hazard of one row as a function of time.

    The counterpart of the step functions of scikit-survival, and continuous: between
    the times `x` the hazard is constant, so that the cumulative hazard and the
    logarithm of the survival are linear.

    Parameters
    ----------
    x : ndarray of shape (n_times,)
        Times, ascending from 0.
    cumulative_hazard : ndarray of shape (n_times,)
        Cumulative hazard at those times.
    survival : bool, default=True
        Whether values are ``exp(-H)``, the survival, or ``H``.
    in_days : bool, default=False
        Whether times are days, so that the curve can be called with durations.
    last : str, default="last bin of training"
        What ends at the last time, for errors.

    Attributes
    ----------
    y : ndarray of shape (n_times,)
        Values at the times `x`.
    domain : tuple of float
        First and last time with a value.

    See Also
    --------
    LSTMSurvival, LSTMEventModel : Predict them.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seqcrm.neural_network import SurvivalCurve
    >>> curve = SurvivalCurve(np.array([0.0, 2.0]), np.array([0.0, np.log(4)]))
    >>> curve.y.round(2).tolist()
    [1.0, 0.25]
    >>> round(float(curve(1.0)), 2)
    0.5

    Curves in days take durations:

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
        last: str = _LAST_BIN,
    ) -> None:
        self.x = x
        self._hazard = cumulative_hazard
        self._survival = survival
        self._in_days = in_days
        self._last = last

    @property
    def y(self) -> np.ndarray:
        """Values at the times `x`."""
        return np.exp(-self._hazard) if self._survival else self._hazard

    @property
    def domain(self) -> tuple[float, float]:
        """First and last time with a value."""
        return float(self.x[0]), float(self.x[-1])

    def __call__(self, time: Any) -> Any:
        """Return the value at one time or several.

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
            If a time is a duration and the times of the model are plain numbers.
        ValueError
            If a time lies outside the domain or is invalid.
        """
        values = np.asarray(time)
        times = durations_as_numbers(values.ravel(), "time", self._in_days)
        refuse_outside(times, self.x, "time", self._last)
        hazard = np.interp(times.reshape(values.shape), self.x, self._hazard)
        return np.exp(-hazard) if self._survival else hazard

    def __repr__(self) -> str:
        first, last = self.domain
        what = "survival" if self._survival else "cumulative hazard"
        return f"<SurvivalCurve: {what} from {first:g} to {last:g}>"
