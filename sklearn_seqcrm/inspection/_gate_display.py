"""Plot of the gates of one row, event by event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from sklearn_seqcrm._plotting import hide_frame, new_axes, text_color
from sklearn_seqcrm._typing import ListLike
from sklearn_seqcrm.inspection._explained_rows import single_row
from sklearn_seqcrm.inspection._network_signals import lstm_gates

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GATES = ("input", "forget", "output", "reset", "update")


@dataclass(kw_only=True, repr=False, eq=False)
class GateDisplay:
    """Plot of the activation of gates at each event of a row: mean over units.

    The band around the mean is from the 10th to the 90th percentile of the units.

    Create it with `from_gates` or `from_estimator`.

    Parameters
    ----------
    gates : DataFrame
        What `lstm_gates` returned for the row.

    Attributes
    ----------
    ax_ : ndarray of matplotlib Axes
        Axes of the last plot, one for each gate.
    figure_ : matplotlib Figure
        Figure of the last plot.

    See Also
    --------
    lstm_gates : Gates as a table.
    HistoryDisplay : Plot of the events themselves.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.inspection import GateDisplay
    >>> gates = pd.DataFrame(
    ...     {
    ...         "row": 0,
    ...         "position": [0, 0, 1, 1],
    ...         "unit": [0, 1, 0, 1],
    ...         "forget": [0.9, 0.7, 0.2, 0.4],
    ...     }
    ... )
    >>> display = GateDisplay.from_gates(gates)
    >>> display.gates.groupby("position")["forget"].mean().round(1).tolist()
    [0.8, 0.3]
    """

    gates: pd.DataFrame

    @classmethod
    def from_gates(
        cls, gates: pd.DataFrame, row: int = 0, *, ax: Axes | ListLike | None = None
    ) -> Self:
        """Plot gates.

        Parameters
        ----------
        gates : DataFrame
            What `lstm_gates` returned.
        row : int, default=0
            Position of the row in `X`.
        ax : array-like of matplotlib Axes or None, default=None
            Axes to plot on, one for each gate; None: new axes.

        Returns
        -------
        GateDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If the row has no events.
        """
        own = gates[gates["row"] == row]
        if own.empty:
            raise ValueError(f"Row {row!r} has no events, and so no gates.")
        return cls(gates=own).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Pipeline,
        X: pd.DataFrame,
        row: int = 0,
        *,
        history: str | None = None,
        layer: int = -1,
        ax: Axes | ListLike | None = None,
    ) -> Self:
        """Plot gates of a fitted pipeline.

        Parameters
        ----------
        estimator : Pipeline
            Fitted, with a network of ``cell="lstm"`` or ``"gru"`` at its end.
        X : DataFrame of shape (n, n_columns)
            Rows with raw histories.
        row : int, default=0
            Position of the row in `X`; negative positions count from the end.
        history : str or None, default=None
            Name of the history column; None: the only one.
        layer : int, default=-1
            Position of the layer.
        ax : array-like of matplotlib Axes or None, default=None
            Axes to plot on, one for each gate; None: new axes.

        Returns
        -------
        GateDisplay
            The display, plotted.

        Raises
        ------
        IndexError
            If there is no such row.
        TypeError
            If the row is not an integer.
        ValueError
            If the row has no events.
        """
        row, one = single_row(X, row, "GateDisplay")
        found = lstm_gates(estimator, one, history=history, layer=layer)
        # In errors, the position is that of the caller.
        return cls.from_gates(found.assign(row=row), row, ax=ax)

    def plot(self, ax: Axes | ListLike | None = None) -> Self:
        """Plot a line for each gate.

        Parameters
        ----------
        ax : array-like of matplotlib Axes or None, default=None
            Axes to plot on, one for each gate; None: new axes.

        Returns
        -------
        GateDisplay
            The display, with `ax_` and `figure_`.
        """
        # Candidates and states are not between 0 and 1.
        names = [name for name in _GATES if name in self.gates]
        if ax is None:
            n = len(names)
            ax = new_axes(7.5, 0.6 + 1.2 * n, n, sharex=True, squeeze=False)
        axes, ink = np.ravel(np.asarray(ax, dtype=object)), text_color()
        for name, one in zip(names, axes, strict=True):
            by_event = self.gates.groupby("position")[name]  # over the units
            at = 1 + np.arange(by_event.ngroups)
            low, high = by_event.quantile(0.1), by_event.quantile(0.9)
            one.fill_between(at, low, high, step="mid", color="#56B4E9", alpha=0.4)
            one.step(at, by_event.mean(), where="mid", color=ink)
            one.set_ylim(0, 1)
            one.set_ylabel(name)
            hide_frame(one)
        axes[0].set_title("how far gates are open: mean of units, 80% of them", size=10)
        axes[-1].set_xlabel("event, from the first to the last before the cutoff")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        self.ax_, self.figure_ = axes, axes[0].figure
        return self
