"""The yearly season of the rate of events, learned from training histories.

Customers come less often the longer they are known, and more often if they have come
often, so that counts by month are no season. Each week of each history is in a class
by the time since the last event and the number of events so far. With exposures ``E``
(customer-weeks) and numbers of events ``N`` of class ``c`` in week ``w``, which is at
``t`` years from the middle of the record::

    N[c, w] ~ Poisson(E[c, w] * rate[c] * exp(b_1 t + b_2 t^2 + season(w)))
    season(w) = sum_k a_k sin(2 pi k x) + b_k cos(2 pi k x)    x: part of the year

(a piecewise exponential model of hazards: Holford, "The Analysis of Rates and of
Survivorship Using Log-Linear Models", Biometrics 36(2), 1980). The trend is part of the
fit, as otherwise the season would follow it, but is not extrapolated.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import xlogy

from sklearn_seqcrm._ragged import ranges, segment_numbers
from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.event_model._operational_time import fourier_terms

_N_PAIRS = 2
_N_TREND = 2
# Classes by powers of 2: of weeks since the last event, and of events so far.
_N_AGES, _N_COUNTS = 7, 6
_WEEKS_OF_YEAR = 52.18
_N_STEPS = 50
# Fits of the season. The first one measures times since the last event in calendar time,
# the others in operational time of the fit before: those who come in the low season have
# waited long, so that a simulated season of .4 was found to be .28 by the first fit, .39
# by the second and .43 by the third.
_N_ROUNDS = 3
# Least length of the record and F statistic of a season that is used by default.
_FEWEST_WEEKS, _LEAST_F = 65, 3.0
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
        If a season is wanted, and times are plain numbers or the record is too short.
    """
    if yearly_seasonality is False:
        return ()
    is_wanted, per_day = yearly_seasonality is True, clock.ticks_per_day()
    if per_day is None:
        if is_wanted:
            raise ValueError(
                "yearly_seasonality=True needs datetimes, and the times of these events "
                "are plain numbers. Set yearly_seasonality='auto', or build the log from "
                "datetimes."
            )
        return ()
    day, some = int(per_day), np.arange(0, len(cutoff), 1 + len(cutoff) // _MOST_ROWS)
    index, own = ranges(offsets[some], offsets[some + 1])
    days, last_days = times[index] // day, (cutoff[some] - 1) // day
    n_weeks = WeeklyEvents.of(days, own, last_days).exposure.shape[1]
    if n_weeks >= _FEWEST_WEEKS:
        return _shrunken_season(days, own, last_days, 1.0 if is_wanted else _LEAST_F)
    if is_wanted:
        raise ValueError(
            f"yearly_seasonality=True needs a record of {_FEWEST_WEEKS} weeks, and the "
            f"training rows have one of {n_weeks}: with less, a season cannot be told "
            "from a trend. Set yearly_seasonality='auto', which uses none here."
        )
    return ()


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
    def of(
        cls,
        days: np.ndarray,
        offsets: np.ndarray,
        last_days: np.ndarray,
        season: tuple[float, ...] = (),
    ) -> WeeklyEvents:
        """Count the events of histories.

        Parameters
        ----------
        days : ndarray of shape (n_events,), int64
            Days since 1970 of the moments of histories, one after the other.
        offsets : ndarray of shape (n + 1,), int64
            History ``i`` has the moments ``offsets[i]:offsets[i + 1]``.
        last_days : ndarray of shape (n,), int64
            Last day of the record of each.
        season : tuple of float, default=()
            Coefficients of `fourier_terms`: times since the last event are measured in
            operational time of this season.
        """
        history = segment_numbers(offsets)
        so_far = np.arange(len(days)) - offsets[history]
        is_last = np.append(history[1:] != history[:-1], True)
        until = np.where(is_last, last_days[history], np.roll(days, -1))
        until = np.maximum(until, days)  # an event may be at the end of its record
        # A time between events has a line for each week that it is in.
        week, end = days // 7, until // 7
        n_lines = end - week + 1
        line = np.repeat(np.arange(len(days)), n_lines)
        since = np.arange(len(line)) - np.repeat(np.cumsum(n_lines) - n_lines, n_lines)
        at = week[line] + since
        # In days: from the day after an event up to the next one, or to the last day.
        begin = np.maximum(days[line] + 1, 7 * at)
        exposure = (np.minimum(until[line], 7 * at + 6) - begin + 1) / 7
        ended = (at == end[line]) & ~is_last[line]
        waited = _operational_weeks(days[line] / 7, at + 0.5, season).clip(0)
        age = np.log2(waited + 1).astype("int64").clip(max=_N_AGES - 1)
        count = np.log2(so_far[line] + 1).astype("int64").clip(max=_N_COUNTS - 1)
        # A wrong date would make the record longer than it is for nearly all.
        per_week = np.bincount(at - at.min(), exposure.clip(0))
        long = np.flatnonzero(per_week >= _LEAST_EXPOSURE * per_week.max()) + at.min()
        kept = (at >= long[0]) & (at <= long[-1])
        at, exposure, ended = at[kept], exposure[kept], ended[kept]
        age, count = age[kept], count[kept]
        first, n_weeks = int(long[0]), int(long[-1] - long[0]) + 1
        shape = (_N_AGES * _N_COUNTS, n_weeks)
        cell = (age * _N_COUNTS + count) * n_weeks + at - first
        sums = [
            np.bincount(cell, one, shape[0] * n_weeks).reshape(shape)
            for one in (exposure.clip(0), ended)
        ]
        return cls(sums[0], sums[1], first)


def _operational_weeks(
    start: np.ndarray, stop: np.ndarray, season: tuple[float, ...]
) -> np.ndarray:
    """Return operational weeks from start to stop, both in weeks since 1970."""
    if not season:
        return stop - start
    first = int(start.min())
    weeks = np.arange(first, int(stop.max()) + 1)
    rates = np.exp(_week_terms(weeks) @ np.array(season))
    ends = np.append(weeks, weeks[-1] + 1)
    until = np.concatenate([[0.0], np.cumsum(rates / rates.mean())])
    return np.interp(stop, ends, until) - np.interp(start, ends, until)


def _week_terms(weeks: np.ndarray) -> np.ndarray:
    """Return Fourier terms of numbers of weeks since 1970, shape (n, 2 * n_pairs)."""
    return fourier_terms(7 * weeks + 3.5, _N_PAIRS)  # at the middle of each


class LogLinearFit(NamedTuple):
    """Maximum likelihood fit of the weekly events.

    Parameters
    ----------
    weights : ndarray of shape (n_inputs,)
        Coefficients of the inputs.
    expected : ndarray of shape (n_weeks,)
        Expected events of all classes.
    deviance : float
        Twice the log likelihood ratio to a rate for each week.
    """

    weights: np.ndarray
    expected: np.ndarray
    deviance: float


def _shrunken_season(
    days: np.ndarray, offsets: np.ndarray, last_days: np.ndarray, least_f: float
) -> tuple[float, ...]:
    """Return the coefficients of the season, or nothing if F is not above `least_f`.

    F is the statistic of the first fit, whose classes depend on no season. With it, the
    coefficients are shrunk by the factor ``1 - 1 / F`` (positive-part James-Stein: the
    expected share of their squares that is not noise).
    """
    weekly = WeeklyEvents.of(days, offsets, last_days)
    n_weeks = weekly.exposure.shape[1]
    time = (np.arange(n_weeks) - (n_weeks - 1) / 2) / _WEEKS_OF_YEAR
    trend = time[:, None] ** np.arange(1, _N_TREND + 1)
    terms = _week_terms(weekly.first + np.arange(n_weeks))
    inputs = np.column_stack([trend, terms])
    found = _fit(weekly, inputs)
    f = _f_statistic(weekly.n_events.sum(axis=0), _fit(weekly, trend), found)
    if f <= least_f:
        return ()
    for _ in range(1, _N_ROUNDS):
        season = tuple(found.weights[_N_TREND:])
        found = _fit(WeeklyEvents.of(days, offsets, last_days, season), inputs)
    return tuple(((1 - 1 / f) * found.weights[_N_TREND:]).tolist())


def _f_statistic(came: np.ndarray, without: LogLinearFit, found: LogLinearFit) -> float:
    """Return the F statistic of the season, for weeks that are correlated.

    With Pearson residuals ``r`` of the weeks, and their autocorrelation ``rho`` at a
    lag of one week, a sum over weeks varies as if the variance were that of an
    autoregressive process::

        F = (deviance without season - deviance) / n_terms / (phi * (1 + rho) / (1 - rho))
        phi = sum r^2 / (n_weeks - n_inputs - 1)
    """
    n_terms = len(found.weights) - len(without.weights)
    residuals = (came - found.expected) / np.sqrt(np.maximum(found.expected, 0.5))
    squares = np.square(residuals).sum()
    rho = max((residuals[1:] * residuals[:-1]).sum() / squares, 0.0)
    variance = squares / (len(came) - len(found.weights) - 1)
    variance *= (1 + rho) / (1 - rho)
    return float((without.deviance - found.deviance) / n_terms / max(variance, 1.0))


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
        weights = weights + step
        if np.abs(step).max() < 1e-4:
            break
    deviance = 2 * (xlogy(came, came / np.maximum(expected, 1e-9)) - came + expected)
    return LogLinearFit(weights, expected, float(deviance.sum()))
