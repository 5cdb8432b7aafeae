"""Cumulative gain: the share of the total in the rows with the highest scores."""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm.metrics._read import (
    ScoredRows,
    has_positive_total,
    read_rows,
    warn_undefined,
)
from sklearn_seqcrm.metrics._score_groups import ScoreGroups


def cumulative_gain_curve(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_label: int | float | bool | str | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the share of the total in the rows with the highest scores.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Observed values of the rows: amounts, counts, or 1 and 0.
    y_score : array-like of shape (n,)
        Predictions, probabilities, or any score; rows are chosen in descending order.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None for a weight of 1 per row.
    pos_label : int, float, bool, str or None, default=None
        Label that counts as 1, all others as 0; None if `y_true` is numeric.

    Returns
    -------
    fraction : ndarray of shape (n_thresholds + 1,)
        Share of the rows whose score is at least the threshold, from 0 to 1.
    gain : ndarray of shape (n_thresholds + 1,)
        Share of the total of `y_true` in these rows, from 0 to 1. All but the first are
        NaN if the total is not above 0.
    thresholds : ndarray of shape (n_thresholds + 1,)
        Infinity, for no rows, then the distinct scores in descending order.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing or infinite, a weight is negative, no row
        has weight, or `pos_label` is none of the labels.
    TypeError
        If an argument holds anything but numbers or durations; with `pos_label`,
        `y_true` may hold any labels.

    Warns
    -----
    UndefinedMetricWarning
        If the total of `y_true` is not above 0.

    See Also
    --------
    lift_at : One point of the curve, relative to random choice.
    normalized_gini : The area between the curve and the diagonal.
    GainDisplay : A plot of the curve.

    Notes
    -----
    With weights ``w`` and rows in descending order of score, the curve has the points
    ``(sum(w[:k]) / sum(w), sum(w[:k] * y[:k]) / sum(w * y))`` at the ends ``k`` of runs
    of tied scores. In between it is straight: the mean over all orders of tied rows.

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import cumulative_gain_curve
    >>> fraction, gain, thresholds = cumulative_gain_curve(
    ...     [60, 30, 10, 0], [0.9, 0.5, 0.5, 0.1]
    ... )
    >>> fraction.tolist()
    [0.0, 0.25, 0.75, 1.0]
    >>> gain.tolist()
    [0.0, 0.6, 1.0, 1.0]
    >>> thresholds.tolist()
    [inf, 0.9, 0.5, 0.1]
    """
    rows = read_rows(y_true, y_score, sample_weight, pos_label, "y_score")
    return gain_curve(rows)


def gain_curve(rows: ScoredRows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the curve; see `cumulative_gain_curve`."""
    groups = ScoreGroups.of(rows)
    weight, total = groups.curve()
    gain = total / (total[-1] if has_positive_total(rows) else np.nan)
    gain[0] = 0
    return weight / weight[-1], gain, np.concatenate([[np.inf], groups.score])


@validate_params({"fraction": [Interval(Real, 0, 1, closed="right")]})
def lift_at(
    y_true: ArrayLike,
    y_score: ArrayLike,
    fraction: float = 0.1,
    *,
    sample_weight: ArrayLike | None = None,
    pos_label: int | float | bool | str | None = None,
) -> float:
    """Compute the mean target of the top rows relative to that of all rows.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Observed values of the rows: amounts, counts, or 1 and 0.
    y_score : array-like of shape (n,)
        Predictions, probabilities, or any score; rows are chosen in descending order.
    fraction : float, default=0.1
        Share of the rows that is chosen, above 0 and at most 1. The default is the top
        decile.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None for a weight of 1 per row.
    pos_label : int, float, bool, str or None, default=None
        Label that counts as 1, all others as 0; None if `y_true` is numeric.

    Returns
    -------
    float
        Mean of `y_true` over the chosen rows divided by the mean over all rows: 1 for
        random choice, at most ``1 / fraction`` if no value is negative. NaN if the
        total is not above 0.

    Raises
    ------
    ValueError
        If `fraction` is out of range, lengths differ, a value is missing or infinite, a
        weight is negative, no row has weight, or `pos_label` is none of the labels.
    TypeError
        If an argument holds anything but numbers or durations; with `pos_label`,
        `y_true` may hold any labels.

    Warns
    -----
    UndefinedMetricWarning
        If the total of `y_true` is not above 0.

    See Also
    --------
    cumulative_gain_curve : ``lift_at(..., fraction)`` is its height at the fraction,
        divided by the fraction.
    get_scorer : ``"top_decile_lift"`` for a search.

    Notes
    -----
    A row, or tied rows, across the border count in part: a tenth of 15 rows is the
    first row and half of the second. So the result does not depend on the order of tied
    rows.

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import lift_at
    >>> lift_at([60, 30, 10, 0], [0.9, 0.5, 0.5, 0.1], 0.25)
    2.4
    >>> lift_at([60, 30, 10, 0], [0.9, 0.5, 0.5, 0.1], 0.5)
    1.6
    >>> lift_at(["yes", "no", "no", "no"], [4, 3, 2, 1], 0.5, pos_label="yes")
    2.0
    """
    rows = read_rows(y_true, y_score, sample_weight, pos_label, "y_score")
    if not has_positive_total(rows):
        return np.nan
    weight, total = ScoreGroups.of(rows).curve()
    # lift(f) = gain(f) / f, with the gain curve linear between its points
    reached = np.interp(fraction * weight[-1], weight, total)
    return float(reached / total[-1] / fraction)


def normalized_gini(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the Gini coefficient of predictions, relative to a perfect order.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Observed values of the rows: amounts, counts, or 1 and 0. Negative values, for
        example of returns, are allowed.
    y_pred : array-like of shape (n,)
        Predictions, or any score. Only their order matters.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None for a weight of 1 per row.

    Returns
    -------
    float
        1 for the order of `y_true` itself, 0 for random order, -1 for the reverse. NaN
        if all values of `y_true` are equal.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing or infinite, a weight is negative, or no
        row has weight.
    TypeError
        If an argument holds anything but numbers or durations; with `pos_label`,
        `y_true` may hold any labels.

    Warns
    -----
    UndefinedMetricWarning
        If all values of `y_true` are equal, so that every order is perfect.

    See Also
    --------
    cumulative_gain_curve : The curve above the area.
    get_scorer : ``"normalized_gini"`` for a search.

    Notes
    -----
    With the gain curve ``gain(f; score)``, the Gini coefficient of a score is twice the
    area between the curve and the diagonal::

        gini(score) = 2 * integral over f from 0 to 1 of (gain(f; score) - f)

    and the result is ``gini(y_pred) / gini(y_true)`` [1]_. Areas are computed by
    trapezoids, so that the expectation under random order is 0 also for few rows, and
    tied predictions contribute the mean over all orders of the tied rows.

    For targets of 1 and 0, it is ``2 * roc_auc_score(y_true, y_pred) - 1``. The total
    of `y_true` cancels, so that totals of 0 or less need no special case.

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
    # The unit of y cancels. A power of 2 scales without rounding, and keeps differences
    # of the largest floats finite.
    y = np.ldexp(rows.y, -int(np.frexp(np.abs(rows.y).max())[1]))
    # Centred targets have the total 0: the diagonal becomes the axis, the area under
    # the curve is integral(gain(f) - f) up to a factor that cancels in the ratio.
    # Subtracting the minimum first keeps the digits of the mean of large numbers.
    y -= y.min()
    y -= np.average(y, weights=rows.weight)
    found = ScoreGroups.of(rows._replace(y=y)).area()
    best = ScoreGroups.of(rows._replace(y=y, score=rows.y)).area()
    return found / best
