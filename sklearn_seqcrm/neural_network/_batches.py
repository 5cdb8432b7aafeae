"""Ragged rows to padded batches: rows that share events are read in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

# Rows are shuffled in pools of this many batches and sorted by length within a pool:
# short enough a sort for training to stay stochastic, long enough for little padding.
_POOL = 64
# A part of a batch has as many sequences as this, however long, if memory allows: the
# kernels are slow on fewer.
_FEWEST_SEQUENCES = 8
# It never has more weights of an event for a row, which a single customer of many rows
# among many of one row would blow up: 1,024 such rows took 12 s and 3 GB to predict.
_MOST_WEIGHTS = 2**22
# An automatic batch has 128 rows, or all rows of 16 sequences if those are more; but
# an epoch keeps 64 steps, and a batch has 1,024 rows at most.
_FEWEST_ROWS, _MOST_ROWS = 128, 1024
_SEQUENCES_IN_BATCH = 16
_STEPS_IN_EPOCH = 64


@dataclass(frozen=True)
class HistorySource:
    """The encoded events of one history column, and the rows that view them.

    Parameters
    ----------
    channels : ndarray of shape (n_events, F), float32
        Float channels of the events.
    codes : ndarray of shape (n_events, C), int32
        Codes of the events.
    times : ndarray of shape (n_events,)
        Times of the events.
    start, stop : ndarray of shape (n,), int64
        Row ``i`` sees the events ``start[i]:stop[i]``.
    cutoff : ndarray of shape (n,)
        Cutoffs, on the axis of `times`.
    time_unit : float, default=1.0
        Typical gap between events, on that axis.
    gap : int or None, default=None
        Channel of the gap to the previous event, which is 0 for the first event that
        a row sees: a lookback hides the one before.
    """

    channels: np.ndarray
    codes: np.ndarray
    times: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    cutoff: np.ndarray
    time_unit: float = 1.0
    gap: int | None = None

    def take(self, rows: np.ndarray) -> HistorySource:
        """Return the source for some rows."""
        return replace(
            self, start=self.start[rows], stop=self.stop[rows], cutoff=self.cutoff[rows]
        )


@dataclass(frozen=True)
class RowData:
    """Everything that a network reads of some rows.

    Parameters
    ----------
    sources : tuple of HistorySource
        One for each history column.
    static : ndarray of shape (n, S), float32
        Row features of the histories and statics, side by side.
    target : ndarray of shape (n,) or None
        Codes of classes (int64) or numbers (float32).
    weight : ndarray of shape (n,) or None
        Weight of each row in the loss. In training float32, of mean 1.
    """

    sources: tuple[HistorySource, ...]
    static: np.ndarray
    target: np.ndarray | None = None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.static)

    def take(self, rows: np.ndarray) -> RowData:
        """Return the data of some rows."""
        return RowData(
            tuple(source.take(rows) for source in self.sources),
            self.static[rows],
            None if self.target is None else self.target[rows],
            None if self.weight is None else self.weight[rows],
        )


@dataclass(frozen=True)
class HistoryBatch:
    """Padded sequences of one history column, and where each row reads them.

    A sequence starts where its rows start, and rows that start at the same event share
    one. Each sequence has room for as many rows as the sequence with most of them.

    Parameters
    ----------
    values : Tensor of shape (B, T, F), float32
        Channels of B sequences, padded with zeros after their ends.
    codes : Tensor of shape (B, T, C), int64
        Codes, padded with 0.
    lengths : Tensor of shape (B,), int64
        Number of events of each sequence.
    visible : Tensor of shape (B, R), int64
        Number of events that each row sees of its sequence; 0 without a row.
    ages : Tensor of shape (B, R, T), float32
        Time from each event to the row's cutoff, in typical gaps; infinite for events
        that the row does not see.
    place : Tensor of shape (n,), int64
        Position of each row of the batch in the flattened ``(B * R)``.
    """

    values: torch.Tensor
    codes: torch.Tensor
    lengths: torch.Tensor
    visible: torch.Tensor
    ages: torch.Tensor
    place: torch.Tensor

    def to(self, device: torch.device | str) -> HistoryBatch:
        """Return the batch on a device."""
        moved = {name: tensor.to(device) for name, tensor in vars(self).items()}
        return HistoryBatch(**moved)


@dataclass(frozen=True)
class BatchPart:
    """What a network reads at once.

    Parameters
    ----------
    histories : list of HistoryBatch
        One for each history column.
    static : Tensor of shape (n, S), float32
        Row features and statics.
    weight : Tensor of shape (n,), float32, or None
        Weight of each row in the loss.
    """

    histories: list[HistoryBatch]
    static: torch.Tensor
    weight: torch.Tensor | None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.static)

    def to(self, device: torch.device | str) -> BatchPart:
        """Return the part on a device."""
        return BatchPart(
            [history.to(device) for history in self.histories],
            self.static.to(device),
            None if self.weight is None else self.weight.to(device),
        )


class Batch:
    """Rows of one step of training; iterate to gather them part by part.

    Parameters
    ----------
    data : RowData
        All rows.
    parts : list of ndarray of int64
        Rows of each part.
    share : bool
        Let rows that start at the same event share a sequence.
    """

    def __init__(self, data: RowData, parts: list[np.ndarray], share: bool) -> None:
        self.parts = parts
        self.rows = np.concatenate(parts)
        self._data = data
        self._share = share

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def weight(self) -> torch.Tensor | None:
        """Weights of the rows in the order of `rows`, shape (n,), or None."""
        weight = self._data.weight
        return None if weight is None else torch.from_numpy(weight[self.rows])

    @property
    def target(self) -> torch.Tensor:
        """Targets in the order of `rows`, shape (n,); 0 if there are none."""
        if self._data.target is None:
            return torch.zeros(len(self), dtype=torch.float32, device="cpu")
        return torch.from_numpy(self._data.target[self.rows])

    def __iter__(self) -> Iterator[BatchPart]:
        """Gather a part at a time, in the order of `rows`."""
        data = self._data
        for rows in self.parts:
            yield BatchPart(
                [_pad(source, rows, self._share) for source in data.sources],
                torch.from_numpy(data.static[rows]),
                None if data.weight is None else torch.from_numpy(data.weight[rows]),
            )


class BatchIterator:
    """Batches of rows of similar length, for skorch to iterate over.

    Parameters
    ----------
    data : RowData
        All rows.
    batch_size : int
        Rows in a batch.
    shuffle : bool, default=False
        Draw new batches, in another order, on each iteration.
    share : bool, default=True
        Let rows that start at the same event share a sequence. False gives each row
        a sequence of its own, which a bidirectional network needs.
    seed : int, default=0
        Seed of the shuffling.
    steps_at_once : int, default=2**18
        Padded steps in a part of a batch, of each history column, unless eight
        sequences have more.
    most_steps : int, default=2**18
        Most padded steps in a part, unless a single row has more.
    """

    def __init__(
        self,
        data: RowData,
        batch_size: int,
        shuffle: bool = False,
        share: bool = True,
        seed: int = 0,
        steps_at_once: int = 2**18,
        most_steps: int = 2**18,
    ) -> None:
        self.data = data
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.share = share
        self.steps_at_once = steps_at_once
        self.most_steps = most_steps
        self.rng = np.random.default_rng(seed)
        self._groups = _group_rows(data, batch_size, share)

    def __iter__(self) -> Iterator[tuple[Batch, torch.Tensor]]:
        """Yield a batch and its targets at a time; targets are 0 if there are none."""
        for parts in self.plan():
            batch = Batch(self.data, parts, self.share)
            yield batch, batch.target

    def plan(self) -> list[list[np.ndarray]]:
        """Choose the rows of each part of each batch."""
        order, bounds, lengths = self._groups
        sizes = np.diff(bounds)
        if self.shuffle:
            groups = self.rng.permutation(len(lengths))
            pool = np.cumsum(sizes[groups]) // (_POOL * self.batch_size)
            groups = groups[np.lexsort((lengths[groups], pool))]
        else:
            groups = np.argsort(lengths, kind="stable")
        plan = []
        for first, last in pairwise(_cut_batches(sizes[groups], self.batch_size)):
            batch = groups[first:last]
            n = sizes[batch]
            before = np.cumsum(n) - n
            # A loop over groups took a third of the time to score rows of statics.
            rows = order[np.repeat(bounds[batch] - before, n) + np.arange(n.sum())]
            cuts = self._cut_parts(rows, np.repeat(lengths[batch], n))
            plan.append(np.split(rows, cuts))
        if self.shuffle:
            self.rng.shuffle(plan)
        return plan

    def _cut_parts(self, rows: np.ndarray, longest: np.ndarray) -> list[int]:
        """Where to cut the rows of a batch into parts.

        `longest` is of the group of each row, so that a group is cut only where memory
        demands it.
        """
        # Of each history column, the sequences up to a row, and the rows of its own.
        counts, slots = np.ones((2, max(1, len(self.data.sources)), len(rows)), "int64")
        for source, count, slot in zip(self.data.sources, counts, slots, strict=False):
            new = _starts_sequence(source.start[rows], self.share)
            count[:] = np.cumsum(new)
            slot[:] = np.arange(len(rows)) - np.flatnonzero(new)[count - 1] + 1
        cuts: list[int] = []
        first = 0
        while True:
            n_sequences = (counts[:, first:] - counts[:, [first]] + 1).max(axis=0)
            n_slots = np.maximum.accumulate(slots[:, first:].max(axis=0))
            steps = np.maximum.accumulate(longest[first:]) * n_sequences
            fits = (steps <= self.steps_at_once) | (n_sequences <= _FEWEST_SEQUENCES)
            fits &= (steps <= self.most_steps) & (steps * n_slots <= _MOST_WEIGHTS)
            fits[0] = True
            if fits.all():
                return cuts
            first += int(fits.argmin())
            cuts.append(first)


def automatic_batch_size(data: RowData, share: bool) -> int:
    """Rows of a step of training that suit the rows.

    The more rows share a sequence, the less is new in a batch of a given size, and the
    more steps an epoch has, each of which has a fixed cost. What batches that grow with
    the rows cost of AUC, .001 or nothing, is under "Several rows of a customer" in
    ``docs/benchmarks.md``.

    Parameters
    ----------
    data : RowData
        Rows, one at least.
    share : bool
        Whether rows that start at the same event share a sequence.

    Returns
    -------
    int
        From 128 to 1,024.
    """
    if not share or not data.sources:
        return _FEWEST_ROWS
    n_rows, n_sequences = len(data), len(np.unique(data.sources[0].start))
    wanted = _SEQUENCES_IN_BATCH * n_rows // n_sequences
    most = min(_MOST_ROWS, n_rows // _STEPS_IN_EPOCH)
    return max(_FEWEST_ROWS, min(wanted, most))


def _starts_sequence(start: np.ndarray, share: bool) -> np.ndarray:
    """Whether each row is the first of its sequence; rows that share one adjoin."""
    new = np.ones(len(start), dtype=bool)
    if share:
        new[1:] = start[1:] != start[:-1]
    return new


def _group_rows(
    data: RowData, batch_size: int, share: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that share a sequence, at most a batch of them, stand together.

    Returns
    -------
    order : ndarray of shape (n,)
        Rows, group by group.
    bounds : ndarray of shape (n_groups + 1,)
        Group ``i`` is ``order[bounds[i]:bounds[i + 1]]``.
    lengths : ndarray of shape (n_groups,)
        Longest history of each group, over all history columns.
    """
    n_rows = len(data)
    longest = np.zeros(n_rows, dtype="int64")
    for source in data.sources:
        np.maximum(longest, source.stop - source.start, out=longest)
    if not share or not data.sources:
        return np.arange(n_rows), np.arange(n_rows + 1), longest
    start = data.sources[0].start
    # Ordered by length within a group, so that a group that is split has its short
    # rows in a batch of their own.
    order = np.lexsort((longest, start))
    new = np.ones(n_rows, dtype=bool)
    new[1:] = start[order[1:]] != start[order[:-1]]
    position = np.arange(n_rows)
    since = position - np.maximum.accumulate(np.where(new, position, 0))
    new |= since % batch_size == 0
    bounds = np.append(np.flatnonzero(new), n_rows)
    return order, bounds, np.maximum.reduceat(longest[order], bounds[:-1])


def _cut_batches(sizes: np.ndarray, batch_size: int) -> list[int]:
    """Cut groups into batches of about `batch_size` rows, and not more."""
    ends = np.cumsum(sizes)
    cuts = [0]
    while cuts[-1] < len(sizes):
        first = cuts[-1]
        done = ends[first - 1] if first else 0
        last = int(np.searchsorted(ends, done + batch_size, side="right"))
        cuts.append(max(last, first + 1))
    return cuts


def _pad(source: HistorySource, rows: np.ndarray, share: bool) -> HistoryBatch:
    """Gather the sequences of some rows, padded to their own longest.

    Rows that share a sequence stand together.
    """
    start, seen = source.start[rows], source.stop[rows] - source.start[rows]
    new = _starts_sequence(start, share)
    at = np.flatnonzero(new)  # the first row of each sequence
    first, lengths = start[at], np.maximum.reduceat(seen, at)
    # One step at least, which an empty history does not read.
    index = first[:, None] + np.arange(max(1, int(lengths.max())))
    padding = index >= (first + lengths)[:, None]
    index[padding] = 0
    if len(source.times):
        values, codes = source.channels[index], source.codes[index]
        times = source.times[index]
    else:
        values, codes, times = (
            np.zeros((*index.shape, *column.shape[1:]), column.dtype)
            for column in (source.channels, source.codes, source.times)
        )
    values[padding] = 0
    codes[padding] = 0
    if source.gap is not None:
        values[:, 0, source.gap] = 0
    n_slots = int(np.diff(at, append=len(rows)).max())
    sequence = np.cumsum(new) - 1
    place = sequence * n_slots + np.arange(len(rows)) - at[sequence]
    visible = np.zeros((len(first), n_slots), dtype="int64")
    visible.ravel()[place] = seen
    cutoff = np.zeros(len(first) * n_slots, source.cutoff.dtype)
    cutoff[place] = source.cutoff[rows]
    ages = cutoff.reshape(len(first), n_slots, 1) - times[:, None, :]
    ages = (ages / source.time_unit).astype("float32")
    ages[np.arange(index.shape[1]) >= visible[:, :, None]] = np.inf
    return HistoryBatch(
        torch.from_numpy(values),
        torch.from_numpy(codes.astype("int64")),
        torch.from_numpy(lengths),
        torch.from_numpy(visible),
        torch.from_numpy(ages),
        torch.from_numpy(place),
    )
