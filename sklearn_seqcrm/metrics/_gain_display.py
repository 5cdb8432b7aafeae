"""A plot of the cumulative gain curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from sklearn_seqcrm._plotting import new_axes, plain_text
from sklearn_seqcrm._typing import Estimator
from sklearn_seqcrm.metrics._gain_curve import gain_curve, normalized_gini
from sklearn_seqcrm.metrics._read import read_rows
from sklearn_seqcrm.metrics._scorers import response

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(kw_only=True, repr=False, eq=False)
class GainDisplay:
    """Plot the share of the total in the rows with the highest scores.

    The curve of the model lies between the diagonal, random order, and the curve of the
    order by the targets. The normalized Gini coefficient in the legend is the area
    above the diagonal relative to that of the order by the targets.

    Create it by `from_estimator` or `from_predictions`.

    Parameters
    ----------
    fraction, gain : ndarray of shape (n_thresholds + 1,)
        The curve that `cumulative_gain_curve` returns.
    best_fraction, best_gain : ndarray of shape (n_distinct_targets + 1,)
        The curve of the order by the targets.
    gini : float
        The normalized Gini coefficient.
    name : str or None, default=None
        Name of the model.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve of the last plot.
    ax_ : matplotlib Axes
        Its axes.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    cumulative_gain_curve : The numbers.
    CalibrationByDecileDisplay : Calibration of the predictions.

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import GainDisplay
    >>> display = GainDisplay.from_predictions(
    ...     [60, 30, 10, 0], [0.9, 0.5, 0.5, 0.1], name="model"
    ... )
    >>> display.line_.get_label()
    'model (Gini 0.90)'
    """

    fraction: np.ndarray
    gain: np.ndarray
    best_fraction: np.ndarray
    best_gain: np.ndarray
    gini: float
    name: str | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        pos_label: int | float | bool | str | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        plot_references: bool = True,
        curve_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Plot the curve of a fitted model.

        Parameters
        ----------
        estimator : estimator
            A fitted regressor, or a classifier with two classes. Rows are ordered by
            predictions or by probabilities (else by the decision function).
        X : DataFrame or array-like of n rows
            Rows that the model was not fitted on.
        y : array-like of shape (n,)
            Observed values of the rows; class labels for a classifier.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights, not negative; None for a weight of 1 per row.
        pos_label : int, float, bool, str or None, default=None
            The positive class; None for the second one.
        name : str or None, default=None
            Name in the legend; None for the name of the estimator's class.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None for new axes.
        plot_references : bool, default=True
            Whether to plot random and best order as well.
        curve_kwargs : dict or None, default=None
            Options for `matplotlib.axes.Axes.plot` of the curve.

        Returns
        -------
        GainDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If a classifier does not have two classes, or for arguments that
            `cumulative_gain_curve` refuses.
        """
        score, pos_label = response(estimator, X, pos_label)
        return cls.from_predictions(
            y,
            score,
            sample_weight=sample_weight,
            pos_label=pos_label,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
            plot_references=plot_references,
            curve_kwargs=curve_kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_score: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        pos_label: int | float | bool | str | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        plot_references: bool = True,
        curve_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Plot the curve of predictions.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            Observed values of the rows: amounts, counts, or 1 and 0.
        y_score : array-like of shape (n,)
            Predictions, probabilities, or any score.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights, not negative; None for a weight of 1 per row.
        pos_label : int, float, bool, str or None, default=None
            Label that counts as 1; None if `y_true` is numeric.
        name : str or None, default=None
            Name in the legend.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None for new axes.
        plot_references : bool, default=True
            Whether to plot random and best order as well.
        curve_kwargs : dict or None, default=None
            Options for `matplotlib.axes.Axes.plot` of the curve.

        Returns
        -------
        GainDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            For arguments that `cumulative_gain_curve` refuses.
        """
        rows = read_rows(y_true, y_score, sample_weight, pos_label, "y_score")
        fraction, gain, _ = gain_curve(rows)
        # The best possible order: by the targets themselves.
        best_fraction, best_gain, _ = gain_curve(rows._replace(score=rows.y))
        display = cls(
            fraction=fraction,
            gain=gain,
            best_fraction=best_fraction,
            best_gain=best_gain,
            # Weights are scaled by a power of 2, which cancels in the ratio.
            gini=normalized_gini(rows.y, rows.score, sample_weight=rows.weight),
            name=name,
        )
        return display.plot(
            ax, plot_references=plot_references, curve_kwargs=curve_kwargs
        )

    def plot(
        self,
        ax: Axes | None = None,
        *,
        name: str | None = None,
        plot_references: bool = True,
        curve_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Plot the curve; several displays go on the same axes.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None for new axes.
        name : str or None, default=None
            Name in the legend; None for the name of the display.
        plot_references : bool, default=True
            Whether to plot random and best order as well.
        curve_kwargs : dict or None, default=None
            Options for `matplotlib.axes.Axes.plot` of the curve.

        Returns
        -------
        GainDisplay
            The display, with `line_`, `ax_` and `figure_`.
        """
        if ax is None:
            ax = new_axes()
        name = self.name if name is None else name
        gini = f"Gini {self.gini:.2f}"
        label = gini if name is None else plain_text(f"{name} ({gini})")
        options = {"label": label, **(curve_kwargs or {})}
        self.line_: Any = ax.plot(self.fraction, self.gain, **options)[0]
        if plot_references:
            best = (self.best_fraction, self.best_gain)
            ax.plot(*best, color="0.6", ls="--", lw=1, label="best order")
            ax.plot([0, 1], [0, 1], color="0.6", ls=":", lw=1, label="random order")
        ax.set(xlabel="share of rows, highest scores first", ylabel="share of total")
        ax.set_xlim(0, 1)
        ax.legend(loc="lower right", frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
