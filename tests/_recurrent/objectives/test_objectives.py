"""Losses in closed form, predictions from outputs, and targets of any size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from scipy.stats import lognorm, norm
from sklearn.base import clone
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import mean_gamma_deviance, mean_pinball_loss

from sklearn_seqcrm._recurrent.objectives import LOSSES, Quantiles, _zero_inflated
from sklearn_seqcrm.neural_network import LSTMRegressor

EXACT = {
    "hidden_size": 4,
    "head_sizes": (4,),
    "max_epochs": 2,
    "random_state": 0,
    "dropout": 0.0,
    "batch_size": 10_000,
    "learning_rate": 0.01,
    "n_networks": 1,
}
ZILN = LOSSES["zero_inflated_lognormal"]
RNG = np.random.default_rng(0)


def learned(objective, y, weight=None):
    objective.learn(y, weight)
    return objective


def losses_of(objective, outputs, y):
    target = torch.from_numpy(objective.encode(y, None).astype("float64"))
    return objective.forward(torch.from_numpy(outputs), target).numpy()


# Closed forms -------------------------------------------------------------------------


def test_the_gamma_loss_is_half_of_the_deviance():
    y, outputs = RNG.gamma(2, 5, 50), RNG.normal(size=(50, 1))
    gamma = learned(LOSSES["gamma"](), y)
    mean, one = gamma.predict(outputs), y.mean()
    assert_allclose(mean, one * np.exp(outputs[:, 0]))
    losses = losses_of(gamma, outputs, y) * gamma.spread
    for i in range(50):
        deviance = mean_gamma_deviance(y[[i]], mean[[i]]) / 2
        assert_allclose(losses[i], deviance + 1 + np.log(y[i] / one), rtol=1e-5)


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_losses_of_means_have_slopes_of_one_size(loss):
    """With any share of large targets, so that few gradients are clipped."""
    for share in (0.5, 0.01):
        y = 1e-3 + (RNG.random(20_000) < share)
        objective = learned(LOSSES[loss](), np.column_stack([y, y]))
        one = learned(LOSSES[loss](), y)
        assert_allclose(objective.spread, np.std(y / y.mean()).clip(1), rtol=1e-6)
        outputs = torch.zeros(len(y), 1, requires_grad=True)
        one(outputs, torch.from_numpy(one.encode(y, None))).sum().backward()
        assert_allclose(outputs.grad.std(), 1, rtol=0.1)


def test_the_gamma_loss_has_a_finite_gradient_everywhere():
    outputs = torch.tensor([[-1e4], [-100.0], [0.0], [1e4]], requires_grad=True)
    gamma = learned(LOSSES["gamma"](), np.array([1e-6, 1e9]))
    gamma(outputs, torch.ones(4)).sum().backward()
    slope = outputs.grad[:, 0]
    assert slope.isfinite().all()
    assert (slope[:2] < -1).all()  # back to where the targets are
    assert_allclose(slope[3], 1)


@pytest.mark.parametrize("levels", [0.3, [0.1, 0.5, 0.9], [0.6, 0.7], [0.01, 0.2]])
def test_the_quantile_loss_is_the_pinball_loss_of_transformed_targets(levels):
    y = RNG.normal(size=60) ** 3
    quantiles = learned(Quantiles(levels), y)
    outputs = RNG.normal(size=(60, quantiles.n_outputs))
    found = quantiles.predict_quantiles(outputs, None)
    assert found.shape == (60, np.size(levels))

    def bent(numbers):
        return np.arcsinh((numbers - quantiles.center) / quantiles.scale)

    quantiles.exponent[:] = 0  # for the unit to be that of `bent`
    quantiles = learned(Quantiles(levels), y)
    unit = 2.0**quantiles.exponent
    expected = np.mean(
        [
            mean_pinball_loss(bent(y / unit), bent(column / unit), alpha=level)
            for column, level in zip(found.T, np.atleast_1d(levels), strict=True)
        ]
    )
    assert_allclose(losses_of(quantiles, outputs, y).mean(), expected, rtol=1e-6)


def test_predict_returns_the_quantile_next_to_the_median():
    outputs = RNG.normal(size=(9, 3))
    for levels, middle in [([0.1, 0.4, 0.9], 1), ([0.6, 0.7, 0.9], 0)]:
        quantiles = learned(Quantiles(levels), RNG.normal(size=30))
        found = quantiles.predict_quantiles(outputs, None)
        assert_array_equal(quantiles.predict(outputs), found[:, middle])
        some = quantiles.predict_quantiles(outputs, levels[::-1])
        assert_array_equal(some, found[:, ::-1])


def of_amounts(outputs, ziln):
    """Probability of an amount, and its distribution in scipy."""
    spread = 0.05 + 1.95 * expit(outputs[:, 2])
    rate = np.exp(outputs[:, 0])
    some = 1 - np.exp(-rate)
    one = np.exp(ziln.center + ziln.scale * outputs[:, 1])
    return some, lognorm(s=ziln.scale * spread, scale=one * rate / some)


def make_amounts(n=80):
    y = RNG.lognormal(3, 1.2, n)
    y[: n // 3] = 0
    return y


def test_the_zero_inflated_loss_is_the_likelihood():
    y, outputs = make_amounts(), RNG.normal(size=(80, 3))
    ziln = learned(ZILN(), y)
    some, amounts = of_amounts(outputs, ziln)
    with np.errstate(divide="ignore"):
        likelihood = np.where(y > 0, np.log(some) + amounts.logpdf(y), np.log1p(-some))
    # Terms that depend only on targets are left out: this is the density of y.
    constant = np.where(
        y > 0, np.log(np.where(y > 0, y, 1) * ziln.scale * np.sqrt(2 * np.pi)), 0
    )
    expected = -likelihood - constant
    assert_allclose(losses_of(ziln, outputs, y), expected, rtol=1e-5, atol=1e-5)


def test_predictions_of_a_zero_inflated_log_normal():
    y, outputs = make_amounts(), RNG.normal(size=(80, 3))
    ziln = learned(ZILN(), y)
    ziln.largest[:] = np.inf
    some, amounts = of_amounts(outputs, ziln)
    assert_allclose(ziln.predict_proba_zero(outputs), 1 - some)
    assert_allclose(ziln.predict(outputs), some * amounts.mean())
    levels = np.array([0.05, 0.3, 0.5, 0.9, 0.999])
    found = ziln.predict_quantiles(outputs, levels)
    for j, level in enumerate(levels):
        above = level > 1 - some
        share = (level - (1 - some)) / some
        expected = np.where(above, amounts.ppf(np.where(above, share, 0.5)), 0)
        assert_allclose(found[:, j], expected, rtol=1e-9)


def test_a_rate_parameter_is_proportional_to_the_exposure():
    outputs = RNG.normal(size=(80, 3))
    ziln = learned(ZILN(), make_amounts())
    ziln.largest[:] = np.inf
    twice = outputs + np.array([np.log(2), 0, 0])
    assert_allclose(ziln.predict(twice), 2 * ziln.predict(outputs))
    zero = [ziln.predict_proba_zero(one) for one in (outputs, twice)]
    assert_allclose(zero[1], zero[0] ** 2)


@pytest.mark.parametrize("several", [False, True])
def test_quantiles_of_many_rows_are_exact(several, monkeypatch):
    """The probability below a quantile is its level, whatever the size of blocks."""
    y = make_amounts()
    objective = learned(ZILN(), np.column_stack([y, 2 * y]) if several else y)
    rng = np.random.default_rng(0)
    outputs = [rng.normal(size=(50, objective.n_outputs)) for _ in range(3)]
    levels = np.array([0.2, 0.95, 0.6])
    found = objective.combine(objective.predict_quantiles, outputs, levels)
    log_some, mean, deviation = (
        np.stack(part)[..., None]
        for part in zip(
            *(objective._parameters_of(objective._by_target(one)) for one in outputs),
            strict=True,
        )
    )
    amounts = found.reshape(50, -1, 3)
    with np.errstate(divide="ignore"):
        above = norm.sf(np.log(amounts), mean, deviation)
    below = 1 - (np.exp(log_some) * above).mean(axis=0)
    some = amounts > 0
    assert 0.2 < some.mean() < 1
    assert_allclose(below[some], np.broadcast_to(levels, some.shape)[some], atol=1e-6)
    assert (below >= levels - 1e-6).all()
    monkeypatch.setattr(_zero_inflated, "_BLOCK", 21)
    again = objective.combine(objective.predict_quantiles, outputs, levels)
    assert_allclose(again, found, rtol=2e-7)


def test_quantiles_of_several_networks_are_those_of_their_mean_distribution():
    """A sample of the mixture has these shares below its quantiles."""
    objective = ZILN()
    objective.learn(np.array([0.0, 1.0, 5.0, 20.0]), None)
    # A network without amounts, and one with many; in the second row both have some.
    outputs = [np.array([[-9.0, 0, 0], [1, 0, 0]]), np.array([[3.0, 2, 1], [0, 1, -1]])]
    levels = [0.9, 0.3, 0.52, 0.6]
    found = objective.combine(objective.predict_quantiles, outputs, levels)
    assert found.shape == (2, 4)
    assert (np.diff(found[:, np.argsort(levels)], axis=1) >= 0).all()
    zero = objective.combine(objective.predict_proba_zero, outputs)
    assert_array_equal(found == 0, zero[:, None] >= levels)
    rng = np.random.default_rng(0)
    for row in range(2):
        below = np.zeros(4)
        for one in outputs:
            log_some, mean, deviation = (
                part[row, 0]
                for part in objective._parameters_of(objective._by_target(one))
            )
            amounts = np.exp(rng.normal(mean, deviation, 200_000))
            amounts[rng.random(200_000) > np.exp(log_some)] = 0
            below += (amounts[:, None] <= found[row]).mean(axis=0) / 2
        assert_allclose(below, np.maximum(levels, zero[row]), atol=0.004)
    # Of equal networks it is that of one of them.
    one = objective.predict_quantiles(outputs[1], levels)
    same = objective.combine(objective.predict_quantiles, [outputs[1]] * 2, levels)
    assert_allclose(same, one, rtol=1e-9)


@pytest.mark.parametrize("distance", [0.1, 3, 30])
def test_quantiles_of_networks_that_disagree_are_those_of_bisection(distance):
    """With modes far apart, between which the probability hardly changes."""
    rng = np.random.default_rng(0)
    some = rng.beta(0.3, 0.3, (3, 500)).clip(1e-12)
    mean = rng.normal(0, distance, (3, 500))
    deviation = np.exp(rng.uniform(-3, 1, (3, 500)))
    upper = some.mean(axis=0) * (1 - 10.0 ** rng.uniform(-9, -1e-3, 500))
    found = np.log(
        _zero_inflated._mixture_quantiles(np.log(some), mean, deviation, upper)
    )
    low, high = np.full((2, 500), [[-1e3], [1e3]])
    for _ in range(60):
        middle = (low + high) / 2
        is_below = (some * norm.sf(middle, mean, deviation)).mean(axis=0) > upper
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    assert_allclose(found, high, rtol=0, atol=2e-7)


def test_the_zero_inflated_loss_has_a_finite_gradient_everywhere():
    ziln = learned(ZILN(), make_amounts())
    for rate in (-1e4, -100.0, -10.0, 0.0, 8.0, 100.0, 1e4):
        outputs = torch.tensor([[rate, 0.0, 0.0]] * 2, requires_grad=True)
        losses = ziln(outputs, torch.tensor([0.5, -torch.inf]))
        losses.sum().backward()
        assert losses.isfinite().all()
        assert outputs.grad.isfinite().all()


@pytest.mark.parametrize(("copies", "least", "most"), [(100, 0.9, 1), (1, 0.2, 0.9)])
def test_the_calibration_factor_is_shrunken_by_its_standard_error(copies, least, most):
    y = np.repeat(make_amounts(), copies)
    ziln = learned(ZILN(), y)
    outputs = np.tile([0.7, 0.3, 0.0], (len(y), 1))
    weight = RNG.uniform(0.5, 2, len(y))
    before = ziln.predict(outputs)[0]
    ziln.adjust([outputs], ziln.encode(y, None), weight)
    ratio = np.average(y, weights=weight) / before
    error = np.sqrt((weight**2 * (y - before) ** 2).sum()) / (weight.sum() * before)
    believed = 0.04 / (0.04 + error**2)
    assert least < believed < most
    assert_allclose(ziln.predict(outputs), before * ratio**believed, rtol=1e-5)


@pytest.mark.parametrize("name", ["poisson", "gamma"])
def test_the_calibration_factor_of_a_mean_minimises_its_loss(name):
    y = np.repeat(make_amounts() + 1, 1000)
    objective = learned(LOSSES[name](), y)
    outputs = np.repeat(RNG.normal(0.3, 0.5, (80, 1)), 1000, axis=0)
    before = objective.predict(outputs)
    objective.adjust([outputs], objective.encode(y, None), None)
    levels = np.array([0.98, 1, 1.02]) * objective.factor
    losses = [losses_of(objective, outputs + np.log(one), y).sum() for one in levels]
    assert np.argmin(losses) == 1
    assert abs(objective.factor[0] - 1) > 0.02
    assert_allclose(objective.predict(outputs), before * objective.factor)


def test_the_slope_of_the_offset_is_that_of_a_shrunken_glm():
    n, rng = 300, np.random.default_rng(0)
    offset, means, weight = rng.normal(size=n), rng.gamma(2, 1, n), rng.choice(3, n)
    y = rng.poisson(2 * means * np.exp(0.3 * offset))
    poisson = learned(LOSSES["poisson"](), y, weight)
    outputs, target = np.log(means)[:, None], poisson.encode(y, weight)
    found = poisson.offset_slope_excess(outputs, target, weight, offset)
    glm = PoissonRegressor(alpha=0, tol=1e-9)
    glm.fit(offset[:, None], y / means, sample_weight=weight * means)
    expected = means * glm.predict(offset[:, None])
    x = np.column_stack([np.ones(n), offset])
    bread = np.linalg.inv(x.T @ (x * (weight * expected)[:, None]))
    scores = x * (weight * (y - expected))[:, None]
    variance = (bread @ scores.T @ scores @ bread)[1, 1]  # sandwich estimator
    assert_allclose(found, glm.coef_ * 0.01 / (0.01 + variance), rtol=1e-4)


def test_start_bias_of_networks_without_inputs():
    y = np.array([0.0, 0, 0, 1, 2, 4, 8, 16, 32, 900])
    some = y[y > 0]
    bias = learned(ZILN(), y).start_bias(ZILN.encode(learned(ZILN(), y), y, None), None)
    ziln = learned(ZILN(), y)
    share, amounts = of_amounts(bias[None], ziln)
    assert_allclose(share, 7.5 / 11, rtol=1e-6)
    assert_allclose(amounts.median(), np.exp(np.log(some).mean()), rtol=1e-6)
    assert_allclose(ziln.center, np.log(some).mean())
    assert_allclose(ziln.scale, np.log(some).std())
    quantiles = learned(Quantiles([0.2, 0.5, 0.8]), y)
    bias = quantiles.start_bias(quantiles.encode(y, None), None)
    found = quantiles.predict_quantiles(bias[None], None)
    assert_allclose(found, [[0, 2, 16]], atol=0.5)
    never = np.column_stack([y, 0 * y])
    poisson = learned(LOSSES["poisson"](), never)
    bias = poisson.start_bias(poisson.encode(never, None), None)
    assert_allclose(poisson.predict(bias[None]), [[y.mean(), 0.05]])


# Order --------------------------------------------------------------------------------

numbers = st.floats(-200, 200, width=32)


@settings(max_examples=60)
@given(arrays("float64", (7, 5), elements=numbers), st.integers(-290, 260))
def test_quantiles_never_cross(outputs, size):
    y = 10.0**size * np.array([-3.0, 0, 1, 1, 7, 1e5])
    levels = [0.01, 0.3, 0.5, 0.50001, 0.99]
    for objective in (Quantiles(levels), ZILN()):
        learned(objective, np.abs(y))
        out = outputs[:, : objective.n_outputs]
        with np.errstate(over="ignore"):
            found = objective.predict_quantiles(out, levels)
        assert (found >= 0).all()
        assert_array_equal(found, np.sort(found, axis=1))


# Targets of any size ------------------------------------------------------------------

X = RNG.normal(size=(60, 3))
SIZES = {
    "from 1e-6 to 1e9": 10.0 ** RNG.uniform(-6, 9, 60),
    "ties": np.tile([1.0, 1.0, 1.0, 5.0], 15),
    "constant": np.full(60, 9.99),
    "one huge": np.r_[np.ones(59), 1e9],
    "tiny": np.full(60, 1e-300),
}
WITH_ZEROS = {
    "zeros": np.where(np.arange(60) % 3, 0.0, SIZES["from 1e-6 to 1e9"]),
    "ties and zeros": np.tile([0.0, 0.0, 0.0, 5.0], 15),
    "one amount": np.r_[np.zeros(59), 7.0],
}


@pytest.mark.parametrize("loss", ["gamma", "quantile", "zero_inflated_lognormal"])
@pytest.mark.parametrize("name", [*SIZES, *WITH_ZEROS, "all zero"])
def test_losses_are_stable(loss, name):
    y = {**SIZES, **WITH_ZEROS, "all zero": np.zeros(60)}[name]
    if loss == "gamma" and not y.all():
        pytest.skip("has none of these")
    model = LSTMRegressor(
        **{**EXACT, "max_epochs": 30, "learning_rate": 0.05, "batch_size": 20},
        loss=loss,
        quantile=[0.1, 0.5, 0.9],
    )
    model.fit(X, y)
    assert np.isfinite(model.net_.history[:, "train_loss"]).all()
    predicted = model.predict(1e3 * X)
    assert np.isfinite(predicted).all()
    assert (predicted >= 0).all()
    assert (predicted <= 1e4 * max(y.max(), 1)).all() or loss != ZILN.name
    if name == "constant":
        assert_allclose(model.predict(X), 9.99, rtol=0.05)


@pytest.mark.parametrize("loss", ["gamma", "quantile", "zero_inflated_lognormal"])
@pytest.mark.parametrize("size", [1e-300, 1e-6, 1e6, 1e300])
def test_predictions_follow_the_unit(loss, size):
    y = make_amounts(60) + (loss == "gamma")
    weight = 1.0 + np.arange(60) % 3
    model = LSTMRegressor(**EXACT, loss=loss)
    expected = clone(model).fit(X, y, weight).predict(X)
    found = clone(model).fit(X, size * y, weight).predict(X)
    assert_allclose(found / size, expected, rtol=1e-4, atol=1e-5)


# Simulated truth ----------------------------------------------------------------------


def simulate(n, seed):
    """Probabilities, means and spreads of amounts go with what a row shows."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n, 2))
    some, mean, spread = expit(1.5 * X[:, 0]), 3 + X[:, 1], 0.8 + 0.3 * X[:, 0]
    y = np.exp(mean + spread * rng.normal(size=n)) * (rng.random(n) < some)
    return X, y, some, mean, spread


def by_decile(found, truth):
    parts = np.array_split(np.argsort(truth), 10)
    return np.array([found[part].mean() / truth[part].mean() for part in parts])


@pytest.fixture(scope="module")
def recovered():
    X, y, *_ = simulate(30_000, 0)
    model = LSTMRegressor(
        loss="zero_inflated_lognormal",
        head_sizes=(16,),
        static_pieces=1,
        dropout=0.0,
        batch_size=256,
        learning_rate=0.004,
        max_epochs=20,
        random_state=0,
        n_networks=1,
    )
    return model.fit(X, y)


def test_a_zero_inflated_log_normal_is_recovered(recovered):
    X, _, some, mean, spread = simulate(4000, 1)
    tolerance = {"atol": 0.05}
    zero = recovered.predict_proba_zero(X)
    assert_allclose(by_decile(zero, 1 - some), 1, **tolerance)
    expected = some * np.exp(mean + spread**2 / 2)
    assert_allclose(by_decile(recovered.predict(X), expected), 1, **tolerance)
    top = recovered.predict_quantiles(X, 0.9)[:, 0]
    expected = np.exp(mean + spread * norm.ppf(1 - 0.1 / some))
    assert_allclose(by_decile(top, expected), 1, **tolerance)


def test_methods_are_available_by_loss():
    for loss in LOSSES:
        model = LSTMRegressor(loss=loss, n_networks=1)
        knows = loss in ("quantile", "zero_inflated_lognormal")
        assert hasattr(model, "predict_quantiles") == knows
        assert hasattr(model, "predict_proba_zero") == (loss == ZILN.name)


@pytest.mark.parametrize("seed", [0, 2])
def test_coverage_of_quantiles(seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(24_000, 2))
    y = np.exp(1 + X[:, 0] + (0.5 + 0.3 * X[:, 1]) * rng.normal(size=24_000))
    levels = np.array([0.1, 0.5, 0.9])
    model = LSTMRegressor(
        loss="quantile",
        quantile=levels,
        head_sizes=(16,),
        dropout=0.0,
        batch_size=256,
        learning_rate=0.01,
        max_epochs=10,
        random_state=0,
        n_networks=1,
    )
    found = model.fit(X[:4000], y[:4000]).predict_quantiles(X[4000:])
    covered = (y[4000:, None] <= found).mean(axis=0)
    # Two standard errors of 20,000 rows are 0.7 percentage points.
    assert_allclose(covered, levels, atol=0.02)
    # As many of the rows of training as there should be.
    known = (y[:4000, None] <= model.predict_quantiles(X[:4000])).mean(axis=0)
    assert_allclose(known, levels, atol=0.001)


@pytest.mark.parametrize("loss", ["poisson", "zero_inflated_lognormal"])
def test_rows_without_weight_do_not_change_the_start_bias(loss):
    rng = np.random.default_rng(0)
    X, more = rng.normal(size=(20, 2)), np.zeros((200, 2))
    y = np.c_[np.arange(20.0), np.zeros(20)]
    network = LSTMRegressor(
        loss=loss,
        hidden_size=2,
        max_epochs=1,
        early_stopping=False,
        learning_rate=1e-12,
        random_state=0,
        n_networks=1,
    )
    expected = network.fit(X, y).predict(X)
    for other in (0.0, 1.0):
        weight = np.r_[np.ones(20), np.zeros(200)]
        network.fit(np.r_[X, more], np.r_[y, more + other], weight)
        np.testing.assert_allclose(network.predict(X), expected, rtol=1e-4)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("shape", [(60,), (60, 2)])
def test_counts_that_are_all_0_have_a_small_mean(shape, early_stopping):
    """The start bias assumes half an event in all rows."""
    model = LSTMRegressor(loss="poisson", max_epochs=2, random_state=0, n_networks=1)
    plain = RNG.normal(size=(60, 2))
    model.set_params(early_stopping=early_stopping).fit(plain, np.zeros(shape))
    found = model.predict(plain)
    assert found.shape == shape
    assert (found > 0).all()
    assert (found < 2 * 0.5 / 60).all()


@pytest.mark.parametrize("n_networks", [1, 2])
@pytest.mark.parametrize("loss", ["poisson", "gamma", "zero_inflated_lognormal"])
def test_predictions_for_training_rows_add_up_as_documented(loss, n_networks):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2))
    y = np.exp(2 + X[:, 0] + rng.normal(size=500))
    if loss != "gamma":
        y[rng.random(500) < 0.7] = 0.0
    model = LSTMRegressor(loss=loss, max_epochs=3, n_networks=n_networks)
    found = model.set_params(random_state=0).fit(X, y).predict(X)
    if loss == "gamma":
        assert_allclose((y / found).mean(), 1, rtol=1e-5)
    elif loss == "poisson":
        assert_allclose(found.sum(), y.sum(), rtol=1e-5)
    else:
        means = found / model._objective.factor
        ratio = y.sum() / means.sum()
        error = np.sqrt(((y - means) ** 2).sum()) / means.sum()
        level = ratio ** (0.04 / (0.04 + error**2))
        assert_allclose(found.sum() / y.sum(), level / ratio, rtol=1e-5)
        assert 0.001 < abs(found.sum() / y.sum() - 1) < 0.21
