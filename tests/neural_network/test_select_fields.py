"""Fields that do not help, of which a training on all rows sees nothing."""

import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Freezer
from skorch.history import History

from sklearn_seqcrm._recurrent.data import _batches
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import (
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
    _ensemble_training,
)
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import future_count, future_sum, time_to_next
from tests.small_networks import SMALL

N_CUSTOMERS, HORIZON = 80, "30D"
CUTOFFS = pd.date_range("2024-03-01", "2024-10-10", freq="30D")
FIELDS = ["amount", "noise", "product", "due", "vector", "seldom"]


def make_events(seed=0):
    """Simulate events of all types of fields, up to four at a time."""
    rng = np.random.default_rng(seed)
    n_events = rng.poisson(25, N_CUSTOMERS) + 1
    customer = np.repeat(np.arange(N_CUSTOMERS), n_events)
    n = len(customer)
    scale = rng.normal(size=N_CUSTOMERS)
    days = rng.uniform(0, 330, n).round(2)
    return pd.DataFrame(
        {
            "customer": customer,
            "time": pd.Timestamp("2024-01-01") + pd.to_timedelta(days, "D"),
            "amount": np.exp(rng.normal(size=n) + scale[customer]),
            "noise": rng.normal(size=n),
            "product": rng.integers(0, 16, n).astype(str),
            "due": pd.to_datetime(rng.integers(19_800, 19_900, n), unit="D"),
            "vector": list(rng.normal(size=(n, 3))),
            "seldom": np.where(rng.random(n) < 0.5, np.nan, rng.normal(size=n)),
        }
    )


EVENTS = make_events()


def attach(events, rows):
    log = EventLog(events, "customer", "time")
    return log.attach(rows.drop(columns="history"), cutoff="cutoff")[rows.columns]


def rows_of(events=EVENTS):
    return EventLog(events, "customer", "time").snapshots(CUTOFFS)


def with_permuted(name, events=EVENTS):
    """Return the events with the values of a field in another order."""
    order = np.random.default_rng(1).permutation(len(events))
    values = events[name].iloc[order].reset_index(drop=True)
    return events.assign(**{name: values})


def small(kind, **params):
    options = {**SMALL, "max_epochs": 3, "validation": "forward", "random_state": 0}
    return make_history_pipeline(kind(**{**options, **params}))


@pytest.fixture
def leave_out(monkeypatch):
    """Return a function that sets the fields that are found useless."""

    def set_fields(*names, is_better=True):
        def loss(net):
            return 1 - is_better if net.left_out else 0.5

        monkeypatch.setattr(
            _ensemble_training, "useless_fields", lambda *args: [list(names)]
        )
        monkeypatch.setattr(_ensemble_training, "_least_loss", loss)

    return set_fields


@pytest.mark.parametrize("moments", [False, "7D"])
@pytest.mark.parametrize("name", FIELDS)
def test_no_output_depends_on_a_field_that_is_left_out(name, moments, leave_out):
    leave_out(name)
    X = rows_of()
    y = future_count(X, HORIZON) > 1
    y.attrs.update(future_count(X, HORIZON).attrs)
    model = small(LSTMClassifier, select_fields=True)
    model.set_params(encoder__moments=moments).fit(X, y)
    assert model[-1].validation_["left_out"] == {"history": [name]}
    before = model.predict_proba(X)
    assert_array_equal(model.predict_proba(attach(with_permuted(name), X)), before)
    others = [other for other in FIELDS if other != name]
    for other in others:
        changed = model.predict_proba(attach(with_permuted(other), X))
        assert np.abs(changed - before).max() > 1e-5, other
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict_proba(X), before)


@pytest.mark.parametrize("kind", ["spend", "count", "time"])
def test_outputs_of_other_tasks_do_not_depend_on_it(kind, leave_out):
    leave_out("amount")
    X = rows_of()
    model, y = {
        "spend": (LSTMRegressor, future_sum(X, "amount", HORIZON)),
        "count": (LSTMRegressor, future_count(X, HORIZON)),
        "time": (LSTMSurvival, time_to_next(X, HORIZON)),
    }[kind]
    loss = {"loss": "poisson"} if kind == "count" else {}
    model = small(model, select_fields=True, **loss).fit(X, y)
    assert model[-1].validation_["left_out"] == {"history": ["amount"]}
    changed = attach(with_permuted("amount"), X)
    assert_array_equal(model.predict(changed), model.predict(X))


def test_each_history_column_has_its_own_fields(monkeypatch, leave_out):
    leave_out()
    monkeypatch.setattr(
        _ensemble_training, "useless_fields", lambda *args: [["amount"], ["noise"]]
    )
    X = rows_of().rename(columns={"history": "first"})
    X["second"] = rows_of()["history"]
    y = future_sum(X, "amount", HORIZON, history="first")
    model = small(LSTMRegressor, select_fields=True).fit(X, y)
    left_out = {"first": ["amount"], "second": ["noise"]}
    assert model[-1].validation_["left_out"] == left_out
    before = model.predict(X)
    for name, column, stays in (
        ("amount", "first", True),
        ("amount", "second", False),
        ("noise", "first", False),
        ("noise", "second", True),
    ):
        changed = rows_of(with_permuted(name))["history"]
        equal = np.array_equal(model.predict(X.assign(**{column: changed})), before)
        assert equal == stays, (name, column)


def test_fields_stay_if_the_loss_is_not_lower_without_them(leave_out):
    X = rows_of()
    y = future_count(X, HORIZON)
    usual = small(LSTMRegressor, loss="poisson").fit(X, y)
    leave_out("amount", is_better=False)
    model = small(LSTMRegressor, loss="poisson", select_fields=True).fit(X, y)
    assert model[-1].validation_ == usual[-1].validation_
    assert model[-1].validation_["left_out"] == {}
    assert_array_equal(model.predict(X), usual.predict(X))


def test_finds_fields_of_noise(monkeypatch):
    """Whether customers buy again depends on their last amount alone."""
    rng = np.random.default_rng(0)
    n_customers, n_cutoffs = 300, len(CUTOFFS)
    n = n_customers * n_cutoffs
    events = pd.DataFrame(
        {
            "customer": np.repeat(np.arange(n_customers), n_cutoffs),
            "time": np.tile(CUTOFFS - pd.Timedelta("1D"), n_customers),
            "amount": rng.normal(size=n),
            "noise": rng.normal(size=n),
            "product": rng.integers(0, 16, n).astype(str),
        }
    )
    log = EventLog(events, "customer", "time", observed_until="2024-12-31")
    X = log.snapshots(CUTOFFS)
    # A target whose horizon is known; its values are those of the last events.
    y = future_count(X, HORIZON)
    order = np.lexsort((X["cutoff"], X["customer"]))
    y.iloc[order] = (events["amount"] > 0).astype("int64").to_numpy()
    found = []
    find = _ensemble_training.useless_fields

    def keep(*args):
        found.append(find(*args))
        return found[-1]

    monkeypatch.setattr(_ensemble_training, "useless_fields", keep)
    options = {"max_epochs": 10, "hidden_size": 8, "learning_rate": 0.01}
    model = small(LSTMClassifier, select_fields=True, **options).fit(X, y)
    assert model.score(X, y) > 0.9
    assert found == [[["noise", "product"]]]


def test_amounts_that_spend_depends_on_are_found(monkeypatch):
    X = rows_of(EVENTS[["customer", "time", "amount", "noise"]])
    y = future_sum(X, "amount", HORIZON)
    found = []
    find = _ensemble_training.useless_fields
    monkeypatch.setattr(
        _ensemble_training,
        "useless_fields",
        lambda *args: found.append(find(*args)) or found[-1],
    )
    small(LSTMRegressor, select_fields=True).fit(X, y)
    assert found == [[["noise"]]]


def test_float64_as_default_dtype(leave_out):
    leave_out("amount")
    X = rows_of()
    y = future_sum(X, "amount", HORIZON)
    usual = small(LSTMRegressor, select_fields=True).fit(X, y).predict(X)
    torch.set_default_dtype(torch.float64)
    try:
        model = small(LSTMRegressor, select_fields=True).fit(X, y)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_array_equal(model.predict(X), usual)


def test_a_second_search_that_diverges_is_ignored(leave_out, monkeypatch):
    X = rows_of()
    y = future_count(X, HORIZON)
    usual = small(LSTMRegressor, loss="poisson").fit(X, y)
    leave_out("amount")
    train = _ensemble_training.train

    def diverging(model, training, epochs=None):
        if training.net.left_out:
            training.net.module_.head[-1].weight.data[:] = np.nan
        train(model, training, epochs)

    monkeypatch.setattr(_ensemble_training, "train", diverging)
    model = small(LSTMRegressor, loss="poisson", select_fields=True).fit(X, y)
    assert model[-1].validation_["left_out"] == {}
    assert_array_equal(model.predict(X), usual.predict(X))


def test_an_interrupted_training_on_all_rows_names_what_is_left_out(
    leave_out, monkeypatch
):
    leave_out("amount")
    X = rows_of()
    y = future_count(X, HORIZON)
    train = _ensemble_training.train

    def interrupted(model, training, epochs=None):
        if training.valid is None:
            raise KeyboardInterrupt
        train(model, training, epochs)

    monkeypatch.setattr(_ensemble_training, "train", interrupted)
    model = small(LSTMRegressor, loss="poisson", select_fields=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model[-1].validation_["left_out"] == {"history": ["amount"]}


def test_frozen_weights_are_continued(leave_out):
    leave_out("amount")
    X = rows_of()
    y = future_count(X, HORIZON)
    options = {"loss": "poisson", "callbacks": [Freezer("readers*")]}
    model = small(LSTMRegressor, select_fields=True, **options).fit(X, y)
    model[-1].partial_fit(model[:-1].transform(X), y)
    changed = attach(with_permuted("amount"), X)
    assert_array_equal(model.predict(changed), model.predict(X))


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"validation": "customers"}, "validation='customers'"),
        ({"refit": False}, "refit=False"),
        ({"early_stopping": False, "validation": "auto"}, "early_stopping=False"),
    ],
)
def test_warning_without_a_training_on_all_rows(params, reason):
    X = rows_of()
    y = future_count(X, HORIZON)
    model = small(LSTMRegressor, select_fields=True, **params)
    with pytest.warns(UserWarning, match=f"like .auto., because of: {reason}"):
        model.fit(X, y)


def test_a_continued_training_does_not_see_the_field_either(leave_out):
    leave_out("amount")
    X = rows_of()
    y = future_count(X, HORIZON)
    model = small(LSTMRegressor, loss="poisson", select_fields=True).fit(X, y)
    encoded = model[:-1].transform(X)
    changed = model[:-1].transform(attach(with_permuted("amount"), X))
    before = model[-1].predict(encoded)
    model[-1].partial_fit(encoded, y)
    assert np.abs(model[-1].predict(encoded) - before).max() > 1e-5
    assert_array_equal(model[-1].predict(changed), model[-1].predict(encoded))
    again = model[-1].set_params(validation="auto", select_fields=False)
    again.set_params(warm_start=True).fit(encoded, y)
    assert again.validation_["by"] == "customers"
    assert again.validation_["left_out"] == {"history": ["amount"]}
    assert_array_equal(again.predict(changed), again.predict(encoded))


def test_an_interrupted_second_search_leaves_the_first_network(leave_out, monkeypatch):
    leave_out("amount")
    X = rows_of()
    y = future_count(X, HORIZON)
    train, calls = _ensemble_training.train, []

    def interrupted(model, training, epochs=None):
        calls.append(training.net)
        if len(calls) == 2:
            raise KeyboardInterrupt
        train(model, training, epochs)

    monkeypatch.setattr(_ensemble_training, "train", interrupted)
    model = small(LSTMRegressor, loss="poisson", select_fields=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model[-1].nets_ == calls[:1]


def test_one_good_epoch_is_not_enough():
    def net(losses):
        history = History()
        for loss in losses:
            history.new_epoch()
            history.record("valid_loss", loss)
        return SimpleNamespace(history=history)

    least_loss = _ensemble_training._least_loss
    steady, lucky = net([0.68, 0.67, 0.66, 0.67]), net([0.64, 0.73, 0.69, 0.67])
    assert least_loss(steady) < least_loss(lucky)
    assert least_loss(net([0.5, 0.7])) == pytest.approx(0.6)
    assert least_loss(net([np.nan])) == np.inf


# Half of the networks without fields --------------------------------------------------


def half(kind, monkeypatch, is_better=True, **params):
    """Return a model whose mean with a network without fields is better, or is not."""
    monkeypatch.setattr(_ensemble_training, "_is_better", lambda *args: is_better)
    return small(kind, select_fields="half", **params)


def only(model, *numbers):
    """Return a copy of a fitted model with some of its networks."""
    copy = pickle.loads(pickle.dumps(model))
    copy[-1].nets_ = [copy[-1].nets_[i] for i in numbers]
    return copy


@pytest.mark.parametrize("moments", [False, "7D"])
def test_half_of_the_networks_see_only_times(moments, monkeypatch):
    X = rows_of()
    y = future_count(X, HORIZON)
    model = half(LSTMRegressor, monkeypatch, loss="poisson", n_networks=3)
    model.set_params(encoder__moments=moments).fit(X, y)
    [left_out] = model[-1].validation_["left_out"].values()
    assert sorted(left_out) == sorted(FIELDS)
    of_each = [only(model, i) for i in range(3)]
    before = [one.predict(X) for one in of_each]
    np.testing.assert_allclose(model.predict(X), np.mean(before, axis=0), rtol=1e-6)
    later = EVENTS.assign(time=EVENTS["time"] + pd.Timedelta("1D"))
    for name in FIELDS:
        changed = attach(with_permuted(name), X)
        differs = [
            np.abs(one.predict(changed) - old).max() > 1e-6
            for one, old in zip(of_each, before, strict=True)
        ]
        assert differs == [True, True, False], name
    for one, old in zip(of_each, before, strict=True):
        assert np.abs(one.predict(attach(later, X)) - old).max() > 1e-6


def test_much_data_has_two_networks_by_default(monkeypatch):
    monkeypatch.setattr(_batches, "_LARGEST_EPOCH", 1)
    X = rows_of()
    y = future_count(X, HORIZON)
    options = {"loss": "poisson", "n_networks": "auto"}
    assert small(LSTMRegressor, **options).fit(X, y)[-1].n_networks_ == 1
    model = half(LSTMRegressor, monkeypatch, **options).fit(X, y)
    assert [bool(net.left_out) for net in model[-1].nets_] == [False, True]


def test_all_networks_see_fields_if_the_mean_is_not_better(monkeypatch):
    X = rows_of()
    y = future_count(X, HORIZON)
    usual = small(LSTMRegressor, loss="poisson", n_networks=2).fit(X, y)
    model = half(LSTMRegressor, monkeypatch, False, loss="poisson", n_networks=2)
    model.fit(X, y)
    assert model[-1].validation_ == usual[-1].validation_
    assert_array_equal(model.predict(X), usual.predict(X))


def test_a_log_without_fields_has_no_second_search(monkeypatch):
    X = rows_of(EVENTS[["customer", "time"]])
    train, trained = _ensemble_training.train, []

    def counted(model, training, epochs=None):
        trained.append(training.net)
        train(model, training, epochs)

    monkeypatch.setattr(_ensemble_training, "train", counted)
    model = small(LSTMRegressor, loss="poisson", select_fields="half")
    model.fit(X, future_count(X, HORIZON))
    assert len(trained) == 2


@pytest.mark.parametrize("is_better", [False, True])
def test_a_single_network_sees_no_fields_if_its_loss_is_lower(is_better, leave_out):
    leave_out(is_better=is_better)  # by three epochs, not by the best one
    X = rows_of()
    model = small(LSTMRegressor, loss="poisson", select_fields="half")
    model.fit(X, future_count(X, HORIZON))
    assert bool(model[-1].validation_["left_out"]) == is_better


def test_a_second_search_that_is_stopped_has_no_effect(monkeypatch):
    X = rows_of()
    y = future_count(X, HORIZON)
    training = _ensemble_training.EnsembleTraining
    train_with = training._train_with_validation

    def stopped(self, left_out=()):
        return train_with(self, left_out) or bool(left_out)

    monkeypatch.setattr(training, "_train_with_validation", stopped)
    model = half(LSTMRegressor, monkeypatch, loss="poisson", n_networks=2).fit(X, y)
    assert [net.left_out for net in model[-1].nets_] == [()]


def test_networks_without_fields_have_their_own_number_of_epochs(monkeypatch):
    monkeypatch.setattr(
        _ensemble_training, "best_n_epochs", lambda net: 1 if net.left_out else 2
    )
    X = rows_of()
    model = half(LSTMRegressor, monkeypatch, loss="poisson", n_networks=3)
    model.fit(X, future_count(X, HORIZON))
    assert [len(net.history) for net in model[-1].nets_] == [2, 2, 1]


class Net:
    """A network with fixed log odds, of the log loss."""

    device = "cpu"

    def __init__(self, *log_odds):
        self.log_odds = np.array(log_odds, "float32")[:, None]

    def outputs(self, data):
        return self.log_odds

    def criterion_(self, log_odds, target):
        assert target.all()
        return torch.log1p(torch.exp(-log_odds[:, 0]))


def test_losses_of_mean_outputs_are_compared_with_weights():
    valid = SimpleNamespace(target=np.ones(2, "float32"), weight=np.array([1.0, 3.0]))
    # Losses of the first (0.05, 1.31), mean 1.00, or 0.68 without weights; of the
    # second (7.00, 0.05), mean 1.79; of the mean (2.13, 0.31): mean 0.77, or 1.22.
    first, second = Net(3, -1), Net(-7, 3)
    is_better = _ensemble_training._is_better
    assert is_better([first, second], first, valid)
    assert not is_better([first, Net(3, -2)], first, valid)
    assert not is_better([first, second, second, second], first, valid)


@pytest.mark.parametrize("depends_on", ["times", "amounts"])
def test_the_loss_of_the_mean_decides(depends_on):
    """Whether customers buy again depends on their last event alone."""
    rng = np.random.default_rng(0)
    n_customers, n_cutoffs = 200, len(CUTOFFS)
    n = n_customers * n_cutoffs
    days = rng.uniform(0.1, 20, n)
    amounts = rng.normal(size=(n, 20))
    events = (
        pd.DataFrame(amounts)
        .add_prefix("amount_")
        .assign(
            customer=np.repeat(np.arange(n_customers), n_cutoffs),
            time=np.tile(CUTOFFS, n_customers) - pd.to_timedelta(days, "D"),
        )
    )
    log = EventLog(events, "customer", "time", observed_until="2024-12-31")
    X = log.snapshots(CUTOFFS)
    y = future_count(X, HORIZON)
    order = np.lexsort((X["cutoff"], X["customer"]))
    # A network of 20 fields of noise overfits a weak effect of times.
    shown = {"times": 1.5 * (days < 10), "amounts": 6.0 * (amounts[:, 0] > 0)}
    odds = shown[depends_on] + rng.logistic(size=n)
    y.iloc[order] = (odds > odds.mean()).astype("int64")
    options = {"max_epochs": 10, "hidden_size": 16, "learning_rate": 0.01}
    model = small(LSTMClassifier, select_fields="half", n_networks=2, **options)
    model.fit(X, y)
    assert bool(model[-1].validation_["left_out"]) == (depends_on == "times")


def test_an_interrupted_training_keeps_the_networks_of_the_mean(monkeypatch):
    X = rows_of()
    y = future_count(X, HORIZON)
    train, searches = _ensemble_training.train, []

    def interrupted(model, training, epochs=None):
        if training.valid is None:
            raise KeyboardInterrupt
        searches.append(training.net)
        train(model, training, epochs)

    monkeypatch.setattr(_ensemble_training, "train", interrupted)
    model = half(LSTMRegressor, monkeypatch, loss="poisson", n_networks=3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    first, second = searches
    assert model[-1].nets_ == [first, first, second]
    assert np.isfinite(model.predict(X)).all()
