"""The example of a service: what it refuses, counts once, and keeps when killed."""

import asyncio
import importlib.util
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

for name in ("fastapi", "uvicorn"):
    pytest.importorskip(name)
httpx = pytest.importorskip("httpx")

EXAMPLE = Path(__file__).parents[1] / "examples" / "serve_scores.py"
CUTOFF = "2025-01-01T00:00:00"
N_EVENTS = 40
PEOPLE = pd.DataFrame({"customer_id": [f"c{i}" for i in range(5)], "age": 30.0})
STATICS = {"cutoff": CUTOFF, "statics": '{"age": 30}'}


def event(number, **others):
    """One of a series of events, in order of time."""
    return {
        "id": str(number),
        "customer": f"c{number % 5}",
        "time": str(pd.Timestamp("2024-01-01") + pd.Timedelta(number, "h")),
        "fields": {"amount": number % 7, "kind": "ab"[number % 2]},
        **others,
    }


def log_of(events):
    rows = [
        {"customer_id": e["customer"], "timestamp": e["time"], **e["fields"]}
        for e in events
    ]
    table = pd.DataFrame(rows)
    table["timestamp"] = pd.to_datetime(table["timestamp"]).astype("M8[us]")
    return EventLog(table, "customer_id", "timestamp", observed_until=CUTOFF)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The file of a model, and the model."""
    X = log_of(map(event, range(N_EVENTS))).attach(PEOPLE, cutoff=CUTOFF)
    X["age"] = [30.0, 40, 50, 60, 70]
    estimator = LSTMClassifier(hidden_size=4, max_epochs=1, random_state=0)
    fitted = make_history_pipeline(estimator).fit(X, np.arange(5) % 2)
    path = tmp_path_factory.mktemp("service") / "model.joblib"
    joblib.dump(fitted, path)
    return path, fitted


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("serve_scores", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Web:
    """Requests to a service in this process."""

    def __init__(self, example, service):
        self._app = example.make_app(service)

    def __call__(self, method, url, **options):
        async def ask():
            transport = httpx.ASGITransport(app=self._app)
            client = httpx.AsyncClient(transport=transport, base_url="http://here")
            async with client:
                return await client.request(method, url, **options)

        return asyncio.run(ask())


def scores_of(fitted, events):
    return fitted.predict_proba(log_of(events).attach(PEOPLE, cutoff=CUTOFF))


def test_scores_are_those_of_a_log_and_survive_a_restart(example, model, tmp_path):
    path, fitted = model
    service = example.Service(path, tmp_path, states_every=15)
    ask = Web(example, service)
    events = [event(i) for i in range(N_EVENTS)]
    assert ask("POST", "/events", json=events[:20]).json() == {"new": 20}
    assert ask("POST", "/events", json=events[10:22]).json() == {"new": 2}
    judged = ask("POST", "/score", params=STATICS, json=events[22])
    expected = scores_of(fitted, events[:23])
    np.testing.assert_allclose(judged.json()["score"], expected[2], atol=1e-5)
    again = ask("POST", "/score", params=STATICS, json=events[22])
    assert again.json() == judged.json()
    service.base.close()
    assert [f.name for f in tmp_path.glob("*.parquet")] == [
        "states-000000000020.parquet"
    ]
    ask = Web(example, example.Service(path, tmp_path))
    assert ask("POST", "/events", json=events[:24]).json() == {"new": 1}
    for i, wanted in enumerate(scores_of(fitted, events[:24])):
        found = ask("GET", f"/score/c{i}", params=STATICS)
        np.testing.assert_allclose(found.json()["score"], wanted, atol=1e-5)


def test_bad_input_is_refused_with_a_reason(example, model, tmp_path):
    service = example.Service(model[0], tmp_path)
    ask = Web(example, service)
    assert ask("POST", "/events", json=[event(20)]).json() == {"new": 1}
    for wrong, reason in (
        (event(25, time="2023-01-01"), "are late"),
        (event(25, time="2024-06-01T00:00Z"), "time-zone aware"),
        (event(25, time="yesterday"), "valid datetime"),
        (
            event(25, fields={"kind": "a", "amount": "many"}),
            "takes numbers and booleans",
        ),
        ({"id": "25"}, "Field required"),
        ("no event", "valid dictionary"),
    ):
        answer = ask("POST", "/events", json=[event(21), wrong])
        assert answer.status_code == 422
        assert reason in answer.text
    answer = ask("POST", "/events", json=[event(21, fields={"kind": "a"})])
    assert answer.status_code == 422
    assert "has no columns ['amount']" in answer.text
    for params, reason in (
        ({"statics": '{"age": 30}'}, "Field required"),
        ({"cutoff": CUTOFF}, "statics lacks ['age']"),
        ({"cutoff": CUTOFF, "statics": "{"}, "Expecting property name"),
        ({**STATICS, "cutoff": "2020-01-01"}, "not after"),
    ):
        for url, body in (("/score", event(22)), ("/score/c0", None)):
            method = "GET" if body is None else "POST"
            answer = ask(method, url, params=params, json=body)
            assert answer.status_code == 422
            assert reason in answer.text
    # Nothing of what was refused is there: it is new when it comes again, and counts.
    assert ask("POST", "/events", json=[event(21), event(22)]).json() == {"new": 2}


def start(path, folder):
    """The service in a process of its own, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, str(EXAMPLE), str(path), str(folder), port]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    while process.poll() is None:
        try:
            httpx.get(f"{url}/docs")
            return process, url
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the service did not start")


def test_killed_it_has_lost_nothing_that_it_acknowledged(model, tmp_path):
    path, fitted = model
    process, url = start(path, tmp_path)
    acknowledged = 0
    try:
        with httpx.Client(base_url=url) as web:
            for i in range(20):
                web.post("/score", params=STATICS, json=event(i)).raise_for_status()
                acknowledged += 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    process, url = start(path, tmp_path)
    try:
        with httpx.Client(base_url=url) as web:
            expected = scores_of(fitted, [event(i) for i in range(acknowledged)])
            for i, wanted in enumerate(expected):
                found = web.get(f"/score/c{i}", params=STATICS).json()["score"]
                np.testing.assert_allclose(found, wanted, atol=1e-5)
            sent_again = [event(i) for i in range(acknowledged)]
            assert web.post("/events", json=sent_again).json() == {"new": 0}
    finally:
        process.kill()
        process.wait()
