"""From a log to times, chances and kinds of events: the page, run as it is."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def page(code_of):
    code = code_of("times.md")
    names = {"printed": [], "print": lambda *values: names["printed"].append(values)}
    exec(compile(code, "times.md", "exec"), names)
    return names


def test_answers_agree(page):
    """The chance before 30 days, a quantile and the curve of the first customer."""
    chance, median, low, high = (one[0] for one in page["answers"].values())
    np.testing.assert_allclose(page["curve"](30), 1 - chance)
    assert low < median < high
    np.testing.assert_allclose(page["curve"](median), 0.5)


def test_chances_are_what_comes(page):
    """By the shares that are back, of 500 customers."""
    days = page["truth"]["time"] / pd.Timedelta("1D")
    back = page["truth"]["event"] & (days < 30)
    assert abs(back.mean() - page["chance"].mean()) < 0.08
    assert page["printed"][1][0] > 0.55


def test_kinds_add_up_and_are_what_came(page):
    assert page["printed"][-2] == (True,)


def test_networks_are_compared_by_their_concordance(page):
    [[differences]] = page["printed"][-1:]
    assert differences["metric"].tolist() == ["concordance"]
    assert differences["lower"].iloc[0] < differences["upper"].iloc[0]
    days = page["y"]["time"] / pd.Timedelta("1D")
    for kind, expected in ((1, page["ordered"]), (2, page["returned"])):
        # Nearly all rows were watched for 14 days.
        came = (page["y"]["event"] == kind) & (days < 14)
        assert abs(came.mean() - expected.mean()) < 0.04
