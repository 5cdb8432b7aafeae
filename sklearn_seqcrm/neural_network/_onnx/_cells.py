"""Embedded events and recurrent layers, as nodes of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from sklearn_seqcrm.neural_network._onnx_graph import Graph
from sklearn_seqcrm.neural_network._reader import HistoryReader

# By the layer of torch: the operator, where its gates stand among those of torch, and
# its attributes.
_OPERATORS: dict[Any, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    nn.LSTM: ("LSTM", (0, 3, 1, 2), {}),
    nn.GRU: ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    nn.RNN: ("RNN", (0,), {}),
}


def embed(graph: Graph, reader: HistoryReader, values: str, codes: str | None) -> str:
    """Channels (..., F) beside vectors of the codes (..., C), shape (..., D)."""
    parts = [values]
    for i, embedding in enumerate(reader.embeddings):
        assert codes is not None
        code = graph.add("Gather", codes, graph.constant(i, "int64"), axis=-1)
        vectors = graph.constant(embedding.weight.detach().numpy())
        parts.append(graph.add("Gather", vectors, code, axis=0))
    return graph.join(parts, axis=-1)


def run_layers(
    graph: Graph,
    reader: HistoryReader,
    steps: str,
    lengths: str = "",
    states: Sequence[Sequence[str]] | None = None,
) -> tuple[str, list[list[str]]]:
    """Run the recurrent layers of a reader.

    Parameters
    ----------
    graph : Graph
        Where the nodes are added.
    reader : HistoryReader
        What was trained.
    steps : str
        Embedded events, shape (T, N, D).
    lengths : str, default=""
        Number of events, 1 at least, shape (N,), int32; "": all T.
    states : sequence of sequence of str or None, default=None
        Of each layer the states that it goes on from, one or, of an LSTM, two, shape
        (1, N, H). None: at the beginning.

    Returns
    -------
    outputs : str
        Outputs of the last layer, shape (T, N, H').
    states : list of list of str
        Last states of each layer.
    """
    after = []
    for depth, directions in enumerate(reader.layers):
        operator, order, attributes = _OPERATORS[type(directions[0])]
        weights = [_weights_of(one, order) for one in directions]
        inputs = [graph.constant(np.stack(each)) for each in zip(*weights, strict=True)]
        before = list(states[depth]) if states is not None else []
        n_states = 2 if operator == "LSTM" else 1
        outputs, *last = graph.add_several(
            operator,
            [steps, *inputs, lengths, *before],
            1 + n_states,
            hidden_size=directions[0].hidden_size,
            direction="forward" if len(directions) == 1 else "bidirectional",
            **attributes,
        )
        # From (T, directions, N, H) to (T, N, directions * H).
        outputs = graph.add("Transpose", outputs, perm=[0, 2, 1, 3])
        steps = graph.add("Reshape", outputs, graph.integers(0, 0, -1))
        after.append(last)
    return steps, after


def _weights_of(layer: Any, order: Sequence[int]) -> list[np.ndarray]:
    """Weights of inputs and states, and biases, with the gates in the order of ONNX."""
    found = {
        name: one.detach().numpy().reshape(len(order), layer.hidden_size, -1)
        for name, one in layer.named_parameters()
    }
    own = {name: one[list(order)] for name, one in found.items()}
    bias = [own["bias_ih_l0"].ravel(), own["bias_hh_l0"].ravel()]
    rows = len(order) * layer.hidden_size
    return [
        own["weight_ih_l0"].reshape(rows, -1),
        own["weight_hh_l0"].reshape(rows, -1),
        np.concatenate(bias),
    ]
