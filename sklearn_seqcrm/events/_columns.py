"""Fields of an events table: from any dataframe to NumPy columns and categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd
from narwhals.exceptions import DuplicateError
from pandas.api.types import is_list_like

# Where all levels occur, mostly they do so among the first values.
_SOME_VALUES = 2**16


class Column(NamedTuple):
    """One field of a log.

    Parameters
    ----------
    values : ndarray of shape (n_events,)
        Floats, datetimes, or int32 codes into `categories` (-1: missing).
    categories : Index or None
        Levels of a categorical field, in ascending order.
    """

    values: np.ndarray
    categories: pd.Index | None = None

    @property
    def kind(self) -> str:
        """``"categorical"``, ``"datetime"`` or ``"numeric"``."""
        if self.categories is not None:
            return "categorical"
        return "datetime" if self.values.dtype.kind == "M" else "numeric"

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
        position = np.append(np.cumsum(occurs[:-1], dtype="int32") - 1, np.int32(-1))
        return Column(position[values], levels[occurs[:-1]])

    def to_pandas(self, index: np.ndarray | slice = slice(None)) -> Any:
        """Values at some events as a user sees them.

        Categories have the levels that occur there: any other would tell what happens
        elsewhere in the log, to another customer or after a cutoff.
        """
        values, levels = Column(self.values[index], self.categories).trimmed()
        if levels is None:
            return values
        return pd.Categorical.from_codes(values, categories=levels)


def read_table(table: Any) -> nw.DataFrame:
    """Accept a pandas, polars or pyarrow table, or say what arrived."""
    try:
        return nw.from_native(table, eager_only=True)
    except TypeError as error:
        raise TypeError(
            "events must be a pandas, polars or pyarrow table in memory; got "
            f"{type(table).__module__}.{type(table).__name__}."
        ) from error
    except DuplicateError as error:
        raise ValueError(
            f"events has columns of the same name; rename them. {error}"
        ) from error


def to_series(column: nw.Series) -> pd.Series:
    """One column as a pandas Series, without a copy where it is one already."""
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
    elif column.dtype in (nw.Boolean, nw.Decimal):
        column = column.cast(nw.Float64)  # NumPy has neither beside missing values
    return pd.Series(column.to_numpy())


def read_column(column: nw.Series, name: str) -> Column:
    """Turn one column of a table into a field of a log.

    Numbers and booleans become floats (float32 stays), datetimes stay (aware ones as
    UTC), everything else becomes categories.
    """
    series = _unboxed(to_series(column))
    dtype = series.dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        return Column(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
    if pd.api.types.is_datetime64_dtype(dtype):
        return Column(series.to_numpy())
    if pd.api.types.is_timedelta64_dtype(dtype):
        raise TypeError(
            f"Field {name!r} holds lengths of time; make numbers of them, for example "
            f"events[{name!r}] / pd.Timedelta(days=1)."
        )
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        wanted = "float32" if dtype == np.float32 else "float64"
        return Column(series.to_numpy(dtype=wanted, na_value=np.nan))
    codes, categories = factorize(series, name)
    return Column(codes.astype("int32", copy=False), categories)


def _unboxed(series: pd.Series) -> pd.Series:
    """Numbers and dates kept as Python objects, which is what database drivers do."""
    if series.dtype != object:
        return series
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind in ("date", "datetime"):
        return pd.to_datetime(series)
    if kind in ("boolean", "decimal", "floating", "integer", "mixed-integer-float"):
        return pd.Series(series.to_numpy(dtype="float64", na_value=np.nan))
    return series


def factorize(series: pd.Series, name: str) -> tuple[np.ndarray, pd.Index]:
    """Codes of values, and the distinct values in ascending order (missing: -1)."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes, levels = series.cat.codes.to_numpy(), series.cat.categories
        used = np.unique(codes)
        used = used[used >= 0]
        levels = levels[used]
        codes = np.where(codes >= 0, np.searchsorted(used, codes), -1)
    else:
        codes, levels = _distinct(series, name)
    try:
        order = np.asarray(levels.argsort())
    except TypeError as error:
        kinds = sorted({type(level).__name__ for level in levels})
        raise TypeError(
            f"Column {name!r} mixes values of the types {', '.join(kinds)}; make them "
            f"one type, for example events[{name!r}].astype(str)."
        ) from error
    if len(order) and (order[1:] < order[:-1]).any():
        rank = np.empty(len(order) + 1, dtype="int32")
        rank[order] = np.arange(len(order), dtype="int32")
        rank[-1] = -1  # where the code -1 of a missing value finds itself
        codes = rank[codes]
        levels = levels[order]
    return codes, levels


def _distinct(series: pd.Series, name: str) -> tuple[np.ndarray, pd.Index]:
    """Codes of values, and the distinct values in order of appearance."""
    try:
        codes, levels = pd.factorize(series)
    except TypeError as error:
        kind = type(series.dropna().iloc[0]).__name__
        raise TypeError(
            f"Column {name!r} holds values of the type {kind}, which is no category; "
            "leave it out of fields, or make a column of each part."
        ) from error
    return codes.astype("int32"), pd.Index(levels)


def events_of_kinds(column: Column, kinds: Any, name: str) -> np.ndarray:
    """Positions of the events of some kinds, ascending.

    Parameters
    ----------
    column : Column
        The field that holds the kinds.
    kinds : level of the field, or sequence of levels
        Kinds to find, each of which must occur.
    name : str
        Name of the field, for errors.

    Returns
    -------
    ndarray of int
        Positions in the log.
    """
    check_kinds(column, kinds, name)
    return np.flatnonzero(is_of_kinds(column, kinds))


def is_of_kinds(column: Column, kinds: Any) -> np.ndarray:
    """Tell which events are of some kinds, shape (n_events,)."""
    assert column.categories is not None
    wanted = list(kinds) if is_list_like(kinds) else [kinds]
    # One more, where the code -1 of an event without a kind finds itself.
    is_wanted = np.append(column.categories.isin(wanted), False)
    return is_wanted[column.values]


def check_kinds(column: Column, kinds: Any, name: str) -> None:
    """Raise a ValueError if a field has no kinds, or not those that are wanted."""
    wanted = list(kinds) if is_list_like(kinds) else [kinds]
    if column.categories is None:
        raise ValueError(f"Field {name!r} is {column.kind}, and has no kinds.")
    if not wanted:
        raise ValueError(
            f"kinds is empty; field {name!r} has {list(column.categories)}."
        )
    codes = column.categories.get_indexer(pd.Index(wanted))
    absent = [one for one, code in zip(wanted, codes, strict=True) if code < 0]
    if absent:
        raise ValueError(
            f"There are no events of the kinds {absent}; field {name!r} has "
            f"{list(column.categories)}."
        )


def in_one_unit(columns: Sequence[Column], name: str) -> list[Column]:
    """The same datetime field of several logs in the finest unit among them."""
    dtypes: Sequence[Any] = [column.values.dtype for column in columns]
    unit = np.datetime_data(np.result_type(*dtypes))[0]
    try:
        return [
            Column(pd.DatetimeIndex(column.values).as_unit(unit).to_numpy())  # type: ignore[arg-type]
            for column in columns
        ]
    except pd.errors.OutOfBoundsDatetime as error:
        raise ValueError(
            f"Field {name!r} has times of the unit {unit!r} in one log, and in another "
            f"times outside the years that this unit can hold ({error}); give both "
            "the coarser unit by .dt.as_unit before building the logs."
        ) from error


def join_columns(columns: Sequence[Column], name: str) -> Column:
    """Put the same field of several logs behind one another."""
    kinds = {column.kind for column in columns}
    if len(kinds) > 1:
        raise ValueError(
            f"Field {name!r} is {' in one log and '.join(sorted(kinds))} in another; "
            "give it one type before building the logs."
        )
    if "datetime" in kinds:
        columns = in_one_unit(columns, name)
    if columns[0].categories is None:
        return Column(np.concatenate([column.values for column in columns]))
    levels = [column.categories for column in columns if column.categories is not None]
    union = levels[0]
    for more in levels[1:]:
        union = union.union(more)
    codes = []
    for column, own in zip(columns, levels, strict=True):
        new = np.append(union.get_indexer(own), -1).astype("int32")
        codes.append(new[column.values])
    return Column(np.concatenate(codes), union)
