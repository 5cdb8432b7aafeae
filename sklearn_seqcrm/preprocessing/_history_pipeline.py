"""From raw X to a fitted estimator in one line."""

from __future__ import annotations

from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from sklearn_seqcrm._columns import ColumnsOfKind, static_parts
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

    If `estimator` has `pretrained`, events are encoded as that model learned to.

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
    exposure = getattr(estimator, "exposure", None)
    parts = [("history", "passthrough", ColumnsOfKind("history"))]
    if exposure is not None:
        parts.append(("exposure", "passthrough", ColumnsOfKind("exposure", exposure)))
    statics = ColumnTransformer(
        [*parts, *static_parts(exposure)],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    # What comes between is no output, whatever table the user wants for those.
    encoder = HistoryEncoder(pretrained=_known_before(estimator))
    encoder.set_output(transform="pandas")
    return HistoryPipeline(
        [("encoder", encoder), ("statics", statics), ("estimator", estimator)],
        memory=memory,
    )


def _known_before(estimator: Any) -> Any:
    """The fitted model that an estimator starts from, if it encodes histories."""
    pretrained = getattr(estimator, "pretrained", None)
    return pretrained if hasattr(pretrained, "_encoders") else None


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
