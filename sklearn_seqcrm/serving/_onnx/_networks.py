"""Networks as graphs of ONNX: of padded histories, and of a single event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sklearn_seqcrm._recurrent.network import (
    FAR,
    HistoryNetwork,
    HistoryReader,
    Last,
    Linear,
    LinearPart,
)
from sklearn_seqcrm._recurrent.objectives import Exposure, Graph
from sklearn_seqcrm.serving._onnx._layers import (
    PaddedPoolings,
    StepPooling,
    embed,
    read_poolings,
    refuse_unknown,
    run_layers,
)


class Sizes(NamedTuple):
    """What the inputs of the graphs are, beside the networks.

    Parameters
    ----------
    prefixes : tuple of str
        What stands before the names of the inputs of each history column.
    n_static : int
        Row features and statics, with the exposure if there is one.
    n_sums : int
        Sums of the histories.
    exposure : Exposure or None
        Which of the statics is the exposure.
    """

    prefixes: tuple[str, ...]
    n_static: int
    n_sums: int
    exposure: Exposure | None


class StateStart(NamedTuple):
    """What the state of a history is before its first event, in all networks.

    Parameters
    ----------
    size : int
        Numbers of a vector.
    vectors : list of float
        What each vector is full of.
    weights : list of float
        The other numbers.
    """

    size: int
    vectors: list[float]
    weights: list[float]


def outputs_of_padded(
    graph: Graph, networks: Sequence[HistoryNetwork], sizes: Sizes
) -> list[str]:
    """Outputs of each network for padded histories, shape (N, n_outputs).

    Inputs of the graph are the tensors of `HistoryPadder`, and the sums beside them.
    """
    read: list[list[str]] = [[] for _ in networks]
    for i, prefix in enumerate(sizes.prefixes):
        first = networks[0].readers[i]
        n_channels = _n_channels(first)
        axes = ["n", f"{prefix}steps"]
        values = graph.input(f"{prefix}values", "float32", [*axes, n_channels + 1])
        codes = _codes_of(graph, prefix, first, axes)
        lengths = graph.input(f"{prefix}lengths", "int64", ["n"])
        values, logarithms = graph.split(values, [n_channels, 1], axis=2)
        one = graph.constant(1.0)
        ages = graph.add("Squeeze", logarithms, graph.integers(2))
        ages = graph.add("Sub", graph.add("Exp", ages), one)
        # An operator may refuse sequences without events; the poolings leave them out.
        least = graph.add("Max", lengths, graph.constant(1, "int64"))
        least = graph.add("Cast", least, to=6)  # int32
        for network, pooled in zip(networks, read, strict=True):
            reader = network.readers[i]
            steps = embed(graph, reader, values, codes)
            steps = graph.add("Transpose", steps, perm=[1, 0, 2])
            outputs, _ = run_layers(graph, reader, steps, least)
            _refuse_others(reader)
            poolings = PaddedPoolings(graph, outputs, lengths, ages)
            pooled.append(poolings.pool(reader))
    return _outputs(graph, networks, sizes, read)


def outputs_of_step(
    graph: Graph, networks: Sequence[HistoryNetwork], sizes: Sizes
) -> tuple[list[str], list[StateStart]]:
    """Outputs of each network after an event, if there is one, and starts of states.

    Inputs of the graph are an event and the state before it, of each history column;
    among its outputs is the state after it.
    """
    read: list[list[str]] = [[] for _ in networks]
    starts = []
    for i, prefix in enumerate(sizes.prefixes):
        first = networks[0].readers[i]
        names = {key: f"{prefix}{key}" for key in ("values", "gap", "age", "event")}
        values = graph.input(names["values"], "float32", ["n", _n_channels(first)])
        codes = _codes_of(graph, prefix, first, ["n"])
        gap, age = (
            graph.add(
                "Unsqueeze",
                graph.input(names[key], "float32", ["n"]),
                graph.integers(1),
            )
            for key in ("gap", "age")
        )
        event = graph.input(names["event"], "bool", ["n"])
        states = [_StepReader(graph, one.readers[i]) for one in networks]
        start = StateStart(
            first.layers[0][0].hidden_size,
            [number for one in states for number in one.start[0]],
            [number for one in states for number in one.start[1]],
        )
        starts.append(start)
        before = [
            _State(graph, f"{prefix}vectors", [len(one.start[0]) for one in states]),
            _State(graph, f"{prefix}weights", [len(one.start[1]) for one in states]),
        ]
        of_networks = [before[0].pieces(start.size), before[1].pieces(0)]
        after: list[list[str | None]] = [[], []]
        for state, pooled, *old in zip(states, read, *of_networks, strict=True):
            new = state.advance(old, values, codes, gap)
            kept = [
                _where_there_is_one(graph, event, now, was, n_axes)
                for now, was, n_axes in zip(new, old, (2, 1), strict=True)
            ]
            pooled.append(state.read(kept, age))
            for own, piece in zip(after, kept, strict=True):
                own.append(piece)
        for one, own in zip(before, after, strict=True):
            one.end(own)
    return _outputs(graph, networks, sizes, read), starts


class _State:
    """One of the two tensors of the state of a history: its vectors, or its weights.

    Parameters
    ----------
    graph : Graph
        Where the nodes are added.
    name : str
        Its name among the inputs.
    sizes : list of int
        How many vectors, or numbers, each network has.
    """

    def __init__(self, graph: Graph, name: str, sizes: list[int]) -> None:
        self._graph, self._name, self._sizes = graph, name, sizes

    def pieces(self, size: int) -> list[Any]:
        """Those of each network, of vectors of a size or, if it is 0, of numbers."""
        if not sum(self._sizes):
            return [None] * len(self._sizes)
        self._shape: list[Any] = ["n", sum(self._sizes), *([size] if size else [])]
        whole = self._graph.input(self._name, "float32", self._shape)
        return self._graph.split(whole, self._sizes, axis=1)

    def end(self, pieces: Sequence[str | None]) -> None:
        """Make those of all networks after the event an output, if there are any."""
        found = [one for one in pieces if one is not None]
        if found:
            joined = self._graph.join(found, axis=1)
            self._graph.output(f"{self._name}_after", joined, self._shape)


def _where_there_is_one(
    graph: Graph, event: str, now: str | None, was: str | None, n_axes: int
) -> str | None:
    """State after the event of those rows that have one, and as it was of others."""
    if now is None or was is None:
        return None
    is_one = graph.add("Unsqueeze", event, graph.integers(*range(1, 1 + n_axes)))
    return graph.add("Where", is_one, now, was)


class _StepReader:
    """A reader that takes events in one by one, and its packed state.

    The state is that of `EventReader`: vectors of cells, then those of poolings.
    """

    def __init__(self, graph: Graph, reader: HistoryReader) -> None:
        _refuse_others(reader)
        self._graph = graph
        self._reader = reader
        self._poolings = [
            None if isinstance(one, Last) else StepPooling(graph, one)
            for one in reader.poolings.values()
        ]
        self._own = [one for one in self._poolings if one is not None]
        self._n_states = 2 if reader.layers[0][0].mode == "LSTM" else 1
        n_cells = self._n_states * len(reader.layers)
        self._sizes = [1] * n_cells + [one.n_vectors for one in self._own]
        self.start: tuple[list[float], list[float]] = ([0.0] * n_cells, [])
        for pooling in self._own:
            self.start[0].extend(pooling.start[: pooling.n_vectors])
            self.start[1].extend(pooling.start[pooling.n_vectors :])

    def advance(
        self, state: Sequence[str | None], values: str, codes: str | None, gap: str
    ) -> list[str | None]:
        """Vectors (N, V, H) and weights (N, W) after an event."""
        graph = self._graph
        steps = embed(graph, self._reader, values, codes)
        steps = graph.add("Unsqueeze", steps, graph.integers(0))
        n_cells = len(self._sizes) - len(self._own)
        pieces, of_weights = self._split(state)
        cells = [
            graph.add("Transpose", one, perm=[1, 0, 2]) for one in pieces[:n_cells]
        ]
        by_layer = [
            cells[at : at + self._n_states] for at in range(0, n_cells, self._n_states)
        ]
        outputs, after = run_layers(graph, self._reader, steps, states=by_layer)
        output = graph.add("Transpose", outputs, perm=[1, 0, 2])  # (N, 1, H)
        new = [
            graph.add("Transpose", cell, perm=[1, 0, 2])
            for states in after
            for cell in states
        ]
        new_weights = []
        pooled = zip(self._own, pieces[n_cells:], of_weights, strict=True)
        for pooling, sums, own in pooled:
            sums, numbers = pooling.update(sums, own, output, gap)
            new.append(sums)
            if numbers is not None:
                new_weights.append(numbers)
        joined = graph.join(new_weights, axis=1) if new_weights else None
        return [graph.join(new, axis=1), joined]

    def read(self, state: Sequence[str | None], age: str) -> str:
        """What a row sees at an age (N, 1) of the last event, (N, output_size)."""
        graph = self._graph
        pieces, of_weights = self._split(state)
        n_cells = len(self._sizes) - len(self._own)
        at_last = pieces[n_cells - self._n_states]
        last = graph.add("Squeeze", at_last, graph.integers(1))
        own = {
            pooling: (sums, numbers)
            for pooling, sums, numbers in zip(
                self._own, pieces[n_cells:], of_weights, strict=True
            )
        }
        found = read_poolings(
            self._poolings, lambda pooling: pooling.read(*own[pooling], age), last
        )
        return graph.join(found, axis=1)

    def _split(self, state: Sequence[str | None]) -> tuple[list[str], list[Any]]:
        """Vectors of each cell and pooling, and weights of each pooling or None."""
        vectors, weights = state
        assert vectors is not None
        pieces = self._graph.split(vectors, self._sizes, axis=1)
        sizes = [one.n_weights for one in self._own if one.n_weights]
        split: list[str] = []
        if weights is not None:
            split = self._graph.split(weights, sizes, axis=1)
        each = iter(split)
        return pieces, [next(each) if one.n_weights else None for one in self._own]


def _outputs(
    graph: Graph,
    networks: Sequence[HistoryNetwork],
    sizes: Sizes,
    read: Sequence[Sequence[str]],
) -> list[str]:
    """Outputs of each network for rows whose histories have been pooled."""
    static = graph.input("static", "float32", ["n", sizes.n_static])
    offset = None
    if sizes.exposure is not None:
        static, offset = _without_exposure(graph, static, sizes)
    beside = static
    if sizes.n_sums:
        sums = graph.input("sums", "float32", ["n", sizes.n_sums])
        beside = graph.join([static, sums], axis=1)
    outputs = []
    for network, pooled in zip(networks, read, strict=True):
        numbers = graph.join([*pooled, static], axis=1)
        layers = [one for one in network.head if isinstance(one, Linear)]
        for depth, layer in enumerate(layers):
            if depth:
                numbers = graph.add("Relu", numbers)
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            numbers = graph.linear(numbers, weight, bias)
        if offset is not None:
            assert network.slope is not None
            added = graph.add("Mul", offset, graph.constant(network.slope.numpy()))
            numbers = graph.add("Add", numbers, added)
        if network.linear is not None:
            numbers = graph.add("Add", numbers, _line(graph, network.linear, beside))
        outputs.append(numbers)
    return outputs


def _without_exposure(graph: Graph, static: str, sizes: Sizes) -> tuple[str, str]:
    """Other statics, and the logarithm of the exposure over its mean, (N, 1)."""
    assert sizes.exposure is not None
    column = sizes.exposure.column
    others = np.delete(np.arange(sizes.n_static), column)
    found = graph.add("Gather", static, graph.integers(column), axis=1)
    mean = graph.constant(sizes.exposure.mean)
    offset = graph.add("Sub", graph.add("Log", found), mean)
    return graph.add("Gather", static, graph.integers(*others), axis=1), offset


def _line(graph: Graph, part: LinearPart, inputs: str) -> str:
    away = graph.add("Sub", inputs, graph.constant(part.center.numpy()))
    # An infinite spread is that of an input without a say.
    away = graph.add("Mul", away, graph.constant(1 / part.spread.numpy()))
    bounds = graph.constant(-FAR), graph.constant(FAR)
    away = graph.add("Clip", away, *bounds)
    return graph.linear(away, part.weights.weight.detach().numpy(), None)


def _codes_of(
    graph: Graph, prefix: str, reader: HistoryReader, axes: Sequence[str]
) -> str | None:
    """The input of codes, if there are any."""
    n_codes = len(reader.embeddings)
    if not n_codes:
        return None
    return graph.input(f"{prefix}codes", "int64", [*axes, n_codes])


def _n_channels(reader: HistoryReader) -> int:
    size = reader.layers[0][0].input_size
    return size - sum(one.embedding_dim for one in reader.embeddings)


def _refuse_others(reader: HistoryReader) -> None:
    for pooling in reader.poolings.values():
        refuse_unknown(pooling)
