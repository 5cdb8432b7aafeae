"""A log in partitions of customers, which are never in one memory together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Kinds, as_list, check_list, describe_fields
from sklearn_seqcrm._typing import Duration, IntoTable, ListLike, Time
from sklearn_seqcrm.events import (
    EventLog,
    read_rows,
    warn_copied_events,
    warn_date_like_times,
    warn_far_beginning,
    warn_far_observation,
    warn_infinite,
    warn_isolated_times,
    warn_numbers_as_text,
    warn_other_zone,
)
from sklearn_seqcrm.partitions._customers import (
    customer_hashes,
    divided_rows,
    refuse_misplaced_rows,
    refuse_shared_customers,
)
from sklearn_seqcrm.partitions._engines import (
    DaskEngine,
    Engine,
    ListEngine,
    Part,
    check_customer,
)
from sklearn_seqcrm.partitions._partitioned_rows import PartitionedRows
from sklearn_seqcrm.partitions._recipes import Attached, Recipe, RowMaker, Snapshots
from sklearn_seqcrm.partitions._schema import MOST_LEVELS, Schema, TableOptions
from sklearn_seqcrm.partitions._spark_engine import SparkEngine
from sklearn_seqcrm.partitions._types import check_count, is_list


class PartitionedLog:
    """Events of many customers, in partitions that are processed one by one.

    Each partition becomes an ordinary `EventLog` where it is: in a worker of Dask or
    Spark, or in a process of joblib. Rows, labels, features and scores are made there,
    and encoders are learned from small summaries of all partitions.

    Parameters
    ----------
    events : Dask DataFrame, Spark DataFrame or sequence
        One row per event. Tables of Dask and Spark are shuffled by customer. A
        sequence has one item for each partition: a table as `EventLog` takes it, an
        `EventLog`, the path of a log on disk, or a function without arguments that
        returns one of these. All events of a customer must be in one item.
    customer, time : str
        Columns of customer ids and of times, as in `EventLog`.
    fields : sequence of str or None, default=None
        Columns to keep as facts of the event; None: all other columns.
    categorical : sequence of str, default=()
        Fields to store as categories, whatever their dtype. All other numbers are
        quantities.
    kinds : dict of str to sequence of str, or None, default=None
        Fields of each kind of events, for a table of several kinds: the result is the
        log that `EventLog.concat` makes of one log for each kind. Its other fields are
        missing in events of a kind, whatever the table holds. None: one kind.
    kind_field : str, default="event"
        Column that holds the kind, if there are `kinds`.
    observed_until : datetime, number or None, default=None
        The last time that all partitions cover, which may lie before the last event if
        there are several kinds. None: the last event of all, or what logs among the
        items have in common.
    time_zone : str or None, default="UTC"
        For Spark: zone of the wall clock on which columns of type ``timestamp`` become
        naive times, whatever the session time zone is. None: they become times in UTC
        with a zone. Columns of type ``timestamp_ntz`` are taken as they are.
    n_partitions : int or None, default=None
        Number of partitions of a table of Dask or Spark after the shuffle; None: as
        many as it has. Choose it so that the events of one fit into the memory of a
        worker five times.
    n_jobs : int or None, default=None
        Number of processes for a sequence, as in joblib; None: 1. Within
        ``joblib.parallel_config("dask")`` the partitions are processed on a cluster.

    Attributes
    ----------
    n_partitions : int
        Number of partitions.
    n_events : int
        Number of events.
    fields : list of str
        Names of the fields.
    observed_until : datetime or number
        The last time that was observed.

    Raises
    ------
    KeyError
        If a column is missing.
    TypeError
        If `events` is none of these, `customer` is not the name of a column, or
        customers or levels of a field have different types in two partitions.
    ValueError
        If there are no events, a customer has events in two partitions, a field or the
        times have different types in two partitions, or for the reasons of `EventLog`.

    Warns
    -----
    UserWarning
        If all times are integers that are written like dates, such as 20240131; if
        fields of text look like numbers, such as "12,50"; if numbers are infinite; if
        datetimes of a field have a time zone and the times have none, or the other way
        round; if one event, or a few, are long after all others, or `observed_until`
        is, or some are years before all others, such as events of 1900-01-01; if each
        of the first events of a partition is there at least twice. Logs among the items
        have warned when they were made.

    See Also
    --------
    sklearn_seqcrm.events.EventLog : A log of one machine.
    load_rows : Open the parts that `PartitionedRows.to_disk` wrote.

    Notes
    -----
    Creating the object takes one pass over the partitions, which decides the type of
    each field. A partition may have no events, no event of a kind, or only missing
    values in a column; whole numbers that became floats there stay equal to others.

    A shuffle does not keep the order of events at the same time. Of a sequence, the
    order within each table is kept, as in `EventLog`.

    Passes read the partitions again. Persist a table of Dask or Spark, or write the
    rows by `PartitionedRows.to_disk` and open the parts: a list of the paths of their
    logs makes the same object, whose passes sort nothing.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.feature_extraction import RFMFeatures
    >>> from sklearn_seqcrm.partitions import PartitionedLog
    >>> from sklearn_seqcrm.targets import churned
    >>> visits = pd.DataFrame({"who": list("aabcc"), "day": [1, 9, 3, 2, 4]})
    >>> log = PartitionedLog([visits[:3], visits[3:]], "who", "day")
    >>> rows = log.snapshots([5])
    >>> rows.map(lambda X: churned(X, 5))
      who  cutoff  churned
    0   a       5        0
    1   b       5        1
    2   c       5        1
    >>> rfm = rows.fit(RFMFeatures())
    >>> rows.map(rfm.transform)["history__frequency"].tolist()
    [1.0, 1.0, 2.0]
    """

    def __init__(
        self,
        events: IntoTable | Sequence[IntoTable],
        customer: str,
        time: str,
        fields: Sequence[str] | None = None,
        *,
        categorical: Sequence[str] = (),
        kinds: Mapping[str, Sequence[str]] | None = None,
        kind_field: str = "event",
        observed_until: Time | None = None,
        time_zone: str | None = "UTC",
        n_partitions: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        if n_partitions is not None:
            check_count("n_partitions", n_partitions)
        self._engine = _engine_of(events, customer, n_partitions, n_jobs, time_zone)
        self._options = TableOptions(
            customer,
            time,
            None if fields is None else check_list(fields, "fields", "columns"),
            check_list(categorical, "categorical", "columns"),
            None if kinds is None else _checked_kinds(kind_field, kinds),
        )
        self._schema = self._learn_schema(observed_until)
        timeline = self._schema.outline().timeline
        if self._schema.is_date_like:
            warn_date_like_times(timeline, f"times in column {time!r}")
        if observed_until is not None:
            warn_far_observation(timeline)
        # Logs among the items warned when they were made.
        if is_list(events) and any(
            isinstance(one, EventLog | str | PathLike) for one in events
        ):
            return
        self._warn_about_fields()
        warn_other_zone(self._schema.other_zone, timeline.clock)
        times, counts = self._schema.times
        warn_far_beginning(timeline.clock, times, time, counts)
        # Functions may return logs, whose end of observation confirms late events.
        if observed_until is None and not self._schema.is_given:
            warn_isolated_times(timeline.clock, times, counts, time)
        warn_copied_events(self._schema.n_copied, "a partition")

    def _warn_about_fields(self) -> None:
        """Warn of numbers as text, and of infinite numbers."""
        schema = self._schema
        # The template has one level of fields with very many, the sample has some.
        some = {name: schema.sample.column(name) for name in schema.truncated}
        columns = schema.template.columns | some
        warn_numbers_as_text(columns, self._options.categorical)
        warn_infinite(schema.n_infinite)

    def _learn_schema(self, observed_until: Any) -> Schema:
        """Read each partition once: types of fields, end of observation, customers."""
        check = not self._engine.is_distributed
        found = list(self._engine.collect(partial(_schema_of, self._options, check)))
        schemas = [schema for schema, _ in found if schema is not None]
        if observed_until is not None:  # in place of the ends of logs
            schemas = [schema._replace(is_given=False) for schema in schemas]
        if not schemas:
            raise ValueError("events has no rows; a log needs at least one event.")
        if check:
            self._hashes = [own for _, own in found]
            refuse_shared_customers(self._hashes, self._engine, self._options)
        schema = reduce(Schema.merge, schemas)
        return (
            schema if observed_until is None else schema.observed_until(observed_until)
        )

    @property
    def n_partitions(self) -> int:
        """Number of partitions."""
        return self._engine.n_partitions

    @property
    def n_events(self) -> int:
        """Number of events."""
        return self._schema.n_events

    @property
    def fields(self) -> list[str]:
        """Names of the fields."""
        return self._schema.template.fields

    @property
    def observed_until(self) -> Any:
        """The last time that was observed."""
        return self._schema.template.observed_until

    def __repr__(self) -> str:
        """One line: sizes and fields by type."""
        return (
            f"PartitionedLog({self.n_events:,} events, {self.n_partitions} partitions, "
            f"{describe_fields(self._schema.template.columns)})"
        )

    def snapshots(
        self,
        cutoffs: Time | ListLike,
        *,
        min_events: int = 1,
        active_within: Duration | None = None,
        lookback: Duration | None = None,
        name: str = "history",
        statics: IntoTable | Sequence[IntoTable] | None = None,
        kinds: str | Sequence[str] | None = None,
        kind_field: str = "event",
    ) -> PartitionedRows:
        """Make rows of all customers at given cutoffs.

        Parameters
        ----------
        cutoffs, min_events, active_within, lookback, name : object
            As in `EventLog.snapshots`.
        statics : table or None, default=None
            One row per customer, with the customer under the name that it has in the
            log; its other columns join the rows. Customers without a row have missing
            values. A table of the same engine, a list of as many tables as there are
            partitions, each of the customers of its partition, or a pandas DataFrame.
        kinds, kind_field : object
            As in `EventLog.snapshots`. A kind may have no events in some partitions.
            The field has at most 10,000 levels.

        Returns
        -------
        PartitionedRows
            The rows, which are made when they are needed. Within a partition, they have
            the order of `EventLog.snapshots`.

        Raises
        ------
        KeyError
            If `statics` lacks the customer, or the log the field `kind_field`.
        TypeError, ValueError
            As in `EventLog.snapshots`; if a list holds anything but tables, or has the
            rows of a customer in another partition than the events; if `statics` has a
            customer twice, when rows are made.

        Warns
        -----
        UserWarning
            As in `EventLog.snapshots`, of the events of all partitions.
        """
        if cutoffs is not None:  # which the partitions refuse
            cutoffs = as_list(cutoffs, "cutoffs")
        if kinds is not None and kind_field in self._schema.truncated:
            raise ValueError(
                f"kinds of a PartitionedLog need a field of at most {MOST_LEVELS:,} "
                f"levels, and {kind_field!r} has more; make another field, such as "
                "events[...].where(events[...].isin([...]), 'other')."
            )
        recipe = Snapshots(
            cutoffs, min_events, active_within, lookback, name, kinds, kind_field
        )
        statics = _in_memory(statics)
        customer = self._options.customer
        return self._rows(recipe, self._joined(statics, customer), statics)

    def attach(
        self,
        rows: IntoTable | Sequence[IntoTable],
        customer: str | None = None,
        cutoff: Time | None = None,
        lookback: Duration | None = None,
        allow_exact_matches: bool = False,
        name: str = "history",
    ) -> PartitionedRows:
        """Attach to each row the history that was known at its cutoff.

        Parameters
        ----------
        rows : table
            One row per prediction, with statics beside customer and cutoff. Customers
            without events have an empty history. A table of the same engine, a list of
            as many tables as there are partitions, each of the customers of its
            partition, or a pandas DataFrame.
        customer, cutoff, lookback, allow_exact_matches, name : object
            As in `EventLog.attach`.

        Returns
        -------
        PartitionedRows
            The rows, which are made when they are needed.

        Raises
        ------
        KeyError
            If `rows` lacks a column.
        TypeError, ValueError
            If a list holds anything but tables, or has the rows of a customer in
            another partition than the events; as in `EventLog.attach`, when rows are
            made.

        Warns
        -----
        UserWarning
            If cutoffs lie long after the end of observation, as in `EventLog.attach`.
            Cutoffs in a column of a Dask or Spark DataFrame are not compared.
        """
        if rows is None:
            raise TypeError(
                "rows is None; give a table, or make rows of all customers by "
                "snapshots."
            )
        key = self._options.customer if customer is None else customer
        if cutoff is None:
            # All events so far, in every partition.
            clock = self._schema.template.timeline.clock
            last = clock.as_scalar(self._schema.times.times[-1])
            cutoff, allow_exact_matches = max(self.observed_until, last), True
        recipe = Attached(key, cutoff, lookback, allow_exact_matches, name)
        rows = _in_memory(rows)
        return self._rows(recipe, self._joined(rows, key), rows)

    def _rows(self, recipe: Recipe, engine: Engine, table: Any) -> PartitionedRows:
        make = RowMaker(self._options, self._schema, recipe)
        make.empty(engine.head())  # refuses wrong options early
        recipe.check_cutoffs(self._schema.outline(), table)
        return PartitionedRows(engine, make)

    def _joined(self, table: Any, customer: str) -> Engine:
        """Return the engine with a second table, divided as the events are."""
        if table is None:
            return self._engine
        in_list = not self._engine.is_distributed
        if isinstance(table, list) and not in_list:
            raise TypeError(
                "A list of tables needs a list of events; a table beside events of "
                "Dask or Spark must be one of theirs, or a pandas DataFrame."
            )
        if in_list and isinstance(table, pd.DataFrame):
            check_customer(table.columns, customer, "The table")
            table = divided_rows(table, customer, self._engine, self._options)
            return self._engine.join(table, customer, self._schema.ids)
        engine = self._engine.join(table, customer, self._schema.ids)
        if in_list:
            refuse_misplaced_rows(table, customer, self._hashes, self._schema.ids)
        return engine


def _engine_of(
    events: Any, customer: str, n_partitions: int | None, n_jobs: Any, time_zone: Any
) -> Engine:
    """Return the engine of a list of partitions, or of a table of Dask or Spark."""
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


def _in_memory(table: Any) -> Any:
    """Return a list of tables as pandas DataFrames, anything else as it is."""
    if not is_list(table):
        return table
    return [read_rows(one, f"Table {part}") for part, one in enumerate(table)]


def _checked_kinds(kind_field: str, kinds: Any) -> Kinds:
    if not isinstance(kinds, Mapping):
        raise TypeError(
            "kinds must be a dict with the list of fields of each kind; got "
            f"{type(kinds).__name__}."
        )
    return Kinds.of(
        kind_field,
        {k: check_list(own, f"kinds[{k!r}]", "fields") for k, own in kinds.items()},
    )


def _schema_of(
    options: TableOptions, check: bool, part: Part
) -> tuple[Schema | None, np.ndarray | None]:
    try:
        log, zones = options.read_with_zones(part)
    except Exception as error:
        error.add_note(f"Raised for the events of partition {part.number}.")
        raise
    return Schema.of(part.number, log, zones), customer_hashes(log) if check else None
