"""Columns of the simulated events of paths, event by event.

Events of a path are in columns, the newest one last. Shorter paths begin with zeros::

    level     0 0 5 7 7 3    path 0, which began two steps later
              2 5 2 2 9 9    path 1

Steps of a simulation look at the last columns, and rarely at all of them. So
`EventColumns.take` does not copy them: it keeps the rows of the paths that are left.
`EventColumns.compact` copies them, for a step that looks at all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class EventColumns:
    """Properties of simulated events of paths."""

    columns: tuple[Tensor, ...]  # (m, E) each: a property of the events
    place: Tensor  # (n,), int64: row of each path
    n_events: Tensor  # (n,), int64: events of each path

    @classmethod
    def none(cls, like: Tensor, dtypes: Sequence[torch.dtype]) -> EventColumns:
        """Return paths without events, as many as a tensor has rows.

        Properties of events have the types `dtypes`.
        """
        columns = tuple(like.new_zeros((len(like), 0), dtype=one) for one in dtypes)
        place = torch.arange(len(like), device=like.device)
        return cls(columns, place, torch.zeros_like(place))

    def take(self, kept: Tensor) -> EventColumns:
        """Return the paths at some positions."""
        return replace(self, place=self.place[kept], n_events=self.n_events[kept])

    def concat(self, more: EventColumns) -> EventColumns:
        """Return these paths followed by others."""
        n_events = torch.cat([self.n_events, more.n_events])
        width = int(n_events.max()) if len(n_events) else 0
        pairs = zip(self.all(), more.all(), strict=True)
        joined = [torch.cat([_fit_width(one, width) for one in pair]) for pair in pairs]
        return self._of(joined, n_events)

    def append(self, last: Sequence[Tensor]) -> EventColumns:
        """Return paths with one more event, whose properties have the shape (n,)."""
        joined = [
            torch.cat([column, one[:, None].to(column.dtype)], dim=1)
            for column, one in zip(self.all(), last, strict=True)
        ]
        return self._of(joined, self.n_events + 1)

    def all(self) -> tuple[Tensor, ...]:
        """Return all events of the paths, of shape (n, E) each."""
        return self.compact().columns

    def compact(self) -> EventColumns:
        """Return the same paths, without the columns of others."""
        rows = torch.arange(len(self.columns[0]), device=self.place.device)
        if len(rows) == len(self.place) and bool((self.place == rows).all()):
            return self
        return self._of([one[self.place] for one in self.columns], self.n_events)

    def last(self, width: int) -> tuple[Tensor, ...]:
        """Return the last events of the paths, of shape (n, width) each."""
        first = self.columns[0].shape[1] - width
        return tuple(one[self.place, first:] for one in self.columns)

    def _of(self, columns: Sequence[Tensor], n_events: Tensor) -> EventColumns:
        """Return paths with columns of their own, in this order."""
        place = torch.arange(len(n_events), device=n_events.device)
        return EventColumns(tuple(columns), place, n_events)


def _fit_width(columns: Tensor, width: int) -> Tensor:
    """Return the last columns, with zeros before them where there are too few."""
    return nn.functional.pad(columns, (width - columns.shape[1], 0))
