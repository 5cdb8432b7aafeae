"""The linear part beside the head, against scikit-learn and known sums."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import GammaRegressor, PoissonRegressor, Ridge
from sklearn.metrics import mean_poisson_deviance
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm._recurrent.data import ALONE
from sklearn_seqcrm._recurrent.network import LinearPart, log_sums
from sklearn_seqcrm._recurrent.objectives import Gamma, Poisson, SquaredError
from sklearn_seqcrm._recurrent.training._linear_start import linear_start
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import (
    LSTMClassifier,
    LSTMRegressor,
    LSTMUpliftRegressor,
)
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import future_count


def started(inputs, target, loss=SquaredError, n_logs=0, **options):
    """Fit the start of a linear part to encoded targets."""
    inputs = np.asarray(inputs, "float32")
    none = {"weight": None, "offset": np.zeros(len(inputs)), "constant": np.zeros(1)}
    return linear_start(
        inputs,
        np.asarray(target),
        objective=loss(),
        n_logs=n_logs,
        ranks=ALONE,
        **none | options,
    )


def scaled_part(inputs, target, loss=SquaredError, n_logs=0):
    """Return a linear part after its start."""
    part = LinearPart(np.shape(inputs)[1], 1, n_logs)
    part.start(*started(inputs, target, loss, n_logs)[:4])
    return part


EXACT = {"solver": "newton-cholesky", "tol": 1e-9}
# Encoded targets around log means eta, and the same model of scikit-learn.
MODELS = {
    SquaredError: (lambda eta, rng: eta + rng.normal(size=len(eta)), None),
    Poisson: (lambda eta, rng: rng.poisson(np.exp(eta)), PoissonRegressor),
    Gamma: (lambda eta, rng: rng.gamma(2, np.exp(eta) / 2), GammaRegressor),
}


@pytest.mark.parametrize("n_logs", [0, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", MODELS)
def test_it_starts_as_the_models_of_scikit_learn(loss, weighted, n_logs):
    rng = np.random.default_rng(0)
    n = 20_000  # several blocks
    inputs = (rng.normal(size=(n, 3)) * [1, 1e-4, 1e6] + [0, 1, 5e6]).astype("float32")
    raw = inputs.astype("float64")
    if n_logs:
        raw[:, 1:] = np.arcsinh(10 * raw[:, 1:])
    scaler = StandardScaler()
    draw, model = MODELS[loss]
    weight = rng.integers(0, 4, n).astype(float) if weighted else None
    z = scaler.fit_transform(raw, sample_weight=weight)
    targets = np.stack([draw(z @ w, rng) for w in ([1, 0.5, 0], [0, -1, 0.5])], axis=1)
    if model is None:
        model = Ridge(0.05 * (n if weight is None else weight.sum()))
    else:
        model = model(alpha=0.05, **EXACT)
    found = started(inputs, targets, loss, n_logs, weight=weight, constant=np.zeros(2))
    assert_allclose(found.center, scaler.mean_, rtol=1e-6)
    assert_allclose(found.spread, scaler.scale_, rtol=1e-6)
    for k, target in enumerate(targets.T):
        model.fit(z, target, sample_weight=weight)
        # Newton's methods of both end at about 1e-8.
        near = 0 if loss is SquaredError else 1e-7
        assert_allclose(found.weights[:, k], model.coef_, rtol=1e-6, atol=near)
        assert_allclose(found.constant[k], model.intercept_, rtol=1e-6, atol=1e-7)
    ends = [[-1000] * 3, [1000] * 3] if loss is SquaredError else [z.min(0), z.max(0)]
    assert_allclose(found.bounds, ends, rtol=1e-6)


def test_an_offset_is_that_of_rates():
    """Counts over an exposure are rates whose weight is the exposure."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(5_000, 2)).astype("float32")
    exposure = rng.uniform(0.2, 3, size=5_000)
    target = rng.poisson(exposure * np.exp(inputs @ [0.5, -1]))
    z = StandardScaler().fit_transform(inputs.astype("float64"))
    expected = PoissonRegressor(alpha=0.05 / exposure.mean(), **EXACT).fit(
        z, target / exposure, sample_weight=exposure
    )
    found = started(inputs, target, Poisson, offset=np.log(exposure))
    assert_allclose(found.weights[:, 0], expected.coef_, rtol=1e-5)
    assert_allclose(found.constant, expected.intercept_, rtol=1e-5)


@pytest.mark.parametrize("loss", [Poisson, Gamma])
@pytest.mark.filterwarnings("ignore::RuntimeWarning:sklearn")
def test_a_target_a_million_times_the_others(loss):
    """Whole steps of Newton's method would overflow."""
    inputs = np.append(np.linspace(-1, 1, 50), 30)[:, None]
    target = np.append(np.ones(50), 1e6)
    model = MODELS[loss][1](alpha=0.05, **EXACT)
    model.fit(StandardScaler().fit_transform(inputs), target)
    found = started(inputs, target, loss)
    assert_allclose(found.weights[0], model.coef_, rtol=1e-5)
    assert_allclose(found.constant[0], model.intercept_, rtol=1e-5)


def test_an_exposure_of_next_to_nothing():
    """One row has a curvature of 1e43, beside which the penalty is rounded off."""
    rng = np.random.default_rng(0)
    inputs, offset = rng.normal(size=(50, 3)), np.zeros(50)
    offset[0] = -100
    found = started(inputs, rng.gamma(2, size=50), Gamma, offset=offset)
    assert np.isfinite(found.weights).all()
    assert np.isfinite(found.constant).all()


@pytest.mark.parametrize("loss", [Poisson, Gamma])
def test_no_input_is_beyond_those_of_training(loss):
    inputs = np.linspace(-1, 1, 50)[:, None]
    part = scaled_part(inputs, np.exp(inputs[:, 0]), loss)
    low, least, largest, high = part(torch.tensor([[-9.0], [-1.0], [1.0], [9.0]]))
    assert_allclose([low.item(), high.item()], [least.item(), largest.item()], 1e-6)
    assert largest - least > 1


@pytest.mark.parametrize("loss", [SquaredError, Poisson])
def test_targets_of_0_leave_the_constant(loss):
    inputs, target = np.arange(8.0).reshape(4, 2), np.zeros((4, 1))
    found = started(inputs, target, loss, constant=np.array([-3.0]))
    assert_array_equal(found.constant, [-3])
    assert_array_equal(found.weights, np.zeros((2, 1)))


def test_logarithms_of_sums_of_either_sign():
    inputs = np.array([[7, 0, -500, 0.001], [7, 5, 500, 1e38]])
    expected = [[7, 0, -np.log(1e4), 0.01], [7, np.log(100), np.log(1e4), 90.4948]]
    for numbers in (inputs, torch.from_numpy(inputs)):
        assert_allclose(log_sums(numbers, 3), expected, rtol=1e-4)
    assert log_sums(inputs, 0) is inputs


def test_a_constant_input_has_no_effect():
    part = scaled_part([[1e6, 0], [1e6, 1], [1e6, 2]], [0.0, 1.0, 2.0])
    one, other = part(torch.tensor([[1e6, 1.0], [0.0, 1.0]]))
    assert one == other


@pytest.mark.parametrize("n_logs", [0, 2])
@pytest.mark.parametrize("tiny", [4e-45, 1e-30])
def test_sums_that_underflow_have_no_effect(tiny, n_logs):
    """A sum over events of long ago, and a later row with a recent event."""
    inputs = np.array([[0, 0], [tiny, 1], [0, 2]], dtype="float32")
    loss = Poisson if n_logs else SquaredError
    part = scaled_part(inputs, [0.0, 1.0, 2.0], loss, n_logs)
    assert part(torch.from_numpy(inputs)).isfinite().all()
    one, other = part(torch.tensor([[50.0, 1.0], [0.0, 1.0]]))
    assert one == other


def buyers(amounts):
    """One row for each customer, who has three events ten days apart."""
    n = len(amounts)
    events = pd.DataFrame(
        {
            "who": np.repeat(np.arange(n), 3),
            "day": np.tile([0.0, 10.0, 20.0], n),
            "spend": np.ravel(amounts),
        }
    )
    log = EventLog(events, customer="who", time="day")
    return log.attach(pd.DataFrame({"who": np.arange(n)}), cutoff=30.0)


def test_spend_beyond_the_training_range_is_extrapolated():
    """Spend in proportion to the sum, also of one ten times as large as any before."""
    rng = np.random.default_rng(0)
    amounts = np.exp(1.5 * rng.normal(size=(300, 3)))
    X, y = buyers(amounts), amounts.sum(axis=1)
    model = make_history_pipeline(
        LSTMRegressor(max_epochs=5, random_state=0, n_networks=1)
    )
    largest = 10 * amounts[y.argmax()]
    found = model.fit(X, y).predict(buyers([largest]))
    # A network without the linear part predicted a thirtieth of that.
    assert found == pytest.approx(largest.sum(), rel=0.25)


def test_sums_are_those_of_the_raw_numbers():
    amounts = np.array([[1.0, -2.0, 400.0], [5.0, np.nan, 7.0], [2.0, 3.0, 4.0]])
    X = buyers(amounts)
    encoder = make_history_pipeline(LSTMClassifier())[:1].fit(X)
    array = encoder.transform(X)["history"].array
    layout = array.log.layout
    known = np.where(np.isnan(amounts), np.nanmedian(amounts), amounts)
    low, high = np.nanquantile(amounts, [0.25, 0.75])
    ages = np.array([30.0, 20.0, 10.0])
    expected = [
        (known * 0.5 ** (ages / half_life)).sum(axis=1) / ((high - low) / 1.349)
        for half_life in layout.half_lives
    ]
    assert layout.sums == [f"spend_sum_{k}" for k in range(4)]
    features, sums = array.log.row_features_and_sums(array.rows)
    assert_allclose(sums, np.transpose(expected), rtol=1e-5)
    assert_array_equal(features, array.log.row_features(array.rows))


@pytest.mark.parametrize(
    ("model", "have_one"),
    [
        (LSTMClassifier(), [False, False, False]),
        (LSTMRegressor(), [True, True, True]),
        (LSTMRegressor(loss="absolute_error"), [False, False, False]),
        (LSTMRegressor(loss="poisson"), [False, True, False]),
        (LSTMRegressor(loss="gamma"), [False, True, False]),
        (LSTMRegressor(loss="quantile"), [False, False, False]),
        (LSTMRegressor(loss="poisson", n_networks=1), [False]),
        (LSTMRegressor(n_networks=1), [True]),
    ],
)
def test_models_of_means_have_a_linear_part(model, have_one):
    X = buyers(np.ones((4, 3)))
    model.set_params(max_epochs=1, hidden_size=2, n_networks=len(have_one))
    fitted = make_history_pipeline(model).fit(X, [1, 2, 1, 2])[-1]
    modules = [net.module_ for net in fitted.nets_]
    assert [one.linear is not None for one in modules] == have_one
    assert fitted._uses_sums == any(have_one)
    n_sums = 4 if any(have_one) else 0  # half-lives of a field
    for module in modules:
        pooled = sum(reader.output_size for reader in module.readers)
        assert fitted._n_static - (module.head[0].in_features - pooled) == n_sums


def test_counts_of_very_different_size():
    """The linear part knows that a customer a thousand times as large buys as much."""
    rng = np.random.default_rng(0)
    amounts = np.exp(2.5 * rng.normal(size=(400, 1)) + 0.1 * rng.normal(size=(400, 3)))
    X, y = buyers(amounts), rng.poisson(10 * amounts.sum(axis=1))
    model = LSTMRegressor(loss="poisson", max_epochs=5, n_networks=2, random_state=0)
    fitted = make_history_pipeline(model).fit(X[:300], y[:300])
    outputs = fitted[-1]._outputs(fitted[:-1].transform(X[300:]))
    without, with_part = (
        mean_poisson_deviance(y[300:], y[:300].mean() * np.exp(one[:, 0]))
        for one in outputs
    )
    assert with_part < 0.25 * without


def test_networks_of_all_rows_alternate():
    """The first training, with rows set aside, has one network."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"who": rng.integers(0, 60, 900)})
    events["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(
        rng.uniform(0, 200, 900), unit="D"
    )
    log = EventLog(events, "who", "day", observed_until="2024-07-20")
    X = log.snapshots(pd.date_range("2024-03-01", periods=5, freq="20D"))
    model = make_history_pipeline(
        LSTMRegressor(loss="poisson", max_epochs=2, hidden_size=2, n_networks=3)
    )
    fitted = model.fit(X, future_count(X, "20D"))[-1]
    assert fitted.validation_["n_epochs"]
    parts = [net.module_.linear is not None for net in fitted.nets_]
    assert parts == [False, True, False]


STARTED = {
    "max_epochs": 1,
    "learning_rate": 1e-9,
    "early_stopping": False,
    "n_networks": 2,
    "random_state": 0,
}


@pytest.mark.parametrize("loss", [SquaredError, Poisson])
def test_an_estimator_starts_with_its_weights_and_exposure(loss):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)).astype("float32")
    X[:, 0] = np.exp(X[:, 0])
    weight = rng.integers(1, 5, 400).astype(float)
    exposure = X[:, 0].astype("float64") if loss is Poisson else np.ones(400)
    y = rng.poisson(exposure * np.exp(1 + X[:, 1] - X[:, 2]))
    y[weight == 4] += 3  # so that weights matter
    options = {"exposure": 0} if loss is Poisson else {}
    model = LSTMRegressor(loss=loss.name, **STARTED, **options)
    model.fit(X, y, sample_weight=weight)
    objective, module = model._objective, model.nets_[1].module_
    used = X[:, 1:] if loss is Poisson else X
    z = StandardScaler().fit_transform(used.astype("float64"), sample_weight=weight)
    target = objective.encode(y.astype(float), weight).astype("float64")
    if loss is Poisson:
        relative = exposure / exposure.mean()
        expected = PoissonRegressor(
            alpha=0.05 * weight.sum() / (weight @ relative), **EXACT
        )
        expected.fit(z, target / relative, sample_weight=weight * relative)
    else:
        expected = Ridge(0.05 * weight.sum()).fit(z, target, sample_weight=weight)
    weights, bias = module.linear.weights.weight, module.head[-1].bias
    assert_allclose(weights.detach()[0], expected.coef_, rtol=1e-3, atol=1e-3)
    assert_allclose(bias.detach(), expected.intercept_, rtol=1e-3, atol=1e-3)


def test_a_target_without_events_starts_as_before():
    X = np.random.default_rng(0).normal(size=(100, 2))
    y = np.column_stack([np.arange(100) % 5, np.zeros(100)])
    model = LSTMRegressor(loss="poisson", **STARTED).fit(X, y)
    first, second = (net.module_ for net in model.nets_)
    assert_allclose(second.head[-1].bias[1].item(), np.log(0.5 / 100), rtol=1e-4)
    assert_allclose(first.head[-1].bias.detach()[1], second.head[-1].bias.detach()[1])
    assert second.linear.weights.weight[1].abs().max() < 1e-6


def test_fields_that_are_left_out_have_no_weights():
    amounts = np.exp(np.random.default_rng(0).normal(size=(100, 3)))
    X, y = buyers(amounts), amounts.sum(axis=1)
    pipeline = make_history_pipeline(LSTMRegressor(loss="poisson", **STARTED)).fit(X, y)
    model = pipeline[-1]
    net, data = model.nets_[1], model._read_to_predict(pipeline[:-1].transform(X)).data
    data = replace(data, target=model._objective.encode(y, None))
    [spec] = model._specs
    columns = net.module_.columns_of(0, spec.fields["spend"]).linear
    weights = net.module_.linear.weights.weight
    assert weights[0, columns].abs().max() > 0.01
    net.left_out = [["spend"]]
    net.start_linear_part(data)
    assert_array_equal(weights.detach()[0, columns], np.zeros(len(columns)))


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_it_starts_alike_for_all_treatments(loss):
    """The first output is the mean over the treatments, the second a difference."""
    rng = np.random.default_rng(0)
    amounts = np.exp(0.3 * rng.normal(size=(400, 3)))
    X, treatment = buyers(amounts), np.arange(400) % 2
    y = amounts.sum(axis=1) * np.where(treatment == 1, 10, 1)
    model = make_history_pipeline(LSTMUpliftRegressor(loss=loss, **STARTED))
    model.fit(X, y, estimator__treatment=treatment)
    estimator = model[-1]
    module = estimator.nets_[1].module_
    mean, difference = module.linear.weights.weight.detach()
    assert mean.abs().max() > 0.01
    assert difference.abs().max() < 1e-6
    with torch.no_grad():
        module.head[-1].weight.zero_()
    _, outputs = estimator._outputs(model[:-1].transform(X))
    for arm, own in enumerate(estimator._objective._by_treatment(outputs)):
        rows = treatment == arm
        if loss == "poisson":
            own = np.exp(own)
        found = own[rows, 0].mean() * estimator._objective.of_one.scale[0]
        found += estimator._objective.of_one.center[0]
        found *= 2.0 ** estimator._objective.of_one.exponent[0]
        assert found == pytest.approx(y[rows].mean(), rel=0.1)
