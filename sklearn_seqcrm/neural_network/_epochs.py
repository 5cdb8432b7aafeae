"""The epochs of a training, as scikit-learn's callbacks see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skorch.callbacks import Callback

from sklearn_seqcrm._sklearn_compat import FitTask


class Interrupted(BaseException):
    """Somebody wants all to end, and not only this training.

    skorch takes a `KeyboardInterrupt` for a wish to end training, as its own callbacks
    raise it, and goes on after it. A search would go on with the next fit.
    """


class EpochSteps(Callback):
    """Make each epoch of a skorch net a step of a fit.

    Parameters
    ----------
    task : FitTask
        The fit.
    nets : list of skorch nets
        The networks so far, that of the epochs among them.

    Attributes
    ----------
    stop : bool
        Whether a callback of scikit-learn has asked for the end of training.
    """

    def __init__(self, task: FitTask, nets: Sequence[Any]) -> None:
        self.task = task
        self.nets = nets
        self.stop = False

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin a step."""
        self.task.begin_step("epoch")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """End it; the weights are those of this epoch, be it the best or not."""

        def attributes() -> dict[str, Any]:
            still = net.at_rest()
            return {
                "nets_": [still if one is net else one for one in self.nets],
                "n_iter_": max(len(one.history) for one in self.nets),
            }

        try:
            self.stop = self.task.end_step(attributes)
        except KeyboardInterrupt as interrupt:
            raise Interrupted from interrupt


class StopIfAsked(Callback):
    """End training after an epoch in which a callback of scikit-learn asked for it.

    It comes after the early stopping of the net, which has to see that epoch as well.
    """

    def __init__(self, steps: EpochSteps) -> None:
        self.steps = steps

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Raise what skorch takes for a wish to stop."""
        if self.steps.stop:
            raise KeyboardInterrupt
