"""Several rows of a customer share one pass over their events.

Which households of the Complete Journey shop again within 14 days? More cutoffs per
household mean more rows. Without sharing, each row starts at the first event. The first
table has the time of an epoch as a multiple of that with one row per household, with
and without sharing. The batch size is a number of rows, so an epoch of 25 rows per
household has up to 25 times the steps; the automatic batch size grows with the rows of
a household. The second table tests networks of several seeds, trained both ways, on the
last month.
"""

import argparse
import statistics

import numpy as np
import pandas as pd
from measure import one_thread, precisions
from sklearn.metrics import roc_auc_score

from sklearn_seqcrm.datasets import load_complete_journey
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import churned

HORIZON = "14D"
FIRST, LAST, TESTED = "2017-02-01", "2017-10-15", "2017-11-01"


class RowByRow(LSTMClassifier):
    """The same network with a separate sequence for each row."""

    def _build(self, *args):
        return super()._build(*args).set_params(share_sequences=False)


def make_log():
    """Return a log of the shopping days of a year."""
    return EventLog(load_complete_journey().events, "household_id", "day")


def make_rows(log, n_cutoffs):
    """Return rows at evenly spaced cutoffs, and their labels."""
    if n_cutoffs == 1:
        cutoffs = pd.DatetimeIndex([LAST])
    else:
        cutoffs = pd.date_range(FIRST, LAST, periods=n_cutoffs).as_unit("us")
    X = log.snapshots(cutoffs)
    return X[["history"]], churned(X, horizon=HORIZON).to_numpy()


def epoch_seconds(model, X, y):
    """Return the seconds of the second epoch of a fit; the first one warms up."""
    model.set_params(estimator__max_epochs=2, estimator__early_stopping=False)
    return model.fit(X, y)[-1].net_.history[1, "dur"]


def compare_times(tables, batch_size, repeat):
    """Print the time of an epoch."""
    shared, alone = (
        make_history_pipeline(kind(batch_size=batch_size, random_state=0))
        for kind in (LSTMClassifier, RowByRow)
    )
    times = {(n, way): [] for n in tables for way in ("shared", "alone")}
    for _ in range(repeat):
        for n, (X, y) in tables.items():
            times[n, "shared"].append(epoch_seconds(shared, X, y))
            times[n, "alone"].append(epoch_seconds(alone, X, y))
    base = statistics.median(times[1, "shared"])
    for n, (X, _) in tables.items():
        own, single = (statistics.median(times[n, way]) for way in ("shared", "alone"))
        print(
            f"{batch_size:>10}{n:20d}{len(X):10,}{own:18.2f} s{own / base:13.1f} x"
            f"{single / base:11.1f} x"
        )


def compare_scores(what, kind, rows, tested, y_tested, seeds, **options):
    """Print scores of networks of several seeds."""
    scores = []
    for seed in range(seeds):
        model = make_history_pipeline(kind(random_state=seed, **options))
        score = model.fit(*rows).predict_proba(tested[["history"]])[:, 1]
        scores.append(roc_auc_score(y_tested, score))
    error = np.std(scores, ddof=1) / len(scores) ** 0.5
    lowest, highest = min(scores), max(scores)
    print(f"{what:32s}{np.mean(scores):8.4f}{error:8.4f}{lowest:8.4f}{highest:9.4f}")


def main():
    """Run both parts and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    one_thread()
    available = precisions()
    log = make_log()
    tables = {n: make_rows(log, n) for n in (1, 12, 25)}
    print(f"{log.n_customers:,} households, {len(log):,} shopping days, hidden size 64")
    print(
        "batch size  rows per household      rows  seconds an epoch  times one row  "
        "one by one"
    )
    for batch_size in ("auto", 128, 256, 512):
        compare_times(tables, batch_size, options.repeat)
    tested = log.snapshots([TESTED])
    y_tested = churned(tested, horizon=HORIZON)
    print("\nAUC in the last month")
    columns = "    mean      +-  lowest  highest"
    print(f"{'rows, batch size, reading':32s}{columns}")
    for n, batch_size, kind, precision in (
        (12, "auto", LSTMClassifier, "float32"),
        (12, "auto", RowByRow, "float32"),
        (12, "auto", LSTMClassifier, "bfloat16"),
        (12, 128, LSTMClassifier, "float32"),
        (25, "auto", LSTMClassifier, "float32"),
        (25, "auto", RowByRow, "float32"),
        (25, 128, LSTMClassifier, "float32"),
    ):
        if precision not in available:
            continue
        compare_scores(
            f"{n}, {batch_size}, "
            + ("one by one" if kind is RowByRow else "shared")
            + (", bfloat16" if precision == "bfloat16" else ""),
            kind,
            tables[n],
            tested,
            y_tested,
            options.seeds,
            batch_size=batch_size,
            precision=precision,
        )


if __name__ == "__main__":
    main()
