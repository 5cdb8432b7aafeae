"""X as a table of histories and statics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import RawLog, refuse_values
from sklearn_seqcrm.events import History, HistoryArray, HistoryDtype


def holds_histories(column: pd.Series) -> bool:
    """Return whether a column holds histories.

    A history column does, and an object column whose first non-missing value is a
    History, to which a ColumnTransformer converts history columns.
    """
    if column.dtype != object:
        return isinstance(column.dtype, HistoryDtype)
    # The first value decides; to check all would take time in proportion to the rows.
    present = column.notna().to_numpy()
    return bool(present.any()) and isinstance(column.iloc[present.argmax()], History)


def names_of_histories(X: pd.DataFrame) -> list[Any]:
    """Return the names of the columns that hold histories; names may be repeated.

    Only object columns are accessed: to access hundreds would cost as much as the rest
    of scoring a row.
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
    """Return the histories of a history column, or of a column of History scalars.

    It is the array itself, or a new one over the same log. Raises a TypeError if the
    column holds something else.
    """
    if isinstance(column.array, HistoryArray):
        return column.array
    if not holds_histories(column):
        raise TypeError(
            f"Column {column.name!r} must hold histories, but its type is "
            f"{column.dtype}; EventLog.attach makes them."
        )
    return HistoryArray._from_sequence(column.array)


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of X, and the arrays of its history columns."""

    frame: pd.DataFrame  # (n, n_columns): the rows
    # The history columns, each of shape (n,), in the order of the columns.
    histories: Mapping[Any, HistoryArray]
    # Whether the columns had names. Columns of an array get ``"x0"``, ``"x1"``, ...
    is_named: bool = True

    @classmethod
    def of(cls, X: Any) -> Self:
        """Read rows with at least one history column; see `as_frame`.

        Raises a TypeError if `X` is neither a DataFrame nor an object array, and a
        ValueError if no column holds histories, or two columns have the same name.
        """
        frame, names = _convert_histories(_to_frame(X))
        if not names:
            _refuse_no_history(frame)
        histories = {name: frame[name].array for name in names}
        return cls(frame, histories, not isinstance(X, np.ndarray))

    def refuse_encoded(self, reader: str) -> Self:
        """Raise a TypeError if histories are encoded; `reader` needs raw ones."""
        for name, array in self.histories.items():
            check_raw(array, reader, f"those in {name!r}")
        return self

    def refuse_missing(self) -> Self:
        """Raise a ValueError if a history is missing; an empty one is not."""
        for name, array in self.histories.items():
            _refuse_missing(array, f"Column {name!r} has")
        return self

    def refuse_no_rows(self, reader: str) -> Self:
        """Raise a ValueError if there is no row."""
        if not len(self.frame):
            raise ValueError(f"X has no rows; {reader} needs at least one.")
        return self


def has_histories(X: Any) -> bool:
    """Return whether X is a DataFrame or object array with a column of histories."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 2:
        X = pd.DataFrame(X)
    return isinstance(X, pd.DataFrame) and bool(names_of_histories(X))


def as_pandas(X: Any) -> Any:
    """Return a table or Series of polars or pyarrow in pandas, others as they are."""
    if not hasattr(X, "to_pandas"):
        return X
    try:
        return X.to_pandas()
    except ModuleNotFoundError:  # polars needs pyarrow for it
        if hasattr(X, "columns"):
            return pd.DataFrame(X.to_dict(as_series=False))
        return pd.Series(X.to_list(), name=X.name)


def as_frame(X: Any) -> pd.DataFrame:
    """Return X as a DataFrame whose histories are history columns.

    `X` is a DataFrame, returned itself if nothing needs converting, or an object array,
    (n, n_columns): ColumnTransformer makes one of a DataFrame with histories, unless
    ``set_output(transform="pandas")`` was called. The columns of an array are named
    ``"x0"``, ``"x1"``, ...

    Raises a TypeError if `X` is neither, and a ValueError if two columns have the same
    name.
    """
    return _convert_histories(_to_frame(X))[0]


def key_names(X: pd.DataFrame) -> set[Any]:
    """Return the names of the customer and cutoff columns by which X was attached.

    X may no longer have these columns. Histories in object columns do not store their
    keys.
    """
    return {key for d in X.dtypes if isinstance(d, HistoryDtype) for key in d.keys}


def default_names(n_columns: int) -> list[str]:
    """Return names for the columns of an array."""
    return [f"x{i}" for i in range(n_columns)]


def _to_frame(X: Any) -> pd.DataFrame:
    """Return X as a DataFrame with unique column names; histories may be objects."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 2:
        X = pd.DataFrame(X, columns=default_names(X.shape[1])).infer_objects()
    if not isinstance(X, pd.DataFrame):
        way = "After another transformer, its set_output(transform='pandas') keeps it."
        if isinstance(X, pd.Series | HistoryArray):
            way = (
                "Select a list of columns, X[['history']], also in a "
                "ColumnTransformer, and X.iloc[[0]] for one row."
            )
        if hasattr(X, "to_pandas"):
            way = f"X.to_pandas() makes a DataFrame; attach histories to that. {way}"
        raise TypeError(
            "X must be a pandas DataFrame with a history column, which EventLog.attach "
            f"adds; got {type(X).__module__}.{type(X).__name__}. {way}"
        )
    refuse_repeated_columns(X)
    return X


def _convert_histories(X: pd.DataFrame) -> tuple[pd.DataFrame, list[Any]]:
    """Convert objects to history columns; return X and the names of all histories."""
    names = names_of_histories(X)
    objects = {n: as_history_array(X[n]) for n in names if X[n].dtype == object}
    if objects:
        X = X.copy(deep=False)
    for name, array in objects.items():  # not X.assign: names need not be text
        X[name] = array
    return X, names


def _refuse_missing(array: HistoryArray, whose: str) -> None:
    n_missing = int(array.isna().sum())
    if n_missing:
        raise ValueError(
            f"{whose} {n_missing} missing histories in {len(array)} rows, which have "
            "no cutoff. Drop these rows, or attach them again: a customer without "
            "events has an empty history, which EventLog.attach makes."
        )


def _refuse_no_history(X: pd.DataFrame) -> None:
    raise ValueError(
        "X has no history column; EventLog.attach adds one. Its columns are "
        f"{list(X.columns)}."
    )


def one_history(
    X: Any, history: Any = None, way_out: str = "history={!r}"
) -> HistoryArray:
    """Return the histories of all rows from one column, none of them missing.

    `X` are rows with a history column, that column, or its array. `history` is the name
    of the column of a DataFrame; None for the only history column. `way_out` is how the
    error about several columns names the argument, with one of them.

    Raises a KeyError if `X` has no column `history`, a TypeError if `X` or the column
    holds no histories, and a ValueError if there is no history column, `history` does
    not choose one of several, or histories are missing.
    """
    if isinstance(X, HistoryArray):
        array = X
    elif isinstance(X, pd.Series):
        array = as_history_array(X)
    else:
        array = _choose_history(_to_frame(X), history, way_out)
    _refuse_missing(array, "The history column has")
    return array


def check_raw(array: HistoryArray, reader: str, which: str = "these") -> HistoryArray:
    """Return raw histories, and raise a TypeError for encoded ones.

    The error names the function that needs raw ones, `reader`, and the encoded ones,
    `which`.
    """
    if not isinstance(array.log, RawLog):
        raise TypeError(
            f"{reader} needs raw histories, but {which} are encoded; give it X as "
            "EventLog.attach returned it, before a HistoryEncoder."
        )
    return array


def _choose_history(X: pd.DataFrame, history: Any, way_out: str) -> HistoryArray:
    """Return the histories of the chosen column, with errors as in `one_history`."""
    found = names_of_histories(X)
    if not found:
        _refuse_no_history(X)
    refuse_values(history, "history", "X")
    if history is None:
        if len(found) > 1:
            raise ValueError(
                f"X has {len(found)} history columns, {found}; choose one of them with "
                f"{way_out.format(found[0])}."
            )
        history = found[0]
    elif history not in list(X.columns):  # a list, as `history` may be unhashable
        raise KeyError(f"X has no column {history!r}; its history columns are {found}.")
    return as_history_array(X[history])
