"""How much the network is trusted: by those it has not seen, and only outside of
training.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_seqcrm.event_model import LSTMEventModel, _base
from sklearn_seqcrm.event_model._likelihood import calibrate_state_shrinkage
from sklearn_seqcrm.event_model._network import EventNetwork
from sklearn_seqcrm.events import EventLog

N_LEVELS = 12


def baskets(n_customers, n_follow):
    """Six baskets of four things each: so many at a time follow from the first."""
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
    """A small network, and the rows of all customers and of the last half of them."""
    X = EventLog(events, "who", "day").snapshots([6])
    parameters = {"hidden_size": 16, "learning_rate": 0.02, "averaged_steps": 10}
    parameters |= {"max_epochs": 12, "early_stopping": False, "random_state": 0}
    half = len(X) // 2
    model = LSTMEventModel(**parameters | changed).fit(X[:half])
    return model, X[half:]


def trusts(model):
    return [one.shrinkage.clone() for one in model.net_.module_.fields.values()]


@pytest.mark.parametrize("copies", [True, False])
def test_a_network_that_says_too_much_is_shrunken_less(copies):
    """Its softmax of things, for what begins a basket and what goes on with it."""
    model, others = fitted(baskets(60, 1), copies=copies)
    things, shops = model.net_.module_.fields.values()
    with torch.no_grad():
        things.output.weight[:, :16].mul_(30)
        shops.output.weight.zero_()  # says that all are as before
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


def test_a_network_that_is_right_is_shrunken():
    model, others = fitted(baskets(120, 24), max_epochs=30)
    calibrate_state_shrinkage(model.net_, model._read(others))
    things, _ = trusts(model)
    assert_array_equal(things[0], [1.0, 1.0])


def test_fit_asks_those_who_are_set_aside(monkeypatch):
    """Customers who are not in training; without any, the network is trusted."""
    asked = []

    def keep(net, valid):
        asked.append(valid)
        net.module_.fields["0"].shrinkage.fill_(0.5)

    monkeypatch.setattr(_base, "calibrate_state_shrinkage", keep)
    shares = {"early_stopping": True, "validation_fraction": 0.2, "max_epochs": 1}
    model, others = fitted(baskets(60, 1), **shares)
    [valid] = asked
    assert len(valid) == 6
    trusted = model.score(others)
    model.net_.module_.fields["0"].shrinkage.fill_(1.0)
    assert model.score(others) != trusted
    fitted(baskets(60, 1), max_epochs=1)
    assert len(asked) == 1


def test_nothing_is_learned_of_trust_in_training():
    model, _ = fitted(baskets(20, 1))
    module = model.net_.module_
    things = module.fields["0"]
    states, is_tie = torch.ones(2, 16), torch.tensor([False, True])
    things.shrinkage.copy_(torch.tensor([[0.5, 0.25], [0.125, 1.0]]))
    told = things.eval()._shrunken(states, is_tie)
    for one, trust in zip(told, things.shrinkage, strict=True):
        assert_array_equal(one[:, :16], trust[:, None].expand(2, 16))
        assert_array_equal(one[:, 16], [1.0, 0.0])
    for one in things.train()._shrunken(states, is_tie):
        assert_array_equal(one[:, :16], states)


class SeenTrust(Callback):
    """Keeps how far the network is trusted about things when an epoch is judged."""

    seen = []

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(net.module_.fields["0"].shrinkage.clone())


def test_epochs_that_go_on_are_judged_as_the_first_ones():
    """By the network alone, and not by how far another one was trusted."""
    shares = {"early_stopping": True, "validation_fraction": 0.2, "max_epochs": 1}
    model, others = fitted(baskets(60, 1), warm_start=True, **shares)
    model.net_.module_.fields["0"].shrinkage.fill_(0.5)
    SeenTrust.seen.clear()
    model.set_params(callbacks=[SeenTrust()]).fit(others)
    [trust] = SeenTrust.seen
    assert_array_equal(trust, torch.ones(2, 2))


def test_what_is_only_tried_does_not_stay(monkeypatch):
    """Whoever interrupts has what was best so far: here all of what is known."""
    model, others = fitted(baskets(120, 24), max_epochs=30)
    asked, field_log_prob = [], EventNetwork.field_log_prob

    def interrupted(*args):
        asked.append(args)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return field_log_prob(*args)

    monkeypatch.setattr(EventNetwork, "field_log_prob", interrupted)
    with pytest.raises(KeyboardInterrupt):
        calibrate_state_shrinkage(model.net_, model._read(others))
    assert_array_equal(trusts(model)[0], torch.ones(2, 2))


class NoFloat64(TorchDispatchMode):
    """A device without float64, as ``"mps"`` is."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        assert getattr(found, "dtype", None) != torch.float64, func
        return found


def test_a_device_needs_no_float64():
    model, others = fitted(baskets(20, 1), max_epochs=1)
    with NoFloat64():
        calibrate_state_shrinkage(model.net_, model._read(others))
