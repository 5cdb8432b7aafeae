"""Plot of the credit of channels, by one method or by several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._plotting import (
    OKABE_ITO,
    hide_frame,
    legend_on_the_right,
    new_axes,
    plain_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(kw_only=True, repr=False, eq=False)
class ChannelAttributionDisplay:
    """Plot of shares of channels: a group of bars for each channel, a bar per method.

    Create it with `from_credit`.

    Parameters
    ----------
    shares : DataFrame of shape (n_channels, n_methods)
        Share of each channel by each method of attribution.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Figure of the last plot.

    See Also
    --------
    channel_attribution : Credit for the prediction of a model.
    last_touch_credit : Credit by a rule.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.inspection import ChannelAttributionDisplay
    >>> shares = pd.Series({"search": 0.75, "email": 0.25})
    >>> last = pd.DataFrame({"search": [1.0, 0.0], "email": [0.0, 1.0]})
    >>> display = ChannelAttributionDisplay.from_credit(
    ...     {"model": shares, "last touch": last}
    ... )
    >>> display.shares
            model  last touch
    search   0.75         0.5
    email    0.25         0.5
    """

    shares: pd.DataFrame

    @classmethod
    def from_credit(cls, credit: Mapping[str, Any], *, ax: Axes | None = None) -> Self:
        """Plot the credit of channels.

        Parameters
        ----------
        credit : dict of str to Bunch, DataFrame or Series
            Results by the name of the method: what `channel_attribution` or one of the
            rules returned, or shares of channels. Credit of rows is summed.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

        Returns
        -------
        ChannelAttributionDisplay
            The display, plotted.

        Raises
        ------
        TypeError
            If `credit` is not a dict.
        """
        if not isinstance(credit, Mapping) or "share" in credit:
            raise TypeError(
                "credit must be a dict of the methods to compare, for example "
                "{'model': channel_attribution(...), 'last touch': "
                f"last_touch_credit(...)}}; got {type(credit).__name__}."
            )
        columns = {name: _shares_of(one) for name, one in credit.items()}
        shares = pd.DataFrame(columns)
        first = next(iter(columns.values())).index
        # Channels in the order of the first method, then those that it lacks.
        order = [*first, *(one for one in shares.index if one not in first)]
        return cls(shares=shares.loc[order].fillna(0.0)).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Plot the shares.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None: new axes.

        Returns
        -------
        ChannelAttributionDisplay
            The display, with `ax_` and `figure_`.
        """
        n_channels, n_methods = self.shares.shape
        if ax is None:
            ax = new_axes(7.5, 1.2 + n_channels * (0.25 + 0.14 * n_methods))
        thick = 0.84 / n_methods  # of a bar; groups are 1 apart
        for i, (name, shares) in enumerate(self.shares.items()):
            at = np.arange(n_channels) + (i - (n_methods - 1) / 2) * thick
            color = OKABE_ITO[i % len(OKABE_ITO)]
            ax.barh(at, 100 * shares, thick * 0.9, color=color, label=plain_text(name))
        ax.set_yticks(
            range(n_channels), [plain_text(one, 30) for one in self.shares.index]
        )
        ax.set_ylim(n_channels - 0.5, -0.5)
        ax.set_xlabel("share of the credit, percent")
        if n_methods > 1:
            legend_on_the_right(ax)
        hide_frame(ax, y_axis=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _shares_of(credit: Any) -> pd.Series:
    """Return the shares of channels in the result of any method."""
    if isinstance(credit, Mapping):
        return credit["share"]
    if isinstance(credit, pd.DataFrame):
        credit = credit.sum()
    return credit / (credit.sum() or 1.0)
