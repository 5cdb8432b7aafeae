"""Categorical fields: learned frequencies, and the distribution of the next level.

Codes of a field: 0 is a level that training did not see (UNSEEN), 1 a missing value
(MISSING), and the levels start at 2. Rare levels, if any, share the last code. The
softmax and the embedding use codes. Everything else uses levels, which are numbered in
the same way, but rare ones on their own::

    code    0  1  2  3 ... K-1 K K K K ...
    level   0  1  2  3 ... K-1 K ............. L-1 L ...
                             | rare levels |     | new levels |

New levels first occur in rows after training, and are in no softmax. Once fields have
the new levels of some rows, only kinds of events can be UNSEEN.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sklearn_seqcrm._encoding import FIRST_LEVEL, MISSING, UNSEEN, Vocabulary
from sklearn_seqcrm._ragged import is_run_start
from sklearn_seqcrm._recurrent.data import HistorySource
from sklearn_seqcrm._recurrent.network import float32_tensor, new_embedding
from sklearn_seqcrm._store import Column, find_ids
from sklearn_seqcrm.event_model._copy_mechanism import (
    CopyCandidates,
    CopyMechanism,
    copy_candidates,
)
from sklearn_seqcrm.event_model._copy_state import CopyState, ObservedLevels
from sklearn_seqcrm.event_model._fields import (
    FieldDensity,
    LearnedField,
    TrainingEvents,
)
from sklearn_seqcrm.event_model._gradients import log_softmax_of
from sklearn_seqcrm.event_model._mixtures import new_output
from sklearn_seqcrm.event_model._path_draws import (
    PathDraws,
    draw_logits,
    draw_shared,
    quantile_index,
    split_paths,
)

# Pseudo-count added to observed and expected repeats of each level.
_PSEUDO_COUNT = 30.0
# Logits of draws at once: 2 MiB, which caches hold.
_LOGITS_AT_ONCE = 2**19


class LevelDensity(FieldDensity):
    """Mixture over the next level: softmax, training frequencies, and copies.

    A pointer-generator network; the module `_copy_mechanism` has the formula::

        P(c) = g_gen G(c) + g_pop S(c) + sum_j g_j n_j(c) / N_j

    - Generated: ``G = softmax(W [z, 1[new moment]] + b)``, with the context ``z`` of
      the shape (size,), so that ``W`` has size + 1 inputs. It starts at the training
      frequencies: ``b`` is their logarithm and ``W`` is small.
      A rare level has the probability of its code times its share ``r`` of the training
      events with this code.
    - Popular: ``S``, the frequencies of the levels in training.
    - Copied: levels of the customer's history. Without copies, ``P = G``.

    Of the codes of events, the column `code` has those of the field, and the column
    `level` its levels. With `copies`, levels are copied from the history.

    A level that training did not see is outside the mixture: it has the fixed log
    probability ``-log(n_events + 1)``, as if one event in n_events + 1 had a new level.

    `log_prob` leaves MISSING in the softmax even if no training event misses the field,
    so that a first missing value has a large loss and not an infinite one. No such
    value is drawn: `probabilities` is renormalised over the codes that can be drawn,
    and differs from ``exp(log_prob)``. Likewise, where no moment of training has a
    level twice, levels that the moment has already are not drawn (if there are copies),
    but keep their probability in the likelihood.

    Outside of training, ``z`` is multiplied by ``shrinkage[p, t]`` between 0 and 1 in
    the input of the part ``p``: 0 the softmax, 1 the gates. ``t`` is 1 at the moment of
    the previous event (a tie), and 0 at a new moment. The factors are calibrated on
    customers outside of training; 1 does not shrink. In lists of the most probable
    levels, the softmax has the factor ``list_shrinkage`` at new moments.
    """

    shrinkage: Tensor
    list_shrinkage: Tensor

    def __init__(
        self,
        size: int,
        field: LevelField,
        code: int,
        level: int,
        copies: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.code, self.level = code, level
        bias = np.log(field.shares).tolist()
        self.output = new_output(size + 1, bias, generator)
        self.embed = new_embedding(field.n_codes, size, generator)
        self.n_codes, self.n_levels = field.n_codes, field.n_levels
        # Codes from here on can be drawn; 0 (UNSEEN) never is.
        self.first_drawable = MISSING if field.some_missing else FIRST_LEVEL
        self.has_repeats = field.has_repeats
        self.log_unseen = -float(np.log(field.n_events + 1))
        self.copies = CopyMechanism(size, field.lift, generator) if copies else None
        popularity = field.of_levels(field.shares)
        popularity[: self.first_drawable] = 0.0
        popularity /= popularity.sum()
        self.register_buffer("popularity", float32_tensor(popularity))
        self.register_buffer("rare_shares", float32_tensor(field.rare_shares))
        self.register_buffer("shrinkage", float32_tensor(np.ones((2, 2))))
        self.register_buffer("list_shrinkage", float32_tensor(np.ones(())))

    def own_input(self, values: Any, codes: Any) -> Any:
        """Return the codes of the field, shape (n,)."""
        return codes[:, self.code]

    def own_target(self, values: Any, codes: Any) -> Any:
        """Return the levels of the field, shape (n,)."""
        return codes[:, self.level]

    def candidates(
        self, codes: Tensor, is_tie: Tensor, row: Tensor
    ) -> CopyCandidates | None:
        """Return the counts of copies of each event; see `FieldDensity.candidates`."""
        if self.copies is None:
            return None
        return copy_candidates(codes[:, self.level], self.copies.lift, is_tie, row)

    def log_prob(
        self,
        context: Tensor,
        target: Tensor,
        candidates: CopyCandidates | None = None,
        is_tie: Tensor | None = None,
    ) -> Tensor:
        """Return the log probability of levels, shape (n,); see `FieldDensity`."""
        softmax_input, gate_input, is_new_moment = self._shrunken(context, is_tie)
        is_new = target >= self.n_levels
        level = target.masked_fill(is_new, MISSING)
        code = level.clamp(max=self.n_codes - 1)
        log_prob = self._log_generated(softmax_input, is_new_moment, code)
        if len(self.rare_shares):
            rare = (level - self.n_codes + 1).clamp(min=0)
            log_share = self.rare_shares[rare].log()
            log_prob = log_prob + log_share * (code == self.n_codes - 1)
        log_prob = log_prob.masked_fill(is_new, -torch.inf)
        if self.copies is not None and candidates is not None:
            popularity = self.popularity[level] * ~is_new
            log_prob = self.copies.log_prob(
                gate_input, is_new_moment, candidates, log_prob, popularity
            )
        # A new level is drawn for the first time, or copied.
        unseen = torch.full_like(log_prob, self.log_unseen)
        log_prob = torch.where(is_new, torch.logaddexp(log_prob, unseen), log_prob)
        return log_prob.masked_fill(target == UNSEEN, self.log_unseen)

    def probabilities(
        self,
        context: Tensor,
        state: CopyState | None = None,
        is_tie: Tensor | None = None,
        weights: Tensor | None = None,
        of_lists: bool = False,
    ) -> Tensor:
        """Return the probability that each level is drawn, shape (n, n_levels).

        With a `state` of copies, new levels are among them; without, levels come from
        the softmax alone. Levels that cannot be drawn have the probability 0, and the
        others add up to 1. `context` and `is_tie` are those of `log_prob`, in each of k
        draws of n rows: probabilities are sums over the draws with `weights`, of shape
        (n, k). None: of one draw. If `of_lists`, they have the shrinkage of lists.
        """
        ones = context.new_ones(len(context), 1)
        weights = ones if weights is None else weights
        if state is None or self.has_repeats or not state.events.n_now.any():
            return self._mixture(context, state, is_tie, weights, of_lists)
        # What the levels of the moment leave differs by draw.
        row = torch.arange(len(weights), device=context.device)
        state = state.take(row.repeat_interleave(weights.shape[1]))
        found = state.exclude_now(self._mixture(context, state, is_tie, ones, of_lists))
        return torch.bmm(weights[:, None], found.unflatten(0, weights.shape))[:, 0]

    def _mixture(
        self,
        context: Tensor,
        state: CopyState | None,
        is_tie: Tensor | None,
        weights: Tensor,
        of_lists: bool,
    ) -> Tensor:
        """Return `probabilities` of all levels, also those that the moment has."""
        softmax_input, gate_input, is_new_moment = self._shrunken(
            context, is_tie, of_lists
        )
        if self.copies is None or state is None:
            return self._generated(softmax_input, is_new_moment, weights)
        generated, popular, copied = self.copies.weighted_gates(
            gate_input, is_new_moment, state.remaining(), weights
        )
        found = self._generated(softmax_input, is_new_moment, generated)
        found.addr_(popular, self.popularity)
        if n_new := state.observed.n_levels - self.n_levels:
            found = nn.functional.pad(found, (0, n_new))
        return state.add_counts(copied, found)

    def _generated(
        self, context: Tensor, is_new_moment: Tensor, weights: Tensor
    ) -> Tensor:
        """Return sums of G over k draws of each row with weights, (n, n_levels)."""
        n, n_draws = weights.shape
        at_once = max(1, _LOGITS_AT_ONCE // (n_draws * self.n_codes))
        found = context.new_empty(n, 1, self.n_codes)
        for some, column, own, out in zip(
            context.split(at_once * n_draws),
            is_new_moment.split(at_once * n_draws),
            weights.split(at_once),
            found.split(at_once),
            strict=True,
        ):
            logits = self._logits(some, column)
            logits[:, : self.first_drawable] = -torch.inf
            shares = torch.softmax(logits, dim=1).unflatten(0, own.shape)  # (n, k, C)
            torch.bmm(own[:, None], shares, out=out)
        return self._spread(found[:, 0])

    def draw(
        self,
        context: Tensor,
        draws: PathDraws,
        state: CopyState | None = None,
        is_tie: Tensor | None = None,
        codes: Tensor | None = None,
    ) -> Tensor:
        """Draw levels, shape (n,), int64, never an unseen one.

        See `FieldDensity.draw`.
        """
        levels = self._draw_mixture(context, draws, state, is_tie)
        if state is None or self.has_repeats:
            return levels
        # Few draws are rejected. Repeated draws from the mixture took twice the time.
        again = state.events.has_now(levels).nonzero()[:, 0]
        # One number per path before the paths are split: numbers are stratified among
        # the paths of a row that draw together.
        uniform = draws.take(again).uniform(context)
        for there in split_paths(len(again), self.n_levels, context.device):
            some = again[there]
            ties = None if is_tie is None else is_tie[some]
            found = self.probabilities(context[some], state.take(some), ties)
            levels[some] = quantile_index(found, uniform[there])
        return levels

    def _draw_mixture(
        self,
        context: Tensor,
        draws: PathDraws,
        state: CopyState | None,
        is_tie: Tensor | None,
    ) -> Tensor:
        """Draw levels, also those that the moment has already, shape (n,), int64."""
        softmax_input, gate_input, is_new_moment = self._shrunken(context, is_tie)
        if self.copies is None or state is None:
            logits = self._logits(softmax_input, is_new_moment)
            return self._draw_generated(logits, draws)
        gates = self.copies.gate_logits(gate_input, is_new_moment, state.remaining())
        # 0 is generated, 1 popular, and 2 + j a copy from the source j.
        source = draw_logits(gates, draws)
        levels = torch.zeros_like(source)
        generated, popular, copied = (
            some.nonzero()[:, 0] for some in (source == 0, source == 1, source > 1)
        )
        logits = self._logits(softmax_input[generated], is_new_moment[generated])
        levels[generated] = self._draw_generated(logits, draws.take(generated))
        levels[popular] = draw_shared(self.popularity.double(), draws.take(popular))
        levels[copied] = state.take(copied).draw(source[copied] - 2, draws.take(copied))
        return levels

    def observed(
        self, source: HistorySource, is_tie: np.ndarray, n_levels: int
    ) -> ObservedLevels | None:
        """Return the levels of rows; see `FieldDensity.observed`."""
        if self.copies is None:
            return None
        # New levels have a lift of 1.
        n_new = n_levels - self.n_levels
        lift = nn.functional.pad(self.copies.lift, (0, n_new), value=1.0)
        return ObservedLevels.of(source, is_tie, self.level, lift)

    def append(self, state: CopyState, codes: Tensor) -> CopyState:
        """Return the state after one more event; see `FieldDensity.append`."""
        return state.append(codes[:, self.level])

    def write(
        self, column: Column, encoded: Any, channels: np.ndarray, codes: np.ndarray
    ) -> None:
        """Write levels and codes to their columns."""
        # Values of a drawn column are positions in `LevelField.levels`; -1 is MISSING.
        codes[:, self.level] = column.values + FIRST_LEVEL
        codes[:, self.code] = encoded[0]

    def _shrunken(
        self, context: Tensor, is_tie: Tensor | None, of_lists: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return contexts of softmax and gates, (n, size), and the new-moment flag."""
        if is_tie is None:
            is_tie = torch.zeros(len(context), dtype=torch.bool, device=context.device)
        is_new_moment = (~is_tie).to(context.dtype)[:, None]
        factors = self.shrinkage
        if of_lists:
            factors = factors.clone()
            factors[0, 0] = self.list_shrinkage
        if self.training or (factors == 1).all():
            return context, context, is_new_moment
        factors = factors[:, is_tie.long(), None]  # (2, n, 1)
        softmax_input, gate_input = (context * factor for factor in factors)
        return softmax_input, gate_input, is_new_moment

    def _logits(self, context: Tensor, is_new_moment: Tensor) -> Tensor:
        """Return logits of the codes, shape (n, n_codes)."""
        return self.output(torch.cat([context, is_new_moment], dim=1))

    def _log_generated(
        self, context: Tensor, is_new_moment: Tensor, codes: Tensor
    ) -> Tensor:
        """Return log G of codes that training saw, shape (n,)."""
        known = (codes - MISSING).clamp(min=0)
        weight, bias = self.output.weight[MISSING:], self.output.bias[MISSING:]
        return log_softmax_of(context, is_new_moment, weight, bias, known)

    def _draw_generated(self, logits: Tensor, draws: PathDraws) -> Tensor:
        """Draw levels from the softmax, (n,), int64; rare ones by their shares."""
        levels = draw_logits(logits[:, self.first_drawable :], draws)
        levels += self.first_drawable
        if len(self.rare_shares):
            rare = (levels == self.n_codes - 1).nonzero()[:, 0]
            levels[rare] += draw_shared(self.rare_shares.double(), draws.take(rare))
        return levels

    def _spread(self, of_codes: Tensor) -> Tensor:
        """Return probabilities of levels, from those of codes, (n, n_codes)."""
        if not len(self.rare_shares):
            return of_codes
        rare = of_codes[:, -1:] * self.rare_shares
        return torch.cat([of_codes[:, :-1], rare], dim=1)  # (n, n_levels)


def _cast_exactly(values: pd.Index, dtype: Any) -> pd.Index:
    """Return the values that another type can hold, such as "str" in place of "string".

    Other values are left out: they have the code of unseen levels.
    """
    if values.dtype == dtype:
        return values
    try:
        cast = values.astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return pd.Index([], dtype=dtype)
    is_equal = cast.astype(object) == values.astype(object)
    return cast[np.asarray(is_equal, dtype=bool)]


def _has_repeats(levels: np.ndarray, moment: np.ndarray) -> bool:
    """Return whether two events of a moment have the same level."""
    is_level = levels >= FIRST_LEVEL
    levels, moment = levels[is_level], moment[is_level]
    # Moments of a single event, mostly all of them, need not be sorted.
    begins = is_run_start(moment)
    some = ~(begins & np.append(begins, True)[1:])
    pairs = np.sort(moment[some] * (levels.max(initial=0) + 1) + levels[some])
    return bool((pairs[1:] == pairs[:-1]).any())


def repeat_purchase_lift(
    levels: np.ndarray, events: TrainingEvents, n_levels: int
) -> np.ndarray:
    """Return how much more or less often than expected each level is repeated.

    A repeat is a level that the customer had at an earlier moment; it counts once per
    moment. If only counts mattered, a repeat in moment ``m`` would be level ``c`` with
    its share ``n_c(m) / n(m)`` of the customer's events before ``m`` that have a level.
    With the observed repeats ``O_c``, the number ``R_m`` of repeats in moment ``m``,
    and a pseudo-count of 30::

        E_c    = sum over moments m with repeats of R_m n_c(m) / n(m)
        lift_c = (O_c + 30) / (E_c + 30)

    Customers come back to milk rather than to a lamp; compare the item-specific repeat
    rates of Anderson, Kumar, Tomkins and Vassilvitskii, "The Dynamics of Repeat
    Consumption", WWW 2014.

    `levels`, of shape (n,), are those of the events. The lift has the shape
    (n_levels,), and is 0 for UNSEEN and MISSING.
    """
    is_level = levels >= FIRST_LEVEL
    levels = levels[is_level]
    moment, row = events.moment[is_level], events.row[is_level]
    # Moments in which an event has a level, numbered from 0 on.
    is_moment = is_run_start(moment)
    moment_index = np.cumsum(is_moment) - 1
    # By level, then by customer; events of a level stay in their order. Integers of 8
    # and 16 bits are sorted by radix, in a quarter of the time.
    order = levels.astype(np.min_scalar_type(n_levels)).argsort(kind="stable")
    is_first_of_level = is_run_start(levels[order]) | is_run_start(row[order])
    is_repeat = ~is_first_of_level & is_run_start(moment[order])
    repeats = order[is_repeat]
    # R_m / n(m) of each moment, (n_moments,).
    moment_begin = np.flatnonzero(is_moment)
    n_repeats = np.bincount(moment_index[repeats], minlength=len(moment_begin))
    owner = row[moment_begin]
    owner_begin = np.flatnonzero(is_run_start(owner))
    n_moments = np.diff(owner_begin, append=len(owner))  # of each customer
    history_begin = moment_begin[owner_begin].repeat(n_moments)
    share = n_repeats / np.maximum(moment_begin - history_begin, 1)
    # E_c, summed by event: an event of level c adds 1 to n_c(m) at each later moment m
    # of its customer, so that its part is the sum of R_m / n(m) over these moments.
    after = share[::-1].cumsum()[::-1] - share
    last_moment = (owner_begin + n_moments - 1).repeat(n_moments)
    expected = np.bincount(levels, (after - after[last_moment])[moment_index], n_levels)
    observed = np.bincount(levels[repeats], minlength=n_levels)
    lift = (observed + _PSEUDO_COUNT) / (np.maximum(expected, 0) + _PSEUDO_COUNT)
    lift[:FIRST_LEVEL] = 0.0
    return lift


@dataclass(frozen=True, eq=False)
class LevelField(LearnedField):
    """A categorical field with parameters that were learned from training events."""

    # Levels with a code of their own, then those that share the last code, then new
    # levels of rows that are scored or simulated.
    levels: pd.Index
    n_codes: int  # number of codes
    # (n_codes,): smoothed frequency of each code in the training events: its count +
    # 0.5, over the sum for all codes but UNSEEN, whose share is in addition.
    shares: np.ndarray
    # (n_rare,): frequency of each rare level among the events with the last code, which
    # rare levels share.
    rare_shares: np.ndarray
    # (n_levels,): weight of each level among repeats, see `repeat_purchase_lift`.
    lift: np.ndarray
    n_events: int  # number of training events
    has_repeats: bool  # whether a moment of training has a level twice
    # Whether a training event has no level, or there is no training event. If False,
    # every drawn event has a level.
    some_missing: bool

    @classmethod
    def learn(
        cls,
        encoder: Vocabulary,
        column: Column,
        events: TrainingEvents,
        n_components: int,
    ) -> LevelField:
        """Learn from the values of training events; see `LearnedField.learn`."""
        levels = encoder.levels.append(encoder.rare)
        level = Vocabulary(levels, levels[:0]).encode(column, events.times)[0]
        level = level.astype("int64")
        n_levels, n_codes = FIRST_LEVEL + len(levels), encoder.n_codes
        of_levels = np.bincount(level, minlength=n_levels)
        rare_counts = of_levels[FIRST_LEVEL + len(encoder.levels) :]
        counts = of_levels[:n_codes].astype("float64")
        if len(rare_counts):
            counts[-1] = rare_counts.sum()
        # Pseudo-count of half an event for each code. UNSEEN, whose count is 0, is left
        # out of the denominator.
        shares = (counts + 0.5) / (counts + 0.5)[MISSING:].sum()
        return cls(
            levels=levels,
            n_codes=n_codes,
            shares=shares,
            rare_shares=rare_counts / max(int(rare_counts.sum()), 1),
            lift=repeat_purchase_lift(level, events, n_levels),
            n_events=len(level),
            has_repeats=_has_repeats(level, events.moment),
            some_missing=bool((level == MISSING).any()) or not len(level),
        )

    @property
    def n_levels(self) -> int:
        """Number of levels: UNSEEN, MISSING and new ones are among them."""
        return FIRST_LEVEL + len(self.levels)

    @property
    def n_trained(self) -> int:
        """Number of `levels` that training events have; later ones are new."""
        return len(self.lift) - FIRST_LEVEL

    def of_levels(self, shares: np.ndarray) -> np.ndarray:
        """Return shares of levels, from those of codes, as a new array."""
        if not len(self.rare_shares):
            return shares.copy()
        return np.concatenate([shares[:-1], shares[-1] * self.rare_shares])

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        """Encoder of levels, without rare ones."""
        return Vocabulary(self.levels, self.levels[:0])

    def with_new(self, column: Column) -> LevelField:
        """Return the field with those values of a column that it does not have."""
        assert column.categories is not None
        occurs = np.bincount(column.values + 1, minlength=len(column.categories) + 1)
        values = column.categories[occurs[1:] > 0]
        new = values[find_ids(values, self.levels) < 0]
        new = _cast_exactly(new, self.levels.dtype)
        return replace(self, levels=self.levels.append(new)) if len(new) else self

    def level_numbers(self, column: Column) -> np.ndarray:
        """Return the level of each value, shape (n,), int32: its own, if it is rare."""
        return self._vocabulary.encode(column, np.zeros(0))[0]

    def column(self, drawn: Any, applies: np.ndarray, times: np.ndarray) -> Column:
        """Return drawn levels; see `LearnedField.column`."""
        levels = np.where(applies, drawn.cpu().numpy(), MISSING)
        return Column((levels - FIRST_LEVEL).astype("int32"), self.levels)

    def empty_column(self) -> Column:
        """Return a column of no events."""
        return Column(np.zeros(0, "int32"), self.levels)
