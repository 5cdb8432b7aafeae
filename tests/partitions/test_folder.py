"""Parts that are written to a disk, and opened by rank."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.partitions import load_rows
from sklearn_seqcrm.targets import churned, future_count
from tests.partitions.visits import PARTS, VISITS, log_of_parts, rows_before_all_events


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
    from sklearn_seqcrm.partitions._engines import Part
    from sklearn_seqcrm.partitions._folder import _write_part

    rows = log_of_parts().snapshots([5])
    for _ in range(2):
        _write_part(tmp_path, rows._make, None, Part(0, PARTS[0]))
    assert [one.name for one in tmp_path.iterdir()] == ["part-00000"]


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
    for content in ("{", "{}", "[]"):
        (tmp_path / "rows" / "rows.json").write_text(content)
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


def test_targets_of_64_bits_stay_exact(tmp_path):
    def y(X):
        if X["who"].iloc[0] == "a":
            return np.array([2**53 + 1], "int64")
        return np.array([2**64 - 1], "uint64")

    log_of_parts().snapshots([5]).to_disk(tmp_path / "rows", y=y)
    _, found = load_rows(tmp_path / "rows")
    assert found.tolist() == [2**53 + 1, 2**64 - 1, 2**64 - 1]


def test_what_cannot_be_written_is_refused(tmp_path):
    rows = rows_before_all_events()
    with pytest.raises(ValueError, match="There are no rows"):
        rows.to_disk(tmp_path / "none", y=lambda X: churned(X, 2))
    with pytest.raises(TypeError, match=r"y must return a .* got builtins\.NoneType"):
        log_of_parts().snapshots([5]).to_disk(tmp_path / "y", y=lambda X: None)
    people = pd.DataFrame({"who": list("abc"), "x": [1, "u", 2]})
    rows = log_of_parts([VISITS]).snapshots([5], statics=people)
    with pytest.raises(TypeError, match="Parquet cannot store"):
        rows.to_disk(tmp_path / "mixed")
    tuples = VISITS.assign(who=[(one, one) for one in VISITS["who"]])
    rows = log_of_parts([tuples]).snapshots([5])
    with pytest.raises(TypeError, match="parquet cannot store"):
        rows.to_disk(tmp_path / "tuples")


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([1.0], TypeError, "y must be a function of the rows.*got list"),
        (lambda X: 1, TypeError, "y must return a .*got builtins.int"),
        (lambda X: np.zeros((len(X), 1, 1)), TypeError, "y must return a .*ndarray"),
        (
            lambda X: pd.DataFrame(np.ones((len(X), 2)), columns=["a", "a"]),
            ValueError,
            r"y returned several columns \['a'\]",
        ),
        (
            lambda X: pd.DataFrame(np.ones((len(X), 2)), columns=[0, "0"]),
            ValueError,
            r"y returned several columns \['0'\]",
        ),
        (lambda X: X[["history"]], TypeError, r"histories \['history'\]"),
        (
            lambda X: pd.DataFrame({one: [1.0] for one in [X["who"].iloc[0], "x"]}),
            ValueError,
            r"y returned .*'a'.* for partition 0 and .*'b'.* for partition 1",
        ),
        (
            lambda X: pd.DataFrame(
                {one: [2.0] for one in sorted("ab", reverse=X["who"].iloc[0] == "b")}
            ),
            ValueError,
            r"y returned .*\['a', 'b'\]\) for partition 0 and .*\['b', 'a'\]\) for",
        ),
        (
            lambda X: np.ones(len(X)) if X["who"].iloc[0] == "a" else X["who"],
            ValueError,
            "y returned .*'array'.* for partition 0 and .*'Series'.* for partition 1",
        ),
    ],
)
def test_targets_that_are_none_are_refused(tmp_path, y, error, message):
    with pytest.raises(error, match=message):
        log_of_parts().snapshots([5]).to_disk(tmp_path / "rows", y=y)
    assert not (tmp_path / "rows" / "rows.json").exists()


def test_a_file_is_not_replaced(tmp_path):
    (tmp_path / "rows").write_text("mine")
    with pytest.raises(FileExistsError, match="rows exists and is a file"):
        log_of_parts().snapshots([5]).to_disk(tmp_path / "rows")


@pytest.mark.parametrize(
    ("rank", "n_ranks", "error"),
    [(0.5, 2, TypeError), ("0", 2, TypeError), (0, 0, ValueError), (-1, 2, ValueError)],
)
def test_wrong_ranks(tmp_path, rank, n_ranks, error):
    log_of_parts().snapshots([5]).to_disk(tmp_path / "rows")
    with pytest.raises(error, match="rank"):
        load_rows(tmp_path / "rows", rank, n_ranks)


@pytest.mark.parametrize("horizons", [["2D", "7D"], [pd.Timedelta(36, "h")]])
def test_targets_of_several_horizons_are_written(horizons, tmp_path):
    days = pd.Timestamp("2024-03-01") + pd.to_timedelta(VISITS["day"], "D")
    table = VISITS.assign(day=days)
    log = log_of_parts([table[:2], table[2:]])
    rows = log.snapshots(["2024-03-02 12:00"])
    rows.to_disk(tmp_path / "rows", y=lambda X: future_count(X, horizons))
    _, y = load_rows(tmp_path / "rows")
    events = EventLog(table, "who", "day")
    X = events.snapshots(["2024-03-02 12:00"])
    assert_frame_equal(y, future_count(X, horizons))
    assert y.attrs["sklearn_seqcrm"]["names"] == [str(name) for name in y]


@pytest.mark.parametrize(
    ("name", "attrs"),
    [(pd.Timestamp("2024-01-01"), {}), ("a", {"made": pd.Timestamp("2024-01-01")})],
)
def test_targets_that_json_cannot_describe_are_refused_early(name, attrs, tmp_path):
    y = pd.DataFrame({name: [1]})
    y.attrs = attrs
    with pytest.raises(TypeError, match=r"names or attrs .* Timestamp"):
        log_of_parts().snapshots([5]).to_disk(tmp_path / "rows", y=lambda X: y)
    assert not list((tmp_path / "rows").glob("part-*"))


def test_a_name_may_be_a_tuple(tmp_path):
    name = "a", 1
    rows = log_of_parts().snapshots([5])
    rows.to_disk(tmp_path / "rows", y=lambda X: churned(X, 2).rename(name))
    assert load_rows(tmp_path / "rows")[1].name == name


def test_names_of_the_names_of_columns_are_kept(tmp_path):
    names = [("spend", 7), ("spend", 28)]
    columns = pd.MultiIndex.from_tuples(names, names=["what", "horizon"])
    for i, labels in enumerate((columns, columns.get_level_values("horizon"))):
        rows = log_of_parts().snapshots([5])
        rows.to_disk(
            tmp_path / f"{i}",
            y=lambda X, labels=labels: pd.DataFrame(np.ones((len(X), 2)), None, labels),
        )
        _, y = load_rows(tmp_path / f"{i}")
        pd.testing.assert_index_equal(y.columns, labels)


def test_folders_without_the_names_of_names_are_loaded(tmp_path):
    rows = log_of_parts().snapshots([5])
    rows.to_disk(tmp_path / "rows", y=lambda X: future_count(X, [2, 4]))
    path = tmp_path / "rows" / "rows.json"
    note = json.loads(path.read_text())
    known = {"attrs", "kind", "names"}
    note["y"] = {name: value for name, value in note["y"].items() if name in known}
    path.write_text(json.dumps(note))
    X, y = load_rows(tmp_path / "rows")
    assert len(y) == len(X)
    assert y.columns.names == [None]


@pytest.mark.parametrize("number", [2, 0, "1", None])
def test_folders_of_an_unknown_format_are_refused(number, tmp_path):
    rows = log_of_parts().snapshots([5])
    rows.to_disk(tmp_path / "rows")
    path = tmp_path / "rows" / "rows.json"
    note = json.loads(path.read_text())
    X, _ = load_rows(tmp_path / "rows")
    assert note.pop("format") == 1
    path.write_text(json.dumps(note))  # as the first folders were written
    assert load_rows(tmp_path / "rows")[0]["who"].tolist() == X["who"].tolist()
    path.write_text(json.dumps({"format": number}))  # and other entries
    match = rf"has the format {number!r} in its rows\.json, .* reads the format 1 alone"
    with pytest.raises(ValueError, match=match):
        load_rows(tmp_path / "rows")
