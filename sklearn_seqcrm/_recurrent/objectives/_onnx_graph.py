"""Graphs of ONNX, written node by node or by NumPy's functions.

They are not traced by `torch.onnx.export`: one of its exporters needs a further
package, the other is deprecated, and it wrote the batch size of its example into the
graph.

What objectives predict is written once, with NumPy. `GraphTensor` implements NumPy's
protocols, so that the same code adds nodes to a graph:

    np.exp(-x) @ weights        x an ndarray: computes (n, k) numbers in float64
                                x a GraphTensor: adds the nodes Neg, Exp, MatMul
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from scipy.special import expit

# Opset 17 and its IR version are from 2022: all current runtimes read them.
OPSET, _IR = 17, 8


class Graph:
    """A graph to which nodes are added; tensors are referred to by name.

    A node or constant that the graph has already is not added again: predictions of
    one objective share most of their formulas.

    Parameters
    ----------
    name : str
        Name of the graph.

    Raises
    ------
    ImportError
        If onnx is not installed.
    """

    def __init__(self, name: str) -> None:
        try:
            import onnx
        except ImportError as error:
            raise ImportError(
                "export_onnx needs onnx: pip install 'sklearn-seqcrm[onnx]'."
            ) from error
        self._onnx = onnx
        self._name = name
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        # Outputs of each node, and names of constants, by what they compute.
        self._known: dict[Any, list[str]] = {}

    def input(self, name: str, dtype: str, shape: Sequence[str | int]) -> str:
        """Add an input; named axes have any length.

        Parameters
        ----------
        name : str
            Its name.
        dtype : {"float32", "int64", "bool"}
            Its dtype.
        shape : sequence of str or int
            Its axes.

        Returns
        -------
        str
            Its name.
        """
        self._inputs.append(self._typed(name, dtype, shape))
        return name

    def output(self, name: str, tensor: str, shape: Sequence[str | int]) -> None:
        """Make a tensor of float32 an output.

        Parameters
        ----------
        name : str
            Name of the output.
        tensor : str
            The tensor.
        shape : sequence of str or int
            Its axes.
        """
        self._nodes.append(self._onnx.helper.make_node("Identity", [tensor], [name]))
        self._outputs.append(self._typed(name, "float32", shape))

    def constant(self, values: Any, dtype: str = "float32") -> str:
        """Return a constant tensor.

        Parameters
        ----------
        values : array-like
            Its values.
        dtype : str, default="float32"
            Its dtype.

        Returns
        -------
        str
            Its name.
        """
        array = np.ascontiguousarray(np.asarray(values, dtype))
        # ascontiguousarray makes (1,) of a 0-d array, which ONNX distinguishes.
        array = array.reshape(np.shape(values))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            name = f"constant_{len(self._constants)}"
            self._constants.append(self._onnx.numpy_helper.from_array(array, name))
            self._known[key] = [name]
        return self._known[key][0]

    def integers(self, *values: int) -> str:
        """Return a constant vector of int64, such as axes and shapes."""
        return self.constant(values, "int64")

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output.

        Parameters
        ----------
        operator : str
            ONNX operator.
        *inputs : str
            Names of its inputs; "" omits one.
        **attributes : object
            Its attributes.

        Returns
        -------
        str
            Name of the output.
        """
        return self.add_several(operator, inputs, 1, **attributes)[0]

    def add_several(
        self, operator: str, inputs: Sequence[str], n_outputs: int, **attributes: Any
    ) -> list[str]:
        """Add a node of several outputs, as `add` does, and return their names."""
        key = (operator, *inputs, n_outputs, repr(sorted(attributes.items())))
        if key not in self._known:
            first = f"{operator}_{len(self._nodes)}"
            outputs = [f"{first}_{i}" for i in range(n_outputs)]
            # With a name: onnxruntime 1.19 joins slices to nodes named after them, and
            # refuses two nodes of one name.
            node = self._onnx.helper.make_node(
                operator, inputs, outputs, name=first, **attributes
            )
            self._nodes.append(node)
            self._known[key] = outputs
        return self._known[key]

    def join(self, tensors: Sequence[str], axis: int) -> str:
        """Concatenate tensors."""
        if len(tensors) == 1:
            return tensors[0]
        return self.add("Concat", *tensors, axis=axis)

    def to_bytes(self, notes: dict[str, str]) -> bytes:
        """Return the checked graph in the format of an ONNX file.

        Parameters
        ----------
        notes : dict of str to str
            Metadata of the file.
        """
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, self._constants
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR,
            producer_name="sklearn_seqcrm",
        )
        helper.set_model_props(model, notes)
        self._onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()

    def _typed(self, name: str, dtype: str, shape: Sequence[str | int]) -> Any:
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, list(shape))


class GraphTensor(np.lib.mixins.NDArrayOperatorsMixin):
    """A float32 tensor in a graph, on which NumPy's functions add nodes.

    It has the operators, ufuncs, functions and methods that predictions are written
    with. Anything else raises a TypeError that names the function.

    Parameters
    ----------
    graph : Graph
        Where nodes are added.
    name : str
        Name of the tensor.
    shape : tuple of int
        Its axes but the first, which is that of the rows.
    """

    def __init__(self, graph: Graph, name: str, shape: Sequence[int]) -> None:
        self.graph, self.name, self.shape = graph, name, tuple(shape)

    def _new(self, operator: str, *inputs: str, shape: Any, **attributes: Any) -> Any:
        name = self.graph.add(operator, self.name, *inputs, **attributes)
        return GraphTensor(self.graph, name, shape)

    def _in_graph(self, value: Any) -> str:
        """Name of an operand: a tensor, or numbers that become a constant."""
        if isinstance(value, GraphTensor):
            return value.name
        with np.errstate(over="ignore"):
            single = np.asarray(value, "float32")
        refuse_infinite(value, single)
        return self.graph.constant(single)

    # NumPy calls these two instead of its own function if an argument is a GraphTensor
    # (NEP 13 and NEP 18). NotImplemented becomes a TypeError that names the function.

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any
    ) -> Any:
        function = _COMPOSED.get((ufunc, method))
        if function is not None:
            return function(*inputs, **kwargs)
        if method != "__call__" or ufunc not in _OPERATORS or kwargs:
            return NotImplemented
        names = [self._in_graph(one) for one in inputs]
        shapes = [
            (1, *one.shape) if isinstance(one, GraphTensor) else np.shape(one)
            for one in inputs
        ]
        # Shapes as NumPy infers them, with one row for any number of rows.
        shape = ufunc(*map(np.ones, shapes)).shape[1:]
        return GraphTensor(self.graph, self.graph.add(_OPERATORS[ufunc], *names), shape)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        if func not in _FUNCTIONS:
            return NotImplemented
        return _FUNCTIONS[func](*args, **kwargs)

    def __getitem__(self, key: Any) -> GraphTensor:
        """Return slices, single positions and new axes; rows stay all of them."""
        if isinstance(key, GraphTensor):  # rows to gather, as embeddings do
            shape = *key.shape, *self.shape
            return self._new("Gather", key.name, shape=shape, axis=0)
        key = key if isinstance(key, tuple) else (key,)
        if Ellipsis not in key:
            key = (*key, Ellipsis)
        # Write out the ellipsis: one full slice for each axis that the key leaves out.
        n_left_out = 2 + len(self.shape) - sum(one is not None for one in key)
        at = key.index(Ellipsis)
        key = (*key[:at], *[slice(None)] * n_left_out, *key[at + 1 :])
        new_axes = [
            axis
            for axis, one in enumerate(k for k in key if not isinstance(k, int))
            if one is None
        ]
        found, shape = self, np.ones((1, *self.shape))[key].shape[1:]
        # The last axis first, as a single position drops its axis; then new axes.
        for axis, one in reversed(list(enumerate(k for k in key if k is not None))):
            size = self.shape[axis - 1] if axis else None
            if isinstance(one, int):
                assert size is not None
                at = self.graph.constant(one % size, "int64")
                found = found._new("Gather", at, shape=shape, axis=axis)
            elif size is not None and one.indices(size)[:2] != (0, size):
                numbers = (*one.indices(size)[:2], axis)
                bounds = [self.graph.integers(n) for n in numbers]
                found = found._new("Slice", *bounds, shape=shape)
        if new_axes:
            found = found._new("Unsqueeze", self.graph.integers(*new_axes), shape=shape)
        return found

    def clip(self, min: Any = None, max: Any = None) -> GraphTensor:
        """Return the numbers within bounds; bounds outside float32 are ignored."""
        most = float(np.finfo("float32").max)
        bounds = [
            "" if one is None or abs(one) > most else self.graph.constant(one)
            for one in (min, max)
        ]
        return self._new("Clip", *bounds, shape=self.shape) if any(bounds) else self

    def reshape(self, *shape: int) -> GraphTensor:
        """Return the same numbers of each row with other axes; the first is -1."""
        return self._new("Reshape", self.graph.integers(*shape), shape=shape[1:])

    def swapaxes(self, axis1: int, axis2: int) -> GraphTensor:
        """Exchange two axes."""
        order = list(range(1 + len(self.shape)))
        order[axis1], order[axis2] = order[axis2], order[axis1]
        shape = [(-1, *self.shape)[axis] for axis in order[1:]]
        return self._new("Transpose", shape=shape, perm=order)

    def max(self, axis: int, keepdims: bool = False) -> GraphTensor:
        """Return the largest number along an axis."""
        shape = self._without(axis, keepdims)
        return self._new("ReduceMax", shape=shape, axes=[axis], keepdims=int(keepdims))

    def sum(self, axis: int, keepdims: bool = False) -> GraphTensor:
        """Add up along an axis."""
        shape, axes = self._without(axis, keepdims), self.graph.integers(axis)
        return self._new("ReduceSum", axes, shape=shape, keepdims=int(keepdims))

    def _without(self, axis: int, keepdims: bool) -> tuple[int, ...]:
        return np.ones((1, *self.shape)).sum(axis=axis, keepdims=keepdims).shape[1:]

    def softmax(self, axis: int) -> GraphTensor:
        """Return ``exp(x)`` over its sum along an axis."""
        return self._new("Softmax", shape=self.shape, axis=axis)

    def cumsum(self, axis: int) -> GraphTensor:
        """Add up along an axis, up to each place."""
        at = self.graph.constant(axis, "int64")
        return self._new("CumSum", at, shape=self.shape)


def refuse_infinite(values: Any, single: np.ndarray) -> None:
    """Raise a ValueError for finite numbers that float32, as ONNX has it, cannot hold.

    Parameters
    ----------
    values : array-like, float64
        Numbers.
    single : ndarray, float32
        The same numbers.
    """
    if (np.isinf(single) & np.isfinite(values)).any():
        raise ValueError(
            "The targets exceed the range of float32, in which ONNX computes. Divide "
            "them by a constant before fit."
        )


def _where(condition: GraphTensor, first: Any, second: Any) -> GraphTensor:
    names = [condition._in_graph(one) for one in (first, second)]
    shapes = [getattr(one, "shape", ()) for one in (condition, first, second)]
    shape = np.broadcast_shapes(*shapes)
    return condition._new("Where", *names, shape=shape)


def _concatenate(tensors: Sequence[GraphTensor], axis: int) -> GraphTensor:
    graph = tensors[0].graph
    shape = np.concatenate([np.ones((1, *one.shape)) for one in tensors], axis).shape
    joined = graph.join([one.name for one in tensors], axis)
    return GraphTensor(graph, joined, shape[1:])


def _expm1(x: GraphTensor) -> GraphTensor:
    # exp(x) - 1 would lose the digits of a small x. tanh(x / 2) is
    # (exp(x) - 1) / (exp(x) + 1), and accurate around 0.
    return (np.exp(x) + 1) * np.tanh(x / 2)


def _logaddexp(x: Any, y: Any) -> GraphTensor:
    # Over the larger one, so that no exponential overflows.
    top = np.maximum(x, y)
    return top + np.log(np.exp(x - top) + np.exp(y - top))


def _log_sum_exp(x: Any, axis: int, initial: float) -> Any:
    top = np.maximum(x.max(axis, keepdims=True), initial)
    total = np.exp(x - top).sum(axis, keepdims=True) + np.exp(initial - top)
    return (top + np.log(total)).sum(axis)  # of a single number: the axis goes


def _running_maximum(x: GraphTensor, axis: int) -> GraphTensor:
    assert axis == -1
    columns: list[Any] = [x[..., i : i + 1] for i in range(x.shape[-1])]
    for i in range(1, len(columns)):
        columns[i] = np.maximum(columns[i - 1], columns[i])
    return _concatenate(columns, len(x.shape))


_OPERATORS: dict[Any, str] = {
    np.add: "Add",
    np.subtract: "Sub",
    np.multiply: "Mul",
    np.true_divide: "Div",
    np.matmul: "MatMul",
    np.negative: "Neg",
    np.exp: "Exp",
    np.log: "Log",
    np.sinh: "Sinh",
    np.tanh: "Tanh",
    np.maximum: "Max",
    np.minimum: "Min",
    np.less: "Less",
    np.greater: "Greater",
    expit: "Sigmoid",
}
# Functions for which ONNX has no operator, by other functions of NumPy.
_COMPOSED: dict[Any, Callable[..., Any]] = {
    (np.exp2, "__call__"): lambda x: np.exp(np.log(2) * x),
    (np.expm1, "__call__"): _expm1,
    (np.log1p, "__call__"): lambda x: np.log(1 + x),
    (np.square, "__call__"): lambda x: x * x,
    (np.power, "__call__"): lambda x, n: reduce(operator.mul, [x] * n),
    (np.ldexp, "__call__"): lambda x, n: x * np.ldexp(1.0, np.minimum(n, 1023)),
    (np.logaddexp, "__call__"): _logaddexp,
    (np.logaddexp, "reduce"): _log_sum_exp,
    (np.maximum, "accumulate"): _running_maximum,
}
_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.where: _where,
    np.concatenate: _concatenate,
    np.zeros_like: lambda x: x - x,
}
