"""Validation rows, and the epoch whose weights are kept."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_seqcrm._recurrent.training import _set_aside
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier, _ensemble_training
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import DAY, make_events, make_table, make_y
from tests.neural_network import forward_rows
from tests.neural_network.small_fits import Watcher, X, Y, fit_and_see
from tests.small_networks import EXACT, SMALL


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e3])
def test_weights_of_either_part_have_a_mean_of_1(size):
    """Otherwise the validation loss would depend on the unit of the weights."""
    weight = size * (1 + X["number"].to_numpy()) ** 2
    model = LSTMClassifier(**EXACT, early_stopping=True, validation_fraction=0.3)
    fit, seen = fit_and_see(model, X, Y, sample_weight=weight)
    for part in seen[0]:
        assert np.ptp(part.weight) > 0.1
        assert_allclose(part.weight.mean(), 1, rtol=1e-6)
        assert part.weight.dtype == "float32"
    in_units, _ = fit_and_see(model, X, Y, sample_weight=weight / size)
    losses = [net.net_.history[:, "valid_loss"] for net in (fit, in_units)]
    assert_allclose(*losses, rtol=1e-5)
    # The validation loss is the weighted mean of the losses of the rows.
    rows = seen[0][1]
    fit.net_.module_.set_shift(None)  # learned after the last epoch
    odds = fit.net_.outputs(rows).astype("float64")
    each = np.logaddexp(*odds.T) - odds[np.arange(len(rows)), rows.target]
    best = min(fit.net_.history[:, "valid_loss"])
    assert_allclose(best, np.average(each, weights=rows.weight), rtol=1e-5)


def customers_on_each_side(frame, y, fraction=0.4, seed=0):
    model = LSTMClassifier(**SMALL, early_stopping=True, validation_fraction=fraction)
    _, seen = fit_and_see(model.set_params(random_state=seed), frame, y)
    assert len(seen[0][0]) + len(seen[0][1]) == len(frame)
    return tuple(set(part.static[:, -1]) for part in seen[0])


def test_early_stopping_never_splits_a_customer():
    known = X["history"].array.rows.codes >= 0
    for seed in range(3):
        train, valid = customers_on_each_side(X[known], Y[known], 0.3, seed)
        assert not train & valid
        assert len(valid) == 3


def test_customers_known_to_the_second_log_only_are_not_split():
    first = EventLog(make_events().query("who < 'c3'"), "who", "when")
    second = EventLog(make_events(), "who", "when")
    table = make_table().drop(columns="history")
    table = second.attach(first.attach(table, cutoff="at"), cutoff="at", name="b")
    frame = HistoryEncoder().fit_transform(table)[["history", "b"]]
    frame["number"] = pd.factorize(table["who"])[0]
    known = table["who"].str.startswith("c").to_numpy()
    for seed in range(3):
        train, valid = customers_on_each_side(frame[known], Y[known], seed=seed)
        assert not train & valid


def test_customers_of_two_stacked_logs_are_not_split():
    """A customer in two logs of other amounts has two segments after a concat."""
    second = make_events().assign(amount=lambda events: events["amount"] + 1)
    log = EventLog(second, "who", "when")
    halves = [
        make_table(),
        log.attach(make_table().drop(columns="history"), "who", "at"),
    ]
    table = pd.concat(halves, ignore_index=True)
    frame = HistoryEncoder().fit_transform(table)[["history"]]
    assert not frame["history"].array.log.customers.is_unique
    frame["number"] = pd.factorize(table["who"])[0]
    known = table["who"].str.startswith("c").to_numpy()
    train, valid = customers_on_each_side(frame[known], make_y(frame)[known])
    assert not train & valid


def test_customers_are_not_split_with_histories_of_several_entities():
    """The first history is of sessions of one row; the second is of customers."""
    table = make_table().drop(columns="history")
    table = table[table["who"].str.startswith("c")].reset_index(drop=True)
    table["session"] = table.index
    visits = pd.DataFrame({"session": table.index, "when": table["at"] - DAY})
    sessions = EventLog(visits, "session", "when")
    whole = EventLog(make_events(), "who", "when")
    table = sessions.attach(table, "session", "at", name="visit")
    table = whole.attach(table, "who", "at", name="orders")
    frame = HistoryEncoder().fit_transform(table)[["visit", "orders"]]
    frame["number"] = pd.factorize(table["who"])[0]
    train, valid = customers_on_each_side(frame, make_y(frame))
    assert valid
    assert not train & valid


def test_rows_are_set_aside_only_with_early_stopping(monkeypatch):
    _, seen = fit_and_see(LSTMClassifier(**SMALL), X, Y)
    assert seen[0][1] is None
    assert len(seen[0][0]) == len(X)
    monkeypatch.setattr(_set_aside, "_ROWS_TO_STOP_EARLY", len(X))
    _, seen = fit_and_see(LSTMClassifier(**SMALL), X, Y)
    assert seen[0][1] is not None
    _, seen = fit_and_see(LSTMClassifier(**SMALL, early_stopping=False), X, Y)
    assert seen[0][1] is None
    # With one customer, none is set aside.
    one = X[X["number"] == 3]
    _, seen = fit_and_see(LSTMClassifier(**SMALL), one, [0, 1, 0, 1])
    assert seen[0][1] is None


def test_a_fit_warns_if_a_second_history_connects_all_rows(monkeypatch):
    """All customers bought in one shop, whose history is in each row."""
    table = make_table()
    visits = pd.DataFrame({"shop": "s", "when": table["at"] - DAY})
    table = EventLog(visits, "shop", "when").attach(
        table.assign(shop="s"), "shop", "at", name="visits"
    )
    both = HistoryEncoder().fit_transform(table)[["history", "visits"]]
    model = LSTMClassifier(**SMALL)
    model.fit(both, Y)  # too few rows to stop early, connected or not
    monkeypatch.setattr(_set_aside, "_ROWS_TO_STOP_EARLY", len(both))
    with pytest.warns(UserWarning, match=r"None of the 48 rows.*in common.*horizon="):
        model.fit(both, Y)
    model.set_params(horizon="1D").fit(both[["history"]], Y)
    model.set_params(early_stopping=False).fit(both, Y)


def test_the_best_epoch_is_restored():
    noise = np.random.default_rng(0).integers(0, 2, len(X))
    model = LSTMClassifier(**{**SMALL, "max_epochs": 60, "learning_rate": 0.05})
    model.set_params(early_stopping=True, validation_fraction=0.4, n_iter_no_change=4)
    model, seen = fit_and_see(model, X, noise)
    losses, weights = zip(*seen[1:], strict=True)
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 4 == model.n_iter_
    assert len(losses) < 60
    for name, tensor in model.net_.module_.state_dict().items():
        assert torch.equal(tensor, weights[best][name])
    assert not all(
        torch.equal(tensor, weights[-1][name])
        for name, tensor in model.net_.module_.state_dict().items()
    )


class Losses(Watcher):
    """Record the losses of validation rows, whose last static is the customer."""

    def on_epoch_end(self, net, dataset_valid=None, **kwargs):
        if dataset_valid is not None:
            outputs, target = net.outputs(dataset_valid), dataset_valid.target
            each = net.criterion_(torch.from_numpy(outputs), torch.from_numpy(target))
            columns = {"loss": each, "weight": dataset_valid.weight}
            table = pd.DataFrame(columns | {"number": dataset_valid.static[:, -1]})
            self.seen.append(table)


def epochs_by_a_loop(seen, groups):
    """Return whether each epoch is within one standard error, or a tenth of the range.

    `groups` takes the table of the validation rows, and returns a group for each.
    """
    means = [np.average(table["loss"], weights=table["weight"]) for table in seen]
    best, found = seen[np.argmin(means)], []
    for table, mean in zip(seen, means, strict=True):
        above, weight = table["loss"] - best["loss"], table["weight"]
        rests = weight * (above - np.average(above, weights=weight))
        error = np.sqrt((rests.groupby(groups(table)).sum() ** 2).sum()) / weight.sum()
        found.append(mean - min(means) <= max(error, 0.1 * np.ptp(means)))
    return found


def test_epochs_as_good_as_the_best_are_found_by_customers(monkeypatch):
    nets = []

    def keep(net):
        nets.append(net)
        return 1

    monkeypatch.setattr(_ensemble_training, "best_n_epochs", keep)
    rows = forward_rows.X[["history"]].assign(number=forward_rows.RAW["who"] + 0.5)
    weight = np.random.default_rng(2).uniform(0.1, 3, len(rows))
    options = {"max_epochs": 30, "validation_fraction": 0.4, "learning_rate": 0.03}
    model = LSTMClassifier(**{**SMALL, **options}, validation="forward")
    model.set_params(callbacks=[Losses(seen := [])], n_iter_no_change=30)
    model.fit(rows, forward_rows.Y, sample_weight=weight)
    found = nets[0].history[:, "is_as_good"]
    assert found == epochs_by_a_loop(seen, lambda table: table["number"])
    # Rows of one customer are one group, and the standard error decides.
    assert found != epochs_by_a_loop(seen, lambda table: table.index)
    assert found != epochs_by_a_loop(seen, lambda table: table["number"] * 0)
