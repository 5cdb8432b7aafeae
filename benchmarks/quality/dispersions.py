"""How strongly should the default trees of a hybrid with a Poisson loss be regularised?

``python benchmarks/quality/dispersions.py --data FOLDER`` fits them on window
aggregates: without `l2_regularization`; with 3 times the dispersion of the target, its
variance divided by its mean; and with 3, 10 and 30 times the mean squared residual of
these trees, divided by the same mean. It prints scores on validation rows, means of
two seeds, with the largest prediction divided by the largest target. Negative sums
count as 0. Tasks are those of `leaves.py` with counts and sums, and others.
"""

import argparse
import os

import numpy as np
import pandas as pd
from leaves import CELLS, PLAYERS, SEEDS, scores_of, trees
from sklearn.base import clone
from tasks import TASKS

from sklearn_seqcrm.feature_extraction import HistoryAggregator

OF_TARGET, OF_RESIDUALS = 3, (3, 10, 30)
OTHERS = [
    ("retail_spend_90", 300),
    ("retail_spend_90", 1000),
    ("journey_spend_14", 300),
    ("cdnow_spend_90", 3000),
    ("cdnow_spend_90", 0),
    ("walmart_items_28", 200),
    ("walmart_items_28", 1000),
    ("walmart_items_28", 0),
]


def main():
    """Print a line for each task and regularisation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--tasks", nargs="+", help="prefixes of their names")
    options = parser.parse_args()
    for name, customers in [*CELLS, *OTHERS]:
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
    found, remaining = {}, []
    for seed in SEEDS:
        model = trees("count", "auto", seed)
        fitted = clone(model).set_params(l2_regularization=OF_TARGET * dispersion)
        residuals = y - fitted.fit(table, y).predict(table)
        remains = (residuals**2).mean() / y.mean()
        remaining.append(remains)
        values = {"0": 0.0, f"{OF_TARGET} of target": OF_TARGET * dispersion}
        values |= {f"{k} of residuals": k * remains for k in OF_RESIDUALS}
        for way, value in values.items():
            model.set_params(l2_regularization=value).fit(table, y)
            largest = model.predict(judged).max() / y_judged.max()
            scores = scores_of(model, judged, y_judged) | {"largest": largest}
            found.setdefault(way, []).append(scores)
    print(f"{name}, {len(X):,} rows, {dispersion:.3g}, {np.mean(remaining):.3g} remain")
    for way, scores in found.items():
        print(f"  {way}: {pd.DataFrame(scores).mean().round(4).to_dict()}", flush=True)


if __name__ == "__main__":
    main()
