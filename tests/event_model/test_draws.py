"""Random numbers of paths: their distribution, and what they do not depend on."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import stats

from sklearn_seqcrm.event_model._draws import PathDraws, keys_of

N = 20_000
FLOAT, DOUBLE = torch.zeros(0), torch.zeros(0, dtype=torch.float64)


@pytest.mark.parametrize("like", [FLOAT, DOUBLE])
def test_numbers_are_uniform_and_normal(like):
    draws = PathDraws.of_seed(0, N)
    one, other, normal = draws.uniform(like), draws.uniform(like), draws.normal(like)
    assert one.dtype == normal.dtype == like.dtype
    assert one.min() >= 0
    assert one.max() < 1
    limit = 1.6 / np.sqrt(N)
    assert stats.kstest(one.numpy(), "uniform").statistic < limit
    assert stats.kstest(normal.numpy(), "norm").statistic < limit
    # Neighbouring paths and successive numbers of a path are uncorrelated.
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(N)
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 4 / np.sqrt(N)


def test_numbers_of_a_path_do_not_depend_on_others():
    keys = keys_of(np.array([7, 9, 11], "uint64"), seed=0, count=False)
    row, path = np.repeat(np.arange(3), 4), np.tile(np.arange(4), 3)
    together = PathDraws.of_paths(keys[row], path)
    together.take(np.array([0, 5])).uniform(DOUBLE)
    together.take(np.array([1, 2, 8])).uniform(DOUBLE)
    alone = PathDraws.of_paths(keys[[1]].repeat(4), path[:4])
    alone.take(torch.tensor([1])).normal(FLOAT)
    expected = alone.uniform(DOUBLE)
    assert_array_equal(together.uniform(DOUBLE)[4:8], expected)
    begun = PathDraws.of_paths(keys[row[:4]], path[:4])
    joined = together.take(np.arange(4, 8)).and_those(begun)
    assert_array_equal(joined.uniform(DOUBLE)[:4], alone.uniform(DOUBLE))


@pytest.mark.parametrize("like", [FLOAT, DOUBLE])
def test_numbers_of_a_row_are_one_from_each_part(like):
    row = np.repeat(np.arange(2000), 5)
    keys = keys_of(row.astype("uint64"), seed=1, count=False)
    draws = PathDraws.of_paths(keys, np.tile(np.arange(5), 2000), row)
    numbers = draws.uniform(like).view(2000, 5)
    parts = (numbers * 5).floor().sort(dim=1).values
    assert_array_equal(parts, np.tile(np.arange(5), (2000, 1)))
    # Each path by itself has a uniform number, whatever the others have.
    for own in numbers.T:
        assert stats.kstest(own.numpy(), "uniform").statistic < 1.6 / np.sqrt(2000)
    # Of three paths that draw, one from each third.
    some = draws.take(np.flatnonzero(np.arange(len(row)) % 5 < 3)).uniform(like)
    parts = (some.view(2000, 3) * 3).floor().sort(dim=1).values
    assert_array_equal(parts, np.tile(np.arange(3), (2000, 1)))
    assert len(draws.take(np.zeros(0, "int64")).uniform(like)) == 0


def test_equal_rows_have_keys_of_their_own_if_they_are_counted():
    rows = np.array([5, 3, 5, 5, 3, 8], "uint64")
    alike = keys_of(rows, seed=0, count=False)
    assert_array_equal(alike[[0, 1]], alike[[2, 4]])
    keys = keys_of(rows, seed=0, count=True)
    assert len(set(keys.tolist())) == 6
    # The first of each is that of the row alone.
    for place in (0, 1, 5):
        assert keys_of(rows[[place]], seed=0, count=True) == keys[place]
    assert not set(keys_of(rows, seed=1, count=True)) & set(keys)
