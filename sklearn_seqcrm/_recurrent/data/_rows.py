"""Rows for a network: the events they view, statics and targets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sklearn_seqcrm._encoding import Layout


@dataclass(frozen=True)
class HistorySpec:
    """What the network has to know of one history column.

    Parameters
    ----------
    n_channels : int
        Number of float channels, F.
    n_levels : tuple of int
        Number of codes of each of the C coded fields.
    half_lives : tuple of float
        Half-lives of the decayed poolings, in typical gaps between events.
    digest : str, default=""
        Stands for the encoder that made the numbers, if one did.
    of_events : str, default=""
        Stands for what that has learned of single events.
    """

    n_channels: int
    n_levels: tuple[int, ...]
    half_lives: tuple[float, ...]
    digest: str = ""
    of_events: str = ""

    @classmethod
    def of(cls, layout: Layout) -> HistorySpec:
        """What the layout of an encoded log says of it."""
        return cls(
            len(layout.channels),
            layout.n_levels,
            tuple(h / layout.time_unit for h in layout.half_lives),
            layout.digest,
            layout.of_events,
        )


@dataclass(frozen=True)
class HistorySource:
    """The encoded events of one history column, and the rows that view them.

    Parameters
    ----------
    channels : ndarray of shape (n_events, F), float32
        Float channels of the events.
    codes : ndarray of shape (n_events, C), int32
        Codes of the events.
    times : ndarray of shape (n_events,)
        Times of the events.
    start, stop : ndarray of shape (n,), int64
        Row ``i`` sees the events ``start[i]:stop[i]``.
    cutoff : ndarray of shape (n,)
        Cutoffs, on the axis of `times`.
    time_unit : float, default=1.0
        Typical gap between events, on that axis.
    gap : int or None, default=None
        Channel of the gap to the previous event, which is 0 for the first event that
        a row sees: a lookback hides the one before.
    """

    channels: np.ndarray
    codes: np.ndarray
    times: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    cutoff: np.ndarray
    time_unit: float = 1.0
    gap: int | None = None

    def take(self, rows: np.ndarray) -> HistorySource:
        """Return the source for some rows."""
        return replace(
            self, start=self.start[rows], stop=self.stop[rows], cutoff=self.cutoff[rows]
        )


@dataclass(frozen=True)
class RowData:
    """Everything that a network reads of some rows.

    Parameters
    ----------
    sources : tuple of HistorySource
        One for each history column.
    static : ndarray of shape (n, S), float32
        Row features of the histories, statics, and the sums of the histories, side by
        side.
    target : ndarray of shape (n,) or (n, k), or None
        Targets as the objective encodes them.
    weight : ndarray of shape (n,) or None
        Weight of each row in the loss. In training float32, of mean 1.
    """

    sources: tuple[HistorySource, ...]
    static: np.ndarray
    target: np.ndarray | None = None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.static)

    def take(self, rows: np.ndarray) -> RowData:
        """Return the data of some rows."""
        return RowData(
            tuple(source.take(rows) for source in self.sources),
            self.static[rows],
            None if self.target is None else self.target[rows],
            None if self.weight is None else self.weight[rows],
        )
