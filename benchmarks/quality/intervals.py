"""How wide are conformal intervals with scikit-learn's trees, and with the default?

``python benchmarks/quality/intervals.py --data FOLDER`` fits `ConformalRegressor` and
`ConformalClassifier` on the tasks of `tasks.py` with both, and prints the mean width of
intervals, or the mean number of classes in a set, and the coverage of validation rows:
means of three seeds, for random draws of 300 and 1,000 customers and for all.
"""

import argparse
import os

import numpy as np
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.pipeline import make_pipeline
from tasks import TASKS

from sklearn_seqcrm.calibration import ConformalClassifier, ConformalRegressor
from sklearn_seqcrm.feature_extraction import HistoryAggregator

NAMES = (
    "retail_count_90",
    "cdnow_count_90",
    "journey_count_14",
    "journey_spend_14",
    "retail_active_90",
    "retail_lines_90",
    "journey_active_14",
)
CUSTOMERS = (300, 1000, None)  # None: all
SEEDS = (0, 1, 2)


def main():
    """Print a line for each task, number of customers and kind of trees."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--tasks", nargs="+", choices=NAMES, default=NAMES)
    options = parser.parse_args()
    for name in options.tasks:
        for options.customers in CUSTOMERS:
            run(name, options)


def run(name, options):
    """Fit both kinds of trees with each seed, and print the means."""
    task = TASKS[name]
    ((X, y, X_judged, y_judged),) = task.folds("validation", None, options)
    is_class = task.kind == "class"
    conformal = ConformalClassifier if is_class else ConformalRegressor
    large = (
        HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
    )
    for label, trees in (
        ("scikit-learn's", make_pipeline(HistoryAggregator(), large())),
        ("the default", None),
    ):
        found = []
        for seed in SEEDS:
            model = conformal(trees, random_state=seed).fit(X, y)
            found.append(measure(model, X_judged, np.asarray(y_judged)))
        size, coverage = np.mean(found, axis=0)
        print(
            f"{name}, {options.customers or 'all'} customers, {label} trees: "
            f"{size:.4g}, coverage {coverage:.3f}",
            flush=True,
        )


def measure(model, X, y):
    """Return the mean size of intervals or sets, and their coverage."""
    if isinstance(model, ConformalRegressor):
        low, high = model.predict_interval(X).T
        return (high - low).mean(), ((low <= y) & (y <= high)).mean()
    sets = model.predict_set(X)
    own = sets[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    return sets.sum(axis=1).mean(), own.mean()


if __name__ == "__main__":
    main()
