"""Visits: events in quick succession, such as the clicks of a session.

::

    events     |--eeee-------ee----------------e---|   3 visits
                      pause       pause

How often customers have come says more of what they will do than how long they stayed.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from sklearn_seqcrm._encoding._training import Training

# Events come in visits if this share of the interarrival times, at least, is shorter
# than a hundredth of their mean (1% of exponential ones are), and so many are longer
# than a tenth. With fewer short ones, counting visits has hardly changed predictions.
_LEAST_SHARE_WITHIN, _FEWEST_BETWEEN = 0.25, 100
_SHORT, _LONGEST_PAUSE = 0.01, 0.1  # as shares of the mean interarrival time
# Interarrival times count as no longer than the longest one of this share of the
# customers: wrong dates must not make visits of years.
SHARE_WITHOUT_OUTLIERS = 0.99
# Bins of a histogram: so many of equal width between two powers of two, and powers from
# nanoseconds in days (2 ** -47) to the largest int64 (2 ** 63).
_PER_POWER, _POWERS = 16, (-64, 64)


class Visits(NamedTuple):
    """How events come in visits; both are ticks."""

    pause: float  # events that are further apart are of two visits
    between: float  # typical interarrival time between visits

    def are_starts_after(self, interarrival: np.ndarray) -> np.ndarray:
        """Return which events are the first of a visit, bool, by the times before.

        An interarrival time of NaN is that of a first event.
        """
        return ~(interarrival <= self.pause)

    def are_starts(self, times: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Return which events are the first of a visit, shape (n_events,), bool.

        `times` (n_events,) are those of one customer's events and then of the next
        one's; `first` are the positions of the first events of customers.
        """
        interarrival = np.diff(times, prepend=times[:1]).astype("float64")
        interarrival[first] = np.nan
        return self.are_starts_after(interarrival)


class InterarrivalCounts(NamedTuple):
    """Histograms of the positive interarrival times of training events, in days."""

    of_events: np.ndarray  # (n_bins,), int64: of all
    # (n_bins,), int64: of the longest one of each run of training events, which is a
    # customer's unless a lookback hides events between two runs.
    of_runs: np.ndarray
    day: float  # ticks of a day, or 1 for times that are numbers

    @classmethod
    def of(cls, training: Training) -> Self:
        """Count the interarrival times of the training events."""
        n_bins = _PER_POWER * (_POWERS[1] - _POWERS[0])
        counts = np.zeros((2, n_bins), "int64")
        # In days, bins are the same for times in seconds and in nanoseconds.
        day = float(training.clock.ticks_per_day() or 1)
        for index, first in training.blocks():
            interarrival = np.diff(training.times[index], prepend=0)
            interarrival[first] = 0
            longest = np.maximum.reduceat(interarrival, first)
            for some, own in zip(counts, (interarrival, longest), strict=True):
                some += np.bincount(_bins(own[own > 0] / day), minlength=n_bins)
        return cls(counts[0], counts[1], day)

    def merge(self, other: InterarrivalCounts) -> InterarrivalCounts:
        """Return the histograms of both parts."""
        of_events = self.of_events + other.of_events
        return InterarrivalCounts(of_events, self.of_runs + other.of_runs, self.day)

    def visits(self) -> Visits | None:
        """Return how events come in visits; None if they do not.

        A few customers who come much more often than all others look like visits, too.
        Thresholds are rounded down to bins.
        """
        n, n_runs = self.of_events.sum(), self.of_runs.sum()
        if not n:
            return None
        # As ``np.quantile(..., method="lower")``.
        rank = int(SHARE_WITHOUT_OUTLIERS * (n_runs - 1))
        longest = _of_rank(self.of_runs, rank)
        bins = np.minimum(np.arange(len(self.of_events)), longest)
        mean = float(self.of_events @ _middles(bins)) / n
        least, short = _bins(np.array([_LONGEST_PAUSE * mean, _SHORT * mean]))
        n_between = self.of_events[least:].sum()
        few_within = self.of_events[:short].sum() < _LEAST_SHARE_WITHIN * n
        if few_within or n_between < _FEWEST_BETWEEN:
            return None
        typical = least + _of_rank(self.of_events[least:], (n_between - 1) // 2)
        between = _middles(np.array([typical]))
        return Visits(self.day * float(_begins(least)), self.day * float(between[0]))


def _bins(times: np.ndarray) -> np.ndarray:
    """Return the bins of positive numbers, (n,)."""
    # Exact on every machine, unlike logarithms: time = fraction * 2 ** power.
    fraction, power = np.frexp(times.astype("float64"))
    power = np.clip(power, _POWERS[0], _POWERS[1] - 1) - _POWERS[0]
    # The fraction is from 0.5 to 1.
    return _PER_POWER * power + ((2 * fraction - 1) * _PER_POWER).astype("int64")


def _begins(bins: np.ndarray) -> np.ndarray:
    """Return the least number of each bin."""
    power, part = np.divmod(bins, _PER_POWER)
    return np.ldexp(0.5 * (1 + part / _PER_POWER), power + _POWERS[0])


def _middles(bins: np.ndarray) -> np.ndarray:
    return (_begins(bins) + _begins(bins + 1)) / 2


def _of_rank(counts: np.ndarray, rank: int) -> int:
    """Return the bin of the number of a rank, from 0 on."""
    return int(np.searchsorted(np.cumsum(counts), rank, side="right"))
