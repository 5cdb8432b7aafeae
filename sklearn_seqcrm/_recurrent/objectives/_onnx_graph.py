"""Graphs of ONNX, written node by node.

They are written by hand, and not traced by `torch.onnx.export`: one of its exporters
wants a package more, the other one is deprecated, and it wrote the batch of its example
into the graph. A layer of torch is an operator of ONNX anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# 17 is from 2022, and its IR as well: all runtimes of today read them.
OPSET, _IR = 17, 8


class OnnxOutput(NamedTuple):
    """What a network, or several together, say of N rows.

    Parameters
    ----------
    tensor : str
        The tensor, float32.
    shape : tuple of int
        Its axes but the first one.
    """

    tensor: str
    shape: tuple[int, ...]


class Graph:
    """A graph to which nodes are added; tensors are known by their names.

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

    def input(self, name: str, dtype: str, shape: Sequence[str | int]) -> str:
        """An input; axes that are named have any length.

        Parameters
        ----------
        name : str
            Its name.
        dtype : {"float32", "int64", "bool"}
            Type of its numbers.
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
            What it is called outside.
        tensor : str
            The tensor.
        shape : sequence of str or int
            Its axes.
        """
        self._nodes.append(self._onnx.helper.make_node("Identity", [tensor], [name]))
        self._outputs.append(self._typed(name, "float32", shape))

    def constant(self, values: Any, dtype: str = "float32") -> str:
        """A tensor that is part of the graph.

        Parameters
        ----------
        values : array-like
            Its numbers.
        dtype : str, default="float32"
            Their type.

        Returns
        -------
        str
            Its name.
        """
        name = f"constant_{len(self._constants)}"
        array = np.ascontiguousarray(np.asarray(values, dtype))
        array = array.reshape(np.shape(values))  # of a single number it made a vector
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def integers(self, *values: int) -> str:
        """A constant vector of int64, such as axes and shapes."""
        return self.constant(values, "int64")

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node of one output.

        Parameters
        ----------
        operator : str
            Its kind.
        *inputs : str
            Names of its inputs; "" for one that is left out.
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
        """A node of several outputs; as `add`, with all their names."""
        first = f"{operator}_{len(self._nodes)}"
        outputs = [f"{first}_{i}" for i in range(n_outputs)]
        node = self._onnx.helper.make_node(operator, inputs, outputs, **attributes)
        self._nodes.append(node)
        return outputs

    def join(self, tensors: Sequence[str], axis: int) -> str:
        """Tensors one after the other; a single one as it is."""
        if len(tensors) == 1:
            return tensors[0]
        return self.add("Concat", *tensors, axis=axis)

    def split(self, tensor: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Pieces of a tensor; a single one is the whole."""
        if len(sizes) == 1:
            return [tensor]
        inputs = [tensor, self.integers(*sizes)]
        return self.add_several("Split", inputs, len(sizes), axis=axis)

    def linear(self, numbers: str, weight: np.ndarray, bias: np.ndarray | None) -> str:
        """What a layer of torch with these weights makes of (..., D): (..., K)."""
        product = self.add("MatMul", numbers, self.constant(weight.T))
        if bias is None:
            return product
        return self.add("Add", product, self.constant(bias))

    def shaped(self, tensor: str, shape: Sequence[int]) -> str:
        """The numbers of N rows, with other axes but the first."""
        return self.add("Reshape", tensor, self.integers(-1, *shape))

    def mean(self, tensors: Sequence[str]) -> str:
        """Mean of tensors of one shape."""
        return tensors[0] if len(tensors) == 1 else self.add("Mean", *tensors)

    def to_bytes(self, notes: dict[str, str]) -> bytes:
        """The graph as a file holds it, checked.

        Parameters
        ----------
        notes : dict of str to str
            What stands in its metadata.
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
