"""Days between two moments: integers are subtracted first, and divided once.

Days since 1970 as floats are rounded to a ten-millionth of a second. In differences of
them, a delay that is always the same varies by that much, and a scale learned from it
is that of rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm._store._clock import TICKS_PER_SECOND, Clock


def days_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Days from one array of datetimes to another.

    Parameters
    ----------
    start, end : ndarray of shape (n,) or (1,), datetime64
        Moments; their units may differ.

    Returns
    -------
    ndarray of shape (n,), float64
        Negative where `end` is the earlier one, NaN where one of the two is missing.
        Equal lengths of time give equal numbers, whatever the moments and the units.

    Examples
    --------
    >>> import numpy as np
    >>> ordered = np.array(["2024-01-01T10:00", "2024-01-02T07:30"], "M8[ns]")
    >>> sent = np.array(["2024-01-02T16:00", "NaT"], "M8[s]")
    >>> days_between(ordered, sent)
    array([1.25,  nan])
    """
    units = [np.datetime_data(moments.dtype)[0] for moments in (start, end)]
    days = days_between_ticks(
        start.view("int64"), units[0], end.view("int64"), units[1]
    )
    return np.where(np.isnat(start) | np.isnat(end), np.nan, days)


def days_between_ticks(start: Any, start_unit: str, end: Any, end_unit: str) -> Any:
    """Days from one moment to another, both as ticks since 1970.

    Parameters
    ----------
    start, end : int or ndarray of int64
        Moments.
    start_unit, end_unit : {"s", "ms", "us", "ns"}
        The unit of each.

    Returns
    -------
    float or ndarray of float64
        As `days_between` returns them.
    """
    units = start_unit, end_unit
    day = max(86_400 * TICKS_PER_SECOND[unit] for unit in units)
    # Whole days apart from the rest: a far date of a coarse unit may have more ticks of
    # the finer one than int64 holds.
    (start_day, start_rest), (end_day, end_rest) = (
        _split(ticks, unit, day)
        for ticks, unit in zip((start, end), units, strict=True)
    )
    whole, rest = end_day - start_day, end_rest - start_rest
    # Both parts get the same sign, so that a length of time has one form alone.
    borrowed = 1 * ((whole > 0) & (rest < 0)) - 1 * ((whole < 0) & (rest > 0))
    return (whole - borrowed) + (rest + borrowed * day) / day


def moments_after(
    days: np.ndarray, times: np.ndarray, clock: Clock, step: int
) -> np.ndarray:
    """Datetimes some days after events: the inverse of `days_between`, rounded.

    Parameters
    ----------
    days : ndarray of shape (n,), float64
        Days, NaN for a missing datetime. Since 1970, if times are plain numbers.
    times : ndarray of shape (n,)
        Times of the events.
    clock : Clock
        What the times mean.
    step : int
        Seconds that the datetimes are rounded to.

    Returns
    -------
    ndarray of shape (n,), datetime64[s]
        The datetimes, in UTC where the events are.
    """
    found = np.full(len(days), np.datetime64("NaT"), dtype="M8[s]")
    there = np.isfinite(days)
    # Beyond 270,000 years microseconds would overflow.
    near = days[there].clip(-1e8, 1e8)
    microseconds = np.round(near * 86_400e6).astype("int64")
    if clock.unit is not None:
        microseconds += (
            times[there].view(f"M8[{clock.unit}]").astype("M8[us]").view("int64")
        )
    step_length = step * 10**6
    steps = (microseconds + step_length // 2) // step_length
    found[there] = (steps * step).view("M8[s]")
    return found


def _split(ticks: Any, unit: str, fine_day: int) -> tuple[Any, Any]:
    """Whole days since 1970, and the ticks left over, of which a day has `fine_day`."""
    day = 86_400 * TICKS_PER_SECOND[unit]
    whole = ticks // day
    return whole, (ticks - whole * day) * (fine_day // day)
