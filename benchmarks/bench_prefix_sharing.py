"""Several rows of a customer share one pass over their events.

Who of the Complete Journey's households shops again within 14 days? The more cutoffs a
household is asked at, the more rows; read one by one, each of them would start over at
the first event. The table shows the time of an epoch, as a multiple of that with one
row per household, and what the same rows cost one by one. The second part trains nets
of several seeds both ways, and tests them on the last month.
"""

import argparse
import statistics

import numpy as np
import pandas as pd
from measure import one_thread
from sklearn.metrics import roc_auc_score

from sklearn_seqcrm.datasets import load_complete_journey
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import churned

HORIZON = "14D"
FIRST, LAST, TESTED = "2017-02-01", "2017-10-15", "2017-11-01"


class RowByRow(LSTMClassifier):
    """The same network, with a sequence of its own for each row."""

    def _build(self, *args):
        return super()._build(*args).set_params(share_sequences=False)


def make_log():
    """Shopping days of a year."""
    return EventLog(load_complete_journey().events, "household_id", "day")


def make_rows(log, n_cutoffs):
    """Rows at cutoffs that are spread evenly, and whether nothing was bought then."""
    if n_cutoffs == 1:
        cutoffs = pd.DatetimeIndex([LAST])
    else:
        cutoffs = pd.date_range(FIRST, LAST, periods=n_cutoffs).as_unit("us")
    X = log.snapshots(cutoffs)
    return X[["history"]], churned(X, horizon=HORIZON).to_numpy()


def epoch_seconds(model, X, y, n_epochs=3):
    """Seconds of the quickest epoch of a fit: others were disturbed."""
    model.set_params(estimator__max_epochs=n_epochs, estimator__early_stopping=False)
    return min(model.fit(X, y)[-1].net_.history[:, "dur"])


def main():
    """Run both parts and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    one_thread()
    log = make_log()
    shared, alone = (
        make_history_pipeline(kind(random_state=0))
        for kind in (LSTMClassifier, RowByRow)
    )
    tables = {n: make_rows(log, n) for n in (1, 12, 25)}
    times = {(n, way): [] for n in tables for way in ("shared", "alone")}
    for _ in range(options.repeat):
        for n, (X, y) in tables.items():
            times[n, "shared"].append(epoch_seconds(shared, X, y))
            times[n, "alone"].append(epoch_seconds(alone, X, y, n_epochs=1))
    base = statistics.median(times[1, "shared"])
    print(f"{log.n_customers:,} households, {len(log):,} shopping days")
    print("rows per household      rows  seconds an epoch  times one row  row by row")
    for n, (X, _) in tables.items():
        own, single = (statistics.median(times[n, way]) for way in ("shared", "alone"))
        print(
            f"{n:18d}{len(X):10,}{own:18.2f}{own / base:13.1f} x{single / base:10.1f} x"
        )
    tested = log.snapshots([TESTED])
    y_tested = churned(tested, horizon=HORIZON)
    print("\nAUC in the last month, of nets of 12 rows per household")
    found = {"shared": [], "row by row": []}
    X, y = tables[12]
    for seed in range(options.seeds):
        for way, model in zip(found, (LSTMClassifier, RowByRow), strict=True):
            pipeline = make_history_pipeline(model(random_state=seed)).fit(X, y)
            score = pipeline.predict_proba(tested[["history"]])[:, 1]
            found[way].append(roc_auc_score(y_tested, score))
    for way, scores in found.items():
        each = " ".join(f"{score:.4f}" for score in scores)
        print(f"{way:12s}mean {np.mean(scores):.4f}, std {np.std(scores):.4f}: {each}")


if __name__ == "__main__":
    main()
