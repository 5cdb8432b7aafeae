"""What X consists of: histories, the keys they were attached by, and statics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm.events._clock import Clock
from sklearn_seqcrm.events._find import history_columns
from sklearn_seqcrm.events._frames import as_frame
from sklearn_seqcrm.events._history_array import HistoryArray, HistoryDtype
from sklearn_seqcrm.events._statics import as_levels, kind_of

_FEW = 20  # rows to look at first: most columns are seen there to be no key


@dataclass(frozen=True)
class Reading:
    """What an estimator saw of X in `fit`, and will read of X again.

    Parameters
    ----------
    columns : tuple
        Names of the histories and statics, in the order that they had.
    histories : tuple
        Names of the history columns among them.
    statics : dict of name to {"numeric", "moment", "category"}
        The kind of every other of them.
    n_columns : int
        Number of columns of X, with the keys.
    """

    columns: tuple[Any, ...]
    histories: tuple[Any, ...]
    statics: dict[Any, str]
    n_columns: int

    @classmethod
    def of(cls, X: Any) -> Self:
        """Sort the columns of training rows.

        Parameters
        ----------
        X : DataFrame or object array of shape (n, n_columns)
            Rows with at least one history column.

        Returns
        -------
        Reading
            Its columns without the keys.

        Raises
        ------
        TypeError
            If `X` is neither.
        ValueError
            If no column holds histories, or two columns have the same name.
        """
        X = as_frame(X)
        histories = history_columns(X)
        arrays = [X[name].array for name in histories]
        keys = key_names(X)
        beside = [name for name in X if name not in keys and name not in histories]
        statics = {
            name: kind_of(X[name])
            for name in beside
            if not any(is_key(X[name], array) for array in arrays)
        }
        columns = tuple(n for n in X if n in statics or n in histories)
        return cls(columns, tuple(histories), statics, X.shape[1])

    def select(self, X: Any, estimator: Any) -> pd.DataFrame:
        """Take the columns of `fit` out of other rows, in the order of `fit`.

        Parameters
        ----------
        X : DataFrame or object array of shape (n, n_columns)
            Rows. Further columns of a DataFrame are ignored, keys among them.
        estimator : estimator
            Who reads them, for errors.

        Returns
        -------
        DataFrame of shape (n, len(columns))
            `X` itself if it has these columns and no other.

        Raises
        ------
        ValueError
            If a column is missing.
        """
        frame = as_frame(X)
        if isinstance(X, np.ndarray) and X.shape[1] != self.n_columns:
            raise ValueError(
                f"X has {X.shape[1]} columns without names, but "
                f"{type(estimator).__name__} was fitted on {self.n_columns}."
            )
        if tuple(frame.columns) == self.columns:
            return frame
        place = frame.columns.get_indexer(self.columns)  # type: ignore[arg-type]
        if (place < 0).any():
            self._refuse_lost(frame, estimator)
        return frame.take(place, axis=1)

    def _refuse_lost(self, X: pd.DataFrame, estimator: Any) -> None:
        lost = [name for name in self.columns if name not in X.columns]
        expected = {*self.columns, *key_names(X)}
        more = [name for name in X.columns if name not in expected]
        others = f" It has others that fit had not: {more}." if more else ""
        raise ValueError(
            f"X lacks {len(lost)} of the {len(self.columns)} columns that "
            f"{type(estimator).__name__} saw in fit: {lost}.{others} Add or rename "
            "columns, or fit again."
        )


def key_names(X: pd.DataFrame) -> set[Any]:
    """Names that the customer and cutoff columns had when histories were attached.

    Parameters
    ----------
    X : DataFrame of shape (n, n_columns)
        Rows. Histories in object columns have forgotten their keys.

    Returns
    -------
    set of str
        Whether X has such columns or not.
    """
    return {key for d in X.dtypes if isinstance(d, HistoryDtype) for key in d.keys}


def is_key(column: pd.Series, array: HistoryArray) -> bool:
    """Tell whether a column repeats the customers or the cutoffs of histories.

    Columns may be renamed after histories were attached, and a ColumnTransformer gives
    them other names, or none. Read as a feature, an id is learned by heart.

    Parameters
    ----------
    column : Series of shape (n,)
        Any values.
    array : HistoryArray of shape (n,)
        Histories of the same rows.

    Returns
    -------
    bool
        False as well where all rows have one customer and one cutoff, which a column
        may equal by chance; nothing can be learned from it.
    """
    rows, ids = array.rows, array.log.customers

    def same_customers(at: np.ndarray) -> bool:
        return _same_ids(column.iloc[at], ids[rows.codes[at]])

    def same_cutoffs(at: np.ndarray) -> bool:
        return _same_times(column.iloc[at], rows.cutoff[at], array.log.timeline.clock)

    for keys, there, same in (
        (rows.codes, rows.codes >= 0, same_customers),
        (rows.cutoff, ~array.isna(), same_cutoffs),
    ):
        at = np.flatnonzero(there)
        several = len(at) and (keys[at] != keys[at[0]]).any()
        if several and same(at[:_FEW]) and same(at):
            return True
    return False


def _same_ids(values: pd.Series, customers: pd.Index) -> bool:
    try:
        return bool((as_levels(values) == as_levels(customers)).all())
    except TypeError:  # lists, for example, are no ids
        return False


def _same_times(values: pd.Series, cutoffs: np.ndarray, clock: Clock) -> bool:
    """Whether these are the times that the clock had rounded up, or down."""
    if values.isna().any():
        return False
    try:
        return any(
            (clock.read(values, "", up=up) == cutoffs).all() for up in (False, True)
        )
    except (TypeError, ValueError):  # of another kind, or beyond the clock
        return False
