"""A network for one event and one row, in NumPy.

What torch takes to call a layer is ten times what the arithmetic of a single event
takes. The numbers are those of `EventReader`, in the same packed states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._recurrent.network import (
    FAR,
    Attention,
    Decay,
    EventPooling,
    HistoryNetwork,
    HistoryReader,
    Last,
    Linear,
    LinearPart,
    Max,
    Mean,
    WeightedPooling,
)

# From its inputs and the states of a cell to its new ones, the output first.
Cell = Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]]


class OneNetwork:
    """A network that reads single events, and heads of single rows.

    Parameters
    ----------
    network : HistoryNetwork
        What was trained.

    Attributes
    ----------
    steps : list of NumpyRNN
        One for each history column.
    """

    def __init__(self, network: HistoryNetwork) -> None:
        self.steps = [NumpyRNN(reader) for reader in network.readers]
        self._head = [_matrices(one) for one in network.head if isinstance(one, Linear)]
        self._slope = None if network.slope is None else network.slope.numpy()
        self._linear = None if network.linear is None else _OneLinear(network.linear)

    def outputs(self, pooled: Sequence[np.ndarray], row: RowData) -> np.ndarray:
        """Outputs of a row, shape (n_outputs,).

        Parameters
        ----------
        pooled : sequence of ndarray of shape (output_size,)
            What was read of each history.
        row : RowData of 1
            Everything else of the row.
        """
        numbers = np.concatenate([*pooled, row.static[0]])
        *inner, last = self._head
        for weight, bias in inner:
            numbers = np.maximum(weight @ numbers + bias, 0)
        outputs = last[0] @ numbers + last[1]
        if self._slope is not None:
            assert row.offset is not None
            outputs += self._slope * row.offset[0]
        if self._linear is not None:
            outputs += self._linear(row.linear_inputs[0])
        return outputs


class _OneLinear:
    """The linear part for a single row.

    Parameters
    ----------
    part : LinearPart
        What was trained.
    """

    def __init__(self, part: LinearPart) -> None:
        self._center, self._spread = part.center.numpy(), part.spread.numpy()
        self._weights = part.weights.weight.detach().numpy()

    def __call__(self, static: np.ndarray) -> np.ndarray:
        away = (static - self._center) / self._spread
        return self._weights @ away.clip(-FAR, FAR)


class NumpyRNN:
    """The cells and poolings of a reader, for a single event of one history.

    Parameters
    ----------
    reader : HistoryReader
        What was trained.
    """

    def __init__(self, reader: HistoryReader) -> None:
        self._embeddings = [one.weight.numpy() for one in reader.embeddings]
        self._cells = [_cell_of(layer[0]) for layer in reader.layers]
        self._n_states = 2 if isinstance(reader.layers[0][0], nn.LSTM) else 1
        self._last = self._n_states * (len(self._cells) - 1)
        self._poolings = [
            None if isinstance(one, Last) else _OnePooling(one)
            for one in reader.poolings.values()
        ]

    def advance(
        self,
        vectors: np.ndarray,
        weights: np.ndarray,
        channels: np.ndarray,
        codes: np.ndarray,
        gap: float,
    ) -> None:
        """Let an event into a state, in place.

        Parameters
        ----------
        vectors, weights : ndarray of shape (N, H) and (W,), float32
            The state, as `PackedState` has it for several histories.
        channels : ndarray of shape (F,), float32
            Channels.
        codes : ndarray of shape (C,), int32
            Codes.
        gap : float
            Time since the event before, in typical gaps; any, finite, for a first one.
        """
        vectors_of = zip(self._embeddings, codes.tolist(), strict=True)
        embedded = [table[code] for table, code in vectors_of]
        inputs = np.concatenate([channels, *embedded])
        if not len(inputs):
            inputs = np.zeros(1, "float32")
        at = 0
        for cell in self._cells:
            own = vectors[at : at + self._n_states]
            own[:] = cell(inputs, own)
            inputs, at = own[0], at + self._n_states
        at_weight = 0
        for pooling in filter(None, self._poolings):
            own = vectors[at : at + pooling.n_vectors]
            own_weights = weights[at_weight : at_weight + pooling.n_weights]
            pooling.update(own, own_weights, inputs, gap)
            at, at_weight = at + pooling.n_vectors, at_weight + pooling.n_weights

    def read(self, vectors: np.ndarray, weights: np.ndarray, age: float) -> np.ndarray:
        """What a row sees, shape (output_size,).

        Parameters
        ----------
        vectors, weights : ndarray of shape (N, H) and (W,), float32
            The state.
        age : float
            Time since the last event, in typical gaps; any, finite, before the first.
        """
        at, at_weight = self._n_states * len(self._cells), 0
        # As `HistoryReader.pool` has them: weighted sums first.
        before: list[np.ndarray] = []
        after: list[np.ndarray] = []
        for pooling in self._poolings:
            if pooling is None:
                before.append(vectors[self._last])
                continue
            own = vectors[at : at + pooling.n_vectors]
            own_weights = weights[at_weight : at_weight + pooling.n_weights]
            found = pooling.read(own, own_weights, age)
            (before if pooling.is_weighted else after).append(found)
            at, at_weight = at + pooling.n_vectors, at_weight + pooling.n_weights
        return np.concatenate([*before, *after])


class _OnePooling:
    """A pooling of a single history; see the classes of `EventPooling`.

    Parameters
    ----------
    pooling : EventPooling
        Any but `Last`, which reads the state of the last cell.
    """

    def __init__(self, pooling: EventPooling) -> None:
        if type(pooling) not in (Attention, Decay, Max, Mean):
            raise TypeError(
                f"{type(pooling).__name__} has no form for a single history here."
            )
        self.is_weighted = isinstance(pooling, WeightedPooling)
        self.n_vectors = pooling.n_vectors
        self.n_weights = self.n_vectors if self.is_weighted else 0
        self._kind = type(pooling)
        self._halvings = None
        if isinstance(pooling, Decay):
            self._halvings = pooling.halvings.numpy()
        if isinstance(pooling, Attention):
            self.n_weights += 1
            weight, bias = _matrices(pooling.score)
            self._score = weight[0], bias[0]

    def update(
        self, sums: np.ndarray, weights: np.ndarray, output: np.ndarray, gap: float
    ) -> None:
        """Let an output of shape (H,) into sums (P, H) and weights, in place."""
        if self._kind is Max:
            np.maximum(sums, output, out=sums)
        elif self._kind is Attention:
            score = output @ self._score[0] + self._score[1]
            top = max(weights[1], score)
            fade, own = np.exp(weights[1] - top), np.exp(score - top)
            sums[0] = sums[0] * fade + output * own
            weights[0], weights[1] = weights[0] * fade + own, top
        else:
            fade = self._fade(gap)
            if fade is not None:
                sums *= fade[:, None]
                weights *= fade
            sums += output
            weights += 1

    def read(self, sums: np.ndarray, weights: np.ndarray, age: float) -> np.ndarray:
        """What a row sees at an age of the last event, shape (P * H,)."""
        if self._kind is Max:
            return np.where(np.isneginf(sums), np.float32(0), sums).ravel()
        weights, fade = weights[: self.n_vectors], self._fade(age)
        if fade is None:
            share = 1 / np.maximum(weights, 1)
        else:
            share = fade / np.maximum(weights * fade, 1)
        return (sums * share[:, None]).ravel()

    def _fade(self, time: float) -> np.ndarray | None:
        """Share of each weight that is left after some typical gaps; None: all."""
        if self._halvings is None:
            return None
        return np.exp2(np.float32(-time) * self._halvings)


def _cell_of(layer: nn.Module) -> Cell:
    """A cell of one layer and direction, with the weights of torch's."""
    kinds: dict[Any, Any] = {nn.LSTM: _Lstm, nn.GRU: _Gru, nn.RNN: _Rnn}
    parameters: dict[str, Any] = {
        name.removesuffix("_l0"): one.detach().numpy()
        for name, one in layer.named_parameters()
    }
    return kinds[type(layer)](**parameters)


class _Lstm:
    """Hochreiter and Schmidhuber's cell with a forget gate, as torch orders the gates.

    Parameters
    ----------
    weight_ih, weight_hh, bias_ih, bias_hh : ndarray
        Of the gates for input, forgetting, candidate and output, below one another.
    """

    def __init__(
        self,
        weight_ih: np.ndarray,
        weight_hh: np.ndarray,
        bias_ih: np.ndarray,
        bias_hh: np.ndarray,
    ) -> None:
        self._weight = np.concatenate([weight_ih, weight_hh], axis=1)
        self._bias = bias_ih + bias_hh

    def __call__(self, inputs: np.ndarray, state: np.ndarray) -> list[np.ndarray]:
        hidden, memory = state
        sums = self._weight @ np.concatenate([inputs, hidden]) + self._bias
        n = len(hidden)
        enter, keep = _sigmoid(sums[: 2 * n]).reshape(2, n)
        memory = keep * memory + enter * np.tanh(sums[2 * n : 3 * n])
        return [_sigmoid(sums[3 * n :]) * np.tanh(memory), memory]


class _Gru:
    """Cho's cell, as torch computes it; parameters as those of `_Lstm`."""

    def __init__(
        self,
        weight_ih: np.ndarray,
        weight_hh: np.ndarray,
        bias_ih: np.ndarray,
        bias_hh: np.ndarray,
    ) -> None:
        self._of_inputs, self._of_hidden = (weight_ih, bias_ih), (weight_hh, bias_hh)

    def __call__(self, inputs: np.ndarray, state: np.ndarray) -> list[np.ndarray]:
        [hidden] = state
        n = len(hidden)
        new = self._of_inputs[0] @ inputs + self._of_inputs[1]
        old = self._of_hidden[0] @ hidden + self._of_hidden[1]
        reset, keep = _sigmoid(new[: 2 * n] + old[: 2 * n]).reshape(2, n)
        candidate = np.tanh(new[2 * n :] + reset * old[2 * n :])
        return [(1 - keep) * candidate + keep * hidden]


class _Rnn:
    """Elman's cell; parameters as those of `_Lstm`."""

    def __init__(
        self,
        weight_ih: np.ndarray,
        weight_hh: np.ndarray,
        bias_ih: np.ndarray,
        bias_hh: np.ndarray,
    ) -> None:
        self._weight = np.concatenate([weight_ih, weight_hh], axis=1)
        self._bias = bias_ih + bias_hh

    def __call__(self, inputs: np.ndarray, state: np.ndarray) -> list[np.ndarray]:
        return [np.tanh(self._weight @ np.concatenate([inputs, state[0]]) + self._bias)]


def _sigmoid(numbers: np.ndarray) -> np.ndarray:
    """The logistic function, in a form that never overflows."""
    return 0.5 * (1 + np.tanh(0.5 * numbers))


def _matrices(layer: torch.nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()
