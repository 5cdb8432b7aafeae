"""Usual numbers of levels: against a loop, in training and outside, in simulations."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal

from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._number_codes import NO_NUMBER
from sklearn_seqcrm.event_model._usual_numbers import (
    NO_CUSTOMER,
    LevelNumbers,
    usual_of_codes,
)
from sklearn_seqcrm.events import EventLog

SMALL = {"hidden_size": 8, "max_epochs": 4, "random_state": 0}


def random_events(seed):
    """Return numbers, levels and customers, some of them missing."""
    rng = np.random.default_rng(seed)
    n = rng.integers(0, 60)
    numbers = rng.choice([3, 4, 5, -9, NO_NUMBER], n, p=[0.3, 0.2, 0.2, 0.2, 0.1])
    return numbers, rng.integers(-1, 4, n), np.sort(rng.integers(-1, 6, n))


def usual_in_a_loop(numbers):
    """Return the most frequent number, the smallest of several, and its counts."""
    counts = Counter(numbers.tolist())
    if not counts:
        return NO_NUMBER, 0, 0
    most = max(counts.values())
    return min(one for one in counts if counts[one] == most), most, len(numbers)


@pytest.mark.parametrize("seed", range(20))
def test_usual_numbers_are_those_of_a_loop(seed):
    numbers, level, customer = random_events(seed)
    some = (numbers != NO_NUMBER) & (level >= 0)
    customer = np.where(customer < 0, NO_CUSTOMER, customer)
    is_one = customer != NO_CUSTOMER
    of_training = LevelNumbers.of(numbers[is_one], level[is_one])
    found = of_training.usual_of_others(numbers, level, customer)
    for i, own in enumerate(zip(*found, strict=True)):
        others = some & is_one & (customer != customer[i])
        assert own == usual_in_a_loop(numbers[others & (level == level[i])])
    levels = np.array([*range(6), -1])
    found = of_training.usual(levels)
    for k, own in zip(levels, zip(*found, strict=True), strict=True):
        assert own == usual_in_a_loop(numbers[some & is_one & (level == k)])


def test_codes_are_exact():
    numbers = np.array([2**62 + 1, -(2**60) - 3, 7, 7])
    found = LevelNumbers.of(numbers, np.array([0, 1, 2, 2])).usual(np.arange(4))
    codes = torch.from_numpy(np.column_stack([found.codes(), found.codes()]))
    assert codes.dtype == torch.int32
    read = usual_of_codes(codes)
    for tensor, array in zip(read, found, strict=True):
        assert_array_equal(tensor, np.column_stack([array, array]))


def orders(n=150, n_orders=6, n_items=60, seed=0):
    """Customers order items at fixed prices, mostly for the first time."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n), n_orders)
    item = rng.integers(0, n_items, len(who))
    price = np.exp(np.random.default_rng(9).normal(3, 1, n_items))
    day = rng.integers(0, 100, (n, n_orders)).cumsum(axis=1).ravel()
    return pd.DataFrame({"who": who, "day": day, "item": item, "price": price[item]})


def usual_of(model, data):
    """Return the usual prices of encoded events."""
    at = model._learned.number_columns["price"].copied.usual
    return usual_of_codes(torch.from_numpy(data.sources[0].events.codes[:, at]))


def log_of(events):
    return EventLog(events, "who", "day", categorical=["item"], observed_until=900)


@pytest.fixture(scope="module")
def model():
    return LSTMEventModel(**SMALL).fit(log_of(orders()).snapshots([900]))


def test_the_first_order_of_an_item_has_its_price(model):
    price = orders().groupby("item")["price"].first()
    sources = model._learned.number_fields["price"].sources
    assert [source[:3] for source in sources] == [
        ("item", False, None),
        ("item", True, None),
    ]
    new = orders(seed=1).assign(who=lambda one: one["who"] + 1000)
    X = log_of(new[new["day"] < 250]).snapshots([250])
    futures = model.sample(X, 200, n_paths=5, random_state=0)
    assert len(futures) > 300
    expected = price[futures["item"].astype(int)].to_numpy()
    assert (futures["price"] == expected).mean() > 0.9
    scores = model.score_events(log_of(new).snapshots([900]))
    assert scores["log_prob_price"].mean() > -0.5


def test_a_new_item_has_no_usual_price(model):
    new = orders(n=40, seed=1)
    new["item"] += 1000
    X = log_of(new).snapshots([900])
    assert not usual_of(model, model._read(X)).n_trials.any()
    assert model.score_events(X)["log_prob_price"].mean() < -3


def test_a_second_order_has_the_price_of_the_first(model):
    """Of a new item, and where all prices rose after the training."""
    new = orders(n_items=2, seed=1)
    more = new.assign(price=1.1 * new["price"])
    for events in (new.assign(item=new["item"] + 1000), more):
        scores = model.score_events(log_of(events).snapshots([900]))
        again = events.groupby(["who", "item"]).cumcount().to_numpy() > 1
        log_prob = scores["log_prob_price"]
        assert log_prob[again].mean() > log_prob[~again].mean() + 3


def test_partial_fit_trains_on_what_is_predicted():
    """The usual prices stay those of the first rows, also in training."""
    model = LSTMEventModel(**SMALL).fit(log_of(orders()).snapshots([900]))
    more = orders(seed=1)
    more["price"] *= 1.1
    X = log_of(more).snapshots([900])
    before = model.score_samples(X).mean()
    usual = usual_of(model, model._read(X))
    for _ in range(3):
        model.partial_fit(X)
    assert_array_equal(usual_of(model, model._read(X)).bits, usual.bits)
    training = usual_of(model, model._start(X, is_continuation=True)[1])
    is_known = training.n_equal > 0
    assert is_known.float().mean() > 0.9
    assert_array_equal(training.bits[is_known], usual.bits[is_known])
    assert model.score_samples(X).mean() > before + 1


def test_stretches_of_a_customer_are_no_other_customers():
    """Each item has one customer, whom rows see three times."""
    events = orders(n=80, n_items=2)
    events["item"] += 100 * events["who"]
    events["price"] *= 1 + events["who"]
    X = log_of(events).snapshots([100, 300, 500], lookback=100)
    model = LSTMEventModel(**SMALL).fit(X)
    sources = model._learned.number_fields["price"].sources
    assert not any(source.is_usual for source in sources)


def test_a_customer_is_no_evidence_for_the_own_price():
    """Each item has one customer: its price says nothing about other customers."""
    events = orders()
    events["item"] += 60 * events["who"]
    events["price"] *= 1 + events["who"]
    model = LSTMEventModel(**SMALL).fit(log_of(events).snapshots([900]))
    sources = model._learned.number_fields["price"].sources
    assert not any(source.is_usual for source in sources)


def test_events_that_no_row_sees_do_not_count():
    """Rows see the last 50 days before two cutoffs, not the days between."""
    log = log_of(orders())
    X = log.snapshots([100, 400], lookback=50)
    model = LSTMEventModel(**SMALL).fit(X)
    data = model._start(X, is_continuation=True)[1]
    index, _ = ranges(data.sources[0].events.start, data.sources[0].events.stop)
    n_trials = usual_of(model, data).n_trials[index]
    day = orders()["day"]
    seen = orders()[day.between(50, 99) | day.between(350, 399)]
    assert len(n_trials) == len(seen)
    # Of other customers: one at least has bought the item.
    assert n_trials.max() == seen.groupby("item").size().max() - 1


@pytest.mark.parametrize("moments", [False, True])
def test_training_hides_own_events(model, moments):
    """Encoded training rows have the prices of other customers, others all prices."""
    X = log_of(orders()).snapshots([900])
    model = LSTMEventModel(**SMALL, moments=moments).fit(X)
    own = usual_of(model, model._start(X, is_continuation=True)[1])
    everyone = usual_of(model, model._read(X))
    events = orders().sort_values(["who", "day"], kind="stable")
    of_item = events.groupby("item")["who"].transform("size")
    of_customer = events.groupby(["item", "who"])["who"].transform("size")
    assert_array_equal(everyone.n_trials[:, 0], of_item)
    assert_array_equal(own.n_trials[:, 0], of_item - of_customer)
    assert (own.n_trials[:, 0] < everyone.n_trials[:, 0]).all()
