"""Fields of an events table: from any dataframe to NumPy columns and categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd
from pandas.api.types import is_list_like

from sklearn_seqcrm.events._ids import exact_ids, join_ids

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

    def is_empty(self) -> bool:
        """Tell whether all values are missing, shape of none included."""
        if self.categories is not None:
            return not (self.values >= 0).any()
        return bool(pd.isna(self.values).all())

    def without_values(self, n_events: int) -> Column:
        """A column of the same type in which every value is missing."""
        dtype = self.values.dtype
        missing: Any = -1
        if self.categories is None:
            missing = np.datetime64("NaT") if dtype.kind == "M" else np.nan
        return Column(np.full(n_events, missing, dtype=dtype), self.categories)

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


def read_column(
    column: nw.Series, name: str, what: str = "events", *, categorical: bool = False
) -> Column:
    """Turn one column of a table into a field of a log.

    Numbers and booleans become floats (float32 stays), datetimes stay (aware ones as
    UTC), everything else becomes categories, and so does what is asked to.
    """
    if categorical:
        return Column(*factorize(ids_of(column), name, what))
    if column.dtype == nw.Decimal:
        column = column.cast(nw.Float64)
    series = _unboxed(to_series(column))
    dtype = series.dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        return Column(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
    if pd.api.types.is_datetime64_dtype(dtype):
        return Column(series.to_numpy())
    if pd.api.types.is_timedelta64_dtype(dtype):
        raise TypeError(
            f"Field {name!r} holds lengths of time; make numbers of them, for example "
            f"{what}[{name!r}] / pd.Timedelta(days=1)."
        )
    # pandas calls categories of booleans booleans as well.
    has_levels = isinstance(dtype, pd.CategoricalDtype)
    if not has_levels and (
        pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)
    ):
        wanted = "float32" if dtype == np.float32 else "float64"
        return Column(series.to_numpy(dtype=wanted, na_value=np.nan))
    return Column(*factorize(series, name, what))


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
    except TypeError as error:
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
    return codes, pd.Index(levels)


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
    if next(iter(alike.values())).kind != "datetime":
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
    empty = Column(np.empty(0, np.result_type(*dtypes)))
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
    # One more, where the code -1 of a missing value finds itself.
    return {
        name: Column(np.append(table, np.int32(-1))[parts[name].values], union)
        for name, table in tables
    }, union
