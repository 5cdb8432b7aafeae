"""A picture of vanishing gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pandas as pd

from sklearn_seqcrm.inspection._network_signals import gradient_flow

# Told apart by everybody (Okabe and Ito, 2008), and by their lines.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
_LINES = ("-", "--", "-.", ":")


class GradientFlowDisplay:
    """Show how the derivative of the output by the state falls with the age of events.

    The axis of norms is logarithmic, so that a straight line is a constant factor for
    each event. All are divided by the norm at the last event.

    It is made by `from_flows` or `from_estimator`; what it holds are the attributes
    below.

    Parameters
    ----------
    norms : DataFrame of shape (n_ages, n_models)
        Median norm by age of the event, 1 for the last, of each model.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    gradient_flow : The numbers of single rows.
    GateDisplay : What forgets.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.inspection import GradientFlowDisplay
    >>> flow = pd.DataFrame({"age": [2, 1, 2, 1], "norm": [0.1, 1.0, 0.3, 3.0]})
    >>> display = GradientFlowDisplay.from_flows({"rnn": flow})
    >>> display.norms["rnn"].tolist()
    [2.0, 0.2]
    """

    def __init__(self, *, norms: pd.DataFrame) -> None:
        self.norms = norms

    @classmethod
    def from_flows(
        cls,
        flows: Mapping[str, pd.DataFrame],
        *,
        max_age: int | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot what `gradient_flow` returned.

        Parameters
        ----------
        flows : dict of str to DataFrame
            By the name of the model.
        max_age : int or None, default=None
            The oldest event to show; None: all.
        ax : matplotlib Axes or None, default=None
            Where to plot; None: new axes.

        Returns
        -------
        GradientFlowDisplay
            The display, plotted.

        Raises
        ------
        TypeError
            If `flows` is no dict.
        """
        if not isinstance(flows, Mapping):
            raise TypeError(
                "flows must be a dict of what is to be compared, such as "
                f"{{'lstm': gradient_flow(...)}}; got {type(flows).__name__}."
            )
        norms = pd.DataFrame(
            {name: flow.groupby("age")["norm"].median() for name, flow in flows.items()}
        )
        return cls(norms=norms.loc[:max_age]).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        name: str | None = None,
        max_age: int | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot the gradient flow of a fitted pipeline.

        Parameters
        ----------
        estimator : Pipeline
            Fitted, with one of our networks at its end.
        X : DataFrame of shape (n, n_columns)
            Rows with raw histories, in one column.
        name : str or None, default=None
            Name of the model; None: its cell.
        max_age : int or None, default=None
            The oldest event to show; None: all.
        ax : matplotlib Axes or None, default=None
            Where to plot; None: new axes.

        Returns
        -------
        GradientFlowDisplay
            The display, plotted.
        """
        flow = gradient_flow(estimator, X)
        name = estimator[-1].cell if name is None else name
        return cls.from_flows({name: flow}, max_age=max_age, ax=ax)

    @property
    def ratios(self) -> pd.DataFrame:
        """Norms over that at the last event."""
        return self.norms.div(self.norms.iloc[0])

    def plot(self, ax: Any = None) -> Self:
        """Plot a line for each model.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to plot; None: new axes.

        Returns
        -------
        GradientFlowDisplay
            The display, with `ax_` and `figure_`.
        """
        from matplotlib import pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
        for i, (name, ratio) in enumerate(self.ratios.items()):
            color, line = _COLORS[i % len(_COLORS)], _LINES[i % len(_LINES)]
            ax.plot(ratio.index, ratio, line, color=color, label=str(name)[:30])
        ax.set_yscale("log")
        ax.invert_xaxis()
        ax.set_xlabel("events before the cutoff: 1 is the last")
        ax.set_ylabel("derivative by the state,\nover that at the last event")
        if len(self.norms.columns) > 1:
            ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        for side in ("right", "top"):
            ax.spines[side].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
