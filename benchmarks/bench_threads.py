"""Threads of fits and predictions: one, those of the library, and those of kernels.

Histories are those of ``make_customer_journeys``; networks have 64 units. Each figure
is the time relative to one thread, in the median of repetitions that run in turn in one
process. ``kernels`` is what torch does by default: one network after the other, and
kernels that use all cores. ``--busy 1`` measures beside another busy process.

    python benchmarks/bench_threads.py --busy 1
"""

import argparse
import statistics
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from unittest import mock

import pandas as pd
import torch
from measure import seconds

from sklearn_seqcrm._recurrent.network import _settings
from sklearn_seqcrm._recurrent.training import _net
from sklearn_seqcrm.datasets import make_customer_journeys
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier, _ensemble_training
from sklearn_seqcrm.preprocessing import HistoryEncoder


def main():
    """Print a line for each task."""
    options = read_options()
    X, y = encoded_journeys(options.customers)
    many = pd.concat([X] * 20, ignore_index=True)
    one = LSTMClassifier(n_networks=1, early_stopping=False, random_state=0)
    five = LSTMClassifier(n_networks=5, early_stopping=False, random_state=0)
    one.fit(X, y)
    five.fit(X, y)
    tasks = {
        "fit of one network": lambda: one.fit(X, y),
        "fit of five networks": lambda: five.fit(X, y),
        f"one network, {len(many):,} rows": lambda: one.predict_proba(many),
        f"five networks, {len(many):,} rows": lambda: five.predict_proba(many),
    }
    print(f"{torch.get_num_threads()} threads, {options.busy} busy processes beside")
    lines = []
    with busy_processes(options.busy):
        for task, run in tasks.items():
            lines.append({"": task} | ratios(run, options.repeat))
            print(*lines[-1].values(), flush=True)
    print(pd.DataFrame(lines).to_markdown(index=False))


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--busy", type=int, default=0)
    return parser.parse_args()


def encoded_journeys(n_customers):
    """Return encoded histories and a target."""
    journeys = make_customer_journeys(n_customers, random_state=0)
    log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    X = log.attach(journeys.rows, cutoff="cutoff")[["history"]]
    return HistoryEncoder().fit_transform(X), journeys.target


def ratios(run, n_times):
    """Return the time of each way relative to one thread, and that in seconds."""
    limit = torch.get_num_threads()
    ways = {
        "one thread": (1, nullcontext),
        "kernels": (limit, threads_of_kernels),
        "library": (limit, nullcontext),
    }
    found = {way: [] for way in ways}
    for _ in range(n_times):
        for way, (n_threads, context) in ways.items():
            torch.set_num_threads(n_threads)
            with context():
                found[way].append(seconds(run)[0])
    torch.set_num_threads(limit)
    medians = {way: statistics.median(times) for way, times in found.items()}
    first = medians["one thread"]
    beside = {way: f"{medians[way] / first:.2f}" for way in ("kernels", "library")}
    return {"one thread, s": f"{first:.2f}"} | beside


@contextmanager
def threads_of_kernels():
    """Compute one call after the other, with all threads for its kernels."""

    def in_order(calls, n_at_once, device):
        return [call() for call in calls]

    with (
        mock.patch.object(_settings, "_UNITS_OF_ONE_THREAD", 0),
        mock.patch.object(_net, "run_in_threads", in_order),
        mock.patch.object(_ensemble_training, "run_in_threads", in_order),
    ):
        yield


@contextmanager
def busy_processes(n):
    """Keep `n` cores busy within a ``with`` block."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()


if __name__ == "__main__":
    main()
