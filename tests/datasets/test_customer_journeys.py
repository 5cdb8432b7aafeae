import math

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from sklearn_seqcrm.datasets import make_customer_journeys

DAY = pd.Timedelta(days=1)


@pytest.fixture(scope="module")
def data():
    return make_customer_journeys(8000, random_state=0)


def with_rows(data):
    return data.events.merge(data.rows, on="customer_id", validate="many_to_one")


def past_of(data):
    events = with_rows(data)
    return events[events["timestamp"] < events["cutoff"]]


def bag_of_events(data):
    """Describe each history by all that its order does not change, and the statics."""
    past = past_of(data)
    past["ago"] = (past["cutoff"] - past["timestamp"]) / DAY
    past["kind"] = past["event"].astype(str)
    by_customer = past.groupby("customer_id")
    by_kind = past.groupby(["customer_id", "kind"])
    tables = [
        by_customer["ago"].agg(["min", "max", "count"]),
        by_kind.size().unstack().add_prefix("n_"),
        by_kind["amount"].sum().unstack().add_prefix("sum_"),
    ]
    for days in [30, 90]:
        past["faded"] = past["amount"] * 0.5 ** (past["ago"] / days)
        faded = past.groupby(["customer_id", "kind"])["faded"].sum().unstack()
        tables.append(faded.add_prefix(f"sum_{days}_"))
    bag = pd.concat(tables, axis=1).reindex(data.rows["customer_id"]).reset_index()
    statics = data.rows[["age", "region"]].astype({"region": "category"})
    return pd.concat([bag.drop(columns="customer_id"), statics], axis=1)


def test_shapes_and_columns(data):
    assert list(data.events) == [
        "customer_id",
        "timestamp",
        "event",
        "amount",
        "channel",
    ]
    assert list(data.rows) == ["customer_id", "cutoff", "age", "region"]
    assert data.rows["customer_id"].is_unique
    assert data.rows["cutoff"].nunique() > 300
    assert set(data.target) == {0, 1}
    assert data.target.shape == data.probability.shape == (8000,)
    has_amount = data.events["event"].isin(["order", "return"])
    assert (data.events["amount"].notna() == has_amount).all()


def test_row_order_of_events_tells_nothing(data):
    place = np.arange(len(data.events))
    for key in [data.events["timestamp"].rank(), data.events["customer_id"].rank()]:
        assert abs(np.corrcoef(place, key)[0, 1]) < 0.02


def test_times_are_distinct_within_a_customer():
    # Some 400 events on average, to give ties a chance.
    events = make_customer_journeys(500, mean_events=400, random_state=0).events
    assert not events.duplicated(["customer_id", "timestamp"]).any()


def test_lengths_are_log_normal(data):
    ids = data.rows["customer_id"]
    lengths = past_of(data).groupby("customer_id").size().reindex(ids, fill_value=0)
    assert (lengths == 0).sum() >= 160
    assert (lengths == 1).sum() >= 160
    log_lengths = np.log(lengths[lengths > 3])
    assert lengths.mean() == pytest.approx(20 * 0.96, rel=0.05)
    assert log_lengths.median() == pytest.approx(np.log(20) - 0.5, abs=0.15)
    assert lengths.max() > 200


@pytest.mark.parametrize("n_customers", [1, 2, 3, 40])
def test_few_customers(n_customers):
    data = make_customer_journeys(n_customers, random_state=3)
    lengths = past_of(data).groupby("customer_id").size()
    assert len(data.rows) == n_customers
    assert n_customers - len(lengths) >= 1
    assert (lengths == 1).sum() >= min(n_customers - 1, 1)


def test_target_is_an_order_in_the_horizon(data):
    events = with_rows(data)
    since = events["timestamp"] - events["cutoff"]
    inside = (since >= 0 * DAY) & (since < data.horizon)
    buyers = events.loc[inside & (events["event"] == "order"), "customer_id"]
    np.testing.assert_array_equal(data.rows["customer_id"].isin(buyers), data.target)
    assert (since < data.horizon).all()
    assert (since == 0 * DAY).sum() > 100
    assert (data.rows["cutoff"] + data.horizon <= data.observed_until).all()


def probability_by_hand(row, history, order_strength):
    """Compute the formula of the docstring by a loop over the sorted history."""
    static = -0.03 * (row.age - 45) + {"north": 0.4, "south": -0.4}.get(row.region, 0)
    days, spend, order = 90.0, 0.0, 0.0
    previous = None
    for event in sorted(history, key=lambda event: event.timestamp):
        days = (row.cutoff - event.timestamp) / DAY
        w = 0.5 ** (days / 90)
        if event.event == "order":
            spend += w * event.amount
        if (previous, event.event) == ("mailing", "visit"):
            order += w
        if (previous, event.event) == ("visit", "mailing"):
            order -= w
        previous = event.event
    recency = -math.log1p(min(days, 90) / 7)
    spend = 0.4 * math.log1p(spend)
    logit = -0.4 + static + recency + spend + order_strength * order
    return 1 / (1 + math.exp(-logit))


@pytest.mark.parametrize("order_strength", [0.0, 2.0, 3.5])
def test_probability_is_the_formula_of_the_events_before_the_cutoff(order_strength):
    data = make_customer_journeys(200, order_strength=order_strength, random_state=1)
    history = {name: [] for name in data.rows["customer_id"]}
    cutoff = dict(zip(data.rows["customer_id"], data.rows["cutoff"], strict=True))
    for event in data.events.itertuples():
        if event.timestamp < cutoff[event.customer_id]:
            history[event.customer_id].append(event)
    expected = [
        probability_by_hand(row, history[row.customer_id], order_strength)
        for row in data.rows.itertuples()
    ]
    np.testing.assert_allclose(data.probability, expected, rtol=1e-9)


def test_effects_are_the_terms_of_the_logit(data):
    assert list(data.effects) == ["static", "recency", "spend", "order"]
    logit = np.log(data.probability) - np.log1p(-data.probability)
    np.testing.assert_allclose(data.effects.sum(axis=1) - 0.4, logit, rtol=1e-6)


def test_probability_is_calibrated(data):
    ranks = pd.Series(data.probability).rank(method="first")
    frame = pd.DataFrame({"p": data.probability, "y": data.target})
    deciles = frame.groupby(pd.qcut(ranks, 10, labels=False))
    # Four standard errors of the mean of 800 independent draws.
    tolerance = 4 * np.sqrt(deciles["p"].apply(lambda p: (p * (1 - p)).mean()) / 800)
    assert ((deciles["y"].mean() - deciles["p"].mean()).abs() < tolerance).all()


def test_the_order_has_no_mean_given_counts(data):
    counts = past_of(data).groupby(["customer_id", "event"], observed=True).size()
    counts = counts.unstack(fill_value=0).reindex(data.rows["customer_id"]).fillna(0)
    counts["all"] = counts.sum(axis=1)
    # 0.045 is four standard errors of a correlation of 8,000 independent pairs.
    for name in counts:
        correlation = np.corrcoef(counts[name], data.effects["order"])[0, 1]
        assert abs(correlation) < 0.045, name
    assert data.effects["order"].std() > 1


def bag_and_true_auc(data):
    bag, half = bag_of_events(data), len(data.rows) // 2
    model = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=120,
        max_leaf_nodes=15,
        categorical_features="from_dtype",
        random_state=0,
    ).fit(bag[:half], data.target[:half])
    score = model.predict_proba(bag[half:])[:, 1]
    y, p = data.target[half:], data.probability[half:]
    return roc_auc_score(y, score), roc_auc_score(y, p)


def test_no_bag_of_events_reaches_the_true_probability(data):
    bag, true = bag_and_true_auc(data)
    assert 0.80 < true < 0.88
    assert 0.65 < bag < true - 0.05
    # Nor does any model at all that does not know the order.
    orderless = data.effects.drop(columns="order").sum(axis=1)
    assert roc_auc_score(data.target, orderless) < true - 0.05


def test_a_bag_of_events_suffices_without_an_order_effect():
    data = make_customer_journeys(8000, order_strength=0, random_state=0)
    bag, true = bag_and_true_auc(data)
    assert bag > true - 0.03


def global_generator_state():
    _, keys, position, *_ = np.random.get_state()  # noqa: NPY002
    return [*keys, position]


def test_same_seed_same_data_and_global_generator_untouched():
    before = global_generator_state()
    one, two = (make_customer_journeys(50, random_state=7) for _ in range(2))
    other = make_customer_journeys(50, random_state=8)
    assert global_generator_state() == before
    for name in ["events", "rows", "effects"]:
        pd.testing.assert_frame_equal(one[name], two[name])
    np.testing.assert_array_equal(one.target, two.target)
    assert not one.rows.equals(other.rows)


def test_order_strength_leaves_rows_and_histories_alone():
    weak, strong = (
        make_customer_journeys(200, order_strength=strength, random_state=0)
        for strength in [0, 5]
    )
    pd.testing.assert_frame_equal(weak.rows, strong.rows)
    keys = ["customer_id", "timestamp"]
    one, two = (
        past_of(data).drop(columns="channel").sort_values(keys, ignore_index=True)
        for data in [weak, strong]
    )
    pd.testing.assert_frame_equal(one, two)
    assert (weak.target != strong.target).any()


def test_channels():
    events = make_customer_journeys(50, n_channels=2, random_state=0).events
    assert list(events["channel"].cat.categories) == ["channel_0", "channel_1"]
    assert events["channel"].nunique() == 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_customers": 0}, "'n_customers'.* int in the range .1, inf.*Got 0"),
        ({"n_customers": 10.5}, "'n_customers'.* int in the range .1, inf.*Got 10.5"),
        ({"n_channels": 0}, "'n_channels'.* int in the range .1, inf.*Got 0"),
        ({"mean_events": 0}, "'mean_events'.* float in the range .0.*inf.*Got 0"),
        ({"order_strength": -1}, "'order_strength'.* float in the range .*Got -1"),
        ({"random_state": "a"}, "'random_state'.*Got 'a'"),
    ],
)
def test_parameter_errors(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_customer_journeys(**parameters)
