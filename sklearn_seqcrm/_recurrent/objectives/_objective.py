"""The contract of objectives, sample weights, and functions that several share."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.data import ALONE, Array, Inputs, Ranks, RowData
from sklearn_seqcrm._recurrent.objectives._onnx_graph import Graph, GraphTensor
from sklearn_seqcrm._sklearn_compat import check_sample_weight


class Objective(nn.Module, ABC):
    """Targets, loss and predictions of a network.

    It is the criterion of the net. A net that is trained further keeps its objective:
    what `learn` found in the first targets scales all later ones. An objective holds
    numbers and NumPy arrays, and no tensors: skorch maps the tensors of a pickled net
    to the available device, and would miss those of a criterion.

    Attributes
    ----------
    name : str
        Name of the loss.
    n_outputs : int
        Number of outputs of the network for a row, set by `learn`.
    n_targets : int
        Number of targets of a row, set by `learn`.
    is_linear : bool
        Whether outputs are means in the unit of the targets, so that the network adds
        a linear part.
    lowers_rate : bool
        Whether the learning rate falls at the end of a training without validation
        rows, because a single row may have a gradient so large that the loss jumps.
    """

    name: ClassVar[str]
    is_linear: ClassVar[bool] = False
    lowers_rate: ClassVar[bool] = False
    n_outputs = 1
    n_targets = 1
    # Whether `fit` ends with `adjust`, which needs the outputs for all rows.
    adjusts: ClassVar[bool] = False

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Parameters that must not change when training is continued."""
        return {"loss": self.name}

    @abstractmethod
    def read(self, y: Any) -> np.ndarray:
        """Validate the targets of any call; shape (n,) or (n, k).

        Raises
        ------
        ValueError
            If targets are missing or of a wrong type.
        """

    @abstractmethod
    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Learn scales, classes or bins from the targets of the first call.

        Parameters
        ----------
        y : ndarray of shape (n,) or (n, k)
            Targets as `read` returns them.
        weight : ndarray of shape (n,), float64, or None
            Weight of each row.
        """

    def check(self, y: np.ndarray, is_full_data: bool) -> None:
        """Refuse targets of a later call that do not fit those of the first call.

        Parameters
        ----------
        y : ndarray of shape (n,) or (n, k)
            Targets as `read` returns them.
        is_full_data : bool
            Whether these are all rows, as in `fit`, or a part, as in `partial_fit`.
        """

    @abstractmethod
    def encode(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Return targets as `forward` takes them, shape (n,) or (n, k)."""

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Return the outputs of the best constant model, shape (n_outputs,).

        Parameters
        ----------
        target : ndarray of shape (n,) or (n, k)
            Encoded targets of the first call.
        weight : ndarray of shape (n,), float64, or None
            Weight of each row.
        """
        return np.zeros(self.n_outputs)

    @property
    def n_alike(self) -> int:
        """Number of consecutive outputs that start with similar weights."""
        return 1

    def linear_target(self, target: np.ndarray) -> np.ndarray:
        """Return targets of the linear part for each output, (n,) or (n, n_outputs).

        Only objectives with `is_linear` have one. `target` are encoded targets.
        """
        return target

    def strata(self, target: Any) -> np.ndarray | None:
        """Return groups with rows in training and in validation, if possible, (n,).

        `target` are encoded targets. None: any split is as good as any other.
        """
        return None

    @abstractmethod
    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row, shape (n,), without weights.

        Parameters
        ----------
        outputs : Tensor of shape (n, n_outputs)
            Outputs of the network.
        target : Tensor of shape (n,) or (n, k)
            Encoded targets.
        """

    def adjust(
        self, outputs: list[np.ndarray], target: np.ndarray, weight: np.ndarray | None
    ) -> None:
        """Calibrate predictions at the end of `fit`, if `adjusts`.

        Parameters
        ----------
        outputs : list of ndarray of shape (n, n_outputs), float64
            Outputs of each network for all rows.
        target : ndarray of shape (n,) or (n, k)
            Encoded targets.
        weight : ndarray of shape (n,) or None
            Weight of each row.
        """

    def scored(self, outputs: Tensor) -> Tensor:
        """Return predictions that scorers compare with encoded targets, (n, ...)."""
        return outputs

    @abstractmethod
    def predict(self, outputs: Array) -> Array:
        """Return the main prediction of one network: probabilities, numbers or risks.

        It is written with functions of NumPy that `GraphTensor` has as well.

        Parameters
        ----------
        outputs : ndarray of shape (n, n_outputs), float64, or GraphTensor
            Outputs of the network.
        """

    def combine(
        self, predict: Callable[..., Array], outputs: Sequence[Array], *args: Any
    ) -> Array:
        """Return the ensemble mean of a prediction.

        Means of probabilities and of numbers in the units of the targets: means of
        outputs were as good for classes, and worse for counts, whose outputs are
        logarithms.

        Parameters
        ----------
        predict : callable
            `predict`, or another method of the objective that makes a prediction of
            the outputs of one network.
        outputs : sequence of ndarray of shape (n, n_outputs) or GraphTensor
            Outputs of each network.
        *args : object
            Further arguments of `predict`.
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
        """Add all predictions of the ensemble to a graph of ONNX.

        Parameters
        ----------
        graph : Graph
            Where the nodes are added.
        outputs : sequence of str
            Outputs of each network, shape (n, n_outputs).

        Returns
        -------
        dict of str to GraphTensor
            Tensors by the name of the prediction.
        """
        tensors = [GraphTensor(graph, one, (self.n_outputs,)) for one in outputs]
        return {
            name: self.combine(predict, tensors)
            for name, predict in self.predictions.items()
        }

    def describe(self) -> dict[str, Any]:
        """Return the metadata of predictions, as entries of a JSON object."""
        return {"loss": self.name}


# A formula that loss and prediction share is written with the functions that torch and
# NumPy have by the same names (``array_namespace(x).exp``), `sigmoid` and these two.


def softplus(x: Any) -> Any:
    """Return ``log(1 + exp(x))``."""
    if isinstance(x, Tensor):
        return nn.functional.softplus(x)
    return np.logaddexp(0, x)


def softmax(x: Array) -> Array:
    """Return ``exp(x)`` over its sum along axis 1."""
    if hasattr(x, "softmax"):  # one node of a graph
        return x.softmax(1)
    odds = np.exp(x - x.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def is_multioutput(y: Any) -> bool:
    """Return whether targets have several columns."""
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    return len(shape) == 2 and shape[1] > 1


def refuse_other_shape(y: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise a ValueError if the number of targets differs from the first call.

    Parameters
    ----------
    y : ndarray of shape (n,) or (n, k)
        Targets.
    shape : tuple of int
        Shape of the target of a row in the first call.
    """
    if y.shape[1:] != shape:
        then, now = (
            f"{s[0]} columns" if s else "1 column" for s in (shape, y.shape[1:])
        )
        raise ValueError(
            f"y has {now}, and had {then} in the first call. Give as many, or fit "
            "from the start."
        )


# Sample weights are scaled by powers of 2, so that sums and products keep their digits.
# In `fit`, only ratios of weights matter. Calls of `partial_fit` are parts of one long
# table, whose weights are relative to the first call: to the exponent of its largest
# weight while weights are multiplied, and to its mean weight in the loss.

# Weights below this share of the largest one are 0 in float32.
_NO_WEIGHT = float(np.finfo("float32").smallest_subnormal)


def exponent_of(numbers: np.ndarray) -> int:
    """Return the exponent of the smallest power of 2 larger than all numbers.

    Finite numbers over it (`np.ldexp`) lie between -1 and 1 and lose no digit. The
    exponent is 0 if all numbers are 0, or there are none.
    """
    return int(np.frexp(np.abs(numbers).max(initial=0.0))[1])


def has_weight(weight: np.ndarray) -> np.ndarray:
    """Return whether the weight of each row is positive in float32."""
    return weight > _NO_WEIGHT * weight.max()


def with_weight(
    y: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the targets and weights of the rows that have a weight."""
    if weight is None:
        return y, None
    used = has_weight(weight)
    return y[used], weight[used]


def _refuse_infinite(weight: np.ndarray) -> np.ndarray:
    """Return the weights; raise a ValueError if scaling made one infinite."""
    n_infinite = int(np.isinf(weight).sum())
    if n_infinite:
        raise ValueError(
            f"{n_infinite} of {len(weight)} weights are more than 1e38 times as large "
            "as the mean weight of the first call, to which they are relative. Give "
            "all calls weights on one scale, or fit from the start."
        )
    return weight


def read_weight(
    sample_weight: Any, data: RowData, ranks: Ranks = ALONE
) -> np.ndarray | None:
    """Return validated weights of the rows of all ranks, float64, or None.

    Raises
    ------
    ValueError
        If there is not one for each row, or weights are negative, not finite, or all
        zero.
    """
    if sample_weight is None:
        return None

    def read() -> np.ndarray:
        # scikit-learn may refuse weights of zero, and rows of other ranks have others.
        if ranks.size > 1 and _is_zero(sample_weight, len(data)):
            return np.zeros(len(data))
        return check_sample_weight(sample_weight, data.static, ensure_non_negative=True)

    weight = ranks.concatenate(ranks.attempt(read))
    if not weight.any():
        raise ValueError("sample_weight is zero for all rows.")
    return weight.astype("float64")


def _is_zero(sample_weight: Any, n_rows: int) -> bool:
    """Return whether weights are zero for all rows."""
    weight = np.asarray(sample_weight)
    return (
        weight.shape == (n_rows,) and weight.dtype.kind in "biuf" and not weight.any()
    )


def in_unit_of(
    weight: np.ndarray | None, exponent: int, n_rows: int
) -> np.ndarray | None:
    """Return weights over a power of 2; None means weights of 1."""
    if weight is None and not exponent:
        return None
    weight = np.ones(n_rows) if weight is None else weight
    with np.errstate(over="ignore"):
        return _refuse_infinite(np.ldexp(weight, -exponent))


def drop_weightless(inputs: Inputs) -> Inputs:
    """Drop rows of weight 0, on which no result may depend."""
    weight = inputs.data.weight
    if weight is None or (used := has_weight(weight)).all():
        return inputs
    return inputs.take(np.flatnonzero(used))


def mean_weight(data: RowData) -> float:
    """Return the mean weight of the rows, 1 without weights."""
    return 1.0 if data.weight is None else data.weight.mean()


def scale_to_mean_weight(data: RowData, mean: float | None = None) -> RowData:
    """Return the rows with weights divided by a mean weight.

    Parameters
    ----------
    data : RowData
        Rows with weights of any size; none are weights of 1.
    mean : float or None, default=None
        Divisor. None: their own mean, so that the mean becomes 1.
    """
    mean = mean_weight(data) if mean is None else mean
    if data.weight is None and mean == 1:
        return data
    weight = np.ones(len(data)) if data.weight is None else data.weight
    with np.errstate(over="ignore"):
        scaled = _refuse_infinite((weight / mean).astype("float32"))
    return replace(data, weight=scaled)
