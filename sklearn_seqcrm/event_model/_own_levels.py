"""What levels of a field simulated customers have had, to be copied."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm._encoding import FIRST_LEVEL
from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._recurrent.data import HistorySource
from sklearn_seqcrm.event_model._copy_mechanism import (
    DECAY_SCALES,
    N_KINDS,
    fade,
    reaches_like,
    what_is_left,
)
from sklearn_seqcrm.event_model._draws import PathDraws
from sklearn_seqcrm.event_model._time_density import choose, choose_by_weight, pick

# Events that are counted at once, of some 200 bytes each, if a row has no more.
_EVENTS_AT_ONCE = 2**20
# Draws that may be thrown away before all levels are looked at; shares at once: 32 MiB.
_TRIES = 4
_SHARES_AT_ONCE = 2**23


class EarlierLevels(NamedTuple):
    """Levels of a field that rows have had until their cutoffs, each once.

    Parameters
    ----------
    offsets : Tensor of shape (n + 1,), int64
        Row ``i`` has the levels ``offsets[i]:offsets[i + 1]``.
    keys : Tensor of shape (n_levels,), int64
        ``row * n_codes + code`` of each, ascending.
    repeats : Tensor of shape (n_codes,), float32
        How much each code counts at later moments.
    counts : Tensor of shape (n_levels, n_reaches), float32
        Fading counts of each, so weighted, at the moment of the row's last event.
    reached : Tensor of shape (n_reaches, n_levels), float64
        Row, and share of its counts up to each level, of which draws are made.
    total : Tensor of shape (n, n_reaches), float32
        Counts of all levels of a row.
    """

    offsets: torch.Tensor
    keys: torch.Tensor
    repeats: torch.Tensor
    counts: torch.Tensor
    reached: torch.Tensor
    total: torch.Tensor

    @classmethod
    def of(
        cls,
        source: HistorySource,
        is_tie: np.ndarray,
        code: int,
        repeats: torch.Tensor,
    ) -> EarlierLevels:
        """Count the levels of rows.

        Parameters
        ----------
        source : HistorySource of n
            Rows.
        is_tie : ndarray of shape (n_events,), bool
            Whether an event is at the moment of the one before.
        code : int
            Position of the field among the codes.
        repeats : Tensor of shape (n_codes,), float32
            How much each code of the field counts at later moments; on the device where
            the counts are to be.
        """
        n, n_codes = len(source.stop), len(repeats)
        weights = repeats.double().cpu().numpy()
        portion = np.cumsum(source.stop - source.start) // _EVENTS_AT_ONCE
        cuts = np.flatnonzero(np.diff(portion)) + 1
        found = [
            _counts_of(source, is_tie, code, weights, rows)
            for rows in np.split(np.arange(n), cuts)
        ]
        keys, counts = (np.concatenate(parts) for parts in zip(*found, strict=True))
        of_row = keys // n_codes
        bounds = np.searchsorted(of_row, np.arange(n + 1))
        # Each row by itself: of many of others, few of its own would not be left.
        total = np.stack(
            [np.bincount(of_row, one, minlength=n) for one in counts.T], axis=1
        )
        share = counts / np.maximum(total[of_row], np.finfo("float64").tiny)
        summed = np.concatenate(
            [np.zeros((1, len(DECAY_SCALES))), share.cumsum(axis=0)]
        )
        share = summed[1:] - summed[bounds[of_row]]
        # Rounding must not take a level beyond the end of its row.
        reached = of_row[:, None] + np.minimum(share, 1.0)

        def moved(numbers: np.ndarray, dtype: str) -> torch.Tensor:
            array = np.ascontiguousarray(numbers, dtype)
            return torch.from_numpy(array).to(repeats.device)

        return cls(
            moved(bounds, "int64"),
            moved(keys, "int64"),
            repeats,
            moved(counts, "float32"),
            moved(reached.T, "float64"),
            moved(total, "float32"),
        )

    @property
    def n_codes(self) -> int:
        """Number of codes."""
        return len(self.repeats)


def _counts_of(
    source: HistorySource,
    is_tie: np.ndarray,
    code: int,
    repeats: np.ndarray,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Keys and fading counts of the levels of some rows, as in `EarlierLevels`."""
    index, offsets = ranges(source.start[rows], source.stop[rows])
    moment = np.cumsum(~is_tie[index])
    lengths = np.diff(offsets)
    last = np.repeat(moment[offsets[1:][lengths > 0] - 1], lengths[lengths > 0])
    codes = source.codes[index, code]
    is_level = codes >= FIRST_LEVEL
    age = (last - moment)[is_level]
    keys = np.repeat(rows, lengths) * len(repeats) + codes
    keys, place = np.unique(keys[is_level], return_inverse=True)
    weights = [np.exp(-age / reach) for reach in DECAY_SCALES]
    counts = [np.bincount(place, one, minlength=len(keys)) for one in weights]
    return keys, np.stack(counts, axis=1) * repeats[keys % len(repeats), None]


@dataclass(frozen=True, eq=False)
class OwnLevels:
    """What paths have had: before the cutoffs of their rows, and since.

    Parameters
    ----------
    earlier : EarlierLevels of m
        Of the rows, until their cutoffs.
    row : Tensor of shape (n,), int64
        Row of each path.
    drawn : Tensor of shape (n, S), int32
        Codes of simulated events, the last one last; 0 where there is none.
    at : Tensor of shape (n, S), int32
        Number of the moment of each.
    moment : Tensor of shape (n,), int64
        Number of the moment that a path is at; 0 at the last event before the cutoff.
    total : Tensor of shape (n, N_KINDS), float32
        Events with a level at this moment, and the weighted counts of earlier ones.
    now : Tensor of shape (n,), float32
        What the events of this moment will count at later ones.
    taken : Tensor of shape (n, n_reaches), float32
        Weighted counts of earlier moments, of levels which this moment has.
    """

    earlier: EarlierLevels
    row: torch.Tensor
    drawn: torch.Tensor
    at: torch.Tensor
    moment: torch.Tensor
    total: torch.Tensor
    now: torch.Tensor
    taken: torch.Tensor

    @classmethod
    def begin(cls, earlier: EarlierLevels, row: torch.Tensor) -> OwnLevels:
        """Paths at the cutoffs of their rows."""
        counts = earlier.total[row]
        nothing = row.new_zeros((len(row), 0), dtype=torch.int32)
        return cls(
            earlier,
            row,
            nothing,
            nothing,
            torch.zeros_like(row),
            nn.functional.pad(counts, (1, 0)),
            counts.new_zeros(len(row)),
            torch.zeros_like(counts),
        )

    def take(self, kept: torch.Tensor) -> OwnLevels:
        """The paths at some places."""
        return OwnLevels(
            self.earlier,
            self.row[kept],
            self.drawn[kept],
            self.at[kept],
            self.moment[kept],
            self.total[kept],
            self.now[kept],
            self.taken[kept],
        )

    def and_those(self, more: OwnLevels) -> OwnLevels:
        """These paths and others of the same rows."""
        width = max(self._width(), more._width())
        drawn, at = (
            torch.cat([_of_width(own, width), _of_width(other, width)])
            for own, other in ((self.drawn, more.drawn), (self.at, more.at))
        )
        return OwnLevels(
            self.earlier,
            torch.cat([self.row, more.row]),
            drawn,
            at,
            torch.cat([self.moment, more.moment]),
            torch.cat([self.total, more.total]),
            torch.cat([self.now, more.now]),
            torch.cat([self.taken, more.taken]),
        )

    def at_next(self, is_tie: torch.Tensor) -> OwnLevels:
        """Paths at the moment of their next event, which may be the one they are at.

        Parameters
        ----------
        is_tie : Tensor of shape (n,), bool
            Whether it is. None is at that of the last event before the cutoff.
        """
        is_tie = is_tie & (self.moment > 0)
        faded = fade(torch.ones_like(self.moment))
        total = (self.total[:, 1:] + self.now[:, None]) * faded
        total = torch.where(
            is_tie[:, None], self.total, nn.functional.pad(total, (1, 0))
        )
        taken = self.taken * is_tie[:, None]
        tied = is_tie.nonzero()[:, 0]
        if len(tied):
            taken[tied] += self.take(tied)._counts_of_last()
        return replace(
            self,
            moment=self.moment + ~is_tie,
            total=total,
            now=self.now * is_tie,
            taken=taken,
        )

    def with_drawn(self, codes: torch.Tensor) -> OwnLevels:
        """Paths with one more event at this moment, of codes of shape (n,)."""
        total = self.total.clone()
        total[:, 0] += codes >= FIRST_LEVEL
        return replace(
            self,
            drawn=torch.cat([self.drawn, codes[:, None].int()], dim=1),
            at=torch.cat([self.at, self.moment[:, None].int()], dim=1),
            total=total,
            now=self.now + self.earlier.repeats[codes],
        )

    def left(self) -> torch.Tensor:
        """Mass to copy in each kind, shape (n, N_KINDS), as in `CopyCandidates`."""
        earlier = what_is_left(self.total[:, 1:], self.taken)
        return torch.cat([self.total[:, :1], earlier], dim=1)

    def draw(self, kind: torch.Tensor, draws: PathDraws) -> torch.Tensor:
        """Draw levels by their counts.

        Parameters
        ----------
        kind : Tensor of shape (n,), int64
            Kind of copy of each path, of which something is left.
        draws : PathDraws of n
            Draws.

        Returns
        -------
        Tensor of shape (n,), int64
            Their codes.
        """
        codes = torch.zeros_like(self.row)
        again = (kind == 0).nonzero()[:, 0]
        if len(again):
            codes[again] = self.take(again)._draw_again(draws.take(again))
        left = kind.nonzero()[:, 0]
        for _ in range(_TRIES):
            if not len(left):
                return codes
            paths = self if len(left) == len(kind) else self.take(left)
            drawn = paths._draw_earlier(kind[left] - 1, draws.take(left))
            # Not what this moment has; that is mostly a small part.
            is_new = ~(paths._is_now() & (paths.drawn == drawn[:, None])).any(dim=1)
            codes[left[is_new]] = drawn[is_new]
            left = left[~is_new]
        for some in left.split(max(1, _SHARES_AT_ONCE // self.earlier.n_codes)):
            weights = nn.functional.one_hot(kind[some], N_KINDS).float()
            shares = self.take(some).shares(weights)
            codes[some] = choose_by_weight(shares, draws.take(some))
        return codes

    def shares(self, weights: torch.Tensor) -> torch.Tensor:
        """Sum over the kinds of weighted counts of each code.

        Parameters
        ----------
        weights : Tensor of shape (n, N_KINDS)
            Weight of each kind of copy of a path.

        Returns
        -------
        Tensor of shape (n, n_codes)
        """
        found = weights.new_zeros((len(weights), self.earlier.n_codes))
        return self.add_shares(weights, found)

    def add_shares(self, weights: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """Add what `shares` returns to `found`, in place.

        Parameters
        ----------
        weights : Tensor of shape (n, N_KINDS)
            As for `shares`.
        found : Tensor of shape (n, n_codes), contiguous
            Numbers of each code.

        Returns
        -------
        Tensor of shape (n, n_codes)
            `found`.
        """
        device, n_codes = self.row.device, self.earlier.n_codes
        flat = found.view(-1)
        is_now, is_level = self._is_now(), self.drawn >= FIRST_LEVEL
        now, event = (is_level & is_now).nonzero(as_tuple=True)
        of_now = now * n_codes + self.drawn[now, event]
        kept = flat[of_now]
        first, last = (self.earlier.offsets[self.row + i].cpu().numpy() for i in (0, 1))
        index, offsets = ranges(first, last)
        there = torch.from_numpy(index).to(device)
        path = torch.from_numpy(np.repeat(np.arange(len(first)), np.diff(offsets)))
        path = path.to(device)
        faded = weights[:, 1:] * fade(self.moment)
        counts = (faded[path] * self.earlier.counts[there]).sum(dim=1)
        flat.index_add_(0, path * n_codes + self.earlier.keys[there] % n_codes, counts)
        path, event = (is_level & ~is_now).nonzero(as_tuple=True)
        lag, code = self.moment[path] - self.at[path, event], self.drawn[path, event]
        counts = (weights[path, 1:] * fade(lag)).sum(dim=1) * self._weight_of(code)
        flat.index_add_(0, path * n_codes + code, counts)
        # Of earlier moments nothing that this one has.
        flat[of_now] = kept
        flat.index_add_(0, of_now, weights[now, 0])
        return found

    def _width(self) -> int:
        """Most simulated events of a path; those that had more may have ended."""
        return int((self.at > 0).sum(dim=1).max()) if len(self.at) else 0

    def _weight_of(self, codes: torch.Tensor) -> torch.Tensor:
        """How much codes count at later moments."""
        return self.earlier.repeats[codes.long()]

    def _is_now(self) -> torch.Tensor:
        """Which simulated events are at the moment that a path is at."""
        return self.at == self.moment[:, None]

    def _counts_of_last(self) -> torch.Tensor:
        """Weighted counts of the level drawn last at earlier moments, if it is new."""
        code, before = self.drawn[:, -1:], self.drawn[:, :-1]
        is_same = (before == code) & (code >= FIRST_LEVEL)
        is_now = self._is_now()[:, :-1]
        path, event = (is_same & ~is_now).nonzero(as_tuple=True)
        counts = torch.zeros_like(self.taken)
        counts.index_add_(0, path, fade(self.moment[path] - self.at[path, event]))
        counts *= self._weight_of(code)
        keys = self.row * self.earlier.n_codes + code[:, 0]
        if len(self.earlier.keys):
            place = torch.searchsorted(self.earlier.keys, keys)
            place = place.clamp(max=len(self.earlier.keys) - 1)
            has_had = self.earlier.keys[place] == keys
            own = self.earlier.counts[place] * fade(self.moment)
            counts += own * has_had[:, None]
        return counts * ~(is_same & is_now).any(dim=1)[:, None]

    def _draw_again(self, draws: PathDraws) -> torch.Tensor:
        """Draw from the events of this moment, shape (n,), int64."""
        weights = (self._is_now() & (self.drawn >= FIRST_LEVEL)).float()
        return pick(self.drawn, choose_by_weight(weights, draws)).long()

    def _draw_earlier(self, reach: torch.Tensor, draws: PathDraws) -> torch.Tensor:
        """Draw from earlier moments by fading counts, shape (n,), int64."""
        like = self.total.new_zeros(0, dtype=torch.float64)
        drawn = draws.uniform(like), draws.uniform(like)
        faded = torch.exp(-self.moment / reaches_like(reach)[reach])
        before = self.earlier.total[self.row, reach] * faded
        is_since = (self.drawn >= FIRST_LEVEL) & ~self._is_now()
        some_since = is_since.any(dim=1)
        is_before = drawn[0] * pick(self.total, 1 + reach) < before
        is_before = (is_before | ~some_since) & (before > 0)
        codes = torch.zeros_like(self.row)
        for k in range(len(DECAY_SCALES)):
            own = (is_before & (reach == k)).nonzero()[:, 0]
            row = self.row[own]
            place = torch.searchsorted(
                self.earlier.reached[k], row + drawn[1][own], right=True
            )
            place = torch.minimum(place, self.earlier.offsets[row + 1] - 1)
            codes[own] = self.earlier.keys[place] % self.earlier.n_codes
        since = (~is_before).nonzero()[:, 0]
        if len(since):
            lag = self.moment[since, None] - self.at[since]
            logits = -lag / reaches_like(lag)[reach[since], None]
            logits += self._weight_of(self.drawn[since]).log()
            logits.masked_fill_(~is_since[since], -torch.inf)
            place = choose(logits, draws.take(since))
            codes[since] = pick(self.drawn[since], place).long()
        return codes


def _of_width(codes: torch.Tensor, width: int) -> torch.Tensor:
    """The last columns of codes, behind zeros if there are fewer, shape (n, width)."""
    return nn.functional.pad(codes, (width - codes.shape[1], 0))
