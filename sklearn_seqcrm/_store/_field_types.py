"""Types of fields: their values, dtypes and possible conversions.

To add a type, write a class here and list an object of it in `FIELD_TYPES`. All other
code calls methods of the type: a class without one of the methods cannot be
instantiated, and a consumer that has nothing for a type raises a TypeError. Nothing is
a number by default.

=============  ================  =========  ===========================
type           values            encoding   numbers
=============  ================  =========  ===========================
categorical    int32 codes       levels     none
vector         float32 matrix    vectors    none
datetime       datetime64        numbers    days after the event
numeric        float32, float64  numbers    the values themselves
=============  ================  =========  ===========================
"""

from __future__ import annotations

import datetime
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store._clock import Clock
from sklearn_seqcrm._store._days import datetimes_after, days_between
from sklearn_seqcrm._store._time_values import MAX_TICK

# Names in pandas of objects that are numbers, as database drivers return them.
NUMBER_OBJECTS = ("boolean", "decimal", "floating", "integer", "mixed-integer-float")
_DAY = np.timedelta64(1, "D")


def are_numbers(values: pd.Series) -> bool:
    """Return whether all objects that are not missing are real numbers."""
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    if inferred in ("mixed", "mixed-integer"):
        return all(is_real(one) for one in values.dropna())
    return inferred in NUMBER_OBJECTS


# The usual types come first, as abstract ones take longer.
_REAL = (float, int, Real, Decimal, np.bool_)


def is_real(value: Any) -> bool:
    """Return whether an object is a real number or a boolean."""
    # NumPy's timedeltas count as whole numbers.
    return isinstance(value, _REAL) and not isinstance(value, np.timedelta64)


class FieldType(ABC):
    """What the values of a field are.

    The values and levels that methods take are those of a `Column`. Objects of one
    class are equal.
    """

    name: str  # in tables and messages
    dtype: str  # NumPy type of a column for which no value has decided it
    missing: Any  # value that marks a missing one; of vectors, in every component
    # "levels", "numbers" or "vectors": how networks get the values; ``"numbers"`` is
    # only for a `ScalarType`.
    encoding: str
    # "levels", "quartiles" or "range": what a notebook shows of the values.
    summary: str
    # Ways to merge several values into one, see `RUN_SUMMARIES`; the first is the
    # default.
    resampling: tuple[str, ...]
    # Whether values mean something by their distance from the time of the event, and
    # move with it.
    is_relative: bool

    def __init__(self) -> None:
        # `abstractmethod` checks methods; this checks annotated attributes.
        named = [n for one in type(self).__mro__ for n in inspect.get_annotations(one)]
        lacking = [name for name in named if not hasattr(self, name)]
        if lacking:
            raise TypeError(f"{type(self).__name__} must define {', '.join(lacking)}.")

    @abstractmethod
    def holds(self, values: np.ndarray, levels: pd.Index | None) -> bool:
        """Return whether values are of this type; True for exactly one type."""

    @abstractmethod
    def is_present(self, values: np.ndarray) -> np.ndarray:
        """Return which values are not missing, shape (n_events,), bool."""

    @abstractmethod
    def to_pandas(
        self, values: np.ndarray, levels: pd.Index | None, *, aware: bool
    ) -> Any:
        """Return values as a user sees them, a column of a DataFrame.

        `aware` says whether the times of the log have a time zone.
        """

    def unified(
        self, arrays: Mapping[str, np.ndarray], field: str
    ) -> dict[str, np.ndarray]:
        """Return values of several logs in a form that one array can hold.

        By default they are in such a form. `arrays` are by the name of their log; the
        error names the `field`: a ValueError if no array can hold them all.
        """
        return dict(arrays)

    @abstractmethod
    def changed(self, values: np.ndarray, levels: pd.Index | None) -> np.ndarray:
        """Return another valid value for each, to test whether a model reads it."""

    @property
    def scalar(self) -> ScalarType:
        """The type itself, if it is one of scalars; otherwise a TypeError."""
        raise TypeError(f"Fields of the type {self} are not numbers.")

    @property
    def adds_up(self) -> bool:
        """Whether sums of values, such as those of a window, mean something."""
        return "sum" in self.resampling

    def pick(self, options: Mapping[str, Any], by: str = "encoding") -> Any:
        """Return the option of a consumer for this type.

        `options` are what the consumer has, by values of the attribute `by` of types.
        Raises a TypeError if it has nothing for this type.
        """
        key = getattr(self, by)
        if key not in options:
            raise TypeError(
                f"Fields of the type {self} are not supported here: their {by} "
                f"is {key!r}, and must be one of {list(options)}."
            )
        return options[key]

    # Types are compared after pickling, too, when objects are no longer identical.
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __str__(self) -> str:
        return self.name


class CategoricalType(FieldType):
    """Codes into the levels of the column, -1 where a value is missing.

    `scatter` joins the levels of several logs, and with them the codes.
    """

    name, dtype, missing = "categorical", "int32", -1
    encoding, summary, is_relative = "levels", "levels", False
    resampling = ("most_frequent", "first", "last", "count_distinct")

    def holds(self, values: np.ndarray, levels: pd.Index | None) -> bool:
        return levels is not None

    def is_present(self, values: np.ndarray) -> np.ndarray:
        return values >= 0

    def to_pandas(
        self, values: np.ndarray, levels: pd.Index | None, *, aware: bool
    ) -> Any:
        return pd.Categorical.from_codes(values, categories=levels)

    def changed(self, values: np.ndarray, levels: pd.Index | None) -> np.ndarray:
        assert levels is not None
        # The next level; missing, -1, is one more.
        return (values + 2) % (len(levels) + 1) - 1


class VectorType(FieldType):
    """Rows of a float32 matrix, NaN in all components where a vector is missing."""

    name, dtype, missing = "vector", "float32", np.nan
    encoding, summary, is_relative = "vectors", "quartiles", False
    resampling = ("mean", "first", "last")

    def holds(self, values: np.ndarray, levels: pd.Index | None) -> bool:
        return levels is None and values.ndim == 2

    def is_present(self, values: np.ndarray) -> np.ndarray:
        return ~np.isnan(values[:, 0])  # all components are NaN, or none

    def to_pandas(
        self, values: np.ndarray, levels: pd.Index | None, *, aware: bool
    ) -> Any:
        vectors = np.full(len(values), None, dtype=object)
        for i in np.flatnonzero(self.is_present(values)).tolist():
            vectors[i] = values[i]
        return vectors

    def unified(
        self, arrays: Mapping[str, np.ndarray], field: str
    ) -> dict[str, np.ndarray]:
        sizes = {name: values.shape[1] for name, values in arrays.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"Field {field!r} has vectors of the lengths {sizes}; make them by one "
                "model, or give the field different names, before building the logs."
            )
        return dict(arrays)

    def changed(self, values: np.ndarray, levels: pd.Index | None) -> np.ndarray:
        return _other_numbers(values)


class ScalarType(FieldType):
    """A type whose values are numbers, once the time of their event is known."""

    encoding = "numbers"
    takes: str  # what Python values the type takes, in the words of an error
    numbers_are: str  # what the numbers are, in the description of an exported network

    @property
    def scalar(self) -> ScalarType:
        return self

    @abstractmethod
    def from_series(self, series: pd.Series) -> np.ndarray | None:
        """Return the values of a column of a table; None if it is of another type."""

    @abstractmethod
    def parse(self, value: Any) -> Any:
        """Return one Python value as a NumPy array holds it.

        Raises a TypeError if it is of another type, and an OverflowError if it is too
        large.
        """

    @abstractmethod
    def as_numbers(
        self, values: np.ndarray, times: np.ndarray, clock: Clock
    ) -> np.ndarray:
        """Return the values (n,) as numbers, NaN where one is missing.

        `times` (n,) are those of their events on a `clock`.
        """

    @abstractmethod
    def from_numbers(
        self,
        numbers: np.ndarray,
        times: np.ndarray,
        clock: Clock,
        dtype: str,
        in_days: bool,
    ) -> np.ndarray:
        """Return the values that `as_numbers` makes numbers of: its inverse.

        Numbers (n,) are float64, and `dtype` is the NumPy type of the values, which are
        whole days with `in_days`, as `are_days` found for others.
        """

    @abstractmethod
    def are_days(self, values: np.ndarray) -> bool:
        """Return whether all values are whole days, so that drawn ones must be, too."""

    def to_pandas(
        self, values: np.ndarray, levels: pd.Index | None, *, aware: bool
    ) -> Any:
        return values

    def is_present(self, values: np.ndarray) -> np.ndarray:
        return ~pd.isna(values)


class NumericType(ScalarType):
    """Floats; booleans are 0 and 1. NaN is missing."""

    name, dtype, missing = "numeric", "float64", np.nan
    summary, is_relative = "quartiles", False
    resampling = ("sum", "mean", "min", "max", "first", "last", "count_distinct")
    takes, numbers_are = "numbers and booleans", "numbers"

    def holds(self, values: np.ndarray, levels: pd.Index | None) -> bool:
        return levels is None and values.ndim == 1 and values.dtype.kind in "fiub"

    def from_series(self, series: pd.Series) -> np.ndarray | None:
        dtype = series.dtype
        # A float32 column stays one: half the memory. Everything else becomes float64.
        # pandas counts categories of booleans as booleans, too.
        if isinstance(dtype, pd.CategoricalDtype) or not (
            pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)
        ):
            return None
        wanted = "float32" if dtype == np.float32 else "float64"
        return series.to_numpy(dtype=wanted, na_value=np.nan)

    def parse(self, value: Any) -> float:
        if not is_real(value):
            raise TypeError
        return float(value)

    def as_numbers(
        self, values: np.ndarray, times: np.ndarray, clock: Clock
    ) -> np.ndarray:
        return values

    def from_numbers(
        self,
        numbers: np.ndarray,
        times: np.ndarray,
        clock: Clock,
        dtype: str,
        in_days: bool,
    ) -> np.ndarray:
        return numbers.astype(dtype)

    def are_days(self, values: np.ndarray) -> bool:
        return False

    def changed(self, values: np.ndarray, levels: pd.Index | None) -> np.ndarray:
        return _other_numbers(values)


class DatetimeType(ScalarType):
    """Datetimes without a zone, aware ones as UTC; their numbers are days.

    Days after the event, so that "due in 14 days" is one number whenever an invoice is
    written. If the times of the log are plain numbers, days since 1970.
    """

    # Microseconds for new values: Python's resolution, and the years 1 to 9999 fit.
    name, dtype, missing = "datetime", "M8[us]", np.datetime64("NaT", "us")
    summary, is_relative = "range", True
    resampling = ("last", "first", "min", "max", "count_distinct")
    takes, numbers_are = "datetimes", "days after the event"

    def holds(self, values: np.ndarray, levels: pd.Index | None) -> bool:
        return levels is None and values.ndim == 1 and values.dtype.kind == "M"

    def from_series(self, series: pd.Series) -> np.ndarray | None:
        if isinstance(series.dtype, pd.DatetimeTZDtype):
            return series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        is_datetime = pd.api.types.is_datetime64_dtype(series.dtype)
        return series.to_numpy() if is_datetime else None

    def to_pandas(
        self, values: np.ndarray, levels: pd.Index | None, *, aware: bool
    ) -> Any:
        # Like the times, so that a log of what another one returns is equal to it.
        return pd.DatetimeIndex(values).tz_localize("UTC") if aware else values

    def parse(self, value: Any) -> np.datetime64:
        if not isinstance(value, datetime.date | np.datetime64):
            raise TypeError
        # Of an aware one it is the time in UTC.
        return pd.Timestamp(value).asm8.astype(self.dtype)

    def as_numbers(
        self, values: np.ndarray, times: np.ndarray, clock: Clock
    ) -> np.ndarray:
        # Raw dates would grow beyond all training values; distances are stationary.
        start = np.zeros(1, "M8[s]")
        if clock.unit is not None:
            start = times.view(f"M8[{clock.unit}]")
        return days_between(start, values)

    def from_numbers(
        self,
        numbers: np.ndarray,
        times: np.ndarray,
        clock: Clock,
        dtype: str,
        in_days: bool,
    ) -> np.ndarray:
        found = datetimes_after(numbers, times, clock, step=86_400 if in_days else 1)
        # The ends of what the type can hold: beyond them an overflow would change the
        # sign.
        last = np.array([MAX_TICK]).view(dtype).astype("M8[s]")
        first = (-last.view("int64")).view("M8[s]")
        return np.maximum(np.minimum(found, last), first).astype(dtype)

    def are_days(self, values: np.ndarray) -> bool:
        known = values[~np.isnat(values)]
        return bool((known == known.astype("M8[D]")).all())

    def unified(
        self, arrays: Mapping[str, np.ndarray], field: str
    ) -> dict[str, np.ndarray]:
        unit = np.datetime_data(np.result_type(*arrays.values()))[0]
        try:
            return {
                name: pd.DatetimeIndex(values).as_unit(unit).to_numpy()  # type: ignore[arg-type]
                for name, values in arrays.items()
            }
        except pd.errors.OutOfBoundsDatetime as error:
            raise ValueError(
                f"Field {field!r} has times of the unit {unit!r} in one log, and in "
                f"another times outside the years that this unit can hold ({error}); "
                "give both the coarser unit by .dt.as_unit before building the logs."
            ) from error

    def changed(self, values: np.ndarray, levels: pd.Index | None) -> np.ndarray:
        return np.where(np.isnat(values), np.datetime64(0, "D"), values + _DAY)


def _other_numbers(values: np.ndarray) -> np.ndarray:
    # No fixed point: 2 |x| + 1 > x for every finite x.
    with np.errstate(over="ignore"):
        return np.where(np.isfinite(values), 2 * np.abs(values) + 1, 1)


FIELD_TYPES: tuple[FieldType, ...] = (
    CategoricalType(),
    VectorType(),
    DatetimeType(),
    NumericType(),
)


def type_of(values: np.ndarray, levels: pd.Index | None) -> FieldType:
    """Return the type of a column.

    Raises a TypeError if the values are of no type that a field can have.
    """
    for one in FIELD_TYPES:
        if one.holds(values, levels):
            return one
    raise TypeError(f"No type of field has values of the NumPy type {values.dtype}.")


def scalar_values(series: pd.Series) -> np.ndarray | None:
    """Return the values of a column of scalars; None if its values become levels."""
    for one in FIELD_TYPES:
        if isinstance(one, ScalarType):
            values = one.from_series(series)
            if values is not None:
                return values
    return None
