"""Customers whose shops have histories as well: all of a shop count as one."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor

from sklearn_seqcrm.ensemble import HybridRegressor
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.targets import churned
from tests.small_networks import SMALL

N_CUSTOMERS = 60
VISITS = pd.DataFrame({"who": np.arange(240) % N_CUSTOMERS, "day": np.arange(240) % 97})
LOG = EventLog(VISITS, "who", "day", observed_until=100)
ROWS = LOG.snapshots([20, 40, 60, 80], min_events=0)


def rows_of_shops(n_shops):
    """Return all rows, with the history of the shop of each customer."""
    log = EventLog(pd.DataFrame({"shop": range(n_shops), "day": 0}), "shop", "day")
    rows = ROWS.assign(shop=ROWS["who"] % n_shops)
    return log.attach(rows, "shop", "cutoff", name="visits")


@pytest.mark.parametrize("n_shops", [1, 4])
def test_networks_stop_at_the_latest_cutoffs(n_shops):
    X = HistoryEncoder().fit_transform(rows_of_shops(n_shops))[["history", "visits"]]
    y = churned(ROWS, 20)
    assert LSTMClassifier(**SMALL).fit(X, y).validation_["by"] == "forward"


def test_networks_that_must_set_customers_aside():
    X = HistoryEncoder().fit_transform(rows_of_shops(1))[["history", "visits"]]
    network = LSTMClassifier(**SMALL, early_stopping=True, horizon=None)
    with pytest.raises(ValueError, match="any of their 2 history columns"):
        network.fit(X, np.arange(len(X)) % 2)


@pytest.mark.parametrize("n_shops", [1, 2])
def test_hybrids_warn_of_few_groups(n_shops):
    X, y = rows_of_shops(n_shops), np.zeros(len(ROWS))
    one = DummyRegressor(strategy="constant", constant=1.0)
    model = HybridRegressor(one, DummyRegressor())
    says = rf"few customers, a part of {n_shops}: .* any of their 2 history columns"
    with pytest.warns(UserWarning, match=says):
        model.fit(X, y)
    assert (model.weights_["lstm"] == 0.5) == (n_shops == 1)
    with pytest.raises(ValueError, match=rf"rows have {n_shops} .*their 2 .*'latest'"):
        model.set_params(cv=3).fit(X, y)


def test_histories_of_the_same_few_customers_connect_no_others():
    rows = ROWS[ROWS["who"] < 9]  # without a warning
    rows = rows.assign(other=rows["history"].array)
    HybridRegressor(DummyRegressor(), DummyRegressor()).fit(rows, np.zeros(len(rows)))
