"""Several models on the same rows: scores, paired differences, and what they took."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, check_cv
from sklearn.utils import check_random_state, indexable

import sklearn_seqcrm
from sklearn_seqcrm._columns import customers_of
from sklearn_seqcrm._durations import refuse_times
from sklearn_seqcrm._sklearn_compat import Interval, safe_indexing, validate_params
from sklearn_seqcrm.model_selection._bootstrap import FoldScores, resampled_scores
from sklearn_seqcrm.model_selection._model_comparison import ModelComparison, tabulated
from sklearn_seqcrm.model_selection._runs import Job, Run, read
from sklearn_seqcrm.model_selection._weighted_scores import Metric, read_metrics


@validate_params(
    {
        "models": [Mapping],
        "cv": ["cv_object"],
        "reference": [str, None],
        "n_resamples": [Interval(Integral, 1, None, closed="left")],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_jobs": [Integral, None],
        "cache": [str, PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    },
    # Not of the models, which are not ours.
    prefer_skip_nested_validation=False,
)
def compare_models(
    models: Mapping[str, Any],
    X: Any,
    y: Any,
    *,
    cv: Any,
    scoring: Any,
    reference: str | None = None,
    history: str | None = None,
    groups: Any = None,
    n_resamples: int = 1000,
    confidence_level: float = 0.95,
    n_jobs: int | None = None,
    cache: str | PathLike[str] | None = None,
    random_state: Any = 0,
    verbose: int = 0,
) -> ModelComparison:
    """Fit several models on the same folds, and say how sure their differences are.

    Parameters
    ----------
    models : dict of str to estimator
        Models, each of which takes `X`. They are cloned.
    X : DataFrame of shape (n, n_columns)
        Rows with histories. Other tables are taken as well: then each row is a
        customer of its own.
    y : array-like of shape (n,) or (n, k)
        Targets. Of survival models: the DataFrame or the structured array of events and
        times that all of them take.
    cv : splitter, int or iterable of splits
        Folds, such as those of a `CutoffSplit`. A splitter that asks for groups, as
        GroupKFold does, gets the customers. An int: so many folds of customers.
    scoring : str, callable, list of str, or dict of str to str or callable
        Scores, as in `sklearn.model_selection.cross_validate`: names of scikit-learn,
        such as ``"roc_auc"`` or ``"neg_log_loss"``, or of
        `sklearn_seqcrm.metrics.get_scorer`; ``"concordance"`` of survival models, whose
        ``predict`` tells risks; and scorers, which
        `sklearn.metrics.make_scorer` makes of any ``metric(y, prediction,
        sample_weight=...)``. The higher, the better.
    reference : str or None, default=None
        The model that the others are compared with; None: the first.
    history : str or None, default=None
        Name of the history column whose customers count; None: those of all columns,
        so that rows with any of them in common are together.
    groups : array-like of shape (n,) or None, default=None
        What stands for the customer of each row, such as its household or its shop, in
        folds and in intervals. None: the customers of the histories.
    n_resamples : int, default=1000
        How often customers are drawn for the intervals.
    confidence_level : float, default=0.95
        Probability of the intervals, between 0 and 1.
    n_jobs : int or None, default=None
        Runs at a time, as in joblib. A run is one model on one fold.
    cache : str, path or None, default=None
        Folder for the runs. Each is written there when it is done; a later call reads
        it, if model, parameters, rows and targets are the same, and scores it by other
        metrics if wanted. It reads pickles: take a folder of your own.
    random_state : int, RandomState or None, default=0
        Draws the customers. Models and splitters have seeds of their own.
    verbose : int, default=0
        1 prints a line for each run.

    Returns
    -------
    ModelComparison
        DataFrames of differences, scores, and runs.

    Raises
    ------
    TypeError
        If `scoring` is of another kind, a metric takes no `sample_weight`, or `y`
        holds durations or datetimes, and scores are others than ``"concordance"``.
    ValueError
        If there is no model or no score, `reference` is none of the models, a
        parameter is out of range, or a score is not defined on a fold.
    KeyboardInterrupt
        If it comes before any fold is done by all models.

    Warns
    -----
    UserWarning
        If it was interrupted, and only some of the folds are compared.

    See Also
    --------
    ModelComparisonDisplay : A picture of the differences.
    CutoffSplit : Folds that move forward in time.

    Notes
    -----
    A score is the mean over the folds. For its interval, customers are drawn with
    replacement, each with all of their test rows in all folds, and all scores are
    computed again from the predictions; a difference is that of two models on the same
    draws. The interval lies between quantiles of the draws (percentile bootstrap),
    somewhat further out than those of its level where there are few customers, whose
    draws spread too little ("expanded percentile" of Hesterberg, 2015). Rows of a
    customer are alike: to draw rows instead would make intervals too short. Rows of
    customers whom the log does not know count as customers of their own.

    In simulations, 95% intervals of a mean held the truth in 91% of the cases with 5
    customers, in 93 to 95% with 10 to 50, and in 95% with 200 and unequal numbers of
    rows. Where a few customers have most of the loss, as big spenders do, there are
    fewer customers than it seems: 89% with 10 to 50, and 96% with 200.

    An interval tells what other customers would change. It does not tell what other
    training rows, or another seed, would: for that, compare models of several seeds.

    Draws are weights, so that no row is copied. The scores ``"roc_auc"`` and
    ``"average_precision"`` of two classes, ``"accuracy"``, ``"neg_log_loss"``,
    ``"neg_brier_score"``, ``"r2"`` and those of squared and absolute errors are
    computed for many draws at once; others take a call for each draw.

    Seconds of a fit are those of the wall, and of `predict` those of all outputs that
    the scores ask for. Peak memory is the most that the process took during fit and
    predict above what it had, as a thread sees it every 10 ms in ``/proc``. Shorter
    peaks are not seen, nor are the processes that a model starts, nor memory that the
    process held, free, before the run (it is given back where the C library is
    glibc); a first run also loads libraries. It is NaN on macOS and Windows. With
    `n_jobs`, seconds are those of a machine that is shared.

    After a Ctrl-C, the folds that all models have finished are compared, with a
    warning; with `cache`, the same call goes on where it was.

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
    reference = _reference(models, reference)
    metrics = read_metrics(scoring)
    # Of events and times, which differ in type, a table is all that tells them apart.
    X, y = indexable(X, y if isinstance(y, pd.DataFrame) else np.asarray(y))
    if any(metric.known_as not in (None, "concordance") for metric in metrics):
        refuse_times(y, "y")
    customers = customers_of(X, history)
    if groups is not None:
        customers = _codes_of(groups, len(customers))
    jobs = _jobs(models, _folds(cv, X, y, customers))
    runs, interrupt = _finished(jobs, X, y, metrics, n_jobs, cache, verbose)
    complete = _complete(runs, len(models))
    if interrupt is not None:
        if not complete:
            raise interrupt
        _warn_of_interruption(len(complete), len(runs), len(jobs))
    done = [run for run in runs if run.fold in complete]
    tests = {job.fold: job.test for job in jobs if job.fold in complete}
    folds, n_customers = _scored(list(models), done, tests, X, y, metrics, customers)
    rng = check_random_state(random_state)
    return tabulated(
        list(models),
        [metric.name for metric in metrics],
        {fold: folds[fold].score(np.ones((1, len(tests[fold]))))[0] for fold in folds},
        resampled_scores(list(folds.values()), n_customers, n_resamples, rng),
        reference=reference,
        confidence_level=float(confidence_level),
        n_customers=n_customers,
        runs=runs,
        unfinished=_unfinished(jobs, runs),
    )


def _reference(models: Mapping[str, Any], reference: str | None) -> str:
    if not models:
        raise ValueError("models must name at least one model.")
    if reference is None:
        return next(iter(models))
    if reference not in models:
        raise ValueError(f"reference must be one of {list(models)}; got {reference!r}.")
    return reference


def _codes_of(groups: Any, n_rows: int) -> np.ndarray:
    """Number of the group of each row, from 0 on."""
    groups = np.asarray(groups)
    codes = pd.factorize(groups)[0] if groups.ndim == 1 else np.zeros(0)
    n_missing = int((codes < 0).sum())
    if codes.shape != (n_rows,) or n_missing:
        what = f"{n_missing} missing" if n_missing else f"the shape {groups.shape}"
        raise ValueError(
            f"groups must have one value for each of the {n_rows} rows; got {what}."
        )
    return codes


# Runs ---------------------------------------------------------------------------------


def _folds(
    cv: Any, X: Any, y: Any, customers: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    splitter = GroupKFold(int(cv)) if isinstance(cv, Integral) else check_cv(cv)
    everyone = np.arange(len(y))
    folds = [
        (everyone[train], everyone[test])
        for train, test in splitter.split(X, y, _groups_for(splitter, customers))
    ]
    if not folds:
        raise ValueError("cv makes no fold.")
    for number, sides in enumerate(folds, start=1):
        for name, side in zip(("training", "test"), sides, strict=True):
            if not len(side):
                raise ValueError(f"The fold {number} that cv makes has no {name} rows.")
    return folds


def _groups_for(splitter: Any, customers: np.ndarray) -> np.ndarray | None:
    """Customers, unless a splitter says that it ignores groups, at which it warns."""
    routing = getattr(splitter, "get_metadata_routing", None)
    ignored = routing is not None and not routing().split.requests.get("groups")
    return None if ignored else customers


def _jobs(
    models: Mapping[str, Any], folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[Job]:
    """All runs, fold by fold, so that an interruption leaves whole folds."""
    return [
        Job(name, number, model, *fold)
        for number, fold in enumerate(folds)
        for name, model in models.items()
    ]


def _finished(
    jobs: Sequence[Job],
    X: Any,
    y: Any,
    metrics: Sequence[Metric],
    n_jobs: int | None,
    cache: str | PathLike[str] | None,
    verbose: int,
) -> tuple[list[Run], KeyboardInterrupt | None]:
    """Runs that are done, and what ended them early, if something did."""
    runs: list[Run] = []
    try:
        for run, is_old in _each(jobs, X, y, metrics, n_jobs, cache):
            runs.append(run)
            if verbose:
                print(_line(run, len(runs), len(jobs), is_old), flush=True)
    except KeyboardInterrupt as interrupt:
        return runs, interrupt
    return runs, None


def _each(
    jobs: Sequence[Job],
    X: Any,
    y: Any,
    metrics: Sequence[Metric],
    n_jobs: int | None,
    cache: str | PathLike[str] | None,
) -> Iterator[tuple[Run, bool]]:
    """Yield each run, and whether it was done before."""
    paths: list[Path | None] = [None] * len(jobs)
    if cache is not None:
        data = joblib.hash((sklearn_seqcrm.__version__, *_contents(X), *_contents(y)))
        paths = [job.path(Path(cache), data) for job in jobs]
    to_do = []
    for job, path in zip(jobs, paths, strict=True):
        rows = (safe_indexing(one, job.test) for one in (X, y))
        run = None if path is None else read(job, path, metrics, *rows)
        if run is None:
            to_do.append((job, path))
        else:
            yield run, True
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator")
    calls = (joblib.delayed(job.run)(X, y, metrics, path) for job, path in to_do)
    for run in parallel(calls):
        yield run, False


def _contents(table: Any) -> list[Any]:
    """What the key of a run depends on, of X or y.

    Of a DataFrame it is columns, one by one: pandas pickles the whole differently once
    rows have been taken of it, and text once it was copied.
    """
    if not isinstance(table, pd.DataFrame):
        return [table]
    columns = [_plain(table.iloc[:, place]) for place in range(table.shape[1])]
    return [table.index, list(table.columns), *columns]


def _plain(column: pd.Series) -> Any:
    """An array of NumPy, if the values are of its types or text."""
    if isinstance(column.dtype, np.dtype | pd.StringDtype):
        is_text = isinstance(column.dtype, pd.StringDtype)
        return np.ascontiguousarray(column.to_numpy(object if is_text else None))
    return column.array


def _line(run: Run, number: int, n_runs: int, is_old: bool) -> str:
    source = "read from cache" if is_old else "done"
    return (
        f"[{number:>{len(str(n_runs))}}/{n_runs}] {run.model}, fold {run.fold + 1} "
        f"{source}: fit {run.fit_seconds:.1f} s, predict {run.predict_seconds:.1f} s"
    )


def _complete(runs: Sequence[Run], n_models: int) -> list[int]:
    """Folds that all models have finished."""
    done = np.bincount([run.fold for run in runs], minlength=1)
    return np.flatnonzero(done == n_models).tolist()


def _warn_of_interruption(n_folds: int, n_runs: int, n_jobs: int) -> None:
    warnings.warn(
        f"Interrupted after {n_runs} of {n_jobs} runs: compared are the {n_folds} "
        "folds that all models have finished. The same call with cache= goes on where "
        "an interrupted one with it was.",
        UserWarning,
        stacklevel=4,
    )


def _unfinished(jobs: Sequence[Job], runs: Sequence[Run]) -> list[tuple[str, int]]:
    done = {(run.model, run.fold) for run in runs}
    return [
        (job.model, job.fold + 1) for job in jobs if (job.model, job.fold) not in done
    ]


def _scored(
    models: Sequence[str],
    runs: Sequence[Run],
    tests: Mapping[int, np.ndarray],
    X: Any,
    y: Any,
    metrics: Sequence[Metric],
    customers: np.ndarray,
) -> tuple[dict[int, FoldScores], int]:
    """How to score all models on each fold, and the number of customers tested."""
    tested = np.unique(customers[np.concatenate(list(tests.values()))])
    by_place = {(run.model, run.fold): run for run in runs}
    folds = {}
    for fold, test in tests.items():
        rows = safe_indexing(X, test), safe_indexing(y, test)
        scores = [by_place[name, fold].scores(metrics, *rows) for name in models]
        codes = np.searchsorted(tested, customers[test])
        folds[fold] = FoldScores(codes, scores)
    return folds, len(tested)
