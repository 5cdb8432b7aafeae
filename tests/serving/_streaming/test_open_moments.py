"""Streams of moments: the last one of a customer stays open, and events join it."""

import functools

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from sklearn_seqcrm._encoding import learned_encoding
from sklearn_seqcrm._recurrent.network import StepReader
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from tests.logs import log_of_table
from tests.serving.streams import (
    AFTER,
    BASKETS,
    EXACT,
    PEOPLE,
    as_event,
    fitted,
    log_until,
    new_scorer,
    restored,
)

# Clocks are set back from 3 to 2 at 01:00 UTC.
EVENING = pd.Timestamp("2024-10-26 22:00", tz="UTC")
CUSTOMERS = pd.DataFrame({"who": [0, 1, 2]})
SMALL = {
    "hidden_size": 4,
    "head_sizes": (),
    "max_epochs": 1,
    "random_state": 0,
    "n_networks": 1,
}
STEP = {"integers": 1, "floats": 0.25, "local": pd.Timedelta("15min")}
CASES = [
    ("integers", True),
    ("integers", 5),
    ("floats", True),
    ("floats", 0.75),
    ("local", True),
    ("local", "30min"),
    ("local", "1h"),
    ("local", "1D"),
]


def lines_at(times, numbers, clock):
    """Return lines of two customers after some steps of a clock."""
    start = EVENING if clock == "local" else 0
    when = [start + STEP[clock] * n for n in times]
    numbers = np.array(numbers)
    return pd.DataFrame({"who": numbers % 2, "when": when, "n": numbers.astype(float)})


@functools.cache
def model_of(clock, moments):
    X = log_of_table(lines_at(np.arange(60) % 23, np.arange(60), clock)).snapshots(
        lines_at([5, 14, 23], [0, 0, 0], clock)["when"]
    )
    pooling = ["last", "mean", "decay"]
    model = make_history_pipeline(LSTMClassifier(pooling=pooling, **SMALL))
    zone = "Europe/Berlin" if clock == "local" else None
    model.set_params(encoder__moments=moments, encoder__time_zone=zone)
    return model.fit(X, np.arange(len(X)) % 2)


def are_accepted(new, taken, model):
    """Return which new lines are at least as late as the last, or in its moment."""
    [encoder] = learned_encoding(model[0]).encoders.values()
    accepted = []
    for who, when in zip(new["who"], new["when"], strict=True):
        later = taken["when"].to_numpy()[(taken["who"] == who) & (taken["when"] > when)]
        ticks = encoder.clock.read(pd.Series([*later, when]).sort_values(), "times")
        accepted.append(len(set(encoder.layout.periods(ticks))) == 1)
    return np.array(accepted)


@settings(max_examples=36)
@given(
    case=st.sampled_from(CASES),
    lines=st.lists(
        st.tuples(st.integers(0, 22), st.integers(0, 99)), min_size=1, max_size=16
    ),
    size=st.integers(1, 8),
)
# From 2:00 to 2:30 before clocks are set back and after it, with a line between or not.
@example(("local", "30min"), [(10, 0), (12, 0), (8, 0)], 1)
@example(("local", "30min"), [(9, 0), (12, 0), (8, 0)], 1)
def test_late_lines_of_the_open_moment_are_joined(case, lines, size):
    """All other late lines are left out; scores are those of a log without them."""
    clock, _ = case
    model = model_of(*case)
    tables, singles = (
        StreamingScorer(model, "who", "when", late="ignore") for _ in range(2)
    )
    lines = lines_at(*zip(*lines, strict=True), clock)
    taken, cutoff = lines.iloc[:0], lines["when"].max() + STEP[clock]
    for first in range(0, len(lines), size):
        new = lines.iloc[first : first + size]
        kept = are_accepted(new, taken, model)
        assert tables.update(new) == kept.sum()
        for line in new[kept].sort_values("when").to_dict("records"):
            singles.score_one(line.pop("who"), line, cutoff=cutoff)
        taken = pd.concat([taken, new[kept]])
    log = log_of_table(taken, observed_until=cutoff)
    expected = model.predict_proba(log.attach(CUSTOMERS, cutoff=cutoff))
    for scorer in (tables, singles):
        found = scorer.predict_proba(CUSTOMERS, cutoff)
        assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_late_lines_of_earlier_moments_are_refused():
    model = model_of("integers", 5)
    scorer = StreamingScorer(model, "who", "when")
    scorer.update(lines_at([3, 12], [0, 0], "integers"))
    with pytest.raises(ValueError, match="1 of 2 events for 'history' are late"):
        scorer.update(lines_at([10, 9], [0, 0], "integers"))
    line = {"when": 9, "n": 0.0}
    with pytest.raises(ValueError, match="before the last one of its customer"):
        scorer.score_one(0, line)
    scorer.score_one(0, {**line, "when": 10})


def test_an_event_that_joins_takes_no_step(monkeypatch):
    """A moment takes its step when the next one begins, and for each score."""
    scorer, steps = new_scorer("days"), []
    stream, step = scorer._streams["history"], StepReader._step
    monkeypatch.setattr(
        StepReader, "_step", lambda *args: steps.append(1) or step(*args)
    )
    fields = as_event(BASKETS.iloc[0][["amount", "kind", "due"]])
    values = stream.fields.read(fields, "event")
    day = stream.encoder.clock.ticks_per_day()
    for tick, n_steps in [(0.2, 0), (0.5, 0), (0.4, 0), (0.1, 0), (1.5, 2), (1.6, 2)]:
        stream.take_one("c1", int(tick * day), values)
        assert len(steps) == n_steps  # of two networks
    scorer.predict_proba(PEOPLE.iloc[:3], AFTER)
    assert len(steps) == 4


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_large_moments_lose_no_event(dtype):
    """A float16 of 2,048 or more would not change by adding an event."""
    n = 3_000
    lines = lines_at(np.full(n, 7), np.arange(n) * 2, "integers")
    model = model_of("integers", True)
    scorer = StreamingScorer(model, "who", "when", dtype=dtype)
    scorer.update(lines.iloc[:100])
    stream = scorer._streams["history"]
    for number in lines["n"].iloc[100:]:
        stream.take_one(0, 7, {"n": number})
    whole = StreamingScorer(model, "who", "when", dtype=dtype)
    whole.update(lines)
    size = 2 + len(stream.encoder.layout.channels)
    found, expected = (
        one._streams["history"].states.records["weights"][0, 0, -size:]
        for one in (scorer, whole)
    )
    assert expected[0] == n
    # n roundings to 2 ** -24 of the sum.
    assert_allclose(found, expected, rtol=n * 2.0**-24)
    log = log_of_table(lines, observed_until=9)
    expected = model.predict_proba(log.attach(CUSTOMERS, cutoff=9))
    for one in (scorer, whole):
        assert_allclose(one.predict_proba(CUSTOMERS, 9), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_open_moments_are_stored_and_forgotten(dtype):
    scorer = new_scorer("days", dtype=dtype)
    scorer.update(BASKETS.iloc[:40])
    again = restored(scorer, "days", dtype=dtype)
    for one in (scorer, again):
        one.update(BASKETS.iloc[40:])
    expected = scorer.predict_proba(PEOPLE, AFTER)
    assert_allclose(again.predict_proba(PEOPLE, AFTER), expected, rtol=0)
    # The next event of a forgotten customer joins nothing.
    last = BASKETS[BASKETS["who"] == "c1"].iloc[-1:]
    scorer.forget("c1")
    scorer.update(last)
    log = log_until(BASKETS[BASKETS["who"] != "c1"])
    log = log_until(pd.concat([log.to_frame(), last]))
    expected = fitted("days").predict_proba(log.attach(PEOPLE, cutoff=AFTER))
    atol = EXACT["atol"] if dtype == "float32" else 5e-3
    assert_allclose(scorer.predict_proba(PEOPLE, AFTER), expected, rtol=0, atol=atol)


def test_states_of_other_moments_are_refused(tmp_path):
    scorer = new_scorer("days")
    scorer.update(BASKETS)
    scorer.to_parquet(tmp_path / "states")
    with pytest.raises(ValueError, match="made by another model"):
        StreamingScorer.from_parquet(
            tmp_path / "states", fitted("half days"), "who", "when"
        )
