"""Pieces of HTML and SVG for notebooks.

Every piece is a string without scripts or style sheets. Text and lines have the colour
of the surrounding text (``currentColor``), so that an image fits light and dark pages,
whether the browser, the notebook or the documentation chooses the theme.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import format_time

# Has enough contrast on white and on black, also for colour-blind readers.
ACCENT = "#3987c9"
_MOST_LETTERS = 40


def escaped(value: Any, most: int = _MOST_LETTERS) -> str:
    """Return a value as text, escaped for HTML and cut after `most` letters.

    A missing value gives an empty text.
    """
    if isinstance(value, np.ndarray):
        shown = [f"{number:.3g}" for number in value[:3].tolist()]
        text = f"[{', '.join(shown)}{', …' if len(value) > 3 else ''}]"
    elif isinstance(value, float):
        text = "" if value != value else f"{value:.6g}"
    else:
        text = "" if value is None or value is pd.NaT or value is pd.NA else str(value)
    # Control characters could break lines or reverse the writing direction.
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return html.escape(text if len(text) <= most else f"{text[: most - 1]}…")


def count_text(n: int, what: str) -> str:
    """Return a count with its noun, such as ``"1 event"``."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def events_text(n_events: int, n_moments: int) -> str:
    """Return a number of events, such as ``"20 events at 3 moments"``."""
    at = f" at {count_text(n_moments, 'moment')}" if n_moments < n_events else ""
    return count_text(n_events, "event") + at


def time_text(time: Any, first: Any, last: Any) -> str:
    """Return a time as text, with hours and minutes if the range shown is short."""
    if isinstance(time, float):
        return f"{time:.6g}"
    if not isinstance(time, pd.Timestamp):
        return f"{time:,}" if isinstance(time, Integral) else str(time)
    span, text = last - first, format_time(time)
    if pd.Timedelta(0) < span < pd.Timedelta(days=3):
        text += f" {time.hour:02d}:{time.minute:02d}"
        if span <= pd.Timedelta(minutes=10):
            text += f":{time.second:02d}"
    return text + ("" if time.tz is None else f" {time.tzname()}")


def container(*parts: str) -> str:
    """Return pieces of HTML below one another."""
    style = "font-size:90%;line-height:1.5;max-width:60em"
    return f'<div style="{style}">{"".join(parts)}</div>'


def line(text: str) -> str:
    """Return a line; `text` is HTML already."""
    return f"<div>{text}</div>"


def svg(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """Return an SVG of some elements, which shrinks on a narrow page.

    Its size is in pixels, and the range of its coordinates. The `label` describes it
    for screen readers.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-label="{escaped(label, 400)}" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" '
        'style="max-width:100%;height:auto;vertical-align:middle" '
        f'font-size="11" font-family="sans-serif" fill="currentColor">'
        f"{''.join(parts)}</svg>"
    )


def text_at(
    x: float, y: float, text: Any, anchor: str = "start", most: int = 40
) -> str:
    """Return text at a point; `anchor` is "start", "middle" or "end"."""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escaped(text, most)}</text>'
    )


def rule(x1: float, y1: float, x2: float, y2: float, width: float = 1) -> str:
    """Return a line between two points; a line of width 1 is pale."""
    opacity = 0.4 if width == 1 else 1
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="currentColor" '
        f'stroke-width="{width:g}" stroke-opacity="{opacity}"/>'
    )


def bars(
    heights: np.ndarray, x: float, y: float, width: float, most: float, gap: float = 0
) -> str:
    """Return bars side by side on a line, as one path; none for a height of 0.

    `heights` (n,) are between 0 and 1, and `most` the pixels of a height of 1. Bars are
    at least one pixel high, to be visible. The line begins at `x`, `y` and has a
    `width` for all bars together; `gap` are the pixels between two bars.
    """
    step = width / max(1, len(heights))
    # M: left foot of a bar, v: up, h: across, V: down to the line, z: back.
    path = [
        f"M{x + i * step:.1f} {y:g}v{-max(1.0, most * heights[i]):.1f}"
        f"h{step - gap:.1f}V{y:g}z"
        for i in np.flatnonzero(heights).tolist()
    ]
    return f'<path fill="{ACCENT}" d="{"".join(path)}"/>'


def table(names: Sequence[Any], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are HTML already, names are not."""
    style = 'style="text-align:left;padding:1px 8px;white-space:nowrap"'
    head = "".join(f'<th scope="col" {style}>{escaped(name)}</th>' for name in names)
    lines = ["".join(f"<td {style}>{cell}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{cells}</tr>" for cells in lines)
    # Wide tables scroll inside their own box, and do not widen the page.
    return (
        '<div style="overflow-x:auto">'
        '<table style="border-collapse:collapse;font-size:inherit;color:inherit">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def bar_numbers(at: np.ndarray, n_bars: int) -> np.ndarray:
    """Return the bar of each place from 0 to 1; the place 1 is in the last bar."""
    return np.minimum((at * n_bars).astype("int64"), n_bars - 1)


def places(times: np.ndarray, first: Any, last: Any) -> np.ndarray:
    """Return positions of times between two ends, from 0 to 1; 1 if the ends are equal.

    `times` (n,) are on the axis of a clock, and lie between the ends.
    """
    # Floats lose some nanoseconds, far less than a pixel.
    length = float(last) - float(first)
    if not length > 0:
        return np.ones(len(times))
    return (times.astype("float64") - float(first)) / length
