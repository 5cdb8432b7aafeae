"""Read a table of any dataframe library into a timeline and fields.

Each column of the table gets one of four dtypes in the log:

==============================================  ======================================
column of the table                             values of the field, (n_events,)
==============================================  ======================================
numbers, booleans, Decimals                     float64 (float32 stays), NaN: missing
naive or aware datetimes, dates                 datetime64, aware ones in UTC
lists and arrays of numbers of one length       float32, (n_events, n_components)
text, everything else, `categorical`            int32 codes into ascending levels,
                                                -1: missing
==============================================  ======================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd
from narwhals.exceptions import DuplicateError

from sklearn_seqcrm._durations import DURATION_OBJECTS, type_of_objects
from sklearn_seqcrm._ragged import sort_events
from sklearn_seqcrm._store import (
    Clock,
    Column,
    ObservationWindow,
    Timeline,
    are_datetimes,
    are_numbers,
    check_list,
    check_none_missing,
    datetimes_of_objects,
    factorize,
    ids_of,
    refuse_values,
    scalar_values,
    to_series,
)
from sklearn_seqcrm.events._read_vectors import holds_lists, read_vectors


class Events(NamedTuple):
    """The content of a log."""

    timeline: Timeline  # customers and sorted times
    columns: dict[str, Column]  # every field in the order of the timeline


def read_table(table: Any, what: str = "events") -> nw.DataFrame:
    """Return the table in memory that an object holds or computes; refuse others.

    A query is run: a lazy frame of polars, a relation of DuckDB, and any other object
    with ``__arrow_c_stream__``, for which pyarrow is needed. An error names it `what`.
    """
    try:
        return nw.from_native(table, eager_only=True)
    except DuplicateError as error:
        raise ValueError(
            f"{what} has columns of the same name; rename them. {error}"
        ) from error
    except TypeError:
        # Not a table in memory: a query, a stream, or no table at all.
        found = nw.from_native(table, pass_through=True)
    if isinstance(found, nw.LazyFrame):
        return found.collect()
    # A Series of pandas is an Arrow stream, too, but not one of a table.
    if hasattr(table, "__arrow_c_stream__") and not isinstance(table, pd.Series):
        import pyarrow as pa

        return nw.from_native(pa.table(table), eager_only=True)
    raise TypeError(
        f"{what} must be a pandas, polars or pyarrow table, or a query that gives one "
        "(a LazyFrame, a DuckDB relation, whatever has __arrow_c_stream__); got "
        f"{type(table).__module__}.{type(table).__name__}.{_way_to_table(table)}"
    )


def _way_to_table(table: Any) -> str:
    """Return how to make a table of an object, if that is simple."""
    if hasattr(table, "to_frame"):
        return " Its to_frame() makes a table."
    if isinstance(table, Mapping | list | np.ndarray):
        return " pd.DataFrame(...) makes a table of it."
    return ""


def index_advice(index: Any, name: Any) -> str:
    """Return how to get the column `name` if it is in the index of a pandas table.

    `index` is that of the table, None for tables of other libraries.
    """
    if name not in getattr(index, "names", ()):
        return ""
    return " It is in the index, of which .reset_index() makes columns."


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
    """Read the events of a table, one row or more, sorted by customer and time.

    `customer` and `time` are the names of the two key columns, and `fields` the columns
    to keep; None: all but the keys. Fields that are `categorical` are read as
    categories, whatever their dtype. `observed_until` is the last time that was
    observed; None: the last event. An error names the table `what`.
    """
    index = getattr(table.to_native(), "index", None)
    names = field_names(table.columns, customer, time, fields, what, index)
    as_categories = chosen_among(categorical, names, what, "categorical")
    if not len(table):
        raise ValueError(
            f"{what} has no rows; a log needs at least one event. Where a source may "
            "have none, leave it out; append to a log accepts an empty table."
        )
    ids, values = ids_of(table[customer]), to_series(table[time])
    check_none_missing(ids, f"customer column {customer!r} of {what}")
    check_none_missing(values, f"time column {time!r} of {what}")
    # codes: (n_events,), positions in the ascending ids.
    codes, customers = factorize(ids, customer, what)
    where = "" if what == "events" else f" of {what}"
    clock, times = Clock.of(values, f"times in column {time!r}{where}")
    order, offsets, times = sort_events(codes, times, len(customers))
    del codes, ids, values  # before the fields are read, to save memory
    observation = ObservationWindow.of(clock, times, observed_until)
    # Categories first: reading them needs the most memory beside the result.
    by_need = sorted(names, key=lambda name: _is_numeric(table[name], name, what))
    columns = {
        name: read_column(
            table[name], name, what, categorical=name in as_categories
        ).take(order)
        for name in by_need
    }
    timeline = Timeline(customers, offsets, times, clock, observation)
    timeline.check_span(f"times in column {time!r}{where}")
    return Events(timeline, {name: columns[name] for name in names})


def _is_numeric(column: nw.Series, name: str, what: str) -> bool:
    try:
        return column.dtype.is_numeric()
    except ValueError as error:  # of narwhals: decimals of a negative scale
        raise ValueError(
            f"Field {name!r} of {what} has an Arrow type that is not supported "
            f"({error}). Cast the column, for example to pa.float64()."
        ) from error


def field_names(
    columns: Iterable[str],
    customer: str,
    time: str,
    fields: Sequence[str] | None,
    what: str,
    index: Any = None,
) -> list[str]:
    """Return the names of the fields to store; refuse missing and repeated columns."""
    columns, keys = list(columns), (customer, time)
    for name, role in ((customer, "customer"), (time, "time")):
        refuse_values(name, role, what)
        if name not in columns:
            raise KeyError(
                f"{what} has no {role} column {name!r}; it has {columns}."
                f"{index_advice(index, name)}"
            )
    if customer == time:
        raise ValueError(f"customer and time are the same column {customer!r}.")
    if fields is None:
        chosen = [name for name in columns if name not in keys]
    else:
        chosen = chosen_among(fields, columns, what, "fields")
        repeated = [name for name in chosen if name in keys]
        if repeated:
            raise ValueError(f"fields repeats the customer or time column: {repeated}.")
    numbered = [name for name in (*keys, *chosen) if not isinstance(name, str)]
    if numbered:
        way = f"{what}.columns.astype(str)"
        if any(isinstance(name, tuple) for name in numbered):
            way = f"['_'.join(map(str, one)) for one in {what}.columns]"
        raise TypeError(
            f"{what} has columns whose names are not text, {numbered}; rename them, "
            f"for example by {what}.columns = {way}."
        )
    return chosen


def chosen_among(names: Any, among: Sequence[str], what: str, option: str) -> list[str]:
    """Return the names that a user chose, each once; refuse unknown ones."""
    names = check_list(names, option, "columns")
    lost = [name for name in names if name not in among]
    if lost:
        raise KeyError(
            f"{what} has no columns {lost} for {option}; it has {list(among)}."
        )
    return list(dict.fromkeys(names))


def read_column(
    column: nw.Series, name: str, what: str = "events", *, categorical: bool = False
) -> Column:
    """Convert one column of a table to a field of a log, see the table above.

    With `categorical`, values are read as categories, whatever their dtype. An error
    names the field `name`, and the table `what`.
    """
    # Exactly: ids that are Decimals or large integers never become floats.
    if categorical:
        return Column(*factorize(ids_of(column), name, what))
    if holds_lists(column):
        return Column(read_vectors(column, name, what))
    if column.dtype == nw.Decimal:
        # As text: Arrow casts one Decimal of eight to a neighbour of the nearest float.
        column = column.cast(nw.String).cast(nw.Float64)
    series = _from_objects(to_series(column), name)
    _refuse_no_numbers(series, name, what)
    values = scalar_values(series)
    if values is not None:
        return Column(values)
    return Column(*factorize(series, name, what))


def _from_objects(series: pd.Series, name: str) -> pd.Series:
    """Convert numbers and dates that are objects, as database drivers return them."""
    if series.dtype != object:
        return series
    if are_datetimes(series):
        return datetimes_of_objects(series, f"values of the field {name!r}")
    if are_numbers(series):
        try:
            return pd.Series(series.to_numpy(dtype="float64", na_value=np.nan))
        except OverflowError as error:
            raise ValueError(
                f"Field {name!r} holds an integer that is too large for a float. If it "
                f"is an id, list {name!r} in categorical=[...]; otherwise use a "
                "coarser unit, or its logarithm."
            ) from error
    return series


def _refuse_no_numbers(series: pd.Series, name: str, what: str) -> None:
    """Raise a TypeError for values that are like numbers, but no quantities."""
    objects = type_of_objects(series) if series.dtype == object else None
    if objects in DURATION_OBJECTS or pd.api.types.is_timedelta64_dtype(series.dtype):
        raise TypeError(
            f"Field {name!r} holds lengths of time; make numbers of them, for example "
            f"{what}[{name!r}] / pd.Timedelta(days=1)."
        )
    if objects == "complex" or pd.api.types.is_complex_dtype(series.dtype):
        raise TypeError(
            f"Field {name!r} holds complex numbers; make fields of their parts, such "
            f"as {what}[{name!r}].to_numpy().real."
        )
