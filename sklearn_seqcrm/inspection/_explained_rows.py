"""The rows for which the output of a model is explained, and their history column."""

from __future__ import annotations

from numbers import Integral
from typing import Any, NamedTuple, Self

import pandas as pd
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import Table, check_raw, one_history
from sklearn_seqcrm.events import HistoryArray


class ExplainedRows(NamedTuple):
    """Rows, and the history column whose events are perturbed."""

    frame: pd.DataFrame  # the rows, with histories as history columns
    name: Any  # of the history column
    array: HistoryArray  # (n,): its raw histories, none of them missing

    @classmethod
    def of(cls, estimator: Any, X: Any, history: Any, caller: str) -> Self:
        """Validate the rows for which the output of a fitted estimator is explained.

        `history` is the name of the column, None for the only one; errors name the
        function `caller`.
        """
        check_is_fitted(estimator)
        table = Table.of(X).refuse_no_rows(caller)
        name, array = named_history(table, history)
        return cls(table.frame, name, check_raw(array, caller))


def named_history(table: Table, history: Any) -> tuple[Any, HistoryArray]:
    """Return the name and the histories of a column; None for the only one."""
    array = one_history(table.frame, history)
    return next((name, one) for name, one in table.histories.items() if one is array)


def row_position(row: int, n_rows: int) -> int:
    """Return the position of a row, from the start; a negative one is from the end."""
    if not isinstance(row, Integral) or isinstance(row, bool):
        raise TypeError(f"row must be an integer, a position in X; got {row!r}.")
    if not -n_rows <= row < n_rows:
        raise IndexError(
            f"row={row} is none of the {n_rows} rows of X: it is a position, from 0 "
            f"to {n_rows - 1}, not a label of the index and not a customer. For one "
            "customer, select its row of X before."
        )
    return int(row) % n_rows


def single_row(X: Any, row: int, caller: str) -> tuple[int, pd.DataFrame]:
    """Return the position of a row of X, from the start, and a table of this row.

    Raises errors of `row_position`, and of tables without histories or without rows;
    `caller` is the name of the class in the last one.
    """
    frame = Table.of(X).refuse_no_rows(caller).frame
    position = row_position(row, len(frame))
    return position, frame.iloc[[position]]


def with_column(X: pd.DataFrame, name: Any, values: Any) -> pd.DataFrame:
    """Replace the values of one column, whose name need not be text."""
    X = X.copy(deep=False)
    X[name] = values
    return X
