"""Two predictions as one, and how much of each, learned on rows set aside."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

# Standard deviation of the normal distribution around one half that a weight is taken
# to have before a row is seen: one of 0 or 1 is two of them away.
_SPREAD = 0.25
# A tree that saw no counterexample says 0. Its logarithm would outweigh everything.
_LEAST = 1e-6


class Blend(Protocol):
    """Predictions of the first and the second part, and how they become one."""

    def blend(self, weight: float) -> np.ndarray:
        """The predictions with `weight` on the first part."""

    def losses(self, y: np.ndarray, weight: float) -> np.ndarray:
        """Loss of each row, shape (n,); convex in the weight."""

    def derivatives(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivative of the losses by the weight, at one half.

        The second one may be a mean over weights.
        """


class OfProbabilities(NamedTuple):
    """Probabilities of classes: their log-odds are averaged.

    Parameters
    ----------
    first, second : ndarray of shape (n, n_classes)
        Logarithms of probabilities, as `log_probabilities` makes them.
    """

    first: np.ndarray
    second: np.ndarray

    def blend(self, weight: float) -> np.ndarray:
        """Probabilities, shape (n, n_classes)."""
        return softmax(self._mix(weight), axis=1)

    def losses(self, y: np.ndarray, weight: float) -> np.ndarray:
        """Logarithmic losses; `y` are codes of classes."""
        return -log_softmax(self._mix(weight), axis=1)[np.arange(len(y)), y]

    def derivatives(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the difference of the parts under the blend, less that of `y`."""
        shares, difference = self.blend(0.5), self.first - self.second
        mean = (shares * difference).sum(axis=1)
        slope = mean - difference[np.arange(len(y)), y]
        return slope, (shares * (difference - mean[:, None]) ** 2).sum(axis=1)

    def _mix(self, weight: float) -> np.ndarray:
        return weight * self.first + (1 - weight) * self.second


class OfNumbers(NamedTuple):
    """Numbers, which are averaged.

    Parameters
    ----------
    first, second : ndarray of shape (n,)
        Predictions.
    """

    first: np.ndarray
    second: np.ndarray

    def blend(self, weight: float) -> np.ndarray:
        """Numbers, shape (n,)."""
        return weight * self.first + (1 - weight) * self.second

    def losses(self, y: np.ndarray, weight: float) -> np.ndarray:
        """Squared errors."""
        return (y - self.blend(weight)) ** 2

    def derivatives(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of a parabola."""
        difference = self.first - self.second
        slope = -2 * (y - self.blend(0.5)) * difference
        return slope, 2 * difference**2


class OfQuantiles(NamedTuple):
    """Predictions of one quantile, which are averaged.

    Parameters
    ----------
    first, second : ndarray of shape (n,)
        Predictions.
    level : float
        The quantile, between 0 and 1.
    """

    first: np.ndarray
    second: np.ndarray
    level: float

    def blend(self, weight: float) -> np.ndarray:
        """Numbers, shape (n,)."""
        return weight * self.first + (1 - weight) * self.second

    def losses(self, y: np.ndarray, weight: float) -> np.ndarray:
        """Pinball losses."""
        beyond = y - self.blend(weight)
        return np.maximum(self.level * beyond, (self.level - 1) * beyond)

    def derivatives(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope at one half, and the mean curvature from a weight of 0 to one of 1.

        A pinball loss is piecewise linear, with curvature at its kink only. The
        integral of the curvature over all weights is the difference of the slopes at
        both ends, which is never negative.
        """
        ends = self._slopes(y, 1.0) - self._slopes(y, 0.0)
        return self._slopes(y, 0.5), ends

    def _slopes(self, y: np.ndarray, weight: float) -> np.ndarray:
        is_above = y > self.blend(weight)
        return np.where(is_above, -self.level, 1 - self.level) * (
            self.first - self.second
        )


def log_probabilities(
    shares: np.ndarray, columns: np.ndarray, n_classes: int
) -> np.ndarray:
    """Logarithms of probabilities, none of them without end.

    Parameters
    ----------
    shares : ndarray of shape (n, n_columns)
        Probabilities of some classes.
    columns : ndarray of shape (n_columns,), int
        Which classes these are.
    n_classes : int
        Number of all classes. Those that a part was not shown have none.

    Returns
    -------
    ndarray of shape (n, n_classes)
        Logarithms of what is at least a millionth.
    """
    found = np.zeros((len(shares), n_classes))
    found[:, columns] = shares
    logs = np.log(np.maximum(found, _LEAST))
    return logs - logsumexp(logs, axis=1, keepdims=True)


def learn_weight(
    blend: Blend, y: np.ndarray, customers: np.ndarray, row_weight: np.ndarray
) -> float:
    """Weight of the first part with the least loss, as far as the customers tell.

    Parameters
    ----------
    blend : Blend
        Predictions of n rows that neither part was fitted on.
    y : ndarray of shape (n,)
        Targets; codes of classes.
    customers : ndarray of shape (n,), int64
        Number of the customer of each row.
    row_weight : ndarray of shape (n,)
        Weights of the rows.

    Returns
    -------
    float
        Between 0 and 1.

    Notes
    -----
    The weight minimises ``rate * loss + (weight - 1/2)**2 / (2 * spread**2)``: the
    loss, and a normal prior around one half. A loss is no likelihood, and rows of a
    customer are no independent observations, so that `rate` makes one of it: with
    slopes that differ between customers, it is the rate at which the curvature of the
    loss equals its information, ``curvature / sum over customers of slope**2``, as in
    the sandwich estimate of a variance. Slopes are taken at one half, and not at the
    best weight, where those of a single customer would add up to 0 and claim
    certainty. Units of the target and of row weights cancel.
    """
    slope, curvature = (row_weight * one for one in blend.derivatives(y))
    information = (np.bincount(customers, weights=slope) ** 2).sum()
    if not (information > 0 and curvature.sum() > 0):  # the parts agree
        return 0.5
    rate = curvature.sum() / information

    def cost(weight: float) -> float:
        loss = rate * float(row_weight @ blend.losses(y, weight))
        return loss + (weight - 0.5) ** 2 / (2 * _SPREAD**2)

    best = minimize_scalar(cost, bounds=(0, 1), method="bounded")
    return float(best.x)
