"""Rows of 60 customers at five cutoffs, for validation forward in time."""

import numpy as np
import pandas as pd

from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.targets import churned, future_count
from tests.logs import log_of_table

N_CUSTOMERS, CUTOFFS, HORIZON = 60, [20, 30, 40, 50, 60], 10


def make_log():
    rng = np.random.default_rng(0)
    n_events = rng.poisson(8, N_CUSTOMERS) + 1
    times = [np.append(0, rng.integers(0, 100, n)) for n in n_events]
    who = np.repeat(np.arange(N_CUSTOMERS), n_events + 1)
    return log_of_table(pd.DataFrame({"who": who, "day": np.concatenate(times)}))


LOG = make_log()
RAW = LOG.snapshots(CUTOFFS)
Y, COUNTS = churned(RAW, HORIZON), future_count(RAW, HORIZON)
X = HistoryEncoder().fit_transform(RAW)[["history"]].assign(at=RAW["cutoff"] / 10)
