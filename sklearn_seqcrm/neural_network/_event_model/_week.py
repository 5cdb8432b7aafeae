"""A clock of the week: time passes as fast as each weekday has events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sklearn_seqcrm._store import Clock

# With fewer moments or weeks, weekdays differ by chance.
_FEWEST_MOMENTS, _FEWEST_WEEKS = 500, 8
# Nats of an event that weekdays must tell. With less, held-out customers of real logs
# gained nothing: CDNOW .003 and Complete Journey -.004, Online Retail II .15.
_LEAST_TOLD = 0.02
_MONDAY = 3  # 1 January 1970 was a Thursday


@dataclass(frozen=True)
class Week:
    """How fast time passes on each weekday.

    Parameters
    ----------
    rates : tuple of 7 floats
        Ticks that pass in a tick of each weekday, from Monday on. Positive, and of
        mean 1, so that weeks are as long as they are.
    day : int
        Ticks of a day. Days begin at midnight; tick 0 is that of 1 January 1970.
    """

    rates: tuple[float, ...]
    day: int

    @classmethod
    def of(cls, times: np.ndarray, clock: Clock) -> Week | None:
        """Learn from moments at which something happened.

        Parameters
        ----------
        times : ndarray of shape (n,)
            Ticks of the moments, in any order.
        clock : Clock
            What times mean.

        Returns
        -------
        Week or None
            None if weekdays do not differ, or nobody can tell: of fewer than 500
            moments or 8 weeks, of plain numbers, and of times with a zone, which are
            stored as UTC, whose days are not those of the zone.
        """
        per_day = clock.ticks_per_day()
        if per_day is None or clock.aware or len(times) < _FEWEST_MOMENTS:
            return None
        day = int(per_day)
        if float(times.max()) - float(times.min()) < _FEWEST_WEEKS * 7 * day:
            return None
        weeks, weekdays = np.divmod(times // day + _MONDAY, 7)
        counts = np.bincount(weeks % 2 * 7 + weekdays, minlength=14).reshape(2, 7)
        if _told(counts) < _LEAST_TOLD:
            return None
        # As if there had been half an event more: what never was may yet be.
        events = counts.sum(axis=0) + 0.5
        return cls(tuple((events / events.mean()).tolist()), day)

    def passed(self, start: np.ndarray, gaps: np.ndarray) -> np.ndarray:
        """Time that passes on this clock.

        Parameters
        ----------
        start : ndarray of shape (n,), int64
            Ticks at which it begins to pass.
        gaps : ndarray of shape (n,)
            Ticks until it ends, not negative.

        Returns
        -------
        ndarray of shape (n,), float64
            Ticks on this clock.
        """
        weekday, since = self._weekday(start)
        rates, before = self._days()
        weeks, rest = np.divmod(np.asarray(gaps, dtype="float64"), 7.0 * self.day)
        ahead, until = np.divmod(since + rest, float(self.day))
        last = weekday + ahead.astype("int64")
        # Sums of what is positive: a difference of ticks since 1970 has no digits left.
        days = self.day * (before[last] - before[weekday + 1])
        parts = (self.day - since) * rates[weekday] + until * rates[last]
        within = np.where(ahead > 0, parts + days, rest * rates[weekday])
        return weeks * (7.0 * self.day) + within

    def gaps(self, start: np.ndarray, passed: np.ndarray) -> np.ndarray:
        """Ticks in which so much passes on this clock: the inverse of `passed`.

        Parameters
        ----------
        start : ndarray of shape (n,), int64
            Ticks at which it begins to pass.
        passed : ndarray of shape (n,), float64
            Ticks on this clock, not negative.

        Returns
        -------
        ndarray of shape (n,), float64
            Ticks, no whole numbers.
        """
        weekday, since = self._weekday(start)
        rates, before = self._days()
        weeks, rest = np.divmod(passed, 7.0 * self.day)
        today = (self.day - since) * rates[weekday]
        # In days of this clock since the Monday before.
        until = before[weekday + 1] + (rest - today) / self.day
        last = np.searchsorted(before, until) - 1
        part = (until - before[last]) / rates[last]
        later = (last - weekday + part) * self.day - since
        within = np.where(rest > today, later, rest / rates[weekday])
        return weeks * (7.0 * self.day) + within

    def _weekday(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weekday, 0 for Monday, and ticks since midnight, both int64."""
        days, since = np.divmod(times, self.day)
        return (days + _MONDAY) % 7, since

    def _days(self) -> tuple[np.ndarray, np.ndarray]:
        """Rates of the days from a Monday on, and days of this clock before each."""
        # A week from a Sunday on, and what rounding adds.
        rates = np.tile(self.rates, 3)
        return rates, np.concatenate([[0.0], np.cumsum(rates)])


def _told(counts: np.ndarray) -> float:
    """Nats of an event that the weekdays of every other week tell of the others.

    Parameters
    ----------
    counts : ndarray of shape (2, 7)
        Events of the weekdays of even and of odd weeks. Where events are on few dates,
        such as the first of each month, the weekdays of these tell nothing of others.

    Returns
    -------
    float
        Mean log likelihood, less that of weekdays that are all alike.
    """
    shares = counts + 0.5
    shares = shares / shares.sum(axis=1, keepdims=True)
    return float((counts * np.log(7 * shares[::-1])).sum() / counts.sum())
