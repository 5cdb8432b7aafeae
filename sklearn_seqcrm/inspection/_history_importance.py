"""Permutation importance of parts of histories: fields, kinds, order, old events."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import check_scoring
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import check_consistent_length, column_or_1d

from sklearn_seqcrm._columns import row_customers, warn_other_order
from sklearn_seqcrm._sklearn_compat import (
    Interval,
    is_count,
    safe_indexing,
    validate_params,
)
from sklearn_seqcrm._stored_outputs import StoredOutputs
from sklearn_seqcrm._typing import Estimator
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._explained_rows import ExplainedRows, with_column
from sklearn_seqcrm.inspection._perturbations import (
    RowEvents,
    keep_last_events,
    keep_last_time,
    permute_field,
)
from sklearn_seqcrm.metrics import get_scorer

# Groups of customers for the delete-a-group jackknife (Kott, "The Delete-a-Group
# Jackknife", Journal of Official Statistics 17, 2001).
_N_GROUPS = 20
# Levels of a field with more are ids rather than kinds of events.
_MAX_KINDS = 20


class Aspect(NamedTuple):
    """Part of histories whose importance is measured."""

    # "history", "field", "kind", "order", "last events" or "last time".
    group: str
    # Name of the field, level of the kind, number of events or length of time.
    name: Any


@validate_params(
    {
        "scoring": [str, callable],
        "fields": ["array-like", None],
        "kind_field": [str, None],
        "last_events": ["array-like"],
        "last_time": ["array-like"],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    },
    # The estimator validates its own parameters.
    prefer_skip_nested_validation=False,
)
def history_importance(
    estimator: Estimator,
    X: pd.DataFrame,
    y: ArrayLike,
    scoring: str | Callable[..., float],
    *,
    history: str | None = None,
    fields: Sequence[str] | None = None,
    kind_field: str | None = None,
    last_events: Sequence[int] = (1, 2, 5, 10, 20, 50),
    last_time: Sequence[Any] = (),
    n_repeats: int = 5,
    confidence_level: float = 0.95,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
    sample_weight: ArrayLike | None = None,
) -> Bunch:
    """Compute the permutation importance of parts of histories.

    `sklearn.inspection.permutation_importance` permutes whole columns, in which a
    history is one value. This function perturbs the events and predicts again; the
    importance of a part is the decrease of the score [1]_. The groups of parts are:

    ``"history"``
        All events of a row are replaced by those of another row, at equal times before
        the cutoff: the importance of the history as a whole.
    ``"field"``
        The values of a field are permuted among the events of all rows.
    ``"kind"``
        The events of a kind are replaced by those of another row, at equal times before
        the cutoff: their number, their times, and all their fields.
    ``"order"``
        The fields of events are permuted within each history; the times stay.
    ``"last events"``, ``"last time"``
        Rows keep their last events only, or those since some time before the cutoff:
        the importance of older events. Nothing is random here.

    Parameters
    ----------
    estimator : fitted estimator
        An estimator that takes raw `X`: a pipeline with a network or with boosted
        trees.
    X : DataFrame of shape (n, n_columns)
        Rows with raw histories, preferably none of the training rows.
    y : array-like of shape (n,)
        Targets.
    scoring : str or callable
        The score: a name of `sklearn_seqcrm.metrics.get_scorer`, such as ``"roc_auc"``
        or ``"normalized_gini"``, except those of effects, which need the treatment of
        each row; or ``scorer(estimator, X, y)``. Higher is better.
    history : str or None, default=None
        Name of the history column; None: the only one.
    fields : list of str or None, default=None
        Fields to permute; None: all, except the kind of the events in a log that
        `EventLog.concat` merged.
    kind_field : str or None, default=None
        Categorical field whose levels are the kinds of events, of which the 20 most
        frequent are used; None: that of a log that `EventLog.concat` merged.
    last_events : list of int, default=(1, 2, 5, 10, 20, 50)
        Numbers of last events to keep. Those that no history exceeds are left out.
    last_time : list of Timedelta, str or number, default=()
        Lengths of time before the cutoff whose events to keep.
    n_repeats : int, default=5
        Number of permutations.
    confidence_level : float, default=0.95
        Probability of the intervals, between 0 and 1.
    n_jobs : int or None, default=None
        Number of predictions at a time, as in joblib.
    random_state : int, RandomState or None, default=0
        Draws the permutations, and the groups of customers.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights of the rows, if the score takes weights.

    Returns
    -------
    Bunch
        As in `sklearn.inspection.permutation_importance`, for n_parts parts:
        ``importances`` of shape (n_parts, n_repeats), ``importances_mean`` and
        ``importances_std`` of shape (n_parts,). Also ``baseline_score``, the score of
        `X` as it is, and ``table``, a DataFrame with a line for each part in the same
        order: ``group`` and ``name`` as above, ``importance`` (the mean), ``std``, and
        ``lower`` and ``upper``, its interval.

    Raises
    ------
    KeyError
        If there is no such column or field.
    TypeError
        If histories are encoded, or `last_time` holds something else than durations.
    ValueError
        If there are several history columns and none is chosen, a number of last events
        is less than 1, `kind_field` is not categorical, or a parameter is out of range.

    Warns
    -----
    UserWarning
        If `y` or `sample_weight` has the index of `X` in another order: rows are
        matched by position.

    See Also
    --------
    HistoryImportanceDisplay : Plot of the importances.
    sklearn.inspection.permutation_importance : For the other columns of X.
    event_attributions : Effects of single events on single rows.

    Notes
    -----
    An importance is that for *this model*. Of two correlated fields both may have small
    importances, although either alone would be very informative.

    The interval covers the sampling of customers and of permutations. Its variance is
    ``(G - 1) / G * sum_g (m_g - mean(m))^2 + s^2 / R``: ``m_g`` is the mean importance
    without group ``g`` of ``G = 20`` random groups of customers, each with all of their
    rows (delete-a-group jackknife [2]_), and ``s^2`` the variance of the ``R`` repeats.
    The interval has Student's quantiles with ``G - 1`` degrees of freedom. It takes no
    further prediction. With one customer, or where the score is not defined without one
    of the groups, it is NaN.

    Events that move to another row keep their time before the cutoff, and so get
    another weekday or hour if cutoffs differ in those. Events of the log that are
    visible in no row are not used. Rows of customers who are not in the log stay empty.

    Rows of one customer share their events, so that networks process them once. Events
    that are moved or permuted differ from row to row, so that these parts take as many
    times longer as a customer has rows.

    References
    ----------
    .. [1] L. Breiman, "Random Forests", Machine Learning 45, 2001.
       https://doi.org/10.1023/A:1010933404324
    .. [2] P. S. Kott, "The Delete-a-Group Jackknife", Journal of Official Statistics
       17, 2001.

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.feature_extraction import RFMFeatures
    >>> from sklearn_seqcrm.inspection import history_importance
    >>> journeys = make_customer_journeys(300, random_state=0)
    >>> log = EventLog(journeys.events, "customer_id", "timestamp")
    >>> X, y = log.attach(journeys.rows, cutoff="cutoff"), journeys.target
    >>> model = make_pipeline(RFMFeatures(), HistGradientBoostingClassifier())
    >>> found = history_importance(
    ...     model.fit(X, y), X, y, "roc_auc", last_events=[1, 5], n_repeats=2
    ... )
    >>> found.table.columns.tolist()
    ['group', 'name', 'importance', 'std', 'lower', 'upper']
    >>> found.importances.shape == (len(found.table), 2)
    True
    """
    explained = ExplainedRows.of(estimator, X, history, "history_importance")
    array = explained.array
    warn_other_order(X, y)
    warn_other_order(X, sample_weight, "sample_weight")
    check_consistent_length(explained.frame, y, sample_weight)
    weight = None if sample_weight is None else column_or_1d(sample_weight)
    kind_field = array.log.kind_field if kind_field is None else kind_field
    aspects = list(_aspects(array, fields, kind_field, last_events, last_time))
    rng = check_random_state(random_state)
    evaluation = _Evaluation(
        estimator,
        explained,
        y,
        check_scoring(estimator, get_scorer(scoring)),
        weight,
        _subsets(row_customers([array]), rng),
        kind_field,
    )
    # "last events" and "last time" cut off and draw nothing: once is enough.
    repeats = [1 if one.group.startswith("last") else n_repeats for one in aspects]
    # One seed for each task, drawn here: results do not depend on n_jobs.
    tasks = [
        (aspect, int(rng.randint(2**31)))
        for aspect, n in zip(aspects, repeats, strict=True)
        for _ in range(n)
    ]
    base = evaluation.scores(explained.frame)
    scores = Parallel(n_jobs=n_jobs)(
        delayed(evaluation.perturbed)(*task) for task in tasks
    )
    # (aspects, repeats, 1 + groups): all rows, then without each group of customers.
    drops = np.empty((len(aspects), n_repeats, len(base)))
    parts = np.split(base - np.array(scores), np.cumsum(repeats)[:-1])
    for drop, part in zip(drops, parts, strict=True):
        drop[:] = part
    return _as_bunch(aspects, drops, base[0], confidence_level)


def _aspects(
    array: HistoryArray, fields: Any, kind_field: str | None, numbers: Any, lengths: Any
) -> Iterator[Aspect]:
    """Yield the parts of histories to perturb, or raise if one does not exist."""
    log = array.log
    # An error before the first prediction, not after an hour.
    yield Aspect("history", "all events")
    if fields is None:
        fields = [name for name in log.fields if name != log.kind_field]
    for field in fields:
        log.column(field)
        yield Aspect("field", field)
    if kind_field is not None:
        yield from (Aspect("kind", kind) for kind in _kinds(array, kind_field))
    yield Aspect("order", "order")
    for number in numbers:
        if not is_count(number):
            raise ValueError(
                f"last_events must be whole numbers of 1 or more; got {number!r}."
            )
        if number < array.lengths.max():  # else nothing would be cut off
            yield Aspect("last events", int(number))
    for length in lengths:
        keep_last_time(array[:0], length)  # raises if it is not a duration
        yield Aspect("last time", length)


def _kinds(array: HistoryArray, field: str) -> list[Any]:
    """Return the most frequent levels of a field in the rows, by frequency."""
    column = array.log.column(field)
    if column.categories is None:
        raise ValueError(
            f"kind_field={field!r} is {column.type}, and kinds of events are levels of "
            "a categorical field."
        )
    codes = column.values[RowEvents.of(array).event]
    counts = np.bincount(codes[codes >= 0], minlength=len(column.categories))
    order = np.argsort(-counts, kind="stable")[:_MAX_KINDS]
    return column.categories[order[counts[order] > 0]].tolist()


def _subsets(customers: np.ndarray, rng: np.random.RandomState) -> list[np.ndarray]:
    """Return all rows, then the rows without each random group of customers."""
    n_customers = customers.max() + 1
    rows = np.arange(len(customers))
    if n_customers < 2:
        return [rows]
    n_groups = min(_N_GROUPS, n_customers)
    group = (rng.permutation(n_customers) % n_groups)[customers]
    return [rows, *(rows[group != one] for one in range(n_groups))]


class _Evaluation(NamedTuple):
    """Scores of a model on rows as they are, and with a part of histories perturbed."""

    estimator: Any  # a fitted model
    explained: ExplainedRows  # n rows
    y: Any  # (n,): targets
    scorer: Callable[..., float]
    sample_weight: np.ndarray | None  # (n,): weights of the rows
    subsets: list[np.ndarray]  # rows of each score: one prediction serves all
    kind_field: str | None  # field of the kinds of events

    def scores(self, X: pd.DataFrame) -> np.ndarray:
        """Return the score on each subset of the rows, shape (n_subsets,)."""
        model, weight = StoredOutputs(self.estimator, X), self.sample_weight

        def score(rows: np.ndarray) -> float:
            model.rows = rows
            given = {} if weight is None else {"sample_weight": weight[rows]}
            y = safe_indexing(self.y, rows)
            return float(self.scorer(model, X.iloc[rows], y, **given))

        found = [score(self.subsets[0])]
        with warnings.catch_warnings():
            # The group left out may have all rows of a class: then the score is NaN.
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            for rows in self.subsets[1:]:
                try:
                    found.append(score(rows))
                except ValueError:
                    found.append(np.nan)
        return np.array(found)

    def perturbed(self, aspect: Aspect, seed: int) -> np.ndarray:
        """Return the scores with a part of histories perturbed, shape (n_subsets,)."""
        frame, name, _ = self.explained
        perturbed = self._perturb(aspect, np.random.RandomState(seed))
        return self.scores(with_column(frame, name, perturbed))

    def _perturb(self, aspect: Aspect, rng: np.random.RandomState) -> HistoryArray:
        """Return the histories with a part permuted or cut off."""
        array = self.explained.array
        if aspect.group == "last events":
            return keep_last_events(array, aspect.name)
        if aspect.group == "last time":
            return keep_last_time(array, aspect.name)
        if aspect.group == "field":
            return permute_field(array, aspect.name, rng)
        events = RowEvents.of(array)
        if aspect.group == "order":
            return events.with_order_shuffled(rng).as_histories(array)
        is_moved = np.ones(len(events.row), dtype=bool)
        if aspect.group == "kind":
            # Only events of this kind move; the others keep their places.
            column = array.log.column(self.kind_field)
            code = column.categories.get_loc(aspect.name)
            is_moved = column.values[events.event] == code
        # Rows of unknown customers stay empty: their events could not be in a log.
        known = np.flatnonzero(array.rows.codes >= 0)
        target_row = np.arange(len(array))
        target_row[known] = rng.permutation(known)
        moved = events.with_events_moved(array.rows.cutoff, is_moved, target_row)
        return moved.as_histories(array)


def _as_bunch(
    aspects: list[Aspect], drops: np.ndarray, base: float, confidence_level: float
) -> Bunch:
    """Return means, deviations and intervals of drops of (aspects, repeats, 1 + G)."""
    importances = drops[:, :, 0]
    n_repeats = importances.shape[1]
    mean, std = importances.mean(axis=1), importances.std(axis=1)
    width = np.full(len(mean), np.nan)
    left_out = drops[:, :, 1:].mean(axis=1)  # (aspects, G)
    n_groups = left_out.shape[1]
    if n_groups:
        # Jackknife: (G - 1) / G times the sum of squares, which is G times `var`.
        variance = (n_groups - 1) * left_out.var(axis=1)
        # The jackknife averages over repeats: their own noise is added.
        if n_repeats > 1:
            variance += importances.var(axis=1, ddof=1) / n_repeats
        quantile = stats.t.ppf((1 + confidence_level) / 2, n_groups - 1)
        width = quantile * np.sqrt(variance)
    table = pd.DataFrame(
        {
            "group": [aspect.group for aspect in aspects],
            "name": pd.Series([aspect.name for aspect in aspects], dtype=object),
            "importance": mean,
            "std": std,
            "lower": mean - width,
            "upper": mean + width,
        }
    )
    return Bunch(
        importances=importances,
        importances_mean=mean,
        importances_std=std,
        baseline_score=base,
        table=table,
    )
