"""Operational time, which passes on each weekday as fast as events come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sklearn_seqcrm._store import Clock

# With fewer moments or weeks, weekdays differ by chance.
_FEWEST_MOMENTS, _FEWEST_WEEKS = 500, 8
# Least gain of weekday rates, in nats per event. With less, held-out customers of real
# logs gained nothing: CDNOW .003 and Complete Journey -.004, Online Retail II .15.
_LEAST_GAIN = 0.02
_MONDAY = 3  # 1 January 1970 was a Thursday


@dataclass(frozen=True)
class OperationalTime:
    """A time that passes on each weekday as fast as events come (time warping).

    With the rate ``r(t)`` of the weekday of ``t``, operational time is its integral::

        W(s, t) = integral of r(u) du from s to t

    An inhomogeneous Poisson process with rate r is homogeneous in operational time
    (time-rescaling theorem: Daley and Vere-Jones, "An Introduction to the Theory of
    Point Processes", vol. 1, 2003, section 7.4).

    Parameters
    ----------
    rates : tuple of 7 floats
        Operational ticks per tick of each weekday, from Monday on. Positive, and of
        mean 1, so that weeks keep their length.
    day : int
        Ticks of a day. Days begin at midnight; tick 0 is that of 1 January 1970.
    """

    rates: tuple[float, ...]
    day: int

    @classmethod
    def of(cls, times: np.ndarray, clock: Clock) -> OperationalTime | None:
        """Learn rates from the moments of events.

        Parameters
        ----------
        times : ndarray of shape (n,)
            Ticks of the moments, in any order.
        clock : Clock
            Unit and zone of the times.

        Returns
        -------
        OperationalTime or None
            None if weekdays do not differ or cannot be compared: with fewer than 500
            moments or 8 weeks, for plain numbers, and for times with a zone, which are
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
        if _cross_validated_gain(counts) < _LEAST_GAIN:
            return None
        # A pseudo-count of half an event: a weekday without events may have some yet.
        events = counts.sum(axis=0) + 0.5
        return cls(tuple((events / events.mean()).tolist()), day)

    def warp(self, start: np.ndarray, ticks: np.ndarray) -> np.ndarray:
        """Return the operational time W(start, start + ticks).

        Parameters
        ----------
        start : ndarray of shape (n,), int64
            Ticks at which the durations begin.
        ticks : ndarray of shape (n,)
            Durations, not negative.

        Returns
        -------
        ndarray of shape (n,), float64
            Operational ticks.
        """
        weekday, since = self._weekday(start)
        rates, before = self._days()
        weeks, rest = np.divmod(np.asarray(ticks, dtype="float64"), 7.0 * self.day)
        ahead, until = np.divmod(since + rest, float(self.day))
        last = weekday + ahead.astype("int64")
        # A sum of positive parts: a difference of ticks since 1970 has no digits left.
        days = self.day * (before[last] - before[weekday + 1])
        parts = (self.day - since) * rates[weekday] + until * rates[last]
        within = np.where(ahead > 0, parts + days, rest * rates[weekday])
        return weeks * (7.0 * self.day) + within

    def unwarp(self, start: np.ndarray, operational: np.ndarray) -> np.ndarray:
        """Return the duration whose operational time is given: the inverse of `warp`.

        Parameters
        ----------
        start : ndarray of shape (n,), int64
            Ticks at which the durations begin.
        operational : ndarray of shape (n,), float64
            Operational ticks, not negative.

        Returns
        -------
        ndarray of shape (n,), float64
            Ticks, not rounded.
        """
        weekday, since = self._weekday(start)
        rates, before = self._days()
        weeks, rest = np.divmod(operational, 7.0 * self.day)
        today = (self.day - since) * rates[weekday]
        # In operational days since the Monday before.
        until = before[weekday + 1] + (rest - today) / self.day
        last = np.searchsorted(before, until) - 1
        part = (until - before[last]) / rates[last]
        later_days = (last - weekday + part) * self.day - since
        within = np.where(rest > today, later_days, rest / rates[weekday])
        return weeks * (7.0 * self.day) + within

    def _weekday(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weekday, 0 for Monday, and ticks since midnight, both int64."""
        days, since = np.divmod(times, self.day)
        return (days + _MONDAY) % 7, since

    def _days(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rates of days from a Monday on, and operational days before each."""
        # Three weeks: a week may begin on a Sunday, and rounding may add a day.
        rates = np.tile(self.rates, 3)
        return rates, np.concatenate([[0.0], np.cumsum(rates)])


def _cross_validated_gain(counts: np.ndarray) -> float:
    """Return the cross-validated log likelihood gain per event of weekday rates.

    Even and odd weeks are the two folds. If events fall on few dates, such as the first
    of each month, rates of one half do not hold for the other.

    Parameters
    ----------
    counts : ndarray of shape (2, 7)
        Events per weekday in even and in odd weeks.

    Returns
    -------
    float
        Mean log likelihood less that of equal rates, in nats per event.
    """
    shares = counts + 0.5
    shares = shares / shares.sum(axis=1, keepdims=True)
    return float((counts * np.log(7 * shares[::-1])).sum() / counts.sum())
