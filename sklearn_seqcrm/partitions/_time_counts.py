"""The times of all partitions, thinned to a few thousand, for warnings of dates."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from sklearn_seqcrm._ragged import is_run_start
from sklearn_seqcrm._store import Clock

_CELLS = 2000  # at most two times are kept of each


class TimeCounts(NamedTuple):
    """Distinct times and the number of events at each.

    Many times are divided into cells of equal length; of each cell, the first and the
    last time remain. So all silences longer than a cell keep their ends::

        events     |  | ||    |  |                |
        cells    [        |        |        |        )
        kept       |    |     |  |                |
        counts     3    1     1  1                1
    """

    times: np.ndarray  # (n,): ascending times
    # (n,), int64: number of events from each time on, before the next one.
    counts: np.ndarray

    @classmethod
    def of(cls, times: np.ndarray) -> Self:
        """Count the times of the events of a partition, shape (n_events,)."""
        times = np.sort(times)
        kept = _kept(times)
        return cls(times[kept], np.diff(kept, append=len(times)))

    def on(self, old: Clock, new: Clock) -> TimeCounts:
        """Return the times on another clock."""
        return self._replace(times=new.read(old.as_index(self.times), "times"))

    def merge(self, other: TimeCounts) -> TimeCounts:
        """Return the times of both, which are on one clock."""
        pairs = zip(self, other, strict=True)
        times, counts = (np.concatenate(pair) for pair in pairs)
        order = np.argsort(times, kind="stable")
        kept = _kept(times[order])
        return TimeCounts(times[order][kept], np.add.reduceat(counts[order], kept))


def _kept(times: np.ndarray) -> np.ndarray:
    """Return the positions of the times that are kept of ascending, repeated times."""
    is_new = is_run_start(times)
    if np.count_nonzero(is_new) <= 2 * _CELLS:
        return np.flatnonzero(is_new)
    # As floats: a difference of int64 could overflow.
    edges = np.linspace(float(times[0]), float(times[-1]), _CELLS + 1)[1:-1]
    if times.dtype == "int64":
        edges = np.ceil(edges).astype("int64")
    begin = np.append(0, np.searchsorted(times, edges))
    end = np.searchsorted(times, times[np.append(begin[1:], len(times)) - 1])
    return np.unique(np.append(begin, end))
