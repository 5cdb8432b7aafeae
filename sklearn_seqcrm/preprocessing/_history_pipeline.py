"""From raw X to a fitted estimator in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sklearn_seqcrm.events import HistoryDtype
from sklearn_seqcrm.events._days import days_before_cutoff
from sklearn_seqcrm.preprocessing._history_encoder import HistoryEncoder

_DAY = pd.Timedelta(days=1)
_KINDS_OF_OBJECTS = {
    **dict.fromkeys(("boolean", "decimal", "floating", "integer"), "numeric"),
    "mixed-integer-float": "numeric",
    **dict.fromkeys(("date", "datetime", "datetime64"), "moment"),
}


def make_history_pipeline(estimator: Any, *, memory: Any = None) -> Pipeline:
    """Put all preparation of raw `X` before an estimator.

    Parameters
    ----------
    estimator : estimator
        What reads encoded histories and numeric statics, such as `LSTMClassifier`.
    memory : str, joblib.Memory or None, default=None
        Cache of fitted steps, as in `sklearn.pipeline.Pipeline`.

    Returns
    -------
    Pipeline
        Three steps. ``"encoder"`` is a `HistoryEncoder`. ``"statics"`` is a
        ColumnTransformer with the parts ``"numeric"`` (median for missing and
        infinite numbers, beside a column that marks them; standardised), ``"moment"``
        (datetimes as days before the cutoff, then like numbers), and ``"category"``
        (strings, categoricals and other objects one-hot; levels that are rare or were
        not seen in training share a column). ``"estimator"`` is `estimator`.

    See Also
    --------
    HistoryEncoder : The first step.

    Notes
    -----
    The customer and cutoff columns that a history was attached by are keys, not
    features, and are left out. Columns of Python objects are sorted by what they hold.

    Every part has its parameters, such as ``encoder__max_categories``,
    ``statics__numeric__simpleimputer__strategy`` and
    ``statics__category__onehotencoder__max_categories``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMRegressor
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> orders = pd.DataFrame(
    ...     {"who": list("aabbbc"), "day": range(6), "amount": [5.0, 7, 6, 1, 2, 4]}
    ... )
    >>> people = pd.DataFrame({"who": list("abc"), "age": [30, 41, 52]})
    >>> X = EventLog(orders, "who", "day").attach(people, cutoff=10)
    >>> model = make_history_pipeline(LSTMRegressor(max_epochs=2, random_state=0))
    >>> model.fit(X, [1.0, 2.0, 3.0]).predict(X).shape
    (3,)
    """
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=0.005,
        max_categories=50,
        sparse_output=False,
    )
    numbers = FunctionTransformer(to_floats, feature_names_out="one-to-one")
    days = FunctionTransformer(to_days, feature_names_out=names_but_the_first)
    levels = FunctionTransformer(to_levels, feature_names_out="one-to-one")
    statics = ColumnTransformer(
        [
            ("history", "passthrough", ColumnsOfKind("history")),
            ("numeric", _scaled(numbers), ColumnsOfKind("numeric")),
            ("moment", _scaled(days), ColumnsOfKind("moment")),
            ("category", make_pipeline(levels, one_hot), ColumnsOfKind("category")),
        ],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    # What comes between is no output, whatever table the user wants for those.
    encoder = HistoryEncoder().set_output(transform="pandas")
    return Pipeline(
        [("encoder", encoder), ("statics", statics), ("estimator", estimator)],
        memory=memory,
    )


class ColumnsOfKind:
    """Choose the columns of one kind, as ColumnTransformer asks for them.

    Parameters
    ----------
    kind : {"history", "numeric", "moment", "category"}
        The kind. ``"moment"`` has the first history before the datetimes, for its
        cutoffs.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, X: pd.DataFrame) -> list[Any]:
        """Names of the columns of X of this kind."""
        kinds = {name: _kind(X[name]) for name in X}
        histories = [name for name, kind in kinds.items() if kind == "history"]
        if self.kind == "history":
            return histories
        own = [name for name, kind in kinds.items() if kind == self.kind]
        return histories[:1] + own if self.kind == "moment" and own else own

    def __repr__(self) -> str:
        """Return the call that makes it."""
        return f"{type(self).__name__}({self.kind!r})"


def to_floats(X: pd.DataFrame) -> pd.DataFrame:
    """Numbers, booleans and durations (in days) as floats; infinite is missing."""
    alone = [
        i
        for i, dtype in enumerate(X.dtypes)
        if pd.api.types.is_object_dtype(dtype) or dtype.kind == "m"
    ]
    together = np.setdiff1d(np.arange(X.shape[1]), alone)
    values = np.empty(X.shape)
    # One by one, hundreds would cost as much as the rest of scoring a row.
    values[:, together] = X.take(together, axis=1).to_numpy("float64", na_value=np.nan)
    for i in alone:
        column = X.iloc[:, i]
        if column.dtype.kind == "m":
            column = pd.to_timedelta(column) / _DAY
        values[:, i] = column.to_numpy("float64", na_value=np.nan)
    values[np.isinf(values)] = np.nan
    return pd.DataFrame(values, X.index, X.columns)


def to_days(X: pd.DataFrame) -> pd.DataFrame:
    """Datetimes as days before the cutoff of the history in the first column."""
    cutoffs = X.iloc[:, 0].array.cutoffs
    # They may be objects, which to_datetime reads.
    return X.iloc[:, 1:].apply(
        lambda moments: pd.Series(
            days_before_cutoff(pd.to_datetime(moments), cutoffs), moments.index
        )
    )


def to_levels(X: pd.DataFrame) -> pd.DataFrame:
    """Categories as plain objects, and None for whatever stands for a missing one."""
    # OneHotEncoder takes None and NaN for two levels, and does not know pd.NA.
    return X.astype(object).where(X.notna(), None)


def names_but_the_first(transformer: Any, names: np.ndarray) -> np.ndarray:
    """Names of the columns that `to_days` returns."""
    return names[1:]


def _scaled(to_numbers: BaseEstimator) -> Pipeline:
    impute = SimpleImputer(
        strategy="median", add_indicator=True, keep_empty_features=True
    )
    with config_context(enable_metadata_routing=True):
        # Weights are for the estimator, also where metadata are routed.
        scale = StandardScaler().set_fit_request(sample_weight=False)
    return make_pipeline(to_numbers, impute, scale)


def _kind(column: pd.Series) -> str:
    dtype = column.dtype
    if isinstance(dtype, HistoryDtype):
        return "history"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "moment"
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    is_number = pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(
        dtype
    )
    if is_number or pd.api.types.is_timedelta64_dtype(dtype):
        return "numeric"
    if pd.api.types.is_object_dtype(dtype):
        # Database drivers give objects, and so does ColumnTransformer.
        return _KINDS_OF_OBJECTS.get(pd.api.types.infer_dtype(column), "category")
    return "category"
