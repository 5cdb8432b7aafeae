"""Find the history columns of a DataFrame."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sklearn_seqcrm._store import RawLog
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


def history_columns(X: Any) -> list[Any]:
    """Names of the columns that hold histories.

    Parameters
    ----------
    X : DataFrame of shape (n, n_columns)
        Rows with at least one history column.

    Returns
    -------
    list of str
        At least one name, in the order of the columns.

    Raises
    ------
    TypeError
        If `X` is no DataFrame.
    ValueError
        If no column holds histories, or two columns have the same name.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> events = pd.DataFrame({"customer": ["a", "a", "b"], "time": [1, 3, 2]})
    >>> log = EventLog(events, customer="customer", time="time")
    >>> X = log.attach(pd.DataFrame({"customer": ["b", "a"], "age": [31, 54]}))
    >>> history_columns(X)
    ['history']
    """
    if not isinstance(X, pd.DataFrame):
        raise TypeError(
            "X must be a pandas DataFrame with a history column, which EventLog.attach "
            f"adds; got {type(X).__module__}.{type(X).__name__}. After another "
            "transformer, its set_output(transform='pandas') keeps the column."
        )
    refuse_repeated_columns(X)
    names = names_of_histories(X)
    if not names:
        raise ValueError(
            "X has no history column; EventLog.attach adds one. Its columns are "
            f"{list(X.columns)}."
        )
    return names


def refuse_repeated_columns(X: pd.DataFrame) -> None:
    """Raise a ValueError if two columns have the same name."""
    if not X.columns.is_unique:
        twice = X.columns[X.columns.duplicated()].unique().tolist()
        raise ValueError(f"X has several columns of the names {twice}; rename them.")


def refuse_missing_histories(array: HistoryArray, name: Any) -> None:
    """Raise a ValueError if rows of the column `name` have no history."""
    n_missing = int(array.isna().sum())
    if n_missing:
        raise ValueError(
            f"Column {name!r} has {n_missing} missing histories; a customer without "
            "events has an empty history, which EventLog.attach makes."
        )


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


def one_history(X: Any, history: Any = None) -> HistoryArray:
    """The histories of all rows, from the one column to be read.

    Parameters
    ----------
    X : DataFrame, Series or HistoryArray
        Rows with a history column, that column, or its array.
    history : str or None, default=None
        Name of the column of a DataFrame; None: the only one that holds histories.

    Returns
    -------
    HistoryArray of shape (n,)
        Histories, none of them missing.

    Raises
    ------
    KeyError
        If `X` has no column `history`.
    TypeError
        If `X` or the column holds no histories.
    ValueError
        If there is no history column, several and no choice, or histories are missing.
    """
    if isinstance(X, HistoryArray):
        array = X
    elif isinstance(X, pd.Series):
        array = as_history_array(X)
    else:
        array = as_history_array(X[_choose(X, history)])
    n_missing = int(array.isna().sum())
    if n_missing:
        raise ValueError(
            f"{n_missing} of {len(array)} rows have no history (missing, which is not "
            "the same as empty), and so no cutoff; drop them, or attach them again."
        )
    return array


def check_raw(array: HistoryArray, reader: str) -> HistoryArray:
    """Let raw histories pass and say what to do with encoded ones.

    Parameters
    ----------
    array : HistoryArray of shape (n,)
        Histories of any log.
    reader : str
        Who needs raw histories, for the error.

    Returns
    -------
    HistoryArray of shape (n,)
        The same array.
    """
    if not isinstance(array.log, RawLog):
        raise TypeError(
            f"{reader} reads raw histories, but these are encoded; give it the X that "
            "EventLog.attach made, which is the X that went into the HistoryEncoder."
        )
    return array


def _choose(X: Any, history: Any) -> Any:
    found = history_columns(X)
    if history is None:
        if len(found) > 1:
            raise ValueError(
                f"X has {len(found)} history columns, {found}; choose one of them with "
                f"history={found[0]!r}."
            )
        return found[0]
    if history not in X.columns:
        raise KeyError(f"X has no column {history!r}; its history columns are {found}.")
    return history
