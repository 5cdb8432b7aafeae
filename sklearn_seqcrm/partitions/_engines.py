"""Apply a function to each partition: in this process, by joblib, in Dask or in Spark.

An engine runs functions on partitions; it does not interpret events. A function gets
a `Part`: the number of a partition, its events and, if a second table was joined, the
rows of the same customers::

    engine.collect(f)    [f(part 0), f(part 1), ...], here
    engine.frame(f)      the tables that f returns, as a DataFrame of the engine

What crosses the network is a table of the engine, or what `f` returns.
"""

from __future__ import annotations

import pickle
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from sklearn_seqcrm._stacklevel import call_and_record, warn_user
from sklearn_seqcrm._store import check_none_missing, check_same_id_type, exact_ids
from sklearn_seqcrm.partitions._types import is_list, joined_tables, plain, plain_ids


class Part(NamedTuple):
    """A partition: its number, its events, and rows of the same customers, or None.

    The number is -1 in `Engine.frame` of Dask, which does not tell it.
    """

    number: int
    events: Any
    rows: Any = None


PartFunction: TypeAlias = Callable[[Part], Any]


class Engine(ABC):
    """Partitions of a table of events, and of a table of rows of the same customers."""

    n_partitions: int
    # Whether Dask or Spark has moved each customer into one partition. Then `frame`
    # runs later, and needs the types of its columns before.
    is_distributed: ClassVar[bool] = True

    @abstractmethod
    def collect(self, function: PartFunction) -> Iterator[Any]:
        """Return what a function returns for each partition, in their order.

        It takes a `Part`, and can be pickled. Partitions without a customer may be left
        out.
        """

    @abstractmethod
    def frame(self, function: PartFunction, empty: pd.DataFrame) -> Any:
        """Return the tables of all partitions as one DataFrame of the engine.

        The `function`, as in `collect`, returns pandas tables with the columns of
        `empty`, a result without rows.
        """

    @abstractmethod
    def join(self, rows: Any, customer: str, known: pd.Index) -> Self:
        """Return an engine with a second table, partitioned as the events are.

        `customer` is the customer column of its `rows`, and `known` a customer of the
        events, whose type the customers of `rows` must have.
        """

    @abstractmethod
    def head(self) -> pd.DataFrame | None:
        """Return some rows of the second table; None without one."""


def engine_of(
    events: Any, customer: str, n_partitions: int | None, n_jobs: Any, time_zone: Any
) -> Engine:
    """Return the engine of a list of partitions, or of a table of Dask or Spark.

    The parameters are those of `PartitionedLog`.
    """
    library = type(events).__module__.partition(".")[0]
    if library == "pyspark":
        return SparkEngine.of(events, customer, n_partitions, time_zone)
    if library in ("dask", "dask_expr"):
        return DaskEngine.of(events, customer, n_partitions)
    if not is_list(events):
        raise TypeError(
            "events must be a Dask DataFrame, a Spark DataFrame, or a list of tables, "
            f"of paths of logs or of functions; got {type(events).__name__}."
        )
    if n_partitions not in (None, len(events)):
        raise ValueError(
            f"n_partitions={n_partitions}, but events is a list of {len(events)}; it "
            "is not divided again."
        )
    return ListEngine(list(events), n_jobs)


@dataclass(frozen=True)
class ListEngine(Engine):
    """A list of tables, paths or functions, processed by joblib."""

    is_distributed: ClassVar[bool] = False
    events: list[Any]  # events of each partition
    # As in joblib, whose `parallel_config` applies, for example to run on Dask.
    n_jobs: int | None
    rows: list[Any] | None = None  # rows of each partition

    def __post_init__(self) -> None:
        """Refuse an empty list."""
        if not self.events:
            raise ValueError("events has no partition; it needs at least one.")

    @property
    def n_partitions(self) -> int:  # type: ignore[override]
        """Number of partitions."""
        return len(self.events)

    def collect(self, function: PartFunction) -> Iterator[Any]:
        rows = [None] * len(self.events) if self.rows is None else self.rows
        parts = map(Part, range(len(rows)), self.events, rows)
        # In their order, one after the other: a merged result needs no list of all.
        run = Parallel(n_jobs=self.n_jobs, return_as="generator")
        found: dict[tuple[str, type[Warning]], None] = {}
        tasks = (delayed(apply_and_record)(function, part) for part in parts)
        for result, own in run(tasks):
            found |= dict.fromkeys(own)
            yield result
        # Each once, and at the end: a warning may be an error, which stops workers.
        for one in found:
            warn_user(*one)

    def frame(self, function: PartFunction, empty: pd.DataFrame) -> pd.DataFrame:
        parts = [part for part in self.collect(function) if len(part)]
        return joined_tables(parts) if parts else empty

    def join(self, rows: Any, customer: str, known: pd.Index) -> Self:
        if not is_list(rows):
            raise TypeError(
                "A table beside a list of partitions must be a list of as many tables, "
                f"or one pandas DataFrame; got {type(rows).__name__}."
            )
        if len(rows) != len(self.events):
            raise ValueError(
                f"There are {len(rows)} tables of rows for {len(self.events)} "
                "partitions of events; give one for each, of the same customers."
            )
        for part, table in enumerate(rows):
            check_customer(table.columns, customer, f"Table {part}")
        return replace(self, rows=list(rows))

    def head(self) -> pd.DataFrame | None:
        if self.rows is None:
            return None
        return next((r.head(3) for r in self.rows if len(r)), self.rows[0].head(3))


def apply_and_record(
    function: Callable[[Any], Any], part: Any
) -> tuple[Any, list[tuple[str, type[Warning]]]]:
    """Return the result of a function, and its warnings to be shown by the caller.

    In other threads than the main one, they are shown at once: to record warnings
    changes their filters in all threads of a process.
    """
    if threading.current_thread() is not threading.main_thread():
        return function(part), []
    return call_and_record(function, part)


@dataclass(frozen=True)
class DaskEngine(Engine):
    """A Dask DataFrame, shuffled by customer."""

    events: Any
    customer: str
    rows: Any = None

    @classmethod
    def of(cls, events: Any, customer: str, n_partitions: int | None) -> Self:
        """Shuffle a table by customer."""
        n = n_partitions or events.npartitions
        check_customer(events.columns, customer, "events")
        if isinstance(events[customer].dtype, pd.CategoricalDtype):
            # Codes depend on the partition; equal values have equal hashes.
            levels = events._meta[customer].cat.categories
            events = events.assign(**{customer: events[customer].astype(levels.dtype)})
        return cls(events.shuffle(customer, npartitions=n), customer)

    @property
    def n_partitions(self) -> int:  # type: ignore[override]
        """Number of partitions."""
        return self.events.npartitions

    def collect(self, function: PartFunction) -> Iterator[Any]:
        import dask

        events = self.events.to_delayed()
        rows = [None] * len(events) if self.rows is None else self.rows.to_delayed()
        run = dask.delayed(partial(_apply_to_part, function), pure=False)
        tasks = zip(range(len(events)), events, rows, strict=True)
        yield from dask.compute(*(run(*task) for task in tasks))

    def frame(self, function: PartFunction, empty: pd.DataFrame) -> Any:
        rows = [] if self.rows is None else [self.rows]
        call = partial(_apply_to_part, function, -1)
        return self.events.map_partitions(
            call, *rows, meta=empty, align_dataframes=False
        )

    def join(self, rows: Any, customer: str, known: pd.Index) -> Self:
        import dask.dataframe as dd

        if isinstance(rows, pd.DataFrame):
            rows = dd.from_pandas(rows, npartitions=1, sort=False)
        check_customer(rows.columns, customer, "rows")
        dtype = self.events[self.customer].dtype
        if rows[customer].dtype != dtype:
            # Equal ids of two types have different hashes.
            fit = partial(_with_ids, customer=customer, dtype=dtype, known=known)
            meta = rows._meta.assign(**{customer: pd.Series([], dtype=dtype)})
            rows = rows.map_partitions(fit, meta=meta)
        return replace(self, rows=rows.shuffle(customer, npartitions=self.n_partitions))

    def head(self) -> pd.DataFrame | None:
        if self.rows is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # fewer rows than asked for
            return self.rows.head(3, npartitions=-1)


def _with_ids(
    rows: pd.DataFrame, customer: str, dtype: Any, known: pd.Index
) -> pd.DataFrame:
    """Return rows whose ids have the type of those of events, if that changes none."""
    what = f"customers in column {customer!r} of rows"
    check_none_missing(rows[customer], f"customer column {customer!r} of rows")
    ids = exact_ids(pd.Index(plain_ids(rows[customer])), what)
    check_same_id_type(ids, known, what, "those of events")
    own = pd.Series(ids, rows.index)
    try:
        cast = own.astype(dtype)
        differs = (cast.astype(object) != own.astype(object)).to_numpy(dtype=bool)
    except (TypeError, ValueError, OverflowError):
        differs = np.ones(len(own), bool)
    if differs.any():
        raise ValueError(_misfit(customer, own[differs].tolist()[0], dtype))
    return rows.assign(**{customer: cast})


def _misfit(customer: str, first: Any, dtype: Any) -> str:
    return (
        f"The customer {first!r} in column {customer!r} of rows does not fit the type "
        f"{dtype} of the customers of events; give ids of one type, none missing."
    )


def _apply_to_part(
    function: PartFunction, number: int, events: Any, rows: Any = None
) -> Any:
    return function(Part(number, events, rows))


def check_customer(columns: Any, customer: str, what: str) -> None:
    """Raise an error if a table does not have one customer column."""
    if list(columns).count(customer) > 1:
        raise ValueError(f"{what} has several columns {customer!r}; drop all but one.")
    if customer not in columns:
        raise KeyError(
            f"{what} has no customer column {customer!r}; it has {list(columns)}."
        )


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
                raise ValueError(_misfit(customer, row[0], wanted.dataType.typeName()))
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
