"""Columns that a table must have, and values that they must not lack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm.events._clock import Clock


def field_names(
    columns: Iterable[str], customer: str, time: str, fields: Sequence[str] | None
) -> list[str]:
    """The fields to store, after a look at whether all columns are there."""
    columns = list(columns)
    for name, role in ((customer, "customer"), (time, "time")):
        if name not in columns:
            raise KeyError(f"events has no {role} column {name!r}; it has {columns}.")
    if customer == time:
        raise ValueError(f"customer and time are the same column {customer!r}.")
    if fields is None:
        return [name for name in columns if name not in (customer, time)]
    if isinstance(fields, str):
        raise TypeError(f"fields must be a list of columns; got the text {fields!r}.")
    lost = [name for name in fields if name not in columns]
    if lost:
        raise KeyError(f"events has no columns {lost} for fields; it has {columns}.")
    keys = [name for name in fields if name in (customer, time)]
    if keys:
        raise ValueError(f"fields repeats the customer or time column: {keys}.")
    return list(dict.fromkeys(fields))


def column_of(rows: pd.DataFrame, name: str, role: str) -> pd.Series:
    """A column of the rows without missing values."""
    if name not in rows.columns:
        raise KeyError(
            f"rows has no {role} column {name!r}; it has {list(rows.columns)}."
        )
    column = rows[name]
    refuse_missing(column, f"{role} column {name!r} of rows")
    return column


def refuse_missing(values: pd.Series, what: str) -> None:
    missing = values.isna().to_numpy()
    if missing.any():
        where = np.flatnonzero(missing)
        first = ", ".join(str(values.index[i]) for i in where[:5])
        raise ValueError(
            f"The {what} has {len(where)} missing values, the first in the rows "
            f"{first}; drop or fill them."
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
