"""Vectors of one history column in three steps: embed events, run the cells, pool.

`data._rows` draws how rows lie in a batch. A row that sees whole blocks only ends in
the next one, of which it sees nothing; therefore an empty block may follow the last
event. Without blocks each sequence is its own chunk: C = B and K = T.

Shapes are written with B sequences, T steps, N blocks of K events, C chunks with R
slots, and H for the size of an output.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sklearn_seqcrm._recurrent.data import (
    Array,
    FieldInputs,
    HistoryBatch,
    HistorySpec,
    SparseRows,
    array_namespace,
)
from sklearn_seqcrm._recurrent.network._cells import CELLS, Cell, State
from sklearn_seqcrm._recurrent.network._layers import (
    Dropout,
    multiply_sparse,
    new_embedding,
    new_generator,
    without_drawing,
)
from sklearn_seqcrm._recurrent.network._poolings import WeightedPooling, make_poolings
from sklearn_seqcrm._recurrent.network._weighted_means import weighted_means


class RecurrentState(NamedTuple):
    """State of the cells and poolings of a reader, for any number of histories.

    Its size does not depend on the number of events. Arrays have the histories as
    leading axes; without any they are those of one history. A packed state has two
    arrays, for storage::

        vectors (..., V, H)   layer 0: hidden [, memory] | layer 1 ... | pooling 0 | ...
        numbers (..., W)      pooling 0: sums of weights [, largest score] | ...
                              [| moment]
    """

    # For each layer, the vectors of its cell (..., H), the hidden state first.
    cells: tuple[State, ...]
    # For each pooling, its vectors (..., P, H), then its numbers (..., P), if it has a
    # state.
    poolings: tuple[State, ...] = ()
    # If steps are moments, one array (..., K): the sums over the events of a moment
    # that may go on, see `OpenMoment`. Cells and poolings are those before it.
    moment: State = ()

    @property
    def output(self) -> Array:
        """Output of the reader for the last event, shape (..., H); 0 before any."""
        return self.cells[-1][0]

    def map(
        self, function: Callable[..., Array], *others: RecurrentState
    ) -> RecurrentState:
        """Apply a function to each array, and to the same array of other states."""

        def apply(*same: State) -> State:
            return tuple(map(function, *same))

        cells, poolings, moment = zip(self, *others, strict=True)
        return RecurrentState(
            tuple(map(apply, *cells)), tuple(map(apply, *poolings)), apply(*moment)
        )

    def take(self, rows: Array) -> RecurrentState:
        """Take some of the histories: an index, a slice or a mask of the first axis."""
        return self.map(lambda array: array[rows])

    def put(self, rows: Array, state: RecurrentState) -> None:
        """Write the state of the cells of some of the histories, in place."""
        for own, others in zip(self.cells, state.cells, strict=True):
            for array, of_rows in zip(own, others, strict=True):
                array[rows] = of_rows

    def pack(self) -> tuple[Array, Array]:
        """Return the two arrays of the packed state."""
        xp = array_namespace(self.output)
        vectors = [one[..., None, :] for layer in self.cells for one in layer]
        vectors += [own[0] for own in self.poolings if own]
        packed = xp.concatenate(vectors, axis=-2)  # (..., V, H)
        numbers = [one for own in self.poolings for one in own[1:]]
        numbers += self.moment
        if not numbers:
            return packed, packed[..., 0, :0]  # (..., 0)
        return packed, xp.concatenate(numbers, axis=-1)  # (..., W)

    def unpack(self, vectors: Array, numbers: Array) -> RecurrentState:
        """Return the state of two arrays of `pack`, as views of them.

        It has the structure of this one.
        """
        cells, poolings, at, at_number = [], [], 0, 0
        for layer in self.cells:
            cells.append(tuple(vectors[..., at + i, :] for i in range(len(layer))))
            at += len(layer)
        for like in self.poolings:
            own = []
            if like:
                n = like[0].shape[-2]
                own.append(vectors[..., at : at + n, :])
                at += n
            for one in like[1:]:
                n = one.shape[-1]
                own.append(numbers[..., at_number : at_number + n])
                at_number += n
            poolings.append(tuple(own))
        moment = tuple(numbers[..., at_number:] for _ in self.moment)
        return RecurrentState(tuple(cells), tuple(poolings), moment)


PRECISIONS = ("float32", "bfloat16")


@functools.cache
def trains_in_bfloat16(device_type: str) -> bool:
    """Return whether an LSTM can be trained in bfloat16 on a type of device.

    Where it is False a GRU can still be trained in bfloat16, but more slowly than in
    float32, as its numbers are converted back and forth.
    """
    with torch.inference_mode(False):  # which switches gradients on as well
        layer = without_drawing(nn.LSTM, 1, 1).to(device_type)
        numbers = torch.zeros(1, 1, 1, dtype=torch.float32, device=device_type)
        try:
            with torch.autocast(device_type, torch.bfloat16):
                layer(numbers)[0].sum().backward()
        except RuntimeError:  # depends on the build of torch and on the processor
            return False
    return True


_DIMENSIONS = 16  # most numbers of the vector of a level
# Standard deviation of the first vectors in moments, which is that of a thousand levels
# elsewhere. Vectors of a moment are added up, and long random ones of many events hide
# what the levels mean. See "Vectors of departments" in docs/defaults_inputs.md.
_SHORT = 2 / math.sqrt(1000)


class HistoryReader(nn.Module):
    """Embed, run and pool the sequences of one history column.

    The parameters from `cell` to `category_dropout` have the meaning that they have in
    `LSTMClassifier`, with `pooling` as a sequence of names. A bidirectional reader
    needs one row per sequence; the precision is float32 where the device lacks
    bfloat16. Without a `generator` on the CPU, initial weights are drawn with the seed
    0. `short_vectors`: the vectors of fields of more than 16 codes start as short as
    those of a thousand.
    """

    # Parameters of `LSTMClassifier`, which are set before each training.
    bptt_steps: int | None = None
    precision: str = "float32"

    def __init__(
        self,
        spec: HistorySpec,
        cell: str,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        pooling: Sequence[str],
        dropout: float,
        category_dropout: float = 0.0,
        generator: torch.Generator | None = None,
        short_vectors: bool = False,
    ) -> None:
        super().__init__()
        generator = generator or new_generator(0)
        self.cell = CELLS[cell]
        # torch takes no integers of NumPy, as a search over np.arange passes them.
        self.hidden_size = hidden_size = int(hidden_size)
        self.moments = spec.moments  # None if each event is a step
        self.spec = spec
        self.embeddings = nn.ModuleList(
            # A dimension for every level, at most 16.
            new_embedding(
                n,
                min(_DIMENSIONS, n),
                generator,
                _SHORT if short_vectors and n > _DIMENSIONS else math.inf,
            )
            for n in spec.n_levels
        )
        size_of_vectors = sum(one.embedding_dim for one in self.embeddings)
        size = spec.n_channels + size_of_vectors
        # Length of an embedded event: its channels, and the vectors of its codes.
        self.event_size = (spec.moments or spec).n_channels + size_of_vectors
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            layer = nn.ModuleList(
                _new_direction(self.cell, max(size, 1), hidden_size, generator)
                for _ in range(2 if bidirectional else 1)
            )
            self.layers.append(layer)
            size = hidden_size * len(layer)
        self.dropout = Dropout(dropout)
        self.category_dropout = Dropout(category_dropout, whole_vectors=True)
        self.poolings = make_poolings(
            pooling, spec.half_lives, size, bidirectional, generator
        )
        # Length of the pooled vector of a row.
        self.output_size = size * sum(one.n_vectors for one in self.poolings.values())

    def forward(self, batch: HistoryBatch) -> Tensor:
        """Embed, run and pool a batch; one vector per row, (n, output_size).

        The vector of an empty history is 0.
        """
        return batch.take_rows(self.pool_places(batch))

    def pool_places(self, batch: HistoryBatch, steps: Tensor | None = None) -> Tensor:
        """Embed, run and pool a batch; one vector per slot, (C * R, output_size).

        `steps`, of shape (B, T, D), are embedded events in place of those that `embed`
        returns. Vectors of slots without a row are finite and have no meaning.
        """
        if steps is None:
            steps = self.embed(batch.values, batch.codes, batch.levels)
        outputs, _ = self.run(steps, batch.lengths)
        return self.pool(outputs, batch)

    def embed(
        self, values: Tensor, codes: Tensor, levels: Sequence[SparseRows] | None = None
    ) -> Tensor:
        """Concatenate the channels of steps and the embeddings of their levels.

        With channels `values` (B, T, F), and `codes` (B, T, C) of events or `levels` of
        moments. Returns inputs of the first layer, (B, T, D), float32: a column of
        zeros if there is neither.
        """
        if levels is None:
            embedded = [
                self.category_dropout(embedding(codes[:, :, i]))  # (B, T, dim)
                for i, embedding in enumerate(self.embeddings)
            ]
        else:
            embedded = [
                self._sum_vectors(embedding, one).view(*values.shape[:2], -1)
                for embedding, one in zip(self.embeddings, levels, strict=True)
            ]
        steps = join([values, *embedded])  # (B, T, D)
        if steps.shape[2] == 0:
            steps = steps.new_zeros(*steps.shape[:2], 1)
        return steps

    def columns_of(self, own: FieldInputs) -> list[int]:
        """Return the columns of `embed` for some inputs of a step."""
        columns = [*own.channels]
        start = self.spec.n_channels
        for i, embedding in enumerate(self.embeddings):
            if i in own.codes:
                columns += range(start, start + embedding.embedding_dim)
            start += embedding.embedding_dim
        return columns

    def _sum_vectors(self, embedding: nn.Embedding, rows: SparseRows) -> Tensor:
        """Return the weighted sums of vectors of B T moments, shape (B T, dim)."""
        weights = self.category_dropout(rows.weights[:, None]).squeeze(1)
        return multiply_sparse(rows.offsets, rows.levels, weights, embedding.weight)

    def run(
        self,
        steps: Tensor,
        lengths: Tensor,
        state: RecurrentState | None = None,
        layers: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, RecurrentState]:
        """Run the recurrent layers over embedded events.

        `steps` (B, T, D) are padded after their ends, and `lengths` (B,) are for the
        backward direction. `state`, as an earlier call returned it, is that after the
        events before, None that before the first event; a bidirectional reader raises
        a ValueError for it. `layers`, if given, is extended by the inputs (B, T, D) and
        outputs (B, T, H') of each layer.

        Returns outputs of the last layer, (B, T, H'), float32, where H' is 2 H with two
        directions, and the state of the forward direction after the last step, padding
        included, without poolings.
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
        cells = []
        with arithmetic:
            for depth, layer in enumerate(self.layers):
                if depth:
                    steps = self.dropout(steps)
                before = None if state is None else state.cells[depth]
                outputs, after = run_both_ways(  # (B, T, H')
                    layer, steps, lengths, self.bptt_steps, before
                )
                if layers is not None:
                    layers.append((steps, outputs))
                steps = outputs
                cells.append(after)
        return steps.float(), RecurrentState(tuple(cells))

    def start(self, n: int) -> RecurrentState:
        """Return the state of n histories before any event, without poolings: 0."""
        device = next(self.parameters()).device
        shape = len(self.layers), self.cell.n_states, n, self.hidden_size
        zeros = torch.zeros(shape, dtype=torch.float32, device=device)
        return RecurrentState(tuple(tuple(layer) for layer in zeros))

    def pool(self, outputs: Tensor, batch: HistoryBatch) -> Tensor:
        """Pool the outputs of the last layer, (B, T, H'), up to each row's cutoff.

        Returns one vector per slot, (C * R, output_size), poolings in the order of
        `order_poolings`.
        """
        missing = batch.n_steps_of_blocks - outputs.shape[1]
        if missing:
            outputs = nn.functional.pad(outputs, (0, 0, 0, missing))  # (B, N K, H')
        before: list[Tensor] = []
        after: list[Tensor] = []
        weights = []
        for pooling in self.poolings.values():
            if isinstance(pooling, WeightedPooling):
                weights.append(pooling.weigh(outputs, batch))
                continue
            own = before if pooling.place < WeightedPooling.place else after
            own.append(pooling.pool(outputs, batch))  # (C, R, P H')
        means = [weighted_means(weights, outputs, batch)] if weights else []
        return join([*before, *means, *after]).flatten(0, 1)


def _new_direction(
    cell: type[Cell], n_inputs: int, hidden_size: int, generator: torch.Generator
) -> nn.Module:
    """Make a recurrent layer of one direction, with drawn weights."""
    made = without_drawing(cell.layer, n_inputs, hidden_size, batch_first=True)
    cell.initialize(made, hidden_size, generator)
    return made


def join(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors along the last axis; a single one is not copied."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tuple(tensors), dim=-1)


def run_both_ways(
    directions: Sequence[nn.Module],
    steps: Tensor,
    lengths: Tensor,
    bptt_steps: int | None = None,
    state: State | None = None,
) -> tuple[Tensor, State]:
    """Run one layer over padded sequences, also backwards if it has two directions.

    Padding comes after the events, so that the forward direction never meets it. For
    the backward direction each sequence is reversed within its own length::

        steps       e0 e1 e2 .  .
        reversed    e2 e1 e0 .  .      (the padding stays where it is)

    So both use oneDNN's kernels for padded sequences, which are several times faster
    than those for packed ones. Returns outputs (B, T, H'), and the state of the forward
    direction, whose arrays have shape (B, H).
    """
    forward, state = run_one_way(directions[0], steps, bptt_steps, state)
    if len(directions) == 1:
        return forward, state
    step = torch.arange(steps.shape[1], device=steps.device)
    turned = lengths[:, None] - 1 - step  # (B, T)
    turned = torch.where(turned >= 0, turned, step)[:, :, None]  # (B, T, 1)
    backward = steps.gather(1, turned.expand_as(steps))
    backward, _ = run_one_way(directions[1], backward, bptt_steps)
    backward = backward.gather(1, turned.expand_as(backward))
    return torch.cat([forward, backward], dim=2), state  # (B, T, 2 H)


def run_one_way(
    direction: nn.Module,
    steps: Tensor,
    bptt_steps: int | None,
    state: State | None = None,
) -> tuple[Tensor, State]:
    """Run one direction over padded sequences, in stretches if they are long.

    A stretch begins every `bptt_steps` events, whatever else is in the batch, and
    gradients end there. The gates of a stretch are computed again when its gradient is
    (gradient checkpointing): memory holds all outputs, and the gates of one stretch
    only. Returns outputs (B, T, H) and the last state.
    """
    if (
        bptt_steps is None
        or steps.shape[1] <= bptt_steps
        or not torch.is_grad_enabled()
    ):
        return _run(direction, steps, state)
    outputs = []
    for stretch in steps.split(int(bptt_steps), dim=1):
        output, after = checkpoint(
            _run,
            direction,
            stretch,
            state,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        state = after = tuple(one.detach() for one in after)
        outputs.append(output)
    return torch.cat(outputs, dim=1), after


def _run(
    direction: nn.Module, steps: Tensor, state: State | None
) -> tuple[Tensor, State]:
    """Run a layer of torch, whose states have an axis of layers: (1, B, H)."""
    before: Any = None
    if state is not None:
        before = tuple(one[None].contiguous() for one in state)
        before = before if len(before) > 1 else before[0]  # a tuple of an LSTM only
    outputs, after = direction(steps, before)
    after = after if isinstance(after, tuple) else (after,)
    return outputs, tuple(one[0] for one in after)
