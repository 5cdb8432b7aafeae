"""Aggregates of some rows: one method for each group of statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from sklearn_seqcrm._ragged import (
    Bands,
    Portion,
    Summary,
    decayed_sums,
    first_at_or_after,
    ranges,
)
from sklearn_seqcrm._store import earlier
from sklearn_seqcrm.feature_extraction._aggregates._event_numbers import (
    CategoricalField,
    EventNumbers,
    NumericField,
)
from sklearn_seqcrm.feature_extraction._aggregates._features import Feature


class Lengths(NamedTuple):
    """Lengths in ticks of a log."""

    unit: float
    lookbacks: Sequence[float]
    half_lives: Sequence[float]


class Windows(NamedTuple):
    """Summaries of one number over the windows of rows.

    Parameters
    ----------
    within : list of Summary
        In each lookback, shortest first, and over everything.
    past : Summary
        Of all events before the cutoff.
    now : Summary
        Of the events at the cutoff.
    bands : list of Summary
        Between each lookback and the next longer one; the last is what lies before
        the longest.
    """

    within: list[Summary]
    past: Summary
    now: Summary
    bands: list[Summary]


class Block:
    """Rows, and the windows that they look back through.

    Parameters
    ----------
    rows : Portion of n
        Rows that see an event each.
    events : EventNumbers
        Their events.
    lengths : Lengths
        Unit and lookbacks.
    sees_own : bool
        Whether events at the cutoff are told from those before.
    """

    def __init__(
        self, rows: Portion, events: EventNumbers, lengths: Lengths, sees_own: bool
    ) -> None:
        self._rows, self._events, self._lengths = rows, events, lengths
        low, high, cutoff = rows.start, rows.stop, rows.cutoff
        times = events.times
        # Without events at a cutoff, what is before it is all.
        self._past_end = (
            first_at_or_after(times, low, high, cutoff) if sees_own else high
        )
        begins = [
            first_at_or_after(times, low, high, _before(cutoff, length))
            for length in lengths.lookbacks
        ]
        self._begins = [*begins, low]
        cuts = np.array([high, self._past_end, *self._begins])
        self._bands = Bands(events.chunks, rows.codes, cuts)
        self._summarised: tuple[Any, Any] = (None, None)
        self._first_age = (cutoff - times[low]).astype("float64")

    def value(self, feature: Feature, field: Any) -> np.ndarray:
        """Compute one aggregate.

        Parameters
        ----------
        feature : Feature
            Which; none that is decayed.
        field : NumericField, CategoricalField or None
            The field of which it is.

        Returns
        -------
        ndarray of shape (n,)
            Its value in each row.
        """
        if isinstance(field, NumericField):
            return self._of_numbers(feature, field)
        if isinstance(field, CategoricalField):
            return self._of_levels(feature, field)
        if feature.statistic.startswith("gap"):
            return self._of_gaps(feature.statistic)
        return self._of_events(feature)

    def _of_events(self, feature: Feature) -> np.ndarray:
        rows, events = self._rows, self._events
        begin = self._begin(feature)
        match feature.statistic:
            case "recency":
                return events.ages(rows.cutoff, rows.stop - 1)
            case "recency_past":
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
        assert feature.length is not None  # the trend
        earlier_ones = begin - self._begins[feature.length + 1]
        return self._trend(rows.stop - begin, earlier_ones, feature.length)

    def _of_gaps(self, statistic: str) -> np.ndarray:
        rows, gaps = self._rows, self._events.gap_field
        # The gap before the first event that a row sees is not its to see.
        begin = rows.start + 1
        if statistic == "gap_last":
            return gaps.last(begin, rows.stop)
        if self._summarised[0] is not gaps:
            bands = Bands(self._events.chunks, rows.codes, np.array([rows.stop, begin]))
            self._summarised = gaps, bands.summary(gaps.numbers).at(0)
        summary: Summary = self._summarised[1]
        if statistic != "gaps_since_last":
            return _statistic(summary, statistic.removeprefix("gap_"))
        recency = self._events.ages(rows.cutoff, rows.stop - 1)
        return _ratio(recency, summary.mean())

    def _of_numbers(self, feature: Feature, field: NumericField) -> np.ndarray:
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
        return _statistic(windows.within[-1 if length is None else length], statistic)

    def _windows(self, field: NumericField) -> Windows:
        if self._summarised[0] is not field:
            bands = self._bands.summary(field.numbers)
            now, *parts = (bands.at(place) for place in range(len(bands.n)))
            past = list(accumulate(parts, Summary.joined))
            within = [now.joined(summary) for summary in past]
            self._summarised = field, Windows(within, past[-1], now, parts)
        return self._summarised[1]

    def _of_levels(self, feature: Feature, field: CategoricalField) -> np.ndarray:
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
        assert level is not None
        if feature.statistic == "since_last":
            event = field.last_event[level][rows.stop - 1]
            event = np.where(event >= rows.start, event, -1)
            return self._events.ages(rows.cutoff, event)
        n_before = field.n_before[level]
        n_known = self._n_known(field, feature.length)
        return _ratio(n_before[rows.stop] - n_before[begin], n_known)

    def _n_known(self, field: CategoricalField, length: int | None) -> np.ndarray:
        """Events in a window that have a level, which all levels are shares of."""
        if self._summarised[0] is not field:
            n_known = field.n_known
            ends = n_known[self._rows.stop]
            self._summarised = field, [ends - n_known[x] for x in self._begins]
        return self._summarised[1][-1 if length is None else length]

    def _past_share(self, field: CategoricalField) -> np.ndarray:
        """Mean over the events at the cutoff of the share that their level had."""
        rows, end = self._rows, self._past_end
        event, offsets = ranges(end, rows.stop)
        row = np.repeat(np.arange(len(end)), np.diff(offsets))
        row, event = row[field.known[event]], event[field.known[event]]
        same = field.levels.count_same(event, rows.start[row], end[row])
        n_past = field.n_known[end] - field.n_known[rows.start]
        total = np.bincount(row, same, len(end))
        return _ratio(total, n_past * np.bincount(row, minlength=len(end)))

    def _begin(self, feature: Feature) -> np.ndarray:
        """Where the window of a feature begins."""
        return self._begins[-1 if feature.length is None else feature.length]

    def _trend(self, recent: np.ndarray, before: np.ndarray, length: int) -> np.ndarray:
        """Difference of two rates over their sum, from -1 to 1.

        The earlier window ends where the lookback begins, and reaches back to the next
        longer lookback, or to the first event that a row sees.
        """
        lookbacks = self._lengths.lookbacks
        reach = self._first_age
        if length + 1 < len(lookbacks):
            reach = np.minimum(reach, lookbacks[length + 1])
        span = reach - lookbacks[length]
        now = recent / lookbacks[length]
        then = np.where(span > 0, _ratio(before, span), np.nan)
        return _ratio(now - then, np.abs(now) + np.abs(then))


class Decays:
    """Counts and sums that fade, of all rows of a portion.

    Parameters
    ----------
    rows : Portion of n
        Rows.
    times : ndarray of shape (n_events,)
        Times of their events.
    fields : mapping of str to NumericField
        What to add up beside the count of events.
    half_lives : sequence of float
        Half-lives in ticks.
    """

    def __init__(
        self,
        rows: Portion,
        times: np.ndarray,
        fields: Mapping[str, Any],
        half_lives: Sequence[float],
    ) -> None:
        self._place = {name: 1 + i for i, name in enumerate(fields)}
        values = np.empty((len(times), len(fields)))
        for i, field in enumerate(fields.values()):
            values[:, i] = np.nan_to_num(field.values)
        if half_lives:
            self._sums = decayed_sums(
                rows, times, values, np.array(half_lives), any_size=True
            )

    def of(self, feature: Feature) -> np.ndarray:
        """One of them, shape (n,)."""
        place = 0 if feature.field is None else self._place[feature.field]
        return self._sums[:, feature.length, place]


def _before(cutoff: np.ndarray, length: float) -> np.ndarray:
    """The beginning of a lookback: on an axis of integers, the first tick in it."""
    if cutoff.dtype == "int64":
        return earlier(cutoff, int(length))
    return cutoff - length


def _statistic(summary: Summary, name: str) -> np.ndarray:
    match name:
        case "sum":
            return summary.total
        case "mean":
            return summary.mean()
        case "std":
            return summary.std()
    return summary.extreme(name)


def _ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """One over the other, missing where that is 0 or the ratio beyond all numbers."""
    with np.errstate(all="ignore"):
        found = np.true_divide(one, other)
    found[~np.isfinite(found)] = np.nan
    return found
