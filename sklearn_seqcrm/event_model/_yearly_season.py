"""The yearly season of the rate of events, learned from training histories.

Counts by month are no season: customers come less often the longer ago their last event
is, and more often if they have come often. So each week of each history is in a class
by the time since the last event and the number of events so far. With exposures ``E``
(customer-weeks) and numbers of events ``N`` of class ``c`` in week ``w``, which is
at the part ``x`` of the year::

    N[c, w] ~ Poisson(E[c, w] * rate[c] * exp(trend(w) + season(x)))
    season(x) = sum_k a_k sin(2 pi k x) + b_k cos(2 pi k x)

(a piecewise exponential model of hazards: Holford, "The Analysis of Rates and of
Survivorship Using Log-Linear Models", Biometrics 36(2), 1980). Without the trend, the
season would follow it. It is piecewise linear, as a parabola cannot follow a step. The
trend itself is not used: mostly it shows that the customers in a young record are those
who come often.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import xlogy

from sklearn_seqcrm._ragged import ranges, segment_numbers
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.event_model._operational_time import fourier_terms, log_season

_N_TERMS = 4  # two Fourier pairs
# Least weeks from one knot of the trend to the next.
_KNOT_WEEKS = 26
# A lasting step of the rate is sought this far from both ends, and at each half of it.
_STEP_WEEKS = 6
# Standard deviation of the normal prior of the coefficients of season and trend: weeks
# without events would separate them perfectly, and no maximum would exist.
_PRIOR_SD = 1.0
# Classes by powers of 2: of weeks since the last event, and of events so far.
_N_AGES, _N_COUNTS = 7, 6
# Newton steps of a fit, which are fewer than ten as a rule.
_N_STEPS = 50
# The first fit measures times since the last event in calendar time, further ones in
# operational time of the fit before: those who come in the low season have waited long.
# A simulated season of .40 was found to be .28, .37 and .41 by the first three fits.
_N_FITS = 3
# Least number of weeks with yearly_seasonality=True and "auto", and of events.
_FEWEST_WEEKS, _FEWEST_WEEKS_AUTO, _FEWEST_EVENTS = 65, 104, 500
# Least number of the 52 weeks of a year with events for "auto": a shop may be closed.
_FEWEST_OF_YEAR = 40
# Least F statistic of a season for "auto".
_LEAST_F = 4.0
# Most histories that a season is learned from.
_MOST_ROWS = 2**14
# Weeks at both ends with less than this share of the mean number of events are no part
# of the record, such as those of a wrong date.
_LEAST_SHARE = 0.01


def yearly_season(
    times: np.ndarray,
    offsets: np.ndarray,
    cutoff: np.ndarray,
    clock: Clock,
    yearly_seasonality: Any,
) -> tuple[float, ...]:
    """Return the coefficients of `fourier_terms`; empty without a season.

    `times`, of shape (n_events,), are ticks of the moments of training histories:
    history ``i`` has ``times[offsets[i]:offsets[i + 1]]``, and its record ends at
    ``cutoff[i]``. `yearly_seasonality` is that of `LSTMEventModel`.
    """
    # A NumPy bool is neither True nor False by identity.
    is_auto = isinstance(yearly_seasonality, str)
    if not (is_auto or yearly_seasonality):
        return ()
    per_day = clock.ticks_per_day()
    if per_day is None:
        if is_auto:
            return ()
        raise ValueError(
            "yearly_seasonality=True needs datetimes, and the times of these events "
            "are plain numbers. Set yearly_seasonality='auto', or build the log from "
            "datetimes."
        )
    day, some = int(per_day), _some_rows(len(cutoff))
    index, own = ranges(offsets[some], offsets[some + 1])
    days = HistoryDays(times[index] // day, own, (cutoff[some] - 1) // day)
    weekly = WeeklyEvents.of(days)
    if is_auto:
        is_sought = weekly.is_enough() and _f_beside_a_step(weekly) > _LEAST_F
        return _shrunken_season(days, weekly, _LEAST_F) if is_sought else ()
    n_weeks, n_events = weekly.exposure.shape[1], int(weekly.n_events.sum())
    if n_weeks < _FEWEST_WEEKS or n_events < _FEWEST_EVENTS:
        raise ValueError(
            f"yearly_seasonality=True needs a record of {_FEWEST_WEEKS} weeks with "
            f"{_FEWEST_EVENTS} events after the first ones of customers, and the "
            f"training rows have {n_events} in {n_weeks} weeks: with less, a season "
            "cannot be told from a trend or from chance. Set yearly_seasonality="
            "'auto', which uses none here."
        )
    season = _shrunken_season(days, weekly, 1.0)
    if not season:
        warn_user(
            "yearly_seasonality=True: the season of the training rows is not larger "
            "than chance (F is not above 1), so the model has none."
        )
    return season


def _some_rows(n: int) -> np.ndarray:
    """Return the rows to learn from, sorted.

    They are drawn at random: if every second row were taken, all of them might be at
    one time of the year.
    """
    if n <= _MOST_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, _MOST_ROWS, replace=False))


# Counts ------------------------------------------------------------------------------


class HistoryDays(NamedTuple):
    """Days of histories, in days since 1970."""

    # (n_events,), int64: days of the moments of histories, one after the other.
    days: np.ndarray
    # (n + 1,), int64: history ``i`` has the moments ``offsets[i]:offsets[i + 1]``.
    offsets: np.ndarray
    last_days: np.ndarray  # (n,), int64: last day of the record of each


class WeeklyEvents(NamedTuple):
    """Events of histories by class and week."""

    exposure: np.ndarray  # (n_classes, n_weeks): customer-weeks
    # (n_classes, n_weeks): events after the first one of each history.
    n_events: np.ndarray
    first: int  # number of the first week since 1970

    @classmethod
    def of(cls, histories: HistoryDays, season: tuple[float, ...] = ()) -> WeeklyEvents:
        """Count the events of histories.

        With the coefficients of a season, times since the last event are measured in
        its operational time.
        """
        days, offsets, last_days = histories
        history = segment_numbers(offsets)
        so_far = np.arange(len(days)) - offsets[history]
        first, n_weeks, last_day = _record(days[so_far > 0])
        is_last = np.append(history[1:] != history[:-1], True)
        until = np.where(is_last, last_days[history], np.roll(days, -1))
        until = np.maximum(until, days)  # an event may be at the end of its record
        # A time between events has a line for each week of the record that it is in.
        first_line = np.maximum(days // 7, first)
        last_line = np.minimum(until // 7, first + n_weeks - 1)
        week, lines = ranges(first_line, np.maximum(last_line + 1, first_line))
        line = segment_numbers(lines)
        # In days: from the day after an event up to the next one, or to the last day.
        begin = np.maximum(days[line] + 1, 7 * week)
        end = np.minimum(7 * week + 6, last_day)
        exposure = (np.minimum(until[line], end) - begin + 1).clip(0) / 7
        ended = (week == until[line] // 7) & ~is_last[line]
        waited = _operational_weeks(days[line] / 7, week + 0.5, season).clip(0)
        age, count = (
            np.log2(one + 1).astype("int64").clip(max=n_classes - 1)
            for one, n_classes in ((waited, _N_AGES), (so_far[line], _N_COUNTS))
        )
        shape = (_N_AGES * _N_COUNTS, n_weeks)
        cell = (age * _N_COUNTS + count) * n_weeks + week - first
        of_exposure, of_events = (
            np.bincount(cell, one, shape[0] * n_weeks).reshape(shape)
            for one in (exposure, ended)
        )
        return cls(of_exposure, of_events, first)

    def is_enough(self) -> bool:
        """Return whether the record is long enough to look for a season ("auto")."""
        per_week = self.n_events.sum(axis=0)
        middles = 7 * (self.first + np.flatnonzero(per_week)) + 3.5
        of_year = np.unique((middles % 365.25 * (52 / 365.25)).astype("int64"))
        return bool(
            len(per_week) >= _FEWEST_WEEKS_AUTO
            and per_week.sum() >= _FEWEST_EVENTS
            and len(of_year) >= _FEWEST_OF_YEAR
        )


def _record(days: np.ndarray) -> tuple[int, int, int]:
    """Return the first week, the number of weeks and the last day of the record.

    It ends with the last event: weeks without events would be taken for a season.
    """
    if not len(days):
        return 0, 0, 0
    start = int(days.min()) // 7
    per_week = np.bincount(days // 7 - start)
    least = _LEAST_SHARE * per_week[per_week > 0].mean()
    first, last = start + np.flatnonzero(per_week >= least)[[0, -1]]
    return int(first), int(last - first) + 1, int(days[days // 7 <= last].max())


def _operational_weeks(
    start: np.ndarray, stop: np.ndarray, season: tuple[float, ...]
) -> np.ndarray:
    """Return operational weeks from start to stop, both in weeks since 1970."""
    if not season:
        return stop - start
    weeks = np.arange(int(np.floor(start.min())), int(stop.max()) + 1)
    rates = np.exp(log_season(7 * weeks + 3.5, season))  # of the middle of each
    until = np.concatenate([[0.0], np.cumsum(rates / rates.mean())])
    ends = np.append(weeks, weeks[-1] + 1)
    return np.interp(stop, ends, until) - np.interp(start, ends, until)


# The fit -----------------------------------------------------------------------------


class LogLinearFit(NamedTuple):
    """Penalized maximum likelihood fit of weekly events."""

    # (n_inputs,): coefficients of the inputs. All is NaN if the fit did not converge.
    weights: np.ndarray
    expected: np.ndarray  # (n_weeks,): expected events of all classes
    # Twice the log likelihood ratio of the totals of weeks to a rate for each.
    deviance: float


def _shrunken_season(
    histories: HistoryDays, weekly: WeeklyEvents, least_f: float
) -> tuple[float, ...]:
    """Return the coefficients of the season, or nothing if F is not above `least_f`.

    F is the statistic of the first fit, whose classes depend on no season. With it, the
    coefficients are shrunk by the factor ``1 - 1 / F`` (positive-part James-Stein: the
    expected share of their squares that is not noise).
    """
    trend = _trend_terms(weekly.exposure.shape[1])
    inputs = _with_season(weekly, trend)
    found = _fit(weekly, inputs)
    f = _f_statistic(weekly, _fit(weekly, trend), found)
    if not f > least_f:  # also without convergence, where it is NaN
        return ()
    for _ in range(1, _N_FITS):
        season = tuple(found.weights[-_N_TERMS:].tolist())
        found = _fit(WeeklyEvents.of(histories, season), inputs)
        if not np.isfinite(found.weights).all():
            return ()
    return tuple(((1 - 1 / f) * found.weights[-_N_TERMS:]).tolist())


def _f_beside_a_step(weekly: WeeklyEvents) -> float:
    """Return F beside the trend and the step that fits best.

    A trend without a step cannot follow a large step, whose residuals would be taken
    for a season.
    """
    pieces = _trend_terms(weekly.exposure.shape[1])
    week = np.arange(len(pieces))
    ends = range(_STEP_WEEKS, len(week) - _STEP_WEEKS + 1, _STEP_WEEKS // 2)
    fits = ((_fit(weekly, np.column_stack([pieces, week >= end])), end) for end in ends)
    without, end = min(fits, key=lambda one: one[0].deviance)
    inputs = _with_season(weekly, np.column_stack([pieces, week >= end]))
    return _f_statistic(weekly, without, _fit(weekly, inputs))


def _with_season(weekly: WeeklyEvents, trend: np.ndarray) -> np.ndarray:
    """Return the inputs of a fit: a trend, and the Fourier terms of the weeks."""
    days = 7 * (weekly.first + np.arange(len(trend))) + 3.5  # at the middle of each
    return np.column_stack([trend, fourier_terms(days, _N_TERMS // 2)])


def _trend_terms(n_weeks: int) -> np.ndarray:
    """Return the inputs of a piecewise linear trend, with knots at equal distances."""
    n_pieces = max(n_weeks // _KNOT_WEEKS, 1)
    knots = np.arange(n_pieces) * n_weeks / n_pieces
    return np.maximum(np.arange(n_weeks)[:, None] - knots, 0) / _KNOT_WEEKS


def _f_statistic(
    weekly: WeeklyEvents, without: LogLinearFit, found: LogLinearFit
) -> float:
    """Return the F statistic of the season, for weeks that are correlated.

    With Pearson residuals ``r`` of the weeks, and their autocorrelation ``rho`` at a
    lag of one week, a sum over weeks varies as that of an autoregressive process::

        F   = (deviance without season - deviance) / n_terms / variance
        variance = phi * (1 + rho) / (1 - rho)
        phi = sum r^2 / (n_weeks - n_inputs - 1)
    """
    came = weekly.n_events.sum(axis=0)
    n_terms = len(found.weights) - len(without.weights)
    residuals = (came - found.expected) / np.sqrt(np.maximum(found.expected, 0.5))
    squares = np.square(residuals).sum()
    rho = max((residuals[1:] * residuals[:-1]).sum() / squares, 0.0)
    phi = squares / (len(came) - len(found.weights) - 1)
    variance = max(phi * (1 + rho) / (1 - rho), 1.0)  # not below that of Poisson counts
    return float((without.deviance - found.deviance) / n_terms / variance)


def _fit(weekly: WeeklyEvents, inputs: np.ndarray) -> LogLinearFit:
    """Fit coefficients of inputs of the weeks, shape (n_weeks, n_inputs), by Newton.

    The rates of the classes are in closed form given the coefficients, so that they
    have no coefficients of their own. The penalized log likelihood is concave: halving
    a step that does not raise it leads to the maximum.
    """
    exposure, n_events, _ = weekly
    came = n_events.sum(axis=0)
    # Half an event in as much exposure: classes without events have a rate.
    of_class = n_events.sum(axis=1) + 0.5
    precision = _PRIOR_SD**-2

    def objective(weights: np.ndarray) -> float:
        logs = inputs @ weights
        exposed = exposure @ np.exp(logs) + 0.5
        penalty = precision * np.square(weights).sum() / 2
        return float(came @ logs - of_class @ np.log(exposed) - penalty)

    weights = np.zeros(inputs.shape[1])
    value = objective(weights)
    for _ in range(_N_STEPS):
        exposed = exposure * np.exp(inputs @ weights)
        rates = of_class / (exposed.sum(axis=1) + 0.5)
        expected = rates @ exposed
        of_rates = rates[:, None] * (exposed @ inputs)
        hessian = (inputs * expected[:, None]).T @ inputs
        hessian += precision * np.eye(len(weights))
        hessian -= of_rates.T @ (of_rates / of_class[:, None])
        gradient = inputs.T @ (came - expected) - precision * weights
        step = np.linalg.solve(hessian, gradient)
        step /= max(np.abs(step).max(), 1.0)  # the first one may be far too long
        if np.abs(step).max() < 1e-6:
            break
        while not (after := objective(weights + step)) >= value:
            step = step / 2
            if np.abs(step).max() < 1e-6:
                break
        weights, value = weights + step, after
    else:
        weights, expected = weights * np.nan, expected * np.nan
    deviance = 2 * (xlogy(came, came / np.maximum(expected, 1e-9)) - came + expected)
    return LogLinearFit(weights, expected, float(deviance.sum()))
