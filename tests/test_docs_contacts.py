"""Run the page on contacts."""

from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from sklearn_seqcrm import uplift

PAGE = Path(__file__).parents[1] / "docs" / "whom_to_contact.md"


@pytest.fixture(scope="module")
def page(one_network, code_of):
    names = {"print": lambda *values: None}
    code = code_of("whom_to_contact.md")
    exec(compile(code, "whom_to_contact.md", "exec"), names)
    plt.close("all")
    return names


def test_networks_find_effects_that_aggregates_do_not(page):
    assert page["qini"].score > 0.02
    assert abs(page["scores"]["test_score"]).max() < 0.06


def test_the_plan_keeps_its_limits(page):
    plan = page["plan"]
    assert plan.contacts["customer"].is_unique
    assert plan.cost <= 650
    assert (plan.contacts["treatment"] == "call").sum() <= 20
    assert plan.optimality_gap < 0.01 * plan.profit


def test_the_page_names_the_public_names():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in uplift.__all__ if f"`{name}" not in text] == []


def test_the_mail_itself_is_no_outcome(page):
    """Ann was mailed and ordered nothing; Bob ordered without a mail."""
    assert page["own_bought"].tolist() == [0, 1]
    assert page["own_spend"].tolist() == [0, 30]
