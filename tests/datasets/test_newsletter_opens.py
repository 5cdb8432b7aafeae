import math

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.datasets import make_newsletter_opens

HOUR = pd.Timedelta(hours=1)
DAY = pd.Timedelta(days=1)
TABLES = ["mailings", "opens", "next_days"]


@pytest.fixture(scope="module")
def data():
    return make_newsletter_opens(3000, mean_mailings=30, random_state=0)


def lags_of(data):
    """Return full hours from sending to opening of the opened newsletters."""
    sent = data.mailings.loc[data.opens.index, "timestamp"]
    return (data.opens["timestamp"] - sent) // HOUR


def test_shapes_and_columns(data):
    assert list(data.mailings) == ["customer_id", "timestamp", "day", "hour"]
    assert list(data.opens) == ["customer_id", "timestamp"]
    assert list(data.next_days) == ["customer_id", "day"]
    assert data.mailings["customer_id"].nunique() == 3000
    assert len(data.mailings) / 3000 == pytest.approx(30, rel=0.05)
    assert data.target.shape == data.probability.shape == (len(data.mailings),)
    assert data.next_probability.shape == (21_000, 24)
    assert data.next_peak.shape == (21_000,)
    for name in ["mailings", "opens"]:
        assert data[name]["timestamp"].is_monotonic_increasing


def test_newsletters_are_sent_at_full_hours_drawn_at_random(data):
    mailings = data.mailings
    assert (mailings["day"] + mailings["hour"] * HOUR == mailings["timestamp"]).all()
    assert not mailings.duplicated(["customer_id", "day"]).any()
    shares = mailings["hour"].value_counts(normalize=True)
    # Four standard errors.
    assert (shares - 1 / 24).abs().max() < 4 * math.sqrt(1 / 24 / len(mailings))


def test_opens_are_those_of_the_target_and_within_a_day(data):
    np.testing.assert_array_equal(
        np.sort(data.opens.index), np.flatnonzero(data.target)
    )
    owner = data.mailings.loc[data.opens.index, "customer_id"]
    assert owner.equals(data.opens["customer_id"])
    assert lags_of(data).between(0, 23).all()
    assert data.opens["timestamp"].max() < data.observed_until


def test_next_days_are_the_week_after_for_each_customer(data):
    days = data.next_days.groupby("customer_id")["day"]
    assert (days.size() == 7).all()
    assert (days.nunique() == 7).all()
    assert data.next_days["day"].min() == data.mailings["day"].max() + DAY
    assert data.next_days["day"].max() == data.mailings["day"].max() + 7 * DAY


def probability_by_hand(hour, peak, peak_of_next_day, interest):
    """Compute the formula of the docstring by a loop over hours."""
    opened, unseen = 0.0, 1.0
    for k in range(24):
        h = (hour + k) % 24
        angle = 2 * math.pi * (h + 0.5 - (peak if h >= hour else peak_of_next_day)) / 24
        look = 1 - math.exp(-(0.03 + 1.2 * math.exp(6 * (math.cos(angle) - 1))))
        opened += unseen * look * interest * 0.75**k
        unseen *= 1 - look
    return opened


def test_probabilities_are_the_formula(data):
    # Of a day and the next, whose peaks are both known; interest cancels in the shape.
    for row in range(0, 70, 7):
        peak, peak_of_next_day = data.next_peak[row : row + 2]
        expected = [
            probability_by_hand(hour, peak, peak_of_next_day, 1.0) for hour in range(24)
        ]
        interest = data.next_probability[row] / expected
        np.testing.assert_allclose(interest, interest[0], rtol=1e-9)
        assert 0 < interest[0] < 1


def test_probability_is_calibrated_at_each_hour(data):
    table = data.mailings.assign(p=data.probability, y=data.target)
    table["variance"] = table["p"] * (1 - table["p"])
    for by in ["hour", pd.qcut(table["p"], 10, labels=False)]:
        means = table.groupby(by)[["p", "y", "variance"]].mean()
        # Four standard errors; given the habits, the draws are independent.
        tolerance = 4 * np.sqrt(means["variance"] / table.groupby(by).size())
        assert ((means["y"] - means["p"]).abs() < tolerance).all()


def test_the_best_hour_is_the_full_one_about_an_hour_before_the_peak(data):
    before = (data.next_peak - data.next_probability.argmax(axis=1)) % 24
    # Late at night, the peak of the next day plays a part, above all of a Friday.
    midweek = before[data.next_days["day"].dt.day_of_week < 4]
    assert ((midweek > 0.3) & (midweek < 1.5)).mean() > 0.99


def test_an_hour_per_customer_is_better_than_one_for_all(data):
    single = data.next_probability.mean(axis=0).max()
    own = data.next_probability.max(axis=1).mean()
    assert own > 2 * single


def weekly_peaks(data):
    return data.next_peak.reshape(-1, 7)


def test_weekends_have_other_hours(data):
    peaks = weekly_peaks(data)  # Monday to Sunday
    later = (peaks[:, 5] - peaks[:, 4] + 12) % 24 - 12
    assert later.mean() == pytest.approx(2, abs=4 * 2.5 / math.sqrt(3000))
    assert later.std() == pytest.approx(2.5, rel=0.1)
