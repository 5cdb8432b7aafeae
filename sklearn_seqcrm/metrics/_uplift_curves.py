"""Qini and uplift curves, and the area above the diagonal."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sklearn_seqcrm.metrics._effects import ArmSums, TwoArms, read_pairs


def qini_gain(sums: ArmSums) -> np.ndarray:
    """Return the gain of the treatment arm, (n_thresholds + 1,)."""
    (n_c, n_t), (y_c, y_t) = sums.weight.T, sums.total.T
    # Without a row of control there is nothing to subtract.
    return y_t - y_c * np.divide(n_t, n_c, out=np.zeros_like(n_t), where=n_c > 0)


def uplift_gain(sums: ArmSums) -> np.ndarray:
    """Return the difference of means times the number of rows, (n_thresholds + 1,)."""
    zero = np.zeros_like(sums.total)
    mean = np.divide(sums.total, sums.weight, out=zero, where=sums.weight > 0)
    return (mean[:, 1] - mean[:, 0]) * sums.weight.sum(axis=1)


def reference_qini_order(rows: TwoArms) -> np.ndarray:
    """Return scores of the reference order for the Qini curve, (n,)."""
    return np.where(rows.treated, rows.y, -rows.y)


def reference_uplift_order(rows: TwoArms) -> np.ndarray:
    """Return scores of the reference order for the uplift curve, (n,)."""
    if not np.isin(rows.y, (0, 1)).all():
        return reference_qini_order(rows)
    # Customers whose outcome agrees with the treatment come first, then the larger
    # group of responders in control and non-responders in treatment: scikit-uplift's.
    bought = rows.y == 1
    control_bought = rows.weight @ (bought & ~rows.treated)
    treated_did_not = rows.weight @ (~bought & rows.treated)
    further = bought if control_bought > treated_did_not else rows.treated
    return 2.0 * (bought == rows.treated) + further


# Gain of a curve, and the order of rows that its area is divided by.
CURVES = {
    "qini": (qini_gain, reference_qini_order),
    "uplift": (uplift_gain, reference_uplift_order),
}


def rows_of_gain(pair: TwoArms, curve: str) -> float:
    """Return the weight of the rows that a gain is a sum over."""
    # The gain of a Qini curve is a sum over customers of the treatment.
    counted = pair.weight[pair.treated] if curve == "qini" else pair.weight
    return float(counted.sum())


def qini_curve(
    y_true: ArrayLike,
    effect: ArrayLike,
    treatment: ArrayLike,
    *,
    control: int | float | bool | str | None = None,
    arm: int | float | bool | str | None = None,
    sample_weight: ArrayLike | None = None,
    pos_label: int | float | bool | str | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the incremental outcomes of contacting those with the highest effects.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Observed outcomes of the rows: amounts, counts, or 1 and 0.
    effect : array-like of shape (n,) or (n, n_arms - 1)
        Predicted effects against control, or any score. Several columns are those of
        the treatments in sorted order. Those of a DataFrame are found by the
        labels of the treatments.
    treatment : array-like of shape (n,)
        Labels of the arms that the rows were in, of any type.
    control : object, default=None
        Label of the rows that were not contacted. None: 0 or False, where the labels
        are 0 and 1 or booleans.
    arm : object, default=None
        Label of the treatment that is compared with control; rows of others are left
        out. None if there is only one.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None for a weight of 1 per row. For a treatment that was
        not randomised, the inverse of the propensity of the row's own arm.
    pos_label : int, float, bool, str or None, default=None
        Label of `y_true` that counts as 1, all others as 0; None if it is numeric.

    Returns
    -------
    fraction : ndarray of shape (n_thresholds + 1,)
        Share of the rows whose effect is at least the threshold, from 0 to 1.
    gain : ndarray of shape (n_thresholds + 1,)
        Incremental outcomes in these rows, among those of the treatment.
    thresholds : ndarray of shape (n_thresholds + 1,)
        Infinity, for no rows, then the distinct effects in descending order.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing or infinite, a weight is negative, labels
        are missing or unknown, an arm has no row with weight, `control` is needed and
        not given, or `arm` is none of several treatments.
    TypeError
        If `y_true` or `effect` hold anything but numbers or durations.

    See Also
    --------
    qini_auc_score : The area under the curve.
    uplift_curve : The curve of the difference of means.
    UpliftDisplay : A plot of the curve.

    Notes
    -----
    With the number of rows ``n`` and the total of outcomes ``y`` of treatment (``t``)
    and control (``c``), among the rows with an effect of at least a threshold, by
    weight, the gain is [1]_ ::

        gain = y_t - y_c * n_t / n_c

    where ``y_t`` alone counts as long as ``n_c`` is 0. Points are at the ends of runs
    of tied effects, and the curve is straight in between, so that no result depends on
    the order of the rows. Values are those of scikit-uplift, whose x-axis is
    ``fraction`` times the number of rows.

    References
    ----------
    .. [1] Radcliffe, N. J. (2007). Using control groups to target on predicted lift:
       building and assessing uplift models. Direct Marketing Analytics Journal, 14-21.

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import qini_curve
    >>> fraction, gain, thresholds = qini_curve(
    ...     [1, 0, 1, 1], effect=[0.3, 0.3, 0.1, -0.1], treatment=[1, 0, 1, 0]
    ... )
    >>> fraction.tolist()
    [0.0, 0.5, 0.75, 1.0]
    >>> gain.tolist()
    [0.0, 1.0, 2.0, 1.0]
    >>> thresholds.tolist()
    [inf, 0.3, 0.1, -0.1]
    """
    options = (control, None, arm, sample_weight, pos_label)
    [pair] = read_pairs(y_true, effect, treatment, *options, only_one=True)
    return _curve(pair, "qini")


def uplift_curve(
    y_true: ArrayLike,
    effect: ArrayLike,
    treatment: ArrayLike,
    *,
    control: int | float | bool | str | None = None,
    arm: int | float | bool | str | None = None,
    sample_weight: ArrayLike | None = None,
    pos_label: int | float | bool | str | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the mean uplift of those with the highest effects, times their number.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        As in `qini_curve`.
    effect : array-like of shape (n,) or (n, n_arms - 1)
        As in `qini_curve`.
    treatment : array-like of shape (n,)
        As in `qini_curve`.
    control, arm : object, default=None
        As in `qini_curve`.
    sample_weight : array-like of shape (n,) or None, default=None
        As in `qini_curve`.
    pos_label : int, float, bool, str or None, default=None
        As in `qini_curve`.

    Returns
    -------
    fraction : ndarray of shape (n_thresholds + 1,)
        Share of the rows whose effect is at least the threshold, from 0 to 1.
    gain : ndarray of shape (n_thresholds + 1,)
        Mean uplift of these rows times their number: the incremental outcomes if all of
        them were contacted.
    thresholds : ndarray of shape (n_thresholds + 1,)
        Infinity, for no rows, then the distinct effects in descending order.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing or infinite, a weight is negative, labels
        are missing or unknown, an arm has no row with weight, `control` is needed and
        not given, or `arm` is none of several treatments.
    TypeError
        If `y_true` or `effect` hold anything but numbers or durations.

    See Also
    --------
    uplift_auc_score : The area under the curve.
    qini_curve : The curve of incremental outcomes in the treatment arm.
    UpliftDisplay : A plot of the curve.

    Notes
    -----
    In the symbols of `qini_curve`, the gain is [1]_ [2]_ ::

        gain = (y_t / n_t - y_c / n_c) * (n_t + n_c)

    where the mean of an arm without rows counts as 0. Values are those of
    scikit-uplift, and of causalml's ``get_cumgain`` once both arms have rows.

    References
    ----------
    .. [1] Gutierrez, P. and Gérardy, J.-Y. (2016). Causal inference and uplift
       modelling: a review of the literature. Proceedings of Machine Learning Research
       67, 1-13. https://proceedings.mlr.press/v67/gutierrez17a.html
    .. [2] Devriendt, F., Van Belle, J., Guns, T. and Verbeke, W. (2020). Learning to
       rank for uplift modeling. https://arxiv.org/abs/2002.05897

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import uplift_curve
    >>> fraction, gain, thresholds = uplift_curve(
    ...     [1, 0, 1, 1], effect=[0.3, 0.3, 0.1, -0.1], treatment=[1, 0, 1, 0]
    ... )
    >>> gain.tolist()
    [0.0, 2.0, 3.0, 2.0]
    """
    options = (control, None, arm, sample_weight, pos_label)
    [pair] = read_pairs(y_true, effect, treatment, *options, only_one=True)
    return _curve(pair, "uplift")


def _curve(pair: TwoArms, curve: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sums, (gain_of, _) = pair.sums(), CURVES[curve]
    return sums.fraction(), np.ldexp(gain_of(sums), pair.exponent), sums.threshold


def gain_per_row(pair: TwoArms, curve: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the fractions of a curve, and its gain over the number of rows."""
    sums, (gain_of, _) = pair.sums(), CURVES[curve]
    return sums.fraction(), gain_of(sums) / rows_of_gain(pair, curve)


def relative_area(pair: TwoArms, curve: str) -> float:
    """Return the area of a curve over that of the reference order, NaN if that is 0."""
    reference_order = CURVES[curve][1]
    reference = area_of(pair._replace(score=reference_order(pair)), curve)
    return area_of(pair, curve) / reference if reference > 0 else np.nan


def area_of(pair: TwoArms, curve: str) -> float:
    """Return the area between a curve and the diagonal, by trapezoids."""
    sums = pair.sums()
    fraction, gain = sums.fraction(), CURVES[curve][0](sums)
    above = gain - fraction * gain[-1]
    return float(np.diff(fraction) @ (above[1:] + above[:-1]) / 2)
