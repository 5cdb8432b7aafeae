"""A log whose events are numbers that a network can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._encoding._row_features import (
    raw_row_features,
    scale_row_features,
    sums_of_amounts,
    unfolded,
)
from sklearn_seqcrm._ragged import decayed_sums
from sklearn_seqcrm._store import Log, Rows, Timeline, frozen


class EncodedLog(Log):
    """Float channels and integer codes of the events that some rows can see.

    Made by `HistoryEncoder.transform`, not by hand.

    Parameters
    ----------
    timeline : Timeline
        Customers, offsets and times of the events.
    channels : ndarray of shape (n_events, n_channels), float32
        Scaled numbers, finite.
    codes : ndarray of shape (n_events, n_codes), int32
        Codes of categories: 0 unseen in training, 1 missing, more for levels.
    layout : Layout
        What they mean. Only logs with equal layouts go together.
    row_scale : ndarray of shape (2, n_row_features)
        Center and scale of the row features among the training rows.
    names : tuple of (str, str)
        What the customer and the time column were called.
    """

    def __init__(
        self,
        timeline: Timeline,
        channels: np.ndarray,
        codes: np.ndarray,
        layout: Layout,
        row_scale: np.ndarray,
        names: tuple[str, str],
    ) -> None:
        super().__init__(timeline, names)
        self._channels = frozen(channels)
        self._codes = frozen(codes)
        self._layout = layout
        self._row_scale = frozen(row_scale)

    @property
    def channels(self) -> np.ndarray:
        """Scaled numbers, shape (n_events, n_channels), float32."""
        return self._channels

    @property
    def codes(self) -> np.ndarray:
        """Codes of categories, shape (n_events, n_codes), int32."""
        return self._codes

    @property
    def layout(self) -> Layout:
        """What channels and codes mean."""
        return self._layout

    @property
    def fields(self) -> list[str]:
        """Names of the channels, then of the codes."""
        return [*self._layout.channels, *self._layout.codes]

    def row_features(self, rows: Rows) -> np.ndarray:
        """What depends on the cutoff, scaled as among the training rows.

        Parameters
        ----------
        rows : Rows
            Views of this log.

        Returns
        -------
        ndarray of shape (n, n_row_features), float32
            Columns named by ``layout.row_features``. What an empty history does not
            have is 0, the mean.
        """
        return self._scaled(self.raw_row_features(rows))

    def row_features_and_sums(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Row features, and sums of the facts before their tails were folded in.

        Parameters
        ----------
        rows : Rows
            Views of this log.

        Returns
        -------
        features : ndarray of shape (n, n_row_features), float32
            As `row_features` returns them.
        sums : ndarray of shape (n, n_sums), float32
            Columns named by ``layout.sums``: each field in units of its spread, faded
            to the cutoff; 0 for an empty history.
        """
        # In one pass, as much of it is the same for all numbers of an event.
        both = self._decayed(rows, self._facts_and_amounts)
        counts_and_facts, sums = np.split(both, [1 + self._layout.n_decayed], axis=2)
        raw = raw_row_features(
            rows, self._timeline.times, counts_and_facts, self._layout
        )
        return self._scaled(raw), sums_of_amounts(sums)

    def raw_row_features(self, rows: Rows) -> Iterator[np.ndarray]:
        """The same before it is scaled, some rows at a time; NaN for what is not."""
        sums = self._decayed(rows, self._facts)
        return raw_row_features(rows, self._timeline.times, sums, self._layout)

    @property
    def _facts(self) -> np.ndarray:
        """Channels whose decayed means are features, shape (n_events, n_decayed)."""
        return self._channels[:, : self._layout.n_decayed]

    @property
    def _facts_and_amounts(self) -> np.ndarray:
        """The same, and behind them what they were before their tails were folded."""
        facts = self._facts
        return np.hstack([facts, unfolded(facts, self._layout)])

    def _decayed(self, rows: Rows, values: np.ndarray) -> np.ndarray:
        half_lives = np.asarray(self._layout.half_lives)
        return decayed_sums(rows, self._timeline.times, values, half_lives)

    def _scaled(self, raw: Iterator[np.ndarray]) -> np.ndarray:
        """Row features as a network reads them, shape (n, n_row_features), float32."""
        parts = [
            scale_row_features(some, self._row_scale).astype("float32") for some in raw
        ]
        if not parts:
            return np.empty((0, self._row_scale.shape[1]), "float32")
        return np.concatenate(parts)

    def known_as(self, layout: Layout, row_scale: np.ndarray) -> EncodedLog:
        """The same events under another layout of as many channels and codes.

        Parameters
        ----------
        layout : Layout
            What they mean.
        row_scale : ndarray of shape (2, n_row_features)
            Center and scale of the row features.
        """
        return EncodedLog(
            self._timeline, self._channels, self._codes, layout, row_scale, self._names
        )

    def _columns_at(self, index: np.ndarray) -> dict[str, Any]:
        channels = zip(self._layout.channels, self._channels[index].T, strict=True)
        codes = zip(self._layout.codes, self._codes[index].T, strict=True)
        return {**dict(channels), **dict(codes)}

    def take(self, timeline: Timeline, index: np.ndarray) -> Self:
        return self._with(timeline, self._channels[index], self._codes[index])

    def stack(self, logs: Sequence[Log], timeline: Timeline) -> Self:
        for log in logs:
            assert isinstance(log, EncodedLog)
            if log._layout != self._layout:
                raise ValueError(
                    "Histories of two different HistoryEncoders cannot share a column; "
                    "transform both with the same one."
                )
        held = [log.in_memory() for log in logs]  # type: ignore[attr-defined]
        return self._with(
            timeline,
            np.concatenate([log._channels for log in held]),
            np.concatenate([log._codes for log in held]),
        )

    def in_memory(self) -> EncodedLog:
        """The same events, whose numbers are all there."""
        return self

    def _with(
        self, timeline: Timeline, channels: np.ndarray, codes: np.ndarray
    ) -> Self:
        layout, scale = self._layout, self._row_scale
        return type(self)(timeline, channels, codes, layout, scale, self._names)
