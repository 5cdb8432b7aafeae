"""What stands beside a history, handed on as estimators of tables read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import (
    ColumnRoles,
    Table,
    as_levels,
    coded_levels,
    days_before,
    numbers_of,
    text_of,
)
from sklearn_seqcrm._ragged import look_up
from sklearn_seqcrm._store import Clock

RARE = "infrequent_sklearn"  # what encoders of scikit-learn call it


def read_to_fit(X: Any, remainder: str) -> tuple[ColumnRoles, Table]:
    """Find the histories, and the other columns if these are handed on.

    Parameters
    ----------
    X : DataFrame or object array
        Training rows.
    remainder : {"passthrough", "drop"}
        What becomes of the other columns.

    Returns
    -------
    reading : ColumnRoles
        The columns to read again.
    table : Table
        All columns of `X`.
    """
    table = Table.of(X)
    reading = ColumnRoles.of(table)
    return (reading if remainder == "passthrough" else reading.of_histories()), table


def clocks_of(table: Table) -> dict[Any, Clock]:
    """Clock of each history column."""
    return {name: one.log.timeline.clock for name, one in table.histories.items()}


def read_again(
    X: Any, reading: ColumnRoles, clocks: Mapping[Any, Clock], estimator: Any
) -> Table:
    """Read rows with the columns of `fit`, whose histories are raw.

    Parameters
    ----------
    X : DataFrame or object array
        Rows.
    reading : ColumnRoles
        The columns of `fit`.
    clocks : mapping of str to Clock
        Clocks of the histories in `fit`; see `clocks_of`.
    estimator : estimator
        The estimator that reads the rows, for errors.

    Returns
    -------
    Table
        All columns of `X`.

    Raises
    ------
    ValueError
        If times were numbers and are datetimes, or the other way round.
    """
    name = type(estimator).__name__
    table = reading.check(X, estimator).refuse_encoded(name)
    for column, clock in clocks_of(table).items():
        if (clock.unit is None) != (clocks[column].unit is None):
            raise ValueError(
                f"The times of the histories in {column!r} are {clock}, but those that "
                f"{name} saw in fit were {clocks[column]}; build both logs from the "
                "same kind of times, or fit again."
            )
    return table


def filled_statics(X: pd.DataFrame, reading: ColumnRoles) -> list[Any]:
    """Choose the columns beside the histories that are handed on.

    Histogram-based boosting of scikit-learn 1.9 stops at a column without a number.

    Parameters
    ----------
    X : DataFrame of shape (n, n_columns)
        Training rows.
    reading : ColumnRoles
        Its columns.

    Returns
    -------
    list of str
        All but numbers and datetimes that no row has, if there are rows.
    """
    return [
        name
        for name, kind in reading.statics.items()
        if kind == "category" or X[name].notna().any() or X.empty
    ]


def learn_statics(
    X: pd.DataFrame, reading: ColumnRoles, most: int | None
) -> dict[Any, pd.CategoricalDtype]:
    """Learn the categories of the columns that are neither numbers nor datetimes.

    Parameters
    ----------
    X : DataFrame of shape (n, n_columns)
        Training rows.
    reading : ColumnRoles
        Its columns.
    most : int or None
        Most categories of a column; None for any number.

    Returns
    -------
    dict of str to CategoricalDtype
        By the name of the column.
    """
    return {
        name: learn_categories(X[name], most)
        for name, kind in reading.statics.items()
        if kind == "category"
    }


def statics_of(
    table: Table,
    reading: ColumnRoles,
    names: Sequence[Any],
    categories: Mapping[Any, pd.CategoricalDtype],
) -> dict[Any, Any]:
    """Read the columns beside the histories.

    Parameters
    ----------
    table : Table of n rows
        Rows with the columns of `reading`.
    reading : ColumnRoles
        What `fit` saw.
    names : sequence of str
        What `filled_statics` chose.
    categories : mapping of str to CategoricalDtype
        What `learn_statics` found.

    Returns
    -------
    dict of str to ndarray or Categorical of shape (n,)
        By name, in order: floats, or one of the categories; datetimes are days before
        the cutoff of the first history column.
    """
    X, kinds = table.frame, {name: reading.statics[name] for name in names}
    numeric = [name for name, kind in kinds.items() if kind == "numeric"]
    # One by one, hundreds would take twice the time.
    together = X.take(
        X.columns.get_indexer(pd.Index(numeric, tupleize_cols=False)), axis=1
    )
    numbers = dict(zip(numeric, numbers_of(together).T, strict=True))
    cutoffs = next(iter(table.histories.values())).cutoffs
    return {
        name: numbers[name]
        if kind == "numeric"
        else days_before(X[name], cutoffs)
        if kind == "moment"
        else to_category(X[name], categories[name])
        for name, kind in kinds.items()
    }


def refuse_repeated(names: np.ndarray) -> None:
    """Raise a ValueError if features have the names of columns that are handed on."""
    repeated = pd.Index(names)[pd.Index(names).duplicated()].tolist()
    if repeated:
        raise ValueError(
            f"The features would have the names of other columns of X: {repeated}. "
            "Rename those, give attach another name=..., or set remainder='drop'."
        )


def learn_categories(column: pd.Series, most: int | None) -> pd.CategoricalDtype:
    """Find the categories of a column.

    Parameters
    ----------
    column : Series of shape (n,)
        Training values: text, categories or other objects.
    most : int or None
        Most categories; None for any number.

    Returns
    -------
    CategoricalDtype
        Those that the column declares, if it is categorical and they are of one type
        and not too many.
        Else the distinct values as text, sorted; of too many the most frequent, before
        one for all others, `RARE`.
    """
    declared = column.dtype
    if isinstance(declared, pd.CategoricalDtype) and (
        (most is None or len(declared.categories) <= most)
        # 1 and "1" would be one as text, and do not sort.
        and not pd.api.types.infer_dtype(declared.categories).startswith("mixed")
    ):
        return _without_na(declared)
    counts = pd.Series(as_levels(column), dtype=object).value_counts().sort_index()
    levels = counts.index.tolist()
    if most is not None and len(levels) > most:
        by_count = counts.sort_values(ascending=False, kind="stable").index
        levels = [*sorted(by_count[: most - 1]), RARE]
    return pd.CategoricalDtype(pd.Index(levels, dtype=object))


def _without_na(dtype: pd.CategoricalDtype) -> pd.CategoricalDtype:
    """The same categories of a type whose missing value is not ``pd.NA``.

    Estimators of scikit-learn do not sort that among text.
    """
    if getattr(dtype.categories.dtype, "na_value", None) is not pd.NA:
        return dtype
    return pd.CategoricalDtype(dtype.categories.astype(object), dtype.ordered)


def to_category(column: pd.Series, dtype: pd.CategoricalDtype) -> pd.Categorical:
    """Code a column by given categories.

    Parameters
    ----------
    column : Series of shape (n,)
        Values of any type.
    dtype : CategoricalDtype
        The categories.

    Returns
    -------
    Categorical of shape (n,)
        `RARE`, if that is a category, for a value that is none; missing where the
        value is, or where there is no `RARE`.

    Examples
    --------
    >>> import pandas as pd
    >>> to_category(pd.Series(["b", "x", "a"]), pd.CategoricalDtype(["a", "b"]))
    ['b', NaN, 'a']
    Categories (2, ...): ['a', 'b']
    """
    codes, texts = coded_levels(column)
    known = {text_of(level): i for i, level in enumerate(dtype.categories)}
    place = [known.get(text, known.get(RARE, -1)) for text in texts]
    codes = look_up(np.array(place, dtype="int64"), codes)
    return pd.Categorical.from_codes(codes, dtype=dtype)
