"""Plot of permutation importances of parts of histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from sklearn_seqcrm._plotting import hide_frame, new_axes, plain_text, text_color
from sklearn_seqcrm.inspection._row_inputs import format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES = {
    "history": "All of the history",
    "field": "Fields",
    "kind": "Kinds of events",
    "order": "Order",
    "last events": "Only the last events",
    "last time": "Only the last",
}
# Groups whose lines have a natural order; others are sorted by importance.
_ORDERED = ("last events", "last time")


@dataclass(kw_only=True, repr=False, eq=False)
class HistoryImportanceDisplay:
    """Plot of permutation importances of parts of histories, with their intervals.

    Each group has a heading; fields and kinds are sorted by importance.

    Create it with `from_importance`.

    Parameters
    ----------
    table : DataFrame
        Result ``table`` of `history_importance`.
    baseline_score : float
        Score of the rows as they are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Figure of the last plot.

    See Also
    --------
    history_importance : Computes the table.

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

    table: pd.DataFrame
    baseline_score: float

    @classmethod
    def from_importance(cls, importance: Bunch, *, ax: Axes | None = None) -> Self:
        """Plot importances.

        Parameters
        ----------
        importance : Bunch
            Result of `history_importance`.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

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

    def plot(self, ax: Axes | None = None) -> Self:
        """Plot a bar for each importance, and a line for its interval.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

        Returns
        -------
        HistoryImportanceDisplay
            The display, with `ax_` and `figure_`.
        """
        lines = self._lines()
        if ax is None:
            ax = new_axes(7, 1 + 0.25 * len(lines))
        ink = text_color()
        ax.axvline(0, color=ink, lw=0.8)
        for y, (_, line) in enumerate(lines.iterrows()):
            if not np.isfinite(line["importance"]):  # a heading
                continue
            ax.barh(y, line["importance"], height=0.7, color="tab:blue", alpha=0.75)
            ax.plot([line["lower"], line["upper"]], [y, y], color=ink, lw=1.3)
        ax.set_yticks(range(len(lines)), lines["label"])
        for label, is_title in zip(
            ax.get_yticklabels(), lines["is_title"], strict=True
        ):
            label.set_fontweight("bold" if is_title else "normal")
        ax.set_ylim(len(lines) - 0.4, -0.8)  # the first line on top
        score = format_number(self.baseline_score)
        ax.set_xlabel(f"fall of the score, which is {score}")
        hide_frame(ax, y_axis=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _lines(self) -> pd.DataFrame:
        """Return the lines of the plot: headings, and importances below them."""
        parts = []
        for group, lines in self.table.groupby("group", sort=False):
            if group not in _ORDERED:
                lines = lines.sort_values("importance", ascending=False, kind="stable")
            title = _TITLES.get(str(group), str(group))
            if group in ("history", "order"):  # one line, which is its own heading
                parts.append(lines.assign(label=title, is_title=True))
            else:
                parts.append(pd.DataFrame({"label": [title], "is_title": [True]}))
                labels = lines["name"].map(lambda name: plain_text(name, 40))
                parts.append(lines.assign(label=labels, is_title=False))
        return pd.concat(parts, ignore_index=True)
