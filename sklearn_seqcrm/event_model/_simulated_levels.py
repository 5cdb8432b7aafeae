"""Levels of the simulated events of paths, event by event.

Events of a path are in columns, the newest one last, so that those of the current
moment are the last columns. Shorter paths begin with zeros::

    level     0 0 5 7 7 3    path 0, which began two steps later
              2 5 2 2 9 9    path 1
    n_now               1    of path 0
                      2      of path 1

Steps of a simulation look at the last columns, and rarely at all of them. So
`SimulatedLevels.take` does not copy them: it keeps the rows of the paths that are left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sklearn_seqcrm._encoding import FIRST_LEVEL


class LevelsNow(NamedTuple):
    """Events of the current moment of each path, in c columns."""

    level: Tensor  # (n, c), int32: levels; 0 for other events
    # (n, c), int32: their ordinal numbers; 0 for other events, and for events without a
    # level.
    ordinal: Tensor
    # (n, c), bool: whether an event is the first of its level in the moment.
    is_first: Tensor


@dataclass(frozen=True, eq=False)
class SimulatedLevels:
    """Levels of simulated events of paths."""

    level: Tensor  # (m, E), int32: levels, the last one last; 0 where there is none
    moment: Tensor  # (m, E), int32: number of the moment of each
    # (m, E), int32: number of each among the events of its level, those before the
    # cutoff included; 0 for events without a level.
    ordinal: Tensor
    # (m, E), bool: whether an event of its moment before had its level.
    is_repeat: Tensor
    place: Tensor  # (n,), int64: row of each path
    n_now: Tensor  # (n,), int64: events of the current moment

    @classmethod
    def none(cls, like: Tensor) -> SimulatedLevels:
        """Return paths without events, as many as a tensor has rows."""
        nothing = like.new_zeros((len(like), 0), dtype=torch.int32)
        n_now = torch.zeros_like(like, dtype=torch.int64)
        place = torch.arange(len(like), device=like.device)
        return cls(nothing, nothing, nothing, nothing.bool(), place, n_now)

    def take(self, kept: Tensor) -> SimulatedLevels:
        """Return the paths at some positions."""
        return replace(self, place=self.place[kept], n_now=self.n_now[kept])

    def concat(self, more: SimulatedLevels) -> SimulatedLevels:
        """Return these paths followed by others."""
        pairs = list(zip(self._columns(), more._columns(), strict=True))
        width = max(_n_used(one) for one in pairs[1])
        joined = [torch.cat([_fit_width(one, width) for one in pair]) for pair in pairs]
        return self._of(joined, torch.cat([self.n_now, more.n_now]))

    def end_moment(self, is_over: Tensor) -> SimulatedLevels:
        """Return paths of which some, shape (n,), bool, are at a new moment."""
        return replace(self, n_now=self.n_now * ~is_over)

    def append(
        self, level: Tensor, moment: Tensor, n_before: Tensor
    ) -> SimulatedLevels:
        """Return paths with one more event at the current moment.

        All parameters have the shape (n,); `n_before` is the number of events of its
        level until the cutoff.
        """
        columns = self._columns()
        is_level = level >= FIRST_LEVEL
        n_same = (columns[0] == level[:, None].int()).sum(dim=1)
        last = (level, moment, (1 + n_same + n_before) * is_level, self.has_now(level))
        joined = [
            torch.cat([part, one[:, None].to(part.dtype)], dim=1)
            for part, one in zip(columns, last, strict=True)
        ]
        return self._of(joined, self.n_now + 1)

    def now(self) -> LevelsNow:
        """Return the events of the current moment."""
        is_now, (level, ordinal, is_repeat) = self._last_columns()
        is_first = is_now & (level >= FIRST_LEVEL) & ~is_repeat
        return LevelsNow(level * is_now, ordinal * is_now, is_first)

    def has_now(self, levels: Tensor) -> Tensor:
        """Return whether this moment has the level of each path, shape (n,), bool."""
        is_now, (level, *_) = self._last_columns()
        return (is_now & (level == levels[:, None].int())).any(dim=1)

    def _last_columns(self) -> tuple[Tensor, list[Tensor]]:
        """Return which events are now, and levels, ordinals and repeats, (n, c)."""
        width = int(self.n_now.max()) if len(self.n_now) else 0
        column = torch.arange(width, device=self.n_now.device)
        first = self.level.shape[1] - width
        return column >= width - self.n_now[:, None], [
            one[self.place, first:]
            for one in (self.level, self.ordinal, self.is_repeat)
        ]

    def count_ordinal(self, number: Tensor) -> Tensor:
        """Return how many events of each path have an ordinal number, shape (n,).

        `number`, of shape (n,), is 1 or more.
        """
        # In int32, as a comparison with int64 takes several times as long.
        return (self.ordinal[self.place] == number[:, None].int()).sum(dim=1)

    def earlier(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return levels, moments and ordinal numbers, and which are earlier, (n, E).

        Earlier ones have a level, and are not at the current moment.
        """
        level, moment, ordinal, _ = self._columns()
        width = level.shape[1]
        column = torch.arange(width, device=level.device)
        is_before = column < width - self.n_now[:, None]
        return level, moment, ordinal, is_before & (level >= FIRST_LEVEL)

    def _of(self, columns: list[Tensor], n_now: Tensor) -> SimulatedLevels:
        """Return paths with columns of their own, in this order."""
        place = torch.arange(len(n_now), device=n_now.device)
        level, moment, ordinal, is_repeat = columns
        return SimulatedLevels(level, moment, ordinal, is_repeat, place, n_now)

    def _columns(self) -> list[Tensor]:
        """Return levels, moments, ordinal numbers and repeats of paths, (n, E) each."""
        columns = [self.level, self.moment, self.ordinal, self.is_repeat]
        rows = torch.arange(len(self.level), device=self.place.device)
        if len(rows) == len(self.place) and bool((self.place == rows).all()):
            return columns
        return [one[self.place] for one in columns]


def _n_used(moment: Tensor) -> int:
    """Return the largest number of events of a path."""
    return int((moment > 0).sum(dim=1).max()) if len(moment) else 0


def _fit_width(columns: Tensor, width: int) -> Tensor:
    """Return the last columns, with zeros before them where there are too few."""
    return nn.functional.pad(columns, (width - columns.shape[1], 0))
