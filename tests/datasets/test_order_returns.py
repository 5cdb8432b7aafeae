import math

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.datasets import make_order_returns

DAY = pd.Timedelta(days=1)
KEYS = ["customer_id", "timestamp"]
FACTS = ["category", "price", "size_gap"]
TABLES = ["rows", "orders", "outcomes", "leaky_orders", "effects"]


@pytest.fixture(scope="module")
def data():
    return make_order_returns(2000, random_state=0)


def known_at(data):
    return data.outcomes["timestamp"].reindex(data.rows.index)


def test_shapes_and_columns(data):
    assert list(data.rows) == [*KEYS, *FACTS, "age", "payment"]
    assert list(data.orders) == [*KEYS, *FACTS]
    assert list(data.outcomes) == [*KEYS, *FACTS, "returned"]
    assert list(data.leaky_orders) == [*KEYS, *FACTS, "returned"]
    assert set(data.target) == {0, 1}
    n_items = len(data.rows)
    assert data.target.shape == data.probability.shape == (n_items,)
    assert n_items == pytest.approx(2000 * 10 * 2, rel=0.05)
    assert data.rows["customer_id"].nunique() == 2000
    for name in TABLES:
        assert sorted(data[name].index) == list(range(n_items))
        assert data[name].notna().all(axis=None)
    for name in ["rows", "outcomes"]:
        assert data[name]["timestamp"].is_monotonic_increasing


def test_tables_hold_the_same_items(data):
    facts = [*KEYS, *FACTS]
    pd.testing.assert_frame_equal(data.rows[facts], data.orders)
    pd.testing.assert_frame_equal(data.leaky_orders[facts], data.orders)
    by_item = data.outcomes.sort_index()
    same = ["customer_id", *FACTS]
    pd.testing.assert_frame_equal(by_item[same], data.orders[same])
    np.testing.assert_array_equal(by_item["returned"], data.target)
    np.testing.assert_array_equal(data.leaky_orders["returned"], data.target)


def test_an_outcome_is_known_later_than_its_order(data):
    wait = known_at(data) - data.rows["timestamp"]
    returned = data.target == 1
    assert (wait[~returned] == data.return_window).all()
    assert wait[returned].min() >= 2 * DAY
    assert wait[returned].max() <= data.return_window
    assert wait[returned].median() / DAY == pytest.approx(2 + 9 * math.log(2), rel=0.1)
    assert known_at(data).max() <= data.observed_until


def test_returned_items_of_a_basket_arrive_together(data):
    returns = known_at(data)[data.target == 1]
    basket = [data.rows.loc[returns.index, key] for key in KEYS]
    assert (returns.groupby(basket).nunique() == 1).all()
    assert (returns.groupby(basket).size() > 1).sum() > 1000


def probability_by_hand(row, n_items, outcomes, habit_strength):
    """Compute the formula of the docstring by a loop over a customer's outcomes."""
    category = {
        "accessories": -0.7,
        "dresses": 0.5,
        "shirts": -0.1,
        "shoes": 0.2,
        "trousers": 0.1,
    }[row.category]
    item = category + 0.4 * math.log(row.price / 40) + 0.5 * (row.size_gap != 0)
    customer = -0.015 * (row.age - 42) + {"invoice": 0.4, "wallet": -0.2}.get(
        row.payment, 0
    )
    returned_sum, all_sum = 0.4, 1.0
    for outcome in outcomes:
        if outcome.timestamp <= row.timestamp:
            w = 0.5 ** ((row.timestamp - outcome.timestamp) / (90 * DAY))
            all_sum += w
            returned_sum += w * outcome.returned
    habit = habit_strength * (returned_sum / all_sum - 0.4)
    logit = -1.3 + item + customer + 0.6 * math.log(n_items) + habit
    return 1 / (1 + math.exp(-logit))


def probabilities_by_hand(data, habit_strength):
    outcomes, n_items = {}, {}
    for outcome in data.outcomes.itertuples():
        outcomes.setdefault(outcome.customer_id, []).append(outcome)
    for row in data.rows.itertuples():
        basket = row.customer_id, row.timestamp
        n_items[basket] = n_items.get(basket, 0) + 1
    return [
        probability_by_hand(
            row,
            n_items[row.customer_id, row.timestamp],
            outcomes[row.customer_id],
            habit_strength,
        )
        for row in data.rows.itertuples()
    ]
