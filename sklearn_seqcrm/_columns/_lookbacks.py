"""Histories that a lookback cut off in fit, and longer ones in predictions."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm.events import HistoryArray

# The oldest event of the training rows may be a good deal younger than the lookback.
_LONGER = 1.5


class SeenSpan(NamedTuple):
    """How far back the histories of one column reach from their cutoffs."""

    is_cut_off: bool  # whether a lookback leaves out earlier events of some row
    longest: float  # from the oldest event to the cutoff, in days or the unit of times

    @classmethod
    def of(cls, name: Any, X: pd.DataFrame) -> Self:
        """Return the span of the histories in a column of some rows."""
        first, is_cut_off = _first_events(X[name].array)
        ages = _ages(X[name].array, first)
        return cls(bool(is_cut_off.any()), float(ages.max(initial=0.0)))

    def merge(self, other: Self) -> SeenSpan:
        """Return the span of the histories of both."""
        is_cut_off = self.is_cut_off or other.is_cut_off
        return SeenSpan(is_cut_off, max(self.longest, other.longest))

    def warn_longer(self, name: Any, array: HistoryArray) -> None:
        """Warn if this span was cut off, and histories reach much further back."""
        if not self.is_cut_off:
            return
        ages = _ages(array, _first_events(array)[0])
        n_longer = int((ages > _LONGER * self.longest).sum())
        if n_longer:
            unit = " days" if array.log.timeline.clock.unit is not None else ""
            warn_user(
                f"The histories in {name!r} were cut off by a lookback in fit, and had "
                f"no event from more than {self.longest:,.4g}{unit} before the cutoff. "
                f"{n_longer:,} of {len(array):,} rows have much older events now, and "
                "such histories were not in the training: pass the same lookback to "
                "attach or snapshots."
            )


def _first_events(array: HistoryArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first events of rows that have events, and which are cut off.

    Both have the shape (n_filled,): positions in the log, and whether the customer has
    earlier events.
    """
    rows = array.rows
    filled = rows.stop > rows.start
    start = rows.start[filled]
    return start, start > rows.log.timeline.offsets[rows.codes[filled]]


def _ages(array: HistoryArray, first: np.ndarray) -> np.ndarray:
    """Return the time from the first events to the cutoffs of rows with events."""
    rows, timeline = array.rows, array.log.timeline
    cutoff = rows.cutoff[rows.stop > rows.start]
    per_day = timeline.clock.ticks_per_day() or 1
    return (cutoff.astype("float64") - timeline.times[first]) / per_day
