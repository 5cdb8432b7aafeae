import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_series_equal

from sklearn_seqcrm._columns import with_attrs_of


@pytest.mark.parametrize(
    "values",
    [np.array([2.0, 1.0]), np.array([True, False]), np.array(["b", "a"], dtype=object)],
    ids=lambda values: values.dtype.name,
)
@pytest.mark.parametrize("form", [pd.Series, pd.DataFrame])
def test_values_stay_and_attrs_are_copied(form, values):
    y = form(values, index=[7, 7])
    assert with_attrs_of(y, values) is values
    y.attrs["horizon"] = "30D"
    found = with_attrs_of(y, values)
    name = None if form is pd.Series else 0
    expected = pd.Series(values, index=[7, 7], dtype=values.dtype, name=name)
    assert_series_equal(found, expected)
    found.attrs["horizon"] = "1D"
    assert y.attrs == {"horizon": "30D"}


def test_arrays_have_no_attrs():
    values = np.arange(3)
    assert with_attrs_of([0, 1, 2], values) is values
