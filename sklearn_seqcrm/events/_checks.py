"""Columns that a table must have, and values that they must not lack."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Clock, many, refuse_missing, refuse_taken

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


def warn_of_strangers(ids: pd.Series, codes: np.ndarray, known: pd.Index) -> None:
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
