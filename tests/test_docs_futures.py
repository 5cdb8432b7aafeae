"""Run the page on the event model, and check the one on its accuracy."""

import re
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def page(code_of):
    code = code_of("futures.md")
    names = {"printed": [], "print": lambda *values: names["printed"].append(values)}
    exec(compile(code, "futures.md", "exec"), names)
    return names


def test_totals_are_close_to_the_observed_ones(page):
    assert 0.6 < page["ratio"] < 1.6
    assert 0.6 < page["is_inside"].mean() < 0.98


def test_demand_is_close_to_the_observed_one(page):
    (demand,) = page["printed"][0]
    assert demand["start"].dt.days.unique().tolist() == [0, 28]
    assert set(demand["level"]) == set(page["orders"]["category"])
    came, months = page["came"].sum(), demand.groupby("start")["mean"].sum()
    assert 0.6 < months.sum() / came < 1.6
    assert (demand["lower"] <= demand["mean"]).all()


def test_each_horizon_has_a_column(page):
    both, value, paths = page["both"], page["value"], page["paths"]
    assert both.columns.levels[0].days.tolist() == [28, 56]
    assert both["28D"].columns.tolist() == value.columns.tolist()
    np.testing.assert_allclose(both["56D", "mean"], value["mean"])
    np.testing.assert_allclose(paths.mean(axis=1), value["mean"])


def test_lists_are_ranked_by_probability(page):
    for (table,) in page["printed"][2:5]:
        assert list(table["rank"]) == [1, 2, 3] * 2
        assert table["probability"].between(0, 1).all()
        falling = table.groupby("row")["probability"].diff().dropna() <= 0
        assert falling.all()


def test_a_score_is_that_of_the_events_and_of_the_censoring_time(page):
    """The censoring term is the log of a probability, and survival curves fall."""
    assert (page["censoring"] < 0).all()
    week, month = page["printed"][5][0]
    assert 1 > week > month > 0


def test_states_have_a_column_per_unit(page):
    assert page["printed"][7] == ((len(page["X"]), 32),)
    assert np.abs(page["states"].to_numpy()).max() <= 1


def test_networks_start_from_the_event_model(page):
    assert page["away"][-1].pretrained is page["away"][0].pretrained is page["model"]
    assert (page["printed"][8][0] < 1).all()


def test_simulated_customers_are_close_to_real_ones(page):
    """At most three times the distance between two halves of the real customers."""
    (simulated, _), (by_chance,), (covered,) = page["printed"][-3:]
    assert simulated < 3 * by_chance
    assert 0.6 < covered < 0.95


@pytest.fixture(scope="module")
def tables():
    return (DOCS / "benchmark_results" / "futures.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def prose():
    page = DOCS / "event_model_accuracy.md"
    return " ".join(page.read_text(encoding="utf-8").split())


def test_tables_are_named_by_their_captions(tables, prose):
    """Their positions change with the runs that have results."""
    captions = re.findall(r"^:::\{table\} (.+)$", tables, re.MULTILINE)
    assert tables.count("\n| --- |") == len(captions)
    # Longer names in quotes are those of tables, shorter ones are words of them.
    named = {name for name in re.findall(r'"([A-Z][^"`]+)"', prose) if " " in name}
    assert named == set(captions)
    by_place = r"\b(?:first|second|third|fourth|fifth|last) table\b"
    assert re.findall(by_place, prose) == []


def test_the_page_says_whether_figures_have_a_range_over_seeds(tables, prose):
    has_range = re.search(r"\(\S+ to \S+\)", tables) is not None
    assert ("five seeds, with the smallest and the largest value" in prose) == has_range
