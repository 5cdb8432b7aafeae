"""Scores of the customers in the rows of a table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import blocks
from sklearn_seqcrm._recurrent.data import BatchPart
from sklearn_seqcrm._stacklevel import user_stacklevel
from sklearn_seqcrm.serving._streaming._fitted_pipeline import FittedPipeline
from sklearn_seqcrm.serving._streaming._rows_to_score import (
    customers_in,
    cutoffs_of,
    streamed_histories,
)
from sklearn_seqcrm.serving._streaming._streamed_history import StreamedHistory

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
                warnings.warn(
                    f"rows has the column {name!r}, which had cutoffs in training, and "
                    "cutoff=None scores all rows at the time of the latest event. Pass "
                    f"cutoff={name!r}, or leave the column out.",
                    UserWarning,
                    stacklevel=user_stacklevel(),
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
                stream.pooled(*records[name], number)
                for name, stream in self.streams.items()
            ]
            outputs.append(network.outputs_of_pooled(pooled, beside).double().numpy())
        return outputs
