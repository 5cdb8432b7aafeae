"""Intervals of metrics over customers, by the bootstrap."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state

from sklearn_seqcrm._bootstrap import draw_customers, expanded_interval
from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm.metrics._read import customer_codes, numbers


@validate_params(
    {
        "metric": [callable],
        "n_resamples": [Interval(Integral, 1, None, closed="left")],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }
)
def bootstrap_interval(
    metric: Callable[..., float],
    *arrays: ArrayLike,
    customers: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    n_resamples: int = 500,
    confidence_level: float = 0.95,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Compute a metric and its interval over customers, by the bootstrap.

    Parameters
    ----------
    metric : callable
        ``metric(*arrays, sample_weight=...)`` returns a number, such as
        `qini_auc_score`. For other options of a metric, use `functools.partial`.
    *arrays : array-like of shape (n, ...)
        What the metric takes, one value or more per row: outcomes, effects and
        treatments, for example.
    customers : array-like of shape (n,) or None, default=None
        Customer of each row. None for a customer per row.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights, not negative; None for a weight of 1 per row.
    n_resamples : int, default=500
        Number of bootstrap samples, at least 1.
    confidence_level : float, default=0.95
        Probability of the interval, between 0 and 1.
    random_state : int, RandomState instance or None, default=None
        Seed of the samples.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With the attributes below. Printed, it has the number of samples in place of
        the samples:

        score : float
            The metric of all rows.
        standard_error : float
            Standard deviation over the samples.
        lower, upper : float
            Ends of the interval; NaN with one customer, or if no sample has a score.
        samples : ndarray of shape (n_resamples,)
            The metric of each sample; NaN where it is not defined, as without any row
            of an arm.

    Raises
    ------
    ValueError
        If there is no array, lengths differ, or for arguments that the metric refuses.
    TypeError
        If `sample_weight` holds anything but numbers, or `metric` does not return a
        number.

    See Also
    --------
    sklearn_seqcrm.model_selection.compare_models : Scores of several models with
        intervals of their differences.
    policy_value : A metric with an interval that needs no bootstrap.

    Notes
    -----
    Customers are drawn with replacement, each with all its rows: a customer who is
    drawn twice counts with twice the weight. With the same `random_state` and customers
    two models are compared on the same samples, so that the difference of their
    ``samples`` has an interval, too.

    The ends are quantiles of the samples, a little further out than by the confidence
    level (expanded percentile interval): the standard deviation of a mean over ``n``
    drawn customers is too small by a factor of ``sqrt((n - 1) / n)``, and Student's
    quantiles are larger than the normal ones [1]_.

    References
    ----------
    .. [1] Hesterberg, T. C. (2015). What teachers should know about the bootstrap:
       resampling in the undergraduate statistics curriculum. The American Statistician
       69(4), 371-386. https://doi.org/10.1080/00031305.2015.1089789

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seqcrm.metrics import bootstrap_interval, uplift_at_k
    >>> rng = np.random.default_rng(0)
    >>> effect, mailed = rng.uniform(-0.2, 0.2, 2000), rng.integers(0, 2, 2000)
    >>> bought = rng.random(2000) < 0.3 + effect * mailed
    >>> result = bootstrap_interval(uplift_at_k, bought, effect, mailed, random_state=0)
    >>> bool(result.lower < result.score < result.upper)
    True
    """
    if not arrays:
        raise ValueError("There is no array to score; pass those of the metric.")
    first: Any = arrays[0]
    n_rows = len(first)
    code = customer_codes(customers, n_rows)
    weight = np.ones(n_rows)
    if sample_weight is not None:
        weight = numbers(sample_weight, "sample_weight")
    score = _number(metric, metric(*arrays, sample_weight=weight))
    n_customers = int(code.max(initial=-1)) + 1
    rng = check_random_state(random_state)
    samples = np.array(
        [
            _score_or_nan(metric, arrays, weight * count[code])
            for count in draw_customers(n_customers, n_resamples, rng)
        ]
    )
    known = samples[np.isfinite(samples)]
    lower, upper = expanded_interval(known, confidence_level, n_customers)
    return _BootstrapResult(
        score=score,
        standard_error=float(known.std(ddof=1)) if len(known) > 1 else math.nan,
        lower=float(lower),
        upper=float(upper),
        samples=samples,
    )


class _BootstrapResult(Bunch):
    """Result whose samples are not printed: they would fill a screen."""

    def __repr__(self) -> str:
        shown = [f"{name}={self[name]!r}" for name in self if name != "samples"]
        return f"Bunch({', '.join(shown)}, samples=<{len(self.samples)} values>)"


def _number(metric: Callable[..., float], score: Any) -> float:
    try:
        return float(score)
    except TypeError as error:
        function = getattr(metric, "func", metric)  # of a functools.partial
        name = getattr(function, "__name__", repr(metric))
        way_out = ""
        if "lower" in dir(score):
            way_out = f"; {name} computes its own interval, .lower and .upper"
        raise TypeError(
            f"metric must return a number, but {name} returned a "
            f"{type(score).__name__}{way_out}."
        ) from error


def _score_or_nan(
    metric: Callable[..., float], arrays: tuple[Any, ...], weight: np.ndarray
) -> float:
    """Score a bootstrap sample; NaN if the score is not defined on it."""
    with warnings.catch_warnings():
        # Each sample would repeat the warning of all rows, which were scored before.
        warnings.simplefilter("ignore")
        try:
            return float(metric(*arrays, sample_weight=weight))
        except ValueError:
            # All rows were scored before, so that the reason is an arm or a class
            # that was not drawn.
            return math.nan
