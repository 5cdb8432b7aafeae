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
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Literal, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import blocks, look_up
from sklearn_seqcrm._store import (
    SEALED_FORMAT,
    Clock,
    Column,
    Kinds,
    ObservationWindow,
    Timeline,
    Writer,
    check_flag,
    check_same_id_type,
    exact_ids,
    factorize,
    find_ids,
    get_entry,
    join_ids,
    read_sealed_json,
    sync_to_disk,
    temporary_sibling,
    write_sealed_json,
)
from sklearn_seqcrm.events._arrow_columns import (
    dtype_to_json,
    restore_dtype,
    to_parquet_array,
)
from sklearn_seqcrm.events._read import Events

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


# Writing a log, part by part ----------------------------------------------------------


@contextmanager
def new_log(path: Any, names: tuple[str, str]) -> Iterator[LogWriter]:
    """Yield the writer of a new log; its folder appears when it is complete and synced.

    The folder `path` must not exist, and the writer writes into a `temporary_sibling`
    of it. `names` are those of the customer and the time column. Raises a
    FileExistsError if `path` exists, or exists when the log is complete, and a
    FileNotFoundError if its parent folder is missing.
    """
    target = Path(os.path.abspath(os.fspath(path)))
    refusal = FileExistsError(
        f"{path} exists already. Another process may have opened the log in it, so it "
        "is not replaced: choose another folder, or remove this one first."
    )
    if os.path.lexists(target):
        raise refusal
    with temporary_sibling(target, path, is_folder=True) as part:
        yield LogWriter(part, names)
        # Files before the rename: after a power cut the name must not point to files
        # whose bytes never reached the disk.
        for one in [*part.iterdir(), part]:
            sync_to_disk(one)
        if os.path.lexists(target):
            raise refusal
        part.rename(target)


class LogWriter:
    """Writes the events of a log into an empty folder, part by part.

    `names` are those of the customer and the time column.
    """

    def __init__(self, folder: Path, names: tuple[str, str]) -> None:
        self._folder = folder
        self._names = names
        self._clock: Clock | None = None
        self._observation: ObservationWindow
        self._times: _Array
        self._fields: dict[str, _Field] = {}
        self._customers: list[pd.Index] = []
        self._counts: list[np.ndarray] = []
        self._last: Any = None  # time of the last event so far

    @property
    def is_empty(self) -> bool:
        """Whether no events were written yet."""
        return self._clock is None

    def append(self, events: Events, what: str) -> None:
        """Write a part of the events.

        Their customers come after all customers so far; only the last of those may
        continue. Errors call the events `what`.
        """
        timeline = events.timeline
        if self._clock is None:
            self._clock, self._observation = timeline.clock, timeline.observation
            self._times = _Array(self._folder / "times.npy", timeline.times.dtype)
            self._fields = {
                name: _Field(self._folder / f"field_{i}.npy", name)
                for i, name in enumerate(events.columns)
            }
        times = f"times in column {self._names[1]!r} of {what}"
        timeline = timeline.on(self._clock, times)
        self._join_customers(timeline, what)
        before, now = self._observation, timeline.observation
        self._observation = now._replace(
            until=max(before.until, now.until), in_days=before.in_days and now.in_days
        )
        self._times.append(timeline.times)
        for name, field in self._fields.items():
            field.append(events.columns[name], what)

    def _join_customers(self, timeline: Timeline, what: str) -> None:
        """Add customers and their numbers of events; refuse parts out of order."""
        customers, counts = timeline.customers, timeline.counts
        if self._customers:
            before = self._customers[-1]
            whose = "those before are"
            check_same_id_type(customers, before, f"customers of {what}", whose)
            # As Python objects: NumPy would compare int64 and uint64 as floats.
            last, first = before[-1:].tolist()[0], customers[:1].tolist()[0]
            goes_on = bool(last == first)
            too_early = goes_on and timeline.times[0] < self._last
            if too_early or not (goes_on or last < first):
                raise ValueError(
                    f"{what} begins with the customer {first!r}, and the part before "
                    f"ends with {last!r}{' at a later time' if too_early else ''}. "
                    "Parts must ascend by customer and, within a customer, by time: "
                    "sort the table by both, or split it by customer."
                )
            if goes_on:  # the last customer so far has more events
                self._counts[-1][-1] += counts[0]
                customers, counts = customers[1:], counts[1:]
        self._last = timeline.times[-1]
        if len(customers):
            self._customers.append(customers)
            self._counts.append(counts)

    def finish(self, kinds: Kinds | None, observed_until: Any = None) -> Events:
        """Write ids, offsets and the note, after which the log can be opened.

        `observed_until` is the last time that was observed; None: the latest of all
        parts. All events are returned, mapped from the files.
        """
        timeline = self._finish_timeline(observed_until)
        np.save(self._folder / "offsets.npy", timeline.offsets)
        fields = [field.finish() for field in self._fields.values()]
        note = {
            "key": secrets.token_hex(16),
            "names": self._names,
            "clock": vars(timeline.clock),
            "record": observation_to_json(timeline.observation),
            "kinds": kinds,
            "customers": _write_index(
                timeline.customers, self._folder / "customers.parquet", self._names[0]
            ),
            "fields": fields,
        }
        # All files so far; the note has a seal of its own.
        files = sorted(self._folder.iterdir())
        checksums = {one.name: Checksums.of(one)._asdict() for one in files}
        write_sealed_json({**note, "files": checksums}, self._folder / NOTE_NAME)
        columns = {one["name"]: read_field(self._folder, one) for one in fields}
        return Events(timeline, columns)

    def _finish_timeline(self, observed_until: Any) -> Timeline:
        """Return the timeline of all parts, whose times are mapped from their file."""
        assert self._clock is not None
        times, clock, observation = self._times.finish(), self._clock, self._observation
        parts = {f"part {i}": ids for i, ids in enumerate(self._customers)}
        customers = join_ids(parts, f"customers in column {self._names[0]!r}")
        if observed_until is not None:
            last = np.array([observation.until], clock.dtype)
            given = ObservationWindow.of(clock, last, observed_until)
            observation = observation._replace(until=given.until)
        # customers[i] has the events offsets[i]:offsets[i + 1].
        offsets = np.append(0, np.cumsum(np.concatenate(self._counts)))
        timeline = Timeline(customers, offsets, times, clock, observation)
        timeline.check_span(f"times in column {self._names[1]!r}")
        return timeline


class _Array:
    """A ``.npy`` file that grows: values of shape (n, *shape) with unknown n."""

    def __init__(self, path: Path, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        self.path, self.dtype, self.shape, self._n = path, np.dtype(dtype), shape, 0
        self._write_header("wb")

    def _write_header(self, mode: Literal["wb", "rb+"]) -> None:
        # NumPy pads the header for more digits of the length: `finish` overwrites it.
        shape = (self._n, *self.shape)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
        with self.path.open(mode) as file:
            np.lib.format.write_array_header_1_0(file, header)

    def append(self, values: np.ndarray) -> None:
        with self.path.open("ab") as file:
            for some in blocks(len(values), 1):
                file.write(values[some].tobytes())
        self._n += len(values)

    def finish(self) -> np.ndarray:
        """Return the complete array, mapped into memory and writeable."""
        self._write_header("rb+")
        return np.load(self.path, mmap_mode="r+")


class _Field:
    """The file of a field, and the levels seen so far.

    Codes are written in the order in which levels are first seen. `finish` replaces
    them when all levels are known, so that levels ascend.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._array: _Array | None = None
        self._like: Column  # the dtype of the field, without events
        self._levels: pd.Index | None = None
        self._n_before = 0  # events before the first part with a value

    def append(self, column: Column, what: str) -> None:
        """Write the values of more events."""
        n = len(column.values)
        if self._array is None:
            self._like = Column(column.values[:0], column.categories)
            # A part without any value does not show the dtype of the field.
            if column.is_empty():
                self._n_before += n
                return
            self._array = self._start()
        before, now = _type_of(self._like), _type_of(column)
        if before != now:
            if not column.is_empty():
                raise ValueError(
                    f"Field {self._name!r} is {now} in {what}, and was {before} "
                    "before; give all parts one type."
                )
            column = self._like.without_values(n)
        if column.categories is None:
            self._array.append(column.values)
        elif n:
            table = self._codes_of(column.categories, what)
            for some in blocks(n, 1):
                self._array.append(look_up(table, column.values[some]))

    def _start(self) -> _Array:
        """Open the file, and write missing values for the events before."""
        values = self._like.values
        array = _Array(self._path, values.dtype, values.shape[1:])
        for some in blocks(self._n_before, 1):
            array.append(self._like.without_values(some.stop - some.start).values)
        return array

    def _codes_of(self, levels: pd.Index, what: str) -> np.ndarray:
        """Return the codes of the levels of a part; new levels get the next codes."""
        if self._levels is None or not len(self._levels):
            self._levels = levels
        if levels is self._levels or levels.equals(self._levels):
            return np.arange(len(levels), dtype="int32")
        name = f"levels of field {self._name!r}"
        check_same_id_type(
            levels, self._levels, f"{name} in {what}", "those before are"
        )
        codes = find_ids(levels, self._levels)
        new = codes < 0
        # Codes on the disk stay valid: new levels are numbered after the old ones.
        codes[new] = len(self._levels) + np.arange(new.sum())
        if new.any():
            self._levels = join_ids({"": self._levels, what: levels[new]}, name)
        return codes.astype("int32")

    def finish(self) -> dict[str, Any]:
        """Sort the levels, rewrite the codes, and return the note of the field."""
        values = (self._array or self._start()).finish()
        note: dict[str, Any] = {"name": self._name, "file": self._path.name}
        if self._like.categories is None:
            return {**note, "levels": None}
        seen = self._like.categories if self._levels is None else self._levels
        codes, levels = factorize(pd.Series(seen), self._name)
        # Codes ascend already if each part has only larger levels: no second pass.
        if (np.diff(codes) < 0).any():
            for some in blocks(len(values), 1):
                values[some] = look_up(codes, values[some])
        values.flush()  # type: ignore[attr-defined]
        file = self._path.with_suffix(".parquet")
        of_levels = _write_index(levels, file, self._name)
        return {**note, "levels": {"file": file.name, **of_levels}}


def _type_of(column: Column) -> str:
    """Return the dtype that all parts of a field must have in common, as text."""
    parts = [str(column.values.dtype)]
    parts += [f"{size} components" for size in column.values.shape[1:]]
    return f"{column.type} ({', '.join(parts)})"


def _write_index(index: pd.Index, path: Path, name: str) -> dict[str, Any]:
    """Write ids or levels, and return the note that restores their dtype."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = to_parquet_array(index, name)
    try:
        pq.write_table(pa.table({"values": column}), path)
    except pa.ArrowException as error:
        raise TypeError(f"This log cannot be written to files: {error}") from error
    return dtype_to_json(index)


def observation_to_json(observation: ObservationWindow) -> dict[str, Any]:
    """Return the entry "record" of a note."""
    # Not `is_lower_bound`: whoever writes a log has it as a whole.
    return {
        "until": np.asarray(observation.until).item(),
        "in_days": observation.in_days,
        "limited_by": observation.limited_by,
    }


def observation_from_json(
    note: dict[str, Any], clock: Clock, path: Any
) -> ObservationWindow:
    """Read the entry "record" of a note."""
    entry = get_entry(note, "record", dict, path)
    return ObservationWindow(
        get_entry(entry, "until", clock.tick_type, path),
        get_entry(entry, "in_days", bool, path),
        get_entry(entry, "limited_by", str | None, path),
    )
