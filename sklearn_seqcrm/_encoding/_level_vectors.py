"""Fixed vectors of the levels of a field, from the moments in which they co-occur.

Of thousands of products, most have too few customers for a vector that is learned from
labels. What is bought together needs no labels: levels of one moment are counted in
pairs, the counts become positive pointwise mutual information with smoothed contexts,
and a truncated singular value decomposition gives each level a short vector
(Levy, Goldberg and Dagan, 2015, https://doi.org/10.1162/tacl_a_00134)::

    PPMI(a, b) = max(0, log(n(a, b) * sum_c n(c)^.75 / (n(a) * n(b)^.75)))
    PPMI ~ U S V'         vector of a = row a of U sqrt(S)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd

from sklearn_seqcrm._encoding._fields import LevelTable
from sklearn_seqcrm._encoding._training import LevelCounts, Training
from sklearn_seqcrm._ragged import Learning, Pass, add_all, is_run_start
from sklearn_seqcrm._store import find_ids

_SIZE = 8  # length of a vector
# Only the most frequent levels have vectors: the others occur too rarely for counts of
# pairs, and pairs take memory.
_MOST_LEVELS = 5000
# Vectors need this share of the events to stand in moments of several levels.
_LEAST_SHARE = 0.5
_CONTEXT_POWER = 0.75
_FAR = 10.0  # standard deviations at which vectors are clipped, as vector fields are
# Standard deviation of the vectors, small beside that of other inputs, 1. So a network
# takes more steps to learn from them: it does if they tell something, and has stopped
# before they are learned by heart if they do not. See docs/defaults_inputs.md.
_SPREAD = 0.1


@dataclass(frozen=True, eq=False)
class LevelVectors(LevelTable):
    """Encoder of a categorical field: the vector of its level."""

    # (n_levels, 8), float32: their vectors, with mean 0 and standard deviation 0.1
    # among the training events. Other levels and missing values have zeros.
    vectors: np.ndarray

    @classmethod
    def learning(
        cls,
        name: str,
        found: LevelCounts,
        periods: Callable[[np.ndarray], np.ndarray],
    ) -> Learning[Self | None]:
        """Learn from the moments of the training events.

        A field may have many levels and one for each moment, as the store of an
        invoice. There are no vectors if less than half of the training events stand in
        moments of several levels.

        `found` are the levels of the field `name` among the training events. `periods`
        takes times (n,), and returns numbers that are equal within a moment; it can be
        pickled. There is one pass over a `Training`.
        """
        levels, counts = found
        chosen = np.sort(np.argsort(-counts, kind="stable")[:_MOST_LEVELS])
        pairs, n_with_others = yield Pass(
            partial(_pairs, name, levels[chosen], periods), add_all
        )
        if n_with_others < _LEAST_SHARE * counts.sum():
            return None
        vectors = _factorize(pairs)
        weight = counts[chosen] / counts[chosen].sum()
        vectors = vectors - weight @ vectors
        spread = np.sqrt(weight @ vectors**2)
        # A spread that is only rounding must not become a channel.
        vectors = vectors / np.where(spread > 1e-6, spread, np.inf)
        vectors = _SPREAD * np.clip(vectors, -_FAR, _FAR)
        return cls(levels[chosen], vectors.astype("float32"))

    @property
    def n_components(self) -> int:
        return self.vectors.shape[1]

    def _table_of(self, categories: pd.Index | None) -> np.ndarray:
        """Return vectors, shape (n_categories + 1, 8); the last row is 0."""
        assert categories is not None
        place = np.append(find_ids(categories, self.levels), -1)
        none = np.zeros((1, self.n_components), "float32")
        return np.concatenate([self.vectors, none])[place]

    def learned(self) -> tuple[Any, ...]:
        digest = hashlib.sha256(self.vectors.tobytes()).hexdigest()
        return list(self.levels), digest


def _pairs(
    name: str,
    chosen: pd.Index,
    periods: Callable[[np.ndarray], np.ndarray],
    training: Training,
) -> tuple[csr_matrix, int]:
    """Count the moments that have both of two of the chosen levels, (n, n).

    Return also the number of events in moments that have several of the levels.
    """
    column = training.columns[name]
    assert column.categories is not None
    n, n_with_others = len(chosen), 0
    # Position among the chosen levels; -1 for others, and for missing values.
    place = np.append(find_ids(column.categories, chosen), -1)
    pairs = csr_matrix((n, n), dtype="float64")
    for index, first in training.blocks():
        levels = place[column.values[index]]
        begins = is_run_start(periods(training.times[index]), first)
        moment = np.cumsum(begins) - 1
        known = levels >= 0
        shape = int(begins.sum()), n
        has = csr_matrix((np.ones(known.sum()), (moment[known], levels[known])), shape)
        has.data[:] = 1  # however many lines of the moment have the level
        pairs = pairs + has.T @ has
        n_distinct = np.diff(has.indptr)  # levels of each moment
        n_with_others += int((n_distinct[moment[known]] > 1).sum())
    return pairs, n_with_others


def _factorize(pairs: csr_matrix) -> np.ndarray:
    """Return a vector for each level, (n, 8), from counts of pairs (n, n)."""
    pairs = pairs.tocoo()
    apart = pairs.row != pairs.col
    row, col, count = pairs.row[apart], pairs.col[apart], pairs.data[apart]
    n = pairs.shape[0]
    total = np.bincount(row, count, n)
    context = total**_CONTEXT_POWER
    information = np.log(count * context.sum() / (total[row] * context[col]))
    kept = information > 0
    matrix = csr_matrix((information[kept], (row[kept], col[kept])), (n, n))
    if n <= _SIZE + 1 or not matrix.nnz:
        return np.zeros((n, _SIZE))
    # A seeded sketch: ARPACK starts again at random where pairs fall into groups.
    left, values, _ = randomized_svd(matrix, _SIZE, n_iter=7, random_state=0)
    return left * np.sqrt(values)
