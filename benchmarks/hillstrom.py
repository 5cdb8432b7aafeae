"""Hillstrom's e-mail experiment: Qini coefficients and policy values of three arms.

64,000 customers of a shop were mailed at random: men's merchandise, women's, or
nothing. Learners with a model for each arm find the effects from statics alone, as
there are no histories: logistic regression, boosted trees, and `LSTMClassifier` on
statics. All figures are of customers whom no model has seen: folds of cross-fitting,
over several shuffles. Intervals are over customers, of the first shuffle.

The data are those of the MineThatData challenge (K. Hillstrom, 2008), as a table with
the columns recency, history, mens, womens, zip_code, newbie, channel, segment, visit,
conversion and spend:

    python benchmarks/hillstrom.py --data hillstrom.parquet
"""

import argparse
import time
from functools import partial

import numpy as np
import pandas as pd
import torch
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_seqcrm.metrics import (
    bootstrap_interval,
    policy_value,
    qini_auc_score,
    uplift_at_k,
    uplift_auc_score,
)
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor

CONTROL, MENS, WOMENS = "No E-Mail", "Mens E-Mail", "Womens E-Mail"
ARMS = [CONTROL, MENS, WOMENS]
OUTCOMES = ("visit", "conversion", "spend")
STATICS = ["recency", "history", "mens", "womens", "zip_code", "newbie", "channel"]
N_FOLDS = 5


def main():
    """Print tables of scores and of policy values."""
    options = read_options()
    torch.set_num_threads(1)
    data = pd.read_parquet(options.data)
    X, arms = data[STATICS], data["segment"].astype(str).to_numpy()
    print(data.groupby("segment", observed=True)[list(OUTCOMES)].mean().round(4))
    for outcome in options.outcomes:
        y = data[outcome].to_numpy().astype(float)
        lines, policies = [], []
        for name in options.models:
            began = time.perf_counter()
            found = [
                predicted(name, outcome != "spend", X, y, arms, seed)
                for seed in options.seeds
            ]
            lines += scores(name, y, arms, found)
            policies += values(name, y, arms, found[0])
            print(f"{outcome}, {name}: {time.perf_counter() - began:.0f} s", flush=True)
        policies = values_of_all(y, arms) + policies
        print(f"\n{outcome}\n{pd.DataFrame(lines).to_string(index=False)}")
        print(f"\n{pd.DataFrame(policies).to_string(index=False)}\n", flush=True)


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--outcomes", nargs="+", choices=OUTCOMES, default=OUTCOMES)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    return parser.parse_args()


# Models -------------------------------------------------------------------------------


def prepared(model):
    """Put a model behind scaled numbers and one-hot categories."""
    columns = make_column_transformer(
        (OneHotEncoder(), make_column_selector(dtype_exclude="number")),
        remainder=StandardScaler(),
        sparse_threshold=0,
    )
    return make_pipeline(columns, model)


def linear(seed, is_class):
    """Make a linear model."""
    return LogisticRegression() if is_class else Ridge()


def boosting(seed, is_class):
    """Make boosted trees, small ones: effects are small."""
    trees = (
        HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
    )
    options = {"max_iter": 40, "max_depth": 3, "min_samples_leaf": 200}
    return trees(random_state=seed, learning_rate=0.1, **options)


def network(seed, is_class):
    """Make a network on statics."""
    net = LSTMClassifier if is_class else LSTMRegressor
    return net(max_epochs=20, random_state=seed)


MODELS = {"linear": linear, "boosting": boosting, "network": network}


def predicted(name, is_class, X, y, arms, seed):
    """Return predicted outcomes of all customers in each arm, by models of others."""
    outcomes = np.empty((len(y), len(ARMS)))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(X, arms):
        for place, arm in enumerate(ARMS):
            own = train[arms[train] == arm]
            model = prepared(MODELS[name](seed, is_class)).fit(X.iloc[own], y[own])
            if is_class:
                outcomes[test, place] = model.predict_proba(X.iloc[test])[:, 1]
            else:
                outcomes[test, place] = model.predict(X.iloc[test])
    return outcomes


# Scores -------------------------------------------------------------------------------


def scores(name, y, arms, found):
    """Return the scores of each e-mail against none, means over seeds."""
    lines = []
    for place, arm in enumerate(ARMS[1:], start=1):
        rows = np.isin(arms, [CONTROL, arm])
        mailed = arms[rows] == arm
        effects = [one[rows, place] - one[rows, 0] for one in found]
        qinis = [qini_auc_score(y[rows], one, mailed) for one in effects]
        interval = bootstrap_interval(
            qini_auc_score, y[rows], effects[0], mailed, n_resamples=200, random_state=0
        )
        raw = partial(qini_auc_score, normalize=False)
        lines.append(
            {
                "model": name,
                "e-mail": arm,
                "Qini": f"{np.mean(qinis):.4f}",
                "95%": f"{interval.lower:.4f} to {interval.upper:.4f}",
                "uplift AUC": f"{uplift_auc_score(y[rows], effects[0], mailed):.4f}",
                "Qini per customer": f"{raw(y[rows], effects[0], mailed):.5f}",
                "uplift at 30%": f"{uplift_at_k(y[rows], effects[0], mailed):.4f}",
                "uplift": f"{uplift_at_k(y[rows], effects[0], mailed, k=1):.4f}",
            }
        )
    return lines


def values_of_all(y, arms):
    """Return the values of mailing nobody and everybody."""
    return [
        line(f"all: {arm}", policy_value(y, arm, arms, treatments=ARMS)) for arm in ARMS
    ]


def values(name, y, arms, outcomes):
    """Return the value of the best e-mail of each customer, and differences."""
    policy = np.array(ARMS)[outcomes.argmax(axis=1)]
    evaluate = partial(
        policy_value, y, policy, arms, treatments=ARMS, outcomes=outcomes
    )
    lines = [line(f"{name}: best e-mail of each", evaluate())]
    for arm in ARMS:
        lines.append(line(f"  less all: {arm}", evaluate(baseline=arm)))
    shares = ", ".join(f"{np.mean(policy == arm):.0%} {arm}" for arm in ARMS)
    lines[0]["policy"] += f" ({shares})"
    return lines


def line(name, result):
    """Return a line of a table of values."""
    return {
        "policy": name,
        "value": f"{result.value:.4f}",
        "95%": f"{result.lower:.4f} to {result.upper:.4f}",
    }


if __name__ == "__main__":
    main()
