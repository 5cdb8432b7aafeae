"""Random numbers of paths, and mixtures of atoms and normals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from sklearn_seqcrm.event_model._distributions import (
    AtomMixture,
    MixtureDensity,
    PathDraws,
    path_keys,
    truncated_normal,
)
from sklearn_seqcrm.event_model._mixture_likelihood import log_normal_cells
from tests.event_model.draws import seeded_draws

N = 20_000
FLOAT, DOUBLE = torch.zeros(0), torch.zeros(0, dtype=torch.float64)


# Random numbers -----------------------------------------------------------------------


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


# Mixtures -----------------------------------------------------------------------------


def mixture_density(shares, quantiles, spread):
    is_possible = [True] * (len(shares) + len(quantiles))
    generator = torch.Generator().manual_seed(0)
    return MixtureDensity(
        1, np.array(shares), quantiles, spread, is_possible, generator
    )


def test_mixtures_start_where_they_are_set():
    density = mixture_density([0.2, 0.3], [-1.0, 2.0], 0.5)
    with torch.no_grad():
        log_atoms, log_weights, mean, std = density.mixture(torch.zeros(1, 1))
    assert_allclose(log_atoms.exp(), [[0.2, 0.3]], rtol=1e-5)
    assert_allclose(log_weights.exp(), [[0.25, 0.25]], rtol=1e-5)
    assert_allclose(mean, [[-1, 2]])
    assert_allclose(std, [[0.35, 0.35]], rtol=1e-5)


@settings(max_examples=30)
@given(
    logits=st.lists(st.floats(-3, 3), min_size=4, max_size=4),
    mean=st.lists(st.floats(-2, 2), min_size=3, max_size=3),
    std=st.lists(st.floats(0.05, 2), min_size=3, max_size=3),
)
def test_atoms_cells_and_tail_add_up_to_1(logits, mean, std):
    log_shares = torch.tensor(logits).log_softmax(0)
    parts = (log_shares[:1], log_shares[1:], torch.tensor(mean), torch.tensor(std))
    mixture = AtomMixture(*(part.expand(121, -1) for part in parts))
    upper = torch.linspace(-3, 3, 121)
    width = torch.full((121,), 0.05)
    width[0] = torch.inf  # the first cell has no lower end
    inside, *_ = log_normal_cells(upper, width, mixture.mean.T, mixture.std.T)
    cells = (mixture.log_weights.T + inside).logsumexp(dim=0).exp()
    survival = mixture.log_survival(upper).exp()
    assert (survival.diff() <= 1e-6).all()
    total = mixture.log_atoms[:, 0].exp() + cells.cumsum(0) + survival
    assert_allclose(total, 1, atol=2e-4)


def test_quantiles_beyond_a_limit_are_those_of_a_truncated_normal():
    zeros = torch.zeros(N, dtype=torch.float64)
    uniform = seeded_draws(0, N).uniform(zeros)
    drawn = truncated_normal(zeros + 1.3, zeros + 0.2, zeros + 0.6, uniform)
    truth = stats.truncnorm((1.3 - 0.2) / 0.6, np.inf, 0.2, 0.6)
    assert stats.kstest(drawn.numpy(), truth.cdf).statistic < 1.6 / np.sqrt(N)
    # A limit that no float64 tells from the end of the normal.
    far = truncated_normal(zeros + 40, zeros + 0.2, zeros + 0.6, uniform)
    assert far.isfinite().all()
    assert (far >= 40).all()


def test_draws_in_strata_are_one_of_each_part():
    """Ten draws of a row: one of the first component, six of the second, three."""
    row = np.repeat(np.arange(400), 10)
    draws = PathDraws.of_paths(row.astype("uint64"), np.arange(4000), row)
    log_weights = torch.tensor([0.1, 0.6, 0.3]).log().expand(4000, 3)
    mean = torch.tensor([100.0, 200, 300]).expand(4000, 3)
    mixture = AtomMixture(log_weights[:, :0], log_weights, mean, torch.ones(4000, 3))
    drawn = mixture.draw_beyond(torch.zeros(4000), draws)
    index = (drawn / 100).round().long() - 1
    counts = [(index.view(400, 10) == k).sum(dim=1).unique().tolist() for k in range(3)]
    assert counts == [[1], [6], [3]]
    for k in range(3):
        own = (drawn[index == k] - 100 * (k + 1)).numpy()
        assert stats.kstest(own, "norm").statistic < 1.6 / np.sqrt(len(own))
