"""What a log in partitions accepts, counts and refuses."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.partitions import PartitionedLog, load_rows
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.targets import churned, next_value
from sklearn_seqcrm.testing._small_data import make_events

VISITS = pd.DataFrame(
    {"who": list("aabbcc"), "day": [1, 9, 3, 8, 2, 4], "spend": [1.0, 2, 3, 4, 5, 6]}
)
PARTS = [VISITS[:2], VISITS[2:4], VISITS[4:]]


def log_of_parts(parts=PARTS, **options):
    return PartitionedLog(parts, "who", "day", **options)


def test_items_may_be_tables_logs_paths_and_functions(tmp_path):
    log = EventLog(VISITS[2:4], "who", "day")
    log.to_disk(tmp_path / "log")
    expected = log_of_parts().snapshots([5]).map(lambda X: churned(X, 4))
    for second in (log, tmp_path / "log", str(tmp_path / "log"), lambda: VISITS[2:4]):
        parts = [VISITS[:2], second, VISITS[4:]]
        found = log_of_parts(parts).snapshots([5]).map(lambda X: churned(X, 4))
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


def test_kinds_that_are_not_named_are_refused():
    parts = [part.assign(event="view") for part in PARTS]
    with pytest.raises(ValueError, match=r"holds \['view'\], which kinds does not"):
        log_of_parts(parts, kinds={"order": ["spend"]})


def test_map_checks_what_a_function_returns():
    rows = log_of_parts().snapshots([5])
    with pytest.raises(ValueError, match="returned 1 rows for 2"):
        log_of_parts().snapshots([5, 7]).map(lambda X: np.zeros(1))
    with pytest.raises(ValueError, match="names of the keys"):
        rows.map(lambda X: X[["who"]])
    with pytest.raises(TypeError, match="must return a DataFrame"):
        rows.map(len)
    with pytest.raises(ZeroDivisionError):
        rows.map(lambda X: 1 / 0)
    with pytest.raises(ValueError, match="several columns"):
        rows.map(lambda X: pd.concat([X["who"].rename("x")] * 2, axis=1))
    with pytest.raises(ValueError, match="must return the same"):
        rows.map(lambda X: pd.Series(1.0, X.index, name=f"of_{X['who'].iloc[0]}"))


def test_a_function_that_fails_on_a_sample_is_tried_on_partitions():
    """A sample has customers without statics; a model may refuse their rows."""
    people = pd.DataFrame({"who": list("abc"), "age": [1.0, 2, 3]})

    def double(X):
        assert X["age"].notna().all()
        return 2 * X["age"]

    rows = log_of_parts([VISITS[4:], VISITS[:4]]).snapshots([5], statics=people)
    assert rows.map(double)["age"].tolist() == [6, 2, 4]


def test_meta_gives_names_and_types():
    rows = log_of_parts().snapshots([5])
    meta = pd.DataFrame({"one": [1.0]})
    found = rows.map(lambda X: pd.Series(1, X.index, name="one"), meta=meta)
    assert found["one"].tolist() == [1.0] * 3
    assert found["one"].dtype == "float64"
    with pytest.raises(ValueError, match="There are no rows"):
        log_of_parts().snapshots([0]).map(lambda X: 1 / 0)


def test_a_pipeline_is_fitted_up_to_its_estimator():
    people = pd.DataFrame(
        {"who": list("abc"), "age": [1.0, np.nan, 5], "x": list("uvu")}
    )
    rows = log_of_parts().snapshots([5, 7], statics=people)
    found = rows.fit(make_history_pipeline(DummyClassifier()))
    X = EventLog(VISITS, "who", "day").snapshots([5, 7]).merge(people, on="who")
    expected = make_history_pipeline(DummyClassifier())
    expected[:-1].fit(X)
    one, other = found[:-1].transform(X), expected[:-1].transform(X)
    assert_frame_equal(one.drop(columns="history"), other.drop(columns="history"))


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (StandardScaler(), TypeError, "got StandardScaler"),
        (make_pipeline(DummyClassifier()), TypeError, "without transformers"),
        (
            make_pipeline(RFMFeatures(), StandardScaler(), DummyClassifier()),
            TypeError,
            "StandardScaler would have to see the features of all rows",
        ),
        (
            make_history_pipeline(DummyClassifier(), many_levels="target"),
            ValueError,
            "many_levels='one-hot'",
        ),
    ],
)
def test_what_partitions_cannot_fit(model, error, message):
    with pytest.raises(error, match=message):
        log_of_parts().snapshots([5]).fit(model)


def test_no_rows_are_refused_as_in_one_process():
    rows = log_of_parts().snapshots([0])
    assert len(rows.map(lambda X: X["history"].array.lengths)) == 0
    with pytest.raises(ValueError, match="X has no rows"):
        rows.fit(HistoryEncoder())


def test_a_pretrained_encoder_keeps_its_scales():
    before = HistoryEncoder().fit(EventLog(VISITS, "who", "day").snapshots([9]))
    rows = log_of_parts().snapshots([5, 7])
    found = rows.fit(HistoryEncoder(pretrained=before, half_lives=[2]))
    X = EventLog(VISITS, "who", "day").snapshots([5, 7])
    expected = HistoryEncoder(pretrained=before, half_lives=[2]).fit(X)
    one, other = found.layouts_["history"], expected.layouts_["history"]
    assert one.of_events == other.of_events == before.layouts_["history"].of_events
    assert one.half_lives == other.half_lives


def test_a_lookback_that_cuts_histories_off_is_noticed():
    rows = log_of_parts().snapshots([9], lookback=5)
    assert rows.fit(HistoryEncoder())._learned.cut_off == ["history"]
    assert log_of_parts().snapshots([9]).fit(HistoryEncoder())._learned.cut_off == []


def test_vectors_are_standardised_over_all_partitions():
    table = make_events(20, n_components=3)[["who", "when", "vector"]]
    code = table["who"].astype("category").cat.codes
    parts = [table[code % 3 == i] for i in range(3)]
    log = PartitionedLog(parts, "who", "when")
    found = log.snapshots(["2024-01-01"]).fit(HistoryEncoder())
    X = EventLog(table, "who", "when").snapshots(["2024-01-01"])
    expected = HistoryEncoder().fit(X)
    one, other = (e._encoders["history"].fields["vector"] for e in (found, expected))
    np.testing.assert_allclose(one.center, other.center, rtol=1e-6)
    np.testing.assert_allclose(one.scale, other.scale, rtol=1e-6)


def test_baskets_get_the_vectors_of_levels_of_one_process(monkeypatch):
    from sklearn_seqcrm._encoding import _learn

    monkeypatch.setattr(_learn, "_LEVELS_OF_MOMENTS", 12)
    rng = np.random.default_rng(0)
    lines = pd.DataFrame(
        {
            "who": np.arange(1200) // 20,
            "day": np.arange(1200) // 4 % 5,
            "sku": [f"p{i}" for i in rng.integers(0, 20, 1200)],
        }
    )
    parts = [lines[:400], lines[400:900], lines[900:]]
    found = log_of_parts(parts).snapshots([5]).fit(HistoryEncoder())
    expected = HistoryEncoder().fit(EventLog(lines, "who", "day").snapshots([5]))
    one, other = (
        e._encoders["history"].level_vectors["sku"] for e in (found, expected)
    )
    assert one.levels.equals(other.levels)
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)


def test_quantiles_are_exact_beyond_what_is_held(monkeypatch):
    from sklearn_seqcrm._ragged import _passes

    monkeypatch.setattr(_passes, "_HELD", 3)
    rows = log_of_parts().snapshots([5, 9])
    X = EventLog(VISITS, "who", "day").snapshots([5, 9])
    one, other = rows.fit(HistoryEncoder()), HistoryEncoder().fit(X)
    scales = [e._encoders["history"].fields["spend"].scale for e in (one, other)]
    assert scales[0] == scales[1]
    chosen = rows.fit(HistoryAggregator(min_rows=2)), HistoryAggregator(min_rows=2)
    assert chosen[0].lookbacks_ == chosen[1].fit(X).lookbacks_


def test_parts_are_written_once_and_opened_by_rank(tmp_path):
    parts = [*PARTS, VISITS[:0]]
    rows = log_of_parts(parts).snapshots([5, 7])
    rows.to_disk(tmp_path / "rows", y=lambda X: churned(X, 2))
    with pytest.raises(FileExistsError, match="is not empty"):
        rows.to_disk(tmp_path / "rows")
    X, y = load_rows(tmp_path / "rows")
    expected = rows.map(lambda X: churned(X, 2))
    assert X["who"].tolist() == expected["who"].tolist()
    assert y.tolist() == expected["churned"].tolist()
    assert y.attrs["sklearn_seqcrm"]["horizon"] == 2
    own, _ = load_rows(tmp_path / "rows", 1, 4)
    assert own["history"].array.log.is_on_disk
    assert own["who"].unique().tolist() == ["b"]
    # The part without events has no rows, and the fields of the others.
    none, _ = load_rows(tmp_path / "rows", 3, 4)
    assert len(none) == 0
    assert none["history"].array.log.fields == ["spend"]
    for rank, n_ranks, message in [(2, 2, "rank must be"), (0, 5, "4 parts")]:
        with pytest.raises(ValueError, match=message):
            load_rows(tmp_path / "rows", rank, n_ranks)


def test_a_folder_that_is_not_complete_is_refused(tmp_path):
    def fail(X):
        if "c" in X["who"].to_numpy():
            raise RuntimeError("no disk")
        return churned(X, 2)

    rows = log_of_parts().snapshots([5])
    with pytest.raises(RuntimeError, match="no disk"):
        rows.to_disk(tmp_path / "rows", y=fail)
    with pytest.raises(FileNotFoundError, match="did not complete"):
        load_rows(tmp_path / "rows")


def test_a_part_that_another_attempt_completed_stays(tmp_path):
    from sklearn_seqcrm.partitions._folder import _write_part

    rows = log_of_parts().snapshots([5])
    for _ in range(2):
        _write_part(tmp_path, rows._make, None, 0, PARTS[0], None)
    assert [one.name for one in tmp_path.iterdir()] == ["part-00000"]


def differing_parts():
    """Two partitions with other levels, and statics of other types."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"who": np.arange(400) % 40, "day": rng.permutation(400) / 4})
    is_first = table["who"] < 20
    letters = np.where(is_first, rng.choice(list("abc"), 400), "x")
    table = table.assign(shop=letters, sku=table["who"] % 7 + 10 * is_first)
    return table, [table[is_first], table[~is_first]]


@pytest.mark.parametrize("field", ["shop", "sku"])
def test_levels_that_only_one_partition_has_stay(field):
    table, parts = differing_parts()

    def following(X):
        return next_value(X, field, censored="nan")

    options = {"categorical": ["sku"]}
    X = EventLog(table, "who", "day", **options).snapshots([80])
    found = log_of_parts(parts, **options).snapshots([80]).map(following)
    expected = following(X).astype(object)
    assert expected.isna().sum() < 20
    same = found[found.columns[2]].astype(object).to_numpy()
    missing = expected.isna().to_numpy()
    assert (pd.isna(same) == missing).all()
    assert same[~missing].tolist() == expected[~missing].tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2.5),
        (np.int8(1), 1000),
        (True, 7),
        (True, None),
        (1, np.nan),
        (1, "x"),
        (pd.Categorical(["u"]), pd.Categorical(["v"])),
    ],
)
def test_a_list_keeps_the_values_of_each_partition(one, other):
    people = [pd.DataFrame({"who": [who]}) for who in "ab"]
    people = [t.assign(x=x) for t, x in zip(people, (one, other), strict=True)]
    rows = log_of_parts([VISITS[:2], VISITS[2:4]]).attach(people, cutoff=5)
    found = rows.map(lambda X: X["x"])["x"].tolist()
    wanted = [own["x"].tolist()[0] for own in people]
    assert found == wanted or (found[0] == wanted[0] and pd.isna(found[1]))


def test_a_type_that_cannot_hold_the_values_is_refused():
    people = pd.DataFrame({"who": list("abc"), "age": [1, 2, 3]})
    rows = log_of_parts().attach(people, cutoff=5)
    meta = pd.DataFrame({"age": [1]})
    message = r"Column 'age' of partition 0 has the type float64.*int64.*customer 'a'"
    with pytest.raises(TypeError, match=message):
        rows.map(lambda X: X["age"] / 2, meta=meta)
    with pytest.raises(TypeError, match="partition 2"):
        rows.map(lambda X: X["age"].where(X["age"] < 3), meta=meta)
    levels = pd.DataFrame({"age": pd.Categorical(["1", "2"])})
    with pytest.raises(TypeError, match="partition 2"):
        rows.map(lambda X: X["age"].astype(str), meta=levels)
    assert rows.map(lambda X: X["age"] * 1.0, meta=meta)["age"].dtype == "int64"


def test_types_of_a_sample_hold_those_of_other_partitions():
    from sklearn_seqcrm.partitions._types import widened, without_loss

    sample = pd.DataFrame({"n": np.array([1], "int8"), "b": [True], "f": [1.0]})
    types = widened(sample[:0], ["n", "b", "f"]).dtypes
    assert types.astype(str).tolist() == ["Int64", "boolean", "float64"]
    who = pd.Series(["a", "b"])
    for values, name in [([1000, np.nan], "n"), ([True, None], "b")]:
        own = pd.Series(values, name=name)
        found = without_loss(own, types[name], 1, who)
        assert found[0] == values[0]
        assert found.isna().tolist() == [False, pd.isna(values[1])]
    large = pd.Series([1, 2**53 + 1], name="f")
    with pytest.raises(TypeError, match="customer 'b'"):
        without_loss(large, types["f"], 1, who)


def test_meta_may_be_an_earlier_result_or_a_series():
    rows = log_of_parts().snapshots([5])
    first = rows.map(lambda X: churned(X, 4))
    for meta in (first, first["churned"]):
        assert_frame_equal(rows.map(lambda X: churned(X, 4), meta=meta), first)
    with pytest.raises(TypeError, match=r"meta must be .* got dict"):
        rows.map(lambda X: churned(X, 4), meta={"churned": int})
    with pytest.raises(TypeError, match=r"returned the histories \['history'\]"):
        rows.map(lambda X: X[["history"]])


def test_names_of_columns_are_text():
    rows = log_of_parts().snapshots([5])
    found = rows.map(lambda X: pd.DataFrame(np.zeros((len(X), 2))))
    assert found.columns.tolist() == ["who", "cutoff", "0", "1"]


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
    people = pd.DataFrame([["a", "a", 1]], columns=["who", "who", "age"])
    with pytest.raises(ValueError, match="several columns 'who'"):
        log_of_parts().snapshots([5], statics=people)


@pytest.mark.parametrize(
    "file",
    ["log", "rows.parquet", "views.npz", "y.parquet", "dtype.json", ""],
)
@pytest.mark.parametrize("missing", [True, False])
def test_a_damaged_folder_is_refused(tmp_path, file, missing):
    rows = log_of_parts().snapshots([5])
    rows.to_disk(tmp_path / "rows", y=lambda X: churned(X, 2))
    path = tmp_path / "rows" / "part-00001" / file
    if path.is_dir():
        shutil.rmtree(path)
    elif missing:
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"part-00001.*is damaged or missing"):
        load_rows(tmp_path / "rows")


def test_a_part_with_other_rows_is_refused(tmp_path):
    rows = log_of_parts().snapshots([5])
    rows.to_disk(tmp_path / "rows", y=lambda X: churned(X, 2))
    path = tmp_path / "rows" / "part-00002" / "y.parquet"
    pd.read_parquet(path)[:0].to_parquet(path)
    with pytest.raises(ValueError, match=r"part-00002.*0 rows, of 1"):
        load_rows(tmp_path / "rows")
    (tmp_path / "rows" / "rows.json").write_text("{")
    with pytest.raises(ValueError, match=r"rows\.json is damaged"):
        load_rows(tmp_path / "rows")


TARGETS = {
    "list": lambda X: [1.0] * len(X),
    "array": lambda X: np.arange(len(X)),
    "column": lambda X: np.zeros((len(X), 1)),
    "structured": lambda X: np.array(
        [(True, 1.5)] * len(X), dtype=[("event", bool), ("time", float)]
    ),
    "no name": lambda X: pd.Series(np.arange(len(X))),
    "number as name": lambda X: pd.Series(np.arange(len(X)), name=3),
    "table": lambda X: pd.DataFrame({0: np.arange(len(X)), "b": 1}),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_targets_are_loaded_as_they_were(tmp_path, kind):
    y = TARGETS[kind]
    rows = log_of_parts([VISITS]).snapshots([5])
    rows.to_disk(tmp_path / "rows", y=y)
    X, found = load_rows(tmp_path / "rows")
    expected = y(X)
    if isinstance(expected, pd.DataFrame):
        assert_frame_equal(found, expected)
    elif isinstance(expected, pd.Series):
        assert_frame_equal(found.to_frame(), expected.to_frame())
    else:
        expected = np.asarray(expected)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_what_cannot_be_written_is_refused(tmp_path):
    rows = log_of_parts().snapshots([0])
    with pytest.raises(ValueError, match="There are no rows"):
        rows.to_disk(tmp_path / "none", y=lambda X: churned(X, 2))
    with pytest.raises(TypeError, match="y returned None"):
        log_of_parts().snapshots([5]).to_disk(tmp_path / "y", y=lambda X: None)
    people = pd.DataFrame({"who": list("abc"), "x": [1, "u", 2]})
    rows = log_of_parts([VISITS]).snapshots([5], statics=people)
    with pytest.raises(TypeError, match="Parquet cannot store"):
        rows.to_disk(tmp_path / "mixed")
    tuples = VISITS.assign(who=[(one, one) for one in VISITS["who"]])
    rows = log_of_parts([tuples]).snapshots([5])
    with pytest.raises(TypeError, match="are tuples"):
        rows.to_disk(tmp_path / "tuples")


@pytest.mark.parametrize(
    ("rank", "n_ranks", "error"),
    [(0.5, 2, TypeError), ("0", 2, TypeError), (0, 0, ValueError), (-1, 2, ValueError)],
)
def test_wrong_ranks(tmp_path, rank, n_ranks, error):
    log_of_parts().snapshots([5]).to_disk(tmp_path / "rows")
    with pytest.raises(error, match="rank"):
        load_rows(tmp_path / "rows", rank, n_ranks)
