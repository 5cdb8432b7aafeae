"""Waiting times for first events: slow customers come late in a record.

Purchases of each customer are a Poisson process with a rate of its own, gamma
distributed, and no customer leaves. The processes begin before the record, so that the
first event in it is not the first of the customer, or each begins with its first event.
The best possible predictions are posterior means with the true parameters.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._event_rate import EventRate, RatePrior
from sklearn_seqcrm.event_model._learned import split_static
from sklearn_seqcrm.event_model._simulate import Simulator
from sklearn_seqcrm.events import EventLog

N, END, HORIZON = 1500, 182.0, 91.0
SHAPE, MEAN_RATE = 1.0, 0.05
SMALL = {"hidden_size": 32, "max_epochs": 16, "learning_rate": 0.01, "random_state": 0}


def visits(enter, seed=0):
    """Return times of events before END, a day each."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(SHAPE, MEAN_RATE / SHAPE, N)
    begin = rng.uniform(0, END / 2, N) if enter else np.zeros(N)
    who = np.repeat(np.arange(N), rng.poisson(rate * (END - begin)))
    time = begin[who] + rng.random(len(who)) * (END - begin)[who]
    if enter:
        who, time = np.append(np.arange(N), who), np.append(begin, time)
    events = pd.DataFrame({"who": who, "time": np.floor(time)})
    return events.sort_values(["who", "time"], ignore_index=True)


def rows_of(events, **options):
    log = EventLog(events, "who", "time")
    return log.attach(
        pd.DataFrame({"who": events["who"].unique()}), cutoff=END, **options
    )


def prior_of(events, is_truncated=None, unit=1.0):
    """Return the prior in units of so many days."""
    own = events.drop_duplicates().groupby("who")["time"]
    first, n = own.min().to_numpy(), own.size().to_numpy()
    if is_truncated is None:
        is_truncated = np.zeros(len(first), bool)
    cutoff = np.full(len(first), END)
    return RatePrior().estimated(first, cutoff, n - 1, is_truncated, unit)


def test_waiting_counts_if_customers_come_from_the_start_on():
    prior = prior_of(visits(enter=False))
    # Gamma(1, 20 days), after one event: about (2 + x) / (20 + u + t).
    assert 0.9 < prior.waiting_weight < 1.4
    assert 1.8 < prior.repeats < 2.6
    assert 17 < prior.time < 30
    assert prior.start == 0
    assert END - 3 <= prior.latest < END


@pytest.mark.parametrize("seed", range(3))
def test_waiting_does_not_count_if_the_first_event_is_the_entry(seed):
    assert prior_of(visits(enter=True, seed=seed)) == RatePrior()


def test_a_wrong_date_does_not_move_the_start():
    events = visits(enter=False)
    wrong = pd.DataFrame({"who": [N], "time": [-19000.0]})
    prior = prior_of(pd.concat([events, wrong], ignore_index=True))
    assert prior.start == 0
    assert 0.9 < prior.waiting_weight < 1.4


@pytest.mark.parametrize(
    "events",
    [
        pd.DataFrame({"who": range(N), "time": np.arange(N) / 10}),
        pd.DataFrame({"who": [*range(N)] * 2, "time": np.repeat([1.0, 3.0], N)}),
        pd.DataFrame({"who": [*range(N)] * 2, "time": END}),
        visits(enter=False).query("who < 100"),
    ],
    ids=["no repeats", "no waiting time", "no time to the cutoff", "few customers"],
)
def test_without_evidence_the_prior_is_the_default(events):
    assert prior_of(events) == RatePrior()


def test_training_rows_that_hide_events_have_no_prior():
    """Or the time of the first visible event would depend on whether others exist."""
    events = visits(enter=False)
    hidden = np.arange(events["who"].nunique()) == 7
    assert prior_of(events, hidden) == RatePrior()


@pytest.mark.parametrize("enter", [False, True])
def test_the_prior_depends_neither_on_the_unit_nor_on_the_order(enter):
    events = visits(enter=enter)
    one = prior_of(events)
    order = np.random.default_rng(0).permutation(N)
    other = prior_of(events.assign(who=order[events["who"]]), unit=1e-4)
    assert_allclose(other.waiting_weight, one.waiting_weight)
    if not enter:
        assert_allclose(other.time, 1e4 * one.time)


def test_waiting_times_lie_within_those_of_training():
    prior = RatePrior(2.0, 3.0, 0.5, start=10.0, latest=30.0)
    first = np.array([4, 10, 16, 30, 99, 16])
    truncated = np.array([False] * 5 + [True])
    assert_array_equal(prior.waited(first, truncated, 2.0), [0, 0, 1.5, 5, 5, 0])
    assert_array_equal(RatePrior().waited(first, truncated, 2.0), np.zeros(6))
    rate = EventRate(torch.tensor([3.0]), torch.tensor([7.0]))
    assert_allclose(rate.log_rate(prior), np.log([5 / 10]), rtol=1e-6)


@pytest.fixture(scope="module")
def fitted():
    """A model of customers who come from the start of the record on."""
    events = visits(enter=False)
    X = rows_of(events)
    return LSTMEventModel(**SMALL).fit(X), X, events


def test_waiting_counts_in_training_at_cutoffs_and_in_simulations(fitted):
    model, X, events = fitted
    learned, module = model._learned, model.net_.module_
    data, prior = model._read(X[:50]), learned.grid.rate_prior
    first = events.groupby("who")["time"].min()[X["who"][:50]].to_numpy()
    waited = prior.waiting_weight * first / learned.grid.unit
    own = split_static(data.static)
    assert_allclose(own.waited, waited, rtol=1e-6)
    for rows, part in model.net_.parts(data, with_events=True):
        events_of, per_row = part.events, split_static(part.static)
        lengths = module.grid.lengths(events_of.values[:, module.blocks.cell])
        is_first = events_of.position == 0
        found = EventRate.before_events(
            lengths, is_first, per_row.waited[events_of.row], prior
        )
        assert_allclose(found.elapsed[is_first], waited[rows], rtol=1e-6)
        # The rate before the last event, and its interarrival time.
        is_last = events_of.position == torch.tensor(
            [len(one) - 1 for one in X["history"].array[rows]]
        ).gather(0, events_of.row)
        last = lengths.masked_fill(is_first, 0.0)[is_last]
        assert_allclose(
            found.elapsed[is_last] + last, own.rate.elapsed[rows], rtol=1e-5
        )
    simulator = Simulator(model.net_, learned)
    with torch.no_grad():
        paths, _ = simulator.at_cutoffs(
            data, np.arange(len(data)), simulator.observed(data)
        )
    assert_array_equal(paths.rate.elapsed, own.rate.elapsed)


def test_a_view_that_hides_events_has_no_waiting_time(fitted):
    model, _, events = fitted
    X = rows_of(events, lookback=60.0)
    X = X[X["history"].array.lengths > 0]
    first = events.groupby("who")["time"].min()[X["who"]].to_numpy()
    waited = split_static(model._read(X).static).waited
    assert (waited[first < END - 60] == 0).all()
    assert (waited[first >= END - 60] > 0).all()


def test_slow_customers_are_not_taken_for_fast_ones(fitted):
    model, X, events = fitted
    counts = events.groupby("who").size()[X["who"]].to_numpy()
    best = (SHAPE + counts) / (SHAPE / MEAN_RATE + END) * HORIZON
    futures = model.sample(X, HORIZON, n_paths=60, random_state=0)
    simulated = np.bincount(futures["row"], minlength=len(X)) / 60
    slow = best <= np.quantile(best, 0.2)
    # 1.50 without the waiting time, 1.09 with it.
    assert simulated[slow].sum() / best[slow].sum() < 1.25
    assert abs(simulated.sum() / best.sum() - 1) < 0.12
