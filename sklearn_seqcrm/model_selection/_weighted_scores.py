"""Scores of stored predictions under many weightings of the rows at once.

A bootstrap sample in which row ``i`` occurs ``w_i`` times is the weighting ``w``: its
score is the weighted score, and no row is copied. ``B`` weightings of ``n`` rows are
one matrix of shape (B, n), by which means are matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# Takes weights of shape (B, n) and returns scores of shape (B,).
Score = Callable[[np.ndarray], np.ndarray]
# Makes it of a model, X and y, or raises NotHandledError.
Maker = Callable[[Any, Any, np.ndarray], Score]


class NotHandledError(Exception):
    """Raised for outputs and targets whose score is left to the scorer itself."""


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
FAST: dict[str, Maker] = {
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
