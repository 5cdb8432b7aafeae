"""HTML of histories: a table with a small timeline in each row, or one large one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import NO_ROW
from sklearn_seqcrm._store import Rows
from sklearn_seqcrm.events._html._drawing import (
    ACCENT,
    bar_numbers,
    bars,
    container,
    count_text,
    escaped,
    events_text,
    line,
    places,
    rule,
    svg,
    table,
    text_at,
    time_text,
)

_ROW_WIDTH, _ROW_HEIGHT, _ROW_BARS = 360, 20, 90  # of each timeline, in pixels
_MOST_ROWS = 10


def histories_html(rows: Rows) -> str:
    """Return raw or encoded histories as HTML of bounded size, with visible events."""
    n = len(rows.codes)
    lengths = rows.stop - rows.start
    head = (
        f"<b>HistoryArray</b>: {count_text(n, 'row')}, "
        f"{count_text(int(lengths.sum()), 'visible event')}"
    )
    shown = rows.take(slice(_MOST_ROWS))
    there = np.flatnonzero(shown.start != NO_ROW)
    if not len(there):
        return container(line(head))
    # All rows share one time axis.
    filled = there[shown.stop[there] > shown.start[there]]
    times = rows.log.timeline.times
    begins = [*times[shown.start[filled]], *shown.cutoff[there]]
    ends = min(begins), max(shown.cutoff[there])
    cells = [_row(shown, i, ends) for i in range(len(shown.codes))]
    hidden = n - len(cells)
    more = line(f"and {count_text(hidden, 'more row')}") if hidden else ""
    names = [rows.log.names[0], "events", "time, up to the cutoff", "cutoff"]
    return container(line(head), table(names, cells), more)


def _row(rows: Rows, i: int, ends: tuple[Any, Any]) -> list[str]:
    """Return the cells of a row."""
    log, code, start, stop, cutoff = rows.take(i)
    # A missing history, as `pandas` has missing values; not an empty one.
    if start == NO_ROW:
        return ["", "missing", "", ""]
    clock = log.timeline.clock
    when = escaped(time_text(clock.as_scalar(cutoff), *map(clock.as_scalar, ends)))
    customer = escaped(log.customers[code]) if code >= 0 else "unknown to the log"
    x = places(log.timeline.times[start:stop], *ends)
    counts = np.bincount(bar_numbers(x, _ROW_BARS), minlength=_ROW_BARS)
    here = 4 + (_ROW_WIDTH - 8) * places(np.array([cutoff]), *ends)[0]
    # Square roots, so that one event is visible beside a hundred.
    heights = np.sqrt(counts / counts.max(initial=1))
    n_events = count_text(int(stop - start), "event")
    parts = [
        rule(4, _ROW_HEIGHT - 2, here, _ROW_HEIGHT - 2),
        bars(heights, 4, _ROW_HEIGHT - 2, _ROW_WIDTH - 8, _ROW_HEIGHT - 5, gap=0.5),
        rule(here, 1, here, _ROW_HEIGHT - 1, width=2),
    ]
    label = f"{n_events} up to the cutoff {when}"
    image = svg(_ROW_WIDTH, _ROW_HEIGHT, label, parts)
    return [customer, f"{stop - start:,}", image, when]


# One history --------------------------------------------------------------------------

_WIDTH, _LANE, _MARGIN, _LABELS = 640, 22, 14, 112  # pixels
# Dots of more events would hide one another; bars count them instead.
_MOST_DOTS = 120
_N_BARS = 128
_MOST_LANES = 6
_MOST_EVENTS, _MOST_FIELDS, _FIELDS_OF_A_DOT = 6, 10, 4


class HistoryContent(NamedTuple):
    """Content of one history."""

    customer: Any  # id of the customer; None if the log does not have it
    cutoff: Any  # Timestamp, int or float
    times: pd.Index  # (n_events,)
    fields: pd.DataFrame  # (n_events, n_fields)
    # (n_events,): positions of the times between the first one, 0, and the cutoff, 1.
    places: np.ndarray
    kind_field: str | None  # field with the kinds of events, if the log has kinds

    def time_text(self, time: Any) -> str:
        """Return a time as text, with a precision that fits the span of the events."""
        return time_text(time, self.times[0] if len(self.times) else time, self.cutoff)


class Lanes(NamedTuple):
    """Events grouped into lanes, one for each level of a field."""

    names: list[str]  # one empty name if no field groups the events
    of_event: np.ndarray  # (n_events,), int64: lane of each event


def history_html(shown: HistoryContent) -> str:
    """Return a history as HTML: dates, a timeline, and a table of the last events.

    Its size is bounded for any number of events and fields.
    """
    customer = escaped(shown.customer)
    who = f"<b>{customer}</b>, " if customer else "unknown customer, "
    cutoff, n_events = escaped(shown.time_text(shown.cutoff)), len(shown.times)
    if not n_events:
        return container(line(f"{who}no events before {cutoff}"))
    first, last = (escaped(shown.time_text(shown.times[i])) for i in (0, -1))
    when = f"from {first} to {last}" if n_events > 1 else f"on {first}"
    number = events_text(n_events, shown.times.nunique())
    head = f"{number} {when}, cutoff {cutoff}"
    return container(line(who + head), _timeline(shown, head), _last_events(shown))


def _timeline(shown: HistoryContent, head: str) -> str:
    """Return an image of events from the first one to the cutoff, in lanes."""
    lane_field = _lane_field(shown)
    lanes = _lanes(shown.fields, lane_field)
    #   0   left                         right _WIDTH
    #   order |--o---o-----O--------o------||        one lane for each level
    #  return |------o---------------------||        || is the cutoff
    #         2024-01-05      cutoff 2024-06-01      at `bottom` + 14
    left = _MARGIN if lane_field is None else _LABELS
    right, bottom = _WIDTH - _MARGIN, _LANE * len(lanes.names) + 8
    parts = []
    for i, name in enumerate(lanes.names):
        parts.append(rule(left, _middle(i), right, _middle(i)))
        if lane_field is not None:
            parts.append(text_at(left - 12, _middle(i) + 4, name, "end", 16))
    if len(shown.times) <= _MOST_DOTS:
        size_field = _size_field(shown.fields)
        parts += _dots(shown, lanes, left + (right - left) * shown.places, size_field)
        how = "" if size_field is None else f", with areas by {size_field}"
    else:
        parts += _counts(lanes, shown.places, left, right - left)
        how = f", counted in {_N_BARS} spans of equal length"
    parts += [
        rule(right, 0, right, bottom, width=2),
        text_at(left, bottom + 14, shown.time_text(shown.times[0])),
        text_at(
            _WIDTH - 2, bottom + 14, f"cutoff {shown.time_text(shown.cutoff)}", "end"
        ),
    ]
    by = "" if lane_field is None else f" by {lane_field}"
    label = f"Timeline{by}{how}"
    return (
        svg(_WIDTH, bottom + 20, f"{label}: {head}", parts)
        + f"<div><small>{escaped(label, 100)}</small></div>"
    )


def _middle(lane: int) -> float:
    return _LANE * (lane + 0.5) + 4


def _lane_field(shown: HistoryContent) -> Any:
    """Return the field whose levels have a lane each; None if none has few levels."""
    if shown.kind_field is not None:
        return shown.kind_field
    for name, column in shown.fields.items():
        dtype: Any = column.dtype
        has_levels = isinstance(dtype, pd.CategoricalDtype)
        if has_levels and 1 <= len(dtype.categories) <= _MOST_LANES:
            return name
    return None


def _lanes(fields: pd.DataFrame, lane_field: Any) -> Lanes:
    """Group events into lanes, frequent levels first; rare ones share the last."""
    if lane_field is None:
        return Lanes([""], np.zeros(len(fields), dtype="int64"))
    levels = fields[lane_field].astype(object)
    levels = levels.where(levels.notna(), "(missing)").map(str)
    counts = levels.value_counts(sort=False)
    # Stable, so that equally frequent levels keep their order.
    names = counts.sort_values(ascending=False, kind="stable").index.tolist()
    if len(names) > _MOST_LANES:
        names = [*names[: _MOST_LANES - 1], f"{len(names) - _MOST_LANES + 1} others"]
    place = pd.Index(names).get_indexer(pd.Index(levels))
    return Lanes(names, np.where(place >= 0, place, len(names) - 1))


def _size_field(fields: pd.DataFrame) -> Any:
    """Return the first field of numbers that are not all equal; None without one."""
    for name, column in fields.items():
        if column.dtype.kind == "f":
            numbers = np.abs(column.to_numpy())
            numbers = numbers[np.isfinite(numbers)]
            if len(numbers) and numbers.min() < numbers.max():
                return name
    return None


def _dots(
    shown: HistoryContent, lanes: Lanes, x: np.ndarray, size_field: Any
) -> list[str]:
    """Return a dot for each event, with its fields as a tooltip."""
    radius = np.full(len(x), 5.0)
    filled = np.ones(len(x), dtype=bool)
    if size_field is not None:
        numbers = np.abs(shown.fields[size_field].to_numpy())
        filled = np.isfinite(numbers)
        # Areas in proportion to sizes, apart from a least radius.
        share = np.where(filled, numbers, 0) / numbers[filled].max()
        radius = 2.5 + 6.5 * np.sqrt(share)
    first = shown.fields.iloc[:, :_FIELDS_OF_A_DOT]
    facts = {escaped(name, 20): first[name].tolist() for name in first}
    dots = []
    for i, time in enumerate(shown.times):
        texts = [f"{name}: {escaped(of[i], 24)}" for name, of in facts.items()]
        title = ", ".join([escaped(time, 36), *texts])
        fill = ACCENT if filled[i] else "none"
        dots.append(
            f'<circle cx="{x[i]:.1f}" cy="{_middle(lanes.of_event[i]):g}" '
            f'r="{radius[i]:.1f}" fill="{fill}" fill-opacity="0.7" '
            f'stroke="{ACCENT}"><title>{title}</title></circle>'
        )
    return dots


def _counts(lanes: Lanes, x: np.ndarray, left: float, width: float) -> list[str]:
    """Return bars that count the events of each lane."""
    spans = bar_numbers(x, _N_BARS)
    # (n_lanes, _N_BARS); `add.at` as several events fall into one bar
    counts = np.zeros((len(lanes.names), _N_BARS))
    np.add.at(counts, (lanes.of_event, spans), 1)
    return [
        bars(of_lane / counts.max(), left, _middle(i), width, _LANE / 2 + 2)
        for i, of_lane in enumerate(counts)
    ]


def _last_events(shown: HistoryContent) -> str:
    """Return the last events as a table that can be opened."""
    n_events, n_fields = shown.fields.shape
    last = shown.fields.iloc[-_MOST_EVENTS:, :_MOST_FIELDS]
    columns = [shown.times[-_MOST_EVENTS:].tolist()]
    columns += [last[name].tolist() for name in last]
    rows = [[escaped(value) for value in row] for row in zip(*columns, strict=True)]
    which = "Events" if n_events == len(rows) else f"The last {len(rows)} events"
    n_more = n_fields - last.shape[1]
    more = f", without {count_text(n_more, 'more field')}" if n_more else ""
    name = shown.times.name or "time"
    return (
        f"<details><summary>{which}{more}</summary>"
        f"{table([name, *last], rows)}</details>"
    )
