"""The skorch net of an event model, and its outputs for rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._ragged import ranges, segment_numbers, starts_of_nonempty
from sklearn_seqcrm._recurrent.data import (
    Batch,
    BatchIterator,
    BatchPart,
    RowData,
    steps_of_parts,
)
from sklearn_seqcrm._recurrent.network import isolated_torch_settings
from sklearn_seqcrm._recurrent.training import HistoryNet
from sklearn_seqcrm.event_model._event_batches import EventBatches
from sklearn_seqcrm.event_model._interarrival import NEVER
from sklearn_seqcrm.event_model._learned import event_counts, last_times, split_static
from sklearn_seqcrm.event_model._mixtures import AtomMixture
from sklearn_seqcrm.event_model._network import EventNetwork

_ROWS_AT_ONCE = 1024


class EventNet(HistoryNet):
    """A `HistoryNet` whose module returns the loss of each row.

    The loss of a batch is the mean over its rows, divided by `events_in_row`, the mean
    number of events of a training row: the loss of an epoch is that of an event, and a
    row counts in proportion to its events.
    """

    def __init__(self, *args: Any, events_in_row: float = 1.0, **kwargs: Any) -> None:
        self.events_in_row = events_in_row
        super().__init__(*args, **kwargs)

    def get_iterator(
        self, dataset: RowData, training: bool = False
    ) -> Iterator[tuple[Batch, Tensor]]:
        return EventBatches(  # type: ignore[return-value]
            dataset,
            self.batch_size if training else _ROWS_AT_ONCE,
            shuffle=training,
            share=False,
            seed=self.shuffle_seed,
            # As many as without gradients: layers get segments of them.
            **steps_of_parts(self, training=False),
        )

    def get_loss(
        self,
        y_pred: Tensor,
        y_true: Tensor,
        X: Batch | BatchPart | None = None,
        training: bool = False,
    ) -> Tensor:
        return y_pred.mean() / self.events_in_row

    @contextmanager
    def evaluation(self) -> Iterator[EventNetwork]:
        """Yield the network in evaluation mode; nothing in the block has gradients."""
        settings = isolated_torch_settings(self.device, self.module__hidden_size)
        with settings, torch.no_grad():
            yield self.module_.eval()

    def parts(
        self, data: RowData, share: bool = False, with_events: bool = False
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield rows, and their tensors on the device of the net.

        The tensors are an `EventPart` if `with_events`, and otherwise a `BatchPart`. If
        `share`, rows that start at the same event share a sequence.
        """
        batches = EventBatches if with_events else BatchIterator
        steps = steps_of_parts(self, training=False)
        iterator = batches(data, _ROWS_AT_ONCE, False, share, **steps)
        with self._prefetched(iterator) as found:
            for batch, _ in found:
                for rows, part in zip(batch.parts, batch, strict=True):
                    yield rows, part.to(self.device)

    def states_at_cutoffs(self, data: RowData) -> np.ndarray:
        """Return the output of the reader after the last event of rows.

        It has the shape (n, H), float32, and is 0 for an empty history.
        """
        with self.evaluation() as module:
            found = np.zeros((len(data), len(module.initial_output)), "float32")
            for rows, part in self.parts(data, share=True):
                found[rows] = module.last_outputs(part).cpu().numpy()
        return found

    def timed_events(self, data: RowData) -> tuple[np.ndarray, np.ndarray]:
        """Return the row of each event, and whether it comes later than the last one.

        Events are those that rows see, row by row; both results have the shape
        (n_events,). The times of later events have a density; ties and the first event
        of a history have none.
        """
        source = data.sources[0].events
        index, offsets = ranges(source.start, source.stop)
        is_timed = ~self.module_.is_tie(source.channels)[index]
        is_timed[starts_of_nonempty(offsets)] = False
        return segment_numbers(offsets), is_timed

    def event_log_probs(self, data: RowData) -> np.ndarray:
        """Return log probabilities of the time and of each field of every event.

        The shape is (n_events, 1 + n_fields), float64: events as in `timed_events`; the
        interarrival time, then each field in the order of prediction.
        """
        offsets = np.concatenate([[0], np.cumsum(event_counts(data))])
        with self.evaluation() as module:
            log_prob = np.zeros((offsets[-1], 1 + len(module.fields)))
            for rows, part in self.parts(data, with_events=True):
                found = module.log_probs(part)
                columns = torch.stack([found.time, *found.fields], dim=1)
                place, _ = ranges(offsets[rows], offsets[rows + 1])
                log_prob[place] = columns.cpu().numpy()
        return log_prob

    def cumulative_hazards(self, data: RowData, ticks: np.ndarray) -> np.ndarray:
        """Return the cumulative hazard of the next event from the cutoff on.

        With the time ``e`` since the last event, and the survival function S of the
        interarrival time after it::

            H(t) = log S(e) - log S(e + t)

        The result has the shape (n, n_times), float64, for the times `ticks` after the
        cutoffs. It is 0 for an empty history, whose first event no model predicts.
        """
        found = np.zeros((len(data), len(ticks)))
        with self.evaluation():
            for rows, mixture, limits in self.mixtures_at_cutoffs(data, ticks[:, None]):
                known, *later = (mixture.log_survival(one, NEVER) for one in limits)
                for column, survival in enumerate(later):
                    found[rows, column] = (known - survival).cpu().numpy()
        found[event_counts(data) == 0] = 0
        return np.maximum(found, 0)

    def mixtures_at_cutoffs(
        self, data: RowData, ticks: np.ndarray
    ) -> Iterator[tuple[np.ndarray, AtomMixture, list[Tensor]]]:
        """Yield rows, distributions of their next interarrival times, and lower limits.

        `ticks`, of shape (k, n) or (k, 1), are times after the cutoffs. The k + 1
        limits, each of shape (n,), are those until the cutoff and until these times, on
        the axis of the mixtures.
        """
        module = self.module_
        last, elapsed = last_times(data.sources[0])
        until = np.broadcast_to(ticks, (len(ticks), len(data)))
        for rows, part in self.parts(data, share=True):
            limits = [split_static(part.static).log_censoring_time]
            for own in until[:, rows]:
                logs = module.grid.log_censoring_time(elapsed[rows] + own, last[rows])
                limit = torch.from_numpy(logs.astype("float32"))
                limits.append(limit.to(self.device))
            yield rows, module.time.mixture(module.time_inputs_at_cutoffs(part)), limits
