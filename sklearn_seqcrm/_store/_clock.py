"""The time axis of a log: datetimes of one unit or plain numbers.

A log stores times as numbers, *ticks*, of one dtype:

===========================  =========  ==========================================
times of the user            dtype      ticks
===========================  =========  ==========================================
datetimes, naive or aware    int64      units (s, ms, us or ns) since 1970, in UTC
whole numbers                int64      the numbers
other numbers                float64    the numbers
===========================  =========  ==========================================

`Clock` converts cutoffs, lengths and other times of the user to this axis. A time
between two ticks is rounded to the side that keeps its comparison with every event::

    ticks       |           |
    time                ^
    up=True             --->|      event < time   stays as it is
    up=False    |<-------          event <= time  stays as it is
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from sklearn_seqcrm._store._time_values import (
    DATES_OF_NUMBERS,
    LENGTH_EXAMPLE,
    MAX_TICK,
    as_time_series,
    finite_floats,
    int64_of,
    is_number,
    parse_iso,
    parse_timedelta,
    refuse_beyond_integers,
    rounded_floats,
    whole_numbers,
)

_EARLIEST = int(np.iinfo("int64").min)
# From the coarsest unit to the finest.
TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Clock:
    """A time axis: converts between the times of users and the ticks of a log."""

    # "int64" or "float64": dtype of the ticks. Datetimes are always ``"int64"``.
    dtype: str
    # "s", "ms", "us" or "ns": resolution of stored datetimes; None for plain numbers.
    unit: str | None = None
    # Whether the datetimes have a time zone. They are stored as UTC.
    aware: bool = False

    def __str__(self) -> str:
        if self.unit is None:
            return "plain numbers"
        return "time-zone aware datetimes" if self.aware else "naive datetimes"

    @property
    def fineness(self) -> tuple[bool, int]:
        """Sort key: the largest of several clocks of one type is the finest one."""
        # Floats can hold whole numbers, not the other way round.
        return self.dtype == "float64", TICKS_PER_SECOND.get(str(self.unit), 0)

    @property
    def tick_type(self) -> type[int] | type[float]:
        """Type of ticks in Python, whose integers do not overflow as those of NumPy."""
        return int if self.dtype == "int64" else float

    @classmethod
    def of(cls, values: Any, what: str) -> tuple[Clock, np.ndarray]:
        """Read the times of a new log, and find the clock that fits them.

        `values` (n,) are datetimes or plain numbers without missing ones, which errors
        name `what`. Their ticks (n,) have the dtype of the clock.
        """
        values = as_time_series(values, what)
        if values.dtype.kind == "M":
            aware = isinstance(values.dtype, pd.DatetimeTZDtype)
            return cls("int64", values.dt.unit, aware), int64_of(values)
        if values.dtype.kind in "iu":
            return cls("int64"), whole_numbers(values, what)
        return cls("float64"), finite_floats(values, what)

    def read(
        self,
        values: Any,
        what: str,
        *,
        up: bool = True,
        back: Any = None,
        whose: str = "the log",
    ) -> np.ndarray:
        """Convert points in time, which errors name `what`, to ticks.

        `values` are a Series or array (n,), or a scalar, which may be text in ISO 8601;
        ticks have the shape (n,), or (1,).

        A time between two ticks is rounded up, which keeps every comparison ``event <
        time`` as it is; ``up=False`` rounds down, which keeps ``event <= time``. The
        lookback `back` is subtracted from each time before it is rounded. `whose` is
        how an error names the log with this axis.
        """
        if np.ndim(values) == 0:
            values = [self.parse(values, what)]
        values = as_time_series(values, what)
        length = 0 if back is None else self._length(back, "lookback")
        if not len(values):
            return np.zeros(0, dtype=self.dtype)
        self._check_same_type(values, what, whose)
        if self.dtype == "float64":
            return rounded_floats(values, what, up) - float(length)
        ticks, rest, parts = self._split(values, what)
        whole = math.floor(length)
        ticks = saturating_subtract(ticks, min(whole, MAX_TICK))
        # `rest` and `fraction` count the same parts of a tick.
        fraction = float((length - whole) * parts)
        if up:
            ticks += rest > fraction
        else:
            ticks -= rest < fraction
        return ticks

    def duration(self, value: Any, what: str, *, positive: bool = False) -> int | float:
        """Convert a length of time, which errors name `what`, to ticks.

        The `value` is what ``pd.Timedelta`` takes on an axis of datetimes, and
        otherwise a number. With `positive`, 0 is an error as well.

        Ticks are not negative; on an axis of integers at most `MAX_TICK`, and a float
        where the length is not a whole number of ticks.
        """
        length = self._length(value, what)
        if positive and not length:
            raise ValueError(f"{what} must be longer than 0; got {value!r}.")
        if self.dtype == "float64" or length.denominator != 1:
            return float(length)
        return min(int(length), MAX_TICK)

    def whole_duration(
        self, value: Any, what: str, between: str, *, positive: bool = False
    ) -> int | float:
        """Convert a length to whole ticks; on an axis of floats, to any number.

        Ticks are an int on an axis of integers, as floats round ticks beyond 2**53.
        Other arguments than `between`, which is what would lie between ticks, with a
        verb, are as in `duration`.
        """
        ticks = self.duration(value, what, positive=positive)
        if self.dtype == "int64" and ticks != int(ticks):
            raise ValueError(
                f"{what} is {ticks} ticks of the log's time unit, so that {between} "
                f"between ticks; choose a whole number of {self.unit or 'ones'}."
            )
        return self.tick_type(ticks)

    def calendar_name(self, length: Any) -> str | None:
        """Return the name of a length that varies, such as that of a month; else None.

        The `length` is one that a user gives. Plain numbers have no calendar.
        """
        if self.unit is None or not isinstance(length, str | pd.offsets.BaseOffset):
            return None
        try:
            offset = to_offset(length)
        except ValueError:
            return None
        # A day of pandas is a calendar day; in UTC it has 24 hours.
        fixed = pd.offsets.Tick | pd.offsets.Day | pd.offsets.Week
        return None if isinstance(offset, fixed) else offset.freqstr

    def rounded_up(self, **lengths: Any) -> int | float:
        """Convert the sum of some lengths, by their names in errors, to ticks.

        Rounded up on an axis of integers: a tick lies before ``t + length`` if and only
        if it lies before the next tick after that.
        """
        total = sum(self._length(value, what) for what, value in lengths.items())
        if self.dtype == "float64":
            return float(total)
        return min(math.ceil(total), MAX_TICK)

    def multiples(self, length: Any, what: str, n: int) -> np.ndarray:
        """Return 0, 1, ..., n - 1 times a length in ticks, rounded up, shape (n,).

        Errors name the length `what`. The largest multiple must fit the axis.
        """
        one = self._length(length, what)
        if self.dtype == "float64":
            return np.arange(n) * float(one)
        if one.denominator == 1:
            return np.arange(n) * min(int(one), MAX_TICK)
        ticks = [-(-k * one.numerator // one.denominator) for k in range(n)]
        return np.array(ticks, dtype="int64")

    def as_index(self, times: np.ndarray) -> pd.Index:
        """Convert ticks to the datetimes or numbers that users see."""
        if self.unit is None:
            return pd.Index(times)
        index = pd.DatetimeIndex(times.view(f"M8[{self.unit}]"))
        return index.tz_localize("UTC") if self.aware else index

    def as_scalar(self, time: Any) -> Any:
        """Convert one tick to a Timestamp, int or float."""
        value = self.as_index(np.array([time], dtype=self.dtype))[0]
        return value.item() if isinstance(value, np.generic) else value

    def ticks_per_day(self) -> float | None:
        """Return the ticks of a day; None for plain numbers."""
        return None if self.unit is None else 86400.0 * TICKS_PER_SECOND[self.unit]

    @property
    def whole_step(self) -> int:
        """Ticks of a day; 1 for plain numbers."""
        return int(self.ticks_per_day() or 1)

    def in_microseconds(self, length: Any) -> Any:
        """Return lengths of ticks in microseconds; plain numbers as they are.

        Whole microseconds are the same numbers for each unit.
        """
        if self.unit is None:
            return length
        per_second, wanted = TICKS_PER_SECOND[self.unit], TICKS_PER_SECOND["us"]
        if per_second > wanted:
            return length / (per_second // wanted)
        return length * (wanted // per_second)

    def ticks_of(self, other: Clock) -> float:
        """Return the number of ticks of this axis in one tick of another."""
        if self.unit is None or other.unit is None:
            return 1.0
        return TICKS_PER_SECOND[self.unit] / TICKS_PER_SECOND[other.unit]

    def parse(self, value: Any, what: str) -> Any:
        """Return a point in time; parse it if it is text and the axis has datetimes.

        Errors name it `what`.
        """
        if self.unit is not None and isinstance(value, str):
            text, value = value, parse_iso(value, what)
            if (value.tz is not None) != self.aware:
                raise ValueError(f"{what}: got {text!r}, {self._zone_of_text(value)}.")
        if pd.isna(value):
            raise ValueError(f"{what} must be a time; got {value!r}.")
        return value

    def _zone_of_text(self, time: pd.Timestamp) -> str:
        """Explain a time zone that is missing or not wanted, and the way out."""
        if not self.aware:
            naive = str(time.tz_localize(None))
            return (
                f"which has a time zone, but the times of the log are {self}; write "
                f"{naive!r}, if that is the moment on the clock of the log"
            )
        # A date with the time 00:00: pandas does not parse "2024-05-01+00:00".
        in_utc = str(time.tz_localize("UTC"))
        return (
            f"which has no time zone, but the times of the log are {self}; write "
            f"{in_utc!r} for UTC, or the offset of the zone that is meant"
        )

    def _split(self, values: pd.Series, what: str) -> tuple[np.ndarray, Any, int]:
        """Return ticks, rounded down, the rest, and the units of the rest in a tick."""
        if self.unit is None and values.dtype.kind == "f":
            numbers = finite_floats(values, what)
            # 2**63 - 1 is not a float: the bound is exclusive.
            beyond = (numbers < -(2.0**63)) | (numbers >= 2.0**63)
            refuse_beyond_integers(numbers, beyond, what)
            whole = np.floor(numbers)
            return whole.astype("int64"), numbers - whole, 1
        if self.unit is None:
            return whole_numbers(values, what), 0, 1
        moments = int64_of(values)
        parts = TICKS_PER_SECOND[values.dt.unit] // TICKS_PER_SECOND[self.unit]
        if parts > 1:
            return *np.divmod(moments, parts), parts
        if parts == 1:
            return moments, 0, 1
        return self._refine(values, what), 0, 1

    def _refine(self, values: pd.Series, what: str) -> np.ndarray:
        """Convert datetimes of a coarser unit to ticks."""
        try:
            return int64_of(values.dt.as_unit(self.unit))
        except pd.errors.OutOfBoundsDatetime as error:
            raise ValueError(
                f"{what} lie outside the years that times of the log's unit "
                f"{self.unit} can hold ({error}); bring them closer, or build the log "
                "from times of a coarser unit."
            ) from error

    def _length(self, value: Any, what: str) -> Fraction:
        """Return a length of time in ticks, exactly."""
        wanted = f"must be finite and not negative; got {value!r}."
        if self.unit is None:
            if isinstance(value, bool) or not is_number(value):
                raise TypeError(
                    f"{what} must be a number, because the times of the log are plain "
                    f"numbers; got {value!r}. If they are dates, such as 20240131, "
                    f"build the log from {DATES_OF_NUMBERS}."
                )
            # Integers beyond 2**53 stay exact.
            whole = isinstance(value, int | np.integer)
            number = int(value) if whole else float(value)
            if not 0 <= number < math.inf:
                raise ValueError(f"{what} {wanted}")
            return Fraction(number)
        # pandas would read a number as nanoseconds; 0 needs no unit.
        if is_number(value) and value != 0:
            raise TypeError(
                f"{what} must be a length of time, {LENGTH_EXAMPLE}, because the times "
                f"of the log are datetimes; got the bare number {value!r}."
            )
        # A Timedelta has a unit of its own: ticks may be a fraction of this axis's.
        delta = parse_timedelta(value, what)
        ticks = int(delta.asm8.view("int64")) * TICKS_PER_SECOND[self.unit]
        if ticks < 0:
            raise ValueError(f"{what} {wanted}")
        return Fraction(ticks, TICKS_PER_SECOND[np.datetime_data(delta.asm8.dtype)[0]])

    def _check_same_type(self, values: pd.Series, what: str, whose: str) -> None:
        """Raise a ValueError for numbers on an axis of datetimes, and so on."""
        aware = isinstance(values.dtype, pd.DatetimeTZDtype)
        dated = values.dtype.kind == "M"
        given = Clock("int64", "ns" if dated else None, aware)
        if str(given) == str(self):
            return
        fix = "build both from times of the same type"
        if dated and self.unit is None:
            fix += f", for dates such as 20240131 by {DATES_OF_NUMBERS}"
        elif dated:
            fix = (
                "tz_convert(None) makes naive datetimes of aware ones"
                if aware
                else "tz_localize('UTC'), or the zone that they were recorded in, "
                "makes aware datetimes of naive ones"
            )
        raise ValueError(
            f"{what} are {given}, but the times of {whose} are {self}; {fix}."
        )


def saturating_add(times: np.ndarray, length: float | np.ndarray) -> np.ndarray:
    """Return ``times + length``, at most the end of the axis.

    An overflow of int64 would come out in the past. On an axis of integers, `length` is
    an integer as well, and never negative; see `Clock.rounded_up`.
    """
    if times.dtype != "int64":
        return times + length
    return np.minimum(times, MAX_TICK - length) + length


def saturating_subtract(times: Any, length: float) -> Any:
    """Return ``times - length``, at least the beginning of the axis.

    On an axis of integers, `length` is rounded down to whole ticks.
    """
    if np.asarray(times).dtype == "float64":
        return times - length
    return np.maximum(times, _EARLIEST + int(length)) - int(length)


def format_time(time: Any) -> str:
    """Return the day of a datetime, or a number, as text for one line."""
    if isinstance(time, pd.Timestamp):
        # strftime knows the years 1 to 9999 only.
        return f"{time.year:04d}-{time.month:02d}-{time.day:02d}"
    return f"{time:g}" if isinstance(time, float) else str(time)
