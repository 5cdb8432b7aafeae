"""Statics of every kind to numbers, as parts of a ColumnTransformer."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sklearn_seqcrm._columns._statics import as_levels, days_before, kind_of, numbers_of
from sklearn_seqcrm._store import unlike
from sklearn_seqcrm.events import HistoryDtype


def static_parts(exposure: Any = None) -> list[tuple[str, Any, Any]]:
    """Parts of a ColumnTransformer that turn statics of every kind into numbers.

    Parameters
    ----------
    exposure : str, int or None, default=None
        Name of a numeric column that is left out.

    Returns
    -------
    list of (str, estimator, callable)
        ``"numeric"``: median for missing and infinite numbers, beside a column that
        marks them; standardised. ``"moment"``: datetimes as days before the cutoff of
        the first history, then like numbers. ``"category"``: strings, categoricals and
        other objects one-hot; levels that are rare or were not seen in training share
        a column.
    """
    one_hot = LevelEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=0.005,
        max_categories=50,
        sparse_output=False,
    )
    numbers = FunctionTransformer(to_floats, feature_names_out=names_kept)
    days = FunctionTransformer(to_days, feature_names_out=names_but_the_first)
    levels = FunctionTransformer(to_levels, feature_names_out=names_kept)
    category = Pipeline([("functiontransformer", levels), ("onehotencoder", one_hot)])
    return [
        ("numeric", _scaled(numbers), ColumnsOfKind("numeric", exposure)),
        ("moment", _scaled(days), ColumnsOfKind("moment")),
        ("category", category, ColumnsOfKind("category")),
    ]


class ColumnsOfKind:
    """Choose the columns of one kind, as ColumnTransformer asks for them.

    Parameters
    ----------
    kind : {"history", "numeric", "moment", "category", "exposure"}
        The kind. ``"moment"`` has the first history before the datetimes, for its
        cutoffs.
    exposure : str, int or None, default=None
        Name of the column that is the only one of the kind ``"exposure"``.
    """

    def __init__(self, kind: str, exposure: Any = None) -> None:
        self.kind = kind
        self.exposure = exposure

    def __call__(self, X: pd.DataFrame) -> list[Any]:
        """Names of the columns of X of this kind."""
        kinds = {
            name: "history" if isinstance(dtype, HistoryDtype) else kind_of(X[name])
            for name, dtype in X.dtypes.items()
        }
        if self.exposure in kinds:
            _refuse_no_quantity(X[self.exposure], kinds[self.exposure])
            kinds[self.exposure] = "exposure"
        histories = [name for name, kind in kinds.items() if kind == "history"]
        if self.kind == "history":
            return histories
        own = [name for name, kind in kinds.items() if kind == self.kind]
        return histories[:1] + own if self.kind == "moment" and own else own

    def __repr__(self) -> str:
        """Return the call that makes it."""
        exposure = "" if self.exposure is None else f", {self.exposure!r}"
        return f"{type(self).__name__}({self.kind!r}{exposure})"


class LevelEncoder(OneHotEncoder):
    """One-hot encode levels into columns with unique names.

    scikit-learn calls the rare levels of a column "infrequent_sklearn". A column may
    have a level of that name, such as those that HistoryAggregator returns. The level
    "b_c" of a column "a" has the same name as the level "c" of a column "a_b".
    """

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            None, or the names that `fit` saw.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            ``<column>_<level>``, with underscores behind names that come again.
        """
        names = super().get_feature_names_out(input_features)
        return np.array(unlike(names), dtype=object)


class MarkingImputer(SimpleImputer):
    """Impute numbers, and give the missing-value indicators unique names.

    scikit-learn calls the indicator of a column "a" "missingindicator_a", which may be
    the name of another column.
    """

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            None, or the names that `fit` saw.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            The names of the columns, then ``missingindicator_<column>``, with
            underscores behind names that come again.
        """
        names = super().get_feature_names_out(input_features)
        return np.array(unlike(names), dtype=object)


def _refuse_no_quantity(exposure: pd.Series, kind: str) -> None:
    """Raise a TypeError for an exposure that is neither number nor duration."""
    if kind != "numeric":
        what = "datetimes" if kind == "moment" else f"values of type {exposure.dtype}"
        raise TypeError(
            f"The exposure {exposure.name!r} must hold numbers or durations; it holds "
            f"{what}, such as {exposure.iloc[:2].tolist()}. pd.to_numeric and "
            "pd.to_timedelta read text; a datetime becomes a duration by subtraction."
        )


class SteadyScaler(StandardScaler):
    """Standardise columns; one that did not vary in training is 0 from then on.

    Nothing was learned of such a column, and a network gives it some weight all the
    same. scikit-learn leaves its scale at 1: then the rounding of its mean remains (of
    a column of 1e300, numbers that float32 does not hold), and an income that was
    recorded too late for training decides every score. Here its scale is infinite.
    """

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn means and scales.

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
        super().partial_fit(X, y, sample_weight)
        if self.with_std:
            rounding = 8 * np.finfo("float64").eps * np.abs(self.mean_)
            self.scale_[np.sqrt(self.var_) <= rounding] = np.inf
        return self


def to_floats(X: pd.DataFrame) -> pd.DataFrame:
    """Numbers, booleans and durations (in days) as floats; infinite is missing."""
    return pd.DataFrame(numbers_of(X), X.index, X.columns)


def to_days(X: pd.DataFrame) -> pd.DataFrame:
    """Datetimes as days before the cutoff of the history in the first column."""
    cutoffs = X.iloc[:, 0].array.cutoffs
    return X.iloc[:, 1:].apply(
        lambda column: pd.Series(days_before(column, cutoffs), column.index)
    )


def to_levels(X: pd.DataFrame) -> pd.DataFrame:
    """Categories as text, and None for whatever stands for a missing one."""
    # OneHotEncoder takes None and NaN for two levels, knows no pd.NA, and does not
    # sort numbers among text.
    levels = {name: as_levels(X[name]) for name in X}
    return pd.DataFrame(levels, X.index, dtype=object)


def names_kept(transformer: Any, names: np.ndarray | None) -> np.ndarray:
    """Names of the columns that `to_floats` and `to_levels` return.

    Raises
    ------
    NotFittedError
        If there are no such columns, so that nothing was fitted. "one-to-one" would
        return no array, at which the HTML of scikit-learn 1.9 fails.
    """
    if names is None:
        raise NotFittedError("No column of this kind was seen in fit.")
    return names


def names_but_the_first(transformer: Any, names: np.ndarray) -> np.ndarray:
    """Names of the columns that `to_days` returns."""
    return names[1:]


def _scaled(to_numbers: BaseEstimator) -> Pipeline:
    impute = MarkingImputer(
        strategy="median", add_indicator=True, keep_empty_features=True
    )
    with config_context(enable_metadata_routing=True):
        # Weights are for the estimator, also where metadata are routed.
        scale = SteadyScaler().set_fit_request(sample_weight=False)
    return Pipeline(
        [
            ("functiontransformer", to_numbers),
            ("simpleimputer", impute),
            ("standardscaler", scale),
        ]
    )
