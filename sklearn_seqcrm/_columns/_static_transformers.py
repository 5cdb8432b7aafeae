"""Transformers of ordinary columns: those of scikit-learn, with what networks need.

Names of their outputs are unique, and a column that was constant in training becomes 0.
"""

from __future__ import annotations

from collections.abc import Collection
from copy import copy
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns._statics import as_levels, days_before, numbers_of
from sklearn_seqcrm._columns._table import key_names
from sklearn_seqcrm._store import check_unicode, unique_names
from sklearn_seqcrm.events import HistoryDtype


class _UniqueNamesMixin:
    """Append underscores to output names that are repeated or taken."""

    _taken: Collection[Any] = ()  # names that no output may have

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            None, or the names that `fit` saw.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            The names that scikit-learn gives; underscores are appended to repeated
            names and to those that are taken.
        """
        names = super().get_feature_names_out(input_features)  # type: ignore[misc]
        return np.array(unique_names(names, self._taken), dtype=object)


class LevelEncoder(_UniqueNamesMixin, OneHotEncoder):
    """One-hot encode levels into columns with unique names.

    scikit-learn names the column of rare levels "infrequent_sklearn". A column may
    have a level of that name, such as those that HistoryAggregator returns. The level
    "b_c" of a column "a" has the same name as the level "c" of a column "a_b".
    """

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Learn the levels of each column.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Text, None where a value is missing.
        y : None
            Ignored.

        Returns
        -------
        LevelEncoder
            The fitted encoder.
        """
        for name in X:  # names of outputs hold the levels
            levels = pd.Index(X[name].dropna().unique(), dtype=object)
            check_unicode(levels, f"levels of the column {name!r}")
        return super().fit(X, y)

    def columns_out(self) -> list[int]:
        """Return the position of the input column of each output column."""
        named_by_column = copy(self)
        named_by_column.feature_name_combiner = lambda column, _: column
        columns = [str(i) for i in range(self.n_features_in_)]
        if hasattr(self, "feature_names_in_"):
            columns = self.feature_names_in_.tolist()
        names = OneHotEncoder.get_feature_names_out(named_by_column, columns)
        return [columns.index(name) for name in names]


class StaticsTransformer(_UniqueNamesMixin, ColumnTransformer):
    """Transform the columns of each type into columns with unique names.

    The level "north" of a column "region" has the same name as a column "region_north",
    at which scikit-learn fails, unless names are made by a function. The level "end" of
    "week" is not called like a key "week_end", which networks leave out.
    """

    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit all transformers, and transform X; see `ColumnTransformer`."""
        self._taken = key_names(X)
        return super().fit_transform(X, y, **params)


def plain_name(part: str, name: str) -> str:
    """Return the name of an output column, without that of its part."""
    return name


class MarkingImputer(_UniqueNamesMixin, SimpleImputer):
    """Impute numbers, and give the missing-value indicators unique names.

    scikit-learn names the indicator of a column "a" "missingindicator_a", which may be
    the name of another column.
    """


class SteadyScaler(StandardScaler):
    """Standardise columns; a column that was constant in training becomes 0.

    A network draws a weight at random for such a column and learns nothing about it.
    scikit-learn leaves its scale at 1, so that a value that first varies after training
    (an income recorded too late) would dominate every score, and the rounding error of
    a mean of 1e300 would overflow float32. An infinite scale makes the column 0.

    Effects go on in a straight line beyond the values of training, so that a -999 among
    ages would dominate every score. Values are clipped where they lie outside the range
    of training by more than its length: between `least_` and `most_`, (n_columns,).
    """

    least_: np.ndarray
    most_: np.ndarray

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn means, scales and ranges.

        Parameters
        ----------
        X : array-like of shape (n, n_columns)
            Numbers.
        y : None
            Ignored.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows.

        Returns
        -------
        SteadyScaler
            The fitted scaler.
        """
        super().fit(X, y, sample_weight)
        values = np.asarray(X)
        low, high = values.min(axis=0), values.max(axis=0)
        self.least_, self.most_ = 2 * low - high, 2 * high - low
        if self.with_std:
            # A standard deviation below a few rounding errors of the mean is 0.
            rounding = 8 * np.finfo("float64").eps * np.abs(self.mean_)
            self.scale_[np.sqrt(self.var_) <= rounding] = np.inf
        return self

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        """Clip and standardise columns.

        Parameters
        ----------
        X : array-like of shape (n, n_columns)
            Numbers.
        copy : bool or None, default=None
            Ignored: `X` is not changed.

        Returns
        -------
        array-like of shape (n, n_columns)
            Standardised numbers.
        """
        check_is_fitted(self)
        if isinstance(X, pd.DataFrame):
            return super().transform(X.clip(self.least_, self.most_, axis=1))
        return super().transform(np.clip(X, self.least_, self.most_))


# Streaming and the ONNX export recognise the encoders by these functions' names.


def to_floats(X: pd.DataFrame) -> pd.DataFrame:
    """Convert numbers, booleans and durations to floats; infinite is missing."""
    return pd.DataFrame(numbers_of(X), X.index, X.columns)


def to_days(X: pd.DataFrame) -> pd.DataFrame:
    """Convert datetimes to days before the cutoff of the first column, a history."""
    cutoffs = X.iloc[:, 0].array.cutoffs
    return X.iloc[:, 1:].apply(
        lambda column: pd.Series(days_before(column, cutoffs), column.index)
    )


def to_levels(X: pd.DataFrame) -> pd.DataFrame:
    """Convert categories to text, and every missing value to None."""
    # OneHotEncoder takes None and NaN for two levels, fails on pd.NA, and does not
    # sort numbers among text.
    levels = {name: as_levels(X[name]) for name in X}
    return pd.DataFrame(levels, X.index, dtype=object)


def to_customer_levels(X: pd.DataFrame) -> pd.DataFrame:
    """Convert categories to text, but pass the histories on, the first columns."""
    n = sum(isinstance(dtype, HistoryDtype) for dtype in X.dtypes)
    return pd.concat([X.iloc[:, :n], to_levels(X.iloc[:, n:])], axis=1)


def names_kept(transformer: Any, names: np.ndarray | None) -> np.ndarray:
    """Return the names of the columns that `to_floats` and `to_levels` return.

    A NotFittedError if there are none, so that nothing was fitted: "one-to-one" would
    return no array, at which the HTML of scikit-learn 1.9 fails.
    """
    if names is None:
        raise NotFittedError("No column of this type was seen in fit.")
    return names


def names_but_the_first(transformer: Any, names: np.ndarray) -> np.ndarray:
    """Return the names of the columns that `to_days` returns."""
    return names[1:]


def scaled(to_numbers: BaseEstimator) -> Pipeline:
    """Impute by the median, mark imputed values, and standardise."""
    impute = MarkingImputer(
        strategy="median", add_indicator=True, keep_empty_features=True
    )
    return Pipeline(
        [
            ("functiontransformer", to_numbers),
            ("simpleimputer", impute),
            ("standardscaler", unweighted_scaler()),
        ]
    )


def unweighted_scaler() -> SteadyScaler:
    """Return a scaler that takes no weights where metadata are routed."""
    with config_context(enable_metadata_routing=True):
        # sample_weight is for the estimator.
        return SteadyScaler().set_fit_request(sample_weight=False)
