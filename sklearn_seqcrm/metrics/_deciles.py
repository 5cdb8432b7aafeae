"""Predictions and what came of them, in tenths of the rows."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm.metrics._read import ScoredRows, read_rows, warn_undefined
from sklearn_seqcrm.metrics._sums_and_order import Ranked

_N_BINS = {"n_bins": [Interval(Integral, 1, None, closed="left")]}


@validate_params(_N_BINS, prefer_skip_nested_validation=True)
def decile_table(
    y_true: Any, y_pred: Any, *, n_bins: int = 10, sample_weight: Any = None
) -> pd.DataFrame:
    """Compare predictions with what came of them, in tenths by prediction.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        What each row turned out to be worth: amounts, counts, or 1 and 0.
    y_pred : array-like of shape (n,)
        Predictions of it, in the same unit, or probabilities.
    n_bins : int, default=10
        Number of parts, 1 or more; 10 makes deciles.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None: 1 for each row.

    Returns
    -------
    DataFrame of shape (n_bins, 8)
        A line for each decile, from 1, the highest predictions, to `n_bins`:

        ===============  ==========================================================
        weight           sum of the weights, the same in each
        min_prediction   lowest prediction
        max_prediction   highest prediction
        mean_prediction  mean of the predictions
        mean_target      mean of `y_true`
        bias             mean_prediction / mean_target - 1; NaN if mean_target is 0
        lift             mean_target as a multiple of that of all rows
        gain             share of the total that this and the deciles above have
        ===============  ==========================================================

        `lift` and `gain` are NaN if the total of `y_true` is not above 0.

    Raises
    ------
    ValueError
        If `n_bins` is out of range, lengths differ, a value is missing or infinite, a
        weight is negative, or no row has weight.
    TypeError
        If something other than numbers is given.

    See Also
    --------
    decile_mape : The table in one number.
    CalibrationByDecileDisplay : Its picture.

    Notes
    -----
    Deciles are equal in weight to the last bit, also where many predictions are tied or
    the number of rows is no multiple of ten: a row, or rows of one prediction, across
    an edge count on both sides, each by the part that lies there. That is the mean over
    all orders of tied rows. Constant predictions have ten equal lines.

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


@validate_params(_N_BINS, prefer_skip_nested_validation=True)
def table_of(rows: ScoredRows, n_bins: int) -> pd.DataFrame:
    """Make the table of `decile_table` from rows that were read."""
    ranked = Ranked.of(rows)
    pieces = ranked.in_bins(n_bins)
    predicted = pieces.mean(ranked.score)
    target = pieces.mean(ranked.total / ranked.weight)
    overall = np.average(rows.y, weights=rows.weight)
    known = overall if overall > 0 else np.nan
    first = np.searchsorted(pieces.bin, np.arange(n_bins))
    last = np.append(first[1:], len(pieces.bin)) - 1
    columns = {
        "weight": np.ldexp(np.bincount(pieces.bin, pieces.weight), rows.exponent),
        "min_prediction": ranked.score[pieces.group[last]],
        "max_prediction": ranked.score[pieces.group[first]],
        "mean_prediction": predicted,
        "mean_target": target,
        "bias": predicted / np.where(target == 0, np.nan, target) - 1,
        "lift": target / known,
        "gain": np.cumsum(target / n_bins) / known,
    }
    return pd.DataFrame(columns, pd.RangeIndex(1, n_bins + 1, name="decile"))


@validate_params(_N_BINS, prefer_skip_nested_validation=True)
def decile_mape(
    y_true: Any, y_pred: Any, *, n_bins: int = 10, sample_weight: Any = None
) -> float:
    """Mean absolute error of the deciles by prediction, as a share of what they have.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        What each row turned out to be worth: amounts, counts, or 1 and 0.
    y_pred : array-like of shape (n,)
        Predictions of it, in the same unit, or probabilities.
    n_bins : int, default=10
        Number of parts, 1 or more; 10 makes deciles.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None: 1 for each row.

    Returns
    -------
    float
        0 if the means agree in every decile, .2 if they are off by 20% on average; NaN
        if a decile has a mean of 0, of which nothing is a share.

    Raises
    ------
    ValueError
        If `n_bins` is out of range, lengths differ, a value is missing or infinite, a
        weight is negative, or no row has weight.
    TypeError
        If something other than numbers is given.

    Warns
    -----
    UndefinedMetricWarning
        If the targets of a decile have a mean of 0.

    See Also
    --------
    decile_table : The deciles, each by itself.
    aggregate_bias : The same of all rows together, with its sign.
    get_scorer : ``"neg_decile_mape"`` for a search.

    Notes
    -----
    Deciles are those of the predictions [1]_, cut as in `decile_table`. With
    ``mean_prediction[k]`` and ``mean_target[k]`` in decile ``k``, it is the mean over
    ``k`` of ``abs(mean_prediction[k] - mean_target[k]) / abs(mean_target[k])``.

    The lowest decile weighs as much as the highest, though it may be worth next to
    nothing; where it holds no purchase at all, take fewer parts or more rows. As all
    errors in percent, it forgives predictions that are too low: those cannot be off by
    more than 100%.

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
    table = decile_table(y_true, y_pred, n_bins=n_bins, sample_weight=sample_weight)
    empty = table.index[table["mean_target"] == 0].tolist()
    if empty:
        warn_undefined(
            f"The mean of y_true is 0 in the parts {empty} of {n_bins}, and no error "
            "is a share of that; n_bins makes fewer and larger parts"
        )
        return np.nan
    return float(table["bias"].abs().mean())
