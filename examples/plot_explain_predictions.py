"""
Which events moved this prediction?
===================================

A network predicts that a customer will leave. Why? The customers are simulated, so the
answer is known: those whose last complaint was not followed by a refund mostly leave.
The counts of events do not contain this, because the same events in another order mean
the opposite.
"""

# %%
# Customers with known reasons
# ----------------------------
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.inspection import (
    HistoryDisplay,
    event_attributions,
    history_importance,
)
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

rng = np.random.default_rng(0)
n_customers, n_events = 2500, 14
kinds = np.array(["order", "visit", "complaint", "refund"], dtype=object)
kind = rng.choice(kinds, (n_customers, n_events), p=[0.4, 0.4, 0.1, 0.1])
day = np.cumsum(rng.integers(1, 20, (n_customers, n_events)), axis=1)
events = pd.DataFrame(
    {
        "customer": np.repeat(np.arange(n_customers), n_events),
        "time": pd.Timestamp("2024-01-01") + pd.to_timedelta(day.ravel(), unit="D"),
        "kind": kind.ravel().astype(str),
        "amount": rng.lognormal(3, 0.5, n_customers * n_events).round(2),
    }
)


def last_of(what):
    """Return the place of the last event of a kind, or -1, for each history."""
    place = np.where(kind == what, np.arange(n_events), -1)
    return place.max(axis=1)


angry = last_of("complaint") > last_of("refund")
y = (rng.random(n_customers) < np.where(angry, 0.9, 0.1)).astype(int)
log = EventLog(events, "customer", "time", observed_until="2024-12-01")
rows = pd.DataFrame({"customer": np.arange(n_customers)})
X = log.attach(rows, cutoff="2024-12-01")
X_train, y_train, X_test, y_test = X[:2000], y[:2000], X[2000:], y[2000:]

# %%
# Two models
# ----------
# An explanation is only as good as its model. The simulated probabilities are the
# best scores: on average over samples, no model has a larger area under the ROC curve.
network = LSTMClassifier(
    hidden_size=32, n_networks=1, learning_rate=0.01, max_epochs=20, random_state=0
)
lstm = make_history_pipeline(network).fit(X_train, y_train)
trees = HistGradientBoostingClassifier(max_iter=60, random_state=0)
boosting = make_pipeline(HistoryAggregator(), trees).fit(X_train, y_train)
models = {"LSTM": lstm, "boosting": boosting}
for name, model in models.items():
    reached = roc_auc_score(y_test, model.predict_proba(X_test)[:, 1])
    print(f"{name}: AUC {reached:.3f}")
print(f"possible: AUC {roc_auc_score(y_test, angry[2000:]):.3f}")

# %%
# What does each model need?
# --------------------------
# An importance is a decrease in AUC. If its interval contains zero, the model may not
# need this part.
for name, model in models.items():
    found = history_importance(
        model,
        X_test,
        y_test,
        "roc_auc",
        kind_field="kind",
        last_events=[],
        n_repeats=2,
    )
    print(name)
    print(found.table.round(3).drop(columns="std").to_string(index=False))
    needed = found.table.loc[found.table["lower"] > 0, "name"]
    print(f"{name} needs: {', '.join(needed)}")

# %%
# Single events
# -------------
# Occlusion removes an event, and works for any model. Integrated gradients need a
# network; the attributions of events and row features add up to the output minus that
# of the baseline. Blanking keeps an event but replaces its fields by those of the
# baseline, for one event at a time. So it should agree with integrated gradients on
# signs more often than occlusion, which also changes counts and interarrival times.
some = X_test[:100]
ways = {
    method: event_attributions(lstm, some, method).dropna(subset=["position"])
    for method in ("occlusion", "blanking", "integrated_gradients")
}
keys = ["row", "position"]
signs = pd.concat(
    {name: one.set_index(keys)["attribution"] for name, one in ways.items()}, axis=1
)
strongest = signs["integrated_gradients"].abs().groupby("row").rank(ascending=False)
same = np.sign(signs).eq(np.sign(signs["integrated_gradients"]), axis=0)
print("Same sign as integrated gradients, the 3 strongest events of each row:")
print(same[strongest <= 3].mean().round(2).to_string())

# %%
# The answer
# ----------
# The two customers have the same number of complaints and refunds. One got the refund
# after the complaint; the other complained after the refund. Log odds above 0 mean that
# a customer will probably leave.
counts = pd.DataFrame({what: (kind == what).sum(axis=1) for what in kinds})
alike = ((counts["complaint"] == 1) & (counts["refund"] == 1)).to_numpy()[2000:]
calm = np.flatnonzero(alike & ~angry[2000:])[0]
upset = np.flatnonzero(alike & angry[2000:])[0]
figure, axes = plt.subplots(2, 1, figsize=(8, 6), layout="constrained")
for ax, row in zip(axes, (calm, upset), strict=True):
    display = HistoryDisplay.from_estimator(lstm, X_test, row, method="blanking", ax=ax)
    last = display.events.iloc[display.events["attribution"].abs().argmax()]
    print(
        f"{display.title}; largest attribution: {last['lane']} on {last['time']:%d %B}"
    )
output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "explained.png", dpi=120)
print(f"Picture: {output / 'explained.png'}")
