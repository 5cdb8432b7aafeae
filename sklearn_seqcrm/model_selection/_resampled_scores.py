"""Scores of models on samples of the customers, each with all of their test rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._bootstrap import draw_customers
from sklearn_seqcrm.model_selection._weighted_scores import Score

# Largest size of a matrix of weights: 8 MB, and a few times that for its sums.
_BLOCK = 2**20


class FoldScores(NamedTuple):
    """Test rows of a fold, and the scores of each model on them."""

    # (n_test,), int64: number of the customer of each row, among the customers of all
    # test rows.
    customers: np.ndarray
    scores: Sequence[Sequence[Score]]  # for each model a score for each metric

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
    """Score all models on the same samples of the customers (paired bootstrap).

    Returns means over the folds, (n_resamples, n_models, n_metrics): NaN where a score
    is not defined in one of them, such as the area under the ROC curve if all drawn
    customers have one class. A customer drawn twice has the weight 2 in each row; no
    row is copied.
    """
    most_rows = max(len(fold.customers) for fold in folds)
    # Number of samples whose weights fit into a block.
    size = max(1, _BLOCK // max(most_rows, n_customers))
    drawn = draw_customers(n_customers, n_resamples, rng)
    blocks = []
    while block := list(islice(drawn, size)):
        counts = np.array(block, dtype="float64")  # (B, n_customers)
        blocks.append(
            np.mean([fold.score(counts[:, fold.customers]) for fold in folds], axis=0)
        )
    return np.concatenate(blocks)


def variance_factor(
    folds: Sequence[tuple[np.ndarray, np.ndarray]], n_rows: int
) -> float:
    """Return the ratio of the variance of a mean over folds to that of its samples.

    Samples of test customers leave the models as they are. But rows that test one fold
    train the models of others, and a pair of rows (i, j) that counts in two folds, once
    as test and training row and once as training and test row, counts twice with the
    same sign. With F folds of n_f test and m_f training rows, this mean stands for what
    depends on the training rows::

        S    = sum_ij c_ij k(i, j),  c_ij = 1/F sum_f [i tests f] [j trains f] / n_f m_f

    If the k(i, j) = k(j, i) of different pairs are uncorrelated, have the mean 0, and
    have equal variances::

        var(S) / var(S of samples) = sum_ij (c_ij^2 + c_ij c_ji) / sum_ij c_ij^2

    It is 1 for a single fold and for folds that move forward in time, and 2 for
    cross-validation with any number of folds (compare the constant of Nadeau and
    Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003).
    For the part of a score that depends on the test rows alone it would be 1; folds
    alone do not show how large that part is (Bengio and Grandvalet, JMLR 5, 2004).

    `folds` are positions of training and test rows; the ratio is from 1 to 2.
    """
    trains, tests = np.zeros((2, n_rows, len(folds)))
    for number, (train, test) in enumerate(folds):
        trains[train, number] = 1 / len(train)
        tests[test, number] = 1 / len(test)
    # C = tests @ trains.T, of which only products of F x F matrices are needed.
    across = trains.T @ tests
    squares = np.vdot(tests.T @ tests, trains.T @ trains)
    return float(1 + np.vdot(across, across.T) / squares)
