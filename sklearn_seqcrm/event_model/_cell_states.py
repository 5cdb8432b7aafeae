"""States of recurrent cells after every step, of which torch returns the last only.

The output of a cell is its hidden state. An LSTM has a memory as well, which follows
from the inputs and outputs of the layer by the formula of `LSTMCell`: its gates at all
steps are one product, and then ``c' = f c + i g``.
"""

from __future__ import annotations

from typing import Any

import torch

from sklearn_seqcrm._recurrent.network import (
    HistoryReader,
    LSTMCell,
    RecurrentState,
    layer_products,
)


class _Recurrence(torch.autograd.Function):
    """``c[t] = kept[t] c[t - 1] + added[t]`` along the second axis, (n, T, H)."""

    @staticmethod
    def forward(
        ctx: Any, kept: torch.Tensor, added: torch.Tensor, start: torch.Tensor
    ) -> torch.Tensor:
        found = torch.empty_like(added)
        before = start
        for t in range(added.shape[1]):
            before = torch.addcmul(added[:, t], kept[:, t], before)
            found[:, t] = before
        ctx.save_for_backward(kept, found, start)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # With d[t] the gradient of all that follows c[t]:
        # d[t] = g[t] + kept[t + 1] d[t + 1]; that of kept[t] is d[t] c[t - 1].
        kept, found, start = ctx.saved_tensors
        of_added = torch.empty_like(found)
        after = torch.zeros_like(start)
        for t in reversed(range(found.shape[1])):
            after = gradients[0][:, t] + after
            of_added[:, t] = after
            after = kept[:, t] * after
        before = torch.cat([start[:, None], found[:, :-1]], dim=1)
        return of_added * before, of_added, after


def cell_states(
    reader: HistoryReader,
    layers: list[tuple[torch.Tensor, torch.Tensor]],
    before: RecurrentState | None,
) -> list[torch.Tensor]:
    """Return the vectors of the cells after each step, each of shape (n, T, H).

    Parameters
    ----------
    reader : HistoryReader
        Reads forwards.
    layers : list of (Tensor of shape (n, T, D), Tensor of shape (n, T, H))
        Inputs and outputs of each layer.
    before : RecurrentState of n, or None
        State before the first step; None: there is none before.
    """
    found = []
    for depth, (inputs, outputs) in enumerate(layers):
        hidden = outputs.float()
        found.append(hidden)
        if reader.cell is not LSTMCell:
            continue
        if before is None:
            start = last = torch.zeros_like(hidden[:, 0])
        else:
            start, last = (one.float() for one in before.cells[depth])
        earlier = torch.cat([start[:, None], hidden[:, :-1]], dim=1)
        new, old = layer_products(reader.layers[depth][0], inputs.float(), earlier)
        gates = LSTMCell.gates(new + old)
        found.append(_Recurrence.apply(gates[1], gates[0] * gates[2], last))
    return found
