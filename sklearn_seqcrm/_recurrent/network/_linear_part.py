"""The linear part of a network: weighted sums of row features, statics and sums."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.data import Array, array_namespace
from sklearn_seqcrm._recurrent.network._layers import (
    Linear,
    float32_tensor,
    without_drawing,
)

# Logarithms of sums are linear below this number of scales of a field. With 1, a
# Poisson regression predicts counts less well; with a tenth of the median of each sum,
# as well.
_LINEAR_BELOW = 0.1


class LinearPart(nn.Module):
    """A linear model of row features, statics and sums, added to the head.

    Other inputs of the network are compressed and bounded. A customer who bought for a
    hundred times the usual amount will buy for about a hundred times as much again,
    which only a linear term can predict.

    The last `n_logs` inputs, sums of amounts, enter by their logarithms (`log_sums`),
    for outputs that are logarithms of means. The weights are 0 until `start`; training
    changes them together with those of the network, which learns the residuals.
    """

    def __init__(self, n_inputs: int, n_outputs: int, n_logs: int = 0) -> None:
        super().__init__()
        self.scaled = ScaledInputs(n_inputs, n_logs)
        self.weights = without_drawing(Linear, n_inputs, n_outputs, bias=False)
        nn.init.zeros_(self.weights.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the weighted sums of rows, shape (n, n_outputs)."""
        return self.weights(self.scaled(inputs))

    @torch.no_grad()
    def start(
        self,
        center: np.ndarray,
        spread: np.ndarray,
        bounds: np.ndarray,
        weights: np.ndarray,
    ) -> None:
        """Set the scaling of inputs (n_inputs,), and weights (n_inputs, k).

        `bounds` (2, n_inputs) are the least and the largest scaled input. The weights
        are those of the first k outputs.
        """
        scaled = self.scaled
        for tensor, values in (
            (scaled.center, center),
            (scaled.spread, spread),
            (scaled.low, bounds[0]),
            (scaled.high, bounds[1]),
            (self.weights.weight[: weights.shape[1]], weights.T),
        ):
            tensor.copy_(torch.from_numpy(values.astype("float32")))


class ScaledInputs(nn.Module):
    """Inputs of a linear part, standardised and bounded; each by itself."""

    center: Tensor
    spread: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, n_inputs: int, n_logs: int) -> None:
        super().__init__()
        self.n_logs = n_logs
        for name, value in {"center": 0, "spread": 1, "low": 0, "high": 0}.items():
            self.register_buffer(name, float32_tensor(np.full(n_inputs, value)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return scaled inputs, (n, n_inputs)."""
        return scale_inputs(
            inputs, self.n_logs, self.center, self.spread, self.low, self.high
        )


def scale_inputs(
    inputs: Array, n_logs: int, center: Array, spread: Array, low: Array, high: Array
) -> Array:
    """Return standardised inputs (..., n_inputs) between `low` and `high`.

    The last `n_logs` of them enter by their logarithms.
    """
    xp = array_namespace(inputs)
    away = (log_sums(inputs, n_logs) - center) / spread
    return xp.minimum(xp.maximum(away, low), high)


def log_sums(inputs: Array, n_logs: int) -> Array:
    """Return inputs (..., n_inputs), the last `n_logs` of them by their logarithms.

    Sums may be 0 or negative: this is ``asinh(x / 0.1)``, which is about
    ``sign(x) * log(abs(x) / 0.05)`` for large ones, and ``x / 0.1`` for small ones.
    """
    if not n_logs:
        return inputs
    xp = array_namespace(inputs)
    n_others = inputs.shape[-1] - n_logs
    logs = xp.arcsinh(inputs[..., n_others:] / _LINEAR_BELOW)
    return xp.concatenate([inputs[..., :n_others], logs], axis=-1)
