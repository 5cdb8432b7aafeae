"""Train the networks of a fit: with validation rows, and then on all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

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
    run_in_threads,
    set_aside,
    stops_early,
    train,
    useless_fields,
)
from sklearn_seqcrm._sklearn_compat import FitTask, has_callbacks
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm.neural_network._first_training import report_first_training
from sklearn_seqcrm.neural_network._validation import describe_validation

# Most epochs with and without early stopping: on few customers networks are best after
# about eight epochs and overfit soon after; see ``docs/defaults_training.md``.
_EPOCHS_STOPPING_EARLY, _EPOCHS_UNSTOPPED = 50, 8


def train_networks(
    model: Any,
    inputs: Inputs,
    split: ForwardSplit | None,
    seeds: list[Seeds],
    refits: bool,
    task: FitTask,
) -> None:
    """Train the networks of a fit.

    With `refits`, one network finds the number of epochs (with `select_fields`, two
    may do so), and all are then trained on all rows::

        cutoffs          1  2  3  4  5  6  7  8
        first training   x  x  x  x  x  .  .  v     . dropped, v validation
        last training    x  x  x  x  x  x  x  x     for the epochs that v chose
    """
    if model.select_fields and not refits:
        reason = model.validation_["reason"] or "refit=False or warm_start=True"
        warn_user(
            f"select_fields={model.select_fields!r} has no effect, because of: "
            f"{reason}. It needs rows that are set aside forward in time, and a "
            "training on all rows."
        )
    try:
        stopped = _train_with_validation(model, inputs, split, seeds, refits, task)
        if refits and model.select_fields and not stopped:
            stopped = _leave_out_fields(model, inputs, split, seeds, task)
        if refits and not stopped:
            report_first_training(model, inputs.data, split)
            _train_on_all(model, inputs, seeds, task)
    finally:
        if hasattr(model, "nets_"):
            left_out = zip(inputs.names, model.nets_[-1].left_out, strict=False)
            model.validation_["left_out"] = {n: [*own] for n, own in left_out if own}


def _train_with_validation(
    model: Any,
    inputs: Inputs,
    split: ForwardSplit | None,
    seeds: list[Seeds],
    refits: bool,
    task: FitTask,
    left_out: Sequence[Sequence[str]] = (),
) -> bool:
    """Train all networks with early stopping; with `refits`, the first one only.

    With `left_out`, names of fields of each history column, new networks do not see
    these fields. Returns whether a callback of scikit-learn ended the training.
    """
    # `_start` deletes networks that are not continued.
    is_continuation = hasattr(model, "nets_") and not left_out
    of_each = seeds[:1] if refits else seeds
    # Networks must not start from labels that were unknown at the validation.
    first = model._as_known(inputs, split)
    known = first if split is None else first.take(split.train)
    if is_continuation:
        nets = model.nets_
    else:
        nets = [model._build(known, drawn) for drawn in of_each]
        for net in nets:
            net.left_out = left_out
    # One size for all networks: it depends on all rows, also those set aside.
    customers = inputs.customers()
    may_stop = split is not None or stops_early(model.early_stopping, customers)
    batch_size = model._batch_size(inputs.data, may_stop)
    strata = model._objective.strata(inputs.data.target)

    def trainings() -> Iterator[Training]:
        for n, (net, drawn) in enumerate(zip(nets, of_each, strict=True), 1):
            data, valid = set_aside(
                model,
                net,
                batch_size,
                first.data,
                customers,
                split,
                drawn.split,
                strata,
            )
            describe_validation(model, data, valid, len(inputs.data))
            data = scale_to_mean_weight(data)
            valid = None if valid is None else scale_to_mean_weight(valid)
            # The ridge regression must not see the rows that decide when to stop.
            if not is_continuation:
                net.start_linear_part(data)
            net.module_.set_shift(None)  # of the last fit, in validation losses
            max_epochs = most_epochs(model, valid is not None)
            purpose = ", for the number of epochs" if refits else ""
            without = f", without {sum(map(len, left_out))} fields" if left_out else ""
            title = f"Network {n} of {len(seeds)}{purpose}{without}"
            yield Training(net, drawn, max_epochs, data, valid, title=title)

    try:
        return _train_each(model, trainings(), nets, task, trained=[])
    finally:
        # A fit that ends early is a model of fewer networks, or of none.
        if begun := [net for net in nets if net.history]:
            model.nets_ = begun


def _leave_out_fields(
    model: Any,
    inputs: Inputs,
    split: ForwardSplit | None,
    seeds: list[Seeds],
    task: FitTask,
) -> bool:
    """Repeat the first training without fields, and keep what is better.

    `model.nets_` is then the first network or the second one. With several networks and
    ``select_fields="half"`` it may have one of the two for each of them. Returns
    whether a callback of scikit-learn ended the training.
    """
    assert split is not None
    [first] = kept = model.nets_
    valid = scale_to_mean_weight(model._as_known(inputs, split).data.take(split.valid))
    mixes = model.select_fields == "half"
    if mixes:
        left_out = [list(reader.spec.fields) for reader in first.module_.readers]
    else:
        customers = inputs.customers()[split.valid]
        found = useless_fields(first, valid, customers, seeds[0].split)
        # Ranks may differ in the last bit, as may a restart from a checkpoint.
        left_out = model._ranks.agree(found)
    if not any(left_out):
        return False
    stopped = False
    try:
        stopped = _train_with_validation(
            model, inputs, split, seeds, True, task, left_out
        )
        [second] = model.nets_
        if not mixes or len(seeds) == 1:
            kept = [min(first, second, key=_least_loss)]
        elif not stopped:
            n_without = len(seeds) // 2
            mixed = [first] * (len(seeds) - n_without) + [second] * n_without
            if model._ranks.agree(_is_better(mixed, first, valid)):
                kept = mixed
    except TrainingDivergedError:
        pass
    finally:
        model.nets_ = kept
    return stopped


def _is_better(mixed: list[HistoryNet], first: HistoryNet, valid: RowData) -> bool:
    """Return whether the mean of the outputs has a lower loss than the first alone."""
    assert valid.target is not None
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


def _train_on_all(
    model: Any, inputs: Inputs, seeds: list[Seeds], task: FitTask
) -> None:
    """Replace networks by others of all rows, with as many epochs as these had.

    There is one for each network to be trained, or one for all. The latest rows are the
    most like those to come, and forward validation neither trains on them nor on those
    whose windows reach into them. The networks are kept until another one has all
    epochs: trainings can be interrupted or stopped by a callback.
    """
    firsts = model.nets_ if len(model.nets_) > 1 else model.nets_ * len(seeds)
    n_epochs = [best_n_epochs(first) for first in firsts]
    losses = firsts[0].history[:, "valid_loss"]
    data = scale_to_mean_weight(inputs.data)
    nets = [model._build(inputs, of_net) for of_net in seeds]
    for net, first in zip(nets, firsts, strict=True):
        net.left_out, net.batch_size = first.left_out, first.batch_size
    trained: list[HistoryNet] = []

    def trainings() -> Iterator[Training]:
        falls = model._objective.lowers_rate
        of_each = zip(nets, seeds, n_epochs, strict=True)
        for n, (net, of_net, epochs) in enumerate(of_each, 1):
            net.start_linear_part(data)
            title = f"Network {n} of {len(seeds)}, on all rows"
            yield Training(net, of_net, epochs, data, lowers_rate=falls, title=title)

    try:
        _train_each(model, trainings(), nets, task, trained)
    finally:
        # Not in the order of their ends, which differs from fit to fit.
        kept = [
            net
            for net, n in zip(nets, n_epochs, strict=True)
            if net in trained and len(net.history) == n
        ]
        if kept:
            model.nets_ = kept
            model.validation_ |= {"n_epochs": n_epochs[0], "losses": losses}


def _train_each(
    model: Any,
    trainings: Iterable[Training],
    nets: list[HistoryNet],
    task: FitTask,
    trained: list[HistoryNet],
) -> bool:
    """Train networks, and append those that are trained to `trained`.

    `nets` are all networks. Returns whether a callback of scikit-learn ended the
    training.
    """
    stopped = False

    def run(training: Training, epochs: EpochSteps | None) -> None:
        train(model, training, epochs)
        training.net.learn_shift(training.data)
        trained.append(training.net)

    def calls() -> Iterator[Callable[[], None]]:
        nonlocal stopped
        for training in trainings:
            # Callbacks see the networks so far, and the one in training.
            so_far = [net for net in nets if net.history or net is training.net]
            epochs = EpochSteps(task, so_far) if _is_observed(model) else None
            if model.verbose:
                print(training.title)
            yield partial(run, training, epochs)
            if epochs is not None and epochs.stop:
                stopped = True
                return

    run_trainings(model, calls(), len(nets))
    return stopped


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
