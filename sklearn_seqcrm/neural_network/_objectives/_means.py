"""Means of what is never negative, through a logarithm."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm.neural_network._objectives._numbers import Number, mean_of


class Poisson(Number):
    """The mean of counts, by their Poisson likelihood. The output is its logarithm.

    This loss keeps its meaning under a change of the unit of the targets only, so that
    the mean is the unit, and the center of its logarithm is 0.
    """

    name = "poisson"

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        self._refuse_negative(y, all_zero=False)
        super().learn(y, weight)

    def _center_of(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        return 0.0

    def _scale_of(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        return mean_of(y, weight)

    def check(self, y: np.ndarray, whole: bool) -> None:
        self._refuse_negative(y, all_zero=True)

    def _refuse_negative(self, y: np.ndarray, all_zero: bool) -> None:
        """Raise a ValueError for what no counts are; all may be 0 if so is said."""
        n_negative = int((y < 0).sum())
        if n_negative:
            wrong = f"{n_negative} of {len(y)} are negative"
        elif not all_zero and not y.any():
            wrong = "all are 0"
        else:
            return
        raise ValueError(
            "The Poisson loss needs targets that are not negative and not all zero; "
            f"{wrong}. Use loss='squared_error'."
        )

    def _loss_of(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.poisson_nll_loss(output, target, reduction="none")

    def _number_of(self, output: np.ndarray) -> np.ndarray:
        return np.exp(output)
