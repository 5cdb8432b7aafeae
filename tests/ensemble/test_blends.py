"""Blends of two parts, and how their weight is learned."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import mean_pinball_loss

from sklearn_seqcrm.ensemble._blends import (
    OfNumbers,
    OfProbabilities,
    OfQuantiles,
    learn_weight,
    log_probabilities,
)


def parts_of_numbers(n, noise, seed=0):
    """Return predictions with errors of given standard deviations, and the truth."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    return *(y + s * rng.normal(size=n) for s in noise), y


def test_much_data_finds_the_best_weight():
    """Independent errors of variances 1 and 4 are best blended by 4 to 1."""
    first, second, y = parts_of_numbers(100_000, (1, 2))
    one = np.ones(len(y))
    weight = learn_weight(OfNumbers(first, second), y, np.arange(len(y)), one)
    assert weight == pytest.approx(0.8, abs=0.01)
    # In any unit of the target and of the weights.
    blend = OfNumbers(1e9 * first, 1e9 * second)
    other = learn_weight(blend, 1e9 * y, np.arange(len(y)), 1e-6 * one)
    assert other == pytest.approx(weight, abs=1e-4)


def test_the_fewer_customers_the_closer_to_one_half():
    """Rows of one customer count as one observation."""
    first, second, y = parts_of_numbers(600, (1, 2))
    blend, weight = OfNumbers(first, second), np.ones(600)
    customers = [np.arange(600) // n for n in (1, 20, 200, 600)]
    found = [learn_weight(blend, y, who, weight) for who in customers]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.7
    assert found[-1] < 0.65


def test_few_customers_vary_the_weight_little():
    """With two equally good parts, the weight of ten customers varies little."""
    found = []
    for seed in range(200):
        first, second, y = parts_of_numbers(10, (1, 1), seed)
        who = np.arange(10)
        found.append(learn_weight(OfNumbers(first, second), y, who, np.ones(10)))
    assert np.std(found) < 0.15
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)


def test_row_weights_are_repeated_rows_of_a_customer():
    first, second, y = parts_of_numbers(50, (1, 2))
    times = np.random.default_rng(1).integers(0, 4, 50)
    who = np.arange(50)
    weighted = learn_weight(OfNumbers(first, second), y, who, times)
    repeated = [np.repeat(one, times) for one in (first, second, y, who)]
    first, second, y, who = repeated
    again = learn_weight(OfNumbers(first, second), y, who, np.ones(len(y)))
    assert weighted == pytest.approx(again, abs=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_derivatives_of_classes_are_those_of_the_losses(n_classes):
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(n_classes), size=(2, 20))
    columns = np.arange(n_classes)
    blend = OfProbabilities(
        *(log_probabilities(one, columns, n_classes) for one in shares)
    )
    y = rng.integers(n_classes, size=20)
    step = 1e-4
    low, mid, high = (blend.losses(y, 0.5 + s) for s in (-step, 0, step))
    slope, curvature = blend.derivatives(y)
    assert_allclose(slope, (high - low) / (2 * step), atol=1e-6)
    assert_allclose(curvature, (high - 2 * mid + low) / step**2, atol=1e-5)
    assert_allclose(blend.losses(y, 1.0), -np.log(shares[0][np.arange(20), y]))
    # The blend of two classes is that of their log-odds.
    if n_classes == 2:
        odds = np.log(shares[..., 1] / shares[..., 0])
        expected = 1 / (1 + np.exp(-(0.3 * odds[0] + 0.7 * odds[1])))
        assert_allclose(blend.blend(0.3)[:, 1], expected)


def test_a_quantile_is_blended_by_its_pinball_loss():
    """The first part is best for the quantile .9, the second for the mean."""
    rng = np.random.default_rng(0)
    signal, y = rng.normal(size=(2, 50_000))
    y = y + signal
    first, second = signal + 1.2816, 0.5 * signal
    who, one = np.arange(len(y)), np.ones(len(y))
    blend = OfQuantiles(first, second, 0.9)
    for weight in (0.0, 0.3, 1.0):
        expected = mean_pinball_loss(y, blend.blend(weight), alpha=0.9)
        assert_allclose(blend.losses(y, weight).mean(), expected)
    grid = np.linspace(0, 1, 101)
    best = grid[np.argmin([blend.losses(y, weight).mean() for weight in grid])]
    found = learn_weight(blend, y, who, one)
    assert found == pytest.approx(best, abs=0.03)
    assert found > 0.9
    # Squared errors would take the other part: the blend would be no quantile.
    assert learn_weight(OfNumbers(first, second), y, who, one) < 0.5
    # With few customers it stays close to one half.
    few = learn_weight(blend, y, who // 25_000, one)
    assert 0.5 < few < 0.75


def test_the_curvature_of_a_pinball_loss_is_its_mean_over_weights():
    rng = np.random.default_rng(0)
    first, second, y = rng.normal(size=(3, 40))
    blend, step = OfQuantiles(first, second, 0.3), 1e-6
    slope, curvature = blend.derivatives(y)

    def slope_at(weight):
        low, high = (blend.losses(y, weight + s) for s in (-step, step))
        return (high - low) / (2 * step)

    assert_allclose(slope, slope_at(0.5), atol=1e-6)
    assert_allclose(curvature, slope_at(1.0) - slope_at(0.0), atol=1e-6)
    assert (curvature >= 0).all()
    assert curvature.any()


def test_parts_that_agree_have_one_half():
    y = np.arange(5.0)
    same = OfNumbers(y + 1, y + 1)
    assert learn_weight(same, y, np.arange(5), np.ones(5)) == 0.5
