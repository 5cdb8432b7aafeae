"""Mixtures of atoms and normals: probabilities and draws."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from sklearn_seqcrm.event_model._mixtures import (
    AtomMixture,
    MixtureDensity,
    log_normal_cells,
    truncated_normal,
)
from sklearn_seqcrm.event_model._path_draws import PathDraws
from tests.event_model.draws import seeded_draws

N = 20_000


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
