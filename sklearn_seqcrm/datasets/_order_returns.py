"""A simulator of orders whose items are kept or returned, with known probabilities."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

from sklearn_seqcrm._ragged import ranges, segment_numbers
from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm.datasets._simulation import (
    DAY,
    customer_ids,
    datetimes,
    expit,
    timestamp,
)

START = np.datetime64("2023-01-01", "s")
N_DAYS = 730
LAST_START = 365  # latest day on which a customer may begin
RETURN_WINDOW = 30 * DAY
SHORTEST_DELAY, MEAN_FURTHER_DELAY = 2 * DAY, 9 * DAY

CATEGORIES = ("accessories", "dresses", "shirts", "shoes", "trousers")
CATEGORY_SHARES = np.array([0.2, 0.2, 0.25, 0.2, 0.15])
MEAN_LOG_PRICE = np.array([2.9, 4.0, 3.4, 4.2, 3.9])
SIZE_GAPS, SIZE_SHARES = np.array([-1, 0, 1]), np.array([0.15, 0.7, 0.15])
PAYMENTS = ("card", "invoice", "wallet")
PAYMENT_SHARES = np.array([0.4, 0.35, 0.25])

# The generating equation: see Notes of make_order_returns.
INTERCEPT = -1.3
CATEGORY_EFFECT = np.array([-0.7, 0.5, -0.1, 0.2, 0.1])
PRICE_SLOPE = 0.4
SIZE_EFFECT = 0.5
AGE_SLOPE = -0.015
PAYMENT_EFFECT = np.array([0.0, 0.4, -0.2])
BASKET_SLOPE = 0.6
USUAL_SHARE = 0.4
HALF_LIFE = 90 * DAY

DESCR = """\
Simulated orders of the customers of a fashion shop. One row is one ordered item at the
time of its order; the target is whether it comes back, which is known days to weeks
later. The true probability is known: it depends on the item, the customer, the rest of
the basket, and a habit that drifts with the outcomes known by then. See the docstring
of sklearn_seqcrm.datasets.make_order_returns.
"""


@validate_params(
    {
        "n_customers": [Interval(Integral, 1, None, closed="left")],
        "mean_baskets": [Interval(Real, 0, None, closed="neither")],
        "mean_items": [Interval(Real, 1, None, closed="left")],
        "habit_strength": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }
)
def make_order_returns(
    n_customers: int = 1000,
    *,
    mean_baskets: float = 10,
    mean_items: float = 2.0,
    habit_strength: float = 5.0,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Simulate ordered items whose true return probability is known.

    Much of the signal is a drifting habit: customers who returned many items lately
    return more. A model can learn it from the earlier outcomes of the customer, each
    from the time when it became *known*: a return arrives days after the order, and an
    item is known to be kept when the return window closes. So orders and outcomes are
    two tables of events, to be merged by
    :meth:`~sklearn_seqcrm.events.EventLog.concat`.

    Parameters
    ----------
    n_customers : int, default=1000
        The number of customers, at least 1.
    mean_baskets : float, default=10
        The mean number of baskets of a customer, above 0. The number is log-normal
        (sigma 0.6), rounded, and at least 1.
    mean_items : float, default=2.0
        The mean number of items in a basket, at least 1. The number is 1 plus a Poisson
        number.
    habit_strength : float, default=5.0
        Difference of the logit between a habit of 1 (all items returned) and of 0 (all
        kept), at least 0. With 0 the past does not matter. For a given seed it changes
        only the outcomes.
    random_state : int, RandomState instance or None, default=None
        Seed of all draws. Pass an int for reproducible output.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes below. The tables share an index, the number of the item in
        order of time. All but ``outcomes`` are in this order.

        rows : DataFrame of n_items rows
            One row per ordered item, with the facts known at the time of the order:

            ===========  ==========================================================
            customer_id  str
            timestamp    datetime in 2023 or 2024, that of the order; the items of a
                         customer with one timestamp are a basket
            category     categorical: ``accessories``, ``dresses``, ``shirts``,
                         ``shoes`` or ``trousers``
            price        float
            size_gap     int, sizes between the item and the customer's usual size: -1,
                         0 or 1
            age          float, years of the customer
            payment      categorical, how the customer pays: ``card``, ``invoice`` or
                         ``wallet``
            ===========  ==========================================================

        target : ndarray of shape (n_items,)
            1 if the item is returned, else 0.
        probability : ndarray of shape (n_items,)
            The true probability of target 1, given the row, the rest of the basket
            and the earlier baskets and outcomes.
        orders : DataFrame of n_items rows
            The events of ordering: ``customer_id``, ``timestamp`` and the three facts
            of the item.
        outcomes : DataFrame of n_items rows
            The events of return or keep, sorted by time: ``customer_id``,
            ``timestamp`` (datetime at which the outcome is known, later than the
            order), ``returned`` (bool) and the three facts of the item.
        leaky_orders : DataFrame of n_items rows
            A table with leakage, for demonstration: ``orders`` with ``returned`` at the
            time of the order, before it is known.
        effects : DataFrame of n_items rows
            The terms of the logit: ``item``, ``customer``, ``basket`` and ``habit``.
        return_window : Timedelta
            30 days, after which the outcome of an order is known.
        observed_until : Timestamp
            A time by which all outcomes are known.
        DESCR : str
            A short description.

    See Also
    --------
    make_customer_journeys : Customers who order again or do not.

    Notes
    -----
    With ``t`` the time at which an earlier outcome of the customer became known, at or
    before the time ``o`` of the order, and its weight ``w = 0.5 ** ((o - t) / 90
    days)``::

        logit = -1.3 + item + customer + basket + habit_strength * (share - 0.4)
        item     = category + 0.4 * log(price / 40) + 0.5 * (size_gap != 0)
        category = -0.7 accessories, 0.5 dresses, -0.1 shirts, 0.2 shoes, 0.1 trousers
        customer = -0.015 * (age - 42) + (0.4 if invoice, -0.2 if wallet, else 0)
        basket   = 0.6 * log(number of items in the basket)
        share    = (0.4 + sum of w over returned items) / (1 + sum of w over all items)
        target   ~ Bernoulli(1 / (1 + exp(-logit)))

    The habit ``share`` is a function of past outcomes, a reinforced process like a
    Pólya urn: it drifts without a draw of its own, and a random run of returns may turn
    a customer into a returner. It can be computed from the past, so that the true
    probability is the best possible prediction.

    Draws of customers, baskets and items::

        age        ~ Normal(42, 13), rounded, between 18 and 85
        payment    ~ Categorical(.40 card, .35 invoice, .25 wallet)
        start      ~ uniform in 2023; basket times ~ uniform between start and the end
        n_items    ~ 1 + Poisson(mean_items - 1)
        category   ~ Categorical(.2 accessories, .2 dresses, .25 shirts, .2 shoes,
                     .15 trousers)
        price      ~ exp(Normal(mean log price of the category, 0.4))
        size_gap   ~ Categorical(.15 of -1, .7 of 0, .15 of 1)

    The returned items of a basket arrive together, after 2 days plus an exponential
    time of mean 9 days, within at most 30 days. An item is known to be kept 30 days
    after the order. Returns are known earlier than keeps, so that the outcomes that are
    known of the last weeks are mostly returns.

    With 3,000 customers and predictions for the last four months, the AUC was .823 for
    the true probability, .817 for an LSTM of 32 units, .797 for gradient boosting with
    the share of earlier returns and RFM, and .706 for gradient boosting on the rows
    alone.

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_order_returns
    >>> from sklearn_seqcrm.events import EventLog
    >>> data = make_order_returns(n_customers=100, random_state=0)
    >>> log = EventLog.concat(
    ...     {
    ...         "order": EventLog(data.orders, "customer_id", "timestamp"),
    ...         "outcome": EventLog(data.outcomes, "customer_id", "timestamp"),
    ...     }
    ... )
    >>> log.fields
    ['event', 'category', 'price', 'size_gap', 'returned']
    >>> X = log.attach(data.rows, cutoff="timestamp", allow_exact_matches=True)
    >>> len(X) == len(data.target) == len(data.probability)
    True
    """
    rng = check_random_state(random_state)
    customers = _draw_customers(rng, n_customers)
    items = _draw_items(rng, n_customers, mean_baskets, mean_items)
    effects = _effects_but_habit(items, customers)
    logit = INTERCEPT + effects.sum(axis=1).to_numpy()
    outcomes = _draw_outcomes(rng, items, logit, habit_strength)

    # So far the items of a customer are consecutive; from here on they are in the order
    # of time.
    order = np.lexsort((items["owner"], items["seconds"]))
    items, effects, outcomes = (
        table.take(order).reset_index(drop=True) for table in (items, effects, outcomes)
    )
    orders = _public_orders(items, customers)
    of_customer = customers.take(items["owner"].to_numpy())
    return Bunch(
        rows=orders.assign(
            age=of_customer["age"].array, payment=of_customer["payment"].array
        ),
        target=outcomes["returned"].to_numpy().astype(np.int64),
        probability=outcomes["probability"].to_numpy(),
        orders=orders,
        outcomes=orders.assign(
            timestamp=datetimes(outcomes["known_at"].to_numpy(), START),
            returned=outcomes["returned"],
        ).sort_values("timestamp", kind="stable"),
        leaky_orders=orders.assign(returned=outcomes["returned"]),
        effects=effects.assign(
            habit=habit_strength * (outcomes["share"] - USUAL_SHARE)
        ),
        return_window=pd.Timedelta(seconds=RETURN_WINDOW),
        observed_until=timestamp(N_DAYS * DAY + RETURN_WINDOW, START),
        DESCR=DESCR,
    )


def _draw_customers(rng: np.random.RandomState, n_customers: int) -> pd.DataFrame:
    payment = rng.choice(len(PAYMENTS), p=PAYMENT_SHARES, size=n_customers)
    return pd.DataFrame(
        {
            "customer_id": customer_ids(n_customers),
            "age": rng.normal(42, 13, size=n_customers).clip(18, 85).round(),
            "payment": pd.Categorical.from_codes(payment, pd.Index(PAYMENTS)),
        }
    )


def _draw_items(
    rng: np.random.RandomState, n_customers: int, mean_baskets: float, mean_items: float
) -> pd.DataFrame:
    """Draw the items of all baskets, sorted by customer and time."""
    owner, seconds = _draw_baskets(rng, n_customers, mean_baskets)
    n_items = 1 + rng.poisson(mean_items - 1, size=len(owner))
    owner, seconds = np.repeat(owner, n_items), np.repeat(seconds, n_items)
    # Baskets are identified by time: two of a customer in one second are one.
    is_first = np.diff(owner, prepend=-1) != 0
    is_first[1:] |= np.diff(seconds) != 0
    category = rng.choice(len(CATEGORIES), p=CATEGORY_SHARES, size=len(owner))
    return pd.DataFrame(
        {
            "owner": owner,
            "seconds": seconds,
            "basket": np.cumsum(is_first) - 1,
            "category": category,
            "price": np.exp(rng.normal(MEAN_LOG_PRICE[category], 0.4)).round(2),
            "size_gap": rng.choice(SIZE_GAPS, p=SIZE_SHARES, size=len(owner)),
        }
    )


def _draw_baskets(
    rng: np.random.RandomState, n_customers: int, mean_baskets: float
) -> tuple[np.ndarray, np.ndarray]:
    # exp(Normal(mu, 0.6)) has the mean exp(mu + 0.6**2 / 2).
    log_numbers = rng.normal(np.log(mean_baskets) - 0.18, 0.6, size=n_customers)
    numbers = np.rint(np.exp(log_numbers)).astype(np.int64).clip(1)
    owner = np.repeat(np.arange(n_customers), numbers)
    start = rng.uniform(0, LAST_START * DAY, size=n_customers)[owner]
    seconds = start + rng.uniform(size=len(owner)) * (N_DAYS * DAY - start)
    seconds = seconds.astype(np.int64)
    return owner, seconds[np.lexsort((seconds, owner))]


def _effects_but_habit(items: pd.DataFrame, customers: pd.DataFrame) -> pd.DataFrame:
    of_customer = AGE_SLOPE * (customers["age"].to_numpy() - 42)
    of_customer += PAYMENT_EFFECT[customers["payment"].cat.codes]
    n_items = np.bincount(items["basket"])
    return pd.DataFrame(
        {
            "item": CATEGORY_EFFECT[items["category"]]
            + PRICE_SLOPE * np.log(items["price"] / 40)
            + SIZE_EFFECT * (items["size_gap"] != 0),
            "customer": of_customer[items["owner"]],
            "basket": BASKET_SLOPE * np.log(n_items[items["basket"]]),
        }
    )


def _draw_outcomes(
    rng: np.random.RandomState,
    items: pd.DataFrame,
    logit: np.ndarray,
    habit_strength: float,
) -> pd.DataFrame:
    """Draw outcomes: of the first baskets of all customers, of the second, and so on.

    The habit of a basket depends on the outcomes of earlier ones, so that step k draws
    the k-th baskets of all customers at once.
    """
    owner, seconds, basket = (
        items[name].to_numpy() for name in ["owner", "seconds", "basket"]
    )
    # Items first[b] ... first[b + 1] - 1 are basket b; opening[b] is the first item of
    # its customer, and rank[b] its number among the baskets of the customer.
    first = np.append(np.flatnonzero(np.diff(basket, prepend=-1)), len(items))
    opening = np.searchsorted(owner, owner[first[:-1]])
    rank = np.arange(len(opening)) - basket[opening]
    further_delay = rng.exponential(MEAN_FURTHER_DELAY, size=len(opening))
    delay = (SHORTEST_DELAY + further_delay).astype(np.int64).clip(max=RETURN_WINDOW)
    threshold = rng.uniform(size=len(items))

    share, probability = np.zeros((2, len(items)))
    returned = np.zeros(len(items), dtype=bool)
    known_at = seconds + RETURN_WINDOW
    for step in range(rank.max() + 1):
        now = np.flatnonzero(rank == step)
        # All earlier items of each customer, flat, and the basket `of` each. Outcomes
        # that are not yet known have weight 0.
        past, of = _with_place(opening[now], first[now])
        age = seconds[first[now]][of] - known_at[past]
        weight = np.where(age >= 0, 0.5 ** (age.clip(0) / HALF_LIFE), 0.0)
        all_sum = np.bincount(of, weight, len(now))
        returned_sum = np.bincount(of, weight * returned[past], len(now))

        new, of = _with_place(first[now], first[now + 1])
        share[new] = ((USUAL_SHARE + returned_sum) / (1 + all_sum))[of]
        total = logit[new] + habit_strength * (share[new] - USUAL_SHARE)
        probability[new] = expit(total)
        returned[new] = threshold[new] < probability[new]
        back = new[returned[new]]
        known_at[back] = seconds[back] + delay[basket[back]]
    return pd.DataFrame(
        {
            "share": share,
            "probability": probability,
            "returned": returned,
            "known_at": known_at,
        }
    )


def _with_place(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate ``range(start[i], stop[i])``; return the ``i`` of each element."""
    index, offsets = ranges(start, stop)
    return index, segment_numbers(offsets)


def _public_orders(items: pd.DataFrame, customers: pd.DataFrame) -> pd.DataFrame:
    owner, categories = items["owner"].to_numpy(), pd.Index(CATEGORIES)
    return pd.DataFrame(
        {
            "customer_id": customers["customer_id"].take(owner).array,
            "timestamp": datetimes(items["seconds"].to_numpy(), START),
            "category": pd.Categorical.from_codes(items["category"], categories),
            "price": items["price"],
            "size_gap": items["size_gap"],
        }
    )
