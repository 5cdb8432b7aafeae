import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.datasets import make_campaign_journeys

DAY = pd.Timedelta(days=1)


@pytest.fixture(scope="module")
def data():
    return make_campaign_journeys(3000, random_state=0)


def probability(ages):
    """Compute the probability of a customer by the ages in days of touches."""
    weight = {name: 0.5 ** (min(own) / 30) for name, own in ages.items()}
    after = [
        age
        for age in ages.get("retargeting", [])
        if any(age < other for other in ages.get("search", []))
    ]
    weight["retargeting"] = 0.5 ** (min(after) / 30) if after else 0.0
    strength = {"search": 1.6, "email": 0.9, "social": 0.4, "retargeting": 1.6}
    logit = -2.2 + sum(strength.get(name, 0) * one for name, one in weight.items())
    z = np.linspace(-8, 8, 4001)
    density = np.exp(-(z**2) / 2)
    return np.average(1 / (1 + np.exp(-(logit + 0.5 * z))), weights=density)


def test_probabilities_are_those_of_the_equation(data):
    assert list(data.events) == ["customer_id", "timestamp", "channel"]
    cutoff = data.rows["cutoff"].iloc[0]
    age = (cutoff - data.events["timestamp"]) / DAY
    assert (age > 0).all()
    assert (age <= 60).all()
    ages = age.groupby([data.events["customer_id"], data.events["channel"]]).agg(list)
    for i in range(0, 3000, 75):
        who = data.rows["customer_id"].iloc[i]
        own = ages.loc[who].to_dict() if who in ages.index else {}
        assert data.probability[i] == pytest.approx(probability(own), abs=1e-6)
        for name in data.channels:
            fewer = {key: one for key, one in own.items() if key != name}
            removed = data.probability[i] - probability(fewer)
            assert data.removal[name].iloc[i] == pytest.approx(removed, abs=1e-6)


def test_credit_adds_up(data):
    untouched = probability({})
    sums = data.credit.sum(axis=1)
    np.testing.assert_allclose(sums, data.probability - untouched, atol=1e-9)
    assert (data.credit["display"] == 0).all()
    assert (data.credit.drop(columns="retargeting").to_numpy() >= 0).all()
    # The effect of retargeting is shared with the search before it.
    works = data.removal["retargeting"] > 0
    assert (data.credit["search"][works] < data.removal["search"][works]).all()


def test_targets_have_the_probabilities(data):
    assert abs(data.target.mean() - data.probability.mean()) < 0.025
    high = data.probability > np.quantile(data.probability, 0.8)
    assert abs(data.target[high].mean() - data.probability[high].mean()) < 0.06
    none = make_campaign_journeys(50, strength=0, random_state=0)
    np.testing.assert_allclose(none.credit, 0, atol=1e-12)
    assert np.ptp(none.probability) < 1e-12
