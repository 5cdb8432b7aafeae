"""Plot of one history, with events coloured by their attributions."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import Table, one_history
from sklearn_seqcrm._plotting import hide_frame, new_axes, set_date_ticks, text_color
from sklearn_seqcrm.inspection._event_attributions import event_attributions
from sklearn_seqcrm.inspection._explained import named_history, unit_label

_MAX_LANES = 8  # fields with more levels are ids, or do not fit


@dataclass(kw_only=True, repr=False, eq=False)
class HistoryDisplay:
    """Plot of the events of one row up to its cutoff, coloured by their attributions.

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
        Unit of the attributions, for the colour bar.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
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
    cutoff: Any
    title: str = ""
    unit: str = "prediction"

    @classmethod
    def from_attributions(
        cls,
        attributions: pd.DataFrame,
        X: Any,
        row: int = 0,
        *,
        history: Any = None,
        kind_field: str | None = None,
        size_field: str | None = None,
        title: str | None = None,
        unit: str = "prediction",
        ax: Any = None,
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
        history : str or None, default=None
            Name of the history column; None: the only one.
        kind_field : str or None, default=None
            Categorical field whose levels have a line each; None: the kind of event in
            a log that `EventLog.concat` merged, or the first field with up to 8 levels.
        size_field : str or None, default=None
            Numeric field that sets the areas of the dots; None: the first.
        title : str or None, default=None
            Title of the plot; None: the customer.
        unit : str, default="prediction"
            Unit of the attributions.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

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
            If the attributions are of other events than those of this row.
        """
        table = Table.of(X).refuse_encoded("HistoryDisplay").refuse_missing()
        name, array = named_history(table, history)
        row = _position(row, len(array))
        one = array[row]
        frame = one.to_frame()
        # Lines of statics and of other histories may have customers of another log.
        of_row = (attributions["row"] == row) & (attributions["history"] == name)
        own = attributions[of_row & attributions["position"].notna()]
        _refuse_other_events(own, one, row)
        # By field, the attributions of an event add up. Events without a line are NaN.
        by_position = own.groupby("position")["attribution"].sum()
        events = pd.DataFrame(
            {
                "time": one.times,
                "lane": _lanes(frame, array.log.kind_field, kind_field),
                "size": _sizes(frame.iloc[:, 2:], size_field),
                "attribution": by_position.reindex(range(len(one))).to_numpy("float64"),
            }
        )
        if title is None:
            title = "unknown customer" if one.customer is None else str(one.customer)
        return cls(events=events, cutoff=one.cutoff, title=title, unit=unit).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        row: int = 0,
        *,
        method: Literal["occlusion", "blanking", "integrated_gradients"] = "occlusion",
        target: Any = None,
        unit: Literal["log_odds", "probability"] = "log_odds",
        history: Any = None,
        kind_field: str | None = None,
        size_field: str | None = None,
        ax: Any = None,
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
            The display, plotted. Its title has the customer and the prediction.

        Raises
        ------
        IndexError
            If there is no such row.
        TypeError
            If the row is not an integer.
        """
        one = X.iloc[[_position(row, len(X))]]
        found, outputs = event_attributions(
            estimator, one, method, target=target, unit=unit, return_outputs=True
        )
        label = unit_label(estimator, unit)
        if "target" in outputs:
            label += f" of {outputs['target'].iloc[0]}"
        customer = one_history(one, history).customers[0]
        who = "unknown customer" if pd.isna(customer) else str(customer)
        return cls.from_attributions(
            found,
            one,
            history=history,
            kind_field=kind_field,
            size_field=size_field,
            title=f"{who}, {label}: {outputs['output'].iloc[0]:.3g}",
            unit=label,
            ax=ax,
        )

    def plot(self, ax: Any = None) -> Self:
        """Plot the events on lines, and the cutoff.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

        Returns
        -------
        HistoryDisplay
            The display, with `ax_` and `figure_`.
        """
        lanes = self.events["lane"].value_counts(sort=True).index.tolist()
        if ax is None:
            ax = new_axes(8, 1.7 + 0.4 * max(1, len(lanes)))
        ink = text_color()
        for y in range(len(lanes)):
            ax.axhline(y, color=ink, lw=0.6, alpha=0.3, zorder=0)
        ax.axvline(self.cutoff, color=ink, lw=2)
        self._plot_events(ax, lanes, ink)
        ax.set_yticks(range(len(lanes)), [str(lane)[:30] for lane in lanes])
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
        # Without events the axis spans a single date.
        if isinstance(self.cutoff, pd.Timestamp) and len(self.events):
            set_date_ticks(ax)
        ax.set_title(self.title, loc="left")
        hide_frame(ax, y_axis=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_events(self, ax: Any, lanes: list[Any], ink: str) -> None:
        """Plot dots, strong attributions on top, on a colour scale centred at 0."""
        strength = self.events["attribution"].abs().fillna(0.0).to_numpy()
        events = self.events.iloc[np.argsort(strength, kind="stable")]
        known = events["attribution"].notna()

        def draw(some: pd.DataFrame, **style: Any) -> Any:
            at = [lanes.index(lane) for lane in some["lane"]]
            size = 30 + 190 * some["size"].fillna(0.0)  # in square points
            return ax.scatter(
                some["time"], at, s=size, linewidths=0.7, zorder=3, **style
            )

        if not known.all():
            # Crosses: a circle without a colour would look like an attribution of 0,
            # or on a dark page like the lowest one.
            draw(events[~known], c=ink, marker="x", alpha=0.6)
        if known.any():
            # Symmetric, so that the neutral colour is an attribution of 0.
            limit = float(strength.max()) or 1.0
            colors = {"cmap": "PuOr_r", "vmin": -limit, "vmax": limit}
            shown = events[known]
            dots = draw(shown, c=shown["attribution"], edgecolors=ink, **colors)
            ax.figure.colorbar(dots, ax=ax, label=f"attribution\n({self.unit})")


def _position(row: int, n_rows: int) -> int:
    """Return the position of a row, from the start; a negative one is from the end."""
    if not isinstance(row, Integral) or isinstance(row, bool):
        raise TypeError(f"row must be an integer, a position in X; got {row!r}.")
    if not -n_rows <= row < n_rows:
        raise IndexError(
            f"row={row!r} is none of the {n_rows} rows of X: it is a position, from 0 "
            f"to {n_rows - 1}, not a label of the index."
        )
    return int(row) % n_rows


def _refuse_other_events(events: pd.DataFrame, one: Any, row: int) -> None:
    """Raise a ValueError if attributions are not of the events of a history.

    Parameters
    ----------
    events : DataFrame
        Attributions to the events of the row. The last event is among them, whatever
        `last_events` was.
    one : History
        The history that is plotted.
    row : int
        Position of the row.
    """
    if not len(events):
        return
    position = events["position"].to_numpy("int64")
    is_last = position.max() == len(one) - 1
    is_same = is_last and (events["customer"] == one.customer).all()
    if is_same:
        # A table that was read from a file has times as text.
        is_same = (events["time"].astype(one.times.dtype) == one.times[position]).all()
    if not is_same:
        raise ValueError(
            f"The attributions of row {row} are not of the events of customer "
            f"{one.customer!r} before {one.cutoff}. Pass the X that they were computed "
            "for, with its rows in the same order."
        )


def _lanes(frame: pd.DataFrame, of_log: str | None, chosen: str | None) -> Any:
    """Return the lane of each event: the level of a field, or one lane for all."""
    fields = frame.iloc[:, 2:]
    name: Any = _check_field(fields, chosen) or of_log
    if name is None:
        few = (
            one
            for one, column in fields.items()
            if isinstance(column.dtype, pd.CategoricalDtype)
            and len(column.dtype.categories) <= _MAX_LANES
        )
        name = next(few, None)
    if name is None:
        return np.full(len(frame), "events", dtype=object)
    levels = fields[name].astype(object)
    return levels.where(levels.notna(), "(missing)").to_numpy()


def _sizes(fields: pd.DataFrame, chosen: str | None) -> np.ndarray:
    """Return the absolute values of a field over the largest, shape (n_events,)."""
    numeric = (name for name, column in fields.items() if column.dtype.kind == "f")
    name = _check_field(fields, chosen) or next(numeric, None)
    if name is None:
        return np.full(len(fields), 0.3)
    sizes = np.abs(fields[name].to_numpy("float64"))
    # An infinite amount would shrink all other dots to 0.
    sizes = np.where(np.isfinite(sizes), sizes, np.nan)
    known = sizes[~np.isnan(sizes)]
    return sizes / (known.max() or 1.0) if len(known) else sizes


def _check_field(fields: pd.DataFrame, chosen: str | None) -> str | None:
    if chosen is not None and chosen not in fields:
        raise KeyError(f"The log has no field {chosen!r}; it has {list(fields)}.")
    return chosen
