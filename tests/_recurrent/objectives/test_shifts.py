"""Shifts of log odds, with which mean probabilities equal observed shares."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit

from sklearn_seqcrm._recurrent.objectives._classes import Classes, Labels
from sklearn_seqcrm._recurrent.objectives._hazards import Hazards
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMSurvival
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table

RNG = np.random.default_rng(0)
CLOSE = {"rtol": 1e-6}


def learned(objective, y):
    y = objective.read(y)
    objective.learn(y, None)
    return objective, objective.encode(y, None)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_mean_probabilities_are_shares(n_classes):
    y = RNG.choice(n_classes, 500, p=[0.9, 0.1] if n_classes == 2 else [0.6, 0.3, 0.1])
    objective, target = learned(Classes(), y)
    outputs = RNG.normal(size=(500, n_classes)) + np.log(np.bincount(y))
    for weight in (None, RNG.integers(1, 5, 500).astype("float64")):
        shift = objective.output_shift(outputs, target, weight)
        means = np.average(objective.predict(outputs + shift), axis=0, weights=weight)
        assert_allclose(means, np.average(np.eye(n_classes)[y], axis=0, weights=weight))


def test_an_integer_weight_equals_copies_of_the_row():
    y, outputs = RNG.choice(2, 100), RNG.normal(size=(100, 2))
    objective, target = learned(Classes(), y)
    weight = 1 + np.arange(100) % 3
    copies = np.repeat(np.arange(100), weight)
    found = objective.output_shift(outputs, target, weight.astype("float64"))
    assert_allclose(
        found, objective.output_shift(outputs[copies], target[copies], None)
    )


def test_each_label_has_a_shift_with_a_bound():
    y = (RNG.random((400, 3)) < [0.1, 0.4, 0.0]).astype(int)
    objective, target = learned(Labels(), y)
    outputs = RNG.normal([-2.5, -0.5, -7.0], size=(400, 3))
    shift = objective.output_shift(outputs, target, None)
    means = expit(outputs + shift).mean(axis=0)
    assert_allclose(means[:2], y[:, :2].mean(axis=0), **CLOSE)
    assert shift[2] == -0.5  # the label that no row has


@pytest.mark.parametrize("away", [1.0, 500.0])
def test_no_warnings_of_sure_networks(away):
    y = np.arange(60) % 3
    objective, target = learned(Classes(), y)
    outputs = np.eye(3, dtype="float32")[y] * np.float32(away)
    with np.errstate(all="raise"):
        shift = objective.output_shift(outputs, target, None)
    assert_allclose(shift, 0, atol=1e-8)


def test_all_bins_of_a_kind_have_one_shift():
    """Then as many events are expected as there were, by kind."""
    n = 300
    y = pd.DataFrame({"event": RNG.choice(3, n), "time": RNG.exponential(4.0, n)})
    objective, target = learned(Hazards([2.0, 5.0, 100.0]), y)
    outputs = RNG.normal(size=(n, 6)) - 1.5
    shift = objective.output_shift(outputs, target, None)
    assert_array_equal(shift, np.repeat(shift[[0, 3]], 3))
    odds = np.exp(outputs + shift).reshape(n, 2, 3)
    hazard = odds / (1 + odds.sum(axis=1, keepdims=True))
    expected = np.zeros(2)
    for i in range(n):
        for j in range(3):
            expected += np.clip(target[i, 0] - j, 0, 1) * hazard[i, :, j]
    assert_allclose(expected, [(y["event"] == kind).sum() for kind in (1, 2)], **CLOSE)


@pytest.mark.parametrize("survival", [False, True])
def test_probabilities_of_rare_events_add_up_to_the_events(survival):
    """Dropout made them a tenth too low and more, also on the training rows."""
    X = pd.concat([make_table()] * 20, ignore_index=True)
    is_rare = np.random.default_rng(1).random(len(X)) < 0.05
    options = {"dropout": 0.5, "max_epochs": 5, "early_stopping": False}
    options |= {"hidden_size": 8, "n_networks": 2, "random_state": 0}
    if survival:
        y = pd.DataFrame({"event": is_rare, "time": np.where(is_rare, 1.0, 2.0)})
        model = make_history_pipeline(LSTMSurvival(bins=[1.5, 2.0], **options))
        found = model.fit(X, y).predict_proba_before(X, 2.0)
    else:
        model = make_history_pipeline(LSTMClassifier(**options)).fit(X, is_rare)
        found = model.predict_proba(X)[:, 1]
    assert_allclose(found.sum(), is_rare.sum(), rtol=1e-3)
