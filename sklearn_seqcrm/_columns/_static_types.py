"""The types of ordinary columns: which column has which, and how its values are read.

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
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_seqcrm._columns._static_transformers import (
    LevelEncoder,
    names_but_the_first,
    names_kept,
    scaled,
    to_customer_levels,
    to_days,
    to_floats,
    to_levels,
    unweighted_scaler,
)
from sklearn_seqcrm._columns._statics import days_before, numbers_of, to_category
from sklearn_seqcrm._columns._target_encoder import CustomerTargetEncoder
from sklearn_seqcrm._durations import DURATION_OBJECTS, type_of_objects
from sklearn_seqcrm._store import NUMBER_OBJECTS, are_numbers
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
            return objects in (*NUMBER_OBJECTS, *DURATION_OBJECTS)
        return dtype.kind in "biufm" or pd.api.types.is_numeric_dtype(dtype)

    def encoder(self) -> Pipeline:
        return scaled(FunctionTransformer(to_floats, feature_names_out=names_kept))

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
        return scaled(FunctionTransformer(to_days, feature_names_out=names_out))

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
    return type_of_objects(column)


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
            ("standardscaler", unweighted_scaler()),
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
