"""Scoring: events per second, one row in real time, and searches on two cores."""

import argparse
import statistics

import numpy as np
import pandas as pd
from bench_training import make_rows
from measure import make_events, one_thread, precisions, seconds
from sklearn.model_selection import GridSearchCV

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline

CUTOFF = pd.Timestamp("2022-06-01")


def classifier(**options):
    """Make a network of the default size, trained for a moment."""
    options = {"max_epochs": 1, "early_stopping": False, "n_networks": 1} | options
    return LSTMClassifier(random_state=0, **options)


def median_seconds(function, repeat):
    """Return the median time of a call, without the first one."""
    function()
    return statistics.median(seconds(function)[0] for _ in range(repeat))


def throughput(n_customers, repeat):
    """Print events per second of all rows, and the time of one."""
    X, y = make_rows(n_customers, np.random.default_rng(0))
    encoded = HistoryEncoder(half_lives=[100]).fit_transform(X)
    n_events = encoded["history"].array.lengths.sum()
    for precision in precisions():
        model = classifier(precision=precision).fit(encoded, y)
        found = median_seconds(lambda m=model: m.predict_proba(encoded), repeat)
        name = f"predict_proba, {precision}"
        print(f"{name:44s}{n_events / found:12,.0f} events/s")
    model, one = classifier().fit(encoded, y), encoded.iloc[[7]]
    found = median_seconds(lambda: model.predict_proba(one), 50)
    print(f"{'predict_proba of one encoded row':44s}{1000 * found:12.1f} ms")


def log_sizes(large):
    """Print the time of 100 rows, and of a new one, by the size of the log."""
    print(f"{'through the whole pipeline':44s}{'100 rows':>12s}{'one raw row':>14s}")
    for n_events in (10_000, large):
        events = make_events(n_events, n_events // 20, np.random.default_rng(0))
        log = EventLog(events, "customer", "time")
        customers = pd.DataFrame({"customer": log.customers[:500], "age": 40.0})
        X = log.attach(customers, cutoff=CUTOFF)
        model = make_history_pipeline(classifier()).fit(X, np.arange(len(X)) % 2)
        some = X.iloc[:100]
        many = median_seconds(lambda m=model, X=some: m.predict_proba(X), 50)

        def score_one(log=log, model=model, row=customers.iloc[[5]]):
            return model.predict_proba(log.attach(row, cutoff=CUTOFF))

        one = median_seconds(score_one, 50)
        name = f"on a log of {n_events:,} events"
        print(f"{name:44s}{1000 * many:9.1f} ms{1000 * one:11.1f} ms")


def search(n_customers, repeat):
    """Print the speed-up of a search by two jobs, each with one thread."""
    X, y = make_rows(n_customers, np.random.default_rng(0))
    pipeline = make_history_pipeline(classifier(max_epochs=7))
    grid = {"estimator__hidden_size": [32, 64], "estimator__dropout": [0.1, 0.3]}
    found = {1: [], 2: []}
    for _ in range(repeat):
        for n_jobs, times in found.items():
            model = GridSearchCV(pipeline, grid, cv=5, n_jobs=n_jobs, refit=False)
            times.append(seconds(lambda model=model: model.fit(X, y))[0])
    one, two = (statistics.median(times) for times in found.values())
    gain = statistics.median(a / b for a, b in zip(*found.values(), strict=True))
    name = "GridSearchCV of 20 fits, two jobs and one"
    print(f"{name:44s}{two:7.0f} s and {one:.0f} s: throughput x {gain:.2f}")


def main():
    """Run all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--searches", type=int, default=3)
    options = parser.parse_args()
    one_thread()
    throughput(options.customers, options.repeat)
    log_sizes(options.events)
    search(options.customers, options.searches)


if __name__ == "__main__":
    main()
