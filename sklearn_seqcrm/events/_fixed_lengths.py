"""Lengths of the steps between cutoffs, or of periods: fixed, and in whole ticks."""

from __future__ import annotations

from typing import Any

import pandas as pd
from pandas.tseries.frequencies import to_offset

from sklearn_seqcrm._store import Clock


def calendar_name(length: Any, clock: Clock) -> str | None:
    """Return the name of a length that varies, such as that of a month; else None.

    The `length` is one that a user gives. Plain numbers have no calendar.
    """
    if clock.unit is None or not isinstance(length, str | pd.offsets.BaseOffset):
        return None
    try:
        offset = to_offset(length)
    except ValueError:
        return None
    # A day of pandas is a calendar day; in UTC it has 24 hours.
    fixed = pd.offsets.Tick | pd.offsets.Day | pd.offsets.Week
    return None if isinstance(offset, fixed) else offset.freqstr


def whole_ticks(
    clock: Clock, length: Any, what: str, between: str, *, positive: bool = False
) -> int | float:
    """Convert a length to ticks; refuse parts of a tick, except on an axis of floats.

    The `length` is one that a user gives. Ticks are an int on an axis of integers, as
    floats round ticks beyond 2**53. Errors call the length `what`; `between` is what
    would lie between ticks, with a verb. With `positive`, 0 is an error as well.
    """
    ticks = clock.duration(length, what, positive=positive)
    if clock.dtype == "int64" and ticks != int(ticks):
        raise ValueError(
            f"{what} is {ticks} ticks of the log's time unit, so that {between} "
            f"between ticks; choose a whole number of {clock.unit or 'ones'}."
        )
    return clock.tick_type(ticks)
