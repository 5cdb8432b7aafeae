"""Areas under Qini and uplift curves, and the uplift of the top rows."""

from __future__ import annotations

from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from sklearn_seqcrm._sklearn_compat import Interval, StrOptions, validate_params
from sklearn_seqcrm.metrics._effects import TwoArms, read_pairs
from sklearn_seqcrm.metrics._read import warn_undefined
from sklearn_seqcrm.metrics._uplift_curves import area_of, relative_area, rows_of_gain


@validate_params({"normalize": ["boolean"]})
def qini_auc_score(
    y_true: ArrayLike,
    effect: ArrayLike,
    treatment: ArrayLike,
    *,
    control: int | float | bool | str | None = None,
    treatments: ArrayLike | None = None,
    arm: int | float | bool | str | None = None,
    normalize: bool = True,
    sample_weight: ArrayLike | None = None,
    pos_label: int | float | bool | str | None = None,
) -> float:
    """Compute the area between the Qini curve and the diagonal.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Observed outcomes of the rows: amounts, counts, or 1 and 0.
    effect : array-like of shape (n,) or (n, n_arms - 1)
        Predicted effects against control, or any score. Several columns are those of
        the treatments in sorted order, or in that of `treatments`.
        Those of a DataFrame are found by the labels of the treatments.
    treatment : array-like of shape (n,)
        Labels of the arms that the rows were in, of any type.
    control : object, default=None
        Label of the rows that were not contacted. None: 0 or False, where the labels
        are 0 and 1 or booleans.
    treatments : array-like of shape (n_arms,) or None, default=None
        Labels of all arms, control first, such as an estimator's `treatments_`; None
        for those that occur.
    arm : object, default=None
        Label of a treatment. None with several treatments: the mean of the scores of
        each against control, rows of the others left out.
    normalize : bool, default=True
        Whether to divide by the area of the reference order, see Notes. False: in
        outcomes per customer of the treatment, which can be compared between outcomes
        and data sets of any size.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None for a weight of 1 per row. For a treatment that was
        not randomised, the inverse of the propensity of the row's own arm.
    pos_label : int, float, bool, str or None, default=None
        Label of `y_true` that counts as 1, all others as 0; None if it is numeric.

    Returns
    -------
    float
        The Qini coefficient: above 0 if the order is better than random, 0 for random
        order, 1 for the reference order. Values above 1 are possible. NaN if the
        reference order has no area above the diagonal.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing or infinite, a weight is negative, labels
        are missing or unknown, an arm has no row with weight, `control` is needed and
        not given, or `arm` is none of the treatments.
    TypeError
        If `y_true` or `effect` hold anything but numbers or durations, or `treatments`
        is not a list.

    Warns
    -----
    UndefinedMetricWarning
        If the reference order has no area above the diagonal, as with an outcome of 0
        in all rows.

    See Also
    --------
    qini_curve : The curve.
    uplift_auc_score : The area under the uplift curve.
    bootstrap_interval : An interval over customers.
    get_scorer : ``"qini_auc"`` for a search.

    Notes
    -----
    With the share of rows ``f`` and the gain ``g(f)`` of `qini_curve`, linear between
    its points::

        area = integral over f from 0 to 1 of (g(f) - f * g(1))

    The reference order is that of ``qini_auc_score(..., negative_effect=True)`` in
    scikit-uplift, extended to numbers. It has customers of the treatment by descending,
    those of control by ascending outcome: with outcomes of 1 and 0 first responders in
    treatment, then all without response, then responders in control. It uses the
    outcomes, so that a perfect model of effects usually stays far below 1. It need not
    be the order of the largest area: where arms have unequal sizes, others can exceed
    it, as with 100 treated and 900 control customers of whom 5% and 90% respond.
    Radcliffe [1]_ divides by an order without negative effects instead, others by the
    total gain [2]_. So compare coefficients of one definition and one data set only.

    References
    ----------
    .. [1] Radcliffe, N. J. (2007). Using control groups to target on predicted lift:
       building and assessing uplift models. Direct Marketing Analytics Journal, 14-21.
    .. [2] Devriendt, F., Van Belle, J., Guns, T. and Verbeke, W. (2020). Learning to
       rank for uplift modeling. https://arxiv.org/abs/2002.05897

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import qini_auc_score
    >>> bought, mailed = [1, 0, 1, 1], [1, 0, 1, 0]
    >>> round(qini_auc_score(bought, [0.3, 0.2, 0.1, -0.1], mailed), 2)
    0.71
    >>> qini_auc_score(bought, [0, 0, 0, 0], mailed)
    0.0
    """
    pairs = read_pairs(
        y_true, effect, treatment, control, treatments, arm, sample_weight, pos_label
    )
    return float(np.mean([_area_score(pair, "qini", normalize) for pair in pairs]))


@validate_params({"normalize": ["boolean"]})
def uplift_auc_score(
    y_true: ArrayLike,
    effect: ArrayLike,
    treatment: ArrayLike,
    *,
    control: int | float | bool | str | None = None,
    treatments: ArrayLike | None = None,
    arm: int | float | bool | str | None = None,
    normalize: bool = True,
    sample_weight: ArrayLike | None = None,
    pos_label: int | float | bool | str | None = None,
) -> float:
    """Compute the area between the uplift curve and the diagonal.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Outcomes, as in `qini_auc_score`.
    effect : array-like of shape (n,) or (n, n_arms - 1)
        Predicted effects, as in `qini_auc_score`.
    treatment : array-like of shape (n,)
        Arms, as in `qini_auc_score`.
    control : object, default=None
        As in `qini_auc_score`.
    treatments : array-like of shape (n_arms,) or None, default=None
        As in `qini_auc_score`.
    arm : object, default=None
        As in `qini_auc_score`.
    normalize : bool, default=True
        Whether to divide by the area of the reference order, see Notes. False: in
        outcomes per customer.
    sample_weight : array-like of shape (n,) or None, default=None
        As in `qini_auc_score`.
    pos_label : int, float, bool, str or None, default=None
        As in `qini_auc_score`.

    Returns
    -------
    float
        Above 0 if the order is better than random, 0 for random order, 1 for the
        reference order. Values above 1 are possible. NaN if the reference order has no
        area above the diagonal.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing or infinite, a weight is negative, labels
        are missing or unknown, an arm has no row with weight, `control` is needed and
        not given, or `arm` is none of the treatments.
    TypeError
        If `y_true` or `effect` hold anything but numbers or durations, or `treatments`
        is not a list.

    Warns
    -----
    UndefinedMetricWarning
        If the reference order has no area above the diagonal.

    See Also
    --------
    uplift_curve : The curve.
    qini_auc_score : The area under the Qini curve.
    bootstrap_interval : An interval over customers.
    get_scorer : ``"uplift_auc"`` for a search.

    Notes
    -----
    The area is that of `qini_auc_score`, with the gain of `uplift_curve`. With outcomes
    of 1 and 0, the reference order is that of scikit-uplift [1]_: first responders in
    treatment, then control without response, then the larger of the other two groups.
    With other numbers it is that of `qini_auc_score`. Other orders can have a larger
    area.

    References
    ----------
    .. [1] Devriendt, F., Van Belle, J., Guns, T. and Verbeke, W. (2020). Learning to
       rank for uplift modeling. https://arxiv.org/abs/2002.05897

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import uplift_auc_score
    >>> bought, mailed = [1, 0, 1, 1], [1, 0, 1, 0]
    >>> uplift_auc_score(bought, [0.3, 0.2, 0.1, -0.1], mailed, normalize=False)
    0.1875
    """
    pairs = read_pairs(
        y_true, effect, treatment, control, treatments, arm, sample_weight, pos_label
    )
    return float(np.mean([_area_score(pair, "uplift", normalize) for pair in pairs]))


def _area_score(pair: TwoArms, curve: str, normalize: bool) -> float:
    if not normalize:
        return area_of(pair, curve) / rows_of_gain(pair, curve)
    area = relative_area(pair, curve)
    if np.isnan(area):
        warn_undefined("The reference order has no area above the diagonal")
    return area


@validate_params(
    {
        "k": [Interval(Real, 0, 1, closed="right")],
        "strategy": [StrOptions({"overall", "by_group"})],
    }
)
def uplift_at_k(
    y_true: ArrayLike,
    effect: ArrayLike,
    treatment: ArrayLike,
    *,
    k: float = 0.3,
    strategy: Literal["overall", "by_group"] = "overall",
    control: int | float | bool | str | None = None,
    treatments: ArrayLike | None = None,
    arm: int | float | bool | str | None = None,
    sample_weight: ArrayLike | None = None,
    pos_label: int | float | bool | str | None = None,
) -> float:
    """Compute the uplift of the rows with the highest effects.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Observed outcomes of the rows: amounts, counts, or 1 and 0.
    effect : array-like of shape (n,) or (n, n_arms - 1)
        Predicted effects against control, or any score. Several columns are those of
        the treatments in sorted order, or in that of `treatments`.
        Those of a DataFrame are found by the labels of the treatments.
    treatment : array-like of shape (n,)
        Labels of the arms that the rows were in, of any type.
    k : float, default=0.3
        Share of the rows, by weight, above 0 and at most 1.
    strategy : {"overall", "by_group"}, default="overall"
        Whether the share is of all rows, or of the rows of each arm.
    control : object, default=None
        Label of the rows that were not contacted. None: 0 or False, where the labels
        are 0 and 1 or booleans.
    treatments : array-like of shape (n_arms,) or None, default=None
        Labels of all arms, control first, such as an estimator's `treatments_`; None
        for those that occur.
    arm : object, default=None
        Label of a treatment. None with several treatments: the mean of the uplifts of
        each against control, rows of the others left out.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None for a weight of 1 per row. For a treatment that was
        not randomised, the inverse of the propensity of the row's own arm.
    pos_label : int, float, bool, str or None, default=None
        Label of `y_true` that counts as 1, all others as 0; None if it is numeric.

    Returns
    -------
    float
        Mean outcome of the treatment less that of control, among the top rows, in the
        unit of `y_true`. NaN if an arm has no row there.

    Raises
    ------
    ValueError
        If `k` or `strategy` is out of range, lengths differ, a value is missing or
        infinite, a weight is negative, labels are missing or unknown, an arm has no row
        with weight, `control` is needed and not given, or `arm` is none of the
        treatments.
    TypeError
        If `y_true` or `effect` hold anything but numbers or durations, or `treatments`
        is not a list.

    Warns
    -----
    UndefinedMetricWarning
        If an arm has no row among the top rows.

    See Also
    --------
    uplift_curve : The uplift of all shares.
    bootstrap_interval : An interval over customers.
    get_scorer : ``"uplift_at_k"`` for a search.

    Notes
    -----
    A row, or tied rows, across the border count in part, so that the result does not
    depend on the order of tied rows. Where ``k`` times the number of rows is an integer
    and no effects are tied, it is that of scikit-uplift.

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import uplift_at_k
    >>> bought, mailed = [1, 0, 1, 1], [1, 0, 1, 0]
    >>> uplift_at_k(bought, [0.3, 0.2, 0.1, -0.1], mailed, k=0.5)
    1.0
    >>> uplift_at_k(bought, [0.3, 0.2, 0.1, -0.1], mailed, k=1)
    0.5
    """
    pairs = read_pairs(
        y_true, effect, treatment, control, treatments, arm, sample_weight, pos_label
    )
    return float(np.mean([_top_uplift(pair, k, strategy) for pair in pairs]))


def _top_uplift(pair: TwoArms, k: float, strategy: str) -> float:
    sums = pair.sums()
    means = []
    for weight, total in zip(sums.weight.T, sums.total.T, strict=True):
        is_overall = strategy == "overall"
        fraction = sums.fraction() if is_overall else weight / weight[-1]
        count = np.interp(k, fraction, weight)
        if not count > 0:
            warn_undefined(f"An arm has no row among the top {100 * k:g}% of the rows")
            return np.nan
        means.append(np.interp(k, fraction, total) / count)
    return means[1] - means[0]
