"""Ragged rows to padded tensors: rows that share events are read in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sklearn_seqcrm._recurrent.data._rows import HistorySource, TensorFields

# Events of a block. In smaller ones more is carried from block to block, in larger ones
# a row weighs more events.
_BLOCK = 16


@dataclass(frozen=True)
class Blocks(TensorFields):
    """How sequences are cut into N blocks of K events each, and when those end.

    A block is followed by an empty one where the longest sequence ends with it, so that
    a row sees fewer than K events of the block that it ends in.

    Parameters
    ----------
    block : Tensor of shape (C,), int64
        Block that the rows of each chunk end in, of the flattened ``(B * N)``.
    seen : Tensor of shape (C, R), int64
        Number of events of that block which each row sees.
    ages : Tensor of shape (C, R), float32
        Time from the last event before the block to the row's cutoff, in typical gaps;
        infinite if there is none.
    end_ages : Tensor of shape (B, N, K), float32
        Time from each event to the last one of its block.
    gaps : Tensor of shape (B, N), float32
        Time from the last event before each block to its last one; 0 for the first.
    """

    block: torch.Tensor
    seen: torch.Tensor
    ages: torch.Tensor
    end_ages: torch.Tensor
    gaps: torch.Tensor


@dataclass(frozen=True)
class HistoryBatch(TensorFields):
    """Padded sequences of one history column, and where each row reads them.

    A sequence starts where its rows start, and rows that start at the same event share
    one. Rows stand in C chunks with room for R each: a chunk has rows that end in the
    same block of events. Where sequences are not cut into blocks, a chunk has all rows
    of a sequence, and there are B of them.

    Parameters
    ----------
    values : Tensor of shape (B, T, F), float32
        Channels of B sequences, padded with zeros after their ends.
    codes : Tensor of shape (B, T, C), int64
        Codes, padded with 0.
    lengths : Tensor of shape (B,), int64
        Number of events of each sequence.
    first : Tensor of shape (B,), int64
        Position in the source of the first event of each sequence.
    visible : Tensor of shape (C, R), int64
        Number of events that each row sees of its sequence; 0 without a row.
    ages : Tensor of shape (C, R, K), float32
        Time from each event of the block to the row's cutoff, in typical gaps; infinite
        for events that the row does not see.
    place : Tensor of shape (n,), int64
        Position of each row of the batch in the flattened ``(C * R)``.
    blocks : Blocks or None, default=None
        The blocks. None if each sequence is one, so that K is T.
    """

    values: torch.Tensor
    codes: torch.Tensor
    lengths: torch.Tensor
    first: torch.Tensor
    visible: torch.Tensor
    ages: torch.Tensor
    place: torch.Tensor
    blocks: Blocks | None = None

    @property
    def block_length(self) -> int:
        """Number of events of a block, K."""
        return self.ages.shape[2]

    @property
    def n_steps_of_blocks(self) -> int:
        """Number of steps of all blocks of a sequence, N * K."""
        n_blocks = 1 if self.blocks is None else self.blocks.gaps.shape[1]
        return n_blocks * self.block_length

    def seen_in_block(self) -> torch.Tensor:
        """Number of events that each row sees of its block, shape (C, R)."""
        return self.visible if self.blocks is None else self.blocks.seen

    def take_rows(self, numbers: torch.Tensor) -> torch.Tensor:
        """Take what stands in the places of the rows, in their order.

        Parameters
        ----------
        numbers : Tensor of shape (C * R, D)
            Numbers of all places.

        Returns
        -------
        Tensor of shape (n, D)
            Those of the rows.
        """
        if len(numbers) == len(self.place) and self.blocks is None:
            return numbers  # then they are in order
        # As index_select does. Its backward takes half the time where the gradient is
        # a part of a wider one.
        return torch.nn.functional.embedding(self.place, numbers)


def n_weights(
    n_steps: np.ndarray, n_slots: np.ndarray, n_rows: np.ndarray
) -> np.ndarray:
    """Weights of events for rows in a batch, at most, of one pooling.

    Parameters
    ----------
    n_steps : ndarray of int
        Padded steps of all sequences together.
    n_slots : ndarray of int
        Rows of the sequence that has most of them.
    n_rows : ndarray of int
        Rows.
    """
    return np.minimum(n_steps * n_slots, _worth_blocks(n_steps, n_rows))


def _worth_blocks(n_steps: Any, n_rows: Any) -> Any:
    """Weights beyond which sequences are cut into blocks.

    In blocks, every event is weighed once, and every row weighs one block. Measured
    with 3 to 16 sequences of 25 to 350 events, that is faster where one product over
    whole sequences has about eight times as many weights: it is only one.
    """
    return 8 * (n_steps + _BLOCK * n_rows)


def starts_sequence(start: np.ndarray, share: bool) -> np.ndarray:
    """Whether each row is the first of its sequence; rows that share one adjoin."""
    new = np.ones(len(start), dtype=bool)
    if share:
        new[1:] = start[1:] != start[:-1]
    return new


def pad(source: HistorySource, rows: np.ndarray, share: bool) -> HistoryBatch:
    """Gather the sequences of some rows, padded to their own longest.

    Parameters
    ----------
    source : HistorySource
        Events, and the rows that view them.
    rows : ndarray of int
        Rows; those that share a sequence stand together.
    share : bool
        Let rows that start at the same event share a sequence.
    """
    start, seen = source.start[rows], source.stop[rows] - source.start[rows]
    new = starts_sequence(start, share)
    at = np.flatnonzero(new)  # the first row of each sequence
    first, lengths = start[at], np.maximum.reduceat(seen, at)
    # One step at least, which an empty history does not read.
    n_steps = max(1, int(lengths.max()))
    # Padding reads event 0, whoever's that is, and is emptied thereafter.
    index = first[:, None] + np.arange(n_steps)
    padding = index >= (first + lengths)[:, None]
    index[padding] = 0
    if len(source.times):
        values, codes = source.channels[index], source.codes[index]
    else:
        values, codes = (
            np.zeros((*index.shape, *column.shape[1:]), column.dtype)
            for column in (source.channels, source.codes)
        )
    values[padding] = 0
    codes[padding] = 0
    # No event is before the first one that a row may see.
    if source.gap is not None:
        values[:, 0, source.gap] = 0
    sequence = np.cumsum(new) - 1
    n_slots = int(np.diff(at, append=len(rows)).max())
    place_rows = _place_in_sequences
    if n_slots * index.size > _worth_blocks(index.size, len(rows)):
        place_rows = _place_in_blocks
    cutoff = source.cutoff[rows]
    return HistoryBatch(
        torch.from_numpy(values),
        torch.from_numpy(codes.astype("int64")),
        torch.from_numpy(lengths),
        torch.from_numpy(first),
        **place_rows(source, cutoff, seen, sequence, first, lengths, n_slots),
    )


def _place_in_sequences(
    source: HistorySource,
    cutoff: np.ndarray,
    seen: np.ndarray,
    sequence: np.ndarray,
    first: np.ndarray,
    lengths: np.ndarray,
    n_slots: int,
) -> dict[str, Any]:
    """Rows of a batch whose sequences are one block each.

    Parameters
    ----------
    source : HistorySource
        Events.
    cutoff, seen, sequence : ndarray of shape (n,)
        Cutoff of each row, the number of events that it sees, and its sequence.
    first, lengths : ndarray of shape (B,)
        First event and number of events of each sequence.
    n_slots : int
        Most rows of a sequence.

    Returns
    -------
    dict
        Fields of a `HistoryBatch`.
    """
    shape = len(first), n_slots
    # Rows of a sequence adjoin: the rank of a row is its distance to the first of them.
    at = np.searchsorted(sequence, np.arange(len(first)))
    place = sequence * n_slots + np.arange(len(sequence)) - at[sequence]
    visible, cutoffs = _in_slots(shape, place, seen), _in_slots(shape, place, cutoff)
    times = _times(source, first, lengths, max(1, int(lengths.max())))
    ages = cutoffs[:, :, None] - times[:, None]
    return {
        "visible": torch.from_numpy(visible),
        "ages": _in_gaps(ages, source, visible[:, :, None]),
        "place": torch.from_numpy(place),
    }


def _place_in_blocks(
    source: HistorySource,
    cutoff: np.ndarray,
    seen: np.ndarray,
    sequence: np.ndarray,
    first: np.ndarray,
    lengths: np.ndarray,
    n_slots: int,
) -> dict[str, Any]:
    """Rows of a batch whose sequences are cut into blocks; as `_place_in_sequences`."""
    n_blocks = int(lengths.max()) // _BLOCK + 1
    times = _times(source, first, lengths, n_blocks * _BLOCK)
    times = times.reshape(-1, _BLOCK)  # (B * N, K)
    # A row that sees whole blocks alone ends in the next one, of which it sees nothing.
    block, place, room = _into_chunks(sequence * n_blocks + seen // _BLOCK)
    shape = len(block), room
    visible, cutoffs = _in_slots(shape, place, seen), _in_slots(shape, place, cutoff)
    # What the blocks before it in the sequence hold, a row has seen. Places without a
    # row see less than nothing of later blocks.
    in_block = np.maximum(visible - (block % n_blocks * _BLOCK)[:, None], 0)
    ages = cutoffs[:, :, None] - times[block][:, None]
    # The last event before each block; of a first one the number is of no matter.
    last, before = times[:, -1], np.append(times[:1, -1], times[:-1, -1])
    gaps = (last - before).reshape(-1, n_blocks)
    gaps[:, 0] = 0
    # Where no event is before the block, what is carried into it has faded for ever.
    since = _in_gaps(cutoffs - before[block][:, None], source).numpy()
    since[visible < _BLOCK] = np.inf
    blocks = Blocks(
        torch.from_numpy(block),
        torch.from_numpy(in_block),
        torch.from_numpy(since),
        _in_gaps(last[:, None] - times, source).unflatten(0, (-1, n_blocks)),
        _in_gaps(gaps, source),
    )
    return {
        "visible": torch.from_numpy(visible),
        "ages": _in_gaps(ages, source, in_block[:, :, None]),
        "place": torch.from_numpy(place),
        "blocks": blocks,
    }


def _into_chunks(block: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Put rows that end in the same block into chunks, as many as these need.

    Parameters
    ----------
    block : ndarray of shape (n,)
        Block that each row ends in.

    Returns
    -------
    chunk_block : ndarray of shape (C,)
        Block of each chunk.
    place : ndarray of shape (n,)
        Position of each row in the flattened ``(C * room)``.
    room : int
        Rows that a chunk has room for.
    """
    order = np.argsort(block, kind="stable")
    ordered = block[order]
    new = np.append(True, ordered[1:] != ordered[:-1])
    at = np.flatnonzero(new)  # the first row of each block
    # As many as a block has on average: then all chunks together have room for three
    # times the rows at most.
    room = -(-len(order) // len(at))
    rank = np.arange(len(order)) - np.repeat(at, np.diff(at, append=len(order)))
    # Another chunk begins with a block, and whenever one is full.
    new = rank % room == 0
    place = np.empty(len(order), dtype="int64")
    place[order] = (np.cumsum(new) - 1) * room + rank % room
    return ordered[new], place, room


def _times(
    source: HistorySource, first: np.ndarray, lengths: np.ndarray, n_steps: int
) -> np.ndarray:
    """Times of events of sequences, shape (B, n_steps); their last one for padding."""
    if not len(source.times):
        return np.zeros((len(first), n_steps), source.times.dtype)
    last = np.minimum(first + np.maximum(lengths - 1, 0), len(source.times) - 1)
    index = first[:, None] + np.arange(n_steps)
    return source.times[np.minimum(index, last[:, None])]


def _in_slots(
    shape: tuple[int, int], place: np.ndarray, numbers: np.ndarray
) -> np.ndarray:
    """Numbers of rows in their places, 0 in the others."""
    slots = np.zeros(shape, numbers.dtype)
    slots.ravel()[place] = numbers
    return slots


def _in_gaps(
    durations: np.ndarray, source: HistorySource, n_real: np.ndarray | None = None
) -> torch.Tensor:
    """Durations in typical gaps, float32; infinite from the `n_real`-th on."""
    numbers = (durations / source.time_unit).astype("float32")
    if n_real is not None:
        numbers[np.arange(numbers.shape[-1]) >= n_real] = np.inf
    return torch.from_numpy(numbers)
