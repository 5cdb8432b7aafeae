"""Histories without events, which stand for states where a pipeline expects some."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._encoding import EncodedLog, EventEncoder
from sklearn_seqcrm._store import Record, Rows, Timeline
from sklearn_seqcrm.events import HistoryArray


class StreamedLog(EncodedLog):
    """A log without events whose row features are known.

    Parameters
    ----------
    encoder : EventEncoder
        What was learned of the history column.
    features : ndarray of shape (n, n_row_features), float32
        Row features of n rows, whose customers are 0 to n - 1.
    """

    def __init__(self, encoder: EventEncoder, features: np.ndarray) -> None:
        n, clock = len(features), encoder.clock
        nothing = np.zeros(0, clock.dtype)
        timeline = Timeline(
            pd.RangeIndex(n),
            np.zeros(n + 1, "int64"),
            nothing,
            clock,
            Record(0, in_days=False),
        )
        channels, codes = encoder.layout.empty(0)
        names = ("customer", "time")
        super().__init__(
            timeline, channels, codes, encoder.layout, encoder.row_scale, names
        )
        self._features = features

    def row_features(self, rows: Rows) -> np.ndarray:
        """Those that are known, shape (n, n_row_features), float32.

        Parameters
        ----------
        rows : Rows
            Views of this log.
        """
        return self._features[rows.codes]


def streamed_histories(
    encoder: EventEncoder, features: np.ndarray, cutoff: np.ndarray
) -> HistoryArray:
    """A column of histories that are nothing but cutoffs and row features.

    Parameters
    ----------
    encoder : EventEncoder
        What was learned of the history column.
    features : ndarray of shape (n, n_row_features), float32
        Row features.
    cutoff : ndarray of shape (n,)
        Cutoffs on the clock of the encoder.
    """
    log: Any = StreamedLog(encoder, features)
    n = len(features)
    nothing = np.zeros(n, "int64")
    return HistoryArray.of(Rows(log, np.arange(n), nothing, nothing, cutoff))
