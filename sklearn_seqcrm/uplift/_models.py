"""The models of a meta-learner: of outcomes, effects and propensities."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from sklearn_seqcrm._columns import with_attrs_of
from sklearn_seqcrm._meta_estimators import (
    fit_weighted,
    has_method,
    seeded,
    takes_weights,
)
from sklearn_seqcrm._sklearn_compat import BaseSearchCV
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm.uplift._cross_fitting import Fold, Nuisance, UpliftRows, cross_fit

# Parameters that belong to the target, which is another one for another model. Those
# of LightGBM, XGBoost and CatBoost are among them.
_OF_TARGET = {
    *("loss", "criterion", "objective", "quantile", "exposure", "class_weight"),
    *("scoring", "eval_metric", "loss_function", "scale_pos_weight"),
    # Of TransformedTargetRegressor: effects and pseudo-outcomes are differences, of
    # which the mean counts, and may be negative.
    *("func", "inverse_func", "transformer"),
}
# The logarithm of a propensity of 0, which forests predict, would be infinite.
_LEAST = 1e-6
# Clipping a smaller share of rows is silent.
_FEW_CLIPPED = 0.01


def counterpart(estimator: Any, suffix: str, parameter: str) -> Any:
    """Return the estimator for another target: a regressor or a classifier.

    The `estimator` is a classifier or regressor, or a pipeline that ends on one, or a
    search; `suffix` is "Classifier" or "Regressor".

    The result is not fitted. The class of the last step has the same name with this
    suffix, in the same package: ``LSTMRegressor`` for ``LSTMClassifier``. Parameters
    have their values if both classes have them, but the loss and other parameters of
    the target have their defaults. A `TransformedTargetRegressor` loses its transform,
    and for a classifier is replaced by its regressor.

    Raises a ValueError if there is no such class, it has no probabilities, or a search
    is over parameters that it lacks. The error names the `parameter` that replaces the
    result.
    """
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        found = counterpart(last, suffix, parameter)
        # By its name, so that other steps of make_history_pipeline follow.
        return clone(estimator).set_params(**{name: found})
    if isinstance(estimator, BaseSearchCV):
        return _search_alike(estimator, suffix, parameter)
    is_that = is_regressor if suffix == "Regressor" else is_classifier
    if isinstance(estimator, TransformedTargetRegressor) and not is_that(estimator):
        inner = estimator.regressor
        return counterpart(
            LinearRegression() if inner is None else inner, suffix, parameter
        )
    own = type(estimator)
    found = own if is_that(estimator) else _class_alike(own, suffix)
    if found is None:
        raise _unknown(own.__name__, suffix, parameter)
    defaults = {n: p.default for n, p in inspect.signature(own).parameters.items()}
    taken = _parameter_names(found)
    made = found(
        **{
            name: _part_alike(value, suffix, parameter)
            for name, value in estimator.get_params(deep=False).items()
            if name in taken
            and name not in _OF_TARGET
            and repr(value) != repr(defaults.get(name))
        }
    )
    # A vote needs voting="soft" for probabilities, and LinearSVC has none.
    if suffix == "Classifier" and not has_method(made, "predict_proba"):
        raise _unknown(own.__name__, suffix, parameter)
    return made


def _unknown(name: str, suffix: str, parameter: str) -> ValueError:
    way_out = "a regressor, or use learner='s' or 't', which need none"
    if suffix == "Classifier":
        way_out = "a classifier, or propensity='constant' if treatments were random"
    return ValueError(
        f"{parameter} is not set, and its default, a {suffix.lower()} like the "
        f"estimator, is not known for {name}; pass {parameter}=..., {way_out}."
    )


def _parameter_names(found: type[Any]) -> set[str]:
    """Return the names of the parameters of a class of estimators."""
    try:
        return set(found().get_params(deep=False))  # those of XGBoost are **kwargs
    except TypeError:  # some have no default, such as the parts of a vote
        return set(inspect.signature(found).parameters)


def _part_alike(value: Any, suffix: str, parameter: str) -> Any:
    """Return a parameter, or the counterparts of the estimators that it holds."""
    if isinstance(value, list | tuple):
        parts = [_part_alike(one, suffix, parameter) for one in value]
        return parts if isinstance(value, list) else tuple(parts)
    is_estimator = hasattr(value, "get_params") and not isinstance(value, type)
    # Parts of an ensemble, such as those of a hybrid.
    if is_estimator and (is_classifier(value) or is_regressor(value)):
        return counterpart(value, suffix, parameter)
    return value


def _search_alike(search: BaseSearchCV, suffix: str, parameter: str) -> Any:
    """Return the search around the counterpart of its estimator."""
    inner = counterpart(search.estimator, suffix, parameter)
    params = search.get_params(deep=False)
    grid = params.get("param_grid", params.get("param_distributions", {}))
    names = {
        name for one in ([grid] if isinstance(grid, dict) else grid) for name in one
    }
    known = inner.get_params()
    if any(n not in known or n.split("__")[-1] in _OF_TARGET for n in names):
        name = f"a search over {sorted(names)}"
        raise _unknown(name, suffix, parameter)
    return clone(search).set_params(estimator=inner, scoring=None)


def _class_alike(own: type[Any], suffix: str) -> type[Any] | None:
    """Return the class of the same package and name with another suffix, or None."""
    stem = own.__name__.removesuffix("Classifier").removesuffix("Regressor")
    if stem == own.__name__:
        return None
    module = own.__module__
    while module:
        found = getattr(sys.modules.get(module), stem + suffix, None)
        if found is not None:
            return found
        module = module.rpartition(".")[0]
    return None


@dataclass(frozen=True)
class Models:
    """The models of a meta-learner, not fitted, and how to fit them."""

    outcome: Any  # a classifier or a regressor of outcomes
    # A regressor of effects; None if the learner needs none.
    effect: Any
    # A classifier of treatments; None if they are given or constant.
    propensity: Any
    positive: Any  # the second class; None if outcomes are numbers
    labels: np.ndarray  # (n_arms,): labels of the treatments, control first
    is_weighted: bool  # whether rows have weights
    min_propensity: float  # least propensity of each treatment
    calibrates: bool  # whether models of effects are cross-fitted and calibrated
    overlap_weights: bool  # whether ``"dr"`` weights rows by the overlap of arms
    n_jobs: int | None  # number of models that are fitted at a time

    @property
    def n_arms(self) -> int:
        """Number of treatments, control included."""
        return len(self.labels)

    def with_seeds(self, rng: np.random.RandomState) -> Models:
        """Return the same models, whose seeds are drawn where none is set."""
        return replace(
            self,
            outcome=seeded(self.outcome, rng),
            effect=None if self.effect is None else seeded(self.effect, rng),
            propensity=(
                None if self.propensity is None else seeded(self.propensity, rng)
            ),
        )

    def fit_outcome(self, rows: UpliftRows) -> Any:
        """Return a fitted model of outcomes."""
        y = rows.y
        if self.positive is not None and len(np.unique(rows.outcome)) == 1:
            # An arm without a conversion: most classifiers refuse a single class.
            return DummyClassifier().fit(rows.X, y)
        return fit_weighted(self.outcome, rows.X, y, self._weight(rows))

    def predict_outcome(self, model: Any, X: Any) -> np.ndarray:
        """Return expected outcomes, shape (n,)."""
        if self.positive is None:
            return np.asarray(model.predict(X), dtype="float64").ravel()
        found = np.flatnonzero(np.asarray(model.classes_) == self.positive)
        proba = np.asarray(model.predict_proba(X), dtype="float64")
        return proba[:, found[0]] if len(found) else np.zeros(len(proba))

    def mean_outcome(self, models: Sequence[Any], X: Any) -> np.ndarray:
        """Return the mean of the outcomes that several models expect, shape (n,)."""
        return np.mean([self.predict_outcome(model, X) for model in models], axis=0)

    def outcome_of(self, *arms: int) -> Nuisance:
        """Return the nuisance model of the outcomes of some arms."""
        return Nuisance(self.fit_outcome, self.predict_outcome, arms)

    def fit_effect(
        self, rows: UpliftRows, pseudo: np.ndarray, weight: np.ndarray | None = None
    ) -> Any:
        """Return a model of effects, fitted to pseudo-outcomes, (n,).

        `weight` (n,) has the weights of the method; those of the rows multiply them.
        """
        own = self._weight(rows)
        if own is not None:
            weight = own if weight is None else own * weight
        y = with_attrs_of(rows.y, pseudo)
        return fit_weighted(self.effect, rows.X, y, weight)

    def check_weights(self) -> None:
        """Raise a TypeError if the model of effects takes no weights."""
        if not takes_weights(self.effect):
            raise TypeError(
                "learner='r' weights the rows, and fit of the effect estimator takes "
                f"no sample_weight: {self.effect!r}. Pass another effect_estimator, or "
                "use learner='dr'."
            )

    def predict_effect(self, model: Any, X: Any) -> np.ndarray:
        """Return effects, shape (n,); those on a probability are between -1 and 1.

        The linear part of a network extrapolates from rows with extreme sums. Without
        the limits, one model could outweigh the others in their mean, and few rows
        could determine the slope of a calibration.
        """
        found = np.asarray(model.predict(X), dtype="float64").ravel()
        return found if self.positive is None else np.clip(found, -1, 1)

    def _weight(self, rows: UpliftRows) -> np.ndarray | None:
        return rows.weight if self.is_weighted else None

    # Propensities ------------------------------------------------------------------

    def propensity_of(self) -> Nuisance:
        """Return the nuisance model of the treatments."""

        def fit(rows: UpliftRows) -> Any:
            # The horizon of y, for estimators that validate forward in time.
            y = with_attrs_of(rows.y, rows.arms)
            return fit_weighted(self.propensity, rows.X, y, self._weight(rows))

        return Nuisance(fit, self._predict_arms)

    def _predict_arms(self, model: Any, X: Any) -> np.ndarray:
        # Each fold has rows of all arms: the classes are 0, 1, ...
        return np.asarray(model.predict_proba(X), dtype="float64")


class Propensities:
    """Probabilities of the treatments: given, learned or constant.

    Notes
    -----
    With ``log e_k`` of a row from models of the other folds, learned propensities are
    ``softmax_k(a_k + b log e_k)``, with ``b >= 0`` of largest likelihood (temperature
    scaling, Guo et al., 2017). Where treatments are random, ``b`` is about 0, and the
    propensities are the shares of the arms.
    """

    # (n, n_arms): propensities of the training rows; learned ones from models of other
    # customers.
    of_rows: np.ndarray

    def __init__(self, models: Models, rows: UpliftRows, folds: Sequence[Fold]) -> None:
        self._models: list[Any] = []
        self._predict = models._predict_arms
        self._shares = np.bincount(rows.arms, rows.weight) / rows.weight.sum()
        # A rare arm has small propensities everywhere, and not for lack of overlap.
        self._least = np.minimum(models.min_propensity, self._shares / 2)  # (n_arms,)
        self.of_rows = rows.propensities
        if models.propensity is None and not rows.propensities.shape[1]:
            self.of_rows = np.tile(self._shares, (len(rows.arms), 1))
        elif models.propensity is not None:
            ((self._models, found),) = cross_fit(
                [models.propensity_of()], rows, folds, models.n_jobs
            )
            self._slope, self._intercepts = _temperature(found, rows)
            self.of_rows = self._scaled(found)
            self._warn_little_overlap(models.labels)
            self.of_rows = self._clipped(self.of_rows)

    def predict(self, X: Any) -> np.ndarray:
        """Return the propensities of other rows, shape (n, n_arms).

        Given propensities are unknown there: the shares of the arms replace them.
        """
        if not self._models:
            n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
            return np.tile(self._shares, (n_rows, 1))
        found = np.mean([self._predict(model, X) for model in self._models], axis=0)
        return self._clipped(self._scaled(found))

    def _scaled(self, found: np.ndarray) -> np.ndarray:
        logits = self._slope * np.log(np.maximum(found, _LEAST)) + self._intercepts
        return softmax(logits, axis=1)

    def _clipped(self, found: np.ndarray) -> np.ndarray:
        found = np.maximum(found, self._least)  # NaN for rows without a prediction
        return found / found.sum(axis=1, keepdims=True)

    def _warn_little_overlap(self, labels: np.ndarray) -> None:
        is_low = self.of_rows < self._least
        if is_low.any(axis=1).mean() > _FEW_CLIPPED:
            worst = is_low.sum(axis=0).argmax()
            label = labels.tolist()[worst]  # not np.int64(0)
            warn_user(
                f"{is_low.any(axis=1).sum()} of {len(is_low)} rows have a learned "
                f"propensity below {self._least[worst]:.3g}, most of them for the "
                f"treatment {label!r}: customers like these nearly always had the same "
                "treatment, so that their effects are extrapolated. Propensities are "
                "clipped."
            )


def _temperature(found: np.ndarray, rows: UpliftRows) -> tuple[float, np.ndarray]:
    """Return the slope and the intercepts (n_arms,) that scale log propensities."""
    there = ~np.isnan(found).any(axis=1)
    logs = np.log(np.maximum(found[there], _LEAST))  # (n, n_arms)
    arms, weight = rows.arms[there], rows.weight[there] / rows.weight[there].sum()
    own = np.eye(found.shape[1])[arms]

    def loss(params: np.ndarray) -> tuple[float, np.ndarray]:
        logits = params[0] * logs + np.append(0.0, params[1:])
        log_proba = log_softmax(logits, axis=1)
        error = weight[:, None] * (np.exp(log_proba) - own)
        value = -float((weight * log_proba[np.arange(len(arms)), arms]).sum())
        slopes = np.append((error * logs).sum(), error.sum(axis=0)[1:])
        return value, slopes

    start = np.append(1.0, np.zeros(found.shape[1] - 1))
    bounds = [(0.0, None)] + [(None, None)] * (found.shape[1] - 1)
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(best[0]), np.append(0.0, best[1:])
