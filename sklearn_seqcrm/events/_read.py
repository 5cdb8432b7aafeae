"""From a table of any dataframe library to the timeline and the fields of a log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import narwhals.stable.v1 as nw
import pandas as pd
from narwhals.exceptions import DuplicateError

from sklearn_seqcrm._ragged import sort_events
from sklearn_seqcrm._store import (
    Clock,
    Column,
    Record,
    Timeline,
    factorize,
    ids_of,
    refuse_missing,
    to_series,
)
from sklearn_seqcrm.events._checks import chosen_among, field_names
from sklearn_seqcrm.events._reach import refuse_wide
from sklearn_seqcrm.events._read_column import read_column


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
    record = Record.of(clock, times, observed_until)
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
