"""Networks as ONNX graphs: for padded histories, and for a single event.

In the graph for padded histories, the batch graph, each row has a sequence of its own,
(N, T), whose steps are events, or moments (see below). Layers are the standard
operators of ONNX, which run faster than a loop over steps. The step graph has no code
of its own: it runs `StepReader` and `StepHead` on tensors of the graph.

`GraphTensor` infers shapes, with one row for any number of rows. The number of steps is
another unknown axis: its size in shapes is `STEPS`, a number that no other axis has.

If steps are moments, events of padded histories are joined to them. `moments` (N, T)
has the number of the moment of each event. The sums over the events of a moment are one
node, ``ScatterElements`` with the reduction ``add``::

    moments        4 4 4 5 6 6 0 0     lengths 6; the last two are padding
    is_begin       1 . . 1 1 . x x     the number differs from that of the event before
    is_end         . . 1 1 . 1 x x     the last event, or the next one begins a moment
    step           0 0 0 1 2 2 2 2     padding adds 0 to the last step
    n_moments      3                   S, the number of steps, is the largest of a batch

A product with a matrix of (N, S, T) zeros and ones would need memory that grows with
the square of the length of histories.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sklearn_seqcrm._recurrent.data import Array, MomentChannels
from sklearn_seqcrm._recurrent.network import (
    LOWEST,
    HistoryNetwork,
    HistoryReader,
    OpenMoment,
    PaddedOutputs,
    StepHead,
    StepReader,
    order_poolings,
)
from sklearn_seqcrm._recurrent.objectives import Exposure, Graph, GraphTensor

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

    From steps (N, T, D), the inputs of the first layer, and their numbers `lengths`
    (N,), int32, 1 at least, to the outputs of the last layer, (N, T, H').
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


_INT64, _FAR = 7, 2**31 - 1  # ONNX's number of the type; the end of any axis


class PaddedMoments:
    """Moments of N rows with T padded events each.

    `numbers`, (N, T), are those of the moment of each event, which differ between
    adjoining moments, and `lengths`, (N,), the numbers of events; both int64.
    """

    lengths: Array  # (N,), int64: number of moments

    def __init__(self, numbers: Array, lengths: Array) -> None:
        self._graph = graph = numbers.graph
        self._is_seen, is_last, _ = compare_places(numbers, lengths)
        is_begin, is_end = self._ends(numbers.name)
        is_end = graph.add("Or", is_end, is_last.name)
        self._is_begin, self._is_end = (
            GraphTensor(graph, graph.add("And", one, self._is_seen.name), (STEPS,))
            for one in (is_begin, is_end)
        )
        begins = graph.add("Cast", self._is_begin.name, to=_INT64)
        one, axis = graph.constant(1, "int64"), graph.integers(1)
        number = graph.add("Sub", graph.add("CumSum", begins, one), one)
        # Padding repeats the last step, which an empty history does not have.
        number = graph.add("Max", number, graph.constant(0, "int64"))
        self._step = graph.add("Unsqueeze", number, graph.integers(2))  # (N, T, 1)
        n_moments = graph.add("ReduceSum", begins, axis, keepdims=0)  # (N,)
        self.lengths = GraphTensor(graph, n_moments, ())
        # At least one step, of which an empty history sees nothing.
        most = graph.add("ReduceMax", n_moments, axes=[0], keepdims=1)
        n_rows = graph.add("Shape", number, start=0, end=1)
        self._size = n_rows, graph.add("Max", most, one)  # N and S, of shape (1,)

    def _ends(self, numbers: str) -> tuple[str, str]:
        """Return whether events differ from the one before, and from the next one."""
        graph = self._graph
        zero, one, last, far = map(graph.integers, (0, 1, -1, _FAR))
        first = graph.add("Slice", numbers, zero, one, one)  # (N, 1)
        other = graph.add("Sub", first, graph.constant(1, "int64"))
        all_but_last = graph.add("Slice", numbers, zero, last, one)  # (N, T - 1)
        all_but_first = graph.add("Slice", numbers, one, far, one)
        before = graph.add("Concat", other, all_but_last, axis=1)  # (N, T)
        # The last place of a row is its last event or padding: any number will do.
        after = graph.add("Concat", all_but_first, first, axis=1)
        is_begin, is_end = (
            graph.add("Not", graph.add("Equal", numbers, shifted))
            for shifted in (before, after)
        )
        return is_begin, is_end

    def sum(self, numbers: Array, of: Array | None = None) -> Array:
        """Sum numbers (N, T, K) of the events of each moment, to shape (N, S, K).

        `of`, (N, T), are the events to sum; None: all.
        """
        graph, of = self._graph, self._is_seen if of is None else of
        kept: Array = np.where(of[..., None], numbers, 0.0)
        shape = graph.add("Shape", kept.name)
        width = graph.integers(*numbers.shape[-1:])
        size = graph.add("Concat", *self._size, width, axis=0)
        zeros = graph.add("Expand", graph.constant(0.0), size)  # (N, S, K)
        place = graph.add("Expand", self._step, shape)  # (N, T, K)
        sums = graph.add(
            "ScatterElements", zeros, place, kept.name, axis=1, reduction="add"
        )
        return GraphTensor(graph, sums, (STEPS, *numbers.shape[-1:]))

    def ages(self, logs: Array) -> Array:
        """Return the age of the last event of each moment, (N, S).

        `logs`, (N, T, 1), are logarithms of 1 + age.
        """
        return (np.exp(self.sum(logs, self._is_end)) - 1.0)[..., 0]

    def join(self, values: Array, places: MomentChannels) -> OpenMoment:
        """Return the sums over moments, (N, S, .), of channels (N, T, F).

        Vectors are left out, as each network has its own.
        """
        counts = self.sum(values[..., :1] * 0.0 + 1.0)
        return OpenMoment(
            counts,
            counts,  # no pooling reads the interarrival time in a batch
            self.sum(values[..., places.times :], self._is_begin),
            self.sum(values[..., : places.times]),
            counts[..., :0],
        )

    def embed(
        self,
        joined: OpenMoment,
        codes: Array | None,
        places: MomentChannels,
        reader: HistoryReader,
    ) -> Array:
        """Return the inputs of the first layer of a reader, (N, S, D)."""
        if vectors := look_up(reader, self._graph, codes):
            sums = self.sum(np.concatenate(vectors, axis=-1))
            joined = joined._replace(vectors=sums)
        return joined.join(places)


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
