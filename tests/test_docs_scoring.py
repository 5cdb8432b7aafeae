"""Train in March, append April, score on the first of May: the page, run as it is."""

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
def test_one_row_has_the_score_that_it_has_among_all(page, model, rtol):
    """Whatever the order of columns, also after a pickle, as a service has it."""
    model = pickle.loads(pickle.dumps(page[model]))
    rows, known, one = page["rows"], page["known"], page["one"]
    assert list(rows) != list(known)
    whole = dict(zip(rows["customer_id"], model.predict_proba(rows), strict=True))
    for some in (known, one):
        expected = [whole[customer] for customer in some["customer_id"]]
        np.testing.assert_allclose(model.predict_proba(some), expected, rtol=rtol)


@pytest.mark.parametrize("model", ["boosting", "lstm"])
def test_scores_of_may_rank_what_may_brought(page, model):
    future = EventLog(page["orders"], "customer_id", "timestamp")
    y = churned(future.attach(page["people"], cutoff="2024-05-01"), "30D")
    scores = page[model].predict_proba(page["rows"])[:, 1]
    assert roc_auc_score(y, scores) > 0.55
