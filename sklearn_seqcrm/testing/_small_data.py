"""Small tables of events and rows, for tests of all estimators of histories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm.events import EventLog

DAY = pd.Timedelta(days=1)
START = pd.Timestamp("2022-01-01")


def make_events(
    n_customers: int = 10, mean_events: float = 8, seed: int = 0, n_components: int = 0
) -> pd.DataFrame:
    """Draw events over three years: a heavy-tailed amount, a kind, a due date.

    All fields have missing values, and the amount infinite ones. With `n_components`
    above 0 there is also a field of vectors. Customer ``c0`` has one event. Some events
    share their time, and a fifth of the times are whole days, so that cutoffs (whole
    days) coincide with events.
    """
    rng = np.random.default_rng(seed)
    counts = rng.poisson(mean_events - 1, n_customers) + 1
    counts[0] = 1
    n_events = counts.sum()
    minutes = rng.integers(0, 3 * 365 * 24 * 60, n_events)
    whole = rng.random(n_events) < 0.2  # at midnight
    minutes[whole] -= minutes[whole] % (24 * 60)
    minutes[3::11] = minutes[2:-1:11]  # ties, mostly within a customer
    time = START + pd.to_timedelta(minutes, unit="min")
    # Log-normal, as amounts are; with NaN and infinity, as tables have them.
    amount = np.exp(rng.normal(3, 1.5, n_events))
    amount[rng.random(n_events) < 0.1] = np.nan
    amount[rng.random(n_events) < 0.05] = np.inf
    kinds = rng.choice(["visit", "order", "return"], n_events, p=[0.6, 0.3, 0.1])
    kind = pd.Series(kinds).mask(rng.random(n_events) < 0.1, None)
    due = pd.Series(time + pd.to_timedelta(rng.integers(-5, 30, n_events), unit="D"))
    events = pd.DataFrame(
        {
            "who": np.repeat([f"c{i}" for i in range(n_customers)], counts),
            "when": time,
            "amount": amount,
            "kind": kind,
            "due": due.mask(rng.random(n_events) < 0.1),
        }
    )
    if n_components:
        vectors = list(rng.normal(3, 2, (n_events, n_components)))
        for i in np.flatnonzero(rng.random(n_events) < 0.1).tolist():
            vectors[i] = None
        events["vector"] = pd.Series(vectors, dtype=object)
    # Shuffled: a log takes events in any order.
    return events.sample(frac=1, random_state=seed, ignore_index=True)


def make_rows(n_customers: int = 10, n_cutoffs: int = 4, seed: int = 0) -> pd.DataFrame:
    """Draw rows of every customer at several cutoffs, and of two unknown customers.

    The first cutoff of two customers is before all events. Statics of each dtype have
    missing values.
    """
    rng = np.random.default_rng(seed + 1)
    who = [f"c{i}" for i in range(n_customers)] + ["new1", "new2"]
    rows = pd.DataFrame({"who": np.repeat(who, n_cutoffs)})
    n = len(rows)
    # (customers, cutoffs), ascending in each row.
    days = np.sort(rng.integers(100, 1000, (len(who), n_cutoffs)), axis=1)
    days[:2, 0] = 0  # an empty history of a known customer
    age = rng.integers(18, 80, n).astype("float64")
    age[rng.random(n) < 0.2] = np.nan
    city = pd.Series(rng.choice(["Rome", "Oslo"], n)).mask(rng.random(n) < 0.2, None)
    joined = pd.Series(START - pd.to_timedelta(rng.integers(1, 900, n), unit="D"))
    return rows.assign(
        at=START + pd.to_timedelta(days.ravel(), unit="D"),
        age=age,
        city=city,
        joined=joined.mask(rng.random(n) < 0.2),
        member=rng.random(n) < 0.5,
    ).sample(frac=1, random_state=seed)


def attached(events: pd.DataFrame, rows: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Attach histories of an events table to rows."""
    return EventLog(events, "who", "when").attach(rows, cutoff="at", **options)


def make_table(
    n_customers: int = 10,
    n_cutoffs: int = 4,
    seed: int = 0,
    lookback: Any = None,
    n_components: int = 0,
) -> pd.DataFrame:
    """Build rows with a history column, attached by the columns ``who`` and ``at``."""
    events = make_events(n_customers, seed=seed, n_components=n_components)
    return attached(events, make_rows(n_customers, n_cutoffs, seed), lookback=lookback)


def rows_by_length(X: pd.DataFrame) -> list[int]:
    """Return the position of a row with each length of a history, ascending."""
    return np.unique(X["history"].array.lengths, return_index=True)[1].tolist()


def make_y(X: Any, classes: Sequence[float] = (0, 1), seed: int = 0) -> np.ndarray:
    """Draw random classes, each of which occurs."""
    rng = np.random.default_rng(seed)
    return np.asarray(classes)[rng.permutation(np.arange(len(X)) % len(classes))]
