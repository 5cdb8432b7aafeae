"""Graphs of ONNX, written node by node or by NumPy's functions.

They are not traced by `torch.onnx.export`: one of its exporters needs a further
package, the other is deprecated, and it wrote the batch size of its example into the
graph.

What objectives predict is written once, with NumPy. `GraphTensor` implements NumPy's
protocols, so that the same code adds nodes to a graph:

    np.exp(-x) @ weights        x an ndarray: computes (n, k) numbers in float64
                                x a GraphTensor: adds the nodes Mul, Exp, MatMul

For a single event a runtime spends its time on calls of nodes, not on arithmetic. So a
graph has few of them: slices of a tensor become one Split, constant factors one Mul.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import compress
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

# Opset 17 and its IR version are from 2022: all current runtimes read them.
OPSET, _IR = 17, 8


class _Node(NamedTuple):
    """A node, with the names of its tensors."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = MappingProxyType({})


class _Parts(NamedTuple):
    """All slices of one tensor along one axis, with their names by start and stop."""

    tensor: str
    axis: int
    size: int
    names: dict[tuple[int, int], str]

    def nodes(self, graph: Graph) -> list[_Node]:
        """Return one Split if the slices make up the whole axis, else a Slice each."""
        parts = dict(sorted(self.names.items()))
        starts, stops = zip(*parts, strict=True)
        sizes = np.subtract(stops, starts)
        # Runtimes may refuse parts of size 0.
        if (*starts, self.size) == (0, *stops) and sizes.all():
            inputs = self.tensor, graph.integers(*sizes)
            return [_Node("Split", inputs, tuple(parts.values()), {"axis": self.axis})]
        # Starts, stops and axes are vectors of one number.
        return [
            _Node(
                "Slice", (self.tensor, *map(graph.integers, (*one, self.axis))), (name,)
            )
            for one, name in parts.items()
        ]


class Graph:
    """A graph to which nodes are added; tensors are referred to by name.

    A node or constant that the graph has already is not added again: predictions of one
    objective share most of their formulas. Needs the package onnx.
    """

    def __init__(self, name: str) -> None:
        try:
            import onnx
        except ImportError as error:
            raise ImportError(
                "export_onnx needs onnx: pip install 'onnx>=1.17'."
            ) from error
        self._onnx = onnx
        self._name = name
        self._nodes: list[_Node | _Parts] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._output_names: dict[str, str] = {}  # by the tensor
        # Names of outputs of nodes, by operator and inputs, and of constants; slices.
        self._known: dict[Any, Any] = {}

    def input(self, name: str, dtype: str, shape: Sequence[str | int]) -> str:
        """Add an input, and return its name; named axes have any length."""
        self._inputs.append(self._typed(name, dtype, shape))
        return name

    def output(self, name: str, tensor: str, shape: Sequence[str | int]) -> None:
        """Make a tensor of float32 an output called `name`."""
        self._outputs.append(self._typed(name, "float32", shape))
        if tensor in self._output_names:  # a tensor has one name
            self._nodes.append(_Node("Identity", (tensor,), (name,)))
            tensor = name
        self._output_names[tensor] = name

    def constant(self, values: Any, dtype: str = "float32") -> str:
        """Return the name of a constant tensor of some values."""
        array = np.ascontiguousarray(np.asarray(values, dtype))
        # ascontiguousarray makes (1,) of a 0-d array, which ONNX distinguishes.
        array = array.reshape(np.shape(values))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            name = f"constant_{len(self._constants)}"
            self._constants.append(self._onnx.numpy_helper.from_array(array, name))
            self._known[key] = name
        return self._known[key]

    def integers(self, *values: int) -> str:
        """Return a constant vector of int64, such as axes and shapes."""
        return self.constant(values, "int64")

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output, and return the name of the output.

        `operator` is one of ONNX. `inputs` are names of tensors; "" omits an input.
        """
        key = (operator, *inputs, repr(sorted(attributes.items())))
        if key not in self._known:
            output = f"{operator}_{len(self._nodes)}"
            self._nodes.append(_Node(operator, inputs, (output,), attributes))
            self._known[key] = output
        return self._known[key]

    def part(self, tensor: str, axis: int, size: int, start: int, stop: int) -> str:
        """Return the slice ``start:stop`` of a tensor along an axis of a size."""
        parts = self._known.get((tensor, axis))
        if parts is None:
            parts = self._known[tensor, axis] = _Parts(tensor, axis, size, {})
            self._nodes.append(parts)
        name = f"{tensor}_{axis}_{start}_{stop}"
        return parts.names.setdefault((start, stop), name)

    def to_bytes(self, notes: dict[str, str]) -> bytes:
        """Return the checked graph in the format of an ONNX file, with metadata."""
        helper = self._onnx.helper
        needed, nodes = self._needed_nodes()
        graph = helper.make_graph(
            [self._make(node) for node in nodes],
            self._name,
            self._inputs,
            self._outputs,
            [one for one in self._constants if one.name in needed],
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

    def _needed_nodes(self) -> tuple[set[str], list[_Node]]:
        """Return the tensors that outputs need, and the nodes that make them.

        Others, such as parts of unpacked states, would be run by onnxruntime.
        """
        nodes: list[_Node] = []
        needed = set(self._output_names)
        for one in reversed(self._nodes):
            for node in one.nodes(self) if isinstance(one, _Parts) else [one]:
                if not needed.isdisjoint(node.outputs):
                    needed.update(node.inputs)
                    nodes.append(node)
        return needed, nodes[::-1]

    def _make(self, node: _Node) -> Any:
        """Return a node of ONNX.

        Tensors that are outputs get their names here: a node Identity for each would
        take two percent of a call of a step graph. Nodes have names as well:
        onnxruntime 1.19 makes names of new nodes of them, and refuses two equal ones.
        """
        inputs, outputs = (
            [self._output_names.get(name, name) for name in names]
            for names in (node.inputs, node.outputs)
        )
        return self._onnx.helper.make_node(
            node.operator, inputs, outputs, name=outputs[0], **node.attributes
        )

    def _typed(self, name: str, dtype: str, shape: Sequence[str | int]) -> Any:
        code = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, code, list(shape))


class GraphTensor(np.lib.mixins.NDArrayOperatorsMixin):
    """A float32 tensor in a graph, on which NumPy's functions add nodes.

    It has the operators, ufuncs, functions and methods that predictions are written
    with. Anything else raises a TypeError that names the function. Its shape lacks the
    first axis, which is that of the rows; `factor` is a constant by which the tensor
    called `name` is multiplied.
    """

    def __init__(
        self, graph: Graph, name: str, shape: Sequence[int], factor: Any = None
    ) -> None:
        self.graph, self.shape = graph, tuple(shape)
        self._unscaled, self._factor = name, factor
        # The tensor before its axis of size 1 went, and the axis.
        self._squeezed: tuple[GraphTensor, int] | None = None

    @property
    def name(self) -> str:
        """Name of the tensor, whose multiplication becomes a node only now.

        So ``2 ** (-x * rates)`` has one node for all constant factors.
        """
        if self._factor is None:
            return self._unscaled
        return self.graph.add("Mul", self._unscaled, self._in_graph(self._factor))

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
        shapes = [
            (1, *one.shape) if isinstance(one, GraphTensor) else np.shape(one)
            for one in inputs
        ]
        # Shapes as NumPy infers them, with one row for any number of rows.
        shape = ufunc(*map(np.ones, shapes)).shape[1:]
        constants = [one for one in inputs if not isinstance(one, GraphTensor)]
        if ufunc is np.multiply and constants:
            factor = constants[0] * (1.0 if self._factor is None else self._factor)
            return GraphTensor(self.graph, self._unscaled, shape, factor)
        if ufunc is np.maximum and np.array_equal(constants, [0]):
            return self._new("Relu", shape=shape)  # runtimes join it to a layer
        names = [self._in_graph(one) for one in inputs]
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
        if self._factor is not None and np.ndim(self._factor) == 0:
            unscaled = GraphTensor(self.graph, self._unscaled, self.shape)
            return unscaled[key] * self._factor
        key = self._without_ellipsis(key)
        new_axes = [
            axis
            for axis, one in enumerate(k for k in key if not isinstance(k, int))
            if one is None
        ]
        found, shape = self, np.ones((1, *self.shape))[key].shape[1:]
        # The last axis first, as a single position drops its axis; then new axes.
        for axis, one in reversed(list(enumerate(k for k in key if k is not None))):
            if axis:
                found = found._take(axis, one)
        if found._squeezed is not None and [found._squeezed[1]] == new_axes:
            return found._squeezed[0]
        if new_axes:
            found = found._new("Unsqueeze", self.graph.integers(*new_axes), shape=shape)
        return found

    def _without_ellipsis(self, key: Any) -> tuple[Any, ...]:
        """Return a key with one full slice for each axis that it leaves out."""
        key = key if isinstance(key, tuple) else (key,)
        if Ellipsis not in key:
            key = (*key, Ellipsis)
        n_left_out = 2 + len(self.shape) - sum(one is not None for one in key)
        at = key.index(Ellipsis)
        return (*key[:at], *[slice(None)] * n_left_out, *key[at + 1 :])

    def _take(self, axis: int, key: slice | int) -> GraphTensor:
        """Return a slice along an axis, or a single position, which drops the axis."""
        found, sizes = self, list(self.shape)
        size = sizes[axis - 1]
        place = slice(key % size, key % size + 1) if isinstance(key, int) else key
        start, stop, _ = place.indices(size)
        if (start, stop) != (0, size):
            part = self.graph.part(self.name, axis, size, start, stop)
            sizes[axis - 1] = stop - start
            found = GraphTensor(self.graph, part, sizes)
        if isinstance(key, int):
            whole = found
            del sizes[axis - 1]
            found = whole._new("Squeeze", self.graph.integers(axis), shape=sizes)
            found._squeezed = whole, axis
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
        ones: Any = np.ones((1, *self.shape))
        return ones.sum(axis=axis, keepdims=keepdims).shape[1:]

    def softmax(self, axis: int) -> GraphTensor:
        """Return ``exp(x)`` over its sum along an axis."""
        return self._new("Softmax", shape=self.shape, axis=axis)

    def cumsum(self, axis: int) -> GraphTensor:
        """Add up along an axis, up to each place."""
        at = self.graph.constant(axis, "int64")
        return self._new("CumSum", at, shape=self.shape)


def refuse_infinite(values: Any, single: np.ndarray) -> None:
    """Raise a ValueError for finite numbers that float32, as ONNX has it, cannot hold.

    `values` are numbers in float64, and `single` the same in float32.
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
    # Parts of size 0 would be further nodes.
    is_filled = [(1, *one.shape)[axis] > 0 for one in tensors]
    first, *others = list(compress(tensors, is_filled)) or tensors
    shape = np.concatenate([np.ones((1, *one.shape)) for one in tensors], axis).shape
    names = [one.name for one in others]
    return first._new("Concat", *names, shape=shape[1:], axis=axis) if names else first


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
    np.exp: "Exp",
    np.log: "Log",
    np.sqrt: "Sqrt",
    np.sinh: "Sinh",
    np.tanh: "Tanh",
    np.arcsinh: "Asinh",
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
    (np.negative, "__call__"): lambda x: x * -1.0,
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
