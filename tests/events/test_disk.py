"""Logs that stay on the disk."""

import json
import os
import pickle
import re
from datetime import date
from decimal import Decimal

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

from sklearn_seqcrm._store import _atomic_files
from sklearn_seqcrm.events import EventLog, _disk
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.targets import churned, future_sum, time_to_next
from sklearn_seqcrm.testing._small_data import make_events, make_rows

EVENTS = make_events()
LOG = EventLog(EVENTS, "who", "when", observed_until="2025-06-01")
SORTED = EVENTS.sort_values(["who", "when"], kind="stable", ignore_index=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    path = tmp_path_factory.mktemp("disk") / "log"
    LOG.to_disk(path)
    return EventLog.open(path)


def assert_same_log(log, expected):
    assert_frame_equal(log.to_frame(), expected.to_frame())
    assert log.timeline.observation == expected.timeline.observation
    assert log.timeline.clock == expected.timeline.clock
    assert log.customers.equals(expected.customers)
    assert log.customers.dtype == expected.customers.dtype
    assert log.kinds == expected.kinds
    assert repr(log) == repr(expected)
    for field in expected.fields:
        assert log.column(field).values.dtype == expected.column(field).values.dtype


# --- What a log on a disk is ------------------------------------------------------

IDS = {
    "text": ["b", "a", "ä"],
    "integers": [2**62 + 1, -5, 7],
    "floats": [0.5, 0.25, 7.0],
    "booleans": [True, False, True],
    "moments": pd.to_datetime(["2024-01-01", "2023-05-05", "2024-01-02"]),
    "aware": pd.to_datetime(["2024-01-01", "2023-05-05", "2024-01-02"], utc=True),
    "dates": [date(2024, 1, 2), date(2024, 1, 1), date(2024, 1, 3)],
    "decimals": [Decimal("1.25"), Decimal("0.5"), Decimal("7.75")],
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_and_levels_of_any_type_come_back(kind, tmp_path):
    events = pd.DataFrame({"id": IDS[kind], "t": [3, 1, 2], "level": IDS[kind][::-1]})
    log = EventLog(events, "id", "t", categorical=["level"])
    log.to_disk(tmp_path / "log")
    assert_same_log(EventLog.open(tmp_path / "log"), log)


@pytest.mark.parametrize(
    "times",
    [
        pd.to_datetime(["2024-01-01", "2024-01-05"]).as_unit("ns"),
        pd.to_datetime(["2024-01-01", "2024-01-05"]).tz_localize("Asia/Tokyo"),
        [0.1, 0.5],
    ],
)
def test_times_and_kinds_come_back(times, tmp_path):
    orders = EventLog(pd.DataFrame({"c": [1, 2], "t": times, "x": [1, 2]}), "c", "t")
    visits = EventLog(pd.DataFrame({"c": [1, 3], "t": times}), "c", "t")
    log = EventLog.concat({"order": orders, "visit": visits})
    log.to_disk(tmp_path / "log")
    back = EventLog.open(tmp_path / "log")
    assert_same_log(back, log)
    assert back.kind_field == "event"


@pytest.mark.parametrize("values", [pd.interval_range(0, 2), [(1, 2), (1, 3)]])
@pytest.mark.parametrize("customer", ["c", "d"], ids=["ids", "levels"])
@pytest.mark.parametrize("method", ["to_disk", "to_parquet"])
def test_values_that_parquet_cannot_hold_are_refused_and_leave_nothing(
    tmp_path, values, customer, method
):
    table = pd.DataFrame({"c": values, "d": [1, 2], "t": [1, 2]})
    log = EventLog(table, customer, "t")
    with pytest.raises(TypeError, match=r"Column 'c' holds .* parquet cannot store"):
        getattr(log, method)(tmp_path / "log")
    assert not any(tmp_path.iterdir())


def test_values_are_read_only_views_of_files(disk):
    for values in (disk.timeline.times, disk.column("amount").values):
        base = values
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            values[0] = values[1]


# --- It does what the log in memory does ------------------------------------------


@pytest.mark.parametrize(
    "of_log",
    [
        lambda log: log.attach(make_rows(), cutoff="at"),
        lambda log: log.attach(make_rows(), cutoff="at", lookback="60D"),
        lambda log: log.snapshots(["2023-03-01", "2024-01-01"], active_within="90D"),
        lambda log: log.snapshots_every("200D"),
        lambda log: log.snapshots_before_events("order", kind_field="kind"),
        lambda log: log.snapshots_at_random(random_state=0),
    ],
)
def test_rows_and_features_equal_those_in_memory(of_log, disk):
    X, expected = of_log(disk), of_log(LOG)
    keys = [name for name in X if name != "history"]
    assert_frame_equal(X[keys], expected[keys])
    histories, wanted = X["history"].array, expected["history"].array
    assert histories.log is disk
    assert_frame_equal(histories.to_frame(), wanted.to_frame())
    for make in (RFMFeatures(), HistoryAggregator()):
        assert_frame_equal(make.fit_transform(X), make.fit_transform(expected))
    for target in (
        lambda X: churned(X, "90D", censored="nan"),
        lambda X: future_sum(X, "amount", "90D", censored="nan"),
        lambda X: time_to_next(X, "90D", censored="nan"),
    ):
        assert_frame_equal(*(pd.DataFrame(target(one)) for one in (X, expected)))


def test_derived_logs_are_equal_and_in_memory(disk, tmp_path):
    more = EVENTS[:5].assign(when=lambda e: e["when"] + pd.Timedelta("900D"))
    for of_log in (
        lambda log: log.append(more, "2029-01-01"),
        lambda log: log.only("order", kind_field="kind"),
        lambda log: log.resample("30D"),
        lambda log: EventLog.concat({"all": log, "again": LOG}),
    ):
        made = of_log(disk)
        assert_same_log(made, of_log(LOG))
        assert not made.is_on_disk
    LOG.to_parquet(tmp_path / "memory")
    disk.to_parquet(tmp_path / "disk")
    assert (tmp_path / "memory").read_bytes() == (tmp_path / "disk").read_bytes()


def test_rows_of_two_logs_share_a_column(disk):
    a, b = (log.snapshots(["2024-01-01"]) for log in (disk, LOG))
    both = pd.concat([a, b], ignore_index=True)
    expected = pd.concat([b, b], ignore_index=True)
    frames = (X["history"].array.to_frame() for X in (both, expected))
    assert_frame_equal(*frames)


# --- Pickles ----------------------------------------------------------------------


def test_a_pickle_holds_the_path_and_finds_the_open_log(disk):
    X = disk.snapshots(["2023-03-01", "2024-01-01"])
    text = pickle.dumps(disk)
    assert len(text) < 500
    assert pickle.loads(text) is disk
    some = X[::2]  # not all customers
    back = pickle.loads(pickle.dumps(some))
    assert back["history"].array.log is disk
    assert_frame_equal(
        back["history"].array.to_frame(), some["history"].array.to_frame()
    )
    assert len(pickle.dumps(X["history"].array)) < 1000 + 4 * 8 * len(X)
    assert joblib.hash(X) == joblib.hash(pickle.loads(pickle.dumps(X)))


def test_a_single_history_pickles_its_events_and_no_path(disk):
    history = disk.snapshots(["2024-01-01"])["history"][1]
    back = pickle.loads(pickle.dumps(history))
    assert_frame_equal(back.to_frame(), history.to_frame())
    assert not back._log.is_on_disk


def test_a_log_that_was_rewritten_is_another_one(tmp_path):
    LOG.to_disk(tmp_path / "log")
    text = pickle.dumps(EventLog.open(tmp_path / "log"))
    os.rename(tmp_path / "log", tmp_path / "old")
    with pytest.raises(
        FileNotFoundError, match=r"log does not exist.*the same on every machine"
    ):
        pickle.loads(text)
    LOG.to_disk(tmp_path / "log")
    with pytest.raises(ValueError, match="removed and written again"):
        pickle.loads(text)


# --- Whole, or not there ----------------------------------------------------------


@pytest.mark.parametrize("name", ["times.npy", "field_0.npy", "customers.parquet"])
def test_a_file_that_was_cut_off_is_refused(name, tmp_path):
    LOG.to_disk(tmp_path / "log")
    size = (tmp_path / "log" / name).stat().st_size
    os.truncate(tmp_path / "log" / name, size - 1)
    with pytest.raises(ValueError, match=rf"{name} has .* bytes, and {size:,} were"):
        EventLog.open(tmp_path / "log")
    (tmp_path / "log" / name).unlink()
    with pytest.raises(ValueError, match=f"{name} has 0 bytes"):
        EventLog.open(tmp_path / "log")


def test_other_formats_and_other_folders_are_refused(tmp_path):
    LOG.to_disk(tmp_path / "log")
    note = tmp_path / "log" / "log.json"
    content = json.loads(note.read_text())
    del content["seal"]
    note.write_text(json.dumps({**content, "format": 3}))
    with pytest.raises(ValueError, match=r"format 3, and this version .* up to 2"):
        EventLog.open(tmp_path / "log")
    note.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is damaged: its checksum is missing"):
        EventLog.open(tmp_path / "log")
    note.unlink()
    with pytest.raises(ValueError, match=r"is not a complete log of EventLog\.to_disk"):
        EventLog.open(tmp_path / "log")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        EventLog.open(tmp_path / "nothing")


def test_nothing_is_replaced(tmp_path):
    (tmp_path / "log").write_text("mine")
    with pytest.raises(FileExistsError, match=r"exists already.*is not replaced"):
        LOG.to_disk(tmp_path / "log")
    assert [one.name for one in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize("at", ["finish", "append", "sync_to_disk"])
def test_a_crash_leaves_no_log(at, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*args, **kwargs):
        raise Killed

    where = _disk if at == "sync_to_disk" else _disk.LogWriter
    monkeypatch.setattr(where, at, killed)
    # As if the kernel killed the process, which then cannot remove the folder.
    monkeypatch.setattr(_atomic_files, "_remove", lambda part: None)
    with pytest.raises(Killed):
        LOG.to_disk(tmp_path / "log")
    left = [one.name for one in tmp_path.iterdir()]
    assert len(left) == 1
    assert re.fullmatch(r"\.log\.[0-9a-f]{16}\.part", left[0])
    with pytest.raises(FileNotFoundError):
        EventLog.open(tmp_path / "log")
    monkeypatch.undo()
    LOG.to_disk(tmp_path / "log")
    assert [one.name for one in tmp_path.iterdir()] == ["log"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mkdir\(parents=True\)") as caught:
        LOG.to_disk(tmp_path / "no" / "log")
    assert caught.value.filename == str(tmp_path / "no" / "log")
    with pytest.raises(FileNotFoundError, match="The folder does not exist"):
        EventLog.from_parts([EVENTS], tmp_path / "no" / "log", "who", "when")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as caught:
        LOG.to_disk(tmp_path / "file" / "log")
    assert caught.value.filename == str(tmp_path / "file" / "log")


# --- Damage -----------------------------------------------------------------------

FEW = EventLog(EVENTS[:12], "who", "when")
FILES = {
    "log.json", "customers.parquet", "offsets.npy", "times.npy",
    "field_0.npy", "field_1.npy", "field_1.parquet", "field_2.npy",
}  # fmt: skip


def test_every_flipped_bit_is_found(tmp_path):
    FEW.to_disk(tmp_path / "log")
    assert {one.name for one in (tmp_path / "log").iterdir()} == FILES
    rng = np.random.default_rng(0)
    for name in sorted(FILES):
        file = tmp_path / "log" / name
        good = file.read_bytes()
        for bit in rng.choice(8 * len(good), 15, replace=False):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            file.write_bytes(bad)
            with pytest.raises(ValueError, match="is damaged: ") as caught:
                EventLog.open(tmp_path / "log", verify=True)
            assert name in str(caught.value)
            assert "build the log again" in str(caught.value)
        file.write_bytes(good)
    assert_same_log(EventLog.open(tmp_path / "log", verify=True), FEW)


def test_files_of_another_log_are_found(tmp_path):
    """Without `verify`, by both ends of each file."""
    n = 3000
    events = pd.DataFrame({"who": [0, *range(n - 1)], "when": 0, "x": 1.0, "k": "a"})
    other = pd.DataFrame({"who": [*range(n - 1), n], "when": 1, "x": 2.0, "k": "b"})
    for label, table in (("a", events), ("b", other)):
        EventLog(table, "who", "when").to_disk(tmp_path / label)
    alike = {"log.json", "field_1.npy"}  # that of the other log is whole, or the same
    for file in (tmp_path / "a" / name for name in FILES - alike - {"field_2.npy"}):
        good = file.read_bytes()
        file.write_bytes((tmp_path / "b" / file.name).read_bytes())
        with pytest.raises(ValueError, match=f"damaged: .*its file {file.name} "):
            EventLog.open(tmp_path / "a")
        file.write_bytes(good)
    assert len(EventLog.open(tmp_path / "a")) == n


def test_verify_compares_all_bytes(tmp_path):
    events = pd.DataFrame({"who": 1, "when": range(5000)})
    EventLog(events, "who", "when").to_disk(tmp_path / "log")
    file = tmp_path / "log" / "times.npy"
    bad = bytearray(file.read_bytes())
    bad[20_000] ^= 1
    file.write_bytes(bad)
    log = EventLog.open(tmp_path / "log")
    text = "bytes of its file times.npy differ from those that were written"
    with pytest.raises(ValueError, match=text):
        EventLog.open(tmp_path / "log", verify=True)
    assert pickle.loads(pickle.dumps(log)) is log
    with pytest.raises(TypeError, match="verify must be True or False; got 'yes'"):
        EventLog.open(tmp_path / "log", verify="yes")


def test_a_log_of_version_0_1_0_has_no_checksums(tmp_path):
    LOG.to_disk(tmp_path / "log")
    file = tmp_path / "log" / "log.json"
    note = json.loads(file.read_text())
    note["files"] = {
        name: note_of_log["bytes"] for name, note_of_log in note["files"].items()
    }
    del note["seal"]
    file.write_text(json.dumps({**note, "format": 1}))
    assert_same_log(EventLog.open(tmp_path / "log"), LOG)
    with pytest.raises(ValueError, match=r"version 0\.1\.0, which stored no checksums"):
        EventLog.open(tmp_path / "log", verify=True)
    note["clock"] = {"unit": 1}
    file.write_text(json.dumps({**note, "key": "other", "format": 1}))
    with pytest.raises(ValueError, match="is damaged"):
        EventLog.open(tmp_path / "log")


# --- Parts ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.Table.from_pandas])
def test_parts_of_a_sorted_table_are_one_log(size, library, tmp_path):
    """Also if the first level or value of a field is in a late part."""
    parts = (library(SORTED[at : at + size]) for at in range(0, len(SORTED), size))
    log = EventLog.from_parts(
        parts, tmp_path / "log", "who", "when", observed_until="2025-06-01"
    )
    assert_same_log(log, LOG)


def test_a_part_has_its_own_customers_in_any_order(tmp_path):
    who = sorted(EVENTS["who"].unique())
    parts = [EVENTS[:0], *(EVENTS[EVENTS["who"].isin(w)] for w in (who[:3], who[3:]))]
    options = {"fields": ["due", "amount"], "observed_until": "2025-06-01"}
    log = EventLog.from_parts(parts, tmp_path / "log", "who", "when", **options)
    assert_same_log(log, EventLog(EVENTS, "who", "when", **options))


@pytest.mark.parametrize("make", [list, np.array, pd.Index])
def test_categorical_fields_of_parts_are_any_list(make, tmp_path):
    """The truth value of an array is ambiguous."""
    part = pd.DataFrame({"c": [1, 2], "t": [1, 1], "item": [7, 8], "shop": [5, 5]})
    fields = make(["item", "shop"])
    log = EventLog.from_parts([part], tmp_path / "log", "c", "t", categorical=fields)
    assert log.column("item").categories.tolist() == [7, 8]
    assert log.column("shop").categories.tolist() == [5]


def test_a_field_gets_its_type_from_the_first_part_with_values(tmp_path):
    parts = [
        pd.DataFrame({"c": [c], "t": [c], "x": [x], "k": [k], "no": [None]})
        for c, x, k in [(1, None, None), (2, 5.0, "b"), (3, None, None), (4, 6.0, "a")]
    ]
    log = EventLog.from_parts(parts, tmp_path / "log", "c", "t")
    assert log.column("x").values.tolist()[1:] == pytest.approx(
        [5, np.nan, 6], nan_ok=True
    )
    assert log.column("k").values.tolist() == [-1, 1, -1, 0]
    assert log.column("no").is_empty()
    assert len(log.column("no").values) == 4


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([{"c": [2]}, {"c": [1]}], ValueError, r"part 1 begins with the customer 1"),
        (
            [{"t": [2]}, {"t": [1]}],
            ValueError,
            r"part 1 .* ends with 1 at a later time",
        ),
        ([{"c": [1]}, {"c": ["a"]}], TypeError, "customers of part 1 are of the type"),
        ([{}, {"x": ["a"]}], ValueError, r"'x' is categorical .* part 1, and was num"),
        ([{"k": ["a"]}, {"k": [pd.Timestamp(0)]}], ValueError, "'k' is datetime"),
        ([{}, {"t": [0.5]}], ValueError, "part 1"),
        (
            [{"x": [2**60] * 2, "c": [1] * 2, "t": [1] * 2, "k": "a"}][:0],
            ValueError,
            "no",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, error, message, tmp_path):
    base = {"c": [1], "t": [5], "x": [1.0], "k": ["b"]}
    tables = (pd.DataFrame({**base, **part}) for part in parts)
    with pytest.raises(error, match=message):
        EventLog.from_parts(tables, tmp_path / "log", "c", "t")
    assert not any(tmp_path.iterdir())


def test_a_part_that_lacks_a_field_is_named(tmp_path):
    parts = [SORTED[:5], SORTED[5:].drop(columns="due")]
    with pytest.raises(KeyError, match=r"part 1 has no column.*due"):
        EventLog.from_parts(parts, tmp_path / "log", "who", "when")


def test_fields_that_look_like_ids_are_a_warning(tmp_path):
    n = 2000
    basket = 10**6 + np.random.default_rng(0).permutation(n)
    part = pd.DataFrame({"c": np.arange(n), "t": 1, "basket": basket})
    parts = [part, part.assign(c=part["c"] + n)]
    with pytest.warns(UserWarning, match="basket") as caught:
        EventLog.from_parts(parts, tmp_path / "log", "c", "t")
    assert len(caught) == 1


# --- Vectors ----------------------------------------------------------------------


def vectors_of(*lists):
    events = pd.DataFrame({"c": list(range(len(lists))), "t": 1.0})
    return events.assign(vector=pd.Series(list(lists), dtype=object))


def test_vectors_come_back_from_files(tmp_path):
    log = EventLog(vectors_of([1, 2], None, [3, 4]), "c", "t")
    log.to_disk(tmp_path / "log")
    back = EventLog.open(tmp_path / "log")
    np.testing.assert_array_equal(
        back.column("vector").values, [[1, 2], [np.nan, np.nan], [3, 4]]
    )
    assert back.column("vector").values.dtype == "float32"


def test_vectors_of_parts_are_of_one_length(tmp_path):
    """A first part without any vector takes the length of the next one."""
    first = vectors_of([1, 2, 3]).assign(c=-1)
    parts = [first, vectors_of([1, 2])]
    with pytest.raises(ValueError, match=r"'vector' is vector \(float32, 2 comp"):
        EventLog.from_parts(parts, tmp_path / "log", "c", "t")
    assert not any(tmp_path.iterdir())


def test_encoded_vectors_are_those_of_memory(tmp_path):
    log = EventLog(vectors_of([1, 2], None, [3, 4], [9, 9]), "c", "t")
    log.to_disk(tmp_path / "log")
    frames = []
    for one in (log, EventLog.open(tmp_path / "log")):
        X = one.attach(pd.DataFrame({"c": [0, 1, 2]}), cutoff=2.0)
        encoded = HistoryEncoder().fit_transform(X)["history"].array
        assert encoded.log.is_on_disk == one.is_on_disk
        frames.append(encoded.to_frame())
    assert_frame_equal(*frames)
    assert frames[0]["vector_0"].tolist() == [-1, 0, 1]
