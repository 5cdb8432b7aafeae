"""What a log in partitions accepts, counts and refuses."""

import re
from functools import partial
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.partitions import PartitionedLog, _partitioned_log, _schema
from sklearn_seqcrm.partitions._engines import Part
from sklearn_seqcrm.targets import churned
from tests.partitions.visits import PARTS, VISITS, log_of_parts


def test_items_may_be_tables_logs_paths_and_functions(tmp_path):
    log = EventLog(VISITS[2:4], "who", "day")
    log.to_disk(tmp_path / "log")
    expected = log_of_parts().snapshots([5]).map(lambda X: churned(X, 4))
    for second in (log, tmp_path / "log", str(tmp_path / "log"), lambda: VISITS[2:4]):
        parts = [VISITS[:2], second, VISITS[4:]]
        found = log_of_parts(parts).snapshots([5]).map(lambda X: churned(X, 4))
        assert_frame_equal(found, expected)


@pytest.mark.parametrize("kinds", [None, {"o": ["spend"]}])
def test_items_may_be_tables_and_queries_of_any_library(kinds):
    pa, pl = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    pandas = [part.assign(event="o") for part in PARTS]
    parts = [pl.from_pandas(pandas[0]).lazy(), pa.Table.from_pandas(pandas[1])]
    parts.append(pl.from_pandas(pandas[2]))
    found, expected = (log_of_parts(one, kinds=kinds) for one in (parts, pandas))
    assert found.fields == expected.fields
    found, expected = (
        one.snapshots([5]).map(lambda X: X["history"].array.lengths)
        for one in (found, expected)
    )
    assert_frame_equal(found, expected)


def test_processes_of_joblib_give_the_same():
    rows = log_of_parts(n_jobs=2).snapshots([5, 7])
    found = rows.map(lambda X: X["history"].array.lengths)
    assert found["0"].tolist() == [1, 1, 1, 1, 2, 2]


def test_a_customer_in_two_partitions_is_named():
    parts = [VISITS[:3], VISITS[3:]]
    message = r"The customer 'b' has events in the partitions 0 and 1.*shuffle"
    with pytest.raises(ValueError, match=message):
        log_of_parts(parts)


def test_a_repeated_customer_is_named_with_its_partitions():
    """One of two customers with events in the first partition and in another one."""
    for one, other in permutations("adeg", 2):
        items = [[one, other], [one], [other]]
        parts = [pd.DataFrame({"who": who, "day": 1}) for who in items]
        with pytest.raises(ValueError, match="The customer") as caught:
            log_of_parts(parts)
        where = {one: "0 and 1", other: "0 and 2"}
        texts = [f"{who!r} has events in the partitions {where[who]}," for who in where]
        assert any(text in str(caught.value) for text in texts)


def test_a_customer_in_all_partitions_is_counted_once():
    with pytest.raises(ValueError, match="and 1 customers have events in several"):
        log_of_parts([VISITS[:1]] * 4)


def test_attached_customers_without_events_stay():
    people = pd.DataFrame({"who": ["z", "c", "a", "y"], "age": [1, 2, 3, 4]})
    rows = log_of_parts().attach(people, cutoff=5)
    found = rows.map(lambda X: X.assign(n=X["history"].array.lengths)[["age", "n"]])
    found = found.set_index("who")["n"]
    assert found.to_dict() == {"z": 0, "c": 2, "a": 1, "y": 0}
    counts = rows.counts()
    assert counts["n_unmatched"].sum() == 2
    assert counts["n_empty"].sum() == 2
    # Without a cutoff, everything known so far is seen, in each partition.
    whole = log_of_parts().attach(people).map(lambda X: X["history"].array.lengths)
    assert whole.set_index("who")["0"].to_dict() == {"z": 0, "c": 2, "a": 2, "y": 0}
    assert (whole["cutoff"] == 9).all()


def test_unmatched_statics_are_missing_and_counted():
    people = pd.DataFrame({"who": ["c", "a", "z"], "age": [2, 3, 9]})
    rows = log_of_parts().snapshots([5], statics=people)
    found = rows.map(lambda X: X["age"].astype(float)).set_index("who")["age"]
    assert found["a"] == 3
    assert np.isnan(found["b"])
    assert "z" not in found
    assert rows.counts()["n_unmatched"].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("statics", "error", "message"),
    [
        ({"who": ["a", "a"], "x": [1, 2]}, ValueError, "several rows of the customer"),
        ({"who": [1, 2], "x": [1, 2]}, TypeError, "no id would match"),
        ({"who": ["a", None], "x": [1, 2]}, ValueError, "missing"),
        ({"who": ["a"], "day": [1], "cutoff": [2]}, ValueError, "repeats the columns"),
        ({"id": ["a"]}, KeyError, "no customer column 'who'"),
    ],
)
def test_wrong_statics(statics, error, message):
    with pytest.raises(error, match=message):
        log_of_parts().snapshots([5], statics=pd.DataFrame(statics)).counts()


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([], ValueError, "no partition"),
        ([VISITS[:0]], ValueError, "no rows"),
        (VISITS, TypeError, "must be a Dask DataFrame"),
        ("log", TypeError, "must be a Dask DataFrame"),
        (
            [VISITS[:2], VISITS[2:].assign(spend="x")],
            ValueError,
            "Field 'spend' is numeric in partition 0 and categorical in partition 1",
        ),
        (
            [VISITS[:2], VISITS[2:].drop(columns="spend")],
            ValueError,
            re.escape("partition 0 ['spend'], partition 1 []"),
        ),
        (
            [VISITS[:2], VISITS[2:].assign(who=range(4))],
            TypeError,
            "no id would match",
        ),
        (
            [VISITS[:2], VISITS[2:].assign(day=pd.Timestamp("2024-01-01"))],
            ValueError,
            "The times of partition 0 are .*, those of partition 1",
        ),
    ],
)
def test_wrong_partitions(parts, error, message):
    with pytest.raises(error, match=message):
        log_of_parts(parts)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_errors_of_reading_name_the_partition(n_jobs):
    parts = [PARTS[0], PARTS[1].drop(columns="day"), PARTS[2]]
    with pytest.raises(KeyError, match="no time column 'day'") as caught:
        log_of_parts(parts, n_jobs=n_jobs)
    assert caught.value.__notes__ == ["Raised for the events of partition 1."]


def test_wrong_options():
    with pytest.raises(ValueError, match="observed_until=8 lies before"):
        log_of_parts(observed_until=8)
    with pytest.raises(ValueError, match="n_partitions=2, but events is a list of 3"):
        log_of_parts(n_partitions=2)
    with pytest.raises(TypeError, match="categorical"):
        log_of_parts(categorical="spend")
    with pytest.raises(KeyError, match="no column 'event' for kind_field"):
        log_of_parts(kinds={"order": ["spend"]})
    with pytest.raises(ValueError, match="There are 1 tables of rows for 3"):
        log_of_parts().attach([VISITS])


DAYS = pd.date_range("2024-01-01", periods=12)
DATED = pd.DataFrame({"who": np.arange(12) // 4, "day": DAYS})
NUMBERED = pd.DataFrame({"who": np.arange(40) // 10, "day": np.arange(40)})


@pytest.mark.parametrize(
    ("table", "cutoffs", "message"),
    [
        (DATED, ["2023-06-01"], "first event of the log, at 2024-01-01"),
        (DATED, ["2024-01-09", "2024-04-01"], "1 of 2 cutoffs lie after 2024-01-12"),
        (NUMBERED, [-2, 0], "first event of the log, at 0,"),
        (NUMBERED, [100], "1 of 1 cutoffs lie after 39"),
    ],
)
def test_cutoffs_outside_of_all_partitions_are_one_warning(table, cutoffs, message):
    last = table["who"].max()
    parts = [table[table["who"] == last], table[table["who"] < last]]
    log = log_of_parts(parts)
    with pytest.warns(UserWarning, match=message) as found:
        rows = log.snapshots(cutoffs)
    assert [one.filename for one in found] == [__file__]
    rows.map(lambda X: X["history"].array.lengths)  # without a warning
    with pytest.warns(UserWarning, match=message.split("cutoffs ")[-1]):
        EventLog(table, "who", "day").snapshots(cutoffs)


@pytest.mark.parametrize("as_functions", [False, True])
def test_dates_as_numbers_are_one_warning(as_functions):
    day = [20240131, 20240201, 20240229, 20240105]
    table = pd.DataFrame({"who": [0, 0, 1, 1], "day": day})
    parts = [table[:2], table[2:], table[:0]]
    if as_functions:
        parts = [partial(pd.DataFrame, part) for part in parts]
    with pytest.warns(UserWarning, match="'day' .* 20240105 to 20240229") as found:
        log = PartitionedLog(parts, "who", "day")
    assert [one.filename for one in found] == [__file__]
    log.snapshots([20240202]).map(
        lambda X: X["history"].array.lengths
    )  # without a warning


def test_decimal_commas_are_one_warning():
    def prices(first):
        ids = np.arange(first, first + 30)
        text = [f"{one},50" for one in ids]
        return pd.DataFrame({"customer": ids, "time": ids, "price": text})

    parts = [prices(0), prices(100)]
    with pytest.warns(UserWarning, match="price.* decimal commas") as found:
        PartitionedLog(parts, "customer", "time")
    assert len(found) == 1
    assert found[0].filename == __file__
    PartitionedLog(parts, "customer", "time", categorical=["price"])


@pytest.mark.parametrize("copied_first", [False, True])
def test_a_table_of_copies_is_one_warning(copied_first):
    """A shuffle brings the copies of an event into one partition."""
    ids = np.arange(30)
    lines = pd.DataFrame({"who": ids, "day": ids % 7, "price": ids * 2.5})
    parts = [lines, pd.concat([lines.assign(who=100 + ids % 5)] * 2)]
    parts = parts[::-1] if copied_first else parts
    message = "Each of the first 60 events is in a partition at least twice"
    with pytest.warns(UserWarning, match=message) as found:
        PartitionedLog(parts, "who", "day")
    assert len(found) == 1
    assert found[0].filename == __file__


def test_the_repr_names_the_fields_of_each_type():
    table = DATED.assign(n=1.0, city="Rome")
    log = PartitionedLog([table[:8], table[8:]], "who", "day")
    assert repr(log) == (
        "PartitionedLog(12 events, 2 partitions, numeric: n; categorical: city)"
    )
    assert "fields: none" in repr(PartitionedLog([DATED], "who", "day"))


def test_logs_do_not_warn_again_of_decimal_commas(tmp_path):
    ids = np.arange(30)
    table = pd.DataFrame({"customer": ids, "time": ids})
    table["price"] = [f"{one},50" for one in ids]
    log = EventLog(table, "customer", "time", categorical=["price"])
    PartitionedLog([log], "customer", "time")
    log.to_disk(tmp_path / "log")
    PartitionedLog([tmp_path / "log"], "customer", "time")


def test_times_that_are_dates_in_one_partition_are_no_warning():
    # The first and the last of all times are dates.
    times = [20240131, 20240132, 20240105, 20240201]
    table = pd.DataFrame({"who": [0, 0, 1, 1], "day": times})
    PartitionedLog([table[:2], table[2:]], "who", "day")


def test_cutoffs_of_one_partition_are_no_warning():
    # Before all events of the last partition, and long after those of the first.
    parts = [DATED[:4], DATED[4:8].assign(day=DAYS[4:8] + pd.Timedelta("300D"))]
    log = log_of_parts(parts)
    log.snapshots(["2024-01-03", "2024-10-01"])
    log.snapshots(["2023-01-01"], min_events=0)
    log.attach(pd.DataFrame({"who": [0, 1]}))


@pytest.mark.parametrize("divided", [True, False])
def test_late_cutoffs_of_attached_rows_are_one_warning(divided):
    log = log_of_parts([DATED[:4], DATED[4:]])
    rows = pd.DataFrame({"who": [0, 1, 9], "at": DAYS[[3, 4, 5]]})
    table = [rows[:1], rows[1:]] if divided else rows
    log.attach(table, cutoff="at")
    rows.loc[1, "at"] = pd.Timestamp("2024-06-01")
    table = [rows[:1], rows[1:]] if divided else rows
    with pytest.warns(UserWarning, match="1 of 3 cutoffs lie after 2024-01-12"):
        log.attach(table, cutoff="at")
    with pytest.warns(UserWarning, match="1 of 1 cutoffs lie after") as found:
        log.attach(table, cutoff="2024-06-01")
    assert [one.filename for one in found] == [__file__]


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_tables_of_partitions_may_be_of_any_library(kind, library):
    people = pd.DataFrame({"who": [0, 1, 2], "at": DAYS[[1, 6, 9]], "age": [3, 4, 5]})
    people.loc[2, "at"] = pd.Timestamp("2024-06-01")
    parts = [people[:1], people[1:2], people[2:]]
    if library == "polars":
        parts = [*map(pytest.importorskip("polars").from_pandas, parts)]
    elif library == "pyarrow":
        parts = [*map(pytest.importorskip("pyarrow").Table.from_pandas, parts)]
    log = log_of_parts([DATED[:4], DATED[4:8], DATED[8:]])
    with pytest.warns(UserWarning, match="1 of 3 cutoffs lie after 2024-01-12"):
        rows = log.attach(kind(parts), cutoff="at")
    found = rows.map(lambda X: X["history"].array.lengths)
    assert found["0"].tolist() == [1, 2, 4]
    rows = log.snapshots(["2024-01-12"], statics=kind(parts))
    assert rows.map(lambda X: X["age"])["age"].tolist() == [3, 4, 5]


@pytest.mark.parametrize("item", ["rows.parquet", lambda: VISITS])
@pytest.mark.parametrize("method", ["snapshots", "attach"])
def test_items_of_rows_must_be_tables(method, item):
    tables = [VISITS[:2], VISITS[2:4], item]
    log = log_of_parts()
    with pytest.raises(TypeError, match="Table 2 must be a pandas, polars or pyarrow"):
        log.attach(tables) if method == "attach" else log.snapshots([5], statics=tables)


def test_kinds_that_are_not_named_are_refused():
    parts = [part.assign(event="view") for part in PARTS]
    with pytest.raises(ValueError, match=r"holds \['view'\], which kinds does not"):
        log_of_parts(parts, kinds={"order": ["spend"]})


def kinds_of_events(one, **others):
    """Return a log of several kinds, each of one customer."""
    tables = {
        kind: pd.DataFrame({"who": one, "day": [1, 2, 3], "v": [1.0, 2, 3]})
        for kind in others.pop("kinds")
    }
    logs = {kind: EventLog(table, "who", "day") for kind, table in tables.items()}
    return EventLog.concat(logs)


def test_a_partition_may_lack_a_kind():
    one = kinds_of_events("a", kinds=["view"])
    both = kinds_of_events("b", kinds=["view", "order"])
    names = []
    for parts in ([one, both], [both, one]):
        log = log_of_parts(parts)
        rows = log.snapshots([4])
        kinds = rows.map(
            lambda X: np.full(len(X), str(sorted(X["history"].array.log.kinds)))
        )
        assert kinds["0"].tolist() == ["['order', 'view']"] * 2
        found = rows.fit(HistoryAggregator(min_rows=1))
        names.append(sorted(found.get_feature_names_out()))
    assert names[0] == names[1]
    assert any("order" in name for name in names[0])


def test_a_kind_has_the_same_fields_in_all_partitions():
    def log_with(who, fields):
        table = pd.DataFrame({"who": who, "day": [1, 2], "v": [1.0, 2], "w": [1.0, 2]})
        both = EventLog(table, "who", "day")
        return EventLog.concat({"a": EventLog(table, "who", "day", fields), "b": both})

    with pytest.raises(ValueError, match=r"kind 'a' have the fields \['v'\].*\['w'\]"):
        log_of_parts([log_with("a", ["v"]), log_with("b", ["w"])])
    plain = EventLog(
        pd.DataFrame({"who": "c", "day": [1], "v": 1.0, "w": 1.0, "event": "a"}),
        "who",
        "day",
    )
    with pytest.raises(ValueError, match="field 'event' in partition 0, and in None"):
        log_of_parts([log_with("a", ["v"]), plain])


def test_logs_that_are_observed_until_different_days_are_refused():
    logs = [
        EventLog(part, "who", "day", observed_until=until)
        for part, until in zip(PARTS[:2], (100, 10), strict=True)
    ]
    with pytest.raises(ValueError, match="until 100, that of partition 1 until 10"):
        log_of_parts(logs)
    with pytest.raises(ValueError, match="observed_until="):
        log_of_parts([logs[0], PARTS[1]])
    assert log_of_parts(logs, observed_until=10).observed_until == 10


@pytest.mark.parametrize("method", ["snapshots", "attach"])
def test_tables_in_the_order_of_other_partitions_are_refused(method):
    people = [pd.DataFrame({"who": [who, f"new {who}"], "age": 1}) for who in "abc"]

    def rows(tables):
        if method == "attach":
            return log_of_parts().attach(tables, cutoff=5)
        return log_of_parts().snapshots([5], statics=tables)

    assert len(rows(people).counts()) == 3
    message = "Table 1 has a row of the customer 'c', whose events are in partition 2"
    with pytest.raises(ValueError, match=message):
        rows([people[0], people[2], people[1]])


def test_misplaced_rows_of_tuples_with_integers_of_numpy_are_refused():
    parts = [part.assign(who=part["who"].map(lambda one: (one, 8))) for part in PARTS]
    rows = [pd.DataFrame({"who": [(one, np.int64(8))]}) for one in "acb"]
    with pytest.raises(ValueError, match="Table 1 has a row of the customer"):
        log_of_parts(parts).attach(rows, cutoff=5)


def test_options_must_fit_logs():
    log = EventLog(VISITS.assign(n=1), "who", "day")
    found = log_of_parts([log], fields=["n"])
    assert found.fields == ["n"]
    assert found.snapshots([5]).map(lambda X: X["history"].array.lengths).shape == (
        3,
        3,
    )
    with pytest.raises(ValueError, match=r"not \['id', 'day'\]"):
        PartitionedLog([log], "id", "day")
    with pytest.raises(ValueError, match=r"\['n'\] of categorical= are not categories"):
        log_of_parts([log], categorical=["n"])
    with pytest.raises(ValueError, match="not those of kinds="):
        log_of_parts([log], kinds={"order": ["n"]})
    with pytest.raises(KeyError, match=r"no fields \['x'\]"):
        log_of_parts([log], fields=["x"])


def test_ids_may_be_categories():
    people = pd.DataFrame({"who": pd.Categorical(list("abc")), "age": [1, 2, 3]})
    expected = [1, 2, 3]
    log = log_of_parts()
    for rows in (
        log.snapshots([5], statics=people),
        log.snapshots([5], statics=[people[i : i + 1] for i in range(3)]),
        log.attach(people, cutoff=5),
    ):
        assert rows.map(lambda X: X["age"])["age"].tolist() == expected
        assert rows.counts()["n_unmatched"].sum() == 0


def test_wrong_types_of_options_are_named():
    for kinds in ({"a": "spend"}, ["a"]):
        with pytest.raises(TypeError, match="kinds"):
            log_of_parts(kinds=kinds)
    with pytest.raises(TypeError, match="n_partitions must be a whole number; got '3'"):
        log_of_parts(n_partitions="3")
    for item in (None, lambda: None):
        with pytest.raises(TypeError, match="partition 1 are None"):
            log_of_parts([PARTS[0], item])
    with pytest.raises(TypeError, match="events of partition 1 must be a pandas"):
        log_of_parts([PARTS[0], 3])
    with pytest.raises(TypeError, match="rows is None"):
        log_of_parts().attach(None, cutoff=5)
    people = pd.DataFrame([["a", "a", 1]], columns=["who", "who", "age"])
    with pytest.raises(ValueError, match="several columns 'who'"):
        log_of_parts().snapshots([5], statics=people)


KINDS = pd.DataFrame(
    {"who": list("aabccc"), "day": [1, 9, 3, 2, 4, 4], "event": list("ommmmr")}
)


@pytest.mark.parametrize("kinds", [None, {"o": [], "m": [], "r": []}])
def test_kinds_without_events_in_some_partitions(kinds, tmp_path):
    """For snapshots and targets, against one process."""
    options = {"observed_until": 12, "kinds": kinds}
    parts = [KINDS[:2], KINDS[2:3], KINDS[3:]]
    log = PartitionedLog(parts, "who", "day", **options)
    whole = EventLog(KINDS, "who", "day", observed_until=12)
    for chosen in ("o", ["r", "o"]):
        rows = log.snapshots([3, 5], kinds=chosen, active_within=9)
        X = whole.snapshots([3, 5], kinds=chosen, active_within=9)
        found = rows.map(lambda X, chosen=chosen: churned(X, 5, kinds=chosen))
        found = found.sort_values(["cutoff", "who"], ignore_index=True)
        y = churned(X, 5, kinds=chosen)
        assert_frame_equal(found, X[["who", "cutoff"]].assign(churned=y))
    with pytest.raises(ValueError, match=r"no events of the kinds \['x'\]; .*'o', 'r'"):
        log.snapshots([3], kinds="x")
    with pytest.raises(KeyError, match="no field 'type' with kinds"):
        log.snapshots([3], kinds="o", kind_field="type")


@pytest.mark.parametrize("as_logs", [False, True])
def test_the_common_end_of_kinds_may_be_early(as_logs):
    """As in EventLog.concat: an order of day 9, and returns up to day 3."""
    table = pd.DataFrame({"who": list("aab"), "day": [1, 9, 3], "event": list("oor")})
    parts, kinds = [table[:2], table[2:]], {"o": [], "r": []}
    if as_logs:
        parts = [
            EventLog.concat({kind: EventLog(one.drop(columns="event"), "who", "day")})
            for kind, one in zip("or", parts, strict=True)
        ]
        kinds = None
    log = PartitionedLog(parts, "who", "day", kinds=kinds, observed_until=5)
    assert log.observed_until == 5
    rows = log.snapshots([4])
    found = rows.map(lambda X: churned(X, 2, kinds=["o", "r"], censored="nan"))
    assert found["churned"].tolist() == [1, 1]
    found = rows.map(lambda X: churned(X, 3, kinds=["o", "r"], censored="nan"))
    assert found["churned"].isna().all()
    with pytest.raises(ValueError, match="observed_until=5 lies before"):
        PartitionedLog([table[:2], table[2:]], "who", "day", observed_until=5)


def test_a_given_end_is_not_limited_by_a_kind():
    """Errors would advise to give it."""
    orders = EventLog(pd.DataFrame({"who": ["a"], "day": [9]}), "who", "day")
    returns = EventLog(pd.DataFrame({"who": ["a"], "day": [8]}), "who", "day")
    log = EventLog.concat({"o": orders, "r": returns})
    rows = log_of_parts([log], observed_until=9).snapshots([9], min_events=0)
    with pytest.raises(ValueError, match="run past the end of the log") as caught:
        rows.map(lambda X: churned(X, 3, kinds="o"))
    assert "of kind 'r'" not in str(caught.value)
    with pytest.raises(ValueError, match="with the events of kind 'r'"):
        churned(log.snapshots([9]), 3, kinds="o")


def test_fields_of_many_levels_have_no_kinds(monkeypatch):
    """Whatever the order of the partitions, and with a short error."""
    monkeypatch.setattr(_schema, "MOST_LEVELS", 3)
    monkeypatch.setattr(_partitioned_log, "MOST_LEVELS", 3)
    items = [list("abc"), list("def"), list("gh")]
    parts = [
        pd.DataFrame({"who": i, "day": 1, "item": own}) for i, own in enumerate(items)
    ]
    for some in permutations(parts):
        log = PartitionedLog(list(some), "who", "day")
        for item in "adg":
            with pytest.raises(ValueError, match=r"at most 3 levels, and 'item' has"):
                log.snapshots([3], kinds=item, kind_field="item")
        made = log.snapshots([3])._make(Part(0, parts[0]))
        assert made["history"].array.log.column("item").categories.tolist() == items[0]


@pytest.mark.parametrize("kinds", [None, {"order": ["due"]}])
def test_fields_of_another_time_zone_are_one_warning(kinds):
    noon = pd.Timestamp("2024-01-02 12:00")
    table = pd.DataFrame({"who": list("abc"), "time": noon, "event": "order"})
    parts = [
        table[:1].assign(due=pd.NaT),
        table[1:2].assign(due=noon.tz_localize("UTC")),
        table[2:].assign(due=noon.tz_localize("Asia/Tokyo")),
    ]
    with pytest.warns(UserWarning, match=r"\['due'\] hold datetimes with a") as found:
        PartitionedLog(parts, "who", "time", kinds=kinds)
    assert [one.filename for one in found] == [__file__]


def test_a_log_on_disk_has_the_levels_of_all_partitions(tmp_path):
    EventLog(KINDS[:2], "who", "day").to_disk(tmp_path / "log")
    log = PartitionedLog([tmp_path / "log", KINDS[2:]], "who", "day")
    rows = log.snapshots([5])
    made = [rows._make(Part(i, one)) for i, one in enumerate(rows._engine.events)]
    events = pd.concat(X["history"].array.to_frame() for X in made)
    expected = KINDS[KINDS["day"] < 5]
    assert events["event"].tolist() == expected["event"].tolist()
