"""Copy mechanism: the next level of a field may be one that the customer had before.

The probability of a level is a mixture of the softmax ``G``, the training frequencies
``S`` and copies from the history, with gates ``g`` that add up to 1, as in CopyNet (Gu
et al., ACL 2016), pointer-generator networks (See et al., ACL 2017) and RepeatNet (Ren
et al., AAAI 2019)::

    P(c) = g_gen G(c) + g_pop S(c) + sum_j g_j n_j(c) / N_j,     N_j = sum_c n_j(c)

Sources j of a copy, and their counts of level c before an event at moment m:

- j = 0, the same moment (a basket that has begun): its events of level c so far;
- j > 0, earlier moments, with the decay scale s_j (repeat consumption with recency:
  Anderson et al., WWW 2014)::

      n_j(c) = lift_c sum_i exp(-(m - m_i) / s_j)   over events i of level c, m_i < m,
               and 0 if moment m has level c already

Before levels of the moment are excluded, counts of j > 0 follow one recursion::

    n_j at the next moment = exp(-1 / s_j) (n_j + lift * events of this moment)

Batches of training need the counts before every event of known histories:
`copy_candidates` computes them at once. Simulated paths grow event by event:
`ObservedLevels` counts each row's history once, and `CopyState` carries what each path
adds to it::

    |<- ObservedLevels of the row ->|<- CopyState of the path ->|
      a b   a   c   b b    (cutoff)    a   d d   ?
                     0                 1   2     2      moments of the path
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm._encoding import FIRST_LEVEL
from sklearn_seqcrm._ragged import ranges, segment_numbers
from sklearn_seqcrm._recurrent.data import HistorySource
from sklearn_seqcrm.event_model._distributions import (
    PathDraws,
    draw_categorical,
    draw_logits,
    new_output,
    pick,
)
from sklearn_seqcrm.event_model._segments import (
    linear_recurrence,
    starts_run,
    sums_before,
)

# Moments after which a level counts 1 / e, for each source of earlier moments.
DECAY_SCALES = (1.0, 4.0, 16.0, 64.0, math.inf)
N_SOURCES = 1 + len(DECAY_SCALES)
# Before training: share of copies; among copies, share of the same moment; among the
# rest, share of popular levels. Halves led the network to a poor optimum where
# departments of a basket are in order: -1.11 nats an event instead of -1.04.
_START_SHARE, _START_SAME, _START_POPULAR = 0.1, 0.02, 0.1
# A source of which less than this share, or so little in all, remains has nothing.
_LEAST_SHARE, _LEAST_TOTAL = 0.01, 1e-30
_LEAST_PROB = 1e-30  # so that the logarithm is finite
# Events counted at once, of some 200 bytes each, unless a single row has more.
_EVENTS_AT_ONCE = 2**20
# Rejected draws before the probabilities of all levels are computed; as many of these
# at once: 32 MiB.
_TRIES = 4
_PROBABILITIES_AT_ONCE = 2**23


def decay(lag: torch.Tensor) -> torch.Tensor:
    """Return exp(-lag / s) of lags of shape (n,) for each scale, shape (n, S)."""
    return torch.exp(-lag[:, None] / _scales(lag))


def _scales(like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(DECAY_SCALES, dtype=torch.float32, device=like.device)


def remaining(total: torch.Tensor, excluded: torch.Tensor) -> torch.Tensor:
    """Return the counts N_j less those of levels that the moment has already.

    They are 0 where so little remains that rounding would decide.
    """
    rest = total - excluded
    some = (rest > _LEAST_SHARE * total) & (total > _LEAST_TOTAL)
    return torch.where(some, rest, torch.zeros_like(rest))


class CopyCandidates(NamedTuple):
    """Counts of each source before some known events.

    Parameters
    ----------
    count : Tensor of shape (n, N_SOURCES), float32
        n_j of the level of each event.
    total : Tensor of shape (n, N_SOURCES), float32
        N_j; 0 where a source has nothing.
    """

    count: torch.Tensor
    total: torch.Tensor


class CopyMechanism(nn.Module):
    """Gates that choose among generating, popular levels and the sources of copies.

    The mixture contains the training frequencies, because with thousands of levels the
    softmax is overconfident.

    Parameters
    ----------
    size : int
        Length of a context.
    lift : ndarray of shape (n_codes,)
        Weight of each code among repeats, see `repeat_purchase_lift`.
    generator : torch.Generator
        Draws first weights.
    """

    def __init__(self, size: int, lift: np.ndarray, generator: torch.Generator) -> None:
        super().__init__()
        weights = torch.tensor(lift, dtype=torch.float32, device="cpu")
        self.register_buffer("lift", weights)
        earlier = (1 - _START_SAME) / len(DECAY_SCALES)
        shares = [_START_SAME, *[earlier] * len(DECAY_SCALES)]
        new = 1 - _START_SHARE
        bias = [new * (1 - _START_POPULAR), new * _START_POPULAR]
        bias += [_START_SHARE * share for share in shares]
        self.gates = new_output(size, [math.log(share) for share in bias], generator)

    def log_gates(self, context: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        """Return log g_gen, log g_pop and log g_j, shape (n, 2 + N_SOURCES).

        `context` has the shape (n, size), and `total` holds N_j, shape (n, N_SOURCES):
        sources with nothing get no probability.
        """
        nothing = nn.functional.pad(total <= 0, (2, 0))
        logits = self.gates(context).masked_fill(nothing, -torch.inf)
        return torch.log_softmax(logits, dim=1)

    def log_prob(
        self,
        context: torch.Tensor,
        candidates: CopyCandidates,
        log_generated: torch.Tensor,
        popularity: torch.Tensor,
    ) -> torch.Tensor:
        """Return the log probability of known codes, shape (n,).

        `log_generated` and `popularity`, of shape (n,), are log G and S of the codes.
        """
        gates = self.log_gates(context, candidates.total)
        shares = candidates.count / candidates.total.clamp(min=_LEAST_TOTAL)
        shares = torch.cat([popularity[:, None], shares], dim=1)
        copied = (gates[:, 1:].exp() * shares).sum(dim=1).clamp(min=_LEAST_PROB)
        return torch.logaddexp(gates[:, 0] + log_generated, copied.log())

    def probabilities(
        self,
        context: torch.Tensor,
        state: CopyState,
        generated: torch.Tensor,
        popularity: torch.Tensor,
    ) -> torch.Tensor:
        """Return the probability of each code, shape (n, n_codes).

        `generated` is G of the same shape, and is overwritten; `popularity`, of shape
        (n_codes,), is S.
        """
        total = state.remaining()
        gates = self.log_gates(context, total).exp()
        weights = torch.where(total > 0, gates[:, 2:] / total, 0.0)
        generated.mul_(gates[:, :1]).addr_(gates[:, 1], popularity)
        return state.add_counts(weights, generated)

    def draw_source(
        self, context: torch.Tensor, state: CopyState, draws: PathDraws
    ) -> torch.Tensor:
        """Draw 0 (generated), 1 (popular) or 2 + source of a copy, shape (n,)."""
        gates = self.log_gates(context, state.remaining()).exp()
        return draw_categorical(gates, draws)


# Known histories ---------------------------------------------------------------------


def copy_candidates(
    codes: torch.Tensor,
    lift: torch.Tensor,
    is_tie: torch.Tensor,
    row: torch.Tensor,
    step: torch.Tensor,
) -> CopyCandidates:
    """Return the counts before each event of padded sequences.

    Parameters
    ----------
    codes : Tensor of shape (B, T), int64
        Codes of a field.
    lift : Tensor of shape (n_codes,), float32
        Weight of each code at later moments.
    is_tie : Tensor of shape (B, T), bool
        Whether an event is at the moment of the previous one; the first is not.
    row, step : Tensor of shape (n,), int64
        Sequence and position of all events, row by row.
    """
    own = codes[row, step]  # (n,)
    moment = (~is_tie).cumsum(dim=1)[row, step]
    is_level, weight = (own >= FIRST_LEVEL).float(), lift[own]
    total, n_same = _counts_before(row, moment, is_level, weight)
    # The same within (row, level): a stable sort keeps the events of a level in order.
    level = row * len(lift) + own
    order = level.argsort(stable=True)
    decayed, same = torch.empty_like(total), torch.empty_like(n_same)
    decayed[order], same[order] = _counts_before(
        level[order], moment[order], is_level[order], weight[order]
    )
    same = same * is_level
    # The first event of its level in a moment excludes the level from then on.
    decayed = decayed * (is_level * (same == 0))[:, None]
    excluded = sums_before(decayed, starts_run(row) | starts_run(moment))
    rest = remaining(total, excluded)
    return CopyCandidates(
        torch.cat([same[:, None], decayed * (rest > 0)], dim=1),  # (n, N_SOURCES)
        torch.cat([n_same[:, None], rest], dim=1),
    )


def _counts_before(
    group: torch.Tensor,
    moment: torch.Tensor,
    is_level: torch.Tensor,
    weight: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return decayed counts of earlier moments, (n, S), and of the same one, (n,).

    Events stand one after the other by `group` and `moment`, which ascends within a
    group. They count `is_level` at their own moment and `weight` at later ones.
    """
    is_group = starts_run(group)
    is_moment = is_group | starts_run(moment)
    same = sums_before(is_level[:, None], is_moment)[:, 0]
    number = is_moment.cumsum(dim=0) - 1
    begin = is_moment.nonzero()[:, 0]  # (n_moments,)
    count = weight.new_zeros(len(begin)).index_add(0, number, weight)
    lag = moment[begin].diff(prepend=moment[:1])
    kept = decay(lag).masked_fill(is_group[begin, None], 0.0)
    return linear_recurrence(kept, kept * count.roll(1)[:, None])[number], same


# Simulated paths ---------------------------------------------------------------------


class ObservedLevels(NamedTuple):
    """Distinct levels that rows had until their cutoffs, with their counts.

    Parameters
    ----------
    offsets : Tensor of shape (n + 1,), int64
        Row ``i`` has the levels ``offsets[i]:offsets[i + 1]``.
    keys : Tensor of shape (n_levels,), int64
        ``row * n_codes + code`` of each, ascending.
    lift : Tensor of shape (n_codes,), float32
        Weight of each code at later moments.
    counts : Tensor of shape (n_levels, S), float32
        Decayed counts times lift, at the moment of the row's last event.
    cumulative : Tensor of shape (S, n_levels), float64
        Row, plus the share of the row's counts up to each level: draws from all rows at
        once by one search.
    total : Tensor of shape (n, S), float32
        Sums of the counts of a row.
    """

    offsets: torch.Tensor
    keys: torch.Tensor
    lift: torch.Tensor
    counts: torch.Tensor
    cumulative: torch.Tensor
    total: torch.Tensor

    @classmethod
    def of(
        cls, source: HistorySource, is_tie: np.ndarray, code: int, lift: torch.Tensor
    ) -> ObservedLevels:
        """Count the levels of rows.

        `is_tie`, of shape (n_events,), is True for an event at the moment of the
        previous one; `code` is the column of the field among the codes; `lift` gives
        the device of the counts.
        """
        n, n_codes = len(source.stop), len(lift)
        portion = np.cumsum(source.lengths) // _EVENTS_AT_ONCE
        cuts = np.flatnonzero(np.diff(portion)) + 1
        found = [
            _count_levels(source, is_tie, code, lift, rows)
            for rows in np.split(np.arange(n), cuts)
        ]
        keys, counts = (np.concatenate(parts) for parts in zip(*found, strict=True))
        row = keys // n_codes
        offsets = np.searchsorted(row, np.arange(n + 1))
        # Sums row by row: differences of cumulative sums over all rows would lose the
        # small counts of a row behind the large ones of others.
        total = np.stack([np.bincount(row, one, minlength=n) for one in counts.T], 1)
        share = counts / np.maximum(total[row], np.finfo("float64").tiny)
        summed = np.concatenate([np.zeros((1, len(DECAY_SCALES))), share.cumsum(0)])
        share = summed[1:] - summed[offsets[row]]
        # Rounding must not take a level beyond the end of its row.
        cumulative = row[:, None] + np.minimum(share, 1.0)

        def moved(numbers: np.ndarray, dtype: str) -> torch.Tensor:
            array = np.ascontiguousarray(numbers, dtype)
            return torch.from_numpy(array).to(lift.device)

        return cls(
            moved(offsets, "int64"),
            moved(keys, "int64"),
            lift,
            moved(counts, "float32"),
            moved(cumulative.T, "float64"),
            moved(total, "float32"),
        )

    @property
    def n_codes(self) -> int:
        """Number of codes."""
        return len(self.lift)


def _count_levels(
    source: HistorySource,
    is_tie: np.ndarray,
    code: int,
    lift: torch.Tensor,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return keys and counts, float64, of the levels of some rows."""
    index, offsets = ranges(source.start[rows], source.stop[rows])
    moment = np.cumsum(~is_tie[index])
    lengths = np.diff(offsets)
    last = np.repeat(moment[offsets[1:][lengths > 0] - 1], lengths[lengths > 0])
    codes = source.codes[index, code]
    is_level = codes >= FIRST_LEVEL
    lag = torch.from_numpy((last - moment)[is_level].astype("float64"))
    keys = np.repeat(rows, lengths) * len(lift) + codes
    keys, place = np.unique(keys[is_level], return_inverse=True)
    counts = [
        np.bincount(place, one, minlength=len(keys)) for one in decay(lag).numpy().T
    ]
    weight = lift.double().cpu().numpy()[keys % len(lift), None]
    return keys, np.stack(counts, axis=1) * weight


@dataclass(frozen=True, eq=False)
class CopyState:
    """What simulated paths can copy: from the history of their rows, and since.

    Parameters
    ----------
    observed : ObservedLevels of m
        Levels of the rows until their cutoffs.
    row : Tensor of shape (n,), int64
        Row of each path.
    drawn : Tensor of shape (n, E), int32
        Codes of simulated events, the last one last; 0 where there is none.
    drawn_at : Tensor of shape (n, E), int32
        Number of the moment of each.
    moment : Tensor of shape (n,), int64
        Moment that a path is at; 0 at the last event before the cutoff.
    total : Tensor of shape (n, N_SOURCES), float32
        Counts N_j before levels of this moment are excluded.
    pending : Tensor of shape (n,), float32
        Lift of the events of this moment, which count from the next one on.
    excluded : Tensor of shape (n, S), float32
        Counts of earlier moments of levels that this moment has.
    """

    observed: ObservedLevels
    row: torch.Tensor
    drawn: torch.Tensor
    drawn_at: torch.Tensor
    moment: torch.Tensor
    total: torch.Tensor
    pending: torch.Tensor
    excluded: torch.Tensor

    @classmethod
    def at_cutoff(cls, observed: ObservedLevels, row: torch.Tensor) -> CopyState:
        """Return paths at the cutoffs of their rows."""
        counts = observed.total[row]
        nothing = row.new_zeros((len(row), 0), dtype=torch.int32)
        return cls(
            observed,
            row,
            nothing,
            nothing,
            torch.zeros_like(row),
            nn.functional.pad(counts, (1, 0)),
            counts.new_zeros(len(row)),
            torch.zeros_like(counts),
        )

    def take(self, kept: Any) -> CopyState:
        """Return the paths at some positions, an array or tensor of int64."""
        kept = torch.as_tensor(kept, device=self.row.device)
        return replace(self, **{n: one[kept] for n, one in self._of_paths().items()})

    def concat(self, more: CopyState) -> CopyState:
        """Return these paths followed by others of the same rows."""
        width = max(self._n_drawn(), more._n_drawn())
        others = more._of_paths()
        joined = {}
        for name, one in self._of_paths().items():
            parts = [one, others[name]]
            if name in ("drawn", "drawn_at"):
                # The newest events are last, so that shorter rows begin with zeros.
                pads = [(width - part.shape[1], 0) for part in parts]
                pairs = zip(parts, pads, strict=True)
                parts = [nn.functional.pad(part, pad) for part, pad in pairs]
            joined[name] = torch.cat(parts)
        return replace(self, **joined)

    def _of_paths(self) -> dict[str, torch.Tensor]:
        """Return the tensors with an entry for each path."""
        return {name: one for name, one in vars(self).items() if name != "observed"}

    def advance(self, is_tie: torch.Tensor) -> CopyState:
        """Return paths at the moment of their next event, the same one in a tie."""
        # The moment of the last event before the cutoff is over.
        is_tie = is_tie & (self.moment > 0)
        # N_j after the moment = exp(-1 / s_j) (N_j + lift of its events).
        one_moment = decay(torch.ones_like(self.moment))
        total = (self.total[:, 1:] + self.pending[:, None]) * one_moment
        total = nn.functional.pad(total, (1, 0))  # nothing yet at the new moment
        excluded = self.excluded * is_tie[:, None]
        tied = is_tie.nonzero()[:, 0]
        if len(tied):
            excluded[tied] += self.take(tied)._counts_of_last()
        return replace(
            self,
            moment=self.moment + ~is_tie,
            total=torch.where(is_tie[:, None], self.total, total),
            pending=self.pending * is_tie,
            excluded=excluded,
        )

    def append(self, codes: torch.Tensor) -> CopyState:
        """Return paths with one more event at this moment, of codes of shape (n,)."""
        total = self.total.clone()
        total[:, 0] += codes >= FIRST_LEVEL
        return replace(
            self,
            drawn=torch.cat([self.drawn, codes[:, None].int()], dim=1),
            drawn_at=torch.cat([self.drawn_at, self.moment[:, None].int()], dim=1),
            total=total,
            pending=self.pending + self.observed.lift[codes],
        )

    def remaining(self) -> torch.Tensor:
        """Return N_j, shape (n, N_SOURCES), as in `CopyCandidates`."""
        earlier = remaining(self.total[:, 1:], self.excluded)
        return torch.cat([self.total[:, :1], earlier], dim=1)

    def draw(self, source: torch.Tensor, draws: PathDraws) -> torch.Tensor:
        """Draw codes in proportion to the counts n_j of a source, shape (n,), int64.

        `source`, of shape (n,), int64, is that of each path; something of it remains.
        """
        codes = torch.zeros_like(self.row)
        same = (source == 0).nonzero()[:, 0]
        if len(same):
            codes[same] = self.take(same)._draw_same_moment(draws.take(same))
        left = source.nonzero()[:, 0]
        # Rejection sampling: levels of this moment are mostly a small part.
        for _ in range(_TRIES):
            if not len(left):
                return codes
            paths = self if len(left) == len(source) else self.take(left)
            drawn = paths._draw_earlier(source[left] - 1, draws.take(left))
            is_new = ~(paths._is_now() & (paths.drawn == drawn[:, None])).any(dim=1)
            codes[left[is_new]] = drawn[is_new]
            left = left[~is_new]
        for some in left.split(max(1, _PROBABILITIES_AT_ONCE // self.observed.n_codes)):
            weights = nn.functional.one_hot(source[some], N_SOURCES).float()
            counts = self.take(some).counts(weights)
            codes[some] = draw_categorical(counts, draws.take(some))
        return codes

    def counts(self, weights: torch.Tensor) -> torch.Tensor:
        """Return ``sum_j weights_j n_j(c)`` of each code c, shape (n, n_codes)."""
        found = weights.new_zeros((len(weights), self.observed.n_codes))
        return self.add_counts(weights, found)

    def add_counts(self, weights: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """Add `counts` to `found`, of shape (n, n_codes), contiguous, in place."""
        device, n_codes = self.row.device, self.observed.n_codes
        flat = found.view(-1)  # (n * n_codes,)
        is_now, is_level = self._is_now(), self.drawn >= FIRST_LEVEL
        now, event = (is_level & is_now).nonzero(as_tuple=True)
        of_now = now * n_codes + self.drawn[now, event]
        before = flat[of_now]
        # Levels until the cutoff: all levels of the row of each path.
        first, last = (
            self.observed.offsets[self.row + i].cpu().numpy() for i in (0, 1)
        )
        index, offsets = ranges(first, last)
        level = torch.from_numpy(index).to(device)
        path = torch.from_numpy(segment_numbers(offsets))
        path = path.to(device)
        decayed = weights[:, 1:] * decay(self.moment)
        counts = (decayed[path] * self.observed.counts[level]).sum(dim=1)
        code = self.observed.keys[level] % n_codes
        flat.index_add_(0, path * n_codes + code, counts)
        # Simulated events of earlier moments.
        path, event = (is_level & ~is_now).nonzero(as_tuple=True)
        lag, code = (
            self.moment[path] - self.drawn_at[path, event],
            self.drawn[path, event],
        )
        counts = (weights[path, 1:] * decay(lag)).sum(dim=1) * self._lift(code)
        flat.index_add_(0, path * n_codes + code, counts)
        # Levels of this moment count only for source 0.
        flat[of_now] = before
        flat.index_add_(0, of_now, weights[now, 0])
        return found

    def _n_drawn(self) -> int:
        """Return the largest number of simulated events among unfinished paths."""
        return int((self.drawn_at > 0).sum(dim=1).max()) if len(self.drawn_at) else 0

    def _lift(self, codes: torch.Tensor) -> torch.Tensor:
        return self.observed.lift[codes.long()]

    def _is_now(self) -> torch.Tensor:
        """Return which simulated events are at the current moment, shape (n, E)."""
        return self.drawn_at == self.moment[:, None]

    def _counts_of_last(self) -> torch.Tensor:
        """Return earlier counts of the last level if it is new here, shape (n, S)."""
        code, before = self.drawn[:, -1:], self.drawn[:, :-1]
        is_same = (before == code) & (code >= FIRST_LEVEL)
        is_now = self._is_now()[:, :-1]
        path, event = (is_same & ~is_now).nonzero(as_tuple=True)
        counts = torch.zeros_like(self.excluded)
        counts.index_add_(
            0, path, decay(self.moment[path] - self.drawn_at[path, event])
        )
        counts *= self._lift(code)
        keys = self.row * self.observed.n_codes + code[:, 0]
        if len(self.observed.keys):
            place = torch.searchsorted(self.observed.keys, keys)
            place = place.clamp(max=len(self.observed.keys) - 1)
            is_observed = self.observed.keys[place] == keys
            own = self.observed.counts[place] * decay(self.moment)
            counts += own * is_observed[:, None]
        return counts * ~(is_same & is_now).any(dim=1)[:, None]

    def _draw_same_moment(self, draws: PathDraws) -> torch.Tensor:
        """Draw from the events of this moment, shape (n,), int64."""
        weights = (self._is_now() & (self.drawn >= FIRST_LEVEL)).float()
        return pick(self.drawn, draw_categorical(weights, draws)).long()

    def _draw_earlier(self, scale: torch.Tensor, draws: PathDraws) -> torch.Tensor:
        """Draw from earlier moments, without excluding this one's levels, (n,), int64.

        `scale`, of shape (n,), are positions in `DECAY_SCALES`.
        """
        like = self.total.new_zeros(0, dtype=torch.float64)
        uniform, of_level = draws.uniform(like), draws.uniform(like)
        # Before the cutoff or since: in proportion to the counts of both.
        before = self.observed.total[self.row, scale]
        before = before * pick(decay(self.moment), scale)
        is_since = (self.drawn >= FIRST_LEVEL) & ~self._is_now()
        is_before = uniform * pick(self.total, 1 + scale) < before
        is_before = (is_before | ~is_since.any(dim=1)) & (before > 0)
        codes = torch.zeros_like(self.row)
        for k, cumulative in enumerate(self.observed.cumulative):
            own = (is_before & (scale == k)).nonzero()[:, 0]
            row = self.row[own]
            place = torch.searchsorted(cumulative, row + of_level[own], right=True)
            place = torch.minimum(place, self.observed.offsets[row + 1] - 1)
            codes[own] = self.observed.keys[place] % self.observed.n_codes
        since = (~is_before).nonzero()[:, 0]
        if len(since):
            # By logarithms: weights of long ago would underflow together.
            lag = self.moment[since, None] - self.drawn_at[since]
            logits = -lag / _scales(lag)[scale[since], None]
            logits += self._lift(self.drawn[since]).log()
            logits.masked_fill_(~is_since[since], -torch.inf)
            place = draw_logits(logits, draws.take(since))
            codes[since] = pick(self.drawn[since], place).long()
        return codes
