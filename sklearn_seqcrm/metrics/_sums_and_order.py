"""Bias of sums, and how well predictions order rows by value."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sklearn_seqcrm.metrics._read import ScoredRows, read_rows, warn_undefined

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


def aggregate_bias(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    """Tell by how much predictions are too high in sum, as a share of what there was.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        What each row turned out to be worth: amounts, counts, or 1 and 0.
    y_pred : array-like of shape (n,)
        Predictions of it, in the same unit, or probabilities.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None: 1 for each row.

    Returns
    -------
    float
        ``sum(w * y_pred) / sum(w * y_true) - 1``: .1 for 10% too much, -.1 for 10% too
        little; NaN if the total of `y_true` is not above 0.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing or infinite, a weight is negative, or no
        row has weight.
    TypeError
        If something other than numbers is given.

    Warns
    -----
    UndefinedMetricWarning
        If the total of `y_true` is not above 0.

    See Also
    --------
    decile_mape : Errors of the level in each tenth of the rows.
    get_scorer : ``"neg_absolute_bias"`` for a search.

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import aggregate_bias
    >>> aggregate_bias([0, 10, 30], [5, 5, 20])
    -0.25
    """
    rows = read_rows(y_true, y_pred, sample_weight)
    total = rows.weight @ rows.y
    if not total > 0:
        warn_undefined("The total of y_true is not above 0, and nothing is a share")
        return np.nan
    return float(rows.weight @ rows.score / total - 1)


def normalized_gini(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    """Tell how well predictions order rows, from no better than chance to perfectly.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        What each row turned out to be worth: amounts, counts, or 1 and 0. Returns may
        make it negative.
    y_pred : array-like of shape (n,)
        Predictions, or any score that is higher for a row thought to be worth more.
        Only their order counts.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None: 1 for each row.

    Returns
    -------
    float
        1 for the order of `y_true` itself, 0 for random order, -1 for the reverse; NaN
        if all of `y_true` are equal.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing or infinite, a weight is negative, or no
        row has weight.
    TypeError
        If something other than numbers is given.

    Warns
    -----
    UndefinedMetricWarning
        If all of `y_true` are equal: then every order is as good.

    See Also
    --------
    cumulative_gain_curve : The curve that it is the area of.
    get_scorer : ``"normalized_gini"`` for a search.

    Notes
    -----
    Rows are sorted by prediction, highest first. The gain curve is the share of the
    total of `y_true` that the first rows have, over their share of all rows, and the
    Gini coefficient of the predictions is twice the area between this curve and its
    diagonal. Divided by that of the order by `y_true` itself, it is normalized
    [1]_. Areas are those of trapezoids, so that random order is 0 on average in a few
    rows as well.

    Rows of equal prediction share a straight piece of the curve. That is the mean over
    all their orders, so that the order in which rows come does not matter.

    For targets of 1 and 0, it is ``2 * roc_auc_score(y_true, y_pred) - 1``. The factor
    by which the total is divided cancels out, so that totals of 0 or less are no
    exception.

    References
    ----------
    .. [1] Wang, X., Liu, T. and Miao, J. (2019). A deep probabilistic model for
       customer lifetime value prediction. https://arxiv.org/abs/1912.07753

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import normalized_gini
    >>> spend = [0, 0, 10, 90]
    >>> normalized_gini(spend, [1, 2, 3, 4])
    1.0
    >>> round(normalized_gini(spend, [1, 2, 4, 3]), 2)
    0.43
    >>> normalized_gini(spend, [5, 5, 5, 5])
    0.0
    """
    rows = read_rows(y_true, y_pred, sample_weight)
    if rows.y.min() == rows.y.max():
        warn_undefined("All of y_true are equal, so that every order is as good")
        return np.nan
    # The unit of y cancels out, and differences of the largest floats would overflow.
    y = np.ldexp(rows.y, -int(np.frexp(np.abs(rows.y).max())[1]))
    # About their mean the total is 0, so that areas are those beside the diagonal. The
    # lowest first: a mean of large numbers is rounded at their size.
    y -= y.min()
    y -= np.average(y, weights=rows.weight)
    found = Ranked.of(rows._replace(y=y)).area()
    best = Ranked.of(rows._replace(y=y, score=rows.y)).area()
    return found / best
