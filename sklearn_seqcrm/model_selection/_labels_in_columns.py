"""Columns of X that hold the targets, and on which an output depends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import ColumnRoles, Table
from sklearn_seqcrm.model_selection._changed_outputs import Findings
from sklearn_seqcrm.model_selection._outputs import Output, compute_outputs

# In fewer rows, a column of two values may equal the labels by chance.
_FEWEST_ROWS_WITH_LABELS = 20


def refuse_labels(
    fitted: Any, X: pd.DataFrame, y: Any, baseline: dict[str, Output], rtol: float
) -> None:
    """Raise an AssertionError if outputs depend on a static of `X` that holds `y`."""
    targets = pd.DataFrame(y if isinstance(y, pd.DataFrame) else np.asarray(y))
    columns = [targets.iloc[:, i] for i in range(targets.shape[1])]
    names = [
        name
        for name in ColumnRoles.of(Table.of(X)).statics
        if any(_correspond_one_to_one(X[name], column) for column in columns)
        and _depend_on(fitted, X, name, baseline, rtol)
    ]
    if names:
        raise AssertionError(
            f"The columns {names} of X hold y: in {len(targets)} rows, their values "
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
