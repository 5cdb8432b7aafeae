"""Repeat purchase lift: against a loop, and for products that are never repeated."""

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._fields import TrainingEvents
from sklearn_seqcrm.event_model._levels import repeat_purchase_lift
from sklearn_seqcrm.events import EventLog

N_CODES = 8  # unseen, missing, and six levels, of which the last never comes


def lift_of(codes, moment, customer, n_codes):
    events = TrainingEvents(moment, moment, customer, customer)
    return repeat_purchase_lift(codes, events, n_codes)


def repeats_by_loop(codes, moment, customer):
    """Return observed repeats, and those expected from shares of the past."""
    observed, expected = np.zeros((2, N_CODES))
    for number in np.unique(moment):
        own = np.flatnonzero(moment == number)
        of_customer = customer[: own[0]] == customer[own[0]]
        past = [code for code in codes[: own[0]][of_customer] if code >= 2]
        again = {code for code in codes[own] if code in past}
        observed[list(again)] += 1
        for code in past:
            expected[code] += len(again) / len(past)
    return observed, expected


def test_lift_matches_a_loop():
    rng = np.random.default_rng(0)
    customer = np.sort(rng.integers(0, 12, 400))
    is_new = np.diff(customer, prepend=-1) != 0
    moment = np.cumsum(is_new | (rng.random(400) < 0.5))
    codes = rng.integers(0, N_CODES - 1, 400)
    observed, expected = repeats_by_loop(codes, moment, customer)
    assert_allclose(observed.sum(), expected.sum())
    weights = lift_of(codes, moment, customer, N_CODES)
    assert_allclose(weights[2:], ((observed + 30) / (expected + 30))[2:])
    assert_array_equal(weights[[0, 1, 7]], [0, 0, 1])


def test_milk_is_repeated_and_lamps_are_not():
    """Each customer buys a lamp (2) and milk (3) at first, and milk from then on."""
    codes = np.tile([2, 3, 3, 3, 3], 500)
    moment = np.tile([0, 0, 1, 2, 3], 500) + np.repeat(np.arange(500) * 4, 5)
    weights = lift_of(codes, moment, np.repeat(np.arange(500), 5), 4)
    # Of three that observed again, the lamp should have had 1/2, 1/3 and 1/4.
    share = 500 * (1 / 2 + 1 / 3 + 1 / 4)
    assert_allclose(weights[2:], [30 / (share + 30), 1530 / (1500 - share + 30)])


def test_lift_is_1_without_repeats():
    nothing = np.zeros(0, "int64")
    assert_array_equal(lift_of(nothing, nothing, nothing, 4), [0, 0, 1, 1])
    once = np.arange(3)
    assert_array_equal(lift_of(once + 2, once, once, 5), [0, 0, 1, 1, 1])


def test_ties_up_to_rounding_are_no_repeats():
    """One basket in four has its product twice, at times that differ by rounding."""
    rng = np.random.default_rng(0)
    t, twice = rng.uniform(1, 9, 200), np.where(np.arange(200) % 4, 1, 2)
    events = pd.DataFrame({"who": np.arange(200) // 20, "t": t})
    events["thing"] = rng.choice([*"abc"], 200, p=[0.7, 0.2, 0.1])
    events = events.loc[events.index.repeat(twice)]
    is_second = events.index.duplicated()
    found = []
    for second in (events["t"], np.nextafter(events["t"], np.inf)):
        parted = events.assign(t=np.where(is_second, second, events["t"]))
        X = EventLog(parted, "who", "t").snapshots([10.0])
        model = LSTMEventModel(hidden_size=2, max_epochs=1, random_state=0).fit(X)
        found.append(model.net_.module_.fields[0].copies.lift)
    assert_allclose(found[1], found[0], rtol=1e-6)
