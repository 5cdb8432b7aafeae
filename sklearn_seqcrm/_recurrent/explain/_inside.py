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
    isolated_torch_settings,
    read_both_ways,
)
from sklearn_seqcrm._recurrent.training import HistoryNet

# Step of central differences in float64; predictions are smooth functions of outputs.
_STEP = 1e-4
# Larger batches are slower: the data of a step no longer fits into the cache.
_ROWS_AT_ONCE, _STEPS_AT_ONCE = 256, 2**13


class Explained(Protocol):
    """Function of the outputs that is explained: a number for each row."""

    def __call__(self, outputs: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Take outputs of each network, (n, n_outputs), of some rows; return (n,)."""


def parts_of_single_rows(
    data: RowData, device: str
) -> Iterator[tuple[np.ndarray, BatchPart]]:
    """Yield rows with a sequence each: a gradient belongs to one row then."""
    batches = BatchIterator(
        data, _ROWS_AT_ONCE, share=False, steps_at_once=_STEPS_AT_ONCE
    )
    for batch, _ in batches:
        for rows, part in zip(batch.parts, batch, strict=True):
            yield rows, part.to(device)


def full_precision_copy(module: HistoryNetwork) -> HistoryNetwork:
    """Return a float32 copy whose recurrent layers keep activations for gradients."""
    module = copy.deepcopy(module).eval().requires_grad_(False)
    for reader in module.readers:
        reader.bptt_steps, reader.precision = None, "float32"
        for layer in reader.modules():
            if isinstance(layer, nn.RNNBase):
                layer.train()  # they have no dropout of their own
    return module


def n_visible(source: HistorySource) -> int:
    """Return the number of events that rows see, added over rows."""
    return int(source.lengths.sum())


def scatter_events(
    found: np.ndarray, numbers: np.ndarray, source: HistorySource, rows: np.ndarray
) -> None:
    """Write results of padded sequences to the positions of their events.

    Parameters
    ----------
    found : ndarray of shape (n_visible, ...)
        Results for the events that each row sees, row by row; changed in place.
    numbers : ndarray of shape (B, T, ...)
        Results for padded sequences, one for each of `rows`.
    source : HistorySource
        Start and stop of all rows.
    rows : ndarray of shape (B,)
        Numbers of the rows.
    """
    counts = source.lengths
    # Position of the first event of each row in `found`, (B, 1).
    first = (np.cumsum(counts) - counts)[rows][:, None]
    steps = np.arange(numbers.shape[1])
    seen = steps < counts[rows][:, None]
    found[(first + steps)[seen]] = numbers[seen]


def numeric_slopes(
    explained: Callable[[np.ndarray], np.ndarray], outputs: torch.Tensor
) -> torch.Tensor:
    """Return derivatives of the quantity over each output, shape (n, n_outputs).

    By central differences, because predictions are computed by NumPy.
    """
    values = as_float64(outputs)
    slopes = np.empty(values.shape)
    for k in range(values.shape[1]):
        # Outputs of a row affect its own quantity only: one step for all rows.
        step = np.zeros(values.shape[1])
        step[k] = _STEP
        rise = explained(values + step) - explained(values - step)
        slopes[:, k] = rise / (2 * _STEP)
    return torch.from_numpy(slopes).to(outputs)


def as_float64(numbers: torch.Tensor) -> np.ndarray:
    """Return a tensor as a float64 array."""
    return numbers.detach().cpu().numpy().astype("float64")


# Gates in the order in which torch stacks their weights.
GATES = {
    "lstm": ("input", "forget", "cell", "output"),
    "gru": ("reset", "update", "new"),
}


def gates(net: HistoryNet, data: RowData, i: int, layer: int) -> dict[str, np.ndarray]:
    """Return the gates of a layer, and the resulting states.

    Parameters
    ----------
    net : HistoryNet
        Trained net of gated cells.
    data : RowData
        Rows.
    i : int
        Index of the history column.
    layer : int
        Index of the layer.

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
    """Return the gates of padded sequences, shape (B, T, H) each."""
    steps = reader.embed(batch.values, batch.codes)
    below, at = reader.layers[:layer], reader.layers[layer][0]
    for directions in below:
        steps, _ = read_both_ways(directions, steps, batch.lengths)
    hidden, _ = at(steps)
    # The layer returns the state after each event; before the first one it is 0.
    before = nn.functional.pad(hidden, (0, 0, 1, 0))[:, :-1]
    from_events = nn.functional.linear(steps, at.weight_ih_l0, at.bias_ih_l0)
    from_state = nn.functional.linear(before, at.weight_hh_l0, at.bias_hh_l0)
    of_cell = _gru_gates if isinstance(at, nn.GRU) else _lstm_gates
    return {**of_cell(from_events, from_state), "hidden_state": hidden}


def _lstm_gates(
    from_events: torch.Tensor, from_state: torch.Tensor
) -> dict[str, torch.Tensor]:
    # i, f, g, o = sigmoid, sigmoid, tanh, sigmoid; c[t] = f * c[t - 1] + i * g
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
    # torch applies the reset gate after the product with the state (Cho et al. before).
    new = (event[2] + reset * state[2]).tanh()
    return dict(zip(GATES["gru"], (reset, update, new), strict=True))


def gradient_norms(
    net: HistoryNet, data: RowData, i: int, explained: Explained
) -> np.ndarray:
    """Return the gradient norm of the quantity over the state after each event.

    Parameters
    ----------
    net : HistoryNet
        Trained net that is not bidirectional.
    data : RowData
        Rows.
    i : int
        Index of the history column.
    explained : callable
        Quantity as a function of the outputs of this one network.

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

            def explain_rows(one: np.ndarray, rows: np.ndarray = rows) -> np.ndarray:
                return explained([one], rows)

            slopes = numeric_slopes(explain_rows, outputs)
            # The cell state of an LSTM after the last event is unused.
            gradients = torch.autograd.grad(
                outputs,
                steps.changes,
                slopes,
                allow_unused=True,
                materialize_grads=True,
            )
            # Over all tensors of the state of a step: layers, hidden and cell state.
            squares = [gradient.square().sum(dim=1) for gradient in gradients]
            norms = torch.stack(squares).unflatten(0, (steps.n_steps, -1)).sum(1).sqrt()
            scatter_events(found, as_float64(norms.T), source, rows)
    return found


class _StepByStep(nn.Module):
    """A reader with a zero perturbation added to its state after each event.

    Poolings and the next event see the perturbed state, so that the gradient over the
    perturbation is the gradient over the state.

    Parameters
    ----------
    reader : HistoryReader
        Reader to wrap.

    Attributes
    ----------
    changes : list of Tensor of shape (B, H)
        Perturbations of the last batch, for each step, layer and tensor of its state.
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
        """Pool outputs as `HistoryReader` does, but process event by event."""
        if steps is None:
            steps = self.reader.embed(batch.values, batch.codes)
        self.changes, self.n_steps = [], steps.shape[1]
        state, outputs = None, []  # outputs of T steps, (B, H) each
        for event in steps.split(1, dim=1):
            _, after = self.reader.read(event, batch.lengths, state)
            state = after.map(self._changed)
            outputs.append(state.output)
        return self.reader.pool(torch.stack(outputs, dim=1), batch)

    def _changed(self, state: torch.Tensor) -> torch.Tensor:
        change = torch.zeros_like(state, requires_grad=True)
        self.changes.append(change)
        return state + change
