"""
What is tuning worth?
=====================

A network has many parameters, and searches take hours. Are they worth it? This page
compares a small search (twelve networks with random parameters) with the default
network, and with gradient boosting on recency, frequency and monetary value (RFM),
default and tuned. The data are real grocery purchases (the Complete Journey data of
84.51°): who shops again within two weeks?

A search needs folds in time. `CutoffSplit` tests each fold on later cutoffs than those
of training, and leaves out rows whose label was not known by then. The best of twelve
scores is too high an estimate, so the last two cutoffs are not part of the search. The
limitation: this is one small task with few households.
"""

# %%
# Rows for the search, and later ones
# -----------------------------------
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import NullFormatter
from scipy.stats import loguniform, uniform
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import load_complete_journey
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import churned

HORIZON, N_CANDIDATES, SEEDS = "14D", 12, (0, 1, 2)

days = load_complete_journey().events
days = days[days["household_id"] % 4 == 0]
log = EventLog(days, customer="household_id", time="day")
X = log.snapshots(pd.date_range("2017-03-01", "2017-11-22", freq="14D"))
y = (churned(X, HORIZON) == 0).astype(int).to_numpy()
is_test = (X["cutoff"] >= "2017-11-01").to_numpy()
is_known = (X["cutoff"] < "2017-10-15").to_numpy()  # labels known on 1 November
X_search, y_search = X[is_known], y[is_known]
X_test, y_test = X[is_test], y[is_test]
cv = CutoffSplit(1, horizon=HORIZON, test_size=3)
print(cv.report(X_search).T.to_string(header=False))

# %%
# What to search
# --------------
# Learning rate, size, pooling and dropout. Parameters of a pipeline have the name of
# their step as a prefix, as usual. A search takes one network for each candidate.
network = make_history_pipeline(
    LSTMClassifier(n_networks=1, max_epochs=10, batch_size=512, random_state=0)
)
boosting = make_pipeline(
    RFMFeatures(amount="spend"), HistGradientBoostingClassifier(random_state=0)
)
step = list(network.named_steps)[-1]
spaces = {
    "network": {
        f"{step}__learning_rate": loguniform(5e-4, 2e-2),
        f"{step}__hidden_size": [16, 32, 64],
        f"{step}__pooling": [("last",), ("last", "mean"), ("last", "mean", "decay")],
        f"{step}__dropout": uniform(0, 0.5),
    },
    "boosting": {
        "histgradientboostingclassifier__learning_rate": loguniform(0.01, 0.3),
        "histgradientboostingclassifier__max_leaf_nodes": [4, 8, 16, 31],
        "histgradientboostingclassifier__max_iter": [50, 100, 200],
        "histgradientboostingclassifier__l2_regularization": loguniform(0.01, 100),
    },
}
models = {"network": network, "boosting": boosting}
searches = {
    name: RandomizedSearchCV(
        models[name],
        space,
        n_iter=N_CANDIDATES,
        cv=cv,
        scoring="roc_auc",
        refit=False,
        random_state=0,
    ).fit(X_search, y_search)
    for name, space in spaces.items()
}
for name, search in searches.items():
    scores = search.cv_results_["mean_test_score"]
    print(f"{name}: {scores.min():.4f} to {scores.max():.4f}, the best with")
    for key, value in search.best_params_.items():
        print(f"    {key.split('__')[1]} = {value}")

# %%
# Scores on later cutoffs
# -----------------------
# The best parameters and the defaults, with three seeds, on the cutoffs that were not
# part of the search.
found = []
for name, model in models.items():
    seed_of = f"{model.steps[-1][0]}__random_state"
    for kind, params in {"default": {}, "tuned": searches[name].best_params_}.items():
        for seed in SEEDS if name == "network" else SEEDS[:1]:
            chosen = clone(model).set_params(**{**params, seed_of: seed})
            score = chosen.fit(X_search, y_search).predict_proba(X_test)[:, 1]
            auc = roc_auc_score(y_test, score)
            found.append({"model": f"{name}, {kind}", "seed": seed, "AUC": auc})
table = pd.DataFrame(found)
later = table.groupby("model", sort=False)["AUC"].agg(["mean", "min", "max"])
print(later.round(4))
for name in models:
    gain = later.loc[f"{name}, tuned", "mean"] - later.loc[f"{name}, default", "mean"]
    promised = searches[name].best_score_ - later.loc[f"{name}, tuned", "mean"]
    more_or_less = "more" if promised > 0 else "less"
    print(
        f"{name}: {gain:+.4f} by tuning, on later cutoffs; the search promised "
        f"{abs(promised):.4f} {more_or_less}"
    )

# %%
# Scores of the search and later scores
# -------------------------------------
# On the left, the search, by learning rate and size. On the right, the best score of
# the search, and the scores on later cutoffs, with a dot for each seed.
figure, (left, right) = plt.subplots(
    1, 2, figsize=(12, 4.4), width_ratios=[1.2, 1], layout="constrained"
)
COLORS = {"network": "tab:blue", "boosting": "tab:orange"}
tried = searches["network"].cv_results_
rate = np.array(tried[f"param_{step}__learning_rate"], dtype=float)
size = np.array(tried[f"param_{step}__hidden_size"], dtype=int)
for one, marker in {16: "v", 32: "s", 64: "o"}.items():
    own = size == one
    left.plot(
        rate[own],
        tried["mean_test_score"][own],
        marker,
        color="tab:blue",
        ms=8,
        label=f"{one} units",
    )
best = searches["boosting"].best_score_
left.axhline(best, color="tab:orange", ls="--", label="best boosting")
left.set(
    title="Twelve networks of the search",
    xlabel="learning rate",
    ylabel="AUC of the search",
    xscale="log",
)
left.set_xticks([0.0005, 0.001, 0.002, 0.005, 0.01, 0.02])
left.set_xticklabels(["0.0005", "0.001", "0.002", "0.005", "0.01", "0.02"])
left.xaxis.set_minor_formatter(NullFormatter())
left.legend(loc="best")

names = list(table["model"].unique())
for place, name in enumerate(names):
    own = table.loc[table["model"] == name, "AUC"]
    color = COLORS[name.split(",")[0]]
    right.plot(own, np.full(len(own), -place), "o", color=color, ms=8)
    right.plot(own.mean(), -place, "|", color="black", ms=18)
    if name.endswith("tuned"):
        promised = searches[name.split(",")[0]].best_score_
        right.plot(promised, -place, "*", color=color, fillstyle="none", ms=13)
right.plot([], [], "o", color="0.4", label="later cutoffs")
right.plot([], [], "*", color="0.4", fillstyle="none", ms=13, label="promised")
right.locator_params(axis="x", nbins=4)
right.set_yticks(-np.arange(len(names)), names)
right.set(title="What it is worth later", xlabel="AUC", ylim=(-len(names) + 0.5, 0.9))
right.legend(loc="upper left", ncols=2, fontsize="small")

output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "tuned_networks.png", dpi=120)
print(f"Picture: {output / 'tuned_networks.png'}")
