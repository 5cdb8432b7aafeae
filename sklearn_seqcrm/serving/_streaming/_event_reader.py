"""A reader that goes on from a state: events in, and what a row sees of them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from sklearn_seqcrm._recurrent.network import (
    CellState,
    EventPooling,
    HistoryReader,
    Last,
    ReaderState,
    State,
    WeightedPooling,
    join,
)

# Events of a customer that are read in one go, at most; a power of 2.
_LONGEST = 64
# States that are in work at once, as in prediction.
_STATES = 2**20
_PORTION = 2**18


def portions(offsets: np.ndarray) -> Iterator[slice]:
    """Customers whose events are encoded together, about 262,000 events.

    Parameters
    ----------
    offsets : ndarray of shape (n + 1,), int64
        Segments of the customers.

    Yields
    ------
    slice
        Customers, one at least, in order.
    """
    start, n = 0, len(offsets) - 1
    while start < n:
        stop = int(np.searchsorted(offsets, offsets[start] + _PORTION, side="right"))
        stop = min(max(stop - 1, start + 1), n)
        yield slice(start, stop)
        start = stop


def strides(
    counts: np.ndarray, n_states: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Events to read side by side: as many of each customer, so that none is padded.

    A history of 201 events is read 64 at a time, and what is left over 8 and 1.

    Parameters
    ----------
    counts : ndarray of shape (n,), int64
        Number of events of each customer.
    n_states : int
        Numbers in work for each event.

    Yields
    ------
    customers : ndarray of int64
        Positions of some customers.
    done : ndarray of int64
        How many of their events were read before.
    length : int
        How many of each are read now.

    Examples
    --------
    >>> import numpy as np
    >>> for customers, done, length in strides(np.array([3, 1, 2]), 8):
    ...     print(customers, done, length)
    [0 2] [0 0] 2
    [0 1] [2 0] 1
    """
    done = np.zeros_like(counts)
    length = _LONGEST
    while length:
        waiting = np.flatnonzero(counts - done >= length)
        at_once = max(1, _STATES // (n_states * length))
        for first in range(0, len(waiting), at_once):
            some = waiting[first : first + at_once]
            yield some, done[some].copy(), length
        done[waiting] += length
        if not len(waiting) or length < _LONGEST:
            length //= 2


class PackedState(NamedTuple):
    """States of B histories, as they are stored.

    Parameters
    ----------
    vectors : Tensor of shape (B, N, H), float32
        All that has the size of an output: states of cells, sums of poolings.
    weights : Tensor of shape (B, W), float32
        The rest of the poolings: sums of weights, largest scores.
    """

    vectors: torch.Tensor
    weights: torch.Tensor


class EventReader:
    """The cells and poolings of a reader, over packed states.

    A reader of one direction. All of it happens without gradients, and the caller says
    so. The pooling ``"last"`` has nothing of its own: what it reads is the state of the
    last cell.

    Parameters
    ----------
    reader : HistoryReader
        What was trained. It is looked at, not copied.
    hidden_size : int
        Size of an output, H.

    Attributes
    ----------
    start : PackedState
        State before the first event, of one history.
    adds_up : list of N bool
        Which vectors are sums over all events.
    """

    def __init__(self, reader: HistoryReader, hidden_size: int) -> None:
        self._reader = reader
        self._all: list[EventPooling] = list(reader.poolings.values())
        self._poolings = [one for one in self._all if not isinstance(one, Last)]
        self._n_cells = 2 if isinstance(reader.layers[0][0], torch.nn.LSTM) else 1
        self._last = self._n_cells * (len(reader.layers) - 1)
        outputs = torch.zeros(1, hidden_size, dtype=torch.float32, device="cpu")
        pooled = [pooling.start(outputs) for pooling in self._poolings]
        # How many vectors, and how many weights, each pooling has.
        self._sizes = [
            (one[0].numel() // hidden_size, sum(rest.shape[1] for rest in one[1:]))
            for one in pooled
        ]
        nothing = outputs[None]
        cell = (nothing,) * self._n_cells if self._n_cells > 1 else nothing
        self.start = self._pack([[cell] for _ in reader.layers], pooled)
        self.adds_up = [False] * (self._n_cells * len(reader.layers))
        for pooling, (n, _) in zip(self._poolings, self._sizes, strict=True):
            self.adds_up += [pooling.adds_up] * n

    def advance(
        self,
        state: PackedState,
        values: torch.Tensor,
        codes: torch.Tensor,
        gaps: torch.Tensor,
    ) -> PackedState:
        """State after T more events of each history.

        Parameters
        ----------
        state : PackedState
            State before them.
        values : Tensor of shape (B, T, F), float32
            Channels.
        codes : Tensor of shape (B, T, C), int64
            Codes.
        gaps : Tensor of shape (B, T), float32
            Time since the event before each, in typical gaps; any number, finite, for
            a first one.
        """
        cells, pooled = self._unpack(state)
        steps = self._reader.embed(values, codes)
        lengths = torch.full((len(steps),), steps.shape[1], device="cpu")
        outputs, cells = self._reader.read(steps, lengths, cells)
        for step in range(outputs.shape[1]):
            output, gap = outputs[:, step], gaps[:, step]
            pooled = [
                pooling.update(one, output, gap)
                for pooling, one in zip(self._poolings, pooled, strict=True)
            ]
        return self._pack(cells, pooled)

    def read(self, state: PackedState, age: torch.Tensor) -> torch.Tensor:
        """What rows see, shape (B, output_size); 0 before the first event.

        Parameters
        ----------
        state : PackedState
            State after the last event that each row sees.
        age : Tensor of shape (B,), float32
            Time since then, in typical gaps; any number, finite, before the first.
        """
        _, pooled = self._unpack(state)
        # As `HistoryReader.pool` has them: weighted sums first.
        before: list[torch.Tensor] = []
        after: list[torch.Tensor] = []
        states = iter(pooled)
        for pooling in self._all:
            seen = before if isinstance(pooling, WeightedPooling) else after
            if isinstance(pooling, Last):
                seen.append(state.vectors[:, self._last])
            else:
                seen.append(pooling.read(next(states), age))
        return join([*before, *after])

    def _pack(self, cells: ReaderState, pooled: Sequence[State]) -> PackedState:
        vectors: list[torch.Tensor] = []
        weights: list[torch.Tensor] = []
        for [cell] in cells:
            each = cell if isinstance(cell, tuple) else (cell,)
            vectors += [tensor[0, :, None] for tensor in each]
        for one in pooled:
            vectors.append(one[0] if one[0].dim() == 3 else one[0][:, None])
            weights += one[1:]
        joined = torch.cat(vectors, dim=1)
        none = joined.new_zeros(len(joined), 0)
        return PackedState(joined, torch.cat([none, *weights], dim=1))

    def _unpack(self, state: PackedState) -> tuple[ReaderState, list[State]]:
        vectors, weights = state
        cells: ReaderState = []
        at = 0
        for _ in self._reader.layers:
            each = [
                vectors[:, i].contiguous()[None] for i in range(at, at + self._n_cells)
            ]
            cell: CellState = (each[0], each[1]) if len(each) > 1 else each[0]
            cells.append([cell])
            at += self._n_cells
        pooled: list[State] = []
        at_weight = 0
        for pooling, (n, n_weights) in zip(self._poolings, self._sizes, strict=True):
            own = vectors[:, at : at + n]
            at += n
            if not isinstance(pooling, WeightedPooling):
                pooled.append((own[:, 0],))
                continue
            # Sums of weights, and what else there is, have a column for each vector.
            rest = weights[:, at_weight : at_weight + n_weights].split(n, dim=1)
            at_weight += n_weights
            pooled.append((own, *rest))
        return cells, pooled
