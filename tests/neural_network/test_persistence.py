"""Fitted estimators in files, and on machines with other devices."""

import copy
import io
import pickle
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.exceptions import DeviceWarning

from sklearn_seqcrm._recurrent.network import _reader
from sklearn_seqcrm._recurrent.training import _parameters
from sklearn_seqcrm._store._log import Log
from sklearn_seqcrm.events import EventLog, HistoryArray
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import (
    make_events,
    make_rows,
    make_table,
    make_y,
)

SMALL = {
    "hidden_size": 4,
    "head_sizes": (4,),
    "max_epochs": 3,
    "random_state": 0,
    "n_networks": 1,
}
X = HistoryEncoder().fit_transform(make_table())[["history"]]
Y = make_y(X)
PAGE = Path(__file__).parents[2] / "docs" / "persistence.md"
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="There is a GPU.")


class WithoutTensors(pickle.Pickler):
    def reducer_override(self, found):
        assert not isinstance(found, torch.Tensor)
        return NotImplemented


@pytest.mark.parametrize("early_stopping", [False, True])
def test_skorch_moves_all_tensors(early_stopping):
    """skorch writes tensors of the net so that any device can load them, no others."""
    model = LSTMClassifier(**SMALL, early_stopping=early_stopping).fit(X, Y)
    WithoutTensors(io.BytesIO()).dump(model)
    with pytest.raises(AssertionError):
        WithoutTensors(io.BytesIO()).dump(model.net_.module_)


class WithoutEvents(pickle.Pickler):
    def reducer_override(self, found):
        assert not isinstance(found, (Log, HistoryArray, pd.DataFrame, pd.Series))
        return NotImplemented


def test_a_pickled_pipeline_holds_no_events():
    sizes = []
    for n_customers in (20, 400):
        events = make_events(n_customers)
        rows = make_rows(n_customers)
        table = EventLog(events, "who", "when").attach(rows, cutoff="at")
        # The number of pieces of a static depends on that of the customers, up to 16.
        options = {**SMALL, "early_stopping": False, "static_pieces": 1}
        model = make_history_pipeline(LSTMClassifier(**options))
        file = io.BytesIO()
        WithoutEvents(file).dump(model.fit(table, make_y(table)))
        sizes.append(file.tell())
    # The floats of the loss of each epoch are of one length or another.
    assert sizes[1] == pytest.approx(sizes[0], rel=0.005)
    with pytest.raises(AssertionError):
        WithoutEvents(file).dump(table)


def test_a_copy_has_one_objective():
    model = LSTMClassifier(**SMALL).fit(X, Y)
    for back in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert back._objective is back.net_.criterion_


def test_early_stopping_keeps_no_second_copy_of_the_weights():
    plain, stopping = (
        LSTMClassifier(**{**SMALL, "hidden_size": 128}, early_stopping=early).fit(X, Y)
        for early in (False, True)
    )
    assert len(pickle.dumps(stopping)) < 1.05 * len(pickle.dumps(plain))


@without_gpu
def test_a_model_trained_on_a_gpu_loads_without_one():
    model = LSTMClassifier(**SMALL).fit(X, Y)
    expected = model.predict_proba(X)
    model.device = model.net_.device = "cuda"  # as after training there
    file = pickle.dumps(model)
    with pytest.warns(DeviceWarning, match="CUDA|cuda"):
        back = pickle.loads(file)
    assert str(back.net_.device) == "cpu"
    assert_array_equal(back.predict_proba(X), expected)
    again = back.set_params(device="cpu").fit(X, Y)
    assert_array_equal(again.predict_proba(X), expected)


@without_gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "banana"])
def test_an_absent_device_is_refused(device):
    model = LSTMClassifier(**SMALL, device=device)
    message = rf"device='{device}' cannot be used here .*set_params\(device='cpu'\)"
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)


def test_a_model_trained_in_bfloat16_loads_without_it(monkeypatch):
    def say(available):
        for module in (_parameters, _reader):
            monkeypatch.setattr(module, "trains_in_bfloat16", lambda _: available)

    say(True)
    model = LSTMClassifier(**SMALL, cell="gru", precision="bfloat16").fit(X, Y)
    there = model.predict_proba(X)
    say(False)
    back = pickle.loads(pickle.dumps(model))
    here = back.predict_proba(X)
    assert 0 < abs(here - there).max() < 0.02
    back.net_.module_.readers[0].precision = "float32"
    assert_array_equal(back.predict_proba(X), here)
    with pytest.raises(ValueError, match=r"set_params\(precision='float32'\)"):
        back.fit(X, Y)
    back.set_params(precision="float32").fit(X, Y)


def test_the_page_on_persistence(code_of, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(code_of(PAGE.name), PAGE.name, "exec"), {})
    assert capsys.readouterr().out == "True\n"
    (told,) = re.findall(r"about (\d+) kB", PAGE.read_text(encoding="utf-8"))
    size = (tmp_path / "model.joblib").stat().st_size
    assert size == pytest.approx(1000 * int(told), rel=0.1)
