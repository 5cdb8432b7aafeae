"""Early stopping at the latest cutoffs, then a training on all rows."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_seqcrm._columns import store_horizon, stored_lengths
from sklearn_seqcrm._recurrent.data import Ranks
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import (
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
    _ensemble_training,
    _validation,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.targets import churned, future_count, time_to_next
from tests.logs import log_of_table
from tests.neural_network.forward_rows import (
    COUNTS,
    CUTOFFS,
    HORIZON,
    LOG,
    N_CUSTOMERS,
    RAW,
    X,
    Y,
)
from tests.neural_network.small_fits import Spy, Watcher, fit_and_see
from tests.small_networks import SMALL


def trainings(seen):
    """Return the rows and the validation losses of each training that a `Spy` saw."""
    found = []
    for first, second in seen:
        if isinstance(second, dict):  # an epoch, with its weights
            found[-1][2].append(first)
        else:
            found.append((first, second, []))
    return found


def cutoffs_of_rows(data):
    """Return the cutoffs of rows, which are their only static."""
    return (10 * np.unique(data.static[:, -1])).tolist()


def test_rows_of_both_trainings():
    model = LSTMClassifier(**{**SMALL, "max_epochs": 4}, validation="forward")
    model, seen = fit_and_see(model, X, Y)
    (train, valid, losses), (every, nothing, again) = trainings(seen)
    assert cutoffs_of_rows(train) == [20, 30, 40, 50]
    assert cutoffs_of_rows(valid) == [60]
    assert len(every) == len(X)
    assert nothing is None
    assert len(losses) == 4
    n_epochs = model.n_iter_
    assert again == n_epochs * [None]
    assert model.validation_ == {
        "by": "forward",
        "reason": None,
        "since": 60,
        "n_epochs": n_epochs,
        "losses": losses,
        "left_out": {},
        "left_out_cycles": {},
        "n_train": 240,
        "n_valid": 60,
        "n_dropped": 0,
    }


@pytest.mark.parametrize("gap", [0, 5])
def test_rows_whose_labels_were_unknown_are_dropped(gap):
    y = churned(RAW, 11, gap=gap)
    model = LSTMClassifier(**SMALL, validation="forward", refit=False)
    model, seen = fit_and_see(model, X, y)
    [(train, valid, _)] = trainings(seen)
    assert cutoffs_of_rows(train) == [20, 30, 40]
    assert cutoffs_of_rows(valid) == [60]
    assert model.validation_["n_dropped"] == 60
    assert model.validation_["n_epochs"] is None


def test_validation_rows_of_some_customers(monkeypatch):
    monkeypatch.setattr(_validation, "_MOST_VALIDATION_CUSTOMERS", 50)
    model = LSTMClassifier(**SMALL).fit(X, Y)
    counts = [model.validation_[f"n_{part}"] for part in ("train", "valid", "dropped")]
    assert counts == [240, 50, 10]
    model = LSTMClassifier(**SMALL, validation_fraction=0.1).fit(X, Y)
    assert model.validation_["n_valid"] == 60


@pytest.mark.parametrize("refit", [False, True])
def test_later_labels_do_not_change_a_network_of_earlier_rows(refit):
    """With one epoch, validation labels choose nothing; dropped ones never do."""
    is_known = (RAW["cutoff"] <= 40).to_numpy()
    later = Y.where(is_known, 1 - Y)
    model = LSTMClassifier(**{**SMALL, "max_epochs": 1}, horizon=11, refit=refit)
    first, second = (clone(model).fit(X, y).predict_proba(X) for y in (Y, later))
    assert (first == second).all() != refit


def test_one_network_finds_the_epochs_of_all():
    options = {"max_epochs": 3, "validation": "forward", "n_networks": 2}
    model = LSTMClassifier(**{**SMALL, **options})
    model, seen = fit_and_see(model, X, Y)
    assert [len(train.static) for train, *_ in trainings(seen)] == [240, 300, 300]
    n_epochs = model.validation_["n_epochs"]
    assert [len(net.history) for net in model.nets_] == [n_epochs, n_epochs]
    assert n_epochs == model.n_iter_
    # A network of all rows starts and ends as one without early stopping.
    of_all = {**SMALL, "max_epochs": n_epochs, "early_stopping": False}
    of_all["batch_size"] = model.batch_size_
    alone = LSTMClassifier(**of_all).fit(X, Y)
    expected = alone.predict_proba(X)
    model.nets_ = model.nets_[:1]
    assert_array_equal(model.predict_proba(X), expected)


class Rates(Watcher):
    """Append the learning rate of each epoch of a training on all rows."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.is_second = X[1] is None

    def on_batch_begin(self, net, training=False, **kwargs):
        if self.is_second and training:
            self.seen.append(net.optimizer_.param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("model", "y", "rates"),
    [
        (LSTMRegressor(loss="poisson"), COUNTS, [1, 1, 0.75, 0.25]),
        (LSTMRegressor(), COUNTS, [1, 1, 0.75, 0.25]),
        (LSTMRegressor(loss="absolute_error"), COUNTS, [1, 1, 1, 1]),
        (LSTMClassifier(), Y, [1, 1, 1, 1]),
    ],
)
def test_the_rate_falls_where_a_row_can_make_the_loss_jump(
    model, y, rates, monkeypatch
):
    monkeypatch.setattr(_ensemble_training, "best_n_epochs", lambda net: 4)
    options = {**SMALL, "validation": "forward", "learning_rate": 0.01, "max_epochs": 4}
    model = clone(model).set_params(**options, callbacks=[Rates(seen := [])])
    model.set_params(batch_size=len(X)).fit(X, y)
    assert_allclose(seen, 0.01 * np.array(rates))
    assert model.net_.optimizer_.param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize(
    ("options", "y", "by", "reason"),
    [
        ({}, Y.to_numpy(), "customers", "horizon of the target is unknown"),
        ({"horizon": 45}, Y, "customers", "only 0 of 300 rows have a label"),
        ({"warm_start": True}, Y, "customers", "warm_start=True continues"),
        ({"callbacks": [Spy([])]}, Y, "customers", "callbacks may need"),
        ({"validation": "customers"}, Y, "customers", "validation='customers'"),
        ({"early_stopping": False}, Y, None, "early_stopping=False"),
        ({"horizon": 10}, Y.to_numpy(), "forward", None),
    ],
    ids=["y", "long", "warm", "callbacks", "customers", "none", "horizon"],
)
def test_choice_of_validation_rows(options, y, by, reason):
    model = LSTMClassifier(**{**SMALL, "max_epochs": 1}, **options).fit(X, y)
    assert model.validation_["by"] == by
    assert (reason or "None") in str(model.validation_["reason"])
    counts = [model.validation_[f"n_{part}"] for part in ("train", "valid", "dropped")]
    assert sum(counts) == len(X)


def test_rows_of_one_cutoff():
    one = X[RAW["cutoff"] == 30]
    model = LSTMClassifier(**SMALL).fit(one, Y[one.index])
    assert model.validation_["by"] == "customers"
    assert model.validation_["reason"] == "all rows have one cutoff"
    few = LSTMClassifier(**{**SMALL, "n_networks": 2})
    few.fit(one[:20], Y[one.index[:20]])
    assert few.validation_["by"] is None
    both = "all rows have one cutoff, and too few customers to set some aside"
    assert few.validation_["reason"] == both


@pytest.mark.parametrize(
    ("frame", "y", "reason"),
    [
        (X, Y.to_numpy(), "the horizon of the target is unknown"),
        (X[["at"]], Y, "X has no history column with cutoffs"),
    ],
    ids=["horizon", "statics"],
)
def test_impossible_wishes(frame, y, reason):
    model = LSTMClassifier(**SMALL, validation="forward")
    with pytest.raises(ValueError, match=f"impossible, because {reason}"):
        model.fit(frame, y)


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [
        ({"horizon": "1 month", "gap": None}, "the horizon of the target is unknown"),
        ("1 month", "no length of time"),
        ("6MS", "no length of time"),
        ("10D", "does not fit X: horizon must be a number"),
        (0, "not longer than 0"),
    ],
)
def test_attrs_that_are_no_horizon(attrs, reason):
    """Such attrs are not the fault of the user: customers are set aside."""
    y = Y.copy()
    y.attrs = attrs if isinstance(attrs, dict) else {}
    if not isinstance(attrs, dict):
        store_horizon(y, {"horizon": attrs, "gap": 0})
    model = LSTMClassifier(**{**SMALL, "max_epochs": 1}).fit(X, y)
    assert model.validation_["by"] == "customers"
    assert reason in model.validation_["reason"]
    given = clone(model).set_params(horizon=10).fit(X, y)
    assert given.validation_["by"] == "forward"


def test_a_shorter_horizon_than_that_of_the_target():
    model = LSTMClassifier(**{**SMALL, "max_epochs": 1}, horizon=HORIZON - 1)
    with pytest.warns(
        UserWarning, match="horizon=9 is shorter than horizon and gap of y"
    ):
        model.fit(X, Y)
    assert model.validation_["by"] == "forward"


def test_targets_computed_from_several():
    both = churned(RAW, 5) & (future_count(RAW, HORIZON) == 0)
    model = LSTMClassifier(**{**SMALL, "max_epochs": 1}).fit(X, both)
    assert model.validation_["by"] == "customers"
    assert "computed from several" in model.validation_["reason"]


def test_a_horizon_of_another_type():
    with pytest.raises(TypeError, match="horizon must be a number"):
        LSTMClassifier(**SMALL, horizon="10D").fit(X, Y)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (LSTMRegressor(**SMALL), future_count),
        (LSTMRegressor(**SMALL, loss="poisson"), future_count),
        (LSTMSurvival(**SMALL, bins=4), time_to_next),
        (LSTMClassifier(**SMALL), lambda rows, _: churned(rows, [5, HORIZON])),
    ],
    ids=["number", "count", "time", "labels"],
)
def test_other_targets(model, target):
    model.fit(X, target(RAW, HORIZON))
    assert model.validation_["by"] == "forward"
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("moments", [False, True])
def test_censored_rows_are_not_validation_rows(moments):
    """Nor training rows of the first training; the second one is on all rows."""
    rows = LOG.snapshots([*CUTOFFS, 95, 99, 150])
    y = time_to_next(rows, HORIZON, censored="keep")
    frame = HistoryEncoder(moments=moments).fit_transform(rows)[["history"]]
    frame = frame.assign(at=rows["cutoff"] / 10)
    model, seen = fit_and_see(LSTMSurvival(**SMALL, validation="forward"), frame, y)
    (train, valid, _), (every, _, _) = trainings(seen)
    assert cutoffs_of_rows(train) == [20, 30, 40, 50]
    assert cutoffs_of_rows(valid) == [60]
    assert len(every) == len(frame)
    assert model.validation_["n_dropped"] == 3 * N_CUSTOMERS
    # Nothing changes where all windows are complete, also those beyond the last event
    # that a row sees.
    complete = time_to_next(RAW, HORIZON)
    assert LSTMSurvival(**SMALL).fit(X, complete).validation_["since"] == 60
    assert LSTMSurvival(**SMALL).fit(X, complete).validation_["n_dropped"] == 0
    # Labels of a classifier may be known from elsewhere.
    label = LSTMClassifier(**SMALL, horizon=HORIZON)
    label.fit(frame, y["event"].to_numpy())
    assert label.validation_["since"] == 150


def known_at(since, gap=0):
    """Return the targets that a log that ends before `since` has, row by row."""
    table = LOG.to_frame()
    kinds, times = [], []
    for who, cutoff in zip(RAW["who"], RAW["cutoff"], strict=True):
        days = table.loc[table["who"] == who, "day"]
        begin = cutoff + gap
        later = days[(days >= begin) & (days < since)]
        kinds.append(len(later) > 0)
        # Events at the end were not known: it is just before the day.
        end = (since - begin) * (1 - 1e-12)
        times.append(later.min() - begin if len(later) else end)
    return np.column_stack([kinds, times]).astype("float64")


@pytest.mark.parametrize("gap", [0, 5])
def test_times_without_a_horizon_are_censored_at_the_validation(gap):
    """The first training sees what was known then, the second one everything."""
    y = time_to_next(RAW, gap=gap, censored="keep")
    network = LSTMSurvival(**SMALL, bins=[5, 10, 20, 40, 80])
    model, seen = fit_and_see(network.set_params(validation="forward"), X, y)
    (train, valid, _), (every, _, _) = trainings(seen)
    assert model.validation_["since"] == 60
    assert model.validation_["n_dropped"] == 0
    assert cutoffs_of_rows(train) == [20, 30, 40, 50]
    objective = model._objective
    earlier = (RAW["cutoff"] < 60).to_numpy()
    expected = objective.encode(known_at(60, gap))[earlier]
    assert_array_equal(train.target, expected)
    now = objective.encode(objective.read(y))
    assert (train.target != now[earlier]).any()
    assert_array_equal(every.target, now)
    assert len(valid) == N_CUSTOMERS
    assert_array_equal(
        np.unique(valid.target, axis=0), np.unique(now[~earlier], axis=0)
    )


def test_durations_without_a_horizon():
    """The unit of the clock is not the unit of the times, which is days."""
    table = LOG.to_frame()
    table["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(table["day"], "D")
    raw = log_of_table(table).snapshots(
        [pd.Timestamp("2024-01-01") + pd.Timedelta(days=days) for days in CUTOFFS]
    )
    frame = HistoryEncoder().fit_transform(raw)[["history"]].assign(at=X["at"])
    edges = [5, 10, 20, 40, 80]
    network = LSTMSurvival(**SMALL, bins=edges, validation="forward")
    model, seen = fit_and_see(network, frame, time_to_next(raw, censored="keep"))
    (train, _, _), _ = trainings(seen)
    assert model.validation_["since"] == pd.Timestamp("2024-03-01")
    earlier = (RAW["cutoff"] < 60).to_numpy()
    assert_array_equal(train.target, model._objective.encode(known_at(60))[earlier])


def test_rows_that_were_observed_for_a_short_time_are_not_validation_rows():
    rows = LOG.snapshots([*CUTOFFS, 95, 99])
    y = time_to_next(rows, censored="keep")
    frame = HistoryEncoder().fit_transform(rows)[["history"]]
    frame = frame.assign(at=rows["cutoff"] / 10)
    median_time = y.loc[y["event"], "time"].median()
    assert 5 < median_time < 40
    model, seen = fit_and_see(LSTMSurvival(**SMALL, validation="forward"), frame, y)
    (train, valid, _), (every, _, _) = trainings(seen)
    assert cutoffs_of_rows(valid) == [60]
    assert cutoffs_of_rows(train) == [20, 30, 40, 50]
    assert len(every) == len(frame)
    assert model.validation_["n_dropped"] == 2 * N_CUSTOMERS


@pytest.mark.parametrize("horizon", [None, 5])
def test_later_events_do_not_change_the_first_network(horizon):
    """Nor its initial biases; with one epoch, validation chooses nothing."""
    y = time_to_next(RAW, censored="keep")
    begins = RAW["cutoff"].to_numpy()
    is_later = (begins + y["time"] >= 60).to_numpy()
    other = y.copy()
    # Half of them have their event on the last day, the others are censored then.
    other.loc[is_later, "event"] = np.arange(is_later.sum()) % 2 == 0
    other.loc[is_later, "time"] = 99.0 - begins[is_later]
    edges = [5, 10, 20, 40, 200]
    model = LSTMSurvival(**{**SMALL, "max_epochs": 1}, bins=edges, validation="forward")
    model.set_params(horizon=horizon)
    for refit in (False, True):
        one = clone(model).set_params(refit=refit)
        first, second = (
            clone(one).fit(X, target).predict_cumulative_hazard_function(X[:1])[0].y
            for target in (y, other)
        )
        assert (first == second).all() != refit


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda y: y.to_records(index=False), "horizon of the target is unknown"),
        (lambda y: y.assign(time=pd.to_timedelta(y["time"], "D")), "unit of the times"),
        (lambda y: y.assign(time=y["time"] / 7), "unit of the times of y may not be"),
        (lambda y: y.assign(time=0.0), "came at their cutoffs"),
        (
            lambda y: y.rename(columns={"time": "day"}),
            "; keep the names, or set horizon",
        ),
    ],
    ids=["array", "durations", "rescaled", "at once", "renamed"],
)
def test_times_that_cannot_be_censored(change, reason):
    y = change(time_to_next(RAW, censored="keep"))
    model = LSTMSurvival(**SMALL, bins=[5, 100]).fit(X, y)
    assert model.validation_["by"] == "customers"
    assert reason in model.validation_["reason"]
    with pytest.raises(ValueError, match=reason):
        model.set_params(validation="forward").fit(X, y)


@pytest.mark.parametrize("is_late", [False, True])
def test_kinds_that_were_unknown_at_the_validation(is_late):
    """The second of two kinds, or the only kind, begins at 60, or a day before."""
    y = time_to_next(RAW, censored="keep")
    later = RAW["cutoff"] + y["time"] >= 60 - (not is_late)
    both = y.assign(event=np.where(later, 2, 1) * y["event"])
    only = y.assign(event=y["event"] & later)
    only.loc[~later, "time"] = 99 - RAW["cutoff"]
    edges = [5, 10, 20, 40, 80]
    for kinds, lacking in ((both, [2]), (only, [1])):
        model = LSTMSurvival(**SMALL, bins=edges, n_iter_no_change=1).fit(X, kinds)
        assert model.validation_["by"] == ("customers" if is_late else "forward")
        assert np.isfinite(model.predict(X)).all()
        if is_late:
            reason = f"no event of the kinds {lacking} was known at 60"
            assert reason in model.validation_["reason"]
            with pytest.raises(ValueError, match=re.escape(reason)):
                model.set_params(validation="forward").fit(X, kinds)


def test_a_continued_training_may_lack_a_kind():
    y = time_to_next(RAW, censored="keep")
    both = y.assign(event=np.where(np.arange(len(y)) % 2, 2, 1) * y["event"])
    model = LSTMSurvival(**SMALL, validation="forward", warm_start=True).fit(X, both)
    n_iter = model.n_iter_
    model.fit(X, y)  # events of kind 1 only
    assert model.validation_["by"] == "forward"
    assert model.n_iter_ > n_iter
    assert model.event_types_.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("model", "y", "horizon", "n_seen"),
    [
        (LSTMClassifier, Y, None, 1),
        (LSTMClassifier, Y, HORIZON, 0),
        (LSTMSurvival, time_to_next(RAW, censored="keep"), 5, 1),
    ],
)
def test_ranks_compare_the_horizons_of_their_targets(model, y, horizon, n_seen):
    """Ranks with other horizons would train on other rows."""
    seen = []

    class Comparing(Ranks):
        def refuse_differences(self, value, what):
            seen.append(value)

    network = model(**{**SMALL, "max_epochs": 1}, horizon=horizon)
    network._ranks = Comparing()
    network.fit(X, y)
    assert seen == n_seen * [stored_lengths(y)]
    assert stored_lengths(y)


LATEST = (RAW["cutoff"] == 60).to_numpy()


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (np.where(LATEST, "z", np.where(Y, "x", "w")), r"lack the classes \['z'\]"),
        (np.where(LATEST, "z", "w"), "lack all classes but 'w'"),
        (np.where(LATEST & Y, "z", "w"), "lack all classes but 'w'"),
        (np.column_stack([Y, LATEST & Y, ~LATEST]).astype(int), "0 or 1 of 2 labels"),
    ],
    ids=["third", "second", "rare", "labels"],
)
def test_classes_of_later_rows_only(y, reason):
    """A loss of classes that were never seen would choose too few epochs."""
    model = LSTMClassifier(**SMALL, horizon=HORIZON).fit(X, y)
    assert model.validation_["by"] == "customers"
    assert re.search(reason, model.validation_["reason"])
    model = LSTMClassifier(**SMALL, horizon=HORIZON, validation="forward")
    with pytest.raises(ValueError, match=reason):
        model.fit(X, y)


def test_a_continued_training_may_lack_a_class():
    model = LSTMClassifier(**SMALL, horizon=HORIZON, validation="forward")
    model.set_params(warm_start=True).fit(X, np.where(Y, "z", "w"))
    n_iter = model.n_iter_
    model.fit(X, np.where(LATEST & Y, "z", "w"))
    assert model.validation_["by"] == "forward"
    assert model.n_iter_ > n_iter


def test_pipelines_searches_and_pickles():
    model = make_history_pipeline(LSTMClassifier(**SMALL))
    search = GridSearchCV(model, {"estimator__hidden_size": [4]}, cv=2).fit(RAW, Y)
    [*_, network] = search.best_estimator_
    assert network.validation_["by"] == "forward"
    copy = pickle.loads(pickle.dumps(search.best_estimator_))
    assert copy[-1].validation_ == network.validation_
    assert_array_equal(copy.predict_proba(RAW), search.predict_proba(RAW))
    again = clone(copy).fit(RAW, Y)
    assert_array_equal(again.predict_proba(RAW), search.predict_proba(RAW))


def test_logs_on_disk(tmp_path):
    LOG.to_disk(tmp_path / "log")
    rows = EventLog.open(tmp_path / "log").snapshots(CUTOFFS)
    model = make_history_pipeline(LSTMClassifier(**SMALL))
    fits = [clone(model).fit(one, churned(one, HORIZON)) for one in (rows, RAW)]
    assert fits[0][-1].validation_["by"] == "forward"
    first, second = (fit.predict_proba(RAW) for fit in fits)
    assert_array_equal(first, second)
