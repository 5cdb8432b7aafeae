"""Metrics of values, against loops over rows and means over all orders of tied rows."""

import itertools

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score

from sklearn_seqcrm.metrics import (
    aggregate_bias,
    cumulative_gain_curve,
    decile_mape,
    decile_table,
    lift_at,
    normalized_gini,
)

NAN, INF = np.nan, np.inf


def orders(score):
    """Yield every order of the rows by descending score."""
    return [
        list(order)
        for order in itertools.permutations(range(len(score)))
        if all(score[a] >= score[b] for a, b in itertools.pairwise(order))
    ]


def slow_total(y, weight, order, share):
    """Return the total of the first rows; the last of them counts in part."""
    left, total = share * sum(weight), 0.0
    for row in order:
        taken = min(weight[row], left)
        total, left = total + taken * y[row], left - taken
    return total


def slow_gini(y, weight, order):
    """Return twice the area above the diagonal, by one trapezoid per row."""
    total = sum(a * b for a, b in zip(y, weight, strict=True))
    area = height = 0.0
    for row in order:
        step = weight[row] * y[row] / total
        area += weight[row] / sum(weight) * (height + step / 2)
        height += step
    return 2 * area - 1


def some_rows(n, weights, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.poisson(1.5, n) * rng.lognormal(size=n)
    weight = rng.integers(1, 4, n).astype(float) if weights else np.ones(n)
    return y, rng.integers(0, 4, n).astype(float), weight


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_gini_is_the_mean_over_all_orders_of_tied_rows(weights, seed):
    y, score, weight = some_rows(7, weights, seed)
    found = normalized_gini(y, score, sample_weight=weight)
    best = slow_gini(y, weight, np.argsort(-y))
    mean = np.mean([slow_gini(y, weight, order) for order in orders(score)])
    assert_allclose(found, mean / best, rtol=1e-12)


@pytest.mark.parametrize("weights", [False, True])
def test_gini_of_two_classes_is_the_area_under_the_roc_curve(weights):
    _, score, weight = some_rows(500, weights)
    y = np.random.default_rng(1).random(500) < 0.1 + 0.1 * score
    area = roc_auc_score(y, score, sample_weight=weight)
    found = normalized_gini(y, score, sample_weight=weight)
    assert_allclose(found, 2 * area - 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("score", "gini"),
    [(lambda y: y, 1), (lambda y: -y, -1), (lambda y: 0 * y + 0.1, 0)],
)
@pytest.mark.parametrize("shift", [0, -5, 1e9])
def test_gini_of_the_best_the_worst_and_no_order(score, gini, shift):
    """Totals may be negative, or so large that their differences are rounded."""
    y = np.array([0, 0, 3, 4, 90]) + shift
    assert_allclose(normalized_gini(y, score(y)), gini, atol=1e-12)


def test_lift_is_the_mean_over_all_orders_of_tied_rows():
    y, score, weight = some_rows(7, weights=False)
    for fraction in (0.05, 0.3, 3 / 7, 0.5, 1):
        reached = [slow_total(y, weight, order, fraction) for order in orders(score)]
        expected = np.mean(reached) / y.sum() / fraction
        assert_allclose(lift_at(y, score, fraction), expected, rtol=1e-12)


def test_a_weight_is_as_many_rows():
    y, score, weight = some_rows(30, weights=True)
    weight[:5] = 0
    many = np.repeat(np.arange(30), weight.astype(int))
    for metric in (normalized_gini, lift_at, decile_mape, aggregate_bias):
        expected = metric(y[many] + 1, score[many] + 1)
        found = metric(y + 1, score + 1, sample_weight=weight)
        assert_allclose(found, expected, rtol=1e-12, err_msg=metric.__name__)
    table = decile_table(y, score, sample_weight=weight, n_bins=4)
    assert_allclose(table, decile_table(y[many], score[many], n_bins=4), rtol=1e-12)
    curve = cumulative_gain_curve(y, score, sample_weight=weight)
    assert_same(curve, cumulative_gain_curve(y[many], score[many]), rtol=1e-12)


def test_gain_curve():
    """One point per score; rows without weight have none."""
    y, score, weight = [4, 0, 1, 5, 0], [2, 3, 2, 1, 9], [1, 1, 1, 2, 0]
    fraction, gain, thresholds = cumulative_gain_curve(y, score, sample_weight=weight)
    assert_array_equal(thresholds, [INF, 3, 2, 1])
    assert_allclose(fraction, [0, 0.2, 0.6, 1])
    assert_allclose(gain, [0, 0, 1 / 3, 1])


@pytest.mark.parametrize("label", ["yes", 2, True])
def test_labels(label):
    other = "no" if label == "yes" else label - 1
    labels = np.array([label, other, label, other], dtype=object)
    y, score = [1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]
    lift = lift_at(labels, score, 0.5, pos_label=label)
    assert lift == lift_at(y, score, 0.5) == 1
    _, gain, _ = cumulative_gain_curve(pd.Series(labels), score, pos_label=label)
    assert_array_equal(gain, [0, 0.5, 0.5, 1, 1])


@pytest.mark.parametrize(("low", "high"), [(1, 2), (-1, 1)])
def test_numbers_that_look_like_labels_warn(low, high):
    """Lifts of amounts are others than those of labels."""
    bought = np.arange(20) < 12
    y = np.where(bought, high, low)
    with pytest.warns(UserWarning, match=f"only the values {low} and {high}, which"):
        lift_at(y, bought, 0.5)
    assert lift_at(y == high, bought, 0.5) == lift_at(y, bought, 0.5, pos_label=high)
    # They may be amounts: a few rows, or further values.
    lift_at(y[:19], bought[:19], 0.5)
    lift_at(np.append(y, 5), np.append(bought, True), 0.5)


# Deciles ------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "n_bins"), [(7, 3), (6, 3), (7, 10), (4, 1)])
def test_deciles_are_means_over_all_orders_of_tied_rows(n, n_bins):
    y, score, weight = some_rows(n, weights=False)
    table = decile_table(y, score, n_bins=n_bins)
    assert table.index.tolist() == list(range(1, n_bins + 1))
    assert_allclose(table["weight"], n / n_bins)
    edges = np.arange(n_bins + 1) / n_bins
    for name, values in (("mean_target", y), ("mean_prediction", score)):
        reached = np.mean(
            [
                [slow_total(values, weight, order, edge) for edge in edges]
                for order in orders(score)
            ],
            axis=0,
        )
        assert_allclose(table[name], np.diff(reached) * n_bins / n, atol=1e-12)
    bias = table["mean_prediction"] / table["mean_target"].replace(0, NAN) - 1
    assert_allclose(table["bias"], bias)
    assert_allclose(table["lift"], table["mean_target"] / y.mean())
    gain = [slow_total(y, weight, np.argsort(-score), edge) for edge in edges]
    if len(set(score)) == n:
        assert_allclose(table["gain"], np.divide(gain[1:], y.sum()))
    assert table["gain"].iloc[-1] == pytest.approx(1)


def test_deciles_without_ties_are_those_of_pandas():
    rng = np.random.default_rng(0)
    y, score = rng.lognormal(size=(2, 500))
    part = 10 - pd.qcut(score, 10, labels=False)
    groups = pd.DataFrame({"y": y, "score": score}).groupby(part)
    table = decile_table(y, score)
    assert_allclose(table["mean_target"], groups["y"].mean(), rtol=1e-12)
    assert_allclose(table["mean_prediction"], groups["score"].mean(), rtol=1e-12)
    assert_array_equal(table["min_prediction"], groups["score"].min())
    assert_array_equal(table["max_prediction"], groups["score"].max())
    errors = groups["score"].mean() / groups["y"].mean() - 1
    assert_allclose(decile_mape(y, score), errors.abs().mean(), rtol=1e-12)


def test_constant_predictions_have_equal_deciles():
    y = np.arange(7.0)
    table = decile_table(y, np.full(7, 2.0))
    assert_allclose(table["mean_target"], 3)
    assert_allclose(table["bias"], -1 / 3)
    assert decile_mape(y, np.full(7, 2.0)) == pytest.approx(1 / 3)
    assert (table["min_prediction"] == 2).all()


def test_a_small_decile_beside_a_huge_one_is_exact():
    y = np.repeat([1e16, 1e-6], [5, 5])
    table = decile_table(y, y, n_bins=2)
    assert_allclose(table["mean_target"], [1e16, 1e-6], rtol=1e-12)


@pytest.mark.parametrize("weight", [0.1, 1 / 3, 1e-9, 1e12])
def test_rounding_of_weights_makes_no_slivers(weight):
    """Edges are at the ends of rows, so that bins share no row."""
    score = np.arange(30.0)[::-1]
    table = decile_table(score, score, sample_weight=np.full(30, weight))
    assert_array_equal(table["max_prediction"], score[::3])
    assert_array_equal(table["min_prediction"], score[2::3])


def test_negative_means_have_errors_as_well():
    assert decile_mape([4, 4, -2, -2], [5, 5, -3, -3], n_bins=2) == 0.375


# All metrics of values ----------------------------------------------------------------

METRICS = [
    normalized_gini,
    cumulative_gain_curve,
    lift_at,
    decile_table,
    decile_mape,
    aggregate_bias,
]
of_all = pytest.mark.parametrize("metric", METRICS)


def assert_same(found, expected, rtol):
    """Compare numbers, tables, or tuples of arrays."""
    several = isinstance(found, tuple)
    pairs = zip(found, expected, strict=True) if several else [(found, expected)]
    for one, two in pairs:
        assert_allclose(one, two, rtol=rtol)


@of_all
def test_the_order_of_rows_does_not_matter(metric):
    y, score, weight = some_rows(200, weights=True)
    shuffled = np.random.default_rng(1).permutation(200)
    found = metric(y, score, sample_weight=weight)
    other = metric(y[shuffled], score[shuffled], sample_weight=weight[shuffled])
    assert_same(found, other, rtol=1e-10)


@of_all
@pytest.mark.parametrize(
    "form",
    [
        list,
        lambda values: pd.Series(values, index=range(len(values), 0, -1)),
        lambda values: pd.Series(values, dtype="Float64"),
        lambda values: pd.Series(list(values), dtype=object),
        lambda values: np.array(values)[:, None],
    ],
)
def test_forms(metric, form):
    y, score, weight = ([3, 1, 2, 5], [4, 2, 2, 1], [1, 2, 1, 1])
    expected = metric(y, score, sample_weight=weight)
    found = metric(form(y), form(score), sample_weight=form(weight))
    assert_same(found, expected, rtol=0)


@of_all
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([1, NAN], [1, 2]), ValueError, "y_true has 1 missing or infinite values"),
        (([1, 2], [1, INF]), ValueError, "has 1 missing or infinite values among 2"),
        (([1, 2], [1, 2], [1, NAN]), ValueError, "sample_weight has 1 missing"),
        (([1, 2], [1, 2], [1, -1]), ValueError, "sample_weight has 1 negative"),
        (([1, 2], [1, 2], [0, 0]), ValueError, "no row with a weight above 0"),
        (([1, 2], [1, 2], [1]), ValueError, "weight has 1 rows, but y_true has 2"),
        (([1, 2], [1, 2, 3]), ValueError, r"y_.* has 3 rows, but y_true has 2"),
        (([], []), ValueError, "y_true has no row"),
        (([1, 2], [[1, 2], [3, 4]]), ValueError, r"got the shape \(2, 2\).*second"),
        (
            (["yes", "no"], [1, 2]),
            TypeError,
            "y_true must hold numbers or durations; got text, such as .'yes', .*pos_la",
        ),
        (([1, 2], ["a", "b"]), TypeError, "must hold numbers"),
    ],
)
def test_errors(metric, arguments, error, words):
    y, score, *weight = arguments
    with pytest.raises(error, match=words):
        metric(y, score, sample_weight=weight[0] if weight else None)


def test_ranges_of_options():
    for fraction in (0, 1.5, -0.1):
        with pytest.raises(ValueError, match="'fraction' parameter of lift_at"):
            lift_at([1, 2], [1, 2], fraction)
    with pytest.raises(ValueError, match="'n_bins' parameter of decile_table"):
        decile_table([1, 2], [1, 2], n_bins=0)
    with pytest.raises(ValueError, match="1 missing labels among 2"):
        lift_at(["yes", None], [1, 2], pos_label="yes")


@pytest.mark.parametrize("metric", [lift_at, cumulative_gain_curve])
@pytest.mark.parametrize(
    ("labels", "pos_label"),
    [(["no", "yes"], "Yes"), ([1, 2], 0), ([-1, 1], "1"), ([False, True], "True")],
)
def test_a_label_that_is_not_there_is_refused(metric, labels, pos_label):
    with pytest.raises(ValueError, match=f"pos_label={pos_label!r} is none of the lab"):
        metric(labels, [1, 2], pos_label=pos_label)
    # As in scikit-learn, all rows may be of the other class.
    with pytest.warns(UndefinedMetricWarning):
        metric(labels[:1] * 2, [1, 2], pos_label=labels[1])


@pytest.mark.parametrize("size", [1e307, 1e-300])
@pytest.mark.parametrize("weight", [None, np.array([1, 2, 1, 3, 1.0]) * 1e307])
def test_the_largest_and_smallest_numbers_have_scores(size, weight):
    y, score = np.array([0.0, 17, 4, 9, 2]), np.array([3.0, 11, 9, 4, 0])
    small = None if weight is None else weight / 1e307
    for metric in (normalized_gini, aggregate_bias, lift_at):
        expected = metric(y, score, sample_weight=small)
        found = metric(y * size, score * size, sample_weight=weight)
        assert_allclose(found, expected, rtol=1e-12)
    expected = decile_table(y, score, n_bins=3, sample_weight=small)
    found = decile_table(y * size, score * size, n_bins=3, sample_weight=weight)
    free = ["bias", "lift", "gain"]
    assert_allclose(found[free], expected[free], rtol=1e-12, atol=1e-15)
    means = ["mean_prediction", "mean_target"]
    assert_allclose(found[means], expected[means] * size, rtol=1e-12)
    if weight is not None:
        assert_allclose(found["weight"], expected["weight"] * 1e307, rtol=1e-12)
    # Their differences are beyond what a float holds.
    assert normalized_gini([-1.7e308, 0, 1.7e308], [1, 2, 3]) == 1


@pytest.mark.parametrize(
    ("metric", "y", "words"),
    [
        (normalized_gini, [3, 3], "All of y_true are equal"),
        (lift_at, [0, 0], "total of y_true is not above 0"),
        (lift_at, [1, -2], "total of y_true is not above 0"),
        (aggregate_bias, [0, 0], "total of y_true is not above 0"),
        (decile_mape, [0, 1], r"0 in the parts \[6, 7, 8, 9, 10\] of 10"),
    ],
)
def test_what_is_undefined_is_nan_with_a_warning(metric, y, words):
    with pytest.warns(UndefinedMetricWarning, match=words) as caught:
        assert np.isnan(metric(y, [1, 2][::-1] if metric is not decile_mape else y))
    assert [one.filename for one in caught] == [__file__]  # the line of the caller


def test_curve_and_table_without_a_total():
    with pytest.warns(UndefinedMetricWarning, match="not above 0"):
        _, gain, _ = cumulative_gain_curve([0, 0], [1, 2])
    assert_array_equal(gain, [0, NAN, NAN])
    table = decile_table([0, 0], [1, 2], n_bins=2)
    assert table[["bias", "lift", "gain"]].isna().all(axis=None)


def test_aggregate_bias():
    assert_allclose(aggregate_bias([1, 3], [2, 3]), 0.25)
    assert_allclose(aggregate_bias([1, 3], [2, 3], sample_weight=[2, 0]), 1)
