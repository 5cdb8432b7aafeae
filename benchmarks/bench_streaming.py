"""Streaming: a score after each event, and many events at once.

The default network of 64 units, on one thread. The state of a customer is what a scorer
stores; the memory of a customer includes the id and an entry of a dict.
"""

import argparse
import time
import tracemalloc

import numpy as np
import pandas as pd
from measure import make_events, one_thread, seconds

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer

CUTOFF = pd.Timestamp("2023-01-02")


def fitted(log, n_rows=500, moments=False, **options):
    """Return a pipeline trained for a moment, and statics of some customers."""
    number = np.arange(min(n_rows, log.n_customers))
    cities = np.array(["Rome", "Oslo", "Bern"])[number % 3]
    people = pd.DataFrame(
        {"customer": log.customers[number], "age": 30.0 + number % 40, "city": cities}
    )
    options = {"max_epochs": 1, "early_stopping": False, "n_networks": 1} | options
    model = make_history_pipeline(LSTMClassifier(random_state=0, **options))
    model.set_params(encoder__moments=moments)
    return model.fit(log.attach(people, cutoff=CUTOFF), number % 2), people


def in_bulk(model, log):
    """Print the speed of updating states with a log, and return the scorer."""
    scorer = StreamingScorer(model, "customer", "time")
    took, n_events = seconds(lambda: scorer.update(log))
    name = f"update with {n_events:,} events of {log.n_customers:,} customers"
    print(f"{name:56s}{n_events / took:10,.0f} events/s")
    return scorer


def one_by_one(scorer, people, n_calls, rng):
    """Print the time of an event and a score of one customer."""
    statics = people.drop(columns="customer").to_dict("records")
    ids, moment, took = people["customer"].tolist(), CUTOFF, []
    for i in range(n_calls + 100):
        at = int(rng.integers(len(ids)))
        moment += pd.Timedelta("1min")
        event = {"time": moment, "amount": float(rng.gamma(1, 10)), "category": "K7"}
        cutoff = moment + pd.Timedelta("1s")
        start = time.perf_counter(), time.thread_time()
        scorer.score_one(ids[at], event, statics[at], cutoff)
        if i >= 100:
            now = time.perf_counter(), time.thread_time()
            took.append((now[0] - start[0], now[1] - start[1]))
    median, most = 1000 * np.quantile(took, [0.5, 0.99], axis=0)
    for name, half, end in zip(("", ", of the processor"), median, most, strict=True):
        name = f"score_one with an event, {n_calls:,} times{name}"
        print(f"{name:56s}{half:10.2f} ms, 99 % below {end:.2f}")


def baskets(events, n_calls, rng):
    """Print the speed for lines of baskets of twenty, in bulk and one by one."""
    lines = events.sort_values(["customer", "time"], ignore_index=True)
    lines["time"] = lines["time"].groupby(np.arange(len(lines)) // 20).transform("min")
    log = EventLog(lines, "customer", "time", observed_until=CUTOFF)
    model, people = fitted(log, moments=True)
    scorer, stages = in_bulk(model, log), ("begins", "joins")
    statics = people.drop(columns="customer").to_dict("records")
    ids, moment, took = people["customer"].tolist(), CUTOFF, {s: [] for s in stages}
    for _ in range(n_calls):
        at, moment = int(rng.integers(len(ids))), moment + pd.Timedelta("1min")
        event = {"time": moment, "amount": float(rng.gamma(1, 10)), "category": "K7"}
        cutoff = moment + pd.Timedelta("1s")
        for stage in stages:
            start = time.perf_counter()
            scorer.score_one(ids[at], event, statics[at], cutoff)
            took[stage].append(time.perf_counter() - start)
    for stage, times in took.items():
        name = f"score_one with an event that {stage} a moment"
        print(f"{name:56s}{1000 * np.median(times[100:]):10.2f} ms")


def many_rows(scorer, model, log, people):
    """Print the time of scores of all rows, of states and of the log."""
    later = CUTOFF + pd.Timedelta("300D")
    of_states = seconds(lambda: scorer.predict_proba(people, later))[0]
    of_log = seconds(lambda: model.predict_proba(log.attach(people, cutoff=CUTOFF)))[0]
    name = f"predict_proba of {len(people)} rows, from states and log"
    print(f"{name:56s}{1000 * of_states:10.1f} and {1000 * of_log:.1f} ms")


def memory(model, n_customers):
    """Print the memory of a customer."""
    ids = [f"C{i}" for i in range(n_customers)]
    first = pd.DataFrame({"customer": ids, "time": CUTOFF, "amount": 1.0})
    log = EventLog(first.assign(category="K7"), "customer", "time")
    for dtype in ("float32", "float16"):
        scorer = StreamingScorer(model, "customer", "time", dtype=dtype)
        tracemalloc.start()
        scorer.update(log)
        found = tracemalloc.get_traced_memory()[0] / n_customers
        tracemalloc.stop()
        of_state = scorer.nbytes / n_customers
        name = f"a customer of {n_customers:,} in {dtype}, and the state alone"
        print(f"{name:56s}{found:10,.0f} and {of_state:,.0f} bytes")


def main():
    """Run all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=5_000)
    options = parser.parse_args()
    one_thread()
    rng = np.random.default_rng(0)
    events = make_events(options.events, options.events // 30, rng)
    log = EventLog(events, "customer", "time", observed_until=CUTOFF)
    model, people = fitted(log)
    scorer = in_bulk(model, log)
    many_rows(scorer, model, log, people)
    one_by_one(scorer, people, options.calls, rng)
    memory(model, 50_000)
    baskets(events, options.calls, rng)


if __name__ == "__main__":
    main()
