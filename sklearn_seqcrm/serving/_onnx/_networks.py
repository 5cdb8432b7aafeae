"""Networks as ONNX graphs: for padded histories, and for a single event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sklearn_seqcrm._recurrent.data import Array
from sklearn_seqcrm._recurrent.network import (
    LOWEST,
    HistoryNetwork,
    HistoryReader,
    PaddedOutputs,
    StepHead,
    StepReader,
)
from sklearn_seqcrm._recurrent.objectives import Exposure, Graph, GraphTensor
from sklearn_seqcrm.serving._onnx._layers import (
    STEPS,
    PaddedMoments,
    compare_places,
    constant,
    embed,
    flatten,
    pool,
    run_layers,
)


class Sizes(NamedTuple):
    """Names and sizes of inputs of the graphs that networks do not determine."""

    # Prefix of the names of the inputs, for each history column.
    prefixes: tuple[str, ...]
    n_static: int  # row features and statics, with the exposure if there is one
    n_sums: int  # sums of the histories
    exposure: Exposure | None  # the static that is the exposure, if any


def outputs_of_padded(
    graph: Graph, networks: Sequence[HistoryNetwork], sizes: Sizes
) -> list[str]:
    """Return the outputs of each network for padded histories, shape (N, n_outputs).

    Inputs of the graph are the tensors of `HistoryPadder`, and the moments and sums
    beside them.
    """
    pooled: list[list[Array]] = [[] for _ in networks]
    for i, prefix in enumerate(sizes.prefixes):
        inputs_of, lengths, ages = _padded_steps(graph, prefix, networks[0].readers[i])
        # An operator may refuse sequences without events; the poolings leave them out.
        longer = graph.add("Max", lengths.name, graph.constant(1, "int64"))
        least = GraphTensor(graph, graph.add("Cast", longer, to=6), ())  # int32
        for network, own in zip(networks, pooled, strict=True):
            reader = network.readers[i]
            outputs = run_layers(reader, inputs_of(reader), least)
            places = compare_places(outputs, lengths)
            own.append(pool(reader, PaddedOutputs(outputs, ages, *places)))
    return _outputs(graph, networks, sizes, pooled)


def _padded_steps(
    graph: Graph, prefix: str, first: HistoryReader
) -> tuple[Callable[[HistoryReader], Array], Array, Array]:
    """Add the inputs of one history column, whose steps may be moments.

    Returns the function that returns the inputs of the first layer of a reader,
    (N, T, D), the lengths (N,) and the ages of steps (N, T).
    """
    n_channels, axes = _n_channels(first), ["n", f"{prefix}steps"]
    # (N, T, F + 1): the logarithm of an event's age is the last channel.
    inputs = _input(graph, f"{prefix}values", "float32", [*axes, n_channels + 1])
    codes = _codes_of(graph, prefix, first, axes)
    lengths = _input(graph, f"{prefix}lengths", "int64", ["n"])
    values, places = inputs[..., :n_channels], first.moments
    if places is None:
        ages = np.exp(inputs[..., n_channels]) - 1.0  # (N, T)
        return partial(embed, values=values, codes=codes), lengths, ages
    numbers = _input(graph, f"{prefix}moments", "int64", axes)
    moments = PaddedMoments(numbers, lengths)
    inputs_of = partial(moments.embed, moments.join(values, places), codes, places)
    return inputs_of, moments.lengths, moments.ages(inputs[..., n_channels:])


def outputs_of_step(
    graph: Graph, networks: Sequence[HistoryNetwork], sizes: Sizes
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the outputs of each network after an optional event, and initial states.

    Inputs of the graph are an event and the state before it, of each history column;
    among its outputs is the state after it. Packed states (see `RecurrentState`) of all
    networks lie one after the other: ``vectors`` (N, V, H) and ``weights`` (N, W).

    The initial state of a history, in types of JSON, has the ``size`` H of a vector,
    for each of its ``vectors`` the value of all elements, and the ``weights``.
    """
    steps = [
        _step_of_history(graph, networks, i, prefix)
        for i, prefix in enumerate(sizes.prefixes)
    ]
    pooled = [[of_each[k] for of_each, _ in steps] for k in range(len(networks))]
    return _outputs(graph, networks, sizes, pooled), [start for _, start in steps]


def _step_of_history(
    graph: Graph, networks: Sequence[HistoryNetwork], i: int, prefix: str
) -> tuple[list[Array], dict[str, Any]]:
    """Add the step of a history column, the i-th, to a graph.

    Returns the pooled history of each network, and the initial state.
    """
    first = networks[0].readers[i]
    values = _input(graph, f"{prefix}values", "float32", ["n", _n_channels(first)])
    codes = _codes_of(graph, prefix, first, ["n"])
    interarrival, age = (
        _input(graph, f"{prefix}{key}", "float32", ["n"])
        for key in ("interarrival_time", "age")
    )
    event = _input(graph, f"{prefix}event", "bool", ["n"])
    begins: Any = True
    if first.moments is not None:
        begins = _input(graph, f"{prefix}begins", "bool", ["n"])
    readers = [StepReader(one.readers[i], partial(constant, graph)) for one in networks]
    packed = zip(*(reader.start.pack() for reader in readers), strict=True)
    # JSON has no infinities.
    start = [np.maximum(np.concatenate(each), LOWEST) for each in packed]
    full_of, weights_of = start[0][:, 0].tolist(), start[1].tolist()
    shapes = [["n", *one.shape] for one in start]
    vectors = _input(graph, f"{prefix}vectors", "float32", shapes[0])
    if weights_of:
        weights = _input(graph, f"{prefix}weights", "float32", shapes[1])
    else:
        weights = vectors[..., 0, :0]  # (N, 0)
    # Packed states of all networks have the same shapes, (N, V, H) and (N, W).
    v, w = len(full_of) // len(networks), len(weights_of) // len(networks)
    pooled, after = [], []
    for k, reader in enumerate(readers):
        was = vectors[..., k * v : k * v + v, :], weights[..., k * w : k * w + w]
        state = reader.start.unpack(*was)
        new = reader.update(state, values, codes, interarrival, begins).pack()
        # Rows without an event keep their state.
        kept = (
            np.where(event[..., None, None], new[0], was[0]),  # (N, V, H)
            np.where(event[..., None], new[1], was[1]),  # (N, W)
        )
        pooled.append(flatten(reader.read(reader.start.unpack(*kept), age)))
        after.append(kept)
    all_after: list[Array] = [
        np.concatenate(each, axis=1) for each in zip(*after, strict=True)
    ]
    graph.output(f"{prefix}vectors_after", all_after[0].name, shapes[0])
    if weights_of:
        graph.output(f"{prefix}weights_after", all_after[1].name, shapes[1])
    size = first.hidden_size
    return pooled, {"size": size, "vectors": full_of, "weights": weights_of}


def _outputs(
    graph: Graph,
    networks: Sequence[HistoryNetwork],
    sizes: Sizes,
    pooled: Sequence[Sequence[Array]],
) -> list[str]:
    """Return the outputs of each network for rows whose histories have been pooled."""
    static = _input(graph, "static", "float32", ["n", sizes.n_static])
    offset = None
    if sizes.exposure is not None:
        static, offset = _without_exposure(static, sizes.exposure)
    linear_inputs = static
    if sizes.n_sums:
        sums = _input(graph, "sums", "float32", ["n", sizes.n_sums])
        linear_inputs = np.concatenate([static, sums], axis=1)
    return [
        StepHead(network).outputs(own, static, offset, linear_inputs).name
        for network, own in zip(networks, pooled, strict=True)
    ]


def _without_exposure(static: Array, exposure: Exposure) -> tuple[Array, Array]:
    """Return the other statics, and the log of the exposure over its mean, (N, 1)."""
    column = exposure.column
    others = [static[:, :column], static[:, column + 1 :]]
    offset = np.log(static[:, column : column + 1]) - exposure.mean
    return np.concatenate(others, axis=1), offset


def _input(graph: Graph, name: str, dtype: str, shape: Sequence[str | int]) -> Array:
    sizes = [STEPS if isinstance(one, str) else one for one in shape[1:]]
    return GraphTensor(graph, graph.input(name, dtype, shape), sizes)


def _codes_of(
    graph: Graph, prefix: str, reader: HistoryReader, axes: Sequence[str]
) -> Array | None:
    """Return the input of codes, if there are any."""
    n_codes = len(reader.embeddings)
    if not n_codes:
        return None
    return _input(graph, f"{prefix}codes", "int64", [*axes, n_codes])


def _n_channels(reader: HistoryReader) -> int:
    """Return the number of channels of an event, F."""
    if reader.moments is not None:
        return reader.moments.n_channels
    size = reader.layers[0][0].input_size
    return size - sum(one.embedding_dim for one in reader.embeddings)
