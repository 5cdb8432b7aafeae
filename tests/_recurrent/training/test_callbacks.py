"""scikit-learn's callbacks on the estimators. tests/neural_network has skorch's."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import EpochScoring

from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table, make_y

callback = pytest.importorskip("sklearn.callback")  # scikit-learn 1.9

SMALL = {
    "hidden_size": 4,
    "head_sizes": (4,),
    "max_epochs": 3,
    "random_state": 0,
    "n_networks": 1,
}
RAW = make_table()
X = HistoryEncoder().fit_transform(RAW)[["history"]]
Y = make_y(X)


class Note:
    """Record the hooks, and end training after some epoch."""

    def __init__(self, last=None):
        self.last = last
        self.seen = []

    def setup(self, estimator, context):
        self.seen.append("setup")

    def teardown(self, estimator, context):
        self.seen.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.seen.append(("begin", context.task_name, context.task_id))
        self.given = X, y, metadata

    def on_fit_task_end(self, estimator, context):
        self.seen.append(("end", context.task_name, context.task_id))
        return context.task_name == "epoch" and context.task_id == self.last


def epochs(*numbers):
    return [(when, "epoch", n) for n in numbers for when in ("begin", "end")]


@pytest.mark.parametrize("kind", [LSTMClassifier, LSTMRegressor])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_epochs_are_steps_of_the_fit(kind, early_stopping):
    note, weight = Note(), np.ones(len(X))
    model = kind(**SMALL, early_stopping=early_stopping).set_callbacks(note)
    model.fit(X, Y, weight)
    begin, *steps, end = note.seen[1:-1]
    assert note.seen[0] == "setup"
    assert note.seen[-1] == "teardown"
    assert begin == ("begin", "fit", 0)
    assert steps == epochs(0, 1, 2)
    assert end == ("end", "fit", 0)
    assert note.given[0] is X
    assert note.given[1] is Y
    assert_array_equal(note.given[2]["sample_weight"], weight)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_callback_stops_training(early_stopping):
    params = {**SMALL, "max_epochs": 9, "early_stopping": early_stopping}
    score = EpochScoring("neg_log_loss", on_train=True, lower_is_better=False)
    model = LSTMClassifier(**params, callbacks=[score])
    note = Note(last=1)
    model.set_callbacks(note).fit(X, Y)
    assert model.n_iter_ == 2
    assert note.seen[-2:] == [("end", "fit", 0), "teardown"]
    # skorch's callbacks saw that epoch as well.
    assert len(model.net_.history[:, "neg_log_loss"]) == 2
    if not early_stopping:
        short = clone(model).set_callbacks().set_params(max_epochs=2).fit(X, Y)
        assert_array_equal(model.predict_proba(X), short.predict_proba(X))


def test_early_stopping_sees_the_epoch_in_which_a_callback_stops():
    model = LSTMClassifier(**{**SMALL, "max_epochs": 9}, early_stopping=True)
    model.set_callbacks(Note(last=0)).fit(X, Y)
    [(_, stop)] = [c for c in model.net_.callbacks_ if c[0] == "stop_early"]
    assert stop.best_epoch_ == 1


def test_callbacks_are_dropped_after_training():
    """Their data and threads must not be pickled."""
    model = LSTMClassifier(**SMALL).fit(X, Y)
    size = len(pickle.dumps(model))
    model.set_callbacks(Note()).fit(X, Y)
    # Pickled floats that happen to be one object are smaller by some bytes.
    assert abs(len(pickle.dumps(model.set_callbacks())) - size) < 100
    names = [name for name, _ in model.net_.callbacks_]
    assert not {"EpochSteps", "StopOnRequest"} & {*names, *dict(model.net_.callbacks)}


def test_ctrl_c_in_a_callback_ends_the_ensemble():
    note = Note()
    model = LSTMClassifier(**SMALL).set_callbacks(note)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    note.on_fit_task_end = interrupt
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert note.seen[-2:] == [("begin", "epoch", 0), "teardown"]


def test_epochs_of_a_fit_that_stops_early():
    """The last epoch is a step as well, with the weights of that epoch."""
    note = Note()
    params = {**SMALL, "max_epochs": 20, "learning_rate": 0.3, "n_iter_no_change": 1}
    model = LSTMClassifier(**params, early_stopping=True).set_callbacks(note).fit(X, Y)
    assert model.n_iter_ < 20
    assert note.seen[2:-2] == epochs(*range(model.n_iter_))


class Keep(Note):
    """Keep what a callback is shown of the estimator."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.seen.append(fitted_estimator)


def test_estimators_shown_to_callbacks_hold_no_data():
    """Callbacks may send estimators to other processes."""
    keep = Keep()
    model = LSTMClassifier(**SMALL, callbacks=[EpochScoring("accuracy")])
    model.set_callbacks(keep).fit(X, Y)
    size = len(pickle.dumps(model.net_))
    shown = [found for found in keep.seen if isinstance(found, LSTMClassifier)]
    assert len(shown) == 3
    assert max(len(pickle.dumps(found.net_)) for found in shown) < size


def test_callbacks_do_not_change_the_fit():
    plain = LSTMClassifier(**SMALL).fit(X, Y)
    watched = clone(plain).set_callbacks(callback.ScoringMonitor(scoring="accuracy"))
    assert_array_equal(watched.fit(X, Y).predict_proba(X), plain.predict_proba(X))


def test_teardown_after_an_error():
    note = Note()
    model = LSTMClassifier(**SMALL).set_callbacks(note)
    with pytest.raises(ValueError, match="at least 2 classes"):
        model.fit(X, np.zeros(len(X)))
    note.on_fit_task_end = None  # not callable
    with pytest.raises(TypeError):
        model.fit(X, Y)
    assert note.seen[-1] == "teardown"
    assert not hasattr(model, "_callback_fit_ctx")


def test_scores_of_each_epoch():
    """Scores equal those of a model trained for as many epochs."""
    monitor = callback.ScoringMonitor(scoring="neg_log_loss")
    model = LSTMClassifier(**SMALL).set_callbacks(monitor).fit(X, Y)
    rows = {row["task_id_path"]: row for row in monitor.get_logs().data}
    score = get_scorer("neg_log_loss")
    for n_epochs in (1, 2, 3):
        short = clone(model).set_callbacks().set_params(max_epochs=n_epochs)
        at_the_end = score(short.fit(X, Y), X, Y)
        short.net_.module_.set_shift(None)  # learned after the last epoch
        found = rows[0, n_epochs - 1]["neg_log_loss"]
        assert_allclose(found, score(short, X, Y), rtol=1e-6)
    assert rows[(0,)]["neg_log_loss"] == pytest.approx(at_the_end)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_within_a_search(n_jobs):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    pipeline = make_history_pipeline(LSTMClassifier(**SMALL))
    pipeline[-1].set_callbacks(monitor)
    search = GridSearchCV(
        pipeline, {"estimator__hidden_size": [2, 4]}, cv=2, n_jobs=n_jobs
    )
    search.fit(RAW, Y)
    data = monitor.get_logs().data
    # Three epochs and the whole of each of 2 x 2 fits and of the last one.
    assert len(data) == (3 + 1) * (2 * 2 + 1)
    assert all(0 <= row["accuracy"] <= 1 for row in data)


def test_progress_bar(capsys):
    pytest.importorskip("rich")
    model = LSTMClassifier(**SMALL).set_callbacks(callback.ProgressBar())
    model.fit(X, Y)
    assert "LSTMClassifier - fit" in capsys.readouterr().out
    search = GridSearchCV(LSTMClassifier(**SMALL), {"hidden_size": [2, 4]}, cv=2)
    search.set_callbacks(callback.ProgressBar()).fit(X, Y)
    assert "GridSearchCV - fit" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["fit", "fit_transform"])
@pytest.mark.parametrize(
    ("transformer", "rows"), [(HistoryEncoder(), RAW), (HistoryPadder(), X)]
)
def test_transformers_are_one_task(transformer, rows, method):
    note = Note()
    getattr(clone(transformer).set_callbacks(note), method)(rows)
    assert note.seen == ["setup", ("begin", "fit", 0), ("end", "fit", 0), "teardown"]


def test_not_a_callback():
    with pytest.raises(TypeError, match="FitCallback protocol"):
        LSTMClassifier().set_callbacks(EpochScoring("accuracy"))
