"""
When will a household be back?
==============================

The best time for a reminder is when a customer is late: not after a fixed week without
a purchase, but after a week in which *this* customer usually comes. The data are real
grocery baskets of a year (the Complete Journey data of 84.51°), with one row for each
household and date, and the time to its next purchase. Some households have not made one
yet.

Three models take the same `X`: a Cox model and gradient-boosted survival trees
(scikit-survival) on recency, frequency and monetary value (RFM), and a recurrent
network on the whole history. There are two limitations: most households buy groceries
every few days, so four numbers predict well; and the network predicts no times beyond
the longest one in training.
"""

# %%
# The log on the first of November
# --------------------------------
# The training log ends there. `censored="keep"` keeps the households that have not come
# back by then, with their censoring time.
from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import load_complete_journey
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.neural_network import LSTMSurvival
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import time_to_next

TODAY = pd.Timestamp("2017-11-01")
DAY = pd.Timedelta("1D")

journey = load_complete_journey()
events = journey.events
known = events[events["day"] < TODAY]
log = EventLog(known, "household_id", "day", observed_until=TODAY - DAY)
X = log.snapshots(pd.date_range("2017-03-01", "2017-10-18", freq="14D"))
y = time_to_next(X, censored="keep")
print(y.head().to_string())
print(f"{len(X):,} rows; {(~y['event']).mean():.0%} had not come again")

# %%
# The test rows are all households on that day, with their purchases in the two months
# after it.
X_test = EventLog(events, "household_id", "day").snapshots([TODAY])
y_test = time_to_next(X_test, censored="keep")
print(
    f"{len(X_test):,} test rows; {(~y_test['event']).mean():.0%} did not come back in "
    "these months"
)

# %%
# Three models
# ------------
# The other models take the structured arrays of scikit-survival, with times as numbers.
# Their fitting time grows fast with the number of rows, so they get 2,000.
lstm = make_history_pipeline(LSTMSurvival(max_epochs=8, random_state=0))
lstm.fit(X, y)


def in_days(y):
    """Make the structured array of scikit-survival."""
    return y.assign(time=y["time"] / DAY).to_records(index=False)


some = np.random.default_rng(0).choice(len(X), 2000, replace=False)
rivals = {}
if find_spec("sksurv"):  # pip install scikit-survival
    from sksurv.ensemble import GradientBoostingSurvivalAnalysis
    from sksurv.linear_model import CoxPHSurvivalAnalysis

    for name, model in {
        "RFM + Cox": CoxPHSurvivalAnalysis(alpha=1.0),
        "RFM + boosting": GradientBoostingSurvivalAnalysis(
            n_estimators=60, max_depth=3, random_state=0
        ),
    }.items():
        rivals[name] = make_pipeline(RFMFeatures(amount="spend"), model)
        rivals[name].fit(X.iloc[some], in_days(y.iloc[some]))

# %%
# Concordance is the share of pairs of households in which the one that came back first
# had the higher risk. The integrated Brier score over six weeks measures the error of
# the curves (lower is better). For whole days, "none up to day 13" in scikit-survival
# is "none before day 14" here.
days = np.arange(1, 43)
survival = {
    "LSTM": [curve(days + 1) for curve in lstm.predict_survival_function(X_test)]
}
scores = {"LSTM": {"concordance": lstm.score(X_test, y_test)}}
for name, model in rivals.items():
    survival[name] = [curve(days) for curve in model.predict_survival_function(X_test)]
    scores[name] = {"concordance": model.score(X_test, in_days(y_test))}
if rivals:
    from sksurv.metrics import integrated_brier_score

    for name, curves in survival.items():
        scores[name]["integrated Brier score"] = integrated_brier_score(
            in_days(y), in_days(y_test), curves, days
        )
print(pd.DataFrame(scores).T.to_string(float_format="%.4f"))

# %%
# Three households, and calibration
# ---------------------------------
# On the left, the curves of three households, with a mark where each came back. On the
# right, households in ten groups by their predicted probability, for several horizons,
# against the share of the group that came back: calibrated predictions are on the
# diagonal.
median = lstm.predict_quantile(X_test)
waited = (y_test["time"] / DAY).to_numpy()
came = y_test["event"].to_numpy()
shown = [int(np.argmin(np.abs(median - wanted))) for wanted in (1.5, 6, 20)]
figure, (left, *panels) = plt.subplots(
    1, 4, figsize=(13, 3.6), width_ratios=[1.5, 1, 1, 1], layout="constrained"
)
moments = np.linspace(0, 42, 300)
for i, curve in zip(
    shown, lstm.predict_survival_function(X_test.iloc[shown]), strict=True
):
    label = f"household {X_test['household_id'].iloc[i]}: {median[i]:.1f} days"
    [line] = left.plot(moments, curve(moments), label=label)
    if came[i] and waited[i] <= 42:
        left.plot(waited[i], curve(waited[i]), "o", color=line.get_color())
left.set(
    xlabel="days from 1 November",
    ylabel="probability of no purchase yet",
    ylim=(0, 1.02),
)
left.legend(title="median time to return", fontsize="small", title_fontsize="small")

for horizon, panel in zip((3, 7, 21), panels, strict=True):
    back = came & (waited < horizon)
    for (name, curves), marker in zip(survival.items(), "os^", strict=False):
        chance = 1 - np.array(curves)[:, list(days).index(horizon - 1)]
        group = pd.qcut(pd.Series(chance).rank(method="first"), 10, labels=False)
        found = pd.DataFrame({"chance": chance, "came": back}).groupby(group).mean()
        panel.plot(found["chance"], found["came"], marker, ms=5, alpha=0.8, label=name)
    panel.plot([0, 1], [0, 1], color="grey", lw=1, zorder=0)
    panel.set(title=f"back before {horizon} days", xlabel="predicted probability")
panels[0].set_ylabel("share that came")
panels[-1].legend(fontsize="small")

output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "return_times.png", dpi=120)
print(f"Picture: {output / 'return_times.png'}")

# %%
# Who is late?
# ------------
# Send a reminder when nine of ten such households would be back. This time differs
# between households.
late = lstm.predict_quantile(X_test, 0.9)
for share in (0.1, 0.5, 0.9):
    print(
        f"{share:.0%} of the households are late after "
        f"{np.quantile(late, share):.0f} days"
    )
