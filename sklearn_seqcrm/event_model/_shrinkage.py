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

These factors maximise the likelihood of all lines. A list depends on the few most
probable values alone, and is better if the softmax depends less on the state.
So the softmax has a factor of its own for lists at new moments. It maximises the mean
NDCG@10 of lists for moments of validation customers (binary relevance; Järvelin and
Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", ACM TOIS 20(4), 2002)::

    moments    |   m_1        m_2          m_3    |
    events     |   a b         c          b d d   |
    list before    (none)     from a b    from a b c
    relevant                   c          b d
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._encoding import FIRST_LEVEL
from sklearn_seqcrm._recurrent.data import HistorySource, RowData
from sklearn_seqcrm.event_model._copy_state import CopyState
from sklearn_seqcrm.event_model._event_batches import EventPart
from sklearn_seqcrm.event_model._event_net import EventNet
from sklearn_seqcrm.event_model._learned import event_counts
from sklearn_seqcrm.event_model._levels import LevelDensity
from sklearn_seqcrm.event_model._network import EventNetwork, EventStates
from sklearn_seqcrm.event_model._simulate import PROBABILITIES_AT_ONCE

# Factors that are tried, for likelihoods and for lists.
_FACTORS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.0)
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
            _choose_list_factor(module, i, valid, rows, own, states, net.ranks.sum)


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
    exceeds its standard error. `log_likelihoods` returns those of n rows with the
    current factors, (n, k), a column for each factor; they are `start` before. `total`
    is as in `_choose_time_factor`.
    """
    n_factors = len(factors)
    best, most, of_best = np.ones(n_factors), np.zeros(n_factors), start.copy()
    try:
        for factor in _FACTORS[1:]:  # until the likelihood rises no more
            factors.fill_(factor)
            now = log_likelihoods()
            gained, error = _gains(now - start, total)
            better = (gained > most) & (gained > error)
            if not better.any():
                break
            best[better], most[better] = factor, gained[better]
            of_best[:, better] = now[:, better]
    finally:
        # Also after a KeyboardInterrupt, no factor stays that was only tried.
        factors.copy_(torch.from_numpy(best.astype("float32")))
    return of_best


def _gains(
    of_customers: np.ndarray, total: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of gains, of shape (n, k), over n customers, and standard errors.

    The latter are roots of the sums of the squared gains.
    """
    squares = np.square(of_customers).sum(axis=0)
    return total(of_customers.sum(axis=0)), np.sqrt(total(squares))


# Lists -----------------------------------------------------------------------------

# Length of lists, and number of moments from which a factor is chosen, about at most.
_N_BEST, _MOST_MOMENTS = 10, 2**11
# Standard errors of fewer customers are too uncertain.
_FEWEST_CUSTOMERS = 10


def _choose_list_factor(
    module: EventNetwork,
    i: int,
    data: RowData,
    rows: list[np.ndarray],
    contexts: list[Tensor],
    states: list[EventStates],
    total: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Choose the factor of the softmax of field `i` in lists.

    That of the likelihood is kept, unless another one has a larger sum of NDCG, by more
    than a standard error. Then it is the smallest factor that is within a standard
    error of the best one (Breiman et al., "Classification and Regression Trees", 1984),
    because the softmax fits training customers better than those of validation. Fewer
    than ten customers decide nothing. (A factor for the gates, too, gained nothing on
    two sets of baskets, and probabilities were too low by half.)

    Each part of the rows of `data` is given by its `rows`, the contexts of the field at
    its events, and the states before them. `total` adds up sums over rows, if other
    processes have further rows.
    """
    # Copies need float64, which not every device has.
    density = copy.deepcopy(module.fields[i]).cpu()
    [source] = data.sources
    n_moments = sum(int((~one.is_tie).sum()) for one in states)
    share, rng = _MOST_MOMENTS / max(n_moments, 1), np.random.default_rng(0)
    is_tie = module.is_tie(source.events.channels)
    lists = [
        ValidationLists.of(
            density, context, found, source.events.take(own), is_tie, share, rng
        )
        for own, context, found in zip(rows, contexts, states, strict=True)
    ]

    def ndcg_of_rows() -> np.ndarray:
        return np.concatenate([np.zeros(0), *(one.ndcg_of_rows() for one in lists)])

    tried = []
    for factor in _FACTORS:
        density.list_shrinkage.fill_(factor)
        tried.append(ndcg_of_rows())
    sums = np.stack(tried, axis=1)  # (n, n_factors)
    if total(np.asarray(float(len(sums)))) < _FEWEST_CUSTOMERS:
        return
    likelihood = density.shrinkage[0, 0].item()
    kept = int(np.abs(np.array(_FACTORS) - likelihood).argmin())
    gained, error = _gains(sums - sums[:, kept, None], total)
    best = int(gained.argmax())
    if gained[best] > error[best]:
        gained, error = _gains(sums - sums[:, best, None], total)
        kept = int(np.flatnonzero(-gained <= error).max())  # _FACTORS descend
    module.fields[i].list_shrinkage.fill_(_FACTORS[kept])


@dataclass(frozen=True, eq=False)
class ValidationLists:
    """Lists for moments of some rows, and the levels that came."""

    density: LevelDensity
    row: np.ndarray  # (n,), int64: row of each moment
    context: Tensor  # (n, H): context of the field at the first event of the moment
    copies: CopyState | None  # levels that can be copied there
    came: np.ndarray  # int64, ascending: n_levels * moment + level, each once
    n_levels: int

    @classmethod
    def of(
        cls,
        density: LevelDensity,
        context: Tensor,
        found: EventStates,
        source: HistorySource,
        is_tie: np.ndarray,
        share: float,
        rng: np.random.Generator,
    ) -> ValidationLists:
        """Return a random share of the moments of rows, the views of `source`.

        `found` are the states at the events of these rows, and `context` the contexts
        of the field there. `is_tie` is that of `ObservedLevels.of`. Left out are the
        first moment of a row, and moments whose first event has no level.
        """
        events = found.events
        target = density.own_target(events.values, events.codes)
        level, position, row = (
            one.cpu().numpy() for one in (target, events.position, events.row)
        )
        begin = np.flatnonzero(~found.is_tie.cpu().numpy())
        some = (position[begin] > 0) & (level[begin] >= FIRST_LEVEL)
        chosen = np.flatnonzero(some & (rng.random(len(begin)) < share))
        n_levels = max(density.n_levels, int(level.max(initial=0)) + 1)
        number = np.full(len(begin), -1)
        number[chosen] = np.arange(len(chosen))
        number = np.repeat(number, np.diff(begin, append=len(level)))
        came = (number >= 0) & (level >= FIRST_LEVEL)
        first = begin[chosen]
        history = source.take(row[first])
        history = replace(history, stop=history.start + position[first])
        observed, copies = density.observed(history, is_tie, n_levels), None
        if observed is not None:
            at_cutoff = torch.arange(len(first))
            copies = observed.at_cutoff(at_cutoff)
            copies = copies.advance(torch.zeros_like(at_cutoff, dtype=torch.bool))
        return cls(
            density=density,
            row=row[first],
            context=context.cpu()[torch.from_numpy(first)],
            copies=copies,
            came=np.unique(number[came] * n_levels + level[came]),
            n_levels=n_levels,
        )

    def ndcg_of_rows(self) -> np.ndarray:
        """Return the sum of the NDCG of the lists of each row that has one."""
        gain = 1 / np.log2(np.arange(2, _N_BEST + 2))
        n_came = np.bincount(self.came // self.n_levels, minlength=len(self.row))
        best = np.append(0, gain.cumsum())[n_came.clip(max=_N_BEST)]
        ndcg = (self._in_lists() * gain).sum(axis=1) / best
        _, number = np.unique(self.row, return_inverse=True)
        return np.bincount(number, ndcg)

    def _in_lists(self) -> np.ndarray:
        """Return which levels of the lists came, shape (n, _N_BEST), bool."""
        found = np.zeros((len(self.row), _N_BEST), dtype=bool)
        moments = torch.arange(len(self.row))
        for some in moments.split(max(1, PROBABILITIES_AT_ONCE // self.n_levels)):
            copies = None if self.copies is None else self.copies.take(some)
            shares = self.density.probabilities(
                self.context[some], copies, of_lists=True
            )
            shares[:, :FIRST_LEVEL] = -1
            level = shares.topk(min(_N_BEST, shares.shape[1]), dim=1).indices
            keys = (some[:, None] * self.n_levels + level).numpy()
            found[some.numpy(), : keys.shape[1]] = np.isin(keys, self.came)
        return found
