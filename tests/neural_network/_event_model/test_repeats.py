"""How often levels come again: against a loop, and customers who like one thing."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm.neural_network._event_model._repeats import repeat_weights

N_CODES = 8  # unseen, missing, and six levels, of which the last never comes


def loop(codes, moment, customer):
    """How often each level came again, and should have by its share of the past."""
    came, expected = np.zeros((2, N_CODES))
    for number in np.unique(moment):
        own = np.flatnonzero(moment == number)
        of_customer = customer[: own[0]] == customer[own[0]]
        past = [code for code in codes[: own[0]][of_customer] if code >= 2]
        again = {code for code in codes[own] if code in past}
        came[list(again)] += 1
        for code in past:
            expected[code] += len(again) / len(past)
    return came, expected


def test_weights_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    customer = np.sort(rng.integers(0, 12, 400))
    is_new = np.diff(customer, prepend=-1) != 0
    moment = np.cumsum(is_new | (rng.random(400) < 0.5))
    codes = rng.integers(0, N_CODES - 1, 400)
    came, expected = loop(codes, moment, customer)
    assert_allclose(came.sum(), expected.sum())
    weights = repeat_weights(codes, moment, customer, N_CODES)
    assert_allclose(weights[2:], ((came + 30) / (expected + 30))[2:])
    assert_array_equal(weights[[0, 1, 7]], [0, 0, 1])


def test_milk_comes_again_and_lamps_do_not():
    """Each customer buys a lamp (2) and milk (3) at first, and milk from then on."""
    codes = np.tile([2, 3, 3, 3, 3], 500)
    moment = np.tile([0, 0, 1, 2, 3], 500) + np.repeat(np.arange(500) * 4, 5)
    weights = repeat_weights(codes, moment, np.repeat(np.arange(500), 5), 4)
    # Of three that came again, the lamp should have had 1/2, 1/3 and 1/4.
    share = 500 * (1 / 2 + 1 / 3 + 1 / 4)
    assert_allclose(weights[2:], [30 / (share + 30), 1530 / (1500 - share + 30)])


def test_nothing_comes_again():
    nothing = np.zeros(0, "int64")
    assert_array_equal(repeat_weights(nothing, nothing, nothing, 4), [0, 0, 1, 1])
    once = np.arange(3)
    assert_array_equal(repeat_weights(once + 2, once, once, 5), [0, 0, 1, 1, 1])
