"""The time axis of a log: datetimes of one unit, or plain numbers, never both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

_LONGEST = int(np.iinfo("int64").max)
_EXAMPLE = "for example pd.Timedelta(days=14) or '14D'"


@dataclass(frozen=True)
class Clock:
    """Converts between what users write and the numbers that a log stores.

    Parameters
    ----------
    dtype : {"int64", "float64"}
        Type of the stored numbers. Datetimes are always ``"int64"``.
    unit : {"s", "ms", "us", "ns"} or None, default=None
        Resolution of stored datetimes; None for plain numbers.
    aware : bool, default=False
        Whether the datetimes carry a time zone. They are stored as UTC.
    """

    dtype: str
    unit: str | None = None
    aware: bool = False

    def __str__(self) -> str:
        if self.unit is None:
            return "plain numbers"
        return "time-zone aware datetimes" if self.aware else "naive datetimes"

    @classmethod
    def of(cls, values: Any, what: str) -> tuple[Clock, np.ndarray]:
        """Read the times of a log, and the clock that fits them.

        Parameters
        ----------
        values : Series or array of shape (n,)
            Datetimes or plain numbers, without missing values.
        what : str
            How an error names the values.

        Returns
        -------
        clock : Clock
            The axis of these times.
        times : ndarray of shape (n,)
            The times as numbers of type ``clock.dtype``.
        """
        values = _as_series(values, what)
        if isinstance(values.dtype, pd.DatetimeTZDtype):
            return cls("int64", values.dtype.unit, True), _int64_of(values)
        if values.dtype.kind == "M":
            return cls("int64", np.datetime_data(values.dtype)[0]), _int64_of(values)
        if values.dtype.kind == "u" and values.max() > np.iinfo("int64").max:
            raise ValueError(f"{what} exceed the range of int64; use floats.")
        if values.dtype.kind in "iu":
            return cls("int64"), values.to_numpy(dtype="int64")
        times = values.to_numpy(dtype="float64")
        _refuse_infinite(times, what)
        return cls("float64"), times

    def read(
        self, values: Any, what: str, *, up: bool = True, back: Any = None
    ) -> np.ndarray:
        """Convert points in time to this axis.

        Parameters
        ----------
        values : Series, array or scalar
            Datetimes (or what ``pd.Timestamp`` parses, if a scalar) or numbers.
        what : str
            How an error names the values.
        up : bool, default=True
            A time between two ticks of the axis goes to the later one, which keeps
            every comparison ``event < time`` as it is; False goes to the earlier
            one, which keeps ``event <= time``.
        back : Timedelta, str, number or None, default=None
            A lookback to subtract from each time before it is rounded.

        Returns
        -------
        ndarray
            Numbers of type `dtype`, of shape (1,) for a scalar.
        """
        if np.ndim(values) == 0:
            values = self._parse(values, what)
        values = _as_series(values, what)
        length = 0 if back is None else self.duration(back, "lookback")
        if not len(values):
            return np.zeros(0, dtype=self.dtype)
        self._check_same_kind(values, what)
        if self.unit is None:
            return self._read_numbers(values, length, what, up)
        if self.aware:
            values = values.dt.tz_convert("UTC").dt.tz_localize(None)
        if back is not None:
            values = values - pd.Timedelta(back)
        moments, coarse = values.to_numpy(), self._coarsen(values, what)
        ticks = coarse.view("int64").copy()
        if up:
            ticks += coarse < moments
        return ticks

    def duration(self, value: Any, what: str) -> int | float:
        """Convert a length of time to this axis.

        Parameters
        ----------
        value : Timedelta, str or number
            What ``pd.Timedelta`` takes for datetimes, a number for plain numbers.
        what : str
            How an error names the value.

        Returns
        -------
        int or float
            The length in the axis's own numbers, not negative, and no longer than the
            axis if that has integers.
        """
        if self.unit is None:
            if isinstance(value, bool) or not _is_number(value):
                raise TypeError(
                    f"{what} must be a number, because the times of the log are plain "
                    f"numbers; got {value!r}."
                )
            length = value
        else:
            length = self._ticks(value, what)
        if not length >= 0 or length == float("inf"):
            raise ValueError(f"{what} must be finite and not negative; got {value!r}.")
        if self.dtype == "float64" or length != int(length):
            return float(length)
        return min(int(length), _LONGEST)

    def as_index(self, times: np.ndarray) -> pd.Index:
        """The numbers of this axis as the datetimes or numbers that users see."""
        if self.unit is None:
            return pd.Index(times)
        index = pd.DatetimeIndex(times.view(f"M8[{self.unit}]"))
        return index.tz_localize("UTC") if self.aware else index

    def as_scalar(self, time: Any) -> Any:
        """One number of this axis as a Timestamp, int or float."""
        value = self.as_index(np.array([time], dtype=self.dtype))[0]
        return value.item() if isinstance(value, np.generic) else value

    def ticks_per_day(self) -> float | None:
        """Length of a day on this axis; None for plain numbers."""
        return None if self.unit is None else self._ticks("1D", "a day")

    def ticks_of(self, other: Clock) -> float:
        """Number of ticks of this axis in one tick of another."""
        if self.unit is None or other.unit is None:
            return 1.0
        return self._ticks(pd.Timedelta(1, unit=other.unit), "a tick")  # type: ignore[arg-type]

    def _read_numbers(
        self, values: pd.Series, length: float, what: str, up: bool
    ) -> np.ndarray:
        whole = values.dtype.kind in "iu"
        numbers = values.to_numpy(dtype="int64" if whole else "float64") - length
        if self.dtype == "float64" or numbers.dtype.kind == "i":
            _refuse_infinite(numbers, what)
            return numbers.astype(self.dtype)
        _refuse_infinite(np.where(np.abs(numbers) < 2**63, numbers, np.inf), what)
        return (np.ceil if up else np.floor)(numbers).astype("int64")

    def _coarsen(self, values: pd.Series, what: str) -> np.ndarray:
        """Naive datetimes in the unit of this axis, rounded to the earlier tick."""
        try:
            return values.dt.as_unit(self.unit).to_numpy()
        except pd.errors.OutOfBoundsDatetime as error:
            raise ValueError(
                f"{what} lie outside the years that times of the log's unit "
                f"{self.unit} can hold ({error}); bring them closer, or build the log "
                "from times of a coarser unit."
            ) from error

    def _ticks(self, value: Any, what: str) -> float:
        if _is_number(value) and value != 0:
            raise TypeError(
                f"{what} must be a length of time, {_EXAMPLE}, because the times of "
                f"the log are datetimes; got the bare number {value!r}."
            )
        if isinstance(value, str) and _is_decimal(value):
            raise ValueError(f"{what} must have a unit, {_EXAMPLE}; got {value!r}.")
        try:
            delta = pd.Timedelta(value)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{what} must be a length of time, {_EXAMPLE}; got {value!r}."
            ) from error
        if delta is pd.NaT:
            raise ValueError(f"{what} must be a length of time; got {value!r}.")
        tick = pd.Timedelta(1, unit=self.unit)  # type: ignore[arg-type]
        return float(delta / tick)

    def _parse(self, value: Any, what: str) -> Any:
        """One point in time as a list of one; strings only where dates belong."""
        if pd.isna(value):
            raise ValueError(f"{what} must be a time; got {value!r}.")
        if self.unit is not None and isinstance(value, str):
            return [pd.Timestamp(value)]
        return [value]

    def _check_same_kind(self, values: pd.Series, what: str) -> None:
        aware = isinstance(values.dtype, pd.DatetimeTZDtype)
        dated = aware or values.dtype.kind == "M"
        if dated and self.unit is not None:
            if aware == self.aware:
                return
            fix = (
                "tz_convert(None) makes naive datetimes of aware ones"
                if aware
                else "tz_localize('UTC'), or the zone that they were recorded in, "
                "makes aware datetimes of naive ones"
            )
        elif not dated and self.unit is None:
            return
        else:
            fix = "build both from the same kind of times"
        kind = "plain numbers"
        if dated:
            kind = "time-zone aware datetimes" if aware else "naive datetimes"
        raise ValueError(
            f"{what} are {kind}, but the times of the log are {self}; {fix}."
        )


def later(times: np.ndarray, length: float) -> np.ndarray:
    """``times + length``, or the end of the axis: an overflow would be in the past."""
    if times.dtype == "int64" and isinstance(length, int):
        return np.minimum(times, _LONGEST - length) + length
    return times + length


def _as_series(values: Any, what: str) -> pd.Series:
    """Times as a Series of datetimes or numbers; anything else is an error."""
    series = values if isinstance(values, pd.Series) else pd.Series(values)
    if isinstance(series.dtype, pd.ArrowDtype):
        series = pd.Series(series.array.to_numpy())
    if series.dtype == object and len(series):
        series = _infer_times(series, what)
    is_time = series.dtype.kind in "Miuf" or isinstance(
        series.dtype, pd.DatetimeTZDtype
    )
    if len(series) and not is_time:
        raise TypeError(
            f"{what} must be datetimes or numbers; got the type {series.dtype}. "
            "pd.to_datetime reads dates written as text."
        )
    return series


def _infer_times(series: pd.Series, what: str) -> pd.Series:
    """Timestamps kept as objects, which is how pandas holds several time zones."""
    zones = {getattr(value, "tzinfo", None) is None for value in series}
    if len(zones) > 1:
        raise ValueError(
            f"{what} mix naive and time-zone aware datetimes; "
            "pd.to_datetime(..., utc=True) makes all of them aware."
        )
    if all(hasattr(value, "year") for value in series):
        return (
            pd.to_datetime(series, utc=True)
            if zones == {False}
            else (pd.to_datetime(series))
        )
    return series.infer_objects()


def _int64_of(values: pd.Series) -> np.ndarray:
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return np.asarray(values.array.asi8)
    return values.to_numpy().view("int64")


def _is_decimal(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_number(value: Any) -> bool:
    """Tell numbers from lengths of time, which NumPy takes for integers."""
    return isinstance(value, int | float | np.number) and not isinstance(
        value, np.timedelta64
    )


def _refuse_infinite(times: np.ndarray, what: str) -> None:
    n_bad = int(np.isinf(times).sum())
    if n_bad:
        raise ValueError(f"{what} hold {n_bad} infinite values; drop those rows.")
