"""Events of several kinds, each with its own fields."""

import functools

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer

DAY = pd.Timestamp("2024-01-01")
ORDERS = pd.DataFrame(
    {
        "who": list("abcab"),
        "when": DAY + pd.to_timedelta([0, 1, 1, 5, 6], "D"),
        "price": [5.0, 7.5, None, 2.0, 9.0],
        "shop": ["x", "y", "x", None, "y"],
        "note": ["p", "q", "p", "q", "p"],
    }
)
RETURNS = pd.DataFrame(
    {
        "who": list("aab"),
        "when": DAY + pd.to_timedelta([2, 5, 7], "D"),
        "reason": ["late", "size", "late"],
        "note": ["r", None, "p"],
    }
)
PARTS = {"order": ORDERS, "return": RETURNS}
PEOPLE = pd.DataFrame({"who": list("abcd")})
AFTER = DAY + pd.Timedelta("30D")
EXACT = {"rtol": 1e-5, "atol": 1e-5}


def merged(parts):
    logs = {
        kind: EventLog(part, "who", "when", observed_until=AFTER)
        for kind, part in parts.items()
    }
    return EventLog.concat(logs)


@functools.cache
def model():
    estimator = LSTMClassifier(
        hidden_size=4, head_sizes=(4,), max_epochs=1, random_state=0, n_networks=1
    )
    X = merged(PARTS).attach(PEOPLE, cutoff=AFTER)
    return make_history_pipeline(estimator).fit(X, [0, 1, 0, 1])


def new_scorer(model_=None):
    return StreamingScorer(model_ or model(), "who", "when")


def expected():
    return model().predict_proba(merged(PARTS).attach(PEOPLE, cutoff=AFTER))


def in_order(parts=PARTS):
    """All events as mappings with the fields of their kinds, in the order of a log."""
    events = [
        {**{k: None if pd.isna(v) else v for k, v in row.items()}, "event": kind}
        for kind, part in parts.items()
        for row in part.to_dict("records")
    ]
    return sorted(events, key=lambda event: event["when"])


def as_log(part):
    return EventLog(part, "who", "when")


@pytest.mark.parametrize(
    "make", [pd.DataFrame, pl.from_pandas, pa.Table.from_pandas, as_log, "records"]
)
def test_a_dict_by_kind_equals_append(make):
    scorer = new_scorer()
    if make == "records":
        parts = {kind: [e for e in in_order() if e["event"] == kind] for kind in PARTS}
    else:
        parts = {kind: make(part) for kind, part in PARTS.items()}
    assert scorer.update(parts) == 8
    assert_allclose(scorer.predict_proba(PEOPLE, AFTER), expected(), **EXACT)
    assert scorer.update({"order": ORDERS.iloc[:0], "return": []}) == 0
    assert scorer.update({}) == 0


def test_one_kind_at_a_time():
    """Kinds arrive in tables without columns of other kinds, and singly."""
    scorer, live = new_scorer(), new_scorer()
    for event in in_order():
        if event["who"] == "a" and event["event"] == "return":
            scorer.update(pd.DataFrame([event]).astype({"reason": object}))
        else:
            scorer.update({event["event"]: pd.DataFrame([event])})
        live.score_one(event["who"], event, None, AFTER)
    for one in (scorer, live):
        assert_allclose(one.predict_proba(PEOPLE, AFTER), expected(), **EXACT)


def test_fields_that_a_kind_does_not_have_are_ignored():
    """A table of all kinds, a list of events with more fields, and a whole log."""
    for events in (
        [{**e, "price": "no"} if e["event"] == "return" else e for e in in_order()],
        pd.DataFrame([{"price": "no", "reason": 7, **e} for e in in_order()]),
        merged(PARTS),
    ):
        scorer = new_scorer()
        assert scorer.update(events) == 8
        assert_allclose(scorer.predict_proba(PEOPLE, AFTER), expected(), **EXACT)
    event = {**in_order()[0], "reason": ["no"]}
    new_scorer().score_one("a", event, None, AFTER)
    typed = pd.DataFrame(in_order()).assign(price=3.0)
    all_prices, own_prices = new_scorer(), new_scorer()
    all_prices.update(typed)
    own_prices.update({k: p.assign(price=3.0) for k, p in PARTS.items()})
    assert_allclose(
        all_prices.predict_proba(PEOPLE, AFTER),
        own_prices.predict_proba(PEOPLE, AFTER),
        **EXACT,
    )


def test_invalid_events_by_kind_are_refused():
    scorer, order = new_scorer(), in_order()[0]
    without = {k: v for k, v in order.items() if k != "price"}
    nameless = {k: v for k, v in order.items() if k != "event"}
    for event, error, message in (
        (without, KeyError, r"\['price'\]"),
        (nameless, KeyError, r"\['event'\]"),
        ({**order, "event": None}, ValueError, "no kind in 'event'"),
        ({**order, "event": 3}, TypeError, "'event' has the value 3"),
        (
            {**order, "event": "ordr"},
            KeyError,
            r"kind 'ordr' is unknown; known are \['order', 'return'\].*\['reason'\]",
        ),
    ):
        table = pd.DataFrame([event]).astype(object)
        for read in (
            lambda event=event: scorer.score_one("a", event, None, AFTER),
            lambda event=event: scorer.update([event]),
            lambda table=table: scorer.update(table),
        ):
            with pytest.raises(error, match=message):
                read()
    with pytest.raises(KeyError, match=r"the kind 'order', but lacks \['price"):
        scorer.update({"order": ORDERS.drop(columns="price"), "return": RETURNS})
    with pytest.raises(KeyError, match=r"lacks.*'event'.*each kind, {'order': .*}"):
        scorer.update(ORDERS)
    with pytest.raises(TypeError, match="'event' has the value 3"):
        scorer.update({3: ORDERS})
    assert scorer.n_customers == {"history": 0}


def test_an_event_of_another_customer_is_not_scored():
    scorer, order = new_scorer(), in_order()[0]
    with pytest.raises(ValueError, match=r"event\['who'\] is 'a', but .* is 'b'"):
        scorer.score_one("b", order, None, AFTER)
    assert scorer.n_customers == {"history": 0}
    scorer.score_one("a", order, None, AFTER)
    assert scorer.n_customers == {"history": 1}


def test_messages_about_one_customer_are_plural():
    scorer = new_scorer()
    scorer.update(in_order())
    with pytest.raises(TypeError, match=r"^customers are of the type int"):
        scorer.score_one(7, None, None, AFTER)
    with pytest.raises(ValueError, match=r"^cutoffs (are|hold) "):
        scorer.score_one("a", None, None, AFTER.tz_localize("UTC"))


def test_a_log_without_kinds_refuses_a_dict_by_kind():
    X = as_log(ORDERS).attach(PEOPLE)
    estimator = LSTMClassifier(
        hidden_size=4, max_epochs=1, random_state=0, n_networks=1
    )
    other = make_history_pipeline(estimator).fit(X, np.arange(4) % 2)
    with pytest.raises(TypeError, match=r"has no kinds.*update\(\[event\]\)"):
        new_scorer(other).update(PARTS)


def test_a_new_kind_needs_all_fields():
    visit = {**in_order()[0], "event": "visit", "reason": None}
    live, table = new_scorer(), new_scorer()
    live.score_one("a", visit, None, AFTER)
    table.update([visit])
    assert_allclose(
        live.predict_proba(PEOPLE, AFTER), table.predict_proba(PEOPLE, AFTER), **EXACT
    )
