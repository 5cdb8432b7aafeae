import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.datasets import make_ad_auctions
from sklearn_seqcrm.datasets._ad_auctions import CART, VIEW, _interest_at

HOUR = pd.Timedelta(hours=1)
SITE = {"games": -0.8, "mail": 0.2, "news": 0.4, "video": 0.0}
DEVICE = {"desktop": 0.3, "phone": 0.0, "tablet": -0.3}


@pytest.fixture(scope="module")
def data():
    return make_ad_auctions(500, random_state=0)


def interest_of(events, now):
    """Compute memory and intent event by event."""
    memory, intent, last, is_open = 0.0, 0.0, now, False
    for time, event in zip(events["timestamp"], events["event"], strict=True):
        if time >= now:
            break
        memory *= 0.5 ** ((time - last) / (96 * HOUR))
        intent *= 0.5 ** ((time - last) / (12 * HOUR))
        added = {"view": 0.4 if is_open else 0.1, "cart": 1.0}.get(event, 0.0)
        factor = {"purchase": 0.0, "remove": 0.2}.get(event, 1.0)
        memory, intent = (one * factor + added for one in (memory, intent))
        is_open = event == "cart" or (is_open and event == "view")
        last = time
    hours = (now - last) / HOUR
    return memory * 0.5 ** (hours / 96), intent * 0.5 ** (hours / 12)


def expit(logit):
    return 1 / (1 + np.exp(-logit))


def test_probabilities_are_those_of_the_equations(data):
    events = dict(list(data.events.groupby("customer_id")))
    nothing = data.events.iloc[:0]
    for i in range(0, len(data.rows), 101):
        row = data.rows.iloc[i]
        own = events.get(row["customer_id"], nothing)
        memory, intent = interest_of(own, row["timestamp"])
        assert data.interest.iloc[i].tolist() == pytest.approx([memory, intent])
        logit = -5 + 2.2 * np.log1p(memory) - 1.8 * np.log1p(intent)
        convinced = expit(logit + SITE[row["site"]] + DEVICE[row["device"]])
        without = expit(-5.5 + 4.5 * np.log1p(intent))
        assert data.probability_without[i] == pytest.approx(without)
        either = 1 - (1 - without) * (1 - convinced)
        assert data.probability[i] == pytest.approx(either)


def test_an_impression_is_before_the_events_of_its_second():
    events = pd.DataFrame({"customer": [1, 1, 3], "seconds": 100, "kind": CART})
    events.loc[0, ["seconds", "kind"]] = [99, VIEW]
    rows = pd.DataFrame(
        {"customer": [0, 1, 1, 1, 2], "seconds": [200, 99, 100, 101, 1]}
    )
    expected = [[0, 0], [0, 0], [0.1, 0.1], [1.1, 1.1], [0, 0]]
    np.testing.assert_allclose(_interest_at(events, rows), expected, rtol=1e-4)


def test_tables(data):
    assert list(data.events) == ["customer_id", "timestamp", "event", "amount"]
    assert list(data.rows) == ["customer_id", "timestamp", "site", "device"]
    assert data.rows["timestamp"].is_monotonic_increasing
    keys = data.events[["customer_id", "timestamp"]]
    assert keys.equals(keys.sort_values(list(keys)))
    for times in (data.rows["timestamp"], data.events["timestamp"]):
        assert times.between("2024-01-01", "2024-02-05", inclusive="left").all()
        assert times.dt.floor("s").equals(times)
    # A purchase or a removal needs a cart; customers without events meet ads, too.
    counts = data.events["event"].value_counts()
    assert counts["cart"] > counts["purchase"] + counts["remove"]
    assert not data.rows["customer_id"].isin(data.events["customer_id"]).all()
    assert data.conversion_window == pd.Timedelta("7D")


def test_prices_and_traffic_peak_in_the_evening(data):
    hour = data.rows["timestamp"].dt.hour
    price = pd.Series(np.log(data.price)).groupby(hour).mean()
    # The curve is 2 * 0.35 high, and (1 + 0.8) / (1 - 0.8) = 9 times the traffic.
    assert price[19:21].mean() - price[7:9].mean() == pytest.approx(0.7, abs=0.1)
    n = hour.value_counts()
    assert n[[19, 20]].sum() / n[[7, 8]].sum() == pytest.approx(9, rel=0.25)
    site = data.rows["site"].astype(str).to_numpy()
    by_site = pd.Series(np.log(data.price)).groupby(site).mean()
    assert by_site["mail"] - by_site["games"] == pytest.approx(0.6, abs=0.08)


def test_targets_have_the_probabilities(data):
    for target, probability in (
        (data.target, data.probability),
        (data.target_without, data.probability_without),
    ):
        for some in (probability > 0.1, probability <= 0.1):
            error = np.sqrt(np.mean(probability[some]) / some.sum())
            difference = target[some].mean() - probability[some].mean()
            assert abs(difference) < 4 * error
    assert (data.target >= data.target_without).all()  # no ad prevents a conversion


def test_effect_and_organic_change_probabilities_only(data):
    no_effect = make_ad_auctions(500, effect=0, random_state=0)
    no_organic = make_ad_auctions(500, organic=0, random_state=0)
    for other in (no_effect, no_organic):
        for name in ("events", "rows", "interest"):
            pd.testing.assert_frame_equal(other[name], data[name])
        np.testing.assert_array_equal(other.price, data.price)
    np.testing.assert_array_equal(no_effect.target, no_effect.target_without)
    np.testing.assert_allclose(
        no_effect.probability, data.probability_without, rtol=1e-12
    )
    assert not no_organic.target_without.any()
    assert no_organic.target.any()


@pytest.mark.parametrize("seed", range(5))
def test_one_customer_with_few_impressions(seed):
    small = make_ad_auctions(1, mean_impressions=0.02, random_state=seed)
    assert len(small.rows) == len(small.price) == len(small.interest)
