import sys
import time as clock
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    StackingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline

from sklearn_seqcrm.ensemble import make_hybrid
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import predict_partition
from sklearn_seqcrm.testing._small_data import START, make_events, make_rows
from sklearn_seqcrm.uplift import UpliftClassifier

EVENTS, ROWS = make_events(20), make_rows(20)
LOG = EventLog(EVENTS, "who", "when")
PART = EVENTS["who"].map(lambda who: int(who[1:]) % 3)
UNTIL = "2025-01-01"
WHERE = {"customer": "who", "time": "when", "observed_until": UNTIL}


@pytest.fixture(scope="module")
def boosted():
    """A model of histories alone, whose classes are text."""
    X = LOG.snapshots_every("100D")[["history"]]
    y = np.where(np.arange(len(X)) % 3, "yes", "no")
    trees = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=2)
    return make_pipeline(RFMFeatures(remainder="drop"), trees).fit(X, y)


def test_predictions_by_partition_equal_those_of_the_whole_table(boosted):
    X = LOG.snapshots([UNTIL])
    expected = X[["who", "cutoff"]].assign(
        prediction_no=boosted.predict_proba(X[["history"]])[:, 0],
        prediction_yes=boosted.predict_proba(X[["history"]])[:, 1],
    )
    options = {**WHERE, "model": boosted, "method": "predict_proba", "cutoff": UNTIL}
    parts = [predict_partition(part, **options) for _, part in EVENTS.groupby(PART)]
    found = pd.concat(parts).sort_values("who", ignore_index=True)
    assert_frame_equal(found, expected)


def test_pieces_of_a_partition_are_joined(boosted):
    """Spark may split the events of a customer over several pieces."""
    options = {**WHERE, "model": boosted, "cutoff": UNTIL}
    pieces = (EVENTS[at : at + 9] for at in range(0, len(EVENTS), 9))
    found = predict_partition(pieces, **options)
    assert_frame_equal(found, predict_partition(EVENTS, **options))


@pytest.mark.parametrize("moments", [False, "60D"])
def test_rows_keep_their_index_and_may_have_different_cutoffs(moments):
    network = LSTMRegressor(max_epochs=1, hidden_size=4, random_state=0, n_networks=1)
    model = make_history_pipeline(network).set_params(encoder__moments=moments)
    X = LOG.attach(ROWS, "who", "at")
    model.fit(X, np.arange(len(X)) % 5)
    known = ROWS[ROWS["who"].isin(EVENTS["who"])]
    part = known["who"].map(lambda who: int(who[1:]) % 3)
    found = pd.concat(
        predict_partition(
            EVENTS[number == PART],
            known[part == number],
            model=model,
            cutoff="at",
            **WHERE,
        )
        for number in range(3)
    )
    expected = pd.Series(model.predict(X), X.index)[found.index]
    np.testing.assert_allclose(found["prediction"], expected, rtol=1e-5)
    assert (found["cutoff"] == ROWS["at"][found.index]).all()
    assert (found["who"] == ROWS["who"][found.index]).all()


@pytest.mark.parametrize("events", [EVENTS[:0], [], [EVENTS[:0]]])
def test_a_partition_without_events_has_the_columns(events, boosted):
    options = {**WHERE, "model": boosted, "cutoff": UNTIL, "method": "predict_proba"}
    found = predict_partition(events, **options)
    assert found.columns.tolist() == [
        "who",
        "cutoff",
        "prediction_no",
        "prediction_yes",
    ]
    assert not len(found)
    options["method"] = "predict"
    names = predict_partition(events, ROWS[:0], **options).columns
    assert names.tolist() == ["who", "cutoff", "prediction"]


def test_columns_of_several_labels_are_numbered():
    X = LOG.snapshots([UNTIL])[["history"]]
    labels = np.column_stack([np.arange(len(X)) % 2, np.arange(len(X)) % 3 == 0])
    network = LSTMClassifier(max_epochs=1, hidden_size=4, random_state=0, n_networks=1)
    model = make_history_pipeline(network).fit(X, labels)
    options = {**WHERE, "model": model, "cutoff": UNTIL, "method": "predict_proba"}
    for events in (EVENTS, EVENTS[:0]):
        names = predict_partition(events, **options).columns
        assert names.tolist() == ["who", "cutoff", "prediction_0", "prediction_1"]


def test_probabilities_of_several_labels_are_named_by_label_and_class():
    X = LOG.snapshots([UNTIL])[["history"]]
    Y = np.column_stack([np.arange(len(X)) % 2, np.arange(len(X)) % 3])
    trees = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2)
    each = MultiOutputClassifier(trees)
    model = make_pipeline(RFMFeatures(remainder="drop"), each).fit(X, Y)
    options = {**WHERE, "model": model, "cutoff": UNTIL}
    found = predict_partition(EVENTS, **options, method="predict_proba")
    columns = found.columns[2:].tolist()
    assert columns == [
        f"prediction_{name}" for name in ("0_0", "0_1", "1_0", "1_1", "1_2")
    ]
    first, second = model.predict_proba(X)
    assert_allclose(found[columns[:2]], first)
    assert_allclose(found[columns[2:]], second)
    nothing = predict_partition(EVENTS[:0], **options, method="predict_proba")
    assert nothing.columns.tolist() == found.columns.tolist()


class Lists(DummyRegressor):
    """Returns lists, as own estimators may."""

    def predict(self, X):
        return [0.5] * len(X)

    def predict_proba(self, X):
        return [[0.25, 0.75]] * len(X)


def test_models_may_return_lists():
    X = LOG.snapshots([UNTIL])[["history"]]
    model = make_pipeline(RFMFeatures(remainder="drop"), Lists()).fit(X, range(len(X)))
    options = {**WHERE, "model": model, "cutoff": UNTIL}
    found = predict_partition(EVENTS, **options)
    assert_allclose(found["prediction"], 0.5)
    found = predict_partition(EVENTS, **options, method="predict_proba")
    assert_allclose(found[["prediction_0", "prediction_1"]], [[0.25, 0.75]] * len(X))


@pytest.mark.parametrize("with_rows", [False, True])
def test_history_columns_of_another_name(with_rows):
    X = LOG.snapshots([UNTIL], name="orders")
    trees = HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=2)
    model = make_pipeline(RFMFeatures(), trees)
    model.fit(X[["orders"]], np.arange(len(X)))
    rows = X[["who"]] if with_rows else None
    options = {**WHERE, "model": model, "cutoff": UNTIL}
    found = predict_partition(EVENTS, rows, **options, name="orders")
    assert_allclose(found["prediction"], model.predict(X))
    with pytest.raises(ValueError, match=r"fit: \['orders'\].*not see: .*'history'"):
        predict_partition(EVENTS, rows, **options)


def test_a_partition_with_events_only_after_the_cutoff_has_no_rows(boosted):
    options = {**WHERE, "model": boosted, "cutoff": "2020-01-01"}
    assert predict_partition(EVENTS, **options).shape == (0, 3)


def test_rows_without_any_event_are_refused(boosted):
    options = {**WHERE, "model": boosted, "cutoff": "at"}
    with pytest.raises(ValueError, match="no rows"):
        predict_partition(EVENTS[:0], ROWS, **options)


def test_a_partition_in_which_a_field_has_no_value():
    """Predictions of its customers equal those on the whole table."""
    events = EVENTS.assign(amount=EVENTS["amount"].where(EVENTS["who"] != "c3"))
    vectors = [[1.0, 2.0]] * len(events)
    events["vector"] = pd.Series(vectors).where(events["who"] != "c3", None)
    X = EventLog(events, "who", "when").snapshots([UNTIL])[["history"]]
    network = LSTMRegressor(hidden_size=2, max_epochs=1, random_state=0, n_networks=1)
    model = make_history_pipeline(network).fit(X, np.arange(len(X)))
    options = {**WHERE, "model": model, "cutoff": UNTIL}
    whole = predict_partition(events, **options).set_index("who")
    alone = events[events["who"] == "c3"]
    for part in (alone, alone.assign(amount=None, kind=np.nan)):
        found = predict_partition(part, **options)
        if part is alone:
            expected = whole.loc[["c3"], "prediction"]
            np.testing.assert_allclose(found["prediction"], expected, rtol=1e-4)
    with pytest.raises(ValueError, match="'amount' is categorical and was numeric"):
        predict_partition(alone.assign(amount="much"), **options)


@pytest.mark.parametrize("name", ["cutoff", "prediction"])
def test_customer_columns_that_the_result_would_overwrite_are_refused(name, boosted):
    events = EVENTS.rename(columns={"who": name})
    with pytest.raises(ValueError, match=f"called '{name}', as a column of the result"):
        predict_partition(
            events, model=boosted, customer=name, time="when", cutoff=UNTIL
        )


@pytest.mark.parametrize("events", [EVENTS, EVENTS[:0]], ids=["some", "none"])
def test_other_methods_are_refused(events, boosted):
    options = {**WHERE, "model": boosted, "cutoff": UNTIL, "method": "predict_probas"}
    with pytest.raises(ValueError, match=r"one of \['predict', .* 'predict_probas'"):
        predict_partition(events, **options)
    options |= {"model": make_pipeline(RFMFeatures(), Ridge())}
    with pytest.raises(AttributeError, match="predict_proba"):
        predict_partition(events, **{**options, "method": "predict_proba"})


def test_pieces_without_events_keep_their_columns(boosted):
    pieces = iter([EVENTS[:0]])
    with pytest.raises(ValueError, match="at least one event"):
        predict_partition(pieces, ROWS, model=boosted, cutoff="at", **WHERE)


@pytest.fixture
def spark_task(monkeypatch):
    """Pretend to be a task of Spark in a session of some time zone."""

    def begin(zone):
        properties = {"spark.sql.session.timeZone": zone}
        task = SimpleNamespace(getLocalProperty=properties.get)
        spark = SimpleNamespace(TaskContext=SimpleNamespace(get=lambda: task))
        monkeypatch.setitem(sys.modules, "pyspark", spark)

    return begin


def test_times_of_another_spark_session_zone_are_refused(boosted, spark_task):
    """Spark hands timestamps over as naive times of its session time zone."""
    options = {**WHERE, "model": boosted, "cutoff": UNTIL}
    expected = predict_partition(EVENTS, **options)
    spark_task("Europe/Berlin")
    shifted = EVENTS.assign(
        when=EVENTS["when"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    )
    pieces = [shifted.assign(when=shifted["when"].dt.tz_localize(None))]
    with pytest.raises(ValueError, match=r"'when' .* 'Europe/Berlin', .* \+2 hours"):
        predict_partition(pieces, **options)
    with pytest.raises(ValueError, match=r"time_zone='America/New_York': .* \+6 h"):
        predict_partition(EVENTS, **options, time_zone="America/New_York")
    for zone, time_zone in [
        ("Etc/UTC", "UTC"),
        ("+00:00", "UTC"),
        ("Europe/Berlin", "Europe/Vienna"),
        ("Europe/Berlin", None),
    ]:
        spark_task(zone)
        found = predict_partition(EVENTS, **options, time_zone=time_zone)
        assert_frame_equal(found, expected)


def test_without_a_session_zone_the_zone_of_the_machine_counts(
    boosted, spark_task, monkeypatch
):
    spark_task(None)
    options = {**WHERE, "model": boosted, "cutoff": UNTIL}
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        clock.tzset()
        predict_partition(EVENTS, **options, time_zone="Asia/Kolkata")
        with pytest.raises(ValueError, match=r"zone of the machine, .* \+5\.5 hours"):
            predict_partition(EVENTS, **options)
    clock.tzset()


def test_times_that_spark_does_not_convert_are_accepted(spark_task):
    """Numbers, and times with a zone, mean the same in every session."""
    spark_task("Europe/Berlin")
    options = {"customer": "who", "time": "when", "method": "predict_proba"}
    hours = EVENTS["when"].map(lambda t: (t - START) / pd.Timedelta("1h"))
    aware = EVENTS["when"].dt.tz_localize("UTC")
    for times, cutoff in [(hours, 3e4), (aware, f"{UNTIL}T00:00:00Z")]:
        events = EVENTS.assign(when=times)[["who", "when", "amount"]]
        X = EventLog(events, "who", "when").snapshots([cutoff])[["history"]]
        trees = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2)
        model = make_pipeline(RFMFeatures(remainder="drop"), trees)
        model.fit(X, np.arange(len(X)) % 2)
        found = predict_partition(events, model=model, cutoff=cutoff, **options)
        assert len(found) == len(X)


@pytest.mark.parametrize(
    ("events", "name"),
    [
        (pl.DataFrame({"who": ["a"], "day": [1]}), "polars.*DataFrame"),
        ([pl.DataFrame({"who": ["a"], "day": [1]})], "polars.*DataFrame"),
        ([{"who": "a", "day": 1}], "builtins.dict"),
        (None, "builtins.NoneType"),
    ],
)
def test_tables_of_other_libraries_are_refused(events, name):
    options = {"model": None, "customer": "who", "time": "day", "cutoff": 3}
    with pytest.raises(TypeError, match=rf"events must be .*{name}.*to_pandas"):
        predict_partition(events, **options)
    table = pd.DataFrame({"who": ["a"], "day": [1]})
    if events is not None:
        with pytest.raises(TypeError, match="rows must be a pandas DataFrame"):
            predict_partition(table, events, **options)


def test_rows_of_a_lookback():
    """Rows without the lookback had other scores, without an error."""
    X = LOG.attach(ROWS, "who", "at", lookback="200D")
    network = LSTMRegressor(max_epochs=1, hidden_size=4, random_state=0, n_networks=1)
    model = make_history_pipeline(network).fit(X, np.arange(len(X)))
    options = {**WHERE, "model": model, "cutoff": "at"}
    with pytest.raises(
        ValueError, match=r"\['history'\] were cut.* pass the same look"
    ):
        predict_partition(EVENTS, ROWS, **options)
    found = predict_partition(EVENTS, ROWS, lookback="200D", **options)
    assert_allclose(found["prediction"], model.predict(X), rtol=1e-6)
    with pytest.warns(UserWarning, match="'history' were cut off by a lookback"):
        whole = model.predict(LOG.attach(ROWS, "who", "at"))
    assert not np.allclose(found["prediction"], whole)
    model.fit(LOG.attach(ROWS, "who", "at", lookback="9999D"), np.arange(len(X)))
    assert len(predict_partition(EVENTS, ROWS, **options)) == len(ROWS)


SMALL = {"max_epochs": 1, "hidden_size": 4, "random_state": 0, "n_networks": 1}
NUMBERS = make_history_pipeline(LSTMRegressor(**SMALL))
CLASSES = make_history_pipeline(LSTMClassifier(**SMALL))


@pytest.mark.parametrize(
    "model",
    [
        GridSearchCV(NUMBERS, {"estimator__learning_rate": [0.01]}, cv=2),
        TransformedTargetRegressor(NUMBERS),
        MultiOutputClassifier(CLASSES),
        CalibratedClassifierCV(CLASSES, cv=2),
        StackingClassifier([("network", CLASSES)], cv=2),
        make_hybrid(CLASSES, cv=2),
        UpliftClassifier(CLASSES, learner="t"),
        UpliftClassifier(CLASSES, learner="dr", cv=2),
        make_pipeline(FeatureUnion([("all", NUMBERS[:-1])]), DummyRegressor()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_lookbacks_are_found_in_all_parts_of_a_model(model):
    X, y = LOG.attach(ROWS, "who", "at", lookback="200D"), np.arange(len(ROWS)) % 2
    treatment = np.arange(len(X)) // 2 % 2
    beside = {"treatment": treatment} if hasattr(model, "learner") else {}
    targets = np.column_stack([y, treatment]) if "Multi" in str(model) else y
    model.fit(X, targets, **beside)
    options = {**WHERE, "cutoff": "at"}
    for around in (model, FrozenEstimator(model)):
        with pytest.raises(ValueError, match="pass the same lookback"):
            predict_partition(EVENTS, ROWS, model=around, **options)


def test_a_lookback_of_a_model_that_is_cloned_does_not_matter():
    X, y = LOG.attach(ROWS, "who", "at"), np.arange(len(ROWS)) % 2
    before = clone(NUMBERS).fit(LOG.attach(ROWS, "who", "at", lookback="200D"), y)
    model = GridSearchCV(before, {"estimator__learning_rate": [0.01]}, cv=2).fit(X, y)
    found = predict_partition(EVENTS, ROWS, model=model, cutoff="at", **WHERE)
    assert_allclose(found["prediction"], model.predict(X), rtol=1e-6)


def test_customers_without_an_event_in_the_lookback_have_a_row():
    X = LOG.snapshots([UNTIL], lookback="20D")[["history"]]
    lengths = X["history"].array.lengths
    assert 0 < (lengths > 0).sum() < len(X)
    trees = HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=2)
    model = make_pipeline(RFMFeatures(remainder="drop"), trees).fit(X, lengths)
    options = {**WHERE, "model": model, "cutoff": UNTIL, "lookback": "20D"}
    found = predict_partition(EVENTS, **options)
    assert found["prediction"].tolist() == model.predict(X).tolist()


@pytest.mark.parametrize("lookback", [None, "9999D"])
def test_one_warning_about_a_late_cutoff(boosted, lookback):
    options = {**WHERE, "model": boosted, "cutoff": "2035-01-01", "lookback": lookback}
    with pytest.warns(UserWarning, match="cutoff") as found:
        predict_partition(EVENTS, **options)
    # Others are about infinite numbers, and histories longer than those of training.
    assert sum("cutoffs lie after" in str(one.message) for one in found) == 1


def test_events_at_the_cutoff():
    """The last purchase of each row is at its cutoff."""
    rows = EVENTS.groupby("who", as_index=False)["when"].last()
    X = LOG.attach(rows, "who", "when", allow_exact_matches=True)
    network = LSTMRegressor(max_epochs=1, hidden_size=4, random_state=0, n_networks=1)
    model = make_history_pipeline(network).fit(X, np.arange(len(X)))
    options = {**WHERE, "model": model, "cutoff": "when"}
    found = predict_partition(EVENTS, rows, allow_exact_matches=True, **options)
    assert_allclose(found["prediction"], model.predict(X), rtol=1e-6)
    before = predict_partition(EVENTS, rows, **options)
    assert not np.allclose(found["prediction"], before["prediction"])
    with pytest.raises(TypeError, match="allow_exact_matches must be True or False"):
        predict_partition(EVENTS, allow_exact_matches="no", **options)
    with pytest.raises(ValueError, match="allow_exact_matches=True needs rows"):
        predict_partition(
            EVENTS, model=model, cutoff=UNTIL, allow_exact_matches=True, **WHERE
        )
