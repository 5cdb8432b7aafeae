"""Run the page on times until events."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def page(one_network, code_of):
    code = code_of("times.md")
    names = {"printed": [], "print": lambda *values: names["printed"].append(values)}
    exec(compile(code, "times.md", "exec"), names)
    return names


def test_answers_agree(page):
    """Probability, quantiles and curve of the first customer are consistent."""
    probability, median, low, high = (one[0] for one in page["answers"].values())
    np.testing.assert_allclose(page["curve"](30), 1 - probability)
    assert low < median < high
    np.testing.assert_allclose(page["curve"](median), 0.5)


def test_probabilities_are_close_to_observed_shares(page):
    """The share of 500 customers who are back."""
    days = page["truth"]["time"] / pd.Timedelta("1D")
    back = page["truth"]["event"] & (days < 30)
    assert abs(back.mean() - page["probability"].mean()) < 0.08
    assert page["printed"][1][0] > 0.55


def test_trees_agree_with_the_network(page):
    """Their mean probabilities of customers at the same cutoff, within 8 points."""
    trees, network = page["of_trees"], page["probability"]
    assert trees.shape == network.shape
    assert abs(trees.mean() - network.mean()) < 0.08


def test_cumulative_incidences_are_close_to_observed_shares(page):
    """They add up to one; nearly no row is censored within 14 days."""
    assert page["printed"][-2] == (True,)
    days = page["y"]["time"] / pd.Timedelta("1D")
    for kind, expected in ((1, page["ordered"]), (2, page["returned"])):
        came = (page["y"]["event"] == kind) & (days < 14)
        assert abs(came.mean() - expected.mean()) < 0.04


def test_networks_are_compared_by_their_concordance(page):
    [[differences]] = page["printed"][-1:]
    assert differences["metric"].tolist() == ["concordance"]
    assert differences["lower"].iloc[0] < differences["upper"].iloc[0]
