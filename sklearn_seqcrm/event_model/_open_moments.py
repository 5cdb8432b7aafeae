"""States of the network within a moment, after some of its lines.

The recurrent layers take a step for each moment. After j of the n lines of moment m,
the state is the one that they would have if the moment ended there: a step from the
state before the moment, over the join of the j lines::

    state after m - 1  --[a]-->  after line 1 of m
                       --[a b]-->  after line 2
                       --[a b c]-->  after all 3 lines: the state after m

So there is one state for every prefix of a history, and the order of the lines of a
moment does not matter to later ones. All steps of a batch are computed at once, as none
needs another one of its moment. Each starts from the whole state of the cells before
the moment, see `cell_states`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.network import (
    HistoryReader,
    OpenMoment,
    layer_products,
    new_linear,
)
from sklearn_seqcrm.event_model._segments import sums_before

# Factor from line to line of the decayed sum over the lines before.
LINE_DECAY = 0.5


class _SumsBefore(torch.autograd.Function):
    """`sums_before` with a gradient: the sums of the gradients after each event."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, is_new: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(is_new)
        ctx.factor = factor
        return sums_before(numbers, is_new, factor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        [is_new] = ctx.saved_tensors
        # Backwards, a moment begins with its last event.
        is_last = is_new.roll(-1)
        found = sums_before(gradients[0].flip(0), is_last.flip(0), ctx.factor)
        return found.flip(0), None, None


def open_outputs(
    reader: HistoryReader,
    inputs: Tensor,
    layers: list[tuple[Tensor, ...]],
    place: Tensor,
) -> Tensor:
    """Return the outputs after parts of moments, shape (n, H).

    `inputs`, of shape (n, D), are the joined lines of each part, `layers` as in
    `StepStates`, and `place`, (n,), the entry there of the state before each moment.
    """
    for depth, (layer, entries) in enumerate(zip(reader.layers, layers, strict=True)):
        if depth:
            inputs = reader.dropout(inputs)
        # The product of the hidden state is that of all lines of a moment.
        new, old = layer_products(layer[0], inputs, entries[0])
        own = tuple(nn.functional.embedding(place, one) for one in entries)
        old = nn.functional.embedding(place, old)
        inputs = reader.cell.advance(own, new, old)[0]
    return inputs


class LinesBefore(nn.Module):
    """Context of the next line of a moment, from the lines before it.

    A join of sums loses which product had which price, and which lines were the last
    ones. With the embedded lines ``x`` of length n_inputs and the state ``h`` after
    them, both enter by a set encoder (Zaheer et al., "Deep Sets", NeurIPS 2017) and two
    memories of the order of the lines::

        f_i     = tanh(A x_i + a)
        context = D relu(C [h, mean of f_i, f_j, sum of f_i / 2^(j - i)] + c) + d

    over the lines i = 1, ..., j before. In both sets of lines that were tried their
    order is informative: without it, the next of 1,000 stock codes of an invoice was .5
    nats less probable.

    It is added to the context, of length `size`, of the fields of later lines of the
    same moment only: neither the time density nor later moments depend on the order of
    lines.
    """

    def __init__(self, n_inputs: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.line = new_linear(n_inputs, size, generator)
        self.hidden = new_linear(4 * size, size, generator)
        self.output = new_linear(size, size, generator)

    def encode(self, lines: Tensor) -> Tensor:
        """Return f of embedded lines of shape (n, D), shape (n, size)."""
        return torch.tanh(self.line(lines))

    def forward(self, states: Tensor, lines: Tensor) -> Tensor:
        """Return the context, given h (n, size), and mean, f_j and sum (n, 3 size)."""
        return self.output(torch.relu(self.hidden(torch.cat([states, lines], dim=1))))


class OpenMoments(NamedTuple):
    """Later lines of moments, and the join of the lines before each."""

    later: Tensor  # (n,), int64: events with others of their moment before them
    inputs: Tensor  # (n, D): the join of these, as the first layer takes it
    # (n, 3 H): mean, last and decayed sum of these lines, encoded by `LinesBefore`.
    encoded: Tensor


def join_lines_before(
    reader: HistoryReader, lines: Tensor, encoded: Tensor, n_before: Tensor
) -> OpenMoments:
    """Join the lines before each later line of a moment.

    `lines`, of shape (n_events, F + E), are as `embed_lines` returns them, moment by
    moment, `encoded`, (n_events, H), as `LinesBefore` encodes them, and `n_before`,
    (n_events,), is the number of earlier lines in the moment of each.
    """
    places = reader.moments
    assert places is not None
    later = n_before.nonzero()[:, 0]
    channels, vectors = lines.tensor_split([places.n_channels], dim=1)
    parts = [channels[:, : places.times], vectors, encoded]
    is_new = n_before == 0
    sums = _SumsBefore.apply(torch.cat(parts, dim=1), is_new, 1.0)[later]
    recent = _SumsBefore.apply(encoded, is_new, LINE_DECAY)[later]
    sizes = [one.shape[1] for one in parts]
    of_channels, of_vectors, of_encoded = sums.split(sizes, dim=1)
    count = n_before[later, None].to(lines.dtype)
    # Channels of times are those of the first line.
    times = channels[later - n_before[later], places.times :]
    moment = OpenMoment(count, count, times, of_channels, of_vectors)
    of_order = [encoded[later - 1], recent]
    memory = torch.cat([of_encoded / count, *of_order], dim=1)
    return OpenMoments(later, moment.join(places), memory)


def embed_lines(reader: HistoryReader, values: Tensor, codes: Tensor) -> Tensor:
    """Return the channels of events and the vectors of their codes, (n, F + E)."""
    return reader.embed(values[:, None], codes[:, None])[:, 0]
