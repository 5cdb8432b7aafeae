"""The skorch net that trains the network on ragged batches."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from skorch import NeuralNet

from sklearn_seqcrm.neural_network._averaging import LastStep
from sklearn_seqcrm.neural_network._batches import (
    Batch,
    BatchIterator,
    BatchPart,
)
from sklearn_seqcrm.neural_network._epochs import Interrupted
from sklearn_seqcrm.neural_network._layers import Dropout, new_generator
from sklearn_seqcrm.neural_network._rows import RowData
from sklearn_seqcrm.neural_network._settings import own_settings

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
            linear.start(data.static, target, data.weight)

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
        with own_settings(self.device):
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
