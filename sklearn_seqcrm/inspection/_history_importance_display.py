"""A picture of what a model gets from what is inside histories."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

_TITLES = {
    "history": "All of the history",
    "field": "Fields",
    "kind": "Kinds of events",
    "order": "Order",
    "last events": "Only the last events",
    "last time": "Only the last",
}
# Groups whose lines have an order of their own; others are sorted by importance.
_ORDERED = ("last events", "last time")


class HistoryImportanceDisplay:
    """Show the importances of what is inside histories, with their intervals.

    Each group has a heading; fields and kinds stand in the order of their importance.

    It is made by `from_importance`; what it holds are the attributes below.

    Parameters
    ----------
    table : DataFrame
        What `history_importance` returned as ``table``.
    baseline_score : float
        Score of the rows as they are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    history_importance : Makes the table.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.inspection import HistoryImportanceDisplay
    >>> table = pd.DataFrame(
    ...     {
    ...         "group": ["field", "field"],
    ...         "name": ["price", "color"],
    ...         "importance": [0.01, 0.12],
    ...         "std": [0.01, 0.02],
    ...         "lower": [-0.01, 0.08],
    ...         "upper": [0.03, 0.16],
    ...     }
    ... )
    >>> display = HistoryImportanceDisplay(table=table, baseline_score=0.8).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['Fields', 'color', 'price']
    """

    def __init__(self, *, table: pd.DataFrame, baseline_score: float) -> None:
        self.table = table
        self.baseline_score = baseline_score

    @classmethod
    def from_importance(cls, importance: Bunch, *, ax: Any = None) -> Self:
        """Plot importances.

        Parameters
        ----------
        importance : Bunch
            What `history_importance` returned.
        ax : matplotlib Axes or None, default=None
            Where to plot; None: new axes.

        Returns
        -------
        HistoryImportanceDisplay
            The display, plotted.

        Raises
        ------
        TypeError
            If `importance` is something else.
        """
        if not isinstance(importance, Bunch) or "table" not in importance:
            raise TypeError(
                "importance must be what history_importance returns; got "
                f"{type(importance).__name__}."
            )
        display = cls(table=importance.table, baseline_score=importance.baseline_score)
        return display.plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Plot a bar for each importance, and a line for its interval.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to plot; None: new axes.

        Returns
        -------
        HistoryImportanceDisplay
            The display, with `ax_` and `figure_`.
        """
        from matplotlib import pyplot as plt

        lines = self._lines()
        if ax is None:
            height = 1 + 0.25 * len(lines)
            _, ax = plt.subplots(figsize=(7, height), layout="constrained")
        ink = plt.rcParams["text.color"]
        ax.axvline(0, color=ink, lw=0.8)
        for y, (_, line) in enumerate(lines.iterrows()):
            if not np.isfinite(line["importance"]):
                continue
            ax.barh(y, line["importance"], height=0.7, color="tab:blue", alpha=0.75)
            ax.plot([line["lower"], line["upper"]], [y, y], color=ink, lw=1.3)
        ax.set_yticks(range(len(lines)), lines["label"])
        for label, is_title in zip(
            ax.get_yticklabels(), lines["is_title"], strict=True
        ):
            label.set_fontweight("bold" if is_title else "normal")
        ax.set_ylim(len(lines) - 0.4, -0.8)
        ax.set_xlabel(f"fall of the score, which is {self.baseline_score:.3g}")
        for side in ("left", "right", "top"):
            ax.spines[side].set_visible(False)
        ax.tick_params(axis="y", length=0)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _lines(self) -> pd.DataFrame:
        """What stands on each line: headings, and importances below them."""
        parts = []
        for group, lines in self.table.groupby("group", sort=False):
            if group not in _ORDERED:
                lines = lines.sort_values("importance", ascending=False, kind="stable")
            labels = lines["name"].map(lambda name: str(name)[:40])
            title = _TITLES.get(str(group), str(group))
            lines = lines.assign(label=labels, is_title=False)
            if group in ("history", "order"):  # of one line, which is its own title
                lines = lines.assign(label=title, is_title=True)
            else:
                head = pd.DataFrame({"label": [title], "is_title": [True]})
                parts.append(head)
            parts.append(lines)
        return pd.concat(parts, ignore_index=True)
