"""What simulated paths can copy: observed levels of rows, and the state of paths.

`_copy_counts` has the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm._encoding import FIRST_LEVEL
from sklearn_seqcrm._ragged import ranges, segment_numbers
from sklearn_seqcrm._recurrent.data import HistorySource
from sklearn_seqcrm.event_model._copy_counts import (
    DECAY_SCALES,
    HABIT_SHARES,
    N_SOURCES,
    decay,
    decay_scales,
    habit_shares,
    habit_threshold,
    habit_thresholds,
    remaining,
)
from sklearn_seqcrm.event_model._distributions import (
    PathDraws,
    draw_categorical,
    draw_logits,
    pick,
    quantile_index,
    split_paths,
)

_N_DECAYS, _N_HABITS = len(DECAY_SCALES), len(HABIT_SHARES)
# Events counted at once, of some 200 bytes each, unless a single row has more.
_EVENTS_AT_ONCE = 2**20
# Rejected draws before the probabilities of all levels are computed.
_TRIES = 4
# Below this, the probability of all levels that a moment does not have is added up.
_LEAST_REST = 0.05


class ObservedLevels(NamedTuple):
    """Distinct levels that rows had until their cutoffs, with their counts.

    Parameters
    ----------
    offsets : Tensor of shape (n + 1,), int64
        Row ``i`` has the levels ``offsets[i]:offsets[i + 1]``.
    keys : Tensor of shape (n_found,), int64
        ``row * n_levels + level`` of each, ascending.
    lift : Tensor of shape (n_levels,), float32
        Weight of each level at later moments.
    number : Tensor of shape (n_found,), int64
        Events of each.
    by_number : Tensor of shape (n_found,), int64
        Positions of the levels of each row, by descending number: habits come first.
    ranks : Tensor of shape (n_found,), int64
        ``row * stride - number`` in this order, ascending.
    stride : int
        More events than any level of a row has.
    counts : Tensor of shape (n_found, n_decays), float32
        Decayed counts times lift, at the moment of the row's last event.
    cumulative : Tensor of shape (n_decays, n_found), float64
        Row, plus the share of the row's counts up to each level: draws from all rows at
        once by one search.
    total : Tensor of shape (n, n_decays), float32
        Sums of the counts of a row.
    n_events : Tensor of shape (n,), int64
        Events of a row that have a level.
    """

    offsets: torch.Tensor
    keys: torch.Tensor
    lift: torch.Tensor
    number: torch.Tensor
    by_number: torch.Tensor
    ranks: torch.Tensor
    stride: int
    counts: torch.Tensor
    cumulative: torch.Tensor
    total: torch.Tensor
    n_events: torch.Tensor

    @classmethod
    def of(
        cls, source: HistorySource, is_tie: np.ndarray, code: int, lift: torch.Tensor
    ) -> ObservedLevels:
        """Count the levels of rows.

        `is_tie`, of shape (n_events,), is True for an event at the moment of the
        previous one; `code` is the column of the field's levels among the codes; `lift`
        gives the device of the counts.
        """
        n, n_levels = len(source.stop), len(lift)
        portion = np.cumsum(source.lengths) // _EVENTS_AT_ONCE
        cuts = np.flatnonzero(np.diff(portion)) + 1
        found = [
            _count_levels(source, is_tie, code, lift, rows)
            for rows in np.split(np.arange(n), cuts)
        ]
        keys, number, counts = (
            np.concatenate(parts) for parts in zip(*found, strict=True)
        )
        row = keys // n_levels
        offsets = np.searchsorted(row, np.arange(n + 1))
        # Sums row by row: differences of cumulative sums over all rows would lose the
        # small counts of a row behind the large ones of others.
        total = np.stack([np.bincount(row, one, minlength=n) for one in counts.T], 1)
        by_number = np.lexsort((-number, row))
        stride = int(number.max(initial=0)) + 1
        share = counts / np.maximum(total[row], np.finfo("float64").tiny)
        summed = np.concatenate([np.zeros((1, _N_DECAYS)), share.cumsum(0)])
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
            moved(number, "int64"),
            moved(by_number, "int64"),
            moved((row * stride - number)[by_number], "int64"),
            stride,
            moved(counts, "float32"),
            moved(cumulative.T, "float64"),
            moved(total, "float32"),
            moved(np.bincount(row, number, minlength=n), "int64"),
        )

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.lift)

    def find(
        self, row: torch.Tensor, level: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where a level of a row is, shape (n,), and whether the row had it."""
        keys = row * self.n_levels + level
        if not len(self.keys):
            return torch.zeros_like(keys), torch.zeros_like(keys, dtype=torch.bool)
        place = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        return place, self.keys[place] == keys

    def n_reached(self, row: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
        """Return how many levels rows had at least so often.

        `row` and `least`, int64, have the same shape, which is that of the result.
        """
        end = row * self.stride - least.clamp(max=self.stride)
        return torch.searchsorted(self.ranks, end, right=True) - self.offsets[row]

    def numbers(self, row: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Return the number of events of a level that each row had, shape (n,)."""
        place, is_found = self.find(row, level)
        if not len(self.keys):
            return place
        return self.number[place] * is_found


def _count_levels(
    source: HistorySource,
    is_tie: np.ndarray,
    code: int,
    lift: torch.Tensor,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return keys, numbers and decayed counts, float64, of the levels of some rows."""
    index, offsets = ranges(source.start[rows], source.stop[rows])
    moment = np.cumsum(~is_tie[index])
    lengths = np.diff(offsets)
    last = np.repeat(moment[offsets[1:][lengths > 0] - 1], lengths[lengths > 0])
    codes = source.codes[index, code]
    is_level = codes >= FIRST_LEVEL
    lag = torch.from_numpy((last - moment)[is_level].astype("float64"))
    keys = np.repeat(rows, lengths) * len(lift) + codes
    keys, place, number = np.unique(
        keys[is_level], return_inverse=True, return_counts=True
    )
    counts = [
        np.bincount(place, one, minlength=len(keys)) for one in decay(lag).numpy().T
    ]
    weight = lift.double().cpu().numpy()[keys % len(lift), None]
    return keys, number, np.stack(counts, axis=1) * weight


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
        Levels of simulated events, the last one last; 0 where there is none.
    drawn_at : Tensor of shape (n, E), int32
        Number of the moment of each.
    ordinal : Tensor of shape (n, E), int32
        Number of each among the events of its level, those of the row included.
    is_repeat : Tensor of shape (n, E), int32
        1 if an event of its moment before had its level.
    moment : Tensor of shape (n,), int64
        Moment that a path is at; 0 at the last event before the cutoff.
    n_events : Tensor of shape (n,), int64
        Events with a level at earlier moments, those of the row included.
    total : Tensor of shape (n, 1 + n_decays), float32
        Counts N_j of the same moment and of sources with decay, before levels of this
        moment are excluded.
    pending : Tensor of shape (n,), float32
        Lift of the events of this moment, which count from the next one on.
    excluded : Tensor of shape (n, n_decays), float32
        Counts of earlier moments of levels that this moment has.
    """

    observed: ObservedLevels
    row: torch.Tensor
    drawn: torch.Tensor
    drawn_at: torch.Tensor
    ordinal: torch.Tensor
    is_repeat: torch.Tensor
    moment: torch.Tensor
    n_events: torch.Tensor
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
            nothing,
            nothing,
            torch.zeros_like(row),
            observed.n_events[row],
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
            if one.dim() == 2 and one.dtype == torch.int32:
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
            n_events=self.n_events + self.total[:, 0].long() * ~is_tie,
            total=torch.where(is_tie[:, None], self.total, total),
            pending=self.pending * is_tie,
            excluded=excluded,
        )

    def append(self, levels: torch.Tensor) -> CopyState:
        """Return paths with one more event at this moment, of levels of shape (n,)."""
        is_level = levels >= FIRST_LEVEL
        is_same = self.drawn == levels[:, None].int()
        ordinal = 1 + is_same.sum(dim=1) + self.observed.numbers(self.row, levels)
        last = {
            "drawn": levels,
            "drawn_at": self.moment,
            "ordinal": ordinal * is_level,
            "is_repeat": (is_same & self._is_now()).any(dim=1),
        }
        total = self.total.clone()
        total[:, 0] += is_level
        return replace(
            self,
            total=total,
            pending=self.pending + self._lift(levels),
            **{
                name: torch.cat([getattr(self, name), one[:, None].int()], dim=1)
                for name, one in last.items()
            },
        )

    def remaining(self) -> torch.Tensor:
        """Return N_j, shape (n, N_SOURCES), as in `CopyCandidates`."""
        decayed = remaining(self.total[:, 1:], self.excluded)
        habits = remaining(*(one.float() for one in self._n_habits()))
        return torch.cat([self.total[:, :1], decayed, habits], dim=1)

    def _n_habits(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the number of habits, and of those that this moment has, (n, H)."""
        least = habit_thresholds(self.n_events)  # (n, n_habits)
        total = self.observed.n_reached(self.row[:, None].expand_as(least), least)
        is_now = self._is_now()
        # Few events are at this moment, of all E of a long path: only their positions.
        path, event = (is_now & self._is_first()).nonzero(as_tuple=True)
        is_habit = self.ordinal[path, event, None] > least[path]
        excluded = torch.zeros_like(total).index_add_(0, path, is_habit.long())
        # In int32, as a comparison with int64 takes several times as long; events
        # without a level have the ordinal number 0, which is no threshold.
        earlier = self.ordinal.masked_fill(is_now, 0)  # (n, E)
        for k, own in enumerate(least.int().unbind(dim=1)):
            total[:, k] += (earlier == own[:, None]).sum(dim=1)
        return total, excluded

    def draw(self, source: torch.Tensor, draws: PathDraws) -> torch.Tensor:
        """Draw levels in proportion to the counts n_j of a source, shape (n,), int64.

        `source`, of shape (n,), int64, is that of each path; something of it remains.
        """
        levels = torch.zeros_like(self.row)
        same = (source == 0).nonzero()[:, 0]
        if len(same):
            levels[same] = self.take(same)._draw_same_moment(draws.take(same))
        left = source.nonzero()[:, 0]
        # Rejection sampling: levels of this moment are mostly a small part.
        for _ in range(_TRIES):
            if not len(left):
                return levels
            paths = self if len(left) == len(source) else self.take(left)
            drawn = paths._draw_earlier(source[left] - 1, draws.take(left))
            is_new = ~paths.has_now(drawn)
            levels[left[is_new]] = drawn[is_new]
            left = left[~is_new]
        # As in `LevelDensity.draw`: one number of each path, before they are parted.
        uniform = draws.take(left).uniform(self.total)
        for there in split_paths(len(left), self.observed.n_levels, left.device):
            some = left[there]
            weights = nn.functional.one_hot(source[some], N_SOURCES).float()
            counts = self.take(some).counts(weights)
            levels[some] = quantile_index(counts, uniform[there])
        return levels

    def exclude_now(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return probabilities given that the level is not one of this moment's.

        They have the shape (n, n_levels), and are overwritten. A moment that has all
        possible levels excludes none.
        """
        path, level = self._levels_now()
        excluded = probabilities[path, level]
        if not len(excluded):
            return probabilities
        probabilities[path, level] = 0.0
        # Sums over all levels take as long as the rest: only where rounding matters.
        rest = torch.ones_like(probabilities[:, 0]).index_add_(0, path, -excluded)
        few = (rest < _LEAST_REST).nonzero()[:, 0]
        rest[few] = probabilities[few].sum(dim=1)
        is_full = rest <= 0
        kept = is_full[path]
        probabilities[path[kept], level[kept]] = excluded[kept]
        return probabilities.div_(torch.where(is_full, 1.0, rest)[:, None])

    def _levels_now(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the path and the level of each level of this moment, once for each."""
        path, event = (self._is_now() & self._is_first()).nonzero(as_tuple=True)
        return path, self.drawn[path, event].long()

    def levels_now(self) -> torch.Tensor:
        """Return the levels of this moment, and 0 for other events, shape (n, E)."""
        return (self.drawn * self._is_now()).long()

    def has_now(self, levels: torch.Tensor) -> torch.Tensor:
        """Return whether this moment has the level of each path, shape (n,), bool."""
        is_same = self.drawn == levels[:, None].int()
        return (self._is_now() & is_same).any(dim=1)

    def counts(self, weights: torch.Tensor) -> torch.Tensor:
        """Return ``sum_j weights_j n_j(c)`` of each level c, shape (n, n_levels)."""
        found = weights.new_zeros((len(weights), self.observed.n_levels))
        return self.add_counts(weights, found)

    def add_counts(self, weights: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """Add `counts` to `found`, of shape (n, n_levels), contiguous, in place."""
        device, n_levels = self.row.device, self.observed.n_levels
        flat = found.view(-1)  # (n * n_levels,)
        is_now, is_level = self._is_now(), self.drawn >= FIRST_LEVEL
        now, event = (is_level & is_now).nonzero(as_tuple=True)
        of_now = now * n_levels + self.drawn[now, event]
        before = flat[of_now]
        # Levels until the cutoff: all levels of the row of each path.
        first, last = (
            self.observed.offsets[self.row + i].cpu().numpy() for i in (0, 1)
        )
        index, offsets = ranges(first, last)
        place = torch.from_numpy(index).to(device)
        path = torch.from_numpy(segment_numbers(offsets))
        path = path.to(device)
        decays, habits = weights[:, 1:].split([_N_DECAYS, _N_HABITS], dim=1)
        decays = decays * decay(self.moment)
        least = habit_thresholds(self.n_events)
        counts = (decays[path] * self.observed.counts[place]).sum(dim=1)
        is_habit = self.observed.number[place, None] >= least[path]
        counts += (habits[path] * is_habit).sum(dim=1)
        level = self.observed.keys[place] % n_levels
        flat.index_add_(0, path * n_levels + level, counts)
        # Simulated events of earlier moments.
        path, event = (is_level & ~is_now).nonzero(as_tuple=True)
        level = self.drawn[path, event]
        lag = self.moment[path] - self.drawn_at[path, event]
        counts = (weights[path, 1 : 1 + _N_DECAYS] * decay(lag)).sum(dim=1)
        counts *= self._lift(level)
        reaches = self.ordinal[path, event, None] == least[path]
        counts += (habits[path] * reaches).sum(dim=1)
        flat.index_add_(0, path * n_levels + level, counts)
        # Levels of this moment count only for source 0.
        flat[of_now] = before
        flat.index_add_(0, of_now, weights[now, 0])
        return found

    def _n_drawn(self) -> int:
        """Return the largest number of simulated events among unfinished paths."""
        return int((self.drawn_at > 0).sum(dim=1).max()) if len(self.drawn_at) else 0

    def _lift(self, levels: torch.Tensor) -> torch.Tensor:
        return self.observed.lift[levels.long()]

    def _is_now(self) -> torch.Tensor:
        """Return which simulated events are at the current moment, shape (n, E)."""
        return self.drawn_at == self.moment[:, None].int()

    def _is_first(self) -> torch.Tensor:
        """Return which simulated events are the first of their level in a moment."""
        return (self.drawn >= FIRST_LEVEL) & (self.is_repeat == 0)

    def _counts_of_last(self) -> torch.Tensor:
        """Return decayed counts of the last level if it is new here, (n, n_decays)."""
        level, before = self.drawn[:, -1:], self.drawn[:, :-1]
        is_same = (before == level) & (level >= FIRST_LEVEL)
        is_now = self._is_now()[:, :-1]
        path, event = (is_same & ~is_now).nonzero(as_tuple=True)
        counts = torch.zeros_like(self.excluded)
        counts.index_add_(
            0, path, decay(self.moment[path] - self.drawn_at[path, event])
        )
        counts *= self._lift(level)
        place, is_observed = self.observed.find(self.row, level[:, 0])
        if len(self.observed.keys):
            own = self.observed.counts[place] * decay(self.moment)
            counts += own * is_observed[:, None]
        return counts * ~(is_same & is_now).any(dim=1)[:, None]

    def _draw_same_moment(self, draws: PathDraws) -> torch.Tensor:
        """Draw from the events of this moment, shape (n,), int64."""
        weights = (self._is_now() & (self.drawn >= FIRST_LEVEL)).float()
        return pick(self.drawn, draw_categorical(weights, draws)).long()

    def _draw_earlier(self, source: torch.Tensor, draws: PathDraws) -> torch.Tensor:
        """Draw from earlier moments, without excluding this one's levels, (n,), int64.

        `source`, of shape (n,), are positions among the S sources of earlier moments.
        """
        like = self.total.new_zeros(0, dtype=torch.float64)
        uniform, of_level = draws.uniform(like), draws.uniform(like)
        least = self._least(source)
        is_since, log_weights = self._log_weights(source, least)
        # Before the cutoff or since: in proportion to the counts of both.
        is_decay, scale = source < _N_DECAYS, source.clamp(max=_N_DECAYS - 1)
        decayed = pick(self.observed.total[self.row] * decay(self.moment), scale)
        n_before = self.observed.n_reached(self.row, least)
        before = torch.where(is_decay, decayed, n_before.float())
        total = torch.where(
            is_decay, pick(self.total, 1 + scale), (n_before + is_since.sum(1)).float()
        )
        is_before = uniform * total < before
        is_before = (is_before | ~is_since.any(dim=1)) & (before > 0)
        levels = torch.zeros_like(self.row)
        own = is_before.nonzero()[:, 0]
        place = self._draw_observed(
            self.row[own], source[own], least[own], of_level[own]
        )
        levels[own] = self.observed.keys[place] % self.observed.n_levels
        since = (~is_before).nonzero()[:, 0]
        if len(since):
            place = draw_logits(log_weights[since], draws.take(since))
            levels[since] = pick(self.drawn[since], place).long()
        return levels

    def _least(self, source: torch.Tensor) -> torch.Tensor:
        """Return the threshold of a source of habits, shape (n,), int64."""
        habit = (source - _N_DECAYS).clamp(min=0)
        return habit_threshold(self.n_events, habit_shares(source)[habit])

    def _draw_observed(
        self,
        row: torch.Tensor,
        source: torch.Tensor,
        least: torch.Tensor,
        uniform: torch.Tensor,
    ) -> torch.Tensor:
        """Return positions of levels that rows had until the cutoff, shape (k,).

        All parameters have the shape (k,): row, source, its threshold, and a random
        number of each path.
        """
        observed = self.observed
        place = torch.zeros_like(row)
        for k, cumulative in enumerate(observed.cumulative):
            own = (source == k).nonzero()[:, 0]
            found = torch.searchsorted(cumulative, row[own] + uniform[own], right=True)
            place[own] = torch.minimum(found, observed.offsets[row[own] + 1] - 1)
        # Habits come first, and count alike.
        own = (source >= _N_DECAYS).nonzero()[:, 0]
        n_reached = observed.n_reached(row[own], least[own])
        rank = torch.minimum((uniform[own] * n_reached).long(), n_reached - 1)
        place[own] = observed.by_number[observed.offsets[row[own]] + rank]
        return place

    def _log_weights(
        self, source: torch.Tensor, least: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which simulated events a source has, and their log weights, (n, E).

        By logarithms: weights of long ago would underflow together.
        """
        is_decay = (source < _N_DECAYS)[:, None]
        is_since = (self.drawn >= FIRST_LEVEL) & ~self._is_now()
        is_since &= is_decay | (self.ordinal == least[:, None].int())
        scale = decay_scales(self.total)[source.clamp(max=_N_DECAYS - 1), None]
        log_weights = (self.drawn_at - self.moment[:, None]) / scale
        log_weights = log_weights + self._lift(self.drawn).log()
        log_weights = torch.where(is_decay, log_weights, 0.0)
        return is_since, log_weights.masked_fill(~is_since, -torch.inf)
