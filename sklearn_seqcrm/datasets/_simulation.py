"""What simulators share: customers, numbers and times of events, probabilities.

All times are whole seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

HOUR = 3600
DAY = 24 * HOUR

FIRST_CUTOFF = np.datetime64("2024-01-01", "s")
N_CUTOFF_DAYS = 365
EPOCH = np.datetime64(0, "s")


def expit(logit: np.ndarray) -> np.ndarray:
    """Return ``1 / (1 + exp(-logit))``, without overflow."""
    return 0.5 + 0.5 * np.tanh(logit / 2)


def datetimes(seconds: np.ndarray, start: np.datetime64 = EPOCH) -> np.ndarray:
    """Return datetimes of seconds that count from `start`."""
    return (start + seconds.astype("m8[s]")).astype("datetime64[us]")


def timestamp(seconds: int, start: np.datetime64) -> pd.Timestamp:
    """Return the time so many seconds after `start`."""
    return pd.Timestamp(start + np.timedelta64(seconds, "s"))


def customer_ids(n_customers: int) -> list[str]:
    """Return ids of one length, such as C00 to C99."""
    width = len(str(n_customers - 1))
    return [f"C{i:0{width}d}" for i in range(n_customers)]


def public_events(
    events: pd.DataFrame, ids: pd.Series, kinds: Sequence[str]
) -> pd.DataFrame:
    """Return events as users get them.

    `events` have the columns ``owner`` (position in `ids`), ``seconds`` since 1970,
    ``kind`` (position in `kinds`) and ``amount``.
    """
    return pd.DataFrame(
        {
            "customer_id": ids.take(events["owner"].to_numpy()).array,
            "timestamp": datetimes(events["seconds"].to_numpy()),
            "event": pd.Categorical.from_codes(events["kind"], pd.Index(kinds)),
            "amount": events["amount"].to_numpy(),
        }
    )


def draw_rows(
    rng: np.random.RandomState, n_customers: int, regions: Iterable[str]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Draw a row for each customer, with two statics and a cutoff within a year.

    Returns the rows, and their cutoffs in seconds.
    """
    days = rng.randint(N_CUTOFF_DAYS, size=n_customers)
    cutoff = datetimes(days * DAY, FIRST_CUTOFF)
    rows = pd.DataFrame(
        {
            "customer_id": customer_ids(n_customers),
            "cutoff": cutoff,
            "age": rng.normal(45, 15, size=n_customers).clip(18, 90).round(),
            "region": rng.choice(list(regions), size=n_customers),
        }
    )
    return rows, cutoff.astype("M8[s]").astype(np.int64)


def end_of_last(horizon: int) -> pd.Timestamp:
    """Return the end of the horizon of the last cutoff."""
    return timestamp(N_CUTOFF_DAYS * DAY + horizon, FIRST_CUTOFF)


def draw_lengths(
    rng: np.random.RandomState, n_customers: int, mean_events: float
) -> np.ndarray:
    """Draw numbers of events; one customer in fifty has none, and as many have one."""
    # exp(Normal(mu, 1)) has the mean exp(mu + 1/2).
    log_lengths = rng.normal(np.log(mean_events) - 0.5, 1.0, size=n_customers)
    lengths = np.rint(np.exp(log_lengths)).astype(np.int64)
    shuffled = rng.permutation(n_customers)
    few = -(-n_customers // 50)
    lengths[shuffled[:few]] = 0
    lengths[shuffled[few : 2 * few]] = 1
    return lengths


def draw_spans(
    rng: np.random.RandomState, cutoff: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the beginning and the end of the time in which each customer has events."""
    n_customers = len(cutoff)
    tenure = rng.uniform(90 * DAY, 450 * DAY, size=n_customers).astype(np.int64)
    # Without a lapse, recency would be little more than tenure / number of events.
    lapse = rng.exponential(15 * DAY, size=n_customers).clip(0, 60 * DAY)
    return cutoff - tenure, cutoff - lapse.astype(np.int64)


def draw_times(
    rng: np.random.RandomState, lengths: np.ndarray, start: np.ndarray, stop: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw ``lengths[i]`` distinct, increasing seconds in ``[start[i], stop[i])``."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    # Draw in a span that is shorter by the number of events, sort, and add the rank
    # 0, 1, 2, ...: times are distinct, so that "the previous event" is never a tie.
    free = (stop - start - lengths)[owner]
    seconds = start[owner] + (rng.uniform(size=len(owner)) * free).astype(np.int64)
    seconds = seconds[np.lexsort((seconds, owner))]
    rank = np.arange(len(owner)) - (np.cumsum(lengths) - lengths)[owner]
    return owner, seconds + rank
