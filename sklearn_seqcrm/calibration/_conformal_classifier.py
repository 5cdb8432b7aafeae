"""Prediction sets around any classifier."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import read_labels
from sklearn_seqcrm._meta_estimators import has_method
from sklearn_seqcrm._sklearn_compat import StrOptions
from sklearn_seqcrm._typing import Estimator, Splitter
from sklearn_seqcrm.calibration._base import BaseConformal


class ConformalClassifier(ClassifierMixin, BaseConformal):
    """Predict sets of classes that contain the true one with a given probability.

    Split conformal prediction around any classifier with `predict_proba` that takes
    the rows of `X`, such as a pipeline on histories. The classifier is fitted on one
    part of the customers; the threshold of the sets is calibrated on the others.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A classifier, pipeline or search with `predict_proba` that takes `X`. One in a
        `sklearn.frozen.FrozenEstimator` is fitted already, and all rows given to `fit`
        are calibration rows; it must not have been fitted on them. None:
        `HistoryAggregator` and boosted trees of 5 to 15 leaves, as in hybrids.
    confidence_level : float, default=0.9
        Probability with which a set is to contain the true class, between 0 and 1.
    conformity_score : {"lac", "aps"}, default="lac"
        ``"lac"``: least ambiguous sets, the smallest ones on average; they are empty
        where no class is probable enough. ``"aps"``: adaptive prediction sets, never
        empty, larger where the classifier is less certain.
    cv : splitter, iterable of one split or None, default=None
        Split into training and calibration rows. None:
        `calibration_fraction` of the customers, set aside. ``CutoffSplit(1)``
        calibrates on the latest cutoffs; it needs a target with a horizon, or
        ``horizon=...``.
    calibration_fraction : float, default=0.2
        Share of the customers that are set aside, between 0 and 1, if `cv` is None.
    random_state : int, RandomState or None, default=None
        Draws the customers that are set aside, and the seeds of the classifier where
        its own are None. Pass an int for the same result in every fit.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels that the classifier was fitted on.
    estimator_ : estimator
        The fitted classifier.
    threshold_ : float
        The calibrated threshold of the scores, between 0 and 1; infinite if there are
        too few calibration customers.
    n_calibration_rows_ : int
        Number of calibration rows.
    n_calibration_customers_ : int
        Number of their customers.
    n_features_in_ : int
        Number of columns that the classifier was fitted on.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names, if `X` was a DataFrame.

    Warns
    -----
    UserWarning
        If all sets contain all classes, because there are fewer calibration customers
        than ``level / (1 - level)``, or too many of them have a class that the training
        rows lack.

        If `cv` has customers in both parts, and not all calibration cutoffs are after
        all training cutoffs, so that coverage of new customers may be lower.

    See Also
    --------
    ConformalRegressor : Prediction intervals for numbers.
    sklearn.calibration.CalibratedClassifierCV : Calibrated probabilities.

    Notes
    -----
    With ``p_k(x)`` the predicted probability of class ``k``, the conformity score of a
    class is ``1 - p_k(x)`` for ``"lac"`` [1]_, and for ``"aps"`` the sum of the
    probabilities of all classes that are more probable than ``k`` [2]_ (without the
    randomization of the paper: the set of a row depends only on that row; equally
    probable classes follow the order of `classes_`). The threshold ``t`` is the
    smallest score of a true class in the calibration rows such that ``sum_c share_c(t)
    >= level * (n_customers + 1)``, where ``share_c`` is the share of the rows of
    calibration customer ``c`` with a score of at most ``t`` [3]_. A set contains
    the classes with a score of at most ``t``. With one row for each customer this is
    ordinary split conformal prediction.

    **Guarantee**: if a new customer is exchangeable with the calibration customers, the
    set of a row drawn at random from those of the new customer contains the true class
    with a probability of `confidence_level` or more. The Notes of `ConformalRegressor`
    explain this guarantee, and the effect of a change over time. Without randomization,
    the coverage of ``"aps"`` is higher than `confidence_level` if the accuracy of the
    most probable class is.

    References
    ----------
    .. [1] M. Sadinle, J. Lei and L. Wasserman, "Least Ambiguous Set-Valued Classifiers
       With Bounded Error Levels", Journal of the American Statistical Association 114,
       2019. https://doi.org/10.1080/01621459.2017.1395341
    .. [2] Y. Romano, M. Sesia and E. Candès, "Classification with Valid and Adaptive
       Coverage", Advances in Neural Information Processing Systems 33, 2020.
       https://doi.org/10.48550/arXiv.2006.02544
    .. [3] Y. Lee, R. F. Barber and R. Willett, "Distribution-free inference with
       hierarchical data", 2023. https://doi.org/10.48550/arXiv.2306.06342

    Examples
    --------
    >>> from sklearn_seqcrm.calibration import ConformalClassifier
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.events import EventLog
    >>> journeys = make_customer_journeys(200, random_state=0)
    >>> log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    >>> X = log.attach(journeys.rows, cutoff="cutoff")
    >>> model = ConformalClassifier(random_state=0).fit(X, journeys.target)
    >>> model.n_calibration_customers_
    40
    >>> model.predict_set(X).shape
    (200, 2)
    """

    _task: ClassVar[str] = "classification"
    _output: ClassVar[str] = "sets"
    _parameter_constraints: dict[str, list[Any]] = {
        **BaseConformal._parameter_constraints,
        "conformity_score": [StrOptions({"lac", "aps"})],
    }

    def __init__(
        self,
        estimator: Estimator | None = None,
        *,
        confidence_level: float = 0.9,
        conformity_score: Literal["lac", "aps"] = "lac",
        cv: int | Splitter | Iterable[Any] | None = None,
        calibration_fraction: float = 0.2,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.confidence_level = confidence_level
        self.conformity_score = conformity_score
        self.cv = cv
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state

    @property
    def classes_(self) -> np.ndarray:
        """Labels that the classifier was fitted on."""
        return self.estimator_.classes_

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Predict the probability of each class by the fitted classifier.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns of the training rows.

        Returns
        -------
        ndarray of shape (n, n_classes)
            Probabilities in the order of `classes_`.
        """
        check_is_fitted(self)
        return np.asarray(self.estimator_.predict_proba(X))

    def predict_set(self, X: pd.DataFrame) -> np.ndarray:
        """Predict a set of classes for each row.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns of the training rows.

        Returns
        -------
        ndarray of shape (n, n_classes), bool
            Whether the set contains a class, in the order of `classes_`.
        """
        return self._class_scores(self.predict_proba(X)) <= self.threshold_

    def _check_estimator(self, estimator: Any) -> None:
        if not has_method(estimator, "predict_proba"):
            raise TypeError(
                "ConformalClassifier needs a classifier with predict_proba; got "
                f"{estimator!r}. CalibratedClassifierCV adds it to one without."
            )

    def _validate_target(self, y: Any) -> np.ndarray:
        return read_labels(y)

    def _conformity_scores(self, X: Any, y: np.ndarray) -> np.ndarray:
        proba = self.estimator_.predict_proba(X)  # raises an error if it is not fitted
        if isinstance(self.classes_, list) or np.ndim(self.classes_) > 1:
            raise ValueError(
                f"The estimator predicts {len(self.classes_)} labels for each row; "
                "ConformalClassifier needs a classifier of one target."
            )
        if len(self.classes_) < 2:
            raise ValueError(
                "ConformalClassifier needs at least 2 classes in the rows that its "
                f"classifier is fitted on; they have one class, {self.classes_[0]!r}. "
                "Pass more rows of other classes, or another cv or random_state."
            )
        scores = self._class_scores(np.asarray(proba))
        # A class without a training row is in no set, with a score of infinity.
        place = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        known = self.classes_[place] == y
        return np.where(known, scores[np.arange(len(y)), place], np.inf)

    def _class_scores(self, proba: np.ndarray) -> np.ndarray:
        """Return the conformity score of each class, shape (n, n_classes)."""
        score, _ = self._fitted_with
        if score == "lac":
            return 1 - proba
        # "aps": the probability of all classes before k in descending order.
        order = np.argsort(-proba, axis=1, kind="stable")
        descending = np.take_along_axis(proba, order, axis=1)
        before = np.zeros_like(descending)
        before[:, 1:] = np.cumsum(descending, axis=1)[:, :-1]
        return np.take_along_axis(before, np.argsort(order, axis=1), axis=1)
