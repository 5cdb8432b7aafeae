"""Statics cut into pieces, in streams, exports, attributions and padded tensors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from sklearn_seqcrm._recurrent.network import _static_pieces
from sklearn_seqcrm.inspection import event_attributions
from sklearn_seqcrm.neural_network import (
    HistoryPadder,
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
)
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from sklearn_seqcrm.testing._small_data import make_events, make_rows
from tests.inspection.models import assert_complete, assert_complete_by_field
from tests.serving.streams import AFTER, EVENTS, EXACT, SMALL, as_event, log_until

TRAINED = {**SMALL, "learning_rate": 0.2, "n_networks": 1}


@pytest.fixture(autouse=True)
def _pieces_of_few_values(monkeypatch):
    monkeypatch.setattr(_static_pieces, "_LEAST_COUNT", 5)


def fit(estimator, y=None):
    """Return a pipeline whose network has learned weights of pieces."""
    events, rows = make_events(80), make_rows(80)
    X = log_until(events, events["when"].max()).attach(rows, cutoff="at")
    y = np.arange(len(X)) % 3 == 0 if y is None else y[: len(X)]
    model = make_history_pipeline(estimator).fit(X, y)
    assert model[-1].net_.module_.pieces.weights.weight.abs().max() > 0.05
    return model


def people_of(n):
    people = make_rows(n).drop_duplicates("who").drop(columns="at")
    return people.reset_index(drop=True)


TIMES = np.zeros(1000, dtype=[("event", bool), ("time", float)])
TIMES["event"], TIMES["time"] = np.arange(1000) % 4 > 0, np.arange(1000) % 7 + 1
MODELS = [
    (LSTMClassifier(**TRAINED), None),
    (LSTMClassifier(**{**TRAINED, "head_sizes": ()}), None),
    (LSTMRegressor(**TRAINED), np.arange(1000.0) % 7),
    (LSTMSurvival(**TRAINED), TIMES),
]


@pytest.mark.parametrize(("estimator", "y"), MODELS)
def test_streams_equal_batches(estimator, y):
    model, people = fit(clone(estimator), y), people_of(10)
    method = "predict_proba" if y is None else "predict"
    expected = getattr(model, method)(log_until(EVENTS).attach(people, cutoff=AFTER))
    scorer = StreamingScorer(model, "who", "when")
    scorer.update(EVENTS)
    assert_allclose(getattr(scorer, method)(people, AFTER), expected, **EXACT)
    for row, wanted in zip(people.to_dict("records"), expected, strict=True):
        found = scorer.score_one(row["who"], None, as_event(row), AFTER)
        assert_allclose(found, wanted, **EXACT)


@pytest.mark.parametrize(("estimator", "y"), MODELS[:2])
def test_exports_equal_batches(estimator, y, tmp_path):
    pytest.importorskip("onnxruntime")
    from tests.serving.exports import check, rows_of

    model, people = fit(clone(estimator), y), people_of(10)
    X = log_until(EVENTS).attach(people, cutoff=AFTER)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(EVENTS, people, AFTER), X, expected)


@pytest.mark.parametrize(("estimator", "y"), MODELS[:2])
def test_attributions_add_up(estimator, y):
    model = fit(clone(estimator), y)
    X = log_until(EVENTS).attach(people_of(10), cutoff=AFTER)
    found = assert_complete_by_field(model, X)
    assert "age" in set(found["field"])


@pytest.mark.parametrize("options", [{"loss": "poisson"}, {"n_networks": 2}])
def test_attributions_add_up_where_the_quantity_is_no_sum_of_outputs(options):
    """Within a stretch of the path, a piece changes outputs by much."""
    y = np.arange(1000) % 7 if "loss" in options else None
    estimator = LSTMClassifier if y is None else LSTMRegressor
    model = fit(estimator(**{**TRAINED, **options}), y)
    X = log_until(EVENTS).attach(people_of(10), cutoff=AFTER)
    found, outputs = event_attributions(
        model, X, "integrated_gradients", by="field", return_outputs=True
    )
    assert (outputs["output"] - outputs["baseline"]).abs().max() > 0.3
    assert_complete(found, outputs, atol=5e-4)


def test_an_exposure_is_not_cut():
    """It is no input of the head, so that the columns behind it move by one."""
    rng = np.random.default_rng(0)
    rows = make_rows(80).drop(columns="age")
    for name in ("price", "months", "weight"):
        rows[name] = rng.uniform(1, 9, len(rows)).round(1)
    X = log_until(make_events(80)).attach(rows, cutoff="at")
    network = LSTMRegressor(**TRAINED, loss="poisson", exposure="months")
    model = make_history_pipeline(network).fit(X, rng.poisson(rows["price"]))
    names = [*model[-1]._roles.statics]
    n_features = model[-1].net_.module__n_static - (len(names) - 1)
    cut = model[-1].net_.module_.pieces.column.unique() - n_features
    names.remove("months")
    assert [names[i] for i in cut] == ["price", "weight", "joined"]
    people = rows.drop_duplicates("who").drop(columns="at")
    people = people[people["who"].isin(EVENTS["who"])]
    expected = model.predict(log_until(EVENTS).attach(people, cutoff=AFTER))
    scorer = StreamingScorer(model, "who", "when")
    scorer.update(EVENTS)
    assert_allclose(scorer.predict(people, AFTER), expected, **EXACT)
    for row, wanted in zip(people.to_dict("records"), expected, strict=True):
        assert_allclose(scorer.score_one(row["who"], None, row, AFTER), wanted, **EXACT)


@pytest.mark.parametrize(
    "amount", [np.exp(6 * np.arange(-100, 100) / 40), 1e9 + np.arange(200) / 64]
)
def test_streams_equal_batches_for_values_close_to_one_another(amount):
    """Where a piece has the length of a few float32 steps, rounding would show."""
    rows = make_rows(80).drop(columns="age")
    rows["amount"] = np.resize(amount, len(rows))
    X = log_until(make_events(80)).attach(rows, cutoff="at")
    y = rows["amount"] > np.median(amount)
    model = make_history_pipeline(LSTMClassifier(**TRAINED)).fit(X, y)
    people = rows.assign(who=np.resize(EVENTS["who"].unique(), len(rows)))
    people = people.drop(columns="at")
    expected = model.predict_proba(log_until(EVENTS).attach(people, cutoff=AFTER))
    assert expected[:, 1].std() > 0.1
    scorer = StreamingScorer(model, "who", "when")
    scorer.update(EVENTS)
    assert_allclose(scorer.predict_proba(people, AFTER), expected, **EXACT)
    for row, wanted in zip(people.to_dict("records"), expected, strict=True):
        assert_allclose(scorer.score_one(row["who"], None, row, AFTER), wanted, **EXACT)


def test_padded_tensors_have_the_same_pieces():
    model = fit(LSTMClassifier(**TRAINED))
    X = log_until(EVENTS).attach(people_of(10), cutoff=AFTER)
    frame = model[:-1].transform(X)
    padded = HistoryPadder().fit_transform(frame)
    assert_allclose(
        model[-1].predict_proba(padded), model[-1].predict_proba(frame), atol=1e-5
    )
    y = np.arange(len(frame)) % 2
    columns = [
        clone(model[-1]).fit(one, y).net_.module_.pieces.column.tolist()
        for one in (frame, padded)
    ]
    assert columns[0] == columns[1] != []


def test_a_row_alone_and_in_a_batch():
    model = fit(LSTMClassifier(**TRAINED))
    X = log_until(EVENTS).attach(people_of(10), cutoff=AFTER)
    alone = np.concatenate([model.predict_proba(X[i : i + 1]) for i in range(len(X))])
    assert_allclose(model.predict_proba(X), alone, atol=1e-6)
