"""Whom to contact: intervals of policy values, and profits under a budget.

On campaigns of `make_campaigns`, whose true effects are known.

1. Coverage: policies are worth their true value in about 95% of intervals of 95%. The
   policy and the model of outcomes come from other customers than those it is evaluated
   on; the truth is the mean over 200,000 customers.
2. Budget: the true profit of `choose_contacts` if 5, 10, 20 and 50% of the customers
   can be contacted, by effects that a model for each arm finds, with networks or with
   boosted aggregates; beside ranking by the chance to buy (of mailed or of other
   customers, by networks), random choice, and the choice by true effects. Means over
   seeds, with the standard deviation between them.

    python benchmarks/contacts.py --simulations 200 --seeds 0 1 2 3 4
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import make_campaigns
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.metrics import policy_value, qini_auc_score
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.uplift import choose_contacts

VALUE, COST = 40.0, 1.0
SHARES = (0.05, 0.10, 0.20, 0.50)
N_TRAIN, N_TEST = 8_000, 20_000
N_EVALUATED = 1_000


def main():
    """Print both tables."""
    options = read_options()
    torch.set_num_threads(1)
    if options.simulations:
        print(coverage(options.simulations).to_string())
    if not options.seeds:
        return
    profits, qinis = zip(*(budgets(seed) for seed in options.seeds), strict=True)
    print_means("profit per 1,000 customers", profits)
    print_means("Qini coefficient", qinis)


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    return parser.parse_args()


def rows_of(data):
    """Return rows with histories."""
    log = EventLog(data.events, "customer_id", "timestamp")
    return log.attach(data.rows, cutoff="cutoff")


def boosting(seed):
    """Make boosted trees on aggregates of the histories."""
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=seed)
    return make_pipeline(HistoryAggregator(), trees)


def network(seed):
    """Make a network."""
    return make_history_pipeline(LSTMClassifier(n_networks=1, random_state=seed))


def outcomes_by_arm(make_model, X, data, test, seed):
    """Return the probability to buy in each arm, by a model for each arm."""
    found = []
    for arm in (0, 1):
        own = np.flatnonzero(data.treatment == arm)
        model = make_model(seed).fit(X.iloc[own], data.target[own])
        found.append(model.predict_proba(test)[:, 1])
    return np.column_stack(found)


# Coverage -----------------------------------------------------------------------------


def coverage(n_simulations):
    """Return coverage and width of intervals, for each version and method."""
    lines = {}
    for confounded in (False, True):
        others = make_campaigns(4_000, confounded=confounded, random_state=10_000)
        X = rows_of(others)
        models = [
            boosting(0).fit(X[others.treatment == arm], others.target[own])
            for arm, own in enumerate(others.treatment == [[0], [1]])
        ]

        def predicted(data, models=models):
            X = rows_of(data)
            return np.column_stack([one.predict_proba(X)[:, 1] for one in models])

        def policy_of(outcomes):
            return (outcomes[:, 1] - outcomes[:, 0] > 0.04).astype(int)

        population = make_campaigns(200_000, confounded=confounded, random_state=20_000)
        policy = policy_of(predicted(population))
        truth = population.probability[np.arange(len(policy)), policy].mean()
        found = []
        for seed in range(n_simulations):
            data = make_campaigns(N_EVALUATED, confounded=confounded, random_state=seed)
            outcomes = predicted(data)
            policy = policy_of(outcomes)
            methods = {
                "ipw": {"propensity": data.propensity, "method": "ipw"},
                "snipw": {"propensity": data.propensity},
                "dr": {"propensity": data.propensity, "outcomes": outcomes},
            }
            if not confounded:
                methods |= {
                    "snipw, shares of the arms": {},
                    "dr, shares of the arms": {"outcomes": outcomes},
                }
            for name, given in methods.items():
                result = policy_value(data.target, policy, data.treatment, **given)
                covers = result.lower <= truth <= result.upper
                found.append((name, covers, result.upper - result.lower))
        table = pd.DataFrame(found, columns=["method", "coverage", "width"])
        version = "confounded" if confounded else "randomised"
        lines[version] = table.groupby("method", sort=False).mean()
    return pd.concat(lines).round(3)


# Budget -------------------------------------------------------------------------------


def budgets(seed):
    """Return true profits for each share, and Qini coefficients, by method."""
    began = time.perf_counter()
    data = make_campaigns(N_TRAIN, random_state=seed)
    future = make_campaigns(N_TEST, random_state=1_000 + seed)
    X, X_test = rows_of(data), rows_of(future)
    by_network = outcomes_by_arm(network, X, data, X_test, seed)
    by_boosting = outcomes_by_arm(boosting, X, data, X_test, seed)
    rng = np.random.default_rng(seed)
    scores = {
        "known effects": future.effect,
        "network": by_network[:, 1] - by_network[:, 0],
        "boosted aggregates": by_boosting[:, 1] - by_boosting[:, 0],
        "chance to buy if mailed": by_network[:, 1],
        "chance to buy if not": by_network[:, 0],
        "random": rng.random(N_TEST),
    }
    profits = {}
    for name, score in scores.items():
        # Ranks as effects, for rules that do not estimate effects: all are worth it.
        is_effect = name in {"known effects", "network", "boosted aggregates"}
        value, cost = (VALUE, COST) if is_effect else (1.0, 0.0)
        for share in SHARES:
            chosen = choose_contacts(
                score, value=value, cost=cost, capacity=int(share * N_TEST)
            ).contacts["row"]
            profit = VALUE * future.effect[chosen].sum() - COST * len(chosen)
            profits[name, f"{share:.0%}"] = profit / N_TEST * 1000
    qinis = {
        name: qini_auc_score(future.target, score, future.treatment)
        for name, score in scores.items()
    }
    print(f"seed {seed}: {time.perf_counter() - began:.0f} s", flush=True)
    profits = pd.Series(profits).unstack(sort=False)
    return profits, pd.Series(qinis).to_frame("Qini")


def print_means(title, tables):
    """Print means and standard deviations over seeds."""
    stacked = pd.concat(dict(enumerate(tables)))
    by_name = stacked.groupby(level=1, sort=False)
    digits = 3 if "Qini" in title else 0
    mean = by_name.mean().round(digits).astype(str)
    spread = by_name.std().round(digits).astype(str)
    print(f"\n{title}\n{(mean + ' ± ' + spread).to_string()}")


if __name__ == "__main__":
    main()
