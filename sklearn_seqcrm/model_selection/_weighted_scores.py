"""Scores of stored predictions under many weightings of the rows at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from inspect import isfunction, signature
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from sklearn_seqcrm._columns import read_survival_targets
from sklearn_seqcrm._ragged import concordance
from sklearn_seqcrm.metrics import get_scorer

# Takes weights of shape (n_weightings, n) and returns scores of shape (n_weightings,).
Score = Callable[[np.ndarray], np.ndarray]


class Metric(NamedTuple):
    """A score as scikit-learn knows it: the higher, the better.

    Parameters
    ----------
    name : str
        What the user calls it.
    scorer : callable
        ``scorer(model, X, y, sample_weight=...)``.
    known_as : str or None
        The name by which `get_scorer` knows it, if it came by that.
    """

    name: str
    scorer: Callable[..., float]
    known_as: str | None

    def on(self, model: Any, X: Any, y: Any) -> Score:
        """How to score a model's predictions of some rows under any weights."""
        make = _FAST.get(self.known_as or "")
        fast = make(model, X, np.asarray(y)) if make is not None else None
        return fast or self._by_scorer(model, X, y)

    def check(self, model: Any, X: Any, y: Any) -> None:
        """Ask the model what the score needs, and refuse rows that have no score.

        Raises
        ------
        ValueError
            If it is not defined on these rows.
        """
        n_rows = len(y)
        if np.isnan(self.on(model, X, y)(np.ones((1, n_rows)))).any():
            raise ValueError(
                f"The score {self.name!r} is not defined on the {n_rows} test rows of "
                "a fold, as an area under a curve is not if they are of one class; "
                "choose folds with more rows, or another score."
            )

    def _by_scorer(self, model: Any, X: Any, y: Any) -> Score:
        def one(weight: np.ndarray) -> float:
            try:
                return float(self.scorer(model, X, y, sample_weight=weight))
            except ValueError:
                if weight.all():
                    raise
                return np.nan  # not defined for the customers drawn
            except TypeError as error:
                if "sample_weight" not in str(error):
                    raise
                raise TypeError(
                    f"The metric {self.name!r} takes no sample_weight, by which "
                    "customers are resampled."
                ) from error

        def score(weights: np.ndarray) -> np.ndarray:
            with warnings.catch_warnings():
                # Without positives, for example: then it is NaN.
                warnings.simplefilter("ignore", UndefinedMetricWarning)
                return np.array([one(weight) for weight in weights])

        return score


def read_metrics(scoring: Any) -> list[Metric]:
    """Read names of scores and scorers in the forms that scikit-learn takes.

    Parameters
    ----------
    scoring : str, callable, list of str, or dict of str to either
        Scores.

    Returns
    -------
    list of Metric
        One for each.

    Raises
    ------
    TypeError
        If it is something else, such as a metric that no scorer was made of.
    ValueError
        If there is none, or one has a name that nobody knows.
    """
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
        error.add_note("compare_models also knows 'concordance', of survival models.")
        raise


def _concordance(model: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Share of pairs of rows of which the one with the earlier event has more risk."""
    risk = np.asarray(model.predict(X), dtype="float64")
    found = read_survival_targets(y)
    return concordance(found.kind > 0, found.time, risk, sample_weight)


# Means over rows ----------------------------------------------------------------------


def _mean(
    values: np.ndarray, finish: Callable[[np.ndarray], np.ndarray] = np.negative
) -> Score:
    """A function of the mean of what each row has."""

    def score(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # no row has weight
            return finish((weights @ values) / weights.sum(axis=1))

    return score


def _error(
    loss: Callable[[np.ndarray], np.ndarray],
    finish: Callable[[np.ndarray], np.ndarray] = np.negative,
) -> Callable[[Any, Any, np.ndarray], Score | None]:
    """Scores of numbers by the loss of their errors."""

    def make(model: Any, X: Any, y: np.ndarray) -> Score | None:
        found = np.asarray(model.predict(X))
        if y.ndim != 1 or y.dtype.kind not in "biuf" or y.shape != found.shape:
            return None
        errors = y.astype("float64") - found
        return _mean(loss(errors), finish) if np.isfinite(errors).all() else None

    return make


def _r2(model: Any, X: Any, y: np.ndarray) -> Score | None:
    found = np.asarray(model.predict(X))
    if y.ndim != 1 or y.dtype.kind not in "biuf" or y.shape != found.shape:
        return None
    y = y.astype("float64")
    squares, centred = (y - found) ** 2, y - y.mean()
    if not np.isfinite(squares).all() or not centred.any():
        return None

    def score(weights: np.ndarray) -> np.ndarray:
        raw = weights @ centred**2
        with np.errstate(invalid="ignore"):  # no row has weight
            total = raw - (weights @ centred) ** 2 / weights.sum(axis=1)
        # One value alone is NaN: what rounding leaves of the total says nothing.
        total[~(total > 1e-12 * raw)] = np.nan
        return 1 - (weights @ squares) / total

    return score


def _accuracy(model: Any, X: Any, y: np.ndarray) -> Score | None:
    found = np.asarray(model.predict(X))
    if y.ndim != 1 or y.shape != found.shape:
        return None
    return _mean((y == found).astype("float64"), np.positive)


def _log_loss(model: Any, X: Any, y: np.ndarray) -> Score | None:
    shares = np.asarray(model.predict_proba(X))
    codes = _codes(model.classes_, y)
    if codes is None or shares.ndim != 2 or not np.isfinite(shares).all():
        return None
    least = np.finfo(shares.dtype).eps
    own = shares[np.arange(len(y)), codes]
    return _mean(-np.log(np.clip(own, least, 1 - least)))


def _brier(model: Any, X: Any, y: np.ndarray) -> Score | None:
    shares, codes = np.asarray(model.predict_proba(X)), _codes(model.classes_, y)
    if codes is None or len(model.classes_) != 2 or not np.isfinite(shares).all():
        return None
    return _mean((shares[:, 1] - codes) ** 2)


# Rankings -----------------------------------------------------------------------------


def _ranking(
    summary: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Callable[[Any, Any, np.ndarray], Score | None]:
    """Scores of the order of two classes, sorted once for all weightings.

    The second class is the positive one.
    """

    def make(model: Any, X: Any, y: np.ndarray) -> Score | None:
        classes = getattr(model, "classes_", ())
        codes = _codes(classes, y) if len(classes) == 2 else None
        if codes is None:
            return None
        values = _of_second_class(model, X)
        if not np.isfinite(values).all():
            return None
        order = np.argsort(-values, kind="stable")
        # Rows of equal value come at once.
        ends = np.flatnonzero(np.diff(values[order], append=-np.inf))
        positive = codes[order] == 1

        def score(weights: np.ndarray) -> np.ndarray:
            weights = weights[:, order]
            hits = np.cumsum(weights * positive, axis=1)[:, ends]
            misses = np.cumsum(weights * ~positive, axis=1)[:, ends]
            with np.errstate(invalid="ignore"):  # one class alone is NaN
                return summary(hits, misses)

        return score

    return make


def _area(hits: np.ndarray, misses: np.ndarray) -> np.ndarray:
    """Area under the curve of hits over misses, by trapezoids."""
    steps = np.diff(misses, axis=1, prepend=0)
    before = hits - np.diff(hits, axis=1, prepend=0) / 2
    return (steps * before).sum(axis=1) / (hits[:, -1] * misses[:, -1])


def _average_precision(hits: np.ndarray, misses: np.ndarray) -> np.ndarray:
    """Precision at each step of the hits, by the size of the step."""
    steps, found = np.diff(hits, axis=1, prepend=0), hits + misses
    # Nothing found yet is no step either.
    precision = np.divide(hits, found, out=np.zeros_like(found), where=found > 0)
    return (steps * precision).sum(axis=1) / hits[:, -1]


def _precision(model: Any, X: Any, y: np.ndarray) -> Score | None:
    """Average precision; scikit-learn's scorer takes a label 1 for the positive one."""
    if np.array_equal(getattr(model, "classes_", [])[:1], [1]):
        return None
    return _ranking(_average_precision)(model, X, y)


def _of_second_class(model: Any, X: Any) -> np.ndarray:
    if hasattr(model, "decision_function"):
        return np.asarray(model.decision_function(X))
    return np.asarray(model.predict_proba(X))[:, 1]


def _codes(classes: Any, y: np.ndarray) -> np.ndarray | None:
    """Place of each label among the classes; None if one is not among them."""
    classes = np.asarray(classes)
    if y.ndim != 1 or not len(classes):
        return None
    place = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    return place if (classes[place] == y).all() else None


def _minus_root(mean: np.ndarray) -> np.ndarray:
    return -np.sqrt(mean)


# Each returns None for what it does not know, which is left to the scorer.
_FAST: dict[str, Callable[[Any, Any, np.ndarray], Score | None]] = {
    "accuracy": _accuracy,
    "average_precision": _precision,
    "neg_brier_score": _brier,
    "neg_log_loss": _log_loss,
    "neg_mean_absolute_error": _error(np.abs),
    "neg_mean_squared_error": _error(np.square),
    "neg_root_mean_squared_error": _error(np.square, _minus_root),
    "r2": _r2,
    "roc_auc": _ranking(_area),
}
