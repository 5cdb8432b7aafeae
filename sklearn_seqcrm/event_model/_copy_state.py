"""Levels that simulated paths can copy: those of rows, and those of paths since.

`_copy_mechanism` has the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._encoding import FIRST_LEVEL
from sklearn_seqcrm._ragged import ranges, segment_numbers
from sklearn_seqcrm._recurrent.data import HistorySource
from sklearn_seqcrm.event_model._copy_mechanism import (
    DECAY_SCALES,
    HABIT_SHARES,
    N_SOURCES,
    decay,
    decay_scales,
    habit_thresholds,
    remaining,
)
from sklearn_seqcrm.event_model._path_draws import (
    PathDraws,
    draw_categorical,
    draw_logits,
    pick,
    quantile_index,
    split_paths,
)
from sklearn_seqcrm.event_model._simulated_levels import SimulatedLevels

_N_DECAYS, _N_HABITS = len(DECAY_SCALES), len(HABIT_SHARES)
_NO_KEY = np.iinfo("int64").max  # larger than the key of any level
# Events counted at once, of some 200 bytes each, unless a single row has more.
_EVENTS_AT_ONCE = 2**20
# Rejected draws before the probabilities of all levels are computed.
_TRIES = 4
# Where less than this probability remains for levels that a moment does not have, it is
# computed as their sum.
_LEAST_REST = 0.05


class ObservedLevels(NamedTuple):
    """Distinct levels that rows had until their cutoffs, with their counts."""

    # (n + 1,), int64: row ``i`` has the levels ``offsets[i]:offsets[i + 1]``.
    offsets: Tensor
    # (n_found + 1,), int64: ``row * n_levels + level`` of each, ascending, and then one
    # that no level has. So have `number` and `counts`.
    keys: Tensor
    lift: Tensor  # (n_levels,), float32: weight of each level at later moments
    number: Tensor  # (n_found + 1,), int64: events of each
    # (n_found,), int64: positions of the levels of each row, by descending number:
    # habits come first.
    by_number: Tensor
    # (n_found,), int64: ``row * stride - number`` in this order, ascending.
    ranks: Tensor
    stride: int  # more events than any level of a row has
    # (n_found + 1, n_decays), float32: decayed counts times lift, at the moment of the
    # row's last event.
    counts: Tensor
    # (n_decays, n_found), float64: row, plus the share of the row's counts up to each
    # level: draws from all rows at once by one search.
    cumulative: Tensor
    total: Tensor  # (n, n_decays), float32: sums of the counts of a row
    n_events: Tensor  # (n,), int64: events of a row that have a level

    @classmethod
    def of(
        cls, source: HistorySource, is_tie: np.ndarray, code: int, lift: Tensor
    ) -> ObservedLevels:
        """Count the levels of rows.

        `is_tie`, of shape (n_events,), is True for an event at the moment of the
        previous one; `code` is the column of the field's levels among the codes; `lift`
        gives the device of the counts.
        """
        n, n_levels = len(source.stop), len(lift)
        found = [
            _count_levels(source, is_tie, code, lift, rows)
            for rows in row_portions(source)
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

        def moved(numbers: np.ndarray, dtype: str) -> Tensor:
            array = np.ascontiguousarray(numbers, dtype)
            return torch.from_numpy(array).to(lift.device)

        return cls(
            offsets=moved(offsets, "int64"),
            keys=moved(np.append(keys, _NO_KEY), "int64"),
            lift=lift,
            number=moved(np.append(number, 0), "int64"),
            by_number=moved(by_number, "int64"),
            ranks=moved((row * stride - number)[by_number], "int64"),
            stride=stride,
            counts=moved(np.append(counts, np.zeros((1, _N_DECAYS)), 0), "float32"),
            cumulative=moved(cumulative.T, "float64"),
            total=moved(total, "float32"),
            n_events=moved(np.bincount(row, number, minlength=n), "int64"),
        )

    def at_cutoff(self, row: Tensor) -> CopyState:
        """Return paths at the cutoffs of rows, of shape (n,), int64."""
        return CopyState.at_cutoff(self, row)

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.lift)

    def find(self, row: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return where a level of a row is, shape (n,), and whether the row had it."""
        keys = row * self.n_levels + level
        place = torch.searchsorted(self.keys, keys)
        return place, self.keys[place] == keys

    def n_reached(self, row: Tensor, least: Tensor) -> Tensor:
        """Return how many levels of a row have `least` events or more.

        `row` and `least`, int64, have the same shape, which is that of the result.
        """
        end = row * self.stride - least.clamp(max=self.stride)
        return torch.searchsorted(self.ranks, end, right=True) - self.offsets[row]

    def numbers(self, row: Tensor, level: Tensor) -> Tensor:
        """Return the number of events of a level that each row had, shape (n,)."""
        place, is_found = self.find(row, level)
        return self.number[place] * is_found

    def draw(
        self, row: Tensor, source: Tensor, least: Tensor, uniform: Tensor
    ) -> Tensor:
        """Draw levels of rows from sources of earlier moments, shape (k,), int64.

        All parameters have the shape (k,): row, source, its threshold, and a random
        number of each path.
        """
        place = torch.zeros_like(row)
        for k, cumulative in enumerate(self.cumulative):
            own = (source == k).nonzero()[:, 0]
            found = torch.searchsorted(cumulative, row[own] + uniform[own], right=True)
            place[own] = torch.minimum(found, self.offsets[row[own] + 1] - 1)
        # Habits come first, and count alike.
        own = (source >= _N_DECAYS).nonzero()[:, 0]
        n_reached = self.n_reached(row[own], least[own])
        rank = torch.minimum((uniform[own] * n_reached).long(), n_reached - 1)
        place[own] = self.by_number[self.offsets[row[own]] + rank]
        return self.keys[place] % self.n_levels


def row_portions(source: HistorySource) -> list[np.ndarray]:
    """Return the rows in portions whose events have room in memory."""
    portion = np.cumsum(source.lengths) // _EVENTS_AT_ONCE
    cuts = np.flatnonzero(np.diff(portion)) + 1
    return np.split(np.arange(len(portion)), cuts)


def _count_levels(
    source: HistorySource, is_tie: np.ndarray, code: int, lift: Tensor, rows: np.ndarray
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
    """Levels that simulated paths can copy, of the history of their rows and since."""

    observed: ObservedLevels  # levels of the rows until their cutoffs
    row: Tensor  # (n,), int64: row of each path
    events: SimulatedLevels  # levels of simulated events
    # (n,), int64: moment that a path is at; 0 at the last event before the cutoff.
    moment: Tensor
    # (n,), int64: events with a level at earlier moments, those of the row included.
    n_events: Tensor
    n_same: Tensor  # (n,), int64: events with a level at this moment
    # (n, n_decays), float32: counts N_j of sources with decay, before levels of this
    # moment are excluded.
    decayed: Tensor
    # (n,), float32: lift of the events of this moment, which count from the next one
    # on.
    pending: Tensor
    # (n, n_decays), float32: counts of earlier moments of levels that this moment has.
    excluded: Tensor
    least: Tensor  # (n, n_habits), int64: thresholds of habits after `n_events`
    # (n, n_habits), int64: levels that reach them at earlier moments, before levels of
    # this moment are excluded.
    n_habits: Tensor

    @classmethod
    def at_cutoff(cls, observed: ObservedLevels, row: Tensor) -> CopyState:
        """Return paths at the cutoffs of their rows."""
        counts, n_events = observed.total[row], observed.n_events[row]
        least = habit_thresholds(n_events)  # (n, n_habits)
        return cls(
            observed=observed,
            row=row,
            events=SimulatedLevels.none(row),
            moment=torch.zeros_like(row),
            n_events=n_events,
            n_same=torch.zeros_like(row),
            decayed=counts,
            pending=counts.new_zeros(len(row)),
            excluded=torch.zeros_like(counts),
            least=least,
            n_habits=observed.n_reached(row[:, None].expand_as(least), least),
        )

    def take(self, kept: Any) -> CopyState:
        """Return the paths at some positions, an array or tensor of int64."""
        kept = torch.as_tensor(kept, device=self.row.device)
        of_paths = {name: one[kept] for name, one in self._of_paths().items()}
        return replace(self, events=self.events.take(kept), **of_paths)

    def concat(self, more: CopyState) -> CopyState:
        """Return these paths followed by others of the same rows."""
        others = more._of_paths()
        joined = {
            name: torch.cat([one, others[name]])
            for name, one in self._of_paths().items()
        }
        return replace(self, events=self.events.concat(more.events), **joined)

    def _of_paths(self) -> dict[str, Tensor]:
        """Return the tensors with an entry for each path."""
        return {n: one for n, one in vars(self).items() if torch.is_tensor(one)}

    def advance(self, is_tie: Tensor) -> CopyState:
        """Return paths at the moment of their next event, the same one in a tie."""
        # The moment of the last event before the cutoff is over.
        is_tie = is_tie & (self.moment > 0)
        # N_j after the moment = exp(-1 / s_j) (N_j + lift of its events).
        one_moment = decay(torch.ones_like(self.moment))
        decayed = (self.decayed + self.pending[:, None]) * one_moment
        excluded = self.excluded * is_tie[:, None]
        tied = is_tie.nonzero()[:, 0]
        if len(tied):
            excluded[tied] += self.take(tied)._counts_of_last()
        n_events = self.n_events + self.n_same * ~is_tie
        least, n_habits = self._next_habits(is_tie, n_events)
        return replace(
            self,
            events=self.events.end_moment(~is_tie),
            least=least,
            n_habits=n_habits,
            moment=self.moment + ~is_tie,
            n_events=n_events,
            n_same=self.n_same * is_tie,
            decayed=torch.where(is_tie[:, None], self.decayed, decayed),
            pending=self.pending * is_tie,
            excluded=excluded,
        )

    def append(self, levels: Tensor) -> CopyState:
        """Return paths with one more event at this moment, of levels of shape (n,)."""
        n_before = self.observed.numbers(self.row, levels)
        return replace(
            self,
            events=self.events.append(levels, self.moment, n_before),
            n_same=self.n_same + (levels >= FIRST_LEVEL),
            pending=self.pending + self._lift(levels),
        )

    def remaining(self) -> Tensor:
        """Return N_j, shape (n, N_SOURCES), as in `CopyCandidates`."""
        decayed = remaining(self.decayed, self.excluded)
        habits = remaining(self.n_habits.float(), self._n_excluded_habits().float())
        return torch.cat([self.n_same[:, None].float(), decayed, habits], dim=1)

    def _next_habits(self, is_tie: Tensor, n_events: Tensor) -> tuple[Tensor, Tensor]:
        """Return `least` and `n_habits` at the moment of the next event, (n, H).

        Events of a moment that is over reach thresholds by their ordinal numbers. Only
        where a threshold rises, which is rare, all events are compared with it.
        """
        least = habit_thresholds(n_events)
        ordinal = self.events.now().ordinal  # (n, c)
        is_reached = ordinal[:, :, None] == least[:, None].int()  # (n, c, n_habits)
        n_habits = self.n_habits + is_reached.sum(dim=1) * ~is_tie[:, None]
        path, habit = (least != self.least).nonzero(as_tuple=True)
        risen = least[path, habit]
        n_habits[path, habit] = self.observed.n_reached(
            self.row[path], risen
        ) + self.events.take(path).count_ordinal(risen)
        return least, n_habits

    def _n_excluded_habits(self) -> Tensor:
        """Return the number of habits that this moment has, (n, n_habits)."""
        now = self.events.now()
        path, event = now.is_first.nonzero(as_tuple=True)
        is_habit = now.ordinal[path, event, None] > self.least[path]
        excluded = torch.zeros_like(self.n_habits)
        return excluded.index_add_(0, path, is_habit.long())

    def draw(self, source: Tensor, draws: PathDraws) -> Tensor:
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
            is_new = ~paths.events.has_now(drawn)
            levels[left[is_new]] = drawn[is_new]
            left = left[~is_new]
        # As in `LevelDensity.draw`: one number per path before the paths are split.
        uniform = draws.take(left).uniform(self.decayed)
        for there in split_paths(len(left), self.observed.n_levels, left.device):
            some = left[there]
            weights = nn.functional.one_hot(source[some], N_SOURCES).float()
            counts = self.take(some).counts(weights)
            levels[some] = quantile_index(counts, uniform[there])
        return levels

    def exclude_now(self, probabilities: Tensor) -> Tensor:
        """Return probabilities given that the level is not one of this moment's.

        They have the shape (n, n_levels), and are overwritten. A moment that has all
        possible levels excludes none.
        """
        now = self.events.now()
        path, event = now.is_first.nonzero(as_tuple=True)
        level = now.level[path, event].long()
        excluded = probabilities[path, level]
        probabilities[path, level] = 0.0
        # Sums over all levels take as long as the rest: only where rounding matters.
        rest = torch.ones_like(probabilities[:, 0]).index_add_(0, path, -excluded)
        few = (rest < _LEAST_REST).nonzero()[:, 0]
        rest[few] = probabilities[few].sum(dim=1)
        is_full = rest <= 0
        kept = is_full[path]
        probabilities[path[kept], level[kept]] = excluded[kept]
        return probabilities.div_(torch.where(is_full, 1.0, rest)[:, None])

    def counts(self, weights: Tensor) -> Tensor:
        """Return ``sum_j weights_j n_j(c)`` of each level c, shape (n, n_levels)."""
        found = weights.new_zeros((len(weights), self.observed.n_levels))
        return self.add_counts(weights, found)

    def add_counts(self, weights: Tensor, found: Tensor) -> Tensor:
        """Add `counts` to `found`, of shape (n, n_levels), contiguous, in place."""
        device, n_levels = self.row.device, self.observed.n_levels
        flat = found.view(-1)  # (n * n_levels,)
        level_now = self.events.now().level
        now, event = (level_now >= FIRST_LEVEL).nonzero(as_tuple=True)
        of_now = now * n_levels + level_now[now, event]
        before = flat[of_now]
        # Levels until the cutoff: all levels of the row of each path.
        first, last = (
            self.observed.offsets[self.row + i].cpu().numpy() for i in (0, 1)
        )
        index, offsets = ranges(first, last)
        place = torch.from_numpy(index).to(device)
        path = torch.from_numpy(segment_numbers(offsets)).to(device)
        decays, habits = weights[:, 1:].split([_N_DECAYS, _N_HABITS], dim=1)
        decays = decays * decay(self.moment)
        counts = (decays[path] * self.observed.counts[place]).sum(dim=1)
        is_habit = self.observed.number[place, None] >= self.least[path]
        counts += (habits[path] * is_habit).sum(dim=1)
        level = self.observed.keys[place] % n_levels
        flat.index_add_(0, path * n_levels + level, counts)
        # Simulated events of earlier moments.
        levels, moments, ordinal, is_earlier = self.events.earlier()
        path, event = is_earlier.nonzero(as_tuple=True)
        level = levels[path, event]
        lag = self.moment[path] - moments[path, event]
        counts = (weights[path, 1 : 1 + _N_DECAYS] * decay(lag)).sum(dim=1)
        counts *= self._lift(level)
        reaches = ordinal[path, event, None] == self.least[path]
        counts += (habits[path] * reaches).sum(dim=1)
        flat.index_add_(0, path * n_levels + level, counts)
        # Levels of this moment count only for source 0.
        flat[of_now] = before
        flat.index_add_(0, of_now, weights[now, 0])
        return found

    def _lift(self, levels: Tensor) -> Tensor:
        return self.observed.lift[levels.long()]

    def _counts_of_last(self) -> Tensor:
        """Return decayed counts of the last level if it is new here, (n, n_decays)."""
        # Other events of this moment have other levels, if it is new.
        all_levels, moments, *_ = self.events.earlier()
        level, before = all_levels[:, -1:], all_levels[:, :-1]
        is_same = (before == level) & (level >= FIRST_LEVEL)
        path, event = is_same.nonzero(as_tuple=True)
        counts = torch.zeros_like(self.excluded)
        counts.index_add_(0, path, decay(self.moment[path] - moments[path, event]))
        counts *= self._lift(level)
        place, is_observed = self.observed.find(self.row, level[:, 0])
        own = self.observed.counts[place] * decay(self.moment)
        counts += own * is_observed[:, None]
        return counts * ~self.events.last_is_repeat()

    def _draw_same_moment(self, draws: PathDraws) -> Tensor:
        """Draw from the events of this moment, shape (n,), int64."""
        level = self.events.now().level
        weights = (level >= FIRST_LEVEL).float()
        return pick(level, draw_categorical(weights, draws)).long()

    def _draw_earlier(self, source: Tensor, draws: PathDraws) -> Tensor:
        """Draw from earlier moments, without excluding this one's levels, (n,), int64.

        `source`, of shape (n,), are positions among the S sources of earlier moments.
        """
        like = self.decayed.new_zeros(0, dtype=torch.float64)
        uniform, of_level = draws.uniform(like), draws.uniform(like)
        habit = (source - _N_DECAYS).clamp(min=0)
        least = pick(self.least, habit)
        # Before the cutoff or since: in proportion to the counts of both.
        is_decay, scale = source < _N_DECAYS, source.clamp(max=_N_DECAYS - 1)
        observed = pick(self.observed.total[self.row] * decay(self.moment), scale)
        n_before = self.observed.n_reached(self.row, least)
        n_all = pick(self.n_habits, habit)
        before = torch.where(is_decay, observed, n_before.float())
        total = torch.where(is_decay, pick(self.decayed, scale), n_all.float())
        n_events_since = self.n_events - self.observed.n_events[self.row]
        n_since = torch.where(is_decay, n_events_since, n_all - n_before)
        is_before = ((uniform * total < before) | (n_since == 0)) & (before > 0)
        levels = torch.zeros_like(self.row)
        own = is_before.nonzero()[:, 0]
        levels[own] = self.observed.draw(
            self.row[own], source[own], least[own], of_level[own]
        )
        since = (~is_before).nonzero()[:, 0]
        if len(since):
            levels[since] = self.take(since)._draw_since(
                source[since], least[since], draws.take(since)
            )
        return levels

    def _draw_since(self, source: Tensor, least: Tensor, draws: PathDraws) -> Tensor:
        """Draw from simulated events of earlier moments, shape (n,), int64.

        `source` and its threshold `least` have the shape (n,). Weights are logarithms,
        because all weights of old events could underflow.
        """
        levels, moments, ordinal, is_earlier = self.events.earlier()
        is_decay = (source < _N_DECAYS)[:, None]
        is_since = is_earlier & (is_decay | (ordinal == least[:, None].int()))
        scale = decay_scales(self.decayed)[source.clamp(max=_N_DECAYS - 1), None]
        log_weights = (moments - self.moment[:, None]) / scale
        log_weights = log_weights + self._lift(levels).log()
        log_weights = torch.where(is_decay, log_weights, 0.0)
        log_weights = log_weights.masked_fill(~is_since, -torch.inf)
        return pick(levels, draw_logits(log_weights, draws)).long()
