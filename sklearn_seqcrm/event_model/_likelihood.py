"""Scores of fitted event models."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._ragged import ranges, segment_numbers, starts_of_nonempty
from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm.event_model._interarrival import NEVER
from sklearn_seqcrm.event_model._learned import event_counts, last_times, split_static
from sklearn_seqcrm.event_model._mixtures import AtomMixture
from sklearn_seqcrm.event_model._network import EventNet


def states_at_cutoffs(net: EventNet, data: RowData) -> np.ndarray:
    """Return the output of the reader after the last event of rows, (n, H), float32.

    It is 0 for an empty history.
    """
    with net.evaluation() as module:
        found = np.zeros((len(data), len(module.initial_output)), "float32")
        for rows, part in net.parts(data, share=True):
            found[rows] = module.last_outputs(part).cpu().numpy()
    return found


def timed_events(net: EventNet, data: RowData) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of each event, and whether the event comes later than the last.

    Events are those that rows see, row by row; both results have the shape (n_events,).
    The times of later events have a density; ties and the first event of a history have
    none.
    """
    source = data.sources[0].events
    index, offsets = ranges(source.start, source.stop)
    is_timed = ~net.module_.is_tie(source.channels)[index]
    is_timed[starts_of_nonempty(offsets)] = False
    return segment_numbers(offsets), is_timed


def event_log_probs(net: EventNet, data: RowData) -> np.ndarray:
    """Return log probabilities of the time and of each field of every event.

    The shape is (n_events, 1 + n_fields), float64: events as in `timed_events`; the
    interarrival time, then each field in the order of prediction.
    """
    offsets = np.concatenate([[0], np.cumsum(event_counts(data))])
    with net.evaluation() as module:
        log_prob = np.zeros((offsets[-1], 1 + len(module.fields)))
        for rows, part in net.parts(data, with_events=True):
            found = module.log_probs(part)
            columns = torch.stack([found.time, *found.fields], dim=1)
            place, _ = ranges(offsets[rows], offsets[rows + 1])
            log_prob[place] = columns.cpu().numpy()
    return log_prob


def cumulative_hazards(net: EventNet, data: RowData, ticks: np.ndarray) -> np.ndarray:
    """Return the cumulative hazard of the next event from the cutoff on.

    With the time ``e`` since the last event, and the survival function S of the
    interarrival time after it::

        H(t) = log S(e) - log S(e + t)

    The result has the shape (n, n_times), float64, for the times `ticks` after the
    cutoffs. It is 0 for an empty history, whose first event no model predicts.
    """
    found = np.zeros((len(data), len(ticks)))
    with net.evaluation():
        for rows, mixture, limits in mixtures_at_cutoffs(net, data, ticks[:, None]):
            known, *later = (mixture.log_survival(one, NEVER) for one in limits)
            for column, survival in enumerate(later):
                found[rows, column] = (known - survival).cpu().numpy()
    found[event_counts(data) == 0] = 0
    return np.maximum(found, 0)


def mixtures_at_cutoffs(
    net: EventNet, data: RowData, ticks: np.ndarray
) -> Iterator[tuple[np.ndarray, AtomMixture, list[Tensor]]]:
    """Yield rows, distributions of their next interarrival times, and lower limits.

    `ticks`, of shape (k, n) or (k, 1), are times after the cutoffs. The k + 1 limits,
    each of shape (n,), are those until the cutoff and until these times, on the axis of
    the mixtures.
    """
    module = net.module_
    last, elapsed = last_times(data.sources[0])
    until = np.broadcast_to(ticks, (len(ticks), len(data)))
    for rows, part in net.parts(data, share=True):
        limits = [split_static(part.static).log_censoring_time]
        for own in until[:, rows]:
            logs = module.grid.log_censoring_time(elapsed[rows] + own, last[rows])
            limits.append(torch.from_numpy(logs.astype("float32")).to(limits[0].device))
        yield rows, module.time.mixture(module.time_inputs_at_cutoffs(part)), limits
