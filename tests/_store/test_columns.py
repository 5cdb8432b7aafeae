import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm._store import Column
from sklearn_seqcrm._store._columns import _SOME_VALUES

LEVELS = pd.Index([f"level {i}" for i in range(6)])


@pytest.mark.parametrize("n_values", [0, 1, 3, 50, _SOME_VALUES, 2 * _SOME_VALUES + 3])
@pytest.mark.parametrize("present", [[], [2], [0, 5], [1, 2, 4], range(6)])
@pytest.mark.parametrize("late", [None, 3])
def test_trimmed_keeps_values_and_drops_other_levels(n_values, present, late):
    rng = np.random.default_rng(0)
    values = rng.choice([-1, *present], size=n_values).astype("int32")
    if late is not None and n_values:
        values[-1] = late
    column = Column(values, LEVELS).trimmed()
    expected = pd.Categorical.from_codes(values, categories=LEVELS)
    expected = expected.remove_unused_categories()
    assert column.categories.tolist() == expected.categories.tolist()
    assert column.values.tolist() == expected.codes.tolist()
    assert column.values.dtype == np.int32


def test_trimmed_leaves_few_levels_and_numbers_alone():
    column = Column(np.array([0, -1], "int32"), LEVELS)
    assert column.trimmed(more_than=6) is column
    assert column.trimmed(more_than=5).categories.tolist() == ["level 0"]
    numbers = Column(np.array([0.5, np.nan]))
    assert numbers.trimmed() is numbers
