"""How many labels does a network need that starts from an event model?

An event model is trained on all histories without labels, up to the first test cutoff.
Classifiers are trained on a few labelled rows, with and without the recurrent network
of the event model. Each seed draws new rows for each number of labels, and both
classifiers get the same rows. The baseline is boosted trees on recency, frequency and
monetary value.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

sys.path.append(str(Path(__file__).parent / "quality"))
from tasks import TASKS

HERE = Path(__file__).parent
N_SIMULATED, N_TEST = 6000, 2000
_N_PRODUCTS, _N_EVENTS = 12, 20
_COLORS = {
    "from event model": "tab:blue",
    "network": "tab:orange",
    "boosting": "0.5",
}


def main():
    """Run what has no result yet, and write the table."""
    options = read_options()
    torch.set_num_threads(options.threads)
    done = read_runs(options.results)
    known = {(run["task"], run["n_labels"], run["seed"]) for run in done}
    for task in options.tasks:
        missing = [
            (n, seed)
            for seed in options.seeds
            for n in options.labels
            if (task, n, seed) not in known
        ]
        if missing:
            run_task(options, task, missing)
    runs = read_runs(options.results)
    print(table_of(runs))
    if options.picture:
        draw(runs, options.picture)


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--tasks", nargs="+", choices=ROWS, default=list(ROWS))
    labels = [100, 250, 500, 1000, 4000]
    parser.add_argument("--labels", nargs="+", type=int, default=labels)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--customers", type=int, help="a random choice of so many")
    parser.add_argument("--epochs", type=int, default=12, help="of the event model")
    parser.add_argument("--threads", type=int, default=1)
    default = HERE / "quality" / "results_pretraining.jsonl"
    parser.add_argument("--results", type=Path, default=default)
    parser.add_argument("--picture", type=Path, help="where to draw the curves")
    return parser.parse_args()


def run_task(options, task, missing):
    """Score all models for some numbers of labels and seeds, and store the scores."""
    X, y, X_test, y_test, unlabelled = ROWS[task](options)
    event_model = LSTMEventModel(max_epochs=options.epochs, random_state=0)
    event_model.fit(unlabelled)
    n_epochs = event_model.n_iter_
    print(f"{task}: {len(X):,} rows, {n_epochs} epochs of the event model", flush=True)
    for n, seed in missing:
        chosen = np.random.default_rng(seed).permutation(len(X))[:n]
        run = {"task": task, "n_labels": n, "seed": seed}
        for name, model in models(event_model, seed).items():
            model.fit(X.iloc[chosen], y[chosen])
            score = roc_auc_score(y_test, model.predict_proba(X_test)[:, 1])
            run[name] = round(float(score), 4)
        print(run, flush=True)
        with options.results.open("a") as file:
            file.write(json.dumps(run) + "\n")


def models(event_model, seed):
    """Return the models of the comparison."""
    boosting = HistGradientBoostingClassifier(
        categorical_features="from_dtype", random_state=seed
    )
    return {
        "network": make_history_pipeline(
            LSTMClassifier(n_networks=1, random_state=seed)
        ),
        "from event model": make_history_pipeline(
            LSTMClassifier(n_networks=1, pretrained=event_model, random_state=seed)
        ),
        "boosting": make_pipeline(RFMFeatures(amount="spend"), boosting),
    }


def journey(options):
    """Do households buy within 14 days? See ``quality/tasks.py``."""
    ((X, y, X_test, y_test),) = TASKS["journey_active_14"].folds("test", None, options)
    log = X_test["history"].array.log
    unlabelled = log.snapshots([X_test["cutoff"].min()])
    return X, y, X_test, y_test, unlabelled


def simulated(options):
    """Which of two groups is a customer in? Only the order of events differs.

    Each of four groups has an order in which products mostly follow each other. All
    buy all products equally often, at the same pace, and labels follow the groups with
    an error of a fifth. Who learns what comes next has to learn the groups.
    """
    rng = np.random.default_rng(0)
    n = N_SIMULATED
    follows = np.array([rng.permutation(_N_PRODUCTS) for _ in range(4)])
    group = rng.integers(0, 4, n)
    product = np.empty((n, _N_EVENTS), int)
    product[:, 0] = rng.integers(0, _N_PRODUCTS, n)
    for at in range(1, _N_EVENTS):
        as_usual = rng.random(n) < 0.5
        usual = follows[group, product[:, at - 1]]
        product[:, at] = np.where(as_usual, usual, rng.integers(0, _N_PRODUCTS, n))
    day = rng.exponential(7.0, product.shape).cumsum(axis=1)
    events = pd.DataFrame(
        {
            "customer": np.repeat(np.arange(n), _N_EVENTS),
            "day": day.ravel(),
            "product": product.ravel().astype(str),
            "spend": rng.lognormal(3, 0.5, day.size),
        }
    )
    X = EventLog(events, "customer", "day").attach(
        pd.DataFrame({"customer": np.arange(n)}), cutoff=7.0 * _N_EVENTS
    )
    y = (group % 2) ^ (rng.random(n) < 0.2)
    return X[:-N_TEST], y[:-N_TEST], X[-N_TEST:], y[-N_TEST:], X[:-N_TEST]


ROWS = {"journey": journey, "simulated": simulated}


def read_runs(path):
    """Return all runs so far, each a dict."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def table_of(runs):
    """Make a Markdown table of means over seeds, and differences with errors."""
    table = pd.DataFrame(runs).sort_values(["task", "n_labels"])
    lines = [
        "| task | labelled rows | RFM + boosting | network | from event model | gain |",
        "|---|---|---|---|---|---|",
    ]
    for (task, n), part in table.groupby(["task", "n_labels"], sort=False):
        gain = part["from event model"] - part["network"]
        cells = [
            f"{part[name].mean():.3f}"
            for name in ("boosting", "network", "from event model")
        ]
        error = gain.std() / np.sqrt(len(gain))
        cells.append(f"{gain.mean():+.3f} ± {error:.3f}")
        lines.append(f"| {task} | {n:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(runs, path):
    """Plot each seed, and means over seeds, against the number of labels."""
    table = pd.DataFrame(runs)
    tasks = table["task"].unique()
    figure, axes = plt.subplots(
        1, len(tasks), figsize=(4.5 * len(tasks), 3.5), layout="constrained"
    )
    for axis, task in zip(np.atleast_1d(axes), tasks, strict=True):
        part = table[table["task"] == task]
        for name, color in _COLORS.items():
            means = part.groupby("n_labels")[name].mean()
            axis.plot(means.index, means, color=color, label=name)
            axis.plot(part["n_labels"], part[name], ".", color=color, alpha=0.5)
        axis.set_xscale("log")
        axis.set_xticks(means.index, [f"{n:,}" for n in means.index])
        axis.minorticks_off()
        axis.set(title=task, xlabel="labelled rows", ylabel="ROC AUC of the test rows")
    axis.legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
