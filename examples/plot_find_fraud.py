"""
Which payments are not the customer's own?
==========================================

A fraudulent payment is rarely unusual by itself. It is unusual for this card: another
place, a shop where the card never pays, five times the usual amount, three payments
within minutes. Two models take the history of the card. The event model needs no
labels: it predicts the distribution of the next payment, and a payment with a low
likelihood is an anomaly. The classifier learns from labels, with the payment in
question as the last event of the history.

The payments are simulated, with three kinds of fraud. One of them is new: it begins
after the training period, so no label contains it. There are three limitations. If
there are labels for a kind of fraud, they help far more than anomaly scores, which also
find payments that are rare and honest, such as the first one of a holiday. With labels,
boosted trees on the right columns are hard to beat; anomaly scores are further columns
for them. And the simulation is easier than reality: real thieves adapt,
and real labels are late and incomplete.
"""

# %%
# Payments of cards
# -----------------
# Each card has a home, categories in which it pays, an hour, and a typical amount.
# Some customers travel, which is honest. The kinds of fraud:
#
# - *tested*: a tiny payment online, to test the card number, then large ones;
# - *stolen*: a few payments in another place within hours, twice as large as usual;
# - *taken over*, which is new: once a day, online and at home, for three times as much,
#   and mostly in categories in which the customer does not buy.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.dates import ConciseDateFormatter
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.metrics import average_precision_score

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

DAY_ONE, SPLIT, N_DAYS = pd.Timestamp("2025-01-01"), pd.Timestamp("2025-05-01"), 180
N_CARDS, N_PLACES, N_CATEGORIES = 700, 12, 10
KEYS = ["card", "timestamp"]
KINDS = ["tested", "stolen", "taken over"]


def payments_of_card(card, rng):
    """Simulate the payments of a card, honest and fraudulent."""
    home, hour, level = rng.integers(N_PLACES), rng.normal(14, 3), rng.normal(3, 0.5)
    taste = rng.dirichlet(np.full(N_CATEGORIES, 0.4))
    n = rng.poisson(rng.gamma(3, 20))
    day = rng.integers(N_DAYS, size=n)
    place = np.full(n, home)
    if rng.random() < 0.4:  # a holiday of ten days
        away = np.abs(day - rng.integers(N_DAYS)) <= 5
        place[away] = rng.integers(N_PLACES)
    category = rng.choice(N_CATEGORIES, n, p=taste)
    own = {
        "day": day + (rng.normal(hour, 2.5, n) % 24) / 24,
        "category": category,
        "place": place,
        "online": rng.random(n) < 0.3,
        "amount": np.exp(level + 0.15 * category + rng.normal(0, 0.6, n)),
        "kind": "",
    }
    tables = [pd.DataFrame(own)]
    for kind in KINDS:
        if rng.random() < (0.05 if kind == "taken over" else 0.1):
            tables.append(fraud(kind, rng, home, hour, level, taste))
    return pd.concat(tables).assign(card=card)


def fraud(kind, rng, home, hour, level, taste):
    """Simulate fraudulent payments."""
    n, start = rng.integers(3, 6), rng.uniform(20, N_DAYS - 2)
    category = rng.choice(N_CATEGORIES, n, p=taste)
    amount, place, online = level + 0.15 * category + rng.normal(0, 0.6, n), home, True
    if kind == "tested":
        day = start + rng.exponential(0.01, n).cumsum()
        category = rng.choice([7, 8, 9], n)
        amount = np.append(0.5, rng.normal(5, 0.5, n - 1))
    elif kind == "stolen":
        day = start + rng.exponential(0.1, n).cumsum()
        category, amount = rng.integers(N_CATEGORIES, size=n), amount + 0.7
        place, online = rng.integers(N_PLACES), False
    else:
        split = (SPLIT - DAY_ONE).days
        day = rng.uniform(split, N_DAYS - 5) // 1 + np.arange(n)
        day = day + (rng.normal(hour, 2.5, n) % 24) / 24
        category = rng.choice(taste.argsort()[:5], n)
        amount = level + 0.15 * category + rng.normal(1.1, 0.6, n)
    columns = {
        "day": day,
        "category": category,
        "place": place,
        "online": online,
        "amount": np.exp(amount),
    }
    return pd.DataFrame(columns).assign(kind=kind)


rng = np.random.default_rng(0)
payments = pd.concat([payments_of_card(card, rng) for card in range(N_CARDS)])
day = pd.to_timedelta(payments.pop("day"), unit="D")
payments["timestamp"] = (DAY_ONE + day).dt.floor("min")
payments["amount"] = payments["amount"].round(2)
for name in ("category", "place"):
    payments[name] = payments[name].astype(str).astype("category")
payments = payments.sort_values(KEYS, ignore_index=True)
y = (payments["kind"] != "").to_numpy()
is_test = (payments["timestamp"] >= SPLIT).to_numpy()
print(f"{len(payments):,} payments, {is_test.sum():,} of them in the test")
kinds = payments["kind"].replace("", "honest")
print(kinds[is_test].value_counts().rename_axis(None).to_string())

# %%
# Without labels
# --------------
# The model is trained on all payments before the split, with the fraud, which is rare.
# `score_events` returns the log likelihood of every payment given those before it: of
# its time, and of each field.
fields = ["category", "place", "online", "amount"]
payments["online"] = np.where(payments["online"], "online", "card")
payments["online"] = payments["online"].astype("category")
log = EventLog(payments[[*KEYS, *fields]], *KEYS)
events = LSTMEventModel(hidden_size=32, max_epochs=8, random_state=0)
events.fit(log.snapshots([SPLIT]))

everything = log.snapshots([payments["timestamp"].max() + pd.Timedelta("1min")])
improbability = -events.score_events(everything)
surprise = improbability[[f"log_prob_{name}" for name in fields]]
surprise.columns = fields
print(surprise.groupby(kinds).mean().round(2))

# %%
# The time is left out of the score. Its likelihood is that of a single minute, and
# usual times are spread over many minutes, so a usual time has a low likelihood, too:
# few payments come two minutes after the last one, but even fewer in one given minute
# of the third day.
in_all = surprise.sum(axis=1)

# %%
# The other model without labels takes columns: the payment itself, the card's mean
# amount, its shares of places and categories, and the number of payments within an
# hour, a day and a week. With `allow_exact_matches` a history includes the events *at*
# its cutoff: the payment in question.
X = log.attach(payments[KEYS], cutoff="timestamp", allow_exact_matches=True)
before = log.attach(payments[KEYS], cutoff="timestamp")
aggregator = HistoryAggregator(lookbacks=["1h", "1D", "7D"], max_features=None)
columns = aggregator.fit(before[~is_test]).transform(before)
columns = columns.select_dtypes("number").reset_index(drop=True)
hour = payments["timestamp"].dt.hour


def own_share(field):
    """Return the share of the card's earlier payments with this payment's value."""
    value = payments[field].astype(str)
    shares = np.zeros(len(payments))
    for level in payments[field].cat.categories:
        name = f"history__{field}={level}_share"
        at = (value == level).to_numpy()
        if name in columns:
            shares[at] = columns.loc[at, name]
    return shares


rows = payments[fields].assign(
    hour=hour,
    ratio=np.log(payments["amount"]) - np.log(columns["history__amount_mean"]),
    **{f"own share of {name}": own_share(name) for name in ("category", "place")},
)
table = pd.concat([rows, columns], axis=1)
numbers = table.select_dtypes("number").fillna(-1)
forest = IsolationForest(random_state=0).fit(numbers[~is_test])

# %%
# With labels
# -----------
# Boosting takes the same columns. The network takes the history, which ends with the
# payment. A third model takes the columns and the log likelihood of each field by the
# event model.


def boosting():
    """Make gradient boosting with early stopping."""
    return HistGradientBoostingClassifier(
        categorical_features="from_dtype",
        learning_rate=0.05,
        early_stopping=True,
        random_state=0,
    )


network = make_history_pipeline(
    LSTMClassifier(hidden_size=32, n_networks=1, max_epochs=12, random_state=0)
)
network.fit(X[~is_test], y[~is_test])
alone = boosting().fit(table[~is_test], y[~is_test])
both = pd.concat([table, surprise.add_prefix("surprise of ")], axis=1)
with_surprise = boosting().fit(both[~is_test], y[~is_test])

scores = {
    "isolation forest": -forest.score_samples(numbers[is_test]),
    "surprise": in_all[is_test].to_numpy(),
    "boosting": alone.predict_proba(table[is_test])[:, 1],
    "LSTM": network.predict_proba(X[is_test])[:, 1],
    "boosting + surprise": with_surprise.predict_proba(both[is_test])[:, 1],
}

# %%
# Which fraud do they find?
# -------------------------
# Average precision for each kind of fraud, among all honest payments. A random order
# has the share of this kind as its average precision, about .01.
kind = payments.loc[is_test, "kind"].to_numpy()
found = {}
for name, score in scores.items():
    found[name] = {"all fraud": average_precision_score(y[is_test], score)}
    for one in KINDS:
        asked = np.isin(kind, ["", one])
        found[name][one] = average_precision_score(kind[asked] == one, score[asked])
found = pd.DataFrame(found)
print(found.to_string(float_format="{:.3f}".format))
print("Best model for each:")
print(found.idxmax(axis=1).to_string())

# %%
# A card that was taken over
# --------------------------
# On the left, all models and kinds of fraud. On the right, the payments of one card by
# amount; the color is the anomaly score.
figure, (left, right) = plt.subplots(
    1, 2, figsize=(12.5, 5), width_ratios=[1, 1.25], layout="constrained"
)
STYLES = {
    "isolation forest": ("0.6", "s"),
    "surprise": ("tab:blue", "D"),
    "boosting": ("tab:orange", "s"),
    "LSTM": ("tab:blue", "o"),
    "boosting + surprise": ("tab:purple", "P"),
}
places = np.arange(len(found))
for i, (name, (color, marker)) in enumerate(STYLES.items()):
    labeled = "" if i < 2 else " (labels)"
    left.plot(
        found[name],
        places + 0.13 * (i - 2),
        marker,
        color=color,
        fillstyle="none" if i < 2 else "full",
        ms=8,
        label=name + labeled,
    )
for place in places[1:] - 0.5:
    left.axhline(place, color="0.9", lw=1)
left.set_yticks(places, [*found.index[:-1], "taken over\n(no labels)"])
left.invert_yaxis()
left.set(title="What is found, by kind of fraud", xlim=(-0.03, 1.03))
left.set_xlabel("average precision")
left.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)

# Of the cards with some payments, the one whose fraud has the highest anomaly score.
at = payments.assign(surprise=in_all)
taken = at[at["kind"] == "taken over"].groupby("card")["surprise"].median()
busy = at.groupby("card").size().reindex(taken.index).between(60, 120)
own = at[at["card"] == taken[busy].idxmax()]
drawn = right.scatter(
    own["timestamp"], own["amount"], c=own["surprise"], cmap="cividis_r", s=28
)
thief = own[own["kind"] != ""]
right.plot(
    thief["timestamp"],
    thief["amount"],
    "o",
    color="tab:red",
    fillstyle="none",
    ms=11,
    label="not the customer's",
)
right.axvline(SPLIT, color="0.7", linestyle=":")
right.annotate(
    "trained until here",
    (SPLIT, own["amount"].min() / 2),
    (-4, 0),
    textcoords="offset points",
    ha="right",
    color="0.4",
)
figure.colorbar(drawn, label="surprise of its fields, in nats")
right.set(title="One card", ylabel="amount", yscale="log")
right.set_ylim(bottom=own["amount"].min() / 3)
right.xaxis.set_major_formatter(ConciseDateFormatter(right.xaxis.get_major_locator()))
right.legend(loc="upper left", fontsize="small")

output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "fraud.png", dpi=120)
print(f"Picture: {output / 'fraud.png'}")
