"""Rows for a network, and ragged histories as padded tensors.

Rows of one customer see prefixes of the same events. They share a padded sequence,
and a pooling weighs its T steps for each of its rows::

    sequence 0   e0 e1 e2 e3 e4 e5 e6     lengths 7     T = 7
    row 0 (cutoff after e2)  ----^
    row 1 (cutoff after e6)  ------------^
    sequence 1   e7 e8  .  .  .  .  .     lengths 2     "." is padding

Rows stand in slots, R for each sequence, so that all weights are one tensor (B, R, T).
With many rows of long sequences that tensor is large: each row weighs all steps.
Sequences are then cut into N blocks of K steps. What blocks contribute is carried from
block to block once per sequence, and a row weighs only the K steps of the block in
which it ends::

    steps     | e0 ... e15 | e16 ... e31 | e32 ...    |      K = 16
    block            0            1            2
    row 1 sees    carried ----->  e16 .. e20
    row 2 sees    carried ----------------->  e32 .. e33

Blocks in which rows end have chunks with R slots each; a block with more rows has
several chunks. ``place`` is the slot of each row in the flattened (C, R)::

    chunk 0 = block 1   | row 1 | row 5 | row 6 |
    chunk 1 = block 1   | row 9 |   -   |   -   |            R = 3
    chunk 2 = block 2   | row 2 | row 3 |   -   |
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from sklearn_seqcrm._ragged import inverse_permutation, is_run_start, place_in_run
from sklearn_seqcrm._recurrent.data._arrays import Array, array_namespace
from sklearn_seqcrm._recurrent.data._sources import HistorySource
from sklearn_seqcrm._recurrent.data._tensor_fields import (
    OF_ALL_ROWS,
    IndexedFields,
    TensorFields,
)


class RowFields(TensorFields):
    """What `RowData` and parts of its batches have in common."""

    static: Any
    sums: Any

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.static)

    @property
    def linear_inputs(self) -> Array:
        """Inputs of the linear part: `static` and `sums`, shape (n, S + n_sums)."""
        if self.sums is None:
            return self.static
        both = [self.static, self.sums]
        return array_namespace(self.static).concatenate(both, axis=1)


@dataclass(frozen=True)
class RowData(IndexedFields, RowFields):
    """Inputs of a network, targets and weights of n rows."""

    sources: tuple[HistorySource, ...]  # one for each history column
    # (n, S), float32: row features of the histories and, after these, statics: inputs
    # of the head beside histories.
    static: np.ndarray
    # (n,) or (n, k): targets as the objective encodes them; None in predictions.
    target: Any = None
    # (n,): weight of each row in the loss. In training float32, of mean 1.
    weight: np.ndarray | None = None
    # (n, n_sums), float32: sums of the histories, which are inputs of the linear part
    # only, after `static`.
    sums: np.ndarray | None = None
    # (n,), float32: logarithm of the exposure over its mean, which is added to outputs.
    offset: np.ndarray | None = None


# Events of a block. Smaller blocks carry more states from block to block, in larger
# ones each row weighs more events.
_BLOCK = 16


@dataclass(frozen=True)
class Blocks(TensorFields):
    """Sequences cut into N blocks of K events, and the times at their ends.

    If the longest sequence ends with a full block, an empty one follows, so that a row
    sees fewer than K events of the block in which it ends.
    """

    block: Tensor  # (C,), int64: block of each chunk, in the flattened ``(B * N)``
    seen: Tensor  # (C, R), int64: number of events of that block that each row sees
    # (C, R), float32: time from the last event before the block to the row's cutoff, in
    # typical interarrival times; infinite if there is none.
    ages: Tensor
    # (B, N, K), float32: time from each event to the last event of its block.
    end_ages: Tensor
    # (B, N), float32: time from the last event before each block to its last event; 0
    # for the first.
    durations: Tensor


@dataclass(frozen=True)
class SparseRows(TensorFields):
    """Weights of the levels of one field in each step of a batch: a sparse matrix."""

    # (B * T + 1,), int64: step ``i`` has the entries ``offsets[i]:offsets[i + 1]``;
    # padding has none.
    offsets: Tensor
    levels: Tensor  # (n_entries,), int32
    weights: Tensor  # (n_entries,), float32

    @classmethod
    def of(cls, counts: csr_matrix, is_step: np.ndarray) -> Self:
        """Insert steps without entries where `is_step`, of shape (B * T,), is False.

        `counts`, of shape (n_steps, n_levels), are those of `count_levels`.
        """
        lengths = np.zeros(len(is_step) + 1, "int64")
        lengths[1:][is_step] = np.diff(counts.indptr)
        arrays = np.cumsum(lengths), counts.indices, counts.data
        return cls(*map(torch.from_numpy, arrays))


@dataclass(frozen=True)
class HistoryBatch(TensorFields):
    """Padded sequences of one history column, and the events that each row sees.

    Rows that see the same first steps share a sequence. Rows stand in C chunks of R
    slots; the rows of a chunk end in the same block of events. Without blocks, a chunk
    has all rows of a sequence, so that C is B; see the module for a drawing.
    """

    # (B, T, F), float32: channels of B sequences, padded with zeros at the end.
    values: Tensor
    # (B, T, C), int64: codes, padded with 0; without fields (C is 0) if steps are
    # moments.
    codes: Tensor
    lengths: Tensor  # (B,), int64: number of steps of each sequence
    # (C, R), int64: number of events of its sequence that each row sees; 0 in empty
    # slots.
    visible: Tensor
    # (C, R, K), float32: time from each event of the block to the row's cutoff, in
    # typical interarrival times; infinite for events that the row does not see.
    ages: Tensor
    # (n,), int64: slot of each row of the batch in the flattened ``(C * R)``.
    place: Tensor
    # Whether the rows of each sequence adjoin, in the order of their slots.
    adjoin: bool = field(default=True, metadata=OF_ALL_ROWS)
    # The blocks. None: each sequence is one block, and K is T.
    blocks: Blocks | None = None
    # If steps are moments, the levels of each of the C fields.
    levels: list[SparseRows] | None = None

    @property
    def block_length(self) -> int:
        """Number of events of a block, K."""
        return self.ages.shape[2]

    @property
    def n_steps_of_blocks(self) -> int:
        """Number of steps of all blocks of a sequence, N * K."""
        n_blocks = 1 if self.blocks is None else self.blocks.durations.shape[1]
        return n_blocks * self.block_length

    def seen_in_block(self) -> Tensor:
        """Return the number of events of its block that each row sees, (C, R)."""
        return self.visible if self.blocks is None else self.blocks.seen

    def sees(self) -> Tensor:
        """Return whether each row sees each event of its block, (C, R, K), bool."""
        step = torch.arange(self.block_length, device=self.visible.device)
        return step < self.seen_in_block()[:, :, None]

    def take_rows(self, numbers: Tensor) -> Tensor:
        """Return numbers of the rows, (n, D), from those of all slots, (C * R, D)."""
        if len(numbers) == len(self.place) and self.blocks is None and self.adjoin:
            return numbers  # each slot has a row, in order
        # Equal to index_select, whose backward takes twice the time if the gradient is
        # a slice of a wider one.
        return torch.nn.functional.embedding(self.place, numbers)


def n_weights(
    n_steps: np.ndarray, n_slots: np.ndarray, n_rows: np.ndarray
) -> np.ndarray:
    """Return an upper bound of the number of weights of one pooling in a batch.

    A batch has `n_steps` padded steps of all sequences, `n_rows` rows, and at most
    `n_slots` rows of a sequence.
    """
    return np.minimum(n_steps * n_slots, _least_for_blocks(n_steps, n_rows))


def _least_for_blocks(n_steps: Any, n_rows: Any) -> Any:
    """Return the number of weights from which blocks are faster.

    With blocks, each event is weighed once and each row weighs one block. Measured with
    3 to 16 sequences of 25 to 350 events, this is faster if a product over whole
    sequences has about eight times as many weights, because it is a single product.
    """
    return 8 * (n_steps + _BLOCK * n_rows)


def pad(source: HistorySource, rows: np.ndarray, share: bool) -> HistoryBatch:
    """Gather the sequences of some rows, padded to their own longest.

    `share` lets rows that see the same first steps share a sequence. Batches are in the
    order of the first history column; rows of others are sorted for it.
    """
    if not share:
        return _pad_runs(source, rows, np.ones(len(rows), dtype=bool))
    sequences = source.sequences[rows]
    order = np.argsort(sequences, kind="stable")
    new = is_run_start(sequences)
    new_in_order = is_run_start(sequences[order])
    if np.count_nonzero(new) == np.count_nonzero(new_in_order):
        return _pad_runs(source, rows, new)
    batch = _pad_runs(source, rows[order], new_in_order)
    place = batch.place[torch.from_numpy(inverse_permutation(order))]
    return replace(batch, place=place, adjoin=False)


def _pad_runs(source: HistorySource, rows: np.ndarray, new: np.ndarray) -> HistoryBatch:
    """Gather the sequences of rows; a sequence begins where `new`, (n,), is True."""
    seen = source.lengths[rows]
    at = np.flatnonzero(new)  # the first row of each sequence
    own, lengths = rows[at], np.maximum.reduceat(seen, at)
    # At least one step, of which an empty history sees nothing.
    step = np.arange(max(1, int(lengths.max())))
    padding = step >= lengths[:, None]  # (B, T)
    index = source.positions(own, lengths, step)
    # Padding reads step 0 of any customer and is set to 0 afterwards.
    index[padding] = 0
    n_codes = 0 if source.levels is not None else source.codes.shape[1]
    if source.levels is not None or not len(source.times):
        codes = np.zeros((*index.shape, n_codes), "int32")
        # To join the events of step 0 for all padding may take long.
        values = np.zeros((*index.shape, source.channels.shape[1]), "float32")
        values[~padding] = source.channels[index[~padding]]
    else:
        values, codes = source.channels[index], source.codes[index]
    values[padding] = 0
    codes[padding] = 0
    # The first step that a row may see has no predecessor.
    if source.interarrival_channel is not None:
        values[:, 0, source.interarrival_channel] = 0
    levels = None
    if source.levels is not None:
        is_step = ~padding.ravel()
        counts = source.levels[index.ravel()[is_step]]
        levels = [SparseRows.of(one, is_step) for one in counts]
    return HistoryBatch(
        torch.from_numpy(values),
        torch.from_numpy(codes.astype("int64")),
        torch.from_numpy(lengths),
        levels=levels,
        **_place_rows(source, rows, at, np.cumsum(new) - 1, lengths),
    )


def _place_rows(
    source: HistorySource,
    rows: np.ndarray,
    at: np.ndarray,
    sequence: np.ndarray,
    lengths: np.ndarray,
) -> dict[str, Any]:
    """Assign slots to rows, in blocks of their sequences if that is faster.

    `rows` (n,) are sorted by `sequence` (n,), the sequence of each row. Sequences have
    `lengths` (B,), their numbers of steps, and `at` (B,), the positions of their first
    rows in `rows`. Returns fields of a `HistoryBatch`.
    """
    seen, n_steps = source.lengths[rows], max(1, int(lengths.max()))
    n_slots = int(np.diff(at, append=len(rows)).max())
    size = len(at) * n_steps
    in_blocks = n_slots * size > _least_for_blocks(size, len(rows))
    if in_blocks:
        n_blocks, length = n_steps // _BLOCK + 1, _BLOCK
        # A row that sees full blocks only ends in the next one, and sees nothing of it.
        block, place, n_slots = _into_chunks(sequence * n_blocks + seen // length)
    else:  # each sequence is one block and one chunk, in which its rows adjoin
        n_blocks, length, block = 1, n_steps, np.arange(len(at))
        place = sequence * n_slots + np.arange(len(rows)) - at[sequence]
    shape = len(block), n_slots
    visible = _in_slots(shape, place, seen)  # (C, R)
    cutoffs = _in_slots(shape, place, source.cutoff[rows])
    times = _times(source, rows[at], lengths, n_blocks * length)
    times = times.reshape(-1, length)  # (B * N, K)
    # A row sees all events of the blocks before its own. In empty slots, visible is 0
    # and the difference may be negative.
    in_block = np.maximum(visible - (block % n_blocks * length)[:, None], 0)
    ages = cutoffs[:, :, None] - times[block][:, None]  # (C, R, K)
    found = {
        "visible": torch.from_numpy(visible),
        "ages": _in_typical_times(ages, source, in_block[:, :, None]),
        "place": torch.from_numpy(place),
    }
    if in_blocks:
        found["blocks"] = _make_blocks(
            source,
            block,
            visible,
            in_block,
            cutoffs,
            times.reshape(len(at), n_blocks, length),
        )
    return found


def _make_blocks(
    source: HistorySource,
    block: np.ndarray,
    visible: np.ndarray,
    in_block: np.ndarray,
    cutoffs: np.ndarray,
    times: np.ndarray,
) -> Blocks:
    """Return the blocks of sequences, given the `times` of their steps (B, N, K).

    Chunks have a `block` (C,). Rows (C, R) see a number of events of their sequence
    (`visible`) and of their block (`in_block`) before their `cutoffs`.
    """
    last = times[:, :, -1]  # (B, N)
    # Last event before each block. First blocks have none before them: their own last
    # time makes their duration 0, and `since` is overwritten below.
    before = np.concatenate([last[:, :1], last[:, :-1]], axis=1)
    since = _in_typical_times(cutoffs - before.ravel()[block][:, None], source)
    # Without an event before the block, the carried state has decayed to nothing.
    since[torch.from_numpy(visible < times.shape[2])] = torch.inf
    return Blocks(
        torch.from_numpy(block),
        torch.from_numpy(in_block),
        since,
        _in_typical_times(last[:, :, None] - times, source),
        _in_typical_times(last - before, source),
    )


def _into_chunks(block: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Distribute rows that end in the same block over chunks of R slots.

    `block`, of shape (n,), is the block in which each row ends. Returns the block of
    each chunk, (C,), the slot of each row in the flattened ``(C * R)``, (n,), and R.
    """
    order = np.argsort(block, kind="stable")
    ordered = block[order]
    begins = is_run_start(ordered)
    # The mean number of rows of a block, rounded up: then all chunks together have at
    # most three times as many slots as rows.
    room = -(-len(order) // int(begins.sum()))
    rank = place_in_run(begins)
    # A chunk begins with each block, and whenever one is full.
    new = rank % room == 0
    place = np.empty(len(order), dtype="int64")
    place[order] = (np.cumsum(new) - 1) * room + rank % room
    return ordered[new], place, room


def _times(
    source: HistorySource, own: np.ndarray, lengths: np.ndarray, n_steps: int
) -> np.ndarray:
    """Return times of steps, shape (B, n_steps); padding has the last time."""
    if not len(source.times):
        return np.zeros((len(own), n_steps), source.times.dtype)
    index = source.positions(own, lengths, np.arange(n_steps))
    # An empty history behind the last customer starts at the end of the source.
    return source.times[np.minimum(index, len(source.times) - 1)]


def _in_slots(
    shape: tuple[int, int], place: np.ndarray, numbers: np.ndarray
) -> np.ndarray:
    """Return numbers of rows in their slots, and 0 in empty slots."""
    slots = np.zeros(shape, numbers.dtype)
    slots.ravel()[place] = numbers
    return slots


def _in_typical_times(
    durations: np.ndarray, source: HistorySource, n_real: np.ndarray | None = None
) -> Tensor:
    """Return durations in typical interarrival times; infinite from the `n_real`-th."""
    numbers = (durations / source.time_unit).astype("float32")
    if n_real is not None:
        numbers[np.arange(numbers.shape[-1]) >= n_real] = np.inf
    return torch.from_numpy(numbers)
