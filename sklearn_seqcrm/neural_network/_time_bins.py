"""Bins of time within which a hazard is constant."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._durations import DAY
from sklearn_seqcrm._store import one_or_many

_EXAMPLE = "for example pd.Timedelta(days=14) or '14D'"
# Bins of one length are as many as the times are long; a typing error may be millions.
_MOST_BINS = 10_000
# Milliseconds of a day, and six decimal places.
_LARGEST_DENOMINATOR = 86_400_000


def edges_of(
    bins: Any,
    kind: np.ndarray,
    time: np.ndarray,
    weight: np.ndarray | None,
    in_days: bool,
) -> np.ndarray:
    """Edges of the bins, the first of which is 0.

    Parameters
    ----------
    bins : int, str, Timedelta or sequence
        How many, of what length, or the edges.
    kind : ndarray of shape (n,), int64
        Kind of the event of each row, 0 for none.
    time : ndarray of shape (n,), float64
        Time to it, or to the end of the watch.
    weight : ndarray of shape (n,) or None
        Weight of each row.
    in_days : bool
        Whether times are days, so that durations have a meaning.

    Returns
    -------
    ndarray of shape (n_bins + 1,), float64
        Ascending. Bins are half-open, ``[edges[j], edges[j + 1])``, so that an event at
        the last edge is in none of them. Edges that are given, or at equal distances,
        go on beyond the last event. Those of quantiles end at the longest time, as
        there is no natural length for a bin beyond it.
    """
    end = time.max() or 1.0
    if isinstance(bins, int | np.integer):
        return _edges_of_quantiles(int(bins), kind, time, weight, end)
    if (time[kind > 0] == end).any():
        end = np.nextafter(end, np.inf)  # an edge there would leave that event out
    if isinstance(bins, str) or not np.iterable(bins):
        return _edges_of_length(as_number(bins, "bins", in_days), end)
    edges = as_numbers(list(bins), "bins", in_days)
    if len(edges) and edges[0] > 0:
        edges = np.append(0.0, edges)
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(
            "bins must be edges that ascend, one beyond 0 at least; got "
            f"{edges.tolist()}."
        )
    # No row was observed in later bins.
    return edges[: np.searchsorted(edges[1:], end) + 2]


def _edges_of_quantiles(
    n_bins: int,
    kind: np.ndarray,
    time: np.ndarray,
    weight: np.ndarray | None,
    end: float,
) -> np.ndarray:
    """Edges between which the Kaplan-Meier estimate falls by equal amounts."""
    moments, survival = kaplan_meier(kind > 0, time, weight)
    if moments[0] == end:  # all events come at the longest time
        return np.array([0.0, end, 2 * end])
    before = np.append(0.0, 1 - survival)  # the fall before each moment, and after all
    # An edge is not put off to the next moment by what rounding leaves.
    levels = before[-1] * np.arange(1, n_bins) / n_bins * (1 - 1e-12)
    at = np.searchsorted(before[:-1], levels)
    edges = np.unique(np.append(0.0, moments[at[at < len(moments)]]))
    # Where a long watch follows the last event, it is a bin of its own.
    last = time[time > moments[-1]].min(initial=end)
    if end - last > last - edges[-1]:
        edges = np.append(edges[edges < last], last)
    return np.append(edges[edges < end], end)


def _edges_of_length(length: float, end: float) -> np.ndarray:
    """Edges at equal distances, the last of which no time exceeds."""
    if not length > 0:
        raise ValueError("bins must be longer than 0.")
    if end / length > _MOST_BINS:
        raise ValueError(
            f"bins of the length {length:g} would be more than {_MOST_BINS:,} until "
            f"{end:g}, where the longest watch ended; choose longer ones."
        )
    # An hour is 1/24 of a day: 5 * (1 / 24) is above 5 / 24, and an event at 5 hours
    # would be in the bin before.
    ratio = Fraction(length).limit_denominator(_LARGEST_DENOMINATOR)
    edges = np.arange(int(end / length) + 3) * length
    if float(ratio) == length:
        edges = np.arange(len(edges)) * ratio.numerator / ratio.denominator
    return edges[: np.searchsorted(edges, end) + 1]


def kaplan_meier(
    event: np.ndarray, time: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Share of rows without an event, after each time at which there was one.

    Parameters
    ----------
    event : ndarray of shape (n,), bool
        Whether time ended with an event, in one row at least.
    time : ndarray of shape (n,), float64
        Time to the event, or to the end of the watch.
    weight : ndarray of shape (n,) or None
        Weight of each row.

    Returns
    -------
    moments, survival : ndarray of shape (n_moments,)
        Different times of events, ascending, and the shares.
    """
    moments, place = np.unique(time, return_inverse=True)
    weight = np.ones(len(time)) if weight is None else weight
    ended = np.bincount(place, weight)
    came = np.bincount(place, weight * event)
    at_risk = np.cumsum(ended[::-1])[::-1]
    survival = np.cumprod(1 - came / at_risk)
    return moments[came > 0], survival[came > 0]


def mass_of(
    edges: np.ndarray, event: np.ndarray, time: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """Share of events that come in each bin, of those in any, shape (n_bins,).

    A bin includes the events at its left edge, but not those at its right edge.
    """
    moments, survival = kaplan_meier(event, time, weight)
    before = np.searchsorted(moments, edges)
    fallen = np.append(0.0, 1 - survival)[before]
    return np.diff(fallen) / fallen[-1]


def as_numbers(values: Any, what: str, in_days: bool) -> np.ndarray:
    """Lengths of time in the unit of the targets, shape (n,).

    Parameters
    ----------
    values : number, duration, or array-like of n of these
        One length of time or several; durations as ``pd.Timedelta`` takes them.
    what : str
        How an error names them.
    in_days : bool
        Whether that unit is a day.
    """
    if isinstance(values, pd.Series | pd.Index | np.ndarray) and values.ndim:
        if values.dtype.kind == "m" and in_days:
            values = np.asarray(values) / DAY
        if values.dtype.kind in "iuf":
            return _finite(np.asarray(values, dtype="float64"), what)
        if values.dtype.kind == "U":
            values = values.tolist()  # an error shows text as text
    numbers = [as_number(value, what, in_days) for value in one_or_many(values, what)]
    return np.array(numbers, dtype="float64")


def as_number(value: Any, what: str, in_days: bool) -> float:
    """One length of time in the unit of the targets."""
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    if isinstance(value, int | float | np.number) and not isinstance(
        value, bool | np.timedelta64
    ):
        return float(_finite(np.array([value], dtype="float64"), what)[0])
    try:
        if isinstance(value, bool | np.bool_) or _is_decimal(value):
            raise ValueError("a length of time has a unit")
        length = pd.Timedelta(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{what} must be a number or a length of time, {_EXAMPLE}; got {value!r}."
        ) from error
    if not in_days:
        raise TypeError(
            f"{what} must be a number, because the times of y were plain numbers; got "
            f"{value!r}. time_to_next gives durations, if the log has datetimes."
        )
    return float(_finite(np.array([length / DAY]), what)[0])


def _is_decimal(value: Any) -> bool:
    """Whether text is a bare number, which pandas would take for nanoseconds."""
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True


def _finite(numbers: np.ndarray, what: str) -> np.ndarray:
    wrong = ~(np.isfinite(numbers) & (numbers >= 0))
    if wrong.any():
        raise ValueError(
            f"{what} must be finite and not negative; got {numbers[wrong][0]}."
        )
    return numbers
