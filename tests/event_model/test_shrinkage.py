"""Shrinkage of the state: calibrated on other customers, and off in training."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_seqcrm.event_model import LSTMEventModel, _base
from sklearn_seqcrm.event_model._network import EventNetwork
from sklearn_seqcrm.event_model._shrinkage import calibrate_state_shrinkage
from sklearn_seqcrm.events import EventLog
from tests.other_device import OTHER, OtherTensor, other_device

N_LEVELS = 12


def baskets(n_customers, n_follow):
    """Return six baskets of four products, of which each run follows from its first."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, N_LEVELS, (n_customers, 24 // n_follow, 1))
    things = (first + np.arange(n_follow)) % N_LEVELS
    return pd.DataFrame(
        {
            "who": np.repeat(np.arange(n_customers), 24),
            "day": np.tile(np.repeat(np.arange(6), 4), n_customers),
            "thing": [f"{thing}" for thing in things.ravel()],
            "shop": rng.choice([*"abc"], 24 * n_customers),
        }
    )


def fitted(events, **changed):
    """Return a model fitted on half of the customers, and rows of the others."""
    rows = events[["who"]].drop_duplicates()
    X = EventLog(events, "who", "day").attach(rows, cutoff=events["day"].max() + 1)
    parameters = {"hidden_size": 16, "learning_rate": 0.02, "averaged_steps": 10}
    parameters |= {"max_epochs": 12, "early_stopping": False, "random_state": 0}
    half = len(X) // 2
    model = LSTMEventModel(**parameters | changed).fit(X[:half])
    return model, X[half:]


def factors_of(model):
    return [one.shrinkage.clone() for one in model.net_.module_.fields]


@pytest.mark.parametrize("copies", [True, False])
def test_an_overconfident_softmax_is_shrunk(copies):
    """At new moments and within baskets, and no other field."""
    model, others = fitted(baskets(60, 1), copies=copies)
    things, shops = model.net_.module_.fields
    with torch.no_grad():
        things.output.weight[:, :16].mul_(30)
        shops.output.weight.zero_()  # ignores the state
    before = model.score_events(others)
    calibrate_state_shrinkage(model.net_, model._read(others))
    after = model.score_events(others)
    assert (things.shrinkage[0] < 0.4).all()
    assert_array_equal(shops.shrinkage[0], [1.0, 1.0])
    if not copies:
        assert_array_equal(things.shrinkage[1], [1.0, 1.0])  # there are no gates
    gain = (after - before).groupby(before["event"] % 4 == 0).mean()
    assert (gain["log_prob_thing"] > 0.5).all()
    chosen = things.shrinkage.clone()
    for factor in (0.5, 2):  # more or less of it is worse
        things.shrinkage[0] = chosen[0] * factor
        assert model.score(others) < after["log_prob"].mean() + 1e-3


def test_a_correct_softmax_is_not_shrunk():
    model, others = fitted(baskets(120, 24), max_epochs=30)
    calibrate_state_shrinkage(model.net_, model._read(others))
    things, _ = factors_of(model)
    assert_array_equal(things[0], [1.0, 1.0])


def at_random(n_customers, two_rates=False):
    """Return twelve events of each customer, whose interarrival times are random."""
    rng = np.random.default_rng(0)
    rate = np.where(np.arange(n_customers) % 2, 0.2, 2.0) if two_rates else 1.0
    waits = rng.exponential(np.broadcast_to(1 / rate, (12, n_customers)).T)
    who = np.repeat(np.arange(n_customers), 12)
    events = pd.DataFrame({"who": who, "day": waits.cumsum(axis=1).ravel()})
    return events.assign(day=events["day"] * 99 / events["day"].max())


def mean_state(model, X):
    """Return the mean state before all events but the first, and at the end."""
    events = X["history"].array.rows.log.to_frame()
    events = events[events["who"].isin(X["who"])]
    end, states = events["day"].max() + 1, []
    for n_events in range(1, 13):
        seen = events.groupby("who").head(n_events)
        log = EventLog(seen, "who", "day", observed_until=end)
        rows = log.attach(X[["who"]], cutoff=end)
        states.append(model.transform(rows))
    return torch.tensor(np.mean(states, axis=(0, 1)))


def test_overconfident_times_are_shrunk_towards_the_mean():
    model, others = fitted(at_random(60), max_epochs=3)
    time, center = model.net_.module_.time, mean_state(model, others)
    noise = np.random.default_rng(0).normal(0, 3, (len(time.output.bias), 16))
    noise = torch.tensor(noise.astype("float32"))
    with torch.no_grad():
        time.output.weight[:, :16] += noise
        time.output.bias -= noise @ center
    before = model.score(others)
    calibrate_state_shrinkage(model.net_, model._read(others))
    chosen, after = time.shrinkage.item(), model.score(others)
    assert chosen < 0.4
    assert after > before + 0.1
    assert_allclose(time.center, center, atol=1e-5)
    for factor in (0.5, 2):  # more or less of it is worse
        time.shrinkage.fill_(chosen * factor)
        assert model.score(others) < after + 1e-3


def test_times_that_depend_on_the_state_are_not_shrunk():
    model, others = fitted(at_random(200, two_rates=True))
    calibrate_state_shrinkage(model.net_, model._read(others))
    assert model.net_.module_.time.shrinkage.item() == 1


def test_fit_calibrates_on_validation_customers(monkeypatch):
    """Without any, nothing is shrunk."""
    calls = []

    def keep(net, valid):
        calls.append(valid)
        net.module_.fields[0].shrinkage.fill_(0.5)

    monkeypatch.setattr(_base, "calibrate_state_shrinkage", keep)
    shares = {"early_stopping": True, "validation_fraction": 0.2, "max_epochs": 1}
    model, others = fitted(baskets(60, 1), **shares)
    [valid] = calls
    assert len(valid) == 6
    shrunken = model.score(others)
    model.net_.module_.fields[0].shrinkage.fill_(1.0)
    assert model.score(others) != shrunken
    fitted(baskets(60, 1), max_epochs=1)
    assert len(calls) == 1


def test_training_does_not_shrink():
    model, _ = fitted(baskets(20, 1))
    module = model.net_.module_
    things = module.fields[0]
    states, is_tie = torch.ones(2, 16), torch.tensor([False, True])
    things.shrinkage.copy_(torch.tensor([[0.5, 0.25], [0.125, 1.0]]))
    *found, is_new_moment = things.eval()._shrunken(states, is_tie)
    for one, factor in zip(found, things.shrinkage, strict=True):
        assert_array_equal(one, factor[:, None].expand(2, 16))
    assert_array_equal(is_new_moment, [[1.0], [0.0]])
    *found, _ = things.train()._shrunken(states, is_tie)
    for one in found:
        assert_array_equal(one, states)
    module.time.shrinkage.fill_(0.5)
    assert_array_equal(module.time.eval().shrunken(states), states / 2)
    assert_array_equal(module.time.train().shrunken(states), states)


class SeenShrinkage(Callback):
    """Keeps the shrinkage at the end of each epoch."""

    seen = []

    def on_epoch_end(self, net, **kwargs):
        module = net.module_
        factors = module.fields[0].shrinkage.flatten(), module.time.shrinkage
        self.seen.append(torch.cat(factors))


def test_continued_training_validates_without_shrinkage():
    """Early stopping compares the weights alone, which old factors do not fit."""
    shares = {"early_stopping": True, "validation_fraction": 0.2, "max_epochs": 1}
    model, others = fitted(baskets(60, 1), warm_start=True, **shares)
    time, things = model.net_.module_.time, model.net_.module_.fields[0]
    SeenShrinkage.seen.clear()
    model.set_params(callbacks=[SeenShrinkage()])
    for early_stopping in (True, False):
        time.shrinkage.fill_(0.3)
        things.shrinkage.fill_(0.5)
        model.set_params(early_stopping=early_stopping).fit(others)
    assert_array_equal(torch.stack(SeenShrinkage.seen), torch.ones(2, 5))
    assert (time.shrinkage == 1).all()
    assert (things.shrinkage == 1).all()


def test_interrupted_calibration_keeps_the_best_factors(monkeypatch):
    """Here no shrinkage."""
    model, others = fitted(baskets(120, 24), max_epochs=30)
    calls, field_log_prob = [], EventNetwork.field_log_prob

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return field_log_prob(*args)

    monkeypatch.setattr(EventNetwork, "field_log_prob", interrupted)
    with pytest.raises(KeyboardInterrupt):
        calibrate_state_shrinkage(model.net_, model._read(others))
    assert_array_equal(factors_of(model)[0], torch.ones(2, 2))


class NoFloat64(TorchDispatchMode):
    """The other device lacks float64, as ``"mps"`` does."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, OtherTensor):
            assert found.dtype != torch.float64, func
        return found


def test_a_device_needs_no_float64(monkeypatch):
    with other_device(monkeypatch), NoFloat64():
        model, others = fitted(baskets(20, 1), max_epochs=1, device=OTHER)
        calibrate_state_shrinkage(model.net_, model._read(others))
