"""Encoded fields: numbers and categories."""

import math

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm.preprocessing import HistoryEncoder
from tests.preprocessing.encodings import encoded, one_customer, symlog

# Numbers ------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "training",
    [
        [1.0, 2.0, 3.0, 4.0, 1000.0],
        [-5.0, 0.0, 5.0, NAN, 7.5, -2.25, INF],
        [5, 3, 8, 1],
        [True, False, True, True],
        [1e12, 2e12, -3e12],
    ],
)
def test_numbers_are_symlogs_of_scaled_values(training):
    encoder = HistoryEncoder().fit(one_customer(x=training))
    there = encoded(encoder, one_customer(x=training))
    assert_allclose(there["x"], symlog(training, training), rtol=1e-5, atol=1e-6)
    others = [0.0, -1e9, NAN, -INF, 4.0]
    there = encoded(encoder, one_customer(x=others))
    assert_allclose(there["x"], symlog(others, training), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("training", "values", "expected"),
    [
        # The standard deviation if the quartiles are equal.
        ([0.0] * 6 + [10.0], [10.0], [math.log1p(10 / np.std([0.0] * 6 + [10.0]))]),
        # 1 if all values are equal: their deviation of 1e-17 is no scale for a 0.2.
        ([0.1, 0.1, 0.1], [0.1, 0.2], [0.0, math.log1p(0.1)]),
        ([NAN, NAN, INF], [NAN, 2.0], [0.0, math.log1p(2.0)]),
        # A small deviation of large numbers is a scale.
        (1.7e9 + np.arange(9), 1.7e9 + np.arange(9), symlog(range(9), range(9))),
    ],
)
def test_scales(training, values, expected):
    encoder = HistoryEncoder().fit(one_customer(x=training))
    there = encoded(encoder, one_customer(x=values))
    assert_allclose(there["x"], expected, rtol=1e-5)
    marks = np.isnan(values) if np.isnan(training).any() else None
    assert_array_equal(there.get("x_missing"), marks)


@pytest.mark.parametrize("rare", [1e-310, 1e300])
def test_scales_beyond_the_largest_float(rare):
    training = one_customer(x=[0.0] * 9 + [rare])
    there = encoded(HistoryEncoder().fit(training), training)["x"]
    assert np.isfinite(there).all()
    assert (there[:9] == 0).all()
    assert (there[9] > 1) == (rare > 1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_other", [0, 1])
def test_rounding_does_not_count_as_scale(dtype, n_other):
    """.1 + .2 is not .3, be it of half of the values or of all."""
    values = np.array([0.3] * 6 + [0.1 + 0.2] * 6 + [0.9] * n_other, dtype)
    values[:6] = np.nextafter(values[0], np.array(0, dtype))
    X = one_customer(price=values)
    there = encoded(HistoryEncoder().fit(X), X)["price"]
    assert_allclose(there[:12], 0, atol=1e-6)
    if n_other:  # the spread of all values, as where quartiles are equal
        z = 0.6 / np.std([0.3] * 12 + [0.9])
        assert_allclose(there[12], math.log1p(z), rtol=1e-6)


def test_missing_and_infinite_numbers_are_marked_if_training_had_some():
    some, none = one_customer(x=[1.0, NAN, 3.0, -INF]), one_customer(x=[1.0, 2.0, 3.0])
    there = encoded(HistoryEncoder().fit(some), some)
    assert_array_equal(there["x_missing"], [0, 1, 0, 1])
    assert there["x"][1] == there["x"][3] == 0
    encoder = HistoryEncoder().fit(none)
    assert encoder.layouts_["history"].channels == ("x", "time_gap")
    assert encoded(encoder, some)["x"][1] == 0


def test_channels_are_float32_and_codes_int32():
    X = one_customer(x=[1.0, 2.0], kind=["a", "b"])
    log = HistoryEncoder().fit_transform(X)["history"].array.log
    assert log.channels.dtype == "float32"
    assert log.codes.dtype == "int32"
    assert log.fields == ["x", "time_gap", "kind"]


# Categories ---------------------------------------------------------------------------

LEVELS = ["a", "a", "a", "a", "b", "b", "b", "c", "c", "d"]  # of ten events


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        # What a, b, c, d become; 2 is the first level, the last is for rare ones.
        ({}, [2, 3, 4, 5]),
        ({"min_frequency": 1}, [2, 3, 4, 5]),
        ({"min_frequency": 2}, [2, 3, 4, 5]),
        ({"min_frequency": 3}, [2, 3, 4, 4]),
        ({"min_frequency": 0.3}, [2, 3, 4, 4]),
        ({"min_frequency": np.float32(0.35)}, [2, 3, 3, 3]),
        ({"min_frequency": 5}, [2, 2, 2, 2]),
        ({"max_categories": 4}, [2, 3, 4, 5]),
        ({"max_categories": 1}, [2, 3, 3, 3]),
        ({"max_categories": None}, [2, 3, 4, 5]),
        ({"min_frequency": 2, "max_categories": 1}, [2, 3, 3, 3]),
    ],
)
def test_levels_have_codes(options, codes):
    encoder = HistoryEncoder(**options).fit(one_customer(kind=LEVELS))
    X = one_customer(kind=["a", "b", "c", "d", "new", None])
    assert encoded(encoder, X)["kind"].tolist() == [*codes, 0, 1]
    assert encoder.layouts_["history"].n_levels == (max(codes) + 1,)


def test_the_most_frequent_levels_have_their_own_code():
    X = one_customer(kind=["z", "z", "z", "y", "b", "b", "a"])
    encoder = HistoryEncoder(max_categories=2).fit(X)
    # Own codes in the order of the levels: b, z; then a and y together.
    assert encoded(encoder, X)["kind"].tolist() == [3, 3, 3, 4, 2, 2, 4]


def test_a_field_without_levels_has_codes_for_unseen_and_missing():
    X = one_customer(kind=pd.Series([None, None], dtype="category"), x=[1.0, 2.0])
    encoder = HistoryEncoder().fit(X)
    assert encoder.layouts_["history"].n_levels == (2,)
    other = one_customer(kind=["a", None], x=[1.0, 2.0])
    assert encoded(encoder, other)["kind"].tolist() == [0, 1]


def test_levels_that_are_numbers_are_told_from_text():
    """1 is not "1": a log with levels of another type is refused."""
    X = one_customer(shop=pd.Categorical([1, 2, 1]))
    encoder = HistoryEncoder().fit(X)
    other = one_customer(shop=["1", "2", "1"])
    with pytest.raises(
        ValueError, match=r"'shop' is categorical and was .* \(numbers\)"
    ):
        encoder.transform(other)
    with pytest.raises(ValueError, match=r"is categorical \(numbers\) and was"):
        HistoryEncoder().fit(other).transform(X)
