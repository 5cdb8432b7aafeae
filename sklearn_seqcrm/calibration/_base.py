"""Split conformal prediction with customers as the exchangeable units."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils.validation import check_consistent_length

from sklearn_seqcrm._columns import customers_of, split_customers
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    HasMethods,
    Interval,
    safe_indexing,
    with_inputs_of,
)
from sklearn_seqcrm.feature_extraction import HistoryAggregator


class BaseConformal(BaseEstimator, ABC):
    """Fit an estimator, and calibrate a threshold for its conformity scores.

    A subclass defines the default estimator and the conformity score of a row and its
    target, which is larger where prediction and target differ more.
    """

    estimator_: Any
    _boosting: ClassVar[type[Any]]
    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, list[Any]] = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "cv": ["cv_object"],
        "calibration_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        confidence_level: float = 0.9,
        conformity_score: str,
        cv: Any = None,
        calibration_fraction: float = 0.2,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.confidence_level = confidence_level
        self.conformity_score = conformity_score
        self.cv = cv
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state

    # What a subclass brings --------------------------------------------------------

    @abstractmethod
    def _check_estimator(self, estimator: Any) -> None:
        """Raise a TypeError if `conformity_score` needs a method that is missing."""

    @abstractmethod
    def _read_target(self, y: Any) -> np.ndarray:
        """Validate the target; shape (n,)."""

    @abstractmethod
    def _conformity_scores(self, X: Any, y: np.ndarray) -> np.ndarray:
        """Conformity scores of calibration rows, shape (n,)."""

    # fit ---------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any) -> Self:
        self._validate_params()
        estimator = self._estimator()
        self._check_estimator(estimator)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        X, y = indexable(X, y)
        y = self._read_target(y)
        check_consistent_length(X, y)
        customers = customers_of(X)
        train, rows = self._split(X, y, customers)
        self.estimator_ = clone(estimator)
        if train is not None:
            self.estimator_.fit(safe_indexing(X, train), y[train])
        scores = self._conformity_scores(safe_indexing(X, rows), y[rows])
        customers = customers[rows]
        self.n_calibration_rows_ = len(rows)
        self.n_calibration_customers_ = len(np.unique(customers))
        self.threshold_ = conformal_quantile(scores, customers, self.confidence_level)
        if np.isinf(self.threshold_):
            self._warn_unbounded(scores)
        return self

    @property
    def n_features_in_(self) -> int:
        """Number of columns that the estimator was fitted on."""
        return self.estimator_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Their names."""
        return self.estimator_.feature_names_in_

    def __sklearn_tags__(self) -> Any:
        return with_inputs_of(super().__sklearn_tags__(), [self._estimator()])

    # Steps of fit ------------------------------------------------------------------

    def _estimator(self) -> Any:
        """The estimator, not cloned, or the default one."""
        if self.estimator is not None:
            return self.estimator
        return Pipeline(
            [("features", HistoryAggregator()), ("estimator", self._boosting())]
        )

    def _split(
        self, X: Any, y: np.ndarray, customers: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """Positions of training rows (None: it is fitted) and of calibration rows."""
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
                    f"{len(y)}). Pass rows of more customers, a cv, or a "
                    "FrozenEstimator."
                )
            share, seed = self.calibration_fraction, self.random_state
            return split_customers(customers, share, seed)
        folds = list(check_cv(self.cv).split(X, y, customers))
        if len(folds) != 1:
            raise ValueError(
                f"cv must make one split, into training and calibration rows; "
                f"{self.cv!r} makes {len(folds)}. Use CutoffSplit(1, horizon=...), or "
                "cv=None for customers set aside."
            )
        train, rows = (np.arange(len(y))[part] for part in folds[0])
        return train, rows

    def _warn_unbounded(self, scores: np.ndarray) -> None:
        """Warn that the threshold is infinite, with the reason and the way out."""
        level, n = self.confidence_level, self.n_calibration_customers_
        # n / (n + 1) must reach the level.
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
        warnings.warn(
            f"Prediction sets are unbounded: {reason}.", UserWarning, stacklevel=4
        )


def conformal_quantile(
    scores: np.ndarray, customers: np.ndarray, level: float
) -> float:
    """Conformal quantile of scores of rows that are grouped by customer.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Conformity scores; infinite ones are never reached.
    customers : ndarray of shape (n,), int64
        Number of the customer of each row.
    level : float
        Confidence level, between 0 and 1.

    Returns
    -------
    float
        The smallest score ``s`` with ``sum_c share_c(s) >= level * (n_customers +
        1)``, where ``share_c(s)`` is the share of the rows of customer ``c`` whose
        score is at most ``s``; infinite if there is none. With one row for each
        customer it is the score of rank ``ceil(level * (n + 1))``.
    """
    _, codes, counts = np.unique(customers, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(1 / counts[codes[order]])
    # Products such as .55 * 20 are a little above the whole number they stand for, and
    # sums of shares a little below.
    needed = level * (len(counts) + 1) * (1 - 1e-9)
    at = np.searchsorted(reached, needed)
    return float(scores[order[at]]) if at < len(scores) else np.inf
