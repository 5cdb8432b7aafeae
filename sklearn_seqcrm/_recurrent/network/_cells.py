"""Recurrent cells: the formula of one step, written once for every type of array.

torch's layers (`Cell.layer`) run whole sequences in training. Everything that sees one
event at a time (a streamed event, the step graph of ONNX, the tests of the layers)
computes `Cell.update`. Shapes are (..., D): any number of leading axes, or none for a
single history.

Arrays are NumPy arrays, torch tensors, or whatever implements NumPy's protocols
``__array_ufunc__`` and ``__array_function__``, as the symbolic arrays of the ONNX
export do. Only `array_namespace` distinguishes them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.data import Array, array_namespace, sigmoid
from sklearn_seqcrm._recurrent.network._layers import draw_weights, open_forget_gates

State: TypeAlias = tuple[Array, ...]


class Affine(NamedTuple):
    """A linear layer of torch with NumPy weights."""

    weight: np.ndarray  # (D, K), transposed as compared to torch
    bias: np.ndarray  # (K,)

    @classmethod
    def of(cls, layer: Any) -> Affine:
        """Take the weights of a `torch.nn.Linear`."""
        return cls(layer.weight.detach().numpy().T, layer.bias.detach().numpy())

    def __call__(self, inputs: Array) -> Array:
        """Return outputs of shape (..., K) for inputs of shape (..., D)."""
        return inputs @ self.weight + self.bias


class OnnxOperator(NamedTuple):
    """An operator of ONNX: its gates as positions among torch's, and attributes."""

    name: str
    gates: tuple[int, ...]
    attributes: dict[str, int] = {}


class Cell(ABC):
    """A recurrent cell with its weights.

    Those of the event have the shape (G * H, D), for G gates below one another in
    torch's order, those of the hidden state (G * H, H), and both biases (G * H,).
    """

    layer: type[nn.Module]  # layer of torch that runs the cell over sequences
    # Vectors in the state. The first one is the hidden state, which is also the output.
    n_states = 1
    gate_names: tuple[str, ...] = ()  # of `gates`; none if the cell has no gates
    # Operator that runs the cell over sequences; None: it cannot be exported.
    onnx: OnnxOperator | None = None

    def __init__(
        self, weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array
    ) -> None:
        # One product for event and hidden state: for a single history, the calls take
        # longer than the arithmetic.
        xp = array_namespace(weight_ih)
        self._weight = xp.concatenate([weight_ih, weight_hh], axis=1).T
        self._bias = bias_ih + bias_hh

    @classmethod
    def of(cls, layer: nn.Module) -> Cell:
        """Take the weights of a layer with one direction, as NumPy arrays."""
        found = {
            name.removesuffix("_l0"): one.detach().numpy()
            for name, one in layer.named_parameters()
        }
        return cls(**found)

    @staticmethod
    def initialize(layer: Any, hidden_size: int, generator: torch.Generator) -> None:
        """Draw the weights of a new layer."""
        draw_weights(layer, hidden_size, generator)

    @abstractmethod
    def update(self, state: State, event: Array) -> State:
        """Return the state after an event.

        `state` has `n_states` arrays (..., H), 0 at the beginning; `event` is the
        embedded event, (..., D).
        """

    @staticmethod
    @abstractmethod
    def advance(state: State, new: Array, old: Array) -> State:
        """Return the state after an event, given both products (..., G * H).

        They are ``W_ih x + b_ih`` of the event and ``W_hh h + b_hh`` of the state.
        """

    @staticmethod
    def gates(new: Array, old: Array) -> tuple[Array, ...]:
        """Return the gates of an event, (..., H) each, given both products."""
        return ()

    @staticmethod
    def memory_terms(gates: Sequence[Array]) -> tuple[Array, Array]:
        """Return the terms of the memory, the second vector of a state that has two.

        An event changes it to ``kept * memory + added``.
        """
        raise NotImplementedError

    def _affine(self, event: Array, hidden: Array) -> Array:
        """Return ``W_ih x + b_ih + W_hh h + b_hh``, shape (..., G * H)."""
        both = array_namespace(event).concatenate([event, hidden], axis=-1)
        return both @ self._weight + self._bias


class LSTMCell(Cell):
    """Long short-term memory with a forget gate (Hochreiter and Schmidhuber, 1997).

    ::

        i, f, o = sigmoid(.), sigmoid(.), sigmoid(.)    input, forget and output gate
        g = tanh(.)                                     candidate
        c' = f c + i g                                  memory
        h' = o tanh(c')                                 hidden state
    """

    layer = nn.LSTM
    n_states = 2
    gate_names = "input", "forget", "cell", "output"
    onnx = OnnxOperator("LSTM", (0, 3, 1, 2))

    @staticmethod
    def initialize(layer: Any, hidden_size: int, generator: torch.Generator) -> None:
        draw_weights(layer, hidden_size, generator)
        open_forget_gates(layer)

    def update(self, state: State, event: Array) -> State:
        return self._open(state[1], self._affine(event, state[0]))

    @staticmethod
    def advance(state: State, new: Array, old: Array) -> State:
        return LSTMCell._open(state[1], new + old)

    @staticmethod
    def _open(memory: Array, total: Array) -> State:
        """Return the state after an event, given ``W x + b + U h + d``."""
        gates = LSTMCell._gates(total)
        kept, added = LSTMCell.memory_terms(gates)
        memory = kept * memory + added
        return gates[3] * array_namespace(total).tanh(memory), memory

    @staticmethod
    def gates(new: Array, old: Array) -> tuple[Array, ...]:
        """Return i, f, g and o, given ``W x + b`` and ``U h + d``, both (..., 4 H)."""
        return LSTMCell._gates(new + old)

    @staticmethod
    def _gates(total: Array) -> tuple[Array, ...]:
        n = total.shape[-1] // 4
        opened = sigmoid(total[..., : 2 * n])  # i and f at once
        candidate = array_namespace(total).tanh(total[..., 2 * n : 3 * n])
        return opened[..., :n], opened[..., n:], candidate, sigmoid(total[..., 3 * n :])

    @staticmethod
    def memory_terms(gates: Sequence[Array]) -> tuple[Array, Array]:
        return gates[1], gates[0] * gates[2]


class GRUCell(Cell):
    """Gated recurrent unit (Cho et al., 2014) in the variant of torch.

    ::

        r, z = sigmoid(.), sigmoid(.)                   reset and update gate
        n = tanh(W x + b + r (U h + d))                 candidate
        h' = (1 - z) n + z h

    The reset gate multiplies the product ``U h + d``, not ``h``: the event and the
    hidden state cannot share one product.
    """

    layer = nn.GRU
    gate_names = "reset", "update", "new"
    onnx = OnnxOperator("GRU", (1, 0, 2), {"linear_before_reset": 1})

    def __init__(
        self, weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array
    ) -> None:
        self._of_event = Affine(weight_ih.T, bias_ih)
        self._of_hidden = Affine(weight_hh.T, bias_hh)

    def update(self, state: State, event: Array) -> State:
        return self.advance(state, self._of_event(event), self._of_hidden(state[0]))

    @staticmethod
    def advance(state: State, new: Array, old: Array) -> State:
        _, keep, candidate = GRUCell.gates(new, old)
        return ((1 - keep) * candidate + keep * state[0],)

    @staticmethod
    def gates(new: Array, old: Array) -> tuple[Array, ...]:
        """Return r, z and n, given ``W x + b`` and ``U h + d``, both (..., 3 H)."""
        n = new.shape[-1] // 3
        opened = sigmoid(new[..., : 2 * n] + old[..., : 2 * n])  # r and z at once
        reset = opened[..., :n]
        candidate = array_namespace(new).tanh(
            new[..., 2 * n :] + reset * old[..., 2 * n :]
        )
        return reset, opened[..., n:], candidate


class RNNCell(Cell):
    """Elman's network: ``h' = tanh(W x + b + U h + d)``."""

    layer = nn.RNN
    onnx = OnnxOperator("RNN", (0,))

    def update(self, state: State, event: Array) -> State:
        return (array_namespace(event).tanh(self._affine(event, state[0])),)

    @staticmethod
    def advance(state: State, new: Array, old: Array) -> State:
        return (array_namespace(new).tanh(new + old),)


CELLS: dict[str, type[Cell]] = {"lstm": LSTMCell, "gru": GRUCell, "rnn": RNNCell}


def layer_products(
    layer: nn.Module, inputs: Tensor, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Return ``W_ih x + b_ih`` and ``W_hh h + b_hh`` of a layer with one direction."""
    return (
        nn.functional.linear(inputs, layer.weight_ih_l0, layer.bias_ih_l0),
        nn.functional.linear(hidden, layer.weight_hh_l0, layer.bias_hh_l0),
    )
