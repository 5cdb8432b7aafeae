"""Plot of the folds of a `CutoffSplit`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import one_history
from sklearn_seqcrm._plotting import hide_frame, new_axes, set_date_ticks
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.model_selection._cutoff_split import CutoffSplit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TRAIN, _TEST, _DROPPED = "tab:blue", "tab:orange", "0.6"
_BAR = 0.34  # height; folds are 1 apart
_MAX_DOTS = 100  # more cutoffs would merge into a line
_THICK: dict[str, Any] = {"lw": 4, "solid_capstyle": "butt"}


@dataclass(kw_only=True, repr=False, eq=False)
class CutoffSplitDisplay:
    """Plot of the training and test cutoffs of each fold of a `CutoffSplit`.

    Each fold has a line of cutoffs, coloured by the role of their rows. Below it are
    the windows of the labels: those of training rows end before the test begins.

    Create it with `from_splitter`.

    Parameters
    ----------
    report : DataFrame of shape (n_splits, 12)
        Result of `CutoffSplit.report`.
    cutoffs : Index of shape (n_cutoffs,)
        Distinct cutoffs of the rows, ascending.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Figure of the last plot.

    See Also
    --------
    CutoffSplit : The splitter.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.model_selection import CutoffSplit, CutoffSplitDisplay
    >>> events = pd.DataFrame({"customer": ["ann", "bob"], "week": [0, 1]})
    >>> X = EventLog(events, "customer", "week").snapshots_every(1, end=12)
    >>> splitter = CutoffSplit(n_splits=3, horizon=2)
    >>> display = CutoffSplitDisplay.from_splitter(splitter, X)
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['fold 1', 'fold 2', 'fold 3']
    """

    report: pd.DataFrame
    cutoffs: pd.Index

    @classmethod
    def from_splitter(
        cls,
        splitter: CutoffSplit,
        X: pd.DataFrame | pd.Series | HistoryArray,
        y: pd.Series | None = None,
        *,
        ax: Axes | None = None,
    ) -> Self:
        """Split rows and plot the folds.

        Parameters
        ----------
        splitter : CutoffSplit
            The splitter.
        X : DataFrame, Series or HistoryArray of n rows
            Rows with histories, in any order.
        y : Series of shape (n,) or None, default=None
            Target, which has the horizon if the splitter has none.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

        Returns
        -------
        CutoffSplitDisplay
            The display, plotted.

        Raises
        ------
        TypeError
            If `splitter` is no `CutoffSplit`.
        ValueError
            If it cannot split these rows.
        """
        if not isinstance(splitter, CutoffSplit):
            raise TypeError(
                f"splitter must be a CutoffSplit; got {type(splitter).__name__}."
            )
        report = splitter.report(X, y)
        array = one_history(X, splitter.history, "CutoffSplit(history={!r})")
        cutoffs = array.log.timeline.clock.as_index(np.unique(array.rows.cutoff))
        return cls(report=report, cutoffs=cutoffs).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Plot the folds, the first one on top.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

        Returns
        -------
        CutoffSplitDisplay
            The display, with `ax_` and `figure_`.
        """
        if ax is None:
            ax = new_axes(8, 1.6 + 0.55 * len(self.report))
        for y, (_, fold) in enumerate(self.report.iterrows()):
            self._plot_labels(ax, y, fold)
            self._plot_cutoffs(ax, y, fold)
            ax.annotate(
                f"{fold['n_train']:,} → {fold['n_test']:,}",
                (1.01, y),
                xycoords=("axes fraction", "data"),
                va="center",
            )
        ax.annotate(
            "rows, train → test",
            (1.01, -0.75),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize="small",
        )
        self._label_axes(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_labels(self, ax: Any, y: int, fold: pd.Series) -> None:
        """Plot the windows of labels below the cutoffs, and the start of the test."""
        for part, color in (("train", _TRAIN), ("test", _TEST)):
            start, end = fold[f"{part}_start"], fold[f"{part}_labels_end"]
            ax.barh(
                y + _BAR / 2,
                end - start,
                left=start,
                height=_BAR,
                color=color,
                alpha=0.25,
                linewidth=0,
                label=f"{part} labels" if y == 0 else None,
            )
        ax.plot([fold["test_start"]] * 2, [y - 0.4, y + 0.4], color="0.3", lw=1)

    def _plot_cutoffs(self, ax: Any, y: int, fold: pd.Series) -> None:
        """Plot the cutoffs, as dots where there are few, coloured by their role."""
        cutoffs = self.cutoffs
        # Roles by time. Held-out customers share their cutoffs with other rows.
        old = cutoffs < fold["train_start"]
        trained = ~old & (cutoffs <= fold["train_end"])
        waiting = (cutoffs > fold["train_end"]) & (cutoffs < fold["test_start"])
        tested = (cutoffs >= fold["test_start"]) & (cutoffs <= fold["test_end"])
        for chosen, color, marker, label in (
            (trained, _TRAIN, "o", "trained on"),
            (waiting, _DROPPED, "x", "left out"),
            (old, _DROPPED, "x", None),
            (tested, _TEST, "o", "tested"),
        ):
            label = label if y == 0 else None
            if len(cutoffs) <= _MAX_DOTS:
                x, style = cutoffs[chosen], {"ls": "none", "marker": marker, "ms": 5}
            else:
                x, style = cutoffs[chosen][[0, -1]] if chosen.any() else [], _THICK
            ax.plot(x, [y - 0.15] * len(x), c=color, label=label, **style)

    def _label_axes(self, ax: Any) -> None:
        n_folds = len(self.report)
        ax.set_yticks(range(n_folds), [f"fold {fold}" for fold in self.report.index])
        ax.set_ylim(n_folds - 0.4, -1)
        ax.use_sticky_edges = False  # bars would leave no margin for the first dot
        ax.autoscale_view(scaley=False)
        if isinstance(self.cutoffs, pd.DatetimeIndex):
            set_date_ticks(ax, maxticks=8)
        ax.set_xlabel("time")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, frameon=False)
        hide_frame(ax, y_axis=False)
