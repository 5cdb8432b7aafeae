"""Which columns of X are keys: those that its histories were attached by."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Hashable
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._reading._statics import as_levels, text_of
from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.events import HistoryArray, HistoryDtype

_FEW = 20  # rows to look at before all


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


def repeated_keys(X: pd.DataFrame, array: HistoryArray) -> set[Any]:
    """Find the columns that repeat the customers or the cutoffs of histories.

    Columns may be renamed after histories were attached, and a ColumnTransformer gives
    them other names, or none. Read as a feature, an id is learned by heart.

    Parameters
    ----------
    X : DataFrame of shape (n, n_columns)
        Any columns.
    array : HistoryArray of shape (n,)
        Histories of the same rows.

    Returns
    -------
    set of str
        Their names. None where all rows have one customer, or one cutoff, which a
        column may equal by chance; nothing can be learned from that.
    """
    rows, ids = array.rows, array.log.customers
    clock = array.log.timeline.clock

    def same_customers(column: pd.Series, at: np.ndarray) -> bool:
        return _same_ids(column.iloc[at], ids[rows.codes[at]])

    def same_cutoffs(column: pd.Series, at: np.ndarray) -> bool:
        return _same_times(column.iloc[at], rows.cutoff[at], clock)

    found: set[Any] = set()
    for keys, there, may_be, same in (
        (rows.codes, rows.codes >= 0, lambda c: _of_id(ids[c]), same_customers),
        (rows.cutoff, ~array.isna(), lambda t: _of_time(t, clock), same_cutoffs),
    ):
        at = np.flatnonzero(there)
        if not len(at) or (keys[at] == keys[at[0]]).all():
            continue
        # Most columns are seen in one row to be no key.
        first = X.iloc[at[:1]].to_numpy(dtype=object)[0]
        is_candidate = may_be(keys[at[0]])
        for name, value in zip(X.columns, first, strict=True):
            if is_candidate(value) and same(X[name], at[:_FEW]) and same(X[name], at):
                found.add(name)
    return found


def _of_id(key: Any) -> Callable[[Any], bool]:
    """Whether a value may be a customer's id, of whatever type."""
    text = text_of(key)

    def is_candidate(value: Any) -> bool:
        return isinstance(value, Hashable) and text_of(value) == text

    if isinstance(key, datetime.date):
        return lambda value: isinstance(value, datetime.date) or is_candidate(value)
    return is_candidate


def _of_time(tick: Any, clock: Clock) -> Callable[[Any], bool]:
    """Whether a value may be the time that a clock has rounded to a tick."""
    if clock.unit is not None:
        return lambda value: isinstance(value, datetime.date)
    return lambda value: isinstance(value, Real) and abs(value - tick) <= 1


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
