"""Plot of one history, with events coloured by their attributions.

Below the events are bars for what the prediction depends on beside them. They often
matter more than single events::

    Customer ann
    log odds of class 1 = 0.52 (probability 63%), baseline = −0.31
    o amount = 812   . amount = 0          cutoff
    buy     ---o------------O---------------|
    visit   -------o------------------------|
    number of events: 3            ======|
    age: 41                              |===
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import Table
from sklearn_seqcrm._plotting import (
    hide_frame,
    new_axes,
    plain_text,
    set_date_ticks,
    text_color,
)
from sklearn_seqcrm._typing import Estimator
from sklearn_seqcrm.inspection._event_attributions import event_attributions
from sklearn_seqcrm.inspection._explained_quantity import unit_label
from sklearn_seqcrm.inspection._explained_rows import (
    named_history,
    row_position,
    single_row,
)
from sklearn_seqcrm.inspection._history_display_data import (
    bars_beside,
    format_value,
    plotted_events,
    refuse_other_events,
    title_of,
)
from sklearn_seqcrm.inspection._row_inputs import format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS, _NEGATIVE, _POSITIVE = "PuOr_r", "#6a4d99", "#c96c0d"  # ends of the map
_SMALLEST, _LARGEST = 30, 220  # areas of dots, in square points


@dataclass(kw_only=True, repr=False, eq=False)
class HistoryDisplay:
    """Plot of the events of one row up to its cutoff, coloured by their attributions.

    Events of a line at one time, such as the lines of an invoice, are one above the
    other. Bars below the events show the attributions of everything else: row
    features, statics and other histories.

    Create it with `from_estimator` or `from_attributions`.

    Parameters
    ----------
    events : DataFrame of shape (n_events, 4)
        ``time``, ``lane`` (horizontal line of the plot), ``size`` (from 0 to 1, NaN if
        missing) and ``attribution`` of each event.
    cutoff : Timestamp, int or float
        The cutoff.
    title : str, default=""
        Title of the plot.
    unit : str, default="prediction"
        Unit of the attributions, for the axes.
    beside : Series of float or None, default=None
        Attributions of what is not an event, by their label, from the top on; None or
        empty: there are no bars.
    sizes : tuple of (str, float) or None, default=None
        Field that sets the areas of the dots, and its largest absolute value, for the
        legend; None: all areas are equal.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the events in the last plot.
    ax_beside_ : matplotlib Axes or None
        Axes of the bars; None if there are none.
    figure_ : matplotlib Figure
        Figure of the last plot.

    See Also
    --------
    event_attributions : Attributions as a table.
    EventAttributionDisplay : Plot of many rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.inspection import HistoryDisplay
    >>> events = pd.DataFrame(
    ...     {
    ...         "time": [1, 4, 6],
    ...         "lane": ["buy", "visit", "buy"],
    ...         "size": [0.5, 0.5, 1.0],
    ...         "attribution": [0.1, -0.2, 0.7],
    ...     }
    ... )
    >>> display = HistoryDisplay(events=events, cutoff=9).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['buy', 'visit']
    """

    events: pd.DataFrame
    cutoff: pd.Timestamp | float
    title: str = ""
    unit: str = "prediction"
    beside: pd.Series | None = None
    sizes: tuple[str, float] | None = None

    @classmethod
    def from_attributions(
        cls,
        attributions: pd.DataFrame,
        X: pd.DataFrame,
        row: int = 0,
        *,
        outputs: pd.DataFrame | None = None,
        history: str | None = None,
        kind_field: str | None = None,
        size_field: str | None = None,
        title: str | None = None,
        unit: str = "prediction",
        ax: Axes | None = None,
    ) -> Self:
        """Plot the attributions of a row.

        Parameters
        ----------
        attributions : DataFrame
            Result of `event_attributions` for `X`, by event or by field. Events without
            attributions (see `last_events` there) are crosses.
        X : DataFrame of shape (n, n_columns)
            Rows with raw histories.
        row : int, default=0
            Position of the row.
        outputs : DataFrame of shape (n, 2) or (n, 3) or None, default=None
            Second result of `event_attributions`, for the prediction and the baseline
            in the title; None: the title has neither.
        history : str or None, default=None
            Name of the history column; None: the only one.
        kind_field : str or None, default=None
            Categorical field whose levels have a line each; None: the kind of event in
            a log that `EventLog.concat` merged, or the first field with up to 8 levels.
        size_field : str or None, default=None
            Numeric field that sets the areas of the dots; None: the first.
        title : str or None, default=None
            Title of the plot; None: the customer, and the prediction in `outputs`.
        unit : str, default="prediction"
            Unit of the attributions. With ``"log odds"``, the title has the probability
            as well.
        ax : matplotlib Axes or None, default=None
            Axes to plot on, of which the bars take a part; None: new axes.

        Returns
        -------
        HistoryDisplay
            The display, plotted.

        Raises
        ------
        IndexError
            If there is no such row.
        TypeError
            If the row is not an integer, or the histories are encoded.
        KeyError
            If there is no such column or field.
        ValueError
            If the attributions, or `outputs`, are of other rows than those of `X`.
        """
        table = Table.of(X).refuse_encoded("HistoryDisplay").refuse_missing()
        name, array = named_history(table, history)
        row = row_position(row, len(array))
        one = array[row]
        of_row = attributions[attributions["row"] == row]
        # Lines of statics and of other histories may have customers of another log.
        own = of_row[(of_row["history"] == name) & of_row["position"].notna()]
        refuse_other_events(own, one, row, attributions["row"].max())
        if outputs is not None and len(outputs) != len(array):
            raise ValueError(
                f"outputs has {len(outputs)} rows, and X has {len(array)}. Pass the X "
                "that they were computed for."
            )
        events, largest = plotted_events(array, row, own, kind_field, size_field)
        output = None if outputs is None else outputs.iloc[row]
        if title is None:
            title = title_of(one.customer, output, unit)
        of_others = of_row.drop(own.index)
        adds_up = output is not None and pd.notna(output["baseline"])
        return cls(
            events=events,
            cutoff=one.cutoff,
            title=title,
            unit=unit,
            beside=bars_beside(of_others, name, own if adds_up else None),
            sizes=largest,
        ).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        X: pd.DataFrame,
        row: int = 0,
        *,
        method: Literal["occlusion", "blanking", "integrated_gradients"] = "occlusion",
        target: object = None,
        unit: Literal["log_odds", "probability"] = "log_odds",
        history: str | None = None,
        kind_field: str | None = None,
        size_field: str | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Attribute the prediction for a row to its events, and plot them.

        Parameters
        ----------
        estimator : fitted estimator
            A classifier or regressor that takes raw `X`.
        X : DataFrame of shape (n, n_columns)
            Rows with raw histories.
        row : int, default=0
            Position of the row.
        method, target, unit : object
            As in `event_attributions`.
        history, kind_field, size_field, ax : object
            As in `from_attributions`.

        Returns
        -------
        HistoryDisplay
            The display, plotted. Its title has the customer, the prediction and, for
            integrated gradients, the baseline.

        Raises
        ------
        IndexError
            If there is no such row.
        TypeError
            If the row is not an integer.
        """
        _, one = single_row(X, row, "HistoryDisplay")
        found, outputs = event_attributions(
            estimator, one, method, target=target, unit=unit, return_outputs=True
        )
        return cls.from_attributions(
            found,
            one,
            outputs=outputs,
            history=history,
            kind_field=kind_field,
            size_field=size_field,
            unit=unit_label(estimator, unit),
            ax=ax,
        )

    def plot(self, ax: Axes | None = None) -> Self:
        """Plot the events on lines, the cutoff, and bars for everything else.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to plot on, of which the bars take a part; None: new axes. In `ax_`, a
            new plot replaces the old one.

        Returns
        -------
        HistoryDisplay
            The display, with `ax_`, `ax_beside_` and `figure_`.
        """
        if ax is not None and ax is getattr(self, "ax_", None):
            self._clear(ax)
        lanes = self.events["lane"].value_counts(sort=True).index.tolist()
        n_bars = 0 if self.beside is None else len(self.beside)
        heights = (0.7 + 0.4 * max(1, len(lanes)), 0.5 + 0.25 * n_bars)
        if ax is None:
            ax = new_axes(8, 1.2 + heights[0] + (n_bars > 0) * heights[1])
        self._place = ax.get_subplotspec(), ax.get_position(original=True)
        self.ax_beside_ = _split(ax, heights) if n_bars else None
        ink, cutoff = text_color(), cast(Any, self.cutoff)  # matplotlib takes both
        for y in range(len(lanes)):
            ax.axhline(y, color=ink, lw=0.6, alpha=0.3, zorder=0)
        ax.axvline(cutoff, color=ink, lw=2)
        self._plot_events(ax, lanes, ink)
        ax.set_yticks(range(len(lanes)), [plain_text(lane, 30) for lane in lanes])
        ax.set_ylim(max(1, len(lanes)) - 0.4, -0.6)  # the most frequent lane on top
        ax.annotate(
            "cutoff",
            (self.cutoff, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            fontsize="small",
        )
        if not len(self.events):  # the axis has no extent
            ax.set_xticks([cutoff], [format_value(self.cutoff)])
        elif isinstance(self.cutoff, pd.Timestamp):
            set_date_ticks(ax, maxticks=7)  # labels of more would touch
        # The legend is below the title.
        ax.set_title(self.title, loc="left", pad=22, fontsize="medium")
        hide_frame(ax, y_axis=False)
        if n_bars:
            self._plot_bars(self.ax_beside_)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _clear(self, ax: Any) -> None:
        """Remove what the last plot left in its axes, and give them their old place."""
        if self._colorbar is not None:
            self._colorbar.remove()
        if self.ax_beside_ is not None:
            self.ax_beside_.remove()
        ax.clear()
        spec, position = self._place
        if spec is None:
            ax.set_position(position)
        else:
            ax.set_subplotspec(spec)

    def _plot_bars(self, ax: Any) -> None:
        """Plot the attributions of what is not an event, in the colours of the dots."""
        assert self.beside is not None
        places, values = np.arange(len(self.beside)), self.beside.to_numpy("float64")
        colors = [_POSITIVE if value > 0 else _NEGATIVE for value in values]
        ax.barh(places, values, 0.7, color=colors)
        ax.axvline(0, color=text_color(), lw=0.8)
        ax.set_yticks(places, [plain_text(one, 60) for one in self.beside.index])
        ax.set_ylim(len(values) - 0.4, -0.6)
        ax.set_xlabel(f"attribution ({self.unit})")
        ax.margins(x=0.1)
        hide_frame(ax, y_axis=False)

    def _plot_events(self, ax: Any, lanes: list[Any], ink: str) -> None:
        """Plot dots, strong attributions on top, on a colour scale centred at 0."""
        strength = self.events["attribution"].abs().fillna(0.0).to_numpy()
        events = self.events.assign(offset=_offsets(self.events))
        events = events.iloc[np.argsort(strength, kind="stable")]
        known = events["attribution"].notna()

        def draw(some: pd.DataFrame, **style: Any) -> Any:
            at = [lanes.index(lane) for lane in some["lane"]] + some["offset"]
            size = _SMALLEST + (_LARGEST - _SMALLEST) * some["size"].fillna(0.0)
            return ax.scatter(
                some["time"], at, s=size, linewidths=0.7, zorder=3, **style
            )

        handles: list[tuple[Any, str]] = []
        self._colorbar = None
        if not known.all():
            # Crosses: a circle without a colour would look like an attribution of 0,
            # or on a dark page like the lowest one.
            crosses = draw(events[~known], c=ink, marker="x", alpha=0.6)
            handles = [(crosses, "no attribution")]
        if known.any():
            # Symmetric, so that the neutral colour is an attribution of 0.
            limit = float(strength.max()) or 1.0
            colors = {"cmap": _COLORS, "vmin": -limit, "vmax": limit}
            shown = events[known]
            dots = draw(shown, c=shown["attribution"], edgecolors=ink, **colors)
            label = f"attribution\n({self.unit})"
            self._colorbar = ax.figure.colorbar(dots, ax=ax, label=label)
        if self.sizes is not None:
            handles = [*_dots(ax, *self.sizes), *handles]
        if handles and len(events):
            _legend_above(ax, handles)


def _offsets(events: pd.DataFrame) -> pd.Series:
    """Return heights in a lane, one above the other for the events of one moment."""
    moments = events.groupby(["lane", "time"], sort=False)["size"]
    last = moments.transform("size") - 1
    # Lanes are 1 apart, and those of many lines of an invoice must not touch.
    step = np.minimum(0.3, 0.7 / np.maximum(last, 1))
    return (moments.cumcount() - last / 2) * step


def _split(ax: Any, heights: tuple[float, float]) -> Any:
    """Give the lower part of axes to new ones, and return these."""
    spec = ax.get_subplotspec()
    if spec is None:  # axes that were placed by hand
        share = heights[1] / sum(heights)
        x, y, width, height = ax.get_position().bounds
        ax.set_position((x, y + share * height, width, (1 - share) * height))
        return ax.figure.add_axes((x, y, width, 0.7 * share * height))
    upper, lower = spec.subgridspec(2, 1, height_ratios=heights)
    ax.set_subplotspec(upper)
    return ax.figure.add_subplot(lower)


def _legend_above(ax: Any, handles: list[tuple[Any, str]]) -> None:
    """Place the legend of artists and their texts between the axes and the title."""
    ax.legend(
        *zip(*handles, strict=True),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0,
        ncols=3,
        frameon=False,
        fontsize="small",
    )


def _dots(ax: Any, field: str, largest: float) -> list[tuple[Any, str]]:
    """Return the dots of the largest value and of 0 for the legend, with their text."""
    style = {"color": "none", "markeredgecolor": text_color()}
    return [
        (
            ax.plot([], [], "o", markersize=np.sqrt(area), **style)[0],
            f"{plain_text(field, 20)} = {format_number(value)}",
        )
        for value, area in ((largest, _LARGEST), (0.0, _SMALLEST))
    ]
