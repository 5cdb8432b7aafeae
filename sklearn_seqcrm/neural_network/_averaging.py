"""Weights averaged over the steps of a training, in place of those of its last step."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from skorch.callbacks import Callback
from torch.nn.utils import parameters_to_vector

# At first the mean is one over a tenth of the steps so far: a mean over more of them
# would lag behind weights that are still on their way.
_SHARE_AT_FIRST = 0.1


class LastStep(NamedTuple):
    """From where a training goes on that had averaged weights.

    It is numbers and an array of NumPy: skorch moves the tensors of a net in a file to
    the device at hand, and would not find them here.

    Parameters
    ----------
    n_steps : int
        Steps in the mean.
    weights : ndarray of shape (n_weights,), float32
        Weights of the last step.
    shown : int
        Checksum of the mean, which the net has.
    """

    n_steps: int
    weights: np.ndarray
    shown: int


class AveragedWeights(Callback):
    """Keep a running mean of the weights of a net, and show it between epochs.

    Steps go on from the weights of the last step. From the end of the steps of an
    epoch to the next one the net has the mean, so that validation, early stopping,
    other callbacks and whoever gets the net see nothing else.

    The noise of batches and dropout is averaged out of the mean, as a learning rate
    that falls would leave it out of the weights (Polyak and Juditsky, "Acceleration of
    Stochastic Approximation by Averaging", 1992).

    Parameters
    ----------
    n_steps : int
        Weights of so many steps ago count 1 / e times as much as those of the last.
    before : LastStep or None, default=None
        Where the training before ended. If the net has other weights by now, such as
        those of an earlier, better epoch, training goes on from these, with a new mean.
    """

    def __init__(self, n_steps: int, before: LastStep | None = None) -> None:
        self.n_steps = n_steps
        self.before = before

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Go on from the training before, or begin with no step."""
        self._weights = [weights.detach() for weights in net.module_.parameters()]
        self._mean = [weights.clone() for weights in self._weights]
        self._step = 0
        self._last_step: list[torch.Tensor] | None = None
        before = self.before
        if before is not None and before.shown == _checksum(self._mean):
            self._step = before.n_steps
            sizes = [weights.numel() for weights in self._weights]
            pieces = torch.tensor(before.weights, device="cpu").split(sizes)
            self._last_step = [
                piece.reshape(weights.shape).to(weights.device)
                for piece, weights in zip(pieces, self._weights, strict=True)
            ]

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Go on from the last step."""
        if self._last_step is not None:
            _copy(self._last_step, self._weights)
            self._last_step = None

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Show the mean to the first batch of validation."""
        if not training:
            self.show()

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Let the weights after a step into the mean."""
        if not training:
            return
        self._step += 1
        share = max(1 / self.n_steps, 1 / (1 + _SHARE_AT_FIRST * (self._step - 1)))
        # One call for all: ten microseconds, of two milliseconds that a step takes.
        torch._foreach_lerp_(self._mean, self._weights, share)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Show the mean where there is no validation."""
        self.show()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Show the mean where training ended between epochs."""
        self.show()

    def show(self) -> None:
        """Give the mean to the net, which goes on from its last step next time."""
        if self._last_step is None:
            self._last_step = [weights.clone() for weights in self._weights]
            _copy(self._mean, self._weights)

    def last_step(self) -> LastStep:
        """Where training has ended."""
        assert self._last_step is not None
        weights = _flat(self._last_step)
        return LastStep(self._step, weights, _checksum(self._mean))


def _copy(source: Iterable[torch.Tensor], target: Iterable[torch.Tensor]) -> None:
    for from_this, to_that in zip(source, target, strict=True):
        to_that.copy_(from_this)


def _flat(tensors: Iterable[torch.Tensor]) -> np.ndarray:
    return parameters_to_vector(tensors).cpu().numpy()


def _checksum(tensors: Iterable[torch.Tensor]) -> int:
    return zlib.crc32(_flat(tensors).tobytes())
