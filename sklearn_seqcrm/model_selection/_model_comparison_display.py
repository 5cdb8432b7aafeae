"""Plot of the differences between models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._plotting import hide_frame, new_axes, plain_text
from sklearn_seqcrm._store import check_list
from sklearn_seqcrm._typing import ListLike
from sklearn_seqcrm.model_selection._model_comparison import ModelComparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BETTER, _WORSE, _UNDECIDED = "tab:blue", "tab:orange", "0.55"


@dataclass(kw_only=True, repr=False, eq=False)
class ModelComparisonDisplay:
    """Plot of the score of each model less that of the reference, with intervals.

    Each metric has axes of its own, with the interval of each model: coloured if it
    excludes zero, grey if it does not.

    Create it with `from_comparison`.

    Parameters
    ----------
    differences : DataFrame
        As in `ModelComparison`.
    reference : str
        Name of the model at zero.
    confidence_level : float
        Probability of the intervals.

    Attributes
    ----------
    axes_ : ndarray of shape (n_metrics,) of matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        Figure of the last plot.

    See Also
    --------
    compare_models : Computes the comparison.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from sklearn.dummy import DummyRegressor
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_seqcrm.model_selection import (
    ...     ModelComparisonDisplay,
    ...     compare_models,
    ... )
    >>> X, y = make_regression(random_state=0)
    >>> models = {"mean": DummyRegressor(), "ridge": Ridge()}
    >>> comparison = compare_models(models, X, y, cv=2, scoring="r2")
    >>> display = ModelComparisonDisplay.from_comparison(comparison)
    >>> display.axes_[0].get_title()
    'r2'
    """

    differences: pd.DataFrame
    reference: str
    confidence_level: float

    @classmethod
    def from_comparison(
        cls,
        comparison: ModelComparison,
        *,
        metrics: Sequence[str] | None = None,
        axes: Axes | ListLike | None = None,
    ) -> Self:
        """Plot a comparison.

        Parameters
        ----------
        comparison : ModelComparison
            Result of `compare_models`.
        metrics : list of str or None, default=None
            Metrics to show; None: all.
        axes : matplotlib Axes, sequence of them or None, default=None
            Axes to plot on, one for each metric; None: new axes.

        Returns
        -------
        ModelComparisonDisplay
            The display, plotted.

        Raises
        ------
        TypeError
            If `comparison` is something else.
        ValueError
            If it has one model only, a metric is unknown, or there is another number
            of axes than of metrics.
        """
        if not isinstance(comparison, ModelComparison):
            raise TypeError(
                "comparison must be what compare_models returns; got "
                f"{type(comparison).__name__}."
            )
        differences = comparison.differences
        known = differences["metric"].unique().tolist()
        if metrics is not None:
            metrics = check_list(metrics, "metrics", "names")
            unknown = [name for name in metrics if name not in known]
            if unknown:
                raise ValueError(f"There are no metrics {unknown}; there are {known}.")
            differences = differences[differences["metric"].isin(metrics)]
        if differences.empty:
            raise ValueError("There is one model, and so no difference to show.")
        display = cls(
            differences=differences,
            reference=comparison.reference,
            confidence_level=comparison.confidence_level,
        )
        return display.plot(axes)

    def plot(self, axes: Axes | ListLike | None = None) -> Self:
        """Plot the intervals, a row for each model and axes for each metric.

        Parameters
        ----------
        axes : matplotlib Axes, sequence of them or None, default=None
            Axes to plot on, one for each metric; None: new axes.

        Returns
        -------
        ModelComparisonDisplay
            The display, with `axes_` and `figure_`.

        Raises
        ------
        ValueError
            If there is another number of axes than of metrics.
        """
        metrics = self.differences["metric"].unique()
        models = self.differences["model"].unique()
        if axes is None:
            n, height = len(metrics), 1.6 + 0.35 * len(models)
            axes = new_axes(1.5 + 4.2 * n, height, n_columns=n, sharey=True)
        panels = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
        if len(panels) != len(metrics):
            raise ValueError(
                f"{len(metrics)} metrics need as many axes; got {len(panels)}."
            )
        for ax, metric in zip(panels, metrics, strict=True):
            of_metric = self.differences[self.differences["metric"] == metric]
            self._plot_metric(ax, of_metric.set_index("model").loc[models])
            ax.set_title(plain_text(metric))
        panels[0].set_yticks(range(len(models)), [plain_text(one) for one in models])
        self.axes_, self.figure_ = panels, panels[0].figure
        return self

    def _plot_metric(self, ax: Any, found: pd.DataFrame) -> None:
        """Plot the differences of all models by one metric, the first model on top."""
        ax.axvline(0, color="0.2", lw=1)
        for y, (_, row) in enumerate(found.iterrows()):
            color = _color(row["lower"], row["upper"])
            ax.plot([row["lower"], row["upper"]], [y, y], c=color, lw=3, alpha=0.6)
            ax.plot(row["difference"], y, c=color, marker="o", ms=7, ls="none")
            ax.annotate(
                _label(row["difference"], row["lower"], row["upper"]),
                # Beside the axes, where neither intervals nor the line at zero are.
                (1, y),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize="small",
                color=color if color != _UNDECIDED else "0.3",
            )
        ax.set_ylim(len(found) - 0.4, -0.6)
        ax.margins(x=0.1)
        ax.locator_params(axis="x", nbins=5)
        ax.set_xlabel(
            f"difference from {plain_text(self.reference)},\n"
            f"{100 * self.confidence_level:.4g}% interval: worse ← 0 → better"
        )
        hide_frame(ax, y_axis=False)


def _label(*numbers: float) -> str:
    """Format a difference and its interval with two significant digits of its width."""
    # An interval of +0.0123 to +0.0456 is 0.033 wide: three digits, +0.012 to +0.046.
    width = abs(numbers[2] - numbers[1]) or abs(numbers[0])
    exact = width > 0 and np.isfinite(width)
    digits = max(0, 1 - int(np.floor(np.log10(width)))) if exact else 2
    texts = (f"{number:+z.{digits}f}".replace("-", "\u2212") for number in numbers)
    return "{} ({} to {})".format(*texts)


def _color(lower: float, upper: float) -> str:
    """Return the colour of an interval above zero, below zero, or around it."""
    if lower > 0:
        return _BETTER
    return _WORSE if upper < 0 else _UNDECIDED
