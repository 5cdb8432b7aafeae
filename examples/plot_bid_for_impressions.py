"""
How much should I bid for an impression?
========================================

A visitor of a shop opens another site, and its ad space is auctioned within a tenth of
a second. An exchange allows about ten milliseconds for a bid. What the impression is
worth depends on the history of the visitor up to this moment: somebody who has just
filled a cart buys anyway, and somebody who left one three days ago needs a reminder.

Here, a network computes the value of each impression from a stream of events, and a
pacer turns values into bids that spend a budget over the day. The auctions are
simulated, so that the true effect of each ad is known. Two limitations: the simulated
ads change no later event, and no other advertiser knows the visitors. If others did,
impressions would be dear exactly where they are worth most.
"""

# %%
# Auctions with a known truth
# ---------------------------
# In a second-price auction the highest bid wins and pays the second highest. For four
# weeks, bids were drawn at random. Who was shown the ad is then an experiment, and the
# effect of the ad can be learned: whether visitors convert is known seven days later,
# with and without the ad.
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import make_ad_auctions
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import BudgetPacer, StreamingScorer, WinRateCurve

# With one impression at a time, a second thread does not help.
torch.set_num_threads(1)

KEYS = ["customer_id", "timestamp"]
START, LIVE = pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-29")
BUDGET = 20.0  # euros a day

data = make_ad_auctions(1000, random_state=0)
rows, price = data.rows, data.price
since_start = rows["timestamp"] - START
day, hour = since_start.dt.days.to_numpy(), since_start.dt.seconds.to_numpy() / 3600
rng = np.random.default_rng(0)
bids = rng.lognormal(np.log(0.15), 0.5, len(rows))
shown = bids > price
converted = np.where(shown, data.target, data.target_without)
print(f"{len(data.events):,} events in the shop, {len(rows):,} impressions offered")
print(f"{converted[shown].mean():.1%} convert with the ad", end=", ")
print(f"{converted[~shown].mean():.1%} without")

# %%
# Learn values
# ------------
# Train on the first three weeks, whose conversions are known when the fifth begins. One
# model learns from both groups, with the ad as a static. The value of an impression is
# what it predicts with the ad minus without the ad, times the worth of a conversion.
log = EventLog(data.events, *KEYS, observed_until="2024-02-05")
X = log.attach(rows, cutoff="timestamp")
train, live = day < 21, day >= 28
trees = HistGradientBoostingClassifier(
    max_iter=100, learning_rate=0.05, max_leaf_nodes=15, random_state=0
)
network = make_history_pipeline(
    LSTMClassifier(hidden_size=32, validation="customers", random_state=0)
)
models = {
    "RFM and boosting": make_pipeline(RFMFeatures(amount="amount"), trees),
    "aggregates and boosting": make_pipeline(HistoryAggregator(), trees),
    "network": network,
}


def predict(model, ad):
    return model.predict_proba(X.assign(ad=ad))[:, 1]


probability, values = {}, {}
for name, model in models.items():
    model.fit(X[train].assign(ad=shown[train].astype(float)), converted[train])
    probability[name] = predict(model, 1.0)
    values[name] = data.worth * (probability[name] - predict(model, 0.0))
values["network, effect ignored"] = data.worth * probability["network"]
effect = converted[train & shown].mean() - converted[train & ~shown].mean()
values["constant"] = np.full(len(X), data.worth * effect)
values["truth"] = data.worth * (data.probability - data.probability_without)

# %%
# Learn prices
# ------------
# The winner of an auction knows the price. The others know only that it was at least
# their bid. `WinRateCurve` takes both into account.
seen = np.where(shown, price, np.nan)
past = (day >= 21) & (day < 28)
curve = WinRateCurve(bids[past], seen[past])
for bid in (0.1, 0.2, 0.4):
    won_only = (seen[past & shown] < bid).mean()
    print(
        f"a bid of {bid:.2f} wins {curve.win_rate(bid):.0%} of auctions; "
        f"{(price[past] < bid).mean():.0%} is true, {won_only:.0%} by won ones alone"
    )

# %%
# A week of bids
# --------------
# Each day begins with the auctions of the seven days before: their times and values,
# and prices as far as they are known. From these, a `BudgetPacer` computes which share
# of the value to bid, and again before each bid with what is left of the budget.


def bid_for_a_week(value, budget=BUDGET):
    """Return the bids and which auctions were won; those before are as above."""
    own_bids, won = bids.copy(), shown.copy()
    for today in range(28, 35):
        week = (day >= today - 7) & (day < today)
        curve = WinRateCurve(own_bids[week], np.where(won, price, np.nan)[week])
        pacer = BudgetPacer(budget, hour[week], value[week], curve, n_periods=7)
        for i in np.flatnonzero(day == today):
            own_bids[i] = pacer.bid(value[i], hour[i])
            won[i] = own_bids[i] > price[i]
            if won[i]:
                pacer.pay(price[i])
    return own_bids, won


gain = values["truth"] - price  # expected profit of an impression that is won
results = {}
for name in ["constant", *models, "network, effect ignored", "truth"]:
    own_bids, won = bid_for_a_week(values[name])
    results[name] = {
        "won": won[live].mean(),
        "spent": price[live & won].sum() / 7,
        "profit": gain[live & won].sum() / 7,
    }
table = pd.DataFrame(results).T.sort_values("profit")
print(table.round({"won": 3, "spent": 1, "profit": 1}).to_string())

# %%
# Without a pacer, a bidder who bids the value spends the budget early in the day, also
# on impressions that are worth little more than their price.
best_so_far = {}
for name in ("network", "truth"):
    at_once = np.zeros(len(rows), dtype=bool)
    for today in range(28, 35):
        wanted = (day == today) & (values[name] > price)
        at_once |= wanted & (np.cumsum(price * wanted) <= BUDGET)
    best_so_far[name] = gain[at_once].sum() / 7
    print(f"{name}, without a pacer: {best_so_far[name]:.1f}")

# %%
# The same, live
# --------------
# The values above were computed in one batch. In production, events and impressions
# arrive one by one. A `StreamingScorer` keeps a state for each visitor: an event
# updates it, and an impression is scored twice, with and without the ad. At equal
# times, impressions come first, because a row sees only events before its cutoff.
scorer = StreamingScorer(network, *KEYS)
is_past = data.events["timestamp"] < LIVE
scorer.update(EventLog(data.events[is_past], *KEYS))
stream = pd.concat([rows[live], data.events[~is_past]])
stream = stream.sort_values("timestamp", kind="stable").to_dict("records")
pacer = BudgetPacer(7 * BUDGET, hour[past], values["network"][past], curve)
streamed, took = [], []
for record in stream:
    if isinstance(record["event"], str):
        scorer.update([{name: record[name] for name in data.events}])
        continue
    began = perf_counter()
    who, now = record["customer_id"], record["timestamp"]
    with_ad, without = (
        scorer.score_one(who, None, {**record, "ad": ad}, cutoff=now)[1]
        for ad in (1.0, 0.0)
    )
    streamed.append(data.worth * (with_ad - without))
    pacer.bid(streamed[-1], now.hour + now.minute / 60)
    took.append(perf_counter() - began)
print(
    f"largest difference to the batch: {np.abs(streamed - values['network'][live]).max():.0e}"
)
half, most = 1000 * np.quantile(took, [0.5, 0.99])
print(f"a bid takes {half:.2f} milliseconds, 99% take less than {most:.2f}")

# %%
# The answer
# ----------
figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(14, 4.2), width_ratios=[1, 1, 1.25], layout="constrained"
)
plt.show()
