"""A log of encoded events, and the row features at a cutoff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._encoding._on_demand import OnDemandNumbers
from sklearn_seqcrm._ragged import (
    blocks,
    decayed_sums,
    is_run_start,
    is_segment_start,
    portions,
    starts_of_nonempty,
)
from sklearn_seqcrm._store import Log, Rows, Timeline, frozen

_WIDTH = 32  # numbers of a row that are processed at a time, see `blocks`
_HUGE = 1e38  # about the largest number of float32


def row_features_of(
    ages: np.ndarray,
    counts: np.ndarray,
    sums: np.ndarray,
    cutoff: np.ndarray,
    layout: Layout,
) -> np.ndarray:
    """Return row features before scaling, shape (n, n_row_features).

    They are ``log1p`` of durations in typical interarrival times and of counts, decayed
    means of the facts, and sines and cosines of the calendar at the cutoff: the columns
    that ``layout.row_features`` names.

    `ages` (n, 2) are the ticks from the last and from the first event to the cutoff,
    NaN without events. `counts` (n, n_counts) are numbers of events and, if the layout
    has them, of moments and of visits. `sums` (n, n_half_lives, 1 + n_summed) are
    decayed counts of events and visits, and behind them decayed sums of the facts, at
    the `cutoff` (n,).
    """
    n_facts = layout.n_decayed
    counted = sums[:, :, : sums.shape[2] - n_facts]  # (n, n_half_lives, 1 or 2)
    totals = sums[:, :, sums.shape[2] - n_facts :]  # (n, n_half_lives, n_decayed)
    # sum / (count + 1): shrinkage by one pseudo-event of value 0, the median. Few or
    # old events give a mean near 0, and no events are no division of 0 by 0.
    with np.errstate(under="ignore"):  # sums of events long ago
        means = totals / (counted[:, :, :1] + 1)
        log_counted = np.log1p(counted).swapaxes(1, 2)
    return np.column_stack(
        [
            np.log1p(ages / layout.time_unit),
            np.log1p(counts),
            log_counted.reshape(len(ages), -1),
            means.reshape(len(ages), -1),
            layout.waves(cutoff),
        ]
    )


def scale_row_features(raw: np.ndarray, row_scale: np.ndarray) -> np.ndarray:
    """Scale row features as among the training rows, shape (n, n_row_features).

    `raw` are those of `row_features_of`, `row_scale` (2, n_row_features) has center and
    scale. The result is 0, the mean, where an empty history has no feature.
    """
    center, scale = row_scale
    # A cutoff far in the future must not give inputs far beyond those of training.
    return np.nan_to_num(np.clip((raw - center) / scale, -10, 10))


def symexp(facts: np.ndarray, layout: Layout) -> np.ndarray:
    """Return the amounts of facts: the inverse of `NumericScale.symlog`, but for units.

    For symlog numbers ``u``, of shape (n_events, n_decayed), float32, these are
    ``x / scale = sign(u) * (exp(abs(u)) - 1) + center / scale``, so that sums of them
    are sums of money. A missing one counts as the median.
    """
    amounts = np.empty_like(facts)
    origins = np.array(layout.origins, dtype="float32")
    for some in blocks(len(facts), max(1, facts.shape[1])):
        u = facts[some]
        amounts[some] = np.copysign(np.expm1(np.abs(u)), u) + origins
    return amounts


def sums_of_amounts(decayed: np.ndarray) -> np.ndarray:
    """Return decayed sums of `symexp` amounts as inputs of a network, float32.

    Sums (n, n_half_lives, n_amounts) become the columns that `Layout.sums` names.
    """
    # (n, n_half_lives * n_amounts); -1 for the width would not do without rows
    sums = decayed.reshape(len(decayed), decayed.shape[1] * decayed.shape[2])
    with np.errstate(under="ignore"):
        return sums.clip(-_HUGE, _HUGE).astype("float32")


class EncodedLog(Log):
    """Float channels and integer codes of the events that some rows see.

    Made by `HistoryEncoder.transform`, not by hand.

    - `channels` (n_events, n_channels), float32: scaled numbers, finite.
    - `codes` (n_events, n_codes), int32: codes of categories: 0 unseen in training, 1
      missing, more for levels.
    - `layout`: what they mean. Only logs with equal layouts can be stacked.
    - `row_scale` (2, n_row_features): center and scale of the row features among the
      training rows.
    - `names`: those of the customer and the time column.
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
        self._firsts = timeline.offsets  # events before which rows see none

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
        """Return features of rows that depend on the cutoff, scaled as in training.

        They are float32, (n, n_row_features), with the columns of
        ``layout.row_features``; 0, the mean, where an empty history has no feature.
        """
        return self._scaled(self.raw_row_features(rows))

    def row_features_and_sums(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Return `row_features`, and decayed sums of amounts, (n, n_sums), float32.

        Sums have the columns of ``layout.sums``: `symexp` amounts of each fact, in
        units of its scale, decayed to the cutoff; 0 for an empty history.
        """
        # In one pass: weights and segments of events are the same for both.
        # (n, n_half_lives, 1 + n_summed + n_decayed): counts, facts, amounts
        both = self._decayed(rows, self._summed_and_amounts)
        counts_and_facts, sums = np.split(both, [1 + self._layout.n_summed], axis=2)
        raw = self._raw_row_features(rows, counts_and_facts)
        return self._scaled(raw), sums_of_amounts(sums)

    def raw_row_features(self, rows: Rows) -> Iterator[np.ndarray]:
        """Yield row features before scaling, NaN where an empty history has none.

        Those of the next up to 8,192 rows are as in `row_features_of`.
        """
        return self._raw_row_features(rows, self._decayed(rows, self._summed))

    def _raw_row_features(self, rows: Rows, sums: np.ndarray) -> Iterator[np.ndarray]:
        times, counts = self._timeline.times, self._counts(rows)
        for some in blocks(len(sums), _WIDTH):
            start, stop, cutoff = rows.start[some], rows.stop[some], rows.cutoff[some]
            filled = stop > start
            ages = np.full((len(filled), 2), np.nan)
            # `stop - 1` of an empty history is the event of another customer.
            for column, event in enumerate((stop - 1, start)):
                ages[filled, column] = cutoff[filled] - times[event[filled]]
            yield row_features_of(ages, counts[some], sums[some], cutoff, self._layout)

    def _counts(self, rows: Rows) -> np.ndarray:
        """Return the `counts` of `row_features_of`, (n, n_counts)."""
        n_events = rows.stop - rows.start
        if self._layout.n_counts == 1:
            return n_events[:, None]
        counts = np.zeros((len(n_events), self._layout.n_counts), "int64")
        counts[:, 0] = n_events
        for part in portions(rows):
            times = self._timeline.times[part.events]
            starts = self._starts(times, starts_of_nonempty(part.offsets))
            number = np.cumsum(starts, axis=0)  # (n_events, n_counts - 1)
            # A row that starts within a moment or a visit sees a part of it.
            counts[part.rows, 1:] = 1 + number[part.stop - 1] - number[part.start]
        return counts

    def _starts(self, times: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Return where moments and visits start, (n_events, n_counts - 1), bool.

        Arguments are those of `Visits.are_starts`.
        """
        starts, visits = [], self._layout.counted_visits
        if self._layout.moments is not None:
            starts.append(is_run_start(self._layout.periods(times), first))
        if visits is not None:
            starts.append(visits.are_starts(times, first))
        return np.column_stack(starts)

    @property
    def _facts(self) -> np.ndarray:
        """Channels whose decayed means are features, shape (n_events, n_decayed)."""
        return self._channels[:, : self._layout.n_decayed]

    @property
    def _summed(self) -> np.ndarray | OnDemandNumbers:
        """Numbers whose decayed sums make row features, shape (n_events, n_summed)."""
        n_numbers = self._layout.n_summed
        if n_numbers == self._layout.n_decayed:
            return self._facts
        return self._numbers(n_numbers, self._write_summed)

    @property
    def _summed_and_amounts(self) -> OnDemandNumbers:
        """The same, and behind them amounts, shape (n_events, n_summed + n_decayed)."""
        n_numbers = self._layout.n_summed + self._layout.n_decayed
        return self._numbers(n_numbers, self._write_summed)

    def _numbers(
        self, width: int, write: Any, dtype: str = "float32"
    ) -> OnDemandNumbers:
        return OnDemandNumbers(len(self), width, dtype, write)

    def _write_summed(self, index: np.ndarray, out: np.ndarray) -> None:
        """Write `_summed` or, into a wider array, `_summed_and_amounts` of events."""
        layout, facts = self._layout, self._facts[index]
        visits, n_numbers = layout.counted_visits, layout.n_summed
        if visits is not None:
            out[:, 0] = visits.are_starts_after(self._interarrival_times(index))
        out[:, n_numbers - layout.n_decayed : n_numbers] = facts
        if out.shape[1] > n_numbers:
            out[:, n_numbers:] = symexp(facts, layout)

    def _interarrival_times(self, index: np.ndarray) -> np.ndarray:
        """Return those of some events, (n,), float64; NaN for first events."""
        times = self._timeline.times
        interarrival = (times[index] - times[index - 1]).astype("float64")
        interarrival[is_segment_start(self._firsts, index)] = np.nan
        return interarrival

    def _decayed(self, rows: Rows, values: Any) -> np.ndarray:
        """Return decayed counts and sums, shape (n, n_half_lives, 1 + n_values).

        The `values` are those of `_summed`, perhaps with others behind them.
        """
        times, half_lives = self._timeline.times, np.asarray(self._layout.half_lives)
        sums = decayed_sums(rows, times, values, half_lives)
        if (visits := self._layout.counted_visits) is not None:
            # The first event that a row sees starts a visit in any case.
            late = np.flatnonzero(rows.stop > rows.start)
            since = self._interarrival_times(rows.start[late])
            late = late[~visits.are_starts_after(since)]
            ages = (rows.cutoff[late] - times[rows.start[late]])[:, None]
            with np.errstate(under="ignore"):  # visits long ago
                sums[late, :, 1] += np.exp(-np.log(2) / half_lives * ages)
        return sums

    def _scaled(self, raw: Iterator[np.ndarray]) -> np.ndarray:
        """Return scaled row features, shape (n, n_row_features), float32."""
        with np.errstate(under="ignore"):
            parts = [
                scale_row_features(some, self._row_scale).astype("float32")
                for some in raw
            ]
        if not parts:
            return np.empty((0, self._row_scale.shape[1]), "float32")
        return np.concatenate(parts)

    def with_layout(self, layout: Layout, row_scale: np.ndarray) -> EncodedLog:
        """Return the log under another layout with the same channels and codes.

        `row_scale` (2, n_row_features) are center and scale of the row features.
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
        """Return a log of the same events that has all numbers in memory."""
        return self

    def _with(self, timeline: Timeline, channels: np.ndarray, codes: np.ndarray) -> Any:
        layout, scale = self._layout, self._row_scale
        return EncodedLog(timeline, channels, codes, layout, scale, self._names)
