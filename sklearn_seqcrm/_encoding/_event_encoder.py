"""What a `HistoryEncoder` learns about the events of one history column."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._encoding._calendar import cycle_names, cycles, supported_cycles
from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._layout import Layout, unlike
from sklearn_seqcrm._encoding._numeric_scale import NumericScale
from sklearn_seqcrm._encoding._vocabulary import Vocabulary
from sklearn_seqcrm._ragged import (
    blocks,
    ranges,
    starts_among,
    visible_events,
    visible_segments,
)
from sklearn_seqcrm._store import Column, RawLog, Record, Rows, Timeline

# Half-lives in typical gaps: from "just now" to "ever", a factor of four apart.
AUTO_HALF_LIVES = (1.0, 4.0, 16.0, 64.0)
# Most calendars say little, and a network of this size learns their noise by heart if
# they are as loud as the rest: on simulated journeys that cost .02 in AUC.
CALENDAR_WEIGHT = 0.25
_NUMBERED = "categorical (numbers)"


_WIDTH = 4  # numbers of an event in work


class EventEncoder:
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
        log, index = rows.log, visible_events(rows, len(rows.log))
        assert isinstance(log, RawLog)
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
        self.layout = self._describe(times, float(unit), half_lives, log.names)
        # Events in one rhythm differ by the error of rounding, if at all.
        center, spread = _center_and_spread([np.log1p(gaps / unit)[:, None]])
        self.gap_scale = float(center[0]), float(spread[0])
        n_features = len(self.layout.row_features)
        self.row_scale = np.array([np.zeros(n_features), np.ones(n_features)])
        encoded = self.encode(rows, "X")
        assert isinstance(encoded.log, EncodedLog)
        raw = encoded.log.raw_row_features(encoded)
        self.row_scale = _center_and_spread(list(raw))
        self.layout = replace(self.layout, digest=self._digest())

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
        assert isinstance(log, RawLog)
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
        channels = np.empty((len(index), len(self.layout.channels)), "float32")
        codes = np.empty((len(index), len(self.vocabularies)), "int32")
        # No row sees what was before the first event of a segment.
        firsts = np.zeros(len(index), dtype=bool)
        firsts[offsets[:-1][np.diff(offsets) > 0]] = True
        tables = {
            name: vocabulary.codes_of(log.column(name).categories)
            for name, vocabulary in self.vocabularies.items()
        }
        for block in blocks(len(index), _WIDTH):
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
            timeline, channels, codes, self.layout, self.row_scale, log.names
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
        learned = (self.layout, self.scales, words, self.gap_scale)
        text = repr(learned) + repr(self.row_scale.tolist())
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _describe(
        self, times: np.ndarray, unit: float, half_lives: Any, names: tuple[str, str]
    ) -> Layout:
        """Name channels and codes, and settle the units of time."""
        facts = list(self.scales)
        marks = [f"{name}_missing" for name in facts if self.scales[name].some_missing]
        calendar = supported_cycles(self.clock, times)
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
        return Layout(
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
        log: RawLog,
        index: np.ndarray,
        times: np.ndarray,
        gaps: np.ndarray,
    ) -> None:
        """Write the channels of some events, in the order of ``layout.channels``."""
        mark = len(self.scales)
        for i, (name, scale) in enumerate(self.scales.items()):
            values = self._numbers(log.column(name).take(index), times)
            channels[:, i] = scale.fold(values)
            if scale.some_missing:
                channels[:, mark] = ~np.isfinite(values)
                mark += 1
        center, spread = self.gap_scale
        log_gaps = np.log1p(gaps / self.layout.time_unit)
        # The first event of a customer has no gap; 0 is the mean of those that do.
        channels[:, mark] = np.nan_to_num((log_gaps - center) / spread)
        waves = cycles(times, self.layout.calendar)
        channels[:, mark + 1 :] = CALENDAR_WEIGHT * waves

    def _numbers(self, column: Column, times: np.ndarray) -> np.ndarray:
        """Numbers of a numeric field; a datetime becomes days since the event."""
        if column.kind == "numeric":
            return column.values
        days = column.values.astype("M8[us]").astype("int64") / 86_400e6
        days[np.isnat(column.values)] = np.nan
        per_day = self.clock.ticks_per_day()
        return days if per_day is None else days - times / per_day

    def _check_fields(self, log: RawLog, column: str) -> None:
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
