"""Columns of histories among others, and back from objects."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sklearn_seqcrm.events import History, HistoryArray, HistoryDtype


def holds_histories(column: pd.Series) -> bool:
    """Tell whether a column holds histories.

    Parameters
    ----------
    column : Series
        Any column of a DataFrame.

    Returns
    -------
    bool
        True for a history column, and for an object column whose first value that is
        not missing is a History. A ColumnTransformer makes the latter of the former.
    """
    if column.dtype != object:
        return isinstance(column.dtype, HistoryDtype)
    present = column.notna().to_numpy()
    return bool(present.any()) and isinstance(column.iloc[present.argmax()], History)


def names_of_histories(X: pd.DataFrame) -> list[Any]:
    """Names of the columns that hold histories, if any; they may be repeated.

    Parameters
    ----------
    X : DataFrame of shape (n, n_columns)
        Any rows.

    Returns
    -------
    list of str
        Names in the order of the columns. Only object columns are taken out of `X`:
        taking out hundreds would cost as much as the rest of scoring a row.
    """
    return [
        name
        for i, (name, dtype) in enumerate(X.dtypes.items())
        if isinstance(dtype, HistoryDtype)
        or (pd.api.types.is_object_dtype(dtype) and holds_histories(X.iloc[:, i]))
    ]


def refuse_repeated_columns(X: pd.DataFrame) -> None:
    """Raise a ValueError if two columns have the same name."""
    if not X.columns.is_unique:
        twice = X.columns[X.columns.duplicated()].unique().tolist()
        raise ValueError(f"X has several columns of the names {twice}; rename them.")


def as_history_array(column: pd.Series) -> HistoryArray:
    """The histories of a column.

    Parameters
    ----------
    column : Series of shape (n,)
        A history column, or an object column of History scalars.

    Returns
    -------
    HistoryArray of shape (n,)
        The array itself, or a new one over the same log.

    Raises
    ------
    TypeError
        If the column holds something else.
    """
    if isinstance(column.array, HistoryArray):
        return column.array
    if not holds_histories(column):
        raise TypeError(
            f"Column {column.name!r} must hold histories, but its type is "
            f"{column.dtype}; EventLog.attach makes them."
        )
    return HistoryArray._from_sequence(column.array)
