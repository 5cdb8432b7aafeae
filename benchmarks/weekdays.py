"""Do predictions hold on weekdays on which training had no cutoffs?

Simulated customers come on a favourite weekday, or a day beside it, in nine tenths,
half or a fifth of the weeks. Who comes within three days? Networks are trained on 14
cutoffs, one in each week, on some weekdays, and score all customers on each weekday
later. ``python benchmarks/weekdays.py`` prints the area under the ROC curve on weekdays
of the training cutoffs, and the mean and the smallest one on the others: of networks
with defaults, and of those that see the weekday where they differ.
"""

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import churned

SEEDS = range(3)
START = pd.Timestamp("2024-01-01")
N_CUSTOMERS, N_WEEKS = 1000, 30
FIRST, N_CUTOFFS, LATER = 63, 14, 189  # days of the first cutoffs
# Weekdays of the training cutoffs after that of the first one.
WEEKDAYS = {
    "Mon": [0],
    "Mon, Thu": [0, 3],
    "Mon, Tue, Wed": [0, 1, 2],
    "Mon, Thu, Fri": [0, 3, 4],
    "Mon, Wed, Fri": [0, 2, 4],
    "Mon, Tue, Thu, Sat": [0, 1, 3, 5],
}


def main():
    """Print a line of the table for each choice of weekdays."""
    torch.set_num_threads(1)
    print("| cutoffs | network | on these weekdays | mean of others | worst |")
    print("|---|---|---|---|---|")
    for name, weekdays in WEEKDAYS.items():
        lines = {}
        for network, sees in {"default": False, "with the weekday": True}.items():
            found = np.mean([scores(weekdays, sees, seed) for seed in SEEDS], axis=0)
            line = " | ".join(f"{one:.3f}" for one in found)
            lines.setdefault(line, network)
        for line, network in lines.items():
            print(f"| {name} | {network} | {line} |", flush=True)


def scores(weekdays, sees_weekday, seed):
    """Return the AUC on the weekdays of training, the mean on others, and the worst."""
    log = make_log(seed)
    days = [
        FIRST + 7 * week + weekdays[week % len(weekdays)] for week in range(N_CUTOFFS)
    ]
    X = log.snapshots([START + pd.Timedelta(days=day) for day in days])
    y = churned(X, "3D")
    network = LSTMClassifier(n_networks=1, early_stopping=False, random_state=seed)
    # Networks leave the weekday out only if they know the horizon, which an array does
    # not tell.
    if sees_weekday:
        y = y.to_numpy()
    else:
        network.set_params(horizon="3D")
    model = make_history_pipeline(network).fit(X, y)
    on_these, on_others = [], []
    for day in range(LATER, LATER + 7):
        later = log.snapshots([START + pd.Timedelta(days=day)])
        auc = roc_auc_score(churned(later, "3D"), model.predict_proba(later)[:, 1])
        (on_these if (day - FIRST) % 7 in weekdays else on_others).append(auc)
    return np.mean(on_these), np.mean(on_others), min(on_others)


def make_log(seed):
    """Simulate the visits of customers with favourite weekdays."""
    rng = np.random.default_rng(seed)
    favourite = rng.integers(0, 7, N_CUSTOMERS)
    chance = rng.choice([0.9, 0.5, 0.2], N_CUSTOMERS)
    came = rng.random((N_CUSTOMERS, N_WEEKS)) < chance[:, None]
    who, week = came.nonzero()
    beside = rng.choice([-1, 0, 1], len(who), p=[0.1, 0.8, 0.1])
    hour = rng.uniform(0.3, 0.9, len(who))
    days = 7 * (week + 1) + favourite[who] + beside + hour
    times = START + pd.to_timedelta(days, unit="D")
    return EventLog(pd.DataFrame({"customer": who, "time": times}), "customer", "time")


if __name__ == "__main__":
    main()
