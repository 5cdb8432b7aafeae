"""Batches of rows of similar length, of which each part fits into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._ragged import is_run_start, place_in_run, ranges
from sklearn_seqcrm._recurrent.data._rows import (
    HistoryBatch,
    RowData,
    RowFields,
    n_weights,
    pad,
)
from sklearn_seqcrm._recurrent.data._sources import HistorySource

# Rows are shuffled in pools of this many batches and sorted by length within a pool:
# small enough for stochastic training, large enough for little padding.
_POOL = 64
# A part of a batch has at least this many sequences of any length, if memory allows:
# kernels are slow on fewer.
_FEWEST_SEQUENCES = 8
# Most weights of events for rows in a part. Slots of all sequences are as many as the
# largest has rows, so that one customer of many rows among many of one row needs many:
# 1,024 such rows took 12 s and 3 GB to predict.
_MOST_WEIGHTS = 2**22
# An automatic batch has, for each rank, the rows of 32 sequences, at most 4,096, or a
# 128th of all rows, up to 128, which are faster. All ranks together leave 64 steps in
# an epoch. With few rows see below; otherwise a batch has at least 128.
_SEQUENCES_IN_BATCH, _MOST_ROWS = 32, 4096
_USUAL_ROWS = 128
_STEPS_IN_EPOCH, _STEPS_WITH_FEW_ROWS = 64, 128
# Fewest rows if training stops early, with about one row per customer and with several.
# With fewer than 200 rows in all, the number of epochs depends on a few validation
# rows: the more steps an epoch has, the more a wrong number of epochs costs.
_FEWEST_SINGLE_ROWS, _FEWEST_ROWS, _ROWS_FOR_SMALL_BATCHES = 32, 64, 200


# States (steps times units) of an LSTM on a CPU in one part, in training and inference.
# Larger arrays exceed the threshold from which malloc maps new pages for each batch,
# which doubled the time.
_STATES_TO_TRAIN, _STATES_TO_PREDICT = 2**18, 2**20
# Most states for memory: a state takes about 40 bytes in training.
_MOST_STATES = 2**24


@dataclass(frozen=True)
class BatchPart(RowFields):
    """Input of the network: a `HistoryBatch` for each history column of some rows.

    The other fields are those of `RowData`, as tensors.
    """

    histories: list[HistoryBatch]
    static: Tensor
    weight: Tensor | None = None
    sums: Tensor | None = None
    offset: Tensor | None = None

    @classmethod
    def of(
        cls, data: RowData, rows: np.ndarray | slice, histories: list[HistoryBatch]
    ) -> BatchPart:
        """Take some rows of all fields, beside histories that have been padded."""
        tensors = (
            None if column is None else torch.from_numpy(column[rows])
            for column in (data.static, data.weight, data.sums, data.offset)
        )
        return cls(histories, *tensors)


class Batch:
    """Rows of one training step, gathered part by part by iteration.

    `parts` are the rows of each part. With `share`, rows that see the same first steps
    share a sequence.
    """

    def __init__(self, data: RowData, parts: list[np.ndarray], share: bool) -> None:
        self.parts = parts
        # Without parts if all rows are those of other ranks.
        self.rows = np.concatenate([np.zeros(0, "int64"), *parts])
        self.data = data
        self.share = share

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def weight(self) -> Tensor | None:
        """Weights of the rows in the order of `rows`, shape (n,), or None."""
        weight = self.data.weight
        return None if weight is None else torch.from_numpy(weight[self.rows])

    @property
    def target(self) -> Tensor:
        """Targets in the order of `rows`, shape (n,) or (n, k); 0 without any."""
        if self.data.target is None:
            return torch.zeros(len(self), dtype=torch.float32, device="cpu")
        return torch.from_numpy(self.data.target[self.rows])

    def __iter__(self) -> Iterator[BatchPart]:
        """Gather a part at a time, in the order of `rows`."""
        for rows in self.parts:
            histories = [pad(one, rows, self.share) for one in self.data.sources]
            yield BatchPart.of(self.data, rows, histories)


class BatchIterator:
    """Batches of rows of similar length, for skorch to iterate over.

    With `shuffle`, each iteration draws new batches, in another order. `share` lets
    rows that see the same first steps share a sequence; False gives each row a sequence
    of its own, which a bidirectional network needs. A part of a batch has at most
    `steps_at_once` padded steps of each history column, unless eight sequences have
    more, and at most `most_steps`, unless a single row has more.
    """

    batch_type: type[Batch] = Batch

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

    def __iter__(self) -> Iterator[tuple[Batch, Tensor]]:
        """Yield a batch and its targets at a time; targets are 0 if there are none."""
        for parts in self.plan():
            batch = self.batch_type(self.data, parts, self.share)
            yield batch, batch.target

    def plan(self) -> list[list[np.ndarray]]:
        """Choose the rows of each part of each batch."""
        order, bounds, lengths = self._groups
        sizes = np.diff(bounds)
        if self.shuffle:
            groups = self.rng.permutation(len(lengths))
            # The sort is by pool, then by length: pools stay in their drawn order.
            pool = np.cumsum(sizes[groups]) // (_POOL * self.batch_size)
            groups = groups[np.lexsort((lengths[groups], pool))]
        else:
            groups = np.argsort(lengths, kind="stable")
        plan = []
        for first, last in pairwise(_cut_batches(sizes[groups], self.batch_size)):
            batch = groups[first:last]
            # A loop over groups took a third of the time of scoring rows of statics.
            rows = order[ranges(bounds[batch], bounds[batch + 1])[0]]
            plan.append(np.split(rows, self._cut_parts(rows)))
        if self.shuffle:
            self.rng.shuffle(plan)
        return plan

    def _cut_parts(self, rows: np.ndarray) -> list[int]:
        """Return where to cut the rows of a batch into parts."""
        columns = [
            _sequences_of(
                source.sequences[rows] if self.share else np.arange(len(rows)),
                source.lengths[rows],
            )
            for source in self.data.sources
        ]

        def fits(first: int) -> np.ndarray:
            n_rows = np.arange(1, len(rows) - first + 1)
            fitting = np.ones(len(n_rows), dtype=bool)
            for previous, slots, longest in columns:
                # Sizes of a part from `first` up to each row, in this history column.
                n_sequences = np.cumsum(previous[first:] < first)
                n_slots = np.maximum.accumulate(slots[first:])
                steps = np.maximum.accumulate(longest[first:]) * n_sequences
                fitting &= (steps <= self.steps_at_once) | (
                    n_sequences <= _FEWEST_SEQUENCES
                )
                fitting &= steps <= self.most_steps
                fitting &= n_weights(steps, n_slots, n_rows) <= _MOST_WEIGHTS
            return fitting

        return cut_where_full(fits)


def _sequences_of(
    sequences: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Describe the sequence of each row of a batch, by arrays of shape (n,).

    Returns the previous row with the same sequence, -1 without any, the slot of the row
    in it, from 1 on, and the longest history of its rows: with that, cuts between rows
    of a sequence are avoided.
    """
    order = np.argsort(sequences, kind="stable")
    new = is_run_start(sequences[order])
    at = np.flatnonzero(new)
    n_rows = np.diff(at, append=len(order))
    previous, slots, longest = np.full((3, len(order)), -1)
    previous[order[1:]] = np.where(new[1:], -1, order[:-1])
    slots[order] = place_in_run(new) + 1
    longest[order] = np.repeat(np.maximum.reduceat(lengths[order], at), n_rows)
    return previous, slots, longest


def cut_where_full(fits: Callable[[int], np.ndarray]) -> list[int]:
    """Return where to cut rows into parts, each as large as it may be.

    `fits` takes a position, and returns for each row from there on whether a part may
    reach up to it; True up to some row, as sizes grow. A part has one row at least.
    """
    cuts: list[int] = []
    first = 0
    while True:
        fitting = fits(first)
        fitting[0] = True
        if fitting.all():
            return cuts
        first += int(fitting.argmin())
        cuts.append(first)


def automatic_batch_size(
    data: RowData, share: bool, n_ranks: int = 1, stops_early: bool = False
) -> int:
    """Return the number of rows of a training step for ``batch_size="auto"``.

    The more rows share a sequence (`share`), the less information a batch of a given
    size has, and the more steps an epoch has, each with a fixed cost. Batches that grow
    with the number of rows cost at most .001 of AUC: "Several rows of a customer" in
    ``docs/benchmarks.md``. With several ranks, each has as many rows of a batch as a
    single process would: half a batch takes an LSTM nearly as long as a whole one.

    Early stopping (`stops_early`) counts epochs. With few rows, an epoch of large
    batches has so few steps that training stops before it has learned enough, see
    ``docs/defaults_training.md``.
    """
    n_rows = len(data)
    of_sequences = _SEQUENCES_IN_BATCH
    if share and data.sources:
        # Rows that see the same first steps of the first history column share a
        # sequence.
        n_sequences = len(np.unique(data.sources[0].sequences))
        of_sequences = min(of_sequences * n_rows // n_sequences, _MOST_ROWS)
    of_rank = max(of_sequences, min(_USUAL_ROWS, n_rows // _STEPS_WITH_FEW_ROWS))
    is_single = of_sequences < 2 * _SEQUENCES_IN_BATCH  # about one row per customer
    fewest = _USUAL_ROWS
    if stops_early and n_rows >= _ROWS_FOR_SMALL_BATCHES:
        fewest = _FEWEST_SINGLE_ROWS if is_single else _FEWEST_ROWS
    return max(fewest, min(of_rank * n_ranks, n_rows // _STEPS_IN_EPOCH))


# Most networks of an automatic ensemble, and rows and steps of an epoch of all of them.
_MOST_NETWORKS, _LARGEST_EPOCH = 5, 200_000


def automatic_n_networks(data: RowData, share: bool) -> int:
    """Return the size of the ensemble for ``n_networks="auto"``.

    Predictions from few rows depend on the seed, and with the default sizes their
    training takes seconds. The rule counts what an epoch computes instead of the time:
    the same rows have the same ensemble on every machine. Figures: "Several networks"
    in ``docs/defaults_training.md``. The ensemble has up to 5 networks: as many as
    together have at most 200,000 rows and steps of the recurrent cell in an epoch. With
    `share`, rows that see the same first steps share a sequence.
    """
    size = len(data)
    # More rows have one network, whatever their steps, which take seconds to count.
    if 2 * size <= _LARGEST_EPOCH:
        size += sum(_n_steps(source, share) for source in data.sources)
    return max(1, min(_MOST_NETWORKS, _LARGEST_EPOCH // size))


def _n_steps(source: HistorySource, share: bool) -> int:
    """Return the number of steps of all sequences of a history column."""
    if not share:
        return int(source.lengths.sum())
    _, sequence = np.unique(source.sequences, return_inverse=True)
    longest = np.zeros(len(sequence), dtype="int64")
    np.maximum.at(longest, sequence, source.lengths)
    return int(longest.sum())


def _group_rows(
    data: RowData, batch_size: int, share: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group rows that share a sequence, at most a batch of them.

    Returns the rows group by group, (n,), the bounds of the groups, (n_groups + 1,),
    with the rows ``order[bounds[i]:bounds[i + 1]]`` of group ``i``, and the longest
    history of each group over all history columns, (n_groups,).
    """
    n_rows = len(data)
    longest = np.zeros(n_rows, dtype="int64")
    for source in data.sources:
        np.maximum(longest, source.lengths, out=longest)
    if not share or not data.sources:
        return np.arange(n_rows), np.arange(n_rows + 1), longest
    start = data.sources[0].sequences
    # Sorted by length within a group: if it is split, short rows have their own batch.
    order = np.lexsort((longest, start))
    new = is_run_start(start[order])
    # A customer with more rows than a batch is cut after every batch_size rows.
    new |= place_in_run(new) % batch_size == 0
    bounds = np.append(np.flatnonzero(new), n_rows)
    return order, bounds, np.maximum.reduceat(longest[order], bounds[:-1])


def _cut_batches(sizes: np.ndarray, batch_size: int) -> list[int]:
    """Return where to cut groups into batches of at most `batch_size` rows."""
    ends = np.cumsum(sizes)
    cuts = [0]
    while cuts[-1] < len(sizes):
        first = cuts[-1]
        # As many groups as fit, and at least one.
        done = ends[first - 1] if first else 0
        last = int(np.searchsorted(ends, done + batch_size, side="right"))
        cuts.append(max(last, first + 1))
    return cuts


def steps_of_parts(net: Any, training: bool) -> dict[str, int]:
    """Return how many padded steps a part of a batch has, for `BatchIterator`.

    A skorch net has the sizes of its module as ``module__hidden_size`` and so on.
    """
    n_states = net.module__hidden_size * net.module__num_layers
    n_states *= 1 + net.module__bidirectional
    most = at_once = _MOST_STATES // n_states
    if net.module__cell == "lstm" and torch.device(net.device).type == "cpu":
        states = _STATES_TO_TRAIN if training else _STATES_TO_PREDICT
        at_once = states // n_states
    # Each rank computes its own rows of a part.
    at_once = min(at_once * net.ranks.size, most)
    return {"steps_at_once": at_once, "most_steps": most}
