"""Do the states of an event model help boosted trees that have RFM already?

The tasks are those of ``quality/tasks.py``. Event model and trees are trained on the
same rows, whose label windows end before the first test cutoff, and compared on the
test rows, with bootstrap intervals over customers.

The alternative to the states at the last event is a prediction at the cutoff: the
probability of an event within the horizon of the task. ``--trees small`` has trees that
many columns mislead less. ``--split validation`` evaluates on the cutoffs before those
of the test, to choose settings.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline, make_union

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import compare_models

sys.path.append(str(Path(__file__).parent / "quality"))
from tasks import TASKS

REPURCHASE = ("cdnow_active_90", "retail_active_90", "journey_active_14")
TREES = {
    "default": {},
    "small": {
        "learning_rate": 0.05,
        "max_leaf_nodes": 15,
        "min_samples_leaf": 100,
        "max_features": 0.3,
        "l2_regularization": 10.0,
    },
}


def main():
    """Compare on every task with every seed, and print the differences."""
    options = read_options()
    torch.set_num_threads(options.threads)
    for task in options.tasks:
        ((X, y, X_test, y_test),) = TASKS[task].folds(options.split, None, options)
        both, labels = pd.concat([X, X_test]), np.concatenate([y, y_test])
        split = [(np.arange(len(X)), np.arange(len(X), len(both)))]
        for seed in options.seeds:
            event_model = LSTMEventModel(
                hidden_size=options.hidden_size,
                max_epochs=options.epochs,
                random_state=seed,
            ).fit(X)
            print(f"{task}, seed {seed}, {len(X):,} and {len(X_test):,} rows")
            for trees in options.trees:
                found = compare_models(
                    models(event_model, TASKS[task].horizon, trees, seed),
                    both,
                    labels,
                    cv=split,
                    scoring="roc_auc",
                )
                print(f"{trees} trees", found.scores.to_string(), sep="\n")
                print(found.differences.to_string(), flush=True)


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=REPURCHASE)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--customers", type=int, help="so many of them; all")
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--trees", nargs="+", choices=TREES, default=["default"])
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


class Chance(TransformerMixin, BaseEstimator):
    """Probability of an event within a horizon, by a fitted event model."""

    def __init__(self, event_model, horizon):
        self.event_model = event_model
        self.horizon = horizon

    def fit(self, X, y=None):
        """Do nothing: the event model is fitted."""
        return self

    def transform(self, X):
        """Return one column of probabilities."""
        curves = self.event_model.predict_survival_function(X)
        days = pd.Timedelta(self.horizon) / pd.Timedelta("1D")
        return pd.DataFrame({"chance": [1 - curve(days) for curve in curves]}, X.index)

    def get_feature_names_out(self, input_features=None):
        """Return the name of the column."""
        return np.array(["chance"], dtype=object)

    def __sklearn_is_fitted__(self):
        return True


def models(event_model, horizon, trees, seed):
    """Make boosted trees on RFM, also with states and with the probability."""
    rfm, states = RFMFeatures(amount="spend"), FrozenEstimator(event_model)
    chance = Chance(states, horizon)
    columns = {
        "RFM": rfm,
        "RFM + states": make_union(rfm, states),
        "RFM + chance": make_union(rfm, chance),
        "RFM + states + chance": make_union(rfm, states, chance),
    }
    return {
        name: make_pipeline(
            one.set_output(transform="pandas"),
            HistGradientBoostingClassifier(
                categorical_features="from_dtype", random_state=seed, **TREES[trees]
            ),
        )
        for name, one in columns.items()
    }


if __name__ == "__main__":
    main()
