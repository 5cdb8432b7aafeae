"""Learn how to encode events, from those that training rows can see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Any, Literal

import numpy as np

from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._event_encoder import EventEncoder, view_encoded
from sklearn_seqcrm._encoding._fields import (
    FIELD_ENCODERS,
    FieldEncoder,
    Training,
    Vocabulary,
)
from sklearn_seqcrm._encoding._layout import (
    Layout,
    LocalClock,
    cycle_names,
    periods_of,
    supported_cycles,
)
from sklearn_seqcrm._encoding._level_vectors import LevelVectors
from sklearn_seqcrm._ragged import (
    LEAST_SHARE_IN_MOMENTS,
    RepeatableBlocks,
    is_run_start,
    n_in_long_runs,
    order_statistics,
    visible_runs,
)
from sklearn_seqcrm._store import Clock, FieldSchema, Kinds, RawLog, Rows, unique_names

# In typical interarrival times: from the last event to most of the history, a factor of
# four apart.
AUTO_HALF_LIVES = (1.0, 4.0, 16.0, 64.0)
# Most levels of a field with a code of their own for ``max_categories="auto"``. In
# baskets, learned vectors of many levels overfit, as most have few customers: the
# validation loss rises from the second epoch on. There a field of more levels has
# `LevelVectors` in place of codes. See "Events of a moment" in docs/defaults.md.
_LEVELS, _LEVELS_OF_MOMENTS = 1000, 100


def learn(
    rows: Rows,
    min_frequency: float | None,
    max_categories: int | Literal["auto"] | None,
    half_lives: Any,
    time_zone: str | None = None,
    moments: Any = False,
    keep_kinds: bool = False,
) -> tuple[EventEncoder, Rows]:
    """Learn an encoder, and encode the training rows by it.

    Parameters
    ----------
    rows : Rows
        Training rows, views of a raw log. Only events that at least one of them sees
        count.
    min_frequency : int, float or None
        Fewest training events of a level with a code of its own, absolute or as a
        share.
    max_categories : int, "auto" or None
        Most levels of a field with a code of their own; None: any number. ``"auto"``:
        1,000 or, if steps are moments, 100. Then fields of more levels have vectors in
        place of codes, if their levels stand in moments with others.
    half_lives : "auto" or sequence of Timedelta, str or number
        Half-lives of the decayed row features.
    time_zone : str or None, default=None
        Zone of the local time by which calendar cycles are computed; None: the time of
        the log.
    moments : "auto", bool, Timedelta, str or number, default=False
        Which events are one step, see `HistoryEncoder`.
    keep_kinds : bool, default=False
        Whether every kind of events that `EventLog.concat` merged has a code of its
        own, however rare it is.

    Returns
    -------
    encoder : EventEncoder
        The fitted encoder: scales, levels, units of time and the layout.
    encoded : Rows
        What `view_encoded` returns for `rows`. The scale of row features is learned
        from them, so that they need not be encoded again.

    Notes
    -----
    Everything is learned in blocks of events, in several passes, so that memory does
    not grow with the log.
    """
    log, runs = rows.log, visible_runs(rows)
    assert isinstance(log, RawLog)
    clock, n_events = log.timeline.clock, int((runs[1] - runs[0]).sum())
    fewest = _fewest(min_frequency, n_events)
    training = Training(log.timeline.times, clock, fewest, None, runs)
    period = _period_of_moments(moments, training)
    local = None if time_zone is None else LocalClock.of(time_zone, clock)
    level_vectors: dict[str, LevelVectors] = {}
    if max_categories == "auto" and period is not None:
        periods = partial(periods_of, period=period, local_clock=local)
        level_vectors = _learn_vectors(log, training, periods)
    if max_categories == "auto":
        max_categories = _LEVELS if period is None else _LEVELS_OF_MOMENTS
    training = training._replace(max_levels=max_categories)
    rules = {name: training._replace(max_levels=0) for name in level_vectors}
    if keep_kinds and log.kind_field:
        # A kind decides which fields an event has: rare kinds must not share a code.
        rules[log.kind_field] = training._replace(min_events=0, max_levels=None)
    fields = {
        name: column.type.pick(FIELD_ENCODERS).learn(column, rules.get(name, training))
        for name, column in log.columns.items()
    }
    unit, interarrival_scale = _interarrival_scale(training)
    # Row features are scaled last: they are computed from encoded events.
    vectors = {**fields, **level_vectors}
    layout = _describe(fields, vectors, training, unit, half_lives, local, log.names)
    layout = replace(layout, moments=period)
    n_features = len(layout.row_features)
    encoder = EventEncoder(
        clock,
        {name: FieldSchema.of(column) for name, column in log.columns.items()},
        fields,
        layout,
        interarrival_scale,
        np.array([np.zeros(n_features), np.ones(n_features)]),
        Kinds.of(log.kind_field, log.kinds) if log.kind_field else None,
        level_vectors,
    )
    return _scale_rows(encoder, view_encoded(encoder, rows, "X"))


def _learn_vectors(
    log: RawLog, training: Training, periods: Callable[[np.ndarray], np.ndarray]
) -> dict[str, LevelVectors]:
    """Return the vectors of levels by field, of the fields that have them."""
    found = {}
    for name, column in log.columns.items():
        if column.type.pick(FIELD_ENCODERS) is Vocabulary:
            vectors = LevelVectors.learn(column, training, periods, _LEVELS_OF_MOMENTS)
            if vectors is not None:
                found[name] = vectors
    return found


def _period_of_moments(moments: Any, training: Training) -> float | None:
    """Return the period of moments in ticks, see `Layout.moments`."""
    if isinstance(moments, bool | np.bool_):
        return 0.0 if moments else None
    if not (isinstance(moments, str) and moments == "auto"):
        period = float(training.clock.duration(moments, "moments"))
        if not period:
            raise ValueError(
                f"The period of moments must be longer than 0; got {moments!r}. "
                "moments=True joins events at the same time."
            )
        return period
    n_events = n_joined = 0
    for index, first in training.blocks():
        n_joined += n_in_long_runs(is_run_start(training.times[index], first))
        n_events += len(index)
    return 0.0 if n_joined >= LEAST_SHARE_IN_MOMENTS * max(n_events, 1) else None


def _interarrival_scale(training: Training) -> tuple[float, tuple[float, float]]:
    """Return the typical interarrival time, and center and scale of logarithms in it.

    The typical one is the median, in ticks; a day or one tick if there is none. It is
    found by ranks, in several passes, as the training events may not fit into memory.
    """
    times = RepeatableBlocks(training.interarrival_times)
    n_times = sum(len(some) for some in times)
    unit = float(training.clock.ticks_per_day() or 1.0)
    if n_times:
        unit = float(
            order_statistics(times, n_times, [(n_times - 1) // 2, n_times // 2]).mean()
        )
    # Of events in a strict rhythm the scale is that of rounding errors; then it is 1.
    [center], [scale] = center_and_spread(
        RepeatableBlocks(lambda: (np.log1p(some / unit)[:, None] for some in times))
    )
    return unit, (float(center), float(scale))


def learn_rows(
    encoder: EventEncoder, rows: Rows, column: str, half_lives: Any
) -> tuple[EventEncoder, Rows]:
    """Learn row features only; events are encoded as by an earlier encoder.

    Parameters
    ----------
    encoder : EventEncoder
        The earlier encoder, perhaps of many more events.
    rows : Rows
        Training rows, views of a raw log with the same fields.
    column : str
        Name of the history column, for errors.
    half_lives : "auto" or sequence of Timedelta, str or number
        Half-lives of the decayed row features.

    Returns
    -------
    encoder : EventEncoder
        Agrees with the earlier one in ``layout.of_events``.
    encoded : Rows
        What `view_encoded` returns for `rows`.
    """
    unit = encoder.layout.time_unit
    chosen = _half_lives(half_lives, encoder.clock, unit)
    layout = replace(encoder.layout, half_lives=chosen)
    encoder = replace(encoder, layout=layout)
    return _scale_rows(encoder, view_encoded(encoder, rows, column))


def _scale_rows(encoder: EventEncoder, encoded: Rows) -> tuple[EventEncoder, Rows]:
    """Complete an encoder by the scale of the row features."""
    log = encoded.log
    assert isinstance(log, EncodedLog)
    row_scale = center_and_spread(list(log.raw_row_features(encoded)))
    encoder = replace(encoder, row_scale=row_scale).with_digests()
    return encoder, encoded._replace(log=log.with_layout(encoder.layout, row_scale))


def _fewest(min_frequency: float | None, n_events: int) -> float:
    """Return the fewest events of a level with a code of its own."""
    least = min_frequency or 0
    return least if isinstance(least, Integral) else least * n_events


def _describe(
    fields: Mapping[str, FieldEncoder],
    with_vectors: Mapping[str, FieldEncoder],
    training: Training,
    unit: float,
    half_lives: Any,
    local: LocalClock | None,
    names: tuple[str, str],
) -> Layout:
    """Make the layout: names of channels and codes, and units of time.

    `with_vectors` has the encoders of vectors, those of levels included.
    """
    coded = {name: one.n_codes for name, one in fields.items() if one.n_codes}
    sizes = {name: one.n_components for name, one in with_vectors.items()}
    vectors = {name: size for name, size in sizes.items() if size}
    facts = [name for name in fields if name not in coded and name not in vectors]
    marked = [name for name, one in fields.items() if one.some_missing]
    marks = [f"{name}_missing" for name in marked]
    components = [f"{n}_{i}" for n, size in vectors.items() for i in range(size)]
    times = RepeatableBlocks(training.times_in_blocks)
    if local is not None:
        times = RepeatableBlocks(lambda: map(local.local, training.times_in_blocks()))
    calendar = supported_cycles(training.clock, times)
    made = [*marks, *components, "time_gap", *cycle_names(calendar)]
    # The log has a column of each field; other channels must not be called like one.
    made = unique_names(made, [*names, *fields])
    return Layout(
        channels=(*facts, *made),
        n_decayed=len(facts),
        codes=tuple(coded),
        n_levels=tuple(coded.values()),
        time_unit=unit,
        half_lives=_half_lives(half_lives, training.clock, unit),
        calendar=calendar,
        local_clock=local,
        origins=tuple(fields[name].origin for name in facts),
        marked=tuple(marked),
        vectors=tuple(vectors.items()),
    )


def _half_lives(half_lives: Any, clock: Clock, unit: float) -> tuple[float, ...]:
    """Return the half-lives in ticks."""
    if isinstance(half_lives, str):
        return tuple(unit * multiple for multiple in AUTO_HALF_LIVES)
    ticks = tuple(clock.duration(one, "half_lives") for one in half_lives)
    if not ticks or not all(ticks):
        raise ValueError(
            f"half_lives must be positive, and one at least; got {half_lives!r}."
        )
    return ticks


def center_and_spread(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Return mean and standard deviation of finite numbers, shape (2, n_columns).

    Without any number, the mean is 0 and the deviation 1. A deviation that is only
    rounding becomes 1.

    Parameters
    ----------
    blocks : iterable of ndarray of shape (n, n_columns)
        At least one block; iterated twice.
    """
    n_known = total = squares = np.zeros(1)
    for block in blocks:
        n_known = n_known + np.isfinite(block).sum(axis=0)
        total = total + np.nansum(block, axis=0)
    n_known = n_known.clip(1)
    center = total / n_known
    # A second pass about the mean: sums of squares alone would cancel in large numbers.
    for block in blocks:
        squares = squares + np.nansum((block - center) ** 2, axis=0)
    spread = np.sqrt(squares / n_known)
    return np.array([center, np.where(spread > 1e-6, spread, 1.0)])
