"""What a fitted model says of each row, in one number."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier

from sklearn_seqcrm._sklearn_compat import response_values


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
