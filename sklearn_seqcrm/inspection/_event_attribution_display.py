"""Plot of mean attributions by position from the end of the history, and by field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._plotting import (
    OKABE_ITO,
    hide_frame,
    legend_on_the_right,
    new_axes,
    plain_text,
)
from sklearn_seqcrm._typing import Estimator
from sklearn_seqcrm.inspection._event_attributions import event_attributions
from sklearn_seqcrm.inspection._explained_quantity import unit_label
from sklearn_seqcrm.inspection._row_inputs import format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Fields; remaining fields, statics and row features.
_COLORS, _GREY = OKABE_ITO[:6], OKABE_ITO[6]
# A higher bar of statics and row features would flatten those of events.
_FAR_HIGHER = 1.5


@dataclass(kw_only=True, repr=False, eq=False)
class EventAttributionDisplay:
    """Plot of mean absolute attributions by position from the end, and by field.

    Position 1 is the last event of a history. Each position has a bar, the last event
    on the right, stacked by field. One more bar is the sum over statics and row
    features; if it is more than 1.5 times as high as the others, it is cut off, with
    its height above it. Absolute values do not cancel between rows with positive and
    negative attributions.

    Create it with `from_attributions` or `from_estimator`.

    Parameters
    ----------
    means : DataFrame of shape (n_positions, n_fields)
        Mean absolute attribution of each field at each position from the end of the
        history (index 1: last event), over the rows that have such an event.
    of_rows : float or None, default=None
        Mean over rows of the absolute attributions of statics and row features, summed
        for each row; None if there are none.
    unit : str, default="prediction"
        Unit of the attributions, for the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Figure of the last plot.

    See Also
    --------
    event_attributions : Attributions of single rows.
    HistoryDisplay : Plot of one row.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.inspection import EventAttributionDisplay
    >>> found = pd.DataFrame(
    ...     {
    ...         "row": [0, 0, 1],
    ...         "history": ["history"] * 3,
    ...         "position": pd.array([0, 1, 0], dtype="Int64"),
    ...         "field": ["price"] * 3,
    ...         "attribution": [0.1, -0.5, 0.3],
    ...     }
    ... )
    >>> display = EventAttributionDisplay.from_attributions(found)
    >>> display.means["price"].tolist()
    [0.4, 0.1]
    """

    means: pd.DataFrame
    of_rows: float | None = None
    unit: str = "prediction"

    @classmethod
    def from_attributions(
        cls,
        attributions: pd.DataFrame,
        *,
        max_events: int = 15,
        unit: str = "prediction",
        ax: Axes | None = None,
    ) -> Self:
        """Plot attributions.

        Parameters
        ----------
        attributions : DataFrame
            Result of `event_attributions`, by event or by field.
        max_events : int, default=15
            Number of last events to show.
        unit : str, default="prediction"
            Unit of the attributions, for the axis.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

        Returns
        -------
        EventAttributionDisplay
            The display, plotted.
        """
        means, of_rows = _mean_magnitudes(attributions, max_events)
        return cls(means=means, of_rows=of_rows, unit=unit).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        X: pd.DataFrame,
        *,
        method: Literal["occlusion", "blanking", "integrated_gradients"] = "occlusion",
        by: Literal["event", "field"] = "event",
        target: object = None,
        unit: Literal["log_odds", "probability"] = "log_odds",
        max_events: int = 15,
        n_jobs: int | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Plot attributions of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            A classifier or regressor that takes raw `X`.
        X : DataFrame of shape (n, n_columns)
            Rows with raw histories.
        method, by, target, unit : object
            As in `event_attributions`.
        max_events : int, default=15
            Number of last events to show, and to attribute.
        n_jobs : int or None, default=None
            As in `event_attributions`.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

        Returns
        -------
        EventAttributionDisplay
            The display, plotted.
        """
        found = event_attributions(
            estimator,
            X,
            method,
            by=by,
            target=target,
            unit=unit,
            last_events=max_events,
            n_jobs=n_jobs,
        )
        label = unit_label(estimator, unit)
        return cls.from_attributions(found, max_events=max_events, unit=label, ax=ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Plot a stack of bars for each position.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

        Returns
        -------
        EventAttributionDisplay
            The display, with `ax_` and `figure_`.
        """
        if ax is None:
            ax = new_axes(7.5, 3.4)
        order = self.means.sum().sort_values(ascending=False, kind="stable").index
        top, others = order[: len(_COLORS)], order[len(_COLORS) :]
        stack = [(plain_text(name, 30), self.means[name]) for name in top]
        if len(others):
            stack.append(("other fields", self.means[others].sum(axis=1)))
        from_end = self.means.index.tolist()
        x = [-position for position in from_end]  # the last event on the right
        below = np.zeros(len(x))
        for color, (label, heights) in zip([*_COLORS, _GREY], stack, strict=False):
            ax.bar(x, heights, 0.8, bottom=below, color=color, label=label)
            below += heights.to_numpy()
        ticks = [str(position) for position in from_end]
        if self.of_rows is not None:
            self._plot_bar_of_rows(ax, self.of_rows, below.max(initial=0))
            x, ticks = [*x, 1], [*ticks, "statics and\nrow features"]
        ax.set_xticks(x, ticks)
        ax.set_xlabel("position from the end (1 = last event)")
        ax.set_ylabel(f"mean |attribution|\n({self.unit})")
        if len(stack) > 1:
            legend_on_the_right(ax)
        hide_frame(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_bar_of_rows(self, ax: Any, height: float, highest: float) -> None:
        """Plot the bar of statics and row features; cut it off far above `highest`."""
        # Hatched: neither a position nor a field.
        ax.bar(1, height, 0.8, color=_GREY, hatch="//", alpha=0.6)
        if height > _FAR_HIGHER * highest > 0:
            top = _FAR_HIGHER * highest
            ax.set_ylim(0, top)
            text = f"{format_number(height)} ↑"
            ax.annotate(text, (1, top), (0, 3), textcoords="offset points", ha="center")


def _mean_magnitudes(
    attributions: pd.DataFrame, max_events: int
) -> tuple[pd.DataFrame, float | None]:
    """Return mean absolute attributions of events, and of statics and row features.

    Those of events, (n_positions, n_fields), are by position from the end of the
    history. The other is the mean over rows of the sum, None without any.
    """
    magnitude = attributions["attribution"].abs()
    is_event = attributions["position"].notna()
    events = attributions[is_event].assign(magnitude=magnitude[is_event])
    last = events.groupby(["row", "history"])["position"].transform("max")
    # 1 for the last event: histories of all lengths are aligned at their ends.
    from_end = (last - events["position"] + 1).astype("int64").rename("place")
    groups = events.groupby([from_end, "field"], sort=False)["magnitude"]
    means = groups.mean().unstack()
    # In a log of several kinds, no event at a position may have the field: 0.
    means = means[means.index <= max_events].sort_index().fillna(0.0)
    of_inputs = magnitude[~is_event]  # statics and row features
    n_rows = max(1, attributions["row"].nunique())
    return means, float(of_inputs.sum() / n_rows) if len(of_inputs) else None
