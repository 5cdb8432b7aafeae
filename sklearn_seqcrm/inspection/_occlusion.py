"""Occlusion: predictions for rows without one event, one of its fields, or one static.

The attribution of a part ``i`` of a row ``x`` is ``f(x) - f(x without i)`` (Zeiler and
Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator

from sklearn_seqcrm._columns import ColumnRoles, Table
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._attribution_table import (
    WHOLE_EVENT,
    event_lines,
    row_lines,
)
from sklearn_seqcrm.inspection._explained_quantity import ExplainedQuantity
from sklearn_seqcrm.inspection._explained_rows import with_column
from sklearn_seqcrm.inspection._perturbations import RowCopies, RowEvents


def occlusion(
    table: Table,
    quantity: ExplainedQuantity,
    by: str,
    fields: list[str] | None,
    last_events: int | None,
    n_jobs: int | None,
) -> tuple[list[pd.DataFrame], np.ndarray]:
    """Compute the quantity less that without one event, one of its fields, or a static.

    `fields` are left out together (`by` is "event") or one after another; None leaves
    out whole events or each of all fields, and statics. Returns lines of attributions,
    and the quantity for the rows as they are, (n,).
    """
    output = quantity.predict(table.frame, np.arange(len(table.frame)))
    lines = []
    for name, array in table.histories.items():
        events, log = RowEvents.of(array), array.log
        from_end = array.rows.stop[events.row] - events.event  # 1 for the last event
        # `or`: with last_events=None all events are attributed.
        which = np.flatnonzero(from_end <= (last_events or from_end.max(initial=0)))
        attributed = events.take(which)
        own = [field for field in log.fields if fields is None or field in fields]
        # Fields that are left out together; None: the event itself.
        together = None if fields is None else own
        for group in [[field] for field in own] if by == "field" else [together]:
            left_out = partial(_without, which, group)
            without = quantity.predict_copies(
                name, array, attributed.row, left_out, n_jobs
            )
            found = output[attributed.row] - without  # one copy for each event
            source = group[0] if by == "field" and group else WHOLE_EVENT
            lines.append(event_lines(name, array, attributed, source, found))
    if fields is None:
        lines += _static_lines(table, quantity, output)
    return lines, output


def _static_lines(
    table: Table, quantity: ExplainedQuantity, output: np.ndarray
) -> Iterator[pd.DataFrame]:
    """Yield a line for each static and row: the static is set to missing."""
    frame = table.frame
    first = next(iter(table.histories.values()))
    exposures = _exposures(quantity.estimator)
    for name, static_type in ColumnRoles.of(table).statics.items():
        if name in exposures:
            continue  # a missing length of time is an error, not a baseline
        column = frame[name]
        if static_type == "numeric" and column.dtype.kind in "biu":
            column = column.astype("float64")  # which have missing values
        missing = with_column(frame, name, column.where(np.zeros(len(frame), bool)))
        without = quantity.predict(missing, np.arange(len(frame)))
        yield row_lines(None, first, name, frame[name], output - without)


def _exposures(estimator: Any) -> list[Any]:
    """Return the exposures of an estimator and of those that it wraps."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if isinstance(estimator, FrozenEstimator):  # which hides the parameters
        return _exposures(estimator.estimator)
    params = estimator.get_params() if hasattr(estimator, "get_params") else {}
    found = [
        value
        for name, value in params.items()
        if name.split("__")[-1] == "exposure" and isinstance(value, str | Integral)
    ]
    for value in params.values():
        if isinstance(value, FrozenEstimator):
            found += _exposures(value)
    return found


def _without(
    which: np.ndarray, fields: list[str] | None, copies: RowCopies
) -> HistoryArray:
    """Return copies of histories; copy k lacks the event ``which[k]``.

    With `fields`, only these fields of the event are missing.
    """
    array, events = copies.array, copies.events
    is_left_out = copies.place == which[copies.number]
    if fields is None:
        return events.take(~is_left_out).as_histories(array)
    columns = {
        field: array.log.column(field).take(events.event).missing_where(is_left_out)
        for field in fields
    }
    return events.as_histories(array, columns)
