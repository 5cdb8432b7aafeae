"""Ids that differ stay different, and ids that can never match are refused."""

import datetime
import decimal
import re
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sklearn_seqcrm.events import EventLog

BIG = 2**60  # neighbours of it are one and the same float64
HUGE = 2**70  # beyond every integer of NumPy


def events_of(ids, **columns):
    """A table of one event of each id."""
    return pd.DataFrame({"who": ids, "time": range(len(ids)), **columns})


def decimals(*numbers):
    return [decimal.Decimal(number) for number in numbers]


def arrow_decimals(*numbers, scale=0):
    return pa.array(decimals(*numbers), pa.decimal128(38, scale))


def table_of(ids):
    return pa.table({"who": ids, "time": list(range(len(ids)))})


# --- Numbers stay exact -----------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (table_of(arrow_decimals(BIG + 2, BIG + 1)), [BIG + 1, BIG + 2]),
        (pl.from_arrow(table_of(arrow_decimals(BIG + 2, BIG + 1))), [BIG + 1, BIG + 2]),
        (
            table_of(arrow_decimals(BIG + 2, BIG + 1)).to_pandas(
                types_mapper=pd.ArrowDtype
            ),
            [BIG + 1, BIG + 2],
        ),
        (table_of(arrow_decimals(BIG + 2, BIG + 1, scale=2)), [BIG + 1, BIG + 2]),
        (table_of(arrow_decimals(HUGE + 2, HUGE + 1)), [HUGE + 1, HUGE + 2]),
        (pl.DataFrame({"who": [BIG + 2, BIG + 1], "time": [0, 1]}), [BIG + 1, BIG + 2]),
        (events_of(decimals(BIG + 2, BIG + 1)), [BIG + 1, BIG + 2]),
        (events_of([HUGE, -5]), [-5, HUGE]),
        (events_of(np.array([2**63 + 1, 5], "uint64")), [5, 2**63 + 1]),
        (events_of(pd.array([BIG + 2, BIG + 1], "UInt64")), [BIG + 1, BIG + 2]),
        (events_of([3.0, 1.0]), [1, 3]),
        (events_of(pd.array([3, 1], "Float64")), [1, 3]),
        (events_of(pd.Categorical([3.0, 1.0])), [1, 3]),
    ],
)
def test_whole_numbers_of_any_type_become_integers(events, expected):
    log = EventLog(events, "who", "time")
    customers = log.customers.tolist()
    assert customers == expected
    assert all(isinstance(one, int) for one in customers)
    rows = events if isinstance(events, pd.DataFrame) else events_of(expected[::-1])
    X = log.attach(rows)
    assert X["history"].array.customers.tolist() == expected[::-1]


@pytest.mark.skipif(not hasattr(pl, "Int128"), reason="an old polars")
def test_integers_of_128_bits():
    who = pl.Series([HUGE + 2, HUGE + 1], dtype=pl.Int128)
    log = EventLog(pl.DataFrame({"who": who, "time": [0, 1]}), "who", "time")
    assert log.customers.tolist() == [HUGE + 1, HUGE + 2]


@pytest.mark.parametrize("ids", [[1.5, 2.5], decimals("1.5", "2.5")])
def test_fractions_are_ids_as_well(ids):
    log = EventLog(events_of(ids), "who", "time")
    X = log.attach(events_of([2, 2.5, 1.5]))
    assert X["history"].array.lengths.tolist() == [0, 1, 1]
    assert EventLog(events_of([1, 2]), "who", "time").append(
        events_of(ids)
    ).customers.tolist() == [1, 1.5, 2, 2.5]


SMALL = [1, 2, 9]
TYPES_OF_NUMBERS = {
    "int64": lambda ids: np.array(ids, "int64"),
    "uint8": lambda ids: np.array(ids, "uint8"),
    "uint64": lambda ids: np.array(ids, "uint64"),
    "float64": lambda ids: np.array(ids, "float64"),
    "float32": lambda ids: np.array(ids, "float32"),
    "Int64": lambda ids: pd.array(ids, "Int64"),
    "decimal": lambda ids: decimals(*ids),
    "Arrow decimal": lambda ids: pd.array(
        decimals(*ids), pd.ArrowDtype(pa.decimal128(38, 0))
    ),
    "category": pd.Categorical,
}
LOGS_OF_NUMBERS = {
    "int64": np.array([1, 2, BIG + 1], "int64"),
    "uint64": np.array([1, 2, 2**63 + 1], "uint64"),
    "objects": [1, 2, HUGE],
    "floats": [1.0, 2.0, 0.5],
}


@pytest.mark.parametrize("stored", LOGS_OF_NUMBERS)
@pytest.mark.parametrize("given", TYPES_OF_NUMBERS)
def test_numbers_of_every_type_find_each_other(stored, given):
    log = EventLog(events_of(LOGS_OF_NUMBERS[stored]), "who", "time")
    rows = pd.DataFrame({"who": TYPES_OF_NUMBERS[given](SMALL)})
    X = log.attach(rows)
    assert X["history"].array.lengths.tolist() == [1, 1, 0]
    joint = log.append(events_of(rows["who"], x=0)[["who", "time"]], duplicates="keep")
    assert set(joint.customers) == {*log.customers, 9}
    assert joint.timeline.counts.sum() == 6


PAIRS = {
    "int64 and uint64": (
        np.array([BIG + 1, 3], "int64"),
        np.array([2**63 + 1, BIG + 2], "uint64"),
    ),
    "negative int64 and uint64": (
        np.array([BIG + 1, -3], "int64"),
        np.array([2**63 + 1, BIG + 2], "uint64"),
    ),
    "uint64 and int64": (
        np.array([2**63 + 1, BIG + 2], "uint64"),
        np.array([BIG + 1, -3], "int64"),
    ),
    "int64 and Decimals": ([BIG + 1, 3], decimals(BIG + 2, HUGE)),
    "int64 and floats": ([BIG + 1, 3], [5.0, 7.0]),
}


@pytest.mark.parametrize("case", PAIRS)
def test_joined_logs_keep_large_ids_apart(case):
    first, second = PAIRS[case]
    expected = sorted(int(one) for one in (*first, *second))
    logs = [EventLog(events_of(ids), "who", "time") for ids in (first, second)]
    assert logs[0].append(events_of(second)).customers.tolist() == expected
    merged = EventLog.concat(dict(zip("ab", logs, strict=True)))
    assert merged.customers.tolist() == expected
    X = pd.concat([log.attach(events_of(log.customers)) for log in logs])
    found = X["history"].array
    assert [int(one) for one in found.customers] == [
        int(one) for log in logs for one in log.customers
    ]
    assert found.lengths.tolist() == [1] * 4
    # The one of the other log is not found, though the floats of both are equal.
    X = logs[0].attach(events_of(np.array([*second, first[0]], object)))
    assert X["history"].array.lengths.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("ids", "end"),
    [
        (np.array([2.0**53, 1]), "9,007,199,254,740,992"),
        (np.array([2**24, 1], "float32"), "16,777,216"),
        (pd.array([2.0**60, 1], "Float64"), "9,007,199,254,740,992"),
    ],
)
def test_floats_that_have_lost_digits_are_refused(ids, end):
    text = (
        f"in which whole numbers from {end} on are not exact, and 1 of them are so "
        "large; read them as integers or text to begin with."
    )
    log = EventLog(events_of([2**53, 1]), "who", "time")
    with pytest.raises(ValueError, match=re.escape(text)):
        EventLog(events_of(ids), "who", "time")
    with pytest.raises(ValueError, match="customers in column 'who' of rows are of th"):
        log.attach(events_of(ids))
    with pytest.raises(ValueError, match=re.escape(text)):
        log.append(events_of(ids))


BESIDE_FRACTIONS = {
    "objects": [0.5, BIG + 1, BIG + 2],
    "beyond NumPy": [0.5, BIG + 1, HUGE],
    "negative": [-0.5, -BIG - 1, -BIG - 2],
    "Decimals": [0.5, *decimals(BIG + 1, BIG + 2)],
    "fractions as Decimals": [*decimals("0.5"), BIG + 1, BIG + 2],
}


@pytest.mark.parametrize("case", BESIDE_FRACTIONS)
def test_large_ids_beside_fractions_stay_apart(case):
    ids = BESIDE_FRACTIONS[case]
    events = events_of(pd.Series(ids, dtype=object))
    log = EventLog(events, "who", "time")
    assert log.customers.tolist() == sorted(ids)
    assert log.customers.is_unique
    found = log.attach(events)["history"].array
    assert found.customers.tolist() == ids
    assert found.lengths.tolist() == [1, 1, 1]
    levels = EventLog(
        events_of([1, 2, 3], item=pd.Series(ids, dtype=object)),
        "who",
        "time",
        categorical=["item"],
    ).column("item")
    assert levels.categories[levels.values].tolist() == ids


def test_large_ids_joined_with_fractions_stay_apart():
    large = EventLog(events_of([BIG + 1, BIG + 2]), "who", "time")
    fractions = EventLog(events_of([0.5, 2.0]), "who", "time")
    expected = [0.5, 2, BIG + 1, BIG + 2]
    for joint in (
        large.append(events_of([0.5, 2.0])),
        fractions.append(events_of([BIG + 1, BIG + 2])),
        EventLog.concat({"a": large, "b": fractions}),
    ):
        assert joint.customers.tolist() == expected
        assert joint.timeline.counts.tolist() == [1, 1, 1, 1]
        again = joint.append(events_of([BIG + 2], event="a"), duplicates="keep")
        assert again.timeline.counts.tolist() == [1, 1, 1, 2]
    rows = pd.DataFrame({"who": pd.Series([0.5, BIG + 1, BIG + 3], dtype=object)})
    for log, lengths in ((large, [0, 1, 0]), (fractions, [1, 0, 0])):
        assert log.attach(rows)["history"].array.lengths.tolist() == lengths


LOST = "in which whole numbers from {} on are not exact, and {} of them"


@pytest.mark.parametrize(
    ("ids", "end", "n_bad"),
    [
        ([0.5, float(BIG)], "9,007,199,254,740,992", 1),
        (np.array([0.5, 2.0**24], "float32"), "16,777,216", 1),
        (np.array([2.0**60, 2.0**60 + 256], object), "9,007,199,254,740,992", 2),
        (np.array([2.0**60, 5], object), "9,007,199,254,740,992", 1),
        (np.array([np.float32(2**24), 5], object), "16,777,216", 1),
    ],
)
def test_floats_that_have_lost_digits_are_refused_beside_others(ids, end, n_bad):
    text = re.escape(LOST.format(end, n_bad))
    with pytest.raises(ValueError, match=text):
        EventLog(events_of(ids), "who", "time")
    with pytest.raises(ValueError, match=text):
        EventLog(events_of([1, 2], x=ids), "who", "time", categorical=["x"])
    log = EventLog(events_of([1, 2]), "who", "time")
    with pytest.raises(ValueError, match=text):
        log.attach(events_of(ids))


@pytest.mark.parametrize("ids", [[np.inf, 1.0], [0.5, -np.inf], decimals("inf", 1)])
def test_infinite_ids_are_refused(ids):
    text = (
        "hold 1 infinite numbers, which do not identify anything; read them as "
        "integers or text to begin with, or drop those rows."
    )
    with pytest.raises(ValueError, match=f"column 'who' of events {text}"):
        EventLog(events_of(ids), "who", "time")
    with pytest.raises(ValueError, match=f"column 'x' of events {text}"):
        EventLog(events_of([1, 2], x=ids), "who", "time", categorical=["x"])
    log = EventLog(events_of([1, 2]), "who", "time")
    with pytest.raises(ValueError, match=f"column 'who' of rows {text}"):
        log.attach(events_of(ids))


LONG = 10**35  # more digits than the decimal context has


@pytest.mark.parametrize(
    "events",
    [
        events_of(decimals(LONG + 2, LONG + 1)),
        events_of(decimals(f"{LONG + 2}.0", LONG + 1)),
        table_of(arrow_decimals(LONG + 2, LONG + 1)),
        pl.from_arrow(table_of(arrow_decimals(LONG + 2, LONG + 1))),
    ],
)
@pytest.mark.parametrize("precision", [28, 3])
def test_decimals_longer_than_the_context_are_exact(events, precision):
    with decimal.localcontext() as context:
        context.prec = precision
        log = EventLog(events, "who", "time")
        assert log.customers.tolist() == [LONG + 1, LONG + 2]
        assert all(isinstance(one, int) for one in log.customers)
        X = log.attach(events_of(decimals(LONG + 2, 12345, "12345.5")))
        assert X["history"].array.lengths.tolist() == [1, 0, 0]
        levels = EventLog(
            events_of([1, 2], x=decimals(LONG + 2, "12345.5")),
            "who",
            "time",
            categorical=["x"],
        ).column("x")
        assert levels.categories.tolist() == decimals("12345.5", LONG + 2)


@pytest.mark.parametrize("ids", [[1 + 2j], np.array([1 + 2j, 3], object)])
def test_complex_numbers_are_no_ids(ids):
    log = EventLog(events_of([1, 2]), "who", "time")
    text = "customers in column 'who' of rows (are complex numbers, which have no order"
    with pytest.raises(TypeError, match=text + "; make them text|mix values)"):
        log.attach(events_of(ids))
    with pytest.raises(TypeError, match=r"Column 'who' (holds|mixes) values of the"):
        EventLog(events_of(ids), "who", "time")


@pytest.mark.parametrize("storage", ["python", None])
def test_half_of_a_surrogate_pair_is_no_id(storage):
    dtype = object if storage is None else pd.StringDtype(storage)
    ids = pd.Series(["a", "b\ud800"], dtype=dtype)
    with pytest.raises(ValueError, match=r"text 'b\\ud800', which is no valid Unicode"):
        EventLog(events_of(ids), "who", "time")


def test_float_ids_up_to_the_last_exact_one_are_found():
    log = EventLog(events_of([2**53 - 1, 2**53, 2**53 + 1]), "who", "time")
    X = log.attach(events_of([2.0**53 - 1]))
    assert X["history"].array.customers.tolist() == [2**53 - 1]


# --- Ids that can never match -----------------------------------------------------

IDS = {
    "text": ["a", "b"],
    "numbers": [1, 2],
    "booleans": [True, False],
    "Arrow booleans": pd.array([True, False], "bool[pyarrow]"),
    "UUIDs": [uuid.UUID(int=1), uuid.UUID(int=2)],
    "bytes": [b"a", b"b"],
    "dates": [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)],
    "naive datetimes": pd.to_datetime(["2024-01-01", "2024-01-02"]),
    "aware datetimes": pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True),
    "years": pd.period_range("2023", "2024", freq="Y"),
    "months": pd.period_range("2024-01", "2024-02", freq="M"),
    "lengths": pd.to_timedelta([1, 2], "D"),
    "pairs": [(1, 2), (1, 3)],
}
SAME = {"booleans", "Arrow booleans"}


@pytest.mark.parametrize("stored", IDS)
@pytest.mark.parametrize("given", IDS)
def test_ids_of_two_kinds_are_refused(stored, given):
    log = EventLog(events_of(IDS[stored]), "who", "time")
    rows = events_of(IDS[given])
    if stored == given or {stored, given} == SAME:
        assert log.attach(rows)["history"].array.lengths.tolist() == [1, 1]
        assert log.append(rows, duplicates="drop").n_customers == 2
        return
    with pytest.raises(TypeError, match="but the customers of the log are of the type"):
        log.attach(rows)
    with pytest.raises(TypeError, match="customers have the types"):
        log.append(rows)
    with pytest.raises(TypeError, match="customers have the types"):
        EventLog.concat({"a": log, "b": EventLog(rows, "who", "time")})
    with pytest.raises(TypeError, match="share a column have the types"):
        pd.concat(
            [log.attach(log.to_frame()), EventLog(rows, "who", "time").attach(rows)]
        )


@pytest.mark.parametrize(
    ("stored", "given", "text"),
    [
        (
            "text",
            "UUIDs",
            "of the type UUID, .* str.*: .astype(str) makes text of them",
        ),
        ("UUIDs", "text", ".map(uuid.UUID) makes UUIDs of text"),
        (
            "text",
            "bytes",
            "of the type bytes, .*.str.decode('utf-8') makes text of byt",
        ),
        ("text", "dates", "of the type date, .* str"),
        ("numbers", "text", ".astype('int64') makes numbers of text"),
        ("numbers", "booleans", "of the type bool, .* int64"),
        ("naive datetimes", "dates", "pd.to_datetime makes datetimes of dates"),
        ("naive datetimes", "aware datetimes", ".dt.tz_convert(None) makes naive"),
        (
            "years",
            "months",
            "period[M], .* period[Y-DEC].*cast one of them with astype",
        ),
    ],
)
def test_the_error_says_how_to_cast(stored, given, text):
    log = EventLog(events_of(IDS[stored]), "who", "time")
    with pytest.raises(TypeError) as caught:
        log.attach(events_of(IDS[given]))
    assert re.search(re.escape(text).replace(r"\.\*", ".*"), str(caught.value))


@pytest.mark.parametrize("ids", [["a", 1], [True, 2], [uuid.UUID(int=1), "a"]])
def test_ids_of_mixed_types_are_refused(ids):
    rows = pd.DataFrame({"who": np.array(ids, object)})
    log = EventLog(events_of(["a"]), "who", "time")
    with pytest.raises(TypeError, match="of rows mix values of the types"):
        log.attach(rows)
    with pytest.raises(TypeError, match="Column 'who' mixes values of the types"):
        EventLog(rows.assign(time=1), "who", "time")


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        (pd.to_datetime(["2024-01-01"]).as_unit("s"), pd.to_datetime(["2024-01-01"])),
        (
            pd.to_datetime(["2024-01-01"]),
            np.array([datetime.datetime(2024, 1, 1)], object),
        ),
        (
            pd.to_datetime(["2024-01-01"]).tz_localize("Asia/Tokyo"),
            pd.to_datetime(["2023-12-31 15:00"], utc=True),
        ),
        (["a"], pa.array(["a"]).dictionary_encode().to_pandas()),
        (["a"], pd.array(["a"], pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string())))),
        (["a" * 100_000], np.array(["a" * 100_000], object)),
    ],
)
def test_one_kind_in_two_types(stored, given):
    log = EventLog(events_of(stored), "who", "time")
    assert log.attach(events_of(given))["history"].array.lengths.tolist() == [1]
    assert log.append(events_of(given), duplicates="drop").n_customers == 1


# --- Nobody is known --------------------------------------------------------------


def test_ten_unknown_customers_are_a_warning():
    log = EventLog(events_of(["C01", "C02", "C03", "C04"]), "who", "time")
    rows = pd.DataFrame({"who": [f"c{i}" for i in range(10)] * 2})
    text = (
        "None of the 10 customers in column 'who' of rows is in the log, so that "
        "all histories are empty: 'c0', 'c1', 'c2', ... in rows, and 'C01', 'C02', "
        "'C03', ... in the log. Are their ids written differently?"
    )
    with pytest.warns(UserWarning, match=re.escape(text)):
        X = log.attach(rows)
    assert X["history"].array.lengths.tolist() == [0] * 20


@pytest.mark.parametrize(
    "who", [[], ["new"] * 20, [f"new {i}" for i in range(9)], ["a", *"cdefghijklmn"]]
)
def test_a_few_new_customers_are_no_warning(who):
    log = EventLog(events_of(["a", "b"]), "who", "time")
    assert len(log.attach(pd.DataFrame({"who": who}))) == len(who)


PADDED = [f"{i:06}" for i in range(1, 30_000)]


@pytest.mark.parametrize(
    ("known", "given", "one", "other"),
    [
        (["00123", "10000"], ["123", "10000", "20000"], "123", "00123"),
        (["123", "10000"], ["00123", "10000"], "00123", "123"),
        (["7", "8"], ["7.0"], "7.0", "7"),
        (["007", "123"], ["7.0", "x"], "7.0", "007"),
        (PADDED, [one.lstrip("0") for one in PADDED], "1", "000001"),
    ],
)
def test_ids_without_their_leading_zeros_are_a_warning(known, given, one, other):
    log = EventLog(events_of(known), "who", "time")
    text = (
        "because their ids are written differently: "
        f"{one!r} in rows, {other!r} in the log. Their histories are empty. Read"
    )
    with pytest.warns(UserWarning, match=re.escape(text)):
        log.attach(pd.DataFrame({"who": given}, index=np.arange(len(given)) + 5))


@pytest.mark.parametrize(
    ("known", "given"),
    [
        (["00123", "10000"], ["124", "00124", "x123", "12.30", "", "0", "-123"]),
        (["00123", "0x7"], ["00123", "0x7"]),
        ([123, 7], [124, 8]),
    ],
)
def test_new_customers_with_zeros_are_no_warning(known, given):
    log = EventLog(events_of(known), "who", "time")
    log.attach(pd.DataFrame({"who": given}))
