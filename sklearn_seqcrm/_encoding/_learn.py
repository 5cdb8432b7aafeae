"""Learn how to encode events, from those that training rows can see."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Any, Literal, NamedTuple

import numpy as np

from sklearn_seqcrm._encoding._calendar import (
    LocalClock,
    TimeExtent,
    cycle_names,
    periods_of,
)
from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._event_encoder import EventEncoder
from sklearn_seqcrm._encoding._fields import FIELD_ENCODERS, FieldEncoder, Vocabulary
from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._encoding._level_vectors import LevelVectors
from sklearn_seqcrm._encoding._training import LevelCounts, Training, center_and_spread
from sklearn_seqcrm._encoding._viewed_log import view_encoded
from sklearn_seqcrm._encoding._visits import InterarrivalCounts, Visits
from sklearn_seqcrm._ragged import (
    LEAST_SHARE_IN_MOMENTS,
    Learning,
    Moments,
    Pass,
    add_all,
    in_step,
    is_run_start,
    learn_from,
    n_in_long_runs,
    selection,
)
from sklearn_seqcrm._store import Clock, FieldSchema, RawLog, Rows, unique_names

# In typical interarrival times, of visits if events come in visits: from the last event
# to most of the history, a factor of four apart.
AUTO_HALF_LIVES = (1.0, 4.0, 16.0, 64.0)
# Most levels of a field with a code of their own for ``max_categories="auto"``. In
# baskets, learned vectors of many levels overfit, as most have few customers: the
# validation loss rises from the second epoch on. There a field of more levels has
# `LevelVectors` in place of codes. See "Events of a moment" in docs/defaults_inputs.md.
_LEVELS, _LEVELS_OF_MOMENTS = 1000, 100
# Least scale of sines and cosines at the cutoffs. If all training cutoffs are on the
# first of January, these differ by leap days only, and a scale of that size would
# take the fifteenth for a value ten standard deviations away. 0.3 is that of cutoffs in
# two months of each year; over a whole cycle it is 0.7.
_LEAST_SPREAD = 0.3


class EncoderOptions(NamedTuple):
    """How events are encoded."""

    # Fewest training events of a level with a code of its own, absolute or as a share.
    min_frequency: float | None
    # Most levels of a field with a code of their own; None: any number. ``"auto"``:
    # 1,000 or, if steps are moments, 100. Then fields of more levels have vectors in
    # place of codes, if their levels stand in moments with others.
    max_categories: int | Literal["auto"] | None
    # "auto" or sequence of Timedelta, str or number: half-lives of the decayed row
    # features.
    half_lives: Any
    # Zone of the local time by which calendar cycles are computed; None: the time of
    # the log.
    time_zone: str | None = None
    # "auto", bool, Timedelta, str or number: which events are one step, see
    # `HistoryEncoder`.
    moments: Any = False
    # Whether every kind of events that `EventLog.concat` merged has a code of its own,
    # however rare it is.
    keep_kinds: bool = False


def learn(rows: Rows, options: EncoderOptions) -> tuple[EventEncoder, Rows]:
    """Learn an encoder, and encode the training rows by it.

    `rows` are views of a raw log; only events that at least one of them sees count.
    Everything is learned in blocks of events, in several passes, so that memory does
    not grow with the log.

    Returns the fitted encoder, and what `view_encoded` returns for `rows`: the scale of
    row features is learned from them, so that they need not be encoded again.
    """
    log = rows.log
    assert isinstance(log, RawLog)
    # Row features are scaled last: they are computed from encoded events.
    encoder = learn_from(learning_of_events(log, options), Training.of(rows))
    return _scale_rows(encoder, view_encoded(encoder, rows, "X"))


def learning_of_events(log: RawLog, options: EncoderOptions) -> Learning[EventEncoder]:
    """Learn an encoder of events; row features are not scaled.

    `log` has the clock, the fields and the kinds of all parts; its events are not used.
    Yields passes over a `Training`: one for counts, up to four for quantiles, one for
    the spread of interarrival times, and one for the vectors of levels.
    """
    clock, columns = log.timeline.clock, log.columns
    zone = options.time_zone
    local = None if zone is None else LocalClock.of(zone, clock)
    wanted = _period_of(options.moments, clock)
    found = yield from _first_passes(log, local)
    period = _automatic_period(*found.joined) if wanted is _AUTO else wanted
    most, vectors = options.max_categories, {}
    if most == "auto":
        most = _LEVELS if period is None else _LEVELS_OF_MOMENTS
        if period is not None:
            periods = partial(periods_of, period=period, local_clock=local)
            vectors = yield from _vectors_of_levels(found.levels, periods)
    fields = found.numbers | _vocabularies(found, vectors, most, log, options)
    fields = {name: fields[name] for name in columns}
    unit, scale = found.interarrival
    layout = replace(
        _describe(fields, {**fields, **vectors}, found.calendar, log.names),
        time_unit=unit,
        local_clock=local,
        moments=period,
        visits=found.visits,
    )
    layout = _with_half_lives(layout, options.half_lives, clock)
    n_features = len(layout.row_features)
    return EventEncoder(
        clock,
        {name: FieldSchema.of(column) for name, column in columns.items()},
        fields,
        layout,
        scale,
        np.array([np.zeros(n_features), np.ones(n_features)]),
        log.merged_from,
        vectors,
    )


class _FirstPasses(NamedTuple):
    """Results of the first passes over the events."""

    numbers: dict[str, Any]  # encoder of each field that has no levels
    levels: dict[str, LevelCounts]  # levels of each other field
    # Number of events at the time of another one of their customer, and of all.
    joined: tuple[int, int]
    interarrival: tuple[float, tuple[float, float]]  # what `interarrival_scale` returns
    calendar: tuple[tuple[str, float, int], ...]  # what `calendar_cycles` returns
    visits: Visits | None


def _first_passes(log: RawLog, local: LocalClock | None) -> Learning[_FirstPasses]:
    """Learn what does not depend on whether steps are moments."""
    clock = log.timeline.clock
    numbers, levels = {}, {}
    for name, column in log.columns.items():
        encoder = column.type.pick(FIELD_ENCODERS)
        if encoder is Vocabulary:
            count = partial(Training.count_levels, name=name)
            levels[name] = _one_pass(Pass(count, LevelCounts.merge))
        else:
            numbers[name] = encoder.learning(name, clock)
    found = yield from in_step(
        {
            "numbers": in_step(numbers),
            "levels": in_step(levels),
            "joined": _one_pass(Pass(count_joined, add_all)),
            "interarrival": interarrival_scale(clock),
            "calendar": calendar_cycles(clock, local),
            "visits": _visits(),
        }
    )
    return _FirstPasses(**found)


def _automatic_period(n_joined: int, n_events: int) -> float | None:
    """Return 0 if a good share of events stand with others, None otherwise."""
    enough = n_joined >= LEAST_SHARE_IN_MOMENTS * max(n_events, 1)
    return 0.0 if enough else None


def _vectors_of_levels(
    levels: Mapping[str, LevelCounts], periods: Any
) -> Learning[dict[str, LevelVectors]]:
    """Learn vectors of the fields with more levels than moments have codes for.

    `periods` returns the period of moments in which times are. Fields whose levels
    never stand with others have no vectors.
    """
    found = yield from in_step(
        {
            name: LevelVectors.learning(name, own, periods)
            for name, own in levels.items()
            if len(own.levels) > _LEVELS_OF_MOMENTS
        }
    )
    return {name: one for name, one in found.items() if one is not None}


def _vocabularies(
    found: _FirstPasses,
    vectors: Collection[str],
    most: int | None,
    log: RawLog,
    options: EncoderOptions,
) -> dict[str, Vocabulary]:
    """Choose the levels with codes, `most` of each field; none if it has vectors."""
    fewest = _fewest(options.min_frequency, found.joined[1])
    chosen = {}
    for name, levels in found.levels.items():
        rule = fewest, 0 if name in vectors else most
        if options.keep_kinds and name == log.kind_field:
            # A kind decides which fields an event has: rare kinds must not share one.
            rule = 0, None
        chosen[name] = Vocabulary.of(levels, *rule)
    return chosen


_AUTO = -1.0  # the period of moments is chosen by the events


def _one_pass(wanted: Pass) -> Learning[Any]:
    return (yield wanted)


def _visits() -> Learning[Visits | None]:
    counts = yield Pass(InterarrivalCounts.of, InterarrivalCounts.merge)
    return counts.visits()


def _period_of(moments: Any, clock: Clock) -> float | None:
    """Return the period of moments in ticks, see `Layout.moments`, or `_AUTO`."""
    if isinstance(moments, bool | np.bool_):
        return 0.0 if moments else None
    if isinstance(moments, str) and moments == "auto":
        return _AUTO
    if moments is None:
        raise ValueError(
            "moments must be 'auto', True, False or a length of time; got None. "
            "moments=False makes each event a step."
        )
    period = float(clock.duration(moments, "moments"))
    if not period:
        raise ValueError(
            f"The period of moments must be longer than 0; got {moments!r}. "
            "moments=True joins events at the same time."
        )
    return period


def learn_rows(
    encoder: EventEncoder, rows: Rows, column: str, half_lives: Any
) -> tuple[EventEncoder, Rows]:
    """Learn row features only; events are encoded as by an earlier encoder.

    It may have learned from many more events. `rows` are views of a raw log with the
    same fields; `column` and `half_lives` are as in `encode_rows` and `EncoderOptions`.

    Returns an encoder that agrees with the earlier one in ``layout.of_events``, and
    what `view_encoded` returns for `rows`.
    """
    encoder = with_half_lives(encoder, half_lives)
    return _scale_rows(encoder, view_encoded(encoder, rows, column))


def with_half_lives(encoder: EventEncoder, half_lives: Any) -> EventEncoder:
    """Return an encoder of the same events with other half-lives of row features."""
    layout = _with_half_lives(encoder.layout, half_lives, encoder.clock)
    return replace(encoder, layout=layout)


def _scale_rows(encoder: EventEncoder, encoded: Rows) -> tuple[EventEncoder, Rows]:
    """Complete an encoder by the scale of the row features."""
    log = encoded.log
    assert isinstance(log, EncodedLog)
    encoder = with_row_scale(encoder, moments_of_rows(encoded))
    log = log.with_layout(encoder.layout, encoder.row_scale)
    return encoder, encoded._replace(log=log)


def moments_of_rows(encoded: Rows) -> Moments:
    """Return the moments of the row features of encoded rows."""
    log = encoded.log
    assert isinstance(log, EncodedLog)
    blocks = list(log.raw_row_features(encoded))
    return Moments.of(lambda: blocks)


def with_row_scale(encoder: EventEncoder, moments: Moments) -> EventEncoder:
    """Return an encoder with the scale of row features, and its digests."""
    center, spread = center_and_spread(moments)
    n_waves = len(cycle_names(encoder.layout.calendar))
    is_wave = np.arange(len(spread)) >= len(spread) - n_waves
    spread = np.where(is_wave, spread.clip(_LEAST_SPREAD), spread)
    return replace(encoder, row_scale=np.array([center, spread])).with_digests()


def _fewest(min_frequency: float | None, n_events: int) -> float:
    """Return the fewest events of a level with a code of its own."""
    least = min_frequency or 0
    return least if isinstance(least, Integral) else least * n_events


def _describe(
    fields: Mapping[str, FieldEncoder],
    with_vectors: Mapping[str, FieldEncoder],
    calendar: tuple[tuple[str, float, int], ...],
    names: tuple[str, str],
) -> Layout:
    """Make the layout: names of channels and codes; units of time are added later.

    `with_vectors` has the encoders of vectors, those of levels included.
    """
    coded = {name: one.n_codes for name, one in fields.items() if one.n_codes}
    sizes = {name: one.n_components for name, one in with_vectors.items()}
    vectors = {name: size for name, size in sizes.items() if size}
    facts = [name for name in fields if name not in coded and name not in vectors]
    marked = [name for name, one in fields.items() if one.some_missing]
    marks = [f"{name}_missing" for name in marked]
    components = [f"{n}_{i}" for n, size in vectors.items() for i in range(size)]
    made = [*marks, *components, "interarrival_time", *cycle_names(calendar)]
    # The log has a column of each field; other channels must not be called like one.
    made = unique_names(made, [*names, *fields])
    return Layout(
        channels=(*facts, *made),
        n_decayed=len(facts),
        codes=tuple(coded),
        n_levels=tuple(coded.values()),
        time_unit=1.0,
        half_lives=(),
        calendar=calendar,
        origins=tuple(fields[name].origin for name in facts),
        marked=tuple(marked),
        vectors=tuple(vectors.items()),
    )


def _with_half_lives(layout: Layout, half_lives: Any, clock: Clock) -> Layout:
    """Return a layout with these half-lives, see `EncoderOptions`."""
    if isinstance(half_lives, str):
        visits = layout.counted_visits
        unit = layout.time_unit if visits is None else visits.between
        chosen = tuple(unit * multiple for multiple in AUTO_HALF_LIVES)
        return replace(layout, half_lives=chosen)
    ticks = tuple(clock.duration(one, "half_lives") for one in half_lives)
    if not ticks or not all(ticks):
        raise ValueError(
            f"half_lives must be positive, and one at least; got {half_lives!r}."
        )
    return replace(layout, half_lives=ticks)


# Times --------------------------------------------------------------------------------


def count_joined(training: Training) -> tuple[int, int]:
    """Count the events at the time of another one of their customer, and all."""
    n_joined = n_events = 0
    for index, first in training.blocks():
        n_joined += n_in_long_runs(is_run_start(training.times[index], first))
        n_events += len(index)
    return n_joined, n_events


def interarrival_scale(
    clock: Clock,
) -> Learning[tuple[float, tuple[float, float]]]:
    """Learn the typical interarrival time, and center and scale of logarithms in it.

    The typical one is the median, in ticks; a day or one tick if there is none. It is
    found by ranks, in several passes, as the training events may not fit into memory.
    """
    n_times = yield Pass(_count_interarrival, operator.add)
    unit = float(clock.ticks_per_day() or 1.0)
    if n_times:
        middle = [(n_times - 1) // 2, n_times // 2]
        found = yield from selection(Training.interarrival_times, n_times, middle)
        unit = float(found.mean())
    # Of events in a strict rhythm the scale is that of rounding errors; then it is 1.
    moments = yield Pass(partial(_log_interarrival, unit), Moments.merge)
    [center], [scale] = center_and_spread(moments)
    return unit, (float(center), float(scale))


def _count_interarrival(training: Training) -> int:
    return sum(len(some) for some in training.interarrival_times())


def _log_interarrival(unit: float, training: Training) -> Moments:
    def logs() -> Iterator[np.ndarray]:
        for some in training.interarrival_times():
            yield np.log1p(some / unit)[:, None]

    return Moments.of(logs)


def calendar_cycles(
    clock: Clock, local: LocalClock | None
) -> Learning[tuple[tuple[str, float, int], ...]]:
    """Learn which calendar cycles the times support."""
    day = clock.ticks_per_day()
    if day is None:
        return ()
    extent = yield Pass(partial(_time_extent, local), _joint_extent)
    return () if extent is None else extent.cycles(day)


def _time_extent(local: LocalClock | None, training: Training) -> TimeExtent | None:
    def times() -> Iterator[np.ndarray]:
        for index, _ in training.blocks():
            some = training.times[index]
            yield some if local is None else local.local(some)

    return TimeExtent.of(training.clock, times)


def _joint_extent(one: TimeExtent | None, other: TimeExtent | None) -> Any:
    if one is None or other is None:
        return one or other
    return one.merge(other)
