"""Laws that objectives keep for any targets, weights and outputs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm._recurrent.objectives import (
    LOSSES,
    Classes,
    Graph,
    Hazards,
    Labels,
    Quantiles,
)

law = settings(max_examples=25)
amounts = arrays("float64", 12, elements=st.floats(0.01, 1e4))
weights = arrays("float64", 12, elements=st.floats(0.5, 5))
# Two networks, 5 rows, and as many outputs as any objective below has.
outputs = arrays("float64", (2, 5, 12), elements=st.floats(-6, 6))


def fitted(name, y, weight=None):
    """Objective of some name, and its encoded targets."""
    y = np.asarray(y)
    ranks = y.argsort().argsort()
    if name == "classes":
        objective, y = Classes(), ranks % 3
    elif name == "labels":
        objective, y = Labels(), np.column_stack([ranks % 2, ranks % 3 == 0])
    elif name.startswith("hazards"):
        kinds = 1 + ranks % (2 if name == "hazards, two kinds" else 1)
        kinds[ranks == ranks.max()] = 0  # censored in the last bin
        objective = Hazards(bins=[*np.quantile(y, [0.3, 0.6]), 1.2 * y.max()])
        y = objective.read(np.rec.fromarrays([kinds, y], names="event,time"))
    elif name == "several quantiles":
        objective = Quantiles([0.1, 0.4, 0.6, 0.9])
    elif name == "two targets":
        objective, y = LOSSES["zero_inflated_lognormal"](), np.stack([y, 2 * y], axis=1)
    else:
        objective = LOSSES[name]() if name != "quantile" else Quantiles(0.5)
    objective.learn(y, weight)
    return objective, objective.encode(y, weight)


NAMES = [
    *LOSSES,
    "several quantiles",
    "two targets",
    "classes",
    "labels",
    "hazards",
    "hazards, two kinds",
]
Y = np.array([0.5, 3, 1, 8, 20, 2, 2.5, 7, 100, 4, 6, 11.0])


@pytest.mark.parametrize("name", ["squared_error", "absolute_error", "quantile"])
@law
@given(amounts, st.sampled_from([1, -1e200]))
def test_the_prediction_of_an_encoded_target_is_the_target(name, y, unit):
    y = y * unit
    objective, target = fitted(name, y)
    found = objective.predict(target[:, None].astype("float64"))
    assert_allclose(found, y, rtol=1e-4, atol=1e-5 * np.ptp(y))


@pytest.mark.parametrize("name", ["poisson", "gamma"])
@law
@given(amounts)
def test_the_prediction_of_a_log_target_is_the_target(name, y):
    objective, target = fitted(name, y)
    assert_allclose(
        objective.predict(np.log(target.astype("float64"))[:, None]), y, rtol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
@law
@given(weights, st.integers(-30, 30))
def test_the_unit_of_weights_does_not_matter(name, weight, exponent):
    """Estimators divide weights by a power of 2, which changes no digit."""
    factor = 2.0**exponent
    (one, target), (other, same) = (fitted(name, Y, w * weight) for w in (1, factor))
    assert_array_equal(target, same)
    biases = one.start_bias(target, weight), other.start_bias(same, factor * weight)
    assert_allclose(*biases, rtol=1e-12)


@pytest.mark.parametrize("name", ["squared_error", "poisson", "classes", "hazards"])
@law
@given(weights)
def test_the_loss_has_no_gradient_at_the_first_bias(name, weight):
    objective, target = fitted(name, Y, weight)
    bias = torch.from_numpy(objective.start_bias(target, weight))
    rows = bias.repeat(len(target), 1).requires_grad_()
    target = torch.from_numpy(target)
    target = target.double() if target.is_floating_point() else target
    (objective(rows, target) * torch.from_numpy(weight)).sum().backward()
    slopes = rows.grad.sum(dim=0) / rows.grad.abs().sum(dim=0)
    assert slopes.abs().max() < 1e-5


@law
@given(outputs)
def test_curves_of_hazards_are_probabilities(z):
    objective, _ = fitted("hazards, two kinds", Y)
    z = [one[:, : objective.n_outputs] for one in z]
    hazard = objective.combine(objective.cumulative_hazard, z)
    assert (np.diff(hazard, axis=1) > 0).all()
    chances = objective.combine(objective.incidence, z)
    assert_allclose(chances.sum(axis=1), 1)
    assert (np.diff(chances[:, 1:], axis=2) >= 0).all()
    # The ensemble's curves are means of the curves of its networks.
    each = [objective.incidence(one) for one in z]
    assert_allclose(chances, np.mean(each, axis=0), atol=1e-12)
    times = np.linspace(0, objective.edges[-1], 7)
    between = objective.combine(objective.incidence, z, times)
    assert_allclose(between.sum(axis=1), 1)
    at_edges = objective.combine(objective.incidence, z, objective.edges)
    assert_allclose(at_edges, chances, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_predicts_as_numpy_does(name):
    pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    objective, _ = fitted(name, Y)
    z = np.random.default_rng(0).normal(0, 3, (2, 50, objective.n_outputs))
    graph = Graph("of two networks")
    axes = ["n", objective.n_outputs]
    inputs = [graph.input(one, "float32", axes) for one in "ab"]
    found = objective.onnx_outputs(graph, inputs)
    for key, tensor in found.items():
        graph.output(key, tensor.name, ["n", *tensor.shape])
    model = ReferenceEvaluator(graph.to_bytes({}))
    tensors = model.run(None, dict(zip("ab", z.astype("float32"), strict=True)))
    for (key, tensor), numbers in zip(found.items(), tensors, strict=True):
        expected = objective.combine(objective.predictions[key], list(z))
        assert numbers.shape[1:] == tensor.shape == expected.shape[1:]
        assert_allclose(numbers, expected, rtol=2e-5, atol=1e-6, err_msg=key)
