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
from typing import Any, NamedTuple, Self

import torch
from torch import nn

from sklearn_seqcrm._recurrent.network import (
    HistoryReader,
    OpenMoment,
    RecurrentState,
    new_linear,
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


class LinesBefore(nn.Module):
    """Context of the next line of a moment, from the lines before it.

    A join of sums loses which product had which price, and which line was the last one.
    With the embedded lines ``x`` and the state ``h`` after them, both enter by a set
    encoder (Zaheer et al., "Deep Sets", NeurIPS 2017) and the last line::

        f(x)    = tanh(A x + a)
        context = D relu(C [h, mean of f over the lines before, f of the last] + c) + d

    It is added to the context of the fields of later lines of the same moment only:
    neither the time density nor later moments depend on the order of lines.

    Parameters
    ----------
    n_inputs : int
        Length of an embedded line.
    size : int
        Length of a context.
    generator : torch.Generator
        Draws first weights.
    """

    def __init__(self, n_inputs: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.line = new_linear(n_inputs, size, generator)
        self.hidden = new_linear(3 * size, size, generator)
        self.output = new_linear(size, size, generator)

    def encode(self, lines: torch.Tensor) -> torch.Tensor:
        """Return f of embedded lines of shape (n, D), shape (n, size)."""
        return torch.tanh(self.line(lines))

    def forward(self, states: torch.Tensor, lines: torch.Tensor) -> torch.Tensor:
        """Return the context, given h (n, size), and mean and last f (n, 2 size)."""
        return self.output(torch.relu(self.hidden(torch.cat([states, lines], dim=1))))


class OpenMoments(NamedTuple):
    """Later lines of moments, and the join of the lines before each.

    Parameters
    ----------
    later : Tensor of shape (n,), int64
        Events with others of their moment before them.
    inputs : Tensor of shape (n, D)
        The join of these, as the first layer takes it.
    encoded : Tensor of shape (n, 2 H)
        Mean of what `LinesBefore.encode` returns for each, and that of the last one.
    """

    later: torch.Tensor
    inputs: torch.Tensor
    encoded: torch.Tensor


def join_lines_before(
    reader: HistoryReader,
    lines: torch.Tensor,
    encoded: torch.Tensor,
    n_before: torch.Tensor,
) -> OpenMoments:
    """Join the lines before each later line of a moment.

    Parameters
    ----------
    reader : HistoryReader
        Reads moments.
    lines : Tensor of shape (n_events, F + E)
        Channels and vectors of events, as `embed_lines` returns them, moment by moment.
    encoded : Tensor of shape (n_events, H)
        What `LinesBefore.encode` returns for them.
    n_before : Tensor of shape (n_events,), int64
        Number of earlier events of its moment before each.
    """
    places = reader.moments
    assert places is not None
    later = n_before.nonzero()[:, 0]
    channels, vectors = lines.tensor_split([places.n_channels], dim=1)
    parts = [channels[:, : places.times], vectors, encoded]
    sums = _SumsBefore.apply(torch.cat(parts, dim=1), n_before == 0)[later]
    sizes = [one.shape[1] for one in parts]
    of_channels, of_vectors, of_encoded = sums.split(sizes, dim=1)
    count = n_before[later, None].to(lines.dtype)
    # Channels of times are those of the first line.
    times = channels[later - n_before[later], places.times :]
    moment = OpenMoment(count, count, times, of_channels, of_vectors)
    both = torch.cat([of_encoded / count, encoded[later - 1]], dim=1)
    return OpenMoments(later, moment.join(places), both)


def embed_lines(
    reader: HistoryReader, values: torch.Tensor, codes: torch.Tensor
) -> torch.Tensor:
    """Return the channels of events and the vectors of their codes, (n, F + E)."""
    return reader.embed(values[:, None], codes[:, None])[:, 0]


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
    encoded : Tensor of shape (n, 2 H)
        Sum over the events of the moment of what `LinesBefore.encode` returns for each,
        and that of the last one; without columns if each event is a step.
    """

    closed: RecurrentState
    before: RecurrentState
    moment: torch.Tensor
    encoded: torch.Tensor

    @classmethod
    def at_cutoff(cls, reader: HistoryReader, final: RecurrentState) -> Self:
        """Return the state after histories, whose last moments are over."""
        if (places := reader.moments) is None:
            nothing = final.output[:, :0]
            return cls(final, RecurrentState(()), nothing, nothing)
        n, size = final.output.shape
        n_vectors = sum(one.embedding_dim for one in reader.embeddings)
        moment = final.output.new_zeros(n, 2 + places.n_channels + n_vectors)
        return cls(final, final, moment, final.output.new_zeros(n, 2 * size))

    @property
    def output(self) -> torch.Tensor:
        """Output of the reader after the last event, shape (n, H)."""
        return self.closed.output

    def take(self, kept: Any) -> Self:
        """Return the state of some paths."""
        return type(self)(
            self.closed.take(kept),
            self.before.take(kept),
            self.moment[kept],
            self.encoded[kept],
        )

    def concat(self, more: Self) -> Self:
        """Return the state of these paths and others."""

        def concat(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
            return torch.cat([one, two])

        return type(self)(
            self.closed.map(concat, more.closed),
            self.before.map(concat, more.before),
            concat(self.moment, more.moment),
            concat(self.encoded, more.encoded),
        )

    def encoded_before(self, tied: torch.Tensor) -> torch.Tensor:
        """Return `OpenMoments.encoded` for the next line of some moments, (m, 2 H)."""
        total, last = self.encoded[tied].tensor_split(2, dim=1)
        return torch.cat([total / self.moment[tied, :1], last], dim=1)

    def append(
        self,
        reader: HistoryReader,
        values: torch.Tensor,
        codes: torch.Tensor,
        is_tie: torch.Tensor,
        encoded: torch.Tensor | None,
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
        encoded : Tensor of shape (n, H) or None
            What `LinesBefore.encode` returns for them; None if each event is a step.
        """
        lines = embed_lines(reader, values, codes)
        if (places := reader.moments) is None or encoded is None:
            return replace(self, closed=_read_one(reader, lines, self.closed))
        joins = is_tie[:, None]
        # Poolings alone need the time since the last moment.
        unused = torch.zeros_like(values[:, 0])
        vectors = lines[:, places.n_channels :]
        event = OpenMoment.of_event(values, vectors, unused, places)
        moment = OpenMoment.unpack(self.moment, places).add(event).pack()
        moment = torch.where(joins, moment, event.pack())
        before = self.before.map(
            lambda own, closed: torch.where(joins, own, closed), self.closed
        )
        inputs = OpenMoment.unpack(moment, places).join(places)
        total = self.encoded[:, : encoded.shape[1]] * joins + encoded
        return type(self)(
            _read_one(reader, inputs, before),
            before,
            moment,
            torch.cat([total, encoded], dim=1),
        )


def _read_one(
    reader: HistoryReader, inputs: torch.Tensor, state: RecurrentState
) -> RecurrentState:
    """Return the state after a step of each path, whose input has the shape (n, D)."""
    ones = torch.ones(len(inputs), dtype=torch.int64, device=inputs.device)
    _, after = reader.read(inputs[:, None], ones, state)
    return after.map(torch.Tensor.float)  # layers in bfloat16 return such states
