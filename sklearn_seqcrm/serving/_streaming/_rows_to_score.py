"""Rows to be scored: their customers, cutoffs and histories, and scores of a table."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from sklearn_seqcrm._encoding import EncodedLog, EventEncoder
from sklearn_seqcrm._ragged import blocks
from sklearn_seqcrm._recurrent.data import BatchPart
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import (
    Rows,
    Timeline,
    check_none_missing,
    check_same_id_type,
    exact_ids,
)
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.serving._streaming._fitted_pipeline import FittedPipeline
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
        customers = pd.RangeIndex(len(features))
        timeline = Timeline.without_events(customers, encoder.clock)
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


def by_history(value: Any, names: Iterable[Any], what: str) -> dict[Any, Any]:
    """Return a customer, or the name of a column, for each history column."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, value)
    missing = [name for name in names if name not in value]
    if missing:
        raise ValueError(f"{what} has no entry for the history columns {missing}.")
    return {name: value[name] for name in names}


def key_columns(
    customer: Any,
    time: Any,
    fields: Mapping[Any, Iterable[str]],
    entities: Mapping[Any, Any],
) -> dict[Any, tuple[str, str]]:
    """Return the names of the customer and the time column of each history column.

    `customer` and `time` are arguments of `StreamingScorer`, `fields` those of the
    events by history column, and `entities` the first history with the customers of
    each, see `ColumnRoles`. Raises a TypeError if a name is no text, and a ValueError
    if a column is also the other one, or a field, an entry is missing, or histories of
    different entities have one column of ids.
    """
    customers = by_history(customer, fields, "customer")
    times = by_history(time, fields, "time")
    found = {}
    for history, own in fields.items():
        keys = customers[history], times[history]
        for key, name in zip(("customer", "time"), keys, strict=True):
            if not isinstance(name, str):
                raise TypeError(f"{key} must be the name of a column; got {name!r}.")
        if keys[0] == keys[1]:
            raise ValueError(f"customer and time are the same column {keys[0]!r}.")
        if repeated := [key for key in keys if key in own]:
            raise ValueError(
                f"customer or time are called like fields of {history!r}: {repeated}. "
                "Name the columns that hold the ids and the times of new events."
            )
        found[history] = keys
    _refuse_one_column(customers, entities)
    return found


def _refuse_one_column(
    customers: Mapping[Any, str], entities: Mapping[Any, Any]
) -> None:
    """Raise a ValueError if histories of different entities have one column of ids."""
    of_column = {column: entities[name] for name, column in customers.items()}
    for name, column in customers.items():
        if entities[name] != of_column[column]:
            raise ValueError(
                f"customer names the same column {column!r} for the histories {name!r} "
                f"and {of_column[column]!r}, which belonged to different entities in "
                "fit, such as customers and shops. Pass a dict with the column of the "
                "ids of each history column."
            )


_WIDTH = 64  # temporary numbers per row

# Slots, or records, of the customers of some rows, and their cutoffs.
_Views = dict[Any, tuple[np.ndarray, np.ndarray]]


class TableScorer(NamedTuple):
    """Scorer of the rows of a table from stored states, equal to the pipeline."""

    parts: FittedPipeline
    # The history columns, with the states of all customers.
    streams: Mapping[Any, StreamedHistory]
    exact: bool  # whether a row sees the events at its cutoff

    def outputs(self, rows: Any, cutoff: Any) -> list[np.ndarray]:
        """Return the outputs of each network, shape (n, n_outputs), float64.

        Arguments are those of `StreamingScorer.predict`.
        """
        self._check(rows)
        if cutoff is None:
            self._warn_unread_cutoffs(rows)
        views = {name: self._view(rows, cutoff, name) for name in self.streams}
        # Blocks of rows bound the memory for copies of records and their pooled states.
        parts = [
            self._outputs_of_some(
                rows.iloc[some],
                {name: (slots[some], at[some]) for name, (slots, at) in views.items()},
            )
            for some in blocks(len(rows), _WIDTH)
        ]
        return [np.concatenate(of_network) for of_network in zip(*parts, strict=True)]

    def _check(self, rows: Any) -> None:
        if not isinstance(rows, pd.DataFrame):
            raise TypeError(
                "rows must be a pandas DataFrame; got "
                f"{type(rows).__module__}.{type(rows).__name__}."
            )
        taken = [name for name in self.streams if name in rows.columns]
        if taken:
            raise ValueError(
                f"rows has columns {taken}, whose histories the scorer keeps. "
                "Leave them out, or score rows with histories by the pipeline itself."
            )
        if not len(rows):
            raise ValueError("rows has no rows; at least one is needed.")

    def _warn_unread_cutoffs(self, rows: pd.DataFrame) -> None:
        """Warn if rows have the cutoffs of training, and none are to be read."""
        customers = [stream.keys[0] for stream in self.streams.values()]
        for name, column in rows.items():
            is_key = name in self.parts.unread and name not in customers
            if is_key and pd.api.types.is_datetime64_any_dtype(column.dtype):
                warn_user(
                    f"rows has the column {name!r}, which had cutoffs in training, and "
                    "cutoff=None scores all rows at the time of the latest event. Pass "
                    f"cutoff={name!r}, or leave the column out."
                )

    def _view(
        self, rows: pd.DataFrame, cutoff: Any, name: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the slots and cutoffs of the rows for one history column."""
        stream = self.streams[name]
        known = stream.states.any_customer
        slots = stream.states.find(customers_in(rows, stream.keys[0], known))
        cutoffs, exact = cutoffs_of(rows, cutoff, stream, self.exact)
        stream.refuse_early(slots, cutoffs, exact)
        return slots, cutoffs

    def _outputs_of_some(self, rows: pd.DataFrame, views: _Views) -> list[np.ndarray]:
        """Return the outputs of each network for customers in slots."""
        # The statics go through the pipeline's own steps, in a table whose histories
        # have no events: only cutoffs, and row features and sums from the states.
        records: _Views = {}
        histories = {}
        for name, (slots, cutoff) in views.items():
            stream = self.streams[name]
            records[name] = stream.states.at(slots), cutoff
            known = stream.features(*records[name])
            histories[name] = streamed_histories(stream.encoder, *known, cutoff)
        estimator = self.parts.estimator
        inputs = self.parts.inputs_of(rows.assign(**histories))
        beside = BatchPart.of(estimator._as_in_fit(inputs).data, slice(None), [])
        outputs = []
        for number, network in enumerate(self.parts.networks):
            pooled = [
                torch.from_numpy(stream.pooled(*records[name], number))
                for name, stream in self.streams.items()
            ]
            outputs.append(network.outputs_of_pooled(pooled, beside).double().numpy())
        return outputs
