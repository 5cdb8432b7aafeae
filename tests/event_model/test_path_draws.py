"""Random numbers of paths."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import stats

from sklearn_seqcrm.event_model._path_draws import PathDraws, path_keys
from tests.event_model.draws import seeded_draws

N = 20_000
FLOAT, DOUBLE = torch.zeros(0), torch.zeros(0, dtype=torch.float64)


@pytest.mark.parametrize("like", [FLOAT, DOUBLE], ids=["float32", "float64"])
def test_numbers_are_uniform_and_normal(like):
    draws = seeded_draws(0, N)
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


@settings(max_examples=25)
@given(
    rows=st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=6, unique=True),
    takes=st.lists(st.sets(st.integers(0, 11)), max_size=4),
    seed=st.integers(0, 2**31 - 1),
)
def test_numbers_of_a_path_do_not_depend_on_the_batch(rows, takes, seed):
    """Whichever paths draw in between, and whichever rows are beside a row."""
    keys = path_keys(np.array(rows, "uint64"), seed, count=False)
    row, path = np.repeat(np.arange(len(rows)), 2), np.tile([0, 1], len(rows))
    together = PathDraws.of_paths(keys[row], path)
    alone = PathDraws.of_paths(keys[[1]].repeat(2), path[:2])
    for some in takes:
        kept = np.array(sorted(i for i in some if i < len(row)), "int64")
        together.take(kept).uniform(DOUBLE)
        own = kept[row[kept] == 1] - 2
        alone.take(torch.from_numpy(own)).normal(FLOAT)
    expected = alone.uniform(DOUBLE)
    assert_array_equal(together.uniform(DOUBLE)[2:4], expected)
    begun = PathDraws.of_paths(keys[row[:2]], path[:2])
    joined = together.take(np.array([2, 3])).concat(begun)
    assert_array_equal(joined.uniform(DOUBLE)[:2], alone.uniform(DOUBLE))


@pytest.mark.parametrize("like", [FLOAT, DOUBLE], ids=["float32", "float64"])
def test_numbers_of_a_row_are_one_from_each_part(like):
    row = np.repeat(np.arange(2000), 5)
    keys = path_keys(row.astype("uint64"), seed=1, count=False)
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


def test_equal_rows_have_different_keys_if_they_are_counted():
    rows = np.array([5, 3, 5, 5, 3, 8], "uint64")
    alike = path_keys(rows, seed=0, count=False)
    assert_array_equal(alike[[0, 1]], alike[[2, 4]])
    keys = path_keys(rows, seed=0, count=True)
    assert len(set(keys.tolist())) == 6
    # The first of each is that of the row alone.
    for place in (0, 1, 5):
        assert path_keys(rows[[place]], seed=0, count=True) == keys[place]
    assert not set(path_keys(rows, seed=1, count=True)) & set(keys)
