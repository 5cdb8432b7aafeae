"""Run the page on explanations."""

import matplotlib
import pytest
from matplotlib import pyplot as plt
from sklearn.metrics import roc_auc_score

from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

matplotlib.use("agg")


@pytest.fixture(scope="module")
def page(one_network, code_of):
    code = code_of("explanations.md")
    names = {"print": lambda one: names.setdefault("printed", []).append(one)}
    exec(compile(code, "explanations.md", "exec"), names)
    yield names
    plt.close("all")


def test_attributions_sum_to_the_output_minus_the_baseline(page):
    assert page["printed"][-1]


def test_statements_about_the_figures_hold(page):
    overview = page["overview"]
    assert overview.of_rows > overview.means.sum(axis=1).max()
    lines = page["found"].table.set_index("group")
    assert lines.loc["history", "importance"] == pytest.approx(
        lines["importance"].max(), abs=0.03
    )
    picture = page["picture"]
    assert picture.events["attribution"].notna().all()
    single = picture.beside.drop("sum of all events").abs()
    assert single.max() > picture.events["attribution"].abs().max()
    assert overview.ax_.get_ylim()[1] < overview.of_rows
    assert lines.loc["history", "lower"] > 0
    names = page["found"].table.set_index("name")
    assert names.loc["channel", "lower"] < 0 < names.loc["channel", "upper"]
    kinds = names[names["group"] == "kind"]
    assert kinds["importance"].idxmax() == "order"
    assert names.loc["30D", "lower"] > 0 > names.loc["180D", "lower"]


def test_methods_disagree_on_some_events(page):
    """The signs of occlusion, but not of blanking, are opposite on the events shown."""
    shown = page["by_method"].loc[page["size"].nlargest(3).index]
    signs = shown.apply(lambda column: column > 0)
    assert (signs["blanking"] == signs["integrated_gradients"]).all()
    assert (signs["occlusion"] != signs["integrated_gradients"]).all()


def test_gates_and_flow(page):
    n_events = page["some"]["history"].array.lengths.sum()
    assert len(page["flow"]) == n_events
    assert len(page["gates"]) == 16 * n_events
    assert page["gates"]["forget"].between(0, 1).all()


def test_statements_about_channels_hold(page):
    shares = page["display"].shares
    errors = shares.sub(shares["truth"], axis=0).abs().mean().round(2)
    assert errors.to_dict() == {
        "truth": 0,
        "model": pytest.approx(0.04, abs=0.011),
        "first touch": pytest.approx(0.07, abs=0.011),
        "last touch": pytest.approx(0.20, abs=0.011),
        "Markov": pytest.approx(0.15, abs=0.011),
    }


def test_orders_take_no_credit(page):
    """The last touch divides the orders that have touches, the model all orders."""
    found = page["credits_of_kinds"]
    assert list(found.index) == ["mailing", "visit"]
    with_touches = (page["paths"]["history"].array.lengths > 0) & page["has_order"]
    assert found["last touch"].sum() == with_touches.sum()
    assert found["model"].sum() < page["has_order"].sum()


def test_ends_of_paths_do_not_predict_conversion(page):
    """Without touches, a network has the hour and the weekday of the end only."""
    paths, y = page["paths"], page["has_order"]
    ends = paths[["customer_id", "end"]]
    empty = page["touches_only"].attach(ends, cutoff="end", lookback="1ns")
    network = LSTMClassifier(hidden_size=8, max_epochs=15, n_networks=1, random_state=0)
    fitted = make_history_pipeline(network).fit(paths[["history"]], y)
    with_touches, without = (
        roc_auc_score(y, fitted.predict_proba(rows[["history"]])[:, 1])
        for rows in (paths, empty)
    )
    assert not empty["history"].array.lengths.any()
    assert with_touches == pytest.approx(0.78, abs=0.05)
    assert without == pytest.approx(0.5, abs=0.05)
