"""Snapshots, targets and splits of a large panel.

A log of 10 million events of 500,000 customers has 12 cutoffs, 30 days apart, which
gives about 6 million rows. The table has the median seconds for making the rows, for
each target on them, and for `CutoffSplit` on one million rows, and the peak of memory
while making the rows. `--events` sets a smaller size.
"""

import argparse
import statistics

import numpy as np
import pandas as pd
from measure import make_events, peak_memory, random_times, seconds

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.targets import (
    churned,
    future_count,
    future_sum,
    next_value,
    time_to_next,
)

CUTOFFS = pd.date_range("2020-06-01", periods=12, freq="30D")
SOME_KINDS = {"kinds": [f"K{i}" for i in range(20)], "kind_field": "category"}


def targets_of(X):
    """Return the functions of all targets by name."""
    return {
        "churned": lambda: churned(X, "90D"),
        "churned, gap, 20 of 50 kinds": lambda: churned(
            X, "90D", gap="7D", **SOME_KINDS
        ),
        "future_count": lambda: future_count(X, "90D"),
        "future_sum": lambda: future_sum(X, "amount", "90D"),
        "future_sum, gap, 20 of 50 kinds": lambda: future_sum(
            X, "amount", "90D", gap="7D", **SOME_KINDS
        ),
        "next_value": lambda: next_value(X, "amount", "90D"),
        "time_to_next": lambda: time_to_next(X, "90D"),
    }


def splits_of(log, n_rows, rng):
    """Return some splits of rows at any time of a year, by name."""
    customers = log.customers.to_numpy()[rng.integers(0, log.n_customers, n_rows)]
    rows = pd.DataFrame({"customer": customers, "at": random_times(n_rows, rng)})
    X = log.attach(rows, cutoff="at")
    test_size = n_rows // 40
    splitters = {
        "expanding": CutoffSplit(4, horizon="60D", test_size=test_size),
        "sliding": CutoffSplit(
            4, horizon="60D", test_size=test_size, train_window="180D"
        ),
        "held-out customers": CutoffSplit(
            4, horizon="60D", test_size=test_size, holdout_customers=0.2, random_state=0
        ),
    }
    return {
        **{n: lambda cv=cv: list(cv.split(X)) for n, cv in splitters.items()},
        "report": lambda: splitters["expanding"].report(X),
    }


def main():
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    events = make_events(options.events, options.events // 20, rng)
    log = EventLog(events, "customer", "time")
    del events

    def median_of(function):
        return statistics.median(seconds(function)[0] for _ in range(options.repeat))

    peak, X = peak_memory(lambda: log.snapshots(CUTOFFS))
    print(f"{len(log):,} events, {len(X):,} rows")
    print(f"{'snapshots':46s}{median_of(lambda: log.snapshots(CUTOFFS)):6.2f} s")
    print(f"{'  peak of memory':46s}{peak / 2**20:6.0f} MiB")
    for name, target in targets_of(X).items():
        print(f"{name:46s}{median_of(target):6.2f} s")
    n_rows = options.events // 10
    for name, split in splits_of(log, n_rows, rng).items():
        name = f"CutoffSplit of {n_rows:,}, {name}"
        print(f"{name:46s}{median_of(split):6.2f} s")


if __name__ == "__main__":
    main()
