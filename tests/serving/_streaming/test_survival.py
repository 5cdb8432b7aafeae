"""Times until events: streamed curves and risks are those of the pipeline."""

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMSurvival
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from sklearn_seqcrm.testing._small_data import make_events, make_rows

EVENTS = make_events(10).sort_values("when", kind="stable", ignore_index=True)
ROWS = make_rows(10)
PEOPLE = ROWS.drop_duplicates("who").drop(columns="at").reset_index(drop=True)
LOG = EventLog(EVENTS, "who", "when")
AFTER = EVENTS["when"].max() + pd.Timedelta("9D")
WHOLE = EventLog(EVENTS, "who", "when", observed_until=AFTER).attach(
    PEOPLE, cutoff=AFTER
)
SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 1, "random_state": 0}
EXACT = {"rtol": 1e-5, "atol": 1e-5}


def waits(durations, n_kinds=1):
    """Kinds of events, or none, and times to them."""
    number = np.arange(len(ROWS))
    time = 1.0 + number % 30
    y = pd.DataFrame({"event": number % (n_kinds + 1), "time": time})
    return y.assign(time=pd.to_timedelta(time, "D")) if durations else y


def as_row(row):
    return {k: None if pd.isna(v) else v for k, v in row.items()}


@pytest.fixture(scope="module", params=["one kind", "two kinds, two networks"])
def fitted(request):
    several = request.param != "one kind"
    model = LSTMSurvival(n_networks=1 + several, bins=5, **SMALL)
    X, y = LOG.attach(ROWS, cutoff="at"), waits(several, 1 + several)
    return make_history_pipeline(model).fit(X, y)


@pytest.fixture
def scorer(fitted):
    found = StreamingScorer(fitted, "who", "when")
    found.update(EVENTS.iloc[:30])
    for event in EVENTS.iloc[30:].to_dict("records"):
        statics = as_row(PEOPLE[PEOPLE["who"] == event["who"]].iloc[0])
        found.score_one(event["who"], as_row(event), statics, AFTER)
    return found


def test_every_survival_prediction_equals_the_pipeline(fitted, scorer):
    X, model = fitted[:-1].transform(WHOLE), fitted[-1]
    horizons = np.linspace(1, 20, len(PEOPLE))
    for method, options in (
        ("predict", {}),
        ("predict_survival_function", {"return_array": True}),
        ("predict_cumulative_hazard_function", {"return_array": True}),
        ("predict_cumulative_incidence", {}),
        ("predict_cumulative_incidence", {"times": [3, 7.5]}),
        ("predict_quantile", {"q": [0.2, 0.5]}),
        ("predict_proba_before", {"horizon": 14}),
        ("predict_proba_before", {"horizon": horizons}),
    ):
        found = getattr(scorer, method)(PEOPLE, AFTER, **options)
        assert_allclose(found, getattr(model, method)(X, **options), **EXACT)
    curves = scorer.predict_survival_function(PEOPLE, AFTER)
    chances = model.predict_proba_before(X, 10)
    assert_allclose([1 - curve(10) for curve in curves], chances, **EXACT)
    assert not hasattr(scorer, "predict_proba")


def test_one_customer(fitted, scorer):
    X, model = fitted[:-1].transform(WHOLE), fitted[-1]
    risks, chances = model.predict(X), model.predict_proba_before(X, 14)
    survival = model.predict_survival_function(X, return_array=True)
    edges = model.unique_times_
    for i, row in enumerate(PEOPLE.to_dict("records")):
        args = row["who"], None, as_row(row), AFTER
        assert_allclose(scorer.score_one(*args), risks[i], **EXACT)
        found = scorer.score_one(*args, horizon=14)
        assert np.ndim(found) == 0
        assert_allclose(found, chances[i], **EXACT)
        curve = 1 - scorer.score_one(*args, horizon=edges)
        assert_allclose(curve, survival[i], **EXACT)


def test_restored_states_accept_further_events(fitted, scorer, tmp_path):
    scorer.to_parquet(tmp_path / "states")
    joblib.dump(scorer, tmp_path / "scorer")
    expected = scorer.predict_survival_function(PEOPLE, AFTER, return_array=True)
    for again in (
        StreamingScorer.from_parquet(tmp_path / "states", fitted, "who", "when"),
        joblib.load(tmp_path / "scorer"),
    ):
        found = again.predict_survival_function(PEOPLE, AFTER, return_array=True)
        assert_allclose(found, expected, rtol=1e-6)


def test_a_bad_horizon_changes_no_state(fitted, scorer):
    event = {**as_row(EVENTS.iloc[0]), "when": AFTER}
    statics = as_row(PEOPLE[PEOPLE["who"] == event["who"]].iloc[0])
    args = event["who"], event, statics, AFTER + pd.Timedelta("1D")
    before = scorer.predict(PEOPLE, AFTER)
    with pytest.raises(ValueError, match="horizon must lie between 0 and"):
        scorer.score_one(*args, horizon=1000)
    with pytest.raises(ValueError, match="horizon must be a number or a length"):
        scorer.score_one(*args, horizon="soon")
    assert_allclose(scorer.predict(PEOPLE, AFTER), before, rtol=0)


def test_only_survival_models_take_a_horizon():
    X, y = LOG.attach(ROWS, cutoff="at"), np.arange(len(ROWS)) % 2
    model = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1)).fit(X, y)
    scorer = StreamingScorer(model, "who", "when")
    with pytest.raises(TypeError, match=r"horizon=7 is for LSTMSurvival"):
        scorer.score_one("c1", None, as_row(PEOPLE.iloc[0]), AFTER, horizon=7)
    assert not hasattr(scorer, "predict_proba_before")
