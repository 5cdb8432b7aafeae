"""Blends of two predictions, and their weight, learned on held-out customers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, logsumexp, softmax

from sklearn_seqcrm._recurrent.objectives import bin_hazards

# Standard deviation of the normal prior of the weight, whose mean is one half: weights
# of 0 and 1 are two standard deviations away.
_PRIOR_STD = 0.25
# A tree without a counterexample predicts a probability of 0, whose logarithm would
# outweigh any other prediction in the blend.
MIN_PROBABILITY = 1e-6


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

    Predictions are log-probabilities, (n, n_classes), as `log_probabilities` returns
    them.

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

    Predictions are of shape (n,).
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
    """Blend of predictions of one quantile: their weighted mean."""

    quantile: float  # between 0 and 1

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


class OfLabels(Blend):
    """Blend of the probabilities of several labels: the weighted mean of log odds.

    Predictions are log odds of the k labels, (n, k).

    Notes
    -----
    `OfProbabilities` of two classes for each label, with the mean of the losses over
    labels, as networks have it.
    """

    def blend(self, weight: float) -> np.ndarray:
        """Return the probability of each label, shape (n, k)."""
        return expit(super().blend(weight))

    def losses(self, y: np.ndarray, weight: float) -> np.ndarray:
        """Return means of logarithmic losses; `y` are zeros and ones, shape (n, k)."""
        odds = super().blend(weight)
        return (np.logaddexp(0, odds) - y * odds).mean(axis=1)

    def derivatives(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return means of (p - y) d and p (1 - p) d**2 with d = first - second."""
        shares, difference = self.blend(0.5), self.first - self.second
        slope = (shares - y) * difference
        curvature = shares * (1 - shares) * difference**2
        return slope.mean(axis=1), curvature.mean(axis=1)


class OfHazards(Blend):
    """Blend of hazards: the weighted mean of their log odds, in each bin of time.

    Predictions are log odds of each kind of event against no event in a bin, given none
    before, (n, n_kinds, n_bins).

    Notes
    -----
    `OfProbabilities` in each bin that a row entered, of no event and each kind. With
    the observed share ``s[j]`` of bin ``j``, log odds ``z`` and differences ``d``, and
    ``E[.]`` over the kinds under the blend (0 for no event), the negative log
    likelihood ``L`` of an event of kind ``k`` in bin ``J`` has the derivatives ``L' =
    sum over j of s[j] E[d[:, j]] - d[k, J]`` and ``L'' = sum over j of s[j] Var[d[:,
    j]]``. Without an event there is no last term in ``L'``.
    """

    def losses(self, y: np.ndarray, weight: float) -> np.ndarray:
        """Return negative log likelihoods.

        `y`, (n, 2), are the bins that were observed, and the number of the event from 1
        on, 0 for none.
        """
        odds = self.blend(weight)
        hazard = (self._observed(y) * bin_hazards(odds)).sum(axis=1)
        return hazard - self._at_event(odds, y)

    def derivatives(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the derivatives in Notes."""
        odds, difference = self.blend(0.5), self.first - self.second
        shares = np.exp(odds - bin_hazards(odds)[:, None])  # (n, n_kinds, n_bins)
        mean = (shares * difference).sum(axis=1)  # (n, n_bins)
        variance = (shares * difference**2).sum(axis=1) - mean**2
        observed = self._observed(y)
        slope = (observed * mean).sum(axis=1) - self._at_event(difference, y)
        return slope, (observed * variance).sum(axis=1)

    def _observed(self, y: np.ndarray) -> np.ndarray:
        """Return the observed share of each bin, shape (n, n_bins)."""
        return np.clip(y[:, :1] - np.arange(self.first.shape[2]), 0, 1)

    def _at_event(self, values: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return values at the kind and the bin of the event, 0 without one, (n,)."""
        number = y[:, 1].astype("int64")
        last = np.maximum(np.ceil(y[:, 0]).astype("int64") - 1, 0)
        found = values[np.arange(len(y)), np.maximum(number - 1, 0), last]
        return np.where(number > 0, found, 0.0)


def log_probabilities(
    shares: np.ndarray, columns: np.ndarray, n_classes: int
) -> np.ndarray:
    """Return the logarithms of probabilities, (n, n_classes), all of them finite.

    `shares`, (n, n_columns), are probabilities of the classes that a part saw in
    training, and `columns` the codes of these classes; other classes have probability
    0. Probabilities are clipped to 1e-6 and sum to 1.
    """
    found = np.zeros((len(shares), n_classes))
    found[:, columns] = shares
    logs = np.log(np.maximum(found, MIN_PROBABILITY))
    return logs - logsumexp(logs, axis=1, keepdims=True)


def log_odds(shares: np.ndarray) -> np.ndarray:
    """Return the log odds of probabilities, which are clipped to 1e-6 to 1 - 1e-6."""
    return logit(shares.clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY))


def learn_weight(
    blend: Blend, y: np.ndarray, customers: np.ndarray, row_weight: np.ndarray
) -> float:
    """Learn the stacking weight of the first part, 0 to 1, on held-out customers.

    The blend has predictions of n rows that neither part was fitted on, with targets
    `y` (codes, if they are classes), `customers`, and weights `row_weight`, all of
    shape (n,).

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
