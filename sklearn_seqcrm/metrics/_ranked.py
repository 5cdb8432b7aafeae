"""Rows in the order of their scores, those of equal score as one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sklearn_seqcrm.metrics._read import ScoredRows

# Of the size of a bin: edges so close to the end of a row mean the end of the row.
_ROUNDING = 1e-9


class Ranked(NamedTuple):
    """Groups of rows of one score, from the highest score to the lowest.

    Parameters
    ----------
    score : ndarray of shape (n_groups,)
        Descending.
    weight : ndarray of shape (n_groups,)
        Sum of the weights.
    total : ndarray of shape (n_groups,)
        Sum of the weighted targets.

    Notes
    -----
    Whatever depends on the order of rows is worked out as if the total of a group were
    spread evenly over its weight. With equal weights that is the mean over all orders
    of the tied rows, so that no result depends on the order in which rows come.
    """

    score: np.ndarray
    weight: np.ndarray
    total: np.ndarray

    @classmethod
    def of(cls, rows: ScoredRows) -> Ranked:
        """Sort rows."""
        order = np.argsort(-rows.score, kind="stable")
        score, weight = rows.score[order], rows.weight[order]
        first = np.flatnonzero(np.diff(score, prepend=np.inf))
        totals = np.add.reduceat(weight * rows.y[order], first)
        return cls(score[first], np.add.reduceat(weight, first), totals)

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight and total of the best groups, from none to all, (n_groups + 1,)."""
        nothing = [0.0]
        return (
            np.concatenate([nothing, np.cumsum(self.weight)]),
            np.concatenate([nothing, np.cumsum(self.total)]),
        )

    def area(self) -> float:
        """Area under the curve, by trapezoids."""
        _, totals = self.curve()
        return float((self.weight * (totals[1:] + totals[:-1])).sum() / 2)

    def in_bins(self, n_bins: int) -> Pieces:
        """Cut the rows, best first, into bins of the same weight.

        Parameters
        ----------
        n_bins : int
            How many.

        Returns
        -------
        Pieces
            What each bin has of each group. A group that lies across an edge has a
            piece on both sides.
        """
        ends = np.cumsum(self.weight)
        edges = ends[-1] * np.arange(1, n_bins + 1) / n_bins
        edges[-1] = ends[-1]
        near = np.searchsorted((ends[1:] + ends[:-1]) / 2, edges)
        close = np.abs(ends[near] - edges) <= _ROUNDING * edges[0]
        edges = np.where(close, ends[near], edges)
        cuts = np.union1d(ends, edges)
        return Pieces(
            np.searchsorted(edges, cuts),
            np.searchsorted(ends, cuts),
            np.diff(cuts, prepend=0),
        )


class Pieces(NamedTuple):
    """Parts of groups in bins, in the order of both.

    Parameters
    ----------
    bin, group : ndarray of shape (n_pieces,), int64
        Where each piece is, and what of.
    weight : ndarray of shape (n_pieces,)
        Its weight.
    """

    bin: np.ndarray
    group: np.ndarray
    weight: np.ndarray

    def mean(self, of_group: np.ndarray) -> np.ndarray:
        """Means in each bin of what each group has, shape (n_bins,)."""
        sums = np.bincount(self.bin, self.weight * of_group[self.group])
        return sums / np.bincount(self.bin, self.weight)
