"""Do networks predict better if the events of a moment are one step?

Sets of lines: invoices of a wholesaler, baskets of groceries, and ratings of films at
the same second. Networks are fitted event by event and moment by moment, with and
without the field of many levels, beside LightGBM on window aggregates that is tuned on
training rows forward in time, and the hybrid of both. Predictions are stored in a file
for each task, model and seed, so an interrupted command continues where it was. The
table has means over seeds, their spread, and bootstrap intervals of differences over
customers.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from scores import score
from tasks import TASKS
from tuned import lightgbm, tune

from sklearn_seqcrm.ensemble import make_hybrid
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

HERE = Path(__file__).parent
LINES = ["retail_lines_90", "journey_lines_14", "ratings_14"]
# Parameters of the encoder, and whether events keep the field of many levels.
NETWORKS = {
    "events": ({"moments": False, "max_categories": 1000}, True),
    "events, no field": ({"moments": False, "max_categories": 1000}, False),
    "moments, 1000 levels": ({"moments": True, "max_categories": 1000}, True),
    "moments": ({"moments": True}, True),
    "moments, no field": ({"moments": True}, False),
}
N_DRAWS = 500


def main():
    """Fit what has no result yet, and write the table."""
    options = read_options()
    torch.set_num_threads(1)
    options.folder.mkdir(exist_ok=True)
    for name in options.tasks:
        for keeps_field in (True, False):
            fit_models(options, name, keeps_field)
    write_table(options)


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--tasks", nargs="+", choices=LINES, default=LINES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--customers", type=int, help="a random choice of so many")
    parser.add_argument("--folder", type=Path, default=HERE / "results_baskets")
    parser.add_argument("--table", type=Path, help="where to write it, in Markdown")
    parser.add_argument("--n-iter", type=int, default=20, help="of the search")
    return parser.parse_args()


def fit_models(options, name, keeps_field):
    """Fit the models with the field of many levels, or those without it."""
    models = [key for key, (_, keeps) in NETWORKS.items() if keeps == keeps_field]
    models += ["boosting", "hybrid"] * keeps_field
    missing = [
        (model, seed)
        for model in models
        for seed in options.seeds
        if not file_of(options, name, model, seed).exists()
    ]
    if not missing:
        return
    task = TASKS[name]
    options.left_out = () if keeps_field else ("product",)
    ((X, y, X_judged, y_judged),) = task.folds(options.split, None, options)
    for model, seed in missing:
        pipeline = make_history_pipeline(LSTMClassifier(random_state=seed))
        if model in NETWORKS:
            for key, value in NETWORKS[model][0].items():
                pipeline.set_params(**{f"encoder__{key}": value})
        else:
            trees = lightgbm(task, seed, settings_of(options, task, name, X, y))
            hybrid = make_hybrid(pipeline, trees, random_state=seed)
            pipeline = trees if model == "boosting" else hybrid
        start = time.process_time()
        pipeline.fit(X, y)
        seconds = time.process_time() - start
        found = pipeline.predict_proba(X_judged)[:, 1]
        np.savez(
            file_of(options, name, model, seed),
            y=y_judged,
            customer=X_judged.iloc[:, 0].to_numpy(),
            predicted=found,
            seconds=seconds,
        )
        print(
            name, model, seed, len(X), round(seconds, 1), score("auc", y_judged, found)
        )


def file_of(options, name, model, seed):
    """Return the path of the predictions of a model with a seed."""
    of = options.customers or "all"
    short = model.replace(", ", "-").replace(" ", "_")
    return options.folder / f"{name}-{options.split}-{of}-{short}-{seed}.npz"


def settings_of(options, task, name, X, y):
    """Return the tuned settings of LightGBM, which are stored as well."""
    path = options.folder / f"{name}-{options.split}-{options.customers or 'all'}.json"
    if not path.exists():
        path.write_text(json.dumps(tune(task, X, y, options.n_iter)))
    return json.loads(path.read_text())


def write_table(options):
    """Print a row for each task and model, and write the table if a file is given."""
    lines = [
        "| task | test rows | model | AUC | mean of all seeds | CPU seconds of a fit | "
        "ahead of events | ahead of tuned LightGBM |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in options.tasks:
        runs = {
            model: [
                dict(np.load(file_of(options, name, model, seed), allow_pickle=True))
                for seed in options.seeds
            ]
            for model in [*NETWORKS, "boosting", "hybrid"]
        }
        lines += [row_of(name, model, runs) for model in runs]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.table:
        options.table.write_text(text, encoding="utf-8")


def row_of(name, model, runs):
    """Return a line of the table."""
    own = runs[model]
    y = own[0]["y"]
    scores = np.array([score("auc", y, run["predicted"]) for run in own])
    together = score("auc", y, np.mean([run["predicted"] for run in own], axis=0))
    seconds = np.mean([run["seconds"] for run in own])
    ahead = [difference(own, runs[other]) for other in ("events", "boosting")]
    spread = scores.std(ddof=1) if len(scores) > 1 else 0.0
    return (
        f"| {name} | {len(y):,} | {model} | {scores.mean():.4f} ± {spread:.4f} | "
        f"{together:.4f} | {seconds:.1f} | {ahead[0]} | {ahead[1]} |"
    )


def difference(runs, others):
    """Return the mean difference of AUC with a 95% interval over customers."""
    if runs is others:
        return ""
    y = runs[0]["y"]
    _, codes = np.unique(runs[0]["customer"], return_inverse=True)
    n = codes.max() + 1
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), N_DRAWS)

    def mean_of(weight):
        pairs = zip(runs, others, strict=True)
        return np.mean(
            [
                score("auc", y, a["predicted"], weight)
                - score("auc", y, b["predicted"], weight)
                for a, b in pairs
            ]
        )

    of_draws = [mean_of(draw[codes]) for draw in draws]
    low, high = np.quantile(of_draws, [0.025, 0.975])
    return f"{mean_of(None):+.4f} ({low:+.4f} to {high:+.4f})"


if __name__ == "__main__":
    main()
