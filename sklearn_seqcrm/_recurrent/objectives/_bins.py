"""Bins of time until an event: their edges, and the share of events in each."""

from __future__ import annotations

import datetime
from fractions import Fraction
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._recurrent.objectives._survival_curve import (
    duration_as_number,
    durations_as_numbers,
)
from sklearn_seqcrm._sklearn_compat import Interval

# Constraint on the parameter `bins` of an estimator.
BINS: list[Any] = [
    Interval(Integral, 1, None, closed="left"),
    str,
    datetime.timedelta,
    np.timedelta64,
    pd.offsets.BaseOffset,
    "array-like",
]
# The number of bins of equal length grows with the longest time; a mistyped length may
# mean millions.
_MOST_BINS = 10_000
# Milliseconds of a day, and six decimal places.
_LARGEST_DENOMINATOR = 86_400_000


def bin_edges(
    bins: Any,
    kind: np.ndarray,
    time: np.ndarray,
    weight: np.ndarray | None,
    in_days: bool,
) -> np.ndarray:
    """Return the edges of the bins, the first of which is 0, (n_bins + 1,), float64.

    `bins` is the number of bins, their length, or their edges. `kind` (n,) is that of
    the event of each row, 0 for none, and `time` (n,) the time to it, or to censoring.
    `weight` (n,) are weights of the rows; None: equal ones.
    Only `in_days`, if times are days, are durations valid.

    Edges ascend. Bins are half-open, ``[edges[j], edges[j + 1])``: an event at an edge
    belongs to the later bin, and an event at the last edge is in no bin. Given or
    equidistant edges continue beyond the last event. Quantiles end at the longest time:
    a later bin has no natural length.
    """
    end = time.max() or 1.0
    # Lengths of time of NumPy are integers.
    if isinstance(bins, int | np.integer) and not isinstance(bins, np.timedelta64):
        return _quantile_edges(int(bins), kind, time, weight, end)
    if (time[kind > 0] == end).any():
        end = np.nextafter(end, np.inf)  # an edge at the event would exclude it
    if isinstance(bins, str) or not np.iterable(bins):
        return _equal_edges(duration_as_number(bins, "bins", in_days), end)
    edges = durations_as_numbers(list(bins), "bins", in_days)
    if len(edges) and edges[0] > 0:
        edges = np.append(0.0, edges)
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(
            "bins must be edges that ascend, one beyond 0 at least; got "
            f"{edges.tolist()}."
        )
    # No row was observed in later bins.
    return edges[: np.searchsorted(edges[1:], end) + 2]


def _quantile_edges(
    n_bins: int,
    kind: np.ndarray,
    time: np.ndarray,
    weight: np.ndarray | None,
    end: float,
) -> np.ndarray:
    """Return edges between which the Kaplan-Meier estimate falls by equal amounts."""
    moments, survival = kaplan_meier(kind > 0, time, weight)
    if moments[0] == end:  # all events come at the longest time
        return np.array([0.0, end, 2 * end])
    before = np.append(0.0, 1 - survival)  # fall before each moment, and in total
    # Less a rounding error, which would move an edge to the next moment.
    falls = before[-1] * np.arange(1, n_bins) / n_bins * (1 - 1e-12)
    at = np.searchsorted(before[:-1], falls)
    edges = np.unique(np.append(0.0, moments[at[at < len(moments)]]))
    # A long observation time after the last event has its own bin.
    last = time[time > moments[-1]].min(initial=end)
    if end - last > last - edges[-1]:
        edges = np.append(edges[edges < last], last)
    return np.append(edges[edges < end], end)


def _equal_edges(length: float, end: float) -> np.ndarray:
    """Return equidistant edges, the last of which no time exceeds."""
    if not length > 0:
        raise ValueError("bins must be longer than 0.")
    if end / length > _MOST_BINS:
        raise ValueError(
            f"bins of the length {length:g} would be more than {_MOST_BINS:,} until "
            f"{end:g}, the longest time in y; choose longer ones."
        )
    # An hour is 1/24 of a day, and in floats 5 * (1 / 24) > 5 / 24: an event at 5 hours
    # would be in the bin before. So edges are computed as fractions where possible.
    ratio = Fraction(length).limit_denominator(_LARGEST_DENOMINATOR)
    edges = np.arange(int(end / length) + 3) * length
    if float(ratio) == length:
        edges = np.arange(len(edges)) * ratio.numerator / ratio.denominator
    return edges[: np.searchsorted(edges, end) + 1]


def kaplan_meier(
    event: np.ndarray, time: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct times of events and the Kaplan-Meier survival after each.

    Both have the shape (n_moments,), times ascending. `event` (n,) is whether each
    `time` (n,) ended with an event; False means censored. At least one is True.
    `weight` (n,) or None weighs the rows.
    """
    moments, place = np.unique(time, return_inverse=True)
    weight = np.ones(len(time)) if weight is None else weight
    ended = np.bincount(place, weight)
    came = np.bincount(place, weight * event)
    at_risk = np.cumsum(ended[::-1])[::-1]
    survival = np.cumprod(1 - came / at_risk)
    return moments[came > 0], survival[came > 0]


def event_mass(
    edges: np.ndarray, event: np.ndarray, time: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """Return the share of events in each bin, by Kaplan-Meier, shape (n_bins,).

    A bin includes the events at its left edge, but not those at its right edge.
    """
    moments, survival = kaplan_meier(event, time, weight)
    before = np.searchsorted(moments, edges)
    fallen = np.append(0.0, 1 - survival)[before]
    return np.diff(fallen) / fallen[-1]


def time_step(time: np.ndarray) -> float:
    """Return the largest step of which all times (n,) are multiples, as of whole days.

    It is 0 if there is none of a ten-millionth of the longest time or more.
    """
    distinct = np.unique(time[time > 0])
    longest = distinct.max(initial=0.0)
    step, error = distinct.min(initial=longest), 1e-10 * longest
    # Euclid's algorithm: each remainder is half a step at most.
    while step > 1e-7 * longest:
        rest = np.abs(distinct - np.rint(distinct / step) * step)
        if rest.max() <= error:
            return float(longest / np.rint(longest / step))
        step = rest[rest > error].min()
    return 0.0
