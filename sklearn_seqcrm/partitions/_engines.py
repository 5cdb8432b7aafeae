"""Apply a function to each partition: in this process, by joblib, or in Dask.

An engine runs functions on partitions; it does not interpret events. A function gets
a `Part`: the number of a partition, its events and, if a second table was joined, the
rows of the same customers::

    engine.collect(f)    [f(part 0), f(part 1), ...], here
    engine.frame(f)      the tables that f returns, as a DataFrame of the engine

What crosses the network is a table of the engine, or what `f` returns.
"""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from sklearn_seqcrm._stacklevel import call_and_record, warn_user
from sklearn_seqcrm._store import (
    check_none_missing,
    check_same_id_type,
    exact_ids,
    refuse_values,
)
from sklearn_seqcrm.partitions._types import is_list, joined_tables, plain_ids


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
        raise ValueError(misfit(customer, own[differs].tolist()[0], dtype))
    return rows.assign(**{customer: cast})


def misfit(customer: str, first: Any, dtype: Any) -> str:
    """Return the message about an id of rows that no customer of events has."""
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
    refuse_values(customer, "customer", what)
    if list(columns).count(customer) > 1:
        raise ValueError(f"{what} has several columns {customer!r}; drop all but one.")
    if customer not in columns:
        raise KeyError(
            f"{what} has no customer column {customer!r}; it has {list(columns)}."
        )
