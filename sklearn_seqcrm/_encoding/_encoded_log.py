"""A log of encoded events, and the row features at a cutoff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._ragged import Views, blocks, decayed_sums
from sklearn_seqcrm._store import Log, Rows, Timeline, frozen

_WIDTH = 32  # row features in work, about
_HUGE = 1e38  # a sum that float32 holds


def raw_row_features(
    rows: Views, times: np.ndarray, sums: np.ndarray, layout: Layout
) -> Iterator[np.ndarray]:
    """Row features before they are scaled; NaN where an empty history has none.

    Parameters
    ----------
    rows : Views of n
        Rows.
    times : ndarray of shape (n_events,)
        Times of the events.
    sums : ndarray of shape (n, n_half_lives, 1 + n_decayed)
        Decayed counts, and sums of the channels whose decayed means are features.
    layout : Layout
        Units and half-lives.

    Yields
    ------
    ndarray of shape (up to 8,192, n_row_features)
        Of some rows, in order: ``log1p`` of durations in typical gaps and of counts;
        decayed means of the channels, ``sum / (count + 1)``; sines and cosines of the
        cutoff.
    """
    for some in blocks(len(sums), _WIDTH):
        start, stop, cutoff = rows.start[some], rows.stop[some], rows.cutoff[some]
        filled = stop > start
        ages = np.full((len(filled), 2), np.nan)
        # Only where there are some: `stop - 1` of an empty history is another's event.
        for column, event in enumerate((stop - 1, start)):
            ages[filled, column] = cutoff[filled] - times[event[filled]]
        yield row_features_of(ages, stop - start, sums[some], cutoff, layout)


def row_features_of(
    ages: np.ndarray,
    n_events: np.ndarray,
    sums: np.ndarray,
    cutoff: np.ndarray,
    layout: Layout,
) -> np.ndarray:
    """Row features before they are scaled, of what is known of each row's events.

    Parameters
    ----------
    ages : ndarray of shape (n, 2)
        Ticks since the last and the first event; NaN where there is none.
    n_events : ndarray of shape (n,)
        Number of events.
    sums : ndarray of shape (n, n_half_lives, 1 + n_decayed)
        Decayed counts and sums, faded to the cutoff.
    cutoff : ndarray of shape (n,)
        Cutoffs.
    layout : Layout
        Units.

    Returns
    -------
    ndarray of shape (n, n_row_features)
        As `raw_row_features` says.
    """
    count, totals = sums[:, :, 0], sums[:, :, 1:]
    # Over one event more than there is, of value 0: few or old events give a mean
    # near 0, the usual value, and none at all is no division of 0 by 0.
    means = totals / (count[:, :, None] + 1)
    return np.column_stack(
        [
            np.log1p(ages / layout.time_unit),
            np.log1p(n_events),
            np.log1p(count),
            means.reshape(len(ages), -1),
            layout.waves(cutoff),
        ]
    )


def scale_row_features(raw: np.ndarray, row_scale: np.ndarray) -> np.ndarray:
    """Scale row features as among the training rows.

    Parameters
    ----------
    raw : ndarray of shape (n, n_row_features)
        Features as `row_features_of` returns them.
    row_scale : ndarray of shape (2, n_row_features)
        Center and scale.

    Returns
    -------
    ndarray of shape (n, n_row_features)
        0, the mean, for what an empty history does not have.
    """
    center, scale = row_scale
    # A far future or a new kind of customer must not blow a network up.
    return np.nan_to_num(np.clip((raw - center) / scale, -10, 10))


def symexp(facts: np.ndarray, layout: Layout) -> np.ndarray:
    """Numbers as they were before `NumericScale.fold`, but for their unit.

    Parameters
    ----------
    facts : ndarray of shape (n_events, n_decayed), float32
        Numbers with their tails folded in.
    layout : Layout
        Where the numbers have their 0.

    Returns
    -------
    ndarray of shape (n_events, n_decayed), float32
        In units of the spread of each number. A missing one counts as the usual one.
    """
    amounts = np.empty_like(facts)
    origins = np.array(layout.origins, dtype="float32")
    for some in blocks(len(facts), max(1, facts.shape[1])):
        folded = facts[some]
        amounts[some] = np.copysign(np.expm1(np.abs(folded)), folded) + origins
    return amounts


def sums_of_amounts(decayed: np.ndarray) -> np.ndarray:
    """Decayed sums of `symexp` numbers as a network reads them.

    Parameters
    ----------
    decayed : ndarray of shape (n, n_half_lives, n_amounts)
        Sums.

    Returns
    -------
    ndarray of shape (n, n_half_lives * n_amounts), float32
        Columns named by `Layout.sums`.
    """
    sums = decayed.reshape(len(decayed), decayed.shape[1] * decayed.shape[2])
    return sums.clip(-_HUGE, _HUGE).astype("float32")


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
        return np.hstack([facts, symexp(facts, self._layout)])

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
