"""Read the events of one history column in three steps: embed, read, pool."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sklearn_seqcrm._recurrent.data import HistoryBatch, HistorySpec
from sklearn_seqcrm._recurrent.network._layers import (
    Dropout,
    VectorDropout,
    draw_vectors,
    draw_weights,
    new_generator,
    remember_at_first,
    without_drawing,
)
from sklearn_seqcrm._recurrent.network._poolings import (
    BothEnds,
    WeightedPooling,
    make_poolings,
    weighted_sums,
)

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
PRECISIONS = ("float32", "bfloat16")

# Of a cell: a tensor, or two of an LSTM. Of a reader: for each layer, its directions.
CellState: TypeAlias = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
ReaderState = list[list[CellState]]


@functools.cache
def trains_in_bfloat16(device_type: str) -> bool:
    """Whether an LSTM can be trained in bfloat16 there.

    Parameters
    ----------
    device_type : str
        Type of a device of torch, such as ``"cpu"``.

    Returns
    -------
    bool
        Where it is False a GRU may train in bfloat16 all the same, but slower than in
        float32, as its numbers are converted to and fro.
    """
    with torch.inference_mode(False):  # which switches gradients on as well
        layer = without_drawing(nn.LSTM, 1, 1).to(device_type)
        numbers = torch.zeros(1, 1, 1, dtype=torch.float32, device=device_type)
        try:
            with torch.autocast(device_type, torch.bfloat16):
                layer(numbers)[0].sum().backward()
        except RuntimeError:  # as torch was built, or the processor is
            return False
    return True


class HistoryReader(nn.Module):
    """Read the sequences of one history column, and pool what each row sees.

    Parameters
    ----------
    spec : HistorySpec
        Channels, codes and half-lives of the column.
    cell : {"lstm", "gru", "rnn"}
        Kind of recurrent cell.
    hidden_size : int
        Size of the state, H.
    num_layers : int
        Number of layers.
    bidirectional : bool
        Also read backwards. Needs one row per sequence.
    pooling : sequence of str
        How outputs up to a row's cutoff become one vector.
    dropout : float
        Share of outputs that training drops between layers.
    bptt_steps : int or None, default=None
        Longest stretch of events through which gradients flow.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the layers; float32 where the device lacks bfloat16.
    category_dropout : float, default=0.0
        Share of events whose vector of a code training drops, field by field.
    generator : torch.Generator or None, default=None
        What first weights are drawn from, on the processor; None is seeded with 0.
    """

    def __init__(
        self,
        spec: HistorySpec,
        cell: str,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        pooling: Sequence[str],
        dropout: float,
        bptt_steps: int | None = None,
        precision: str = "float32",
        category_dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or new_generator(0)
        self.bptt_steps = bptt_steps
        self.precision = precision
        self.embeddings = nn.ModuleList(
            # Code 0 is a level that training did not know, and padding: it stays 0.
            draw_vectors(
                without_drawing(nn.Embedding, n, embedding_size(n), padding_idx=0),
                generator,
            )
            for n in spec.n_levels
        )
        size = spec.n_channels + sum(
            embedding.embedding_dim for embedding in self.embeddings
        )
        n_directions = 2 if bidirectional else 1
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            directions = [
                draw_weights(
                    without_drawing(
                        CELLS[cell], max(size, 1), hidden_size, batch_first=True
                    ),
                    hidden_size,
                    generator,
                )
                for _ in range(n_directions)
            ]
            self.layers.append(nn.ModuleList(directions))
            size = hidden_size * n_directions
        if cell == "lstm":
            for layer in self.layers:
                for direction in layer:
                    remember_at_first(direction)
        self.dropout = Dropout(dropout)
        self.category_dropout = VectorDropout(category_dropout)
        self.poolings = make_poolings(
            pooling, spec.half_lives, size, bidirectional, generator
        )
        self.output_size = size * sum(one.n_vectors for one in self.poolings.values())

    def forward(self, batch: HistoryBatch) -> torch.Tensor:
        """Embed, read and pool a batch.

        Parameters
        ----------
        batch : HistoryBatch
            Padded sequences and their rows.

        Returns
        -------
        Tensor of shape (n, output_size)
            One vector per row, 0 for an empty history.
        """
        return batch.take_rows(self.pool_places(batch))

    def pool_places(
        self, batch: HistoryBatch, steps: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `forward`, with a vector for each place, shape (C * R, output_size).

        Those of places without a row are finite, and mean nothing. `steps` stand in for
        what `embed` returns of the events.
        """
        if steps is None:
            steps = self.embed(batch.values, batch.codes)
        outputs, _ = self.read(steps, batch.lengths)
        return self.pool(outputs, batch)

    def embed(self, values: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Join the channels of events with vectors of their codes.

        Parameters
        ----------
        values : Tensor of shape (B, T, F), float32
            Channels.
        codes : Tensor of shape (B, T, C), int64
            Codes.

        Returns
        -------
        Tensor of shape (B, T, D), float32
            Inputs of the first layer; a column of zeros if there is neither.
        """
        embedded = [
            self.category_dropout(embedding(codes[:, :, i]))
            for i, embedding in enumerate(self.embeddings)
        ]
        steps = join([values, *embedded])
        if steps.shape[2] == 0:
            steps = steps.new_zeros(*steps.shape[:2], 1)
        return steps

    def read(
        self,
        steps: torch.Tensor,
        lengths: torch.Tensor,
        state: ReaderState | None = None,
    ) -> tuple[torch.Tensor, ReaderState]:
        """Run the recurrent layers over embedded events.

        Parameters
        ----------
        steps : Tensor of shape (B, T, D)
            Embedded events, padded after their ends.
        lengths : Tensor of shape (B,), int64
            Number of events of each sequence, which reading backwards needs.
        state : list or None, default=None
            Where a call with the events before ended. None: at the beginning.

        Returns
        -------
        outputs : Tensor of shape (B, T, H'), float32
            Outputs of the last layer.
        state : list
            State of each direction of each layer after the last step, padding
            included, from which another call goes on.

        Raises
        ------
        ValueError
            If a bidirectional reader is to go on.
        """
        if state is not None and len(self.layers[0]) == 2:
            raise ValueError(
                "A bidirectional reader cannot go on from a state: backwards, it reads "
                "the last event first."
            )
        arithmetic: AbstractContextManager[Any] = nullcontext()
        device_type = steps.device.type
        if self.precision == "bfloat16" and trains_in_bfloat16(device_type):
            arithmetic = torch.autocast(device_type, torch.bfloat16)
        states = []
        with arithmetic:
            for depth, layer in enumerate(self.layers):
                if depth:
                    steps = self.dropout(steps)
                before = None if state is None else state[depth]
                steps, after = read_both_ways(
                    layer, steps, lengths, self.bptt_steps, before
                )
                states.append(after)
        return steps.float(), states

    def pool(self, outputs: torch.Tensor, batch: HistoryBatch) -> torch.Tensor:
        """Turn the outputs up to each row's cutoff into one vector.

        Parameters
        ----------
        outputs : Tensor of shape (B, T, H')
            Outputs of the last layer.
        batch : HistoryBatch
            Rows, and when events happened.

        Returns
        -------
        Tensor of shape (C * R, output_size)
            One vector per place: weighted poolings stand before ``"max"``, and both
            ends of a bidirectional reader before those.
        """
        missing = batch.n_steps_of_blocks - outputs.shape[1]
        if missing:
            outputs = nn.functional.pad(outputs, (0, 0, 0, missing))
        weights, before, after = [], [], []
        for pooling in self.poolings.values():
            if isinstance(pooling, WeightedPooling):
                weights.append(pooling.weigh(outputs, batch))
            elif isinstance(pooling, BothEnds):
                before.append(pooling.pool(outputs, batch))
            else:
                after.append(pooling.pool(outputs, batch))
        summed = [weighted_sums(weights, outputs, batch)] if weights else []
        return join([*before, *summed, *after]).flatten(0, 1)


def embedding_size(n_levels: int) -> int:
    """Size of the vector of a code: room for every level to stand alone, at most 16."""
    return min(16, n_levels)


def join(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Tensors side by side in the last axis; a single one is not copied."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tuple(tensors), dim=-1)


def read_both_ways(
    directions: Sequence[nn.Module],
    steps: torch.Tensor,
    lengths: torch.Tensor,
    bptt_steps: int | None = None,
    states: Sequence[CellState | None] | None = None,
) -> tuple[torch.Tensor, list[CellState]]:
    """Run one layer over padded sequences, backwards as well if it has two directions.

    Padding comes after the events, so that the forward direction never meets it. For
    the backward direction each sequence is turned around within its own length. That
    keeps both on the padded kernels of oneDNN, which are several times faster than
    those for packed sequences. Returns outputs, and the state of each direction.
    """
    before = None if states is None else states[0]
    forward, state = read_one_way(directions[0], steps, bptt_steps, before)
    if len(directions) == 1:
        return forward, [state]
    step = torch.arange(steps.shape[1], device=steps.device)
    turned = lengths[:, None] - 1 - step  # (B, T)
    turned = torch.where(turned >= 0, turned, step)[:, :, None]
    backward = steps.gather(1, turned.expand_as(steps))
    backward, other = read_one_way(directions[1], backward, bptt_steps)
    backward = backward.gather(1, turned.expand_as(backward))
    return torch.cat([forward, backward], dim=2), [state, other]


def read_one_way(
    direction: nn.Module,
    steps: torch.Tensor,
    bptt_steps: int | None,
    state: CellState | None = None,
) -> tuple[torch.Tensor, CellState]:
    """Run one direction over padded sequences, in stretches if they are long.

    A stretch begins every `bptt_steps` events, so that it does not depend on what else
    is in the batch, and gradients end there. What a stretch needs for them is computed
    again when they arrive: memory holds outputs, and the inside of one stretch. Returns
    outputs and the last state.
    """
    if (
        bptt_steps is None
        or steps.shape[1] <= bptt_steps
        or not torch.is_grad_enabled()
    ):
        return direction(steps, state)
    outputs = []
    for stretch in steps.split(bptt_steps, dim=1):
        output, state = checkpoint(
            direction, stretch, state, use_reentrant=False, preserve_rng_state=False
        )
        # An LSTM has two tensors of state, other cells one.
        state = (
            state.detach()
            if isinstance(state, torch.Tensor)
            else tuple(tensor.detach() for tensor in state)
        )
        outputs.append(output)
    return torch.cat(outputs, dim=1), state
