"""A picture of which events matter, by how long ago they were and by field."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm.inspection._event_attributions import event_attributions

# Told apart by everybody (Okabe and Ito, 2008); the last one is for what is left.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")


class EventAttributionDisplay:
    """Show the mean size of attributions by the place of events, and by field.

    There is a bar for each of the last events, the very last one on the right, stacked
    by field; and a bar for all that is of no event, statics and row features. Sizes
    are absolute values, so that what moves rows up and down does not cancel.

    It is made by `from_attributions` or `from_estimator`; what it holds are the
    attributes below.

    Parameters
    ----------
    means : DataFrame of shape (n_places, n_fields)
        Mean absolute attribution of a field of the last event (index 1), of the one
        before (2), and so on, over the rows that have such an event.
    of_rows : float or None, default=None
        The same of what is of no event, added up; None if there was nothing.
    unit : str, default="prediction"
        What attributions are in, for the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    event_attributions : The numbers of single rows.
    HistoryDisplay : A picture of one row.

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
            How many of the last events to show.
        unit : str, default="prediction"
            What attributions are in, for the axis.
        ax : matplotlib Axes or None, default=None
            Where to plot; None: new axes.

        Returns
        -------
        EventAttributionDisplay
            The display, plotted.
        """
        size = attributions["attribution"].abs()
        of_event = attributions["position"].notna()
        events = attributions[of_event].assign(size=size[of_event])
        last = events.groupby(["row", "history"])["position"].transform("max")
        place = (last - events["position"] + 1).astype("int64").rename("place")
        means = events.groupby([place, "field"], sort=False)["size"].mean().unstack()
        means = means[means.index <= max_events].sort_index().fillna(0.0)
        others = size[~of_event]
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
            How many of the last events to show, and to look at.
        n_jobs : int or None, default=None
            As in `event_attributions`.
        ax : matplotlib Axes or None, default=None
            Where to plot; None: new axes.

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
            Where to plot; None: new axes.

        Returns
        -------
        EventAttributionDisplay
            The display, with `ax_` and `figure_`.
        """
        from matplotlib import pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
        means = self._by_color()
        at = [-place for place in means.index.tolist()]
        below = np.zeros(len(means))
        for color, (field, heights) in zip(_COLORS, means.items(), strict=False):
            ax.bar(at, heights, 0.8, bottom=below, color=color, label=str(field)[:30])
            below += heights.to_numpy()
        labels = [str(place) for place in means.index]
        if self.of_rows is not None:
            ax.bar(1, self.of_rows, 0.8, color=_COLORS[-1], hatch="//", alpha=0.6)
            at, labels = [*at, 1], [*labels, "row"]
        ax.set_xticks(at, labels)
        ax.set_xlabel("events before the cutoff: 1 is the last")
        ax.set_ylabel(f"mean size of attributions\n({self.unit})")
        if len(means.columns) > 1:
            ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        for side in ("right", "top"):
            ax.spines[side].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _by_color(self) -> pd.DataFrame:
        """The fields with the most, and the others together."""
        order = self.means.sum().sort_values(ascending=False, kind="stable").index
        most = len(_COLORS) - 1
        means = self.means[order[:most]].copy()
        if len(order) > most:
            means["others"] = self.means[order[most:]].sum(axis=1)
        return means
