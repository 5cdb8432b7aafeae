"""The meta-learners: how models of outcomes and propensities become effects.

Symbols: ``Y`` outcome, ``T`` treatment, 0 for control and ``k`` for another arm,
``m_k(x) = E[Y | T = k, x]``, ``e_k(x) = P(T = k | x)``, effect ``tau_k(x) = m_k(x) -
m_0(x)``. Nuisance predictions of a row come from models of other customers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.utils.parallel import Parallel, delayed

from sklearn_seqcrm._meta_estimators import takes_weights
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm.uplift._cross_fitting import (
    Fold,
    UpliftRows,
    cross_fit,
    customer_folds,
    customer_groups,
)
from sklearn_seqcrm.uplift._models import Models, Propensities


class Learner(ABC):
    """A meta-learner, with its models, not fitted."""

    needs_effect = False
    needs_folds = False

    def __init__(self, models: Models) -> None:
        self.models = models

    def folds(self, rows: UpliftRows, cv: Any, seed: int) -> list[Fold]:
        """Return the folds of the cross-fitting, none if the learner needs none."""
        if not self.needs_folds:
            return []
        rng = np.random.RandomState(seed)
        return customer_folds(rows, cv, self.models.n_arms, rng)

    @abstractmethod
    def fit(self, rows: UpliftRows, folds: Sequence[Fold]) -> None:
        """Fit all models."""

    @abstractmethod
    def outcomes(self, X: Any) -> np.ndarray:
        """Return expected outcomes under each arm, shape (n, n_arms)."""

    def effects(self, X: Any) -> np.ndarray:
        """Return effects of the arms against control, shape (n, n_arms - 1)."""
        found = self.outcomes(X)
        return found[:, 1:] - found[:, :1]


class SLearner(Learner):
    """One model of outcomes, which reads the treatment as columns of X."""

    def fit(self, rows: UpliftRows, folds: Sequence[Fold]) -> None:
        """Fit the model of outcomes."""
        self.names = _free_names(rows.X, self.models.labels)
        X = _with_columns(rows.X, self._indicators(rows.arms), self.names)
        self.outcome = self.models.fit_outcome(rows._replace(X=X))
        # Not the first ones, which may be alike: all new customers, for example.
        n_rows = len(rows.arms)
        some = rows.take(np.linspace(0, n_rows - 1, min(n_rows, 1000)).astype("int64"))
        if not np.ptp(self.outcomes(some.X), axis=1).any():
            warn_user(
                "The outcome model predicts the same under all treatments: it does "
                f"not read the columns {self.names}, which learner='s' appends to X, "
                "or shrinks their effect to 0. Let the estimator read all columns of "
                "X, or use another learner."
            )

    def outcomes(self, X: Any) -> np.ndarray:
        """Return expected outcomes under each arm, shape (n, n_arms)."""
        n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
        found = []
        for arm in range(self.models.n_arms):
            columns = self._indicators(np.full(n_rows, arm))
            X_arm = _with_columns(X, columns, self.names)
            found.append(self.models.predict_outcome(self.outcome, X_arm))
        return np.column_stack(found)

    def _indicators(self, arms: np.ndarray) -> np.ndarray:
        """Return a column of 0 and 1 for each arm but control, (n, n_arms - 1).

        Not one categorical column: linear models and networks need indicators, and
        trees read them as well.
        """
        return np.eye(self.models.n_arms)[arms, 1:]


def _free_names(X: Any, labels: np.ndarray) -> list[Any]:
    """Return names for the columns of the treatment that no column of X has."""
    names = [f"treatment={label}" for label in labels[1:]]
    taken = set(getattr(X, "columns", ()))
    if taken and all(isinstance(name, int | np.integer) for name in taken):
        # scikit-learn refuses names of several types.
        return [max(taken) + 1 + i for i in range(len(names))]
    while taken & set(names):
        names = [f"_{name}" for name in names]
    return names


def _with_columns(X: Any, columns: np.ndarray, names: Sequence[Any]) -> Any:
    """Append columns of floats to X."""
    if isinstance(X, pd.DataFrame):
        X = X.copy(deep=False)
        for name, column in zip(names, columns.T, strict=True):
            X[name] = column  # not X.assign: names need not be text
        return X
    if sp.issparse(X):
        return sp.hstack([X, columns]).tocsr()
    return np.column_stack([np.asarray(X), columns])


class TLearner(Learner):
    """A model of outcomes for each arm."""

    def fit(self, rows: UpliftRows, folds: Sequence[Fold]) -> None:
        """Fit the models of outcomes."""
        parts = [self.models.outcome_of(arm) for arm in range(self.models.n_arms)]
        jobs = [(part.fit_on, (rows,)) for part in parts]
        self.outcome = _each(jobs, self.models.n_jobs)

    def outcomes(self, X: Any) -> np.ndarray:
        """Return expected outcomes under each arm, shape (n, n_arms)."""
        predict = self.models.predict_outcome
        return np.column_stack([predict(model, X) for model in self.outcome])


class _EffectLearner(Learner):
    """Regress pseudo-outcomes on X; subclasses define these.

    With ``models.calibrates`` there is a model of effects for each of three groups of
    customers, fitted on the others. Their mean is calibrated by customers that a model
    did not see: ``tau = a + b mean_g tau_g``. `_calibration` has ``a`` and ``b``.
    """

    needs_effect = True
    needs_folds = True
    effect: list[Any]

    def effects(self, X: Any) -> np.ndarray:
        """Return effects of the arms against control, shape (n, n_arms - 1)."""
        return np.column_stack([one.predict(self.models, X) for one in self.effect])

    def _fit_effects(
        self,
        rows: UpliftRows,
        folds: Sequence[Fold],
        targets: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]],
    ) -> None:
        """Fit the models of effects of each arm.

        `targets` has for each arm but control the positions of the n_used rows to fit
        on, their pseudo-outcomes and their weights, each of shape (n_used,).
        """
        group = self._groups(rows, folds)
        jobs = []
        for used, pseudo, weight in targets:
            for train in _training_rows(group[used]):
                own = None if weight is None else weight[train]
                given = rows.take(used[train]), pseudo[train], own
                jobs.append((self.models.fit_effect, given))
        fitted = iter(_each(jobs, self.models.n_jobs))
        self.effect = []
        for used, pseudo, weight in targets:
            own = [next(fitted) for _ in _training_rows(group[used])]
            line = self._line(own, rows.take(used), pseudo, weight, group[used])
            self.effect.append(CrossFittedEffect(own, *line))

    def _groups(self, rows: UpliftRows, folds: Sequence[Fold]) -> np.ndarray:
        """Return the group of the customer of each row, (n,); 0 without calibration."""
        if not self.models.calibrates:
            return np.zeros(len(rows.arms), dtype="int64")
        return customer_groups(rows, folds)

    def _line(
        self,
        fitted: list[Any],
        rows: UpliftRows,
        pseudo: np.ndarray,
        weight: np.ndarray | None,
        group: np.ndarray,
    ) -> tuple[float, float]:
        """Return the intercept and the slope of the calibration."""
        if len(fitted) == 1:
            return 0.0, 1.0
        each = np.array([self.models.predict_effect(one, rows.X) for one in fitted])
        _, own = np.unique(group, return_inverse=True)
        total = rows.weight if weight is None else rows.weight * weight
        return _calibration(each, own, pseudo, total, rows.customers, _shrunken_slope)

    def outcomes(self, X: Any) -> np.ndarray:
        """Return expected outcomes under each arm, shape (n, n_arms)."""
        effects = self.effects(X)
        control = self._control(X, effects)
        return np.column_stack([control, control[:, None] + effects])

    def _control(self, X: Any, effects: np.ndarray) -> np.ndarray:
        """Return expected outcomes under control, shape (n,)."""
        return self.models.mean_outcome(self.outcome[0], X)

    def _fit_outcomes(self, rows: UpliftRows, folds: Sequence[Fold]) -> np.ndarray:
        """Cross-fit a model of outcomes for each arm; return predictions (n, n_arms).

        For each arm, `outcome` has the models of all folds, whose predictions for other
        rows are averaged: that saves a fit on all rows, and has less variance.
        """
        parts = [self.models.outcome_of(arm) for arm in range(self.models.n_arms)]
        found = cross_fit(parts, rows, folds, self.models.n_jobs)
        self.outcome = [models for models, _ in found]
        return np.column_stack([predicted for _, predicted in found])


class XLearner(_EffectLearner):
    """Impute the outcome under the other arm (Künzel et al., 2019).

    ::

        D_1 = Y - m_0(x)   of treated rows,   regressed on x: tau_1
        D_0 = m_k(x) - Y   of control rows,   regressed on x: tau_0
        tau_k(x) = g(x) tau_0(x) + (1 - g(x)) tau_1(x),   g = e_k / (e_0 + e_k)

    The pseudo-outcomes of the DR-learner calibrate ``tau_k``: imputed outcomes have the
    errors of the models that imputed them.
    """

    def fit(self, rows: UpliftRows, folds: Sequence[Fold]) -> None:
        """Fit the models of outcomes, propensities and effects."""
        m = self._fit_outcomes(rows, folds)
        self.propensity = Propensities(self.models, rows, folds)
        group = self._groups(rows, folds)
        everywhere = [(~np.isnan(m).any(axis=1), m)]
        parts_of_arms = []
        parts = self._parts(rows, folds, group, m)
        for k in range(1, self.models.n_arms):
            # Of very few customers, all of an arm may be in one group.
            is_complete = all(
                (part & (rows.arms == arm)).any() for part, _ in parts for arm in (0, k)
            )
            parts_of_arms.append(parts if is_complete else everywhere)
        jobs = []
        for k, parts in enumerate(parts_of_arms, 1):
            for part, expected in parts:
                for arm, sign in ((0, -1), (k, 1)):
                    used = np.flatnonzero(part & (rows.arms == arm))
                    imputed = expected[used, k if arm == 0 else 0]
                    pseudo = sign * (rows.outcome[used] - imputed)
                    jobs.append((self.models.fit_effect, (rows.take(used), pseudo)))
        fitted = iter(_each(jobs, self.models.n_jobs))
        self.effect = []
        for k, parts in enumerate(parts_of_arms, 1):
            found = ImputedEffect([(next(fitted), next(fitted)) for _ in parts])
            if len(parts) > 1:
                a, b = self._line_of_arm(k, found, rows, m, group)
                found = found._replace(intercept=a, slope=b)
            self.effect.append(found)

    def _parts(
        self,
        rows: UpliftRows,
        folds: Sequence[Fold],
        group: np.ndarray,
        m: np.ndarray,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return which rows the models of each group see, (n,), and their outcomes.

        Expected outcomes (n, n_arms) are `m`, or those of the only fold that was fitted
        without customers of the group: otherwise the outcomes of these customers would
        be in the effects that they are to calibrate.
        """
        is_known = ~np.isnan(m).any(axis=1)
        if not np.ptp(group):
            return [(is_known, m)]
        predict, found = self.models.predict_outcome, []
        for one in np.unique(group):
            without = [
                fold
                for fold, (train, _) in enumerate(folds)
                if not (group[train] == one).any()
            ]
            expected = m
            if len(without) == 1:
                models = [of_arm[without[0]] for of_arm in self.outcome]
                expected = np.column_stack([predict(model, rows.X) for model in models])
            found.append(((group != one) & is_known, expected))
        return found

    def _line_of_arm(
        self,
        k: int,
        effect: ImputedEffect,
        rows: UpliftRows,
        m: np.ndarray,
        group: np.ndarray,
    ) -> tuple[float, float]:
        """Return the intercept and the slope of the calibration of an arm."""
        e = self.propensity.of_rows
        score = _doubly_robust(rows, m, e)
        used = np.flatnonzero(~np.isnan(score).any(axis=1))
        pseudo = (score[:, k] - score[:, 0])[used]
        known, e = rows.take(used), e[used]
        each = effect.of_groups(self.models, known.X, _shares_in_pairs(e)[:, k - 1])
        weight = known.weight
        if self.models.overlap_weights:
            weight = weight * _overlap(e)[:, k - 1]
        own = group[used]
        return _calibration(
            each, own, pseudo, weight, known.customers, _slope_near_half
        )

    def effects(self, X: Any) -> np.ndarray:
        """Return effects of the arms against control, shape (n, n_arms - 1)."""
        share = _shares_in_pairs(self.propensity.predict(X))
        pairs = zip(self.effect, share.T, strict=True)
        return np.column_stack([one.predict(self.models, X, own) for one, own in pairs])


class DRLearner(_EffectLearner):
    """Regress doubly robust pseudo-outcomes (Kennedy, 2023).

    ::

        phi_k = m_k(x) - m_0(x) + 1[T=k] (Y - m_k(x)) / e_k(x)
                                - 1[T=0] (Y - m_0(x)) / e_0(x)
        tau_k(x) = E[phi_k | x]

    The mean is right if either the outcomes or the propensities are. Rows have the
    overlap weights ``e_0 e_k / (e_0 + e_k)``: about the inverse variance of ``phi_k``.
    """

    def fit(self, rows: UpliftRows, folds: Sequence[Fold]) -> None:
        """Fit the models of outcomes, propensities and effects."""
        m = self._fit_outcomes(rows, folds)
        self.propensity = Propensities(self.models, rows, folds)
        score = _doubly_robust(rows, m, self.propensity.of_rows)
        used = np.flatnonzero(~np.isnan(score).any(axis=1))
        pseudo = (score[:, 1:] - score[:, :1])[used]
        weight = self._overlap_weights(self.propensity.of_rows[used])
        self._fit_effects(
            rows, folds, [(used, *one) for one in zip(pseudo.T, weight, strict=True)]
        )

    def _overlap_weights(self, e: np.ndarray) -> Sequence[np.ndarray | None]:
        """Return overlap weights of rows for each arm but control, with mean 1."""
        if not (self.models.overlap_weights and takes_weights(self.models.effect)):
            return [None] * (e.shape[1] - 1)
        found = _overlap(e)
        if not np.ptp(found, axis=0).any():
            return [None] * found.shape[1]  # an experiment
        return list((found / found.mean(axis=0)).T)


class RLearner(_EffectLearner):
    """Regress residual outcomes on residual treatments (Nie and Wager, 2021).

    ::

        m(x) = E[Y | T in {0, k}, x],   p(x) = e_k / (e_0 + e_k)
        tau_k = argmin  sum_i (t_i - p_i)**2 ((y_i - m_i) / (t_i - p_i) - tau(x_i))**2

    over the rows of control and of arm k, of which ``t`` is 0 and 1.
    """

    def fit(self, rows: UpliftRows, folds: Sequence[Fold]) -> None:
        """Fit the models of outcomes, propensities and effects."""
        self.models.check_weights()
        others = range(1, self.models.n_arms)
        parts = [self.models.outcome_of(0, k) for k in others]
        found = cross_fit(parts, rows, folds, self.models.n_jobs)
        self.outcome = [models for models, _ in found]
        self.propensity = Propensities(self.models, rows, folds)
        shares, targets = _shares_in_pairs(self.propensity.of_rows).T, []
        for k, share, (_, m) in zip(others, shares, found, strict=True):
            treated = (rows.arms == k) - share
            in_pair = (rows.arms == 0) | (rows.arms == k)
            used = np.flatnonzero(in_pair & ~np.isnan(m + treated))
            # Not near 0: |t - p| is p or 1 - p, and both are clipped.
            pseudo = ((rows.outcome - m) / treated)[used]
            targets.append((used, pseudo, treated[used] ** 2))
        self._fit_effects(rows, folds, targets)

    def _control(self, X: Any, effects: np.ndarray) -> np.ndarray:
        # m = m_0 + p tau: the control outcome by each pair, and their mean.
        share = _shares_in_pairs(self.propensity.predict(X))
        m = np.column_stack([self.models.mean_outcome(o, X) for o in self.outcome])
        return (m - share * effects).mean(axis=1)


def _shares_in_pairs(e: np.ndarray) -> np.ndarray:
    """Return ``e_k / (e_0 + e_k)`` of each arm but control, (n, n_arms - 1)."""
    return e[:, 1:] / (e[:, :1] + e[:, 1:])


def _overlap(e: np.ndarray) -> np.ndarray:
    """Return ``e_0 e_k / (e_0 + e_k)`` of each arm but control, (n, n_arms - 1)."""
    return e[:, 1:] * e[:, :1] / (e[:, 1:] + e[:, :1])


def _doubly_robust(rows: UpliftRows, m: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Return scores whose means are those of the outcomes under each arm, (n, n_arms).

    `m` (n, n_arms) are expected outcomes, and `e` (n, n_arms) propensities.
    """
    is_own = np.eye(m.shape[1])[rows.arms]
    return m + is_own * (rows.outcome[:, None] - m) / e


def _each(
    jobs: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]], n_jobs: int | None
) -> list[Any]:
    """Return the results of calls, several at a time."""
    return Parallel(n_jobs=n_jobs)(delayed(call)(*given) for call, given in jobs)


class CrossFittedEffect(NamedTuple):
    """Models of an effect whose mean is calibrated."""

    models: list[Any]  # fitted models, each of other customers
    intercept: float = 0.0  # of the calibration; 0 without
    slope: float = 1.0  # of the calibration; 1 without

    def predict(self, models: Models, X: Any) -> np.ndarray:
        """Return effects, shape (n,)."""
        each = [models.predict_effect(model, X) for model in self.models]
        return self.intercept + self.slope * np.mean(each, axis=0)


class ImputedEffect(NamedTuple):
    """Models of an effect by outcomes that were imputed."""

    # Fitted models of control rows and of treated rows, for each group of customers.
    models: list[tuple[Any, Any]]
    intercept: float = 0.0  # of the calibration; 0 without
    slope: float = 1.0  # of the calibration; 1 without

    def of_groups(self, models: Models, X: Any, share: np.ndarray) -> np.ndarray:
        """Return effects by the models of each group of customers, (n_groups, n).

        `share` (n,) are the shares of the arm beside control.
        """
        predict = models.predict_effect
        return np.array(
            [
                share * predict(of_control, X) + (1 - share) * predict(of_treated, X)
                for of_control, of_treated in self.models
            ]
        )

    def predict(self, models: Models, X: Any, share: np.ndarray) -> np.ndarray:
        """Return effects, shape (n,)."""
        mean = self.of_groups(models, X, share).mean(axis=0)
        return self.intercept + self.slope * mean


def _training_rows(group: np.ndarray) -> list[np.ndarray]:
    """Return the positions of the other groups for each group, or all of one group."""
    found = np.unique(group)
    if len(found) == 1:
        return [np.arange(len(group))]
    return [np.flatnonzero(group != one) for one in found]


def _calibration(
    each: np.ndarray,
    own: np.ndarray,
    pseudo: np.ndarray,
    weight: np.ndarray,
    customers: np.ndarray,
    shrink: Callable[[float, float], float],
) -> tuple[float, float]:
    """Return the intercept and the slope for the mean of the models.

    ``each`` (n_models, n) has the effects by all models, and ``own`` (n,) is the place
    of the model that did not see the customer. ``d_g`` are the effects of a model less
    their mean over all rows: the means of customers who were left out are below
    average where those of the others are above. With a variance ``v`` over rows::

        slope     = cov(d_own, pseudo) / v(d_own) * mean_g v(d_g) / v(mean_g d_g)
        intercept = mean(pseudo) - slope * mean(mean_g each_g)

    The second factor is between 1 and the number of models. Errors of models cancel in
    their mean, which varies less between customers and is as correlated with
    pseudo-outcomes. In simulations the first factor was .64 and .70 where the best
    slope of the mean was .78 and .91. `shrink` takes a slope and its standard error.
    """
    weight = weight / weight.sum()
    moved = each - (each @ weight)[:, None]
    moved[np.ptp(each, axis=1) == 0] = 0.0  # not rounding errors of a constant
    of_own = moved[own, np.arange(len(own))]
    spread, of_mean = weight @ of_own**2, weight @ moved.mean(axis=0) ** 2
    mean, slope = weight @ pseudo, 0.0
    if spread > 0 and of_mean > 0:
        slope = (weight * of_own) @ (pseudo - mean) / spread
        scores = weight * of_own * (pseudo - mean - slope * of_own) / spread
        # At most the ratio of models that are not correlated: negative correlations,
        # of models of very few customers, are chance.
        factor = min((moved**2 @ weight).mean() / of_mean, len(each))
        error = np.sqrt(np.sum(np.bincount(customers, scores) ** 2))
        slope = shrink(factor * slope, factor * error)
    return float(mean - slope * (weight @ each.mean(axis=0))), float(slope)


def _shrunken_slope(slope: float, error: float) -> float:
    """Return a slope of at least 0, shrunken towards 1 from above.

    With the standard error ``s``, the excess ``d = slope - 1`` becomes ``d - s**2 / d``
    if that is positive, and else 0 (the positive part of James and Stein, 1961).
    Models that shrink effects have slopes above 1; with few customers, such slopes are
    mostly noise: they were up to 30 with ridge regressions of 12 rows.
    """
    excess = slope - 1
    if excess <= 0:
        return max(0.0, slope)
    return 1 + max(0.0, excess - error**2 / excess)


# Prior of the slope of imputed effects; see ``docs/defaults_trees.md``.
_USUAL_SLOPE, _SD_OF_SLOPES = 0.5, 0.25


def _slope_near_half(slope: float, error: float) -> float:
    """Return the posterior mean of a slope between 0 and 1, given its standard error.

    Imputed effects rank customers well even where their slope is hardly known, as for
    amounts with heavy tails: with the slope 0, all customers would have one effect.
    """
    if not np.isfinite(slope + error):  # of outcomes near the largest float
        return _USUAL_SLOPE
    share = 1 / (1 + (error / _SD_OF_SLOPES) ** 2)
    return float(np.clip(share * slope + (1 - share) * _USUAL_SLOPE, 0, 1))


LEARNERS: dict[str, type[Learner]] = {
    "s": SLearner,
    "t": TLearner,
    "x": XLearner,
    "dr": DRLearner,
    "r": RLearner,
}
