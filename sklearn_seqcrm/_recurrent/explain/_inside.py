"""Gates, states and gradients of a trained network, event by event."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm._recurrent.data import (
    BatchIterator,
    BatchPart,
    HistoryBatch,
    HistorySource,
    RowData,
)
from sklearn_seqcrm._recurrent.network import (
    HistoryNetwork,
    HistoryReader,
    read_both_ways,
)
from sklearn_seqcrm._recurrent.training import HistoryNet, isolated_torch_settings

# Step for derivatives of what is made of outputs, which is smooth, in float64.
_STEP = 1e-4
# Larger batches are slower: what a step of the path needs leaves the cache.
_ROWS_AT_ONCE, _STEPS_AT_ONCE = 256, 2**13


class Explained(Protocol):
    """What is explained: a number for each row."""

    def __call__(self, outputs: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Take outputs of each network, (n, n_outputs), of some rows; return (n,)."""


def parts_of_single_rows(
    data: RowData, device: str
) -> Iterator[tuple[np.ndarray, BatchPart]]:
    """Rows, each with a sequence of its own, as gradients are those of sequences."""
    batches = BatchIterator(
        data, _ROWS_AT_ONCE, share=False, steps_at_once=_STEPS_AT_ONCE
    )
    for batch, _ in batches:
        for rows, part in zip(batch.parts, batch, strict=True):
            yield rows, part.to(device)


def full_precision_copy(module: HistoryNetwork) -> HistoryNetwork:
    """A copy whose recurrent layers keep what gradients need, in full precision."""
    module = copy.deepcopy(module).eval().requires_grad_(False)
    for reader in module.readers:
        reader.bptt_steps, reader.precision = None, "float32"
        for layer in reader.modules():
            if isinstance(layer, nn.RNNBase):
                layer.train()  # they have no dropout of their own
    return module


def n_visible(source: HistorySource) -> int:
    """Number of events that rows see, each row by itself."""
    return int((source.stop - source.start).sum())


def scatter_events(
    found: np.ndarray, numbers: np.ndarray, source: HistorySource, rows: np.ndarray
) -> None:
    """Write what was found of the sequences of some rows to the places of their events.

    Parameters
    ----------
    found : ndarray of shape (n_visible, ...)
        Row by row, the events that each sees.
    numbers : ndarray of shape (B, T, ...)
        Of padded sequences, one for each of these rows.
    source : HistorySource
        Where all rows start and stop.
    rows : ndarray of shape (B,)
        Which rows these are.
    """
    counts = source.stop - source.start
    first = (np.cumsum(counts) - counts)[rows][:, None]
    steps = np.arange(numbers.shape[1])
    seen = steps < counts[rows][:, None]
    found[(first + steps)[seen]] = numbers[seen]


def numeric_slopes(
    explained: Callable[[np.ndarray], np.ndarray], outputs: torch.Tensor
) -> torch.Tensor:
    """Derivatives of what is explained by each output, shape (n, n_outputs).

    By differences: what is made of outputs is in the hands of NumPy, and smooth.
    """
    values = as_float64(outputs)
    slopes = np.empty(values.shape)
    for k in range(values.shape[1]):
        step = np.zeros(values.shape[1])
        step[k] = _STEP
        rise = explained(values + step) - explained(values - step)
        slopes[:, k] = rise / (2 * _STEP)
    return torch.from_numpy(slopes).to(outputs)


def as_float64(numbers: torch.Tensor) -> np.ndarray:
    """Numbers of a tensor as an array."""
    return numbers.detach().cpu().numpy().astype("float64")


# In the order in which torch stacks their weights.
GATES = {
    "lstm": ("input", "forget", "cell", "output"),
    "gru": ("reset", "update", "new"),
}


def gates(net: HistoryNet, data: RowData, i: int, layer: int) -> dict[str, np.ndarray]:
    """Gates of a layer, and the states that they lead to.

    Parameters
    ----------
    net : HistoryNet
        A trained net of cells with gates.
    data : RowData
        Rows.
    i : int
        Which of the history columns.
    layer : int
        Which layer.

    Returns
    -------
    dict of str to ndarray of shape (n_visible, H), float64
        By the name of the gate, and ``"cell_state"`` (of an LSTM) and
        ``"hidden_state"``, for the events that each row sees, row by row.
    """
    source = data.sources[i]
    size = net.module__hidden_size
    found: dict[str, np.ndarray] = {}
    with isolated_torch_settings(net.device), torch.no_grad():
        reader = full_precision_copy(net.module_).readers[i]
        for rows, part in parts_of_single_rows(data, net.device):
            for name, numbers in _layer_gates(reader, part.histories[i], layer).items():
                if name not in found:
                    found[name] = np.zeros((n_visible(source), size))
                scatter_events(found[name], as_float64(numbers), source, rows)
    return found


def _layer_gates(
    reader: HistoryReader, batch: HistoryBatch, layer: int
) -> dict[str, torch.Tensor]:
    """Gates of padded sequences, shape (B, T, H) each."""
    steps = reader.embed(batch.values, batch.codes)
    below, at = reader.layers[:layer], reader.layers[layer][0]
    for directions in below:
        steps, _ = read_both_ways(directions, steps, batch.lengths)
    hidden, _ = at(steps)
    # The state before the first event is 0, and that before others is known.
    before = nn.functional.pad(hidden, (0, 0, 1, 0))[:, :-1]
    from_events = nn.functional.linear(steps, at.weight_ih_l0, at.bias_ih_l0)
    from_state = nn.functional.linear(before, at.weight_hh_l0, at.bias_hh_l0)
    of_cell = _gru_gates if isinstance(at, nn.GRU) else _lstm_gates
    return {**of_cell(from_events, from_state), "hidden_state": hidden}


def _lstm_gates(
    from_events: torch.Tensor, from_state: torch.Tensor
) -> dict[str, torch.Tensor]:
    enters, stays, new, leaves = (from_events + from_state).chunk(4, dim=2)
    found = [enters.sigmoid(), stays.sigmoid(), new.tanh(), leaves.sigmoid()]
    state, states = torch.zeros_like(new[:, 0]), []
    for enter, stay, more in zip(*(one.unbind(1) for one in found[:3]), strict=True):
        state = stay * state + enter * more
        states.append(state)
    named = dict(zip(GATES["lstm"], found, strict=True))
    return {**named, "cell_state": torch.stack(states, dim=1)}


def _gru_gates(
    from_events: torch.Tensor, from_state: torch.Tensor
) -> dict[str, torch.Tensor]:
    event = from_events.chunk(3, dim=2)
    state = from_state.chunk(3, dim=2)
    reset, update = (event[k].add(state[k]).sigmoid() for k in (0, 1))
    new = (event[2] + reset * state[2]).tanh()
    return dict(zip(GATES["gru"], (reset, update, new), strict=True))


def gradient_norms(
    net: HistoryNet, data: RowData, i: int, explained: Explained
) -> np.ndarray:
    """Norm of the derivative of what is explained by the state after each event.

    Parameters
    ----------
    net : HistoryNet
        A trained net that reads forwards.
    data : RowData
        Rows.
    i : int
        Which of the history columns.
    explained : callable
        What is made of the outputs of this one network.

    Returns
    -------
    ndarray of shape (n_visible,), float64
        For the events that each row sees, row by row.
    """
    source = data.sources[i]
    found = np.zeros(n_visible(source))
    with isolated_torch_settings(net.device), torch.enable_grad():
        module = full_precision_copy(net.module_)
        module.readers[i] = steps = _StepByStep(module.readers[i])
        for rows, part in parts_of_single_rows(data, net.device):
            outputs = module(part)

            def say(one: torch.Tensor, rows: np.ndarray = rows) -> torch.Tensor:
                return explained([one], rows)

            slopes = numeric_slopes(say, outputs)
            # No one asks for the cell of an LSTM after the last event.
            gradients = torch.autograd.grad(
                outputs,
                steps.changes,
                slopes,
                allow_unused=True,
                materialize_grads=True,
            )
            squares = [gradient.square().sum(dim=1) for gradient in gradients]
            norms = torch.stack(squares).unflatten(0, (steps.n_steps, -1)).sum(1).sqrt()
            scatter_events(found, as_float64(norms.T), source, rows)
    return found


class _StepByStep(nn.Module):
    """A reader that can be asked what a change of its state after each event does.

    To each state is added a change of 0, before poolings and the next event see it.

    Parameters
    ----------
    reader : HistoryReader
        The reader.

    Attributes
    ----------
    changes : list of Tensor of shape (B, H)
        Those of the last batch: of each step, of each layer, the tensors of its state.
    n_steps : int
        Number of steps of that batch.
    """

    changes: list[torch.Tensor]
    n_steps: int

    def __init__(self, reader: HistoryReader) -> None:
        super().__init__()
        self.reader, self.output_size = reader, reader.output_size

    def pool_places(
        self, batch: HistoryBatch, steps: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `HistoryReader` does, one event after the other."""
        if steps is None:
            steps = self.reader.embed(batch.values, batch.codes)
        self.changes, self.n_steps = [], steps.shape[1]
        state, outputs = None, []
        for event in steps.split(1, dim=1):
            _, after = self.reader.read(event, batch.lengths, state)
            state = after.map(self._changed)
            outputs.append(state.output)
        return self.reader.pool(torch.stack(outputs, dim=1), batch)

    def _changed(self, state: torch.Tensor) -> torch.Tensor:
        change = torch.zeros_like(state, requires_grad=True)
        self.changes.append(change)
        return state + change
