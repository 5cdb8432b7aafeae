"""The predictions that follow from a hazard for each bin of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_consistent_length

from sklearn_seqcrm._columns import warn_other_order
from sklearn_seqcrm._ragged import concordance
from sklearn_seqcrm._recurrent.objectives._hazards import Hazards
from sklearn_seqcrm._recurrent.objectives._quantiles import check_quantiles
from sklearn_seqcrm._recurrent.objectives._survival_curve import (
    SurvivalCurve,
    hazard_at,
    time_at_hazard,
)
from sklearn_seqcrm._sklearn_compat import check_sample_weight
from sklearn_seqcrm._typing import Duration, RowsLike


class SurvivalPredictionsMixin:
    """Methods of survival models with a hazard for each bin of time.

    A class has `_fitted_objective`, the `Hazards` of its bins, and ``_combined(predict,
    X, *args)``, which calls a method of it with the outputs for `X`: the log odds of
    each kind in each bin against no event, shape (n, n_kinds * n_bins).
    """

    if TYPE_CHECKING:

        @property
        def _fitted_objective(self) -> Hazards: ...

        def _combined(self, predict: Any, X: Any, *args: Any) -> np.ndarray: ...

    def __sklearn_tags__(self) -> Any:
        """A target is needed, and times are not negative."""
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.target_tags.required = True
        tags.target_tags.positive_only = True
        return tags

    @property
    def unique_times_(self) -> np.ndarray:
        """Edges of the bins, ascending from 0, shape (n_bins + 1,)."""
        return self._fitted_objective.edges

    @property
    def event_types_(self) -> np.ndarray:
        """Kinds of the events before the last edge, shape (n_kinds,)."""
        return self._fitted_objective.kinds

    def predict(self, X: RowsLike) -> np.ndarray:
        """Predict risks, which are higher for earlier events.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            In the form that `fit` got.

        Returns
        -------
        ndarray of shape (n,)
            Probability that the event precedes that of a random training row; see the
            Notes of `LSTMSurvival`.
        """
        return self._combined(self._fitted_objective.predict, X)

    def predict_survival_function(
        self, X: RowsLike, return_array: bool = False
    ) -> np.ndarray:
        """Predict the probability of no event before each time.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            In the form that `fit` got.
        return_array : bool, default=False
            Whether to return values at `unique_times_` instead of functions.

        Returns
        -------
        ndarray of n SurvivalCurve, or of shape (n, n_bins + 1)
            Functions of time, called like the step functions of scikit-survival.

        Raises
        ------
        TypeError
            If `return_array` is not a boolean. For values at given times, call the
            curves.
        """
        check_return_array(return_array)
        hazard = self._cumulative_hazard(X)
        return np.exp(-hazard) if return_array else self._curves(hazard, True)

    def predict_cumulative_hazard_function(
        self, X: RowsLike, return_array: bool = False
    ) -> np.ndarray:
        """Predict the cumulative hazard at each time.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            In the form that `fit` got.
        return_array : bool, default=False
            Whether to return values at `unique_times_` instead of functions.

        Returns
        -------
        ndarray of n SurvivalCurve, or of shape (n, n_bins + 1)
            Functions of time, called like the step functions of scikit-survival.

        Raises
        ------
        TypeError
            If `return_array` is not a boolean. For values at given times, call the
            curves.
        """
        check_return_array(return_array)
        hazard = self._cumulative_hazard(X)
        return hazard if return_array else self._curves(hazard, False)

    def predict_cumulative_incidence(
        self, X: RowsLike, times: Duration | ArrayLike | None = None
    ) -> np.ndarray:
        """Predict the probabilities of no event and of each kind before each time.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            In the form that `fit` got.
        times : duration, float, array-like of shape (n_times,) or None, default=None
            One time or several, as durations or in the unit of `unique_times_`, which
            are the default.

        Returns
        -------
        ndarray of shape (n, 1 + n_kinds, n_times)
            Probability of no event first, then of each kind in the order of
            `event_types_`, as in the library ``hazardous``. At each time they add up
            to 1.

        Raises
        ------
        TypeError
            If times are durations, and the times of `y` were numbers.
        ValueError
            If a time is missing, negative or not a length of time, or lies beyond the
            last edge.
        """
        objective = self._fitted_objective
        at = None if times is None else objective.times(times, "times")
        return self._combined(objective.incidence, X, at)

    def predict_quantile(self, X: RowsLike, q: ArrayLike = 0.5) -> np.ndarray:
        """Predict the time by which an event has occurred with some probability.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            In the form that `fit` got.
        q : float or array-like of shape (n_q,), default=0.5
            Probabilities, strictly between 0 and 1. The default gives the median time.

        Returns
        -------
        ndarray of shape (n,) or (n, n_q)
            Times in the unit of `unique_times_`; infinite if the probability is not
            reached by the last edge.

        Raises
        ------
        ValueError
            If `q` is empty or not strictly between 0 and 1.
        """
        probabilities = check_quantiles(q, any_order=True)  # (n_q,)
        hazard, edges = self._cumulative_hazard(X), self._fitted_objective.edges
        # S(t) = 1 - q where H(t) = -log(1 - q).
        target_hazards = -np.log1p(-probabilities)  # (n_q,)
        times = [time_at_hazard(hazard, edges, one) for one in target_hazards]
        return np.column_stack(times) if np.ndim(q) else times[0]

    def predict_proba_before(
        self, X: RowsLike, horizon: Duration | ArrayLike
    ) -> np.ndarray:
        """Predict the probability of an event before the horizon.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            In the form that `fit` got.
        horizon : duration, float or array-like of shape (n,)
            Length of time from the cutoff on, for all rows or for each: durations, such
            as ``"14D"``, or numbers in the unit of `unique_times_`. A Series is matched
            by position, with a warning if it has the index of `X` in another order.

        Returns
        -------
        ndarray of shape (n,)
            Probabilities.

        Raises
        ------
        TypeError
            If `horizon` is a duration, and the times of `y` were numbers.
        ValueError
            If it lies beyond the last edge, or the number of horizons is neither 1 nor
            n.
        """
        warn_other_order(X, horizon, "horizon")
        hazard, objective = self._cumulative_hazard(X), self._fitted_objective
        if isinstance(horizon, str) or not np.iterable(horizon):
            times = objective.times([horizon], "horizon", len(hazard))
        else:
            times = objective.times(horizon, "horizon")
        if len(times) != len(hazard):
            raise ValueError(
                f"horizon must be one for all rows, or one for each; got {len(times)} "
                f"for {len(hazard)} rows."
            )
        # 1 - S(t), without the loss of digits for small hazards.
        own = hazard_at(hazard, objective.edges, times, np.arange(len(times)))
        return -np.expm1(-own)

    def score(
        self, X: RowsLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return Harrell's concordance index (ties in risk count 1/2).

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            In the form that `fit` got.
        y : DataFrame of two columns, structured array or array-like of shape (n,)
            As in `fit`.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows; a pair has their product.

        Returns
        -------
        float
            Share of comparable pairs of rows in which the row with the earlier event
            has the higher risk; 0.5 for constant risks.

        Raises
        ------
        ValueError
            If no pair of rows is comparable, for example without events.

        Notes
        -----
        Equal to ``concordance_index_censored`` of scikit-survival, in time
        O(n log n).
        """
        # A higher risk must go with an earlier event, as in scikit-survival.
        warn_other_order(X, y)
        warn_other_order(X, sample_weight, "sample_weight")
        risk = self.predict(X)
        targets = self._fitted_objective.read_targets(y)
        check_consistent_length(risk, targets.time)
        weight = None
        if sample_weight is not None:
            weight = check_sample_weight(sample_weight, risk, ensure_non_negative=True)
        return concordance(targets.kind > 0, targets.time, risk, weight)

    def _cumulative_hazard(self, X: Any) -> np.ndarray:
        """Return the hazard of any event up to each edge, shape (n, n_bins + 1)."""
        return self._combined(self._fitted_objective.cumulative_hazard, X)

    def _curves(self, hazard: np.ndarray, survival: bool) -> np.ndarray:
        """Return a function of time for each row, shape (n,)."""
        edges, in_days = self._fitted_objective.edges, self._fitted_objective.in_days
        curves = [SurvivalCurve(edges, row, survival, in_days) for row in hazard]
        return np.array(curves, dtype=object)


def check_return_array(return_array: Any) -> None:
    """Raise a TypeError if it is not a boolean; times would be taken for True."""
    if not isinstance(return_array, bool | np.bool_):
        raise TypeError(
            f"return_array must be True or False; got {return_array!r}. Curves take "
            "times: [curve(times) for curve in model.predict_survival_function(X)]."
        )
