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

By batch, `weighted_means` makes the vectors of all rows and weighted poolings at once.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Self

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
from sklearn_seqcrm._recurrent.network._weighted_means import Weights

# Stands for minus infinity where that cannot be written, as in JSON.
LOWEST = float(np.finfo("float32").min)


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
