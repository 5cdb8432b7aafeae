"""Networks, hybrids and boosted trees with 300 and 1,000 training customers.

Each draw chooses training customers at random, and scores the later rows of all other
customers::

    python benchmarks/quality/few_customers.py --data FOLDER --results FILE

It appends each figure to the results, continues after an interruption, and writes a
table of the means over draws. Differences are paired by draw, with 95% intervals of the
t distribution.
"""

import argparse
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from models import aggregates, lstm, rfm
from scipy.stats import t
from sklearn.base import clone
from sklearn.metrics import log_loss, roc_auc_score
from tasks import TASKS

from sklearn_seqcrm.ensemble import make_hybrid


def hybrid(task, seed):
    """Make the hybrid of a network and small trees, both by default."""
    return make_hybrid(lstm(task, seed), random_state=seed)


def small_trees(task, seed):
    """Make the trees of the hybrid alone."""
    return clone(hybrid(task, seed).boosting).set_params(estimator__random_state=seed)


TREES = {"rfm": rfm, "aggregates": aggregates, "small_trees": small_trees}
MODELS = {"lstm": lstm, **TREES, "hybrid": hybrid}
SETS = ("cdnow_active_90", "retail_active_90", "journey_active_14")
SIZES = (300, 1000)


def main():
    """Score what is missing, and write the table."""
    options = read_options()
    torch.set_num_threads(1)
    before = read_results(options.results)
    done = {(run["task"], run["size"], run["draw"], run["model"]) for run in before}
    for name in options.tasks:
        data = SimpleNamespace(data=options.data, customers=None)
        [fold] = TASKS[name].folds("test", 0, data)
        for size in options.sizes:
            for draw in range(options.draws):
                missing = [m for m in MODELS if (name, size, draw, m) not in done]
                for run in scores(TASKS[name], fold, size, draw, missing):
                    with open(options.results, "a", encoding="utf-8") as file:
                        file.write(json.dumps({"task": name, **run}) + "\n")
                    print(name, run, flush=True)
    if runs := read_results(options.results):
        print(table_of(pd.DataFrame(runs)))


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=SETS, choices=TASKS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--draws", type=int, default=5)
    return parser.parse_args()


def read_results(path):
    """Return the scores so far, each a dict."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def scores(task, fold, size, draw, models):
    """Fit models on the rows of some customers, and yield a score of each."""
    X_train, y_train, X_test, y_test = fold
    key = X_train.columns[0]
    customers = np.sort(X_train[key].unique())
    chosen = np.random.default_rng(draw).choice(customers, size, replace=False)
    is_train = X_train[key].isin(chosen).to_numpy()
    is_test = ~X_test[key].isin(chosen).to_numpy()
    for name in models:
        model = MODELS[name](task, draw).fit(X_train[is_train], y_train[is_train])
        chances = model.predict_proba(X_test[is_test])
        yield {
            "size": size,
            "draw": draw,
            "model": name,
            "auc": roc_auc_score(y_test[is_test], chances[:, 1]),
            "log_loss": log_loss(y_test[is_test], chances),
        }


def table_of(runs):
    """Return a table in Markdown, a row for each set and size."""
    lines = [
        "| set | customers | "
        + " | ".join(MODELS)
        + " | hybrid - best trees | hybrid - network | network - best trees |",
        "|---|---|" + "---|" * (len(MODELS) + 3),
    ]
    for (name, size), part in runs.groupby(["task", "size"], sort=False):
        auc = part.pivot(index="draw", columns="model", values="auc").dropna()
        mean = auc.mean()
        trees = auc[mean[[*TREES]].idxmax()]
        cells = [f"{mean[model]:.4f}" for model in MODELS]
        pairs = [
            auc["hybrid"] - trees,
            auc["hybrid"] - auc["lstm"],
            auc["lstm"] - trees,
        ]
        cells += [interval_of(pair.to_numpy()) for pair in pairs]
        lines.append(f"| {name} | {size:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def interval_of(differences):
    """Return mean and 95% interval of differences between draws, as text."""
    mean, n = differences.mean(), len(differences)
    half = t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n) if n > 1 else 0
    return f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f})"


if __name__ == "__main__":
    main()
