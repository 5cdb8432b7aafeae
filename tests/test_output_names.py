"""Tables that have names of ours beside those of users, whose names are ours."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.inspection import channel_attribution, event_attributions
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.targets import future_sum

FIELDS = ["time", "total", "n_events", "customer", "event", "value", "probability"]
SMALL = {"hidden_size": 4, "max_epochs": 1, "random_state": 0}


def make_log(customer="cutoff", time="row", fields=(*FIELDS, "path")):
    """A log whose columns are called like those of tables of the library."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame({customer: rng.integers(0, 12, 80)})
    events[time] = rng.integers(0, 60, 80)
    for name in fields:
        events[name] = rng.integers(0, 9, 80) / 2
    events["event"] = rng.choice([*"ab"], 80)
    return EventLog(events.sort_values([customer, time], kind="stable"), customer, time)


@pytest.fixture(scope="module", name="log")
def named_log():
    return make_log()


@pytest.fixture(scope="module", name="X")
def rows(log):
    table = pd.DataFrame({"cutoff": range(12), "at": 50, "age": np.arange(12.0) % 5})
    return log.attach(table, cutoff="at")


@pytest.fixture(scope="module", name="model")
def fitted(X):
    return LSTMEventModel(**SMALL).fit(X)


def test_events_keep_their_names(log, X):
    names = ["cutoff", "row", *FIELDS, "path"]
    assert log.to_frame().columns.tolist() == names
    assert X["history"].array.to_frame().columns.tolist() == names
    history = X["history"][3]
    assert history.to_frame().columns.tolist() == names
    assert [*history.to_dict()["events"][0]] == names[1:]
    encoded = HistoryEncoder().fit_transform(X)["history"].array.to_frame()
    assert encoded.columns.is_unique
    assert set(names) <= set(encoded.columns)


@pytest.mark.parametrize(
    ("customer", "others"),
    [("cutoff", ["cutoff_", "events"]), ("events", ["cutoff", "events_"])],
)
def test_histories_in_arrow_have_fields_of_different_names(customer, others, tmp_path):
    pa = pytest.importorskip("pyarrow")
    log = make_log(customer)
    X = log.attach(pd.DataFrame({customer: range(12)}), cutoff=50)
    kind = pa.table(X).schema.field("history").type
    names = [kind.field(i).name for i in range(kind.num_fields)]
    assert names[:3] == [customer, *others]
    assert len(set(names)) == len(names)
    X.to_parquet(tmp_path / "X.parquet")
    back = pd.read_parquet(tmp_path / "X.parquet")["history"].array
    assert back.to_frame().equals(X["history"].array.to_frame())


def test_log_probabilities_of_events_add_up(log, model, X):
    scores = model.score_events(X)
    assert scores.columns[:4].tolist() == ["row", "event", "log_prob", "log_prob_time"]
    assert scores.columns.is_unique
    parts = scores.filter(like="log_prob_")
    assert parts.columns.size == 1 + len(log.fields)
    assert_allclose(parts.sum(axis=1), scores["log_prob"])
    assert (scores.loc[scores["event"] == 0, "log_prob_time"] == 0).all()
    assert (scores["log_prob_time_"] < 0).all()
    assert_array_equal(scores["row"].unique(), range(12))


def test_simulated_events_have_columns_of_their_own(log, model, X):
    with pytest.raises(ValueError, match=r"'row' already; .* another name with row="):
        model.sample(X, 20, n_paths=2)
    with pytest.raises(ValueError, match=r"'path' already; .* name with path="):
        model.sample(X, 20, n_paths=2, row="number")
    with pytest.raises(ValueError, match=r"'a' already; .* name with path="):
        model.sample(X, 20, n_paths=2, row="a", path="a")
    names = {"row": "number", "path": "future"}
    futures = model.sample(X, 20, n_paths=2, random_state=0, **names)
    expected = ["number", "cutoff", "future", "row", *log.fields]
    assert futures.columns.tolist() == expected
    assert futures["row"].between(50, 69).all()
    assert set(futures["future"]) == {0, 1}

    def total(rows):
        return future_sum(rows, "total", 20)

    sums = model.simulate_targets(X, total, 20, n_paths=2, random_state=0)
    np.testing.assert_allclose(2 * sums["mean"].sum(), futures["total"].sum())


def test_names_are_refused_before_rows_are_read(model):
    with pytest.raises(ValueError, match="'row' already"):
        model.sample("no table", 20)


def test_recommendations_have_no_name_of_the_log(model, X):
    found = model.predict_next(X, "event", n=2)
    assert found.columns.tolist() == ["row", "cutoff", "rank", "value", "probability"]
    assert set(found["value"]) == {"a", "b"}
    other = make_log("rank").snapshots([50])
    found = LSTMEventModel(**SMALL).fit(other).predict_next(other, "event", n=2)
    names = ["row", "rank_", "rank", "value", "probability"]
    assert found.columns.tolist() == names


def test_explanations_have_no_name_of_the_log(log, X):
    model = make_pipeline(RFMFeatures(amount="total"), HistGradientBoostingRegressor())
    model.fit(X, np.arange(12.0))
    found = event_attributions(model, X, by="field", fields=["time", "customer"])
    assert found.columns.is_unique
    assert set(found["field"]) == {"time", "customer"}
    lines = found[found["field"] == "time"]
    assert_array_equal(lines["value"], X["history"].array.to_frame()["time"])
    assert_array_equal(lines["time"], X["history"].array.to_frame()["row"])
    credit = channel_attribution(model, X, "event").credit
    assert set(credit.columns) == {"a", "b"}


@pytest.mark.parametrize("one", [RFMFeatures(amount="total"), HistoryAggregator()])
def test_features_and_columns_of_x_have_different_names(one, X):
    statics = dict.fromkeys(("row", "path", "time", "total", "n_events"), 1.0)
    found = clone(one).fit_transform(X.assign(**statics))
    assert found.columns.is_unique
    assert {*statics, "age"} <= set(found.columns)
    name = next(name for name in found if name.startswith("history__"))
    with pytest.raises(ValueError, match=name):
        clone(one).fit(X.assign(**{name: 1.0}))


def test_logs_refuse_names_that_they_add(log):
    with pytest.raises(ValueError, match=r"'n_events' already; .* count_field="):
        log.resample(10)
    merged = log.resample(10, count_field="n").to_frame()
    assert merged.columns.tolist() == ["cutoff", "row", *log.fields, "n"]
    with pytest.raises(ValueError, match=r"'event' already; .* kind_field="):
        EventLog.concat({"x": log})
    with pytest.raises(ValueError, match="'cutoff' and 'history' need three names"):
        log.snapshots([9])
    rows = pd.DataFrame({"cutoff": [1], "history": [2]})
    with pytest.raises(ValueError, match=r"'history' already; .* name="):
        log.attach(rows, cutoff=9)
