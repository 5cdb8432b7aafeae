"""A value has the same effect singly, in a list and in a table, or is refused."""

import functools
import itertools
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.base import clone

from sklearn_seqcrm._store import Column, FieldSchema
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from sklearn_seqcrm.serving._streaming._field_readers import reader_of

N = 12
DAY = pd.Timestamp("2024-01-01")
EVENTS = pd.DataFrame(
    {
        "who": list("abcd") * 3,
        "when": DAY + pd.to_timedelta(np.arange(N), "D"),
        "amount": np.arange(N) / 4,
        "paid": np.arange(N) % 3 == 0,
        "shop": ["x", "y", None] * 4,
        "code": [3, 5, 2**53 + 1] * 4,
        "gift": pd.Categorical([True, False] * 6),
        "due": DAY + pd.to_timedelta(np.arange(N) % 5, "D"),
        "text": [[0.5, float(i)] for i in range(N)],
    }
)
PLAIN = {
    "amount": 1.0,
    "paid": True,
    "shop": "x",
    "code": 3,
    "gift": True,
    "due": None,
    "text": [0.0, 1.0],
}
AFTER = DAY + pd.Timedelta("99D")


@functools.cache
def model():
    levels = ["shop", "code", "gift"]
    log = EventLog(EVENTS, "who", "when", observed_until=AFTER, categorical=levels)
    X = log.attach(pd.DataFrame({"who": list("abcd")}), cutoff=AFTER)
    estimator = LSTMClassifier(
        hidden_size=4, head_sizes=(4,), max_epochs=1, random_state=0, n_networks=1
    )
    return make_history_pipeline(estimator).fit(X, [0, 1, 0, 1])


def new_scorer():
    return StreamingScorer(model(), "who", "when")


@functools.cache
def some_scorers():
    return [new_scorer() for _ in range(3)]


def empty_scorers():
    """Return three scorers without customers, faster than three new ones."""
    for one in some_scorers():
        one.forget(["a"])
    return some_scorers()


def is_taken(read, *args):
    try:
        read(*args)
    except (TypeError, ValueError):
        return False
    return True


def state_of(scorer):
    """Return the state of the only customer, or the start state, as numbers."""
    [record] = scorer._streams["history"].states.at(np.array([-1]))
    if scorer.n_customers["history"]:
        [record] = scorer._streams["history"].states.to_arrays()[1]
    numbers = [np.ravel(record[name]).astype("float64") for name in record.dtype.names]
    return np.concatenate(numbers)


# Laws ---------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 2, 3, 5, 2**53 + 1, 10**30, -(10**400)])
    | st.floats()
    | st.sampled_from([3.0, 2.0**53, 1e300])
    | st.text(max_size=3)
    | st.sampled_from(["x", "y", "3", "True", "nan", "2024-01-01", "\ud800"])
)
VECTORS = st.lists(st.none() | st.booleans() | st.integers() | st.floats(), max_size=3)
JSON = (
    SCALARS
    | VECTORS
    | st.recursive(
        SCALARS,
        lambda one: (
            st.lists(one, max_size=3)
            | st.dictionaries(st.text(max_size=2), one, max_size=2)
        ),
        max_leaves=4,
    )
)
EVENT = st.fixed_dictionaries(
    {name: st.just(value) | JSON for name, value in PLAIN.items()}
)


def with_keys(events):
    """Return events of one customer, a day apart, with times as text."""
    return [
        {"who": "a", "when": str(DAY + pd.Timedelta(i, "D")), **event}
        for i, event in enumerate(events)
    ]


@settings(max_examples=12)
@given(st.lists(EVENT, min_size=1, max_size=4))
@example([PLAIN, {**PLAIN, "amount": True}, {**PLAIN, "amount": 2.5}])
@example([PLAIN, {**PLAIN, "paid": 1}])
@example([PLAIN, {**PLAIN, "code": True}])
@example([PLAIN, {**PLAIN, "gift": 1}])
@example([PLAIN, {**PLAIN, "code": 2.0**53}, {**PLAIN, "code": float("inf")}])
@example([PLAIN, {**PLAIN, "amount": 10**400}])
@example([PLAIN, {**PLAIN, "text": ["1", True]}, {**PLAIN, "text": [1, 2.5]}])
def test_events_accepted_one_by_one_are_accepted_in_a_table(events):
    """A restarted service reads all events that it has acknowledged, and no others."""
    (alone, other, table), taken = empty_scorers(), []
    for event in with_keys(events):
        is_fine = is_taken(alone.score_one, "a", event, None, AFTER)
        other.forget(["a"])
        assert is_taken(other.update, [event]) == is_fine
        taken += [event] * is_fine
    other.forget(["a"])
    whole = is_taken(other.update, with_keys(events))
    assert whole == (len(taken) == len(events))
    other.forget(["a"])
    assert other.update(taken) == len(taken)
    # Sums of float32, added up in other orders.
    assert_allclose(state_of(other), state_of(alone), rtol=1e-5, atol=1e-5)
    if not any(is_large(event["code"]) for event in taken):
        assert table.update(pd.DataFrame(taken)) == len(taken)
        assert_allclose(state_of(table), state_of(alone), rtol=1e-5, atol=1e-5)


def is_large(code):
    """Return whether pandas would round it to a float beside None."""
    return type(code) is int and abs(code) >= 2**53


# Values -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("amount", [True, 1, 1.0, np.float32(1), Decimal(1), np.True_]),
        ("paid", [True, 1, 1.0]),
        ("code", [3, 3.0, Decimal(3), np.int8(3)]),
        ("shop", ["x", np.str_("x")]),
        ("gift", [True, np.True_]),
        (
            "due",
            [DAY, DAY.to_pydatetime(), DAY.date(), DAY.asm8, DAY.tz_localize("UTC")],
        ),
        ("text", [[1.0, 0.5], (1, 0.5), np.array([1, 0.5]), [True, 0.5]]),
        ("amount", [None, np.nan, pd.NA, pd.NaT, Decimal("nan")]),
        ("shop", [None, np.nan, pd.NA, pd.NaT]),
        ("text", [None, np.nan, [None, None], [np.nan, np.nan]]),
    ],
)
def test_equal_values_of_several_types_give_one_state(field, values):
    """Singly, in a table of one type and in a column of objects."""
    states = []
    for value in values:
        [event] = with_keys([{**PLAIN, field: value}])
        alone, table = new_scorer(), new_scorer()
        alone.score_one("a", event, None, AFTER)
        table.update(pd.DataFrame([event]))
        states += [state_of(alone), state_of(table)]
    for state in states[1:]:
        assert_allclose(state, states[0], rtol=1e-6, atol=1e-7)
    events = with_keys({**PLAIN, field: value} for value in values)
    mixed = pd.DataFrame(events)
    mixed[field] = pd.Series(values, dtype=object)
    first = pd.DataFrame(with_keys([{**PLAIN, field: values[0]}] * len(values)))
    together, same = new_scorer(), new_scorer()
    together.update(mixed), same.update(first)
    assert_allclose(state_of(together), state_of(same), rtol=1e-6, atol=1e-7)


REFUSED = [
    ("amount", "3", TypeError, "'amount' has the value '3' of the type str"),
    ("amount", [1], TypeError, "takes numbers and booleans"),
    ("amount", np.timedelta64(1, "D"), TypeError, "takes numbers and booleans"),
    ("amount", -(10**400), ValueError, "outside the range of floats"),
    ("code", True, TypeError, "takes numbers"),
    ("code", "3", TypeError, "takes numbers"),
    ("code", 2.0**53, ValueError, "are not exact"),
    ("shop", 3, TypeError, "takes text"),
    ("shop", ("x", 3), TypeError, "takes text"),
    ("gift", 1, TypeError, "takes booleans"),
    ("due", "2024-01-01", TypeError, "takes datetimes"),
    ("text", 3.0, TypeError, "takes lists of 2 numbers"),
    ("text", [1.0], ValueError, "vector of length 1"),
    ("text", ["1", "2"], TypeError, "list of string"),
]


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    REFUSED,
    ids=[f"{field}, {type(value).__name__}" for field, value, *_ in REFUSED],
)
def test_bad_values_are_refused_singly_and_in_tables(field, value, error, message):
    [event] = with_keys([{**PLAIN, field: value}])
    plain, event = with_keys([PLAIN, {**PLAIN, field: value}])
    scorer = new_scorer()
    scorer.update([plain])
    before = state_of(scorer)
    table = pd.DataFrame([plain, {**plain, "who": "b"}])
    column = pd.Series([table[field][0], None], dtype=object)
    column.iat[1] = value
    for read in (
        lambda: scorer.score_one("a", event, None, AFTER),
        lambda: scorer.update([event]),
        lambda: scorer.update([plain, event]),
        lambda: scorer.update(table.assign(**{field: column})),
    ):
        with pytest.raises(error, match=message):
            read()
    assert_allclose(state_of(scorer), before, rtol=0)


def test_unseen_levels_must_have_the_type_of_the_log():
    schema = FieldSchema.of(Column(np.zeros(1, "int32"), pd.Index([3])))
    reader = reader_of("code", schema)
    assert reader.read(5) == 5
    with pytest.raises(TypeError, match="takes numbers"):
        reader.read("x")


def test_levels_may_be_tuples():
    events = EVENTS.assign(code=[("x", i % 3) for i in range(N)])
    log = EventLog(events, "who", "when", observed_until=AFTER)
    rows = pd.DataFrame({"who": list("abcd")})
    X = log.attach(rows, cutoff=AFTER)
    fitted = clone(model()).fit(X, [0, 1, 0, 1])
    for read in (events, events.to_dict("records")):
        scorer = StreamingScorer(fitted, "who", "when")
        scorer.update(read)
        found = scorer.predict_proba(rows, AFTER)
        assert_allclose(found, fitted.predict_proba(X), rtol=1e-5, atol=1e-5)


def test_a_missing_field_is_refused_singly_and_in_lists():
    """In a table of both events, pandas would fill it with a missing value."""
    whole, lacking = with_keys([PLAIN, PLAIN])
    del lacking["amount"]
    scorer = new_scorer()
    with pytest.raises(KeyError, match=r"event lacks \['amount'\]"):
        scorer.score_one("a", lacking, None, AFTER)
    with pytest.raises(KeyError, match=r"Event 1 of the list lacks \['amount'\]"):
        scorer.update([whole, lacking])
    with pytest.raises(TypeError, match=r"Event 1 of the list must be a map"):
        scorer.update([whole, "a"])
    assert scorer.n_customers == {"history": 0}


@pytest.mark.parametrize(
    "times",
    [
        ["2024-01-01", "2024-01-02T05:00", "2024-01-03 06:07:08.5"],
        ["2024-01-01", DAY + pd.Timedelta("1D"), np.datetime64("2024-01-03T10")],
    ],
)
def test_times_as_text(times):
    scorer, table = new_scorer(), new_scorer()
    events = [{"who": "a", "when": one, **PLAIN} for one in times]
    for event in events:
        scorer.score_one("a", event, None, AFTER)
    table.update(pd.DataFrame(events))
    assert_allclose(state_of(table), state_of(scorer), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "time", ["now", "10:00", "today", "5 May", "05.03.2025", ["2024-01-01"]]
)
def test_times_that_are_not_in_iso_8601_are_refused(time):
    scorer, event = new_scorer(), {"who": "a", "when": time, **PLAIN}
    for read in (
        lambda: scorer.score_one("a", event, None, AFTER),
        lambda: scorer.update([event]),
    ):
        with pytest.raises((TypeError, ValueError), match=r"ISO 8601|one time"):
            read()


def test_an_event_without_a_customer_is_named():
    scorer, event = new_scorer(), {"who": None, "when": AFTER, **PLAIN}
    with pytest.raises(ValueError, match=r"event\['who'\] must not be missing"):
        scorer.score_one("a", event, None, AFTER)


def test_cutoffs_that_are_not_in_iso_8601_are_refused():
    scorer, event = new_scorer(), {"who": "a", "when": AFTER, **PLAIN}
    with pytest.raises(ValueError, match=r"cutoffs must be in ISO 8601 .*'05.03.2030'"):
        scorer.score_one("a", event, None, "05.03.2030")
    with pytest.raises(ValueError, match=r"a column of rows.* in ISO 8601"):
        scorer.predict(pd.DataFrame({"who": ["a"]}), cutoff="05.03.2030")
    with pytest.raises(ValueError, match=r"moment must be in ISO 8601"):
        scorer.forget_before("05.03.2030")


@pytest.mark.parametrize(
    "ids",
    [
        [7, np.int64(7), 7.0, Decimal(7), np.uint8(7)],
        ["7", np.str_("7")],
        [("a", 7), ("a", 7)],
        [True, np.True_],
        [DAY, DAY.to_pydatetime(), DAY.asm8],
    ],
)
def test_ids_of_several_types_are_one_customer(ids):
    """In any order, singly or in a table of objects."""
    events = with_keys([PLAIN] * len(ids))
    for event, one in zip(events, ids, strict=True):
        event["who"] = one
    scorer, together = new_scorer(), new_scorer()
    for event in events:
        scorer.score_one(event["who"], event, None, AFTER)
    together.update(events)
    assert scorer.n_customers == together.n_customers == {"history": 1}
    assert_allclose(state_of(together), state_of(scorer), rtol=1e-5, atol=1e-5)
    rows = pd.DataFrame({"who": pd.Series(ids[:1], dtype=object)})
    scores = scorer.predict_proba(rows, AFTER)
    assert_allclose(scorer.score_one(ids[-1], cutoff=AFTER), scores[0], atol=1e-6)
    assert scorer.forget(ids[:1]) == 1


@pytest.mark.parametrize(
    "ids",
    [
        [1, 2, 3, 4],
        [np.int32(1), 2.5, Decimal(3), 4],
        [True, False, True, False],
        [("a", 1), ("a", 2), ("b", 1), ("b",)],
        [DAY, DAY + pd.Timedelta("1D"), DAY.to_pydatetime(), DAY + pd.Timedelta("2D")],
    ],
)
def test_streams_of_any_ids_and_equal_times_equal_a_log(ids, tmp_path):
    """Live, replayed, and after a round trip of states through files."""
    events = EVENTS.assign(when=EVENTS["when"].dt.floor("8D"))
    who = np.empty(N, dtype=object)
    who[:] = ids * 3
    events["who"] = pd.Series(who, dtype=object)
    levels = ["shop", "code", "gift"]
    log = EventLog(events, "who", "when", observed_until=AFTER, categorical=levels)
    rows = pd.DataFrame({"who": events["who"].iloc[:4]})
    expected = model().predict_proba(log.attach(rows, cutoff=AFTER))
    live, replayed, table = (new_scorer() for _ in range(3))
    records = events.to_dict("records")
    for event in records[:6]:
        live.score_one(event["who"], event, None, AFTER)
    if not isinstance(ids[0], tuple):  # which Parquet does not store
        path = tmp_path / "states"
        live.to_parquet(path)
        live = StreamingScorer.from_parquet(path, model(), "who", "when")
    for event in records[6:]:
        live.score_one(event["who"], event, None, AFTER)
    replayed.update(records), table.update(events)
    for scorer in (live, replayed, table):
        found = scorer.predict_proba(rows, AFTER)
        assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.permutations([7, "7", True, ("a", 7)], 2))
)
def test_ids_of_two_types_are_refused(first, second):
    one, two = with_keys([PLAIN, PLAIN])
    one["who"], two["who"] = first, second
    scorer = new_scorer()
    scorer.update([one])
    for read in (
        lambda: scorer.score_one(second, two, None, AFTER),
        lambda: scorer.update([two]),
        lambda: new_scorer().update([one, two]),
    ):
        with pytest.raises(TypeError, match=r"of the type|of the types|mixes|\.astype"):
            read()


@pytest.mark.parametrize("name", ["who", "shop"])
def test_text_with_half_a_surrogate_pair_is_refused(name):
    """Neither a table nor a file of states can store it."""
    plain, odd = with_keys([PLAIN, PLAIN])
    odd[name] = "\ud800"
    for first in ([], [plain]):
        scorer = new_scorer()
        scorer.update(first)
        match = r"(of customer|of event\['who'\]|in field 'shop') have .* surrogate"
        with pytest.raises(ValueError, match=match):
            scorer.score_one(odd["who"], odd, None, AFTER)
        with pytest.raises(ValueError, match=match):
            scorer.update([odd])
