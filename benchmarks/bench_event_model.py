"""Event models: speed of training, of simulations, and of lists of products.

Histories of log-normal lengths (median 20, 95th percentile about 104, at most 1,000)
have one field of 50 levels, drawn at random, at times within three years, in
microseconds or in whole days. Timed are fits of one epoch with a tenth of the customers
for validation: the classifier in a pipeline from raw events, with a linear head on the
last state, and the event model on raw events. Both times include the encoding of
events, and batch sizes are automatic. The two run in turn in one process with one
thread; the table has medians of real (not padded) events per CPU second, and medians of
the ratios.

Simulations are of 200 rows with 100 paths each and a horizon of half a year. Lists are
the ten most probable of 10,000 levels for 10,000 customers, by `predict_next`, which
averages 16 draws of the time of the next event. All times are CPU seconds.
"""

import argparse
import statistics
import time

import numpy as np
import pandas as pd
from measure import lognormal_lengths, one_thread, random_times

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

CUTOFF = pd.Timestamp("2023-01-01")


def cpu_seconds(function):
    """Return the CPU seconds of a call, and its result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def make_rows(lengths, n_levels, rng, days=False):
    """Make histories of one field, with the cutoff at the end of the log."""
    n_events = lengths.sum()
    times = random_times(n_events, rng)
    events = pd.DataFrame(
        {
            "customer": np.repeat(np.arange(len(lengths)), lengths),
            "time": times.astype("M8[D]").astype("M8[s]") if days else times,
            "category": rng.integers(0, n_levels, n_events).astype("str"),
        }
    )
    log = EventLog(events, "customer", "time", observed_until="2022-12-31")
    return log.snapshots([CUTOFF])[["history"]]


def classifier():
    """Make a classifier on the same events."""
    model = LSTMClassifier(
        pooling="last",
        head_sizes=(),
        n_networks=1,
        max_epochs=1,
        early_stopping=True,
        random_state=0,
    )
    return make_history_pipeline(model)


def event_model(**changed):
    """Make an event model of the same size and training."""
    options = {"max_epochs": 1, "early_stopping": True, "random_state": 0}
    return LSTMEventModel(**{**options, **changed})


def training(n_customers, repeat):
    """Print events per CPU second of both, and the ratio."""
    print(f"{'fit, one epoch':44s}{'events/CPU s':>12s}{'of the classifier':>20s}")
    some = make_rows(np.full(100, 20), 50, np.random.default_rng(0))
    classifier().fit(some, np.arange(100) % 2)  # once to warm up
    event_model().fit(some)
    for name, days in (("to the microsecond", False), ("whole days", True)):
        rng = np.random.default_rng(0)
        X = make_rows(lognormal_lengths(n_customers, rng), 50, rng, days)
        y = rng.integers(0, 2, n_customers)
        n_events = X["history"].array.lengths.sum()
        ways = {
            "LSTMClassifier": lambda X=X, y=y: classifier().fit(X, y),
            "LSTMEventModel": lambda X=X: event_model().fit(X),
        }
        found = {way: [] for way in ways}
        for _ in range(repeat):
            for way, fit in ways.items():
                found[way].append(n_events / cpu_seconds(fit)[0])
        for way, speeds in found.items():
            ratio = statistics.median(np.divide(speeds, found["LSTMClassifier"]))
            print(f"{f'{way}, {name}':44s}{statistics.median(speeds):12,.0f}", end="")
            print(f"{ratio:20.0%}")


def simulation(n_customers, repeat):
    """Print simulated events per CPU second."""
    rng = np.random.default_rng(0)
    X = make_rows(lognormal_lengths(n_customers, rng), 50, rng)
    model, some = event_model().fit(X), X.iloc[:200]
    speeds = []
    for _ in range(repeat):
        spent, futures = cpu_seconds(
            lambda: model.sample(some, "182D", n_paths=100, random_state=0)
        )
        speeds.append(len(futures) / spent)
    name = f"sample, {len(futures):,} simulated events"
    print(f"{name:44s}{statistics.median(speeds):12,.0f} events/CPU s")


def recommendation(n_customers, n_levels, repeat):
    """Print the CPU time of ten products for each customer."""
    rng = np.random.default_rng(0)
    X = make_rows(lognormal_lengths(n_customers, rng), n_levels, rng)
    model = event_model(max_categories=None).fit(X.iloc[:1000])
    n = len(model.predict_next(X.iloc[:1], "category", n=n_levels))
    found = statistics.median(
        cpu_seconds(lambda: model.predict_next(X, "category"))[0] for _ in range(repeat)
    )
    name = f"predict_next, 10 of {n:,} for {n_customers:,}"
    print(f"{name:44s}{found:12.1f} CPU s")


def main():
    """Run all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    one_thread()
    training(options.customers, options.repeat)
    simulation(options.customers // 10, options.repeat)
    recommendation(options.customers // 2, 10_000, options.repeat)


if __name__ == "__main__":
    main()
