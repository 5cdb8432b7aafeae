"""Densities of times, numbers and levels: against scipy, torch and their own draws."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from torch import nn

from sklearn_seqcrm._encoding import NumericField, Vocabulary
from sklearn_seqcrm._encoding._training import Training
from sklearn_seqcrm._ragged import learn_from
from sklearn_seqcrm._recurrent.data import HistorySource
from sklearn_seqcrm._store import Clock, Column
from sklearn_seqcrm.event_model._copy_mechanism import copy_candidates
from sklearn_seqcrm.event_model._copy_state import CopyState, ObservedLevels
from sklearn_seqcrm.event_model._fields import (
    FieldDensity,
    LearnedField,
    TrainingEvents,
)
from sklearn_seqcrm.event_model._interarrival import InterarrivalGrid, TimeDensity
from sklearn_seqcrm.event_model._levels import LevelDensity, LevelField
from sklearn_seqcrm.event_model._numbers import (
    NumberColumns,
    NumberDensity,
    NumberField,
)
from sklearn_seqcrm.event_model._source_columns import SourceColumns
from tests.event_model.draws import seeded_draws

N_DRAWS = 20_000
# Of a share of so many draws: five standard deviations.
SHARE = 5 * 0.5 / np.sqrt(N_DRAWS)
CLOCK = Clock("int64")
# Columns of the number and of its targets; no earlier numbers.
NUMBERS = NumberColumns([0, 1], slice(0, 3), SourceColumns.of([], {}, 0)), False


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draws(n=N_DRAWS, seed=0):
    return seeded_draws(seed, n)


def spread_out(density):
    """The same density with states that matter."""
    with torch.no_grad():
        density.output.weight.mul_(5)
    return density.eval()


def assert_draws_follow(drawn, probabilities):
    """Chi-square test of seeded draws; rare outcomes are joined."""
    expected = probabilities / probabilities.sum() * len(drawn)
    counts = np.bincount(drawn, minlength=len(expected))
    common = expected > 10
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum() + 1e-9)
    statistic = np.square(observed - expected)[expected > 1] / expected[expected > 1]
    assert stats.chi2.sf(statistic.sum(), common.sum()) > 1e-4


# Times --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grid():
    rng = np.random.default_rng(0)
    days = np.ceil(np.exp(rng.normal(1, 1, 2000))).astype("int64")
    days[:300] = 0
    start, unit = np.zeros(len(days), "int64"), float(np.median(days[300:]))
    return InterarrivalGrid.of(
        days, start, np.array([30, 90]), start[:2], unit, 3, None
    )


def log_limits(grid, days):
    """Censoring times of whole days as the density takes them."""
    days = np.asarray(days, "float64")
    found = grid.log_censoring_time(days, np.zeros(len(days)))
    return torch.from_numpy(found).float()


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_probabilities_of_days_and_of_later_ones_add_up_to_1(grid, seed):
    density = spread_out(TimeDensity(4, grid, generator(seed)))
    state = torch.randn(1, 4, generator=generator(seed + 1))
    days = np.arange(200.0)
    cells = torch.from_numpy(grid.cells(days, np.zeros(200)))
    with torch.no_grad():
        shares = density.log_prob(state.expand(200, 4), cells).exp().numpy()
        survival = density.log_survival(state.expand(200, 4), log_limits(grid, days))
        survival = survival.exp().numpy()
    assert (np.diff(survival) <= 1e-6).all()
    # P(time >= k days) is what the first k days leave: the ties and days 1 to k - 1.
    assert_allclose(survival[1:], 1 - np.cumsum(shares)[:-1], atol=1e-4)


def test_times_are_drawn_as_they_are_probable(grid):
    density = spread_out(TimeDensity(4, grid, generator()))
    days, start = np.arange(200.0), np.zeros(N_DRAWS)
    cells = torch.from_numpy(grid.cells(days, days))
    with torch.no_grad():
        for state in torch.randn(2, 4, generator=generator(1)):
            shares = density.log_prob(state.expand(200, 4), cells).exp().numpy()
            shares = np.append(shares, 1 - shares.sum())
            many = state.expand(N_DRAWS, 4)
            is_tie, logs = density.draw(many, draws())
            drawn = np.where(is_tie, 0, grid.ticks(logs.numpy(), 1e6, start))
            assert_draws_follow(drawn.astype(int).clip(max=200), shares)
            # After ten days without an event it is on the tenth at the earliest.
            limits = log_limits(grid, np.full(N_DRAWS, 10.0))
            is_tie, logs = density.draw(many, draws(), limits)
            drawn = grid.ticks(logs.numpy(), 1e6, start).astype(int)
            assert not is_tie.any()
            assert drawn.min() == 10
            assert_draws_follow(
                drawn.clip(max=200), np.append(np.zeros(10), shares[10:])
            )


def test_no_tie_is_drawn_where_training_had_none():
    none = np.zeros(0)
    grid = InterarrivalGrid.of(
        np.array([1, 2, 3]), np.zeros(3), none, none, 2.0, 2, None
    )
    density = TimeDensity(4, grid, generator())
    with torch.no_grad():
        is_tie, _ = density.draw(torch.zeros(N_DRAWS, 4), draws())
    assert not is_tie.any()
    assert grid.tie_share > 0  # a tie in other data has a finite cost


# Numbers ------------------------------------------------------------------------------


def number_field(values, n_components=3):
    column = Column(np.asarray(values))
    times = np.zeros(len(column.values), "int64")
    training = Training(times, CLOCK, columns={"amount": column})
    encoder = learn_from(NumericField.learning("amount", CLOCK), training)
    events = TrainingEvents(*[times] * 4)
    return NumberField.learn(encoder, column, events, n_components)


@pytest.fixture(scope="module")
def amounts():
    """Whole numbers, of which a fifth are 7 and a tenth are missing."""
    values = np.round(np.exp(np.random.default_rng(0).normal(1, 0.7, 3000)))
    values[:600], values[600:900] = 7, np.nan
    return number_field(values)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_probabilities_of_numbers_add_up_to_1(amounts, seed):
    density = spread_out(NumberDensity(4, amounts, *NUMBERS, generator(seed)))
    state = torch.randn(1, 4, generator=generator(seed + 1))
    values = np.append(np.arange(-400.0, 800), np.nan)
    targets = amounts.targets(Column(values), np.zeros(len(values), "int64"))
    with torch.no_grad():
        context = state.expand(len(values), 4)
        shares = density.log_prob(context, torch.from_numpy(targets)).exp().numpy()
    assert_allclose(shares.sum(), 1, atol=5e-3)


def test_numbers_are_drawn_as_they_are_probable(amounts):
    density = spread_out(NumberDensity(4, amounts, *NUMBERS, generator()))
    assert amounts.step == 1
    assert 7 in amounts.atoms
    state = torch.randn(1, 4, generator=generator(1))
    values = np.append(np.arange(-200.0, 400), np.nan)
    targets = amounts.targets(Column(values), np.zeros(len(values), "int64"))
    with torch.no_grad():
        context = state.expand(len(values), 4)
        shares = density.log_prob(context, torch.from_numpy(targets)).exp().numpy()
        both = density.draw(state.expand(N_DRAWS, 4), draws())
    times = np.zeros(N_DRAWS, "int64")
    drawn = amounts.column(both, np.ones(N_DRAWS, bool), times).values
    # Numbers outside of the range of training are drawn as its ends.
    place = np.where(np.isnan(drawn), len(values) - 1, np.nan_to_num(drawn) + 200)
    known = values[:-1].clip(amounts.low, amounts.high).astype(int) + 200
    of_values = np.bincount(known, shares[:-1], minlength=len(values))
    of_values[-1] = shares[-1]
    assert_draws_follow(place.astype(int), of_values)


def test_nothing_is_missing_where_training_missed_nothing():
    field = number_field([1.0, 2.0, 3.5])
    density = NumberDensity(4, field, *NUMBERS, generator())
    atom, *_ = density.draw(torch.zeros(N_DRAWS, 4), draws())
    assert (atom != 0).all()


# Levels -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def levels():
    """Levels are unseen, missing, a, b, c, d and e; the last two share a code."""
    values = pd.Categorical(list("aaaaabbbbccde") + [None] * 2)
    column = Column(values.codes.astype("int32"), values.categories)
    training = Training(np.zeros(15, "int64"), CLOCK, columns={"shop": column})
    counts = training.count_levels("shop")
    vocabulary, alone = Vocabulary.of(counts, 2, None), np.arange(15)
    field = LevelField.learn(vocabulary, column, TrainingEvents(*[alone] * 4), 3)
    return replace(field, lift=np.array([0, 0, 1, 0.5, 3, 1, 2]))


def level_density(field, copies=False, seed=0):
    return spread_out(LevelDensity(4, field, 0, 0, copies, generator(seed)))


def test_levels_are_a_softmax(levels):
    density = level_density(levels)
    assert (levels.n_codes, levels.n_levels) == (6, 7)
    states = torch.randn(9, 4, generator=generator(1))
    known = torch.arange(9) % 6 + 1
    at_new_moment = torch.cat([states, torch.ones(9, 1)], dim=1)
    expected = density.output(at_new_moment)[:, 1:].log_softmax(dim=1)
    expected = expected[torch.arange(9), known.clamp(max=5) - 1]
    # The rare ones, one event of each, have half of the probability of their code.
    expected = expected - np.log(2) * (known > 4)
    whole = density.log_prob(states, known)
    assert_allclose(whole.detach(), expected.detach(), rtol=1e-5)
    # One in n + 1 is new.
    unseen = density.log_prob(states, torch.zeros(9, dtype=torch.int64))
    assert_allclose(unseen.detach(), -np.log(16), rtol=1e-6)


@pytest.mark.parametrize("some_missing", [True, False])
def test_levels_are_drawn_as_they_are_probable(levels, some_missing):
    density = level_density(replace(levels, some_missing=some_missing))
    state = torch.randn(1, 4, generator=generator(1)).expand(N_DRAWS, 4)
    with torch.no_grad():
        codes = density.draw(state, draws()).numpy()
        shares = density.probabilities(state[:1])[0].numpy()
    assert_allclose(shares.sum(), 1, rtol=1e-5)
    assert (shares[1] > 0) == some_missing
    assert_draws_follow(codes, shares)


def test_drawn_levels_become_values(levels):
    drawn = torch.tensor([1, 2, 5, 6])
    column = levels.column(drawn, np.ones(4, bool), np.zeros(4))
    assert pd.Index(column.to_pandas(aware=False)).tolist()[1:] == ["a", "d", "e"]
    assert column.values[0] == -1


def copy_states(codes, times, lift, n):
    """Paths after a history, at the moment of their next event."""
    ends = (np.array([0]), np.array([len(codes)]), np.array([9]))
    rows = HistorySource(
        np.zeros((len(codes), 1), "float32"), codes[:, None], times, *ends
    )
    observed = ObservedLevels.of(rows, np.diff(times, prepend=-1) == 0, 0, lift)
    state = CopyState.at_cutoff(observed, torch.zeros(n, dtype=torch.int64))
    return state.advance(torch.zeros(n, dtype=torch.bool))


@pytest.mark.parametrize("shrinkage", [(1.0, 1.0), (0.1, 0.6)])
def test_copied_levels_are_drawn_as_they_are_probable(levels, shrinkage):
    """After a, d, b, c and c at once: one more a, and the next event with it."""
    density = level_density(replace(levels, has_repeats=True), copies=True)
    density.shrinkage.copy_(torch.tensor(shrinkage)[:, None].expand(2, 2))
    lift, n = density.copies.lift, N_DRAWS
    history = np.array([2, 5, 3, 4, 4], "int32")
    state = copy_states(history, np.array([0, 1, 2, 3, 3]), lift, n)
    state = state.append(torch.full((n,), 2)).advance(torch.ones(n, dtype=torch.bool))
    seen = torch.tensor([[*history, 2, code] for code in range(1, 7)])
    is_tie = torch.tensor([[False, False, False, False, True, False, True]])
    is_tie = is_tie.expand(6, 7)
    row, step = torch.ones(6, 7).nonzero(as_tuple=True)
    candidates = copy_candidates(seen[row, step], lift, is_tie[row, step], row)
    context = torch.randn(1, 4, generator=generator(1))
    one, tie = state.take(np.array([0])), torch.ones(n, dtype=torch.bool)
    with torch.no_grad():
        shares = density.probabilities(context, one, tie[:1])[0]
        generated = density.probabilities(context, None, tie[:1])[0]
        drawn = density.draw(context.expand(n, 4), draws(), state, tie)
        whole = density.log_prob(
            context.expand(42, 4), seen.flatten(), candidates, is_tie.flatten()
        )
        gates = density.copies.gate_logits(
            shrinkage[1] * context, torch.zeros(1, 1), one.remaining()
        ).softmax(dim=1)[0]
    assert_allclose(shares.sum(), 1, rtol=1e-5)
    assert_allclose(whole[step == 6].exp(), shares[1:], rtol=1e-4)
    assert_draws_follow(drawn.numpy(), shares.numpy())
    # Missing levels, and rare ones that the history lacks, are no copies.
    popular = torch.tensor(levels.shares[[1, 5]] / levels.shares[1:].sum() / [1, 2])
    expected = gates[0] * generated[[1, 6]] + gates[1] * popular
    assert_allclose(shares[[1, 6]], expected, rtol=1e-5)
    assert shares[5] > shares[6]


def test_a_moment_has_no_level_twice_if_none_in_training_has(levels):
    """It has two of five levels, and in the end all; then a missing one comes."""
    density, n = level_density(levels, copies=True), 2000
    state = copy_states(np.array([2, 3], "int32"), np.arange(2), density.copies.lift, n)
    tie, context = torch.ones(n, dtype=torch.bool), torch.zeros(n, 4)
    with torch.no_grad():
        whole = density.probabilities(context[:1], state.take([0]), tie[:1])[0]
        for level in (2, 5):
            state = state.append(torch.full((n,), level)).advance(tie)
        shares = density.probabilities(context[:1], state.take([0]), tie[:1])[0]
        drawn = density.draw(context, draws(n), state, tie)
        assert set(drawn.tolist()) == {1, 3, 4, 6}
        assert_draws_follow(drawn.numpy(), shares.numpy())
        for level in (3, 4, 6):
            state = state.append(torch.full((n,), level)).advance(tie)
        assert (density.draw(context[:9], draws(9), state.take(range(9))) == 1).all()
    assert (shares[[2, 5]] == 0).all()
    assert shares[6] > whole[6]


@pytest.mark.parametrize("has_repeats", [True, False])
@pytest.mark.parametrize("n_now", [0, 2])
def test_weighted_probabilities_are_sums_over_draws(levels, has_repeats, n_now):
    """Of two rows with three draws each, and levels of the moment, if any."""
    density = level_density(replace(levels, has_repeats=has_repeats), copies=True)
    codes = np.array([2, 3, 3, 5], "int32")
    lift = nn.functional.pad(density.copies.lift, (0, 1), value=1.0)  # a new level
    state = copy_states(codes, np.arange(4), lift, 2)
    tie = torch.full((6,), n_now > 0)
    for level in (3, 6)[:n_now]:
        state = state.append(torch.tensor([level, 4])).advance(tie[:2])
    context = torch.randn(6, 4, generator=generator(1))
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.2]])
    row = torch.arange(2).repeat_interleave(3)
    with torch.no_grad():
        found = density.probabilities(context, state, tie, weights)
        each = density.probabilities(context, state.take(row), tie).unflatten(0, (2, 3))
    assert_allclose(found, (weights[..., None] * each).sum(dim=1), rtol=1e-5)
    assert_allclose(found.sum(dim=1), weights.sum(dim=1), rtol=1e-5)


@settings(max_examples=15)
@given(
    events=st.lists(
        st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=9
    ),
    seed=st.integers(0, 10**6),
)
def test_probabilities_of_copied_levels_add_up_to_1(levels, events, seed):
    codes = np.array([code for code, _ in events], "int32")
    times = np.cumsum([not is_tie for _, is_tie in events])
    density = level_density(levels, copies=True, seed=seed)
    state = copy_states(codes, times, density.copies.lift, 1)
    with torch.no_grad():
        context = torch.randn(1, 4, generator=generator(seed))
        shares = density.probabilities(context, state)
    assert (shares >= 0).all()
    assert_allclose(shares.sum(), 1, rtol=1e-5)


# Types of fields ----------------------------------------------------------------------


def test_a_type_of_field_that_lacks_a_method_cannot_be_made():
    class Incomplete(LevelDensity):
        draw = FieldDensity.draw

    class Wordless(LevelField):
        column = LearnedField.column

    with pytest.raises(TypeError, match=r"abstract method '?draw"):
        Incomplete()
    with pytest.raises(TypeError, match=r"abstract method '?column"):
        Wordless()
