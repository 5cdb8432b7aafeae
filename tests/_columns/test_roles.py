from datetime import date
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm._columns import ColumnRoles, Table, static_type_of
from sklearn_seqcrm._columns._static_types import (
    StaticType,
    has_many_levels,
    static_parts,
)
from sklearn_seqcrm._columns._statics import as_levels, as_numbers, days_before
from sklearn_seqcrm.events import EventLog
from tests.logs import log_of_table

EVENTS = pd.DataFrame({"id": [11, 11, 12, 13], "time": [1, 3, 2, 4]})
LOG = log_of_table(EVENTS)
ROWS = pd.DataFrame({"id": [12, 11, 13], "age": [30, 50, 40], "at": [3, 3, 4]})


def statics_of(X):
    return list(ColumnRoles.of(Table.of(X)).statics)


def test_columns_get_roles():
    X = LOG.attach(LOG.attach(ROWS, cutoff=2, name="old"), cutoff="at", name="new")
    roles = ColumnRoles.of(Table.of(X))
    assert roles.histories == ("old", "new")
    assert roles.statics == {"age": "numeric"}
    assert list(roles.columns) == ["age", "old", "new"]
    # With a constant cutoff, the column "at" is no key but a feature.
    assert statics_of(LOG.attach(ROWS, cutoff=2)) == ["age", "at"]


# Keys under any name ----------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        lambda ids: ids,
        lambda ids: ids.astype(float),
        lambda ids: ids.astype(str),
        lambda ids: ids.astype(object),
        lambda ids: ids.astype("category"),
        lambda ids: ids.astype("Int64"),
        lambda ids: ids.map(Decimal),
        lambda ids: (ids / Decimal("1.00")).astype(object),
    ],
)
def test_customers_are_no_static_under_another_name(other):
    X = LOG.attach(ROWS, cutoff="at").rename(columns={"id": "who"})
    assert statics_of(X.assign(who=other(X["who"]))) == ["age"]


def test_cutoffs_are_no_static_under_another_name():
    X = LOG.attach(ROWS, cutoff="at").rename(columns={"at": "when"})
    assert statics_of(X) == ["age"]
    for unit in ("s", "ns"):
        days = pd.to_datetime(EVENTS["time"], unit="D").dt.as_unit("ms")
        rows = ROWS.assign(at=pd.to_datetime(ROWS["at"], unit="D").dt.as_unit(unit))
        log = EventLog(EVENTS.assign(time=days), "id", "time")
        X = log.attach(rows, cutoff="at").rename(columns={"at": "when"})
        assert statics_of(X) == ["age"]
        assert statics_of(X.assign(when=X["when"] - pd.Timedelta("1D"))) == [
            "age",
            "when",
        ]
        assert statics_of(X.assign(when=X["when"].astype(object))) == ["age"]
        assert statics_of(X.assign(when=X["when"].dt.tz_localize("UTC"))) == [
            "age",
            "when",
        ]


@pytest.mark.parametrize("unit", [1, 0.5])
@pytest.mark.parametrize(
    "codes",
    [
        np.array([2**63 + 5, 2**64 - 1, 2**63], "uint64"),
        np.array([-(2**63), 2**63 - 1, 0]),
        pd.Series([2**1100, 5, -(2**1100)], dtype=object),
    ],
    ids=["uint64", "int64", "Python"],
)
def test_large_whole_numbers_are_no_cutoffs(codes, unit):
    log = log_of_table(EVENTS.assign(time=EVENTS["time"] * unit))
    rows = ROWS.assign(code=codes).drop(columns="age")
    assert "code" in ColumnRoles.of(Table.of(log.attach(rows, cutoff="at"))).statics


@pytest.mark.parametrize(("exact", "cutoffs"), [(False, [3, 3, 4]), (True, [2, 3, 3])])
def test_cutoffs_between_the_ticks_of_the_log(exact, cutoffs):
    rows = ROWS.assign(at=[2.5, 3.0, 3.5])
    X = LOG.attach(rows, cutoff="at", allow_exact_matches=exact)
    assert_array_equal(X["history"].array.rows.cutoff, cutoffs)
    assert statics_of(X.rename(columns={"at": "when"})) == ["age"]


def test_ids_that_are_moments_in_another_zone():
    ids = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"], utc=True)
    log = EventLog(pd.DataFrame({"id": ids, "time": [1, 2, 3]}), "id", "time")
    rows = pd.DataFrame({"id": ids, "age": [30, 50, 40]})
    X = log.attach(rows, cutoff=9).rename(columns={"id": "since"})
    assert statics_of(X.assign(since=X["since"].dt.tz_convert("Asia/Tokyo"))) == ["age"]


def test_keys_of_the_second_history():
    shops = pd.DataFrame({"shop": ["x", "y", "z"], "when": [1.0, 2.0, 3.0]})
    X = LOG.attach(ROWS, cutoff="at").assign(shop=["x", "y", "z"], then=[1.5, 2.5, 9.5])
    X = EventLog(shops, "shop", "when").attach(X, cutoff="then", name="shops")
    assert statics_of(X.rename(columns={"shop": "store", "then": "later"})) == ["age"]


def test_one_other_value_makes_a_key_a_static():
    many = pd.DataFrame({"id": np.tile([11, 12, 13], 20), "at": np.arange(60)})
    X = LOG.attach(many, cutoff="at").assign(who=many["id"], when=many["at"])
    assert statics_of(X) == []
    X.loc[59, ["who", "when"]] = 14
    assert statics_of(X) == ["who", "when"]


@pytest.mark.parametrize("missing", [[], [0], [7, 8], range(5), range(25)])
@pytest.mark.parametrize("dtype", ["float64", "Int64", "str", object])
def test_ids_of_a_left_join_are_no_static(missing, dtype):
    """Customers who are not in the joined table have no id there."""
    ids = pd.Series(np.arange(30))
    log = log_of_table(pd.DataFrame({"id": ids, "time": ids}))
    X = log.attach(pd.DataFrame({"id": ids, "at": ids + 30}), cutoff="at")
    beside = pd.DataFrame({"theirs": ids.astype(dtype)}).drop(missing)
    # Five values may be equal by chance.
    expected = ["theirs"] if len(missing) == 25 else []
    assert statics_of(X.join(beside)) == expected
    beside.loc[29, "theirs"] = beside.loc[28, "theirs"]
    assert "theirs" in statics_of(X.join(beside))


@pytest.mark.parametrize("missing", [[0], [7, 8], range(5)])
@pytest.mark.parametrize("unit", [None, "D"])
def test_a_cutoff_that_is_missing_elsewhere_is_a_static(missing, unit):
    """The date of a mailing tells who got it."""
    ids, time = pd.Series(np.arange(30)), pd.Series(np.arange(30, 60))
    time = time if unit is None else pd.to_datetime(time, unit=unit)
    rows = pd.DataFrame({"id": ids, "at": time})
    X = log_of_table(rows.rename(columns={"at": "time"})).attach(rows, cutoff="at")
    assert statics_of(X.assign(mailed_at=X["at"])) == []
    mailed_at = X["at"].mask(ids.isin(missing))
    assert statics_of(X.assign(mailed_at=mailed_at)) == ["mailed_at"]


def test_customers_not_in_the_log_are_ignored():
    rows = ROWS.assign(id=[12, 99, 13])
    X = LOG.attach(rows, cutoff="at").rename(columns={"id": "who"})
    assert statics_of(X) == ["age"]


def test_one_customer_or_one_cutoff_may_be_chance():
    X = LOG.attach(pd.DataFrame({"id": [11, 11], "age": [11, 11]}), cutoff=3)
    assert statics_of(X) == ["age"]
    assert statics_of(X.assign(week=3)) == ["age", "week"]


def test_keys_of_an_object_array():
    X = LOG.attach(ROWS, cutoff="at")[["at", "age", "history", "id"]]
    objects = pd.DataFrame(X.to_numpy(dtype=object), columns=list("abcd"))
    array = X["history"].array
    assert statics_of(objects.assign(c=array.astype(object))) == ["b"]


def test_values_that_cannot_be_hashed_are_no_keys():
    X = LOG.attach(ROWS, cutoff="at").assign(tags=[["a"], ["b"], []])
    assert statics_of(X) == ["age", "tags"]


# Rows to be scored ------------------------------------------------------------


def test_columns_are_found_by_name():
    X = LOG.attach(ROWS, cutoff="at").assign(city=["x", "y", "z"])
    roles = ColumnRoles.of(Table.of(X))
    first = roles.select(X, None).frame
    assert list(first) == ["age", "history", "city"]
    assert roles.select(first, None).frame is first
    moved = X[["city", "history", "age"]].assign(more=1, later=2)
    pd.testing.assert_frame_equal(roles.select(moved, None).frame, first)


def test_missing_columns():
    X = LOG.attach(ROWS, cutoff="at")
    roles = ColumnRoles.of(Table.of(X))
    with pytest.raises(
        ValueError,
        match=r"lacks 1 of the 2 columns that object saw in fit: \['history'\]\. "
        r"It has columns that fit did not see: \['past'\]",
    ):
        roles.select(X.rename(columns={"history": "past"}), object())


def test_arrays_have_no_names():
    objects = LOG.attach(ROWS, cutoff="at").to_numpy(dtype=object)
    roles = ColumnRoles.of(Table.of(objects))
    assert list(roles.columns) == ["x1", "x3"]
    with pytest.raises(ValueError, match=r"has 3 columns without names.*fitted on 4"):
        roles.select(objects[:, :3], object())


def test_names_after_none_warn_in_the_line_of_the_user():
    X = LOG.attach(ROWS, cutoff="at")
    roles = ColumnRoles.of(Table.of(X.to_numpy(dtype=object)))
    with pytest.warns(UserWarning, match="object was fitted without") as found:
        table = roles.select(X, object())
    assert list(table.frame) == ["x1", "x3"]
    assert [one.filename for one in found] == [__file__]


# Types of statics -------------------------------------------------------------

NAN = np.nan
DATES = pd.to_datetime(["2024-01-09", None])
COLUMNS = {
    "int": ([1, 2], "numeric", [1, 2]),
    "infinite": ([np.inf, -np.inf], "numeric", [NAN, NAN]),
    "huge": ([1e300, -1e300], "numeric", [1e150, -1e150]),
    "bool": ([True, False], "numeric", [1, 0]),
    "nullable": (pd.array([3, None], "Int64"), "numeric", [3, NAN]),
    "arrow decimal": (
        pd.array([Decimal(3), None], pd.ArrowDtype(pa.decimal128(5))),
        "numeric",
        [3, NAN],
    ),
    "decimals": ([Decimal("2.5"), None], "numeric", [2.5, NAN]),
    "decimals and floats": ([Decimal("2.5"), 1.5], "numeric", [2.5, 1.5]),
    "decimals and integers": ([Decimal("2.5"), 1], "numeric", [2.5, 1]),
    "fractions": ([Fraction(5, 2), None], "numeric", [2.5, NAN]),
    "objects": (pd.Series([1, NAN], dtype=object), "numeric", [1, NAN]),
    "bool objects": (pd.Series([True, None], dtype=object), "numeric", [1, NAN]),
    "durations": (pd.to_timedelta(["36h", None]), "numeric", [1.5, NAN]),
    "duration objects": (
        pd.Series([pd.Timedelta("36h"), None], dtype=object),
        "numeric",
        [1.5, NAN],
    ),
    "datetimes": (DATES, "datetime", [1, NAN]),
    "datetime objects": (
        pd.Series([DATES[0], None], dtype=object),
        "datetime",
        [1, NAN],
    ),
    "dates": ([date(2024, 1, 9), None], "datetime", [1, NAN]),
    "arrow dates": (
        pd.array([date(2024, 1, 9), None], "date32[pyarrow]"),
        "datetime",
        [1, NAN],
    ),
    "text": (["x", None], "category", ["x", None]),
    "categories": (pd.Categorical(["x", None]), "category", ["x", None]),
    "numbers as categories": (pd.Categorical([7, None]), "category", ["7", None]),
    "the same as floats": (pd.Categorical([7.0, None]), "category", ["7", None]),
    "mixed": ([7, "x"], "category", ["7", "x"]),
    "nothing": (pd.Series([None, None], dtype=object), "category", [None, None]),
    "NA": (pd.Series(["x", pd.NA], dtype="string"), "category", ["x", None]),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_types_and_values_of_statics(case):
    values, name, expected = COLUMNS[case]
    column = pd.Series(values, name="v")
    assert static_type_of(column) == name
    cutoffs = pd.DatetimeIndex(["2024-01-10"] * 2)
    read = {
        "numeric": as_numbers,
        "datetime": lambda column: days_before(column, cutoffs),
        "category": as_levels,
    }[name]
    assert_array_equal(read(column), np.array(expected))


def test_a_type_without_a_method_cannot_be_made():
    class Duration(StaticType):
        name, needs_cutoffs, is_categorical = "duration", False, False

    with pytest.raises(TypeError, match=r"abstract.*(encoder|features|includes)"):
        Duration()


@pytest.mark.parametrize(
    "missing",
    [
        pd.to_datetime([None, None]),
        pd.Series([pd.NaT, None], dtype=object),
        pd.to_timedelta([None, None]),
        [NAN, NAN],
        pd.Series([None, pd.NA], dtype=object),
    ],
)
def test_missing_values_of_any_type(missing):
    """pandas infers datetimes for a row of NaT alone, also in a column of durations."""
    column = pd.Series(missing)
    assert np.isnan(as_numbers(column)).all()
    assert np.isnan(days_before(column.astype(object), DATES[[0, 0]])).all()
    assert as_levels(column).tolist() == [None, None]


@pytest.mark.parametrize(
    "day",
    [pd.Timedelta("1D"), pd.Timedelta("1D").to_pytimedelta(), np.timedelta64(24, "h")],
)
def test_durations_alone_and_beside_numbers(day):
    """A row is read the same alone and in company."""
    missing = np.timedelta64("NaT", "s")
    for values in ([day, None], [day, 2.5], [day, missing, True, None]):
        column = pd.Series(values, dtype=object)
        alone = [as_numbers(column.iloc[[i]])[0] for i in range(len(values))]
        assert_array_equal(as_numbers(column), alone)
        assert alone[0] == 1
        assert as_numbers(column.iloc[:1].astype("category"))[0] == 1


def test_levels_with_half_of_a_surrogate_pair_are_refused():
    """The names of the columns that are made of them could not hold it."""
    X = pd.DataFrame({"city": pd.Series(["ab", "a\ud800"], dtype=object)})
    match = r"levels of the column 'city' have the text 'a\\ud800', which"
    with pytest.raises(ValueError, match=match):
        static_parts()[-1][1].fit(X)


def test_datetimes_of_numpy_beside_those_of_python():
    column = pd.Series([np.datetime64("2024-01-01"), date(2024, 1, 2)], dtype=object)
    cutoffs = pd.DatetimeIndex(["2024-01-10"] * 2)
    assert_array_equal(days_before(column, cutoffs), [9, 8])


@pytest.mark.parametrize(
    "column",
    [
        DATES,
        pd.Categorical(DATES),
        [1j, 2.0],
        pd.Series([np.datetime64(9, "D"), 1.0], dtype=object),
        pd.Series([pd.Timedelta("1D"), np.complex64(1j)], dtype=object),
    ],
)
def test_columns_that_are_no_quantities(column):
    with pytest.raises(TypeError, match="'v' held numbers in fit, but now"):
        as_numbers(pd.Series(column, name="v"))


@pytest.mark.parametrize("dtype", ["period[M]", object])
def test_periods_are_refused(dtype):
    """As levels, all later months would be unknown."""
    joined = pd.Series(pd.period_range("2023-01", periods=3, freq="M"), name="joined")
    X = joined.astype(dtype).to_frame()
    with pytest.raises(TypeError, match="'joined' holds periods") as caught:
        static_type_of(X["joined"])
    # Both ways out do what the error says.
    assert "pd.PeriodIndex(X['joined']).to_timestamp()" in str(caught.value)
    begins = X.assign(joined=pd.PeriodIndex(X["joined"]).to_timestamp())
    assert static_type_of(begins["joined"]) == "datetime"
    assert "X['joined'].astype(str)" in str(caught.value)
    assert static_type_of(X["joined"].astype(str)) == "category"


@pytest.mark.parametrize("dtype", ["complex128", object])
def test_complex_statics_are_refused(dtype):
    """In fit, the error said that they had been other numbers in fit."""
    signal = pd.Series([1j, 2j, 0j], dtype=dtype)
    X = LOG.attach(ROWS.assign(signal=signal), cutoff="at")
    with pytest.raises(TypeError, match=r"'signal' holds complex numbers, .*\.real\."):
        statics_of(X)


def test_integers_beyond_the_floats_are_an_error_with_the_column():
    with pytest.raises(ValueError, match=r"Column 'v' holds an integer that is too"):
        as_numbers(pd.Series([10**400, 1], name="v", dtype=object))


def test_arrow_lists_are_no_categories():
    lists = pd.Series([[1.0]], name="v", dtype=pd.ArrowDtype(pa.list_(pa.float64())))
    with pytest.raises(TypeError, match="Column 'v' holds values of the type list, wh"):
        as_levels(lists)
    assert not has_many_levels(lists)


@pytest.mark.parametrize("dtype", [None, object])
@pytest.mark.parametrize("column", [[20240109, 20240110], [2024.0, NAN], [True, False]])
def test_numbers_are_no_datetimes(column, dtype):
    """The unit of a time since 1970 would be unknown."""
    with pytest.raises(ValueError, match="'v' must hold datetimes"):
        days_before(pd.Series(column, name="v", dtype=dtype), DATES[[0, 0]])


@pytest.mark.parametrize("dtype", [object, "datetime64[s]", "float64"])
def test_days_of_missing_datetimes(dtype):
    """Without a value, a column has no zone: a row alone equals it in company."""
    missing = pd.Series([None, None], dtype=dtype)
    for cutoffs in (DATES[[0, 0]], DATES[[0, 0]].tz_localize("UTC")):
        assert_array_equal(days_before(missing, cutoffs), [NAN, NAN])


def test_days_before_a_cutoff_in_several_time_zones():
    """A driver returns the offset of each time, which daylight saving changes."""
    texts = ["2024-03-30 12:00+01:00", None, "2024-03-31 12:00+02:00"]
    stamps = pd.Series(texts, dtype=object).map(pd.Timestamp, na_action="ignore")
    cutoffs = pd.DatetimeIndex(["2024-04-01 10:00+00:00"] * 3)
    for column in (stamps, pd.Series(texts)):
        assert_array_equal(days_before(column, cutoffs), [1 + 23 / 24, NAN, 1])


@pytest.mark.parametrize(
    ("born", "days"),
    [
        ([date(2024, 1, 1), None], [1, NAN]),
        (["2024-01-01", "2024-01-01 12:00"], [1, 0.5]),
        # Midnight in Tokyo is nine hours earlier in UTC.
        ([pd.Timestamp("2024-01-01", tz="Asia/Tokyo"), None], [1 + 9 / 24, NAN]),
    ],
)
def test_the_error_about_zones_shows_code_that_converts_objects(born, days):
    """Objects, such as dates, have no ``.dt.tz_localize``."""
    X = pd.DataFrame({"born": pd.Series(born, dtype=object)})
    is_aware = getattr(born[0], "tzinfo", None) is not None
    cutoffs = pd.DatetimeIndex(["2024-01-02"] * 2, tz=None if is_aware else "UTC")
    with pytest.raises(ValueError, match="not both naive or both") as error:
        days_before(X["born"], cutoffs)
    _, advice = str(error.value).split("for example ")
    converted = eval(advice.removesuffix("."), {"pd": pd, "X": X})
    assert_array_equal(days_before(converted, cutoffs), days)


def test_days_before_a_cutoff_are_exact():
    """Also in a year beyond the range of the unit of the cutoffs."""
    cutoffs = pd.DatetimeIndex(["2024-01-01 10:00", "2024-01-02 13:30"]).as_unit("ns")
    signup = pd.Series(cutoffs - pd.Timedelta("36h 17min"))
    assert set(days_before(signup, cutoffs)) == {36 / 24 + 17 / 1440}
    ends = pd.Series(np.array(["9999-12-31 10:00", "NaT"], "M8[s]"))
    assert_array_equal(days_before(ends, cutoffs), [-2913173, np.nan])


def test_datetimes_as_text_must_be_in_iso_8601():
    """Both of pandas' readings of 05.03.2024 would move scores, without a warning."""
    texts = ["2024-01-01", None, "2024-01-02 12:00:00,0", ""]
    cutoffs = pd.DatetimeIndex(["2024-01-10"] * 4)
    for dtype in (object, "string", "category"):
        days = days_before(pd.Series(texts, dtype=dtype), cutoffs)
        assert_array_equal(days, [9, np.nan, 7.5, np.nan])
    for text in ("05.03.2024", "18.03.2024", "2024", "soon"):
        column = pd.Series(["2024-01-01", text, None, None], name="v")
        with pytest.raises(ValueError, match=rf"'v' must be in ISO 8601 .*'{text}'"):
            days_before(column, cutoffs)
    column = pd.Series(["1.1.2024", "2.1.2024", "3.1.2024", "4.1.2024"])
    with pytest.raises(ValueError, match=r"got '1\.1\.2024'"):  # the first one
        days_before(column, cutoffs)


def test_values_of_another_type_than_in_fit():
    with pytest.raises(TypeError, match=r"'v' held numbers in fit, but now.*soon"):
        as_numbers(pd.Series(["soon"], name="v"))
    mixed = pd.Series([DATES[0], DATES[0].tz_localize("UTC")], name="v", dtype=object)
    with pytest.raises(ValueError, match=r"'v' mix naive and .*utc=True"):
        days_before(mixed, DATES.tz_localize("UTC"))
    with pytest.raises(TypeError, match=r"'v' holds values of the type list"):
        as_levels(pd.Series([["a"], None], name="v"))
