"""The linear part beside the head, against scikit-learn and known sums."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm._recurrent.network._module import LinearPart, ridge
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline


@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_is_that_of_scikit_learn(weighted):
    rng = np.random.default_rng(0)
    n = 20_000  # several blocks
    inputs = (rng.normal(size=(n, 3)) * [1, 1e-4, 1e6] + [0, 1, 5e6]).astype("float32")
    target = inputs @ [1, 3e3, 2e-6] + rng.normal(size=n)
    weight = rng.integers(0, 4, n).astype(float) if weighted else None
    scaler = StandardScaler().fit(inputs.astype("float64"), sample_weight=weight)
    share = 0.05 * (n if weight is None else weight.sum())
    expected = Ridge(share).fit(
        scaler.transform(inputs.astype("float64")), target, sample_weight=weight
    )
    center, spread, weights = ridge(inputs, np.stack([target, -target], axis=1), weight)
    assert_allclose(center, scaler.mean_, rtol=1e-6)
    assert_allclose(spread, scaler.scale_, rtol=1e-6)
    assert_allclose(weights.T, [expected.coef_, -expected.coef_], rtol=1e-6)


def test_a_constant_input_has_no_effect():
    part = LinearPart(2, 1)
    inputs = np.array([[1e6, 0], [1e6, 1], [1e6, 2]], dtype="float32")
    part.start(*ridge(inputs, np.array([0.0, 1.0, 2.0]), None))
    one, other = part(torch.tensor([[1e6, 1.0], [0.0, 1.0]]))
    assert one == other


@pytest.mark.parametrize("tiny", [4e-45, 1e-30])
def test_sums_that_underflow_have_no_effect(tiny):
    """A sum over events of long ago, and a later row with a recent event."""
    part = LinearPart(2, 1)
    inputs = np.array([[0, 0], [tiny, 1], [0, 2]], dtype="float32")
    part.start(*ridge(inputs, np.array([0.0, 1.0, 2.0]), None))
    assert part(torch.from_numpy(inputs)).isfinite().all()
    one, other = part(torch.tensor([[50.0, 1.0], [0.0, 1.0]]))
    assert one == other


def buyers(amounts):
    """One row for each customer, who has three events ten days apart."""
    n = len(amounts)
    events = pd.DataFrame(
        {
            "who": np.repeat(np.arange(n), 3),
            "day": np.tile([0.0, 10.0, 20.0], n),
            "spend": np.ravel(amounts),
        }
    )
    log = EventLog(events, customer="who", time="day")
    return log.attach(pd.DataFrame({"who": np.arange(n)}), cutoff=30.0)


def test_spend_beyond_the_training_range_is_extrapolated():
    """Spend in proportion to the sum, also of one ten times as large as any before."""
    rng = np.random.default_rng(0)
    amounts = np.exp(1.5 * rng.normal(size=(300, 3)))
    X, y = buyers(amounts), amounts.sum(axis=1)
    model = make_history_pipeline(
        LSTMRegressor(max_epochs=5, random_state=0, n_networks=1)
    )
    largest = 10 * amounts[y.argmax()]
    found = model.fit(X, y).predict(buyers([largest]))
    # A network without the linear part predicted a thirtieth of that.
    assert found == pytest.approx(largest.sum(), rel=0.25)


def test_sums_are_those_of_the_raw_numbers():
    amounts = np.array([[1.0, -2.0, 400.0], [5.0, np.nan, 7.0], [2.0, 3.0, 4.0]])
    X = buyers(amounts)
    encoder = make_history_pipeline(LSTMClassifier())[:1].fit(X)
    array = encoder.transform(X)["history"].array
    layout = array.log.layout
    known = np.where(np.isnan(amounts), np.nanmedian(amounts), amounts)
    low, high = np.nanquantile(amounts, [0.25, 0.75])
    ages = np.array([30.0, 20.0, 10.0])
    expected = [
        (known * 0.5 ** (ages / half_life)).sum(axis=1) / ((high - low) / 1.349)
        for half_life in layout.half_lives
    ]
    assert layout.sums == [f"spend_sum_{k}" for k in range(4)]
    features, sums = array.log.row_features_and_sums(array.rows)
    assert_allclose(sums, np.transpose(expected), rtol=1e-5)
    assert_array_equal(features, array.log.row_features(array.rows))


@pytest.mark.parametrize(
    ("model", "has_one"),
    [
        (LSTMClassifier(), False),
        (LSTMRegressor(), True),
        (LSTMRegressor(loss="absolute_error", n_networks=1), False),
        (LSTMRegressor(loss="poisson", n_networks=1), False),
    ],
)
def test_only_squared_errors_have_a_linear_part(model, has_one):
    X = buyers(np.ones((4, 3)))
    model.set_params(max_epochs=1, hidden_size=2, random_state=0)
    fitted = make_history_pipeline(model).fit(X, [0, 1, 0, 1])[-1]
    module = fitted.net_.module_
    assert (module.linear is not None) == has_one
    head = module.head[0].in_features - sum(r.output_size for r in module.readers)
    assert fitted._n_static - head == 4 * has_one
