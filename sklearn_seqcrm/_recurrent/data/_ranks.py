"""Processes that train one network together, and the rows that they share.

Each process, a rank, has the events of its own customers. What decides the course of a
training is small, and known to every rank for all rows: targets, weights, cutoffs,
customers, and the lengths of histories. So every rank makes the same split and the same
batches of the rows of all ranks, and computes its own rows of a batch::

    rows of all ranks   0 1 2 3 4 | 5 6 7          3, 4 and so on: positions
    rank 0 has          0 1 2 3 4                  place 0  1  2  3  4 -1 -1 -1
    rank 1 has                      0 1 2          place -1 -1 -1 -1 -1 0  1  2
    a batch             4 0 6
    rank 0 computes     4 0
    rank 1 computes         6
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._columns import Table
from sklearn_seqcrm._recurrent.data._batches import Batch
from sklearn_seqcrm._recurrent.data._inputs import Inputs
from sklearn_seqcrm._recurrent.data._rows import RowData
from sklearn_seqcrm._recurrent.data._sources import HistorySource, RowViews
from sklearn_seqcrm._recurrent.data._tensor_fields import OF_ALL_ROWS

T = TypeVar("T")


class Ranks:
    """The processes of a training; this class is a single process, with all rows.

    Estimators and nets call its methods wherever several processes must agree or add
    up. `sklearn_seqcrm.distributed` has the one of several processes. An estimator has
    it as an attribute during a fit: a process group that exists for another purpose
    changes nothing.
    """

    rank: int = 0
    size: int = 1

    def agree(self, value: Any) -> Any:
        """Return the value of rank 0."""
        return value

    def attempt(self, function: Callable[[], T]) -> T:
        """Return the result of a function; all ranks raise an error of one of them.

        The function must not send messages.
        """
        return function()

    def refuse_differences(self, value: Any, what: str) -> None:
        """Raise a ValueError on all ranks if a value is not the same on all."""

    def join_levels(self, inputs: Inputs) -> Inputs:
        """Return inputs with the numbers of levels of all ranks, for plain tensors."""
        return inputs

    def concatenate(self, array: np.ndarray) -> np.ndarray:
        """Return the arrays of all ranks, shape (n, ...), one after the other."""
        return array

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Return the sum of the arrays of all ranks, which have one shape."""
        return array

    def share(self, inputs: Inputs) -> Inputs:
        """Return the rows of all ranks; rows of other ranks have no steps."""
        return inputs

    def share_events(
        self, data: RowData, customers: np.ndarray
    ) -> tuple[RowData, np.ndarray]:
        """Return the rows and customers of all ranks, for an event model."""
        return data, customers

    def sample(self, table: Table) -> Table:
        """Return rows of all ranks from which an event model learns its fields."""
        return table

    def own_rows(self, data: RowData) -> RowData:
        """Return the rows that this rank has, in their order."""
        return data

    def own_batch(self, batch: Batch) -> Batch:
        """Return the rows of a batch that this rank has, perhaps none."""
        return batch

    def join_outputs(
        self, outputs: list[Tensor], batch: Batch, n_outputs: int
    ) -> Tensor:
        """Return the outputs of all rows of a batch, shape (n, n_outputs).

        `outputs` are those of the parts of `own_batch`.
        """
        return torch.cat(outputs)

    def sum_gradients(
        self, parameters: Sequence[torch.nn.Parameter], losses: list[Tensor]
    ) -> Tensor:
        """Add up the gradients of all ranks in place, and return the sum of losses."""
        return torch.stack(losses).sum()

    def dropout_seed(self, seed: int) -> int:
        """Return the seed of the dropout masks of this rank."""
        return seed

    def resume(self, net: Any) -> bool:
        """Restore a net from a checkpoint; return whether its training has ended."""
        return False

    def begin_epoch(self, net: Any, batches: Any) -> None:
        """Keep the iterator of training batches of an epoch, which begins now."""

    def callbacks(self) -> tuple[list[Any], list[Any]]:
        """Return callbacks of skorch before and after the others of a training."""
        return [], []

    def finish(self, net: Any) -> None:
        """End the training of a net."""


ALONE = Ranks()


class ShapeOnly:
    """The shape of an array without its numbers, (n, n_columns)."""

    def __init__(self, n_rows: int, n_columns: int) -> None:
        self.shape = n_rows, n_columns

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> ShapeOnly:
        """Return the shape of some rows."""
        return ShapeOnly(len(rows), self.shape[1])


@dataclass(frozen=True, kw_only=True)
class SharedRows(RowData):
    """Rows of all ranks, with the inputs of own rows only.

    Targets, weights and offsets are those of all rows. Sources have the lengths of
    histories, cutoffs and numbers of sequences, without steps.
    """

    # The rows that this rank has read, perhaps more than are used.
    own: RowData = field(metadata=OF_ALL_ROWS)
    # (n,), int64: position of each row in `own`; -1 for rows of other ranks.
    place: np.ndarray

    @cached_property
    def number(self) -> np.ndarray:
        """Position of each row in `own_rows`, shape (n,); -1 for rows of others."""
        is_own = self.place >= 0
        return np.where(is_own, np.cumsum(is_own) - 1, -1)

    @cached_property
    def own_rows(self) -> RowData:
        """The rows of this rank, with targets and weights as they are here."""
        at = np.flatnonzero(self.place >= 0)
        own = self.own.take(self.place[at])
        target, weight = (
            None if one is None else one[at] for one in (self.target, self.weight)
        )
        return replace(own, target=target, weight=weight)


def share_rows(data: RowData, ranks: Ranks) -> SharedRows:
    """Return the rows of all ranks, those of lower ranks first.

    `data` are rows of this rank, without targets and weights.
    """
    n_own = len(data)
    counts = ranks.concatenate(np.array([n_own]))
    first = int(counts[: ranks.rank].sum())
    n_rows = int(counts.sum())
    place = np.full(n_rows, -1)
    place[first : first + n_own] = np.arange(n_own)
    sums, offset = data.sums, data.offset
    return SharedRows(
        tuple(_shared_source(one, ranks) for one in data.sources),
        ShapeOnly(n_rows, data.static.shape[1]),  # type: ignore[arg-type]
        sums=None if sums is None else ShapeOnly(n_rows, sums.shape[1]),  # type: ignore[arg-type]
        offset=None if offset is None else ranks.concatenate(offset),
        own=data,
        place=place,
    )


def number_of_all(numbers: np.ndarray, ranks: Ranks) -> np.ndarray:
    """Return group numbers of the rows of all ranks, shape (n,), int64.

    `numbers`, of shape (n_own,), are those of the rows of this rank, such as customers.
    No two ranks have a group in common, and groups of a rank keep their order.
    """
    found, place = np.unique(numbers, return_inverse=True)
    counts = ranks.concatenate(np.array([len(found)]))
    return ranks.concatenate(place + int(counts[: ranks.rank].sum()))


def _shared_source(own: HistorySource, ranks: Ranks) -> HistorySource:
    """Return a source of the rows of all ranks, without their steps and events.

    It has the numbers of both.
    """
    lengths = ranks.concatenate(own.lengths)
    # Customers without events stand at the first step of a log, and so share the
    # sequence of its first customer: in one log, that of rank 0.
    is_empty = ranks.concatenate((own.lengths == 0) & (own.sequences == 0))
    sequence = np.where(is_empty, 0, number_of_all(own.sequences, ranks))
    nothing = np.arange(0)  # stand-ins for arrays take numbers of steps, no slices
    source = HistorySource(
        channels=own.channels[nothing],
        codes=own.codes[nothing],
        times=own.times[:0],
        # The number of a sequence stands for its first step.
        start=sequence,
        stop=sequence + lengths,
        cutoff=ranks.concatenate(own.cutoff),
    )
    n_events = ranks.concatenate(own.events.lengths)
    events = replace(source, start=np.zeros_like(n_events), stop=n_events)
    views = RowViews(sequence, sequence, sequence, events, sequence[:0])
    return replace(source, views=views)
