"""Gates, states and gradients of a trained network, event by event."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._recurrent.data import (
    BatchIterator,
    BatchPart,
    HistoryBatch,
    HistorySource,
    RowData,
)
from sklearn_seqcrm._recurrent.network import (
    CELLS,
    HistoryNetwork,
    HistoryReader,
    isolated_torch_settings,
    layer_products,
    run_both_ways,
)
from sklearn_seqcrm._recurrent.training import HistoryNet

# Half-width of central differences in float64. The error is O(_DIFFERENCE^2), because
# predictions are smooth functions of outputs.
_DIFFERENCE = 1e-4
# Larger batches are slower: the data of a step no longer fits into the cache.
_ROWS_AT_ONCE, _STEPS_AT_ONCE = 256, 2**13


class Explained(Protocol):
    """Explained quantity: one number per row of the outputs of some networks."""

    def __call__(self, outputs: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Return the quantity, shape (n,).

        `outputs` are those of each network, (n, n_outputs), float64, and `rows` (n,),
        int64, the numbers of the rows that have them.
        """


def parts_of_single_rows(
    data: RowData, device: str
) -> Iterator[tuple[np.ndarray, BatchPart]]:
    """Yield rows, shape (B,), and a batch part with one sequence per row.

    Rows of one customer do not share a sequence, so that a gradient belongs to one row.
    """
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
                # cuDNN allows the backward pass of an RNN only in training mode. These
                # layers have the dropout 0, so that outputs do not change.
                layer.train()
    return module


def n_visible(source: HistorySource) -> int:
    """Return the sum over rows of the number of events that a row sees."""
    return int(source.events.lengths.sum())


def scatter_events(
    out: np.ndarray, padded: np.ndarray, source: HistorySource, rows: np.ndarray
) -> None:
    """Write results of padded sequences to the positions of their events.

    `padded` (B, T, ...) has the results of a sequence for each of `rows` (B,). `out`
    (n_visible, ...) gets those of the events that each row sees, row by row. The result
    of a moment is written to each of its events.
    """
    counts = source.events.lengths
    # Position of the first event of each row in `out`, (B,).
    first = (np.cumsum(counts) - counts)[rows]
    place, _ = ranges(first, first + counts[rows])
    _, step = source.visible_events(rows)
    out[place] = padded[np.repeat(np.arange(len(rows)), counts[rows]), step]


def output_gradients(
    explained: Callable[[np.ndarray], np.ndarray], outputs: Tensor
) -> Tensor:
    """Return the gradients of the quantity over the outputs, shape (n, n_outputs).

    By central differences, because predictions are computed by NumPy.
    """
    values = as_float64(outputs)  # (n, n_outputs)
    gradients = np.empty(values.shape)
    for k in range(values.shape[1]):
        # Outputs of a row affect its own quantity only: one step for all rows.
        step = np.zeros(values.shape[1])
        step[k] = _DIFFERENCE
        difference = explained(values + step) - explained(values - step)  # (n,)
        gradients[:, k] = difference / (2 * _DIFFERENCE)
    return torch.from_numpy(gradients).to(outputs)


def as_float64(numbers: Tensor) -> np.ndarray:
    """Return a tensor as a float64 array."""
    return numbers.detach().cpu().numpy().astype("float64")


def gates(net: HistoryNet, data: RowData, i: int, layer: int) -> dict[str, np.ndarray]:
    """Return the gates of a layer of history column `i`, and the resulting states.

    By the name of the gate, and ``"cell_state"`` (of an LSTM) and ``"hidden_state"``:
    arrays (n_visible, H), float64, for the events that each row sees, row by row. Of a
    bidirectional layer, the forward direction is taken.

    With the gates i, f, g and o of an LSTM, and r, z and n of a GRU::

        LSTM    c[t] = f * c[t - 1] + i * g
                h[t] = o * tanh(c[t])
        GRU     n    = tanh(W_in x + b_in + r * (W_hn h[t - 1] + b_hn))
                h[t] = (1 - z) * n + z * h[t - 1]

    Cho et al. (2014) apply the reset gate r before the product, as
    ``W_hn (r * h[t - 1])``; torch applies it after the product.

    A ValueError is raised for a cell without gates.
    """
    having = [name for name, cell in CELLS.items() if cell.gate_names]
    if net.module__cell not in having:
        raise ValueError(
            f"A cell {net.module__cell!r} has no gates; the cells {having} have them."
        )
    source = data.sources[i]
    size = net.module__hidden_size
    found: dict[str, np.ndarray] = {}
    with isolated_torch_settings(net.device, size), torch.no_grad():
        reader = full_precision_copy(net.module_).readers[i]
        for rows, part in parts_of_single_rows(data, net.device):
            for name, numbers in _layer_gates(reader, part.histories[i], layer).items():
                if name not in found:
                    found[name] = np.zeros((n_visible(source), size))
                scatter_events(found[name], as_float64(numbers), source, rows)
    return found


def _layer_gates(
    reader: HistoryReader, batch: HistoryBatch, layer: int
) -> dict[str, Tensor]:
    """Return the gates of padded sequences, shape (B, T, H) each."""
    steps = reader.embed(batch.values, batch.codes, batch.levels)  # (B, T, D)
    lower_layers, at = reader.layers[:layer], reader.layers[layer][0]
    for directions in lower_layers:
        steps, _ = run_both_ways(directions, steps, batch.lengths)
    hidden, _ = at(steps)  # (B, T, H)
    # The layer returns the state after each event; it is 0 before the first one.
    before = nn.functional.pad(hidden, (0, 0, 1, 0))[:, :-1]
    # Both (B, T, 4H) for an LSTM, and (B, T, 3H) for a GRU.
    found = reader.cell.gates(*layer_products(at, steps, before))
    named = dict(zip(reader.cell.gate_names, found, strict=True))
    if reader.cell.n_states > 1:
        terms = (one.unbind(1) for one in reader.cell.memory_terms(found))
        memory, memories = torch.zeros_like(found[0][:, 0]), []
        for kept, added in zip(*terms, strict=True):
            memory = kept * memory + added
            memories.append(memory)
        named["cell_state"] = torch.stack(memories, dim=1)
    return {**named, "hidden_state": hidden}


def gradient_norms(
    net: HistoryNet, data: RowData, i: int, explained: Explained
) -> np.ndarray:
    """Return the gradient norm of the quantity over the state after each event.

    For a net that is not bidirectional, whose own outputs `explained` takes, and
    history column `i`: shape (n_visible,), float64, for the events that each row sees,
    row by row.
    """
    source = data.sources[i]
    found = np.zeros(n_visible(source))
    with (
        isolated_torch_settings(net.device, net.module__hidden_size),
        torch.enable_grad(),
    ):
        module = full_precision_copy(net.module_)
        module.readers[i] = perturbed = _PerturbedReader(module.readers[i])
        for rows, part in parts_of_single_rows(data, net.device):
            outputs = module(part)  # (B, n_outputs)

            def explain_rows(one: np.ndarray, rows: np.ndarray = rows) -> np.ndarray:
                return explained([one], rows)

            output_gradient = output_gradients(explain_rows, outputs)
            # The cell state of an LSTM after the last event is unused.
            gradients = torch.autograd.grad(
                outputs,
                perturbed.perturbations,
                output_gradient,
                allow_unused=True,
                materialize_grads=True,
            )
            # Norm over all tensors of the state of a step: layers, hidden and cell
            # state. n_steps is T.
            squares = [gradient.square().sum(dim=1) for gradient in gradients]  # (B,)
            squared = torch.stack(squares).unflatten(0, (perturbed.n_steps, -1))
            norms = squared.sum(1).sqrt()  # (n_steps, B)
            scatter_events(found, as_float64(norms.T), source, rows)
    return found


class _PerturbedReader(nn.Module):
    """A reader with a zero perturbation added to its state after each event.

    Poolings and the next event see the perturbed state, so that the gradient over the
    perturbation is the gradient over the state.
    """

    # Of the last batch, (B, H) for each step, layer and tensor of its state.
    perturbations: list[Tensor]
    n_steps: int  # of that batch

    def __init__(self, reader: HistoryReader) -> None:
        super().__init__()
        self.reader, self.output_size = reader, reader.output_size

    def pool_places(self, batch: HistoryBatch, steps: Tensor | None = None) -> Tensor:
        """Pool outputs as `HistoryReader` does, but process event by event."""
        if steps is None:
            steps = self.reader.embed(batch.values, batch.codes, batch.levels)
        self.perturbations, self.n_steps = [], steps.shape[1]
        state, outputs = None, []  # outputs of T steps, (B, H) each
        for event in steps.split(1, dim=1):
            _, after = self.reader.run(event, batch.lengths, state)
            state = after.map(self._perturbed)
            outputs.append(state.output)
        return self.reader.pool(torch.stack(outputs, dim=1), batch)

    def _perturbed(self, state: Tensor) -> Tensor:
        perturbation = torch.zeros_like(state, requires_grad=True)  # (B, H)
        self.perturbations.append(perturbation)
        return state + perturbation
