"""Gaps between events: their resolution, and the cells that have a probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._store import Clock, later

# With fewer moments or weeks, weekdays differ by chance.
_FEWEST_MOMENTS, _FEWEST_WEEKS = 500, 8
# Nats of an event that weekdays must tell. With less, held-out customers of real logs
# gained nothing: CDNOW .003 and Complete Journey -.004, Online Retail II .15.
_LEAST_TOLD = 0.02
_MONDAY = 3  # 1 January 1970 was a Thursday


@dataclass(frozen=True)
class OperationalTime:
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
    def of(cls, times: np.ndarray, clock: Clock) -> OperationalTime | None:
        """Learn from moments at which something happened.

        Parameters
        ----------
        times : ndarray of shape (n,)
            Ticks of the moments, in any order.
        clock : Clock
            What times mean.

        Returns
        -------
        OperationalTime or None
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


# Where times are no multiples of anything, cells are this share of a typical gap, as if
# nobody could tell times apart that are closer.
_FINE = 1e-6
NO_GAP = -1.0  # the width that stands for events at one time


class InterarrivalGrid(NamedTuple):
    """What was learned of the gaps between events.

    Parameters
    ----------
    unit : float
        Ticks in a typical gap.
    step : float
        Ticks that every gap is a multiple of.
    is_lattice : bool
        Whether there is such a step; otherwise `step` is a small part of a gap.
    no_gap_share : float
        Share of the events that happen when the one before them did.
    some_ties : bool
        Whether any do; otherwise no simulated one does.
    quantiles : tuple of float
        Of the logarithms of the other gaps, in units: where components start.
    spread : float
        Standard deviation of these logarithms.
    week : OperationalTime or None
        The clock on which gaps pass: of each, what the weekdays of its steps are worth.
        A step has the weekday of the moment that it ends at, as events are stamped with
        the start of their day. None: real time.
    """

    unit: float
    step: float
    is_lattice: bool
    no_gap_share: float
    some_ties: bool
    quantiles: tuple[float, ...]
    spread: float
    week: OperationalTime | None = None

    @classmethod
    def of(
        cls,
        gaps: np.ndarray,
        starts: np.ndarray,
        silence: np.ndarray,
        last: np.ndarray,
        unit: float,
        n_components: int,
        week: OperationalTime | None,
    ) -> InterarrivalGrid:
        """Learn from the gaps of the training events.

        Parameters
        ----------
        gaps : ndarray of shape (n,)
            Ticks between successive events, 0 among them.
        starts : ndarray of shape (n,)
            Ticks at which they begin.
        silence : ndarray of shape (n_rows,)
            Ticks between the last event of each row and its cutoff.
        last : ndarray of shape (n_rows,)
            Ticks of these events.
        unit : float
            Ticks in a typical gap.
        n_components : int
            Number of quantiles.
        week : OperationalTime or None
            How weekdays differ. It is left out where a day is no number of steps.
        """
        some, quiet = gaps > 0, silence > 0
        positive = gaps[some]
        step = _common_step(positive)
        is_lattice = step is not None or not len(positive)
        if step is None:
            step = 1.0 if is_lattice else _FINE * unit
        if week is not None and week.day % step:
            week = None
        # As if there had been a gap of either kind more.
        no_gap_share = (len(gaps) - len(positive) + 0.5) / (len(gaps) + 1)
        # A customer who has been silent for long will be about as long again. Without
        # them, components would start where those are who come back soon.
        begun = np.concatenate([positive, 2 * silence[quiet]])
        if week is not None:
            start = np.concatenate([starts[some], last[quiet]])
            begun = week.passed(_next_step(start, step), begun)
        logs = np.log(begun / unit) if len(begun) else np.zeros(1)
        at = (np.arange(n_components) + 0.5) / n_components
        quantiles = tuple(np.quantile(logs, at).tolist())
        spread = float(logs.std()) or 1.0
        some_ties = len(positive) < len(gaps)
        return cls(
            unit, step, is_lattice, no_gap_share, some_ties, quantiles, spread, week
        )

    def steps(self, gaps: np.ndarray) -> np.ndarray:
        """Steps that gaps in ticks end in, whole numbers, shape (n,).

        0 for a gap that is none, or is not told from none.
        """
        return np.ceil(gaps / self.step - 1e-6)

    def cells(self, gaps: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Cells of gaps on the axis of logarithms.

        Parameters
        ----------
        gaps : ndarray of shape (n,)
            Ticks, not negative.
        starts : ndarray of shape (n,)
            Ticks at which they begin.

        Returns
        -------
        ndarray of shape (n, 2), float32
            Upper end and width. A gap of ``k`` steps is anything above ``k - 1`` of
            them, up to ``k``: for ``k = 1`` the width is infinite, and for 0 `NO_GAP`.
        """
        steps = self.steps(gaps)
        some = steps > 0
        steps = np.maximum(steps, 1.0)
        passed, last = steps, np.ones(len(steps))
        if self.week is not None:
            passed = self._passed(steps, starts)
            before = ((steps - 1) * self.step).astype("int64")
            last = self._passed(last, starts + before)
        upper = np.log(passed * (self.step / self.unit))
        with np.errstate(divide="ignore"):
            width = -np.log1p(-last / passed)
        width[~some] = NO_GAP
        return np.column_stack([upper, width]).astype("float32")

    def log_censoring_time(self, silence: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """What a gap is known to exceed, on the axis of logarithms.

        Parameters
        ----------
        silence : ndarray of shape (n,)
            Ticks from the last event to the end of what is known, in which there was
            no other.
        starts : ndarray of shape (n,)
            Ticks of the last event.

        Returns
        -------
        ndarray of shape (n,), float64
            Logarithm of the last step that is over.
        """
        steps = (self.steps(silence) - 1).clip(0)
        passed = self._passed(steps, starts)
        with np.errstate(divide="ignore"):
            logs = np.log(passed * (self.step / self.unit))
        # Of no step, what lies below any gap.
        return np.maximum(logs, np.log(self.step / self.unit) - 50.0)

    def ticks(self, logs: np.ndarray, most: float, starts: np.ndarray) -> np.ndarray:
        """Gaps in ticks, whole steps of them, of what was drawn.

        Parameters
        ----------
        logs : ndarray of shape (n,), float64
            Drawn logarithms of gaps in units.
        most : float
            Longer gaps become as long as this, about.
        starts : ndarray of shape (n,)
            Ticks at which they begin.

        Returns
        -------
        ndarray of shape (n,), float64
            The fewest steps in which so much passes, one at least.
        """
        # No more than this passes on the clock in so many ticks.
        fastest = 1.0 if self.week is None else max(self.week.rates)
        bound = np.log(most * fastest / self.unit)
        ticks = np.exp(np.minimum(logs, bound)) * self.unit
        if self.week is not None:
            ticks = self.week.gaps(_next_step(starts, self.step), ticks)
            ticks = np.minimum(ticks, most)
        return np.ceil(ticks / self.step - 1e-9).clip(1) * self.step

    def _passed(self, steps: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """What so many steps are worth, in steps of real time on average."""
        if self.week is None:
            return steps
        start = _next_step(starts, self.step)
        return self.week.passed(start, steps * self.step) / self.step


def _next_step(times: np.ndarray, step: float) -> np.ndarray:
    """The end of the step that begins at each time or before it.

    The step that ends at a time is worth what follows this time, which has its weekday,
    as days are whole steps.
    """
    return later(times - times % int(step), int(step))


def _common_step(gaps: np.ndarray) -> float | None:
    """The largest number that all gaps are multiples of; None if there is none."""
    if not len(gaps):
        return None
    if gaps.dtype.kind == "f":
        # Whole numbers that a float holds exactly.
        if not (np.equal(gaps, np.floor(gaps)).all() and gaps.max() < 2.0**53):
            return None
        gaps = gaps.astype("int64")
    return float(np.gcd.reduce(gaps))
