"""
Is it the customer, or the shop?
================================

Whether customers come back depends on them and on their shop: a shop that is being
rebuilt, or has a new competitor, loses customers of all types. The customer's history
hardly contains this, but that of the shop does: all visits of all its customers, with
their ratings. Both are columns of one table, cut off at the same time, and the network
has an LSTM for each.

The visits are simulated: each customer has a shop, and each shop has a hidden mood,
which affects the ratings of *all* its customers. There are two limitations. Means and
counts contain nearly all of the information of the second history, so that boosting can
gain from it, too: the gain is in the column, not in the model. And these
shops differ much, so the gain is large; if shops hardly differ, a second history adds
overfitting.
"""

# %%
# Customers, shops, and visits
# ----------------------------
# A visit takes place in a shop, and the customer rates it. Moods of shops drift. The
# worse the mood, the fewer customers come back, whatever their own ratings are.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import churned

N_CUSTOMERS, N_SHOPS, N_DAYS = 1500, 40, 360
FIRST, SPLIT = pd.Timestamp("2025-01-01"), pd.Timestamp("2025-10-01")

rng = np.random.default_rng(0)
steps = rng.normal(0, 0.14, (N_SHOPS, N_DAYS))
mood = np.zeros((N_SHOPS, N_DAYS))  # drifts, and returns to 0 within some ten weeks
for day in range(1, N_DAYS):
    mood[:, day] = 0.99 * mood[:, day - 1] + steps[:, day]

shop = rng.integers(N_SHOPS, size=N_CUSTOMERS)
rate = rng.gamma(2, 0.03, N_CUSTOMERS)
kindness = rng.normal(0, 1, N_CUSTOMERS)
comes = rng.random((N_CUSTOMERS, N_DAYS)) < rate[:, None] * np.exp(mood[shop] * 0.9)
customer, day = comes.nonzero()
opinion = kindness[customer] + mood[shop[customer], day]
visits = pd.DataFrame(
    {
        "customer": customer,
        "shop": shop[customer],
        "day": FIRST + pd.to_timedelta(day, unit="D"),
        "rating": (3.5 + 0.6 * opinion + rng.normal(0, 0.7, len(day)))
        .round()
        .clip(1, 5),
        "spend": rng.lognormal(3, 0.5, len(day)).round(2),
    }
)
print(f"{len(visits):,} visits, {visits.groupby('shop').size().mean():.0f} of a shop")

# %%
# Two logs of the same events
# ---------------------------
# The same visits are in two logs, once by customer and once by shop. Rows have both
# columns, and the label is that of the customer.
fields = ["rating", "spend"]
of_customers = EventLog(visits, "customer", "day", fields=fields)
of_shops = EventLog(visits, "shop", "day", fields=fields)
cutoffs = pd.date_range("2025-04-01", "2025-12-01", freq="14D")
X = of_customers.snapshots(cutoffs, active_within="120D")
X["shop"] = shop[X["customer"]]
y = (churned(X, "21D") == 0).astype(int).to_numpy()
X = of_shops.attach(X, customer="shop", cutoff="cutoff", lookback="28D", name="visits")
is_test = (X["cutoff"] >= SPLIT).to_numpy()
is_train = (X["cutoff"] <= SPLIT - pd.Timedelta("21D")).to_numpy()
print(X.iloc[9_000].to_string())
print(f"{is_train.sum():,} training rows, {is_test.sum():,} test rows")


# %%
# With one history, and with both
# -------------------------------
def network():
    """Make a network with its preprocessing."""
    return make_history_pipeline(
        LSTMClassifier(hidden_size=16, n_networks=1, max_epochs=6, random_state=0)
    )


def boosting():
    """Make boosting on counts, means and recencies of all histories."""
    return make_pipeline(
        HistoryAggregator(lookbacks=["14D", "60D"]),
        HistGradientBoostingClassifier(
            learning_rate=0.05, early_stopping=True, random_state=0
        ),
    )


columns = {
    "customer": ["customer", "cutoff", "history"],
    "customer and shop": ["customer", "cutoff", "history", "visits"],
}
chances, auc = {}, {}
for name, make in {"LSTM": network, "boosting": boosting}.items():
    for what, own in columns.items():
        model = make().fit(X.loc[is_train, own], y[is_train])
        chance = model.predict_proba(X[own])[:, 1]
        chances[name, what] = chance
        auc[name, what] = roc_auc_score(y[is_test], chance[is_test])

# The true probability depends on the rate of each customer and the mood of each shop on
# that day.
days = (X.loc[is_test, "cutoff"] - FIRST).dt.days.to_numpy()
own = X.loc[is_test, "customer"].to_numpy()
truth = roc_auc_score(y[is_test], rate[own] * np.exp(mood[shop[own], days] * 0.9))
for (name, what), score in auc.items():
    print(f"{name}, history of {what}: AUC {score:.3f}")
print(f"true rate on that day: AUC {truth:.3f}")

# %%
# What does the history of the shop add?
# --------------------------------------
# On the left, the AUC with each of the histories. On the right, the test rows by the
# hidden mood of their shop: the share that came back, and the mean prediction.
figure, (left, right) = plt.subplots(
    1, 2, figsize=(12, 4.2), width_ratios=[1, 1.4], layout="constrained"
)
places = {"LSTM": 1, "boosting": 0}
COLORS = {"customer": "tab:orange", "customer and shop": "tab:blue"}
for (name, what), score in auc.items():
    left.plot(score, places[name], "o", color=COLORS[what], ms=10)
    left.text(score, places[name] + 0.1, f"{score:.3f}", ha="center")
for name, place in places.items():
    ends = [auc[name, what] for what in COLORS]
    left.plot(ends, [place, place], color="0.7", zorder=0)
left.axvline(truth, color="black", ls="--", label="true rate")
for what, color in COLORS.items():
    left.plot([], [], "o", color=color, label=f"history of {what}")
left.set_yticks([*places.values()], [*places])
left.set(title="Who is back within three weeks?", xlim=(0.765, 0.865), ylim=(-0.6, 1.9))
left.set_xlabel("area under the ROC curve")
left.legend(loc="upper left", fontsize="small")

fifth = pd.qcut(mood[shop[own], days], 5, labels=["worst", "2", "3", "4", "best"])
means = pd.DataFrame(
    {
        "came back": y[is_test],
        **{what: chances["LSTM", what][is_test] for what in COLORS},
    }
)
means = means.groupby(fifth, observed=True).mean()
right.plot(means["came back"], "k.--", ms=9, label="came back")
for (what, color), marker in zip(COLORS.items(), "so", strict=True):
    right.plot(means[what], f"{marker}-", color=color, label=f"LSTM, history of {what}")
right.set(
    title="The same rows, by the mood of the shop",
    xlabel="fifths of the rows",
    ylabel="back within three weeks",
)
right.yaxis.set_major_formatter(PercentFormatter(1))
right.legend(loc="upper left", fontsize="small")

output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "joined_histories.png", dpi=120)
print(f"Picture: {output / 'joined_histories.png'}")
