"""
What is clicked next, and will this visit end with an order?
=============================================================

A visit is a sequence of clicks of several kinds with different fields: a search has a
number of results, a view of a product its name and price, a cart a sum. After every
click there are two questions: what comes next, and will the visit end with an order? An
early answer to the second question is worth most, while the visitor is still on the
site.

The clicks are simulated: each visitor has a hidden purpose (looking, comparing or
buying), which changes during the visit and affects the order of clicks. There are two
limitations. First, boosting on counts of clicks is hard to beat, as in real shops,
where most reasons for an order are not in the clicks. Second, with a row after every
click, long visits have more rows than short ones; the curves below compare visits with
the same number of clicks.
"""

# %%
# Five kinds of clicks
# --------------------
# The next click depends on the purpose, and some clicks change the purpose: a second
# view of the *same* product turns a comparing visitor into a buyer, and a price far
# above the last one turns visitors back to looking.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

N_VISITS, FIRST = 6000, pd.Timestamp("2025-03-01")
ACTIONS = ["search", "view", "cart", "order", "leave"]
# Probabilities of the next click, for each purpose: looking, comparing, buying.
CHANCES = np.array(
    [
        [0.25, 0.52, 0.02, 0.00, 0.21],
        [0.20, 0.62, 0.06, 0.01, 0.11],
        [0.05, 0.40, 0.25, 0.22, 0.08],
    ]
)


def visit(rng):
    """Simulate the clicks of a visit; the last action is an order or leaving."""
    purpose = rng.choice(3, p=[0.55, 0.35, 0.1])
    product, price, cart, clicks = -1, 0.0, 0.0, []
    while True:
        chances = CHANCES[purpose].copy()
        if cart == 0:  # an empty cart is not ordered
            chances[[1, 3]] += chances[3] * np.array([1, -1])
        if product < 0:
            chances[[1, 2]] += chances[2] * np.array([1, -1])
        action = ACTIONS[rng.choice(5, p=chances)]
        click = {"action": action}
        if action == "search":
            click["n_results"] = rng.geometric(0.05)
        elif action == "view":
            again = product >= 0 and rng.random() < (0.1, 0.3, 0.5)[purpose]
            if not again:
                before, product = price, rng.integers(40)
                price = np.exp(3 + product % 8 / 4 + rng.normal(0, 0.1))
                if before and price > 2 * before and rng.random() < 0.5:
                    purpose = 0
            elif rng.random() < 0.6:
                purpose = min(purpose + 1, 2)
            click |= {"product": f"p{product:02}", "price": price}
        elif action == "cart":
            cart += price
            click["sum"] = cart
        clicks.append(click)
        if action in ("order", "leave"):
            return clicks


rng = np.random.default_rng(0)
found = []
for number in range(N_VISITS):
    start = FIRST + pd.Timedelta(rng.integers(60 * 86400), unit="s")
    found += [{"visit": number, "start": start, **click} for click in visit(rng)]
clicks = pd.DataFrame(found)
seconds = (
    pd.Series(rng.lognormal(3, 0.8, len(clicks))).groupby(clicks["visit"]).cumsum()
)
clicks["timestamp"] = clicks["start"] + pd.to_timedelta(seconds.round(), unit="s")
converted = clicks.groupby("visit")["action"].last() == "order"
print(f"{len(clicks):,} clicks of {len(converted):,} visits")
print(f"{converted.mean():.1%} of the visits end with an order")

# %%
# A log of each kind, merged
# --------------------------
# Each kind of event has its own fields. Leaving is not a click, so it is not in the
# log. It is the last target of a visit, and so is an order.
FIELDS = {"search": ["n_results"], "view": ["product", "price"], "cart": ["sum"]}
clicks["again"] = clicks.duplicated(["visit", "product"]) & clicks["product"].notna()
FIELDS["view"].append("again")
KEYS = ["visit", "timestamp"]
log = EventLog.concat(
    {
        kind: EventLog(clicks.loc[clicks["action"] == kind, [*KEYS, *own]], *KEYS)
        for kind, own in FIELDS.items()
    }
)
print(log)

# %%
# A row after every click, with the click itself (`allow_exact_matches`). Its targets
# are the next action, and whether the visit ends with an order.
clicks["next"] = clicks.groupby("visit")["action"].shift(-1)
clicks["n_seen"] = clicks.groupby("visit").cumcount() + 1
rows = clicks.dropna(subset="next")
X = log.attach(rows[KEYS], cutoff="timestamp", allow_exact_matches=True)
will_order = rows["visit"].map(converted).to_numpy()
following = rows["next"].to_numpy()
is_test = (rows["start"] >= FIRST + pd.Timedelta("45D")).to_numpy()
print(f"{(~is_test).sum():,} training rows, {is_test.sum():,} test rows")


# %%
# Network and boosting
# --------------------
def network():
    """Make a network with its preprocessing."""
    return make_history_pipeline(
        LSTMClassifier(hidden_size=32, n_networks=1, max_epochs=12, random_state=0)
    )


def boosting():
    """Make boosting on counts, sums, shares and the last values of the visit."""
    return make_pipeline(
        HistoryAggregator(lookbacks=["60s"]),
        HistGradientBoostingClassifier(
            learning_rate=0.1,
            early_stopping=True,
            random_state=0,
            categorical_features="from_dtype",
        ),
    )


scores, nexts = {}, {}
for name, make in {"LSTM": network, "boosting": boosting}.items():
    model = make().fit(X[~is_test], will_order[~is_test])
    scores[name] = model.predict_proba(X[is_test])[:, 1]
    model = make().fit(X[~is_test], following[~is_test])
    nexts[name] = model.predict_proba(X[is_test])

actions = sorted(set(following))
train = pd.DataFrame({"last": rows["action"], "next": following})[~is_test]
chain = pd.crosstab(train["last"], train["next"], normalize="index")[actions]
nexts["last action alone"] = chain.loc[rows["action"][is_test]].to_numpy()
for name, chance in nexts.items():
    chance = chance.clip(1e-6)  # unseen is not impossible
    chance = chance / chance.sum(axis=1, keepdims=True)
    loss = log_loss(following[is_test], chance, labels=actions)
    print(f"next action, {name}: log loss {loss:.3f}")
auc = {}
for name, score in scores.items():
    auc[name] = roc_auc_score(will_order[is_test], score)
    print(f"order, {name}: AUC {auc[name]:.3f}")
print(f"order, LSTM minus boosting: {auc['LSTM'] - auc['boosting']:+.3f}")

# %%
# Does it get better with more clicks?
# ------------------------------------
# On the left, the AUC among visits with the same number of clicks. On the right, the
# predicted probability of an order after each click of two visits: one that ended with
# an order, and one that did not.
tested = rows[is_test].assign(ordered=will_order[is_test], **scores)
STEPS = {
    "1": (1, 1),
    "2": (2, 2),
    "3": (3, 3),
    "4": (4, 4),
    "5-6": (5, 6),
    "7+": (7, 99),
}
curves = pd.DataFrame(
    {
        step: {
            name: roc_auc_score(own["ordered"], own[name])
            for name in scores
            for own in [tested[tested["n_seen"].between(*ends)]]
        }
        for step, ends in STEPS.items()
    }
).T

figure, (left, *panels) = plt.subplots(
    1, 3, figsize=(13, 4.2), width_ratios=[1, 1.2, 1.2], layout="constrained"
)
for name, style in {"LSTM": "o-", "boosting": "s--"}.items():
    color = "tab:blue" if name == "LSTM" else "tab:orange"
    left.plot(curves.index, curves[name], style, color=color, label=name)
left.axhline(0.5, color="0.7", linestyle=":")
left.set(title="Will it end with an order?", xlabel="clicks seen")
left.set_ylabel("area under the ROC curve")
left.legend(loc="lower right")

MARKERS = {
    "search": ("^", "tab:gray"),
    "view": ("o", "tab:blue"),
    "view again": ("D", "tab:red"),
    "cart": ("s", "tab:orange"),
}
n_clicks = tested.groupby("visit")["n_seen"].transform("max")
long = tested[n_clicks.between(8, 12)]
last = long.groupby("visit").last()
chosen = [
    last.loc[last["ordered"], "LSTM"].idxmax(),
    last.loc[~last["ordered"], "LSTM"].idxmin(),
]
for panel, number in zip(panels, chosen, strict=True):
    own = long[long["visit"] == number]
    kinds = own["action"].where(~own["again"], "view again")
    panel.plot(own["n_seen"], own["LSTM"], color="0.6", lw=1, zorder=1)
    for kind, (marker, color) in MARKERS.items():
        at = own[kinds == kind]
        panel.scatter(
            at["n_seen"], at["LSTM"], marker=marker, color=color, s=60, label=kind
        )
    end = "an order" if own["ordered"].iloc[0] else "leaving"
    panel.set(title=f"A visit that ended with {end}", xlabel="click", ylim=(0, 1))
    panel.yaxis.set_major_formatter(PercentFormatter(1))
panels[0].set_ylabel("probability of an order (LSTM)")
panels[1].legend(loc="upper right")

output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "visits.png", dpi=120)
print(f"Picture: {output / 'visits.png'}")
