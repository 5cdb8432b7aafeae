"""Scores from states are those of the pipeline on a log of the same events."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from sklearn_seqcrm.serving._streaming._arrivals import Arrivals
from sklearn_seqcrm.serving._streaming._single_customer_scorer import (
    SingleCustomerScorer,
)
from tests.serving.streams import (
    AFTER,
    EVENTS,
    EXACT,
    LOG,
    MODELS,
    MOMENTS,
    PEOPLE,
    ROWS,
    SMALL,
    as_event,
    events_of,
    fitted,
    log_until,
    new_scorer,
    people_of,
    play,
    predicted,
)

# The law ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_streams_of_every_network_equal_batches(name):
    model, people = fitted(name), people_of(name)
    scorer, done, events = new_scorer(name), 0, events_of(name)
    for size in (1, 30, len(events)):
        some = events.iloc[done : done + size]
        done += len(some)
        assert scorer.update(some) == len(some)
        log = log_until(events.iloc[:done])
        for cutoff in (some["when"].max() + pd.Timedelta("1min"), AFTER):
            expected = predicted(model, log.attach(people, cutoff=cutoff))
            assert_allclose(predicted(scorer, people, cutoff), expected, **EXACT)
    for row, wanted in zip(people.to_dict("records"), expected, strict=True):
        found = scorer.score_one(row["who"], None, as_event(row), AFTER)
        assert_allclose(found, wanted, **EXACT)


def test_every_prediction_method():
    y = np.arange(len(ROWS))
    X = LOG.attach(ROWS, cutoff="at")
    log = EventLog(EVENTS, "who", "when", observed_until=AFTER)
    rows = log.attach(PEOPLE, cutoff=AFTER)
    for estimator, target, methods in (
        (
            LSTMClassifier(**SMALL, n_networks=1),
            np.array(["no", "yes"])[y % 2],
            ["predict"],
        ),
        (
            LSTMClassifier(**SMALL, n_networks=1),
            np.eye(3, dtype=int)[y % 3],
            ["predict"],
        ),
        (
            LSTMRegressor(loss="zero_inflated_lognormal", **SMALL, n_networks=1),
            y % 4,
            ["predict", "predict_quantiles", "predict_proba_zero"],
        ),
    ):
        model = make_history_pipeline(estimator).fit(X, target)
        scorer = StreamingScorer(model, "who", "when")
        scorer.update(EVENTS)
        for method in methods:
            found = getattr(scorer, method)(PEOPLE, AFTER)
            expected = getattr(model[-1], method)(model[:-1].transform(rows))
            if expected.dtype.kind == "f":
                assert_allclose(found, expected, **EXACT)
            else:
                assert_array_equal(found, expected)
    assert not hasattr(scorer, "predict_proba")
    assert_allclose(
        scorer.predict_quantiles(PEOPLE, AFTER, [0.2, 0.7]),
        model[-1].predict_quantiles(model[:-1].transform(rows), [0.2, 0.7]),
        **EXACT,
    )


@settings(max_examples=12)
@given(
    st.sampled_from(
        ["lstm-2", "gru-1", "several", "counts", "two amounts", *MOMENTS, *MOMENTS]
    ),
    st.integers(0, 10**6),
    st.integers(1, 40),
)
def test_any_interleaving(name, seed, size):
    assert play(name, seed, size) < 1e-5


@pytest.mark.parametrize("with_scores", [True, False])
def test_single_events_and_rows_make_no_table(with_scores, monkeypatch):
    scorer = new_scorer()
    statics = {row["who"]: as_event(row) for row in PEOPLE.to_dict("records")}
    scorer.update(EVENTS.iloc[:40])

    def refuse(*args):
        raise AssertionError("a table was made")

    with monkeypatch.context() as patch:
        patch.setattr(Arrivals, "of", refuse)
        patch.setattr(SingleCustomerScorer, "_from_table", refuse)
        for event in EVENTS.iloc[40:].to_dict("records"):
            who, event = event["who"], as_event(event)
            if with_scores:
                scorer.score_one(who, event, statics[who], AFTER)
            else:
                assert scorer.update([event]) == 1
    log = EventLog(EVENTS, "who", "when", observed_until=AFTER)
    expected = fitted("lstm-1").predict_proba(log.attach(PEOPLE, cutoff=AFTER))
    assert_allclose(scorer.predict_proba(PEOPLE, AFTER), expected, **EXACT)


def test_values_of_unusual_types():
    """Text, objects and NumPy scalars are converted by a table, with equal results."""
    scorer, model = new_scorer(), fitted("lstm-1")
    scorer.update(EVENTS)
    event = {
        "when": str(AFTER),
        "amount": Decimal("3.5"),
        "kind": np.str_("visit"),
        "due": AFTER.date(),
    }
    statics = {"age": Decimal(30), "city": "Bern", "joined": None, "member": np.True_}
    cutoff = AFTER + pd.Timedelta("1D")
    found = scorer.score_one(np.str_("c1"), event, statics, str(cutoff))
    more = {"who": "c1", "when": AFTER, "amount": 3.5, "kind": "visit"}
    more = pd.DataFrame([{**more, "due": AFTER.normalize()}])
    log = EventLog(pd.concat([EVENTS, more]), "who", "when", observed_until=cutoff)
    row = pd.DataFrame([{"who": "c1", "age": 30, "city": "Bern", "member": True}])
    row["joined"] = pd.NaT
    [expected] = model.predict_proba(log.attach(row, cutoff=cutoff))
    assert_allclose(found, expected, **EXACT)


@pytest.mark.parametrize("kind", ["days", "floats", "aware", "text ids", "seconds"])
def test_times_and_ids_of_any_type(kind):
    """Single events and tables agree, with numbers, zones, and coarser units."""
    events, after = EVENTS[["who", "when", "kind"]].copy(), AFTER
    days = (events["when"] - pd.Timestamp("2020-01-01")) / pd.Timedelta("1D")
    if kind == "days":
        events["when"], after = days.astype("int64"), 2000
    if kind == "floats":
        events["when"], after = days, 2000.5
    if kind == "aware":
        utc = events["when"].dt.tz_localize("UTC")
        events["when"], after = (
            utc.dt.tz_convert("Asia/Tokyo"),
            after.tz_localize("UTC"),
        )
    if kind == "text ids":
        events["who"] = events["who"].str[1:].astype("int64")
    if kind == "seconds":
        events["when"] = events["when"].astype("datetime64[s]")
    people = events[["who"]].drop_duplicates().assign(age=3)
    people["age"] += np.arange(len(people))
    log = EventLog(events, "who", "when", observed_until=after)
    X = log.attach(people, cutoff=after)
    model = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1))
    if kind == "aware":
        model.set_params(encoder__time_zone="Europe/Berlin")
    model.fit(X, people["age"] % 2)
    scorer = StreamingScorer(model, "who", "when")
    scorer.update(events.iloc[:9])
    statics = dict(zip(people["who"], people["age"], strict=True))
    for event in events.iloc[9:].to_dict("records"):
        age = {"age": statics[event["who"]]}
        scorer.score_one(event["who"], as_event(event), age, after)
    assert_allclose(
        scorer.predict_proba(people, after), model.predict_proba(X), **EXACT
    )


def test_a_long_history():
    """The history has more events than one call of the layers takes."""
    n = 333
    rng = np.random.default_rng(0)
    when = pd.Timestamp("2022-01-01") + pd.to_timedelta(
        np.sort(rng.integers(0, 10**6, n)), unit="min"
    )
    long = pd.DataFrame({"who": "c1", "when": when, "amount": rng.normal(size=n)})
    long = long.assign(kind="visit", due=when)
    until = when.max() + pd.Timedelta("2D")
    log = EventLog(long, "who", "when", observed_until=until)
    for name in ("lstm-2", "gru-1"):
        expected = fitted(name).predict_proba(log.attach(PEOPLE, cutoff=until))
        whole, parts = new_scorer(name), new_scorer(name)
        whole.update(log)
        for first in range(0, n, 70):
            parts.update(long.iloc[first : first + 70])
        for scorer in (whole, parts):
            assert_allclose(scorer.predict_proba(PEOPLE, until), expected, **EXACT)


# Cutoffs and late events --------------------------------------------------------------


def test_a_cutoff_must_be_after_all_events():
    scorer = new_scorer()
    scorer.update(EVENTS)
    last = EVENTS.groupby("who")["when"].max()
    rows = PEOPLE[PEOPLE["who"].isin(last.index)]
    rows = rows.assign(at=rows["who"].map(last))
    with pytest.raises(
        ValueError, match="10 of 10 rows have a cutoff that is not after"
    ):
        scorer.predict_proba(rows, "at")
    with pytest.raises(ValueError, match=r"not after.*allow_exact_matches=True"):
        scorer.score_one("c1", None, as_event(PEOPLE.iloc[1]), last["c1"])
    exact = new_scorer(allow_exact_matches=True)
    exact.update(EVENTS)
    X = LOG.attach(rows, cutoff="at", allow_exact_matches=True)
    expected = fitted("lstm-1").predict_proba(X)
    assert_allclose(exact.predict_proba(rows, "at"), expected, **EXACT)
    early = rows.assign(at=rows["at"] - pd.Timedelta("1ns"))
    with pytest.raises(ValueError, match="10 of 10"):
        exact.predict_proba(early, "at")
    # A cutoff between two ticks of the clock is the later tick.
    soon = rows.assign(at=(rows["at"] + pd.Timedelta("1ns")).astype("datetime64[ns]"))
    expected = fitted("lstm-1").predict_proba(LOG.attach(soon, cutoff="at"))
    assert_allclose(scorer.predict_proba(soon, "at"), expected, **EXACT)


@pytest.mark.parametrize("name", ["lstm-1", "days"])
def test_without_a_cutoff_rows_see_all_events(name):
    scorer = new_scorer(name)
    with pytest.raises(ValueError, match="no event was read for 'history' yet"):
        scorer.predict_proba(PEOPLE)
    scorer.update(events_of(name))
    log = log_until(events_of(name), None)
    expected = fitted(name).predict_proba(log.attach(PEOPLE))
    assert_allclose(scorer.predict_proba(PEOPLE), expected, **EXACT)
    for row, wanted in zip(PEOPLE.to_dict("records"), expected, strict=True):
        found = scorer.score_one(row["who"], None, as_event(row))
        assert_allclose(found, wanted, **EXACT)


def test_cutoffs_of_rows_that_are_not_read_warn():
    """Rows with the cutoffs of training were scored at the last event all the same."""
    scorer = new_scorer("lstm-1")
    scorer.update(EVENTS)
    rows = PEOPLE.assign(at=AFTER)
    with pytest.warns(
        UserWarning, match="'at', which had cutoffs .* cutoff='at', or l"
    ):
        scorer.predict_proba(rows)
    found = scorer.predict_proba(rows, cutoff="at")
    assert_array_equal(found, scorer.predict_proba(PEOPLE, cutoff=AFTER))
    scorer.predict_proba(PEOPLE.assign(seen=AFTER))  # a column that fit did not have


def test_statics_that_are_durations():
    """Of Python or NumPy, they are the days that a table has."""
    scorer = new_scorer()
    scorer.update(EVENTS)
    row = as_event(PEOPLE.iloc[1])
    expected = scorer.score_one("c1", None, {**row, "age": 30}, AFTER)
    for age in (pd.Timedelta("30D"), np.timedelta64(30, "D"), np.timedelta64(720, "h")):
        found = scorer.score_one("c1", None, {**row, "age": age}, AFTER)
        assert_allclose(found, expected, **EXACT)


def test_statics_of_any_type_of_numbers_make_no_table(monkeypatch):
    scorer = new_scorer()
    scorer.update(EVENTS)
    row = as_event(PEOPLE.iloc[1])
    expected = scorer.score_one("c1", None, {**row, "age": 30}, AFTER)

    def refuse(*args):
        raise AssertionError("a table was made")

    monkeypatch.setattr(SingleCustomerScorer, "_from_table", refuse)
    for age in (Decimal("30.0"), Fraction(60, 2), np.float16(30), np.uint8(30)):
        found = scorer.score_one("c1", None, {**row, "age": age}, AFTER)
        assert_allclose(found, expected, rtol=0)


def test_missing_statics_make_no_table(monkeypatch):
    """A row of a table with nullable dtypes has NA, which took thirty times as long."""
    scorer = new_scorer()
    scorer.update(EVENTS)
    row = as_event(PEOPLE.iloc[1])
    names = ("age", "city", "joined")
    expected = [scorer.score_one("c1", None, {**row, n: None}, AFTER) for n in names]
    monkeypatch.setattr(SingleCustomerScorer, "_from_table", None)
    for name, score in zip(names, expected, strict=True):
        found = scorer.score_one("c1", None, {**row, name: pd.NA}, AFTER)
        assert_array_equal(found, score)


def test_statics_that_no_table_holds_are_an_error_with_the_column():
    """So is text that is no Unicode. They were errors of Python, without the name."""
    scorer = new_scorer()
    scorer.update(EVENTS)
    for age in (10**400, Fraction(10**400), "\ud800"):
        statics = {**as_event(PEOPLE.iloc[1]), "age": age}
        with pytest.raises((TypeError, ValueError), match="'age'"):
            scorer.score_one("c1", None, statics, AFTER)


def test_statics_that_cannot_be_levels_are_an_error_as_in_a_table():
    """Lists were scored as unseen levels."""
    scorer = new_scorer()
    scorer.update(EVENTS)
    for city in (["Bern"], {"Bern": 1}, np.array(["Bern", "Rome"])):
        statics = {**as_event(PEOPLE.iloc[1]), "city": city}
        with pytest.raises(TypeError, match="'city' holds values of the type"):
            scorer.score_one("c1", None, statics, AFTER)
        rows = PEOPLE.iloc[[1]].assign(city=pd.Series([city], index=[1], dtype=object))
        with pytest.raises(TypeError, match="'city' holds values of the type"):
            scorer.predict_proba(rows, AFTER)


def test_statics_as_a_series_and_a_single_cutoff():
    """A Series was an error, and of several cutoffs the first one was taken."""
    scorer = new_scorer()
    scorer.update(EVENTS)
    row = PEOPLE.iloc[1]
    expected = scorer.score_one("c1", None, as_event(row), AFTER)
    assert_array_equal(scorer.score_one("c1", None, row, AFTER), expected)
    for many in ([AFTER, AFTER], pd.Series([AFTER]), []):
        with pytest.raises(TypeError, match="cutoffs must be one time; got"):
            scorer.score_one("c1", None, row, many)
        with pytest.raises(TypeError, match="moment must be one time; got"):
            scorer.forget_before(many)


def test_a_list_of_one_event_is_a_table_of_one():
    """Late events, forgotten customers and errors are those of a table."""
    event, old = as_event(EVENTS.iloc[-1]), as_event(EVENTS.iloc[0])
    old["who"] = event["who"]
    for as_input in (lambda one: [one], lambda one: pd.DataFrame([one])):
        scorer, lax = new_scorer(), new_scorer(late="ignore", max_customers=1)
        scorer.update(as_input(event)), lax.update(as_input(event))
        with pytest.raises(ValueError, match="before the last one"):
            scorer.update(as_input(old))
        assert lax.update(as_input(old)) == 0
        # The oldest customer is forgotten, even if the event has just arrived.
        assert lax.update(as_input({**old, "who": "new"})) == 1
        assert lax.forget("new") == 0
        with pytest.raises(TypeError, match="type"):
            scorer.update(as_input({**event, "who": 7}))
        with pytest.raises(ValueError, match="missing"):
            scorer.update(as_input({**event, "who": None}))
        for key in ("who", "when", "amount"):
            lacking = {k: v for k, v in event.items() if k != key}
            with pytest.raises(KeyError, match=key):
                scorer.update(as_input(lacking))
        assert_array_equal(scorer._streams["history"].states.records["count"][:1], [1])


@pytest.mark.parametrize("event", [EVENTS[:1], [as_event(EVENTS.iloc[0])], "view"])
def test_score_one_takes_a_single_event(event):
    message = f"An event is a dict of its columns; got {type(event).__name__}"
    with pytest.raises(TypeError, match=message):
        new_scorer().score_one("c1", event, as_event(PEOPLE.iloc[1]), AFTER)


@pytest.mark.parametrize("one", [False, True])
def test_late_events(one):
    first, last = EVENTS.iloc[:50], EVENTS.iloc[50:]
    old = EVENTS[EVENTS["who"] == last["who"].iloc[-1]].iloc[:1]
    old = old.assign(when=old["when"] - pd.Timedelta("1h"))
    both = pd.concat([last, old])
    strict, lax = new_scorer(), new_scorer(late="ignore")
    strict.update(first), lax.update(first)
    before = strict.predict_proba(PEOPLE, AFTER)
    statics = as_event(PEOPLE[PEOPLE["who"] == old["who"].iloc[0]].iloc[0])
    if one:
        event = as_event(old.iloc[0])
        with pytest.raises(ValueError, match="before the last one of its customer"):
            strict.score_one(event["who"], event, statics, AFTER)
        found = lax.score_one(event["who"], event, statics, AFTER)
        assert_allclose(found, before[PEOPLE["who"] == event["who"]][0], **EXACT)
    else:
        with pytest.raises(ValueError, match="1 of 23 events for 'history' are late"):
            strict.update(both)
    # Refused events change no state.
    assert_allclose(strict.predict_proba(PEOPLE, AFTER), before, rtol=0)
    assert lax.update(both) == len(last)
    log = EventLog(EVENTS, "who", "when", observed_until=AFTER)
    expected = fitted("lstm-1").predict_proba(log.attach(PEOPLE, cutoff=AFTER))
    assert_allclose(lax.predict_proba(PEOPLE, AFTER), expected, **EXACT)


@pytest.mark.parametrize("way", ["table", "list", "score"])
def test_on_accept_is_called_before_states_change(way):
    scorer, written = new_scorer(late="ignore"), []
    person = as_event(PEOPLE.iloc[0])

    def read(event, on_accept, cutoff=AFTER):
        if way == "score":
            options = {"cutoff": cutoff, "on_accept": on_accept}
            scorer.score_one(event["who"], event, person, **options)
        else:
            events = pd.DataFrame([event]) if way == "table" else [as_event(event)]
            scorer.update(events, on_accept=on_accept)

    def fail():
        raise OSError("full")

    event = {**EVENTS.iloc[-1].to_dict(), "who": person["who"]}
    with pytest.raises(OSError, match="full"):
        read(event, fail)
    assert scorer.n_customers == {"history": 0}
    with pytest.raises((KeyError, ValueError)):
        read({**event, "when": None}, fail)
    # It is called before the state changes.
    read(event, lambda: written.append(dict(scorer.n_customers)))
    assert written == [{"history": 0}]
    assert scorer.n_customers == {"history": 1}
    # It is not called for an ignored late event.
    read({**event, "when": EVENTS["when"].min()}, fail)


def test_an_event_and_its_cutoff():
    """An event at or after the cutoff is refused and changes no state."""
    scorer = new_scorer()
    scorer.update(EVENTS)
    before = scorer.predict_proba(PEOPLE, AFTER)
    event = {"when": AFTER, "amount": 3, "kind": "visit", "due": None}
    statics = as_event(PEOPLE.iloc[1])
    who = statics["who"]
    with pytest.raises(ValueError, match="not after the event"):
        scorer.score_one(who, event, statics, AFTER)
    for bad in ({**event, "amount": "3"}, {**event, "kind": 3}, {**event, "due": 3}):
        with pytest.raises((TypeError, ValueError)):
            scorer.score_one(who, bad, statics, AFTER + pd.Timedelta("1h"))
    with pytest.raises(KeyError, match=r"event lacks \['kind'\]"):
        scorer.score_one(who, {"when": AFTER, "amount": 1, "due": None}, statics)
    with pytest.raises(KeyError, match=r"statics lacks \['age'"):
        scorer.score_one(who, event, {}, AFTER + pd.Timedelta("1h"))
    assert_allclose(scorer.predict_proba(PEOPLE, AFTER), before, rtol=0)


# What cannot be streamed --------------------------------------------------------------


def test_refusals():
    X, y = LOG.attach(ROWS, cutoff="at"), np.arange(len(ROWS)) % 2
    numbers = X[["age", "history"]].fillna({"age": 0})
    with pytest.raises(TypeError, match=r"got LSTMClassifier\. .* pass hybrid\.lstm_"):
        StreamingScorer(LSTMClassifier(), "who", "when")
    other = make_pipeline(HistoryEncoder(), DummyClassifier()).fit(X, y)
    with pytest.raises(TypeError, match=r"got a Pipeline of .*'DummyClassifier'"):
        StreamingScorer(other, "who", "when")
    both = make_history_pipeline(
        LSTMClassifier(bidirectional=True, **SMALL, n_networks=1)
    )
    with pytest.raises(ValueError, match="bidirectional network cannot be streamed"):
        StreamingScorer(both.fit(X, y), "who", "when")
    window = LOG.attach(ROWS, cutoff="at", lookback="90D")
    model = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1)).fit(window, y)
    with pytest.raises(ValueError, match=r"\['history'\] were cut off by a lookback"):
        StreamingScorer(model, "who", "when")
    padded = make_pipeline(
        HistoryEncoder(), HistoryPadder(5), LSTMClassifier(**SMALL, n_networks=1)
    )
    with pytest.raises(TypeError, match="HistoryPadder, which may read events"):
        StreamingScorer(padded.fit(numbers, y), "who", "when")

    def zeros(histories):
        return np.zeros((len(histories), 1))

    for chosen in ("history", ["history"], 1, np.int64(1)):
        reads = make_column_transformer(
            (FunctionTransformer(zeros), chosen),
            ("passthrough", ["history"]),
            verbose_feature_names_out=False,
        )
        model = make_pipeline(
            HistoryEncoder(), reads, LSTMClassifier(**SMALL, n_networks=1)
        )
        with pytest.raises(TypeError, match="reads the histories"):
            StreamingScorer(model.fit(numbers, y), "who", "when")


@pytest.mark.parametrize("negated", [["n"], []])
def test_functions_and_remainders_for_statics(negated):
    """Scikit-learn 1.6 has no names of the former, and warns of the latter."""
    X = LOG.attach(ROWS, cutoff="at").fillna({"age": 0})[["history", "age"]]
    X["n"], y = range(len(X)), np.arange(len(X)) % 2
    step = make_column_transformer(
        ("passthrough", ["age", "history"]),
        (FunctionTransformer(np.negative), negated),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = make_pipeline(HistoryEncoder(), step, LSTMClassifier(**SMALL, n_networks=1))
    scorer = StreamingScorer(model.fit(X, y), "who", "when")
    found = scorer.score_one("c3", None, {"age": 2, "n": 1}, AFTER)
    rows = pd.DataFrame({"who": ["c3"], "age": 2, "n": 1})
    assert_allclose(found, scorer.predict_proba(rows, AFTER)[0], **EXACT)


@pytest.mark.parametrize("age", [["age"], slice("age", "age"), [0]])
def test_other_steps_for_statics(age):
    """Tables and single rows are transformed by the steps of the pipeline."""
    X, y = LOG.attach(ROWS, cutoff="at").fillna({"age": 0}), np.arange(len(ROWS)) % 2
    doubled = make_column_transformer(
        ("passthrough", ["history"]),
        (FunctionTransformer(lambda frame: 2 * frame), age),
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = make_pipeline(
        HistoryEncoder(), doubled, LSTMClassifier(**SMALL, n_networks=1)
    ).fit(X, y)
    scorer, people = StreamingScorer(model, "who", "when"), PEOPLE.fillna({"age": 0})
    scorer.update(EVENTS)
    log = EventLog(EVENTS, "who", "when", observed_until=AFTER)
    expected = model.predict_proba(log.attach(people, cutoff=AFTER))
    assert_allclose(scorer.predict_proba(people, AFTER), expected, **EXACT)
    found = scorer.score_one("c3", None, as_event(people.iloc[3]), AFTER)
    at = people["who"].tolist().index("c3")
    found = scorer.score_one("c3", None, as_event(people.iloc[at]), AFTER)
    assert_allclose(found, expected[at], **EXACT)


def test_bad_input():
    scorer = new_scorer()
    scorer.update(EVENTS.iloc[:20])
    counts = [{"max_customers": n} for n in (0, 1.5, True, "9")]
    for options in ({"late": "drop"}, {"dtype": "int8"}, *counts):
        with pytest.raises(ValueError, match=next(iter(options))):
            new_scorer(**options)
    more = EVENTS.iloc[20:]
    with pytest.raises(KeyError, match=r"lacks \['kind'\]"):
        scorer.update(more.drop(columns="kind"))
    for name, role in {"who": "customer", "when": "time"}.items():
        part = more.drop(columns=name)
        event, match = as_event(part.iloc[0]), f"lacks '{name}', the {role} of an event"
        for events in (part, [event], [event, event]):
            with pytest.raises(KeyError, match=match):
                scorer.update(events)
    with pytest.raises(TypeError, match=r"'amount' .* takes numbers"):
        scorer.update(more.assign(amount="much"))
    with pytest.raises(TypeError, match="type int64, but those of the events before"):
        scorer.update(more.assign(who=1))
    if EVENTS["when"].dt.unit == "us":  # pandas 2 makes "ns", and nothing is finer
        later = more["when"].astype("datetime64[ns]") + pd.Timedelta(1)
        with pytest.raises(ValueError, match="finer than the unit us"):
            scorer.update(more.assign(when=later))
    with pytest.raises(ValueError, match="time-zone aware"):
        scorer.update(more.assign(when=more["when"].dt.tz_localize("UTC")))
    with pytest.raises(ValueError, match="missing values"):
        scorer.update(more.assign(who=None))
    with pytest.raises(KeyError, match="no customer column 'who'"):
        scorer.predict(PEOPLE.drop(columns="who"), AFTER)
    with pytest.raises(ValueError, match="lacks 1 of the 5 columns"):
        scorer.predict(PEOPLE.drop(columns="age"), AFTER)
    with pytest.raises(ValueError, match="whose histories the scorer keeps"):
        scorer.predict(LOG.attach(PEOPLE, cutoff=AFTER), AFTER)
    with pytest.raises(ValueError, match="neither a column of rows"):
        scorer.predict(PEOPLE, "then")
    with pytest.raises(ValueError, match="must not be missing"):
        scorer.score_one(None, None, as_event(PEOPLE.iloc[0]), AFTER)
    assert scorer.update(more.iloc[:0]) == 0
    assert scorer.update(more) == len(more)
