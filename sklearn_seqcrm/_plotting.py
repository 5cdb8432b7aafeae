"""Axes, colours, legends and date ticks of all displays.

matplotlib is imported inside the functions: `import sklearn_seqcrm` does not load it.
"""

from __future__ import annotations

from typing import Any

# Distinguishable with every type of colour vision (Okabe and Ito, "Color Universal
# Design", 2008); yellow, which is faint on white, comes last.
OKABE_ITO = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#999999",
    "#F0E442",
)


def new_axes(
    width: float | None = None,
    height: float | None = None,
    n_rows: int = 1,
    n_columns: int = 1,
    **options: Any,
) -> Any:
    """Return the axes of a new figure, by default of Matplotlib's size in inches."""
    from matplotlib import pyplot as plt

    size, layout = None if width is None else (width, height), "constrained"
    return plt.subplots(n_rows, n_columns, figsize=size, layout=layout, **options)[1]


def text_color() -> str:
    """Return the colour of text, which is visible on the background of any style."""
    from matplotlib import rcParams

    return rcParams["text.color"]


def plain_text(value: Any, length: int | None = None) -> str:
    """Return the text that makes Matplotlib show the first `length` letters of a value.

    Matplotlib typesets what is between two dollar signs as a formula, as in "$5 off
    $20", unless the signs have backslashes. It leaves labels that begin with an
    underscore out of legends, so these get a space in front.
    """
    from matplotlib import rcParams

    text = str(value)[:length]
    if rcParams["text.parse_math"]:  # else the backslashes would be shown
        text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def hide_frame(ax: Any, *, y_axis: bool = True) -> None:
    """Hide the sides of the frame that carry no scale; `y_axis`: the left one does."""
    for side in ("right", "top") if y_axis else ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    if not y_axis:
        ax.tick_params(axis="y", length=0)


def legend_on_the_right(ax: Any) -> None:
    """Place the legend outside the axes, where it hides no data."""
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def set_date_ticks(ax: Any, maxticks: int | None = None) -> None:
    """Label an x-axis of datetimes briefly: a year once, then months and days."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(maxticks=maxticks)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
