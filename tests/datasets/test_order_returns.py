import math

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from sklearn_seqcrm.datasets import _order_returns, make_order_returns
from sklearn_seqcrm.events import EventLog

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


def test_tables_tell_of_the_same_items(data):
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


def test_what_comes_back_of_a_basket_comes_back_together(data):
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


@pytest.mark.parametrize("habit_strength", [0.0, 5.0])
def test_probability_is_the_formula_of_the_outcomes_known_by_then(habit_strength):
    data = make_order_returns(40, habit_strength=habit_strength, random_state=1)
    expected = probabilities_by_hand(data, habit_strength)
    np.testing.assert_allclose(data.probability, expected, rtol=1e-9)


def test_formula_holds_where_times_are_equal(monkeypatch):
    # Two years in 730 seconds: baskets fall together, and so do outcomes and orders.
    for name, seconds in [
        ("DAY", 1),
        ("RETURN_WINDOW", 30),
        ("SHORTEST_DELAY", 2),
        ("MEAN_FURTHER_DELAY", 9),
    ]:
        monkeypatch.setattr(_order_returns, name, seconds)
    data = make_order_returns(100, mean_items=1, random_state=0)
    assert data.rows.duplicated(KEYS).sum() > 5
    pairs = data.rows[KEYS].merge(data.outcomes[KEYS], on=KEYS)
    assert len(pairs) > 20
    expected = probabilities_by_hand(data, habit_strength=5)
    np.testing.assert_allclose(data.probability, expected, rtol=1e-9)


def test_effects_are_the_terms_of_the_logit(data):
    assert list(data.effects) == ["item", "customer", "basket", "habit"]
    logit = np.log(data.probability) - np.log1p(-data.probability)
    np.testing.assert_allclose(data.effects.sum(axis=1) - 1.3, logit, rtol=1e-6)


def test_probability_is_calibrated(data):
    ranks = pd.Series(data.probability).rank(method="first")
    frame = pd.DataFrame({"p": data.probability, "y": data.target})
    deciles = frame.groupby(pd.qcut(ranks, 10, labels=False))
    # Four standard errors; given the past, the draws are independent.
    variance = deciles["p"].apply(lambda p: (p * (1 - p)).mean())
    tolerance = 4 * np.sqrt(variance / deciles.size())
    assert ((deciles["y"].mean() - deciles["p"].mean()).abs() < tolerance).all()


def test_honest_histories_hold_what_the_habit_is_made_of(data):
    outcomes = data.outcomes.assign(item=data.outcomes.index)
    log = EventLog(outcomes, *KEYS, categorical=[])  # to compare them as numbers
    X = log.attach(data.rows, cutoff="timestamp", allow_exact_matches=True)
    seen = X["history"].array.to_frame()
    assert len(seen) > 100_000
    assert (seen["item"] != seen.index).all()  # never the outcome of the row itself
    order_time = data.rows["timestamp"].to_numpy()[seen.index]
    weight = 0.5 ** ((order_time - seen["timestamp"]) / (90 * DAY))
    sums = pd.DataFrame({"all": weight, "returned": weight * seen["returned"]})
    sums = sums.groupby(level=0).sum().reindex(data.rows.index, fill_value=0)
    share = (0.4 + sums["returned"]) / (1 + sums["all"])
    np.testing.assert_allclose(data.effects["habit"], 5 * (share - 0.4), atol=1e-9)


def test_habits_differ_and_drift(data):
    habit = data.effects["habit"].groupby(data.rows["customer_id"])
    many = habit.size() >= 20
    assert habit.mean()[many].std() > 0.5
    assert habit.std()[many].median() > 0.5


def test_statics_alone_fall_short_and_each_part_counts(data):
    y, p = data.target, data.probability
    true = roc_auc_score(y, p)
    assert 0.78 < true < 0.86
    half = len(y) // 2
    statics = data.rows.drop(columns=KEYS)
    model = HistGradientBoostingClassifier(
        categorical_features="from_dtype", learning_rate=0.05, random_state=0
    ).fit(statics[:half], y[:half])
    static = roc_auc_score(y[half:], model.predict_proba(statics[half:])[:, 1])
    assert 0.65 < static < true - 0.08
    for name, loss in {"habit": 0.08, "item": 0.02, "basket": 0.003}.items():
        without = data.effects.drop(columns=name).sum(axis=1)
        assert roc_auc_score(y, without) < true - loss, name


def global_generator_state():
    _, keys, position, *_ = np.random.get_state()  # noqa: NPY002
    return [*keys, position]


def test_same_seed_same_data_and_global_generator_untouched():
    before = global_generator_state()
    one, two = (make_order_returns(30, random_state=7) for _ in range(2))
    other = make_order_returns(30, random_state=8)
    assert global_generator_state() == before
    for name in TABLES:
        pd.testing.assert_frame_equal(one[name], two[name])
    np.testing.assert_array_equal(one.target, two.target)
    np.testing.assert_array_equal(one.probability, two.probability)
    assert not one.rows.equals(other.rows)


def test_habit_strength_leaves_orders_and_first_outcomes_alone():
    weak, strong = (
        make_order_returns(200, habit_strength=strength, random_state=0)
        for strength in [0, 5]
    )
    pd.testing.assert_frame_equal(weak.rows, strong.rows)
    # At their first order, all customers have the usual habit.
    start = weak.rows.groupby("customer_id")["timestamp"].transform("min")
    first = (weak.rows["timestamp"] == start).to_numpy()
    np.testing.assert_array_equal(weak.target[first], strong.target[first])
    np.testing.assert_array_equal(weak.probability[first], strong.probability[first])
    assert (weak.target != strong.target).any()


@pytest.mark.parametrize("n_customers", [1, 2])
def test_few_customers_of_few_orders(n_customers):
    data = make_order_returns(
        n_customers, mean_baskets=0.1, mean_items=1, random_state=0
    )
    # One basket of one item each, and nobody has a past.
    assert len(data.rows) == data.rows["customer_id"].nunique() == n_customers
    assert (data.effects[["basket", "habit"]] == 0).all(axis=None)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_customers": 0}, "'n_customers'.* int in the range .1, inf.*Got 0"),
        ({"n_customers": 10.5}, "'n_customers'.* int in the range .1, inf.*Got 10.5"),
        ({"mean_baskets": 0}, "'mean_baskets'.* float in the range .0.*inf.*Got 0"),
        ({"mean_items": 0.5}, "'mean_items'.* float in the range .1.*inf.*Got 0.5"),
        ({"habit_strength": -1}, "'habit_strength'.* float in the range .*Got -1"),
        ({"random_state": "a"}, "'random_state'.*Got 'a'"),
    ],
)
def test_parameter_errors(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_order_returns(**parameters)
