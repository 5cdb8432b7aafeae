"""Run the recipes for other tools, where the tool is installed."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose

from sklearn_seqcrm.ensemble import make_hybrid
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

DOCS = Path(__file__).parents[1] / "docs"
SINGLE = {"rtol": 1e-5, "atol": 1e-6}  # a network computes in single precision


@pytest.fixture(scope="module")
def page(code_of):
    """Run the cells of the page, and return their names."""
    names = {"print": lambda *values: None}
    exec(compile(code_of("other_tools.md"), "other_tools.md", "exec"), names)
    plt.close("all")
    return names


@pytest.fixture(scope="module")
def model(page):
    net = LSTMClassifier(hidden_size=4, max_epochs=1, random_state=0, n_networks=1)
    april = page["april"]
    return make_history_pipeline(net).fit(april, np.arange(len(april)) % 2)


def run_recipe(section, names):
    """Run the code of a section that the page shows but does not run."""
    text = (DOCS / "other_tools.md").read_text(encoding="utf-8")
    text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(compile(code, section, "exec"), names)
    return names


def test_other_tools(page):
    """New levels shift the codes of all earlier ones."""
    before, after = page["levels"].values()
    assert len(after.difference(before)) == 3
    assert all(before.get_loc(name) < after.get_loc(name) for name in before)


# Records ------------------------------------------------------------------------------


def test_records_have_the_scores_of_their_rows(page, model):
    april, december = page["april"], page["december"]
    X = pd.concat([april.iloc[:20], december.iloc[:20]], ignore_index=True)
    records = page["with_events"](X)
    # As a service receives them: plain values only.
    records = pd.DataFrame(json.loads(json.dumps(records.to_dict("records"))))
    expected = model.predict_proba(X)[:, 1]
    assert_allclose(page["score"](records, model), expected, **SINGLE)
    for i in (0, 25):
        one = page["score"](records.iloc[[i]], model)
        assert_allclose(one, expected[[i]], **SINGLE)


def test_records_without_events_have_the_score_of_unknown_customers(page, model):
    log, april = page["log"], page["april"]
    nobody = pd.DataFrame({"household_id": [-5], "cutoff": ["2017-04-01"]})
    dates = nobody.assign(cutoff=pd.to_datetime(nobody["cutoff"]))
    X = log.attach(dates, "household_id", "cutoff")
    records = nobody.assign(events=[[]])
    expected = model.predict_proba(X)[:, 1]
    assert_allclose(page["score"](records, model), expected, **SINGLE)
    # Fields of a record may be absent, empty or have new levels.
    event = page["with_events"](april.iloc[[0]])["events"].iloc[0][0]
    short = {"day": event["day"]}
    empty = dict.fromkeys(event) | short
    new = event | {"department": "moon", "store_id": "none"}
    records = pd.concat([records] * 3).assign(events=[[short], [empty], [new]])
    found = page["score"](records, model)
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert np.isfinite(found).all()


# Recipes ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["xgboost", "catboost"])
def test_boosted_trees(name, page):
    """Missing values, new levels and single rows work, also in a hybrid."""
    pytest.importorskip("catboost")  # the second recipe continues the first
    pytest.importorskip("xgboost")
    names = run_recipe("XGBoost and CatBoost", dict(page))
    X, y, pipeline = names["X"], names["y"], names[name]
    assert X.isna().any(axis=None)
    shares = pipeline.predict_proba(X)
    assert_allclose(pipeline.predict_proba(X.iloc[[3]]), shares[[3]], **SINGLE)
    unknown = X.assign(income="none of these")
    assert pipeline.predict_proba(unknown).shape == (len(X), 2)
    net = LSTMClassifier(hidden_size=4, max_epochs=1, random_state=0, n_networks=1)
    hybrid = make_hybrid(net, pipeline, random_state=0).fit(X, y)
    assert hybrid.predict(X).shape == (len(X),)


def test_mlflow(page, tmp_path, monkeypatch):
    """Log the model, load it as pyfunc, and call it with records."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own about others
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
        names = run_recipe("MLflow", dict(page))
        expected = names["model"].predict_proba(names["april"])[:, 1]
        assert_allclose(names["found"], expected, **SINGLE)
        one = names["loaded"].predict(names["records"].iloc[[7]])
    assert_allclose(one, expected[[7]], **SINGLE)
