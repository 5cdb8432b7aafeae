import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_predict

from sklearn_seqcrm.datasets import make_campaigns
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.targets import future_count, future_sum

DAY = pd.Timedelta(days=1)
PAIRS = {
    "mail": ("purchase", "visit"),
    "coupon": ("purchase", "cart"),
    "call": ("purchase", "return"),
}


@pytest.fixture(scope="module")
def data():
    return make_campaigns(4000, random_state=0)


@pytest.fixture(scope="module")
def confounded():
    return make_campaigns(
        4000, n_treatments=3, confounded=True, n_past_campaigns=2, random_state=0
    )


def past_of(data, row):
    """Return the events before the cutoff of a row, and its cutoff."""
    customer, cutoff = data.rows.loc[row, ["customer_id", "cutoff"]]
    of_customer = data.events[data.events["customer_id"] == customer]
    return of_customer[of_customer["timestamp"] < cutoff], cutoff


def sessions_of(past):
    """Return the time of the first event, and the events, of each session."""
    past = past[~past["event"].isin(PAIRS)]
    return [
        (part["timestamp"].iloc[0], tuple(part["event"]))
        for _, part in past.groupby(past["timestamp"].dt.floor("h"))
    ]


def order_by_hand(sessions, cutoff, first, second):
    signed, total = 0.0, 0.5
    for time, kinds in sessions:
        if set(kinds) == {first, second}:
            weight = 0.5 ** ((cutoff - time) / (120 * DAY))
            total += weight
            signed += weight if kinds == (first, second) else -weight
    return signed / total


def score_by_hand(data, row):
    past, cutoff = past_of(data, row)
    sessions = sessions_of(past)
    recency = min([(cutoff - time) / DAY for time, _ in sessions] + [90])
    age, region = data.rows.loc[row, ["age", "region"]]
    carried = sum(
        0.5 ** ((cutoff - time) / (30 * DAY))
        for time, kind in zip(past["timestamp"], past["event"], strict=True)
        if kind in PAIRS
    )
    return (
        1.4
        - 0.02 * (age - 45)
        + {"north": 0.5, "south": -0.5}.get(region, 0)
        - math.log1p(recency / 7)
        + 1.5 * order_by_hand(sessions, cutoff, "visit", "cart")
        + 0.8 * carried
    )


def test_probabilities_and_propensities_are_the_formulas(confounded):
    data = confounded
    for row in range(0, 4000, 80):
        past, cutoff = past_of(data, row)
        score = score_by_hand(data, row)
        control = 0.3 + 0.3 / (1 + math.exp(-score))
        assert data.probability[row, 0] == pytest.approx(control, rel=1e-9)
        sessions = sessions_of(past)
        for arm, pair in enumerate(PAIRS.values()):
            effect = 0.04 + 0.25 * order_by_hand(sessions, cutoff, *pair)
            assert data.effect[row, arm] == pytest.approx(effect, abs=1e-9)
        odds = [math.exp(slope * score) for slope in (0, 1.5, -1.5, 0.75)]
        expected = [0.9 * one / sum(odds) + 0.1 / 4 for one in odds]
        assert data.propensity[row].tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n_treatments", [1, 3])
def test_shapes_and_columns(n_treatments):
    data = make_campaigns(50, n_treatments=n_treatments, random_state=0)
    arms = (50, n_treatments + 1)
    assert list(data.events) == ["customer_id", "timestamp", "event", "amount"]
    assert list(data.rows) == ["customer_id", "cutoff", "age", "region"]
    assert data.treatments == ["none", "mail", "coupon", "call"][: n_treatments + 1]
    assert data.treatment.shape == data.target.shape == data.amount.shape == (50,)
    assert data.probability.shape == data.expected_amount.shape == arms
    assert data.propensity.shape == arms
    effect = data.effect if n_treatments > 1 else data.effect[:, None]
    amount_effect = data.amount_effect.reshape(effect.shape)
    mean = math.exp(3.5 + 0.6**2 / 2)
    np.testing.assert_allclose(
        effect, data.probability[:, 1:] - data.probability[:, :1]
    )
    np.testing.assert_allclose(amount_effect, mean * effect)
    np.testing.assert_allclose(data.expected_amount, mean * data.probability)


def test_more_treatments_leave_the_histories_as_they_are():
    one, three = (make_campaigns(50, n_treatments=n, random_state=0) for n in (1, 3))
    np.testing.assert_array_equal(one.probability, three.probability[:, :2])


def assert_mean(draws, probability):
    """Compare the mean of draws with that of probabilities, to four standard errors."""
    error = math.sqrt((probability * (1 - probability)).sum()) / len(probability)
    assert abs(draws.mean() - probability.mean()) < 4 * error


def test_outcomes_and_arms_have_their_probabilities(data, confounded):
    for one in (data, confounded):
        chosen = one.probability[np.arange(4000), one.treatment]
        for part in (chosen > np.median(chosen), chosen <= np.median(chosen)):
            assert_mean(one.target[part], chosen[part])
        for arm in range(len(one.treatments)):
            share = one.propensity[:, arm]
            likely = share >= np.median(share)
            assert_mean(one.treatment[likely] == arm, share[likely])
    np.testing.assert_allclose(data.propensity, 0.5)
    assert confounded.propensity.min() > 0.1 / 4
    bought = data.amount[data.target == 1]
    assert bought.mean() == pytest.approx(math.exp(3.68), rel=0.05)
    assert (data.amount[data.target == 0] == 0).all()


def test_the_difference_of_means_is_biased_if_confounded(data):
    def error(data):
        treated = data.treatment == 1
        difference = data.target[treated].mean() - data.target[~treated].mean()
        return difference - data.effect.mean()

    biased = make_campaigns(4000, confounded=True, random_state=0)
    np.testing.assert_allclose(biased.effect, data.effect)
    # A standard error of the difference is .016.
    assert abs(error(data)) < 0.05
    assert error(biased) > 0.05
    # Weights of the true propensities remove the bias.
    weight = 1 / biased.propensity[np.arange(4000), biased.treatment]
    sign = np.where(biased.treatment == 1, weight, -weight)
    assert np.mean(sign * biased.target) == pytest.approx(
        biased.effect.mean(), abs=4 * np.std(sign * biased.target) / math.sqrt(4000)
    )


def order_features(X):
    """Return the share of visits soon after a purchase, less that before one."""
    found = []
    for history in X["history"]:
        events = history.to_frame()
        soon = events["timestamp"].diff().lt(pd.Timedelta("1h")).to_numpy()[1:]
        pairs = np.array([*pairwise(events["event"])], dtype=object).reshape(-1, 2)
        pairs = [tuple(pair) for pair in pairs[soon]]
        one = pairs.count(("purchase", "visit"))
        other = pairs.count(("visit", "purchase"))
        found.append([(one - other) / (0.5 + one + other)])
    return np.array(found)


def test_order_finds_the_effect_and_counts_do_not(data):
    log = EventLog(data.events, "customer_id", "timestamp")
    X = log.attach(data.rows, cutoff="cutoff")
    counts = HistoryAggregator().fit_transform(X).select_dtypes("number")

    def explained(features, model):
        # Of the true effect, without the noise of outcomes.
        found = cross_val_predict(model, features, data.effect, cv=3)
        return r2_score(data.effect, found)

    boosting = HistGradientBoostingRegressor(max_iter=50, random_state=0)
    assert explained(counts.to_numpy(), boosting) < 0.02
    assert explained(order_features(X), LinearRegression()) > 0.8


def test_the_effect_is_constant_without_order_strength():
    data = make_campaigns(100, order_strength=0, random_state=0)
    np.testing.assert_allclose(data.effect, 0.04)


def test_contacts_are_events_at_the_cutoffs(data, confounded):
    for one in (data, confounded):
        contacts = one.events[one.events["event"].isin(PAIRS)]
        merged = contacts.merge(one.rows, on="customer_id")
        now = merged[merged["timestamp"] == merged["cutoff"]]
        arm = dict(zip(one.rows["customer_id"], one.treatment, strict=True))
        names = [one.treatments[arm[who]] for who in now["customer_id"]]
        assert now["event"].tolist() == names
        assert len(now) == (one.treatment > 0).sum()
        ago = (merged["cutoff"] - merged["timestamp"]) / DAY
        assert set(ago) == ({0} if one is data else {0, 30, 60})


def test_past_contacts_are_confounders():
    data = make_campaigns(4000, confounded=True, n_past_campaigns=1, random_state=0)
    contacts = data.events[data.events["event"] == "mail"].merge(data.rows)
    before = contacts.loc[contacts["timestamp"] < contacts["cutoff"], "customer_id"]
    mailed = data.rows["customer_id"].isin(before)
    assert data.treatment[mailed].mean() > data.treatment[~mailed].mean() + 0.1
    control = data.probability[:, 0]
    assert control[mailed].mean() > control[~mailed].mean() + 0.02


def test_events_after_the_cutoff_agree_with_the_targets(data):
    log = EventLog(
        data.events, "customer_id", "timestamp", observed_until=data.observed_until
    )
    purchases = data.events[data.events["event"] == "purchase"]
    X = EventLog(
        purchases, "customer_id", "timestamp", observed_until=data.observed_until
    ).attach(data.rows, cutoff="cutoff")
    np.testing.assert_array_equal(future_count(X, data.horizon) > 0, data.target == 1)
    np.testing.assert_allclose(future_sum(X, "amount", data.horizon), data.amount)
    assert data.events["timestamp"].max() < data.observed_until
    lengths = log.attach(data.rows, cutoff="cutoff")["history"].array.lengths
    assert (lengths == 0).sum() >= 80
    assert data.events.equals(
        data.events.sort_values(["customer_id", "timestamp"], kind="stable")
    )


def test_one_customer():
    data = make_campaigns(1, random_state=0)
    assert len(data.rows) == 1
    assert data.effect[0] == pytest.approx(0.04)
