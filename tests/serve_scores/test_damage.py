"""Damaged files, backups, forgotten customers and a killed process."""

import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import pytest

from tests.serve_scores.service import (
    EXAMPLES,
    N_EVENTS,
    STATICS,
    assert_has_read,
    event,
    fail_on_a_full_disk,
    states_in,
)

httpx = pytest.importorskip("httpx")

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
    # The error names this way out.
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
    """Start the service in a separate process; return the process and its address."""
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
    """Yield a client of a service, and kill the service at the end."""
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
