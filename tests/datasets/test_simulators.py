"""Seeds and parameters of all simulators."""

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.datasets import (
    make_ad_auctions,
    make_campaign_journeys,
    make_campaigns,
    make_customer_journeys,
    make_newsletter_opens,
    make_order_returns,
)

SIMULATORS = [
    make_ad_auctions,
    make_campaign_journeys,
    make_campaigns,
    make_customer_journeys,
    make_newsletter_opens,
    make_order_returns,
]


def global_generator_state():
    _, keys, position, *_ = np.random.get_state()  # noqa: NPY002
    return [*keys, position]


@pytest.mark.parametrize("simulate", SIMULATORS)
def test_same_seed_same_data_and_global_generator_untouched(simulate):
    before = global_generator_state()
    one, two, other = (simulate(40, random_state=seed) for seed in (7, 7, 8))
    assert global_generator_state() == before
    for name, value in one.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, two[name])
        else:
            np.testing.assert_array_equal(value, two[name])
    assert not np.array_equal(one.probability, other.probability)


FLOATS = {
    "effect": (make_ad_auctions, 1.5),
    "mean_impressions": (make_ad_auctions, 0),
    "organic": (make_ad_auctions, -0.5),
    "strength": (make_campaign_journeys, -1),
    "mean_touches": (make_campaign_journeys, 0),
    "mean_events": (make_customer_journeys, 0),
    "order_strength": (make_customer_journeys, -1),
    "mean_mailings": (make_newsletter_opens, 365),
    "drift": (make_newsletter_opens, -1),
    "mean_sessions": (make_campaigns, 0),
    "mean_baskets": (make_order_returns, 0),
    "mean_items": (make_order_returns, 0.5),
    "habit_strength": (make_order_returns, -1),
}


@pytest.mark.parametrize("name", FLOATS)
def test_numbers_out_of_range(name):
    simulate, value = FLOATS[name]
    with pytest.raises(
        ValueError, match=f"'{name}'.* float in the range .*Got {value}"
    ):
        simulate(**{name: value})


@pytest.mark.parametrize("simulate", SIMULATORS)
@pytest.mark.parametrize("n_customers", [0, 10.5])
def test_bad_counts_and_seeds(simulate, n_customers):
    message = f"'n_customers'.* int in the range .1, inf.*Got {n_customers}"
    with pytest.raises(ValueError, match=message):
        simulate(n_customers)
    with pytest.raises(ValueError, match=r"'random_state'.*Got 'a'"):
        simulate(random_state="a")


def test_no_channels():
    with pytest.raises(ValueError, match=r"'n_channels'.* int in the range .1, inf"):
        make_customer_journeys(n_channels=0)


@pytest.mark.parametrize(
    ("name", "value", "legal"),
    [
        ("n_treatments", 4, "int in the range .1, 3"),
        ("n_past_campaigns", -1, "int in the range .0, inf"),
        ("order_strength", 1.5, "float in the range .0.0, 1.0"),
        ("confounded", "yes", "bool"),
    ],
)
def test_bad_campaigns(name, value, legal):
    with pytest.raises(ValueError, match=f"'{name}'.*{legal}"):
        make_campaigns(**{name: value})
