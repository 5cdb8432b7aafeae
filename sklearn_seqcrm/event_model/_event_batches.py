"""Batches of an event model: padded steps for the reader, flat events for densities.

The reader takes a step for each moment, the likelihood has a term for each event. So
rows are padded by moments, and their events stand one after the other::

    steps    row 0   m0 m1 m2         events   row       0  0  0  0  0  1  1
             row 1   m0  .  .                  step      0  1  1  1  2  0  0
                                               n_before  0  0  1  2  0  0  1
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._ragged import (
    is_run_start,
    place_in_run,
    segment_numbers,
    starts_of_nonempty,
)
from sklearn_seqcrm._recurrent.data import (
    Batch,
    BatchIterator,
    BatchPart,
    HistorySource,
    TensorFields,
    cut_where_full,
)
from sklearn_seqcrm.event_model._learned import event_counts


@dataclass(frozen=True)
class VisibleEvents(TensorFields):
    """The events of some rows, one after the other, row by row."""

    row: Tensor  # (n_events,), int64: row of each event
    position: Tensor  # (n_events,), int64: its position in the row
    step: Tensor  # (n_events,), int64: its step in the row
    n_before: Tensor  # (n_events,), int64: events before it in this step
    values: Tensor  # (n_events, F), float32: channels of all blocks
    codes: Tensor  # (n_events, C), int64: codes
    n_steps: Tensor  # (B,), int64: number of steps of each row

    @classmethod
    def of(cls, source: HistorySource, rows: np.ndarray) -> Self:
        """Gather the events that some rows see."""
        events = source.events
        offsets = np.append(0, np.cumsum(events.lengths[rows]))
        first = starts_of_nonempty(offsets)
        row = segment_numbers(offsets)
        position = np.arange(len(row)) - offsets[row]
        if source.levels is None:  # each event is a step
            index, step = position + events.start[rows][row], position
            n_before = np.zeros_like(position)
        else:
            index, step = source.visible_events(rows)
            n_before = place_in_run(is_run_start(step, first))
        channels = events.channels[index]
        # The first event that a row may see has no predecessor.
        channels[first, source.interarrival_channel] = 0
        arrays = (
            row,
            position,
            step,
            n_before,
            channels,
            events.codes[index].astype("int64"),
            source.lengths[rows],
        )
        return cls(*map(torch.from_numpy, arrays))

    def in_order(self, order: Tensor, times: slice) -> Self:
        """Return the events in another order within moments, (n_events,), int64.

        The channels `times` belong to the place of an event in its moment, and stay.
        """
        values = self.values[order]
        values[:, times] = self.values[:, times]
        return replace(self, values=values, codes=self.codes[order])


@dataclass(frozen=True, kw_only=True)
class EventPart(BatchPart):
    """A `BatchPart` of rows with a sequence each, and the events that they see.

    It has padded histories only if steps are moments: otherwise `events` holds every
    step.
    """

    events: VisibleEvents


class EventBatch(Batch):
    """A `Batch` of which each part has its events."""

    def __iter__(self) -> Iterator[EventPart]:
        """Gather a part at a time, in the order of `rows`."""
        [source] = self.data.sources
        parts = super().__iter__()
        if source.levels is None:
            parts = (BatchPart.of(self.data, rows, []) for rows in self.parts)
        for rows, part in zip(self.parts, parts, strict=True):
            yield EventPart(**vars(part), events=VisibleEvents.of(source, rows))


class EventBatches(BatchIterator):
    """A `BatchIterator` whose parts have events, as many as memory has room for.

    With `shuffle`, rows of a batch are random, for a loss that is a sum over the events
    of a row. If they had similar lengths, as in `BatchIterator`, such a loss would be
    many times as large in some batches as in others. Gradient clipping then takes
    weight from busy customers: on CDNOW, where most have bought once, those who had
    bought ten times had half as many simulated purchases as real ones.
    """

    batch_type = EventBatch

    def plan(self) -> list[list[np.ndarray]]:
        """Return the rows of each part of each batch."""
        counts = event_counts(self.data)
        if self.shuffle:
            return self._plan_mixed(counts)
        return [
            [some for rows in parts for some in self._cut(rows, counts[rows])]
            for parts in super().plan()
        ]

    def _plan_mixed(self, counts: np.ndarray) -> list[list[np.ndarray]]:
        """Return the plan of random batches of rows with these numbers of events."""
        [source] = self.data.sources
        lengths = source.lengths
        order = self.rng.permutation(len(lengths))
        plan = []
        for first in range(0, len(order), self.batch_size):
            rows = order[first : first + self.batch_size]
            rows = rows[np.argsort(-lengths[rows], kind="stable")]
            plan.append(self._cut(rows, counts[rows], lengths[rows]))
        return plan

    def _cut(
        self, rows: np.ndarray, counts: np.ndarray, lengths: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Return rows in parts of at most `steps_at_once` events, or of one row.

        `counts`, of shape (n,), are their numbers of events. If their numbers of steps,
        `lengths`, descending, are given, parts have at most `most_steps` padded steps.
        """

        def fits(at: int) -> np.ndarray:
            few_events = np.cumsum(counts[at:]) <= self.steps_at_once
            if lengths is None:
                return few_events
            n_rows = np.arange(1, len(few_events) + 1)
            return few_events & (lengths[at] * n_rows <= self.most_steps)

        return np.split(rows, cut_where_full(fits))


# Sizes of batches --------------------------------------------------------------------

_MOST_ROWS = 512
_STEPS_IN_EPOCH = 64
# However few rows there are, a step has 64, or as many as have 1,024 events, and at
# least 8. With 400 households of 100 events each, fifteen epochs of seven steps were
# half a nat an event worse than fifteen of forty.
_FEWEST_ROWS, _FEWEST_EVENTS = (8, 64), 1024
# Early stopping counts epochs: an epoch of few rows needs this many steps, or training
# ends on its first plateau. With 100 customers of two baskets each, a patience of ten
# steps of 64 rows was too short, and batches of 16 rows gained a nat an event.
_STEPS_TO_STOP_EARLY = 8


def mixed_batch_size(
    n_rows: int, n_events: int, n_ranks: int = 1, stops_early: bool = False
) -> int:
    """Return the rows of a training step, from 8 to 512 for each of several ranks.

    If training stops early (`stops_early`), it is at most an eighth of all rows, or 8.
    """
    least, most = _FEWEST_ROWS
    if stops_early:
        most = min(most, n_rows // _STEPS_TO_STOP_EARLY)
    enough = -(-_FEWEST_EVENTS * n_rows // max(n_events, 1))
    fewest = max(least, min(most, enough))
    return max(fewest, min(_MOST_ROWS * n_ranks, n_rows // _STEPS_IN_EPOCH))
