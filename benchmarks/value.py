"""What do CDNOW's customers buy in weeks 40 to 78? Predictions from weeks 1 to 39.

``python benchmarks/value.py --data FOLDER`` takes ``cdnow_master.txt`` from the folder:
customer, day, number of CDs and dollars. Purchases on one day are one event. Models are
trained at cutoffs of every fourth week, with several horizons that all end by week 39;
then they predict 39 weeks, longer than any horizon in training. ``--question count`` is
for purchases and ``spend`` for dollars. ``--sample`` is the path of
``CDNOW_sample.txt``, with the 2,357 customers of the papers (the package lifetimes
0.11.3 has it), or a digit, for customers whose position in the order of their ids ends
with it.

BG/NBD (`buy_till_you_die`) and the gamma-gamma model of amounts (Fader and Hardie, "The
Gamma-Gamma Model of Monetary Value", 2013) are fitted by maximum likelihood.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from buy_till_you_die import Purchases, expected_purchases, fitted
from scipy.special import gammaln
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.metrics import aggregate_bias, decile_mape, normalized_gini
from sklearn_seqcrm.neural_network import LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import future_count, future_sum, stack_horizons

START, SPLIT, END = (
    pd.Timestamp(day) for day in ("1997-01-01", "1997-10-01", "1998-07-01")
)
HORIZONS = ["28D", "56D", "91D", "182D"]
# There are few customers, and the largest ones decide errors and totals.
SMALL = {"hidden_size": 16, "head_sizes": (16,), "n_networks": 3}
FOUR_WEEKS = pd.Timedelta("28D")


def main():
    """Fit every model with every seed, and print means and spreads."""
    options = read_options()
    torch.set_num_threads(options.threads)
    events = read_events(options)
    runs = []
    for seed in options.seeds:
        for name in options.models:
            if seed == options.seeds[0] or name != "btyd":
                y, predicted = MODELS[name](events, options.question, seed)
                runs.append({"model": name, "seed": seed, **scores_of(y, predicted)})
                print({key: runs[-1][key] for key in runs[-1]}, flush=True)
    table = pd.DataFrame(runs).drop(columns="seed").groupby("model", sort=False)
    print(table.agg(["mean", "std"]).round(3).to_string())


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--question", choices=["count", "spend"], default="spend")
    parser.add_argument("--sample")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def read_events(options):
    """Return a row for each day on which a customer bought, with the dollars."""
    columns = ["customer", "day", "cds", "spend"]
    path = Path(options.data) / "cdnow_master.txt"
    events = pd.read_csv(
        path, sep=r"\s+", skiprows=1, names=columns, dtype={"day": str}
    )
    events["day"] = pd.to_datetime(events["day"], format="%Y%m%d")
    events = events.groupby(["customer", "day"], as_index=False)["spend"].sum()
    if options.sample is None:
        return events
    if options.sample.isdigit():
        chosen = pd.factorize(events["customer"], sort=True)[0] % 10
        chosen = chosen == int(options.sample)
    else:
        sample = pd.read_csv(options.sample, sep=r"\s+", header=None)
        chosen = events["customer"].isin(sample[0])
    return events[chosen].reset_index(drop=True)


def scores_of(y, predicted):
    """Return scores of ranking, calibration and error."""
    return {
        "gini": normalized_gini(y, predicted),
        "decile_mape": decile_mape(y, predicted),
        "bias": aggregate_bias(y, predicted),
        "rmse": float(np.sqrt(np.mean((y - predicted) ** 2))),
    }


# Rows ---------------------------------------------------------------------------------


def target_of(X, question, horizon, censored="raise"):
    """Return purchases or dollars after the cutoff."""
    if question == "count":
        return future_count(X, horizon, censored=censored)
    return future_sum(X, "spend", horizon, censored=censored)


def training_rows(events, question):
    """Return rows whose windows end before the split, with the days of the window."""
    seen = events[events["day"] < SPLIT]
    log = EventLog(seen, "customer", "day", observed_until=SPLIT - pd.Timedelta("1D"))
    X = log.snapshots(pd.date_range(START + FOUR_WEEKS, SPLIT - FOUR_WEEKS, freq="28D"))
    y = target_of(X, question, HORIZONS, censored="nan")
    rows, y = stack_horizons(X, y, name="days")
    return rows.assign(days=rows["days"] / pd.Timedelta("1D")), y.to_numpy()


def test_rows(events, question):
    """Return a row per customer at the split, with the target until the end."""
    log = EventLog(events, "customer", "day", observed_until=END - pd.Timedelta("1D"))
    X = log.snapshots([SPLIT])
    return X.assign(days=(END - SPLIT).days * 1.0), target_of(X, question, END - SPLIT)


# Models -------------------------------------------------------------------------------


def lstm(loss):
    """Make a network with the days as exposure."""

    def run(events, question, seed):
        X, y = training_rows(events, question)
        network = LSTMRegressor(loss=loss, exposure="days", random_state=seed, **SMALL)
        model = make_history_pipeline(network).fit(X, y)
        X, y = test_rows(events, question)
        return y.to_numpy(), model.predict(X)

    return run


def of_rates(make_model, step):
    """Model of the target per day, with the days as sample weights."""

    def run(events, question, seed):
        X, y = training_rows(events, question)
        weight = {f"{step}__sample_weight": X["days"]}
        model = make_model(seed).fit(X.drop(columns="days"), y / X["days"], **weight)
        X, y = test_rows(events, question)
        return y.to_numpy(), X["days"].to_numpy() * model.predict(
            X.drop(columns="days")
        )

    return run


def squared(seed):
    """Make the network with squared error."""
    return make_history_pipeline(LSTMRegressor(random_state=seed, **SMALL))


def boosting(seed):
    """Make boosted trees on recency, frequency and monetary value."""
    trees = HistGradientBoostingRegressor(loss="poisson", random_state=seed)
    return make_pipeline(RFMFeatures(amount="spend"), trees)


def btyd(events, question, seed):
    """BG/NBD times the gamma-gamma mean of an amount."""
    X, y = test_rows(events, question)
    seen = events[events["day"] < SPLIT].groupby("customer")
    by = X["customer"]
    first, last = (by.map(seen["day"].agg(one)) for one in ("min", "max"))
    repeats = by.map(seen.size()).to_numpy() - 1.0
    recency, age = ((end - first).dt.days.to_numpy() / 7 for end in (last, SPLIT))
    weeks = (END - SPLIT).days / 7
    predicted = expected_purchases(weeks, Purchases(repeats, recency, age))
    if question == "spend":
        mean = by.map(seen["spend"].mean()).to_numpy()
        predicted = predicted * expected_amount(repeats + 1, mean)
    return y.to_numpy(), predicted


MODELS = {
    "lstm_squared": of_rates(squared, "estimator"),
    "lstm_poisson": lstm("poisson"),
    "lstm_ziln": lstm("zero_inflated_lognormal"),
    "rfm_boosting": of_rates(boosting, "histgradientboostingregressor"),
    "btyd": btyd,
}


# Buy till you die ---------------------------------------------------------------------


def expected_amount(n, mean):
    """Predict the mean amount of each customer by gamma-gamma."""
    some = mean > 0

    def cost(logs):
        p, q, v = np.exp(logs)
        m, k = mean[some], n[some]
        density = gammaln(p * k + q) - gammaln(p * k) - gammaln(q) + q * np.log(v)
        density += (p * k - 1) * np.log(m) + p * k * np.log(k)
        return -np.mean(density - (p * k + q) * np.log(v + m * k))

    p, q, v = np.exp(fitted(cost, 3))
    return p * (v + n * mean) / (p * n + q - 1)


if __name__ == "__main__":
    main()
