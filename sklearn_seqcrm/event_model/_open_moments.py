"""States within a moment: what the network knows after some of its lines.

The recurrent layers take a step for each moment. After j of the n lines of moment m,
the state is the one that they would have if the moment ended there: a step from the
state before the moment, over the join of the j lines::

    state after m - 1  --[a]-->  after line 1 of m
                       --[a b]-->  after line 2
                       --[a b c]-->  after all 3 lines: the state after m

So there is one state for every prefix of a history, and the order of the lines of a
moment does not matter to later ones. All steps of a batch are computed at once, as none
needs another one of its moment. Each starts from the whole state of the cells before
the moment. torch's LSTM returns the memory for the last step only; `cell_states`
computes it for all of them from the outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sklearn_seqcrm._recurrent.network import (
    HistoryReader,
    LSTMCell,
    OpenMoment,
    RecurrentState,
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
        new, old = _products(reader.layers[depth][0], inputs.float(), earlier)
        gates = LSTMCell.gates(new + old)
        found.append(_Recurrence.apply(gates[1], gates[0] * gates[2], last))
    return found


def _products(
    direction: nn.Module, inputs: torch.Tensor, hidden: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``W_ih x + b_ih`` and ``W_hh h + b_hh`` of a layer."""
    return (
        nn.functional.linear(inputs, direction.weight_ih_l0, direction.bias_ih_l0),
        nn.functional.linear(hidden, direction.weight_hh_l0, direction.bias_hh_l0),
    )


def open_outputs(
    reader: HistoryReader,
    inputs: torch.Tensor,
    layers: list[tuple[torch.Tensor, ...]],
    place: torch.Tensor,
) -> torch.Tensor:
    """Return the outputs after parts of moments, shape (n, H).

    Parameters
    ----------
    reader : HistoryReader
        Reads forwards.
    inputs : Tensor of shape (n, D)
        Joined lines of each part, as the first layer takes them.
    layers : list of tuple of Tensor of shape (n_entries, H)
        States of the cells of each layer.
    place : Tensor of shape (n,), int64
        Entry of the state before each moment.
    """
    for depth, (layer, entries) in enumerate(zip(reader.layers, layers, strict=True)):
        if depth:
            inputs = reader.dropout(inputs)
        # The product of the hidden state is that of all lines of a moment.
        new, old = _products(layer[0], inputs, entries[0])
        own = tuple(nn.functional.embedding(place, one) for one in entries)
        old = nn.functional.embedding(place, old)
        inputs = reader.cell.advance(own, new, old)[0]
    return inputs


def join_lines_before(
    reader: HistoryReader,
    values: torch.Tensor,
    codes: torch.Tensor,
    n_before: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which events are later lines of their moment, and the join of those before.

    Parameters
    ----------
    reader : HistoryReader
        Reads moments.
    values : Tensor of shape (n_events, F)
        Channels that the network takes in, moment by moment.
    codes : Tensor of shape (n_events, C), int64
        Codes.
    n_before : Tensor of shape (n_events,), int64
        Number of earlier events of its moment before each.

    Returns
    -------
    later : Tensor of shape (n,), int64
        Events with others before them.
    inputs : Tensor of shape (n, D)
        Their join, as the first layer takes it.
    """
    places = reader.moments
    assert places is not None
    later = n_before.nonzero()[:, 0]
    vectors = [one(codes[:, i]) for i, one in enumerate(reader.embeddings)]
    summed = torch.cat([values[:, : places.times], *vectors], dim=1)
    # In float64, where differences of cumulative sums have digits enough.
    sums = summed.double().cumsum(dim=0)
    first = later - n_before[later]
    of_moment = (sums[later - 1] - sums[first] + summed[first]).float()
    count = n_before[later, None].to(values.dtype)
    channels, vectors_before = of_moment.tensor_split([places.times], dim=1)
    moment = OpenMoment(
        count, count, values[first, places.times :], channels, vectors_before
    )
    return later, moment.join(places)
