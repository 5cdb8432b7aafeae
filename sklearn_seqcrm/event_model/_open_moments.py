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
the moment, see `cell_states`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import nn

from sklearn_seqcrm._recurrent.network import (
    HistoryReader,
    OpenMoment,
    RecurrentState,
)
from sklearn_seqcrm.event_model._cell_states import layer_products
from sklearn_seqcrm.event_model._segments import sums_before


class _SumsBefore(torch.autograd.Function):
    """`sums_before` with a gradient: the sums of the gradients after each event."""

    @staticmethod
    def forward(ctx: Any, numbers: torch.Tensor, is_new: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(is_new)
        return sums_before(numbers, is_new)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        [is_new] = ctx.saved_tensors
        # Backwards, a moment begins with its last event.
        is_last = is_new.roll(-1)
        return sums_before(gradients[0].flip(0), is_last.flip(0)).flip(0), None


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
        new, old = layer_products(layer[0], inputs, entries[0])
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
    first = later - n_before[later]
    of_moment = _SumsBefore.apply(summed, n_before == 0)[later]
    count = n_before[later, None].to(values.dtype)
    channels, vectors_before = of_moment.tensor_split([places.times], dim=1)
    moment = OpenMoment(
        count, count, values[first, places.times :], channels, vectors_before
    )
    return later, moment.join(places)


# One event at a time -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PathState:
    """State of a reader after the last event of n paths, whose moment may go on.

    Parameters
    ----------
    closed : RecurrentState of n
        State if the moment ends with this event.
    before : RecurrentState of n
        State before the moment; without cells if each event is a step.
    moment : Tensor of shape (n, K)
        Sums over the events of the moment, a packed `OpenMoment`; K is 0 if each event
        is a step.
    """

    closed: RecurrentState
    before: RecurrentState
    moment: torch.Tensor

    @classmethod
    def at_cutoff(cls, reader: HistoryReader, final: RecurrentState) -> Self:
        """Return the state after histories, whose last moments are over."""
        if (places := reader.moments) is None:
            return cls(final, RecurrentState(()), final.output[:, :0])
        n_vectors = sum(one.embedding_dim for one in reader.embeddings)
        size = 2 + places.n_channels + n_vectors
        return cls(final, final, final.output.new_zeros(len(final.output), size))

    @property
    def output(self) -> torch.Tensor:
        """Output of the reader after the last event, shape (n, H)."""
        return self.closed.output

    def take(self, kept: Any) -> Self:
        """Return the state of some paths."""
        parts = self.closed.take(kept), self.before.take(kept), self.moment[kept]
        return type(self)(*parts)

    def concat(self, more: Self) -> Self:
        """Return the state of these paths and others."""

        def concat(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
            return torch.cat([one, two])

        return type(self)(
            self.closed.map(concat, more.closed),
            self.before.map(concat, more.before),
            concat(self.moment, more.moment),
        )

    def append(
        self,
        reader: HistoryReader,
        values: torch.Tensor,
        codes: torch.Tensor,
        is_tie: torch.Tensor,
    ) -> Self:
        """Return the state after one more event of each path.

        Parameters
        ----------
        reader : HistoryReader
            Reads forwards.
        values : Tensor of shape (n, F)
            Channels of the events that the network takes in.
        codes : Tensor of shape (n, C), int64
            Their codes.
        is_tie : Tensor of shape (n,), bool
            Whether an event joins the moment of the last one.
        """
        if reader.moments is None:
            steps = reader.embed(values[:, None], codes[:, None])  # (n, 1, D)
            return replace(self, closed=_read_one(reader, steps, self.closed))
        vectors = [one(codes[:, i]) for i, one in enumerate(reader.embeddings)]
        event = OpenMoment.of_event(
            values,
            torch.cat([values[:, :0], *vectors], dim=1),
            torch.zeros_like(values[:, 0]),  # poolings would need it
            reader.moments,
        )
        moment = OpenMoment.unpack(self.moment, reader.moments).add(event).pack()
        moment = torch.where(is_tie[:, None], moment, event.pack())
        before = self.before.map(
            lambda own, closed: torch.where(is_tie[:, None], own, closed), self.closed
        )
        steps = OpenMoment.unpack(moment, reader.moments).join(reader.moments)
        closed = _read_one(reader, steps[:, None], before)
        return replace(self, closed=closed, before=before, moment=moment)


def _read_one(
    reader: HistoryReader, steps: torch.Tensor, state: RecurrentState
) -> RecurrentState:
    """Return the state after a step (n, 1, D) of each path."""
    ones = torch.ones(len(steps), dtype=torch.int64, device=steps.device)
    _, after = reader.read(steps, ones, state)
    return after.map(torch.Tensor.float)  # layers in bfloat16 return such states
