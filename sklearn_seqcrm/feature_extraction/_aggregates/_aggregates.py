"""The aggregates of one history column: what is learned, and how they are computed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import RARE, text_of
from sklearn_seqcrm._ragged import NO_ROW, Portion, look_up, portions, visible_events
from sklearn_seqcrm._store import Clock, RawLog, Rows, unlike
from sklearn_seqcrm.feature_extraction._aggregates._block import Block, Decays, Lengths
from sklearn_seqcrm.feature_extraction._aggregates._event_numbers import (
    CategoricalField,
    EventNumbers,
    NumericField,
)
from sklearn_seqcrm.feature_extraction._aggregates._features import (
    Feature,
    Labels,
    all_features,
    first_of,
)
from sklearn_seqcrm.feature_extraction._aggregates._lengths import (
    Rhythm,
    choose_lookbacks,
    choose_unit,
    label_of,
)
from sklearn_seqcrm.feature_extraction._aggregates._sources import (
    frequent_levels,
    places_among,
    sources_of,
)

_WIDTH = 64  # numbers of a row in work


class Settings(NamedTuple):
    """What a user asks for; see `HistoryAggregator`."""

    lookbacks: Any
    half_lives: Any
    max_levels: int
    max_features: int | None
    time_unit: Any


class Aggregates:
    """Learns from the events that training rows see, and computes aggregates.

    Parameters
    ----------
    rows : Rows
        Training rows.
    settings : Settings
        What a user asks for.

    Attributes
    ----------
    unit : Timedelta, str or number
        Unit of times.
    lookbacks, half_lives : list of Timedelta, str or number
        Lengths, ascending.
    sources : dict of str to Source
        What is aggregated, by the name that it has in the names of features.
    levels : dict of str to Index
        The frequent levels of each categorical field, the most frequent first.
    features : list of Feature
        What is computed.
    names, left_out : list of str
        Names of these, and of those that would be too many.
    """

    def __init__(self, rows: Rows, settings: Settings) -> None:
        log = rows.log
        assert isinstance(log, RawLog)
        clock, rhythm = log.timeline.clock, Rhythm.of(rows)
        self.unit = settings.time_unit
        if self.unit is None:
            self.unit = choose_unit(rhythm, clock)
        clock.duration(self.unit, "time_unit", positive=True)
        auto = choose_lookbacks(rhythm, clock)
        self.lookbacks = _lengths(settings.lookbacks, auto, clock, "lookbacks")
        self.half_lives = _lengths(settings.half_lives, auto, clock, "half_lives")
        seen = visible_events(rows)
        self.sources = sources_of(log, seen)
        customers = np.searchsorted(log.timeline.offsets, seen, side="right")
        self.levels = {
            name: frequent_levels(
                log.column(name).take(seen), customers, settings.max_levels
            )
            for name, source in self.sources.items()
            if source.type == "categorical"
        }
        # As text they are in names and categories.
        self._texts = {
            name: unlike(map(text_of, levels)) for name, levels in self.levels.items()
        }
        self._choose(rows, settings.max_features)

    def _choose(self, rows: Rows, most: int | None) -> None:
        """Decide what is computed, and how it is called."""
        filled = np.flatnonzero(rows.stop > rows.start)
        last = rows.log.timeline.times[rows.stop[filled] - 1]
        self.sees_own = bool((last == rows.cutoff[filled]).any())
        every = all_features(
            [name for name in self.sources if name not in self.levels],
            self._texts,
            len(self.lookbacks),
            len(self.half_lives),
            self.sees_own,
        )
        self.features = first_of(every, most)
        labels = Labels(
            [label_of(length) for length in self.lookbacks],
            [label_of(length) for length in self.half_lives],
            self._texts,
            "days" if label_of(self.unit) == "1D" else "periods",
        )
        names = dict(zip(every, unlike(map(labels.name, every)), strict=True))
        self.names = [names.pop(feature) for feature in self.features]
        self.left_out = list(names.values())

    def learn_known(self, rows: Rows, column: str, min_rows: int) -> pd.DataFrame:
        """Leave out what too few of the training rows have, and return the rest.

        Parameters
        ----------
        rows : Rows of n
            Training rows.
        column : str
            Name of the history column, for errors.
        min_rows : int
            Fewest rows that must have it; of fewer rows than that, all.

        Returns
        -------
        DataFrame of shape (n, n_features)
            What `frame` returns from now on.
        """
        frame = self.frame(rows, column)
        least = min(min_rows, len(frame))
        known = (frame.notna().sum() >= least).to_numpy()
        chosen = list(zip(self.features, self.names, known, strict=True))
        self.features = [feature for feature, _, keep in chosen if keep]
        self.names = [name for _, name, keep in chosen if keep]
        self.left_out += [name for _, name, keep in chosen if not keep]
        return frame.loc[:, known]

    def frame(self, rows: Rows, column: str) -> pd.DataFrame:
        """Compute the aggregates of rows.

        Parameters
        ----------
        rows : Rows of n
            Rows of a log with the fields of the training log.
        column : str
            Name of the history column, for errors.

        Returns
        -------
        DataFrame of shape (n, n_features)
            Columns called `names`.
        """
        values, order = self._compute(rows, column)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        in_order = np.empty(len(order))  # one, as the system is slow to give memory
        for row in values:
            row[:] = np.take(row, place, out=in_order, mode="clip")
        categories = [x for x in self.features if x.is_category]
        n_numbers = len(self.features) - len(categories)
        names = self.names[:n_numbers]
        # One array of all numbers: pandas would copy columns into such a one.
        numbers = pd.DataFrame(values[:n_numbers].T, columns=names, copy=False)
        levels = map(self._levels_of, categories, values[n_numbers:])
        last = dict(zip(self.names[n_numbers:], levels, strict=True))
        return pd.concat([numbers, pd.DataFrame(last)], axis=1) if last else numbers

    def _compute(self, rows: Rows, column: str) -> tuple[np.ndarray, np.ndarray]:
        """All aggregates, shape (n_features, n), and to which rows they belong.

        Each is written from front to back. Scattered to the rows at once, they took an
        eighth more of the time.
        """
        values = np.empty((len(self.features), len(rows.codes)))
        empty = np.flatnonzero(rows.stop == rows.start)
        is_there = rows.start[empty] != NO_ROW
        for feature, row in zip(self.features, values, strict=True):
            row[: len(empty)] = np.nan
            if feature.is_count:
                row[: len(empty)][is_there] = 0.0
        work, at, order = _Work(self, rows, column), len(empty), [empty]
        for portion in portions(rows):
            after = at + len(portion.rows)
            work.fill(values[:, at:after], portion)
            order.append(portion.rows)
            at = after
        return values, np.concatenate(order)

    def _levels_of(self, feature: Feature, places: np.ndarray) -> pd.Categorical:
        """The frequent levels at some places, the one of all others, or none."""
        assert feature.field is not None
        codes = np.where(np.isnan(places), -1, places).astype("int64")
        levels = unlike([*self._texts[feature.field], RARE])
        return pd.Categorical.from_codes(codes, pd.Index(levels, dtype=object))


def _lengths(given: Any, auto: list[Any], clock: Clock, name: str) -> list[Any]:
    """Lengths in ascending order, each once."""
    if given is None:
        return []
    if isinstance(given, str):  # "auto"
        return auto
    by_ticks = {clock.duration(x, name, positive=True): x for x in given}
    return [by_ticks[ticks] for ticks in sorted(by_ticks)]


class _Work:
    """One log, and what is asked of it.

    Parameters
    ----------
    learned : Aggregates
        What is asked.
    rows : Rows
        Of whom; their log must have the fields that training knew.
    column : str
        Name of the history column, for errors.
    """

    def __init__(self, learned: Aggregates, rows: Rows, column: str) -> None:
        log = rows.log
        assert isinstance(log, RawLog)
        clock = log.timeline.clock
        self._log, self._clock = log, clock
        self._lengths = Lengths(
            clock.duration(learned.unit, "time_unit", positive=True),
            [clock.duration(x, "lookbacks") for x in learned.lookbacks],
            [clock.duration(x, "half_lives") for x in learned.half_lives],
        )
        self._features, self._sees_own = learned.features, learned.sees_own
        self._levels = learned.levels
        decayed = {feature.field for feature in learned.features if feature.is_decayed}
        self._decayed = [name for name in learned.sources if name in decayed]
        wanted = {feature.field for feature in learned.features}
        self._columns = {
            name: source.find(log, column)
            for name, source in learned.sources.items()
            if name in wanted
        }
        self._tables = {
            name: places_among(self._columns[name].column, levels)
            for name, levels in learned.levels.items()
            if name in wanted
        }

    def fill(self, values: np.ndarray, portion: Portion) -> None:
        """Write the aggregates of the rows of a portion, shape (n_features, n)."""
        times = self._log.timeline.times[portion.events]
        events = EventNumbers(portion, times, self._lengths.unit)
        fields = {name: self._values(name, portion, events) for name in self._columns}
        faded = {name: fields[name] for name in self._decayed}
        decays = Decays(portion, times, faded, self._lengths.half_lives)
        for some, rows in portion.in_blocks(_WIDTH):
            block = Block(rows, events, self._lengths, self._sees_own)
            for feature, row in zip(self._features, values, strict=True):
                if feature.is_decayed:
                    row[some] = decays.of(feature)[some]
                else:
                    field = None if feature.field is None else fields[feature.field]
                    row[some] = block.value(feature, field)

    def _values(
        self, name: str, portion: Portion, events: EventNumbers
    ) -> NumericField | CategoricalField:
        """The values of a field in the events of a portion."""
        column = self._columns[name].take(portion.events)
        if name not in self._tables:
            numbers = column.as_numbers(events.times, self._clock)
            return NumericField(numbers, events.chunks)
        places = look_up(self._tables[name], column.values)
        n_frequent = len(self._levels[name])
        return CategoricalField(
            column.values, places, n_frequent, events.chunks, events.offsets
        )
