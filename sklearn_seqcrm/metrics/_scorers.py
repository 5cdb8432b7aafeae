"""Scorers for searches and comparisons, and the response they score."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.metrics
from sklearn.base import is_classifier
from sklearn.metrics import make_scorer

from sklearn_seqcrm._sklearn_compat import Scorer, response_values
from sklearn_seqcrm.metrics._deciles import decile_mape
from sklearn_seqcrm.metrics._gain_curve import lift_at
from sklearn_seqcrm.metrics._sums_and_order import aggregate_bias, normalized_gini


def response(
    estimator: Any, X: Any, pos_label: Any, *, only_probabilities: bool = False
) -> tuple[np.ndarray, Any]:
    """Predictions of a regressor, or of one class of a classifier of two.

    Parameters
    ----------
    estimator : estimator
        A fitted model.
    X : DataFrame or array-like of n rows
        Rows.
    pos_label : int, float, bool, str or None
        The class; None: the second one.
    only_probabilities : bool, default=False
        Whether a classifier without probabilities is an error; else its decision
        function takes their place.

    Returns
    -------
    score : ndarray of shape (n,)
        Predictions, probabilities or decisions.
    pos_label : int, float, bool, str or None
        The class; None for a regressor.
    """
    if not is_classifier(estimator):
        return response_values(estimator, X, "predict", None)
    two_classes(estimator)
    methods = ["predict_proba", "decision_function"]
    wanted = methods[:1] if only_probabilities else methods
    return response_values(estimator, X, wanted, pos_label)


def two_classes(estimator: Any) -> np.ndarray:
    """Classes of a classifier; a ValueError if they are not two."""
    classes = estimator.classes_
    if isinstance(classes, list) or np.ndim(classes) == 2:
        raise ValueError(
            f"The classifier predicts {len(classes)} labels for each row, and this "
            "measure is of one label. Call the metric with a column of y and that of "
            "predict_proba."
        )
    if len(classes) != 2:
        raise ValueError(
            f"The classifier has {len(classes)} classes, and this measure is of two. "
            "Call the metric with y == one of the classes and the column of "
            "predict_proba for it."
        )
    return classes


def absolute_bias(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    """Size of the bias of the sum: a search would take -50% for better than 0."""
    return abs(aggregate_bias(y_true, y_pred, sample_weight=sample_weight))


class SecondClassScorer(Scorer):
    """Score probabilities of the second class by a metric that has a `pos_label`.

    A scorer of `make_scorer` takes these probabilities as well, and leaves the labels
    to the metric, which would read 1 and 2 as amounts.
    """

    def _score(
        self, method_caller: Any, estimator: Any, X: Any, y_true: Any, **kwargs: Any
    ) -> float:
        pos_label = two_classes(estimator)[1]
        return super()._score(
            method_caller, estimator, X, y_true, pos_label=pos_label, **kwargs
        )


_SCORERS = {
    "neg_absolute_bias": make_scorer(absolute_bias, greater_is_better=False),
    "neg_decile_mape": make_scorer(decile_mape, greater_is_better=False),
    "normalized_gini": make_scorer(normalized_gini),
    "top_decile_lift": SecondClassScorer(
        lift_at, sign=1, kwargs={}, response_method="predict_proba"
    ),
    "top_decile_value": make_scorer(lift_at),
}


def get_scorer(scoring: str | Callable[..., float]) -> Callable[..., float]:
    """Get a scorer by its name, of this package or of scikit-learn.

    Parameters
    ----------
    scoring : str or callable
        A name of the table in Notes, or one that `sklearn.metrics.get_scorer` knows; a
        callable is returned as it is.

    Returns
    -------
    callable
        ``scorer(estimator, X, y, sample_weight=None)``, the higher, the better. It is a
        copy, whose metadata requests can be set.

    Raises
    ------
    ValueError
        If the name is not known.

    See Also
    --------
    sklearn.metrics.make_scorer : Makes scorers with other options.

    Notes
    -----
    =====================  =======================================================
    ``normalized_gini``    `normalized_gini` of ``predict``
    ``neg_decile_mape``    minus `decile_mape` of ``predict``
    ``neg_absolute_bias``  minus the absolute `aggregate_bias` of ``predict``
    ``top_decile_value``   `lift_at` a tenth, rows in the order of ``predict``
    ``top_decile_lift``    `lift_at` a tenth, rows in the order of the probability
                           of the second class, whatever the labels are
    =====================  =======================================================

    ``scoring=`` of scikit-learn takes names of its own alone, and so needs the scorer:
    ``GridSearchCV(model, grid, scoring=get_scorer("normalized_gini"))``.
    `sklearn_seqcrm.model_selection.compare_models` takes the names as they are.

    Other fractions, and the first of two classes, are options of the metric:
    ``make_scorer(lift_at, response_method="predict_proba", fraction=0.05,
    pos_label="yes")``. It takes `pos_label` for labels other than 1 and 0.

    Examples
    --------
    >>> from sklearn.linear_model import PoissonRegressor
    >>> from sklearn_seqcrm.metrics import get_scorer
    >>> X, y = [[0], [1], [2], [3]], [0, 1, 1, 5]
    >>> model = PoissonRegressor().fit(X, y)
    >>> get_scorer("normalized_gini")(model, X, y)
    1.0
    """
    if isinstance(scoring, str) and scoring in _SCORERS:
        return copy.deepcopy(_SCORERS[scoring])
    try:
        return sklearn.metrics.get_scorer(scoring)
    except ValueError as error:
        raise ValueError(
            f"There is no scorer {scoring!r}; there are {sorted(_SCORERS)}, and those "
            "that sklearn.metrics.get_scorer_names() lists."
        ) from error
