"""Columns of X that hold the targets."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import ColumnRoles, Table
from sklearn_seqcrm._stacklevel import user_stacklevel
from sklearn_seqcrm.model_selection._changed_outputs import Findings
from sklearn_seqcrm.model_selection._outputs import Output, compute_outputs

# In fewer rows, a column of two values may equal the labels by chance.
_FEWEST_ROWS_WITH_LABELS = 20
# Where no output shows that a model takes the column: customers, customers with a label
# other than the most common one, and customers for each value of the column.
_FEWEST_CUSTOMERS, _FEWEST_OTHERS, _FEWEST_PER_LEVEL = 50, 5, 10


def warn_labels(X: pd.DataFrame, y: Any, customers: np.ndarray) -> None:
    """Warn of statics of `X` that determine `y`, such as a copy of it.

    Parameters
    ----------
    X : DataFrame of shape (n, n_columns)
        Rows with histories.
    y : array-like of shape (n,) or (n, k)
        Targets.
    customers : ndarray of shape (n,), int64
        Customer of each row, whose rows count once.
    """
    targets = _target_columns(y)
    try:
        statics = ColumnRoles.of(Table.of(X)).statics
    except (TypeError, ValueError):  # columns that models refuse, or do not take
        return
    names = [
        name
        for name in statics
        if any(_determine(X[name], column, customers) for column in targets)
    ]
    if names:
        warnings.warn(
            f"The columns {names} of X determine y: in {len(X)} rows, each of their "
            "values has one value of y. If they were not known at the cutoffs, leave "
            "them out of X: models that take them predict what they already know.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )


def _target_columns(y: Any) -> list[pd.Series]:
    """Return the columns of targets that are tables, and whose values have a hash."""
    values = y if isinstance(y, pd.DataFrame) else np.asarray(y)
    if values.ndim > 2:
        return []
    table = pd.DataFrame(values)
    columns = [table.iloc[:, i] for i in range(table.shape[1])]
    return [one for one in columns if _codes_of(one) is not None]


def _codes_of(column: pd.Series) -> np.ndarray | None:
    """Number the values of a column from 0 on, None for lists and others like them."""
    try:
        return pd.factorize(column, use_na_sentinel=False)[0]
    except (TypeError, NotImplementedError):  # no hash
        return None


def _determine(column: pd.Series, target: pd.Series, customers: np.ndarray) -> bool:
    """Return whether each value of a column has one label, and not by chance."""
    of_target, _ = pd.factorize(target, use_na_sentinel=False)
    others = of_target != np.bincount(of_target).argmax()
    n_customers = len(np.unique(customers))
    n_others = len(np.unique(customers[others]))
    if n_customers < _FEWEST_CUSTOMERS or n_others < _FEWEST_OTHERS:
        return False
    try:
        codes, levels = pd.factorize(column, use_na_sentinel=False)
    except (TypeError, NotImplementedError):  # lists and others without a hash
        return False
    n_pairs = len(np.unique(codes * (of_target.max() + 1) + of_target))
    if n_pairs > len(levels):
        return False
    # Many values with few customers each determine any label.
    return n_customers >= _FEWEST_PER_LEVEL * len(levels) or _same_ranks(column, target)


def refuse_labels(
    fitted: Any, X: pd.DataFrame, y: Any, baseline: dict[str, Output], rtol: float
) -> None:
    """Raise an AssertionError if outputs depend on a static of `X` that holds `y`."""
    columns = _target_columns(y)
    names = [
        name
        for name in ColumnRoles.of(Table.of(X)).statics
        if any(_correspond_one_to_one(X[name], column) for column in columns)
        and _depend_on(fitted, X, name, baseline, rtol)
    ]
    if names:
        raise AssertionError(
            f"The columns {names} of X hold y: in {len(X)} rows, their values "
            "correspond one to one to those of y. Leave them out of X."
        )


def _depend_on(
    fitted: Any, X: pd.DataFrame, name: Any, baseline: dict[str, Output], rtol: float
) -> bool:
    """Return whether an output changes if rows exchange their values of a column.

    A fitted estimator may have seen a column that none of its parts takes.
    """
    order = np.argsort(pd.factorize(X[name], use_na_sentinel=False)[0], kind="stable")
    donor = np.empty_like(order)
    donor[order] = np.roll(order, len(order) // 2)  # a row of another value, if any
    changed = X.copy()
    changed[name] = X[name].take(donor).set_axis(X.index)
    findings = Findings(type(fitted).__name__, X.index, rtol)
    rows = np.ones(len(X), bool)
    findings.compare(baseline, compute_outputs(fitted, changed), rows, "exchanged")
    return bool(findings.rows)


def _correspond_one_to_one(column: pd.Series, target: pd.Series) -> bool:
    """Return whether the values of two columns correspond one to one."""
    n = len(target)
    if n < _FEWEST_ROWS_WITH_LABELS:
        return False
    codes, levels = pd.factorize(column, use_na_sentinel=False)
    of_target, labels = pd.factorize(target, use_na_sentinel=False)
    n_pairs = len(np.unique(codes * len(labels) + of_target))
    if not 1 < len(labels) == len(levels) == n_pairs:
        return False
    if len(labels) <= n / 2:
        return True
    # Values that differ from row to row always correspond one to one, in some order.
    return _same_ranks(column, target)


def _same_ranks(column: pd.Series, target: pd.Series) -> bool:
    """Return whether two columns of numbers or times sort rows alike or in reverse."""
    if not all(one.dtype.kind in "biufmM" for one in (column, target)):
        return False
    wanted = _ranks(target)
    return any(
        np.array_equal(_ranks(column, ascending), wanted, equal_nan=True)
        for ascending in (True, False)
    )


def _ranks(column: pd.Series, ascending: bool = True) -> np.ndarray:
    """Return the ranks of numbers or times, NaN where a value is missing."""
    return column.rank(ascending=ascending).to_numpy("float64", na_value=np.nan)
