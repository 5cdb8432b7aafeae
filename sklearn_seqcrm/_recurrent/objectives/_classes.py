"""Cross-entropy of classes, of which each row has one, and of several binary labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse
from scipy.special import logit
from torch import Tensor, nn

from sklearn_seqcrm._columns import (
    read_labels,
    refuse_classes_in_columns,
)
from sklearn_seqcrm._recurrent.data import Array, sigmoid, softmax
from sklearn_seqcrm._recurrent.objectives._objective import (
    Objective,
    is_multioutput,
    refuse_other_shape,
)
from sklearn_seqcrm._recurrent.objectives._weights import smoothed_share
from sklearn_seqcrm._typing import ClassWeight


class Classes(Objective):
    """Cross-entropy of one of several classes.

    The loss of a row with class ``c`` and outputs ``z`` is ``log(sum(exp(z))) - z[c]``.
    Without given classes, they are those of the first call.
    """

    name = "log_loss"
    shifts = True
    classes: np.ndarray  # (n_classes,), in order
    code_classes: np.ndarray  # (n_classes,): codes of the classes

    def __init__(self, classes: np.ndarray | None = None) -> None:
        super().__init__()
        self._given = classes

    def read(self, y: Any) -> np.ndarray:
        if is_multioutput(y):  # after a call with one column
            refuse_other_shape(y if issparse(y) else np.asarray(y), ())
        return read_labels(y)

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        if self._given is not None:
            _refuse_unknown(y, self._given)
        self.classes = _sorted_classes(y) if self._given is None else self._given
        self.n_outputs = len(self.classes)
        self.code_classes = np.arange(self.n_outputs)

    def check(
        self, y: np.ndarray, weight: np.ndarray | None, is_full_data: bool
    ) -> None:
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

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, target, reduction="none")

    def codes_of(self, shares: np.ndarray) -> np.ndarray:
        """Return the code of the most probable class of each row, shape (n,)."""
        return shares.argmax(axis=1)

    def predict(self, outputs: Array) -> Array:
        """Return probabilities in the order of `classes`, shape (n, n_classes)."""
        return softmax(outputs)

    scored = predict  # of a tensor

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


class Labels(Objective):
    """Mean cross-entropy of several labels, each 0 or 1.

    The loss of a row is ``mean(w[y] * (log(1 + exp(z)) - y * z))`` over its k labels
    ``y``, with outputs ``z``, the log odds, and the class weights ``w``, which are
    given for all labels or for each of them.
    """

    name = "log_loss"
    shifts = True
    # Dtype of the targets in the first call, which predictions have as well.
    dtype: np.dtype
    # (k, 2): classes of each label, in this dtype. Scorers of scikit-learn recognise
    # several labels by this shape: an array of shape (2,) would be the classes of one
    # binary target. `cross_val_predict` needs an array and not a list, because
    # `predict_proba` returns an array.
    classes: np.ndarray
    code_classes: np.ndarray  # (k, 2): codes of the classes of each label
    # (2, k): weights of 0 and of 1, of mean 1 over the targets of the first call. None:
    # equal ones.
    label_weight: np.ndarray | None

    def __init__(self, class_weight: ClassWeight = None) -> None:
        super().__init__()
        self._class_weight = class_weight

    @property
    def hyperparameters(self) -> dict[str, Any]:
        return {**super().hyperparameters, "class_weight": self._class_weight}

    def read(self, y: Any) -> np.ndarray:
        if isinstance(y, pd.DataFrame) and "m" in {one.kind for one in y.dtypes}:
            raise TypeError(
                f"y has durations, in the columns {list(y)}, and a classifier learns "
                "classes. LSTMSurvival learns from the targets of time_to_next, and "
                "LSTMClassifier from those of churned."
            )
        y = np.asarray(y.toarray() if issparse(y) else y)
        if self.n_targets > 1:  # in later calls; not in `check`, as this may be words
            refuse_other_shape(y, (self.n_targets,))
        refuse_classes_in_columns(y)
        return y

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        self.n_outputs = self.n_targets = y.shape[1]
        self.dtype = y.dtype if y.dtype.kind in "biuf" else np.dtype("int64")
        self.code_classes = np.tile([0, 1], (self.n_targets, 1))
        self.classes = self.code_classes.astype(self.dtype)
        self.label_weight = None
        if self._class_weight is not None:
            share = np.average(y.astype("float64"), axis=0, weights=weight)
            shares = np.stack([1 - share, share])
            found = _label_weights(self._class_weight, shares)
            self.label_weight = found / (found * shares).sum(axis=0).mean()

    def encode(self, y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """Return zeros and ones, shape (n, k), float32."""
        return y.astype("float32")

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        bias = logit(smoothed_share(target, weight))
        if self.label_weight is not None:
            # The weighted loss is least where the log odds exceed the log odds of the
            # shares by log(w[1] / w[0]).
            bias += np.log(self.label_weight[1]) - np.log(self.label_weight[0])
        return bias

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        losses = nn.functional.binary_cross_entropy_with_logits(
            outputs, target, reduction="none"
        )
        if self.label_weight is not None:
            absent, present = losses.new_tensor(self.label_weight)
            losses = losses * torch.where(target > 0, present, absent)
        return losses.mean(dim=1)

    def codes_of(self, shares: np.ndarray) -> np.ndarray:
        """Return 1 where a label is more likely than not, shape (n, k), int64."""
        return (shares > 0.5).astype("int64")

    def predict(self, outputs: Array) -> Array:
        """Return the probability of each label, shape (n, k)."""
        return sigmoid(outputs)

    scored = predict  # of a tensor

    @property
    def predictions(self) -> dict[str, Callable[[Array], Array]]:
        return {"probabilities": self.predict}

    def describe(self) -> dict[str, Any]:
        labels = {"classes": list(range(self.n_targets)), "several_labels": True}
        return {**super().describe(), **labels}

    def labels_of(self, shares: np.ndarray) -> np.ndarray:
        """Return the predicted labels for probabilities, both of shape (n, k)."""
        return self.codes_of(shares).astype(self.dtype)


def _label_weights(class_weight: ClassWeight, shares: np.ndarray) -> np.ndarray:
    """Return weights of 0 and 1 for each label, shape (2, k), given their shares."""
    n_labels = shares.shape[1]
    is_list = isinstance(class_weight, list)
    each: Any = class_weight if is_list else [class_weight] * n_labels
    if len(each) != n_labels:
        raise ValueError(
            f"class_weight must be a dict for all {n_labels} labels, or a list of one "
            f"for each; got {len(each)}."
        )
    weights = np.column_stack(
        [_weights_of(one, share) for one, share in zip(each, shares.T, strict=True)]
    )
    if not ((weights > 0) & np.isfinite(weights)).all():
        raise ValueError(
            "class_weight must be finite and larger than 0 for labels of several "
            f"columns; got {class_weight!r}."
        )
    return weights


def _weights_of(class_weight: Any, shares: np.ndarray) -> list[float]:
    """Return the weights of 0 and 1 of a label, given their shares."""
    if class_weight is None:
        return [1.0, 1.0]
    if isinstance(class_weight, str) and class_weight == "balanced":
        return [0.5 / share if share > 0 else 1.0 for share in shares]
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            "class_weight of a label must be a dict, 'balanced' or None; got "
            f"{class_weight!r}."
        )
    return [class_weight.get(label, 1.0) for label in (0, 1)]
