"""A picture of the gates of one row, event after event."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm.inspection._network_signals import lstm_gates

_GATES = ("input", "forget", "output", "reset", "update")


class GateDisplay:
    """Show how far gates were open at each event of a row: the mean over units.

    Around the mean is a band from the tenth to the ninetieth percentile of the units.

    It is made by `from_gates` or `from_estimator`; what it holds are the attributes
    below.

    Parameters
    ----------
    gates : DataFrame
        What `lstm_gates` returned for the row.

    Attributes
    ----------
    ax_ : ndarray of matplotlib Axes
        Axes of the last plot, one for each gate.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    lstm_gates : The numbers.
    HistoryDisplay : A picture of the events themselves.

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

    def __init__(self, *, gates: pd.DataFrame) -> None:
        self.gates = gates

    @classmethod
    def from_gates(cls, gates: pd.DataFrame, row: int = 0, *, ax: Any = None) -> Self:
        """Plot gates.

        Parameters
        ----------
        gates : DataFrame
            What `lstm_gates` returned.
        row : int, default=0
            Position of the row in `X`.
        ax : array-like of matplotlib Axes or None, default=None
            Where to plot, one for each gate; None: new axes.

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
        cls, estimator: Any, X: Any, row: int = 0, *, layer: int = -1, ax: Any = None
    ) -> Self:
        """Plot gates of a fitted pipeline.

        Parameters
        ----------
        estimator : Pipeline
            Fitted, with a network of ``cell="lstm"`` or ``"gru"`` at its end.
        X : DataFrame of shape (n, n_columns)
            Rows with raw histories, in one column.
        row : int, default=0
            Position of the row in `X`.
        layer : int, default=-1
            Which layer.
        ax : array-like of matplotlib Axes or None, default=None
            Where to plot, one for each gate; None: new axes.

        Returns
        -------
        GateDisplay
            The display, plotted.
        """
        found = lstm_gates(estimator, X.iloc[[row]], layer=layer)
        return cls.from_gates(found, ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Plot a line for each gate.

        Parameters
        ----------
        ax : array-like of matplotlib Axes or None, default=None
            Where to plot, one for each gate; None: new axes.

        Returns
        -------
        GateDisplay
            The display, with `ax_` and `figure_`.
        """
        from matplotlib import pyplot as plt

        names = [name for name in _GATES if name in self.gates]
        if ax is None:
            _, ax = plt.subplots(
                len(names),
                1,
                figsize=(7.5, 0.6 + 1.2 * len(names)),
                sharex=True,
                squeeze=False,
                layout="constrained",
            )
        axes, ink = np.ravel(ax), plt.rcParams["text.color"]
        for name, one in zip(names, axes, strict=True):
            by_event = self.gates.groupby("position")[name]
            at = 1 + np.arange(by_event.ngroups)
            low, high = by_event.quantile(0.1), by_event.quantile(0.9)
            one.fill_between(at, low, high, step="mid", color="#56B4E9", alpha=0.4)
            one.step(at, by_event.mean(), where="mid", color=ink)
            one.set_ylim(0, 1)
            one.set_ylabel(name)
            for side in ("right", "top"):
                one.spines[side].set_visible(False)
        axes[0].set_title("how far gates are open: mean of units, 80% of them", size=10)
        axes[-1].set_xlabel("event, from the first to the last before the cutoff")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        self.ax_, self.figure_ = axes, axes[0].figure
        return self
