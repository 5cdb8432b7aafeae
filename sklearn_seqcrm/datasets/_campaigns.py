"""A simulator of campaigns whose effect on each customer is known."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm.datasets._simulation import (
    DAY,
    HOUR,
    draw_lengths,
    draw_rows,
    draw_spans,
    draw_times,
    end_of_last,
    expit,
    public_events,
)

KINDS = ("visit", "cart", "purchase", "return")
VISIT, CART, PURCHASE, RETURN = range(len(KINDS))
CONTACTS = ("mail", "coupon", "call")

# Sessions of two events, in one order or the other, and the shares of sessions: those
# of the effects of CONTACTS, that of the baseline, and those of one event of any kind.
PAIRS = np.array(
    [(PURCHASE, VISIT), (PURCHASE, CART), (PURCHASE, RETURN), (VISIT, CART)]
)
BASELINE, SINGLE = len(CONTACTS), len(PAIRS)
SESSION_SHARES = np.array([0.30, 0.15, 0.15, 0.20, 0.20])
KEEPS_ORDER = 0.85  # probability that a session has the customer's usual order

HORIZON = 30 * DAY
CAMPAIGN_PERIOD = 30 * DAY

# The generating equations: see Notes of make_campaigns.
HALF_LIFE = 120 * DAY
MEAN_EFFECT, ORDER_EFFECT = 0.04, 0.25
LEAST, RANGE = 0.30, 0.30
INTERCEPT = 1.4
AGE_SLOPE = -0.02
REGION_EFFECT = {"north": 0.5, "south": -0.5, "east": 0.0, "west": 0.0}
RECENCY_SLOPE, MAX_RECENCY = -1.0, 90 * DAY
BASELINE_ORDER = 1.5
CARRY_OVER, CARRY_OVER_HALF_LIFE = 0.8, 30 * DAY
# Logits of the arms other than control, per unit of the baseline score.
TARGETING = np.array([1.5, -1.5, 0.75])
LEAST_PROPENSITY = 0.1  # of all arms together
MEAN_LOG_AMOUNT, SD_LOG_AMOUNT = 3.5, 0.6
MEAN_AMOUNT = np.exp(MEAN_LOG_AMOUNT + SD_LOG_AMOUNT**2 / 2)

DESCR = """\
Simulated customers of a shop, at one cutoff each, when a campaign contacts some of
them. The target is whether the customer buys within 30 days. The true probabilities to
buy with and without the contact are known; their difference depends on the order of the
events alone. See the docstring of sklearn_seqcrm.datasets.make_campaigns.
"""


@validate_params(
    {
        "n_customers": [Interval(Integral, 1, None, closed="left")],
        "n_treatments": [Interval(Integral, 1, len(CONTACTS), closed="both")],
        "confounded": ["boolean"],
        "n_past_campaigns": [Interval(Integral, 0, None, closed="left")],
        "mean_sessions": [Interval(Real, 0, None, closed="neither")],
        "order_strength": [Interval(Real, 0, 1, closed="both")],
        "random_state": ["random_state"],
    }
)
def make_campaigns(
    n_customers: int = 2000,
    *,
    n_treatments: int = 1,
    confounded: bool = False,
    n_past_campaigns: int = 0,
    mean_sessions: float = 12,
    order_strength: float = 1.0,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Simulate campaigns whose true effect on each customer is known.

    The task is uplift: the difference that a contact makes to the probability to buy.
    It depends on the *order* of the events in a session alone: customers who visit the
    shop again right after a purchase buy more if mailed, those who purchase right after
    a visit buy less. The numbers, the sums and the times of sessions carry no
    information about the effect.

    Parameters
    ----------
    n_customers : int, default=2000
        The number of customers, at least 1.
    n_treatments : int, default=1
        The number of treatments beside the control, 1 to 3: ``mail``, then ``coupon``,
        then ``call``. Each has an effect of its own.
    confounded : bool, default=False
        False for a randomised experiment, in which all arms have the same probability.
        True if the probability of a contact rises (for ``coupon``: falls) with the
        probability to buy without it, so that it depends on statics, recency and order.
    n_past_campaigns : int, default=0
        The number of earlier campaigns, 30 days apart, at least 0. Their contacts were
        chosen by the same rule, are events of the history, and raise the probability
        to buy: in the confounded version they are confounders.
    mean_sessions : float, default=12
        The mean number of sessions before the cutoff, above 0; it is log-normal (sigma
        1). Four of five sessions have two events, the others one.
    order_strength : float, default=1.0
        How much the effect depends on the order, between 0 and 1. With 0 it is .04 for
        all customers.
    random_state : int, RandomState instance or None, default=None
        Seed of all draws. Pass an int for reproducible output.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes:

        events : DataFrame
            One row per event, sorted by customer and time, before *and after* the
            cutoffs: ``customer_id`` (str), ``timestamp`` (datetime, whole seconds),
            ``event`` (categorical: ``visit``, ``cart``, ``purchase``, ``return`` and
            the contacts) and ``amount`` (float, NaN but for purchases and returns). The
            contact of a row is an event at its cutoff.
        rows : DataFrame of n_customers rows
            ``customer_id`` (str), ``cutoff`` (datetime, a midnight in 2024), ``age``
            (float, years) and ``region`` (str: ``north``, ``south``, ``east`` or
            ``west``). The other per-row attributes are in its order.
        treatment : ndarray of shape (n_customers,), int64
            The arm of the row: 0 for no contact (control), else its place in
            `treatments`.
        treatments : list of str
            Names of the arms: ``none``, then those of the contacts.
        target : ndarray of shape (n_customers,), int64
            1 if the customer buys in ``[cutoff, cutoff + horizon)``, else 0.
        amount : ndarray of shape (n_customers,)
            The amount of that purchase, 0 without one.
        probability : ndarray of shape (n_customers, n_treatments + 1)
            The true probability of target 1 in each arm.
        expected_amount : ndarray of shape (n_customers, n_treatments + 1)
            The true mean of `amount` in each arm.
        effect : ndarray of shape (n_customers,) or (n_customers, n_treatments)
            The true effect of each contact on the probability: its difference to the
            control; one-dimensional with one treatment.
        amount_effect : ndarray, of the shape of `effect`
            The true effect on the mean of `amount`.
        propensity : ndarray of shape (n_customers, n_treatments + 1)
            The true probability of each arm, given the history and the statics.
        horizon : Timedelta
            30 days.
        observed_until : Timestamp
            The end of the last horizon.
        DESCR : str
            A short description.

    See Also
    --------
    make_campaign_journeys : Touches by channels, and the credit of each.
    make_customer_journeys : Customers whose probability to order is known.

    Notes
    -----
    A session has one event or, within half an hour, two. With ``t`` the time of the
    first event of a session before the cutoff ``c``, and the weight ``w = 0.5 ** ((c -
    t) / 120 days)``, the order signal of two kinds ``a`` and ``b`` is ::

        order(a, b) = (sum of w over sessions a, b - sum of w over sessions b, a)
                      / (1/2 + sum of w over sessions a, b and b, a)

    The probability to buy is that of the control plus the effect of the arm::

        control = .30 + .30 / (1 + exp(-score))
        score   = 1.4 - 0.02 * (age - 45) + (0.5 if north, -0.5 if south, else 0)
                  - log1p(min(c - t of the last session, 90 days) / 7 days)
                  + 1.5 * order(visit, cart) + carry_over
        carry_over = 0.8 * sum of 0.5 ** ((c - t) / 30 days) over past contacts

        effect of mail   = .04 + order_strength * .25 * order(purchase, visit)
        effect of coupon = .04 + order_strength * .25 * order(purchase, cart)
        effect of call   = .04 + order_strength * .25 * order(purchase, return)

        target ~ Bernoulli(control + effect of the arm)
        amount = target * exp(Normal(3.5, .6)), rounded to cents

    Order signals are between -1 and 1, probabilities between .09 and .89. In the
    randomised version all arms have the same propensity. In the confounded one it is
    ``0.9 * softmax(logits) + 0.1 / n_arms``, with the logits 0, 1.5, -1.5 and 0.75
    times ``score`` for the arms none, mail, coupon and call.

    Each customer has a usual order of each pair, one or the other with probability 1/2,
    and a session has the usual order with probability .85. Nothing else depends on it.
    So, given the times of sessions and the number of events of each kind in them, an
    order signal and its negative are equally likely: no model of counts, sums and times
    of sessions predicts the effect better than its mean, .04. Draws per customer::

        cutoff     ~ a uniform day of 2024       region ~ uniform over four
        age        ~ Normal(45, 15), rounded, between 18 and 90
        n_sessions ~ exp(Normal(log(mean_sessions) - 1/2, 1)), rounded
        tenure     ~ Uniform(90, 450) days
        lapse      ~ Exponential(15) days, at most 60 days
        sessions   ~ uniform between cutoff - tenure and cutoff - lapse, at most one in
                     each hour
        session    ~ Categorical(.30 purchase and visit, .15 purchase and cart,
                     .15 purchase and return, .20 visit and cart, .20 one event of any
                     kind)
        amount     ~ exp(Normal(3.5, .6)) of purchases and returns

    One customer in fifty (rounded up) has no session, and as many have one. After the
    cutoff, a customer with target 1 has one purchase in the horizon, and every customer
    ``Poisson(1)`` visits.

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_campaigns
    >>> data = make_campaigns(200, n_treatments=2, random_state=0)
    >>> data.treatments
    ['none', 'mail', 'coupon']
    >>> data.rows.shape, data.target.shape, data.effect.shape
    ((200, 4), (200,), (200, 2))
    >>> data.probability.shape, data.propensity[0].round(2).tolist()
    ((200, 3), [0.33, 0.33, 0.33])
    """
    rng = check_random_state(random_state)
    rows, cutoff = draw_rows(rng, n_customers, REGION_EFFECT)
    sessions = _draw_sessions(rng, cutoff, mean_sessions)
    past = _session_events(rng, sessions)
    static = _static_score(rows)
    carried = np.zeros(n_customers)
    contacts = []
    for ago in range(n_past_campaigns, -1, -1):
        now = cutoff - ago * CAMPAIGN_PERIOD
        carried *= 0.5 ** (CAMPAIGN_PERIOD / CARRY_OVER_HALF_LIFE)
        score = static + _history_score(sessions, now) + CARRY_OVER * carried
        propensity = _propensities(score, n_treatments, confounded)
        treatment = _draw_arms(rng, propensity)
        contacts.append(_contact_events(treatment, now))
        carried += treatment > 0

    control = LEAST + RANGE * expit(score)
    signals = [_order_signal(sessions, cutoff, pair) for pair in range(n_treatments)]
    effect = MEAN_EFFECT + order_strength * ORDER_EFFECT * np.column_stack(signals)
    probability = np.column_stack([control, control[:, None] + effect])
    chosen = probability[np.arange(n_customers), treatment]
    target = (rng.uniform(size=n_customers) < chosen).astype(np.int64)
    future = _draw_future(rng, cutoff, target)
    if n_treatments == 1:
        effect = effect[:, 0]
    return Bunch(
        events=_public_events([past, *contacts, future], rows["customer_id"]),
        rows=rows,
        treatment=treatment,
        treatments=["none", *CONTACTS[:n_treatments]],
        target=target,
        amount=_amounts_of(future, n_customers),
        probability=probability,
        expected_amount=probability * MEAN_AMOUNT,
        effect=effect,
        amount_effect=effect * MEAN_AMOUNT,
        propensity=propensity,
        horizon=pd.Timedelta(seconds=HORIZON),
        observed_until=end_of_last(HORIZON),
        DESCR=DESCR,
    )


def _static_score(rows: pd.DataFrame) -> np.ndarray:
    """Return the part of the score that statics determine, (n_customers,)."""
    slopes = AGE_SLOPE * (rows["age"] - 45) + rows["region"].map(REGION_EFFECT)
    return INTERCEPT + slopes.to_numpy()


def _draw_sessions(
    rng: np.random.RandomState, cutoff: np.ndarray, mean_sessions: float
) -> pd.DataFrame:
    """Draw owner, second, pair and order of each session, by owner and time.

    `seconds` is that of its first event; `pair` is a place in PAIRS, or SINGLE; `sign`
    is 1 for the order in PAIRS and -1 for the other one.
    """
    n_customers = len(cutoff)
    lengths = draw_lengths(rng, n_customers, mean_sessions)
    # In hours: a session fits into an hour, so that no two sessions overlap.
    start, stop = (end // HOUR for end in draw_spans(rng, cutoff))
    owner, hour = draw_times(rng, np.minimum(lengths, stop - start), start, stop)
    usual = rng.choice([-1, 1], size=(n_customers, SINGLE + 1))
    pair = rng.choice(SINGLE + 1, p=SESSION_SHARES, size=len(owner))
    keeps = rng.uniform(size=len(owner)) < KEEPS_ORDER
    return pd.DataFrame(
        {
            "owner": owner,
            "seconds": hour * HOUR + rng.randint(HOUR // 2, size=len(owner)),
            "pair": pair,
            "sign": np.where(keeps, 1, -1) * usual[owner, pair],
        }
    )


def _session_events(rng: np.random.RandomState, sessions: pd.DataFrame) -> pd.DataFrame:
    """Draw the events of sessions: all first ones, then all second ones."""
    owner, seconds, pair, sign = (sessions[name].to_numpy() for name in sessions)
    two = pair != SINGLE
    kinds = PAIRS[pair[two]]
    kinds = np.where(sign[two, None] > 0, kinds, kinds[:, ::-1])
    first = rng.randint(len(KINDS), size=len(pair))
    first[two] = kinds[:, 0]
    kind = np.concatenate([first, kinds[:, 1]])
    later = rng.randint(60, HOUR // 2, size=two.sum())
    amount = np.where(kind >= PURCHASE, _draw_amounts(rng, len(kind)), np.nan)
    return pd.DataFrame(
        {
            "owner": np.concatenate([owner, owner[two]]),
            "seconds": np.concatenate([seconds, seconds[two] + later]),
            "kind": kind,
            "amount": amount,
        }
    )


def _draw_amounts(rng: np.random.RandomState, size: int) -> np.ndarray:
    return np.exp(rng.normal(MEAN_LOG_AMOUNT, SD_LOG_AMOUNT, size=size)).round(2)


def _history_score(sessions: pd.DataFrame, now: np.ndarray) -> np.ndarray:
    """Return what recency and order add to the score, (n_customers,)."""
    owner = sessions["owner"].to_numpy()
    ago = now[owner] - sessions["seconds"].to_numpy()
    recency = np.full(len(now), MAX_RECENCY)
    np.minimum.at(recency, owner[ago > 0], ago[ago > 0])
    order = _order_signal(sessions, now, BASELINE)
    return RECENCY_SLOPE * np.log1p(recency / (7 * DAY)) + BASELINE_ORDER * order


def _order_signal(sessions: pd.DataFrame, now: np.ndarray, pair: int) -> np.ndarray:
    """Return the order signal of a pair in the sessions before `now`."""
    of_pair = sessions[sessions["pair"] == pair]
    owner = of_pair["owner"].to_numpy()
    ago = now[owner] - of_pair["seconds"].to_numpy()
    weight = np.where(ago > 0, 0.5 ** (ago.clip(0) / HALF_LIFE), 0.0)
    signed = np.bincount(owner, weight * of_pair["sign"], len(now))
    return signed / (0.5 + np.bincount(owner, weight, len(now)))


def _propensities(score: np.ndarray, n_treatments: int, confounded: bool) -> np.ndarray:
    """Return the probability of each arm, (n_customers, n_arms)."""
    slopes = np.append(0.0, TARGETING[:n_treatments]) * confounded
    logits = score[:, None] * slopes
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    targeted = odds / odds.sum(axis=1, keepdims=True)
    return (1 - LEAST_PROPENSITY) * targeted + LEAST_PROPENSITY / len(slopes)


def _draw_arms(rng: np.random.RandomState, propensity: np.ndarray) -> np.ndarray:
    """Draw an arm per row: the number of arms whose cumulative share is passed."""
    passed = rng.uniform(size=(len(propensity), 1)) > propensity.cumsum(axis=1)[:, :-1]
    return passed.sum(axis=1).astype(np.int64)


def _contact_events(treatment: np.ndarray, now: np.ndarray) -> pd.DataFrame:
    owner = np.flatnonzero(treatment)
    kind = len(KINDS) + treatment[owner] - 1
    return pd.DataFrame(
        {"owner": owner, "seconds": now[owner], "kind": kind, "amount": np.nan}
    )


def _draw_future(
    rng: np.random.RandomState, cutoff: np.ndarray, target: np.ndarray
) -> pd.DataFrame:
    """Draw the events in the horizon: a purchase if the target is 1, and visits."""
    lengths = target + rng.poisson(1, size=len(target))
    owner, seconds = draw_times(rng, lengths, cutoff, cutoff + HORIZON)
    kind = np.full(len(owner), VISIT)
    start = np.cumsum(lengths) - lengths
    bought = start[target == 1] + rng.randint(lengths[target == 1])
    kind[bought] = PURCHASE
    amount = np.full(len(owner), np.nan)
    amount[bought] = _draw_amounts(rng, len(bought))
    return pd.DataFrame(
        {"owner": owner, "seconds": seconds, "kind": kind, "amount": amount}
    )


def _amounts_of(future: pd.DataFrame, n_customers: int) -> np.ndarray:
    """Return the amount of each customer's purchase in the horizon, 0 without one."""
    amount = np.zeros(n_customers)
    bought = future["kind"] == PURCHASE
    amount[future["owner"][bought]] = future["amount"][bought]
    return amount


def _public_events(parts: list[pd.DataFrame], customer_ids: pd.Series) -> pd.DataFrame:
    events = pd.concat(parts, ignore_index=True)
    events = events.take(np.lexsort((events["seconds"], events["owner"])))
    found = public_events(events, customer_ids, [*KINDS, *CONTACTS])
    return found.assign(event=found["event"].cat.remove_unused_categories())
