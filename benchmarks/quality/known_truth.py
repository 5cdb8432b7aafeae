"""Networks, hybrids and boosted trees on simulated tasks whose truth is known.

In each task the label depends on one property of the history, and the AUC of the true
probabilities is the best possible::

    python benchmarks/quality/known_truth.py --results FILE
    python benchmarks/quality/known_truth.py --results FILE --set batch_size=128

It appends each figure to the results, continues after an interruption, and prints a
table of the means over draws.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from sklearn_seqcrm.ensemble import make_hybrid
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

DAYS, START = 360, pd.Timestamp("2024-01-01")
N_LEVELS, N_TEST = 20, 3000
SLOPE = 1.7  # of the log odds over the standardised property


def events_of(n_customers, rng):
    """Simulate events: 26 a customer on average, at random times, of 20 levels."""
    lengths = rng.negative_binomial(2, 2 / 27, n_customers) + 1
    customer = np.repeat(np.arange(n_customers), lengths)
    days = rng.uniform(0, DAYS, len(customer))
    days = days[np.lexsort((days, customer))]
    tastes = rng.dirichlet(np.full(N_LEVELS, 0.5), n_customers).cumsum(axis=1)
    drawn = rng.uniform(size=len(customer))[:, None] > tastes[customer]
    return pd.DataFrame(
        {
            "customer": customer,
            "days": days,
            "level": drawn.sum(axis=1).clip(max=N_LEVELS - 1),
            "amount": np.exp(rng.normal(3, 1, len(customer))),
        }
    )


def days_since(events, which):
    """Return the days since the last of some events, at most a year."""
    return DAYS + 0.1 - events["days"][which].max() if which.any() else DAYS


def longest_run(which):
    """Return the length of the longest run of True."""
    ends = np.flatnonzero(np.diff(which.to_numpy(), prepend=False, append=False))
    return int(np.diff(ends)[::2].max(initial=0))


def pairs(events, first, second, within=np.inf):
    """Count events of some levels directly after events of others."""
    soon = np.diff(events["days"]) < within
    return int((first.to_numpy()[:-1] & second.to_numpy()[1:] & soon).sum())


def irregularity(events):
    """Return the coefficient of variation of the interarrival times."""
    gaps = np.diff(events["days"])
    return gaps.std() / gaps.mean() if len(gaps) > 2 else 1.0


WITH_FIELD = "share of events at night, with a field of the part of the day"


def share_at_night(events):
    """Return the share of events in the first quarter of the day."""
    return (events["days"] % 1 < 0.25).mean()


# What the label depends on, of the events of a customer in the order of time.
PROPERTIES = {
    "events in the last 30 days": lambda e: np.log1p((e["days"] > DAYS - 30).sum()),
    "time since the last event": lambda e: np.log(days_since(e, e["days"] > -1)),
    "rate of 90 days against 180 days before": lambda e: (
        np.log1p((e["days"] > 270).sum())
        - np.log1p(e["days"].between(90, 270).sum() / 2)
    ),
    "irregular interarrival times": lambda e: np.log(irregularity(e) + 0.1),
    "share of events at night": share_at_night,
    WITH_FIELD: share_at_night,
    "largest amount": lambda e: np.log(e["amount"].max()),
    "last amount against the mean": lambda e: np.log(
        e["amount"].iloc[-1] / e["amount"].mean()
    ),
    "sum of amounts of 3 levels": lambda e: np.log1p(e["amount"][e["level"] < 3].sum()),
    "time since an event of 3 levels": lambda e: np.log(days_since(e, e["level"] < 3)),
    "number of distinct levels": lambda e: e["level"].nunique(),
    "half of the levels: last event": lambda e: float(e["level"].iloc[-1] % 2),
    "half of the levels: first event": lambda e: float(e["level"].iloc[0] % 2),
    "5 levels directly after 5 others": lambda e: np.log1p(
        pairs(e, e["level"] < 5, e["level"].between(5, 9))
    ),
    "10 levels within 7 days after 6 others": lambda e: float(
        pairs(e, e["level"] < 6, e["level"] >= 10, within=7) > 0
    ),
    "longest run of 10 levels": lambda e: np.log1p(longest_run(e["level"] < 10)),
}
OF_STATICS = "two statics"
NOTHING = "nothing"
TASKS = [*PROPERTIES, OF_STATICS, NOTHING]


def simulate(name, n_train, draw):
    """Return X, labels and true probabilities; the last 3,000 rows are for the test."""
    rng = np.random.default_rng([draw, 7])
    n = n_train + N_TEST
    events = events_of(n, rng)
    rows = pd.DataFrame(
        {
            "customer": np.arange(n),
            "cutoff": START + pd.Timedelta(DAYS, "D"),
            "region": rng.choice(["north", "south"], n),
            "score": rng.normal(size=n),
        }
    )
    if name == OF_STATICS:
        values = rows["score"].to_numpy() * np.where(rows["region"] == "north", 1, 0.3)
    elif name == NOTHING:
        values = np.zeros(n)
    else:
        of_customer = PROPERTIES[name]
        values = np.array([of_customer(e) for _, e in events.groupby("customer")])
    if name == WITH_FIELD:
        quarter = (events["days"] % 1 * 4).astype(int)
        events["part"] = np.take(["night", "morning", "afternoon", "evening"], quarter)
    spread = values.std() or 1.0
    truth = expit(SLOPE * (values - values.mean()) / spread)
    events["time"] = START + pd.to_timedelta(events.pop("days"), "D").dt.round("s")
    events["level"] = "level_" + events["level"].astype(str)
    log = EventLog(events, customer="customer", time="time")
    y = (rng.uniform(size=n) < truth).astype(int)
    return log.attach(rows, cutoff="cutoff"), y, truth


def models(draw, params):
    """Make the models: a network, the small trees of a hybrid, and the hybrid."""
    network = LSTMClassifier(n_networks=1, random_state=draw).set_params(**params)
    hybrid = make_hybrid(make_history_pipeline(network), random_state=draw)
    return {"network": hybrid.lstm, "trees": hybrid.boosting, "hybrid": hybrid}


def main():
    """Score what is missing, and print the table."""
    options = read_options()
    torch.set_num_threads(1)
    file = options.results
    runs = list(map(json.loads, file.open())) if file.exists() else []
    done = {(run["task"], run["customers"], run["draw"]) for run in runs}
    params = dict(one.split("=") for one in options.set)
    params = {name: json.loads(value) for name, value in params.items()}
    for n, draw, name in (
        (n, draw, name)
        for n in options.sizes
        for draw in range(options.draws)
        for name in options.tasks
    ):
        if (name, n, draw) in done:
            continue
        X, y, truth = simulate(name, n, draw)
        test = slice(n, None)
        run = {"task": name, "customers": n, "draw": draw}
        run["best"] = roc_auc_score(y[test], truth[test])
        run["best_loss"] = log_loss(y[test], truth[test])
        for which in options.models:
            model = models(draw, params)[which]
            before = time.process_time()
            model.fit(X[:n], y[:n])
            run[f"{which}_seconds"] = time.process_time() - before
            probability = model.predict_proba(X[test])[:, 1]
            run[which] = roc_auc_score(y[test], probability)
            run[f"{which}_loss"] = log_loss(y[test], probability)
        runs.append(run)
        with file.open("a", encoding="utf-8") as lines:
            print(json.dumps(run), file=lines)
    print(table(pd.DataFrame(runs), options.models))


def table(runs, names):
    """Return a table of means over draws, one row a task and size."""
    lines = [
        f"| the label depends on | customers | {' | '.join(names)} | best possible |",
        f"|---|---|{'---|' * len(names)}---|",
    ]
    means = runs.groupby(["customers", "task"]).mean()
    sizes, tasks = runs["customers"].unique(), runs["task"].unique()
    for n, task in ((n, task) for n in sizes for task in tasks):
        scores = [f"{means.loc[(n, task), name]:.3f}" for name in [*names, "best"]]
        lines.append(f"| {task} | {n:,} | {' | '.join(scores)} |")
    return "\n".join(lines)


def read_options():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000])
    parser.add_argument("--draws", type=int, default=2)
    kinds = ["network", "trees", "hybrid"]
    parser.add_argument("--models", nargs="+", default=kinds, choices=kinds)
    parser.add_argument(
        "--set", nargs="+", default=[], help="parameters of the network, name=value"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
