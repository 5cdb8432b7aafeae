"""How strongly should the default trees of a hybrid with a Poisson loss be regularised?

``python benchmarks/quality/dispersions.py --data FOLDER`` fits them on window
aggregates with an ``l2_regularization`` of 0, 1, 3 and 10 times the dispersion of the
target, its variance divided by its mean. It prints scores on validation rows, means of
two seeds, with the largest prediction divided by the largest target. Negative sums
count as 0. Tasks are those of `leaves.py` with counts and sums.
"""

import argparse
import os

import pandas as pd
from leaves import CELLS, PLAYERS, SEEDS, scores_of, trees
from tasks import TASKS

from sklearn_seqcrm.feature_extraction import HistoryAggregator

DISPERSIONS = (0, 1, 3, 10)


def main():
    """Print a line for each task and regularisation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--tasks", nargs="+", help="prefixes of their names")
    options = parser.parse_args()
    for name, customers in [*CELLS, ("cdnow_spend_90", 0)]:
        task = (TASKS | PLAYERS)[name]
        chosen = not options.tasks or name.startswith(tuple(options.tasks))
        if chosen and task.kind != "class":
            options.customers = customers or None
            run(name, task, options)


def run(name, task, options):
    """Fit the trees of one task, and print their scores."""
    ((X, y, X_judged, y_judged),) = task.folds("validation", None, options)
    features = HistoryAggregator()
    table, judged = features.fit_transform(X), features.transform(X_judged)
    y, y_judged = y.clip(lower=0), y_judged.clip(lower=0)
    dispersion = y.var() / y.mean()
    print(f"{name}, {len(X):,} rows, dispersion {dispersion:.3g}", flush=True)
    for times in DISPERSIONS:
        scores = []
        for seed in SEEDS:
            model = trees("count", "auto", seed)
            model.set_params(l2_regularization=times * dispersion).fit(table, y)
            largest = model.predict(judged).max() / y_judged.max()
            scores.append(scores_of(model, judged, y_judged) | {"largest": largest})
        means = pd.DataFrame(scores).mean().round(4).to_dict()
        print(f"  {times}: {means}", flush=True)


if __name__ == "__main__":
    main()
