"""Columns of any dataframe library as Series of pandas, with exact integers."""

from __future__ import annotations

from contextlib import suppress

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd


def to_series(column: nw.Series) -> pd.Series:
    """Return a column as a pandas Series, without a copy if it is one already.

    Integers, booleans and Decimals keep their type beside missing values: as floats,
    two large ids could become equal.
    """
    native = column.to_native()
    if isinstance(native, pd.Series) and not isinstance(native.dtype, pd.ArrowDtype):
        return native
    # NumPy has no zones: through UTC and back.
    if isinstance(column.dtype, nw.Datetime) and column.dtype.time_zone is not None:
        zone = column.dtype.time_zone
        naive = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return pd.Series(naive.to_numpy()).dt.tz_localize("UTC").dt.tz_convert(zone)
    if column.dtype in (nw.Categorical, nw.Enum):
        # ChunkedArray.to_numpy of dictionaries repeats a value in place of a missing
        # one.
        values = pd.Series(column.to_numpy(), dtype=object)
        return values.mask(column.is_null().to_numpy()).astype("category")
    if column.dtype == nw.Date:
        column = column.cast(nw.Datetime("us"))
    elif column.dtype == nw.Boolean:
        values, missing = column.fill_null(False).to_numpy(), column.is_null()
        masked = pd.arrays.BooleanArray(values.astype(bool), missing.to_numpy())
        return pd.Series(masked if masked.isna().any() else masked.to_numpy(dtype=bool))
    elif column.dtype in (nw.Int128, nw.UInt128, nw.Struct, nw.Array):
        # Wider than any integer of NumPy; arrays of polars would have two dimensions.
        return pd.Series(column.to_list(), dtype=object)
    elif column.dtype.is_integer() and column.null_count():
        values, missing = column.fill_null(0).to_numpy(), column.is_null()
        return pd.Series(pd.arrays.IntegerArray(values, missing.to_numpy()))
    return pd.Series(column.to_numpy())


def ids_of(column: nw.Series) -> pd.Series:
    """Return a column of ids as a pandas Series; whole Decimals become integers."""
    # polars would cut off fractions, and raise no error.
    is_polars = column.implementation.is_polars()
    if column.dtype == nw.Decimal and not is_polars:
        # Fractions, and numbers of more than 64 bits, stay Decimals.
        with suppress(ValueError):
            column = column.cast(nw.Int64)
    return to_series(column)


def check_none_missing(values: pd.Series, what: str) -> None:
    """Raise a ValueError that counts missing values and shows the first."""
    missing = values.isna().to_numpy()
    if missing.any():
        where = np.flatnonzero(missing)
        first = ", ".join(str(values.index[i]) for i in where[:5])
        raise ValueError(
            f"The {what} has {len(where)} missing values, the first in the rows "
            f"{first}; drop or fill them."
        )
