"""Training by 1, 2 and 4 processes of this machine, one thread each.

Tables: seconds of an epoch, by the clock and of the busiest rank's processor; the
largest difference of the loss of a step from one process on the same batches; and the
AUC on other customers, of one process with several seeds and of four ranks.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from measure import lognormal_lengths, make_log
from sklearn.metrics import roc_auc_score

from sklearn_seqcrm._recurrent.training import HistoryNet
from sklearn_seqcrm.datasets import make_customer_journeys
from sklearn_seqcrm.distributed import fit_on_ranks
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline


def rows_to_time(n_customers, n_cutoffs):
    """Return histories of log-normal lengths with several cutoffs, and labels."""
    rng = np.random.default_rng(0)
    log = make_log(lognormal_lengths(n_customers, rng), rng)
    X = log.snapshots(np.linspace(1001, 1001 - 100 * (n_cutoffs - 1), n_cutoffs))
    return X[["history"]], np.arange(len(X)) % 2


def rows_to_score(n_customers, seed):
    """Return simulated journeys, and whether each customer ordered."""
    journeys = make_customer_journeys(n_customers, random_state=seed)
    log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    return log.attach(journeys.rows, cutoff="cutoff"), journeys.target


def loader(make, folder=None):
    """Return a function that reads the rows of a rank, and records its steps."""

    def load(rank, n_ranks):
        if folder is not None:
            record(Path(folder), rank)
        X, y = make()
        customers = X["history"].array.customers
        codes = pd.factorize(np.asarray(customers))[0]
        # Whole blocks of customers: the order of rows is that of one process.
        mine = codes * n_ranks // (codes.max() + 1) == rank
        return X[mine], y[mine]

    return load


def record(folder, rank):
    """Write seconds of each training epoch, and the loss of each step, of a rank."""
    run, step = HistoryNet.run_single_epoch, HistoryNet.train_step_single

    def timed(self, iterator, *args, **kwargs):
        clock, processor = time.perf_counter(), time.process_time()
        run(self, iterator, *args, **kwargs)
        took = time.perf_counter() - clock, time.process_time() - processor
        if kwargs["training"]:
            with (folder / f"epochs-{rank}").open("a") as file:
                file.write(f"{took[0]} {took[1]}\n")

    def kept(self, *args, **kwargs):
        found = step(self, *args, **kwargs)
        with (folder / f"losses-{rank}").open("a") as file:
            file.write(f"{float(found['loss'])!r}\n")
        return found

    HistoryNet.run_single_epoch, HistoryNet.train_step_single = timed, kept


def fit(make, n_ranks, folder=None, **parameters):
    """Fit by several ranks; the encoder has seen all rows."""
    model = make_history_pipeline(LSTMClassifier(n_networks=1, **parameters))
    model[:-1].fit(make()[0])
    load = loader(make, folder)
    return fit_on_ranks(model, load, n_ranks=n_ranks, n_threads=1)


def recorded(make, n_ranks, **parameters):
    """Return seconds of each rank and epoch (ranks, epochs, 2), and losses of steps."""
    with tempfile.TemporaryDirectory() as folder:
        fit(make, n_ranks, folder, **parameters)
        ranks = [np.loadtxt(Path(folder) / f"epochs-{i}") for i in range(n_ranks)]
        return np.array(ranks), np.loadtxt(Path(folder) / "losses-0")


def time_epochs(options):
    """Print seconds of an epoch with 1, 2 and 4 ranks, which are run in turn."""
    # The first epoch of a process is left out.
    n_epochs = options.epochs + 1
    for n_cutoffs, batch in ((1, "auto"), (8, "auto"), (1, 1024)):

        def make(n_cutoffs=n_cutoffs):
            return rows_to_time(options.customers, n_cutoffs)

        seconds, n_steps = {n: [] for n in options.ranks}, {}
        for _ in range(options.turns):
            for n, found in seconds.items():
                each, losses = recorded(
                    make,
                    n,
                    max_epochs=n_epochs,
                    batch_size=batch,
                    early_stopping=False,
                    random_state=0,
                )
                # An epoch is over when the slowest rank is.
                found.append(np.median(each[:, 1:].max(axis=0), axis=0))
                n_steps[n] = len(losses) // n_epochs
        medians = {n: np.median(found, axis=0) for n, found in seconds.items()}
        table = [
            {
                "cutoffs": n_cutoffs,
                "batch_size": batch,
                "ranks": n,
                "steps": n_steps[n],
                "seconds": clock,
                "processor": processor,
                "faster": medians[1][0] / clock,
                "by processor": medians[1][1] / processor,
            }
            for n, (clock, processor) in medians.items()
        ]
        print(pd.DataFrame(table).round(2).to_string(index=False), flush=True)


def compare_losses(options):
    """Print how far losses by step are from those of one process."""

    def make():
        return rows_to_score(1000, 0)

    parameters = {"max_epochs": 10, "dropout": 0.0, "random_state": 0}
    _, alone = recorded(make, 1, **parameters)
    for n in options.ranks[1:]:
        _, losses = recorded(make, n, **parameters)
        print(f"{n} ranks, {len(losses)} steps: {np.abs(losses - alone).max():.1e}")


def compare_scores(options):
    """Print the AUC on other customers, by seed."""
    X, y = rows_to_score(5000, 1)
    table = {}
    for n in (1, 4):

        def make():
            return rows_to_score(options.customers_to_score, 0)

        models = [fit(make, n, random_state=seed) for seed in range(options.seeds)]
        table[f"{n} ranks"] = [
            roc_auc_score(y, model.predict_proba(X)[:, 1]) for model in models
        ]
    print(pd.DataFrame(table).round(4).to_string(index=False))


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    # Automatic batches of two ranks are twice as large from 16,384 rows on.
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--customers-to-score", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--tables", nargs="+", default=["losses", "scores", "time"])
    options = parser.parse_args()
    print(f"{os.cpu_count()} CPUs")
    tables = {"losses": compare_losses, "scores": compare_scores, "time": time_epochs}
    for name in options.tables:
        print(f"\n{name}")
        tables[name](options)


if __name__ == "__main__":
    main()
