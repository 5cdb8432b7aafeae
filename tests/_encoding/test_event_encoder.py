from datetime import date

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm._encoding import (
    EncoderOptions,
    Vocabulary,
    _encode_rows,
    _fields,
    learn,
)
from sklearn_seqcrm._ragged import ranges, visible_segments
from sklearn_seqcrm._ragged._segments import BLOCK
from sklearn_seqcrm._store import Column
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_table


@pytest.mark.parametrize("n", [1, 7])
def test_a_block_of_events_is_encoded_by_itself(n, monkeypatch):
    """Its columns need only the levels of its own events."""
    rows = make_table(20, lookback="60D")["history"].array.rows
    encoder, (whole, *_) = learn(rows, EncoderOptions(None, 1, "auto"))
    monkeypatch.setattr(_encode_rows, "_WIDTH", BLOCK // n)
    _, (parts, *_) = learn(rows, EncoderOptions(None, 1, "auto"))
    seen = visible_segments(rows)
    index, offsets = ranges(seen.first, seen.last)
    times = rows.log.timeline.times[index]
    gaps = np.append(np.nan, np.diff(times))
    gaps[offsets[:-1][np.diff(offsets) > 0]] = np.nan
    for some in (slice(i, i + n) for i in range(0, len(index), n)):
        columns = {
            k: c.take(index[some]).trimmed() for k, c in rows.log.columns.items()
        }
        channels, codes = encoder.layout.empty(len(times[some]))
        encoder.encode(columns, times[some], gaps[some], out=(channels, codes))
        for log in (whole, parts):
            assert_array_equal(channels, log.channels[some])
            assert_array_equal(codes, log.codes[some])
    assert len(index) > 3 * n


@pytest.mark.parametrize("few_levels", [0, 256])
def test_a_vocabulary_prepared_for_one_log_encodes_any(few_levels, monkeypatch):
    monkeypatch.setattr(_fields, "_FEW_LEVELS", few_levels)
    vocabulary = Vocabulary(pd.Index(["b", "c"]), rare=pd.Index(["d"]))
    values = np.array([0, 1, 2, -1], "int32")
    own, other = (Column(values, pd.Index([*levels])) for levels in ("bcd", "abd"))
    for one in (
        vocabulary,
        vocabulary.prepared_for(own),
        vocabulary.prepared_for(other),
    ):
        assert_array_equal(one.encode(own, values)[0], [2, 3, 4, 1])
        assert_array_equal(one.encode(other, values)[0], [0, 2, 4, 1])
        # Of fewer events than levels, only theirs are looked up.
        few = Column(values[2:3], other.categories)
        assert_array_equal(one.encode(few, values)[0], [4])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_constant_delay_has_scale_one(unit):
    """Days since 1970 differ by rounding errors of 1e-12, which must not be a scale."""
    ordered = pd.Timestamp("2024-01-01") + pd.to_timedelta(7919 * np.arange(60), "s")
    orders = pd.DataFrame(
        {
            "who": np.repeat(list("abcdef"), 10),
            "when": ordered.as_unit(unit),
            "sent": ordered.as_unit("us") + pd.Timedelta("36h 17min"),
        }
    )
    X = EventLog(orders, "who", "when").snapshots(["2024-02-01"])
    encoder, encoded = learn(
        X["history"].array.rows, EncoderOptions(None, None, "auto")
    )
    assert encoder.fields["sent"].scale == (36 / 24 + 17 / 1440, 1.0, False)
    assert_array_equal(encoded.log.channels[:, 0], 0)


def test_levels_of_another_type_are_refused():
    """Booleans are not numbers, although 1 == True."""
    rows = pd.DataFrame({"who": ["a"]})
    pages = {
        name: EventLog(
            pd.DataFrame({"who": "a", "day": [1, 2], "code": codes}),
            "who",
            "day",
            categorical=["code"],
        ).attach(rows)
        for name, codes in (
            ("numbers", [0, 1]),
            ("booleans", [False, True]),
            ("dates", [date(2024, 1, 1), date(2024, 1, 2)]),
        )
    }
    for name, X in pages.items():
        encoder = HistoryEncoder().fit(X)
        for other in pages:
            if other != name:
                with pytest.raises(ValueError, match=f"categorical .{other}. and was"):
                    encoder.transform(pages[other])


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_an_unknown_end_stays_unknown_on_another_clock(unit):
    """Rows of a file lack the events after their cutoffs; no window is complete."""
    pa = pytest.importorskip("pyarrow")
    when = pd.to_datetime(["2024-01-01", "2024-01-05", "2024-01-03"])
    table = pd.DataFrame({"who": ["a", "a", "b"], "when": when.as_unit("s")})
    X = EventLog(table, "who", "when").snapshots(["2024-01-04"])
    encoder = HistoryEncoder().fit(X)
    table["when"] = table["when"].dt.as_unit(unit)
    X = EventLog(table, "who", "when").snapshots(["2024-01-04"])
    read = pa.Table.from_pandas(X).to_pandas()
    ends = [
        encoder.transform(rows)["history"].array.log.timeline.end_is_known
        for rows in (X, read)
    ]
    assert ends == [True, False]
