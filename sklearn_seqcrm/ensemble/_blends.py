"""Blends of two predictions, and their weight, learned on held-out customers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

# Standard deviation of the normal prior of the weight, whose mean is one half: weights
# of 0 and 1 are two standard deviations away.
_PRIOR_STD = 0.25
# A tree without a counterexample predicts a probability of 0, whose logarithm would
# outweigh any other prediction in the blend.
_MIN_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Blend(ABC):
    """Predictions of two parts, and their blend ``b(w)`` with weight w on the first."""

    first: np.ndarray
    second: np.ndarray

    def blend(self, weight: float) -> np.ndarray:
        """Return the weighted mean, in the shape of both predictions."""
        return weight * self.first + (1 - weight) * self.second

    @abstractmethod
    def losses(self, y: np.ndarray, weight: float) -> np.ndarray:
        """Return the loss of each row, shape (n,); convex in the weight."""

    @abstractmethod
    def derivatives(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return dL/dw and d2L/dw2 of each row at w = 1/2, each of shape (n,).

        The second derivative may be a mean over weights.
        """


class OfProbabilities(Blend):
    """Blend of class probabilities: the weighted mean of their logarithms.

    Parameters
    ----------
    first, second : ndarray of shape (n, n_classes)
        Log-probabilities, as `log_probabilities` returns them.

    Notes
    -----
    ``b(w) = softmax(z)`` with ``z = w * first + (1 - w) * second``, the logarithmic
    opinion pool of [1]_: probabilities are proportional to ``p**w * q**(1 - w)``. With
    ``d = first - second`` and expectations over the classes under ``b(w)``, the loss
    ``L = -log b(w)[y]`` has the derivatives ``L' = E[d] - d[y]`` and ``L'' = Var[d]``.

    References
    ----------
    .. [1] Genest, C. and Zidek, J. V. (1986). Combining probability distributions: A
       critique and an annotated bibliography. Statistical Science 1, 114-135.
       https://doi.org/10.1214/ss/1177013825
    """

    def blend(self, weight: float) -> np.ndarray:
        """Return probabilities, shape (n, n_classes)."""
        return softmax(super().blend(weight), axis=1)

    def losses(self, y: np.ndarray, weight: float) -> np.ndarray:
        """Return logarithmic losses; `y` are codes of classes."""
        return -log_softmax(super().blend(weight), axis=1)[np.arange(len(y)), y]

    def derivatives(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return E[d] - d[y] and Var[d]; see Notes."""
        shares, difference = self.blend(0.5), self.first - self.second
        mean = (shares * difference).sum(axis=1)
        slope = mean - difference[np.arange(len(y)), y]
        return slope, (shares * (difference - mean[:, None]) ** 2).sum(axis=1)


class OfNumbers(Blend):
    """Blend of numbers: their weighted mean ``b(w) = w * first + (1 - w) * second``.

    Parameters
    ----------
    first, second : ndarray of shape (n,)
        Predictions.
    """

    def losses(self, y: np.ndarray, weight: float) -> np.ndarray:
        """Return squared errors L = (y - b(w))**2."""
        return (y - self.blend(weight)) ** 2

    def derivatives(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return L' = -2 (y - b) d and L'' = 2 d**2 with d = first - second."""
        difference = self.first - self.second
        slope = -2 * (y - self.blend(0.5)) * difference
        return slope, 2 * difference**2


@dataclass(frozen=True)
class OfQuantiles(OfNumbers):
    """Blend of predictions of one quantile: their weighted mean.

    Parameters
    ----------
    first, second : ndarray of shape (n,)
        Predictions.
    quantile : float
        The quantile, between 0 and 1.
    """

    quantile: float

    def losses(self, y: np.ndarray, weight: float) -> np.ndarray:
        """Return pinball losses max(q * e, (q - 1) * e) of e = y - b(w)."""
        beyond = y - self.blend(weight)
        return np.maximum(self.quantile * beyond, (self.quantile - 1) * beyond)

    def derivatives(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the slope at one half, and the mean curvature over weights 0 to 1.

        A pinball loss is piecewise linear, with curvature at its kink only. The
        integral of the curvature over all weights is the difference of the slopes at
        both ends, which is never negative.
        """
        ends = self._slopes(y, 1.0) - self._slopes(y, 0.0)
        return self._slopes(y, 0.5), ends

    def _slopes(self, y: np.ndarray, weight: float) -> np.ndarray:
        is_above = y > self.blend(weight)
        return np.where(is_above, -self.quantile, 1 - self.quantile) * (
            self.first - self.second
        )


def log_probabilities(
    shares: np.ndarray, columns: np.ndarray, n_classes: int
) -> np.ndarray:
    """Return the logarithms of probabilities, all of them finite.

    Parameters
    ----------
    shares : ndarray of shape (n, n_columns)
        Probabilities of the classes that a part saw in training.
    columns : ndarray of shape (n_columns,), int
        Codes of these classes.
    n_classes : int
        Number of all classes. Other classes have probability 0.

    Returns
    -------
    ndarray of shape (n, n_classes)
        Logarithms of probabilities that are clipped to 1e-6 and sum to 1.
    """
    found = np.zeros((len(shares), n_classes))
    found[:, columns] = shares
    logs = np.log(np.maximum(found, _MIN_PROBABILITY))
    return logs - logsumexp(logs, axis=1, keepdims=True)


def learn_weight(
    blend: Blend, y: np.ndarray, customers: np.ndarray, row_weight: np.ndarray
) -> float:
    """Learn the stacking weight of the first part on held-out customers.

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
    Stacking [1]_ with a normal prior: the weight ``w`` in [0, 1] minimises ::

        rate * sum_i r_i L_i(w) + (w - 1/2)**2 / (2 * 0.25**2)
        rate = sum_i r_i L_i''(1/2) / sum_c (sum_{i of c} r_i L_i'(1/2))**2

    over rows ``i`` with row weight ``r_i`` of customers ``c``. A loss is no
    log-likelihood, and rows of one customer are not independent. `rate` rescales the
    loss so that its curvature equals its information, the sum of squared scores of
    independent customers: for a log-likelihood of independent rows both are equal and
    ``rate`` is about 1. It is the ratio of the two terms of a sandwich variance. Slopes
    are taken at one half: at the minimum those of a single customer would sum to 0,
    that is, claim certainty. Units of the target and of row weights cancel.

    References
    ----------
    .. [1] Wolpert, D. H. (1992). Stacked generalization. Neural Networks 5, 241-259.
       https://doi.org/10.1016/S0893-6080(05)80023-1
    """
    slope, curvature = (row_weight * one for one in blend.derivatives(y))
    information = (np.bincount(customers, weights=slope) ** 2).sum()
    if not (information > 0 and curvature.sum() > 0):  # the parts agree
        return 0.5
    rate = curvature.sum() / information

    def cost(weight: float) -> float:
        loss = rate * float(row_weight @ blend.losses(y, weight))
        return loss + (weight - 0.5) ** 2 / (2 * _PRIOR_STD**2)

    best = minimize_scalar(cost, bounds=(0, 1), method="bounded")
    return float(best.x)
