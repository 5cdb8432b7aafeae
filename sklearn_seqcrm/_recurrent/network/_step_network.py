"""A trained network for one event and one row at a time, in NumPy.

The formulas are those of `Cell`, `EventPooling` and `HistoryNetwork`. torch takes ten
times as long to call a layer as the arithmetic of a single event takes. The export to
ONNX runs the same code on symbolic arrays, which turns each operation into a node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sklearn_seqcrm._recurrent.data import Array
from sklearn_seqcrm._recurrent.network._cells import Affine
from sklearn_seqcrm._recurrent.network._layers import Linear
from sklearn_seqcrm._recurrent.network._module import FAR, HistoryNetwork
from sklearn_seqcrm._recurrent.network._poolings import (
    EventPooling,
    order_poolings,
)
from sklearn_seqcrm._recurrent.network._reader import HistoryReader, RecurrentState


def event_poolings(reader: HistoryReader) -> list[EventPooling]:
    """Return the poolings of a reader, or raise a TypeError for one without a state."""
    for pooling in reader.poolings.values():
        if not isinstance(pooling, EventPooling):
            raise TypeError(
                f"The pooling {type(pooling).__name__} cannot be updated event by "
                "event: it has no state, as EventPooling defines it."
            )
    return list(reader.poolings.values())


def start_state(reader: HistoryReader) -> RecurrentState:
    """Return the state of one history before its first event, in NumPy."""
    cells = reader.start(1).take(0).map(lambda one: one.cpu().numpy()).cells
    poolings = event_poolings(reader)
    return RecurrentState(cells, tuple(p.start(reader.hidden_size) for p in poolings))


class StepReader:
    """Recurrent layers and poolings, updated by one event of each history at a time.

    Parameters
    ----------
    reader : HistoryReader
        A trained reader with one direction.
    constant : callable, default=numpy.asarray
        Converts the embeddings to arrays that codes can index.

    Attributes
    ----------
    start : RecurrentState
        State of one history before its first event.

    Raises
    ------
    TypeError
        If a pooling has no state.
    """

    def __init__(
        self,
        reader: HistoryReader,
        constant: Callable[[np.ndarray], Array] = np.asarray,
    ) -> None:
        self.start = start_state(reader)
        self._embeddings = [
            constant(one.weight.detach().numpy()) for one in reader.embeddings
        ]
        self._cells = [reader.cell.of(layer[0]) for layer in reader.layers]
        self._poolings = [one.to_numpy() for one in event_poolings(reader)]
        self._order = order_poolings(self._poolings)

    def update(
        self, state: RecurrentState, values: Array, codes: Array, gap: Array
    ) -> RecurrentState:
        """Return the state after one more event of each history.

        Parameters
        ----------
        state : RecurrentState
            State before the event.
        values : array of shape (..., F), float32
            Channels.
        codes : array of shape (..., C)
            Codes.
        gap : array of shape (...,), float32
            Interarrival time in typical ones; any finite number for a first event.
        """
        embedded = [
            vectors[codes[..., i]] for i, vectors in enumerate(self._embeddings)
        ]
        output = np.concatenate([values, *embedded], axis=-1)  # (..., D)
        cells = []
        for cell, before in zip(self._cells, state.cells, strict=True):
            after = cell.update(before, output)
            output = after[0]  # (..., H)
            cells.append(after)
        poolings = tuple(
            pooling.update(before, output, gap)
            for pooling, before in zip(self._poolings, state.poolings, strict=True)
        )
        return RecurrentState(tuple(cells), poolings)

    def read(self, state: RecurrentState, age: Array) -> Array:
        """Return the P vectors of all poolings, (..., P, H); 0 before any event.

        Parameters
        ----------
        state : RecurrentState
            State after the last event that each row sees.
        age : array of shape (...,), float32
            Time since then in typical interarrival times; any finite number before the
            first event.
        """
        seen = [
            self._poolings[i].read(state.poolings[i], state.output, age)
            for i in self._order
        ]
        return np.concatenate(seen, axis=-2)


class StepHead:
    """The head of a trained network for pooled histories.

    Parameters
    ----------
    network : HistoryNetwork
        A trained network.
    """

    def __init__(self, network: HistoryNetwork) -> None:
        self._layers = [
            Affine.of(one) for one in network.head if isinstance(one, Linear)
        ]
        self._slope = None if network.slope is None else network.slope.numpy()
        self._linear = None
        if (part := network.linear) is not None:
            weight = part.weights.weight.detach().numpy().T
            self._linear = part.center.numpy(), part.spread.numpy(), weight

    def outputs(
        self,
        pooled: Sequence[Array],
        static: Array,
        offset: Array | None,
        linear_inputs: Array,
    ) -> Array:
        """Return the outputs of `HistoryNetwork`, shape (..., n_outputs).

        Parameters
        ----------
        pooled : sequence of arrays of shape (..., output_size)
            The pooled vectors of each history column.
        static : array of shape (..., S), float32
            Row features and statics.
        offset : array of shape (..., 1) or None
            Offset, added to the outputs times their slopes.
        linear_inputs : array of shape (..., S + n_sums)
            Inputs of the linear part: `static` and the sums.
        """
        numbers = np.concatenate([*pooled, static], axis=-1)
        # ReLU between the layers, and none after the last.
        *hidden, last = self._layers
        for layer in hidden:
            numbers = np.maximum(layer(numbers), 0)
        outputs = last(numbers)
        if self._slope is not None:
            assert offset is not None
            outputs = outputs + offset * self._slope
        if self._linear is not None:
            center, spread, weight = self._linear
            away = (linear_inputs - center) / spread
            outputs = outputs + np.minimum(np.maximum(away, -FAR), FAR) @ weight
        return outputs
