"""Compare models on the same folds: scores, paired differences, times and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.model_selection import GroupKFold, check_cv
from sklearn.utils import check_consistent_length, check_random_state, indexable

from sklearn_seqcrm._columns import (
    NoForwardSplitError,
    Table,
    customers_of,
    has_histories,
    known_horizon,
    n_history_columns,
    refuse_few_customers,
    warn_other_order,
)
from sklearn_seqcrm._durations import refuse_times
from sklearn_seqcrm._sklearn_compat import Interval, split_by, validate_params
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import Clock, saturating_add
from sklearn_seqcrm._treatments import label_array
from sklearn_seqcrm._typing import Estimator, Splitter
from sklearn_seqcrm.model_selection._cutoff_split import CutoffSplit
from sklearn_seqcrm.model_selection._labels_in_columns import warn_labels
from sklearn_seqcrm.model_selection._metrics import Data, Metric, read_metrics
from sklearn_seqcrm.model_selection._model_comparison import ModelComparison, tabulated
from sklearn_seqcrm.model_selection._resampled_scores import (
    FoldScores,
    resampled_scores,
    variance_factor,
)
from sklearn_seqcrm.model_selection._run_jobs import run_jobs
from sklearn_seqcrm.model_selection._runs import (
    Job,
    Run,
    each_warning_once,
    requested_params,
)


@validate_params(
    {
        "models": [Mapping],
        "cv": ["cv_object"],
        "params": [Mapping, None],
        "reference": [str, None],
        "n_resamples": [Interval(Integral, 1, None, closed="left")],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_jobs": [Integral, None],
        "cache": [str, PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    },
    # The models validate their own parameters.
    prefer_skip_nested_validation=False,
)
def compare_models(
    models: Mapping[str, Estimator],
    X: pd.DataFrame,
    y: ArrayLike,
    *,
    cv: int | Splitter | Iterable[Any],
    scoring: str | Callable[..., float] | Sequence[str] | Mapping[str, Any],
    reference: str | None = None,
    history: str | None = None,
    groups: ArrayLike | None = None,
    params: Mapping[str, Any] | None = None,
    n_resamples: int = 1000,
    confidence_level: float = 0.95,
    n_jobs: int | None = None,
    cache: str | PathLike[str] | None = None,
    random_state: int | np.random.RandomState | None = 0,
    verbose: int = 0,
) -> ModelComparison:
    """Fit several models on the same folds, and compare them by paired bootstrap.

    Parameters
    ----------
    models : dict of str to estimator
        Models, each of which takes `X`. They are cloned.
    X : DataFrame of shape (n, n_columns)
        Rows with histories. In other tables each row counts as one customer.
    y : array-like of shape (n,) or (n, k)
        Targets. For survival models, the DataFrame or the structured array of events
        and times that all of them take.
    cv : splitter, int or iterable of splits
        Folds, such as those of a `CutoffSplit`. A splitter that needs groups, such as
        GroupKFold, gets the customers. An int: number of folds of customers, who are
        tested at the dates of training: for rows with several cutoffs use
        ``CutoffSplit(3)``, because a model that is better at these dates may not be
        better later.
    scoring : str, callable, list of str, or dict of str to str or callable
        Scores, as in `sklearn.model_selection.cross_validate`: names of scikit-learn,
        such as ``"roc_auc"`` or ``"neg_log_loss"``, or of
        `sklearn_seqcrm.metrics.get_scorer`; ``"concordance"`` for survival models,
        whose ``predict`` returns risks; and scorers, which
        `sklearn.metrics.make_scorer` makes of any ``metric(y, prediction,
        sample_weight=...)``. Higher is better.
    reference : str or None, default=None
        The model that the others are compared with; None: the first.
    history : str or None, default=None
        Name of the history column that defines the customers; None: all columns, where
        rows with a customer of any column in common form one group.
    groups : array-like of shape (n,) or None, default=None
        Unit that replaces the customer of each row, such as its household or its shop,
        in folds and in intervals. None: the customers of the histories.
    params : dict of str to array-like of shape (n,) or None, default=None
        Metadata of the rows by name, such as ``{"treatment": mailed}``. They are split
        by fold, and passed to `fit` of each model that requests them (metadata routing
        is enabled for this call; `LSTMUpliftClassifier` requests its treatment by
        default) and to each metric with an argument of that name. A model that requests
        some of them does not get others that a metric takes, such as a ``propensity``.
        ``sample_weight`` is for `fit` only.
    n_resamples : int, default=1000
        Number of bootstrap samples for the intervals.
    confidence_level : float, default=0.95
        Probability of the intervals, between 0 and 1.
    n_jobs : int or None, default=None
        Number of runs at a time, as in joblib. A run is one model on one fold.
    cache : str, path or None, default=None
        Folder for the runs. Each is written there when it is done. A later call with
        the same model, parameters, rows and targets reads it, also to compute other
        scores. The code of a model is not compared: after you change it, use another
        folder. It reads pickles: use a folder of your own.
    random_state : int, RandomState or None, default=0
        Draws the customers. Models and splitters have their own seeds.
    verbose : int, default=0
        1 prints a line for each run.

    Returns
    -------
    ModelComparison
        DataFrames of differences, scores, and runs.

    Raises
    ------
    TypeError
        If a model is a class, `scoring` has another type, a metric takes no
        `sample_weight`, or `y` holds durations or datetimes with a score other than
        ``"concordance"``.
    ValueError
        If there is no model or no score, `reference` is none of the models, `y` is
        None, a parameter is out of range, `params` differ from `X` in their number of
        rows or hold what no model requests and no metric takes, or a score is not
        defined on a fold.
    KeyboardInterrupt
        If it comes before all models have finished a fold.

    Warns
    -----
    UserWarning
        If it was interrupted, and only some of the folds are compared. If `y`, `groups`
        or `params` have the index of `X` in another order: rows are matched by
        position. If a fold tests rows that it trains on or, with customers in both
        parts, trains on labels that were not known at its first test cutoff. The latter
        is also possible if `y` has no known horizon and a fold leaves out no cutoffs
        between training and test. If statics of `X` determine `y`: each of their values
        has one label.

    See Also
    --------
    ModelComparisonDisplay : Plot of the differences.
    CutoffSplit : Folds that move forward in time.

    Notes
    -----
    Two types of splits are fair: `CutoffSplit`, whose training labels are known before
    the test, as in production; and splits of customers, such as an int or GroupKFold,
    which estimate the score on other customers at the same dates. KFold or
    TimeSeriesSplit of rows at several cutoffs are neither.

    A score is the mean over the folds. Its interval comes from a cluster bootstrap:
    customers are drawn with replacement, each with all of their test rows in all folds,
    and all scores are computed again from the stored predictions, without a refit. A
    difference is that of two models on the same sample (paired bootstrap). Ends of the
    interval are quantiles of the samples, further out than those of the level where
    there are few customers ("expanded percentile", Hesterberg, 2015), whose samples
    vary too little. Rows of a customer are dependent: to draw rows would make intervals
    too short. A row with a missing history counts as a customer of its own.

    In simulations, 95% intervals of a mean covered the true value in 91% of the cases
    with 5 customers, in 93 to 95% with 10 to 50, and in 95% with 200 and unequal
    numbers of rows. Where a few customers have most of the loss, such as big spenders,
    the effective number of customers is smaller: 89% with 10 to 50, 96% with 200.

    An interval covers the sampling of test customers. It does not cover the seed: for
    that, compare models of several seeds. If rows test one fold and train the models of
    another, and the other way round, as in cross-validation, the folds depend on each
    other. So the differences of all samples from the difference of all customers are
    multiplied by ``sqrt(2)`` (by less, if only some rows do so, and by 1 in a single
    fold or in folds that move forward in time). This holds for the part of a difference
    that depends on the training rows. If nearly all of it depends on the test rows
    alone, the interval is too long. In simulations, 95% intervals of a difference in
    AUC covered the true one in 94 to 100% of the cases, and without the factor in 79 to
    93%. They covered it in 93 to 99% with folds that move forward in time. Intervals of
    scores have no factor.

    A sample is a weighting of the rows, so that no row is copied. The scores
    ``"roc_auc"`` and ``"average_precision"`` of two classes, ``"accuracy"``,
    ``"neg_log_loss"``, ``"neg_brier_score"``, ``"r2"`` and those of squared and
    absolute errors are computed for many samples at once; others take a call for each
    sample.

    Seconds of a fit are wall-clock time; those of `predict` include all outputs that
    the scores need. Peak memory is the largest memory of the process during fit and
    predict above that before, which a thread reads from ``/proc`` every 10 ms. It
    misses shorter peaks, processes that a model starts, and free memory that the
    process held before the run (which is returned first if the C library is glibc); the
    first run also loads libraries. It is NaN on macOS and Windows. With `n_jobs`, runs
    share the processors, and seconds are longer.

    After a Ctrl-C, the folds that all models have finished are compared, with a
    warning; with `cache`, the same call continues from there.

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.feature_extraction import RFMFeatures
    >>> from sklearn_seqcrm.model_selection import compare_models
    >>> journeys = make_customer_journeys(300, random_state=0)
    >>> log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    >>> X = log.attach(journeys.rows, cutoff="cutoff")
    >>> boosting = HistGradientBoostingClassifier(max_iter=20, random_state=0)
    >>> without_amounts = make_pipeline(RFMFeatures(amount=None), boosting)
    >>> models = {"RFM": make_pipeline(RFMFeatures(), boosting), "RF": without_amounts}
    >>> comparison = compare_models(
    ...     models, X, journeys.target, cv=2, scoring=["roc_auc", "neg_log_loss"]
    ... )
    >>> comparison.differences[["model", "metric"]]
      model        metric
    0    RF       roc_auc
    1    RF  neg_log_loss
    >>> list(comparison.differences)[2:6]
    ['difference', 'lower', 'upper', 'better']
    """
    reference = _checked_reference(models, reference)
    metrics = read_metrics(scoring)
    data = _read_data(X, y, groups, params)
    _refuse_unused(data.params, models, metrics)
    if any(metric.known_as not in (None, "concordance") for metric in metrics):
        refuse_times(data.y)
    customers = customers_of(data.X, history)
    if groups is not None:
        customers = _group_codes(groups, len(customers))
    if isinstance(cv, Integral):
        is_given = history is not None or groups is not None
        n_columns = 1 if is_given else n_history_columns(data.X)
        way_out = "use more rows or a smaller cv"
        if n_columns > 1:
            way_out += ", or name customers by history= or groups="
        refuse_few_customers(customers, int(cv), n_columns, way_out)
    splits = _folds(cv, data.X, data.y, customers)
    # CutoffSplit itself warns if its horizon is shorter than that of `y`.
    is_cutoff_split = isinstance(cv, CutoffSplit)
    cutoffs = None if is_cutoff_split else _cutoffs_and_delay(data.X, data.y, history)
    _warn_known_futures(splits, customers, cutoffs)
    if has_histories(data.X):
        warn_labels(data.X, data.y, customers)
    # Fold by fold, so that an interruption leaves complete folds.
    jobs = [
        Job(name, number, model, *fold)
        for number, fold in enumerate(splits)
        for name, model in models.items()
    ]
    with each_warning_once():
        runs, interrupt = run_jobs(jobs, data, metrics, n_jobs, cache, verbose)
    complete = _complete_folds(runs, len(models), len(jobs), interrupt)
    tests = {job.fold: job.test for job in jobs if job.fold in complete}
    folds, n_customers = _scores_of(list(models), runs, tests, data, metrics, customers)
    factor = variance_factor([splits[fold] for fold in complete], len(customers))
    rng = check_random_state(random_state)
    return tabulated(
        list(models),
        [metric.name for metric in metrics],
        # Weights of 1: the scores of the rows as they are.
        {fold: folds[fold].score(np.ones((1, len(tests[fold]))))[0] for fold in folds},
        resampled_scores(list(folds.values()), n_customers, n_resamples, rng),
        reference=reference,
        confidence_level=float(confidence_level),
        n_customers=n_customers,
        factor=factor,
        runs=runs,
        unfinished=_unfinished(jobs, runs),
    )


def _checked_reference(models: Mapping[str, Any], reference: str | None) -> str:
    """Return the name of the reference, by default the first model."""
    if not models:
        raise ValueError("models must name at least one model.")
    for name, model in models.items():
        if isinstance(model, type):
            raise TypeError(
                f"models[{name!r}] is the class {model.__name__}, not a model; write "
                f"{model.__name__}()."
            )
    reference = next(iter(models)) if reference is None else reference
    if reference not in models:
        raise ValueError(f"reference must be one of {list(models)}; got {reference!r}.")
    return reference


def _read_data(X: Any, y: Any, groups: Any, params: Mapping[str, Any] | None) -> Data:
    """Return rows, targets and metadata; warn where their order is another one."""
    if y is None:
        raise ValueError(
            "compare_models requires y, the targets of the rows of X; got None. The "
            "functions of sklearn_seqcrm.targets compute them."
        )
    params = dict(params or {})
    of_rows = {f"params[{name!r}]": values for name, values in params.items()}
    for name, values in {"y": y, "groups": groups, **of_rows}.items():
        warn_other_order(X, values, name)
    # Events and times differ in dtype: a DataFrame keeps them as they are.
    # A Series keeps its attrs, such as the horizon, for splitters and for models.
    with_attrs = isinstance(y, pd.Series) and bool(y.attrs)
    as_it_is = isinstance(y, pd.DataFrame) or with_attrs
    X, y = indexable(X, y if as_it_is else np.asarray(y))
    check_consistent_length(X, *params.values())
    return Data(X, y, params)


def _group_codes(groups: Any, n_rows: int) -> np.ndarray:
    """Number the groups of the rows from 0 on."""
    groups = label_array(groups)
    codes = pd.factorize(groups)[0] if groups.ndim == 1 else np.zeros(0)
    n_missing = int((codes < 0).sum())
    if codes.shape != (n_rows,) or n_missing:
        what = f"{n_missing} missing" if n_missing else f"the shape {groups.shape}"
        raise ValueError(
            f"groups must have one value for each of the {n_rows} rows; got {what}."
        )
    return codes


def _refuse_unused(
    params: Mapping[str, Any], models: Mapping[str, Any], metrics: Sequence[Metric]
) -> None:
    """Raise a ValueError for metadata that no model requests and no metric takes."""
    requested = [requested_params(model, params) for model in models.values()]
    for name in params:
        if any(metric.takes(name) for metric in metrics if name != "sample_weight"):
            continue
        if not any(name in names for names in requested):
            # Metadata routing has no step__name.
            step, _, own = name.rpartition("__")
            has_step = any(step in one.get_params() for one in models.values())
            way = f"pass it as {own!r}, and " if has_step else ""
            own = own if has_step else name
            raise ValueError(
                f"params has {name!r}, which no model requests for fit and no metric "
                f"takes; {way}request it by set_fit_request({own}=True) of the "
                "estimator."
            )


def _folds(
    cv: Any, X: Any, y: Any, customers: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return training and test positions of each fold, none of them empty."""
    splitter = GroupKFold(int(cv)) if isinstance(cv, Integral) else check_cv(cv)
    everyone = np.arange(len(y))
    folds = [
        (everyone[train], everyone[test])  # masks become positions
        for train, test in split_by(splitter, X, y, customers)
    ]
    if not folds:
        raise ValueError("cv makes no fold.")
    for number, sides in enumerate(folds, start=1):
        for name, side in zip(("training", "test"), sides, strict=True):
            if not len(side):
                raise ValueError(f"The fold {number} that cv makes has no {name} rows.")
    return folds


def _warn_known_futures(
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    customers: np.ndarray,
    cutoffs: tuple[np.ndarray, float | str, Clock] | None,
) -> None:
    """Warn if a model is tested on rows, or on times, that it was trained on.

    Folds of different customers are tested at the dates of training by choice. For
    `cutoffs`, see `_cutoffs_and_delay`; without them, times are not compared.
    """
    for number, (train, test) in enumerate(folds, start=1):
        n_shared = int(np.isin(test, train).sum())
        found = None
        if n_shared:
            found = f"tests {n_shared} rows that it also trains on:"
        elif cutoffs and np.isin(customers[test], customers[train]).any():
            found = _known_future(train, test, *cutoffs)
        if found is None:
            continue
        warn_user(
            f"Fold {number} of {len(folds)} {found} scores may be better than those of "
            "later predictions. As cv, CutoffSplit(..., horizon=...) trains on labels "
            "that are known before the test, and an int or GroupKFold on other "
            "customers."
        )
        return


def _known_future(
    train: np.ndarray,
    test: np.ndarray,
    ticks: np.ndarray,
    delay: float | str,
    clock: Clock,
) -> str | None:
    """Return how a fold trains on labels that its test should not know, if it does."""
    last, first = ticks[train].max(), ticks[test].min()
    known = last if isinstance(delay, str) else saturating_add(last, delay)
    if known > first:
        return (
            f"trains on labels of up to {clock.as_scalar(known)}, tests from the "
            f"cutoff {clock.as_scalar(first)} on, and customers are in both parts:"
        )
    # Cutoffs that are in neither part were left out for the sake of the horizon.
    is_gap = ((ticks > last) & (ticks < first)).any()
    if not isinstance(delay, str) or is_gap or ticks.min() == ticks.max():
        return None
    return (
        f"trains up to the cutoff {clock.as_scalar(last)}, tests from the cutoff "
        f"{clock.as_scalar(first)} on, and {delay}. If the horizon is longer than the "
        "time between these cutoffs,"
    )


def _cutoffs_and_delay(
    X: Any, y: Any, history: str | None
) -> tuple[np.ndarray, float | str, Clock] | None:
    """Return cutoffs, (n,), the time until labels are known, and the clock of both.

    None without histories of all rows. Instead of the time, a text says why it is
    unknown.
    """
    if not has_histories(X):
        return None
    histories = Table.of(X).histories
    array = histories.get(history, next(iter(histories.values())))
    clock, rows = array.log.timeline.clock, array.rows
    if (rows.start < 0).any():  # missing histories have no cutoff
        return None
    try:
        delay: float | str = clock.rounded_up(**known_horizon(y))
    except NoForwardSplitError as reason:
        delay = str(reason)
    except (TypeError, ValueError) as error:  # a length that does not fit the clock
        delay = f"the horizon in the attrs of y is of no use: {error}".rstrip(".")
    return rows.cutoff, delay, clock


def _complete_folds(
    runs: Sequence[Run], n_models: int, n_jobs: int, interrupt: BaseException | None
) -> list[int]:
    """Return the folds that all models have finished; warn if some are missing."""
    # Only complete folds: means over different folds would not be comparable.
    done = np.bincount([run.fold for run in runs])
    complete = np.flatnonzero(done == n_models).tolist()
    if interrupt is not None:
        if not complete:
            raise interrupt
        warn_user(
            f"Interrupted after {len(runs)} of {n_jobs} runs: compared are the "
            f"{len(complete)} folds that all models have finished. The same call with "
            "cache= continues from the finished runs of an interrupted call."
        )
    return complete


def _unfinished(jobs: Sequence[Job], runs: Sequence[Run]) -> list[tuple[str, int]]:
    """Return the models and folds, from 1, of the jobs without a run."""
    done = {(run.model, run.fold) for run in runs}
    return [
        (job.model, job.fold + 1) for job in jobs if (job.model, job.fold) not in done
    ]


def _scores_of(
    models: Sequence[str],
    runs: Sequence[Run],
    tests: Mapping[int, np.ndarray],
    data: Data,
    metrics: Sequence[Metric],
    customers: np.ndarray,
) -> tuple[dict[int, FoldScores], int]:
    """Return the scores of all models on each fold, and the number of customers."""
    # Customers without a test row are not drawn: numbers are of the tested ones.
    tested = np.unique(customers[np.concatenate(list(tests.values()))])
    by_place = {(run.model, run.fold): run.outputs for run in runs}
    folds = {}
    for fold, test in tests.items():
        rows = data.take(test)
        scores = [
            [metric.on(by_place[name, fold], rows) for metric in metrics]
            for name in models
        ]
        codes = np.searchsorted(tested, customers[test])
        folds[fold] = FoldScores(codes, scores)
    return folds, len(tested)
