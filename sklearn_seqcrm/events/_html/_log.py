"""HTML of a log: sizes, fields, and two histograms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Column, RawLog
from sklearn_seqcrm.events._html._drawing import (
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

_WIDTH, _HEIGHT, _BASE = 300, 84, 66
_N_BARS = 60
_MOST_FIELDS, _MOST_LEVELS = 20, 3
# Quartiles of more events are those of a sample, as sorting all of them takes seconds.
_SOME_EVENTS = 100_000


def log_html(log: RawLog) -> str:
    """Return a log, with the events after any cutoff, as HTML of bounded size."""
    name = escaped(log.names[0])
    head = (
        f"<b>{type(log).__name__}</b>: "
        f"{events_text(len(log), log.timeline.n_moments)}, "
        f"{count_text(log.n_customers, 'customer')} ({name})"
    )
    if not len(log):
        return container(line(head))
    first, last = log.time_span
    time = escaped(log.names[1])
    until = escaped(time_text(log.observed_until, first, last))
    ends = [escaped(time_text(end, first, last)) for end in (first, last)]
    when = f"{time} from {ends[0]} to {ends[1]}, recorded until {until}"
    pictures = _events_over_time(log, ends) + _lengths(log.timeline.counts)
    return container(line(head), line(when), pictures, _fields(log))


def _events_over_time(log: RawLog, ends: list[str]) -> str:
    first, last = log.timeline.times.min(), log.timeline.times.max()
    x = places(log.timeline.times, first, last)
    counts = np.bincount(bar_numbers(x, _N_BARS), minlength=_N_BARS)
    return _histogram(counts, "Events over time", ends[0], ends[1])


def _lengths(counts: np.ndarray) -> str:
    """Return a histogram of the events per customer, on a log scale if skewed."""
    shortest, longest = int(counts.min()), int(counts.max())
    title = f"Events per customer, median {np.median(counts):,g}"
    # A bar for each length if they fit, else bars of equal width on a log scale.
    if longest - shortest < _N_BARS:
        heights = np.bincount(counts - shortest)
    else:
        edges = np.geomspace(shortest, longest + 1, _N_BARS // 2 + 1)
        # Edges at whole numbers, so that every bar can hold one.
        edges = np.unique(np.ceil(edges).astype("int64"))
        heights, _ = np.histogram(counts, edges)
        title += ", on a log scale"
    return _histogram(heights, title, f"{shortest:,}", f"{longest:,}")


def _histogram(heights: np.ndarray, title: str, low: str, high: str) -> str:
    """Return bars between two ends."""
    most = int(heights.max())
    parts = [
        text_at(6, 12, title, most=60),
        bars(heights / most, 6, _BASE, _WIDTH - 24, _BASE - 22, gap=0.5),
        rule(6, _BASE, _WIDTH - 18, _BASE),
        text_at(6, _BASE + 14, low),
        text_at(_WIDTH - 18, _BASE + 14, high, "end"),
    ]
    label = f"{title}: from {low} to {high}, at most {most:,} in one bar"
    return svg(_WIDTH, _HEIGHT, label, parts)


def _fields(log: RawLog) -> str:
    """Return a table with type, missing share and values of each field."""
    columns = list(log.columns.items())
    rows = [
        [escaped(name), _type(column), _missing(column), _values(column)]
        for name, column in columns[:_MOST_FIELDS]
    ]
    n_more = len(columns) - len(rows)
    more = line(f"and {count_text(n_more, 'more field')}") if n_more else ""
    if not rows:
        return line("no fields")
    return table(["field", "type", "missing", "values"], rows) + more


def _type(column: Column) -> str:
    parts = [str(column.type)]
    parts += [count_text(size, "component") for size in column.values.shape[1:]]
    if column.categories is not None:
        parts.append(count_text(len(column.categories), "level"))
    return ", ".join(parts)


def _missing(column: Column) -> str:
    n_missing = int((~column.is_present()).sum())
    if n_missing in (0, len(column.values)):
        return "all" if n_missing else "none"
    # One missing value in a million is not "none", and one present value not "all".
    share = np.clip(100 * n_missing / len(column.values), 0.1, 99.9)
    return f"{share:.1f}%"


def _values(column: Column) -> str:
    """Return a summary of the values as HTML, see `SUMMARIES`."""
    present = column.values[column.is_present()]
    if not len(present):
        return "none"
    return column.type.pick(SUMMARIES, by="summary")(present, column.categories)


def _quartiles(values: np.ndarray, levels: pd.Index | None) -> str:
    """Summarise numbers by their ends and quartiles."""
    # Ends of all values, quartiles of every k-th one.
    some = values[:: -(-len(values) // _SOME_EVENTS)]
    finite = some[np.isfinite(some)]
    if not len(finite):
        return "infinite"
    low, middle, high = np.quantile(finite, [0.25, 0.5, 0.75])
    return (
        f"{_short(values.min())} to {_short(values.max())}, median {_short(middle)}, "
        f"quartiles {_short(low)} and {_short(high)}"
    )


def _range(values: np.ndarray, levels: pd.Index | None) -> str:
    """Summarise times by the first and the last."""
    ends = pd.Index(np.array([values.min(), values.max()]))
    return " to ".join(escaped(time_text(end, *ends)) for end in ends)


def _frequent(values: np.ndarray, levels: pd.Index | None) -> str:
    """Summarise codes by the most frequent levels."""
    assert levels is not None
    counts = np.bincount(values, minlength=len(levels))
    largest = np.argsort(-counts, kind="stable")[:_MOST_LEVELS]
    shown = [
        f"{escaped(levels[i], 24)} {100 * counts[i] / len(values):.2g}%"
        for i in largest.tolist()
        if counts[i]
    ]
    return ", ".join(shown) + (", …" if len(levels) > _MOST_LEVELS else "")


# By `FieldType.summary`.
SUMMARIES = {"levels": _frequent, "quartiles": _quartiles, "range": _range}


def _short(number: Any) -> str:
    return f"{float(number):.4g}"
