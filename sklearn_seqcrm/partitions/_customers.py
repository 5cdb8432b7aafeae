"""Which item of a list has the events of a customer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from sklearn_seqcrm._store import (
    check_same_id_type,
    exact_ids,
    find_ids,
    hashed_ids,
    ids_of,
)
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.partitions._engines import Engine, Part
from sklearn_seqcrm.partitions._schema import TableOptions
from sklearn_seqcrm.partitions._types import plain_ids


def customer_hashes(log: EventLog | None) -> np.ndarray:
    """Return a hash of each customer of a partition, ascending."""
    return np.empty(0, "int64") if log is None else np.sort(hashed_ids(log.customers))


def refuse_shared_customers(
    hashes: Sequence[np.ndarray], engine: Engine, options: TableOptions
) -> None:
    """Raise a ValueError if a customer has events in two partitions.

    `hashes` has the `customer_hashes` of each partition.
    """
    every, part = _with_parts(hashes)
    again = np.flatnonzero(every[1:] == every[:-1])
    if not len(again):
        return
    where = part[again[0] : again[0] + 2].tolist()
    found = list(engine.collect(partial(_customers_of, options, where, every[again])))
    one, other = found[where[0]], set(found[where[1]])
    shared = [customer for customer in one if customer in other]
    if not shared:
        return  # two ids of one hash
    n_shared = len(np.unique(every[again]))
    raise ValueError(
        f"The customer {shared[0]!r} has events in the partitions {where[0]} and "
        f"{where[1]}, and {n_shared} customers have events in several partitions. "
        "All events of a customer must be in one partition: shuffle by customer first."
    )


def _with_parts(hashes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of all partitions, ascending, and the partition of each."""
    every = np.concatenate(hashes)
    part = np.repeat(np.arange(len(hashes)), [len(one) for one in hashes])
    order = np.argsort(every, kind="stable")
    return every[order], part[order]


def _customers_of(
    options: TableOptions, wanted: Collection[int], hashes: np.ndarray, part: Part
) -> list[Any]:
    """Return the customers with some hashes, if a partition is wanted."""
    log = options.read(part) if part.number in wanted else None
    if log is None:
        return []
    return log.customers[np.isin(hashed_ids(log.customers), hashes)].tolist()


def refuse_misplaced_rows(
    tables: Sequence[Any], customer: str, hashes: Sequence[np.ndarray], ids: pd.Index
) -> None:
    """Raise a ValueError if a row is not where the events of its customer are.

    `tables` are the rows of each partition, `customer` is their customer column, and
    `hashes` are the `customer_hashes` of each partition. `ids` holds one customer of
    the events.
    """
    every, where = _with_parts(hashes)
    for part, table in enumerate(tables):
        column = ids_of(nw.from_native(table, eager_only=True)[customer]).dropna()
        what = f"customers in column {customer!r} of rows"
        own = exact_ids(pd.Index(plain_ids(column).unique()), what)
        check_same_id_type(own, ids, what, "those of events")
        hashed = hashed_ids(own)
        place = np.minimum(np.searchsorted(every, hashed), len(every) - 1)
        wrong = np.flatnonzero((every[place] == hashed) & (where[place] != part))
        if len(wrong):
            raise ValueError(
                f"Table {part} has a row of the customer {own[wrong].tolist()[0]!r}, "
                f"whose events are in partition {where[place[wrong[0]]]}, and "
                f"{len(wrong)} such customers in all. Divide the tables as the "
                "events, or give one pandas DataFrame, which is divided here."
            )


def divided_rows(
    table: pd.DataFrame, customer: str, engine: Engine, options: TableOptions
) -> list[pd.DataFrame]:
    """Divide a table: each row goes where its customer has events."""
    column = plain_ids(table[customer])
    distinct = column.dropna().unique()
    ids = exact_ids(pd.Index(distinct), f"customers in column {customer!r} of rows")
    where = np.zeros(len(ids), "int64")  # customers without events: the first part
    for part, known in enumerate(engine.collect(partial(_known, options, ids))):
        where[known] = part
    of_row = pd.Series(where, index=distinct).reindex(column).to_numpy()
    # A missing customer goes to the first part as well, whose error names it.
    of_row = np.nan_to_num(of_row, nan=0)
    return [table[of_row == part] for part in range(engine.n_partitions)]


def _known(options: TableOptions, ids: pd.Index, part: Part) -> np.ndarray:
    """Return the positions of the ids that have events in a partition."""
    log = options.read(part)
    if log is None:
        return np.empty(0, "int64")
    return np.flatnonzero(find_ids(ids, log.customers) >= 0)
