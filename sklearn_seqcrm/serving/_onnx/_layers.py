"""The batch graph: embeddings, recurrent layers and poolings of padded histories.

Each row has a sequence of its own, (N, T), whose steps are events, or moments (see
`_sources`). Layers are the standard operators of ONNX, which run faster than a loop
over steps. The step graph has no code of its own: it runs `StepReader` and `StepHead`
on tensors of the graph.

`GraphTensor` infers shapes, with one row for any number of rows. The number of steps is
another unknown axis: its size in shapes is `STEPS`, a number that no other axis has.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm._recurrent.data import Array
from sklearn_seqcrm._recurrent.network import (
    HistoryReader,
    PaddedOutputs,
    order_poolings,
)
from sklearn_seqcrm._recurrent.objectives import Graph, GraphTensor

STEPS = 7919


def constant(graph: Graph, values: np.ndarray) -> GraphTensor:
    """Return a constant of the graph, such as embeddings that codes then index."""
    return GraphTensor(graph, graph.constant(values), values.shape[1:])


def embed(reader: HistoryReader, values: Array, codes: Array | None) -> Array:
    """Concatenate channels (N, T, F) and embeddings of codes (N, T, C): (N, T, D)."""
    return np.concatenate([values, *look_up(reader, values.graph, codes)], axis=-1)


def look_up(reader: HistoryReader, graph: Graph, codes: Array | None) -> list[Array]:
    """Return the embeddings of codes (N, T, C), (N, T, dim) for each field."""
    found = []
    for i, embedding in enumerate(reader.embeddings):
        assert codes is not None
        vectors = constant(graph, embedding.weight.detach().numpy())
        found.append(vectors[codes[..., i]])
    return found


def run_layers(reader: HistoryReader, steps: Array, lengths: Array) -> Array:
    """Run the recurrent layers of a reader, or raise a TypeError for its cell.

    Parameters
    ----------
    reader : HistoryReader
        A trained reader.
    steps : GraphTensor of shape (N, T, D)
        Inputs of the first layer.
    lengths : GraphTensor of shape (N,), int32
        Number of steps, 1 at least.

    Returns
    -------
    GraphTensor of shape (N, T, H')
        Outputs of the last layer.
    """
    operator, graph = reader.cell.onnx, steps.graph
    if operator is None:
        raise TypeError(
            f"{reader.cell.__name__} is not exportable: ONNX has no operator of it. "
            "Fit with another cell."
        )
    outputs = steps.swapaxes(0, 1).name  # (T, N, D), as the operators take them
    for directions in reader.layers:
        weights = [_weights_of(one, operator.gates) for one in directions]
        inputs = [graph.constant(np.stack(each)) for each in zip(*weights, strict=True)]
        outputs = graph.add(
            operator.name,
            outputs,
            *inputs,
            lengths.name,
            hidden_size=reader.hidden_size,
            direction="forward" if len(directions) == 1 else "bidirectional",
            **operator.attributes,
        )  # (T, directions, N, H)
        outputs = graph.add("Transpose", outputs, perm=[0, 2, 1, 3])
        outputs = graph.add("Reshape", outputs, graph.integers(0, 0, -1))  # (T, N, H')
    outputs = graph.add("Transpose", outputs, perm=[1, 0, 2])
    size = reader.hidden_size * len(reader.layers[-1])
    return GraphTensor(graph, outputs, (STEPS, size))


def _weights_of(layer: Any, gates: tuple[int, ...]) -> list[np.ndarray]:
    """Return weights of inputs and states, and biases, with the gates as ONNX has them.

    torch and ONNX stack gates along the first axis, in different orders. ONNX
    concatenates both biases.
    """
    found = {
        name.removesuffix("_l0"): np.concatenate(
            [np.split(one.detach().numpy(), len(gates))[gate] for gate in gates]
        )
        for name, one in layer.named_parameters()
    }
    biases = np.concatenate([found["bias_ih"], found["bias_hh"]])
    return [found["weight_ih"], found["weight_hh"], biases]


def compare_places(padded: Array, lengths: Array) -> tuple[Array, Array, Array]:
    """Compare the places of a tensor (N, T, ...) with lengths (N,), int64.

    Returns whether a place holds a step or an event, and the last one, (N, T), and
    whether a row has any, (N, 1).
    """
    graph = padded.graph
    zero, one = (graph.constant(i, "int64") for i in (0, 1))
    n_steps = graph.add("Shape", padded.name, start=1, end=2)
    steps = graph.add("Range", zero, graph.add("Squeeze", n_steps), one)  # (T,)
    ends = graph.add("Unsqueeze", lengths.name, graph.integers(1))  # (N, 1)
    last = graph.add("Sub", ends, one)
    is_seen, is_last = (
        GraphTensor(graph, graph.add(operator, steps, other), (STEPS,))
        for operator, other in (("Less", ends), ("Equal", last))
    )
    is_filled = GraphTensor(graph, graph.add("Greater", ends, zero), (1,))
    return is_seen, is_last, is_filled


def pool(reader: HistoryReader, rows: PaddedOutputs) -> Array:
    """Pool the outputs of rows, shape (N, output_size)."""
    poolings = list(reader.poolings.values())
    pooled = [flatten(poolings[i].pool_padded(rows)) for i in order_poolings(poolings)]
    return np.concatenate(pooled, axis=1)


def flatten(pooled: Array) -> Array:
    """Return (N, P, H) as (N, P * H)."""
    return pooled.reshape(-1, int(np.prod(pooled.shape)))
