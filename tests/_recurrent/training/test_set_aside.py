"""Customers that are drawn for validation."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm._recurrent.training._set_aside import draw_customers, stops_early


@pytest.mark.parametrize(
    ("n_customers", "rows_of_each", "n_aside"),
    [
        (49, 1, 0),
        (50, 1, 10),
        (300, 2, 60),
        (700, 1, 100),
        (2000, 1, 200),
        (10, 100, 2),  # few customers, and 1,000 rows
        (1, 1000, 0),
    ],
)
def test_number_of_customers_set_aside(n_customers, rows_of_each, n_aside):
    customers = np.repeat(np.arange(n_customers), rows_of_each)
    assert stops_early("auto", customers) == (n_aside > 0)
    if n_aside:
        train, valid = draw_customers(customers, "auto", 0)
        assert_array_equal(np.sort([*train, *valid]), np.arange(len(customers)))
        assert len(np.unique(customers[valid])) == n_aside
        assert not np.intersect1d(customers[valid], customers[train]).size


def test_strata_are_on_both_sides_if_they_have_two_customers():
    customers = np.repeat(np.arange(40), 2)
    strata = np.select([customers < 2, customers == 2], [1, 2], 0)
    for seed in range(5):
        train, valid = draw_customers(customers, 0.2, seed, strata)
        assert {0, 1, 2} == {*strata[train]}  # a single customer is in training
        assert {0, 1} == {*strata[valid]}
