"""Rate of a customer's events so far, and the prior of such rates.

In a record that begins while a business is running, frequent customers come first, and
the first event of slow customers is late::

    record     |--e--e---e--e--e---e--e--|   fast: first event early, long history
               |-------------------e-----|   slow: first event late, short history
               |<---- waiting ---->|

Long interarrival times are observed of fast customers alone, because they have the
long histories. Without the waiting time, slow customers are taken to be like them. But
if the first event of each customer begins the relation, the waiting time is irrelevant.

If events come in visits, as clicks do, the rate is that of visits::

    events     |--eeee-------ee----------------e---|   3 visits: 2 repeats

The time to the next visit depends on how often a customer has come, and hardly on how
long the visits were.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import gammaln
from torch import Tensor

from sklearn_seqcrm._recurrent.data import HistorySource
from sklearn_seqcrm.event_model._segments import sums_before

# Share of the customers whose first events precede the start of the record: a single
# wrong date must not move it.
_SHARE_BEFORE = 0.01
# Numbers of customers from whom the prior is estimated.
_FEWEST_ROWS, _MOST_ROWS = 100, 2**14
# Bounds of the logarithms of r and alpha, and largest k.
_LEAST_LOG, _MOST_LOG, _MOST_WEIGHT = -12.0, 12.0, 2.0


class RatePrior(NamedTuple):
    """Gamma prior of the rates of customers, given the time of their first event.

    With the waiting time ``u`` from the start of the record to the first event, the
    rate of a customer is gamma distributed with shape ``r`` and rate ``alpha + k u``.
    After ``x`` interarrival times with the sum ``t``, its posterior mean is (for ``k =
    0``: Fader, Hardie and Lee, "Counting Your Customers the Easy Way", Marketing
    Science 24(2), 2005, https://doi.org/10.1287/mksc.1040.0098)::

        E[rate | x, t, u] = (r + x) / (alpha + k u + t)

    If customers come at random at constant rates from the start of the record on,
    ``k = 1``, and ``r`` has counted the first event; if first events do not depend on
    the rates, ``k = 0``. Where a lookback hides earlier events, ``u = 0``, and if it
    does in a training row, ``k = 0``. Where events come in visits, ``x`` counts only
    the interarrival times between visits.
    """

    repeats: float = 0.5  # r
    time: float = 1.0  # alpha, in units
    waiting_weight: float = 0.0  # k
    # Ticks: start of the record, and latest first event of a training customer.
    # A first event before or after these two is taken to be at the nearer one.
    start: float = 0.0
    latest: float = 0.0
    pause: float = 0.0  # longest interarrival time within a visit, in units
    # Rate, per unit, relative to which the network has the rates as inputs.
    typical: float = 1.0

    @classmethod
    def of_visits(cls, interarrival: np.ndarray, pause: float, unit: float) -> Self:
        """Return the prior of visits, between which is a longer time than a `pause`.

        `interarrival`, of shape (n,), are ticks between successive events, 0 among
        them, without outliers such as those of wrong dates. One is longer at least.
        """
        n_between = int(np.count_nonzero(interarrival > pause))
        rate = n_between * unit / float(interarrival.sum(dtype="float64"))
        prior = cls(pause=pause / unit, typical=rate)
        return prior._replace(time=prior.repeats / rate)

    def is_repeat(self, lengths: Any) -> Any:
        """Return whether interarrival times, in units, are repeats: after a pause."""
        return lengths > self.pause

    def estimated(
        self,
        first: np.ndarray,
        cutoff: np.ndarray,
        n_repeats: np.ndarray,
        is_truncated: np.ndarray,
        unit: float,
    ) -> Self:
        """Return it by maximum likelihood, or as it is if ``k = 0`` fits as well.

        `first` and `cutoff`, of shape (n,), are ticks of the first event and the cutoff
        of rows, `n_repeats`, (n,), their numbers of repeats, and `is_truncated`, (n,),
        bool, is as in `waited`. With the time ``w`` from the first event to the cutoff,
        the number of repeats is negative binomial::

            P(x | u, w) = Gamma(r + x) / (Gamma(r) x!)
                          * (a / (a + w))^r (w / (a + w))^x,   a = alpha + k u

        (Ehrenberg, "The Pattern of Consumer Purchases", Applied Statistics 8(1), 1959).
        The Bayesian information criterion decides whether ``k > 0``.
        """
        # With a lookback, predictions must not depend on events that it hides.
        if is_truncated.any() or not len(first):
            return self
        arrivals = first.astype("float64")
        start = float(np.quantile(arrivals, _SHARE_BEFORE, method="lower"))
        prior = self._replace(
            waiting_weight=1.0, start=start, latest=float(arrivals.max())
        )
        waiting = prior.waited(first, is_truncated, unit).astype("float64")
        begin = np.maximum(arrivals, start)
        exposure = (cutoff.astype("float64") - begin) / unit
        # In an order that does not depend on that of the customers.
        some = np.lexsort((n_repeats, exposure, waiting))
        some = some[exposure[some] > 0]
        some = some[:: 1 + len(some) // _MOST_ROWS]
        counts = n_repeats[some].astype("float64")
        if len(some) < _FEWEST_ROWS or not counts.any() or not waiting[some].any():
            return self
        # The bounds of alpha are relative to the mean exposure.
        scale = exposure[some].mean()
        exposure, waiting = exposure[some] / scale, waiting[some] / scale

        def parameters(logs: np.ndarray) -> list[float]:
            r, alpha, *k = np.exp(np.clip(logs, _LEAST_LOG, _MOST_LOG)).tolist()
            return [r, alpha, min(sum(k), _MOST_WEIGHT)]  # without k, it is 0

        def loss(logs: np.ndarray) -> float:
            r, alpha, k = parameters(logs)
            own = alpha + k * waiting
            log_probs = gammaln(r + counts) - gammaln(r) + r * np.log(own)
            log_probs += counts * np.log(exposure)
            return float(((r + counts) * np.log(own + exposure) - log_probs).sum())

        level = np.log(exposure.sum() / counts.sum())
        without, found = (
            minimize(loss, logs, method="Nelder-Mead")
            for logs in ([0.0, level], [0.0, level, -1.0])
        )
        if 2 * (without.fun - found.fun) <= np.log(len(counts)):
            return self
        r, alpha, k = parameters(found.x)
        return prior._replace(repeats=r, time=alpha * scale, waiting_weight=k)

    def waited(
        self, first: np.ndarray, is_truncated: np.ndarray, unit: float
    ) -> np.ndarray:
        """Return ``k u`` in units, of shape (n,), float32.

        `first`, of shape (n,), are ticks of the first events of rows, and
        `is_truncated`, (n,), bool, says where these are not the customers' first ones.
        """
        late = first.astype("float64").clip(self.start, self.latest) - self.start
        late[is_truncated] = 0
        return (self.waiting_weight * late / unit).astype("float32")


class EventRate(NamedTuple):
    """How often a customer has come so far: the interarrival times of rows or events.

    If customers come at random, each at a constant rate of its own, the interarrival
    times so far matter only by their number ``x``, or that of those between visits (see
    `RatePrior`), and their sum ``t``. The rate is its posterior mean under the gamma
    distribution of `RatePrior`; the weighted waiting time ``k u`` is a part of
    `elapsed`.

    The logarithm of such a rate is an input beside the state. Outputs of a recurrent
    cell lie between -1 and 1, so that without it very busy customers were regressed to
    the mean: those with more than 20 repeat purchases of a simulated BG/NBD process
    were predicted 11 purchases where 22 came. Logarithms of ``x`` and ``t`` as further
    inputs were rejected: simulated customers became busier and busier (totals 28% and
    12% too high in two processes with known totals), as only the rate does not grow
    with simulated time.
    """

    n_repeats: Any  # (n,): number of interarrival times longer than a pause
    # (n,): their sum, the operational time from the first event to the last one, and
    # the weighted waiting time for the first one, in units of the grid.
    elapsed: Any

    @classmethod
    def before_events(
        cls, lengths: Tensor, is_first: Tensor, waited: Tensor, prior: RatePrior
    ) -> Self:
        """Return the rate before each event.

        `lengths`, of shape (n,), are the interarrival times that the events end, in
        units, 0 for ties; `is_first`, (n,), are the first events of rows; and `waited`,
        (n,), is `RatePrior.waited` of their row.
        """
        # The time before the first event that a row sees does not count.
        lengths = lengths.masked_fill(is_first, 0.0)
        is_repeat = prior.is_repeat(lengths).to(lengths.dtype)
        terms = torch.stack([is_repeat, lengths], dim=1)
        n_repeats, elapsed = sums_before(terms, is_first).unbind(1)
        return cls(n_repeats, elapsed + waited)

    @classmethod
    def at_cutoffs(
        cls,
        events: HistorySource,
        lengths: np.ndarray,
        waited: np.ndarray,
        prior: RatePrior,
    ) -> Self:
        """Return the rate after the last event of rows, arrays of float32.

        `lengths`, of shape (n_events,), and `waited`, (n,), are as in `before_events`.
        """
        # As in `before_events`.
        first = np.minimum(events.start + 1, events.stop)

        def sums(numbers: np.ndarray) -> np.ndarray:
            until = np.concatenate([[0.0], np.cumsum(numbers, dtype="float64")])
            return (until[events.stop] - until[first]).astype("float32")

        return cls(sums(prior.is_repeat(lengths)), sums(lengths) + waited)

    def after(self, lengths: Tensor, prior: RatePrior) -> Self:
        """Return the rate after one more interarrival time of each, shape (n,)."""
        n_repeats = self.n_repeats + prior.is_repeat(lengths)
        return type(self)(n_repeats, self.elapsed + lengths)

    def log_rate(self, prior: RatePrior) -> Tensor:
        """Return the logarithm of the rate relative to a typical one, shape (n,)."""
        rate = (self.n_repeats + prior.repeats) / (self.elapsed + prior.time)
        return torch.log(rate) - math.log(prior.typical)
