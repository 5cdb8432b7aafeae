"""Shared by the benchmarks: events to run on, a stopwatch, and the peak of memory."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from sklearn_seqcrm.events import EventLog

STATUS = Path("/proc/self/status")


def make_events(n_events, n_customers, rng):
    """Make unsorted events: string ids, times, an amount, a category."""
    ids = pd.array([f"C{i}" for i in range(n_customers)], dtype="str")
    kinds = pd.array([f"K{i}" for i in range(50)], dtype="str")
    return pd.DataFrame(
        {
            "customer": ids.take(rng.integers(0, n_customers, n_events)),
            "time": random_times(n_events, rng),
            "amount": rng.gamma(1, 10, n_events),
            "category": kinds.take(rng.integers(0, 50, n_events)),
        }
    )


def random_times(n, rng):
    """Draw times within three years from 2020 on."""
    span = 3 * 365 * 86_400 * 10**6
    return np.datetime64("2020-01-01", "us") + rng.integers(0, span, n)


def lognormal_lengths(n_customers, rng, longest=1000):
    """Draw lengths of histories: median 20, 95th percentile about 104."""
    lengths = np.exp(rng.normal(np.log(20), 1.0, n_customers)).astype(int)
    return lengths.clip(1, longest)


def make_log(lengths, rng):
    """Make histories of these lengths over 1,000 units of time, with 7 fields."""
    n_events = lengths.sum()
    columns = {f"field_{i}": rng.normal(size=n_events) for i in range(7)}
    customers = np.repeat(np.arange(len(lengths)), lengths)
    events = pd.DataFrame(
        {"customer": customers, "time": rng.random(n_events) * 1000, **columns}
    )
    return EventLog(events, "customer", "time")


def seconds(function):
    """Return the seconds of a call, and its result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def peak_memory(function):
    """Return the peak of additional bytes during a call, and its result.

    Linux only: resident memory, as the kernel counts it.
    """
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before = _kibibytes("VmRSS")
    result = function()
    return 1024 * (_kibibytes("VmHWM") - before), result


def _kibibytes(field):
    lines = STATUS.read_text().splitlines()
    return int(next(x for x in lines if x.startswith(field)).split()[1])


def one_thread():
    """Let torch use one thread, as in the tables."""
    import torch

    torch.set_num_threads(1)


def precisions():
    """Return the precisions that this processor trains in; print missing ones."""
    from sklearn_seqcrm._recurrent.network._reader import trains_in_bfloat16

    if trains_in_bfloat16("cpu"):
        return ["float32", "bfloat16"]
    print("This processor does not train in bfloat16.")
    return ["float32"]
