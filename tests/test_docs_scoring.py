"""Run the page on scoring: train in March, append April, score on the first of May."""

import pickle

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.metrics import roc_auc_score

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import churned

matplotlib.use("agg")


@pytest.fixture(scope="module")
def page(one_network, code_of, tmp_path_factory):
    code = code_of("scoring.md")
    names = {"print": lambda *values: names.setdefault("printed", values)}
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("scoring")
        patch.chdir(folder)
        exec(compile(code, "scoring.md", "exec"), names)
    plt.close("all")
    return names | {"folder": folder}


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


def test_the_script_scores_everyone_and_counts_each_event_once(page):
    scores = pd.read_csv(page["folder"] / "scores.csv")
    assert scores["customer_id"].tolist() == page["people"]["customer_id"].tolist()
    assert scores["risk"].between(0, 1).all()
    log = EventLog.from_parquet(page["folder"] / "log.parquet")
    until = page["orders"][page["orders"]["timestamp"] < page["today"]]
    lines = until.drop_duplicates()
    assert len(log.to_frame()) >= len(lines)
    assert log.observed_until == page["today"]
    delivered = page["orders"].loc[page["is_new"], "timestamp"]
    assert delivered.max() >= page["today"]
    before = page["orders"]["timestamp"] < "2024-05-01"
    n_may = (page["orders"]["timestamp"] < page["today"]).sum() - before.sum()
    assert n_may <= page["is_new"].sum()
    assert len(log.to_frame()) <= len(until)
