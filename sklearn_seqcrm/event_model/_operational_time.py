"""Operational time, which passes as fast as events come on a day and in an hour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._store import Clock

# With fewer moments, weeks or days, weekdays or hours differ by chance.
_FEWEST_MOMENTS, _FEWEST_WEEKS, _FEWEST_DAYS = 500, 8, 14
# Least gain of rates of weekdays or hours, in nats per event. With less, held-out
# customers of real logs gained nothing: weekdays of CDNOW .003 and of Complete Journey
# -.004, of Online Retail II .15.
_LEAST_GAIN = 0.02
# Most rate of an hour: a quarter of the events of a day. Where mailings come at nine,
# time would pass so fast from then on that answers within hours and the mailing of the
# next week are as far away: simulated clicks were 60% too many.
_FASTEST_HOUR = 6.0
_HOURS = 24
_MONDAY = 3  # 1 January 1970 was a Thursday
_DAYS_OF_YEAR = 365.25
# Days after which weekdays and seasons repeat: 28 years are whole weeks.
_CYCLE_OF_YEARS = 28 * 365 + 7
# Bound of the logarithm of the rates of a season. Where a shop closes each year, they
# would be so small that time does not pass, and events there would be impossible.
_LARGEST_LOG = 3.0


def fourier_terms(days: np.ndarray, n_pairs: int) -> np.ndarray:
    """Return sines and cosines of the time of year, shape (n, 2 * n_pairs).

    `days`, of shape (n,), count from 1970. The pairs have 1, 2, ... cycles a year.
    """
    angle = 2 * np.pi / _DAYS_OF_YEAR * np.outer(days, np.arange(1, n_pairs + 1))
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def log_season(days: np.ndarray, season: tuple[float, ...]) -> np.ndarray:
    """Return the logarithm of the rates of a season, within -3 and 3, shape (n,).

    `days`, of shape (n,), count from 1970; `season` are coefficients of these terms.
    """
    logs = fourier_terms(days, len(season) // 2) @ np.array(season)
    return np.asarray(logs.clip(-_LARGEST_LOG, _LARGEST_LOG))


@dataclass(frozen=True)
class OperationalTime:
    """A time that passes in each hour as fast as events come (time warping).

    With the rate ``r(t)``, operational time is its integral. A rate is that of the
    weekday, times that of the hour, times that of the time of year ``x(t)`` in Fourier
    terms::

        W(s, t) = integral of r(u) du from s to t
        r(t)    = weekday(t) * hour(t) * exp(sum_k a_k sin(2 pi k x)
                                                 + b_k cos(2 pi k x)) / mean

    An inhomogeneous Poisson process with rate r is homogeneous in operational time
    (time-rescaling theorem: Daley and Vere-Jones, "An Introduction to the Theory of
    Point Processes", vol. 1, 2003, section 7.4).
    """

    # Operational ticks per tick of each weekday, from Monday on. Positive, and of mean
    # 1, so that weeks keep their length.
    rates: tuple[float, ...]
    # Ticks of a day. Days begin at midnight, of UTC for times with a zone; tick 0 is
    # that of 1 January 1970.
    day: int
    # Coefficients of `fourier_terms` in the logarithm of the rate; empty without a
    # yearly season.
    season: tuple[float, ...] = ()
    # Operational ticks per tick of each hour of a day, of mean 1; empty if all hours
    # are alike.
    hours: tuple[float, ...] = ()

    @classmethod
    def of(
        cls, times: np.ndarray, clock: Clock, season: tuple[float, ...] = ()
    ) -> OperationalTime | None:
        """Learn rates from moments; return None if all days and hours are alike.

        `times`, of shape (n,), are ticks of the moments of events, in any order. A
        `season` is for datetimes only.
        """
        day = int(clock.ticks_per_day() or 0)
        week, hours = _weekday_rates(times, day), _hour_rates(times, day)
        if week is None and hours is None and not season:
            return None
        return cls(week or (1.0,) * 7, day, season, hours or ())

    def in_steps(self, step: float) -> OperationalTime | None:
        """Return the rates that steps of this many ticks can have; None if all are 1.

        Weekdays need days of whole steps, hours of several of them.
        """
        week, hours = self.rates, self.hours
        if self.day % step:
            week = (1.0,) * 7
        if self.day % step or step == self.day:
            hours = ()
        found = replace(self, rates=week, hours=hours)
        return found if found.has_weekdays or hours or self.season else None

    def days_of_year(self) -> np.ndarray | None:
        """Return the rates of the season on the days of a year, (365,), of mean 1."""
        if not self.season:
            return None
        days = np.arange(365) + 0.5  # 1970 had no leap day
        rates = np.exp(log_season(days, self.season))
        return np.asarray(rates / rates.mean())

    @property
    def has_weekdays(self) -> bool:
        """Whether weekdays differ."""
        return len(set(self.rates)) > 1

    @property
    def fastest(self) -> float:
        """Most operational ticks that pass in a tick."""
        return self._cycle.fastest * max(self.hours, default=1.0)

    @property
    def _cycle(self) -> _Cycle:
        # Not kept with the object: a model is stored with 11 numbers, not with 10,227.
        return _cycle_of(self.rates, self.season)

    def warp(self, start: np.ndarray, ticks: np.ndarray) -> np.ndarray:
        """Return the operational time W(start, start + ticks), (n,), float64.

        `start`, of shape (n,), int64, are ticks at which the durations `ticks` begin,
        which are not negative.
        """
        first, since = self._place(start)
        rates, before, cycle, _ = self._cycle
        cycles, rest = np.divmod(np.asarray(ticks, dtype="float64"), cycle * self.day)
        ahead, until = np.divmod(since + rest, float(self.day))
        last = first + ahead.astype("int64")
        # A sum of positive parts: a difference of ticks since 1970 has no digits left.
        days = self.day * (before[last] - before[first + 1])
        to_midnight, same_day = self._hours_from(since, rest)
        parts = to_midnight * rates[first] + self._by_hours(until) * rates[last]
        within = np.where(ahead > 0, parts + days, same_day * rates[first])
        return cycles * (cycle * self.day) + within

    def unwarp(self, start: np.ndarray, operational: np.ndarray) -> np.ndarray:
        """Return the ticks whose operational time is given, not rounded, (n,), float64.

        The inverse of `warp`.
        """
        first, since = self._place(start)
        rates, before, cycle, _ = self._cycle
        cycles, rest = np.divmod(operational, cycle * self.day)
        today = self._hours_from(since, np.zeros(1))[0] * rates[first]
        # In operational days since the beginning of the cycle.
        until = before[first + 1] + (rest - today) / self.day
        last = np.searchsorted(before, until) - 1
        part = self._by_hours((until - before[last]) / rates[last] * self.day, True)
        later_days = (last - first) * self.day + part - since
        same_day = rest / rates[first]
        if self.hours:
            same_day = self._by_hours(self._by_hours(since) + same_day, True) - since
        within = np.where(rest > today, later_days, same_day)
        return cycles * (cycle * self.day) + within

    def _by_hours(self, ticks: np.ndarray, inverse: bool = False) -> np.ndarray:
        """Return ticks since midnight by the rates of hours, (n,), or the inverse."""
        if not self.hours:
            return ticks
        hour = self.day / _HOURS
        ends = np.arange(_HOURS + 1) * hour
        by_hours = np.concatenate([[0.0], np.cumsum(self.hours) * hour])
        return np.interp(ticks, *((by_hours, ends) if inverse else (ends, by_hours)))

    def _hours_from(
        self, since: np.ndarray, ticks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ticks by the rates of hours until midnight, and of some ticks, (n,).

        Both begin `since` midnight; the latter are of durations `ticks` within the day.
        They are sums of positive parts: a nanosecond of a quiet hour would be lost in
        differences.
        """
        if not self.hours:
            return self.day - since, ticks
        hour, rates = self.day // _HOURS, np.array(self.hours)
        before = hour * np.concatenate([[0.0], np.cumsum(rates)])
        after = hour * np.append(np.cumsum(rates[::-1])[::-1], 0.0)
        until = np.minimum(since + ticks, self.day)
        first = since // hour
        last = np.minimum(until // hour, _HOURS - 1).astype("int64")
        rest_of_hour = ((first + 1) * hour - since) * rates[first]
        later = before[last] - before[np.minimum(first + 1, last)]
        later += (until - last * hour) * rates[last]
        within = np.where(last == first, ticks * rates[first], rest_of_hour + later)
        return rest_of_hour + after[first + 1], within

    def _place(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the day in the cycle, and ticks since midnight, both int64."""
        days, since = np.divmod(times, self.day)
        return (days + _MONDAY) % self._cycle.n_days, since


class _Cycle(NamedTuple):
    """Rates of days from a Monday on, and operational days before each.

    The arrays repeat a cycle of `n_days` three times: durations may begin on its last
    day, and rounding may add a day. `fastest` is the largest rate.
    """

    rates: np.ndarray
    before: np.ndarray
    n_days: int
    fastest: float


@lru_cache(maxsize=64)
def _cycle_of(week: tuple[float, ...], season: tuple[float, ...]) -> _Cycle:
    """Return a week or, with a season, 28 years of days whose mean rate is 1."""
    rates = np.array(week)
    if season:
        days = np.arange(_CYCLE_OF_YEARS)
        rates = rates[days % 7] * np.exp(log_season(days - _MONDAY + 0.5, season))
        rates /= rates.mean()
    repeated = np.tile(rates, 3)
    before = np.concatenate([[0.0], np.cumsum(repeated)])
    return _Cycle(repeated, before, len(rates), float(rates.max()))


def _weekday_rates(times: np.ndarray, day: int) -> tuple[float, ...] | None:
    """Return the rates of weekdays, of mean 1; None as in `_rates`."""
    if not _can_compare(times, _FEWEST_WEEKS * 7 * day):
        return None
    weeks, weekdays = np.divmod(times // day + _MONDAY, 7)
    return _rates(weeks, weekdays, 7)


def _hour_rates(times: np.ndarray, day: int) -> tuple[float, ...] | None:
    """Return the rates of the hours of a day, of mean 1; None as in `_rates`."""
    if day % _HOURS or not _can_compare(times, _FEWEST_DAYS * day):
        return None
    days, hours = np.divmod(times // (day // _HOURS), _HOURS)
    found = _rates(days, hours, _HOURS)
    # The highest rate is 24 if all are in one hour, such as dates.
    return None if found is None or max(found) > _FASTEST_HOUR else found


def _can_compare(times: np.ndarray, least: int) -> bool:
    """Return whether moments are enough, and over a time of `least` ticks."""
    if not least or len(times) < _FEWEST_MOMENTS:  # 0 ticks: plain numbers
        return False
    return float(times.max()) - float(times.min()) >= least


def _rates(periods: np.ndarray, parts: np.ndarray, n: int) -> tuple[float, ...] | None:
    """Return the rates of n parts of a period, of mean 1; None if they do not differ.

    `periods` and `parts`, of shape (n_events,), are those of each event.
    """
    counts = np.bincount(periods % 2 * n + parts, minlength=2 * n).reshape(2, n)
    if _cross_validated_gain(counts) < _LEAST_GAIN:
        return None
    # A pseudo-count of half an event: a part without events may have some yet.
    events = counts.sum(axis=0) + 0.5
    return tuple((events / events.mean()).tolist())


def _cross_validated_gain(counts: np.ndarray) -> float:
    """Return the cross-validated log likelihood gain per event of rates of parts.

    The gain is over equal rates, in nats. Even and odd weeks (days) are the two folds;
    `counts`, of shape (2, n), are their events per weekday (hour). If events fall on
    few dates, such as the first of each month, rates of one half do not hold for the
    other.
    """
    shares = counts + 0.5
    shares = shares / shares.sum(axis=1, keepdims=True)
    return float((counts * np.log(counts.shape[1] * shares[::-1])).sum() / counts.sum())
