"""The contract of objectives, and checks of targets that several share."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from sklearn_seqcrm._ragged import blocks
from sklearn_seqcrm._recurrent.data import Array
from sklearn_seqcrm._recurrent.objectives._onnx_graph import Graph, GraphTensor

# Largest shift of log odds: a label that no row has would be shifted without end.
_MOST_SHIFT = 0.5


class Objective(nn.Module, ABC):
    """Targets, loss and predictions of a network.

    It is the criterion of the net. A net that is trained further keeps its objective:
    what `learn` found in the first targets scales all later ones. An objective holds
    numbers and NumPy arrays, and no tensors: skorch maps the tensors of a pickled net
    to the available device, and would miss those of a criterion.
    """

    name: ClassVar[str]  # of the loss
    # Whether outputs are means in the unit of the targets, or logarithms of means, so
    # that the network adds a linear part.
    is_linear: ClassVar[bool] = False
    has_log_link: ClassVar[bool] = False  # whether they are logarithms of means
    # Whether the learning rate falls at the end of a training without validation rows,
    # because a single row may have a gradient so large that the loss jumps.
    lowers_rate: ClassVar[bool] = False
    n_outputs = 1  # of the network for a row, set by `learn`
    n_targets = 1  # of a row, set by `learn`
    n_alike = 1  # number of consecutive outputs that start with similar weights
    # Whether `fit` ends with `adjust`, which needs the outputs for all rows.
    adjusts: ClassVar[bool] = False
    # Whether outputs are log odds, to which `fit` adds an `output_shift` at its end.
    shifts: ClassVar[bool] = False

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Parameters that must not change when training is continued."""
        return {"loss": self.name}

    @abstractmethod
    def read(self, y: Any) -> np.ndarray:
        """Validate the targets of any call; shape (n,) or (n, k).

        A ValueError is raised if targets are missing or of a wrong type.
        """

    @abstractmethod
    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Learn scales, classes or bins from the targets of the first call.

        They have the form that `read` returns; weights are (n,), float64, or None.
        """

    def check(
        self, y: np.ndarray, weight: np.ndarray | None, is_full_data: bool
    ) -> None:
        """Refuse targets of a later call that do not fit those of the first call.

        Where `learn` leaves out rows of weight 0, this does as well. `is_full_data`:
        these are all rows, as in `fit`, and not a part, as in `partial_fit`.
        """

    @abstractmethod
    def encode(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Return targets as `forward` takes them, shape (n,) or (n, k)."""

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Return the outputs of the best constant model, shape (n_outputs,).

        From the encoded targets and the weights of the first call.
        """
        return np.zeros(self.n_outputs)

    def has_linear_part(self, i: int) -> bool:
        """Return whether the i-th network of an ensemble has a linear part.

        If outputs are logarithms, every second network has one. It is better if counts
        differ much between customers, and may be worse by two percent if not. The mean
        of both kinds is then no worse than that without it.
        """
        return self.is_linear and (i % 2 == 1 or not self.has_log_link)

    def linear_target(
        self, target: np.ndarray, constants: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return targets of the linear part, and what is added to its outputs, (n,).

        The targets, (n,) or (n, k), are those of the first k outputs. `target` are
        encoded targets, and `constants` (n_outputs,) the best constant outputs.
        """
        return target, np.zeros(len(target))

    def linear_terms(
        self, outputs: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a loss, and its first and second derivative by the outputs, (n, k).

        From outputs (n, k) and what `linear_target` returns. The linear part starts at
        the least mean of this loss. Only objectives with `is_linear` have it.
        """
        raise NotImplementedError

    def strata(self, target: Any) -> np.ndarray | None:
        """Return groups with rows in training and in validation, if possible, (n,).

        `target` are encoded targets. None: any split is as good as any other.
        """
        return None

    @abstractmethod
    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row, shape (n,), without weights.

        From outputs (n, n_outputs) and encoded targets, (n,) or (n, k).
        """

    def adjust(
        self, outputs: list[np.ndarray], target: np.ndarray, weight: np.ndarray | None
    ) -> None:
        """Calibrate predictions at the end of `fit`, if `adjusts`.

        From the outputs of each network for all rows, (n, n_outputs), float64, and the
        encoded targets.
        """

    def output_shift(
        self, outputs: np.ndarray, target: np.ndarray, weight: np.ndarray | None
    ) -> np.ndarray:
        """Return what to add to the log odds of a network, shape (n_outputs,).

        Outputs (n, n_outputs) and encoded targets are those of all rows, without
        dropout. The shifts have the least loss of all rows. There is one for each class
        or label, or for all bins of a kind of events.

        Networks that stop early do not add up to the events of training (Wüthrich,
        2020, doi:10.1007/s13385-019-00215-z). Besides, dropout makes the mean of ``p(z
        + noise)`` equal to the share of a class. If it is rare, ``p(z)`` is about
        ``exp(z)``, and its mean without dropout is lower by ``exp(-variance / 2)``.
        """
        share = np.ones(len(target)) if weight is None else weight.astype("float64")
        share = share / share.sum()
        # Losses with float32 targets would be rounded to float32: line searches fail.
        if target.dtype == np.float32:
            target = target.astype("float64")
        parts = list(blocks(len(target), 4 * self.n_outputs))

        def slopes(
            shifts: np.ndarray,
        ) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
            """Yield loss, weights and gradients (n, n_shifts) of rows, part by part."""
            added = torch.from_numpy(np.repeat(shifts, self.n_alike))
            for rows in parts:
                shifted = (torch.from_numpy(outputs[rows]) + added).requires_grad_()
                losses = self(shifted, torch.from_numpy(target[rows]))
                (found,) = torch.autograd.grad(losses.sum(), shifted)
                each = found.numpy().reshape(len(found), -1, self.n_alike).sum(axis=2)
                own = share[rows, None]
                yield (own[:, 0] * losses.detach().numpy()).sum(), own, each

        # With equal second derivatives, a few steps are enough. The second derivative
        # of a log likelihood is about the mean square of the gradients of the rows.
        none = np.zeros(self.n_outputs // self.n_alike)
        with torch.enable_grad(), np.errstate(under="ignore"):
            # Sums of NumPy do not depend on the number of threads; products do.
            each = [(own * one**2).sum(axis=0) for _, own, one in slopes(none)]
            unit = 1 / np.sqrt(sum(each, none) + np.finfo("float32").tiny)

            def loss(scaled: np.ndarray) -> tuple[float, np.ndarray]:
                total, slope = 0.0, none
                for part, own, one in slopes(scaled * unit):
                    total, slope = total + part, slope + (own * one).sum(axis=0)
                return total, slope * unit

            found = minimize(
                loss,
                none,
                jac=True,
                bounds=list(zip(-_MOST_SHIFT / unit, _MOST_SHIFT / unit, strict=True)),
                options={"ftol": 1e-15, "gtol": 1e-8},
            )
        shifts = (found.x * unit).clip(-_MOST_SHIFT, _MOST_SHIFT)
        return np.repeat(shifts, self.n_alike)

    def scored(self, outputs: Tensor) -> Tensor:
        """Return predictions that scorers compare with encoded targets, (n, ...)."""
        return outputs

    @abstractmethod
    def predict(self, outputs: Array) -> Array:
        """Return the main prediction of one network: probabilities, numbers or risks.

        It is written with functions of NumPy that `GraphTensor` has as well. `outputs`
        have the shape (n, n_outputs), in float64.
        """

    def combine(
        self, predict: Callable[..., Array], outputs: Sequence[Array], *args: Any
    ) -> Array:
        """Return the ensemble mean of a prediction.

        Means of probabilities and of numbers in the units of the targets: means of
        outputs were as good for classes, and worse for counts, whose outputs are
        logarithms.

        `predict` is a method of the objective that makes a prediction of the outputs of
        one network, (n, n_outputs), and of further arguments.
        """
        each = [predict(one, *args) for one in outputs]
        if len(each) == 1:
            return each[0]
        # Divided before they are added up, or the largest numbers would overflow.
        return reduce(operator.add, [one / len(each) for one in each])

    @property
    def predictions(self) -> Mapping[str, Callable[[Array], Array]]:
        """Methods whose results an ONNX graph returns, by the names of its outputs."""
        return {"prediction": self.predict}

    def onnx_outputs(
        self, graph: Graph, outputs: Sequence[str]
    ) -> dict[str, GraphTensor]:
        """Add all predictions of the ensemble to a graph, and return them by name.

        `outputs` are the names of the outputs of each network, shape (n, n_outputs).
        """
        tensors = [GraphTensor(graph, one, (self.n_outputs,)) for one in outputs]
        return {
            name: self.combine(predict, tensors)
            for name, predict in self.predictions.items()
        }

    def describe(self) -> dict[str, Any]:
        """Return the metadata of predictions, as entries of a JSON object."""
        return {"loss": self.name}


def is_multioutput(y: Any) -> bool:
    """Return whether targets have several columns."""
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    return len(shape) == 2 and shape[1] > 1


def refuse_other_shape(y: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise a ValueError if the number of targets differs from the first call.

    `shape` is that of the target of a row in the first call.
    """
    if y.shape[1:] != shape:
        then, now = (
            f"{s[0]} columns" if s else "1 column" for s in (shape, y.shape[1:])
        )
        raise ValueError(
            f"y has {now}, and had {then} in the first call. Give as many, or fit "
            "from the start."
        )
