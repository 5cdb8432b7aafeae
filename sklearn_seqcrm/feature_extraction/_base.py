"""Shared by the transformers of histories into tables: all but the features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import (
    STATIC_TYPES,
    ColumnRoles,
    SeenHistories,
    Table,
    learn_categories,
    warn_other_order,
)
from sklearn_seqcrm._ragged import Pass, add_all
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    CallbackSupportMixin,
    HistoryTransformerMixin,
    Interval,
    StrOptions,
    check_feature_names_in,
    one_task,
)
from sklearn_seqcrm.events import HistoryArray


class BaseHistoryFeatures(
    HistoryTransformerMixin, CallbackSupportMixin, BaseEstimator, ABC
):
    """Compute features of each history column, and hand on the other columns of `X`.

    A subclass defines the features; its `fit` calls `_learn`.
    """

    remainder: str
    max_categories: int | None
    # Parameters of HistoryAggregator only.
    min_rows: int = 1
    keep_histories: bool = False
    static_columns_: list[Any]
    categories_: dict[Any, pd.CategoricalDtype]

    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, Any] = {
        "time_unit": "no_validation",  # the clock of the log validates it
        "remainder": [StrOptions({"passthrough", "drop"})],
        "max_categories": [Interval(Integral, 2, None, closed="left"), None],
    }

    # What a subclass defines -------------------------------------------------------

    @abstractmethod
    def _learn_features(self, table: Table, run: Callable[[Pass], Any]) -> None:
        """Choose the features of each history column, by passes over training rows."""

    @abstractmethod
    def _frame(self, name: Any, array: HistoryArray) -> pd.DataFrame:
        """Return the features of one history column, shape (n, n_features)."""

    @abstractmethod
    def _names(self, name: Any) -> list[str]:
        """Return the names of the features of one history column."""

    @abstractmethod
    def _keep(self, name: Any, kept: np.ndarray) -> None:
        """Keep some features of one history column, a mask of shape (n_features,)."""

    # fit and transform -------------------------------------------------------------

    @one_task
    def fit_transform(self, X: pd.DataFrame, y: object = None) -> pd.DataFrame:
        """Fit, and compute the features of the same rows.

        `fit` computes them anyway, so that this takes hardly longer.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with at least one column of raw histories.
        y : object, default=None
            Ignored.

        Returns
        -------
        DataFrame of shape (n, n_features_out)
            What ``fit(X).transform(X)`` returns.

        Raises
        ------
        TypeError, ValueError
            As in `fit`.

        Warns
        -----
        UserWarning
            As in `fit`.
        """
        return self._learn(X, y)

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Compute the features of each row.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns that `fit` saw, in any order. Further columns, such as
            the keys, are ignored.

        Returns
        -------
        DataFrame of shape (n, n_features_out)
            Columns named ``<history column>__<feature>``: floats, and last levels as
            categories. Then the other columns.

        Raises
        ------
        TypeError
            If a history column of `fit` holds no histories, or a field of their events
            has another type.
        ValueError
            If a column of `fit` is missing, a log lacks a field, or its times changed
            between datetimes and numbers.

        Warns
        -----
        UserWarning
            If histories are much longer than all of `fit`, or silent for much longer.
        """
        table = self._read(X)
        for name, array in table.histories.items():
            self._seen[name].warn_unlike(name, array)
        frames = [self._frame(name, array) for name, array in table.histories.items()]
        return self._joined(table, frames)

    def _learn(self, X: Any, y: Any) -> pd.DataFrame:
        """Set the fitted attributes, and return the output for the same rows."""
        warn_other_order(X, y)
        table = self._read_to_fit(X)
        self._learn_seen(table, lambda one: one.summarize(table.frame))
        self._learn_features(table, lambda one: one.summarize(table.frame))
        frames = []
        for name, array in table.histories.items():
            frame = self._frame(name, array)
            kept = self._keep_known(name, frame.notna().sum(), len(frame))
            frames.append(frame.loc[:, kept])
        self._learn_statics(table)
        return self._joined(table, frames)

    def _learn_in_passes(self, X: Any, run: Callable[[Pass], Any]) -> None:
        """Set the fitted attributes by passes over the partitions of the training rows.

        `X` has all rows, without their events; a few are enough if there are no
        statics. `run` takes a pass over a DataFrame of rows, and returns the joint
        summary of all partitions.
        """
        table = self._read_to_fit(X)
        self._learn_seen(table, run)
        self._learn_features(table, run)
        *n_known, n_rows = run(Pass(self._count_known, add_all))
        for name, one in zip(table.histories, n_known, strict=True):
            self._keep_known(name, one, n_rows)
        self._learn_statics(table)

    def _keep_known(self, name: Any, n_known: pd.Series, n_rows: int) -> np.ndarray:
        """Drop features that too few rows have; return which are kept."""
        least = min(self.min_rows, n_rows)
        kept = (n_known >= least).to_numpy()
        self._keep(name, kept)
        return kept

    def _count_known(self, X: pd.DataFrame) -> tuple[Any, ...]:
        """Count rows with a value of each feature, for each history, and all rows."""
        frames = [self._frame(name, X[name].array) for name in self.history_columns_]
        return *(frame.notna().sum() for frame in frames), len(X)

    # Steps of fit and transform ----------------------------------------------------

    def _read_to_fit(self, X: Any) -> Table:
        """Read training rows: the histories, and the statics if these are handed on."""
        self._validate_params()
        table = Table.of(X)
        roles = ColumnRoles.of(table)
        self._roles = roles if self.remainder == "passthrough" else roles.of_histories()
        self._roles.set_names(table.frame, self)
        table = self._roles.select(table, self).refuse_encoded(type(self).__name__)
        # Time axes of the training logs; rows to be scored may have another log.
        self._clocks = {
            name: array.log.timeline.clock for name, array in table.histories.items()
        }
        self.history_columns_ = [*table.histories]
        return table

    def _learn_seen(self, table: Table, run: Callable[[Pass], Any]) -> None:
        """Learn how the training histories are."""
        self._seen = {
            name: run(Pass(partial(SeenHistories.of, name), SeenHistories.merge))
            for name in table.histories
        }

    def _learn_statics(self, table: Table) -> None:
        """Choose the statics that are handed on, and learn their categories."""
        X, types = table.frame, self._roles.statics
        self.categories_ = {
            name: learn_categories(X[name], self.max_categories)
            for name, one in types.items()
            if STATIC_TYPES[one].is_categorical
        }
        # Of numbers and times, columns without a value in the output are left out:
        # infinite numbers are missing ones there.
        numbers = [name for name in types if name not in self.categories_]
        values = dict(zip(numbers, self._statics(table, numbers), strict=True))
        self.static_columns_ = [
            name
            for name in types
            if name not in values or X.empty or not np.isnan(values[name]).all()
        ]
        # A static may be called "history__recency". Keys are not in the output.
        names = pd.Index(self.get_feature_names_out())
        repeated = names[names.duplicated()].tolist()
        if repeated:
            raise ValueError(
                f"The features would have the names of other columns of X: {repeated}. "
                "Rename those, give attach another name=..., or set remainder='drop'."
            )

    def _read(self, X: Any) -> Table:
        """Read rows with the columns of `fit`, whose histories are raw."""
        check_is_fitted(self)
        name = type(self).__name__
        table = self._roles.check(X, self).refuse_encoded(name)
        for column, array in table.histories.items():
            clock, fitted = array.log.timeline.clock, self._clocks[column]
            # Units may differ: lengths are converted to the ticks of each log.
            if (clock.unit is None) != (fitted.unit is None):
                raise ValueError(
                    f"The times of the histories in {column!r} are {clock}, but those "
                    f"that {name} saw in fit were {fitted}; build both logs from the "
                    "same type of times, or fit again."
                )
        return table

    def _statics(self, table: Table, names: Sequence[Hashable]) -> list[Any]:
        """Return statics as the output has them, arrays of shape (n,) in order."""
        X, cutoffs = table.frame, next(iter(table.histories.values())).cutoffs
        found: dict[Hashable, Any] = {}
        for static_type, one in STATIC_TYPES.items():
            own = [name for name in names if self._roles.statics[name] == static_type]
            # All columns of a type at once: one by one, hundreds take twice the time.
            place = X.columns.get_indexer(pd.Index(own, tupleize_cols=False))
            columns = one.features(X.take(place, axis=1), cutoffs, self.categories_)
            found |= zip(own, columns, strict=True)
        return [found[name] for name in names]

    def _joined(self, table: Table, frames: list[pd.DataFrame]) -> pd.DataFrame:
        """Join histories, features and statics under the names of the output."""
        if self.keep_histories:
            histories = dict(enumerate(table.histories.values()))
            frames = [pd.DataFrame(histories), *frames]
        if statics := self._statics(table, self.static_columns_):
            # Integer names until the end: pandas would make a MultiIndex of tuples.
            frames = [*frames, pd.DataFrame(dict(enumerate(statics)))]
        # One frame needs no copy.
        joined = pd.concat(frames, axis=1) if len(frames) > 1 else frames[0]
        joined.columns = self.get_feature_names_out()
        joined.index = table.frame.index
        return joined

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> np.ndarray:
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            None, or the names that `fit` saw.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            The histories if they are kept, ``<history column>__<feature>``, then the
            other columns.
        """
        check_is_fitted(self)
        check_feature_names_in(self, input_features)
        histories = self.history_columns_
        kept = histories if self.keep_histories else []
        features = [f"{name}__{one}" for name in histories for one in self._names(name)]
        return np.array([*kept, *features, *self.static_columns_], dtype=object)
