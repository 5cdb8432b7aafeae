"""Run the page on recommendations."""

import pytest


@pytest.fixture(scope="module")
def page(code_of):
    code = code_of("recommendations.md")
    names = {"printed": [], "print": lambda *values: names["printed"].append(values)}
    exec(compile(code, "recommendations.md", "exec"), names)
    return names


def test_lists_have_the_customer(page):
    (table,) = page["printed"][0]
    columns = ["row", "customer_id", "rank", "value", "probability"]
    assert table.columns.tolist() == columns
    customers = page["X"]["customer_id"][:2]
    assert table["customer_id"].unique().tolist() == customers.tolist()


def test_open_baskets_have_two_further_lines(page):
    assert page["more"]["rank"].tolist() == [1, 2, 1, 2]


def test_what_is_excluded_is_in_no_list(page):
    assert "shoes" not in set(page["lists"]["value"])


def test_lists_are_compared_with_counts(page):
    (own, of_counts), (network, of_network) = page["printed"][-2:]
    assert (own, network) == ("own counts", "network")
    assert 0.2 < of_counts < 0.8
    assert 0.2 < of_network < 0.8
