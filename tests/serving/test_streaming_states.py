"""States of many customers: in memory, in files, in threads, in float16."""

import copy

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from joblib import Parallel, delayed
from numpy.testing import assert_allclose

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from tests.serving.streams import (
    AFTER,
    EVENTS,
    EXACT,
    LOG,
    PEOPLE,
    ROWS,
    SMALL,
    as_event,
    fitted,
    new_scorer,
    predicted,
)


def test_forgotten_customers_are_unknown():
    scorer = new_scorer()
    scorer.update(EVENTS)
    nobody = new_scorer().predict_proba(PEOPLE, AFTER)
    everybody = scorer.predict_proba(PEOPLE, AFTER)
    gone = PEOPLE["who"].isin(["c1", "c7"]).to_numpy()
    assert scorer.forget(["c1", "c7", "new1"]) == 2
    found = scorer.predict_proba(PEOPLE, AFTER)
    assert_allclose(found, np.where(gone[:, None], nobody, everybody), rtol=1e-6)
    # A forgotten customer is treated as new; the slot may be that of another one.
    again = EVENTS[EVENTS["who"].isin(["c7"])]
    scorer.update(again)
    gone = (PEOPLE["who"] == "c1").to_numpy()
    found = scorer.predict_proba(PEOPLE, AFTER)
    assert_allclose(found, np.where(gone[:, None], nobody, everybody), rtol=1e-5)
    last = EVENTS[EVENTS["who"] != "c1"].groupby("who")["when"].max().sort_values()
    assert scorer.forget_before(last.iloc[4]) == 4
    kept = PEOPLE["who"].isin(last.index[4:]).to_numpy()
    found = scorer.predict_proba(PEOPLE, AFTER)
    assert_allclose(found, np.where(kept[:, None], everybody, nobody), rtol=1e-5)


def test_text_is_one_customer():
    """Text is one id, not an iterable of letters."""
    events = EVENTS.assign(who=EVENTS["who"].replace({"c1": "a", "c2": "b"}))
    scorer = new_scorer()
    scorer.update(events)
    assert scorer.forget("ab") == 0
    assert scorer.forget("a") == 1
    assert scorer.forget(pd.Series(["b", "a", "c3"])) == 2
    assert scorer.forget(np.array(["c4"])) == 1
    before = scorer.n_customers
    with pytest.raises(TypeError, match="customers to forget are of the type int64"):
        scorer.forget(7)
    with pytest.raises(TypeError, match="a DataFrame of 2 dimensions"):
        scorer.forget(PEOPLE)
    with pytest.raises(ValueError, match="missing values"):
        scorer.forget(["c5", None])
    assert scorer.n_customers == before


def test_max_customers_limits_the_number_of_states():
    """Customers with the oldest last events are forgotten, and a 64th in addition."""
    times = np.random.default_rng(0).permutation(1000)
    events = pd.DataFrame({"who": np.arange(1000), "day": times, "amount": 1.0})
    log = EventLog(events, "who", "day")
    rows = events[["who"]].assign(age=np.arange(1000) % 7)
    X = log.attach(rows.iloc[:50], cutoff=1001)
    model = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1)).fit(
        X, np.arange(50) % 2
    )
    scorer = StreamingScorer(model, "who", "day", max_customers=640)
    scorer.update(log)
    assert scorer.n_customers == {"history": 630}
    kept = rows[times >= 370]
    expected = model.predict_proba(log.attach(kept, cutoff=1001))
    assert_allclose(scorer.predict_proba(kept, 1001), expected, **EXACT)
    some = StreamingScorer(model, "who", "day", max_customers=3)
    for who in range(5):
        some.score_one(who, {"day": who, "amount": 1.0}, {"age": 1}, 10)
    assert sorted(some._streams["history"].states.to_arrays()[0]) == [2, 3, 4]
    assert some.forget_before(4) == 2


def test_max_customers_limits_the_states_of_a_file(tmp_path):
    scorer = new_scorer()
    scorer.update(EVENTS)
    scorer.to_parquet(tmp_path / "states")
    last = EVENTS.groupby("who")["when"].max().sort_values()
    few = StreamingScorer.from_parquet(
        tmp_path / "states", fitted("lstm-1"), "who", "when", max_customers=3
    )
    assert few.n_customers == {"history": 3}
    assert few.forget(last.index[:-3]) == 0
    found = few.predict_proba(PEOPLE, AFTER)
    expected = scorer.predict_proba(PEOPLE, AFTER)
    kept = PEOPLE["who"].isin(last.index[-3:]).to_numpy()
    assert_allclose(found[kept], expected[kept], rtol=1e-6)


def test_numpy_settings_of_the_caller_do_not_matter():
    """Old events fade below the smallest float, which these settings make an error."""
    last = EVENTS.iloc[-1:]
    later = last.assign(when=last["when"] + pd.Timedelta(days=60_000))
    statics = as_event(PEOPLE[PEOPLE["who"] == later["who"].iloc[0]].iloc[0])
    found = []
    for settings in ({}, {"all": "raise"}):
        scorer = new_scorer()
        cutoff = AFTER + pd.Timedelta(days=80_000)
        with np.errstate(**settings):
            scorer.update(EVENTS)
            scorer.update(later)
            event = as_event(later.assign(when=cutoff - pd.Timedelta("1D")).iloc[0])
            one = scorer.score_one(event["who"], event, statics, cutoff)
            found.append(np.vstack([one, scorer.predict_proba(PEOPLE, cutoff)]))
    assert_allclose(*found, rtol=0, atol=0)


def test_numpy_settings_of_the_caller_do_not_matter_for_probabilities():
    """The smaller one is e to the power of -1600, below the smallest float."""
    model = copy.deepcopy(fitted("lstm-1"))
    head = model[-1].nets_[0].module_.head[-1]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([-800.0, 800.0]))
    scorer = StreamingScorer(model, "who", "when")
    scorer.update(EVENTS)
    with np.errstate(all="raise"):
        found = scorer.predict_proba(PEOPLE, AFTER)
        statics = as_event(PEOPLE.iloc[0])
        one = scorer.score_one(statics["who"], statics=statics, cutoff=AFTER)
    assert found.tolist() == [[0, 1]] * len(PEOPLE)
    assert one.tolist() == [0, 1]


def test_the_scored_customer_is_not_forgotten():
    """This holds even if the last events of all other customers are later."""
    few, all_ = new_scorer(max_customers=3), new_scorer()
    newest = EVENTS.drop_duplicates("who", keep="last")
    for scorer in (few, all_):
        scorer.update(newest.iloc[-3:])
    event = as_event(newest.iloc[0])
    statics = as_event(PEOPLE[PEOPLE["who"] == event["who"]].iloc[0])
    scores = [s.score_one(event["who"], event, statics, AFTER) for s in (few, all_)]
    assert_allclose(*scores, rtol=1e-6)
    assert few.n_customers == {"history": 3}


@pytest.mark.parametrize("name", ["lstm-2", "two targets", "amounts", "max"])
def test_restored_states_accept_further_events(name, tmp_path):
    scorer = new_scorer(name)
    scorer.update(EVENTS.iloc[:50])
    scorer.forget(["c2"])
    scorer.to_parquet(tmp_path / "states")
    joblib.dump(scorer, tmp_path / "scorer")
    again = [
        StreamingScorer.from_parquet(tmp_path / "states", fitted(name), "who", "when"),
        joblib.load(tmp_path / "scorer"),
        # Read-only, as in workers of joblib.
        joblib.load(tmp_path / "scorer", mmap_mode="r"),
    ]
    scorer.update(EVENTS.iloc[50:])
    expected = predicted(scorer, PEOPLE, AFTER)
    for one in again:
        one.update(EVENTS.iloc[50:51].to_dict("records"))
        one.update(EVENTS.iloc[51:])
        assert_allclose(predicted(one, PEOPLE, AFTER), expected, rtol=1e-6)
        assert one.n_customers == scorer.n_customers


def test_files_that_are_refused(tmp_path):
    scorer, path = new_scorer(), tmp_path / "states"
    scorer.to_parquet(path)  # without customers
    scorer.update(EVENTS)
    scorer.to_parquet(path)
    whole = path.read_bytes()
    with pytest.raises(ValueError, match="made by another model"):
        StreamingScorer.from_parquet(path, fitted("gru-1"), "who", "when")
    with pytest.raises(
        ValueError, match="stored in float, and those of this scorer in"
    ):
        StreamingScorer.from_parquet(
            path, fitted("lstm-1"), "who", "when", dtype="float16"
        )
    path.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="damaged"):
        StreamingScorer.from_parquet(path, fitted("lstm-1"), "who", "when")
    PEOPLE.to_parquet(path)
    with pytest.raises(ValueError, match="not written by StreamingScorer"):
        StreamingScorer.from_parquet(path, fitted("lstm-1"), "who", "when")
    path.write_bytes(whole)
    scorer._streams["history"].states._slots[object()] = 0
    with pytest.raises(TypeError, match="make text of them"):
        scorer.to_parquet(path)
    assert path.read_bytes() == whole
    assert [one.name for one in tmp_path.iterdir()] == ["states"]


def test_threads():
    """Events of different customers from several threads, scored in between."""
    scorer, own = new_scorer(), dict(list(EVENTS.groupby("who")))
    statics = {row["who"]: as_event(row) for row in PEOPLE.to_dict("records")}

    def play_one(who):
        for event in own[who].to_dict("records"):
            scorer.score_one(who, as_event(event), statics[who], AFTER)
        scorer.predict_proba(PEOPLE, AFTER)

    Parallel(n_jobs=4, backend="threading")(delayed(play_one)(who) for who in own)
    log = EventLog(EVENTS, "who", "when", observed_until=AFTER)
    expected = fitted("lstm-1").predict_proba(log.attach(PEOPLE, cutoff=AFTER))
    assert_allclose(scorer.predict_proba(PEOPLE, AFTER), expected, **EXACT)


def test_further_training_does_not_change_the_scorer():
    X, y = LOG.attach(ROWS, cutoff="at"), np.arange(len(ROWS)) % 2
    model = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1)).fit(X, y)
    scorer = StreamingScorer(model, "who", "when")
    scorer.update(EVENTS)
    before = scorer.predict_proba(PEOPLE, AFTER)
    model[-1].partial_fit(model[:-1].transform(X), 1 - y)
    assert_allclose(scorer.predict_proba(PEOPLE, AFTER), before, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_float16_does_not_lose_events(pooling):
    """A float16 of 2,048 or more would not change by adding an output."""
    n = 3_000
    events = pd.DataFrame({"who": ["a", "b"], "day": [0, 1], "kind": ["x", "y"]})
    X = EventLog(events, "who", "day").attach(events[["who"]], cutoff=2)
    estimator = LSTMClassifier(pooling=pooling, **SMALL, n_networks=1)
    model = make_history_pipeline(estimator).fit(X[["history"]], [0, 1])
    states = []
    for dtype in ("float32", "float16"):
        stream = StreamingScorer(model, "who", "day", dtype=dtype)._streams["history"]
        for day in range(n):
            stream.take_one("a", day, {"kind": "x" if day < n // 2 else "y"})
        states.append(stream.pooled(stream.states.records[:1], np.array([n]), 0))
    # States of cells are rounded by 2 ** -11 of their size.
    assert_allclose(states[1], states[0], rtol=0, atol=5e-4)


def test_float16_saves_bytes_within_its_rounding_error():
    """Float16 has 11 bits: a relative error of 0.0005 for each of about 50 inputs."""
    whole, half = new_scorer("lstm-2"), new_scorer("lstm-2", dtype="float16")
    assert whole.update(EVENTS) == half.update(EVENTS)
    assert half.nbytes < 0.8 * whole.nbytes
    found, expected = (one.predict_proba(PEOPLE, AFTER) for one in (half, whole))
    assert_allclose(found, expected, rtol=0, atol=5e-3)
    assert np.abs(found - expected).max() > 1e-7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allow_exact_matches": "no"}, "allow_exact_matches must be True or False"),
        ({"customer": ["who"]}, r"customer must be the name.*; got \['who'\]"),
        ({"time": None}, "time must be the name.*; got None"),
        ({"time": {"history": 3}}, "time must be the name.*; got 3"),
    ],
)
def test_options_of_another_type(options, message):
    """Text was taken for True, and None for the name of a column."""
    given = {"customer": "who", "time": "when"} | options
    with pytest.raises(TypeError, match=message):
        StreamingScorer(fitted("lstm-1"), **given)
