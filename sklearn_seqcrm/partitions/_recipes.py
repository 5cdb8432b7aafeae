"""How the rows of a partition are made from its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import check_none_missing, exact_ids, find_ids, join_ids
from sklearn_seqcrm.events import (
    EventLog,
    histories_of_rows,
    parse_cutoffs,
    rows_at_cutoffs,
    warn_early_cutoffs,
    warn_late_cutoffs,
)
from sklearn_seqcrm.partitions._engines import Part
from sklearn_seqcrm.partitions._schema import Schema, TableOptions
from sklearn_seqcrm.partitions._types import plain_ids


class Snapshots(NamedTuple):
    """Rows of all customers at given cutoffs, see `PartitionedLog.snapshots`."""

    cutoffs: Any
    min_events: int
    active_within: Any
    lookback: Any
    name: str
    kinds: Any
    kind_field: str

    def make(self, log: EventLog, table: pd.DataFrame | None) -> pd.DataFrame:
        """Return the rows of a log, with statics."""
        # `EventLog.snapshots` would compare with the span of a partition and warn;
        # `check_cutoffs` has that of all events.
        X = rows_at_cutoffs(
            log,
            parse_cutoffs(log.timeline, self.cutoffs),
            self.min_events,
            self.active_within,
            self.lookback,
            self.name,
            self.kinds,
            self.kind_field,
        )
        if table is None:
            return X
        customer = log.names[0]
        beside = table.drop(columns=customer)
        repeated = [name for name in beside if name in X]
        if repeated:
            raise ValueError(f"statics repeats the columns {repeated}; rename them.")
        beside = beside.reset_index(drop=True)
        place = self._places(pd.Index(X[customer]), table[customer], customer)
        beside = beside.reindex(place)  # no row is called -1: missing values
        return pd.concat([X, beside.set_axis(X.index)], axis=1)

    def for_all_customers(self) -> Snapshots:
        """Return the recipe for all customers, whatever they have done."""
        return self._replace(min_events=0, active_within=None)

    def n_unmatched(self, log: EventLog, table: pd.DataFrame | None) -> int:
        """Return the number of customers with events and without statics."""
        if table is None:
            return 0
        name = log.names[0]
        return int((self._places(log.customers, table[name], name) < 0).sum())

    def check_cutoffs(self, log: EventLog, table: Any) -> None:
        """Warn of cutoffs too early or too late for a log of one customer.

        `table` is the second table as the user gave it.
        """
        ticks = parse_cutoffs(log.timeline, self.cutoffs)
        warn_late_cutoffs(log, ticks)
        if self.min_events and len(log):
            warn_early_cutoffs(log.timeline, ticks)

    def _places(self, ids: pd.Index, of_table: pd.Series, name: str) -> np.ndarray:
        """Return the row of each customer in the table of statics, -1 for none."""
        check_none_missing(of_table, f"customer column {name!r} of statics")
        what = f"customers in column {name!r} of statics"
        known = exact_ids(pd.Index(plain_ids(of_table)), what)
        if not known.is_unique:
            twice = known[known.duplicated()][0]
            raise ValueError(
                f"statics has several rows of the customer {twice!r}; keep one for "
                "each customer, or attach histories to a table of rows."
            )
        if len(known) and len(ids):
            join_ids({"statics": known[:1], "the log": ids[:1]}, "customers")
        return find_ids(ids, known)


class Attached(NamedTuple):
    """Rows of a table, see `PartitionedLog.attach`."""

    customer: str
    cutoff: Any
    lookback: Any
    allow_exact_matches: bool
    name: str

    def make(self, log: EventLog, table: pd.DataFrame | None) -> pd.DataFrame:
        """Return the table with the histories."""
        assert table is not None
        array = histories_of_rows(
            log,
            table,
            self.customer,
            self.cutoff,
            self.lookback,
            self.allow_exact_matches,
            self.name,
        )
        return table.assign(**{self.name: array})

    def for_all_customers(self) -> Attached:
        """Return the recipe, which takes all rows."""
        return self

    def n_unmatched(self, log: EventLog, table: pd.DataFrame | None) -> int:
        """Return the number of customers with rows and without events."""
        assert table is not None
        column = plain_ids(table[self.customer])
        ids = exact_ids(pd.Index(column.unique()), "customers")
        return int((find_ids(ids, log.customers) < 0).sum())

    def check_cutoffs(self, log: EventLog, table: Any) -> None:
        """Warn of cutoffs too late for a log of one customer.

        Cutoffs in a column of Dask or Spark are unknown here.
        """
        rows = pd.DataFrame({self.customer: log.customers})
        if isinstance(self.cutoff, str):
            tables = table if isinstance(table, list) else [table]
            columns = [one[self.cutoff] for one in tables if self.cutoff in one.columns]
            if not all(isinstance(one, pd.Series) for one in columns):
                return
            if columns:
                cutoffs = pd.concat(columns, ignore_index=True)
                rows = rows.loc[rows.index.repeat(len(cutoffs))].reset_index(drop=True)
                rows[self.cutoff] = cutoffs
        array = histories_of_rows(
            log, rows, self.customer, self.cutoff, None, False, self.name
        )
        warn_late_cutoffs(log, array.rows.cutoff)


Recipe: TypeAlias = Snapshots | Attached


@dataclass(frozen=True)
class RowMaker:
    """Makes the rows of a partition, in the process that has it."""

    options: TableOptions  # how to read the events
    schema: Schema  # types of all partitions
    recipe: Recipe  # how to make the rows of a log, and of a second table

    def __call__(self, part: Part) -> pd.DataFrame:
        """Return the rows of a partition."""
        return self.recipe.make(self.log(part), part.rows)

    def log(self, part: Part) -> EventLog:
        """Return the log of a partition."""
        return self.schema.conform(self.options.read(part))

    def empty(self, table: pd.DataFrame | None) -> pd.DataFrame:
        """Return rows of no events: none of snapshots, a few of attached ones."""
        return self.recipe.make(self.schema.template, table)

    def sample(self, table: pd.DataFrame | None) -> pd.DataFrame:
        """Return rows of a few events."""
        sample = self.schema.conform(self.schema.sample)
        return self.recipe.for_all_customers().make(sample, table)
