"""Customers and cutoffs of rows to be scored, and histories without events."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._encoding import EncodedLog, EventEncoder
from sklearn_seqcrm._store import (
    ObservationWindow,
    Rows,
    Timeline,
    check_none_missing,
    check_same_id_type,
    exact_ids,
)
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.serving._streaming._streamed_history import StreamedHistory


class StreamedLog(EncodedLog):
    """A log without events that returns given row features and sums.

    `features` (n, n_row_features) and `sums` (n, n_sums), float32, are those of n rows,
    whose customers are 0 to n - 1; sums have no columns if the estimator has no linear
    part. `encoder` is the learned encoding of the history column.
    """

    def __init__(
        self, encoder: EventEncoder, features: np.ndarray, sums: np.ndarray
    ) -> None:
        n, clock = len(features), encoder.clock
        nothing = np.zeros(0, clock.dtype)
        timeline = Timeline(
            pd.RangeIndex(n),
            np.zeros(n + 1, "int64"),
            nothing,
            clock,
            ObservationWindow(0, in_days=False),
        )
        channels, codes = encoder.layout.empty(0)
        names = ("customer", "time")
        super().__init__(
            timeline, channels, codes, encoder.layout, encoder.row_scale, names
        )
        self._features = features
        self._sums = sums

    def row_features(self, rows: Rows) -> np.ndarray:
        """Return the given row features of views of this log."""
        return self._features[rows.codes]

    def row_features_and_sums(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Return the given row features and sums of views of this log."""
        return self._features[rows.codes], self._sums[rows.codes]


def streamed_histories(
    encoder: EventEncoder, features: np.ndarray, sums: np.ndarray, cutoff: np.ndarray
) -> HistoryArray:
    """Make a column of histories that have only cutoffs, row features and sums.

    Cutoffs (n,) are on the clock of the encoder; the others are as in `StreamedLog`.
    """
    log: Any = StreamedLog(encoder, features, sums)
    n = len(features)
    nothing = np.zeros(n, "int64")
    return HistoryArray.of(Rows(log, np.arange(n), nothing, nothing, cutoff))


def customers_in(rows: pd.DataFrame, name: str, known: Hashable | None) -> list[Any]:
    """Return the ids in a column of rows, in the form of `ids_like`."""
    if name not in rows.columns:
        raise KeyError(
            f"rows has no customer column {name!r}; it has {list(rows.columns)}."
        )
    check_none_missing(rows[name], f"customer column {name!r} of rows")
    ids = pd.Index(rows[name], dtype=rows[name].dtype)  # tuples stay tuples
    return ids_like(ids, known, f"customers in column {name!r} of rows")


def ids_like(ids: pd.Index, known: Hashable | None, what: str) -> list[Any]:
    """Return ids in the form of the states, or raise a TypeError for another type.

    `known` is one of the known ids, if there is any, and `what` names ids in errors.
    """
    if isinstance(ids.dtype, pd.CategoricalDtype):
        ids = ids.astype(ids.dtype.categories.dtype)
    exact = exact_ids(ids, what)
    if known is not None:
        # A tuple is one id: the index must not be a MultiIndex.
        others = exact_ids(pd.Index([known], dtype=object, tupleize_cols=False), what)
        check_same_id_type(exact, others, what, "those of the events before are")
    return exact.tolist()


def one_id_like(one: Any, known: Hashable | None, what: str) -> Any:
    """Return a single id, which may be a tuple, as `ids_like` does."""
    index = pd.Index([one], dtype=object, tupleize_cols=False)
    return ids_like(index, known, what)[0]


def cutoffs_of(
    rows: pd.DataFrame, cutoff: Any, stream: StreamedHistory, exact: bool
) -> tuple[np.ndarray, bool]:
    """Return the cutoffs of rows on the clock of a history column, shape (n,).

    `cutoff` is a column of the rows, one time for all, or None for the last event. Also
    returns whether rows see the events at their cutoff: `exact`, and True with None.
    """
    clock = stream.encoder.clock
    if cutoff is None:
        ticks = np.array([latest_of(stream)], clock.dtype)
        return np.repeat(ticks, len(rows)), True
    if isinstance(cutoff, str) and cutoff in rows.columns:
        check_none_missing(rows[cutoff], f"cutoff column {cutoff!r} of rows")
        ticks = clock.read(rows[cutoff], f"cutoffs in {cutoff!r}", up=not exact)
        return ticks, exact
    if np.ndim(cutoff):
        raise TypeError(
            "cutoff must be a column of rows or one time for all of them; got "
            f"{type(cutoff).__name__}."
        )
    try:
        ticks = clock.read(cutoff, "cutoffs", up=not exact)
    except ValueError as error:
        if not isinstance(cutoff, str):
            raise
        raise ValueError(
            f"cutoff={cutoff!r} is neither a column of rows, which has "
            f"{list(rows.columns)}, nor a time like those of the events: {error}"
        ) from error
    return np.repeat(ticks, len(rows)), exact


def latest_of(stream: StreamedHistory) -> Any:
    """Return the time of the last event of all customers."""
    if stream.span is None:
        raise ValueError(
            f"cutoff=None means the last event, and no event was read for "
            f"{stream.name!r} yet; give a cutoff."
        )
    return stream.span[1]
