"""Learn encoders, fields and the resolution of times from training rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.compose import ColumnTransformer

from sklearn_seqcrm._columns import ColumnRoles, Table, static_parts
from sklearn_seqcrm._encoding import (
    FIRST_LEVEL,
    SHARE_WITHOUT_OUTLIERS,
    EncoderOptions,
    EventEncoder,
    Vocabulary,
    learn,
)
from sklearn_seqcrm._ragged import is_run_start, ranges, segment_numbers, visible_runs
from sklearn_seqcrm._store import RawLog, Rows
from sklearn_seqcrm.event_model._busiest_windows import BusiestWindows
from sklearn_seqcrm.event_model._event_rate import RatePrior
from sklearn_seqcrm.event_model._fields import TrainingEvents
from sklearn_seqcrm.event_model._interarrival import TIE, InterarrivalGrid
from sklearn_seqcrm.event_model._learned import (
    LearnedEvents,
    are_truncated,
    interarrival_times,
)
from sklearn_seqcrm.event_model._levels import LevelField
from sklearn_seqcrm.event_model._line_order import is_order_random
from sklearn_seqcrm.event_model._number_codes import NO_LEVEL
from sklearn_seqcrm.event_model._numbers import NumberField
from sklearn_seqcrm.event_model._operational_time import OperationalTime
from sklearn_seqcrm.event_model._yearly_season import yearly_season


def learn_events(
    table: Table, roles: ColumnRoles, rows: Rows, estimator: Any
) -> LearnedEvents:
    """Learn from all training rows, by the parameters of the estimator.

    `rows` are views of their events, each with one event at least, each event in one
    view.
    """
    # The numbers are internal: the user's choice of an output table does not apply.
    statics = ColumnTransformer(static_parts()).set_output(transform="default")
    statics.fit(table.frame)
    raw = rows.log
    assert isinstance(raw, RawLog)
    _refuse_vectors(raw)
    # keep_kinds: each kind of event has its own code, however rare, because the kind
    # decides which fields an event has.
    options = EncoderOptions(
        estimator.min_frequency,
        estimator.max_categories,
        half_lives="auto",
        moments=estimator.moments,
        keep_kinds=True,
    )
    encoder, encoded = learn(rows, options)
    index, offsets = ranges(rows.start, rows.stop)
    own, _ = ranges(encoded.start, encoded.stop)
    times = encoded.log.timeline.times[own]
    grid, moment = _learn_grid(
        times, offsets, encoded.cutoff, are_truncated(rows), encoder, estimator
    )
    row = segment_numbers(offsets)
    events = TrainingEvents(times, moment, rows.codes[row].astype("int64"), row)
    fields, applies = _learn_fields(raw, encoder, index, events, estimator)
    shuffles_lines = encoder.layout.moments is not None and is_order_random(
        _values_of_lines(raw, fields, index), moment
    )
    return LearnedEvents(
        roles=roles,
        statics=statics,
        encoder=encoder,
        grid=grid,
        fields=fields,
        applies=applies,
        most_events=BusiestWindows.of(times, offsets, encoded.cutoff),
        names=raw.names,
        shuffles_lines=shuffles_lines,
    )


def _learn_grid(
    times: np.ndarray,
    offsets: np.ndarray,
    cutoff: np.ndarray,
    is_truncated: np.ndarray,
    encoder: EventEncoder,
    estimator: Any,
) -> tuple[InterarrivalGrid, np.ndarray]:
    """Return the grid of interarrival times, and `TrainingEvents.moment` by it.

    Row ``i`` has the events ``offsets[i]:offsets[i + 1]`` and the cutoff ``cutoff[i]``;
    ``is_truncated[i]`` says whether a lookback hides earlier ones.
    """
    interarrival = interarrival_times(times, offsets)
    is_first = np.zeros(len(times), dtype=bool)
    is_first[offsets[:-1]] = True
    last = times[offsets[1:] - 1]
    is_new = is_first | (interarrival > 0)
    season = yearly_season(
        times[is_new],
        np.concatenate([[0], np.cumsum(is_new)])[offsets],
        cutoff,
        encoder.clock,
        estimator.yearly_seasonality,
    )
    unit = encoder.layout.time_unit
    of_rows = np.maximum.reduceat(interarrival, offsets[:-1])
    longest = np.quantile(of_rows, SHARE_WITHOUT_OUTLIERS, method="lower")
    prior, visits = RatePrior(), encoder.layout.visits
    if visits is not None and longest > visits.pause:
        without_outliers = np.minimum(interarrival, longest)
        prior = RatePrior.of_visits(without_outliers, visits.pause, unit)
    grid = InterarrivalGrid.of(
        interarrival[~is_first],
        (times - interarrival)[~is_first],
        cutoff - last,
        last,
        unit,
        estimator.n_components,
        OperationalTime.of(times[interarrival > 0], encoder.clock, season),
        longest=longest if prior.pause else None,
    )
    cells = torch.from_numpy(grid.cells(interarrival, times - interarrival))
    is_repeat = prior.is_repeat(grid.lengths(cells)).numpy()
    n_repeats = np.diff(np.concatenate([[0], np.cumsum(is_repeat)])[offsets])
    first = times[offsets[:-1]]
    prior = prior.estimated(first, cutoff, n_repeats, is_truncated, unit)
    is_tie = cells[:, 1].numpy() == TIE
    return grid._replace(rate_prior=prior), np.cumsum(is_first | ~is_tie)


def _learn_fields(
    raw: RawLog,
    encoder: EventEncoder,
    index: np.ndarray,
    events: TrainingEvents,
    estimator: Any,
) -> tuple[dict[str, LevelField | NumberField], np.ndarray | None]:
    """Return `LearnedEvents.fields`, learned from the events that have each field.

    The second result is `LearnedEvents.applies`. `index`, of shape (n,), are the
    positions of the events in the raw log.
    """
    n_components, copies = estimator.n_components, estimator.copies
    names = sorted(encoder.fields, key=lambda name: name != raw.kind_field)
    applies, has_field = None, np.ones((len(index), len(names)), dtype=bool)
    if raw.kind_field is not None:
        kinds = encoder.fields[raw.kind_field]
        assert isinstance(kinds, Vocabulary)
        # With keep_kinds, each level has its own code.
        applies = np.ones((kinds.n_codes, len(names)), dtype=bool)
        for code, level in enumerate(kinds.levels, start=FIRST_LEVEL):
            own = {raw.kind_field, *raw.kinds.get(level, names)}
            applies[code] = [name in own for name in names]
        column = raw.columns[raw.kind_field].take(index)
        has_field = applies[kinds.encode(column, events.times)[0]]
    fields: dict[str, LevelField | NumberField] = {}
    for name, some in zip(names, has_field.T, strict=True):
        column = raw.columns[name].take(index[some])
        own_events = TrainingEvents(*(part[some] for part in events))
        one: Any = encoder.fields[name]
        if isinstance(one, Vocabulary):
            fields[name] = LevelField.learn(one, column, own_events, n_components)
        else:
            number = NumberField.learn(one, column, own_events, n_components)
            number.refuse_huge(column, own_events.times, name)
            if copies:
                levels = _levels(raw, fields, index[some])
                bases = _units(raw, fields, index[some])
                number = number.with_sources(column, own_events, levels, bases)
            fields[name] = number
    return fields, applies


def _levels(
    raw: RawLog, fields: dict[str, LevelField | NumberField], index: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the level of each of some events in categorical fields, -1 for none."""
    found = {}
    for name, field in fields.items():
        if isinstance(field, LevelField):
            level = field.level_numbers(raw.columns[name].take(index))
            found[name] = (level.astype("int64") - FIRST_LEVEL).clip(NO_LEVEL)
    return found


def _units(
    raw: RawLog, fields: dict[str, LevelField | NumberField], index: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the numbers of some events in numeric fields, in units."""
    times = raw.timeline.times[index]
    return {
        name: field.units(raw.columns[name].take(index), times)
        for name, field in fields.items()
        if isinstance(field, NumberField)
    }


def _refuse_vectors(log: RawLog) -> None:
    """Raise a ValueError for fields that have no density: vectors."""
    types = {name: column.type for name, column in log.columns.items()}
    vectors = [name for name, one in types.items() if one.encoding == "vectors"]
    if vectors:
        others = [name for name in log.fields if name not in vectors]
        raise ValueError(
            f"The events have vectors in {vectors}, and this model predicts the next "
            "event, which may have numbers, dates and levels alone. Build the log "
            f"without vectors, EventLog(..., fields={others}), or with levels, such as "
            "the number of the cluster that each vector is in."
        )


def _values_of_lines(
    raw: RawLog, names: Iterable[str], index: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield codes of levels, or numbers, of the events `index` for each field."""
    times, clock = raw.timeline.times[index], raw.timeline.clock
    for name in names:
        column = raw.columns[name].take(index)
        if column.categories is None:
            yield column.as_numbers(times, clock)
        else:
            yield column.values


def join_views(rows: Rows) -> tuple[Rows, np.ndarray]:
    """Join overlapping and adjacent views, so that each event is in one view.

    Views of the rows of a customer::

        row 1     [--------)
        row 2     [------------)          overlaps row 1
        row 3                  [----)     starts where row 2 stops
        row 4                         [--)    a lookback hides earlier events
        joined    [-----------------) [--)

    Returns a row for each stretch of `visible_runs`, whose cutoff is the latest of its
    rows, and the position of the row with the earliest cutoff in each, int64. The
    statics of the joined row come from that one, so that they cannot leak later values.
    """
    start, stop = visible_runs(rows)
    filled = np.flatnonzero(rows.stop > rows.start)
    run = np.searchsorted(start, rows.start[filled], side="right") - 1
    order = np.lexsort((rows.start[filled], rows.cutoff[filled], run))
    by_cutoff, run = filled[order], run[order]
    begins = is_run_start(run)
    first, latest = by_cutoff[begins], by_cutoff[np.append(begins, True)[1:]]
    joined = Rows(rows.log, rows.codes[first], start, stop, rows.cutoff[latest])
    return joined, first
