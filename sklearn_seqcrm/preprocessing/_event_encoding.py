"""What a `HistoryEncoder` learns about the events of one history column."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm.events._clock import Clock
from sklearn_seqcrm.events._columns import Column
from sklearn_seqcrm.events._encoded_log import (
    EncodedLog,
    Encoding,
    cycle_names,
    cycles,
    raw_row_features,
    unlike,
)
from sklearn_seqcrm.events._event_log import EventLog
from sklearn_seqcrm.events._record import Record
from sklearn_seqcrm.events._rows import (
    Rows,
    starts_among,
    visible_events,
    visible_segments,
)
from sklearn_seqcrm.events._timeline import Timeline, ranges

# Codes of every categorical field; rare levels share the last one, if there are any.
UNSEEN, MISSING, FIRST_LEVEL = 0, 1, 2
# Half-lives in typical gaps: from "just now" to "ever", a factor of four apart.
AUTO_HALF_LIVES = (1.0, 4.0, 16.0, 64.0)
# Most calendars say little, and a network of this size learns their noise by heart if
# they are as loud as the rest: on simulated journeys that cost .02 in AUC.
CALENDAR_WEIGHT = 0.25
_NUMBERED = "categorical (numbers)"
_HUGE = 1e150  # beyond this even the spread of numbers overflows
_FAR = 1e38  # spreads from the center that float32 holds
# Arrays of this many numbers stay in the cache; of larger ones, malloc takes the pages
# from the system anew each time, which took longer than the arithmetic.
_EVENTS_AT_ONCE = 2**16
_DAYS_TO_SEE_A_YEAR = 2 * 365  # with less, a season cannot be told from a trend


class NumericScale(NamedTuple):
    """Center, spread, and whether some of the training events lack a value."""

    center: float
    scale: float
    some_missing: bool

    @classmethod
    def of(cls, values: np.ndarray) -> NumericScale:
        """Learn from the values of the training events, shape (n,)."""
        finite = values[np.isfinite(values)].astype("float64")
        if not len(finite):
            return cls(0.0, 1.0, len(values) > 0)
        finite = np.sort(finite.clip(-_HUGE, _HUGE))  # faster than selecting quartiles
        place = np.array([0.25, 0.5, 0.75]) * (len(finite) - 1)
        below = finite[np.floor(place).astype(int)]
        above = finite[np.ceil(place).astype(int)]
        low, center, high = below + place % 1 * (above - below)
        # Where half of the values are one and the same but for rounding, which is that
        # of the type in which they are stored, quartiles say nothing.
        rounding = 4 * np.finfo(values.dtype).eps
        scale = (high - low) / 1.349
        if scale <= rounding * max(abs(low), abs(high)):
            scale = finite.std()
        if scale <= rounding * max(abs(finite[0]), abs(finite[-1])):
            scale = 1.0
        return cls(float(center), float(scale), len(finite) < len(values))

    def fold(self, values: np.ndarray) -> np.ndarray:
        """Scale values and fold their tails in, float32; 0 for what is not finite."""
        known = np.where(np.isfinite(values), values, self.center).astype("float64")
        known = known.clip(-_HUGE, _HUGE)
        z = (known - self.center) / self.scale
        z = z.clip(-_FAR, _FAR).astype("float32")
        # In float32 a logarithm takes a tenth of the time, but log1p a third.
        return np.copysign(np.log(1 + np.abs(z)), z)


class Vocabulary(NamedTuple):
    """The levels of a categorical field that have a code of their own, and the rare."""

    levels: pd.Index
    rare: pd.Index

    @classmethod
    def of(cls, column: Column, least: float, most: int | None) -> Vocabulary:
        """Learn from the training events.

        Parameters
        ----------
        column : Column
            Codes of the training events; its categories may hold levels that only
            the future knows.
        least : float
            Fewest events for a code of its own.
        most : int or None
            Most levels with a code of their own.

        Returns
        -------
        Vocabulary
            Levels in their sorted order.
        """
        assert column.categories is not None
        codes = column.values[column.values >= 0]
        counts = np.bincount(codes, minlength=len(column.categories))
        present = np.flatnonzero(counts)
        by_count = present[np.argsort(-counts[present], kind="stable")]
        kept = np.sort(by_count[counts[by_count] >= least][:most])
        rare = np.setdiff1d(present, kept)
        return cls(column.categories[kept], column.categories[rare])

    @property
    def n_codes(self) -> int:
        """Number of codes, with those for unseen, missing and rare levels."""
        return FIRST_LEVEL + len(self.levels) + (len(self.rare) > 0)

    def codes_of(self, categories: pd.Index) -> np.ndarray:
        """Codes of the categories of any log, and last that of a missing value."""
        place = self.levels.get_indexer(categories)
        codes = np.where(place >= 0, place + FIRST_LEVEL, UNSEEN).astype("int32")
        codes[categories.isin(self.rare)] = self.n_codes - 1
        return np.append(codes, np.int32(MISSING))


class EventEncoding:
    """Turns the raw events of one history column into channels and codes.

    Parameters
    ----------
    rows : Rows
        Training rows. Only events that at least one of them sees are looked at.
    min_frequency : int, float or None
        Fewest training events of a level, absolute or as a share.
    max_categories : int or None
        Most levels of a field with a code of their own.
    half_lives : "auto" or sequence of Timedelta, str or number
        Half-lives of the decayed row features.
    """

    def __init__(
        self,
        rows: Rows,
        min_frequency: float | None,
        max_categories: int | None,
        half_lives: Any,
    ) -> None:
        log, index = rows.log, visible_events(rows)
        assert isinstance(log, EventLog)
        self.clock = log.timeline.clock
        self.kinds = {name: _kind(log.column(name)) for name in log.fields}
        least = min_frequency or 0
        least = least if isinstance(least, Integral) else least * len(index)
        self.scales, self.vocabularies = {}, {}
        times = log.timeline.times[index]
        for name in log.fields:
            column = log.column(name).take(index)
            if column.categories is None:
                self.scales[name] = NumericScale.of(self._numbers(column, times))
            else:
                self.vocabularies[name] = Vocabulary.of(column, least, max_categories)
        gaps = _gaps_within(log.timeline.offsets, index, times)
        gaps = gaps[gaps > 0]
        unit = np.median(gaps) if len(gaps) else self.clock.ticks_per_day() or 1.0
        self.encoding = self._describe(times, float(unit), half_lives, log.names)
        # Events in one rhythm differ by the error of rounding, if at all.
        center, spread = _center_and_spread([np.log1p(gaps / unit)[:, None]])
        self.gap_scale = float(center[0]), float(spread[0])
        n_features = len(self.encoding.row_features)
        self.row_scale = np.array([np.zeros(n_features), np.ones(n_features)])
        raw = raw_row_features(self.encode(rows, "X"), self.encoding)
        self.row_scale = _center_and_spread(list(raw))
        self.encoding = replace(self.encoding, digest=self._digest())

    def encode(self, rows: Rows, column: str) -> Rows:
        """View the same events in an encoded log that holds no more than they need.

        Parameters
        ----------
        rows : Rows
            Views of a raw log with the fields of the training log.
        column : str
            Name of the history column, for errors.

        Returns
        -------
        Rows
            The same rows; their log is an `EncodedLog`.
        """
        log, seen = rows.log, visible_segments(rows)
        assert isinstance(log, EventLog)
        self._check_fields(log, column)
        index, offsets = ranges(seen.first, seen.last)
        times, cutoff = log.timeline.times[index], rows.cutoff
        per_tick = 1.0
        if log.timeline.clock != self.clock:
            old = log.timeline.clock
            what = f"times of the histories in {column!r}"
            times = self.clock.read(old.as_index(times), what, up=False)
            cutoff = self.clock.read(old.as_index(cutoff), what)
            per_tick = self.clock.ticks_of(old)
        channels = np.empty((len(index), len(self.encoding.channels)), "float32")
        codes = np.empty((len(index), len(self.vocabularies)), "int32")
        # No row sees what was before the first event of a segment.
        firsts = np.zeros(len(index), dtype=bool)
        firsts[offsets[:-1][np.diff(offsets) > 0]] = True
        tables = {
            name: vocabulary.codes_of(log.column(name).categories)
            for name, vocabulary in self.vocabularies.items()
        }
        for first in range(0, len(index), _EVENTS_AT_ONCE):
            block = slice(first, first + _EVENTS_AT_ONCE)
            events = index[block]
            gaps = log.timeline.times[events] - log.timeline.times[events - 1]
            gaps = np.where(firsts[block], np.nan, per_tick * gaps)
            self._fill(channels[block], log, events, times[block], gaps)
            for i, (name, table) in enumerate(tables.items()):
                # A missing value is -1, and points last.
                codes[block, i] = table[log.column(name).values[events]]
        record = Record(times.max(initial=0), in_days=False)
        timeline = Timeline(
            log.customers[seen.codes], offsets, times, self.clock, record
        )
        encoded = EncodedLog(
            timeline, channels, codes, self.encoding, self.row_scale, log.names
        )
        codes_of_rows = np.full(len(rows.codes), -1)
        codes_of_rows[seen.rows] = seen.of_row
        start = starts_among(seen, rows, offsets)
        stop = start + (rows.stop - rows.start)
        return Rows(encoded, codes_of_rows, start, stop, cutoff)

    def _digest(self) -> str:
        """Tell this encoding from any other that happens to have the same shape."""
        words = [
            (name, list(v.levels), list(v.rare))
            for name, v in self.vocabularies.items()
        ]
        learned = (self.encoding, self.scales, words, self.gap_scale)
        text = repr(learned) + repr(self.row_scale.tolist())
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _describe(
        self, times: np.ndarray, unit: float, half_lives: Any, names: tuple[str, str]
    ) -> Encoding:
        """Name channels and codes, and settle the units of time."""
        facts = list(self.scales)
        marks = [f"{name}_missing" for name in facts if self.scales[name].some_missing]
        calendar = _calendar(self.clock, times)
        made = [*marks, "time_gap", *cycle_names(calendar)]
        # Fields and columns of the log keep their names.
        made = unlike(made, [*names, *facts, *self.vocabularies])
        if isinstance(half_lives, str):
            ticks = tuple(unit * multiple for multiple in AUTO_HALF_LIVES)
        else:
            ticks = tuple(self.clock.duration(h, "half_lives") for h in half_lives)
            if not ticks or not all(ticks):
                raise ValueError(
                    "half_lives must be positive, and one at least; got "
                    f"{half_lives!r}."
                )
        return Encoding(
            channels=(*facts, *made),
            n_decayed=len(facts),
            codes=tuple(self.vocabularies),
            n_levels=tuple(v.n_codes for v in self.vocabularies.values()),
            time_unit=unit,
            half_lives=ticks,
            calendar=calendar,
        )

    def _fill(
        self,
        channels: np.ndarray,
        log: EventLog,
        index: np.ndarray,
        times: np.ndarray,
        gaps: np.ndarray,
    ) -> None:
        """Write the channels of some events, in the order of ``encoding.channels``."""
        mark = len(self.scales)
        for i, (name, scale) in enumerate(self.scales.items()):
            values = self._numbers(log.column(name).take(index), times)
            channels[:, i] = scale.fold(values)
            if scale.some_missing:
                channels[:, mark] = ~np.isfinite(values)
                mark += 1
        center, spread = self.gap_scale
        log_gaps = np.log1p(gaps / self.encoding.time_unit)
        # The first event of a customer has no gap; 0 is the mean of those that do.
        channels[:, mark] = np.nan_to_num((log_gaps - center) / spread)
        waves = cycles(times, self.encoding.calendar)
        channels[:, mark + 1 :] = CALENDAR_WEIGHT * waves

    def _numbers(self, column: Column, times: np.ndarray) -> np.ndarray:
        """Numbers of a numeric field; a datetime becomes days since the event."""
        if column.kind == "numeric":
            return column.values
        days = column.values.astype("M8[us]").astype("int64") / 86_400e6
        days[np.isnat(column.values)] = np.nan
        per_day = self.clock.ticks_per_day()
        return days if per_day is None else days - times / per_day

    def _check_fields(self, log: EventLog, column: str) -> None:
        kinds = {
            name: _kind(log.column(name), self.kinds.get(name)) for name in log.fields
        }
        if kinds == self.kinds:
            return
        lost = [name for name in self.kinds if name not in kinds]
        extra = [name for name in kinds if name not in self.kinds]
        changed = [
            f"{name!r} is {kinds[name]} and was {self.kinds[name]}"
            for name in self.kinds
            if name in kinds and kinds[name] != self.kinds[name]
        ]
        parts = [f"lacks the fields {lost}"] if lost else []
        parts += [f"has the unknown fields {extra}"] if extra else []
        parts += [f"has other types: {', '.join(changed)}"] if changed else []
        raise ValueError(
            f"The log behind {column!r} does not fit the one seen in fit: it "
            f"{'; it '.join(parts)}. Build it from the same columns "
            f"(EventLog(..., fields={list(self.kinds)}))."
        )


def _kind(column: Column, expected: str | None = None) -> str:
    """Kind of a field; levels that are numbers never equal levels that are text.

    A field without any level is of the kind that is expected, if that has levels.
    """
    if column.categories is None:
        return column.kind
    if not len(column.categories) and expected in ("categorical", _NUMBERED):
        return expected
    numeric = pd.api.types.is_numeric_dtype(column.categories.dtype)
    return _NUMBERED if numeric and len(column.categories) else "categorical"


def _center_and_spread(blocks: list[np.ndarray]) -> np.ndarray:
    """Mean and standard deviation of what is not NaN, shape (2, n_columns).

    Nothing has the mean 0. The deviation is 1 where rounding is all there is of it.
    """
    n_known = np.sum([np.isfinite(block).sum(axis=0) for block in blocks], axis=0)
    n_known = n_known.clip(1)
    center = np.sum([np.nansum(block, axis=0) for block in blocks], axis=0) / n_known
    squares = [np.nansum((block - center) ** 2, axis=0) for block in blocks]
    spread = np.sqrt(np.sum(squares, axis=0) / n_known)
    return np.array([center, np.where(spread > 1e-6, spread, 1.0)])


def _gaps_within(
    offsets: np.ndarray, index: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Ticks between successive events of a customer that are both in `index`.

    A lookback hides what came before.
    """
    is_first = np.zeros(offsets[-1] + 1, dtype=bool)
    is_first[offsets] = True
    successive = (index[1:] == index[:-1] + 1) & ~is_first[index[1:]]
    return np.diff(times)[successive]


def _calendar(clock: Clock, times: np.ndarray) -> tuple[tuple[str, float, int], ...]:
    """Cycles that the resolution and the span of the visible events support."""
    day = clock.ticks_per_day()
    if day is None or not len(times):
        return ()
    cycles: list[tuple[str, float, int]] = []
    of_day = np.mod(times, day)
    if (of_day != of_day[0]).any():
        cycles.append(("hour", day, 1))
    # Dates on one day of the month are months, which know no weekday.
    of_month = clock.as_index(times).day
    if (of_month != of_month[0]).any():
        cycles.append(("weekday", 7 * day, 1))
    if times.max() - times.min() >= _DAYS_TO_SEE_A_YEAR * day:
        cycles.append(("year", 365.2425 * day, 1))
    return tuple(cycles)
