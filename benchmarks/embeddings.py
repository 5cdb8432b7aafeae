"""Whether the states of an event model help boosted trees that have RFM already.

The tasks are those of ``quality/tasks.py``. Event model and trees learn from the same
training rows, whose label windows end before the first test cutoff, and are compared on
the test rows, with intervals for which customers are drawn again.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline, make_union

from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import compare_models
from sklearn_seqcrm.neural_network import LSTMEventModel

sys.path.append(str(Path(__file__).parent / "quality"))
from tasks import TASKS

REPURCHASE = ("cdnow_active_90", "retail_active_90", "journey_active_14")


def main():
    """Compare on every task with every seed, and print the differences."""
    options = read_options()
    torch.set_num_threads(options.threads)
    for task in options.tasks:
        ((X, y, X_test, y_test),) = TASKS[task].folds("test", None, options)
        both, labels = pd.concat([X, X_test]), np.concatenate([y, y_test])
        split = [(np.arange(len(X)), np.arange(len(X), len(both)))]
        for seed in options.seeds:
            found = compare_models(
                models(options, seed), both, labels, cv=split, scoring="roc_auc"
            )
            print(f"{task}, seed {seed}, {len(X):,} and {len(X_test):,} rows")
            print(found.scores.to_string(), found.differences.to_string(), sep="\n")


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=REPURCHASE)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--customers", type=int, default=2500)
    parser.add_argument("--hidden-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def models(options, seed):
    """Boosted trees on RFM, and on RFM and states."""
    event_model = LSTMEventModel(
        hidden_size=options.hidden_size, max_epochs=options.epochs, random_state=seed
    )
    columns = {
        "RFM": RFMFeatures(amount="spend"),
        "RFM + states": make_union(RFMFeatures(amount="spend"), event_model),
    }
    return {
        name: make_pipeline(
            one.set_output(transform="pandas"),
            HistGradientBoostingClassifier(
                categorical_features="from_dtype", random_state=seed
            ),
        )
        for name, one in columns.items()
    }


if __name__ == "__main__":
    main()
