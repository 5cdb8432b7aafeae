"""Targets and RFM features warn if events of several merged kinds count."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.targets import (
    churned,
    future_count,
    future_sum,
    next_value,
    time_to_next,
)
from tests.logs import log_of_table

ORDERS = pd.DataFrame({"who": list("aab"), "time": [1, 8, 2], "value": [5.0, 7.0, 3.0]})
SENT = pd.DataFrame({"who": list("aabb"), "time": [4, 6, 4, 6], "tone": list("xyxy")})


def merged_rows(**options):
    logs = {"order": log_of_table(ORDERS), "newsletter": log_of_table(SENT)}
    return EventLog.concat(logs, observed_until=20, **options).snapshots([3, 5])


TARGETS = {
    "churned": lambda X, **options: churned(X, 2, **options),
    "churned on two horizons": lambda X, **options: churned(X, [2, 4], **options),
    "future_count": lambda X, **options: future_count(X, 2, **options),
    "next_value": lambda X, **options: next_value(X, "value", 2, **options),
    "time_to_next": lambda X, **options: time_to_next(X, 2, **options),
    "RFMFeatures": lambda X, **options: RFMFeatures(**options).fit(X),
    "RFMFeatures in a pipeline": lambda X, **options: make_pipeline(
        RFMFeatures(**options), DummyClassifier()
    ).fit(X, np.zeros(len(X))),
    "RFMFeatures for BTYD": lambda X, **options: RFMFeatures(
        dialect="btyd", **options
    ).fit(X),
}


@pytest.mark.parametrize("name", TARGETS)
def test_one_warning_if_several_kinds_count(name):
    target, X = TARGETS[name], merged_rows()
    says = rf"^{name.split()[0]} .* all kinds, \['order', 'newsletter'\].*kinds='order'"
    with pytest.warns(UserWarning, match=says) as caught:
        target(X)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    # Warnings are errors: none with kinds, all of them or one.
    target(X, kinds="order")
    target(X, kinds=["order", "newsletter"])


def test_the_warning_names_another_field_of_the_kinds():
    X = merged_rows(kind_field="what")
    with pytest.warns(UserWarning, match="kinds='order', kind_field='what'"):
        churned(X, 2)
    assert churned(X, 2, kinds="order", kind_field="what").tolist() == [1, 1, 1, 1]


def test_no_warning_where_only_one_kind_can_count():
    X = merged_rows()
    assert future_sum(X, "value", 6).tolist() == [7, 0, 7, 0]
    assert next_value(X, "event", 2).tolist() == ["newsletter"] * 4
    # A field of one table is not known to be a kind.
    one_table = log_of_table(ORDERS.assign(event=["order", "visit", "order"]))
    assert churned(one_table.snapshots([3]), 4).tolist() == [1, 1]
    orders = EventLog.concat({"order": log_of_table(ORDERS)})
    assert churned(orders.snapshots([3]), 4).tolist() == [1, 1]
    both = EventLog.concat(
        {"order": log_of_table(ORDERS), "newsletter": log_of_table(SENT)}
    )
    assert churned(both.only("order").snapshots([3]), 2).tolist() == [1, 1]


def test_a_sum_over_a_field_of_two_kinds_warns():
    logs = {"order": log_of_table(ORDERS), "refund": log_of_table(ORDERS)}
    X = EventLog.concat(logs).snapshots([3])
    with pytest.warns(UserWarning, match="future_sum adds 'value' of events of all"):
        total = future_sum(X, "value", 5, kinds=None)
    assert total.tolist() == [0, 0]


def test_only_chosen_kinds_make_a_customer_known():
    log = EventLog.concat(
        {"order": log_of_table(ORDERS), "newsletter": log_of_table(SENT)},
        observed_until=20,
    )
    X = log.snapshots([3, 9], active_within=5)
    of_orders = log.snapshots([3, 9], active_within=5, kinds="order")
    assert X[["who", "cutoff"]].to_numpy().tolist() == [
        ["a", 3],
        ["b", 3],
        ["a", 9],
        ["b", 9],
    ]
    # The last order of b is 7 before the cutoff at 9; the history has all kinds.
    assert of_orders[["who", "cutoff"]].to_numpy().tolist() == [
        ["a", 3],
        ["b", 3],
        ["a", 9],
    ]
    assert of_orders["history"].array.lengths.tolist() == [1, 1, 4]
    every = log.snapshots_every(6, start=3, end=9, active_within=5, kinds="order")
    pd.testing.assert_frame_equal(every, of_orders)


def test_filters_of_kinds_equal_a_loop():
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "who": rng.choice(list("abcdef"), 60),
            "time": rng.integers(0, 30, 60),
            "event": rng.choice(["order", "visit", "mail"], 60),
        }
    )
    log = log_of_table(events)
    kept = {"min_events": 2, "active_within": 6, "kinds": ["order", "visit"]}
    for X, drawn in (
        (log.snapshots([5, 12, 20, 28], **kept), log.snapshots([5, 12, 20, 28])),
        (
            log.snapshots_at_random(random_state=0, **kept),
            log.snapshots_at_random(random_state=0),
        ),
    ):
        expected = []
        for who, cutoff in zip(drawn["who"], drawn["cutoff"], strict=True):
            own = events[(events["who"] == who) & (events["time"] < cutoff)]
            times = own.loc[own["event"] != "mail", "time"]
            if len(times) >= 2 and cutoff - times.max() <= 6:
                expected.append([who, cutoff])
        assert X[["who", "cutoff"]].to_numpy().tolist() == expected
        assert 0 < len(expected) < len(drawn)


def test_a_kind_without_events_makes_no_row():
    events = ORDERS.assign(event=pd.Categorical(["visit"] * 3, ["visit", "order"]))
    log = log_of_table(events)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X = log.snapshots([9], active_within=3, kinds=["visit"])
    assert X["who"].tolist() == ["a"]
    with pytest.raises(ValueError, match=r"no events of the kinds \['mail'\]"):
        log.snapshots([9], kinds="mail")
    with pytest.raises(KeyError, match="no field 'what'"):
        log.snapshots([9], kinds="order", kind_field="what")


def test_a_merged_kind_of_other_customers_in_a_file(tmp_path):
    """A part of the customers may have no event of a kind that the log has."""
    orders, returns = log_of_table(ORDERS), log_of_table(SENT[SENT["who"] == "b"])
    log = EventLog.concat({"order": orders, "return": returns}, observed_until=20)
    log.for_customers(["a"]).to_parquet(tmp_path / "a.parquet")
    part = EventLog.from_parquet(tmp_path / "a.parquet")
    X = part.snapshots([5], kinds=["order", "return"])
    assert churned(X, 5, kinds="return").tolist() == [1]
    assert future_count(X, 5, kinds=["order", "return"]).tolist() == [1]
