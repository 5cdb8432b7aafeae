"""Settings of torch around a call have no effect on it."""

import contextlib

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone

from sklearn_seqcrm._recurrent.network._poolings import POOLINGS
from sklearn_seqcrm._recurrent.network._reader import trains_in_bfloat16
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor, LSTMSurvival
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_table, make_y
from tests.small_networks import SMALL

X = HistoryEncoder().fit_transform(make_table())[["history"]]
Y = make_y(X)


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "grad off": lambda: torch.set_grad_enabled(False),
    "device": lambda: torch.device("meta"),
    "default device": lambda: default_device("meta"),
    "deterministic": deterministic,
}
MODELS = {
    "classifier": LSTMClassifier(**SMALL, num_layers=2, pooling=POOLINGS),
    "both ways": LSTMClassifier(**SMALL, bidirectional=True, pooling=POOLINGS),
    "stretches": LSTMRegressor(**SMALL, bptt_steps=2, early_stopping=True),
    "gru": LSTMRegressor(**SMALL, cell="gru", loss="absolute_error"),
    "poisson": LSTMRegressor(**SMALL, cell="rnn", loss="poisson"),
    "survival": LSTMSurvival(**SMALL),
}


def outputs(model, X):
    return getattr(model, "predict_proba", model.predict)(X)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", MODELS)
def test_settings_of_torch_have_no_effect(name, setting):
    y = Y + 1 if name == "survival" else Y  # times that look like labels are warned of
    plain = clone(MODELS[name]).fit(X, y, sample_weight=1 + Y)
    expected = outputs(plain, X)
    with SETTINGS[setting]():
        found = outputs(plain, X)
        there = clone(MODELS[name]).fit(X, y, sample_weight=1 + Y)
        of_there = outputs(there, X)
        goes_on = clone(there).fit(X, y).partial_fit(X, y)
    assert_array_equal(found, expected)
    assert_array_equal(of_there, expected)
    assert_array_equal(outputs(there, X), expected)
    assert_array_equal(
        outputs(goes_on, X), outputs(clone(plain).fit(X, y).partial_fit(X, y), X)
    )


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_have_no_effect_without_histories(setting):
    rows = np.random.default_rng(0).normal(size=(48, 3))
    expected = LSTMClassifier(**SMALL).fit(rows, Y).predict_proba(rows)
    with SETTINGS[setting]():
        model = LSTMClassifier(**SMALL).fit(rows, Y)
        assert_array_equal(model.predict_proba(rows), expected)


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_are_restored(setting):
    def now():
        return (
            torch.get_default_dtype(),
            torch.empty(0).device,
            torch.is_inference_mode_enabled(),
            torch.is_grad_enabled(),
            (torch.ones(1, 1, device="cpu") @ torch.ones(1, 1, device="cpu")).dtype,
        )

    with SETTINGS[setting]():
        before = now()
        LSTMClassifier(**SMALL).fit(X, Y).predict(X)
        assert now() == before


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_do_not_change_device_support(setting):
    ask = trains_in_bfloat16.__wrapped__
    expected = ask("cpu")
    with SETTINGS[setting]():
        assert ask("cpu") == expected
