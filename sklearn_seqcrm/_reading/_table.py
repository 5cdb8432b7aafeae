"""X as a table whose histories are history columns, read once for all that need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._reading._find import (
    as_history_array,
    names_of_histories,
    refuse_repeated_columns,
)
from sklearn_seqcrm._store import RawLog
from sklearn_seqcrm.events import HistoryArray


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of X, and the histories among its columns.

    Parameters
    ----------
    frame : DataFrame of shape (n, n_columns)
        The rows.
    histories : dict of name to HistoryArray of shape (n,)
        The history columns, in the order of the columns.
    is_named : bool, default=True
        Whether the columns had names. Those of an array get ``"x0"``, ``"x1"``, ...
    """

    frame: pd.DataFrame
    histories: Mapping[Any, HistoryArray]
    is_named: bool = True

    @classmethod
    def of(cls, X: Any) -> Self:
        """Read rows with at least one history column.

        Parameters
        ----------
        X : DataFrame, or object array of shape (n, n_columns)
            As `as_frame` takes it.

        Returns
        -------
        Table
            The rows with all columns.

        Raises
        ------
        TypeError
            If `X` is neither.
        ValueError
            If no column holds histories, or two columns have the same name.
        """
        frame, names = _converted(_framed(X))
        if not names:
            _refuse_no_history(frame)
        histories = {name: frame[name].array for name in names}
        return cls(frame, histories, not isinstance(X, np.ndarray))

    def refuse_encoded(self, reader: str) -> Self:
        """Raise a TypeError if histories are encoded and `reader` needs raw ones."""
        for name, array in self.histories.items():
            check_raw(array, reader, f"those in {name!r}")
        return self

    def refuse_missing(self) -> Self:
        """Raise a ValueError if a row has no history, which is not an empty one."""
        for name, array in self.histories.items():
            n_missing = int(array.isna().sum())
            if n_missing:
                raise ValueError(
                    f"Column {name!r} has {n_missing} missing histories; a customer "
                    "without events has an empty history, which EventLog.attach makes."
                )
        return self

    def refuse_no_rows(self, reader: str) -> Self:
        """Raise a ValueError if there is no row."""
        if not len(self.frame):
            raise ValueError(f"X has no rows; {reader} needs at least one.")
        return self


def has_histories(X: Any) -> bool:
    """Tell whether one of the columns of X holds histories.

    Parameters
    ----------
    X : object
        Anything. A DataFrame, or an object array of shape (n, n_columns), can.

    Returns
    -------
    bool
        True if a column is a history column, or an object column of histories.
    """
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 2:
        X = pd.DataFrame(X)
    return isinstance(X, pd.DataFrame) and bool(names_of_histories(X))


def as_frame(X: Any) -> pd.DataFrame:
    """Return X as a DataFrame whose histories are history columns.

    Parameters
    ----------
    X : DataFrame, or object array of shape (n, n_columns)
        An object array is what ColumnTransformer makes of a DataFrame with histories
        unless it was told to ``set_output(transform="pandas")``.

    Returns
    -------
    DataFrame of shape (n, n_columns)
        `X` itself if nothing had to be converted. The columns of an array are named
        ``"x0"``, ``"x1"``, ...

    Raises
    ------
    TypeError
        If `X` is neither.
    ValueError
        If two columns have the same name.
    """
    return _converted(_framed(X))[0]


def names_of_unnamed(n_columns: int) -> list[str]:
    """Names for the columns of an array."""
    return [f"x{i}" for i in range(n_columns)]


def _framed(X: Any) -> pd.DataFrame:
    """X with names for its columns, each once; histories may be objects."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 2:
        X = pd.DataFrame(X, columns=names_of_unnamed(X.shape[1])).infer_objects()
    if not isinstance(X, pd.DataFrame):
        way = "After another transformer, its set_output(transform='pandas') keeps it."
        if hasattr(X, "to_pandas"):
            way = "X.to_pandas() makes a DataFrame; attach histories to that."
        raise TypeError(
            "X must be a pandas DataFrame with a history column, which EventLog.attach "
            f"adds; got {type(X).__module__}.{type(X).__name__}. {way}"
        )
    refuse_repeated_columns(X)
    return X


def _converted(X: pd.DataFrame) -> tuple[pd.DataFrame, list[Any]]:
    """X with histories that were objects as history columns, and the names of all."""
    names = names_of_histories(X)
    objects = {n: as_history_array(X[n]) for n in names if X[n].dtype == object}
    if objects:
        X = X.copy(deep=False)
    for name, array in objects.items():  # whose names need not be text
        X[name] = array
    return X, names


def _refuse_no_history(X: pd.DataFrame) -> None:
    raise ValueError(
        "X has no history column; EventLog.attach adds one. Its columns are "
        f"{list(X.columns)}."
    )


def one_history(X: Any, history: Any = None) -> HistoryArray:
    """The histories of all rows, from the one column to be read.

    Parameters
    ----------
    X : DataFrame, object array, Series or HistoryArray
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
        array = _choose(_framed(X), history)
    n_missing = int(array.isna().sum())
    if n_missing:
        raise ValueError(
            f"{n_missing} of {len(array)} rows have no history (missing, which is not "
            "the same as empty), and so no cutoff; drop them, or attach them again."
        )
    return array


def check_raw(array: HistoryArray, reader: str, which: str = "these") -> HistoryArray:
    """Let raw histories pass and say what to do with encoded ones.

    Parameters
    ----------
    array : HistoryArray of shape (n,)
        Histories of any log.
    reader : str
        Who needs raw histories, for the error.
    which : str, default="these"
        How the error names them.

    Returns
    -------
    HistoryArray of shape (n,)
        The same array.
    """
    if not isinstance(array.log, RawLog):
        raise TypeError(
            f"{reader} reads raw histories, but {which} are encoded; give it the X "
            "that EventLog.attach made, as it was before a HistoryEncoder."
        )
    return array


def _choose(X: pd.DataFrame, history: Any) -> HistoryArray:
    """The column to read; no other is looked into."""
    found = names_of_histories(X)
    if not found:
        _refuse_no_history(X)
    if history is None:
        if len(found) > 1:
            raise ValueError(
                f"X has {len(found)} history columns, {found}; choose one of them with "
                f"history={found[0]!r}."
            )
        history = found[0]
    elif history not in X.columns:
        raise KeyError(f"X has no column {history!r}; its history columns are {found}.")
    return as_history_array(X[history])
