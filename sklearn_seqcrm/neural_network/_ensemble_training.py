"""Train the networks of a fit: with validation rows, and then on all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from sklearn_seqcrm._columns import ForwardSplit
from sklearn_seqcrm._recurrent.data import ALONE, Inputs, RowData
from sklearn_seqcrm._recurrent.network import isolated_torch_settings
from sklearn_seqcrm._recurrent.objectives import scale_to_mean_weight
from sklearn_seqcrm._recurrent.training import (
    EpochSteps,
    HistoryNet,
    Seeds,
    Training,
    TrainingDivergedError,
    best_n_epochs,
    fields_without_effects,
    run_in_threads,
    set_aside,
    train,
    useless_fields,
)
from sklearn_seqcrm._sklearn_compat import FitTask, has_callbacks
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm.neural_network._validation import describe_validation


class NetworkOutputs(NamedTuple):
    """Outputs of all networks for some rows, which prediction methods take as X."""

    # Outputs of each network, which was run before, (n, n_outputs), float64.
    of_each: list[np.ndarray]


class FirstTraining(NamedTuple):
    """Rows of a split forward in time, and outputs for the latest ones.

    A network that validates forward in time is trained until the latest cutoffs, and
    then on all rows. A hybrid learns its weight by what the first training predicts.
    """

    n_rows: int  # number of rows of the fit; those without weight are left out
    # int64: positions of the rows of the first training among them.
    train: np.ndarray
    latest: np.ndarray  # int64: positions of the rows at the latest cutoffs
    # Outputs of the network after the first training, for the latest rows.
    outputs: NetworkOutputs


# Most epochs with and without early stopping: on few customers networks are best after
# about eight epochs and overfit soon after; see ``docs/defaults_training.md``.
_EPOCHS_STOPPING_EARLY, _EPOCHS_UNSTOPPED = 50, 8


@dataclass(frozen=True)
class EnsembleTraining:
    """The training of the networks of a fit.

    With `refits`, one network finds the number of epochs (with `select_fields`, two
    may do so), and all are then trained on all rows::

        cutoffs          1  2  3  4  5  6  7  8
        first training   x  x  x  x  x  .  .  v     . dropped, v validation
        last training    x  x  x  x  x  x  x  x     for the epochs that v chose
    """

    model: Any  # estimator, whose `nets_` are trained
    inputs: Inputs  # all rows
    split: ForwardSplit | None  # forward in time; None: customers or no validation
    seeds: list[Seeds]  # of each network
    refits: bool  # only with a `split`
    task: FitTask

    def train(self) -> None:
        """Train all networks."""
        model = self.model
        if model._repeats_first_training and not self.refits:
            warn_user(
                f"select_fields={model.select_fields!r} acts like 'auto', because of: "
                f"{_reason_without_refit(model)}. It needs rows that are set aside "
                "forward in time, and a training on all rows."
            )
        try:
            without_effects = self._fields_without_effects()
            stopped = self._train_with_validation(without_effects)
            if self.refits and model._repeats_first_training and not stopped:
                stopped = self._leave_out_fields(without_effects)
            if self.refits and not stopped:
                self._report_first_training()
                self._train_on_all()
        finally:
            if hasattr(model, "nets_"):
                last, names = model.nets_[-1], self.inputs.names
                of_keys = {
                    "left_out": last.left_out,
                    "left_out_cycles": last.left_out_cycles,
                }
                for key, of_columns in of_keys.items():
                    left_out = zip(names, of_columns, strict=False)
                    found = {name: [*own] for name, own in left_out if own}
                    model.validation_[key] = found

    def _fields_without_effects(self) -> Sequence[Sequence[str]]:
        """Return fields of each history column that no network is to see."""
        model, split = self.model, self.split
        if (
            model.select_fields not in (True, "auto", "half")
            or model._is_continuation
            or model.pretrained is not None
        ):
            return ()
        known = model._as_known(self.inputs, split)
        known = known if split is None else known.take(split.train)
        found = fields_without_effects(
            known.specs,
            known.data,
            known.customers(),
            model._objective,
            model._offset_outputs(),
            model._ranks,
        )
        # Ranks may differ in the last bit.
        found = model._ranks.agree(found)
        return found if any(found) else ()

    def _train_with_validation(self, left_out: Sequence[Sequence[str]] = ()) -> bool:
        """Train all networks with early stopping; with `refits`, the first one only.

        With `left_out`, names of fields of each history column, new networks do not see
        these fields. Returns whether a callback of scikit-learn ended the training.
        """
        model, split = self.model, self.split
        is_continuation = model._is_continuation and not left_out
        of_each = self.seeds[:1] if self.refits else self.seeds
        # Networks must not start from labels that were unknown at the validation.
        first = model._as_known(self.inputs, split)
        known = first if split is None else first.take(split.train)
        if is_continuation:
            nets = model.nets_
        else:
            nets = [model._build(known, *one) for one in enumerate(of_each)]
            for net in nets:
                net.left_out = left_out
        customers = first.customers()
        strata = model._objective.strata(self.inputs.data.target)

        def trainings() -> Iterator[Training]:
            for n, (net, drawn) in enumerate(zip(nets, of_each, strict=True), 1):
                data, valid, of_valid = set_aside(
                    model, net, first.data, customers, split, drawn.split, strata
                )
                describe_validation(model, data, valid, len(first.data))
                data = scale_to_mean_weight(data)
                valid = None if valid is None else scale_to_mean_weight(valid)
                # The linear part must not see the rows that decide when to stop.
                if not is_continuation:
                    net.start_linear_part(data)
                net.module_.set_shift(None)  # of the last fit, in validation losses
                max_epochs = most_epochs(model, valid is not None)
                title = f"Network {n} of {len(self.seeds)}"
                if self.refits:
                    title += ", for the number of epochs"
                if left_out:
                    title += f", without {sum(map(len, left_out))} fields"
                groups = _groups(of_valid, data) if self.refits else None
                yield Training(net, drawn, max_epochs, data, valid, groups, title=title)

        try:
            return self._train_each(trainings(), nets, trained=[])
        finally:
            # A fit that ends early is a model of fewer networks, or of none.
            if begun := [net for net in nets if net.history]:
                model.nets_ = begun

    def _leave_out_fields(self, without_effects: Sequence[Sequence[str]]) -> bool:
        """Repeat the first training without fields, and keep what is better.

        The first training has left out the fields `without_effects`, if any.
        `nets_` is then the first network or the second one. With several networks and
        ``select_fields="half"`` it may have one of the two for each of them. Returns
        whether a callback of scikit-learn ended the training.
        """
        model, split, n_networks = self.model, self.split, len(self.seeds)
        assert split is not None
        [first] = kept = model.nets_
        known = model._as_known(self.inputs, split).data
        valid = scale_to_mean_weight(known.take(split.valid))
        mixes = model.select_fields == "half"
        if mixes:
            left_out = [list(reader.spec.fields) for reader in first.module_.readers]
        else:
            customers = self.inputs.customers()[split.valid]
            found = useless_fields(first, valid, customers, self.seeds[0].split)
            # Ranks may differ in the last bit, as may a restart from a checkpoint.
            left_out = model._ranks.agree(found)
        known_before = without_effects or [[] for _ in left_out]
        left_out = [
            [*dict.fromkeys([*before, *own])]
            for before, own in zip(known_before, left_out, strict=True)
        ]
        if not any(left_out) or left_out == without_effects:
            return False
        stopped = False
        try:
            stopped = self._train_with_validation(left_out)
            [second] = model.nets_
            if not mixes or n_networks == 1:
                kept = [min(first, second, key=_least_loss)]
            elif not stopped:
                n_without = n_networks // 2
                mixed = [first] * (n_networks - n_without) + [second] * n_without
                if model._ranks.agree(_is_better(mixed, first, valid)):
                    kept = mixed
        except TrainingDivergedError:
            pass
        finally:
            model.nets_ = kept
        return stopped

    def _report_first_training(self) -> None:
        """Report what the first training predicts for the latest rows."""
        model, data, split = self.model, self.inputs.data, self.split
        if model._on_first_training is not None:
            assert split is not None
            model._adjust(data.take(split.train))
            outputs = NetworkOutputs(model._outputs_of(data.take(split.latest)))
            model._on_first_training(
                FirstTraining(len(data), split.train, split.latest, outputs)
            )

    def _train_on_all(self) -> None:
        """Replace networks by others of all rows, with as many epochs as these had.

        There is one for each network to be trained, or one for all. The latest rows are
        the most like those to come, and forward validation neither trains on them nor
        on those whose windows reach into them. The networks are kept until another one
        is trained: trainings can be interrupted, or stopped by a callback of
        scikit-learn. A callback of skorch may end one with fewer epochs.
        """
        model, seeds = self.model, self.seeds
        firsts = model.nets_ if len(model.nets_) > 1 else model.nets_ * len(seeds)
        # Ranks may differ in the last bit.
        n_epochs = model._ranks.agree([best_n_epochs(first) for first in firsts])
        losses = firsts[0].history[:, "valid_loss"]
        data = scale_to_mean_weight(self.inputs.data)
        nets = [model._build(self.inputs, *one) for one in enumerate(seeds)]
        for net, first in zip(nets, firsts, strict=True):
            net.left_out, net.batch_size = first.left_out, first.batch_size
        trained: list[HistoryNet] = []
        stopped = False

        def trainings() -> Iterator[Training]:
            falls = model._objective.lowers_rate
            of_each = zip(nets, seeds, n_epochs, strict=True)
            for n, (net, of_net, epochs) in enumerate(of_each, 1):
                net.start_linear_part(data)
                title = f"Network {n} of {len(seeds)}, on all rows"
                yield Training(
                    net, of_net, epochs, data, lowers_rate=falls, title=title
                )

        try:
            stopped = self._train_each(trainings(), nets, trained)
        finally:
            if stopped and len(trained[-1].history) < n_epochs[len(trained) - 1]:
                del trained[-1]
            # Not in the order of their ends, which differs from fit to fit. skorch ends
            # a training at a KeyboardInterrupt, even in an epoch without a step so far.
            kept = [
                net
                for net in nets
                if net in trained and "train_loss" in net.history[-1]
            ]
            if kept:
                model.nets_ = kept
                n_done = len(kept[0].history)
                model.validation_ |= {"n_epochs": n_done, "losses": losses}

    def _train_each(
        self,
        trainings: Iterable[Training],
        nets: list[HistoryNet],
        trained: list[HistoryNet],
    ) -> bool:
        """Train networks, and append those that are trained to `trained`.

        `nets` are all networks. Returns whether a callback of scikit-learn ended the
        training.
        """
        model, stopped = self.model, False

        def run(training: Training, epochs: EpochSteps | None) -> None:
            train(model, training, epochs)
            training.net.learn_shift(training.data)
            trained.append(training.net)

        def calls() -> Iterator[Callable[[], None]]:
            nonlocal stopped
            for training in trainings:
                # Callbacks see the networks so far, and the one in training.
                so_far = [net for net in nets if net.history or net is training.net]
                epochs = EpochSteps(self.task, so_far) if _is_observed(model) else None
                if model.verbose:
                    print(training.title)
                yield partial(run, training, epochs)
                if epochs is not None and epochs.stop:
                    stopped = True
                    return

        run_trainings(model, calls(), len(nets))
        return stopped


def _groups(customers: np.ndarray | None, data: RowData) -> np.ndarray:
    """Return numbers of the customers of the validation rows, from 0 on.

    With several history columns, each row has its own: a shop connects all customers.
    """
    assert customers is not None
    if len(data.sources) > 1:
        return np.arange(len(customers))
    return np.unique(customers, return_inverse=True)[1]


def check_first_training(model: Any, refits: bool) -> None:
    """Raise a ValueError if a report is wanted of a fit without a second training.

    `refits` is whether there will be one.
    """
    if model._on_first_training is None or refits:
        return
    raise ValueError(
        "cv='latest' needs a network that is trained until the latest cutoffs and "
        f"then on all rows. This one is not, because of: {_reason_without_refit(model)}"
        ". cv=None holds out customers."
    )


def _reason_without_refit(model: Any) -> str:
    """Return why the networks are not trained again on all rows, for messages."""
    return model.validation_["reason"] or "refit=False or warm_start=True"


@contextmanager
def on_first_training(
    network: Any, report: Callable[[FirstTraining], None]
) -> Iterator[None]:
    """Call `report` with the first training of each fit within the ``with`` block."""
    network._on_first_training = report
    try:
        yield
    finally:
        del network._on_first_training


def _is_better(mixed: list[HistoryNet], first: HistoryNet, valid: RowData) -> bool:
    """Return whether the mean of the outputs has a lower loss than the first alone."""
    target = torch.from_numpy(valid.target).to(first.device)
    # Not a set: ranks compute the outputs of a network together, so in one order.
    outputs = {net: net.outputs(valid) for net in dict.fromkeys([first, *mixed])}

    def loss(nets: list[HistoryNet]) -> float:
        mean = np.mean([outputs[net] for net in nets], axis=0, dtype="float32")
        losses = first.criterion_(torch.from_numpy(mean).to(first.device), target)
        return float(np.average(losses.cpu().numpy(), weights=valid.weight))

    with isolated_torch_settings(first.device):
        return loss(mixed) < loss([first])


# One epoch may be better by chance: a network of invoices had the lower loss in the
# first of six epochs only, and its AUC on later rows was 0.0055 lower.
_EPOCHS_TO_COMPARE = 3


def _least_loss(net: HistoryNet) -> float:
    """Return the least mean of the validation losses of three successive epochs."""
    losses = np.array(net.history[:, "valid_loss"])
    n = min(_EPOCHS_TO_COMPARE, len(losses))
    means = np.convolve(losses, np.full(n, 1 / n), mode="valid")
    return float(np.nanmin([np.inf, *means]))


def _is_observed(model: Any) -> bool:
    """Whether callbacks or messages follow the training of one network."""
    return bool(model.verbose or model.callbacks or has_callbacks(model))


def run_trainings(
    model: Any, calls: Iterable[Callable[[], None]], n_calls: int
) -> None:
    """Train networks at the same time, or one after the other if observed."""
    is_alone = _is_observed(model) or model._ranks is not ALONE
    n_at_once = 1 if is_alone else n_calls
    run_in_threads(calls, n_at_once, model.device)


def most_epochs(model: Any, stops_early: bool) -> int:
    """Return the parameter `max_epochs` as a number."""
    if model.max_epochs == "auto":
        return _EPOCHS_STOPPING_EARLY if stops_early else _EPOCHS_UNSTOPPED
    return int(model.max_epochs)
