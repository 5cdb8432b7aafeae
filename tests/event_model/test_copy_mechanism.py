"""Copy candidates: against loops, draws, and simulated sequences."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm._recurrent.data._sources import HistorySource
from sklearn_seqcrm.event_model import _copy_state
from sklearn_seqcrm.event_model._copy_mechanism import (
    DECAY_SCALES,
    HABIT_SHARES,
    N_SOURCES,
    CopyCandidates,
    CopyMechanism,
    copy_candidates,
)
from sklearn_seqcrm.event_model._copy_state import CopyState, ObservedLevels
from tests.event_model.draws import seeded_draws

N_CODES = 7  # unseen, missing, and five levels
LIFT = torch.tensor([0.0, 0, 1, 0.5, 2, 1, 0.25])
ALIKE = torch.tensor([0.0, 0, 1, 1, 1, 1, 1])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def counts_by_loop(codes, ties, step):
    """Return the counts n_j of all levels before an event, a dict for each source."""
    moments = np.cumsum(~np.asarray(ties))
    counts, n_earlier = [{} for _ in range(N_SOURCES)], Counter()
    for i in range(step):
        lag = moments[step] - moments[i]
        if codes[i] < 2:
            continue
        if lag == 0:
            counts[0][codes[i]] = counts[0].get(codes[i], 0) + 1
            continue
        for k, reach in enumerate(DECAY_SCALES, start=1):
            weight = LIFT[codes[i]].item() * np.exp(-lag / reach)
            counts[k][codes[i]] = counts[k].get(codes[i], 0) + weight
        n_earlier[codes[i]] += 1
    for k, share in enumerate(HABIT_SHARES, start=1 + len(DECAY_SCALES)):
        least = max(1, share * n_earlier.total() / 1000)
        counts[k] = {code: 1 for code, n in n_earlier.items() if n >= least}
    for k in range(1, N_SOURCES):
        whole = sum(counts[k].values())
        counts[k] = {c: n for c, n in counts[k].items() if c not in counts[0]}
        if sum(counts[k].values()) <= 0.01 * whole:
            counts[k] = {}
    return counts


@pytest.fixture
def sequences():
    codes = torch.randint(0, N_CODES, (5, 40), generator=generator())
    ties = torch.rand(5, 40, generator=generator(1)) < 0.5
    ties[:, 0] = False
    return codes, ties


def test_candidates_match_a_loop(sequences):
    codes, ties = sequences
    lengths = torch.tensor([40, 0, 1, 13, 40])
    row, step = (torch.arange(40) < lengths[:, None]).nonzero(as_tuple=True)
    found = copy_candidates(codes[row, step], LIFT, ties[row, step], row)
    for i, (b, t) in enumerate(zip(row.tolist(), step.tolist(), strict=True)):
        counts = counts_by_loop(codes[b].tolist(), ties[b].tolist(), t)
        total = [sum(kind.values()) for kind in counts]
        assert_allclose(found.total[i], total, rtol=1e-4, atol=1e-6)
        own = [kind.get(codes[b, t].item(), 0) for kind in counts]
        some = found.total[i] > 0
        assert_allclose(found.count[i][some], np.array(own)[some], rtol=1e-4, atol=1e-6)


def test_no_events_have_no_candidates():
    nowhere = torch.zeros(0, dtype=torch.int64)
    found = copy_candidates(nowhere, LIFT, nowhere.bool(), nowhere)
    assert found.count.shape == found.total.shape == (0, N_SOURCES)


def test_counts_do_not_overflow_on_long_sequences():
    """The first of 5,000 moments has decayed to 0, or not at all."""
    codes = torch.full((5000,), 3)
    codes[0] = codes[-1] = 2
    row = torch.zeros_like(codes)
    found = copy_candidates(codes, ALIKE, row > 0, row)
    # One of 4,999 is no habit, but for the share of 0.
    expected = [0, 0, 0, 0, 0, 1, 1, *[0] * (len(HABIT_SHARES) - 1)]
    assert_allclose(found.count[-1], expected, atol=1e-12)
    sums = [1 / np.expm1(1 / reach) for reach in DECAY_SCALES[:-1]]
    n_habits = [2, *[1] * (len(HABIT_SHARES) - 1)]
    assert_allclose(found.total[-1, 1:], [*sums, 4999, *n_habits], rtol=1e-4)


def test_candidates_do_not_depend_on_other_sequences():
    """The only observed level is in the basket: nothing remains of observed moments."""
    codes = torch.full((2, 3000), 3)
    codes[1, :53] = torch.tensor([2] + [1] * 50 + [2, 4])
    ties = torch.zeros(2, 3000) > 0
    ties[1, 52] = True
    lengths = torch.tensor([3000, 53])
    row, step = (torch.arange(3000) < lengths[:, None]).nonzero(as_tuple=True)
    codes, ties = codes[row, step], ties[row, step]
    many = copy_candidates(codes, ALIKE, ties, row)
    alone = copy_candidates(codes[-53:], ALIKE, ties[-53:], row[-53:])
    assert_array_equal(many.total[-1], torch.eye(N_SOURCES)[0])
    assert_allclose(many.total[-53:], alone.total, rtol=1e-5)
    assert_allclose(many.count[-53:], alone.count, rtol=1e-5)


def source_of(codes, ties, lengths):
    """Return rows that see the first events of sequences, each at other times."""
    n, width = codes.shape
    times = (torch.arange(n)[:, None] * 1000 + (~ties).cumsum(dim=1)).numpy()
    start = np.arange(n) * width
    return HistorySource(
        np.zeros((n * width, 1), "float32"),
        codes.numpy().reshape(-1, 1).astype("int32"),
        times.ravel(),
        start,
        start + lengths,
        times[:, -1] + 1,
    )


def observed_of(codes, ties, lengths):
    source = source_of(codes, ties, lengths)
    return ObservedLevels.of(source, ties.numpy().ravel(), 0, LIFT)


def simulated(codes, ties, n_before):
    """Return paths whose last events are simulated, at the moment of the next event."""
    observed = observed_of(codes, ties, np.full(len(codes), n_before))
    own = CopyState.at_cutoff(observed, torch.arange(len(codes)))
    for step in range(n_before, codes.shape[1]):
        own = own.advance(ties[:, step])
        if step < codes.shape[1] - 1:
            own = own.append(codes[:, step])
    return own


@pytest.mark.parametrize("n_before", [0, 1, 20, 38])
def test_simulated_events_count_like_observed_ones(sequences, n_before):
    """Wherever a simulation begins, which is at a new moment."""
    codes, ties = sequences[0], sequences[1].clone()
    ties[:, n_before] = False
    own = simulated(codes, ties, n_before)
    weights = torch.rand(5, N_SOURCES, generator=generator(2)) * (own.remaining() > 0)
    shares = own.counts(weights)
    for b in range(5):
        counts = counts_by_loop(codes[b].tolist(), ties[b].tolist(), 39)
        total = [sum(kind.values()) for kind in counts]
        assert_allclose(own.remaining()[b], total, rtol=1e-3, atol=1e-5)
        for code in range(N_CODES):
            own_counts = [kind.get(code, 0) for kind in counts]
            expected = weights[b].numpy() @ own_counts
            assert_allclose(shares[b, code], expected, rtol=1e-3, atol=1e-5)


@settings(max_examples=40)
@given(
    events=st.lists(
        st.tuples(st.integers(0, N_CODES - 1), st.booleans()), min_size=2, max_size=12
    ),
    cut=st.floats(0, 1, exclude_max=True),
)
def test_counts_event_by_event_are_those_at_once(events, cut):
    """Whatever the events, and wherever the cutoff is among them."""
    codes = torch.tensor([[code for code, _ in events]])
    ties = torch.tensor([[is_tie for _, is_tie in events]])
    n_before = 1 + int(cut * (len(events) - 1))
    ties[0, 0] = ties[0, n_before] = False
    row, step = torch.ones(codes.shape).nonzero(as_tuple=True)
    at_once = copy_candidates(codes[row, step], LIFT, ties[row, step], row)
    observed = observed_of(codes, ties, np.array([n_before]))
    state = CopyState.at_cutoff(observed, torch.tensor([0]))
    for k in range(n_before, len(events)):
        state = state.advance(ties[:, k])
        total = state.remaining()
        assert_allclose(total[0], at_once.total[k], rtol=1e-4, atol=1e-6)
        some = total[0] > 0
        counts = [
            state.counts(one[None])[0, codes[0, k]] for one in torch.eye(N_SOURCES)
        ]
        own = torch.stack(counts)[some]
        assert_allclose(own, at_once.count[k][some], rtol=1e-4, atol=1e-6)
        state = state.append(codes[:, k])


def test_rows_of_one_customer_have_counts_of_their_own():
    """Rows that see different events of the same sequence."""
    codes = torch.tensor([[2, 3, 3, 4]])
    source = source_of(codes, torch.zeros(1, 4) > 0, np.array([4]))
    rows = HistorySource(
        source.channels,
        source.codes,
        source.times,
        np.array([0, 1, 2]),
        np.array([2, 4, 2]),
        np.array([9, 9, 9]),
    )
    observed = ObservedLevels.of(rows, np.zeros(4) > 0, 0, ALIKE)
    never = torch.eye(N_SOURCES)[[len(DECAY_SCALES)] * 3]
    shares = CopyState.at_cutoff(observed, torch.arange(3)).counts(never)
    assert_array_equal(
        shares[:, 2:5], torch.tensor([[1.0, 1, 0], [0, 2, 1], [0, 0, 0]])
    )


def test_counts_do_not_depend_on_other_rows():
    """A level of 51 or 2,001 moments ago, which other rows repeat since then."""
    codes = torch.ones((3, 2001), dtype=torch.int64)
    codes[0], codes[1:, 0] = 3, 4
    source = source_of(codes, torch.zeros(3, 2001) > 0, np.array([2001, 51, 2001]))
    none = np.zeros(codes.numel()) > 0
    many = ObservedLevels.of(source, none, 0, ALIKE)
    for row in range(3):
        own = source.take(np.array([row]))
        alone = ObservedLevels.of(own, none, 0, ALIKE)
        assert_array_equal(many.total[row], alone.total[0])
        assert_allclose(many.cumulative[:, row], row + alone.cumulative[:, 0])
    lag = np.array([50, 2000])[:, None]
    expected = np.exp(-lag / np.array(DECAY_SCALES))
    assert_allclose(many.total[1:], expected, rtol=1e-6, atol=1e-37)


def test_rows_are_counted_a_few_at_a_time(sequences, monkeypatch):
    lengths = np.array([40, 0, 1, 13, 40])
    whole = observed_of(*sequences, lengths)
    monkeypatch.setattr(_copy_state, "_EVENTS_AT_ONCE", 15)
    for one, other in zip(observed_of(*sequences, lengths), whole, strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize("n_before", [12, 38])
def test_copies_are_drawn_by_their_counts(sequences, n_before):
    codes, ties = sequences[0], sequences[1].clone()
    ties[:, n_before] = False
    ties[:, 35] = False
    ties[:, 36:] = True  # so that something is at this moment
    if n_before == 38:
        ties[:, 38] = False
    own = simulated(codes, ties, n_before)
    n = 1_000
    for b in range(0, 5, 2):
        for kind in (own.remaining()[b] > 0).nonzero()[:, 0].tolist():
            weights = torch.eye(N_SOURCES)[[kind]] / own.remaining()[b, kind]
            shares = own.take(torch.tensor([b])).counts(weights)[0]
            many = own.take(torch.full((n,), b))
            drawn = many.draw(torch.full((n,), kind), seeded_draws(kind, n))
            found = torch.bincount(drawn, minlength=N_CODES) / n
            assert_allclose(found, shares, atol=5 * 0.5 / np.sqrt(n))


def test_paths_that_begin_later_join_those_that_go_on(sequences):
    codes, ties = sequences[0], sequences[1].clone()
    ties[:, 30] = False
    own = simulated(codes, ties, 30)
    begun = CopyState.at_cutoff(own.observed, torch.tensor([3, 1]))
    both = own.concat(begun)
    assert_array_equal(both.remaining()[:5], own.remaining())
    assert_array_equal(both.remaining()[5:], begun.remaining())
    weights = torch.ones(7, N_SOURCES)
    assert_allclose(both.counts(weights)[:5], own.counts(weights[:5]))
    assert_allclose(both.counts(weights)[5:], begun.counts(weights[5:]))


def test_a_joined_path_excludes_levels_of_its_moment():
    """Its basket continues among paths with more events; ended paths free columns."""
    codes, none = torch.tensor([[2, 3, 3, 4]]), torch.zeros(1, dtype=torch.int64)
    observed = observed_of(codes, torch.zeros(1, 4) > 0, np.array([4]))
    own = CopyState.at_cutoff(observed, none)
    busy, other = own, own.advance(none > 0).append(torch.tensor([3]))
    for code in (2, 4, 2):
        busy = busy.advance(none > 0).append(torch.tensor([code]))
    both = busy.concat(other).advance(torch.tensor([False, True]))
    alone = other.advance(torch.tensor([True]))
    assert_array_equal(both.remaining()[1:], alone.remaining())
    ones = torch.ones(2, N_SOURCES)
    assert_array_equal(both.counts(ones)[1:], alone.counts(ones[:1]))
    joined = both.take(torch.tensor([1])).concat(alone)
    assert joined.events.columns.all()[0].shape == (2, 1)


def test_likelihood_of_a_copy_is_its_share():
    """Two sources with counts, computed by hand; empty sources get no gate."""
    copies = CopyMechanism(2, ALIKE.numpy(), generator())
    states = torch.randn(2, 3, generator=generator(1))
    total, own = torch.zeros(2, 2, N_SOURCES)
    total[0, [2, 5]], own[0, [2, 5]] = torch.tensor([[2.0, 4.0], [1.0, 3.0]])
    with torch.no_grad():
        copies.gates.weight[:, 3:] = torch.randn(
            2 + N_SOURCES, N_SOURCES, generator=generator(2)
        )
        copies.most_total[5] = 3.0  # largest total in training; of source 2, it is 0
        known = torch.zeros(2, N_SOURCES)
        known[0, 5] = np.log(1 + 3)
        logits = copies.gates(torch.cat([states, known], dim=1))
        some = torch.softmax(logits[0, [0, 1, 4, 7]], dim=0)
        none = torch.softmax(logits[1, :2], dim=0)
    copies.eval()
    generated, popular = torch.tensor([0.1, 0.2]).log(), torch.tensor([0.05, 0.4])
    found = copies.log_prob(
        states[:, :2], states[:, 2:], CopyCandidates(own, total), generated, popular
    )
    expected = some @ torch.tensor([0.1, 0.05, 1 / 2, 3 / 4])
    expected = [expected, none @ torch.tensor([0.2, 0.4])]
    assert_allclose(found.exp().detach(), expected, rtol=1e-5)
    found.sum().backward()
    assert all(one.grad.isfinite().all() for one in copies.parameters())


def test_sources_with_almost_nothing_left_are_empty():
    """The basket has 990 of 1,000; gradients of an unlikely level are finite."""
    codes = torch.tensor([[2] * 10 + [3] * 990 + [4, 3, 2]])
    ties = torch.zeros(codes.shape) > 0
    ties[0, -2:] = True
    row, step = torch.ones(codes.shape).nonzero(as_tuple=True)
    found = copy_candidates(codes[row, step], ALIKE, ties[row, step], row)
    last = CopyCandidates(found.count[-1:], found.total[-1:])
    assert (last.count[last.total == 0] == 0).all()
    copies = CopyMechanism(2, ALIKE.numpy(), generator())
    states = torch.randn(1, 3, generator=generator(1))
    unlikely = torch.tensor([-18.0])
    copies.log_prob(
        states[:, :2], states[:, 2:], last, unlikely, unlikely.exp()
    ).sum().backward()
    assert all(one.grad.isfinite().all() for one in copies.parameters())
