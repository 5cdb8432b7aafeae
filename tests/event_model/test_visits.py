"""Visits of several events: rates count them, and components start between them."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._event_rate import EventRate, RatePrior
from sklearn_seqcrm.event_model._interarrival import InterarrivalGrid
from sklearn_seqcrm.event_model._learned import split_static
from sklearn_seqcrm.event_model._simulate import Simulator
from sklearn_seqcrm.events import EventLog
from tests.clicks import DAY, END, HOUR, RATE, SHAPE, clicks, pauses_of

SMALL = {"hidden_size": 4, "max_epochs": 2, "random_state": 0}


def rows_of(events, cutoff=END):
    log = EventLog(events[events["time"] < cutoff], "who", "time")
    return log.attach(pd.DataFrame({"who": log.customers}), cutoff=cutoff)


def grid_of(events):
    return LSTMEventModel(**SMALL).fit(rows_of(events))._learned.grid


# The prior ----------------------------------------------------------------------------


def test_the_prior_of_visits_has_their_rate():
    between = pauses_of(clicks())
    prior = RatePrior.of_visits(between, HOUR, unit=60.0)
    assert_allclose(prior.pause, 60)
    n_visits = np.count_nonzero(between > HOUR)
    assert_allclose(prior.typical, n_visits / (between.sum() / 60))
    assert_allclose(prior.repeats / prior.time, prior.typical)
    with_ties = np.append(between, np.zeros(999, "int64"))
    assert RatePrior.of_visits(with_ties, HOUR, unit=60.0) == prior


def test_visits_of_one_in_a_hundred_customers_have_no_rate_of_their_own():
    """All others came once, so that no interarrival time is without outliers."""
    events = clicks(60)
    once = pd.DataFrame({"who": np.arange(100, 7000), "time": DAY})
    assert grid_of(pd.concat([events, once])).rate_prior.pause == 0


def test_the_prior_of_visits_is_estimated_from_their_number():
    """Gamma(1.5, 10 days), after one visit: (2.5 + x) / (10 + u + t)."""
    events = clicks(2000)
    prior = grid_of(events).rate_prior
    assert 2.0 < prior.repeats < 3.2
    assert 0.8 < prior.waiting_weight < 1.3
    assert 7 < prior.time * np.median(pauses_of(events)) / DAY < 14


def test_a_few_wrong_dates_do_not_move_the_pause():
    events = clicks()
    wrong = pd.DataFrame({"who": [3, 5, 8], "time": -20_000 * DAY})
    one, other = grid_of(events), grid_of(pd.concat([wrong, events]))
    assert_allclose(other.rate_prior.pause, one.rate_prior.pause, rtol=0.1)
    assert_allclose(other.rate_prior.typical, one.rate_prior.typical, rtol=0.1)
    assert_allclose(other.quantiles, one.quantiles, atol=0.2)


def test_components_do_not_depend_on_the_unit_of_times():
    """Also if the sum of all interarrival times exceeds int64."""
    events = clicks()
    between = np.tile(pauses_of(events), 50)
    none = np.array([], "int64")
    found = [
        InterarrivalGrid.of(
            ticks * between,
            np.zeros(len(between), "int64"),
            none,
            none,
            60.0 * ticks,
            4,
            None,
            longest=30.0 * DAY * ticks,
        ).quantiles
        for ticks in (1, 10**9)
    ]
    assert between.sum() > 2**63 / 10**9
    assert_allclose(found[1], found[0])


def test_repeats_of_training_are_those_at_cutoffs(monkeypatch):
    """Also where weekdays make lengths operational."""
    seen = []
    estimated = RatePrior.estimated

    def spy(self, first, cutoff, n_repeats, is_truncated, unit):
        seen.append(n_repeats)
        return estimated(self, first, cutoff, n_repeats, is_truncated, unit)

    monkeypatch.setattr(RatePrior, "estimated", spy)
    events = clicks(300)
    events["time"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(
        events["time"] * 2 // 1800 * 30, unit="min"
    )
    events = events[(events["time"].dt.day_of_week < 6) | (events.index % 40 == 0)]
    log = EventLog(events, "who", "time", observed_until="2024-05-01")
    X = log.attach(pd.DataFrame({"who": log.customers}), cutoff="2024-05-01")
    model = LSTMEventModel(**SMALL).fit(X)
    grid = model._learned.grid
    assert grid.rate_prior.pause > 0
    assert grid.operational_time is not None
    assert_array_equal(seen[0], split_static(model._read(X).static).rate.n_repeats)


# The network --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    events = clicks()
    X = rows_of(events)
    return LSTMEventModel(**SMALL).fit(X), X, events[events["time"] < END]


def test_rates_count_visits_in_training_at_cutoffs_and_in_simulations(fitted):
    model, X, events = fitted
    learned, module = model._learned, model.net_.module_
    grid, prior, data = learned.grid, learned.grid.rate_prior, model._read(X)
    pause = prior.pause * grid.unit / grid.step  # in steps: seconds
    is_repeat = events.groupby("who")["time"].diff() > pause
    n_visits = is_repeat.groupby(events["who"]).cumsum()
    latest = n_visits.groupby(events["who"]).last().to_numpy()
    assert_array_equal(split_static(data.static).rate.n_repeats, latest)
    before = (n_visits - is_repeat).groupby(events["who"]).agg(list).tolist()
    for rows, part in model.net_.parts(data, with_events=True):
        own = part.events
        lengths = grid.lengths(own.values[:, module.blocks.cell])
        waited = split_static(part.static).waited[own.row]
        found = EventRate.before_events(lengths, own.position == 0, waited, prior)
        expected = np.concatenate([before[row] for row in rows])
        assert_array_equal(found.n_repeats, expected)
    simulator = Simulator(model.net_, learned)
    with torch.no_grad():
        observed = simulator.observed(data)
        paths, _ = simulator.at_cutoffs(data, np.arange(len(X)), observed)
    for share, more in {0.0: 0, 0.9: 0, 1.1: 1}.items():
        ticks = np.full(len(X), round(share * pause) * grid.step)
        later = paths.advance(ticks, grid)
        assert_array_equal(later.rate.n_repeats, latest + more)


def test_inputs_are_rates_relative_to_a_typical_one():
    prior = RatePrior(repeats=2.0, time=3.0, typical=0.25)
    rate = EventRate(torch.tensor([3.0]), torch.tensor([7.0]))
    assert_allclose(rate.log_rate(prior), np.log([0.5 / 0.25]), rtol=1e-6)


def test_half_of_the_components_start_between_visits():
    between = pauses_of(clicks())
    none = np.array([], "int64")
    args = between, np.zeros(len(between), "int64"), none, none, 60.0
    by_number = InterarrivalGrid.of(*args, 4, None)
    grid = InterarrivalGrid.of(*args, 4, None, longest=30.0 * DAY)
    hour = np.log(HOUR / 60)
    assert np.count_nonzero(np.array(by_number.quantiles) > hour) <= 1
    assert (np.array(grid.quantiles) > hour).tolist() == [False, False, True, True]
    assert grid.spread == by_number.spread


def test_who_comes_back_depends_on_visits_and_not_on_clicks():
    """The log loss is near that of the posterior distribution of the rates."""
    events = clicks(800, seed=1)
    cutoff, within = 43 * DAY, 7 * DAY
    X = rows_of(events, cutoff)
    model = LSTMEventModel(random_state=0).fit(X)
    chance = np.array([1 - one(within) for one in model.predict_survival_function(X)])
    known = events[events["time"] < cutoff]
    first = known.groupby("who")["time"].diff().gt(HOUR).groupby(known["who"])
    n_visits = first.sum() + 1
    coming = events.loc[events["time"] >= cutoff, "who"]
    came = n_visits.index.isin(coming)
    elapsed = RATE + cutoff / DAY
    best = 1 - (elapsed / (elapsed + within / DAY)) ** (SHAPE + n_visits.to_numpy())

    def log_loss(chance):
        return -np.log(np.where(came, chance, 1 - chance)).mean()

    base = log_loss(np.full(len(came), came.mean()))
    assert log_loss(chance) < log_loss(best) + 0.25 * (base - log_loss(best))
