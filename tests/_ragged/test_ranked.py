"""Order statistics and starts of segments."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm._ragged import _passes, is_segment_start, learn_from, selection

NUMBERS = {
    "normal": np.random.default_rng(0).normal(size=500),
    "equal": np.repeat([1.5, 0.0, -2.0], 50),
    "neighbours": np.nextafter(1.0, np.arange(60.0) % 2 * 3),
    "far": np.array([-1e150, 5e-324, -0.0, 0.0, 1e150, -5e-324, np.inf, -np.inf]),
    "one": np.array([3.0]),
}


@pytest.mark.parametrize("held", [0, 1, 40, 10_000])
@pytest.mark.parametrize("name", NUMBERS)
def test_order_statistics_equal_a_sort(name, held, monkeypatch):
    monkeypatch.setattr(_passes, "_HELD", held)
    numbers, n = NUMBERS[name], len(NUMBERS[name])
    ranks = [0, n // 4, n // 2, n // 2, n - 1]
    blocks = np.array_split(numbers, 7)
    found = learn_from(selection(iter, n, ranks), blocks)
    assert_array_equal(found, np.sort(numbers)[ranks])


def test_first_events_of_segments_are_found_in_any_order():
    starts = np.array([0, 3, 4, 9])
    rng = np.random.default_rng(0)
    parts = [np.arange(1, 9), [0, 0, 3, 3, 4], rng.integers(0, 12, 50), [9, 10, 0]]
    index = np.concatenate(parts)
    assert_array_equal(is_segment_start(starts, index), np.isin(index, starts))
    assert is_segment_start(starts, index[:0]).shape == (0,)
