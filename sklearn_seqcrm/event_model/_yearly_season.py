"""The yearly season of the rate of events, learned from training histories.

Counts by month are no season: customers come less often the longer ago their last event
is, and more often if they have come often. So each week of each history is in a class
by the time since the last event and the number of events so far. With exposures ``E``
(customer-weeks) and numbers of events ``N`` of class ``c`` in week ``w``, which is at
``t`` years from the middle of the record and at the part ``x`` of the year::

    N[c, w] ~ Poisson(E[c, w] * rate[c] * exp(c_1 t + c_2 t^2 + season(x)))
    season(x) = sum_k a_k sin(2 pi k x) + b_k cos(2 pi k x)

(a piecewise exponential model of hazards: Holford, "The Analysis of Rates and of
Survivorship Using Log-Linear Models", Biometrics 36(2), 1980). Without the trend, the
season would follow it. The trend itself is not used: mostly it shows that the customers
in a young record are those who come often.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import xlogy

from sklearn_seqcrm._ragged import ranges, segment_numbers
from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.event_model._operational_time import fourier_terms

_N_PAIRS, _N_TREND = 2, 2
# Classes by powers of 2: of weeks since the last event, and of events so far.
_N_AGES, _N_COUNTS = 7, 6
_WEEKS_OF_YEAR = 52.18
# Newton steps of a fit, which are fewer than ten as a rule.
_N_STEPS = 50
# The first fit measures times since the last event in calendar time, further ones in
# operational time of the fit before: those who come in the low season have waited long.
# A simulated season of .40 was found to be .28, .37 and .41 by the first three fits.
_N_FITS = 3
# Least length of the record, number of events and F statistic of a season that is used
# by default. Of 144 simulated sets without a season, 9 had a larger one.
_FEWEST_WEEKS, _FEWEST_EVENTS, _LEAST_F = 65, 500, 3.0
# Histories that are enough to learn from.
_MOST_ROWS = 2**14
# Weeks at both ends with less than this share of the largest exposure are no part of
# the record, such as those after a wrong date.
_LEAST_EXPOSURE = 0.01


def yearly_season(
    times: np.ndarray,
    offsets: np.ndarray,
    cutoff: np.ndarray,
    clock: Clock,
    yearly_seasonality: Any,
) -> tuple[float, ...]:
    """Return the coefficients of `fourier_terms`; empty without a season.

    Parameters
    ----------
    times : ndarray of shape (n_events,)
        Ticks of the moments of training histories, one after the other.
    offsets : ndarray of shape (n + 1,), int64
        History ``i`` has the moments ``offsets[i]:offsets[i + 1]``.
    cutoff : ndarray of shape (n,)
        Ticks at which the record of each ends.
    clock : Clock
        Unit of the times.
    yearly_seasonality : bool or "auto"
        As in `LSTMEventModel`.

    Raises
    ------
    ValueError
        If `yearly_seasonality` is True, and times are plain numbers or the record is
        too short.
    """
    if yearly_seasonality is False:
        return ()
    per_day = clock.ticks_per_day()
    if per_day is None:
        if yearly_seasonality is True:
            raise ValueError(
                "yearly_seasonality=True needs datetimes, and the times of these "
                "events are plain numbers. Set yearly_seasonality='auto', or build "
                "the log from datetimes."
            )
        return ()
    day, some = int(per_day), np.arange(0, len(cutoff), 1 + len(cutoff) // _MOST_ROWS)
    index, own = ranges(offsets[some], offsets[some + 1])
    days = HistoryDays(times[index] // day, own, (cutoff[some] - 1) // day)
    weekly = WeeklyEvents.of(days)
    n_weeks, n_events = weekly.exposure.shape[1], int(weekly.n_events.sum())
    if n_weeks >= _FEWEST_WEEKS and n_events >= _FEWEST_EVENTS:
        least_f = 1.0 if yearly_seasonality is True else _LEAST_F
        return _shrunken_season(days, weekly, least_f)
    if yearly_seasonality is True:
        raise ValueError(
            f"yearly_seasonality=True needs a record of {_FEWEST_WEEKS} weeks with "
            f"{_FEWEST_EVENTS} events after the first ones of customers, and the "
            f"training rows have {n_events} in {n_weeks} weeks: with less, a season "
            "cannot be told from a trend or from chance. Set yearly_seasonality="
            "'auto', which uses none here."
        )
    return ()


# Counts ------------------------------------------------------------------------------


class HistoryDays(NamedTuple):
    """Days of histories, in days since 1970.

    Parameters
    ----------
    days : ndarray of shape (n_events,), int64
        Days of the moments of histories, one after the other.
    offsets : ndarray of shape (n + 1,), int64
        History ``i`` has the moments ``offsets[i]:offsets[i + 1]``.
    last_days : ndarray of shape (n,), int64
        Last day of the record of each.
    """

    days: np.ndarray
    offsets: np.ndarray
    last_days: np.ndarray


class WeeklyEvents(NamedTuple):
    """Events of histories by class and week.

    Parameters
    ----------
    exposure, n_events : ndarray of shape (n_classes, n_weeks)
        Customer-weeks, and events after the first one of each history.
    first : int
        Number of the first week since 1970.
    """

    exposure: np.ndarray
    n_events: np.ndarray
    first: int

    @classmethod
    def of(cls, histories: HistoryDays, season: tuple[float, ...] = ()) -> WeeklyEvents:
        """Count the events of histories.

        With the coefficients of a season, times since the last event are measured in
        its operational time.
        """
        days, offsets, last_days = histories
        history = segment_numbers(offsets)
        so_far = np.arange(len(days)) - offsets[history]
        is_last = np.append(history[1:] != history[:-1], True)
        until = np.where(is_last, last_days[history], np.roll(days, -1))
        until = np.maximum(until, days)  # an event may be at the end of its record
        # A time between events has a line for each week that it is in.
        n_lines = until // 7 - days // 7 + 1
        line = np.repeat(np.arange(len(days)), n_lines)
        within = np.arange(len(line)) - np.repeat(np.cumsum(n_lines) - n_lines, n_lines)
        week = days[line] // 7 + within
        # In days: from the day after an event up to the next one, or to the last day.
        begin, end = np.maximum(days[line] + 1, 7 * week), 7 * week + 6
        exposure = (np.minimum(until[line], end) - begin + 1).clip(0) / 7
        ended = (week == until[line] // 7) & ~is_last[line]
        waited = _operational_weeks(days[line] / 7, week + 0.5, season).clip(0)
        age, count = (
            np.log2(one + 1).astype("int64").clip(max=n_classes - 1)
            for one, n_classes in ((waited, _N_AGES), (so_far[line], _N_COUNTS))
        )
        first, n_weeks = _record(week, exposure)
        shape = (_N_AGES * _N_COUNTS, n_weeks)
        kept = (week >= first) & (week < first + n_weeks)
        cell = ((age * _N_COUNTS + count) * n_weeks + week - first)[kept]
        of_exposure, of_events = (
            np.bincount(cell, one[kept], shape[0] * n_weeks).reshape(shape)
            for one in (exposure, ended)
        )
        return cls(of_exposure, of_events, first)


def _record(week: np.ndarray, exposure: np.ndarray) -> tuple[int, int]:
    """Return the first week of the record, and the number of its weeks."""
    start = int(week.min())
    per_week = np.bincount(week - start, exposure)
    known = np.flatnonzero(per_week >= _LEAST_EXPOSURE * per_week.max())
    return start + int(known[0]), int(known[-1] - known[0]) + 1


def _operational_weeks(
    start: np.ndarray, stop: np.ndarray, season: tuple[float, ...]
) -> np.ndarray:
    """Return operational weeks from start to stop, both in weeks since 1970."""
    if not season:
        return stop - start
    first = int(start.min())
    weeks = np.arange(first, int(stop.max()) + 1)
    rates = np.exp(_week_terms(weeks) @ np.array(season))
    until = np.concatenate([[0.0], np.cumsum(rates / rates.mean())])
    ends = np.append(weeks, weeks[-1] + 1)
    return np.interp(stop, ends, until) - np.interp(start, ends, until)


def _week_terms(weeks: np.ndarray) -> np.ndarray:
    """Return Fourier terms of numbers of weeks since 1970, shape (n, 2 * n_pairs)."""
    return fourier_terms(7 * weeks + 3.5, _N_PAIRS)  # at the middle of each


# The fit -----------------------------------------------------------------------------


class LogLinearFit(NamedTuple):
    """Maximum likelihood fit of weekly events.

    Parameters
    ----------
    weights : ndarray of shape (n_inputs,)
        Coefficients of the inputs.
    expected : ndarray of shape (n_weeks,)
        Expected events of all classes.
    deviance : float
        Twice the log likelihood ratio of the totals of weeks to a rate for each.
    """

    weights: np.ndarray
    expected: np.ndarray
    deviance: float


def _shrunken_season(
    histories: HistoryDays, weekly: WeeklyEvents, least_f: float
) -> tuple[float, ...]:
    """Return the coefficients of the season, or nothing if F is not above `least_f`.

    F is the statistic of the first fit, whose classes depend on no season. With it, the
    coefficients are shrunk by the factor ``1 - 1 / F`` (positive-part James-Stein: the
    expected share of their squares that is not noise).
    """
    n_weeks = weekly.exposure.shape[1]
    time = (np.arange(n_weeks) - (n_weeks - 1) / 2) / _WEEKS_OF_YEAR
    trend = time[:, None] ** np.arange(1, _N_TREND + 1)
    terms = _week_terms(weekly.first + np.arange(n_weeks))
    inputs = np.column_stack([trend, terms])
    found = _fit(weekly, inputs)
    f = _f_statistic(weekly.n_events.sum(axis=0), _fit(weekly, trend), found)
    if f <= least_f:
        return ()
    for _ in range(1, _N_FITS):
        season = tuple(found.weights[_N_TREND:])
        found = _fit(WeeklyEvents.of(histories, season), inputs)
    return tuple(((1 - 1 / f) * found.weights[_N_TREND:]).tolist())


def _f_statistic(came: np.ndarray, without: LogLinearFit, found: LogLinearFit) -> float:
    """Return the F statistic of the season, for weeks that are correlated.

    With Pearson residuals ``r`` of the weeks, and their autocorrelation ``rho`` at a
    lag of one week, a sum over weeks varies as that of an autoregressive process::

        F   = (deviance without season - deviance) / n_terms / variance
        variance = phi * (1 + rho) / (1 - rho)
        phi = sum r^2 / (n_weeks - n_inputs - 1)
    """
    n_terms = len(found.weights) - len(without.weights)
    residuals = (came - found.expected) / np.sqrt(np.maximum(found.expected, 0.5))
    squares = np.square(residuals).sum()
    rho = max((residuals[1:] * residuals[:-1]).sum() / squares, 0.0)
    phi = squares / (len(came) - len(found.weights) - 1)
    variance = max(phi * (1 + rho) / (1 - rho), 1.0)  # not below that of Poisson counts
    return float((without.deviance - found.deviance) / n_terms / variance)


def _fit(weekly: WeeklyEvents, inputs: np.ndarray) -> LogLinearFit:
    """Fit coefficients of inputs of the weeks, shape (n_weeks, n_inputs).

    The rates of the classes are in closed form given the coefficients, which take a
    Newton step given the rates, in turn.
    """
    exposure, n_events, _ = weekly
    weights, came = np.zeros(inputs.shape[1]), n_events.sum(axis=0)
    for _ in range(_N_STEPS):
        factor = np.exp(inputs @ weights)
        # Half an event in as much exposure: classes without events have a rate.
        rates = (n_events.sum(axis=1) + 0.5) / (exposure @ factor + 0.5)
        expected = (rates @ exposure) * factor
        centred = inputs - expected @ inputs / expected.sum()
        hessian = (centred * expected[:, None]).T @ centred
        hessian += 1e-6 * expected.sum() * np.eye(len(weights))
        step = np.linalg.solve(hessian, centred.T @ (came - expected))
        weights = weights + step.clip(-1, 1)  # the first one may be far too long
        if np.abs(step).max() < 1e-4:
            break
    deviance = 2 * (xlogy(came, came / np.maximum(expected, 1e-9)) - came + expected)
    return LogLinearFit(weights, expected, float(deviance.sum()))
