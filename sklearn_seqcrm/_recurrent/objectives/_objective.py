"""Targets of one column or several, and what no objective takes for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import nn

from sklearn_seqcrm._recurrent.objectives._onnx_graph import Graph, OnnxOutput


class Objective(nn.Module, ABC):
    """What targets are, what a row costs, and what outputs say.

    It is the criterion of the net, and the same object for as long as that net goes on:
    what `learn` finds in the targets of the first call measures those of all others.
    That is numbers and arrays of NumPy. It has no tensors: skorch moves those of a net
    in a file to the device at hand, and would not find them here.

    Attributes
    ----------
    name : str
        Name of the loss.
    n_outputs : int
        Outputs of the network for a row, known when `learn` has returned.
    n_targets : int
        Targets of a row, known when `learn` has returned.
    is_linear : bool
        Whether an output is a mean in the unit of the targets, to which the network
        has a linear part.
    """

    name: ClassVar[str]
    is_linear: ClassVar[bool] = False
    n_outputs = 1
    n_targets = 1
    # Whether `adjust` wants to see what trained networks return.
    adjusts: ClassVar[bool] = False

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Parameters that chose it, with their values; no net goes on with others."""
        return {"loss": self.name}

    @abstractmethod
    def read(self, y: Any) -> np.ndarray:
        """Read the targets of any call, shape (n,) or (n, k).

        Raises
        ------
        ValueError
            If they are of another kind, or some are missing.
        """

    @abstractmethod
    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Learn from the targets of the first call, or refuse to.

        Parameters
        ----------
        y : ndarray of n targets
            As `read` returns them.
        weight : ndarray of shape (n,), float64, or None
            Weight of each row.
        """

    def check(self, y: np.ndarray, whole: bool) -> None:
        """Refuse targets of a later call that do not go with those of the first.

        Parameters
        ----------
        y : ndarray of n targets
            As `read` returns them.
        whole : bool
            Whether these are all rows, as in `fit`, or some of many.
        """

    @abstractmethod
    def encode(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Targets as `forward` takes them, a row for each: shape (n,) or (n, k)."""

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """What a network without inputs had best return, shape (n_outputs,).

        Parameters
        ----------
        target : ndarray of shape (n,) or (n, k)
            Encoded targets of the first call.
        weight : ndarray of shape (n,), float64, or None
            Weight of each row.
        """
        return np.zeros(self.n_outputs)

    @abstractmethod
    def forward(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Loss of each row, shape (n,); the net weights them.

        Parameters
        ----------
        outputs : Tensor of shape (n, n_outputs)
            What the network returns.
        target : Tensor of shape (n,) or (n, k)
            Encoded targets.
        """

    def slope_beyond(
        self,
        outputs: np.ndarray,
        target: np.ndarray,
        weight: np.ndarray | None,
        offset: np.ndarray,
    ) -> np.ndarray:
        """How much steeper outputs had better go with the exposure, if `adjusts`.

        Parameters
        ----------
        outputs : ndarray of shape (n, n_outputs), float64
            What one network returns for all rows.
        target, weight
            As in `adjust`.
        offset : ndarray of shape (n,)
            Logarithm of the exposure of each row.

        Returns
        -------
        ndarray of shape (n_outputs,)
            Slopes; 0 for outputs that do not go with the exposure.
        """
        return np.zeros(self.n_outputs)

    def adjust(
        self,
        outputs: Sequence[np.ndarray],
        target: np.ndarray,
        weight: np.ndarray | None,
    ) -> None:
        """Learn what predictions need, at the end of `fit`, if `adjusts`.

        Parameters
        ----------
        outputs : sequence of ndarray of shape (n, n_outputs), float64
            What each network returns for all rows.
        target : ndarray of shape (n,) or (n, k)
            Their encoded targets.
        weight : ndarray of shape (n,) or None
            Their weights.
        """

    def scored(self, outputs: torch.Tensor) -> torch.Tensor:
        """What scorers of skorch compare with encoded targets; a row for each."""
        return outputs

    def answers(self, graph: Graph, outputs: Sequence[str]) -> dict[str, OnnxOutput]:
        """What predictions are, in a graph of ONNX.

        Parameters
        ----------
        graph : Graph
            Where the nodes are added.
        outputs : sequence of str
            Outputs of each network, shape (n, n_outputs).

        Returns
        -------
        dict of str to Answer
            By the name of each prediction, that of all networks together.
        """
        each = [self._answers_of(graph, one) for one in outputs]
        return {
            name: OnnxOutput(graph.mean([one[name].tensor for one in each]), shape)
            for name, (_, shape) in each[0].items()
        }

    def _answers_of(self, graph: Graph, outputs: str) -> dict[str, OnnxOutput]:
        """What a single network predicts, by names."""
        raise TypeError(f"The loss {self.name!r} has no form in ONNX.")


def are_several(y: Any) -> bool:
    """Whether targets have several columns."""
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    return len(shape) == 2 and shape[1] > 1


def refuse_not_finite(y: np.ndarray) -> None:
    """Raise a ValueError for targets that are missing or infinite."""
    missing = pd.isna(y)
    infinite = np.isinf(y) if y.dtype.kind == "f" else np.zeros(y.shape, dtype=bool)
    bad = missing if missing.any() else infinite
    if bad.any():
        by_row = bad.reshape(len(y), -1)
        n_bad = int(by_row.any(axis=1).sum())
        of = f" in the columns {np.flatnonzero(by_row.any(axis=0)).tolist()}"
        raise ValueError(
            f"Input y contains {'NaN' if missing.any() else 'infinity'}: {n_bad} of "
            f"{len(y)} targets are {'missing' if missing.any() else 'infinite'}"
            f"{of if y.ndim > 1 else ''}; drop those rows from X and y."
        )


def refuse_other_shape(y: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise a ValueError for targets of other columns than in the first call.

    Parameters
    ----------
    y : ndarray of shape (n,) or (n, k)
        Targets.
    shape : tuple of int
        Shape of the target of one row in the first call.
    """
    if y.shape[1:] != shape:
        then, now = (
            f"{s[0]} columns" if s else "1 column" for s in (shape, y.shape[1:])
        )
        raise ValueError(
            f"y has {now}, and had {then} in the first call. Give the same, or fit "
            "from the start."
        )
