"""Quantiles of the target, which never cross."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._recurrent.data import Array, softplus
from sklearn_seqcrm._recurrent.objectives._numbers import Number, weighted_quantile
from sklearn_seqcrm._recurrent.objectives._weights import with_weight

# sinh(88) is about the largest number of float32, so that none larger was learned.
_LARGEST_OUTPUT = 88.0
# Least initial distance of two quantiles: softplus(z) = 0 has no finite z.
_LEAST_START = 0.01


class Quantiles(Number):
    """One or several quantiles, by the pinball loss.

    The loss of quantile ``q`` at ``z`` is ``max(q * (t - z), (q - 1) * (t - z))``
    (Koenker and Bassett, 1978).

    Encoded targets are ``t = asinh((y - center) / scale)``. The inverse hyperbolic sine
    is linear around the center and logarithmic far from it, where ratios of amounts
    matter rather than differences. It is monotone, so that the quantile of transformed
    targets is the transformed quantile.

    With several quantiles, the first output ``z[0]`` is the one next to the median,
    which `predict` returns. The others are softplus steps to the neighbours, added
    upwards and subtracted downwards, so that quantiles are in order for any outputs.
    With three::

        z[0] - softplus(z[1]) < z[0] < z[0] + softplus(z[2])
    """

    name = boosting_loss = "quantile"
    adjusts = True
    # (k,): lower bound of quantiles: 0 where no target of the first call is negative.
    least: np.ndarray
    # (k, q): correction of each transformed quantile, learned by `adjust`.
    shift: np.ndarray

    def __init__(self, quantile: float | Sequence[float]) -> None:
        super().__init__()
        self.quantiles = check_quantiles(quantile)
        self.n_parameters = len(self.quantiles)
        self._middle = int(np.abs(self.quantiles - 0.5).argmin())
        self._steps = _steps(self.n_parameters, self._middle)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        return {**super().hyperparameters, "quantile": tuple(self.quantiles.tolist())}

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        super().learn(y, weight)
        used, _ = with_weight(y, weight)
        negative = (used.reshape(len(used), -1) < 0).any(axis=0)
        self.least = np.where(negative, -np.inf, 0.0)
        self.shift = np.zeros((len(self.scale), self.n_parameters))

    def _center(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        return weighted_quantile(y, weight, self.quantiles[self._middle])

    def _scale(self, y: np.ndarray, center: float, weight: np.ndarray | None) -> float:
        """Return the mean distance from the center, robust to a few large amounts."""
        apart = np.average(np.abs(y - center), weights=weight)
        return apart if apart > np.finfo("float64").eps else 0.0

    def _scaled(self, quotients: np.ndarray) -> np.ndarray:
        return np.arcsinh(super()._scaled(quotients))

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Return outputs for the quantiles of all targets, shape (n_outputs,)."""
        bias = []
        for column in target.reshape(len(target), -1).T:
            found = [weighted_quantile(column, weight, one) for one in self.quantiles]
            apart = np.maximum(np.diff(found), _LEAST_START)
            # softplus(log(expm1(apart))) = apart
            bias += [found[self._middle], *np.log(np.expm1(apart))]
        return np.array(bias)

    def _loss_of(self, outputs: Tensor, target: Tensor) -> Tensor:
        q = outputs.new_tensor(self.quantiles)
        if self.n_parameters > 1:
            target = target.unsqueeze(-1)  # (n, [k,] 1) against (n, [k,] q)
        beyond = target - self._transformed_quantiles(outputs)
        losses = torch.maximum(q * beyond, (q - 1) * beyond)
        return losses.mean(dim=-1) if self.n_parameters > 1 else losses

    def adjust(
        self, outputs: list[np.ndarray], target: np.ndarray, weight: np.ndarray | None
    ) -> None:
        """Learn the correction of each quantile from all rows.

        At its minimum the loss would put the share ``q`` of the targets below each
        quantile by itself, but early stopping ends training sooner.
        """
        mean = self._ensemble_mean(self._transformed_quantiles, outputs)
        target = target.reshape(len(target), -1, 1).astype("float64")
        # Residuals of all rows by target and quantile, (k, q, n).
        beyond = np.moveaxis(target - mean, 0, -1)
        self.shift = np.array(
            [
                [
                    weighted_quantile(values, weight, one)
                    for values, one in zip(of_target, self.quantiles, strict=True)
                ]
                for of_target in beyond
            ]
        )

    def _transformed_quantiles(self, outputs: Array) -> Array:
        """Return transformed quantiles without their correction, shape (n, k, q)."""
        if self.n_parameters == 1:
            return outputs
        steps: Array = self._steps
        if isinstance(outputs, Tensor):
            steps = outputs.new_tensor(steps)
        return outputs[..., :1] + softplus(outputs[..., 1:]) @ steps.T

    def _predict_by_target(self, outputs: Array) -> Array:
        return self._quantiles_of(outputs)[..., self._middle]

    def _quantiles_of(self, outputs: Array) -> Array:
        """Return all quantiles in the units of the targets, shape (n, k, q)."""
        bent = self._transformed_quantiles(outputs) + self.shift
        # Scales are by target: (n, q, k) and back.
        quantiles = self._to_units(bent.swapaxes(1, 2)).swapaxes(1, 2)
        # Neither rounding nor the corrections make quantiles cross.
        return np.maximum.accumulate(quantiles, axis=-1)

    def _to_units(self, scaled: Array) -> Array:
        bounded = scaled.clip(-_LARGEST_OUTPUT, _LARGEST_OUTPUT)
        return np.maximum(super()._to_units(np.sinh(bounded)), self.least)

    def predict_quantiles(self, outputs: Array, q: Any = None) -> Array:
        """Return quantiles `q`, or all, shape (n, q) or (n, k, q)."""
        quantiles = self._by_row(self._quantiles_of(self._by_target(outputs)))
        if q is None:
            return quantiles
        apart = np.abs(
            np.subtract.outer(check_quantiles(q, any_order=True), self.quantiles)
        )
        if (apart.min(axis=1) > 1e-9).any():
            raise ValueError(
                f"The network has learned the quantiles {self.quantiles.tolist()}; "
                f"got {q!r}. Name others in quantile= and fit again."
            )
        return quantiles[..., apart.argmin(axis=1)]

    @property
    def predictions(self) -> dict[str, Callable[[Array], Array]]:
        return {"prediction": self.predict, "quantiles": self.predict_quantiles}

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "quantiles": self.quantiles.tolist()}


def check_quantiles(quantile: Any, any_order: bool = False) -> np.ndarray:
    """Return quantiles as an array, or raise a ValueError if they are invalid.

    They are larger than 0 and smaller than 1. Unless in `any_order`, they must ascend,
    each once.
    """
    try:
        q = np.atleast_1d(np.asarray(quantile, dtype="float64"))
    except (TypeError, ValueError):  # text, or a dict
        q = np.empty(0)
    if q.ndim > 1 or not q.size or not ((q > 0) & (q < 1)).all():
        raise ValueError(
            "Quantiles must be one or several numbers between 0 and 1, neither of them "
            f"included; got {quantile!r}."
        )
    if not any_order and (np.diff(q) <= 0).any():
        raise ValueError(
            f"quantile must ascend, each once; got {quantile!r}. Write "
            f"{np.unique(q).tolist()}."
        )
    return q


def _steps(n_quantiles: int, middle: int) -> np.ndarray:
    """Return the sign with which each step enters each quantile, (q, q - 1)."""
    place, step = np.arange(n_quantiles)[:, None], np.arange(1, n_quantiles)
    return 1.0 * ((middle < step) & (step <= place)) - 1.0 * (
        (place < step) & (step <= middle)
    )
