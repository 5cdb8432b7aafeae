"""Levels of the simulated events of paths, event by event.

The events of the current moment are the last columns of `EventColumns`::

    level     0 0 5 7 7 3    path 0, which began two steps later
              2 5 2 2 9 9    path 1
    n_now               1    of path 0
                      2      of path 1
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from sklearn_seqcrm._encoding import FIRST_LEVEL
from sklearn_seqcrm.event_model._event_columns import EventColumns


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

    # Columns (m, E) of the events:
    # - int32: levels, the last one last; 0 where there is none
    # - int32: number of the moment of each
    # - int32: number of each among the events of its level, those before the cutoff
    #   included; 0 for events without a level
    # - bool: whether an event of its moment before had its level
    columns: EventColumns
    n_now: Tensor  # (n,), int64: events of the current moment

    @classmethod
    def none(cls, like: Tensor) -> SimulatedLevels:
        """Return paths without events, as many as a tensor has rows."""
        dtypes = [*[torch.int32] * 3, torch.bool]
        n_now = torch.zeros_like(like, dtype=torch.int64)
        return cls(EventColumns.none(like, dtypes), n_now)

    def take(self, kept: Tensor) -> SimulatedLevels:
        """Return the paths at some positions."""
        return SimulatedLevels(self.columns.take(kept), self.n_now[kept])

    def concat(self, more: SimulatedLevels) -> SimulatedLevels:
        """Return these paths followed by others."""
        n_now = torch.cat([self.n_now, more.n_now])
        return SimulatedLevels(self.columns.concat(more.columns), n_now)

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
        is_level = level >= FIRST_LEVEL
        n_same = (self.columns.all()[0] == level[:, None].int()).sum(dim=1)
        ordinal = (1 + n_same + n_before) * is_level
        last = level, moment, ordinal, self.has_now(level)
        return SimulatedLevels(self.columns.append(last), self.n_now + 1)

    def now(self) -> LevelsNow:
        """Return the events of the current moment."""
        is_now, (level, ordinal, is_repeat) = self._last_columns()
        is_first = is_now & (level >= FIRST_LEVEL) & ~is_repeat
        return LevelsNow(level * is_now, ordinal * is_now, is_first)

    def has_now(self, levels: Tensor) -> Tensor:
        """Return whether this moment has the level of each path, shape (n,), bool."""
        is_now, (level, *_) = self._last_columns()
        return (is_now & (level == levels[:, None].int())).any(dim=1)

    def last_is_repeat(self) -> Tensor:
        """Return whether the last event repeats a level of its moment, (n, 1), bool."""
        return self.columns.last(1)[3]

    def _last_columns(self) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return which events are now, and levels, ordinals and repeats, (n, c)."""
        width = int(self.n_now.max()) if len(self.n_now) else 0
        column = torch.arange(width, device=self.n_now.device)
        level, _, ordinal, is_repeat = self.columns.last(width)
        is_now = column >= width - self.n_now[:, None]
        return is_now, (level, ordinal, is_repeat)

    def count_ordinal(self, number: Tensor) -> Tensor:
        """Return how many events of each path have an ordinal number, shape (n,).

        `number`, of shape (n,), is 1 or more.
        """
        # In int32, as a comparison with int64 takes several times as long.
        ordinal = self.columns.all()[2]
        return (ordinal == number[:, None].int()).sum(dim=1)

    def earlier(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return levels, moments and ordinal numbers, and which are earlier, (n, E).

        Earlier ones have a level, and are not at the current moment.
        """
        level, moment, ordinal, _ = self.columns.all()
        width = level.shape[1]
        column = torch.arange(width, device=level.device)
        is_before = column < width - self.n_now[:, None]
        return level, moment, ordinal, is_before & (level >= FIRST_LEVEL)
