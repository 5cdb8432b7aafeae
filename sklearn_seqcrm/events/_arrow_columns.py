"""Columns of a log as Arrow arrays, and back in the dtype that they had.

Vectors are lists of numbers, and levels of categories dictionaries. `dtype_to_json`
describes what Arrow or Parquet would lose.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def unchunked(array: Any) -> Any:
    """Return an Arrow array in one chunk; files and joined text have several."""
    import pyarrow as pa

    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def to_parquet_array(values: Any, name: Any) -> Any:
    """Convert a column to an Arrow array of a type that parquet can store.

    `values` is a Series, Index, Categorical or ndarray, (n,), or vectors as rows of a
    matrix, (n, n_components). Missing values are null. Errors name the column.
    """
    import pyarrow as pa

    if values.ndim == 2:
        return _to_lists(values)
    array = to_arrow(values, name)
    # Tuples, also as levels, become lists, which come back as arrays without a hash.
    inner = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if isinstance(inner, pa.BaseExtensionType) or pa.types.is_nested(inner):
        raise _not_storable(name, dtype_to_json(values)["dtype"], "")
    return array


def to_arrow(values: Any, name: Any) -> Any:
    """Convert a column to an Arrow array of any type.

    `values` is a Series, Index, Categorical or ndarray, (n,). Missing values are null.
    Errors name the column.
    """
    import pyarrow as pa

    try:
        if isinstance(values.dtype, pd.CategoricalDtype):
            return _to_dictionary(pd.Categorical(values))
        return unchunked(pa.array(values, from_pandas=True))
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise _not_storable(
            name, dtype_to_json(values)["dtype"], f": {error}"
        ) from error


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

    levels = unchunked(pa.array(values.categories))
    if levels.type == pa.null():
        levels = levels.cast(pa.string())
    codes = pa.array(values.codes, mask=values.codes < 0)
    return pa.DictionaryArray.from_arrays(codes, levels)


def dtype_to_json(values: Any) -> dict[str, Any]:
    """Return what Parquet does not store: whether a column has levels, and the dtype.

    The note of a column, see `to_parquet_array`, has the entries ``categorical``,
    ``dtype`` (that of the levels, if it is) and, of vectors, ``n_components``.
    """
    if values.ndim == 2:
        note = {"categorical": False, "dtype": str(values.dtype)}
        return {**note, "n_components": values.shape[1]}
    is_categorical = isinstance(values.dtype, pd.CategoricalDtype)
    dtype = values.dtype.categories.dtype if is_categorical else values.dtype
    return {"categorical": is_categorical, "dtype": str(dtype)}


def restore_dtype(column: Any, note: dict[str, Any]) -> pd.Series:
    """Convert a column that was read to the dtype that it had in the log.

    `note` is the result of `dtype_to_json`. Text gets the dtype of this version of
    pandas.
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

    lists = unchunked(lists)
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
