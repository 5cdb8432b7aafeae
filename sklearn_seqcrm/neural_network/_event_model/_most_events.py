"""How many events a customer has in a time at most: a bound on simulated ones."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_N_LENGTHS = 12
# A simulated customer may be busier than any in training, by this factor.
_ROOM = 2
_FEWEST = 20


class MostEvents(NamedTuple):
    """Most events that one training customer had within times of some lengths.

    Parameters
    ----------
    lengths : tuple of float
        Lengths in ticks, ascending.
    counts : tuple of int
        Most events of one customer in a time of each length.
    """

    lengths: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, times: np.ndarray, offsets: np.ndarray) -> MostEvents:
        """Learn from histories.

        Parameters
        ----------
        times : ndarray of shape (n_events,)
            Times, ascending within a history.
        offsets : ndarray of shape (n + 1,), int64
            History ``i`` is ``times[offsets[i]:offsets[i + 1]]``.
        """
        since = (times - times[offsets[:-1]].repeat(np.diff(offsets))).astype("float64")
        longest = float(since.max(initial=1.0)) or 1.0
        # Histories one behind the other on one axis, so far apart that none meet.
        history = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        lengths = [longest / 2.0**k for k in reversed(range(_N_LENGTHS))]
        counts = []
        for length in lengths:
            place = since + history * (longest + 2 * length)
            until = np.searchsorted(place, place + length, side="right")
            counts.append(int((until - np.arange(len(place))).max(initial=1)))
        return cls(tuple(lengths), tuple(counts))

    def bound(self, length: float) -> int:
        """Most events that a simulated customer may have in so many ticks."""
        at = int(np.searchsorted(self.lengths, length))
        if at < len(self.lengths):
            most: float = self.counts[at]
        else:
            most = self.counts[-1] * length / self.lengths[-1]
        return max(_FEWEST, math.ceil(_ROOM * most))
