"""Rows grouped by score: the order of rows with ties, as a curve and in bins."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sklearn_seqcrm.metrics._read import ScoredRows

# Relative to the weight of a bin: the rounding of a cumulative sum of weights must not
# cut a sliver off a group whose end is the edge of a bin.
_ROUNDING = 1e-9


def descending_groups(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order by descending score, and where each group of ties begins in it.

    Tied rows keep their order, so that sums over them are the same in every call.
    """
    order = np.argsort(-score, kind="stable")
    return order, np.flatnonzero(np.diff(score[order], prepend=np.inf))


class ScoreGroups(NamedTuple):
    """Groups of rows with one score, from the highest score to the lowest.

    Notes
    -----
    Whatever depends on the order of rows spreads the total of a group evenly over its
    weight. With equal weights that is the mean over all orders of the tied rows, so
    that no result depends on the order of the rows.
    """

    score: np.ndarray  # (n_groups,): descending
    weight: np.ndarray  # (n_groups,): sum of the weights
    total: np.ndarray  # (n_groups,): sum of the weighted targets

    @classmethod
    def of(cls, rows: ScoredRows) -> ScoreGroups:
        """Sort and group rows."""
        order, first = descending_groups(rows.score)
        weight = rows.weight[order]
        return cls(
            rows.score[order[first]],
            np.add.reduceat(weight, first),
            np.add.reduceat(weight * rows.y[order], first),
        )

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return weight and total of the first k groups, k = 0 ... n_groups."""
        return (
            np.cumsum(np.append(0.0, self.weight)),
            np.cumsum(np.append(0.0, self.total)),
        )

    def area(self) -> float:
        """Return the area under the curve of totals over weights, by trapezoids."""
        # sum over groups g of w[g] * (Y[g - 1] + Y[g]) / 2, Y the cumulative total
        _, totals = self.curve()
        return float((self.weight * (totals[1:] + totals[:-1])).sum() / 2)

    def in_bins(self, n_bins: int) -> BinPieces:
        """Cut the rows, highest score first, into bins of equal weight.

        A group that lies across an edge is cut into a piece on either side::

            groups   |----- a -----|---- b ----|----- c -----|
            bins     |         1         |         2         |
            pieces   |    a, 1     |b, 1 |b, 2 |    c, 2     |
        """
        ends = np.cumsum(self.weight)
        edges = ends[-1] * np.arange(1, n_bins + 1) / n_bins
        edges[-1] = ends[-1]
        # Move an edge that is within rounding of the end of a group to that end.
        near = np.searchsorted((ends[1:] + ends[:-1]) / 2, edges)
        is_close = np.abs(ends[near] - edges) <= _ROUNDING * edges[0]
        edges = np.where(is_close, ends[near], edges)
        cuts = np.union1d(ends, edges)
        return BinPieces(
            np.searchsorted(edges, cuts),
            np.searchsorted(ends, cuts),
            np.diff(cuts, prepend=0),
        )


class BinPieces(NamedTuple):
    """Pieces of groups in bins, in the order of both."""

    bin: np.ndarray  # (n_pieces,), int64: the bin that holds the piece
    group: np.ndarray  # (n_pieces,), int64: the group that it is a part of
    weight: np.ndarray  # (n_pieces,)

    def mean(self, of_group: np.ndarray) -> np.ndarray:
        """Return the weighted mean in each bin of a number per group, (n_bins,)."""
        sums = np.bincount(self.bin, self.weight * of_group[self.group])
        return sums / np.bincount(self.bin, self.weight)
