"""Means of targets that are not negative, with a logarithmic link."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.data import Array
from sklearn_seqcrm._recurrent.objectives._calibration import calibration_factor
from sklearn_seqcrm._recurrent.objectives._numbers import Number, column_means
from sklearn_seqcrm._recurrent.objectives._weights import with_weight

# exp(88) is about the largest number of float32, so that none larger was learned.
_LARGEST_LOGARITHM = 88.0
# Exponentials in the loss continue linearly from here on: no gradient is infinite.
_STEEPEST = 30.0


class LogMean(Number):
    """The mean of a target that is not negative; the output is its logarithm.

    Encoded targets are ``t = y / mean(y)``: likelihoods with a logarithmic link keep
    their meaning under a change of unit, and not under a shift. The gradient of the
    loss over the output is about ``exp(z) - t``, with the standard deviation of `t`,
    and the loss is divided by it. For rare counts it is large. Without the division,
    the batches that contain events would have much longer gradients than the others,
    and clipping the gradient would reduce exactly their contribution.
    """

    offset_parameters = (0,)
    is_linear = has_log_link = True
    adjusts = True
    lowers_rate = True
    spread: np.ndarray  # (k,): standard deviation of encoded targets, at least 1
    factor: np.ndarray  # (k,): calibration factor of the means

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        super().learn(y, weight)
        target = self.encode(y, weight).astype("float64").reshape(len(y), -1)
        target, weight = with_weight(target, weight)
        # Encoded targets have the mean 1.
        variance = column_means((target - 1) ** 2, weight)
        self.spread = np.maximum(np.sqrt(variance), 1.0)
        self.factor = np.ones(len(self.spread))

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        if not self.shape:
            return super().forward(outputs, target) / float(self.spread[0])
        spread = outputs.new_tensor(self.spread)
        return (self._loss_of(outputs, target) / spread).mean(dim=1)

    def _center(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        return 0.0

    def _scale(self, y: np.ndarray, center: float, weight: np.ndarray | None) -> float:
        return np.average(y, weights=weight)

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Return the logarithm of the mean; with all targets 0, of half an event."""
        mean = column_means(target, weight)
        # The logarithm of a mean of 0 is infinite.
        return np.log(np.where(mean > 0, mean, 0.5 / len(target)))

    def adjust(
        self, outputs: list[np.ndarray], target: np.ndarray, weight: np.ndarray | None
    ) -> None:
        """Learn the calibration factor of the means from all rows.

        At its minimum the loss would make predictions add up to the targets by itself,
        but early stopping ends training sooner.
        """
        self.factor = calibration_factor(
            *self._targets_and_means(outputs, target), weight
        )

    def _targets_and_means(
        self, outputs: Sequence[np.ndarray], target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        # The calibration factor corrects the ensemble, not its networks.
        mean = self._ensemble_mean(self._uncalibrated_means, outputs)
        return target.reshape(mean.shape).astype("float64"), mean

    def _uncalibrated_means(self, outputs: Array) -> Array:
        """Return uncalibrated means in the unit of encoded targets, shape (n, k)."""
        return np.exp(np.minimum(outputs[..., 0], _LARGEST_LOGARITHM))

    def _predict_by_target(self, outputs: Array) -> Array:
        return self._to_units(self._uncalibrated_means(outputs) * self.factor)


class Poisson(LogMean):
    """The mean of counts and amounts, by the Poisson likelihood.

    The loss is ``exp(z) - t * z``, the negative log-likelihood of rate ``exp(z)``
    without the term of the target alone. It is consistent for the mean of any target
    that is not negative (Gourieroux, Monfort and Trognon, 1984).
    """

    name = boosting_loss = "poisson"

    def _refuse(self, y: np.ndarray) -> None:
        n_negative = int((y < 0).sum())
        if n_negative:
            raise ValueError(
                "The Poisson loss needs targets that are not negative; "
                f"{n_negative} of {y.size} are negative. Use loss='squared_error'."
            )

    def _loss_of(self, outputs: Tensor, target: Tensor) -> Tensor:
        return nn.functional.poisson_nll_loss(outputs, target, reduction="none")

    def linear_terms(
        self, outputs: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, target = np.exp(outputs), target.reshape(outputs.shape)
        return mean - target * outputs, mean - target, mean


class Gamma(LogMean):
    """The mean of amounts with a constant coefficient of variation.

    The loss is ``t * exp(-z) + z``: half of the gamma deviance without the term of the
    target alone.
    """

    name = boosting_loss = "gamma"

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
        # The score equation of the gamma likelihood is sum(y / mean - 1) = 0.
        return y / mean, np.ones_like(mean)

    def _loss_of(self, outputs: Tensor, target: Tensor) -> Tensor:
        return target * _exp(-outputs) + outputs

    def linear_terms(
        self, outputs: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ratio = target.reshape(outputs.shape) * np.exp(-outputs)
        return ratio + outputs, 1 - ratio, ratio


def _exp(numbers: Tensor) -> Tensor:
    """Return exponentials that continue as tangents from `_STEEPEST` on."""
    beyond = torch.relu(numbers - _STEEPEST)
    return torch.exp(numbers.clamp(max=_STEEPEST)) * (1 + beyond)
