"""A log as a folder of files, which the operating system maps page by page.

Format of the folder, with the arrays of a timeline (see `Timeline`) and of each field::

    log.json            written last, sealed (see `_store`): the note below
    times.npy           (n_events,), int64 or float64
    offsets.npy         (n_customers + 1,), int64
    customers.parquet   column "values": ids in ascending order
    field_0.npy         (n_events,) numbers, datetimes or int32 codes, or
                        (n_events, n_components) float32 for vectors
    field_0.parquet     column "values": levels of a categorical field, ascending
    field_1.npy         ...

    {
      "key": 32 random digits, by which pickled histories recognize their log,
      "names": [customer, time],
      "clock": {"dtype", "unit", "aware"},
      "record": {"until", "in_days", "limited_by"},
      "kinds": null or [field, {kind: [field, ...]}],
      "customers": {"categorical", "dtype"},
      "fields": [{"name", "file", "levels": null or {"file", "categorical", "dtype"}}],
      "files": {name: {"bytes", "ends", "sha256"}},
      "format": 2,
      "seal": ...
    }
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import (
    SEALED_FORMAT,
    Clock,
    Column,
    Kinds,
    Timeline,
    Writer,
    check_flag,
    exact_ids,
    get_entry,
    read_sealed_json,
)
from sklearn_seqcrm.events._arrow_columns import restore_dtype
from sklearn_seqcrm.events._notes import observation_from_json

NOTE_NAME = "log.json"
_AGAIN = "build the log again from its events"
_WRITER = Writer("EventLog.to_disk", anew=_AGAIN, of_others=_AGAIN)
_END = 2**12  # bytes at both ends of a file that are compared whenever it is opened

# Open logs: a process that unpickles the same log many times has it once.
_OPEN: WeakValueDictionary[tuple[type, str, str], Any] = WeakValueDictionary()
_LOCK = Lock()


class Checksums(NamedTuple):
    """Size and checksums of a file."""

    bytes: int
    # SHA-256 of its first and its last 4,096 bytes; None in logs of version 0.1.0.
    ends: str | None = None
    sha256: str | None = None  # SHA-256 of all bytes; None if they were not read

    @classmethod
    def of(cls, path: Path, *, whole: bool = True) -> Checksums:
        """Compute the checksums of a file, with `whole` that of all its bytes, too."""
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            ends = hashlib.sha256()
            for at in (0, max(size - _END, 0)):
                file.seek(at)
                ends.update(file.read(_END))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest() if whole else None
        return cls(size, ends.hexdigest(), digest)


def open_log(
    cls: Any, path: Any, key: str | None = None, *, verify: bool = False
) -> Any:
    """Open a log of class `cls` that `LogWriter` wrote.

    `path` is its folder, and `key` that of the log, if it was open before: another log
    may be there now. With `verify`, all bytes are compared with their checksums. A log
    is the same object while it is in use.
    """
    check_flag(verify, "verify")
    folder = Path(os.path.realpath(os.fspath(path)))
    note = _read_note(folder, path)
    found = get_entry(note, "key", str, path)
    if key is not None and found != key:
        raise ValueError(
            f"The log in {path} is not the log that these histories view: it "
            "was removed and written again. Attach the histories to the new log."
        )
    known = cls, str(folder), found
    _check_files(folder, note, path, read_none=known in _OPEN, read_all=verify)
    # Another thread may have opened it in the meantime.
    with _LOCK:
        log = _OPEN.get(known)
        if log is None:
            log = _OPEN[known] = _build_log(cls, folder, note)
    return log


def _read_note(folder: Path, path: Any) -> dict[str, Any]:
    if not folder.exists():
        raise FileNotFoundError(
            f"{path} does not exist. A log on disk is opened by its path, which must "
            "be the same on every machine that uses it."
        )
    try:
        return read_sealed_json(folder / NOTE_NAME, _WRITER)
    except OSError as error:
        raise ValueError(
            f"{path} is not a complete log of EventLog.to_disk: {error}"
        ) from error


def _check_files(
    folder: Path, note: dict[str, Any], path: Any, *, read_none: bool, read_all: bool
) -> None:
    """Raise a ValueError if a file differs from what was written.

    The size is always compared. When a log is opened, the files that opening reads are
    compared as a whole. It does not read the events: of their files, both ends are
    compared, where files of another log differ.
    """
    files = get_entry(note, "files", dict, path)
    if read_all and note["format"] < SEALED_FORMAT:
        raise ValueError(
            f"The log in {path} was written by version 0.1.0, which stored no "
            "checksums for verify=True. Open it without verify, and write it into "
            "a new folder by to_disk."
        )
    for name, noted in files.items():
        # Version 0.1.0 stored only the size.
        written = Checksums(**noted) if isinstance(noted, dict) else Checksums(noted)
        file = folder / name
        size = file.stat().st_size if file.exists() else 0
        if size != written.bytes:
            raise _WRITER.damaged(
                f"The log in {path}",
                f"its file {name} has {size:,} bytes, and {written.bytes:,} were "
                "written",
            )
        if written.sha256 is None or (read_none and not read_all):
            continue
        is_read = file.suffix == ".parquet" or name == "offsets.npy"
        # A gigabyte takes about a second: event files are compared only on request.
        found = Checksums.of(file, whole=read_all or is_read)
        if found.ends != written.ends or found.sha256 not in (None, written.sha256):
            why = f"the bytes of its file {name} differ from those that were written"
            raise _WRITER.damaged(f"The log in {path}", why)


def _build_log(cls: Any, folder: Path, note: dict[str, Any]) -> Any:
    """Build a log from the files of a folder that were compared with the note."""
    of_clock = get_entry(note, "clock", dict, folder)
    try:
        clock = Clock(**of_clock)
        names = tuple(get_entry(note, "names", list, folder))
        observation = observation_from_json(note, clock, folder)
        ids = _read_index(folder / "customers.parquet", note["customers"])
        columns = {
            one["name"]: read_field(folder, one)
            for one in get_entry(note, "fields", list, folder)
        }
        kinds = None if note["kinds"] is None else Kinds.of(*note["kinds"])
        times = _mapped(folder / "times.npy")
        offsets = _mapped(folder / "offsets.npy")
    except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        # Only a log of version 0.1.0, without checksums, can fail here.
        raise _WRITER.damaged(f"The log in {folder}", repr(error)) from error
    timeline = Timeline(ids, offsets, times, clock, observation)
    # Pickles store this call instead of arrays; the key detects a replaced log.
    origin = open_log, (cls, str(folder), note["key"])
    return cls.of(timeline, columns, names, kinds, origin)


def read_field(folder: Path, note: dict[str, Any]) -> Column:
    """Return a field whose values stay in their file, by its part of the note."""
    values, levels = _mapped(folder / note["file"]), note["levels"]
    if levels is None:
        return Column(values)
    return Column(values, _read_index(folder / levels["file"], levels))


def _read_index(path: Path, note: dict[str, Any]) -> pd.Index:
    import pyarrow.parquet as pq

    column = pq.read_table(path)["values"]
    return exact_ids(pd.Index(restore_dtype(column, note).array), path.stem)


def _mapped(path: Path) -> np.ndarray:
    """Map the array of a file into memory: only pages in use are loaded."""
    # A view of NumPy's own class: slicing a memmap takes many times as long.
    return np.asarray(np.load(path, mmap_mode="r"))
