"""Means of what is never negative, through a logarithm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm._recurrent.objectives._numbers import (
    Number,
    calibration_factor,
    weighted_mean,
)
from sklearn_seqcrm._recurrent.objectives._objective import Array
from sklearn_seqcrm._recurrent.objectives._weights import has_weight

# Means beyond are none that float32 could have learned.
_LARGEST_LOGARITHM = 88.0
# From here on exponentials go on as straight lines, so that no gradient is infinite.
_STEEPEST = 30.0


class LogMean(Number):
    """The mean of what is not negative. The output is its logarithm.

    Such a loss keeps its meaning under a change of the unit of the targets only, so
    that the mean is the unit, and the center of its logarithm is 0. The loss is divided
    by the standard deviation of such targets, which is that of its slopes. Of rare
    counts it is large, and so would be the gradients of the few batches that have some;
    shortened to the length that all may have, they would pull less than all others.

    Attributes
    ----------
    spread : ndarray of shape (k,)
        Standard deviation of targets over their mean, 1 at least.
    level : ndarray of shape (k,)
        What means are multiplied by.
    """

    offset_parameters = (0,)
    adjusts = True
    spread: np.ndarray
    level: np.ndarray

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        self._refuse(y)
        super().learn(y, weight)
        target = self.encode(y, weight).astype("float64").reshape(len(y), -1)
        if weight is not None:
            used = has_weight(weight)
            target, weight = target[used], weight[used]
        squares = np.average((target - 1) ** 2, axis=0, weights=weight)
        self.spread = np.maximum(np.sqrt(squares), 1.0)
        self.level = np.ones(len(self.spread))

    def forward(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if not self.shape:
            return super().forward(outputs, target) / float(self.spread[0])
        spread = torch.as_tensor(
            self.spread, dtype=outputs.dtype, device=outputs.device
        )
        return (self._loss_of(outputs, target) / spread).mean(dim=1)

    def check(self, y: np.ndarray, whole: bool) -> None:
        super().check(y, whole)
        self._refuse(y)

    def _refuse(self, y: np.ndarray) -> None:
        """Raise a ValueError for targets that have no such mean."""

    def _center(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        return 0.0

    def _scale(self, y: np.ndarray, center: float, weight: np.ndarray | None) -> float:
        return weighted_mean(y, weight)

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """The logarithm of 1, the mean; of half an event, where none has any."""
        never = ~target.reshape(len(target), -1).any(axis=0)
        return np.where(never, np.log(0.5 / len(target)), 0.0)

    def adjust(
        self,
        outputs: Sequence[np.ndarray],
        target: np.ndarray,
        weight: np.ndarray | None,
    ) -> None:
        """Learn the level of the means from all rows.

        The loss has its least where they add up to the targets, but training stops
        before.
        """
        self.level = calibration_factor(
            *self._targets_and_means(outputs, target), weight
        )

    def _targets_and_means(
        self, outputs: Sequence[np.ndarray], target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        each = [
            self._uncalibrated_means(self._by_target(one)) / len(outputs)
            for one in outputs
        ]
        mean = np.sum(each, axis=0)
        return target.reshape(mean.shape).astype("float64"), mean

    def _uncalibrated_means(self, outputs: Array) -> Array:
        """Means without their level, in the unit of encoded targets, shape (n, k)."""
        return np.exp(np.minimum(outputs[..., 0], _LARGEST_LOGARITHM))

    def _predict_by_target(self, outputs: Array) -> Array:
        return self._to_units(self._uncalibrated_means(outputs) * self.level)


class Poisson(LogMean):
    """The mean of counts and amounts, by their Poisson likelihood."""

    name = "poisson"

    def _refuse(self, y: np.ndarray) -> None:
        n_negative = int((y < 0).sum())
        if n_negative:
            raise ValueError(
                "The Poisson loss needs targets that are not negative; "
                f"{n_negative} of {y.size} are negative. Use loss='squared_error'."
            )

    def _loss_of(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.poisson_nll_loss(outputs, target, reduction="none")


class Gamma(LogMean):
    """The mean of amounts whose spread goes with their mean, by their gamma likelihood.

    Half of the gamma deviance, but for what depends on targets alone.
    """

    name = "gamma"

    def _refuse(self, y: np.ndarray) -> None:
        n_negative, n_zero = int((y < 0).sum()), int((y == 0).sum())
        if n_negative or n_zero:
            raise ValueError(
                "The gamma loss needs targets larger than 0; of "
                f"{y.size}, {n_zero} are 0 and {n_negative} negative. Use "
                "loss='poisson', or 'zero_inflated_lognormal', for amounts that may be "
                "0, and 'squared_error' for negative ones."
            )

    def _targets_and_means(
        self, outputs: Sequence[np.ndarray], target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        y, mean = super()._targets_and_means(outputs, target)
        return y / mean, np.ones_like(mean)

    def _loss_of(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return target * _exp(-outputs) + outputs


def _exp(numbers: torch.Tensor) -> torch.Tensor:
    """Exponentials, which grow no more than straight from `_STEEPEST` on."""
    beyond = torch.relu(numbers - _STEEPEST)
    return torch.exp(numbers.clamp(max=_STEEPEST)) * (1 + beyond)
