import math

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import clone

from sklearn_seqcrm._encoding import EventEncoder
from sklearn_seqcrm.events import EventLog, HistoryDtype
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_events, make_rows, make_table
from tests.preprocessing.encoded_logs import (
    INF,
    NAN,
    assert_same_numbers,
    attach,
    encoded,
    one_customer,
    symlog,
)

# Numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "training",
    [
        [1.0, 2.0, 3.0, 4.0, 1000.0],
        [-5.0, 0.0, 5.0, NAN, 7.5, -2.25, INF],
        [5, 3, 8, 1],
        [True, False, True, True],
        [1e12, 2e12, -3e12],
    ],
)
def test_numbers_are_symlogs_of_scaled_values(training):
    encoder = HistoryEncoder().fit(one_customer(x=training))
    there = encoded(encoder, one_customer(x=training))
    assert_allclose(there["x"], symlog(training, training), rtol=1e-5, atol=1e-6)
    others = [0.0, -1e9, NAN, -INF, 4.0]
    there = encoded(encoder, one_customer(x=others))
    assert_allclose(there["x"], symlog(others, training), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("training", "values", "expected"),
    [
        # The spread, where quartiles are equal.
        ([0.0] * 6 + [10.0], [10.0], [math.log1p(10 / np.std([0.0] * 6 + [10.0]))]),
        # 1, where all are: the spread of these is 1e-17, no scale for a later 0.2.
        ([0.1, 0.1, 0.1], [0.1, 0.2], [0.0, math.log1p(0.1)]),
        ([NAN, NAN, INF], [NAN, 2.0], [0.0, math.log1p(2.0)]),
        # A small spread of large numbers is one.
        (1.7e9 + np.arange(9), 1.7e9 + np.arange(9), symlog(range(9), range(9))),
    ],
)
def test_scales(training, values, expected):
    encoder = HistoryEncoder().fit(one_customer(x=training))
    there = encoded(encoder, one_customer(x=values))
    assert_allclose(there["x"], expected, rtol=1e-5)
    marks = np.isnan(values) if np.isnan(training).any() else None
    assert_array_equal(there.get("x_missing"), marks)


@pytest.mark.parametrize("rare", [1e-310, 1e300])
def test_scales_beyond_the_largest_float(rare):
    training = one_customer(x=[0.0] * 9 + [rare])
    there = encoded(HistoryEncoder().fit(training), training)["x"]
    assert np.isfinite(there).all()
    assert (there[:9] == 0).all()
    assert (there[9] > 1) == (rare > 1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_other", [0, 1])
def test_rounding_does_not_count_as_scale(dtype, n_other):
    """.1 + .2 is not .3, be it of half of the values or of all."""
    values = np.array([0.3] * 6 + [0.1 + 0.2] * 6 + [0.9] * n_other, dtype)
    values[:6] = np.nextafter(values[0], np.array(0, dtype))
    X = one_customer(price=values)
    there = encoded(HistoryEncoder().fit(X), X)["price"]
    assert_allclose(there[:12], 0, atol=1e-6)
    if n_other:  # the spread of all values, as where quartiles are equal
        z = 0.6 / np.std([0.3] * 12 + [0.9])
        assert_allclose(there[12], math.log1p(z), rtol=1e-6)


def test_missing_and_infinite_numbers_are_marked_if_training_had_some():
    some, none = one_customer(x=[1.0, NAN, 3.0, -INF]), one_customer(x=[1.0, 2.0, 3.0])
    there = encoded(HistoryEncoder().fit(some), some)
    assert_array_equal(there["x_missing"], [0, 1, 0, 1])
    assert there["x"][1] == there["x"][3] == 0
    encoder = HistoryEncoder().fit(none)
    assert encoder.layouts_["history"].channels == ("x", "interarrival_time")
    assert encoded(encoder, some)["x"][1] == 0


def test_channels_are_float32_and_codes_int32():
    X = one_customer(x=[1.0, 2.0], kind=["a", "b"])
    log = HistoryEncoder().fit_transform(X)["history"].array.log
    assert log.channels.dtype == "float32"
    assert log.codes.dtype == "int32"
    assert log.fields == ["x", "interarrival_time", "kind"]


# Categories ---------------------------------------------------------------------------

LEVELS = ["a", "a", "a", "a", "b", "b", "b", "c", "c", "d"]  # of ten events


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        # What a, b, c, d become; 2 is the first level, the last is for rare ones.
        ({}, [2, 3, 4, 5]),
        ({"min_frequency": 1}, [2, 3, 4, 5]),
        ({"min_frequency": 2}, [2, 3, 4, 5]),
        ({"min_frequency": 3}, [2, 3, 4, 4]),
        ({"min_frequency": 0.3}, [2, 3, 4, 4]),
        ({"min_frequency": np.float32(0.35)}, [2, 3, 3, 3]),
        ({"min_frequency": 5}, [2, 2, 2, 2]),
        ({"max_categories": 4}, [2, 3, 4, 5]),
        ({"max_categories": 1}, [2, 3, 3, 3]),
        ({"max_categories": None}, [2, 3, 4, 5]),
        ({"min_frequency": 2, "max_categories": 1}, [2, 3, 3, 3]),
    ],
)
def test_levels_have_codes(options, codes):
    encoder = HistoryEncoder(**options).fit(one_customer(kind=LEVELS))
    X = one_customer(kind=["a", "b", "c", "d", "new", None])
    assert encoded(encoder, X)["kind"].tolist() == [*codes, 0, 1]
    assert encoder.layouts_["history"].n_levels == (max(codes) + 1,)


def test_the_most_frequent_levels_have_their_own_code():
    X = one_customer(kind=["z", "z", "z", "y", "b", "b", "a"])
    encoder = HistoryEncoder(max_categories=2).fit(X)
    # Own codes in the order of the levels: b, z; then a and y together.
    assert encoded(encoder, X)["kind"].tolist() == [3, 3, 3, 4, 2, 2, 4]


def test_a_field_without_levels_has_codes_for_unseen_and_missing():
    X = one_customer(kind=pd.Series([None, None], dtype="category"), x=[1.0, 2.0])
    encoder = HistoryEncoder().fit(X)
    assert encoder.layouts_["history"].n_levels == (2,)
    other = one_customer(kind=["a", None], x=[1.0, 2.0])
    assert encoded(encoder, other)["kind"].tolist() == [0, 1]


# What it learns from ------------------------------------------------------------------


def learned(X, **options):
    """Everything that a fitted encoder remembers of the events."""
    encoder = HistoryEncoder(**options).fit(X)._learned.encoders["history"]
    fields = {name: field.learned() for name, field in encoder.fields.items()}
    scales = encoder.interarrival_scale, encoder.row_scale.tolist()
    return fields, encoder.layout, *scales


def test_learns_nothing_from_events_after_the_cutoffs():
    events = make_events()
    seen = events[events["when"] < "2023-06-01"]
    rows = pd.DataFrame({"who": [f"c{i}" for i in range(10)]})
    later = events["when"] >= "2023-06-01"
    other = events.assign(
        amount=events["amount"].mask(later, 1e7),
        kind=events["kind"].mask(later, "future"),
    )
    tables = [
        EventLog(table, "who", "when").attach(rows, cutoff="2023-06-01")
        for table in (seen, events, other)
    ]
    first, *others = (learned(X, max_categories=1) for X in tables)
    assert others == [first, first]


def test_learns_nothing_but_gaps_from_events_before_the_lookback():
    def table(old_x, old_kind):
        events = pd.DataFrame(
            {
                "who": ["a"] * 5 + ["b"] * 3,
                "time": [1, 2, 11, 13, 14, 3, 15, 16],
                "x": [old_x, old_x, 1.0, 2.0, 4.0, old_x, 8.0, 16.0],
                "kind": [old_kind] * 2 + ["p", "q", "p", old_kind, "q", "p"],
            }
        )
        return attach(events, cutoff=20, lookback=10)

    assert learned(table(1e9, "old")) == learned(table(-5.0, "older"))
    assert learned(table(1e9, "old"))[0]["kind"] == (["p", "q"], [])


def test_an_event_that_several_rows_see_counts_once():
    events = pd.DataFrame(
        {"who": list("aaab"), "time": [1, 2, 3, 1], "x": [1.0, 2.0, 3.0, 10.0]}
    )
    log = EventLog(events, "who", "time")
    few = log.attach(pd.DataFrame({"who": list("ab"), "at": [5, 5]}), cutoff="at")
    rows = pd.DataFrame({"who": list("aaaab"), "at": [2, 3, 4, 5, 5]})
    many = log.attach(rows, cutoff="at")
    assert learned(few)[0] == learned(many)[0]


@pytest.mark.parametrize("lookback", [None, "200D"])
def test_the_same_events_in_the_same_order_and_no_other(lookback):
    X = make_table(lookback=lookback)
    array, raw = (x["history"].array for x in (HistoryEncoder().fit_transform(X), X))
    assert_array_equal(array.lengths, raw.lengths)
    assert (array.cutoffs == raw.cutoffs).all()
    assert_frame_equal(
        array.to_frame()[["who", "when"]], raw.to_frame()[["who", "when"]]
    )
    events = array.log.to_frame()
    for customer in array.log.customers:
        own = raw[raw.customers == customer]
        times = events.loc[events["who"] == customer, "when"]
        seen = own.to_frame()["when"]
        assert_array_equal(times.agg(["min", "max"]), seen.agg(["min", "max"]))
        assert (times < own.cutoffs.max()).all()
    assert "c0" in raw.customers
    assert (array.customers[raw.lengths > 0] == raw.customers[raw.lengths > 0]).all()


# The table around it ------------------------------------------------------------------


def test_other_columns_pass_through_but_for_the_keys():
    X = make_table()
    encoder = HistoryEncoder()
    there = encoder.fit_transform(X)
    statics = X.drop(columns=["history", "who", "at"])
    assert_frame_equal(there.drop(columns="history"), statics)
    assert there["history"].dtype == X["history"].dtype
    assert list(encoder.get_feature_names_out()) == [*statics, "history"]
    as_pandas = HistoryEncoder().set_output(transform="pandas").fit_transform(X)
    assert_frame_equal(as_pandas.drop(columns="history"), statics)
    # New rows are scored now, by another column or by none.
    log = EventLog(make_events(), "who", "when")
    now = log.attach(make_rows().drop(columns="at").rename(columns={"who": "id"}), "id")
    assert list(encoder.transform(now)) == list(there)
    with pytest.raises(ValueError, match="input_features is not equal"):
        encoder.get_feature_names_out(["a"])


def test_each_history_column_has_its_own_encoding():
    X = make_table()
    events = pd.DataFrame({"who": ["c1", "c2"], "when": X["at"].min(), "page": "home"})
    X = EventLog(events, "who", "when").attach(X, cutoff="at", name="clicks")
    encoder = HistoryEncoder().fit(X)
    assert list(encoder.layouts_) == ["history", "clicks"]
    assert encoder.layouts_["clicks"].codes == ("page",)
    there = encoder.transform(X)
    alone = HistoryEncoder().fit_transform(X.drop(columns="clicks"))
    assert_array_equal(
        there["history"].array.log.channels, alone["history"].array.log.channels
    )


def test_an_empty_batch_of_histories():
    X = make_table()
    encoder = HistoryEncoder().fit(X)
    empty = X[X["history"].array.lengths == 0]
    assert len(empty) > 2
    array = encoder.transform(empty)["history"].array
    assert len(array.log) == 0
    assert np.isfinite(array.log.row_features(array.rows)).all()


@pytest.mark.parametrize("table", ["default", "pandas"])
@pytest.mark.parametrize(
    "form",
    [
        lambda X: X,
        lambda X: X[X.columns[::-1]],
        lambda X: X.set_axis(range(len(X.columns)), axis=1),
        lambda X: X.assign(history=X["history"].astype(object)),
        lambda X: X.drop(columns=["who", "at"]).to_numpy(dtype=object),
    ],
    ids=["frame", "reordered", "named by numbers", "object column", "object array"],
)
def test_fit_transform_encodes_once(form, table, monkeypatch):
    X = form(make_table())
    expected = HistoryEncoder().fit(make_table()).transform(make_table())["history"]
    lengths, encode = [], EventEncoder.encode

    def count(self, columns, times, gaps, out):
        lengths.append(len(times))
        return encode(self, columns, times, gaps, out)

    monkeypatch.setattr(EventEncoder, "encode", count)
    encoder, before = HistoryEncoder().set_output(transform=table), pd.DataFrame(X)
    both = encoder.fit_transform(X)
    assert sum(lengths) == len(expected.array.log)
    apart = clone(encoder).fit(X).transform(X)
    assert pd.DataFrame(X).dtypes.equals(before.dtypes)
    assert set(both.columns) <= {*before.columns, *encoder.get_feature_names_out()}
    (name,) = [n for n, d in both.dtypes.items() if isinstance(d, HistoryDtype)]
    assert_frame_equal(both.drop(columns=name), apart.drop(columns=name))
    for found in (both[name].array, apart[name].array):
        assert found.log.layout == expected.array.log.layout
        assert_same_numbers(found, expected.array)
        assert (found.cutoffs == expected.array.cutoffs).all()


def test_the_input_stays_raw():
    """Without keys to leave out, a copy might have been forgotten."""
    X = make_table().drop(columns=["who", "at"])
    before = X.copy()
    HistoryEncoder().fit(X).transform(X)
    HistoryEncoder().fit_transform(X)
    assert list(X.columns) == list(before.columns)
    assert X["history"].dtype == before["history"].dtype
    assert X["history"].array.log is before["history"].array.log


@pytest.mark.parametrize(
    "field", ["interarrival_time", "hour_sin1", "amount_missing", "weekday_cos1"]
)
@pytest.mark.parametrize("text", [False, True])
def test_names_of_channels_are_unique(field, text):
    events = make_events()[["who", "when", "amount"]]
    own = np.arange(len(events)) % 7
    events[field] = own.astype(str) if text else own.astype(float)
    X = EventLog(events, "who", "when").attach(make_rows(), cutoff="at")
    encoder = HistoryEncoder().fit(X)
    encoding = encoder.layouts_["history"]
    names = [*encoding.channels, *encoding.codes]
    assert len(set(names)) == len(names)
    assert field in (encoding.codes if text else encoding.channels[:2])
    assert f"{field}_" in encoding.channels
    assert (
        encoding.channels[encoding.interarrival_channel].rstrip("_")
        == "interarrival_time"
    )
    # None is hidden where channels are looked at one by one.
    assert list(encoded(encoder, X)) == ["who", "when", *names]


def test_time_column_with_the_name_of_a_channel():
    events = make_events().rename(columns={"when": "interarrival_time"})
    X = EventLog(events, "who", "interarrival_time").attach(make_rows(), cutoff="at")
    frame = encoded(HistoryEncoder().fit(X), X)
    assert pd.api.types.is_datetime64_any_dtype(frame["interarrival_time"])
    assert frame["interarrival_time_"].dtype == np.float32


def test_names_of_row_features_are_unique():
    X = one_customer(count=[1.0, 2.0, 4.0], hour_sin1=[1.0, 2.0, 3.0])
    names = HistoryEncoder().fit(X).layouts_["history"].row_features
    assert len(set(names)) == len(names)


def test_levels_that_are_numbers_are_told_from_text():
    """1 is not "1": a log of another type has other levels, and is refused."""
    X = one_customer(shop=pd.Categorical([1, 2, 1]))
    encoder = HistoryEncoder().fit(X)
    other = one_customer(shop=["1", "2", "1"])
    with pytest.raises(
        ValueError, match=r"'shop' is categorical and was .* \(numbers\)"
    ):
        encoder.transform(other)
    with pytest.raises(ValueError, match=r"is categorical \(numbers\) and was"):
        HistoryEncoder().fit(other).transform(X)


# Rows to be scored --------------------------------------------------------------------


def test_columns_are_found_by_name_and_keys_under_any_name():
    X = make_table()
    encoder = HistoryEncoder().fit(X)
    assert encoder.n_features_in_ == 7
    assert encoder.get_feature_names_out(X.columns).tolist() == list(X)[2:]
    expected, events = encoder.transform(X), encoded(encoder, X)
    moved = X[X.columns[::-1]].assign(segment="new")
    renamed = X.rename(columns={"who": "id", "at": "looked_at"})
    for other in (moved, renamed, X.drop(columns=["who", "at"])):
        assert list(encoder.transform(other)) == list(expected)
        assert_frame_equal(encoded(encoder, other), events)
    again = HistoryEncoder().fit(renamed)
    assert list(again.feature_names_in_) == list(renamed)
    assert_array_equal(again.get_feature_names_out(), encoder.get_feature_names_out())
    with pytest.raises(ValueError, match=r"lacks 1 of the 5 columns.*\['age'\]"):
        encoder.transform(X.drop(columns="age"))


def test_pretrained_decides_how_events_are_encoded():
    """Levels and scales of all customers, and row features scaled by a few rows."""
    X = make_table()
    few = X.iloc[:7]
    everyone = HistoryEncoder().fit(X)
    encoder = HistoryEncoder(pretrained=everyone, half_lives=["3D"])
    encoded = encoder.fit_transform(few)["history"].array
    known = everyone.transform(few)["history"].array
    assert_array_equal(encoded.log.channels, known.log.channels)
    assert_array_equal(encoded.log.codes, known.log.codes)
    own = HistoryEncoder(half_lives=["3D"]).fit_transform(few)["history"].array
    assert own.log.layout.n_levels != encoded.log.layout.n_levels
    features = encoded.log.row_features(encoded.rows)
    assert_allclose(features.mean(axis=0), 0, atol=1e-5)
    assert len(encoded.log.layout.half_lives) == 1
    # Told apart from both.
    layouts = [one.log.layout for one in (encoded, known, own)]
    assert len({layout.digest for layout in layouts}) == 3
    assert layouts[0].of_events == layouts[1].of_events != layouts[2].of_events
