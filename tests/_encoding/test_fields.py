"""Encoders of vectors, and positions of channels."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm._encoding import EncoderOptions, VectorField, learn
from sklearn_seqcrm._encoding._training import Training
from sklearn_seqcrm._ragged import learn_from
from sklearn_seqcrm._store import Clock, Column
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.preprocessing import HistoryEncoder

NAN = np.nan


def learned(vectors):
    column = Column(np.array(vectors, "float32"))
    times = np.zeros(len(column.values))
    clock = Clock("float64")
    training = Training(times, clock, columns={"text": column})
    return learn_from(VectorField.learning("text", clock), training)


def encoded(field, vectors):
    vectors = np.array(vectors, "float32")
    return field.encode(Column(vectors), np.zeros(len(vectors)))


def test_components_in_units_of_their_spread():
    field = learned([[1, 10], [3, 30], [NAN, NAN]])  # means 2 and 20, spreads 1 and 10
    numbers, is_missing = encoded(field, [[2, 20], [3, 0], [NAN, NAN]])
    assert_allclose(numbers, [[0, 0], [1, -2], [0, 0]], atol=1e-6)
    assert numbers.dtype == "float32"
    assert_array_equal(is_missing, [False, False, True])
    assert field.some_missing
    assert not learned([[1.0], [2.0]]).some_missing


def test_constant_components():
    """A deviation that is only rounding counts as none, and then the scale is 1."""
    third = np.float32(1) / 3
    field = learned([[5, third], [5, np.nextafter(third, 1)], [5, third]])
    numbers, _ = encoded(field, [[5, third], [7, third]])
    assert_allclose(numbers, [[0, 0], [2, 0]], atol=1e-6)
    nothing = learned([[NAN, NAN]])
    assert_array_equal(encoded(nothing, [[3, 4]])[0], [[3, 4]])
    one = learned([[1e-30], [3e-30]])
    assert_allclose(encoded(one, [[3e-30]])[0], [[1]], rtol=1e-5)


def test_components_are_clipped():
    field = learned([[0.0], [2.0]])
    largest = np.finfo("float32").max
    numbers, _ = encoded(field, [[largest], [-largest], [np.inf]])
    assert_array_equal(numbers, [[10], [-10], [10]])


def test_a_mean_of_many_is_exact():
    """In float32, a sum of so many would lose the last ones."""
    vectors = np.full((300_000, 1), 1000.0, "float32")
    vectors[::2] += 1
    assert_allclose(learned(vectors).center, 1000.5, rtol=1e-7)
    assert_allclose(learned(vectors).scale, 0.5, rtol=1e-5)


def rows_of(vectors, cutoff=None, **more):
    events = pd.DataFrame({"who": "a", "day": range(len(vectors)), **more})
    events["text"] = pd.Series(list(vectors), dtype=object)
    rows = pd.DataFrame({"who": ["a"]})
    return EventLog(events, "who", "day").attach(rows, cutoff=cutoff)


VECTORS = [[1.0, 2], [3, 2], None, [5, 8]]


def test_positions_of_channels():
    amount = [1.0, 2, 3, NAN]
    X = rows_of(VECTORS, text_0=amount, amount=amount)
    encoder = HistoryEncoder().fit(X)
    layout = encoder.layouts_["history"]
    # A field may have the name of a component.
    assert layout.channels == (
        "text_0", "amount", "text_0_missing", "amount_missing", "text_missing",
        "text_0_", "text_1", "interarrival_time",
    )  # fmt: skip
    assert layout.sources == [
        "text_0", "amount", "text_0", "amount", "text", "text", "text", None,
    ]  # fmt: skip
    # Only numbers have decayed means.
    assert not any(name.startswith("text_1") for name in layout.row_features)
    frame = encoder.transform(X)["history"].array.to_frame()
    assert_array_equal(frame["text_missing"], [0, 0, 1, 0])
    center, spread = 3.0, np.sqrt(8 / 3)
    expected = [(1 - center) / spread, 0, 0, (5 - center) / spread]
    assert_allclose(frame["text_0_"], expected, rtol=1e-6, atol=1e-6)


def test_only_events_that_rows_see_are_learned():
    early = HistoryEncoder().fit(rows_of(VECTORS, cutoff=3))
    other = HistoryEncoder().fit(rows_of([*VECTORS[:3], [1e9, -1e9]], cutoff=3))
    assert early.layouts_ == other.layouts_
    all_of_it = HistoryEncoder().fit(rows_of(VECTORS))
    assert early.layouts_ != all_of_it.layouts_


def test_vectors_of_another_length_are_refused():
    encoder = HistoryEncoder().fit(rows_of(VECTORS))
    text = "'text' is vectors of 3 and was vectors of 2"
    with pytest.raises(ValueError, match=text):
        encoder.transform(rows_of([[1, 2, 3]]))
    with pytest.raises(ValueError, match="'text' is numeric and was vectors of 2"):
        encoder.transform(rows_of([1.0, 2.0]))


def test_digests_of_different_encoders_differ():
    rows = rows_of(VECTORS)["history"].array.rows
    other = rows_of([[1.0, 2], [3, 2], None, [5, 9]])["history"].array.rows
    digests = [
        learn(one, EncoderOptions(None, None, "auto"))[0].layout.digest
        for one in (rows, rows, other)
    ]
    assert digests[0] == digests[1] != digests[2]
