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

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import (
    SEALED_FORMAT,
    Clock,
    ObservationWindow,
    Writer,
    get_entry,
    read_sealed_table,
    write_sealed_table,
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

    Parameters
    ----------
    frame : mapping of str to Series or ndarray
        All events: customer, time and every field, vectors as rows of a matrix.
    names : tuple of (str, str)
        Names of the customer and the time column.
    note : dict of str to object
        Further entries of the note, of types that JSON has.
    path : str or path-like
        File to write. An existing one is replaced atomically.
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
    """Read a file of `write_log`.

    Parameters
    ----------
    path : str or path-like
        File to read.

    Returns
    -------
    frame : DataFrame of shape (n_events, 2 + n_fields)
        All events.
    names : tuple of (str, str)
        Names of the customer and the time column.
    note : dict of str to object
        The note.
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


def observation_to_json(observation: ObservationWindow) -> dict[str, Any]:
    """Return the entry "record" of a note."""
    until = np.asarray(observation.until).item()
    entry = {**observation._asdict(), "until": until}
    del entry["is_lower_bound"]  # whoever writes a log has it as a whole
    return entry


def observation_from_json(
    note: dict[str, Any], clock: Clock, path: Any
) -> ObservationWindow:
    """Read the entry "record" of a note."""
    entry = get_entry(note, "record", dict, path)
    return ObservationWindow(
        get_entry(entry, "until", clock.number, path),
        get_entry(entry, "in_days", bool, path),
        get_entry(entry, "limited_by", str | None, path),
    )


def to_parquet_array(values: Any, name: Any) -> Any:
    """Convert a column to an Arrow array of a type that parquet can store.

    Parameters
    ----------
    values : Series, Index, Categorical or ndarray of shape (n,), or (n, n_components)
        The column; vectors as rows of a matrix.
    name : str
        Its name, for errors.

    Returns
    -------
    pyarrow.Array of shape (n,)
        Missing values are null.
    """
    import pyarrow as pa

    if values.ndim == 2:
        return _to_lists(values)
    array = to_arrow(values, name)
    inner = getattr(array.type, "value_type", array.type)
    if isinstance(inner, pa.BaseExtensionType) or pa.types.is_nested(inner):
        raise _not_storable(name, dtype_to_json(values)["dtype"], "")
    return array


def to_arrow(values: Any, name: Any) -> Any:
    """Convert a column to an Arrow array of any type.

    Parameters
    ----------
    values : Series, Index, Categorical or ndarray of shape (n,)
        The column.
    name : str
        Its name, for errors.

    Returns
    -------
    pyarrow.Array of shape (n,)
        Missing values are null.
    """
    import pyarrow as pa

    try:
        if isinstance(values.dtype, pd.CategoricalDtype):
            return _to_dictionary(pd.Categorical(values))
        return _unchunked(pa.array(values, from_pandas=True))
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise _not_storable(
            name, dtype_to_json(values)["dtype"], f": {error}"
        ) from error


def _unchunked(array: Any) -> Any:
    """Return an Arrow array in one chunk; text that pandas joined has several."""
    import pyarrow as pa

    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _to_lists(vectors: np.ndarray) -> Any:
    """Convert vectors to lists: not every reader has missing lists of fixed size.

    .. code-block:: text

        vectors    [[1, 2], [nan, nan], [3, 4]]     (n, n_components)
        numbers    [1, 2, 3, 4]                     (n_there * n_components,)
        offsets    [0, 2, 2, 4]                     (n + 1,)
        mask       [False, True, False]             (n,)
    """
    import pyarrow as pa

    is_present = ~np.isnan(vectors[:, 0])
    offsets = np.append(0, np.cumsum(is_present * vectors.shape[1]))
    numbers = pa.array(vectors[is_present].ravel())
    mask = pa.array(~is_present)
    return pa.LargeListArray.from_arrays(pa.array(offsets), numbers, mask=mask)


def _to_dictionary(values: pd.Categorical) -> Any:
    """Convert categories to a dictionary array that keeps the time zone of levels."""
    import pyarrow as pa

    levels = _unchunked(pa.array(values.categories, from_pandas=True))
    if levels.type == pa.null():
        levels = levels.cast(pa.string())
    codes = pa.array(values.codes, mask=values.codes < 0)
    return pa.DictionaryArray.from_arrays(codes, levels)


def dtype_to_json(values: Any) -> dict[str, Any]:
    """Return what Parquet does not store: whether a column has levels, and the dtype.

    Parameters
    ----------
    values : Series, Index, Categorical or ndarray of shape (n,), or (n, n_components)
        The column; vectors as rows of a matrix.

    Returns
    -------
    dict of str to object
        ``categorical``, ``dtype`` (that of the levels, if it is) and, of vectors,
        ``n_components``.
    """
    if values.ndim == 2:
        note = {"categorical": False, "dtype": str(values.dtype)}
        return {**note, "n_components": values.shape[1]}
    is_categorical = isinstance(values.dtype, pd.CategoricalDtype)
    dtype = values.dtype.categories.dtype if is_categorical else values.dtype
    return {"categorical": is_categorical, "dtype": str(dtype)}


def restore_dtype(column: Any, note: dict[str, Any]) -> pd.Series:
    """Convert a column to the dtype that it had in the log.

    Parameters
    ----------
    column : pyarrow.ChunkedArray of shape (n,)
        The column that was read.
    note : dict of str to object
        Result of `dtype_to_json`.

    Returns
    -------
    Series of shape (n,)
        The column; text in the dtype of this version of pandas.
    """
    import pyarrow as pa

    if "n_components" in note:
        # A type with the length, which is known even if all vectors are missing.
        return pd.Series(_to_fixed_size_lists(column, note["n_components"]))
    dtype, is_text = note["dtype"], note["dtype"] in ("object", "str")
    if not note["categorical"]:
        series = column.to_pandas()
        return series if is_text else series.astype(dtype)
    # Parquet returns only text as categories. Other levels are encoded in Arrow, where
    # integers beside missing values stay exact; pandas would convert them to floats.
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries().combine_chunks()
    levels = pd.Index(column.dictionary.to_pandas())
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    if not is_text or not len(levels):  # a field of only None may take any later type
        levels = levels.astype(dtype)
    return pd.Series(pd.Categorical.from_codes(codes, levels))


def _to_fixed_size_lists(lists: Any, size: int) -> pd.api.extensions.ExtensionArray:
    """Convert lists of `_to_lists` to a type that holds the length of the vectors."""
    import pyarrow as pa

    # The empty array is for tables without a chunk, which cannot be concatenated.
    lists = pa.concat_arrays([pa.array([], lists.type), *lists.chunks])
    is_present = np.asarray(lists.is_valid())
    vectors = np.zeros((len(lists), size), "float32")
    vectors[is_present] = lists.flatten().to_numpy().reshape(-1, size)
    mask = pa.array(~is_present)
    fixed = pa.FixedSizeListArray.from_arrays(vectors.ravel(), size, mask=mask)
    return pd.arrays.ArrowExtensionArray(pa.chunked_array([fixed]))


def _not_storable(name: Any, dtype: Any, why: str) -> TypeError:
    return TypeError(
        f"Column {name!r} holds values of the type {dtype}, which parquet cannot store"
        f"{why}. Make text of them before building the log: "
        f"events[{name!r}].astype(str)."
    )


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
