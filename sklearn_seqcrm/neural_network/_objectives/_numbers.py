"""Numbers by their distance from the targets."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from sklearn.utils import column_or_1d
from torch import nn

from sklearn_seqcrm.neural_network._objectives._checks import refuse_not_finite
from sklearn_seqcrm.neural_network._objectives._objective import Objective
from sklearn_seqcrm.neural_network._scaling import exponent_of, of_any_weight

_EPSILON = float(np.finfo("float64").eps)


class Number(Objective):
    """One number for a row, by a loss of its distance from the target.

    The network sees targets over a power of 2, centred and scaled: about where a fresh
    network is, about 0, and about 1 wide. Here that is their mean and their spread.

    Attributes
    ----------
    exponent : int
        Targets over 2 to the power of it lie between -1 and 1 in the first call.
    center, scale : float
        Center and scale of those quotients.
    """

    exponent: int
    center: float
    scale: float

    def read(self, y: Any) -> np.ndarray:
        y = column_or_1d(y, warn=True)
        refuse_not_finite(y)
        y = np.asarray(y, dtype="float64")
        refuse_not_finite(y)  # numbers may have been objects before
        return y

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Learn where the targets are, which those of weight 0 do not say."""
        if weight is not None:
            used = of_any_weight(weight)
            y, weight = y[used], weight[used]
        self.exponent = exponent_of(y)
        y = np.ldexp(y, -self.exponent)
        self.center = self._center_of(y, weight)
        self.scale = self._scale_of(y, weight)
        if not self.scale:
            # One in the unit of `y`, or the size of `y` if this is smaller; but no less
            # than what rounding leaves of equal targets.
            one = max(0.5 ** max(self.exponent, 0), _EPSILON)
            self.scale = min(abs(self.center), one) or 1.0

    def _center_of(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        return mean_of(y, weight)

    def _scale_of(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        """Spread about the center; 0 if targets are the same but for rounding."""
        spread = np.sqrt(mean_of((y - self.center) ** 2, weight))
        return float(spread) if spread > _EPSILON else 0.0

    def encode(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Scaled targets, shape (n,), float32."""
        with np.errstate(over="ignore"):
            y = np.ldexp(y, -self.exponent)
            target = ((y - self.center) / self.scale).astype("float32")
        bad = np.isinf(target)
        if weight is not None:
            bad &= of_any_weight(weight)
        if bad.any():
            raise ValueError(
                f"{bad.sum()} of {len(y)} targets are more than 1e38 times as far from "
                "those in the first call as these are from each other. Fit from the "
                "start, with rows like those to come."
            )
        return target

    def forward(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # The gradient of outputs[:, 0] is a copy: 3 % of a step of a small network.
        return self._loss_of(outputs.squeeze(1), target)

    @abstractmethod
    def _loss_of(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Loss of each row, shape (n,), by its output and its scaled target."""

    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions in the units of the targets, shape (n,)."""
        scaled = self._number_of(outputs[:, 0])
        return np.ldexp(scaled * self.scale + self.center, self.exponent)

    def _number_of(self, output: np.ndarray) -> np.ndarray:
        """Prediction, in units of the scale."""
        return output


class SquaredError(Number):
    """The mean, by the squared distance from it."""

    name = "squared_error"

    def _loss_of(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(output, target, reduction="none")


class AbsoluteError(Number):
    """The median, by the distance from it."""

    name = "absolute_error"

    def _center_of(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        """The smallest target that half of the weight does not exceed."""
        order = np.argsort(y, kind="stable")
        below = np.cumsum(np.ones(len(y)) if weight is None else weight[order])
        return float(y[order][np.searchsorted(below, below[-1] / 2)])

    def _loss_of(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.l1_loss(output, target, reduction="none")


def mean_of(y: np.ndarray, weight: np.ndarray | None) -> float:
    return float(np.average(y, weights=weight))
