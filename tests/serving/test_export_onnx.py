"""ONNX graphs, with inputs from the JSON reader, equal the pipeline."""

import functools
import itertools
import json
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_seqcrm._recurrent.data import HistorySpec
from sklearn_seqcrm._recurrent.network import CELLS, POOLINGS, HistoryReader
from sklearn_seqcrm._recurrent.network._cells import Cell
from sklearn_seqcrm._recurrent.objectives import Graph, GraphTensor
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import (
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.serving import export_onnx
from sklearn_seqcrm.serving._onnx._networks import run_layers
from tests.serving.exports import (
    AFTER,
    CLOSE,
    EVENTS,
    LOG,
    NUMBER,
    PEOPLE,
    ROWS,
    SMALL,
    SOME,
    SOME_ROWS,
    ask,
    attach_both,
    check,
    check_both,
    fit,
    reference_reader,
    rows_of,
    run,
    session_of,
    tensors_of,
)

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

# Networks -----------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "num_layers"), [*itertools.product(CELLS, (1, 2))])
def test_every_cell(cell, num_layers, tmp_path):
    model = fit(
        LSTMClassifier(
            cell=cell, num_layers=num_layers, pooling=POOLINGS, **SMALL, n_networks=1
        )
    )
    X = LOG.attach(SOME, cutoff=AFTER)
    expected = {"probabilities": model.predict_proba(X)}
    assert len(check(model, tmp_path, SOME_ROWS, X, expected)) == 3


@pytest.mark.parametrize("pooling", [*POOLINGS, ("max", "last")])
def test_every_pooling(pooling, tmp_path):
    model = fit(
        LSTMRegressor(
            pooling=pooling,
            head_sizes=(),
            n_networks=2,
            **{"hidden_size": 3, "max_epochs": 1, "random_state": 0},
        )
    )
    X = LOG.attach(SOME, cutoff=AFTER)
    check(model, tmp_path, SOME_ROWS, X, {"prediction": model.predict(X)})


@pytest.mark.parametrize("cell", CELLS)
def test_bidirectional_networks_have_no_step_graph(cell, tmp_path):
    old = tmp_path / "model.step.onnx"
    old.write_text("of another model")
    model = fit(
        LSTMClassifier(
            cell=cell,
            num_layers=2,
            bidirectional=True,
            pooling=POOLINGS,
            **SMALL,
            n_networks=1,
        )
    )
    X = LOG.attach(SOME, cutoff=AFTER)
    expected = {"probabilities": model.predict_proba(X)}
    files = check(model, tmp_path, SOME_ROWS, X, expected)
    assert [one.name for one in files] == ["model.onnx", "model.json"]
    assert not old.exists()


def test_histories_with_a_lookback_have_no_step_graph(tmp_path):
    model = fit(LSTMClassifier(**SMALL, n_networks=1), lookback="300D")
    files = export_onnx(model, tmp_path / "model.onnx")
    assert [one.name for one in files] == ["model.onnx", "model.json"]
    X = LOG.attach(PEOPLE, cutoff=AFTER, lookback="300D")
    found = run(files[0], tensors_of(model, X))["probabilities"]
    assert_allclose(found, model.predict_proba(X), **CLOSE)


@pytest.mark.parametrize("n_networks", [1, 2])
def test_several_history_columns(n_networks, tmp_path):
    model = make_history_pipeline(
        LSTMRegressor(cell="gru", n_networks=n_networks, pooling=POOLINGS, **SMALL)
    )
    model.fit(attach_both(LOG, ROWS, "at"), NUMBER % 5)
    check_both(model, tmp_path, LOG, EVENTS)


def test_any_number_of_rows_and_steps(tmp_path):
    model = fit(LSTMClassifier(pooling=POOLINGS, **SMALL, n_networks=1))
    session = session_of(export_onnx(model, tmp_path / "model.onnx")[0])
    tensors = tensors_of(model, LOG.attach(PEOPLE, cutoff=AFTER))
    expected = ask(session, tensors)["probabilities"]
    for i, length in enumerate(tensors["lengths"].tolist()):
        own = {name: tensor[i : i + 1] for name, tensor in tensors.items()}
        for name in ("values", "codes"):
            own[name] = own[name][:, : max(length, 1)]
        found = ask(session, own)["probabilities"]
        assert_allclose(found[0], expected[i], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_values_in_padding_have_no_effect(bidirectional, tmp_path):
    model = fit(
        LSTMClassifier(
            pooling=POOLINGS, bidirectional=bidirectional, **SMALL, n_networks=1
        )
    )
    path = export_onnx(model, tmp_path / "model.onnx")[0]
    tensors = tensors_of(model, LOG.attach(PEOPLE, cutoff=AFTER))
    expected = run(path, tensors)["probabilities"]
    steps = np.arange(tensors["values"].shape[1])
    padding = steps >= tensors["lengths"][:, None]
    values, codes = tensors["values"].copy(), tensors["codes"].copy()
    values[padding], codes[padding] = 200.0, 1
    found = run(path, {**tensors, "values": values, "codes": codes})
    assert_allclose(found["probabilities"], expected, rtol=1e-6)


# Outputs ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["classes", "labels", "zero", "quantiles", "gamma"])
def test_outputs_equal_the_pipeline(name, tmp_path):
    options = {**SMALL, "n_networks": 2, "max_epochs": 4}
    rows = ROWS.assign(age=ROWS["age"].fillna(40))
    people = SOME.assign(age=SOME["age"].fillna(40))
    two = np.column_stack([NUMBER % 3 + 1.0, 1e3 * (NUMBER % 5) ** 2 + 1])
    estimator, y, answers = {
        "classes": (LSTMClassifier, np.array(["a", "b", "c"])[NUMBER % 3], "proba"),
        "labels": (LSTMClassifier, np.eye(3, dtype=int)[NUMBER % 3], "proba"),
        "zero": (
            functools.partial(
                LSTMRegressor, loss="zero_inflated_lognormal", exposure="age"
            ),
            two * (NUMBER % 2)[:, None],
            "proba_zero",
        ),
        "quantiles": (
            functools.partial(LSTMRegressor, loss="quantile", quantile=[0.1, 0.6, 0.9]),
            two,
            "quantiles",
        ),
        "gamma": (functools.partial(LSTMRegressor, loss="gamma"), two[:, 0], ""),
    }[name]
    model = fit(estimator(**options), y, rows=rows)
    X = LOG.attach(people, cutoff=AFTER)
    encoded = model[:-1].transform(X)
    expected = {}
    if answers == "proba":
        expected["probabilities"] = model.predict_proba(X)
    else:
        expected["prediction"] = model.predict(X)
    if answers in ("proba_zero", "quantiles"):
        expected[answers] = getattr(model[-1], f"predict_{answers}")(encoded)
    check(model, tmp_path, rows_of(EVENTS, people, AFTER), X, expected)


def test_small_purchase_probabilities_keep_their_digits(tmp_path):
    """For one buyer in a million, 1 - exp(-rate) has no correct digit in float32."""
    model = fit(
        LSTMRegressor(loss="zero_inflated_lognormal", **SMALL, n_networks=1), NUMBER % 4
    )
    X = LOG.attach(PEOPLE, cutoff=AFTER)
    head = model[-1].net_.module_.head[-1]
    for bias in (-20.0, -6.0, -4.5, -3.0, 12.0):
        head.bias.data[0] = bias
        path = export_onnx(model, tmp_path / "model.onnx")[0]
        found = run(path, tensors_of(model, X))["prediction"]
        assert_allclose(found, model.predict(X), rtol=1e-4)


@pytest.mark.parametrize(("n_kinds", "n_networks"), [(1, 1), (2, 1), (2, 2)])
def test_survival(n_kinds, n_networks, tmp_path):
    y = pd.DataFrame({"event": NUMBER % (n_kinds + 1), "time": 1.0 + NUMBER % 17})
    model = fit(LSTMSurvival(bins=4, n_networks=n_networks, **SMALL), y)
    X = LOG.attach(SOME, cutoff=AFTER)
    estimator, encoded = model[-1], model[:-1].transform(X)
    expected = {
        "prediction": estimator.predict(encoded),
        "cumulative_hazard": estimator.predict_cumulative_hazard_function(
            encoded, return_array=True
        ),
    }
    if n_kinds == 2:
        expected["incidence"] = estimator.predict_cumulative_incidence(encoded)
    files = check(model, tmp_path, SOME_ROWS, X, expected)
    told = json.loads(files[-1].read_text())["answers"]
    assert told["edges"] == estimator.unique_times_.tolist()
    assert told["kinds"] == estimator.event_types_.tolist()


# Events and statics -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["whole", "floats", "aware", "seconds", "no fields"])
def test_times_of_any_type(kind, tmp_path):
    events, after, zone = EVENTS.copy(), AFTER, None
    days = (events["when"] - pd.Timestamp("2020-01-01")) / pd.Timedelta("1D")
    if kind in ("whole", "floats"):
        events, after = events.drop(columns="due"), 2000.5
        events["when"] = days
    if kind == "whole":
        events["when"], after = days.astype("int64"), 2000
    if kind == "aware":
        utc = events["when"].dt.tz_localize("UTC")
        events["when"], after = (
            utc.dt.tz_convert("Asia/Tokyo"),
            after.tz_localize("UTC"),
        )
        events["due"] = events["due"].dt.tz_localize("UTC")
        zone = "Europe/Berlin"
    if kind == "seconds":
        events["when"] = events["when"].astype("datetime64[s]")
        after += pd.Timedelta("1ms")
    if kind == "no fields":
        events = events[["who", "when"]]
    people = PEOPLE[["who", "age", "city"]]
    log = EventLog(events, "who", "when", observed_until=after)
    X = log.attach(people, cutoff=after)
    model = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1))
    model.set_params(encoder__time_zone=zone).fit(X, np.arange(len(X)) % 2)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(events, people, after), X, expected)


def test_unusual_values(tmp_path):
    model = fit(LSTMClassifier(**SMALL, n_networks=1))
    events = EVENTS[EVENTS["who"] == "c1"].assign(kind="never seen", amount=-1e160)
    people = PEOPLE.iloc[:1].assign(who="c1", city="Bern", age=np.inf)
    log = EventLog(events, "who", "when", observed_until=AFTER)
    X = log.attach(people, cutoff=AFTER)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(events, people, AFTER), X, expected)


def test_times_may_be_text(tmp_path):
    model = fit(LSTMClassifier(**SMALL, n_networks=1))
    files = export_onnx(model, tmp_path / "model.onnx")
    exported = reference_reader()(files[-1])
    as_text = json.loads(json.dumps(SOME_ROWS, default=lambda time: time.isoformat()))
    for name, tensor in exported.padded(SOME_ROWS).items():
        assert_allclose(exported.padded(as_text)[name], tensor)


def test_statics_far_outside_of_the_training(tmp_path):
    model = fit(LSTMClassifier(**SMALL, n_networks=1))
    far = SOME.assign(age=np.where(NUMBER[: len(SOME)] % 2, -999.0, 1e6))
    X = LOG.attach(far, cutoff=AFTER)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(EVENTS, far, AFTER), X, expected)


def test_custom_steps_for_statics_are_not_exported(tmp_path):
    doubled = make_column_transformer(
        (FunctionTransformer(np.log, feature_names_out="one-to-one"), ["age"]),
        ("passthrough", ["history"]),
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = make_pipeline(
        HistoryEncoder(), doubled, LSTMClassifier(**SMALL, n_networks=1)
    )
    rows = ROWS[["who", "at", "age"]].assign(age=ROWS["age"].fillna(40))
    model.fit(LOG.attach(rows, cutoff="at"), NUMBER % 2)
    people = SOME[["who", "age"]].assign(age=SOME["age"].fillna(40))
    X = LOG.attach(people, cutoff=AFTER)
    files = export_onnx(model, tmp_path / "model.onnx")
    assert json.loads(files[-1].read_text())["statics"]["parts"] is None
    read = rows_of(EVENTS, people.assign(age=np.log(people["age"])), AFTER)
    found = run(files[0], reference_reader()(files[-1]).padded(read))
    assert_allclose(found["probabilities"], model.predict_proba(X), **CLOSE)


# Files and refusals -------------------------------------------------------------------


def test_files_share_a_digest_and_are_replaced_together(tmp_path):
    import onnx

    model = fit(LSTMClassifier(**SMALL, n_networks=1))
    files = export_onnx(model, str(tmp_path / "model.onnx"))
    assert [f.name for f in files] == ["model.onnx", "model.step.onnx", "model.json"]
    digest = json.loads(files[-1].read_text())["digest"]
    for file in files[:2]:
        [note] = onnx.load(file).metadata_props
        assert (note.key, note.value) == ("digest", digest)
        [opset] = onnx.load(file).opset_import
        assert opset.version == 17
    before = files[0].read_bytes()
    files[2].unlink()
    files[2].mkdir()
    other = fit(LSTMClassifier(**{**SMALL, "random_state": 1}, n_networks=1))
    with pytest.raises(ValueError, match="not a regular file"):
        export_onnx(other, files[0])
    assert files[0].read_bytes() == before
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_refusals(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    model = fit(LSTMClassifier(**SMALL, n_networks=1))
    with pytest.raises(ValueError, match=r"must end with \.onnx; got 'model'"):
        export_onnx(model, tmp_path / "model")
    with pytest.raises(
        TypeError, match=r"LSTMSurvival, .*Regressor, as .*got LSTMClass"
    ):
        export_onnx(model[-1], path)
    with pytest.raises(TypeError, match="got LSTMEventModel"):
        export_onnx(LSTMEventModel(), path)
    with pytest.raises(ValueError, match=r"exceed the range of float32"):
        export_onnx(fit(LSTMRegressor(**SMALL, n_networks=1), NUMBER * 1e60), path)
    events = EVENTS.assign(kind=EVENTS["due"].dt.to_period("M").astype("category"))
    X = EventLog(events, "who", "when").attach(ROWS, cutoff="at")
    periods = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1)).fit(
        X, NUMBER % 2
    )
    with pytest.raises(TypeError, match=r"JSON has no Period.*of the field 'kind'"):
        export_onnx(periods, path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'onnx>=1\.17'"):
        export_onnx(model, path)
    assert not list(tmp_path.iterdir())


def test_operations_without_an_onnx_form_raise():
    reader = HistoryReader(HistorySpec(1, (), (1.0,)), "gru", 2, 1, False, ["max"], 0)
    reader.cell = Cell
    tensor = GraphTensor(Graph("example"), "x", (3,))
    with pytest.raises(TypeError, match="Cell is not exportable"):
        run_layers(reader, tensor, tensor)
    for function in (np.sin, np.median):
        with pytest.raises(TypeError, match=function.__name__):
            function(tensor)


def test_graphs_have_no_needless_nodes():
    graph = Graph("test")
    x = GraphTensor(graph, graph.input("x", "float32", ["n", 4]), (4,))
    halves = x[:, :2] + x[:, 2:]
    np.exp(halves)  # no output needs it
    decayed = np.exp2((-halves)[..., None] * np.ones(3, "float32"))
    graph.output("y", np.maximum(decayed, 0).name, ["n", 2, 3])
    content = graph.to_bytes({})
    operators = [node.op_type for node in onnx.load_from_string(content).graph.node]
    assert operators == ["Split", "Add", "Unsqueeze", "Mul", "Exp", "Relu"]
    numbers = np.arange(8.0).reshape(2, 4).astype("float32")
    [y] = ort.InferenceSession(content).run(None, {"x": numbers})
    expected = np.exp2(-numbers[:, :2] - numbers[:, 2:])
    assert_allclose(y, np.stack([expected] * 3, axis=2), rtol=1e-6)
