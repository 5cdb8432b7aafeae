"""Shared by the meta-learners: arguments of fit, intervals, scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from copy import copy
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_random_state, indexable
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from sklearn_seqcrm._columns import (
    Table,
    as_pandas,
    customer_hashes,
    customers_of,
    has_histories,
    refuse_shown_treatments,
    warn_other_order,
    with_attrs_of,
)
from sklearn_seqcrm._meta_estimators import refuse_other_task, with_inputs_of
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    HasMethods,
    Interval,
    StrOptions,
    read_sample_weight,
    refuse_no_target,
)
from sklearn_seqcrm._treatments import (
    in_order_of_arms,
    read_treatments,
    refuse_no_treatment,
)
from sklearn_seqcrm._typing import Estimator, Splitter
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.metrics import qini_auc_score
from sklearn_seqcrm.uplift._cross_fitting import UpliftRows, read_splits
from sklearn_seqcrm.uplift._fit_samples import fit_sample
from sklearn_seqcrm.uplift._learners import LEARNERS, Learner
from sklearn_seqcrm.uplift._models import Models, counterpart

_HIST_BOOSTING = HistGradientBoostingRegressor, HistGradientBoostingClassifier
# Differences between arms are small beside differences between customers: small trees
# overfit less, and no rows of training customers are drawn for early stopping.
_SMALL_TREES = {"learning_rate": 0.05, "max_leaf_nodes": 5, "early_stopping": False}


class BaseUplift(BaseEstimator, ABC):
    """Fit a meta-learner; a subclass defines what outcomes are."""

    _classify: ClassVar[bool]
    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, Any] = {
        "estimator": [HasMethods("fit"), None],
        "learner": [StrOptions(set(LEARNERS))],
        "effect_estimator": [HasMethods("fit"), None],
        "propensity": [StrOptions({"learned", "constant"})],
        "propensity_estimator": [HasMethods("fit"), None],
        "control": "no_validation",  # any label
        "cv": [Interval(Integral, 2, None, closed="left"), "cv_object"],
        "min_propensity": [Interval(Real, 0, 0.5, closed="neither")],
        "overlap_weights": ["boolean"],
        "calibrate": ["boolean"],
        "n_bootstraps": [Interval(Integral, 0, None, closed="left")],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    # Requested without a call of set_fit_request, because fit and score need it.
    __metadata_request__fit: ClassVar = {"treatment": True}
    __metadata_request__score: ClassVar = {"treatment": True}

    classes_: np.ndarray
    treatments_: np.ndarray
    learner_: Learner

    def __init__(
        self,
        estimator: Estimator | None = None,
        *,
        learner: Literal["s", "t", "x", "dr", "r"] = "x",
        effect_estimator: Estimator | None = None,
        propensity: Literal["learned", "constant"] = "learned",
        propensity_estimator: Estimator | None = None,
        control: int | float | bool | str | None = None,
        cv: int | Splitter | Iterable[Any] | None = 3,
        min_propensity: float = 0.05,
        overlap_weights: bool = True,
        calibrate: bool = True,
        n_bootstraps: int = 0,
        confidence_level: float = 0.9,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.learner = learner
        self.effect_estimator = effect_estimator
        self.propensity = propensity
        self.propensity_estimator = propensity_estimator
        self.control = control
        self.cv = cv
        self.min_propensity = min_propensity
        self.overlap_weights = overlap_weights
        self.calibrate = calibrate
        self.n_bootstraps = n_bootstraps
        self.confidence_level = confidence_level
        self.n_jobs = n_jobs
        self.random_state = random_state

    @abstractmethod
    def _read_outcomes(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return outcomes for estimators, and as floats; each of shape (n,)."""

    # fit and predict ---------------------------------------------------------------

    def fit(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        *,
        treatment: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        propensity: ArrayLike | None = None,
    ) -> Self:
        """Fit the models of outcomes, treatments and effects.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns), or array-like
            Rows that the estimator takes.
        y : array-like of shape (n,)
            Outcomes: labels of two classes, or numbers for a regressor.
        treatment : array-like of shape (n,)
            Label of the treatment of each row, of any type. It is required.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows, not negative; rows of weight 0 are left out. The
            estimators must take weights.
        propensity : array-like of shape (n,) or (n, n_arms), or None, default=None
            Known probability of each arm, in the order control, then the others sorted;
            columns of a DataFrame are found by the labels. With two arms, (n,): the
            probability of being treated, also of rows that were not. It replaces the
            parameter `propensity`.

        Returns
        -------
        BaseUplift
            The fitted estimator itself.

        Raises
        ------
        ValueError
            If `treatment` is not given; `y`, `treatment` or `propensity` has missing
            values; `control` is not set and the labels are not 0 and 1, or booleans;
            there is only one arm, or one is missing in a fold or in all draws of a
            bootstrap sample; a propensity is 0 or 1; histories or a column of `X` show
            the treatment that is being decided; `estimator` is None and `X` has no
            histories; the default of `effect_estimator` or `propensity_estimator` is
            not known; or a parameter is out of range.
        TypeError
            If `learner` is ``"r"``, or `sample_weight` is given, and an estimator takes
            no `sample_weight`.

        Warns
        -----
        UserWarning
            If learned propensities of more than a hundredth of the rows are below
            `min_propensity`, or the estimator of ``learner="s"`` does not read the
            treatment.
        """
        self._validate_params()
        fitted = copy(self)  # a fit that fails leaves the state of the last one
        fitted._fit_all(X, y, treatment, sample_weight, propensity)
        self.__dict__ = fitted.__dict__
        return self

    def _fit_all(
        self, X: Any, y: Any, treatment: Any, sample_weight: Any, propensity: Any
    ) -> None:
        everyone = self._read(X, y, treatment, sample_weight, propensity)
        rows = everyone
        if not everyone.weight.all():
            rows = everyone.take(np.flatnonzero(everyone.weight))
        refuse_shown_treatments(rows.X, rows.arms, self.treatments_, rows.customers)
        rng = check_random_state(self.random_state)
        given = sample_weight is not None, propensity is not None
        models = self._models(*given, self.n_jobs).with_seeds(rng)
        # One seed for each fit, so that the first one does not depend on n_bootstraps.
        seeds = rng.randint(2**31 - 1, size=1 + self.n_bootstraps).tolist()
        cv: Any = 3 if self.cv is None else self.cv
        learner = LEARNERS[self.learner]
        if learner.needs_folds and not isinstance(cv, Integral):
            cv = read_splits(cv, everyone)
        self.learner_ = learner(models)
        self.learner_.fit(rows, self.learner_.folds(rows, cv, seeds[0]))
        # Fits within a process of a bootstrap sample run one after the other.
        again = self._models(*given, None)
        self.bootstraps_: list[Learner] = Parallel(n_jobs=self.n_jobs)(
            delayed(fit_sample)(learner, again, rows, cv, seed, number)
            for number, seed in enumerate(seeds[1:], start=1)
        )

    def predict(self, X: pd.DataFrame | ArrayLike) -> np.ndarray:
        """Predict the effect of the treatments on the outcome of each row.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns), or array-like
            Rows with the columns that `fit` saw.

        Returns
        -------
        ndarray of shape (n,), or (n, n_arms - 1) with several treatments
            Expected outcome with the treatment minus that under control, in the order
            ``treatments_[1:]``: in the unit of `y`, or in probability of
            ``classes_[1]``. The latter are clipped to -1 and 1.
        """
        check_is_fitted(self, "learner_")
        return self._one_or_several(self._effects(self.learner_, X))

    def predict_outcomes(self, X: pd.DataFrame | ArrayLike) -> np.ndarray:
        """Predict the outcome of each row under each treatment.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns), or array-like
            Rows with the columns that `fit` saw.

        Returns
        -------
        ndarray of shape (n, n_arms)
            Expected outcomes in the order of `treatments_`: in the unit of `y`, or
            probabilities of ``classes_[1]``. The latter are clipped to 0 and 1, where
            their differences may be smaller than the effects that `predict` returns.
        """
        check_is_fitted(self, "learner_")
        found = self.learner_.outcomes(self._checked(X))
        return np.clip(found, 0, 1) if self._classify else found

    def predict_interval(self, X: pd.DataFrame | ArrayLike) -> np.ndarray:
        """Predict an interval for the effect of the treatments on each row.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns), or array-like
            Rows with the columns that `fit` saw.

        Returns
        -------
        ndarray of shape (n, 2), or (n, n_arms - 1, 2) with several treatments
            Lower and upper ends: quantiles of the effects that models of
            `n_bootstraps` samples of customers predict.

        Raises
        ------
        ValueError
            If `n_bootstraps` is less than 2.
        """
        effects = self.predict_samples(X)
        if len(effects) < 2:
            raise ValueError(
                "predict_interval needs fits of samples of the customers, and there "
                f"are {len(effects)}; set n_bootstraps to 50 or more, and fit again."
            )
        tail = (1 - self.confidence_level) / 2
        ends = np.quantile(effects, [tail, 1 - tail], axis=0)
        return np.moveaxis(ends, 0, -1)

    def predict_samples(self, X: pd.DataFrame | ArrayLike) -> np.ndarray:
        """Predict effects by the models of each sample of customers.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns), or array-like
            Rows with the columns that `fit` saw.

        Returns
        -------
        ndarray of shape (n_bootstraps, n), or (n_bootstraps, n, n_arms - 1)
            Effects as `predict` returns them, for ``choose_contacts(effect_samples=)``.

        Raises
        ------
        ValueError
            If `n_bootstraps` is 0.
        """
        check_is_fitted(self, "learner_")
        if not self.bootstraps_:
            raise ValueError(
                "There are no fits of samples of the customers; set n_bootstraps to 50 "
                "or more, and fit again."
            )
        each = [self._effects(learner, X) for learner in self.bootstraps_]
        return np.stack([self._one_or_several(one) for one in each])

    def score(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        *,
        treatment: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the Qini coefficient of the predicted effects.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns), or array-like
            Rows with the columns that `fit` saw.
        y : array-like of shape (n,)
            Outcomes.
        treatment : array-like of shape (n,)
            Label of the treatment of each row. It is required.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows.

        Returns
        -------
        float
            Area between the Qini curve and the line of a random order, over that of the
            reference order; see `sklearn_seqcrm.metrics.qini_auc_score`. With several
            treatments, the mean over them, each against control.

        Raises
        ------
        ValueError
            If `treatment` is not given, or has missing labels or ones that `fit` did
            not see.
        """
        refuse_no_treatment(treatment, f"{type(self).__name__}.score")
        assert treatment is not None
        return qini_auc_score(
            y,
            self.predict(X),
            treatment,
            treatments=self.treatments_.tolist(),
            sample_weight=sample_weight,
            pos_label=self.classes_[1] if self._classify else None,
        )

    def __sklearn_tags__(self) -> Any:
        tags = with_inputs_of(super().__sklearn_tags__(), [self._outcome_estimator()])
        tags.target_tags.required = True
        return tags

    # Steps -------------------------------------------------------------------------

    def _outcome_estimator(self) -> Any:
        """Return the estimator, not cloned, or the default one."""
        if self.estimator is not None:
            return self.estimator
        boosting = _HIST_BOOSTING[self._classify](**_SMALL_TREES)
        return Pipeline([("features", HistoryAggregator()), ("estimator", boosting)])

    def _read(
        self, X: Any, y: Any, treatment: Any, sample_weight: Any, propensity: Any
    ) -> UpliftRows:
        """Check the arguments of `fit`, set the attributes of labels, return rows."""
        task = "classification" if self._classify else "regression"
        owner = type(self).__name__
        refuse_other_task(self._outcome_estimator(), task, owner, "estimator")
        # The other learners use no further estimators.
        if LEARNERS[self.learner].needs_effect:
            for name, part, fits in (
                ("effect_estimator", self.effect_estimator, "regression"),
                ("propensity_estimator", self.propensity_estimator, "classification"),
            ):
                if part is not None:
                    refuse_other_task(part, fits, owner, name)
        refuse_no_target(self, y)
        refuse_no_treatment(treatment, f"{owner}.fit")
        warn_other_order(X, y)
        warn_other_order(X, treatment, "treatment")
        warn_other_order(X, sample_weight, "sample_weight")
        warn_other_order(X, propensity, "propensity")
        if self.estimator is None:
            self._refuse_table(X)
        X, y = indexable(as_pandas(X), y)
        values, outcome = self._read_outcomes(y)
        check_consistent_length(X, values)
        self._set_names(X)
        weight = read_sample_weight(sample_weight, X)
        self.treatments_, arms = read_treatments(treatment, self.control, X, weight)
        return UpliftRows(
            X,
            with_attrs_of(y, values),
            outcome,
            arms,
            _ordered_customers(X),
            np.asarray(weight, dtype="float64"),
            _read_propensities(propensity, weight, self.treatments_),
            np.arange(len(arms)),
        )

    def _refuse_table(self, X: Any) -> None:
        """Raise a ValueError if the default estimator finds no histories to read."""
        if has_histories(X):
            return
        names = getattr(X, "columns", None)
        if names is None:
            found = f"its type is {type(X).__name__}"
        else:
            found = f"its columns are {list(names)}"
        boosting = _HIST_BOOSTING[self._classify].__name__
        raise ValueError(
            f"The default estimator reads histories, and X has none: {found}. Add "
            "histories by EventLog.attach, or pass an estimator of tables, such as "
            f"{type(self).__name__}({boosting}())."
        )

    def _set_names(self, X: Any) -> None:
        """Set `n_features_in_` and `feature_names_in_`."""
        names = getattr(X, "columns", ())
        if len({isinstance(name, str) for name in names}) > 1:
            # scikit-learn refuses names of several types, such as a key called 0.
            self.n_features_in_ = X.shape[1]
        else:
            validate_data(self, X, reset=True, skip_check_array=True)

    def _checked(self, X: Any) -> Any:
        X = as_pandas(X)
        # A DataFrame is checked by the estimators, which find columns by name.
        if len(getattr(X, "shape", (0, 0))) != 2:
            raise ValueError(
                f"X must have two dimensions; its shape is {X.shape}. Reshape your "
                "data with X.reshape(1, -1) if it is one row."
            )
        if not isinstance(X, pd.DataFrame):
            validate_data(self, X, reset=False, skip_check_array=True)
        return X

    def _models(self, is_weighted: bool, is_given: bool, n_jobs: int | None) -> Models:
        """Return the models, not fitted and without seeds."""
        outcome, effect, treatment = self._outcome_estimator(), None, None
        if LEARNERS[self.learner].needs_effect:
            effect = self.effect_estimator
            if effect is None:
                effect = counterpart(outcome, "Regressor", "effect_estimator")
            if not is_given and self.propensity == "learned":
                treatment = self.propensity_estimator
                if treatment is None:
                    treatment = counterpart(
                        outcome, "Classifier", "propensity_estimator"
                    )
        return Models(
            outcome,
            effect,
            treatment,
            self.classes_[1] if self._classify else None,
            self.treatments_,
            is_weighted,
            float(self.min_propensity),
            self.calibrate,
            self.overlap_weights,
            n_jobs,
        )

    def _effects(self, learner: Learner, X: Any) -> np.ndarray:
        """Return effects; a model of effects may exceed the range of probabilities."""
        found = learner.effects(self._checked(X))
        return np.clip(found, -1, 1) if self._classify else found

    def _one_or_several(self, found: np.ndarray) -> np.ndarray:
        """Drop the axis of treatments if there is one treatment beside control."""
        return found[:, 0] if len(self.treatments_) == 2 else found


def _ordered_customers(X: Any) -> np.ndarray:
    """Number customers by hashes of ids, whatever the order of rows, and the log."""
    customers = customers_of(X)
    if not has_histories(X):
        return customers
    histories = Table.of(X).histories
    hashes = customer_hashes(histories[min(histories, key=str)])
    least = np.zeros(customers.max(initial=-1) + 1, dtype="int64")
    np.minimum.at(least, customers, hashes)
    return least.argsort(kind="stable").argsort()[customers]


def _read_propensities(given: Any, weight: np.ndarray, labels: Any) -> np.ndarray:
    """Return propensities, (n, n_arms), any for rows of weight 0; (n, 0) for None."""
    n_rows, n_arms = len(weight), len(labels)
    if given is None:
        return np.empty((n_rows, 0))
    if np.ndim(given) == 0:
        raise TypeError(
            "propensity must be an array with a probability for each row; got "
            f"{given!r}. If all rows have it, pass np.full({n_rows}, {given!r})."
        )
    if np.ndim(given) == 2:
        given = in_order_of_arms(given, labels, "propensity")
    values = np.asarray(given)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (n_rows, n_arms) and (values.shape, n_arms) != ((n_rows,), 2):
        raise ValueError(
            f"propensity must have the shape ({n_rows}, {n_arms}), a column for each "
            f"arm, or with two arms ({n_rows},); got {np.shape(given)}."
        )
    used = np.flatnonzero(weight)
    found = check_array(
        values[used], ensure_2d=False, dtype="float64", input_name="propensity"
    )
    if found.ndim == 1:
        found = np.column_stack([1 - found, found])
    n_certain = int(((found <= 0) | (found >= 1)).any(axis=1).sum())
    if n_certain:
        raise ValueError(
            f"propensity must be between 0 and 1, both excluded, and {n_certain} of "
            f"{len(used)} rows have others: where all or no customers are treated, "
            "no effect can be learned. Leave out these rows."
        )
    if not np.allclose(found.sum(axis=1), 1, atol=1e-6):
        raise ValueError("propensity must sum to 1 in each row.")
    of_rows = np.full((n_rows, n_arms), np.nan)
    of_rows[used] = found
    return of_rows
