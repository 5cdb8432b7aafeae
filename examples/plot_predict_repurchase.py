"""
Who shops again within two weeks?
=================================

Does a household shop again within 14 days? The data are real grocery baskets of a year
(the Complete Journey data of 84.51°), with one row for each household and date of
prediction.

Four models take the same `X`: gradient boosting on recency, frequency and monetary
value (RFM), gradient boosting on window aggregates of all fields, a recurrent network
on the whole history, and a hybrid of the last two. The limitation: most households buy
groceries every few days, so four numbers predict well, and leave little for a network.
"""

# %%
# From tables to histories
# ------------------------
# An `EventLog` contains all events. `snapshots` makes one row per household and cutoff,
# with the events *before* the cutoff as its history. Labels are computed from the
# events from the cutoff on.
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import load_complete_journey
from sklearn_seqcrm.ensemble import make_hybrid
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.model_selection import (
    CutoffSplit,
    ModelComparisonDisplay,
    compare_models,
)
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import churned

# At these sizes one thread is as fast as two, and leaves a core to the other worker.
torch.set_num_threads(1)

HORIZON = "14D"
TEST_CUTOFF = pd.Timestamp("2017-11-01")

journey = load_complete_journey()
log = EventLog(journey.events, customer="household_id", time="day")
print(log)

cutoffs = [*pd.date_range("2017-03-01", "2017-10-11", freq="14D"), TEST_CUTOFF]
X = log.snapshots(cutoffs).merge(
    journey.customers, on="household_id", how="left", validate="m:1"
)
y = (churned(X, HORIZON) == 0).astype(int).to_numpy()
print(X[["household_id", "cutoff", "history", "age", "income"]].iloc[[0, 1, 40_000]])

# %%
# The last training cutoff is at least two weeks before the test cutoff, so no training
# label overlaps the test period.
is_test = (X["cutoff"] == TEST_CUTOFF).to_numpy()
train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
print(
    f"{len(train):,} training rows, {len(test):,} test rows, "
    f"{y[test].mean():.0%} of them shop again"
)

# %%
# Four models on the same rows
# ----------------------------
# The hybrid learns the weight of its parts forward in time, on the last training
# cutoff, and then fits both again on all rows. With these trees, validation customers
# at the same cutoffs would give the network too small a weight. (With the small trees
# of `make_hybrid`, neither way is better in general.)
boosting = HistGradientBoostingClassifier(
    categorical_features="from_dtype",
    learning_rate=0.05,
    early_stopping=True,
    random_state=0,
)
network = LSTMClassifier(max_epochs=8, random_state=0)
lstm = make_history_pipeline(network)
models = {
    "aggregates + boosting": make_pipeline(HistoryAggregator(), boosting),
    "RFM + boosting": make_pipeline(RFMFeatures(amount="spend"), boosting),
    "LSTM": lstm,
    "hybrid": make_hybrid(
        network, boosting, cv=CutoffSplit(1, horizon=HORIZON), random_state=0
    ),
}
comparison = compare_models(
    models,
    X,
    y,
    cv=CutoffSplit(1, horizon=HORIZON),  # trains and tests on the same rows as above
    scoring=["roc_auc", "average_precision", "neg_log_loss"],
    random_state=0,
)
table = comparison.summary.pivot(index="model", columns="metric", values="score")
seconds = comparison.runs.set_index("model")["fit_seconds"]
table = table.join(seconds.rename("seconds to fit")).loc[list(models)]
formats = {"seconds to fit": "{:.0f}".format}
print(table.to_string(float_format="{:.3f}".format, formatters=formats))

# %%
# Differences depend on the test households. The intervals are from a bootstrap over
# households, with all rows of each. They do not include the variation between seeds
# of the network.
differences = comparison.differences.query("metric == 'roc_auc'").set_index("model")
print(f"AUC minus that of {comparison.reference}, with 95% intervals:")
for model, found in differences.iterrows():
    lower, upper = found["lower"], found["upper"]
    verdict = "better" if lower > 0 else "worse" if upper < 0 else "no clear difference"
    print(
        f"{model}: {verdict}, {found['difference']:+.4f} ({lower:+.4f} to {upper:+.4f})"
    )

# %%
# Save a fitted pipeline, and load it again
# -----------------------------------------
# The file contains the encoder, the transformers of the other columns, and the network,
# but no events.
output = Path("demo_output")
output.mkdir(exist_ok=True)
lstm.fit(X.iloc[train], y[train])
joblib.dump(lstm, output / "repurchase.joblib")
loaded = joblib.load(output / "repurchase.joblib")
scores = loaded.predict_proba(X.iloc[test])[:, 1]
assert (scores == lstm.predict_proba(X.iloc[test])[:, 1]).all()
size = (output / "repurchase.joblib").stat().st_size
print(
    f"The saved pipeline takes {size / 1024:.0f} KiB and has the AUC "
    f"{roc_auc_score(y[test], scores):.3f}."
)

# %%
# The differences
# ---------------
# If an interval does not contain zero, the difference is unlikely to be chance.
display = ModelComparisonDisplay.from_comparison(comparison)
figure = display.figure_
figure.savefig(output / "repurchase_differences.png", dpi=120)
print(f"Picture: {output / 'repurchase_differences.png'}")
