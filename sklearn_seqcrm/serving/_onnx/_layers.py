"""Embeddings, recurrent layers and poolings as nodes of ONNX.

The arithmetic is that of `EventPooling.update` and `read`, and of `Pooling` in a batch
of sequences that each have a single row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from sklearn_seqcrm._recurrent.network import (
    Attention,
    BothEnds,
    Decay,
    HistoryReader,
    Last,
    Max,
    Mean,
    Pooling,
    WeightedPooling,
)
from sklearn_seqcrm._recurrent.objectives import Graph

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


# Stands for minus infinity, which JSON cannot write.
LOWEST = float(np.finfo("float32").min)
_FORMS = (Attention, BothEnds, Decay, Last, Max, Mean)


def refuse_unknown(pooling: Pooling) -> None:
    """Raise a TypeError for a pooling that has no form here."""
    if type(pooling) not in _FORMS:
        raise TypeError(f"{type(pooling).__name__} has no form in ONNX here.")


class PaddedPoolings:
    """Pools the outputs of rows that have a sequence each.

    Parameters
    ----------
    graph : Graph
        Where the nodes are added.
    outputs : str
        Outputs of the reader, shape (T, N, H).
    lengths : str
        Number of events, shape (N,), int64.
    ages : str
        Age of each event in typical gaps, shape (N, T); any number in padding.
    """

    def __init__(self, graph: Graph, outputs: str, lengths: str, ages: str) -> None:
        self._graph = graph
        self._by_step = outputs
        self._outputs = graph.add("Transpose", outputs, perm=[1, 0, 2])  # (N, T, H)
        self._ages = ages
        n_steps = graph.add("Shape", outputs, start=0, end=1)
        zero, one = (graph.constant(i, "int64") for i in (0, 1))
        n_steps = graph.add("Squeeze", n_steps)
        steps = graph.add("Range", zero, n_steps, one)
        ends = graph.add("Unsqueeze", lengths, graph.integers(1))  # (N, 1)
        self._seen = graph.add("Less", steps, ends)  # (N, T)
        last = graph.add("Equal", steps, graph.add("Sub", ends, one))
        self._is_last = graph.add("Cast", last, to=1)
        self._is_seen = graph.add("Cast", self._seen, to=1)
        self._filled = graph.add("Greater", ends, zero)  # (N, 1)

    def pool(self, reader: HistoryReader) -> str:
        """What each row sees, shape (N, output_size)."""
        before, after, weights = [], [], []
        for pooling in reader.poolings.values():
            if isinstance(pooling, WeightedPooling):
                weights.append(self._weigh(pooling))
            elif isinstance(pooling, BothEnds):
                before.append(self._both_ends(reader.layers[-1][0].hidden_size))
            else:
                after.append(self._largest())
        summed = [self._sum(self._graph.join(weights, axis=1))] if weights else []
        return self._graph.join([*before, *summed, *after], axis=1)

    def _weigh(self, pooling: Any) -> str:
        """Weights of all events, shape (N, P, T)."""
        graph = self._graph
        if isinstance(pooling, Last):
            return self._with_axis(self._is_last)
        if isinstance(pooling, Mean):
            return self._with_axis(self._is_seen)
        if isinstance(pooling, Attention):
            score = graph.linear(
                self._outputs, *_weights_of_attention(pooling)
            )  # (N, T, 1)
            score = graph.add("Squeeze", score, graph.integers(2))
            score = graph.add("Where", self._seen, score, graph.constant(LOWEST))
            top = graph.add("ReduceMax", score, axes=[1], keepdims=1)
            weight = graph.add("Exp", graph.add("Sub", score, top))
            return self._with_axis(graph.add("Mul", weight, self._is_seen))
        halvings = pooling.halvings.numpy()[:, None]
        ages = self._with_axis(self._ages)  # (N, 1, T)
        weight = _powers_of_half(graph, ages, halvings)
        return graph.add("Mul", weight, self._with_axis(self._is_seen))

    def _with_axis(self, numbers: str) -> str:
        return self._graph.add("Unsqueeze", numbers, self._graph.integers(1))

    def _sum(self, weights: str) -> str:
        graph = self._graph
        total = graph.add("ReduceSum", weights, graph.integers(2), keepdims=1)
        shares = graph.add("Div", weights, graph.add("Max", total, graph.constant(1.0)))
        summed = graph.add("MatMul", shares, self._outputs)  # (N, P, H)
        return graph.add("Reshape", summed, graph.integers(0, -1))

    def _largest(self) -> str:
        graph = self._graph
        seen = graph.add("Unsqueeze", self._seen, graph.integers(2))
        outputs = graph.add("Where", seen, self._outputs, graph.constant(LOWEST))
        largest = graph.add("ReduceMax", outputs, axes=[1], keepdims=0)
        return graph.add("Where", self._filled, largest, graph.constant(0.0))

    def _both_ends(self, size: int) -> str:
        """Both directions where each has read everything, shape (N, 2 * size)."""
        graph = self._graph
        at_last = self._sum(self._with_axis(self._is_last))
        first = graph.add("Gather", self._by_step, graph.constant(0, "int64"), axis=0)
        forward, _ = graph.split(at_last, [size, size], axis=1)
        _, backward = graph.split(first, [size, size], axis=1)
        filled = graph.add("Cast", self._filled, to=1)
        backward = graph.add("Mul", backward, filled)
        return graph.join([forward, backward], axis=1)


class StepPooling:
    """A pooling that takes events in one by one.

    Parameters
    ----------
    graph : Graph
        Where the nodes are added.
    pooling : EventPooling
        What was trained; any but `Last`, which has no state of its own.

    Attributes
    ----------
    n_vectors, n_weights : int
        Vectors and numbers of its state.
    start : list of float
        What each vector is full of, and each number is, before the first event.
    is_weighted : bool
        Whether it is one of the weighted sums, which stand before others.
    """

    def __init__(self, graph: Graph, pooling: Any) -> None:
        self._graph = graph
        self._pooling = pooling
        self.is_weighted = isinstance(pooling, WeightedPooling)
        self.n_vectors = pooling.n_vectors
        self.n_weights = self.n_vectors if self.is_weighted else 0
        self.start = [0.0] * (self.n_vectors + self.n_weights)
        if isinstance(pooling, Max):
            self.start = [LOWEST]
        if isinstance(pooling, Attention):
            self.n_weights += 1
            self.start.append(LOWEST)

    def update(
        self, sums: str, weights: str | None, output: str, gap: str
    ) -> tuple[str, str | None]:
        """State after an event.

        Parameters
        ----------
        sums : str
            Shape (N, P, H).
        weights : str or None
            Shape (N, n_weights); None without any.
        output : str
            Output of the reader for the event, shape (N, 1, H).
        gap : str
            Time since the event before, shape (N, 1).
        """
        graph = self._graph
        if weights is None:
            return graph.add("Max", sums, output), None
        if isinstance(self._pooling, Attention):
            return self._attend(sums, weights, output)
        fade = self._fade(gap)
        if fade is not None:
            weights = graph.add("Mul", weights, fade)
            fade = graph.add("Unsqueeze", fade, graph.integers(2))
            sums = graph.add("Mul", sums, fade)
        weights = graph.add("Add", weights, graph.constant(1.0))
        return graph.add("Add", sums, output), weights

    def _attend(self, sums: str, weights: str, output: str) -> tuple[str, str]:
        graph = self._graph
        score = graph.linear(output, *_weights_of_attention(self._pooling))  # (N, 1, 1)
        score = graph.add("Squeeze", score, graph.integers(2))
        weight, largest = graph.split(weights, [1, 1], axis=1)
        top = graph.add("Max", largest, score)
        fade, own = (
            graph.add("Exp", graph.add("Sub", one, top)) for one in (largest, score)
        )
        weight = graph.add("Add", graph.add("Mul", weight, fade), own)
        fade, own = (
            graph.add("Unsqueeze", one, graph.integers(2)) for one in (fade, own)
        )
        sums = graph.add("Mul", sums, fade)
        sums = graph.add("Add", sums, graph.add("Mul", output, own))
        return sums, graph.join([weight, top], axis=1)

    def read(self, sums: str, weights: str | None, age: str) -> str:
        """What a row sees at an age (N, 1) of the last event, shape (N, P * H)."""
        graph = self._graph
        if weights is None:
            is_one = graph.add("Greater", sums, graph.constant(LOWEST))
            sums = graph.add("Where", is_one, sums, graph.constant(0.0))
            return graph.add("Reshape", sums, graph.integers(0, -1))
        if self.n_weights > self.n_vectors:
            weights = graph.split(weights, [1, 1], axis=1)[0]
        fade, one = self._fade(age), graph.constant(1.0)
        if fade is None:
            share = graph.add("Div", one, graph.add("Max", weights, one))
        else:
            faded = graph.add("Mul", weights, fade)
            share = graph.add("Div", fade, graph.add("Max", faded, one))
        share = graph.add("Unsqueeze", share, graph.integers(2))
        pooled = graph.add("Mul", sums, share)
        return graph.add("Reshape", pooled, graph.integers(0, -1))

    def _fade(self, time: str) -> str | None:
        """Share of each weight that is left after a time (N, 1); None: all."""
        if not isinstance(self._pooling, Decay):
            return None
        return _powers_of_half(self._graph, time, self._pooling.halvings.numpy())


def read_poolings(
    poolings: Sequence[StepPooling | None], read: Callable[[Any], str], last: str
) -> list[str]:
    """What rows see of each pooling, weighted sums first, as a reader has them.

    Parameters
    ----------
    poolings : sequence of StepPooling or None
        Poolings in the order of the reader; None is `Last`.
    read : callable
        What a row sees of one of the others.
    last : str
        What it sees of `Last`.
    """
    found = [(last, True) if p is None else (read(p), p.is_weighted) for p in poolings]
    return [name for kind in (True, False) for name, is_one in found if is_one is kind]


def _powers_of_half(graph: Graph, times: str, halvings: np.ndarray) -> str:
    logarithms = graph.add("Mul", times, graph.constant(-np.log(2) * halvings))
    return graph.add("Exp", logarithms)


def _weights_of_attention(attention: Any) -> tuple[np.ndarray, np.ndarray]:
    layer = attention.score
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()
