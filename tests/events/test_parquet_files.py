"""The Parquet file of a log: replaced atomically, and refused if damaged."""

import errno
import json
import os
import re
import stat
import threading
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from sklearn_seqcrm._store import _sealed_files
from sklearn_seqcrm.events import EventLog, _stored_log

# Writing: a file is replaced as a whole, or not at all -------------------------------


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("when", ["while writing", "at the end"])
def test_a_file_survives_a_write_that_fails(tmp_path, log, monkeypatch, error, when):
    path = tmp_path / "log.parquet"
    log.to_parquet(path)

    def fail(table, beside, **options):
        beside.write_bytes(b"PAR1 half of it")
        raise error

    def fail_late(source, target):
        raise error

    if when == "while writing":
        monkeypatch.setattr(pq, "write_table", fail)
    else:
        monkeypatch.setattr(os, "replace", fail_late)
    with pytest.raises(type(error)):
        log.append(log.to_frame(), duplicates="keep").to_parquet(path)
    assert os.listdir(tmp_path) == ["log.parquet"]
    assert len(EventLog.from_parquet(path)) == len(log)


def test_a_new_file_gets_the_permissions_of_any_and_an_old_one_keeps_its_own(
    tmp_path, log
):
    path, other = tmp_path / "log.parquet", tmp_path / "other"
    other.touch()
    log.to_parquet(path)
    assert path.stat().st_mode == other.stat().st_mode
    path.chmod(0o640)
    log.to_parquet(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, log, is_there):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "log.parquet", tmp_path / "link"
    if is_there:
        target.write_bytes(b"old")
    link.symlink_to(target)
    log.to_parquet(link)
    assert link.is_symlink()
    assert len(EventLog.from_parquet(target)) == len(log)
    assert sorted(os.listdir(tmp_path)) == ["far", "link"]
    assert os.listdir(tmp_path / "far") == ["log.parquet"]


def test_a_folder_or_a_pipe_is_not_replaced(tmp_path, log):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match="is not a regular file"):
            log.to_parquet(path)


def test_a_file_that_cannot_be_made_is_named(tmp_path, log):
    """And not the temporary file that is written first."""
    path = tmp_path / "nowhere" / "log.parquet"
    with pytest.raises(FileNotFoundError) as caught:
        log.to_parquet(path)
    assert caught.value.filename == str(path)


def test_the_longest_name_of_the_file_system(tmp_path, log):
    path = tmp_path / ("n" * 255)
    log.to_parquet(path)
    assert len(EventLog.from_parquet(path)) == len(log)
    with pytest.raises(OSError, match="File name too long"):
        log.to_parquet(tmp_path / ("n" * 256))
    assert len(os.listdir(tmp_path)) == 1


def test_a_file_that_another_writer_makes_meanwhile(tmp_path, log, monkeypatch):
    path = tmp_path / "log.parquet"
    touch = Path.touch

    def touch_both(self, **options):
        touch(path)
        touch(self, **options)

    monkeypatch.setattr(Path, "touch", touch_both)
    log.to_parquet(path)
    assert len(EventLog.from_parquet(path)) == len(log)


def test_two_writers_of_one_file_leave_it_whole(tmp_path, log):
    path = tmp_path / "log.parquet"
    writers = [threading.Thread(target=log.to_parquet, args=[path]) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(EventLog.from_parquet(path)) == len(log)
    assert os.listdir(tmp_path) == ["log.parquet"]


# Reading: a file whose bytes changed is refused ---------------------------------------


def with_bit_flipped(data, bit):
    bad = bytearray(data)
    bad[bit // 8] ^= 1 << bit % 8
    return bad


def test_every_flipped_bit_is_refused(tmp_path, log):
    """In pages, their heads, the footer, its length, and the seal itself."""
    path = tmp_path / "log.parquet"
    log.to_parquet(path)
    good = path.read_bytes()
    n_bits = 8 * len(good)
    some = np.random.default_rng(0).choice(n_bits, 120, replace=False)
    for bit in [*some, *range(n_bits - 64, n_bits)]:
        path.write_bytes(with_bit_flipped(good, bit))
        with pytest.raises(ValueError, match=re.escape(f"{path} is damaged: ")):
            EventLog.from_parquet(path)
    path.write_bytes(good)
    assert len(EventLog.from_parquet(path)) == len(log)


def as_version_0_1_0(path):
    """Write a file as that version did: no seal, and a digest before the footer."""
    table = pq.read_table(path)
    note = json.loads(table.schema.metadata[b"sklearn_seqcrm"]) | {"format": 1}
    table = table.replace_schema_metadata({b"sklearn_seqcrm": json.dumps(note)})
    pq.write_table(table, path, write_page_checksum=True)
    data = path.read_bytes()
    at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    digest = b"sklearn_seqcrm sha256\n" + sha256(data).digest()
    path.write_bytes(data[:at] + digest + data[at:])


def test_files_of_version_0_1_0_are_read_and_compared(tmp_path, log):
    path = tmp_path / "log.parquet"
    log.to_parquet(path)
    as_version_0_1_0(path)
    assert pl.read_parquet(path).columns == ["customer", "day", "x"]
    back = EventLog.from_parquet(path)
    pd.testing.assert_frame_equal(back.to_frame(), log.to_frame())
    good = path.read_bytes()
    n_bits = 8 * len(good)
    for bit in np.random.default_rng(0).choice(n_bits, 30, replace=False):
        path.write_bytes(with_bit_flipped(good, bit))
        with pytest.raises(ValueError, match=re.escape(str(path))):
            EventLog.from_parquet(path)


def test_the_seal_covers_all_bytes_and_other_readers_see_it(tmp_path, log):
    path = tmp_path / "log.parquet"
    log.to_parquet(path)
    seal = pq.read_metadata(path).metadata[b"sklearn_seqcrm.seal"].decode()
    mark, digest = seal.split("=")
    data = path.read_bytes().replace(digest.encode(), b"0" * 64)
    assert (mark, digest) == ("sklearn_seqcrm.sha256", sha256(data).hexdigest())
    for frame in (pl.read_parquet(path), pd.read_parquet(path), pq.read_table(path)):
        assert frame.shape == (6, 3)


def test_a_column_may_be_called_as_the_seal_begins(tmp_path):
    name = "sklearn_seqcrm.sha256=" + 64 * "0"
    events = pd.DataFrame({"who": [name], "when": [1], name: [name]})
    EventLog(events, "who", "when").to_parquet(tmp_path / "log.parquet")
    back = EventLog.from_parquet(tmp_path / "log.parquet")
    assert back.customers.tolist() == back.fields == [name]


def test_a_file_that_was_cut_off_is_refused(tmp_path, log):
    path = tmp_path / "log.parquet"
    log.to_parquet(path)
    good = path.read_bytes()
    for n_bytes in (0, 3, 4, 11, 12, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:n_bytes])
        text = rf"{re.escape(str(path))} is damaged: .* or build the log again"
        with pytest.raises(ValueError, match=text):
            EventLog.from_parquet(path)
    with pytest.raises(FileNotFoundError):
        EventLog.from_parquet(tmp_path / "nothing.parquet")


def test_pages_carry_checksums_for_other_readers(tmp_path, log):
    path = tmp_path / "log.parquet"
    log.to_parquet(path)
    column = pq.read_metadata(path).row_group(0).column(2)
    first = column.dictionary_page_offset or column.data_page_offset
    bad = bytearray(path.read_bytes())
    bad[first + column.total_compressed_size - 1] ^= 1
    path.write_bytes(bad)
    with pytest.raises(OSError, match=r"(?i)crc checksum"):
        pq.read_table(path, page_checksum_verification=True)


def test_a_file_that_another_program_rewrote(tmp_path, log):
    """It has lost the checksum, and may have lost more."""
    path = tmp_path / "log.parquet"
    log.to_parquet(path)
    table = pq.read_table(path)
    pq.write_table(table, path)
    text = f"{path} was rewritten by another program, .*; read it as a table"
    with pytest.raises(ValueError, match=text):
        EventLog.from_parquet(path)
    del (metadata := dict(table.schema.metadata))[b"sklearn_seqcrm.seal"]
    pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(ValueError, match="is damaged: its checksum is missing"):
        EventLog.from_parquet(path)


DAMAGED_NOTES = {
    "no JSON": ("{", "its note is not JSON"),
    "no dict": ("[1]", r"its note is \[1\]"),
    "no format": ({"format": None}, "lacks the entry 'format'"),
    "a later format": ({"format": 3}, "has the format 3, .* reads formats up to 2"),
    "no names": ({"names": None}, "lacks the entry 'names'"),
    "names of another type": ({"names": "who"}, "entry 'names' .* is 'who'"),
    "names that are no columns": (
        {"names": ["who", "day"]},
        r"does not fit its table, which has the columns \['customer', 'day', 'x'\]",
    ),
    "too few names": ({"names": ["customer"]}, "does not fit its table"),
    "no columns": ({"columns": None}, "lacks the entry 'columns'"),
    "columns of another table": (
        {"columns": [{"name": "y", "categorical": False, "dtype": "float64"}]},
        "does not fit its table",
    ),
    "a type that is none": (
        {"columns": [{"name": "x", "categorical": False, "dtype": "purple"}]},
        "does not fit its table",
    ),
    "half a column": ({"columns": [{"name": "x"}]}, "does not fit its table"),
    "no record": ({"record": None}, "lacks the entry 'record'"),
    "half a record": ({"record": {"until": 5}}, "lacks the entry 'in_days'"),
    "a record in words": (
        {"record": {"until": "today", "in_days": True, "limited_by": None}},
        "entry 'until' .* is 'today'",
    ),
}


def change_note(path, change):
    """Replace the note of a file, or some entries of it; None removes an entry."""
    table = pq.read_table(path)
    if not isinstance(change, str):
        note = json.loads(table.schema.metadata[b"sklearn_seqcrm"]) | change
        removed = {key for key, one in change.items() if one is None}
        change = json.dumps({key: note[key] for key in note if key not in removed})
    metadata = {b"sklearn_seqcrm": change, "sklearn_seqcrm.seal": _sealed_files._SEAL}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    _sealed_files._seal(path)


@pytest.mark.parametrize("case", DAMAGED_NOTES)
def test_a_damaged_note(tmp_path, log, case):
    change, text = DAMAGED_NOTES[case]
    path = tmp_path / "log.parquet"
    log.to_parquet(path)
    change_note(path, change)
    with pytest.raises(ValueError, match=text) as caught:
        EventLog.from_parquet(path)
    assert str(path) in str(caught.value)


def test_a_note_may_hold_more(tmp_path, log):
    path = tmp_path / "log.parquet"
    log.to_parquet(path)
    change_note(path, {"more": [1, "a"]})
    assert _stored_log.read_log(path)[2]["more"] == [1, "a"]
    assert EventLog.from_parquet(path).to_frame().equals(log.to_frame())
