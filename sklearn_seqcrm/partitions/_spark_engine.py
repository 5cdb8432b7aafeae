"""Apply a function to each partition in Spark, and convert Spark's types."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm.partitions._engines import (
    Engine,
    Part,
    PartFunction,
    check_customer,
    misfit,
)
from sklearn_seqcrm.partitions._types import plain

_BUCKET = "__partition"
_RESULT = "part long, value binary"


@dataclass(frozen=True)
class SparkEngine(Engine):
    """A Spark DataFrame, grouped by a hash of the customer.

    Times of type ``timestamp`` are instants. They leave Spark as microseconds, because
    Spark itself hands them over as naive times in the session time zone, in which an
    hour of every autumn occurs twice.
    """

    events: Any
    customer: str
    n_partitions: int
    time_zone: str | None
    instants: tuple[str, ...] = ()
    rows: Any = None
    row_instants: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, events: Any, customer: str, n_partitions: int | None, time_zone: str | None
    ) -> Self:
        """Group a table by customer."""
        check_customer(events.columns, customer, "events")
        n = n_partitions or events.rdd.getNumPartitions()
        events, instants = _without_instants(events)
        events = _bucketed(events, customer, n)
        return cls(events, customer, n, time_zone, instants)

    def collect(self, function: PartFunction) -> Iterator[Any]:
        result = self._apply(partial(_pickled, function), _RESULT)
        found = sorted(result.toLocalIterator(), key=lambda row: row["part"])
        yield from (pickle.loads(row["value"]) for row in found)

    def frame(self, function: PartFunction, empty: pd.DataFrame) -> Any:
        return self._apply(partial(_with_plain_objects, function), _spark_schema(empty))

    def _apply(self, function: PartFunction, schema: Any) -> Any:
        """Apply a function to each group of customers."""
        # Not `self`, whose tables cannot be pickled.
        of_events, of_rows = self._converters()
        by = self.events.groupBy(_BUCKET)

        # Spark looks at the number of parameters, so these are functions.
        if self.rows is None:

            def one(key: Any, events: pd.DataFrame) -> pd.DataFrame:
                return function(Part(int(key[0]), of_events(events)))

            return by.applyInPandas(one, schema)

        def two(key: Any, events: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
            return function(Part(int(key[0]), of_events(events), of_rows(rows)))

        return by.cogroup(self.rows.groupBy(_BUCKET)).applyInPandas(two, schema)

    def join(self, rows: Any, customer: str, known: pd.Index) -> Self:
        from pyspark.sql import functions as F

        if isinstance(rows, pd.DataFrame):
            rows = self._from_pandas(rows)
        check_customer(rows.columns, customer, "rows")
        rows, instants = _without_instants(rows)
        own, wanted = rows.schema[customer].dataType, self.events.schema[self.customer]
        families = (
            _spark_family(own, customer in instants),
            _spark_family(wanted.dataType, self.customer in self.instants),
        )
        if families[0] != families[1]:
            raise TypeError(
                f"Customers in column {customer!r} of rows are of the type "
                f"{families[0]}, but those of events of the type {families[1]}, so "
                "that no id would match; cast one of them."
            )
        if own != wanted.dataType:
            # Equal ids of two types have different hashes.
            column = F.col(f"`{customer}`")
            same = column.cast(wanted.dataType)
            differs = column.isNull() | ~same.eqNullSafe(column)
            for row in rows.filter(differs).select(column).limit(1).collect():
                raise ValueError(misfit(customer, row[0], wanted.dataType.typeName()))
            rows = rows.withColumn(customer, same)
        rows = _bucketed(rows, customer, self.n_partitions)
        return replace(self, rows=rows, row_instants=instants)

    def _from_pandas(self, rows: pd.DataFrame) -> Any:
        """Return a pandas table as one of Spark; naive times stay as they are."""
        plain = _for_spark(rows)
        return self.events.sparkSession.createDataFrame(plain, _spark_schema(plain))

    def head(self) -> pd.DataFrame | None:
        if self.rows is None:
            return None
        _, convert = self._converters()
        return convert(self.rows.limit(3).toPandas())

    def _converters(self) -> list[Callable[[pd.DataFrame], pd.DataFrame]]:
        """Return functions that restore times in tables of events, and of rows."""
        instants = self.instants, self.row_instants
        return [partial(_with_times, self.time_zone, names) for names in instants]


def _without_instants(table: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a table of Spark whose instants are microseconds, and their columns.

    Raises a ValueError if Spark would take the name of a column for a path into a
    structure.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import TimestampType

    paths = [name for name in table.columns if "." in name or "`" in name]
    if paths:
        raise ValueError(
            f"Spark does not group tables with dots or backticks in names; {paths} "
            "have them. Rename these columns, for example by .withColumnRenamed."
        )
    names = [
        f.name for f in table.schema.fields if isinstance(f.dataType, TimestampType)
    ]
    for name in names:
        table = table.withColumn(name, F.unix_micros(F.col(name)))
    return table, tuple(names)


def _spark_family(dtype: Any, is_instant: bool) -> str:
    """Return the name of a type of Spark; numbers of all widths are one."""
    from pyspark.sql.types import CharType, NumericType, StringType, VarcharType

    if is_instant:
        return "timestamp"
    if isinstance(dtype, NumericType):
        return "number"
    is_text = isinstance(dtype, StringType | CharType | VarcharType)
    return "string" if is_text else str(dtype.typeName())


def _bucketed(table: Any, customer: str, n: int) -> Any:
    from pyspark.sql import functions as F

    if _BUCKET in table.columns:
        raise ValueError(f"A table has the column {_BUCKET!r}; rename it.")
    bucket = F.pmod(F.xxhash64(F.col(customer)), F.lit(n)).cast("long")
    return table.withColumn(_BUCKET, bucket)


def _with_times(
    time_zone: str | None, instants: Sequence[str], table: pd.DataFrame
) -> pd.DataFrame:
    """Make times of microseconds, in a table that Spark hands over."""
    table = table.drop(columns=_BUCKET)
    times = {name: _times_of(table[name], time_zone) for name in instants}
    # Microseconds are what Spark stores, and what a log counts in.
    times |= {
        str(name): column.dt.as_unit("us")
        for name, column in table.items()
        if column.dtype.kind == "M" and name not in times
    }
    return table.assign(**times)


def _times_of(micros: pd.Series, time_zone: str | None) -> pd.Series:
    missing = micros.isna().to_numpy()
    ticks = micros.where(~missing, 0).to_numpy("int64").view("M8[us]")
    ticks = np.where(missing, np.datetime64("NaT", "us"), ticks)
    times = pd.Series(pd.DatetimeIndex(ticks).tz_localize("UTC"), micros.index)
    if time_zone is None:
        return times
    return times.dt.tz_convert(time_zone).dt.tz_localize(None)


def _pickled(function: PartFunction, part: Part) -> pd.DataFrame:
    """Return the result of a function as a row of bytes."""
    return pd.DataFrame(
        {"part": [part.number], "value": [pickle.dumps(function(part))]}
    )


_SPARK_TYPES = {
    "b": "boolean",
    "i1": "tinyint",
    "i2": "smallint",
    "i4": "int",
    "i8": "bigint",
    "u1": "smallint",
    "u2": "int",
    "u4": "bigint",
    "f4": "float",
    "f8": "double",
}


def _spark_schema(table: pd.DataFrame) -> str:
    """Return the schema of a result; naive times are ``timestamp_ntz``."""
    names = [str(name) for name in table.columns]
    types = [_spark_type(dtype) for dtype in table.dtypes]
    quoted = [name.replace("`", "``") for name in names]
    return ", ".join(f"`{n}` {t}" for n, t in zip(quoted, types, strict=True))


def _spark_type(dtype: Any) -> str:
    if isinstance(dtype, pd.DatetimeTZDtype):
        return "timestamp"
    plain = getattr(dtype, "numpy_dtype", dtype)  # also of pandas' Int64
    kind = getattr(plain, "kind", "O")
    if kind == "M":
        return "timestamp_ntz"
    name = kind if kind == "b" else f"{kind}{getattr(plain, 'itemsize', '')}"
    return _SPARK_TYPES.get(name, "string")


def _with_plain_objects(function: PartFunction, part: Part) -> pd.DataFrame:
    """Return the table of a function, whose objects must be text."""
    table = function(part)
    _refuse_other_objects(table)
    return table


def _refuse_other_objects(table: pd.DataFrame) -> None:
    """Raise a TypeError for a column of objects that are not text."""
    for name, column in table.items():
        if _spark_type(column.dtype) != "string" or pd.api.types.infer_dtype(
            column, skipna=True
        ) in ("string", "empty"):
            continue
        types = sorted({type(one).__name__ for one in column.dropna()})
        raise TypeError(
            f"Column {name!r} holds values of the types {', '.join(types)}, and Spark "
            "stores text, numbers, booleans or times, one type in a column. Convert it "
            "before, for example by .astype(str) or, for numbers and booleans beside "
            "missing values, by .convert_dtypes()."
        )


def _for_spark(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with text as names, and without categories."""
    table = plain(table.set_axis([str(name) for name in table.columns], axis=1))
    _refuse_other_objects(table)
    as_text = {
        str(name): column.astype(object).where(column.notna(), None)
        for name, column in table.items()
        if _spark_type(column.dtype) == "string"
    }
    return table.assign(**as_text)
