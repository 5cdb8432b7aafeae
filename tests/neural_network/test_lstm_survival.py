import pickle
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from sklearn_seqcrm._recurrent.objectives._hazards import Hazards
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.neural_network import LSTMSurvival
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.targets import time_to_next
from sklearn_seqcrm.testing._small_data import DAY, make_table

SMALL = {
    "hidden_size": 4,
    "head_sizes": (4,),
    "max_epochs": 2,
    "random_state": 0,
    "n_networks": 1,
}
TABLE = make_table()
X = HistoryEncoder().fit_transform(TABLE)[["history"]]
Y = time_to_next(TABLE, censored="keep")
DAYS = Y["time"].to_numpy() / DAY.to_timedelta64()
# Kinds of events that compete: 0 for none, 1 and 2.
KINDS = Y.assign(event=np.where(Y["event"], 1 + np.arange(len(Y)) % 2, 0))
FITTED = LSTMSurvival(**SMALL, bins=6).fit(X, Y)
COMPETING = LSTMSurvival(**SMALL, bins=6).fit(X, KINDS)


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
    """Share of rows without an event before each moment, by Kaplan and Meier.

    A row whose watch ended at a moment was not seen at that moment.
    """
    shares = []
    for moment in moments:
        share = 1.0
        for earlier in np.unique(time[event & (time < moment)]):
            came = event & (time == earlier)
            share *= 1 - came.sum() / (came | (time > earlier)).sum()
        shares.append(share)
    return np.array(shares)


@pytest.mark.parametrize("watched", ["all", "some"])
@pytest.mark.parametrize(
    ("bins", "edges"),
    [
        ([1, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([1, 2, 3], [0, 1, 2, 3]),
        ([1, 2, 3, 4, 9, 10], [0, 1, 2, 3, 4, 9]),
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
    # What is censored in the middle of a bin counts in part: censor at its end.
    time = np.where(event, time, np.minimum(time + 1, 4))
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
    """It includes events at a time: its value at a day equals ours a day later."""
    nonparametric = pytest.importorskip("sksurv.nonparametric")
    rng = np.random.default_rng(1)
    event, time = rng.random(500) < 0.7, rng.integers(0, 6, 500) * 1.0
    moments, left = nonparametric.kaplan_meier_estimator(event, time)
    # Its censored rows were seen on their last day.
    time = np.where(event, time, time + 1)
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


# A simulator with a weekly cycle ------------------------------------------------------


def simulate(n, n_days, seed):
    """Rows at any weekday, whose daily chance depends on a plan and on the weekday.

    The plan is known from the one event before the cutoff alone, and the weekday, as a
    cycle, from the cutoff. Returns rows, targets and the true chances.
    """
    rng = np.random.default_rng(seed)
    start = np.datetime64("2024-01-01")
    cutoff, plan = rng.integers(7, 14, n), rng.integers(0, 2, n)
    phase = 2 * np.pi * (cutoff[:, None] + np.arange(n_days)) / 7
    chance = 1 / (1 + np.exp(2.5 - 1.2 * plan[:, None] - 1.5 * np.cos(phase)))
    came = rng.random((n, n_days)) < chance
    first, comes = came.argmax(axis=1), came.any(axis=1)
    who = np.arange(n)
    day = start + rng.integers(0, 7, n).astype("m8[D]")
    before = pd.DataFrame({"who": who, "day": day, "plan": plan.astype(str)})
    day = start + (cutoff + first).astype("m8[D]")
    after = pd.DataFrame({"who": who, "day": day, "plan": "0"})[comes]
    log = EventLog(
        pd.concat([before, after]), "who", "day", observed_until="2024-02-15"
    )
    rows = pd.DataFrame({"who": who, "at": start + cutoff.astype("m8[D]")})
    rows = log.attach(rows, cutoff="at")
    return rows, time_to_next(rows, f"{n_days}D"), chance


def test_hazard_with_a_weekly_cycle_is_recovered():
    """Bins of a day. The error is that of shares of as many rows, or less."""
    n_days = 14
    rows, y, chance = simulate(3000, n_days, seed=0)
    model = LSTMSurvival(
        bins="1D",
        head_sizes=(),
        hidden_size=4,
        pooling="last",
        dropout=0.0,
        learning_rate=0.02,
        batch_size=300,
        averaged_steps=20,
        max_epochs=25,
        early_stopping=False,
        random_state=0,
        n_networks=1,
    )
    encoded = HistoryEncoder().fit_transform(rows)[["history"]]
    model.fit(encoded, y)
    assert_array_equal(model.unique_times_, np.arange(n_days + 1))
    hazard = model.predict_cumulative_hazard_function(encoded, return_array=True)
    found = -np.expm1(-np.diff(hazard, axis=1))
    days = (y["time"] / DAY).to_numpy()
    errors, by_counting = [], []
    groups = pd.factorize(pd.Series(map(bytes, chance)))[0]  # plan and weekday
    for group in range(14):
        own = groups == group
        for day in range(n_days):
            n_left = (days[own] >= day).sum()
            true = chance[own][0, day]
            share = (y["event"][own] & (days[own] == day)).sum() / n_left
            error = np.sqrt(true * (1 - true) / n_left)
            errors.append((found[own, day].mean() - true) / error)
            by_counting.append((share - true) / error)
    assert 0.9 < np.std(by_counting) < 1.1  # the simulator matches its formula
    assert np.std(errors) < 0.8
    assert np.abs(errors).max() < 3


# Predictions --------------------------------------------------------------------------


def test_functions_arrays_and_quantiles_agree():
    edges = FITTED.unique_times_
    assert edges[0] == 0
    assert edges[-1] == DAYS.max()
    survival = FITTED.predict_survival_function(X, return_array=True)
    assert survival.shape == (len(X), len(edges))
    assert_array_equal(survival[:, 0], 1)
    assert (np.diff(survival, axis=1) < 0).all()
    curves = FITTED.predict_survival_function(X)
    cumulative = FITTED.predict_cumulative_hazard_function(X)
    times = np.linspace(0, edges[-1], 50)
    values = np.array([curve(times) for curve in curves])
    assert_allclose([curve(times) for curve in cumulative], -np.log(values), atol=1e-9)
    assert_allclose([curve.y for curve in curves], survival)
    assert curves[0].domain == (0, edges[-1])
    # Between edges the hazard is constant.
    middle = (edges[1:] + edges[:-1]) / 2
    expected = np.sqrt(survival[:, 1:] * survival[:, :-1])
    assert_allclose([curve(middle) for curve in curves], expected)
    # Quantiles are the inverse.
    for q, column in zip(
        (0.1, 0.25), FITTED.predict_quantile(X, [0.1, 0.25]).T, strict=True
    ):
        assert_allclose([c(t) for c, t in zip(curves, column, strict=True)], 1 - q)
        assert_array_equal(FITTED.predict_quantile(X, q), column)
    late = FITTED.predict_quantile(X, 0.999999)
    assert_array_equal(late, np.inf)
    before = FITTED.predict_proba_before(X, times[7])
    assert_allclose(before, 1 - values[:, 7])


def test_no_quantiles_are_refused():
    with pytest.raises(ValueError, match=r"one or several numbers.*got \[\]"):
        FITTED.predict_quantile(X, [])


@pytest.mark.parametrize(
    "horizon",
    [
        "36h",
        pd.Timedelta("36h"),
        np.timedelta64(36, "h"),
        1.5,
        np.array(1.5),
        np.full(len(X), 1.5),
        pd.Series([DAY * 1.5] * len(X)),
        ["36h"] * len(X),
    ],
)
def test_horizons_of_any_type(horizon):
    expected = [1 - curve(1.5) for curve in FITTED.predict_survival_function(X)]
    assert_allclose(FITTED.predict_proba_before(X, horizon), expected)


@pytest.mark.parametrize(
    ("time", "days"),
    [
        ("36h", 1.5),
        (pd.Timedelta("36h"), 1.5),
        (np.timedelta64(36, "h"), 1.5),
        (["36h", "7D"], [1.5, 7]),
        (pd.to_timedelta(["36h", "7D"]), [1.5, 7]),
        ([["36h"], ["7D"]], [[1.5], [7]]),
        (range(3), [0, 1, 2]),
        (np.array(1.5), 1.5),
    ],
)
def test_curves_at_times_of_any_type(time, days):
    curve = FITTED.predict_survival_function(X)[0]
    assert_array_equal(curve(time), curve(np.array(days, dtype=float)))
    incidence = COMPETING.predict_cumulative_incidence
    if np.ndim(days) < 2:
        expected = incidence(X, np.atleast_1d(days))
        assert_array_equal(incidence(X, time), expected)


def test_times_in_a_table_are_refused():
    with pytest.raises(TypeError, match="times must be one value or a list of them"):
        COMPETING.predict_cumulative_incidence(X, pd.DataFrame({"day": [1.0]}))


def test_labels_given_as_times_warn():
    labels = (np.arange(len(X)) % 2).astype(float)
    with pytest.warns(UserWarning, match=r"0 and 1 alone, .*targets\.time_to_next\(X"):
        LSTMSurvival(**SMALL).fit(X, labels)


def test_horizons_row_by_row():
    horizon = np.linspace(0, FITTED.unique_times_[-1], len(X))
    curves = FITTED.predict_survival_function(X)
    expected = [1 - curve(t) for curve, t in zip(curves, horizon, strict=True)]
    assert_allclose(FITTED.predict_proba_before(X, horizon), expected, atol=1e-12)


def test_hazards_of_kinds_add_up_to_that_of_any_event():
    assert_array_equal(COMPETING.event_types_, [1, 2])
    times = np.linspace(0, COMPETING.unique_times_[-1], 30)
    found = COMPETING.predict_cumulative_incidence(X, times)
    assert found.shape == (len(X), 3, 30)
    assert_allclose(found.sum(axis=1), 1)
    assert (np.diff(found[:, 1:], axis=2) > 0).all()
    assert_array_equal(found[:, 1:, 0], 0)
    curves = COMPETING.predict_survival_function(X)
    assert_allclose(found[:, 0], [curve(times) for curve in curves])
    at_edges = COMPETING.predict_cumulative_incidence(X)
    assert at_edges.shape == (len(X), 3, len(COMPETING.unique_times_))
    # One kind is the chance of any event.
    [_, any_event] = FITTED.predict_cumulative_incidence(X, ["7D"])[3]
    assert_allclose(any_event, FITTED.predict_proba_before(X, "7D")[3])


def test_incidence_without_inputs_is_the_aalen_johansen_estimate():
    """Without inputs, predictions at edges are the Aalen-Johansen estimate."""
    rng = np.random.default_rng(0)
    time, kind = rng.integers(0, 10, 4000) * 1.0, rng.integers(0, 3, 4000)
    y = pd.DataFrame({"event": kind, "time": time})
    model = LSTMSurvival(
        bins=np.arange(1, 10), head_sizes=(), max_epochs=1, n_networks=1
    )
    model.set_params(learning_rate=1e-9, early_stopping=False)
    found = model.fit(np.zeros((4000, 1)), y).predict_cumulative_incidence([[0.0]])[0]
    left, incidence = 1.0, np.zeros(2)
    for day in range(9):
        # Rows that were last seen at the beginning of a day are not at risk on it.
        at_risk = (time > day) | ((time == day) & (kind > 0))
        shares = [((time == day) & (kind == k)).sum() / at_risk.sum() for k in (1, 2)]
        incidence += left * np.array(shares)
        left *= 1 - sum(shares)
        assert_allclose(found[:, day + 1], [left, *incidence], rtol=1e-5)


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


def test_risk_is_the_probability_to_precede_a_random_event():
    survival = FITTED.predict_survival_function(X, return_array=True)
    expected = np.zeros(len(X))
    for mass, low, high in zip(
        FITTED._objective.mass, survival[:, 1:].T, survival[:, :-1].T, strict=True
    ):
        expected += mass * (1 - (low + high) / 2)
    assert_allclose(FITTED.predict(X), expected)
    # A higher risk means an earlier event.
    order = np.argsort(FITTED.predict(X))
    median = FITTED.predict_quantile(X, 0.3)
    assert median[order[0]] > median[order[-1]]


# Targets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "y",
    [
        Y.assign(time=DAYS),
        Y[["time", "event"]],
        Y.rename(columns={"event": "back", "time": "duration"}),
        Y.assign(event=Y["event"].astype(int)),
        Y.assign(event=Y["event"].astype(float), time=DAYS),
        Y.assign(time=DAYS).to_records(index=False),
        Y.assign(time=DAYS)[["time", "event"]].to_records(index=False),
        np.array(
            list(zip(Y["event"], DAYS, strict=True)), dtype=[("e", "?"), ("t", "f8")]
        ),
        Y.to_records(index=False),
    ],
)
def test_forms_of_y(y):
    found = LSTMSurvival(**SMALL, bins=6).fit(X, y)
    assert_array_equal(found.predict(X), FITTED.predict(X))
    assert found.score(X, Y if found._objective.in_days else y) == FITTED.score(X, y)


def test_times_without_indicator_are_uncensored():
    time = DAYS + 1
    y = pd.DataFrame({"event": True, "time": time})
    expected = LSTMSurvival(**SMALL).fit(X, y)
    found = LSTMSurvival(**SMALL).fit(X, time)
    assert_array_equal(found.predict(X), expected.predict(X))
    assert_array_equal(found.event_types_, [1])


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


@pytest.mark.parametrize(
    "bins",
    ["7D", pd.Timedelta("7D"), ["7D", "14D", "21D"], pd.timedelta_range(0, "21D", 4)],
)
def test_bins_as_durations(bins):
    y = Y.assign(time=Y["time"].clip(upper=20 * DAY))
    model = LSTMSurvival(**SMALL, bins=bins).fit(X, y)
    assert_array_equal(model.unique_times_, [0, 7, 14, 21])
    again = clone(model).set_params(warm_start=True).fit(X, y).fit(X, y)
    assert again.n_iter_ == 4


# Continued training -------------------------------------------------------------------


def test_the_first_partial_fit_is_a_fit_of_one_epoch():
    one = LSTMSurvival(**SMALL, bins=6).partial_fit(X, Y)
    whole = LSTMSurvival(**{**SMALL, "max_epochs": 1}, bins=6, early_stopping=False)
    assert_array_equal(one.predict(X), whole.fit(X, Y).predict(X))
    # Later calls have the bins of the first.
    one.partial_fit(X[:9], Y[:9])
    assert_array_equal(one.unique_times_, whole.unique_times_)
    assert one.n_iter_ == 2


def test_warm_start_refuses_other_bins_and_kinds():
    model = LSTMSurvival(**SMALL, bins=[100.0, 400.0], warm_start=True).fit(X, Y)
    assert model.fit(X, Y).n_iter_ == 4
    with pytest.raises(ValueError, match=r"bins=\(100.0, 400.0\); got 8. Set it back"):
        model.set_params(bins=8).fit(X, Y)
    model.set_params(bins=np.array([100.0, 400.0]))
    with pytest.raises(ValueError, match=r"kinds \[2\], which were not in the first"):
        model.fit(X, KINDS)


def test_an_integer_weight_equals_copies_of_the_row():
    """A weight of 0 is no copy. In full batches steps are equal up to rounding."""
    weight = np.arange(len(X)) % 4
    copies = np.repeat(np.arange(len(X)), weight)
    model = LSTMSurvival(**SMALL, dropout=0.0, batch_size=1000, early_stopping=False)
    of_copies = clone(model).fit(X.iloc[copies], KINDS.iloc[copies])
    model.fit(X, KINDS, sample_weight=weight)
    assert_allclose(model.unique_times_, of_copies.unique_times_)
    assert_allclose(model.predict(X), of_copies.predict(X), rtol=1e-4)
    found = model.score(X, KINDS, sample_weight=weight)
    expected = model.score(X.iloc[copies], KINDS.iloc[copies])
    # Rows without a history have equal risks, but for rounding.
    assert_allclose(found, expected, atol=2e-3)
    assert abs(model.score(X, KINDS) - expected) > 5e-3


def test_pickles_predict_the_same():
    back = pickle.loads(pickle.dumps(COMPETING))
    assert_array_equal(back.predict(X), COMPETING.predict(X))
    assert_array_equal(back.unique_times_, COMPETING.unique_times_)


# With scikit-learn --------------------------------------------------------------------


@pytest.mark.parametrize("y", [Y, Y.assign(time=DAYS).to_records(index=False)])
def test_search_and_split_in_time_with_a_raw_x(y):
    order = np.argsort(TABLE["at"].to_numpy(), kind="stable")
    rows = TABLE.iloc[order]
    y = y.iloc[order] if isinstance(y, pd.DataFrame) else y[order]
    pipeline = make_history_pipeline(LSTMSurvival(**SMALL, early_stopping=False))
    search = GridSearchCV(
        pipeline,
        {"estimator__bins": [3, 5]},
        cv=CutoffSplit(2, test_size=8, horizon="30D"),
        error_score="raise",
    )
    search.fit(rows, y)
    scores = search.cv_results_["mean_test_score"]
    assert ((scores > 0) & (scores < 1)).all()
    assert search.predict(rows).shape == (len(rows),)
    folds = CutoffSplit(2, test_size=8, horizon="30D")
    again = cross_val_score(
        search.best_estimator_, rows, y, cv=folds, error_score="raise"
    )
    assert_allclose(again.mean(), search.best_score_)


def test_a_pipeline_has_the_methods_of_its_last_step():
    pipeline = make_history_pipeline(LSTMSurvival(**SMALL))
    assert hasattr(clone(pipeline), "predict_quantile")
    assert not hasattr(pipeline, "predict_proba")
    assert not hasattr(pipeline, "predict_weather")
    pipeline.fit(TABLE, Y)
    back = pickle.loads(pickle.dumps(pipeline))
    encoded = pipeline[:-1].transform(TABLE)
    expected = pipeline[-1].predict_proba_before(encoded, "30D")
    assert_array_equal(back.predict_proba_before(TABLE, horizon="30D"), expected)
    survival = pipeline.predict_survival_function(TABLE, return_array=True)
    assert survival.shape == (len(TABLE), len(pipeline[-1].unique_times_))


def test_metrics_and_scorers_of_scikit_survival():
    metrics = pytest.importorskip("sksurv.metrics")
    y = Y.assign(time=DAYS).to_records(index=False)
    found = metrics.concordance_index_censored(y["event"], DAYS, FITTED.predict(X))
    assert_allclose(FITTED.score(X, y), found[0])
    times = np.linspace(20, 300, 8)
    curves = FITTED.predict_survival_function(X)
    survival = np.array([curve(times) for curve in curves])
    scorer = metrics.as_integrated_brier_score_scorer(LSTMSurvival(**SMALL), times)
    assert scorer.fit(X, y).score(X, y) < 0
    assert 0 < metrics.integrated_brier_score(y, y, survival, times) < 1
    scorer = metrics.as_concordance_index_ipcw_scorer(LSTMSurvival(**SMALL), tau=300)
    assert 0 < scorer.fit(X, y).score(X, y) < 1
