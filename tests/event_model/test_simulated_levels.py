"""Levels of simulated paths, against lists of events."""

from collections import Counter

import pytest
import torch
from numpy.testing import assert_array_equal

from sklearn_seqcrm.event_model._simulated_levels import SimulatedLevels

N_CODES = 5  # unseen, missing, and three levels


def simulate(n_steps, seed):
    """Append random levels to four paths, some of which end and others join them.

    Returns the paths, and for each of them a list of (level, moment).
    """
    generator = torch.Generator().manual_seed(seed)

    def random(high, n):
        return torch.randint(0, high, (n,), generator=generator)

    levels = SimulatedLevels.none(torch.arange(4))
    paths = [[] for _ in range(4)]
    for step in range(n_steps):
        n = len(paths)
        is_new = (random(2, n) > 0) | torch.tensor([not path for path in paths])
        levels = levels.end_moment(is_new)
        moment = torch.tensor([path[-1][1] if path else 0 for path in paths]) + is_new
        drawn = random(N_CODES, n)
        levels = levels.append(drawn, moment, torch.zeros_like(drawn))
        for path, event in zip(
            paths, zip(drawn.tolist(), moment.tolist(), strict=True), strict=True
        ):
            path.append(event)
        if step % 3 == 2:
            kept = torch.arange(1, n)
            levels = levels.take(kept).concat(SimulatedLevels.none(kept[:1]))
            paths = [*paths[1:], []]
    return levels, paths


@pytest.mark.parametrize("n_steps", [0, 1, 4, 20])
def test_levels_are_those_of_a_loop(n_steps):
    levels, paths = simulate(n_steps, seed=n_steps)
    order = [2, 0, 3, 1]
    levels, paths = levels.take(torch.tensor(order)), [paths[i] for i in order]
    now, asked = levels.now(), torch.tensor([2, 3, 1, 4])
    has_now, third = levels.has_now(asked), levels.count_ordinal(asked)
    all_levels, moments, _, is_earlier = levels.earlier()
    for i, path in enumerate(paths):
        last = path[-1][1] if path else 0
        own = [level for level, moment in path if moment == last]
        assert now.level[i][now.level[i] > 0].tolist() == [one for one in own if one]
        assert has_now[i] == (asked[i].item() in own)
        before = [event for event in path if event[1] < last and event[0] >= 2]
        kept = is_earlier[i]
        assert all_levels[i][kept].tolist() == [level for level, _ in before]
        assert moments[i][kept].tolist() == [moment for _, moment in before]
        counts = Counter(level for level, _ in path if level >= 2)
        assert third[i] == sum(n >= asked[i] for n in counts.values())
        firsts = now.level[i][now.is_first[i]].tolist()
        assert firsts == list(dict.fromkeys(one for one in own if one >= 2))


def test_taken_paths_are_not_changed_by_others():
    """Two continuations of the same paths, and one path twice."""
    levels, _ = simulate(7, seed=1)
    before = [one.clone() for one in levels.earlier()]
    twice = levels.take(torch.tensor([2, 2, 0]))
    moment, none = torch.full((3,), 9), torch.zeros(3, dtype=torch.int64)
    new = twice.end_moment(none == 0).append(torch.tensor([2, 3, 4]), moment, none)
    assert new.now().level.tolist() == [[2], [3], [4]]
    first, second, _ = new.columns.all()[0]
    assert_array_equal(first[:-1], second[:-1])
    for one, other in zip(levels.earlier(), before, strict=True):
        assert_array_equal(one, other)


def test_paths_that_have_ended_free_their_columns():
    levels = SimulatedLevels.none(torch.arange(2))
    ones, none = torch.ones(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    for k in range(5):
        levels = levels.end_moment(none == 0).append(2 * ones, (1 + k) * ones, none)
    short = SimulatedLevels.none(torch.arange(1))
    short = short.append(2 * ones[:1], ones[:1], none[:1])

    def shape(levels):
        return levels.columns.all()[0].shape

    assert shape(short.concat(SimulatedLevels.none(torch.arange(3)))) == (4, 1)
    assert shape(levels.concat(short)) == (3, 5)
    assert shape(levels.concat(short).take(torch.tensor([2])).concat(short))[1] == 1
