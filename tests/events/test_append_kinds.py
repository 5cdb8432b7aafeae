"""Append to a log of several kinds, each with fields of its own."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import churned
from tests.logs import log_of_table

ORDERS = pd.DataFrame(
    {"who": ["a", "b"], "day": [1, 2], "price": [5.0, 8.0], "shop": ["n", "s"]}
)
RETURNS = pd.DataFrame({"who": ["a"], "day": [3], "price": [5.0], "reason": ["size"]})
NEW_ORDERS = pd.DataFrame(
    {"who": ["b", "c"], "day": [9, 8], "price": [1.0, 2.0], "shop": ["n", "w"]}
)
NEW_RETURNS = pd.DataFrame(
    {"who": ["b"], "day": [9], "price": [8.0], "reason": ["fit"]}
)
KINDS = {"order": ["price", "shop"], "return": ["price", "reason"]}


def merged(orders=ORDERS, returns=RETURNS, **options):
    return EventLog.concat(
        {"order": log_of_table(orders), "return": log_of_table(returns)}, **options
    )


def whole():
    """The log of all events from the beginning."""
    return merged(
        pd.concat([ORDERS, NEW_ORDERS]), pd.concat([RETURNS, NEW_RETURNS])
    ).to_frame()


@pytest.mark.parametrize(
    "travelled",
    [
        lambda log, path: log,
        lambda log, path: pickle.loads(pickle.dumps(log)),
        lambda log, path: (log.to_parquet(path), EventLog.from_parquet(path))[1],
        lambda log, path: log.subset(np.arange(2)),
        lambda log, path: log.only("order", "return"),
        lambda log, path: log.only(["order", "return"]),
        lambda log, path: log.append(NEW_ORDERS[:0].assign(event="order")),
    ],
)
@pytest.mark.parametrize("wrap", [lambda table: table, log_of_table])
def test_tables_by_kind_equal_the_log_of_everything(tmp_path, travelled, wrap):
    log = travelled(merged(), tmp_path / "log.parquet")
    assert log.kinds == KINDS
    joint = log.append({"order": wrap(NEW_ORDERS), "return": wrap(NEW_RETURNS)})
    pd.testing.assert_frame_equal(joint.to_frame(), whole())
    assert joint.kinds == KINDS


def test_histories_of_two_such_logs_keep_the_kinds():
    rows = pd.DataFrame({"who": ["a", "b"]})
    logs = [merged(), merged()]
    stacked = pd.concat([log.attach(rows) for log in logs])["history"].array.log
    assert stacked.kinds == KINDS


def test_a_log_of_one_kind_takes_that_kind():
    log = merged().only("return")
    assert log.kinds == {"return": ["price", "reason"]}
    assert len(log.append({"return": NEW_RETURNS})) == 2


def test_a_log_without_kinds_says_so():
    assert log_of_table(ORDERS).kinds == {}


@pytest.mark.parametrize("wrap", [lambda table: table, log_of_table])
def test_one_table_of_all_kinds_is_blanked(wrap):
    """As exported from a warehouse, where a join filled fields of other kinds."""
    both = pd.concat(
        [NEW_ORDERS.assign(event="order"), NEW_RETURNS.assign(event="return")]
    )
    filled = both.fillna({"shop": "n", "reason": "size"})
    for table in (both, filled):
        joint = merged().append(wrap(table))
        pd.testing.assert_frame_equal(joint.to_frame(), whole())


def test_one_table_needs_the_fields_of_its_kinds_only():
    joint = merged().append(NEW_RETURNS.assign(event="return", event_id="x"))
    expected = merged(returns=pd.concat([RETURNS, NEW_RETURNS]))
    pd.testing.assert_frame_equal(joint.to_frame(), expected.to_frame())


def test_ties_in_one_table_keep_their_order():
    table = pd.concat(
        [
            NEW_RETURNS.assign(event="return"),
            NEW_ORDERS.assign(event="order", who="b", day=9),
            NEW_RETURNS.assign(event="return", reason="late"),
        ]
    )
    frame = merged().append(table).to_frame()
    assert frame["event"][-4:].tolist() == ["return", "order", "order", "return"]
    tables = {"return": NEW_RETURNS, "order": NEW_ORDERS.assign(who="b", day=9)}
    frame = merged().append(tables).to_frame()
    assert frame["event"][-3:].tolist() == ["return", "order", "order"]


def test_columns_that_a_kind_does_not_have_are_not_read():
    joint = merged().append(
        {"order": NEW_ORDERS.assign(reason="size", colour=1), "return": NEW_RETURNS}
    )
    pd.testing.assert_frame_equal(joint.to_frame(), whole())


# --- New kinds --------------------------------------------------------------------

CALLS = pd.DataFrame({"who": ["a"], "day": [7], "minutes": [4.5], "price": [0.0]})


def test_a_new_kind_is_refused_unless_asked_for():
    log = merged()
    text = (
        "The log has no events of the kind 'call'; field 'event' has ['order', "
        "'return']. new_kinds=True adds the kind."
    )
    for more in ({"call": CALLS}, CALLS.assign(event="call")):
        with pytest.raises(ValueError, match=re.escape(text)):
            log.append(more)
    joint = log.append({"call": CALLS}, new_kinds=True)
    assert joint.kinds == {**KINDS, "call": ["minutes", "price"]}
    expected = EventLog.concat(
        {
            "order": log_of_table(ORDERS),
            "return": log_of_table(RETURNS),
            "call": log_of_table(CALLS),
        }
    )
    pd.testing.assert_frame_equal(joint.to_frame(), expected.to_frame())
    one_table = log.append(CALLS.assign(event="call"), new_kinds=True)
    assert one_table.kinds == {**KINDS, "call": ["price"]}
    assert one_table.only("call").to_frame()["price"].tolist() == [0.0]


@pytest.mark.parametrize("name", ["who", "day"])
def test_a_new_kind_has_no_field_called_like_a_key(name):
    """It would replace the keys of a log with other names."""
    calls = pd.DataFrame({"customer": ["a"], "time": [31], name: [99.0]})
    calls = EventLog(calls, "customer", "time")
    text = (
        f"The log of kind 'call' has fields [{name!r}], which are names of the "
        "customer or time column in the {}; rename them."
    )
    with pytest.raises(ValueError, match=re.escape(text.format("log"))):
        merged().append({"call": calls}, new_kinds=True)
    with pytest.raises(ValueError, match=re.escape(text.format("first log"))):
        EventLog.concat({"order": log_of_table(ORDERS), "call": calls})


def test_a_blanked_field_keeps_no_level_of_its_own():
    joint = merged().append(NEW_ORDERS.assign(event="order", reason="FUTURE"))
    assert joint.column("reason").categories.tolist() == ["size"]


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        (
            NEW_ORDERS, KeyError,
            "more has no column 'event', which holds the kinds of this log; it "
            "has ['price', 'shop']. Or give a dict of a table for each kind: "
            "{'order': table}.",
        ),
        (
            NEW_ORDERS.drop(columns="shop").assign(event="order"), KeyError,
            "more has events of the kind 'order', but no columns ['shop'], which that "
            "kind has in the log; it has ['price', 'event'].",
        ),
        (
            {"order": NEW_ORDERS.drop(columns="shop")}, KeyError,
            "more['order'] has no columns ['shop'] for fields; it has ['who', 'day', "
            "'price'].",
        ),
        (
            {"order": log_of_table(NEW_ORDERS, fields=["price"])}, KeyError,
            "more['order'] has no columns ['shop'] for fields; it has ['price'].",
        ),
        (
            {"order": [1]}, TypeError,
            "more['order'] must be a pandas, polars or pyarrow table",
        ),
        (
            NEW_ORDERS.assign(event=["order", None]), ValueError,
            "more has 1 events without a kind in column 'event'; drop or fill them.",
        ),
        (
            {"order": NEW_ORDERS.assign(price="dear")}, ValueError,
            "Field 'price' has the types {'the log': 'numeric', \"more['order']\": "
            "'categorical'}",
        ),
        ({1: NEW_ORDERS}, TypeError, "The kinds of events must be text; got 1."),
    ],
)  # fmt: skip
def test_bad_tables_of_kinds(more, error, text):
    with pytest.raises(error) as caught:
        merged().append(more)
    assert text in str(caught.value.args[0])


# --- The record -------------------------------------------------------------------


def test_observation_ends_with_the_kind_that_ends_first():
    log = merged(observed_until=3)
    both = {"order": NEW_ORDERS, "return": NEW_RETURNS.assign(day=8)}
    assert log.append(both).observed_until == 8
    # Nobody has said that there were no returns meanwhile.
    assert log.append({"order": NEW_ORDERS}).observed_until == 3
    assert log.append({**both, "return": RETURNS[:0]}).observed_until == 3
    assert log.append({"order": NEW_ORDERS}, observed_until=9).observed_until == 9
    told = {"order": NEW_ORDERS, "return": log_of_table(NEW_RETURNS, observed_until=30)}
    assert log.append(told).observed_until == 9
    # As in concat, some kinds may be recorded for longer than all.
    assert log.append(both, observed_until=5).observed_until == 5


def both_ways(log, orders, returns):
    """Append by kind, and as one table."""
    table = pd.concat([orders.assign(event="order"), returns.assign(event="return")])
    return log.append({"order": orders, "return": returns}), log.append(table)


def test_both_ways_to_append_observe_the_same():
    log = merged(observed_until=3)
    for returns in (NEW_RETURNS.assign(day=8), NEW_RETURNS[:0]):
        one, other = both_ways(log, NEW_ORDERS, returns)
        assert one.timeline.observation == other.timeline.observation
        assert one.observed_until == (8 if len(returns) else 3)
        assert one.timeline.observation.limited_by == "return"
        # Whether there were later returns is unknown.
        with pytest.raises(
            ValueError,
            match=r"of kind 'return'.*observed_until=\.\.\. to EventLog",
        ):
            churned(one.snapshots([8]), 5, kinds=["order", "return"])


def test_an_appended_log_of_all_kinds_gives_their_observation():
    more = merged(NEW_ORDERS, NEW_RETURNS.assign(day=8), observed_until=30)
    joint = merged(observed_until=3).append(more)
    assert joint.observed_until == 30
    assert joint.timeline.observation.limited_by is None


def test_no_kind_limits_observation_if_all_end_together():
    log = merged(observed_until=3)
    day = NEW_ORDERS["day"].max()
    for joint in both_ways(log, NEW_ORDERS, NEW_RETURNS.assign(day=day)):
        assert joint.observed_until == day
        assert joint.timeline.observation.limited_by is None


def test_a_day_appended_twice_counts_by_kind():
    log = merged()
    again = ORDERS.drop(columns="shop").assign(reason="size")
    assert len(log.append({"return": again})) == 5
    assert (
        len(log.append({"order": ORDERS, "return": NEW_RETURNS}, duplicates="drop"))
        == 4
    )


def test_observation_given_by_the_user_stays():
    """Later events of one kind do not extend the observation of all kinds."""
    log = merged(RETURNS.assign(shop="n").drop(columns="reason"), observed_until=1)
    assert log.append({"order": NEW_ORDERS}).observed_until == 1
    assert log.append({"order": NEW_ORDERS[:0]}).observed_until == 1


def test_a_pickled_history_does_not_name_the_kinds_of_the_future():
    later = log_of_table(pd.DataFrame({"who": ["a"], "day": [29], "why": [1.0]}))
    log = EventLog.concat(
        {"order": log_of_table(ORDERS), "secret": later}, observed_until=29
    )
    history = log.snapshots([5])["history"][0]
    assert b"secret" not in pickle.dumps(history)
    assert b"secret" in pickle.dumps(log.snapshots([5])["history"])
