"""Time and memory of rows, labels, features and encoders by partition.

Events of random customers are written to one Parquet file for each partition. Each step
runs in a process of its own that has one partition in memory at a time, as a worker of
Dask or Spark does. The table shows its wall clock time, the peak of its memory without
pages of memory-mapped files, and the number of passes over the partitions. Needs
pyarrow, and 80 bytes of disk for each event.
"""

import argparse
import shutil
import tempfile
import threading
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from measure import STATUS

EVENTS_OF_CUSTOMER = 100
CUTOFFS = ["2021-07-01", "2022-07-01"]
UNTIL = "2023-01-01"


def make_file(folder, part, n_parts, n_events):
    """Write the events of every n-th customer, in the order of time."""
    rng = np.random.default_rng(part)
    n = n_events // n_parts
    customers = rng.integers(0, n // EVENTS_OF_CUSTOMER, n) * n_parts + part
    span = 3 * 365 * 86_400 * 10**6
    times = np.datetime64("2020-01-01", "us") + np.sort(rng.integers(0, span, n))
    table = pd.DataFrame(
        {
            "customer": customers,
            "time": times,
            "amount": rng.gamma(1, 10, n),
            "category": pd.Categorical.from_codes(
                rng.integers(0, 50, n), [f"K{i}" for i in range(50)]
            ),
        }
    )
    table.to_parquet(folder / f"part_{part}.parquet")


def from_tables(folder, n_parts):
    """Return a log whose partitions are Parquet files, sorted in every pass."""
    from sklearn_seqcrm.partitions import PartitionedLog

    files = [folder / f"part_{part}.parquet" for part in range(n_parts)]
    read = [partial(pd.read_parquet, file) for file in files]
    return PartitionedLog(read, "customer", "time", observed_until=UNTIL)


def from_disk(folder, n_parts):
    """Return a log whose partitions are logs on the disk."""
    from sklearn_seqcrm.partitions import PartitionedLog

    paths = [folder / "rows" / f"part-{part:05d}" / "log" for part in range(n_parts)]
    return PartitionedLog(paths, "customer", "time")


def labels(X):
    from sklearn_seqcrm.targets import churned

    return churned(X, "90D")


def row_sums(transform, X):
    """Return one number for each row, so that the result stays small."""
    return transform(X).select_dtypes("number").sum(axis=1).to_numpy()


def row_features(encoder, X):
    """Return the sum of a row's features, which all its encoded events enter."""
    array = encoder.transform(X)["history"].array
    return array.log.row_features(array.rows).sum(axis=1)


def build(folder, n_parts):
    print(from_tables(folder, n_parts), flush=True)


def to_disk(folder, n_parts):
    from_tables(folder, n_parts).snapshots(CUTOFFS).to_disk(folder / "rows", y=labels)


def open_log(folder, n_parts):
    from_disk(folder, n_parts)


def snapshots(folder, n_parts):
    print(from_disk(folder, n_parts).snapshots(CUTOFFS).counts().sum().to_dict())


def targets(folder, n_parts):
    from_disk(folder, n_parts).snapshots(CUTOFFS).map(labels)


def fit_aggregates(folder, n_parts):
    from sklearn_seqcrm.feature_extraction import HistoryAggregator

    rows = from_disk(folder, n_parts).snapshots(CUTOFFS)
    aggregator = rows.fit(HistoryAggregator())
    pd.to_pickle(aggregator, folder / "aggregator.pickle")


def aggregates(folder, n_parts):
    aggregator = pd.read_pickle(folder / "aggregator.pickle")
    rows = from_disk(folder, n_parts).snapshots(CUTOFFS)
    rows.map(partial(row_sums, aggregator.transform))


def fit_encoder(folder, n_parts):
    from sklearn_seqcrm.preprocessing import HistoryEncoder

    encoder = from_disk(folder, n_parts).snapshots(CUTOFFS).fit(HistoryEncoder())
    pd.to_pickle(encoder, folder / "encoder.pickle")


def encode(folder, n_parts):
    encoder = pd.read_pickle(folder / "encoder.pickle")
    rows = from_disk(folder, n_parts).snapshots(CUTOFFS)
    rows.map(partial(row_features, encoder))


def scores(folder, n_parts):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from sklearn_seqcrm.feature_extraction import RFMFeatures
    from sklearn_seqcrm.partitions import load_rows

    model = make_pipeline(RFMFeatures(), LogisticRegression())
    model.fit(*load_rows(folder / "rows", 0, n_parts))
    rows = from_disk(folder, n_parts).snapshots(CUTOFFS)
    rows.map(model.predict_proba)


STEPS = {
    "read, sort and check the tables": build,
    "write logs, rows and labels to the disk": to_disk,
    "open the logs on the disk": open_log,
    "rows of all customers": snapshots,
    "labels": targets,
    "choose aggregates": fit_aggregates,
    "compute aggregates": aggregates,
    "learn an encoder": fit_encoder,
    "encode events, row features": encode,
    "scores of a linear model on RFM": scores,
}


def anonymous_memory():
    """Return the memory of this process without pages of files, in GB."""
    line = next(
        one for one in STATUS.read_text().splitlines() if one.startswith("RssAnon")
    )
    return int(line.split()[1]) * 1024 / 1e9


def measured(step, folder, n_parts, queue):
    """Run a step, and send its seconds, its peak of memory and its passes."""
    from sklearn_seqcrm.partitions._engines import ListEngine

    peak, done, n_passes = [anonymous_memory()], threading.Event(), [0]

    def watch():
        while not done.wait(0.02):
            peak[0] = max(peak[0], anonymous_memory())

    collect = ListEngine.collect

    def counted(self, function):
        n_passes[0] += 1
        return collect(self, function)

    ListEngine.collect = counted
    threading.Thread(target=watch, daemon=True).start()
    start, busy = time.perf_counter(), time.process_time()
    step(folder, n_parts)
    spent = time.perf_counter() - start, time.process_time() - busy
    done.set()
    queue.put((*spent, peak[0], n_passes[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000_000)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="for temporary files")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    n_parts, context = options.partitions, get_context("spawn")
    print(f"{options.events:,} events, {n_parts} partitions\n")
    try:
        for part in range(n_parts):
            make_file(folder, part, n_parts, options.events)
        print("| step | wall s | CPU s | million events per CPU s | peak GB | passes |")
        print("|---|---|---|---|---|---|", flush=True)
        for name, step in STEPS.items():
            queue = context.Queue()
            process = context.Process(
                target=measured, args=(step, folder, n_parts, queue)
            )
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{name} failed")
            wall, busy, peak, n_passes = queue.get()
            speed = options.events / busy / 1e6
            print(
                f"| {name} | {wall:.0f} | {busy:.0f} | {speed:.2f} | {peak:.2f} "
                f"| {n_passes} |",
                flush=True,
            )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
