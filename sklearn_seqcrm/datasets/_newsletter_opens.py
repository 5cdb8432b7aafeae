"""A simulator of newsletters, and of who opens them when, with a known answer."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

from sklearn_seqcrm._sklearn_compat import Interval, validate_params

HOUR = 3600  # instants are whole seconds below
N_HOURS = 24

START = np.datetime64("2024-01-01", "D")  # a Monday
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
opened. Each customer looks at the inbox about hours of its own, which are others at
weekends and drift. The true probability to open is known for each hour of the week
after. See the docstring of sklearn_seqcrm.datasets.make_newsletter_opens.
"""


@validate_params(
    {
        "n_customers": [Interval(Integral, 1, None, closed="left")],
        "mean_mailings": [Interval(Real, 0, N_DAYS, closed="right")],
        "drift": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_newsletter_opens(
    n_customers: int = 1000,
    *,
    mean_mailings: float = 50,
    drift: float = 3.0,
    random_state: Any = None,
) -> Bunch:
    """Simulate newsletters whose probability to be opened is known for each hour.

    For the question at which hour each customer is best written to. Customers look at
    their inbox about hours of their own, which are others at weekends and drift, and a
    newsletter is opened less the longer it has lain there. The hours of the log were
    drawn at random: what would have come of another hour than that chosen cannot be
    learned from a shop that always writes at the same one.

    Parameters
    ----------
    n_customers : int, default=1000
        The number of customers, at least 1.
    mean_mailings : float, default=50
        The mean number of newsletters to a customer in the year, above 0 and at most
        364, one a day. Each customer has its own rate (gamma-distributed with shape 2),
        and at least one newsletter.
    drift : float, default=3.0
        How far habits move in a year, at least 0: the standard deviation of a random
        walk, in hours. With 0 they stay as they are.
    random_state : int, RandomState instance or None, default=None
        Determines all the draws. Pass an int for reproducible output.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes below. Times are those of the customer's own clock.

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
            For these rows, the true probability to open a newsletter of each hour.
        next_peak : ndarray of shape (7 * n_customers,)
            For these rows, the hour about which the customer looks at the inbox, from
            0 to 24.
        observed_until : Timestamp
            An instant by which all is known of the newsletters.
        DESCR : str
            A short description.

    See Also
    --------
    make_order_returns : Orders whose items come back, with a habit that drifts.

    Notes
    -----
    In the hour ``h`` of a day the customer looks at the inbox with the probability
    ``look``, if its habit peaks at the hour ``peak`` that day::

        look = 1 - exp(-(0.03 + 1.2 * exp(6 * (cos(angle) - 1))))
        angle = 2 * pi * (h + 0.5 - peak) / 24

    The first look after sending is the one that counts. If it is in the ``k``-th hour
    from sending, 0 to 23, the newsletter is opened with the probability
    ``interest * 0.75 ** k``, at any second of that hour. So the best hour to send is
    the full one that is closest to an hour before the peak.

    ``interest`` is Beta(3, 3) over customers. Peaks are about 7:30, 12:30 or 20:00
    (shares .3, .2, .5; standard deviations 1.5, 1, 2 hours), and by a number of hours
    later at weekends that is normal for each customer (mean 2, standard deviation 2.5).
    Both move with the same random walk, a step a day. Habits are not seen themselves,
    so that no model reaches the best hour of all customers.

    The newsletters of the last day may be opened on the next one, which is why
    ``observed_until`` is a day later than the first of ``next_days``.

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
    looks = _LookRates(peaks, customers["interest"].to_numpy())
    mailings = _draw_mailings(rng, n_customers, mean_mailings)
    owner, day, hour = (mailings[name].to_numpy() for name in mailings)
    chances = looks.open_chances(owner, day, hour)
    lag = _draw_lags(rng, chances)
    is_open = lag < N_HOURS

    ids = customers["customer_id"]
    sent = (day * N_HOURS + hour) * HOUR
    waited = lag * HOUR + rng.randint(HOUR, size=len(lag))
    opens = pd.DataFrame(
        {"customer_id": ids.take(owner).array, "timestamp": _instants(sent + waited)}
    )[is_open]
    next_owner = np.repeat(np.arange(n_customers), N_NEXT_DAYS)
    next_day = np.tile(np.arange(N_DAYS, N_DAYS + N_NEXT_DAYS), n_customers)
    return Bunch(
        mailings=pd.DataFrame(
            {
                "customer_id": ids.take(owner).array,
                "timestamp": _instants(sent),
                "day": _instants(day * N_HOURS * HOUR),
                "hour": hour,
            }
        ),
        target=is_open.astype(np.int64),
        probability=chances.sum(axis=1),
        opens=opens.sort_values("timestamp", kind="stable"),
        next_days=pd.DataFrame(
            {
                "customer_id": ids.take(next_owner).array,
                "day": _instants(next_day * N_HOURS * HOUR),
            }
        ),
        next_probability=np.column_stack(
            [
                looks.open_chances(
                    next_owner, next_day, np.full_like(next_day, hour)
                ).sum(axis=1)
                for hour in range(N_HOURS)
            ]
        ),
        next_peak=peaks[next_owner, next_day] % N_HOURS,
        observed_until=pd.Timestamp(START + N_DAYS + 1),
        DESCR=DESCR,
    )


def _draw_customers(rng: np.random.RandomState, n_customers: int) -> pd.DataFrame:
    width = len(str(n_customers - 1))
    usual = rng.choice(len(USUAL_PEAKS), p=PEAK_SHARES, size=n_customers)
    return pd.DataFrame(
        {
            "customer_id": [f"C{i:0{width}d}" for i in range(n_customers)],
            "peak": rng.normal(USUAL_PEAKS[usual], PEAK_SPREADS[usual]),
            "shift": rng.normal(WEEKEND_SHIFT, WEEKEND_SPREAD, size=n_customers),
            "interest": rng.beta(3, 3, size=n_customers),
        }
    )


def _draw_peaks(
    rng: np.random.RandomState, customers: pd.DataFrame, drift: float
) -> np.ndarray:
    """Draw the hour of each customer and day, on an endless clock."""
    # A newsletter of the last day may be opened on the day after.
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


class _LookRates:
    """When customers look at their inbox, and whether they open what is there."""

    def __init__(self, peaks: np.ndarray, interest: np.ndarray) -> None:
        self.peaks = peaks
        self.interest = interest

    def open_chances(
        self, owner: np.ndarray, day: np.ndarray, hour: np.ndarray
    ) -> np.ndarray:
        """Probability that a newsletter is opened in each hour from sending on."""
        lag = np.arange(N_HOURS)
        later = hour[:, None] + lag
        peak = self.peaks[owner[:, None], day[:, None] + later // N_HOURS]
        angle = 2 * np.pi / N_HOURS * (later % N_HOURS + 0.5 - peak)
        rate = LEAST_RATE + MOST_RATE * np.exp(SHARPNESS * (np.cos(angle) - 1))
        unseen = np.exp(rate - np.cumsum(rate, axis=1))  # before this hour
        opened = self.interest[owner, None] * FRESH_AFTER_AN_HOUR**lag
        return unseen * -np.expm1(-rate) * opened


def _draw_lags(rng: np.random.RandomState, chances: np.ndarray) -> np.ndarray:
    """Draw hours from sending to opening, 24 for never."""
    threshold = rng.uniform(size=len(chances))
    return (np.cumsum(chances, axis=1) <= threshold[:, None]).sum(axis=1)


def _instants(seconds: np.ndarray) -> np.ndarray:
    return (START.astype("datetime64[s]") + seconds).astype("datetime64[us]")
