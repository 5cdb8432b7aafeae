"""Logs larger than memory: events per second and memory, on disk and in memory.

A data set of Parquet files in the order of time is cut by customer with Arrow and built
into a log on the disk. Then rows of all customers are attached, their targets computed,
an encoder fitted to all their events, and a network trained for one epoch on some of
them, which then predicts. Each step runs in a separate process that may allocate 4 GiB
(the limit of the kernel on data, RLIMIT_DATA; it does not include pages of files, which
the kernel drops when memory is short). With --in-memory the same is done with a log in
memory and without a limit. Needs pyarrow, and 60 bytes of disk for each event.
"""

import argparse
import resource
import shutil
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from measure import STATUS, one_thread

EVENTS_OF_CUSTOMER = 200
EVENTS_OF_FILE = 5_000_000
N_PARTS = 50
LIMIT = 4 * 2**30


def make_files(folder, n_events):
    """Write files in the order of time, each with all customers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    kinds = pa.array([f"K{i}" for i in range(50)])
    span, start = 3 * 365 * 86_400 * 10**6, 1_577_836_800 * 10**6
    n_files = max(1, n_events // EVENTS_OF_FILE)
    n = n_events // n_files
    folder.mkdir(parents=True)
    for i in range(n_files):
        first, last = (start + span * k // n_files for k in (i, i + 1))
        times = pa.array(rng.integers(first, last, n)).cast(pa.timestamp("us"))
        table = {
            "customer": rng.integers(0, n_events // EVENTS_OF_CUSTOMER, n),
            "time": times,
            "amount": rng.gamma(1, 10, n),
            "category": kinds.take(pa.array(rng.integers(0, 50, n))),
        }
        pq.write_table(pa.table(table), folder / f"file_{i:03d}.parquet")


def build(files, cut, path, n_events):
    """Cut the files by customer, then build the log part by part."""
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    from sklearn_seqcrm.events import EventLog

    data = ds.dataset(files)
    n_customers = n_events // EVENTS_OF_CUSTOMER
    part = pc.divide(pc.field("customer"), max(1, n_customers // N_PARTS))
    columns = {name: pc.field(name) for name in data.schema.names}
    ds.write_dataset(
        data.scanner({**columns, "part": part}, use_threads=False, batch_size=2**18),
        cut,
        format="parquet",
        partitioning=["part"],
        use_threads=False,
        min_rows_per_group=2**17,
        max_rows_per_group=2**20,
    )
    folders = sorted(cut.iterdir(), key=lambda folder: int(folder.name))
    parts = (ds.dataset(folder).to_table() for folder in folders)
    EventLog.from_parts(parts, path, "customer", "time", categorical=["category"])


class Watch(threading.Thread):
    """Seconds of each step, and the peak of memory without pages of files."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.began = 0, time.perf_counter()
        self.start()

    def run(self):
        while True:
            line = next(x for x in STATUS.read_text().splitlines() if "RssAnon" in x)
            self.peak = max(self.peak, int(line.split()[1]) * 1024)
            time.sleep(0.02)

    def tell(self, step, n_events):
        elapsed = time.perf_counter() - self.began
        print(
            f"{step:20s}{elapsed:9.1f} s{n_events / elapsed:14,.0f} events/s"
            f"{self.peak / 1e9:8.2f} GB",
            flush=True,
        )
        self.peak, self.began = 0, time.perf_counter()


def work(path, n_rows, in_memory):
    """Run everything from rows to predictions."""
    one_thread()
    from sklearn_seqcrm.events import EventLog
    from sklearn_seqcrm.neural_network import LSTMClassifier
    from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
    from sklearn_seqcrm.targets import churned

    watch = Watch()
    log = EventLog.open(path)
    if in_memory:
        log = EventLog(log.to_frame(), "customer", "time", categorical=["category"])
    watch.tell("open", len(log))
    X = log.snapshots([pd.Timestamp("2022-10-01")])
    watch.tell("attach", len(log))
    y = churned(X, "5D")
    watch.tell("target", len(log))
    encoded = HistoryEncoder().fit_transform(X)
    watch.tell("learn", len(log))
    array = encoded["history"].array
    array.log.row_features(array.rows)
    watch.tell("row features", len(log))
    if n_rows < len(X):
        X = X.sample(n_rows, random_state=0)
        y = y[X.index]
    n_events = X["history"].array.lengths.sum()
    model = make_history_pipeline(
        LSTMClassifier(n_networks=1, max_epochs=1, early_stopping=False, random_state=0)
    )
    model.fit(X, y)
    watch.tell(f"fit, {n_events / 1e6:.0f} million", n_events)
    mean = model.predict_proba(X)[:, 1].mean()
    watch.tell(f"predict, {n_events / 1e6:.0f} million", n_events)
    print(f"mean prediction {mean:.6f}")


def alone(limited, function, *args):
    """Run in a separate process."""

    def run():
        if limited:
            resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
        function(*args)

    process = get_context("fork").Process(target=run)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{function.__name__} ended with {process.exitcode}")


def main():
    """Run all steps and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rows", type=int, default=50_000, help="to train on")
    parser.add_argument("--in-memory", action="store_true")
    options = parser.parse_args()
    files, cut, path = (options.folder / name for name in ("files", "cut", "log"))
    if not path.exists():
        alone(False, make_files, files, options.events)
        start = time.perf_counter()
        alone(True, build, files, cut, path, options.events)
        elapsed = time.perf_counter() - start
        print(
            f"{'build':20s}{elapsed:9.1f} s{options.events / elapsed:14,.0f} events/s"
        )
        for folder in (files, cut):
            shutil.rmtree(folder)
    alone(not options.in_memory, work, path, options.rows, options.in_memory)


if __name__ == "__main__":
    main()
