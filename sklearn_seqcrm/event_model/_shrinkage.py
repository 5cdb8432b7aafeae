"""Shrinkage of the state, by factors that are chosen on customers outside of training.

Early stopping chooses one number of epochs for all outputs of the network. Some of them
overfit while the others still improve:

- The time of the next event, if there are many levels to learn.
- Levels of events at a new moment, if most events are in baskets. Such events are few,
  and less informative about later ones than events of the same basket are.

So after training, the input of these outputs, or for times the distance of the state
from its mean, is multiplied by factors that maximise the likelihood of the validation
customers (shrinkage: Copas, "Regression, Prediction and Shrinkage", JRSS B 45(3),
1983).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm.event_model._event_batches import EventPart
from sklearn_seqcrm.event_model._event_net import EventNet
from sklearn_seqcrm.event_model._learned import event_counts
from sklearn_seqcrm.event_model._list_shrinkage import FACTORS, choose_list_shrinkage
from sklearn_seqcrm.event_model._network import EventNetwork, EventStates

# Number of events from which factors are chosen, at most.
_MOST_EVENTS = 2**15


def reset_state_shrinkage(net: EventNet) -> None:
    """Set all factors to 1, as in training."""
    net.module_.time.shrinkage.fill_(1.0)
    for density in net.module_.fields:
        if density.shrinkage is not None:
            density.shrinkage.fill_(1.0)
            density.list_shrinkage.fill_(1.0)


def calibrate_state_shrinkage(net: EventNet, valid: RowData) -> None:
    """Choose the factors of the state for times, and of the context for levels.

    There is a factor for times. Each field of levels has factors for the softmax and
    for the gates of copies, separate for new moments and for later events of a moment,
    and one for the softmax in lists. `valid` are rows of customers who are not in
    training.
    """
    reset_state_shrinkage(net)
    every = 1 + int(event_counts(valid).sum()) // _MOST_EVENTS
    valid = net.ranks.own_rows(valid.take(np.arange(0, len(valid), every)))
    with net.evaluation() as module:
        batches = list(net.parts(valid, with_events=True))
        rows, parts = [rows for rows, _ in batches], [part for _, part in batches]
        states = [module.states(part) for part in parts]
        _choose_time_factor(module, parts, states, net.ranks.sum)
        contexts: dict[int, list[Tensor]] = {
            i: [] for i, one in enumerate(module.fields) if one.shrinkage is not None
        }
        for found in states:
            for i, context in enumerate(module.field_contexts(found)):
                if i in contexts:
                    contexts[i].append(context)
        for i in list(contexts):
            own = contexts.pop(i)
            density = module.fields[i]
            try:
                _choose_level_factors(module, i, own, states, net.ranks.sum)
            finally:  # also after a KeyboardInterrupt
                density.list_shrinkage.copy_(density.shrinkage[0, 0])
            choose_list_shrinkage(module, i, valid, rows, own, states, net.ranks.sum)


def _choose_time_factor(
    module: EventNetwork,
    parts: list[EventPart],
    states: list[EventStates],
    total: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Choose the factor of the state for times, and the mean that it is shrunk towards.

    `total` adds up sums over rows, if other processes have further rows.
    """
    sums = np.zeros(len(module.time.center) + 1)
    for found in states:
        # Those on which the likelihood of a time or of the censored time depends.
        timed = found.states[found.events.position > 0]
        last = found.last[found.events.n_steps > 0]
        for one in (timed, last):
            sums[:-1] += one.cpu().numpy().sum(axis=0, dtype="float64")
            sums[-1] += len(one)
    sums = total(sums)
    if not sums[-1]:
        return
    center = (sums[:-1] / sums[-1]).astype("float32")
    module.time.center.copy_(torch.from_numpy(center))

    def log_likelihoods() -> np.ndarray:
        """Return sums by row, shape (n, 1)."""
        of_rows = []
        for part, found in zip(parts, states, strict=True):
            time, survival = module.time_log_probs(part, found)
            of_rows.append(survival.index_add(0, found.events.row, time))
        return np.concatenate([np.zeros(0), *(one.cpu() for one in of_rows)])[:, None]

    _maximise(log_likelihoods, module.time.shrinkage, log_likelihoods(), total)


def _choose_level_factors(
    module: EventNetwork,
    i: int,
    contexts: list[Tensor],
    states: list[EventStates],
    total: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Choose the factors of field i, first of the softmax and then of the gates."""
    density = module.fields[i]

    def log_likelihoods() -> np.ndarray:
        """Return sums by row, (n, 2): at new moments, and later within moments."""
        of_rows = []
        for found, context in zip(states, contexts, strict=True):
            log_prob = module.field_log_prob(i, context, found).cpu().numpy()
            place = (2 * found.events.row + found.is_tie).cpu().numpy()
            sums = np.bincount(place, log_prob, minlength=2 * len(found.last))
            of_rows.append(sums.reshape(-1, 2))
        return np.concatenate([np.zeros((0, 2)), *of_rows])

    start = log_likelihoods()
    for factors in density.shrinkage[: 1 if density.copies is None else 2]:
        start = _maximise(log_likelihoods, factors, start, total)


def _maximise(
    log_likelihoods: Callable[[], np.ndarray],
    factors: Tensor,
    start: np.ndarray,
    total: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Set k factors, all 1 before, and return the log likelihoods with them.

    A smaller factor is taken if its gain over no shrinkage is the largest so far and
    exceeds its standard error, the root of the sum of the squared gains of customers.
    `log_likelihoods` returns those of n rows with the current factors, (n, k), a column
    for each factor; they are `start` before. `total` is as in `_choose_time_factor`.
    """
    n_factors = len(factors)
    best, most, of_best = np.ones(n_factors), np.zeros(n_factors), start.copy()
    try:
        for factor in FACTORS[1:]:  # until the likelihood rises no more
            factors.fill_(factor)
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
        factors.copy_(torch.from_numpy(best.astype("float32")))
    return of_best
