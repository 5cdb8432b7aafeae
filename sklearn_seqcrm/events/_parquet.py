"""A log as a Parquet file, which other readers open as a plain table.

The columns of the table are customer, time and the fields, one row per event in the
order of the log. The file is sealed (see `_store`). Its note holds what Parquet does
not store::

    {
      "names": [customer, time],
      "columns": [{"name", "categorical", "dtype", "n_components" of vectors}, ...],
      "record": {"until", "in_days", "limited_by"},
      "kinds": null or [field, {kind: [field, ...]}],
      "format": 2
    }
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from sklearn_seqcrm._store import (
    SEALED_FORMAT,
    Writer,
    get_entry,
    read_sealed_table,
    write_sealed_table,
)
from sklearn_seqcrm.events._arrow_columns import (
    dtype_to_json,
    restore_dtype,
    to_parquet_array,
)

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


def write_log(
    frame: Mapping[str, Any], names: tuple[str, str], note: dict[str, Any], path: Any
) -> None:
    """Write the events as a table, and a note into the metadata of the file.

    `frame` has all events: customer, time and every field, vectors as rows of a matrix.
    `names` are those of the customer and the time column, and `note` has further
    entries of the note, of types that JSON has. An existing file is replaced
    atomically.
    """
    import pyarrow as pa

    columns = [{"name": name, **dtype_to_json(one)} for name, one in frame.items()]
    arrays = [
        _decode_levels(to_parquet_array(column, name)) for name, column in frame.items()
    ]
    table = pa.table(arrays, names=list(frame))
    note = {"names": list(names), "columns": columns, **note}
    try:
        write_sealed_table(table, _KEY, note, path)
    except pa.ArrowException as error:
        raise TypeError(f"This log cannot be written to {path}: {error}") from error


def read_log(path: Any) -> tuple[pd.DataFrame, tuple[str, str], dict[str, Any]]:
    """Read a file of `write_log`: all events, the names of the keys, and the note.

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
