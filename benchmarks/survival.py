"""When do customers come back? `LSTMSurvival` against survival models on RFM features.

Models are trained on rows of several cutoffs, with what was known at the test cutoff,
and tested on the events after it: the integrated Brier score (IBS, lower is better) and
the concordance (higher is better), both weighted for censoring by scikit-survival, and
the shares that are back within three horizons. Intervals are from a bootstrap over
customers, for the difference to the network.

    pip install scikit-survival  # and hazardous, which is slow
    python benchmarks/survival.py --data FOLDER_OF_CDNOW
"""

import argparse
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.pipeline import make_pipeline
from sksurv.ensemble import GradientBoostingSurvivalAnalysis, RandomSurvivalForest
from sksurv.metrics import concordance_index_ipcw, integrated_brier_score

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.neural_network import LSTMSurvival
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import time_to_next

sys.path.insert(0, str(Path(__file__).parent / "quality"))
from tasks import cdnow, journey_days

# Events, training cutoffs, test cutoff, evaluated days, and three horizons.
TASKS = {
    "journey": (
        journey_days,
        pd.date_range("2017-03-01", "2017-10-20", freq="14D"),
        pd.Timestamp("2017-11-01"),
        range(1, 42),
        (3, 7, 21),
    ),
    "cdnow": (
        cdnow,
        pd.date_range("1997-02-01", "1997-12-01", freq="MS"),
        pd.Timestamp("1998-01-01"),
        range(3, 171, 3),
        (30, 90, 168),
    ),
}
N_TESTED = 2_500  # rows; the concordance compares each with each
N_DRAWS = 100


def main():
    """Print a table for each task."""
    options = read_options()
    torch.set_num_threads(1)
    for name in options.tasks:
        compare(name, *make_rows(name, options), options)


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--customers", type=int, default=5_000, help="at most")
    parser.add_argument("--rows", type=int, default=5_000, help="for the rivals")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--bins", type=int, default=20)
    return parser.parse_args()


# Rows ---------------------------------------------------------------------------------


def make_rows(name, options):
    """Return training rows and targets as of the test cutoff, and test rows."""
    read, cutoffs, test_cutoff, *_ = TASKS[name]
    events, _ = read(options.data)
    customer = events.columns[0]
    ids = np.sort(events[customer].unique())
    n = min(options.customers, len(ids))
    chosen = np.random.default_rng(0).choice(ids, n, replace=False)
    events = events[events[customer].isin(chosen)]
    # Training rows come from a log that ends at the test cutoff.
    known = events[events["day"] < test_cutoff]
    then = EventLog(
        known, customer, "day", observed_until=test_cutoff - pd.Timedelta("1D")
    )
    X = then.snapshots(cutoffs)
    now = EventLog(events, customer, "day").snapshots([test_cutoff])
    now = now.sample(min(N_TESTED, len(now)), random_state=0, ignore_index=True)
    return X, in_days(X), now, in_days(now)


def in_days(X):
    """Make the structured array of scikit-survival; times are whole days."""
    y = time_to_next(X, censored="keep")
    y["time"] /= pd.Timedelta("1D")
    return y.to_records(index=False)


# Models -------------------------------------------------------------------------------


def lstm(seed, options):
    """Make the network with its defaults."""
    return make_history_pipeline(LSTMSurvival(bins=options.bins, random_state=seed))


def forest(seed, options):
    """Make a random survival forest on RFM features."""
    trees = RandomSurvivalForest(100, min_samples_leaf=15, random_state=seed)
    return make_pipeline(RFMFeatures(amount="spend"), trees)


def boosting(seed, options):
    """Make a gradient-boosted Cox model on RFM features."""
    trees = GradientBoostingSurvivalAnalysis(max_depth=3, random_state=seed)
    return make_pipeline(RFMFeatures(amount="spend"), trees)


class Hazardous:
    """Adapter of the library hazardous, which has other targets and times."""

    def __init__(self, seed):
        from hazardous import SurvivalBoost

        self.features = RFMFeatures(amount="spend")
        self.model = SurvivalBoost(show_progressbar=False, random_state=seed)

    def fit(self, X, y):
        """Return events and durations; a duration of 0 is half a day."""
        target = {"event": y["event"].astype(int), "duration": y["time"] + 0.5}
        self.model.fit(self.features.fit_transform(X), pd.DataFrame(target))
        return self

    def survival(self, X, days):
        """Return the probability of no event up to those days, shape (n, n_days)."""
        times = np.asarray(days) + 1.0
        found = self.features.transform(X)
        return self.model.predict_survival_function(found, times=times)


MODELS = {
    "LSTM": (lstm, False),
    "LSTM, the rivals' rows": (lstm, True),
    "random survival forest": (forest, True),
    "boosted Cox": (boosting, True),
}
if find_spec("hazardous"):
    MODELS["hazardous"] = (lambda seed, options: Hazardous(seed), True)


def survival_of(model, X, days):
    """Return the probability of no event up to the end of days, (n, n_days)."""
    if isinstance(model, Hazardous):
        return model.survival(X, days)
    days = np.asarray(days, dtype="float64")
    Xt = model[:-1].transform(X)
    curves = model[-1].predict_survival_function(Xt)
    # The network predicts the probability of none before a time.
    shift = isinstance(model[-1], LSTMSurvival)
    return np.array([curve(days + shift) for curve in curves])


# Comparison ---------------------------------------------------------------------------


def compare(name, X, y, X_test, y_test, options):
    """Fit all models, seed by seed and in turn, and print their scores."""
    *_, days, horizons = TASKS[name]
    few = np.random.default_rng(0).choice(len(X), min(options.rows, len(X)), False)
    print(
        f"\n{name}: {len(X):,} training rows ({len(few):,} for the rivals), "
        f"{y['event'].mean():.0%} with an event; {len(X_test):,} test rows, "
        f"{y_test['event'].mean():.0%}"
    )
    survival, risk, seconds = {}, {}, {}
    chosen = {m: MODELS[m] for m in options.models or MODELS}
    for seed in options.seeds:
        for label, (make, is_rival) in chosen.items():
            rows = few if is_rival else slice(None)
            start = time.perf_counter()
            model = make(seed, options).fit(X.iloc[rows], y[rows])
            seconds.setdefault(label, []).append(time.perf_counter() - start)
            found = survival_of(model, X_test, days)
            survival.setdefault(label, []).append(found)
            # One risk for all models: the mean probability of an event over the days.
            own = 1 - found.mean(axis=1)
            if hasattr(model, "predict"):
                own = model.predict(X_test)
            risk.setdefault(label, []).append(own)
            print(
                f"  seed {seed}, {label}: {seconds[label][-1]:.1f} s, IBS "
                f"{brier(y, y_test, found, days):.4f}, concordance "
                f"{rank(y, y_test, own, days):.4f}",
                flush=True,
            )
    report(y, y_test, survival, risk, seconds, list(days), horizons)


def brier(y, y_test, survival, days):
    """Return the integrated Brier score of scikit-survival."""
    return integrated_brier_score(y, y_test, survival, np.asarray(days, dtype=float))


def rank(y, y_test, risk, days):
    """Return the concordance of scikit-survival, up to the last day."""
    return concordance_index_ipcw(y, y_test, risk, tau=max(days))[0]


def report(y, y_test, survival, risk, seconds, days, horizons):
    """Print means over seeds, intervals over customers, and calibration."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(y_test), len(y_test)) for _ in range(N_DRAWS)]
    first = next(iter(survival))
    table = {}
    for label in survival:
        row = {
            "fit seconds": f"{np.median(seconds[label]):.0f}",
            "IBS": f"{mean(brier, y, y_test, survival[label], days):.4f}",
            "concordance": f"{mean(rank, y, y_test, risk[label], days):.4f}",
        }
        for column, score, outputs in (
            ("IBS - first", brier, survival),
            ("concordance - first", rank, risk),
        ):
            # For the first seed, whose outputs are resampled.
            own, other = outputs[label][0], outputs[first][0]
            apart = [
                score(y, y_test[d], own[d], days) - score(y, y_test[d], other[d], days)
                for d in draws
                if label != first
            ]
            row[column] = ""
            if apart:
                low, high = np.quantile(apart, [0.025, 0.975])
                row[column] = f"{low:+.4f} to {high:+.4f}"
        for horizon in horizons:
            expected = 1 - survival[label][0][:, days.index(horizon)].mean()
            row[f"{horizon} d"] = f"{expected:.3f}"
        table[label] = row
    came = {}
    for horizon in horizons:
        share = (y_test["event"] & (y_test["time"] <= horizon)).mean()
        came[f"{horizon} d"] = f"{share:.3f}"
    table["what came"] = came
    print(pd.DataFrame(table).T.fillna("").to_string())


def mean(score, y, y_test, outputs, days):
    """Return the mean of a score over the seeds."""
    return np.mean([score(y, y_test, one, days) for one in outputs])


if __name__ == "__main__":
    main()
