"""Lines of baskets whose order has a meaning, and others, which training shuffles."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal

from sklearn_seqcrm.event_model import LSTMEventModel, _line_order
from sklearn_seqcrm.event_model._event_batches import EventBatches, VisibleEvents
from sklearn_seqcrm.event_model._line_order import RandomLineOrder, is_order_random
from sklearn_seqcrm.events import EventLog

N_BASKETS, N_LINES = 400, 6
MOMENT = np.repeat(np.arange(N_BASKETS), N_LINES)


def of_baskets(make_basket, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([make_basket(rng) for _ in range(N_BASKETS)])


ORDERS = {
    "sorted levels": lambda rng: np.sort(rng.integers(0, 9, N_LINES)),
    "rising from any level on": lambda rng: (rng.integers(0, 9) + np.arange(6)) % 9,
    "equal levels together": lambda rng: rng.permutation(9)[:2].repeat(3),
    "largest amount first": lambda rng: -np.sort(-rng.gamma(2, 5, N_LINES)),
    "one level always first": lambda rng: np.append(0, 1 + rng.permutation(8)[:5]),
    "one level always last": lambda rng: np.append(1 + rng.permutation(8)[:5], 0),
    "thousands of levels, sorted": lambda rng: np.sort(rng.integers(0, 3000, N_LINES)),
    "missing numbers last": lambda rng: np.where(
        np.arange(6) < 4, rng.random(6), np.nan
    ),
}
RANDOM = {
    "levels": lambda rng: rng.integers(0, 9, N_LINES),
    "no level twice": lambda rng: rng.permutation(9)[:N_LINES],
    "thousands of levels": lambda rng: rng.integers(0, 3000, N_LINES),
    "levels that go together": lambda rng: (
        rng.permutation([*range(3)] * 2) + 3 * rng.integers(0, 9)
    ),
    "amounts": lambda rng: rng.gamma(2, 5, N_LINES),
    "a single level": lambda rng: np.zeros(N_LINES, dtype="int64"),
    "missing numbers": lambda rng: np.full(N_LINES, np.nan),
}


@pytest.mark.parametrize("make_basket", ORDERS.values(), ids=ORDERS)
def test_an_order_with_a_meaning(make_basket):
    values = of_baskets(make_basket)
    random = of_baskets(RANDOM["levels"])
    assert not is_order_random([values], MOMENT)
    assert not is_order_random([random, values], MOMENT)


@pytest.mark.parametrize("make_basket", RANDOM.values(), ids=RANDOM)
def test_an_order_without_a_meaning(make_basket):
    found = [
        is_order_random([of_baskets(make_basket, seed)], MOMENT) for seed in range(10)
    ]
    assert all(found)


@pytest.mark.parametrize("n", [0, 1, 20])
def test_single_lines_have_no_order(n):
    assert not is_order_random([np.arange(n)], np.arange(n))


def test_a_moment_of_two_lines_is_in_random_order():
    assert is_order_random([np.arange(2)], np.zeros(2, dtype="int64"))


def test_a_sample_of_moments_is_compared(monkeypatch):
    """Not the first ones: logs are sorted by customer."""
    monkeypatch.setattr(_line_order, "_MOST_LINES", 1200)
    random, rising = (
        of_baskets(one) for one in (RANDOM["levels"], ORDERS["sorted levels"])
    )
    half = len(MOMENT) // 2
    values = np.append(random[:half], rising[half:])
    assert not is_order_random([values], MOMENT)


def test_pairs_have_the_start_and_the_end_of_moments():
    """Of the pairs ^a, ab, b$, ^b and b$, two are equal."""
    found = _line_order._entropy_of_pairs(
        np.array([1, 2, 2]), np.array([True, False, True])
    )
    assert found == pytest.approx(0.6 * np.log(5) + 0.4 * np.log(2.5))


def test_a_small_part_of_sorted_moments_is_negligible():
    """Though it is significant: 3% of 20,000."""
    rng = np.random.default_rng(0)
    lines = rng.integers(0, 4, (20_000, 5))
    some = rng.random(20_000) < 0.03
    lines[some] = np.sort(lines[some], axis=1)
    assert is_order_random([lines.ravel()], np.arange(100_000) // 5)


def test_lines_stay_whole_in_another_order():
    """Their times stay where they were."""
    zeros = torch.zeros(4, dtype=torch.int64)
    events = VisibleEvents(
        row=zeros,
        position=torch.arange(4),
        step=zeros,
        n_before=torch.arange(4),
        values=torch.arange(12.0).reshape(4, 3),
        codes=torch.arange(4)[:, None],
        n_steps=torch.tensor([1]),
    )
    found = events.in_order(torch.tensor([2, 0, 1, 3]), slice(0, 2))
    assert_array_equal(found.codes[:, 0], [2, 0, 1, 3])
    assert_array_equal(found.values[:, 2], [8, 2, 5, 11])
    assert_array_equal(found.values[:, :2], events.values[:, :2])


def test_a_random_order_stays_within_moments():
    order = RandomLineOrder()
    order.generator = torch.Generator().manual_seed(0)
    n_before = torch.tensor([0, 0, 1, 2, 0, 1])
    found = {tuple(order(n_before).tolist()) for _ in range(200)}
    assert len(found) == 6 * 2
    for first, *middle, fifth, sixth in found:
        assert first == 0
        assert {*middle} == {1, 2, 3}
        assert {fifth, sixth} == {4, 5}


# Training -----------------------------------------------------------------------------


def make_lines(by):
    rng = np.random.default_rng(0)
    lines = pd.DataFrame({"who": MOMENT % 40, "day": MOMENT // 40})
    lines["item"] = rng.choice([*"abcdefghi"], len(lines))
    lines["amount"] = rng.gamma(2, 5, len(lines)).round(2)
    if by is not None:
        lines = lines.sort_values(by, kind="stable")
    return lines


def fitted(by=None, **parameters):
    rows = EventLog(make_lines(by), "who", "day").snapshots([11])
    model = LSTMEventModel(
        hidden_size=4, max_epochs=1, dropout=0.0, random_state=0, **parameters
    )
    return model.fit(rows), rows


def losses(model, rows, training):
    """Return the losses of two passes over the same batch."""
    net = model.net_
    table, array = model._learned.read(rows, model)[1:]
    data = model._learned.encode(table, array.rows)
    batches = EventBatches(data, len(rows), shuffle=True, share=False, seed=0)
    [part] = next(iter(batches))[0]
    net.module_.train(training)
    with torch.no_grad():
        return [net.module_(part).numpy() for _ in range(2)]


@pytest.mark.parametrize(
    ("by", "moments", "shuffles"),
    [
        (None, "auto", True),
        ("item", "auto", False),
        ("amount", "auto", False),
        (None, False, False),
    ],
)
def test_training_shuffles_lines_without_an_order(by, moments, shuffles):
    model, rows = fitted(by, moments=moments)
    one, other = losses(model, rows, training=True)
    assert np.array_equal(one, other) != shuffles
    assert_array_equal(*losses(model, rows, training=False))
