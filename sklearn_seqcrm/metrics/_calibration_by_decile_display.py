"""A picture of predictions and of what came of them, in tenths of the rows."""

from __future__ import annotations

from typing import Any, Self

import pandas as pd

from sklearn_seqcrm.metrics._deciles import table_of
from sklearn_seqcrm.metrics._read import read_rows
from sklearn_seqcrm.metrics._scorers import response


class CalibrationByDecileDisplay:
    """Show the mean prediction and the mean target of each decile by prediction.

    Bars are what came, and the line is what was predicted: bars that fall from left to
    right tell that the order is right, and a line on their tops that the size is.

    It is made by `from_estimator` or `from_predictions`; what it holds are the
    attributes below.

    Parameters
    ----------
    table : DataFrame of shape (n_bins, 8)
        What `decile_table` returns.
    name : str or None, default=None
        Name of the model.

    Attributes
    ----------
    bars_ : matplotlib BarContainer
        Means of the targets in the last plot.
    line_ : matplotlib Line2D
        Means of the predictions.
    ax_ : matplotlib Axes
        Its axes.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    decile_table : The numbers.
    GainDisplay : The order alone.
    sklearn.calibration.CalibrationDisplay : Probabilities on the axis, for classes.

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import CalibrationByDecileDisplay
    >>> display = CalibrationByDecileDisplay.from_predictions(
    ...     [90, 30, 0, 0], [80, 20, 10, 10], n_bins=2
    ... )
    >>> [float(bar.get_height()) for bar in display.bars_]
    [60.0, 0.0]
    >>> display.line_.get_ydata().tolist()
    [50.0, 10.0]
    """

    def __init__(self, *, table: pd.DataFrame, name: str | None = None) -> None:
        self.table = table
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_bins: int = 10,
        sample_weight: Any = None,
        pos_label: Any = None,
        name: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot the deciles of a fitted model.

        Parameters
        ----------
        estimator : estimator
            A fitted regressor, or a classifier of two classes with probabilities.
        X : DataFrame or array-like of n rows
            Rows that it was not fitted on.
        y : array-like of shape (n,)
            What each row turned out to be worth; the classes, for a classifier.
        n_bins : int, default=10
            Number of parts, 1 or more.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights, not negative; None: 1 for each row.
        pos_label : int, float, bool, str or None, default=None
            The class that counts; None: the second one.
        name : str or None, default=None
            Name in the legend; None: that of the estimator's class.
        ax : matplotlib Axes or None, default=None
            Where to plot; None: new axes.

        Returns
        -------
        CalibrationByDecileDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If a classifier has another number of classes than two, or what
            `decile_table` refuses.
        AttributeError
            If a classifier has no probabilities.
        """
        predicted, pos_label = response(
            estimator, X, pos_label, only_probabilities=True
        )
        return cls.from_predictions(
            y,
            predicted,
            n_bins=n_bins,
            sample_weight=sample_weight,
            pos_label=pos_label,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        n_bins: int = 10,
        sample_weight: Any = None,
        pos_label: Any = None,
        name: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot the deciles of predictions.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            What each row turned out to be worth: amounts, counts, or 1 and 0.
        y_pred : array-like of shape (n,)
            Predictions of it, in the same unit, or probabilities.
        n_bins : int, default=10
            Number of parts, 1 or more.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights, not negative; None: 1 for each row.
        pos_label : int, float, bool, str or None, default=None
            Label that counts as 1; None: `y_true` are numbers.
        name : str or None, default=None
            Name in the legend.
        ax : matplotlib Axes or None, default=None
            Where to plot; None: new axes.

        Returns
        -------
        CalibrationByDecileDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            What `decile_table` refuses.
        """
        rows = read_rows(y_true, y_pred, sample_weight, pos_label=pos_label)
        return cls(table=table_of(rows, n_bins), name=name).plot(ax)

    def plot(self, ax: Any = None, *, name: str | None = None) -> Self:
        """Plot bars and line.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to plot; None: new axes.
        name : str or None, default=None
            Name in the legend; None: that of the display.

        Returns
        -------
        CalibrationByDecileDisplay
            The display, with `bars_`, `line_`, `ax_` and `figure_`.
        """
        from matplotlib import pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        name = self.name if name is None else name
        table = self.table
        self.bars_ = ax.bar(table.index, table["mean_target"], color="0.8", label="was")
        (self.line_,) = ax.plot(
            table.index,
            table["mean_prediction"],
            marker="o",
            label="predicted" if name is None else f"predicted by {name}",
        )
        ax.set_xticks(table.index)
        ax.set(xlabel="part of the rows, highest predictions first", ylabel="mean")
        ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
