"""Run the pages of the guide that have no test file of their own.

To save time, networks with the default `n_networks` are single here, and so are those
of the other tests of pages with the fixture `one_network`. `make docs` runs the pages
with the default ensembles.
"""

import re
import warnings
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from matplotlib import pyplot as plt

matplotlib.use("agg")
pytestmark = pytest.mark.usefixtures("one_network")

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = (DOCS / "guide.md").read_text(encoding="utf-8")
TREES = re.findall(r"```\{toctree\}\n(.*?)```", GUIDE, flags=re.DOTALL)
PAGES = re.findall(r"^(\w+)$", "\n".join(TREES), flags=re.MULTILINE)
# They have formulas, results of benchmarks, or files of the examples.
PAGES_WITHOUT_CODE = {
    "event_model_formulas",
    "event_model_accuracy",
    "service",
    "uplift_accuracy",
}


def test_the_guide_describes_each_of_its_pages():
    assert re.findall(r"^- \[\]\((\w+)\.md\): ", GUIDE, flags=re.MULTILINE) == PAGES


def test_the_pages_are_found():
    assert {"histories", "migrating"} | PAGES_WITHOUT_CODE < set(PAGES)


@pytest.mark.parametrize("page", sorted({*PAGES} - PAGES_WITHOUT_CODE))
def test_pages_have_code_that_runs_and_a_figure(page, code_of):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    drawn = re.search(r"Display\.from_|plt\.subplots|\.plot[.(]", code_of(f"{page}.md"))
    assert drawn or re.search(r"!\[[^]]+\]\(images/", text)
    assert code_of(f"{page}.md")


@pytest.fixture
def run(code_of, tmp_path, monkeypatch):
    """Return a function that runs a page in an empty folder and returns its names."""

    def run_page(page):
        monkeypatch.chdir(tmp_path)
        names = {"print": lambda *values: None}
        exec(compile(code_of(page), page, "exec"), names)
        plt.close("all")
        return names

    return run_page


def test_getting_started(run):
    """Boosting and the network are equally good; the saved model scores all."""
    page = run("getting_started.md")
    scores = page["comparison"].summary.set_index("model")["score"]
    assert scores.min() > 0.8
    assert abs(scores["LSTM"] - scores["aggregates + boosting"]) < 0.03
    assert len(page["now"]) == 400
    assert page["now"]["risk"].between(0, 1).all()


def test_choosing(run):
    """A customer who churned has no orders, no spend, and no time."""
    labels = run("choosing.md")["labels"]
    churned = labels["churned"] == 1
    assert 0 < churned.mean() < 1
    assert (labels.loc[churned, ["orders", "spend"]] == 0).all(axis=None)
    assert (labels.loc[~churned, "orders"] > 0).all()
    assert (labels.loc[~churned, "days_to_next"] < 90).all()


def test_histories(run):
    page = run("histories.md")
    recent = page["recent"]
    rows = recent.groupby("cutoff").size()
    known = page["churned"](recent, "30D", censored="nan").groupby(recent["cutoff"])
    assert known.count().tolist() == [rows.iloc[0], 0]
    days = page["days"].to_frame()
    assert days["event"].tolist() == ["order", "cancellation"]
    assert days["amount"].tolist() == [22, -9]
    assert days["n_events"].tolist() == [3, 1]


def test_the_leak_scores_higher_than_the_truth(run):
    page = run("late_facts.md")
    auc = page["auc"]
    # A flag is in the log once it is final, and never before the outcome is known.
    final, outcomes = page["final"], page["shop"].outcomes
    assert (final["timestamp"] < page["shop"].observed_until).all()
    known = final.loc[outcomes.index]
    assert (known["returned"] == outcomes["returned"]).all()
    assert (known["timestamp"] >= outcomes["timestamp"]).all()
    assert auc["honest"] < auc["true probability"] < auc["leaky"] - 0.02


def test_statics(run):
    """Statics help; a count as of today leaks the target, and fails in use."""
    page = run("statics.md")
    auc, leak = page["auc"], page["leak"]
    for name in page["models"]:
        assert auc[f"{name}, with statics"] > auc[f"{name}, histories alone"]
    assert leak["as of today"] > leak["true probability"] + 0.02
    assert leak["as of today, in use"] < auc["aggregates + boosting, histories alone"]
    assert abs(leak["as of the cutoff"] - leak["without it"]) < 0.02


def test_recurrent(run):
    """A plain cell hardly depends on the oldest event."""
    flows = run("recurrent.md")["flows"]
    oldest = {cell: flow.groupby("age")["norm"].mean() for cell, flow in flows.items()}
    ratio = pd.Series({cell: norm[30] / norm[1] for cell, norm in oldest.items()})
    assert ratio["rnn"] < 0.01


def test_models(run):
    page = run("models.md")
    assert set(page["search"].best_params_) == {
        "estimator__dropout",
        "estimator__hidden_size",
    }
    assert page["losses"]["valid_loss"].min() < 0.66


def test_own_modules(run):
    """Scores are better than chance, and padding is not an event."""
    page = run("own_modules.md")
    assert page["scores"].mean() > 0.6
    tensors = page["tensors"]
    shown = (tensors["codes"][:, :, 0] > 0).sum(axis=1)
    assert (shown == tensors["lengths"]).all()
    # A second call of `partial_fit` trains the same module; larger codes have a vector.
    net = page["net"].set_params(max_epochs=1)
    module = net.fit(tensors, page["y"]).module_
    assert net.partial_fit(tensors, page["y"]).module_ is module
    unseen = {**tensors, "codes": tensors["codes"] + 5}
    assert net.predict_proba(unseen).shape == (len(page["y"]), 2)


def test_a_random_split_is_too_optimistic(run):
    """Windows of 90 days that begin two weeks apart share most of their days."""
    page = run("validation.md")
    auc = page["auc"]
    assert auc["rows at random"] > auc["what came later"] + 0.1
    assert abs(auc["CutoffSplit"] - auc["what came later"]) < 0.06
    for by_cutoff in page["coverage"].values():
        assert by_cutoff.between(0.83, 0.97).all()


def test_comparison(run):
    """In these journeys the order of events matters; aggregates do not contain it."""
    found = run("comparison.md")["comparison"].differences.set_index("model")
    assert found.loc["hybrid", "difference"] > 0
    assert found.loc["RFM + boosting", "difference"] < 0.01


def test_performance(run):
    """Times depend on the machine, so they are not tested."""
    assert sorted(run("performance.md")["seconds"]) == [1, 6, 12]


def test_the_size_of_a_model_does_not_depend_on_the_number_of_customers(run):
    sizes = run("persistence.md")["sizes"]
    growth = sizes.loc[4_000] / sizes.loc[250]
    assert growth["a model"] < 1.2
    assert growth["ten rows of X, pickled"] < 2
    assert growth["the log, to_parquet"] > 8


def test_migrating(run):
    """The figure shows all events of a customer; there is no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = run("migrating.md")
    assert set(page["past"]) | set(page["future"]) == set(page["days"])
