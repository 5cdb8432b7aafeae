"""Several networks in one estimator: means, seeds and continued training."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback

from sklearn_seqcrm._recurrent.data import _batches, automatic_n_networks
from sklearn_seqcrm._recurrent.data._inputs import read_inputs
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor, LSTMSurvival
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_table, make_y

SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 2, "random_state": 0}
RAW = make_table()
X = HistoryEncoder().fit_transform(RAW)[["history"]].assign(number=np.arange(len(RAW)))
Y = make_y(X, ["a", "b", "c"])
COUNTS = np.random.default_rng(0).poisson(2, len(X)).astype(float)


class Watch(Callback):
    """Note the rows of each training."""

    seen = []

    def on_train_begin(self, net, X, **kwargs):
        self.seen.append(tuple(data and frozenset(data.static[:, -1]) for data in X))


def outputs(model):
    """Outputs of each network."""
    sums = model._objective.is_linear
    rows = read_inputs(model, X, reset=False, sums=sums).data
    return [net.outputs(rows).astype("float64") for net in model.nets_]


def test_probabilities_are_the_mean_over_the_networks():
    model = LSTMClassifier(**SMALL, n_networks=3).fit(X, Y)
    each = [softmax(one, axis=1) for one in outputs(model)]
    assert np.std(each, axis=0).min() > 1e-6
    mean = sum(each) / 3
    assert_allclose(model.predict_proba(X), mean, rtol=1e-12)
    assert_array_equal(model.predict(X), model.classes_[mean.argmax(axis=1)])


def test_survival_is_the_mean_over_the_networks():
    kind, time = np.arange(len(X)) % 3, 1.0 + np.arange(len(X)) % 7
    y = pd.DataFrame({"event": kind, "time": time})
    model = LSTMSurvival(**SMALL, n_networks=3, bins=[2.0, 4.0, 8.0]).fit(X, y)
    found = model.predict_cumulative_incidence(X)
    nets, each = model.nets_, []
    for net in nets:
        model.nets_ = [net]
        each.append(model.predict_cumulative_incidence(X))
    assert np.std(each, axis=0)[..., 1:].min() > 1e-6
    assert_allclose(found, np.mean(each, axis=0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "poisson"])
@pytest.mark.parametrize("size", [1.0, 1e307])
def test_numbers_are_the_mean_over_the_networks(loss, size):
    y = COUNTS * size
    model = LSTMRegressor(**SMALL, n_networks=3, loss=loss).fit(X, y)
    predicted = model.predict(X)
    each = []
    for net in model.nets_:
        alone = clone(model).fit(X, y)
        alone.nets_ = [net]
        each.append(alone.predict(X))
    assert np.std(np.divide(each, size), axis=0).min() > 1e-6
    assert_allclose(predicted / size, np.mean(np.divide(each, size), axis=0))
    assert np.isfinite(predicted).all()


def test_networks_have_different_weights_and_validation_customers():
    Watch.seen.clear()
    model = LSTMClassifier(**SMALL, early_stopping=True, callbacks=[Watch()])
    model.set_params(n_networks=4, validation_fraction=0.4).fit(X, Y)
    several = [*Watch.seen]
    assert len({aside for _, aside in several}) == 4
    for learnt_from, aside in several:
        assert learnt_from | aside == {*range(len(X))}
    # The first is the one that a single network is.
    first = outputs(model)[0]
    model.set_params(n_networks=1).fit(X, Y)
    assert_array_equal(outputs(model)[0], first)
    assert Watch.seen[4] == several[0]


@pytest.mark.parametrize("estimator", [LSTMClassifier, LSTMRegressor])
def test_repeats_and_survives_pickle(estimator):
    def predictions(model):
        numbers = hasattr(model, "predict_proba")
        return model.predict_proba(X) if numbers else model.predict(X)

    y = Y if estimator is LSTMClassifier else COUNTS
    model = estimator(**SMALL, n_networks=2).fit(X, y)
    assert_array_equal(predictions(clone(model).fit(X, y)), predictions(model))
    back = pickle.loads(pickle.dumps(model))
    assert_array_equal(predictions(back), predictions(model))
    for one in (model, back):
        one.set_params(warm_start=True).fit(X, y)
    assert_array_equal(predictions(back), predictions(model))


@pytest.mark.parametrize("again", ["fit", "partial_fit"])
def test_training_of_all_networks_continues(again):
    model = LSTMRegressor(**SMALL, n_networks=3, warm_start=True).fit(X, COUNTS)
    nets, before = [*model.nets_], outputs(model)
    getattr(model, again)(X, COUNTS)
    assert [*map(id, model.nets_)] == [*map(id, nets)]
    for one, other in zip(before, outputs(model), strict=True):
        assert np.abs(one - other).max() > 1e-5
    assert model.n_iter_ == {"fit": 4, "partial_fit": 3}[again]


def test_the_first_partial_fit_is_a_fit_of_one_epoch():
    params = {**SMALL, "n_networks": 2, "max_epochs": 1, "early_stopping": False}
    calls = LSTMRegressor(**params).partial_fit(X, COUNTS)
    assert_array_equal(
        calls.predict(X), LSTMRegressor(**params).fit(X, COUNTS).predict(X)
    )


def test_number_of_epochs_is_the_most_of_any_network():
    model = LSTMClassifier(**{**SMALL, "max_epochs": 30}, n_networks=4)
    model.set_params(early_stopping=True, n_iter_no_change=1, learning_rate=0.05)
    model.fit(X, Y)
    n_epochs = [len(net.history) for net in model.nets_]
    assert len(set(n_epochs)) > 1
    assert model.n_iter_ == max(n_epochs)


def test_sample_weights_apply_to_every_network():
    weight = np.where(np.arange(len(X)) % 3 == 0, 0.0, 1.0)
    model = LSTMRegressor(**SMALL, n_networks=2, early_stopping=False)
    weighted = clone(model).fit(X, COUNTS, weight)
    without = clone(model).fit(X[weight > 0], COUNTS[weight > 0])
    assert_allclose(outputs(weighted), outputs(without), rtol=1e-5, atol=1e-6)


def test_a_network_that_diverges_ends_the_fit():
    class Diverge(Callback):
        n_fits = []

        def on_train_end(self, net, **kwargs):
            self.n_fits.append(net)
            if len(self.n_fits) == 2:
                net.module_.head[-1].bias.data.fill_(np.nan)

    model = LSTMRegressor(**SMALL, n_networks=3, callbacks=[Diverge()])
    with pytest.raises(ValueError, match="Training diverged in 2 epochs"):
        model.fit(X, COUNTS)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_callbacks_of_scikit_learn_see_the_networks_so_far():
    pytest.importorskip("sklearn.callback")  # scikit-learn 1.9

    class Look:
        """Predict after each epoch, and stop after one of them."""

        def __init__(self, last=None):
            self.last, self.seen = last, []

        def setup(self, estimator, context):
            self.n_most = context.max_subtasks

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.task_name != "epoch":
                return False
            self.seen.append((len(fitted_estimator.nets_), fitted_estimator.predict(X)))
            return context.task_id == self.last

    look, model = Look(), LSTMRegressor(**SMALL, n_networks=3, early_stopping=False)
    model.set_callbacks(look).fit(X, COUNTS)
    assert look.n_most == 6
    assert [n for n, _ in look.seen] == [1, 1, 2, 2, 3, 3]
    assert_allclose(look.seen[-1][1], model.predict(X), rtol=1e-6)
    model.set_callbacks(stop := Look(last=3)).fit(X, COUNTS)
    assert len(stop.seen) == 4
    assert len(model.nets_) == 2
    assert_allclose(model.predict(X), look.seen[3][1], rtol=1e-6)


# The automatic number ------------------------------------------------------------


def size_of_an_epoch(frame, share):
    """Rows, and the events of the longest row of each customer or of every row."""
    lengths = np.array([len(history) for history in frame["history"]])
    if not share:
        return len(frame) + lengths.sum()
    customers = read_inputs(LSTMClassifier(), frame, reset=True).customers()
    return len(frame) + sum(lengths[customers == one].max() for one in set(customers))


@pytest.mark.parametrize("share", [True, False])
def test_automatic_number_follows_from_rows_and_steps(share, monkeypatch):
    size = size_of_an_epoch(X, share)
    assert size != size_of_an_epoch(X, not share)
    data = read_inputs(LSTMClassifier(), X, reset=True).data
    for most, expected in [
        (100 * size, 5),
        (5 * size, 5),
        (5 * size - 1, 4),
        (2 * size, 2),
        (2 * size - 1, 1),
        (1, 1),
    ]:
        monkeypatch.setattr(_batches, "_LARGEST_EPOCH", most)
        assert automatic_n_networks(data, share) == expected


def n_steps(table, share):
    """Events of rows; of rows of a customer that start at the same event, the most."""
    found = {}
    for row, (who, history) in enumerate(
        zip(table["who"], table["history"], strict=True)
    ):
        first = history.times[0] if len(history) and share else row
        found[who, first] = max(len(history), found.get((who, first), 0))
    return sum(found.values())


@pytest.mark.parametrize("share", [True, False])
def test_steps_of_all_history_columns_count(share, monkeypatch):
    recent = make_table(lookback="300D")
    size = len(RAW) + n_steps(RAW, share) + n_steps(recent, share)
    both = RAW[["history"]].assign(recent=recent["history"])
    both = HistoryEncoder().fit_transform(both)
    for frame in (both, both[["recent", "history"]]):
        data = read_inputs(LSTMClassifier(), frame, reset=True).data
        for most, expected in [(2 * size, 2), (2 * size - 1, 1)]:
            monkeypatch.setattr(_batches, "_LARGEST_EPOCH", most)
            assert automatic_n_networks(data, share) == expected


def test_by_default_few_rows_have_five_networks():
    model = LSTMClassifier(**SMALL).fit(X, Y)
    assert model.n_networks_ == len(model.nets_) == 5
    five = clone(model).set_params(n_networks=5).fit(X, Y)
    assert_array_equal(model.predict_proba(X), five.predict_proba(X))
    assert model.n_networks == "auto"


def test_of_rows_without_a_history_only_rows_count(monkeypatch):
    plain = X[["number"]].to_numpy()
    monkeypatch.setattr(_batches, "_LARGEST_EPOCH", 3 * len(plain))
    assert LSTMRegressor(**SMALL).fit(plain, COUNTS).n_networks_ == 3


def test_rows_of_weight_0_do_not_change_the_number(monkeypatch):
    weight = (np.arange(len(X)) % 3 > 0).astype(float)
    kept = X[weight > 0]
    size = size_of_an_epoch(kept, share=True)
    assert size < size_of_an_epoch(X, share=True)
    monkeypatch.setattr(_batches, "_LARGEST_EPOCH", 2 * size)
    model = LSTMRegressor(**SMALL, early_stopping=False)
    assert model.fit(X, COUNTS, weight).n_networks_ == 2
    assert model.fit(kept, COUNTS[weight > 0]).n_networks_ == 2


def test_one_network_if_the_rows_are_a_part_or_a_callback_observes():
    assert LSTMRegressor(**SMALL).partial_fit(X, COUNTS).n_networks_ == 1
    assert LSTMRegressor(**SMALL, callbacks=[Watch()]).fit(X, COUNTS).n_networks_ == 1


def test_a_continued_training_keeps_its_networks(monkeypatch):
    model = LSTMRegressor(**SMALL, warm_start=True).fit(X, COUNTS)
    nets = [*model.nets_]
    monkeypatch.setattr(_batches, "_LARGEST_EPOCH", 1)
    for again in (model.fit, model.partial_fit):
        assert [*map(id, again(X, COUNTS).nets_)] == [*map(id, nets)]
    for number in (5, "auto"):
        model.set_params(n_networks=number).fit(X, COUNTS)
    with pytest.raises(ValueError, match="continues with n_networks=5; got 4"):
        model.set_params(n_networks=4).fit(X, COUNTS)
    model = LSTMRegressor(**SMALL, n_networks=2, warm_start=True).fit(X, COUNTS)
    model.set_params(n_networks="auto").fit(X, COUNTS)
    assert model.n_networks_ == 2


@pytest.mark.parametrize("name", ["n_networks_", "net_"])
def test_before_fit_the_error_names_the_attribute(name):
    with pytest.raises(AttributeError, match=f"'LSTMClassifier'.* attribute '{name}'"):
        getattr(LSTMClassifier(), name)


def test_other_numbers_of_networks_are_refused():
    for number in (0, "many", 1.5):
        with pytest.raises(ValueError, match="The 'n_networks' parameter"):
            LSTMClassifier(n_networks=number).fit(X, Y)


def test_verbose_names_each_training(capsys):
    model = LSTMClassifier(**SMALL, n_networks=2, verbose=1, early_stopping=False)
    model.fit(X, Y)
    printed = [line for line in capsys.readouterr().out.splitlines() if "Net" in line]
    assert printed == ["Network 1 of 2", "Network 2 of 2"]
    model.set_params(verbose=0).fit(X, Y)
    assert capsys.readouterr().out == ""
