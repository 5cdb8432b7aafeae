"""AUC and core-seconds against the number of training customers.

Each run draws training customers, fits one model to their rows and scores a fixed test
set: other customers, at later cutoffs; at most 20,000 of them. Small samples are drawn
several times. A run adds a line to the results, so an interrupted command continues
where it was.

Models: the network with its defaults; LightGBM on `HistoryAggregator`, whose number of
trees and of leaves are chosen on a tenth of the training customers; boosted trees on
`RFMFeatures` with the defaults of scikit-learn. Core-seconds are the processor time of
the whole fit, with encoding and the choice of settings. Memory is the peak of resident
memory during the fit, beyond that of the process before it.

Tasks: ``simulated``, `make_customer_journeys`, whose order of events matters and whose
true probabilities are known; and the tasks of ``benchmarks/quality``.

    python benchmarks/learning_curves.py --tasks simulated cdnow_active_90 --data FOLDER
    python benchmarks/learning_curves.py --report --picture curves.png
"""

import argparse
import json
import os
import sys
import time
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from lightgbm import LGBMClassifier, early_stopping
from measure import peak_memory
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import make_customer_journeys
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

HERE = Path(__file__).parent
SIZES = [300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000]
# Draws of samples of up to so many customers.
DRAWS = {1_000: 5, 3_000: 3, 10_000: 2}
MOST_TEST_CUSTOMERS = 20_000
# Simulated customers are made, and read into logs, in blocks of this size.
BLOCK = 100_000


def main():
    """Run the chosen runs that have no result yet, or print the tables."""
    options = read_options()
    if options.report:
        report(pd.DataFrame(read_runs(options.results)), options.picture)
        return
    torch.set_num_threads(1)
    done = {key(run) for run in read_runs(options.results)}
    for task in options.tasks:
        source = Simulated() if task == "simulated" else Real(task, options.data)
        for n in source.sizes(options.sizes):
            for draw in range(n_draws(n)):
                facts = {"task": task, "customers": n, "draw": draw}
                wanted = [facts | {"model": model} for model in options.models]
                wanted = [run for run in wanted if key(run) not in done]
                training = source.training(n, draw) if wanted else None
                for run in wanted:
                    add_run(options.results, run | measure(source, training, run))


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--tasks", nargs="+", default=["simulated"])
    parser.add_argument("--models", nargs="+", choices=FITS, default=list(FITS))
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--results", type=Path, default=HERE / "learning_curves.jsonl")
    parser.add_argument("--report", action="store_true", help="print the tables only")
    parser.add_argument("--picture", help="file of the figure, with --report")
    return parser.parse_args()


def n_draws(n):
    """Return how many samples of n customers are drawn."""
    return next((draws for most, draws in DRAWS.items() if n <= most), 1)


class Simulated:
    """Simulated journeys, with a cutoff in 2024 for each customer.

    Training customers have cutoffs until June, so that their horizons end before the
    first cutoff of the test customers, in October.
    """

    amount = "amount"
    most_training, first_test = pd.Timestamp("2024-06-30"), pd.Timestamp("2024-10-01")

    def __init__(self):
        X, y, probability = self._block(0)
        later = (X["cutoff"] >= self.first_test).to_numpy()
        later = later & (np.cumsum(later) <= MOST_TEST_CUSTOMERS)
        self.test = X[later], y[later]
        print(
            "AUC of the true probability", roc_auc_score(y[later], probability[later])
        )

    def sizes(self, wanted):
        """Return the sizes that there are."""
        return wanted

    def training(self, n, draw):
        """Return rows and targets of n customers, others in each draw."""
        # Draws of small samples are from one block, larger samples from several.
        frames, targets, found = [], [], 0
        block = 1
        while found < n:
            X, y, _ = self._block(block)
            early = np.flatnonzero(X["cutoff"] <= self.most_training)
            if n < BLOCK // 4:
                early = np.random.default_rng((n, draw)).permutation(early)
            own = np.sort(early[: n - found])
            frames.append(X.iloc[own])
            targets.append(y[own])
            found += len(own)
            block += 1
        # Rows of several logs become rows of one.
        return pd.concat(frames, ignore_index=True), np.concatenate(targets)

    @staticmethod
    @lru_cache(maxsize=2)  # the same block serves all draws of small samples
    def _block(seed):
        """Return rows, targets and true probabilities of a block of customers."""
        data = make_customer_journeys(BLOCK, random_state=seed)
        rows = data.rows.assign(region=data.rows["region"].astype("category"))
        for table in (rows, data.events):
            table["customer_id"] = f"B{seed}-" + table["customer_id"].astype(str)
        log = EventLog(data.events, "customer_id", "timestamp")
        return log.attach(rows, cutoff="cutoff"), data.target, data.probability


class Real:
    """Rows of a task of ``benchmarks/quality``, with test customers of their own."""

    def __init__(self, task, folder):
        sys.path.append(str(HERE / "quality"))
        from tasks import TASKS

        options = SimpleNamespace(data=folder, customers=None)
        self.amount = TASKS[task].amount
        [(X, y, X_judged, y_judged)] = TASKS[task].folds("test", 0, options)
        customers = np.random.default_rng(0).permutation(X["customer_id"].unique())
        n_test = min(MOST_TEST_CUSTOMERS, len(customers) // 5)
        self._customers = customers[n_test:]
        is_test = X_judged["customer_id"].isin(customers[:n_test]).to_numpy()
        self.test = X_judged[is_test], np.asarray(y_judged)[is_test]
        self._rows = X, y

    def sizes(self, wanted):
        """Return the sizes that there are, and the number of all customers."""
        n = len(self._customers)
        return [one for one in wanted if one < 0.9 * n] + [n]

    def training(self, n, draw):
        """Return rows and targets of n customers, others in each draw."""
        X, y = self._rows
        drawn = np.random.default_rng((n, draw)).permutation(self._customers)[:n]
        own = X["customer_id"].isin(drawn).to_numpy()
        return X[own], y[own]


def measure(source, training, run):
    """Fit a model, and return its scores and costs."""
    X, y = training
    start, clock = time.process_time(), time.perf_counter()
    memory, model = peak_memory(
        lambda: FITS[run["model"]](X, y, source.amount, run["draw"])
    )
    seconds, wall = time.process_time() - start, time.perf_counter() - clock
    X_test, y_test = source.test
    probability = model.predict_proba(X_test)[:, 1]
    return {
        "n_rows": len(X),
        "n_events": int(events_seen(X)),
        "n_positive": int(np.sum(y)),
        "n_test": len(X_test),
        "auc": roc_auc_score(y_test, probability),
        "log_loss": log_loss(y_test, probability),
        "core_seconds": seconds,
        "seconds": wall,
        "megabytes": memory / 2**20,
    }


def events_seen(X):
    """Return the number of events of the longest history of each customer."""
    lengths = pd.Series(X["history"].array.lengths, index=X.index)
    return lengths.groupby(X["customer_id"]).max().sum()


def network(X, y, amount, seed):
    """Fit the network with its defaults, but a single one at all sizes."""
    model = LSTMClassifier(n_networks=1, random_state=seed)
    return make_history_pipeline(model).fit(X, y)


def rfm(X, y, amount, seed):
    """Fit boosted trees on recency, frequency, monetary value and tenure."""
    trees = HistGradientBoostingClassifier(
        categorical_features="from_dtype", random_state=seed
    )
    return make_pipeline(RFMFeatures(amount=amount), trees).fit(X, y)


LEAVES = (7, 15, 31, 63)
MOST_TREES = 2000


def lightgbm(X, y, amount, seed):
    """Fit LightGBM on window aggregates, with early stopping for each size of trees."""
    customers = X["customer_id"].to_numpy()
    unique = np.random.default_rng(seed).permutation(pd.unique(customers))
    held = np.isin(customers, unique[: max(len(unique) // 10, 1)])
    aggregator = HistoryAggregator()
    features = aggregator.fit_transform(X, y)
    best, chosen = np.inf, None
    for n_leaves in LEAVES:
        trees = new_trees(seed, n_leaves, MOST_TREES).fit(
            features[~held],
            np.asarray(y)[~held],
            eval_set=[(features[held], np.asarray(y)[held])],
            callbacks=[early_stopping(50, verbose=False)],
        )
        if trees.best_score_["valid_0"]["binary_logloss"] < best:
            best = trees.best_score_["valid_0"]["binary_logloss"]
            chosen = n_leaves, max(trees.best_iteration_, 1)
    trees = new_trees(seed, *chosen).fit(features, y)
    return make_pipeline(aggregator, trees)


def new_trees(seed, n_leaves, n_trees):
    """Make a classifier of LightGBM."""
    return LGBMClassifier(
        n_estimators=n_trees,
        num_leaves=n_leaves,
        learning_rate=0.05,
        colsample_bytree=0.5,
        subsample=0.7,
        subsample_freq=1,
        min_child_samples=30,
        reg_lambda=1.0,
        random_state=seed,
        n_jobs=1,
        verbose=-1,
    )


FITS = {"rfm": rfm, "lightgbm": lightgbm, "network": network}


def key(run):
    """Return the key of a run."""
    return tuple(run[name] for name in ("task", "customers", "draw", "model"))


def read_runs(path):
    """Return all runs so far, each a dict."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def add_run(path, run):
    """Print a run, and add it to the results."""
    print(*(f"{name}={value}" for name, value in run.items()), flush=True)
    with path.open("a") as file:
        file.write(json.dumps(run) + "\n")


NAMES = {
    "network": "network",
    "lightgbm": "LightGBM, aggregates",
    "rfm": "boosted trees, RFM",
}


def report(runs, picture):
    """Print a table in Markdown for each task, and draw the figure."""
    for task, own in runs.groupby("task", sort=False):
        print(f"`{task}`:\n")
        names = " | ".join(NAMES.values())
        print(
            f"| training customers | events | {names} |",
            "|---|---|---|---|---|",
            sep="\n",
        )
        for n, same in own.groupby("customers"):
            cells = [cell(same[same["model"] == model]) for model in NAMES]
            events = f"{same['n_events'].mean():,.0f}"
            print(f"| {n:,} | {events} |", " | ".join(cells), "|")
        print()
    if picture:
        draw(runs, picture)


def cell(runs):
    """Return the mean AUC, its standard deviation, core-seconds and megabytes."""
    if not len(runs):
        return ""
    scores = [runs["auc"].mean()] + [runs["auc"].std()] * (len(runs) > 1)
    return (
        " ± ".join(f"{score:.4f}"[1:] for score in scores)
        + f", {runs['core_seconds'].mean():,.1f} s"
        + f", {runs['megabytes'].clip(lower=0).mean():,.0f} MB"
    )


def draw(runs, path):
    """Draw AUC and core-seconds against the number of customers."""
    import matplotlib.pyplot as plt

    tasks = list(runs["task"].unique())
    figure, axes = plt.subplots(
        2,
        len(tasks),
        figsize=(4 * len(tasks), 5.5),
        layout="constrained",
        squeeze=False,
    )
    for (upper, lower), task in zip(axes.T, tasks, strict=True):
        own = runs[runs["task"] == task]
        for model, label in NAMES.items():
            means = (
                own[own["model"] == model].groupby("customers").mean(numeric_only=True)
            )
            upper.plot(means.index, means["auc"], marker="o", label=label)
            lower.plot(means.index, means["core_seconds"] / 3600, marker="o")
        upper.set(title=task, xscale="log")
        lower.set(xscale="log", yscale="log", xlabel="training customers")
    axes[0, 0].set_ylabel("AUC")
    axes[1, 0].set_ylabel("core-hours")
    axes[0, 0].legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
