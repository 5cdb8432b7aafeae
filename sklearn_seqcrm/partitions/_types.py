"""Types of columns that all partitions share, and of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeGuard

import numpy as np
import pandas as pd

from sklearn_seqcrm.events import HistoryDtype


def is_list(values: Any) -> TypeGuard[Sequence[Any]]:
    """Return whether values are several, in an order; text is one value."""
    return isinstance(values, Sequence) and not isinstance(values, str | bytes)


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raise an error if a parameter is not a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number; got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be {least} or more; got {value}.")


def check_function(name: str, value: Any) -> None:
    """Raise a TypeError if a parameter is not a function of rows."""
    if not callable(value):
        raise TypeError(
            f"{name} must be a function of the rows of a partition; got "
            f"{type(value).__name__}."
        )


def plain_ids(ids: pd.Series) -> pd.Series:
    """Return ids, of categories their values."""
    dtype = ids.dtype
    if not isinstance(dtype, pd.CategoricalDtype):
        return ids
    levels: Any = dtype.categories.dtype
    return ids.astype(nullable(levels) if ids.isna().any() else levels)


def joined_tables(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables with the same columns; no whole number changes.

    By column: `pandas.concat` of tables would ignore the types of columns without
    values.
    """
    return pd.DataFrame({n: _joined([one[n] for one in tables]) for n in tables[0]})


def _joined(columns: Sequence[pd.Series]) -> pd.Series:
    """Concatenate columns; numbers are objects where floats would change some."""
    joined = pd.concat(columns, ignore_index=True)
    if getattr(joined.dtype, "kind", "O") != "f" or all(map(_fits_floats, columns)):
        return joined
    # Ids of 64 bits become floats beside uint64, and beside floats.
    exact = pd.concat([one.astype(object) for one in columns], ignore_index=True)
    known = exact.notna()
    if (exact[known] == joined[known].astype(object)).all():
        return joined
    is_whole = pd.api.types.infer_dtype(exact, skipna=False) == "integer"
    return exact.infer_objects() if is_whole else exact


def _fits_floats(column: pd.Series) -> bool:
    """Return whether values are floats, or integers of at most 2**53."""
    kind = getattr(column.dtype, "kind", "O")
    # As vectors: objects take forty times as long.
    return kind == "f" or (kind in "iu" and bool(column.between(-(2**53), 2**53).all()))


def as_table(found: Any, what: str = "The function") -> pd.DataFrame:
    """Return the result of a user's function as a DataFrame with text as names."""
    is_array = isinstance(found, np.ndarray) and found.ndim in (1, 2)
    if not is_array and not isinstance(found, pd.DataFrame | pd.Series):
        raise TypeError(
            f"{what} must return a pandas DataFrame, a Series or an array; got "
            f"{type(found).__module__}.{type(found).__name__}. Tables of most "
            "libraries are converted by .to_pandas()."
        )
    if isinstance(found, pd.Series):
        found = found.to_frame("0" if found.name is None else found.name)
    found = pd.DataFrame(found)
    found = found.set_axis([str(name) for name in found.columns], axis=1)
    if not found.columns.is_unique:
        twice = found.columns[found.columns.duplicated()].unique().tolist()
        raise ValueError(f"{what} returned several columns {twice}; rename them.")
    histories = [n for n, d in found.dtypes.items() if isinstance(d, HistoryDtype)]
    if histories:
        raise TypeError(
            f"{what} returned the histories {histories}; results are plain columns, "
            "so drop them. to_disk writes rows with their histories."
        )
    return found


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the values of categories, whose levels differ by partition.

    Whole numbers and booleans become nullable: a category may be missing.
    """
    changed: dict[str, pd.Series] = {}
    for name, dtype in table.dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype):
            levels = nullable(dtype.categories.dtype)
            changed[str(name)] = table[name].astype(levels)
    return table.assign(**changed)


def widened(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return a table without rows whose types hold those of other partitions, too."""
    table = plain(table)
    return table.astype({name: nullable(table[name].dtype) for name in names})


def nullable(dtype: Any) -> Any:
    """Return a type that holds missing values and whole numbers of any width."""
    numpy_type = getattr(dtype, "numpy_dtype", dtype)
    kind = getattr(numpy_type, "kind", "O")
    if kind == "u" and numpy_type.itemsize == 8:
        return "UInt64"
    return {"i": "Int64", "u": "Int64", "b": "boolean"}.get(kind, dtype)


def without_loss(
    column: pd.Series, dtype: Any, part: int, customers: pd.Series
) -> pd.Series:
    """Return a column with another type, or raise an error if a value would change."""
    own, wanted = (getattr(one, "numpy_dtype", one) for one in (column.dtype, dtype))
    try:
        cast = _cast(column, dtype)
    except (TypeError, ValueError, OverflowError):
        differs = np.ones(len(column), bool)
    else:
        if (
            isinstance(own, np.dtype)
            and isinstance(wanted, np.dtype)
            and own.kind == wanted.kind
            and own.kind in "biuf"
            and np.can_cast(own, wanted)
        ):
            return cast
        differs = np.array(column.isna() != cast.isna(), dtype=bool)
        known = np.flatnonzero(column.notna() & cast.notna())
        # As objects, whole numbers and floats compare exactly.
        before, after = (
            one.iloc[known].to_numpy(dtype=object) for one in (column, cast)
        )
        differs[known] = before != after
    if not differs.any():
        return cast
    first = customers.tolist()[int(np.argmax(differs))]
    raise TypeError(_loss(column, dtype, part, first, column.name == customers.name))


def _loss(
    column: pd.Series, dtype: Any, part: int, customer: Any, is_customer: bool
) -> str:
    """Return an error that names a value which a type cannot hold."""
    where = "" if part < 0 else f" of partition {part}"
    if is_customer:
        return (
            f"Customers in column {column.name!r}{where} have the type {column.dtype}, "
            f"and in others {dtype}, which cannot hold them (here {customer!r}). Give "
            "ids of one type in all partitions, or make text of all ids."
        )
    return (
        f"Column {column.name!r}{where} has the type {column.dtype}, and in others or "
        f"in meta= {dtype}, which cannot hold its values (here of the customer "
        f"{customer!r}). Return one type in all partitions, or give a wider one by "
        "meta=."
    )


def _cast(column: pd.Series, dtype: Any) -> pd.Series:
    """Convert a column; levels that the type lacks become missing.

    Without filters of warnings, which would hold for the threads of other partitions.
    """
    levels = getattr(dtype, "categories", None)
    if levels is None:
        with np.errstate(over="ignore", invalid="ignore"):
            return column.astype(dtype)
    # `astype` warns of the levels that `dtype` lacks.
    codes = levels.get_indexer(column.to_numpy(dtype=object))
    values = pd.Categorical.from_codes(codes, dtype=dtype)
    return pd.Series(values, column.index, name=column.name)
