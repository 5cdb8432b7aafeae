"""A plot of the decile table: mean targets and mean predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
from numpy.typing import ArrayLike

from sklearn_seqcrm._plotting import new_axes, plain_text
from sklearn_seqcrm._sklearn_compat import validate_params
from sklearn_seqcrm._typing import Estimator
from sklearn_seqcrm.metrics._deciles import N_BINS, table_of
from sklearn_seqcrm.metrics._read import read_rows
from sklearn_seqcrm.metrics._scorers import response

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(kw_only=True, repr=False, eq=False)
class CalibrationByDecileDisplay:
    """Plot the mean prediction and the mean target of each decile by prediction.

    Bars are mean targets, the line is mean predictions. Bars that fall from left to
    right show a good order of the rows; a line on their tops shows calibration.

    Create it by `from_estimator` or `from_predictions`.

    Parameters
    ----------
    table : DataFrame of shape (n_bins, 8)
        The table that `decile_table` returns.
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
    GainDisplay : Plot that depends only on the order of the rows.
    sklearn.calibration.CalibrationDisplay : Calibration of class probabilities.

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

    table: pd.DataFrame
    name: str | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        *,
        n_bins: int = 10,
        sample_weight: ArrayLike | None = None,
        pos_label: int | float | bool | str | None = None,
        name: str | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Plot the deciles of a fitted model.

        Parameters
        ----------
        estimator : estimator
            A fitted regressor, or a classifier with two classes and probabilities.
        X : DataFrame or array-like of n rows
            Rows that the model was not fitted on.
        y : array-like of shape (n,)
            Observed values of the rows; class labels for a classifier.
        n_bins : int, default=10
            Number of bins, 1 or more.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights, not negative; None for a weight of 1 per row.
        pos_label : int, float, bool, str or None, default=None
            The positive class; None for the second one.
        name : str or None, default=None
            Name in the legend; None for the name of the estimator's class.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None for new axes.

        Returns
        -------
        CalibrationByDecileDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If a classifier does not have two classes, or for arguments that
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
    @validate_params(N_BINS)
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        n_bins: int = 10,
        sample_weight: ArrayLike | None = None,
        pos_label: int | float | bool | str | None = None,
        name: str | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Plot the deciles of predictions.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            Observed values of the rows: amounts, counts, or 1 and 0.
        y_pred : array-like of shape (n,)
            Predictions in the unit of `y_true`, or probabilities.
        n_bins : int, default=10
            Number of bins, 1 or more.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights, not negative; None for a weight of 1 per row.
        pos_label : int, float, bool, str or None, default=None
            Label that counts as 1; None if `y_true` is numeric.
        name : str or None, default=None
            Name in the legend.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None for new axes.

        Returns
        -------
        CalibrationByDecileDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            For arguments that `decile_table` refuses.
        """
        rows = read_rows(y_true, y_pred, sample_weight, pos_label)
        return cls(table=table_of(rows, n_bins), name=name).plot(ax)

    def plot(self, ax: Axes | None = None, *, name: str | None = None) -> Self:
        """Plot bars and line.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None for new axes.
        name : str or None, default=None
            Name in the legend; None for the name of the display.

        Returns
        -------
        CalibrationByDecileDisplay
            The display, with `bars_`, `line_`, `ax_` and `figure_`.
        """
        if ax is None:
            ax = new_axes()
        name = self.name if name is None else name
        table = self.table
        self.bars_ = ax.bar(
            table.index, table["mean_target"], color="0.8", label="observed"
        )
        label = plain_text("predicted" if name is None else f"predicted by {name}")
        predicted = table["mean_prediction"]
        self.line_: Any = ax.plot(table.index, predicted, marker="o", label=label)[0]
        ax.set_xticks(table.index)
        ax.set(xlabel="part of the rows, highest predictions first", ylabel="mean")
        ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
