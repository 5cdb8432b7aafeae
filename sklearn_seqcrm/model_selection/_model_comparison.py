"""Result of a comparison of models, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from sklearn_seqcrm._bootstrap import expanded_interval
from sklearn_seqcrm.model_selection._runs import Run


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """Result of `compare_models`.

    Parameters
    ----------
    differences : DataFrame
        A row for each model but the reference, and each metric: ``model``,
        ``metric``, ``difference`` (score less that of the reference, means over folds),
        ``lower`` and ``upper`` (its interval), ``better`` (share of the resamples with
        a difference above 0) and ``n_resamples`` (those in which it is defined).
        Resamples are spread further in cross-validation, see `compare_models`.
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
        Name of the model that the others are compared with.
    confidence_level : float
        Probability of the intervals.
    n_customers : int
        Number of customers in the test rows.
    unfinished : list of (str, int)
        Models and folds without a run after an interruption.

    See Also
    --------
    compare_models : Computes it.
    ModelComparisonDisplay : Plot of the differences.

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
    resampled: np.ndarray,
    *,
    reference: str,
    confidence_level: float,
    n_customers: int,
    factor: float,
    runs: Sequence[Run],
    unfinished: list[tuple[str, int]],
) -> ModelComparison:
    """Build the tables of a comparison.

    `scores` by fold, from 0, are of shape (n_models, n_metrics); `resampled`,
    (n_resamples, n_models, n_metrics), are means over folds on samples of the
    customers, whose differences are widened by the `variance_factor` of the folds,
    `factor`; `runs` are those that are done. Other arguments are those of
    `ModelComparison`.
    """
    mean, at = np.mean(list(scores.values()), axis=0), models.index(reference)
    others = [i for i in range(len(models)) if i != at]
    # Paired: both scores of a difference are of the same sample, so that what makes a
    # sample easy or hard for all models cancels.
    paired = resampled - resampled[:, [at]]
    intervals = partial(
        _table, metrics, confidence_level=confidence_level, n_customers=n_customers
    )
    summary = intervals("score", models, mean, resampled)
    names = [models[i] for i in others]
    difference = (mean - mean[at])[others]
    widened = difference + np.sqrt(factor) * (paired[:, others] - difference)
    ordered = sorted(runs, key=lambda run: (models.index(run.model), run.fold))
    runs_table = pd.DataFrame(ordered).drop(columns="outputs")
    return ModelComparison(
        differences=intervals("difference", names, difference, widened),
        summary=summary[["model", "metric", "score", "lower", "upper"]],
        scores=_scores_table(models, metrics, scores),
        runs=runs_table.assign(fold=runs_table["fold"] + 1),
        reference=reference,
        confidence_level=confidence_level,
        n_customers=n_customers,
        unfinished=unfinished,
    )


def _table(
    metrics: Sequence[str],
    name: str,
    models: Sequence[str],
    mean: np.ndarray,
    samples: np.ndarray,
    *,
    confidence_level: float,
    n_customers: int,
) -> pd.DataFrame:
    """Return a row for each model and metric: a mean called `name`, and its interval.

    `mean` is of shape (n_models, n_metrics), `samples` of (n_resamples, n_models,
    n_metrics).
    """
    # Samples on which a score is not defined, as without a positive, are left out.
    ends = [
        expanded_interval(one[np.isfinite(one)], confidence_level, n_customers)
        for one in samples.reshape(len(samples), -1).T
    ]
    lower, upper = np.array(ends).reshape(-1, 2).T
    n_defined = np.isfinite(samples).sum(axis=0).ravel()
    n_better = (samples > 0).sum(axis=0).ravel()
    columns = {
        "model": np.repeat(np.array(models, dtype=object), len(metrics)),
        "metric": np.tile(np.array(metrics, dtype=object), len(models)),
        name: mean.ravel(),
        "lower": lower,
        "upper": upper,
        "better": n_better / np.maximum(n_defined, 1),
        "n_resamples": n_defined,
    }
    return pd.DataFrame(columns)


def _scores_table(
    models: Sequence[str], metrics: Sequence[str], scores: Mapping[int, np.ndarray]
) -> pd.DataFrame:
    """Return a row for each model, fold and metric."""
    axes = [models, [fold + 1 for fold in scores], metrics]
    index = pd.MultiIndex.from_product(axes, names=["model", "fold", "metric"])
    # (folds, models, metrics) to (models, folds, metrics).
    values = np.stack(list(scores.values()), axis=1).ravel()
    return pd.DataFrame({"score": values}, index=index).reset_index()
