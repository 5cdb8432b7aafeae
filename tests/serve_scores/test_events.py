"""Events that the service accepts or refuses, and scores of them."""

import json
import tempfile
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.serve_scores.service import (
    CUTOFF,
    N_EVENTS,
    STATICS,
    Web,
    assert_has_read,
    event,
    scores_of,
    states_in,
)


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
