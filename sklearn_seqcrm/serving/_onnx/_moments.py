"""Moments in the batch graph: events of padded histories are joined to steps.

`moments` (N, T) has the number of the moment of each event. The sums over the events of
a moment are one node, ``ScatterElements`` with the reduction ``add``::

    moments        4 4 4 5 6 6 0 0     lengths 6; the last two are padding
    is_begin       1 . . 1 1 . x x     the number differs from that of the event before
    is_end         . . 1 1 . 1 x x     the last event, or the next one begins a moment
    step           0 0 0 1 2 2 2 2     padding adds 0 to the last step
    n_moments      3                   S, the number of steps, is the largest of a batch

A product with a matrix of (N, S, T) zeros and ones would need memory that grows with
the square of the length of histories.
"""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._recurrent.data import Array, MomentChannels
from sklearn_seqcrm._recurrent.network import HistoryReader, OpenMoment
from sklearn_seqcrm._recurrent.objectives import GraphTensor
from sklearn_seqcrm.serving._onnx._layers import STEPS, compare_places, look_up

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
