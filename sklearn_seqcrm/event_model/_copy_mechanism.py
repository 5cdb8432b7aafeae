"""Copy mechanism: the next level of a field may be one that the customer had before.

The probability of a level is a mixture of the softmax ``G``, the training frequencies
``S`` and copies from the history, with gates ``g`` that add up to 1, as in CopyNet (Gu
et al., ACL 2016), pointer-generator networks (See et al., ACL 2017) and RepeatNet (Ren
et al., AAAI 2019)::

    P(c) = g_gen G(c) + g_pop S(c) + sum_j g_j n_j(c) / N_j,     N_j = sum_c n_j(c)

Sources j of a copy, and their counts of level c before an event at moment m:

- the same moment (a basket that has begun): its events of level c so far;
- earlier moments, with the decay scale s_j (repeat consumption with recency: Anderson
  et al., WWW 2014)::

      n_j(c) = lift_c sum_i exp(-(m - m_i) / s_j)   over events i of level c, m_i < m,
               and 0 if moment m has level c already

- earlier moments, habits: with the number n of the customer's events at earlier moments
  and a share r_j, ``n_j(c)`` is 1 if level c has at least ``max(1, r_j n)`` of them and
  moment m does not have it.

Counts alone cannot distinguish a habit from a single purchase: seven of sixty would be
worth seven times one of sixty, which is too little if customers have a few favourites
among random purchases. A mixture over habits is any increasing function of the share of
a level, so that its limit is right for long histories, too: thresholds in events would
call everything a habit sooner or later.

The gates depend on the state and on ``log(1 + N_j)`` of all sources. So the share of
copies can grow with the number n of purchases as in the Dirichlet-multinomial posterior
``(n_c + alpha S_c) / (n + alpha)``, whose log odds of a copy are ``log n - log alpha``.

Before levels of the moment are excluded, decayed counts follow one recursion::

    n_j at the next moment = exp(-1 / s_j) (n_j + lift * events of this moment)

Batches of training need the counts before every event of known histories:
`copy_candidates` computes them at once. Simulated paths grow event by event:
`ObservedLevels` counts each row's history once, and `CopyState` carries the levels that
each path adds to it::

    |<- ObservedLevels of the row ->|<- CopyState of the path ->|
      a b   a   c   b b    (cutoff)    a   d d   ?
                     0                 1   2     2      moments of the path
      1 1   2   1   2 3                3   1 2          ordinal number in its level

A level has reached t events where an event of it has the ordinal number t: the levels
of a path with t events or more are those that its row had t times until the cutoff,
and one for each simulated event with the ordinal number t.

Levels are numbered by their position in the vocabulary, rare ones included: a level
that shares the code of rare levels in the softmax is copied as itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._encoding import FIRST_LEVEL
from sklearn_seqcrm._recurrent.network import float32_tensor
from sklearn_seqcrm.event_model._gradients import first_order_only, joint_linear
from sklearn_seqcrm.event_model._mixtures import new_output
from sklearn_seqcrm.event_model._segments import (
    linear_recurrence,
    run_starts,
    starts_run,
    sums_before,
)

# Moments after which a level counts 1 / e, for each source with decay.
DECAY_SCALES = (1.0, 4.0, 16.0, 64.0, math.inf)
# Shares, in thousandths, from which on a level is a habit, for each source of habits.
# Whole numbers: thresholds are exact on devices without float64. Three favourites
# among 30 items with a mass of .525 after 60 purchases, optimal fixed gates: the excess
# entropy is .117 nats with counts, .066 with their squares as well, .043 with
# max(n - t, 0), and .021 with shares; after 1,200 purchases .058, .003, .093 and .000.
HABIT_SHARES = (0, 5, 10, 20, 40, 80, 160, 320)
_N_DECAYS, _N_HABITS = len(DECAY_SCALES), len(HABIT_SHARES)
_N_EARLIER = _N_DECAYS + _N_HABITS  # S: sources of earlier moments
N_SOURCES = 1 + _N_EARLIER
_ONE = 1000
_ANY_NUMBER = 2**62  # levels remain habits of the share 0
# A source counts as empty if less than this share of its total, or less than this
# total, remains.
_LEAST_SHARE, _LEAST_TOTAL = 0.01, 1e-30

# Counts ------------------------------------------------------------------------------


def decay(lag: Tensor) -> Tensor:
    """Return exp(-lag / s) of lags, shape (n,), for each decay scale, (n, n_decays)."""
    return torch.exp(-lag[:, None] / decay_scales(lag))


def decay_scales(like: Tensor) -> Tensor:
    """Return the decay scales on the device of a tensor, shape (n_decays,)."""
    return torch.tensor(DECAY_SCALES, dtype=torch.float32, device=like.device)


def habit_shares(like: Tensor) -> Tensor:
    """Return the shares of habits in thousandths, on the device of a tensor."""
    return torch.tensor(HABIT_SHARES, dtype=torch.int64, device=like.device)


def habit_thresholds(n_events: Tensor) -> Tensor:
    """Return from how many events on a level is a habit, shape (n, n_habits), int64.

    `n_events`, of shape (n,), are the numbers of events at earlier moments.
    """
    thousandths = n_events[:, None] * habit_shares(n_events)
    return ((thousandths + _ONE - 1) // _ONE).clamp(min=1)  # rounded up


def remaining(total: Tensor, excluded: Tensor) -> Tensor:
    """Return the counts N_j less those of levels that the moment has already.

    They are 0 where so little remains that rounding would decide.
    """
    rest = total - excluded
    # A product takes a third of the time of `torch.where`.
    return rest * ((rest > _LEAST_SHARE * total) & (total > _LEAST_TOTAL))


class CopyCandidates(NamedTuple):
    """Counts of each source before some known events."""

    count: Tensor  # (n, N_SOURCES), float32: n_j of the level of each event
    total: Tensor  # (n, N_SOURCES), float32: N_j; 0 where a source is empty


def copy_candidates(
    levels: Tensor, lift: Tensor, is_tie: Tensor, row: Tensor
) -> CopyCandidates:
    """Return the counts before each of n events, row by row.

    `levels`, of shape (n,), int64, are the levels of a field, and `lift`, (n_levels,),
    the weight of each level at later moments. `is_tie`, (n,), is True for an event at
    the moment of the previous one, never for the first of a row; `row`, (n,), int64,
    ascending.
    """
    # New levels of rows that are scored have no lift yet.
    is_new = levels >= len(lift)
    is_level = levels >= FIRST_LEVEL
    weight = lift.index_select(0, levels.masked_fill(is_new, 0)).masked_fill(is_new, 1)
    moment = (~is_tie).cumsum(dim=0)
    # By level, then by row; events of both stay in their order. `moved` is where each
    # event is in this order.
    order = _stable_order(levels)
    moved = torch.empty_like(order)
    moved[order] = torch.arange(len(order), device=order.device)
    own, own_row, own_moment = (one[order] for one in (levels, row, moment))
    is_group = starts_run(own) | starts_run(own_row)
    is_own_moment = is_group | starts_run(own_moment)
    decayed = _decayed_before(is_group, is_own_moment, own_moment, weight[order])
    same, before = (one[moved] for one in _numbers_before(is_group, is_own_moment))
    is_row = starts_run(row)
    begins = is_row | ~is_tie
    n_habits, least = _habits_before(is_row, begins, is_level, order, is_group)
    total = torch.cat(
        [_decayed_before(is_row, begins, moment, weight), n_habits], dim=1
    )
    is_habit = (before[:, None] >= least).float()
    earlier = torch.cat([decayed.index_select(0, moved), is_habit], dim=1)
    # The first event of its level in a moment excludes the level from then on.
    earlier *= (is_level & (same == 0))[:, None]
    rest = remaining(total, sums_before(earlier, begins))  # (n, S)
    n_same = sums_before(is_level.float()[:, None], begins)
    return CopyCandidates(
        torch.cat([(same * is_level)[:, None], earlier.mul_(rest > 0)], dim=1),
        torch.cat([n_same, rest], dim=1),  # (n, N_SOURCES)
    )


def _stable_order(levels: Tensor) -> Tensor:
    """Return the order that sorts levels; equal ones stay in their order, (n,)."""
    if levels.device.type != "cpu":
        return levels.argsort(stable=True)
    # NumPy sorts integers of 8 and 16 bits (levels up to 65,535) by radix, in a tenth
    # of the time of others.
    own = levels.numpy()
    order = own.astype(np.min_scalar_type(own.max(initial=0))).argsort(kind="stable")
    return torch.from_numpy(order)


def _numbers_before(is_group: Tensor, is_moment: Tensor) -> tuple[Tensor, Tensor]:
    """Return the events before each in its group: of its moment, and of earlier ones.

    `is_group` and `is_moment`, of shape (n,), are True where a group or a moment of one
    starts. Both results have the shape (n,), int64.
    """
    of_moment = run_starts(is_moment)
    position = torch.arange(len(is_group), device=is_group.device)
    return position - of_moment, of_moment - run_starts(is_group)


def _habits_before(
    is_row: Tensor, is_moment: Tensor, is_level: Tensor, order: Tensor, is_group: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the number of habits before each event, and their thresholds.

    Both have the shape (n, n_habits). After its k-th event, and before its next one, a
    level is a habit as long as the number N of all events of the row is at most
    ``k / r_j``: an interval of N. Habits at N are the intervals that have begun, less
    those that are over::

        N              0  1  2  3  4  5  6  7  8
        level            k=1         k=2           share .4
        habit             [--]        [---------]

    `is_row` and `is_moment`, of shape (n,), are True where a row and a moment start,
    `is_level` where an event has a level. `order` sorts events by level, then by row;
    `is_group` is True where either starts in this order.
    """
    of_row, of_moment = run_starts(is_row), run_starts(is_moment)
    before = is_level.cumsum(dim=0) - is_level.long()
    before = before - before[of_row]  # level events of the row before each event
    # Slots of N = 0, ..., and of one beyond the last, for each row.
    number = is_row.cumsum(dim=0) - 1
    slot = of_row + 2 * number
    n_slots = len(number) + 2 * int(is_row.sum())
    # An event begins an interval of N, which ends before the next event of its level.
    begin = before[order] + 1
    n_of_row = torch.zeros_like(number).index_add(0, number, is_level.long())[number]
    last = torch.where(is_group.roll(-1), n_of_row[order], before[order].roll(-1))
    n_earlier, _ = _numbers_before(is_group, is_group)
    end = _each_once(_last_habits, n_earlier)
    end = torch.minimum(end, last[:, None])  # (n, n_habits)
    is_habit = ((end >= begin[:, None]) & is_level[order, None]).int()
    change = is_habit.new_zeros((n_slots, _N_HABITS))
    change.index_add_(0, slot[order] + begin, is_habit)
    of_end = slot[order, None] + end.clamp(min=0) + 1
    change.scatter_add_(0, of_end, -is_habit)
    n_events = before[of_moment]
    found = change.cumsum(dim=0, dtype=torch.int32)
    found = found.index_select(0, slot + n_events).float()
    return found, _each_once(habit_thresholds, n_events)


def _last_habits(n_earlier: Tensor) -> Tensor:
    """Return the largest N at which n_earlier + 1 events are a habit, (n, n_habits)."""
    shares = habit_shares(n_earlier)
    end = (n_earlier[:, None] + 1) * _ONE // shares.clamp(min=1)
    return end.masked_fill(shares == 0, _ANY_NUMBER)


def _each_once(function: Callable[[Tensor], Tensor], numbers: Tensor) -> Tensor:
    """Return a function of integers, computed once for each: divisions are slow."""
    most = int(numbers.max()) if len(numbers) else -1
    every = torch.arange(most + 1, device=numbers.device)
    return function(every).index_select(0, numbers)


def _decayed_before(
    is_group: Tensor, is_moment: Tensor, moment: Tensor, weight: Tensor
) -> Tensor:
    """Return decayed sums of weights at earlier moments of a group, (n, n_decays).

    `is_group` and `is_moment` are as in `_numbers_before`; `moment` is the number of
    the moment of each event.
    """
    number = is_moment.cumsum(dim=0) - 1
    begin = is_moment.nonzero()[:, 0]  # (n_moments,)
    count = weight.new_zeros(len(begin)).index_add(0, number, weight)
    lag, begins = moment[begin].diff(prepend=moment[:1]), is_group[begin]
    # From group to group a lag has no meaning; it may be negative and decay infinite.
    kept = decay(lag.masked_fill(begins, 0)).mul_(~begins[:, None])
    found = linear_recurrence(kept, kept * count.roll(1)[:, None])
    return found.index_select(0, number)


# Gates -------------------------------------------------------------------------------

# Before training: share of copies; among copies, share of the same moment; among the
# rest, share of popular levels. Halves led the network to a poor optimum where
# departments of a basket are in order: -1.11 nats an event instead of -1.04.
_START_SHARE, _START_SAME, _START_POPULAR = 0.1, 0.02, 0.1
_LEAST_PROB = 1e-30  # so that the logarithm is finite


class CopyMechanism(nn.Module):
    """Gates that choose among generating, popular levels and the sources of copies.

    The mixture contains the training frequencies, because with thousands of levels the
    softmax is overconfident. `size` is the length of a context, without the flag of a
    new moment, and `lift`, of shape (n_levels,), is that of `repeat_purchase_lift`.
    """

    most_total: Tensor

    def __init__(self, size: int, lift: np.ndarray, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("lift", float32_tensor(lift))
        earlier = (1 - _START_SAME) / _N_EARLIER
        shares = [_START_SAME, *[earlier] * _N_EARLIER]
        new = 1 - _START_SHARE
        bias = [new * (1 - _START_POPULAR), new * _START_POPULAR]
        bias += [_START_SHARE * share for share in shares]
        # Inputs: the context, the flag of a new moment, and log(1 + N_j), which start
        # without effect.
        logits = [math.log(share) for share in bias]
        self.gates = new_output(size + 1 + N_SOURCES, logits, generator)
        with torch.no_grad():
            self.gates.weight[:, size + 1 :] = 0.0
        self.register_buffer("most_total", float32_tensor(np.zeros(N_SOURCES)))

    def gate_logits(
        self, context: Tensor, is_new_moment: Tensor, total: Tensor
    ) -> Tensor:
        """Return logits of g_gen, g_pop and g_j, shape (n, 2 + N_SOURCES).

        `context`, (n, size), are state, time and fields before this one, and
        `is_new_moment`, (n, 1), is 1 at a new moment, 0 at the one of the previous
        event. Sources whose `total` N_j, (n, N_SOURCES), is 0 get no probability.
        """
        # Totals beyond the largest one of training count as that one: with shares of
        # copies that grow with log N_j without a limit, simulated favourites had .55 of
        # the mass after a year instead of .52.
        if self.training and len(total):
            self.most_total = torch.maximum(self.most_total, total.amax(dim=0))
        known = torch.minimum(total, self.most_total).log1p_()
        constants = torch.cat([is_new_moment, known], dim=1)
        logits = joint_linear(context, constants, self.gates.weight, self.gates.bias)
        return logits.masked_fill(nn.functional.pad(total <= 0, (2, 0)), -torch.inf)

    def log_prob(
        self,
        context: Tensor,
        is_new_moment: Tensor,
        candidates: CopyCandidates,
        log_generated: Tensor,
        popularity: Tensor,
    ) -> Tensor:
        """Return the log probability of known levels, shape (n,).

        `log_generated` and `popularity`, of shape (n,), are log G and S of the levels;
        the others are as in `gate_logits` and `CopyCandidates`.
        """
        logits = self.gate_logits(context, is_new_moment, candidates.total)
        shares = candidates.count / candidates.total.clamp(min=_LEAST_TOTAL)
        shares = torch.cat([popularity[:, None], shares], dim=1)
        return _LogGated.apply(logits, log_generated, shares)

    def weighted_gates(
        self, context: Tensor, is_new_moment: Tensor, total: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gates of k draws of each of n rows, times their weights.

        `context` and `is_new_moment` have n * k rows, `total` the shape (n, N_SOURCES)
        and `weights` the shape (n, k). Returns the factor of G in each draw, (n, k),
        and those of S, (n,), and of each n_j, (n, N_SOURCES), summed over the draws.
        """
        logits = self.gate_logits(
            context, is_new_moment, total.repeat_interleave(weights.shape[1], dim=0)
        )
        gates = torch.softmax(logits, dim=1).unflatten(0, weights.shape)
        gates = gates * weights[:, :, None]
        of_row = gates.sum(dim=1)
        copied = torch.where(total > 0, of_row[:, 2:] / total, 0.0)
        return gates[:, :, 0], of_row[:, 1], copied


class _LogGated(torch.autograd.Function):
    """The log probability of the mixture, and its gradient in one pass.

    With logits ``l`` of the gates, ``g = softmax(l)``, and the probability of the level
    in each component, ``a = (G, S, n_1 / N_1, ...)``::

        P                   = sum_j g_j a_j
        d log P / d l_j     = r_j - g_j sum_i r_i,        r_j = g_j a_j / P
        d log P / d log G   = r_gen

    The sum of all parts but the generated one is at least 1e-30, and has no gradient
    where it was less.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, log_generated: Tensor, shares: Tensor
    ) -> Tensor:
        gates = torch.softmax(logits, dim=1)
        parts = torch.cat([log_generated.exp()[:, None], shares], dim=1).mul_(gates)
        copied = parts[:, 1:].sum(dim=1)
        prob = parts[:, 0] + copied.clamp(min=_LEAST_PROB)
        if any(ctx.needs_input_grad):
            parts /= prob[:, None]
            parts[:, 1:] *= (copied >= _LEAST_PROB)[:, None]
            ctx.save_for_backward(gates, parts)
        return prob.log()

    @staticmethod
    @first_order_only
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        gates, parts = ctx.saved_tensors
        gradient = gradients[0][:, None]
        of_logits = torch.addcmul(
            parts, gates, parts.sum(dim=1, keepdim=True), value=-1
        )
        return of_logits.mul_(gradient), parts[:, 0] * gradients[0], None
