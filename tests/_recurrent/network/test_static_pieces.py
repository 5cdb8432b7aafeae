import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_seqcrm._recurrent.network import Pieces, _static_pieces
from sklearn_seqcrm._recurrent.network._static_pieces import StaticPieces
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table, make_y

ONE = {"n_networks": 1, "random_state": 0}


def learn(values, customers=None, n_pieces=16):
    values = np.asarray(values, dtype="float32")
    own = np.arange(len(values)) if customers is None else customers
    return Pieces.learn([(3, values)], own, n_pieces)


def test_pieces_adjoin_and_hold_equal_numbers_of_values():
    values = np.random.default_rng(0).lognormal(size=1000).astype("float32")
    pieces = learn(values, n_pieces=8)
    assert pieces.column.tolist() == [3] * 8
    high = pieces.low + pieces.width
    assert_allclose(high[:-1], pieces.low[1:], rtol=1e-6)
    assert pieces.low[0] == values.min()
    assert high[-1] == pytest.approx(values.max())
    for low, end in zip(pieces.low, high, strict=True):
        assert 120 <= ((values > low) & (values <= end * (1 + 1e-6))).sum() <= 130
    shares = np.interp(values, [pieces.low[2], high[2]], [0, 1])
    assert pieces.center[2] == pytest.approx(shares.mean())
    assert pieces.spread[2] == pytest.approx(2 * shares.std())


def test_at_least_a_hundred_observations_in_a_piece():
    assert len(learn(np.arange(1000.0)).low) == 10
    assert len(learn(np.arange(10_000.0)).low) == 16
    assert len(learn(np.arange(199.0)).low) == 0


def test_a_value_counts_once_per_customer():
    customers = np.repeat(np.arange(250), 10)
    ages, prices = customers % 50, np.arange(2500) % 500
    assert len(learn(ages, customers).low) == 2
    assert len(learn(prices, customers).low) == 16
    # Ages of customers with many rows count no more than others.
    often = np.where(customers == 0, 1000, 1)
    expected = learn(ages, customers)
    found = learn(np.repeat(ages, often), np.repeat(customers, often))
    assert_allclose(np.array(found), np.array(expected))


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(1000),
        np.arange(1000) % 2,
        np.arange(1000) == 7,
        np.arange(1000) * 1e-30,
        [],
    ],
)
def test_no_pieces_of_columns_without_a_range(values):
    assert learn(values).column.tolist() == []


def test_an_outlier_is_bounded_in_its_piece():
    values = np.append(np.arange(999.0) % 9, 1e9)
    pieces = learn(values)
    inside = np.clip((1e12 - pieces.low) / pieces.width, 0, 1)
    assert ((inside - pieces.center) / pieces.spread).max() <= 5


def test_sums_of_pieces_against_a_loop(monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(500, 2)).astype("float32")
    columns = [(1, values[:, 1]), (0, values[:, 0] ** 3)]
    pieces = Pieces.learn(columns, np.arange(500), 4)
    module = StaticPieces(pieces, 3)
    weights = rng.normal(size=(3, 8)).astype("float32")
    module.weights.weight.data = torch.from_numpy(weights)
    rows = rng.normal(size=(5, 2), scale=3)
    expected = np.zeros((5, 3))
    for i, row in enumerate(rows):
        for p in range(8):
            value, low = row[pieces.column[p]], pieces.low[p]
            share = min(max((value - low) / pieces.width[p], 0), 1)
            away = (share - pieces.center[p]) / pieces.spread[p]
            expected[i] += weights[:, p] * away
    found = module(torch.from_numpy(rows.astype("float32")))
    assert_allclose(found.detach(), expected, rtol=1e-4, atol=1e-4)
    # Without gradients, two rows at a time.
    monkeypatch.setattr(_static_pieces, "_NUMBERS_AT_ONCE", 17)
    with torch.no_grad():
        found = module(torch.from_numpy(rows.astype("float32")))
        assert module(torch.zeros(0, 2)).shape == (0, 3)
    assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def histories(n, **statics):
    """Return rows with one event per customer, on one of 20 days, and statics."""
    time = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n) % 20, "D")
    events = pd.DataFrame({"who": np.arange(n), "time": time})
    rows = pd.DataFrame({"who": np.arange(n), "at": pd.Timestamp("2024-02-01")})
    log = EventLog(events, "who", "time", observed_until="2024-02-01")
    return log.attach(rows.assign(**statics), cutoff="at")


def test_row_features_and_levels_are_not_cut():
    n = 400
    price, day = np.arange(n) % 90, pd.to_timedelta(np.arange(n) % 70, "D")
    region = np.array(["north", "south"])[np.arange(n) % 2]
    X = histories(n, price=price, region=region, member=price > 50, waited=day)
    model = make_history_pipeline(LSTMClassifier(max_epochs=1, **ONE))
    model.fit(X, np.arange(n) % 2)
    encoded = model[:-1].transform(X)
    names = [name for name in encoded if name not in ("who", "at", "history")]
    cut = model[-1].net_.module_.pieces.column.unique()
    n_features = model[-1].net_.module__n_static - len(names)
    assert n_features > 0
    assert [names[i] for i in cut - n_features] == ["price", "waited"]


def test_thresholds_are_learned():
    rng = np.random.default_rng(0)
    price = rng.uniform(size=1200)
    buys = rng.uniform(size=1200) < np.where(np.abs(price - 0.3) < 0.06, 0.9, 0.1)
    X, new = histories(1200, price=price), histories(500, price=np.arange(500) / 500)
    chance = np.where(np.abs(new["price"] - 0.3) < 0.06, 0.9, 0.1)
    options = {"hidden_size": 4, "early_stopping": False, "max_epochs": 12, **ONE}
    options["learning_rate"] = 0.01
    errors = {}
    for n in (1, 16):
        model = make_history_pipeline(LSTMClassifier(static_pieces=n, **options))
        found = model.fit(X, buys).predict_proba(new)[:, 1]
        errors[n] = np.mean((found - chance) ** 2)
    assert errors[16] < 0.5 * errors[1]


def test_networks_start_as_without_pieces():
    X = histories(300, price=np.arange(300) % 40)
    y = np.arange(300) % 3 == 0
    outputs = []
    for n in (1, 16):
        options = {"learning_rate": 1e-9, "max_epochs": 1, "weight_decay": 0.0}
        model = LSTMClassifier(static_pieces=n, **options, **ONE)
        outputs.append(make_history_pipeline(model).fit(X, y).predict_proba(X))
    assert_allclose(outputs[0], outputs[1], atol=1e-6)


def test_rows_of_weight_zero_do_not_move_pieces():
    n = 600
    X = histories(n, price=np.where(np.arange(n) < 300, np.arange(n), 1e4))
    y, weight = np.arange(n) % 2, (np.arange(n) < 300).astype(float)
    model = make_history_pipeline(LSTMRegressor(max_epochs=1, **ONE))
    of_all = model.fit(X, y, estimator__sample_weight=weight)[-1].net_.module_
    assert len(of_all.pieces.low) == 3
    assert of_all.pieces.width.min() > 0.01  # in units of all 600 rows


def test_the_number_of_pieces_cannot_change_in_a_continued_training():
    X, y = make_table(), make_y(make_table())
    model = make_history_pipeline(LSTMClassifier(max_epochs=1, warm_start=True, **ONE))
    model.fit(X, y)[-1].set_params(static_pieces=4)
    with pytest.raises(ValueError, match="static_pieces=16; got 4"):
        model.fit(X, y)
