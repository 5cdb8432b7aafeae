"""Train a skorch net: its seeds, optimizer, callbacks and number of epochs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state
from skorch.exceptions import SkorchException
from skorch.utils import noop

from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._recurrent.network import isolated_torch_settings
from sklearn_seqcrm._recurrent.training._averaging import AveragedWeights
from sklearn_seqcrm._recurrent.training._callbacks import (
    EpochSteps,
    FallingRate,
    Interrupted,
    StopOnRequest,
)
from sklearn_seqcrm._recurrent.training._early_stopping import StopEarly
from sklearn_seqcrm._recurrent.training._fields import without_inputs
from sklearn_seqcrm._recurrent.training._net import HistoryNet
from sklearn_seqcrm._sklearn_compat import parse_version

# Fused optimizers save an eighth of a step.
_HAS_FUSED_OPTIMIZERS = parse_version(torch.__version__) >= parse_version("2.4")


class Seeds(NamedTuple):
    """Seeds of the validation split, the batches, the weights and the dropout."""

    split: int
    batches: int
    weights: int
    dropout: int


def draw_seeds(random_state: Any, n_before: Sequence[int]) -> list[Seeds]:
    """Draw the seeds of a training for each of several networks.

    Continued training uses new seeds, by the number of epochs before of each network,
    except for the split: other customers set aside would have been training rows
    before. In a first training, the seeds of the first network do not depend on the
    number of networks.
    """
    rng = check_random_state(random_state)
    # Seeds by number of epochs before and network. The draws for fewer epochs come
    # first, so that each continuation draws the same seeds again and one more.
    shape = max(n_before) + 1, len(n_before), 4
    seeds = rng.randint(2**31 - 1, size=shape).tolist()
    return [
        Seeds(seeds[0][net][0], *seeds[n_epochs][net][1:])
        for net, n_epochs in enumerate(n_before)
    ]


def optimizer_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters of a net for its optimizer, device and messages."""
    return {
        "optimizer": torch.optim.AdamW,
        "optimizer__weight_decay": estimator.weight_decay,
        "optimizer__fused": _HAS_FUSED_OPTIMIZERS,
        "lr": estimator.learning_rate,
        "device": estimator.device,
        "verbose": estimator.verbose,
        "callbacks": [],
    }


@dataclass(frozen=True)
class Training:
    """A network, and what it is to be trained on."""

    net: HistoryNet  # initialized net
    seeds: Seeds  # those of its batches and dropout are used
    max_epochs: int
    data: RowData  # training rows, with weights of mean 1
    valid: RowData | None = None  # validation rows; None: no early stopping
    # (n_valid,): customers of the validation rows, from 0 on, if `best_n_epochs` is
    # called after the training.
    groups: np.ndarray | None = None
    # Whether the learning rate falls in the second half of the epochs.
    lowers_rate: bool = False
    continues: bool = False  # whether a later training will continue this one
    title: str = ""  # which network this is, for messages


class TrainingDivergedError(ValueError):
    """The weights of a network are not finite after its training."""


def train(estimator: Any, training: Training, epochs: EpochSteps | None = None) -> None:
    """Train a network with the present parameters of the estimator.

    The estimator is only read, so that several of its networks can be trained at the
    same time. `epochs` reports to callbacks of scikit-learn. A `TrainingDivergedError`
    is raised if weights are not finite after training.
    """
    net, seeds = training.net, training.seeds
    net.max_epochs = training.max_epochs
    net.shuffle_seed, net.dropout_seed = seeds.batches, seeds.dropout
    # These parameters may change between calls, unlike the architecture.
    for reader in net.module_.readers:
        reader.bptt_steps, reader.precision = estimator.bptt_steps, estimator.precision
    with isolated_torch_settings(estimator.device, int(estimator.hidden_size)):
        net.set_params(lr=estimator.learning_rate, verbose=estimator.verbose)
        if not net.ranks.resume(net):
            with without_inputs(net.module_, net.unseen_inputs):
                _run_epochs(estimator, training, epochs)
            net.ranks.finish(net)
    if not all(p.isfinite().all() for p in net.module_.parameters()):
        raise TrainingDivergedError(
            f"Training diverged in {len(net.history)} epochs: weights of the network "
            "are not finite. Lower learning_rate or scale the statics, and fit from "
            "the start."
        )


@contextmanager
def deletes_diverged(estimator: Any) -> Iterator[None]:
    """Delete the networks of an estimator if training diverges in the ``with`` block.

    They would predict numbers that are not finite.
    """
    try:
        yield
    except TrainingDivergedError:
        vars(estimator).pop("nets_", None)
        raise


def _run_epochs(estimator: Any, training: Training, epochs: EpochSteps | None) -> None:
    """Run the epochs of a net, with callbacks of skorch and of scikit-learn."""
    net, valid = training.net, training.valid
    _refuse_other_callbacks(estimator.callbacks or ())
    # Copies of the user's callbacks: an estimator does not change its parameters.
    own = [copy.deepcopy(callback) for callback in estimator.callbacks or ()]
    averaged = AveragedWeights(estimator.averaged_steps, net.last_step)
    averaging = [averaged] if estimator.averaged_steps > 1 else []
    net.last_step = None
    falling = [FallingRate(training.max_epochs)] if training.lowers_rate else []
    reporting = [] if epochs is None else [epochs]
    ending = [] if epochs is None else [StopOnRequest(epochs)]
    stopping: list[Any] = []
    if valid is not None:
        sink = print if net.verbose else noop
        patience = estimator.n_iter_no_change
        stop_early = StopEarly(
            training.groups, patience=patience, load_best=True, sink=sink
        )
        stopping = [("stop_early", stop_early)]
    # Not by set_params, which does not initialize new callbacks. The rate falls before
    # callbacks of the user, who may set another. Early stopping ends an epoch before
    # later callbacks are called, so that the others come first. All of them see
    # averaged weights. Callbacks of several processes surround the others, so that
    # these see numbers on which all processes agree.
    first, last = net.ranks.callbacks()
    of_user_and_epochs = [*own, *reporting, *stopping]
    net.callbacks = [*first, *falling, *averaging, *of_user_and_epochs, *last, *ending]
    net.initialize_callbacks()
    try:
        net.partial_fit((training.data, valid))
        if averaging and (estimator.warm_start or training.continues):
            net.last_step = averaged.last_step()
    except (KeyError, ValueError, SkorchException) as error:
        # Of callbacks that monitor the loss or scores of validation rows.
        if valid is None and "valid_" in str(error):
            error.add_note(
                "This training has no validation rows, so that callbacks cannot "
                "monitor their loss or scores. Let them monitor 'train_loss', or set "
                "early_stopping=True and, where networks are trained again on all "
                "rows, refit=False."
            )
        raise
    except Interrupted as interrupted:
        # The user stops the program, with a usable net if the exception is caught.
        if averaging:
            averaged.show()
        raise KeyboardInterrupt from interrupted
    finally:
        net.callbacks = [*own, *stopping]
        _forget(net, [*first, *falling, *averaging, *reporting, *last, *ending])


def _refuse_other_callbacks(callbacks: Sequence[Any]) -> None:
    """Raise a TypeError for what is neither a callback nor a named one, nor None."""
    for callback in callbacks:
        is_named = isinstance(callback, tuple) and len(callback) == 2
        last = callback[1] if is_named else callback
        is_one = hasattr(last, "on_epoch_end") and not isinstance(last, type)
        if last is not None and not is_one:
            raise TypeError(
                "callbacks must be a list of skorch callbacks, or of tuples of a name "
                f"and a callback; one of them is {callback!r}."
            )


def _forget(net: HistoryNet, steps: Sequence[Any]) -> None:
    """Delete references to data, and histories of batches."""
    # These callbacks reference the data, and perhaps threads.
    net.callbacks_ = [(name, c) for name, c in net.callbacks_ if c not in steps]
    for epoch in net.history:
        # Losses of each batch would grow with the number of rows.
        epoch["batches"].clear()
