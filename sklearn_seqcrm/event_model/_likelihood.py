"""Scores of fitted event models, and the shrinkage of the state for levels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._ragged import ranges, segment_numbers, starts_of_nonempty
from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._recurrent.network import isolated_torch_settings
from sklearn_seqcrm.event_model._learned import event_counts, last_times, split_static
from sklearn_seqcrm.event_model._network import EventNet, EventNetwork, EventStates


def states_at_cutoffs(net: EventNet, data: RowData) -> np.ndarray:
    """Return the output of the reader after the last event of rows, (n, H), float32.

    It is 0 for an empty history.
    """
    module = net.module_.eval()
    found = np.zeros((len(data), len(module.initial_output)), "float32")
    with isolated_torch_settings(net.device), torch.no_grad():
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
    module = net.module_.eval()
    offsets = np.concatenate([[0], np.cumsum(event_counts(data))])
    log_prob = np.zeros((offsets[-1], 1 + len(module.fields)))
    with isolated_torch_settings(net.device), torch.no_grad():
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

    Parameters
    ----------
    net : EventNet
        The trained net.
    data : RowData of n
        Rows.
    ticks : ndarray of shape (n_times,)
        Times after the cutoff.

    Returns
    -------
    ndarray of shape (n, n_times), float64
        Cumulative hazards; 0 for an empty history, whose first event no model predicts.
    """
    module = net.module_.eval()
    last, elapsed = last_times(data.sources[0])
    found = np.zeros((len(data), len(ticks)))
    with isolated_torch_settings(net.device), torch.no_grad():
        for rows, part in net.parts(data, share=True):
            states = module.time_inputs_at_cutoffs(part)
            log_censoring_time = split_static(part.static).log_censoring_time
            known = module.time.log_survival(states, log_censoring_time)
            for column, tick in enumerate(ticks):
                since_last = elapsed[rows] + tick
                until = module.grid.log_censoring_time(since_last, last[rows])
                until_there = torch.from_numpy(until.astype("float32")).to(known.device)
                survival = module.time.log_survival(states, until_there)
                found[rows, column] = (known - survival).cpu().numpy()
    found[event_counts(data) == 0] = 0
    return np.maximum(found, 0)


# Shrinkage ---------------------------------------------------------------------------

# Factors that are tried in this order, until the likelihood rises neither for events at
# new moments nor for later events of a moment.
_FACTORS = (0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.0)
# Number of events from which factors are chosen, at most.
_MOST_EVENTS = 2**15


def reset_state_shrinkage(net: EventNet) -> None:
    """Set all factors to 1, as in training."""
    for density in _with_shrinkage(net.module_).values():
        density.shrinkage.fill_(1.0)


def calibrate_state_shrinkage(net: EventNet, valid: RowData) -> None:
    """Choose how far the context of categorical outputs is shrunk.

    Events at a new moment are few where most events are in baskets, and they are less
    informative about later ones than events of the same basket are. There the network
    overfits while the rest still improves. So the context of softmax and gates is
    multiplied by factors, separate for new moments and for later events of a moment,
    which maximise the likelihood of customers outside of training (shrinkage: Copas,
    "Regression, Prediction and Shrinkage", JRSS B 45(3), 1983).

    Parameters
    ----------
    net : EventNet
        The trained net.
    valid : RowData
        Rows of customers who are not in training.
    """
    module = net.module_.eval()
    keys = list(_with_shrinkage(module))
    if not keys:
        return
    reset_state_shrinkage(net)
    every = 1 + int(event_counts(valid).sum()) // _MOST_EVENTS
    valid = net.ranks.own_rows(valid.take(np.arange(0, len(valid), every)))
    with isolated_torch_settings(net.device), torch.no_grad():
        parts = [module.states(part) for _, part in net.parts(valid, with_events=True)]
        contexts: dict[str, list[Tensor]] = {key: [] for key in keys}
        for part in parts:
            for key, context in module.field_contexts(part):
                if key in contexts:
                    contexts[key].append(context)
        for key in keys:
            _choose_factors(module, key, contexts.pop(key), parts, net.ranks.sum)


def _with_shrinkage(module: EventNetwork) -> dict[str, torch.nn.Module]:
    """Return the densities whose context can be shrunk."""
    fields = module.fields.items()
    return {key: one for key, one in fields if one.shrinkage is not None}


def _choose_factors(
    module: EventNetwork,
    key: str,
    contexts: list[Tensor],
    parts: list[EventStates],
    total: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Choose the factors of a field, first of the softmax and then of the gates.

    `total` adds up sums over rows, if other processes have further rows.

    A smaller factor is taken if its gain over no shrinkage is the largest so far and
    exceeds its standard error, the root of the sum of the squared gains of customers.
    """
    density = module.fields[key]

    def log_likelihoods() -> np.ndarray:
        """Return sums by row, (n, 2): at new moments, and later within moments."""
        found = []
        for part, context in zip(parts, contexts, strict=True):
            log_prob = module.field_log_prob(key, context, part).cpu().numpy()
            place = (2 * part.events.row + part.is_tie).cpu().numpy()
            sums = np.bincount(place, log_prob, minlength=2 * len(part.last))
            found.append(sums.reshape(-1, 2))
        return np.concatenate([np.zeros((0, 2)), *found])

    start = log_likelihoods()
    for output in range(1 if density.copies is None else 2):
        best, most, of_best = np.ones(2), np.zeros(2), start.copy()
        try:
            for factor in _FACTORS:
                density.shrinkage[output] = factor
                now = log_likelihoods()
                gain = now - start
                gained = total(gain.sum(axis=0))
                error = np.sqrt(total(np.square(gain).sum(axis=0)))
                better = (gained > most) & (gained > error)
                if not better.any():
                    break
                best[better], most[better] = factor, gained[better]
                of_best[:, better] = now[:, better]
        finally:
            # Also after a KeyboardInterrupt, no factor stays that was only tried.
            density.shrinkage[output] = torch.from_numpy(best.astype("float32"))
        start = of_best
