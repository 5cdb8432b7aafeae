"""The linear part of a network whose outputs are numbers in the unit of the target."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm._ragged import blocks
from sklearn_seqcrm.neural_network._layers import Linear, without_drawing

# What the ridge adds to the variance of each input, of 1. From a tenth to ten times of
# it the start alone predicts spend about as well; with next to nothing, twice as badly
# where one customer in a thousand decides.
_RIDGE = 0.05
# Spreads from the center that an input counts at most; one customer among a million
# is a thousand away.
FAR = 1000.0
_WIDTH = 64  # numbers of a row in work, about


class LinearPart(nn.Module):
    """Add a weighted sum of row features, statics and sums to what the head returns.

    A network reads numbers whose tails are folded in, as logarithms nearly, and what it
    makes of them is bounded by what it has seen. What a customer who bought for a
    hundred times the usual sum will buy for next is about proportional to that sum, and
    so is the error of who does not see it.

    It starts as a ridge regression on the training rows, and is trained with the rest,
    which so learns what the regression does not say.

    Parameters
    ----------
    n_inputs : int
        Number of row features, statics and sums.
    n_outputs : int
        Number of outputs.
    """

    center: torch.Tensor
    spread: torch.Tensor

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.weights = without_drawing(Linear, n_inputs, n_outputs, bias=False)
        nn.init.zeros_(self.weights.weight)
        self.within = nn.Hardtanh(-FAR, FAR)
        zeros = torch.zeros(n_inputs, dtype=torch.float32, device="cpu")
        self.register_buffer("center", zeros)
        self.register_buffer("spread", torch.ones_like(zeros))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the sum for each row, shape (n, n_outputs)."""
        away = (inputs - self.center) / self.spread
        return self.weights(self.within(away))

    @torch.no_grad()
    def start(
        self, inputs: np.ndarray, target: np.ndarray, weight: np.ndarray | None
    ) -> None:
        """Set the weights to those of a ridge regression.

        Parameters
        ----------
        inputs : ndarray of shape (n, n_inputs), float32
            Training rows.
        target : ndarray of shape (n,) or (n, n_outputs)
            Encoded targets.
        weight : ndarray of shape (n,) or None
            Weight of each row.
        """
        center, spread, weights = ridge(inputs, target, weight)
        for tensor, values in (
            (self.center, center),
            (self.spread, spread),
            (self.weights.weight, weights.T),
        ):
            tensor.copy_(torch.from_numpy(values.astype("float32")))


def ridge(
    inputs: np.ndarray, target: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Regress on standardised inputs.

    Parameters
    ----------
    inputs : ndarray of shape (n, n_inputs), float32
        Finite numbers on any scale.
    target : ndarray of shape (n,) or (n, k)
        Targets.
    weight : ndarray of shape (n,) or None
        Weight of each row.

    Returns
    -------
    center, spread : ndarray of shape (n_inputs,), float64
        Mean and standard deviation of each input; the latter is infinite where it is
        no more than rounding, so that such an input has no say.
    weights : ndarray of shape (n_inputs, k), float64
        Whose columns ``w`` each minimise the mean squared error of
        ``mean(target) + w @ z``, with ``z`` the standardised inputs, plus 0.05 times
        ``w @ w``.
    """
    share = np.ones(len(target)) if weight is None else weight.astype("float64")
    share = share / share.sum()
    parts = list(blocks(len(target), _WIDTH))
    center = sum(share[some] @ inputs[some].astype("float64") for some in parts)
    variance = sum(share[some] @ (inputs[some] - center) ** 2 for some in parts)
    spread = np.sqrt(variance)
    spread[spread <= 1e-6 * np.abs(center)] = np.inf
    n_inputs = inputs.shape[1]
    target = target.reshape(len(target), -1)
    products = np.zeros((n_inputs, n_inputs))
    with_target = np.zeros((n_inputs, target.shape[1]))
    away = target - share @ target
    for some in parts:
        z = (inputs[some] - center) / spread
        weighted = z * share[some, None]
        products += weighted.T @ z
        with_target += weighted.T @ away[some]
    products[np.diag_indices(n_inputs)] += _RIDGE
    return center, spread, np.linalg.solve(products, with_target)
