"""A type of field that lacks something raises: nothing is a number by default."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal, assert_series_equal

from sklearn_seqcrm._store import (
    FIELD_TYPES,
    Column,
    FieldSchema,
    FieldType,
    ScalarType,
    _field_types,
)
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.serving._streaming._field_readers import reader_of
from sklearn_seqcrm.targets import future_sum

ATTRIBUTES = {**FieldType.__annotations__, **ScalarType.__annotations__}
ABSTRACT = sorted({*ATTRIBUTES, *ScalarType.__abstractmethods__})


def made_up_class(*lacking, base=FieldType, **attributes):
    """A class with everything that a type must have, apart from what is lacking."""
    needed = {*FieldType.__annotations__, *base.__annotations__}
    members = dict.fromkeys(needed, "made up")
    members |= dict.fromkeys(base.__abstractmethods__, lambda self, *args: None)
    members |= attributes
    kept = {name: one for name, one in members.items() if name not in lacking}
    return type("MadeUp", (base,), kept)


@pytest.mark.parametrize("name", ABSTRACT)
def test_a_type_without_a_method_or_an_attribute_is_refused(name):
    # Scalar types inherit their encoding.
    base = FieldType if name == "encoding" else ScalarType
    made_up_class(base=base)()
    with pytest.raises(TypeError, match=name):
        made_up_class(name, base=base)()


def test_types_are_equal_by_class_and_each_value_has_one():
    assert len(set(FIELD_TYPES)) == len(FIELD_TYPES)
    for one in FIELD_TYPES:
        assert one == type(one)()
        column = FieldSchema(one, *["text"] * (one.encoding == "levels"))
        column = column.without_values(2)
        if one.encoding == "vectors":
            column = Column(column.values[:, None])
        assert [other for other in FIELD_TYPES if other.holds(*column)] == [one]
        assert column.is_empty()
        assert column.type == one
    with pytest.raises(TypeError, match="NumPy type timedelta64"):
        Column(np.zeros(1, "m8[s]")).type  # noqa: B018


class Days(_field_types.NumericType):
    """A type of numbers for which no other code was written."""

    name, dtype, missing = "days", "m8[s]", np.timedelta64("NaT", "s")

    def holds(self, values, levels):
        return values.dtype.kind == "m"

    def as_numbers(self, values, times, clock):
        return values / np.timedelta64(1, "D")


def test_a_new_type_of_numbers_needs_no_other_code(monkeypatch):
    monkeypatch.setattr(_field_types, "FIELD_TYPES", (*FIELD_TYPES, Days()))
    rng = np.random.default_rng(0)
    n, days = 60, rng.integers(1, 9, 60)
    events = {"who": rng.integers(0, 4, n), "when": rng.integers(0, 30, n), "x": 1.0}
    log = EventLog(pd.DataFrame(events), "who", "when", observed_until=40)
    found, expected = (
        log.with_events(log.timeline, {"x": Column(values)}).snapshots([15, 25, 30])
        for values in (days.astype("m8[D]").astype("m8[s]"), days.astype("float64"))
    )
    assert str(found["history"].array.log.column("x").type) == "days"
    tables = [
        HistoryAggregator(moments=True, half_lives=[3], max_features=None, min_rows=0)
        .fit_transform(X)
        .filter(like="history__")
        for X in (found, expected)
    ]
    assert "history__x_moment_mean" in tables[1]
    assert_frame_equal(*tables)
    assert_series_equal(*(future_sum(X, "x", horizon=5) for X in (found, expected)))
    logs = [
        HistoryEncoder().fit_transform(X)["history"].array.log
        for X in (found, expected)
    ]
    assert_array_equal(logs[0].channels, logs[1].channels)


@pytest.fixture
def log(monkeypatch):
    """A log with a field of a type for which no consumer has anything."""
    made_up = made_up_class(
        name="made up",
        missing=np.timedelta64("NaT", "s"),
        dtype="m8[s]",
        is_relative=False,
        resampling=("made up",),
        holds=lambda self, values, levels: values.dtype.kind == "m",
        is_present=lambda self, values: ~np.isnat(values),
        to_pandas=lambda self, values, levels: values,
    )
    types = (*FIELD_TYPES, made_up())
    monkeypatch.setattr(_field_types, "FIELD_TYPES", types)
    events = pd.DataFrame({"who": list("aab"), "when": [1, 2, 3], "x": [0.0, 1.0, 2.0]})
    log = EventLog(events, "who", "when")
    return log.with_events(log.timeline, {"x": Column(np.arange(3).astype("m8[s]"))})


def reader(log):
    return reader_of("x", FieldSchema.of(log.column("x")))


CONSUMERS = {
    "numbers": lambda log: log.column("x").as_numbers(np.zeros(3), log.timeline.clock),
    "HTML": lambda log: log._repr_html_(),
    "resample": lambda log: log.resample(2),
    "HistoryEncoder": lambda log: HistoryEncoder().fit(log.snapshots([4])),
    "HistoryAggregator": lambda log: HistoryAggregator().fit(log.snapshots([4])),
    "LSTMEventModel": lambda log: LSTMEventModel().fit(log.snapshots([4])),
    "reader of streams": reader,
}


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_a_made_up_type_is_no_number(log, consumer):
    assert str(log.column("x").type) == "made up"
    with pytest.raises((TypeError, KeyError), match="made up"):
        CONSUMERS[consumer](log)
