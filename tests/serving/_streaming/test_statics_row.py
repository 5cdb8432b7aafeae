"""Statics of every type are encoded without a table, as the pipeline encodes them."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm._columns import STATIC_TYPES, static_type_of
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving._streaming import FittedPipeline, StaticsRowEncoder
from tests.serving.streams import LOG, ROWS, SMALL

N = len(ROWS)
# Values of each type of statics; a new one needs an entry.
VALUES = {
    "numeric": [float(i) for i in range(N - 1)] + [None],
    "datetime": [pd.Timestamp(2020, 1, 1 + i % 28) for i in range(N - 1)] + [None],
    "category": [f"level {i % 3}" for i in range(N - 1)] + [None],
}


@pytest.mark.parametrize("name", STATIC_TYPES)
def test_a_row_of_statics_is_that_of_a_table(name):
    rows = ROWS[["who", "at"]].assign(x=VALUES[name])
    assert static_type_of(rows["x"]) == name
    X = LOG.attach(rows, cutoff="at")
    model = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1))
    model.fit(X, np.arange(N) % 2)
    assert_rows_equal_table(model, X)


def assert_rows_equal_table(model, X):
    encoder = StaticsRowEncoder.of(FittedPipeline.of(model, "this test"))
    assert encoder is not None
    table = model[:-1].transform(X)
    expected = table[list(model[-1]._roles.statics)].astype("float64")
    cutoffs = X["history"].array.rows.cutoff
    found = [
        encoder.values({"x": value}, cutoff)
        for value, cutoff in zip(X["x"], cutoffs, strict=True)
    ]
    assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scaler", [None, StandardScaler()])
def test_values_far_outside_of_the_training(scaler):
    """scikit-learn's scaler does not clip them."""
    rows = ROWS[["who", "at"]].assign(x=np.arange(N) % 2.0)
    X = LOG.attach(rows, cutoff="at")
    model = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1))
    if scaler is not None:
        model.set_params(statics__numeric__standardscaler=scaler)
    model.fit(X, np.arange(N) % 2)
    far = X.assign(x=np.linspace(-999, 1e6, N))
    assert_rows_equal_table(model, far)
