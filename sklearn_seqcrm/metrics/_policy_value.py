"""The value of a policy: the mean outcome if it had chosen the treatments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from numbers import Real
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from sklearn_seqcrm._sklearn_compat import Interval, StrOptions, validate_params
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._treatments import in_order_of_arms
from sklearn_seqcrm.metrics._effects import effect_columns, read_arms, require_all_arms
from sklearn_seqcrm.metrics._read import (
    check_length,
    customer_codes,
    flat,
    numbers,
    read_targets,
    read_weights,
)

_SUM_TOLERANCE = 1e-6  # of probabilities of arms, which float32 models round

# With fewer rows of an arm that differ from its most frequent outcome, such as buyers
# among many who do not buy, a mean is too skewed for a normal interval. Not if they are
# a larger share: 9 of 20 are hardly skewed. Arms of a few rows have wide intervals by
# themselves.
_FEW_OUTCOMES, _SMALL_SHARE, _FEW_ROWS = 10, 0.25, 20


@validate_params(
    {
        "method": [StrOptions({"ipw", "snipw", "dr"}), None],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
    }
)
def policy_value(
    y_true: ArrayLike,
    policy: ArrayLike,
    treatment: ArrayLike,
    *,
    control: int | float | bool | str | None = None,
    treatments: ArrayLike | None = None,
    baseline: ArrayLike | None = None,
    propensity: ArrayLike | None = None,
    outcomes: ArrayLike | None = None,
    method: Literal["ipw", "snipw", "dr"] | None = None,
    customers: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    pos_label: int | float | bool | str | None = None,
    confidence_level: float = 0.95,
) -> Bunch:
    """Estimate the mean outcome if a policy had chosen the treatments.

    Columns of a DataFrame of arms are found by the labels of the arms.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Observed outcomes of the rows under the treatments that they had: amounts,
        profits, or 1 and 0. To count the cost of contacts, subtract it from the
        outcomes of the rows that were contacted.
    policy : array-like of shape (n,) or (n, n_arms)
        Label of the treatment that the policy chooses for each row, or the probability
        with which it chooses each treatment. One label for all rows is allowed, as in
        ``policy="none"``. The policy must not be chosen by the outcomes of these rows.
    treatment : array-like of shape (n,)
        Labels of the arms that the rows were in, of any type.
    control : object, default=None
        Label of the rows that were not contacted. None: 0 or False, where the labels
        are 0 and 1 or booleans.
    treatments : array-like of shape (n_arms,) or None, default=None
        Labels of all arms, control first, such as an estimator's `treatments_`; None
        for those that occur.
    baseline : array-like of shape (n,) or (n, n_arms), label or None, default=None
        Another policy, in the forms of `policy`, whose value is subtracted: the result
        is the difference, with its own, paired standard error.
    propensity : array-like of shape (n,) or (n, n_arms), or None, default=None
        Probability of each arm, given what the choice of the treatment depended on; of
        shape (n,), that of the treatment beside control. None for a randomised
        treatment: the shares of the arms.
    outcomes : array-like of shape (n, n_arms) or None, default=None
        Predicted outcome under each arm, such as those of ``predict_outcomes``, by a
        model that was not fitted on these rows. For ``method="dr"``.
    method : {"ipw", "snipw", "dr"} or None, default=None
        Inverse propensity weighting, its self-normalised version, or the doubly robust
        estimate. None: "dr" if `outcomes` are given, else "snipw".
    customers : array-like of shape (n,) or None, default=None
        Customer of each row: rows of one customer are dependent. None for a customer
        per row.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None for a weight of 1 per row.
    pos_label : int, float, bool, str or None, default=None
        Label of `y_true` that counts as 1, all others as 0; None if it is numeric.
    confidence_level : float, default=0.95
        Probability of the interval, between 0 and 1.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With the attributes:

        value : float
            Mean outcome per row under the policy, or its difference to `baseline`, in
            the unit of `y_true`.
        standard_error : float
            Its standard error over customers; NaN if only one customer had what the
            policy chooses.
        lower, upper : float
            Ends of the interval.
        n_effective : float
            Effective number of the rows whose treatment agrees with `policy`: small, if
            few do or some of them have large weights.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing or infinite, a weight is negative, labels
        are missing or unknown, an arm has no row with weight, `control` is needed and
        not given, propensities are not above 0 and below 1 or probabilities of the arms
        do not sum to 1, columns have other names than the arms, no row agrees with the
        policy, `outcomes` are missing for "dr", or a parameter is out of range.
    TypeError
        If `y_true`, `propensity` or `outcomes` hold anything but numbers, or one number
        for all rows, or `treatments` is not a list.

    Warns
    -----
    UserWarning
        If fewer than 10, and less than a quarter, of the rows that show the value of an
        arm (20 or more) have another outcome than most of them, such as buyers among
        the customers who were not contacted: intervals are then too short.

    See Also
    --------
    uplift_at_k : Uplift of those with the highest effects.
    get_scorer : ``"policy_value"`` for a search: the policy of contacting where the
        highest effect is above 0.
    sklearn_seqcrm.uplift.choose_contacts : A policy under a budget.

    Notes
    -----
    With the outcome ``y``, the arm ``A``, its propensity ``e(A)`` and the probability
    ``p(A)`` with which the policy chooses it, the weight of a row is ``r = p(A) /
    e(A)`` and the estimates are means over rows (of ``sample_weight``) [1]_ [2]_::

        ipw    mean(r * y)
        snipw  mean(r * y) / mean(r)
        dr     mean(sum over arms of p * m + r * (y - m(A)))   m: outcomes

    All are consistent if the propensities are correct. "dr" is consistent if the
    propensities or `outcomes` are correct, and has the smallest variance if both are
    about correct.
    Where propensities are near 0, no estimate is precise, see ``n_effective``.

    The standard error is that of a mean of the estimate's influences [1]_, summed over
    the rows of a customer; the interval is normal. If the propensities are the shares
    of the arms, the weighted residuals of each arm are centred, because estimated
    shares make the estimate more precise. The errors of models of propensities and of
    outcomes are left out: to first order they do not matter for "dr" [2]_, and without
    them the intervals of the others are too wide. The interval is that of the given
    policy: it does not cover that other training rows would lead to another policy. Its
    quantiles are those of the normal distribution, so that it is too short with a few
    dozen customers, and where few of them buy. In simulations in which 2% of the
    customers bought, and a mail had no effect, the 95% interval of the gain from
    mailing all customers was above 0 in 13% of the campaigns with 100 customers who
    were not mailed (5% of all), in 8% with 250, and in 5% with 1,000. The nominal rate
    is 2.5%.

    References
    ----------
    .. [1] Dudík, M., Erhan, D., Langford, J. and Li, L. (2014). Doubly robust policy
       evaluation and optimization. Statistical Science 29(4), 485-511.
       https://doi.org/10.1214/14-STS500
    .. [2] Robins, J. M., Rotnitzky, A. and Zhao, L. P. (1994). Estimation of regression
       coefficients when some regressors are not always observed. Journal of the
       American Statistical Association 89, 846-866.
       https://doi.org/10.1080/01621459.1994.10476818

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import policy_value
    >>> bought = [1, 0, 1, 0, 1, 0, 0, 1]
    >>> mailed = [1, 1, 1, 1, 0, 0, 0, 0]
    >>> policy = [1, 0, 1, 0, 1, 0, 0, 1]
    >>> result = policy_value(bought, policy, mailed, baseline=0)
    >>> result.value
    0.0
    >>> policy_value(bought, policy, mailed).value
    0.5
    """
    if method is None:
        method = "snipw" if outcomes is None else "dr"
    labels, arm = read_arms(treatment, control, treatments)
    rows, kept = _read_rows(
        y_true, labels, arm, propensity, outcomes, method, sample_weight, pos_label
    )
    n_rows = len(arm)
    policies = {"policy": _read_policy(policy, labels, n_rows, "policy")[kept]}
    if baseline is not None:
        policies["baseline"] = _read_policy(baseline, labels, n_rows, "baseline")[kept]
    value, influence = rows.estimate(policies["policy"], method)
    if baseline is not None:
        subtracted, of_other = rows.estimate(policies["baseline"], method)
        value, influence = value - subtracted, influence - of_other
    _warn_few_outcomes(rows, policies, labels)
    agrees = rows.ratios(policies["policy"]) > 0
    code = customer_codes(customers, n_rows, kept)
    error = _standard_error(rows.weight * influence, agrees, code)
    reach = NormalDist().inv_cdf(0.5 + confidence_level / 2) * error
    return Bunch(
        value=float(value),
        standard_error=error,
        lower=float(value - reach),
        upper=float(value + reach),
        n_effective=rows.effective_size(policies["policy"]),
    )


class _Rows(NamedTuple):
    """Rows with weight: outcomes, arms, propensities and predicted outcomes."""

    y: np.ndarray  # (n,)
    arm: np.ndarray  # (n,), int64: places of the arms
    propensity: np.ndarray  # (n, n_arms): probability of each arm
    outcomes: np.ndarray  # (n, n_arms): predicted outcome under each arm, or zeros
    weight: np.ndarray  # (n,): sums to 1
    shares_are_estimated: bool  # whether propensities are the shares of the arms

    def ratios(self, chosen: np.ndarray) -> np.ndarray:
        """Return the probability of the row's arm over its propensity, (n,)."""
        return self._own(chosen) / self._own(self.propensity)

    def effective_size(self, chosen: np.ndarray) -> float:
        """Return Kish's effective number of rows that agree with a policy."""
        weight = self.weight * self.ratios(chosen)
        return float(weight.sum() ** 2 / (weight @ weight))

    def estimate(self, chosen: np.ndarray, method: str) -> tuple[float, np.ndarray]:
        """Return the value of a policy, and the influence of each row on it, (n,)."""
        ratio = self.ratios(chosen)
        if not self.weight @ ratio > 0:
            raise ValueError(
                "No row with weight had the treatment that the policy chooses for it, "
                "so that nothing is known about its value."
            )
        direct = (chosen * self.outcomes).sum(axis=1)
        weighted = ratio * (self.y - self._own(self.outcomes))
        if method == "snipw":
            value = self.weight @ weighted / (self.weight @ ratio)
            # The derivative of a ratio of means: r * (y - V) / mean(r).
            residual = ratio * (self.y - value) / (self.weight @ ratio)
            return value, self._centred(residual)
        value = self.weight @ (direct + weighted)
        mean = self.weight @ direct
        influence = direct - mean + self._centred(weighted)
        return value, influence - self.weight @ influence

    def _own(self, by_arm: np.ndarray) -> np.ndarray:
        return by_arm[np.arange(len(self.arm)), self.arm]

    def _centred(self, residual: np.ndarray) -> np.ndarray:
        """Subtract the mean of each arm if its share is estimated."""
        # A share e(a) = mean(1[A = a]) in the denominator has the influence
        # -(1[A = a] - e(a)) / e(a) * mean(residual * 1[A = a]), which is this up to a
        # constant.
        if not self.shares_are_estimated:
            return residual
        mean = np.bincount(self.arm, self.weight * residual) / np.bincount(
            self.arm, self.weight
        )
        return residual - mean[self.arm]


def _read_rows(
    y_true: Any,
    labels: list[Any],
    arm: np.ndarray,
    propensity: Any,
    outcomes: Any,
    method: str,
    sample_weight: Any,
    pos_label: Any,
) -> tuple[_Rows, np.ndarray]:
    """Return the rows with weight, and their positions."""
    y = read_targets(y_true, pos_label)
    check_length(len(arm), len(y), "treatment")
    kept, weight, _ = read_weights(sample_weight, len(arm))
    require_all_arms(arm[kept], labels)
    weight = weight / weight.sum()
    rows = _Rows(
        y[kept],
        arm[kept],
        _propensities(propensity, labels, kept, arm, weight),
        _outcomes(outcomes, labels, kept, len(arm), method),
        weight,
        shares_are_estimated=propensity is None,
    )
    return rows, kept


def _warn_few_outcomes(
    rows: _Rows, policies: Mapping[str, np.ndarray], labels: Sequence[Any]
) -> None:
    """Warn if nearly all rows that show the value of an arm have the same outcome."""
    for (name, chosen), (place, label) in product(policies.items(), enumerate(labels)):
        y = rows.y[(rows.arm == place) & (rows.ratios(chosen) > 0)]
        values, counts = np.unique(y, return_counts=True)
        n_others = len(y) - counts.max(initial=0)
        n_enough = min(_FEW_OUTCOMES, _SMALL_SHARE * len(y))
        if len(y) >= _FEW_ROWS and n_others < n_enough:
            warn_user(
                f"Of the {len(y)} rows with the treatment {label!r} that {name} "
                f"chooses for them, only {n_others} have another outcome than "
                f"{values[counts.argmax()]:g}. With fewer than {_FEW_OUTCOMES}, the "
                "interval is too short, and a difference may be chance: use more "
                "customers, or a longer horizon for outcomes."
            )
            return


def _standard_error(
    influence: np.ndarray, agrees: np.ndarray, code: np.ndarray
) -> float:
    """Return the standard error of a sum of influences over customers, from 0 on."""
    # One customer who agrees with the policy has no variance.
    if len(np.unique(code[agrees])) < 2:
        return float("nan")
    influence = np.bincount(code, influence)
    n = len(influence)
    return float(np.sqrt(influence @ influence * n / (n - 1)))


def _read_policy(policy: Any, labels: list[Any], n_rows: int, name: str) -> np.ndarray:
    """Return the probability with which a policy chooses each arm, (n, n_arms)."""
    if np.ndim(policy) == 2 and np.shape(policy)[1] > 1:
        return _probabilities(policy, labels, n_rows, name)
    if np.ndim(policy) == 0:
        if policy not in labels:
            raise ValueError(f"{name}={policy!r} is none of the arms {labels}.")
        place = np.full(n_rows, labels.index(policy))
    else:
        column = pd.Series(flat(policy, name)).astype(object)
        check_length(len(column), n_rows, name, "treatment")
        place = pd.Index(labels, dtype=object).get_indexer(
            pd.Index(column, dtype=object)
        )
    if (place < 0).any():
        unknown = column[place < 0].unique().tolist()
        raise ValueError(
            f"{name} chooses {unknown} in {int((place < 0).sum())} rows, which are "
            f"none of the arms {labels}."
        )
    return np.eye(len(labels))[place]


def _propensities(
    propensity: Any,
    labels: list[Any],
    kept: np.ndarray,
    arm: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """Return propensities of the n kept rows, (n, n_arms); without any, shares of arms.

    `propensity` and `arm` are of all rows, `weight` of the kept ones, with sum 1.
    """
    if propensity is None:
        shares = np.bincount(arm[kept], weight, len(labels))
        return np.tile(shares, (len(kept), 1))
    shape = np.shape(propensity)
    if shape == ():
        raise TypeError(
            f"propensity must be an array with a probability for each row; got "
            f"{propensity!r}. For one probability p of all rows, pass "
            f"np.full({len(arm)}, p)."
        )
    if len(shape) == 1 or shape[1:] == (1,):
        if len(labels) > 2:
            raise ValueError(
                f"propensity must have a column for each of the arms {labels}; got "
                f"the shape {shape}."
            )
        treated = numbers(propensity, "propensity")
        propensity = np.column_stack([1 - treated, treated])
    given = _probabilities(propensity, labels, len(arm), "propensity")[kept]
    _refuse_certain(given)
    return given


def _refuse_certain(propensity: np.ndarray) -> None:
    """Raise a ValueError if rows with weight could only be in one arm."""
    n_bad = int(((propensity <= 0) | (propensity >= 1)).any(axis=1).sum())
    if n_bad:
        raise ValueError(
            f"propensity is 0 or 1 in {n_bad} of {len(propensity)} rows: what the "
            "other arms do there is unknown. Leave out the rows that could only be in "
            "one arm, or clip estimated propensities, for example to between .01 and "
            ".99."
        )


def _outcomes(
    outcomes: Any, labels: list[Any], kept: np.ndarray, n_rows: int, method: str
) -> np.ndarray:
    """Return the predicted outcomes of the kept rows, (n, n_arms); 0 without "dr"."""
    if method != "dr":
        return np.zeros((len(kept), len(labels)))
    if outcomes is None:
        raise ValueError(
            'method="dr" needs outcomes, the predicted outcome of each row under '
            "each arm, such as those of predict_outcomes."
        )
    return _by_arm(outcomes, labels, n_rows, "outcomes")[kept]


def _probabilities(
    values: Any, labels: list[Any], n_rows: int, name: str
) -> np.ndarray:
    found = _by_arm(values, labels, n_rows, name)
    bad = (found < 0).any(axis=1) | (abs(found.sum(axis=1) - 1) > _SUM_TOLERANCE)
    if bad.any():
        raise ValueError(
            f"{name} must be probabilities of the arms {labels}, which sum to 1; they "
            f"do not in {int(bad.sum())} of {n_rows} rows."
        )
    return found


def _by_arm(values: Any, labels: list[Any], n_rows: int, name: str) -> np.ndarray:
    """Return finite floats of shape (n, n_arms)."""
    found = np.asarray(in_order_of_arms(values, labels, name))
    if found.ndim == 0:
        raise TypeError(f"{name} must be an array with {n_rows} rows; got {values!r}.")
    frame = pd.DataFrame(found)
    if frame.shape[1] != len(labels):
        raise ValueError(
            f"{name} has {frame.shape[1]} columns; there must be one for each of the "
            f"arms {labels}."
        )
    check_length(len(frame), n_rows, name, "treatment")
    return np.column_stack([numbers(frame[i], name) for i in range(len(labels))])


def policy_score(
    y_true: Any,
    effect: Any,
    treatment: Any,
    *,
    control: Any = None,
    treatments: Any = None,
    propensity: Any = None,
    sample_weight: Any = None,
    pos_label: Any = None,
) -> float:
    """Return the value of contacting where the highest effect is above 0.

    Other arguments are those of `policy_value`.
    """
    labels, arm = read_arms(treatment, control, treatments)
    effects = effect_columns(effect, labels)
    with_control = np.column_stack([np.zeros(len(effects)), effects])
    # The first of equal effects: control, where no effect is above 0.
    chosen = np.eye(len(labels))[with_control.argmax(axis=1)]
    rows, kept = _read_rows(
        y_true, labels, arm, propensity, None, "snipw", sample_weight, pos_label
    )
    check_length(len(effects), len(arm), "effect", "treatment")
    return float(rows.estimate(chosen[kept], "snipw")[0])
