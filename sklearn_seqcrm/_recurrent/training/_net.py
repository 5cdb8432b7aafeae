"""The skorch net that trains on ragged batches, its epochs and weight averaging."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch.nn.utils import parameters_to_vector

from sklearn_seqcrm._recurrent.data import Batch, BatchIterator, BatchPart, RowData
from sklearn_seqcrm._recurrent.network import Dropout, new_generator
from sklearn_seqcrm._sklearn_compat import FitTask


@contextmanager
def isolated_torch_settings(device: torch.device | str) -> Iterator[None]:
    """Compute as if nothing had been set.

    Inference mode would make weights that cannot be trained, autocast would round them,
    and a default device would be where tensors meet that belong elsewhere. All of these
    belong to the thread, so that no other one sees them change. The default dtype
    belongs to all threads: it is left alone, and every new tensor of this package says
    what its own is.

    Parameters
    ----------
    device : torch.device or str
        Where the network is.
    """
    kind = torch.device(device).type
    # Nothing is set as a rule, and scoring a row is quick: these questions are quicker.
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if kind in ("cpu", "cuda") and _autocasts(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def _autocasts(kind: str) -> bool:
    """Whether autocast may be on; torch 2.3 cannot be asked for every device."""
    try:
        return torch.is_autocast_enabled(kind)
    except TypeError:
        return True


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


# Inference keeps no activations, so that it can take more rows at once.
_ROWS_TO_PREDICT = 1024
# States (steps times units) that an LSTM on a CPU reads at once in training, and in
# inference. With more of them, arrays are so large that malloc takes their pages from
# the system anew for each batch, which doubled the time.
_STATES_TO_TRAIN, _STATES_TO_PREDICT = 2**18, 2**20
# Longest gradient of the readers in a step; recurrent nets meet cliffs (Pascanu et al.,
# 2013). The head has none, and its gradient is left whole: where a few customers spend
# most of the total, shortening the steps that see them made all predictions a fifth to
# a third too low on the training rows themselves.
_MOST_GRADIENT = 1.0
# The most that memory allows: each takes about 40 bytes in training.
_MOST_STATES = 2**24


class HistoryNet(NeuralNet):
    """A skorch net whose datasets are `RowData` and whose batches are `Batch`.

    `fit` takes a pair of training and validation data, the second of which may be
    None. The criterion is an `Objective`: it returns a loss for each row, and the loss
    of a batch is the mean of these times their weights. Weights must have a mean of 1
    over all rows: divided by their own sum in each batch, weights that go with the
    length of histories would cancel, because a batch has rows of similar length.

    Parameters
    ----------
    share_sequences : bool, default=True
        Let rows that start at the same event share a sequence.
    shuffle_seed : int, default=0
        Seed of the order of training batches.
    dropout_seed : int, default=0
        Seed of what training drops.
    **kwargs
        Parameters of `skorch.NeuralNet`.

    Attributes
    ----------
    last_step : LastStep or None
        From where training goes on, if not from the weights of the module.
    """

    last_step: LastStep | None = None
    _of_readers: list[torch.nn.Parameter]

    def __init__(
        self,
        *args: Any,
        share_sequences: bool = True,
        shuffle_seed: int = 0,
        dropout_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.share_sequences = share_sequences
        self.shuffle_seed = shuffle_seed
        self.dropout_seed = dropout_seed
        super().__init__(*args, **kwargs)

    def get_dataset(self, X: RowData, y: Any = None) -> RowData:
        return X

    def get_split_datasets(
        self, X: tuple[RowData, RowData | None], y: Any = None, **fit_params: Any
    ) -> tuple[RowData, RowData | None]:
        return X

    def get_iterator(
        self, dataset: RowData, training: bool = False
    ) -> Iterator[tuple[Batch, torch.Tensor]]:
        return BatchIterator(  # type: ignore[return-value]
            dataset,
            self.batch_size if training else max(self.batch_size, _ROWS_TO_PREDICT),
            shuffle=training,
            share=self.share_sequences,
            seed=self.shuffle_seed,
            **self._steps(training),
        )

    def _steps(self, training: bool) -> dict[str, int]:
        """How many padded steps the network reads at once."""
        n_states = self.module__hidden_size * self.module__num_layers
        n_states *= 1 + self.module__bidirectional
        most = _MOST_STATES // n_states
        at_once = most
        if self.module__cell == "lstm" and torch.device(self.device).type == "cpu":
            states = _STATES_TO_TRAIN if training else _STATES_TO_PREDICT
            at_once = states // n_states
        return {"steps_at_once": at_once, "most_steps": most}

    @staticmethod
    def rows_of_batches(data: RowData, batch_size: int, share: bool) -> np.ndarray:
        """Order in which validation and prediction go through the rows, shape (n,)."""
        batches = BatchIterator(data, max(batch_size, _ROWS_TO_PREDICT), share=share)
        return np.concatenate([rows for parts in batches.plan() for rows in parts])

    def start_linear_part(self, data: RowData) -> None:
        """Let a new network start with a regression on its training rows."""
        linear, target = self.module_.linear, data.target
        if linear is not None:
            assert target is not None
            linear.start(data.linear_inputs, target, data.weight)

    def at_rest(self) -> HistoryNet:
        """A copy without what training alone needs; its module is one of its own."""
        still = copy.copy(self)
        still.callbacks, still.callbacks_ = [], []
        if hasattr(still, "_of_readers"):
            del still._of_readers
        return still

    def fit_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Train, and have a generator for dropout as long as that takes."""
        generator = new_generator(self.dropout_seed, self.device)
        dropouts = [m for m in self.module_.modules() if isinstance(m, Dropout)]
        for dropout in dropouts:
            dropout.generator = generator
        # To look for them in each step took a twentieth of it.
        self._of_readers = [*self.module_.readers.parameters()]
        try:
            return super().fit_loop(*args, **kwargs)
        finally:
            del self._of_readers
            for dropout in dropouts:
                del dropout.generator

    def run_single_epoch(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().run_single_epoch(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            raise Interrupted from interrupt

    def infer(self, x: Batch, **fit_params: Any) -> torch.Tensor:
        return torch.cat([self._read(part) for part in x])

    def _read(self, part: BatchPart) -> torch.Tensor:
        # Moving to where all tensors are takes time, too.
        on_cpu = torch.device(self.device).type == "cpu"
        return self.module_(part if on_cpu else part.to(self.device))

    def train_step_single(
        self, batch: tuple[Batch, torch.Tensor], **fit_params: Any
    ) -> dict[str, Any]:
        """Add up the gradients of the parts of a batch, one after the other."""
        if not self.module_.training:
            self._set_training(True)
        rows, target = batch
        targets = target.split([len(part) for part in rows.parts])
        losses, outputs = [], []
        for part, y_true in zip(rows, targets, strict=True):
            output = self._read(part)
            loss = self.get_loss(output, y_true, X=part, training=True)
            loss = loss * (len(part) / len(rows))
            loss.backward()
            losses.append(loss.detach())
            outputs.append(output.detach())
        self._clip_gradients()
        return {"loss": torch.stack(losses).sum(), "y_pred": torch.cat(outputs)}

    def _clip_gradients(self) -> None:
        """Shorten the gradient of the readers if it is too long.

        A callback of skorch or torch's own function take a tenth of a step.
        """
        gradients = [p.grad for p in self._of_readers if p.grad is not None]
        if not gradients:  # rows of statics alone
            return
        length = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        if length > _MOST_GRADIENT:
            for gradient in gradients:
                gradient.mul_(_MOST_GRADIENT / length)

    def get_loss(
        self,
        y_pred: torch.Tensor,
        y_true: torch.Tensor,
        X: Batch | BatchPart | None = None,
        training: bool = False,
    ) -> torch.Tensor:
        losses = self.criterion_(y_pred, y_true.to(self.device))  # (n,)
        if X is None or X.weight is None:
            return losses.mean()
        return (losses * X.weight.to(self.device)).mean()

    def outputs(self, data: RowData) -> np.ndarray:
        """Outputs of the network for all rows, in their order.

        Parameters
        ----------
        data : RowData
            Rows.

        Returns
        -------
        ndarray of shape (n, n_outputs), float32, or float64 without histories
            What the head returns.
        """
        result = None
        with isolated_torch_settings(self.device):
            for batch, _ in self.get_iterator(data):
                output = self.evaluation_step((batch, None)).cpu().numpy()
                if result is None:
                    result = np.empty((len(data), output.shape[1]), output.dtype)
                result[batch.rows] = output
        assert result is not None
        return result


class HistoryClassifierNet(ClassifierMixin, HistoryNet):
    """A `HistoryNet` that skorch's and scikit-learn's scorers know as a classifier.

    They see codes of classes, from 0 on, and rows in the order of batches.
    """

    @property
    def classes_(self) -> np.ndarray:
        """Codes of the classes, shape (n_classes,), or of each label, (k, 2)."""
        return self.criterion_.code_classes

    def predict(self, X: RowData) -> np.ndarray:
        """Code of the most probable class of each row, or labels, a row for each."""
        return self.criterion_.codes_of(self.predict_proba(X))
