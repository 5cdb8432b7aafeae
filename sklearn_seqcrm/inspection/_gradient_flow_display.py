"""Plot of vanishing gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pandas as pd
from sklearn.pipeline import Pipeline

from sklearn_seqcrm._plotting import (
    OKABE_ITO,
    hide_frame,
    legend_on_the_right,
    new_axes,
    plain_text,
)
from sklearn_seqcrm.inspection._network_signals import gradient_flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = OKABE_ITO[:7]  # yellow lines are too faint
_LINES = ("-", "--", "-.", ":")


@dataclass(kw_only=True, repr=False, eq=False)
class GradientFlowDisplay:
    """Plot of gradient norms with respect to the state, by position from the end.

    Position 1 is the last event of a history (column ``age`` of `gradient_flow`). Norms
    are divided by that at the last event, on a logarithmic axis: a straight line is a
    constant factor per event.

    Create it with `from_flows` or `from_estimator`.

    Parameters
    ----------
    norms : DataFrame of shape (n_positions, n_models)
        Median norm for each model, by position from the end of the history (index 1:
        last event).

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Figure of the last plot.

    See Also
    --------
    gradient_flow : Norms of single rows.
    GateDisplay : Plot of the gates, which decide what is forgotten.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.inspection import GradientFlowDisplay
    >>> flow = pd.DataFrame({"age": [2, 1, 2, 1], "norm": [0.1, 1.0, 0.3, 3.0]})
    >>> display = GradientFlowDisplay.from_flows({"rnn": flow})
    >>> display.norms["rnn"].tolist()
    [2.0, 0.2]
    """

    norms: pd.DataFrame

    @classmethod
    def from_flows(
        cls,
        flows: Mapping[str, pd.DataFrame],
        *,
        max_age: int | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Plot results of `gradient_flow`.

        Parameters
        ----------
        flows : dict of str to DataFrame
            Results by the name of the model.
        max_age : int or None, default=None
            Largest position from the end to show; None: all.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

        Returns
        -------
        GradientFlowDisplay
            The display, plotted.

        Raises
        ------
        TypeError
            If `flows` is not a dict.
        ValueError
            If a model has no events.
        """
        if not isinstance(flows, Mapping):
            raise TypeError(
                "flows must be a dict of the models to compare, such as "
                f"{{'lstm': gradient_flow(...)}}; got {type(flows).__name__}."
            )
        without = [name for name, flow in flows.items() if not len(flow)]
        if without:
            raise ValueError(
                f"The rows of {without} have no events, and so no states; pass rows "
                "with events."
            )
        norms = pd.DataFrame(
            {name: flow.groupby("age")["norm"].median() for name, flow in flows.items()}
        )
        # Medians: norms of single rows differ by orders of magnitude.
        return cls(norms=norms.loc[:max_age]).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Pipeline,
        X: pd.DataFrame,
        *,
        history: str | None = None,
        target: object = None,
        name: str | None = None,
        max_age: int | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Plot the gradient flow of a fitted pipeline.

        Parameters
        ----------
        estimator : Pipeline
            Fitted, with an LSTM estimator at its end.
        X : DataFrame of shape (n, n_columns)
            Rows with raw histories.
        history, target : object
            As in `gradient_flow`.
        name : str or None, default=None
            Name of the model; None: its cell.
        max_age : int or None, default=None
            Largest position from the end to show; None: all.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

        Returns
        -------
        GradientFlowDisplay
            The display, plotted.
        """
        flow = gradient_flow(estimator, X, history=history, target=target)
        name = estimator[-1].cell if name is None else name
        return cls.from_flows({name: flow}, max_age=max_age, ax=ax)

    @property
    def ratios(self) -> pd.DataFrame:
        """Norms, divided by the norm at the last event."""
        return self.norms.div(self.norms.iloc[0])

    def plot(self, ax: Axes | None = None) -> Self:
        """Plot a line for each model.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

        Returns
        -------
        GradientFlowDisplay
            The display, with `ax_` and `figure_`.
        """
        if ax is None:
            ax = new_axes(7.5, 3.6)
        for i, (name, ratio) in enumerate(self.ratios.items()):
            # The second round of lines is shifted: both blues would be solid.
            line = _LINES[(i + i // len(_LINES)) % len(_LINES)]
            color = _COLORS[i % len(_COLORS)]
            ax.plot(ratio.index, ratio, line, color=color, label=plain_text(name, 30))
        ax.set_yscale("log")
        ax.invert_xaxis()
        ax.set_xlabel("position from the end (1 = last event)")
        ax.set_ylabel("gradient with respect to the state,\nrelative to the last event")
        if len(self.norms.columns) > 1:
            legend_on_the_right(ax)
        hide_frame(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self
