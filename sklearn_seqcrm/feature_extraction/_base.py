"""Shared by the transformers of histories into tables: all but the features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import STATIC_TYPES, ColumnRoles, Table, learn_categories
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    CallbackSupportMixin,
    HistoryTransformerMixin,
    Interval,
    StrOptions,
    check_feature_names_in,
)


class BaseHistoryFeatures(
    HistoryTransformerMixin, CallbackSupportMixin, BaseEstimator, ABC
):
    """Check the histories, and hand on the other columns of `X`.

    A subclass computes the features of each history column. Its `fit` calls
    `_read_to_fit` first and `_learn_statics` last.
    """

    remainder: str
    max_categories: int | None
    static_columns_: list[Any]
    categories_: dict[Any, pd.CategoricalDtype]

    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, Any] = {
        "time_unit": "no_validation",  # the clock of the log validates it
        "remainder": [StrOptions({"passthrough", "drop"})],
        "max_categories": [Interval(Integral, 2, None, closed="left"), None],
    }

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

    def _learn_statics(self, table: Table) -> None:
        """Choose the statics that are handed on, and learn their categories."""
        X, types = table.frame, self._roles.statics
        self.static_columns_ = [
            name
            for name, one in types.items()
            if STATIC_TYPES[one].is_categorical or X[name].notna().any() or X.empty
        ]
        self.categories_ = {
            name: learn_categories(X[name], self.max_categories)
            for name, one in types.items()
            if STATIC_TYPES[one].is_categorical
        }
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

    def _statics(self, table: Table) -> list[Any]:
        """Return the columns of `static_columns_`, arrays of shape (n,) in order."""
        X, cutoffs = table.frame, next(iter(table.histories.values())).cutoffs
        found: dict[Hashable, Any] = {}
        for static_type, one in STATIC_TYPES.items():
            names = [
                name
                for name in self.static_columns_
                if self._roles.statics[name] == static_type
            ]
            # All columns of a type at once: one by one, hundreds take twice the time.
            place = X.columns.get_indexer(pd.Index(names, tupleize_cols=False))
            columns = one.features(X.take(place, axis=1), cutoffs, self.categories_)
            found |= zip(names, columns, strict=True)
        return [found[name] for name in self.static_columns_]

    @abstractmethod
    def _feature_names(self) -> Iterable[str]:
        """Return the names of the features of all histories."""

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
            ``<history column>__<feature>``, then the other columns.
        """
        check_is_fitted(self)
        check_feature_names_in(self, input_features)
        return np.array([*self._feature_names(), *self.static_columns_], dtype=object)
