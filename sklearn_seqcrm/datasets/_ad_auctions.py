"""A simulator of auctions of ad impressions whose true effects are known."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm.datasets._simulation import (
    DAY,
    HOUR,
    customer_ids,
    datetimes,
    expit,
)

START = np.datetime64("2024-01-01", "s")  # a Monday
N_DAYS = 35
CONVERSION_WINDOW = 7 * DAY
PEAK_HOUR, TRAFFIC_SWING = 20, 0.8
DAY_SPREAD = 0.15  # standard deviation of the logarithm of a day's traffic and prices

KINDS = ("cart", "purchase", "remove", "view")
CART, PURCHASE, REMOVE, VIEW = range(len(KINDS))
MEAN_SESSIONS = 12
CART_SHARE = 0.4
# How a session with a cart ends; otherwise the cart stays open.
PURCHASE_SHARE, REMOVE_SHARE = 0.25, 0.25

SITES, SITE_SHARES = ("games", "mail", "news", "video"), np.array([0.3, 0.2, 0.3, 0.2])
DEVICES, DEVICE_SHARES = ("desktop", "phone", "tablet"), np.array([0.35, 0.5, 0.15])
MEDIAN_PRICE, PRICE_SPREAD, EVENING_SLOPE = 0.12, 0.6, 0.35
SITE_PRICE = np.array([-0.5, 0.1, 0.2, 0.2])
WORTH = 5.0

# The generating equations: see Notes of make_ad_auctions.
HALF_LIVES = np.array([4 * DAY, 12 * HOUR])  # of memory and of intent
VIEW_GAIN, OPEN_VIEW_GAIN, CART_GAIN, REMOVE_FACTOR = 0.1, 0.4, 1.0, 0.2
AD_INTERCEPT, MEMORY_SLOPE, INTENT_SLOPE = -5.0, 2.2, -1.8
SITE_EFFECT = np.array([-0.8, 0.2, 0.4, 0.0])
DEVICE_EFFECT = np.array([0.3, 0.0, -0.3])
ORGANIC_INTERCEPT, ORGANIC_SLOPE = -5.5, 4.5

DESCR = """\
Simulated auctions of ad impressions over five weeks. The visitors of a shop view
products, fill carts and buy, and are offered to advertisers on other sites. The
probability of a conversion with and without the ad and the price of each impression are
known. See the docstring of sklearn_seqcrm.datasets.make_ad_auctions.
"""


@validate_params(
    {
        "n_customers": [Interval(Integral, 1, None, closed="left")],
        "mean_impressions": [Interval(Real, 0, None, closed="neither")],
        "effect": [Interval(Real, 0, 1, closed="both")],
        "organic": [Interval(Real, 0, 1, closed="both")],
        "random_state": ["random_state"],
    }
)
def make_ad_auctions(
    n_customers: int = 2000,
    *,
    mean_impressions: float = 1.5,
    effect: float = 1.0,
    organic: float = 1.0,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Simulate auctions of ad impressions with known effects of the ad.

    The task is to bid: an impression is worth what the ad adds to the probability of a
    conversion, times the worth of a conversion. Visitors who have just filled a cart
    convert anyway, and those who left one some days ago need a reminder, so that the
    probability of a conversion and the effect of the ad differ. Both depend on the
    order of views, carts, removals and purchases, and on their age.

    Parameters
    ----------
    n_customers : int, default=2000
        The number of customers, at least 1. They are the visitors of the shop.
    mean_impressions : float, default=1.5
        Mean number of impressions offered per customer and day, above 0.
    effect : float, default=1.0
        Factor of the probability that the ad convinces, from 0 to 1. With 0 the ad has
        no effect, and the best bid is 0.
    organic : float, default=1.0
        Factor of the probability of a conversion without the ad, from 0 to 1. With 0
        there are no conversions without the ad, and its effect is the probability of a
        conversion. For a given seed, `effect` and `organic` change only probabilities
        and targets.
    random_state : int, RandomState instance or None, default=None
        Seed of all draws. Pass an int for reproducible output.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes below. Those of impressions are in the order of `rows`.

        events : DataFrame
            The events in the shop, sorted by customer and time: ``customer_id`` (str),
            ``timestamp`` (datetime, whole seconds, in 35 days from 2024-01-01 on),
            ``event`` (categorical: ``cart``, ``purchase``, ``remove`` or ``view``) and
            ``amount`` (float, of the product, one per session).
        rows : DataFrame of n_impressions rows
            The impressions offered, sorted by time: ``customer_id``, ``timestamp``,
            ``site`` (categorical: ``games``, ``mail``, ``news`` or ``video``) and
            ``device`` (categorical: ``desktop``, ``phone`` or ``tablet``).
        price : ndarray of shape (n_impressions,)
            The highest bid of the others, in euros for one impression. A higher bid
            wins and pays this price: a second-price auction.
        target : ndarray of shape (n_impressions,)
            1 if the customer converts within `conversion_window` of an impression with
            the ad, else 0.
        target_without : ndarray of shape (n_impressions,)
            1 if the customer converts although another ad is shown. Only one of the two
            can be observed.
        probability : ndarray of shape (n_impressions,)
            The true probability of target 1, given the history and the row.
        probability_without : ndarray of shape (n_impressions,)
            The true probability of target_without 1.
        interest : DataFrame of n_impressions rows
            The two functions of the history that probabilities depend on, ``memory``
            and ``intent``.
        worth : float
            Worth of a conversion in euros.
        conversion_window : Timedelta
            Time until a target is known, 7 days.
        DESCR : str
            A short description.

    See Also
    --------
    make_campaign_journeys : Touches by channels whose true credit is known.
    sklearn_seqcrm.serving.BudgetPacer : Bids within a budget.

    Notes
    -----
    Memory (half-life 4 days) and intent (half-life 12 hours) decay between events, and
    change at an event of the shop::

        view       adds 0.4 while a cart is open, otherwise 0.1
        cart       adds 1, and opens a cart
        remove     leaves a fifth, and closes the cart
        purchase   sets both to 0, and closes the cart

    With their values at the impression::

        convinced = effect * expit(-5 + 2.2 * log(1 + memory) - 1.8 * log(1 + intent)
                                   + of site + of device)
        of site   = -0.8 games, 0.2 mail, 0.4 news, 0 video
        of device = 0.3 desktop, 0 phone, -0.3 tablet
        probability_without = organic * expit(-5.5 + 4.5 * log(1 + intent))
        probability = probability_without + (1 - probability_without) * convinced

    Both targets of an impression use the same uniform number, so that no ad prevents a
    conversion. Draws of sessions, impressions and prices::

        sessions of a customer    ~ Poisson(12 * Gamma(2, 1/2)), at uniform days
        views of a session        ~ 1 + Poisson(1.5); with probability 0.4 a cart,
                                    Poisson(1) views, and then a purchase (0.25), a
                                    removal (0.25), or nothing
        impressions of a day      ~ Poisson(n_customers * mean_impressions * traffic)
        customer, site, device    ~ categorical; customers by Gamma(2, 1/2) activity
        hour of sessions and
        impressions               ~ density proportional to 1 + 0.8 * evening
        evening                   = cos(2 * pi * (hour - 20) / 24)
        log price                 ~ Normal(log(0.12) + 0.35 * evening + of site + of
                                    day, 0.6), of site = -0.5, 0.1, 0.2, 0.2
        log traffic, of day       ~ Normal(0, 0.15), by day

    The simulation is simpler than an exchange in four ways. Conversions are far more
    frequent, so that little data suffices, and prices are higher by as much. Ads change
    no later event, and impressions of a customer have no effect on one another. Prices
    do not depend on histories: no other advertiser knows the customers.

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_ad_auctions
    >>> data = make_ad_auctions(200, random_state=0)
    >>> len(data.rows) == len(data.price) == len(data.target)
    True
    >>> value = data.worth * (data.probability - data.probability_without)
    >>> won = value > data.price  # bids of the true value, without a budget
    >>> bool((value - data.price)[won].sum() > 0)
    True
    """
    rng = check_random_state(random_state)
    events = _draw_events(rng, n_customers)
    rows = _draw_impressions(rng, n_customers, mean_impressions)
    interest = _interest_at(events, rows)
    memory, intent = np.log1p(interest).T
    convinced = effect * expit(
        AD_INTERCEPT
        + MEMORY_SLOPE * memory
        + INTENT_SLOPE * intent
        + SITE_EFFECT[rows["site"]]
        + DEVICE_EFFECT[rows["device"]]
    )
    without = organic * expit(ORGANIC_INTERCEPT + ORGANIC_SLOPE * intent)
    probability = without + (1 - without) * convinced
    threshold = rng.uniform(size=len(rows))
    ids = np.array(customer_ids(n_customers))
    return Bunch(
        events=pd.DataFrame(
            {
                **_public_keys(events, ids),
                "event": pd.Categorical.from_codes(events["kind"], pd.Index(KINDS)),
                "amount": events["amount"],
            }
        ),
        rows=pd.DataFrame(
            {
                **_public_keys(rows, ids),
                "site": pd.Categorical.from_codes(rows["site"], pd.Index(SITES)),
                "device": pd.Categorical.from_codes(rows["device"], pd.Index(DEVICES)),
            }
        ),
        price=rows["price"].to_numpy(),
        target=(threshold < probability).astype(np.int64),
        target_without=(threshold < without).astype(np.int64),
        probability=probability,
        probability_without=without,
        interest=pd.DataFrame(interest, columns=["memory", "intent"]),
        worth=WORTH,
        conversion_window=pd.Timedelta(seconds=CONVERSION_WINDOW),
        DESCR=DESCR,
    )


def _evening(seconds: np.ndarray) -> np.ndarray:
    """Return 1 at the peak of traffic and prices, and -1 twelve hours later."""
    return np.cos(2 * np.pi * (seconds / HOUR - PEAK_HOUR) / 24)


def _draw_seconds_of_day(rng: np.random.RandomState, n: int) -> np.ndarray:
    """Draw times of day by inverting the distribution function on a grid of minutes."""
    grid = np.arange(0, DAY + 1, 60)
    # The integral of 1 + swing * cos(2 * pi * (x - peak)) from 0 to each minute.
    phase = 2 * np.pi * (grid / HOUR - PEAK_HOUR) / 24
    swing = TRAFFIC_SWING * DAY / (2 * np.pi)
    integral = grid + swing * (np.sin(phase) - np.sin(phase[0]))
    drawn = np.interp(rng.uniform(size=n), integral / DAY, grid)
    return drawn.astype(np.int64)


def _draw_events(rng: np.random.RandomState, n_customers: int) -> pd.DataFrame:
    """Draw the events of all sessions, sorted by customer and time."""
    n_sessions = rng.poisson(MEAN_SESSIONS * rng.gamma(2, 0.5, size=n_customers))
    n = int(n_sessions.sum())
    start = rng.randint(N_DAYS, size=n) * DAY + _draw_seconds_of_day(rng, n)
    kinds, counts = _draw_steps(rng, n)
    session = np.repeat(np.arange(n), counts.sum(axis=1))
    # Seconds from the first event of the session on.
    clock = np.cumsum(5 + rng.exponential(60, size=len(session)))
    first = np.searchsorted(session, np.arange(n))
    seconds = start[session] + (clock - clock[first][session]).astype(np.int64)
    amount = np.exp(rng.normal(3.5, 0.5, size=n)).round(2)
    events = pd.DataFrame(
        {
            "customer": np.repeat(np.arange(n_customers), n_sessions)[session],
            "seconds": seconds,
            "kind": np.repeat(kinds.ravel(), counts.ravel()),
            "amount": amount[session],
        }
    )
    events = events[events["seconds"] < N_DAYS * DAY]
    return events.sort_values(["customer", "seconds"], kind="stable", ignore_index=True)


def _draw_steps(rng: np.random.RandomState, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the steps of n sessions: kinds and how often each occurs, (n, 4).

    The steps are views, a cart, views, and an end, which is a purchase or a removal.
    """
    has_cart = rng.uniform(size=n) < CART_SHARE
    n_first, n_later = 1 + rng.poisson(1.5, size=n), rng.poisson(1, size=n)
    end = rng.uniform(size=n)
    ends = end < PURCHASE_SHARE + REMOVE_SHARE
    last = np.where(end < PURCHASE_SHARE, PURCHASE, REMOVE)
    kinds = [np.full(n, VIEW), np.full(n, CART), np.full(n, VIEW), last]
    counts = [n_first, has_cart, has_cart * n_later, has_cart & ends]
    return np.stack(kinds, axis=1), np.stack(counts, axis=1).astype(np.int64)


def _draw_impressions(
    rng: np.random.RandomState, n_customers: int, mean_impressions: float
) -> pd.DataFrame:
    """Draw the impressions of all days and their prices, sorted by time."""
    traffic, of_day = rng.normal(0, DAY_SPREAD, size=(2, N_DAYS))
    n_of_day = rng.poisson(n_customers * mean_impressions * np.exp(traffic))
    day = np.repeat(np.arange(N_DAYS), n_of_day)
    n = len(day)
    seconds = _draw_seconds_of_day(rng, n).clip(max=DAY - 1)
    activity = rng.gamma(2, 0.5, size=n_customers)
    site = rng.choice(len(SITES), size=n, p=SITE_SHARES)
    log_price = EVENING_SLOPE * _evening(seconds) + SITE_PRICE[site] + of_day[day]
    noise = rng.normal(0, PRICE_SPREAD, size=n)
    rows = pd.DataFrame(
        {
            "customer": rng.choice(n_customers, size=n, p=activity / activity.sum()),
            "seconds": day * DAY + seconds,
            "site": site,
            "device": rng.choice(len(DEVICES), size=n, p=DEVICE_SHARES),
            "price": (MEDIAN_PRICE * np.exp(log_price + noise)).round(4),
        }
    )
    return rows.sort_values("seconds", kind="stable", ignore_index=True)


def _interest_at(events: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """Return memory and intent just before each impression, (n_rows, 2)."""
    after = _interest_after(events)
    customer, seconds = (events[name].to_numpy() for name in ["customer", "seconds"])
    who, now = (rows[name].to_numpy() for name in ["customer", "seconds"])
    # One number for customer and time; an event at the impression is not before it.
    span = 2 * N_DAYS * DAY
    last = np.searchsorted(customer * span + seconds, who * span + now) - 1
    has_events = (last >= 0) & (np.append(customer, -1)[last] == who)
    interest = np.zeros((len(rows), 2))
    last, now = last[has_events], now[has_events]
    interest[has_events] = after[last] * _decay(now - seconds[last])
    return interest


def _interest_after(events: pd.DataFrame) -> np.ndarray:
    """Return memory and intent after each event, (n_events, 2).

    Step k updates the k-th events of all customers at once.
    """
    customer, seconds, kind = (
        events[name].to_numpy() for name in ["customer", "seconds", "kind"]
    )
    rank = np.arange(len(customer)) - np.searchsorted(customer, customer)
    # A further element, which stays 0, stands for the state before the first event.
    state, is_open = np.zeros((len(customer) + 1, 2)), np.zeros(len(customer) + 1, bool)
    for step in range(rank.max(initial=-1) + 1):
        now = np.flatnonzero(rank == step)
        before = now - 1 if step else np.full(len(now), -1)
        faded = state[before] * _decay(seconds[now] - seconds[before])
        is_view, is_cart = kind[now] == VIEW, kind[now] == CART
        is_open[now] = is_cart | (is_view & is_open[before])
        gain = np.where(is_open[before], OPEN_VIEW_GAIN, VIEW_GAIN)
        gain = np.where(is_view, gain, np.where(is_cart, CART_GAIN, 0.0))
        kept = np.where(kind[now] == REMOVE, REMOVE_FACTOR, kind[now] != PURCHASE)
        state[now] = kept[:, None] * faded + gain[:, None]
    return state[:-1]


def _decay(elapsed: np.ndarray) -> np.ndarray:
    """Return what is left of memory and intent after some seconds, (n, 2)."""
    return 0.5 ** (elapsed[:, None] / HALF_LIVES)


def _public_keys(table: pd.DataFrame, ids: np.ndarray) -> dict[str, np.ndarray]:
    times = datetimes(table["seconds"].to_numpy(), START)
    return {"customer_id": ids[table["customer"]], "timestamp": times}
