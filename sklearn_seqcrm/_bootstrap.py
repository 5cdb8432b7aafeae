"""Cluster bootstrap: customers drawn with replacement, each with all of their rows.

Rows of a customer are dependent. To draw rows instead of customers would make intervals
too short (Field and Welsh, "Bootstrapping clustered data", JRSS B 69, 2007).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import ndtr, stdtrit


def draw_customers(
    n_customers: int, n_resamples: int, rng: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Yield for each sample how often each customer is drawn, (n_customers,)."""
    for _ in range(n_resamples):
        drawn = rng.randint(n_customers, size=n_customers)
        yield np.bincount(drawn, minlength=n_customers)


def expanded_interval(
    samples: np.ndarray, confidence_level: float, n_customers: int
) -> np.ndarray:
    """Return the ends of the expanded percentile interval, (2, ...).

    `samples` (n_samples, ...) are finite numbers over samples of `n_customers`. The
    ends are NaN without samples, or with one customer.

    Notes
    -----
    The ends are the quantiles ``a`` and ``1 - a`` of the samples, with ``a = Phi(t_{n -
    1, (1 - level) / 2} sqrt(n / (n - 1)))`` instead of ``(1 - level) / 2``: the
    standard deviation of a mean of ``n`` drawn customers is too small by a factor of
    ``sqrt((n - 1) / n)``, and Student's quantiles with ``n - 1`` degrees of freedom are
    larger than the normal ones (Hesterberg, "What Teachers Should Know About the
    Bootstrap", 2015, doi:10.1080/00031305.2015.1089789, section 3.4).
    """
    if n_customers < 2 or not len(samples):
        return np.full((2, *samples.shape[1:]), np.nan)
    # Student's quantile, scaled, is turned back into a probability of the normal.
    student = stdtrit(n_customers - 1, (1 - confidence_level) / 2)
    tail = ndtr(student * np.sqrt(n_customers / (n_customers - 1)))
    return np.quantile(samples, [tail, 1 - tail], axis=0)
