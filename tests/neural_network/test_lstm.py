import copy

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    LRScheduler,
)

from sklearn_seqcrm._recurrent.data import (
    BatchIterator,
    _batches,
    automatic_batch_size,
    read_inputs,
    steps_of_parts,
)
from sklearn_seqcrm._recurrent.network import _reader
from sklearn_seqcrm._recurrent.objectives import Objective
from sklearn_seqcrm._recurrent.training import _net, _training
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import DAY, make_events, make_table, make_y

SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 2, "random_state": 0}
# Whole batches and no dropout: then the order of rows makes no difference.
EXACT = {**SMALL, "dropout": 0.0, "batch_size": 10_000, "learning_rate": 0.01}


def make_frame(n_customers=10, **options):
    """Encoded histories, and the number of the customer as the last static."""
    table = make_table(n_customers, **options)
    number = pd.factorize(table["who"])[0]
    return HistoryEncoder().fit_transform(table)[["history"]].assign(number=number)


X = make_frame()
Y = make_y(X)
COUNTS = np.random.default_rng(0).poisson(2, len(X)).astype(float)


class Watcher(Callback):
    """Record of callbacks. Fits copy callbacks, so that the list is shared."""

    def __init__(self, seen):
        self.seen = seen

    def __deepcopy__(self, memo):
        return type(self)(self.seen)


class Spy(Watcher):
    """Shows what a fit works on."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.seen.append(X)

    def on_epoch_end(self, net, **kwargs):
        weights = copy.deepcopy(net.module_.state_dict())
        self.seen.append((net.history[-1].get("valid_loss"), weights))


def fit_and_see(model, X, y, **fit_params):
    seen = []
    model = clone(model).set_params(callbacks=[Spy(seen)])
    return model.fit(X, y, **fit_params), seen


# Targets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes",
    [[0, 1], [5, -1], [1.0, 2.0], ["yes", "no"], [True, False], [*"abcd"], [2, 0, 1]],
)
def test_labels_of_any_type(classes):
    y = make_y(X, np.array(classes))
    model = LSTMClassifier(**SMALL).fit(X, y)
    assert_array_equal(model.classes_, np.unique(y))
    assert model.classes_.dtype == y.dtype
    shares = model.predict_proba(X)
    assert shares.dtype == "float64"
    assert shares.shape == (len(X), len(classes))
    assert_allclose(shares.sum(axis=1), 1)
    assert_array_equal(model.predict(X), model.classes_[shares.argmax(axis=1)])


@pytest.mark.parametrize(
    "container",
    [
        list,
        pd.Series,
        lambda y: pd.Series(y, dtype="category"),
        lambda y: pd.Series(y, dtype="object"),
        lambda y: pd.array(y, "string"),
    ],
)
def test_containers_of_labels(container):
    y = make_y(X, ["yes", "no"])
    expected = LSTMClassifier(**SMALL).fit(X, y).predict_proba(X)
    model = LSTMClassifier(**SMALL).fit(X, container(y.tolist()))
    assert list(model.classes_) == ["no", "yes"]
    assert_array_equal(model.predict_proba(X), expected)


@pytest.mark.parametrize("dtype", ["int8", "float32", "Int64", "Float64", "boolean"])
def test_numbers_of_any_type(dtype):
    y = pd.Series(Y).astype(dtype)
    expected = LSTMRegressor(**SMALL).fit(X, Y).predict(X)
    assert_array_equal(LSTMRegressor(**SMALL).fit(X, y).predict(X), expected)


def test_it_learns_from_histories():
    table = make_table(n_customers=40, seed=2)
    y = np.array([len(h) > 3 for h in table["history"]])
    model = LSTMClassifier(
        hidden_size=8, learning_rate=0.02, max_epochs=50, random_state=0
    )
    model = make_history_pipeline(model).fit(table[["history"]], y)
    assert model.score(table[["history"]], y) > 0.95


def test_it_learns_the_order_of_events():
    """Two groups of customers whose events differ only in their order."""
    n = 60
    kinds = np.tile(["p", "q"], (n, 2))
    kinds[n // 2 :] = ["q", "p", "p", "q"]
    events = pd.DataFrame(
        {"who": np.repeat(np.arange(n), 4), "time": np.tile(range(4), n)}
    ).assign(kind=kinds.ravel())
    table = EventLog(events, "who", "time").attach(
        pd.DataFrame({"who": range(n)}), cutoff=9
    )
    y = np.arange(n) >= n // 2
    model = LSTMClassifier(
        hidden_size=8, head_sizes=(), learning_rate=0.05, random_state=0
    )
    model = make_history_pipeline(model).fit(table, y)
    assert model.score(table, y) == 1


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("squared_error", 4.0), ("absolute_error", 1.0), ("poisson", 4.0)],
)
def test_losses_predict_the_mean_or_the_median(loss, expected):
    y = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 24.0])
    model = LSTMRegressor(
        **{**EXACT, "max_epochs": 150, "learning_rate": 0.02}, loss=loss
    )
    predicted = model.fit(np.zeros((7, 1)), y).predict(np.zeros((2, 1)))
    assert predicted.dtype == "float64"
    assert_allclose(predicted, expected, rtol=0.1)


@pytest.mark.parametrize(
    ("loss", "zero"),
    [("squared_error", -5e6), ("absolute_error", -5e6), ("poisson", 0)],
)
def test_predictions_follow_the_unit_and_the_zero_of_the_target(loss, zero):
    model = LSTMRegressor(**EXACT, loss=loss)
    expected = clone(model).fit(X, COUNTS).predict(X)
    assert loss != "poisson" or (expected > 0).all()
    moved = clone(model).fit(X, 1e6 * COUNTS + zero).predict(X)
    assert_allclose(moved, 1e6 * expected + zero, rtol=1e-4, atol=abs(zero) / 5e4)


class Means(Objective):
    """The means of two columns."""

    name, n_outputs = "means", 2

    def read(self, y):
        return np.asarray(y, dtype="float32")

    def learn(self, y, weight):
        self.start = np.average(y, axis=0, weights=weight)

    def encode(self, y, weight):
        return y

    def start_bias(self, target, weight):
        return self.start

    def forward(self, outputs, target):
        return ((outputs - target) ** 2).sum(dim=1)

    def predict(self, outputs):
        return outputs


def test_targets_and_outputs_may_be_several(monkeypatch):
    monkeypatch.setattr(_batches, "_STATES_TO_TRAIN", 80)  # parts of batches
    seen, y = [], np.column_stack([COUNTS, 9 - COUNTS])
    model = LSTMRegressor(**SMALL, early_stopping=True, callbacks=[Spy(seen)])
    model._fit(X, y, 1 + X["number"], Means())
    assert_allclose(model.predict(X).mean(axis=0), [2, 7], atol=1)
    rows = seen[0][1]
    each = ((model.net_.outputs(rows) - rows.target) ** 2).sum(axis=1)
    valid_loss = min(model.net_.history[:, "valid_loss"])
    assert_allclose(valid_loss, np.average(each, weights=rows.weight), rtol=1e-5)


def test_a_network_starts_from_the_best_constant_prediction():
    rare = (np.arange(len(X)) < 3).astype(int)
    model = LSTMClassifier(
        **{**SMALL, "learning_rate": 1e-9, "head_sizes": ()}, weight_decay=0
    )
    model.fit(X, rare)
    bias = model.net_.module_.head[-1].bias.detach().numpy()
    assert_allclose(np.exp(bias) / np.exp(bias).sum(), [45 / 48, 3 / 48], rtol=1e-4)


# Weights ------------------------------------------------------------------------------

WHOLE = {**EXACT, "max_epochs": 8, "early_stopping": False}
MODELS = {
    "classifier": LSTMClassifier(**WHOLE),
    "squared": LSTMRegressor(**WHOLE),
    "absolute": LSTMRegressor(**WHOLE, loss="absolute_error"),
    "poisson": LSTMRegressor(**WHOLE, loss="poisson"),
}


def outputs(model, X):
    return getattr(model, "predict_proba", model.predict)(X)


def target_of(name):
    return Y if name == "classifier" else COUNTS


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("plain", [False, True])
def test_an_integer_weight_equals_copies_of_the_row(name, plain):
    """A weight of 0 is no copy. In full batches steps are equal up to rounding."""
    rows = np.random.default_rng(0).normal(size=(len(X), 3)) if plain else X
    y = target_of(name)
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    copies = np.repeat(np.arange(len(y)), weight)
    copied = rows[copies] if plain else rows.iloc[copies]
    of_copies = clone(MODELS[name]).fit(copied, y[copies])
    weighted = clone(MODELS[name]).fit(rows, y, sample_weight=weight)
    unweighted = clone(MODELS[name]).fit(rows, y)
    expected = outputs(of_copies, rows)
    assert np.abs(outputs(unweighted, rows) - expected).max() > 0.01
    # At the median gradients cancel to 0 or to 1e-9; AdamW scales up the latter.
    tolerance = 2e-3 if name == "absolute" else 1e-4
    assert_allclose(outputs(weighted, rows), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_equal_weights_have_no_effect(name):
    y = target_of(name)
    weighted = clone(MODELS[name]).fit(X, y, sample_weight=np.full(len(y), 0.25))
    expected = outputs(clone(MODELS[name]).fit(X, y), X)
    assert_allclose(outputs(weighted, X), expected, rtol=1e-5, atol=1e-5)


def test_rows_of_weight_zero_have_no_effect():
    weight = (X["number"] % 2).to_numpy()
    model = LSTMClassifier(**SMALL, early_stopping=True, validation_fraction=0.5)
    _, seen = fit_and_see(model, X, Y, sample_weight=weight)
    for part in seen[0]:
        assert (part.static[:, -1] % 2 == 1).all()
    assert sum(len(part) for part in seen[0]) == weight.sum()


def test_class_weights_are_weights_of_rows():
    y = (np.arange(len(X)) % 4 == 0).astype(int)
    rows = np.where(y == 1, 3.0, 0.5)
    by_class = LSTMClassifier(**EXACT, class_weight={0: 0.5, 1: 3.0}).fit(X, y)
    by_row = LSTMClassifier(**EXACT).fit(X, y, sample_weight=rows)
    assert_array_equal(by_class.predict_proba(X), by_row.predict_proba(X))
    balanced = LSTMClassifier(**EXACT, class_weight="balanced").fit(X, y)
    n = len(y)
    rows = np.where(y == 1, n / (2 * y.sum()), n / (2 * (n - y.sum())))
    by_row = LSTMClassifier(**EXACT).fit(X, y, sample_weight=rows)
    assert_array_equal(balanced.predict_proba(X), by_row.predict_proba(X))
    assert balanced.predict_proba(X)[:, 1].mean() > 0.4
    both = LSTMClassifier(**EXACT, class_weight={0: 2.0, 1: 2.0})
    both.fit(X, y, sample_weight=rows / 2)
    assert_allclose(both.predict_proba(X), by_row.predict_proba(X), rtol=1e-5)


def test_class_weights_of_labels():
    y = make_y(X, ["yes", "no"])
    model = LSTMClassifier(**EXACT, class_weight={"yes": 9.0, "no": 1.0}).fit(X, y)
    assert model.predict_proba(X)[:, 1].mean() > 0.7


def test_a_weighted_median_equals_that_of_copies():
    y, weight = np.array([0.0, 0.0, 0.0, 8.0]), np.array([1, 1, 0, 5])
    rows = np.zeros((4, 1))
    model = LSTMRegressor(
        **{**EXACT, "max_epochs": 1, "learning_rate": 1e-9}, loss="absolute_error"
    )
    weighted = clone(model).fit(rows, y, sample_weight=weight).predict(rows)
    copies = np.repeat(y, weight)
    expected = clone(model).fit(np.zeros((7, 1)), copies).predict(rows)
    assert_allclose(weighted, expected, rtol=1e-6)


# Early stopping -----------------------------------------------------------------------


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
    # It is the weighted mean of the losses of the rows.
    rows = seen[0][1]
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
    """The same customer in two logs has two segments after a concat."""
    halves = [make_table(), make_table()]
    table = pd.concat(halves, ignore_index=True)
    frame = HistoryEncoder().fit_transform(table)[["history"]]
    assert not frame["history"].array.log.customers.is_unique
    frame["number"] = pd.factorize(table["who"])[0]
    known = table["who"].str.startswith("c").to_numpy()
    train, valid = customers_on_each_side(frame[known], make_y(frame)[known])
    assert not train & valid


def test_customers_are_not_split_with_histories_of_several_entities():
    """Sessions of one row each come first; the customers stand in the second column."""
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
    monkeypatch.setattr(_batches, "_ROWS_TO_STOP_EARLY", len(X))
    _, seen = fit_and_see(LSTMClassifier(**SMALL), X, Y)
    assert seen[0][1] is not None
    _, seen = fit_and_see(LSTMClassifier(**SMALL, early_stopping=False), X, Y)
    assert seen[0][1] is None
    # With one customer, none is set aside.
    one = X[X["number"] == 3]
    _, seen = fit_and_see(LSTMClassifier(**SMALL), one, [0, 1, 0, 1])
    assert seen[0][1] is None


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


# Callbacks, progress, continued training ----------------------------------------------


def test_callbacks_are_copied():
    stop = EarlyStopping(monitor="train_loss", patience=1, threshold=1e9)
    callbacks, before = [stop, ("named", Spy([]))], vars(stop).copy()
    model = LSTMClassifier(**{**SMALL, "max_epochs": 9}, callbacks=callbacks).fit(X, Y)
    assert model.n_iter_ == 2
    assert model.callbacks is callbacks
    assert callbacks == [stop, ("named", callbacks[1][1])]
    assert vars(stop) == before
    names = [name for name, _ in model.net_.callbacks_]
    assert {"EarlyStopping", "named"} <= set(names)
    assert clone(model).fit(X, Y).n_iter_ == 2


def test_callbacks_see_the_epoch_that_stops_early(capsys):
    noise = np.random.default_rng(0).integers(0, 2, len(X))
    model = LSTMClassifier(**{**SMALL, "max_epochs": 30, "learning_rate": 0.1})
    model.set_params(early_stopping=True, n_iter_no_change=2)
    model, seen = fit_and_see(model, X, noise)
    assert model.n_iter_ < 30
    assert len(seen) == 1 + model.n_iter_
    # There is no message about restoring the best epoch.
    assert capsys.readouterr().out == ""


def test_scores_of_epochs():
    def accuracy(net, X, y):
        return (net.predict_proba(X).argmax(axis=1) == y).mean()

    scoring = EpochScoring(accuracy, name="accuracy", lower_is_better=False)
    on_train = EpochScoring(accuracy, name="train_accuracy", on_train=True)
    model = LSTMClassifier(**SMALL, early_stopping=True, callbacks=[scoring, on_train])
    model.fit(X, Y)
    scores = model.net_.history[:, ("accuracy", "train_accuracy")]
    assert all(0 <= score <= 1 for pair in scores for score in pair)


def test_scores_see_rows_in_the_order_of_their_predictions():
    """A score may read the rows: their weights, or their targets."""

    def same(net, X, y):
        odds = np.exp(net.outputs(X).astype("float64"))
        seen.append((X.target, y, net.predict_proba(X), odds / odds.sum(1)[:, None]))
        return 0.0

    seen = []
    scoring = EpochScoring(same, name="same")
    model = LSTMClassifier(**SMALL, early_stopping=True, validation_fraction=0.4)
    model.set_params(callbacks=[scoring]).fit(X, Y)
    assert len(seen) == 2
    for target, y, shares, expected in seen:
        assert_array_equal(target, y)
        # Rounding makes about 1e-7 of a probability.
        assert_allclose(shares, expected, rtol=0, atol=1e-6)
        assert np.ptp(shares[:, 0]) > 1e-3


def test_learning_rate_schedule():
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.5)
    model = LSTMRegressor(**{**SMALL, "max_epochs": 3}, callbacks=[schedule])
    model.set_params(learning_rate=0.4).fit(X, Y)
    assert model.net_.history[:, "event_lr"] == [0.4, 0.2, 0.1]


def test_checkpoints(tmp_path):
    checkpoint = Checkpoint(monitor=None, dirname=tmp_path, f_pickle=None)
    model = LSTMClassifier(**SMALL, callbacks=[checkpoint]).fit(X, Y)
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    for name, tensor in model.net_.module_.state_dict().items():
        assert torch.equal(tensor, saved[name])


@pytest.mark.parametrize("early_stopping", [False, True])
def test_progress(early_stopping, capsys):
    model = LSTMClassifier(**SMALL, early_stopping=early_stopping)
    model.fit(X, Y).predict(X)
    assert capsys.readouterr().out == ""
    model.set_params(verbose=1).fit(X, Y)
    printed = capsys.readouterr().out
    assert "train_loss" in printed
    assert ("valid_loss" in printed) == early_stopping
    assert len(printed.splitlines()) >= 2 + model.n_iter_


@pytest.mark.parametrize(
    ("early_stopping", "max_epochs", "n_epochs"),
    [(True, "auto", 50), (False, "auto", 8), ("auto", "auto", 8), (False, 9, 9)],
)
def test_number_of_epochs(early_stopping, max_epochs, n_epochs):
    """Without early stopping, more epochs would overfit few rows."""
    model = LSTMRegressor(**{**SMALL, "max_epochs": max_epochs}, n_iter_no_change=99)
    model.set_params(early_stopping=early_stopping).fit(X, COUNTS)
    assert model.n_iter_ == n_epochs


def test_warm_start_continues_training():
    model = LSTMClassifier(**EXACT, warm_start=True).fit(X, Y)
    net, first = model.net_, model.predict_proba(X)
    model.set_params(learning_rate=0.02, batch_size=5, max_epochs=3).fit(X, Y)
    assert model.net_ is net
    assert model.n_iter_ == 5
    assert np.abs(model.predict_proba(X) - first).max() > 1e-3
    assert net.optimizer_.param_groups[0]["lr"] == 0.02
    assert net.batch_size == 5
    cold = LSTMClassifier(**EXACT).fit(X, Y).fit(X, Y)
    assert cold.n_iter_ == 2
    assert_array_equal(cold.predict_proba(X), first)


def test_two_warm_starts_equal_one_fit():
    whole = LSTMRegressor(**{**EXACT, "max_epochs": 6}).fit(X, COUNTS)
    halves = LSTMRegressor(**{**EXACT, "max_epochs": 3}, warm_start=True)
    halves.fit(X, COUNTS).fit(X, COUNTS)
    assert_allclose(halves.predict(X), whole.predict(X), rtol=1e-5, atol=1e-5)


def test_warm_start_on_other_data():
    model = LSTMClassifier(**SMALL, warm_start=True).fit(X, make_y(X, ["a", "b"]))
    with pytest.raises(ValueError, match=r"needs the classes of the last fit, \['a'"):
        model.fit(X, make_y(X, ["a", "c"]))
    with pytest.raises(ValueError, match=r"saw in fit: \['number'\]"):
        model.fit(X[["history"]], make_y(X, ["a", "b"]))


def test_warm_start_sets_the_same_customers_aside():
    """Others would have been among the training rows of the first fit."""
    seen = []
    model = LSTMClassifier(**SMALL, warm_start=True, early_stopping=True)
    model.set_params(callbacks=[Spy(seen)]).fit(X, Y).fit(X, Y).fit(X, Y)
    first, *others = (set(pair[1].static[:, -1]) for pair in seen[:: 1 + 2])
    assert others == [first, first]


def test_continued_training_refuses_other_losses_and_devices():
    model = LSTMRegressor(**SMALL, warm_start=True).fit(X, COUNTS)
    expected = model.predict(X)
    model.set_params(loss="poisson")
    assert_array_equal(model.predict(X), expected)
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="with loss='squared_error'; got 'poisson"):
            fit(X, COUNTS)
    model.set_params(loss="squared_error", device="meta")
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="its device, 'cpu'; got device='meta'"):
            fit(X, COUNTS)
    assert_array_equal(model.predict(X), expected)


# Fits that fail -----------------------------------------------------------------------


@pytest.mark.parametrize("before", [False, True])
def test_a_failed_fit_leaves_no_inconsistent_state(before):
    model = LSTMClassifier(**SMALL)
    if before:
        model.fit(X, Y)
        # Parameters are validated before anything changes.
        expected = model.predict_proba(X)
        for wrong in ({"pooling": "sum"}, {"device": "banana"}, {"dropout": 3}):
            with pytest.raises(ValueError, match=r"pooling|device|dropout"):
                clone(model).set_params(**wrong).fit(X, Y)
        assert_array_equal(model.predict_proba(X), expected)
    with pytest.raises(ValueError, match="2 classes"):
        model.fit(X.assign(more=1.0), 0 * Y)
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({0: 0, 1: 0}, "leaves no row any weight"),
        ({0: -1, 1: 1}, "class_weight must not be negative; got {0: -1"),
    ],
)
def test_invalid_class_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        LSTMClassifier(**SMALL, class_weight=weights).fit(X, Y)


class Interrupt(Callback):
    """Raise KeyboardInterrupt, as Ctrl-C does."""

    def on_batch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_ctrl_c_is_not_caught_by_fit():
    model = LSTMClassifier(**SMALL, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    search = GridSearchCV(model, {"hidden_size": [2, 3]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)


# Parts of batches ---------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("model", [LSTMClassifier(**EXACT), LSTMRegressor(**EXACT)])
def test_a_batch_in_parts_has_the_same_gradients(model, weighted, monkeypatch):
    weight = np.linspace(0, 3, len(X)) if weighted else None
    whole, seen = fit_and_see(model, X, Y, sample_weight=weight)
    # 20 steps of 4 units, and no more than these even if that is one sequence.
    monkeypatch.setattr(_batches, "_STATES_TO_TRAIN", 80)
    monkeypatch.setattr(_batches, "_STATES_TO_PREDICT", 80)
    monkeypatch.setattr(_batches, "_MOST_STATES", 80)
    parts, seen_in_parts = fit_and_see(model, X, Y, sample_weight=weight)
    assert len(next(iter(parts.net_.get_iterator(seen_in_parts[0][0])))[0].parts) > 2
    for (_, one), (_, other) in zip(seen[1:], seen_in_parts[1:], strict=True):
        for name, tensor in one.items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=1e-5)
    losses = [net.net_.history[:, "train_loss"] for net in (whole, parts)]
    assert_allclose(*losses, rtol=1e-5)
    assert_allclose(parts.predict(X), whole.predict(X), rtol=1e-4, atol=1e-5)


class Gradients(Watcher):
    """Keeps the gradients of each step: of readers, head and linear part."""

    def on_grad_computed(self, net, named_parameters, **kwargs):
        parts = {"readers": [], "head": [], "linear": []}
        for name, parameter in named_parameters:
            if parameter.grad is not None:
                parts[name.split(".")[0]].append(parameter.grad.flatten())
        self.seen.append([torch.cat(grads) for grads in parts.values()])


def test_gradients_of_readers_are_clipped(monkeypatch):
    def first(most):
        monkeypatch.setattr(_net, "_MOST_GRADIENT", most)
        seen = []
        LSTMRegressor(**SMALL, callbacks=[Gradients(seen)]).fit(X, 100 * COUNTS)
        return seen[0]

    whole, *others = first(1e9)
    assert whole.norm() > 0.01
    short, *same = first(0.01)
    torch.testing.assert_close(short, whole * 0.01 / whole.norm())
    torch.testing.assert_close(same, others)
    torch.testing.assert_close(first(whole.norm() * 1.01)[0], whole)


@pytest.mark.parametrize(
    ("cell", "option"),
    # Processors that lack bfloat16 have a slow GRU in it.
    [("lstm", {"bptt_steps": 2}), ("gru", {"precision": "bfloat16"})],
)
def test_gradient_options_may_change_in_a_warm_start(cell, option, monkeypatch):
    monkeypatch.setattr(_training, "trains_in_bfloat16", lambda _: True)
    monkeypatch.setattr(_reader, "trains_in_bfloat16", lambda _: True)
    plain = LSTMClassifier(**EXACT, cell=cell).fit(X, Y)
    other = LSTMClassifier(**EXACT, cell=cell, **option).fit(X, Y)
    assert not np.array_equal(plain.predict_proba(X), other.predict_proba(X))
    assert_allclose(plain.predict_proba(X), other.predict_proba(X), atol=0.05)
    # A warm start applies the new option.
    [reader] = (
        plain.set_params(warm_start=True, **option).fit(X, Y).net_.module_.readers
    )
    for name, value in option.items():
        assert getattr(reader, name) == value


def test_bfloat16_is_refused_on_devices_without_it():
    """Depending on the processor, it trains in bfloat16 or raises an error."""
    plain = LSTMClassifier(**EXACT).fit(X, Y)
    model = LSTMClassifier(**EXACT, precision="bfloat16")
    if _reader.trains_in_bfloat16("cpu"):
        found = model.fit(X, Y).predict_proba(X)
        assert not np.array_equal(plain.predict_proba(X), found)
        assert_allclose(plain.predict_proba(X), found, atol=0.05)
        return
    message = r"precision='bfloat16' cannot be used here \(device 'cpu'.*='float32'\)"
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)


def test_number_of_states_in_memory_is_limited():
    def steps(training, **options):
        model = LSTMClassifier(**{**SMALL, "hidden_size": 64}, **options).fit(X, Y)
        return steps_of_parts(model.net_, training)

    assert steps(True) == {"steps_at_once": 4096, "most_steps": 2**18}
    assert steps(False) == {"steps_at_once": 16384, "most_steps": 2**18}
    assert steps(True, num_layers=2, bidirectional=True)["steps_at_once"] == 1024
    # Kernels of other cells are slow on few sequences.
    assert steps(True, cell="gru") == {"steps_at_once": 2**18, "most_steps": 2**18}


# Randomness ---------------------------------------------------------------------------


class Batches(Watcher):
    """Shows the rows of each training batch."""

    def on_epoch_begin(self, net, **kwargs):
        self.seen.append([])

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.seen[-1].append(batch[0].rows.tolist())


def test_each_epoch_draws_its_own_batches():
    def epochs(seed):
        seen = []
        model = LSTMClassifier(**{**SMALL, "random_state": seed}, batch_size=7)
        model.set_params(callbacks=[Batches(seen)]).fit(X, Y)
        return seen

    first, second = epochs(0)
    assert first != second
    for epoch in (first, second):
        assert_array_equal(np.sort(np.concatenate(epoch)), np.arange(len(X)))
    assert epochs(0) == [first, second]
    assert epochs(1)[0] != first


def make_equal_rows(n_customers, n_rows):
    """Rows of customers with a single event each, one customer after the other."""
    events = pd.DataFrame({"who": np.arange(n_customers), "t": 0})
    rows = pd.DataFrame({"who": np.arange(n_rows) * n_customers // n_rows})
    table = EventLog(events, "who", "t").attach(rows, cutoff=1)
    return HistoryEncoder().fit_transform(table[["history"]]), np.arange(n_rows) % 2


@pytest.mark.parametrize(
    ("n_customers", "n_rows", "expected"),
    [
        (600, 600, 128),
        (500, 10_000, 156),  # a 64th
        (4000, 40_000, 320),  # of 32 customers
        (3400, 36_000, 338),
        (20_000, 20_000, 128),
        (1, 270_000, 4096),
    ],
)
def test_automatic_batch_sizes(n_customers, n_rows, expected):
    X, _ = make_equal_rows(n_customers, n_rows)
    data = read_inputs(LSTMClassifier(), X, reset=True).data
    assert automatic_batch_size(data, share=True) == expected
    batches = BatchIterator(data, expected).plan()
    # A customer with twenty rows or fewer is not split between batches.
    longest = max(sum(map(len, parts)) for parts in batches)
    assert expected - 20 < longest <= expected


def test_automatic_batches_have_the_rows_of_32_customers():
    kind = LSTMRegressor
    model = kind(hidden_size=1, max_epochs=1, early_stopping=False)
    X, y = make_equal_rows(4000, 40_000)
    # 30,000 rows of 3,000 customers have a weight, then 21,000 rows of 3,000.
    assert model.fit(X, y, np.arange(40_000) < 30_000).batch_size_ == 320
    uneven = (np.arange(40_000) < 30_000) & (np.arange(40_000) % 10 < 7)
    assert model.fit(X, y, uneven).batch_size_ == 224
    assert model.fit(X, y).batch_size_ == 320
    assert model.partial_fit(X[:7000], y[:7000]).batch_size_ == 128
    assert model.partial_fit(X[:24_000], y[:24_000]).batch_size_ == 320
    # Each row has a sequence of its own.
    assert model.set_params(bidirectional=True).fit(X, y).batch_size_ == 128
    statics = np.zeros((40_000, 2))
    assert kind(max_epochs=1).fit(statics, y).batch_size_ == 128


def test_batch_size_of_a_failed_fit_is_not_that_of_the_network():
    model = LSTMClassifier(**SMALL, batch_size=np.int64(5), warm_start=True).fit(X, Y)
    assert type(model.batch_size_) is int
    model.set_params(batch_size=3, early_stopping=True)
    one = X["number"] == 0
    with pytest.raises(ValueError, match="one customer"):
        model.fit(X[one], Y[one])
    assert model.batch_size_ == model.net_.batch_size == 5
    model.set_params(early_stopping=False).fit(X, Y)
    assert model.batch_size_ == model.net_.batch_size == 3


@pytest.mark.parametrize("batch_size", [7, 256])
def test_random_state_repeats_batches_dropout_and_split(batch_size):
    model = LSTMClassifier(**{**SMALL, "dropout": 0.5}, early_stopping=True)
    model.set_params(batch_size=batch_size)
    first = clone(model).fit(X, Y).predict_proba(X)
    assert_array_equal(clone(model).fit(X, Y).predict_proba(X), first)
    other = clone(model).set_params(random_state=1).fit(X, Y)
    assert np.abs(other.predict_proba(X) - first).max() > 1e-3


def test_random_state_may_be_a_generator():
    def fit(state):
        return LSTMClassifier(**{**SMALL, "random_state": state}).fit(X, Y)

    state = np.random.RandomState(0)
    first, second = fit(state).predict_proba(X), fit(state).predict_proba(X)
    assert_array_equal(first, fit(0).predict_proba(X))
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize("share", [True, False])
def test_batch_size_of_predictions_does_not_matter(share):
    model = LSTMClassifier(**SMALL, bidirectional=not share).fit(X, Y)
    expected = model.predict_proba(X)
    parts = np.concatenate(
        [model.predict_proba(X.iloc[i : i + 5]) for i in range(0, 48, 5)]
    )
    assert_allclose(parts, expected, rtol=1e-5, atol=1e-5)


def test_weights_correlated_with_the_length_count():
    """Batches have rows of similar length; their weights must not cancel there."""
    lengths = np.repeat([1, 30], 64)
    events = pd.DataFrame({"who": np.repeat(np.arange(128), lengths)})
    events["time"] = events.groupby("who").cumcount()
    table = EventLog(events, "who", "time").snapshots([40])
    sign = np.where(np.arange(128) % 2, 1.0, -1.0)
    flipped = np.where(lengths == 1, sign, -sign)
    frame = HistoryEncoder().fit_transform(table).assign(sign=sign)
    settings = {**SMALL, "head_sizes": (), "batch_size": 16, "max_epochs": 40}
    model = LSTMClassifier(**settings, dropout=0.0, learning_rate=0.02)
    at = {}
    for name, long in {"long count": 100.0, "short count": 0.01}.items():
        weight = np.where(lengths == 1, 1.0, long)
        fit = clone(model).fit(frame, flipped > 0, sample_weight=weight)
        inside = fit.predict_proba(frame)[:, 1]
        at[name] = np.corrcoef(inside, sign)[0, 1]
    assert at["long count"] < -0.5
    assert at["short count"] > 0.5


@pytest.mark.parametrize("scoring", ["roc_auc", "accuracy", "neg_log_loss"])
def test_scores_of_a_callback_are_those_of_the_validation_rows(scoring):
    frame, y = make_frame(40), make_y(make_frame(40))
    score = EpochScoring(scoring, name="score", lower_is_better=False)
    seen = []
    model = LSTMClassifier(**SMALL, early_stopping=True, validation_fraction=0.4)
    model.set_params(callbacks=[Spy(seen), score]).fit(frame, y)
    valid = seen[0][1]
    odds = np.exp(model.net_.outputs(valid).astype("float64"))
    shares = odds / odds.sum(axis=1, keepdims=True)
    expected = {
        "roc_auc": lambda: roc_auc_score(valid.target, shares[:, 1]),
        "accuracy": lambda: (shares.argmax(axis=1) == valid.target).mean(),
        "neg_log_loss": lambda: -log_loss(valid.target, shares),
    }[scoring]()
    best = int(np.argmin([epoch["valid_loss"] for epoch in model.net_.history]))
    assert_allclose(model.net_.history[best]["score"], expected, atol=1e-5)


def test_a_diverging_fit_raises():
    frame = X.assign(number=X["number"] * 1e16)
    with pytest.raises(ValueError, match=r"Training diverged .* Lower learning_rate"):
        LSTMClassifier(**{**SMALL, "learning_rate": 1e30}).fit(frame, Y)


def test_another_encoder_of_the_same_shape_is_refused():
    model = LSTMClassifier(**SMALL).fit(X, Y)
    other = make_frame(seed=7)
    spec = X["history"].array.log.layout
    assert other["history"].array.log.layout.channels == spec.channels
    with pytest.raises(ValueError, match="Use the encoder that was fitted with it"):
        model.predict(other)
    with pytest.raises(ValueError, match="two different HistoryEncoders"):
        pd.concat([X, other])
