"""Outcomes by treatment: each row counts with the output of its own treatment."""

import copy
import inspect

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm._recurrent.objectives import (
    LOSSES,
    LOSSES_OF_MEANS,
    Classes,
    OutcomesByTreatment,
    TreatedOutcomes,
)
from sklearn_seqcrm._recurrent.objectives._objective import Objective

RNG = np.random.default_rng(0)
N = 60
ARMS = np.array(["none", "mail", "call"])[RNG.integers(0, 3, N)]
CLASSES = np.array(["no", "yes"])[RNG.integers(0, 2, N)]
AMOUNTS = RNG.gamma(2, 10, N)


def learned(of_one, outcome, weight=None, **options):
    """Return an objective that learned from the rows, and its encoded targets."""
    objective = OutcomesByTreatment(of_one, "none", **options)
    y = objective.read(TreatedOutcomes(outcome, ARMS))
    objective.learn(y, weight)
    return objective, objective.encode(y, weight)


def outputs_of(objective, wanted):
    """Return network outputs for which each treatment has its wanted ones, in order."""
    p = objective.of_one.n_outputs
    by_arm = wanted.reshape(len(wanted), -1, p)
    mean = np.tensordot(by_arm, objective.shares, axes=(1, 0))
    differences = by_arm[:, 1:] - by_arm[:, :1]
    return np.concatenate([mean[:, None], differences], axis=1).reshape(wanted.shape)


CASES = [
    (Classes(), CLASSES),
    *((LOSSES[name](), AMOUNTS) for name in sorted(LOSSES_OF_MEANS)),
]


@pytest.mark.parametrize(("of_one", "outcome"), CASES)
def test_facts_of_the_loss_are_those_of_one_treatment(of_one, outcome):
    objective = OutcomesByTreatment(of_one)
    facts = [
        name
        for name, kind in inspect.get_annotations(Objective).items()
        if kind.startswith("ClassVar")
    ]
    assert {"name", "is_linear", "lowers_rate", "adjusts", "shifts"} <= {*facts}
    for fact in facts:
        assert getattr(objective, fact) == getattr(of_one, fact)


@pytest.mark.parametrize(("of_one", "outcome"), CASES)
def test_loss_is_that_of_the_own_treatment(of_one, outcome):
    objective, target = learned(copy.deepcopy(of_one), outcome)
    assert_array_equal(objective.treatments, ["none", "call", "mail"])
    one = objective.of_one
    outputs = RNG.normal(size=(N, objective.n_outputs)).astype("float32")
    given = outputs_of(objective, outputs).astype("float32")
    found = objective(torch.from_numpy(given), torch.from_numpy(target))
    codes = target[:, 1].astype(int)
    assert_array_equal(objective.treatments[codes], ARMS)
    encoded = one.encode(one.read(outcome), None)
    p = one.n_outputs
    expected = [
        one(
            torch.from_numpy(outputs[[i], code * p : (code + 1) * p]),
            torch.from_numpy(encoded[[i]]),
        ).item()
        for i, code in enumerate(codes)
    ]
    assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("of_one", "outcome"), CASES)
def test_effects_are_differences_of_outcomes(of_one, outcome):
    objective, _ = learned(copy.deepcopy(of_one), outcome)
    one = objective.of_one
    outputs = RNG.normal(size=(7, objective.n_outputs))
    given = outputs_of(objective, outputs)
    p = one.n_outputs
    expected = [one.predict(outputs[:, i * p : (i + 1) * p]) for i in range(3)]
    if isinstance(one, Classes):
        expected = [shares[:, 1] for shares in expected]
    assert_allclose(objective.outcomes(given), np.transpose(expected))
    effects = np.transpose([expected[1] - expected[0], expected[2] - expected[0]])
    assert_allclose(objective.predict(given), effects, atol=1e-12)


def test_start_bias_has_the_shares_of_each_treatment():
    weight = RNG.uniform(0.5, 2, N)
    objective, target = learned(Classes(), CLASSES, weight)
    bias = objective.start_bias(target, weight)
    shares = objective.outcomes(bias[None])[0]
    expected = [
        np.average(CLASSES[arm == ARMS] == "yes", weights=weight[arm == ARMS])
        for arm in objective.treatments
    ]
    assert_allclose(shares, expected)


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "gamma"])
def test_start_bias_has_the_mean_of_each_treatment(loss):
    weight = RNG.uniform(0.5, 2, N)
    amounts = AMOUNTS + 50 * (ARMS == "mail")
    objective, target = learned(LOSSES[loss](), amounts, weight)
    bias = objective.start_bias(target, weight)
    expected = [
        np.average(amounts[arm == ARMS], weights=weight[arm == ARMS])
        for arm in objective.treatments
    ]
    assert_allclose(objective.outcomes(bias[None])[0], expected, rtol=1e-5)


@pytest.mark.parametrize("weight", [None, RNG.uniform(0.5, 2, N)])
@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_means_are_calibrated_in_each_treatment(loss, weight):
    objective, target = learned(LOSSES[loss](), AMOUNTS, weight)
    outputs = [RNG.normal(size=(N, objective.n_outputs)) for _ in range(2)]
    objective.adjust(outputs, target, weight)
    means = objective.combine(objective.outcomes, outputs)
    weight = np.ones(N) if weight is None else weight
    for code, arm in enumerate(objective.treatments):
        rows = arm == ARMS
        y, mean, own = AMOUNTS[rows], means[rows, code], weight[rows]
        ratio = own @ y / (own @ mean)
        found = [ratio, np.average(y / mean, weights=own)][loss == "gamma"]
        assert_allclose(found, 1, rtol=1e-5)


def test_rows_without_weight_add_no_treatment():
    weight = np.where(ARMS == "call", 0.0, 1.0)
    objective, target = learned(Classes(), CLASSES, weight)
    assert_array_equal(objective.treatments, ["none", "mail"])
    assert_array_equal(target[ARMS == "mail", 1], 1)


def test_later_calls_have_the_treatments_of_the_first():
    objective, _ = learned(Classes(), CLASSES)
    few = objective.read(TreatedOutcomes(CLASSES[:9], np.repeat("mail", 9)))
    objective.check(few, None, is_full_data=False)
    assert_array_equal(objective.encode(few, None)[:, 1], 2)
    with pytest.raises(ValueError, match=r"none of \['none', 'call'\]"):
        objective.check(few, None, is_full_data=True)
    other = objective.read(TreatedOutcomes(CLASSES[:2], ["mail", "fax"]))
    with pytest.raises(ValueError, match="fax"):
        objective.check(other, None, is_full_data=False)


def test_one_outcome_and_two_classes():
    objective = OutcomesByTreatment(Classes(), "none")
    with pytest.raises(ValueError, match="effects are on one outcome"):
        objective.read(TreatedOutcomes(np.zeros((N, 2)), ARMS))
    with pytest.raises(ValueError, match=r"two classes.*got \[0, 1, 2\]"):
        learned(Classes(), np.arange(N) % 3)
