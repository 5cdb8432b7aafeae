"""The hybrid that predicts numbers."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import read_numbers, with_attrs_of
from sklearn_seqcrm._meta_estimators import parameter_of
from sklearn_seqcrm._sklearn_compat import with_callbacks
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm.ensemble._base import NAMES, BaseHybrid, Rows
from sklearn_seqcrm.ensemble._blends import Blend, OfNumbers, OfQuantiles
from sklearn_seqcrm.ensemble._losses import common_quantile, loss_of
from sklearn_seqcrm.ensemble._parts import with_loss_of
from sklearn_seqcrm.ensemble._rate_regressor import RateRegressor

# Trees with a Poisson loss are checked on so many training rows, at most. The mean of
# their predictions is close to that of the target, except where their training
# diverges: then it was 3 to 7,000 times as high.
_MOST_CHECKED, _LARGEST_RATIO = 10_000, 2.0


class HybridRegressor(RegressorMixin, BaseHybrid):
    """Predict numbers by a blend of a network and boosted trees.

    Both read the same raw `X`. Their predictions are averaged, with a weight that is
    learned on held-out rows.

    Parameters
    ----------
    lstm : estimator or None, default=None
        Pipeline that reads raw `X` with a network, such as a `make_history_pipeline`;
        None for one of an `LSTMRegressor` with its defaults.
    boosting : estimator or None, default=None
        Pipeline that reads raw `X` without a network, such as one of
        `HistoryAggregator` and boosted trees of scikit-learn, LightGBM, XGBoost or
        CatBoost; None for one of `HistGradientBoostingRegressor` with the loss of
        `lstm`, see Notes.
    lstm_weight : float or None, default=None
        Weight of `lstm`, between 0 and 1; the weight of `boosting` is 1 minus that.
        Both are then fitted once, on all rows. None learns the weight.
    cv : int, splitter, iterable of splits, "latest" or None, default=None
        Splits on whose held-out rows the weight is learned. None holds out
        `validation_fraction` of the customers once, an int makes that many folds of
        customers. A splitter gets the customers as its groups. ``"latest"``: the rows
        at the latest cutoffs, by which the network stops; in about half of the time.
    validation_fraction : float, default=0.2
        Share of the customers that is held out, between 0 and 1, if `cv` is None.
    refit : bool, default=True
        Whether to fit both parts again, on all rows, after learning the weight. False
        keeps the parts that were fitted without the held-out rows, which takes less
        than half of the time.
    random_state : int, RandomState or None, default=None
        Seed of the held-out customers, and of every `random_state` in the parts that is
        None. Pass an int for reproducible results.

    Attributes
    ----------
    weights_ : dict of str to float
        Weights of ``"lstm"`` and ``"boosting"``; they sum to 1.
    losses_ : dict of str to float
        Mean squared error on the held-out rows, or mean pinball loss if both parts
        predict a quantile, of ``"lstm"``, ``"boosting"`` and ``"hybrid"``. The loss of
        the hybrid is slightly optimistic, because its weight was chosen on these rows;
        it may still be above that of a part, because weights are shrunken towards one
        half. Empty if no weight was learned.
    quantile_ : float or None
        The quantile that both parts predict, by their losses; None if they predict
        means.
    n_customers_ : int
        Number of customers of the held-out rows, 0 if no weight was learned.
    lstm_ : estimator
        The fitted network.
    boosting_ : estimator
        The fitted boosted trees.

    See Also
    --------
    make_hybrid : A hybrid whose parts are pipelines with parameters to search.
    HybridClassifier : The hybrid for classes, with notes on held-out rows.

    Notes
    -----
    Both parts should predict the same quantity: for counts, combine a network with
    ``loss="poisson"`` and boosted trees with ``loss="poisson"``. The default trees have
    ``loss="auto"``: in `fit`, the loss of the network or, for
    ``"zero_inflated_lognormal"``, the Poisson loss, whose predictions are never
    negative. So a search over ``lstm__estimator__loss`` changes both. With a Poisson
    loss, these trees are regularised; the training of scikit-learn's may diverge on
    targets with a heavy tail. If both parts are fitted by the loss of one quantile, or
    by absolute errors, the weight is learned by the pinball loss of that quantile. If
    they are fitted by losses of different quantities, `fit` raises an error.

    If the network has an `exposure`, the trees are wrapped in a `RateRegressor` of that
    column, unless they have an exposure of their own: they are fitted on rates, and
    both parts predict for the exposure of each row.

    The weight of the network minimises the squared error or the pinball loss on the
    held-out rows. Its prior, how long each `cv` takes, what ``cv="latest"`` and
    ``cv=CutoffSplit(1)`` need, `attrs` of `y` and weights of rows are described in the
    Notes of `HybridClassifier`.

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.ensemble import HybridRegressor
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMRegressor
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> journeys = make_customer_journeys(200, random_state=0)
    >>> log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    >>> X = log.attach(journeys.rows, cutoff="cutoff")
    >>> lstm = make_history_pipeline(LSTMRegressor(max_epochs=3))
    >>> model = HybridRegressor(lstm, random_state=0).fit(X, journeys.target)
    >>> list(model.losses_)
    ['lstm', 'boosting', 'hybrid']
    >>> model.predict(X).shape
    (200,)
    """

    _task: ClassVar[str] = "regression"

    def __getattr__(self, name: str) -> Any:
        """Explain the way to quantiles; Python calls it for attributes that lack."""
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        if name == "predict_quantiles":
            text += (
                ": most trees predict one quantile. Fit a hybrid for each, whose "
                "`predict` returns it: make_hybrid(LSTMRegressor(loss='quantile', "
                "quantile=q), HistGradientBoostingRegressor(loss='quantile', "
                "quantile=q))"
            )
        raise AttributeError(text)

    @with_callbacks
    def fit(
        self, X: pd.DataFrame, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learn the weight, and fit both parts.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with histories.
        y : array-like of shape (n,)
            Numbers.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows, not negative.

        Returns
        -------
        HybridRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If `y` is not finite, a parameter is out of range, the losses of the parts
            belong to different quantiles, or to a quantile and a mean, `refit` is False
            and there are several splits, or ``cv="latest"`` and the network does not
            stop forward in time.
        TypeError
            If `y` holds durations, datetimes or text, or `sample_weight` is given and a
            part does not take it.

        Warns
        -----
        UserWarning
            If the trees have a Poisson loss, and the mean of their predictions for the
            training rows is more than twice that of `y`: their training diverged.
        """
        return self._fit(X, y, sample_weight)

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Predict the target.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns that `fit` saw.

        Returns
        -------
        ndarray of shape (n,)
            Numbers in the unit of `y`.
        """
        check_is_fitted(self)
        return self._blended(X).blend(self.weights_["lstm"])

    def _read_target(self, y: Any) -> tuple[Any, np.ndarray]:
        target = read_numbers(y)
        return with_attrs_of(y, target), target

    def _adapt(self, parts: dict[str, Any]) -> dict[str, Any]:
        parts = parts | {"boosting": with_loss_of(parts["lstm"], parts["boosting"])}
        self.quantile_ = common_quantile(parts)
        # Trees have no offset, so they get rates.
        exposure, own = (parameter_of(parts[name], "exposure") for name in NAMES)
        if exposure is None or own is not None:
            return parts
        return parts | {"boosting": RateRegressor(parts["boosting"], exposure)}

    def _check_boosting(self, boosting: Any, rows: Rows) -> None:
        if "poisson" not in str(loss_of(boosting)):
            return
        n = len(rows.target)
        some = rows.take(np.linspace(0, n - 1, min(n, _MOST_CHECKED)).astype(int))
        predicted = np.average(self._output(boosting, some.X), weights=some.weight)
        # A few large targets may be among these rows, or only among the others.
        mean = max(np.average(one.target, weights=one.weight) for one in (rows, some))
        if predicted > _LARGEST_RATIO * mean > 0:
            way = "Pass a larger l2_regularization or a lower learning_rate"
            if self.boosting is not None:
                way += ", or boosting=None, whose trees are regularised"
            warn_user(
                f"The mean prediction of boosting is {predicted:,.3g} for training "
                f"rows whose mean target is {mean:,.3g}. Training with a Poisson loss "
                "may have diverged, as it does on targets with a heavy tail. "
                f"{way}."
            )

    def _output(self, part: Any, X: Any) -> np.ndarray:
        return np.asarray(part.predict(X), dtype="float64").ravel()

    def _blend(self, first: np.ndarray, second: np.ndarray) -> Blend:
        if self.quantile_ is None:
            return OfNumbers(first, second)
        return OfQuantiles(first, second, self.quantile_)
