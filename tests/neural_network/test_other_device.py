"""Networks on a device that is not the CPU have the results of those on the CPU.

No GPU is needed, see `tests.other_device`.
"""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.exceptions import DeviceWarning

from sklearn_seqcrm._recurrent.network import CELLS, POOLINGS
from sklearn_seqcrm._recurrent.training import _parameters
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.inspection import event_attributions, gradient_flow, lstm_gates
from sklearn_seqcrm.neural_network import (
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
    LSTMUpliftClassifier,
    LSTMUpliftRegressor,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer, export_onnx
from sklearn_seqcrm.targets import time_to_next
from sklearn_seqcrm.testing._small_data import make_events, make_table
from tests.neural_network.small_fits import COUNTS, X, Y
from tests.other_device import OTHER, OtherTensor, other_device
from tests.small_networks import SMALL

TABLE = make_table(10)
N = len(X)
ARM = np.arange(N) % 3
THREE = np.array(["a", "b", "c"])[ARM]
LABELS = np.column_stack([Y, 1 - Y, ARM == 1]).astype(int)
TIMES = time_to_next(TABLE, censored="keep")
COMPETING = TIMES.assign(event=np.where(TIMES["event"], 1 + np.arange(N) % 2, 0))
# Sums of float32 numbers in other orders.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def fit(kind, y, on=OTHER, X=X, method="fit", fit_params=None, **params):
    model = kind(**{**SMALL, "device": on, **params})
    return getattr(model, method)(X, y, **(fit_params or {}))


def assert_same(monkeypatch, kind, y, ask="predict", **options):
    """Fit on the CPU and on the other device, and compare predictions."""
    model = fit(kind, y, "cpu", **options)
    expected = getattr(model, ask)(options.get("X", X))
    with other_device(monkeypatch):
        model = fit(kind, y, **options)
        weights = [*model.net_.module_.parameters()]
        assert weights
        assert all(isinstance(one, OtherTensor) for one in weights)
        found = getattr(model, ask)(options.get("X", X))
    assert_allclose(np.asarray(found), np.asarray(expected), **CLOSE)
    return model


def test_the_device_of_these_tests(monkeypatch):
    """Errors on a GPU are errors here."""
    with other_device(monkeypatch):
        there = torch.ones(3, device=OTHER)
        assert there.device == OTHER
        assert_array_equal((there + 1).cpu().numpy(), [2, 2, 2])
        with pytest.raises(RuntimeError, match="two devices"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="two devices"):
            there[torch.tensor([0, 1])]
        with pytest.raises((RuntimeError, TypeError), match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="generator"):
            torch.empty_like(there).uniform_(generator=torch.Generator())
        with pytest.raises(RuntimeError, match="generator"):
            torch.empty(3).uniform_(generator=torch.Generator(OTHER))


@pytest.mark.parametrize("cell", list(CELLS))
def test_cells_and_poolings(cell, monkeypatch):
    options = {"cell": cell, "pooling": tuple(POOLINGS), "ask": "predict_proba"}
    assert_same(monkeypatch, LSTMClassifier, Y, **options)


@pytest.mark.parametrize(
    "params",
    [
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 2, "bptt_steps": 3},
        {"dropout": 0.3, "category_dropout": 0.3},
        {"n_networks": 2},
        {"averaged_steps": 1, "early_stopping": False},
        {"batch_size": 7, "class_weight": "balanced"},
    ],
    ids=str,
)
def test_parameters(params, monkeypatch):
    assert_same(monkeypatch, LSTMClassifier, Y, ask="predict_proba", **params)


def test_weights_of_rows(monkeypatch):
    weight = {"sample_weight": 0.5 + ARM}
    assert_same(monkeypatch, LSTMClassifier, THREE, "predict_proba", fit_params=weight)


@pytest.mark.parametrize(
    ("kind", "y", "params"),
    [
        (LSTMClassifier, THREE, {"ask": "predict_proba"}),
        (LSTMClassifier, LABELS, {}),
        (LSTMRegressor, COUNTS, {}),
        (LSTMRegressor, np.column_stack([COUNTS, -COUNTS]), {}),
        (LSTMRegressor, COUNTS, {"loss": "absolute_error"}),
        (LSTMRegressor, COUNTS, {"loss": "poisson"}),
        (LSTMRegressor, 1 + COUNTS, {"loss": "poisson", "exposure": "number"}),
        (LSTMRegressor, 1 + COUNTS, {"loss": "gamma"}),
        (
            LSTMRegressor,
            COUNTS,
            {"loss": "quantile", "quantile": [0.1, 0.5], "ask": "predict_quantiles"},
        ),
        (LSTMRegressor, COUNTS, {"loss": "zero_inflated_lognormal"}),
        (LSTMSurvival, TIMES, {"bins": 5}),
        (LSTMSurvival, COMPETING, {"bins": 5}),
        (LSTMUpliftClassifier, Y, {"fit_params": {"treatment": ARM % 2}}),
        (LSTMUpliftRegressor, COUNTS, {"fit_params": {"treatment": ARM % 2}}),
    ],
)
def test_objectives(kind, y, params, monkeypatch):
    frame = X.assign(number=X["number"] + 1.0)
    assert_same(monkeypatch, kind, y, X=frame, **params)


def test_moments(monkeypatch):
    """Several events of a customer at one time are one step."""
    events = make_events(10)
    events["when"] = events["when"].dt.floor("90D")
    at = pd.DataFrame({"who": events["who"].unique(), "at": events["when"].max()})
    X = EventLog(events, "who", "when").attach(at, cutoff="at")
    encoded = HistoryEncoder(moments=True).fit_transform(X)[["history"]]
    y = np.arange(len(X)) % 2
    options = {"X": encoded, "pooling": tuple(POOLINGS), "ask": "predict_proba"}
    assert_same(monkeypatch, LSTMClassifier, y, **options)


def test_rows_without_histories(monkeypatch):
    assert_same(monkeypatch, LSTMClassifier, Y, "predict_proba", X=X[["number"]])


def test_an_epoch_more(monkeypatch):
    """Averaged weights, seeds and optimizers go on where they were."""
    for method in ("fit", "partial_fit"):
        found = []
        for on in ("cpu", OTHER):
            with other_device(monkeypatch):
                options = {"warm_start": True, "averaged_steps": 20}
                model = fit(LSTMRegressor, COUNTS, on, method=method, **options)
                getattr(model, method)(X, COUNTS)
                found.append(model.predict(X))
        assert_allclose(*found, **CLOSE)


def test_pretrained_weights(monkeypatch):
    found = []
    for on in ("cpu", OTHER):
        with other_device(monkeypatch):
            events = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0)
            events.set_params(device=on).fit(TABLE)
            model = LSTMClassifier(**SMALL, device=on, pretrained=events)
            pipeline = make_history_pipeline(model).fit(TABLE, Y)
            found.append(pipeline.predict_proba(TABLE))
    assert_allclose(*found, **CLOSE)


EXPLANATIONS = {
    "gates": lambda model: lstm_gates(model, TABLE),
    "gradients": lambda model: gradient_flow(model, TABLE),
    "occlusion": lambda model: event_attributions(model, TABLE, method="occlusion"),
    "blanking": lambda model: event_attributions(model, TABLE, method="blanking"),
    "integrated": lambda model: event_attributions(
        model, TABLE, method="integrated_gradients"
    ),
}


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_explanations(name, monkeypatch):
    found = []
    for on in ("cpu", OTHER):
        with other_device(monkeypatch):
            model = make_history_pipeline(LSTMClassifier(**SMALL, device=on))
            found.append(EXPLANATIONS[name](model.fit(TABLE, Y)))
    one, two = (table.select_dtypes("float").to_numpy("float64") for table in found)
    assert one.size
    assert_allclose(two, one, rtol=1e-3, atol=1e-4)


def pipeline_on(device):
    model = LSTMClassifier(**SMALL, pooling=tuple(POOLINGS), device=device)
    return make_history_pipeline(model).fit(TABLE, Y)


def test_streaming(monkeypatch):
    """States and scores are computed on the CPU, wherever the network is."""
    events = make_events(10).sort_values("when")
    rows = TABLE.drop(columns=["history", "at"]).drop_duplicates("who")
    found = []
    for on in ("cpu", OTHER):
        with other_device(monkeypatch):
            scorer = StreamingScorer(pipeline_on(on), "who", "when")
            scorer.update(events)
            found.append(scorer.predict_proba(rows, cutoff="2100-01-01"))
    assert_allclose(*found, **CLOSE)


def test_export_onnx(monkeypatch, tmp_path):
    pytest.importorskip("onnx")
    export_onnx(pipeline_on("cpu"), tmp_path / "cpu.onnx")
    with other_device(monkeypatch):
        export_onnx(pipeline_on(OTHER), tmp_path / "other.onnx")
    sizes = [(tmp_path / f"{name}.onnx").stat().st_size for name in ("cpu", "other")]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


@pytest.mark.skipif(torch.cuda.is_available(), reason="There is a GPU.")
@pytest.mark.parametrize("warm_start", [False, True])
def test_a_network_of_another_device_in_a_file(warm_start, monkeypatch):
    """A machine with a CPU only loads it and trains it further."""
    expected = fit(LSTMClassifier, Y, "cpu", warm_start=warm_start).predict_proba(X)
    with other_device(monkeypatch):
        model = fit(LSTMClassifier, Y, warm_start=warm_start)
        model.device = model.net_.device = "cuda"  # which torch looks for when it loads
        file = pickle.dumps(model)
    with pytest.warns(DeviceWarning, match="CUDA|cuda"):
        back = pickle.loads(file)
    weights = back.net_.module_.parameters()
    assert all(type(one) is torch.nn.Parameter for one in weights)
    assert_allclose(back.predict_proba(X), expected, **CLOSE)
    with pytest.raises(ValueError, match="device='cuda' cannot be used here"):
        back.fit(X, Y)
    back.set_params(device="cpu").partial_fit(X, Y, classes=[0, 1])


def test_bfloat16(monkeypatch):
    """Support of bfloat16 in training is that of the device, not of the CPU."""
    asked = []

    def answer(device_type):
        asked.append(device_type)
        return False

    monkeypatch.setattr(_parameters, "trains_in_bfloat16", answer)
    with pytest.raises(ValueError, match="does not train recurrent layers"):
        fit(LSTMClassifier, Y, "meta", precision="bfloat16")
    assert asked == ["meta"]
