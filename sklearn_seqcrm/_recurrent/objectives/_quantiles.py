"""Quantiles of the target, several of which never cross."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from sklearn_seqcrm._recurrent.objectives._numbers import Number, weighted_quantile
from sklearn_seqcrm._recurrent.objectives._objective import Array, softplus
from sklearn_seqcrm._recurrent.objectives._weights import has_weight

# Hyperbolic sines beyond are none that float32 could have learned.
_LARGEST_OUTPUT = 88.0
# Least distance of two quantiles that a network starts from.
_LEAST_START = 0.01


class Quantiles(Number):
    """One or several quantiles, by their pinball loss.

    The network sees the inverse hyperbolic sine of scaled targets. That is like the
    targets themselves about their center, and like their logarithm far from it, where
    amounts are some times and not some units apart. A quantile of what has been bent
    is the quantile, bent, so that nothing but the network sees it.

    Of several quantiles, the first output is that next to the median, which `predict`
    returns. The others are what each is above the one before, through a softplus: added
    up from there, and taken off downwards, quantiles are in order whatever the outputs.

    Parameters
    ----------
    quantile : float or sequence of float
        Quantiles between 0 and 1, ascending.

    Attributes
    ----------
    least : ndarray of shape (k,)
        What no quantile is below: 0 where no target of the first call is negative.
    shift : ndarray of shape (k, q)
        What is added to each quantile, bent.
    """

    name = "quantile"
    adjusts = True
    least: np.ndarray
    shift: np.ndarray

    def __init__(self, quantile: float | Sequence[float]) -> None:
        super().__init__()
        self.levels = check_quantiles(quantile)
        self.n_parameters = len(self.levels)
        self._middle = int(np.abs(self.levels - 0.5).argmin())
        self._steps = _steps(self.n_parameters, self._middle)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        return {**super().hyperparameters, "quantile": tuple(self.levels.tolist())}

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        super().learn(y, weight)
        used = y if weight is None else y[has_weight(weight)]
        negative = (used.reshape(len(used), -1) < 0).any(axis=0)
        self.least = np.where(negative, -np.inf, 0.0)
        self.shift = np.zeros((len(self.scale), self.n_parameters))

    def _center(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        return weighted_quantile(y, weight, self.levels[self._middle])

    def _scale(self, y: np.ndarray, center: float, weight: np.ndarray | None) -> float:
        """Mean distance from the center, which a few large amounts hardly move."""
        apart = float(np.average(np.abs(y - center), weights=weight))
        return apart if apart > np.finfo("float64").eps else 0.0

    def _scaled(self, quotients: np.ndarray) -> np.ndarray:
        return np.arcsinh(super()._scaled(quotients))

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Quantiles of the targets, shape (n_outputs,)."""
        bias = []
        for column in target.reshape(len(target), -1).T:
            found = [weighted_quantile(column, weight, level) for level in self.levels]
            apart = np.maximum(np.diff(found), _LEAST_START)
            bias += [found[self._middle], *np.log(np.expm1(apart))]
        return np.array(bias)

    def _loss_of(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        levels = torch.tensor(self.levels, dtype=outputs.dtype, device=outputs.device)
        if self.n_parameters > 1:
            steps = torch.tensor(self._steps, dtype=levels.dtype, device=levels.device)
            outputs = outputs[..., :1] + softplus(outputs[..., 1:]) @ steps.T
            target = target.unsqueeze(-1)
        beyond = target - outputs
        losses = torch.maximum(levels * beyond, (levels - 1) * beyond)
        return losses.mean(dim=-1) if self.n_parameters > 1 else losses

    def adjust(
        self,
        outputs: Sequence[np.ndarray],
        target: np.ndarray,
        weight: np.ndarray | None,
    ) -> None:
        """Learn from all rows how far each quantile is off as a whole.

        Where the loss is least, the share of targets below each is the one that it is
        named for, but training stops before.
        """
        each = [
            self._transformed_quantiles(self._by_target(one)) / len(outputs)
            for one in outputs
        ]
        target = target.reshape(len(target), -1, 1).astype("float64")
        beyond = np.moveaxis(target - np.sum(each, axis=0), 0, -1)
        self.shift = np.array(
            [
                [
                    weighted_quantile(one, weight, level)
                    for one, level in zip(of_target, self.levels, strict=True)
                ]
                for of_target in beyond
            ]
        )

    def _transformed_quantiles(self, outputs: Array) -> Array:
        """All quantiles, bent and without their shift, shape (n, k, q)."""
        if self.n_parameters == 1:
            return outputs
        return outputs[..., :1] + softplus(outputs[..., 1:]) @ self._steps.T

    def _predict_by_target(self, outputs: Array) -> Array:
        return self._quantiles_of(outputs)[..., self._middle]

    def _quantiles_of(self, outputs: Array) -> Array:
        """All quantiles in the units of the targets, shape (n, k, q), in order."""
        bent = self._transformed_quantiles(outputs) + self.shift
        quantiles = self._to_units(bent.swapaxes(1, 2)).swapaxes(1, 2)
        # In the order of the levels: neither rounding nor shifts make any cross.
        return np.maximum.accumulate(quantiles, axis=-1)

    def _to_units(self, scaled: Array) -> Array:
        bounded = scaled.clip(-_LARGEST_OUTPUT, _LARGEST_OUTPUT)
        return np.maximum(super()._to_units(np.sinh(bounded)), self.least)

    def predict_quantiles(self, outputs: Array, levels: Any = None) -> Array:
        """Some of the quantiles, shape (n, q) or (n, k, q); None: all of them."""
        quantiles = self._by_row(self._quantiles_of(self._by_target(outputs)))
        if levels is None:
            return quantiles
        apart = np.abs(
            np.subtract.outer(check_quantiles(levels, any_order=True), self.levels)
        )
        if (apart.min(axis=1) > 1e-9).any():
            raise ValueError(
                f"The network has learned the quantiles {self.levels.tolist()}; "
                f"got {levels!r}. Name others in quantile= and fit again."
            )
        return quantiles[..., apart.argmin(axis=1)]

    @property
    def predictions(self) -> dict[str, Callable[[Array], Array]]:
        return {"prediction": self.predict, "quantiles": self.predict_quantiles}

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "quantiles": self.levels.tolist()}


def check_quantiles(quantile: Any, any_order: bool = False) -> np.ndarray:
    """Quantiles as an array, or a ValueError if they are none.

    Parameters
    ----------
    quantile : float or sequence of float
        Quantiles.
    any_order : bool, default=False
        Whether they may be in any order, and repeated.
    """
    levels = np.atleast_1d(np.asarray(quantile, dtype="float64"))
    if levels.ndim > 1 or not levels.size or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(
            "Quantiles must be one or several numbers between 0 and 1, neither of them "
            f"included; got {quantile!r}."
        )
    if not any_order and (np.diff(levels) <= 0).any():
        raise ValueError(
            f"quantile must ascend, each once; got {quantile!r}. Write "
            f"{np.unique(levels).tolist()}."
        )
    return levels


def _steps(n_levels: int, middle: int) -> np.ndarray:
    """What steps between quantiles add to each of them, shape (q, q - 1)."""
    level, step = np.arange(n_levels)[:, None], np.arange(1, n_levels)
    return 1.0 * ((middle < step) & (step <= level)) - 1.0 * (
        (level < step) & (step <= middle)
    )
