"""The tidy table of attributions, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Column
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._other_events import OwnEvents

COLUMNS = (
    "row",
    "history",
    "position",
    "customer",
    "time",
    "field",
    "value",
    "attribution",
)


def event_lines(
    history: Any,
    array: HistoryArray,
    events: OwnEvents,
    field: str,
    values: Any,
    attribution: np.ndarray,
) -> pd.DataFrame:
    """A line for each event.

    Parameters
    ----------
    history : str
        Name of the history column.
    array : HistoryArray of shape (n,)
        Histories of all rows.
    events : OwnEvents of m events
        Those that some row sees.
    field : str
        Which fact of them it is.
    values : array-like of shape (m,) or None
        What it was.
    attribution : ndarray of shape (m,)
        What it did.
    """
    clock = array.log.timeline.clock
    position = events.event - array.rows.start[events.row]
    times = pd.Series(clock.as_index(events.times))
    if times.dtype.kind == "i":
        times = times.astype("Int64")  # lines of statics have no time
    return pd.DataFrame(
        {
            "row": events.row,
            "history": history,
            "position": pd.array(position, dtype="Int64"),
            "customer": array.customers[events.row],
            "time": times,
            "field": field,
            "value": _objects(values, len(attribution)),
            "attribution": attribution,
        }
    )


def row_lines(
    history: Any,
    array: HistoryArray,
    field: Any,
    values: Any,
    attribution: np.ndarray,
) -> pd.DataFrame:
    """A line for each row, of something that is not of any event.

    Parameters
    ----------
    history : str or None
        The history column that a row feature is of; None for a static.
    array : HistoryArray of shape (n,)
        Histories of the rows, which say whose they are.
    field, values, attribution : object
        As in `event_lines`, of shape (n,).
    """
    n = len(attribution)
    return pd.DataFrame(
        {
            "row": np.arange(n),
            "history": pd.Series([history] * n, dtype=object),
            "position": pd.array([pd.NA] * n, dtype="Int64"),
            "customer": array.customers,
            "field": field,
            "value": _objects(values, n),
            "attribution": attribution,
        }
    )


def as_table(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All lines, row by row, events before what is of the row, in the order of time."""
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    filled = [part for part in parts if len(part)] or parts[:1]
    # Lines of rows have no time, which pandas fills in as missing.
    table = pd.concat(filled, ignore_index=True).reindex(columns=list(COLUMNS))
    place = table["position"].fillna(np.iinfo("int64").max).to_numpy("int64")
    history = pd.factorize(table["history"])[0]
    # Those without a history last.
    history = np.where(history < 0, history.max(initial=0) + 1, history)
    order = np.lexsort((place, history, table["row"]))
    return table.iloc[order].reset_index(drop=True)


def values_of(column: Column, events: np.ndarray) -> np.ndarray:
    """Values of a field at some events, as users know them."""
    return _objects(column.to_pandas(events), len(events))


def _objects(values: Any, n: int) -> np.ndarray:
    """Values of any type as objects; None for nothing."""
    if values is None:
        return np.full(n, None, dtype=object)
    return pd.Series(values).astype(object).to_numpy()
