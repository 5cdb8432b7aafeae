"""A trained network for one event and one row at a time, in NumPy.

The formulas are those of `Cell`, `EventPooling` and `HistoryNetwork`. torch takes ten
times as long to call a layer as the arithmetic of a single event takes. The export to
ONNX runs the same code on symbolic arrays, which turns each operation into a node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._recurrent.data import (
    Array,
    MomentChannels,
    array_namespace,
    at_least_one,
)
from sklearn_seqcrm._recurrent.network._cells import Affine, State
from sklearn_seqcrm._recurrent.network._layers import Linear
from sklearn_seqcrm._recurrent.network._linear_part import scale_inputs
from sklearn_seqcrm._recurrent.network._module import HistoryNetwork
from sklearn_seqcrm._recurrent.network._poolings import EventPooling, order_poolings
from sklearn_seqcrm._recurrent.network._reader import HistoryReader, RecurrentState
from sklearn_seqcrm._recurrent.network._static_pieces import StaticPieces


def event_poolings(reader: HistoryReader) -> list[EventPooling]:
    """Return the poolings of a reader, or raise a TypeError for one without a state."""
    for pooling in reader.poolings.values():
        if not isinstance(pooling, EventPooling):
            raise TypeError(
                f"The pooling {type(pooling).__name__} cannot be updated event by "
                "event: it has no state, as EventPooling defines it."
            )
    return list(reader.poolings.values())


class OpenMoment(NamedTuple):
    """Sums over the events so far of the last moment, which may go on.

    In a state they are one array (..., K)::

        | count | time | channels of times | sums of the other channels | of vectors |
    """

    count: Array  # (..., 1): number of events; 0 before the first moment
    # (..., 1): time from the last event of the moment before to the last one of this
    # moment, in typical interarrival times.
    interarrival: Array
    # (..., F - t): channels of the times of its first event; t is their first position.
    times: Array
    channels: Array  # (..., t): sums of the channels before
    vectors: Array  # (..., E): sums of the vectors of levels, field by field

    @staticmethod
    def size(reader: HistoryReader) -> int:
        """Return K, the length of the array of a moment."""
        return 2 + reader.event_size

    @classmethod
    def of_event(
        cls, values: Array, vectors: Array, interarrival: Array, places: MomentChannels
    ) -> OpenMoment:
        """Return a moment of one event with channels (..., F) and vectors (..., E)."""
        interarrival = interarrival[..., None]
        return cls(
            interarrival * 0 + 1,
            interarrival,
            values[..., places.times :],
            values[..., : places.times],
            vectors,
        )

    @classmethod
    def unpack(cls, array: Array, places: MomentChannels) -> OpenMoment:
        """Return the parts of an array (..., K)."""
        n_times = places.n_channels - places.times
        return cls(
            array[..., :1],
            array[..., 1:2],
            array[..., 2 : 2 + n_times],
            array[..., 2 + n_times : 2 + places.n_channels],
            array[..., 2 + places.n_channels :],
        )

    def pack(self) -> Array:
        """Return one array (..., K)."""
        return array_namespace(self.count).concatenate([*self], axis=-1)

    def add(self, event: OpenMoment) -> OpenMoment:
        """Return the moment with one more event, which is a moment of its own."""
        return OpenMoment(
            self.count + event.count,
            self.interarrival + event.interarrival,
            self.times,
            self.channels + event.channels,
            self.vectors + event.vectors,
        )

    def join(self, places: MomentChannels) -> Array:
        """Return the input of the cell, (..., D), as `JoinedNumbers`, `count_levels`.

        For a moment without events it is finite.
        """
        xp = array_namespace(self.count)
        n = at_least_one(self.count)  # (..., 1)
        per_root = 1 / xp.sqrt(n)
        return xp.concatenate(
            [
                self.channels * (1 / n),
                self.times,
                self.channels[..., : places.n_decayed] * per_root,
                xp.log(n),
                self.vectors * per_root,
            ],
            axis=-1,
        )


class StepReader:
    """Recurrent layers and poolings, updated by one event of each history at a time.

    The reader has one direction, and poolings with a state (else TypeError). `constant`
    converts the embeddings to arrays that codes can index. `start` is the state of one
    history before its first event.
    """

    def __init__(
        self,
        reader: HistoryReader,
        constant: Callable[[np.ndarray], Array] = np.asarray,
    ) -> None:
        poolings = event_poolings(reader)
        cells = reader.start(1).take(0).map(lambda one: one.cpu().numpy()).cells
        starts = tuple(pooling.start(reader.hidden_size) for pooling in poolings)
        moment: State = ()
        if reader.moments is not None:
            moment = (np.zeros(OpenMoment.size(reader), "float32"),)
        self.start = RecurrentState(cells, starts, moment)
        self._embeddings = [
            constant(one.weight.detach().numpy()) for one in reader.embeddings
        ]
        self._cells = [reader.cell.of(layer[0]) for layer in reader.layers]
        self._poolings = [one.to_numpy() for one in poolings]
        self._order = order_poolings(self._poolings)
        self._places = reader.moments

    def update(
        self,
        state: RecurrentState,
        values: Array,
        codes: Array,
        interarrival: Array,
        is_new: Array | bool = True,
    ) -> RecurrentState:
        """Return the state after one more event of each history.

        With channels `values` (..., F), `codes` (..., C), and the `interarrival` time
        (...,) in typical ones, any finite number for a first event. `is_new`, (...,),
        is whether the event begins a moment; a bool avoids work for a single history.
        """
        embedded = [
            vectors[codes[..., i]] for i, vectors in enumerate(self._embeddings)
        ]
        if self._places is None:
            inputs = np.concatenate([values, *embedded], axis=-1)  # (..., D)
            return self._step(state, inputs, interarrival)
        vectors = np.concatenate([values[..., :0], *embedded], axis=-1)  # (..., E)
        event = OpenMoment.of_event(values, vectors, interarrival, self._places)
        longer = OpenMoment.unpack(state.moment[0], self._places).add(event).pack()
        continued = state._replace(moment=(longer,))
        if is_new is False:
            return continued
        begun = self._close(state)._replace(moment=(event.pack(),))
        if is_new is True:
            return begun
        return begun.map(partial(_choose, is_new), continued)

    def begin_earlier(self, state: RecurrentState, values: Array) -> RecurrentState:
        """Return the state with the open moment at the time of a late event.

        The event, with channels `values` (..., F), has been added to the state, and is
        earlier than all others of the moment.
        """
        assert self._places is not None
        moment = OpenMoment.unpack(state.moment[0], self._places)
        moment = moment._replace(times=values[..., self._places.times :])
        return state._replace(moment=(moment.pack(),))

    def _step(
        self, state: RecurrentState, inputs: Array, interarrival: Array
    ) -> RecurrentState:
        """Return the state after one more step with inputs of shape (..., D)."""
        cells, output = [], inputs
        for cell, before in zip(self._cells, state.cells, strict=True):
            after = cell.update(before, output)
            output = after[0]  # (..., H)
            cells.append(after)
        poolings = tuple(
            pooling.update(before, output, interarrival)
            for pooling, before in zip(self._poolings, state.poolings, strict=True)
        )
        return RecurrentState(tuple(cells), poolings, state.moment)

    def _close(self, state: RecurrentState) -> RecurrentState:
        """Return the state after the open moment, if there is one."""
        assert self._places is not None
        moment = OpenMoment.unpack(state.moment[0], self._places)
        count = moment.count[..., 0]
        is_single = isinstance(count, np.ndarray) and not count.ndim
        if is_single and not count:
            return state
        inputs, interarrival = moment.join(self._places), moment.interarrival[..., 0]
        after = self._step(state, inputs, interarrival)
        return after if is_single else after.map(partial(_choose, count > 0), state)

    def read(self, state: RecurrentState, age: Array) -> Array:
        """Return the P vectors of all poolings, (..., P, H); 0 before any event.

        `state` is that after the last event that each row sees, and `age` (...,) the
        time since then in typical interarrival times; any finite number before the
        first event.
        """
        if self._places is not None:
            state = self._close(state)
        seen = [
            self._poolings[i].read(state.poolings[i], state.output, age)
            for i in self._order
        ]
        return np.concatenate(seen, axis=-2)


def _choose(condition: Array, chosen: Array, other: Array) -> Array:
    """Return one of two arrays (..., K) or (..., P, H) for each history."""
    # Behind the axes of `condition`, as many as the arrays have more.
    for _ in range(len(chosen.shape) - len(condition.shape)):
        condition = condition[..., None]
    return array_namespace(chosen).where(condition, chosen, other)


class StepHead:
    """The head of a trained network for pooled histories.

    It has the formulas of `HistoryNetwork`, `StaticPieces` and `LinearPart`.
    """

    def __init__(self, network: HistoryNetwork) -> None:
        self._layers = [
            Affine.of(one) for one in network.head if isinstance(one, Linear)
        ]
        if network.shift is not None:
            last = self._layers[-1]
            self._layers[-1] = Affine(last.weight, last.bias + network.shift.numpy())
        self._pieces = None
        if network.pieces is not None:
            n_pooled = sum(reader.output_size for reader in network.readers)
            n_static = len(self._layers[0].weight) - n_pooled
            self._pieces = _weights_of_pieces(network.pieces, n_static)
        self._slope = None if network.slope is None else network.slope.numpy()
        self._linear = None
        if (part := network.linear) is not None:
            names = "center", "spread", "low", "high"
            scaling = [getattr(part.scaled, name).numpy() for name in names]
            weight = part.weights.weight.detach().numpy().T
            self._linear = part.scaled.n_logs, *scaling, weight

    def outputs(
        self,
        pooled: Sequence[Array],
        static: Array,
        offset: Array | None,
        linear_inputs: Array,
    ) -> Array:
        """Return the outputs of `HistoryNetwork`, shape (..., n_outputs).

        `pooled` has the vectors (..., output_size) of each history column, `static`
        (..., S) row features and statics, `offset` (..., 1) what is added to the
        outputs times their slopes (None: nothing), and `linear_inputs`
        (..., S + n_sums) `static` and the sums.
        """
        first, *others = self._layers
        outputs = first(np.concatenate([*pooled, static], axis=-1))
        if self._pieces is not None:
            chosen, low, width, layer = self._pieces
            inside = (static @ chosen - low) / width  # (..., P)
            outputs = outputs + layer(inside.clip(0, 1))
        # ReLU between the layers, and none after the last.
        for layer in others:
            outputs = layer(np.maximum(outputs, 0))
        if self._slope is not None:
            assert offset is not None
            outputs = outputs + offset * self._slope
        if self._linear is not None:
            *scaling, weight = self._linear
            outputs = outputs + scale_inputs(linear_inputs, *scaling) @ weight
        return outputs


def _weights_of_pieces(
    pieces: StaticPieces, n_static: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Affine]:
    """Return where P pieces of S statics begin, their lengths, and their weights.

    First (S, P): 1 where the column of the static of each piece is, 0 elsewhere.
    """
    chosen = np.eye(n_static, dtype="float32")[:, pieces.column.numpy()]
    weight = pieces.weights.weight.detach().numpy() / pieces.spread.numpy()
    layer = Affine(weight.T, -weight @ pieces.center.numpy())
    return chosen, pieces.low.numpy(), pieces.width.numpy(), layer
