"""Read a column of lists or arrays of numbers as vectors of one length.

The column may hold Python objects, be a list column of polars, or one of Arrow. Each is
taken apart into the same three things, of which the last is computed only when all
lengths are known to be equal:

.. code-block:: text

    column        [[1, 2], None, [3, 4]]
    is_there      [True, False, True]       (n,)
    lengths       [2, 2]                    (n_there,)
    numbers(2)    [[1, 2], [3, 4]]          (n_there, n_components), float32
"""

from __future__ import annotations

from functools import partial
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import blocks
from sklearn_seqcrm._store import NUMBER_OBJECTS

_MOST_LENGTHS = 3  # shown in an error
# Beginnings of the names of Arrow's types, to be recognized without pyarrow.
_LIST_VIEWS = "list_view<", "large_list_view<"


def holds_lists(column: nw.Series) -> bool:
    """Return whether a column of any dataframe library holds lists or arrays.

    Of a column of objects, the first value that is not missing decides.
    """
    if column.dtype in (nw.List, nw.Array) or _is_list_view(column):
        return True
    values = _objects_of(column)
    if values is None:
        return False
    is_there = ~pd.isna(values)
    if not is_there.any():
        return False
    value = values[is_there.argmax()]
    return isinstance(value, list) or _is_array(value)


def _objects_of(column: nw.Series) -> np.ndarray | None:
    """Return the values of a column of Python objects; None for any other column."""
    native = column.to_native()
    if isinstance(native, pd.Series):
        return native.to_numpy() if native.dtype == object else None
    return column.to_numpy() if column.dtype == nw.Object else None


def _is_array(value: Any) -> bool:
    """Return whether a value is an array of any library, such as a tensor of torch."""
    if not (hasattr(value, "__array__") or hasattr(value, "__dlpack__")):
        return False
    # NumPy's scalars have no dimension; series of pandas and polars have one.
    return getattr(value, "ndim", 1) > 0 and not isinstance(value, type)


def _is_list_view(column: nw.Series) -> bool:
    """Return whether a column is an Arrow list view, which narwhals does not know."""
    native = column.to_native()
    if isinstance(native, pd.Series):
        type_of_values = getattr(native.dtype, "pyarrow_dtype", None)
    else:
        type_of_values = native.type if column.implementation.is_pyarrow() else None
    return str(type_of_values).startswith(_LIST_VIEWS)


def read_vectors(column: nw.Series, name: str, what: str = "events") -> np.ndarray:
    """Convert a column of lists or arrays to vectors.

    Parameters
    ----------
    column : narwhals.Series of shape (n,)
        A column for which `holds_lists` is True.
    name : str
        Its name, for errors.
    what : str, default="events"
        How an error names the table.

    Returns
    -------
    ndarray of shape (n, n_components), float32
        NaN in all components where a vector is missing.

    Raises
    ------
    TypeError
        If a value is not a list of numbers.
    ValueError
        If lengths differ or are 0, or numbers are missing or infinite.
    """
    is_there, lengths, numbers = _parts_of(column, name, what)
    size = _length_of(column, lengths, name, what)
    vectors = np.full((len(is_there), size), np.nan, dtype="float32")
    vectors[is_there] = numbers(size)
    _refuse_unknown(vectors, is_there, name, what)
    return vectors


def _parts_of(
    column: nw.Series, name: str, what: str
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Take a column apart: `is_there`, `lengths` and the function `numbers`."""
    values = _objects_of(column)
    if values is not None:
        return _parts_of_objects(values, name, what)
    native = column.to_native()
    if column.implementation.is_polars():
        if column.dtype == nw.Array:
            native = native.arr.to_list()
        # One by one: converted as a whole, polars 1.0 returns some of them empty.
        values = np.full(len(native), None, dtype=object)
        for i, one in enumerate(native):
            values[i] = None if one is None else one.to_numpy()
        return _parts_of_objects(values, name, what)
    return _parts_of_arrow(native, name, what)


def _parts_of_objects(
    values: np.ndarray, name: str, what: str
) -> tuple[np.ndarray, np.ndarray, Any]:
    is_there = ~pd.isna(values)
    lists = values[is_there]
    for i, value in enumerate(lists):
        if isinstance(value, np.ma.MaskedArray):
            lists[i] = np.ma.filled(value.astype("float64"), np.nan)
        elif not isinstance(value, list | tuple | np.ndarray) and _is_array(value):
            lists[i] = _as_numpy(value, name, what)
        if (
            not isinstance(lists[i], list | tuple | np.ndarray)
            or np.ndim(lists[i]) != 1
        ):
            raise _no_vectors(name, what, type(value).__name__)

    def numbers(size: int) -> np.ndarray:
        found = np.empty((len(lists), size), dtype="float32")
        for some in blocks(len(lists), size):
            rows = np.array(lists[some].tolist())  # (n_block, n_components)
            inferred = pd.api.types.infer_dtype(rows.ravel(), skipna=True)
            if inferred not in (*NUMBER_OBJECTS, "empty"):  # empty: only None
                raise _no_vectors(name, what, f"list of {inferred}")
            try:
                with np.errstate(over="ignore"):  # infinite numbers are refused later
                    found[some] = rows
            except (TypeError, ValueError) as error:
                raise _no_vectors(name, what, f"list ({error})") from error
        return found

    return is_there, np.fromiter(map(len, lists), "int64", len(lists)), numbers


def _as_numpy(value: Any, name: str, what: str) -> np.ndarray:
    """Convert an array of another library."""
    try:
        has_array = hasattr(value, "__array__")
        return np.asarray(value) if has_array else np.from_dlpack(value)
    except Exception as error:  # a library may raise any error
        raise TypeError(
            f"Column {name!r} of {what} holds values of the type "
            f"{type(value).__name__} that NumPy cannot read ({error}). Make arrays of "
            "them before: of tensors of torch by .detach().cpu().float().numpy()."
        ) from error


def _parts_of_arrow(
    native: Any, name: str, what: str
) -> tuple[np.ndarray, np.ndarray, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    array = pa.array(native) if isinstance(native, pd.Series) else native
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks or [pa.array([], type=array.type)])
    is_there = np.asarray(array.is_valid())
    of = array.type.value_type
    is_decimal = pa.types.is_decimal(of)
    if not is_decimal and not any(is_it(of) for is_it in _number_types()):
        raise _no_vectors(name, what, f"list of {of}")
    if str(array.type).startswith(_LIST_VIEWS):
        values = array.values.cast(pa.float64()) if is_decimal else array.values
        first, sizes = (
            part.to_numpy()[is_there] for part in (array.offsets, array.sizes)
        )
        return is_there, sizes, partial(_gathered, values, first)
    array = array.filter(pa.array(is_there))
    if is_decimal:
        array = array.cast(pa.list_(pa.float64()))
    lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False)

    def numbers(size: int) -> np.ndarray:
        flat = array.flatten().to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # infinite numbers are refused later
            return flat.reshape(-1, size).astype("float32")

    return is_there, lengths, numbers


def _gathered(values: Any, first: np.ndarray, size: int) -> np.ndarray:
    """Return the vectors that start at `first` in an Arrow array, in any order."""
    numbers = values.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):  # infinite numbers are refused later
        return numbers[first[:, None] + np.arange(size)].astype("float32")


def _number_types() -> tuple[Any, ...]:
    from pyarrow import types

    return types.is_integer, types.is_floating, types.is_boolean, types.is_null


def _length_of(column: nw.Series, lengths: np.ndarray, name: str, what: str) -> int:
    """Return the length of all vectors; without any, that of the column's type."""
    if not len(lengths):
        return int(column.dtype.shape[0]) if column.dtype == nw.Array else 1
    found, counts = np.unique(lengths, return_counts=True)
    if len(found) == 1 and found[0]:
        return int(found[0])
    order = np.argsort(-counts, kind="stable")[:_MOST_LENGTHS]
    shown = ", ".join(f"{counts[i]} of length {found[i]}" for i in order.tolist())
    more = ", ..." if len(found) > len(order) else ""
    raise ValueError(
        f"Column {name!r} of {what} holds vectors that differ in length or have none: "
        f"{shown}{more}. The vectors of a field have one length; write None for one "
        "that is missing, and make those of another length a field of their own."
    )


def _refuse_unknown(
    vectors: np.ndarray, is_there: np.ndarray, name: str, what: str
) -> None:
    """Raise a ValueError for vectors of which only some numbers are missing."""
    known = np.isfinite(vectors).sum(axis=1)
    is_nan = np.isnan(vectors).all(axis=1)
    bad = np.flatnonzero((known < vectors.shape[1]) & ~is_nan)
    if len(bad):
        raise ValueError(
            f"{len(bad)} of the {is_there.sum()} vectors in column {name!r} of {what} "
            "hold numbers that are missing, infinite or too large for float32, the "
            f"first in row {bad[0]}; fill them in, or write None for a vector that is "
            "missing."
        )


def _no_vectors(name: str, what: str, found: str) -> TypeError:
    return TypeError(
        f"Column {name!r} of {what} holds values of the type {found}, and a field of "
        "vectors needs lists of numbers, or None; leave it out of fields, or make a "
        "column of each part."
    )
