"""Survival or cumulative hazard of a row, as a function of time."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm.neural_network._constant_hazard import refuse_outside


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
    """

    def __init__(
        self, x: np.ndarray, cumulative_hazard: np.ndarray, survival: bool = True
    ) -> None:
        self.x = x
        self._hazard = cumulative_hazard
        self._survival = survival

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
        time : float or array-like
            Times within the domain.

        Returns
        -------
        float or ndarray
            Of the shape of `time`.

        Raises
        ------
        ValueError
            If a time lies outside, where nothing is known.
        """
        times = np.asarray(time, dtype="float64")
        refuse_outside(times.ravel(), self.x, "time")
        hazard = np.interp(times, self.x, self._hazard)
        return np.exp(-hazard) if self._survival else hazard

    def __repr__(self) -> str:
        first, last = self.domain
        what = "survival" if self._survival else "cumulative hazard"
        return f"<TimeCurve: {what} from {first:g} to {last:g}>"
