"""The roles of the columns of X: histories, keys, and statics with their types.

A key is the customer or the cutoff that a history was attached by. It is not a
feature: a model would memorise the ids of its training customers.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import validate_data

from sklearn_seqcrm._columns._static_types import static_type_of
from sklearn_seqcrm._columns._statics import as_levels, text_of
from sklearn_seqcrm._columns._table import (
    Table,
    as_frame,
    as_history_array,
    default_names,
    key_names,
)
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.events import HistoryArray

_FEW = 20  # rows to compare before comparing all
_SOME = 1_000  # rows that tell customers from shops
_FEWEST_KEYS = 10  # different ones that make a column with missing values a key


def repeated_keys(X: pd.DataFrame, array: HistoryArray) -> set[Any]:
    """Find the columns that repeat the customers or the cutoffs of histories.

    Columns may be renamed after histories were attached, and a ColumnTransformer
    renames them or drops their names. So keys are recognised by their values too.

    If all rows have one customer, or one cutoff, a column may equal it by chance and is
    not a key; it is constant, so that nothing is learned from it. Missing values of
    customers are left out if ten different ones remain. A column that has the cutoff in
    some rows alone, such as a date of mailing, is not a key.
    """
    rows, ids, clock = array.rows, array.log.customers, array.log.timeline.clock
    known, given = np.flatnonzero(rows.codes >= 0), np.flatnonzero(~array.isna())
    customers = _equal_columns(
        X,
        known,
        rows.codes[known],
        lambda code: _of_id(ids[code]),
        lambda values, codes: _are_ids(values, ids[codes]),
        may_lack=True,
    )
    cutoffs = _equal_columns(
        X,
        given,
        rows.cutoff[given],
        lambda tick: _of_time(tick, clock),
        lambda values, ticks: _are_times(values, ticks, clock),
    )
    return {*customers, *cutoffs}


def _equal_columns(
    X: pd.DataFrame,
    at: np.ndarray,
    keys: np.ndarray,
    candidate_test: Callable[[Any], Callable[[Any], bool]],
    are_equal: Callable[[pd.Series, np.ndarray], bool],
    *,
    may_lack: bool = False,
) -> list[Any]:
    """Return the names of the columns that hold these keys, unless all are equal.

    The keys, of shape (n_keys,), are those of the rows `at`. ``candidate_test(key)``
    returns a quick function that is False for values that cannot be the key;
    ``are_equal(values, keys)`` compares the values of a column with the keys. With
    `may_lack`, values of a column may be missing.
    """
    if not len(at) or (keys == keys[0]).all():
        return []
    # The value of one row rules out most columns, and those of a few rows the others.
    first = X.iloc[at[:1]].to_numpy(dtype=object)[0]
    is_candidate = candidate_test(keys[0])
    found = []
    for name, value in zip(X.columns, first, strict=True):
        is_missing = may_lack and pd.api.types.is_scalar(value) and pd.isna(value)
        if not (is_missing or is_candidate(value)):
            continue
        values, own = X[name].iloc[at], keys
        # A left join leaves ids of the other table missing. Few may be equal by chance.
        if may_lack and values.hasnans:
            present = values.notna().to_numpy()
            values, own = values[present], keys[present]
            if len(np.unique(own[:_SOME])) < _FEWEST_KEYS:
                continue
        if (
            (not is_missing or candidate_test(own[0])(values.iloc[0]))
            and are_equal(values.iloc[:_FEW], own[:_FEW])
            and are_equal(values, own)
        ):
            found.append(name)
    return found


def _entities_of(histories: Mapping[Any, HistoryArray]) -> dict[Any, Any]:
    """Return the first history with the customers of each, see `ColumnRoles`."""
    entities: dict[Any, Any] = {}
    for name, array in histories.items():
        distinct = dict.fromkeys(entities.values())
        same = (one for one in distinct if _have_same_customers(array, histories[one]))
        entities[name] = next(same, name)
    return entities


def _have_same_customers(one: HistoryArray, other: HistoryArray) -> bool:
    """Return whether the rows of two histories belong to the same customers.

    Columns may be renamed after a history was attached, so that the ids of some rows
    are compared, or the names of the columns if no row is known to both logs.
    """
    known = np.flatnonzero((one.rows.codes >= 0) & (other.rows.codes >= 0))
    some = known[:: 1 + len(known) // _SOME]
    if not len(some):
        return one.dtype.customer == other.dtype.customer
    ids = one.log.customers[one.rows.codes[some]]
    return _are_ids(pd.Series(ids), other.log.customers[other.rows.codes[some]])


def _of_id(key: Any) -> Callable[[Any], bool]:
    """Return a test whether a value may be an id, whatever its type."""
    text = text_of(key)

    def is_candidate(value: Any) -> bool:
        return isinstance(value, Hashable) and text_of(value) == text

    if isinstance(key, datetime.date):
        return lambda value: isinstance(value, datetime.date) or is_candidate(value)
    return is_candidate


def _of_time(tick: Any, clock: Clock) -> Callable[[Any], bool]:
    """Return a test whether a value may be a time that the clock rounds to a tick."""
    if clock.unit is not None:
        return lambda value: isinstance(value, datetime.date)
    # Whole numbers of Python: values may be beyond the range of int64 or of floats.
    least, most = tick.item() - 1, tick.item() + 1
    return lambda value: isinstance(value, Real) and least <= value <= most


def _are_ids(values: pd.Series, customers: pd.Index) -> bool:
    """Return whether values are these ids as text."""
    try:
        return bool((as_levels(values) == as_levels(customers)).all())
    except TypeError:  # values that cannot be hashed, such as lists, are not ids
        return False


def _are_times(values: pd.Series, cutoffs: np.ndarray, clock: Clock) -> bool:
    """Return whether the clock rounds all values up, or all down, to the cutoffs."""
    if values.isna().any():
        return False
    try:
        return any(
            (clock.read(values, "", up=up) == cutoffs).all() for up in (False, True)
        )
    except (TypeError, ValueError):  # not times, or outside the range of the clock
        return False


@dataclass(frozen=True, eq=False)
class ColumnRoles:
    """The columns of X that an estimator was fitted on, and their roles."""

    columns: pd.Index  # names of the histories and statics, in the order of `fit`
    histories: tuple[Any, ...]  # names of the history columns
    # The type of each other column: "numeric", "datetime" or "category".
    statics: dict[Any, str]
    n_columns: int  # number of columns of X, including the keys
    is_named: bool = True  # whether the columns of X had names; see `Table`
    # The first history with the customers of each: a history of shops has others than
    # that of customers.
    entities: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Table) -> Self:
        """Find the roles of the columns of training rows; keys are left out."""
        X, histories = table.frame, table.histories
        keys = key_names(X)
        # First by name, then by value: a renamed key is found among the other columns.
        beside = X[[name for name in X if name not in keys and name not in histories]]
        for array in histories.values():
            keys |= repeated_keys(beside, array)
        statics = {
            name: static_type_of(column)
            for name, column in beside.items()
            if name not in keys
        }
        columns = X.columns[[name in statics or name in histories for name in X]]
        return cls(
            columns,
            tuple(histories),
            statics,
            X.shape[1],
            table.is_named,
            _entities_of(histories),
        )

    def set_names(self, X: pd.DataFrame, estimator: Any) -> None:
        """Set `n_features_in_` and `feature_names_in_` to all columns of `fit`.

        scikit-learn compares what it passes with these, keys included.
        """
        if len({isinstance(name, str) for name in X.columns}) > 1:
            # scikit-learn refuses names of several types, such as a key called 0.
            X = X.loc[:, self.columns]
        validate_data(estimator, X, reset=True, skip_check_array=True)

    def of_histories(self) -> Self:
        """Return the roles without statics."""
        columns = self.columns[self.columns.isin(self.histories)]
        return replace(self, columns=columns, statics={})

    def select(self, X: Any, estimator: Any) -> Table:
        """Select the columns of `fit` from other rows, in the order of `fit`.

        `X` is a Table, or what `as_frame` takes. Further columns of a DataFrame, such
        as the keys, are ignored. Errors name the `estimator`: a TypeError if a history
        column holds no histories, and a ValueError if a column is missing.
        """
        frame, place = self._find(X, estimator)
        if not frame.columns.equals(self.columns):
            frame = frame.take(place, axis=1)
        return self._table(frame)

    def check(self, X: Any, estimator: Any) -> Table:
        """Return other rows with all their columns; they must have those of `fit`.

        Arguments and errors are as in `select`, which is slow for hundreds of columns.
        """
        return self._table(self._find(X, estimator)[0])

    def _table(self, frame: pd.DataFrame) -> Table:
        histories = {name: as_history_array(frame[name]) for name in self.histories}
        return Table(frame, histories)

    def _find(self, X: Any, estimator: Any) -> tuple[pd.DataFrame, np.ndarray]:
        """Return the rows as a DataFrame, and the positions of `columns` in it."""
        frame = X.frame if isinstance(X, Table) else as_frame(X)
        if isinstance(X, np.ndarray) and X.shape[1] != self.n_columns:
            raise ValueError(
                f"X has {X.shape[1]} columns without names, but "
                f"{type(estimator).__name__} was fitted on {self.n_columns}."
            )
        # An array has no names: its columns, keys included, are found by position.
        if not self.is_named and len(frame.columns) == self.n_columns:
            frame = self._by_position(frame, estimator)
        place = frame.columns.get_indexer(self.columns)
        if (place < 0).any():
            self._refuse_missing_columns(frame, estimator)
        return frame, place

    def _by_position(self, frame: pd.DataFrame, estimator: Any) -> pd.DataFrame:
        """Name the columns of a DataFrame by position, as those of an array.

        StackingClassifier passes an array to its last step in `fit` and, with
        `set_output`, a DataFrame in `predict`. Like scikit-learn, warn of that.
        """
        names = default_names(self.n_columns)
        if list(frame.columns) == names:
            return frame
        name = type(estimator).__name__
        warn_user(
            f"X has feature names, but {name} was fitted without feature names; its "
            "columns are matched by position."
        )
        return frame.set_axis(names, axis=1)

    def _refuse_missing_columns(self, X: pd.DataFrame, estimator: Any) -> None:
        """Raise a ValueError that names the missing and the new columns."""
        missing = [name for name in self.columns if name not in X.columns]
        expected = {*self.columns, *key_names(X)}
        more = [name for name in X.columns if name not in expected]
        others = f" It has columns that fit did not see: {more}." if more else ""
        raise ValueError(
            f"X lacks {len(missing)} of the {len(self.columns)} columns that "
            f"{type(estimator).__name__} saw in fit: {missing}.{others} Add or rename "
            "columns, or fit again."
        )
