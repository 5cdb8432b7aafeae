"""
What will customers buy, and how certain is it?
===============================================

A forecast of sales is one number for all customers, and a customer value is one number
for each. A simulation of customers gives both from one model, with their uncertainty.
The data are real grocery purchases (the Complete Journey data of 84.51°): what a
household spends in each department on each day. The model learns without labels from
the events before the first of October, and simulates eight weeks from there.

The baseline is the no-change forecast: the next eight weeks are like the last eight.
There are three limitations. For totals and means of regular shoppers this forecast is
hard to beat, but it has no uncertainty. Simulations contain nothing new: one year of
data has no information on seasons, such as Thanksgiving, the last week here. And
households are simulated independently, so effects on all of them at once (weather, a
campaign, errors of the model) are missing, and intervals of totals are too narrow.
"""

# %%
# The log on the first of October
# -------------------------------
# An event is a department in which a household bought on a day. The departments of a
# household on one day are a basket; the model simulates them one after the other. A
# sixth of the households is enough for this page.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.dates import ConciseDateFormatter

from sklearn_seqcrm.datasets import load_complete_journey
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.metrics import normalized_gini, pit_histogram
from sklearn_seqcrm.targets import future_sum

TODAY = pd.Timestamp("2017-10-01")
WEEK = pd.Timedelta("7D")
N_WEEKS, N_PATHS = 8, 100
HORIZON = N_WEEKS * WEEK

lines = load_complete_journey(level="line", time_zone="America/New_York").events
lines = lines[lines["household_id"] % 6 == 0]
department = lines["department"].astype(str)
common = department.value_counts().index[:8]
events = (
    lines.assign(
        day=lines["timestamp"].dt.normalize(),
        department=department.where(department.isin(common), "OTHER"),
    )
    .groupby(["household_id", "day", "department"], as_index=False)["spend"]
    .sum()
)
known = events[events["day"] < TODAY]
log = EventLog(known, "household_id", "day", observed_until=TODAY)
X = log.snapshots([TODAY])
print(f"{len(X):,} households, {len(known):,} events")

# %%
# One model
# ---------
# `score` is the mean log likelihood per event: higher is better. The validation loss is
# its negative on the validation households.
model = LSTMEventModel(hidden_size=32, max_epochs=12, random_state=0).fit(X)
losses = model.net_.history[:, "valid_loss"]
print(f"{model.n_iter_} epochs: {losses[0]:.3f}, ..., {min(losses):.3f} nats per event")

# %%
# Simulate all households. Path k of all households together is one possible future.
futures = model.sample(X, HORIZON, n_paths=N_PATHS, random_state=0)
print(f"{len(futures):,} simulated events")
print(futures.head(3).to_string(index=False))


# %%
# What will the shop sell?
# ------------------------
# `demand` adds up the same paths over all households to weekly sales of each
# department, with the mean over paths and an interval with eight of ten paths.
# Compare with the real sales, and with the mean of the last eight weeks.
demand = model.demand(
    X,
    "department",
    HORIZON,
    every=WEEK,
    value="spend",
    n_paths=N_PATHS,
    interval=0.8,
    random_state=0,
)
demand["week"] = demand["start"] // WEEK
print(demand.head(3).to_string(index=False, float_format="%.1f"))


def real_sales(chosen):
    """Sum the real sales of some departments by week, from 0 at the cutoff on."""
    own = events[events["department"].isin(chosen)]
    week = (own["day"] - TODAY) // WEEK
    return own["spend"].groupby(week).sum().loc[-20 : N_WEEKS - 1]


departments = [*common, "OTHER"]
found = {}
for name, chosen in {"all": departments, **{one: [one] for one in departments}}.items():
    real = real_sales(chosen)
    drawn = demand[demand["level"].isin(chosen)].groupby("week")["mean"].sum()
    came, usual = real.loc[0:], real.loc[-N_WEEKS:-1].mean()
    found[name] = {
        "sales": came.sum(),
        "bias, simulated": drawn.sum() / came.sum() - 1,
        "bias, as before": N_WEEKS * usual / came.sum() - 1,
        "weekly error, simulated": (came - drawn).abs().mean() / came.mean(),
        "as before": (came - usual).abs().mean() / came.mean(),
    }
table = pd.DataFrame(found).T
print(table.to_string(formatters=["{:,.0f}".format, *["{:.1%}".format] * 4]))

# %%
# What will a household spend?
# ----------------------------
# Sum the same paths for each household. The mean is a prediction, and eight of ten
# households should be between the quantiles .1 and .9.
paths = futures["spend"].groupby([futures["row"], futures["path"]]).sum()
paths = paths.unstack(fill_value=0).reindex(
    index=range(len(X)), columns=range(N_PATHS), fill_value=0
)
paths = paths.to_numpy()
value = paths.mean(axis=1)
low, high = np.quantile(paths, [0.1, 0.9], axis=1)

X_after = EventLog(events, "household_id", "day").attach(
    X[["household_id"]], cutoff=TODAY
)
came = future_sum(X_after, "spend", HORIZON)
X_before = EventLog(events, "household_id", "day").attach(
    X[["household_id"]], cutoff=TODAY - HORIZON
)
before = future_sum(X_before, "spend", HORIZON)
for name, guess in {"simulated": value, "as before": before}.items():
    print(
        f"{name}: bias {guess.sum() / came.sum() - 1:+.1%}, mean absolute error "
        f"{np.abs(guess - came).mean():.0f} dollars, "
        f"Gini {normalized_gini(came, guess):.3f}"
    )
covered = (low <= came) & (came <= high)
print(f"{covered.mean():.0%} of the households lie in intervals of 80%")

# %%
# How certain is it?
# ------------------
# Above, the sales of three departments: the mean and the interval of eight of ten
# paths. Below, every tenth household with its interval and its spend, and the ranks of
# the observed spend among the paths, whose histogram is flat if distributions are
# right.
figure, axes = plt.subplots(2, 3, figsize=(12, 6.5), layout="constrained")
for axis, name in zip(axes[0], ["GROCERY", "DRUG GM", "PRODUCE"], strict=True):
    real, drawn = real_sales([name]), demand[demand["level"] == name]
    weeks, ahead = TODAY + WEEK * real.index, TODAY + drawn["start"]
    axis.fill_between(
        ahead,
        drawn["lower"],
        drawn["upper"],
        color="tab:blue",
        alpha=0.35,
        linewidth=0,
    )
    axis.plot(ahead, drawn["mean"], color="tab:blue", label="simulated")
    axis.plot(weeks, real, "o-", color="black", ms=3, lw=1, label="real")
    usual = real.loc[-N_WEEKS:-1].mean()
    axis.plot(ahead, [usual] * N_WEEKS, "--", color="tab:orange", label="as before")
    axis.axvline(TODAY - WEEK / 2, color="0.7", linestyle=":")
    axis.set(title=name, ylim=(0, None))
    axis.xaxis.set_major_formatter(ConciseDateFormatter(axis.xaxis.get_major_locator()))
axes[0, 0].set_ylabel("dollars a week")
axes[0, 0].legend(loc="lower left")

grid = axes[1, 0].get_gridspec()
for axis in axes[1, :2]:
    axis.remove()
below = figure.add_subplot(grid[1, :2])
shown = np.argsort(value)[::10]
places = np.arange(len(shown))
below.vlines(places, low[shown], high[shown], color="tab:blue", alpha=0.5, lw=3)
below.plot(places, value[shown], "_", color="tab:blue", ms=7, label="simulated")
below.plot(places, came[shown], "o", color="black", ms=3, label="real")
below.plot(places, before[shown], "x", color="tab:orange", ms=4, label="as before")
below.set(
    title="Spend of every tenth household in eight weeks",
    xlabel="households by simulated spend",
    ylabel="dollars",
    xticks=[],
    yscale="symlog",
    ylim=(0, None),
)
below.set_yticks([0, 10, 100, 1000], ["0", "10", "100", "1,000"])
below.minorticks_off()
below.legend(loc="lower right")

bins = pit_histogram(came, paths, n_bins=10)
axes[1, 2].bar(np.arange(10) / 10 + 0.05, bins, width=0.09, color="tab:blue", alpha=0.6)
axes[1, 2].axhline(0.1, color="black", linestyle="--", linewidth=1)
axes[1, 2].set(
    title="Households among their paths",
    xlabel="share of the paths below",
    ylabel="share of the households",
)

output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "simulated_customers.png", dpi=120)
print(f"Picture: {output / 'simulated_customers.png'}")
