"""Callbacks of skorch: report epochs to scikit-learn, lower the learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skorch.callbacks import Callback

from sklearn_seqcrm._sklearn_compat import FitTask


class Interrupted(BaseException):
    """A `KeyboardInterrupt` of the user, which must end the whole program.

    skorch handles a `KeyboardInterrupt` as the end of this training, because its own
    callbacks raise it. A search would then continue with the next fit.
    """


class EpochSteps(Callback):
    """Report each epoch of a skorch net to scikit-learn as a step of a fit.

    `nets` are the networks so far, including the one in training. `stop` is whether a
    callback of scikit-learn has requested the end of training.
    """

    def __init__(self, task: FitTask, nets: Sequence[Any]) -> None:
        self.task = task
        self.nets = nets
        self.stop = False

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin a step."""
        self.task.begin_step("epoch")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """End the step, with the weights of this epoch, the best or not."""

        def attributes() -> dict[str, Any]:
            # A copy, as callbacks of scikit-learn may keep or pickle it.
            copied = net.without_training_state()
            return {"nets_": [copied if one is net else one for one in self.nets]}

        try:
            self.stop = self.task.end_step(attributes)
        except KeyboardInterrupt as interrupt:
            raise Interrupted from interrupt


class StopOnRequest(Callback):
    """End training if a callback of scikit-learn requested it in this epoch.

    It is called after early stopping, which must see that epoch as well.
    """

    def __init__(self, steps: EpochSteps) -> None:
        self.steps = steps

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Raise the exception by which skorch ends training."""
        if self.steps.stop:
            raise KeyboardInterrupt


class FallingRate(Callback):
    """Lower the learning rate linearly to 0 in the second half of a training.

    With squared errors or a logarithmic link, one step with a customer who buys far
    more or less than predicted may raise the loss of all rows for several epochs. Early
    stopping returns to a better epoch; a training without validation rows cannot::

        rate  |-------------.
              |              `-.
              |                 `-.
              +--------------------`->  epochs
    """

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Learn the share of the rate in the middle of the epoch that begins."""
        done = (len(net.history) - 0.5) / self.n_epochs
        self._share = min(1.0, 2 * (1 - done))

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Lower the rate that schedules of the user have set."""
        if training:
            groups = net.optimizer_.param_groups
            self._rates = [group["lr"] for group in groups]
            for group in groups:
                group["lr"] *= self._share

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Restore the rate, from which these schedules continue."""
        if training:
            groups = net.optimizer_.param_groups
            for group, rate in zip(groups, self._rates, strict=True):
                group["lr"] = rate

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Restore the rate, for a training that continues this one."""
        for group in net.optimizer_.param_groups:
            group["lr"] = net.lr
