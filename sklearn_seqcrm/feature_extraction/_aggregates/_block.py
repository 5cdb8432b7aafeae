"""Aggregates of a block of rows: one method for each group of statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from sklearn_seqcrm._ragged import (
    Bands,
    Portion,
    Summary,
    first_at_or_after,
    ranges,
    segment_numbers,
)
from sklearn_seqcrm._store import Clock, saturating_subtract
from sklearn_seqcrm.feature_extraction._aggregates._event_numbers import (
    CategoricalField,
    EventNumbers,
    NumericField,
)
from sklearn_seqcrm.feature_extraction._aggregates._features import Feature


class Lengths(NamedTuple):
    """Unit, lookbacks and half-lives in ticks of a log, and its clock."""

    clock: Clock
    unit: float
    lookbacks: Sequence[float]
    half_lives: Sequence[float]


class Windows(NamedTuple):
    """Summaries of one field over the windows of rows.

    With lookbacks L1 < L2 and the cutoff c::

        events   |--------------|--------------|--------------|-----|
               first         c - L2         c - L1            c    own events at c
        bands    |   bands[2]   |   bands[1]   |   bands[0]   | now |
        within                                 |----- within[0] ----|
                                |------------ within[1] ------------|
                 |------------------- within[2] --------------------|
    """

    within: list[Summary]  # of each lookback, shortest first, then of all events
    past: Summary  # of all events before the cutoff
    now: Summary  # of the events at the cutoff
    # The shortest lookback without the own events, then the events between each
    # lookback and the next longer one; the last band precedes the longest lookback.
    bands: list[Summary]


class Block:
    """Rows with at least one event, and their lookback windows.

    `sees_own` says whether events at the cutoff are separated from those before.
    """

    def __init__(
        self, rows: Portion, events: EventNumbers, lengths: Lengths, sees_own: bool
    ) -> None:
        self._rows, self._events, self._lengths = rows, events, lengths
        low, high, cutoff = rows.start, rows.stop, rows.cutoff
        times = events.times
        # Events [low, past_end) are before the cutoff, [past_end, high) at the cutoff.
        self._past_end = (
            first_at_or_after(times, low, high, cutoff) if sees_own else high
        )
        begins = [
            first_at_or_after(times, low, high, saturating_subtract(cutoff, length))
            for length in lengths.lookbacks
        ]
        self._begins = [*begins, low]  # of the lookbacks, then of all events
        cuts = np.array([high, self._past_end, *self._begins])  # (n_bands + 1, n)
        self._bands = Bands(events.chunks, rows.codes, cuts)
        # The last field and its summaries: features are grouped by field.
        self._summarised: tuple[Any, Any] = (None, None)
        self._first_age = (cutoff - times[low]).astype("float64")

    def value(self, feature: Feature, field: Any) -> np.ndarray:
        """Compute one aggregate of each row, (n,), which is not a decayed one.

        `field` is None for an aggregate of the events themselves.
        """
        # All arrays below have the shape (n,): one number per row of the block.
        if isinstance(field, NumericField):
            return self._of_numbers(feature, field)
        if isinstance(field, CategoricalField):
            return self._of_levels(feature, field)
        if feature.statistic.startswith("interarrival"):
            return self._of_interarrival_times(feature.statistic)
        return self._of_events(feature)

    def _of_events(self, feature: Feature) -> np.ndarray:
        """Return an aggregate of the times of events."""
        rows, events = self._rows, self._events
        begin = self._begin(feature)
        match feature.statistic:
            case "recency":
                return events.ages(rows.cutoff, rows.stop - 1)
            case "recency_past":
                # -1: all events are at the cutoff, and nothing precedes them.
                last = np.where(self._past_end > rows.start, self._past_end - 1, -1)
                return events.ages(rows.cutoff, last)
            case "tenure":
                return events.ages(rows.cutoff, rows.start)
            case "n_events":
                return rows.stop - begin
            case "n_events_now":
                return rows.stop - self._past_end
            case "active":
                n_periods = events.count_periods(begin, rows.stop)
                return np.where(rows.stop > begin, n_periods, 0)
            case "n_events_trend":
                assert feature.length is not None
                n_earlier = begin - self._begins[feature.length + 1]
                return self._trend(rows.stop - begin, n_earlier, feature.length)
        raise KeyError(feature.statistic)

    def _of_interarrival_times(self, statistic: str) -> np.ndarray:
        """Return a statistic of the interarrival times within histories."""
        rows, field = self._rows, self._events.interarrival_field
        # The interarrival time of the first event in a history began before it.
        begin = rows.start + 1
        if statistic == "interarrival_last":
            return field.last(begin, rows.stop)
        if self._summarised[0] is not field:
            bands = Bands(self._events.chunks, rows.codes, np.array([rows.stop, begin]))
            self._summarised = field, bands.summary(field.numbers).at(0)
        summary: Summary = self._summarised[1]
        if statistic != "interarrivals_since_last":
            return _STATISTICS[statistic.removeprefix("interarrival_")](summary)
        # 1: the time since the last event is the mean interarrival time; 2: twice that.
        recency = self._events.ages(rows.cutoff, rows.stop - 1)
        return _ratio(recency, summary.mean())

    def _of_numbers(self, feature: Feature, field: NumericField) -> np.ndarray:
        """Return an aggregate of a numeric field."""
        statistic, length = feature.statistic, feature.length
        if statistic == "last":
            return field.last(self._rows.start, self._rows.stop)
        windows = self._windows(field)
        if statistic == "trend":
            assert length is not None
            recent, before = windows.within[length], windows.bands[length + 1]
            return self._trend(recent.total, before.total, length)
        if statistic == "now_ratio":
            return _ratio(windows.now.mean(), windows.past.mean())
        if statistic == "now_zscore":
            apart = windows.now.mean() - windows.past.mean()
            return _ratio(apart, windows.past.std())
        return _STATISTICS[statistic](windows.within[-1 if length is None else length])

    def _windows(self, field: NumericField) -> Windows:
        """Summarise a field over all windows, or return the last summaries."""
        if self._summarised[0] is not field:
            bands = self._bands.summary(field.numbers)
            now, *parts = (bands.at(place) for place in range(len(bands.n)))
            # Windows share their newest bands: accumulate from the cutoff backwards.
            past = list(accumulate(parts, Summary.joined))
            within = [now.joined(summary) for summary in past]
            self._summarised = field, Windows(within, past[-1], now, parts)
        return self._summarised[1]

    def _of_levels(self, feature: Feature, field: CategoricalField) -> np.ndarray:
        """Return an aggregate of a categorical field."""
        rows, begin = self._rows, self._begin(feature)
        level = feature.level
        match feature.statistic:
            case "n_levels":
                return field.levels.count_different(rows.codes, begin, rows.stop)
            case "last_level":
                places = field.last(rows.start, rows.stop)
                return np.where(places < 0, np.nan, places)
            case "now_share":
                return self._past_share(field)
            case "since_last":
                assert level is not None
                event = field.last_event[level][rows.stop - 1]
                event = np.where(event >= rows.start, event, -1)
                return self._events.ages(rows.cutoff, event)
            case "share":
                assert level is not None
                n_before = field.n_before[level]
                n_known = self._n_known(field, feature.length)
                return _ratio(n_before[rows.stop] - n_before[begin], n_known)
        raise KeyError(feature.statistic)

    def _n_known(self, field: CategoricalField, length: int | None) -> np.ndarray:
        """Return the number of events with a level in a window: 100% of the shares."""
        if self._summarised[0] is not field:
            n_known = field.n_known
            ends = n_known[self._rows.stop]
            self._summarised = field, [ends - n_known[x] for x in self._begins]
        return self._summarised[1][-1 if length is None else length]

    def _past_share(self, field: CategoricalField) -> np.ndarray:
        """Return the share of past events with the level of the events at the cutoff.

        With K own events k at the cutoff and N past events, all of known level, it is
        ``1 / K * sum_k (number of past events with the level of k) / N``.
        """
        rows, end = self._rows, self._past_end
        event, offsets = ranges(end, rows.stop)  # (n_own,), events at the cutoff
        row = segment_numbers(offsets)
        row, event = row[field.known[event]], event[field.known[event]]
        # For each own event with a level: past events of its row with the same level.
        same = field.levels.count_same(event, rows.start[row], end[row])
        n_past = field.n_known[end] - field.n_known[rows.start]
        total = np.bincount(row, same, len(end))
        return _ratio(total, n_past * np.bincount(row, minlength=len(end)))

    def _begin(self, feature: Feature) -> np.ndarray:
        """Return the first event of the window of a feature, shape (n,)."""
        return self._begins[-1 if feature.length is None else feature.length]

    def _trend(self, recent: np.ndarray, before: np.ndarray, length: int) -> np.ndarray:
        """Return the difference of two rates over their sum, from -1 to 1.

        With `recent` in the lookback L and `before` between it and the next longer
        lookback M, or the tenure T if that is shorter: ``r = recent / L``, ``q = before
        / (min(M, T) - L)``, and the trend is ``(r - q) / (|r| + |q|)``.
        """
        # Rates per tick would differ in the last bit between logs of two units.
        in_microseconds = self._lengths.clock.in_microseconds
        lookbacks = [in_microseconds(x) for x in self._lengths.lookbacks]
        reach = in_microseconds(self._first_age)
        if length + 1 < len(lookbacks):
            reach = np.minimum(reach, lookbacks[length + 1])
        span = reach - lookbacks[length]
        now = recent / lookbacks[length]
        then = np.where(span > 0, _ratio(before, span), np.nan)
        return _ratio(now - then, np.abs(now) + np.abs(then))


_STATISTICS: dict[str, Callable[[Summary], np.ndarray]] = {
    "sum": lambda summary: summary.total,
    "mean": lambda summary: summary.mean(),
    "std": lambda summary: summary.std(),
    "min": lambda summary: summary.extreme("min"),
    "max": lambda summary: summary.extreme("max"),
}


def _ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Divide; missing where the divisor is 0 or the ratio overflows."""
    with np.errstate(all="ignore"):
        found = np.true_divide(one, other)
    found[~np.isfinite(found)] = np.nan
    return found
