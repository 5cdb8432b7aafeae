"""The skorch net that trains on ragged batches, its epochs and weight averaging."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from sklearn_seqcrm._recurrent.data import (
    ALONE,
    Batch,
    BatchIterator,
    BatchPart,
    Ranks,
    RowData,
    steps_of_parts,
)
from sklearn_seqcrm._recurrent.network import (
    Dropout,
    isolated_torch_settings,
    new_generator,
)
from sklearn_seqcrm._recurrent.training._prefetch import prefetched
from sklearn_seqcrm._sklearn_compat import FitTask


class Interrupted(BaseException):
    """A `KeyboardInterrupt` of the user, which must end the whole program.

    skorch handles a `KeyboardInterrupt` as the end of this training, because its own
    callbacks raise it. A search would then continue with the next fit.
    """


class EpochSteps(Callback):
    """Report each epoch of a skorch net to scikit-learn as a step of a fit.

    Parameters
    ----------
    task : FitTask
        The fit.
    nets : list of skorch nets
        Networks so far, including the one in training.

    Attributes
    ----------
    stop : bool
        Whether a callback of scikit-learn has requested the end of training.
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
            return {
                "nets_": [copied if one is net else one for one in self.nets],
                "n_iter_": max(len(one.history) for one in self.nets),
            }

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

    Parameters
    ----------
    n_epochs : int
        Number of epochs of the training.
    """

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Set the rate of the middle of the epoch that begins."""
        done = (len(net.history) - 0.5) / self.n_epochs
        for group in net.optimizer_.param_groups:
            group["lr"] = net.lr * min(1.0, 2 * (1 - done))

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Restore the rate, for a training that continues this one."""
        for group in net.optimizer_.param_groups:
            group["lr"] = net.lr


# Initially the mean covers about a tenth of the steps so far: with more steps it would
# lag behind weights that still change fast.
_SHARE_AT_FIRST = 0.1


class LastStep(NamedTuple):
    """State from which a training with averaged weights continues.

    It holds NumPy arrays: skorch maps the tensors of a pickled net to the available
    device, and would miss tensors here.

    Parameters
    ----------
    n_steps : int
        Number of steps in the mean.
    weights : ndarray of shape (n_weights,), float32
        Weights after the last step.
    shown : int
        Checksum of the mean, which are the weights of the net.
    """

    n_steps: int
    weights: np.ndarray
    shown: int


class AveragedWeights(Callback):
    """Maintain an exponential moving average of the weights of a net.

    Training steps use the weights of the last step. Between the steps of two epochs the
    net has the average, so that validation, early stopping and other callbacks see the
    average only::

        weights of the net   | steps of epoch 1 | average | steps of epoch 2 | average |

    With step ``t``, ``mean += share * (weights - mean)``, where ``share`` is the larger
    of ``1 / n_steps`` and ``1 / (1 + 0.1 * (t - 1))``. The average contains less noise
    of batches and dropout, as after a decay of the learning rate (Polyak and Juditsky,
    1992, https://doi.org/10.1137/0330046).

    Parameters
    ----------
    n_steps : int
        Time constant: weights this many steps ago have 1 / e of the last weight.
    before : LastStep or None, default=None
        End of the previous training. If the net has other weights than its mean, such
        as those of an earlier, better epoch, training continues from these with a new
        mean.
    """

    def __init__(self, n_steps: int, before: LastStep | None = None) -> None:
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
            _copy(self._last_step, self._weights)
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
            _copy(self._mean, self._weights)

    def last_step(self) -> LastStep:
        """Return the state at the end of training."""
        assert self._last_step is not None
        weights = _flat(self._last_step)
        return LastStep(self._step, weights, _checksum(self._mean))


def _copy(source: Iterable[Tensor], target: Iterable[Tensor]) -> None:
    for from_this, to_that in zip(source, target, strict=True):
        to_that.copy_(from_this)


def _flat(tensors: Iterable[Tensor]) -> np.ndarray:
    return parameters_to_vector(tensors).cpu().numpy()


def _checksum(tensors: Iterable[Tensor]) -> int:
    return zlib.crc32(_flat(tensors).tobytes())


# Inference keeps no activations for gradients: batches may be larger.
_ROWS_TO_PREDICT = 1024
# Largest norm of the gradient of the recurrent layers, whose loss surface has cliffs
# (Pascanu et al., 2013). The gradient of the head is not clipped: where a few customers
# have most of the total, clipping the steps that contain them made all predictions a
# fifth to a third too low, even on the training rows.
_MOST_GRADIENT = 1.0


class HistoryNet(NeuralNet):
    """A skorch net whose datasets are `RowData` and whose batches are `Batch`.

    `fit` takes a pair of training and validation data, the latter possibly None. The
    criterion is an `Objective`, which returns the loss ``l[i]`` of each row. The loss
    of a batch is ``mean(w[i] * l[i])``, with weights of mean 1 over all rows. Dividing
    by the sum of the weights of the batch would be wrong: a batch has rows of similar
    length, so that weights that depend on the length would cancel.

    Parameters
    ----------
    share_sequences : bool, default=True
        Let rows that start at the same event share a sequence.
    shuffle_seed : int, default=0
        Seed of the order of training batches.
    dropout_seed : int, default=0
        Seed of the dropout masks.
    **kwargs
        Parameters of `skorch.NeuralNet`.

    Attributes
    ----------
    last_step : LastStep or None
        State from which training continues, if not from the weights of the module.
    ranks : Ranks
        The processes that train the net together; a single one unless a fit sets it.
    """

    last_step: LastStep | None = None
    ranks: Ranks = ALONE
    _of_module: list[torch.nn.Parameter]
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
    ) -> Iterator[tuple[Batch, Tensor]]:
        return BatchIterator(  # type: ignore[return-value]
            dataset,
            self.batch_size if training else max(self.batch_size, _ROWS_TO_PREDICT),
            shuffle=training,
            share=self.share_sequences,
            seed=self.shuffle_seed,
            **steps_of_parts(self, training),
        )

    def rows_of_batches(self, data: RowData) -> np.ndarray:
        """Return the order of rows in validation and prediction, shape (n,)."""
        plan: Any = self.get_iterator(data).plan()  # type: ignore[attr-defined]
        return np.concatenate([rows for parts in plan for rows in parts])

    def start_linear_part(self, data: RowData) -> None:
        """Initialize the linear part by a ridge regression on the training rows."""
        linear = self.module_.linear
        if linear is not None:
            assert data.target is not None
            data = self.ranks.own_rows(data)
            target = self.criterion_.linear_target(data.target)
            linear.start(data.linear_inputs, target, data.weight, total=self.ranks.sum)

    def without_training_state(self) -> HistoryNet:
        """Return a copy without callbacks, ranks and lists of parameters."""
        copied = copy.copy(self)
        copied.callbacks, copied.callbacks_ = [], []
        for name in ("_of_readers", "_of_module", "ranks"):
            if name in vars(copied):
                delattr(copied, name)
        return copied

    def fit_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Train with a generator for dropout that exists during training only."""
        seed = self.ranks.dropout_seed(self.dropout_seed)
        generator = new_generator(seed, self.device)
        dropouts = [m for m in self.module_.modules() if isinstance(m, Dropout)]
        for dropout in dropouts:
            dropout.generator = generator
        # Collected once: traversing the module in each step took 5 % of its time.
        self._of_readers = [*self.module_.readers.parameters()]
        self._of_module = [*self.module_.parameters()]
        try:
            return super().fit_loop(*args, **kwargs)
        finally:
            del self._of_readers, self._of_module
            for dropout in dropouts:
                del dropout.generator

    def run_single_epoch(self, iterator: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("training"):
            self.ranks.begin_epoch(self, iterator)
        try:
            with self._prefetched(iterator) as batches:
                super().run_single_epoch(batches, *args, **kwargs)
        except KeyboardInterrupt as interrupt:
            raise Interrupted from interrupt

    def _prefetched(self, batches: Any) -> AbstractContextManager[Any]:
        """Return a context in which batches are prefetched for a GPU."""
        # Of several ranks each cuts its own rows out of a batch before it is gathered.
        if self.ranks.size > 1:
            return nullcontext(batches)
        return prefetched(batches, self.device)

    def infer(self, x: Batch, **fit_params: Any) -> Tensor:
        outputs = [self._outputs_of(part) for part in self.ranks.own_batch(x)]
        n_outputs = getattr(self, "module__n_outputs", 1)
        return self.ranks.join_outputs(outputs, x, n_outputs)

    def _outputs_of(self, part: BatchPart) -> Tensor:
        # `to` costs time even if all tensors are on the device.
        on_cpu = torch.device(self.device).type == "cpu"
        return self.module_(part if on_cpu else part.to(self.device))

    def train_step_single(
        self, batch: tuple[Batch, Tensor], **fit_params: Any
    ) -> dict[str, Any]:
        """Accumulate the gradients of the parts of a batch."""
        if not self.module_.training:
            self._set_training(True)
        rows, target = batch
        own = self.ranks.own_batch(rows)
        if own is not rows:
            target = own.target
        targets = target.split([len(part) for part in own.parts])
        # One optimizer step for the batch; a part's activations are freed before the
        # next.
        losses, outputs = [], []
        for part, y_true in zip(own, targets, strict=True):
            output = self._outputs_of(part)
            loss = self.get_loss(output, y_true, X=part, training=True)
            loss = loss * (len(part) / len(rows))  # mean over the batch, not the part
            loss.backward()
            losses.append(loss.detach())
            outputs.append(output.detach())
        total = self.ranks.sum_gradients(self._of_module, losses)
        self._clip_gradients()
        return {"loss": total, "y_pred": torch.cat(outputs) if outputs else None}

    def _clip_gradients(self) -> None:
        """Clip the norm of the gradient of the recurrent layers.

        The callback of skorch and torch's function take a tenth of a step.
        """
        gradients = [p.grad for p in self._of_readers if p.grad is not None]
        if not gradients:  # rows without histories
            return
        length = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        if length > _MOST_GRADIENT:
            for gradient in gradients:
                gradient.mul_(_MOST_GRADIENT / length)

    def get_loss(
        self,
        y_pred: Tensor,
        y_true: Tensor,
        X: Batch | BatchPart | None = None,
        training: bool = False,
    ) -> Tensor:
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
            Outputs.
        """
        # Batches are sorted by length: outputs go back to the order of the rows.
        result = None
        with (
            isolated_torch_settings(self.device),
            self._prefetched(self.get_iterator(data)) as batches,
        ):
            for batch, _ in batches:
                output = self.evaluation_step((batch, None)).cpu().numpy()
                if result is None:
                    result = np.empty((len(data), output.shape[1]), output.dtype)
                result[batch.rows] = output
        assert result is not None
        return result


class HistoryClassifierNet(ClassifierMixin, HistoryNet):
    """A `HistoryNet` that scorers of skorch and scikit-learn recognise as a classifier.

    They see codes of classes, from 0 on, and rows in the order of batches.
    """

    @property
    def classes_(self) -> np.ndarray:
        """Codes of the classes, shape (n_classes,), or of each label, (k, 2)."""
        return self.criterion_.code_classes

    def predict(self, X: RowData) -> np.ndarray:
        """Return the code of the most probable class of each row, or its labels."""
        return self.criterion_.codes_of(self.predict_proba(X))
