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
impressions would be expensive exactly where they are worth most.
"""

# %%
# Auctions with a known truth
# ---------------------------
# In a second-price auction the highest bid wins and pays the second highest. For four
# weeks, bids were drawn at random. So whether the ad was shown depends only on chance
# and on prices, and the effect of the ad can be learned: whether visitors convert is
# known seven days later, with and without the ad.
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.ticker import PercentFormatter
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
# Train on the first three weeks, whose conversions are known when the fifth begins.
# One model learns from both groups, with the ad as a static. The value of an
# impression is the predicted probability with the ad minus that without the ad, times
# the worth of a conversion.
log = EventLog(data.events, *KEYS, observed_until="2024-02-05")
X = log.attach(rows, cutoff="timestamp")
train, live = day < 21, day >= 28
trees = HistGradientBoostingClassifier(
    max_iter=100, learning_rate=0.05, max_leaf_nodes=15, random_state=0
)
# One network instead of an ensemble: the time for a bid is short.
network = make_history_pipeline(
    LSTMClassifier(hidden_size=32, n_networks=1, horizon="7D", random_state=0)
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
# The winner of an auction knows the price. A loser knows only a lower bound, its own
# bid. `WinRateCurve` takes both into account.
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
results, week_of_bids = {}, {}
for name in ["constant", *models, "network, effect ignored", "truth"]:
    week_of_bids[name] = _, won = bid_for_a_week(values[name])
    results[name] = {
        "won": won[live].mean(),
        "spent": price[live & won].sum() / 7,
        "profit": gain[live & won].sum() / 7,
    }
table = pd.DataFrame(results).T.sort_values("profit")
print(table.round({"won": 3, "spent": 1, "profit": 1}).to_string())

# %%
# Without a pacer, bids of the value spend the budget early in the day, also on
# impressions that are worth little more than their price.
wanted = (live & (values["network"] > price)) * price
spent_at_once = pd.Series(wanted).groupby(day).cumsum().to_numpy()
at_once = (wanted > 0) & (spent_at_once <= BUDGET)
results["network, no pacer"] = {"profit": gain[at_once].sum() / 7}
print(f"network, no pacer: {results['network, no pacer']['profit']:.1f}")

# %%
# The first of these days, live
# -----------------------------
# The values above were computed in one batch. In production, events and impressions
# arrive one by one. A `StreamingScorer` keeps a state for each visitor: an event
# updates it, and an impression is scored with and without the ad. Of equal times,
# impressions come first, because a row sees only events before its cutoff.
scorer = StreamingScorer(network, *KEYS)
is_past = data.events["timestamp"] < LIVE
scorer.update(EventLog(data.events[is_past], *KEYS))
pacer = BudgetPacer(BUDGET, hour[past], values["network"][past], curve, n_periods=7)
today = data.events[~is_past & (data.events["timestamp"] < LIVE + pd.Timedelta("1D"))]
stream = [
    *zip(rows["timestamp"][day == 28], np.flatnonzero(day == 28), strict=True),
    *((event["timestamp"], event) for event in today.to_dict("records")),
]
streamed, took = {}, []
for now, arrival in sorted(stream, key=lambda one: one[0]):  # stable
    if isinstance(arrival, dict):
        scorer.update([arrival])
        continue
    row = rows.iloc[arrival].to_dict()
    began = perf_counter()
    with_ad, without = (
        scorer.score_one(row["customer_id"], None, {**row, "ad": ad}, cutoff=now)[1]
        for ad in (1.0, 0.0)
    )
    streamed[arrival] = pacer.bid(data.worth * (with_ad - without), hour[arrival])
    took.append(perf_counter() - began)
    if streamed[arrival] > price[arrival]:
        pacer.pay(price[arrival])
in_batch = week_of_bids["network"][0][list(streamed)]
difference = np.abs(list(streamed.values()) - in_batch).max()
print(
    f"{len(streamed):,} bids, largest difference to the batch: {difference:.0e} euros"
)
half, most = 1000 * np.quantile(took, [0.5, 0.99])
print(f"a bid takes {half:.2f} milliseconds, and 99% take less than {most:.2f}")

# %%
# The answer
# ----------
# On the left, the spending of a day with and without the pacer, and the win rate of
# bids: by won auctions alone, it seems easier to win than it is. On the right, what
# the bidders earn with the same budget.
figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(14, 4.2), width_ratios=[1, 1, 1.2], layout="constrained"
)
first = day == 28
for name, won, color in (
    ("pacer", week_of_bids["network"][1], "tab:blue"),
    ("no pacer", at_once, "tab:gray"),
):
    left.plot(hour[first], np.cumsum((price * won)[first]), color=color, label=name)
left.axhline(BUDGET, color="black", lw=0.8, ls=":")
left.set(
    title="The network's spending on a day",
    xlabel="hour",
    ylabel="euros",
    xlim=(0, 24),
    xticks=range(0, 25, 4),
)
left.legend(loc="lower right")

grid = np.linspace(0, 0.6, 200)
true_rate = np.searchsorted(np.sort(price[past]), grid) / past.sum()
won_prices = np.sort(price[past & shown])
middle.plot(grid, true_rate, color="black", lw=3, alpha=0.3, label="truth")
middle.plot(grid, curve.win_rate(grid), color="tab:blue", label="WinRateCurve")
middle.plot(
    grid,
    np.searchsorted(won_prices, grid) / len(won_prices),
    color="tab:orange",
    label="won auctions alone",
)
middle.set(title="Win rate", xlabel="bid in euros", xlim=(0, 0.6), ylim=(0, 1.02))
middle.yaxis.set_major_formatter(PercentFormatter(1))
middle.legend(loc="lower right")

profits = pd.DataFrame(results).T["profit"].sort_values()
colors = ["tab:blue" if name == "network" else "tab:gray" for name in profits.index]
bars = right.barh(profits.index, profits, color=colors)
right.bar_label(bars, fmt="%.0f", padding=3)
right.set(title=f"Profit with {BUDGET:.0f} euros a day", xlabel="euros a day")
right.margins(x=0.1)

output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "bids.png", dpi=120)
print(f"Picture: {output / 'bids.png'}")
