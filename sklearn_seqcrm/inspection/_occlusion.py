"""What a model says of rows without one event, one of its fields, or one static."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.pipeline import Pipeline

from sklearn_seqcrm._columns import ColumnRoles, Table
from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._lines import event_lines, row_lines, values_of
from sklearn_seqcrm.inspection._other_events import OwnEvents
from sklearn_seqcrm.inspection._question import Question, with_column

# Events of the rows that are asked about at once: each event of a history is left out
# of a copy of its own, so that long histories come to many.
_EVENTS_AT_ONCE = 2**18


class Occlusion(NamedTuple):
    """Leaves out something at a time.

    Parameters
    ----------
    estimator : fitted estimator
        Any that takes raw X.
    table : Table of n rows
        The rows.
    question : Question
        What is explained of them.
    output : ndarray of shape (n,)
        The answers with everything there.
    n_jobs : int or None
        Calls at a time.
    """

    estimator: Any
    table: Table
    question: Question
    output: np.ndarray
    n_jobs: int | None

    def lines(
        self, by: str, fields: list[str] | None, last_events: int | None
    ) -> Iterator[pd.DataFrame]:
        """Lines of events or their fields, and then of statics.

        Parameters
        ----------
        by : {"event", "field"}
            Whether whole events are left out, or each of their fields.
        fields : list of str or None
            Fields to look at: those of an event together, or each of them; None: whole
            events, or each of all fields, and statics.
        last_events : int or None
            How many events of each row to look at; None: all.
        """
        for name, array in self.table.histories.items():
            events = OwnEvents.of(array)
            from_end = array.rows.stop[events.row] - events.event
            which = np.flatnonzero(from_end <= (last_events or from_end.max(initial=0)))
            looked_at = events.take(which)
            log = array.log
            own = (
                log.fields if fields is None else [f for f in log.fields if f in fields]
            )
            if by == "event":
                found = self._without_each(
                    name, array, events, which, None if fields is None else own
                )
                yield event_lines(name, array, looked_at, "event", None, found)
                continue
            for field in own:
                found = self._without_each(name, array, events, which, [field])
                values = values_of(log.column(field), looked_at.event)
                yield event_lines(name, array, looked_at, field, values, found)
        if fields is not None:
            return
        first = next(iter(self.table.histories.values()))
        last = self.estimator[-1] if isinstance(self.estimator, Pipeline) else None
        for name, kind in ColumnRoles.of(self.table).statics.items():
            if last is not None and name == getattr(last, "exposure", None):
                continue  # nobody was looked at for a missing length of time
            found = self.output - self._ask(
                _with_missing(self.table.frame, name, kind), np.arange(len(first))
            )
            yield row_lines(None, first, name, self.table.frame[name], found)

    def _without_each(
        self,
        name: Any,
        array: HistoryArray,
        events: OwnEvents,
        which: np.ndarray,
        fields: list[str] | None,
    ) -> np.ndarray:
        """What goes with each of some events, shape (len(which),)."""
        loads = np.cumsum(array.lengths[events.row[which]])
        cuts = np.flatnonzero(np.diff(loads // _EVENTS_AT_ONCE)) + 1
        calls: Callable[..., Any] = delayed(self._without_some)
        found = Parallel(n_jobs=self.n_jobs)(
            calls(name, array, events, some, fields)
            for some in np.split(which, cuts)
            if len(some)
        )
        return np.concatenate([np.empty(0), *found])

    def _without_some(
        self,
        name: Any,
        array: HistoryArray,
        events: OwnEvents,
        which: np.ndarray,
        fields: list[str] | None,
    ) -> np.ndarray:
        """What goes with each of a few events, by a copy of its row without it."""
        row = events.row[which]
        stop = np.cumsum(array.lengths)[row]
        index, offsets = ranges(stop - array.lengths[row], stop)
        copy = np.repeat(np.arange(len(which)), np.diff(offsets))
        is_it = index == which[copy]
        copies = array[row]
        own = OwnEvents(copy, events.event[index], events.times[index])
        if fields is None:
            changed = own.take(~is_it).seen_from(copies)
        else:
            columns = {
                field: array.log.column(field).take(own.event).missing_where(is_it)
                for field in fields
            }
            changed = own.seen_from(copies, columns)
        X = with_column(self.table.frame.iloc[row], name, changed)
        return self.output[row] - self._ask(X, row)

    def _ask(self, X: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
        return self.question.ask(self.estimator, X, rows)


def _with_missing(X: pd.DataFrame, name: Any, kind: str) -> pd.DataFrame:
    """The rows with a static that is missing in all of them."""
    column = X[name]
    if kind == "numeric" and column.dtype.kind in "biu":
        column = column.astype("float64")  # which have missing values
    return with_column(X, name, column.where(np.zeros(len(X), dtype=bool)))
