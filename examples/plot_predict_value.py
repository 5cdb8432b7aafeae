"""
What is each customer worth next?
=================================

A budget goes to the customers who will spend most, and its total must be right. So two
properties of predictions matter: the ranking of customers, and the calibration for
those who spend much and those who spend nothing. The data are real grocery baskets of a
year (the Complete Journey data of 84.51°), of half of the households, with one row for
each household and date, and its spend in the four weeks after.

All models take the same `X`: gradient boosting on recency, frequency and monetary value
(RFM), gradient boosting on window aggregates of all fields, and a recurrent network on
the whole history with two losses. The limitation: groceries are bought so often that
sums of the past contain nearly all the information.
"""

# %%
# One row for each household and date
# -----------------------------------
# No training window reaches the test cutoff.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_pinball_loss
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import load_complete_journey
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.metrics import (
    CalibrationByDecileDisplay,
    GainDisplay,
    aggregate_bias,
    decile_mape,
    normalized_gini,
)
from sklearn_seqcrm.neural_network import LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import future_sum

HORIZON = pd.Timedelta("28D")
TEST_CUTOFF = pd.Timestamp("2017-11-01")

days = load_complete_journey().events
days = days[days["household_id"] % 2 == 0]
log = EventLog(days, customer="household_id", time="day")
cutoffs = pd.date_range("2017-03-01", TEST_CUTOFF - HORIZON, freq="14D")
X = log.snapshots([*cutoffs, TEST_CUTOFF])
y = future_sum(X, "spend", HORIZON).to_numpy()

is_test = (X["cutoff"] == TEST_CUTOFF).to_numpy()
X_train, y_train = X[~is_test], y[~is_test]
X_test, y_test = X[is_test], y[is_test]
print(
    f"{len(X_train):,} training rows, {len(X_test):,} test rows\nIn the test rows "
    f"{(y_test == 0).mean():.0%} spend nothing, the mean is ${y_test.mean():.0f}, "
    f"and the highest ${y_test.max():,.0f}"
)

# %%
# Five models
# -----------
# Predicting the training mean for everyone has no ranking and hardly any bias: a
# baseline for calibration. Boosted trees have a Poisson loss, which keeps predictions
# above 0. The networks differ in the loss only.


def boosting(loss="poisson", **options):
    """Make gradient boosting with early stopping."""
    return HistGradientBoostingRegressor(
        loss=loss,
        categorical_features="from_dtype",
        learning_rate=0.05,
        early_stopping=True,
        random_state=0,
        **options,
    )


def network(loss, **options):
    """Make a network with its preprocessing."""
    return make_history_pipeline(
        LSTMRegressor(loss=loss, n_networks=1, max_epochs=8, random_state=0, **options)
    )


models = {
    "mean": make_pipeline(RFMFeatures(amount="spend"), DummyRegressor()),
    "RFM + boosting": make_pipeline(RFMFeatures(amount="spend"), boosting()),
    "aggregates + boosting": make_pipeline(HistoryAggregator(), boosting()),
    "LSTM, squared error": network("squared_error"),
    "LSTM, log-normal": network("zero_inflated_lognormal"),
}
predicted = {
    name: model.fit(X_train, y_train).predict(X_test) for name, model in models.items()
}

# %%
# One score for the ranking and two for calibration. `normalized_gini` is 1 for the best
# ranking and 0 for a random one. `decile_mape` is the relative error of the mean
# prediction of a decile, averaged over deciles. `aggregate_bias` is the relative error
# of the total.
scores = {
    name: {
        "Gini": normalized_gini(y_test, values),
        "decile MAPE": decile_mape(y_test, values),
        "bias": aggregate_bias(y_test, values),
    }
    for name, values in predicted.items()
}
table = pd.DataFrame(scores).T
print(table.to_string(float_format="{:+.3f}".format))
ranking = table["Gini"].drop(["mean", "RFM + boosting"])
calibration = table["decile MAPE"].drop("mean")
print(
    f"The Gini of aggregates and networks differs by {np.ptp(ranking):.3f}.\n"
    f"Best ranking: {ranking.idxmax()}\n"
    f"Best calibration: {calibration.idxmin()}, with an error of "
    f"{calibration.min():.0%}\n"
    f"Worst calibration: {calibration.idxmax()}, with {calibration.max():.0%}"
)

# %%
# Rankings differ less than calibration, which depends on the loss: squared error
# depends mostly on those who spend much, so predictions for others can be far off
# relative to their spend; the log-normal loss weighs relative errors. The bars at the
# end show it.

# %%
# In which range will it be?
# --------------------------
# The log-normal network predicts quantiles, and so does the loss `"quantile"`, which
# assumes no distribution. For comparison: trees with a fit for each quantile, and the
# training quantiles for everyone. Half of the households should be at or below the
# median, and nine in ten at or below the last quantile. Four in five households
# should be between the first and the last quantile, or nine in ten if the first
# quantile is 0, because no household spends less than that.
QUANTILES = [0.1, 0.5, 0.9]

quantile_network = network("quantile", quantile=QUANTILES).fit(X_train, y_train)
ranges = {"all alike": np.tile(np.quantile(y_train, QUANTILES), (len(X_test), 1))}
ranges["RFM + boosting, quantile"] = np.column_stack(
    [
        make_pipeline(RFMFeatures(amount="spend"), boosting("quantile", quantile=q))
        .fit(X_train, y_train)
        .predict(X_test)
        for q in QUANTILES
    ]
)
for name, model in {
    "LSTM, log-normal": models["LSTM, log-normal"],
    "LSTM, quantile": quantile_network,
}.items():
    ranges[name] = model.predict_quantiles(X_test, QUANTILES)

coverage = {}
for name, (low, middle, high) in {n: r.T for n, r in ranges.items()}.items():
    coverage[name] = {
        "to the median": (y_test <= middle).mean(),
        "to the 90%": (y_test <= high).mean(),
        "inside": ((low <= y_test) & (y_test <= high)).mean(),
        "pinball loss": np.mean(
            [
                mean_pinball_loss(y_test, values, alpha=q)
                for q, values in zip(QUANTILES, (low, middle, high), strict=True)
            ]
        ),
    }
table = pd.DataFrame(coverage).T
print(table.to_string(float_format="{:.2f}".format))
print(f"Lowest loss: {table['pinball loss'].idxmin()}")

# %%
# The first column should be a half; its standard error is .014. A difference of many
# standard errors, as for the log-normal loss, means that spend does not follow the
# distribution that the loss assumes. The quantile loss assumes none.

# %%
# Which model is calibrated, and which ranks well?
# ------------------------------------------------
# On the left, bars are the mean spend of deciles of households, with the highest
# predictions first, and lines the mean predictions. On the right, the share of all
# spend of the top-ranked households.
figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(13, 4), width_ratios=[1, 1, 1.2], layout="constrained"
)
for ax, name in zip((left, middle), list(models)[-2:], strict=True):
    CalibrationByDecileDisplay.from_predictions(y_test, predicted[name], ax=ax)
    ax.set(title=name, ylabel="spend in four weeks, $", ylim=(0, None))
middle.sharey(left)
for name in list(models)[1:]:
    GainDisplay.from_predictions(
        y_test,
        predicted[name],
        name=name,
        ax=right,
        plot_references=name == list(models)[-1],
    )
right.set(title="Whom to call first", ylim=(0, 1.01))
right.legend(loc="lower right", fontsize="small", frameon=False)

output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "value.png", dpi=120)
print(f"Picture: {output / 'value.png'}")
