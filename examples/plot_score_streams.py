"""
How fast is a score, when events keep coming?
=============================================

Scoring every customer once a night processes all histories again. If every purchase
needs a score at once, this is too slow, and not necessary: a recurrent network can
continue from its state. `StreamingScorer` keeps a small state for each customer and
updates it with each event. Its scores equal those of the pipeline on a log of the same
events.

The data are real grocery purchases (the Complete Journey data of 84.51°). A network,
trained on data until October, predicts who will not come back within two weeks. Then
receipts arrive one by one, and each gets a new score. A state has limitations: an event
cannot be removed from it, late events cannot be added, and the history cannot be
processed backwards.
"""

# %%
# Train as usual
# --------------
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.dates import ConciseDateFormatter
from matplotlib.ticker import PercentFormatter
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import load_complete_journey
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from sklearn_seqcrm.targets import churned

# With one event at a time, a second thread does not help.
torch.set_num_threads(1)

KEYS = ["household_id", "timestamp"]
SPLIT, END = pd.Timestamp("2017-10-01"), pd.Timestamp("2018-01-01")

receipts = load_complete_journey(level="basket", time_zone="America/New_York").events
receipts = receipts[[*KEYS, "spend", "n_items", "discount", "department"]]
receipts = receipts[receipts["household_id"] % 4 == 0]
is_known = receipts["timestamp"] < SPLIT
known, later = receipts[is_known], receipts[~is_known].sort_values("timestamp")
log = EventLog(known, *KEYS, observed_until=SPLIT)
X = log.snapshots(pd.date_range("2017-03-01", SPLIT - pd.Timedelta("14D"), freq="14D"))
y = churned(X, "14D")
model = make_history_pipeline(
    LSTMClassifier(hidden_size=32, n_networks=1, max_epochs=10, random_state=0)
)
model.fit(X, y)
boosting = make_pipeline(
    RFMFeatures(amount="spend"),
    HistGradientBoostingClassifier(learning_rate=0.05, max_iter=100, random_state=0),
)
boosting.fit(X, y)
print(f"{len(X):,} rows of {X['household_id'].nunique():,} households")

# %%
# Process the past once, then receipt by receipt
# ----------------------------------------------
# `score_one` updates the state with a receipt and returns the score of its household,
# at the time of the receipt.
scorer = StreamingScorer(model, *KEYS, allow_exact_matches=True)
began = perf_counter()
scorer.update(log)
print(f"{len(log):,} receipts are processed in {perf_counter() - began:.2f} s")
print(f"states of {scorer.nbytes / len(log.customers):,.0f} bytes a household")

events = later.to_dict("records")
streamed, took = np.empty(len(events)), np.empty(len(events))
for i, event in enumerate(events):
    household, now = event["household_id"], event["timestamp"]
    began = perf_counter()
    streamed[i] = scorer.score_one(household, event, {}, cutoff=now)[1]
    took[i] = perf_counter() - began
print(
    f"{len(events):,} receipts, each processed and scored in "
    f"{1000 * np.median(took):.2f} milliseconds, 99% of them within "
    f"{1000 * np.quantile(took, 0.99):.2f}"
)

# %%
# The same scores
# ---------------
# Compare with the scores of the pipeline on the whole log. Receipts of a household with
# the same time are left out, because the first of them were scored before the last one
# arrived.
whole = EventLog(receipts, *KEYS, observed_until=END)
rows = whole.attach(later[KEYS], cutoff="timestamp", allow_exact_matches=True)
batch = model.predict_proba(rows)[:, 1]
alone = ~later.duplicated(KEYS, keep=False).to_numpy()
print(f"largest difference to the batch: {np.abs(streamed - batch)[alone].max():.1e}")

# %%
# The AUC, compared with boosting on recency, frequency and monetary value, over the
# receipts with a known label.
judged = alone & (later["timestamp"] < END - pd.Timedelta("14D")).to_numpy()
came = churned(rows[judged], "14D")
for name, score in {
    "streamed": streamed[judged],
    "boosting, in a batch": boosting.predict_proba(rows[judged])[:, 1],
}.items():
    print(f"{name}: AUC {roc_auc_score(came, score):.3f}")

# %%
# How much time does it save?
# ---------------------------
# Without states, a receipt is appended to a log, and the pipeline processes the
# history of its household again. Here, the log has only that household, which is the
# best case.
lengths = rows["history"].array.lengths
shown = np.argsort(lengths, kind="stable")[:: len(lengths) // 60]
again = np.empty((2, len(shown)))
for k, i in enumerate(shown):
    own = receipts[receipts["household_id"] == events[i]["household_id"]]
    own = own[own["timestamp"] <= events[i]["timestamp"]]
    for j, one in enumerate((model, boosting)):
        began = perf_counter()
        row = EventLog(own, *KEYS).attach(
            later.iloc[[i]][KEYS], cutoff="timestamp", allow_exact_matches=True
        )
        one.predict_proba(row)
        again[j, k] = perf_counter() - began
print(
    "whole history processed again: "
    f"{1000 * np.median(again[0]):.1f} milliseconds for the network, "
    f"{1000 * np.median(again[1]):.1f} for boosting"
)

# %%
# One household, and all receipts
# -------------------------------
# On the left, the score after every receipt, and between receipts, for which
# `score_one` takes no event. On the right, the time of a score for histories of
# increasing length.
n_receipts = later["household_id"].value_counts()
household = n_receipts[n_receipts.between(12, 16)].index[0]
own = later[later["household_id"] == household]
live = StreamingScorer(model, *KEYS, allow_exact_matches=True)
live.update(log)
moments, risks, at_receipt = [], [], []
arrivals = dict(zip(own["timestamp"], own.to_dict("records"), strict=True))
for now in sorted({*pd.date_range(SPLIT, END, freq="12h"), *arrivals}):
    event = arrivals.get(now)
    risk = live.score_one(household, event, {}, cutoff=now)[1]
    moments.append(now)
    risks.append(risk)
    if event is not None:
        at_receipt.append((now, risk))

figure, (left, right) = plt.subplots(
    1, 2, figsize=(12.5, 4.4), width_ratios=[1.4, 1], layout="constrained"
)
left.plot(moments, risks, color="tab:blue", lw=1.2, label="as time goes by")
left.plot(*zip(*at_receipt, strict=True), "o", color="black", ms=5, label="a receipt")
left.set(
    title=f"Household {household}: probability of no visit in two weeks",
    ylim=(0, 1.3 * max(risks)),
)
left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
left.xaxis.set_major_formatter(ConciseDateFormatter(left.xaxis.get_major_locator()))
left.legend(loc="upper left")

some = slice(None, None, 20)
right.plot(lengths[some], 1000 * took[some], ".", color="tab:blue", alpha=0.3, ms=4)
right.plot([], [], "o", color="tab:blue", label="network, streamed")
for name, marker, seconds in (
    ("network, whole history", "^", again[0]),
    ("boosting, whole history", "s", again[1]),
):
    color = "tab:gray" if marker == "^" else "tab:orange"
    right.plot(lengths[shown], 1000 * seconds, marker, color=color, ms=5, label=name)
right.set(
    title="What an answer takes",
    xlabel="receipts of the household so far",
    ylabel="milliseconds",
    xscale="log",
    yscale="log",
)
right.legend(loc="center left", fontsize="small")

output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "streamed_scores.png", dpi=120)
print(f"Picture: {output / 'streamed_scores.png'}")
