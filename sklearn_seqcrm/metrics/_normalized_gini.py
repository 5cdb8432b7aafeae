"""How well predictions order rows by what they are worth."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm.metrics._ranked import Ranked
from sklearn_seqcrm.metrics._read import read_rows, warn_undefined


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
