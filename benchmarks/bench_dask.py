"""A search on two workers of Dask and in two loky processes: seconds and bytes.

24 fits of boosted trees on features of histories. Needs dask[distributed].
"""

import argparse
import pickle
import time

import joblib
import numpy as np
from distributed import Client, LocalCluster
from distributed.comm.tcp import TCP
from measure import lognormal_lengths, make_log
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.feature_extraction import HistoryAggregator

SENT = [0]
WRITE = TCP.write


async def counted(self, *args, **kwargs):
    """Write as usual, and count the bytes."""
    n_bytes = await WRITE(self, *args, **kwargs)
    SENT[0] += n_bytes
    return n_bytes


def search():
    """Make a search of 24 fits."""
    trees = HistGradientBoostingClassifier(random_state=0, max_iter=30)
    model = make_pipeline(HistoryAggregator(max_features=50), trees)
    grid = {"histgradientboostingclassifier__learning_rate": [0.02, 0.05, 0.1]}
    grid["histgradientboostingclassifier__max_leaf_nodes"] = [7, 31]
    return GridSearchCV(model, grid, cv=4, refit=False)


def main():
    """Search twice with each, in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=3000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    log = make_log(lognormal_lengths(options.customers, rng), rng)
    X = log.snapshots([600, 1001])[["history"]]
    y = np.arange(len(X)) % 2
    print(f"rows with their log: {len(pickle.dumps(X)) / 1e6:.1f} MB")
    TCP.write = counted
    cluster = LocalCluster(2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster):
        for name in ("dask", "loky") * 3:  # the first of each starts its processes
            SENT[0] = 0
            start = time.perf_counter()
            with joblib.parallel_config(name, n_jobs=2):
                found = search().fit(X, y)
            elapsed, sent = time.perf_counter() - start, SENT[0] / 1e6
            score = found.cv_results_["mean_test_score"].max()
            print(f"{name:8s}{elapsed:8.1f} s{sent:8.1f} MB   best {score:.6f}")


if __name__ == "__main__":
    main()
