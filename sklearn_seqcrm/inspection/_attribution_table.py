"""The table of attributions: a line for each row and event, field, feature or static.

It is put together from parts with these columns::

    row  history  position  customer  time  field  value  attribution
    0    history         0  ann       ...   price    9.5          0.2   an event
    0    history      <NA>  ann       NaT   count    1.0          0.1   a row feature
    0    None         <NA>  ann       NaT   age       31         -0.4   a static
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._perturbations import RowEvents

_COLUMNS = [
    "row",
    "history",
    "position",
    "customer",
    "time",
    "field",
    "value",
    "attribution",
]


# Source of a line about a whole event; a field may have any name, "event" included.
WHOLE_EVENT: Any = object()


def event_lines(
    history: Any,
    array: HistoryArray,
    events: RowEvents,
    source: Any,
    attribution: np.ndarray,
) -> pd.DataFrame:
    """Return a line for each of the m events, with its attribution, (m,).

    `source` is the field that is attributed, with its values; None is the time
    (interarrival time and calendar), and `WHOLE_EVENT` the event, which has no value.
    `array` has the histories of all rows, those of the column `history`.
    """
    log, field, values = array.log, source, None
    clock = log.timeline.clock
    times = clock.as_index(events.times)
    if source is WHOLE_EVENT:
        field = "event"
    elif source is None:
        field, values = log.names[1], times
    else:
        values = log.column(source).to_pandas(events.event, aware=clock.aware)
    position = events.event - array.rows.start[events.row]
    time = pd.Series(times)
    if time.dtype.kind == "i":
        time = time.astype("Int64")  # lines of statics have no time
    return pd.DataFrame(
        {
            "row": events.row,
            "history": _repeated(history, len(attribution)),
            "position": pd.array(position, dtype="Int64"),
            "customer": array.customers[events.row],
            "time": time,
            "field": field,
            "value": _as_objects(values, len(attribution)),
            "attribution": attribution,
        }
    )


def row_lines(
    history: Any, array: HistoryArray, field: Any, values: Any, attribution: np.ndarray
) -> pd.DataFrame:
    """Return a line for each row, for an input that belongs to no event.

    `history` is the column of a row feature, None for a static. `array` (n,) gives the
    customers, `values` and `attribution` (n,) are those of the input called `field`.
    """
    n = len(attribution)
    return pd.DataFrame(
        {
            "row": np.arange(n),
            "history": _repeated(history, n),
            "position": pd.array([pd.NA] * n, dtype="Int64"),
            "customer": array.customers,
            "field": _repeated(field, n),
            "value": _as_objects(values, n),
            "attribution": attribution,
        }
    )


def as_table(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return all lines sorted by row, history, and time; statics come last."""
    if not parts:
        return pd.DataFrame(columns=_COLUMNS)
    # pandas warns about empty parts: later versions will consider their dtypes, too.
    filled = [part for part in parts if len(part)] or parts[:1]
    table = pd.concat(filled, ignore_index=True).reindex(columns=_COLUMNS)
    # After the events of a history come its row features (position NaN); statics, with
    # no history (code -1), come after all histories.
    place = table["position"].fillna(np.iinfo("int64").max).to_numpy("int64")
    history = pd.factorize(table["history"])[0]
    history = np.where(history < 0, history.max(initial=0) + 1, history)
    order = np.lexsort((place, history, table["row"]))
    return table.iloc[order].reset_index(drop=True)


def _as_objects(values: Any, n: int) -> np.ndarray:
    """Return values of any dtype as objects; None is repeated n times."""
    if values is None:
        return _repeated(None, n)
    return pd.Series(values).astype(object).to_numpy()


def _repeated(one: Any, n: int) -> np.ndarray:
    """Return a value n times, as objects: a tuple, such as a name, stays one value."""
    return pd.Series([one] * n, dtype=object).to_numpy()
