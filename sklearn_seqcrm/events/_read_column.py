"""One column of a table as a field of a log."""

from __future__ import annotations

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Column, factorize, ids_of, to_series
from sklearn_seqcrm.events._read_vectors import holds_lists, read_vectors


def read_column(
    column: nw.Series, name: str, what: str = "events", *, categorical: bool = False
) -> Column:
    """Turn one column of a table into a field of a log.

    Numbers and booleans become floats (float32 stays), datetimes stay (aware ones as
    UTC), lists and arrays become vectors of float32, everything else categories, and
    so does what is asked to.
    """
    if categorical:
        return Column(*factorize(ids_of(column), name, what))
    if holds_lists(column):
        return Column(read_vectors(column, name, what))
    if column.dtype == nw.Decimal:
        column = column.cast(nw.Float64)
    series = _unboxed(to_series(column))
    dtype = series.dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        return Column(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
    if pd.api.types.is_datetime64_dtype(dtype):
        return Column(series.to_numpy())
    if pd.api.types.is_timedelta64_dtype(dtype):
        raise TypeError(
            f"Field {name!r} holds lengths of time; make numbers of them, for example "
            f"{what}[{name!r}] / pd.Timedelta(days=1)."
        )
    # pandas calls categories of booleans booleans as well.
    has_levels = isinstance(dtype, pd.CategoricalDtype)
    if not has_levels and (
        pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)
    ):
        wanted = "float32" if dtype == np.float32 else "float64"
        return Column(series.to_numpy(dtype=wanted, na_value=np.nan))
    return Column(*factorize(series, name, what))


def _unboxed(series: pd.Series) -> pd.Series:
    """Numbers and dates kept as Python objects, which is what database drivers do."""
    if series.dtype != object:
        return series
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind in ("date", "datetime"):
        return pd.to_datetime(series)
    if kind in ("boolean", "decimal", "floating", "integer", "mixed-integer-float"):
        return pd.Series(series.to_numpy(dtype="float64", na_value=np.nan))
    return series
