"""Customers who leave for good: the share that never comes back, and its calibration.

Customers buy at random (Poisson) at rates of their own, gamma distributed, until they
die at random (exponential). The best possible predictions are those of the Pareto/NBD
model with the true parameters: Schmittlein, Morrison and Colombo, "Counting Your
Customers", Management Science 33(1), 1987.
"""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from sklearn_seqcrm._columns import Table
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._never_share import (
    _OFFSETS,
    _choose_offset,
    _record_length,
    calibrate_never_share,
)
from sklearn_seqcrm.events import EventLog

N, END, HORIZON = 1500, 365.0, 182.0
SHAPE, MEAN_RATE = 1.0, 0.05
SMALL = {"hidden_size": 32, "max_epochs": 16, "learning_rate": 0.01, "random_state": 0}


def purchases(death_rate, seed=0):
    """Return times of purchases of customers who come in the first 90 days."""
    rng = np.random.default_rng(seed)
    rate, first = rng.gamma(SHAPE, MEAN_RATE / SHAPE, N), rng.uniform(0, 90, N)
    life = rng.exponential(1 / death_rate, N) if death_rate else np.inf
    end = np.minimum(first + life, END + HORIZON)
    count = rng.poisson(rate * (end - first))
    who = np.repeat(np.arange(N), count)
    times = first[who] + rng.random(len(who)) * (end - first)[who]
    events = pd.DataFrame(
        {"who": np.append(np.arange(N), who), "time": np.append(first, times)}
    )
    return events.sort_values(["who", "time"], ignore_index=True)


def rows_of(events):
    log = EventLog(events[events["time"] < END], "who", "time")
    return log.attach(pd.DataFrame({"who": range(N)}), cutoff=END)


def best_possible(events, death_rate):
    """Return the probability of no purchase in the horizon, and expected purchases."""
    seen = events.loc[events["time"] < END].groupby("who")["time"]
    repeats = seen.size().to_numpy() - 1
    silence, age = END - seen.max().to_numpy(), END - seen.min().to_numpy()
    rate = np.geomspace(1e-5, 1, 500)  # a grid of rates to integrate over
    total = rate + death_rate
    prior = stats.gamma(SHAPE, scale=MEAN_RATE / SHAPE).logpdf(rate) + np.log(rate)
    odds = death_rate / total * np.expm1(np.outer(silence, total).clip(max=600))
    # Likelihood: rate^repeats exp(-total age), alive at END or dead by then.
    log_posterior = np.outer(repeats, np.log(rate)) - np.outer(age, total) + prior
    log_posterior += np.log1p(odds)
    posterior = np.exp(log_posterior - log_posterior.max(axis=1, keepdims=True))
    posterior /= posterior.sum(axis=1, keepdims=True)
    alive = 1 / (1 + odds)
    buys = rate / total * -np.expm1(-total * HORIZON)
    lives = -np.expm1(-death_rate * HORIZON) / death_rate if death_rate else HORIZON
    stays = 1 - (posterior * alive * buys).sum(axis=1)
    return stays, (posterior * alive * rate * lives).sum(axis=1)


def log_loss(stays, came):
    return -np.log(np.where(came, 1 - stays, stays)).mean()


def fitted(death_rate):
    events = purchases(death_rate)
    X = rows_of(events)
    model = LSTMEventModel(**SMALL).fit(X)
    stays, counts = best_possible(events, death_rate)
    curves = model.predict_survival_function(X)
    found = np.array([float(curve(HORIZON)) for curve in curves])
    came = np.isin(np.arange(N), events.loc[events["time"] >= END, "who"])
    return model, X, stays, counts, found, came


def test_the_dead_stay_away():
    model, X, stays, counts, found, came = fitted(1 / 200)
    assert (stays >= 0.99).mean() > 0.3
    assert found[stays >= 0.99].mean() > 0.97
    assert log_loss(found, came) < log_loss(stays, came) + 0.03
    futures = model.sample(X, HORIZON, n_paths=40, random_state=0)
    assert abs(len(futures) / 40 / counts.sum() - 1) < 0.1
    # Paths end as the survival function predicts.
    active = futures.drop_duplicates(["row", "path"])["row"]
    share = np.bincount(active, minlength=N) / 40
    assert_allclose(share.mean(), 1 - found.mean(), atol=0.01)
    # Faithful customers contradict this model, also if one of them has a wrong date.
    density, faithful = model.net_.module_.time, purchases(0.0)
    wrong = pd.DataFrame({"who": [0], "time": [-19000.0]})
    for events in (faithful, pd.concat([faithful, wrong])):
        calibrate_never_share(model.net_, model._learned, Table.of(rows_of(events)))
        assert density.logit_offset[1] < -1


def test_faithful_customers_are_left_alone():
    model, X, stays, counts, found, came = fitted(0.0)
    assert log_loss(found, came) < log_loss(stays, came) + 0.01
    assert_allclose(found.mean(), stays.mean(), atol=0.01)
    futures = model.sample(X, HORIZON, n_paths=40, random_state=0)
    simulated = np.bincount(futures["row"], minlength=N) / 40
    # Busy customers are not regressed to the mean: 1.5 without the rate as an input.
    assert np.sqrt(np.mean((simulated - counts) ** 2)) < 1.25


def test_rows_of_another_unit_of_time():
    """Landmarks were counted in the ticks of the log, as if they were the network's."""
    faithful, start = purchases(0.0), pd.Timestamp("2024-01-01")
    when = start + pd.to_timedelta(faithful.pop("time").round(), unit="D")
    people = pd.DataFrame({"who": range(N)})

    def rows(unit):
        log = EventLog(faithful.assign(when=when.astype(f"M8[{unit}]")), "who", "when")
        return log.attach(people, cutoff=start + pd.Timedelta(END, "D"))

    X = rows("us")
    model = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X)
    offsets = []
    for one in (X, rows("ns"), rows("s")):
        calibrate_never_share(model.net_, model._learned, Table.of(one))
        offsets.append(model.net_.module_.time.logit_offset[1].item())
    assert offsets[0] < -1
    assert offsets == [offsets[0]] * 3


# Parts --------------------------------------------------------------------------------


def losses(best, n=400, curvature=1.0, seed=0):
    """Return losses of rows that are least at an offset in the mean."""
    own = np.random.default_rng(seed).normal(best, 1, (n, 1))
    return curvature * np.square(_OFFSETS - own)


@pytest.mark.parametrize(
    ("best", "chosen"), [(0.02, 0), (1, 1), (-2, -2)], ids=["kept", "more", "fewer"]
)
def test_offsets_are_chosen_if_landmarks_contradict(best, chosen):
    assert _choose_offset(losses(best)) == chosen


def test_offsets_without_evidence_are_0():
    assert _choose_offset(np.zeros((5, len(_OFFSETS)))) == 0
    assert _choose_offset(losses(-1, n=1)) == 0


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([5, 9000, *[7] * 18], 7),
        ([3, 2], 3),
        ([*range(5000)], 4900),
    ],
    ids=["outlier", "few rows", "many rows"],
)
def test_one_wrong_date_does_not_make_the_record_longer(lengths, expected):
    assert _record_length(np.array(lengths)) == expected


def test_the_next_event_is_drawn_for_those_who_never_come_back():
    """What comes next, if it comes at all."""
    events = pd.DataFrame(
        {"who": np.repeat(range(60), 3), "day": [0, 2, 5] * 60, "item": [*"abc"] * 60}
    )
    log = EventLog(events, "who", "day", observed_until=30)
    X = log.attach(pd.DataFrame({"who": range(60)}), cutoff=30)
    model = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X)
    before = model.predict_next(X[:2], "item", n=3)
    model.net_.module_.time.offset_never(30.0)
    found = model.predict_next(X[:2], "item", n=3)
    assert_allclose(found.groupby("row")["probability"].sum(), 1, atol=1e-4)
    assert_allclose(found["probability"], before["probability"], atol=1e-4)
    assert not len(model.sample(X, 1000, n_paths=5, random_state=0))
    curve = model.predict_survival_function(X, return_array=True)
    assert_allclose(curve, 1, atol=1e-6)
    assert (model.demand(X, "item", 1000, n_paths=5)["mean"] == 0).all()


def test_rows_of_one_event_have_no_landmarks():
    X = EventLog(pd.DataFrame({"who": [1, 2], "day": [3, 4]}), "who", "day").attach(
        pd.DataFrame({"who": [1, 2]}), cutoff=5
    )
    model = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X)
    assert_array_equal(model.net_.module_.time.logit_offset, 0)
