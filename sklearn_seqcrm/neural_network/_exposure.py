"""Rows that were looked at for different lengths of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sklearn_seqcrm.neural_network._inputs import Inputs
from sklearn_seqcrm.neural_network._scaling import of_any_weight


class Exposure(NamedTuple):
    """Which static is the exposure of a row, and how a network reads it.

    What is counted over a time goes with that time, but not all the way: customers
    leave. So the logarithm of the exposure is added to that of the rate (an offset, as
    statisticians say), and the head reads it like any other static, to learn in how far
    that is too simple.

    Parameters
    ----------
    column : int
        Its place among the row features and statics.
    center, scale : float
        Mean and standard deviation of the logarithms in the first call. The scale is 0
        if they were all the same.
    mean : float
        Logarithm of the mean exposure, which is what a rate is of.
    """

    column: int
    center: float
    scale: float
    mean: float

    @property
    def offset(self) -> tuple[float, float]:
        """Slope and intercept of the offset by what the head reads."""
        return self.scale or 1.0, self.center - self.mean

    def in_logarithms(self, inputs: Inputs, name: Any) -> Inputs:
        """The same rows with standardised logarithms of their exposures.

        Raises
        ------
        ValueError
            If exposures are not larger than 0.
        """
        static = inputs.data.static.copy()
        found = static[:, self.column]
        bad = int((~(found > 0)).sum())
        if bad:
            raise ValueError(
                f"Exposures must be larger than 0; {bad} of {len(found)} in "
                f"{name!r} are not. Leave those rows out. If a step before has scaled "
                "the column, let that pass it on as it is, like make_history_pipeline "
                "does for the exposure of the estimator that it is given."
            )
        logs = np.log(found.astype("float64"))
        static[:, self.column] = (logs - self.center) / (self.scale or 1.0)
        return inputs._replace(data=replace(inputs.data, static=static))


def learn_exposure(inputs: Inputs, weight: np.ndarray | None, column: int) -> Exposure:
    """Learn the typical exposure, which rows of weight 0 do not say.

    Parameters
    ----------
    inputs : Inputs
        Rows as they have been read.
    weight : ndarray of shape (n,) or None
        Their weights.
    column : int
        Place of the exposure among their row features and statics.
    """
    used = slice(None) if weight is None else of_any_weight(weight)
    found = inputs.data.static[used, column].astype("float64")
    found = found[found > 0]
    if not len(found):
        return Exposure(column, 0.0, 0.0, 0.0)
    logs = np.log(found)
    spread = float(logs.std())
    scale = spread if spread > 1e-6 else 0.0
    return Exposure(column, float(logs.mean()), scale, float(np.log(found.mean())))


def place_of_exposure(name: Any, names: Sequence[Any] | None, n_static: int) -> int:
    """Place of the exposure among the row features and statics.

    Parameters
    ----------
    name : str or int
        Name of its column; of arrays and padded tensors, its position.
    names : sequence or None
        Names of the statics, which come last. None: nobody knows them.
    n_static : int
        Number of row features and statics.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    if names is not None:
        if name in names:
            return n_static - len(names) + list(names).index(name)
        raise ValueError(
            f"X has no column {name!r} to be the exposure; its statics are "
            f"{list(names)}."
        )
    if isinstance(name, str):
        raise ValueError(
            f"exposure={name!r} is the name of a column, and this X has no names. Give "
            "a DataFrame, or the position of the column."
        )
    if not -n_static <= name < n_static:
        raise ValueError(
            f"exposure={name!r} is no position of a column; X has {n_static}."
        )
    return int(name) % n_static
