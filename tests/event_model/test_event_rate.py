"""Rates of customers so far: equal in training, at cutoffs and in simulations."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._event_rate import EventRate, RatePrior
from sklearn_seqcrm.event_model._learned import split_static
from sklearn_seqcrm.event_model._simulate import Simulator
from sklearn_seqcrm.events import EventLog

DAY = pd.Timedelta("1D")


def slow_rates(days):
    """Return repeats and elapsed days after each event; a day is counted as its middle.

    An interarrival time of k recorded days is between k - 1 and k.
    """
    found, repeats, elapsed = [], 0, 0.0
    for k, day in enumerate(days):
        if k and day > days[k - 1]:
            repeats += 1
            elapsed += day - days[k - 1] - 0.5
        found.append((repeats, elapsed))
    return found


@pytest.fixture(scope="module")
def fitted():
    """Four customers with days, ties among them, and a model of them."""
    days = {"a": [0, 3, 3, 10], "b": [1], "c": [2, 2, 5], "d": [0, 1, 2, 3, 4, 9, 9]}
    events = pd.DataFrame(
        [
            (who, pd.Timestamp("2024-01-01") + day * DAY)
            for who, own in days.items()
            for day in own
        ],
        columns=["who", "day"],
    )
    log = EventLog(events, "who", "day", observed_until=pd.Timestamp("2024-01-19"))
    X = log.attach(pd.DataFrame({"who": list(days)}), cutoff="2024-01-20")
    model = LSTMEventModel(hidden_size=4, max_epochs=2, random_state=0).fit(X)
    return model, X, list(days.values())


def test_rates_before_events_and_at_cutoffs(fitted):
    model, X, days = fitted
    data = model._read(X)
    module = model.net_.module_
    unit = model._learned.grid.unit / model._learned.grid.step
    seen = [slow_rates(own) for own in days]
    last = np.array([own[-1] for own in seen])
    rate = split_static(data.static).rate
    assert_allclose(rate.n_repeats, last[:, 0])
    assert_allclose(rate.elapsed * unit, last[:, 1], rtol=1e-5)
    for rows, part in model.net_.parts(data, with_events=True):
        events = part.events
        cells = events.values[:, module.blocks.cell]
        lengths = module.grid.lengths(cells)
        no_waiting = torch.zeros(len(lengths))
        is_first = events.position == 0
        found = EventRate.before_events(lengths, is_first, no_waiting, RatePrior())
        before = np.concatenate([[(0, 0.0), *seen[row][:-1]] for row in rows])
        assert_allclose(found.n_repeats, before[:, 0])
        assert_allclose(found.elapsed * unit, before[:, 1], rtol=1e-5)


def test_the_rate_of_a_view_begins_with_its_first_event(fitted):
    model, X, _ = fitted
    array = X["history"].array
    log = array.log
    rows = pd.DataFrame({"who": ["d"]})
    view = log.attach(rows, cutoff="2024-01-20", lookback="16D")
    assert view["history"].array.lengths.tolist() == [4]  # days 3, 4, 9 and 9
    rate = split_static(model._read(view).static).rate
    assert rate.n_repeats.tolist() == [2]


def test_simulated_events_count_like_observed_ones(fitted):
    model, X, _ = fitted
    data, learned = model._read(X), model._learned
    simulator = Simulator(model.net_, learned)
    with torch.no_grad():
        paths, _ = simulator.at_cutoffs(
            data, np.arange(len(data)), simulator.observed(data)
        )
    step = learned.grid.step
    for interarrival in ([1, 0, 12, 3], [0, 0, 5, 2]):
        before, steps = paths.rate, np.array(interarrival)
        paths = paths.advance(steps * step, learned.grid)
        repeats = before.n_repeats.numpy() + (steps > 0)
        elapsed = (
            before.elapsed.numpy() + (steps - 0.5).clip(0) * step / learned.grid.unit
        )
        assert_allclose(paths.rate.n_repeats, repeats)
        assert_allclose(paths.rate.elapsed, elapsed, rtol=1e-5)
    kept = paths.take(np.array([1, 3])).concat(paths.take(np.array([0])))
    assert_allclose(kept.rate.n_repeats, repeats[[1, 3, 0]])
