"""
What will be in the next basket?
================================

Which ten products will a household buy next, among all products, and among those that
it has never bought? The data are real grocery baskets (the Complete Journey data of
84.51°) with about 300 categories of products. The test is the first basket of each
household after the first of November. An event model, trained on the histories without
labels, predicts the probability of each category, partly by a copy mechanism over the
household's own purchases.

The baseline is hard to beat in groceries, here and in the literature: the number of the
household's own baskets with the category. There are two limitations. A network needs
many baskets to be better than counts: with a sixth of the households, as here, its lead
is smaller than the intervals are wide. And a product that is bought after a
recommendation is not always bought because of it.
"""

# %%
# Baskets
# -------
# An event is a category that a household bought on a day. Several categories on one day
# are a basket, and have no order: they are shuffled, because in a sorted basket earlier
# categories could no longer come.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_seqcrm.datasets import load_complete_journey
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.metrics import ndcg_at_k, recall_at_k

KEYS, FIELD, N_BEST = ["household_id", "day"], "product_category", 10
TODAY = pd.Timestamp("2017-11-01")

lines = load_complete_journey(level="line", time_zone="America/New_York").events
lines = lines[lines["household_id"] % 6 == 0].dropna(subset=FIELD)
lines["day"] = lines["timestamp"].dt.normalize()
lines[FIELD] = lines[FIELD].astype(str)
events = lines[[*KEYS, FIELD]].drop_duplicates().sample(frac=1, random_state=0)
known, later = events[events["day"] < TODAY], events[events["day"] >= TODAY]
log = EventLog(known, *KEYS, observed_until=TODAY - pd.Timedelta("1D"))
X = log.snapshots([TODAY])

is_first = later["day"] == later.groupby("household_id")["day"].transform("min")
bought = later[is_first & later["household_id"].isin(X["household_id"])]
print(f"{len(X):,} households, {len(known):,} events")

# %%
# A network
# ---------
# Histories are few and long, so a training step has eight of them. With
# `basket=True`, a probability is that of the category being in the next basket, not
# only in its first event.
model = LSTMEventModel(hidden_size=32, batch_size=8, max_epochs=5, random_state=0)
model.fit(X)
chances = model.predict_next(X, FIELD, n=10_000, basket=True)
print(chances.head(3).to_string(index=False))


def first_ten(lists):
    """Return the best ten of each household."""
    rank = lists.groupby("household_id").cumcount() + 1
    return lists.assign(rank=rank)[rank <= N_BEST]


def not_in(lists, had):
    """Leave out what a household has had."""
    pairs = pd.MultiIndex.from_frame(lists[["household_id", "value"]])
    return lists[~pairs.isin(had)]


had = pd.MultiIndex.from_frame(known[["household_id", FIELD]])
bought = bought.rename(columns={FIELD: "value"})
asked = {"all": bought, "new": not_in(bought, had)}
print(
    f"{bought['household_id'].nunique():,} next baskets of {len(bought):,} categories, "
    f"{len(asked['new']) / len(bought):.0%} of which the household had not had before"
)
lists = {
    ("all", "network"): first_ten(chances),
    ("new", "network"): first_ten(not_in(chances, had)),
}

# %%
# Counts
# ------
# Categories are ranked by the number of the household's own baskets with them. Ties,
# and categories without a basket, are ranked by the number of all baskets.
counts = pd.crosstab(known["household_id"], known[FIELD])
share = counts.sum() / counts.sum().max()


def sorted_lists(scores):
    """Return all categories of each household, the best first."""
    long = scores.stack().rename("score").reset_index()
    long = long.sort_values("score", ascending=False, kind="stable")
    return long.rename(columns={FIELD: "value"})


popular = pd.DataFrame([share] * len(counts), counts.index)
popular = sorted_lists(popular.rename_axis(columns=FIELD))
lists["all", "own frequency"] = first_ten(sorted_lists(counts + 0.5 * share))
lists["all", "most popular"] = first_ten(popular)
lists["new", "most popular"] = first_ten(not_in(popular, had))

# %%
# How much of the basket is in the list?
# --------------------------------------
# Recall is the share of a basket that is among the ten; NDCG gives less weight to lower
# ranks. Intervals are from a bootstrap over households.
rng = np.random.default_rng(0)
found = []
for (what, name), some in lists.items():
    recall, gain = (
        metric(asked[what], some, N_BEST, per_row=True, row="household_id")
        for metric in (recall_at_k, ndcg_at_k)
    )
    draws = rng.choice(recall, (500, len(recall))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    numbers = {"recall": recall.mean(), "low": low, "high": high, "ndcg": gain.mean()}
    found.append({"things": what, "model": name, **numbers})
table = pd.DataFrame(found).sort_values("things", kind="stable", ignore_index=True)
print(table.to_string(index=False, float_format="{:.3f}".format))
recall = table.set_index(["things", "model"])["recall"]
gain = recall["all", "network"] - recall["all", "own frequency"]
print(f"The network minus own frequency, whole baskets: {gain:+.3f}")
gain = recall["new", "network"] - recall["new", "most popular"]
print(f"The network minus the most popular, new categories: {gain:+.3f}")

# %%
# Ten things for a household
# --------------------------
# On the left, the scores over all households. On the right, the list of one household:
# the predicted probability of each category in the next basket, and the share of its
# earlier baskets with it. Categories that it then bought have a star.
figure, (left, right) = plt.subplots(
    1, 2, figsize=(12, 4.8), width_ratios=[1, 1.3], layout="constrained"
)
COLORS = {"network": "tab:blue", "own frequency": "tab:orange", "most popular": "0.6"}
places = -np.arange(len(table)) - (table["things"] == "new")
for place, one in zip(places, table.itertuples(), strict=True):
    left.barh(place, one.recall, color=COLORS[one.model], height=0.75)
    left.hlines(place, one.low, one.high, color="black", lw=1.5)
    left.text(one.high + 0.008, place, f"{one.recall:.3f}", va="center")
left.set_yticks(places, table["model"])
left.text(0.005, 0.65, "of the whole basket", va="center", weight="bold")
left.text(0.005, -3.4, "of what it had never bought", va="center", weight="bold")
left.set(title="Share of the basket in a list of ten", xlim=(0, 0.46), ylim=(-5.7, 1.0))
left.set_xlabel("recall@10")

hits = lists["all", "network"].merge(
    bought, on=["household_id", "value"], validate="m:1"
)
n_baskets = known.groupby("household_id")["day"].nunique()
n_hits = hits.groupby("household_id").size()
household = n_hits.index[(n_hits == 5) & n_baskets[n_hits.index].between(30, 60)][0]
own = lists["all", "network"].query("household_id == @household")
was = counts.loc[household, own["value"]] / n_baskets[household]
came = own["value"].isin(bought.loc[bought["household_id"] == household, "value"])
names = [f"{'★ ' if c else ''}{v}" for v, c in zip(own["value"], came, strict=True)]
places = -np.arange(len(own))
right.barh(
    places + 0.2,
    own["probability"],
    0.38,
    color="tab:blue",
    label="network: probability",
)
right.barh(
    places - 0.2, was, 0.38, color="tab:orange", label="share of its earlier baskets"
)
right.set_yticks(places, names)
right.set(title=f"Household {household}: ten things, ★ bought")
right.set_xlabel("probability, share")
right.legend(loc="upper center", bbox_to_anchor=(0.4, -0.12), ncols=2, frameon=False)

output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "recommended_products.png", dpi=120)
print(f"Picture: {output / 'recommended_products.png'}")
