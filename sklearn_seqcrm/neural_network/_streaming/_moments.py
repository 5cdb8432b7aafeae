"""One moment in time as a number, in microseconds; `Clock.read` takes a tenth of one.

What is unusual in any way goes to `Clock.read`, which reads it or says what is wrong.
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Clock

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400


def tick_of(clock: Clock, value: Any, what: str, *, up: bool = True) -> Any:
    """A moment on the axis of a clock.

    Parameters
    ----------
    clock : Clock
        The clock.
    value : datetime, number or str
        The moment.
    what : str
        How an error names it.
    up : bool, default=True
        Whether a moment between two ticks is the later one.

    Returns
    -------
    int or float
        The tick.
    """
    ticks: tuple[Any, int] | None = None
    if clock.unit is not None:
        ticks = _split(clock, value)
    elif _is_plain(clock, value):
        ticks = value, 0
    if ticks is None:
        return clock.read(value, what, up=up)[0].item()
    return ticks[0] + (up and ticks[1] > 0)


def exact_tick_of(clock: Clock, value: Any, what: str) -> Any:
    """The tick of an event, which is not to be rounded; as `tick_of`.

    Text must be in ISO 8601. What else pandas reads as a time, such as "now" or
    "10:00", would be another moment on another day, when a service reads it again.
    """
    if np.ndim(value):
        raise TypeError(f"{what} must be one time; got {type(value).__name__}.")
    if isinstance(value, str) and not _is_iso(value):
        raise ValueError(f"{what} must be a time in ISO 8601; got {value!r}.")
    tick = tick_of(clock, value, what, up=False)
    if tick != tick_of(clock, value, what):
        raise ValueError(
            f"{what} is {value!r}, which is finer than the unit "
            f"{clock.unit or 'integer'} of the events that the encoder has learned "
            "from, so that it would be rounded; round it before."
        )
    return tick


def days_of(value: Any, *, aware: bool) -> float | None:
    """Days since 1970 of a datetime; None for what is none, or of another zone."""
    if not isinstance(value, datetime.datetime | np.datetime64):
        return None
    moment = pd.Timestamp(value)
    if moment is pd.NaT:
        return np.nan
    if (moment.tzinfo is not None) != aware:
        return None
    return moment.asm8.astype("M8[us]").astype("int64").item() / (_DAY * 1e6)


def _is_iso(text: str) -> bool:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_plain(clock: Clock, value: Any) -> bool:
    """Whether a value is one of the numbers of a clock already."""
    if clock.dtype == "int64":
        return type(value) is int and abs(value) < 2**62
    return type(value) is float and abs(value) < np.inf


def _split(clock: Clock, value: Any) -> tuple[int, int] | None:
    """Whole ticks, rounded down, and what is left."""
    if not isinstance(value, datetime.datetime | np.datetime64):
        return None
    moment = pd.Timestamp(value)
    if moment is pd.NaT or (moment.tzinfo is not None) != clock.aware:
        return None
    # Of an aware one it is the moment in UTC.
    number = moment.asm8.view("int64").item()
    parts, per_second = _PER_SECOND[moment.unit], _PER_SECOND[str(clock.unit)]
    return divmod(number * per_second, parts)
