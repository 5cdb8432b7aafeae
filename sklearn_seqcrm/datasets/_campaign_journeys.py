"""A simulator of campaign touches whose true effects are known."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm.datasets._simulation import DAY, customer_ids

CHANNELS = ("search", "email", "social", "retargeting", "display")
SEARCH, RETARGETING = CHANNELS.index("search"), CHANNELS.index("retargeting")
SHARES = np.array([0.16, 0.20, 0.14, 0.20, 0.30])
# Position of a touch in the window (0 first day, 1 cutoff) ~ Beta(LATENESS, 1.5): the
# higher, the closer to the cutoff.
LATENESS = np.array([1.0, 1.5, 1.2, 2.5, 3.5])

CUTOFF = np.datetime64("2024-06-01", "s")
WINDOW = 60 * DAY
HALF_LIFE = 30 * DAY
HORIZON = 14 * DAY

# The generating equation: see Notes of make_campaign_journeys.
INTERCEPT, INTENT = -2.2, 0.5
STRENGTH = np.array([1.6, 0.9, 0.4, 1.6, 0.0])

DESCR = """\
Simulated touches of customers by the channels of campaigns, before one cutoff, and
whether they convert in the 14 days after it. What each channel adds to each customer's
probability is known: one channel does nothing, and one works only after another. See
the docstring of sklearn_seqcrm.datasets.make_campaign_journeys.
"""


@validate_params(
    {
        "n_customers": [Interval(Integral, 1, None, closed="left")],
        "mean_touches": [Interval(Real, 0, None, closed="neither")],
        "strength": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }
)
def make_campaign_journeys(
    n_customers: int = 2000,
    *,
    mean_touches: float = 4,
    strength: float = 1.0,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Simulate customers who are touched by channels at random, and convert or not.

    The true contribution of each channel to the conversion probability of each customer
    is known, so that attribution methods can be compared with the truth. Simple rules
    fail here: ``display`` is the most frequent channel and mostly the last touch, and
    has no effect; ``retargeting`` has a strong effect, but only after a touch by
    ``search``; and some customers convert without any touch.

    Parameters
    ----------
    n_customers : int, default=2000
        The number of customers, at least 1.
    mean_touches : float, default=4
        The mean number of touches of a customer, above 0; the number is Poisson.
    strength : float, default=1.0
        Factor of all effects of channels on the logit, at least 0. With 0 no channel
        has an effect.
    random_state : int, RandomState instance or None, default=None
        Seed of all draws. Pass an int for reproducible output.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes:

        events : DataFrame
            One row per touch: ``customer_id`` (str), ``timestamp`` (datetime, whole
            seconds, in the 60 days before the cutoff) and ``channel`` (str).
        rows : DataFrame of n_customers rows
            ``customer_id`` (str) and ``cutoff`` (datetime, the same for all). The other
            per-row attributes are in its order.
        target : ndarray of shape (n_customers,)
            1 if the customer converts in the 14 days after the cutoff, else 0.
        probability : ndarray of shape (n_customers,)
            The true probability of target 1, given the touches.
        credit : DataFrame of shape (n_customers, 5)
            Contribution of each channel to the probability: Shapley values over
            channels, which sum to ``probability`` minus the probability without any
            touch.
        removal : DataFrame of shape (n_customers, 5)
            Decrease of the probability if all touches of a channel are removed.
        channels : list of str
            Names of the channels.
        DESCR : str
            A short description.

    See Also
    --------
    sklearn_seqcrm.inspection.channel_attribution : Credit of channels under a model.

    Notes
    -----
    Touches are drawn by::

        number of touches of a customer ~ Poisson(mean_touches)
        channel  ~ Categorical(.16 search, .20 email, .14 social, .20 retargeting,
                   .30 display)
        time     = cutoff - 60 days * (1 - b)
        b        ~ Beta(l, 1.5),  l = 1 for search, 1.5 for email, 1.2 for social,
                   2.5 for retargeting, 3.5 for display

    With the age ``a`` of the last touch by a channel at the cutoff and its weight ``w =
    0.5 ** (a / 30 days)``, 0 without a touch::

        logit = -2.2 + 0.5 * z + strength * (1.6 * w of search + 0.9 * w of email
                + 0.4 * w of social + 1.6 * w of retargeting)
        z      ~ Normal(0, 1)                          latent intent of the customer
        target ~ Bernoulli(1 / (1 + exp(-logit)))

    where a touch by retargeting counts only after a touch by search. ``probability`` is
    the mean over the latent ``z``, by Gauss-Hermite quadrature. Touches are drawn
    independently of ``z``: only then is the credit for a prediction also the causal
    credit. If customers with high intent were touched more often, it would not be.

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_campaign_journeys
    >>> data = make_campaign_journeys(500, random_state=0)
    >>> data.credit.shape, data.target.shape
    ((500, 5), (500,))
    >>> bool((data.credit["display"] == 0).all())
    True
    """
    rng = check_random_state(random_state)
    touches = _draw_touches(rng, n_customers, mean_touches)
    ids = np.array(customer_ids(n_customers))
    # The probability given only the touches by each set of channels.
    channels = range(len(CHANNELS))
    values = {
        some: _probability(touches, n_customers, some, strength)
        for size in range(len(channels) + 1)
        for some in combinations(channels, size)
    }
    probability = values[tuple(channels)]
    credit = np.column_stack([_shapley(values, one) for one in channels])
    removal = np.column_stack(
        [
            probability - values[tuple(other for other in channels if other != one)]
            for one in channels
        ]
    )
    events = pd.DataFrame(
        {
            "customer_id": ids[touches["customer"]],
            "timestamp": (CUTOFF - touches["age"].to_numpy().astype("m8[s]")),
            "channel": np.array(CHANNELS, dtype=object)[touches["channel"]],
        }
    )
    return Bunch(
        events=events,
        rows=pd.DataFrame({"customer_id": ids, "cutoff": CUTOFF}),
        target=(rng.uniform(size=n_customers) < probability).astype(np.int64),
        probability=probability,
        credit=pd.DataFrame(credit, columns=list(CHANNELS)),
        removal=pd.DataFrame(removal, columns=list(CHANNELS)),
        channels=list(CHANNELS),
        DESCR=DESCR,
    )


def _shapley(values: dict[tuple[int, ...], np.ndarray], channel: int) -> np.ndarray:
    """Return the Shapley value of a channel i for each customer, (n_customers,).

    With n channels and the probability ``v(S)`` given only the touches by the channels
    in S: ``sum over S without i of |S|! (n - |S| - 1)! / n! * (v(S + i) - v(S))``.
    """
    n, found = len(CHANNELS), np.zeros(len(values[()]))
    for some, value in values.items():
        if channel not in some:
            weight = factorial(len(some)) * factorial(n - len(some) - 1) / factorial(n)
            found += weight * (values[tuple(sorted((*some, channel)))] - value)
    return found


def _draw_touches(
    rng: np.random.RandomState, n_customers: int, mean_touches: float
) -> pd.DataFrame:
    """Draw customer, channel and age in seconds of each touch, by customer."""
    counts = rng.poisson(mean_touches, size=n_customers)
    n = counts.sum()
    channel = rng.choice(len(CHANNELS), size=n, p=SHARES)
    late = rng.beta(LATENESS[channel], 1.5)
    age = np.maximum(1, np.round(WINDOW * (1 - late))).astype(np.int64)
    customer = np.repeat(np.arange(n_customers), counts)
    return pd.DataFrame({"customer": customer, "channel": channel, "age": age})


def _probability(
    touches: pd.DataFrame, n_customers: int, some: tuple[int, ...], strength: float
) -> np.ndarray:
    """Return the probability of each customer given the touches by some channels."""
    kept = touches[touches["channel"].isin(some)]
    searches = kept[kept["channel"] == SEARCH]
    # Age of the first search; -inf without one, so that no retargeting counts.
    first_search = np.full(n_customers, -np.inf)
    np.maximum.at(first_search, searches["customer"], searches["age"])
    works = kept["channel"] != RETARGETING
    works |= kept["age"] < first_search[kept["customer"]]
    kept = kept[works]
    # The largest weight is that of the last touch, (n_customers, n_channels).
    weight = np.zeros((n_customers, len(CHANNELS)))
    faded = 0.5 ** (kept["age"] / HALF_LIFE)
    np.maximum.at(weight, (kept["customer"], kept["channel"]), faded)
    logit = INTERCEPT + strength * (weight @ STRENGTH)
    # E[f(z)] for z ~ Normal(0, 1): sum of f(points) * shares / sum(shares).
    points, shares = np.polynomial.hermite_e.hermegauss(20)
    by_intent = 1 / (1 + np.exp(-(logit[:, None] + INTENT * points)))
    return by_intent @ (shares / shares.sum())
