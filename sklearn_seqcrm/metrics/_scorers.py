"""Scorers for searches and comparisons, and the response that they score."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.metrics
from sklearn.base import is_classifier
from sklearn.metrics import make_scorer

from sklearn_seqcrm._meta_estimators import fitted_with
from sklearn_seqcrm._sklearn_compat import Scorer, response_values
from sklearn_seqcrm.metrics._deciles import aggregate_bias, decile_mape
from sklearn_seqcrm.metrics._gain_curve import lift_at, normalized_gini
from sklearn_seqcrm.metrics._policy_value import policy_score
from sklearn_seqcrm.metrics._uplift_scores import (
    qini_auc_score,
    uplift_at_k,
    uplift_auc_score,
)


def response(
    estimator: Any, X: Any, pos_label: Any, *, only_probabilities: bool = False
) -> tuple[np.ndarray, Any]:
    """Return predictions of a regressor, or scores of one of two classes, (n,).

    The second result is the class, None for a regressor: without `pos_label` it is the
    second one. With `only_probabilities`, a classifier without probabilities raises an
    error instead of being scored by its decision function.
    """
    # A regressor's targets are numbers: no label counts as 1.
    if not is_classifier(estimator):
        return response_values(estimator, X, "predict", None)
    two_classes(estimator)
    methods = ["predict_proba", "decision_function"]
    wanted = methods[:1] if only_probabilities else methods
    return response_values(estimator, X, wanted, pos_label)


def two_classes(estimator: Any) -> np.ndarray:
    """Return the classes of a classifier; raise a ValueError if they are not two."""
    classes = estimator.classes_
    # Classifiers of several labels have a list of arrays, or an array per label.
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
    """Return the absolute bias: a search that maximises would prefer -50% to 0."""
    return abs(aggregate_bias(y_true, y_pred, sample_weight=sample_weight))


class SecondClassScorer(Scorer):
    """Score probabilities of the second class by a metric that has a `pos_label`.

    A scorer of `make_scorer` uses the same probabilities but passes the labels to the
    metric unchanged, which would read labels 1 and 2 as amounts.
    """

    def _score(
        self, method_caller: Any, estimator: Any, X: Any, y_true: Any, **kwargs: Any
    ) -> float:
        pos_label = two_classes(estimator)[1]
        return super()._score(
            method_caller, estimator, X, y_true, pos_label=pos_label, **kwargs
        )


class UpliftScorer(Scorer):
    """Score the effects of an uplift estimator by a metric that takes its arms.

    The scorer passes the estimator's `treatments_`, and the second class of `y`, so
    that labels of any type are understood. `treatment` comes by metadata routing.
    """

    def _score(
        self, method_caller: Any, estimator: Any, X: Any, y_true: Any, **kwargs: Any
    ) -> float:
        if kwargs.get("treatment") is None:
            raise ValueError(
                "The score of effects needs the treatment of the rows: request it by "
                "scorer.set_score_request(treatment=True) and pass treatment= in "
                "params, or to the scorer."
            )
        effect = method_caller(estimator, "predict", X)
        options = {**uplift_labels(estimator), **self._kwargs, **kwargs}
        return self._sign * self._score_func(y_true, effect, **options)


def uplift_labels(estimator: Any) -> dict[str, Any]:
    """Return labels that an uplift estimator has, as options of metrics of effects.

    The estimator may be inside of searches and pipelines.
    """
    estimator = fitted_with(estimator, "treatments_")
    classes = getattr(estimator, "classes_", None)
    return {
        "treatments": getattr(estimator, "treatments_", None),
        "pos_label": None if classes is None else classes[-1],
    }


def _uplift_scorer(metric: Callable[..., float]) -> UpliftScorer:
    return UpliftScorer(metric, sign=1, kwargs={}, response_method="predict")


# Higher is better for all: errors are negated ("neg_"). `lift_at` is the scorer of both
# amounts, by `predict`, and labels, by `predict_proba`.
_SCORERS = {
    "neg_absolute_bias": make_scorer(absolute_bias, greater_is_better=False),
    "neg_decile_mape": make_scorer(decile_mape, greater_is_better=False),
    "normalized_gini": make_scorer(normalized_gini),
    "top_decile_lift": SecondClassScorer(
        lift_at, sign=1, kwargs={}, response_method="predict_proba"
    ),
    "top_decile_value": make_scorer(lift_at),
    "policy_value": _uplift_scorer(policy_score),
    "qini_auc": _uplift_scorer(qini_auc_score),
    "uplift_at_k": _uplift_scorer(uplift_at_k),
    "uplift_auc": _uplift_scorer(uplift_auc_score),
}


def get_scorer(scoring: str | Callable[..., float]) -> Callable[..., float]:
    """Return a scorer by its name, of this package or of scikit-learn.

    Parameters
    ----------
    scoring : str or callable
        A name from the table in Notes or of `sklearn.metrics.get_scorer`. A callable is
        returned unchanged.

    Returns
    -------
    callable
        ``scorer(estimator, X, y, sample_weight=None)``; higher is better. It is a copy,
        so that its metadata requests can be set.

    Raises
    ------
    ValueError
        If there is no scorer of that name.

    See Also
    --------
    sklearn.metrics.make_scorer : Scorers with other options.

    Notes
    -----
    =====================  =======================================================
    ``normalized_gini``    `normalized_gini` of ``predict``
    ``neg_decile_mape``    minus `decile_mape` of ``predict``
    ``neg_absolute_bias``  minus the absolute `aggregate_bias` of ``predict``
    ``top_decile_value``   `lift_at` of a tenth of the rows, ordered by ``predict``
    ``top_decile_lift``    `lift_at` of a tenth of the rows, ordered by the
                           probability of the second class; any labels
    ``qini_auc``           `qini_auc_score` of the effects that ``predict`` returns
    ``uplift_auc``         `uplift_auc_score` of these effects
    ``uplift_at_k``        `uplift_at_k` of these effects, of 30% of the rows
    ``policy_value``       `policy_value` of contacting where the highest effect is
                           above 0, self-normalised
    =====================  =======================================================

    The last four take the labels of treatments as metadata, and the labels of the arms
    from the estimator: ``get_scorer("qini_auc").set_score_request(treatment=True)`` in
    ``cross_validate(..., params={"treatment": mailed})``, with
    ``sklearn.set_config(enable_metadata_routing=True)``. ``policy_value`` also takes
    ``propensity``.

    ``scoring=`` of scikit-learn accepts only scikit-learn's own names. Pass the scorer
    there: ``GridSearchCV(model, grid, scoring=get_scorer("normalized_gini"))``.
    `sklearn_seqcrm.model_selection.compare_models` and
    `sklearn_seqcrm.inspection.history_importance` take the names themselves.

    Other fractions, and the first of two classes, are options of the metric:
    ``make_scorer(lift_at, response_method="predict_proba", fraction=0.05,
    pos_label="yes")``. Labels other than 1 and 0 need `pos_label`.

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
        # `set_score_request` changes a scorer in place.
        return copy.deepcopy(_SCORERS[scoring])
    try:
        return sklearn.metrics.get_scorer(scoring)
    except ValueError as error:
        raise ValueError(
            f"There is no scorer {scoring!r}; there are {sorted(_SCORERS)}, and those "
            "that sklearn.metrics.get_scorer_names() lists."
        ) from error
