"""A regressor of rates, for targets that grow with the exposure of their row."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.metadata_routing import MetadataRouter
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from sklearn_seqcrm._columns import as_pandas, warn_other_order, with_attrs_of
from sklearn_seqcrm._durations import as_floats, as_quantities, refuse_new_durations
from sklearn_seqcrm._meta_estimators import (
    fit_weighted,
    innermost,
    refuse_other_task,
    route_fits,
    with_inputs_of,
)
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    read_sample_weight,
    refuse_no_target,
    safe_indexing,
)
from sklearn_seqcrm._small_trees import default_trees
from sklearn_seqcrm._typing import Estimator
from sklearn_seqcrm.ensemble._losses import loss_of


class RateRegressor(RegressorMixin, BaseEstimator):
    """Fit a regressor on rates, and predict for the exposure of each row.

    A count grows with the length of its window, the exposure. The regressor learns the
    rate, the target divided by the exposure, with the exposure as weight, and a
    prediction is the predicted rate times the exposure of its row. This gives any
    regressor, such as boosted trees, what ``LSTMRegressor(exposure=...)`` has.
    Exposures are in units of their mean, so that their own unit does not matter.

    Parameters
    ----------
    regressor : estimator or None, default=None
        Regressor, or pipeline of one, whose `fit` takes `sample_weight`. None for the
        small trees of `make_hybrid`, of scikit-learn's histogram-based gradient
        boosting.
    exposure : str, int or None, default=None
        Name of the column of `X` with the exposure of each row, numbers larger than 0
        or durations; after durations in `fit`, numbers are days. `regressor` does not
        get it: a tree that splits by the length of the window confounds it with the
        cutoffs that have such windows. None: all rows have the same exposure.

    Attributes
    ----------
    regressor_ : estimator
        The fitted regressor of rates, which are those of the mean exposure.
    n_features_in_ : int
        Number of columns seen in `fit`, with the exposure.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names, if `X` was a DataFrame with text as names.

    See Also
    --------
    LSTMRegressor : The network with an exposure.
    HybridRegressor : Wraps its trees in one if the network has an exposure.
    stack_horizons : Makes rows with an exposure of targets on several horizons.

    Notes
    -----
    For counts, the Poisson likelihood of ``y`` with mean ``e * rate`` is up to a
    constant that of ``y / e`` with the weight ``e``, so that trees with a Poisson loss
    are fitted exactly as by an offset ``log(e)``. With squared errors the same weights
    are efficient if the variance is proportional to the exposure. The gamma deviance
    depends on ``y / (e * rate)`` alone: weights are not multiplied by the exposure if
    the name of the regressor or of its loss contains "gamma".

    Means are proportional to the exposure. Networks learn a slope for deviations; here,
    add the column a second time under another name, for predictions within the range of
    known exposures.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.linear_model import PoissonRegressor
    >>> from sklearn_seqcrm.ensemble import RateRegressor
    >>> X = pd.DataFrame({"is_member": [0, 0, 1, 1], "days": [10, 30, 10, 30]})
    >>> y = [1, 3, 2, 6]
    >>> model = RateRegressor(PoissonRegressor(alpha=0), exposure="days").fit(X, y)
    >>> model.predict(X.assign(days=90)).round(1).tolist()
    [9.0, 9.0, 18.0, 18.0]
    """

    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "regressor": [object],
        "exposure": [str, Integral, None],
    }

    def __init__(
        self, regressor: Estimator | None = None, exposure: str | int | None = None
    ) -> None:
        self.regressor = regressor
        self.exposure = exposure

    def fit(
        self, X: pd.DataFrame, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Fit the regressor on rates.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the column of exposures.
        y : array-like of shape (n,)
            Targets, for the exposure of their row.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows, not negative.

        Returns
        -------
        RateRegressor
            The fitted estimator.

        Raises
        ------
        TypeError
            If `X` is no DataFrame, exposures are neither numbers nor durations, `y`
            holds durations, datetimes or text, or the regressor takes no weights.
        ValueError
            If `y` is None, the column of exposures is missing or the only one,
            exposures of rows with a weight are missing or not larger than 0, or all
            weights are 0.
        """
        self._validate_params()
        refuse_other_task(self._inner(), "regression", "RateRegressor", "regressor")
        refuse_no_target(self, y)
        warn_other_order(X, y)
        warn_other_order(X, sample_weight, "sample_weight")
        X, targets = self._table(X), as_quantities(column_or_1d(y, warn=True))
        check_consistent_length(X, targets)
        weight: Any = None
        if sample_weight is not None or self.exposure is not None:
            weight = read_sample_weight(sample_weight, X)
        validate_data(self, X, skip_check_array=True)  # n_features_in_ and names
        if self.exposure is not None:
            # The exposure of a row of weight 0 may be 0, and has no influence.
            used = np.flatnonzero(weight)
            X, y = safe_indexing(X, used), safe_indexing(y, used)
            targets, weight = targets[used], weight[used]
        others, exposure, self._in_days = self._split(X)
        if exposure is not None:
            # Boosted trees split no leaf of too small second derivatives, as those of
            # rates per second are. So rates are those of the mean exposure.
            self._mean_exposure = np.average(exposure, weights=weight)
            relative = exposure / self._mean_exposure
            targets = targets / relative
            if not _has_gamma_loss(self._inner()):
                # The sum stays, because regularisation of trees depends on it.
                weight = weight * relative
        rates = with_attrs_of(y, targets)
        self.regressor_ = fit_weighted(self._inner(), others, rates, weight)
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Predict the target for the exposure of each row.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns that `fit` saw.

        Returns
        -------
        ndarray of shape (n,)
            Rates times exposures.

        Raises
        ------
        TypeError
            If `X` is no DataFrame, or exposures are neither numbers nor durations, or
            durations after numbers in `fit`.
        ValueError
            If the column is missing, or exposures are missing or not larger than 0.
        """
        check_is_fitted(self)
        others, exposure, in_days = self._split(self._table(X))
        name = f"The exposures {self.exposure!r}"
        refuse_new_durations(in_days, self._in_days, name)
        rates = np.asarray(self.regressor_.predict(others), dtype="float64").ravel()
        return rates if exposure is None else rates * (exposure / self._mean_exposure)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the metadata that the `fit` of the regressor requests.

        Returns
        -------
        MetadataRouter
            The routing.
        """
        router = MetadataRouter(owner=type(self).__name__)
        return route_fits(router, {"regressor": self._inner()})

    def __sklearn_tags__(self) -> Any:
        return with_inputs_of(super().__sklearn_tags__(), [self._inner()])

    def _inner(self) -> Any:
        """Return the regressor, not fitted; the default for None, with a seed."""
        if self.regressor is None:
            return default_trees("regression").set_params(random_state=0)
        return self.regressor

    def _table(self, X: Any) -> Any:
        """Return X as pandas, where a column of exposures must be taken out."""
        return X if self.exposure is None else as_pandas(X)

    def _split(self, X: Any) -> tuple[Any, np.ndarray | None, bool]:
        """Split X into the other columns and the exposures, (n,), if there are any.

        Returns also whether these were durations.
        """
        name = self.exposure
        if name is None:
            return X, None, False
        if not isinstance(X, pd.DataFrame):
            raise TypeError(
                f"exposure={name!r} is the name of a column, so that X must be a "
                f"DataFrame; got {type(X).__name__}."
            )
        if name not in X:
            raise ValueError(
                f"X has no column {name!r} to be the exposure; its columns are "
                f"{list(X)}."
            )
        others = X.drop(columns=name)
        if not others.shape[1]:
            raise ValueError(
                f"X has no column besides the exposure {name!r}. For one rate of all "
                "rows, add a column of ones: X.assign(one=1)."
            )
        exposure, in_days = as_floats(X[name], f"The exposure {name!r}")
        bad = ~((exposure > 0) & np.isfinite(exposure))
        if bad.any():
            raise ValueError(
                f"Exposures must be larger than 0 and finite; {bad.sum()} of "
                f"{len(bad)} in {name!r} are not, such as {X[name][bad].iloc[0]}. "
                "Leave those rows out."
            )
        return others, exposure, in_days


def _has_gamma_loss(regressor: Any) -> bool:
    name = type(innermost(regressor)).__name__.lower()
    return "gamma" in (loss_of(regressor) or name)
