"""Columns of logs: values in NumPy arrays, and levels where they are codes.

Columns of several logs are joined in one type, with the levels of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import look_up
from sklearn_seqcrm._store._clock import Clock
from sklearn_seqcrm._store._field_types import FieldType, type_of
from sklearn_seqcrm._store._ids import exact_ids, id_type, join_ids

# Values that `trimmed` looks at in one pass: if all levels occur, they mostly do so
# among the first values.
_SOME_VALUES = 2**16


#   values       categories             values                  values
#   [ 1]         ["north", "south"]     [ 9.5]  numeric         [.1 .7 .2]  vector
#   [-1]          0        1            [ nan]                  [nan nan nan]
#   [ 0]  categorical                   [12.0]                  [.3 .3 .4]
class Column(NamedTuple):
    """One field of a log."""

    # (n_events,) or (n_events, n_components): values of one of the `FIELD_TYPES`, such
    # as floats, datetimes, or int32 codes into `categories`.
    values: np.ndarray
    # Levels of a categorical field, in ascending order.
    categories: pd.Index | None = None

    @property
    def type(self) -> FieldType:
        """Type of the field."""
        return type_of(self.values, self.categories)

    def as_numbers(self, times: np.ndarray, clock: Clock) -> np.ndarray:
        """Numbers of the field, shape (n_events,), NaN where a value is missing.

        `times` (n_events,) are those of the events on a `clock`. Raises a TypeError if
        the field has no numbers, see `FieldType`.
        """
        return self.type.scalar.as_numbers(self.values, times, clock)

    def is_empty(self) -> bool:
        """Return whether all values are missing, or there are none."""
        return not self.is_present().any()

    def is_present(self) -> np.ndarray:
        """Return which values are not missing, shape (n_events,)."""
        return self.type.is_present(self.values)

    def without_values(self, n_events: int) -> Column:
        """Return a column of the same type in which every value is missing."""
        shape = (n_events, *self.values.shape[1:])
        values = np.full(shape, self.type.missing, dtype=self.values.dtype)
        return Column(values, self.categories)

    def missing_where(self, where: np.ndarray) -> Column:
        """Return the column with values missing at some events; `where` is boolean."""
        values = self.values.copy()
        values[where] = self.without_values(1).values
        return Column(values, self.categories)

    def take(self, index: np.ndarray | slice) -> Column:
        """Return the column at some events."""
        return Column(self.values[index], self.categories)

    def trimmed(self, more_than: int = 0) -> Column:
        """Return the column without levels that do not occur.

        With at most `more_than` levels, it is returned as it is.
        """
        values, levels = self
        if levels is None or len(levels) <= more_than:
            return self
        # The cost follows the smaller one of values and levels.
        if len(values) < len(levels):
            used = np.unique(values)
            used = used[used >= 0]
            codes = np.where(values >= 0, np.searchsorted(used, values), -1)
            return Column(codes.astype("int32"), levels[used])
        # One flag for each level, and at the end one that the code -1, missing, sets.
        occurs = np.zeros(len(levels) + 1, dtype=bool)
        step = max(_SOME_VALUES, 8 * len(levels))
        for first in range(0, len(values), step):
            occurs[values[first : first + step]] = True
            if occurs[:-1].all():
                return self
        # Levels that occur move together: codes 0 2 3 become 0 1 2.
        position = np.cumsum(occurs[:-1], dtype="int32") - 1
        return Column(look_up(position, values), levels[occurs[:-1]])

    def to_pandas(self, index: np.ndarray | slice = slice(None), *, aware: bool) -> Any:
        """Return values at some events as a user sees them.

        Categories have only levels that occur there: any other one would leak an event
        of another customer or after a cutoff. Datetimes are in UTC if the log is
        `aware`, which means that its times have a time zone.
        """
        some = self.take(index).trimmed()
        return some.type.to_pandas(*some, aware=aware)

    def stored(self, index: np.ndarray | slice = slice(None)) -> Any:
        """Return values at some events as files hold them: vectors as a matrix."""
        if self.values.ndim == 2:
            return self.values[index]
        return pd.Series(self.to_pandas(index, aware=False))

    def distinct(self) -> np.ndarray:
        """Return codes from 0 on, equal for equal values, shape (n_events,), int64."""
        values = self.values
        if values.ndim == 2:
            # Vectors are equal if their bytes are.
            values = np.array([vector.tobytes() for vector in values], dtype=object)
        return pd.factorize(values, use_na_sentinel=False)[0]


class FieldSchema(NamedTuple):
    """Properties that the columns of a field share in all logs that fit each other."""

    type: FieldType
    # Type of its levels, as `id_type` returns it, if it has levels. Levels of different
    # types never match.
    levels: str | None = None
    n_components: int | None = None  # length of its vectors, if it has vectors

    @classmethod
    def of(cls, column: Column, expected: FieldSchema | None = None) -> FieldSchema:
        """Return the schema of a column.

        The levels of a categorical column without any could be of every type: it has
        the schema that is `expected`, or with None levels of text.
        """
        if column.categories is None:
            return cls(column.type, None, *column.values.shape[1:])
        if len(column.categories):
            return cls(column.type, id_type(column.categories))
        if expected is not None and expected.levels is not None:
            return expected
        return cls(column.type, "text")

    def __str__(self) -> str:
        if self.n_components is not None:
            return f"{self.type}s of {self.n_components}"
        if self.levels in (None, "text"):
            return str(self.type)
        return f"{self.type} ({self.levels}s)"

    def without_values(self, n_events: int) -> Column:
        """Return a column of the field in which every value is missing."""
        size = () if self.n_components is None else (self.n_components,)
        values = np.full((n_events, *size), self.type.missing, self.type.dtype)
        levels = None if self.levels is None else pd.Index([], dtype=object)
        return Column(values, levels)


def factorize(
    series: pd.Series, name: str, what: str = "events"
) -> tuple[np.ndarray, pd.Index]:
    """Return codes of values, -1 where missing, and the distinct values, sorted.

    Codes (n,), int32, are positions in the levels, which have the form of `exact_ids`.
    `name` and `what` are the column and the table in errors: a TypeError if values are
    of several types, or of a type without an order.
    """
    # Unused categories are dropped: they could be levels of other customers.
    if isinstance(series.dtype, pd.CategoricalDtype):
        coded: Any = Column(series.cat.codes.to_numpy(), series.cat.categories)
        codes, levels = coded.trimmed()
    else:
        codes, levels = _distinct(series, name)
    codes = codes.astype("int32", copy=False)
    try:
        levels = exact_ids(levels, f"values in column {name!r} of {what}")
        # Ascending, so that codes do not depend on the order of the events.
        order = np.asarray(levels.argsort())
    except (RuntimeError, TypeError) as error:  # the former of tensors
        types = sorted({type(level).__name__ for level in levels})
        if len(types) == 1:
            raise TypeError(
                f"Column {name!r} holds values of the type {types[0]}, which have no "
                f"order; make text of them, for example {what}[{name!r}].astype(str)."
            ) from error
        numbers = f", or pd.to_numeric({what}[{name!r}], errors='coerce')"
        raise TypeError(
            f"Column {name!r} mixes values of the types {', '.join(types)}; make them "
            f"one type, for example {what}[{name!r}].astype(str)"
            f"{numbers if 'float' in types else ''}."
        ) from error
    if len(order) and (order[1:] < order[:-1]).any():
        rank = np.empty(len(order), dtype="int32")
        rank[order] = np.arange(len(order), dtype="int32")
        codes = look_up(rank, codes)
        levels = levels[order]
    return codes, levels


def joint_codes(
    parts: Mapping[str, pd.Index], what: str, name: str
) -> tuple[dict[str, np.ndarray], pd.Index]:
    """Return codes of the ids of each part, and the distinct ids of all, sorted.

    `parts` are ids in exact form, by the name of their origin. The codes, int32, have
    the same names, and are positions in the distinct ids. Errors name the ids `what`,
    and their column `name`.
    """
    codes, ids = factorize(pd.Series(join_ids(parts, what)), name)
    ends = np.cumsum([len(own) for own in parts.values()])
    return dict(zip(parts, np.split(codes, ends[:-1]), strict=True)), ids


def _distinct(series: pd.Series, name: str) -> tuple[np.ndarray, pd.Index]:
    """Return codes of values, and the distinct values in order of appearance."""
    try:
        codes, levels = pd.factorize(series)
    except (TypeError, ValueError) as error:  # the latter of memoryviews
        its_type = type(series.dropna().iloc[0]).__name__
        raise TypeError(
            f"Column {name!r} holds values of the type {its_type}, which "
            "cannot be categories; leave it out of fields, or make a column of each "
            "part."
        ) from error
    return codes, pd.Index(levels)


# Columns of several logs --------------------------------------------------------------


def _of_one_type(columns: Mapping[str, Column], field: str) -> dict[str, Column]:
    """Return a field of several logs as columns of one type; refuse different ones.

    A column without any value takes the type of the others.
    """
    alike = dict(columns)
    like = next(iter(alike.values()))
    if any(column.type != like.type for column in alike.values()):
        types = {n: str(c.type) for n, c in alike.items() if not c.is_empty()}
        if len(set(types.values())) > 1:
            raise ValueError(
                f"Field {field!r} has the types {types}; give it one type, or "
                "different names, before building the logs."
            )
        # A column of only None has no type, and takes that of others.
        like = alike[next(iter(types or alike))]
        for name, column in alike.items():
            if column.type != like.type:
                alike[name] = like.without_values(len(column.values))
    unified = like.type.unified({n: c.values for n, c in alike.items()}, field)
    return {n: Column(values, alike[n].categories) for n, values in unified.items()}


def scatter(
    parts: Mapping[str, Column], places: Mapping[str, Any], n_events: int, field: str
) -> Column:
    """Join a field of several logs into one column of `n_events`.

    `parts` are the field in those logs that have it, and `places` the positions of the
    events of each log in the joint column, by the name of the log. Values are missing
    for events of logs without the field.
    """
    alike = _of_one_type(parts, field)
    dtypes: Sequence[Any] = [part.values.dtype for part in alike.values()]
    shape = next(iter(alike.values())).values.shape
    empty = Column(np.empty((0, *shape[1:]), np.result_type(*dtypes)))
    levels = {n: p.categories for n, p in alike.items() if p.categories is not None}
    if levels:
        alike, union = _in_joint_codes(alike, levels, field)
        empty = Column(empty.values, union)
    #   part "a"   x0 x1 x2      places  0 2 3
    #   part "b"   y0            places  1
    #   joint      x0 y0 x1 x2 missing        the last is of a log without the field
    joint = empty.without_values(n_events)
    for name, part in alike.items():
        joint.values[places[name]] = part.values
    return joint


def _in_joint_codes(
    parts: Mapping[str, Column], levels: Mapping[str, pd.Index], field: str
) -> tuple[dict[str, Column], pd.Index]:
    """Return a categorical field of several logs with the levels of all of them."""
    first = next(iter(levels.values()))
    # The usual case of parts of one log: no level has to be looked up.
    if all(own.equals(first) and own.dtype == first.dtype for own in levels.values()):
        return dict(parts), first
    # The new code of each old one, log by log; (n_levels,) each.
    codes, union = joint_codes(levels, f"categories of field {field!r}", field)
    return {
        name: Column(look_up(table, parts[name].values), union)
        for name, table in codes.items()
    }, union


def stack_columns(
    logs: Sequence[Mapping[str, Column]], lengths: Sequence[int]
) -> dict[str, Column]:
    """Concatenate the fields of several logs with some numbers of events."""
    first = logs[0]
    for columns in logs:
        if set(columns) != set(first):
            raise ValueError(
                "Histories of logs with different fields cannot share a column: "
                f"{sorted(first)} and {sorted(columns)}."
            )
    ends = np.cumsum(lengths)
    places = {
        f"log {i}": slice(end - n, end)
        for i, (end, n) in enumerate(zip(ends, lengths, strict=True))
    }
    return {
        name: scatter(
            {label: one[name] for label, one in zip(places, logs, strict=True)},
            places,
            int(ends[-1]),
            name,
        )
        for name in first
    }
