"""Build an EventLog from 10 million events, and cut histories from it.

Three implementations on one unsorted table: this library, pandas (`sort_values` and
`groupby.agg(list)`), and polars (`sort` and `group_by.agg(all)`). They run in turn,
`--repeat` times, and the table has medians and their ratios. pandas is slow and runs
once. So does the preprocessor of pytorch-lifestream, in a separate environment and on a
tenth of the customers, scaled up. `--events` sets a smaller size.
"""

import argparse
import statistics

import numpy as np
import pandas as pd
import polars as pl
from measure import make_events, peak_memory, random_times, seconds
from rivals import lifestream_seconds
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_seqcrm.events import EventLog


def build_with_pandas(events):
    """Make lists of every customer's events, as in most tutorials."""
    return events.sort_values(["customer", "time"]).groupby("customer").agg(list)


def build_with_polars(events):
    """Make them in polars."""
    return events.sort("customer", "time").group_by("customer").agg(pl.all())


def own_bytes(log):
    """Return the bytes of the columns of a log."""
    columns = [log.column(name).values for name in log.fields]
    own = [*columns, log.timeline.times, log.timeline.offsets]
    return sum(array.nbytes for array in own)


class MemoryMapProbe(ClassifierMixin, BaseEstimator):
    """Scores 1 if the log that arrived in a worker is memory-mapped, else 0."""

    def __init__(self, number=0):
        self.number = number

    def fit(self, X, y):
        """Do nothing."""
        self.classes_ = np.unique(y)
        return self

    def score(self, X, y):
        """Check the arrays of the log of X."""
        log = X["history"].array.log
        arrays = [log.timeline.times, *(log.column(f).values for f in log.fields)]
        return float(all(is_memory_mapped(array) for array in arrays))


def is_memory_mapped(array):
    """Return whether an array, or the array that it views, is a memory map."""
    while array is not None:
        if isinstance(array, np.memmap):
            return True
        array = getattr(array, "base", None)
    return False


def check_attach(log, events, X, rng):
    """Compare some rows with a slow loop over the table."""
    for i in rng.integers(0, len(X), 20):
        row = X.iloc[i]
        own = events[events["customer"] == row["customer"]]
        expected = np.sort(own["time"][own["time"] < row["cutoff"]].to_numpy())
        assert (row["history"].times.to_numpy() == expected).all()


def main():
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    n_customers = options.events // 20
    events = make_events(options.events, n_customers, rng)
    polars_events = pl.from_pandas(events)
    n_rows = options.events // 10
    rows = pd.DataFrame(
        {
            "customer": events["customer"].to_numpy()[
                rng.integers(0, len(events), n_rows)
            ],
            "cutoff": random_times(n_rows, rng),
        }
    )

    peak, log = peak_memory(lambda: EventLog(events, "customer", "time"))
    ours, polars, attach, split = [], [], [], []
    histories = log.attach(pd.DataFrame({"customer": log.customers}))["history"]
    for _ in range(options.repeat):
        ours.append(seconds(lambda: EventLog(events, "customer", "time"))[0])
        polars.append(seconds(lambda: build_with_polars(polars_events))[0])
        elapsed, X = seconds(lambda: log.attach(rows, cutoff="cutoff"))
        attach.append(elapsed)
        split.append(seconds(lambda: train_test_split(histories, random_state=0))[0])
    with_pandas = seconds(lambda: build_with_pandas(events))[0]
    check_attach(log, events, X, rng)
    of_few = events["customer"].isin(log.customers[::10])
    with_lifestream = lifestream_seconds("preprocess", events[of_few])

    y = np.arange(len(histories)) % 2
    search = GridSearchCV(
        MemoryMapProbe(), {"number": [0, 1]}, cv=2, n_jobs=2, refit=False
    )
    mapped = search.fit(histories.to_frame(), y).cv_results_["mean_test_score"]

    build, split_ms = statistics.median(ours), 1000 * statistics.median(split)
    in_polars = statistics.median(polars)
    lines = [
        ("EventLog", f"{build:.2f} s"),
        ("pandas sort + groupby(list)", f"{with_pandas:.2f} s", with_pandas / build),
        ("polars sort + group_by(all)", f"{in_polars:.2f} s", in_polars / build),
        (
            "peak memory, times the log",
            f"{peak / 2**20:.0f} MiB",
            peak / own_bytes(log),
        ),
        (f"attach {n_rows:,} rows", f"{statistics.median(attach):.2f} s"),
        (f"train_test_split of {len(histories):,}", f"{split_ms:.0f} ms"),
        ("memory-mapped in workers", "yes" if mapped.all() else "NO"),
    ]
    if with_lifestream is not None:
        name = "pytorch-lifestream, a tenth"
        ratio = 10 * with_lifestream / build
        lines.insert(3, (name, f"{with_lifestream:.2f} s", ratio))
    print(f"{len(events):,} events, {n_customers:,} customers")
    for name, value, *ratio in lines:
        print(f"{name:34s}{value:>10s}" + "".join(f"{r:8.1f} x" for r in ratio))


if __name__ == "__main__":
    main()
