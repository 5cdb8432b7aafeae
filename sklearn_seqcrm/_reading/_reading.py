"""What an estimator learns of the columns of X: histories, and statics by kind."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import validate_data

from sklearn_seqcrm._reading._find import as_history_array
from sklearn_seqcrm._reading._keys import key_names, repeated_keys
from sklearn_seqcrm._reading._statics import kind_of
from sklearn_seqcrm._reading._table import Table, as_frame, names_of_unnamed


@dataclass(frozen=True, eq=False)
class Reading:
    """What an estimator saw of X in `fit`, and will read of X again.

    Parameters
    ----------
    columns : Index
        Names of the histories and statics, in the order that they had.
    histories : tuple
        Names of the history columns among them.
    statics : dict of name to {"numeric", "moment", "category"}
        The kind of every other of them.
    n_columns : int
        Number of columns of X, with the keys.
    is_named : bool, default=True
        Whether the columns of X had names; see `Table`.
    """

    columns: pd.Index
    histories: tuple[Any, ...]
    statics: dict[Any, str]
    n_columns: int
    is_named: bool = True

    @classmethod
    def of(cls, table: Table) -> Self:
        """Sort the columns of training rows.

        Parameters
        ----------
        table : Table
            Training rows.

        Returns
        -------
        Reading
            The columns without the keys.
        """
        X, histories = table.frame, table.histories
        keys = key_names(X)
        beside = X[[name for name in X if name not in keys and name not in histories]]
        for array in histories.values():
            keys |= repeated_keys(beside, array)
        statics = {
            name: kind_of(column) for name, column in beside.items() if name not in keys
        }
        columns = X.columns[[name in statics or name in histories for name in X]]
        n_columns, is_named = X.shape[1], table.is_named
        return cls(columns, tuple(histories), statics, n_columns, is_named)

    def set_names(self, X: pd.DataFrame, estimator: Any) -> None:
        """Set `n_features_in_` and `feature_names_in_` to all columns of `fit`.

        scikit-learn compares what it passes with these, keys included.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Training rows.
        estimator : estimator
            Whose attributes are set.
        """
        if len({isinstance(name, str) for name in X.columns}) > 1:
            # A key called 0 beside names that are text, which scikit-learn refuses.
            X = X.loc[:, self.columns]
        validate_data(estimator, X, reset=True, skip_check_array=True)

    def of_histories(self) -> Self:
        """The same without statics."""
        columns = self.columns[self.columns.isin(self.histories)]
        return replace(self, columns=columns, statics={})

    def select(self, X: Any, estimator: Any) -> Table:
        """Take the columns of `fit` out of other rows, in the order of `fit`.

        Parameters
        ----------
        X : Table, or what `as_frame` takes
            Rows. Further columns of a DataFrame are ignored, keys among them.
        estimator : estimator
            Who reads them, for errors.

        Returns
        -------
        Table
            Rows with these columns and no other.

        Raises
        ------
        TypeError
            If a column that held histories does not.
        ValueError
            If a column is missing.
        """
        frame, place = self._find(X, estimator)
        if not frame.columns.equals(self.columns):
            frame = frame.take(place, axis=1)
        return self._table(frame)

    def check(self, X: Any, estimator: Any) -> Table:
        """Look whether other rows have the columns of `fit`.

        Parameters
        ----------
        X, estimator
            As in `select`, which takes time with hundreds of columns.

        Returns
        -------
        Table
            Rows with all their columns, in their order.

        Raises
        ------
        TypeError
            If a column that held histories does not.
        ValueError
            If a column is missing.
        """
        return self._table(self._find(X, estimator)[0])

    def _table(self, frame: pd.DataFrame) -> Table:
        histories = {name: as_history_array(frame[name]) for name in self.histories}
        return Table(frame, histories)

    def _find(self, X: Any, estimator: Any) -> tuple[pd.DataFrame, np.ndarray]:
        """The rows as a DataFrame, and where the columns of `fit` are in it."""
        frame = X.frame if isinstance(X, Table) else as_frame(X)
        if isinstance(X, np.ndarray) and X.shape[1] != self.n_columns:
            raise ValueError(
                f"X has {X.shape[1]} columns without names, but "
                f"{type(estimator).__name__} was fitted on {self.n_columns}."
            )
        if not self.is_named and len(frame.columns) == self.n_columns:
            frame = self._by_position(frame, estimator)
        place = frame.columns.get_indexer(self.columns)
        if (place < 0).any():
            self._refuse_lost(frame, estimator)
        return frame, place

    def _by_position(self, frame: pd.DataFrame, estimator: Any) -> pd.DataFrame:
        """Name the columns as those of an array, which is what `fit` saw.

        StackingClassifier shows its last step an array in `fit` and, with `set_output`,
        a DataFrame in `predict`. As in scikit-learn, that is a warning.
        """
        names = names_of_unnamed(self.n_columns)
        if list(frame.columns) == names:
            return frame
        name = type(estimator).__name__
        warnings.warn(
            f"X has feature names, but {name} was fitted without feature names; its "
            "columns are read by position.",
            UserWarning,
            stacklevel=2,
        )
        return frame.set_axis(names, axis=1)

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
