"""Early stopping, and the number of epochs that it finds for a training on all rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from skorch.callbacks import EarlyStopping

# About the best number for later rows of most data sets; see
# ``docs/defaults_training.md``.
_USUAL_EPOCHS = 10
# Epochs with a loss within this share of the range of losses are as good as the best.
_SHARE_OF_RANGE = 0.1
# In the history of a net: whether an epoch is as good as that with the least loss.
_AS_GOOD = "is_as_good"


class StopEarly(EarlyStopping):
    """Stop as skorch does; at the end, record which epochs are as good as the best.

    `groups` (n,) are numbers of the customers of the n validation rows, from 0 on, or
    None to record nothing. See `as_good_as_the_best`.
    """

    def __init__(self, groups: np.ndarray | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = groups

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:
        """Begin without losses; `X` are the rows of training and validation."""
        super().on_train_begin(net, X=X, **kwargs)
        self._losses: list[np.ndarray] = []  # of each epoch: sums, (n_groups,)
        if self.groups is not None:
            weight = X[1].weight
            self._weight = np.ones(len(X[1])) if weight is None else weight  # (n,)

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin with sums of 0."""
        if self.groups is not None:
            self._losses.append(np.zeros(self.groups.max() + 1))

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Add the losses of validation rows to those of their customers."""
        if training or self.groups is None:
            return
        rows, target = batch
        losses = net.criterion_(kwargs["y_pred"], target.to(net.device))
        weighted = losses.detach().cpu().numpy() * self._weight[rows.rows]
        sums = self._losses[-1]
        sums += np.bincount(self.groups[rows.rows], weighted, len(sums))

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Record which epochs are as good as the best."""
        super().on_train_end(net, **kwargs)
        if self.groups is not None and self._losses:
            weights = np.bincount(self.groups, self._weight)
            found = as_good_as_the_best(np.array(self._losses), weights)
            for epoch, is_as_good in zip(net.history, found, strict=False):
                epoch[_AS_GOOD] = bool(is_as_good)
        self._losses = []


def as_good_as_the_best(losses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return whether each epoch has the least mean loss, or hardly more, (n_epochs,).

    `losses` (n_epochs, n_groups) are sums of weighted losses of the rows of each group
    of rows that depend on each other, and `weights` (n_groups,) sums of weights.

    An epoch is as good as the best one if its loss is higher by at most one standard
    error of the difference: the one-standard-error rule of Breiman et al.,
    Classification and Regression Trees, 1984, section 3.4.3, for losses of the same
    rows. With few validation customers, the least loss alone is a matter of chance. It
    is also as good within a tenth of the range of losses, a scale that losses of any
    unit and sign have. No epoch is if none has a finite loss.
    """
    with np.errstate(all="ignore"):
        total = weights.sum()
        means = losses.sum(axis=1) / total
        is_finite = np.isfinite(means)
        if not is_finite.any():
            return is_finite
        best = np.where(is_finite, means, np.inf).argmin()
        differences = means - means[best]
        # Of a mean over dependent rows: groups are drawn, not rows.
        rests = losses - losses[best] - differences[:, None] * weights
        errors = np.sqrt((rests**2).sum(axis=1)) / total
        most = np.maximum(errors, _SHARE_OF_RANGE * np.ptp(means[is_finite]))
        return is_finite & (differences <= most)


def best_n_epochs(net: Any) -> int:
    """Return the number of epochs nearest to 10 of those as good as the best.

    The minimum of the loss is flat, so the least loss itself depends on the seed and on
    few customers. Of numbers that are as good, one near 10 is the best on average, and
    the smaller one of two that are equally near. 1 if the training diverged: the second
    one may raise an error for it.
    """
    as_good = 1 + np.flatnonzero(net.history[:, _AS_GOOD])
    if not len(as_good):
        return 1
    return int(as_good[np.abs(as_good - _USUAL_EPOCHS).argmin()])
