"""Poolings: the outputs of a reader up to a row's cutoff become P vectors.

Each pooling but `BothEnds` has three forms, which agree (the tests compare them).

*By batch*: all rows at once, for training. `WeightedPooling.weigh` returns a matrix of
weights, `EventPooling.pool` the vectors themselves.

*By event*: a state, which `update` changes by one event and `read` turns into the
vectors of a row, given the age of the last event. These formulas run on torch tensors,
NumPy arrays and the symbolic arrays of the ONNX export alike, see `_cells`.

*Padded*: a row has a sequence of its own, in the batch graph of ONNX. `pool_padded` has
only functions of NumPy that the symbolic arrays have.

All but ``"max"`` are weighted means with one recurrence: for an event with output h
after an interarrival time t, with fade(t) <= 1 (and 1 for all but ``"decay"``)::

    sums'   = fade(t) sums   + w h
    weight' = fade(t) weight + w
    read    = sums / max(weight, 1)

By batch the weights of all rows are written out for the block of events that a row ends
in. The state after the blocks before it is carried into it as one more vector::

    sequence   | block 0         | block 1         | block 2         |
    events     e e e e e e e e e e e e e e e e e e e e e e e e e e e
    carried    0                 >state            >state
    a row                                           sees e e e, and the state

Nothing is ever divided by a factor that fades, which may underflow.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.data import (
    Array,
    HistoryBatch,
    array_namespace,
    at_least_one,
)
from sklearn_seqcrm._recurrent.network._cells import Affine, State
from sklearn_seqcrm._recurrent.network._layers import float32_tensor, new_linear

# Most blocks among which states are carried by one product of matrices.
_BLOCKS_AT_ONCE = 32
# Stands for minus infinity where that cannot be written, as in JSON.
LOWEST = float(np.finfo("float32").min)


class Weights(NamedTuple):
    """Weights of P vectors, before they are divided by their sums."""

    # (C, R, P, K): weights of the K events of a block, for each row that ends in it.
    rows: Tensor
    # (C, R, P): weight of the state before the block, for each row. None if each
    # sequence is one block; so are the next two.
    carried: Any = None
    # (B, N, P, K): weights of the events of each of N blocks, at the end of the block.
    ends: Any = None
    # (B, N, P): weight of the state before a block, at the end of the block.
    kept: Any = None


class PaddedOutputs(NamedTuple):
    """Outputs for N rows with a padded sequence each."""

    outputs: Array  # (N, T, H)
    ages: Array  # (N, T), in typical interarrival times; any number in padding
    is_seen: Array  # (N, T), bool: which steps a row sees
    is_last: Array  # (N, T), bool: the last of them
    is_filled: Array  # (N, 1), bool: whether it sees any

    def mean(self, weights: Array) -> Array:
        """Return means (N, P, H) with weights (N, P, T), divided by 1 at least."""
        shares = weights / at_least_one(weights.sum(axis=2, keepdims=True))
        return shares @ self.outputs


class Pooling(nn.Module, ABC):
    """A pooling in a batch."""

    # Number of vectors, each of the size of an output, that it returns for a row.
    n_vectors = 1
    # Poolings with a smaller place come first in the vector of a row. Weighted poolings
    # stand together, as one product of matrices makes all of them.
    place = 2

    @abstractmethod
    def pool_padded(self, rows: PaddedOutputs) -> Array:
        """Return the vectors of rows with a sequence each, shape (N, P, H)."""


class EventPooling(Pooling):
    """A pooling that can also be updated event by event."""

    # Whether its vectors are sums over all events, which grow with their number.
    adds_up = False

    def to_numpy(self) -> Self:
        """Return a copy whose formulas compute in NumPy."""
        twin = copy.copy(self)
        # An instance attribute is found before the tensor or layer of the same name,
        # which `nn.Module.__getattr__` looks up, and ten times as fast.
        twin.__dict__ |= {k: one.numpy() for k, one in self.named_buffers()}
        twin.__dict__ |= {k: Affine.of(one) for k, one in self.named_children()}
        return twin

    @abstractmethod
    def start(self, size: int) -> State:
        """Return the state of one history before its first event.

        For outputs of a size H: vectors (P, H), then any arrays of numbers (P,). Empty
        without a state.
        """

    @abstractmethod
    def update(self, state: State, output: Array, interarrival: Array) -> State:
        """Return the state after one more event.

        `output` (..., H) is that of the reader for the event. `interarrival` (...,) is
        in typical interarrival times; any finite number for a first event.
        """

    @abstractmethod
    def read(self, state: State, output: Array, age: Array) -> Array:
        """Return the vectors of a row, (..., P, H); 0 before the first event.

        `output` (..., H) is that of the reader for the last event that the row sees, 0
        before the first. `age` (...,) is the time since then, in typical interarrival
        times.
        """


class WeightedPooling(EventPooling):
    """A weighted mean of outputs, divided by 1 at least.

    The state has P weighted sums, (..., P, H), and the sums of the weights, (..., P).
    """

    place = 1

    @abstractmethod
    def weigh(self, outputs: Tensor, batch: HistoryBatch) -> Weights:
        """Return the weights of the rows of a batch.

        `outputs` (B, N * K, H) are those of the reader, padded to whole blocks.
        """

    @abstractmethod
    def weigh_padded(self, rows: PaddedOutputs) -> Array:
        """Return the weights of rows with a sequence each, shape (N, P, T)."""

    def pool_padded(self, rows: PaddedOutputs) -> Array:
        return rows.mean(self.weigh_padded(rows))

    def start(self, size: int) -> State:
        sums = np.zeros((self.n_vectors, size), "float32")
        return sums, np.zeros(self.n_vectors, "float32")

    def update(self, state: State, output: Array, interarrival: Array) -> State:
        sums, weight = state
        return sums + output[..., None, :], weight + 1

    def read(self, state: State, output: Array, age: Array) -> Array:
        sums, weight = state[:2]
        return sums * (1 / at_least_one(weight))[..., None]


class Last(WeightedPooling):
    """The output of the last event."""

    def weigh(self, outputs: Tensor, batch: HistoryBatch) -> Weights:
        n_seen = batch.seen_in_block()  # (C, R)
        step = torch.arange(batch.block_length, device=outputs.device)  # (K,)
        rows = (step == n_seen[:, :, None] - 1).to(outputs)[:, :, None]  # (C, R, 1, K)
        if batch.blocks is None:
            return Weights(rows)
        shape = (*batch.blocks.durations.shape, 1)  # (B, N, 1)
        end = (step == batch.block_length - 1).to(outputs)
        return Weights(
            rows,
            # A row that sees nothing of its block takes the event before the block.
            (n_seen == 0).to(outputs)[:, :, None],  # (C, R, 1)
            end.expand(*shape, -1),  # (B, N, 1, K)
            outputs.new_zeros(shape),
        )

    def weigh_padded(self, rows: PaddedOutputs) -> Array:
        return _as_floats(rows.is_last)[..., None, :]

    # By event, the state of the last cell is all it needs.

    def start(self, size: int) -> State:
        return ()

    def update(self, state: State, output: Array, interarrival: Array) -> State:
        return ()

    def read(self, state: State, output: Array, age: Array) -> Array:
        return output[..., None, :]


class Mean(WeightedPooling):
    """The mean of all outputs."""

    adds_up = True

    def weigh(self, outputs: Tensor, batch: HistoryBatch) -> Weights:
        rows = batch.sees().to(outputs)[:, :, None]  # (C, R, 1, K)
        if batch.blocks is None:
            return Weights(rows)
        shape = (*batch.blocks.durations.shape, 1)
        return Weights(
            rows,
            outputs.new_ones(*rows.shape[:2], 1),
            outputs.new_ones(*shape, batch.block_length),
            outputs.new_ones(shape),
        )

    def weigh_padded(self, rows: PaddedOutputs) -> Array:
        return _as_floats(rows.is_seen)[..., None, :]


class Decay(WeightedPooling):
    """Means whose weights halve with age, one for each half-life.

    The sum of the weights is divided out only where it is more than 1, so that after a
    long time without events the mean fades to 0 instead of staying constant. Half-lives
    are in typical interarrival times.
    """

    def __init__(self, half_lives: Sequence[float]) -> None:
        super().__init__()
        # Halvings per typical interarrival time.
        halvings = 1 / float32_tensor(half_lives)
        self.register_buffer("halvings", halvings)
        self.n_vectors = len(halvings)

    def fade(self, time: Array) -> Array:
        """Return the share of a weight that is left, (..., P), after a time (...,)."""
        # In powers of 2: torch's exp takes six times as long where the age of an event
        # is infinite.
        return array_namespace(time).exp2((-time)[..., None] * self.halvings)

    def weigh(self, outputs: Tensor, batch: HistoryBatch) -> Weights:
        rows = self._by_event(batch.ages)  # (C, R, P, K)
        if batch.blocks is None:
            return Weights(rows)
        blocks = batch.blocks
        return Weights(
            rows,
            self.fade(blocks.ages),  # (C, R, P)
            self._by_event(blocks.end_ages),  # (B, N, P, K)
            self.fade(blocks.durations),  # (B, N, P)
        )

    def _by_event(self, ages: Array) -> Array:
        """Return the fades of K events in the last axis, shape (..., P, K)."""
        xp = array_namespace(ages)
        return xp.exp2(ages[..., None, :] * -self.halvings[:, None])

    def weigh_padded(self, rows: PaddedOutputs) -> Array:
        return self.to_numpy()._by_event(np.where(rows.is_seen, rows.ages, np.inf))

    def _after(self, state: State, time: Array) -> State:
        """Return the state after a time without events."""
        sums, weight = state
        fade = self.fade(time)
        return sums * fade[..., None], weight * fade

    def update(self, state: State, output: Array, interarrival: Array) -> State:
        return super().update(self._after(state, interarrival), output, interarrival)

    def read(self, state: State, output: Array, age: Array) -> Array:
        return super().read(self._after(state, age), output, age)


class Attention(WeightedPooling):
    """A mean with learned weights, the softmax of a score of each output.

    Scores are relative to the largest one so far, as a stable softmax computes them.
    Where a new event has a larger score, the sums so far are scaled down: the online
    softmax of Milakov and Gimelshein (2018, arXiv:1805.02867).
    """

    adds_up = True

    def __init__(self, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.score = new_linear(size, 1, generator)

    def weigh(self, outputs: Tensor, batch: HistoryBatch) -> Weights:
        scores = self.score(outputs).squeeze(2)  # (B, N * K)
        # The result does not depend on what scores are relative to: no gradient there.
        largest = scores.detach().cummax(dim=1).values  # (B, N * K)
        length, blocks = batch.block_length, batch.blocks
        by_block = scores.view(-1, length)  # (B * N, K)
        top = at_last_event(largest[:, :, None], batch).squeeze(2)  # (C, R)
        chosen = by_block if blocks is None else by_block[blocks.block]  # (C, K)
        relative = chosen[:, None] - top[:, :, None]  # (C, R, K)
        rows = relative.masked_fill(~batch.sees(), -torch.inf).exp()[:, :, None]
        if blocks is None:
            return Weights(rows)
        shape = blocks.durations.shape  # (B, N)
        at_end = largest.view(*shape, length)[:, :, -1]  # (B, N)
        # The first block has no state before it.
        before = torch.cat([at_end[:, :1], at_end[:, :-1]], dim=1)
        # As in `update`: the scores of a block are relative to the largest one at its
        # end, and the state before the block is scaled down as that has grown.
        ends = (scores.view(*shape, length) - at_end[:, :, None]).exp()  # (B, N, K)
        carried = (before.flatten()[blocks.block][:, None] - top).exp()  # (C, R)
        # For a row that sees nothing of a first block, `top` is 0, and may be less
        # than `before`: exp could overflow, and there is no state before the block.
        carried = carried.masked_fill(batch.visible < length, 0)
        return Weights(
            rows,
            carried[:, :, None],
            ends[:, :, None],
            (before - at_end).exp()[:, :, None],
        )

    def weigh_padded(self, rows: PaddedOutputs) -> Array:
        score = Affine.of(self.score)(rows.outputs)[..., 0]  # (N, T)
        score = np.where(rows.is_seen, score, LOWEST)
        # Relative to the largest one. Of a row without events all are the largest.
        relative = score - score.max(axis=1, keepdims=True)
        return (np.exp(relative) * _as_floats(rows.is_seen))[..., None, :]

    def start(self, size: int) -> State:
        return *super().start(size), np.full(1, -np.inf, "float32")

    def update(self, state: State, output: Array, interarrival: Array) -> State:
        sums, weight, largest = state
        xp = array_namespace(output)
        score = self.score(output)  # (..., 1)
        top = xp.maximum(largest, score)
        fade, own = xp.exp(largest - top), xp.exp(score - top)
        sums = sums * fade[..., None] + output[..., None, :] * own[..., None]
        return sums, weight * fade + own, top


class Max(EventPooling):
    """The largest output, element by element."""

    def pool(self, outputs: Tensor, batch: HistoryBatch) -> Tensor:
        """Return the vectors of the rows of a batch, (C, R, H)."""
        return at_last_event(torch.cummax(outputs, dim=1).values, batch)

    def pool_padded(self, rows: PaddedOutputs) -> Array:
        outputs = np.where(rows.is_seen[..., None], rows.outputs, LOWEST)
        is_filled = rows.is_filled[..., None]
        return np.where(is_filled, outputs.max(axis=1, keepdims=True), 0.0)  # (N, 1, H)

    def start(self, size: int) -> State:
        return (np.full((1, size), -np.inf, "float32"),)

    def update(self, state: State, output: Array, interarrival: Array) -> State:
        return (array_namespace(output).maximum(state[0], output[..., None, :]),)

    def read(self, state: State, output: Array, age: Array) -> Array:
        [largest] = state
        return array_namespace(largest).where(largest > LOWEST, largest, 0.0)


class BothEnds(Pooling):
    """The output of each direction after all of its steps.

    The backward direction ends at the first event, and starts again with each new last
    event: it cannot be updated event by event.
    """

    place = 0

    def pool(self, outputs: Tensor, batch: HistoryBatch) -> Tensor:
        """Return the vectors of the rows of a batch, (C, 1, H)."""
        half = outputs.shape[2] // 2
        forward = at_last_event(outputs[:, :, :half], batch)  # (C, 1, H / 2)
        backward = outputs[:, :1, half:] * (batch.visible > 0)[:, :, None]
        return torch.cat([forward, backward], dim=2)

    def pool_padded(self, rows: PaddedOutputs) -> Array:
        at_last = rows.mean(_as_floats(rows.is_last)[..., None, :])  # (N, 1, H)
        at_first = rows.outputs[..., :1, :] * _as_floats(rows.is_filled)[..., None]
        half = rows.outputs.shape[-1] // 2
        return np.concatenate([at_last[..., :half], at_first[..., half:]], axis=2)


def _as_floats(condition: Array) -> Array:
    """Return booleans as 0 and 1 in float32."""
    return np.where(condition, 1.0, 0.0)


def at_last_event(numbers: Tensor, batch: HistoryBatch) -> Tensor:
    """Return the numbers, of (B, T, H), of the last event that each row sees.

    Shape (C, R, H); 0 for a row that sees nothing.
    """
    n_steps, size = numbers.shape[1:]
    seen = (batch.visible > 0)[:, :, None]
    at = (batch.visible - 1).clamp(min=0)  # (C, R)
    if batch.blocks is None:
        return numbers.gather(1, at[:, :, None].expand(-1, -1, size)) * seen
    sequence = batch.blocks.block // batch.blocks.durations.shape[1]
    at = at + sequence[:, None] * n_steps  # among the B * T events of all sequences
    return nn.functional.embedding(at, numbers.flatten(0, 1)) * seen


def weighted_sums(
    weights: Sequence[Weights], outputs: Tensor, batch: HistoryBatch
) -> Tensor:
    """Return weighted means of outputs, sums divided by ``max(weight, 1)``.

    One batched product of matrices serves all poolings and all rows of a block. The
    alternative, a copy of the outputs for each row, needs R times the memory::

        shares (R * P, K + P)  @  values (K + P, H)     for each of C chunks

        values    outputs of the K events of the block
                  states of the P vectors before the block
        shares    weights of the K events | diagonal: weight of the own state

    `weights` are those of each pooling, for P vectors together, and `outputs`, of shape
    (B, N * K, H), those of the reader, padded to whole blocks. Returns (C, R, P * H).
    """
    rows = torch.cat([one.rows for one in weights], dim=2)  # (C, R, P, K)
    n_rows, n_pools = rows.shape[1:3]
    total = rows.sum(3, keepdim=True)  # (C, R, P, 1)
    blocks = batch.blocks
    if blocks is None:
        values = outputs
        shares = rows / at_least_one(total)
    else:
        sums, weight = _states_before_blocks(weights, outputs, batch)
        values = outputs.reshape(len(sums), batch.block_length, -1)  # (B * N, K, H)
        values = torch.cat([values, sums], dim=1)  # (B * N, K + P, H)
        # Rows as index_select takes them, with a faster backward.
        values = nn.functional.embedding(blocks.block, values.flatten(1))
        values = values.unflatten(1, (-1, outputs.shape[2]))  # (C, K + P, H)
        carried = torch.cat([one.carried for one in weights], dim=2)  # (C, R, P)
        total = total + (carried * weight[blocks.block][:, None])[:, :, :, None]
        # A vector takes its own state, and 0 of the states of the others.
        shares = torch.cat([rows, torch.diag_embed(carried)], dim=3)
        shares = shares / at_least_one(total)
    product = torch.bmm(shares.flatten(1, 2), values)  # (C, R * P, H)
    return product.unflatten(1, (n_rows, n_pools)).flatten(2)


def _states_before_blocks(
    weights: Sequence[Weights], outputs: Tensor, batch: HistoryBatch
) -> tuple[Tensor, Tensor]:
    """Return the weighted sums of all events before each block, and of their weights.

    Shapes are (B * N, P, H) and (B * N, P); weights are those at the end of the block
    before.
    """
    ends = torch.cat([one.ends for one in weights], dim=2)  # (B, N, P, K)
    kept = torch.cat([one.kept for one in weights], dim=2)  # (B, N, P)
    shape = kept.shape[:2]
    ends = ends.flatten(0, 1)
    by_block = outputs.reshape(len(ends), batch.block_length, -1)
    # The sum of the weights is one more column beside the H of the outputs.
    sums = torch.cat([torch.bmm(ends, by_block), ends.sum(2, keepdim=True)], dim=2)
    sums = sums.unflatten(0, shape).transpose(1, 2)  # (B, P, N, H+1)
    before = carry_over(kept.transpose(1, 2), sums)
    before = before.transpose(1, 2).flatten(0, 1)  # (B * N, P, H + 1)
    weight = before[:, :, -1]
    # Beside outputs, weights get a gradient, which is needed only if weights are
    # learned. It took up to a tenth of training with a row before each event.
    return before[:, :, :-1], weight if ends.requires_grad else weight.detach()


def carry_over(kept: Tensor, added: Tensor) -> Tensor:
    """Solve the recurrence of states over N blocks, as products of matrices.

    ``state[n] = state[n - 1] * kept[n - 1] + added[n - 1]``, in parallel: a matrix of
    products of `kept` times `added`, for 32 blocks at once and then for blocks of
    blocks, so that memory grows with N and not with its square.

    `kept` (B, P, N) is the factor of the state over each block, at most 1, without a
    gradient; `added` (B, P, N, H) is what each block adds. Returns the state before
    each block, (B, P, N, H); 0 before the first.
    """
    n_blocks = kept.shape[2]
    if n_blocks <= _BLOCKS_AT_ONCE:
        return torch.matmul(_factors_between(kept), added)
    # Blocks of blocks: M groups of 32. First the states within each group as if it
    # began with 0, then the states that are carried from group to group.
    missing = -n_blocks % _BLOCKS_AT_ONCE
    kept = nn.functional.pad(kept, (0, missing)).unflatten(2, (-1, _BLOCKS_AT_ONCE))
    added = nn.functional.pad(added, (0, 0, 0, missing))
    added = added.unflatten(2, (-1, _BLOCKS_AT_ONCE))  # (B, P, M, 32, H)
    inner = torch.matmul(_factors_between(kept), added)  # (B, P, M, 32, H)
    whole = inner[..., -1, :] * kept[..., -1:] + added[..., -1, :]  # (B, P, M, H)
    before = carry_over(kept.prod(3), whole)  # (B, P, M, H)
    since = nn.functional.pad(kept[..., :-1], (1, 0), value=1).cumprod(3)
    states = torch.addcmul(inner, since[..., None], before[..., None, :])
    return states.flatten(2, 3)[:, :, :n_blocks]


@torch.no_grad()
def _factors_between(kept: Tensor) -> Tensor:
    """Return the factor of what block j adds in the state before block i.

    ::

                      j = 0       j = 1    j = 2
        i = 0           0           0        0
        i = 1           1           0        0
        i = 2         kept[1]       1        0
        i = 3    kept[1] kept[2]  kept[2]    1

    Products, and no quotients of cumulative products: a factor may be 0, or nearly.
    Shape (..., N, N).
    """
    n_blocks = kept.shape[-1]
    block = torch.arange(n_blocks, device=kept.device)
    before = nn.functional.pad(kept[..., :-1], (1, 0), value=1)  # over block i - 1
    # Column j has ones up to row j + 1, then kept[i - 1]; a product down the column
    # gives the table.
    between = block[:, None] - 1 > block
    factors = torch.where(between, before[..., None], 1).cumprod(-2)
    return factors.tril(-1)


def order_poolings(poolings: Sequence[Pooling]) -> list[int]:
    """Return the positions of poolings in the order of their vectors."""
    return sorted(range(len(poolings)), key=lambda i: poolings[i].place)


def make_poolings(
    names: Sequence[str],
    half_lives: Sequence[float],
    size: int,
    bidirectional: bool,
    generator: torch.Generator,
) -> nn.ModuleDict:
    """Make poolings by their names among `POOLINGS`, none twice.

    Outputs have a `size`; they are those of two directions, side by side, if
    `bidirectional`. ``"decay"`` has `half_lives` in typical interarrival times, and
    ``"attention"`` draws its initial weights from the `generator`.
    """
    makers = {
        "last": BothEnds if bidirectional else Last,
        "mean": Mean,
        "max": Max,
        "attention": lambda: Attention(size, generator),
        "decay": lambda: Decay(half_lives),
    }
    return nn.ModuleDict({name: makers[name]() for name in names})


POOLINGS = ("last", "mean", "max", "attention", "decay")
