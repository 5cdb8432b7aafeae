"""ONNX graphs, with inputs from the JSON reader, equal the pipeline."""

import functools
import importlib.util
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_seqcrm._recurrent.data import HistorySpec
from sklearn_seqcrm._recurrent.network import POOLINGS, HistoryReader, Pooling
from sklearn_seqcrm._recurrent.objectives import Graph, GraphTensor
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import (
    HistoryPadder,
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.serving import export_onnx
from sklearn_seqcrm.serving._onnx._layers import refuse_not_exportable
from sklearn_seqcrm.testing._small_data import make_events, make_rows

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

EVENTS = make_events(10).sort_values("when", kind="stable", ignore_index=True)
ROWS = make_rows(10)
AFTER = EVENTS["when"].max() + pd.Timedelta("9D")
LOG = EventLog(EVENTS, "who", "when", observed_until=AFTER)
PEOPLE = ROWS.drop_duplicates("who").drop(columns="at").reset_index(drop=True)
SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 1, "random_state": 0}
NUMBER = np.arange(len(ROWS))
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@functools.cache
def reference_reader():
    """The reader in the examples, which does not import the library."""
    path = Path(__file__).parents[2] / "examples" / "read_exported.py"
    spec = importlib.util.spec_from_file_location("read_exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Exported


def fit(estimator, y=NUMBER % 2, lookback=None, rows=ROWS):
    X = LOG.attach(rows, cutoff="at", lookback=lookback)
    return make_history_pipeline(estimator).fit(X, y)


def tensors_of(model, X, **options):
    """Tensors of HistoryPadder for raw rows, with the sums and the moments."""
    padded = HistoryPadder(**options).fit_transform(model[:-1].transform(X))
    moments = {f"{prefix}moments": one for prefix, one in padded.moments.items()}
    return {**dict(padded), **moments, "sums": padded.sums}


def session_of(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options)


def run(path, tensors):
    return ask(session_of(path), tensors)


def ask(session, tensors):
    """Outputs of the graph by name; other tensors than its inputs are left out."""
    inputs = {one.name: tensors[one.name] for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def rows_of(events, people, cutoff, name="history", who="who"):
    """Rows as the reference reader takes them, None where a value is missing."""

    def plain(row):
        return {k: None if pd.isna(v) else v for k, v in row.items()}

    by_customer = {
        key: [
            {**plain(event), "time": event["when"]} for event in own.to_dict("records")
        ]
        for key, own in events.groupby(who)
    }
    return [
        {"cutoff": cutoff, "statics": plain(row), name: by_customer.get(row[who], [])}
        for row in people.to_dict("records")
    ]


def run_steps(path, exported, rows, histories=("history",)):
    """Outputs after all events of each row, one at a time, then without an event."""
    found, session = [], session_of(path)
    for row in rows:
        states = exported.new_states()
        events = [(e, name) for name in histories for e in row[name]]
        for event, name in [*events, (None, None)]:
            answers = ask(session, exported.step(states, row, event, name))
            exported.keep(states, answers)
        found.append(answers)
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def check(model, tmp_path, rows, X, expected):
    """Compare both graphs, and the tensors of the reader, with the pipeline."""
    files = export_onnx(model, tmp_path / "model.onnx")
    tensors = tensors_of(model, X)
    exported = reference_reader()(files[-1])
    read = exported.padded(rows)
    for name, tensor in read.items():
        assert tensor.dtype == tensors[name].dtype
        assert_allclose(tensor, tensors[name], rtol=1e-5, atol=1e-5)
    found = [run(files[0], tensors), run(files[0], read)]
    if len(files) == 3:
        found.append(run_steps(files[1], exported, rows))
    for answers in found:
        for name, wanted in expected.items():
            assert answers[name].shape == wanted.shape
            assert_allclose(answers[name], wanted, **CLOSE)
    assert set(expected) == set(found[0])
    return files


SOME = PEOPLE.iloc[::3].reset_index(drop=True)
SOME_ROWS = rows_of(EVENTS, SOME, AFTER)


# Networks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "num_layers"), [*itertools.product(("lstm", "gru", "rnn"), (1, 2))]
)
def test_every_cell(cell, num_layers, tmp_path):
    model = fit(
        LSTMClassifier(cell=cell, num_layers=num_layers, pooling=POOLINGS, **SMALL)
    )
    X = LOG.attach(SOME, cutoff=AFTER)
    expected = {"probabilities": model.predict_proba(X)}
    assert len(check(model, tmp_path, SOME_ROWS, X, expected)) == 3


@pytest.mark.parametrize("pooling", ["mean", "attention", "decay", ("max", "last")])
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


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_bidirectional_networks_have_no_step_graph(cell, tmp_path):
    old = tmp_path / "model.step.onnx"
    old.write_text("of another model")
    model = fit(
        LSTMClassifier(
            cell=cell, num_layers=2, bidirectional=True, pooling=POOLINGS, **SMALL
        )
    )
    X = LOG.attach(SOME, cutoff=AFTER)
    expected = {"probabilities": model.predict_proba(X)}
    files = check(model, tmp_path, SOME_ROWS, X, expected)
    assert [one.name for one in files] == ["model.onnx", "model.json"]
    assert not old.exists()


def test_histories_with_a_lookback_have_no_step_graph(tmp_path):
    model = fit(LSTMClassifier(**SMALL), lookback="300D")
    files = export_onnx(model, tmp_path / "model.onnx")
    assert [one.name for one in files] == ["model.onnx", "model.json"]
    X = LOG.attach(PEOPLE, cutoff=AFTER, lookback="300D")
    found = run(files[0], tensors_of(model, X))["probabilities"]
    assert_allclose(found, model.predict_proba(X), **CLOSE)


@pytest.mark.parametrize("n_networks", [1, 2])
def test_several_history_columns(n_networks, tmp_path):
    visits = EVENTS.assign(city=np.array(["Rome", "Oslo"])[EVENTS.index % 2])
    visits = visits[["city", "when", "amount"]]
    cities = EventLog(visits, "city", "when", observed_until=AFTER)

    def attach(rows, cutoff):
        rows = rows.assign(place=rows["city"].fillna("Rome"))
        X = LOG.attach(rows, cutoff=cutoff)
        return cities.attach(X, customer="place", cutoff=cutoff, name="visits")

    model = make_history_pipeline(
        LSTMRegressor(cell="gru", n_networks=n_networks, pooling=POOLINGS, **SMALL)
    )
    model.fit(attach(ROWS, "at"), NUMBER % 5)
    some = PEOPLE.iloc[:3]
    X = attach(some, AFTER)
    people = some.assign(place=some["city"].fillna("Rome"))
    rows = rows_of(EVENTS, people, AFTER)
    others = rows_of(
        visits.rename(columns={"city": "place"}), people, AFTER, "visits", "place"
    )
    rows = [{**one, **other} for one, other in zip(rows, others, strict=True)]
    files = export_onnx(model, tmp_path / "model.onnx")
    exported = reference_reader()(files[-1])
    for answers in (
        run(files[0], tensors_of(model, X)),
        run(files[0], exported.padded(rows)),
        run_steps(files[1], exported, rows, ("visits", "history")),
    ):
        assert_allclose(answers["prediction"], model.predict(X), **CLOSE)


def test_any_number_of_rows_and_steps(tmp_path):
    model = fit(LSTMClassifier(pooling=POOLINGS, **SMALL))
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
    model = fit(LSTMClassifier(pooling=POOLINGS, bidirectional=bidirectional, **SMALL))
    path = export_onnx(model, tmp_path / "model.onnx")[0]
    tensors = tensors_of(model, LOG.attach(PEOPLE, cutoff=AFTER))
    expected = run(path, tensors)["probabilities"]
    steps = np.arange(tensors["values"].shape[1])
    padding = steps >= tensors["lengths"][:, None]
    values, codes = tensors["values"].copy(), tensors["codes"].copy()
    values[padding], codes[padding] = 200.0, 1
    found = run(path, {**tensors, "values": values, "codes": codes})
    assert_allclose(found["probabilities"], expected, rtol=1e-6)


# Moments ------------------------------------------------------------------------------

LINES = EVENTS.assign(when=EVENTS["when"].dt.floor("120D") + pd.Timedelta("15h"))
LINES["when"] += pd.to_timedelta(4 * (np.arange(len(LINES)) % 4 == 0), unit="h")
LINES = LINES.sort_values("when", kind="stable", ignore_index=True)
LINES_LOG = EventLog(LINES, "who", "when", observed_until=AFTER)
LINES_ROWS = rows_of(LINES, SOME, AFTER)


def fit_moments(estimator, lookback=None, moments=True):
    X = LINES_LOG.attach(ROWS, cutoff="at", lookback=lookback)
    model = make_history_pipeline(estimator).set_params(encoder__moments=moments)
    return model.fit(X, NUMBER % 2)


@pytest.mark.parametrize(
    ("cell", "num_layers", "moments"),
    [("lstm", 2, True), ("gru", 1, "1D"), ("rnn", 1, "400D"), ("lstm", 1, "6h")],
)
def test_moments_of_every_cell(cell, num_layers, moments, tmp_path):
    network = LSTMClassifier(cell=cell, num_layers=num_layers, pooling=POOLINGS)
    model = fit_moments(network.set_params(**SMALL), moments=moments)
    X = LINES_LOG.attach(SOME, cutoff=AFTER)
    expected = {"probabilities": model.predict_proba(X)}
    assert len(check(model, tmp_path, LINES_ROWS, X, expected)) == 3


@pytest.mark.parametrize("pooling", ["mean", "attention", "decay", ("max", "last")])
def test_moments_of_every_pooling(pooling, tmp_path):
    network = LSTMRegressor(pooling=pooling, n_networks=2, **SMALL)
    model = fit_moments(network)
    X = LINES_LOG.attach(SOME, cutoff=AFTER)
    check(model, tmp_path, LINES_ROWS, X, {"prediction": model.predict(X)})


def test_moments_of_events_without_fields(tmp_path):
    events = LINES[["who", "when"]]
    log = EventLog(events, "who", "when", observed_until=AFTER)
    X = log.attach(PEOPLE[["who"]], cutoff=AFTER)
    model = make_history_pipeline(LSTMClassifier(**SMALL))
    model.set_params(encoder__moments=True).fit(X, np.arange(len(X)) % 2)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(events, PEOPLE[["who"]], AFTER), X, expected)


def test_vectors_of_levels_of_moments(tmp_path):
    """Levels without a code of their own have vectors in the JSON."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "who": rng.choice(PEOPLE["who"], 900),
            "when": EVENTS["when"].min()
            + pd.to_timedelta(rng.integers(0, 40, 900), "D"),
            "product": [f"p{i}" for i in rng.zipf(1.3, 900).clip(max=250)],
        }
    )
    events.loc[::9, "product"] = None
    events = events.sort_values("when", kind="stable")
    people = PEOPLE[["who"]]

    def attach(table):
        log = EventLog(table, "who", "when", observed_until=AFTER)
        return log.attach(people, cutoff=AFTER)

    X = attach(events)
    model = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=2))
    model.set_params(encoder__moments=True).fit(X, np.arange(len(X)) % 2)
    assert model[0].layouts_["history"].vectors == (("product", 8),)
    events.iloc[3, 2] = "never seen"
    X = attach(events)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(events, people, AFTER), X, expected)


def test_moments_in_local_time(tmp_path):
    # 15:00 in UTC is the next day in Tokyo, and 13:00 is not.
    events, after = LINES.copy(), AFTER.tz_localize("UTC")
    events["when"] = LINES["when"].dt.tz_localize("UTC")
    events.loc[::3, "when"] -= pd.Timedelta("2h")
    events = events.sort_values("when", kind="stable")
    people = SOME[["who", "age", "city"]]
    X = EventLog(events, "who", "when", observed_until=after).attach(
        people, cutoff=after
    )
    model = make_history_pipeline(LSTMClassifier(**SMALL))
    model.set_params(encoder__moments="1D", encoder__time_zone="Asia/Tokyo")
    model.fit(X, np.arange(len(X)) % 2)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(events, people, after), X, expected)
    moments = HistoryPadder().fit_transform(model[:-1].transform(X)).moments[""]
    of_day = events.groupby("who")["when"]
    days = of_day.agg(lambda when: when.dt.tz_convert("Asia/Tokyo").dt.date.nunique())
    assert (moments.max(axis=1) + 1).tolist() == days[people["who"]].tolist()
    assert (days != of_day.agg(lambda when: when.dt.date.nunique())).any()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_moments_that_are_cut_and_padded(bidirectional, tmp_path):
    """Rows see a part of a first or last moment; padding has no effect."""
    network = LSTMClassifier(pooling=POOLINGS, bidirectional=bidirectional, **SMALL)
    model = fit_moments(network, lookback="240D", moments="1D")
    path = export_onnx(model, tmp_path / "model.onnx")[0]
    cut = LINES["when"].sort_values().iloc[len(LINES) // 2] + pd.Timedelta("1h")
    rows = PEOPLE.assign(at=[*[cut, AFTER] * (len(PEOPLE) // 2)])
    X = LINES_LOG.attach(rows, cutoff="at", lookback="240D")
    tensors = tensors_of(model, X)
    expected = model.predict_proba(X)
    assert_allclose(run(path, tensors)["probabilities"], expected, **CLOSE)
    padding = np.arange(tensors["values"].shape[1]) >= tensors["lengths"][:, None]
    assert padding[:, 0].any()
    assert not padding[:, -1].all()
    values, moments = tensors["values"].copy(), tensors["moments"].copy()
    values[padding], moments[padding] = 200.0, 7
    moments[:, 1::2] += np.where(padding[:, 1::2], 5, 0)
    other = {**tensors, "values": values, "moments": moments * 3 + 11}
    assert_allclose(run(path, other)["probabilities"], expected, **CLOSE)
    # Truncated histories begin within a moment, whose number is not 0.
    padder = HistoryPadder(max_length=2)
    padded = padder.fit_transform(model[:-1].transform(X))
    found = run(path, tensors_of(model, X, max_length=2))["probabilities"]
    assert_allclose(found, model[-1].predict_proba(padded), **CLOSE)


def test_moments_of_one_of_two_history_columns(tmp_path):
    visits = EVENTS.assign(city=np.array(["Rome", "Oslo"])[EVENTS.index % 2])
    visits = visits[["city", "when", "amount"]]
    cities = EventLog(visits, "city", "when", observed_until=AFTER)

    def attach(rows, cutoff):
        rows = rows.assign(place=rows["city"].fillna("Rome"))
        X = LINES_LOG.attach(rows, cutoff=cutoff)
        return cities.attach(X, customer="place", cutoff=cutoff, name="visits")

    network = LSTMRegressor(cell="gru", n_networks=2, pooling=POOLINGS, **SMALL)
    model = make_history_pipeline(network)
    # "auto": most events of one log stand with others, and few of the other.
    model.set_params(encoder__moments="auto")
    model.fit(attach(ROWS, "at"), NUMBER % 5)
    layouts = model[0].layouts_
    assert layouts["history"].moments == 0
    assert layouts["visits"].moments is None
    some = PEOPLE.iloc[:3]
    X = attach(some, AFTER)
    people = some.assign(place=some["city"].fillna("Rome"))
    rows = rows_of(LINES, people, AFTER)
    visits = visits.rename(columns={"city": "place"})
    others = rows_of(visits, people, AFTER, "visits", "place")
    rows = [{**one, **other} for one, other in zip(rows, others, strict=True)]
    files = export_onnx(model, tmp_path / "model.onnx")
    exported = reference_reader()(files[-1])
    for answers in (
        run(files[0], tensors_of(model, X)),
        run(files[0], exported.padded(rows)),
        run_steps(files[1], exported, rows, ("visits", "history")),
    ):
        assert_allclose(answers["prediction"], model.predict(X), **CLOSE)


def test_lines_of_a_moment_in_any_order(tmp_path):
    """In floating point, sums of a graph depend a little on the order."""
    model = fit_moments(LSTMClassifier(pooling=POOLINGS, **SMALL))
    path = export_onnx(model, tmp_path / "model.onnx")[0]
    X = LINES_LOG.attach(SOME, cutoff=AFTER)
    expected = run(path, tensors_of(model, X))["probabilities"]
    log = EventLog(LINES.iloc[::-1], "who", "when", observed_until=AFTER)
    found = run(path, tensors_of(model, log.attach(SOME, cutoff=AFTER)))
    assert_allclose(found["probabilities"], expected, rtol=1e-5)


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
    model = fit(LSTMRegressor(loss="zero_inflated_lognormal", **SMALL), NUMBER % 4)
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
        zone = "Europe/Berlin"
    if kind == "seconds":
        events["when"] = events["when"].astype("datetime64[s]")
        after += pd.Timedelta("1ms")
    if kind == "no fields":
        events = events[["who", "when"]]
    people = PEOPLE[["who", "age", "city"]]
    log = EventLog(events, "who", "when", observed_until=after)
    X = log.attach(people, cutoff=after)
    model = make_history_pipeline(LSTMClassifier(**SMALL))
    model.set_params(encoder__time_zone=zone).fit(X, np.arange(len(X)) % 2)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(events, people, after), X, expected)


def test_unusual_values(tmp_path):
    model = fit(LSTMClassifier(**SMALL))
    events = EVENTS[EVENTS["who"] == "c1"].assign(kind="never seen", amount=-1e160)
    people = PEOPLE.iloc[:1].assign(who="c1", city="Bern", age=np.inf)
    log = EventLog(events, "who", "when", observed_until=AFTER)
    X = log.attach(people, cutoff=AFTER)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(events, people, AFTER), X, expected)


def test_times_may_be_text(tmp_path):
    model = fit(LSTMClassifier(**SMALL))
    files = export_onnx(model, tmp_path / "model.onnx")
    exported = reference_reader()(files[-1])
    as_text = json.loads(json.dumps(SOME_ROWS, default=lambda time: time.isoformat()))
    for name, tensor in exported.padded(SOME_ROWS).items():
        assert_allclose(exported.padded(as_text)[name], tensor)


def test_custom_steps_for_statics_are_not_exported(tmp_path):
    doubled = make_column_transformer(
        (FunctionTransformer(np.log, feature_names_out="one-to-one"), ["age"]),
        ("passthrough", ["history"]),
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = make_pipeline(HistoryEncoder(), doubled, LSTMClassifier(**SMALL))
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

    model = fit(LSTMClassifier(**SMALL))
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
    other = fit(LSTMClassifier(**{**SMALL, "random_state": 1}))
    with pytest.raises(ValueError, match="not a regular file"):
        export_onnx(other, files[0])
    assert files[0].read_bytes() == before
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_refusals(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    model = fit(LSTMClassifier(**SMALL))
    with pytest.raises(ValueError, match=r"must end with \.onnx; got 'model'"):
        export_onnx(model, tmp_path / "model")
    with pytest.raises(TypeError, match=r"or LSTMSurvival, as .*got LSTMClass"):
        export_onnx(model[-1], path)
    with pytest.raises(TypeError, match="got LSTMEventModel"):
        export_onnx(LSTMEventModel(), path)
    with pytest.raises(ValueError, match=r"exceed the range of float32"):
        export_onnx(fit(LSTMRegressor(**SMALL), NUMBER * 1e60), path)
    events = EVENTS.assign(kind=EVENTS["due"].dt.to_period("M").astype("category"))
    X = EventLog(events, "who", "when").attach(ROWS, cutoff="at")
    periods = make_history_pipeline(LSTMClassifier(**SMALL)).fit(X, NUMBER % 2)
    with pytest.raises(TypeError, match=r"JSON has no Period.*of the field 'kind'"):
        export_onnx(periods, path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-seqcrm\[onnx\]'"):
        export_onnx(model, path)
    assert not list(tmp_path.iterdir())


def test_operations_without_an_onnx_form_raise():
    class Median(Pooling):
        pass

    reader = HistoryReader(HistorySpec(1, (), (1.0,)), "gru", 2, 1, False, ["max"], 0)
    refuse_not_exportable(reader)
    reader.poolings["median"] = Median()
    with pytest.raises(TypeError, match="Median is not exportable"):
        refuse_not_exportable(reader)
    tensor = GraphTensor(Graph("example"), "x", (3,))
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
