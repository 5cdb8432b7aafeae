"""Two ranks against one process on the same rows, and errors on all ranks."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

sys.path.insert(0, str(Path(__file__).parent))

from cases import cases, fit_case
from ranks import on_two_ranks

NAMES = list(cases())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Fit all cases on two ranks: one start of processes for all."""
    names = NAMES

    def fit_all(rank):
        from cases import fit_case

        return {name: fit_case(name, rank) for name in names}

    return on_two_ranks(fit_all, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_equal_one_process(two, name):
    alone = fit_case(name)
    first, second = (each[name] for each in two)
    assert len(alone["losses"]) >= 4
    # float32 sums in another order.
    assert_allclose(first["losses"], alone["losses"], rtol=0, atol=1e-5)
    assert_array_equal(first["losses"], second["losses"])
    for net, other in zip(first["valid"], alone["valid"], strict=True):
        assert_allclose(net, other, rtol=1e-5)
    assert_allclose(first["output"], alone["output"], rtol=1e-4, atol=1e-5)
    assert_array_equal(first["output"], second["output"])
    assert first["left_behind"] == []


def test_forward_validation_is_that_of_all_rows(two):
    alone, first = fit_case("forward")["validation"], two[0]["forward"]["validation"]
    assert alone["by"] == first["by"] == "forward"
    for key in ("since", "n_epochs", "n_train", "n_valid", "n_dropped"):
        assert first[key] == alone[key]
