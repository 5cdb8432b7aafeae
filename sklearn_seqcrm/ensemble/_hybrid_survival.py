"""The hybrid that predicts times of events."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._recurrent.objectives import Hazards, SurvivalPredictionsMixin
from sklearn_seqcrm._sklearn_compat import safe_indexing, with_callbacks
from sklearn_seqcrm.ensemble._base import NAMES, BaseHybrid
from sklearn_seqcrm.ensemble._blends import MIN_PROBABILITY, Blend, OfHazards
from sklearn_seqcrm.ensemble._parts import bins_of


class HybridSurvival(SurvivalPredictionsMixin, BaseHybrid):
    """Predict the time to the next event by a blend of a network and boosted trees.

    Both read the same raw `X`. The log odds of their hazards in each bin of time are
    averaged, with a weight that is learned on held-out customers.

    Parameters
    ----------
    lstm : estimator or None, default=None
        Pipeline that reads raw `X` with a network, such as a `make_history_pipeline` of
        `LSTMSurvival`; None for one with its defaults.
    boosting : estimator or None, default=None
        Pipeline that reads raw `X` without a network, such as one of
        `HistoryAggregator` and a `DiscreteTimeSurvival` of boosted trees; None for one
        of `HistGradientBoostingClassifier`.
    lstm_weight : float or None, default=None
        Weight of `lstm`, between 0 and 1; the weight of `boosting` is 1 minus that.
        Both are then fitted once, on all rows. None learns the weight.
    cv : int, splitter, iterable of splits or None, default=None
        Splits on whose held-out rows the weight is learned. None holds out
        `validation_fraction` of the customers once, an int makes that many folds of
        customers. A splitter gets the customers as its groups. ``"latest"`` is only for
        other hybrids.
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
    unique_times_ : ndarray of shape (n_bins + 1,)
        Edges of the bins, ascending from 0, by the parameter `bins` of the network; in
        days if the times of `y` were durations, and otherwise in their unit. If
        `refit` is False, they end at the longest time of the rows that the network was
        fitted on.
    event_types_ : ndarray of shape (n_kinds,), int64
        Kinds of the events before the last edge, ascending; ``[1]`` if events are
        booleans.
    weights_ : dict of str to float
        Weights of ``"lstm"`` and ``"boosting"``; they sum to 1.
    losses_ : dict of str to float
        Mean negative log likelihood of the held-out rows, of ``"lstm"``,
        ``"boosting"`` and ``"hybrid"``. The loss of the hybrid is slightly optimistic,
        because its weight was chosen on these rows; it may still be above that of a
        part, because weights are shrunken towards one half. Empty if no weight was
        learned.
    n_customers_ : int
        Number of held-out customers, 0 if no weight was learned.
    lstm_ : estimator
        The fitted network.
    boosting_ : estimator
        The fitted boosted trees.

    See Also
    --------
    make_hybrid : A hybrid whose parts are pipelines with parameters to search.
    LSTMSurvival : The network.
    DiscreteTimeSurvival : The survival model of the trees.
    HybridClassifier : The hybrid for classes, with notes on held-out rows.

    Notes
    -----
    With the hazards ``h1`` and ``h2`` of both parts in a bin and the weight ``w`` of
    the network, the odds of an event in the bin are those of ``h1`` to the power ``w``
    times those of ``h2`` to the power ``1 - w``; of several kinds, the odds of each
    kind against no event. `LSTMSurvival` has the formulas of everything else.

    The weight minimises the negative log likelihood of the held-out rows, with the
    prior of `HybridClassifier`. Bins after the longest time of the rows fitted on have
    the mean hazard of all rows there.

    Any estimator with the methods `predict_survival_function` and
    `predict_cumulative_incidence` of `LSTMSurvival` can be a part. Edges of its bins
    may differ from those of the network, but must reach as far.

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.ensemble import make_hybrid
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMSurvival
    >>> from sklearn_seqcrm.targets import time_to_next
    >>> journeys = make_customer_journeys(200, random_state=0)
    >>> log = EventLog(
    ...     journeys.events,
    ...     customer="customer_id",
    ...     time="timestamp",
    ...     observed_until=journeys.observed_until,
    ... )
    >>> X = log.attach(journeys.rows[["customer_id", "cutoff"]], cutoff="cutoff")
    >>> y = time_to_next(X, kinds="order", censored="keep")
    >>> model = make_hybrid(LSTMSurvival(max_epochs=3), random_state=0).fit(X, y)
    >>> list(model.weights_)
    ['lstm', 'boosting']
    >>> model.predict_proba_before(X, "30D").shape
    (200,)
    """

    _task: ClassVar[str] = "survival"
    # Trees would have to censor their rows as the first training of a network does.
    _learns_at_latest: ClassVar[bool] = False

    @with_callbacks
    def fit(
        self, X: pd.DataFrame, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learn the weight, and fit both parts.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with histories.
        y : DataFrame of two columns, structured array or array-like of shape (n,)
            As in `LSTMSurvival`: whether there was an event, or its kind, and the time
            to it or to censoring.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows, not negative.

        Returns
        -------
        HybridSurvival
            The fitted estimator.

        Raises
        ------
        ValueError
            If `y` has missing, infinite or negative times or no events, a parameter is
            out of range, the bins of a part end before those of the network, or `refit`
            is False and there are several splits.
        TypeError
            If events or times have an unsupported type, or `sample_weight` is given and
            a part does not take it.
        """
        self._fit(X, y, sample_weight)
        [X] = indexable(X)
        first = safe_indexing(X, [0])
        if self.losses_ and not self.refit:
            self._end_with_network(first, y, sample_weight)
        self._check_ends(first)
        return self

    # Predictions, see SurvivalPredictionsMixin ----------------------------------------

    @property
    def _fitted_objective(self) -> Hazards:
        check_is_fitted(self, "boosting_")
        return self._hazards

    def _combined(self, predict: Any, X: Any, *args: Any) -> np.ndarray:
        check_is_fitted(self, "boosting_")
        odds = self._blended(X).blend(self.weights_["lstm"])
        return predict(odds.reshape(len(odds), -1), *args)

    # Steps of fit, see BaseHybrid -----------------------------------------------------

    def _read_target(self, y: Any) -> tuple[Any, np.ndarray]:
        self._hazards = Hazards(bins_of(self._parts()["lstm"]))
        return y, self._hazards.read(y)

    def _read(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, bool]:
        # The bins depend on the weights, like those of the parts.
        rows, given = super()._read(X, y, sample_weight)
        self._hazards.learn(rows.target, rows.weight)
        target = self._hazards.encode(rows.target).astype("float64")
        self._start = self._hazards.start_bias(target, rows.weight)
        return rows._replace(target=target), given

    def _fit_obstacle(self, target: np.ndarray) -> str | None:
        # Rows that pass a bin without an event, and events of each kind.
        number = target[:, 1]
        n_kinds = len(np.unique(number[number > 0]))
        has_none = (number == 0) & (target[:, 0] > 0) | (target[:, 0] > 1)
        if n_kinds == len(self._hazards.kinds) and has_none.any():
            return None
        return "All rows have an event in the first bin: there is nothing to learn."

    def _output(self, part: Any, X: Any) -> np.ndarray:
        return self._log_odds(part, X, self._hazards.edges)

    def _held_out_output(self, part: Any, X: Any) -> np.ndarray:
        # Rows fitted on may end before the last edge.
        edges = self._hazards.edges
        n_known = int((edges <= _end_of(part, X)).sum()) - 1
        n_kinds, n_bins = len(self._hazards.kinds), len(edges) - 1
        odds = np.tile(self._start.reshape(n_kinds, n_bins), (len(X), 1, 1))
        odds[:, :, :n_known] = self._log_odds(part, X, edges[: n_known + 1])
        return odds

    def _log_odds(self, part: Any, X: Any, edges: np.ndarray) -> np.ndarray:
        """Return the log odds of each kind between edges, (n, n_kinds, n_bins)."""
        chances = np.asarray(_call(part, "predict_cumulative_incidence", X, edges))
        survival, came = chances[:, :1, :], chances[:, 1:, :]  # (n, 1 or n_kinds, ...)
        if came.shape[1] != (n_kinds := len(self._hazards.kinds)):
            raise ValueError(
                f"A part predicts {came.shape[1]} kinds of events, and y has "
                f"{n_kinds} before the last edge. Pass lstm_weight=0.5, or rows with "
                "more events of each kind."
            )
        before = np.maximum(survival[:, :, :-1], MIN_PROBABILITY)
        hazard = np.maximum(np.diff(came) / before, MIN_PROBABILITY)
        left = np.maximum(survival[:, :, 1:] / before, MIN_PROBABILITY)
        return np.log(hazard) - np.log(left)

    def _blend(self, first: np.ndarray, second: np.ndarray) -> Blend:
        return OfHazards(first, second)

    def _end_with_network(self, X: Any, y: Any, sample_weight: Any) -> None:
        """Cut the bins where those of the network end.

        The longest time may be that of a held-out row, which the parts were not fitted
        on.
        """
        end, edges = _end_of(self.lstm_, X), self._hazards.edges
        if end >= edges[-1]:
            return
        self._hazards = Hazards(np.append(edges[(edges > 0) & (edges < end)], end))
        weight = None if sample_weight is None else np.asarray(sample_weight)
        self._hazards.learn(self._hazards.read(y), weight)

    def _check_ends(self, X: Any) -> None:
        """Raise an error if a part has no predictions up to the last edge."""
        ends = {name: _end_of(getattr(self, f"{name}_"), X) for name in NAMES}
        if min(ends.values()) < self.unique_times_[-1]:
            listed = ", ".join(f"{name} {end:g}" for name, end in ends.items())
            raise ValueError(
                f"The bins of the parts must reach {self.unique_times_[-1]:g}, but "
                f"they end at: {listed}. Give both the same bins, for example "
                "LSTMSurvival(bins='7D') and DiscreteTimeSurvival(..., bins='7D')."
            )


def _end_of(part: Any, X: Any) -> float:
    """Return the time at which the predictions of a part end."""
    [curve] = _call(part, "predict_survival_function", safe_indexing(X, [0]))
    return float(curve.x[-1])


def _call(part: Any, method: str, X: Any, *args: Any) -> Any:
    """Call a method of a part.

    Pipelines and searches of scikit-learn lack the methods of survival models.
    """
    part = getattr(part, "best_estimator_", part)
    if isinstance(part, Pipeline) and not hasattr(part, method):
        part, X = part[-1], part[:-1].transform(X)
    return getattr(part, method)(X, *args)
