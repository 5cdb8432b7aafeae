"""A log as a parquet file, which any other reader sees as a plain table."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import (
    SEALED,
    Clock,
    ObservationWindow,
    Writer,
    entry_of,
    read_sealed_table,
    write_sealed_table,
)

_KEY = b"sklearn_seqcrm"
_WRITER = Writer(
    "EventLog.to_parquet",
    anew="build the log anew from its events",
    of_others="read it as a table and give that to EventLog, with its customer and "
    "time columns",
)
# In files of version 0.1.0 this mark and the digest of all the rest stand between the
# pages and the footer.
_OLD_MARK = b"sklearn_seqcrm sha256\n"
_OLD_SEAL = len(_OLD_MARK) + sha256().digest_size


def write_log(
    frame: Mapping[str, Any], names: tuple[str, str], note: dict[str, Any], path: Any
) -> None:
    """Write the events, and beside them what the table alone does not say.

    Parameters
    ----------
    frame : mapping of str to Series or ndarray
        All events: customer, time and every field, vectors as rows of a matrix.
    names : tuple of (str, str)
        Names of the customer and the time column.
    note : dict of str to object
        What else to remember, as JSON holds it.
    path : str or path-like
        File to write. A file that is there already is replaced when the new one is
        whole, and stays as it is if anything goes wrong before.
    """
    import pyarrow as pa

    columns = [{"name": name, **told_of(column)} for name, column in frame.items()]
    arrays = [_plain(as_arrow(column, name)) for name, column in frame.items()]
    table = pa.table(arrays, names=list(frame))
    note = {"names": list(names), "columns": columns, **note}
    try:
        write_sealed_table(table, _KEY, note, path)
    except pa.ArrowException as error:
        raise TypeError(f"This log cannot be written to {path}: {error}") from error


def read_log(path: Any) -> tuple[pd.DataFrame, tuple[str, str], dict[str, Any]]:
    """Read what `write_log` wrote.

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
        What else was to be remembered.
    """
    table, note = read_sealed_table(path, _KEY, _WRITER)
    if note["format"] < SEALED:
        _check_old_seal(path)
    columns = entry_of(note, "columns", list, path)
    try:
        told = [column["name"] for column in columns]
        series = [restored(table[one["name"]], one) for one in columns]
        names = entry_of(note, "names", list, path)
        customer, time = (told[told.index(name)] for name in names)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"The note in {path} does not fit its table, which has the "
            f"columns {table.column_names}: {error}"
        ) from error
    frame = pd.DataFrame(dict(enumerate(series))).set_axis(told, axis=1)
    return frame, (customer, time), note


def record_note(record: ObservationWindow) -> dict[str, Any]:
    """The record of a log as JSON holds it."""
    return {**record._asdict(), "until": np.asarray(record.until).item()}


def record_of(note: dict[str, Any], clock: Clock, path: Any) -> ObservationWindow:
    """Read what `record_note` made."""
    told = entry_of(note, "record", dict, path)
    number = int if clock.dtype == "int64" else float
    return ObservationWindow(
        entry_of(told, "until", number, path),
        entry_of(told, "in_days", bool, path),
        entry_of(told, "limited_by", str | None, path),
    )


def as_arrow(values: Any, name: Any) -> Any:
    """A column as an Arrow array of a type that parquet holds.

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
        return _lists(values)
    array = arrow_of(values, name)
    kind = getattr(array.type, "value_type", array.type)
    if isinstance(kind, pa.BaseExtensionType) or pa.types.is_nested(kind):
        raise _refusal(name, told_of(values)["dtype"], "")
    return array


def arrow_of(values: Any, name: Any) -> Any:
    """A column as an Arrow array, be it of a type that parquet holds or not.

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
            return _encoded(pd.Categorical(values))
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise _refusal(name, told_of(values)["dtype"], f": {error}") from error


def _lists(vectors: np.ndarray) -> Any:
    """Vectors as a list each: of fixed size, not every reader knows a missing one."""
    import pyarrow as pa

    is_there = ~np.isnan(vectors[:, 0])
    offsets = np.append(0, np.cumsum(is_there * vectors.shape[1]))
    numbers = pa.array(vectors[is_there].ravel())
    mask = pa.array(~is_there)
    return pa.LargeListArray.from_arrays(pa.array(offsets), numbers, mask=mask)


def _encoded(values: pd.Categorical) -> Any:
    """Categories as an Arrow array, which by itself would forget a time zone."""
    import pyarrow as pa

    levels = pa.array(values.categories, from_pandas=True)
    if isinstance(levels, pa.ChunkedArray):  # as pandas stores text
        levels = levels.combine_chunks()
    if levels.type == pa.null():
        levels = levels.cast(pa.string())
    codes = pa.array(values.codes, mask=values.codes < 0)
    return pa.DictionaryArray.from_arrays(codes, levels)


def told_of(values: Any) -> dict[str, Any]:
    """What parquet forgets of a column: whether it has levels, and its type or theirs.

    Parameters
    ----------
    values : Series, Index, Categorical or ndarray of shape (n,), or (n, n_components)
        The column; vectors as rows of a matrix.

    Returns
    -------
    dict of str to object
        ``categorical`` and ``dtype``, as JSON holds them; of vectors, their
        ``n_components`` as well.
    """
    if values.ndim == 2:
        told = {"categorical": False, "dtype": str(values.dtype)}
        return {**told, "n_components": values.shape[1]}
    is_categorical = isinstance(values.dtype, pd.CategoricalDtype)
    dtype = values.dtype.categories.dtype if is_categorical else values.dtype
    return {"categorical": is_categorical, "dtype": str(dtype)}


def restored(column: Any, told: dict[str, Any]) -> pd.Series:
    """A column in the type that it had in the log.

    Parameters
    ----------
    column : pyarrow.ChunkedArray of shape (n,)
        The column as it was read.
    told : dict of str to object
        What `told_of` said of it.

    Returns
    -------
    Series of shape (n,)
        The column; text as this version of pandas holds it.
    """
    import pyarrow as pa

    if "n_components" in told:
        # A type that tells the length, be there a vector or not.
        return pd.Series(_of_fixed_size(column, told["n_components"]))
    dtype, is_text = told["dtype"], told["dtype"] in ("object", "str")
    if not told["categorical"]:
        series = column.to_pandas()
        return series if is_text else series.astype(dtype)
    # Parquet gives back text alone as categories; in Arrow, other levels stay exact
    # although some are missing, where pandas would make floats of integers.
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries().combine_chunks()
    levels = pd.Index(column.dictionary.to_pandas())
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    levels = levels if is_text else levels.astype(dtype)
    return pd.Series(pd.Categorical.from_codes(codes, levels))


def _of_fixed_size(lists: Any, size: int) -> pd.api.extensions.ExtensionArray:
    """What `_lists` wrote, with the length of the vectors in its type."""
    import pyarrow as pa

    lists = pa.concat_arrays([pa.array([], lists.type), *lists.chunks])
    is_there = np.asarray(lists.is_valid())
    vectors = np.zeros((len(lists), size), "float32")
    vectors[is_there] = lists.flatten().to_numpy().reshape(-1, size)
    mask = pa.array(~is_there)
    fixed = pa.FixedSizeListArray.from_arrays(vectors.ravel(), size, mask=mask)
    return pd.arrays.ArrowExtensionArray(pa.chunked_array([fixed]))


def _refusal(name: Any, dtype: Any, why: str) -> TypeError:
    return TypeError(
        f"Column {name!r} holds values of the type {dtype}, which parquet cannot store"
        f"{why}. Make text of them before building the log: "
        f"events[{name!r}].astype(str)."
    )


def _plain(array: Any) -> Any:
    """Levels that are no text as plain values, as not every reader knows others."""
    import pyarrow as pa

    if not pa.types.is_dictionary(array.type):
        return array
    levels = array.type.value_type
    is_text = pa.types.is_string(levels) or pa.types.is_large_string(levels)
    return array if is_text else array.dictionary_decode()


def _check_old_seal(path: Any) -> None:
    """Raise a ValueError unless a file of version 0.1.0 has the digest of its bytes."""
    data = memoryview(Path(path).read_bytes())
    at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if data[at - _OLD_SEAL : at - _OLD_SEAL + len(_OLD_MARK)] != _OLD_MARK:
        raise ValueError(
            f"{path} has lost the checksum of {_WRITER.name}: it is damaged, or was "
            f"written anew by another program; {_WRITER.of_others}."
        )
    digest = sha256(data[: at - _OLD_SEAL])
    digest.update(data[at:])
    if digest.digest() != data[at - _OLD_SEAL + len(_OLD_MARK) : at]:
        raise _WRITER.damaged(path, "its checksum is of other bytes")
