"""Split conformal prediction with customers as the exchangeable units."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, indexable
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import (
    Table,
    connected_note,
    customers_of,
    cutoffs_of,
    n_history_columns,
    split_customers,
    warn_other_order,
    with_attrs_of,
)
from sklearn_seqcrm._meta_estimators import seeded, with_inputs_of
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    HasMethods,
    Interval,
    refuse_no_target,
    safe_indexing,
    split_by,
)
from sklearn_seqcrm._small_trees import default_trees
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm.feature_extraction import HistoryAggregator


class BaseConformal(BaseEstimator, ABC):
    """Fit an estimator, and calibrate a threshold for its conformity scores.

    A subclass defines the default estimator, and the conformity score of a row and its
    target, which is larger where prediction and target differ more.
    """

    # Parameters, which a subclass assigns: their defaults differ.
    estimator: Any
    confidence_level: float
    conformity_score: str
    cv: Any
    calibration_fraction: float
    random_state: Any

    estimator_: Any
    # Score and level of the last fit: parameters set later apply to the next one.
    _fitted_with: tuple[str, float]
    _task: ClassVar[str]  # "classification" or "regression"
    _output: ClassVar[str]  # "sets" or "intervals"
    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, list[Any]] = {
        "estimator": [HasMethods("fit"), None],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "cv": ["cv_object"],
        "calibration_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    # What a subclass defines -------------------------------------------------------

    @abstractmethod
    def _check_estimator(self, estimator: Any) -> None:
        """Raise a TypeError if `conformity_score` needs a method that is missing."""

    @abstractmethod
    def _validate_target(self, y: Any) -> np.ndarray:
        """Validate the target and return it with shape (n,)."""

    @abstractmethod
    def _conformity_scores(self, X: Any, y: np.ndarray) -> np.ndarray:
        """Return the conformity scores of calibration rows, shape (n,)."""

    # fit ---------------------------------------------------------------------------

    def fit(self, X: pd.DataFrame, y: ArrayLike) -> Self:
        """Fit the estimator, and calibrate the threshold on other rows.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows that the estimator takes.
        y : array-like of shape (n,)
            Class labels, or numbers for a regressor.

        Returns
        -------
        BaseConformal
            The fitted estimator itself.

        Raises
        ------
        ValueError
            If `y` is missing or has missing or infinite values, a parameter is out of
            range, all rows belong to one customer, or `cv` makes several splits or
            parts that are empty or have rows in common.
        TypeError
            If the estimator lacks ``predict_proba``, or ``predict_quantiles`` for
            ``conformity_score="cqr"``, or numbers are durations, datetimes or text.
        """
        self._validate_params()
        estimator = self._estimator()
        self._check_estimator(estimator)
        refuse_no_target(self, y)
        warn_other_order(X, y)
        X, y = indexable(X, y)
        values = self._validate_target(y)
        # The horizon in the attrs is needed by a CutoffSplit and by networks.
        y = with_attrs_of(y, values)
        customers = customers_of(X)
        rng = check_random_state(self.random_state)
        train, rows = self._split(X, y, customers, rng)
        self.estimator_ = estimator
        if train is not None:  # else it is frozen
            self.estimator_ = seeded(estimator, rng)
            self.estimator_.fit(safe_indexing(X, train), safe_indexing(y, train))
        self._fitted_with = self.conformity_score, self.confidence_level
        scores = self._conformity_scores(safe_indexing(X, rows), values[rows])
        customers = customers[rows]
        self.n_calibration_rows_ = len(rows)
        self.n_calibration_customers_ = len(np.unique(customers))
        self.threshold_ = conformal_quantile(scores, customers, self.confidence_level)
        if np.isinf(self.threshold_):
            self._warn_unbounded(scores)
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Predict the target by the fitted estimator.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns of the training rows.

        Returns
        -------
        ndarray of shape (n,)
            Class labels, or predictions in the unit of `y`.
        """
        check_is_fitted(self)
        return np.asarray(self.estimator_.predict(X))

    @property
    def n_features_in_(self) -> int:
        """Number of columns that the estimator was fitted on."""
        return self.estimator_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the columns that the estimator was fitted on."""
        return self.estimator_.feature_names_in_

    def __sklearn_tags__(self) -> Any:
        return with_inputs_of(super().__sklearn_tags__(), [self._estimator()])

    # Steps of fit ------------------------------------------------------------------

    def _estimator(self) -> Any:
        """Return the estimator, not cloned, or the default one."""
        if self.estimator is not None:
            return self.estimator
        trees = default_trees(self._task)
        return Pipeline([("features", HistoryAggregator()), ("estimator", trees)])

    def _split(
        self,
        X: Any,
        y: np.ndarray | pd.Series,
        customers: np.ndarray,
        rng: np.random.RandomState,
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """Return positions of training rows (None: no fit) and of calibration rows."""
        if isinstance(self.estimator, FrozenEstimator):
            if self.cv is not None:
                raise ValueError(
                    "A FrozenEstimator is fitted already, so all rows are calibration "
                    f"rows; leave cv=None, got {self.cv!r}."
                )
            return None, np.arange(len(y))
        if self.cv is None:
            n_customers = len(np.unique(customers))
            if n_customers < 2:
                raise ValueError(
                    f"{type(self).__name__} calibrates on customers that the estimator "
                    "was not fitted on, and all rows belong to 1 customer (n_samples="
                    f"{len(y)}){connected_note(n_history_columns(X))}. Pass rows of "
                    "more customers, a cv, or a FrozenEstimator."
                )
            # Customers, not rows: rows of a training customer would be predicted too
            # well, and the threshold would be too low for new customers.
            return split_customers(
                customers, "calibration_fraction", self.calibration_fraction, rng
            )
        folds = split_by(check_cv(self.cv), X, y, customers)
        if len(folds) != 1:
            raise ValueError(
                f"cv must make one split, into training and calibration rows; "
                f"{self.cv!r} makes {len(folds)}. Use CutoffSplit(1, horizon=...), or "
                "cv=None for customers set aside."
            )
        train, rows = (np.arange(len(y))[part] for part in folds[0])  # masks too
        self._check_parts(X, customers, train, rows)
        return train, rows

    def _check_parts(
        self, X: Any, customers: np.ndarray, train: np.ndarray, rows: np.ndarray
    ) -> None:
        """Refuse parts with common rows, and warn if they have common customers."""
        n_shared = int(np.isin(rows, train).sum())
        if n_shared or not len(train) or not len(rows):
            raise ValueError(
                "cv must split rows into training and calibration rows, both at least "
                f"one and none in common; {self.cv!r} gives {len(train)} training and "
                f"{len(rows)} calibration rows, with {n_shared} in common."
            )
        n_shared = len(np.intersect1d(customers[train], customers[rows]))
        if not n_shared:
            return
        cutoff = cutoffs_of(next(iter(Table.of(X).histories.values()))).ticks
        if cutoff[rows].min() <= cutoff[train].max():
            warn_user(
                f"cv has {n_shared} customers in both parts, and not all calibration "
                "rows are later than the training rows: coverage of new customers may "
                "be below confidence_level. Leave cv=None, or use GroupShuffleSplit(1) "
                "or CutoffSplit(1, horizon=...)."
            )

    def _warn_unbounded(self, scores: np.ndarray) -> None:
        """Warn that the threshold is infinite, with the reason and the way out."""
        level, n = self.confidence_level, self.n_calibration_customers_
        # The quantile needs n >= level * (n + 1), that is n >= level / (1 - level).
        needed = math.ceil(level / (1 - level) - 1e-9)
        if n < needed:
            reason = (
                f"confidence_level={level} needs {needed} calibration customers or "
                f"more, and there are {n}; raise calibration_fraction or pass rows of "
                "more customers"
            )
        else:
            reason = (
                f"{np.isinf(scores).sum()} of {len(scores)} calibration rows have a "
                "label that is not in the training rows; pass more rows of that class"
            )
        warn_user(f"Prediction {self._output} are unbounded: {reason}.")


def conformal_quantile(
    scores: np.ndarray, customers: np.ndarray, level: float
) -> float:
    """Return the conformal quantile of scores of rows that are grouped by customer.

    Lee, Barber and Willett (2023), "Distribution-free inference with hierarchical
    data": each customer has the weight 1, shared by its rows. The quantile is the
    smallest score ``s`` with ``sum_c share_c(s) >= level * (n_customers + 1)``, where
    ``share_c(s)`` is the share of the rows of customer ``c`` with a score of at most
    ``s``; infinite if there is none. With one row per customer it is the score of rank
    ``ceil(level * (n + 1))``.
    """
    _, codes, counts = np.unique(customers, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    # A row adds 1 / (rows of its customer) to the sum of shares.
    reached = np.cumsum(1 / counts[codes[order]])
    # Rounding: .55 * 20 is a little above 11, and sums of shares a little below the
    # whole numbers they stand for.
    needed = level * (len(counts) + 1) * (1 - 1e-9)
    at = np.searchsorted(reached, needed)  # beyond the end: too few customers
    return float(scores[order[at]]) if at < len(scores) else np.inf
