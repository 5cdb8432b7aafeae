"""Effects of treatments: streamed and exported scores are those of the pipeline."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMUpliftClassifier, LSTMUpliftRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from sklearn_seqcrm.testing._small_data import DAY, make_events, make_rows

EVENTS = make_events(10).sort_values("when", kind="stable", ignore_index=True)
ROWS = make_rows(10)
PEOPLE = ROWS.drop_duplicates("who").drop(columns="at").reset_index(drop=True)
LOG = EventLog(EVENTS, "who", "when")
AFTER = EVENTS["when"].max() + 9 * DAY
SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 1, "random_state": 0}
NUMBER = np.arange(len(ROWS))
TWO, THREE = NUMBER % 2, np.array(["none", "mail", "call"])[NUMBER % 3]

MODELS = [
    (LSTMUpliftClassifier(**SMALL, n_networks=2), TWO),
    (LSTMUpliftClassifier(**SMALL, n_networks=2, control="none"), THREE),
    (LSTMUpliftRegressor(**SMALL, n_networks=2), TWO),
    (
        LSTMUpliftRegressor(
            **SMALL, n_networks=2, control="none", loss="zero_inflated_lognormal"
        ),
        THREE,
    ),
]


@pytest.fixture(scope="module", params=MODELS)
def fitted(request):
    estimator, treatment = request.param
    model = make_history_pipeline(estimator)
    X = LOG.attach(ROWS, cutoff="at")
    return model.fit(X, NUMBER // 2 % 2, estimator__treatment=treatment)


def test_streamed_effects(fitted):
    scorer = StreamingScorer(fitted, "who", "when")
    scorer.update(EVENTS.iloc[:30])
    X = fitted[:-1].transform(LOG.attach(PEOPLE, cutoff=AFTER))
    scorer.update(EVENTS.iloc[30:])
    for method in ("predict", "predict_outcomes", "predict_interval"):
        expected = getattr(fitted[-1], method)(X)
        found = getattr(scorer, method)(PEOPLE, AFTER)
        assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert not hasattr(scorer, "predict_proba")

    statics = PEOPLE.iloc[0].to_dict()
    found = scorer.score_one(statics["who"], None, statics, AFTER)
    assert_allclose(found, fitted[-1].predict(X)[0], rtol=1e-5, atol=1e-5)


def test_exported_effects(fitted, tmp_path):
    pytest.importorskip("onnxruntime")
    from tests.serving.exports import SOME, SOME_ROWS, check

    X = LOG.attach(SOME, cutoff=AFTER)
    encoded = fitted[:-1].transform(X)
    expected = {
        "effect": fitted.predict(X),
        "outcomes": fitted[-1].predict_outcomes(encoded),
    }
    check(fitted, tmp_path, SOME_ROWS, X, expected)
