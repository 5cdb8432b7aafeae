"""Cluster bootstrap: customers drawn with replacement, each with all test rows.

Rows of a customer are dependent. To draw rows instead of customers would make intervals
too short (Field and Welsh, "Bootstrapping clustered data", JRSS B 69, 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

from sklearn_seqcrm.model_selection._weighted_scores import Score

# Largest size of a matrix of weights: 8 MB, and a few times that for its sums.
_BLOCK = 2**20


class FoldScores(NamedTuple):
    """Test rows of a fold, and the scores of each model on them.

    Parameters
    ----------
    customers : ndarray of shape (n_test,), int64
        Number of the customer of each row, among the customers of all test rows.
    scores : sequence of sequences of Score
        For each model a score for each metric.
    """

    customers: np.ndarray
    scores: Sequence[Sequence[Score]]

    def score(self, weights: np.ndarray) -> np.ndarray:
        """Score under weights of shape (B, n_test): shape (B, n_models, n_metrics)."""
        found = [[score(weights) for score in of_model] for of_model in self.scores]
        return np.moveaxis(np.array(found), 2, 0)  # from (n_models, n_metrics, B)


def resampled_scores(
    folds: Sequence[FoldScores],
    n_customers: int,
    n_resamples: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Score all models on bootstrap samples of the customers.

    A customer drawn twice has the weight 2 in each row and fold; no row is copied. All
    models are scored on the same samples (paired bootstrap).

    Parameters
    ----------
    folds : sequence of FoldScores
        The folds.
    n_customers : int
        Number of customers in the test rows.
    n_resamples : int
        Number of samples, each of `n_customers` customers.
    rng : RandomState
        Draws the customers.

    Returns
    -------
    ndarray of shape (n_resamples, n_models, n_metrics)
        Means over the folds; NaN where a score is not defined in one of them, such as
        the area under the ROC curve if all drawn customers have one class.
    """
    most_rows = max(len(fold.customers) for fold in folds)
    # Number of samples whose weights fit into a block.
    size = max(1, _BLOCK // max(most_rows, n_customers))
    blocks = []
    for start in range(0, n_resamples, size):
        # (B, n_customers): how often each customer is drawn.
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
    samples: np.ndarray, confidence_level: float, n_customers: int
) -> tuple[float, float]:
    """Return the expanded percentile interval of a score.

    Parameters
    ----------
    samples : ndarray of shape (n_resamples,)
        Scores on bootstrap samples; NaN is left out.
    confidence_level : float
        Probability of the interval.
    n_customers : int
        Number of customers in the test rows.

    Returns
    -------
    lower, upper : float
        NaN if no sample has a score, or there is one customer only.

    Notes
    -----
    The ends are the quantiles ``a`` and ``1 - a`` of the samples, with ``a = Phi(t_{n -
    1, (1 - level) / 2} sqrt(n / (n - 1)))`` instead of ``(1 - level) / 2``: the
    standard deviation of a mean of ``n`` drawn customers is too small by a factor of
    ``sqrt((n - 1) / n)``, and Student's quantiles with ``n - 1`` degrees of freedom are
    larger than the normal ones (Hesterberg, "What Teachers Should Know About the
    Bootstrap", 2015, doi:10.1080/00031305.2015.1089789, section 3.4).
    """
    defined = samples[np.isfinite(samples)]
    if not len(defined) or n_customers < 2:
        return np.nan, np.nan
    # Student's quantile, scaled, is turned back into a probability of the normal.
    student = stdtrit(n_customers - 1, (1 - confidence_level) / 2)
    tail = ndtr(student * np.sqrt(n_customers / (n_customers - 1)))
    lower, upper = np.quantile(defined, [tail, 1 - tail])
    return float(lower), float(upper)
