"""Cross-entropy of classes, of which each row has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from torch import nn

from sklearn_seqcrm._columns import refuse_not_finite
from sklearn_seqcrm._recurrent.data import Array
from sklearn_seqcrm._recurrent.objectives._objective import (
    Objective,
    softmax,
)


class Classes(Objective):
    """Cross-entropy of one of several classes.

    The loss of a row with class ``c`` and outputs ``z`` is ``log(sum(exp(z))) - z[c]``.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,) or None, default=None
        All classes in order. None: the classes of the first call.
    """

    name = "log_loss"
    classes: np.ndarray

    def __init__(self, classes: np.ndarray | None = None) -> None:
        super().__init__()
        self._given = classes

    @property
    def code_classes(self) -> np.ndarray:
        """Codes of the classes, shape (n_classes,)."""
        return np.arange(self.n_outputs)

    def read(self, y: Any) -> np.ndarray:
        y = column_or_1d(y, warn=True)
        refuse_not_finite(y)
        check_classification_targets(y)
        return y

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        if self._given is not None:
            _refuse_unknown(y, self._given)
        self.classes = _sorted_classes(y) if self._given is None else self._given
        self.n_outputs = len(self.classes)

    def check(self, y: np.ndarray, is_full_data: bool) -> None:
        if not is_full_data:
            _refuse_unknown(y, self.classes)
        elif not np.array_equal(classes := _sorted_classes(y), self.classes):
            raise ValueError(
                f"warm_start needs the classes of the last fit, {self.classes}; got "
                f"{classes}."
            )

    def encode(self, y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """Return the code of the class of each row, from 0 on, shape (n,), int64."""
        return np.searchsorted(self.classes, y).astype("int64")

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        share = np.bincount(target, weight, minlength=self.n_outputs).astype(float)
        # A class that only later calls may have counts as one row: log(0) would keep
        # its probability at 0.
        n_rows = len(target) if weight is None else np.count_nonzero(weight)
        share[share == 0] = share.sum() / n_rows
        return np.log(share / share.sum())

    def forward(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs, target, reduction="none")

    def scored(self, outputs: torch.Tensor) -> torch.Tensor:
        return torch.softmax(outputs, dim=-1)

    def codes_of(self, shares: np.ndarray) -> np.ndarray:
        """Return the code of the most probable class of each row, shape (n,)."""
        return shares.argmax(axis=1)

    def predict(self, outputs: Array) -> Array:
        """Return probabilities in the order of `classes`, shape (n, n_classes)."""
        return softmax(outputs)

    @property
    def predictions(self) -> dict[str, Callable[[Array], Array]]:
        return {"probabilities": self.predict}

    def describe(self) -> dict[str, Any]:
        classes = {"classes": self.classes.tolist(), "several_labels": False}
        return {**super().describe(), **classes}

    def labels_of(self, shares: np.ndarray) -> np.ndarray:
        """Return the most probable class of each row, shape (n,)."""
        return self.classes[self.codes_of(shares)]


def _sorted_classes(y: np.ndarray) -> np.ndarray:
    """Return the distinct classes, sorted; a ValueError if there is only one."""
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            "A classifier needs at least 2 classes in y; got 1 class, "
            f"{classes.tolist()[0]!r}, in all {len(y)} rows."
        )
    return classes


def _refuse_unknown(y: np.ndarray, classes: np.ndarray) -> None:
    """Raise a ValueError for labels that are not among the classes."""
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(
            f"y has the labels {unknown.tolist()}, which are not in classes, "
            f"{classes.tolist()}."
        )
