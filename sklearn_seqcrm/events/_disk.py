"""A log as a folder of files, which the system reads page by page."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import look_up
from sklearn_seqcrm._store import (
    SEALED,
    Clock,
    Column,
    Kinds,
    ObservationWindow,
    RawLog,
    Timeline,
    Writer,
    entry_of,
    exact_ids,
    factorize,
    find_ids,
    join_ids,
    part_of,
    read_sealed_json,
    refuse_other_kind,
    to_the_disk,
    write_sealed_json,
)
from sklearn_seqcrm.events._parquet import (
    as_arrow,
    record_note,
    record_of,
    restored,
    told_of,
)
from sklearn_seqcrm.events._read import Events
from sklearn_seqcrm.events._time_range import refuse_wide

_NOTE = "log.json"  # written last
_ANEW = "build the log anew from its events"
_WRITER = Writer("EventLog.to_disk", anew=_ANEW, of_others=_ANEW)
_BLOCK = 2**20  # events that are copied at a time
_END = 2**12  # bytes at both ends of a file that are read whenever it is opened

# What is open: a process that gets the same log many times has it once.
_OPEN: WeakValueDictionary[tuple[type, str, str], Any] = WeakValueDictionary()
_LOCK = Lock()


# Writing --------------------------------------------------------------------------


@contextmanager
def new_log(path: Any, names: tuple[str, str]) -> Iterator[LogWriter]:
    """A log to write, whose folder gets its name when it is whole and on the disk.

    Parameters
    ----------
    path : str or path-like
        Where it shall be, and nothing is yet.
    names : tuple of (str, str)
        What the customer and the time column are called.

    Yields
    ------
    LogWriter
        Writes into a folder beside it, as `part_of` makes it.

    Raises
    ------
    FileExistsError
        If something is at `path`, also if it came there meanwhile.
    FileNotFoundError
        If the folder that it is in is missing.
    """
    target = Path(os.path.abspath(os.fspath(path)))
    refusal = FileExistsError(
        f"{path} is there already. A log may be in use by whoever opened it, so that "
        "none is replaced: choose another folder, or remove that one before."
    )
    if os.path.lexists(target):
        raise refusal
    with part_of(target, path, is_folder=True) as part:
        with closing(LogWriter(part, names)) as writer:
            yield writer
        for one in [*part.iterdir(), part]:
            to_the_disk(one)
        if os.path.lexists(target):
            raise refusal
        part.rename(target)


class LogWriter:
    """Writes the events of a log, of some customers at a time, into a folder.

    Parameters
    ----------
    folder : Path
        An empty folder.
    names : tuple of (str, str)
        What the customer and the time column are called.
    """

    def __init__(self, folder: Path, names: tuple[str, str]) -> None:
        self._folder = folder
        self._names = names
        self._clock: Clock | None = None
        self._record: ObservationWindow | None = None
        self._times: _Array
        self._fields: dict[str, _Field] = {}
        self._customers: list[pd.Index] = []
        self._counts: list[np.ndarray] = []
        self._last: Any = None  # time of the last event so far

    def append(self, events: Events, what: str) -> None:
        """Write more events.

        Parameters
        ----------
        events : Events
            Their customers come after all so far, but for the first one, who may go on.
        what : str
            How an error names them.
        """
        timeline = events.timeline
        if self._clock is None:
            self._clock, self._record = timeline.clock, timeline.record
            self._times = _Array(self._folder / "times.npy", timeline.times.dtype)
            self._fields = {
                name: _Field(self._folder / f"field_{i}.npy", name)
                for i, name in enumerate(events.columns)
            }
        times = f"times in column {self._names[1]!r} of {what}"
        timeline = timeline.on(self._clock, times)
        self._join_customers(timeline, what)
        assert self._record is not None
        self._record = ObservationWindow(
            max(self._record.until, timeline.record.until),
            self._record.in_days and timeline.record.in_days,
            timeline.record.limited_by,
        )
        self._times.append(timeline.times)
        for name, field in self._fields.items():
            field.append(events.columns[name], what)

    def close(self) -> None:
        """Close the files, whether they are whole or not."""
        for field in self._fields.values():
            field.close()
        if self._clock is not None:
            self._times.close()

    def _join_customers(self, timeline: Timeline, what: str) -> None:
        """Note customers and how many events they have."""
        customers, counts = timeline.customers, timeline.counts
        if self._customers:
            before = self._customers[-1]
            whose = "those before are"
            refuse_other_kind(customers, before, f"customers of {what}", whose)
            last, first = before[-1:].tolist()[0], customers[:1].tolist()[0]
            goes_on = bool(last == first)
            too_early = goes_on and timeline.times[0] < self._last
            if too_early or not (goes_on or last < first):
                raise ValueError(
                    f"{what} begins with the customer {first!r}, and the part before "
                    f"ends with {last!r}{' at a later time' if too_early else ''}; the "
                    "parts must be in the order of customers, and of one customer in "
                    "that of time. Sort the table by both, or cut it by customer."
                )
            if goes_on:
                self._counts[-1] = self._counts[-1].copy()
                self._counts[-1][-1] += counts[0]
                customers, counts = customers[1:], counts[1:]
        self._last = timeline.times[-1]
        if len(customers):
            self._customers.append(customers)
            self._counts.append(counts)

    def finish(self, kinds: Kinds | None, observed_until: Any = None) -> None:
        """Write what the events alone do not say, after which the log can be opened.

        Parameters
        ----------
        kinds : Kinds or None
            The kinds of events that the log was merged from.
        observed_until : datetime, number or None, default=None
            The last moment that was recorded; None: what the parts say.
        """
        assert self._clock is not None
        assert self._record is not None
        times, clock, record = self._times.finish(), self._clock, self._record
        parts = {f"part {i}": ids for i, ids in enumerate(self._customers)}
        customers = join_ids(parts, f"customers in column {self._names[0]!r}")
        if observed_until is not None:
            until = np.array([record.until], clock.dtype)
            told = ObservationWindow.of(clock, until, observed_until)
            record = record._replace(until=told.until)
        offsets = np.append(0, np.cumsum(np.concatenate(self._counts)))
        timeline = Timeline(customers, offsets, times, clock, record)
        refuse_wide(timeline, f"times in column {self._names[1]!r}")
        np.save(self._folder / "offsets.npy", offsets)
        note = {
            "key": secrets.token_hex(16),
            "names": self._names,
            "clock": vars(clock),
            "record": record_note(record),
            "kinds": kinds,
            "customers": _write_index(
                customers, self._folder / "customers.parquet", self._names[0]
            ),
            "fields": [field.finish() for field in self._fields.values()],
        }
        files = sorted(self._folder.iterdir())
        checksums = {one.name: Checksums.of(one)._asdict() for one in files}
        write_sealed_json({**note, "files": checksums}, self._folder / _NOTE)


class Checksums(NamedTuple):
    """Size and checksums of a file of a log.

    Parameters
    ----------
    bytes : int
        Its size.
    ends : str or None, default=None
        SHA-256 of its first and its last 4,096 bytes; None in logs of version 0.1.0.
    sha256 : str or None, default=None
        That of all bytes.
    """

    bytes: int
    ends: str | None = None
    sha256: str | None = None

    @classmethod
    def of(cls, path: Path, *, whole: bool = True) -> Checksums:
        """Compute those of a file.

        Parameters
        ----------
        path : Path
            The file.
        whole : bool, default=True
            Whether to read all of it, for `sha256`.
        """
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            ends = hashlib.sha256()
            for at in (0, max(size - _END, 0)):
                file.seek(at)
                ends.update(file.read(_END))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest() if whole else None
        return cls(size, ends.hexdigest(), digest)


class _Array:
    """A file of NumPy that grows, of values that are all of one shape."""

    def __init__(self, path: Path, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        self.path, self.dtype, self.shape, self._n = path, np.dtype(dtype), shape, 0
        self._file = path.open("wb")
        self._write_header()

    def _write_header(self) -> None:
        # NumPy leaves room for more digits of the length.
        shape = (self._n, *self.shape)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, values: np.ndarray) -> None:
        for at in range(0, len(values), _BLOCK):
            self._file.write(values[at : at + _BLOCK].tobytes())
        self._n += len(values)

    def close(self) -> None:
        self._file.close()

    def finish(self) -> np.ndarray:
        """The array, mapped to memory, which may be changed."""
        self._file.seek(0)
        self._write_header()
        self.close()
        return np.load(self.path, mmap_mode="r+")


class _Field:
    """A field of a log as a file, with the levels that were seen so far."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._array: _Array | None = None
        self._like: Column | None = None  # of no events
        self._levels: pd.Index | None = None
        self._n_before = 0  # events without a value before the first one that has one

    def append(self, column: Column, what: str) -> None:
        """Write the field of more events."""
        if self._array is None:
            if column.is_empty():
                self._like, self._n_before = column, self._n_before + len(column.values)
                return
            self._start(column)
        like, n = self._like, len(column.values)
        assert like is not None
        assert self._array is not None
        before, now = _type_of(like), _type_of(column)
        if before != now:
            if not column.is_empty():
                raise ValueError(
                    f"Field {self._name!r} is {now} in {what}, and was {before} "
                    "before; give all parts one type."
                )
            column = like.without_values(n)
        if column.categories is None:
            self._array.append(column.values)
        elif n:
            table = self._codes_of(column.categories, what)
            for at in range(0, n, _BLOCK):
                self._array.append(look_up(table, column.values[at : at + _BLOCK]))

    def _start(self, column: Column) -> None:
        self._like = Column(column.values[:0], column.categories)
        values = column.values
        self._array = _Array(self._path, values.dtype, values.shape[1:])
        for at in range(0, self._n_before, _BLOCK):
            n = min(_BLOCK, self._n_before - at)
            self._array.append(column.without_values(n).values)

    def _codes_of(self, levels: pd.Index, what: str) -> np.ndarray:
        """Codes of the levels of a part, in the order in which levels were seen."""
        if self._levels is None or not len(self._levels):
            self._levels = levels
        if levels is self._levels or levels.equals(self._levels):
            return np.arange(len(levels), dtype="int32")
        name = f"levels of field {self._name!r}"
        refuse_other_kind(levels, self._levels, f"{name} in {what}", "those before are")
        codes = find_ids(levels, self._levels)
        new = codes < 0
        codes[new] = len(self._levels) + np.arange(new.sum())
        if new.any():
            self._levels = join_ids({"": self._levels, what: levels[new]}, name)
        return codes.astype("int32")

    def close(self) -> None:
        if self._array is not None:
            self._array.close()

    def finish(self) -> dict[str, Any]:
        """Put levels into their order, and tell what a reader needs to know."""
        assert self._like is not None
        if self._array is None:
            self._start(self._like)
        assert self._array is not None
        values = self._array.finish()
        told: dict[str, Any] = {"name": self._name, "file": self._path.name}
        if self._like.categories is None:
            return {**told, "levels": None}
        seen = self._like.categories if self._levels is None else self._levels
        codes, levels = factorize(pd.Series(seen), self._name)
        if (np.diff(codes) < 0).any():
            for at in range(0, len(values), _BLOCK):
                some = slice(at, at + _BLOCK)
                values[some] = look_up(codes, values[some])
        values.flush()  # type: ignore[attr-defined]
        file = self._path.with_suffix(".parquet")
        return {
            **told,
            "levels": {"file": file.name, **_write_index(levels, file, self._name)},
        }


def _type_of(column: Column) -> str:
    """What all parts of a field must have in common, in words."""
    told = [str(column.values.dtype)]
    told += [f"{size} components" for size in column.values.shape[1:]]
    return f"{column.type} ({', '.join(told)})"


def _write_index(index: pd.Index, path: Path, name: str) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = as_arrow(index, name)
    try:
        pq.write_table(pa.table({"values": column}), path)
    except pa.ArrowException as error:
        raise TypeError(f"This log cannot be written to files: {error}") from error
    return told_of(index)


# Opening --------------------------------------------------------------------------


def open_log(
    cls: Any, path: Any, key: str | None = None, *, verify: bool = False
) -> Any:
    """Open a log that `LogWriter` wrote.

    Parameters
    ----------
    cls : type
        Class of the log.
    path : str or path-like
        Its folder.
    key : str or None, default=None
        The key that the folder must have, of those who knew it before.
    verify : bool, default=False
        Whether to compare all bytes with what was written.

    Returns
    -------
    log
        The log, the same one for all who ask while it is in use.
    """
    if not isinstance(verify, bool):
        raise TypeError(f"verify must be True or False; got {verify!r}.")
    folder = Path(os.path.realpath(os.fspath(path)))
    note = _read_note(folder, path)
    found = entry_of(note, "key", str, path)
    if key is not None and found != key:
        raise ValueError(
            f"The log in {path} is another one than that which these histories view: "
            "it was removed and written anew. Attach them to that one."
        )
    known = cls, str(folder), found
    _check_files(folder, note, path, read_none=known in _OPEN, read_all=verify)
    with _LOCK:
        log = _OPEN.get(known)
        if log is None:
            log = _OPEN[known] = _opened(cls, folder, note)
    return log


def _read_note(folder: Path, path: Any) -> dict[str, Any]:
    if not folder.exists():
        raise FileNotFoundError(
            f"There is no {path} here. A log on a disk is found by its path, which "
            "must be the same wherever it is read."
        )
    try:
        return read_sealed_json(folder / _NOTE, _WRITER)
    except OSError as error:
        raise ValueError(
            f"{path} is no log that EventLog.to_disk has written to its end: {error}"
        ) from error


def _check_files(
    folder: Path, note: dict[str, Any], path: Any, *, read_none: bool, read_all: bool
) -> None:
    """Raise a ValueError if a file is not the one that was written.

    Sizes are compared always. Of a log that is opened, the files that opening reads are
    compared as a whole, and of the events, which it does not read, both ends: files of
    another log differ there.
    """
    files = entry_of(note, "files", dict, path)
    if read_all and note["format"] < SEALED:
        raise ValueError(
            f"The log in {path} was written by version 0.1.0, which noted no checksums "
            "that verify=True could compare. Open it without, and write it into a new "
            "folder by to_disk."
        )
    for name, told in files.items():
        written = Checksums(**told) if isinstance(told, dict) else Checksums(told)
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
        found = Checksums.of(file, whole=read_all or is_read)
        if found.ends != written.ends or found.sha256 not in (None, written.sha256):
            why = f"the bytes of its file {name} are not those that were written"
            raise _WRITER.damaged(f"The log in {path}", why)


def _opened(cls: Any, folder: Path, note: dict[str, Any]) -> Any:
    told = entry_of(note, "clock", dict, folder)
    try:
        clock = Clock(**told)
        names = tuple(entry_of(note, "names", list, folder))
        record = record_of(note, clock, folder)
        ids = _read_index(folder / "customers.parquet", note["customers"])
        columns = {
            one["name"]: _read_column(folder, one)
            for one in entry_of(note, "fields", list, folder)
        }
        kinds = None if note["kinds"] is None else Kinds.of(*note["kinds"])
        times = _mapped(folder / "times.npy")
        offsets = _mapped(folder / "offsets.npy")
    except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        # Only of a log without checksums, as version 0.1.0 wrote it.
        raise _WRITER.damaged(f"The log in {folder}", repr(error)) from error
    timeline = Timeline(ids, offsets, times, clock, record)
    origin = open_log, (cls, str(folder), note["key"])
    return cls.of(timeline, columns, names, kinds, origin)


def _read_column(folder: Path, told: dict[str, Any]) -> Column:
    levels = told["levels"]
    values = _mapped(folder / told["file"])
    if levels is None:
        return Column(values)
    return Column(values, _read_index(folder / levels["file"], levels))


def _read_index(path: Path, told: dict[str, Any]) -> pd.Index:
    import pyarrow.parquet as pq

    column = pq.read_table(path)["values"]
    return exact_ids(pd.Index(restored(column, told).array), path.stem)


def _mapped(path: Path) -> np.ndarray:
    """An array of a file, of which no more is in memory than is in use."""
    # A view of NumPy's own class: slices of memmaps take many times as long.
    return np.asarray(np.load(path, mmap_mode="r"))


def write_log_to(path: Any, log: RawLog, kinds: Kinds | None) -> None:
    """Write a whole log into a new folder.

    Parameters
    ----------
    path : str or path-like
        The folder, which must not be there.
    log : RawLog
        The log.
    kinds : Kinds or None
        Its kinds.
    """
    with new_log(path, log.names) as writer:
        writer.append(Events(log.timeline, log.columns), "the log")
        writer.finish(kinds)
