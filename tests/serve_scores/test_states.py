"""Files of states, and the journal of events."""

import sys

import pandas as pd
import pytest

from tests.serve_scores.service import (
    N_EVENTS,
    STATICS,
    assert_has_read,
    event,
    fail_on_a_full_disk,
    log_of_events,
    states_in,
)


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


def test_states_that_a_start_would_not_load(start, example, model, tmp_path):
    """Of two files with one number, a start loaded either."""
    put_states = sys.modules["event_journal"].put_states
    events = [event(i) for i in range(10)]
    scorer = example.StreamingScorer(model[1], "customer_id", "timestamp")
    put_states(tmp_path, scorer)
    scorer.update(log_of_events(events))
    with pytest.raises(ValueError, match=r"up to event 0 already.* Move"):
        put_states(tmp_path, scorer)
    web = start(states_every=5)
    web.post_by(5, events)
    web.service.journal.close()
    with pytest.raises(ValueError, match="has states up to event 10 already"):
        put_states(tmp_path, scorer, number=9)
    assert states_in(tmp_path) == [0, 5, 10]
    for file in tmp_path.glob("states-*"):
        file.unlink()
    put_states(tmp_path, scorer, number=10)
    assert_has_read(start(), model[1], events)


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
