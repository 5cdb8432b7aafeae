"""Prediction methods of `StreamingScorer`, delegated to the estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if

from sklearn_seqcrm._typing import Duration, Time
from sklearn_seqcrm.serving._streaming._fitted_pipeline import FittedPipeline


def _if_estimator_has(method: str) -> Any:
    """Make a method available only if the estimator of the pipeline has it."""
    # As in scikit-learn: hasattr(scorer, "predict_proba") is False for a regressor.
    return available_if(lambda scorer: hasattr(scorer._parts.estimator, method))


class PredictionsMixin:
    """Prediction methods for rows; each is available if the estimator has it."""

    _parts: FittedPipeline
    # Calls a method of the estimator with the outputs of its networks for rows:
    # _predict(method, rows, cutoff, *args).
    _predict: Callable[..., Any]

    def predict(self, rows: pd.DataFrame, cutoff: Time | None = None) -> np.ndarray:
        """Predict the target of rows, their risks or the effects of treatments.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            The customer column and the statics that the pipeline was fitted on, without
            histories. Customers without events have an empty history.
        cutoff : str, datetime, number or None, default=None
            Column of `rows` with each row's cutoff, or one cutoff for all rows. None:
            the time of the latest event of any customer; events at that time are
            included.

        Returns
        -------
        ndarray of shape (n,) or (n, k)
            As `predict` of the pipeline returns it, for one target or k targets; risks
            of `LSTMSurvival`, effects of `LSTMUpliftClassifier` and
            `LSTMUpliftRegressor`.

        Raises
        ------
        KeyError
            If `rows` lacks the customer column.
        TypeError
            If `rows` is not a DataFrame, or the type of its customer ids differs from
            that of the events.
        ValueError
            If a static column is missing, or a cutoff lies before the last event of its
            customer, or, without `allow_exact_matches`, at that event.
        """
        return self._predict("predict", rows, cutoff)

    @_if_estimator_has("predict_proba")
    def predict_proba(
        self, rows: pd.DataFrame, cutoff: Time | None = None
    ) -> np.ndarray:
        """Predict the probability of each class, or of each of several labels.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            As in `predict`.
        cutoff : str, datetime, number or None, default=None
            As in `predict`.

        Returns
        -------
        ndarray of shape (n, n_classes) or (n, k)
            As `predict_proba` of the pipeline returns it. With k labels,
            each column has the probability of one label.
        """
        return self._predict("predict_proba", rows, cutoff)

    @_if_estimator_has("predict_outcomes")
    def predict_outcomes(
        self, rows: pd.DataFrame, cutoff: Time | None = None
    ) -> np.ndarray:
        """Predict the expected outcome under each treatment.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            As in `predict`.
        cutoff : str, datetime, number or None, default=None
            As in `predict`.

        Returns
        -------
        ndarray of shape (n, n_arms)
            As `LSTMUpliftClassifier.predict_outcomes` returns it.
        """
        return self._predict("predict_outcomes", rows, cutoff)

    @_if_estimator_has("predict_interval")
    def predict_interval(
        self, rows: pd.DataFrame, cutoff: Time | None = None
    ) -> np.ndarray:
        """Predict an interval for the effect of each treatment.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            As in `predict`.
        cutoff : str, datetime, number or None, default=None
            As in `predict`.

        Returns
        -------
        ndarray of shape (n, 2) or (n, n_arms - 1, 2)
            As `LSTMUpliftClassifier.predict_interval` returns it.
        """
        return self._predict("predict_interval", rows, cutoff)

    @_if_estimator_has("predict_samples")
    def predict_samples(
        self, rows: pd.DataFrame, cutoff: Time | None = None
    ) -> np.ndarray:
        """Predict effects by each network.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            As in `predict`.
        cutoff : str, datetime, number or None, default=None
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_networks, n) or (n_networks, n, n_arms - 1)
            As `LSTMUpliftClassifier.predict_samples` returns it.
        """
        return self._predict("predict_samples", rows, cutoff)

    @_if_estimator_has("predict_quantiles")
    def predict_quantiles(
        self,
        rows: pd.DataFrame,
        cutoff: Time | None = None,
        quantiles: ArrayLike | None = None,
    ) -> np.ndarray:
        """Predict quantiles of the target.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            As in `predict`.
        cutoff : str, datetime, number or None, default=None
            As in `predict`.
        quantiles : float, array-like of shape (q,) or None, default=None
            As in `LSTMRegressor.predict_quantiles`.

        Returns
        -------
        ndarray of shape (n, q) or (n, k, q)
            As `LSTMRegressor.predict_quantiles` returns it.
        """
        return self._predict("predict_quantiles", rows, cutoff, quantiles)

    @_if_estimator_has("predict_proba_zero")
    def predict_proba_zero(
        self, rows: pd.DataFrame, cutoff: Time | None = None
    ) -> np.ndarray:
        """Predict the probability that the target is 0.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            As in `predict`.
        cutoff : str, datetime, number or None, default=None
            As in `predict`.

        Returns
        -------
        ndarray of shape (n,) or (n, k)
            As `LSTMRegressor.predict_proba_zero` returns it.
        """
        return self._predict("predict_proba_zero", rows, cutoff)

    @_if_estimator_has("predict_proba_before")
    def predict_proba_before(
        self,
        rows: pd.DataFrame,
        cutoff: Time | None = None,
        *,
        horizon: Duration | ArrayLike,
    ) -> np.ndarray:
        """Predict the probability of an event before the horizon.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            As in `predict`.
        cutoff : str, datetime, number or None, default=None
            As in `predict`.
        horizon : duration, float or array-like of shape (n,)
            Length of time from the cutoff on, as in
            `LSTMSurvival.predict_proba_before`.

        Returns
        -------
        ndarray of shape (n,)
            Probabilities.
        """
        return self._predict("predict_proba_before", rows, cutoff, horizon)

    @_if_estimator_has("predict_survival_function")
    def predict_survival_function(
        self,
        rows: pd.DataFrame,
        cutoff: Time | None = None,
        *,
        return_array: bool = False,
    ) -> np.ndarray:
        """Predict the probability of no event before each time.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            As in `predict`.
        cutoff : str, datetime, number or None, default=None
            As in `predict`.
        return_array : bool, default=False
            Whether to return values at `unique_times_` instead of functions.

        Returns
        -------
        ndarray of n SurvivalCurve, or of shape (n, n_bins + 1)
            Functions of the time since the cutoff, or their values, as
            `LSTMSurvival.predict_survival_function` returns them.
        """
        return self._predict("predict_survival_function", rows, cutoff, return_array)

    @_if_estimator_has("predict_cumulative_hazard_function")
    def predict_cumulative_hazard_function(
        self,
        rows: pd.DataFrame,
        cutoff: Time | None = None,
        *,
        return_array: bool = False,
    ) -> np.ndarray:
        """Predict the cumulative hazard at each time.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            As in `predict`.
        cutoff : str, datetime, number or None, default=None
            As in `predict`.
        return_array : bool, default=False
            Whether to return values at `unique_times_` instead of functions.

        Returns
        -------
        ndarray of n SurvivalCurve, or of shape (n, n_bins + 1)
            Functions of the time since the cutoff, or their values, as
            `LSTMSurvival.predict_cumulative_hazard_function` returns them.
        """
        method = "predict_cumulative_hazard_function"
        return self._predict(method, rows, cutoff, return_array)

    @_if_estimator_has("predict_cumulative_incidence")
    def predict_cumulative_incidence(
        self,
        rows: pd.DataFrame,
        cutoff: Time | None = None,
        *,
        times: Duration | ArrayLike | None = None,
    ) -> np.ndarray:
        """Predict the probabilities of no event and of each kind before each time.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            As in `predict`.
        cutoff : str, datetime, number or None, default=None
            As in `predict`.
        times : duration, float, array-like of shape (n_times,) or None, default=None
            As in `LSTMSurvival.predict_cumulative_incidence`.

        Returns
        -------
        ndarray of shape (n, 1 + n_kinds, n_times)
            Probability of no event first, then of each kind in the order of
            `event_types_`. At each time they add up to 1.
        """
        return self._predict("predict_cumulative_incidence", rows, cutoff, times)

    @_if_estimator_has("predict_quantile")
    def predict_quantile(
        self, rows: pd.DataFrame, cutoff: Time | None = None, *, q: ArrayLike = 0.5
    ) -> np.ndarray:
        """Predict the time by which an event has occurred with some probability.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            As in `predict`.
        cutoff : str, datetime, number or None, default=None
            As in `predict`.
        q : float or array-like of shape (n_q,), default=0.5
            Probabilities, strictly between 0 and 1. The default gives the median time.

        Returns
        -------
        ndarray of shape (n,) or (n, n_q)
            Times in the unit of `unique_times_`; infinite if the probability is not
            reached by the last edge.
        """
        return self._predict("predict_quantile", rows, cutoff, q)
