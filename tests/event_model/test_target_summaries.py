"""Mean, median and interval of simulated targets, against those of their paths."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from sklearn_seqcrm.event_model._futures import summary_of_paths
from sklearn_seqcrm.targets import (
    churned,
    future_count,
    future_sum,
    next_value,
    time_to_next,
)

STATISTICS = ["mean", "median", "lower", "upper"]
OPTIONS = {"n_paths": 7, "random_state": 0}


def test_summary_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, (50, 7)).astype("float64")
    values[rng.random(values.shape) < 0.3] = np.nan
    values[3], values[4, 1:] = np.nan, np.nan
    values[4, 0] = 2.0
    found = summary_of_paths(values, 0.8)
    assert list(found) == STATISTICS
    for row, of_row in enumerate(values):
        known = of_row[~np.isnan(of_row)]
        expected = [np.nan] * 4
        if len(known):
            quantiles = np.quantile(known, [0.5, 0.1, 0.9], method="weibull")
            expected = [known.mean(), *quantiles]
        assert_allclose([found[name][row] for name in STATISTICS], expected)


@pytest.mark.parametrize("n_paths", [5, 19, 20, 100])
def test_intervals_of_few_paths_hold_their_share(n_paths):
    values = np.random.default_rng(0).exponential(size=(20_000, n_paths + 1))
    found = summary_of_paths(values[:, :-1], 0.9)
    inside = (found["lower"] <= values[:, -1]) & (values[:, -1] <= found["upper"])
    # Fewer than 19 paths: a further one is beyond all of them more often than .1.
    expected = min(0.9, (n_paths - 1) / (n_paths + 1))
    assert_allclose(inside.mean(), expected, atol=0.01)


def test_infinite_values_have_quantiles():
    found = summary_of_paths(np.array([[1.0, 2.0, np.inf, np.inf, np.inf]]), 0.5)
    assert [found[name][0] for name in STATISTICS] == [np.inf, np.inf, 1.5, np.inf]


def test_rows_keep_their_index(model, X):
    X = X.iloc[:20].set_axis(np.arange(20)[::-1] + 100)

    def spend(rows):
        return future_sum(rows, "amount", "90D")

    found = model.simulate_targets(X, spend, "90D", interval=0.6, **OPTIONS)
    paths = model.simulate_targets(X, spend, "90D", return_paths=True, **OPTIONS)
    assert found.columns.tolist() == STATISTICS
    assert_array_equal(found.index, X.index)
    expected = np.quantile(paths, [0.5, 0.2, 0.8], axis=1, method="weibull")
    assert_allclose(found["mean"], paths.mean(axis=1))
    assert_allclose(found[["median", "lower", "upper"]].T, expected)
    assert (found["mean"] > found["median"]).any(), "they are to differ"


@pytest.mark.parametrize("as_array", [False, True])
def test_several_targets_have_four_columns_each(model, X, as_array):
    X, horizons = X.iloc[:20], ["30D", "90D"]

    def counts(rows):
        found = future_count(rows, horizons)
        return found.to_numpy() if as_array else found

    found = model.simulate_targets(X, counts, "90D", **OPTIONS)
    assert found.shape == (20, 8)
    names = [0, 1] if as_array else [pd.Timedelta(one) for one in horizons]
    for name, horizon in zip(names, horizons, strict=True):
        alone = model.simulate_targets(
            X, lambda rows, h=horizon: future_count(rows, h), "90D", **OPTIONS
        )
        assert_frame_equal(found[name], alone)


def test_shares_durations_and_times_keep_their_type(model, X):
    X = X.iloc[:20]

    def found(target, **options):
        return model.simulate_targets(X, target, "90D", **OPTIONS, **options)

    away = found(lambda rows: churned(rows, "90D"))
    counts = found(lambda rows: future_count(rows, "90D"), return_paths=True)
    assert_allclose(away["mean"], (counts == 0).mean(axis=1))
    waits = found(lambda rows: time_to_next(rows, "90D"))
    paths = found(lambda rows: time_to_next(rows, "90D"), return_paths=True)
    expected = paths["time"].groupby("row").mean()
    assert waits["time"].dtypes.unique().tolist() == [paths["time"].dtype]
    error = (waits["time", "mean"] - expected.to_numpy()).abs()
    assert error.max() <= pd.Timedelta("1us")
    shares = paths["event"].groupby("row").mean()
    assert_allclose(waits["event", "mean"], shares)
    due = found(lambda rows: next_value(rows, "due", "90D"))
    paths = found(lambda rows: next_value(rows, "due", "90D"), return_paths=True)
    latest = pd.DataFrame(paths, X.index).max(axis=1)
    assert due["upper"].dtype == paths.dtype
    assert (due["upper"].isna() == latest.isna()).all()
    assert 0 < due["upper"].isna().sum() < 20
    assert (due["upper"] <= latest)[latest.notna()].all()


def _decimals(counts):
    return counts.map(lambda n: None if n == 1 else Decimal(int(n))).astype(object)


@pytest.mark.parametrize("is_table", [False, True])
@pytest.mark.parametrize(
    ("convert", "expected"),
    [
        (lambda n: (n > 0).astype("boolean").mask(n == 1), lambda n: n > 0),
        (lambda n: n.astype("Int64").mask(n == 1), lambda n: n),
        (_decimals, lambda n: n),
    ],
    ids=["boolean", "Int64", "Decimal"],
)
def test_numbers_beside_missing_values_are_numbers(
    model, X, convert, expected, is_table
):
    def target(rows):
        found = convert(future_count(rows, "90D"))
        return found.to_frame("only") if is_table else found

    def floats(rows):
        counts = future_count(rows, "90D")
        found = expected(counts).astype("float64").mask(counts == 1)
        return found.to_frame("only") if is_table else found

    found, same = (
        model.simulate_targets(X.iloc[:20], one, "90D", **OPTIONS)
        for one in (target, floats)
    )
    assert_frame_equal(found, same)
    assert same.notna().any().all()


def test_values_without_an_order_need_their_paths(model, X):
    with pytest.raises(
        TypeError, match=r"The target must have numbers.*return_paths=True"
    ):
        model.simulate_targets(X, lambda rows: next_value(rows, "kind", "9D"), "9D", 2)


@pytest.mark.parametrize("return_paths", [False, True])
@pytest.mark.parametrize("n_rows", [1, 3])
@pytest.mark.parametrize("as_array", [False, True])
def test_a_target_without_columns_is_an_error(model, X, as_array, n_rows, return_paths):
    def nothing(rows):
        found = pd.DataFrame(index=rows.index)
        return found.to_numpy() if as_array else found

    name = "ndarray" if as_array else "DataFrame"
    match = rf"target must return a value .*; got a {name} without columns, .*, 0\)"
    with pytest.raises(ValueError, match=match):
        model.simulate_targets(
            X.iloc[:n_rows], nothing, "90D", return_paths=return_paths, **OPTIONS
        )
