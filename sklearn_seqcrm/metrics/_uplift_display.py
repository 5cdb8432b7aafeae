"""A plot of the Qini curve or the uplift curve."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from sklearn_seqcrm._bootstrap import draw_customers, expanded_interval
from sklearn_seqcrm._plotting import new_axes, plain_text
from sklearn_seqcrm._sklearn_compat import Interval, StrOptions, validate_params
from sklearn_seqcrm._typing import Estimator
from sklearn_seqcrm.metrics._effects import TwoArms, read_pairs
from sklearn_seqcrm.metrics._read import customer_codes
from sklearn_seqcrm.metrics._scorers import uplift_labels
from sklearn_seqcrm.metrics._uplift_curves import CURVES, gain_per_row, relative_area

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Shares of the rows at which the band is computed.
_GRID = np.linspace(0, 1, 101)


@dataclass(kw_only=True, repr=False, eq=False)
class UpliftDisplay:
    """Plot the incremental outcomes of contacting those with the highest effects.

    The curve lies above the diagonal, random order, if the effects order the customers.
    Its right end is the mean effect of contacting all. Create it by `from_estimator` or
    `from_predictions`.

    Parameters
    ----------
    fraction, gain : ndarray of shape (n_thresholds + 1,)
        The curve, with the gain in outcomes per customer.
    auc : float
        Area between curve and diagonal relative to that of the reference order, see
        `qini_auc_score` and `uplift_auc_score`.
    band : ndarray of shape (101, 2) or None, default=None
        Lower and upper ends of intervals of the gain at the shares 0, .01, ..., 1; None
        for no band.
    curve : {"qini", "uplift"}, default="qini"
        Which curve it is.
    name : str or None, default=None
        Name of the model.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve of the last plot.
    band_ : matplotlib collection or None
        Its band.
    ax_ : matplotlib Axes
        Its axes.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    qini_curve : The numbers of the Qini curve.
    uplift_curve : The numbers of the uplift curve.
    GainDisplay : The gain of outcomes themselves.

    Notes
    -----
    Gains are divided by the number of customers that they are a sum over, of the
    treatment for the Qini curve and of both arms for the uplift curve. The band has
    pointwise intervals, with the quantiles of `bootstrap_interval` over samples of
    customers.

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import UpliftDisplay
    >>> display = UpliftDisplay.from_predictions(
    ...     [1, 0, 1, 1], [0.3, 0.2, 0.1, -0.1], [1, 0, 1, 0], name="model"
    ... )
    >>> display.line_.get_label()
    'model (Qini 0.71)'
    """

    fraction: np.ndarray
    gain: np.ndarray
    auc: float
    band: np.ndarray | None = None
    curve: str = "qini"
    name: str | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        treatment: ArrayLike,
        *,
        curve: str = "qini",
        arm: int | float | bool | str | None = None,
        sample_weight: ArrayLike | None = None,
        customers: ArrayLike | None = None,
        n_resamples: int = 0,
        confidence_level: float = 0.95,
        random_state: int | np.random.RandomState | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        plot_references: bool = True,
        curve_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Plot the curve of a fitted uplift estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator of this library's uplift, or a pipeline or a search of
            one: ``predict`` returns effects, ``treatments_`` has the labels of the
            arms.
        X : DataFrame or array-like of n rows
            Rows that the estimator was not fitted on.
        y : array-like of shape (n,)
            Observed outcomes; class labels for a classifier.
        treatment : array-like of shape (n,)
            Labels of the arms that the rows were in.
        curve : {"qini", "uplift"}, default="qini"
            Which curve.
        arm : object, default=None
            Label of the treatment; None if there is only one.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights, not negative; None for a weight of 1 per row.
        customers : array-like of shape (n,) or None, default=None
            Customer of each row, for the band; None for a customer per row.
        n_resamples : int, default=0
            Number of bootstrap samples for a band, at least 0; 0 for no band.
        confidence_level : float, default=0.95
            Probability of the band at each share, between 0 and 1.
        random_state : int, RandomState instance or None, default=None
            Seed of the samples.
        name : str or None, default=None
            Name in the legend; None for the name of the estimator's class.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None for new axes.
        plot_references : bool, default=True
            Whether to plot random order as well.
        curve_kwargs : dict or None, default=None
            Options for `matplotlib.axes.Axes.plot` of the curve.

        Returns
        -------
        UpliftDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            For arguments that `qini_curve` refuses.
        """
        model: Any = estimator
        return cls.from_predictions(
            y,
            model.predict(X),
            treatment,
            curve=curve,
            **uplift_labels(model),
            arm=arm,
            sample_weight=sample_weight,
            customers=customers,
            n_resamples=n_resamples,
            confidence_level=confidence_level,
            random_state=random_state,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
            plot_references=plot_references,
            curve_kwargs=curve_kwargs,
        )

    @classmethod
    @validate_params(
        {
            "curve": [StrOptions(set(CURVES))],
            "n_resamples": [Interval(Integral, 0, None, closed="left")],
            "confidence_level": [Interval(Real, 0, 1, closed="neither")],
            "random_state": ["random_state"],
        }
    )
    def from_predictions(
        cls,
        y_true: ArrayLike,
        effect: ArrayLike,
        treatment: ArrayLike,
        *,
        curve: str = "qini",
        control: int | float | bool | str | None = None,
        treatments: ArrayLike | None = None,
        arm: int | float | bool | str | None = None,
        sample_weight: ArrayLike | None = None,
        pos_label: int | float | bool | str | None = None,
        customers: ArrayLike | None = None,
        n_resamples: int = 0,
        confidence_level: float = 0.95,
        random_state: int | np.random.RandomState | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        plot_references: bool = True,
        curve_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Plot the curve of predicted effects.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            Observed outcomes of the rows: amounts, counts, or 1 and 0.
        effect : array-like of shape (n,) or (n, n_arms - 1)
            Predicted effects against control, or any score.
        treatment : array-like of shape (n,)
            Labels of the arms that the rows were in.
        curve : {"qini", "uplift"}, default="qini"
            Which curve.
        control : object, default=None
            Label of the rows that were not contacted. None: 0 or False, where the
            labels are 0 and 1 or booleans.
        treatments : array-like of shape (n_arms,) or None, default=None
            Labels of all arms, control first; None for those that occur.
        arm : object, default=None
            Label of the treatment; None if there is only one.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights, not negative; None for a weight of 1 per row.
        pos_label : int, float, bool, str or None, default=None
            Label of `y_true` that counts as 1; None if it is numeric.
        customers : array-like of shape (n,) or None, default=None
            Customer of each row, for the band; None for a customer per row.
        n_resamples : int, default=0
            Number of bootstrap samples for a band, at least 0; 0 for no band.
        confidence_level : float, default=0.95
            Probability of the band at each share, between 0 and 1.
        random_state : int, RandomState instance or None, default=None
            Seed of the samples.
        name : str or None, default=None
            Name in the legend.
        ax : matplotlib Axes or None, default=None
            Axes to plot on; None for new axes.
        plot_references : bool, default=True
            Whether to plot random order as well.
        curve_kwargs : dict or None, default=None
            Options for `matplotlib.axes.Axes.plot` of the curve.

        Returns
        -------
        UpliftDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            For arguments that `qini_curve` refuses.
        """
        options = (control, treatments, arm, sample_weight, pos_label)
        [pair] = read_pairs(y_true, effect, treatment, *options, only_one=True)
        fraction, gain = gain_per_row(pair, curve)
        auc = relative_area(pair, curve)
        display = cls(fraction=fraction, gain=gain, auc=auc, curve=curve, name=name)
        if n_resamples:
            code = customer_codes(customers, len(np.asarray(treatment)), pair.position)
            n_customers = int(code.max()) + 1
            rng = check_random_state(random_state)
            counts = draw_customers(n_customers, n_resamples, rng)
            curves = _curves_of_samples(pair, curve, (count[code] for count in counts))
            display.band = expanded_interval(curves, confidence_level, n_customers).T
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
            Whether to plot random order as well.
        curve_kwargs : dict or None, default=None
            Options for `matplotlib.axes.Axes.plot` of the curve.

        Returns
        -------
        UpliftDisplay
            The display, with `line_`, `band_`, `ax_` and `figure_`.
        """
        if ax is None:
            ax = new_axes()
        name = self.name if name is None else name
        auc = f"{self.curve.capitalize()} {self.auc:.2f}"
        label = auc if name is None else plain_text(f"{name} ({auc})")
        options: dict[str, Any] = {"label": label, **(curve_kwargs or {})}
        self.line_: Any = ax.plot(self.fraction, self.gain, **options)[0]
        self.band_ = None
        if self.band is not None:
            color = self.line_.get_color()
            self.band_ = ax.fill_between(
                _GRID, *self.band.T, color=color, alpha=0.15, lw=0
            )
        if plot_references:
            ends = [0, self.gain[-1]]
            ax.plot([0, 1], ends, color="0.6", ls=":", lw=1, label="random order")
        ax.set(
            xlabel="share of customers, highest effects first",
            ylabel="incremental outcomes per customer",
        )
        ax.set_xlim(0, 1)
        ax.legend(loc="best", frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _curves_of_samples(
    pair: TwoArms, curve: str, counts: Iterable[np.ndarray]
) -> np.ndarray:
    """Return the gains of samples at the shares of `_GRID`, (n_samples, 101).

    Samples without rows of an arm are left out.
    """
    gains = []
    for count in counts:
        sample = pair.reweighted(pair.weight * count)
        if sample.treated.any() and not sample.treated.all():
            gains.append(np.interp(_GRID, *gain_per_row(sample, curve)))
    return np.reshape(gains, (-1, len(_GRID)))
