"""Histories without events, which stand for states where a pipeline expects some."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._encoding import EncodedLog, EventEncoder
from sklearn_seqcrm._store import Record, Rows, Timeline
from sklearn_seqcrm.events import HistoryArray


class StreamedLog(EncodedLog):
    """A log without events whose row features and sums are known.

    Parameters
    ----------
    encoder : EventEncoder
        What was learned of the history column.
    features : ndarray of shape (n, n_row_features), float32
        Row features of n rows, whose customers are 0 to n - 1.
    sums : ndarray of shape (n, n_sums), float32
        Their sums; none if the estimator does not read them.
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
            Record(0, in_days=False),
        )
        channels, codes = encoder.layout.empty(0)
        names = ("customer", "time")
        super().__init__(
            timeline, channels, codes, encoder.layout, encoder.row_scale, names
        )
        self._features = features
        self._sums = sums

    def row_features(self, rows: Rows) -> np.ndarray:
        """Those that are known, shape (n, n_row_features), float32.

        Parameters
        ----------
        rows : Rows
            Views of this log.
        """
        return self._features[rows.codes]

    def row_features_and_sums(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Both that are known, float32.

        Parameters
        ----------
        rows : Rows
            Views of this log.

        Returns
        -------
        features : ndarray of shape (n, n_row_features)
            Row features.
        sums : ndarray of shape (n, n_sums)
            Sums.
        """
        return self._features[rows.codes], self._sums[rows.codes]


def streamed_histories(
    encoder: EventEncoder, features: np.ndarray, sums: np.ndarray, cutoff: np.ndarray
) -> HistoryArray:
    """A column of histories that are nothing but cutoffs, row features and sums.

    Parameters
    ----------
    encoder : EventEncoder
        What was learned of the history column.
    features : ndarray of shape (n, n_row_features), float32
        Row features.
    sums : ndarray of shape (n, n_sums), float32
        Sums; none if the estimator does not read them.
    cutoff : ndarray of shape (n,)
        Cutoffs on the clock of the encoder.
    """
    log: Any = StreamedLog(encoder, features, sums)
    n = len(features)
    nothing = np.zeros(n, "int64")
    return HistoryArray.of(Rows(log, np.arange(n), nothing, nothing, cutoff))
