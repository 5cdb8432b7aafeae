"""Numeric targets: their scaling, and losses of the distance from them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import column_or_1d
from torch import Tensor, nn

from sklearn_seqcrm._columns import refuse_not_finite
from sklearn_seqcrm._durations import as_quantities
from sklearn_seqcrm._recurrent.data import Array
from sklearn_seqcrm._recurrent.objectives._calibration import offset_slope_excess
from sklearn_seqcrm._recurrent.objectives._objective import (
    Objective,
    is_multioutput,
    refuse_other_shape,
)
from sklearn_seqcrm._recurrent.objectives._weights import (
    exponent_of,
    has_weight,
    with_weight,
)

_EPSILON = float(np.finfo("float64").eps)
_LARGEST = float(np.finfo("float64").max)


class Number(Objective):
    """Numeric targets, one or several in a row.

    Encoded targets are ``t = (y / 2**exponent - center) / scale``, so that they are
    around 0 with a scale of 1, as the outputs of a new network are. The power of 2
    keeps squares and sums finite for targets of any size, and loses no digit. Here
    `center` and `scale` are mean and standard deviation. Each of several targets has
    its own scaling, and the loss of a row is the mean over its targets.
    """

    # Number of outputs for each target. Outputs of a row are laid out target by target,
    # ``| z[0, 0] ... z[0, p - 1] | z[1, 0] ... |``.
    n_parameters: int = 1
    # Loss of scikit-learn's boosted trees for the same quantity, in hybrids. With a
    # logarithmic link, if predictions are never negative.
    boosting_loss: ClassVar[str]
    # Parameters that are logarithms of a rate, to which an offset may be added.
    offset_parameters: ClassVar[tuple[int, ...]] = ()
    shape: tuple[int, ...]  # shape of the target of a row: () for one, (k,) for several
    # (k,), int: exponent for which quotients of the first targets lie between -1 and 1.
    exponent: np.ndarray
    center: np.ndarray  # (k,), of these quotients
    scale: np.ndarray  # (k,), of these quotients

    def read(self, y: Any) -> np.ndarray:
        # Each column of a DataFrame has its own type, which its array would lose.
        y = as_quantities(y if is_multioutput(y) else column_or_1d(y, warn=True))
        refuse_not_finite(y)
        return y

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Learn center and scale of each target from the rows with a weight."""
        self._refuse(y)
        y, weight = with_weight(y, weight)
        self.shape = y.shape[1:]
        targets = y.reshape(len(y), -1).T
        learned = zip(*(self._learn_one(one, weight) for one in targets), strict=True)
        self.exponent, self.center, self.scale = map(np.array, learned)
        self.n_targets = len(targets)
        self.n_outputs = self.n_parameters * self.n_targets

    def _learn_one(
        self, y: np.ndarray, weight: np.ndarray | None
    ) -> tuple[int, float, float]:
        """Return exponent, center and scale of one target of shape (n,)."""
        exponent = exponent_of(y)
        y = np.ldexp(y, -exponent)
        center = self._center(y, weight)
        scale = self._scale(y, center, weight)
        if not scale:
            # All targets are equal. The scale is 1 in the unit of `y`, or the size of
            # `y` if that is smaller, but not below the rounding error of equal targets.
            one = max(0.5 ** max(exponent, 0), _EPSILON)
            scale = min(abs(center), one) or 1.0
        return exponent, center, scale

    def _center(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        return np.average(y, weights=weight)

    def _scale(self, y: np.ndarray, center: float, weight: np.ndarray | None) -> float:
        """Return the standard deviation; 0 if targets differ by rounding only."""
        spread = np.sqrt(np.average((y - center) ** 2, weights=weight))
        return float(spread) if spread > _EPSILON else 0.0

    def check(
        self, y: np.ndarray, weight: np.ndarray | None, is_full_data: bool
    ) -> None:
        refuse_other_shape(y, self.shape)
        self._refuse(y)

    def _refuse(self, y: np.ndarray) -> None:
        """Raise a ValueError for targets outside the support of the likelihood."""

    def encode(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Return scaled targets, of the shape of `y`, float32."""
        with np.errstate(over="ignore"):
            quotients = np.ldexp(y.reshape(len(y), -1), -self.exponent)
            target = self._scaled(quotients).astype("float32")
        bad = np.isinf(target).any(axis=1)
        if weight is not None:
            bad &= has_weight(weight)
        if bad.any():
            raise ValueError(
                f"{bad.sum()} of {len(y)} targets are more than 1e38 times as far from "
                "those in the first call as these are from each other. Fit from the "
                "start, with rows like those to come."
            )
        return target.reshape(y.shape)

    def _scaled(self, quotients: np.ndarray) -> np.ndarray:
        """Scale targets over powers of 2, shape (n, k)."""
        return (quotients - self.center) / self.scale

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        if self.n_parameters > 1:
            outputs = outputs.reshape(*target.shape, self.n_parameters)  # (n, [k,] p)
        elif not self.shape:
            # (n, 1) -> (n,). The gradient of outputs[:, 0] would be a copy, 3 % of a
            # step of a small network.
            outputs = outputs.squeeze(1)
        losses = self._loss_of(outputs, target)
        return losses.mean(dim=1) if self.shape else losses

    @abstractmethod
    def _loss_of(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each encoded target, of the shape of `target`.

        `outputs` have the same shape or, if there are several, the parameters as last
        axis.
        """

    def predict(self, outputs: Array) -> Array:
        """Return predictions in the units of the targets, shape (n,) or (n, k)."""
        return self._by_row(self._predict_by_target(self._by_target(outputs)))

    @property
    def offset_outputs(self) -> tuple[int, ...]:
        """Outputs to which an offset, the logarithm of an exposure, is added."""
        each = range(0, self.n_outputs, self.n_parameters)
        return tuple(i + j for i in each for j in self.offset_parameters)

    def offset_slope_excess(
        self,
        outputs: np.ndarray,
        target: np.ndarray,
        weight: np.ndarray | None,
        offset: np.ndarray,
    ) -> np.ndarray:
        """Return by how much slopes over the offset should exceed 1, (n_outputs,).

        It is 0 for outputs without an offset. `outputs` are those of one network with
        slopes of 1; the others are fields of `RowData`.
        """
        y, mean = self._targets_and_means([outputs], target)
        excess = np.zeros((self.n_targets, self.n_parameters))
        by_target = offset_slope_excess(y, mean, weight, offset)
        excess[:, self.offset_parameters] = by_target[:, None]
        return excess.ravel()

    def _targets_and_means(
        self, outputs: Sequence[np.ndarray], target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return targets and uncalibrated ensemble means in one unit, (n, k) each.

        Their sums are equal at the minimum of the loss. Only losses with
        `offset_parameters` have it.
        """
        raise NotImplementedError

    def _ensemble_mean(
        self, of_one: Callable[[Array], Array], outputs: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Average what a function of `_by_target` returns for each network."""
        each = [of_one(self._by_target(one)) / len(outputs) for one in outputs]
        return np.sum(each, axis=0)

    def _by_target(self, outputs: Array) -> Array:
        """Return the outputs of each target, shape (n, k, n_parameters)."""
        return outputs.reshape(-1, self.n_targets, self.n_parameters)

    def _by_row(self, numbers: Array) -> Array:
        """Drop the axis of targets, of (n, k, ...), where a row has a single one."""
        return numbers if self.shape else numbers[:, 0]

    def _predict_by_target(self, outputs: Array) -> Array:
        """Return predictions, shape (n, k), from the outputs of each target."""
        return self._to_units(outputs[..., 0])

    def _to_units(self, scaled: Array) -> Array:
        """Return scaled numbers, shape (..., k), in the units of the targets."""
        # Targets may be the largest floats, so that errors overflow.
        with np.errstate(over="ignore"):
            numbers = np.ldexp(scaled * self.scale + self.center, self.exponent)
        return numbers.clip(-_LARGEST, _LARGEST)


class SquaredError(Number):
    """The mean, by the squared error ``(z - t)**2``."""

    name = boosting_loss = "squared_error"
    is_linear = True
    lowers_rate = True

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Return the means: 0 for all rows, and not for those of one treatment."""
        return column_means(target, weight)

    def linear_terms(
        self, outputs: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        error = outputs - target.reshape(outputs.shape)
        return error**2 / 2, error, np.ones_like(error)

    def _loss_of(self, outputs: Tensor, target: Tensor) -> Tensor:
        return nn.functional.mse_loss(outputs, target, reduction="none")


class AbsoluteError(Number):
    """The median, by the absolute error ``|z - t|``."""

    name = boosting_loss = "absolute_error"

    def _center(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        return weighted_quantile(y, weight, 0.5)

    def _loss_of(self, outputs: Tensor, target: Tensor) -> Tensor:
        return nn.functional.l1_loss(outputs, target, reduction="none")


def column_means(y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the weighted mean of each target, shape (k,)."""
    columns = y.reshape(len(y), -1).astype("float64")
    return np.average(columns, axis=0, weights=weight)


def weighted_quantile(y: np.ndarray, weight: np.ndarray | None, share: float) -> float:
    """Return the smallest target at or below which `share` of the weight lies."""
    order = np.argsort(y, kind="stable")
    below = np.cumsum(np.ones(len(y)) if weight is None else weight[order])
    # Less a rounding error: the unit of the weights must not decide between two
    # targets, where exactly this share lies at or below the first of them.
    least = below[-1] * share * (1 - 1e-9)
    return float(y[order][np.searchsorted(below, least)])
