"""Survival or cumulative hazard of a row, as a function of time."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm.neural_network._constant_hazard import refuse_outside
from sklearn_seqcrm.neural_network._time_bins import as_numbers


class TimeCurve:
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
    >>> from sklearn_seqcrm.neural_network import TimeCurve
    >>> curve = TimeCurve(np.array([0.0, 2.0]), np.array([0.0, np.log(4)]))
    >>> curve.y.round(2).tolist()
    [1.0, 0.25]
    >>> round(float(curve(1.0)), 2)
    0.5

    Curves that a model predicts take durations, if its times are days:

    >>> curve = TimeCurve(curve.x, np.array([0.0, np.log(4)]), in_days=True)
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
        return f"<TimeCurve: {what} from {first:g} to {last:g}>"
