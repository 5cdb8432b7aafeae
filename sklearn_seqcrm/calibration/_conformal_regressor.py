"""Prediction intervals around any regressor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from sklearn.base import RegressorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import read_numbers
from sklearn_seqcrm._meta_estimators import refuse_other_task
from sklearn_seqcrm._sklearn_compat import BaseSearchCV, StrOptions
from sklearn_seqcrm._typing import Estimator, Splitter
from sklearn_seqcrm.calibration._base import BaseConformal


class ConformalRegressor(RegressorMixin, BaseConformal):
    """Predict intervals that contain the target with a given probability.

    Split conformal prediction around any regressor that takes the rows of `X`, such as
    a pipeline on histories. The regressor is fitted on one part of the customers; the
    width of the intervals is calibrated on the others.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A regressor, pipeline or search that takes `X`. One in a
        `sklearn.frozen.FrozenEstimator` is fitted already, and all rows given to `fit`
        are calibration rows; it must not have been fitted on them. None:
        `HistoryAggregator` and boosted trees of 5 to 15 leaves, as in hybrids.
    confidence_level : float, default=0.9
        Probability with which an interval is to contain the target, between 0 and 1.
    conformity_score : {"absolute", "cqr"}, default="absolute"
        ``"absolute"``: absolute residuals, which make all intervals equally wide.
        ``"cqr"``: conformalized quantile regression, which widens or narrows the
        interval between two quantiles of each row. It needs an estimator with a method
        ``predict_quantiles(X, quantiles)``, or a search over one, such as the pipeline
        of an `LSTMRegressor` with ``loss="quantile"`` and ``quantile=[0.05, 0.5,
        0.95]`` for the default level.
    cv : splitter, iterable of one split or None, default=None
        Split into training and calibration rows. None:
        `calibration_fraction` of the customers, set aside. ``CutoffSplit(1)``
        calibrates on the latest cutoffs; it needs a target with a horizon, or
        ``horizon=...``.
    calibration_fraction : float, default=0.2
        Share of the customers that are set aside, between 0 and 1, if `cv` is None.
    random_state : int, RandomState or None, default=None
        Draws the customers that are set aside, and the seeds of the regressor where
        its own are None. Pass an int for the same result in every fit.

    Attributes
    ----------
    estimator_ : estimator
        The fitted regressor.
    threshold_ : float
        The calibrated threshold, in units of the target: half the width of each
        interval, or for ``"cqr"`` what is added at both ends (see Notes for those at
        0), which may be negative. Infinite if there are too few calibration customers.
    n_calibration_rows_ : int
        Number of calibration rows.
    n_calibration_customers_ : int
        Number of their customers.
    n_features_in_ : int
        Number of columns that the regressor was fitted on.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names, if `X` was a DataFrame.

    Warns
    -----
    UserWarning
        If there are fewer calibration customers than ``level / (1 - level)``, so that
        all intervals are infinite.

        If `cv` has customers in both parts, and not all calibration cutoffs are after
        all training cutoffs, so that coverage of new customers may be lower.

    See Also
    --------
    ConformalClassifier : Prediction sets of classes.
    sklearn_seqcrm.model_selection.CutoffSplit : Calibration forward in time.

    Notes
    -----
    With ``f`` the prediction and ``q_a`` the predicted quantile of level ``a``, the
    conformity score of a calibration row is ``|y - f(x)|`` [1]_, or, for ``"cqr"``,
    ``max(q_lo(x) - y, y - q_hi(x))`` with ``lo = (1 - level) / 2`` and ``hi = 1 - lo``
    [2]_. The threshold ``t`` is the smallest score such that ``sum_c share_c(t) >=
    level * (n_customers + 1)``, where ``share_c`` is the share of the rows of
    calibration customer ``c`` with a score of at most ``t`` [3]_. Intervals are
    ``[f(x) - t, f(x) + t]`` and ``[q_lo(x) - t, q_hi(x) + t]``. With one row for each
    customer this is ordinary split conformal prediction.

    For ``"cqr"``, if no calibration target is negative and ``q_lo(x)`` is 0, as for
    customers who may buy nothing, intervals are ``[0, q_hi(x) + t]``, and the score is
    ``y - q_hi(x)``. Otherwise the rows with ``y = 0`` would have a score of 0, so that
    intervals could never be narrowed. The guarantee then holds for targets that cannot
    be negative, such as counts and spend before returns. If they can, coverage may be
    lower, by at most ``1 / (n_customers + 1)``: the probability that a new customer is
    the first with a negative target.

    **Guarantee**: if a new customer is exchangeable with the calibration customers, a
    row drawn at random from those of the new customer is covered with a probability of
    `confidence_level` or more, whatever the regressor and the distribution. The
    probability is over customers, calibration customers included: it does not hold for
    each customer or each group of them, and one calibration sample of ``n`` customers
    may cover about ``sqrt(level * (1 - level) / n)`` less or more. Rows of one customer
    need not be independent, as each customer counts once.

    **Time**: rows of next month are not exchangeable with those of last month if
    customers, prices or the season change, and then nothing is guaranteed. Customers
    set aside have the cutoffs of the training rows; ``cv=CutoffSplit(1, horizon=...)``
    calibrates on cutoffs after those of training, as the model is used, so that the
    threshold includes the loss of accuracy over one such step. Measure the coverage on
    the latest rows whose targets are known, and calibrate again when it drops.

    References
    ----------
    .. [1] J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani and L. Wasserman,
       "Distribution-Free Predictive Inference for Regression", Journal of the American
       Statistical Association 113, 2018. https://doi.org/10.1080/01621459.2017.1307116
    .. [2] Y. Romano, E. Patterson and E. Candès, "Conformalized Quantile Regression",
       Advances in Neural Information Processing Systems 32, 2019.
       https://doi.org/10.48550/arXiv.1905.03222
    .. [3] Y. Lee, R. F. Barber and R. Willett, "Distribution-free inference with
       hierarchical data", 2023. https://doi.org/10.48550/arXiv.2306.06342

    Examples
    --------
    >>> from sklearn_seqcrm.calibration import ConformalRegressor
    >>> from sklearn_seqcrm.datasets import make_order_returns
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.targets import future_sum
    >>> orders = make_order_returns(200, random_state=0).orders
    >>> log = EventLog(orders, customer="customer_id", time="timestamp")
    >>> X = log.snapshots(["2024-03-01"])
    >>> y = future_sum(X, "price", "90D")
    >>> model = ConformalRegressor(random_state=0).fit(X, y)
    >>> model.n_calibration_customers_
    37
    >>> model.predict_interval(X).shape
    (184, 2)
    """

    # Whether 0 stays the lower end of an interval whose lower quantile it is.
    _has_zero_as_end: bool
    _task: ClassVar[str] = "regression"
    _output: ClassVar[str] = "intervals"
    _parameter_constraints: dict[str, list[Any]] = {
        **BaseConformal._parameter_constraints,
        "conformity_score": [StrOptions({"absolute", "cqr"})],
    }

    def __init__(
        self,
        estimator: Estimator | None = None,
        *,
        confidence_level: float = 0.9,
        conformity_score: Literal["absolute", "cqr"] = "absolute",
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

    def predict_interval(self, X: pd.DataFrame) -> np.ndarray:
        """Predict an interval for the target of each row.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns of the training rows.

        Returns
        -------
        ndarray of shape (n, 2)
            Lower and upper ends, in the unit of `y`; an empty interval of ``"cqr"`` is
            its midpoint twice, or 0 twice. They may lie outside the possible range,
            such as below 0; clipping them there does not change the coverage.
        """
        check_is_fitted(self)
        lower, upper = self._bounds(X)
        is_fixed = self._ends_at_zero(lower) & np.isfinite(self.threshold_)
        # A negative threshold narrows the interval, at most to a point: its midpoint,
        # or the end that is fixed.
        step = np.maximum(self.threshold_, (lower - upper) / np.where(is_fixed, 1, 2))
        return np.column_stack([np.where(is_fixed, lower, lower - step), upper + step])

    def _check_estimator(self, estimator: Any) -> None:
        refuse_other_task(estimator, "regression", "ConformalRegressor", "estimator")
        if self.conformity_score == "cqr" and not hasattr(
            _searched(estimator), "predict_quantiles"
        ):
            lower, upper = _levels(self.confidence_level)
            raise TypeError(
                "conformity_score='cqr' needs an estimator with predict_quantiles, "
                "such as make_history_pipeline(LSTMRegressor(loss='quantile', quantile="
                f"{[lower, 0.5, upper]})); got {estimator!r}."
            )

    def _validate_target(self, y: Any) -> np.ndarray:
        return read_numbers(y)

    def _bounds(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the predictions beyond which scores are positive, of shape (n,)."""
        score, level = self._fitted_with
        if score == "cqr":
            fitted = _searched(self.estimator_)
            found = fitted.predict_quantiles(X, _levels(level))
            both = np.asarray(found, dtype="float64")
            return both[:, 0], both[:, 1]
        found = column_or_1d(self.estimator_.predict(X), dtype="float64")
        return found, found

    def _conformity_scores(self, X: Any, y: np.ndarray) -> np.ndarray:
        # |y - f| is max(f - y, y - f): one formula for both scores.
        lower, upper = self._bounds(X)
        score, _ = self._fitted_with
        self._has_zero_as_end = score == "cqr" and not (y < 0).any()
        below = np.where(self._ends_at_zero(lower), -np.inf, lower - y)
        return np.maximum(below, y - upper)

    def _ends_at_zero(self, lower: np.ndarray) -> np.ndarray:
        """Return whether 0 stays the lower end of each interval, shape (n,)."""
        return (lower == 0) & self._has_zero_as_end


def _levels(confidence_level: float) -> list[float]:
    """Return the two levels, rounded: .05 and not 0.04999999999999999."""
    lower = round((1 - confidence_level) / 2, 12)
    return [lower, round(1 - lower, 12)]


def _searched(estimator: Any) -> Any:
    """Return what a search found, or is to search, as it has no predict_quantiles."""
    is_frozen = isinstance(estimator, FrozenEstimator)
    search = estimator.estimator if is_frozen else estimator
    if not isinstance(search, BaseSearchCV):
        return estimator
    return getattr(search, "best_estimator_", search.estimator)
