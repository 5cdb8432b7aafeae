"""HTML of an array of histories: a table with a small timeline in each row."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm._ragged import NO_ROW
from sklearn_seqcrm._store import Rows
from sklearn_seqcrm.events._html._drawing import (
    bar_numbers,
    bars,
    container,
    count_text,
    escaped,
    line,
    places,
    rule,
    svg,
    table,
    time_text,
)

_WIDTH, _HEIGHT, _N_BARS = 360, 20, 90  # of each timeline, in pixels
_MOST_ROWS = 10


def histories_html(rows: Rows) -> str:
    """Return histories as HTML of bounded size.

    Parameters
    ----------
    rows : Rows of n
        Raw or encoded histories. Only events that rows see are shown.
    """
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
    counts = np.bincount(bar_numbers(x, _N_BARS), minlength=_N_BARS)
    here = 4 + (_WIDTH - 8) * places(np.array([cutoff]), *ends)[0]
    # Square roots, so that one event is visible beside a hundred.
    heights = np.sqrt(counts / counts.max(initial=1))
    n_events = count_text(int(stop - start), "event")
    parts = [
        rule(4, _HEIGHT - 2, here, _HEIGHT - 2),
        bars(heights, 4, _HEIGHT - 2, _WIDTH - 8, _HEIGHT - 5, gap=0.5),
        rule(here, 1, here, _HEIGHT - 1, width=2),
    ]
    label = f"{n_events} up to the cutoff {when}"
    image = svg(_WIDTH, _HEIGHT, label, parts)
    return [customer, f"{stop - start:,}", image, when]
