"""A simulator of newsletters and their opens, by the hour of sending."""

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
    timestamp,
)

N_HOURS = 24

START = np.datetime64("2024-01-01", "s")  # a Monday
N_DAYS = 364
N_NEXT_DAYS = 7

USUAL_PEAKS = np.array([7.5, 12.5, 20.0])
PEAK_SHARES = np.array([0.3, 0.2, 0.5])
PEAK_SPREADS = np.array([1.5, 1.0, 2.0])
WEEKEND_SHIFT, WEEKEND_SPREAD = 2.0, 2.5

# The generating equation: see Notes of make_newsletter_opens.
LEAST_RATE, MOST_RATE = 0.03, 1.2
SHARPNESS = 6.0
FRESH_AFTER_AN_HOUR = 0.75

DESCR = """\
Simulated newsletters of a year, sent at hours drawn at random, and when they were
opened. Each customer looks at the inbox around personal hours, which differ at
weekends and drift. The true probability to open is known for each hour of the week
after. See the docstring of sklearn_seqcrm.datasets.make_newsletter_opens.
"""


@validate_params(
    {
        "n_customers": [Interval(Integral, 1, None, closed="left")],
        "mean_mailings": [Interval(Real, 0, N_DAYS, closed="right")],
        "drift": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }
)
def make_newsletter_opens(
    n_customers: int = 1000,
    *,
    mean_mailings: float = 50,
    drift: float = 3.0,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Simulate newsletters whose true open probability is known for each hour.

    The task is send time optimisation: choose the hour at which to write to each
    customer. Customers look at their inbox around personal hours, which differ at
    weekends and drift, and the probability to open a newsletter falls with the time it
    has been in the inbox. Hours in the log are drawn at random: from a shop that always
    writes at the same hour, the effect of another hour could not be learned.

    Parameters
    ----------
    n_customers : int, default=1000
        The number of customers, at least 1.
    mean_mailings : float, default=50
        The mean number of newsletters to a customer in the year, above 0 and at most
        364, one a day. Each customer has its own rate (gamma-distributed with shape 2),
        and at least one newsletter.
    drift : float, default=3.0
        Standard deviation of the random walk of habits after a year, in hours, at least
        0. With 0 habits are constant.
    random_state : int, RandomState instance or None, default=None
        Seed of all draws. Pass an int for reproducible output.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes below. Times are local times of the customer.

        mailings : DataFrame of n_mailings rows
            The newsletters, sorted by time, at most one a day to a customer:
            ``customer_id`` (str), ``timestamp`` (datetime in 2024, a full hour),
            ``day`` (datetime, the midnight before) and ``hour`` (int, 0 to 23).
        target : ndarray of shape (n_mailings,)
            1 if the newsletter is opened, within 24 hours, else 0.
        probability : ndarray of shape (n_mailings,)
            The true probability of target 1, given the customer's habit.
        opens : DataFrame of target.sum() rows
            The events of opening, sorted by time: ``customer_id`` and ``timestamp``
            (datetime). Its index is that of the newsletter in ``mailings``.
        next_days : DataFrame of 7 * n_customers rows
            A row for each customer and day of the week after: ``customer_id`` and
            ``day`` (datetime, midnight).
        next_probability : ndarray of shape (7 * n_customers, 24)
            The true open probability of these rows for each hour of sending.
        next_peak : ndarray of shape (7 * n_customers,)
            The hour, from 0 to 24, around which the customer looks at the inbox.
        observed_until : Timestamp
            A time by which every open has been recorded.
        DESCR : str
            A short description.

    See Also
    --------
    make_order_returns : Orders whose items are returned, with a drifting habit.

    Notes
    -----
    Looks at the inbox are a Poisson process. In hour ``h`` of a day on which the habit
    of the customer peaks at ``peak``, its rate has the shape of a von Mises density::

        rate  = 0.03 + 1.2 * exp(6 * (cos(2 * pi * (h + 0.5 - peak) / 24) - 1))
        P(look in hour h) = 1 - exp(-rate)

    Only the first look after sending counts. In the ``k``-th hour from sending, 0 to
    23, it opens the newsletter with probability ``interest * 0.75 ** k``, at a uniform
    second of that hour::

        P(open in hour k) = exp(-sum of rates of hours 0 ... k - 1)
                            * (1 - exp(-rate of hour k)) * interest * 0.75 ** k

    So the best full hour to send is the one closest to an hour before the peak. Draws
    per customer::

        interest ~ Beta(3, 3)
        peak     ~ Normal(7.5, 1.5), Normal(12.5, 1) or Normal(20, 2), with the
                   probabilities .3, .2 and .5; at weekends plus Normal(2, 2.5);
                   plus a random walk, a step of Normal(0, drift / sqrt(364)) a day
        P(newsletter on a day) = mean_mailings / 364 * Gamma(shape 2, mean 1)
        hour of sending ~ uniform

    Habits are latent, so that no model finds the best hour of all customers.

    Newsletters of the last day may be opened on the next day; hence ``observed_until``
    is a day after the first of ``next_days``.

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_newsletter_opens
    >>> from sklearn_seqcrm.events import EventLog
    >>> data = make_newsletter_opens(n_customers=100, random_state=0)
    >>> log = EventLog.concat(
    ...     {
    ...         "sent": EventLog(data.mailings, "customer_id", "timestamp", fields=[]),
    ...         "open": EventLog(data.opens, "customer_id", "timestamp"),
    ...     }
    ... )
    >>> X = log.attach(data.mailings, cutoff="day")
    >>> len(X) == len(data.target) == len(data.probability)
    True
    >>> data.next_days.shape, data.next_probability.shape
    ((700, 2), (700, 24))
    """
    rng = check_random_state(random_state)
    customers = _draw_customers(rng, n_customers)
    peaks = _draw_peaks(rng, customers, drift)
    interest = customers["interest"].to_numpy()
    mailings = _draw_mailings(rng, n_customers, mean_mailings)
    owner, day, hour = (mailings[name].to_numpy() for name in mailings)
    chances = _open_chances(peaks, interest, owner, day, hour)
    lag = _draw_lags(rng, chances)
    is_open = lag < N_HOURS

    ids = customers["customer_id"]
    sent = day * DAY + hour * HOUR
    delay = lag * HOUR + rng.randint(HOUR, size=len(lag))
    opens = pd.DataFrame(
        {
            "customer_id": ids.take(owner).array,
            "timestamp": datetimes(sent + delay, START),
        }
    )[is_open]
    next_owner = np.repeat(np.arange(n_customers), N_NEXT_DAYS)
    next_day = np.tile(np.arange(N_DAYS, N_DAYS + N_NEXT_DAYS), n_customers)
    return Bunch(
        mailings=pd.DataFrame(
            {
                "customer_id": ids.take(owner).array,
                "timestamp": datetimes(sent, START),
                "day": datetimes(day * DAY, START),
                "hour": hour,
            }
        ),
        target=is_open.astype(np.int64),
        probability=chances.sum(axis=1),
        opens=opens.sort_values("timestamp", kind="stable"),
        next_days=pd.DataFrame(
            {
                "customer_id": ids.take(next_owner).array,
                "day": datetimes(next_day * DAY, START),
            }
        ),
        next_probability=_chances_by_hour(peaks, interest, next_owner, next_day),
        next_peak=peaks[next_owner, next_day] % N_HOURS,
        observed_until=timestamp((N_DAYS + 1) * DAY, START),
        DESCR=DESCR,
    )


def _draw_customers(rng: np.random.RandomState, n_customers: int) -> pd.DataFrame:
    usual = rng.choice(len(USUAL_PEAKS), p=PEAK_SHARES, size=n_customers)
    return pd.DataFrame(
        {
            "customer_id": customer_ids(n_customers),
            "peak": rng.normal(USUAL_PEAKS[usual], PEAK_SPREADS[usual]),
            "shift": rng.normal(WEEKEND_SHIFT, WEEKEND_SPREAD, size=n_customers),
            "interest": rng.beta(3, 3, size=n_customers),
        }
    )


def _draw_peaks(
    rng: np.random.RandomState, customers: pd.DataFrame, drift: float
) -> np.ndarray:
    """Draw the peak hour of each customer and day; it may leave 0 ... 24."""
    # One more day: a newsletter of the last day may be opened on the day after.
    n_days = N_DAYS + N_NEXT_DAYS + 1
    steps = rng.normal(0, 1, size=(len(customers), n_days))
    is_weekend = np.arange(n_days) % 7 >= 5
    start, shift = (customers[name].to_numpy()[:, None] for name in ("peak", "shift"))
    walk = drift / np.sqrt(N_DAYS) * np.cumsum(steps, axis=1)
    return start + is_weekend * shift + walk


def _draw_mailings(
    rng: np.random.RandomState, n_customers: int, mean_mailings: float
) -> pd.DataFrame:
    """Draw days and hours, sorted by time and then by customer."""
    share = (mean_mailings / N_DAYS * rng.gamma(2, 0.5, size=n_customers)).clip(max=1)
    is_sent = rng.uniform(size=(N_DAYS, n_customers)) < share
    is_sent[rng.randint(N_DAYS, size=n_customers), np.arange(n_customers)] = True
    day, owner = np.nonzero(is_sent)
    hour = rng.randint(N_HOURS, size=len(day))
    order = np.lexsort((owner, hour, day))
    table = pd.DataFrame({"owner": owner, "day": day, "hour": hour})
    return table.take(order).reset_index(drop=True)


def _open_chances(
    peaks: np.ndarray,
    interest: np.ndarray,
    owner: np.ndarray,
    day: np.ndarray,
    hour: np.ndarray,
) -> np.ndarray:
    """Return the probability of an open in each hour from sending, (n, 24)."""
    lag = np.arange(N_HOURS)  # k, (24,)
    later = hour[:, None] + lag  # (n, 24); 24 and more is the next day
    peak = peaks[owner[:, None], day[:, None] + later // N_HOURS]
    angle = 2 * np.pi / N_HOURS * (later % N_HOURS + 0.5 - peak)
    rate = LEAST_RATE + MOST_RATE * np.exp(SHARPNESS * (np.cos(angle) - 1))
    # P(no look before hour k) = exp(-(rate[0] + ... + rate[k - 1]))
    unseen = np.exp(rate - np.cumsum(rate, axis=1))
    opened = interest[owner, None] * FRESH_AFTER_AN_HOUR**lag
    return unseen * -np.expm1(-rate) * opened


def _chances_by_hour(
    peaks: np.ndarray, interest: np.ndarray, owner: np.ndarray, day: np.ndarray
) -> np.ndarray:
    """Return the probability of an open for each hour of sending, (n, 24)."""
    chances = (
        _open_chances(peaks, interest, owner, day, np.full_like(day, hour))
        for hour in range(N_HOURS)
    )
    return np.column_stack([one.sum(axis=1) for one in chances])


def _draw_lags(rng: np.random.RandomState, chances: np.ndarray) -> np.ndarray:
    """Draw the hour from sending to opening, 24 for never, by inversion of the CDF."""
    # The number of hours whose CDF is at most a uniform number; the CDF ends below 1,
    # and the rest is the probability of no open.
    threshold = rng.uniform(size=len(chances))
    return (np.cumsum(chances, axis=1) <= threshold[:, None]).sum(axis=1)
