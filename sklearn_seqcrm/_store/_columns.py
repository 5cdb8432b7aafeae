"""Columns of any dataframe library as NumPy columns and categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import look_up
from sklearn_seqcrm._store._clock import Clock, days_between
from sklearn_seqcrm._store._ids import exact_ids, join_ids


def to_series(column: nw.Series) -> pd.Series:
    """One column as a pandas Series, without a copy where it is one already.

    Integers, booleans and Decimals beside missing values stay what they are: floats
    would make one of two large ids.
    """
    native = column.to_native()
    if isinstance(native, pd.Series) and not isinstance(native.dtype, pd.ArrowDtype):
        return native
    if isinstance(column.dtype, nw.Datetime) and column.dtype.time_zone is not None:
        zone = column.dtype.time_zone
        naive = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return pd.Series(naive.to_numpy()).dt.tz_localize("UTC").dt.tz_convert(zone)
    if column.dtype in (nw.Categorical, nw.Enum):
        # ChunkedArray.to_numpy repeats a value where a dictionary's is missing.
        values = pd.Series(column.to_numpy(), dtype=object)
        return values.mask(column.is_null().to_numpy()).astype("category")
    if column.dtype == nw.Date:
        column = column.cast(nw.Datetime("us"))
    elif column.dtype == nw.Boolean:
        values, missing = column.fill_null(False).to_numpy(), column.is_null()
        masked = pd.arrays.BooleanArray(values.astype(bool), missing.to_numpy())
        return pd.Series(masked if masked.isna().any() else masked.to_numpy(dtype=bool))
    elif column.dtype in (nw.Int128, nw.UInt128):
        return pd.Series(column.to_list(), dtype=object)
    elif column.dtype.is_integer() and column.null_count():
        values, missing = column.fill_null(0).to_numpy(), column.is_null()
        return pd.Series(pd.arrays.IntegerArray(values, missing.to_numpy()))
    return pd.Series(column.to_numpy())


def ids_of(column: nw.Series) -> pd.Series:
    """One column of ids as a pandas Series; whole Decimals without the long way."""
    is_polars = column.implementation.is_polars()  # which would cut fractions off
    if column.dtype == nw.Decimal and not is_polars:
        # Fractions, and what is longer than 64 bits, stay Python's Decimals.
        with suppress(ValueError):
            column = column.cast(nw.Int64)
    return to_series(column)


def refuse_missing(values: pd.Series, what: str) -> None:
    """Raise a ValueError that counts missing values and shows the first."""
    missing = values.isna().to_numpy()
    if missing.any():
        where = np.flatnonzero(missing)
        first = ", ".join(str(values.index[i]) for i in where[:5])
        raise ValueError(
            f"The {what} has {len(where)} missing values, the first in the rows "
            f"{first}; drop or fill them."
        )


# Where all levels occur, mostly they do so among the first values.
_SOME_VALUES = 2**16


class Column(NamedTuple):
    """One field of a log.

    Parameters
    ----------
    values : ndarray of shape (n_events,) or (n_events, n_components)
        Floats, datetimes, or int32 codes into `categories` (-1: missing). Of vectors
        float32, finite, or NaN in all components where a vector is missing.
    categories : Index or None
        Levels of a categorical field, in ascending order.
    """

    values: np.ndarray
    categories: pd.Index | None = None

    @property
    def kind(self) -> str:
        """``"categorical"``, ``"datetime"``, ``"numeric"`` or ``"vector"``."""
        if self.categories is not None:
            return "categorical"
        if self.values.ndim == 2:
            return "vector"
        return "datetime" if self.values.dtype.kind == "M" else "numeric"

    def as_numbers(self, times: np.ndarray, clock: Clock) -> np.ndarray:
        """Numbers of the field; a datetime becomes days after its event.

        Parameters
        ----------
        times : ndarray of shape (n_events,)
            Times of the events.
        clock : Clock
            What they mean. If they are plain numbers, datetimes are days since 1970.

        Returns
        -------
        ndarray of shape (n_events,)
            NaN where a value is missing.
        """
        if self.kind == "numeric":
            return self.values
        start = np.zeros(1, "M8[s]")
        if clock.unit is not None:
            start = times.view(f"M8[{clock.unit}]")
        return days_between(start, self.values)

    def is_empty(self) -> bool:
        """Tell whether all values are missing, shape of none included."""
        return not self.is_present().any()

    def is_present(self) -> np.ndarray:
        """Tell which values are not missing, shape (n_events,)."""
        if self.categories is not None:
            return self.values >= 0
        first = self.values[:, 0] if self.kind == "vector" else self.values
        return ~pd.isna(first)

    def without_values(self, n_events: int) -> Column:
        """A column of the same type in which every value is missing."""
        dtype = self.values.dtype
        missing: Any = -1
        if self.categories is None:
            missing = np.datetime64("NaT") if dtype.kind == "M" else np.nan
        shape = (n_events, *self.values.shape[1:])
        return Column(np.full(shape, missing, dtype=dtype), self.categories)

    def missing_where(self, where: np.ndarray) -> Column:
        """The column without its values at some events; `where` is boolean."""
        values = self.values.copy()
        values[where] = self.without_values(1).values
        return Column(values, self.categories)

    def take(self, index: np.ndarray) -> Column:
        """Return the column at some events."""
        return Column(self.values[index], self.categories)

    def trimmed(self, more_than: int = 0) -> Column:
        """Return the column without the levels that none of its events has.

        Parameters
        ----------
        more_than : int, default=0
            Leave a column with so many levels, or fewer, as it is.
        """
        values, levels = self
        if levels is None or len(levels) <= more_than:
            return self
        if len(values) < len(levels):  # whose number must not cost anything
            used = np.unique(values)
            used = used[used >= 0]
            codes = np.where(values >= 0, np.searchsorted(used, values), -1)
            return Column(codes.astype("int32"), levels[used])
        occurs = np.zeros(len(levels) + 1, dtype=bool)  # the last for the code -1
        step = max(_SOME_VALUES, 8 * len(levels))
        for first in range(0, len(values), step):
            occurs[values[first : first + step]] = True
            if occurs[:-1].all():
                return self
        position = np.cumsum(occurs[:-1], dtype="int32") - 1
        return Column(look_up(position, values), levels[occurs[:-1]])

    def to_pandas(self, index: np.ndarray | slice = slice(None)) -> Any:
        """Values at some events as a user sees them.

        Categories have the levels that occur there: any other would tell what happens
        elsewhere in the log, to another customer or after a cutoff.
        """
        some = Column(self.values[index], self.categories).trimmed()
        values, levels = some
        if levels is not None:
            return pd.Categorical.from_codes(values, categories=levels)
        if some.kind != "vector":
            return values
        vectors = np.full(len(values), None, dtype=object)
        for i in np.flatnonzero(some.is_present()).tolist():
            vectors[i] = values[i]
        return vectors

    def stored(self, index: np.ndarray | slice = slice(None)) -> Any:
        """Values at some events as a file gets them: vectors as rows of a matrix."""
        if self.kind == "vector":
            return self.values[index]
        return pd.Series(self.to_pandas(index))

    def distinct(self) -> np.ndarray:
        """Codes from 0 on, the same where values are, shape (n_events,), int64."""
        values = self.values
        if self.kind == "vector":
            values = np.array([vector.tobytes() for vector in values], dtype=object)
        return pd.factorize(values, use_na_sentinel=False)[0]


def factorize(
    series: pd.Series, name: str, what: str = "events"
) -> tuple[np.ndarray, pd.Index]:
    """Codes of values, and the distinct values in ascending order (missing: -1)."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes, levels = series.cat.codes.to_numpy(), series.cat.categories
        used = np.unique(codes)
        used = used[used >= 0]
        levels = levels[used]
        codes = np.where(codes >= 0, np.searchsorted(used, codes), -1)
    else:
        codes, levels = _distinct(series, name)
    codes = codes.astype("int32", copy=False)
    try:
        levels = exact_ids(levels, f"values in column {name!r} of {what}")
        order = np.asarray(levels.argsort())
    except (RuntimeError, TypeError) as error:  # the former of tensors
        kinds = sorted({type(level).__name__ for level in levels})
        if len(kinds) == 1:
            raise TypeError(
                f"Column {name!r} holds values of the type {kinds[0]}, which have no "
                f"order; make text of them, for example {what}[{name!r}].astype(str)."
            ) from error
        raise TypeError(
            f"Column {name!r} mixes values of the types {', '.join(kinds)}; make them "
            f"one type, for example {what}[{name!r}].astype(str)."
        ) from error
    if len(order) and (order[1:] < order[:-1]).any():
        rank = np.empty(len(order), dtype="int32")
        rank[order] = np.arange(len(order), dtype="int32")
        codes = look_up(rank, codes)
        levels = levels[order]
    return codes, levels


def _distinct(series: pd.Series, name: str) -> tuple[np.ndarray, pd.Index]:
    """Codes of values, and the distinct values in order of appearance."""
    try:
        codes, levels = pd.factorize(series)
    except (TypeError, ValueError) as error:  # the latter of memoryviews
        kind = type(series.dropna().iloc[0]).__name__
        raise TypeError(
            f"Column {name!r} holds values of the type {kind}, which is no category; "
            "leave it out of fields, or make a column of each part."
        ) from error
    return codes, pd.Index(levels)


def of_one_kind(columns: Mapping[str, Column], field: str) -> dict[str, Column]:
    """The same field of several logs as one kind, datetimes in the finest unit.

    A column without any value is of every kind.

    Parameters
    ----------
    columns : mapping of str to Column
        The field, by the name of where it comes from.
    field : str
        Its name, for errors.

    Raises
    ------
    ValueError
        If the kinds differ, or a unit cannot hold the times of another column.
    """
    alike = dict(columns)
    if len({column.kind for column in alike.values()}) > 1:
        kinds = {n: c.kind for n, c in alike.items() if not c.is_empty()}
        if len(set(kinds.values())) > 1:
            raise ValueError(
                f"Field {field!r} has the types {kinds}; give it one type, or "
                "different names, before building the logs."
            )
        like = alike[next(iter(kinds or alike))]
        for name, column in alike.items():
            if column.kind != like.kind:
                alike[name] = like.without_values(len(column.values))
    kind = next(iter(alike.values())).kind
    if kind == "vector":
        _refuse_other_sizes(alike, field)
    if kind != "datetime":
        return alike
    dtypes: Sequence[Any] = [column.values.dtype for column in alike.values()]
    unit = np.datetime_data(np.result_type(*dtypes))[0]
    try:
        return {
            name: Column(pd.DatetimeIndex(column.values).as_unit(unit).to_numpy())  # type: ignore[arg-type]
            for name, column in alike.items()
        }
    except pd.errors.OutOfBoundsDatetime as error:
        raise ValueError(
            f"Field {field!r} has times of the unit {unit!r} in one log, and in "
            f"another times outside the years that this unit can hold ({error}); give "
            "both the coarser unit by .dt.as_unit before building the logs."
        ) from error


def _refuse_other_sizes(columns: Mapping[str, Column], field: str) -> None:
    sizes = {name: column.values.shape[1] for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"Field {field!r} has vectors of the lengths {sizes}; make them by one "
            "model, or give the field different names, before building the logs."
        )


def scatter(
    parts: Mapping[str, Column],
    places: Mapping[str, Any],
    n_events: int,
    field: str,
) -> Column:
    """Write the same field of several logs into its places in one.

    Parameters
    ----------
    parts : mapping of str to Column
        The field in those logs that have it, by the name of the log.
    places : mapping of str to ndarray or slice
        Where the events of each log belong.
    n_events : int
        Number of events of all logs.
    field : str
        Name of the field, for errors.

    Returns
    -------
    Column of n_events
        Missing in the events of logs that do not have the field.
    """
    alike = of_one_kind(parts, field)
    dtypes: Sequence[Any] = [part.values.dtype for part in alike.values()]
    shape = next(iter(alike.values())).values.shape
    empty = Column(np.empty((0, *shape[1:]), np.result_type(*dtypes)))
    levels = {n: p.categories for n, p in alike.items() if p.categories is not None}
    if levels:
        alike, union = _in_joint_codes(alike, levels, field)
        empty = Column(empty.values, union)
    joint = empty.without_values(n_events)
    for name, part in alike.items():
        joint.values[places[name]] = part.values
    return joint


def _in_joint_codes(
    parts: Mapping[str, Column], levels: Mapping[str, pd.Index], field: str
) -> tuple[dict[str, Column], pd.Index]:
    """The same categorical field of several logs with the levels of all of them."""
    first = next(iter(levels.values()))
    if all(own.equals(first) and own.dtype == first.dtype for own in levels.values()):
        return dict(parts), first
    joined = join_ids(levels, f"categories of field {field!r}")
    codes, union = factorize(pd.Series(joined), field)
    ends = np.cumsum([len(own) for own in levels.values()])
    tables = zip(levels, np.split(codes, ends[:-1]), strict=True)
    return {
        name: Column(look_up(table, parts[name].values), union)
        for name, table in tables
    }, union


def stack_columns(logs: Sequence[Mapping[str, Column]]) -> dict[str, Column]:
    """Put the same fields of several logs behind one another."""
    first, lengths = logs[0], []
    for columns in logs:
        if set(columns) != set(first):
            raise ValueError(
                "Histories of logs with different fields cannot share a column: "
                f"{sorted(first)} and {sorted(columns)}."
            )
        lengths.append(len(next(iter(columns.values())).values) if columns else 0)
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
