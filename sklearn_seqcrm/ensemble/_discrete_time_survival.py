"""Survival times by a classifier of person-periods."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.utils import check_array, check_random_state
from sklearn.utils.metadata_routing import MetadataRouter
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from sklearn_seqcrm._columns import as_pandas, warn_other_order
from sklearn_seqcrm._meta_estimators import (
    fit_weighted,
    refuse_other_task,
    route_fits,
    seeded,
    with_inputs_of,
)
from sklearn_seqcrm._recurrent.objectives import BINS, Hazards, SurvivalPredictionsMixin
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    Interval,
    read_sample_weight,
    refuse_no_target,
    safe_indexing,
)
from sklearn_seqcrm._small_trees import default_trees
from sklearn_seqcrm._store import unique_names
from sklearn_seqcrm._typing import Duration, Estimator
from sklearn_seqcrm.ensemble._blends import log_probabilities

# Rows of person-periods that are predicted at once.
_MOST_AT_ONCE = 200_000


class PersonPeriods(NamedTuple):
    """A row for each row of X and each bin that it entered without an event."""

    row: np.ndarray  # (n_periods,), int: position of the row of X
    bin: np.ndarray  # (n_periods,), int: number of the bin
    # (n_periods,), int: number of the event in the bin, from 1 on; 0 for none.
    label: np.ndarray
    # (n_periods,): share of the bin that was observed: less than 1 in the bin of a
    # censoring time.
    share: np.ndarray

    @classmethod
    def of(cls, passed: np.ndarray, number: np.ndarray) -> PersonPeriods:
        """Return the periods of rows, given the bins that they passed.

        `passed` (n,) is the number of bins that were observed, the last one in part if
        censored, and `number` (n,) that of the event in the last of them, 0 if
        censored.
        """
        n_bins = np.ceil(passed).astype("int64")
        row = np.repeat(np.arange(len(passed)), n_bins)
        bin_ = np.arange(len(row)) - np.repeat(np.cumsum(n_bins) - n_bins, n_bins)
        is_last = bin_ == n_bins[row] - 1
        share = np.minimum(passed[row] - bin_, 1.0)
        return cls(row, bin_, np.where(is_last, number[row], 0), share)

    def take(self, places: np.ndarray) -> PersonPeriods:
        """Return some of the periods."""
        return PersonPeriods(*(one[places] for one in self))


class DiscreteTimeSurvival(SurvivalPredictionsMixin, BaseEstimator):
    """Predict the time to an event by a classifier of person-periods.

    Time is cut into bins, and each row is repeated for each bin that it entered without
    an event. The classifier predicts the hazard, the probability of an event in the
    bin, given the row and the bin. This gives any classifier, such as boosted trees,
    the likelihood and the predictions of `LSTMSurvival`.

    Parameters
    ----------
    classifier : estimator or None, default=None
        Classifier of tables with `predict_proba`, whose `fit` takes `sample_weight`.
        None for the trees of `make_hybrid`, with 5 leaves.
    bins : int, duration or array-like, default=20
        Bins of time within which the hazard is constant, as in `LSTMSurvival`.
    max_rows : int or None, default=200_000
        Most person-periods without an event to fit on. Of more, a random choice is
        taken, with weights that make up for it. None: all.
    random_state : int, RandomState or None, default=None
        Seed of this choice, and of the classifier if its own is None.

    Attributes
    ----------
    classifier_ : estimator
        The fitted classifier of person-periods. Its last column is the number of the
        bin. A `DummyClassifier` if all rows have an event in the first bin, so that
        there is one class.
    unique_times_ : ndarray of shape (n_bins + 1,)
        Edges of the bins, ascending from 0, in days if the times of `y` were durations,
        and otherwise in their unit.
    event_types_ : ndarray of shape (n_kinds,), int64
        Kinds of the events before the last edge, ascending; ``[1]`` if events are
        booleans.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names, if `X` was a DataFrame with text as names.

    See Also
    --------
    LSTMSurvival : The network with the same likelihood.
    HybridSurvival : Blends both.
    time_to_next : Makes `y`.

    Notes
    -----
    With the hazard ``h[k, j]`` of kind ``k`` in bin ``j``, the likelihood of a row (see
    `LSTMSurvival`) is the product over its person-periods of ``h[k, j]`` with an event
    of kind ``k`` and ``(1 - h[j]) ** f`` without, where ``f`` is the observed share of
    the bin. So the logarithmic loss of the classifier, with weights ``f``, is the
    negative log likelihood of the survival model [1]_. Hazards need not be
    proportional, because the number of the bin is a column.

    In a pipeline of scikit-learn, such as one with `HistoryAggregator`, only `predict`
    and `score` take raw rows. For the other methods, transform rows before:
    ``model[-1].predict_quantile(model[:-1].transform(X))``.

    A random choice among the person-periods without an event, with the inverse of its
    probability as weight, leaves the expected loss as it is.

    References
    ----------
    .. [1] Singer, J. D. and Willett, J. B. (1993). It's about time: Using discrete-time
       survival analysis to study duration and the timing of events. Journal of
       Educational Statistics 18, 155-195. https://doi.org/10.3102/10769986018002155

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from sklearn_seqcrm.ensemble import DiscreteTimeSurvival
    >>> rng = np.random.default_rng(0)
    >>> is_slow = rng.integers(2, size=400)
    >>> time = rng.exponential(np.where(is_slow, 20.0, 5.0))
    >>> y = np.array(
    ...     list(zip(time < 30, time.clip(max=30))),
    ...     dtype=[("event", bool), ("time", float)],
    ... )
    >>> model = DiscreteTimeSurvival(HistGradientBoostingClassifier(random_state=0))
    >>> model = model.fit(is_slow[:, None], y)
    >>> model.predict_proba_before([[0], [1]], 10).round(1).tolist()
    [0.9, 0.4]
    """

    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "classifier": [object],
        "bins": BINS,
        "max_rows": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        classifier: Estimator | None = None,
        *,
        bins: int | Duration | ArrayLike = 20,
        max_rows: int | None = 200_000,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.classifier = classifier
        self.bins = bins
        self.max_rows = max_rows
        self.random_state = random_state

    def fit(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit the classifier on person-periods.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, n_columns)
            Features that the classifier takes.
        y : DataFrame of two columns, structured array or array-like of shape (n,)
            As in `LSTMSurvival`: whether there was an event, or its kind, and the time
            to it or to censoring.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows, not negative.

        Returns
        -------
        DiscreteTimeSurvival
            The fitted estimator.

        Raises
        ------
        TypeError
            If events or times have an unsupported type, or `sample_weight` is not
            accepted by the classifier.
        ValueError
            If `y` has missing, infinite or negative times, no events, or two
            columns of which either may be the event, or a parameter is out of range.
        """
        self._validate_params()
        owner = "DiscreteTimeSurvival"
        refuse_other_task(self._inner(), "classification", owner, "classifier")
        refuse_no_target(self, y)
        warn_other_order(X, y)
        warn_other_order(X, sample_weight, "sample_weight")
        X = self._table(X, reset=True)
        objective = Hazards(self.bins)
        targets = objective.read(y)
        check_consistent_length(X, targets)
        weight = read_sample_weight(sample_weight, X)
        used = np.flatnonzero(weight)
        X, targets, weight = safe_indexing(X, used), targets[used], weight[used]
        objective.learn(targets, weight)
        passed, number = objective.encode(targets).T
        periods = PersonPeriods.of(passed, number.astype("int64"))
        rng = check_random_state(self.random_state)
        periods, factor = self._choice(periods, rng)
        weight = weight[periods.row] * periods.share * factor
        table = _with_bins(X, periods.row, periods.bin)
        classifier = seeded(self._inner(), rng)
        if (periods.label == periods.label[0]).all():
            # All events come in the first bin. Of one class, many classifiers raise an
            # error, and others predict one column or none.
            classifier = DummyClassifier()
        # Trees of scikit-learn 1.9 sort weighted rows again for each limit of a bin.
        given = None if (weight == 1).all() else weight
        self.classifier_ = fit_weighted(classifier, table, periods.label, given)
        self._objective = objective
        return self

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the metadata that the `fit` of the classifier requests.

        Returns
        -------
        MetadataRouter
            The routing.
        """
        router = MetadataRouter(owner=type(self).__name__)
        return route_fits(router, {"classifier": self._inner()})

    def __sklearn_tags__(self) -> Any:
        tags = with_inputs_of(super().__sklearn_tags__(), [self._inner()])
        tags.input_tags.sparse = False
        return tags

    # Steps of fit and predict -------------------------------------------------------

    def _inner(self) -> Any:
        """Return the classifier, not fitted; the default for None."""
        if self.classifier is None:
            return default_trees("survival")
        return self.classifier

    def _table(self, X: Any, reset: bool) -> Any:
        """Return a table as a DataFrame, and anything else as an array."""
        X = as_pandas(X)
        if not isinstance(X, pd.DataFrame):
            X = check_array(X, dtype=None, ensure_all_finite=False, estimator=self)
        validate_data(self, X, reset=reset, skip_check_array=True)
        return X

    def _choice(
        self, periods: PersonPeriods, rng: np.random.RandomState
    ) -> tuple[PersonPeriods, np.ndarray]:
        """Return at most `max_rows` periods without an event, and the others.

        Periods are in their order, and each has a weight, (n_chosen,): the inverse of
        its probability to be chosen.
        """
        without = np.flatnonzero(periods.label == 0)
        factor = np.ones(len(periods.label))
        if self.max_rows is None or len(without) <= self.max_rows:
            return periods, factor
        chosen = rng.choice(without, self.max_rows, replace=False)
        factor[without] = 0
        factor[chosen] = len(without) / self.max_rows
        kept = np.flatnonzero(factor)
        return periods.take(kept), factor[kept]

    @property
    def _fitted_objective(self) -> Hazards:
        check_is_fitted(self, "classifier_")
        return self._objective

    def _combined(self, predict: Any, X: Any, *args: Any) -> np.ndarray:
        """Return a prediction of the objective."""
        check_is_fitted(self, "classifier_")
        X = self._table(X, reset=False)
        n_bins = len(self._objective.edges) - 1
        step = max(_MOST_AT_ONCE // n_bins, 1)
        parts = [
            self._log_odds(safe_indexing(X, np.arange(i, min(i + step, len(X)))))
            for i in range(0, max(len(X), 1), step)
        ]
        return predict(np.concatenate(parts), *args)

    def _log_odds(self, X: Any) -> np.ndarray:
        """Return the log odds of events against no event, (n, n_kinds * n_bins)."""
        n_bins, n_kinds = len(self.unique_times_) - 1, len(self.event_types_)
        row = np.repeat(np.arange(len(X)), n_bins)
        table = _with_bins(X, row, np.tile(np.arange(n_bins), len(X)))
        shares = np.asarray(self.classifier_.predict_proba(table), dtype="float64")
        columns = np.asarray(self.classifier_.classes_, dtype="int64")
        logs = log_probabilities(shares, columns, 1 + n_kinds)
        odds = (logs[:, 1:] - logs[:, :1]).reshape(-1, n_bins, n_kinds)
        return odds.swapaxes(1, 2).reshape(len(X), -1)


def _with_bins(X: Any, row: np.ndarray, bin_: np.ndarray) -> Any:
    """Return rows of X with the number of their bin as last column."""
    table = safe_indexing(X, row)
    if not isinstance(table, pd.DataFrame):
        return np.column_stack([table, bin_.astype(_wide_dtype(table.dtype, bin_))])
    names = unique_names([*map(str, table.columns), "bin"])
    table = table.set_axis(names[:-1], axis=1).reset_index(drop=True)
    return table.assign(**{names[-1]: bin_.astype("float64")})


def _wide_dtype(dtype: np.dtype, bin_: np.ndarray) -> Any:
    """Return a dtype of all numbers of bins: 200 is no int8, and 10 no text of one."""
    if dtype.kind not in "biufc":
        return object
    return np.promote_types(dtype, np.min_scalar_type(bin_.max(initial=0)))
