"""Temporary files and folders: removed if and only if their writers are gone."""

import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from sklearn_seqcrm._store import _atomic_files, replace_atomically, temporary_sibling

WRITE = """
import sys, time
from pathlib import Path
from sklearn_seqcrm._store import temporary_sibling
file, folder = (Path(sys.argv[1]) / name for name in ("file", "folder"))
with (
    temporary_sibling(file, file, is_folder=False) as one,
    temporary_sibling(folder, folder, is_folder=True) as other,
):
    (other / "times.npy").write_bytes(b"half of it")
    print(one.name, other.name, flush=True)
    time.sleep(600)
"""


def names_in(folder):
    return sorted(one.name for one in folder.iterdir())


def write(target, is_folder):
    """Write a whole file or folder."""
    with temporary_sibling(target, target, is_folder=is_folder) as part:
        part.rename(target)


def test_what_a_killed_writer_left_is_removed(tmp_path):
    kinds = {"file": False, "folder": True}
    arguments = [sys.executable, "-c", WRITE, tmp_path]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as other:
        left = other.stdout.readline().split()
        for name, part in zip(kinds, left, strict=True):
            assert re.fullmatch(rf"\.{name}\.[0-9a-f]{{16}}\.part", part)
        # As long as the other process lives, its parts stay.
        for name, is_folder in kinds.items():
            write(tmp_path / name, is_folder)
        assert names_in(tmp_path) == sorted([*left, *kinds])
        other.send_signal(signal.SIGKILL)
    for name, is_folder in kinds.items():
        (tmp_path / name).rename(tmp_path / f"old {name}")
        write(tmp_path / name, is_folder)
    assert not set(left) & set(names_in(tmp_path))
    assert len(names_in(tmp_path)) == 4


def test_other_names_are_left_alone(tmp_path):
    kernel = _atomic_files._kernel()
    others = [
        f".log.{kernel}12345678.part.txt",
        f".log.{kernel}1234567.part",
        f".log2.{kernel}12345678.part",
        ".log.0123456712345678.part",  # of another machine
        ".0123456712345678.part",
    ]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / f".log.{kernel}12345678.part").mkdir()
    write(tmp_path / "log", is_folder=False)
    assert names_in(tmp_path) == sorted([*others, "log"])


def test_where_nothing_can_be_locked_nothing_is_removed(tmp_path, monkeypatch):
    left = tmp_path / f".log.{_atomic_files._kernel()}12345678.part"
    left.touch()
    monkeypatch.setattr(_atomic_files.fcntl, "flock", lambda *args: os.close(-1))
    write(tmp_path / "log", is_folder=False)
    assert left.exists()
    monkeypatch.setattr(_atomic_files, "fcntl", None)
    write(tmp_path / "log", is_folder=False)
    assert left.exists()


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_part_that_another_writer_removed_is_created_again(
    is_folder, tmp_path, monkeypatch
):
    """It may be removed between its creation and its lock."""
    locked, prefix = [], _atomic_files._prefix_of("log")
    lock = _atomic_files._lock

    def late(part):
        if not locked:
            locked.append(part)
            _atomic_files._remove_stale(tmp_path, prefix)
        return lock(part)

    monkeypatch.setattr(_atomic_files, "_lock", late)
    write(tmp_path / "log", is_folder)
    assert names_in(tmp_path) == ["log"]
    assert len(locked) == 1


def test_many_writers_of_one_name(tmp_path):
    def replace():
        for _ in range(20):
            with replace_atomically(tmp_path / "states") as part:
                part.write_bytes(b"whole")

    writers = [threading.Thread(target=replace) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert names_in(tmp_path) == ["states"]
    assert (tmp_path / "states").read_bytes() == b"whole"


def test_temporary_names_of_long_names_are_short(tmp_path):
    for name in ("n" * 255, "ä" * 127):
        assert len(_atomic_files._prefix_of(name).encode()) < 120
        write(tmp_path / name, is_folder=False)
    assert len(names_in(tmp_path)) == 2


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "no" / "states"
    text = r"The folder does not exist; create it by mkdir"
    with (
        pytest.raises(FileNotFoundError, match=text) as caught,
        replace_atomically(path),
    ):
        pass
    assert caught.value.filename == str(path)
