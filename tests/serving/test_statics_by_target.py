"""Statics of many levels, encoded by targets, in streams and exports."""

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from sklearn_seqcrm.serving._streaming._single_customer_scorer import (
    SingleCustomerScorer,
)
from sklearn_seqcrm.testing._small_data import make_events, make_rows
from tests.serving.streams import AFTER, EVENTS, EXACT, SMALL, as_event, log_until

SHOPS = [f"shop {i}" for i in range(60)]


def model_and_people(n_classes):
    """Return a pipeline, and rows with known, new and missing levels."""
    events, rows = make_events(80), make_rows(80)
    rows["shop"] = np.array(SHOPS, dtype=object)[np.arange(len(rows)) % 60]
    rows.loc[::9, "shop"] = None
    log = log_until(events, events["when"].max())
    X = log.attach(rows, cutoff="at")
    y = np.arange(len(X)) * 7 % 60 * n_classes // 60
    pipeline = make_history_pipeline(
        LSTMClassifier(**SMALL, n_networks=1), many_levels="target"
    )
    people = make_rows(10).drop_duplicates("who").drop(columns="at")
    people = people.reset_index(drop=True)
    people["shop"] = (["shop 7", "new", None] * len(people))[: len(people)]
    return pipeline.fit(X, y), people


@pytest.mark.parametrize("n_classes", [2, 3])
def test_streams_equal_batches(n_classes, monkeypatch):
    model, people = model_and_people(n_classes)
    assert "level" in model["statics"].named_transformers_
    scorer = StreamingScorer(model, "who", "when")
    scorer.update(EVENTS)
    X = log_until(EVENTS).attach(people, cutoff=AFTER)
    expected = model.predict_proba(X)
    assert np.ptp(model[:-1].transform(X).filter(like="shop").to_numpy()) > 0.1
    assert_allclose(scorer.predict_proba(people, AFTER), expected, **EXACT)

    def refuse(*args):
        raise AssertionError("a table was made")

    monkeypatch.setattr(SingleCustomerScorer, "_from_table", refuse)
    for row, wanted in zip(people.to_dict("records"), expected, strict=True):
        found = scorer.score_one(row["who"], None, as_event(row), AFTER)
        assert_allclose(found, wanted, **EXACT)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_exports_equal_batches(n_classes, tmp_path):
    pytest.importorskip("onnxruntime")
    from tests.serving.exports import check, rows_of

    model, people = model_and_people(n_classes)
    X = log_until(EVENTS).attach(people, cutoff=AFTER)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(EVENTS, people, AFTER), X, expected)
    [described] = tmp_path.glob("*.json")
    assert "shop 7" in json.dumps(json.loads(described.read_text())["statics"])
    assert isinstance(X, pd.DataFrame)
