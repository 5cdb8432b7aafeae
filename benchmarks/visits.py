"""Who comes back to a web shop? The event model and boosted trees against the truth.

Simulated visitors come at random times, at gamma rates (shape 1.5, .15 visits a day on
average), and each has an own mean number of clicks per visit, half a minute or so
apart. From 45 days of clicks, their chances to come within the next 7 days are
predicted: by `LSTMEventModel` with its defaults, by boosted trees on the columns of
`HistoryAggregator` at five earlier cutoffs, by a network trained on the same rows, with
a step for each click or for each hour with clicks, and by the posterior distribution of
the rates given the number of visits, which is the best possible prediction.

    python benchmarks/visits.py --seeds 0 1 2
"""

import argparse

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import future_count

SHAPE, RATE = 1.5, 10.0  # of the rates of visits a day
START = pd.Timestamp("2026-01-01")
CUTOFF, HORIZON = START + pd.Timedelta("45D"), pd.Timedelta("7D")
N_PAGES = 12


def simulate(n, clicks, rng):
    """Return the clicks of n visitors in 60 days, with the number of the visit.

    `clicks` are bounds of the mean number of clicks in a visit, uniform over visitors.
    """
    n_visits = rng.poisson(rng.gamma(SHAPE, 1 / RATE, n) * 60)
    who = np.repeat(np.arange(n), n_visits)
    begin = rng.uniform(0, 60 * 86_400, len(who))
    n_clicks = rng.geometric(1 / rng.uniform(*clicks, n)[who])
    visit = np.repeat(np.arange(len(who)), n_clicks)
    pauses = rng.lognormal(np.log(35), 1, len(visit))
    pauses[n_clicks.cumsum() - n_clicks] = 0
    seconds = begin[visit] + pd.Series(pauses).groupby(visit).cumsum().to_numpy()
    events = pd.DataFrame(
        {
            "who": who[visit],
            "time": START + pd.to_timedelta(seconds.astype("int64"), unit="s"),
            "page": pd.Categorical(rng.integers(0, N_PAGES, len(visit)).astype(str)),
            "visit": visit,
        }
    )
    return events.sort_values(["who", "time"], ignore_index=True)


def chances(events, seed):
    """Return whether each visitor comes, and the chances that the models predict."""
    log = EventLog(events, "who", "time", fields=["page"])
    earlier = [CUTOFF - k * HORIZON for k in range(1, 6)]
    train, test = log.snapshots(earlier), log.snapshots([CUTOFF])
    came = future_count(test, HORIZON).to_numpy() > 0
    known = events[events["time"] < CUTOFF]
    model = LSTMEventModel(random_state=seed).fit(
        EventLog(
            known, "who", "time", fields=["page"], observed_until=CUTOFF
        ).snapshots([CUTOFF])
    )
    survival = model.predict_survival_function(test)
    y = future_count(train, HORIZON) > 0
    trees = make_pipeline(
        HistoryAggregator(),
        HistGradientBoostingClassifier(
            learning_rate=0.05, max_leaf_nodes=8, max_iter=100, random_state=seed
        ),
    )
    network = make_history_pipeline(LSTMClassifier(random_state=seed, verbose=0))
    by_hour = clone(network).set_params(encoder__moments="1h")
    classifiers = {
        "boosted trees": trees,
        "network": network,
        'network, moments="1h"': by_hour,
    }
    found = {
        name: one.fit(train, y).predict_proba(test)[:, 1]
        for name, one in classifiers.items()
    }
    elapsed = RATE + (CUTOFF - START) / pd.Timedelta("1D")
    n_visits = known.groupby("who")["visit"].nunique().loc[test["who"]].to_numpy()
    ratio = elapsed / (elapsed + HORIZON / pd.Timedelta("1D"))
    return came, {
        "event model": np.array([1 - one(HORIZON) for one in survival]),
        **found,
        "best possible": 1 - ratio ** (SHAPE + n_visits),
    }


def main():
    """Print log losses and AUCs, means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--visitors", type=int, default=800)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for clicks in [(2.5, 12), (1.4, 3.3), (1.1, 2)]:
        rows = []
        for seed in options.seeds:
            rng = np.random.default_rng(seed)
            events = simulate(options.visitors, clicks, rng)
            came, found = chances(events, seed)
            for name, chance in found.items():
                loss, auc = log_loss(came, chance), roc_auc_score(came, chance)
                mean = chance.mean() / came.mean() - 1
                rows.append({"model": name, "log loss": loss, "AUC": auc, "bias": mean})
        means = pd.DataFrame(rows).groupby("model", sort=False).mean()
        print(f"{clicks[0]} to {clicks[1]} clicks a visit\n{means.round(4)}\n")


if __name__ == "__main__":
    main()
