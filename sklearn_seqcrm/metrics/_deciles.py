"""Calibration of predicted amounts: in deciles by prediction, and in total."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm.metrics._read import (
    ScoredRows,
    has_positive_total,
    read_rows,
    warn_undefined,
)
from sklearn_seqcrm.metrics._score_groups import ScoreGroups

N_BINS = {"n_bins": [Interval(Integral, 1, None, closed="left")]}


@validate_params(N_BINS)
def decile_table(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    n_bins: int = 10,
    sample_weight: ArrayLike | None = None,
) -> pd.DataFrame:
    """Compare mean predictions and mean targets in deciles by prediction.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Observed values of the rows: amounts, counts, or 1 and 0.
    y_pred : array-like of shape (n,)
        Predictions in the unit of `y_true`, or probabilities.
    n_bins : int, default=10
        Number of bins, 1 or more; 10 for deciles.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None for a weight of 1 per row.

    Returns
    -------
    DataFrame of shape (n_bins, 8)
        One line per decile, from 1, the highest predictions, to `n_bins`:

        ===============  ==========================================================
        weight           sum of the weights, equal in all deciles
        min_prediction   lowest prediction
        max_prediction   highest prediction
        mean_prediction  mean of the predictions
        mean_target      mean of `y_true`
        bias             mean_prediction / mean_target - 1; NaN if mean_target is 0
        lift             mean_target divided by the mean target of all rows
        gain             share of the total in this decile and those above it
        ===============  ==========================================================

        `lift` and `gain` are NaN if the total of `y_true` is not above 0.

    Raises
    ------
    ValueError
        If `n_bins` is out of range, lengths differ, a value is missing or infinite, a
        weight is negative, or no row has weight.
    TypeError
        If an argument holds anything but numbers or durations.

    See Also
    --------
    decile_mape : The table summarised as one number.
    CalibrationByDecileDisplay : A plot of the table.

    Notes
    -----
    Deciles have equal weight, also where many predictions are tied or the number of
    rows is no multiple of ten: a row, or tied rows, across an edge count on both sides
    by their parts. That is the mean over all orders of tied rows. Constant predictions
    have ten equal lines.

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import decile_table
    >>> table = decile_table([90, 30, 0, 0], [80, 20, 10, 10], n_bins=2)
    >>> table[["mean_prediction", "mean_target", "lift", "gain"]]
            mean_prediction  mean_target  lift  gain
    decile
    1                  50.0         60.0   2.0   1.0
    2                  10.0          0.0   0.0   1.0
    """
    return table_of(read_rows(y_true, y_pred, sample_weight), n_bins)


def table_of(rows: ScoredRows, n_bins: int) -> pd.DataFrame:
    """Compute the table of `decile_table`."""
    groups = ScoreGroups.of(rows)
    pieces = groups.in_bins(n_bins)
    # P[k] and T[k], the weighted means of predictions and targets in decile k.
    predicted = pieces.mean(groups.score)
    target = pieces.mean(groups.total / groups.weight)
    # Weights are scaled by 2**-exponent, see ScoredRows; only "weight" shows them.
    overall = np.average(rows.y, weights=rows.weight)
    known = overall if overall > 0 else np.nan
    # Pieces are sorted by bin, and by descending score within a bin.
    first = np.searchsorted(pieces.bin, np.arange(n_bins))
    last = np.append(first[1:], len(pieces.bin)) - 1
    columns = {
        "weight": np.ldexp(np.bincount(pieces.bin, pieces.weight), rows.exponent),
        "min_prediction": groups.score[pieces.group[last]],
        "max_prediction": groups.score[pieces.group[first]],
        "mean_prediction": predicted,
        "mean_target": target,
        # bias[k] = P[k] / T[k] - 1, lift[k] = T[k] / T, and with equal weights of the
        # deciles gain[k] = (T[1] + ... + T[k]) / (n_bins * T).
        "bias": predicted / np.where(target == 0, np.nan, target) - 1,
        "lift": target / known,
        "gain": np.cumsum(target / n_bins) / known,
    }
    return pd.DataFrame(columns, pd.RangeIndex(1, n_bins + 1, name="decile"))


@validate_params(N_BINS)
def decile_mape(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    n_bins: int = 10,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the mean absolute percentage error over deciles by prediction.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Observed values of the rows: amounts, counts, or 1 and 0.
    y_pred : array-like of shape (n,)
        Predictions in the unit of `y_true`, or probabilities.
    n_bins : int, default=10
        Number of bins, 1 or more; 10 for deciles.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None for a weight of 1 per row.

    Returns
    -------
    float
        0 if the means agree in every decile, .2 if they are off by 20% on average. NaN
        if the mean target of a decile is 0.

    Raises
    ------
    ValueError
        If `n_bins` is out of range, lengths differ, a value is missing or infinite, a
        weight is negative, or no row has weight.
    TypeError
        If an argument holds anything but numbers or durations.

    Warns
    -----
    UndefinedMetricWarning
        If the targets of a decile have a mean of 0.

    See Also
    --------
    decile_table : The deciles one by one.
    aggregate_bias : The signed error of the total.
    get_scorer : ``"neg_decile_mape"`` for a search.

    Notes
    -----
    With ``mean_prediction[k]`` and ``mean_target[k]`` of decile ``k`` by prediction, as
    in `decile_table`, it is the mean over ``k`` of ``abs(mean_prediction[k] -
    mean_target[k]) / abs(mean_target[k])`` [1]_.

    The lowest decile has the same weight as the highest, though its total may be
    negligible; if it holds no purchase at all, take fewer bins or more rows. Like every
    percentage error it is asymmetric: a prediction that is too low is off by at most
    100%.

    References
    ----------
    .. [1] Wang, X., Liu, T. and Miao, J. (2019). A deep probabilistic model for
       customer lifetime value prediction. https://arxiv.org/abs/1912.07753

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import decile_mape
    >>> decile_mape([90, 30, 6, 2], [100, 50, 4, 4], n_bins=2)
    0.125
    """
    table = table_of(read_rows(y_true, y_pred, sample_weight), n_bins)
    empty = table.index[table["mean_target"] == 0].tolist()
    if empty:
        warn_undefined(
            f"The mean of y_true is 0 in the parts {empty} of {n_bins}, and no error "
            "is a share of that; n_bins makes fewer and larger parts"
        )
        return np.nan
    return float(table["bias"].abs().mean())  # |P / T - 1| = |P - T| / |T|


def aggregate_bias(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the relative error of the total of predictions.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Observed values of the rows: amounts, counts, or 1 and 0.
    y_pred : array-like of shape (n,)
        Predictions in the unit of `y_true`, or probabilities.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None for a weight of 1 per row.

    Returns
    -------
    float
        ``sum(w * y_pred) / sum(w * y_true) - 1``: .1 for 10% too much, -.1 for 10% too
        little. NaN if the total of `y_true` is not above 0.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing or infinite, a weight is negative, or no
        row has weight.
    TypeError
        If an argument holds anything but numbers or durations.

    Warns
    -----
    UndefinedMetricWarning
        If the total of `y_true` is not above 0.

    See Also
    --------
    decile_mape : Errors in each decile of the rows.
    get_scorer : ``"neg_absolute_bias"`` for a search.

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import aggregate_bias
    >>> aggregate_bias([0, 10, 30], [5, 5, 20])
    -0.25
    """
    rows = read_rows(y_true, y_pred, sample_weight)
    if not has_positive_total(rows):
        return np.nan
    # The scale of the weights cancels.
    return float((rows.weight @ rows.score) / (rows.weight @ rows.y) - 1)
