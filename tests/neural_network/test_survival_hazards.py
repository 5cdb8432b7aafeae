"""Likelihood and bins of hazards, and what they are without inputs."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm._recurrent.objectives._bins import time_step
from sklearn_seqcrm._recurrent.objectives._hazards import Hazards
from sklearn_seqcrm.neural_network import LSTMSurvival


def hazards(bins, kind, time, weight=None):
    """An objective that has learned from these targets, and the encoded targets."""
    objective = Hazards(bins)
    y = objective.read(pd.DataFrame({"event": kind, "time": time}))
    objective.learn(y, weight)
    return objective, objective.encode(y, weight)


# The loss -----------------------------------------------------------------------------


def cost_by_hand(outputs, kind, time, edges):
    """Minus the logarithm of the likelihood of one row, bin by bin."""
    odds = np.exp(outputs)  # (n_kinds, n_bins)
    none = 1 / (1 + odds.sum(axis=0))
    cost = 0.0
    for j, (begin, end) in enumerate(pairwise(edges)):
        if time >= end:
            cost -= np.log(none[j])
        elif kind:
            return cost - np.log(odds[kind - 1, j] * none[j])
        else:
            return cost - np.log(none[j]) * (time - begin) / (end - begin)
    return cost


@pytest.mark.parametrize("n_kinds", [1, 2])
def test_loss_is_the_likelihood_of_each_row(n_kinds):
    rng = np.random.default_rng(0)
    time = np.append(rng.uniform(0, 9, 40), [0, 0, 2, 2, 5, 5, 8, 8, 9])
    kind = np.append(rng.integers(0, n_kinds + 1, 40), [0, 1, 0, 1, 0, 1, 0, 1, 1])
    edges = [0.0, 2.0, 5.0, 8.0]
    objective, target = hazards(edges, kind, time)
    outputs = rng.normal(size=(len(time), n_kinds * 3))
    found = objective(torch.from_numpy(outputs), torch.from_numpy(target).double())
    expected = [
        cost_by_hand(z.reshape(n_kinds, 3), k, t, edges)
        for z, k, t in zip(outputs, kind, time, strict=True)
    ]
    assert_allclose(found.numpy(), expected, rtol=1e-6)  # shares are float32


@pytest.mark.parametrize("weight", [None, np.arange(300) % 3 * 1.0])
def test_start_bias_minimises_the_loss(weight):
    rng = np.random.default_rng(1)
    kind, time = rng.integers(0, 3, 300), rng.integers(0, 8, 300) * 1.0
    objective, target = hazards([2.0, 4.0, 8.0], kind, time, weight)
    bias = torch.from_numpy(objective.start_bias(target, weight)).requires_grad_()
    rows = torch.from_numpy(target).double()
    losses = objective(bias.expand(len(rows), -1), rows)
    (losses * (1.0 if weight is None else torch.from_numpy(weight))).sum().backward()
    assert_allclose(bias.grad.numpy(), 0, atol=1e-4)


def test_huge_outputs_have_finite_losses_and_probabilities():
    objective, target = hazards([1.0, 2.0], [1, 0, 2, 1], [0.5, 1.5, 1.5, 2.0])
    for size in (1e4, -1e4):
        outputs = torch.full((4, 4), size)
        assert objective(outputs, torch.from_numpy(target)).isfinite().all()
        hazard = objective.cumulative_hazard(outputs.double().numpy())
        assert np.isfinite(hazard).all()
        assert np.isfinite(objective.shares(outputs.double().numpy())).all()


# Events at edges ----------------------------------------------------------------------


def left_before(event, time, moments):
    """Share of rows without an event before each moment, by Kaplan and Meier."""
    shares = []
    for moment in moments:
        share = 1.0
        for earlier in np.unique(time[event & (time < moment)]):
            came = event & (time == earlier)
            share *= 1 - came.sum() / (time >= earlier).sum()
        shares.append(share)
    return np.array(shares)


@pytest.mark.parametrize("watched", ["all", "some"])
@pytest.mark.parametrize(
    ("bins", "edges"),
    [
        ([1, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([1, 2, 3], [0, 1, 2, 3]),
        ([1, 2, 3, 4, 5, 9], [0, 1, 2, 3, 4, 5]),
        (20, [0, 1, 2, 3, 4]),
        ("1D", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_an_event_at_an_edge_does_not_come_before_it(bins, edges, watched):
    """Rows without inputs, in whole days: predictions at edges are shares of them.

    The longest time ends with an event, which nothing but later edges can hold.
    """
    rng = np.random.default_rng(0)
    time = rng.integers(0, 5, 2000) * 1.0
    event = rng.random(2000) < (1.0 if watched == "all" else 0.6)
    event[0], time[0] = True, 4.0
    y = pd.DataFrame({"event": event, "time": pd.to_timedelta(time, unit="D")})
    model = LSTMSurvival(
        bins=bins, head_sizes=(), max_epochs=1, early_stopping=False, n_networks=1
    )
    model.set_params(learning_rate=1e-9).fit(np.zeros((2000, 1)), y)
    assert_array_equal(model.unique_times_, edges)
    before = [1 - model.predict_proba_before([[0.0]], edge)[0] for edge in edges]
    at_edges = model.predict_survival_function([[0.0]], return_array=True)[0]
    assert_allclose(at_edges, before)
    expected = left_before(event, time, edges)
    # Where all rows had their event, outputs start from one hundredth left over.
    assert_allclose(before, expected, rtol=1e-5, atol=0.011 * (expected == 0).any())


def test_kaplan_meier_of_another_library_agrees():
    """scikit-survival includes events at a time: its value equals ours a day later."""
    nonparametric = pytest.importorskip("sksurv.nonparametric")
    rng = np.random.default_rng(1)
    event, time = rng.random(500) < 0.7, rng.integers(0, 6, 500) * 1.0
    moments, left = nonparametric.kaplan_meier_estimator(event, time)
    assert_allclose(left_before(event, time, moments + 1), left)
    y = pd.DataFrame({"event": event, "time": time})
    model = LSTMSurvival(
        bins=np.arange(1, 7), head_sizes=(), max_epochs=1, n_networks=1
    )
    model.set_params(learning_rate=1e-9, early_stopping=False)
    [survival] = model.fit(np.zeros((500, 1)), y).predict_survival_function([[0.0]])
    assert_allclose(survival(moments + 1.0), left, rtol=1e-5, atol=0.01)


def test_bins_of_an_hour_begin_at_hours():
    """In days, 5 * (1 / 24) is slightly more than 5 / 24."""
    hours = pd.to_timedelta(np.arange(300) % 100, unit="h")
    y = pd.DataFrame({"event": True, "time": hours})
    objective = Hazards("1h")
    found = objective.read(y)
    objective.learn(found, None)
    passed, _ = objective.encode(found).T
    assert_array_equal(passed, np.arange(300) % 100 + 1)  # its own bin is the last


# Bins ---------------------------------------------------------------------------------


def edges_of(bins, event, time, weight=None):
    return hazards(bins, event, np.asarray(time, dtype=float), weight)[0].edges


def test_bins_have_equal_shares_of_the_events():
    """By the Kaplan-Meier estimate, which accounts for censored rows."""
    rng = np.random.default_rng(0)
    time, watch = rng.exponential(10, 20_000), rng.uniform(0, 60, 20_000)
    edges = edges_of(10, time <= watch, np.minimum(time, watch))
    assert len(edges) == 11
    shares = -np.diff(np.exp(-edges / 10))
    assert_allclose(shares, (1 - np.exp(-edges[-1] / 10)) / 10, rtol=0.1)
    # Without censoring they are quantiles.
    expected = np.quantile(time, np.arange(1, 10) / 10)
    assert_allclose(edges_of(10, time > 0, time)[1:-1], expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("bins", "event", "time", "weight", "expected"),
    [
        # Events of one day share a bin; the longest time is the end.
        (4, [1, 1, 1, 1, 0], [0, 0, 0, 2, 14], None, [0, 2, 14]),
        (4, [1, 1, 1, 1, 0], [0, 1, 2, 3, 4], None, [0, 1, 2, 3, 4]),
        (1, [1, 1], [1, 3], None, [0, 3]),
        # A long observation after the last event has its own bin.
        (2, [1, 1, 0, 0], [1, 2, 3, 50], None, [0, 2, 3, 50]),
        (2, [1, 1, 0, 0], [1, 2, 3, 4], None, [0, 2, 4]),
        (3, [1, 1], [0, 0], None, [0, 1]),
        # Rows without weight have no effect.
        (2, [1, 1, 1, 1, 0], [1, 2, 9, 99, 3], [1, 1, 0, 0, 1], [0, 2, 3]),
        ([2.0, 5.0], [1, 1], [1, 7], None, [0, 2, 5]),
        # An event at an edge is in the bin that begins there.
        ([0, 2, 5, 7, 9, 11], [1, 1], [1, 7], None, [0, 2, 5, 7, 9]),
        ([0, 2, 5, 7, 9, 11], [1, 0], [1, 7], None, [0, 2, 5, 7]),
        ([0, 2, 5, 7], [1, 1], [1, 7], None, [0, 2, 5, 7]),
        (3, [1, 1], [4, 4], None, [0, 4, 8]),
        ([0, 2, 5, 7, 9, 11], [1, 1], [1, 8], None, [0, 2, 5, 7, 9]),
    ],
)
def test_edges_of_bins(bins, event, time, weight, expected):
    weight = None if weight is None else np.array(weight, dtype=float)
    assert_allclose(edges_of(bins, event, time, weight), expected)


@pytest.mark.filterwarnings("ignore:Events in y are 1 and 2")
@pytest.mark.parametrize(
    ("kind", "time", "weight", "expected"),
    [
        ([1, 1, 2, 1], [1, 2, 3, 4], None, [1 / 4, 3 / 4]),
        ([1, 1, 1, 1], [1, 2, 3, 5], None, [1 / 3, 2 / 3]),  # the last is beyond
        ([1, 1, 1, 1], [1, 2, 3, 9], None, [1 / 3, 2 / 3]),
        # Of those left at 1.5, half are gone at 3, and all at 4.
        ([1, 0, 1, 1], [1, 1.5, 3, 4], None, [1 / 4, 3 / 4]),
        ([1, 0, 1, 0], [1, 1.5, 3, 5], None, [2 / 5, 3 / 5]),
        ([1, 1, 1, 1], [1, 2, 3, 4], [6, 1, 1, 0], [3 / 4, 1 / 4]),
    ],
)
def test_shares_of_events_in_bins(kind, time, weight, expected):
    """By the Kaplan-Meier estimate, worked out by hand."""
    weight = None if weight is None else np.array(weight, dtype=float)
    time = np.array(time, dtype=float)
    assert_allclose(hazards([2.0, 5.0], kind, time, weight)[0].mass, expected)


# Whole numbers as times ---------------------------------------------------------------


def hazards_by_hand(kind, time):
    """Kaplan and Meier: the share of events at each whole time among rows at risk."""
    found = []
    for at in range(int(time[kind > 0].max()) + 1):
        at_risk = sum(t >= at for t in time)
        found.append(sum(t == at and k > 0 for k, t in zip(kind, time, strict=True)))
        found[-1] /= at_risk
    return found


@pytest.mark.parametrize("unit", [1, 1 / 7, 1e15, *pd.to_timedelta(["1D", "1h"])])
def test_a_row_censored_at_the_time_of_an_event_was_at_risk_of_it(unit):
    """As in the Kaplan-Meier estimate, in any unit. Hazards of 0.2 were up to 1."""
    rng = np.random.default_rng(0)
    until = rng.choice([2, 5, 9], 4000)
    time = np.minimum(rng.geometric(0.2, 4000) - 1, until + 1)
    kind = (time <= until).astype(int)
    time = np.minimum(time, until)  # events at the last recorded time are known
    bins = unit if isinstance(unit, pd.Timedelta) else np.arange(11) * unit
    objective, target = hazards(bins, kind, time * unit)
    found = 1 / (1 + np.exp(-objective.start_bias(target, None)))
    assert_allclose(found, hazards_by_hand(kind, time), rtol=1e-6)
    assert_allclose(found, 0.2, atol=0.05)


def test_a_complete_horizon_ends_before_its_last_edge():
    """Nothing is known of later times: the last bin was observed by a third."""
    time, kind = np.array([0.0, 3, 6, 5, 7, 7]), np.array([1, 1, 1, 0, 0, 0])
    _, target = hazards([3.0, 6.0, 9.0], kind, time)
    # Day 5 is over for the row censored on it, and day 7 has not begun.
    assert_allclose(target[3:, 0], [2, 2 + 1 / 3, 2 + 1 / 3], rtol=1e-6)


@pytest.mark.parametrize(
    ("time", "step"),
    [
        ([0.0, 6, 10, 15], 1),
        ([6.0, 10, 0, 14], 2),
        ([21.0, 7, 7], 7),
        (np.array([3, 5, 11]) / 7, 1 / 7),
        (np.array([24, 25, 1]) / 24, 1 / 24),
        ([5.0, 5], 5),
        ([0.0, 0], 0),
        (np.random.default_rng(0).random(50), 0),
        ([1.0, np.pi], 0),
    ],
)
def test_step_between_times(time, step):
    assert_allclose(time_step(np.array(time)), step, rtol=1e-12)
