"""Does a network, alone or in a hybrid, predict better than tuned boosted trees?

One command fits everything on every task of real customers: LightGBM on window
aggregates, tuned on training rows forward in time; the network with its defaults; and
the hybrid of both. Predictions of the test rows are stored in a file for each task and
seed, so an interrupted command continues where it was. The table has means over seeds
and their spread, and bootstrap intervals of the differences over customers.

``--part hour`` has every task with 1,000 customers and two seeds; ``--part all`` (the
default) has all customers and five seeds, which takes a night. Both keep their files.
``--tasks``, ``--seeds`` and ``--customers`` overrule a part.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from models import lstm
from scores import LARGER_IS_BETTER, MAIN, score
from tasks import TASKS, RealTask
from tuned import lightgbm, tune

from sklearn_seqcrm.ensemble import make_hybrid
from sklearn_seqcrm.model_selection import CutoffSplit

HERE = Path(__file__).parent
REAL = [name for name, task in TASKS.items() if isinstance(task, RealTask)]
MODELS = ("boosting", "lstm", "hybrid")
N_DRAWS = 500
# Customers at most, and seeds.
PARTS = {"hour": (1000, [0, 1]), "all": (None, [0, 1, 2, 3, 4])}


def main():
    """Fit what has no result yet, and write the table."""
    options = read_options()
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.tasks:
        missing = [s for s in options.seeds if not file_of(options, name, s).exists()]
        if missing:
            fit_seeds(options, name, missing)
    write_table(options)


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--tasks", nargs="+", choices=REAL, default=REAL)
    parser.add_argument("--part", choices=PARTS, default="all")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--customers", type=int, help="a random choice of so many")
    parser.add_argument("--networks", type=int, help="in an ensemble; their default")
    parser.add_argument(
        "--weight",
        choices=["forward", "customers"],
        default="customers",
        help="rows that the weight of the hybrid is learned on: those of some "
        "customers, which is the default of hybrids, or of the latest cutoff",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=HERE / "results_predictions")
    parser.add_argument("--table", type=Path, help="where to write it, in Markdown")
    options = parser.parse_args()
    customers, seeds = PARTS[options.part]
    options.customers = options.customers or customers
    options.seeds = options.seeds or seeds
    return options


def file_of(options, name, seed):
    """Return the path of the predictions of a task and a seed."""
    of = [name, options.split, options.customers or "all", seed]
    of += [f"{options.networks}networks"] if options.networks else []
    of += ["forward"] if options.weight == "forward" else []
    return options.folder / f"{'-'.join(map(str, of))}.npz"


def fit_seeds(options, name, seeds):
    """Fit the hybrid of a task with each seed, and store all predictions.

    LightGBM is tuned once; its seeds draw rows and columns.
    """
    task = TASKS[name]
    ((X, y, X_judged, y_judged),) = task.folds(options.split, None, options)
    start = time.process_time()
    settings = settings_of(options, task, name, X, y)
    seconds = {"tune": time.process_time() - start}
    for seed in seeds:
        start = time.process_time()
        network = lstm(task, seed)
        if options.networks:
            network.set_params(estimator__n_networks=options.networks)
        model = make_hybrid(
            network,
            lightgbm(task, seed, settings),
            cv=CutoffSplit(1) if options.weight == "forward" else None,
            random_state=seed,
        ).fit(X, y)
        seconds["fit"] = time.process_time() - start
        # Its parts were fitted again on all rows, so they are the single models.
        parts = {"boosting": model.boosting_, "lstm": model.lstm_, "hybrid": model}
        predicted = {part: output(task, parts[part], X_judged) for part in MODELS}
        np.savez(
            file_of(options, name, seed),
            y=y_judged,
            customer=X_judged.iloc[:, 0].to_numpy(),
            weight=model.weights_["lstm"],
            seconds=seconds["fit"],
            **predicted,
        )
        scores = {
            part: round(score(MAIN[task.kind], y_judged, one), 4)
            for part, one in predicted.items()
        }
        print(name, seed, len(X), model.weights_, seconds, scores, flush=True)


def settings_of(options, task, name, X, y):
    """Return the tuned settings of LightGBM, which are stored as well."""
    path = options.folder / f"{name}-{options.split}-{options.customers or 'all'}.json"
    if not path.exists():
        path.write_text(json.dumps(tune(task, X, y)))
    return json.loads(path.read_text())


def output(task, model, X):
    """Return what is scored."""
    return model.predict_proba(X)[:, 1] if task.kind == "class" else model.predict(X)


def write_table(options):
    """Print a row for each task, and write the table if a file is given."""
    lines = [
        "| task | test rows | score | aggregates + tuned LightGBM | LSTM | hybrid | "
        "LSTM ahead | hybrid ahead |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in options.tasks:
        paths = [file_of(options, name, seed) for seed in options.seeds]
        runs = [dict(np.load(path, allow_pickle=True)) for path in paths]
        kind = TASKS[name].kind
        names = [MAIN[kind]] + ["rmse"] * (kind == "count")
        lines += [row_of(name, metric, runs) for metric in names]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.table:
        options.table.write_text(text, encoding="utf-8")


def row_of(name, metric, runs):
    """Return a line: means ± spread over seeds, and intervals over customers."""
    y = runs[0]["y"]
    scores = {
        model: np.array([score(metric, y, run[model]) for run in runs])
        for model in MODELS
    }
    digits = 4 if metric in LARGER_IS_BETTER | {"deviance"} else 2
    cells = [
        f"{scores[model].mean():.{digits}f} ± {scores[model].std(ddof=1):.{digits}f}"
        for model in MODELS
    ]
    ahead = intervals(metric, runs)
    return f"| {name} | {len(y):,} | {metric} | {' | '.join(cells + ahead)} |"


def intervals(metric, runs):
    """Return the improvements over boosting with 95% intervals.

    Customers are drawn with all their rows; a draw's difference is a mean over seeds.
    Of scores with a unit it is in percent of boosting's.
    """
    y = runs[0]["y"]
    _, codes = np.unique(runs[0]["customer"], return_inverse=True)
    n = codes.max() + 1
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), N_DRAWS)
    of_all = differences(metric, y, runs, None)
    of_draws = np.array([differences(metric, y, runs, draw[codes]) for draw in draws])
    low, high = np.quantile(of_draws, [0.025, 0.975], axis=0)
    form = "{:+.4f} ({:+.4f} to {:+.4f})"
    if metric not in LARGER_IS_BETTER:
        form = "{:+.1%} ({:+.1%} to {:+.1%})"
    return [form.format(*one) for one in zip(of_all, low, high, strict=True)]


def differences(metric, y, runs, weight):
    """Return the mean improvements over boosting."""
    of = {
        model: np.array([score(metric, y, run[model], weight) for run in runs])
        for model in MODELS
    }
    if metric in LARGER_IS_BETTER:
        return [np.mean(of[model] - of["boosting"]) for model in MODELS[1:]]
    return [np.mean(1 - of[model] / of["boosting"]) for model in MODELS[1:]]


if __name__ == "__main__":
    main()
