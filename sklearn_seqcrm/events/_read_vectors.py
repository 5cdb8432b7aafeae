"""Read a column of lists or arrays of numbers as vectors of one length.

The column holds Python objects, or is a list column of polars or Arrow. Each type of
column is converted to the same three values. The last one is a function, which is
called only if all lengths are equal:

.. code-block:: text

    column        [[1, 2], None, [3, 4]]
    is_present    [True, False, True]       (n,)
    lengths       [2, 2]                    (n_present,)
    numbers(2)    [[1, 2], [3, 4]]          (n_present, n_components), float32
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import blocks
from sklearn_seqcrm._store import NUMBER_OBJECTS
from sklearn_seqcrm.events._arrow_columns import unchunked

# is_present, lengths, numbers: see the docstring of the module.
Unpacked = tuple[np.ndarray, np.ndarray, Callable[[int], np.ndarray]]
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
    is_present = ~pd.isna(values)
    if not is_present.any():
        return False
    value = values[is_present.argmax()]
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
    """Convert a column of lists or arrays to vectors, (n, n_components), float32.

    All components of a missing vector are NaN. Errors name the column `name` of the
    table `what`, for which `holds_lists` is True: a TypeError if a value is not a list
    of numbers, and a ValueError if lengths differ or are 0, or numbers are missing or
    infinite.
    """
    where = f"Column {name!r} of {what}"
    is_present, lengths, numbers = _unpack(column, where)
    size = _length_of(column, lengths, where)
    vectors = np.full((len(is_present), size), np.nan, dtype="float32")
    vectors[is_present] = numbers(size)
    _refuse_partly_missing(vectors, int(is_present.sum()), where)
    return vectors


def _unpack(column: nw.Series, where: str) -> Unpacked:
    """Return `is_present`, `lengths` and the function `numbers` of a column."""
    values = _objects_of(column)
    if values is not None:
        return _unpack_objects(values, where)
    native = column.to_native()
    if column.implementation.is_polars():
        if column.dtype == nw.Array:
            native = native.arr.to_list()
        # One by one: converted as a whole, polars 1.0 returns some of them empty.
        values = np.full(len(native), None, dtype=object)
        for i, one in enumerate(native):
            values[i] = None if one is None else one.to_numpy()
        return _unpack_objects(values, where)
    return _unpack_arrow(native, where)


def _unpack_objects(values: np.ndarray, where: str) -> Unpacked:
    is_present = ~pd.isna(values)
    lists = values[is_present]
    for i, value in enumerate(lists):
        if isinstance(value, np.ma.MaskedArray):
            lists[i] = np.ma.filled(value.astype("float64"), np.nan)
        elif not isinstance(value, list | tuple | np.ndarray) and _is_array(value):
            lists[i] = _as_numpy(value, where)
        if (
            not isinstance(lists[i], list | tuple | np.ndarray)
            or np.ndim(lists[i]) != 1
        ):
            raise _not_vectors(where, type(value).__name__)

    def numbers(size: int) -> np.ndarray:
        found = np.empty((len(lists), size), dtype="float32")
        for some in blocks(len(lists), size):
            rows = np.array(lists[some].tolist())  # (n_block, n_components)
            inferred = pd.api.types.infer_dtype(rows.ravel(), skipna=True)
            if inferred not in (*NUMBER_OBJECTS, "empty"):  # empty: only None
                raise _not_vectors(where, f"list of {inferred}")
            try:
                with np.errstate(over="ignore"):  # infinite numbers are refused later
                    found[some] = rows
            except (TypeError, ValueError) as error:
                raise _not_vectors(where, f"list ({error})") from error
        return found

    return is_present, np.fromiter(map(len, lists), "int64", len(lists)), numbers


def _as_numpy(value: Any, where: str) -> np.ndarray:
    """Convert an array of another library."""
    try:
        has_array = hasattr(value, "__array__")
        return np.asarray(value) if has_array else np.from_dlpack(value)
    except Exception as error:  # a library may raise any error
        raise TypeError(
            f"{where} holds values of the type {type(value).__name__} that NumPy "
            f"cannot read ({error}). Convert them to arrays first, tensors of torch by "
            ".detach().cpu().float().numpy()."
        ) from error


def _unpack_arrow(native: Any, where: str) -> Unpacked:
    import pyarrow as pa
    import pyarrow.compute as pc

    array = unchunked(pa.array(native) if isinstance(native, pd.Series) else native)
    is_present = np.asarray(array.is_valid())
    of = array.type.value_type
    types = pa.types
    plain = types.is_integer, types.is_floating, types.is_boolean, types.is_null
    if not any(is_it(of) for is_it in (*plain, types.is_decimal)):
        raise _not_vectors(where, f"list of {of}")
    if str(array.type).startswith(_LIST_VIEWS):
        first, sizes = (
            part.to_numpy()[is_present] for part in (array.offsets, array.sizes)
        )
        return is_present, sizes, partial(_gather, array.values, first)
    array = array.filter(pa.array(is_present))
    lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False)

    def numbers(size: int) -> np.ndarray:
        flat = array.flatten().to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # infinite numbers are refused later
            return flat.reshape(-1, size).astype("float32")

    return is_present, lengths, numbers


def _gather(values: Any, first: np.ndarray, size: int) -> np.ndarray:
    """Return the vectors that start at `first` in an Arrow array, in any order."""
    numbers = values.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):  # infinite numbers are refused later
        return numbers[first[:, None] + np.arange(size)].astype("float32")


def _length_of(column: nw.Series, lengths: np.ndarray, where: str) -> int:
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
        f"{where} holds vectors that differ in length or are empty: {shown}{more}. The "
        "vectors of a field have one length; write None for a missing vector, and make "
        "vectors of another length a separate field."
    )


def _refuse_partly_missing(vectors: np.ndarray, n_vectors: int, where: str) -> None:
    """Raise a ValueError if only some numbers of a vector are missing."""
    known = np.isfinite(vectors).sum(axis=1)
    is_nan = np.isnan(vectors).all(axis=1)
    bad = np.flatnonzero((known < vectors.shape[1]) & ~is_nan)
    if len(bad):
        raise ValueError(
            f"{where} holds numbers that are missing, infinite or too large for "
            f"float32 in {len(bad)} of its {n_vectors} vectors, the first in row "
            f"{bad[0]}; fill them in, or write None for a missing vector."
        )


def _not_vectors(where: str, found: str) -> TypeError:
    return TypeError(
        f"{where} holds values of the type {found}, and a field of vectors needs lists "
        "of numbers, or None; leave the column out of fields, or make a column of each "
        "part."
    )
