"""
At which hour should each customer get a newsletter?
====================================================

A newsletter is opened more often if it arrives just before the customer looks at the
inbox. These hours differ between customers and between weekdays and weekends, and they
drift. A network learns from the opens of a year, and predicts the probability of an
open for each of 24 hours; the best hour is the answer.

The newsletters are simulated, so the true probability is known for every hour. There
are two limitations. First, the hours in the log are random. A shop that has always
written at ten, or to early risers in the morning, cannot learn the effect of another
hour: vary the hour first. Second, there are few opens to learn a habit from, here about
eighteen per year, of which five are at weekends.
"""

# %%
# Newsletters and opens
# ---------------------
# There are two kinds of events, newsletters sent and newsletters opened, each with its
# own time. A row is a newsletter, with the history up to the midnight before it, and
# with its hour as a column. All times are local times of the customer.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter
from sklearn.ensemble import HistGradientBoostingClassifier

from sklearn_seqcrm.datasets import make_newsletter_opens
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

KEYS = ["customer_id", "timestamp"]
SEED = 0

data = make_newsletter_opens(800, mean_mailings=100, random_state=SEED)
end = {"observed_until": data.observed_until}
sent = EventLog(data.mailings, *KEYS, fields=[], **end)
opened = EventLog(data.opens, *KEYS, **end)
log = EventLog.concat({"sent": sent, "open": opened})
print(log)

rows = data.mailings[["customer_id", "day", "hour"]]
X = log.attach(rows, cutoff="day")
y = data.target
print(f"{len(X):,} newsletters, {y.mean():.0%} of them opened")

# %%
# A rule first: the customer's most frequent hour
# -----------------------------------------------
# Before any model, count the hours at which a customer has opened, and write at the
# most frequent one. Customers without an open get the hour with the most opens of all
# customers. Here the true probabilities show what the rule is worth: 0 is the best hour
# that is the same for all customers, and 1 is the best hour of each customer and day,
# which no model can reach, because there are few opens to learn from. On data of your
# own, compare the rule with a model in an experiment.
truth = data.next_probability
least, most = truth.mean(axis=0).max(), truth.max(axis=1).mean()

known = data.opens[data.opens["timestamp"] < data.next_days["day"].min()]
hour_of_open = known["timestamp"].dt.hour
n_opens = known.groupby(["customer_id", hour_of_open]).size().unstack(fill_value=0)
single = rows["hour"].groupby(y).value_counts()[1].idxmax()
own = data.next_days["customer_id"].map(n_opens.idxmax(axis=1)).fillna(single)
chosen = {"customer's most frequent hour": own.astype(int).to_numpy()}
opened_by_rule = truth[
    np.arange(len(truth)), chosen["customer's most frequent hour"]
].mean()
print(
    f"opened at one hour for all: {least:.1%}, at the customer's most frequent hour: "
    f"{opened_by_rule:.1%}, {(opened_by_rule - least) / (most - least):.0%} of the gain"
)

# %%
# 24 rows for each customer and day
# ---------------------------------
# The hours of the next week are to be chosen. The rows of a history column are views,
# so 24 candidates copy no events, and the network processes a history once for all of
# them.
hours = pd.DataFrame({"hour": np.arange(24)})
week = log.attach(data.next_days, cutoff="day")
candidates = week.merge(hours, how="cross")
print(f"{len(week):,} customers and days, {len(candidates):,} candidates")


def with_clock(X):
    """Put the hour on a circle, on which 23 is next to 0."""
    angle = 2 * np.pi * X["hour"] / 24
    waves = {
        f"{f.__name__}_{k}": f(k * angle) for f in (np.sin, np.cos) for k in (1, 2)
    }
    return X.drop(columns="hour").assign(**waves)


# %%
# A feature that helps: opens relative to the hour of the row
# ------------------------------------------------------------
# Whether an hour is good depends on its distance from the customer's usual hour.
# Aggregates of a history are the same in all 24 rows, and a network needs examples of
# each hour for each habit to learn the distance. Twelve numbers contain it: the share
# of the customer's opens at the hour of the row, an hour later, and so on. They are
# shares of `HistoryAggregator` by the hour of the opens, over all times and over the
# last 120 days, rotated to the hour of the row.
AROUND = np.arange(-4, 8)

by_hour = data.opens.assign(
    hour=data.opens["timestamp"].dt.hour.astype(str).astype("category")
)
habits = EventLog(by_hour, *KEYS, **end)
aggregator = HistoryAggregator(lookbacks=["120D"], max_levels=24, max_features=None)


def rotated(shares, hour):
    """Take the shares of the hours around that of each row."""
    columns = {}
    for since in ("", "_120D"):
        names = [f"history__hour={k}_share{since}" for k in range(24)]
        on_clock = shares[names].fillna(0).to_numpy()
        for k in AROUND:
            at = (hour + k) % 24
            columns[f"opens{k:+d}h{since}"] = on_clock[np.arange(len(at)), at]
    for name in ("n_events", "n_events_120D", "recency"):
        columns[name] = shares[f"history__{name}"].to_numpy()
    return pd.DataFrame(columns)


shares = aggregator.fit_transform(
    habits.attach(rows[["customer_id", "day"]], cutoff="day")
)
rotated_rows = rotated(shares, rows["hour"].to_numpy())
shares = aggregator.transform(habits.attach(data.next_days, cutoff="day"))
rotated_candidates = rotated(
    shares.loc[shares.index.repeat(24)], candidates["hour"].to_numpy()
)

# %%
# Three models
# ------------
# Gradient boosting takes the rotated shares, the hour and whether it is a weekend. One
# network takes the history and the hour, and another one takes everything. The target
# is an array without a horizon. A newsletter is opened within 24 hours, which end at
# most 47 hours after the midnight of its row; with ``horizon="2D"``, networks validate
# on later days instead of other customers.


def network(max_epochs):
    """Make a network with its preprocessing."""
    return make_history_pipeline(
        LSTMClassifier(
            hidden_size=32,
            learning_rate=0.005,
            max_epochs=max_epochs,
            horizon="2D",
            random_state=0,
        )
    )


def for_trees(X, clock):
    """Make the columns of gradient boosting."""
    return clock.assign(hour=X["hour"], weekend=X["day"].dt.day_of_week >= 5)


def with_both(X, clock):
    """Make the columns of the second network."""
    return pd.concat([with_clock(X), clock], axis=1)


def chances(model, X_train, X_test):
    """Train, and predict the probability of each hour."""
    model.fit(X_train, y)
    return model.predict_proba(X_test)[:, 1].reshape(-1, 24)


boosting = HistGradientBoostingClassifier(
    learning_rate=0.05, early_stopping=True, random_state=0
)
predicted = {
    "rotated shares + boosting": chances(
        boosting, for_trees(X, rotated_rows), for_trees(candidates, rotated_candidates)
    ),
    "LSTM": chances(network(12), with_clock(X), with_clock(candidates)),
    "LSTM + rotated shares": chances(
        network(6),
        with_both(X, rotated_rows),
        with_both(candidates, rotated_candidates),
    ),
}
chosen |= {name: chance.argmax(axis=1) for name, chance in predicted.items()}

# %%
# Share of the possible gain
# --------------------------
# As for the rule above, 0 is the best single hour and 1 the truth.
rate = {"best single hour": least}
rate |= {name: truth[np.arange(len(truth)), h].mean() for name, h in chosen.items()}
rate["truth"] = most
table = pd.DataFrame({"opened": rate})
table["share of the gain"] = (table["opened"] - least) / (most - least)
print(table.to_string(float_format="{:.3f}".format))

# %%
# Two customers
# -------------
# The curves are predictions for a Wednesday and two customers with different habits. A
# dot is the hour that the network chooses; marks at the bottom are the opens of the
# customer. So few opens do not determine a habit: a predicted peak may be lower than
# the true one, or higher.
figure, (left, *panels) = plt.subplots(
    1, 3, figsize=(13, 4), width_ratios=[1.3, 1, 1], layout="constrained"
)
reached = table["share of the gain"].drop(["best single hour", "truth"])
bars = left.barh(reached.index[::-1], reached[::-1], color="tab:blue")
bars[-1].set_color("0.7")
left.bar_label(bars, fmt="{:.0%}", padding=3)
left.axvline(1, color="black", ls="--", lw=1)
left.annotate("truth", (1, -0.4), (-4, 0), textcoords="offset points", ha="right")
left.axvline(0, color="black", lw=1)
left.set(title="Share of the possible gain over one hour for all", xlim=(0, 1.05))
left.xaxis.set_major_formatter(PercentFormatter(1))

is_wednesday = (data.next_days["day"].dt.day_of_week == 2).to_numpy()
many = data.next_days["customer_id"].map(known.groupby("customer_id").size()) >= 15
for wanted, panel in zip((7, 13), panels, strict=True):
    away = np.abs(data.next_peak - wanted).astype(float)
    away[~(is_wednesday & many.to_numpy())] = np.inf
    i = int(np.argmin(away))
    customer = data.next_days["customer_id"].iloc[i]
    panel.step(hours["hour"], truth[i], "k--", where="mid", lw=1.2, label="truth")
    for name, color in zip(
        ["LSTM", "LSTM + rotated shares"], ["tab:orange", "tab:blue"], strict=True
    ):
        chance, at = predicted[name][i], chosen[name][i]
        panel.step(hours["hour"], chance, where="mid", color=color, label=name)
        panel.plot(at, chance[at], "o", color=color)
    panel.axvline(single, color="0.6", ls=":", label="one hour for all")
    times = known.loc[known["customer_id"] == customer, "timestamp"]
    at = times.dt.hour + times.dt.minute / 60
    panel.plot(at, np.full(len(at), -0.02), "|", color="tab:green", markersize=9)
    panel.set(title=f"Customer {customer}", xlabel="hour", xticks=range(0, 25, 6))
    panel.set_ylim(-0.05, 1)  # with room for the legend
panels[0].set_ylabel("probability to open")
panels[0].legend(loc="upper right", fontsize="small")

output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "send_time.png", dpi=120)
print(f"Picture: {output / 'send_time.png'}")
