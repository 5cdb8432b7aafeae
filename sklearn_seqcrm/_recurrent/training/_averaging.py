"""An exponential moving average of the weights of a net, maintained by a callback."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor
from torch.nn.utils import parameters_to_vector

# Initially the mean covers about a tenth of the steps so far: with more steps it would
# lag behind weights that still change fast.
_SHARE_AT_FIRST = 0.1


class LastStep(NamedTuple):
    """State from which a training with averaged weights continues.

    It holds NumPy arrays: skorch maps the tensors of a pickled net to the available
    device, and would miss tensors here.
    """

    n_steps: int  # steps in the mean
    weights: np.ndarray  # (n_weights,), float32, after the last step
    shown: int  # checksum of the mean, which are the weights of the net


class AveragedWeights(Callback):
    """Maintain an exponential moving average of the weights of a net.

    Training steps use the weights of the last step. Between the steps of two epochs the
    net has the average, so that validation, early stopping and other callbacks see the
    average only::

        weights of the net   | steps of epoch 1 | average | steps of epoch 2 | average |

    With step ``t``, ``mean += share * (weights - mean)``, where ``share`` is the larger
    of ``1 / n_steps`` and ``1 / (1 + 0.1 * (t - 1))``: weights of `n_steps` steps ago
    count 1 / e of the last ones. The average contains less noise of batches and
    dropout, as after a decay of the learning rate (Polyak and Juditsky, 1992,
    https://doi.org/10.1137/0330046).

    `before` is the end of the previous training. If the net has other weights than its
    mean, such as those of an earlier, better epoch, training continues from these with
    a new mean.
    """

    def __init__(self, n_steps: int, before: LastStep | None) -> None:
        self.n_steps = n_steps
        self.before = before

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Restore the state of the previous training, or start a new mean."""
        self._weights = [weights.detach() for weights in net.module_.parameters()]
        self._mean = [weights.clone() for weights in self._weights]
        self._step = 0
        self._last_step: list[Tensor] | None = None
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
        """Restore the weights of the last step."""
        if self._last_step is not None:
            torch._foreach_copy_(self._weights, self._last_step)
            self._last_step = None

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Set the mean before the first batch of validation."""
        if not training:
            self.show()

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Update the mean after a training step."""
        if not training:
            return
        self._step += 1
        share = max(1 / self.n_steps, 1 / (1 + _SHARE_AT_FIRST * (self._step - 1)))
        # One fused call: ten microseconds, of two milliseconds of a step.
        torch._foreach_lerp_(self._mean, self._weights, share)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Set the mean if there was no validation."""
        self.show()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Set the mean if training ended within an epoch."""
        self.show()

    def show(self) -> None:
        """Set the weights of the net to the mean, and keep those of the last step."""
        if self._last_step is None:
            self._last_step = [weights.clone() for weights in self._weights]
            torch._foreach_copy_(self._weights, self._mean)

    def last_step(self) -> LastStep:
        """Return the state at the end of training."""
        assert self._last_step is not None
        weights = _flat(self._last_step)
        return LastStep(self._step, weights, _checksum(self._mean))


def _flat(tensors: Iterable[Tensor]) -> np.ndarray:
    return parameters_to_vector(tensors).cpu().numpy()


def _checksum(tensors: Iterable[Tensor]) -> int:
    return zlib.crc32(_flat(tensors).tobytes())
