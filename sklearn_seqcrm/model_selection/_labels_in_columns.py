"""Columns of X that hold the targets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from sklearn_seqcrm._columns import ColumnRoles, Table
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm.model_selection._changed_outputs import Findings
from sklearn_seqcrm.model_selection._outputs import Output, compute_outputs

# Numbers of rows that rule out columns before all rows are compared: those with two
# labels for a value, and those with many values that are not sorted like the labels.
_SOME = 1_000, 10_000, 100_000
# In fewer rows, a column of two values may equal the labels by chance.
_FEWEST_ROWS_WITH_LABELS = 20
# Where no output shows that a model takes the column: customers, customers with a label
# other than the most common one, and customers for each value of the column.
_FEWEST_CUSTOMERS, _FEWEST_OTHERS, _FEWEST_PER_LEVEL = 50, 5, 10


def warn_labels(X: pd.DataFrame, y: Any, customers: np.ndarray) -> None:
    """Warn of statics of `X` that determine `y`, such as a copy of it.

    `X` has histories, `y` is of shape (n,) or (n, k), and `customers` (n,) are those of
    the rows; rows of a customer count once.
    """
    of_row, unique = pd.factorize(customers)
    n_customers = len(unique)
    targets = [one for one in _targets_of(y) if _can_tell(one, of_row, n_customers)]
    if not targets:
        return
    try:
        statics = ColumnRoles.of(Table.of(X)).statics
    except (TypeError, ValueError):  # columns that models refuse, or do not take
        return
    steps = _steps_of(targets)
    names = [name for name in statics if _determines(X[name], steps, n_customers)]
    if names:
        warn_user(
            f"The columns {names} of X determine y: in {len(X)} rows, each of their "
            "values has one value of y. If they were not known at the cutoffs, leave "
            "them out of X: models that take them predict what they already know."
        )


@dataclass(frozen=True, eq=False)
class _Target:
    """A column of targets, shape (n,), with its values as numbers from 0 on."""

    column: pd.Series
    codes: np.ndarray

    @cached_property
    def ranks(self) -> np.ndarray | None:
        """See `_ranks_of`."""
        return _ranks_of(self.column)


_Step: TypeAlias = tuple[slice, list[_Target]]  # rows, and their targets


def _targets_of(y: Any) -> list[_Target]:
    """Return the columns of targets that are tables, and whose values have a hash."""
    y = y.toarray() if issparse(y) else y
    values = y if isinstance(y, pd.DataFrame) else np.asarray(y)
    if values.ndim > 2:
        return []
    table = pd.DataFrame(values)
    columns = [table.iloc[:, i] for i in range(table.shape[1])]
    coded = [(one, _codes_of(one)) for one in columns]
    return [_Target(one, codes) for one, codes in coded if codes is not None]


def _codes_of(column: pd.Series) -> np.ndarray | None:
    """Number the values of a column from 0 on, None for lists and others like them."""
    try:
        return pd.factorize(column, use_na_sentinel=False)[0]
    except (TypeError, NotImplementedError):  # no hash
        return None


def _can_tell(target: _Target, of_row: np.ndarray, n_customers: int) -> bool:
    """Return whether there are enough customers, and of the rarer labels."""
    others = target.codes != np.bincount(target.codes).argmax()
    n_others = len(pd.unique(of_row[others]))
    return n_customers >= _FEWEST_CUSTOMERS and n_others >= _FEWEST_OTHERS


def _steps_of(targets: list[_Target]) -> list[_Step]:
    """Return the rows to compare one after the other, more and more up to all."""
    n = len(targets[0].codes)
    steps = [slice(None, None, 1 + n // size) for size in _SOME if size < n]
    return [
        (rows, [_Target(one.column.iloc[rows], one.codes[rows]) for one in targets])
        for rows in [*steps, slice(None)]
    ]


def _determines(column: pd.Series, steps: list[_Step], n_customers: int) -> bool:
    """Return whether each value of a column has one label, and not by chance."""
    left = list(range(len(steps[0][1])))  # targets that it may still determine
    for rows, targets in steps:
        left = _determined(column.iloc[rows], targets, left, n_customers)
        if not left:
            return False
    return True


def _determined(
    column: pd.Series, targets: list[_Target], at: list[int], n_customers: int
) -> list[int]:
    """Return the positions, of some, of targets that a column determines."""
    codes = _codes_of(column)
    if codes is None:
        return []
    found = [i for i in at if _have_one(codes, targets[i].codes)]
    # Many values with few customers each determine any label.
    if not found or n_customers >= _FEWEST_PER_LEVEL * (codes.max() + 1):
        return found
    ranks = _ranks_of(column)
    return [i for i in found if _are_sorted_alike(ranks, targets[i].ranks)]


def _have_one(codes: np.ndarray, of_target: np.ndarray) -> bool:
    """Return whether all rows of a code have one label."""
    label_of_code = np.empty(codes.max() + 1, dtype=of_target.dtype)
    label_of_code[codes] = of_target
    return bool((label_of_code[codes] == of_target).all())


def refuse_labels(
    fitted: Any, X: pd.DataFrame, y: Any, baseline: dict[str, Output], rtol: float
) -> None:
    """Raise an AssertionError if outputs depend on a static of `X` that holds `y`."""
    targets = _targets_of(y)
    names = [
        name
        for name in ColumnRoles.of(Table.of(X)).statics
        if any(_correspond_one_to_one(X[name], target) for target in targets)
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
    findings = Findings(type(fitted).__name__, X.index, baseline, rtol)
    rows = np.ones(len(X), bool)
    findings.compare(baseline, compute_outputs(fitted, changed), rows, "exchanged")
    return bool(findings.rows)


def _correspond_one_to_one(column: pd.Series, target: _Target) -> bool:
    """Return whether the values of two columns correspond one to one."""
    codes, of_target = _codes_of(column), target.codes
    if codes is None or len(codes) < _FEWEST_ROWS_WITH_LABELS:
        return False
    n_labels = of_target.max() + 1
    if not 1 < n_labels == codes.max() + 1 or not _have_one(codes, of_target):
        return False
    if n_labels <= len(codes) / 2:
        return True
    # Values that differ from row to row always correspond one to one, in some order.
    return _are_sorted_alike(_ranks_of(column), target.ranks)


def _ranks_of(column: pd.Series) -> np.ndarray | None:
    """Return the ranks of numbers or times, NaN where a value is missing.

    None for values without an order. Equal values have the mean of their ranks.
    """
    if column.dtype.kind not in "biufmM":
        return None
    return column.rank().to_numpy("float64", na_value=np.nan)


def _are_sorted_alike(ranks: np.ndarray | None, wanted: np.ndarray | None) -> bool:
    """Return whether two columns sort rows alike or in reverse."""
    if ranks is None or wanted is None:
        return False
    reverse = np.count_nonzero(~np.isnan(ranks)) + 1 - ranks
    return any(np.array_equal(one, wanted, equal_nan=True) for one in (ranks, reverse))
