"""Whether predictions are too high or too low in sum."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm.metrics._read import read_rows, warn_undefined


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
