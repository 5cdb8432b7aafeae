"""A simulator of touches by campaigns, each of whose true effect is known."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

from sklearn_seqcrm._sklearn_compat import Interval, validate_params

DAY = 24 * 3600  # instants and spans are whole seconds below

CHANNELS = ("search", "email", "social", "retargeting", "display")
SEARCH, RETARGETING = CHANNELS.index("search"), CHANNELS.index("retargeting")
SHARES = np.array([0.16, 0.20, 0.14, 0.20, 0.30])
# How late in the window touches come, as the first parameter of a beta distribution
# whose second one is 1.5: the higher, the later.
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
    },
    prefer_skip_nested_validation=True,
)
def make_campaign_journeys(
    n_customers: int = 2000,
    *,
    mean_touches: float = 4,
    strength: float = 1.0,
    random_state: Any = None,
) -> Bunch:
    """Simulate customers who are touched by channels at random, and who convert or not.

    What each channel truly adds to the probability of each customer is known, so that
    ways to give credit can be compared with the truth. Rules of thumb go wrong here:
    ``display`` is the most frequent channel and mostly the last touch, and does
    nothing; ``retargeting`` does much, but only after a touch by ``search``; and some
    customers convert without having been touched.

    Parameters
    ----------
    n_customers : int, default=2000
        The number of customers, at least 1.
    mean_touches : float, default=4
        The mean number of touches of a customer, above 0. Their number is Poisson.
    strength : float, default=1.0
        What all effects of channels on the logit are multiplied by, at least 0. With 0
        no channel does anything.
    random_state : int, RandomState instance or None, default=None
        Determines all the draws. Pass an int for reproducible output.

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
            What each channel adds to it: Shapley values over channels, which sum to
            ``probability`` less that of the customer without any touch.
        removal : DataFrame of shape (n_customers, 5)
            By how much it falls without all touches of a channel.
        channels : list of str
            Names of the channels.
        DESCR : str
            A short description.

    See Also
    --------
    sklearn_seqcrm.inspection.channel_attribution : Credit of channels by a model.

    Notes
    -----
    With the age ``a`` of the last touch by a channel at the cutoff and its weight
    ``w = 0.5 ** (a / 30 days)``, 0 without a touch::

        logit = -2.2 + 0.5 * z + strength * (1.6 * w of search + 0.9 * w of email
                + 0.4 * w of social + 1.6 * w of retargeting)

    where a touch by retargeting counts only if one by search came before it, and ``z``
    is a standard normal number of the customer that nobody sees; the probability is its
    mean over ``z``, by the points of Gauss and Hermite. Touches are drawn independently
    of ``z``: only so is credit for what a model predicts also credit for what happens.
    Where customers who were about to buy are touched more, it is not.

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
    ids = np.array([f"C{i:0{len(str(n_customers - 1))}d}" for i in range(n_customers)])
    n_channels = len(CHANNELS)
    # Whose values are needed for Shapley's: of all sets of channels.
    values = {
        some: _probability(touches, n_customers, some, strength)
        for size in range(n_channels + 1)
        for some in combinations(range(n_channels), size)
    }
    everything = tuple(range(n_channels))
    probability = values[everything]
    credit, removal = np.zeros((2, n_customers, n_channels))
    for channel in everything:
        others = tuple(one for one in everything if one != channel)
        removal[:, channel] = probability - values[others]
        for some, value in values.items():
            if channel not in some:
                joined = tuple(sorted((*some, channel)))
                weight = factorial(len(some)) * factorial(n_channels - len(some) - 1)
                gain = values[joined] - value
                credit[:, channel] += weight / factorial(n_channels) * gain
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


def _draw_touches(
    rng: np.random.RandomState, n_customers: int, mean_touches: float
) -> pd.DataFrame:
    """Customer, channel and age in seconds of each touch, in random order."""
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
    """Probability of each customer with the touches of some channels only."""
    kept = touches[touches["channel"].isin(some)]
    searches = kept[kept["channel"] == SEARCH]
    first_search = np.full(n_customers, -np.inf)
    np.maximum.at(first_search, searches["customer"], searches["age"])
    works = kept["channel"] != RETARGETING
    works |= kept["age"] < first_search[kept["customer"]]
    kept = kept[works]
    weight = np.zeros((n_customers, len(CHANNELS)))
    faded = 0.5 ** (kept["age"] / HALF_LIFE)
    np.maximum.at(weight, (kept["customer"], kept["channel"]), faded)
    logit = INTERCEPT + strength * (weight @ STRENGTH)
    # The mean over the intent, which nobody sees.
    points, shares = np.polynomial.hermite_e.hermegauss(20)
    by_intent = 1 / (1 + np.exp(-(logit[:, None] + INTENT * points)))
    return by_intent @ (shares / shares.sum())
