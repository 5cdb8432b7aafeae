"""Read the values of the fields of new events, one value at a time.

What a value becomes, and whether it is refused, depends on the value and on what was
learned of its field, never on the values beside it in a table: an event that was read
alone is read alike when a service starts again and reads a table of all its events.
So a column of Python objects is read value by value. A column of one type, such as
float64, is read as a whole, as its values cannot differ in type.
"""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from sklearn_seqcrm._encoding import (
    EventEncoder,
    VectorField,
    Vocabulary,
    kind_of_field,
)
from sklearn_seqcrm._store import Column, exact_ids, factorize, kind_of_ids
from sklearn_seqcrm.events import read_column, read_vectors

_EXACT = 2**53  # up to here, every integer is a float as well


class FieldReader(ABC):
    """Reads the values of one field.

    Parameters
    ----------
    name : str
        Name of the field.
    kind : str
        Its kind in training, as `kind_of_field` returns it.
    """

    takes: str  # what an error says that the field takes
    _has_levels = False

    def __init__(self, name: str, kind: str) -> None:
        self._name = name
        self._kind = kind

    def read(self, value: Any) -> Any:
        """Return a value in the one form that the field has; None where it is missing.

        Parameters
        ----------
        value : object
            A value of any type.

        Raises
        ------
        TypeError
            If it is of a type that the field does not take.
        ValueError
            If it is too large, or a vector of another length.
        """
        return None if is_missing(value) else self._read(value)

    @abstractmethod
    def _read(self, value: Any) -> Any:
        """As `read`, of a value that is not missing."""

    @abstractmethod
    def join(self, values: Sequence[Any]) -> Column:
        """Make a column of what `read` returned.

        Parameters
        ----------
        values : sequence of n objects
            Values in the form that the field has, and None.
        """

    def read_column(self, column: nw.Series, foreign: np.ndarray, what: str) -> Column:
        """Read a column of a table of any dataframe library.

        Parameters
        ----------
        column : narwhals.Series of shape (n,)
            The values.
        foreign : ndarray of shape (n,), bool
            Events of kinds that do not have the field, whose values are not looked at.
        what : str
            How an error names the table.
        """
        objects = self._objects_of(column)
        if objects is not None:
            return self._read_objects(objects, foreign, what)
        if foreign.all():
            return self.join([None] * len(foreign))
        found = read_column(column, self._name, what, categorical=self._has_levels)
        if foreign.any():
            found = found.missing_where(foreign).trimmed()
        if found.is_empty():
            return self.join([None] * len(foreign))
        if (kind := kind_of_field(found, self._kind)) != self._kind:
            raise self._other_type(f"is {kind}")
        return found

    def _read_objects(
        self, objects: Sequence[Any], foreign: np.ndarray, what: str
    ) -> Column:
        values = []
        for i, (value, skip) in enumerate(zip(objects, foreign, strict=True)):
            try:
                values.append(None if skip else self.read(value))
            except (TypeError, ValueError) as error:
                raise error_at(f"Row {i} of {what}", error) from error
        return self.join(values)

    def _objects_of(self, column: nw.Series) -> list[Any] | None:
        """Values of a column that may be of several types; None for one type."""
        native = column.to_native()
        if isinstance(native, pd.Series) and native.dtype == object:
            # Older pandas has text as objects, and reading it as a whole is faster.
            is_text = self._has_levels and infer_dtype(native, skipna=True) == "string"
            return None if is_text else native.to_list()
        if column.dtype == nw.Object:
            return column.to_list()
        if column.dtype in (nw.Categorical, nw.Enum) and not self._has_levels:
            return column.to_list()
        return None

    def _other_type(self, found: str) -> TypeError:
        return TypeError(
            f"Field {self._name!r} {found}; the pipeline was fitted on "
            f"{self._kind} values, and takes {self.takes}, or None where a value is "
            "missing."
        )


class NumberReader(FieldReader):
    """Reads numbers and booleans as floats."""

    takes = "numbers and booleans"

    def _read(self, value: Any) -> float:
        if not isinstance(value, Real | Decimal | np.bool_) or isinstance(
            value, np.timedelta64
        ):
            raise self._other_type(f"has the value {_short(value)}")
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError(
                f"Field {self._name!r} has the value {_short(value)}, which is beyond "
                "the largest float of 1.8e308; leave it out, or write None."
            ) from error

    def join(self, values: Sequence[Any]) -> Column:
        return Column(np.array(values, dtype="float64"))


class DateReader(FieldReader):
    """Reads datetimes and dates as microseconds; those with a time zone as UTC."""

    takes = "datetimes"

    def _read(self, value: Any) -> np.datetime64:
        if not isinstance(value, datetime.date | np.datetime64):
            raise self._other_type(f"has the value {_short(value)}")
        # Of an aware one it is the moment in UTC.
        return pd.Timestamp(value).asm8.astype("M8[us]")

    def join(self, values: Sequence[Any]) -> Column:
        return Column(np.array(values, dtype="M8[us]"))


class LevelReader(FieldReader):
    """Reads levels of the kind that training had, in the form of `exact_ids`.

    Parameters
    ----------
    name : str
        Name of the field.
    kind : str
        Its kind in training.
    field : Vocabulary
        What was learned of it.
    """

    _has_levels = True

    def __init__(self, name: str, kind: str, field: Vocabulary) -> None:
        super().__init__(name, kind)
        levels = field.levels if len(field.levels) else field.rare
        self._of = kind_of_ids(levels) if len(levels) else "text"
        self.takes = "text" if self._of == "text" else f"{self._of}s"

    def _read(self, value: Any) -> Any:
        if type(value) is str and self._of == "text":
            refuse_surrogates(value, f"Field {self._name!r}")
            return value
        if self._of == "number":
            if type(value) is int:
                return value
            if type(value) is float and value.is_integer() and abs(value) < _EXACT:
                return int(value)
        what = f"values in field {self._name!r}"
        found = exact_ids(pd.Index([value], dtype=object), what)
        if kind_of_ids(found) != self._of:
            raise self._other_type(f"has the value {_short(value)}")
        return found.tolist()[0]

    def join(self, values: Sequence[Any]) -> Column:
        return Column(*factorize(pd.Series(values, dtype=object), self._name))


class VectorReader(FieldReader):
    """Reads lists and arrays of the length that training had as vectors of float32.

    Parameters
    ----------
    name : str
        Name of the field.
    kind : str
        Its kind in training.
    field : VectorField
        What was learned of it.
    """

    def __init__(self, name: str, kind: str, field: VectorField) -> None:
        super().__init__(name, kind)
        self._size = field.n_components
        self.takes = f"lists of {self._size} numbers"

    def _read(self, value: Any) -> np.ndarray | None:
        vector = self._plain(value)
        if vector is None:
            if np.ndim(value) == 0:
                raise self._other_type(f"has the value {_short(value)}")
            one = pd.Series([None], dtype=object)
            one.iat[0] = value
            column = nw.from_native(one, series_only=True)
            vector = read_vectors(column, self._name)[0]
        if len(vector) != self._size:
            raise ValueError(
                f"Field {self._name!r} has a vector of length {len(vector)}; the "
                f"pipeline was fitted on vectors of length {self._size}."
            )
        return None if np.isnan(vector).all() else vector

    def _plain(self, value: Any) -> np.ndarray | None:
        """A whole vector of floats; None for what `read_vectors` has to look at."""
        if isinstance(value, list):
            if not value or {type(one) for one in value} != {float}:
                return None
            value = np.array(value)
        if not isinstance(value, np.ndarray) or np.ma.isMaskedArray(value):
            return None
        if value.ndim != 1 or value.dtype.kind != "f":
            return None
        with np.errstate(over="ignore"):  # and then it is infinite
            vector = value.astype("float32")
        return vector if len(vector) and np.isfinite(vector).all() else None

    def join(self, values: Sequence[Any]) -> Column:
        vectors = np.full((len(values), self._size), np.nan, dtype="float32")
        for i, vector in enumerate(values):
            if vector is not None:
                vectors[i] = vector
        return Column(vectors)


def reader_of(encoder: EventEncoder, name: str) -> FieldReader:
    """The reader of a field of an encoder."""
    field, kind = encoder.fields[name], encoder.kinds[name]
    if isinstance(field, Vocabulary):
        return LevelReader(name, kind, field)
    if isinstance(field, VectorField):
        return VectorReader(name, kind, field)
    return NumberReader(name, kind) if kind == "numeric" else DateReader(name, kind)


def error_at(place: str, error: Exception) -> Exception:
    """An error that says where it is, a TypeError if it was one."""
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(f"{place}: {error}")


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: None, NaN, NaT or pandas' NA."""
    if value is None or value is pd.NA:
        return True
    if isinstance(value, float):
        return value != value
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def refuse_surrogates(text: str, what: str) -> None:
    """Raise a ValueError for text that UTF-8, and so tables and files, cannot hold."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} has the text {text!r}, which is no valid Unicode: it has half of "
            "a surrogate pair. Decode it with errors='replace'."
        ) from error


def _short(value: Any) -> str:
    """A value and its type, as an error shows them."""
    try:
        text = repr(value)
    except ValueError:  # of integers with more than 4,300 digits
        text = "..."
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{text} of the type {type(value).__name__}"
