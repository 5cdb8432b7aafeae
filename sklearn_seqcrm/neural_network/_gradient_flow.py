"""How much what is predicted depends on the state after each event."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm.neural_network._looking_inside import (
    Explained,
    as_float64,
    full_precision_copy,
    n_visible,
    put_events,
    sequences_of_rows,
    slopes_of,
)
from sklearn_seqcrm.neural_network._net import HistoryNet
from sklearn_seqcrm.neural_network._padding import HistoryBatch
from sklearn_seqcrm.neural_network._reader import CellState, HistoryReader
from sklearn_seqcrm.neural_network._rows import RowData
from sklearn_seqcrm.neural_network._settings import own_settings


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
    with own_settings(net.device), torch.enable_grad():
        module = full_precision_copy(net.module_)
        module.readers[i] = steps = _StepByStep(module.readers[i])
        for rows, part in sequences_of_rows(data, net.device):
            outputs = module(part)

            def say(one: torch.Tensor, rows: np.ndarray = rows) -> torch.Tensor:
                return explained([one], rows)

            slopes = slopes_of(say, outputs)
            # No one asks for the cell of an LSTM after the last event.
            gradients = torch.autograd.grad(
                outputs,
                steps.changes,
                slopes,
                allow_unused=True,
                materialize_grads=True,
            )
            squares = [gradient.square().sum(dim=(0, 2)) for gradient in gradients]
            norms = torch.stack(squares).unflatten(0, (steps.n_steps, -1)).sum(1).sqrt()
            put_events(found, as_float64(norms.T), source, rows)
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
    changes : list of Tensor of shape (1, B, H)
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
            state = [[self._changed(one) for one in layer] for layer in after]
            last = state[-1][0]
            hidden = last if isinstance(last, torch.Tensor) else last[0]
            outputs.append(hidden[0])
        return self.reader.pool(torch.stack(outputs, dim=1), batch)

    def _changed(self, state: CellState) -> CellState:
        if isinstance(state, torch.Tensor):
            change = torch.zeros_like(state, requires_grad=True)
            self.changes.append(change)
            return state + change
        hidden, cell = map(self._changed, state)
        assert isinstance(hidden, torch.Tensor)
        assert isinstance(cell, torch.Tensor)
        return hidden, cell
