"""Amounts that are often zero, and large at times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import expit, logit, logsumexp, ndtri
from torch import nn

from sklearn_seqcrm.neural_network._objectives._numbers import Number, mean_of
from sklearn_seqcrm.neural_network._objectives._quantiles import levels_of
from sklearn_seqcrm.neural_network._scaling import of_any_weight

# Standard deviations of a row's logarithm, in units of that of all rows. Rows spread
# half as much as all of them do, or all of what they do; seldom more than twice.
_LEAST_SPREAD, _LARGEST_SPREAD = 0.05, 2.0
# Standard deviation that the logarithm of the level is taken to have before a row is
# seen.
_SPREAD_OF_LEVEL = 0.2


class ZeroInflatedLognormal(Number):
    """Zero with some probability, and log-normal otherwise, by its likelihood.

    The three outputs are the log-odds of an amount, and the mean of its logarithm and,
    through a sigmoid between bounds, the standard deviation. The network sees
    logarithms, centred and scaled, and minus infinity for 0.

    Attributes
    ----------
    largest : ndarray of shape (k,)
        Logarithm of the largest mean of an amount that `predict` believes.
    level : ndarray of shape (k,)
        What means are multiplied by.

    References
    ----------
    X. Wang, T. Liu and J. Miao, "A Deep Probabilistic Model for Customer Lifetime
    Value Prediction", 2019. https://arxiv.org/abs/1912.07753
    """

    name = "zero_inflated_lognormal"
    n_parameters = 3
    exposed = (0,)
    adjusts = True
    largest: np.ndarray
    level: np.ndarray

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        _refuse_negative(y)
        super().learn(y, weight)
        used = y if weight is None else y[of_any_weight(weight)]
        most = used.reshape(len(used), -1).max(axis=0)
        # A mean is no larger than the largest of what it is a mean of.
        self.largest = np.log(np.where(most > 0, most, 1.0)) + self.scale
        self.level = np.ones(len(self.scale))

    def _learn_one(
        self, y: np.ndarray, weight: np.ndarray | None
    ) -> tuple[int, float, float]:
        """Center and scale of the logarithms of all amounts but 0."""
        some = y > 0
        if not some.any():
            return 0, 0.0, 1.0
        logs, weight = np.log(y[some]), None if weight is None else weight[some]
        center = mean_of(logs, weight)
        spread = np.sqrt(mean_of((logs - center) ** 2, weight))
        return 0, center, float(spread) if spread > 1e-6 else 1.0

    def check(self, y: np.ndarray, whole: bool) -> None:
        super().check(y, whole)
        _refuse_negative(y)

    def encode(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        with np.errstate(divide="ignore"):
            logs = np.log(y.reshape(len(y), -1))
        return ((logs - self.center) / self.scale).astype("float32").reshape(y.shape)

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        some = np.isfinite(target.reshape(len(target), -1))
        # Half a row of either kind, so that no probability is 0 or 1.
        share = (np.average(some, axis=0, weights=weight) * len(some) + 0.5) / (
            len(some) + 1
        )
        bias = np.zeros((some.shape[1], 3))
        bias[:, 0] = logit(share)
        return bias.ravel()

    def _loss_of(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        odds, mean, spread = outputs.unbind(dim=-1)
        some = target > -torch.inf
        deviation = _LEAST_SPREAD + (_LARGEST_SPREAD - _LEAST_SPREAD) * spread.sigmoid()
        # Where there is no amount, a number takes its place that no gradient sees.
        distance = (torch.where(some, target, 0.0) - mean) / deviation
        amounts = deviation.log() + distance.square() / 2
        zeros = nn.functional.softplus(odds) - torch.where(some, odds, 0.0)
        return zeros + torch.where(some, amounts, 0.0)

    def adjust(
        self,
        outputs: Sequence[np.ndarray],
        target: np.ndarray,
        weight: np.ndarray | None,
    ) -> None:
        """Learn the level of the means from all rows.

        The mean of a log-normal is ``exp(mean + deviation**2 / 2)``: it lives in a tail
        of which few rows tell, and is off if that is no log-normal one. A Poisson or
        squared loss ends where predictions add up to the targets, this one does not.
        So means are multiplied by what makes them do so, as far as rows tell: on a
        logarithmic scale, the factor is drawn towards 1 by its standard error.
        """
        logs = target.reshape(len(target), -1) * self.scale + self.center
        each = [self._log_means(self._by_target(one)) for one in outputs]
        found = logsumexp(each, axis=0) - np.log(len(each))
        most = np.maximum(logs.max(axis=0), found.max(axis=0))
        y, mean = np.exp(logs - most), np.exp(found - most)  # at most 1
        share = np.full(len(y), 1.0) if weight is None else weight / weight.max()
        total, expected = share @ y, share @ mean
        error = np.sqrt(share**2 @ (y - mean) ** 2) / expected
        believed = _SPREAD_OF_LEVEL**2 / (_SPREAD_OF_LEVEL**2 + error**2)
        ratio = np.where(total > 0, total, expected) / expected
        self.level = np.exp(believed * np.log(ratio))

    def _numbers_of(self, outputs: np.ndarray) -> np.ndarray:
        return np.exp(self._log_means(outputs)) * self.level

    def _log_means(self, outputs: np.ndarray) -> np.ndarray:
        """Logarithm of the mean without its level, shape (n, k)."""
        mean, deviation = self._of_logarithm(outputs)
        amount = np.minimum(mean + deviation**2 / 2, self.largest)
        return amount - np.logaddexp(0, -outputs[..., 0])

    def _of_logarithm(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of logarithms of amounts, each (n, k)."""
        spread = expit(outputs[..., 2])
        deviation = _LEAST_SPREAD + (_LARGEST_SPREAD - _LEAST_SPREAD) * spread
        return self.center + self.scale * outputs[..., 1], self.scale * deviation

    def predict_proba_zero(self, outputs: np.ndarray) -> np.ndarray:
        """Probability of no amount, shape (n,) or (n, k)."""
        share = expit(-self._by_target(outputs)[..., 0])
        return share.reshape(len(outputs), *self.shape)

    def predict_quantiles(self, outputs: np.ndarray, levels: Any) -> np.ndarray:
        """Quantiles, shape (n, q) or (n, k, q): 0 up to the probability of 0."""
        levels = levels_of(levels, any_order=True)
        outputs = self._by_target(outputs)
        mean, deviation = self._of_logarithm(outputs)
        some = expit(outputs[..., :1])
        # Share of the amounts that lie below; of them, the row has `some` in all.
        below = 1 - np.minimum((1 - levels) / some, 1)
        logs = mean[..., None] + deviation[..., None] * ndtri(below)
        return np.exp(logs).reshape(len(outputs), *self.shape, len(levels))


def _refuse_negative(y: np.ndarray) -> None:
    n_negative = int((y < 0).sum())
    if n_negative:
        raise ValueError(
            "The zero-inflated log-normal loss needs targets that are not negative; "
            f"{n_negative} of {y.size} are. Use loss='squared_error', or count returns "
            "as 0."
        )
