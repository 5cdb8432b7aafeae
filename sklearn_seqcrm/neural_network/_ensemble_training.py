"""Train the networks of a fit: with validation rows, and then on all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from sklearn_seqcrm._columns import ForwardSplit
from sklearn_seqcrm._recurrent.data import ALONE, Inputs
from sklearn_seqcrm._recurrent.objectives import scale_to_mean_weight
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
from sklearn_seqcrm.neural_network._validation import describe_validation

# Most epochs with and without early stopping: on few customers networks are best after
# about eight epochs and overfit soon after; see ``docs/defaults_training.md``.
_EPOCHS_STOPPING_EARLY, _EPOCHS_UNSTOPPED = 50, 8


def train_with_validation(
    model: Any,
    inputs: Inputs,
    split: ForwardSplit | None,
    seeds: list[Seeds],
    refits: bool,
    task: FitTask,
) -> bool:
    """Train all networks with early stopping; with `refits`, the first one only.

    Returns whether a callback of scikit-learn ended the training.
    """
    is_continuation = hasattr(model, "nets_")  # `_start` deletes others
    of_each = seeds[:1] if refits else seeds
    # Networks must not start from labels that were unknown at the validation.
    first = model._as_known(inputs, split)
    known = first if split is None else first.take(split.train)
    if is_continuation:
        nets = model.nets_
    else:
        nets = [model._build(known, drawn) for drawn in of_each]
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
            title = f"Network {n} of {len(seeds)}{purpose}"
            yield Training(net, drawn, max_epochs, data, valid, title=title)

    try:
        return _train_each(model, trainings(), nets, task, trained=[])
    finally:
        # A fit that ends early is a model of fewer networks, or of none.
        if begun := [net for net in nets if net.history]:
            model.nets_ = begun


def train_on_all(model: Any, inputs: Inputs, seeds: list[Seeds], task: FitTask) -> None:
    """Replace the network by others of all rows, with as many epochs as it had.

    The latest rows are the most like those to come, and forward validation neither
    trains on them nor on those whose windows reach into them. The number of epochs
    holds for all networks. The first network is kept until another one has them
    all: trainings can be interrupted or stopped by a callback.
    """
    [first] = model.nets_
    n_epochs = best_n_epochs(first)
    losses = first.history[:, "valid_loss"]
    data = scale_to_mean_weight(inputs.data)
    nets = [model._build(inputs, of_net) for of_net in seeds]
    trained: list[HistoryNet] = []

    def trainings() -> Iterator[Training]:
        for n, (net, of_net) in enumerate(zip(nets, seeds, strict=True), 1):
            net.batch_size = first.batch_size
            net.start_linear_part(data)
            falls = model._objective.lowers_rate
            title = f"Network {n} of {len(seeds)}, on all rows"
            yield Training(net, of_net, n_epochs, data, lowers_rate=falls, title=title)

    try:
        _train_each(model, trainings(), nets, task, trained)
    finally:
        # Not in the order of their ends, which differs from fit to fit.
        kept = [net for net in nets if net in trained and len(net.history) == n_epochs]
        if kept:
            model.nets_ = kept
            model.validation_ |= {"n_epochs": n_epochs, "losses": losses}


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
