"""Buy-till-you-die models, fitted by maximum likelihood: BG/NBD and MBG/CNBD-k.

A customer with ``x`` repeat purchases, the last one ``recency`` weeks after the first
one, is observed for ``age`` weeks. Interarrival times are Erlang of shape ``k`` and of
a rate ``l``, gamma(r, alpha) over customers, and a customer leaves after a purchase
with a probability ``p``, beta(a, b) over customers. With ``n`` purchases after which a
customer could leave and did not (all but the last one), ``q = r + k x``::

    L(T) = E[p (1 - p)^n] E[l^(kx) exp(-l recency)]
         + E[(1 - p)^(n + 1)] sum_{j < k} E[l^(kx + j) exp(-l T)] (T - recency)^j / j!

    E[l^m exp(-l t)] = alpha^r / (alpha + t)^(r + m) * Gamma(r + m) / Gamma(r)

No purchase until ``T + h`` is the same event with a longer time, so that the
probability of one or more within ``h`` is ``1 - L(T + h) / L(T)``.

- BG/NBD (Fader, Hardie and Lee, "Counting Your Customers the Easy Way", Marketing
  Science 24(2), 2005): ``k = 1``, and nobody leaves after the first purchase:
  ``n = x - 1``.
- MBG/CNBD-k (Reutterer, Platzer and Schroeder, "Leveraging Purchase Regularity for
  Predicting Customer Behavior the Easy Way", International Journal of Research in
  Marketing 38(1), 2021): customers may leave after the first purchase, ``n = x``, and
  the likelihood chooses ``k``.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1

# Shapes of interarrival times that are tried.
SHAPES = (1, 2, 3)


class Purchases(NamedTuple):
    """Purchases of each customer, arrays of shape (n,).

    Parameters
    ----------
    x : ndarray
        Repeat purchases.
    recency, age : ndarray
        Weeks from the first purchase to the last one, and to the end of the record.
    log_times : ndarray
        Sums of the logarithms of the interarrival times; 0 without repeats.
    """

    x: np.ndarray
    recency: np.ndarray
    age: np.ndarray
    log_times: np.ndarray | float = 0.0


class BuyTillYouDie(NamedTuple):
    """A fitted model: logarithms of ``r, alpha, a, b``, and its variant."""

    logs: np.ndarray
    shape: int
    leave_at_once: bool

    def active(self, seen, weeks):
        """Return the probability of a purchase within `weeks` after the record."""
        later = seen._replace(age=seen.age + weeks)
        return -np.expm1(
            log_likelihoods(self, later) - log_likelihoods(self, seen)
        ).clip(max=0)


def fit_bg_nbd(seen):
    """Fit BG/NBD."""
    return _fit(seen, 1, leave_at_once=False)[1]


def fit_mbg_cnbd(seen):
    """Fit MBG/CNBD-k with the most likely shape."""
    fits = [_fit(seen, shape, leave_at_once=True) for shape in SHAPES]
    return min(fits, key=lambda one: one[0])[1]


def log_likelihoods(model, seen):
    """Return the log likelihood of each customer."""
    (r, alpha, a, b), k = np.exp(model.logs), model.shape
    x, recency, age, log_times = seen
    n = x if model.leave_at_once else x - 1

    def moment(power, time):
        of_gamma = gammaln(r + power) - gammaln(r)
        return of_gamma + r * np.log(alpha) - (r + power) * np.log(alpha + time)

    since = np.log(np.maximum(age - recency, 1e-12))
    terms = [
        moment(k * x + j, age) + j * since - gammaln(j + 1) if j else moment(k * x, age)
        for j in range(k)
    ]
    alive = betaln(a, b + n + 1) + np.logaddexp.reduce(terms)
    gone = betaln(a + 1, b + np.maximum(n, 0)) + moment(k * x, recency)
    gone = np.where(n >= 0, gone, -np.inf)
    of_times = (k - 1) * log_times - x * gammaln(k)
    return np.logaddexp(alive, gone) - betaln(a, b) + of_times


def expected_purchases(weeks, seen):
    """Predict the purchases of each customer within `weeks` by BG/NBD."""
    x, recency, age, _ = seen
    r, alpha, a, b = np.exp(fit_bg_nbd(seen).logs)
    ratio = (alpha + age) / (alpha + age + weeks)
    series = hyp2f1(r + x, b + x, a + b + x - 1, weeks / (alpha + age + weeks))
    odds = a / (b + np.maximum(x, 1) - 1)
    odds = odds * ((alpha + age) / (alpha + recency)) ** (r + x)
    gone = np.where(x > 0, odds, 0.0)
    return (a + b + x - 1) / (a - 1) * (1 - ratio ** (r + x) * series) / (1 + gone)


def fitted(cost, n):
    """Return the logarithms of the parameters with the lowest cost."""
    starts = np.random.default_rng(0).normal(0, 1, size=(5, n))
    options = {"maxiter": 5000, "maxfev": 5000, "xatol": 1e-6, "fatol": 1e-10}
    found = [
        minimize(cost, start, method="Nelder-Mead", options=options) for start in starts
    ]
    return min(found, key=lambda one: one.fun).x


def _fit(seen, shape, leave_at_once):
    """Return the mean cost and the fitted model."""

    def cost(logs):
        model = BuyTillYouDie(logs, shape, leave_at_once)
        return -np.mean(log_likelihoods(model, seen))

    logs = fitted(cost, 4)
    return cost(logs), BuyTillYouDie(logs, shape, leave_at_once)
