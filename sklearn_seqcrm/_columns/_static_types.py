"""The types of ordinary columns, and everything that depends on the type.

=========  =============================================  ==============================
type       columns                                        values
=========  =============================================  ==============================
numeric    numbers, booleans, durations, also as          floats, durations in days;
           objects; decimals                              infinite is missing
datetime   datetimes and dates, also as objects           days before the row's cutoff
category   text, categoricals, and everything else        text; missing is None
=========  =============================================  ==============================

A network reads the values through the encoder of their type: one part of a
ColumnTransformer. Estimators of tables read the values themselves.
"""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from copy import copy
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sklearn_seqcrm._columns._statics import (
    as_levels,
    days_before,
    numbers_of,
    to_category,
)
from sklearn_seqcrm._columns._table import key_names
from sklearn_seqcrm._columns._target_encoder import CustomerTargetEncoder
from sklearn_seqcrm._store import (
    NUMBER_OBJECTS,
    are_numbers,
    check_unicode,
    unique_names,
)
from sklearn_seqcrm.events import HistoryDtype

Dtypes: TypeAlias = Mapping[Any, pd.CategoricalDtype]


# A column of more levels loses the rare ones when it is one-hot encoded.
MANY_LEVELS = 50


class StaticType(ABC):
    """A type of ordinary columns.

    A new type is a subclass in `STATIC_TYPES`. One that lacks a method below cannot be
    instantiated.
    """

    name: ClassVar[str]
    # Whether `encoder` needs the cutoffs: then the first history precedes its columns,
    # because a ColumnTransformer shows its parts no other column.
    needs_cutoffs: ClassVar[bool]
    # Whether estimators of tables get levels instead of numbers. A column without any
    # number is not handed on: boosting of scikit-learn 1.9 fails on it.
    is_categorical: ClassVar[bool]

    @abstractmethod
    def includes(self, dtype: Any, objects: str | None) -> bool:
        """Return whether a column of this dtype is of this type.

        `objects` is the type of its values as pandas infers it, for a column of
        objects.
        """

    @abstractmethod
    def encoder(self) -> Pipeline:
        """Return the transformer that makes standardised numbers for a network."""

    @abstractmethod
    def features(self, X: pd.DataFrame, cutoffs: pd.Index, dtypes: Dtypes) -> list[Any]:
        """Return the values for estimators of tables, an array (n,) for each column.

        `X` has columns of this type, `cutoffs` (n,) are those of the rows, and `dtypes`
        are of the columns that are categorical in the output.
        """


class NumericType(StaticType):
    """Numbers, booleans and durations."""

    name = "numeric"
    needs_cutoffs = False
    is_categorical = False

    def includes(self, dtype: Any, objects: str | None) -> bool:
        if objects is not None:
            return objects in (*NUMBER_OBJECTS, "timedelta", "timedelta64")
        return dtype.kind in "biufm" or pd.api.types.is_numeric_dtype(dtype)

    def encoder(self) -> Pipeline:
        return _scaled(FunctionTransformer(to_floats, feature_names_out=names_kept))

    def features(self, X: pd.DataFrame, cutoffs: pd.Index, dtypes: Dtypes) -> list[Any]:
        return list(numbers_of(X).T)


class DatetimeType(StaticType):
    """Datetimes and dates, as days before the cutoff of their row."""

    name = "datetime"
    needs_cutoffs = True
    is_categorical = False

    def includes(self, dtype: Any, objects: str | None) -> bool:
        if objects is not None:
            return objects in ("date", "datetime", "datetime64")
        if isinstance(dtype, pd.ArrowDtype) and issubclass(dtype.type, datetime.date):
            return True
        return pd.api.types.is_datetime64_any_dtype(dtype)

    def encoder(self) -> Pipeline:
        names_out = names_but_the_first
        return _scaled(FunctionTransformer(to_days, feature_names_out=names_out))

    def features(self, X: pd.DataFrame, cutoffs: pd.Index, dtypes: Dtypes) -> list[Any]:
        return [days_before(column, cutoffs) for _, column in X.items()]


class CategoryType(StaticType):
    """Text, categoricals, and whatever is of no other type."""

    name = "category"
    needs_cutoffs = False
    is_categorical = True

    def includes(self, dtype: Any, objects: str | None) -> bool:
        return True

    def encoder(self) -> Pipeline:
        levels = FunctionTransformer(to_levels, feature_names_out=names_kept)
        one_hot = LevelEncoder(
            handle_unknown="infrequent_if_exist",
            min_frequency=0.005,
            max_categories=MANY_LEVELS,
            sparse_output=False,
        )
        return Pipeline([("functiontransformer", levels), ("onehotencoder", one_hot)])

    def features(self, X: pd.DataFrame, cutoffs: pd.Index, dtypes: Dtypes) -> list[Any]:
        return [to_category(X[name], dtypes[name]) for name in X]


# The first that includes a column is its type: categories come last.
STATIC_TYPES: dict[str, StaticType] = {
    one.name: one for one in (NumericType(), DatetimeType(), CategoryType())
}


def static_type_of(column: pd.Series) -> str:
    """Return the type of a column that holds no histories, a key of `STATIC_TYPES`.

    Objects without a single value are a category, which takes any later value. Raises a
    TypeError if the column holds complex numbers, or periods, which may be meant as
    times or as levels.
    """
    dtype: Any = column.dtype
    objects = _type_of_objects(column) if pd.api.types.is_object_dtype(dtype) else None
    if objects == "complex" or dtype.kind == "c":
        raise TypeError(
            f"Column {column.name!r} holds complex numbers, which are no quantities; "
            f"make columns of their parts, such as X[{column.name!r}].to_numpy().real."
        )
    if objects == "period" or isinstance(dtype, pd.PeriodDtype):
        raise TypeError(
            f"Column {column.name!r} holds periods. If they are times, pass their "
            f"beginnings, pd.PeriodIndex(X[{column.name!r}]).to_timestamp(); if they "
            f"are levels, pass text, X[{column.name!r}].astype(str)."
        )
    return next(
        name for name, one in STATIC_TYPES.items() if one.includes(dtype, objects)
    )


def _type_of_objects(column: pd.Series) -> str:
    """Infer the type of objects, as database drivers and ColumnTransformer return."""
    # pandas calls Decimals and fractions among other numbers mixed.
    if are_numbers(column):
        return "decimal"
    return pd.api.types.infer_dtype(column, skipna=True)


def static_parts(
    exposure: str | None = None, encoder: CustomerTargetEncoder | None = None
) -> list[tuple[str, Any, Any]]:
    """Return the parts of a ColumnTransformer that turn statics into numbers.

    "numeric": missing and infinite numbers imputed by the median and marked in an
    indicator column; standardised. "datetime": datetimes as days before the cutoff of
    the first history, then like numbers. "category": strings, categoricals and other
    objects one-hot; rare levels and levels not seen in training share a column.
    "level", with an `encoder`: those with more than 50 levels in training, as
    standardised means of the target; without one, they are one-hot, too.

    `exposure` is the name of a numeric column that is left out, if any.
    """
    # Only a number can be an exposure, so only the numeric part leaves it out.
    parts = [
        (
            name,
            one.encoder(),
            ColumnsOfKind(name, exposure if name == "numeric" else None),
        )
        for name, one in STATIC_TYPES.items()
    ]
    if encoder is None:
        return parts
    few = ColumnsOfKind("category", many=False)
    many = ColumnsOfKind("category", many=True)
    one_hot = STATIC_TYPES["category"].encoder()
    by_target = Pipeline(
        [
            (
                "functiontransformer",
                FunctionTransformer(to_customer_levels, feature_names_out=names_kept),
            ),
            ("customertargetencoder", encoder),
            ("standardscaler", _unweighted_scaler()),
        ]
    )
    return [*parts[:-1], ("category", one_hot, few), ("level", by_target, many)]


class ColumnsOfKind:
    """Select the columns of one type, as a ColumnTransformer does.

    Parameters
    ----------
    kind : {"history", "numeric", "datetime", "category", "exposure"}
        The type. ``"datetime"`` puts the first history, which has the cutoffs, before
        the datetimes.
    exposure : str or None, default=None
        Name of the column that is the only one of type ``"exposure"``.
    many : bool or None, default=None
        True selects columns with more than 50 levels, after all histories, which have
        the customers. False selects the others, None both.
    """

    def __init__(
        self, kind: str, exposure: str | None = None, many: bool | None = None
    ) -> None:
        self.kind = kind
        self.exposure = exposure
        self.many = many

    def __call__(self, X: pd.DataFrame) -> list[str]:
        """Return the names of the columns of X of this type."""
        _refuse_other_names(X)
        types: dict[Any, str] = {
            name: "history"
            if isinstance(dtype, HistoryDtype)
            else static_type_of(X[name])
            for name, dtype in X.dtypes.items()
        }
        if self.exposure in types:
            _refuse_no_quantity(X[self.exposure], types[self.exposure])
            types[self.exposure] = "exposure"
        own = [name for name, one in types.items() if one == self.kind]
        if self.many is not None:
            own = [name for name in own if has_many_levels(X[name]) == self.many]
        needs_history = self.many or (
            self.kind in STATIC_TYPES and STATIC_TYPES[self.kind].needs_cutoffs
        )
        if own and needs_history:
            histories = [name for name, one in types.items() if one == "history"]
            return (histories if self.many else histories[:1]) + own
        return own

    def __repr__(self) -> str:
        """Return the call that makes it."""
        exposure = "" if self.exposure is None else f", {self.exposure!r}"
        many = "" if self.many is None else f", many={self.many}"
        return f"{type(self).__name__}({self.kind!r}{exposure}{many})"


def _refuse_other_names(X: pd.DataFrame) -> None:
    """Raise a TypeError if names of columns are not text.

    A ColumnTransformer takes numbers for positions, and fails with tuples.
    """
    others = [name for name in X.columns if not isinstance(name, str)]
    if not others:
        return
    text = "str(name)"
    if isinstance(others[0], tuple):
        text = "'_'.join(map(str, name)).rstrip('_')"
    raise TypeError(
        f"The names of columns must be text; got {others[:5]}. "
        f"X.columns = [{text} for name in X.columns] makes text of them."
    )


def has_many_levels(column: pd.Series) -> bool:
    """Return whether a column has more than 50 levels."""
    try:
        return int(column.nunique()) > MANY_LEVELS
    except (TypeError, NotImplementedError):
        # Lists, at which the encoder raises an error with the way out.
        return False


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


def _refuse_no_quantity(exposure: pd.Series, static_type: str) -> None:
    """Raise a TypeError for an exposure that is neither number nor duration."""
    if static_type != "numeric":
        is_datetime = static_type == "datetime"
        what = "datetimes" if is_datetime else f"values of type {exposure.dtype}"
        raise TypeError(
            f"The exposure {exposure.name!r} must hold numbers or durations; it holds "
            f"{what}, such as {exposure.iloc[:2].tolist()}. pd.to_numeric and "
            "pd.to_timedelta read text; a datetime becomes a duration by subtraction."
        )


class SteadyScaler(StandardScaler):
    """Standardise columns; a column that was constant in training becomes 0.

    A network draws a weight at random for such a column and learns nothing about it.
    scikit-learn leaves its scale at 1, so that a value that first varies after training
    (an income recorded too late) would dominate every score, and the rounding error of
    a mean of 1e300 would overflow float32. An infinite scale makes the column 0.
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
            # A standard deviation below a few rounding errors of the mean is 0.
            rounding = 8 * np.finfo("float64").eps * np.abs(self.mean_)
            self.scale_[np.sqrt(self.var_) <= rounding] = np.inf
        return self


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


def _scaled(to_numbers: BaseEstimator) -> Pipeline:
    """Impute by the median, mark imputed values, and standardise."""
    impute = MarkingImputer(
        strategy="median", add_indicator=True, keep_empty_features=True
    )
    return Pipeline(
        [
            ("functiontransformer", to_numbers),
            ("simpleimputer", impute),
            ("standardscaler", _unweighted_scaler()),
        ]
    )


def _unweighted_scaler() -> SteadyScaler:
    """Return a scaler that takes no weights where metadata are routed."""
    with config_context(enable_metadata_routing=True):
        # sample_weight is for the estimator.
        return SteadyScaler().set_fit_request(sample_weight=False)
