"""How the histories of training rows were, and warnings of others in predictions.

::

    first event        last event        cutoff
    |--------|-----|---|-----------------|
    |------------- age ------------------|
                       |---- silence ----|
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm.events import HistoryArray

# The oldest event of training rows with a lookback may be a good deal younger than it.
_LONGER = 1.5
# Histories grow with the log, and single customers come back late: these shares of the
# rows must have ages, or silences, of so many times those of all rows of training.
_OLD, _SILENT, _MUCH_LONGER = 0.5, 0.1, 2
# Plain numbers may be mere steps: so few are no scale to judge by.
_FEW = 20
# So few rows of fit are no scale, and so few rows now may be any customers.
_FEW_ROWS, _CHOSEN = 100, 10


class SeenHistories(NamedTuple):
    """The longest histories of a column, in days or the unit of times of the log."""

    is_cut_off: bool  # whether a lookback leaves out earlier events of some row
    age: float
    silence: float
    n_filled: int  # number of rows that have events

    @classmethod
    def of(cls, name: Any, X: pd.DataFrame) -> Self:
        """Summarise the histories in a column of some rows."""
        array = X[name].array
        times = _Times.of(array)
        return cls(
            bool(times.is_cut_off.any()),
            float(times.ages.max(initial=0.0)),
            float(times.silences.max(initial=0.0)),
            len(times.ages),
        )

    def merge(self, other: Self) -> SeenHistories:
        """Return the summary of the histories of both."""
        return SeenHistories(
            self.is_cut_off or other.is_cut_off,
            max(self.age, other.age),
            max(self.silence, other.silence),
            self.n_filled + other.n_filled,
        )

    def warn_unlike(self, name: Any, array: HistoryArray) -> None:
        """Warn of histories that no training row resembles, of column `name`."""
        times, n_rows = _Times.of(array), len(array)
        unit = "" if array.log.timeline.clock.unit is None else " days"
        if self._warn_cut_off(name, times, unit, n_rows):
            return
        if self.n_filled < _FEW_ROWS or n_rows < _CHOSEN:
            return
        if unit or self.age > _FEW:
            self._warn_long(name, times, unit, n_rows)

    def _warn_cut_off(self, name: Any, times: _Times, unit: str, n_rows: int) -> bool:
        """Warn of histories longer than the lookback of fit; return whether any is."""
        n_longer, _ = times.n_beyond(_LONGER * self.age, np.inf)
        if not self.is_cut_off or not n_longer:
            return False
        warn_user(
            f"The histories in {name!r} were cut off by a lookback in fit, and had "
            f"no event from more than {self.age:,.4g}{unit} before the cutoff. "
            f"{n_longer:,} of {n_rows:,} rows have much older events now, and such "
            "histories were not in the training: pass the same lookback to attach "
            "or snapshots."
        )
        return True

    def _warn_long(self, name: Any, times: _Times, unit: str, n_rows: int) -> None:
        """Warn of histories that begin, or end, too long before the cutoff."""
        n_old, n_silent = times.n_beyond(
            _MUCH_LONGER * self.age, max(_MUCH_LONGER * self.silence, self.silence + 1)
        )
        if n_old > _OLD * n_rows:
            warn_user(
                f"In fit, no event in {name!r} was more than {self.age:,.4g}{unit} "
                f"before the cutoff of its row. The first events of {n_old:,} of "
                f"{n_rows:,} rows are more than twice as long ago, so that models "
                "extrapolate: fit again with later cutoffs, or give all rows the same "
                "lookback."
            )
        elif n_silent > _SILENT * n_rows:
            warn_user(
                f"In fit, the last event in {name!r} was at most {self.silence:,.4g}"
                f"{unit} before the cutoff of its row. It is more than twice as long "
                f"ago in {n_silent:,} of {n_rows:,} rows, so that models extrapolate. "
                "If the rows of fit were selected, as by active_within, select these "
                "in the same way, or fit on all rows."
            )


class _Times(NamedTuple):
    """Times of the rows that have events, in days or the unit of times of the log."""

    ages: np.ndarray  # (n_filled,)
    silences: np.ndarray  # (n_filled,)
    is_cut_off: np.ndarray  # (n_filled,): whether the customer has earlier events

    @classmethod
    def of(cls, array: HistoryArray) -> Self:
        rows, timeline = array.rows, array.log.timeline
        filled = rows.stop > rows.start
        start, cutoff = rows.start[filled], rows.cutoff[filled].astype("float64")
        last = timeline.times[rows.stop[filled] - 1]
        per_day = timeline.clock.ticks_per_day() or 1
        return cls(
            (cutoff - timeline.times[start]) / per_day,
            (cutoff - last) / per_day,
            start > timeline.offsets[rows.codes[filled]],
        )

    def n_beyond(self, age: float, silence: float) -> tuple[int, int]:
        """Count the rows with longer ages, and those with longer silences."""
        return int((self.ages > age).sum()), int((self.silences > silence).sum())
