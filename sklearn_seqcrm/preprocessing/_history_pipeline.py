"""From raw X to a fitted estimator in one line."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sklearn_seqcrm._reading import as_levels, days_before, kind_of, numbers_of
from sklearn_seqcrm.events import HistoryDtype
from sklearn_seqcrm.preprocessing._history_encoder import HistoryEncoder


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
        It has every ``predict_...`` method of `estimator`, not those of scikit-learn
        alone, and three steps. ``"encoder"`` is a `HistoryEncoder`. ``"statics"`` is a
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

    Columns of rows to be scored are found by name, in any order; further ones are
    ignored.

    A column that `estimator` names as its ``exposure`` is passed on to it as it is.

    Every part has its parameters, such as ``encoder__max_categories``,
    ``encoder__time_zone``, ``statics__numeric__simpleimputer__strategy`` and
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
    exposure = getattr(estimator, "exposure", None)
    parts = [
        ("history", "passthrough", ColumnsOfKind("history")),
        ("numeric", _scaled(numbers), ColumnsOfKind("numeric", exposure)),
        ("moment", _scaled(days), ColumnsOfKind("moment")),
        ("category", make_pipeline(levels, one_hot), ColumnsOfKind("category")),
    ]
    if exposure is not None:
        parts.insert(
            1, ("exposure", "passthrough", ColumnsOfKind("exposure", exposure))
        )
    statics = ColumnTransformer(
        parts,
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    # What comes between is no output, whatever table the user wants for those.
    encoder = HistoryEncoder().set_output(transform="pandas")
    return HistoryPipeline(
        [("encoder", encoder), ("statics", statics), ("estimator", estimator)],
        memory=memory,
    )


class HistoryPipeline(Pipeline):
    """A pipeline with all ``predict_...`` methods of its last step.

    scikit-learn's has those that scikit-learn knows. Survival functions and quantiles
    would take ``pipeline[-1].predict_quantile(pipeline[:-1].transform(X))``.
    """

    def __getattr__(self, name: str) -> Any:
        """Find a method of the last step, which is asked about transformed rows."""
        # Out of a pickle it has no steps yet.
        steps = self.__dict__.get("steps")
        if (
            not name.startswith("predict_")
            or not steps
            or not hasattr(steps[-1][1], name)
        ):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            )

        def ask(X: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(self[-1], name)(self[:-1].transform(X), *args, **kwargs)

        return ask


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
        if self.exposure in kinds and kinds[self.exposure] == "numeric":
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


def names_but_the_first(transformer: Any, names: np.ndarray) -> np.ndarray:
    """Names of the columns that `to_days` returns."""
    return names[1:]


def _scaled(to_numbers: BaseEstimator) -> Pipeline:
    impute = SimpleImputer(
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
