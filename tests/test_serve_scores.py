"""The example of a service: bounds, restarts, damage, backups and forgetting."""

import asyncio
import importlib
import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from tests.logs import log_of_table

for name in ("fastapi", "uvicorn"):
    pytest.importorskip(name)
httpx = pytest.importorskip("httpx")

EXAMPLES = Path(__file__).parents[1] / "examples"
CUTOFF = "2025-01-01T00:00:00"
N_EVENTS = 40
PEOPLE = pd.DataFrame({"customer_id": [f"c{i}" for i in range(5)], "age": 30.0})
COLUMNS = {"customer": "customer_id", "time": "timestamp"}
STATICS = {"cutoff": CUTOFF, "statics": '{"age": 30}'}


def event(number, **others):
    """Return the event of a number; numbers are in order of time."""
    return {
        "id": str(number),
        "customer": f"c{number % 5}",
        "time": str(pd.Timestamp("2024-01-01") + pd.Timedelta(number, "h")),
        "fields": {"amount": number % 7, "kind": "ab"[number % 2]},
        **others,
    }


def log_of_events(events):
    rows = [
        {"customer": e["customer"], "time": pd.Timestamp(e["time"]), **e["fields"]}
        for e in events
    ]
    table = pd.DataFrame(rows).astype({"time": "M8[us]"})
    return log_of_table(table.rename(columns=COLUMNS), observed_until=CUTOFF)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the file of a model, and the model."""
    X = log_of_events(map(event, range(N_EVENTS))).attach(PEOPLE, cutoff=CUTOFF)
    X["age"] = [30.0, 40, 50, 60, 70]
    estimator = LSTMClassifier(hidden_size=4, max_epochs=1, random_state=0)
    fitted = make_history_pipeline(estimator).fit(X, np.arange(5) % 2)
    path = tmp_path_factory.mktemp("service") / "model.joblib"
    joblib.dump(fitted, path)
    return path, fitted


@pytest.fixture(scope="module")
def example():
    """Return the module of the service; the journal is imported next to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        yield importlib.import_module("serve_scores")
        for name in ("serve_scores", "event_journal"):
            sys.modules.pop(name)


class Web:
    """A service in this process, and requests to it."""

    def __init__(self, example, *args, **options):
        self.service = example.Service(*args, **options)
        self._app = example.make_app(self.service)

    def __call__(self, method, url, **options):
        async def ask():
            transport = httpx.ASGITransport(app=self._app)
            client = httpx.AsyncClient(transport=transport, base_url="http://here")
            async with client:
                return await client.request(method, url, **options)

        return asyncio.run(ask())

    def post(self, events):
        return self("POST", "/events", json=events)

    def post_by(self, size, events):
        """Post events in portions."""
        for first in range(0, len(events), size):
            self.post(events[first : first + size])

    def score(self, customer):
        found = self("GET", "/score", params={**STATICS, "customer": customer})
        return found.json()["score"]


@pytest.fixture
def start(example, model, tmp_path):
    """Return a function that starts a service in a folder and stops the last one."""
    running = []

    def start(folder=tmp_path, **options):
        stop()
        running.append(Web(example, model[0], folder, **options))
        return running[0]

    def stop():
        while running:
            running.pop().service.journal.close()

    yield start
    stop()


def scores_of(fitted, events):
    return fitted.predict_proba(log_of_events(events).attach(PEOPLE, cutoff=CUTOFF))


def assert_has_read(web, fitted, events):
    """Compare all scores with those of a log of the events."""
    for i, wanted in enumerate(scores_of(fitted, events)):
        np.testing.assert_allclose(web.score(f"c{i}"), wanted, atol=1e-5)


def states_in(folder):
    """Numbers of the last events of the files of states."""
    return [int(f.name.split("-")[1]) for f in sorted(folder.glob("states-*"))]


def fail_on_a_full_disk(*args):
    raise OSError(28, "No space left on device")


# Events -------------------------------------------------------------------------------


def test_scores_are_those_of_a_log_and_survive_a_restart(start, model, tmp_path):
    fitted, web = model[1], start(states_every=15)
    events = [event(i) for i in range(N_EVENTS)]
    assert web.post(events[:20]).json() == {"new": 20}
    assert web.post(events[10:22]).json() == {"new": 2}
    judged = web("POST", "/score", params=STATICS, json=events[22])
    expected = scores_of(fitted, events[:23])
    np.testing.assert_allclose(judged.json()["score"], expected[2], atol=1e-5)
    again = web("POST", "/score", params=STATICS, json=events[22])
    assert again.json() == judged.json()
    assert states_in(tmp_path) == [20]
    web = start()
    assert web.post(events[:24]).json() == {"new": 1}
    assert_has_read(web, fitted, events[:24])


def test_bad_input_is_refused_with_a_reason(start):
    web = start()
    assert web.post([event(20)]).json() == {"new": 1}
    ahead = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=2)
    for wrong, reason in (
        (event(25, time="2023-01-01T00:00"), "are late"),
        (event(25, time="2024-06-01T00:00Z"), "time-zone aware"),
        (event(25, time="yesterday"), "valid datetime"),
        (event(25, time=1_700_000_000), "valid datetime"),
        (event(25, time="1024-06-01T00:00"), "1.time: Value error, must be from 2000"),
        (event(25, time=ahead.isoformat()), "1 day from now"),
        (event(25, fields={"kind": "a", "amount": "many"}), "takes numbers"),
        (event(25, fields={"kind": "a"}), "lacks ['amount']"),
        (event(25, fields={"kind": "a", "amount": [[1]]}), "must be a finite number"),
        (event(25, fields={"kind": "a", "amount": [1]}), "takes numbers"),
        (event(25, fields={"kind": {}, "amount": 1}), "fields.kind: Value error"),
        (event(25, fields={"kind": "a" * 1001, "amount": 1}), "length up to 1000"),
        (event(25, fields={"kind": "a", "amount": 2**60}), "up to 9007199254740992"),
        (event(25, fields=dict.fromkeys(map(str, range(101)))), "at most 100 items"),
        (event(25, customer="c" * 201), "at most 200 characters"),
        (event(25, customer="a\nb"), "should match pattern"),
        (event(25, customer=""), "at least 1 character"),
        (event(25, id=25), "valid string"),
        (event(25, price=3), "Extra inputs are not permitted"),
        ({"id": "25"}, "Field required"),
        ("no event", "should be an object"),
    ):
        answer = web.post([event(21), wrong])
        assert answer.status_code == 422
        assert reason in answer.json()["reason"]
    for params, reason in (
        ({"statics": '{"age": 30}'}, "Field required"),
        ({"cutoff": CUTOFF}, "statics lacks ['age']"),
        ({"cutoff": CUTOFF, "statics": "{"}, "Invalid JSON"),
        ({"cutoff": CUTOFF, "statics": "[]"}, "should be an object"),
        ({"cutoff": CUTOFF, "statics": "[" * 9000}, "recursion limit"),
        ({"cutoff": CUTOFF, "statics": '{"age": NaN}'}, "finite number"),
        ({**STATICS, "cutoff": "2020-01-01"}, "not after"),
    ):
        for method, options in (("POST", {"json": event(22)}), ("GET", {})):
            params = {**params, "customer": "c0"}
            answer = web(method, "/score", params=params, **options)
            assert answer.status_code == 422
            assert reason in answer.text
    # Refused requests have left nothing: their events are new when sent again.
    assert web.post([event(21), event(22)]).json() == {"new": 2}


@pytest.mark.parametrize("url", ["/events", "/score"])
@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b" " * (2**20 + 1), 413, "more than 1048576 bytes"),
        (b"[" * 10_000, 422, "recursion limit"),
        (b"1" * 5_000, 422, "number out of range"),
        (b'[{"id": "\\ud800"}]', 422, "Invalid JSON"),
        (b"\xff", 422, "Invalid JSON"),
        (b"null", 422, "Input should be"),
    ],
)
def test_bodies_that_are_no_events(start, url, body, status, reason):
    answer = start()("POST", url, params=STATICS, content=body)
    assert answer.status_code == status
    assert reason in answer.json()["reason"]


def test_customers_may_have_any_printable_name(start):
    web = start()
    for number, name in enumerate(("a/b", "..", "a b?&#%2F", "é")):
        assert web.post([event(number, customer=name)]).json() == {"new": 1}
        assert web.score(name) != web.score("unknown")


def test_an_id_belongs_to_one_event(start):
    web = start()
    assert web.post([event(1), event(1)]).json() == {"new": 1}
    same = event(
        1, fields={"kind": "b", "amount": 1.0}
    )  # in another order, and a float
    assert web.post([same]).json() == {"new": 0}
    for other in (
        event(1, customer="c2"),
        event(1, time="2024-01-01T02:00"),
        event(1, fields={"kind": "a", "amount": 1}),
    ):
        answer = web.post([event(2), other])
        assert answer.status_code == 409
        assert answer.json()["reason"] == "Another event has the id '1'."
    assert web.post([event(2)]).json() == {"new": 1}


def test_events_of_a_request_are_put_in_order(start, model, monkeypatch):
    web, events = start(), [event(i) for i in range(20)]
    assert web.post(events[::-1]).json() == {"new": 20}
    # A restart that reads them one by one must not find any of them late.
    after = type(web.service.journal).after
    monkeypatch.setattr(
        type(web.service.journal),
        "after",
        lambda journal, number: after(journal, number, 1),
    )
    assert_has_read(start(), model[1], events)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
NUMBERS = st.sampled_from([None, True, False, 0, 1, 2.5, -1e300, 10**15])
LEVELS = st.sampled_from([None, "a", "b", "", "1", "true", "\x00"])
# Mostly valid values: invalid ones are refused at once.
AMOUNT, KIND = NUMBERS | NUMBERS | NUMBERS | JSON, LEVELS | LEVELS | LEVELS | JSON
FIELDS = st.fixed_dictionaries({"amount": AMOUNT, "kind": KIND})


@settings(max_examples=6, phases=[Phase.generate])
@given(posts=st.lists(st.tuples(st.booleans(), FIELDS), min_size=8, max_size=12))
def test_what_was_acknowledged_replays_whatever_it_was(example, model, posts):
    with tempfile.TemporaryDirectory() as folder:
        web, accepted = Web(example, model[0], folder), []
        for number, (judged, fields) in enumerate(posts):
            new = event(number, customer="c0", fields=fields)
            url, body = ("/score", new) if judged else ("/events", [new])
            answer = web("POST", url, params=STATICS, content=json.dumps(body))
            assert answer.status_code in (200, 422), answer.text
            if answer.status_code == 200:
                accepted.append(new)
        score = web.score("c0")
        web.service.journal.close()
        web = Web(example, model[0], folder)
        np.testing.assert_allclose(web.score("c0"), score, atol=1e-5)
        again = web("POST", "/events", content=json.dumps(accepted))
        assert again.json() == {"new": 0}
        web.service.journal.close()


# States and the journal ---------------------------------------------------------------


def test_old_states_go_and_old_events_with_them(start, model, tmp_path, monkeypatch):
    web, events = start(states_every=5), [event(i) for i in range(35)]
    journal = sys.modules["event_journal"]
    monkeypatch.setattr(journal, "EVENTS_KEPT", 18)
    web.post_by(5, events)
    assert states_in(tmp_path) == [25, 30, 35]
    query = "SELECT number FROM events ORDER BY number"
    left = web.service.journal.base.execute(query).fetchall()
    assert [number for (number,) in left] == list(range(18, 36))
    assert_has_read(start(), model[1], events)


def test_damaged_states_give_way_to_older_ones(start, model, example, tmp_path):
    web, events = start(states_every=10), [event(i) for i in range(35)]
    web.post_by(5, events)
    files = sorted(tmp_path.glob("states-*"))
    assert states_in(tmp_path) == [10, 20, 30]
    files[2].write_bytes(files[2].read_bytes()[:-100])
    files[1].write_bytes(b"")
    web = start()
    assert_has_read(web, model[1], events)
    health = web("GET", "/health").json()
    assert health["states up to"] == 10
    assert not health["ok"]
    assert "damaged" in health["problems"]["states"]
    files[0].unlink()
    web = start(states_every=5)  # from the first event on
    assert_has_read(web, model[1], events)
    assert web.post([event(35)]).json() == {"new": 1}
    assert web("GET", "/health").json()["ok"]
    # If the first events were removed from the journal, a file of states is needed.
    web.service.journal.base.execute("INSERT INTO removed VALUES (3)")
    for file in tmp_path.glob("states-*"):
        file.unlink()
    with pytest.raises(example.StartError, match="no events up to number 3"):
        start()


def test_states_that_cannot_be_written_are_written_later(start, model, monkeypatch):
    web, events = start(states_every=10), [event(i) for i in range(20)]

    with monkeypatch.context() as patch:
        patch.setattr(web.service.scorer, "to_parquet", fail_on_a_full_disk)
        assert web.post(events[:12]).json() == {"new": 12}
        health = web("GET", "/health").json()
        assert health["last event"] == 12
        assert health["states up to"] == 0
        assert "No space" in health["problems"]["states"]
    assert web.post(events[12:]).json() == {"new": 8}
    health = web("GET", "/health").json()
    assert (health["ok"], health["states up to"]) == (True, 20)
    assert_has_read(start(), model[1], events)


@pytest.mark.parametrize("url", ["/events", "/score"])
@pytest.mark.parametrize("when", ["insert", "commit"])
def test_a_full_disk_refuses_events_and_nothing_else(start, model, url, when):
    web, events = start(), [event(i) for i in range(20)]
    web.post(events[:10])
    journal = web.service.journal
    # SQLite without room fails as on a full disk; a bad query as on a broken one.
    if when == "insert":
        journal.base.execute("PRAGMA max_page_count=1")
    else:
        journal.commit = lambda: journal.base.execute("SELECT * FROM no_table")
    large = event(10)
    large["fields"] |= {str(i): "x" * 1000 for i in range(20)}
    body = [large] if url == "/events" else large
    answer = web("POST", url, params=STATICS, json=body)
    assert answer.status_code == 503
    assert "nothing was" in answer.json()["reason"]
    assert "journal" in web("GET", "/health").json()["problems"]
    assert_has_read(web, model[1], events[:10])
    if when == "insert":
        journal.base.execute("PRAGMA max_page_count=100000")
    else:
        del journal.commit
    assert web("POST", url, params=STATICS, json=body).status_code == 200
    assert web.post(events[11:]).json() == {"new": 9}
    assert web("GET", "/health").json()["ok"]
    assert_has_read(start(), model[1], events)


def test_an_error_after_the_commit_reads_the_journal_again(start, model, monkeypatch):
    web, events = start(), [event(i) for i in range(20)]
    stream = type(next(iter(web.service.scorer._streams.values())))
    with monkeypatch.context() as patch:
        failing = iter([MemoryError()])
        take = stream.take

        def fail_once(self, arrivals):
            for error in failing:
                raise error
            take(self, arrivals)

        patch.setattr(stream, "take", fail_once)
        with pytest.raises(MemoryError):
            web.post(events)
    assert_has_read(web, model[1], events)
    assert web.post(events).json() == {"new": 0}


def test_states_of_a_log_come_before_the_first_event(
    start, example, model, tmp_path, monkeypatch
):
    put_states = sys.modules["event_journal"].put_states
    events = [event(i) for i in range(N_EVENTS)]
    scorer = example.StreamingScorer(model[1], "customer_id", "timestamp")
    scorer.update(log_of_events(events[:20]))
    put_states(tmp_path, scorer)
    web = start()
    web.post(events[20:30])
    assert_has_read(web, model[1], events[:30])
    # Again, from a log that includes the first five events of the journal.
    web.service.journal.close()
    for file in tmp_path.glob("states-*"):
        file.unlink()
    with pytest.raises(example.StartError, match="needs states"):
        start()
    scorer.update(log_of_events(events[20:25]))
    with pytest.raises(ValueError, match="must be from 0 to 10"):
        put_states(tmp_path, scorer, number=11)
    put_states(tmp_path, scorer, number=5)
    assert_has_read(start(), model[1], events[:30])


def test_customers_are_text(start, example, model, tmp_path):
    scorer = example.StreamingScorer(model[1], "customer_id", "timestamp")
    rows = [event(i)["fields"] | {"customer_id": i} for i in range(3)]
    scorer.update([row | {"timestamp": pd.Timestamp("2024-01-01")} for row in rows])
    sys.modules["event_journal"].put_states(tmp_path, scorer)
    with pytest.raises(example.StartError, match="customers to forget"):
        start()


def test_a_folder_that_is_missing(start, example, tmp_path):
    with pytest.raises(example.StartError, match="There is no folder"):
        start(tmp_path / "missing")


def test_only_one_process_uses_a_folder(start, example, tmp_path):
    start()
    with pytest.raises(example.StartError, match="Another process"):
        example.Journal(tmp_path)


# Damage and backups -------------------------------------------------------------------


def test_a_journal_older_than_the_states_is_noticed(start, example, model, tmp_path):
    web, events = start(states_every=10), [event(i) for i in range(30)]
    web.post(events[:10])
    older = tmp_path / "older.sqlite"
    web.service.journal.base.execute("VACUUM INTO ?", [str(older)])
    web.post(events[10:20])
    web.service.journal.close()
    shutil.copy(older, tmp_path / "journal.sqlite")
    with pytest.raises(example.StartError, match="Send later ones again") as caught:
        start()
    [newest] = [f for f in tmp_path.glob("states-*") if f.name in str(caught.value)]
    assert int(newest.name.split("-")[1]) == 20
    # The way out.
    newest.unlink()
    web = start()
    assert_has_read(web, model[1], events[:10])
    assert web.post(events[5:30]).json() == {"new": 20}
    assert_has_read(start(), model[1], events)


def test_a_copy_without_the_log_of_the_journal_is_noticed(start, example, tmp_path):
    web = start(states_every=10)
    web.post([event(i) for i in range(5)])
    web.service.journal.base.execute("PRAGMA wal_checkpoint")
    web.service.journal.base.execute("PRAGMA wal_autocheckpoint=0")
    copy = tmp_path / "copy"
    copy.mkdir()
    # As if the process were killed before SQLite merges its write-ahead log.
    journal = (tmp_path / "journal.sqlite").read_bytes()
    web.post([event(i) for i in range(5, 12)])
    for file in tmp_path.glob("states-*"):
        shutil.copy(file, copy)
    (copy / "journal.sqlite").write_bytes(journal)
    with pytest.raises(example.StartError, match="do not belong"):
        start(copy)


def test_a_backup_of_a_running_service_starts(start, model, tmp_path):
    web, events = start(states_every=10), [event(i) for i in range(30)]
    web.post(events[:10])
    web.post(events[10:15])
    sys.modules["event_journal"].back_up(tmp_path, tmp_path / "copy")
    web.post(events[15:])
    # Other processes may read the journal meanwhile, such as a nightly export.
    url = f"file:{tmp_path}/journal.sqlite?mode=ro"
    with closing(sqlite3.connect(url, uri=True)) as base:
        found = base.execute("SELECT number, id FROM events WHERE number > 25")
        assert found.fetchall() == [(i + 1, str(i)) for i in range(25, 30)]
    web = start(tmp_path / "copy")
    assert_has_read(web, model[1], events[:15])
    assert web.post(events).json() == {"new": 15}
    assert_has_read(web, model[1], events)


def test_states_may_be_replaced_during_a_backup(start, model, tmp_path, monkeypatch):
    web, events = start(states_every=10), [event(i) for i in range(40)]
    web.post_by(10, events[:30])
    journal, copied = sys.modules["event_journal"], []

    def copy_and_post(file, folder):
        copied.append(shutil.copyfile(file, folder / file.name))
        if len(copied) == 3:
            web.post(events[30:])

    monkeypatch.setattr(journal.shutil, "copy", copy_and_post)
    journal.back_up(tmp_path, tmp_path / "copy")
    monkeypatch.undo()
    assert states_in(tmp_path / "copy") == [20, 30]
    assert_has_read(start(tmp_path / "copy"), model[1], events)


def test_a_backup_without_any_states_is_refused(start, tmp_path, monkeypatch):
    web, events = start(states_every=1), [event(i) for i in range(20)]
    journal = sys.modules["event_journal"]
    monkeypatch.setattr(journal, "EVENTS_KEPT", 0)
    web.post_by(1, events[:5])

    def copy_and_post(file, folder):
        web.post_by(1, events[5:8])

    monkeypatch.setattr(journal.shutil, "copy", copy_and_post)
    with pytest.raises(journal.StartError, match="All states were replaced while"):
        journal.back_up(tmp_path, tmp_path / "copy")


@pytest.mark.parametrize("damage", ["half of the last page", "more pages of garbage"])
def test_a_torn_log_of_the_journal_loses_nothing_else(start, model, tmp_path, damage):
    web, events = start(), [event(i) for i in range(30)]
    web.post_by(1, events[:19])
    copy = tmp_path / "copy"
    copy.mkdir()
    wal = (tmp_path / "journal.sqlite-wal").read_bytes()
    web.post([events[19]])
    torn = (tmp_path / "journal.sqlite-wal").read_bytes()
    assert torn.startswith(wal)
    torn = torn[:-2000] if damage.startswith("half") else wal + torn[::-1]
    (copy / "journal.sqlite-wal").write_bytes(torn)
    shutil.copy(tmp_path / "journal.sqlite", copy)
    web = start(copy)
    assert_has_read(web, model[1], events[:19])
    assert web.post(events).json() == {"new": 11}
    assert_has_read(web, model[1], events)


def test_a_damaged_journal_is_refused(start, example, tmp_path):
    web = start()
    web.post([event(i) for i in range(N_EVENTS)])
    web.service.journal.close()
    path = tmp_path / "journal.sqlite"
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(example.StartError, match="restore the folder from a backup"):
        start()


# Forgetting ---------------------------------------------------------------------------


def forget(web, customer):
    return web("DELETE", "/customer", params={"customer": customer}).json()


def test_a_forgotten_customer_is_nowhere(start, model, tmp_path):
    web, events = start(states_every=10), [event(i) for i in range(N_EVENTS)]
    gone = [event(i, customer="Mrs/Gone", id=f"x{i}") for i in range(N_EVENTS)]
    for first in range(0, 30, 5):
        web.post(events[first : first + 5] + gone[first : first + 5])
    assert b"Mrs/Gone" in b"".join(f.read_bytes() for f in tmp_path.iterdir())
    answer = forget(web, "Mrs/Gone")
    assert (answer["events"], answer["ok"]) == (30, True)
    assert forget(web, "Mrs/Gone")["events"] == 0
    assert b"Mrs/Gone" not in b"".join(f.read_bytes() for f in tmp_path.iterdir())
    assert web.score("Mrs/Gone") == web.score("unknown")
    web = start(states_every=10)
    assert web.score("Mrs/Gone") == web.score("unknown")
    assert_has_read(web, model[1], events[:30])
    # A forgotten customer is treated as new, and may have older events.
    assert web.post([gone[0]]).json() == {"new": 1}
    assert web.post(events).json() == {"new": 10}
    score = web.score("Mrs/Gone")
    assert score != web.score("unknown")
    web = start()
    assert web.score("Mrs/Gone") == pytest.approx(score, abs=1e-6)
    assert_has_read(web, model[1], events)


def test_forgotten_though_states_cannot_be_written(start, model, monkeypatch):
    web, events = start(states_every=10), [event(i) for i in range(30)]
    web.post(events)

    with monkeypatch.context() as patch:
        patch.setattr(web.service.scorer, "to_parquet", fail_on_a_full_disk)
        answer = forget(web, "c0")
        assert (answer["events"], answer["ok"]) == (6, False)
    nobody = web.score("unknown")
    assert web.score("c0") == nobody
    web = start(states_every=10)  # its states still have the customer
    assert web.score("c0") == nobody
    assert web.post(events[:1]).json() == {"new": 1}
    web.post([event(i, customer="c1") for i in range(30, 40)])
    assert web.service.journal.forgotten_since(0) == []


# Processes ----------------------------------------------------------------------------


def process_of(path, folder):
    """The service in a process of its own, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, EXAMPLES / "serve_scores.py", path, folder, port]
    process = subprocess.Popen(list(map(str, command)))
    url = f"http://127.0.0.1:{port}"
    while process.poll() is None:
        try:
            httpx.get(f"{url}/health")
            return process, url
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the service did not start")


@contextmanager
def killed_after(path, folder):
    """Requests to a service that is killed in the end."""
    process, url = process_of(path, folder)
    try:
        with httpx.Client(base_url=url) as web:
            yield web
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_killed_it_has_lost_nothing_that_it_acknowledged(start, model, tmp_path):
    events = [event(i) for i in range(20)]
    with killed_after(model[0], tmp_path) as web:
        for one in events:
            web.post("/score", params=STATICS, json=one).raise_for_status()
    web = start()
    assert_has_read(web, model[1], events)
    assert web.post(events).json() == {"new": 0}
