"""The aggregates of one history column: choose them in `fit`, compute them later."""

from __future__ import annotations

from itertools import compress
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import RARE, text_of
from sklearn_seqcrm._encoding import LevelCounts
from sklearn_seqcrm._ragged import (
    LEAST_SHARE_IN_MOMENTS,
    NO_ROW,
    Learning,
    Pass,
    Portion,
    add_all,
    decayed_sums,
    inverse_permutation,
    is_run_start,
    look_up,
    n_in_long_runs,
    portions,
)
from sklearn_seqcrm._store import Clock, RawLog, Rows, unique_names
from sklearn_seqcrm.feature_extraction._aggregates._block import Block, Lengths
from sklearn_seqcrm.feature_extraction._aggregates._event_numbers import (
    CategoricalField,
    EventNumbers,
    Moments,
    NumericField,
)
from sklearn_seqcrm.feature_extraction._aggregates._features import (
    Feature,
    all_features,
    first_of,
)
from sklearn_seqcrm.feature_extraction._aggregates._lengths import (
    SeenEvents,
    TypicalTimes,
    choose_lookbacks,
    choose_unit,
    label_of,
)
from sklearn_seqcrm.feature_extraction._aggregates._sources import (
    Source,
    count_levels,
    frequent_levels,
    places_among,
    sources_of,
)

# A block has as many rows as fit into the working memory with 64 floats each.
_WIDTH = 64


class EventCounts(NamedTuple):
    """Counts of the events that rows see; those of disjoint customers add up."""

    n_rows: int  # rows with events
    n_rows_at_cutoff: int  # rows that see an event at their cutoff
    n_customers: int  # customers with events that a row sees
    n_events: int
    n_joined: int  # events at the time of another one of their customer
    n_between: int  # interarrival times that are not 0
    # Events and customers of each level of the categorical fields.
    levels: dict[Any, LevelCounts]

    @classmethod
    def of(cls, seen: SeenEvents) -> Self:
        """Count the events."""
        rows, log, index = seen.rows, seen.rows.log, seen.events
        assert isinstance(log, RawLog)
        times = log.timeline.times
        segments = log.timeline.codes_of(index)
        is_segment = is_run_start(segments)
        customers = segments
        if not log.customers.is_unique:
            # Windows of a lookback that were read from a file, or a stack of logs.
            customers = pd.factorize(log.customers)[0][segments]
        filled = np.flatnonzero(rows.stop > rows.start)
        at_cutoff = times[rows.stop[filled] - 1] == rows.cutoff[filled]
        return cls(
            len(filled),
            int(at_cutoff.sum()),
            len(np.unique(customers)),
            len(index),
            n_in_long_runs(is_run_start(times[index]) | is_segment),
            len(seen.interarrival_times()),
            {
                name: count_levels(log.column(name).take(index), customers)
                for name in log.fields
                if log.column(name).type.encoding == "levels"
            },
        )

    def merge(self, other: EventCounts) -> EventCounts:
        """Return the counts of both."""
        levels = {n: own.merge(other.levels[n]) for n, own in self.levels.items()}
        return EventCounts._make([*add_all(self[:-1], other[:-1]), levels])


class Aggregates:
    """The aggregates of one history column, chosen by the events of training rows.

    Made by `learning`.
    """

    unit: Any  # Timedelta, str or number: unit of times
    lookbacks: list[Any]  # Timedelta, str or number, ascending
    half_lives: list[Any]  # Timedelta, str or number, ascending
    # The fields that are aggregated, by their names in the names of features.
    sources: dict[str, Source]
    # The frequent levels of each categorical field, the most frequent first.
    levels: dict[str, pd.Index]
    features: list[Feature]
    names: list[str]  # of the aggregates
    left_out: list[str]  # names of the aggregates that were left out

    def __init__(
        self, log: RawLog, parameters: Any, counts: EventCounts, typical: TypicalTimes
    ) -> None:
        clock = log.timeline.clock
        self.unit = parameters.time_unit
        if self.unit is None:
            self.unit = choose_unit(typical, clock)
        clock.duration(self.unit, "time_unit", positive=True)
        auto = choose_lookbacks(typical, clock)
        self.lookbacks = _lengths(parameters.lookbacks, auto, clock, "lookbacks")
        self.half_lives = _lengths(parameters.half_lives, auto, clock, "half_lives")
        kinds = counts.levels.get(log.kind_field)
        occurring = () if kinds is None else set(kinds.levels)
        self.sources = sources_of(log, occurring)
        # With one customer alone, any level counts.
        fewest = min(max(counts.n_customers, 1), 2)
        self.levels = {
            name: frequent_levels(counts.levels[name], fewest, parameters.max_levels)
            for name, source in self.sources.items()
            if source.type.encoding == "levels"
        }
        # Levels as text for names and categories; 1 and "1" need different names.
        self._texts = {
            name: unique_names(map(text_of, levels))
            for name, levels in self.levels.items()
        }
        has_moments = parameters.moments
        if has_moments == "auto":
            least = LEAST_SHARE_IN_MOMENTS * max(counts.n_events, 1)
            has_moments = counts.n_joined >= least
        self.sees_own = counts.n_rows_at_cutoff > 0
        self._choose(has_moments, parameters.max_features)

    @classmethod
    def learning(cls, log: RawLog, parameters: Any) -> Learning[Self]:
        """Choose the aggregates by the events that training rows see.

        The `log` has the clock, the fields and the kinds of training; its events are
        not used. Of the `parameters`, a HistoryAggregator, `lookbacks`, `half_lives`,
        `moments`, `max_levels`, `max_features` and `time_unit` are read.

        Yields passes over `SeenEvents`: one for counts, up to four for quantiles.
        `keep` then drops aggregates without values.
        """
        counts = yield Pass(EventCounts.of, EventCounts.merge)
        typical = yield from TypicalTimes.learning(counts.n_between, counts.n_rows)
        return cls(log, parameters, counts, typical)

    def _choose(self, has_moments: bool, most: int | None) -> None:
        """Choose the aggregates and name them."""
        # A sum of numbers of days after events would have no meaning.
        summed = [name for name, x in self.sources.items() if x.type.adds_up]
        every = all_features(
            [name for name in self.sources if name not in self.levels],
            self._texts,
            len(self.lookbacks),
            len(self.half_lives),
            self.sees_own,
            summed if has_moments else None,
        )
        self.features = first_of(every, most)
        texts = (
            [label_of(length) for length in self.lookbacks],
            [label_of(length) for length in self.half_lives],
            self._texts,
            "days" if label_of(self.unit) == "1D" else "periods",
        )
        # Names are made unique over all aggregates, so that a name does not depend on
        # which others are left out.
        unique = unique_names(feature.name(*texts) for feature in every)
        names = dict(zip(every, unique, strict=True))
        self.names = [names.pop(feature) for feature in self.features]
        self.left_out = list(names.values())

    def keep(self, kept: np.ndarray) -> None:
        """Keep some of the aggregates, given as a mask of shape (n_features,)."""
        self.left_out += compress(self.names, ~kept)
        self.features = list(compress(self.features, kept))
        self.names = list(compress(self.names, kept))

    def frame(self, rows: Rows, column: str) -> pd.DataFrame:
        """Compute the aggregates of rows, (n, n_features), in columns called `names`.

        The log of the rows has the fields of the training log; errors name the history
        `column`.
        """
        values, order = self._compute(rows, column)  # (n_features, n)
        place = inverse_permutation(order)
        # Reorder in place through one buffer; allocating a second table is slow.
        in_order = np.empty(len(order))
        for row in values:
            row[:] = np.take(row, place, out=in_order, mode="clip")
        categories = [x for x in self.features if x.is_category]
        n_numbers = len(self.features) - len(categories)
        names = self.names[:n_numbers]
        # One array of all numbers: pandas would copy separate columns into such a one.
        numbers = pd.DataFrame(values[:n_numbers].T, columns=names, copy=False)
        levels = map(self._levels_of, categories, values[n_numbers:])
        last = dict(zip(self.names[n_numbers:], levels, strict=True))
        return pd.concat([numbers, pd.DataFrame(last)], axis=1) if last else numbers

    def _compute(self, rows: Rows, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Compute all aggregates, portion by portion of the customers.

        Each aggregate is written from front to back. Scattering it to the order of the
        rows at once took an eighth more of the time.

        Returns the aggregates, (n_features, n), in the order of the portions, and the
        row of each, (n,), int64.
        """
        values = np.empty((len(self.features), len(rows.codes)))
        # Rows without events come first: counts are 0, everything else is missing.
        empty = np.flatnonzero(rows.stop == rows.start)
        has_history = rows.start[empty] != NO_ROW
        for feature, row in zip(self.features, values, strict=True):
            row[: len(empty)] = np.nan
            if feature.is_count:
                row[: len(empty)][has_history] = 0.0
        computation = _LogAggregates(self, rows, column)
        at, order = len(empty), [empty]
        for portion in portions(rows):
            after = at + len(portion.rows)
            computation.fill(values[:, at:after], portion)
            order.append(portion.rows)
            at = after
        return values, np.concatenate(order)

    def _levels_of(self, feature: Feature, places: np.ndarray) -> pd.Categorical:
        """Convert places among the frequent levels to a categorical; NaN is missing."""
        assert feature.field is not None
        codes = np.where(np.isnan(places), -1, places).astype("int64")
        levels = unique_names([*self._texts[feature.field], RARE])
        return pd.Categorical.from_codes(codes, pd.Index(levels, dtype=object))


def _lengths(given: Any, auto: list[Any], clock: Clock, name: str) -> list[Any]:
    """Return lengths in ascending order, each once."""
    if given is None:
        return []
    if isinstance(given, str):  # "auto"
        return auto
    by_ticks = {clock.duration(x, name, positive=True): x for x in given}
    return [by_ticks[ticks] for ticks in sorted(by_ticks)]


class _LogAggregates:
    """Computes the aggregates of the rows of one log.

    The log of the `rows` must have the fields of the training log. `column` is the name
    of the history column, for errors.
    """

    def __init__(self, learned: Aggregates, rows: Rows, column: str) -> None:
        log = rows.log
        assert isinstance(log, RawLog)
        clock = log.timeline.clock
        self._log, self._clock = log, clock
        self._lengths = Lengths(
            clock,
            clock.duration(learned.unit, "time_unit", positive=True),
            [clock.duration(x, "lookbacks") for x in learned.lookbacks],
            [clock.duration(x, "half_lives") for x in learned.half_lives],
        )
        self._learned, features = learned, learned.features
        self._has_moments = any(x.of_moments for x in features)
        self._summed = {
            x.field for x in features if x.of_moments and x.field is not None
        }
        decayed = {x.field for x in features if x.is_decayed}
        # The position of each among the decayed sums, after the count.
        self._decayed = [None, *(x for x in learned.sources if x in decayed)]
        self._has_decays = bool(decayed)
        wanted = {x.field for x in features}
        self._columns = {
            name: source.find(log, column, learned.levels.get(name))
            for name, source in learned.sources.items()
            if name in wanted
        }
        # For each categorical field, from the codes of this log to the frequent levels.
        self._tables = {
            name: places_among(self._columns[name].column, levels)
            for name, levels in learned.levels.items()
            if name in wanted
        }

    def fill(self, values: np.ndarray, portion: Portion) -> None:
        """Write the aggregates of the rows of a portion, shape (n_features, n)."""
        times = self._log.timeline.times[portion.events]
        events = EventNumbers(portion, times, self._lengths.unit)
        fields: dict[str | None, Any] = {
            name: self._values(name, portion, events) for name in self._columns
        }
        decayed = self._decay(portion, times, fields)
        sums: dict[str | None, NumericField] = {}
        if self._has_moments:
            moments = Moments(portion, times, self._lengths.unit)
            sums = {name: moments.sums(fields[name]) for name in self._summed}
        sees_own = self._learned.sees_own
        for some, rows in portion.in_blocks(_WIDTH):
            block = Block(rows, events, self._lengths, sees_own)
            if self._has_moments:
                views = moments.rows(rows)
                by_moment = Block(views, moments, self._lengths, sees_own)
            for feature, row in zip(self._learned.features, values, strict=True):
                if feature.is_decayed:
                    place = self._decayed.index(feature.field)
                    row[some] = decayed[some, feature.length, place]
                elif feature.of_moments is not None:
                    of_sums = sums.get(feature.field)
                    row[some] = by_moment.value(feature.of_moments, of_sums)
                else:
                    row[some] = block.value(feature, fields.get(feature.field))

    def _decay(
        self, portion: Portion, times: np.ndarray, fields: dict[str | None, Any]
    ) -> np.ndarray:
        """Return decayed counts and sums, shape (n, n_half_lives, 1 + n_fields).

        ``sum over events of x * 2 ** (-age / half_life)``, with x = 1 for counts.
        """
        if not self._has_decays:
            return np.empty((len(portion.rows), 0, 0))
        # (n_events, n_fields); a missing number adds nothing to a sum.
        values = np.empty((len(times), len(self._decayed) - 1))
        for i, name in enumerate(self._decayed[1:]):
            values[:, i] = np.nan_to_num(fields[name].values)
        half_lives = np.array(self._lengths.half_lives)
        return decayed_sums(portion, times, values, half_lives, any_size=True)

    def _values(
        self, name: str, portion: Portion, events: EventNumbers
    ) -> NumericField | CategoricalField:
        """Return a field at the events of a portion."""
        column = self._columns[name].take(portion.events)
        if name not in self._tables:
            numbers = column.as_numbers(events.times, self._clock)
            return NumericField(numbers, events.chunks)
        places = look_up(self._tables[name], column.values)
        n_frequent = len(self._learned.levels[name])
        return CategoricalField(
            column.values, places, n_frequent, events.chunks, events.offsets
        )
