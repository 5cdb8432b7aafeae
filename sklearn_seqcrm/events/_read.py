"""Read a table of any dataframe library into a timeline and fields."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd
from narwhals.exceptions import DuplicateError

from sklearn_seqcrm._ragged import sort_events
from sklearn_seqcrm._store import (
    Clock,
    Column,
    ObservationWindow,
    Timeline,
    factorize,
    ids_of,
    many,
    refuse_missing,
    refuse_taken,
    scalar_values,
    to_series,
)
from sklearn_seqcrm.events._read_vectors import holds_lists, read_vectors
from sklearn_seqcrm.events._time_range import refuse_wide

# Fewer customers, none of whom the log knows, are no sign of ids gone wrong.
_FEW = 10


def field_names(
    columns: Iterable[str],
    customer: str,
    time: str,
    fields: Sequence[str] | None,
    what: str = "events",
) -> list[str]:
    """The fields to store, after a look at whether all columns are there."""
    columns = list(columns)
    for name, role in ((customer, "customer"), (time, "time")):
        if name not in columns:
            raise KeyError(f"{what} has no {role} column {name!r}; it has {columns}.")
    if customer == time:
        raise ValueError(f"customer and time are the same column {customer!r}.")
    if fields is None:
        chosen = [name for name in columns if name not in (customer, time)]
    else:
        chosen = _chosen(columns, (customer, time), fields, what)
    numbered = [name for name in (customer, time, *chosen) if not isinstance(name, str)]
    if numbered:
        raise TypeError(
            f"{what} has columns whose names are no text, {numbered}; name them, for "
            f"example {what}.columns.astype(str) makes text of numbers."
        )
    return chosen


def chosen_among(names: Any, among: Sequence[str], what: str, option: str) -> list[str]:
    """Names that a user chose, each once, after a look at whether they exist."""
    names = many(names, option, "columns")
    lost = [name for name in names if name not in among]
    if lost:
        raise KeyError(
            f"{what} has no columns {lost} for {option}; it has {list(among)}."
        )
    return list(dict.fromkeys(names))


def _chosen(
    columns: Sequence[str], keys: tuple[str, str], fields: Any, what: str
) -> list[str]:
    chosen = chosen_among(fields, columns, what, "fields")
    repeated = [name for name in chosen if name in keys]
    if repeated:
        raise ValueError(f"fields repeats the customer or time column: {repeated}.")
    return chosen


def check_rows(rows: pd.DataFrame, name: str) -> None:
    """Refuse rows that cannot take a history column of some name."""
    refuse_taken(name, rows.columns, "rows", "name")


def column_of(rows: pd.DataFrame, name: str, role: str) -> pd.Series:
    """A column of the rows without missing values."""
    if name not in rows.columns:
        raise KeyError(
            f"rows has no {role} column {name!r}; it has {list(rows.columns)}."
        )
    column = rows[name]
    if column.ndim > 1:
        raise ValueError(
            f"rows has {column.shape[1]} columns {name!r}, so that it is not clear "
            f"which holds the {role}; rename them."
        )
    refuse_missing(column, f"{role} column {name!r} of rows")
    return column


def warn_unknown_customers(ids: pd.Series, codes: np.ndarray, known: pd.Index) -> None:
    """Warn if none of many customers is known; a few may well be new ones."""
    if not len(codes) or (codes >= 0).any() or not len(known):
        return
    strangers = pd.Series(ids.unique())
    if len(strangers) < _FEW:
        return
    shown = [", ".join(map(repr, some[:3].tolist())) for some in (strangers, known)]
    warnings.warn(
        f"None of the {len(strangers):,} customers in column {ids.name!r} of rows is "
        f"known to the log, so that all histories are empty: {shown[0]}, ... in rows, "
        f"and {shown[1]}, ... in the log. Are their ids written differently?",
        UserWarning,
        stacklevel=4,
    )


def one_cutoff(cutoff: Any, rows: pd.DataFrame, clock: Clock) -> Any:
    """A cutoff for all rows, after a look at whether it is one."""
    if np.ndim(cutoff):
        raise TypeError(
            "cutoff must be a column of rows or one time for all of them; got "
            f"{type(cutoff).__name__}."
        )
    if pd.isna(cutoff):
        raise ValueError("cutoff is missing; None stands for everything known.")
    if isinstance(cutoff, str) and not _is_date(cutoff, clock):
        raise KeyError(
            f"cutoff={cutoff!r} is neither a column of rows, which has "
            f"{list(rows.columns)}, nor a time like those of the log."
        )
    return clock.parse(cutoff, "cutoffs")


def _is_date(text: str, clock: Clock) -> bool:
    """Whether a text can be a time of the log, apart from its time zone."""
    try:
        return clock.unit is not None and pd.Timestamp(text) is not pd.NaT
    except ValueError:
        return False


def read_column(
    column: nw.Series, name: str, what: str = "events", *, categorical: bool = False
) -> Column:
    """Turn one column of a table into a field of a log.

    Numbers and booleans become floats (float32 stays), datetimes stay (aware ones as
    UTC), lists and arrays become vectors of float32, everything else categories, and
    so does what is asked to.
    """
    if categorical:
        return Column(*factorize(ids_of(column), name, what))
    if holds_lists(column):
        return Column(read_vectors(column, name, what))
    if column.dtype == nw.Decimal:
        column = column.cast(nw.Float64)
    series = _unboxed(to_series(column))
    values = scalar_values(series)
    if values is not None:
        return Column(values)
    if pd.api.types.is_timedelta64_dtype(series.dtype):
        raise TypeError(
            f"Field {name!r} holds lengths of time; make numbers of them, for example "
            f"{what}[{name!r}] / pd.Timedelta(days=1)."
        )
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


class Events(NamedTuple):
    """What a log is made of.

    Parameters
    ----------
    timeline : Timeline
        Customers and sorted times.
    columns : dict of str to Column
        Every field in the order of the timeline.
    """

    timeline: Timeline
    columns: dict[str, Column]


def read_table(table: Any, what: str = "events") -> nw.DataFrame:
    """Accept whatever holds a table, in memory or as a query, or say what arrived.

    Parameters
    ----------
    table : pandas, polars or pyarrow table, lazy frame or Arrow stream
        A query is run: a lazy frame of polars, a relation of DuckDB, and all else that
        has ``__arrow_c_stream__``, for which pyarrow is needed.
    what : str, default="events"
        How an error names it.

    Returns
    -------
    narwhals.DataFrame
        The table in memory.
    """
    try:
        return nw.from_native(table, eager_only=True)
    except DuplicateError as error:
        raise ValueError(
            f"{what} has columns of the same name; rename them. {error}"
        ) from error
    except TypeError:
        found = nw.from_native(table, pass_through=True)
    if isinstance(found, nw.LazyFrame):
        return found.collect()
    if hasattr(table, "__arrow_c_stream__"):
        import pyarrow as pa

        return nw.from_native(pa.table(table), eager_only=True)
    raise TypeError(
        f"{what} must be a pandas, polars or pyarrow table, or a query that gives one "
        "(a LazyFrame, a DuckDB relation, whatever has __arrow_c_stream__); got "
        f"{type(table).__module__}.{type(table).__name__}."
    )


def read_rows(rows: Any) -> pd.DataFrame:
    """Rows of any table as a pandas DataFrame, which can hold histories.

    Parameters
    ----------
    rows : pandas, polars or pyarrow table, lazy frame or Arrow stream
        As `read_table` takes it.

    Returns
    -------
    DataFrame of shape (n, n_columns)
        `rows` themselves if they are one. Integers beside missing values stay exact.
    """
    if isinstance(rows, pd.DataFrame):
        return rows
    table = read_table(rows, "rows")
    return pd.DataFrame({name: to_series(table[name]) for name in table.columns})


def read_events(
    table: nw.DataFrame,
    customer: str,
    time: str,
    fields: Sequence[str] | None,
    *,
    categorical: Sequence[str] = (),
    observed_until: Any = None,
    what: str = "events",
) -> Events:
    """Read the events of a table, sorted by customer and time.

    Parameters
    ----------
    table : narwhals.DataFrame of at least one row
        What `read_table` returned.
    customer, time : str
        Names of the two key columns.
    fields : sequence of str or None
        Columns to keep; None: all others.
    categorical : sequence of str, default=()
        Fields to read as categories, whatever their type.
    observed_until : datetime, number or None, default=None
        The last moment that the table has recorded; None: the last event.
    what : str, default="events"
        How an error names the table.

    Returns
    -------
    Events
        The timeline and the fields.
    """
    names = field_names(table.columns, customer, time, fields, what)
    as_categories = chosen_among(categorical, names, what, "categorical")
    if not len(table):
        raise ValueError(f"{what} has no rows; a log needs at least one event.")
    ids, moments = ids_of(table[customer]), to_series(table[time])
    refuse_missing(ids, f"customer column {customer!r} of {what}")
    refuse_missing(moments, f"time column {time!r} of {what}")
    codes, customers = factorize(ids, customer, what)
    where = "" if what == "events" else f" of {what}"
    clock, times = Clock.of(moments, f"times in column {time!r}{where}")
    order, offsets, times = sort_events(codes, times, len(customers))
    del codes, ids, moments
    record = ObservationWindow.of(clock, times, observed_until)
    # Categories first: reading them needs most memory beside what is kept.
    by_need = sorted(names, key=lambda name: table[name].dtype.is_numeric())
    columns = {
        name: read_column(
            table[name], name, what, categorical=name in as_categories
        ).take(order)
        for name in by_need
    }
    timeline = Timeline(customers, offsets, times, clock, record)
    refuse_wide(timeline, f"times in column {time!r}{where}")
    return Events(timeline, {name: columns[name] for name in names})
