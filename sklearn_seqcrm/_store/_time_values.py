"""Read times and lengths of time of the user: datetimes, objects, numbers, text."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store._ids import EXACT, exact_ids

MAX_TICK = int(np.iinfo("int64").max)
_DATETIMES = (datetime.date, np.datetime64)
LENGTH_EXAMPLE = "for example pd.Timedelta(days=14) or '14D'"
# pandas reads "6MS", six starts of a month, as milliseconds, and "P1M" as a minute.
_CALENDAR_LENGTH = re.compile(r"\s*P?\d*\s*(M[SE]?|(?i:[qya]\w*|mo\w*))\s*")
# pandas reads "3m" as three minutes, where months may be meant; "30m" is a length of
# sessions.
_MINUTES = re.compile(r"\s*(\d+)\s*m\s*")
_NUMBERS_OF_MONTHS = {*range(1, 13), 18, 24, 36}
# How users convert dates such as 20240131. As text, floats would be "20240131.0", and
# pandas 3 deprecates a format for numbers.
DATES_OF_NUMBERS = "pd.to_datetime(times.astype('int64').astype(str))"


def parse_iso(text: str, what: str) -> pd.Timestamp:
    """Parse a time that is text in ISO 8601, such as "2024-12-31 18:30".

    pandas reads other notations as well: "05.12.2024" with the month first, and "now"
    or "10:00" differently on each day. Both would be wrong without a warning, and are a
    ValueError, which names the time `what`.
    """
    try:
        # Both check the text: datetime accepts "2024-W01-1", which pandas refuses, and
        # cuts off nanoseconds, which pandas keeps.
        datetime.datetime.fromisoformat(text)
        return pd.Timestamp(text)
    except ValueError as error:
        raise ValueError(
            f"{what} must be in ISO 8601 where times are text, with year, month and "
            f"day, such as '2024-12-31' or '2024-12-31 18:30'; got {text!r}. Write it "
            "so, or pass pd.to_datetime(..., dayfirst=True) if the day comes first."
        ) from error


def parse_timedelta(
    value: Any, what: str, wanted: str = "a length of time"
) -> pd.Timedelta:
    """Read a length of time in any form that ``pd.Timedelta`` takes, but with a unit.

    It may be negative. An error names it `what`, and asks for what is `wanted`: a
    ValueError if it is no length of time, or text without a unit, or months or years. A
    warning says that the unit "m" is minutes, if the number is one that months have.
    """
    if isinstance(value, str) and _is_decimal(value):
        raise ValueError(f"{what} must have a unit, {LENGTH_EXAMPLE}; got {value!r}.")
    wanted = f"{what} must be {wanted}, {LENGTH_EXAMPLE}; got {value!r}."
    other = ", or list the cutoffs" if what == "step" else ""
    write_days = f"write days, such as '30D'{other}."
    if isinstance(value, str) and _CALENDAR_LENGTH.fullmatch(value):
        raise ValueError(f"{wanted} Months and years differ in length: {write_days}")
    minutes = _MINUTES.fullmatch(value) if isinstance(value, str) else None
    if minutes and int(minutes[1]) in _NUMBERS_OF_MONTHS:
        number = minutes[1]
        warn_user(
            f"{what}={value!r} is {number} minutes, as pandas reads it. Write "
            f"'{number}min' for minutes, and days for months, such as '90D'."
        )
    try:
        delta = pd.Timedelta(value)
    # The second one with pandas 2.
    except (pd.errors.OutOfBoundsTimedelta, pd.errors.OutOfBoundsDatetime) as error:
        raise ValueError(
            f"{what} is {value!r}, and pandas reads at most 292 years; write longer "
            "times as np.timedelta64(300_000, 'D')."
        ) from error
    except (ValueError, TypeError) as error:
        if isinstance(value, pd.offsets.BaseOffset):
            wanted = f"{wanted} Instead of a calendar offset, {write_days}"
        raise ValueError(wanted) from error
    if delta is pd.NaT:
        raise ValueError(wanted)
    return delta


def are_datetimes(values: pd.Series) -> bool:
    """Return whether all objects that are not missing are datetimes or dates."""
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    if inferred == "mixed":  # such as NumPy's datetimes beside those of Python
        return all(isinstance(one, _DATETIMES) for one in values.dropna())
    return inferred in ("date", "datetime", "datetime64")


def datetimes_of_objects(values: pd.Series, what: str) -> pd.Series:
    """Convert datetimes and dates that are objects; aware ones are in UTC.

    A driver returns an aware datetime with the offset of its time, which daylight
    saving changes, so that a column of one zone has several offsets.

    Values may be missing, and keep their index. Raises a ValueError, which names them
    `what` (a plural), if some have a time zone and others have none.
    """
    zones = {getattr(one, "tzinfo", None) is None for one in values.dropna()}
    if len(zones) > 1:
        raise ValueError(
            f"{what} mix naive and time-zone aware datetimes; "
            "pd.to_datetime(..., utc=True) makes all of them aware."
        )
    aware = zones == {False}
    try:
        return pd.to_datetime(values, utc=aware)
    except (pd.errors.OutOfBoundsDatetime, OverflowError):
        # pandas before version 3 converts objects to nanoseconds, which end in 2262. A
        # single Timestamp has its own unit.
        stamps = [pd.Timestamp(one).as_unit("us").asm8 for one in values]
        found = pd.Series(np.array(stamps, dtype="M8[us]"), values.index)
        return found.dt.tz_localize("UTC") if aware else found


def as_time_series(values: Any, what: str) -> pd.Series:
    """Return times as a Series of datetimes or numbers; refuse anything else."""
    series = values if isinstance(values, pd.Series) else pd.Series(values)
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    if isinstance(series.dtype, pd.ArrowDtype):
        series = pd.Series(series.array.to_numpy())
    if series.dtype == object and len(series):
        if are_datetimes(series):
            series = datetimes_of_objects(series, what)
        elif pd.api.types.infer_dtype(series) == "decimal":
            series = _numbers_of_decimals(series, what)
        else:
            series = series.infer_objects()
    if len(series) and series.dtype.kind not in "Miuf":
        way = (
            "pd.to_datetime reads dates written as text, with dayfirst=True those like "
            "'05.12.2024', and .dt.to_timestamp() makes datetimes of periods"
        )
        if series.dtype.kind == "m":
            way = "times / pd.Timedelta(days=1) makes numbers of durations"
        raise TypeError(
            f"{what} must be datetimes or numbers; got the type {series.dtype}. {way}."
        )
    return series


def _numbers_of_decimals(values: pd.Series, what: str) -> pd.Series:
    """Return Decimals, as database drivers return them, as integers if all are."""
    floats = values.astype("float64")
    if np.isinf(floats).any():
        return floats  # which are refused as times, and not as ids
    exact = exact_ids(pd.Index(values), what)
    return floats if exact.dtype == object else pd.Series(exact)


def int64_of(values: pd.Series) -> np.ndarray:
    """Return datetimes as numbers of their unit since 1970, aware ones in UTC."""
    return np.asarray(values.array.asi8)


def whole_numbers(values: pd.Series, what: str) -> np.ndarray:
    """Return integers as int64; refuse those of uint64 that would become negative."""
    if values.dtype.kind == "u":
        numbers = values.to_numpy()
        refuse_beyond_integers(numbers, numbers > MAX_TICK, what)
    return values.to_numpy(dtype="int64")


def rounded_floats(values: pd.Series, what: str, up: bool) -> np.ndarray:
    """Return numbers as floats; round an integer between two floats up or down."""
    numbers = finite_floats(values, what)
    # The cast rounds to the nearest float. Where that is the wrong side, take the next.
    if values.dtype.kind in "iu" and len(numbers) and np.abs(numbers).max() >= EXACT:
        exact = [int(number) for number in values]
        rounded = [int(number) for number in numbers]
        wrong = [a < b if up else a > b for a, b in zip(rounded, exact, strict=True)]
        toward = np.inf if up else -np.inf
        numbers[wrong] = np.nextafter(numbers[wrong], toward)
    return numbers


def _is_decimal(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_number(value: Any) -> bool:
    """Return whether a value is a number; ``np.timedelta64`` is an ``np.integer``."""
    return isinstance(value, int | float | np.number) and not isinstance(
        value, np.timedelta64
    )


def finite_floats(values: pd.Series, what: str) -> np.ndarray:
    """Return numbers as floats; raise a ValueError if one is NaN or infinite."""
    times = values.to_numpy(dtype="float64", na_value=np.nan)
    n_bad = int((~np.isfinite(times)).sum())
    if n_bad and len(times) == 1:  # such as one cutoff for all rows
        raise ValueError(f"{what} must be finite; got {times[0]}.")
    if n_bad:
        how = "infinite" if np.isinf(times).any() else "undefined (NaN)"
        raise ValueError(f"{what} hold {n_bad} {how} values; drop those rows.")
    return times


def refuse_beyond_integers(numbers: np.ndarray, bad: np.ndarray, what: str) -> None:
    if bad.any():
        raise ValueError(
            f"{what} hold {int(bad.sum())} values beyond the range of int64, the first "
            f"of them {numbers[bad][0]}; drop those rows, or use numbers of a coarser "
            "unit."
        )
