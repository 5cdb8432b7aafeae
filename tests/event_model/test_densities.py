"""Densities of gaps, numbers and levels: against scipy, torch and their own draws."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from sklearn_seqcrm._encoding import NumericField, Vocabulary
from sklearn_seqcrm._encoding._fields import Training
from sklearn_seqcrm._recurrent.data._rows import HistorySource
from sklearn_seqcrm._store import Clock, Column
from sklearn_seqcrm.event_model import _levels
from sklearn_seqcrm.event_model._copy_mechanism import past_of_steps
from sklearn_seqcrm.event_model._draws import PathDraws
from sklearn_seqcrm.event_model._interarrival import InterarrivalGrid
from sklearn_seqcrm.event_model._levels import LevelDensity, LevelField
from sklearn_seqcrm.event_model._numbers import NumberDensity, NumberField
from sklearn_seqcrm.event_model._own_levels import EarlierLevels, OwnLevels
from sklearn_seqcrm.event_model._time_density import (
    TimeDensity,
    choose_and_place,
    draw_beyond,
    log_cell,
    log_tail,
    split_components,
    start_of_components,
)

N_DRAWS = 40_000
# Of a share of so many draws: five standard deviations.
SHARE = 5 * 0.5 / np.sqrt(N_DRAWS)
CLOCK = Clock("int64")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draws(n=N_DRAWS, seed=0):
    return PathDraws.of_seed(seed, n)


def spread_out(density):
    """The same density with states that matter."""
    with torch.no_grad():
        density.output.weight.mul_(5)
    return density


def test_log_cell_is_a_difference_of_distribution_functions():
    upper = np.array([-3.0, 0.0, 0.5, 4.0, 9.0, 2.0])
    width = np.array([1e-5, 0.01, 0.3, 2.0, 3.0, np.inf])
    center, scale = np.array([0.0, 1.5]), np.array([0.7, 2.0])
    tensors = [torch.tensor(x, dtype=torch.float32) for x in (upper, width)]
    components = [
        torch.tensor(x, dtype=torch.float32).expand(6, 2).clone().requires_grad_()
        for x in (center, scale)
    ]
    found = log_cell(*tensors, *components)
    high = (upper[:, None] - center) / scale
    low = (upper[:, None] - width[:, None] - center) / scale
    # The side where both tails are small, in float64.
    expected = np.log(
        np.where(
            high + low > 0,
            stats.norm.sf(low) - stats.norm.sf(high),
            stats.norm.cdf(high) - stats.norm.cdf(low),
        )
    )
    assert_allclose(found.detach(), expected, rtol=1e-4, atol=1e-3)
    found.sum().backward()
    assert all(one.grad.isfinite().all() for one in components)


def test_extreme_cells_have_finite_gradients():
    """Gaps a million times as long and as short as a narrow component expects."""
    upper = torch.tensor([-14.0, 14.0, 0.0, -14.0])
    width = torch.tensor([0.7, 1e-6, torch.inf, torch.inf])
    numbers = torch.tensor([0.0, -20.0]).expand(4, 2).clone().requires_grad_()
    found = log_cell(upper, width, *split_components(numbers))
    found.sum().backward()
    assert found.isfinite().all()
    assert numbers.grad.isfinite().all()


def test_components_start_where_they_are_told():
    bias = torch.tensor([start_of_components([-1.0, 2.0], 0.5)])
    center, scale = split_components(bias)
    assert_allclose(center, [[-1, 2]])
    assert_allclose(scale, [[0.5, 0.5]], rtol=1e-5)


def test_draws_beyond_a_point_are_those_of_a_truncated_normal():
    lower, n = 1.3, N_DRAWS
    numbers = [torch.full((n, 1), x) for x in (0.2, 0.6)]
    which = torch.zeros(n, dtype=torch.int64)
    uniform = draws(n).uniform(torch.zeros(0, dtype=torch.float64))
    drawn = draw_beyond(torch.full((n,), lower), *numbers, which, uniform)
    truth = stats.truncnorm((lower - 0.2) / 0.6, np.inf, 0.2, 0.6)
    assert stats.kstest(drawn.numpy(), truth.cdf).statistic < 1.6 / np.sqrt(n)
    # A point that no float64 tells from the end of the normal.
    far = draw_beyond(torch.full((n,), 40.0), *numbers, which, uniform)
    assert far.isfinite().all()
    assert (far >= 40).all()


def test_draws_in_strata_are_one_of_each_part():
    weights = torch.tensor([0.1, 0.6, 0.3])
    row = np.repeat(np.arange(400), 10)
    of_rows = PathDraws.of_paths(row.astype("uint64"), np.arange(4000), row)
    index, place = choose_and_place(weights.log().expand(4000, 3), of_rows)
    # Ten draws of a state: one of the first, six of the second, three of the third.
    counts = [(index.view(400, 10) == k).sum(dim=1).unique().tolist() for k in range(3)]
    assert counts == [[1], [6], [3]]
    for k in range(3):
        own = place[index == k].numpy()
        assert stats.kstest(own, "uniform").statistic < 1.6 / np.sqrt(len(own))


@pytest.fixture
def gaps():
    rng = np.random.default_rng(0)
    days = np.ceil(np.exp(rng.normal(1, 1, 2000))).astype("int64")
    days[:300] = 0
    start, unit = np.zeros(len(days), "int64"), float(np.median(days[300:]))
    return InterarrivalGrid.of(
        days, start, np.array([30, 90]), start[:2], unit, 3, None
    )


def test_gaps_have_probabilities_that_add_up_and_that_draws_follow(gaps):
    density = spread_out(TimeDensity(4, gaps, generator()))
    states = torch.randn(2, 4, generator=generator(1))
    grid, start = np.arange(200.0), np.zeros(N_DRAWS)
    with torch.no_grad():
        for state in states:
            shares = density.log_prob(
                state.expand(200, 4), torch.from_numpy(gaps.cells(grid, grid))
            )
            shares = shares.exp().numpy()
            quiet = torch.from_numpy(
                gaps.log_censoring_time(np.array([200.0]), grid[:1])
            ).float()
            tail = density.log_survival(state[None], quiet).exp().item()
            assert_allclose(shares.sum() + tail, 1, atol=1e-4)
            many = state.expand(N_DRAWS, 4)
            is_tie, logs = density.draw(many, draws())
            days = np.where(is_tie, 0, gaps.ticks(logs.numpy(), 1e6, start))
            found = np.bincount(days.astype(int).clip(max=200), minlength=201)
            assert_allclose(found[:200] / N_DRAWS, shares, atol=SHARE)
            # After ten days of silence the next event is on the tenth at the earliest.
            quiet = gaps.log_censoring_time(np.full(N_DRAWS, 10.0), start)
            quiet = torch.from_numpy(quiet).float()
            is_tie, logs = density.draw(many, draws(), quiet)
            days = gaps.ticks(logs.numpy(), 1e6, start).astype(int)
            assert not is_tie.any()
            assert days.min() == 10
            found = np.bincount(days.clip(max=200), minlength=201)[:200] / N_DRAWS
            left = np.where(grid >= 10, shares, 0) / (1 - shares[:10].sum())
            assert_allclose(found, left, atol=SHARE)


def test_no_tie_is_drawn_where_training_had_none():
    none = np.zeros(0)
    scale = InterarrivalGrid.of(
        np.array([1, 2, 3]), np.zeros(3), none, none, 2.0, 2, None
    )
    density = TimeDensity(4, scale, generator())
    with torch.no_grad():
        is_tie, _ = density.draw(torch.zeros(N_DRAWS, 4), draws())
    assert not is_tie.any()
    assert scale.no_gap_share > 0  # as one may come all the same, and has to cost


def number_field(values, n_components=3):
    column = Column(np.asarray(values))
    times = np.zeros(len(column.values), "int64")
    encoder = NumericField.learn(column, Training(times, CLOCK, 0, None))
    return NumberField.of(encoder, column, times, n_components)


def test_numbers_have_probabilities_that_add_up_and_that_draws_follow():
    rng = np.random.default_rng(0)
    values = np.round(np.exp(rng.normal(1, 0.7, 3000)))
    values[:600], values[600:900] = 7, np.nan
    field = number_field(values)
    density = spread_out(NumberDensity(4, field, 2, generator()))
    assert field.step == 1
    assert 7 in field.atoms
    state = torch.randn(1, 4, generator=generator(1))
    grid = np.append(np.arange(-200.0, 400), np.nan)
    zeros = np.zeros(len(grid), "int64")
    targets = torch.from_numpy(field.targets(Column(grid), zeros))
    with torch.no_grad():
        shares = density.log_prob(state.expand(len(grid), 4), targets).exp().numpy()
        assert_allclose(shares.sum(), 1, atol=2e-3)
        atom, folded = density.draw(state.expand(N_DRAWS, 4), draws())
    drawn = field.column(
        atom.numpy(), folded.numpy().astype("float64"), np.zeros(N_DRAWS, "int64")
    ).values
    assert_allclose(np.isnan(drawn).mean(), shares[-1], atol=SHARE)
    for value in (2, 3, 7, 11):  # within the range that training saw
        at = shares[grid == value].sum()
        assert_allclose((drawn == value).mean(), at, atol=SHARE)
    known = drawn[~np.isnan(drawn)]
    assert known.min() >= field.low
    assert known.max() <= field.high


def test_nothing_is_missing_where_training_missed_nothing():
    field = number_field([1.0, 2.0, 3.5])
    density = NumberDensity(4, field, 1, generator())
    atom, _ = density.draw(torch.zeros(N_DRAWS, 4), draws())
    assert (atom != 0).all()


@pytest.fixture
def levels():
    values = pd.Categorical(list("aaaaabbbbccd") + [None] * 3)
    column = Column(values.codes.astype("int32"), values.categories)
    training = Training(np.zeros(15, "int64"), CLOCK, 2, None)
    vocabulary, alone = Vocabulary.learn(column, training), np.arange(15)
    field = LevelField.of(vocabulary, column, alone, alone)
    return replace(field, repeats=np.array([0, 0, 1, 0.5, 3, 1]))


def test_levels_are_a_softmax(levels, monkeypatch):
    density = spread_out(LevelDensity(4, levels, False, generator()))
    assert levels.n_codes == 6  # unseen, missing, a, b, c, and d, which is rare
    states = torch.randn(9, 4, generator=generator(1))
    codes = torch.arange(9) % 5 + 1
    at_new_moment = torch.cat([states, torch.ones(9, 1)], dim=1)
    expected = density.output(at_new_moment)[:, 1:].log_softmax(dim=1)
    expected = expected[torch.arange(9), codes - 1]
    whole = density.log_prob(states, codes)
    assert_allclose(whole.detach(), expected.detach(), rtol=1e-5)
    # A few at a time, computed again for gradients.
    (gradient,) = torch.autograd.grad(whole.sum(), density.output.weight)
    monkeypatch.setattr(_levels, "_LOGITS_AT_ONCE", 13)
    pieces = density.log_prob(states, codes)
    assert_allclose(pieces.detach(), whole.detach(), rtol=1e-6)
    (again,) = torch.autograd.grad(pieces.sum(), density.output.weight)
    assert_allclose(again, gradient, rtol=1e-5, atol=1e-6)
    # One in n + 1 is new.
    unseen = density.log_prob(states, torch.zeros(9, dtype=torch.int64))
    assert_allclose(unseen.detach(), -np.log(16), rtol=1e-6)


def test_levels_are_drawn_as_they_are_probable(levels):
    density = spread_out(LevelDensity(4, levels, False, generator()))
    state = torch.randn(1, 4, generator=generator(1)).expand(N_DRAWS, 4)
    with torch.no_grad():
        codes = density.draw(state, draws()).numpy()
        shares = density.probabilities(state[:1])[0].numpy()
    assert_allclose(np.bincount(codes, minlength=6) / N_DRAWS, shares, atol=SHARE)
    column = levels.column(np.array([1, 2, 5]), draws(3))
    assert pd.Index(column.to_pandas()).tolist()[1:] == ["a", "d"]
    assert column.values[0] == -1


def test_no_level_is_missing_where_training_missed_none(levels):
    density = LevelDensity(4, replace(levels, some_missing=False), False, generator())
    states = torch.zeros(N_DRAWS, 4)
    assert (density.draw(states, draws()) > 1).all()
    shares = density.probabilities(states[:1])[0].detach()
    assert_array_equal(shares[:2], torch.zeros(2))
    assert_allclose(shares.sum().item(), 1, rtol=1e-5)


@pytest.mark.parametrize("trust", [(1.0, 1.0), (0.1, 0.8), (0.8, 0.1)])
def test_copies_are_drawn_as_they_are_probable(levels, trust):
    """Of a, a missing one, b, and twice c at once; the likelihood says the same."""
    density = spread_out(LevelDensity(4, levels, True, generator())).eval()
    with torch.no_grad():
        density.copies.gates.weight.mul_(20)
    density.trust[:, 1] = torch.tensor(trust)
    codes = np.array([[2], [1], [3], [4], [4]], "int32")
    times = np.array([0, 1, 3, 5, 5])
    ends = (np.array([0]), np.array([5]), np.array([9]))
    rows = HistorySource(np.zeros((5, 1), "float32"), codes, times, *ends)
    ties, repeats = np.diff(times, prepend=-1) == 0, density.copies.repeats
    earlier = EarlierLevels.of(rows, ties, 0, repeats)
    n = N_DRAWS
    own = OwnLevels.begin(earlier, torch.zeros(n, dtype=torch.int64))
    own = own.at_next(torch.zeros(n, dtype=torch.bool))
    # Then a once more, and another at the same moment.
    own = own.with_drawn(torch.full((n,), 2)).at_next(torch.ones(n, dtype=torch.bool))
    seen = torch.tensor([[2, 1, 3, 4, 4, 2, code] for code in range(1, 6)])
    ties = torch.tensor([[False, False, False, False, True, False, True]]).expand(5, 7)
    row, step = torch.ones(5, 7).nonzero(as_tuple=True)
    past = past_of_steps(seen, repeats, ties, row, step)
    state = torch.randn(1, 4, generator=generator(1))
    with torch.no_grad():
        one = own.take(torch.tensor([0]))
        tie = torch.ones(n, dtype=torch.bool)
        shares = density.probabilities(state, one, tie[:1])[0]
        new = density.probabilities(state, None, tie[:1])[0]
        drawn = density.draw(state.expand(n, 4), draws(), own, tie)
        whole = density.log_prob(
            state.expand(35, 4), seen.flatten(), past, ties.flatten()
        )
    assert_allclose(shares.sum(), 1, rtol=1e-5)
    assert_allclose(whole[step == 6].exp(), shares[1:], rtol=1e-4)
    assert_allclose(np.bincount(drawn, minlength=6) / n, shares, atol=SHARE)
    # Missing levels and rare ones that were not there are no copies.
    with torch.no_grad():
        told = torch.cat([trust[1] * state, torch.zeros(1, 1)], dim=1)
        gates = density.copies.log_gates(told, one.left())[0].exp()
    popular = torch.tensor(levels.shares[[1, 5]] / levels.shares[1:].sum())
    expected = gates[0] * new[[1, 5]] + gates[1] * popular
    assert_allclose(shares[[1, 5]], expected, rtol=1e-5)


def test_log_tail_is_that_of_scipy():
    lower = torch.tensor([0.0, 5.0])
    found = log_tail(lower, torch.ones(2, 1), torch.full((2, 1), 0.5))
    assert_allclose(found[:, 0], stats.norm.logsf([0, 5], 1, 0.5), rtol=1e-5)
