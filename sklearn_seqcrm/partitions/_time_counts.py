"""The times of all partitions, thinned to a few thousand, for warnings of dates."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

_CELLS = 2000  # at most two times are kept of each


class TimeCounts(NamedTuple):
    """Distinct times and the number of events at each.

    Many times are divided into cells of equal length; of each cell, the first and the
    last time remain. So all silences longer than a cell keep their ends::

        events     |  | ||    |  |                |
        cells    [        |        |        |        )
        kept       |    |     |  |                |
        counts     3    1     1  1                1

    Parameters
    ----------
    times : ndarray of shape (n,)
        Ascending times.
    counts : ndarray of shape (n,), int64
        Number of events from each time on, before the next one.
    """

    times: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, times: np.ndarray) -> Self:
        """Count the times of the events of a partition."""
        return cls(*np.unique(times, return_counts=True))._thinned()

    def merge(self, other: TimeCounts) -> TimeCounts:
        """Return the times of both, which are on one clock."""
        pairs = zip(self, other, strict=True)
        times, counts = (np.concatenate(pair) for pair in pairs)
        order = np.argsort(times, kind="stable")
        return TimeCounts(times[order], counts[order])._thinned()

    def _thinned(self) -> Self:
        if len(self.times) <= 2 * _CELLS:
            return self
        # As floats: a difference of int64 could overflow.
        ends = self.times.astype("float64")
        cells = (ends - ends[0]) / (ends[-1] - ends[0]) * _CELLS
        is_first = np.append(True, np.diff(np.floor(cells)) > 0)
        is_last = np.append(is_first[1:], True)
        kept = np.flatnonzero(is_first | is_last)
        return self._replace(
            times=self.times[kept], counts=np.add.reduceat(self.counts, kept)
        )
