"""Symbolic arrays: NumPy formulas that write an ONNX graph instead of computing.

A `SymbolicArray` implements NumPy's protocols: ``np.exp(a)``, ``a * b`` or ``a @ w``
adds a node to the graph and returns the symbolic array of its output. So the formulas
of cells, poolings and heads, which are written once, also make the step graph::

    >>> graph = Graph("example")                                     # doctest: +SKIP
    >>> a = SymbolicArray(graph, graph.input("a", "float32", [3]))   # doctest: +SKIP
    >>> np.exp(2 * a)      # adds the nodes Mul and Exp              # doctest: +SKIP

NumPy arrays and numbers beside a symbolic array become constants of float32. An
operation that is not listed here raises a TypeError which names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from sklearn_seqcrm._recurrent.objectives import Graph

_OPERATORS: dict[Any, str] = {
    np.add: "Add",
    np.subtract: "Sub",
    np.multiply: "Mul",
    np.divide: "Div",
    np.negative: "Neg",
    np.matmul: "MatMul",
    np.maximum: "Max",
    np.minimum: "Min",
    np.exp: "Exp",
    np.log: "Log",
    np.tanh: "Tanh",
    np.greater: "Greater",
    np.less: "Less",
    np.equal: "Equal",
}


class SymbolicArray(NDArrayOperatorsMixin):
    """A tensor of an ONNX graph that NumPy functions can be applied to.

    Parameters
    ----------
    graph : Graph
        The graph, to which operations add nodes.
    name : str
        Name of the tensor in the graph.
    """

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph = graph
        self.name = name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> SymbolicArray:
        """Add a node whose first input is this array."""
        node = self.graph.add(operator, self.name, *inputs, **attributes)
        return SymbolicArray(self.graph, node)

    def name_of(self, value: Any) -> str:
        """Return the name of a symbolic array, or of a new constant of float32."""
        if isinstance(value, SymbolicArray):
            return value.name
        return self.graph.constant(value)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any) -> Any:
        if ufunc is np.exp2:  # ONNX has no powers of 2
            return np.exp(np.log(2) * inputs[0])
        if method != "__call__" or ufunc not in _OPERATORS:
            raise _not_exportable(ufunc)
        names = map(self.name_of, inputs)
        return SymbolicArray(self.graph, self.graph.add(_OPERATORS[ufunc], *names))

    def __array_function__(
        self, function: Callable, types: Any, args: Any, kwargs: Any
    ) -> Any:
        if function is np.where:
            names = map(self.name_of, args)
            return SymbolicArray(self.graph, self.graph.add("Where", *names))
        if function is np.concatenate:
            names = map(self.name_of, args[0])
            return SymbolicArray(self.graph, self.graph.join(list(names), **kwargs))
        raise _not_exportable(function)

    def __getitem__(self, index: Any) -> SymbolicArray:
        """Return a part of the array.

        Parameters
        ----------
        index : SymbolicArray or tuple
            Rows to gather; or ``...`` and then, for the last axes, ``None`` (a new
            axis), an int, or a slice.
        """
        if isinstance(index, SymbolicArray):
            return self.add("Gather", index.name, axis=0)
        found, integers = self, self.graph.integers
        # From the last axis to the first, so that an axis that was added or taken does
        # not shift the next one: `axis` counts from the end.
        axis = 0
        for one in reversed(index[1:]):
            axis -= 1
            if one is None:
                found = found.add("Unsqueeze", integers(axis))
            elif isinstance(one, int):
                at = self.graph.constant(one, "int64")
                found = found.add("Gather", at, axis=axis)
                axis += 1
            elif one != slice(None):
                stop = np.iinfo("int64").max if one.stop is None else one.stop
                bounds = integers(one.start or 0), integers(stop), integers(axis)
                found = found.add("Slice", *bounds)
        return found

    def max(self, axis: int) -> SymbolicArray:
        """Return the largest numbers along an axis, which stays."""
        return self.add("ReduceMax", axes=[axis], keepdims=1)

    def sum(self, axis: int) -> SymbolicArray:
        """Return the sums along an axis, which stays."""
        return self.add("ReduceSum", self.graph.integers(axis), keepdims=1)

    def as_floats(self) -> SymbolicArray:
        """Return booleans as 0 and 1 in float32."""
        return self.add("Cast", to=1)

    def swap_axes(self) -> SymbolicArray:
        """Exchange the first two of three axes."""
        return self.add("Transpose", perm=[1, 0, 2])

    def split(self, n: int) -> list[SymbolicArray]:
        """Return n equal parts of the last axis."""
        names = self.graph.add_several("Split", [self.name], n, axis=-1)
        return [SymbolicArray(self.graph, name) for name in names]

    def flatten(self) -> SymbolicArray:
        """Return (N, P, H) as (N, P * H)."""
        return self.add("Reshape", self.graph.integers(0, -1))


def _not_exportable(function: Any) -> TypeError:
    return TypeError(
        f"export_onnx cannot write {function.__name__}: it is not among the operations "
        "of SymbolicArray. Use other operations in the formula, or add it there."
    )
