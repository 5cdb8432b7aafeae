"""How busy training customers were in windows of time, which bounds simulations."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._ragged import first_at_or_after

_N_LENGTHS = 12
# A simulated customer may be busier than any in training, by this factor.
_BOUND_FACTOR = 2
# Least bound: training customers have few events in short windows, often a single one,
# and twice as many would cut off ordinary simulated customers.
_LEAST_BOUND = 20
_MOST_BOUND = 2.0**62


class BusiestWindows(NamedTuple):
    """Largest number of events of a training customer in windows of several lengths.

    The lengths are ``longest / 2^k`` for k = 0, ..., 11, where ``longest`` is the time
    from the first to the last event of the longest history (to the cutoff, if no
    history has events at two times). With the times ``t`` of one customer::

        count(length) = max over customers, i of #{j : t[i] <= t[j] <= t[i] + length}
        bound(length) = max(20, 2 * count(shortest window of at least this length))
    """

    lengths: tuple[float, ...]  # lengths in ticks, ascending
    # Largest number of events of one customer in a window of each length.
    counts: tuple[int, ...]

    @classmethod
    def of(
        cls, times: np.ndarray, offsets: np.ndarray, cutoff: np.ndarray
    ) -> BusiestWindows:
        """Count the events of histories in windows.

        History ``i`` has the times ``times[offsets[i]:offsets[i + 1]]``, ascending, and
        ends before ``cutoff[i]``.
        """
        since = (times - times[offsets[:-1]].repeat(np.diff(offsets))).astype("float64")
        longest = float(since.max() or (cutoff - times[offsets[:-1]]).max())
        stop = offsets[1:].repeat(np.diff(offsets))
        lengths = [longest / 2.0**k for k in reversed(range(_N_LENGTHS))]
        counts: list[int] = []
        most = 1
        for length in lengths:
            # Only windows of more events than the shorter ones matter: those of an
            # event and the `most`-th after it. They are few.
            later = np.arange(most, len(since))
            begin = np.flatnonzero(
                (later < stop[: len(later)])
                & (since[most:] - since[: len(later)] <= length)
            )
            end = first_at_or_after(
                since, begin, stop[begin], since[begin] + length, after=True
            )
            most = int((end - begin).max(initial=most))
            counts.append(most)
        return cls(tuple(lengths), tuple(counts))

    def bound(self, length: float) -> int:
        """Return the largest number of events of a simulated customer.

        `length` is the simulated time in ticks.
        """
        at = int(np.searchsorted(self.lengths, length))
        if at < len(self.lengths):
            most: float = self.counts[at]
        else:  # longer than any history: extrapolate the rate in the longest window
            most = self.counts[-1] * length / self.lengths[-1]
        # A horizon of floats may be 1e308, and the product infinite.
        return max(_LEAST_BOUND, math.ceil(min(_BOUND_FACTOR * most, _MOST_BOUND)))
