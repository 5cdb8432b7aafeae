"""Base class of the networks that predict effects of treatments."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t as student_t

from sklearn_seqcrm._columns import (
    ForwardSplit,
    NoForwardSplitError,
    customers_of,
    has_histories,
    refuse_shown_treatments,
)
from sklearn_seqcrm._recurrent.objectives import Objective, OutcomesByTreatment
from sklearn_seqcrm._sklearn_compat import Interval, check_sample_weight, with_callbacks
from sklearn_seqcrm._treatments import (
    encode_treatments,
    label_array,
    refuse_no_treatment,
)
from sklearn_seqcrm._typing import RowsLike
from sklearn_seqcrm.metrics import qini_auc_score
from sklearn_seqcrm.neural_network._base import BaseLSTM


class BaseLSTMUplift(BaseLSTM):
    """Treatments in `fit`, and predictions of their effects."""

    # Requested without a call of set_fit_request, because fit and score need it.
    __metadata_request__fit: ClassVar = {"treatment": True}
    __metadata_request__partial_fit: ClassVar = {"treatment": True}
    __metadata_request__score: ClassVar = {"treatment": True}

    _objective: OutcomesByTreatment
    control: Any
    confidence_level: float
    _parameter_constraints: dict[str, Any] = {
        **BaseLSTM._parameter_constraints,
        "control": "no_validation",  # any label
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
    }

    @abstractmethod
    def _of_one(self) -> Objective:
        """Return the objective of the outcomes of one treatment."""

    @property
    def treatments_(self) -> np.ndarray:
        """Labels of the treatments, the control first, shape (n_arms,)."""
        return self._learned("treatments_").treatments

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    @with_callbacks
    def fit(
        self,
        X: RowsLike,
        y: ArrayLike,
        *,
        treatment: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on rows with known treatments and outcomes.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`. Histories must end before the contact
            that is the treatment.
        y : array-like of shape (n,)
            Outcomes: of a classifier two classes, of a regressor numbers in the domain
            of the loss.
        treatment : array-like of shape (n,)
            Label of the treatment of each row, by position. It is required.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative. Labels of rows of weight 0
            do not count.

        Returns
        -------
        estimator
            The fitted estimator.

        Raises
        ------
        TypeError
            If histories are raw, a static is not a number, `y` is of another type,
            treatments other than the control mix text and other labels, `horizon` does
            not fit the times of the log, or `callbacks` has one that is not a callback
            of skorch.
        ValueError
            If treatments are not given or missing, all rows have the same, `control` is
            none of them, an event at the cutoff or a static shows them, `y` has missing
            values or is outside the domain of the loss, a parameter is out of range,
            ``validation="forward"`` is impossible, `pretrained` has other events or
            sizes, training diverges, or the machine lacks `device` or, to train,
            `precision`.
        """
        self._check_treatment(X, treatment, sample_weight, "fit")
        objective = OutcomesByTreatment(self._of_one(), self.control)
        return self._fit(X, y, sample_weight, objective, treatment)

    def _check_treatment(
        self, X: Any, treatment: Any, sample_weight: Any, method: str
    ) -> None:
        """Raise an error if a call of `method` cannot have these treatments."""
        self._check_parameters()
        refuse_no_treatment(treatment, f"{type(self).__name__}.{method}")
        self._ranks.attempt(
            lambda: self._refuse_shown_treatments(X, treatment, sample_weight)
        )

    def _refuse_shown_treatments(
        self, X: Any, treatment: Any, sample_weight: Any
    ) -> None:
        is_label = pd.api.types.is_hashable(self.control) and self.control is not pd.NA
        if not has_histories(X) or np.size(treatment) != len(X) or not is_label:
            return  # without histories, or another error follows
        weight = check_sample_weight(sample_weight, X)
        used = np.flatnonzero(weight > 0)
        rows = X.iloc[used]
        column = pd.Series(label_array(treatment).ravel()).iloc[used]
        # Not the labels of `fit`: a part of the rows may lack some.
        control = 0 if self.control is None else self.control
        others = [label for label in column.unique().tolist() if label != control]
        labels = np.array([control, *others], dtype=object)
        arms = encode_treatments(column, labels, rows)
        refuse_shown_treatments(rows, arms, labels, customers_of(rows))

    def _refuse_split(self, target: Any, split: ForwardSplit) -> None:
        # Without a row of a treatment, its head is not trained, or its loss not seen.
        codes = self._objective.strata(target)
        for rows, which in (
            (split.train, "rows whose label was known at"),
            (split.valid, "validation rows from"),
        ):
            absent = np.setdiff1d(np.arange(len(self.treatments_)), codes[rows])
            if len(absent):
                raise NoForwardSplitError(
                    f"{which} {split.since}, the first of the latest cutoffs, lack the "
                    f"treatments {self.treatments_[absent].tolist()}"
                )

    def predict(self, X: RowsLike) -> np.ndarray:
        """Predict the effect of each treatment against the control.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.

        Returns
        -------
        ndarray of shape (n,) or (n, n_arms - 1)
            Differences in the probability of ``classes_[1]``, or in the mean of `y` and
            in its unit. With several treatments, in the order of ``treatments_[1:]``.
        """
        return self._combined(self._fitted_objective.predict, X)

    def predict_outcomes(self, X: RowsLike) -> np.ndarray:
        """Predict the expected outcome under each treatment.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.

        Returns
        -------
        ndarray of shape (n, n_arms)
            Probabilities of ``classes_[1]``, or means of `y`, in the order of
            `treatments_`.
        """
        return self._combined(self._fitted_objective.outcomes, X)

    def predict_interval(self, X: RowsLike) -> np.ndarray:
        """Predict an interval for the effect of each treatment, from the networks.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.

        Returns
        -------
        ndarray of shape (n, 2) or (n, n_arms - 1, 2)
            Lower and upper ends, for a probability of `confidence_level`.

        Raises
        ------
        ValueError
            If there is one network only.

        Notes
        -----
        With the mean ``m`` and the standard deviation ``s`` of the effects of ``k``
        networks, the ends are ``m - q * s`` and ``m + q * s``, where ``q`` is the
        quantile of Student's t distribution with ``k - 1`` degrees of freedom.
        """
        each = self.predict_samples(X)
        if len(each) < 2:
            raise ValueError(
                "An interval needs two networks or more; fit with n_networks=5."
            )
        q = student_t.ppf((1 + self.confidence_level) / 2, len(each) - 1)
        mean, reach = each.mean(axis=0), q * each.std(axis=0, ddof=1)
        return np.stack([mean - reach, mean + reach], axis=-1)

    def predict_samples(self, X: RowsLike) -> np.ndarray:
        """Predict effects by each network.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.

        Returns
        -------
        ndarray of shape (n_networks, n) or (n_networks, n, n_arms - 1)
            Effects, whose mean `predict` returns, for
            ``choose_contacts(effect_samples=)``. They differ by seeds, not by samples
            of customers.
        """
        objective = self._fitted_objective
        return np.stack([objective.predict(one) for one in self._outputs(X)])

    def score(
        self,
        X: RowsLike,
        y: ArrayLike,
        *,
        treatment: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the Qini coefficient of the predicted effects.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        y : array-like of shape (n,)
            Outcomes.
        treatment : array-like of shape (n,)
            Label of the treatment of each row, by position. It is required.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows.

        Returns
        -------
        float
            Area between the Qini curve and the line of a random order, over that of the
            reference order; see `sklearn_seqcrm.metrics.qini_auc_score`. With several
            treatments, the mean over them, each with the control.

        Raises
        ------
        ValueError
            If treatments are not given or missing, or were not among those of `fit`.
        """
        refuse_no_treatment(treatment, f"{type(self).__name__}.score")
        assert treatment is not None
        classes = getattr(self, "classes_", None)
        return qini_auc_score(
            y,
            self.predict(X),
            treatment,
            treatments=self.treatments_.tolist(),
            sample_weight=sample_weight,
            pos_label=None if classes is None else classes[1],
        )
