"""Exported pipelines, and runs of their graphs on inputs from the JSON reader."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import export_onnx
from sklearn_seqcrm.testing._small_data import make_events, make_rows

ort = pytest.importorskip("onnxruntime")

EVENTS = make_events(10).sort_values("when", kind="stable", ignore_index=True)
ROWS = make_rows(10)
AFTER = EVENTS["when"].max() + pd.Timedelta("9D")
LOG = EventLog(EVENTS, "who", "when", observed_until=AFTER)
VISITS = EVENTS.assign(city=np.array(["Rome", "Oslo"])[EVENTS.index % 2])
VISITS = VISITS[["city", "when", "amount"]]
CITIES = EventLog(VISITS, "city", "when", observed_until=AFTER)
PEOPLE = ROWS.drop_duplicates("who").drop(columns="at").reset_index(drop=True)
SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 1, "random_state": 0}
NUMBER = np.arange(len(ROWS))
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@functools.cache
def reference_reader():
    """Return the reader in the examples, which does not import the library."""
    path = Path(__file__).parents[2] / "examples" / "read_exported.py"
    spec = importlib.util.spec_from_file_location("read_exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Exported


def fit(estimator, y=NUMBER % 2, lookback=None, rows=ROWS):
    X = LOG.attach(rows, cutoff="at", lookback=lookback)
    return make_history_pipeline(estimator).fit(X, y)


def tensors_of(model, X, **options):
    """Return the tensors of HistoryPadder for raw rows, with sums and moments."""
    padded = HistoryPadder(**options).fit_transform(model[:-1].transform(X))
    further = ["sums", *(f"{prefix}moments" for prefix in padded.moments)]
    return {**dict(padded), **{name: padded[name] for name in further}}


def session_of(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options)


def run(path, tensors):
    return ask(session_of(path), tensors)


def ask(session, tensors):
    """Return outputs of a graph by name; other tensors than its inputs are left out."""
    inputs = {one.name: tensors[one.name] for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def rows_of(events, people, cutoff, name="history", who="who"):
    """Return rows as the reference reader takes them, None where a value is missing."""

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
    """Return outputs after all events of a row, one at a time, then without any."""
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


def attach_both(log, rows, cutoff):
    """Attach the history of the customer, and that of the city."""
    rows = rows.assign(place=rows["city"].fillna("Rome"))
    X = log.attach(rows, cutoff=cutoff)
    return CITIES.attach(X, customer="place", cutoff=cutoff, name="visits")


def check_both(model, tmp_path, log, events):
    """Compare the graphs of two histories with the pipeline."""
    some = PEOPLE.iloc[:3]
    X = attach_both(log, some, AFTER)
    people = some.assign(place=some["city"].fillna("Rome"))
    visits = VISITS.rename(columns={"city": "place"})
    others = rows_of(visits, people, AFTER, "visits", "place")
    rows = zip(rows_of(events, people, AFTER), others, strict=True)
    rows = [{**one, **other} for one, other in rows]
    files = export_onnx(model, tmp_path / "model.onnx")
    exported = reference_reader()(files[-1])
    for answers in (
        run(files[0], tensors_of(model, X)),
        run(files[0], exported.padded(rows)),
        run_steps(files[1], exported, rows, ("visits", "history")),
    ):
        assert_allclose(answers["prediction"], model.predict(X), **CLOSE)


SOME = PEOPLE.iloc[::3].reset_index(drop=True)
SOME_ROWS = rows_of(EVENTS, SOME, AFTER)
