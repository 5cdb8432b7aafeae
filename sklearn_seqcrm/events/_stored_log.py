"""A log that is written to files and read from them: one table, or a folder.

The table is a Parquet file, which other readers open as a plain table. Its columns are
customer, time and the fields, one row per event in the order of the log. The file is
sealed (see `_store`). Its note holds what Parquet does not store::

    {
      "names": [customer, time],
      "columns": [{"name", "categorical", "dtype", "n_components" of vectors}, ...],
      "record": {"until", "in_days", "limited_by"},
      "kinds": null or [field, {kind: [field, ...]}],
      "format": 2
    }
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import pandas as pd

from sklearn_seqcrm._store import (
    SEALED_FORMAT,
    Kinds,
    Writer,
    get_entry,
    read_sealed_table,
    write_sealed_table,
)
from sklearn_seqcrm._typing import FilePath, IntoTable, Time
from sklearn_seqcrm.events._arrow_columns import (
    dtype_to_json,
    restore_dtype,
    to_parquet_array,
)
from sklearn_seqcrm.events._disk import (
    new_log,
    observation_from_json,
    observation_to_json,
    open_log,
)
from sklearn_seqcrm.events._read import Events, read_events, read_table
from sklearn_seqcrm.events._viewable_log import ViewableLog
from sklearn_seqcrm.events._warnings import NewEventChecks

_KEY = b"sklearn_seqcrm"
_WRITER = Writer(
    "EventLog.to_parquet",
    anew="build the log again from its events",
    of_others="read it as a table and give that to EventLog, with its customer and "
    "time columns",
)
# Files of version 0.1.0 have a mark and a digest of all other bytes before the footer:
#   PAR1 | pages | mark | SHA-256, 32 bytes | footer | length of the footer | PAR1
_OLD_MARK = b"sklearn_seqcrm sha256\n"
_OLD_SEAL = len(_OLD_MARK) + sha256().digest_size


def read_log(path: Any) -> tuple[pd.DataFrame, tuple[str, str], dict[str, Any]]:
    """Read a file of `to_parquet`: all events, the names of the keys, and the note.

    The names are those of the customer and the time column.
    """
    table, note = read_sealed_table(path, _KEY, _WRITER)
    if note["format"] < SEALED_FORMAT:
        _check_old_seal(path)
    columns = get_entry(note, "columns", list, path)
    try:
        labels = [column["name"] for column in columns]
        series = [restore_dtype(table[one["name"]], one) for one in columns]
        names = get_entry(note, "names", list, path)
        customer, time = (labels[labels.index(name)] for name in names)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"The note in {path} does not fit its table, which has the "
            f"columns {table.column_names}: {error}"
        ) from error
    frame = pd.DataFrame(dict(enumerate(series))).set_axis(labels, axis=1)
    return frame, (customer, time), note


def _decode_levels(array: Any) -> Any:
    """Decode levels other than text, as not every reader supports them."""
    import pyarrow as pa

    if not pa.types.is_dictionary(array.type):
        return array
    levels = array.type.value_type
    is_text = pa.types.is_string(levels) or pa.types.is_large_string(levels)
    return array if is_text else array.dictionary_decode()


def _check_old_seal(path: Any) -> None:
    """Compare the digest of a file of version 0.1.0 with its bytes."""
    data = memoryview(Path(path).read_bytes())
    # Start of the footer: its length is in the 4 bytes before the last 4.
    at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if data[at - _OLD_SEAL : at - _OLD_SEAL + len(_OLD_MARK)] != _OLD_MARK:
        raise ValueError(
            f"{path} lacks the checksum of {_WRITER.name}: it is damaged, or was "
            f"rewritten by another program; {_WRITER.of_others}."
        )
    digest = sha256(data[: at - _OLD_SEAL])
    digest.update(data[at:])
    if digest.digest() != data[at - _OLD_SEAL + len(_OLD_MARK) : at]:
        raise _WRITER.damaged(path, "its checksum does not match")


class StoredLog(ViewableLog):
    """A raw log with the methods that write and read files."""

    def to_parquet(self, path: FilePath) -> None:
        """Write the log to a parquet file; needs pyarrow.

        Parameters
        ----------
        path : str or path-like
            File to write. Any parquet reader sees the events as a plain table. An
            existing file is replaced when the new one is complete, and stays as it is
            if writing fails; a link stays, and the file that it points to is replaced.

        Raises
        ------
        FileNotFoundError
            If the folder of the file is missing.
        PermissionError
            If the file exists and is not writeable.
        TypeError
            If ids or levels are of a type that parquet cannot store, such as the
            intervals of ``pd.cut`` and periods.
        ValueError
            If `path` exists and is not a regular file.

        Notes
        -----
        The metadata of the file hold a SHA-256 of all its bytes, under the key
        ``sklearn_seqcrm.seal``, which `from_parquet` verifies.
        """
        import pyarrow as pa

        customer, time = self._names
        columns: dict[str, Any] = {
            customer: self.customers[self.customer_index()],
            time: self._timeline.clock.as_index(self._timeline.times),
            **{name: column.stored() for name, column in self._columns.items()},
        }
        note = {
            "names": [customer, time],
            "columns": [{"name": n, **dtype_to_json(c)} for n, c in columns.items()],
            "record": observation_to_json(self._timeline.observation),
            "kinds": self._kinds,
        }
        arrays = [
            _decode_levels(to_parquet_array(one, name)) for name, one in columns.items()
        ]
        table = pa.table(arrays, names=list(columns))
        try:
            write_sealed_table(table, _KEY, note, path)
        except pa.ArrowException as error:
            raise TypeError(f"This log cannot be written to {path}: {error}") from error

    @classmethod
    def from_parquet(cls, path: FilePath) -> Self:
        """Read a log that `to_parquet` wrote; needs pyarrow.

        Parameters
        ----------
        path : str or path-like
            File to read.

        Returns
        -------
        EventLog
            The same events, customers and fields.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is an ordinary table, without a note of its customer and time
            columns, if any byte of it was changed or lost since it was written, or if a
            later version of this library wrote it.
        """
        frame, names, note = read_log(path)
        timeline, columns = read_events(read_table(frame), *names, None)
        # Without the note, the log would end with its last event.
        observation = observation_from_json(note, timeline.clock, path)
        timeline = replace(timeline, observation=observation)
        kinds = get_entry(note, "kinds", list | None, path)
        kinds = None if kinds is None else Kinds.of(*kinds)
        return cls.of(timeline, columns, names, kinds)

    def to_disk(self, path: FilePath) -> None:
        """Write the log into a new folder, from which `open` reads it in pieces.

        Parameters
        ----------
        path : str or path-like
            The folder, which must not exist; its parent must. It appears when the log
            is complete and synced to the disk. A process that is killed before leaves
            ``.<name>.<digits>.part`` beside it, which cannot be opened, and which the
            next writer of `path` removes.

        Raises
        ------
        FileExistsError
            If `path` exists: a log may be in use, and is never replaced.
        FileNotFoundError
            If the parent folder of `path` is missing.
        TypeError
            If ids or levels are of a type that parquet cannot store.

        See Also
        --------
        from_parts : Write a log that does not fit into memory.
        to_parquet : Write a table in one file, for any reader.

        Notes
        -----
        Times, offsets and the values of each field are files of NumPy (``.npy``). The
        ids of customers and the levels of categories are Parquet files, for which
        pyarrow is needed. ``log.json`` describes them, and holds the size and a SHA-256
        of each file and of itself; see `open`.
        """
        with new_log(path, self._names) as writer:
            writer.append(Events(self._timeline, self._columns), "the log")
            writer.finish(self._kinds)

    @classmethod
    def open(cls, path: FilePath, *, verify: bool = False) -> Self:
        """Open a log that `to_disk` or `from_parts` wrote, and leave it on the disk.

        Parameters
        ----------
        path : str or path-like
            The folder.
        verify : bool, default=False
            Compare every byte with its checksum, which reads all files once (about a
            second per gigabyte). By default, only what opening reads is compared; see
            the notes.

        Returns
        -------
        EventLog
            The same events, customers and fields. Only those events that are in use are
            in memory, and the ids of the customers and the levels of categories.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        ValueError
            If it holds no complete log, a file is damaged or comes from another log, or
            a later version of this library wrote it. With `verify`, also if version
            0.1.0 wrote it, which stored no checksums.

        Notes
        -----
        Opening compares ``log.json``, the ids, the levels and the offsets with their
        checksums as a whole. It does not read times and fields: of these files, it
        compares the sizes and the first and last 4,096 bytes. This finds files that
        were cut off, mixed up or rewritten, but not a flipped bit in the middle. Open a
        folder with ``verify=True`` once after it was copied or restored from a backup.
        Pickles and workers open logs without.

        A pickle of the log, or of rows that view it, holds its path and no events.
        Another process, a worker of Dask, or the model of last month needs the same
        folder at the same path to read it. `HistoryEncoder` leaves the events of such
        rows on the disk, too, and encodes them when a batch needs them.

        Methods that return another log hold that log in memory: `append`, `only`,
        `for_customers`, `resample` and `concat`. So do tables of rows that were joined
        from two logs.

        Examples
        --------
        >>> import tempfile, pandas as pd
        >>> from pathlib import Path
        >>> from sklearn_seqcrm.events import EventLog
        >>> visits = pd.DataFrame({"who": ["a", "a", "b"], "day": [1, 9, 12]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     EventLog(visits, "who", "day").to_disk(Path(folder) / "visits")
        ...     log = EventLog.open(Path(folder) / "visits")
        ...     log.snapshots([10])
          who  cutoff        history
        0   a      10  2 events 1..9
        """
        return open_log(cls, path, verify=verify)

    @classmethod
    def from_parts(
        cls,
        parts: Iterable[IntoTable],
        path: FilePath,
        customer: str,
        time: str,
        fields: Sequence[str] | None = None,
        observed_until: Time | None = None,
        categorical: Sequence[str] | None = None,
    ) -> Self:
        """Build a log on the disk from tables, one of which is in memory at a time.

        Parameters
        ----------
        parts : iterable of tables
            The events, in parts of any type that `EventLog` takes. All customers of a
            part come after those of the part before; only the last customer may
            continue in the next part, at the same or a later time. Within a part, rows
            have any order. So the result of a query that is sorted by customer and time
            can be cut anywhere.
        path : str or path-like
            The folder, as in `to_disk`.
        customer, time, fields, observed_until, categorical : object
            As in `EventLog`. The first part determines the type of each field and, with
            ``fields=None``, which fields there are.

        Returns
        -------
        EventLog
            The log, opened from the disk.

        Raises
        ------
        FileExistsError
            If `path` exists.
        KeyError
            If a part lacks one of the columns.
        TypeError
            If a part is not a table, or its customers or levels are of another type.
        ValueError
            If there are no events, parts are not in the order of their customers, a
            field has another type than before, or for the reasons of `EventLog`.

        Warns
        -----
        UserWarning
            If numbers of the first part look like ids, and for the other reasons of
            `EventLog`, which are checked for all parts together.

        See Also
        --------
        open : Open the log the next time.

        Examples
        --------
        A query that sorts a data set larger than memory, in DuckDB (see the page
        :doc:`/scale`), returns the same type of parts as this list.

        >>> import tempfile, pandas as pd
        >>> from pathlib import Path
        >>> from sklearn_seqcrm.events import EventLog
        >>> visits = pd.DataFrame({"who": ["a", "a", "b"], "day": [1, 9, 12]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     EventLog.from_parts(
        ...         [visits[:1], visits[1:]], Path(folder) / "visits", "who", "day"
        ...     )
        EventLog(3 events, 2 customers, 1..12, fields: none)
        """
        as_categories = () if categorical is None else categorical
        checks = NewEventChecks(categorical)
        with new_log(path, (customer, time)) as writer:
            for i, part in enumerate(parts):
                what = f"part {i}"
                table = read_table(part, what)
                # A partition of a query may be empty.
                if not len(table):
                    continue
                events = read_events(
                    table, customer, time, fields, categorical=as_categories, what=what
                )
                if writer.is_empty:
                    # All parts have the fields and the types of the first one.
                    fields = list(events.columns)
                checks.add(table, events)
                writer.append(events, what)
            if writer.is_empty:
                raise ValueError("There are no events; a log needs at least one.")
            events = writer.finish(None, observed_until)
            # Before the folder appears: a warning may be an error, and a second try
            # would then find the folder.
            checks.warn_about_log(events, time, observed_until)
            del events  # closes its files
        return open_log(cls, path)
