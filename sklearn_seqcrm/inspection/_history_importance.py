"""How much worse a model becomes without something that its histories hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import stats
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import check_scoring
from sklearn.utils import Bunch, check_random_state, get_tags
from sklearn.utils.validation import check_consistent_length, column_or_1d

from sklearn_seqcrm._columns import row_customers
from sklearn_seqcrm._sklearn_compat import (
    Interval,
    is_count,
    safe_indexing,
    validate_params,
)
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._other_events import (
    OwnEvents,
    last_events,
    last_time,
    with_field_shuffled,
)
from sklearn_seqcrm.inspection._question import Asked, read_asked

_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


class Remembered:
    """A fitted model in front of the rows of one table, which asks it once.

    Scorers take it for the model. It answers for the rows that `look_at` named last,
    whatever it is given.

    Parameters
    ----------
    fitted : fitted estimator
        The model.
    X : DataFrame of shape (n, n_columns)
        All rows.
    """

    def __init__(self, fitted: Any, X: pd.DataFrame) -> None:
        self._fitted = fitted
        self._X = X
        self._said: dict[str, Any] = {}
        self._rows: Any = slice(None)

    def __getattr__(self, name: str) -> Any:
        """What the model has, and its answers."""
        if name.startswith("__"):  # which copies and pickles look for
            raise AttributeError(name)
        found = getattr(self._fitted, name)
        if name not in _METHODS:
            return found

        def ask(X: Any) -> Any:
            if name not in self._said:
                self._said[name] = np.asarray(found(self._X))
            return self._said[name][self._rows]

        # scikit-learn reads it to know what comes back.
        ask.__name__ = name
        return ask

    def __sklearn_tags__(self) -> Any:
        """What kind of model it is."""
        return get_tags(self._fitted)

    def score(
        self,
        scorer: Callable[..., float],
        y: Any,
        rows: np.ndarray,
        sample_weight: np.ndarray | None,
    ) -> float:
        """Score what the model said of some rows.

        Parameters
        ----------
        scorer : callable
            ``scorer(model, X, y)``, and `sample_weight` if there are weights.
        y : array-like of shape (n,)
            Targets of all rows.
        rows : ndarray of int64
            The rows to score.
        sample_weight : ndarray of shape (n,) or None
            Weights of all rows.
        """
        self._rows = rows
        weight = {} if sample_weight is None else {"sample_weight": sample_weight[rows]}
        found = scorer(self, self._X.iloc[rows], safe_indexing(y, rows), **weight)
        return float(found)


# Parts of the customers, each of which is left out once for the intervals.
_N_PARTS = 20
# Levels of a field with more are ids rather than kinds of events.
_MOST_KINDS = 20


class Aspect(NamedTuple):
    """Something that histories hold.

    Parameters
    ----------
    group : {"history", "field", "kind", "order", "last events", "last time"}
        Of which sort it is.
    name : object
        Which of that sort: a field, a level, a number of events, a length of time.
    """

    group: str
    name: Any

    @property
    def is_drawn(self) -> bool:
        """Whether histories without it are drawn, and differ from draw to draw."""
        return not self.group.startswith("last")


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
    # Not of the estimator, which is not ours.
    prefer_skip_nested_validation=False,
)
def history_importance(
    estimator: Any,
    X: Any,
    y: Any,
    scoring: Any,
    *,
    history: Any = None,
    fields: Sequence[str] | None = None,
    kind_field: str | None = None,
    last_events: Sequence[int] = (1, 2, 5, 10, 20, 50),
    last_time: Sequence[Any] = (),
    n_repeats: int = 5,
    confidence_level: float = 0.95,
    n_jobs: int | None = None,
    random_state: Any = 0,
    sample_weight: Any = None,
) -> Bunch:
    """Permutation importance of what is inside histories.

    `sklearn.inspection.permutation_importance` exchanges whole columns between rows,
    and to it a history is one value. This function changes events and asks a fitted
    model again; the importance of something is by how much its score falls:

    ``"history"``
        All events of a row are exchanged for those of another row, as long before its
        cutoff. What the model knows of histories at all.
    ``"field"``
        The values of a field are exchanged between events, of any rows.
    ``"kind"``
        The events of a kind are exchanged for those of another row, as long before
        its cutoff: how many there were, when, and all their fields.
    ``"order"``
        What happened is shuffled within each history; the times stay.
    ``"last events"``, ``"last time"``
        Rows see their last events only, or those since some time before their cutoff:
        what older events are worth. Nothing is drawn here.

    Parameters
    ----------
    estimator : fitted estimator
        Any that takes raw `X`: a pipeline with a network or with boosted trees.
    X : DataFrame of shape (n, n_columns)
        Rows with raw histories, best those that training did not see.
    y : array-like of shape (n,)
        Targets.
    scoring : str or callable
        The score: a name of scikit-learn such as ``"roc_auc"``, or
        ``scorer(estimator, X, y)``. The higher, the better.
    history : str or None, default=None
        Name of the history column; None: the only one.
    fields : list of str or None, default=None
        Fields to look at; None: all, but for the one that tells kinds apart in a log
        that `EventLog.concat` merged.
    kind_field : str or None, default=None
        Categorical field whose levels are the kinds of events, up to 20 of those that
        occur most; None: that of a log that `EventLog.concat` merged, if it is one.
    last_events : list of int, default=(1, 2, 5, 10, 20, 50)
        Numbers of last events to see. Those that no history exceeds are left out.
    last_time : list of Timedelta, str or number, default=()
        Times before the cutoff since when to see events.
    n_repeats : int, default=5
        How often to exchange or shuffle.
    confidence_level : float, default=0.95
        Probability of the intervals, between 0 and 1.
    n_jobs : int or None, default=None
        Tables to ask about at a time, as in joblib.
    random_state : int, RandomState or None, default=0
        Draws what is exchanged, and the parts of the customers.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights of the rows, if the score takes some.

    Returns
    -------
    Bunch
        As of `sklearn.inspection.permutation_importance`: ``importances`` of shape
        (n_aspects, n_repeats), ``importances_mean`` and ``importances_std`` of shape
        (n_aspects,). Also ``baseline_score``, that of `X` as it is, and ``table``, a
        DataFrame with a line for each aspect in the same order: ``group`` and
        ``name`` as above, ``importance`` (the mean), ``std``, and ``lower`` and
        ``upper``, its interval.

    Raises
    ------
    KeyError
        If there is no such column or field.
    TypeError
        If histories are encoded, or a length of time is none.
    ValueError
        If there are several history columns and no choice, a number of last events is
        less than 1, `kind_field` is not categorical, or a parameter is out of range.

    See Also
    --------
    HistoryImportanceDisplay : A picture of it.
    sklearn.inspection.permutation_importance : For the columns beside histories.
    event_attributions : What single events do to single rows.

    Notes
    -----
    An importance says what *this model* gets from something. Of a field that goes with
    another it may be small, although either of them alone would be worth much.

    The interval is that of other customers and other draws: by how much the mean over
    repeats varies where each of 20 random parts of the customers is left out, with all
    rows of each customer (the delete-a-group jackknife), and by what the repeats
    differ. It takes no further prediction. With one customer, or where the score is not
    defined without one of the parts, it is NaN.

    Where events go from row to row, they keep the time before the cutoff, and so come
    to another weekday or hour if cutoffs differ in those. Events of the log that no row
    sees are not used. Rows of customers whom the log does not know stay empty.

    Rows of one customer share their events, which networks read once; where events are
    exchanged or shuffled, each row has its own, so that these aspects take as many
    times longer as a customer has rows.

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
    asked = read_asked(estimator, X, history, "history_importance")
    check_consistent_length(asked.frame, y, sample_weight)
    if sample_weight is not None:
        sample_weight = column_or_1d(sample_weight)
    kind_field = asked.array.log.kind_field if kind_field is None else kind_field
    aspects = list(_aspects(asked.array, fields, kind_field, last_events, last_time))
    rng = check_random_state(random_state)
    judge = _Judge(
        estimator,
        asked,
        y,
        check_scoring(estimator, scoring),
        sample_weight,
        _parts(row_customers([asked.array]), rng),
        kind_field,
    )
    tasks = [
        (aspect, int(rng.randint(2**31)))
        for aspect in aspects
        for _ in range(n_repeats if aspect.is_drawn else 1)
    ]
    base = judge.scores(asked.frame)
    found = iter(
        Parallel(n_jobs=n_jobs)(delayed(judge.without)(*task) for task in tasks)
    )
    # Falls, by aspect, repeat, and part of the customers that is left out; first: none.
    falls = np.empty((len(aspects), n_repeats, len(base)))
    for fall, aspect in zip(falls, aspects, strict=True):
        fall[:] = base - (
            [next(found) for _ in range(n_repeats)] if aspect.is_drawn else next(found)
        )
    return _as_bunch(aspects, falls, base[0], confidence_level)


def _aspects(
    array: HistoryArray,
    fields: Any,
    kind_field: str | None,
    n_last: Any,
    lengths: Any,
) -> Iterator[Aspect]:
    """What to look at, after a look at whether it can be."""
    log = array.log
    yield Aspect("history", "all events")
    if fields is None:
        fields = [name for name in log.fields if name != log.kind_field]
    for field in fields:
        log.column(field)
        yield Aspect("field", field)
    if kind_field is not None:
        yield from (Aspect("kind", kind) for kind in _kinds(array, kind_field))
    yield Aspect("order", "order")
    for number in n_last:
        if not is_count(number):
            raise ValueError(
                f"last_events must be whole numbers of 1 or more; got {number!r}."
            )
        if number < array.lengths.max():
            yield Aspect("last events", int(number))
    for length in lengths:
        last_time(array[:0], length)
        yield Aspect("last time", length)


def _kinds(array: HistoryArray, field: str) -> list[Any]:
    """The levels of a field that rows see most often, the most frequent first."""
    column = array.log.column(field)
    if column.categories is None:
        raise ValueError(
            f"kind_field={field!r} is {column.type}, and kinds of events are levels of "
            "a categorical field."
        )
    codes = column.values[OwnEvents.of(array).event]
    counts = np.bincount(codes[codes >= 0], minlength=len(column.categories))
    order = np.argsort(-counts, kind="stable")[:_MOST_KINDS]
    return column.categories[order[counts[order] > 0]].tolist()


def _parts(customers: np.ndarray, rng: np.random.RandomState) -> list[np.ndarray]:
    """All rows, and then those without each of some parts of the customers."""
    n_customers = customers.max() + 1
    rows = np.arange(len(customers))
    if n_customers < 2:
        return [rows]
    n_parts = min(_N_PARTS, n_customers)
    part = (rng.permutation(n_customers) % n_parts)[customers]
    return [rows, *(rows[part != one] for one in range(n_parts))]


class _Judge(NamedTuple):
    """Scores a model on rows as they are, and without something.

    Parameters
    ----------
    estimator : fitted estimator
        The model.
    asked : Asked
        Rows.
    y : array-like of shape (n,)
        Targets.
    scorer : callable
        The score.
    sample_weight : ndarray of shape (n,) or None
        Weights of the rows.
    parts : list of ndarray of int64
        Rows to score, one time after the other.
    kind_field : str or None
        Field of the kinds of events.
    """

    estimator: Any
    asked: Asked
    y: Any
    scorer: Callable[..., float]
    sample_weight: np.ndarray | None
    parts: list[np.ndarray]
    kind_field: str | None

    def scores(self, X: pd.DataFrame) -> np.ndarray:
        """Scores of each of the parts, shape (n_parts,)."""
        model = Remembered(self.estimator, X)
        found = [model.score(self.scorer, self.y, self.parts[0], self.sample_weight)]
        with warnings.catch_warnings():
            # The part left out has all rows of a class, perhaps: then it is NaN.
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            for rows in self.parts[1:]:
                try:
                    one = model.score(self.scorer, self.y, rows, self.sample_weight)
                except ValueError:
                    one = np.nan
                found.append(one)
        return np.array(found)

    def without(self, aspect: Aspect, seed: int) -> np.ndarray:
        """Scores without something, shape (n_parts,)."""
        rng = np.random.RandomState(seed)
        array = _without(self.asked.array, aspect, self.kind_field, rng)
        return self.scores(self.asked.with_histories(array))


def _without(
    array: HistoryArray,
    aspect: Aspect,
    kind_field: str | None,
    rng: np.random.RandomState,
) -> HistoryArray:
    """Histories that say nothing of something, but what chance says."""
    if aspect.group == "last events":
        return last_events(array, aspect.name)
    if aspect.group == "last time":
        return last_time(array, aspect.name)
    if aspect.group == "field":
        return with_field_shuffled(array, aspect.name, rng)
    events = OwnEvents.of(array)
    if aspect.group == "order":
        return events.with_order_shuffled(rng).seen_from(array)
    which = np.ones(len(events.row), dtype=bool)
    if aspect.group == "kind":
        column = array.log.column(kind_field)
        code = column.categories.get_loc(aspect.name)
        which = column.values[events.event] == code
    known = np.flatnonzero(array.rows.codes >= 0)
    to = np.arange(len(array))
    to[known] = rng.permutation(known)
    return events.exchanged(array.rows.cutoff, which, to).seen_from(array)


def _as_bunch(
    aspects: list[Aspect], falls: np.ndarray, base: float, confidence_level: float
) -> Bunch:
    """Means, deviations and intervals of falls of (aspects, repeats, 1 + parts)."""
    importances = falls[:, :, 0]
    n_repeats = importances.shape[1]
    mean, std = importances.mean(axis=1), importances.std(axis=1)
    lower, upper = np.full((2, len(mean)), np.nan)
    left_out = falls[:, :, 1:].mean(axis=1)
    n_parts = left_out.shape[1]
    if n_parts:
        variance = (n_parts - 1) * left_out.var(axis=1)
        if n_repeats > 1:
            variance += importances.var(axis=1, ddof=1) / n_repeats
        width = stats.t.ppf((1 + confidence_level) / 2, n_parts - 1) * np.sqrt(variance)
        lower, upper = mean - width, mean + width
    table = pd.DataFrame(
        {
            "group": [aspect.group for aspect in aspects],
            "name": pd.Series([aspect.name for aspect in aspects], dtype=object),
            "importance": mean,
            "std": std,
            "lower": lower,
            "upper": upper,
        }
    )
    return Bunch(
        importances=importances,
        importances_mean=mean,
        importances_std=std,
        baseline_score=base,
        table=table,
    )
