"""Shrinkage of the softmax in lists of the most likely values, chosen by their NDCG.

The factors of `_shrinkage` maximise the likelihood of all lines. A list depends on the
few most probable values alone, and is better if the softmax depends less on the state.
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
from sklearn_seqcrm.event_model._copy_state import CopyState, ObservedLevels
from sklearn_seqcrm.event_model._levels import LevelDensity
from sklearn_seqcrm.event_model._network import EventNetwork, EventStates
from sklearn_seqcrm.event_model._simulate import PROBABILITIES_AT_ONCE

# Factors of shrinkage that are tried, for likelihoods and for lists.
FACTORS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.0)
# Length of lists, and number of moments from which a factor is chosen, about at most.
_N_BEST, _MOST_MOMENTS = 10, 2**11
# Standard errors of fewer customers are too uncertain.
_FEWEST_CUSTOMERS = 10


def choose_list_shrinkage(
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
    than a standard error: the root of the sum of the squared gains of customers. Then
    it is the smallest factor that is within a standard error of the best one (Breiman
    et al., "Classification and Regression Trees", 1984), because the softmax fits
    training customers better than those of validation. Fewer than ten customers decide
    nothing. (A factor for the gates, too, gained nothing on two sets of baskets, and
    probabilities were too low by half.)

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

    def gains(sums: np.ndarray, over: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return gains over one column of `sums` in total, and standard errors."""
        gain = sums - over[:, None]
        return total(gain.sum(axis=0)), np.sqrt(total(np.square(gain).sum(axis=0)))

    tried = []
    for factor in FACTORS:
        density.list_shrinkage.fill_(factor)
        tried.append(ndcg_of_rows())
    sums = np.stack(tried, axis=1)  # (n, n_factors)
    if total(np.asarray(float(len(sums)))) < _FEWEST_CUSTOMERS:
        return
    likelihood = density.shrinkage[0, 0].item()
    kept = int(np.abs(np.array(FACTORS) - likelihood).argmin())
    gained, error = gains(sums, sums[:, kept])
    best = int(gained.argmax())
    if gained[best] > error[best]:
        gained, error = gains(sums, sums[:, best])
        kept = int(np.flatnonzero(-gained <= error).max())  # FACTORS descend
    module.fields[i].list_shrinkage.fill_(FACTORS[kept])


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
        copies = None
        if density.copies is not None:
            history = source.take(row[first])
            history = replace(history, stop=history.start + position[first])
            lift = density.lift_of(n_levels)
            observed = ObservedLevels.of(history, is_tie, density.level, lift)
            at_cutoff = torch.arange(len(first))
            copies = CopyState.at_cutoff(observed, at_cutoff)
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
