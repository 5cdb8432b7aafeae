"""What a network is trained for: a class for each loss.

An objective says all that depends on the loss, and nothing that depends on `X`: which
targets there may be, what the network sees of them, how many outputs it has and where
they start, what a row costs, and what outputs say in the units of the user.

To add a loss of `LSTMRegressor`, write its class here and name it in `LOSSES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from torch import nn

from sklearn_seqcrm.neural_network._scaling import exponent_of, of_any_weight

_EPSILON = float(np.finfo("float64").eps)


class Objective(nn.Module, ABC):
    """What targets are, what a row costs, and what outputs say.

    It is the criterion of the net, and the same object for as long as that net goes on:
    what `learn` finds in the targets of the first call measures those of all others.
    That is numbers and arrays of NumPy. It has no tensors: skorch moves those of a net
    in a file to the device at hand, and would not find them here.

    Attributes
    ----------
    name : str
        Name of the loss.
    n_outputs : int
        Outputs of the network for a row, known when `learn` has returned.
    """

    name: ClassVar[str]
    n_outputs = 1

    @property
    def chosen_by(self) -> dict[str, Any]:
        """Parameters that chose it, with their values; no net goes on with others."""
        return {"loss": self.name}

    @abstractmethod
    def read(self, y: Any) -> np.ndarray:
        """Read the targets of any call, shape (n,) or (n, k).

        Raises
        ------
        ValueError
            If they are of another kind, or some are missing.
        """

    @abstractmethod
    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Learn from the targets of the first call, or refuse to.

        Parameters
        ----------
        y : ndarray of n targets
            As `read` returns them.
        weight : ndarray of shape (n,), float64, or None
            Weight of each row.
        """

    def check(self, y: np.ndarray, whole: bool) -> None:
        """Refuse targets of a later call that do not go with those of the first.

        Parameters
        ----------
        y : ndarray of n targets
            As `read` returns them.
        whole : bool
            Whether these are all rows, as in `fit`, or some of many.
        """

    @abstractmethod
    def encode(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Targets as `forward` takes them, a row for each: shape (n,) or (n, k)."""

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """What a network without inputs had best return, shape (n_outputs,).

        Parameters
        ----------
        target : ndarray of shape (n,) or (n, k)
            Encoded targets of the first call.
        weight : ndarray of shape (n,), float64, or None
            Weight of each row.
        """
        return np.zeros(self.n_outputs)

    @abstractmethod
    def forward(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Loss of each row, shape (n,); the net weights them.

        Parameters
        ----------
        outputs : Tensor of shape (n, n_outputs)
            What the network returns.
        target : Tensor of shape (n,) or (n, k)
            Encoded targets.
        """

    def scored(self, outputs: torch.Tensor) -> torch.Tensor:
        """What scorers of skorch compare with encoded targets; a row for each."""
        return outputs

    @abstractmethod
    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """What `predict` returns for outputs of shape (n, n_outputs), float64."""


class Classes(Objective):
    """One of several classes, by the cross-entropy of their probabilities.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,) or None, default=None
        All classes in order. None: those of the first call, which are all.
    """

    name = "log_loss"
    classes: np.ndarray

    def __init__(self, classes: np.ndarray | None = None) -> None:
        super().__init__()
        self._given = classes

    def read(self, y: Any) -> np.ndarray:
        y = column_or_1d(y, warn=True)
        _refuse_not_finite(y)
        check_classification_targets(y)
        return y

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        if self._given is not None:
            _refuse_unknown(y, self._given)
        self.classes = _classes_of(y) if self._given is None else self._given
        self.n_outputs = len(self.classes)

    def check(self, y: np.ndarray, whole: bool) -> None:
        if not whole:
            _refuse_unknown(y, self.classes)
        elif not np.array_equal(classes := _classes_of(y), self.classes):
            raise ValueError(
                f"warm_start needs the classes of the last fit, {self.classes}; got "
                f"{classes}."
            )

    def encode(self, y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """Code of each class, from 0 on, shape (n,), int64."""
        return np.searchsorted(self.classes, y).astype("int64")

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        share = np.bincount(target, weight, minlength=self.n_outputs).astype(float)
        # A class that may come in a later call counts as one row.
        n_rows = len(target) if weight is None else np.count_nonzero(weight)
        share[share == 0] = share.sum() / n_rows
        return np.log(share / share.sum())

    def forward(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs, target, reduction="none")

    def scored(self, outputs: torch.Tensor) -> torch.Tensor:
        return torch.softmax(outputs, dim=-1)

    def predict_proba(self, outputs: np.ndarray) -> np.ndarray:
        """Probabilities in the order of `classes`, shape (n, n_classes)."""
        odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """Most probable class of each row, shape (n,), by outputs or probabilities."""
        return self.classes[outputs.argmax(axis=1)]


class Number(Objective):
    """One number for a row, by a loss of its distance from the target.

    The network sees targets over a power of 2, centred and scaled: about where a fresh
    network is, about 0, and about 1 wide. Here that is their mean and their spread.

    Attributes
    ----------
    exponent : int
        Targets over 2 to the power of it lie between -1 and 1 in the first call.
    center, scale : float
        Center and scale of those quotients.
    """

    exponent: int
    center: float
    scale: float

    def read(self, y: Any) -> np.ndarray:
        y = column_or_1d(y, warn=True)
        _refuse_not_finite(y)
        y = np.asarray(y, dtype="float64")
        _refuse_not_finite(y)  # numbers may have been objects before
        return y

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Learn where the targets are, which those of weight 0 do not say."""
        if weight is not None:
            used = of_any_weight(weight)
            y, weight = y[used], weight[used]
        self.exponent = exponent_of(y)
        y = np.ldexp(y, -self.exponent)
        self.center = self._center_of(y, weight)
        self.scale = self._scale_of(y, weight)
        if not self.scale:
            # One in the unit of `y`, or the size of `y` if this is smaller; but no less
            # than what rounding leaves of equal targets.
            one = max(0.5 ** max(self.exponent, 0), _EPSILON)
            self.scale = min(abs(self.center), one) or 1.0

    def _center_of(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        return _mean(y, weight)

    def _scale_of(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        """Spread about the center; 0 if targets are the same but for rounding."""
        spread = np.sqrt(_mean((y - self.center) ** 2, weight))
        return float(spread) if spread > _EPSILON else 0.0

    def encode(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Scaled targets, shape (n,), float32."""
        with np.errstate(over="ignore"):
            y = np.ldexp(y, -self.exponent)
            target = ((y - self.center) / self.scale).astype("float32")
        bad = np.isinf(target)
        if weight is not None:
            bad &= of_any_weight(weight)
        if bad.any():
            raise ValueError(
                f"{bad.sum()} of {len(y)} targets are more than 1e38 times as far from "
                "those in the first call as these are from each other. Fit from the "
                "start, with rows like those to come."
            )
        return target

    def forward(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # The gradient of outputs[:, 0] is a copy: 3 % of a step of a small network.
        return self._loss_of(outputs.squeeze(1), target)

    @abstractmethod
    def _loss_of(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Loss of each row, shape (n,), by its output and its scaled target."""

    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions in the units of the targets, shape (n,)."""
        scaled = self._number_of(outputs[:, 0])
        return np.ldexp(scaled * self.scale + self.center, self.exponent)

    def _number_of(self, output: np.ndarray) -> np.ndarray:
        """Prediction, in units of the scale."""
        return output


class SquaredError(Number):
    """The mean, by the squared distance from it."""

    name = "squared_error"

    def _loss_of(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(output, target, reduction="none")


class AbsoluteError(Number):
    """The median, by the distance from it."""

    name = "absolute_error"

    def _center_of(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        """The smallest target that half of the weight does not exceed."""
        order = np.argsort(y, kind="stable")
        below = np.cumsum(np.ones(len(y)) if weight is None else weight[order])
        return float(y[order][np.searchsorted(below, below[-1] / 2)])

    def _loss_of(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.l1_loss(output, target, reduction="none")


class Poisson(Number):
    """The mean of counts, by their Poisson likelihood. The output is its logarithm.

    This loss keeps its meaning under a change of the unit of the targets only, so that
    the mean is the unit, and the center of its logarithm is 0.
    """

    name = "poisson"

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        self._refuse_negative(y, all_zero=False)
        super().learn(y, weight)

    def _center_of(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        return 0.0

    def _scale_of(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        return _mean(y, weight)

    def check(self, y: np.ndarray, whole: bool) -> None:
        self._refuse_negative(y, all_zero=True)

    def _refuse_negative(self, y: np.ndarray, all_zero: bool) -> None:
        """Raise a ValueError for what no counts are; all may be 0 if so is said."""
        n_negative = int((y < 0).sum())
        if n_negative:
            wrong = f"{n_negative} of {len(y)} are negative"
        elif not all_zero and not y.any():
            wrong = "all are 0"
        else:
            return
        raise ValueError(
            "The Poisson loss needs targets that are not negative and not all zero; "
            f"{wrong}. Use loss='squared_error'."
        )

    def _loss_of(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.poisson_nll_loss(output, target, reduction="none")

    def _number_of(self, output: np.ndarray) -> np.ndarray:
        return np.exp(output)


LOSSES: dict[str, type[Objective]] = {
    loss.name: loss for loss in (SquaredError, AbsoluteError, Poisson)
}


def _mean(y: np.ndarray, weight: np.ndarray | None) -> float:
    return float(np.average(y, weights=weight))


def _classes_of(y: np.ndarray) -> np.ndarray:
    """Classes that occur, in order; a ValueError if that is one."""
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            "A classifier needs at least 2 classes in y; got 1 class, "
            f"{classes.tolist()[0]!r}, in all {len(y)} rows."
        )
    return classes


def _refuse_unknown(y: np.ndarray, classes: np.ndarray) -> None:
    """Raise a ValueError for labels that are none of the classes."""
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(
            f"y has the labels {unknown.tolist()}, which are not in classes, "
            f"{classes.tolist()}."
        )


def _refuse_not_finite(y: np.ndarray) -> None:
    """Raise a ValueError for targets that are missing or infinite."""
    n_missing = int(pd.isna(y).sum())
    n_infinite = int(np.isinf(y).sum()) if y.dtype.kind == "f" else 0
    what = "NaN" if n_missing else "infinity"
    if n_missing or n_infinite:
        raise ValueError(
            f"Input y contains {what}: {n_missing or n_infinite} of {len(y)} targets "
            f"are {'missing' if n_missing else 'infinite'}; drop those rows from X and "
            "y."
        )
