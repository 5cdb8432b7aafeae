"""Read the values of fields of new events, one value at a time.

The result for a value, or its error, depends on the value and on the fitted encoder of
its field, never on other values of a table. So a restarted service, which reads a
table of all its events, gets the results that it had for single events. Therefore a
column of Python objects is read value by value. A column of one type, such as float64,
is read as a whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from sklearn_seqcrm._store import (
    Column,
    FieldSchema,
    check_unicode,
    exact_ids,
    factorize,
    id_type,
)
from sklearn_seqcrm.events import read_column, read_vectors

_EXACT = 2**53  # up to here, every integer is a float as well


class FieldReader(ABC):
    """Reader of one field, with its schema in training."""

    def __init__(self, name: str, schema: FieldSchema) -> None:
        self._name = name
        self._schema = schema
        self._has_levels = schema.levels is not None

    @property
    @abstractmethod
    def takes(self) -> str:
        """Description of the values that the field takes, for errors."""

    def read(self, value: Any) -> Any:
        """Return a value in the canonical form of the field; None for a missing one.

        Raises a TypeError for a type that the field does not take, and a ValueError for
        a number that is too large, or a vector of another length.
        """
        return None if is_missing(value) else self._read(value)

    @abstractmethod
    def _read(self, value: Any) -> Any:
        """Return a value that is not missing in the canonical form of the field."""

    @abstractmethod
    def join(self, values: Sequence[Any]) -> Column:
        """Make a column of values that `read` returned."""

    def read_column(self, column: nw.Series, lacks: np.ndarray, what: str) -> Column:
        """Read a column of a table of any dataframe library; errors name it `what`.

        `lacks`, (n,), are the events of kinds without the field: their values are
        ignored.
        """
        # Value by value, since a column of objects may mix types.
        objects = self._objects_of(column)
        if objects is not None:
            return self._read_objects(objects, lacks, what)
        if lacks.all():
            return self.join([None] * len(lacks))
        found = read_column(column, self._name, what, categorical=self._has_levels)
        if lacks.any():
            found = found.missing_where(lacks).trimmed()
        # A column without values has no type that could be compared.
        if found.is_empty():
            return self.join([None] * len(lacks))
        schema = FieldSchema.of(found, self._schema)
        if schema != self._schema:
            raise self._other_type(f"is {schema}")
        return found

    def _read_objects(
        self, objects: Sequence[Any], lacks: np.ndarray, what: str
    ) -> Column:
        values = []
        for i, (value, skip) in enumerate(zip(objects, lacks, strict=True)):
            try:
                values.append(None if skip else self.read(value))
            except (TypeError, ValueError) as error:
                raise error_at(f"Row {i} of {what}", error) from error
        return self.join(values)

    def _objects_of(self, column: nw.Series) -> list[Any] | None:
        """Return values that may be of several types; None for a column of one type."""
        native = column.to_native()
        if isinstance(native, pd.Series) and native.dtype == object:
            # Older pandas stores text as objects, and reading it as a whole is faster.
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
            f"{self._schema} values, and takes {self.takes}, or None where a value is "
            "missing."
        )


class ScalarReader(FieldReader):
    """Read scalars, as `ScalarType.parse` does."""

    @property
    def takes(self) -> str:
        return self._schema.type.scalar.takes

    def _read(self, value: Any) -> Any:
        try:
            return self._schema.type.scalar.parse(value)
        except TypeError as error:
            raise self._other_type(f"has the value {_short(value)}") from error
        except OverflowError as error:
            raise ValueError(
                f"Field {self._name!r} has the value {_short(value)}, which is outside "
                "the range of floats, 1.8e308; leave it out, or write None."
            ) from error

    def join(self, values: Sequence[Any]) -> Column:
        return Column(np.array(values, dtype=self._schema.type.dtype))


class LevelReader(FieldReader):
    """Read levels of the type that training had, in the form of `exact_ids`."""

    @property
    def takes(self) -> str:
        levels = self._schema.levels
        return "text" if levels == "text" else f"{levels}s"

    def _read(self, value: Any) -> Any:
        # Fast paths for text and integers; `exact_ids` is made for whole columns.
        wanted, what = self._schema.levels, f"values in field {self._name!r}"
        if type(value) is str and wanted == "text":
            check_unicode([value], what)
            return value
        if wanted == "number":
            if type(value) is int:
                return value
            if type(value) is float and value.is_integer() and abs(value) < _EXACT:
                return int(value)
        found = exact_ids(pd.Index([value], dtype=object, tupleize_cols=False), what)
        if id_type(found) != wanted:
            raise self._other_type(f"has the value {_short(value)}")
        return found.tolist()[0]

    def join(self, values: Sequence[Any]) -> Column:
        return Column(*factorize(pd.Series(values, dtype=object), self._name))


class VectorReader(FieldReader):
    """Read lists and arrays of the length that training had as vectors of float32."""

    @property
    def takes(self) -> str:
        return f"lists of {self._schema.n_components} numbers"

    def _read(self, value: Any) -> np.ndarray | None:
        vector = self._plain(value)
        if vector is None:
            if np.ndim(value) == 0:
                raise self._other_type(f"has the value {_short(value)}")
            one = pd.Series([value], dtype=object)  # otherwise pandas may convert it
            column = nw.from_native(one, series_only=True)
            vector = read_vectors(column, self._name)[0]
        size = self._schema.n_components
        if len(vector) != size:
            raise ValueError(
                f"Field {self._name!r} has a vector of length {len(vector)}; the "
                f"pipeline was fitted on vectors of length {size}."
            )
        # A vector of only NaN is a missing one, as in a log.
        return None if np.isnan(vector).all() else vector

    def _plain(self, value: Any) -> np.ndarray | None:
        """Return a vector of finite floats; None for what `read_vectors` reads."""
        if isinstance(value, list):
            if not value or {type(one) for one in value} != {float}:
                return None
            value = np.array(value)
        if not isinstance(value, np.ndarray) or np.ma.isMaskedArray(value):
            return None
        if value.ndim != 1 or value.dtype.kind != "f":
            return None
        with np.errstate(over="ignore"):  # too large becomes infinite, and not plain
            vector = value.astype("float32")
        return vector if len(vector) and np.isfinite(vector).all() else None

    def join(self, values: Sequence[Any]) -> Column:
        column = self._schema.without_values(len(values))
        for i, vector in enumerate(values):
            if vector is not None:
                column.values[i] = vector
        return column


# By `FieldType.encoding`.
_READERS = {"levels": LevelReader, "numbers": ScalarReader, "vectors": VectorReader}


def reader_of(name: str, schema: FieldSchema) -> FieldReader:
    """Return the reader of a field."""
    return schema.type.pick(_READERS)(name, schema)


def error_at(place: str, error: Exception) -> Exception:
    """Return an error that begins with its place, a TypeError if it was one."""
    its_type = TypeError if isinstance(error, TypeError) else ValueError
    return its_type(f"{place}: {error}")


def is_missing(value: Any) -> bool:
    """Return whether a value is missing: None, NaN, NaT or pandas' NA."""
    if value is None or value is pd.NA:
        return True
    if isinstance(value, float):
        return value != value
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _short(value: Any) -> str:
    """Return a value and its type, as an error shows them."""
    try:
        text = repr(value)
    except ValueError:  # of integers with more than 4,300 digits
        text = "..."
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{text} of the type {type(value).__name__}"
