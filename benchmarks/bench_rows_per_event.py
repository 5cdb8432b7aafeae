"""A row before each event: a prediction after everything that happens.

Customers with 7 random numbers for each event, and a row before each of their events:
as many rows as events, all of which share one pass over a history. The table shows the
events per second of an epoch with several poolings, beside an epoch with one row per
customer, the first epoch left out; and how the default grows with the histories, at an
equal number of events. The last line is about rows at twelve cutoffs of customers of 20
to 30 events, as a multiple of one row.
"""

import argparse
import statistics

import numpy as np
from measure import make_log, one_thread

from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder

DEFAULT = ("last", "mean", "decay")


def make_rows(shortest, longest, n_customers, cutoffs):
    """Encoded rows of customers with that many events, and the number of events."""
    rng = np.random.default_rng(0)
    log = make_log(rng.integers(shortest, longest + 1, n_customers), rng)
    X = HistoryEncoder().fit_transform(log.snapshots(cutoffs))
    return X[["history"]], len(log)


def epoch_seconds(X, pooling, repeat):
    """Median seconds of an epoch."""
    model = LSTMClassifier(
        pooling=pooling,
        max_epochs=1 + repeat,
        early_stopping=False,
        random_state=0,
    )
    model.fit(X, np.arange(len(X)) % 2)
    return statistics.median(model.net_.history[1:, "dur"])


def compare_poolings(repeat):
    """Print events per second of 400 customers of 200 to 500 events each."""
    before_each, n_events = make_rows(200, 500, 400, "events")
    last, _ = make_rows(200, 500, 400, [1001])
    print(
        f"400 customers, {n_events:,} events, {len(before_each):,} rows before events"
    )
    print(f"{'pooling':24s}{'a row before each':>20s}{'one row each':>16s}")
    for pooling in (DEFAULT, "last", "mean", "max", "attention", "decay"):
        speeds = [
            n_events / epoch_seconds(X, pooling, repeat) for X in (before_each, last)
        ]
        name = pooling if isinstance(pooling, str) else ", ".join(pooling)
        print(f"{name:24s}{speeds[0]:18,.0f}/s{speeds[1]:14,.0f}/s", flush=True)


def show_growth(repeat):
    """Print events per second against the length of histories."""
    print("\nevents of a customer, events per second with a row before each")
    for length in (25, 50, 100, 200, 400, 800, 1600):
        X, n_events = make_rows(length, length, 80_000 // length, "events")
        speed = n_events / epoch_seconds(X, DEFAULT, repeat)
        print(f"{length:20d}{speed:18,.0f}/s", flush=True)


def compare_cutoffs(repeat):
    """Print what twelve rows cost as a multiple of one."""
    cutoffs = np.linspace(0, 1001, 13)[1:]
    one, twelve = (
        epoch_seconds(make_rows(20, 30, 3000, chosen)[0], DEFAULT, 2 * repeat)
        for chosen in (cutoffs[-1:], cutoffs)
    )
    print(
        f"\n3,000 customers of 20 to 30 events: 1 row {one:.2f} s, 12 rows "
        f"{twelve:.2f} s, {twelve / one:.1f} x"
    )


def main():
    """Run all three and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    one_thread()
    compare_poolings(options.repeat)
    show_growth(options.repeat)
    compare_cutoffs(options.repeat)


if __name__ == "__main__":
    main()
