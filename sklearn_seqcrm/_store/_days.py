"""Days between datetimes.

They are computed from whole days and the rest of a day, never as the difference of two
floats: days since 1970 are rounded to a ten-millionth of a second, so that a constant
delay would vary by that much, and a scale learned from it would be that of rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm._store._clock import TICKS_PER_SECOND, Clock


def days_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the days from one array of datetimes to another, (n,), float64.

    Arrays have the shape (n,) or (1,), and may have different units. Days are negative
    where `end` is the earlier one, and NaN where one of the two is missing. Equal
    lengths of time give equal numbers, whatever the dates and the units.

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
    """Return the days from one datetime to another, both as ticks since 1970.

    Ticks are integers or arrays of int64, each with a unit ("s", "ms", "us" or "ns");
    days are as `days_between` returns them.
    """
    units = start_unit, end_unit
    day = max(86_400 * TICKS_PER_SECOND[unit] for unit in units)
    # Whole days and the rest of a day apart: in the finer unit, a far date of the
    # coarser one may have more ticks than int64 holds.
    (start_day, start_rest), (end_day, end_rest) = (
        _split_days(ticks, unit, day)
        for ticks, unit in zip((start, end), units, strict=True)
    )
    whole, rest = end_day - start_day, end_rest - start_rest
    # Both parts get the same sign, so that equal lengths have equal parts and their sum
    # is rounded alike: 1 day - 6 h and 0 days + 18 h are both 0 + 18 h.
    borrowed = 1 * ((whole > 0) & (rest < 0)) - 1 * ((whole < 0) & (rest > 0))
    return (whole - borrowed) + (rest + borrowed * day) / day


def datetimes_after(
    days: np.ndarray, times: np.ndarray, clock: Clock, step: int
) -> np.ndarray:
    """Return the datetimes some days after events: the inverse of `days_between`.

    `days` (n,) are NaN for a missing datetime, and count from 1970 on if `times` (n,),
    those of the events, are plain numbers. Datetimes are rounded to a multiple of
    `step` seconds, and are in UTC where the events are; (n,), datetime64[s].
    """
    found = np.full(len(days), np.datetime64("NaT", "s"))
    there = np.isfinite(days)
    # Beyond 270,000 years, microseconds would overflow.
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


def _split_days(ticks: Any, unit: str, fine_day: int) -> tuple[Any, Any]:
    """Return whole days since 1970 and the rest, in ticks of ``1 / fine_day`` days."""
    day = 86_400 * TICKS_PER_SECOND[unit]
    whole = ticks // day
    return whole, (ticks - whole * day) * (fine_day // day)
