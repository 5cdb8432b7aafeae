"""Scores of stored predictions under many weightings of the rows at once.

A bootstrap sample in which row ``i`` occurs ``w_i`` times is the weighting ``w``: its
score is the weighted score, and no row is copied. ``B`` weightings of ``n`` rows are
one matrix of shape (B, n), by which means are matrix products.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from inspect import isfunction, signature
from typing import Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.exceptions import UndefinedMetricWarning

from sklearn_seqcrm._columns import read_survival_targets
from sklearn_seqcrm._ragged import concordance
from sklearn_seqcrm._sklearn_compat import safe_indexing
from sklearn_seqcrm.metrics import get_scorer

# Takes weights of shape (B, n) and returns scores of shape (B,).
Score = Callable[[np.ndarray], np.ndarray]
# Makes it of a model, X and y, or raises NotHandledError.
Maker = Callable[[Any, Any, np.ndarray], Score]


class NotHandledError(Exception):
    """Raised for outputs and targets whose score is left to the scorer itself."""


class Data(NamedTuple):
    """Rows, their targets and their metadata."""

    X: Any  # n rows
    y: Any  # their targets
    # Metadata of n rows: further arguments of `fit` and of metrics.
    params: Mapping[str, Any]

    def take(self, rows: np.ndarray) -> Data:
        """Return the rows at some positions."""
        params = {name: safe_indexing(one, rows) for name, one in self.params.items()}
        return Data(safe_indexing(self.X, rows), safe_indexing(self.y, rows), params)


class Metric(NamedTuple):
    """A scorer of scikit-learn, for which higher is better."""

    name: str  # the user's name for it
    scorer: Callable[..., float]  # ``scorer(model, X, y, sample_weight=...)``
    known_as: str | None  # its name in `get_scorer`, if it was given by name

    def takes(self, name: str) -> bool:
        """Return whether the metric has an argument of this name."""
        metric = getattr(self.scorer, "_score_func", self.scorer)
        return name in signature(metric).parameters

    def on(self, model: Any, data: Data) -> Score:
        """Return a function that scores the predictions under any weights."""
        if self.known_as in _FAST:
            with suppress(NotHandledError):
                return _FAST[self.known_as](model, data.X, np.asarray(data.y))
        return self._by_scorer(model, data)

    def check(self, model: Any, data: Data) -> None:
        """Compute the outputs that the score needs, and refuse rows without a score.

        Raises a ValueError if the score is not defined on these rows.
        """
        n_rows = len(data.y)
        if np.isnan(self.on(model, data)(np.ones((1, n_rows)))).any():
            raise ValueError(
                f"The score {self.name!r} is not defined on the {n_rows} test rows of "
                "a fold, as an area under a curve is not if they are of one class; "
                "choose folds with more rows, or another score."
            )

    def _by_scorer(self, model: Any, data: Data) -> Score:
        X, y, given = data
        params = {name: value for name, value in given.items() if self.takes(name)}
        params.pop("sample_weight", None)  # in a score, the weights of a sample
        # Scorers of scikit-learn take further arguments only with metadata routing.
        setting = {"enable_metadata_routing": True} if params else {}

        def one(weight: np.ndarray) -> float:
            try:
                with config_context(**setting):
                    found = self.scorer(model, X, y, **params, sample_weight=weight)
                return float(found)
            except ValueError:
                if weight.all():
                    raise
                return np.nan  # not defined on this bootstrap sample
            except TypeError as error:
                if "sample_weight" not in str(error):
                    raise
                raise TypeError(
                    f"The metric {self.name!r} takes no sample_weight, by which "
                    "customers are resampled."
                ) from error

        def score(weights: np.ndarray) -> np.ndarray:
            with warnings.catch_warnings():
                # A sample without positives, for example: its score is NaN.
                warnings.simplefilter("ignore", UndefinedMetricWarning)
                if (weights != 1).any():
                    # Each sample of the customers would repeat that of all.
                    warnings.simplefilter("ignore")
                return np.array([one(weight) for weight in weights])

        return score


def read_metrics(scoring: Any) -> list[Metric]:
    """Return the scores that `scoring` names, in any form that scikit-learn takes."""
    named: dict[str, Any]
    if isinstance(scoring, str):
        named = {scoring: scoring}
    elif isinstance(scoring, Mapping):
        named = dict(scoring)
    elif callable(scoring):
        named = {"score": scoring}
    elif isinstance(scoring, Iterable):
        named = {name: name for name in scoring}
    else:
        named = {"": None}
    if not named:
        raise ValueError("scoring must name at least one score.")
    for found in named.values():
        if not (isinstance(found, str) or callable(found)):
            raise TypeError(
                "scoring must be the name of a score, a list of such names, or a dict "
                f"of names to scorers (make_scorer makes them); got {scoring!r}."
            )
        if isfunction(found) and "y_true" in [*signature(found).parameters][:1]:
            name = found.__name__
            raise TypeError(
                f"scoring has the metric {name}, which compares two arrays; make a "
                f"scorer of it, make_scorer({name}), with greater_is_better=False if "
                "it is a loss."
            )
    return [
        Metric(name, _scorer_of(s), s) if isinstance(s, str) else Metric(name, s, None)
        for name, s in named.items()
    ]


def _scorer_of(name: str) -> Callable[..., float]:
    if name == "concordance":
        return _concordance
    try:
        return get_scorer(name)
    except ValueError as error:
        error.add_note("compare_models also has 'concordance', for survival models.")
        raise


def _concordance(model: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Return Harrell's c: the share of pairs whose earlier event has more risk."""
    risk = np.asarray(model.predict(X), dtype="float64")
    found = read_survival_targets(y)
    return concordance(found.kind > 0, found.time, risk, sample_weight)


# Means over rows ----------------------------------------------------------------------
#
# score(w) = finish(sum_i w_i l_i / sum_i w_i), with the loss l_i of row i. Functions
# below raise NotHandledError for some outputs and targets: those go to the scorer of
# scikit-learn, one weighting at a time.


def _require(condition: Any) -> None:
    """Raise a NotHandledError if a condition of a fast score does not hold."""
    if not condition:
        raise NotHandledError


def _mean(
    values: np.ndarray, finish: Callable[[np.ndarray], np.ndarray] = np.negative
) -> Score:
    """Return the score that is a function of the weighted mean of `values`."""

    def score(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # all weights are 0: NaN
            return finish((weights @ values) / weights.sum(axis=1))  # (B, n) (n,)

    return score


def _errors(model: Any, X: Any, y: np.ndarray) -> np.ndarray:
    """Return ``y - f(x)``, shape (n,)."""
    predicted = np.asarray(model.predict(X))
    _require(y.ndim == 1 and y.dtype.kind in "biuf" and y.shape == predicted.shape)
    errors = y.astype("float64") - predicted
    _require(np.isfinite(errors).all())
    return errors


def _error(
    loss: Callable[[np.ndarray], np.ndarray],
    finish: Callable[[np.ndarray], np.ndarray] = np.negative,
) -> Maker:
    """Return a maker of scores ``finish(mean(loss(y - f(x))))``."""
    return lambda model, X, y: _mean(loss(_errors(model, X, y)), finish)


def _r2(model: Any, X: Any, y: np.ndarray) -> Score:
    """Score by ``1 - sum_i w_i e_i^2 / sum_i w_i (y_i - mean_w(y))^2``."""
    errors = _errors(model, X, y)
    centred = y.astype("float64") - y.mean()
    _require(np.isfinite(errors**2).all() and centred.any())

    def score(weights: np.ndarray) -> np.ndarray:
        # The denominator is sum w c^2 - (sum w c)^2 / sum w, with c centred at the
        # unweighted mean, so that large values of y do not cancel.
        raw = weights @ centred**2
        with np.errstate(invalid="ignore"):  # all weights are 0: NaN
            total = raw - (weights @ centred) ** 2 / weights.sum(axis=1)
        # A sample of equal targets has no score; its total is rounding error.
        total[~(total > 1e-12 * raw)] = np.nan
        return 1 - (weights @ errors**2) / total

    return score


def _accuracy(model: Any, X: Any, y: np.ndarray) -> Score:
    predicted = np.asarray(model.predict(X))
    _require(y.ndim == 1 and y.shape == predicted.shape)
    return _mean((y == predicted).astype("float64"), np.positive)


def _log_loss(model: Any, X: Any, y: np.ndarray) -> Score:
    """Score by the mean of ``log p_y``, with p clipped as in scikit-learn."""
    proba, codes = np.asarray(model.predict_proba(X)), _codes(model.classes_, y)
    _require(proba.ndim == 2 and np.isfinite(proba).all())
    least = np.finfo(proba.dtype).eps
    own = proba[np.arange(len(y)), codes]
    return _mean(-np.log(np.clip(own, least, 1 - least)))


def _brier(model: Any, X: Any, y: np.ndarray) -> Score:
    """Score by minus the mean of ``(p_1 - y)^2``, with y 0 or 1 (Brier, 1950)."""
    proba, codes = np.asarray(model.predict_proba(X)), _codes(model.classes_, y)
    _require(len(model.classes_) == 2 and np.isfinite(proba).all())
    return _mean((proba[:, 1] - codes) ** 2)


# Rankings -----------------------------------------------------------------------------
#
# Rows are sorted once by descending score. For each distinct score s, with weights as
# counts: TP(s) and FP(s) are the weights of positives and negatives with at least s.


def _ranking(summary: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Maker:
    """Return a maker of scores ``summary(TP, FP)`` of the ranking of two classes.

    The second class is the positive one.
    """

    def make(model: Any, X: Any, y: np.ndarray) -> Score:
        classes = getattr(model, "classes_", ())
        _require(len(classes) == 2)
        codes = _codes(classes, y)
        if hasattr(model, "decision_function"):
            values = np.asarray(model.decision_function(X))
        else:
            values = np.asarray(model.predict_proba(X))[:, 1]
        _require(np.isfinite(values).all())
        order = np.argsort(-values, kind="stable")
        # Rows of equal score are one threshold, whose last row is its end.
        ends = np.flatnonzero(np.diff(values[order], append=-np.inf))
        positive = codes[order] == 1

        def score(weights: np.ndarray) -> np.ndarray:
            weights = weights[:, order]  # (B, n)
            hits = np.cumsum(weights * positive, axis=1)[:, ends]  # (B, thresholds)
            misses = np.cumsum(weights * ~positive, axis=1)[:, ends]
            with np.errstate(invalid="ignore"):  # one class only: NaN
                return summary(hits, misses)

        return score

    return make


def _area(hits: np.ndarray, misses: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve, by the trapezoidal rule.

    ``sum_s dFP(s) (TP(s) - dTP(s) / 2) / (P N)``, where ``d`` is the difference from
    the threshold before, and ``P`` and ``N`` are the weights of all positives and
    negatives. A tie of a positive and a negative counts one half.
    """
    steps = np.diff(misses, axis=1, prepend=0)
    before = hits - np.diff(hits, axis=1, prepend=0) / 2
    return (steps * before).sum(axis=1) / (hits[:, -1] * misses[:, -1])


def _average_precision(hits: np.ndarray, misses: np.ndarray) -> np.ndarray:
    """Return ``sum_s dTP(s) / P * TP(s) / (TP(s) + FP(s))``, the average precision."""
    steps, found = np.diff(hits, axis=1, prepend=0), hits + misses
    # No weight so far: 0 / 0, at a step of 0.
    precision = np.divide(hits, found, out=np.zeros_like(found), where=found > 0)
    return (steps * precision).sum(axis=1) / hits[:, -1]


def _precision(model: Any, X: Any, y: np.ndarray) -> Score:
    """Score by average precision, with the second class as the positive one.

    scikit-learn's scorer takes a label 1 for the positive one, even as the first class.
    """
    _require(not np.array_equal(getattr(model, "classes_", [])[:1], [1]))
    return _ranking(_average_precision)(model, X, y)


def _codes(classes: Any, y: np.ndarray) -> np.ndarray:
    """Return the position of each label in `classes`, which all must be known."""
    classes = np.asarray(classes)
    _require(y.ndim == 1 and len(classes))
    place = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    _require((classes[place] == y).all())
    return place


# Scores by the names of scikit-learn.
_FAST: dict[str, Maker] = {
    "accuracy": _accuracy,
    "average_precision": _precision,
    "neg_brier_score": _brier,
    "neg_log_loss": _log_loss,
    "neg_mean_absolute_error": _error(np.abs),
    "neg_mean_squared_error": _error(np.square),
    "neg_root_mean_squared_error": _error(np.square, lambda mean: -np.sqrt(mean)),
    "r2": _r2,
    "roc_auc": _ranking(_area),
}
