"""Scorers for searches and comparisons."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import sklearn.metrics
from sklearn.metrics import make_scorer

from sklearn_seqcrm.metrics._aggregate_bias import aggregate_bias
from sklearn_seqcrm.metrics._deciles import decile_mape
from sklearn_seqcrm.metrics._gain_curve import lift_at
from sklearn_seqcrm.metrics._normalized_gini import normalized_gini


def absolute_bias(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    """Size of the bias of the sum: a search would take -50% for better than 0."""
    return abs(aggregate_bias(y_true, y_pred, sample_weight=sample_weight))


_SCORERS = {
    "neg_absolute_bias": make_scorer(absolute_bias, greater_is_better=False),
    "neg_decile_mape": make_scorer(decile_mape, greater_is_better=False),
    "normalized_gini": make_scorer(normalized_gini),
    "top_decile_lift": make_scorer(lift_at, response_method="predict_proba"),
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
                           of the second class; for targets of 1 and 0
    =====================  =======================================================

    ``scoring=`` of scikit-learn takes names of its own alone, and so needs the scorer:
    ``GridSearchCV(model, grid, scoring=get_scorer("normalized_gini"))``.
    `sklearn_seqcrm.model_selection.compare_models` takes the names as they are.

    Other fractions, or labels that are text, are options of the metric:
    ``make_scorer(lift_at, response_method="predict_proba", fraction=0.05,
    pos_label="yes")``.

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
