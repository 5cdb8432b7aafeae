"""A picture of the credit that channels get, by one way or by several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd

# Told apart by everybody (Okabe and Ito, 2008).
_COLORS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#999999",
    "#F0E442",
)


class ChannelAttributionDisplay:
    """Show shares of channels, a group of bars for each channel.

    It is made by `from_credit`; what it holds are the attributes below.

    Parameters
    ----------
    shares : DataFrame of shape (n_channels, n_ways)
        Share of each channel by each way to give credit.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    channel_attribution : Credit by what a model predicts.
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

    def __init__(self, *, shares: pd.DataFrame) -> None:
        self.shares = shares

    @classmethod
    def from_credit(cls, credit: Mapping[str, Any], *, ax: Any = None) -> Self:
        """Plot the credit of channels.

        Parameters
        ----------
        credit : dict of str to Bunch, DataFrame or Series
            By the name of the way: what `channel_attribution` or one of the rules
            returned, or shares of channels. Credit of rows is added up.
        ax : matplotlib Axes or None, default=None
            Where to plot; None: new axes.

        Returns
        -------
        ChannelAttributionDisplay
            The display, plotted.

        Raises
        ------
        TypeError
            If `credit` is no dict.
        """
        if not isinstance(credit, Mapping) or "share" in credit:
            raise TypeError(
                "credit must be a dict of what is to be compared, for example "
                "{'model': channel_attribution(...), 'last touch': "
                f"last_touch_credit(...)}}; got {type(credit).__name__}."
            )
        columns = {name: _shares_of(one) for name, one in credit.items()}
        shares = pd.DataFrame(columns)
        first = next(iter(columns.values())).index
        # In the order of the first, where it has them.
        order = [*first, *(one for one in shares.index if one not in first)]
        return cls(shares=shares.loc[order].fillna(0.0)).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Plot the shares.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to plot; None: new axes.

        Returns
        -------
        ChannelAttributionDisplay
            The display, with `ax_` and `figure_`.
        """
        from matplotlib import pyplot as plt

        n_channels, n_ways = self.shares.shape
        if ax is None:
            height = 1.2 + n_channels * (0.25 + 0.14 * n_ways)
            _, ax = plt.subplots(figsize=(7.5, height), layout="constrained")
        thick = 0.84 / n_ways
        for i, (name, shares) in enumerate(self.shares.items()):
            at = np.arange(n_channels) + (i - (n_ways - 1) / 2) * thick
            color = _COLORS[i % len(_COLORS)]
            ax.barh(at, 100 * shares, thick * 0.9, color=color, label=str(name))
        ax.set_yticks(range(n_channels), [str(one)[:30] for one in self.shares.index])
        ax.set_ylim(n_channels - 0.5, -0.5)
        ax.set_xlabel("share of the credit, percent")
        if n_ways > 1:
            ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        for side in ("left", "right", "top"):
            ax.spines[side].set_visible(False)
        ax.tick_params(axis="y", length=0)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _shares_of(credit: Any) -> pd.Series:
    """Shares of channels, whatever says so."""
    if isinstance(credit, Mapping):
        return credit["share"]
    if isinstance(credit, pd.DataFrame):
        credit = credit.sum()
    return credit / (credit.sum() or 1.0)
