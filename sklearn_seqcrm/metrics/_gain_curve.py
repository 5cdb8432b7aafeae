"""How much of the total the rows with the highest scores have."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm.metrics._read import ScoredRows, read_rows, warn_undefined
from sklearn_seqcrm.metrics._sums_and_order import Ranked


def cumulative_gain_curve(
    y_true: Any, y_score: Any, *, sample_weight: Any = None, pos_label: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of the total that is reached by rows in the order of their scores.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        What each row turned out to be worth: amounts, counts, or 1 and 0.
    y_score : array-like of shape (n,)
        Predictions, probabilities, or any score by which rows are chosen, the highest
        first.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None: 1 for each row.
    pos_label : int, float, bool, str or None, default=None
        Label of `y_true` that counts as 1, all others as 0; None: `y_true` are numbers.

    Returns
    -------
    fraction : ndarray of shape (n_thresholds + 1,)
        Share of the rows that have at least a score, from 0 to 1.
    gain : ndarray of shape (n_thresholds + 1,)
        Share of the total of `y_true` that these rows have, from 0 to 1. NaN, but for
        the first, if the total is not above 0.
    thresholds : ndarray of shape (n_thresholds + 1,)
        The scores, each once, descending, after infinity, which no row has.

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
    lift_at : One point of it, as a multiple of random choice.
    normalized_gini : The area under it.
    GainDisplay : Its picture.

    Notes
    -----
    Between two points the curve is straight: tied rows are chosen in random order.

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
    rows = read_rows(
        y_true, y_score, sample_weight, pos_label=pos_label, score_name="y_score"
    )
    return gain_curve(rows)


def gain_curve(rows: ScoredRows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `cumulative_gain_curve` returns, of rows that were read."""
    ranked = Ranked.of(rows)
    weight, total = ranked.curve()
    gain = total / total[-1] if _total_is_above_0(rows) else np.full(len(total), np.nan)
    gain[0] = 0
    return weight / weight[-1], gain, np.concatenate([[np.inf], ranked.score])


@validate_params(
    {"fraction": [Interval(Real, 0, 1, closed="right")]},
    prefer_skip_nested_validation=True,
)
def lift_at(
    y_true: Any,
    y_score: Any,
    fraction: float = 0.1,
    *,
    sample_weight: Any = None,
    pos_label: Any = None,
) -> float:
    """How many times as much the best rows are worth as rows chosen at random.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        What each row turned out to be worth: amounts, counts, or 1 and 0.
    y_score : array-like of shape (n,)
        Predictions, probabilities, or any score by which rows are chosen, the highest
        first.
    fraction : float, default=0.1
        Share of the rows that is chosen, above 0 and at most 1; by default, the top
        decile.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None: 1 for each row.
    pos_label : int, float, bool, str or None, default=None
        Label of `y_true` that counts as 1, all others as 0; None: `y_true` are numbers.

    Returns
    -------
    float
        Mean of `y_true` among the rows chosen, divided by that of all rows. 1 for
        random choice, at most ``1 / fraction`` if no value is negative; NaN if the
        total is not above 0.

    Raises
    ------
    ValueError
        If `fraction` is out of range, lengths differ, a value is missing or infinite, a
        weight is negative, or no row has weight.
    TypeError
        If something other than numbers is given.

    Warns
    -----
    UndefinedMetricWarning
        If the total of `y_true` is not above 0.

    See Also
    --------
    cumulative_gain_curve : ``lift_at(..., fraction)`` is its height at a fraction,
        divided by the fraction.
    get_scorer : ``"top_decile_lift"`` for a search.

    Notes
    -----
    Of a row, or of rows of one score, across the border the part within counts: of 15
    rows, a tenth is the first and half of the second. So the result does not depend on
    the order in which tied rows come.

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
    rows = read_rows(
        y_true, y_score, sample_weight, pos_label=pos_label, score_name="y_score"
    )
    if not _total_is_above_0(rows):
        return np.nan
    weight, total = Ranked.of(rows).curve()
    reached = np.interp(fraction * weight[-1], weight, total)
    return float(reached / total[-1] / fraction)


def _total_is_above_0(rows: ScoredRows) -> bool:
    if rows.weight @ rows.y > 0:
        return True
    warn_undefined("The total of y_true is not above 0, and has no shares")
    return False
