"""Pipeline from raw X, with histories and statics, to an estimator."""

from __future__ import annotations

from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from sklearn_seqcrm._columns import ColumnsOfKind, static_parts
from sklearn_seqcrm.preprocessing._history_encoder import HistoryEncoder


def make_history_pipeline(estimator: Any, *, memory: Any = None) -> Pipeline:
    """Make a pipeline that prepares raw `X` for an estimator of histories.

    Parameters
    ----------
    estimator : estimator
        Estimator of encoded histories and numeric statics, such as `LSTMClassifier`.
    memory : str, joblib.Memory or None, default=None
        Cache of fitted steps, as in `sklearn.pipeline.Pipeline`.

    Returns
    -------
    Pipeline
        Pipeline with three steps and all ``predict_...`` methods of `estimator`, such
        as ``predict_quantile``. The steps:

        ``"encoder"``
            A `HistoryEncoder`.
        ``"statics"``
            A ColumnTransformer with the parts ``"numeric"`` (missing and infinite
            numbers become the median, and a further column marks them; then
            standardised), ``"moment"`` (datetimes as days before the cutoff, then as
            numbers), and ``"category"`` (strings, categoricals and other objects
            one-hot; levels that are rare or unseen in training share a column).
        ``"estimator"``
            `estimator`.

    See Also
    --------
    HistoryEncoder : The first step.

    Notes
    -----
    The customer and cutoff columns by which a history was attached are keys, not
    features, and are dropped. A column of Python objects goes to the part that fits its
    values.

    Rows to be scored may have their columns in any order, and further columns, which
    are ignored.

    If `estimator` has a parameter `pretrained`, events are encoded as by that model.

    A column named by the parameter ``exposure`` of `estimator` is passed on unchanged.

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
    # The exposure is an offset of the estimator, in its own unit: it is not scaled.
    exposure = getattr(estimator, "exposure", None)
    parts = [("history", "passthrough", ColumnsOfKind("history"))]
    if exposure is not None:
        parts.append(("exposure", "passthrough", ColumnsOfKind("exposure", exposure)))
    statics = ColumnTransformer(
        [*parts, *static_parts(exposure)],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    # Intermediate tables are pandas, whatever output the user has configured.
    encoder = HistoryEncoder(pretrained=_known_before(estimator))
    encoder.set_output(transform="pandas")
    return HistoryPipeline(
        [("encoder", encoder), ("statics", statics), ("estimator", estimator)],
        memory=memory,
    )


def _known_before(estimator: Any) -> Any:
    """Return the pretrained model of an estimator, if it encodes histories."""
    pretrained = getattr(estimator, "pretrained", None)
    return pretrained if hasattr(pretrained, "_encoders") else None


class HistoryPipeline(Pipeline):
    """Pipeline with all ``predict_...`` methods of its last step.

    scikit-learn's pipeline has only ``predict``, ``predict_proba`` and
    ``predict_log_proba``. Quantiles, for example, would need
    ``pipeline[-1].predict_quantile(pipeline[:-1].transform(X))``.
    """

    def __getattr__(self, name: str) -> Any:
        """Return a ``predict_...`` method of the last step, for raw rows."""
        # While it is unpickled, the pipeline has no steps yet.
        steps = self.__dict__.get("steps")
        if (
            not name.startswith("predict_")
            or not steps
            or not hasattr(steps[-1][1], name)
        ):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            )

        # Further arguments, such as `q` or `horizon`, are not transformed.
        def method(X: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(self[-1], name)(self[:-1].transform(X), *args, **kwargs)

        return method
