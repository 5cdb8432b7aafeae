"""What a comparison of models found, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sklearn_seqcrm.model_selection._bootstrap import interval
from sklearn_seqcrm.model_selection._runs import Run

_OF_A_RUN = ["n_train", "n_test", "fit_seconds", "predict_seconds", "peak_memory"]


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """What `compare_models` found.

    Parameters
    ----------
    differences : DataFrame
        A row for each model but the reference, and each metric: ``model``,
        ``metric``, ``difference`` (its score less that of the reference, means over
        folds), ``lower`` and ``upper`` (its interval), ``better`` (share of the
        resamples in which it is above 0) and ``n_resamples`` (those in which it is
        defined).
    summary : DataFrame
        A row for each model and metric: ``model``, ``metric``, ``score`` (mean over
        folds), ``lower``, ``upper``.
    scores : DataFrame
        A row for each model, fold (from 1) and metric: ``model``, ``fold``,
        ``metric``, ``score``.
    runs : DataFrame
        A row for each model and fold: ``model``, ``fold``, ``n_train``, ``n_test``,
        ``fit_seconds``, ``predict_seconds``, ``peak_memory`` (MiB).
    reference : str
        The model that the others are compared with.
    confidence_level : float
        Probability of the intervals.
    n_customers : int
        Number of customers who are tested.
    unfinished : list of (str, int)
        Models and folds that an interruption left out.

    See Also
    --------
    compare_models : Makes it.
    ModelComparisonDisplay : A picture of the differences.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from sklearn.dummy import DummyRegressor
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_seqcrm.model_selection import compare_models
    >>> X, y = make_regression(random_state=0)
    >>> found = compare_models(
    ...     {"mean": DummyRegressor(), "ridge": Ridge()}, X, y, cv=2, scoring="r2"
    ... )
    >>> found.reference, found.n_customers
    ('mean', 100)
    >>> list(found.runs)[:4]
    ['model', 'fold', 'n_train', 'n_test']
    """

    differences: pd.DataFrame
    summary: pd.DataFrame
    scores: pd.DataFrame
    runs: pd.DataFrame
    reference: str
    confidence_level: float
    n_customers: int
    unfinished: list[tuple[str, int]]


def tabulated(
    models: Sequence[str],
    metrics: Sequence[str],
    scores: Mapping[int, np.ndarray],
    draws: np.ndarray,
    *,
    reference: str,
    confidence_level: float,
    n_customers: int,
    runs: Sequence[Run],
    unfinished: list[tuple[str, int]],
) -> ModelComparison:
    """Write down scores and what they were on other customers.

    Parameters
    ----------
    models, metrics : sequence of str
        Names.
    scores : dict of int to ndarray of shape (n_models, n_metrics)
        Scores by fold, from 0.
    draws : ndarray of shape (n_resamples, n_models, n_metrics)
        Means over folds on resamples.
    reference : str
        One of the models.
    confidence_level : float
        Probability of the intervals.
    n_customers : int
        Number of customers who are tested.
    runs : sequence of Run
        All that are done.
    unfinished : list of (str, int)
        Those that are not.

    Returns
    -------
    ModelComparison
        Four tables.
    """
    mean, at = np.mean(list(scores.values()), axis=0), models.index(reference)
    others = [i for i in range(len(models)) if i != at]
    differences = _table(
        [models[i] for i in others],
        metrics,
        "difference",
        (mean - mean[at])[others],
        (draws - draws[:, [at]])[:, others],
        confidence_level,
        n_customers,
    )
    summary = _table(
        models, metrics, "score", mean, draws, confidence_level, n_customers
    )
    return ModelComparison(
        differences=differences,
        summary=summary[["model", "metric", "score", "lower", "upper"]],
        scores=_scores_table(models, metrics, scores),
        runs=_runs_table(models, runs),
        reference=reference,
        confidence_level=confidence_level,
        n_customers=n_customers,
        unfinished=unfinished,
    )


def _table(
    models: Sequence[str],
    metrics: Sequence[str],
    name: str,
    found: np.ndarray,
    draws: np.ndarray,
    confidence_level: float,
    n_customers: int,
) -> pd.DataFrame:
    """A row for each model and metric, with the interval that its draws make."""
    lower, upper = np.empty((2, *found.shape))
    for i, j in np.ndindex(found.shape):
        lower[i, j], upper[i, j] = interval(
            draws[:, i, j], confidence_level, n_customers
        )
    n_resamples = np.isfinite(draws).sum(axis=0)
    better = (draws > 0).sum(axis=0) / np.maximum(n_resamples, 1)
    return pd.DataFrame(
        {
            "model": np.repeat(np.array(models, dtype=object), len(metrics)),
            "metric": np.tile(np.array(metrics, dtype=object), len(models)),
            name: found.ravel(),
            "lower": lower.ravel(),
            "upper": upper.ravel(),
            "better": better.ravel(),
            "n_resamples": n_resamples.ravel(),
        }
    )


def _scores_table(
    models: Sequence[str], metrics: Sequence[str], scores: Mapping[int, np.ndarray]
) -> pd.DataFrame:
    """A row for each model, fold and metric."""
    levels = [models, [fold + 1 for fold in scores], metrics]
    index = pd.MultiIndex.from_product(levels, names=["model", "fold", "metric"])
    values = np.stack(list(scores.values()), axis=1).ravel()
    return pd.DataFrame({"score": values}, index=index).reset_index()


def _runs_table(models: Sequence[str], runs: Sequence[Run]) -> pd.DataFrame:
    """What each run took, model by model."""
    ordered = sorted(runs, key=lambda run: (models.index(run.model), run.fold))
    return pd.DataFrame(
        [
            {"model": run.model, "fold": run.fold + 1}
            | {name: getattr(run, name) for name in _OF_A_RUN}
            for run in ordered
        ]
    )
