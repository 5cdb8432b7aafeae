"""A row before each event: a prediction at every event.

Customers have 7 random numbers for each event, and a row before each of their events,
so there are as many rows as events, and all rows share one pass over a history. The
table has the events per second of an epoch for several poolings, compared with one row
per customer, without the first epoch; then the default for increasing lengths of
histories with an equal number of events. The last lines are for customers of 20 to 30
events: rows at twelve cutoffs, and before each event, as a multiple of one row.
`--picture` is the file of the picture.
"""

import argparse
import statistics

import numpy as np
from measure import make_log, one_thread

from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder

DEFAULT = ("last", "mean", "decay")
LENGTHS = (25, 50, 100, 200, 400, 800, 1600)
# Enough customers that no history has more rows than an automatic batch.
EVENTS_TO_GROW = 320_000


def make_rows(shortest, longest, n_customers, cutoffs=None):
    """Return encoded rows of customers with that many events, and their number.

    At the cutoffs, or one before each event.
    """
    rng = np.random.default_rng(0)
    log = make_log(rng.integers(shortest, longest + 1, n_customers), rng)
    X = log.snapshots_before_events() if cutoffs is None else log.snapshots(cutoffs)
    X = HistoryEncoder().fit_transform(X)
    return X[["history"]], len(log)


def epoch_seconds(X, pooling, repeat):
    """Return the median seconds of an epoch."""
    model = LSTMClassifier(
        pooling=pooling,
        n_networks=1,
        max_epochs=1 + repeat,
        early_stopping=False,
        random_state=0,
    )
    model.fit(X, np.arange(len(X)) % 2)
    return statistics.median(model.net_.history[1:, "dur"])


def compare_poolings(repeat):
    """Print events per second of 400 customers of 200 to 500 events each."""
    before_each, n_events = make_rows(200, 500, 400)
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


def measure_growth(repeat):
    """Print and return milliseconds per customer and epoch, by number of events."""
    print("\nevents of a customer   ms an epoch for each   events per second")
    found = {}
    for length in LENGTHS:
        X, n_events = make_rows(length, length, EVENTS_TO_GROW // length)
        speed = n_events / epoch_seconds(X, DEFAULT, repeat)
        found[length] = 1000 * length / speed
        print(f"{length:20d}{found[length]:23.2f}{speed:18,.0f}/s", flush=True)
    return found


def draw(found, path):
    """Plot the time per customer by number of events, and a line of constant speed."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 3.6))
    lengths, times = np.array(list(found)), np.array(list(found.values()))
    # At the geometric mean of the speeds.
    per_event = np.exp(np.log(times / lengths).mean())
    axis.plot(lengths, per_event * lengths, "--", color="grey", label="linear")
    axis.plot(lengths, times, marker="o", label="measured")
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="events of a customer, a row before each",
        ylabel="milliseconds an epoch for each customer",
    )
    axis.set_xticks(lengths, [f"{n:,}" for n in lengths])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def compare_cutoffs(repeat):
    """Print the time with more rows as a multiple of one."""
    cutoffs = np.linspace(0, 1001, 13)[1:]
    (one, n_events), (twelve, _), (before_each, _) = (
        (epoch_seconds(X, DEFAULT, 2 * repeat), n_events)
        for X, n_events in (
            make_rows(20, 30, 3000, chosen) for chosen in (cutoffs[-1:], cutoffs)
        )
    )
    print(
        f"\n3,000 customers of 20 to 30 events: 1 row {one:.2f} s, 12 rows "
        f"{twelve:.2f} s, {twelve / one:.1f} x;\na row before each event "
        f"{before_each:.2f} s, {n_events / before_each:,.0f}/s"
    )


def main():
    """Run all three, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--picture")
    options = parser.parse_args()
    one_thread()
    compare_poolings(options.repeat)
    found = measure_growth(options.repeat)
    compare_cutoffs(options.repeat)
    if options.picture:
        draw(found, options.picture)


if __name__ == "__main__":
    main()
