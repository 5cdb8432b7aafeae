"""Rows to ask a model about: X, and the one column whose histories will change."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._reading import Table, check_raw, one_history
from sklearn_seqcrm.events import HistoryArray


class Asked(NamedTuple):
    """Rows, and the histories among their columns that will change.

    Parameters
    ----------
    frame : DataFrame of shape (n, n_columns)
        The rows, with histories as history columns.
    name : str
        Name of the history column.
    array : HistoryArray of shape (n,)
        Its raw histories, none of them missing.
    """

    frame: pd.DataFrame
    name: Any
    array: HistoryArray

    def with_histories(self, array: HistoryArray) -> pd.DataFrame:
        """The rows with other histories."""
        return with_column(self.frame, self.name, array)


def with_column(X: pd.DataFrame, name: Any, values: Any) -> pd.DataFrame:
    """Rows with other values in a column, whose name need not be text."""
    X = X.copy(deep=False)
    X[name] = values
    return X


def read_asked(estimator: Any, X: Any, history: Any, reader: str) -> Asked:
    """Read the rows that a fitted estimator is asked about.

    Parameters
    ----------
    estimator : fitted estimator
        Which takes raw X.
    X : DataFrame of shape (n, n_columns)
        Rows.
    history : str or None
        Name of the history column; None: the only one.
    reader : str
        Who asks, for errors.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    KeyError, TypeError, ValueError
        If there is no such column, or its histories are encoded or missing.
    """
    check_is_fitted(estimator)
    table = Table.of(X).refuse_no_rows(reader)
    array = check_raw(one_history(table.frame, history), reader)
    [name] = [name for name, one in table.histories.items() if one is array]
    return Asked(table.frame, name, array)
