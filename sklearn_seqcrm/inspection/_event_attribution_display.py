"""Plot of mean attributions by the age of events and by field."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._plotting import (
    OKABE_ITO,
    hide_frame,
    legend_on_the_right,
    new_axes,
)
from sklearn_seqcrm.inspection._event_attributions import event_attributions

_COLORS, _GREY = OKABE_ITO[:6], OKABE_ITO[6]  # fields; other fields and inputs of rows


class EventAttributionDisplay:
    """Plot of mean absolute attributions by the age of events, and by field.

    Each of the last events has a bar, the very last event on the right, stacked by
    field. One more bar is the sum over statics and row features. Absolute values do
    not cancel between rows with positive and negative attributions.

    Create it with `from_attributions` or `from_estimator`.

    Parameters
    ----------
    means : DataFrame of shape (n_places, n_fields)
        Mean absolute attribution of a field of the last event (index 1), of the event
        before (2), and so on, over the rows that have such an event.
    of_rows : float or None, default=None
        Mean absolute attribution of statics and row features, summed; None if there
        are none.
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

    def __init__(
        self,
        *,
        means: pd.DataFrame,
        of_rows: float | None = None,
        unit: str = "prediction",
    ) -> None:
        self.means = means
        self.of_rows = of_rows
        self.unit = unit

    @classmethod
    def from_attributions(
        cls,
        attributions: pd.DataFrame,
        *,
        max_events: int = 15,
        unit: str = "prediction",
        ax: Any = None,
    ) -> Self:
        """Plot attributions.

        Parameters
        ----------
        attributions : DataFrame
            What `event_attributions` returned, by event or by field.
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
        size = attributions["attribution"].abs()
        of_event = attributions["position"].notna()
        events = attributions[of_event].assign(size=size[of_event])
        last = events.groupby(["row", "history"])["position"].transform("max")
        # 1 for the last event: rows of all lengths are aligned at their cutoffs.
        place = (last - events["position"] + 1).astype("int64").rename("place")
        means = events.groupby([place, "field"], sort=False)["size"].mean().unstack()
        # A field that no row has at an age (logs of several kinds) moved nothing there.
        means = means[means.index <= max_events].sort_index().fillna(0.0)
        others = size[~of_event]  # statics and row features
        n_rows = max(1, attributions["row"].nunique())
        of_rows = float(others.sum() / n_rows) if len(others) else None
        return cls(means=means, of_rows=of_rows, unit=unit).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        method: Literal["occlusion", "blanking", "integrated_gradients"] = "occlusion",
        by: Literal["event", "field"] = "event",
        target: Any = None,
        unit: Literal["log_odds", "probability"] = "log_odds",
        max_events: int = 15,
        n_jobs: int | None = None,
        ax: Any = None,
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
        words = (
            unit.replace("_", " ") if hasattr(estimator, "classes_") else "prediction"
        )
        return cls.from_attributions(found, max_events=max_events, unit=words, ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Plot a stack of bars for each place.

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
        means = self._by_color()
        at = [-place for place in means.index.tolist()]  # the last event on the right
        below = np.zeros(len(means))
        colors = [*_COLORS, _GREY]
        for color, (field, heights) in zip(colors, means.items(), strict=False):
            ax.bar(at, heights, 0.8, bottom=below, color=color, label=str(field)[:30])
            below += heights.to_numpy()
        labels = [str(place) for place in means.index]
        # Beside the events, since it has no age; hatched, since it is no field.
        if self.of_rows is not None:
            ax.bar(1, self.of_rows, 0.8, color=_GREY, hatch="//", alpha=0.6)
            at, labels = [*at, 1], [*labels, "row"]
        ax.set_xticks(at, labels)
        ax.set_xlabel("events before the cutoff: 1 is the last")
        ax.set_ylabel(f"mean size of attributions\n({self.unit})")
        if len(means.columns) > 1:
            legend_on_the_right(ax)
        hide_frame(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _by_color(self) -> pd.DataFrame:
        """Return columns of the most important fields, and the sum of the others."""
        order = self.means.sum().sort_values(ascending=False, kind="stable").index
        most = len(_COLORS)
        means = self.means[order[:most]].copy()
        if len(order) > most:
            means["others"] = self.means[order[most:]].sum(axis=1)
        return means
