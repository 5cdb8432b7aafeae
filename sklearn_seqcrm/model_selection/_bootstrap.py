"""Customers drawn again and again, each with all of their test rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

from sklearn_seqcrm.model_selection._weighted_scores import Score

# Weights of so many rows are held at once, 8 MB and a few times that.
_BLOCK = 2**20


class FoldScores(NamedTuple):
    """Test rows of a fold, and how to score each model on them.

    Parameters
    ----------
    customers : ndarray of shape (n_test,), int64
        Number of the customer of each row, among all that are tested.
    scores : sequence of sequences of Score
        For each model one score of each metric.
    """

    customers: np.ndarray
    scores: Sequence[Sequence[Score]]

    def score(self, weights: np.ndarray) -> np.ndarray:
        """Scores under weights of shape (b, n_test), shape (b, n_models, n_metrics)."""
        found = [[score(weights) for score in of_model] for of_model in self.scores]
        return np.moveaxis(np.array(found), 2, 0)


def resampled_scores(
    folds: Sequence[FoldScores],
    n_customers: int,
    n_resamples: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Scores of all models on customers drawn with replacement.

    A customer who is drawn twice counts twice, in every row and in every fold: weights
    say so, no row is copied. All models are scored on the same draws.

    Parameters
    ----------
    folds : sequence of FoldScores
        The folds.
    n_customers : int
        Number of customers who are tested.
    n_resamples : int
        How often to draw as many customers.
    rng : RandomState
        Draws them.

    Returns
    -------
    ndarray of shape (n_resamples, n_models, n_metrics)
        Means over the folds; NaN where a score is not defined in one of them, as the
        area under a curve is not if all customers drawn are of one class.
    """
    most_rows = max(len(fold.customers) for fold in folds)
    size = max(1, _BLOCK // max(most_rows, n_customers))
    blocks = []
    for start in range(0, n_resamples, size):
        counts = np.array(
            [
                np.bincount(
                    rng.randint(n_customers, size=n_customers), minlength=n_customers
                )
                for _ in range(min(size, n_resamples - start))
            ],
            dtype="float64",
        )
        blocks.append(
            np.mean([fold.score(counts[:, fold.customers]) for fold in folds], axis=0)
        )
    return np.concatenate(blocks)


def interval(
    draws: np.ndarray, confidence_level: float, n_customers: int
) -> tuple[float, float]:
    """Between which numbers a score of all customers lies.

    Parameters
    ----------
    draws : ndarray of shape (n_resamples,)
        What `resampled_scores` found; NaN is left out.
    confidence_level : float
        Probability of the interval.
    n_customers : int
        Number of customers who are tested.

    Returns
    -------
    lower, upper : float
        NaN if no draw is defined, or there is one customer, who tells of no other.

    Notes
    -----
    The quantiles are further out than those of the level, the fewer customers there
    are: means of ``n`` drawn customers vary by a factor of ``sqrt((n - 1) / n)`` too
    little, and the quantiles of Student's distribution with ``n - 1`` degrees of
    freedom are larger than the normal ones (Hesterberg, "What Teachers Should Know
    About the Bootstrap", 2015, doi:10.1080/00031305.2015.1089789, section 3.4).
    """
    defined = draws[np.isfinite(draws)]
    if not len(defined) or n_customers < 2:
        return np.nan, np.nan
    student = stdtrit(n_customers - 1, (1 - confidence_level) / 2)
    tail = ndtr(student * np.sqrt(n_customers / (n_customers - 1)))
    lower, upper = np.quantile(defined, [tail, 1 - tail])
    return float(lower), float(upper)
