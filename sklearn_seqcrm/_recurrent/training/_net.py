"""The skorch net that trains on ragged batches."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from skorch import NeuralNet
from torch import Tensor

from sklearn_seqcrm._ragged import inverse_permutation
from sklearn_seqcrm._recurrent.data import (
    ALONE,
    Batch,
    BatchIterator,
    BatchPart,
    FieldInputs,
    Ranks,
    RowData,
    steps_of_parts,
)
from sklearn_seqcrm._recurrent.network import (
    RandomInTraining,
    isolated_torch_settings,
    new_generator,
)
from sklearn_seqcrm._recurrent.training._averaging import LastStep
from sklearn_seqcrm._recurrent.training._callbacks import Interrupted
from sklearn_seqcrm._recurrent.training._linear_start import linear_start
from sklearn_seqcrm._recurrent.training._prefetch import prefetched
from sklearn_seqcrm._recurrent.training._threads import end_if_stopped, run_in_threads

# Inference keeps no activations for gradients: batches may be larger.
_ROWS_TO_PREDICT = 1024
# Fewer outputs are computed before threads have started.
_FEW_ROWS = 1000
# Batches in memory at the same time.
_MOST_BATCHES = 8
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

    With `share_sequences`, rows that start at the same event share a sequence.
    """

    # Seeds of the order of training batches and of the dropout masks, set by `train`.
    shuffle_seed: int = 0
    dropout_seed: int = 0

    # State from which training continues, if not from the weights of the module.
    last_step: LastStep | None = None
    # The processes that train the net together; a single one unless a fit sets it.
    ranks: Ranks = ALONE
    # Names of fields of each history column whose inputs have weights of 0.
    left_out: Sequence[Sequence[str]] = ()
    # The same for cycles of the calendar.
    left_out_cycles: Sequence[Sequence[str]] = ()
    _of_module: list[torch.nn.Parameter]
    _of_readers: list[torch.nn.Parameter]

    def __init__(self, *args: Any, share_sequences: bool = True, **kwargs: Any) -> None:
        self.share_sequences = share_sequences
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

    @property
    def unseen_inputs(self) -> list[list[FieldInputs]]:
        """Inputs from each history column whose weights are 0."""
        specs = [reader.spec for reader in self.module_.readers]
        found: list[list[FieldInputs]] = [[] for _ in specs]
        for own, spec, names in zip(found, specs, self.left_out, strict=False):
            own += [spec.fields[name] for name in names]
        for own, spec, names in zip(found, specs, self.left_out_cycles, strict=False):
            own += [spec.cycles[name] for name in names]
        return found

    def start_linear_part(self, data: RowData) -> None:
        """Start the linear part as a generalised linear model of the training rows.

        The constants of this model replace the initial biases of its outputs.
        """
        module, objective = self.module_, self.criterion_
        if module.linear is None:
            return
        data = self.ranks.own_rows(data)
        bias = module.head[-1].bias.detach()
        constants = bias.cpu().numpy().astype("float64")
        target, offset = objective.linear_target(data.target, constants)
        if data.offset is not None:
            offset = offset + data.offset
        inputs = data.linear_inputs
        unused = [
            column
            for i, inputs in enumerate(self.unseen_inputs)
            for own in inputs
            for column in module.columns_of(i, own).linear
        ]
        if unused:  # constants have no influence
            inputs = inputs.copy()
            inputs[:, unused] = 0
        k = math.prod(target.shape[1:])
        *found, constant = linear_start(
            inputs,
            target,
            data.weight,
            offset,
            constants[:k],
            objective,
            module.linear.scaled.n_logs,
            self.ranks,
        )
        module.linear.start(*found)
        bias[:k] = torch.from_numpy(constant.astype("float32"))

    def learn_shift(self, data: RowData) -> None:
        """Learn what predictions add to the outputs, if the objective shifts them."""
        if self.criterion_.shifts:
            outputs = self.outputs(data)
            with isolated_torch_settings(self.device):
                shift = self.criterion_.output_shift(outputs, data.target, data.weight)
                self.module_.set_shift(shift)

    def without_training_state(self) -> HistoryNet:
        """Return a copy without callbacks, ranks and lists of parameters."""
        copied = copy.copy(self)
        copied.callbacks, copied.callbacks_ = [], []
        for name in ("_of_readers", "_of_module", "ranks"):
            if name in vars(copied):
                delattr(copied, name)
        return copied

    def fit_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Train with a random generator that exists during training only."""
        seed = self.ranks.dropout_seed(self.dropout_seed)
        generator = new_generator(seed, self.device)
        modules = self.module_.modules()
        drawing = [one for one in modules if isinstance(one, RandomInTraining)]
        for one in drawing:
            one.generator = generator
        # Collected once: traversing the module in each step took 5 % of its time.
        self._of_readers = [*self.module_.readers.parameters()]
        self._of_module = [*self.module_.parameters()]
        try:
            return super().fit_loop(*args, **kwargs)
        finally:
            del self._of_readers, self._of_module
            for one in drawing:
                del one.generator

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
        end_if_stopped()
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
        end_if_stopped()
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
        """Return the outputs of all rows in their order, shape (n, n_outputs).

        float32, or float64 without histories.
        """
        return outputs_of_networks([self], data)[0]


def outputs_of_networks(nets: Sequence[HistoryNet], data: RowData) -> list[np.ndarray]:
    """Return the outputs of each network for all rows, shape (n, n_outputs).

    Batches of all networks are computed by the threads that torch may use. On a GPU,
    and in one of several processes, they follow one another.
    """
    on_cpu = torch.device(nets[0].device).type == "cpu"
    if on_cpu and nets[0].ranks.size == 1 and len(data) * len(nets) >= _FEW_ROWS:
        calls = [
            partial(_outputs_of_batch, net, batch)
            for net in nets
            for batch, _ in net.get_iterator(data)
        ]
        found = run_in_threads(calls, min(len(calls), _MOST_BATCHES), "cpu")
    else:
        found = []
        for net in nets:
            with net._prefetched(net.get_iterator(data)) as batches:
                found += [_outputs_of_batch(net, batch) for batch, _ in batches]
    # Network after network, each with all rows in the order of its batches.
    rows, outputs = (
        np.split(np.concatenate(parts), len(nets)) for parts in zip(*found, strict=True)
    )
    return [
        own[inverse_permutation(order)]
        for order, own in zip(rows, outputs, strict=True)
    ]


def _outputs_of_batch(net: HistoryNet, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a batch, which are sorted by length, and their outputs.

    Outputs are float32, or float64 without histories.
    """
    with isolated_torch_settings(net.device, net.module__hidden_size):
        return batch.rows, net.evaluation_step((batch, None)).cpu().numpy()


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
