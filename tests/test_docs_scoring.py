"""Run the page on scoring: train in March, append April, score on the first of May."""

import pickle

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import churned


@pytest.fixture(scope="module")
def page(code_of):
    code = code_of("scoring.md")
    names = {"print": lambda *values: names.setdefault("printed", values)}
    exec(compile(code, "scoring.md", "exec"), names)
    return names


def test_the_three_ways_agree(page):
    assert all(page["printed"])


@pytest.mark.parametrize(("model", "rtol"), [("boosting", 0), ("lstm", 1e-5)])
def test_a_row_has_the_same_score_alone_and_among_others(page, model, rtol):
    """In any order of columns, and after a pickle."""
    model = pickle.loads(pickle.dumps(page[model]))
    rows, known, one = page["rows"], page["known"], page["one"]
    assert list(rows) != list(known)
    whole = dict(zip(rows["customer_id"], model.predict_proba(rows), strict=True))
    for some in (known, one):
        expected = [whole[customer] for customer in some["customer_id"]]
        np.testing.assert_allclose(model.predict_proba(some), expected, rtol=rtol)


@pytest.mark.parametrize("model", ["boosting", "lstm"])
def test_scores_rank_the_churners_of_may(page, model):
    future = EventLog(page["orders"], "customer_id", "timestamp")
    y = churned(future.attach(page["people"], cutoff="2024-05-01"), "30D")
    scores = page[model].predict_proba(page["rows"])[:, 1]
    assert roc_auc_score(y, scores) > 0.55
