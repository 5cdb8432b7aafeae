"""Train the networks of a fit: with validation rows, and then on all rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from sklearn_seqcrm._columns import ForwardSplit
from sklearn_seqcrm._recurrent.data import ALONE, Inputs, Ranks, RowData
from sklearn_seqcrm._recurrent.objectives import Objective, scale_to_mean_weight
from sklearn_seqcrm._recurrent.training import (
    EpochSteps,
    HistoryNet,
    Seeds,
    Training,
    best_n_epochs,
    run_in_threads,
    set_aside,
    stops_early,
    train,
)
from sklearn_seqcrm._sklearn_compat import FitTask, has_callbacks

# Most epochs with and without early stopping: on few customers networks are best after
# about eight epochs and overfit soon after; see ``docs/defaults_training.md``.
_EPOCHS_STOPPING_EARLY, _EPOCHS_UNSTOPPED = 50, 8


class EnsembleTrainingMixin:
    """Train networks, at the same time if neither callbacks nor messages follow."""

    nets_: list[HistoryNet]
    n_iter_: int
    validation_: dict[str, Any]
    early_stopping: Any
    max_epochs: Any
    callbacks: Any
    verbose: Any
    device: Any
    _objective: Objective
    _ranks: Ranks

    @abstractmethod
    def _build(self, inputs: Inputs, seeds: Seeds) -> HistoryNet: ...

    @abstractmethod
    def _batch_size(self, data: RowData, may_stop: bool) -> int: ...

    @abstractmethod
    def _as_known(self, inputs: Inputs, split: ForwardSplit | None) -> Inputs: ...

    @abstractmethod
    def _describe_validation(
        self, data: RowData, valid: RowData | None, n_rows: int
    ) -> None: ...

    def _train_with_validation(
        self,
        inputs: Inputs,
        split: ForwardSplit | None,
        seeds: list[Seeds],
        refits: bool,
        task: FitTask,
    ) -> bool:
        """Train all networks with early stopping; with `refits`, the first one only.

        Returns whether a callback of scikit-learn ended the training.
        """
        is_continuation = hasattr(self, "nets_")  # `_start` deletes others
        of_each = seeds[:1] if refits else seeds
        # Networks must not start from labels that were unknown at the validation.
        first = self._as_known(inputs, split)
        known = first if split is None else first.take(split.train)
        if is_continuation:
            nets = self.nets_
        else:
            nets = [self._build(known, drawn) for drawn in of_each]
        # One size for all networks: it depends on all rows, also those set aside.
        customers = inputs.customers()
        may_stop = split is not None or stops_early(self.early_stopping, customers)
        batch_size = self._batch_size(inputs.data, may_stop)
        strata = self._objective.strata(inputs.data.target)

        def trainings() -> Iterator[Training]:
            for n, (net, drawn) in enumerate(zip(nets, of_each, strict=True), 1):
                data, valid = set_aside(
                    self,
                    net,
                    batch_size,
                    first.data,
                    customers,
                    split,
                    drawn.split,
                    strata,
                )
                self._describe_validation(data, valid, len(inputs.data))
                data = scale_to_mean_weight(data)
                valid = None if valid is None else scale_to_mean_weight(valid)
                # The ridge regression must not see the rows that decide when to stop.
                if not is_continuation:
                    net.start_linear_part(data)
                net.module_.set_shift(None)  # of the last fit, in validation losses
                max_epochs = self._max_epochs(valid is not None)
                purpose = ", for the number of epochs" if refits else ""
                title = f"Network {n} of {len(seeds)}{purpose}"
                yield Training(net, drawn, max_epochs, data, valid, title=title)

        try:
            return self._train_each(trainings(), nets, task)
        finally:
            # A fit that ends early is a model of fewer networks, or of none.
            if begun := [net for net in nets if net.history]:
                self.nets_ = begun
                self.n_iter_ = max(len(net.history) for net in begun)

    def _train_on_all(self, inputs: Inputs, seeds: list[Seeds], task: FitTask) -> None:
        """Replace the network by others of all rows, with as many epochs as it had.

        The latest rows are the most like those to come, and forward validation neither
        trains on them nor on those whose windows reach into them. The number of epochs
        holds for all networks. The first network is kept until another one has them
        all: trainings can be interrupted or stopped by a callback.
        """
        [first] = self.nets_
        n_epochs = best_n_epochs(first)
        losses = first.history[:, "valid_loss"]
        data = scale_to_mean_weight(inputs.data)
        nets = [self._build(inputs, of_net) for of_net in seeds]
        trained: list[HistoryNet] = []

        def trainings() -> Iterator[Training]:
            for n, (net, of_net) in enumerate(zip(nets, seeds, strict=True), 1):
                net.batch_size = first.batch_size
                net.start_linear_part(data)
                falls = self._objective.lowers_rate
                title = f"Network {n} of {len(seeds)}, on all rows"
                yield Training(
                    net, of_net, n_epochs, data, lowers_rate=falls, title=title
                )

        try:
            self._train_each(trainings(), nets, task, trained)
        finally:
            # Not in the order of their ends, which differs from fit to fit.
            kept = [
                net for net in nets if net in trained and len(net.history) == n_epochs
            ]
            if kept:
                self.nets_, self.n_iter_ = kept, n_epochs
                self.validation_ |= {"n_epochs": n_epochs, "losses": losses}

    def _train_each(
        self,
        trainings: Iterable[Training],
        nets: list[HistoryNet],
        task: FitTask,
        trained: list[HistoryNet] | None = None,
    ) -> bool:
        """Train networks, and append those that are trained to `trained`.

        `nets` are all networks. Returns whether a callback of scikit-learn ended the
        training.
        """
        found = [] if trained is None else trained
        stopped = False

        def run(training: Training, epochs: EpochSteps | None) -> None:
            train(self, training, epochs)
            training.net.learn_shift(training.data)
            found.append(training.net)

        def calls() -> Iterator[Callable[[], None]]:
            nonlocal stopped
            for training in trainings:
                # Callbacks see the networks so far, and the one in training.
                so_far = [net for net in nets if net.history or net is training.net]
                epochs = EpochSteps(task, so_far) if self._is_observed else None
                if self.verbose:
                    print(training.title)
                yield partial(run, training, epochs)
                if epochs is not None and epochs.stop:
                    stopped = True
                    return

        self._run_trainings(calls(), len(nets))
        return stopped

    @property
    def _is_observed(self) -> bool:
        """Whether callbacks or messages follow the training of one network."""
        return bool(self.verbose or self.callbacks or has_callbacks(self))

    def _run_trainings(self, calls: Iterable[Callable[[], None]], n_calls: int) -> None:
        """Train networks at the same time, or one after the other if observed."""
        is_alone = self._is_observed or self._ranks is not ALONE
        n_at_once = 1 if is_alone else n_calls
        run_in_threads(calls, n_at_once, self.device)

    def _max_epochs(self, stops_early: bool) -> int:
        if self.max_epochs == "auto":
            return _EPOCHS_STOPPING_EARLY if stops_early else _EPOCHS_UNSTOPPED
        return int(self.max_epochs)
