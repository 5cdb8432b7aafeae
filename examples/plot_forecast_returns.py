"""
Will this item come back?
=========================

At the time of an order, which items will be returned? Each row below is an ordered
item. Its history has the events known at that time: the customer's earlier items, the
rest of the basket, and the returned and kept items *reported* by then. How close do
models come to the true probabilities? And how good does a model seem if it uses the
future?

The orders are simulated, so the true probability of every return is known, and no
honest model can be better. There are two limitations. The habit of a simulated customer
is a single decayed sum, which could be a column for trees. And real returns depend on
facts that are not in a simulation. ``benchmarks/cancellations.py`` compares the same
models on the cancelled lines of a wholesaler, where all are far worse: an AUC of .71
for the network, and of .67 for trees on RFM and the rate of returns.
"""

# %%
# Two tables of events
# --------------------
# A return becomes known some weeks *after* the order. So orders and outcomes are two
# logs, merged into one history: an outcome is a separate event, at the time when it
# became known.
from itertools import count
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.dates import ConciseDateFormatter
from matplotlib.ticker import PercentFormatter
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import make_order_returns
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

KEYS = ["customer_id", "timestamp"]
AS_OF_ORDER = {"cutoff": "timestamp", "allow_exact_matches": True}
SPLIT = pd.Timestamp("2024-09-01")

data = make_order_returns(n_customers=3000, random_state=0)
log = EventLog.concat(
    {
        "order": EventLog(data.orders, *KEYS),
        "outcome": EventLog(data.outcomes, *KEYS),
    },
    observed_until=data.observed_until,
)
print(log)

# %%
# An item and the rest of its basket are ordered at the cutoff of the row. With
# `allow_exact_matches` they are part of its history. This is no leak, because the
# outcomes of this basket are later events.
X = log.attach(data.rows, **AS_OF_ORDER)
y = data.target
shown = ["customer_id", "timestamp", "category", "price", "history"]
print(X.loc[[0, 30_000, 59_000], shown].to_string(index=False))

# %%
# The split respects the time of labels, too: on the first of September, the outcomes of
# some orders of August are not known yet, and these orders are not used for training.
is_test = (X["timestamp"] >= SPLIT).to_numpy()
is_train = (X["timestamp"] + data.return_window <= SPLIT).to_numpy()
n_unknown = (~is_test & ~is_train).sum()
print(
    f"{is_train.sum():,} training rows, {is_test.sum():,} test rows, {n_unknown:,} "
    f"rows between them whose outcome was open\n{y[is_test].mean():.0%} of the test "
    "rows come back"
)

# %%
# Four honest models
# ------------------
# All of them take the same `X`. Gradient boosting gets the item and the customer, and
# in a second model also recency, frequency and monetary value (RFM) of the orders and
# the share of returns among the known outcomes.
STATICS = ["category", "price", "size_gap", "age", "payment"]


def known_by_then(events):
    """Return the histories of one kind of event."""
    return EventLog(events, *KEYS).attach(data.rows, **AS_OF_ORDER)["history"].array


X["orders"] = known_by_then(data.orders)
X["n_outcomes"] = known_by_then(data.outcomes).lengths
n_returns = known_by_then(data.outcomes[data.outcomes["returned"]]).lengths
X["return_rate"] = n_returns / X["n_outcomes"].where(X["n_outcomes"] > 0)


def use(*columns):
    """Make a step that selects columns."""
    step = make_column_transformer(
        ("passthrough", list(columns)), verbose_feature_names_out=False
    )
    return step.set_output(transform="pandas")


def boosting():
    """Make gradient boosting with early stopping."""
    return HistGradientBoostingClassifier(
        categorical_features="from_dtype",
        learning_rate=0.05,
        early_stopping=True,
        random_state=0,
    )


def network():
    """Make a network with its preprocessing."""
    return make_history_pipeline(
        LSTMClassifier(
            hidden_size=32,
            n_networks=1,
            batch_size=512,
            learning_rate=0.004,
            max_epochs=12,
            random_state=0,
        )
    )


static = make_pipeline(use(*STATICS), boosting())
rfm = make_pipeline(
    use(*KEYS, *STATICS, "orders", "n_outcomes", "return_rate"),
    RFMFeatures(amount="price"),
    boosting(),
)
lstm = make_pipeline(use(*KEYS, *STATICS, "history"), network())
# The weights of the two are learned on validation customers.
folds = GroupKFold(2).split(X[is_train], groups=X.loc[is_train, "customer_id"])
both = StackingClassifier([("rfm", rfm), ("lstm", lstm)], cv=list(folds))

static.fit(X[is_train], y[is_train])
both.fit(X[is_train], y[is_train])
models = {
    "item and customer alone": static,
    "RFM and return rate": both.named_estimators_["rfm"],
    "LSTM": both.named_estimators_["lstm"],
    "both, stacked": both,
}
scores = {n: model.predict_proba(X[is_test])[:, 1] for n, model in models.items()}
auc = {name: roc_auc_score(y[is_test], score) for name, score in scores.items()}
ceiling = roc_auc_score(y[is_test], data.probability[is_test])
print(pd.Series({**auc, "true probability": ceiling}).to_string(float_format="%.3f"))
for other in ("item and customer alone", "RFM and return rate", "both, stacked"):
    print(f"LSTM minus {other}: {auc['LSTM'] - auc[other]:+.3f}")
print(f"LSTM minus true probability: {auc['LSTM'] - ceiling:+.3f}")

# %%
# A model with a leak
# -------------------
# The table in a data warehouse has the column ``returned`` in the row of the order. A
# history of such rows contains every outcome from the time of the order on, even that
# of the item itself. In validation such a network looks excellent: compare it with the
# true probability, which is the best that an honest model can reach.
X_leaky = EventLog(data.leaky_orders, *KEYS).attach(data.rows, **AS_OF_ORDER)
leaky = network().fit(X_leaky[is_train], y[is_train])
leaky_auc = roc_auc_score(y[is_test], leaky.predict_proba(X_leaky[is_test])[:, 1])

# %%
# In use, the column has the outcomes reported so far, and False otherwise. To see the
# scores in use, each test row gets a copy of the events as they were at the time of its
# order.
rows = data.rows[is_test].rename_axis("row").reset_index()
dated = EventLog(
    data.leaky_orders.assign(known_at=data.outcomes["timestamp"]), *KEYS
).attach(rows, **AS_OF_ORDER)
events = dated["history"].array.to_frame()
order_time = rows["timestamp"].to_numpy()[events.index]
events["returned"] *= events["known_at"] <= order_time
events["row"] = rows["row"].to_numpy()[events.index]
events = events.drop(columns=["customer_id", "known_at"])
X_in_use = EventLog(events, "row", "timestamp").attach(rows, **AS_OF_ORDER)
in_use = leaky.predict_proba(X_in_use.drop(columns="row"))[:, 1]
in_use_auc = roc_auc_score(y[is_test], in_use)
print(
    f"With the leak: {leaky_auc:.3f} in validation, {leaky_auc - ceiling:+.3f} beside "
    f"the true probability; {in_use_auc:.3f} in use"
)


# %%
# How close to the truth, and how much too good?
# ----------------------------------------------
output = Path("demo_output")
output.mkdir(exist_ok=True)
figure, (left, right) = plt.subplots(
    1, 2, figsize=(12.5, 4.4), width_ratios=[1, 1.4], layout="constrained"
)
LEFT_OF = {"ha": "right", "va": "center"}
ladder = {**auc, "uses the future": leaky_auc}
colors = ["tab:gray", "tab:orange", "tab:blue", "tab:purple", "tab:red"]
for place, value, color in zip(count(), ladder.values(), colors, strict=False):
    left.plot(value, -place, "o", color=color, markersize=9)
    left.text(value - 0.015, -place, f"{value:.3f}", color=color, **LEFT_OF)
left.plot(in_use_auc, -4, "o", color="tab:red", markersize=9, fillstyle="none")
left.text(in_use_auc, -3.72, f"{in_use_auc:.3f} in use", color="tab:red", ha="center")
left.annotate(
    "",
    (in_use_auc, -4),
    (leaky_auc - 0.09, -4),
    arrowprops={"arrowstyle": "->", "color": "tab:red", "shrinkB": 6},
)
left.axvline(ceiling, color="black", linestyle="--")
left.axvspan(ceiling, 1.03, color="tab:red", alpha=0.08, linewidth=0)
left.text(ceiling + 0.008, 0.1, f"true probability\n{ceiling:.3f}", va="center")
left.text(0.925, -1.5, "out of reach\nwithout\nthe future", ha="center", va="center")
left.set_yticks(-np.arange(len(ladder)), list(ladder))
left.set(title="Area under the ROC curve", xlim=(0.55, 1.03), ylim=(-4.5, 0.6))

# Of the customers with about ten baskets in the test, the one with the largest drift.
habits = data.effects["habit"].groupby(data.rows["customer_id"])
n_baskets = X[is_test].groupby("customer_id")["timestamp"].nunique()
customer = habits.std()[n_baskets.index[n_baskets.between(8, 12)]].idxmax()
is_own = (X["customer_id"] == customer).to_numpy()
shown = X.loc[is_own, ["timestamp"]].assign(
    truth=data.probability[is_own],
    lstm=models["LSTM"].predict_proba(X[is_own])[:, 1],
    static=static.predict_proba(X[is_own])[:, 1],
)
baskets = shown.groupby("timestamp").mean()
right.plot(baskets["truth"], "k--", label="true probability", linewidth=1.2)
right.plot(baskets["lstm"], "o-", color="tab:blue", markersize=4, label="LSTM")
right.plot(
    baskets["static"], color="tab:gray", linewidth=1, label="item and customer alone"
)
outcomes = data.outcomes[data.outcomes["customer_id"] == customer]
back = outcomes.loc[outcomes["returned"], "timestamp"]
kept = outcomes.loc[~outcomes["returned"], "timestamp"]
edge = right.get_yaxis_transform()  # across in parts of the panel, up in its data
right.plot(back, np.full(len(back), 1.06), "|", color="tab:red", markersize=10)
right.plot(kept, np.full(len(kept), -0.06), "|", color="tab:green", markersize=10)
right.text(1.01, 1.06, "returns", color="tab:red", va="center", transform=edge)
right.text(1.01, -0.06, "keeps", color="tab:green", va="center", transform=edge)
right.axvline(SPLIT, color="0.7", linestyle=":")
right.annotate("test", (SPLIT, 0.93), (4, 0), textcoords="offset points", color="0.5")
right.set(
    title="One customer: share of each basket that comes back",
    ylim=(-0.13, 1.32),
    yticks=[0, 0.25, 0.5, 0.75, 1],
)
right.yaxis.set_major_formatter(PercentFormatter(1))
right.xaxis.set_major_formatter(ConciseDateFormatter(right.xaxis.get_major_locator()))
right.legend(loc="upper center", ncols=3, fontsize="small")
figure.savefig(output / "return_forecast.png", dpi=120)
print(f"Picture: {output / 'return_forecast.png'}")
